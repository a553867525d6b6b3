#include "common/file.h"
#include "common/clock.h"
#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>

static int check_private(const struct stat *st, const char *path, struct error *err)
{
    if (st->st_mode & 077)
        return error_set(err, E_CONFIG, "%s: its mode is %04o, others may read it: chmod 600 %s", path,
                         st->st_mode & 07777U, path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return error_set(err, E_CONFIG, "%s: it belongs to uid %u: chown it to the user that runs this", path,
                         (unsigned)st->st_uid);
    return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int read_fd(int fd, const char *path, struct secret *out, struct error *err)
{
    char buffer[16384];
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, path, "read");
        int rc = secret_append(out, buffer, (size_t)n);
        explicit_bzero(buffer, (size_t)n);
        if (rc < 0)
            return error_set(err, E_FAILED, "%s: larger than %zu bytes", path, out->max);
        if (n == 0)
            return 0;
    }
}

int file_read(int dirfd, const char *path, int flags, struct secret *out, struct stat *out_stat,
              struct error *err)
{
    struct stat before, after;
    AUTO_CLOSE int fd =
        openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (flags & FILE_FOLLOW ? 0 : O_NOFOLLOW));
    if (fd < 0) {
        int number = errno;
        int code = error_errno(err, path, "open");
        return number == ENOENT ? FILE_MISSING : code;
    }
    if (fstat(fd, &before) < 0)
        return error_errno(err, path, "stat");
    if (!S_ISREG(before.st_mode))
        return error_set(err, E_FAILED, "%s: not a regular file", path);
    int rc = flags & FILE_PRIVATE_KEY ? check_private(&before, path, err) : 0;
    if (!rc)
        rc = read_fd(fd, path, out, err);
    if (rc)
        return rc;
    if (fstat(fd, &after) < 0 || !same_file(&before, &after) || (off_t)out->len != after.st_size) {
        error_set(err, E_TEMPORARY, "%s: it changed while it was read", path);
        return FILE_CHANGED;
    }
    if (out_stat)
        *out_stat = after;
    return 0;
}

bool file_is_there(int dirfd, const char *name, mode_t type, size_t max)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno != ENOENT;
    return (st.st_mode & S_IFMT) == type && (size_t)st.st_size <= max;
}

static int write_synced(int fd, const char *name, const void *bytes, size_t len, mode_t mode,
                        const struct file_owner *owner, struct error *err)
{
    if (io_write_all(fd, bytes, len) < 0)
        return error_errno(err, name, "write");
    if (owner && fchown(fd, owner->uid, owner->gid) < 0)
        return error_errno(err, name, "chown");
    if (fchmod(fd, mode) < 0)
        return error_errno(err, name, "chmod");
    return fsync(fd) < 0 ? error_errno(err, name, "fsync") : 0;
}

int file_create(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode,
                const struct file_owner *owner, struct error *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    AUTO_CLOSE int fd = openat(dirfd, name, flags, 0600);
    if (fd < 0 && errno == EEXIST && unlinkat(dirfd, name, 0) == 0)
        fd = openat(dirfd, name, flags, 0600);
    if (fd < 0)
        return error_errno(err, name, "create");
    int rc = write_synced(fd, name, bytes, len, mode, owner, err);
    if (rc < 0)
        unlinkat(dirfd, name, 0);
    return rc;
}

int file_lock(int fd, int64_t deadline_ms, const char *busy, struct error *err)
{
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int left = clock_left_ms(deadline_ms);
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_errno(err, "lock", "flock");
        if (!left)
            return error_set(err, E_TEMPORARY, "%s", busy);
        poll(NULL, 0, left < 50 ? left : 50); /* flock(2) has no timeout */
    }
    return 0;
}

int file_sync_dir(int dirfd, const char *subject, struct error *err)
{
    return fsync(dirfd) < 0 ? error_errno(err, subject, "fsync of the directory") : 0;
}

int file_replace(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode, struct error *err)
{
    return file_replace_as(dirfd, name, bytes, len, mode, NULL, err);
}

int file_replace_as(int dirfd, const char *name, const void *bytes, size_t len, mode_t mode,
                    const struct file_owner *owner, struct error *err)
{
    char temporary[NAME_MAX + 1];
    snprintf(temporary, sizeof temporary, ".%s.tmp", name);
    int rc = file_create(dirfd, temporary, bytes, len, mode, owner, err);
    if (rc < 0)
        return rc;
    if (renameat(dirfd, temporary, dirfd, name) < 0) {
        rc = error_errno(err, name, "rename");
        unlinkat(dirfd, temporary, 0);
        return rc;
    }
    return file_sync_dir(dirfd, name, err);
}

int file_open_dir(int dirfd, const char *path, bool make, mode_t mode, struct error *err)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dirfd, path, flags);
    bool is_made = fd < 0 && errno == ENOENT && make && mkdirat(dirfd, path, mode) == 0;
    if (is_made || (fd < 0 && errno == EEXIST))
        fd = openat(dirfd, path, flags);
    if (is_made && fd >= 0) {
        fchmod(fd, mode); /* whatever the umask is */
        if (dirfd >= 0)
            fsync(dirfd); /* the new entry; a failure shows when something is written in it */
    }
    if (fd < 0)
        error_errno(err, path, "open the directory");
    return fd;
}

int file_remove_tree(int dirfd, const char *name, struct error *err)
{
    struct error ignored;
    int fd = file_open_dir(dirfd, name, false, 0, &ignored);
    if (fd < 0)
        return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? error_errno(err, name, "remove") : 0;
    AUTO_DIR DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return error_memory(err);
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int rc = file_remove_tree(fd, e->d_name, err);
        if (rc < 0)
            return rc;
    }
    return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? error_errno(err, name, "remove") : 0;
}
