/* common/wire and common/want: the protocol's lines over a stream whose other end is anyone. */
#include "tests/unit/stream.h"

#include "common/want.h"

#include <signal.h>
#include <sys/wait.h>

/* Reading lines */

static void reads_lines_as_they_come(void **state)
{
    struct stream *s = *state;
    say(s, "one\ntwo\r\n\n\r\n  ~ three\nfo");
    next_is(s, "one");
    next_is(s, "two");
    next_is(s, "");
    next_is(s, "");
    next_is(s, "  ~ three");
    say(s, "ur\n");
    next_is(s, "four");
    hang_up(s);
    assert_int_equal(read_line(s), WIRE_END);
    assert_int_equal(read_line(s), WIRE_END);
}

static void drops_half_a_line_at_the_end(void **state)
{
    struct stream *s = *state;
    say(s, "whole\nhal");
    hang_up(s);
    next_is(s, "whole");
    assert_int_equal(read_line(s), WIRE_END);
}

static void refuses_control_characters(void **state)
{
    struct stream *s = *state;
    static const char *const lines[] = {"a\tb\n", "a\rb\n",          "\r\r\n", "\x1b[2J\n",
                                        "\x7f\n", "m\xc3\xbcller\n", "\xff\n"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        say(s, lines[i]);
        assert_int_equal(read_line(s), E_FAILED);
        assert_string_equal(s->err.text, "a line with control characters");
    }
    assert_int_equal(write(s->far, "a\0b\n", 4), 4);
    assert_int_equal(read_line(s), E_FAILED);
    say(s, "and on\n");
    next_is(s, "and on");
}

static void reads_lines_of_a_thousand_bytes_and_no_more(void **state)
{
    struct stream *s = *state;
    char line[WIRE_LINE + 10];
    memset(line, 'a', sizeof line);
    strcpy(line + WIRE_LINE, "\n");
    say(s, line);
    assert_int_equal(read_line(s), 0);
    assert_int_equal(strlen(s->line), WIRE_LINE);
    strcpy(line + WIRE_LINE, "\r\n");
    say(s, line);
    assert_int_equal(read_line(s), 0);
    assert_int_equal(strlen(s->line), WIRE_LINE);
    strcpy(line + WIRE_LINE, "a\n");
    say(s, line);
    assert_int_equal(read_line(s), E_FAILED);
    assert_string_equal(s->err.text, "a line of more than 1000 bytes");
}

static void refuses_a_line_of_a_mebibyte_without_reading_it(void **state)
{
    struct stream *s = *state;
    static char flood[1024 * 1024];
    memset(flood, 'a', sizeof flood);
    pid_t pid = fork();
    if (!pid) {
        signal(SIGPIPE, SIG_IGN);
        close(s->near);
        for (size_t sent = 0; sent < sizeof flood;) {
            ssize_t n = write(s->far, flood + sent, sizeof flood - sent);
            if (n < 0)
                break;
            sent += (size_t)n;
        }
        _exit(0);
    }
    hang_up(s);
    int rc = read_line(s);
    shutdown(s->near, SHUT_RDWR);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, E_FAILED);
    assert_string_equal(s->err.text, "a line of more than 1000 bytes");
}

/* Deadline and budget */

static void does_not_wait_beyond_the_deadline(void **state)
{
    struct stream *s = *state;
    AUTO_SECRET struct secret bytes = SECRET(100);
    say(s, "half a li");
    int64_t start = clock_ms();
    wire_set_deadline(s->wire, start + 100);
    assert_int_equal(read_line(s), E_TEMPORARY);
    assert_string_equal(s->err.text, "the other side was silent for too long");
    assert_in_range(clock_ms() - start, 95, 10000);
    assert_int_equal(wire_read_bytes(s->wire, 100, &bytes, &s->err), E_TEMPORARY);
    assert_int_equal(wire_read_rest(s->wire, &bytes, &s->err), E_TEMPORARY);
}

