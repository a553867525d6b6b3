/*
 * What a configuration file's problems must be like, and the same file one line further down.
 */
#ifndef TESTS_FUZZ_PROBLEMS_H
#define TESTS_FUZZ_PROBLEMS_H

#include "common/conf.h"

#define PROBLEMS_COMMENT "# a comment\n"

/* Each names the file, and if it concerns a line, one of the text's. */
void problems_check(const struct problems *p, const char *path, const char *text);

/* Those of the same text behind PROBLEMS_COMMENT: the same, one line further down. */
void problems_check_moved(const struct problems *moved, const struct problems *p, const char *path);

#endif
