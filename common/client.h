/*
 * The client's side of the protocol, as the pusher (through SSH) and the operator's commands (on the socket)
 * share it: reading the greeting, reading replies until the verdict.
 */
#ifndef COMMON_CLIENT_H
#define COMMON_CLIENT_H

#include "common/alarm.h"
#include "common/report.h"
#include "common/want.h"
#include "common/wire.h"

struct client_greeting {
    char version[32]; /* of the deployer */
    char host[254];   /* MAILCOW_HOSTNAME */
    struct want_list wants;
};
void client_greeting_free(struct client_greeting *g);
#define AUTO_GREETING CLEANUP(client_greeting_free)

/*
 * Reads the greeting. 0; CLIENT_NO_GREETING: something else answered, its first line (printable) is in err;
 * WIRE_END: the stream ended first; negative: an error, E_FAILED for another protocol version.
 */
enum {
    CLIENT_NO_GREETING = 2
};
int client_read_greeting(struct wire *w, struct client_greeting *out, struct error *err);

/* One reply, progress aside: its code, its last line and the rows before it. */
struct client_reply {
    int code;
    char text[WIRE_LINE + 1];
};

/*
 * Reads until the final line of the next reply. Progress goes to the report as steps; other lines that are
 * followed by more go to on_row (may be NULL). WIRE_END when the stream ended before the reply was whole.
 */
int client_read_reply(struct wire *w, struct report *report,
                      void (*on_row)(void *ctx, int code, const char *text), void *ctx,
                      struct client_reply *out, struct error *err);

/* What a final code means for the exit: 0, E_TEMPORARY, E_CONFIG or E_FAILED. */
int client_result(int code);

/* A `want` row of a verdict, in its parts. False when it is none. */
struct client_want {
    char id[WANT_ID_SIZE];
    char result[32];
    char fingerprint[65];
    char generation[64];
    time_t not_after;
    const char *detail; /* within the row */
};
bool client_parse_want(const char *row, struct client_want *out);

/* An `alarm` row of the answer to RECONCILE. False when it is none. */
bool client_parse_alarm(const char *row, struct alarm *out);

/* A `finding` row of the answer to CHECK. False when it is none. */
struct client_finding {
    char severity[16];
    char id[32];
    char want[WANT_ID_SIZE]; /* "" for none in particular */
    const char *detail;      /* within the row */
};
bool client_parse_finding(const char *row, struct client_finding *out);

#endif
