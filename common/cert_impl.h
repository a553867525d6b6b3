/* What struct cert is made of: for common/cert.c and deployer/trust.c, which verifies it. */
#ifndef COMMON_CERT_IMPL_H
#define COMMON_CERT_IMPL_H

#include "common/cert.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

struct cert {
    X509 *leaf;
    STACK_OF(X509) * chain; /* leaf's issuer first, no self-signed certificate */
    EVP_PKEY *key;          /* NULL with CERT_KEY_IGNORED */
    struct cert_info info;
};

CLEANUP_DEFINE(X509 *, X509_free)
#define AUTO_X509 CLEANUP(X509_freep)

/* Makes c's chain anew: the leaf's issuer out of certs, that one's, and so on. The chain has references of
 * its own. */
int cert_order_chain(struct cert *c, STACK_OF(X509) * certs, struct error *err);

#endif
