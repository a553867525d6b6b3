/*
 * The judge on bundles. A line `policy=N` in front of the first block chooses the policy. What is accepted is
 * verified once more by OpenSSL alone, and what is refused leaves nothing to install.
 */
#include "common/file.h"
#include "deployer/judge.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/openssl.h"
#include "tests/fuzz/pem.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#define FOLDER        "tests/fuzz/judge/" /* written by judge_seeds.py */
#define NOW           1795248000          /* 2026-11-21T08:00:00Z: its clock */
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static const char *const one_name[] = {"mail.example.org"};
static const char *const three_names[] = {"mail.example.org", "*.example.org", "example.org"};

static struct judge_policy policies[] = {
    {.names = one_name, .name_count = 1},
    {.names = three_names, .name_count = 3},
    {.names = one_name, .name_count = 1, .installed = ""},
    {.names = one_name, .name_count = 1, .installed = "-----BEGIN CERTIFICATE-----\n", .installed_len = 28},
};
#define POLICY_INSTALLED 2

static struct trust *trust;
static X509_STORE *store;
static EVP_PKEY *issuer_key;
static time_t installed_since;

/* ---- fixtures ---- */

static BIO *open_fixture(const char *name)
{
    BIO *bio = BIO_new_file(name, "r");
    if (!bio)
        fprintf(stderr, "%s: cannot be read; this is to be run in the top folder of the source\n", name);
    CHECK(bio);
    return bio;
}

static void load_store(void)
{
    BIO *bio = open_fixture(FOLDER "root.pem");
    X509 *root = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    store = X509_STORE_new();
    CHECK(root && X509_STORE_add_cert(store, root));
    X509_free(root);
    BIO_free(bio);
}

static void load_installed(void)
{
    static struct secret pem = SECRET(SECRET_MAX);
    struct cert *c;
    CHECK(file_read(AT_FDCWD, FOLDER "installed.pem", 0, &pem, NULL, NULL) == 0);
    CHECK(cert_parse(pem.data, pem.len, CERT_KEY_IGNORED, &c, NULL) == 0);
    installed_since = cert_info(c)->not_before;
    cert_free(c);
    policies[POLICY_INSTALLED].installed = (const char *)pem.data;
    policies[POLICY_INSTALLED].installed_len = pem.len;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    cert_init();
    load_store();
    CHECK(trust_new(&trust, FOLDER "root.pem", NULL) == 0);
    BIO *bio = open_fixture(FOLDER "issuer.key");
    CHECK(issuer_key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL));
    BIO_free(bio);
    load_installed();
    for (size_t i = 0; i < LENGTH(policies); i++)
        policies[i].trust = trust;
    return 0;
}

/* ---- properties ---- */

static STACK_OF(X509) * read_chain(const struct secret *pem)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, NULL, NULL));)
        sk_X509_push(chain, x);
    ERR_clear_error();
    BIO_free(bio);
    return chain;
}

