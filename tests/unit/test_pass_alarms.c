/* pusher/pass_alarms: what is judged at the end of a pass, and what stays as it was since it cannot be. */
#include "tests/unit/make_cert.h"

#include "pusher/candidate.h"
#include "pusher/pass_alarms.h"
#include "pusher/state.h"

#define HOUR 3600

static char host[] = "mail.example.org", user[] = "certsync", target_name[] = "mailcow",
            source_name[] = "npm";

struct pass {
    const struct directory *d;
    struct lineage_list lineages;
    int rc;           /* how the pass came out */
    const char *said; /* by the last judgement */
};

static void pass_free(struct pass *p)
{
    lineage_list_free(&p->lineages);
}
#define AUTO_PASS CLEANUP(pass_free)

/* Scans, parses and judges, as a pass at its end; a result of pass_alarms. */
static int judge(struct pass *p)
{
    char live[600];
    struct report *report = NULL;
    struct error err;
    struct capture c;
    struct push_conf conf = {
        .sources = {{.name = source_name, .path = live}},
        .source_count = 1,
        .targets = {{.name = target_name, .host = host, .port = 22, .user = user}},
        .target_count = 1,
        .alarm = {.contact = 2 * DAY, .unserved = 3, .expiry = 30, .failures = 3},
    };
    const struct pass_result result = {.rc = p->rc, .failure = {.text = "it is away"}};
    snprintf(live, sizeof live, "%s/live", p->d->path);
    lineage_list_free(&p->lineages);
    assert_int_equal(report_new(&report, &(struct report_opts){.program = "p"}, &err), 0);
    int scanned = lineage_scan(&conf, &p->lineages, NULL);
    capture_begin(&c, STDERR_FILENO);
    int rc = pass_alarms(&(struct pass_alarms_opts){.conf = &conf,
                                                    .lineages = &p->lineages,
                                                    .state_fd = p->d->fd,
                                                    .scanned = scanned,
                                                    .results = &result,
                                                    .report = report});
    p->said = capture_end(&c);
    report_free(report);
    return rc;
}

/* What the book holds of this kind, "" when nothing; good until the next call. */
static const char *entry(const struct pass *p, const char *kind)
{
    static char found[600];
    char begin[60];
    snprintf(begin, sizeof begin, "\"alarm\": \"%s\"", kind);
    const char *at = strstr(read_text_of(p->d, "alarms.json"), begin);
    snprintf(found, sizeof found, "%.*s", at ? (int)strcspn(at, "}") : 0, at ? at : "");
    return found;
}

/* The state of a want that was served by a certificate of these times until now. */
static void write_state(const struct pass *p, time_t contact, const struct state_want *served)
{
    AUTO_STATE struct state s = {.contact = contact};
    struct want *want;
    struct error err;
    s.wants = calloc(1, sizeof *s.wants);
    s.wants[0] = *served;
    strcpy(s.wants[0].id, "primary");
    assert_int_equal(want_add(&s.names, "primary", &want, &err), 0);
    assert_int_equal(want_add_name(want, "mail.example.org", &err), 0);
    assert_int_equal(state_write(p->d->fd, target_name, &s, &err), 0);
}

static struct state_want served_for(time_t days, time_t left)
{
    time_t now = time(NULL);
    return (struct state_want){.fingerprint =
                                   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                               .lineage = "npm/npm-5",
                               .not_before = now - days * DAY,
                               .not_after = now + left * DAY,
                               .since = now - days * DAY};
}

/* A renewal that is not served, and a certificate that ends. */
static void begin(struct pass *p)
{
    const struct state_want old = served_for(85, 5);
    make_folder(p->d, "live");
    write_lineage(p->d, "live/npm-5",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -9 * DAY, .until = 81 * DAY});
    write_state(p, time(NULL) - 3 * DAY, &old);
    p->rc = E_TEMPORARY;
    assert_int_equal(judge(p), E_FAILED);
    assert_has(entry(p, "contact"), "\"times\": 1");
    assert_has(entry(p, "unserved"), "\"times\": 1");
    assert_has(entry(p, "expiry"), "\"times\": 1");
}

static void what_was_judged_and_is_mended_is_over(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    struct state_want now = served_for(9, 81);
    strcpy(now.fingerprint, cert_info(p.lineages.list[0].cert)->fingerprint);
    write_state(&p, time(NULL), &now);
    p.rc = 0;
    assert_int_equal(judge(&p), 0);
    assert_lacks(read_text_of(p.d, "alarms.json"), "\"alarm\"");
}

