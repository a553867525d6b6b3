/*
 * What the fuzz targets share: properties that end the process when they do not hold, and ways to cut an
 * input into pieces. Everything a target does follows from its input alone, so that a crash can be replayed.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's interface, as the targets provide it; tests/fuzz/replay.c calls it without libFuzzer. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
/* What libFuzzer provides. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* A property; unlike assert(3) it cannot be compiled out. */
#define CHECK(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

/* Equal texts; shows both when they are not. */
#define CHECK_TEXT(a, b) fuzz_check_text(__FILE__, __LINE__, (a), (b))
void fuzz_check_text(const char *file, int line, const char *a, const char *b);

/* What common/error.h promises of a failure: one of its codes, and a sentence without control characters. */
#define CHECK_ERROR(rc, err) fuzz_check_error(__FILE__, __LINE__, (rc), (err))
void fuzz_check_error(const char *file, int line, int rc, const struct error *err);

/* Printable ASCII, and nothing else. */
bool fuzz_is_printable(const char *text);

/* ---- numbers that follow from an input ---- */

uint64_t fuzz_hash(const void *bytes, size_t len);
/* The next of a sequence; below limit, which is not 0. */
size_t fuzz_random(uint64_t *state, size_t limit);

/* ---- pieces ---- */

enum cut {
    CUT_NOWHERE,
    CUT_EVERYWHERE, /* single bytes */
    CUT_RANDOM,     /* also: what is interrupted, and what is not ready */
    CUTS,
};

/* {how, seed}; the seed is to be fuzz_hash() of the input. */
struct cuts {
    enum cut how;
    uint64_t state;
};

/* How many of len (not 0) bytes come next: 1 to len. */
size_t fuzz_piece(struct cuts *cuts, size_t len);

/* The bytes so many times in a row, as often as max bytes allow; the caller's to free. */
void *fuzz_repeat(const void *bytes, size_t len, size_t times, size_t max, size_t *out_len);

/* ---- files ---- */

/* An empty directory in $TMPDIR, removed when the process exits; its path. */
const char *fuzz_folder(void);

/* Makes `name` (a path, within dirfd) hold the bytes; the same file is written over each time. */
void fuzz_write_file(int dirfd, const char *name, const void *bytes, size_t len);

#endif
