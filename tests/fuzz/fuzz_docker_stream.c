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

struct kept {
    uint8_t bytes[DOCKER_STREAM_KEEP];
    size_t len;
};

static void keep(struct kept *k, const uint8_t *bytes, size_t len)
{
    size_t room = sizeof k->bytes - k->len;
    memcpy(k->bytes + k->len, bytes, len < room ? len : room);
    k->len += len < room ? len : room;
}

/* Frames, one after another, by the words of the header. */
static int plain(const struct sent *sent, struct kept *all, struct kept *errors)
{
    size_t end = sent->len < DOCKER_STREAM_MAX ? sent->len : DOCKER_STREAM_MAX;
    const uint8_t *p = sent->bytes;
    for (size_t at = 0; end - at >= 8;) {
        size_t payload =
            (size_t)p[at + 4] << 24 | (size_t)p[at + 5] << 16 | (size_t)p[at + 6] << 8 | p[at + 7];
        uint8_t stream = p[at];
        if (stream > 3 || p[at + 1] || p[at + 2] || p[at + 3])
            return E_FAILED;
        at += 8;
        size_t n = payload < end - at ? payload : end - at;
        keep(all, p + at, n);
        if (stream == 2 || stream == 3)
            keep(errors, p + at, n);
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

static void check_kept(const struct docker_stream *s, const struct kept *all, const struct kept *errors)
{
    CHECK(s->fed <= DOCKER_STREAM_MAX);
    CHECK(s->kept_len == all->len && memcmp(s->kept, all->bytes, all->len) == 0);
    CHECK(s->errors_len == errors->len && memcmp(s->errors, errors->bytes, errors->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kept all = {.len = 0}, errors = {.len = 0};
    if (!size)
        return 0;
    struct sent sent = send_all(data, size);
    int wanted = plain(&sent, &all, &errors);
    for (enum cut how = 0; how < CUTS; how++) {
        struct docker_stream s = {0};
        if (how == CUT_EVERYWHERE && sent.len > 4096)
            continue;
        int rc = feed(&s, &sent, how);
        CHECK(rc == wanted);
        check_kept(&s, &all, &errors);
        CHECK(!rc || docker_stream_feed(&s, "\1", 1) == rc); /* and stays so */
        check_kept(&s, &all, &errors);
    }
    free(sent.bytes);
    return 0;
}
