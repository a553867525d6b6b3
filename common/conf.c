#include "common/conf.h"
#include "common/text.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CONF_MAX_FILE (64 * 1024)
#define CONF_MAX_SEEN 256
#define CONF_MAX_NAME 40 /* of an instance: inih cuts a section's name at 49 bytes */
#define CONF_NAME     "letters, digits, - _ . and no . in front, 40 at most"
#define PROBLEMS_MAX  100 /* more say only that the file is of another kind */

struct reading {
    const char *path;
    char *text;       /* whole file, NUL-terminated; lines with a syntax error are blanked */
    char *next;       /* where the next line begins */
    const char *this; /* where the current one does */
    unsigned line;
    unsigned section_line; /* of the current section's header, 0 before the first */
    bool section_refused;  /* that has been reported */
    bool indented;         /* the current line goes on with the value before */
    bool checking;         /* first round: lines are only measured */
    const struct conf_section *sections;
    size_t section_count;
    void *config;
    struct problems *problems;
    char *seen[CONF_MAX_SEEN]; /* "key is given twice in [section]" */
    size_t seen_count;
};

void problem_add(struct problems *p, const char *fmt, ...)
{
    AUTO_FREE char *line = NULL;
    char *joined = NULL;
    va_list ap;
    if (p->count++ > PROBLEMS_MAX)
        return;
    va_start(ap, fmt);
    int n = vasprintf(&line, fmt, ap);
    va_end(ap);
    for (char *c = line; n >= 0 && *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    if (n < 0 || asprintf(&joined, "%s%s%s", p->text ? p->text : "", p->text ? "\n" : "",
                          p->count > PROBLEMS_MAX ? "and more" : line) < 0)
        return;
    free(p->text);
    p->text = joined;
}

int problems_error(const struct problems *p, int code, struct error *err)
{
    static const char more[] = "\nand more";
    if (!p->text)
        return error_memory(err);
    err->code = code;
    const char *end = strlen(p->text) < sizeof err->text
                          ? NULL
                          : memrchr(p->text, '\n', sizeof err->text - sizeof more); /* no line is cut */
    if (end)
        snprintf(err->text, sizeof err->text, "%.*s%s", (int)(end - p->text), p->text, more);
    else
        snprintf(err->text, sizeof err->text, "%s", p->text);
    return code;
}

void problems_free(struct problems *p)
{
    free(p->text);
    *p = (struct problems){0};
}

int conf_set_string(char **slot, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return E_TEMPORARY;
    free(*slot);
    *slot = copy;
    return 0;
}

void conf_list_free(struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct conf_list){0};
}

/* ---- values ---- */

static void bad_value(const struct reading *r, const struct conf_key *key, const char *value,
                      const char *expected)
{
    char shown[100];
    problem_add(r->problems, "%s:%u: %s = %s: expected %s", r->path, r->line, key->name,
                text_escape(shown, sizeof shown, value, strlen(value)), expected);
}

static bool accepted(const struct reading *r, const struct conf_key *key, const char *value)
{
    if (key->accepts ? key->accepts(value) : *value != '\0')
        return true;
    bad_value(r, key, value, key->expected ? key->expected : "a value");
    return false;
}

static void set_list(const struct reading *r, const struct conf_key *key, const char *value,
                     struct conf_list *list)
{
    char copy[INI_MAX_LINE];
    snprintf(copy, sizeof copy, "%s", value);
    char *rest = copy;
    for (char *item; (item = strsep(&rest, ", \t"));) {
        if (!*item || !accepted(r, key, item))
            continue;
        char **items = reallocarray(list->items, list->count + 2, sizeof *items);
        if (!items)
            return;
        list->items = items;
        if ((items[list->count] = strdup(item)))
            list->count++;
        items[list->count] = NULL;
    }
}

