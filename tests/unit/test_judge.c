/* deployer/judge and deployer/judge_confined: the verdict on every sort of bundle, and what comes out. */
#include <stdbool.h>

#include "tests/unit/testing.h"

#include "tests/unit/fixtures.h"

#include "deployer/judge.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define NAME "mail.example.org"

struct judged {
    const char *file;
    enum judge_reason reason;
    const char *why;       /* a part of it */
    const char *names[4];  /* NAME when there is none */
    const char *trust;     /* trust.pem when NULL */
    const char *installed; /* a fixture's name */
};

#define ACCEPTS(name, ...)                                                                                   \
    {                                                                                                        \
        .file = name, .reason = JUDGE_ACCEPTED, .why = "", __VA_ARGS__                                       \
    }
#define REFUSES(name, word, part, ...)                                                                       \
    {                                                                                                        \
        .file = name, .reason = JUDGE_##word, .why = part, __VA_ARGS__                                       \
    }

static const struct judged cases[] = {
    ACCEPTS("good"),
    /* keys */
    ACCEPTS("key-p256"),
    ACCEPTS("key-p384"),
    ACCEPTS("key-p521"),
    ACCEPTS("key-ed25519"),
    ACCEPTS("key-rsa2048"),
    ACCEPTS("key-rsa4096"),
    REFUSES("key-rsa1024", KEY_UNUSABLE, "its key is RSA 1024; accepted are RSA of 2048 to 4096 bits"),
    REFUSES("key-rsa4484", KEY_UNUSABLE, "RSA 4484"),
    REFUSES("key-rsa8676", KEY_UNUSABLE, "RSA 8676"),
    REFUSES("key-rsa15466", KEY_UNUSABLE, "RSA 15466"),
    REFUSES("key-rsa19630", KEY_UNUSABLE, "RSA 19630"),
    REFUSES("key-p192", KEY_UNUSABLE, "prime192v1"),
    REFUSES("key-secp256k1", KEY_UNUSABLE, "secp256k1"),
    REFUSES("key-ed448", KEY_UNUSABLE, "ED448"),
    REFUSES("key-x25519", KEY_UNUSABLE, "X25519"),
    REFUSES("key-dsa", KEY_UNUSABLE, "the private key is neither RSA nor EC nor Ed25519"),
    REFUSES("key-forged-ec", KEY_NOT_PROVEN, "the certificate's key does not verify"),
    REFUSES("key-forged-p384", KEY_NOT_PROVEN, "the certificate's key does not verify"),
    REFUSES("key-forged-rsa", KEY_NOT_PROVEN, "the certificate's key does not verify"),
    REFUSES("key-missing", NO_KEY, "it holds no private key"),
    REFUSES("key-wrong", KEY_MISMATCH, "belongs to none of its certificates"),
    REFUSES("key-wrong-kind", KEY_MISMATCH, "belongs to none of its certificates"),
    REFUSES("key-encrypted", ENCRYPTED_KEY, "encrypted"),
    REFUSES("key-encrypted-traditional", ENCRYPTED_KEY, "encrypted"),
    REFUSES("key-encrypted-mislabelled", MALFORMED, "the private key cannot be parsed"),
    REFUSES("key-encrypted-second", MALFORMED, "more than one private key"),
    REFUSES("keys-two", MALFORMED, "more than one private key"),
    REFUSES("keys-two-equal", MALFORMED, "more than one private key"),
    REFUSES("key-trailing", MALFORMED, "the private key cannot be parsed: trailing bytes"),
    REFUSES("key-garbage", MALFORMED, "the private key cannot be parsed"),
    REFUSES("key-empty", MALFORMED, "a PEM block cannot be parsed: it is empty"),
    ACCEPTS("key-first"),
    ACCEPTS("key-between"),
    ACCEPTS("key-sec1"),
    ACCEPTS("key-pkcs1"),
    ACCEPTS("parameters"),
    REFUSES("parameters-empty", MALFORMED, "a PEM block cannot be parsed: it is empty"),
    /* PEM and DER */
    ACCEPTS("crlf"),
    ACCEPTS("label-old"),
    REFUSES("label-trusted", NO_CERTIFICATE, "it holds no certificate"),
    REFUSES("label-mixed", MALFORMED, "a PEM block cannot be parsed: bad end line"),
    REFUSES("empty", NO_CERTIFICATE, "it holds no certificate"),
    REFUSES("garbage", NO_CERTIFICATE, "it holds no certificate"),
    REFUSES("begin-only", MALFORMED, "a PEM block cannot be parsed"),
    REFUSES("base64-broken", MALFORMED, "a PEM block cannot be parsed: bad base64 decode"),
    REFUSES("trailing", MALFORMED, "a certificate cannot be parsed: trailing bytes"),
    REFUSES("cut-der", MALFORMED, "a certificate cannot be parsed"),
    ACCEPTS("certificates-16"),
    REFUSES("certificates-17", MALFORMED, "more than 16 certificates"),
    REFUSES("key-only", NO_CERTIFICATE, "it holds no certificate"),
    /* names */
    ACCEPTS("wildcard"),
    ACCEPTS("wildcard", .names = {NAME, "*.example.org"}),
    REFUSES("wildcard", NOT_COVERED, "it does not cover a.mail.example.org",
            .names = {NAME, "a.mail.example.org"}),
    REFUSES("wildcard", NOT_COVERED, "it does not cover example.org (it covers *.example.org)",
            .names = {"example.org"}),
    REFUSES("good", NOT_COVERED, "it does not cover *.example.org", .names = {"*.example.org"}),
    ACCEPTS("several", .names = {"autodiscover.example.org", NAME, "imap.example.net"}),
    REFUSES(
        "several", NOT_COVERED,
        "it does not cover example.net (it covers mail.example.org, autodiscover.example.org, *.example.net)",
        .names = {NAME, "example.net", "autodiscover.example.org"}),
    REFUSES("several", NOT_COVERED, "it does not cover www.example.org", .names = {NAME, "www.example.org"}),
    ACCEPTS("upper"),
    ACCEPTS("many"),
    REFUSES("many", NOT_COVERED, "it does not cover n299.example.org (it covers n0.",
            .names = {"n299.example.org"}),
    REFUSES("other-name", NOT_COVERED, "it does not cover " NAME " (it covers www.example.org)"),
    REFUSES("wildcard-partial", NOT_COVERED, "it covers m*.example.org"),
    REFUSES("wildcard-inner", NOT_COVERED, "it covers mail.*.org"),
    REFUSES("wildcard-top", NOT_COVERED, "it covers *.org", .names = {"example.org"}),
    REFUSES("cn-only", NOT_COVERED, "there is no dNSName, and the CN does not count"),
    REFUSES("ip-only", NOT_COVERED, "there is no dNSName, and the CN does not count"),
    REFUSES("san-nul", NOT_COVERED, "it covers mail.example.org\\x00evil.test"),
    REFUSES("san-broken", NOT_COVERED, "there is no dNSName"),
    REFUSES("san-escape", NOT_COVERED, "(it covers www.example.org\\x0d\\x0a250 ok)"),
    ACCEPTS("subject-empty"),
    /* validity, purpose, the certificate itself */
    REFUSES("expired", EXPIRED, "it expired at 20"),
    REFUSES("not-yet-valid", NOT_YET_VALID, "it is not valid before 20"),
    ACCEPTS("purpose-server"),
    ACCEPTS("purpose-none"),
    REFUSES("purpose-client", PURPOSE, "(certificate 0 of the chain, the leaf being 0)"),
    REFUSES("chain-purpose", PURPOSE, "(certificate 1 of the chain, the leaf being 0)"),
    REFUSES("ca-as-leaf", CA_AS_LEAF, "a CA's certificate"),
    ACCEPTS("serial-negative"),
    REFUSES("signature", UNTRUSTED, "certificate signature failure (certificate 0"),
    /* several leaves */
    ACCEPTS("leaves-other-first"),
    ACCEPTS("leaves-other-last"),
    ACCEPTS("leaves-younger-first"),
    ACCEPTS("leaves-younger-last"),
    ACCEPTS("leaves-ca-first"),
    ACCEPTS("leaves-ca-last"),
    /* chains */
    ACCEPTS("chain-root"),
    ACCEPTS("chain-root-first"),
    ACCEPTS("chain-unrelated"),
    ACCEPTS("chain-deep"),
    ACCEPTS("chain-reversed"),
    ACCEPTS("chain-swapped"),
    ACCEPTS("chain-renewed-first"),
    ACCEPTS("chain-renewed-last"),
    REFUSES("chain-missing", UNTRUSTED, "send the full chain (fullchain.pem)"),
    REFUSES("chain-missing-lower", UNTRUSTED, "send the full chain (fullchain.pem)"),
    REFUSES("good", UNTRUSTED, "send the full chain (fullchain.pem), or add the CA to the trust file",
            .trust = "trust-intermediate.pem"),
    REFUSES("chain-gap", UNTRUSTED, "send the full chain (fullchain.pem)"),
    REFUSES("chain-expired", UNTRUSTED, "certificate has expired (certificate 1"),
    REFUSES("chain-leaf-issues", UNTRUSTED, "invalid CA certificate (certificate 1"),
    REFUSES("stranger", UNTRUSTED, "add the CA to the trust file"),
    REFUSES("stranger-root", UNTRUSTED, "add the CA to the trust file"),
    REFUSES("twin", UNTRUSTED, "certificate signature failure"),
    REFUSES("self-signed", UNTRUSTED, "only certificates of the CAs in the trust file are installed"),
    ACCEPTS("cross", .trust = "trust-x.pem"),
    ACCEPTS("cross-untrusted", .trust = "trust-y.pem"), /* anybody could have signed the upper one */
    ACCEPTS("cross", .trust = "trust-xy.pem"),
    REFUSES("cross", UNTRUSTED, ""),
    ACCEPTS("cross-roots", .trust = "trust-x.pem"),
    ACCEPTS("cross-loop", .trust = "trust-x.pem"),
    REFUSES("cross-missing", UNTRUSTED, "", .trust = "trust-x.pem"),
    REFUSES("weak-sha1-leaf", WEAK, "(certificate 0 of the chain"),
    REFUSES("weak-sha1-chain", WEAK, "(certificate 1 of the chain", .trust = "trust-weak.pem"),
    REFUSES("weak-rsa1024", WEAK, "(certificate 1 of the chain", .trust = "trust-weak.pem"),
    ACCEPTS("weak-root-only", .trust = "trust-weak.pem"),
    /* the floor that the installed certificate sets */
    ACCEPTS("older"),
    REFUSES("older", OLDER, "it began at 20", .installed = "good"),
    REFUSES("good", OLDER, "the installed one at 20", .installed = "younger"),
    ACCEPTS("good", .installed = "good"),
    ACCEPTS("older", .installed = "older"),
    ACCEPTS("equal", .installed = "good"),
    ACCEPTS("younger", .installed = "good"),
    REFUSES("older", OLDER, "", .installed = "key-missing"),
    REFUSES("older", OLDER, "", .installed = "key-garbage"),
    ACCEPTS("older", .installed = "expired"),
    ACCEPTS("older", .installed = "not-yet-valid"),
    ACCEPTS("older", .installed = "stranger"),
    ACCEPTS("older", .installed = "chain-missing"),
    ACCEPTS("older", .installed = "self-signed"),
    ACCEPTS("older", .installed = "other"),
    ACCEPTS("older", .installed = "ca-as-leaf"),
    ACCEPTS("older", .installed = "purpose-client"),
    ACCEPTS("older", .installed = "weak-sha1-leaf"),
    ACCEPTS("older", .installed = "garbage"),
    ACCEPTS("older", .installed = "cut-der"),
    ACCEPTS("older", .installed = "empty"),
    /* what is wrong with the key is told before what is wrong with the certificate */
    REFUSES("key-rsa1024", KEY_UNUSABLE, "", .names = {"www.example.org"}),
    REFUSES("key-forged-ec", NOT_COVERED, "", .names = {"www.example.org"}),
};

