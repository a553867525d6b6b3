/*
 * What client and server say to each other before TLS starts: SMTP, IMAP, POP3 and ManageSieve up to the
 * go-ahead for STARTTLS. A pure machine on bytes, without I/O and without time: what was received is fed in,
 * what is to be sent comes out. How the bytes are cut into pieces makes no difference, with one exception:
 * bytes that came together with the go-ahead and after it are plaintext that was put before the TLS
 * handshake (CVE-2011-0411), and are an error.
 *
 * Nothing is ever sent before the server's turn is complete: postscreen punishes who talks into its banner,
 * which may take six seconds and come in several lines.
 */
#ifndef DEPLOYER_DIALOGUE_H
#define DEPLOYER_DIALOGUE_H

#include "deployer/endpoint.h"

#include <stdbool.h>
#include <stddef.h>

#define DIALOGUE_HELLO_NAME "certsync.invalid" /* EHLO argument: RFC 6761 §6.4, never a real host */
#define DIALOGUE_LINE_MAX   2048               /* bytes of one line, without its end */
#define DIALOGUE_TOTAL_MAX  (64 * 1024)        /* bytes of everything the server says */

enum dialogue_action {
    DIALOGUE_NEED_MORE, /* all was used: feed what comes next */
    DIALOGUE_SEND,      /* send *out_send, then feed on, first with what was not used */
    DIALOGUE_GO_AHEAD,  /* start TLS */
    DIALOGUE_REFUSED,   /* STARTTLS is not announced, or was answered by a no; see dialogue_why */
    DIALOGUE_BROKEN,    /* the server says what the protocol does not have here; see dialogue_why */
};

struct dialogue_step;

/* A plain record, to be embedded; its members are dialogue.c's. */
struct dialogue {
    const struct dialogue_step *step; /* NULL when the dialogue is over */
    bool announced;                   /* STARTTLS is among the capabilities */
    int code;                         /* of the multi-line SMTP reply that has begun, or 0 */
    size_t total;
    size_t length;
    char line[DIALOGUE_LINE_MAX + 1];
    char why[160];
};

/* kind: anything but DIALOGUE_TLS, which has no dialogue. */
void dialogue_init(struct dialogue *d, enum endpoint_dialogue kind);

/* out_used: how many of len bytes were used. out_send: a string constant, set with DIALOGUE_SEND. */
enum dialogue_action dialogue_feed(struct dialogue *d, const void *bytes, size_t len, size_t *out_used,
                                   const char **out_send);

/* Printable; what was refused or broken. Owned by d. */
const char *dialogue_why(const struct dialogue *d);

/* What the server was expected to say: "greeting", "answer to EHLO", … */
const char *dialogue_awaited(const struct dialogue *d);

/* How a client takes its leave inside TLS, or NULL where that is not known to be in turn (DIALOGUE_TLS). */
const char *dialogue_farewell(enum endpoint_dialogue kind);

#endif
