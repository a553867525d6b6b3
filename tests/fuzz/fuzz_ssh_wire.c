/*
 * What stands between libssh2 and the socket: what it notes of the peer's banner and offers does not depend
 * on cuts, what is sent comes out whole and in order, budgets hold.
 */
#include "common/clock.h"
#include "pusher/ssh_wire.h"
#include "tests/fuzz/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET 9000
#define MANY   2000 /* bytes: more are not received one by one */

/* One at a time: it is large. */
static struct ssh_wire *new_wire(int fd)
{
    static struct ssh_wire wire;
    struct ssh_wire *w = &wire;
    memset(w, 0, offsetof(struct ssh_wire, queue));
    w->queued = 0;
    w->fd = fd;
    w->budget = BUDGET;
    w->deadline_ms = clock_ms() + 60000;
    return w;
}

/* ---- receiving ---- */

static struct ssh_wire *receive_all(const uint8_t *data, size_t size, enum cut how)
{
    AUTO_STREAM struct stream peer;
    struct ssh_wire *w = new_wire(stream_open(&peer, data, size, how));
    unsigned char buffer[1000];
    void *abstract = w;
    size_t at = 0;
    for (ssize_t n; w->end == SSH_WIRE_UP;) {
        n = ssh_wire_recv(0, buffer, sizeof buffer, 0, &abstract);
        CHECK(n > 0 || n == -EAGAIN || (n == -ECONNABORTED && w->end != SSH_WIRE_UP));
        if (n <= 0)
            continue;
        CHECK(at + (size_t)n <= size && memcmp(buffer, data + at, (size_t)n) == 0);
        at += (size_t)n;
    }
    CHECK(at == (size > BUDGET ? BUDGET : size) && w->received == (int64_t)at);
    CHECK(w->end == (size >= BUDGET ? SSH_WIRE_FLOOD : SSH_WIRE_CLOSED));
    CHECK(w->budget + w->received == BUDGET);
    return w;
}

/* By lines: the first one, and what follows the one that begins with SSH-. */
static void check_noted(const struct ssh_wire *w, const uint8_t *data, size_t size)
{
    if (size > BUDGET)
        size = BUDGET;
    const uint8_t *lf = memchr(data, '\n', size);
    size_t n = 0;
    for (const uint8_t *p = data; p < (lf ? lf : data + size) && n < sizeof w->line; p++)
        if (*p != '\r')
            CHECK(n < w->line_len && w->line[n++] == *p);
    CHECK(n == w->line_len);
    size_t at = 0;
    bool greeted = false;
    while (!greeted && (lf = memchr(data + at, '\n', size - at))) {
        greeted = (size_t)(lf - (data + at)) >= 4 && memcmp(data + at, "SSH-", 4) == 0;
        at = (size_t)(lf - data) + 1;
    }
    CHECK(w->greeted == greeted);
    size_t rest = greeted ? size - at : 0;
    CHECK(w->kexinit_len == (rest < sizeof w->kexinit ? rest : sizeof w->kexinit));
    CHECK(memcmp(w->kexinit, data + at, w->kexinit_len) == 0);
}

static void check_offers(const struct ssh_wire *w)
{
    const char *end = (const char *)w->kexinit + w->kexinit_len, *last = (const char *)w->kexinit;
    for (enum ssh_wire_list list = 0; list < SSH_LISTS; list++) {
        const char *names = NULL;
        size_t len = 0;
        if (!ssh_wire_offer(w, list, &names, &len)) {
            CHECK(list == 0 && !names);
            return;
        }
        CHECK(names >= last + 4 && names + len <= end);
        last = names + len;
    }
}

/* Name by name. */
static bool plainly_common(const char *ours, const char *theirs)
{
    char *a = strdup(ours), *rest_a = a;
    bool found = false;
    CHECK(a);
    for (char *x; !found && (x = strsep(&rest_a, ","));) {
        char *b = strdup(theirs), *rest_b = b;
        CHECK(b);
        for (char *y; !found && (y = strsep(&rest_b, ","));)
            found = *x && strcmp(x, y) == 0;
        free(b);
    }
    free(a);
    return found;
}

/* The input's first two lines as lists. */
static void check_common(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size), *theirs = text;
    CHECK(text);
    char *ours = strsep(&theirs, "\n");
    if (theirs) {
        theirs[strcspn(theirs, "\n")] = '\0';
        bool common = ssh_wire_common(ours, theirs, strlen(theirs));
        if (!strstr(ours, ",,") && *ours != ',') /* an empty name of ours is none of theirs */
            CHECK(common == plainly_common(ours, theirs));
    }
    free(text);
}

/* ---- sending ---- */

static void check_sending(const uint8_t *data, size_t size)
{
    AUTO_STREAM struct stream peer;
    struct ssh_wire *w = new_wire(stream_open(&peer, data, size, CUT_RANDOM));
    struct cuts cuts = {CUT_RANDOM, size};
    void *abstract = w;
    for (size_t at = 0; at < size;) {
        size_t n = fuzz_piece(&cuts, size - at);
        CHECK(ssh_wire_send(0, data + at, n, 0, &abstract) == (ssize_t)n);
        at += n;
    }
    while (w->queued)
        ssh_wire_flush(w);
    CHECK(w->end == SSH_WIRE_UP);
    CHECK(peer.out_len == size && (!size || memcmp(peer.out, data, size) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum cut how = 0; how < CUTS; how++) {
        if (how == CUT_EVERYWHERE && size > MANY)
            continue;
        struct ssh_wire *w = receive_all(data, size, how);
        check_noted(w, data, size);
        check_offers(w);
    }
    check_common(data, size);
    check_sending(data, size);
    return 0;
}
