#include "pusher/conf_edit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r"

char *conf_edit_append(const char *text, const char *section)
{
    char *out = NULL;
    size_t len = strlen(text);
    const char *end = !len || text[len - 1] == '\n' ? "" : "\n";
    return asprintf(&out, "%s%s%s%s", text, end, len ? "\n" : "", section) < 0 ? NULL : out;
}

/* Of the line, with its end. */
static size_t line_length(const char *line)
{
    size_t n = strcspn(line, "\n");
    return n + (line[n] == '\n');
}

static bool is_header(const char *line)
{
    return line[strspn(line, BLANKS)] == '[';
}

/* A key, or a line that goes on with one: neither empty nor a comment. */
static bool is_content(const char *line)
{
    return !strchr("\n#;", line[strspn(line, BLANKS)]); /* finds the NUL of an empty last line as well */
}

static bool take_word(const char **at, const char *word)
{
    size_t len = strlen(word);
    *at += strspn(*at, BLANKS);
    if (strncmp(*at, word, len) != 0)
        return false;
    *at += len;
    return true;
}

static bool is_header_of(const char *line, const char *kind, const char *name)
{
    const char *at = line;
    return take_word(&at, "[") && take_word(&at, kind) && strchr(BLANKS, *at) && take_word(&at, name) &&
           take_word(&at, "]");
}

/* How much there is from a header to the last line of its section that says something. */
static size_t section_length(const char *header)
{
    size_t len = line_length(header), end = len;
    while (header[len] && !is_header(header + len)) {
        size_t n = line_length(header + len);
        if (is_content(header + len))
            end = len + n;
        len += n;
    }
    return end;
}

char *conf_edit_remove(const char *text, const char *kind, const char *name)
{
    char *out = malloc(strlen(text) + 1), *end = out;
    bool after_empty = false;
    while (out && *text) {
        if (is_header_of(text, kind, name)) {
            text += section_length(text);
            end -= after_empty;
            after_empty = false;
            continue;
        }
        size_t n = line_length(text);
        memcpy(end, text, n);
        end += n;
        text += n;
        after_empty = n == 1 && text[-1] == '\n';
    }
    if (out)
        *end = '\0';
    return out;
}
