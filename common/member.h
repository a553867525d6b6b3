/*
 * Members of JSON objects (jansson) as the state files and reports have them: texts, numbers, times as
 * "2026-11-21T07:02:00Z".
 */
#ifndef COMMON_MEMBER_H
#define COMMON_MEMBER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* "" and 0 for what is missing or of another kind. A text lives as long as the object. */
const char *member_text(const json_t *object, const char *key);
int64_t member_number(const json_t *object, const char *key);
time_t member_time(const json_t *object, const char *key);

/* Copies a text into out, of size bytes. One that does not fit is left out: half of it would be something
 * else. */
void member_copy(const json_t *object, const char *key, char *out, size_t size);

/* New values, of the caller (NULL: out of memory): a text of any bytes, escaped by text_escape if it is no
 * UTF-8, as an error's text that names a file need not be, or one that was cut; a time, null for 0. */
json_t *member_new_text(const char *text);
json_t *member_new_time(time_t t);

#endif
