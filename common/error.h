/*
 * Results and errors: what every function of the project returns and how it says why.
 *
 * 0 is success. A negative code is a failure and is forwarded unchanged; the struct error given along holds
 * the sentence that a person is to read (`subject: action: reason`). A positive value is an outcome that the
 * function's header documents. The exit codes of all programs are derived here and nowhere else.
 */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#include "common/event.h"

#include <stddef.h>

enum {
    E_FAILED = -1,    /* it was tried and did not succeed; trying again alone will not help */
    E_USAGE = -2,     /* the command line is wrong */
    E_TEMPORARY = -3, /* unreachable, busy, out of a resource: a later try may succeed */
    E_CONFIG = -4,    /* the configuration or the files that it names are wrong */
};

/* One failure. `text` is always terminated, is one line (problems_error: some) without control characters,
 * and never holds bytes of a peer unescaped. */
struct error {
    int code;
    enum event event; /* that it is, where it was found out; EVENT_NONE: its code says all */
    char text[1024];
};

/* Fills err (which may be NULL) and returns code, so that a failure is one statement: `return
 * error_set(...)`. */
int error_set(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Says which event it is; returns its code: `return error_mark(err, …)`. */
int error_mark(struct error *err, enum event event);

/* Puts "subject: " in front of the text that err holds; returns its code. */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Sets "subject: action: strerror(errno)"; codes for a full disk, a missing descriptor or memory are
 * E_TEMPORARY. */
int error_errno(struct error *err, const char *subject, const char *action);

/* Out of memory, as a result. */
int error_memory(struct error *err);

/* The exit code (sysexits.h where it has one) of a result: 0, 1, 64, 75 or 78. */
int error_exit_code(int result);

/* The worse of two results: a failure outweighs a passing one, a wrong configuration outweighs both. */
int error_worse(int a, int b);

/* One row of the exit-code table, for --help and the manuals' check. */
struct error_exit {
    int code;
    const char *meaning;
};
extern const struct error_exit error_exits[];
extern const size_t error_exit_count;

#endif
