/* common/text and common/error: what is shown to people, and the words that values are made of. */
#include "tests/unit/testing.h"

#include "common/error.h"
#include "common/text.h"

#include <errno.h>

/* Text */

static void escapes_what_cannot_be_shown(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(text_escape(out, sizeof out, "a b~\\", 5), "a b~\\\\");
    assert_string_equal(text_escape(out, sizeof out, "\x1b[2J\r\n\x7f\xff\0z", 10),
                        "\\x1b[2J\\x0d\\x0a\\x7f\\xff\\x00z");
    assert_string_equal(text_escape(out, sizeof out, "", 0), "");
}

static void cuts_what_is_too_long_to_be_shown(void **state)
{
    (void)state;
    char out[9];
    assert_string_equal(text_escape(out, sizeof out, "12345678", 8), "12345678");
    assert_string_equal(text_escape(out, sizeof out, "123456789", 9), "12345...");
    assert_string_equal(text_escape(out, sizeof out, "\n\n", 2), "\\x0a\\x0a");
    assert_string_equal(text_escape(out, sizeof out, "\n\n\n", 3), "\\x0a...");
    assert_string_equal(text_escape(out, sizeof out, "1234567\n", 8), "12345...");
    for (size_t size = 4; size < 40; size++) {
        char exact[40];
        memset(exact, 'X', sizeof exact);
        text_escape(exact, size,
                    "a\\b\nc\xff"
                    "defgh\\",
                    12);
        assert_true(memchr(exact, '\0', size) != NULL);
        for (size_t i = size; i < sizeof exact; i++)
            assert_int_equal(exact[i], 'X');
    }
}

static void makes_lower_case(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(text_lower(out, sizeof out, "MaIl-9"), "mail-9");
    assert_string_equal(text_lower(out, sizeof out, "ABCDEFGHIJ"), "abcdefg");
}

static void reads_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds; /* -1: none */
    } cases[] = {
        {"0", 0},
        {"90", 90},
        {"90s", 90},
        {"24h", 86400},
        {"7d", 604800},
        {"2w", 1209600},
        {"1h30m", 5400},
        {"5m", 300},
        {"", -1},
        {"-1", -1},
        {"+1", -1},
        {" 1", -1},
        {"1 ", -1},
        {"1x", -1},
        {"h", -1},
        {"1hm", -1},
        {"1.5h", -1},
        {"1H", -1},
        {"100000001s", -1},
        {"100000000", 100000000},
        {"99999999999999999999", -1},
        {"1h-1m", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t seconds = -1;
        bool ok = text_parse_duration(cases[i].text, &seconds);
        if (ok != (cases[i].seconds >= 0) || seconds != cases[i].seconds)
            fail_msg("\"%s\": %d, %lld seconds", cases[i].text, ok, (long long)seconds);
    }
}

static void reads_numbers(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "0", "65536", "-1", "+1", " 1", "1 ", "1a", "0x10", "1.0", "99999999999999999999"};
    long n = -7;
    for (size_t i = 0; i < COUNT(wrong); i++)
        if (text_parse_number(wrong[i], 1, 65535, &n) || n != -7)
            fail_msg("\"%s\" passes", wrong[i]);
    assert_true(text_parse_number("1", 1, 65535, &n));
    assert_int_equal(n, 1);
    assert_true(text_parse_number("65535", 1, 65535, &n));
    assert_int_equal(n, 65535);
}

static void knows_host_names(void **state)
{
    (void)state;
    static const char *const right[] = {"a.b", "mail.example.org", "xn--mller-kva.example", "1.example",
                                        "a-b.c-d"};
    static const char *const wrong[] = {
        "",
        "localhost",
        "Mail.example.org",
        "mail.example.org.",
        ".example.org",
        "a..b",
        "-a.b",
        "a-.b",
        "a_b.c",
        "a.b/c",
        "a b.c",
        "*.org",
        "a.*.org",
        "**.b.c",
        "f*.b.c",
        "*.",
        "a.b\n",
        "m\xc3\xbcller.example",
        "*.*.a.b",
    };
    char label[80] = "", long_name[300] = "";
    for (size_t i = 0; i < COUNT(right); i++)
        assert_true(text_is_host_name(right[i], false));
    for (size_t i = 0; i < COUNT(wrong); i++)
        if (text_is_host_name(wrong[i], true))
            fail_msg("\"%s\" passes", wrong[i]);
    assert_true(text_is_host_name("*.example.org", true));
    assert_false(text_is_host_name("*.example.org", false));
    memset(label, 'a', 63);
    strcpy(label + 63, ".org");
    assert_true(text_is_host_name(label, false));
    strcpy(label + 63, "a.org");
    assert_false(text_is_host_name(label, false));
    for (int i = 0; i < 127; i++)
        strcat(long_name, "a.");
    long_name[253] = '\0';
    assert_true(text_is_host_name(long_name, false));
    strcat(long_name, "a");
    assert_false(text_is_host_name(long_name, false));
}

