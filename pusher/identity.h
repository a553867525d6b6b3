/*
 * The key that this host logs in with: made by ssh-keygen(1) when there is none, and what of it the mail host
 * is told.
 */
#ifndef PUSHER_IDENTITY_H
#define PUSHER_IDENTITY_H

#include "pusher/ssh_key.h"

#include <stdbool.h>

/* Reads and inspects the key. IDENTITY_NONE when there is no such file; E_CONFIG when it cannot be used. */
enum {
    IDENTITY_NONE = 1
};
int identity_read(const char *path, struct ssh_key *out, struct error *err);

/* Makes an Ed25519 key, path and path.pub, with modes 0600 and 0644; nothing is left of an attempt that
 * fails. */
int identity_make(const char *path, struct error *err);

/* "ssh-ed25519 AAAA... mailcow-certsync@proxy": one line, without its end. False when it does not fit. */
bool identity_line(const struct ssh_key *key, char *out, size_t size);

#endif