static void set_scaled(const struct reading *r, const struct conf_key *key, const char *value, void *slot)
{
    char expected[80];
    long number;
    int64_t seconds;
    if (key->type == CONF_NUMBER && text_parse_number(value, key->min, key->max, &number)) {
        *(long *)slot = number;
    } else if (key->type == CONF_DURATION && text_parse_duration(value, &seconds) && seconds >= key->min &&
               seconds <= key->max) {
        *(int64_t *)slot = seconds;
    } else {
        snprintf(expected, sizeof expected,
                 key->type == CONF_NUMBER ? "a number from %ld to %ld"
                                          : "a duration such as 30s or 24h, from %lds to %lds",
                 key->min, key->max);
        bad_value(r, key, value, expected);
    }
}

/* " ;" in a value begins a comment: a password that was cut there would only show as one that is wrong. */
static void set_secret(const struct reading *r, const struct conf_key *key, const char *value,
                       struct secret *slot)
{
    const char *given = r->this + strcspn(r->this, "=:\n");
    given += *given == '=' || *given == ':';
    given += strspn(given, " \t");
    size_t len = strcspn(given, "\r\n"), taken = strlen(value);
    while (len && isspace((unsigned char)given[len - 1]))
        len--;
    if (len != taken)
        problem_add(r->problems, "%s:%u: %s: it holds \" ;\", which begins a comment: choose another one",
                    r->path, r->line, key->name);
    else if (!taken)
        problem_add(r->problems, "%s:%u: %s: it is empty", r->path, r->line, key->name);
    else if (secret_append(slot, value, taken) < 0)
        problem_add(r->problems, "%s:%u: %s: it is too long", r->path, r->line, key->name);
}

static bool has_controls(const char *value)
{
    for (; *value; value++)
        if (iscntrl((unsigned char)*value) && *value != '\t')
            return true;
    return false;
}

static void set_value(const struct reading *r, const struct conf_key *key, const char *value, char *record)
{
    void *slot = record + key->offset, *line = record + key->line_offset;
    if (key->line_offset)
        *(unsigned *)line = r->line;
    switch (key->type) {
    case CONF_PATH:
        if (*value != '/')
            bad_value(r, key, value, "an absolute path");
        else if (strstr(value, " #"))
            bad_value(r, key, value, "an absolute path (a comment needs a line of its own)");
        else
            conf_set_string(slot, value);
        break;
    case CONF_STRING:
        if (accepted(r, key, value))
            conf_set_string(slot, value);
        break;
    case CONF_LIST:
        set_list(r, key, value, slot);
        break;
    case CONF_SECRET:
        set_secret(r, key, value, slot);
        break;
    case CONF_NUMBER:
    case CONF_DURATION:
        set_scaled(r, key, value, slot);
        break;
    }
}

/* ---- sections and keys ---- */

/* What is said of a duplicate serves as the mark of the first. */
static bool is_duplicate(struct reading *r, const struct conf_section *section, const char *instance,
                         const char *name, const char **out_said)
{
    char *said = NULL;
    if (asprintf(&said, "%s is given twice in [%s%s%s]", name, section->name, instance ? " " : "",
                 instance ? instance : "") < 0)
        return false;
    for (size_t i = 0; i < r->seen_count; i++)
        if (strcmp(r->seen[i], said) == 0) {
            *out_said = r->seen[i];
            free(said);
            return true;
        }
    if (r->seen_count < CONF_MAX_SEEN)
        r->seen[r->seen_count++] = said;
    else
        free(said);
    return false;
}

static const struct conf_section *find_section(const struct reading *r, const char *section,
                                               const char **out_instance)
{
    size_t word = strcspn(section, " \t");
    const char *instance = section + word + strspn(section + word, " \t");
    for (size_t i = 0; i < r->section_count; i++) {
        const struct conf_section *s = &r->sections[i];
        if (strlen(s->name) == word && strncmp(s->name, section, word) == 0 &&
            s->named == (*instance != '\0')) {
            *out_instance = s->named ? instance : NULL;
            return s;
        }
    }
    return NULL;
}

