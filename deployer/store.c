#include "deployer/store.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/member.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>

#define META_MAX (16 * 1024)
#define INTENT   "intent.json"
#define CONTACT  "contact"

struct store {
    int fd;
    int wants_fd;
    int lock_fd;
};

int store_open(struct store **out, const char *path, struct error *err)
{
    struct stat st;
    AUTO_STORE struct store *s = calloc(1, sizeof *s);
    if (!s)
        return error_memory(err);
    s->wants_fd = s->lock_fd = -1;
    s->fd = file_open_dir(AT_FDCWD, path, true, 0700, err);
    if (s->fd < 0)
        return err->code;
    if (fstat(s->fd, &st) < 0)
        return error_errno(err, path, "stat");
    if (st.st_mode & 077 || st.st_uid != geteuid())
        return error_set(err, E_CONFIG,
                         "%s: it holds private keys: it must belong to uid %u with mode 0700, not to uid %u "
                         "with mode %04o",
                         path, (unsigned)geteuid(), (unsigned)st.st_uid, st.st_mode & 07777U);
    s->wants_fd = file_open_dir(s->fd, "wants", true, 0700, err);
    if (s->wants_fd < 0)
        return err->code;
    *out = s;
    s = NULL;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    cleanup_closep(&s->fd);
    cleanup_closep(&s->wants_fd);
    cleanup_closep(&s->lock_fd);
    free(s);
}

int store_folder(const struct store *s)
{
    return s->fd;
}

