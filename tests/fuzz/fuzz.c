#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Noreturn void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: property: %s\n", file, line, condition);
    abort();
}

void fuzz_check_text(const char *file, int line, const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return;
    fprintf(stderr, "<%s>\nis not\n<%s>\n", a, b);
    fuzz_fail(file, line, "equal texts");
}

void fuzz_check_error(const char *file, int line, int rc, const struct error *err)
{
    if (rc >= 0 || rc < E_CONFIG || !err->text[0])
        fuzz_fail(file, line, "a failure has a code and a text");
    for (const char *p = err->text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            fprintf(stderr, "<%s>\n", err->text);
            fuzz_fail(file, line, "an error holds no control characters");
        }
}

bool fuzz_is_printable(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

/* FNV-1a */
uint64_t fuzz_hash(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * 0x100000001b3;
    return hash;
}

/* splitmix64 */
size_t fuzz_random(uint64_t *state, size_t limit)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (size_t)((z ^ (z >> 31)) % limit);
}

size_t fuzz_piece(struct cuts *cuts, size_t len)
{
    switch (cuts->how) {
    case CUT_NOWHERE:
        return len;
    case CUT_EVERYWHERE:
        return 1;
    default:
        return 1 + fuzz_random(&cuts->state, len);
    }
}

void *fuzz_repeat(const void *bytes, size_t len, size_t times, size_t max, size_t *out_len)
{
    if (!len || times > max / len)
        times = len ? max / len : 0;
    size_t total = len * times, have = times ? len : 0;
    char *out = malloc(total ? total : 1);
    CHECK(out);
    if (have)
        memcpy(out, bytes, len);
    for (size_t n; have < total; have += n) {
        n = have < total - have ? have : total - have;
        memcpy(out + have, out, n);
    }
    *out_len = total;
    return out;
}

static char folder[200];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/certsync-fuzz-XXXXXX", parent && *parent ? parent : "/tmp");
    CHECK(mkdtemp(folder));
    atexit(remove_folder);
    return folder;
}

void fuzz_write_file(int dirfd, const char *name, const void *bytes, size_t len)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}