/* A byte each 5 ms keeps nobody here for longer. */
static void does_not_fall_for_drips(void **state)
{
    struct stream *s = *state;
    pid_t pid = fork();
    if (!pid) {
        signal(SIGPIPE, SIG_IGN);
        while (write(s->far, "a", 1) == 1)
            usleep(5000);
        _exit(0);
    }
    int64_t start = clock_ms();
    wire_set_deadline(s->wire, start + 200);
    int rc = read_line(s);
    int64_t took = clock_ms() - start;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, E_TEMPORARY);
    assert_in_range(took, 195, 10000);
}

static void does_not_write_to_a_deaf_peer_beyond_the_deadline(void **state)
{
    struct stream *s = *state;
    static char bytes[16 * 1024 * 1024];
    wire_set_deadline(s->wire, clock_ms() + 100);
    assert_int_equal(wire_write_bytes(s->wire, bytes, sizeof bytes, &s->err), E_TEMPORARY);
    assert_string_equal(s->err.text, "the other side was silent for too long");
}

static void survives_a_peer_that_went_away(void **state)
{
    struct stream *s = *state;
    hang_up(s);
    assert_int_equal(wire_write_line(s->wire, &s->err, "QUIT"), E_TEMPORARY); /* and no SIGPIPE */
    assert_has(s->err.text, "connection: write: ");
}

static void reads_no_more_than_its_budget(void **state)
{
    struct stream *s = *state;
    pid_t pid = fork();
    if (!pid) {
        char lines[64000];
        signal(SIGPIPE, SIG_IGN);
        memset(lines, 'a', sizeof lines);
        for (size_t i = 99; i < sizeof lines; i += 100)
            lines[i] = '\n';
        for (size_t sent = 0; sent < 2 * (size_t)WIRE_BUDGET; sent += sizeof lines)
            if (write(s->far, lines, sizeof lines) < 0)
                break;
        _exit(0);
    }
    hang_up(s);
    size_t total = 0;
    int rc;
    while ((rc = read_line(s)) == 0)
        total += 100;
    shutdown(s->near, SHUT_RDWR);
    waitpid(pid, NULL, 0);
    assert_int_equal(rc, E_FAILED);
    assert_string_equal(s->err.text, "the other side sent more than 8388608 bytes");
    assert_in_range(total, WIRE_BUDGET - 20000, WIRE_BUDGET);
}

/* Bytes */

static void reads_bytes_behind_a_line_and_lines_behind_bytes(void **state)
{
    struct stream *s = *state;
    AUTO_SECRET struct secret bytes = SECRET(100000);
    say(s, "PUT\n01\n3\nnext\nrest\n");
    next_is(s, "PUT");
    assert_int_equal(wire_read_bytes(s->wire, 5, &bytes, &s->err), 0);
    assert_string_equal((char *)bytes.data, "01\n3\n");
    assert_int_equal(wire_read_bytes(s->wire, 0, &bytes, &s->err), 0);
    next_is(s, "next");
    hang_up(s);
    assert_int_equal(wire_read_rest(s->wire, &bytes, &s->err), 0);
    assert_string_equal((char *)bytes.data, "01\n3\nrest\n");
}

static void reads_more_bytes_than_its_buffer_holds(void **state)
{
    struct stream *s = *state;
    AUTO_SECRET struct secret bytes = SECRET(100000);
    static char sent[60001];
    for (size_t i = 0; i < 60000; i++)
        sent[i] = (char)('a' + i % 23);
    say(s, "x\n");
    say(s, sent);
    say(s, "end\n");
    next_is(s, "x");
    assert_int_equal(wire_read_bytes(s->wire, 60000, &bytes, &s->err), 0);
    assert_int_equal(bytes.len, 60000);
    assert_memory_equal(bytes.data, sent, 60000);
    next_is(s, "end");
}

static void notices_a_cut_in_the_midst_of_bytes(void **state)
{
    struct stream *s = *state;
    AUTO_SECRET struct secret bytes = SECRET(100);
    say(s, "0123456789");
    hang_up(s);
    assert_int_equal(wire_read_bytes(s->wire, 11, &bytes, &s->err), WIRE_END);
}

