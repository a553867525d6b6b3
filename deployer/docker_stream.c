#include "deployer/docker_stream.h"

#include <string.h>

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Streams are 0 to 3: stdin (never seen in an answer), stdout, stderr, and the engine's own errors. */
static void begin_frame(struct docker_stream *s)
{
    const unsigned char *h = s->header;
    s->garbled = h[0] > 3 || h[1] || h[2] || h[3];
    s->is_error = h[0] > 1;
    s->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
    s->header_len = 0;
}

static size_t take_header(struct docker_stream *s, const unsigned char *in, size_t len)
{
    size_t n = min_size(len, sizeof s->header - s->header_len);
    memcpy(s->header + s->header_len, in, n);
    s->header_len += n;
    if (s->header_len == sizeof s->header)
        begin_frame(s);
    return n;
}

static void keep(unsigned char *kept, size_t *kept_len, const unsigned char *in, size_t len)
{
    size_t n = min_size(len, DOCKER_STREAM_KEEP - *kept_len);
    memcpy(kept + *kept_len, in, n);
    *kept_len += n;
}

static size_t take_payload(struct docker_stream *s, const unsigned char *in, size_t len)
{
    size_t n = min_size(len, s->left);
    keep(s->kept, &s->kept_len, in, n);
    if (s->is_error)
        keep(s->errors, &s->errors_len, in, n);
    s->left -= (uint32_t)n;
    return n;
}

int docker_stream_feed(struct docker_stream *s, const void *bytes, size_t len)
{
    const unsigned char *in = bytes;
    size_t room = DOCKER_STREAM_MAX - s->fed;
    size_t left = min_size(len, room);
    while (left && !s->garbled) {
        size_t n = s->left ? take_payload(s, in, left) : take_header(s, in, left);
        in += n;
        left -= n;
        s->fed += n;
    }
    if (s->garbled)
        return E_FAILED;
    return len > room ? DOCKER_STREAM_CUT : 0;
}