static void check_key(const struct judge_verdict *v, X509 *leaf)
{
    unsigned char signature[1024];
    size_t len = sizeof signature;
    BIO *bio = BIO_new_mem_buf(v->key.data, (int)v->key.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    CHECK(key);
    const EVP_MD *md = EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CHECK(EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1);
    CHECK(EVP_DigestSign(ctx, signature, &len, (const unsigned char *)"x", 1) == 1);
    EVP_MD_CTX_reset(ctx);
    CHECK(EVP_DigestVerifyInit(ctx, NULL, md, NULL, X509_get0_pubkey(leaf)) == 1);
    CHECK(EVP_DigestVerify(ctx, signature, len, (const unsigned char *)"x", 1) == 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    BIO_free(bio);
}

static bool is_trusted(X509 *x, STACK_OF(X509) * chain, int purpose)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    CHECK(X509_STORE_CTX_init(ctx, store, x, chain));
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, NOW);
    X509_VERIFY_PARAM_set_auth_level(param, 2);
    if (purpose)
        X509_VERIFY_PARAM_set_purpose(param, purpose);
    bool ok = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

/* As a mail client would: time, purpose, strength and names, with nothing of ours in between. */
static void check_chain(const struct judge_policy *policy, const struct judge_verdict *v, X509 *leaf,
                        STACK_OF(X509) * chain)
{
    CHECK(is_trusted(leaf, chain, X509_PURPOSE_SSL_SERVER));
    for (int i = 1; i < sk_X509_num(chain); i++)
        CHECK(is_trusted(sk_X509_value(chain, i), chain, 0));
    for (size_t i = 0; i < policy->name_count; i++)
        CHECK(X509_check_host(leaf, policy->names[i], 0,
                              X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                              NULL) == 1);
    CHECK(X509_check_ca(leaf) == 0);
    CHECK(v->not_before <= NOW && NOW < v->not_after);
}

static size_t count(const struct secret *pem, const char *word)
{
    size_t n = 0;
    for (const char *at = (const char *)pem->data; (at = strstr(at, word)); at++)
        n++;
    return n;
}

/* Certificates in the one file, the key in the other, and nothing else in either. */
static void check_blocks(const struct judge_verdict *v)
{
    CHECK(count(&v->chain, "-----BEGIN ") == v->chain_length + 1);
    CHECK(count(&v->chain, "-----BEGIN CERTIFICATE-----\n") == v->chain_length + 1);
    CHECK(count(&v->key, "-----BEGIN ") == 1 && count(&v->key, "-----BEGIN PRIVATE KEY-----\n") == 1);
    CHECK(v->chain_length < CERT_MAX_CERTIFICATES);
}

static void check_leaf(const struct judge_verdict *v, X509 *leaf)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    char hex[65];
    unsigned int len;
    CHECK(X509_digest(leaf, EVP_sha256(), md, &len));
    for (unsigned i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    CHECK_TEXT(v->fingerprint, hex);
    CHECK(fuzz_is_printable(v->issuer) && fuzz_is_printable(v->key_type));
}

/* What comes out goes in again, and is the same. */
static void check_again(const struct judge_policy *policy, const struct judge_verdict *v)
{
    AUTO_VERDICT struct judge_verdict again;
    AUTO_SECRET struct secret bundle = SECRET(2 * SECRET_MAX);
    struct error err;
    CHECK(secret_append(&bundle, v->key.data, v->key.len) == 0);
    CHECK(secret_append(&bundle, v->chain.data, v->chain.len) == 0);
    CHECK(judge(bundle.data, bundle.len, policy, NOW, &again, &err) == 0);
    CHECK(again.reason == JUDGE_ACCEPTED);
    CHECK_TEXT(again.fingerprint, v->fingerprint);
    CHECK_TEXT((char *)again.chain.data, (char *)v->chain.data);
    CHECK_TEXT((char *)again.key.data, (char *)v->key.data);
}

/* Outside its validity it is refused, and for that reason. */
static void check_clock(const void *bundle, size_t len, const struct judge_policy *policy,
                        const struct judge_verdict *v)
{
    AUTO_VERDICT struct judge_verdict before, after;
    struct error err;
    CHECK(judge(bundle, len, policy, v->not_before - 1, &before, &err) == 0);
    CHECK(judge(bundle, len, policy, v->not_after, &after, &err) == 0);
    CHECK(before.reason == JUDGE_NOT_YET_VALID && after.reason == JUDGE_EXPIRED);
}

static void check_accepted(const struct judge_policy *policy, const struct judge_verdict *v)
{
    STACK_OF(X509) *chain = read_chain(&v->chain);
    CHECK((size_t)sk_X509_num(chain) == v->chain_length + 1);
    check_blocks(v);
    X509 *leaf = sk_X509_value(chain, 0);
    check_leaf(v, leaf);
    check_key(v, leaf);
    check_chain(policy, v, leaf, chain);
    check_again(policy, v);
    if (policy == &policies[POLICY_INSTALLED])
        CHECK(v->not_before >= installed_since);
    sk_X509_pop_free(chain, X509_free);
}

static void check_refused(const struct judge_verdict *v)
{
    CHECK(v->why[0] && fuzz_is_printable(v->why));
    CHECK(!v->chain.len && !v->key.len);
    CHECK(v->reason < JUDGE_CRASHED);
    CHECK(strcmp(judge_reason_str(v->reason), "unknown") != 0);
}

static const struct judge_policy *choose(const uint8_t *data, size_t size)
{
    bool chosen = size > 8 && memcmp(data, "policy=", 7) == 0;
    return &policies[chosen ? data[7] % LENGTH(policies) : 0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_VERDICT struct judge_verdict verdict;
    struct error err;
    const struct judge_policy *policy = choose(data, size);
    CHECK(judge(data, size, policy, NOW, &verdict, &err) == 0);
    CHECK(ERR_peek_error() == 0);
    openssl_said(verdict.why, strcspn(verdict.why, "0123456789("));
    if (verdict.reason != JUDGE_ACCEPTED) {
        check_refused(&verdict);
        return 0;
    }
    check_accepted(policy, &verdict);
    check_clock(data, size, policy, &verdict);
    return 0;
}

/* ---- mutation ---- */

/* Signs a changed certificate, so that it is looked at and not only turned away. */
static void sign_anew(struct pem_block *block, uint64_t *random)
{
    uint8_t out[PEM_DER_MAX], signature[256];
    size_t pos = 0, start, len, tbs_len, n = sizeof signature, body = 0;
    if (!strstr(block->label, "CERTIFICATE") || fuzz_random(random, 4) == 0 ||
        !pem_element(block->der, block->len, &pos, &start, &len))
        return;
    size_t end = start + len, tbs = start, skipped;
    pos = start;
    if (!pem_element(block->der, end, &pos, &skipped, &tbs_len) || pos - tbs > PEM_DER_MAX - 512)
        return;
    size_t algorithm = pos;
    if (!pem_element(block->der, end, &pos, &skipped, &len))
        return;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, issuer_key) == 1 &&
              EVP_DigestSign(ctx, signature, &n, block->der + tbs, algorithm - tbs) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return;
    size_t signed_len = pos - tbs;
    body = signed_len + 3 + n;
    size_t head = pem_header(out, 0x30, body);
    memcpy(out + head, block->der + tbs, signed_len);
    uint8_t bits[] = {0x03, (uint8_t)(n + 1), 0};
    memcpy(out + head + signed_len, bits, sizeof bits);
    memcpy(out + head + signed_len + sizeof bits, signature, n);
    block->len = head + body;
    memcpy(block->der, out, block->len);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    return pem_mutate(data, size, max_size, seed, sign_anew);
}
