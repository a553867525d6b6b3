/* deployer/store: generations, records, the intent and the lock, and what is refused or damaged. */
#include <stdbool.h>

#include "tests/unit/testing.h"

#include "common/clock.h"
#include "deployer/store.h"

#include <dirent.h>
#include <errno.h>
#include <sys/wait.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER       "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define START       1795244520 /* 2026-11-21T07:02:00Z */

static struct store *opened(const struct directory *d)
{
    struct store *s = NULL;
    struct error err = {.text = ""};
    int rc = store_open(&s, path_in(d, "state"), &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    return s;
}

static void make_verdict(struct judge_verdict *v, const char *fingerprint)
{
    *v = (struct judge_verdict){.not_before = START - 86400, .not_after = START + 86400};
    strcpy(v->fingerprint, fingerprint);
    strcpy(v->spki, OTHER);
    strcpy(v->key_type, "P-256");
    strcpy(v->issuer, "CN=\"quoted\" \\x0a");
    secret_init(&v->chain, SECRET_MAX);
    secret_init(&v->key, SECRET_MAX);
    assert_int_equal(secret_append(&v->chain, "the chain\n", 10), 0);
    assert_int_equal(secret_append(&v->key, "the key\n", 8), 0);
}

/* Stages a generation of the leaf at START + seconds. */
static void stage_leaf(struct store *s, const char *want, const char *fingerprint, int seconds, char *id)
{
    AUTO_VERDICT struct judge_verdict v;
    struct error err = {.text = ""};
    make_verdict(&v, fingerprint);
    int rc = store_stage(s, want, &v, START + seconds, id, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
}

static void stage(struct store *s, const char *want, int seconds, char *id)
{
    stage_leaf(s, want, FINGERPRINT, seconds, id);
}

static unsigned mode_of(const struct directory *d, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_mode & 07777;
}

/* The names in a folder, sorted, separated by blanks. */
static const char *listed(const struct directory *d, const char *folder)
{
    static char text[1000];
    struct dirent **entries;
    int count = scandir(path_in(d, folder), &entries, NULL, alphasort);
    assert_true(count >= 2);
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? " " : "", name);
        free(entries[i]);
    }
    free(entries);
    return text;
}

/* ---- the folder ---- */

static void test_open(void **state)
{
    const struct directory *d = *state;
    mode_t mask = umask(0);
    store_close(opened(d));
    umask(mask);
    assert_int_equal(mode_of(d, "state"), 0700);
    assert_int_equal(mode_of(d, "state/wants"), 0700);
    store_close(opened(d));
    store_close(NULL);
}

static void open_is_refused(const struct directory *d, const char *why)
{
    AUTO_STORE struct store *s = NULL;
    struct error err = {.text = ""};
    assert_int_equal(store_open(&s, path_in(d, "state"), &err), E_CONFIG);
    assert_null(s);
    assert_has(err.text, path_in(d, "state"));
    assert_has(err.text, why);
}

static void test_open_to_others_is_refused(void **state)
{
    static const mode_t modes[] = {0750, 0701, 0702, 0710, 0777};
    const struct directory *d = *state;
    make_folder(d, "state");
    for (size_t i = 0; i < COUNT(modes); i++) {
        assert_int_equal(chmod(path_in(d, "state"), modes[i]), 0);
        open_is_refused(d, "mode 0700");
    }
    assert_int_equal(chmod(path_in(d, "state"), 0700), 0);
    store_close(opened(d));
}

static void test_open_of_another_is_refused(void **state)
{
    const struct directory *d = *state;
    if (geteuid() != 0)
        skip();
    make_folder(d, "state");
    assert_int_equal(chown(path_in(d, "state"), 1234, 0), 0);
    open_is_refused(d, "not to uid 1234");
}

