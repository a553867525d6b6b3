/*
 * The client's side of a session: greeting, replies, verdict, and what of it is reported. Whatever the
 * deployer (or what answers in its place) says, it is read the same however it is cut, and what is told is
 * printable and one line for each thing told.
 */
#include "common/client.h"
#include "common/text.h"
#include "tests/fuzz/stream.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what is told ---- */

static uint64_t told; /* a digest of all of it */

static void note(const char *text)
{
    told = told * 31 + fuzz_hash(text, strlen(text));
}

static bool on_record(const struct report_record *record)
{
    CHECK(fuzz_is_printable(record->text));
    note(record->text);
    return true;
}

/* A report writes records when its stderr is the journal's (systemd.exec(5)). */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct stat st;
    char stream[64];
    (void)argc, (void)argv;
    CHECK(fstat(STDERR_FILENO, &st) == 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    return 0;
}

/* What --json prints, as libjansson reads it. */
static json_t *end_report(struct report *report)
{
    char *text = NULL;
    size_t len = 0;
    FILE *saved = stdout;
    stdout = open_memstream(&text, &len);
    report_end(report, 0);
    fclose(stdout);
    stdout = saved;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    CHECK(root);
    free(text);
    return root;
}

/* ---- greeting ---- */

static void check_want(const struct want *want)
{
    CHECK(want_is_id(want->id));
    CHECK(!want->installed[0] || text_is_fingerprint(want->installed));
    CHECK(want->name_count <= WANT_MAX_NAMES);
    for (size_t i = 0; i < want->name_count; i++)
        CHECK(text_is_host_name(want->names[i], true));
    note(want->id);
}

static void append(char *text, size_t size, const char *line)
{
    size_t n = strlen(text);
    CHECK(n + strlen(line) < size);
    strcpy(text + n, line);
}

/* As the deployer would have said it. */
static void write_greeting(const struct client_greeting *g, char *out, size_t size)
{
    char line[WIRE_LINE + 1], when[TEXT_TIME_SIZE];
    snprintf(out, size, "220-%s version=%s protocol=%d host=%s\n", WIRE_PROGRAM,
             *g->version ? g->version : "-", WIRE_PROTOCOL, *g->host ? g->host : "-");
    for (size_t i = 0; i < g->wants.count; i++) {
        const struct want *w = &g->wants.list[i];
        snprintf(line, sizeof line, "220-want id=%s installed=%s not-after=%s state=%s\n", w->id,
                 w->installed[0] ? w->installed : "-", w->not_after ? text_time(when, w->not_after) : "-",
                 w->served ? "served" : "failed");
        append(out, size, line);
        for (size_t n = 0; n < w->name_count; n++) {
            snprintf(line, sizeof line, "220-name id=%s name=%s\n", w->id, w->names[n]);
            append(out, size, line);
        }
    }
    append(out, size, "220 ready\n");
}

static void check_same_wants(const struct want_list *a, const struct want_list *b)
{
    CHECK(a->count == b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct want *x = &a->list[i], *y = &b->list[i];
        CHECK_TEXT(x->id, y->id);
        CHECK_TEXT(x->installed, y->installed);
        CHECK(x->not_after == y->not_after && x->served == y->served && x->name_count == y->name_count);
        for (size_t n = 0; n < x->name_count; n++)
            CHECK_TEXT(x->names[n], y->names[n]);
    }
}

static void check_again(const struct client_greeting *g)
{
    static char text[256 * 1024];
    AUTO_STREAM struct stream peer;
    AUTO_WIRE struct wire *wire = NULL;
    AUTO_GREETING struct client_greeting again = {0};
    struct error err;
    write_greeting(g, text, sizeof text);
    CHECK(wire_new(&wire, stream_open(&peer, text, strlen(text), CUT_NOWHERE), &err) == 0);
    CHECK(client_read_greeting(wire, &again, &err) == 0);
    check_same_wants(&g->wants, &again.wants);
}

static int read_greeting(struct wire *wire, enum cut how)
{
    AUTO_GREETING struct client_greeting g = {0};
    struct error err = {0};
    int rc = client_read_greeting(wire, &g, &err);
    if (rc < 0 || rc == CLIENT_NO_GREETING)
        CHECK_ERROR(err.code, &err);
    if (rc < 0)
        CHECK(rc == err.code);
    if (rc > 0)
        CHECK(rc == CLIENT_NO_GREETING || rc == WIRE_END);
    note(err.text);
    for (size_t i = 0; i < g.wants.count; i++) {
        check_want(&g.wants.list[i]);
        CHECK(want_find(&g.wants, g.wants.list[i].id) == &g.wants.list[i]);
    }
    if (rc)
        return rc;
    CHECK(g.wants.count <= WANT_MAX && fuzz_is_printable(g.version) && fuzz_is_printable(g.host));
    note(g.version);
    note(g.host);
    if (how == CUT_NOWHERE)
        check_again(&g);
    return 0;
}

/* ---- replies ---- */

static void on_row(void *ctx, int code, const char *text)
{
    struct client_want want;
    note(text);
    if (!client_parse_want(text, &want))
        return;
    CHECK(want_is_id(want.id) && !strchr(want.result, ' ') && !strchr(want.generation, ' '));
    CHECK(!want.fingerprint[0] || text_is_fingerprint(want.fingerprint));
    CHECK(!*want.detail || (want.detail > text && want.detail < text + strlen(text)));
    report_result(ctx, &(struct report_result){
                           .want = want.id,
                           .result = want.result,
                           .fingerprint = want.fingerprint,
                           .not_after = want.not_after,
                           .detail = want.detail,
                           .failed = client_result(code) < 0,
                       });
}

/* The codes of docs/protocol.md: what a client is to do. */
static void check_code(int code)
{
    int rc = client_result(code);
    CHECK(rc == 0 || rc == E_TEMPORARY || rc == E_FAILED || rc == E_CONFIG);
    CHECK((rc == 0) == (code < 400) && (rc == E_TEMPORARY) == (code / 100 == 4));
}

static void read_replies(struct wire *wire, struct report *report)
{
    struct client_reply reply;
    struct error err = {0};
    int rc;
    while ((rc = client_read_reply(wire, report, on_row, report, &reply, &err)) == 0) {
        CHECK(reply.code != WIRE_PROGRESS && fuzz_is_printable(reply.text));
        check_code(reply.code);
        note(reply.text);
        told += (uint64_t)reply.code;
    }
    if (rc < 0)
        CHECK_ERROR(rc, &err);
    else
        CHECK(rc == WIRE_END);
}

static uint64_t session(const uint8_t *data, size_t size, enum cut how, bool json)
{
    AUTO_STREAM struct stream peer;
    AUTO_WIRE struct wire *wire = NULL;
    AUTO_REPORT struct report *report = NULL;
    struct error err;
    const struct report_opts opts = {.program = "fuzz", .journal = on_record, .json = json, .verbose = true};
    told = 0;
    CHECK(report_new(&report, &opts, &err) == 0);
    CHECK(wire_new(&wire, stream_open(&peer, data, size, how), &err) == 0);
    if (read_greeting(wire, how) == 0)
        read_replies(wire, report);
    if (json)
        json_decref(end_report(report));
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole = session(data, size, CUT_NOWHERE, true);
    CHECK(session(data, size, CUT_EVERYWHERE, false) == whole);
    CHECK(session(data, size, CUT_RANDOM, false) == whole);
    return 0;
}
