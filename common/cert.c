#include "common/cert_impl.h"
#include "common/text.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <strings.h>

CLEANUP_DEFINE(BIO *, BIO_free_all)
#define AUTO_BIO CLEANUP(BIO_free_allp)
CLEANUP_DEFINE(EVP_MD_CTX *, EVP_MD_CTX_free)
#define AUTO_MD_CTX CLEANUP(EVP_MD_CTX_freep)
CLEANUP_DEFINE(PKCS8_PRIV_KEY_INFO *, PKCS8_PRIV_KEY_INFO_free)
#define AUTO_PKCS8 CLEANUP(PKCS8_PRIV_KEY_INFO_freep)
CLEANUP_DEFINE(GENERAL_NAMES *, GENERAL_NAMES_free)
#define AUTO_GENERAL_NAMES CLEANUP(GENERAL_NAMES_freep)

/* ---- OpenSSL's allocator, wiping ---- */

static void *wiping_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return malloc(size);
}

static void wiping_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    secret_free(p);
}

static void *wiping_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return secret_realloc(p, size);
}

void cert_init(void)
{
    CRYPTO_set_mem_functions(wiping_malloc, wiping_realloc, wiping_free);
    OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
}

/* ---- parsing ---- */

/* What PEM held, before it is known which certificate is the leaf. */
struct parts {
    STACK_OF(X509) * certs;
    EVP_PKEY *key;
    bool encrypted_key;
    bool several_keys;
};

static void parts_free(struct parts *parts)
{
    sk_X509_pop_free(parts->certs, X509_free);
    EVP_PKEY_free(parts->key);
}

/* reason: for when OpenSSL gives none. */
static int malformed(struct error *err, const char *what, const char *reason)
{
    unsigned long code = ERR_peek_last_error();
    const char *given = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    error_set(err, E_FAILED, "%s cannot be parsed: %s", what, given ? given : reason);
    return CERT_MALFORMED;
}

static int add_certificate(struct parts *parts, const unsigned char *der, long len, struct error *err)
{
    const unsigned char *p = der;
    if (sk_X509_num(parts->certs) >= CERT_MAX_CERTIFICATES) {
        error_set(err, E_FAILED, "more than %d certificates", CERT_MAX_CERTIFICATES);
        return CERT_TOO_MANY;
    }
    AUTO_X509 X509 *x = d2i_X509(NULL, &p, len);
    if (!x || p != der + len)
        return malformed(err, "a certificate", "trailing bytes");
    if (!sk_X509_push(parts->certs, x))
        return error_memory(err);
    x = NULL;
    return 0;
}

/*
 * Of a DSA or DH key OpenSSL computes the public half while it parses, by an exponentiation in a group of any
 * size: a bundle has room for hours of it. Keys of unknown kinds are no better.
 */
static bool is_parsed_quickly(const unsigned char *der, long len)
{
    static const int kinds[] = {NID_rsaEncryption, NID_rsassaPss, NID_X9_62_id_ecPublicKey,
                                NID_ED25519,       NID_ED448,     NID_X25519,
                                NID_X448};
    AUTO_PKCS8 PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, len);
    const ASN1_OBJECT *kind = NULL;
    if (!info || !PKCS8_pkey_get0(&kind, NULL, NULL, NULL, info))
        return true; /* not PKCS#8: the older forms hold the public half */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (OBJ_obj2nid(kind) == kinds[i])
            return true;
    return false;
}

static int add_key(struct parts *parts, const char *label, const char *header, const unsigned char *der,
                   long len, struct error *err)
{
    const unsigned char *p = der;
    if (parts->key || parts->encrypted_key)
        parts->several_keys = true;
    if (strcmp(label, PEM_STRING_PKCS8) == 0 || strstr(header, "ENCRYPTED")) {
        parts->encrypted_key = true;
        return 0;
    }
    if (parts->key)
        return 0;
    if (!is_parsed_quickly(der, len)) {
        error_set(err, E_FAILED, "the private key is neither RSA nor EC nor Ed25519");
        return CERT_KEY_KIND;
    }
    parts->key = d2i_AutoPrivateKey(NULL, &p, len);
    if (!parts->key || p != der + len)
        return malformed(err, "the private key", "trailing bytes");
    return 0;
}

