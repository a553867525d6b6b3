#include "common/report.h"
#include "common/member.h"
#include "common/table.h"
#include "common/text.h"
#include "common/wire.h"

#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

struct report {
    struct report_opts opts;
    bool terminal;
    bool journal;
    json_t *root;
    json_t *steps;
    json_t *results;
    json_t *errors;
    unsigned tables; /* that were printed */
};

/* systemd sets JOURNAL_STREAM to the device and inode of the stderr that it gave (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;
    return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == dev && st.st_ino == ino;
}

int report_new(struct report **out, const struct report_opts *opts, struct error *err)
{
    AUTO_REPORT struct report *r = calloc(1, sizeof *r);
    if (!r)
        return error_memory(err);
    r->opts = *opts;
    r->journal = stderr_is_journal();
    r->terminal = isatty(STDOUT_FILENO) && !opts->json;
    if (opts->json) {
        r->steps = json_array();
        r->results = json_array();
        r->errors = json_array();
        r->root = json_pack("{s:s, s:s, s:o, s:o, s:o}", "program", opts->program, "version", VERSION,
                            "steps", r->steps, "results", r->results, "errors", r->errors);
        if (!r->root)
            return error_memory(err);
    }
    *out = r;
    r = NULL;
    return 0;
}

void report_free(struct report *r)
{
    if (!r)
        return;
    json_decref(r->root);
    free(r);
}

static bool token_is(const struct wire_token *token, const char *key)
{
    return token->key_len == strlen(key) && token->key && memcmp(token->key, key, token->key_len) == 0;
}

static void write_journal(const struct report *r, int priority, const char *text,
                          const struct report_result *result)
{
    const struct report_record record = {
        .program = r->opts.program, .priority = priority, .text = text, .result = result};
    if (!r->opts.journal || !r->opts.journal(&record))
        fprintf(stderr, "<%d>%s\n", priority, text);
}

/* ---- steps ---- */

static void add_step(struct report *r, const char *text)
{
    json_t *step = json_object();
    struct wire_token token;
    for (const char *cursor = text; step && wire_next(&cursor, &token);) {
        AUTO_FREE char *key = token.key ? strndup(token.key, token.key_len) : strdup("step");
        AUTO_FREE char *value = strndup(token.value, token.value_len);
        if (key && value && token_is(&token, "us"))
            json_object_set_new(step, key, json_integer(atoll(value)));
        else if (key && value && !json_object_get(step, key))
            json_object_set_new(step, key, member_new_text(value));
    }
    if (*wire_free_text(text))
        json_object_set_new(step, "detail", member_new_text(wire_free_text(text)));
    json_array_append_new(r->steps, step);
}

/* Fields whose value speaks for itself are shown without their key. */
static bool is_plain(const struct wire_token *token)
{
    static const char *const plain[] = {"want",    "target",  "endpoint", "address",
                                        "service", "lineage", "user",     "type"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (token_is(token, plain[i]))
            return true;
    return false;
}

static void print_step(FILE *out, const char *text)
{
    char step[32] = "", time_text[32] = "", us[24];
    struct wire_token token;
    wire_word(text, 0, step, sizeof step);
    if (wire_field(text, "us", us, sizeof us))
        snprintf(time_text, sizeof time_text, "%.1f ms", (double)atoll(us) / 1000);
    fprintf(out, "  %-14s %12s ", step, time_text);
    bool first_word = true, alone = true;
    for (const char *cursor = text; wire_next(&cursor, &token);) {
        bool skip = token_is(&token, "us") || (!token.key && first_word);
        first_word = first_word && token.key;
        if (skip)
            continue;
        alone = false;
        if (token.key && !is_plain(&token))
            fprintf(out, " %.*s=%.*s", (int)token.key_len, token.key, (int)token.value_len, token.value);
        else
            fprintf(out, " %.*s", (int)token.value_len, token.value);
    }
    const char *more = wire_free_text(text);
    fprintf(out, "%s%s\n", !*more ? "" : alone ? " " : ": ", more);
    fflush(out);
}

void report_step(struct report *r, const char *fmt, ...)
{
    char text[WIRE_LINE + 1];
    va_list ap;
    if (!r)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->root)
        add_step(r, text);
    if (r->opts.quiet)
        return;
    if (r->journal && r->opts.verbose)
        write_journal(r, LOG_DEBUG, text, NULL);
    else if (r->terminal || (r->opts.verbose && !r->root && !r->journal))
        print_step(stdout, text);
}

/* ---- results and errors ---- */

static void set_text(json_t *object, const char *key, const char *value)
{
    if (value && *value)
        json_object_set_new(object, key, member_new_text(value));
}

static void add_result(struct report *r, const struct report_result *result, const char *not_after)
{
    json_t *object = json_object();
    set_text(object, "target", result->target);
    set_text(object, "want", result->want);
    set_text(object, "result", result->result);
    set_text(object, "id", result->id);
    set_text(object, "lineage", result->lineage);
    set_text(object, "fingerprint", result->fingerprint);
    set_text(object, "not_after", not_after);
    set_text(object, "detail", result->detail);
    json_array_append_new(r->results, object);
}

