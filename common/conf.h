/*
 * Configuration files, read by inih into a record that the caller describes with tables.
 *
 * Every problem of a file is reported, not only the first: unknown sections and keys, duplicates, bad values,
 * syntax, each as `file:line: what is wrong`. A list may go on over several indented lines. The instance of a
 * named section is a word of letters, digits, '-', '_' and '.', the latter not in front, and its record is
 * made also when it has no keys.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct conf_list {
    char **items; /* owned; NULL, or ended by a NULL that count does not count */
    size_t count;
};

enum conf_type {
    CONF_STRING,   /* char *, owned by the record */
    CONF_PATH,     /* char *, owned by the record; must be absolute */
    CONF_NUMBER,   /* long, min..max */
    CONF_DURATION, /* int64_t, seconds, min..max */
    CONF_LIST,     /* struct conf_list, separated by commas or white space */
    CONF_SECRET,   /* struct secret; no message shows it */
};

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset;                     /* in the record of its section */
    long min, max;                     /* for CONF_NUMBER and CONF_DURATION */
    bool (*accepts)(const char *item); /* for strings and list items; NULL: anything but "" */
    const char *expected;              /* what accepts wants, for the message */
    size_t line_offset;                /* of an unsigned that takes the line it stands in; 0: none */
};

struct conf_section {
    const char *name;
    /* The record for a section: config itself, or for `[name instance]` a record of that instance, which is
       made when it is first asked for; NULL if there is no room. instance is NULL for a plain section. */
    void *(*record)(void *config, const char *instance);
    bool named;
    bool (*accepts)(const char *instance); /* NULL: every word */
    const char *expected;                  /* what accepts wants, for the message */
    const struct conf_key *keys;
    size_t key_count;
};

/* What was found wrong, newline-separated; released by problems_free. A zeroed one is ready. */
struct problems {
    char *text;
    unsigned count;
};
void problem_add(struct problems *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* All of them as one error, whose text has a line for each, as far as there is room; code is returned. */
int problems_error(const struct problems *p, int code, struct error *err);
void problems_free(struct problems *p);
#define AUTO_PROBLEMS CLEANUP(problems_free)

/* Adds what is wrong to problems; 0 or E_CONFIG. The record keeps what was read, for the caller to free. */
int conf_read(const char *path, const struct conf_section *sections, size_t section_count, void *config,
              struct problems *problems);

/* The same for a file that has been read: text, which is written to, is terminated by a NUL. */
int conf_parse(const char *path, char *text, const struct conf_section *sections, size_t section_count,
               void *config, struct problems *problems);

/* Replaces *slot by a copy of value: for defaults. */
int conf_set_string(char **slot, const char *value);
void conf_list_free(struct conf_list *list);

#endif
