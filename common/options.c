#include "common/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define MAX_ROWS 24

/* What getopt_long returns for a long option; for a short one it is its letter. */
enum {
    LONG_HELP = 256,
    LONG_VERSION,
    LONG_ROW, /* and following, in the order of the rows */
};

static void show_help(const struct options *o)
{
    printf("usage: %s [command] [options]\n%s\n", o->program, o->purpose);
    printf("\ncommands (the first is the default):\n");
    for (size_t i = 0; i < o->command_count; i++) {
        const struct option_command *c = &o->commands[i];
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", c->name, c->operand ? " " : "", c->operand ? c->operand : "");
        printf("  %-24s %s\n", left, c->help);
    }
    printf("\noptions:\n");
    for (size_t i = 0; i < o->row_count; i++) {
        const struct option_row *row = &o->rows[i];
        char left[64], letter[8] = "    ";
        if (row->letter)
            snprintf(letter, sizeof letter, "-%c, ", row->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, row->name, row->argument ? " " : "",
                 row->argument ? row->argument : "");
        printf("  %-24s %s\n", left, row->help);
    }
    printf("  %-24s %s\n  %-24s %s\n", "    --version", "print the version", "    --help", "print this help");
    printf("\nexit codes:\n");
    for (size_t i = 0; i < error_exit_count; i++)
        printf("  %-4d %s\n", error_exits[i].code, error_exits[i].meaning);
}

static void fill_getopt(const struct options *o, struct option *longs, char *shorts)
{
    size_t n = 0;
    shorts[n++] = ':'; /* a missing argument is told apart from an unknown option */
    for (size_t i = 0; i < o->row_count; i++) {
        const struct option_row *row = &o->rows[i];
        longs[i] = (struct option){row->name, row->argument ? required_argument : no_argument, NULL,
                                   LONG_ROW + (int)i};
        if (!row->letter)
            continue;
        shorts[n++] = row->letter;
        if (row->argument)
            shorts[n++] = ':';
    }
    longs[o->row_count] = (struct option){"help", no_argument, NULL, LONG_HELP};
    longs[o->row_count + 1] = (struct option){"version", no_argument, NULL, LONG_VERSION};
    shorts[n++] = 'h';
    shorts[n] = '\0';
}

static const struct option_row *find_row(const struct options *o, int c)
{
    for (size_t i = 0; i < o->row_count; i++)
        if (c == LONG_ROW + (int)i || (o->rows[i].letter && c == o->rows[i].letter))
            return &o->rows[i];
    return NULL;
}

static int take_operand(const struct option_command *c, int count, char **words, struct error *err)
{
    if (count > 1 && !c->operand)
        return error_set(err, E_USAGE, "one command at a time: %s (see --help)", words[1]);
    if (count > 2)
        return error_set(err, E_USAGE, "%s: too many words: %s (see --help)", c->name, words[2]);
    if (count < 2 && c->operand && *c->operand != '[')
        return error_set(err, E_USAGE, "%s: %s is missing (see --help)", c->name, c->operand);
    if (count > 1)
        *c->out_value = words[1];
    return 0;
}

static int find_command(const struct options *o, int count, char **words, size_t *out_command,
                        struct error *err)
{
    *out_command = 0;
    for (size_t i = 0; count && i < o->command_count; i++)
        if (strcmp(o->commands[i].name, words[0]) == 0) {
            *out_command = i;
            return take_operand(&o->commands[i], count, words, err);
        }
    return count ? error_set(err, E_USAGE, "unknown command: %s (see --help)", words[0]) : 0;
}

/* An option that the command would ignore is a mistake of whoever typed it. */
static int check_rows(const struct options *o, const bool *given, size_t command, struct error *err)
{
    for (size_t i = 0; i < o->row_count; i++)
        if (given[i] && o->rows[i].only && !(o->rows[i].only & (1U << command)))
            return error_set(err, E_USAGE, "--%s does not go with %s (see --help)", o->rows[i].name,
                             o->commands[command].name);
    return 0;
}

static void set_row(const struct option_row *row, const char *argument)
{
    if (row->flag)
        *row->flag = true;
    else
        *row->value = argument;
}

/* A letter may stand in the midst of others, and optind still points at them. */
static int wrong_option(int c, char **argv, struct error *err)
{
    const char letter[] = {'-', (char)optopt, '\0'};
    return error_set(err, E_USAGE, "%s: %s (see --help)",
                     optopt > 0 && optopt < LONG_HELP ? letter : argv[optind - 1],
                     c == ':' ? "an argument is missing" : "unknown option");
}

int options_parse(const struct options *o, int argc, char **argv, size_t *out_command, struct error *err)
{
    struct option longs[MAX_ROWS + 3] = {{0}};
    char shorts[2 * MAX_ROWS + 4];
    bool given[MAX_ROWS] = {false};
    fill_getopt(o, longs, shorts);
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const struct option_row *row = find_row(o, c);
        if (row) {
            given[row - o->rows] = true;
            set_row(row, optarg);
        } else if (c == 'h' || c == LONG_HELP) {
            show_help(o);
            return OPTIONS_SHOWN;
        } else if (c == LONG_VERSION) {
            printf("%s %s\n", o->program, VERSION);
            return OPTIONS_SHOWN;
        } else {
            return wrong_option(c, argv, err);
        }
    }
    int rc = find_command(o, argc - optind, argv + optind, out_command, err);
    return rc ? rc : check_rows(o, given, *out_command, err);
}
