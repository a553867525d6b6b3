/*
 * The pusher's state. What is read can be written, and is read again as the same; what cannot be read is an
 * empty state and a reason.
 */
#include "common/text.h"
#include "pusher/state.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <string.h>

static int dir = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    dir = open(fuzz_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(dir >= 0);
    return 0;
}

static void check_bounds(const struct state *s)
{
    CHECK(s->names.count <= WANT_MAX);
    for (size_t i = 0; i < s->names.count; i++) {
        const struct state_want *want = &s->wants[i];
        CHECK(want_is_id(want->id));
        CHECK_TEXT(want->id, s->names.list[i].id);
        CHECK(!want->fingerprint[0] || text_is_fingerprint(want->fingerprint));
        for (size_t n = 0; n < s->names.list[i].name_count; n++)
            CHECK(text_is_host_name(s->names.list[i].names[n], true));
    }
}

static void check_same_want(const struct state *a, const struct state *b, size_t i)
{
    const struct want *names = &a->names.list[i], *names_again = &b->names.list[i];
    CHECK_TEXT(a->wants[i].id, b->wants[i].id);
    CHECK_TEXT(a->wants[i].fingerprint, b->wants[i].fingerprint);
    CHECK_TEXT(a->wants[i].lineage, b->wants[i].lineage);
    CHECK(a->wants[i].not_after == b->wants[i].not_after);
    CHECK(names->name_count == names_again->name_count);
    for (size_t n = 0; n < names->name_count; n++)
        CHECK_TEXT(names->names[n], names_again->names[n]);
}

static void check_again(const struct state *s)
{
    AUTO_STATE struct state again;
    struct error err;
    CHECK(state_write(dir, "again", s, &err) == 0);
    CHECK(state_read(dir, "again", &again, &err) == 0);
    CHECK(again.contact == s->contact && again.next_begin == s->next_begin);
    CHECK(again.names.count == s->names.count);
    CHECK(again.signature_count == s->signature_count);
    for (size_t i = 0; i < s->names.count; i++)
        check_same_want(s, &again, i);
    for (size_t i = 0; i < s->signature_count; i++)
        CHECK_TEXT(s->signatures[i], again.signatures[i]);
}

/* Compared with a target and its lineages, whatever the state says of them. */
static void check_current(const struct state *s)
{
    char host[] = "mail.example.org", user[] = "certsync", signature[] = "x", path[] = "";
    const struct target target = {.host = host, .port = 22, .user = user};
    struct lineage lineage = {.cert_path = path, .signature = signature};
    const struct lineage_list lineages = {.list = &lineage, .count = 1};
    if (state_is_current(s, &target, &lineages))
        CHECK(s->signature_count == 2 && s->names.count && s->wants[0].fingerprint[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_STATE struct state state;
    struct error err = {0};
    fuzz_write_file(dir, "target.json", data, size);
    int rc = state_read(dir, "target", &state, &err);
    if (rc == 0) {
        check_bounds(&state);
        check_again(&state);
        check_current(&state);
        return 0;
    }
    CHECK(rc == STATE_DAMAGED && !state.contact && !state.names.count && !state.signature_count);
    CHECK_ERROR(err.code, &err);
    CHECK(strstr(err.text, "target.json"));
    return 0;
}
