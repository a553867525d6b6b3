/*
 * Watching the sources, and the configuration, by inotify(7): every folder on the way to a file of a lineage,
 * for the name that leads on, also through symbolic links and to what does not exist yet. Folders are watched
 * and not files, since a file may be replaced by a rename, rewritten in place, or come back after it was
 * gone.
 */
#ifndef PUSHER_WATCH_H
#define PUSHER_WATCH_H

#include "pusher/push_conf.h"

struct watch;

int watch_new(struct watch **out, struct error *err);
void watch_free(struct watch *w);
CLEANUP_DEFINE(struct watch *, watch_free)
#define AUTO_WATCH CLEANUP(watch_freep)

/* For poll(2): readable when something happened. */
int watch_fd(const struct watch *w);

/*
 * Watches what leads to the configuration file and to the lineages that the sources have now, and nothing
 * else. What happens to them from then on is read by watch_read; a change between two calls is not lost. When
 * not all can be watched the rest is, and err says why (E_TEMPORARY: a limit of the kernel).
 */
int watch_arm(struct watch *w, const char *config, const struct push_conf *conf, struct error *err);

/* How many folders are watched. */
size_t watch_folders(const struct watch *w);

/* Takes what has happened off the descriptor. Whether any of it concerns what is watched, or was lost. */
bool watch_read(struct watch *w);

#endif
