/*
 * The deployer's state files: the input as a record, as a quarantine, as an intent and as what a generation
 * says of itself. What is read can be written, and is read again as the same; what cannot be read is named.
 */
#include "common/cleanup.h"
#include "common/text.h"
#include "deployer/store.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define WANT        "primary"
#define GENERATION  "20261121T070200Z-0123456789ab"
#define FINGERPRINT "02d805f4b8948ec7fc405fcc0bba9282ff546ef7a88cb88ea61d4f1652ac0834"
#define OTHER       "12d805f4b8948ec7fc405fcc0bba9282ff546ef7a88cb88ea61d4f1652ac0834"

static struct store *store;
static int top = -1, want_dir = -1, generation_dir = -1;

static int make_folder(int parent, const char *name)
{
    CHECK(mkdirat(parent, name, 0700) == 0);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err;
    (void)argc, (void)argv;
    const char *folder = fuzz_folder();
    CHECK(store_open(&store, folder, &err) == 0);
    top = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int wants = openat(top, "wants", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    want_dir = make_folder(wants, WANT);
    generation_dir = make_folder(want_dir, GENERATION);
    fuzz_write_file(generation_dir, "cert.pem", "cert", 4);
    fuzz_write_file(generation_dir, "key.pem", "key", 3);
    return 0;
}

/* ---- records ---- */

static void check_same_record(const struct record *a, const struct record *b)
{
    CHECK(a->state == b->state && a->not_after == b->not_after && a->changed == b->changed);
    CHECK(a->verified == b->verified);
    CHECK_TEXT(a->current, b->current);
    CHECK_TEXT(a->previous, b->previous);
    CHECK_TEXT(a->fingerprint, b->fingerprint);
    CHECK_TEXT(a->detail, b->detail);
    CHECK_TEXT(a->down_before, b->down_before);
}

static void check_record(void)
{
    struct record record, again;
    struct error err;
    int rc = store_read_record(store, WANT, &record, &err);
    if (rc) {
        CHECK_ERROR(rc, &err);
        CHECK(strstr(err.text, "record.json"));
        return;
    }
    CHECK(store_state_str(record.state));
    CHECK(store_write_record(store, WANT, &record, &err) == 0);
    CHECK(store_read_record(store, WANT, &again, &err) == 0);
    check_same_record(&record, &again);
}

/* ---- the intent ---- */

static void check_intent(void)
{
    struct intent intent, again;
    struct error err;
    int rc = store_read_intent(store, &intent, &err);
    if (rc) {
        CHECK_ERROR(rc, &err);
        CHECK(strstr(err.text, "intent.json"));
        return;
    }
    CHECK(want_is_id(intent.want));
    CHECK(strspn(intent.generation, "0123456789TZabcdef-") == strlen(intent.generation));
    CHECK(store_write_intent(store, &intent, &err) == 0);
    CHECK(store_read_intent(store, &again, &err) == 0);
    CHECK_TEXT(again.want, intent.want);
    CHECK_TEXT(again.generation, intent.generation);
    CHECK(again.makes_folder == intent.makes_folder);
}

/* ---- quarantine: once more is put into what can be read, and taken out again ---- */

static void check_quarantine(void)
{
    char reason[STORE_REASON_SIZE] = "";
    struct error err;
    int rc = store_is_quarantined(store, WANT, FINGERPRINT, reason, &err);
    if (rc < 0) {
        CHECK_ERROR(rc, &err);
        CHECK(strstr(err.text, "quarantine.json"));
        return;
    }
    CHECK(rc == 0 || rc == STORE_QUARANTINED);
    CHECK(store_quarantine(store, WANT, OTHER, 1795244520, "it broke imaps", &err) == 0);
    CHECK(store_is_quarantined(store, WANT, OTHER, reason, &err) == STORE_QUARANTINED);
    CHECK_TEXT(reason, "it broke imaps");
    CHECK(store_release(store, WANT, OTHER, &err) == 0);
}

/* ---- what a generation says of itself ---- */

static void check_generation(void)
{
    AUTO_GENERATION struct generation generation;
    struct error err;
    int rc = store_load(store, WANT, GENERATION, &generation, &err);
    if (rc) {
        CHECK_ERROR(rc, &err);
        CHECK(strstr(err.text, "meta.json") && strstr(err.text, GENERATION));
        return;
    }
    CHECK_TEXT(generation.id, GENERATION);
    CHECK(text_is_fingerprint(generation.fingerprint));
    CHECK(generation.chain.len == 4 && generation.key.len == 3);
}

/* It is in the list if it can be loaded. */
static void check_list(void)
{
    AUTO_FREE struct generation_meta *list = NULL;
    struct error err;
    size_t count = 7;
    CHECK(store_list(store, WANT, &list, &count, &err) == 0);
    CHECK(count <= 1);
    if (count) {
        CHECK_TEXT(list->id, GENERATION);
        CHECK(text_is_fingerprint(list->fingerprint));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_write_file(want_dir, "record.json", data, size);
    check_record();
    fuzz_write_file(top, "intent.json", data, size);
    check_intent();
    fuzz_write_file(generation_dir, "meta.json", data, size);
    check_generation();
    check_list();
    fuzz_write_file(want_dir, "quarantine.json", data, size);
    check_quarantine();
    return 0;
}
