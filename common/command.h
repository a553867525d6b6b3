/*
 * Other programs, run to their end: ssh-keygen, sshd -T, systemctl.
 */
#ifndef COMMON_COMMAND_H
#define COMMON_COMMAND_H

#include "common/error.h"

#define COMMAND_OUTPUT 65536

/* What it printed, each at most COMMAND_OUTPUT bytes, terminated. Zeroed before, freed by command_free(). */
struct command_output {
    char *out;
    char *errors;
};

/*
 * Runs argv (argv[0] is looked for in /usr/sbin, /usr/bin, /sbin, /bin; the last entry is NULL) with an
 * environment of PATH and LC_ALL=C alone, and input (NULL: nothing) as its stdin. Returns its exit status
 * (127: there is no such program); E_FAILED with err when a signal ends it. output may be NULL.
 */
int command_run(const char *const *argv, const char *input, struct command_output *output, struct error *err);

void command_free(struct command_output *output);
#define AUTO_COMMAND __attribute__((cleanup(command_free)))

/* The first line of text, for a message: what a program said of its failure. Escaped, in out. Returns out. */
char *command_first_line(const char *text, char *out, size_t size);

#endif
