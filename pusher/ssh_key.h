/*
 * What a client's private key file holds, found out before anything is sent: its kind and its public half.
 * RSA and encrypted keys are refused here with the reason, since libssh2 1.10 has no rsa-sha2 and nobody is
 * there to type a passphrase.
 */
#ifndef PUSHER_SSH_KEY_H
#define PUSHER_SSH_KEY_H

#include "common/error.h"
#include "common/secret.h"

struct ssh_key {
    char type[32];           /* "ssh-ed25519", "ecdsa-sha2-nistp256" */
    unsigned char blob[256]; /* the public key */
    size_t len;
};

/* key: the content of the file path, OpenSSH or PEM. 0 or E_CONFIG. */
int ssh_key_inspect(const struct secret *key, const char *path, struct ssh_key *out, struct error *err);

#endif
