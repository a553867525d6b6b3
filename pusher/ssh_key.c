#include "pusher/ssh_key.h"
#include "common/text.h"
#include "pusher/ssh_blob.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

CLEANUP_DEFINE(EVP_PKEY *, EVP_PKEY_free)
CLEANUP_DEFINE(BIO *, BIO_free_all)
#define AUTO_PKEY CLEANUP(EVP_PKEY_freep)
#define AUTO_BIO  CLEANUP(BIO_free_allp)

#define KEY_MAX 65536 /* bytes of a private key file */
#define MAKE    "make one with `ssh-keygen -t ed25519 -N '' -f FILE`"

static const char openssh_begin[] = "-----BEGIN OPENSSH PRIVATE KEY-----";
static const char openssh_end[] = "-----END OPENSSH PRIVATE KEY-----";

static bool has(const struct secret *key, const char *text)
{
    return memmem(key->data, key->len, text, strlen(text)) != NULL;
}

static int refuse_rsa(const char *path, struct error *err)
{
    return error_set(err, E_CONFIG,
                     "%s: RSA keys cannot be used: libssh2 1.10 signs them with SHA-1 only, which OpenSSH "
                     "refuses since 8.8: " MAKE,
                     path);
}

static int refuse_encrypted(const char *path, struct error *err)
{
    return error_set(err, E_CONFIG,
                     "%s: the key is encrypted and nobody is there to type its passphrase: remove it with "
                     "`ssh-keygen -p -N '' -f %s`, or " MAKE,
                     path, path);
}

static int refuse_kind(const char *path, const char *kind, struct error *err)
{
    return error_set(err, E_CONFIG, "%s: keys of the kind %s cannot be used: " MAKE, path, kind);
}

static int refuse_garbage(const char *path, const char *what, struct error *err)
{
    return error_set(err, E_CONFIG, "%s: %s: " MAKE, path, what);
}

static bool is_usable(const char *type)
{
    return strcmp(type, "ssh-ed25519") == 0 || strcmp(type, "ecdsa-sha2-nistp256") == 0 ||
           strcmp(type, "ecdsa-sha2-nistp384") == 0 || strcmp(type, "ecdsa-sha2-nistp521") == 0;
}

static int keep_public(const unsigned char *blob, size_t len, const char *path, struct ssh_key *out,
                       struct error *err)
{
    char type[64], shown[100];
    if (!ssh_blob_type(blob, len, type, sizeof type))
        return refuse_garbage(path, "damaged private key", err);
    if (strcmp(type, "ssh-rsa") == 0)
        return refuse_rsa(path, err);
    if (!is_usable(type))
        return refuse_kind(path, text_escape(shown, sizeof shown, type, strlen(type)), err);
    if (len > sizeof out->blob || !ssh_blob_is_whole(blob, len))
        return refuse_garbage(path, "damaged private key", err);
    snprintf(out->type, sizeof out->type, "%.31s", type);
    memcpy(out->blob, blob, len);
    out->len = len;
    return 0;
}

/* PROTOCOL.key of OpenSSH: magic, cipher, kdf, kdf options, count, public key, then what may be encrypted. */
static int read_openssh(const unsigned char *in, size_t len, const char *path, struct ssh_key *out,
                        struct error *err)
{
    static const char magic[] = "openssh-key-v1";
    const unsigned char *cipher, *skipped, *blob;
    size_t pos = sizeof magic, cipher_len, skipped_len, blob_len;
    if (len < sizeof magic || memcmp(in, magic, sizeof magic) != 0 ||
        !ssh_blob_string(in, len, &pos, &cipher, &cipher_len) ||
        !ssh_blob_string(in, len, &pos, &skipped, &skipped_len) ||
        !ssh_blob_string(in, len, &pos, &skipped, &skipped_len) || len - pos < 4)
        return refuse_garbage(path, "damaged private key", err);
    pos += 4;
    if (!ssh_blob_string(in, len, &pos, &blob, &blob_len))
        return refuse_garbage(path, "damaged private key", err);
    int rc = keep_public(blob, blob_len, path, out, err);
    if (rc == 0 && (cipher_len != 4 || memcmp(cipher, "none", 4) != 0))
        return refuse_encrypted(path, err);
    return rc;
}

