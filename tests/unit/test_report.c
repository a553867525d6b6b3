/* common/report: what goes to a terminal, a pipe, the journal and into JSON. */
#include "tests/unit/testing.h"

#include "common/journal.h"
#include "common/report.h"
#include "common/wire.h"

#include <jansson.h>
#include <poll.h>
#include <pty.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* In the place of libsystemd's: what would be sent to the journal, "FIELD=value|…" for each record. */
static char journal[4000];

int sd_journal_send(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    for (const char *field = format; field; field = va_arg(ap, const char *)) {
        size_t n = strlen(journal);
        if (strstr(field, "%d"))
            snprintf(journal + n, sizeof journal - n, "%.*s%d|", (int)strcspn(field, "%"), field,
                     va_arg(ap, int));
        else
            snprintf(journal + n, sizeof journal - n, "%.*s%s|", (int)strcspn(field, "%"), field,
                     va_arg(ap, const char *));
    }
    va_end(ap);
    strncat(journal, "\n", sizeof journal - strlen(journal) - 1);
    return 0;
}

static const struct report_result deployed = {
    .target = "mailcow",
    .want = "primary",
    .result = "deployed",
    .lineage = "npm/npm-5",
    .fingerprint = FINGERPRINT,
    .not_after = 1795244520,
    .detail = "all well",
};
static const struct report_result failed = {
    .target = "mailcow", .result = "rejected", .detail = "expired", .failed = true};

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

static void tells_the_journal_what_systemd_would_read(void **state)
{
    (void)state;
    struct stat st;
    char stream[60];
    struct capture out;
    /* stderr as systemd would give it: the stream that JOURNAL_STREAM names */
    struct report *r = NULL;
    struct error err;
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    for (int verbose = 0; verbose < 2; verbose++) {
        journal[0] = '\0';
        setenv("JOURNAL_STREAM", stream, 1);
        capture_begin(&out, STDOUT_FILENO);
        int rc = report_new(
            &r, &(struct report_opts){.program = "prog", .journal = journal_write, .verbose = verbose}, &err);
        unsetenv("JOURNAL_STREAM");
        report_step(r, "connected us=1");
        report_result(r, &deployed);
        report_error(r, "it failed");
        report_end(r, 0);
        report_free(r);
        const char *printed = capture_end(&out);
        assert_int_equal(rc, 0);
        assert_string_equal(printed, "");
        if (verbose)
            assert_has(journal, "PRIORITY=7|MESSAGE=connected us=1|\n");
        else
            assert_lacks(journal, "connected");
        assert_has(journal, "PRIORITY=6|MESSAGE=mailcow: primary: deployed ");
        assert_has(journal, "|TARGET=mailcow|WANT=primary|LINEAGE=npm/npm-5|FINGERPRINT=" FINGERPRINT "|\n");
        assert_has(journal, "PRIORITY=3|MESSAGE=it failed|");
    }
    setenv("JOURNAL_STREAM", "1:1", 1); /* of another process: it was inherited */
    struct told told = tell(&(struct report_opts){.program = "prog"}, 0);
    unsetenv("JOURNAL_STREAM");
    assert_string_equal(journal, "");
    assert_string_equal(told.err, ERRORS);
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

/* Without libsystemd: systemd takes the priority from the beginning of a line. */
static void marks_lines_with_their_priority(void **state)
{
    (void)state;
    struct stat st;
    char stream[60];
    struct capture out;
    struct report *r = NULL;
    struct error err;
    journal[0] = '\0';
    capture_begin(&out, STDERR_FILENO);
    int rc = fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    rc = rc ? rc : report_new(&r, &(struct report_opts){.program = "prog"}, &err);
    unsetenv("JOURNAL_STREAM");
    report_result(r, &deployed);
    report_error(r, "it failed");
    report_free(r);
    const char *printed = capture_end(&out);
    assert_int_equal(rc, 0);
    assert_has(printed, "<6>mailcow: primary: deployed ");
    assert_has(printed, "<3>it failed\n");
    assert_string_equal(journal, "");
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
        cmocka_unit_test(marks_lines_with_their_priority),
        cmocka_unit_test(may_have_no_listener),
        cmocka_unit_test(tells_everything_in_one_object),
        cmocka_unit_test(keeps_an_error_that_is_no_utf8_in_the_object),
        cmocka_unit_test(cuts_what_is_too_long),
    };
    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
