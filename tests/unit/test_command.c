/* common/command: other programs, run to their end. */
#include "tests/unit/testing.h"

#include "common/command.h"

#define SH(script) ((const char *const[]){"sh", "-c", script, NULL})

static void runs_a_program_and_keeps_what_it_says(void **state)
{
    (void)state;
    AUTO_COMMAND struct command_output output = {0};
    assert_int_equal(command_run(SH("cat; echo no >&2; exit 7"), "text\n", &output, NULL), 7);
    assert_string_equal(output.out, "text\n");
    assert_string_equal(output.errors, "no\n");
}

static void gives_it_no_environment_of_ours(void **state)
{
    (void)state;
    AUTO_COMMAND struct command_output output = {0};
    setenv("CERTSYNC_TEST", "1", 1);
    assert_int_equal(command_run((const char *const[]){"env", NULL}, NULL, &output, NULL), 0);
    assert_string_equal(output.out, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nLC_ALL=C\n");
}

static void bounds_what_is_kept(void **state)
{
    (void)state;
    AUTO_COMMAND struct command_output output = {0};
    assert_int_equal(command_run(SH("head -c 200000 /dev/zero | tr '\\0' x"), NULL, &output, NULL), 0);
    assert_int_equal(strlen(output.out), COMMAND_OUTPUT);
}

static void tells_why_there_is_no_status(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(command_run(SH("kill -9 $$"), NULL, NULL, &err), E_FAILED);
    assert_string_equal(err.text, "sh: ended by signal 9");
    AUTO_COMMAND struct command_output output = {0};
    assert_int_equal(command_run((const char *const[]){"certsync-nothing", NULL}, NULL, &output, &err), 127);
    assert_non_null(strstr(output.errors, "certsync-nothing: No such file"));
}

static void shows_the_first_line(void **state)
{
    (void)state;
    char out[20];
    assert_string_equal(command_first_line("\nb\x1b\r\na\n", out, sizeof out), "b\\x1b");
    assert_string_equal(command_first_line("", out, sizeof out), "");
    assert_string_equal(command_first_line("a", out, sizeof out), "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_a_program_and_keeps_what_it_says),
        cmocka_unit_test(gives_it_no_environment_of_ours),
        cmocka_unit_test(bounds_what_is_kept),
        cmocka_unit_test(tells_why_there_is_no_status),
        cmocka_unit_test(shows_the_first_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
