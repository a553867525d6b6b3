/*
 * The output of a command. The first byte says how often the rest is sent, so that limits can be met; what is
 * kept does not depend on cuts, and is what a plain reading gives.
 */
#include "deployer/docker_stream.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define SENT_MAX (DOCKER_STREAM_MAX + 4096)

struct sent {
    uint8_t *bytes;
    size_t len;
};

/* Only what is long already is repeated until the limit: frames of a few bytes would take too long. */
static struct sent send_all(const uint8_t *data, size_t size)
{
    size_t times = data[0] == 0xff && size > 1000 ? SENT_MAX : data[0] == 0xfe ? 30 : 1;
    struct sent sent;
    sent.bytes = fuzz_repeat(data + 1, size - 1, times, SENT_MAX, &sent.len);
    return sent;
}

/* Frames, one after another, by the words of the header. */
static int plain(const struct sent *sent, uint8_t *kept, size_t *out_len)
{
    size_t end = sent->len < DOCKER_STREAM_MAX ? sent->len : DOCKER_STREAM_MAX;
    const uint8_t *p = sent->bytes;
    *out_len = 0;
    for (size_t at = 0; end - at >= 8;) {
        size_t payload =
            (size_t)p[at + 4] << 24 | (size_t)p[at + 5] << 16 | (size_t)p[at + 6] << 8 | p[at + 7];
        if (p[at] > 3 || p[at + 1] || p[at + 2] || p[at + 3])
            return E_FAILED;
        at += 8;
        size_t n = payload < end - at ? payload : end - at;
        size_t room = DOCKER_STREAM_KEEP - *out_len, keep = n < room ? n : room;
        memcpy(kept + *out_len, p + at, keep);
        *out_len += keep;
        at += n;
    }
    return sent->len > end ? DOCKER_STREAM_CUT : 0;
}

static int feed(struct docker_stream *s, const struct sent *sent, enum cut how)
{
    struct cuts cuts = {how, fuzz_hash(sent->bytes, sent->len < 64 ? sent->len : 64)};
    int rc = 0;
    for (size_t at = 0; at < sent->len && !rc;) {
        size_t n = fuzz_piece(&cuts, sent->len - at);
        uint8_t *piece = malloc(n);
        CHECK(piece);
        memcpy(piece, sent->bytes + at, n);
        rc = docker_stream_feed(s, piece, n);
        free(piece);
        at += n;
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t kept[DOCKER_STREAM_KEEP];
    size_t len;
    if (!size)
        return 0;
    struct sent sent = send_all(data, size);
    int wanted = plain(&sent, kept, &len);
    for (enum cut how = 0; how < CUTS; how++) {
        struct docker_stream s = {0};
        if (how == CUT_EVERYWHERE && sent.len > 4096)
            continue;
        int rc = feed(&s, &sent, how);
        CHECK(rc == wanted && s.fed <= DOCKER_STREAM_MAX);
        CHECK(s.kept_len == len && memcmp(s.kept, kept, len) == 0);
        CHECK(!rc || docker_stream_feed(&s, "\1", 1) == rc); /* and stays so */
        CHECK(s.kept_len == len);
    }
    free(sent.bytes);
    return 0;
}
