/*
 * Tables of a status: columns that align for people, objects in an array for programs. One description gives
 * both, so that they cannot say different things.
 */
#ifndef COMMON_TABLE_H
#define COMMON_TABLE_H

#include "common/cleanup.h"
#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

enum table_kind {
    TABLE_TEXT,
    TABLE_WORDS,       /* an array; only for columns without a heading */
    TABLE_STATE,       /* a word that says good, waiting or bad: coloured */
    TABLE_FINGERPRINT, /* people see the first 12 digits, as in names of generations */
    TABLE_NUMBER,
    TABLE_MICROSECONDS,
    TABLE_SINCE, /* a time that has passed; people see also how long ago */
    TABLE_UNTIL, /* one that is to come; people see also how long it is until then */
};

struct table_column {
    const char *key;     /* in JSON */
    const char *heading; /* NULL: only programs see it */
    enum table_kind kind;
};

struct table;

/* columns, of which the last has no key, must outlive it. now: for the durations. */
int table_new(struct table **out, const struct table_column *columns, time_t now, struct error *err);
void table_free(struct table *t);
CLEANUP_DEFINE(struct table *, table_free)
#define AUTO_TABLE CLEANUP(table_freep)

/*
 * A row: a value for each column, times as text_time writes them, words with spaces between; NULL and "" are
 * no value: left out for people, null for programs.
 */
void table_add(struct table *t, const char *const *values);

/* Prints headings and rows, after an empty line if wanted; or nothing, and returns false, when there are no
 * rows. */
bool table_print(const struct table *t, FILE *out, bool empty_line, bool colour);
/* An array of objects, a new reference. */
json_t *table_json(const struct table *t);

/* Whether people read it there and want colours: a terminal, not TERM=dumb, no NO_COLOR (no-color.org). */
bool table_may_colour(FILE *out);

#define TABLE_DURATION_SIZE 32
/* "89 d", "5 h", "3 min", "12 s": the largest unit alone. out: TABLE_DURATION_SIZE bytes. Returns out. */
char *table_duration(char *out, int64_t seconds);

#endif
