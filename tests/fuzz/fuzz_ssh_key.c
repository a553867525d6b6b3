/*
 * The client's private key file, OpenSSH's form or PEM, and the blobs that SSH moves keys in.
 */
#include "pusher/ssh_blob.h"
#include "pusher/ssh_key.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/pem.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* A public key of the kind that it says: nothing behind it, every string of the length that the kind has. */
static void check_public(const struct ssh_key *key)
{
    static const struct {
        const char *type, *curve;
        size_t len;
    } kinds[] = {{"ssh-ed25519", NULL, 32},
                 {"ecdsa-sha2-nistp256", "nistp256", 65},
                 {"ecdsa-sha2-nistp384", "nistp384", 97},
                 {"ecdsa-sha2-nistp521", "nistp521", 133}};
    const unsigned char *part;
    size_t pos = 0, n;
    CHECK(key->len <= sizeof key->blob);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, key->type) != 0)
            continue;
        CHECK(ssh_blob_string(key->blob, key->len, &pos, &part, &n));
        CHECK(n == strlen(key->type) && memcmp(part, key->type, n) == 0);
        if (kinds[i].curve) {
            CHECK(ssh_blob_string(key->blob, key->len, &pos, &part, &n));
            CHECK(n == strlen(kinds[i].curve) && memcmp(part, kinds[i].curve, n) == 0);
        }
        CHECK(ssh_blob_string(key->blob, key->len, &pos, &part, &n) && n == kinds[i].len);
        CHECK(pos == key->len);
        return;
    }
    fuzz_fail(__FILE__, __LINE__, "the kind is one that can be used");
}

static void check_file(const uint8_t *data, size_t size)
{
    AUTO_SECRET struct secret file = SECRET(64 * 1024);
    struct ssh_key key = {.type = "untouched"};
    struct error err;
    CHECK(secret_append(&file, data, size) == 0);
    int rc = ssh_key_inspect(&file, "id", &key, &err);
    if (rc) {
        CHECK_ERROR(rc, &err);
        CHECK(rc == E_CONFIG && strncmp(err.text, "id: ", 4) == 0);
        CHECK_TEXT(key.type, "untouched");
    } else {
        check_public(&key);
    }
    CHECK(ERR_peek_error() == 0);
}

/* Strings follow one another, inside the blob. */
static void check_strings(const uint8_t *data, size_t size)
{
    const unsigned char *part;
    char type[64], fingerprint[SSH_FINGERPRINT_SIZE];
    size_t pos = 0, before = 0, n;
    while (ssh_blob_string(data, size, &pos, &part, &n)) {
        CHECK(part == data + before + 4 && pos == before + 4 + n && pos <= size);
        before = pos;
    }
    CHECK(pos == before);
    if (ssh_blob_type(data, size, type, sizeof type))
        CHECK(strlen(type) <= size - 4 && memcmp(type, data + 4, strlen(type)) == 0);
    CHECK(strlen(ssh_blob_fingerprint(fingerprint, data, size)) == SSH_FINGERPRINT_SIZE - 1);
}

static void check_base64(const uint8_t *data, size_t size)
{
    size_t room = size / 4 * 3;
    unsigned char *out = malloc(room + 1), *text = malloc(size + 5);
    CHECK(out && text);
    int n = ssh_blob_decode((const char *)data, size, out, room);
    CHECK(n >= -1 && n <= (int)room);
    if (n >= 0) /* the last four characters may have bits that are not used */
        CHECK(EVP_EncodeBlock(text, out, n) == (int)size && memcmp(text, data, size - 4) == 0);
    CHECK(ssh_blob_decode((const char *)data, size, out, room ? room - 1 : 0) == -1);
    free(out);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_file(data, size);
    check_strings(data, size);
    check_base64(data, size);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    return pem_mutate(data, size, max_size, seed, NULL);
}
