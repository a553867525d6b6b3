/*
 * Wants: the certificates that a mail host asks for, each with the names that it must cover and what is
 * installed.
 */
#ifndef COMMON_WANT_H
#define COMMON_WANT_H

#include "common/cleanup.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define WANT_PRIMARY   "primary" /* cert.pem and key.pem of mailcow's SSL folder itself */
#define WANT_ID_SIZE   254       /* with the NUL: a host name fits */
#define WANT_MAX       1024      /* in one list */
#define WANT_MAX_NAMES 256       /* of one want */

struct want {
    char id[WANT_ID_SIZE]; /* letters, digits, '-', '.', '_' and '*'; never "." or ".." */
    char **names;          /* host names, wildcards allowed; owned by the list */
    size_t name_count;
    char installed[65]; /* fingerprint of what is installed, "" if nothing can be read */
    time_t not_before;  /* of what is installed, 0 if nothing */
    time_t not_after;
    bool served; /* and was seen on every endpoint when it was last looked at */
};

/* A zeroed list is an empty one. */
struct want_list {
    struct want *list;
    size_t count;
};

/* A new want at the end of the list, valid until the next one is added. E_FAILED: bad id, known id, too many.
 */
int want_add(struct want_list *list, const char *id, struct want **out, struct error *err);
/* Adds a name once; wrong ones are E_FAILED. */
int want_add_name(struct want *want, const char *name, struct error *err);
/* Its names with a blank between them, as many as out (of size bytes) holds. */
void want_join_names(const struct want *want, char *out, size_t size);
struct want *want_find(const struct want_list *list, const char *id);
bool want_is_id(const char *id);

void want_list_free(struct want_list *list);
#define AUTO_WANTS CLEANUP(want_list_free)

#endif