static void refuses_more_bytes_than_fit(void **state)
{
    struct stream *s = *state;
    AUTO_SECRET struct secret bytes = SECRET(10);
    say(s, "0123456789a");
    assert_int_equal(wire_read_bytes(s->wire, 11, &bytes, &s->err), E_FAILED);
    assert_string_equal(s->err.text, "more than 10 bytes");
    secret_wipe(&bytes);
    assert_int_equal(wire_read_rest(s->wire, &bytes, &s->err), E_FAILED);
}

/* Writing */

static void writes_one_printable_line(void **state)
{
    struct stream *s = *state;
    char got[3000], text[2000];
    assert_int_equal(wire_write_line(s->wire, &s->err, "550-want %s: %s", "a", "b\nc\r\x1b\xff~"), 0);
    ssize_t n = read(s->far, got, sizeof got - 1);
    assert_true(n > 0);
    got[n] = '\0';
    assert_string_equal(got, "550-want a: b?c???~\n");
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(wire_write_line(s->wire, &s->err, "%s", text), 0);
    assert_int_equal(read(s->far, got, sizeof got), WIRE_LINE + 1);
    assert_int_equal(got[WIRE_LINE], '\n');
}

/* Replies */

static void parses_replies(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",      "2",      "250",   "25 x",   "2500 x", "250x",
                                        "abc x", " 250 x", "-25 x", "250\tx", "250_x"};
    struct wire_reply reply;
    struct error err;
    assert_int_equal(wire_parse_reply("250 done", &reply, &err), 0);
    assert_int_equal(reply.code, 250);
    assert_false(reply.more);
    assert_string_equal(reply.text, "done");
    assert_int_equal(wire_parse_reply("551-want a", &reply, &err), 0);
    assert_int_equal(reply.code, 551);
    assert_true(reply.more);
    assert_int_equal(wire_parse_reply("220 ", &reply, &err), 0);
    assert_string_equal(reply.text, "");
    for (size_t i = 0; i < COUNT(wrong); i++)
        if (wire_parse_reply(wrong[i], &reply, &err) != E_FAILED)
            fail_msg("\"%s\" passes", wrong[i]);
}

/* Shows the tokens of text as "word|key=value|…". */
static const char *tokens(const char *text)
{
    static char out[400];
    struct wire_token t;
    size_t n = 0;
    out[0] = '\0';
    while (wire_next(&text, &t)) {
        assert_true((t.key_len > 0) <= (t.key != NULL));
        n += (size_t)snprintf(out + n, sizeof out - n, "%.*s%s%.*s|", (int)t.key_len, t.key ? t.key : "",
                              t.key ? "=" : "", (int)t.value_len, t.value);
    }
    return out;
}

static void takes_the_words_and_fields_of_a_text(void **state)
{
    (void)state;
    assert_string_equal(tokens(""), "");
    assert_string_equal(tokens("   "), "");
    assert_string_equal(tokens("want id=a names=2"), "want|id=a|names=2|");
    assert_string_equal(tokens("  a   b "), "a|b|");
    assert_string_equal(tokens("a b= c=d=e"), "a|b=|c=d=e|");
    assert_string_equal(tokens("a b=c: free x=y"), "a|b=c|");
    assert_string_equal(tokens("a: b: c"), "a|");
    assert_string_equal(tokens("a : b"), "a|");
    assert_string_equal(tokens(": b c=d"), "");
    assert_string_equal(tokens("at=10:20:30 address=[::1]:25 x"), "at=10:20:30|address=[::1]:25|x|");
}

static void finds_words_and_fields(void **state)
{
    (void)state;
    char out[8];
    const char *text = "want id=abc second id=later long=12345678 empty=: id2=x third";
    assert_true(wire_word(text, 0, out, sizeof out));
    assert_string_equal(out, "want");
    assert_true(wire_word(text, 1, out, sizeof out));
    assert_string_equal(out, "second");
    assert_false(wire_word(text, 2, out, sizeof out)); /* it is free text */
    assert_true(wire_field(text, "id", out, sizeof out));
    assert_string_equal(out, "abc");
    assert_true(wire_field(text, "empty", out, sizeof out));
    assert_string_equal(out, "");
    strcpy(out, "kept");
    assert_false(wire_field(text, "long", out, sizeof out));
    assert_false(wire_field(text, "id2", out, sizeof out));
    assert_false(wire_field(text, "want", out, sizeof out));
    assert_false(wire_field(text, "i", out, sizeof out));
    assert_false(wire_word("12345678", 0, out, sizeof out));
    assert_string_equal(out, "kept");
    assert_string_equal(wire_free_text("a b=c: free: text"), "free: text");
    assert_string_equal(wire_free_text("a b=c:"), "");
    assert_string_equal(wire_free_text("a b=1:2"), "");
}