void store_note_contact(struct store *s)
{
    AUTO_CLOSE int fd = openat(s->fd, CONTACT, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        futimens(fd, NULL);
}

time_t store_last_contact(const struct store *s)
{
    struct stat st;
    return fstatat(s->fd, CONTACT, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_mtim.tv_sec;
}

int store_lock(struct store *s, int64_t deadline_ms, struct error *err)
{
    if (s->lock_fd < 0)
        s->lock_fd = openat(s->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return error_errno(err, "lock", "open");
    return file_lock(s->lock_fd, deadline_ms, "another deployment is under way", err);
}

/* ---- JSON files ---- */

static int write_json(int dirfd, const char *name, json_t *value, struct error *err)
{
    AUTO_FREE char *text = json_dumps(value, JSON_INDENT(2));
    if (!text)
        return error_memory(err);
    return file_replace(dirfd, name, text, strlen(text), 0600, err);
}

static int damaged(struct error *err, const char *name, int line, const char *what)
{
    return error_set(err, E_FAILED, "%s:%d: %s: the state is damaged; remove this file and run a --force",
                     name, line, what);
}

/* 0, FILE_MISSING, or an error that names the file. */
static int read_json(int dirfd, const char *name, json_t **out, struct error *err)
{
    AUTO_SECRET struct secret text = SECRET(META_MAX);
    json_error_t detail;
    int rc = file_read(dirfd, name, 0, &text, NULL, err);
    if (rc)
        return rc == FILE_CHANGED ? E_TEMPORARY : rc;
    *out = json_loadb((char *)text.data, text.len, JSON_REJECT_DUPLICATES, &detail);
    return *out ? 0 : damaged(err, name, detail.line, detail.text);
}

/* ---- generations ---- */

static bool is_generation(const char *id)
{
    size_t len = strlen(id);
    return len > 16 && len < STORE_GENERATION_SIZE && id[8] == 'T' &&
           strspn(id, "0123456789TZabcdef-") == len;
}

static int open_want(struct store *s, const char *want, bool make, struct error *err)
{
    if (!want_is_id(want)) {
        error_set(err, E_FAILED, "not the name of a want");
        return -1;
    }
    return file_open_dir(s->wants_fd, want, make, 0700, err);
}

static int only_generations(const struct dirent *entry)
{
    return is_generation(entry->d_name);
}

/* Calls visit for each generation, the oldest first, until it returns other than 0. */
static int each_generation(int want_fd, int (*visit)(void *ctx, int want_fd, const char *id, int left),
                           void *ctx, struct error *err)
{
    struct dirent **entries = NULL;
    int rc = 0, count = scandirat(want_fd, ".", &entries, only_generations, alphasort);
    if (count < 0)
        return error_errno(err, "generations", "read");
    for (int i = 0; i < count; i++) {
        if (!rc)
            rc = visit(ctx, want_fd, entries[i]->d_name, count - i);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int write_generation(int dirfd, const struct judge_verdict *v, struct error *err)
{
    json_auto_t *meta = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "fingerprint", v->fingerprint, "spki",
                                  v->spki, "key_type", v->key_type, "issuer", v->issuer, "not_before",
                                  member_new_time(v->not_before), "not_after", member_new_time(v->not_after));
    if (!meta)
        return error_memory(err);
    int rc = file_create(dirfd, "cert.pem", v->chain.data, v->chain.len, 0600, NULL, err);
    if (!rc)
        rc = file_create(dirfd, "key.pem", v->key.data, v->key.len, 0600, NULL, err);
    return rc ? rc : write_json(dirfd, "meta.json", meta, err); /* which syncs the directory */
}

#define NAME_TIME "%Y%m%dT%H%M%SZ"

static int note_newest(void *ctx, int want_fd, const char *id, int left)
{
    (void)want_fd;
    struct tm tm = {0};
    if (left == 1 && strptime(id, NAME_TIME, &tm))
        *(time_t *)ctx = timegm(&tm);
    return 0;
}

/* A generation is whole once it has its name: it is written as "new" and renamed. Their names are their
 * order: one of the same second as the newest, or of a clock that was set back, is named a second after it.
 */
static int publish_generation(int want_fd, const char *fingerprint, time_t now, char *out_id,
                              struct error *err)
{
    time_t newest = 0;
    struct tm tm;
    int rc = each_generation(want_fd, note_newest, &newest, err);
    if (rc)
        return rc;
    now = now > newest ? now : newest + 1;
    size_t n = strftime(out_id, STORE_GENERATION_SIZE, NAME_TIME "-", gmtime_r(&now, &tm));
    snprintf(out_id + n, STORE_GENERATION_SIZE - n, "%.12s", fingerprint);
    return renameat(want_fd, "new", want_fd, out_id) < 0 ? error_errno(err, out_id, "rename") : 0;
}

int store_stage(struct store *s, const char *want, const struct judge_verdict *verdict, time_t now,
                char *out_id, struct error *err)
{
    char id[STORE_GENERATION_SIZE];
    AUTO_CLOSE int want_fd = open_want(s, want, true, err);
    if (want_fd < 0)
        return err->code;
    int rc = file_remove_tree(want_fd, "new", err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int fd = file_open_dir(want_fd, "new", true, 0700, err);
    if (fd < 0)
        return err->code;
    rc = write_generation(fd, verdict, err);
    if (!rc)
        rc = publish_generation(want_fd, verdict->fingerprint, now, id, err);
    if (!rc)
        rc = file_sync_dir(want_fd, want, err);
    if (!rc)
        strcpy(out_id, id);
    return rc;
}

void generation_wipe(struct generation *g)
{
    secret_wipe(&g->chain);
    secret_wipe(&g->key);
}

static int read_generation(int dirfd, struct generation *out, struct error *err)
{
    json_auto_t *meta = NULL;
    int rc = read_json(dirfd, "meta.json", &meta, err);
    if (!rc)
        rc = file_read(dirfd, "cert.pem", 0, &out->chain, NULL, err);
    if (!rc)
        rc = file_read(dirfd, "key.pem", 0, &out->key, NULL, err);
    if (rc)
        return rc < 0 ? rc : E_FAILED;
    member_copy(meta, "fingerprint", out->fingerprint, sizeof out->fingerprint);
    out->not_before = member_time(meta, "not_before");
    out->not_after = member_time(meta, "not_after");
    return text_is_fingerprint(out->fingerprint) ? 0 : error_set(err, E_FAILED, "meta.json: no fingerprint");
}

int store_load(struct store *s, const char *want, const char *id, struct generation *out, struct error *err)
{
    *out = (struct generation){0};
    secret_init(&out->chain, SECRET_MAX);
    secret_init(&out->key, SECRET_MAX);
    AUTO_CLOSE int want_fd = open_want(s, want, false, err);
    if (want_fd < 0)
        return err->code;
    if (!is_generation(id))
        return error_set(err, E_FAILED, "%s: not the name of a generation", id);
    AUTO_CLOSE int fd = file_open_dir(want_fd, id, false, 0, err);
    int rc = fd < 0 ? err->code : read_generation(fd, out, err);
    if (rc)
        return error_wrap(err, "generation %s of %s", id, want);
    strcpy(out->id, id);
    return 0;
}

struct pruning {
    struct record record;
    size_t kept;
    struct error *err;
};

static int prune_one(void *ctx, int want_fd, const char *id, int left)
{
    const struct pruning *p = ctx;
    bool needed = strcmp(id, p->record.current) == 0 || strcmp(id, p->record.previous) == 0;
    return needed || (size_t)left <= p->kept ? 0 : file_remove_tree(want_fd, id, p->err);
}

int store_prune(struct store *s, const char *want, size_t kept, struct error *err)
{
    struct pruning pruning = {.kept = kept, .err = err};
    int rc = store_read_record(s, want, &pruning.record, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int fd = open_want(s, want, false, err);
    return fd < 0 ? err->code : each_generation(fd, prune_one, &pruning, err);
}

struct listing {
    struct generation_meta *list;
    size_t count;
    struct error *err;
};

/* One that cannot be read is no generation to go back to: it is left out. */
static int list_one(void *ctx, int want_fd, const char *id, int left)
{
    struct listing *l = ctx;
    struct error ignored;
    json_auto_t *meta = NULL;
    if (!l->list)
        l->list = calloc((size_t)left, sizeof *l->list);
    if (!l->list)
        return error_memory(l->err);
    AUTO_CLOSE int fd = file_open_dir(want_fd, id, false, 0, &ignored);
    if (fd < 0 || read_json(fd, "meta.json", &meta, &ignored))
        return 0;
    struct generation_meta *m = &l->list[l->count];
    strcpy(m->id, id);
    member_copy(meta, "fingerprint", m->fingerprint, sizeof m->fingerprint);
    m->not_after = member_time(meta, "not_after");
    l->count += text_is_fingerprint(m->fingerprint);
    return 0;
}

int store_list(struct store *s, const char *want, struct generation_meta **out, size_t *out_count,
               struct error *err)
{
    struct listing listing = {.err = err};
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    int rc = fd < 0 ? err->code : each_generation(fd, list_one, &listing, err);
    *out = listing.list;
    *out_count = listing.count;
    return rc;
}

int store_forget(struct store *s, const char *want, struct error *err)
{
    if (!want_is_id(want))
        return error_set(err, E_FAILED, "not the name of a want");
    int rc = file_remove_tree(s->wants_fd, want, err);
    return rc ? rc : file_sync_dir(s->wants_fd, "wants", err);
}

/* ---- quarantine ---- */

#define QUARANTINE "quarantine.json"

/* The array, an empty one if there is none. */
static int read_quarantine(int want_fd, json_t **out, struct error *err)
{
    int rc = read_json(want_fd, QUARANTINE, out, err);
    if (rc == FILE_MISSING) {
        *out = json_array();
        return *out ? 0 : error_memory(err);
    }
    return !rc && !json_is_array(*out) ? damaged(err, QUARANTINE, 1, "it is no array") : rc;
}

static size_t find_quarantined(json_t *list, const char *fingerprint)
{
    size_t i = 0;
    for (; i < json_array_size(list); i++) {
        if (strcmp(member_text(json_array_get(list, i), "fingerprint"), fingerprint) == 0)
            break;
    }
    return i;
}

int store_quarantine(struct store *s, const char *want, const char *fingerprint, time_t now,
                     const char *reason, struct error *err)
{
    json_auto_t *list = NULL;
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    int rc = fd < 0 ? err->code : read_quarantine(fd, &list, err);
    if (rc)
        return rc;
    json_array_remove(list, find_quarantined(list, fingerprint));
    if (json_array_size(list) >= STORE_QUARANTINE_MAX)
        json_array_remove(list, 0);
    json_t *item = json_pack("{s:s, s:o, s:o}", "fingerprint", fingerprint, "when", member_new_time(now),
                             "reason", member_new_text(reason));
    if (!item || json_array_append_new(list, item) < 0)
        return error_memory(err);
    return write_json(fd, QUARANTINE, list, err);
}

int store_is_quarantined(struct store *s, const char *want, const char *fingerprint, char *out_reason,
                         struct error *err)
{
    json_auto_t *list = NULL;
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    int rc = fd < 0 ? err->code : read_quarantine(fd, &list, err);
    if (rc)
        return rc;
    json_t *item = json_array_get(list, find_quarantined(list, fingerprint));
    if (!item)
        return 0;
    member_copy(item, "reason", out_reason, STORE_REASON_SIZE);
    return STORE_QUARANTINED;
}

int store_count_quarantined(struct store *s, const char *want, size_t *out, struct error *err)
{
    json_auto_t *list = NULL;
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    int rc = fd < 0 ? err->code : read_quarantine(fd, &list, err);
    if (!rc)
        *out = json_array_size(list);
    return rc;
}

int store_release(struct store *s, const char *want, const char *fingerprint, struct error *err)
{
    json_auto_t *list = NULL;
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    int rc = fd < 0 ? err->code : read_quarantine(fd, &list, err);
    if (rc)
        return rc;
    return json_array_remove(list, find_quarantined(list, fingerprint)) < 0
               ? 0
               : write_json(fd, QUARANTINE, list, err);
}

/* ---- records ---- */

static const char *const state_words[] = {
    [STORE_NONE] = "none",     [STORE_PENDING] = "pending", [STORE_SERVED] = "served",
    [STORE_FAILED] = "failed", [STORE_REMOVED] = "removed",
};

const char *store_state_str(enum store_state state)
{
    return state_words[state];
}

static bool parse_state(const char *word, enum store_state *out)
{
    for (size_t i = 0; i < sizeof state_words / sizeof *state_words; i++)
        if (strcmp(state_words[i], word) == 0) {
            *out = (enum store_state)i;
            return true;
        }
    return false;
}

static void copy_id(const json_t *object, const char *key, char out[STORE_GENERATION_SIZE])
{
    member_copy(object, key, out, STORE_GENERATION_SIZE);
    if (!is_generation(out))
        out[0] = '\0';
}

int store_read_record(struct store *s, const char *want, struct record *out, struct error *err)
{
    json_auto_t *value = NULL;
    *out = (struct record){0};
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    if (fd < 0)
        return err->code;
    int rc = read_json(fd, "record.json", &value, err);
    if (rc == FILE_MISSING)
        return 0;
    if (!rc && !parse_state(member_text(value, "state"), &out->state))
        rc = damaged(err, "record.json", 1, "no state in it");
    if (rc)
        return error_wrap(err, "want %s", want);
    copy_id(value, "current", out->current);
    copy_id(value, "previous", out->previous);
    member_copy(value, "fingerprint", out->fingerprint, sizeof out->fingerprint);
    member_copy(value, "detail", out->detail, sizeof out->detail);
    member_copy(value, "down_before", out->down_before, sizeof out->down_before);
    out->not_after = member_time(value, "not_after");
    out->changed = member_time(value, "changed");
    out->verified = member_time(value, "verified");
    out->is_new = json_is_true(json_object_get(value, "new_folder"));
    out->is_retired = json_is_true(json_object_get(value, "retired"));
    return 0;
}

int store_write_record(struct store *s, const char *want, const struct record *r, struct error *err)
{
    AUTO_CLOSE int fd = open_want(s, want, true, err);
    if (fd < 0)
        return err->code;
    json_auto_t *value = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:b, s:b}", "state", store_state_str(r->state),
        "current", r->current, "previous", r->previous, "fingerprint", r->fingerprint, "not_after",
        member_new_time(r->not_after), "changed", member_new_time(r->changed), "verified",
        member_new_time(r->verified), "detail", member_new_text(r->detail), "down_before", r->down_before,
        "new_folder", r->is_new, "retired", r->is_retired);
    return value ? write_json(fd, "record.json", value, err) : error_memory(err);
}

static int only_wants(const struct dirent *entry)
{
    return want_is_id(entry->d_name);
}

int store_each_removed(struct store *s, int (*visit)(void *ctx, const char *want, struct error *err),
                       void *ctx, struct error *err)
{
    struct dirent **entries = NULL;
    int rc = 0, count = scandirat(s->wants_fd, ".", &entries, only_wants, NULL);
    if (count < 0)
        return error_errno(err, "wants", "read");
    for (int i = 0; i < count; i++) {
        struct record record;
        if (!rc)
            rc = store_read_record(s, entries[i]->d_name, &record, err);
        if (!rc && record.state == STORE_REMOVED)
            rc = visit(ctx, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

/* ---- the intent ---- */

int store_write_intent(struct store *s, const struct intent *intent, struct error *err)
{
    json_auto_t *value = json_pack("{s:s, s:s, s:b}", "want", intent->want, "generation", intent->generation,
                                   "makes_folder", intent->makes_folder);
    return value ? write_json(s->fd, INTENT, value, err) : error_memory(err);
}

int store_read_intent(struct store *s, struct intent *out, struct error *err)
{
    json_auto_t *value = NULL;
    int rc = read_json(s->fd, INTENT, &value, err);
    if (rc)
        return rc == FILE_MISSING ? STORE_NO_INTENT : rc;
    member_copy(value, "want", out->want, sizeof out->want);
    member_copy(value, "generation", out->generation, sizeof out->generation);
    out->makes_folder = json_is_true(json_object_get(value, "makes_folder"));
    if (!want_is_id(out->want) || !is_generation(out->generation))
        return error_set(err, E_FAILED, INTENT ": it names no want or no generation");
    return 0;
}

int store_clear_intent(struct store *s, struct error *err)
{
    if (unlinkat(s->fd, INTENT, 0) < 0 && errno != ENOENT)
        return error_errno(err, INTENT, "remove");
    return file_sync_dir(s->fd, INTENT, err);
}