/* Decodes what stands between the armour's lines; white space is dropped. */
static int inspect_openssh(const struct secret *key, const char *path, struct ssh_key *out, struct error *err)
{
    AUTO_SECRET struct secret text, bytes;
    secret_init(&text, KEY_MAX);
    secret_init(&bytes, KEY_MAX);
    const char *begin = memmem(key->data, key->len, openssh_begin, sizeof openssh_begin - 1);
    begin += sizeof openssh_begin - 1;
    const char *end =
        memmem(begin, key->len - (size_t)(begin - (char *)key->data), openssh_end, sizeof openssh_end - 1);
    for (const char *p = begin; end && p < end; p++)
        if (!strchr(" \t\r\n", *p) && secret_append(&text, p, 1) < 0)
            return error_memory(err);
    unsigned char room[1024] = {0};
    while (bytes.len < text.len)
        if (secret_append(&bytes, room, sizeof room) < 0)
            return error_memory(err);
    int len = end && text.len ? ssh_blob_decode((char *)text.data, text.len, bytes.data, bytes.len) : -1;
    if (len < 0)
        return refuse_garbage(path, "damaged private key", err);
    return read_openssh(bytes.data, (size_t)len, path, out, err);
}

static void put_string(struct ssh_key *out, const void *bytes, size_t len)
{
    if (out->len + 4 + len > sizeof out->blob)
        return;
    unsigned char *p = out->blob + out->len;
    p[0] = p[1] = 0;
    p[2] = (unsigned char)(len >> 8);
    p[3] = (unsigned char)len;
    memcpy(p + 4, bytes, len);
    out->len += 4 + len;
}

static int public_of_ed25519(EVP_PKEY *pkey, const char *path, struct ssh_key *out, struct error *err)
{
    unsigned char raw[32];
    size_t len = sizeof raw;
    if (EVP_PKEY_get_raw_public_key(pkey, raw, &len) != 1)
        return refuse_garbage(path, "damaged private key", err);
    snprintf(out->type, sizeof out->type, "ssh-ed25519");
    put_string(out, out->type, strlen(out->type));
    put_string(out, raw, len);
    return 0;
}

static int public_of_ec(EVP_PKEY *pkey, const char *path, struct ssh_key *out, struct error *err)
{
    static const char *const curves[][2] = {
        {"prime256v1", "nistp256"}, {"secp384r1", "nistp384"}, {"secp521r1", "nistp521"}};
    char group[64] = "?";
    const char *curve = NULL;
    EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        if (strcmp(group, curves[i][0]) == 0)
            curve = curves[i][1];
    if (!curve)
        return refuse_kind(path, group, err);
    unsigned char *point = NULL;
    size_t len = EVP_PKEY_get1_encoded_public_key(pkey, &point);
    if (!len)
        return refuse_garbage(path, "damaged private key", err);
    snprintf(out->type, sizeof out->type, "ecdsa-sha2-%s", curve);
    put_string(out, out->type, strlen(out->type));
    put_string(out, curve, strlen(curve));
    put_string(out, point, len);
    OPENSSL_free(point);
    return 0;
}

/* OpenSSL would ask for a passphrase on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *ctx)
{
    (void)buffer, (void)size, (void)writing, (void)ctx;
    return -1;
}

static int inspect_pem(const struct secret *key, const char *path, struct ssh_key *out, struct error *err)
{
    AUTO_BIO BIO *bio = BIO_new_mem_buf(key->data, (int)key->len);
    AUTO_PKEY EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    ERR_clear_error();
    if (!pkey)
        return refuse_garbage(path, "damaged private key", err);
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        return refuse_rsa(path, err);
    case EVP_PKEY_ED25519:
        return public_of_ed25519(pkey, path, out, err);
    case EVP_PKEY_EC:
        return public_of_ec(pkey, path, out, err);
    default:
        return refuse_kind(path, OBJ_nid2sn(EVP_PKEY_get_base_id(pkey)), err);
    }
}

int ssh_key_inspect(const struct secret *key, const char *path, struct ssh_key *out, struct error *err)
{
    struct ssh_key found = {0};
    if (!key->len)
        return refuse_garbage(path, "the key file is empty", err);
    if (key->len > KEY_MAX / 2)
        return refuse_garbage(path, "too large for a private key", err);
    int rc;
    if (has(key, openssh_begin))
        rc = inspect_openssh(key, path, &found, err);
    else if (has(key, "-----BEGIN RSA PRIVATE KEY-----"))
        return refuse_rsa(path, err);
    else if (has(key, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(key, "Proc-Type: 4,ENCRYPTED"))
        return refuse_encrypted(path, err);
    else if (has(key, "PRIVATE KEY-----"))
        rc = inspect_pem(key, path, &found, err);
    else if (memcmp(key->data, "ssh-", key->len < 4 ? key->len : 4) == 0 || has(key, "ecdsa-sha2-nistp") ||
             has(key, "-----BEGIN PUBLIC KEY-----"))
        return error_set(err, E_CONFIG, "%s: this is a public key: name the private key's file", path);
    else
        return refuse_garbage(path, "not a private key", err);
    if (rc == 0)
        *out = found;
    return rc;
}