typedef int judge_fn(const void *, size_t, const struct judge_policy *, time_t, struct judge_verdict *,
                     struct error *);

static struct trust *load_trust(const char *name)
{
    struct trust *trust = NULL;
    struct error err = {.text = ""};
    int rc = trust_new(&trust, fixture_path(name ? name : "trust.pem"), &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    return trust;
}

static void judge_case(const struct judged *c, judge_fn *fn, struct judge_verdict *out)
{
    AUTO_TRUST struct trust *trust = load_trust(c->trust);
    AUTO_SECRET struct secret bundle;
    AUTO_SECRET struct secret installed = {0};
    struct error err = {.text = ""};
    fixture_read(c->file, ".pem", &bundle);
    if (c->installed)
        fixture_read(c->installed, ".pem", &installed);
    static const char *const usual[] = {NAME};
    struct judge_policy policy = {
        .trust = trust,
        .names = c->names[0] ? c->names : usual,
        .name_count = 1,
        .installed = (const char *)installed.data,
        .installed_len = installed.len,
    };
    while (c->names[0] && policy.name_count < COUNT(c->names) && c->names[policy.name_count])
        policy.name_count++;
    int rc = fn(bundle.data, bundle.len, &policy, fixture_now(), out, &err);
    if (rc)
        fail_msg("%s: %d: %s", c->file, rc, err.text);
}

static void same_text(const char *file, const char *suffix, const struct secret *got)
{
    AUTO_SECRET struct secret expected;
    fixture_read(file, suffix, &expected);
    if (got->len != expected.len || memcmp(got->data, expected.data, got->len) != 0)
        fail_msg("%s%s is not what came out:\n%s", file, suffix, got->data ? (char *)got->data : "nothing");
}

/* Byte for byte what fixtures.py expects: leaf first, in order, no root, nothing of the text in between. */
static void check_accepted(const struct judged *c, const struct judge_verdict *v)
{
    struct fixture_info info = fixture_info(c->file);
    same_text(c->file, ".chain", &v->chain);
    same_text(c->file, ".key", &v->key);
    assert_int_equal(strncmp((char *)v->key.data, "-----BEGIN PRIVATE KEY-----\n", 28), 0);
    assert_string_equal(v->fingerprint, info.fingerprint);
    assert_string_equal(v->spki, info.spki);
    assert_int_equal(v->not_before, info.not_before);
    assert_int_equal(v->not_after, info.not_after);
    assert_int_equal(v->chain_length, info.chain_length);
    assert_true(v->key_type[0] && v->issuer[0]);
}

static void check_verdict(const struct judged *c, const struct judge_verdict *v)
{
    if (v->reason != c->reason)
        fail_msg("%s (installed %s): expected %s, got %s: %s", c->file, c->installed ? c->installed : "none",
                 judge_reason_str(c->reason), judge_reason_str(v->reason), v->why);
    if (!strstr(v->why, c->why))
        fail_msg("%s: \"%s\" does not hold \"%s\"", c->file, v->why, c->why);
    for (const char *p = v->why; *p; p++)
        assert_true(*p >= 0x20 && *p < 0x7f);
    if (v->reason == JUDGE_ACCEPTED) {
        assert_string_equal(v->why, "");
        check_accepted(c, v);
        return;
    }
    assert_true(v->why[0]);
    assert_int_equal(v->chain.len + v->key.len, 0);
    assert_string_equal(v->fingerprint, "");
}

static void test_verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_VERDICT struct judge_verdict v = {0};
        judge_case(&cases[i], judge, &v);
        check_verdict(&cases[i], &v);
    }
}

