#include "deployer/dialogue.h"

#include "common/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* What a line means for the step it belongs to. */
enum verdict {
    LINE_MORE,        /* the server's turn is not over */
    LINE_DONE,        /* it is, and it is the answer that was wanted */
    LINE_UNANNOUNCED, /* the capabilities are complete and STARTTLS is not among them */
    LINE_REFUSED,
    LINE_BROKEN,
};

struct dialogue_step {
    const char *awaited;
    enum verdict (*judge)(struct dialogue *d, const char *line);
    const char *send; /* once it is done; NULL: start TLS */
};

/* Whether line begins with word, as a whole word, in any case. */
static bool begins(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncasecmp(line, word, n) == 0 && (!line[n] || isspace((unsigned char)line[n]));
}

/* ---- SMTP: RFC 5321 §4.2.1, RFC 3207 §4 ---- */

static enum verdict smtp_reply(struct dialogue *d, const char *line, int wanted, enum verdict otherwise)
{
    int code = 0;
    for (int i = 0; i < 3; i++) {
        if (!isdigit((unsigned char)line[i]))
            return LINE_BROKEN;
        code = code * 10 + (line[i] - '0');
    }
    if ((line[3] && line[3] != ' ' && line[3] != '-') || (d->code && code != d->code))
        return LINE_BROKEN;
    bool last = line[3] != '-';
    d->code = last ? 0 : code;
    if (!last)
        return LINE_MORE;
    return code == wanted ? LINE_DONE : otherwise;
}

static enum verdict smtp_greeting(struct dialogue *d, const char *line)
{
    return smtp_reply(d, line, 220, LINE_BROKEN);
}

static enum verdict smtp_ehlo(struct dialogue *d, const char *line)
{
    enum verdict v = smtp_reply(d, line, 250, LINE_BROKEN);
    if (v != LINE_BROKEN && line[3] && begins(line + 4, "STARTTLS"))
        d->announced = true;
    return v == LINE_DONE && !d->announced ? LINE_UNANNOUNCED : v;
}

static enum verdict smtp_starttls(struct dialogue *d, const char *line)
{
    return smtp_reply(d, line, 220, LINE_REFUSED);
}

static const struct dialogue_step smtp[] = {
    {"greeting", smtp_greeting, "EHLO " DIALOGUE_HELLO_NAME "\r\n"},
    {"answer to EHLO", smtp_ehlo, "STARTTLS\r\n"},
    {"answer to STARTTLS", smtp_starttls, NULL},
};

/* ---- IMAP: RFC 9051 §7.1, §6.2.1; capabilities are not asked for, the answer to STARTTLS says it ---- */

static enum verdict imap_greeting(struct dialogue *d, const char *line)
{
    (void)d;
    return begins(line, "* OK") ? LINE_DONE : LINE_BROKEN;
}

static enum verdict imap_starttls(struct dialogue *d, const char *line)
{
    (void)d;
    if (begins(line, "a1 OK"))
        return LINE_DONE;
    if (begins(line, "a1 NO") || begins(line, "a1 BAD"))
        return LINE_REFUSED;
    return begins(line, "*") && !begins(line, "* BYE") ? LINE_MORE : LINE_BROKEN;
}

static const struct dialogue_step imap[] = {
    {"greeting", imap_greeting, "a1 STARTTLS\r\n"},
    {"answer to STARTTLS", imap_starttls, NULL},
};

/* ---- POP3: RFC 1939 §3, RFC 2595 §4 ---- */

static enum verdict pop3_greeting(struct dialogue *d, const char *line)
{
    (void)d;
    return begins(line, "+OK") ? LINE_DONE : LINE_BROKEN;
}

static enum verdict pop3_stls(struct dialogue *d, const char *line)
{
    (void)d;
    if (begins(line, "+OK"))
        return LINE_DONE;
    return begins(line, "-ERR") ? LINE_REFUSED : LINE_BROKEN;
}

static const struct dialogue_step pop3[] = {
    {"greeting", pop3_greeting, "STLS\r\n"},
    {"answer to STLS", pop3_stls, NULL},
};

/* ---- ManageSieve: RFC 5804 §1.7, §2.2; literals in capabilities are not understood, no server sends any */

