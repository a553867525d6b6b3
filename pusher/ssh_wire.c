#include "pusher/ssh_wire.h"
#include "common/clock.h"
#include "pusher/ssh_blob.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define MSG_KEXINIT 20

static ssize_t ended(struct ssh_wire *w, enum ssh_wire_end end, int number)
{
    if (w->end == SSH_WIRE_UP) {
        w->end = end;
        w->number = number;
    }
    return -ECONNABORTED;
}

/* The peer speaks lines until one begins with SSH-; the first one is kept for the message. */
static void note_greeting(struct ssh_wire *w, unsigned char c)
{
    static const char prefix[] = "SSH-";
    if (c == '\n') {
        w->greeted = w->prefixed == sizeof prefix - 1;
        w->first_line_done = true;
        w->column = w->prefixed = 0;
        return;
    }
    if (!w->first_line_done && w->line_len < sizeof w->line && c != '\r')
        w->line[w->line_len++] = c;
    if (w->prefixed == w->column && w->column < sizeof prefix - 1 && c == (unsigned char)prefix[w->column])
        w->prefixed++;
    w->column++;
}

static void note(struct ssh_wire *w, const unsigned char *bytes, size_t n)
{
    for (; n && !w->greeted; bytes++, n--)
        note_greeting(w, *bytes);
    size_t room = sizeof w->kexinit - w->kexinit_len;
    if (n > room)
        n = room;
    memcpy(w->kexinit + w->kexinit_len, bytes, n);
    w->kexinit_len += n;
}

ssize_t ssh_wire_recv(int fd, void *buffer, size_t len, int flags, void **abstract)
{
    struct ssh_wire *w = *abstract;
    (void)fd, (void)flags;
    if (w->end != SSH_WIRE_UP)
        return -ECONNABORTED;
    if (clock_ms() >= w->deadline_ms)
        return ended(w, SSH_WIRE_LATE, 0);
    if (w->budget <= 0)
        return ended(w, SSH_WIRE_FLOOD, 0);
    if ((int64_t)len > w->budget)
        len = (size_t)w->budget;
    ssize_t n;
    do
        n = recv(w->fd, buffer, len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return -EAGAIN;
    if (n <= 0)
        return ended(w, SSH_WIRE_CLOSED, n < 0 ? errno : 0);
    w->budget -= n;
    w->received += n;
    note(w, buffer, (size_t)n);
    return n;
}

/*
 * A peer that closes may have said why: a failed send drops what cannot be sent and leaves the end to the
 * next recv.
 */
void ssh_wire_flush(struct ssh_wire *w)
{
    while (w->queued && w->end == SSH_WIRE_UP) {
        ssize_t n = send(w->fd, w->queue, w->queued, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            w->queued = 0;
        if (n <= 0)
            return;
        w->queued -= (size_t)n;
        memmove(w->queue, w->queue + n, w->queued);
    }
}

ssize_t ssh_wire_send(int fd, const void *buffer, size_t len, int flags, void **abstract)
{
    struct ssh_wire *w = *abstract;
    const unsigned char *bytes = buffer;
    size_t rest = len;
    (void)fd, (void)flags;
    if (w->end != SSH_WIRE_UP)
        return -ECONNABORTED;
    w->packets++;
    if (!w->queued) {
        ssize_t n = send(w->fd, bytes, rest, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return (ssize_t)len;
        bytes += n < 0 ? 0 : n;
        rest -= n < 0 ? 0 : (size_t)n;
    }
    if (rest > sizeof w->queue - w->queued)
        return ended(w, SSH_WIRE_FLOOD, 0);
    memcpy(w->queue + w->queued, bytes, rest);
    w->queued += rest;
    return (ssize_t)len;
}

void ssh_wire_acknowledge(struct ssh_wire *w)
{
    int on = 1;
    setsockopt(w->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

bool ssh_wire_wait(struct ssh_wire *w)
{
    ssh_wire_acknowledge(w);
    for (;;) {
        ssh_wire_flush(w);
        if (w->end == SSH_WIRE_UP && clock_ms() >= w->deadline_ms)
            ended(w, SSH_WIRE_LATE, 0);
        if (w->end != SSH_WIRE_UP)
            return false;
        struct pollfd pfd = {.fd = w->fd, .events = (short)(w->queued ? POLLIN | POLLOUT : POLLIN)};
        int n = poll(&pfd, 1, clock_left_ms(w->deadline_ms));
        if (n < 0 && errno != EINTR)
            ended(w, SSH_WIRE_CLOSED, errno);
        if (n > 0 && pfd.revents & ~POLLOUT)
            return true;
    }
}

bool ssh_wire_offer(const struct ssh_wire *w, enum ssh_wire_list list, const char **out, size_t *out_len)
{
    const unsigned char *names[SSH_LISTS], *p = w->kexinit;
    size_t lens[SSH_LISTS], pos = 22; /* length 4, padding length 1, type 1, cookie 16 */
    if (w->kexinit_len < pos || p[5] != MSG_KEXINIT)
        return false;
    for (int i = 0; i < SSH_LISTS; i++)
        if (!ssh_blob_string(p, w->kexinit_len, &pos, &names[i], &lens[i]))
            return false;
    *out = (const char *)names[list];
    *out_len = lens[list];
    return true;
}

static bool contains(const char *list, size_t len, const char *name, size_t name_len)
{
    while (len) {
        const char *comma = memchr(list, ',', len);
        size_t n = comma ? (size_t)(comma - list) : len;
        if (n == name_len && memcmp(list, name, n) == 0)
            return true;
        list += comma ? n + 1 : n;
        len -= comma ? n + 1 : n;
    }
    return false;
}

bool ssh_wire_common(const char *ours, const char *theirs, size_t theirs_len)
{
    while (*ours) {
        size_t n = strcspn(ours, ",");
        if (contains(theirs, theirs_len, ours, n))
            return true;
        ours += n + (ours[n] == ',');
    }
    return false;
}