static void test_confined_verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_VERDICT struct judge_verdict plain = {0};
        AUTO_VERDICT struct judge_verdict confined = {0};
        judge_case(&cases[i], judge, &plain);
        judge_case(&cases[i], judge_confined, &confined);
        check_verdict(&cases[i], &confined);
        assert_string_equal(confined.why, plain.why);
        assert_string_equal(confined.issuer, plain.issuer);
        assert_string_equal(confined.key_type, plain.key_type);
    }
}

/* ---- one bundle, judged in several ways ---- */

struct bench {
    struct trust *trust;
    struct secret good;
    struct judge_policy policy;
    time_t now;
};

static int bench_setup(void **state)
{
    static const char *const names[] = {NAME};
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->trust = load_trust(NULL);
    fixture_read("good", ".pem", &b->good);
    b->policy = (struct judge_policy){.trust = b->trust, .names = names, .name_count = 1};
    b->now = fixture_now();
    *state = b;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *b = *state;
    trust_free(b->trust);
    secret_wipe(&b->good);
    free(b);
    return 0;
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

static enum judge_reason reason_of(const struct bench *b, const void *bytes, size_t len, time_t now)
{
    AUTO_VERDICT struct judge_verdict v = {0};
    struct error err;
    assert_int_equal(judge(bytes, len, &b->policy, now, &v, &err), 0);
    assert_true(v.reason == JUDGE_ACCEPTED || v.why[0]);
    return v.reason;
}

static void test_validity_to_the_second(void **state)
{
    const struct bench *b = *state;
    struct fixture_info info = fixture_info("good");
    const unsigned char *p = b->good.data;
    size_t n = b->good.len;
    assert_int_equal(reason_of(b, p, n, info.not_before - 1), JUDGE_NOT_YET_VALID);
    assert_int_equal(reason_of(b, p, n, info.not_before), JUDGE_ACCEPTED);
    assert_int_equal(reason_of(b, p, n, info.not_after - 1), JUDGE_ACCEPTED);
    assert_int_equal(reason_of(b, p, n, info.not_after), JUDGE_EXPIRED);
}

/* The chain, too, is judged by the clock that is given. */
static void test_validity_of_the_chain(void **state)
{
    const struct bench *b = *state;
    AUTO_SECRET struct secret pem;
    fixture_read("chain-expired", ".pem", &pem);
    assert_int_equal(reason_of(b, pem.data, pem.len, b->now - 2 * 86400), JUDGE_ACCEPTED);
    assert_int_equal(reason_of(b, pem.data, pem.len, b->now), JUDGE_UNTRUSTED);
}

/* Also of the exact size in memory, so that a sanitizer sees a read beyond it. */
static enum judge_reason reason_of_copy(const struct bench *b, const void *bytes, size_t len)
{
    AUTO_FREE void *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return reason_of(b, copy, len, b->now);
}

static void cut_everywhere(const struct bench *b, const char *file)
{
    AUTO_SECRET struct secret pem;
    fixture_read(file, ".pem", &pem);
    assert_int_equal(reason_of_copy(b, pem.data, pem.len), JUDGE_ACCEPTED);
    for (size_t n = 0; n < pem.len - 1; n += 100) /* the last byte is a line feed, which nothing needs */
        if (reason_of_copy(b, pem.data, n) == JUDGE_ACCEPTED)
            fail_msg("%s is accepted when cut to %zu of %zu bytes", file, n, pem.len);
}

static void test_truncated(void **state)
{
    cut_everywhere(*state, "good");
    cut_everywhere(*state, "key-first");
    cut_everywhere(*state, "chain-reversed");
    cut_everywhere(*state, "key-rsa2048");
}

/* Whatever bytes change: no crash, and never another key or leaf than the one that was sent. */
static void test_damaged(void **state)
{
    const struct bench *b = *state;
    struct fixture_info info = fixture_info("good");
    AUTO_FREE unsigned char *copy = malloc(b->good.len);
    assert_non_null(copy);
    for (size_t i = 0; i < b->good.len; i += 3) {
        AUTO_VERDICT struct judge_verdict v = {0};
        struct error err;
        memcpy(copy, b->good.data, b->good.len);
        copy[i] ^= (unsigned char)(1U << (i % 8));
        assert_int_equal(judge(copy, b->good.len, &b->policy, b->now, &v, &err), 0);
        if (v.reason != JUDGE_ACCEPTED)
            continue;
        assert_string_equal(v.fingerprint, info.fingerprint);
        same_text("good", ".chain", &v.chain);
    }
}

static void test_nothing(void **state)
{
    const struct bench *b = *state;
    assert_int_equal(reason_of(b, NULL, 0, b->now), JUDGE_NO_CERTIFICATE);
    assert_int_equal(reason_of(b, "", 0, b->now), JUDGE_NO_CERTIFICATE);
    assert_int_equal(reason_of(b, b->good.data, (size_t)INT32_MAX + 2, b->now), JUDGE_MALFORMED);
}

/* What the deployer does under its lock: what came out is judged once more. */
static void test_output_is_accepted_again(void **state)
{
    const struct bench *b = *state;
    AUTO_VERDICT struct judge_verdict first = {0};
    AUTO_VERDICT struct judge_verdict second = {0};
    AUTO_SECRET struct secret bundle = SECRET(2 * SECRET_MAX);
    struct error err;
    assert_int_equal(judge(b->good.data, b->good.len, &b->policy, b->now, &first, &err), 0);
    assert_int_equal(secret_append(&bundle, first.chain.data, first.chain.len), 0);
    assert_int_equal(secret_append(&bundle, first.key.data, first.key.len), 0);
    assert_int_equal(judge(bundle.data, bundle.len, &b->policy, b->now, &second, &err), 0);
    assert_int_equal(second.reason, JUDGE_ACCEPTED);
    assert_string_equal(second.fingerprint, first.fingerprint);
    assert_string_equal((char *)second.chain.data, (char *)first.chain.data);
    assert_string_equal((char *)second.key.data, (char *)first.key.data);
}

static void test_text_does_not_survive(void **state)
{
    const struct bench *b = *state;
    AUTO_VERDICT struct judge_verdict v = {0};
    AUTO_SECRET struct secret sent;
    AUTO_SECRET struct secret marker;
    struct error err;
    fixture_read("crlf", ".pem", &sent);
    fixture_read("good", ".survivor", &marker);
    assert_has((char *)sent.data, (char *)marker.data);
    assert_int_equal(judge(sent.data, sent.len, &b->policy, b->now, &v, &err), 0);
    assert_lacks((char *)v.chain.data, (char *)marker.data);
    assert_lacks((char *)v.key.data, (char *)marker.data);
    assert_lacks((char *)v.chain.data, "\r");
}

static void refused_quickly(const struct judged *large)
{
    struct rusage before, after;
    AUTO_VERDICT struct judge_verdict v = {0};
    getrusage(RUSAGE_SELF, &before);
    judge_case(large, judge, &v);
    getrusage(RUSAGE_SELF, &after);
    check_verdict(large, &v);
    assert_true(after.ru_utime.tv_sec - before.ru_utime.tv_sec <= 1);
}

/* Large keys are refused before anything is done with them: a signature takes seconds, parsing a DSA key
 * hours. */
static void test_oversized_is_refused_quickly(void **state)
{
    static const struct judged rsa = REFUSES("key-rsa15466", KEY_UNUSABLE, "");
    static const struct judged dsa = REFUSES("key-dsa", KEY_UNUSABLE, "");
    (void)state;
    refused_quickly(&rsa);
    refused_quickly(&dsa);
}

static void test_words(void **state)
{
    (void)state;
    for (int i = JUDGE_ACCEPTED; i <= JUDGE_CRASHED; i++) {
        const char *word = judge_reason_str((enum judge_reason)i);
        assert_true(word && word[0]);
        assert_string_not_equal(word, "unknown");
        for (int other = 0; other < i; other++)
            assert_string_not_equal(word, judge_reason_str((enum judge_reason)other));
    }
    assert_string_equal(judge_reason_str((enum judge_reason)(JUDGE_CRASHED + 1)), "unknown");
    assert_string_equal(judge_reason_str((enum judge_reason) - 1), "unknown");
}

/* ---- confined ---- */

static size_t count_descriptors(void)
{
    AUTO_DIR DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    return count;
}

static void test_crash_of_the_child(void **state)
{
    struct bench *b = *state;
    AUTO_VERDICT struct judge_verdict v = {0};
    struct error err;
    size_t descriptors = count_descriptors();
    b->policy.trust = (struct trust *)8;             /* nothing is mapped there */
    void (*handler)(int) = signal(SIGSEGV, SIG_DFL); /* cmocka's or a sanitizer's would want to say more */
    assert_int_equal(judge_confined(b->good.data, b->good.len, &b->policy, b->now, &v, &err), 0);
    signal(SIGSEGV, handler);
    assert_int_equal(v.reason, JUDGE_CRASHED);
    assert_string_equal(v.why, "the judge died on it");
    assert_int_equal(count_descriptors(), descriptors);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* ---- trust files ---- */

static void refuses_trust(const char *path, const char *why)
{
    AUTO_TRUST struct trust *trust = NULL;
    struct error err = {.text = ""};
    assert_int_equal(trust_new(&trust, path, &err), E_CONFIG);
    assert_null(trust);
    assert_has(err.text, path);
    assert_has(err.text, why);
}

static void test_trust_files(void **state)
{
    (void)state;
    refuses_trust("/nonexistent/ca.crt", "No such file");
    refuses_trust(fixture_path("trust-empty.pem"), "no certificate");
    refuses_trust(fixture_path("trust-garbage.pem"), "no certificate");
    refuses_trust(fixture_path("trust-broken.pem"), "load trusted CAs: ");
    refuses_trust(fixture_path("key-only.pem"), "no certificate");
    trust_free(NULL);
}

static void verifies(const struct bench *b, const char *file, time_t now, int fault, const char *why)
{
    AUTO_CERT struct cert *c = NULL;
    AUTO_SECRET struct secret pem;
    struct error err = {.text = ""};
    fixture_read(file, ".pem", &pem);
    assert_int_equal(cert_parse(pem.data, pem.len, CERT_KEY_IGNORED, &c, &err), 0);
    assert_int_equal(trust_verify(b->trust, c, now, &err), fault);
    assert_has(err.text, why);
}

/* What the judge has refused before it asks. */
static void test_trust_alone(void **state)
{
    const struct bench *b = *state;
    verifies(b, "good", b->now, 0, "");
    verifies(b, "key-rsa1024", b->now, TRUST_WEAK, "key too weak (certificate 0");
    verifies(b, "expired", b->now, 0, ""); /* the leaf's validity is the judge's */
    verifies(b, "not-yet-valid", b->now, 0, "");
    verifies(b, "good", b->now - 400 * 86400, TRUST_CHAIN, "not yet valid (certificate 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_confined_verdicts),
        WITH_BENCH(test_validity_to_the_second),
        WITH_BENCH(test_validity_of_the_chain),
        WITH_BENCH(test_truncated),
        WITH_BENCH(test_damaged),
        WITH_BENCH(test_nothing),
        WITH_BENCH(test_output_is_accepted_again),
        WITH_BENCH(test_text_does_not_survive),
        cmocka_unit_test(test_oversized_is_refused_quickly),
        cmocka_unit_test(test_words),
        WITH_BENCH(test_crash_of_the_child),
        cmocka_unit_test(test_trust_files),
        WITH_BENCH(test_trust_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