static void test_open_no_folder(void **state)
{
    const struct directory *d = *state;
    struct store *s = NULL;
    struct error err = {.text = ""};
    write_text(d, "state", "");
    assert_true(store_open(&s, path_in(d, "state"), &err) < 0);
    assert_has(err.text, "Not a directory");
    assert_true(store_open(&s, path_in(d, "no/such/folder"), &err) < 0);
    make_folder(d, "elsewhere");
    assert_int_equal(symlinkat("elsewhere", d->fd, "link"), 0);
    assert_true(store_open(&s, path_in(d, "link"), &err) < 0);
    assert_null(s);
}

/* ---- generations ---- */

static void test_stage_and_load(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    AUTO_GENERATION struct generation g = {0};
    struct error err = {.text = ""};
    char id[STORE_GENERATION_SIZE];
    stage(s, WANT_PRIMARY, 0, id);
    assert_string_equal(id, "20261121T070200Z-0123456789ab");
    assert_int_equal(store_load(s, WANT_PRIMARY, id, &g, &err), 0);
    assert_string_equal(g.id, id);
    assert_string_equal(g.fingerprint, FINGERPRINT);
    assert_string_equal((char *)g.chain.data, "the chain\n");
    assert_string_equal((char *)g.key.data, "the key\n");
    assert_int_equal(g.not_before, START - 86400);
    assert_int_equal(g.not_after, START + 86400);
    assert_string_equal(listed(d, "state/wants/primary"), id);
    assert_string_equal(listed(d, "state/wants/primary/20261121T070200Z-0123456789ab"),
                        "cert.pem key.pem meta.json");
    assert_int_equal(mode_of(d, "state/wants/primary/20261121T070200Z-0123456789ab"), 0700);
    assert_int_equal(mode_of(d, "state/wants/primary/20261121T070200Z-0123456789ab/key.pem"), 0600);
    assert_has(read_text_of(d, "state/wants/primary/20261121T070200Z-0123456789ab/meta.json"),
               "\"issuer\": \"CN=\\\"quoted\\\" \\\\x0a\"");
}

/* Names are the order that generations came in, within one second and when the clock was set back as well. */
static void test_staged_later_is_newer(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    char first[STORE_GENERATION_SIZE], again[STORE_GENERATION_SIZE], back[STORE_GENERATION_SIZE];
    stage_leaf(s, WANT_PRIMARY, OTHER, 59, first);
    stage_leaf(s, WANT_PRIMARY, FINGERPRINT, 59, again);
    stage_leaf(s, WANT_PRIMARY, FINGERPRINT, -86400, back);
    assert_string_equal(first, "20261121T070259Z-fedcba987654");
    assert_string_equal(again, "20261121T070300Z-0123456789ab");
    assert_string_equal(back, "20261121T070301Z-0123456789ab");
    assert_string_equal(listed(d, "state/wants/primary"),
                        "20261121T070259Z-fedcba987654 20261121T070300Z-0123456789ab "
                        "20261121T070301Z-0123456789ab");
}

/* What a crash left of the last attempt does not get into the next. */
static void test_stage_after_a_crash(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    AUTO_GENERATION struct generation g = {0};
    struct error err;
    char id[STORE_GENERATION_SIZE];
    make_folder(d, "state/wants/primary");
    make_folder(d, "state/wants/primary/new");
    write_text(d, "state/wants/primary/new/key.pem", "half a k");
    write_text(d, "state/wants/primary/new/stray", "");
    stage(s, WANT_PRIMARY, 0, id);
    assert_string_equal(listed(d, "state/wants/primary"), id);
    assert_int_equal(store_load(s, WANT_PRIMARY, id, &g, &err), 0);
    assert_string_equal((char *)g.key.data, "the key\n");
    assert_false(is_there(d, "state/wants/primary/20261121T070200Z-0123456789ab/stray"));
}

static void load_fails(struct store *s, const char *want, const char *id, const char *why)
{
    AUTO_GENERATION struct generation g = {0};
    struct error err = {.text = ""};
    assert_true(store_load(s, want, id, &g, &err) < 0);
    assert_has(err.text, why);
}

