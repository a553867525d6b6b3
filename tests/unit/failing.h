/*
 * Calls that fail as those on a bad disk do, or without a descriptor to spare: the test program's own openat,
 * fstatat and fstat come before the C library's. Included by one test program, after tests/unit/testing.h.
 */
#ifndef TESTS_UNIT_FAILING_H
#define TESTS_UNIT_FAILING_H

#include <dlfcn.h>
#include <errno.h>

struct failing {
    const char *call; /* NULL: none fails */
    const char *path; /* as it is given to the call; not of fstat, which fails for any */
    unsigned skip;    /* so many such calls succeed before */
    int number;       /* errno */
};

static struct failing failing;

/* Whether this call is to fail; errno is set then. */
static bool fails(const char *call, const char *path)
{
    if (!failing.call || strcmp(call, failing.call) != 0 || (path && strcmp(path, failing.path) != 0) ||
        failing.skip-- > 0)
        return false;
    failing.skip = 0;
    errno = failing.number;
    return true;
}

int openat(int dirfd, const char *path, int flags, ...)
{
    int (*real)(int, const char *, int, ...);
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    *(void **)&real = dlsym(RTLD_NEXT, "openat");
    return fails("openat", path) ? -1 : real(dirfd, path, flags, mode);
}

int fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    int (*real)(int, const char *, struct stat *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "fstatat");
    return fails("fstatat", path) ? -1 : real(dirfd, path, st, flags);
}

int fstat(int fd, struct stat *st)
{
    int (*real)(int, struct stat *);
    *(void **)&real = dlsym(RTLD_NEXT, "fstat");
    return fails("fstat", NULL) ? -1 : real(fd, st);
}

/* What can fail where an SNI folder x, with cert.pem, key.pem and domains, is looked at. */
static const struct failing sni_failures[] = {
    {"fstatat", "x", 0, EIO},
    {"openat", "x", 0, EIO},
    {"openat", "x", 0, EMFILE},
    {"openat", "x", 0, EACCES},
    {"fstatat", "cert.pem", 0, EIO},
    {"fstatat", "key.pem", 0, ESTALE},
    {"fstatat", "domains", 0, EIO},
    {"openat", "domains", 0, EIO},
    {"openat", "domains", 0, EACCES},
    {"openat", "domains", 0, ENFILE},
    {"fstat", NULL, 0, EIO},
    {"fstat", NULL, 1, EIO}, /* the second one, so that the file seems to change while it is read */
};

#endif
