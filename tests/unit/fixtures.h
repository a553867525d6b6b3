/*
 * The fixtures that tests/unit/fixtures.py wrote into $FIXTURES. Included by one test program, after
 * tests/unit/testing.h.
 */
#ifndef TESTS_UNIT_FIXTURES_H
#define TESTS_UNIT_FIXTURES_H

#include "common/secret.h"

#include <time.h>

static UNUSED const char *fixture_path(const char *name)
{
    static char paths[4][600];
    static unsigned next;
    const char *folder = getenv("FIXTURES");
    if (!folder)
        fail_msg("FIXTURES is not set: it names the folder that tests/unit/fixtures.py wrote");
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* The file name + suffix. A read buffer of stdio would keep a copy of a key. */
static UNUSED void fixture_read(const char *name, const char *suffix, struct secret *out)
{
    char file[200], chunk[4096];
    snprintf(file, sizeof file, "%s%s", name, suffix);
    AUTO_CLOSE int fd = open(fixture_path(file), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("no fixture %s", file);
    secret_init(out, 1024 * 1024);
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0;)
        assert_int_equal(secret_append(out, chunk, (size_t)n), 0);
    explicit_bzero(chunk, sizeof chunk);
    assert_int_equal(secret_append(out, "", 0), 0); /* an empty file: len 0, but not NULL */
}

static UNUSED time_t fixture_now(void)
{
    AUTO_SECRET struct secret text;
    fixture_read("now", "", &text);
    return (time_t)strtoll((char *)text.data, NULL, 10);
}

/* What fixtures.py says of a bundle. */
struct fixture_info {
    char fingerprint[65];
    char spki[65];
    time_t not_before;
    time_t not_after;
    size_t chain_length;
};

static UNUSED struct fixture_info fixture_info(const char *name)
{
    AUTO_SECRET struct secret text;
    struct fixture_info info;
    fixture_read(name, ".info", &text);
    assert_int_equal(sscanf((char *)text.data, "%64s %64s %ld %ld %zu", info.fingerprint, info.spki,
                            &info.not_before, &info.not_after, &info.chain_length),
                     5);
    return info;
}

#endif