/* A state that cannot be read says nothing, neither that something is wrong nor that it is mended. */
static void a_state_that_cannot_be_read_ends_no_alarm(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    assert_int_equal(unlinkat(p.d->fd, "mailcow.json", 0), 0);
    make_folder(p.d, "mailcow.json");
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(p.said, "mailcow.json: not a regular file");
    assert_has(entry(&p, "contact"), "\"times\": 1");
    assert_has(entry(&p, "unserved"), "\"times\": 1");
    assert_has(entry(&p, "expiry"), "\"times\": 1");
    assert_has(entry(&p, "failing"), "\"passes\": 2");
}

static void nothing_stands_but_the_state_cannot_be_read(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    make_folder(p.d, "live");
    write_lineage(p.d, "live/npm-5", &(struct cert_spec){.names = "DNS:mail.example.org"});
    make_folder(p.d, "mailcow.json");
    assert_true(judge(&p) < 0);
    assert_has(p.said, "mailcow.json: not a regular file");
}

/* As at the first contact after its end, and after a push that was cut. */
static void an_expiry_is_not_over_since_it_cannot_be_said_to_be_served(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    struct state_want unserved = served_for(85, 5);
    unserved.fingerprint[0] = '\0';
    write_state(&p, time(NULL), &unserved);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "expiry"), "\"times\": 1");
    unserved.not_after = time(NULL) - HOUR;
    write_state(&p, time(NULL), &unserved);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "expiry"), "has EXPIRED");
    unserved.not_before = unserved.not_after = 0; /* the mail host cannot say what it has */
    write_state(&p, time(NULL), &unserved);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "expiry"), "\"times\": 1");
}

/* The renewal is what the mail host has, and some endpoint does not show it. */
static void nothing_is_over_since_the_renewal_is_installed(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    const struct cert_info *renewal = cert_info(p.lineages.list[0].cert);
    const struct state_want installed = {
        .lineage = "npm/npm-5", .not_before = renewal->not_before, .not_after = renewal->not_after};
    write_state(&p, time(NULL), &installed);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
    assert_has(entry(&p, "expiry"), "\"times\": 1");
    assert_lacks(p.said, "alarm-over unserved");
    assert_lacks(p.said, "alarm-over expiry");
}

/* Its own time says when the last contact was. */
static void a_damaged_state_still_counts_from_the_last_contact(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    write_text(p.d, "mailcow.json", "{");
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
    assert_has(entry(&p, "expiry"), "\"times\": 1");
    assert_string_equal(entry(&p, "contact"), ""); /* it was written just now */
    const struct timespec old[] = {{.tv_sec = time(NULL) - 3 * DAY}, {.tv_sec = time(NULL) - 3 * DAY}};
    assert_int_equal(utimensat(p.d->fd, "mailcow.json", old, 0), 0);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "contact"), "no verdict for 3 days (the last one: ");
}

static void a_renewal_that_cannot_be_read_is_not_taken_for_served(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    assert_int_equal(renameat(p.d->fd, "live/npm-5/fullchain.pem", p.d->fd, "renewal"), 0);
    make_folder(p.d, "live/npm-5/fullchain.pem");
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
    /* nor is an older lineage that was served before, and still is */
    struct state_want old = served_for(85, 5);
    write_lineage(p.d, "live/npm-3",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -85 * DAY, .until = 5 * DAY});
    judge(&p);
    strcpy(old.fingerprint, cert_info(p.lineages.list[0].cert)->fingerprint);
    write_state(&p, time(NULL), &old);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
    assert_int_equal(unlinkat(p.d->fd, "live/npm-5/fullchain.pem", AT_REMOVEDIR), 0);
    assert_int_equal(renameat(p.d->fd, "renewal", p.d->fd, "live/npm-5/fullchain.pem"), 0);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
}

static void nor_is_one_of_which_a_file_is_missing(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    assert_int_equal(unlinkat(p.d->fd, "live/npm-5/privkey.pem", 0), 0);
    assert_int_equal(judge(&p), E_FAILED);
    assert_int_equal(p.lineages.count, 0);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
}

