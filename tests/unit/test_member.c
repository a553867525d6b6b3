/* common/member: what state files hold, whatever it is. */
#include "tests/unit/testing.h"

#include "common/member.h"

static void reads_members_of_the_right_kind(void **state)
{
    (void)state;
    json_auto_t *object = json_pack("{s:s, s:i, s:s, s:n}", "text", "x", "number", 7, "time",
                                    "2026-11-21T07:02:00Z", "nothing");
    assert_string_equal(member_text(object, "text"), "x");
    assert_string_equal(member_text(object, "number"), "");
    assert_string_equal(member_text(NULL, "text"), "");
    assert_int_equal(member_number(object, "number"), 7);
    assert_int_equal(member_number(object, "text"), 0);
    assert_int_equal(member_time(object, "time"), 1795244520);
    assert_int_equal(member_time(object, "text"), 0);
    assert_int_equal(member_time(object, "nothing"), 0);
}

static void writes_texts_of_any_bytes(void **state)
{
    (void)state;
    json_auto_t *text = member_new_text("a\xff"
                                        "b"),
                *when = member_new_time(1795244520);
    json_auto_t *never = member_new_time(0);
    assert_string_equal(json_string_value(text), "a\\xffb");
    assert_string_equal(json_string_value(when), "2026-11-21T07:02:00Z");
    assert_true(json_is_null(never));
}

static void copies_what_fits(void **state)
{
    (void)state;
    json_auto_t *object = json_pack("{s:s, s:s, s:i}", "short", "abc", "long", "abcd", "number", 7);
    char out[4] = "xyz";
    member_copy(object, "short", out, sizeof out);
    assert_string_equal(out, "abc");
    static const char *const left_out[] = {"long", "number", "missing"};
    for (size_t i = 0; i < COUNT(left_out); i++) {
        strcpy(out, "xyz");
        member_copy(object, left_out[i], out, sizeof out);
        assert_string_equal(out, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_members_of_the_right_kind),
        cmocka_unit_test(copies_what_fits),
        cmocka_unit_test(writes_texts_of_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