static const struct conf_key *find_key(const struct conf_section *section, const char *name)
{
    for (size_t i = 0; i < section->key_count; i++)
        if (strcmp(section->keys[i].name, name) == 0)
            return &section->keys[i];
    return NULL;
}

/* Once for all keys of the section, at its header. */
static void refuse_section(struct reading *r, const char *section)
{
    char known[200] = "", shown[64];
    size_t n = 0;
    if (!r->section_line) {
        problem_add(r->problems, "%s:%u: a key before the first section", r->path, r->line);
        return;
    }
    if (r->section_refused)
        return;
    r->section_refused = true;
    for (size_t i = 0; i < r->section_count && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s[%s%s]", i ? ", " : "", r->sections[i].name,
                              r->sections[i].named ? " NAME" : "");
    problem_add(r->problems, "%s:%u: unknown section [%s]; there are %s", r->path, r->section_line,
                text_escape(shown, sizeof shown, section, strlen(section)), known);
}

static void refuse_instance(struct reading *r, const char *section, const char *expected)
{
    char shown[100];
    if (r->section_refused)
        return;
    r->section_refused = true;
    problem_add(r->problems, "%s:%u: [%s]: %s", r->path, r->section_line,
                text_escape(shown, sizeof shown, section, strlen(section)), expected);
}

/* They become parts of messages and of file names. */
static bool is_instance(const char *name)
{
    size_t len = strlen(name);
    return len && len <= CONF_MAX_NAME && *name != '.' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") == len;
}

/* inih tells nothing of a section without keys, which may be one that lacks what it needs. */
static void open_section(const struct reading *r, const char *line, size_t len)
{
    char name[64];
    const char *instance, *end = memchr(line, ']', len);
    if (!end || (size_t)(end - line) > sizeof name)
        return;
    snprintf(name, sizeof name, "%.*s", (int)(end - line - 1), line + 1);
    const struct conf_section *section = find_section(r, name, &instance);
    if (section && instance && is_instance(instance) && (!section->accepts || section->accepts(instance)))
        section->record(r->config, instance);
}

