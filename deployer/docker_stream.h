/*
 * The output of a command as the engine streams it: frames of a header (one byte of stream number, three zero
 * bytes, the length in network order) and so many bytes of payload, until the connection ends. A pure
 * function of the bytes: how they are cut into pieces makes no difference. The first DOCKER_STREAM_KEEP bytes
 * of payload are kept, and as many of stderr alone; the rest is read and dropped, and after DOCKER_STREAM_MAX
 * bytes of frames nothing more is taken.
 */
#ifndef DEPLOYER_DOCKER_STREAM_H
#define DEPLOYER_DOCKER_STREAM_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCKER_STREAM_KEEP 2048
#define DOCKER_STREAM_MAX  (1024 * 1024)

/* Positive result of docker_stream_feed. */
#define DOCKER_STREAM_CUT 1

/* A zeroed one is at the start of a stream. It owns nothing. */
struct docker_stream {
    unsigned char kept[DOCKER_STREAM_KEEP]; /* payload of all streams in the order in which it came */
    size_t kept_len;
    unsigned char errors[DOCKER_STREAM_KEEP]; /* payload of stderr and of the engine's own errors */
    size_t errors_len;
    size_t fed;    /* bytes taken so far, headers included */
    bool is_error; /* the current frame is of these */
    uint32_t left; /* of the payload of the current frame */
    unsigned char header[8];
    size_t header_len;
    bool garbled;
};

/*
 * Takes the next bytes. 0, or DOCKER_STREAM_CUT when there are more than the stream may have (those up to the
 * limit were taken), or E_FAILED when they are not frames; that stays so for all that follows.
 */
int docker_stream_feed(struct docker_stream *s, const void *bytes, size_t len);

#endif
