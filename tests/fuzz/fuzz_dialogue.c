/*
 * STARTTLS dialogues. The first line names the dialect, and behind it how often what follows is said:
 * "smtp 1". However it is cut, the outcome is the same, but for plaintext that came together with the
 * go-ahead, which must be refused.
 */
#include "deployer/dialogue.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SAID_MAX (DIALOGUE_TOTAL_MAX + 8192)
#define MANY     4096 /* bytes: more are not fed one by one */

static const struct dialect {
    const char *name;
    enum endpoint_dialogue kind;
    const char *sends[3]; /* in this order, before the go-ahead */
    const char *go_ahead; /* what the line begins with */
    bool announces;
} dialects[] = {
    {"smtp", DIALOGUE_SMTP, {"EHLO " DIALOGUE_HELLO_NAME "\r\n", "STARTTLS\r\n"}, "220", true},
    {"imap", DIALOGUE_IMAP, {"a1 STARTTLS\r\n"}, "a1 OK", false},
    {"pop3", DIALOGUE_POP3, {"STLS\r\n"}, "+OK", false},
    {"sieve", DIALOGUE_SIEVE, {"STARTTLS\r\n"}, "OK", true},
};

struct said {
    const struct dialect *dialect;
    void *bytes;
    size_t len;
};

struct outcome {
    enum dialogue_action action;
    size_t used; /* of all that was said */
    bool more;   /* came in the same piece, behind what was used */
    size_t sends;
    char why[200];
};

/* ---- what is said ---- */

static const struct dialect *find_dialect(const char *name)
{
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (strcmp(dialects[i].name, name) == 0)
            return &dialects[i];
    return NULL;
}

static bool parse(const uint8_t *data, size_t size, struct said *out)
{
    char head[16] = "", name[8] = "";
    unsigned times = 1;
    const uint8_t *lf = memchr(data, '\n', size < sizeof head ? size : sizeof head);
    if (!lf)
        return false;
    memcpy(head, data, (size_t)(lf - data));
    sscanf(head, "%7s %3u", name, &times);
    out->dialect = find_dialect(name);
    size_t len = size - (size_t)(lf + 1 - data);
    out->bytes = fuzz_repeat(lf + 1, len, times, SAID_MAX, &out->len);
    return out->dialect;
}

/* ---- listening to it ---- */

static enum dialogue_action feed_piece(struct dialogue *d, const struct said *said, const char *piece,
                                       size_t len, struct outcome *o)
{
    size_t at = 0;
    for (;;) {
        const char *send = NULL;
        size_t used = SIZE_MAX;
        enum dialogue_action action = dialogue_feed(d, piece + at, len - at, &used, &send);
        CHECK(used <= len - at);
        at += used;
        o->used += used;
        o->more = at < len;
        if (action == DIALOGUE_NEED_MORE)
            CHECK(at == len);
        if (action != DIALOGUE_SEND)
            return action;
        CHECK(o->sends < 2 && said->dialect->sends[o->sends]);
        CHECK_TEXT(send, said->dialect->sends[o->sends]);
        o->sends++;
    }
}

static struct outcome listen(const struct said *said, enum cut how)
{
    struct dialogue d;
    struct outcome o = {.action = DIALOGUE_NEED_MORE};
    struct cuts cuts = {how, fuzz_hash(said->bytes, said->len)};
    dialogue_init(&d, said->dialect->kind);
    while (o.action == DIALOGUE_NEED_MORE && o.used < said->len) {
        size_t n = fuzz_piece(&cuts, said->len - o.used);
        o.action = feed_piece(&d, said, (const char *)said->bytes + o.used, n, &o);
    }
    snprintf(o.why, sizeof o.why, "%s", dialogue_why(&d));
    CHECK(fuzz_is_printable(o.why) && *dialogue_awaited(&d));
    if (o.action != DIALOGUE_NEED_MORE) { /* it is over */
        const char *send;
        size_t used;
        CHECK(dialogue_feed(&d, "\n", 1, &used, &send) == DIALOGUE_BROKEN);
    }
    return o;
}

/* ---- properties ---- */

static bool contains(const char *bytes, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= len; i++)
        if (strncasecmp(bytes + i, word, n) == 0)
            return true;
    return false;
}

/* TLS is begun only behind a whole line that says so, after all that is to be said before. */
static void check_go_ahead(const struct said *said, const struct outcome *o)
{
    const struct dialect *dialect = said->dialect;
    const char *bytes = said->bytes;
    size_t start = o->used - 1;
    CHECK(!dialect->sends[o->sends] && bytes[start] == '\n');
    while (start && bytes[start - 1] != '\n')
        start--;
    size_t n = strlen(dialect->go_ahead);
    CHECK(o->used - start > n && strncasecmp(bytes + start, dialect->go_ahead, n) == 0);
    if (dialect->announces)
        CHECK(contains(bytes, start, "STARTTLS"));
}

static void check_outcome(const struct said *said, const struct outcome *o)
{
    CHECK(o->used <= DIALOGUE_TOTAL_MAX + 1);
    if (o->action == DIALOGUE_GO_AHEAD)
        check_go_ahead(said, o);
    if (o->action == DIALOGUE_REFUSED || o->action == DIALOGUE_BROKEN)
        CHECK(o->why[0]);
    if (o->action == DIALOGUE_NEED_MORE)
        CHECK(o->used == said->len);
}

/* What a server says stands in quotation marks. */
static bool is_plaintext_behind(const struct outcome *o)
{
    return o->action == DIALOGUE_BROKEN &&
           strcmp(o->why, "STARTTLS: plaintext follows the go-ahead for TLS") == 0;
}

/* Another cut of the same: it may part the go-ahead from what follows it, or not. */
static void check_same(const struct outcome *a, const struct outcome *b)
{
    CHECK(a->used == b->used && a->sends == b->sends);
    CHECK(is_plaintext_behind(a) <= a->more && is_plaintext_behind(b) <= b->more);
    CHECK(a->action != DIALOGUE_GO_AHEAD || !a->more);
    if (is_plaintext_behind(a) != is_plaintext_behind(b)) {
        CHECK(a->action == DIALOGUE_GO_AHEAD || b->action == DIALOGUE_GO_AHEAD);
        return;
    }
    CHECK(a->action == b->action);
    CHECK_TEXT(a->why, b->why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct said said = {0};
    if (parse(data, size, &said)) {
        struct outcome cut = listen(&said, said.len > MANY ? CUT_RANDOM : CUT_EVERYWHERE);
        struct outcome whole = listen(&said, CUT_NOWHERE);
        check_outcome(&said, &cut);
        check_same(&whole, &cut);
        if (said.len <= MANY) {
            struct outcome other = listen(&said, CUT_RANDOM);
            check_same(&other, &cut);
        }
    }
    free(said.bytes);
    return 0;
}