static void unknown_key(const struct reading *r, const struct conf_section *section, const char *name)
{
    char known[300] = "", shown[64];
    size_t n = 0;
    for (size_t i = 0; i < section->key_count && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", section->keys[i].name);
    problem_add(r->problems, "%s:%u: unknown key %s in [%s]; there are %s", r->path, r->line,
                text_escape(shown, sizeof shown, name, strlen(name)), section->name, known);
}

static void use_key(struct reading *r, const struct conf_section *section, const char *instance,
                    const struct conf_key *key, const char *value)
{
    const char *said;
    bool again = is_duplicate(r, section, instance, key->name, &said);
    if (r->indented && key->type != CONF_LIST) {
        problem_add(r->problems, "%s:%u: it is indented, but %s is no list that it could go on with", r->path,
                    r->line, key->name);
    } else if (again && !r->indented) {
        problem_add(r->problems, "%s:%u: %s", r->path, r->line, said);
    } else if (has_controls(value)) {
        problem_add(r->problems, "%s:%u: %s: it holds control characters", r->path, r->line, key->name);
    } else {
        void *record = section->record(r->config, instance);
        if (record)
            set_value(r, key, value, record);
        else
            problem_add(r->problems, "%s:%u: too many [%s] sections", r->path, r->line, section->name);
    }
}

/* Always 1: what is wrong has been noted, and inih's own return value is kept for syntax errors. */
static int on_value(void *user, const char *section_name, const char *name, const char *value)
{
    struct reading *r = user;
    const char *instance;
    if (r->checking)
        return 1;
    const struct conf_section *section = find_section(r, section_name, &instance);
    const struct conf_key *key = section ? find_key(section, name) : NULL;
    if (!section)
        refuse_section(r, section_name);
    else if (instance && !is_instance(instance))
        refuse_instance(r, section_name, "a name has " CONF_NAME);
    else if (instance && section->accepts && !section->accepts(instance))
        refuse_instance(r, section_name, section->expected);
    else if (!key)
        unknown_key(r, section, name);
    else
        use_key(r, section, instance, key, value);
    return 1;
}

/* ---- lines ---- */

/* inih's reader (as fgets): it is called once for each line, which is how a handler knows where it is. */
static char *next_line(char *out, int size, void *stream)
{
    struct reading *r = stream;
    if (!*r->next)
        return NULL;
    size_t len = strcspn(r->next, "\n");
    r->this = r->next;
    char first = r->next[strspn(r->next, " \t")];
    r->line++;
    r->indented = isblank((unsigned char)*r->next);
    if (first == '[') {
        r->section_line = r->line;
        r->section_refused = false;
        if (!r->checking)
            open_section(r, r->next + strspn(r->next, " \t"), len);
    }
    if (len + 2 > (size_t)size) {
        if (!r->checking && first != '#' && first != ';')
            problem_add(r->problems, "%s:%u: longer than %d bytes; a list may go on in indented lines",
                        r->path, r->line, size - 2);
        snprintf(out, (size_t)size, "\n");
    } else {
        snprintf(out, (size_t)size, "%.*s\n", (int)len, r->next);
    }
    r->next += len + (r->next[len] == '\n');
    return out;
}

/* inih would skip a mark of the byte order, too, but where a line begins is looked at here. */
static int parse(struct reading *r)
{
    static const char mark[] = "\xef\xbb\xbf";
    for (r->next = r->text; strncmp(r->next, mark, 3) == 0;)
        r->next += 3;
    r->line = r->section_line = 0;
    return ini_parse_stream(next_line, r, on_value, r);
}

static void blank_line(char *text, unsigned line)
{
    while (--line)
        text += strcspn(text, "\n") + 1;
    memset(text, ' ', strcspn(text, "\n"));
    *text = '#';
}

/* inih names the first line that it does not understand; blanking that line shows the next. */
static void report_syntax(struct reading *r)
{
    r->checking = true;
    for (int line; r->problems->count <= PROBLEMS_MAX && (line = parse(r)) > 0;) {
        problem_add(r->problems, "%s:%d: neither `key = value` nor `[section]`", r->path, line);
        blank_line(r->text, (unsigned)line);
    }
    r->checking = false;
}

static char *read_text(const char *path, struct problems *problems)
{
    AUTO_FILE FILE *f = fopen(path, "re");
    AUTO_FREE char *text = malloc(CONF_MAX_FILE + 1);
    size_t n = f && text ? fread(text, 1, CONF_MAX_FILE + 1, f) : 0;
    if (!f || !text || ferror(f)) {
        problem_add(problems, "%s: read: %s", path, strerror(errno));
        return NULL;
    }
    if (n > CONF_MAX_FILE || memchr(text, '\0', n)) {
        problem_add(problems, "%s: not a configuration file: %s", path,
                    n > CONF_MAX_FILE ? "too long" : "NUL bytes");
        return NULL;
    }
    text[n] = '\0';
    char *out = text;
    text = NULL;
    return out;
}

int conf_parse(const char *path, char *text, const struct conf_section *sections, size_t section_count,
               void *config, struct problems *problems)
{
    struct reading r = {
        .path = path,
        .text = text,
        .sections = sections,
        .section_count = section_count,
        .config = config,
        .problems = problems,
    };
    report_syntax(&r);
    parse(&r);
    for (size_t i = 0; i < r.seen_count; i++)
        free(r.seen[i]);
    return problems->count ? E_CONFIG : 0;
}

int conf_read(const char *path, const struct conf_section *sections, size_t section_count, void *config,
              struct problems *problems)
{
    AUTO_FREE char *text = read_text(path, problems);
    return text ? conf_parse(path, text, sections, section_count, config, problems) : E_CONFIG;
}
