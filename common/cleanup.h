/*
 * Cleanup attributes: a local that owns something is declared with the macro of its kind and is released on
 * every way out of its scope. All of them accept the empty value (NULL, -1).
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines name##p for use with CLEANUP() from a release function that takes the pointer itself. */
#define CLEANUP_DEFINE(type, release)                                                                        \
    static inline __attribute__((unused)) void release##p(type *slot)                                        \
    {                                                                                                        \
        if (*slot)                                                                                           \
            release(*slot);                                                                                  \
    }

static inline void cleanup_freep(void *slot)
{
    free(*(void **)slot);
}

static inline void cleanup_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

CLEANUP_DEFINE(FILE *, fclose)
CLEANUP_DEFINE(DIR *, closedir)

#define AUTO_FREE  CLEANUP(cleanup_freep)
#define AUTO_CLOSE CLEANUP(cleanup_closep)
#define AUTO_FILE  CLEANUP(fclosep)
#define AUTO_DIR   CLEANUP(closedirp)

#endif
