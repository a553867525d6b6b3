/* common/client: the greeting of a deployer or of something else, and replies until the verdict. */
#include "tests/unit/stream.h"

#include "common/client.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* The greeting */

#define HEAD "220-mailcow-cert-deploy version=0.1.0 protocol=1 host=mail.example.org\n"

static int greet(struct stream *s, const char *text, struct client_greeting *g)
{
    say(s, text);
    s->err = (struct error){0};
    return client_read_greeting(s->wire, g, &s->err);
}

static void reads_a_greeting(void **state)
{
    struct stream *s = *state;
    AUTO_GREETING struct client_greeting g;
    assert_int_equal(greet(s,
                           HEAD "220-want again moon=full id=primary installed=" FINGERPRINT
                                " not-after=2026-11-21T07:02:00Z state=served sun=no\n"
                                "220-name again moon=full id=primary name=mail.example.org\n"
                                "220-name id=primary name=*.example.net\n"
                                "220-weather is=fine\n"
                                "220-want id=sni installed=none state=stale not-after=never\n"
                                "220-name id=sni name=a.example.org\n"
                                "220 ready\nbehind it\n",
                           &g),
                     0);
    assert_string_equal(g.version, "0.1.0");
    assert_string_equal(g.host, "mail.example.org");
    assert_int_equal(g.wants.count, 2);
    const struct want *want = want_find(&g.wants, "primary");
    assert_string_equal(want->installed, FINGERPRINT);
    assert_int_equal(want->not_after, 1795244520);
    assert_true(want->served);
    assert_int_equal(want->name_count, 2);
    assert_string_equal(want->names[1], "*.example.net");
    want = want_find(&g.wants, "sni");
    assert_string_equal(want->installed, "");
    assert_int_equal(want->not_after, 0);
    assert_false(want->served);
    next_is(s, "behind it");
}

static void recognises_another_program(void **state)
{
    static const char *const lines[] = {
        "Welcome to Debian GNU/Linux 12\n",
        "220 mail.example.org ESMTP Postfix\n",
        "220-mailcow-cert-deployer protocol=1\n",
        "\n",
        "SSH-2.0-OpenSSH_9.2\n",
        "250 mail.example.org\n",
        "220 \n",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        void *fresh = NULL;
        assert_int_equal(stream_setup(&fresh), 0);
        struct stream *s = fresh;
        AUTO_GREETING struct client_greeting g;
        int rc = greet(s, lines[i], &g);
        if (rc != CLIENT_NO_GREETING)
            fail_msg("%s: %d, %s", lines[i], rc, s->err.text);
        if (i < 2)
            assert_has(lines[i], s->err.text);
        stream_teardown(&fresh);
    }
    (void)state;
}

/* A prompt in colours, a message of the day in another language, a binary. */
static void recognises_another_program_that_is_not_printable(void **state)
{
    struct stream *s = *state;
    AUTO_GREETING struct client_greeting g;
    assert_int_equal(greet(s, "\x1b[32mroot@mail\x1b[0m:~# \n", &g), CLIENT_NO_GREETING);
    assert_has(s->err.text, "control characters");
}

static void says_that_the_first_line_is_empty(void **state)
{
    struct stream *s = *state;
    AUTO_GREETING struct client_greeting g;
    assert_int_equal(greet(s, "\nWelcome\n", &g), CLIENT_NO_GREETING);
    assert_string_equal(s->err.text, "an empty line");
}

static void says_that_the_versions_differ(void **state)
{
    static const char *const lines[] = {
        "220 mailcow-cert-deploy version=9.9 protocol=2 host=a.org\n",
        "220 mailcow-cert-deploy version=9.9\n",
        "220 mailcow-cert-deploy version=9.9 protocol=one\n",
        "220 mailcow-cert-deploy version=9.9 protocol=10\n",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct stream *s = *state;
        AUTO_GREETING struct client_greeting g;
        assert_int_equal(greet(s, lines[i], &g), E_FAILED);
        assert_has(s->err.text, "protocol version mismatch: the mail host speaks ");
        assert_has(s->err.text, "9.9");
    }
}

