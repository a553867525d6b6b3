#include "common/journal.h"
#include "common/text.h"

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <stdlib.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

#define SOCKET_PATH "/run/systemd/journal/socket"
#define FIELDS_MAX  24

struct fields {
    struct iovec list[FIELDS_MAX];
    int count;
};

static void fields_free(struct fields *f)
{
    while (f->count)
        free(f->list[--f->count].iov_base);
}

static void add(struct fields *f, const char *name, const char *value)
{
    char *text;
    if (!value || !*value || f->count == FIELDS_MAX)
        return;
    int n = asprintf(&text, "%s=%s", name, value);
    if (n >= 0)
        f->list[f->count++] = (struct iovec){.iov_base = text, .iov_len = (size_t)n};
}

static void add_event(struct fields *f, enum event event)
{
    const struct event_row *row = event_row(event);
    if (!row)
        return;
    add(f, "MESSAGE_ID", row->id);
    add(f, "EVENT", row->name);
}

static void add_result(struct fields *f, const struct report_result *result)
{
    char when[TEXT_TIME_SIZE];
    add(f, "TARGET", result->target);
    add(f, "WANT", result->want);
    add(f, "LINEAGE", result->lineage);
    add(f, "FINGERPRINT", result->fingerprint);
    add(f, "NOT_AFTER", result->not_after ? text_time(when, result->not_after) : NULL);
    add(f, "DETAIL", result->detail);
    for (const struct report_field *more = result->fields; more && more->name; more++)
        add(f, more->name, more->value);
}

bool journal_write(const struct report_record *record)
{
    CLEANUP(fields_free) struct fields fields = {.count = 0};
    char priority[2] = {(char)('0' + record->priority), '\0'};
    if (access(SOCKET_PATH, W_OK) < 0) /* sd_journal_sendv would drop it without a word */
        return false;
    add(&fields, "PRIORITY", priority);
    add(&fields, "SYSLOG_IDENTIFIER", record->program);
    add(&fields, "MESSAGE", record->text);
    /* journald's own _SYSTEMD_INVOCATION_ID is missing where the process has ended before it is looked at. */
    add(&fields, "INVOCATION_ID", getenv("INVOCATION_ID"));
    if (record->result) {
        add_event(&fields, record->result->event);
        add_result(&fields, record->result);
    }
    return sd_journal_sendv(fields.list, fields.count) == 0;
}
