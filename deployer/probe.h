/*
 * One probe: a TCP connection to the first address that accepts one, a PROXY header where one is expected,
 * the protocol's dialogue up to TLS, a full handshake, and the comparison of the leaf with what is expected.
 * Non-blocking: the owner polls fd for events until deadline_ms, and calls probe_step().
 */
#ifndef DEPLOYER_PROBE_H
#define DEPLOYER_PROBE_H

#include "deployer/dialogue.h"
#include "deployer/tls.h"
#include "deployer/verify.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* From the connection on, for everything: postscreen alone takes six seconds. A listener that needs longer is
 * asked again on a new connection. */
#define PROBE_PATIENCE_MS 10000

struct probe_address {
    struct sockaddr_storage sa;
    socklen_t len;
    const struct endpoint_address *named; /* the configured or derived address that it stands for */
};

struct probe_opts {
    struct tls_context *tls;
    enum endpoint_dialogue dialogue;
    unsigned proxy; /* version of the PROXY header to begin with; 0: none */
    const struct probe_address *addresses;
    size_t address_count;
    size_t first; /* the address to begin with; the others follow in turn */
    const struct verify_expectation *expectation;
    int connect_timeout_ms; /* for each address */
};

struct probe_outcome {
    enum verify_state state;
    size_t address; /* the last one that was tried */
    bool heard;     /* something was said there */
    char fingerprint[65];
    time_t not_before, not_after; /* of that leaf */
    char detail[200];
};

enum probe_phase {
    PROBE_IDLE,
    PROBE_CONNECTING,
    PROBE_TALKING,
    PROBE_HANDSHAKING,
    PROBE_OVER,
};

/* A plain record, to be embedded and zeroed once. Between probe_start and probe_end it owns a socket. */
struct probe {
    struct probe_opts opts;
    enum probe_phase phase;
    size_t tried;     /* addresses */
    bool was_refused; /* by one of them */
    int fd;
    short events;
    int64_t deadline_ms;
    struct tls *tls;
    struct dialogue dialogue;
    struct probe_outcome outcome;
};

/* True when the probe is over: outcome is filled then and stays until probe_end. */
bool probe_start(struct probe *p, const struct probe_opts *opts);
/* To be called when fd is ready or the deadline (in clock_ms()) has passed. True as above. */
bool probe_step(struct probe *p, short revents);
/* Gives up a probe that is not over; fills the outcome with what it was waiting for. */
void probe_expire(struct probe *p);
/* Releases everything, at any time; the record can be used again. */
void probe_end(struct probe *p);

#endif
