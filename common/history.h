/*
 * What a program did so far: the last passes, and counters that survive restarts. One JSON file in the state
 * folder, written whole and atomically; nothing but status and metrics depends on it, so that a damaged or
 * missing one is an empty one.
 */
#ifndef COMMON_HISTORY_H
#define COMMON_HISTORY_H

#include "common/cleanup.h"
#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define HISTORY_PASSES 10 /* that are kept: the last ones */

/* The file's object, a new reference; it may be given further members. */
int history_read(json_t **out, int dirfd, const char *file, struct error *err);
int history_write(const json_t *history, int dirfd, const char *file, struct error *err);

/* Adds one to a counter, or to the counter of one of its kinds (kind may be NULL). */
void history_count(json_t *history, const char *counter, const char *kind);
/* Its value; 0 if it was never counted. */
int64_t history_counted(const json_t *history, const char *counter, const char *kind);
/* All kinds of a counter: an object, or NULL. */
const json_t *history_kinds(const json_t *history, const char *counter);

/* Adds a pass, which it takes over (NULL: out of memory, nothing is added). */
void history_add_pass(json_t *history, json_t *pass);
/* An array, the latest last. */
const json_t *history_passes(const json_t *history);

#endif
