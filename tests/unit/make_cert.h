/*
 * Certificates for tests, made on the spot: self-signed leafs with given names, validity and key. What a
 * certificate must be for a mail host to accept it is tested elsewhere.
 */
#ifndef TESTS_UNIT_MAKE_CERT_H
#define TESTS_UNIT_MAKE_CERT_H

#include "tests/unit/testing.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#define DAY 86400

struct cert_spec {
    const char *names; /* SANs, "DNS:a.example.org,DNS:*.example.net"; NULL: none */
    const char *cn;    /* NULL: none */
    long from, until;  /* seconds from now; both 0: from an hour ago for 90 days */
    int serial;        /* tells otherwise equal certificates apart */
};

static UNUSED EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

static UNUSED void take_pem(BIO *bio, char *out, size_t size)
{
    int n = BIO_read(bio, out, (int)size - 1);
    assert_in_range(n, 1, (int)size - 2);
    out[n] = '\0';
    BIO_free(bio);
}

/* PEM of the private key. */
static UNUSED void key_pem(EVP_PKEY *key, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    take_pem(bio, out, size);
}

/* PEM of a certificate for key. */
static UNUSED void cert_pem(const struct cert_spec *spec, EVP_PKEY *key, char *out, size_t size)
{
    X509 *x = X509_new();
    bool usual = !spec->from && !spec->until;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), spec->serial + 1);
    X509_gmtime_adj(X509_getm_notBefore(x), usual ? -3600 : spec->from);
    X509_gmtime_adj(X509_getm_notAfter(x), usual ? 90 * DAY : spec->until);
    X509_set_pubkey(x, key);
    if (spec->cn)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                   (const unsigned char *)spec->cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    if (spec->names) {
        X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, spec->names);
        assert_non_null(san);
        X509_add_ext(x, san, -1);
        X509_EXTENSION_free(san);
    }
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    take_pem(bio, out, size);
    X509_free(x);
}

/* Writes fullchain.pem and privkey.pem, a pair with a key of its own, into a folder of d, which it makes. */
static UNUSED void write_lineage(const struct directory *d, const char *folder, const struct cert_spec *spec)
{
    char pem[4096], name[300];
    EVP_PKEY *key = make_key();
    if (!is_there(d, folder))
        make_folder(d, folder);
    cert_pem(spec, key, pem, sizeof pem);
    snprintf(name, sizeof name, "%s/fullchain.pem", folder);
    write_text(d, name, pem);
    key_pem(key, pem, sizeof pem);
    snprintf(name, sizeof name, "%s/privkey.pem", folder);
    write_text(d, name, pem);
    EVP_PKEY_free(key);
}

#endif