static void test_ids(void **state)
{
    static const char *const wants[] = {"", ".", "..", "../x", "a/b", "/", "/etc", "a b", "x\n", "primary/"};
    static const char *const ids[] = {"",
                                      ".",
                                      "..",
                                      "../../../../etc",
                                      "/etc/passwd",
                                      "new",
                                      "record.json",
                                      "20261121T070200Z",
                                      "20261121T070200Z-0123456789/b",
                                      "20261121T070200Z-0123456789abcdef0123456789",
                                      "20261121070200Z--0123456789ab"};
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    AUTO_VERDICT struct judge_verdict v;
    struct record record;
    struct error err;
    char id[STORE_GENERATION_SIZE];
    make_verdict(&v, FINGERPRINT);
    stage(s, WANT_PRIMARY, 0, id);
    for (size_t i = 0; i < COUNT(wants); i++) {
        load_fails(s, wants[i], id, "not the name of a want");
        assert_true(store_stage(s, wants[i], &v, START, id, &err) < 0);
        assert_true(store_read_record(s, wants[i], &record, &err) < 0);
        assert_true(store_write_record(s, wants[i], &record, &err) < 0);
        assert_true(store_prune(s, wants[i], 4, &err) < 0);
    }
    for (size_t i = 0; i < COUNT(ids); i++)
        load_fails(s, WANT_PRIMARY, ids[i], "not the name of a generation");
    load_fails(s, WANT_PRIMARY, "20261121T070201Z-0123456789ab", "No such file");
    load_fails(s, "mail.example.org", id, "No such file");
    assert_string_equal(listed(d, "state/wants"), "primary");
}

static void test_damaged_generation(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    char id[STORE_GENERATION_SIZE], path[200];
    stage(s, WANT_PRIMARY, 0, id);
    snprintf(path, sizeof path, "state/wants/primary/%s/meta.json", id);
    write_text(d, path, "{\"fingerprint\": \"0123\"}");
    load_fails(s, WANT_PRIMARY, id, "no fingerprint");
    write_text(d, path, "{\"finger");
    load_fails(s, WANT_PRIMARY, id, "generation 20261121T070200Z-0123456789ab of primary: meta.json:1: ");
    assert_int_equal(unlinkat(d->fd, path, 0), 0);
    load_fails(s, WANT_PRIMARY, id, "meta.json: open: No such file");
    stage(s, WANT_PRIMARY, 1, id);
    snprintf(path, sizeof path, "state/wants/primary/%s/key.pem", id);
    assert_int_equal(unlinkat(d->fd, path, 0), 0);
    load_fails(s, WANT_PRIMARY, id, "key.pem: open: No such file");
    assert_int_equal(symlinkat("cert.pem", d->fd, path), 0);
    load_fails(s, WANT_PRIMARY, id, "key.pem: open: Too many");
}

static void test_prune(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct error err = {.text = ""};
    struct record record = {.state = STORE_SERVED};
    char ids[9][STORE_GENERATION_SIZE];
    for (int i = 0; i < 9; i++)
        stage(s, WANT_PRIMARY, i, ids[i]);
    strcpy(record.current, ids[1]);
    strcpy(record.previous, ids[3]);
    assert_int_equal(store_write_record(s, WANT_PRIMARY, &record, &err), 0);
    assert_int_equal(store_prune(s, WANT_PRIMARY, 4, &err), 0);
    assert_string_equal(listed(d, "state/wants/primary"),
                        "20261121T070201Z-0123456789ab 20261121T070203Z-0123456789ab "
                        "20261121T070205Z-0123456789ab "
                        "20261121T070206Z-0123456789ab 20261121T070207Z-0123456789ab "
                        "20261121T070208Z-0123456789ab record.json");
}

