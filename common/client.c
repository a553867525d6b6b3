#include "common/client.h"
#include "common/text.h"

#include <string.h>

void client_greeting_free(struct client_greeting *g)
{
    want_list_free(&g->wants);
}

int client_result(int code)
{
    if (code == WIRE_CONFIG)
        return E_CONFIG;
    return code < 400 ? 0 : code < 500 ? E_TEMPORARY : E_FAILED;
}

static int refused(const struct wire_reply *reply, struct error *err)
{
    return error_set(err, client_result(reply->code), "the mail host answers: %d %s", reply->code,
                     reply->text);
}

/* Something else answers. */
static int no_greeting(const char *said, struct error *err)
{
    error_set(err, E_FAILED, "%.200s", *said ? said : "an empty line");
    return CLIENT_NO_GREETING;
}

static int read_host(const char *text, struct client_greeting *out, struct error *err)
{
    char program[64] = "", protocol[16] = "";
    wire_word(text, 0, program, sizeof program);
    if (strcmp(program, WIRE_PROGRAM) != 0)
        return no_greeting(text, err);
    wire_field(text, "protocol", protocol, sizeof protocol);
    wire_field(text, "version", out->version, sizeof out->version);
    wire_field(text, "host", out->host, sizeof out->host);
    long number = 0;
    if (!text_parse_number(protocol, 0, 1000, &number) || number != WIRE_PROTOCOL)
        return error_set(
            err, E_FAILED,
            "protocol version mismatch: the mail host speaks %s (%s %s), this is %d; upgrade the older side",
            *protocol ? protocol : "none", program, out->version, WIRE_PROTOCOL);
    return 0;
}

static int read_want(const char *text, struct client_greeting *out, struct error *err)
{
    char id[WANT_ID_SIZE] = "", when[TEXT_TIME_SIZE] = "", state[16] = "";
    struct want *want;
    wire_field(text, "id", id, sizeof id);
    int rc = want_add(&out->wants, id, &want, err);
    if (rc < 0)
        return rc;
    wire_field(text, "installed", want->installed, sizeof want->installed);
    if (!text_is_fingerprint(want->installed))
        want->installed[0] = '\0';
    if (!wire_field(text, "not-after", when, sizeof when) || !text_parse_time(when, &want->not_after))
        want->not_after = 0;
    wire_field(text, "state", state, sizeof state);
    want->served = strcmp(state, "served") == 0;
    return 0;
}

static int read_name(const char *text, struct client_greeting *out, struct error *err)
{
    char id[WANT_ID_SIZE] = "", name[254] = "";
    wire_field(text, "id", id, sizeof id);
    wire_field(text, "name", name, sizeof name);
    struct want *want = want_find(&out->wants, id);
    return want ? want_add_name(want, name, err) : error_set(err, E_FAILED, "a name for no want: %s", id);
}

/* Rows of another kind are of a later version and passed over. */
static int read_row(const char *text, struct client_greeting *out, struct error *err)
{
    char kind[16] = "";
    wire_word(text, 0, kind, sizeof kind);
    if (strcmp(kind, "want") == 0)
        return read_want(text, out, err);
    return strcmp(kind, "name") == 0 ? read_name(text, out, err) : 0;
}

int client_read_greeting(struct wire *w, struct client_greeting *out, struct error *err)
{
    struct wire_reply reply;
    char line[WIRE_LINE + 1];
    *out = (struct client_greeting){0};
    int rc = wire_read_line(w, line, err);
    if (rc == WIRE_END && wire_unread(w))
        return error_set(err, E_TEMPORARY, "the connection was cut within the greeting");
    if (rc == E_FAILED) /* too long, or with control characters: a shell's prompt */
        return CLIENT_NO_GREETING;
    if (rc)
        return rc;
    if (wire_parse_reply(line, &reply, err) < 0 ||
        (reply.code != WIRE_GREETING && client_result(reply.code) == 0))
        return no_greeting(line, err);
    if (reply.code != WIRE_GREETING)
        return refused(&reply, err);
    rc = read_host(reply.text, out, err);
    while (!rc && reply.more) {
        rc = wire_read_reply(w, &reply, err);
        if (rc == WIRE_END)
            return error_set(err, E_TEMPORARY, "the connection was cut within the greeting");
        if (!rc)
            rc = client_result(reply.code) ? refused(&reply, err) : read_row(reply.text, out, err);
    }
    return rc;
}

int client_read_reply(struct wire *w, struct report *report,
                      void (*on_row)(void *ctx, int code, const char *text), void *ctx,
                      struct client_reply *out, struct error *err)
{
    for (;;) {
        struct wire_reply reply;
        int rc = wire_read_reply(w, &reply, err);
        if (rc)
            return rc;
        if (reply.code / 100 == WIRE_PROGRESS / 100) {
            report_step(report, "%s", reply.text);
        } else if (reply.more) {
            if (on_row)
                on_row(ctx, reply.code, reply.text);
        } else {
            out->code = reply.code;
            strcpy(out->text, reply.text);
            return 0;
        }
    }
}

bool client_parse_want(const char *row, struct client_want *out)
{
    char when[TEXT_TIME_SIZE] = "";
    *out = (struct client_want){.detail = wire_free_text(row)};
    if (strncmp(row, "want ", 5) != 0 || !wire_field(row, "id", out->id, sizeof out->id) ||
        !want_is_id(out->id) || !wire_field(row, "result", out->result, sizeof out->result))
        return false;
    wire_field(row, "fingerprint", out->fingerprint, sizeof out->fingerprint);
    if (!text_is_fingerprint(out->fingerprint))
        out->fingerprint[0] = '\0';
    wire_field(row, "generation", out->generation, sizeof out->generation);
    if (!wire_field(row, "not-after", when, sizeof when) || !text_parse_time(when, &out->not_after))
        out->not_after = 0;
    return true;
}

bool client_parse_finding(const char *row, struct client_finding *out)
{
    *out = (struct client_finding){.detail = wire_free_text(row)};
    if (strncmp(row, "finding ", 8) != 0 ||
        !wire_field(row, "severity", out->severity, sizeof out->severity) ||
        !wire_field(row, "id", out->id, sizeof out->id))
        return false;
    if (!wire_field(row, "want", out->want, sizeof out->want) || strcmp(out->want, "-") == 0)
        out->want[0] = '\0';
    return true;
}

bool client_parse_alarm(const char *row, struct alarm *out)
{
    char kind[16], state[16], told[16], since[TEXT_TIME_SIZE];
    long times;
    *out = (struct alarm){.since = 0};
    if (strncmp(row, "alarm ", 6) != 0 || !wire_field(row, "state", state, sizeof state) ||
        !alarm_parse_state(state, &out->state) || !wire_field(row, "id", kind, sizeof kind) ||
        !alarm_parse_kind(kind, &out->kind) || !wire_field(row, "told", told, sizeof told) ||
        !text_parse_number(told, 0, 1000000, &times))
        return false;
    out->times = (unsigned)times;
    if (wire_field(row, "since", since, sizeof since))
        text_parse_time(since, &out->since);
    if (!wire_field(row, "want", out->want, sizeof out->want) || strcmp(out->want, "-") == 0)
        out->want[0] = '\0';
    snprintf(out->detail, sizeof out->detail, "%.*s", (int)sizeof out->detail - 1, wire_free_text(row));
    return true;
}