/* A neighbour that can never be read must not keep the alarm of another for ever. */
static void what_was_served_since_ends_it_whatever_cannot_be_read(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    begin(&p);
    struct state_want now = served_for(9, 81);
    strcpy(now.fingerprint, cert_info(p.lineages.list[0].cert)->fingerprint);
    now.since = time(NULL) + HOUR;
    write_state(&p, time(NULL), &now);
    make_folder(p.d, "live/npm-9");
    make_folder(p.d, "live/npm-9/fullchain.pem");
    write_text(p.d, "live/npm-9/privkey.pem", "x");
    p.rc = 0;
    assert_int_equal(judge(&p), 0);
    assert_string_equal(entry(&p, "unserved"), "");
}

/* What is served is newer than all that can be read. */
static void what_is_older_than_what_is_served_is_no_renewal(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    const struct state_want newer = served_for(1, 89);
    make_folder(p.d, "live");
    write_lineage(p.d, "live/npm-5",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -9 * DAY, .until = 81 * DAY});
    write_state(&p, time(NULL), &newer);
    assert_int_equal(judge(&p), 0);
    assert_string_equal(entry(&p, "unserved"), "");
}

/* Nor while it cannot be said to be served: which began later counts, whichever ends later. */
static void what_began_before_what_is_installed_is_no_renewal(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    struct state_want installed = served_for(5, 40);
    installed.fingerprint[0] = '\0';
    make_folder(p.d, "live");
    write_lineage(p.d, "live/npm-5",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -9 * DAY, .until = 81 * DAY});
    write_state(&p, time(NULL), &installed);
    assert_int_equal(judge(&p), 0);
    assert_string_equal(entry(&p, "unserved"), "");
    write_lineage(p.d, "live/npm-6",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -3 * DAY, .until = 27 * DAY});
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(entry(&p, "unserved"), "\"times\": 1");
}

/* Else it would not be noticed until the clock is where it was. */
static void a_contact_in_the_future_is_one_of_now(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    AUTO_STATE struct state after = {0};
    const struct state_want good = served_for(1, 89);
    struct error err;
    make_folder(p.d, "live");
    write_lineage(p.d, "live/npm-5",
                  &(struct cert_spec){.names = "DNS:mail.example.org", .from = -2 * DAY, .until = 88 * DAY});
    write_state(&p, time(NULL) + 300 * DAY, &good);
    assert_int_equal(judge(&p), 0);
    assert_int_equal(state_read(p.d->fd, target_name, &after, &err), 0);
    assert_true(after.contact <= time(NULL));
    assert_string_equal(after.wants[0].lineage, "npm/npm-5");
}

/* Else each pass would tell it as new, or never come to the third in a row. */
static void what_cannot_be_recorded_is_not_told(void **state)
{
    AUTO_PASS struct pass p = {.d = *state};
    make_folder(p.d, "live");
    make_folder(p.d, ".alarms.json.tmp");
    p.rc = E_CONFIG;
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(p.said, "alarms: none is told, since the state cannot be written: .alarms.json.tmp: create: ");
    assert_lacks(p.said, "alarm failing");
    assert_int_equal(unlinkat(p.d->fd, ".alarms.json.tmp", AT_REMOVEDIR), 0);
    assert_int_equal(judge(&p), E_FAILED);
    assert_has(p.said, "alarm failing: 1 pass in a row failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(what_cannot_be_recorded_is_not_told),
        WITH_DIRECTORY(what_was_judged_and_is_mended_is_over),
        WITH_DIRECTORY(a_state_that_cannot_be_read_ends_no_alarm),
        WITH_DIRECTORY(nothing_stands_but_the_state_cannot_be_read),
        WITH_DIRECTORY(an_expiry_is_not_over_since_it_cannot_be_said_to_be_served),
        WITH_DIRECTORY(nothing_is_over_since_the_renewal_is_installed),
        WITH_DIRECTORY(a_damaged_state_still_counts_from_the_last_contact),
        WITH_DIRECTORY(a_renewal_that_cannot_be_read_is_not_taken_for_served),
        WITH_DIRECTORY(nor_is_one_of_which_a_file_is_missing),
        WITH_DIRECTORY(what_was_served_since_ends_it_whatever_cannot_be_read),
        WITH_DIRECTORY(what_is_older_than_what_is_served_is_no_renewal),
        WITH_DIRECTORY(what_began_before_what_is_installed_is_no_renewal),
        WITH_DIRECTORY(a_contact_in_the_future_is_one_of_now),
    };
    unsetenv("JOURNAL_STREAM");
    setenv("MAILCOW_CERT_ALARMS", "keep", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