static int add_block(struct parts *parts, enum cert_want_key want_key, const char *label, const char *header,
                     const unsigned char *der, long len, struct error *err)
{
    if (strcmp(label, PEM_STRING_X509) == 0 || strcmp(label, PEM_STRING_X509_OLD) == 0)
        return add_certificate(parts, der, len, err);
    size_t n = strlen(label), suffix = strlen("PRIVATE KEY");
    if (want_key == CERT_KEY_REQUIRED && n >= suffix && strcmp(label + n - suffix, "PRIVATE KEY") == 0)
        return add_key(parts, label, header, der, len, err);
    return 0; /* EC PARAMETERS, DH PARAMETERS, a request: not ours */
}

/* PEM_read_bio skips text before a block and reports the end of the input as "no start line". */
static int read_blocks(struct parts *parts, BIO *bio, enum cert_want_key want_key, struct error *err)
{
    for (;;) {
        char *label = NULL, *header = NULL;
        unsigned char *der = NULL;
        long len = 0;
        ERR_clear_error();
        if (!PEM_read_bio(bio, &label, &header, &der, &len)) {
            unsigned long code = ERR_peek_last_error();
            if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
                return malformed(err, "a PEM block", "it is empty");
            ERR_clear_error();
            return 0;
        }
        int rc = add_block(parts, want_key, label, header, der, len, err);
        OPENSSL_free(label);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)len);
        if (rc)
            return rc;
    }
}

static int check_parts(const struct parts *parts, enum cert_want_key want_key, struct error *err)
{
    if (sk_X509_num(parts->certs) == 0) {
        error_set(err, E_FAILED, "it holds no certificate");
        return CERT_NONE;
    }
    if (want_key == CERT_KEY_IGNORED)
        return 0;
    if (parts->several_keys) {
        error_set(err, E_FAILED, "it holds more than one private key");
        return CERT_SEVERAL_KEYS;
    }
    if (parts->encrypted_key) {
        error_set(err, E_FAILED,
                  "the private key is encrypted; mailcow's services cannot ask for a passphrase");
        return CERT_ENCRYPTED_KEY;
    }
    if (!parts->key) {
        error_set(err, E_FAILED, "it holds no private key");
        return CERT_NO_KEY;
    }
    return 0;
}

/* ---- choosing the leaf, ordering the chain ---- */

static bool is_ca(X509 *x)
{
    return X509_check_ca(x) > 0;
}

static bool is_younger(X509 *a, X509 *b)
{
    return ASN1_TIME_compare(X509_get0_notBefore(a), X509_get0_notBefore(b)) > 0;
}

static X509 *choose_leaf(const struct parts *parts)
{
    X509 *best = NULL;
    if (!parts->key)
        return sk_X509_value(parts->certs, 0);
    for (int i = 0; i < sk_X509_num(parts->certs); i++) {
        X509 *x = sk_X509_value(parts->certs, i);
        if (X509_check_private_key(x, parts->key) != 1)
            continue;
        if (!best || (is_ca(best) && !is_ca(x)) || (is_ca(best) == is_ca(x) && is_younger(x, best)))
            best = x;
    }
    ERR_clear_error();
    return best;
}

/* The youngest if there are several: a CA's certificate may have been renewed with its key. */
static X509 *find_issuer(STACK_OF(X509) * certs, STACK_OF(X509) * chain, X509 *subject)
{
    X509 *best = NULL;
    for (int i = 0; i < sk_X509_num(certs); i++) {
        X509 *x = sk_X509_value(certs, i);
        if (x != subject && X509_self_signed(x, 0) == 0 && sk_X509_find(chain, x) < 0 &&
            X509_check_issued(x, subject) == X509_V_OK && (!best || is_younger(x, best)))
            best = x;
    }
    return best;
}

int cert_order_chain(struct cert *c, STACK_OF(X509) * certs, struct error *err)
{
    X509 *x = c->leaf;
    sk_X509_pop_free(c->chain, X509_free);
    c->chain = sk_X509_new_null();
    if (!c->chain)
        return error_memory(err);
    while ((x = find_issuer(certs, c->chain, x)) && x != c->leaf)
        if (!X509_add_cert(c->chain, x, X509_ADD_FLAG_UP_REF))
            return error_memory(err);
    c->info.chain_length = (size_t)sk_X509_num(c->chain);
    ERR_clear_error();
    return 0;
}

