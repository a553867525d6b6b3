/* common/options: the table of a program, its help, and what is wrong on a command line. */
#include "tests/unit/testing.h"

#include "common/options.h"

#include <getopt.h>

struct values {
    bool force, quiet;
    const char *config;
    bool deep;
};

struct parsed {
    struct values values;
    size_t command;
    int rc;
    struct error err;
    const char *printed;
};

/* Parses words, separated by single spaces. */
static struct parsed parse(const char *words)
{
    static const struct option_command commands[] = {{"run", "does it", NULL, NULL}, {"status", "shows it", NULL, NULL}};
    static struct parsed p;
    p = (struct parsed){.command = 99};
    const struct option_row rows[] = {
        {.name = "force", .help = "even if nothing changed", .flag = &p.values.force},
        {.name = "config", .letter = 'c', .argument = "FILE", .help = "read FILE", .value = &p.values.config},
        {.name = "quiet", .letter = 'q', .help = "say less", .flag = &p.values.quiet},
        {.name = "deep", .letter = 'd', .help = "go deep", .flag = &p.values.deep, .only = 1U << 1},
    };
    const struct options o = {.program = "prog",
                              .purpose = "is a purpose",
                              .commands = commands,
                              .command_count = COUNT(commands),
                              .rows = rows,
                              .row_count = COUNT(rows)};
    static char text[400];
    char *argv[20] = {NULL}, *rest = text;
    int argc = 0;
    struct capture c;
    snprintf(text, sizeof text, "prog%s%s", *words ? " " : "", words);
    while (argc < 19 && (argv[argc] = strsep(&rest, " ")))
        argc++;
    optind = 0; /* getopt(3): starts again */
    capture_begin(&c, STDOUT_FILENO);
    p.rc = options_parse(&o, argc, argv, &p.command, &p.err);
    p.printed = capture_end(&c);
    return p;
}

static void has_a_default_command(void **state)
{
    (void)state;
    struct parsed p = parse("");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.command, 0);
    assert_false(p.values.force || p.values.quiet || p.values.config);
    p = parse("--force");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.command, 0);
    assert_true(p.values.force);
}

static void takes_options_on_both_sides_of_the_command(void **state)
{
    (void)state;
    struct parsed p = parse("-q status --config=/f --force");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.command, 1);
    assert_true(p.values.quiet && p.values.force);
    assert_string_equal(p.values.config, "/f");
    p = parse("--deep status");
    assert_int_equal(p.rc, 0);
    assert_true(p.values.deep);
    p = parse("run -c /g");
    assert_int_equal(p.command, 0);
    assert_string_equal(p.values.config, "/g");
    p = parse("-qc/h");
    assert_string_equal(p.values.config, "/h");
    assert_true(p.values.quiet);
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *text;
    } cases[] = {
        {"stat", "unknown command: stat (see --help)"},
        {"run status", "one command at a time: status (see --help)"},
        {"--colour", "--colour: unknown option (see --help)"},
        {"--force=yes", "--force=yes: unknown option (see --help)"},
        {"--config", "--config: an argument is missing (see --help)"},
        {"-c", "-c: an argument is missing (see --help)"},
        {"-x", "-x: unknown option (see --help)"},
        {"-xq", "-x: unknown option (see --help)"},
        {"--force -qxq", "-x: unknown option (see --help)"},
        {"run -qc", "-c: an argument is missing (see --help)"},
        {"--help=x", "--help=x: unknown option (see --help)"},
        {"-V", "-V: unknown option (see --help)"},
        {"--deep", "--deep does not go with run (see --help)"},
        {"run -d", "--deep does not go with run (see --help)"},
        {"", NULL},
    };
    for (size_t i = 0; cases[i].text; i++) {
        struct parsed p = parse(cases[i].words);
        assert_int_equal(p.rc, E_USAGE);
        assert_string_equal(p.err.text, cases[i].text);
        assert_string_equal(p.printed, "");
    }
}

static void shows_help_with_every_row_and_the_exit_codes(void **state)
{
    (void)state;
    static const char *const words[] = {"--help", "-h", "status --help", "-qh"};
    static const char *const parts[] = {"usage: prog ", "is a purpose", "run",          "does it",
                                        "status",       "shows it",     "    --force ", "-c, --config FILE",
                                        "read FILE",    "-q, --quiet",  "--version",    "--help",
                                        "exit codes:"};
    for (size_t i = 0; i < COUNT(words); i++) {
        struct parsed p = parse(words[i]);
        assert_int_equal(p.rc, OPTIONS_SHOWN);
        for (size_t n = 0; n < COUNT(parts); n++)
            assert_has(p.printed, parts[n]);
        for (size_t n = 0; n < error_exit_count; n++)
            assert_has(p.printed, error_exits[n].meaning);
    }
}

static void shows_the_version(void **state)
{
    (void)state;
    struct parsed p = parse("--version");
    assert_int_equal(p.rc, OPTIONS_SHOWN);
    assert_string_equal(p.printed, "prog " VERSION "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_a_default_command),
        cmocka_unit_test(takes_options_on_both_sides_of_the_command),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(shows_help_with_every_row_and_the_exit_codes),
        cmocka_unit_test(shows_the_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
