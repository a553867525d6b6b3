/*
 * The file of keys that may push: lines of sshd(8)'s AUTHORIZED_KEYS FILE FORMAT.
 */
#ifndef DEPLOYER_AUTHORIZED_KEYS_H
#define DEPLOYER_AUTHORIZED_KEYS_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

/* A public key as ssh-keygen(1) writes it in one line. */
struct public_key {
    char type[32];
    char blob[1024];   /* base64 */
    char comment[128]; /* printable, "" when there is none */
};

/*
 * Takes a line apart: "ssh-ed25519 AAAA… comment", without options. 0, or E_USAGE with err: it is no key, or
 * of a kind that mailcow-cert-push cannot use (libssh2 1.10 signs no rsa-sha2).
 */
int public_key_parse(const char *line, struct public_key *out, struct error *err);

/*
 * The text of the file with this key, once, with these options in front; all other lines stay as they are,
 * comments included. Owned by the caller; NULL: no memory.
 */
char *authorized_keys_with(const char *text, const struct public_key *key, const char *options);

/* Whether the key is in it, and wherever it is these options are in front, perhaps among others. */
bool authorized_keys_has(const char *text, const struct public_key *key, const char *options);

/*
 * The value of an option, without its quotes, in front of the key's first line that has it; owned by the
 * caller. NULL: there is none, or no memory.
 */
char *authorized_keys_option(const char *text, const struct public_key *key, const char *name);

/* The text of the file without the key. */
char *authorized_keys_without(const char *text, const struct public_key *key);

/* Whether any line of the text is a key. */
bool authorized_keys_has_any(const char *text);

#endif