static void test_list(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    AUTO_FREE struct generation_meta *list = NULL;
    struct error err = {.text = ""};
    char ids[3][STORE_GENERATION_SIZE], path[100];
    size_t count = 99;
    assert_int_equal(store_list(s, WANT_PRIMARY, &list, &count, &err), 0);
    assert_int_equal(count, 0);
    for (int i = 0; i < 3; i++)
        stage(s, WANT_PRIMARY, i, ids[i]);
    snprintf(path, sizeof path, "state/wants/primary/%s/meta.json", ids[1]);
    write_text(d, path, "{");
    free(list);
    assert_int_equal(store_list(s, WANT_PRIMARY, &list, &count, &err), 0);
    assert_int_equal(count, 2); /* what cannot be read is nothing to go back to */
    assert_string_equal(list[0].id, ids[0]);
    assert_string_equal(list[1].id, ids[2]);
    assert_string_equal(list[1].fingerprint, FINGERPRINT);
    assert_int_equal(list[1].not_after, START + 86400);
}

static void test_forget(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct error err = {.text = ""};
    char id[STORE_GENERATION_SIZE];
    stage(s, "a.example.org", 1, id);
    stage(s, WANT_PRIMARY, 1, id);
    assert_int_equal(store_forget(s, "a.example.org", &err), 0);
    assert_int_equal(store_forget(s, "a.example.org", &err), 0);
    assert_string_equal(listed(d, "state/wants"), "primary");
    assert_true(store_forget(s, "..", &err) < 0);
    assert_string_equal(listed(d, "state/wants"), "primary");
}

/* ---- quarantine ---- */

static void quarantine(struct store *s, const char *fingerprint, const char *reason)
{
    struct error err = {.text = ""};
    assert_int_equal(store_quarantine(s, WANT_PRIMARY, fingerprint, START, reason, &err), 0);
}

static const char *quarantined(struct store *s, const char *fingerprint)
{
    static char reason[STORE_REASON_SIZE];
    struct error err = {.text = ""};
    int rc = store_is_quarantined(s, WANT_PRIMARY, fingerprint, reason, &err);
    assert_true(rc >= 0);
    return rc == STORE_QUARANTINED ? reason : NULL;
}

static void test_quarantine(void **state)
{
    AUTO_STORE struct store *s = opened(*state);
    struct error err = {.text = ""};
    assert_null(quarantined(s, FINGERPRINT));
    quarantine(s, FINGERPRINT, "imaps broke");
    quarantine(s, OTHER, "smtp broke");
    quarantine(s, FINGERPRINT, "imaps broke again");
    assert_string_equal(quarantined(s, FINGERPRINT), "imaps broke again");
    assert_string_equal(quarantined(s, OTHER), "smtp broke");
    assert_int_equal(store_release(s, WANT_PRIMARY, FINGERPRINT, &err), 0);
    assert_int_equal(store_release(s, WANT_PRIMARY, FINGERPRINT, &err), 0);
    assert_null(quarantined(s, FINGERPRINT));
    assert_string_equal(quarantined(s, OTHER), "smtp broke");
}

static void test_quarantine_is_bounded(void **state)
{
    AUTO_STORE struct store *s = opened(*state);
    char fingerprint[65] = FINGERPRINT;
    for (int i = 0; i <= STORE_QUARANTINE_MAX; i++) {
        snprintf(fingerprint, sizeof fingerprint, "%064d", i);
        quarantine(s, fingerprint, "broke");
    }
    assert_non_null(quarantined(s, fingerprint));
    snprintf(fingerprint, sizeof fingerprint, "%064d", 0);
    assert_null(quarantined(s, fingerprint));
    snprintf(fingerprint, sizeof fingerprint, "%064d", 1);
    assert_non_null(quarantined(s, fingerprint));
}

