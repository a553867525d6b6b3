/*
 * What the unit tests share: a temporary directory for each test, files in it, what a call prints, and
 * assertions about texts. A test that needs a directory is named by WITH_DIRECTORY.
 */
#ifndef TESTS_UNIT_TESTING_H
#define TESTS_UNIT_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define UNUSED       __attribute__((unused))

/* ---- a directory of one's own ---- */

struct directory {
    char path[200];
    int fd;
};

static UNUSED int directory_setup(void **state)
{
    struct directory *d = calloc(1, sizeof *d);
    const char *parent = getenv("TMPDIR");
    if (!d)
        return -1;
    snprintf(d->path, sizeof d->path, "%s/certsync-unit-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(d->path))
        return -1;
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = d;
    return d->fd < 0 ? -1 : 0;
}

static int directory_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static UNUSED int directory_teardown(void **state)
{
    struct directory *d = *state;
    int rc = nftw(d->path, directory_remove, 16, FTW_DEPTH | FTW_PHYS);
    close(d->fd);
    free(d);
    return rc;
}

#define WITH_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, directory_setup, directory_teardown)

/* The path of a file in d; good until the fourth call after it. */
static UNUSED const char *path_in(const struct directory *d, const char *name)
{
    static char paths[4][600];
    static unsigned next;
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", d->path, name);
    return path;
}

static UNUSED void write_bytes(const struct directory *d, const char *name, const void *bytes, size_t len)
{
    int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_true(write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

/* Returns the path of the file. */
static UNUSED const char *write_text(const struct directory *d, const char *name, const char *text)
{
    write_bytes(d, name, text, strlen(text));
    return path_in(d, name);
}

/* The content of a file, "" when there is none; good until the next call. */
static UNUSED const char *read_text_of(const struct directory *d, const char *name)
{
    static char text[4096];
    int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    if (fd >= 0)
        close(fd);
    return text;
}

static UNUSED bool is_there(const struct directory *d, const char *name)
{
    struct stat st;
    return fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static UNUSED void set_mode(const struct directory *d, const char *name, mode_t mode)
{
    assert_int_equal(fchmodat(d->fd, name, mode, 0), 0);
}

static UNUSED void make_folder(const struct directory *d, const char *name)
{
    assert_int_equal(mkdirat(d->fd, name, 0700), 0);
}

/* After so many further opens one fails with EMFILE; 1000 are enough for all. */
static UNUSED void leave_descriptors(rlim_t left)
{
    int next = dup(STDIN_FILENO);
    const struct rlimit limit = {.rlim_cur = (rlim_t)next + left, .rlim_max = 4096};
    close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* ---- what is printed ---- */

struct capture {
    int fd; /* STDOUT_FILENO or STDERR_FILENO */
    int saved;
    int file;
};

/* Nothing may fail between capture_begin and capture_end: the test's own report would be lost. */
static UNUSED void capture_begin(struct capture *c, int fd)
{
    fflush(NULL);
    *c = (struct capture){
        .fd = fd, .saved = fcntl(fd, F_DUPFD_CLOEXEC, 10), .file = memfd_create("capture", MFD_CLOEXEC)};
    dup2(c->file, fd);
}

/* What was printed; good until the fourth call after it. */
static UNUSED const char *capture_end(struct capture *c)
{
    static char texts[4][16384];
    static unsigned next;
    char *text = texts[next++ % COUNT(texts)];
    fflush(NULL);
    dup2(c->saved, c->fd);
    close(c->saved);
    ssize_t n = pread(c->file, text, sizeof texts[0] - 1, 0);
    close(c->file);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

/* ---- texts ---- */

static UNUSED void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

static UNUSED void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" holds \"%s\"", text, part);
}

#endif