static void knows_fingerprints(void **state)
{
    (void)state;
    char hex[70];
    const unsigned char bytes[32] = {0x00, 0x0f, 0xf0, 0xff, 0xab};
    text_hex(hex, bytes, sizeof bytes);
    assert_memory_equal(hex, "000ff0ffab00", 12);
    assert_true(text_is_fingerprint(hex));
    hex[63] = '\0';
    assert_false(text_is_fingerprint(hex));
    strcpy(hex + 63, "00");
    assert_false(text_is_fingerprint(hex));
    strcpy(hex + 63, "A");
    assert_false(text_is_fingerprint(hex));
    assert_false(text_is_fingerprint(""));
}

static void writes_and_reads_times(void **state)
{
    (void)state;
    char out[TEXT_TIME_SIZE];
    time_t t = 7;
    assert_string_equal(text_time(out, 1795244520), "2026-11-21T07:02:00Z");
    assert_true(text_parse_time(out, &t));
    assert_int_equal(t, 1795244520);
    static const char *const wrong[] = {"",
                                        "2026-11-21",
                                        "2026-11-21T07:02:00",
                                        "2026-11-21T07:02:00Zx",
                                        "2026-13-21T07:02:00Z",
                                        "2026-06-31T07:02:00Z",
                                        "2026-11- 1T07:02:00Z",
                                        "2026-11-1T7:2:0Z",
                                        "2026-12-31T23:59:60Z",
                                        "2026-11-21 07:02:00Z"};
    for (size_t i = 0; i < COUNT(wrong); i++)
        if (text_parse_time(wrong[i], &t))
            fail_msg("\"%s\" passes", wrong[i]);
    assert_int_equal(t, 1795244520);
}

/* Errors */

static void sets_and_wraps_errors(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, E_CONFIG, "%s: %d", "x", 1), E_CONFIG);
    assert_int_equal(err.code, E_CONFIG);
    assert_string_equal(err.text, "x: 1");
    assert_int_equal(error_wrap(&err, "lineage %s", "npm"), E_CONFIG);
    assert_string_equal(err.text, "lineage npm: x: 1");
    error_set(&err, E_FAILED, "a\nb\x1b[2J\x7f \xc3\xa9");
    assert_string_equal(err.text, "a?b?[2J? \xc3\xa9");
    error_wrap(&err, "\t");
    assert_string_equal(err.text, "?: a?b?[2J? \xc3\xa9");
    assert_int_equal(error_set(NULL, E_USAGE, "x"), E_USAGE);
    assert_true(error_wrap(NULL, "x") < 0);
}

static void cuts_long_errors(void **state)
{
    (void)state;
    struct error err;
    char text[3000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(&err, E_FAILED, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(error_wrap(&err, "head"), E_FAILED);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_memory_equal(err.text, "head: aaa", 9);
    error_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void tells_passing_system_errors_from_others(void **state)
{
    (void)state;
    static const int passing[] = {ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN};
    struct error err;
    for (size_t i = 0; i < COUNT(passing); i++) {
        errno = passing[i];
        assert_int_equal(error_errno(&err, "f", "write"), E_TEMPORARY);
    }
    errno = EACCES;
    assert_int_equal(error_errno(&err, "f", "write"), E_FAILED);
    assert_string_equal(err.text, "f: write: Permission denied");
    assert_int_equal(error_memory(&err), E_TEMPORARY);
}

static void has_one_table_of_exit_codes(void **state)
{
    (void)state;
    static const int codes[] = {0, 1, 64, 75, 78};
    assert_int_equal(error_exit_count, COUNT(codes));
    for (size_t i = 0; i < COUNT(codes); i++)
        assert_int_equal(error_exits[i].code, codes[i]);
    assert_int_equal(error_exit_code(0), 0);
    assert_int_equal(error_exit_code(3), 0);
    assert_int_equal(error_exit_code(E_FAILED), 1);
    assert_int_equal(error_exit_code(E_USAGE), 64);
    assert_int_equal(error_exit_code(E_TEMPORARY), 75);
    assert_int_equal(error_exit_code(E_CONFIG), 78);
    assert_int_equal(error_exit_code(-99), 1);
}

static void takes_the_worse_of_two(void **state)
{
    (void)state;
    assert_int_equal(error_worse(0, 0), 0);
    assert_int_equal(error_worse(0, E_TEMPORARY), E_TEMPORARY);
    assert_int_equal(error_worse(E_FAILED, E_TEMPORARY), E_FAILED);
    assert_int_equal(error_worse(E_FAILED, E_CONFIG), E_CONFIG);
    assert_int_equal(error_worse(E_TEMPORARY, E_CONFIG), E_CONFIG);
    assert_int_equal(error_worse(1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_what_cannot_be_shown),
        cmocka_unit_test(cuts_what_is_too_long_to_be_shown),
        cmocka_unit_test(makes_lower_case),
        cmocka_unit_test(reads_durations),
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(knows_host_names),
        cmocka_unit_test(knows_fingerprints),
        cmocka_unit_test(writes_and_reads_times),
        cmocka_unit_test(sets_and_wraps_errors),
        cmocka_unit_test(cuts_long_errors),
        cmocka_unit_test(tells_passing_system_errors_from_others),
        cmocka_unit_test(has_one_table_of_exit_codes),
        cmocka_unit_test(takes_the_worse_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
