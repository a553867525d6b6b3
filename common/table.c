#include "common/table.h"
#include "common/member.h"
#include "common/text.h"

#include <string.h>

#define CELL_MAX 1200

struct table {
    const struct table_column *columns;
    size_t column_count;
    time_t now;
    json_t *rows; /* objects */
};

int table_new(struct table **out, const struct table_column *columns, time_t now, struct error *err)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t || !(t->rows = json_array())) {
        free(t);
        return error_memory(err);
    }
    t->columns = columns;
    while (columns[t->column_count].key)
        t->column_count++;
    t->now = now;
    *out = t;
    return 0;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    json_decref(t->rows);
    free(t);
}

/* ---- for programs ---- */

static json_t *new_words(const char *value)
{
    json_t *words = json_array();
    while (*value) {
        size_t len = strcspn(value, " ");
        if (len)
            json_array_append_new(words, json_stringn(value, len));
        value += len + (value[len] == ' ');
    }
    return words;
}

static json_t *new_value(enum table_kind kind, const char *value)
{
    if (kind == TABLE_WORDS)
        return new_words(value ? value : "");
    if (!value || !*value)
        return json_null();
    if (kind == TABLE_NUMBER || kind == TABLE_MICROSECONDS)
        return json_integer(atoll(value));
    return member_new_text(value);
}

void table_add(struct table *t, const char *const *values)
{
    json_t *row = json_object();
    for (size_t i = 0; i < t->column_count; i++)
        json_object_set_new(row, t->columns[i].key, new_value(t->columns[i].kind, values[i]));
    json_array_append_new(t->rows, row);
}

json_t *table_json(const struct table *t)
{
    return json_incref(t->rows);
}

/* ---- for people ---- */

char *table_duration(char *out, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t i = 0;
    while (i < 3 && seconds < 2 * units[i].seconds)
        i++;
    snprintf(out, TABLE_DURATION_SIZE, "%lld %s", (long long)(seconds / units[i].seconds), units[i].unit);
    return out;
}

/* "2026-11-21 07:02 (5 min ago)" */
static void show_time(const struct table *t, const struct table_column *column, const char *text, char *out,
                      size_t size)
{
    char duration[TABLE_DURATION_SIZE];
    time_t then;
    if (!text_parse_time(text, &then)) {
        snprintf(out, size, "%s", text);
        return;
    }
    int64_t left = (int64_t)then - t->now;
    bool past = left <= 0;
    table_duration(duration, past ? -left : left);
    if (column->kind == TABLE_SINCE)
        snprintf(out, size, "%.10s %.5s (%s%s)", text, text + 11, duration, past ? " ago" : " ahead");
    else
        snprintf(out, size, "%.10s %.5s (%s%s)", text, text + 11, past ? "EXPIRED, by " : "", duration);
}

static void show(const struct table *t, const struct table_column *column, const json_t *value, char *out,
                 size_t size)
{
    const char *text = json_string_value(value);
    long long number = json_integer_value(value);
    *out = '\0';
    if (json_is_null(value) || json_is_array(value)) /* of words only programs are told */
        return;
    switch (column->kind) {
    case TABLE_NUMBER:
        snprintf(out, size, "%lld", number);
        break;
    case TABLE_MICROSECONDS:
        snprintf(out, size, "%.1f s", (double)number / 1e6);
        break;
    case TABLE_FINGERPRINT:
        snprintf(out, size, "%.12s", text);
        break;
    case TABLE_SINCE:
    case TABLE_UNTIL:
        show_time(t, column, text, out, size);
        break;
    default:
        text_escape(out, size, text, strlen(text));
    }
}

static const char *colour_of(const char *state)
{
    static const char *const good[] = {"served", "deployed", "unchanged", "done", "current", NULL};
    static const char *const waiting[] = {"pending", "none", "temporary", "kept", "previous", NULL};
    for (size_t i = 0; good[i]; i++)
        if (strcmp(state, good[i]) == 0)
            return "\033[32m";
    for (size_t i = 0; waiting[i]; i++)
        if (strcmp(state, waiting[i]) == 0)
            return "\033[33m";
    return "\033[31m";
}

static bool is_shown(const struct table *t, size_t column, size_t *out_width)
{
    char text[CELL_MAX];
    const struct table_column *c = &t->columns[column];
    size_t i, width = 0;
    const json_t *row;
    json_array_foreach(t->rows, i, row)
    {
        show(t, c, json_object_get(row, c->key), text, sizeof text);
        width = strlen(text) > width ? strlen(text) : width;
    }
    if (c->heading && width && strlen(c->heading) > width)
        width = strlen(c->heading);
    *out_width = width;
    return c->heading && width;
}

/* The last one is not padded: no line ends in blanks. */
static void print_cell(FILE *out, const char *text, size_t width, bool last, const char *colour)
{
    fprintf(out, "%s%s%s", colour, text, *colour ? "\033[0m" : "");
    if (!last)
        fprintf(out, "%*s", (int)(width - strlen(text)) + 2, "");
}

struct layout {
    size_t columns[32]; /* those that are shown */
    size_t widths[32];
    size_t count;
};

/* row: NULL for the headings. */
static void print_row(const struct table *t, const struct layout *l, const json_t *row, FILE *out,
                      bool colour)
{
    char text[CELL_MAX];
    size_t last = 0;
    for (size_t i = 0; i < l->count; i++)
        if (!row || !json_is_null(json_object_get(row, t->columns[l->columns[i]].key)))
            last = i;
    for (size_t i = 0; i <= last; i++) {
        const struct table_column *c = &t->columns[l->columns[i]];
        if (row)
            show(t, c, json_object_get(row, c->key), text, sizeof text);
        else
            snprintf(text, sizeof text, "%s", c->heading);
        bool coloured = colour && row && c->kind == TABLE_STATE && *text;
        print_cell(out, text, l->widths[i], i == last, coloured ? colour_of(text) : "");
    }
    fputc('\n', out);
}

bool table_print(const struct table *t, FILE *out, bool empty_line, bool colour)
{
    struct layout l = {.count = 0};
    size_t i, width;
    const json_t *row;
    if (!json_array_size(t->rows))
        return false;
    if (empty_line)
        fputc('\n', out);
    for (i = 0; i < t->column_count && l.count < 32; i++)
        if (is_shown(t, i, &width)) {
            l.widths[l.count] = width;
            l.columns[l.count++] = i;
        }
    print_row(t, &l, NULL, out, colour);
    json_array_foreach(t->rows, i, row) print_row(t, &l, row, out, colour);
    return true;
}

bool table_may_colour(FILE *out)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
}
