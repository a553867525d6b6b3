/*
 * The protocol's lines over a stream: what pusher, operator and deployer say to each other
 * (docs/protocol.md).
 *
 * One line is at most WIRE_LINE bytes, printable ASCII, ended by LF (a CR before it is dropped). Reading and
 * writing are bounded by one deadline and by byte budgets, which the owner sets; what is over them is an
 * error, not a wait.
 */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_PROTOCOL 1
#define WIRE_LINE     1000 /* bytes of a line without its end */
#define WIRE_BUDGET                                                                                          \
    (8 * 1024 * 1024) /* bytes that one side reads in a session: WANT_MAX bundles of a usual size */
#define WIRE_PROGRAM "mailcow-cert-deploy"

struct wire;

/* Takes a connected stream, which stays the caller's to close; sets it non-blocking. */
int wire_new(struct wire **out, int fd, struct error *err);
void wire_free(struct wire *w);
CLEANUP_DEFINE(struct wire *, wire_free)
#define AUTO_WIRE CLEANUP(wire_freep)

/* In clock_ms(): after it, everything is E_TEMPORARY. */
void wire_set_deadline(struct wire *w, int64_t deadline_ms);

/*
 * Reads one line without its end into line (WIRE_LINE + 1 bytes). 0; WIRE_END at the end of the stream (part
 * of a line before it is dropped: a cut looks like an end); E_FAILED for a line that is too long or holds
 * control characters; E_TEMPORARY at the deadline or when the connection broke.
 */
enum {
    WIRE_END = 1
};
int wire_read_line(struct wire *w, char *line, struct error *err);

/* Bytes that have come and were not read: after WIRE_END, the part of a line that was cut. */
size_t wire_unread(const struct wire *w);

/* Reads exactly len bytes, appending to out; WIRE_END when the stream ends before. */
int wire_read_bytes(struct wire *w, size_t len, struct secret *out, struct error *err);

/* Reads to the end of the stream; E_FAILED when out is full before. */
int wire_read_rest(struct wire *w, struct secret *out, struct error *err);

/* Writes one line; what does not fit WIRE_LINE is cut, what is not printable is replaced by '?'. */
int wire_write_line(struct wire *w, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int wire_write_bytes(struct wire *w, const void *bytes, size_t len, struct error *err);

/* ---- replies: CODE SP text, or CODE "-" text when more lines of the same reply follow (as RFC 5321 §4.2)
 * ---- */

enum wire_code {
    WIRE_PROGRESS = 150, /* a step was done; the final reply is yet to come */
    WIRE_GREETING = 220,
    WIRE_BYE = 221,
    WIRE_OK = 250,          /* accepted; deployed and verified */
    WIRE_UNCHANGED = 251,   /* it was there already */
    WIRE_UNAVAILABLE = 421, /* the deployer cannot be reached or is going away */
    WIRE_NOT_YET = 450,     /* refused now; time may cure it */
    WIRE_BUSY = 451,        /* a try failed for a passing reason; kept as pending if it was accepted */
    WIRE_SYNTAX = 500,
    WIRE_ARGUMENT = 501,
    WIRE_SEQUENCE = 503,
    WIRE_VERSION = 504,
    WIRE_FORBIDDEN = 530,
    WIRE_REJECTED = 550, /* the judge refused the bundle */
    WIRE_TOO_LARGE = 552,
    WIRE_FAILED = 554, /* deployment or verification failed */
    WIRE_CONFIG = 555, /* the configuration of the mail host is wrong */
};

struct wire_reply {
    int code;
    bool more;
    char text[WIRE_LINE + 1];
};

/* Parses a reply line. E_FAILED when it is none. */
int wire_parse_reply(const char *line, struct wire_reply *out, struct error *err);
/* Reads and parses one. WIRE_END as wire_read_line. */
int wire_read_reply(struct wire *w, struct wire_reply *out, struct error *err);

/*
 * The text of a reply or command is words and key=value fields separated by single spaces; after ": " comes
 * free text. wire_next steps over words (key_len 0) and fields; false when there are no more.
 */
struct wire_token {
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
};
bool wire_next(const char **cursor, struct wire_token *out);

/*
 * wire_word copies the n-th word (0 is the first), wire_field the value of key; false if there is none or it
 * does not fit. wire_free_text points behind ": ", or at "".
 */
bool wire_word(const char *text, unsigned n, char *out, size_t size);
bool wire_field(const char *text, const char *key, char *out, size_t size);
const char *wire_free_text(const char *text);

#endif