static void test_damaged_quarantine(void **state)
{
    static const char *const contents[] = {"", "{", "{}", "\"\""};
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    char id[STORE_GENERATION_SIZE], reason[STORE_REASON_SIZE];
    stage(s, WANT_PRIMARY, 1, id);
    for (size_t i = 0; i < COUNT(contents); i++) {
        struct error err = {.text = ""};
        write_text(d, "state/wants/primary/quarantine.json", contents[i]);
        assert_int_equal(store_is_quarantined(s, WANT_PRIMARY, FINGERPRINT, reason, &err), E_FAILED);
        assert_has(err.text, "quarantine.json");
    }
}

/* ---- removal ---- */

static int note_want(void *ctx, const char *want, struct error *err)
{
    (void)err;
    strcat(ctx, want);
    return 0;
}

static void test_removed(void **state)
{
    AUTO_STORE struct store *s = opened(*state);
    struct error err = {.text = ""};
    const struct record gone = {.state = STORE_REMOVED}, served = {.state = STORE_SERVED};
    char seen[600] = "";
    assert_int_equal(store_write_record(s, "a.example.org", &served, &err), 0);
    assert_int_equal(store_write_record(s, "b.example.org", &gone, &err), 0);
    assert_int_equal(store_each_removed(s, note_want, seen, &err), 0);
    assert_string_equal(seen, "b.example.org");
}

static void test_what_cannot_be_listed_is_not_nothing(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    AUTO_FREE struct generation_meta *list = NULL;
    struct error err;
    char seen[300] = "", id[STORE_GENERATION_SIZE];
    size_t count;
    stage(s, WANT_PRIMARY, 0, id);
    leave_descriptors(0);
    int removed = store_each_removed(s, note_want, seen, &err);
    leave_descriptors(1);
    int listed_all = store_list(s, WANT_PRIMARY, &list, &count, &err);
    leave_descriptors(1000);
    assert_int_equal(removed, E_TEMPORARY);
    assert_int_equal(listed_all, E_TEMPORARY);
}

/* ---- records ---- */

static void test_record(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct error err = {.text = ""};
    struct record got;
    assert_int_equal(store_read_record(s, "mail.example.org", &got, &err), 0);
    assert_int_equal(got.state, STORE_NONE);
    assert_string_equal(got.current, "");
    for (int state_of = STORE_NONE; state_of <= STORE_REMOVED; state_of++) {
        struct record record = {
            .state = (enum store_state)state_of,
            .current = "20261121T070201Z-0123456789ab",
            .previous = "20261120T070201Z-0123456789ab",
            .fingerprint = FINGERPRINT,
            .not_after = START + 1,
            .changed = START + 2,
            .verified = state_of == STORE_SERVED ? START + 3 : 0,
            .detail = "imaps: \"stale\" \\x00",
            .is_new = state_of == STORE_PENDING,
            .is_retired = state_of == STORE_REMOVED,
        };
        assert_int_equal(store_write_record(s, "mail.example.org", &record, &err), 0);
        assert_int_equal(store_read_record(s, "mail.example.org", &got, &err), 0);
        assert_int_equal(got.state, record.state);
        assert_string_equal(got.current, record.current);
        assert_string_equal(got.previous, record.previous);
        assert_string_equal(got.fingerprint, record.fingerprint);
        assert_string_equal(got.detail, record.detail);
        assert_int_equal(got.not_after, record.not_after);
        assert_int_equal(got.changed, record.changed);
        assert_int_equal(got.verified, record.verified);
        assert_int_equal(got.is_new, record.is_new);
        assert_int_equal(got.is_retired, record.is_retired);
    }
    assert_string_equal(listed(d, "state/wants/mail.example.org"), "record.json");
    assert_int_equal(mode_of(d, "state/wants/mail.example.org/record.json"), 0600);
}

