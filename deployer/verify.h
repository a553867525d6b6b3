/*
 * Verification on the wire: every endpoint is asked, with every server name and with none, for the leaf it
 * serves.
 *
 * All probes run in one thread and in parallel (at most VERIFY_PARALLEL at a time, VERIFY_PER_ENDPOINT to one
 * endpoint), each a new TCP connection and a full TLS handshake: no session is ever resumed, because a
 * resumed one shows no certificate (mailcow's nginx keeps sessions for a day). Probes that fail or see
 * another leaf are repeated with a growing pause until the deadline: services settle after a reload. After a
 * reload old and new processes may answer side by side for a moment, so an endpoint counts as served only
 * when every expectation was met in one sweep without a failure. Nothing is verified but the fingerprint: the
 * judge has done the rest.
 *
 * The process must ignore SIGPIPE: OpenSSL writes to sockets that the peer may have closed.
 */
#ifndef DEPLOYER_VERIFY_H
#define DEPLOYER_VERIFY_H

#include "deployer/endpoint.h"

#include <stdint.h>

#define VERIFY_PARALLEL     48
#define VERIFY_PER_ENDPOINT 8

/* What must be served: for `name` as SNI (NULL: without SNI), the leaf with this fingerprint (64 hex digits;
 * "": no leaf is as it should be, the probe only tells which one is served). */
struct verify_expectation {
    const char *name;
    const char *fingerprint;
};

enum verify_state {
    VERIFY_SERVED,      /* the expected leaf */
    VERIFY_STALE,       /* another leaf */
    VERIFY_HANDSHAKE,   /* the TLS handshake failed, or STARTTLS was not announced or refused */
    VERIFY_DIALOGUE,    /* the protocol's own words were not as they should be */
    VERIFY_DISTRUSTED,  /* it hung up after the PROXY header, without a word */
    VERIFY_UNRESOLVED,  /* no name resolves: it was not asked, and nothing is known of it */
    VERIFY_UNREACHABLE, /* no address could be connected to, or nothing was said (in time) */
};

/* The outcome for one endpoint: the worst of what was seen last, expectation by expectation. */
struct verify_result {
    const struct endpoint *endpoint;
    enum verify_state state;
    char address[300];    /* the one that was used, "host:port" */
    char fingerprint[65]; /* the leaf that was seen, "" if none */
    char detail[300];     /* printable; why it is not VERIFY_SERVED, with the name that was asked for */
    unsigned probes;      /* expectations that were met; all of them when state is VERIFY_SERVED */
    int64_t us;           /* from the start of the verification to the last probe's end */
};

/* What was seen last at one endpoint for one expectation. */
struct verify_cell {
    bool applies;
    enum verify_state state;      /* VERIFY_UNREACHABLE also where it was not asked in time */
    bool heard;                   /* something was said */
    char fingerprint[65];         /* the leaf that was seen, "" if none */
    time_t not_before, not_after; /* of that leaf, 0 if none */
};

/* Whether TLS came about, with whatever leaf. */
bool verify_completed(enum verify_state state);
/* Whether it says anything about the service. */
bool verify_asked(enum verify_state state);

struct verify_opts {
    const struct endpoint_list *endpoints;
    const struct verify_expectation *expectations;
    size_t expectation_count;
    /* Whether an endpoint is asked for an expectation (its index); NULL: for all. */
    bool (*applies)(void *ctx, const struct endpoint *endpoint, size_t expectation);
    int timeout_ms;         /* for all of it */
    int connect_timeout_ms; /* for one address, before the next is tried; 0: 2000 */
    bool once;              /* do not repeat what fails: a look at how things stand */
    void (*on_result)(void *ctx,
                      const struct verify_result *result); /* once per endpoint, as soon as it is settled */
    void *ctx;
    struct verify_cell *out_cells; /* or NULL: endpoints->count rows of expectation_count cells */
};

/*
 * Host names among the addresses are resolved once, before the deadline starts to count. out_results: one per
 * endpoint, in their order; the caller gives room for endpoints->count. Returns 0 when
 * all are VERIFY_SERVED, 1 when one is not, or an error when nothing could be tried.
 */
int verify_run(const struct verify_opts *opts, struct verify_result *out_results, struct error *err);

/* "served", "stale", … */
const char *verify_state_str(enum verify_state state);

#endif