/* ---- what the leaf says ---- */

static bool hex_digest(char *out, const void *bytes, size_t len)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (!EVP_Digest(bytes, len, md, &n, EVP_sha256(), NULL))
        return false;
    text_hex(out, md, n);
    return true;
}

bool cert_sha256(char *out, const void *bytes, size_t len)
{
    return hex_digest(out, bytes, len);
}

static bool fill_digests(struct cert_info *info, X509 *x)
{
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);
    bool ok = len > 0 && hex_digest(info->fingerprint, der, (size_t)len);
    OPENSSL_free(der);
    der = NULL;
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    ok = ok && len > 0 && hex_digest(info->spki, der, (size_t)len);
    OPENSSL_free(der);
    return ok;
}

static bool read_time(const ASN1_TIME *asn1, time_t *out)
{
    struct tm tm;
    if (!ASN1_TIME_to_tm(asn1, &tm))
        return false;
    *out = timegm(&tm);
    return true;
}

static void fill_issuer(struct cert_info *info, X509 *x)
{
    AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (!bio || X509_NAME_print_ex(bio, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253) < 0)
        return;
    long len = BIO_get_mem_data(bio, &text);
    text_escape(info->issuer, sizeof info->issuer, text, (size_t)len);
}

static void fill_key_type(struct cert_info *info, X509 *x)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    char group[24] = "";
    if (key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, NULL)) {
        const char *nist = strcmp(group, "prime256v1") == 0  ? "P-256"
                           : strcmp(group, "secp384r1") == 0 ? "P-384"
                           : strcmp(group, "secp521r1") == 0 ? "P-521"
                                                             : group;
        snprintf(info->key_type, sizeof info->key_type, "%s", nist);
    } else if (key && EVP_PKEY_is_a(key, "RSA"))
        snprintf(info->key_type, sizeof info->key_type, "RSA %d", EVP_PKEY_get_bits(key));
    else
        snprintf(info->key_type, sizeof info->key_type, "%s",
                 key && EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown");
}

static int fill_names(struct cert_info *info, X509 *x, struct error *err)
{
    AUTO_GENERAL_NAMES GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    info->names = calloc((size_t)count + 1, sizeof *info->names);
    if (!info->names)
        return error_memory(err);
    for (int i = 0; i < count && info->name_count < CERT_MAX_NAMES; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char shown[256], lower[256];
        if (name->type != GEN_DNS)
            continue;
        text_escape(shown, sizeof shown, ASN1_STRING_get0_data(name->d.dNSName),
                    (size_t)ASN1_STRING_length(name->d.dNSName));
        char *copy = strdup(text_lower(lower, sizeof lower, shown));
        if (!copy)
            return error_memory(err);
        info->names[info->name_count++] = copy;
    }
    return 0;
}

static int fill_info(struct cert *c, struct error *err)
{
    struct cert_info *info = &c->info;
    if (!fill_digests(info, c->leaf))
        return malformed(err, "the leaf", "it cannot be encoded again");
    if (!read_time(X509_get0_notBefore(c->leaf), &info->not_before) ||
        !read_time(X509_get0_notAfter(c->leaf), &info->not_after))
        return malformed(err, "the leaf's validity", "not a time");
    fill_issuer(info, c->leaf);
    fill_key_type(info, c->leaf);
    info->is_ca = is_ca(c->leaf);
    return fill_names(info, c->leaf, err);
}

static int assemble(const struct parts *parts, struct cert *c, struct error *err)
{
    X509 *leaf = choose_leaf(parts);
    if (!leaf) {
        error_set(err, E_FAILED, "the private key belongs to none of its certificates");
        return CERT_KEY_MISMATCH;
    }
    X509_up_ref(leaf);
    c->leaf = leaf;
    if (parts->key && EVP_PKEY_up_ref(parts->key))
        c->key = parts->key;
    int rc = cert_order_chain(c, parts->certs, err);
    if (!rc)
        rc = fill_info(c, err);
    ERR_clear_error(); /* an extension that cannot be parsed counts as missing */
    return rc;
}

