#include "tests/fuzz/problems.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 101 /* with the one that says that there are more */

/* The number behind "path:", 0 if there is none; what follows it. */
static size_t line_of(const char *problem, const char *path, const char **out_rest)
{
    size_t n = strlen(path);
    CHECK(strncmp(problem, path, n) == 0 && problem[n] == ':');
    char *end;
    size_t line = strtoul(problem + n + 1, &end, 10);
    bool has = end > problem + n + 1;
    *out_rest = has ? end : problem + n;
    CHECK(strncmp(*out_rest, ": ", 2) == 0 && (*out_rest)[2]);
    CHECK(!has || line);
    return line;
}

static size_t count_lines(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

void problems_check(const struct problems *p, const char *path, const char *text)
{
    const char *rest;
    size_t count = 0;
    CHECK(!p->text == !p->count);
    char *all = p->text ? strdup(p->text) : NULL, *left = all;
    for (char *line; (line = strsep(&left, "\n")); count++) {
        CHECK(fuzz_is_printable(line));
        if (count < SHOWN_MAX - 1)
            CHECK(line_of(line, path, &rest) <= count_lines(text));
    }
    CHECK(count == (p->count < SHOWN_MAX ? p->count : SHOWN_MAX));
    free(all);
}

void problems_check_moved(const struct problems *moved, const struct problems *p, const char *path)
{
    const char *rest, *rest_moved;
    CHECK(moved->count == p->count);
    char *a = p->text ? strdup(p->text) : NULL, *left = a;
    char *b = moved->text ? strdup(moved->text) : NULL, *left_moved = b;
    for (char *line, *line_moved; (line = strsep(&left, "\n"));) {
        CHECK(line_moved = strsep(&left_moved, "\n"));
        if (strcmp(line, "and more") == 0)
            break;
        size_t n = line_of(line, path, &rest);
        CHECK(line_of(line_moved, path, &rest_moved) == n + !!n);
        CHECK_TEXT(rest_moved, rest);
    }
    free(a);
    free(b);
}
