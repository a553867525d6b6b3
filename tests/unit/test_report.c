/* common/report: what goes to a terminal, a pipe, the journal and into JSON. */
#include "tests/unit/testing.h"

#include "common/journal.h"
#include "common/report.h"
#include "common/wire.h"

#include <jansson.h>
#include <poll.h>
#include <pty.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <sys/uio.h>
#include <systemd/sd-journal.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* In the place of libsystemd's: what would be sent to the journal, "FIELD=value|…" for each record. */
static char journal[4000];
static bool has_journal = true;

int sd_journal_sendv(const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        size_t len = strlen(journal);
        snprintf(journal + len, sizeof journal - len, "%.*s|", (int)iov[i].iov_len,
                 (const char *)iov[i].iov_base);
    }
    strncat(journal, "\n", sizeof journal - strlen(journal) - 1);
    return 0;
}

/* Its socket is there, or not. */
int access(const char *path, int mode)
{
    assert_string_equal(path, "/run/systemd/journal/socket");
    assert_int_equal(mode, W_OK);
    return has_journal ? 0 : -1;
}

static const struct report_result deployed = {
    .event = EVENT_DEPLOYED,
    .target = "mailcow",
    .want = "primary",
    .result = "deployed",
    .lineage = "npm/npm-5",
    .fingerprint = FINGERPRINT,
    .not_after = 1795244520,
    .detail = "all well",
};
static const struct report_result failed = {
    .event = EVENT_REJECTED, .target = "mailcow", .result = "rejected", .detail = "expired", .failed = true};

struct told {
    const char *out, *err;
    int rc;
};

/* Tells of a whole pass. */
static struct told tell(const struct report_opts *opts, int exit_code)
{
    struct told told = {.rc = -1};
    struct report *r = NULL;
    struct error error;
    struct capture out, err;
    journal[0] = '\0';
    capture_begin(&out, STDOUT_FILENO);
    capture_begin(&err, STDERR_FILENO);
    if (report_new(&r, opts, &error) == 0) {
        report_step(r, "connected us=%d: 192.0.2.1", 12345);
        report_step(r, "verified endpoint=imaps want=primary us=900 tries=2: leaf: the new one");
        report_result(r, &deployed);
        report_result(r, &failed);
        report_error(r, "source %s: gone", "npm");
        told.rc = report_end(r, exit_code);
        report_free(r);
    }
    told.err = capture_end(&err);
    told.out = capture_end(&out);
    return told;
}

#define DEPLOYED                                                                                             \
    "mailcow: primary: deployed " FINGERPRINT " from npm/npm-5 until 2026-11-21T07:02:00Z: all well\n"
#define ERRORS "prog: mailcow: rejected: expired\nprog: source npm: gone\n"

static void tells_results_to_a_pipe(void **state)
{
    (void)state;
    struct told told = tell(&(struct report_opts){.program = "prog"}, 75);
    assert_int_equal(told.rc, 75);
    assert_string_equal(told.out, DEPLOYED);
    assert_string_equal(told.err, ERRORS);
    assert_string_equal(journal, "");
}

static void tells_findings(void **state)
{
    (void)state;
    struct report *r = NULL;
    struct error error;
    struct capture out;
    capture_begin(&out, STDOUT_FILENO);
    if (report_new(&r, &(struct report_opts){.program = "prog"}, &error) == 0)
        report_result(r, &(struct report_result){
                             .want = "a.org", .result = "warn", .id = "owner", .detail = "x belongs to y"});
    report_free(r);
    assert_string_equal(capture_end(&out), "a.org: warn owner: x belongs to y\n");
}

static void tells_steps_to_a_pipe_when_asked_to(void **state)
{
    (void)state;
    struct told told = tell(&(struct report_opts){.program = "prog", .verbose = true}, 0);
    assert_string_equal(told.out,
                        "  connected           12.3 ms  192.0.2.1\n"
                        "  verified             0.9 ms  imaps primary tries=2: leaf: the new one\n" DEPLOYED);
    assert_string_equal(told.err, ERRORS);
}

static void tells_only_errors_when_quiet(void **state)
{
    (void)state;
    struct told told = tell(&(struct report_opts){.program = "prog", .quiet = true, .verbose = true}, 0);
    assert_string_equal(told.out, "");
    assert_string_equal(told.err, ERRORS);
}

