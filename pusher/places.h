/*
 * Where lineages usually are: certbot's folder, and those of Nginx Proxy Manager's containers.
 */
#ifndef PUSHER_PLACES_H
#define PUSHER_PLACES_H

#include <limits.h>
#include <stddef.h>

#define PLACES_MAX 8

struct place {
    char name[16]; /* for [source NAME]: "certbot", "npm", "npm-2" */
    char path[PATH_MAX];
};

/* The usual places that hold a lineage, at most PLACES_MAX. */
size_t places_find(struct place *out);

#endif