int cert_parse(const void *pem, size_t len, enum cert_want_key want_key, struct cert **out, struct error *err)
{
    if (len > INT_MAX)
        return malformed(err, "it", "too long");
    CLEANUP(parts_free) struct parts parts = {.certs = sk_X509_new_null()};
    AUTO_BIO BIO *bio = BIO_new_mem_buf(len ? pem : "", (int)len);
    AUTO_CERT struct cert *c = calloc(1, sizeof *c);
    if (!parts.certs || !bio || !c)
        return error_memory(err);
    int rc = read_blocks(&parts, bio, want_key, err);
    if (!rc)
        rc = check_parts(&parts, want_key, err);
    if (!rc)
        rc = assemble(&parts, c, err);
    if (rc)
        return rc;
    *out = c;
    c = NULL;
    return 0;
}

void cert_free(struct cert *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->info.name_count; i++)
        free(c->info.names[i]);
    free(c->info.names);
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    free(c);
}

const struct cert_info *cert_info(const struct cert *c)
{
    return &c->info;
}

/* ---- questions ---- */

bool cert_covers(const struct cert *c, const char *name)
{
    /* X509_check_host falls back to the CN when there is no dNSName, and lets "f*.example.org" match, unless
     * told. */
    const unsigned int flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    bool covers = X509_check_host(c->leaf, name, strlen(name), flags, NULL) == 1;
    ERR_clear_error();
    return covers;
}

const char *cert_first_uncovered(const struct cert *c, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!cert_covers(c, names[i]))
            return names[i];
    return NULL;
}

bool cert_key_is_usable(const struct cert *c)
{
    EVP_PKEY *key = c->key ? c->key : X509_get0_pubkey(c->leaf);
    int bits = key ? EVP_PKEY_get_bits(key) : 0;
    if (key && EVP_PKEY_is_a(key, "RSA"))
        return bits >= 2048 && bits <= 4096;
    return strcmp(c->info.key_type, "P-256") == 0 || strcmp(c->info.key_type, "P-384") == 0 ||
           strcmp(c->info.key_type, "P-521") == 0 || strcasecmp(c->info.key_type, "ED25519") == 0;
}

bool cert_key_proves(const struct cert *c)
{
    unsigned char nonce[32], signature[1024];
    size_t len = sizeof signature;
    AUTO_MD_CTX EVP_MD_CTX *sign = EVP_MD_CTX_new();
    AUTO_MD_CTX EVP_MD_CTX *verify = EVP_MD_CTX_new();
    const EVP_MD *md = EVP_PKEY_is_a(c->key, "ED25519") ? NULL : EVP_sha256();
    bool ok = sign && verify && RAND_bytes(nonce, sizeof nonce) == 1 &&
              EVP_DigestSignInit(sign, NULL, md, NULL, c->key) == 1 &&
              EVP_DigestSign(sign, signature, &len, nonce, sizeof nonce) == 1 &&
              EVP_DigestVerifyInit(verify, NULL, md, NULL, X509_get0_pubkey(c->leaf)) == 1 &&
              EVP_DigestVerify(verify, signature, len, nonce, sizeof nonce) == 1;
    ERR_clear_error();
    return ok;
}

/* ---- writing ---- */

static int append_bio(BIO *bio, struct secret *out, struct error *err)
{
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    if (secret_append(out, text, (size_t)len) < 0)
        return error_set(err, E_FAILED, "the certificates take more than %zu bytes", out->max);
    return 0;
}

int cert_write_chain(const struct cert *c, struct secret *out, struct error *err)
{
    AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && PEM_write_bio_X509(bio, c->leaf);
    for (int i = 0; ok && i < sk_X509_num(c->chain); i++)
        ok = PEM_write_bio_X509(bio, sk_X509_value(c->chain, i));
    return ok ? append_bio(bio, out, err) : error_memory(err);
}

int cert_write_key(const struct cert *c, struct secret *out, struct error *err)
{
    AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL))
        return error_memory(err);
    return append_bio(bio, out, err);
}