/* Wants */

static void keeps_only_wants_that_are_well_named(void **state)
{
    (void)state;
    AUTO_WANTS struct want_list list = {0};
    struct error err;
    struct want *want = NULL;
    char id[WANT_ID_SIZE + 1];
    static const char *const wrong[] = {"", ".", "..", "a/b", "a b", "a\nb", "m\xc3\xbc", "a=b"};
    for (size_t i = 0; i < COUNT(wrong); i++)
        if (want_add(&list, wrong[i], &want, &err) != E_FAILED)
            fail_msg("\"%s\" passes", wrong[i]);
    assert_null(want);
    assert_int_equal(want_add(&list, "*.example.org", &want, &err), 0);
    assert_int_equal(want_add(&list, "*.example.org", &want, &err), E_FAILED);
    assert_string_equal(err.text, "want *.example.org is given twice");
    memset(id, 'a', sizeof id);
    id[WANT_ID_SIZE] = '\0';
    assert_false(want_is_id(id));
    id[WANT_ID_SIZE - 1] = '\0';
    assert_int_equal(want_add(&list, id, &want, &err), 0);
    assert_ptr_equal(want_find(&list, id), want);
    assert_null(want_find(&list, "none"));
}

static void bounds_wants_and_names(void **state)
{
    (void)state;
    AUTO_WANTS struct want_list list = {0};
    struct error err;
    struct want *want = NULL;
    char text[40];
    for (int i = 0; i < WANT_MAX; i++) {
        snprintf(text, sizeof text, "w%d", i);
        assert_int_equal(want_add(&list, text, &want, &err), 0);
    }
    assert_int_equal(want_add(&list, "more", &want, &err), E_FAILED);
    assert_int_equal(list.count, WANT_MAX);
    for (int i = 0; i < WANT_MAX_NAMES; i++) {
        snprintf(text, sizeof text, "n%d.example.org", i);
        assert_int_equal(want_add_name(want, text, &err), 0);
    }
    assert_int_equal(want_add_name(want, "n0.example.org", &err), 0);
    assert_int_equal(want->name_count, WANT_MAX_NAMES);
    assert_int_equal(want_add_name(want, "more.example.org", &err), E_FAILED);
    assert_int_equal(want_add_name(want, "a\x1b.org", &err), E_FAILED);
    assert_string_equal(err.text, "not a host name: a\\x1b.org");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STREAM(reads_lines_as_they_come),
        WITH_STREAM(drops_half_a_line_at_the_end),
        WITH_STREAM(refuses_control_characters),
        WITH_STREAM(reads_lines_of_a_thousand_bytes_and_no_more),
        WITH_STREAM(refuses_a_line_of_a_mebibyte_without_reading_it),
        WITH_STREAM(does_not_wait_beyond_the_deadline),
        WITH_STREAM(does_not_fall_for_drips),
        WITH_STREAM(does_not_write_to_a_deaf_peer_beyond_the_deadline),
        WITH_STREAM(survives_a_peer_that_went_away),
        WITH_STREAM(reads_no_more_than_its_budget),
        WITH_STREAM(reads_bytes_behind_a_line_and_lines_behind_bytes),
        WITH_STREAM(reads_more_bytes_than_its_buffer_holds),
        WITH_STREAM(notices_a_cut_in_the_midst_of_bytes),
        WITH_STREAM(refuses_more_bytes_than_fit),
        WITH_STREAM(writes_one_printable_line),
        cmocka_unit_test(parses_replies),
        cmocka_unit_test(takes_the_words_and_fields_of_a_text),
        cmocka_unit_test(finds_words_and_fields),
        cmocka_unit_test(keeps_only_wants_that_are_well_named),
        cmocka_unit_test(bounds_wants_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
