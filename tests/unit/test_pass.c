/* pusher/pass: what is recorded of a contact. */
#include "tests/unit/make_cert.h"

/* Compiled once more into this program, for what it does at the end of a contact. */
#define pass_run run_pass
#include "pusher/pass.c"

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

/* Chooses and records a contact at which the mail host serves what is chosen. */
static void record_served(const struct directory *d, const struct target *target,
                          struct lineage_list *lineages, struct state *out)
{
    const struct pass_opts opts = {.target = target, .lineages = lineages, .state_fd = d->fd};
    CLEANUP(pass_free) struct pass p = {.opts = &opts};
    struct want *want;
    struct error err;
    assert_int_equal(want_add(&p.greeting.wants, "primary", &want, &err), 0);
    assert_int_equal(want_add(&p.wants, "primary", &want, &err), 0);
    assert_int_equal(want_add_name(want, host, &err), 0);
    strcpy(want->installed, cert_info(lineages->list[0].cert)->fingerprint);
    want->served = true;
    assert_int_equal(choose_all(&p, &err), 0);
    assert_true(p.plans[0].served);
    assert_int_equal(record(&p, &err), 0);
    assert_int_equal(state_read(d->fd, name, out, &err), 0);
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

/* Else a renewal of which somebody has set the beginning ahead waits for verify_every. */
static void what_becomes_valid_is_a_change(void **state)
{
    const struct directory *d = *state;
    char live[600], source[] = "npm";
    snprintf(live, sizeof live, "%s/live", d->path);
    const struct push_conf conf = {
        .sources = {{.name = source, .path = live}}, .source_count = 1, .verify_every = 30 * DAY};
    const struct target target = {.name = name, .host = host, .port = 22, .user = user};
    AUTO_LINEAGES struct lineage_list lineages = {0};
    AUTO_STATE struct state after = {0};
    time_t now = time(NULL);
    make_folder(d, "live");
    write_lineage(d, "live/a", &(struct cert_spec){.names = "DNS:mail.example.org"});
    write_lineage(d, "live/b",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = 9 * DAY, .until = 99 * DAY});
    write_lineage(d, "live/c",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = 5 * DAY, .until = 95 * DAY});
    assert_int_equal(lineage_scan(&conf, &lineages, NULL), 0);
    candidate_parse(&lineages, NULL);
    record_served(d, &target, &lineages, &after);
    assert_string_equal(after.wants[0].lineage, "npm/a");
    assert_true(unchanged(&after, &conf, &target, &lineages, now + 5 * DAY - 60));
    assert_false(unchanged(&after, &conf, &target, &lineages, now + 5 * DAY + 60));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(what_becomes_valid_is_a_change),
        WITH_DIRECTORY(what_is_installed_has_its_own_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
