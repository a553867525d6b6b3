/* common/history: counters and the last passes, whatever the file holds. */
#include "tests/unit/testing.h"

#include "common/history.h"
#include "common/member.h"

static json_t *read_it(struct directory *d)
{
    json_t *history;
    struct error err;
    assert_int_equal(history_read(&history, d->fd, "h", &err), 0);
    return history;
}

static void keeps_counters(void **state)
{
    struct directory *d = *state;
    struct error err;
    for (int i = 1; i <= 3; i++) {
        json_auto_t *h = read_it(d);
        assert_int_equal(history_counted(h, "reloads", "nginx done"), i - 1);
        history_count(h, "reloads", "nginx done");
        history_count(h, "rollbacks", NULL);
        assert_int_equal(history_write(h, d->fd, "h", &err), 0);
    }
    json_auto_t *h = read_it(d);
    assert_int_equal(history_counted(h, "reloads", "nginx done"), 3);
    assert_int_equal(history_counted(h, "reloads", "postfix done"), 0);
    assert_int_equal(history_counted(h, "restarts", "nginx done"), 0);
    assert_int_equal(history_counted(h, "rollbacks", NULL), 3);
}

static void keeps_the_last_passes(void **state)
{
    struct directory *d = *state;
    json_auto_t *h = read_it(d);
    assert_int_equal(json_array_size(history_passes(h)), 0);
    for (int i = 1; i <= HISTORY_PASSES + 3; i++)
        history_add_pass(h, json_pack("{s:i}", "us", i));
    assert_int_equal(json_array_size(history_passes(h)), HISTORY_PASSES);
    assert_int_equal(member_number(json_array_get(history_passes(h), 0), "us"), 4);
    assert_int_equal(member_number(json_array_get(history_passes(h), HISTORY_PASSES - 1), "us"),
                     HISTORY_PASSES + 3);
    history_add_pass(h, NULL);
    assert_int_equal(json_array_size(history_passes(h)), HISTORY_PASSES);
}

static void begins_anew_with_what_is_damaged(void **state)
{
    struct directory *d = *state;
    static const char *const contents[] = {"",
                                           "{",
                                           "[]",
                                           "7",
                                           "{\"counters\": 3, \"passes\": {\"x\": 1}}",
                                           "{\"counters\": {\"a\": 1, \"b\": [\"x\"]}, \"passes\": \"y\"}"};
    for (size_t i = 0; i < COUNT(contents); i++) {
        write_text(d, "h", contents[i]);
        json_auto_t *h = read_it(d);
        history_count(h, "a", "k");
        history_count(h, "b", "k");
        history_add_pass(h, json_object());
        assert_int_equal(history_counted(h, "a", "k"), 1);
        assert_int_equal(history_counted(h, "b", "k"), 1);
        assert_int_equal(json_array_size(history_passes(h)), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(keeps_counters),
        WITH_DIRECTORY(keeps_the_last_passes),
        WITH_DIRECTORY(begins_anew_with_what_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
