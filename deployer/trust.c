#include "deployer/trust.h"
#include "common/cert_impl.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

struct trust {
    X509_STORE *store;
    struct stat file; /* as it was before it was read */
};

CLEANUP_DEFINE(X509_STORE_CTX *, X509_STORE_CTX_free)
#define AUTO_STORE_CTX CLEANUP(X509_STORE_CTX_freep)

static void free_certs(STACK_OF(X509) * *certs)
{
    sk_X509_pop_free(*certs, X509_free);
}
#define AUTO_CERTS CLEANUP(free_certs)

int trust_new(struct trust **out, const char *path, struct error *err)
{
    AUTO_TRUST struct trust *t = calloc(1, sizeof *t);
    if (!t || !(t->store = X509_STORE_new()))
        return error_memory(err);
    stat(path, &t->file); /* what is wrong with it is told below */
    if (!X509_STORE_load_file(t->store, path)) {
        unsigned long code = ERR_peek_error(); /* the first: those after it only say that it failed */
        const char *reason =
            ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
        error_set(err, E_CONFIG, "%s: load trusted CAs: %s", path, reason ? reason : "no certificate in it");
        ERR_clear_error();
        return E_CONFIG;
    }
    *out = t;
    t = NULL;
    return 0;
}

bool trust_is_current(const struct trust *t, const char *path)
{
    struct stat now;
    return stat(path, &now) == 0 && now.st_ino == t->file.st_ino && now.st_size == t->file.st_size &&
           now.st_mtim.tv_sec == t->file.st_mtim.tv_sec && now.st_mtim.tv_nsec == t->file.st_mtim.tv_nsec;
}

void trust_free(struct trust *t)
{
    if (!t)
        return;
    X509_STORE_free(t->store);
    free(t);
}

static int fault_of(int code)
{
    switch (code) {
    case X509_V_ERR_INVALID_PURPOSE:
        return TRUST_PURPOSE;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        return TRUST_WEAK;
    default:
        return TRUST_CHAIN;
    }
}

static const char *advice_of(int code)
{
    switch (code) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        return "; send the full chain (fullchain.pem), or add the CA to the trust file";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return "; only certificates of the CAs in the trust file are installed";
    default:
        return "";
    }
}

/*
 * Validity of the leaf is the judge's to report (expired and not yet valid are different answers), so only
 * the chain's errors count here.
 */
static int ignore_leaf_time(int ok, X509_STORE_CTX *ctx)
{
    int code = X509_STORE_CTX_get_error(ctx);
    bool leaf_time = X509_STORE_CTX_get_error_depth(ctx) == 0 &&
                     (code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID);
    if (leaf_time)
        X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return ok || leaf_time;
}

int trust_verify(const struct trust *t, const struct cert *c, time_t now, struct error *err)
{
    AUTO_STORE_CTX X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || !X509_STORE_CTX_init(ctx, t->store, c->leaf, c->chain))
        return error_memory(err);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, now);
    /* Level 2 is 112 bits; the default accepts SHA-1 signatures and RSA-1024 (OpenSSL 3.0,
     * SSL_CTX_set_security_level(3)). */
    X509_VERIFY_PARAM_set_auth_level(param, 2);
    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
    X509_STORE_CTX_set_verify_cb(ctx, ignore_leaf_time);
    bool ok = X509_verify_cert(ctx) == 1;
    ERR_clear_error();
    if (ok)
        return 0;
    int code = X509_STORE_CTX_get_error(ctx);
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    error_set(err, E_FAILED, "%s (certificate %d of the chain, the leaf being 0)%s",
              X509_verify_cert_error_string(code), depth, advice_of(code));
    return fault_of(code);
}

static bool is_trusted_ca(const struct trust *t, X509 *x, STACK_OF(X509) * chain, time_t now)
{
    AUTO_STORE_CTX X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || !X509_STORE_CTX_init(ctx, t->store, x, chain))
        return false;
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, now);
    X509_VERIFY_PARAM_set_auth_level(param, 2);
    bool ok = X509_verify_cert(ctx) == 1;
    ERR_clear_error();
    return ok;
}

int trust_trim(const struct trust *t, struct cert *c, time_t now, struct error *err)
{
    AUTO_CERTS STACK_OF(X509) *trusted = sk_X509_new_null();
    if (!trusted)
        return error_memory(err);
    for (int i = 0; i < sk_X509_num(c->chain); i++) {
        X509 *x = sk_X509_value(c->chain, i);
        if (is_trusted_ca(t, x, c->chain, now) && !X509_add_cert(trusted, x, X509_ADD_FLAG_UP_REF))
            return error_memory(err);
    }
    return cert_order_chain(c, trusted, err);
}
