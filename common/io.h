/*
 * Reading and writing descriptors whole, retrying what a signal interrupted.
 */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include "common/error.h"
#include "common/secret.h"

#include <stdint.h>
#include <sys/types.h>

/* Writes all of it to a blocking descriptor. 0 or -1 with errno. */
int io_write_all(int fd, const void *bytes, size_t len);

/* Waits for events (poll(2)) until deadline_ms of clock_ms(). 1: ready, 0: the deadline has passed, -1 with
 * errno. */
int io_wait(int fd, short events, int64_t deadline_ms);

/* Reads a descriptor to its end into out, at most out->max bytes and until the deadline. 0, E_FAILED,
 * E_TEMPORARY. */
int io_read_secret(int fd, int64_t deadline_ms, struct secret *out, struct error *err);

#endif