static void append(char *text, size_t size, const char *before, const char *value, const char *after)
{
    size_t n = strlen(text);
    if (value && *value)
        snprintf(text + n, size - n, "%s%s%s", before, value, after);
}

/* Every hour "there was nothing to do" is not what a journal is for. */
static bool is_idle(const struct report_result *result)
{
    return !result->failed && !result->event && result->result && strcmp(result->result, "unchanged") == 0;
}

static int priority_of(const struct report_result *result)
{
    const struct event_row *event = event_row(result->event);
    return event ? event->priority : result->failed ? LOG_ERR : is_idle(result) ? LOG_DEBUG : LOG_INFO;
}

static void emit(const struct report *r, const char *text, const struct report_result *result)
{
    int priority = priority_of(result);
    if (r->opts.quiet && !result->failed)
        return;
    if (r->journal && (priority < LOG_DEBUG || r->opts.verbose))
        write_journal(r, priority, text, result);
    else if (!r->journal && result->failed)
        fprintf(stderr, "%s: %s\n", r->opts.program, text);
    else if (!r->journal && !r->root)
        fprintf(r->opts.aside ? stderr : stdout, "%s\n", text);
}

/* ---- steps that are events ---- */

/* The fields of a step that records have, and their names there. */
static const struct {
    const char *key, *name;
} step_fields[] = {
    {"want", "WANT"},       {"us", "DURATION_USEC"}, {"endpoint", "ENDPOINT"},
    {"address", "ADDRESS"}, {"service", "SERVICE"},  {"container", "CONTAINER"},
    {"command", "COMMAND"}, {"id", "FINDING"},       {"generation", "GENERATION"},
};
#define STEP_FIELDS (sizeof step_fields / sizeof *step_fields)

void report_progress(struct report *r, const char *line)
{
    char values[STEP_FIELDS][300];
    struct report_field fields[STEP_FIELDS + 1] = {0};
    enum event event = event_of_line(line);
    size_t n = 0;
    report_step(r, "%s", line);
    if (!r || !event)
        return;
    for (size_t i = 0; i < STEP_FIELDS; i++)
        if (wire_field(line, step_fields[i].key, values[n], sizeof values[n]) &&
            strcmp(values[n], "-") != 0) {
            fields[n] = (struct report_field){step_fields[i].name, values[n]};
            n++;
        }
    const struct report_result result = {
        .event = event,
        .detail = wire_free_text(line),
        .failed = event_row(event)->priority <= LOG_ERR,
        .fields = fields,
    };
    if (r->journal || !(r->terminal || r->opts.verbose)) /* else it was shown as a step */
        emit(r, line, &result);
}

void report_result(struct report *r, const struct report_result *result)
{
    char text[1400] = "", when[TEXT_TIME_SIZE] = "";
    if (!r)
        return;
    if (result->not_after)
        text_time(when, result->not_after);
    append(text, sizeof text, "", result->target, ": ");
    append(text, sizeof text, "", result->want, ": ");
    append(text, sizeof text, "", result->result, "");
    append(text, sizeof text, " ", result->id, "");
    append(text, sizeof text, " ", result->fingerprint, "");
    append(text, sizeof text, " from ", result->lineage, "");
    append(text, sizeof text, " until ", when, "");
    append(text, sizeof text, ": ", result->detail, "");
    if (r->root)
        add_result(r, result, when);
    emit(r, text, result);
}

__attribute__((format(printf, 4, 0))) static void tell_error(struct report *r, enum event event,
                                                             const char *target, const char *fmt, va_list ap)
{
    AUTO_FREE char *text = NULL;
    if (!r || vasprintf(&text, fmt, ap) < 0)
        return;
    if (r->root)
        json_array_append_new(r->errors, member_new_text(text));
    emit(r, text, &(struct report_result){.event = event, .target = target, .failed = true});
}

void report_error(struct report *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell_error(r, EVENT_NONE, NULL, fmt, ap);
    va_end(ap);
}

void report_event(struct report *r, enum event event, const char *target, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell_error(r, event, target, fmt, ap);
    va_end(ap);
}

void report_failure(struct report *r, const struct error *err)
{
    enum event event = err->event || err->code != E_CONFIG ? err->event : EVENT_CONFIGURATION;
    report_event(r, event, NULL, "%s", err->text);
}

void report_table(struct report *r, const char *name, const struct table *table)
{
    if (r->root)
        json_object_set_new(r->root, name, table_json(table));
    else if (!r->opts.quiet)
        r->tables += table_print(table, stdout, r->tables > 0, table_may_colour(stdout));
}

int report_end(struct report *r, int exit_code)
{
    if (r->root) {
        json_object_set_new(r->root, "exit_code", json_integer(exit_code));
        json_dumpf(r->root, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    fflush(stdout);
    return exit_code;
}
