/*
 * What the pusher remembers of a target: the wants of the last contact and what is served for each, as the
 * deployer's verdict said. Written whole and atomically, <state>/<target>.json.
 */
#ifndef PUSHER_STATE_H
#define PUSHER_STATE_H

#include "common/want.h"
#include "pusher/lineage.h"
#include "pusher/push_conf.h"

struct state_want {
    char id[WANT_ID_SIZE];
    char fingerprint[65]; /* that the deployer says is served; "" if it is not */
    char lineage[300];    /* that it came from */
    time_t not_before;    /* if it is not served: of what the mail host had, 0 if that is not known */
    time_t not_after;     /* if it is not served: of what the mail host had */
    time_t since;         /* when that was first recorded; 0 if it is not served */
    char result[16];      /* the last verdict's word: "served", "pending", "rejected", … */
    char detail[300];     /* why it is not served */
};

struct state {
    time_t contact;           /* of the last verdict; 0: never */
    time_t next_begin;        /* of the lineages that were not valid yet at the contact; 0: all were */
    struct want_list names;   /* the wants with their names */
    struct state_want *wants; /* one for each, in the same order */
    char **signatures;        /* of the target's address and wants, and of the lineages, as they were at the
                                 contact; "" for one that could not be read */
    size_t signature_count;
};
void state_free(struct state *s);
#define AUTO_STATE CLEANUP(state_free)

/* Opens the state folder (making it). A descriptor, or a negative code with err. */
int state_open(const char *path, struct error *err);

/* Keeps other passes out until the descriptor of the folder is closed. E_TEMPORARY: one runs, and has not
 * ended within so many milliseconds. */
int state_lock(int fd, int64_t wait_ms, struct error *err);

/* A missing file is an empty state; a damaged one too, with the reason in err and STATE_DAMAGED. */
enum {
    STATE_DAMAGED = 1
};
int state_read(int dirfd, const char *target, struct state *out, struct error *err);
/* When it was last written, as its file's time says; 0: it is missing. */
time_t state_written(int dirfd, const char *target);
int state_write(int dirfd, const char *target, const struct state *s, struct error *err);

/* Whether all is as it was at the last contact, at which every want was served. A lineage that could not be
 * read then is, as long as it cannot be. */
bool state_is_current(const struct state *s, const struct target *target,
                      const struct lineage_list *lineages);

/* Takes over the signatures of now. */
int state_sign(struct state *s, const struct target *target, const struct lineage_list *lineages,
               struct error *err);

#endif