static void test_damaged_record(void **state)
{
    static const char *const contents[] = {
        "",
        "{",
        "[]",
        "null",
        "\"state\"",
        "{\"state\": \"served\", \"state\": \"none\"}",
        "{} x",
        "{}",
        "{\"state\": \"splendid\"}",
        "{\"state\": 1}",
    };
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    make_folder(d, "state/wants/primary");
    for (size_t i = 0; i < COUNT(contents); i++) {
        struct record record;
        struct error err = {.text = ""};
        write_text(d, "state/wants/primary/record.json", contents[i]);
        if (store_read_record(s, WANT_PRIMARY, &record, &err) != E_FAILED)
            fail_msg("not refused: %s", contents[i]);
        assert_has(err.text, "want primary: record.json");
        assert_has(err.text, "the state is damaged; remove this file and run a --force");
        assert_int_equal(record.state, STORE_NONE);
        assert_true(store_prune(s, WANT_PRIMARY, 4, &err) < 0);
    }
}

static void test_large_record(void **state)
{
    static char large[20000];
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct record record;
    struct error err = {.text = ""};
    memset(large, ' ', sizeof large - 1);
    make_folder(d, "state/wants/primary");
    write_text(d, "state/wants/primary/record.json", large);
    assert_int_equal(store_read_record(s, WANT_PRIMARY, &record, &err), E_FAILED);
    assert_has(err.text, "larger than 16384 bytes");
}

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(store_state_str(STORE_NONE), "none");
    assert_string_equal(store_state_str(STORE_PENDING), "pending");
    assert_string_equal(store_state_str(STORE_SERVED), "served");
    assert_string_equal(store_state_str(STORE_FAILED), "failed");
}

/* A file's name in a message, or a message cut in the midst of a character. */
static void test_detail_that_is_no_utf8(void **state)
{
    AUTO_STORE struct store *s = opened(*state);
    struct error err = {.text = ""};
    struct record record = {.state = STORE_FAILED, .detail = "caf\xe9"}, got;
    assert_int_equal(store_write_record(s, WANT_PRIMARY, &record, &err), 0);
    assert_int_equal(store_read_record(s, WANT_PRIMARY, &got, &err), 0);
    assert_string_equal(got.detail, "caf\\xe9");
}

/* What is no generation's name is none, and what does not fit is not half of it. */
static void test_ids_in_a_record(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct error err = {.text = ""};
    struct record got;
    assert_int_equal(store_write_record(s, WANT_PRIMARY, &(struct record){.state = STORE_SERVED}, &err), 0);
    write_text(d, "state/wants/primary/record.json",
               "{\"state\": \"served\", \"current\": \"a b\", \"previous\": \"../x\", \"fingerprint\": "
               "\"" FINGERPRINT "0\"}");
    assert_int_equal(store_read_record(s, WANT_PRIMARY, &got, &err), 0);
    assert_string_equal(got.current, "");
    assert_string_equal(got.previous, "");
    assert_string_equal(got.fingerprint, "");
}

/* ---- the intent ---- */

static void test_intent(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct error err = {.text = ""};
    struct intent intent, written = {"mail.example.org", "20261121T070200Z-0123456789ab", true};
    assert_int_equal(store_read_intent(s, &intent, &err), STORE_NO_INTENT);
    assert_int_equal(store_clear_intent(s, &err), 0);
    assert_int_equal(store_write_intent(s, &written, &err), 0);
    assert_int_equal(store_read_intent(s, &intent, &err), 0);
    assert_string_equal(intent.want, "mail.example.org");
    assert_string_equal(intent.generation, "20261121T070200Z-0123456789ab");
    assert_true(intent.makes_folder);
    assert_string_equal(listed(d, "state"), "intent.json wants");
    assert_int_equal(store_clear_intent(s, &err), 0);
    assert_int_equal(store_read_intent(s, &intent, &err), STORE_NO_INTENT);
}

