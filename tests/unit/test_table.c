/* common/table: the same rows for people and for programs. */
#include "tests/unit/testing.h"

#include "common/table.h"

#define NOW 1795244520 /* 2026-11-21T07:02:00Z */

static const struct table_column columns[] = {
    {"want", "WANT", TABLE_TEXT},
    {"state", "STATE", TABLE_STATE},
    {"fingerprint", "LEAF", TABLE_FINGERPRINT},
    {"since", "SINCE", TABLE_SINCE},
    {"until", "UNTIL", TABLE_UNTIL},
    {"us", "TOOK", TABLE_MICROSECONDS},
    {"count", "N", TABLE_NUMBER},
    {"names", NULL, TABLE_WORDS},
    {"why", "WHY", TABLE_TEXT},
    {0},
};

static const char *const first[] = {"primary",
                                    "served",
                                    "0123456789abcdef0123",
                                    "2026-11-21T06:57:00Z",
                                    "2027-02-19T08:22:26Z",
                                    "1250000",
                                    "9",
                                    "a.example b.example",
                                    ""};
static const char *const second[] = {
    "x", "failed", NULL, "2026-11-21T08:02:00Z", "2026-11-20T07:02:00Z", "", "", NULL, "a\x1b[31mb"};

static struct table *two_rows(void)
{
    struct table *t;
    struct error err;
    assert_int_equal(table_new(&t, columns, NOW, &err), 0);
    table_add(t, first);
    table_add(t, second);
    return t;
}

static const char *printed(const struct table *t, bool colour)
{
    static char text[4096];
    memset(text, 0, sizeof text);
    FILE *f = fmemopen(text, sizeof text - 1, "w");
    assert_true(table_print(t, f, false, colour));
    fclose(f);
    return text;
}

static void aligns_for_people(void **state)
{
    (void)state;
    AUTO_TABLE struct table *t = two_rows();
    assert_string_equal(printed(t, false), "WANT     STATE   LEAF          SINCE                            "
                                           "UNTIL                                TOOK   N  WHY\n"
                                           "primary  served  0123456789ab  2026-11-21 06:57 (5 min ago)     "
                                           "2027-02-19 08:22 (90 d)              1.2 s  9\n"
                                           "x        failed                2026-11-21 08:02 (60 min ahead)  "
                                           "2026-11-20 07:02 (EXPIRED, by 24 h)            "
                                           "a\\x1b[31mb\n");
}

static void colours_states_only(void **state)
{
    (void)state;
    AUTO_TABLE struct table *t = two_rows();
    const char *text = printed(t, true);
    assert_has(text, "primary  \033[32mserved\033[0m  0123456789ab");
    assert_has(text, "\033[31mfailed\033[0m");
    assert_lacks(text, "\033[31mb");
    assert_lacks(printed(t, false), "\033");
}

static void leaves_out_what_is_empty(void **state)
{
    (void)state;
    static const char *const row[] = {"primary", "pending", NULL, NULL, NULL, NULL, NULL, NULL, "later"};
    AUTO_TABLE struct table *t = NULL;
    struct error err;
    assert_int_equal(table_new(&t, columns, NOW, &err), 0);
    assert_false(table_print(t, stdout, true, false));
    table_add(t, row);
    assert_string_equal(printed(t, false), "WANT     STATE    WHY\nprimary  pending  later\n");
}

static void gives_all_to_programs(void **state)
{
    (void)state;
    AUTO_TABLE struct table *t = two_rows();
    json_auto_t *rows = table_json(t);
    json_t *row = json_array_get(rows, 0);
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_string_value(json_object_get(row, "fingerprint")), "0123456789abcdef0123");
    assert_string_equal(json_string_value(json_object_get(row, "until")), "2027-02-19T08:22:26Z");
    assert_int_equal(json_integer_value(json_object_get(row, "us")), 1250000);
    assert_int_equal(json_array_size(json_object_get(row, "names")), 2);
    assert_true(json_is_null(json_object_get(row, "why")));
    row = json_array_get(rows, 1);
    assert_int_equal(json_array_size(json_object_get(row, "names")), 0);
    assert_true(json_is_null(json_object_get(row, "count")));
    assert_string_equal(json_string_value(json_object_get(row, "why")), "a\x1b[31mb");
}

static void says_how_long(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {{0, "0 s"},    {119, "119 s"},   {120, "2 min"},  {7199, "119 min"},
                 {7200, "2 h"}, {172799, "47 h"}, {172800, "2 d"}, {7776000, "90 d"}};
    char text[TABLE_DURATION_SIZE];
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(table_duration(text, cases[i].seconds), cases[i].text);
}

static void colours_terminals_only(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    FILE *terminal = fopen(ptsname(master), "r+"), *file = tmpfile();
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_true(table_may_colour(terminal));
    assert_false(table_may_colour(file));
    setenv("NO_COLOR", "1", 1);
    assert_false(table_may_colour(terminal));
    setenv("NO_COLOR", "", 1);
    assert_true(table_may_colour(terminal));
    setenv("TERM", "dumb", 1);
    assert_false(table_may_colour(terminal));
    fclose(terminal);
    fclose(file);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_for_people),
        cmocka_unit_test(colours_states_only),
        cmocka_unit_test(leaves_out_what_is_empty),
        cmocka_unit_test(gives_all_to_programs),
        cmocka_unit_test(says_how_long),
        cmocka_unit_test(colours_terminals_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
