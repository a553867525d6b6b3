#include "deployer/tls.h"

#include "common/cert.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

CLEANUP_DEFINE(SSL_CTX *, SSL_CTX_free)

struct tls_context {
    SSL_CTX *ssl;
};

struct tls {
    SSL *ssl;
};

/* What people see most gets plainer words than OpenSSL's. */
static const char *reason_of(unsigned long code)
{
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        return "the answer is not TLS";
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return "the connection was closed";
    return code ? ERR_reason_error_string(code) : NULL;
}

static int failed(struct error *err, const char *what)
{
    const char *reason = reason_of(ERR_peek_last_error());
    error_set(err, E_FAILED, "%s: %s", what, reason ? reason : "no reason given");
    ERR_clear_error();
    return E_FAILED;
}

/* SSL_VERIFY_NONE alone would still build and check the chain, and then ignore the result. */
static int accept_any_chain(X509_STORE_CTX *store, void *arg)
{
    (void)store, (void)arg;
    return 1;
}

/* Level 1: a server that clients get along with is not to be called broken for the size of its DH group. */
static bool configure(SSL_CTX *ssl)
{
    int groups[] = {NID_X25519, NID_X9_62_prime256v1, NID_secp384r1, NID_secp521r1, NID_X448};
    SSL_CTX_set_security_level(ssl, 1);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, accept_any_chain, NULL);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) && SSL_CTX_set_max_proto_version(ssl, 0) &&
           SSL_CTX_set_cipher_list(ssl, "DEFAULT:@SECLEVEL=1") &&
           SSL_CTX_set1_groups(ssl, groups, sizeof(groups) / sizeof(groups[0]));
}

int tls_context_new(struct tls_context **out, struct error *err)
{
    ERR_clear_error();
    CLEANUP(SSL_CTX_freep) SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    if (!ssl || !configure(ssl))
        return failed(err, "TLS: cannot be set up");
    struct tls_context *ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return error_memory(err);
    ctx->ssl = ssl;
    ssl = NULL;
    *out = ctx;
    return 0;
}

void tls_context_free(struct tls_context *ctx)
{
    if (!ctx)
        return;
    SSL_CTX_free(ctx->ssl);
    free(ctx);
}

static bool set_server_name(SSL *ssl, const char *server_name)
{
    char name[TLSEXT_MAXLEN_host_name + 1]; /* OpenSSL's macro casts const away */
    int n = snprintf(name, sizeof(name), "%s", server_name);
    return n < (int)sizeof(name) && SSL_set_tlsext_host_name(ssl, name);
}

int tls_new(struct tls **out, struct tls_context *ctx, int fd, const char *server_name, struct error *err)
{
    ERR_clear_error();
    struct tls *t = calloc(1, sizeof(*t));
    if (!t)
        return error_memory(err);
    t->ssl = SSL_new(ctx->ssl);
    if (!t->ssl || !SSL_set_fd(t->ssl, fd) || (server_name && !set_server_name(t->ssl, server_name))) {
        tls_free(t);
        return failed(err, "TLS: cannot be set up");
    }
    SSL_set_connect_state(t->ssl);
    *out = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    free(t);
}

int tls_handshake(struct tls *t, struct error *err)
{
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1)
        return 0;
    int cause = errno;
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return error_set(err, E_FAILED, "TLS handshake: %s",
                         cause ? strerror(cause) : "the connection was closed");
    default:
        return failed(err, "TLS handshake");
    }
}

bool tls_heard(const struct tls *t)
{
    return BIO_number_read(SSL_get_rbio(t->ssl)) > 0;
}

int tls_fingerprint(struct tls *t, char *out, struct error *err)
{
    unsigned char *der = NULL;
    ERR_clear_error();
    X509 *leaf = SSL_get0_peer_certificate(t->ssl);
    int len = leaf ? i2d_X509(leaf, &der) : -1;
    bool ok = len > 0 && cert_sha256(out, der, (size_t)len);
    OPENSSL_free(der);
    return ok ? 0 : failed(err, "TLS: the server showed no certificate");
}

static time_t time_of(const ASN1_TIME *asn1)
{
    struct tm tm;
    return asn1 && ASN1_TIME_to_tm(asn1, &tm) ? timegm(&tm) : 0;
}

void tls_validity(const struct tls *t, time_t *out_begin, time_t *out_end)
{
    const X509 *leaf = SSL_get0_peer_certificate(t->ssl);
    *out_begin = leaf ? time_of(X509_get0_notBefore(leaf)) : 0;
    *out_end = leaf ? time_of(X509_get0_notAfter(leaf)) : 0;
    ERR_clear_error();
}

void tls_leave(struct tls *t, const char *farewell)
{
    if (farewell)
        SSL_write(t->ssl, farewell, (int)strlen(farewell));
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}
