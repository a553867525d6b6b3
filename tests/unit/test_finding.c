/* deployer/finding: what is added, what is left out when there are too many. */
#include "tests/unit/testing.h"

#include "tests/unit/findings.h"

static void add(enum finding_severity severity, const char *id, const char *want)
{
    finding_add(&found, severity, id, want, "text of %s", id);
}

static int forget(void **state)
{
    (void)state;
    memset(&found, 0, sizeof found);
    return 0;
}

static void keeps_text_and_remedy(void **state)
{
    (void)state;
    finding_add(&found, FINDING_WARN, "mode", "primary", "%s has mode %o", "/a/key.pem", 0644);
    finding_remedy(&found, "chmod 600 %s", "/a/key.pem");
    assert_int_equal(found.count, 1);
    assert_string_equal(found.list[0].text, "/a/key.pem has mode 644");
    assert_string_equal(found.list[0].remedy, "chmod 600 /a/key.pem");
    assert_string_equal(found.list[0].want, "primary");
    add(FINDING_NOTE, "x", NULL);
    assert_string_equal(found.list[1].want, "");
    assert_string_equal(found.list[1].remedy, "");
}

static void makes_printable_what_was_found(void **state)
{
    (void)state;
    char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    finding_add(&found, FINDING_WARN, "owner", NULL, "%s", "a\x1b[2Jb\n");
    finding_remedy(&found, "%s", "c\nd");
    assert_string_equal(found.list[0].text, "a\\x1b[2Jb\\x0a");
    assert_string_equal(found.list[0].remedy, "c\\x0ad");
    finding_add(&found, FINDING_WARN, "owner", NULL, "%s", longest);
    assert_int_equal(strlen(found.list[1].text), sizeof found.list[1].text - 1);
    assert_has(found.list[1].text, "a...");
}

static void finds_by_severity(void **state)
{
    (void)state;
    add(FINDING_WARN, "a", NULL);
    add(FINDING_REFUSE, "b", "one.example.org");
    add(FINDING_REFUSE, "c", NULL);
    assert_string_equal(finding_of(&found, FINDING_REFUSE)->id, "b");
    assert_string_equal(finding_of(&found, FINDING_WARN)->id, "a");
    assert_null(finding_of(&found, FINDING_LATER));
}

static void leaves_out_the_less_severe(void **state)
{
    (void)state;
    add(FINDING_REFUSE, "first", NULL);
    for (size_t i = 1; i < FINDING_MAX; i++)
        add(i == 5 ? FINDING_NOTE : FINDING_WARN, i == 5 ? "note" : "warn", NULL);
    add(FINDING_WARN, "further", NULL);
    finding_remedy(&found, "its remedy");
    assert_int_equal(found.count, FINDING_MAX);
    assert_int_equal(found.omitted, 1);
    assert_null(finding_of(&found, FINDING_NOTE));
    assert_string_equal(found.list[FINDING_MAX - 1].id, "further");
    assert_string_equal(found.list[FINDING_MAX - 1].remedy, "its remedy");
    add(FINDING_NOTE, "none", NULL);
    finding_remedy(&found, "nobody's");
    assert_int_equal(found.omitted, 2);
    assert_string_equal(found.list[FINDING_MAX - 1].remedy, "its remedy");
    for (size_t i = 0; i < 2 * FINDING_MAX; i++)
        add(FINDING_REFUSE, "refuse", NULL);
    assert_int_equal(found.count, FINDING_MAX);
    assert_string_equal(found.list[0].id, "first");
    assert_null(finding_of(&found, FINDING_WARN));
}

static void names_the_severities(void **state)
{
    (void)state;
    assert_string_equal(finding_severity_str(FINDING_NOTE), "note");
    assert_string_equal(finding_severity_str(FINDING_WARN), "warn");
    assert_string_equal(finding_severity_str(FINDING_LATER), "later");
    assert_string_equal(finding_severity_str(FINDING_REFUSE), "refuse");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(keeps_text_and_remedy, forget),
        cmocka_unit_test_setup(makes_printable_what_was_found, forget),
        cmocka_unit_test_setup(finds_by_severity, forget),
        cmocka_unit_test_setup(leaves_out_the_less_severe, forget),
        cmocka_unit_test(names_the_severities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
