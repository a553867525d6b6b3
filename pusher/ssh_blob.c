#include "pusher/ssh_blob.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int ssh_blob_decode(const char *text, size_t len, unsigned char *out, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t padding = 0;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    if (!len || len % 4 || len / 4 * 3 > size || len > 1 << 20)
        return -1;
    for (size_t i = 0; i < len - padding; i++)
        if (!memchr(alphabet, text[i], sizeof alphabet - 1))
            return -1;
    int n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
    return n < 0 ? -1 : n - (int)padding;
}

bool ssh_blob_encode(char *out, size_t size, const unsigned char *blob, size_t len)
{
    if (len > 1 << 20 || (len + 2) / 3 * 4 + 1 > size)
        return false;
    EVP_EncodeBlock((unsigned char *)out, blob, (int)len);
    return true;
}

bool ssh_blob_string(const unsigned char *blob, size_t len, size_t *pos, const unsigned char **out_bytes,
                     size_t *out_len)
{
    if (len < 4 || *pos > len - 4)
        return false;
    const unsigned char *p = blob + *pos;
    size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (n > len - 4 - *pos)
        return false;
    *out_bytes = p + 4;
    *out_len = n;
    *pos += 4 + n;
    return true;
}

bool ssh_blob_type(const unsigned char *blob, size_t len, char *out, size_t size)
{
    const unsigned char *name;
    size_t pos = 0, n;
    if (!ssh_blob_string(blob, len, &pos, &name, &n) || n >= size || memchr(name, '\0', n))
        return false;
    memcpy(out, name, n);
    out[n] = '\0';
    return true;
}

static bool is_string(const unsigned char *bytes, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

bool ssh_blob_is_whole(const unsigned char *blob, size_t len)
{
    static const struct {
        const char *type, *curve;
        size_t len; /* of the key itself */
    } kinds[] = {{"ssh-ed25519", NULL, 32},
                 {"ecdsa-sha2-nistp256", "nistp256", 65},
                 {"ecdsa-sha2-nistp384", "nistp384", 97},
                 {"ecdsa-sha2-nistp521", "nistp521", 133}};
    const unsigned char *part;
    size_t pos = 0, n;
    if (!ssh_blob_string(blob, len, &pos, &part, &n))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!is_string(part, n, kinds[i].type))
            continue;
        if (kinds[i].curve &&
            (!ssh_blob_string(blob, len, &pos, &part, &n) || !is_string(part, n, kinds[i].curve)))
            return false;
        return ssh_blob_string(blob, len, &pos, &part, &n) && n == kinds[i].len && pos == len;
    }
    return true;
}

char *ssh_blob_fingerprint(char *out, const unsigned char *blob, size_t len)
{
    unsigned char digest[EVP_MAX_MD_SIZE], text[2 * EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_Digest(blob, len, digest, &n, EVP_sha256(), NULL)) {
        snprintf(out, SSH_FINGERPRINT_SIZE, "SHA256:?");
        return out;
    }
    EVP_EncodeBlock(text, digest, (int)n);
    snprintf(out, SSH_FINGERPRINT_SIZE, "SHA256:%.*s", (int)strcspn((char *)text, "="), (char *)text);
    return out;
}

bool ssh_blob_hashes_to(const unsigned char *salt, const char *name, const unsigned char *hash)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return HMAC(EVP_sha1(), salt, SSH_HASH_SIZE, (const unsigned char *)name, strlen(name), digest, &n) &&
           n == SSH_HASH_SIZE && CRYPTO_memcmp(digest, hash, SSH_HASH_SIZE) == 0;
}
