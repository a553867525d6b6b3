/* pusher/conf_edit: sections come and go, all else stays to the byte. */
#include "tests/unit/testing.h"

#include "pusher/conf_edit.h"

#define TARGET "[target mail]\nhost = m\n"

static void appended(const char *text, const char *expected)
{
    char *out = conf_edit_append(text, TARGET);
    assert_string_equal(out, expected);
    free(out);
}

static void removed(const char *text, const char *expected)
{
    char *out = conf_edit_remove(text, "target", "mail");
    assert_string_equal(out, expected);
    free(out);
}

static void appends_behind_an_empty_line(void **state)
{
    (void)state;
    appended("", TARGET);
    appended("[push]\n", "[push]\n\n" TARGET);
    appended("# no end", "# no end\n\n" TARGET);
}

static void removes_what_it_appended(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[push]\n", "[source x]\npath = /p\n\n# mine\n", "\n\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *longer = conf_edit_append(texts[i], TARGET);
        removed(longer, texts[i]);
        free(longer);
    }
}

static void leaves_what_is_not_of_the_section(void **state)
{
    (void)state;
    removed("[target mail2]\nhost = m\n", "[target mail2]\nhost = m\n");
    removed("[source mail]\npath = /p\n", "[source mail]\npath = /p\n");
    removed("#[target mail]\nhost = m\n", "#[target mail]\nhost = m\n");
    removed("[targetmail]\n", "[targetmail]\n");
    removed("[target mail]\nhost = m\n\n# of the next\n[push]\nx = y\n", "\n# of the next\n[push]\nx = y\n");
    removed("[target mail]\nhost = m\n# of the next\n[target mail]\nport = 2\n[push]\n",
            "# of the next\n[push]\n");
}

static void knows_a_section_however_it_is_written(void **state)
{
    (void)state;
    removed("  [ target   mail ]  ; note\nhost = m\n  and on\n", "");
    removed("[target mail]\r\nhost = m\r\n", "");
    removed("[target mail]\nhost = m", "");
    removed("[target mail]", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_behind_an_empty_line),
        cmocka_unit_test(removes_what_it_appended),
        cmocka_unit_test(leaves_what_is_not_of_the_section),
        cmocka_unit_test(knows_a_section_however_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