static void tells_steps_to_a_terminal(void **state)
{
    (void)state;
    char text[4000] = "";
    struct report *r = NULL;
    struct error err;
    int master = -1, slave = -1;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    fflush(stdout);
    int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
    dup2(slave, STDOUT_FILENO);
    int rc = report_new(&r, &(struct report_opts){.program = "prog"}, &err);
    if (!rc) {
        report_step(r, "connected us=12345");
        report_result(r, &deployed);
        report_end(r, 0);
        report_free(r);
    }
    dup2(saved, STDOUT_FILENO);
    close(saved);
    /* The terminal hands its lines on one by one: one read need not bring all. */
    struct pollfd readable = {.fd = master, .events = POLLIN};
    for (size_t n = 0; !strstr(text, "all well") && poll(&readable, 1, 10000) == 1;) {
        ssize_t got = read(master, text + n, sizeof text - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(slave);
    close(master);
    assert_int_equal(rc, 0);
    assert_has(text, "  connected           12.3 ms \r\nmailcow: primary: deployed ");
}

/* stderr as systemd would give it: the stream that JOURNAL_STREAM names. */
static struct report *journal_report(const struct report_opts *opts)
{
    struct report *r = NULL;
    struct stat st;
    char stream[60];
    struct error err;
    journal[0] = '\0';
    if (fstat(STDERR_FILENO, &st) < 0)
        return NULL;
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    report_new(&r, opts, &err);
    unsetenv("JOURNAL_STREAM");
    return r;
}

#define ID(event) (event_row(event)->id)

static void tells_the_journal_what_systemd_would_read(void **state)
{
    (void)state;
    struct capture out;
    for (int verbose = 0; verbose < 2; verbose++) {
        capture_begin(&out, STDOUT_FILENO);
        struct report *r = journal_report(
            &(struct report_opts){.program = "prog", .journal = journal_write, .verbose = verbose});
        report_step(r, "connected us=1");
        report_result(r, &deployed);
        report_error(r, "it failed");
        report_end(r, 0);
        report_free(r);
        assert_string_equal(capture_end(&out), "");
        if (verbose)
            assert_has(journal, "PRIORITY=7|SYSLOG_IDENTIFIER=prog|MESSAGE=connected us=1|\n");
        else
            assert_lacks(journal, "connected");
        assert_has(journal, "PRIORITY=6|SYSLOG_IDENTIFIER=prog|MESSAGE=mailcow: primary: deployed ");
        assert_has(journal, "|TARGET=mailcow|WANT=primary|LINEAGE=npm/npm-5|FINGERPRINT=" FINGERPRINT
                            "|NOT_AFTER=2026-11-21T07:02:00Z|DETAIL=all well|\n");
        assert_has(journal, "PRIORITY=3|SYSLOG_IDENTIFIER=prog|MESSAGE=it failed|\n");
    }
    setenv("JOURNAL_STREAM", "1:1", 1); /* of another process: it was inherited */
    journal[0] = '\0';
    struct told told = tell(&(struct report_opts){.program = "prog", .journal = journal_write}, 0);
    unsetenv("JOURNAL_STREAM");
    assert_string_equal(journal, "");
    assert_string_equal(told.err, ERRORS);
}

/* Their ids and their own priorities: a failure that passes by itself is a warning. */
static void tells_the_journal_of_events(void **state)
{
    (void)state;
    char expected[200];
    const struct error wrong = {.code = E_CONFIG, .text = "push.conf:3: no"};
    const struct error refused = {.code = E_CONFIG, .event = EVENT_KEY_REFUSED, .text = "refused"};
    const struct error other = {.code = E_FAILED, .text = "other"};
    struct report *r = journal_report(&(struct report_opts){.program = "prog", .journal = journal_write});
    report_result(r, &deployed);
    report_event(r, EVENT_PUSH_DELAYED, "mailcow", "it is %s", "away");
    report_failure(r, &wrong);
    report_failure(r, &refused);
    report_failure(r, &other);
    report_free(r);
    snprintf(expected, sizeof expected, "|MESSAGE_ID=%s|EVENT=deployed|TARGET=mailcow|", ID(EVENT_DEPLOYED));
    assert_has(journal, expected);
    snprintf(expected, sizeof expected,
             "PRIORITY=4|SYSLOG_IDENTIFIER=prog|MESSAGE=it is away|MESSAGE_ID=%s|EVENT=push-delayed|TARGET="
             "mailcow|\n",
             ID(EVENT_PUSH_DELAYED));
    assert_has(journal, expected);
    snprintf(expected, sizeof expected, "|MESSAGE=push.conf:3: no|MESSAGE_ID=%s|EVENT=configuration|\n",
             ID(EVENT_CONFIGURATION));
    assert_has(journal, expected);
    assert_has(journal, "|EVENT=key-refused|\n");
    assert_has(journal, "PRIORITY=3|SYSLOG_IDENTIFIER=prog|MESSAGE=other|\n");
}

/* What a step says becomes fields; what is no event is no record. */
static void makes_events_of_steps(void **state)
{
    (void)state;
    struct report *r = journal_report(&(struct report_opts){.program = "prog", .journal = journal_write});
    report_progress(r, "restarted service=postfix-mailcow container=c-1 us=900");
    report_progress(r, "not-restarted service=postfix-mailcow container=- us=1: it is gone");
    report_progress(r, "login-broken: nobody: in");
    report_progress(r, "rolled-back want=primary: it broke"); /* an outcome's event, told when it is known */
    report_progress(r, "installed want=primary");
    report_free(r);
    assert_has(
        journal,
        "PRIORITY=5|SYSLOG_IDENTIFIER=prog|MESSAGE=restarted service=postfix-mailcow container=c-1 us=900|");
    assert_has(journal, "|EVENT=restarted|DURATION_USEC=900|SERVICE=postfix-mailcow|CONTAINER=c-1|\n");
    assert_has(journal, "|EVENT=not-restarted|DETAIL=it is gone|DURATION_USEC=1|SERVICE=postfix-mailcow|\n");
    assert_has(journal, "|EVENT=login-broken|DETAIL=nobody: in|\n");
    assert_lacks(journal, "installed");
    assert_lacks(journal, "rolled-back");
}

static void shows_events_of_steps_to_a_pipe(void **state)
{
    (void)state;
    struct capture out, err;
    struct report *r = NULL;
    struct error error;
    capture_begin(&out, STDOUT_FILENO);
    capture_begin(&err, STDERR_FILENO);
    if (report_new(&r, &(struct report_opts){.program = "prog"}, &error) == 0) {
        report_progress(r, "restarted service=x");
        report_progress(r, "not-restarted service=x: gone");
        report_progress(r, "installed want=primary");
    }
    report_free(r);
    const char *errors = capture_end(&err), *printed = capture_end(&out);
    assert_string_equal(printed, "restarted service=x\n");
    assert_string_equal(errors, "prog: not-restarted service=x: gone\n");
}

/* Every hour "there was nothing to do": not in the journal, but for who asks. */
static void keeps_quiet_where_nothing_was_done(void **state)
{
    (void)state;
    const struct report_result unchanged = {.want = "primary", .result = "unchanged"};
    struct report *r = journal_report(&(struct report_opts){.program = "prog", .journal = journal_write});
    report_result(r, &unchanged);
    report_free(r);
    assert_string_equal(journal, "");
    r = journal_report(&(struct report_opts){.program = "prog", .journal = journal_write, .verbose = true});
    report_result(r, &unchanged);
    report_free(r);
    assert_has(journal, "PRIORITY=7|SYSLOG_IDENTIFIER=prog|MESSAGE=primary: unchanged|WANT=primary|\n");
    struct capture out;
    struct error error;
    capture_begin(&out, STDOUT_FILENO);
    if (report_new(&r, &(struct report_opts){.program = "prog"}, &error) == 0)
        report_result(r, &unchanged);
    report_free(r);
    assert_string_equal(capture_end(&out), "primary: unchanged\n");
}

/* The text of key in the i-th object of a list, "" when there is none. */
static const char *value(const json_t *root, const char *list, size_t i, const char *key)
{
    const char *text =
        json_string_value(json_object_get(json_array_get(json_object_get(root, list), i), key));
    return text ? text : "";
}

static void tells_everything_in_one_object(void **state)
{
    (void)state;
    struct report_opts opts = {.program = "prog", .json = true, .verbose = true};
    struct told told = tell(&opts, 78);
    json_auto_t *root = json_loads(told.out, 0, NULL);
    assert_non_null(root);
    assert_int_equal(told.rc, 78);
    assert_string_equal(told.err, ERRORS);
    assert_string_equal(json_string_value(json_object_get(root, "program")), "prog");
    assert_string_equal(json_string_value(json_object_get(root, "version")), VERSION);
    assert_int_equal(json_integer_value(json_object_get(root, "exit_code")), 78);
    assert_int_equal(json_array_size(json_object_get(root, "steps")), 2);
    assert_string_equal(value(root, "steps", 0, "step"), "connected");
    assert_string_equal(value(root, "steps", 0, "detail"), "192.0.2.1");
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(json_object_get(root, "steps"), 0), "us")), 12345);
    assert_string_equal(value(root, "steps", 1, "endpoint"), "imaps");
    assert_string_equal(value(root, "steps", 1, "tries"), "2");
    assert_string_equal(value(root, "steps", 1, "detail"), "leaf: the new one");
    assert_int_equal(json_array_size(json_object_get(root, "results")), 2);
    assert_string_equal(value(root, "results", 0, "result"), "deployed");
    assert_string_equal(value(root, "results", 0, "fingerprint"), FINGERPRINT);
    assert_string_equal(value(root, "results", 0, "not_after"), "2026-11-21T07:02:00Z");
    assert_string_equal(value(root, "results", 1, "result"), "rejected");
    assert_string_equal(value(root, "results", 1, "not_after"), "");
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "errors"), 0)),
                        "source npm: gone");
    opts.quiet = true;
    assert_string_equal(tell(&opts, 78).out, told.out);
}

