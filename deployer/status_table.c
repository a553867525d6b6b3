#include "deployer/status_table.h"
#include "common/table.h"
#include "common/text.h"

#include <string.h>

/* A column is filled from the field of the row of the same key, with "-" for "_"; "detail" from the free
 * text. */
static const struct table_column want_columns[] = {
    {"want", "WANT", TABLE_TEXT},
    {"state", "STATE", TABLE_STATE},
    {"fingerprint", "FINGERPRINT", TABLE_FINGERPRINT},
    {"since", "SINCE", TABLE_SINCE},
    {"verified", "LAST SEEN SERVED", TABLE_SINCE},
    {"not_before", NULL, TABLE_SINCE},
    {"not_after", "UNTIL", TABLE_UNTIL},
    {"generation", NULL, TABLE_TEXT},
    {"names", NULL, TABLE_WORDS},
    {"detail", "WHY", TABLE_TEXT},
    {0},
};
static const struct table_column endpoint_columns[] = {
    {"endpoint", "ENDPOINT", TABLE_TEXT},
    {"address", "ADDRESS", TABLE_TEXT},
    {"want", "WANT", TABLE_TEXT},
    {"state", "SERVES", TABLE_STATE},
    {"fingerprint", "FINGERPRINT", TABLE_FINGERPRINT},
    {"since", "SINCE", TABLE_SINCE},
    {"not_before", NULL, TABLE_SINCE},
    {"not_after", "UNTIL", TABLE_UNTIL},
    {"seen", "LAST ASKED", TABLE_SINCE},
    {"detail", "WHY", TABLE_TEXT},
    {0},
};
static const struct table_column generation_columns[] = {
    {"id", "GENERATION", TABLE_TEXT},
    {"want", "WANT", TABLE_TEXT},
    {"state", "STATE", TABLE_STATE},
    {"fingerprint", NULL, TABLE_FINGERPRINT},
    {"not_after", "UNTIL", TABLE_UNTIL},
    {"detail", "WHY", TABLE_TEXT},
    {0},
};
static const struct table_column deployment_columns[] = {
    {"time", "DEPLOYMENT", TABLE_SINCE},
    {"by", "BY", TABLE_TEXT},
    {"result", "RESULT", TABLE_STATE},
    {"us", "TOOK", TABLE_MICROSECONDS},
    {"served", "SERVED", TABLE_NUMBER},
    {"endpoints", "OF", TABLE_NUMBER},
    {"reloads", "RELOADS", TABLE_NUMBER},
    {"restarts", "RESTARTS", TABLE_NUMBER},
    {"rollbacks", "ROLLBACKS", TABLE_NUMBER},
    {"detail", "WHY", TABLE_TEXT},
    {0},
};
static const struct table_column host_columns[] = {
    {"host", "MAIL HOST", TABLE_TEXT},
    {"version", "VERSION", TABLE_TEXT},
    {"contact", "LAST CONTACT OF A PUSHER", TABLE_SINCE},
    {0},
};

static const struct {
    const char *kind, *name; /* of the protocol's row; of the array */
    const struct table_column *columns;
} kinds[] = {
    {"want", "wants", want_columns},
    {"endpoint", "endpoints", endpoint_columns},
    {"generation", "generations", generation_columns},
    {"deployment", "deployments", deployment_columns},
};
#define KINDS   (sizeof kinds / sizeof *kinds)
#define COLUMNS 12

struct status {
    const struct client_greeting *greeting;
    struct table *tables[KINDS];
};

static void status_free(struct status *s)
{
    for (size_t i = 0; i < KINDS; i++)
        table_free(s->tables[i]);
}

/* Where the protocol and people call it differently. */
static const char *field_of(const char *kind, const char *key)
{
    if (strcmp(kind, "want") == 0 && strcmp(key, "want") == 0)
        return "id";
    if (strcmp(kind, "want") == 0 && strcmp(key, "state") == 0)
        return "result";
    return key;
}

static void copy_names(const struct client_greeting *greeting, const char *row, char *out, size_t size)
{
    char id[WANT_ID_SIZE] = "";
    wire_field(row, "id", id, sizeof id);
    const struct want *want = want_find(&greeting->wants, id);
    if (want)
        want_join_names(want, out, size);
}

static void copy_value(const struct status *s, const char *kind, const char *key, const char *row, char *out,
                       size_t size)
{
    char field[32];
    *out = '\0';
    snprintf(field, sizeof field, "%s", field_of(kind, key));
    for (char *p = field; *p; p++)
        *p = *p == '_' ? '-' : *p;
    if (strcmp(key, "detail") == 0)
        snprintf(out, size, "%s", wire_free_text(row));
    else if (strcmp(key, "names") == 0)
        copy_names(s->greeting, row, out, size);
    else if (!wire_field(row, field, out, size) || strcmp(out, "-") == 0)
        *out = '\0';
}

/* Rows of another kind are of a later version and passed over. */
static void on_row(void *ctx, int code, const char *row)
{
    const struct status *s = ctx;
    char kind[16] = "", texts[COLUMNS][WIRE_LINE + 1];
    const char *values[COLUMNS];
    (void)code;
    wire_word(row, 0, kind, sizeof kind);
    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i].kind, kind) != 0)
            continue;
        for (size_t c = 0; kinds[i].columns[c].key; c++) {
            copy_value(s, kind, kinds[i].columns[c].key, row, texts[c], sizeof texts[c]);
            values[c] = texts[c];
        }
        table_add(s->tables[i], values);
    }
}

static int show_host(const struct client_greeting *greeting, const char *reply, struct report *report,
                     struct error *err)
{
    AUTO_TABLE struct table *t = NULL;
    char contact[TEXT_TIME_SIZE] = "";
    if (!wire_field(reply, "contact", contact, sizeof contact) || strcmp(contact, "-") == 0)
        contact[0] = '\0';
    const char *values[] = {greeting->host, greeting->version, contact};
    int rc = table_new(&t, host_columns, time(NULL), err);
    if (rc < 0)
        return rc;
    table_add(t, values);
    report_table(report, "mail_host", t);
    return 0;
}

int status_show(struct wire *w, const struct client_greeting *greeting, struct report *report,
                struct client_reply *out, struct error *err)
{
    CLEANUP(status_free) struct status s = {.greeting = greeting};
    int rc = 0;
    for (size_t i = 0; !rc && i < KINDS; i++)
        rc = table_new(&s.tables[i], kinds[i].columns, time(NULL), err);
    if (!rc)
        rc = client_read_reply(w, report, on_row, &s, out, err);
    if (!rc && !client_result(out->code))
        rc = show_host(greeting, out->text, report, err);
    if (rc || client_result(out->code))
        return rc;
    for (size_t i = 0; i < KINDS; i++)
        report_table(report, kinds[i].name, s.tables[i]);
    return 0;
}
