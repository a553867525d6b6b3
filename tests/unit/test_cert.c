/* common/cert: what is parsed, chosen and ordered, what is said of it, and what is left of a key in memory.
 */
#include <stdbool.h>

#include "tests/unit/testing.h"

#include "tests/unit/fixtures.h"

#include "common/cert.h"

#include <errno.h>

static int parse(const char *file, enum cert_want_key want_key, struct cert **out, struct error *err)
{
    AUTO_SECRET struct secret pem;
    fixture_read(file, ".pem", &pem);
    return cert_parse(pem.data, pem.len, want_key, out, err);
}

static struct cert *parsed(const char *file, enum cert_want_key want_key)
{
    struct cert *c = NULL;
    struct error err = {.text = ""};
    int rc = parse(file, want_key, &c, &err);
    if (rc)
        fail_msg("%s: %d: %s", file, rc, err.text);
    return c;
}

static void test_faults(void **state)
{
    static const struct {
        const char *file;
        int fault;
    } faults[] = {
        {"empty", CERT_NONE},
        {"garbage", CERT_NONE},
        {"key-only", CERT_NONE},
        {"label-trusted", CERT_NONE},
        {"key-missing", CERT_NO_KEY},
        {"key-encrypted", CERT_ENCRYPTED_KEY},
        {"key-encrypted-traditional", CERT_ENCRYPTED_KEY},
        {"keys-two", CERT_SEVERAL_KEYS},
        {"keys-two-equal", CERT_SEVERAL_KEYS},
        {"key-encrypted-second", CERT_SEVERAL_KEYS},
        {"key-encrypted-mislabelled", CERT_MALFORMED},
        {"key-garbage", CERT_MALFORMED},
        {"key-trailing", CERT_MALFORMED},
        {"trailing", CERT_MALFORMED},
        {"cut-der", CERT_MALFORMED},
        {"begin-only", CERT_MALFORMED},
        {"base64-broken", CERT_MALFORMED},
        {"certificates-17", CERT_TOO_MANY},
        {"key-wrong", CERT_KEY_MISMATCH},
        {"key-wrong-kind", CERT_KEY_MISMATCH},
        {"key-dsa", CERT_KEY_KIND},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct cert *c = NULL;
        struct error err = {.text = ""};
        int rc = parse(faults[i].file, CERT_KEY_REQUIRED, &c, &err);
        if (rc != faults[i].fault || c || !err.text[0])
            fail_msg("%s: %d instead of %d: %s", faults[i].file, rc, faults[i].fault, err.text);
    }
}

/* A key is not looked at when it is not wanted, and the leaf is what comes first. */
static void test_key_ignored(void **state)
{
    static const char *const files[] = {"good",          "key-missing", "key-first",   "key-wrong",
                                        "key-encrypted", "keys-two",    "key-garbage", "key-trailing"};
    (void)state;
    struct fixture_info good = fixture_info("good");
    for (size_t i = 0; i < COUNT(files); i++) {
        AUTO_CERT struct cert *c = parsed(files[i], CERT_KEY_IGNORED);
        assert_string_equal(cert_info(c)->fingerprint, good.fingerprint);
        assert_int_equal(cert_info(c)->chain_length, 1);
    }
    AUTO_CERT struct cert *first = parsed("leaves-other-first", CERT_KEY_IGNORED);
    assert_string_equal(cert_info(first)->names[0], "www.example.org");
    AUTO_CERT struct cert *root = parsed("chain-root-first", CERT_KEY_IGNORED);
    assert_true(cert_info(root)->is_ca);
}

