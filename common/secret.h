/*
 * A buffer for bytes that must not outlive their use: private keys and the bundles that hold them.
 *
 * It has a hard maximum, set once; growth copies and wipes, release wipes. A zeroed struct secret is a valid
 * empty one with no room: give it room by SECRET or secret_init. The owner releases it by secret_wipe or
 * AUTO_SECRET.
 */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include "common/cleanup.h"

#include <stddef.h>

struct secret {
    unsigned char *data; /* len bytes and a terminating NUL that len does not count; NULL when empty */
    size_t len;
    size_t cap;
    size_t max; /* bytes; appending beyond it fails */
};

#define SECRET_MAX                                                                                           \
    (128 * 1024) /* bytes of one bundle: a chain of ten certificates and a 4096-bit key take 25 KiB */

/* An empty one with room for limit bytes: AUTO_SECRET struct secret key = SECRET(limit); */
#define SECRET(limit)                                                                                        \
    {                                                                                                        \
        .max = (limit)                                                                                       \
    }

void secret_init(struct secret *s, size_t max);
/* 0, or E_FAILED when max would be passed, E_TEMPORARY without memory; s is unchanged then. */
int secret_append(struct secret *s, const void *bytes, size_t len);
/* Forgets the content by wiping it, keeps max. */
void secret_wipe(struct secret *s);

#define AUTO_SECRET CLEANUP(secret_wipe)

/* malloc(3)'s companions for libraries that take an allocator: what is freed is wiped. */
void secret_free(void *p);
void *secret_realloc(void *p, size_t size);

#endif
