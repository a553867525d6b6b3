/*
 * A TLS client that only looks: a non-blocking handshake on a connected socket, and the fingerprint of the
 * leaf that the server proved to hold the key of. The only module of the deployer that includes libssl.
 *
 * TLS 1.2 or later, TLS 1.3 preferred. Nothing is verified: neither chain nor name nor validity. No session
 * is kept or resumed. The process must ignore SIGPIPE. The system's openssl.cnf does not change what is
 * offered.
 */
#ifndef DEPLOYER_TLS_H
#define DEPLOYER_TLS_H

#include "common/cleanup.h"
#include "common/error.h"

#include <stdbool.h>

/* What connections share; one is enough for a program. */
struct tls_context;

int tls_context_new(struct tls_context **out, struct error *err);
void tls_context_free(struct tls_context *ctx);
CLEANUP_DEFINE(struct tls_context *, tls_context_free)
#define AUTO_TLS_CONTEXT CLEANUP(tls_context_freep)

struct tls;

/* fd: connected, non-blocking, stays the caller's. server_name: for SNI, or NULL to send none. ctx must
 * outlive it. */
int tls_new(struct tls **out, struct tls_context *ctx, int fd, const char *server_name, struct error *err);
void tls_free(struct tls *t);

/* tls_handshake's positive results: call again when fd is ready for it. */
enum {
    TLS_WANT_READ = 1,
    TLS_WANT_WRITE = 2,
};

/* 0 when the handshake is complete, TLS_WANT_…, or E_FAILED with OpenSSL's reason. */
int tls_handshake(struct tls *t, struct error *err);

/* Whether the server has sent anything at all. */
bool tls_heard(const struct tls *t);

/* After the handshake: SHA-256 of the leaf's DER in lower-case hex. out: 65 bytes. */
int tls_fingerprint(struct tls *t, char *out, struct error *err);
/* After the handshake: from when until when the leaf is valid; 0 for what cannot be read. */
void tls_validity(const struct tls *t, time_t *out_begin, time_t *out_end);

/* Says farewell (may be NULL) and close_notify, as far as that goes without waiting. */
void tls_leave(struct tls *t, const char *farewell);

#endif
