/*
 * A peer in memory: recv, send, poll and fcntl of the code under test are replaced (ld --wrap) for one
 * descriptor that does not exist. What comes is an input, cut into pieces; what is sent is kept.
 */
#ifndef TESTS_FUZZ_STREAM_H
#define TESTS_FUZZ_STREAM_H

#include "tests/fuzz/fuzz.h"

struct stream {
    const uint8_t *in; /* what the peer says, then it ends */
    size_t in_len;
    size_t in_at;
    struct cuts cuts; /* of both directions */
    char *out;        /* what it is told; NUL-terminated */
    size_t out_len;
    size_t out_room;
    struct stream *before;
};

/* Becomes the peer, until it is closed; the one before it waits. The descriptor. */
int stream_open(struct stream *s, const void *in, size_t len, enum cut how);
void stream_close(struct stream *s);
#define AUTO_STREAM __attribute__((cleanup(stream_close)))

#endif
