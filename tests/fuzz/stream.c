#include "tests/fuzz/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STREAM_FD 1000000 /* over any limit of open files */

static struct stream *peer;

int stream_open(struct stream *s, const void *in, size_t len, enum cut how)
{
    *s = (struct stream){.in = in, .in_len = len, .cuts = {how, fuzz_hash(in, len)}};
    CHECK(s->out = calloc(1, 1));
    s->before = peer;
    peer = s;
    return STREAM_FD;
}

void stream_close(struct stream *s)
{
    CHECK(peer == s);
    peer = s->before;
    free(s->out);
}

/* Whether this call is to be refused, as a signal or an empty socket would. */
static bool refuses(struct stream *s)
{
    size_t dice = s->cuts.how == CUT_RANDOM ? fuzz_random(&s->cuts.state, 8) : 8;
    errno = dice == 0 ? EINTR : EAGAIN;
    return dice < 2;
}

static ssize_t receive(struct stream *s, void *buffer, size_t len)
{
    size_t left = s->in_len - s->in_at;
    if (refuses(s))
        return -1;
    if (len > left)
        len = left;
    size_t n = len ? fuzz_piece(&s->cuts, len) : 0;
    if (n)
        memcpy(buffer, s->in + s->in_at, n);
    s->in_at += n;
    return (ssize_t)n;
}

static ssize_t keep(struct stream *s, const void *bytes, size_t len)
{
    if (refuses(s))
        return -1;
    size_t n = len ? fuzz_piece(&s->cuts, len) : 0;
    if (s->out_len + n >= s->out_room) {
        s->out_room = 2 * (s->out_len + n) + 1000;
        CHECK(s->out = realloc(s->out, s->out_room));
    }
    memcpy(s->out + s->out_len, bytes, n);
    s->out_len += n;
    s->out[s->out_len] = '\0';
    return (ssize_t)n;
}

/* ---- what the linker puts in place of the C library's ---- */

ssize_t __real_recv(int fd, void *buffer, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t len, int flags);
ssize_t __real_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

ssize_t __wrap_recv(int fd, void *buffer, size_t len, int flags)
{
    return fd == STREAM_FD ? receive(peer, buffer, len) : __real_recv(fd, buffer, len, flags);
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
    return fd == STREAM_FD ? keep(peer, bytes, len) : __real_send(fd, bytes, len, flags);
}

/* It is always ready; what is not, says so when it is asked. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (count != 1 || fds->fd != STREAM_FD)
        return __real_poll(fds, count, timeout);
    fds->revents = fds->events;
    return 1;
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list ap;
    va_start(ap, command);
    void *argument = va_arg(ap, void *);
    va_end(ap);
    return fd == STREAM_FD ? 0 : __real_fcntl(fd, command, argument);
}