static void test_info(void **state)
{
    static const struct {
        const char *file, *key_type;
    } kinds[] = {
        {"key-p256", "P-256"},      {"key-p384", "P-384"},       {"key-p521", "P-521"},
        {"key-ed25519", "ED25519"}, {"key-rsa2048", "RSA 2048"}, {"key-rsa4096", "RSA 4096"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        AUTO_CERT struct cert *c = parsed(kinds[i].file, CERT_KEY_REQUIRED);
        const struct cert_info *info = cert_info(c);
        struct fixture_info expected = fixture_info(kinds[i].file);
        assert_string_equal(info->fingerprint, expected.fingerprint);
        assert_string_equal(info->spki, expected.spki);
        assert_int_equal(info->not_before, expected.not_before);
        assert_int_equal(info->not_after, expected.not_after);
        assert_int_equal(info->chain_length, 1);
        assert_string_equal(info->key_type, kinds[i].key_type);
        assert_string_equal(info->issuer, "CN=Lab Intermediate");
        assert_false(info->is_ca);
        assert_int_equal(info->name_count, 1);
        assert_string_equal(info->names[0], "mail.example.org");
        assert_null(info->names[1]);
    }
}

static const char *only_name(const char *file, size_t count)
{
    static char name[300];
    AUTO_CERT struct cert *c = parsed(file, CERT_KEY_REQUIRED);
    assert_int_equal(cert_info(c)->name_count, count);
    snprintf(name, sizeof name, "%s", count ? cert_info(c)->names[count - 1] : "none");
    return name;
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(only_name("upper", 1), "mail.example.org");
    assert_string_equal(only_name("several", 3), "*.example.net");
    assert_string_equal(only_name("san-nul", 1), "mail.example.org\\x00evil.test");
    assert_string_equal(only_name("san-escape", 1), "www.example.org\\x0d\\x0a250 ok");
    assert_string_equal(only_name("cn-only", 0), "none");
    assert_string_equal(only_name("ip-only", 0), "none");
    assert_string_equal(only_name("san-broken", 0), "none");
    assert_string_equal(only_name("many", CERT_MAX_NAMES), "n255.example.org");
    AUTO_CERT struct cert *ca = parsed("ca-as-leaf", CERT_KEY_REQUIRED);
    assert_true(cert_info(ca)->is_ca);
}

static void test_covers(void **state)
{
    static const struct {
        const char *file, *name;
        bool covers;
    } rows[] = {
        {"good", "mail.example.org", true},
        {"good", "example.org", false},
        {"good", "a.mail.example.org", false},
        {"good", "*.example.org", false},
        {"upper", "mail.example.org", true},
        {"wildcard", "mail.example.org", true},
        {"wildcard", "*.example.org", true},
        {"wildcard", "example.org", false},
        {"wildcard", "a.b.example.org", false},
        {"wildcard-partial", "mail.example.org", false},
        {"wildcard-inner", "mail.example.org", false},
        {"wildcard-top", "example.org", false},
        {"several", "autodiscover.example.org", true},
        {"several", "imap.example.net", true},
        {"several", "www.example.org", false},
        {"many", "n298.example.org", true}, /* beyond CERT_MAX_NAMES */
        {"many", "n299.example.org", false},
        {"cn-only", "mail.example.org", false},
        {"ip-only", "mail.example.org", false},
        {"ip-only", "192.0.2.1", false},
        {"san-nul", "mail.example.org", false},
        {"subject-empty", "mail.example.org", true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        AUTO_CERT struct cert *c = parsed(rows[i].file, CERT_KEY_REQUIRED);
        if (cert_covers(c, rows[i].name) != rows[i].covers)
            fail_msg("%s, %s: %d expected", rows[i].file, rows[i].name, rows[i].covers);
    }
}

static void test_first_uncovered(void **state)
{
    static const char *const names[] = {"mail.example.org", "www.example.org", "other.example.org"};
    (void)state;
    AUTO_CERT struct cert *c = parsed("several", CERT_KEY_REQUIRED);
    assert_ptr_equal(cert_first_uncovered(c, names, 3), names[1]);
    assert_null(cert_first_uncovered(c, names, 1));
    assert_null(cert_first_uncovered(c, NULL, 0));
}

static void test_keys(void **state)
{
    static const struct {
        const char *file;
        bool usable, proves;
    } rows[] = {
        {"key-p256", true, true},       {"key-p384", true, true},         {"key-p521", true, true},
        {"key-ed25519", true, true},    {"key-rsa2048", true, true},      {"key-rsa4096", true, true},
        {"key-forged-ec", true, false}, {"key-forged-p384", true, false}, {"key-forged-rsa", true, false},
        {"key-rsa1024", false, true},   {"key-secp256k1", false, true},   {"key-x25519", false, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        AUTO_CERT struct cert *c = parsed(rows[i].file, CERT_KEY_REQUIRED);
        if (cert_key_is_usable(c) != rows[i].usable || cert_key_proves(c) != rows[i].proves)
            fail_msg("%s: usable %d, proves %d", rows[i].file, cert_key_is_usable(c), cert_key_proves(c));
    }
    AUTO_CERT struct cert *large = parsed("key-rsa4484", CERT_KEY_REQUIRED);
    assert_false(cert_key_is_usable(large));
    AUTO_CERT struct cert *without = parsed("key-rsa4484", CERT_KEY_IGNORED);
    assert_false(cert_key_is_usable(without));
}

static void test_output(void **state)
{
    (void)state;
    AUTO_CERT struct cert *c = parsed("chain-reversed", CERT_KEY_REQUIRED);
    AUTO_SECRET struct secret out, chain, key;
    struct error err;
    fixture_read("chain-reversed", ".chain", &chain);
    fixture_read("chain-reversed", ".key", &key);
    secret_init(&out, SECRET_MAX);
    assert_int_equal(secret_append(&out, "before ", 7), 0);
    assert_int_equal(cert_write_chain(c, &out, &err), 0);
    assert_int_equal(out.len, 7 + chain.len);
    assert_string_equal((char *)out.data + 7, (char *)chain.data);
    assert_int_equal(cert_write_key(c, &out, &err), 0);
    assert_string_equal((char *)out.data + 7 + chain.len, (char *)key.data);
}

static void test_output_has_a_maximum(void **state)
{
    (void)state;
    AUTO_CERT struct cert *c = parsed("good", CERT_KEY_REQUIRED);
    AUTO_SECRET struct secret out = SECRET(100);
    struct error err = {.text = ""};
    assert_int_equal(cert_write_chain(c, &out, &err), E_FAILED);
    assert_has(err.text, "more than 100 bytes");
    assert_int_equal(cert_write_key(c, &out, &err), E_FAILED);
    assert_int_equal(out.len, 0);
}

static void test_sha256(void **state)
{
    char digest[65];
    (void)state;
    assert_true(cert_sha256(digest, "abc", 3));
    assert_string_equal(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(cert_sha256(digest, "", 0));
    assert_string_equal(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* ---- memory ---- */

/* The fixture holds the key's scalar complemented, so that the test itself puts no copy of it into memory. */
static void read_needle(unsigned char needle[32])
{
    AUTO_SECRET struct secret hex;
    fixture_read("good", ".scalar", &hex);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(sscanf((char *)hex.data + 2 * i, "%2hhx", &needle[i]), 1);
}

/* As DER has it, and as a BIGNUM does: the other way round. */
static size_t count_in(const unsigned char *bytes, size_t len, const unsigned char needle[32])
{
    size_t found = 0;
    for (size_t i = 0; i + 32 <= len; i++) {
        size_t n = 0, reversed = 0;
        while (n < 32 && (bytes[i + n] ^ needle[n]) == 0xff)
            n++;
        while (reversed < 32 && (bytes[i + 31 - reversed] ^ needle[reversed]) == 0xff)
            reversed++;
        found += (n == 32) + (reversed == 32);
    }
    return found;
}

/* Copies of the scalar in the heap of this process. */
static size_t count_in_heap(const unsigned char needle[32])
{
    AUTO_FILE FILE *maps = fopen("/proc/self/maps", "re");
    char line[400];
    size_t found = 0;
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned char *from, *to;
        if (strstr(line, "[heap]") && sscanf(line, "%p-%p", (void **)&from, (void **)&to) == 2)
            found += count_in(from, (size_t)(to - from), needle);
    }
    return found;
}

static void test_freed_keys_are_wiped(void **state)
{
    unsigned char needle[32];
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its heap is elsewhere */
#endif
    read_needle(needle);
    AUTO_CERT struct cert *c = parsed("good", CERT_KEY_REQUIRED);
    AUTO_SECRET struct secret out = SECRET(SECRET_MAX);
    struct error err;
    assert_true(cert_key_proves(c));
    assert_int_equal(cert_write_key(c, &out, &err), 0);
    assert_true(count_in_heap(needle) > 0);
    cert_free(c);
    c = NULL;
    assert_int_equal(count_in_heap(needle), 0);
}

static void test_free_nothing(void **state)
{
    (void)state;
    cert_free(NULL);
}

int main(void)
{
    cert_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_key_ignored),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_covers),
        cmocka_unit_test(test_first_uncovered),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_output_has_a_maximum),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_freed_keys_are_wiped),
        cmocka_unit_test(test_free_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