static void takes_a_refusal_instead_of_a_greeting(void **state)
{
    struct stream *s = *state;
    AUTO_GREETING struct client_greeting g;
    assert_int_equal(greet(s, "421 the deployer cannot be reached\n", &g), E_TEMPORARY);
    assert_string_equal(s->err.text, "the mail host answers: 421 the deployer cannot be reached");
    assert_int_equal(greet(s, "530 not allowed\n", &g), E_FAILED);
    assert_int_equal(greet(s, "555 mailcow.conf is missing\n", &g), E_CONFIG);
    AUTO_GREETING struct client_greeting begun;
    assert_int_equal(greet(s, HEAD "421 going away\n", &begun), E_TEMPORARY);
    assert_string_equal(s->err.text, "the mail host answers: 421 going away");
}

static void refuses_a_greeting_that_makes_no_sense(void **state)
{
    static const struct {
        const char *rows;
        const char *text;
    } cases[] = {
        {"220-name id=other name=a.org\n", "a name for no want: other"},
        {"220-want id=a\n220-want id=a\n", "want a is given twice"},
        {"220-want installed=x\n", "not the name of a want: "},
        {"220-want id=../x\n", "not the name of a want: ../x"},
        {"220-want id=a\n220-name id=a name=A.org\n", "not a host name: A.org"},
        {"220-want id=a\n220-name id=a\n", "not a host name: "},
        {"nonsense\n", "not a reply: nonsense"},
        {"220-\x1b\n", "a line with control characters"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        void *fresh = NULL;
        assert_int_equal(stream_setup(&fresh), 0);
        struct stream *s = fresh;
        char text[400];
        AUTO_GREETING struct client_greeting g;
        snprintf(text, sizeof text, HEAD "%s", cases[i].rows);
        assert_int_equal(greet(s, text, &g), E_FAILED);
        assert_string_equal(s->err.text, cases[i].text);
        stream_teardown(&fresh);
    }
}

static void refuses_too_many_wants(void **state)
{
    struct stream *s = *state;
    static char text[100000] = HEAD;
    AUTO_GREETING struct client_greeting g;
    size_t n = strlen(text);
    for (int i = 0; i <= WANT_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "220-want id=w%d\n", i);
    assert_int_equal(greet(s, text, &g), E_FAILED);
    assert_string_equal(s->err.text, "more than 1024 wants");
}

static void notices_a_greeting_that_is_cut(void **state)
{
    struct stream *s = *state;
    AUTO_GREETING struct client_greeting g;
    say(s, HEAD "220-want id=a\n220 rea");
    hang_up(s);
    assert_int_equal(client_read_greeting(s->wire, &g, &s->err), E_TEMPORARY);
    assert_string_equal(s->err.text, "the connection was cut within the greeting");
}

static void notices_that_there_is_no_greeting(void **state)
{
    struct stream *s = *state;
    AUTO_GREETING struct client_greeting g;
    hang_up(s);
    assert_int_equal(client_read_greeting(s->wire, &g, &s->err), WIRE_END);
}

/* Replies to a client */

static void note_row(void *ctx, int code, const char *text)
{
    char *rows = ctx;
    size_t n = strlen(rows);
    snprintf(rows + n, 400 - n, "%d %s|", code, text);
}

static void reads_progress_rows_and_the_verdict(void **state)
{
    struct stream *s = *state;
    AUTO_REPORT struct report *report = NULL;
    struct client_reply reply;
    char rows[400] = "";
    struct capture c;
    assert_int_equal(report_new(&report, &(struct report_opts){.program = "p", .verbose = true}, &s->err), 0);
    say(s, "150 judged want=a us=1500\n250-want id=a result=deployed\n150-installed want=a\n250-want "
           "id=b\n151 of a later version\n250 done\n251 next\n");
    capture_begin(&c, STDOUT_FILENO);
    int rc = client_read_reply(s->wire, report, note_row, rows, &reply, &s->err);
    const char *printed = capture_end(&c);
    assert_int_equal(rc, 0);
    assert_int_equal(reply.code, 250);
    assert_string_equal(reply.text, "done");
    assert_string_equal(rows, "250 want id=a result=deployed|250 want id=b|");
    assert_has(printed, "judged               1.5 ms  a\n");
    assert_has(printed, "installed");
    say(s, "550-row\n550 refused\n");
    assert_int_equal(client_read_reply(s->wire, report, NULL, NULL, &reply, &s->err), 0);
    assert_int_equal(reply.code, 251);
    assert_int_equal(client_read_reply(s->wire, report, NULL, NULL, &reply, &s->err), 0);
    assert_int_equal(reply.code, 550);
    say(s, "250-want id=a\n25");
    hang_up(s);
    assert_int_equal(client_read_reply(s->wire, report, NULL, NULL, &reply, &s->err), WIRE_END);
}

static void knows_what_a_code_means(void **state)
{
    (void)state;
    assert_int_equal(client_result(WIRE_OK), 0);
    assert_int_equal(client_result(WIRE_UNCHANGED), 0);
    assert_int_equal(client_result(WIRE_UNAVAILABLE), E_TEMPORARY);
    assert_int_equal(client_result(WIRE_BUSY), E_TEMPORARY);
    assert_int_equal(client_result(499), E_TEMPORARY);
    assert_int_equal(client_result(WIRE_SYNTAX), E_FAILED);
    assert_int_equal(client_result(WIRE_FAILED), E_FAILED);
    assert_int_equal(client_result(WIRE_CONFIG), E_CONFIG);
}

static void parses_the_rows_of_a_verdict(void **state)
{
    (void)state;
    struct client_want row;
    assert_true(client_parse_want("want id=primary result=deployed fingerprint=" FINGERPRINT
                                  " generation=g1 not-after=2026-11-21T07:02:00Z: all well",
                                  &row));
    assert_string_equal(row.id, "primary");
    assert_string_equal(row.result, "deployed");
    assert_string_equal(row.fingerprint, FINGERPRINT);
    assert_string_equal(row.generation, "g1");
    assert_int_equal(row.not_after, 1795244520);
    assert_string_equal(row.detail, "all well");
    assert_true(client_parse_want("want id=a result=b fingerprint=12", &row));
    assert_string_equal(row.fingerprint, "");
    assert_int_equal(row.not_after, 0);
    assert_string_equal(row.detail, "");
    assert_false(client_parse_want("want id=a", &row));
    assert_false(client_parse_want("want result=a", &row));
    assert_false(client_parse_want("want id= result=a", &row));
    assert_false(client_parse_want("want id=../a result=a", &row));
    assert_false(client_parse_want("wants id=a result=b", &row));
    assert_false(client_parse_want("endpoint id=a result=b", &row));
}

static void parses_the_rows_of_a_check(void **state)
{
    (void)state;
    struct client_finding row;
    assert_true(client_parse_finding(
        "finding severity=warn id=stale-folder want=a.example.org: two words; and: what to do", &row));
    assert_string_equal(row.severity, "warn");
    assert_string_equal(row.id, "stale-folder");
    assert_string_equal(row.want, "a.example.org");
    assert_string_equal(row.detail, "two words; and: what to do");
    assert_true(client_parse_finding("finding severity=note id=x want=-: y", &row));
    assert_string_equal(row.want, "");
    assert_true(client_parse_finding("finding severity=note id=x", &row));
    assert_string_equal(row.want, "");
    assert_string_equal(row.detail, "");
    assert_false(client_parse_finding("finding severity=note", &row));
    assert_false(client_parse_finding("finding id=x", &row));
    assert_false(client_parse_finding("findings severity=note id=x", &row));
    assert_false(client_parse_finding("want severity=note id=x", &row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STREAM(reads_a_greeting),
        cmocka_unit_test(recognises_another_program),
        WITH_STREAM(recognises_another_program_that_is_not_printable),
        WITH_STREAM(says_that_the_first_line_is_empty),
        WITH_STREAM(says_that_the_versions_differ),
        WITH_STREAM(takes_a_refusal_instead_of_a_greeting),
        cmocka_unit_test(refuses_a_greeting_that_makes_no_sense),
        WITH_STREAM(refuses_too_many_wants),
        WITH_STREAM(notices_a_greeting_that_is_cut),
        WITH_STREAM(notices_that_there_is_no_greeting),
        WITH_STREAM(reads_progress_rows_and_the_verdict),
        cmocka_unit_test(knows_what_a_code_means),
        cmocka_unit_test(parses_the_rows_of_a_verdict),
        cmocka_unit_test(parses_the_rows_of_a_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