static enum verdict sieve_greeting(struct dialogue *d, const char *line)
{
    if (begins(line, "\"STARTTLS\""))
        d->announced = true;
    if (begins(line, "OK"))
        return d->announced ? LINE_DONE : LINE_UNANNOUNCED;
    return line[0] == '"' ? LINE_MORE : LINE_BROKEN;
}

static enum verdict sieve_starttls(struct dialogue *d, const char *line)
{
    (void)d;
    if (begins(line, "OK"))
        return LINE_DONE;
    return begins(line, "NO") ? LINE_REFUSED : LINE_BROKEN;
}

static const struct dialogue_step sieve[] = {
    {"greeting", sieve_greeting, "STARTTLS\r\n"},
    {"answer to STARTTLS", sieve_starttls, NULL},
};

static const struct {
    const struct dialogue_step *first;
    const char *farewell;
} dialects[] = {
    [DIALOGUE_TLS] = {NULL, NULL},
    [DIALOGUE_SMTP] = {smtp, "QUIT\r\n"},
    [DIALOGUE_IMAP] = {imap, "a2 LOGOUT\r\n"},
    [DIALOGUE_POP3] = {pop3, "QUIT\r\n"},
    [DIALOGUE_SIEVE] = {sieve, "LOGOUT\r\n"},
};

/* ---- the machine ---- */

void dialogue_init(struct dialogue *d, enum endpoint_dialogue kind)
{
    d->step = dialects[kind].first;
    d->announced = false;
    d->code = 0;
    d->total = 0;
    d->length = 0;
    d->why[0] = '\0';
}

/* Ends the dialogue. */
static enum dialogue_action broken(struct dialogue *d, const char *what)
{
    snprintf(d->why, sizeof(d->why), "%s: %s", dialogue_awaited(d), what);
    d->step = NULL;
    return DIALOGUE_BROKEN;
}

static enum dialogue_action turned_down(struct dialogue *d, enum verdict verdict)
{
    char shown[100];
    if (verdict == LINE_UNANNOUNCED)
        snprintf(d->why, sizeof(d->why), "STARTTLS is not announced");
    else
        snprintf(d->why, sizeof(d->why), "%s: \"%s\"", d->step->awaited,
                 text_escape(shown, sizeof(shown), d->line, d->length));
    d->step = NULL;
    return verdict == LINE_BROKEN ? DIALOGUE_BROKEN : DIALOGUE_REFUSED;
}

static enum dialogue_action take_line(struct dialogue *d, const char **out_send)
{
    if (d->length && d->line[d->length - 1] == '\r')
        d->length--;
    d->line[d->length] = '\0';
    enum verdict verdict = d->step->judge(d, d->line);
    if (verdict > LINE_DONE)
        return turned_down(d, verdict);
    d->length = 0;
    if (verdict == LINE_MORE)
        return DIALOGUE_NEED_MORE;
    if (!d->step->send) {
        d->step = NULL;
        return DIALOGUE_GO_AHEAD;
    }
    *out_send = d->step->send;
    d->step++;
    return DIALOGUE_SEND;
}

enum dialogue_action dialogue_feed(struct dialogue *d, const void *bytes, size_t len, size_t *out_used,
                                   const char **out_send)
{
    const char *in = bytes;
    *out_used = 0;
    for (size_t i = 0; i < len; i++) {
        *out_used = i + 1;
        if (!d->step)
            return broken(d, "the dialogue is over");
        if (++d->total > DIALOGUE_TOTAL_MAX)
            return broken(d, "the server says too much");
        if (in[i] != '\n') {
            if (d->length == DIALOGUE_LINE_MAX)
                return broken(d, "a line is too long");
            d->line[d->length++] = in[i];
            continue;
        }
        enum dialogue_action action = take_line(d, out_send);
        if (action == DIALOGUE_GO_AHEAD && i + 1 < len)
            return broken(d, "plaintext follows the go-ahead for TLS");
        if (action != DIALOGUE_NEED_MORE)
            return action;
    }
    return DIALOGUE_NEED_MORE;
}

const char *dialogue_why(const struct dialogue *d)
{
    return d->why;
}

const char *dialogue_awaited(const struct dialogue *d)
{
    return d->step ? d->step->awaited : "STARTTLS";
}

const char *dialogue_farewell(enum endpoint_dialogue kind)
{
    return dialects[kind].farewell;
}
