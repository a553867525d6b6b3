#include "common/history.h"
#include "common/file.h"
#include "common/member.h"

#include <string.h>

#define HISTORY_MAX (16 * 1024 * 1024)

int history_read(json_t **out, int dirfd, const char *file, struct error *err)
{
    AUTO_SECRET struct secret text = SECRET(HISTORY_MAX);
    struct error ignored;
    json_t *history = NULL;
    if (file_read(dirfd, file, 0, &text, NULL, &ignored) == 0)
        history = json_loadb((char *)text.data, text.len, 0, NULL);
    if (!json_is_object(history)) {
        json_decref(history);
        history = json_object();
    }
    *out = history;
    return history ? 0 : error_memory(err);
}

int history_write(const json_t *history, int dirfd, const char *file, struct error *err)
{
    AUTO_FREE char *text = json_dumps(history, JSON_INDENT(1));
    return text ? file_replace(dirfd, file, text, strlen(text), 0600, err) : error_memory(err);
}

/* ---- counters ---- */

/* The member of that name, made if it is missing or something else. */
static json_t *object_in(json_t *parent, const char *key)
{
    json_t *object = json_object_get(parent, key);
    if (!json_is_object(object)) {
        object = json_object();
        json_object_set_new(parent, key, object);
    }
    return object;
}

void history_count(json_t *history, const char *counter, const char *kind)
{
    json_t *counters = object_in(history, "counters");
    json_t *parent = kind ? object_in(counters, counter) : counters;
    const char *key = kind ? kind : counter;
    json_object_set_new(parent, key, json_integer(member_number(parent, key) + 1));
}

const json_t *history_kinds(const json_t *history, const char *counter)
{
    return json_object_get(json_object_get(history, "counters"), counter);
}

int64_t history_counted(const json_t *history, const char *counter, const char *kind)
{
    const json_t *counters = json_object_get(history, "counters");
    return kind ? member_number(history_kinds(history, counter), kind) : member_number(counters, counter);
}

/* ---- passes ---- */

void history_add_pass(json_t *history, json_t *pass)
{
    json_t *passes = json_object_get(history, "passes");
    if (!json_is_array(passes)) {
        passes = json_array();
        json_object_set_new(history, "passes", passes);
    }
    json_array_append_new(passes, pass);
    while (json_array_size(passes) > HISTORY_PASSES)
        json_array_remove(passes, 0);
}

const json_t *history_passes(const json_t *history)
{
    return json_object_get(history, "passes");
}
