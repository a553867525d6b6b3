/*
 * Connections of pushers that have no session yet, because as many as there may be at a time are under way.
 * They cost a descriptor each.
 *
 * Whose turn is next is the newest's and the oldest's alternately: connections that are only held delay
 * nobody who comes after them, and new ones cannot keep one waiting for ever.
 */
#ifndef DEPLOYER_WAITING_H
#define DEPLOYER_WAITING_H

#include <stdbool.h>
#include <stddef.h>

#define WAITING_MAX 1024

struct waiting {
    size_t max; /* at most WAITING_MAX; set by the owner */
    size_t count;
    bool oldest_next;
    int fds[WAITING_MAX]; /* in the order of arrival */
};

/*
 * Takes a connection over. When there is no room, those go whose peer is gone; else one of all, whichever:
 * its descriptor is returned for a last word and to be closed, -1 if none had to go.
 */
int waiting_add(struct waiting *w, int fd);

/* Lets those go whose peer is gone. */
void waiting_tidy(struct waiting *w);

/* The connection whose turn it is, -1 when there is none whose peer is still there. It becomes the caller's.
 */
int waiting_take(struct waiting *w);

/* Closes them all. */
void waiting_close(struct waiting *w);

#endif
