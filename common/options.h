/*
 * Command lines, from one table per program: parsing, --help and --version come from it.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

struct option_row {
    const char *name;     /* long name */
    char letter;          /* 0: none */
    const char *argument; /* what to call it in the help; NULL: the option takes none */
    const char *help;
    bool *flag;         /* set to true, without argument */
    const char **value; /* set to the argument */
    unsigned only;      /* bit 1 << i: goes with command i; 0: with all */
};

struct option_command {
    const char *name;
    const char *help;
    const char *operand;    /* what to call it in the help, in brackets when it may be left out; NULL: none */
    const char **out_value; /* set to it */
};

struct options {
    const char *program;
    const char *purpose;                   /* one sentence */
    const struct option_command *commands; /* the first is the default */
    size_t command_count;
    const struct option_row *rows;
    size_t row_count;
};

/*
 * out_command: index of the command. 0; OPTIONS_SHOWN after --help or --version, which were printed to
 * stdout; E_USAGE with err.
 */
enum {
    OPTIONS_SHOWN = 1
};
int options_parse(const struct options *o, int argc, char **argv, size_t *out_command, struct error *err);

#endif
