/*
 * The keys that one known_hosts file pins for one host. The file belongs to this program alone and is read
 * strictly: what cannot be understood is an error and never skipped, since a skipped line could be the
 * revocation of a key.
 *
 * Understood: `host`, `[host]:port` and hashed (`|1|salt|hash`) names, several separated by commas,
 * `@revoked` in front, comments, empty lines; names are compared without case. Refused with `file:line`:
 * wildcards, negations, @cert-authority, carriage returns, damaged keys, lines over 8 KiB. Keys of unknown
 * kinds are kept: they match nothing that this client negotiates.
 */
#ifndef PUSHER_KNOWN_HOSTS_H
#define PUSHER_KNOWN_HOSTS_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KNOWN_LINE_MAX 8192 /* bytes; an RSA key of 16384 bits takes 2.8 KiB */

struct known_key {
    char type[64]; /* as in the file and in the blob: "ssh-ed25519" */
    unsigned char *blob;
    size_t len;
    size_t line;
    bool revoked;
    bool for_port; /* the name said [host]:port */
};

struct known_hosts {
    struct known_key *keys; /* pinned and revoked ones, in the order of the file */
    size_t count;
    size_t pinned; /* how many are not revoked */
};

enum known_verdict {
    KNOWN_MATCH,
    KNOWN_UNKNOWN, /* nothing of this kind is pinned */
    KNOWN_CHANGED, /* another key of this kind is pinned */
    KNOWN_REVOKED,
};

/*
 * Reads text, the content of path. Names with the port go before names without it, as ssh does it: when the
 * file pins keys for [host]:port, those for host do not count; revocations count under both names. E_CONFIG
 * with `path:line` for a bad line; a host that is not in it is a success with count 0.
 */
int known_hosts_load(const char *text, const char *path, const char *host, uint16_t port,
                     struct known_hosts *out, struct error *err);

/* What the file says about the key that a server showed. out_key: the key that decided, NULL if none. */
enum known_verdict known_hosts_judge(const struct known_hosts *known, const unsigned char *blob, size_t len,
                                     const struct known_key **out_key);

/* Accepts a zeroed one. */
void known_hosts_free(struct known_hosts *known);
#define AUTO_KNOWN_HOSTS __attribute__((cleanup(known_hosts_free)))

#endif
