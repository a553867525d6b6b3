/*
 * The trust store, and the verification of a chain against it.
 */
#ifndef DEPLOYER_TRUST_H
#define DEPLOYER_TRUST_H

#include "common/cert.h"

#include <time.h>

struct trust;

/* path: PEM file of trusted CAs (Debian: /etc/ssl/certs/ca-certificates.crt). E_CONFIG when it holds none. */
int trust_new(struct trust **out, const char *path, struct error *err);
/* Whether the file at path is still the one that was read: its inode, size and time are the same. */
bool trust_is_current(const struct trust *t, const char *path);
void trust_free(struct trust *t);
CLEANUP_DEFINE(struct trust *, trust_free)
#define AUTO_TRUST CLEANUP(trust_freep)

enum trust_fault {
    TRUST_CHAIN = 1, /* does not lead to a trusted CA */
    TRUST_PURPOSE,   /* not meant for a TLS server (RFC 5280 §4.2.1.12) */
    TRUST_WEAK,      /* a signature or key in the chain below 112 bits: SHA-1, RSA-1024 */
};

/*
 * Verifies c's leaf with c's chain as the only untrusted certificates, at `now`. The leaf's own validity is
 * not looked at here. 0, or a trust_fault with the reason in err.
 */
int trust_verify(const struct trust *t, const struct cert *c, time_t now, struct error *err);

/*
 * Drops from c's chain what does not itself verify up to a trusted CA: whoever sends a bundle could otherwise
 * have anything installed that merely bears the name of an issuer. Cross-signs by trusted CAs stay, for
 * clients with other trust stores. What is left is to be verified once more.
 */
int trust_trim(const struct trust *t, struct cert *c, time_t now, struct error *err);

#endif