/* A file's name need not be UTF-8, JSON has to be. */
static void keeps_an_error_that_is_no_utf8_in_the_object(void **state)
{
    (void)state;
    struct report *r = NULL;
    struct error error;
    struct capture out, err;
    capture_begin(&out, STDOUT_FILENO);
    capture_begin(&err, STDERR_FILENO);
    report_new(&r, &(struct report_opts){.program = "prog", .json = true}, &error);
    report_error(r, "/live/m\xfcller: gone");
    report_result(
        r, &(struct report_result){.target = "t", .result = "failed", .detail = "m\xfcller", .failed = true});
    report_end(r, 1);
    report_free(r);
    capture_end(&err);
    const char *printed = capture_end(&out);
    assert_has(printed, "/live/m\\\\xfcller: gone");
    assert_has(printed, "\"m\\\\xfcller\"");
}

static void cuts_what_is_too_long(void **state)
{
    (void)state;
    struct report *r = NULL;
    struct error error;
    struct capture out, err;
    char text[3000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    capture_begin(&out, STDOUT_FILENO);
    capture_begin(&err, STDERR_FILENO);
    report_new(&r, &(struct report_opts){.program = "prog", .verbose = true}, &error);
    report_step(r, "%s", text);
    report_result(r, &(struct report_result){.target = "t", .want = text, .detail = text});
    report_end(r, 1);
    report_free(r);
    capture_end(&err);
    const char *printed = capture_end(&out);
    assert_true(strlen(printed) < 2 * WIRE_LINE + 1000);
    assert_has(printed, "\nt: aaaa");
}

/* Without libsystemd, or without its socket: systemd takes the priority from the beginning of a line. */
static void marks_lines_with_their_priority(void **state)
{
    (void)state;
    struct capture out;
    for (int native = 0; native < 2; native++) {
        capture_begin(&out, STDERR_FILENO);
        has_journal = false;
        struct report *r = journal_report(
            &(struct report_opts){.program = "prog", .journal = native ? journal_write : NULL});
        report_result(r, &deployed);
        report_error(r, "it failed");
        report_free(r);
        has_journal = true;
        const char *printed = capture_end(&out);
        assert_string_equal(printed, "<6>" DEPLOYED "<3>it failed\n");
        assert_string_equal(journal, "");
    }
}

static void may_have_no_listener(void **state)
{
    (void)state;
    report_step(NULL, "connected us=1");
    report_result(NULL, &deployed);
    report_error(NULL, "it failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_results_to_a_pipe),
        cmocka_unit_test(tells_findings),
        cmocka_unit_test(tells_steps_to_a_pipe_when_asked_to),
        cmocka_unit_test(tells_only_errors_when_quiet),
        cmocka_unit_test(tells_steps_to_a_terminal),
        cmocka_unit_test(tells_the_journal_what_systemd_would_read),
        cmocka_unit_test(tells_the_journal_of_events),
        cmocka_unit_test(makes_events_of_steps),
        cmocka_unit_test(shows_events_of_steps_to_a_pipe),
        cmocka_unit_test(keeps_quiet_where_nothing_was_done),
        cmocka_unit_test(marks_lines_with_their_priority),
        cmocka_unit_test(may_have_no_listener),
        cmocka_unit_test(tells_everything_in_one_object),
        cmocka_unit_test(keeps_an_error_that_is_no_utf8_in_the_object),
        cmocka_unit_test(cuts_what_is_too_long),
    };
    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
