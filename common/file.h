/*
 * Files: reading what must not change under one's eyes, and replacing a file so that after a crash either the
 * old or the new content is there, whole.
 *
 * Paths are relative to an open directory (or AT_FDCWD). Nothing here follows a symbolic link in the last
 * component unless asked to.
 */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include "common/error.h"
#include "common/secret.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum file_flags {
    FILE_FOLLOW = 1, /* symbolic links are followed: lineages and mailcow.conf may be ones */
    FILE_PRIVATE_KEY =
        2 /* refuse what group or others may read, and what belongs to neither root nor this user */
};

/*
 * Reads a regular file of at most out->max bytes into out. FILE_CHANGED if it changed while it was read
 * (size, time or inode), FILE_MISSING if there is none; both with err filled. out_stat may be NULL.
 */
enum {
    FILE_CHANGED = 1,
    FILE_MISSING = 2
};
int file_read(int dirfd, const char *path, int flags, struct secret *out, struct stat *out_stat,
              struct error *err);

/* Whether name is of this type (S_IFREG, …) and no larger than max: what of it fails then cannot be done now.
 * A name that cannot even be looked at counts as such, too; links are not followed. */
bool file_is_there(int dirfd, const char *name, mode_t type, size_t max);

struct file_owner {
    uid_t uid;
    gid_t gid;
};

/*
 * Writes a new file `name` (mode, owner if not NULL), fsynced, replacing nothing: an old one of that name is
 * removed first. The directory is not synced.
 */
int file_create(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode,
                const struct file_owner *owner, struct error *err);

/*
 * Replaces `name` by the content: temporary file ".name.tmp" in the same directory, fsync, rename, fsync of
 * the directory. On failure the old file is still there.
 */
int file_replace(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode, struct error *err);
/* The same with an owner (NULL: this process). */
int file_replace_as(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode,
                    const struct file_owner *owner, struct error *err);

/*
 * Takes the exclusive flock(2) of a descriptor, which goes with it; waits for it until deadline_ms
 * (clock_ms()). busy: what to say, as E_TEMPORARY, when somebody else still has it.
 */
int file_lock(int fd, int64_t deadline_ms, const char *busy, struct error *err);

/* fsync of a directory, as a result. */
int file_sync_dir(int dirfd, const char *subject, struct error *err);

/* Opens a directory, making it (mode) if it is missing; -1 with err on failure. Does not follow a symbolic
 * link. */
int file_open_dir(int dirfd, const char *path, bool make, mode_t mode, struct error *err);

/*
 * Removes a directory and what is in it, without following symbolic links; a missing one is fine. For
 * generations that are no longer kept.
 */
int file_remove_tree(int dirfd, const char *name, struct error *err);

#endif