static void test_damaged_intent(void **state)
{
    static const char *const contents[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"want\": \"primary\"}",
        "{\"generation\": \"20261121T070200Z-0123456789ab\"}",
        "{\"want\": \"..\", \"generation\": \"20261121T070200Z-0123456789ab\"}",
        "{\"want\": \"primary\", \"generation\": \"../20261121T070200Z\"}",
        "{\"want\": \"primary\", \"generation\": 1}",
    };
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    for (size_t i = 0; i < COUNT(contents); i++) {
        struct intent intent;
        struct error err = {.text = ""};
        write_text(d, "state/intent.json", contents[i]);
        if (store_read_intent(s, &intent, &err) != E_FAILED)
            fail_msg("not refused: %s", contents[i]);
        assert_has(err.text, "intent.json");
    }
}

/* ---- the lock ---- */

/* A process that holds the lock until `release` is closed; it has it when this returns. */
static pid_t hold_lock(const struct directory *d, int *out_release)
{
    int ready[2], release[2];
    char byte;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(release, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s = NULL;
        struct error err;
        close(release[1]);
        if (store_open(&s, path_in(d, "state"), &err) < 0 || store_lock(s, clock_ms(), &err) < 0 ||
            write(ready[1], "", 1) != 1 || read(release[0], &byte, 1) != 0)
            _exit(1);
        _exit(0);
    }
    close(release[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *out_release = release[1];
    return pid;
}

static void test_lock(void **state)
{
    const struct directory *d = *state;
    AUTO_STORE struct store *s = opened(d);
    struct error err = {.text = ""};
    int release, status;
    pid_t pid = hold_lock(d, &release);
    int64_t start = clock_ms();
    assert_int_equal(store_lock(s, clock_ms() + 120, &err), E_TEMPORARY);
    assert_has(err.text, "another deployment is under way");
    assert_true(clock_ms() - start >= 120);
    assert_int_equal(store_lock(s, clock_ms() - 1000, &err), E_TEMPORARY);
    close(release);
    assert_int_equal(store_lock(s, clock_ms() + 20000, &err), 0); /* waits for the other's end */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(store_lock(s, clock_ms(), &err), 0); /* once more is nothing */
    assert_int_equal(mode_of(d, "state/lock"), 0600);
}

static void test_lock_ends_with_the_store(void **state)
{
    const struct directory *d = *state;
    struct error err;
    struct store *first = opened(d);
    AUTO_STORE struct store *second = opened(d);
    assert_int_equal(store_lock(first, clock_ms(), &err), 0);
    assert_int_equal(store_lock(second, clock_ms(), &err), E_TEMPORARY);
    store_close(first);
    assert_int_equal(store_lock(second, clock_ms(), &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(test_open),
        WITH_DIRECTORY(test_open_to_others_is_refused),
        WITH_DIRECTORY(test_open_of_another_is_refused),
        WITH_DIRECTORY(test_open_no_folder),
        WITH_DIRECTORY(test_stage_and_load),
        WITH_DIRECTORY(test_staged_later_is_newer),
        WITH_DIRECTORY(test_stage_after_a_crash),
        WITH_DIRECTORY(test_ids),
        WITH_DIRECTORY(test_damaged_generation),
        WITH_DIRECTORY(test_prune),
        WITH_DIRECTORY(test_detail_that_is_no_utf8),
        WITH_DIRECTORY(test_ids_in_a_record),
        WITH_DIRECTORY(test_list),
        WITH_DIRECTORY(test_forget),
        WITH_DIRECTORY(test_quarantine),
        WITH_DIRECTORY(test_quarantine_is_bounded),
        WITH_DIRECTORY(test_damaged_quarantine),
        WITH_DIRECTORY(test_removed),
        WITH_DIRECTORY(test_what_cannot_be_listed_is_not_nothing),
        WITH_DIRECTORY(test_record),
        WITH_DIRECTORY(test_damaged_record),
        WITH_DIRECTORY(test_large_record),
        cmocka_unit_test(test_words),
        WITH_DIRECTORY(test_intent),
        WITH_DIRECTORY(test_damaged_intent),
        WITH_DIRECTORY(test_lock),
        WITH_DIRECTORY(test_lock_ends_with_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
