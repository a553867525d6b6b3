/*
 * X.509: a leaf with its chain and, where it was given, its private key, parsed from PEM. What is in
 * it is known to cert.c and, through common/cert_impl.h, to the deployer's trust.c, which verifies it.
 *
 * A parsed bundle is ordered: the leaf is the certificate that the key belongs to (never a CA if another one
 * matches; the youngest if several do), the chain is what was sent, from the leaf's issuer upwards, without
 * the root and without what does not belong to it. What is written out again is made from the parsed objects,
 * never from the bytes that came in. OpenSSL's queue of errors is left empty.
 */
#ifndef COMMON_CERT_H
#define COMMON_CERT_H

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define CERT_MAX_CERTIFICATES 16  /* in one bundle; Let's Encrypt's longest chain has four */
#define CERT_MAX_NAMES        256 /* dNSName SANs of one leaf; public CAs stop at 100 */

struct cert;

struct cert_info {
    char fingerprint[65]; /* SHA-256 of the leaf's DER, lower-case hex */
    char spki[65];        /* SHA-256 of its SubjectPublicKeyInfo: what a TLSA 3 1 1 record holds */
    time_t not_before;
    time_t not_after;
    char key_type[32]; /* "RSA 2048", "P-256", "ED25519" */
    char issuer[200];  /* printable */
    bool is_ca;
    size_t chain_length; /* certificates above the leaf */
    size_t name_count;
    char **names; /* dNSName SANs, printable, lower case; never the CN */
};

/* What kind of wrong a bundle is: cert_parse's positive results. */
enum cert_fault {
    CERT_NONE = 1,      /* no certificate in it */
    CERT_NO_KEY,        /* no private key, but one was wanted */
    CERT_ENCRYPTED_KEY, /* the private key is encrypted */
    CERT_SEVERAL_KEYS,  /* more than one private key */
    CERT_KEY_KIND,      /* a private key of a kind that no TLS server uses */
    CERT_MALFORMED,     /* PEM or DER that cannot be parsed */
    CERT_TOO_MANY,      /* more than CERT_MAX_CERTIFICATES */
    CERT_KEY_MISMATCH,  /* no certificate belongs to the private key */
};

enum cert_want_key {
    CERT_KEY_REQUIRED,
    CERT_KEY_IGNORED, /* a private key is skipped unparsed; the leaf is the first certificate */
};

/*
 * To be called once, before anything else of this module: makes OpenSSL wipe what it frees (OpenSSL 3.0
 * otherwise leaves copies of private keys in the heap), and read its openssl.cnf while files can be opened.
 */
void cert_init(void);

/* Parses PEM: certificates and key in any order, with CRLF and text between. 0, a cert_fault, or a negative
 * code. */
int cert_parse(const void *pem, size_t len, enum cert_want_key want_key, struct cert **out,
               struct error *err);
void cert_free(struct cert *c);
CLEANUP_DEFINE(struct cert *, cert_free)
#define AUTO_CERT CLEANUP(cert_freep)

/* Owned by c. */
const struct cert_info *cert_info(const struct cert *c);

/*
 * Whether the leaf's dNSName SANs cover name (RFC 6125 §6.4.3; a wildcard is a whole leftmost label). name
 * must have passed text_is_host_name: X509_check_host gives a leading dot a meaning of its own.
 */
bool cert_covers(const struct cert *c, const char *name);

/* The first of count names that is not covered, or NULL. */
const char *cert_first_uncovered(const struct cert *c, const char *const *names, size_t count);

/*
 * Whether the key can do what the certificate says: signs a nonce and verifies it with the leaf's public key.
 * X509_check_private_key is satisfied by a key whose public half was copied from the certificate.
 */
bool cert_key_proves(const struct cert *c);

/*
 * Whether mail clients and servers can be expected to use the key: RSA of 2048 to 4096 bits, P-256, P-384,
 * P-521, Ed25519. Asked before the key is used: a signature with RSA-16384 takes seconds.
 */
bool cert_key_is_usable(const struct cert *c);

/* PEM of leaf and chain, leaf first; of the private key as PKCS#8. Appended to out. */
int cert_write_chain(const struct cert *c, struct secret *out, struct error *err);
int cert_write_key(const struct cert *c, struct secret *out, struct error *err);

/* SHA-256 in lower-case hex: the protocol's digest of a bundle. out: 65 bytes. False if OpenSSL fails. */
bool cert_sha256(char *out, const void *bytes, size_t len);

#endif
