/*
 * Where `make install` puts the programs and texts that one of ours needs: beside itself, under whatever
 * prefix. In the build's folder all lie together.
 */
#ifndef COMMON_LIBEXEC_H
#define COMMON_LIBEXEC_H

#include "common/error.h"

/* The path of another of our programs; E_FAILED with err when it cannot be told. Without .. in it. */
int libexec_path(char *out, size_t size, const char *program, struct error *err);

/* The path of a file in share/mailcow-certsync. */
int libexec_data(char *out, size_t size, const char *name, struct error *err);

#endif
