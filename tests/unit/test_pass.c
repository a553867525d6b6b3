/* pusher/pass: what is recorded of a contact. */
#include "tests/unit/testing.h"

/* Compiled once more into this program, for what it does at the end of a contact. */
#define pass_run run_pass
#include "pusher/pass.c"

#define DAY     86400
#define OLD     "1111111111111111111111111111111111111111111111111111111111111111"
#define RENEWAL "2222222222222222222222222222222222222222222222222222222222222222"

static char name[] = "mailcow", host[] = "mail.example.org", user[] = "certsync";

/* Records a contact at which the mail host had `installed`, and does not serve the renewal; out: what is on
 * record then. */
static void record_unserved(const struct directory *d, const char *installed, time_t not_after,
                            struct state *out)
{
    const struct target target = {.name = name, .host = host, .port = 22, .user = user};
    struct lineage_list lineages = {0};
    const struct pass_opts opts = {.target = &target, .lineages = &lineages, .state_fd = d->fd};
    CLEANUP(pass_free) struct pass p = {.opts = &opts};
    struct want *want;
    struct error err;
    assert_int_equal(want_add(&p.wants, "primary", &want, &err), 0);
    assert_int_equal(want_add_name(want, host, &err), 0);
    strcpy(want->installed, installed);
    want->not_after = not_after;
    p.plans = calloc(1, sizeof *p.plans);
    p.plans[0] = (struct plan){.want = want,
                               .fingerprint = RENEWAL,
                               .not_before = 60 * DAY,
                               .not_after = 150 * DAY,
                               .result = "pending",
                               .rc = E_TEMPORARY};
    assert_int_equal(record(&p, &err), 0);
    assert_int_equal(state_read(d->fd, name, out, &err), 0);
    assert_int_equal(out->names.count, 1);
    assert_string_equal(out->wants[0].fingerprint, "");
}

static void what_is_installed_has_its_own_times(void **state)
{
    AUTO_STATE struct state renewed = {0};
    AUTO_STATE struct state others = {0};
    record_unserved(*state, RENEWAL, 150 * DAY, &renewed);
    assert_int_equal(renewed.wants[0].not_before, 60 * DAY);
    assert_int_equal(renewed.wants[0].not_after, 150 * DAY);
    record_unserved(*state, OLD, 90 * DAY, &others);
    assert_int_equal(others.wants[0].not_before, 0); /* nobody has said it */
    assert_int_equal(others.wants[0].not_after, 90 * DAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(what_is_installed_has_its_own_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
