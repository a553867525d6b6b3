/*
 * Public keys as SSH moves them (RFC 4253 §6.6): base64 text, the blob that it holds, the type name in front
 * of the blob, the fingerprint that people compare.
 */
#ifndef PUSHER_SSH_BLOB_H
#define PUSHER_SSH_BLOB_H

#include <stdbool.h>
#include <stddef.h>

#define SSH_FINGERPRINT_SIZE 51 /* "SHA256:", 43 characters, NUL */

/* Strict base64, padded, nothing else in it. The decoded length, or -1; out needs len / 4 * 3 bytes. */
int ssh_blob_decode(const char *text, size_t len, unsigned char *out, size_t size);

/* The base64 text of a blob; false when it does not fit. */
bool ssh_blob_encode(char *out, size_t size, const unsigned char *blob, size_t len);

/* Takes the string at *pos (four bytes of length, then the bytes) and moves *pos behind it. */
bool ssh_blob_string(const unsigned char *blob, size_t len, size_t *pos, const unsigned char **out_bytes,
                     size_t *out_len);

/* Copies the type name that the blob begins with; false when there is none or it does not fit. */
bool ssh_blob_type(const unsigned char *blob, size_t len, char *out, size_t size);

/*
 * Whether an Ed25519 or ECDSA key has all its parts, each as long as its kind wants it, and nothing behind
 * them. Of other kinds nothing is known: they count as whole.
 */
bool ssh_blob_is_whole(const unsigned char *blob, size_t len);

/* "SHA256:…" as ssh-keygen -l prints it. out: SSH_FINGERPRINT_SIZE bytes. Returns out. */
char *ssh_blob_fingerprint(char *out, const unsigned char *blob, size_t len);

/* Whether HMAC-SHA1(salt, name) is hash; salt and hash of 20 bytes: a hashed host of known_hosts. */
bool ssh_blob_hashes_to(const unsigned char *salt, const char *name, const unsigned char *hash);

#define SSH_HASH_SIZE 20

#endif
