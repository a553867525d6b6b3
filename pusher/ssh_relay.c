/*
 * The open session: bytes from the parent's stream to the remote command's stdin, its stdout back, its stderr
 * kept in part.
 */
#include "common/clock.h"
#include "common/text.h"
#include "pusher/ssh_impl.h"

#include <errno.h>
#include <libssh2.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNK 32768

struct buffer {
    char bytes[CHUNK];
    size_t at;
    size_t len; /* bytes from at on */
};

struct relay {
    struct ssh_child *c;
    struct buffer in;  /* from the stream to the channel */
    struct buffer out; /* from the channel to the stream */
    bool stream_ended; /* the parent will write no more */
    bool eof_sent;
    bool stream_gone; /* the parent reads no more */
    bool moved;       /* something was done in this round */
};

/* 0, or libssh2's code. */
static int take_stderr(struct relay *r)
{
    char scratch[4096];
    struct ssh_child *c = r->c;
    ssize_t n = libssh2_channel_read_ex(c->channel, SSH_EXTENDED_DATA_STDERR, scratch, sizeof scratch);
    if (n <= 0)
        return n == LIBSSH2_ERROR_EAGAIN ? 0 : (int)n;
    size_t room = sizeof c->remote_stderr - c->stderr_len;
    size_t keep = (size_t)n < room ? (size_t)n : room;
    memcpy(c->remote_stderr + c->stderr_len, scratch, keep);
    c->stderr_len += keep;
    r->moved = true;
    return 0;
}

static int take_stdout(struct relay *r)
{
    if (r->out.len)
        return 0;
    ssize_t n = libssh2_channel_read_ex(r->c->channel, 0, r->out.bytes, sizeof r->out.bytes);
    if (n <= 0)
        return n == LIBSSH2_ERROR_EAGAIN ? 0 : (int)n;
    r->out.at = 0;
    r->out.len = (size_t)n;
    r->moved = true;
    return 0;
}

static void give_stream(struct relay *r)
{
    if (!r->out.len)
        return;
    ssize_t n = send(SSH_FD_STREAM, r->out.bytes + r->out.at, r->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        r->stream_gone |= errno != EAGAIN && errno != EINTR;
        return;
    }
    r->out.at += (size_t)n;
    r->out.len -= (size_t)n;
    r->moved = true;
}

static void take_stream(struct relay *r)
{
    if (r->in.len || r->stream_ended)
        return;
    ssize_t n = recv(SSH_FD_STREAM, r->in.bytes, sizeof r->in.bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    r->stream_gone |= n < 0;
    r->stream_ended |= n <= 0;
    r->in.at = 0;
    r->in.len = n > 0 ? (size_t)n : 0;
    r->moved = true;
}

/* Only when the wire has taken the last packet, so that its queue stays small. */
static int give_channel(struct relay *r)
{
    if (r->c->wire.queued)
        return 0;
    if (r->in.len) {
        ssize_t n = libssh2_channel_write_ex(r->c->channel, 0, r->in.bytes + r->in.at, r->in.len);
        if (n <= 0)
            return n == LIBSSH2_ERROR_EAGAIN ? 0 : (int)n;
        explicit_bzero(r->in.bytes + r->in.at, (size_t)n);
        r->in.at += (size_t)n;
        r->in.len -= (size_t)n;
        r->moved = true;
    }
    if (r->in.len || !r->stream_ended || r->eof_sent)
        return 0;
    int rc = libssh2_channel_send_eof(r->c->channel);
    r->eof_sent = rc == 0;
    r->moved |= r->eof_sent;
    return rc == LIBSSH2_ERROR_EAGAIN ? 0 : rc;
}

/* The remote command has said its last word and the parent has got it: what it did not read is lost. */
static bool is_over(const struct relay *r)
{
    return r->stream_gone || (!r->out.len && libssh2_channel_eof(r->c->channel) == 1);
}

/*
 * Until nothing moves any more. Either read can take the other's bytes off the wire into libssh2's list,
 * where poll(2) does not see them: as long as bytes came, both are asked again.
 */
static int pump(struct relay *r)
{
    int64_t received;
    do {
        received = r->c->wire.received;
        r->moved = false;
        int rc = take_stderr(r);
        if (rc == 0)
            rc = take_stdout(r);
        if (rc < 0)
            return rc;
        give_stream(r);
        if (is_over(r))
            return 0;
        take_stream(r);
        rc = give_channel(r);
        if (rc < 0)
            return rc;
        ssh_wire_flush(&r->c->wire);
    } while (r->moved || r->c->wire.received != received);
    return 0;
}

/* False when the session's time is up. */
static bool wait_for_either(struct relay *r)
{
    struct ssh_wire *w = &r->c->wire;
    struct pollfd pfds[] = {{.fd = SSH_FD_SOCKET, .events = (short)(w->queued ? POLLIN | POLLOUT : POLLIN)},
                            {.fd = SSH_FD_STREAM}};
    if (!r->in.len && !r->stream_ended)
        pfds[1].events |= POLLIN;
    if (r->out.len)
        pfds[1].events |= POLLOUT;
    ssh_wire_acknowledge(w);
    int left = clock_left_ms(w->deadline_ms);
    int n = left ? poll(pfds, 2, left) : 0;
    if (n < 0 && errno != EINTR)
        return false;
    r->stream_gone |= n > 0 && (pfds[1].revents & (POLLHUP | POLLERR)) && !(pfds[1].revents & POLLIN);
    if (clock_ms() >= w->deadline_ms)
        w->end = SSH_WIRE_LATE;
    return w->end == SSH_WIRE_UP;
}

/* Waits for the peer's CLOSE, before which the exit signal is not known, then closes as well. */
static void close_channel(struct relay *r)
{
    struct ssh_child *c = r->c;
    int rc;
    c->wire.deadline_ms = clock_ms() + SSH_CLOSE_MS;
    while (!r->stream_gone && (rc = libssh2_channel_wait_closed(c->channel)) == LIBSSH2_ERROR_EAGAIN)
        if (!ssh_wire_wait(&c->wire))
            return;
    while (libssh2_channel_close(c->channel) == LIBSSH2_ERROR_EAGAIN)
        if (!ssh_wire_wait(&c->wire))
            return;
}

static int check_signal(struct ssh_child *c)
{
    char *name = NULL, shown[64];
    size_t len = 0;
    if (libssh2_channel_get_exit_signal(c->channel, &name, &len, NULL, NULL, NULL, NULL) != 0 || !name)
        return 0;
    text_escape(shown, sizeof shown, name, len);
    libssh2_free(c->session, name);
    return error_set(&c->err, E_TEMPORARY, "the forced command was killed there by signal %s", shown);
}

int ssh_relay(struct ssh_child *c)
{
    struct relay r = {.c = c};
    int rc = 0;
    c->doing = "session";
    c->wire.deadline_ms = clock_ms() + c->job->opts->session_timeout_ms;
    do
        rc = pump(&r);
    while (rc == 0 && !is_over(&r) && wait_for_either(&r));
    explicit_bzero(r.in.bytes, sizeof r.in.bytes);
    if (rc < 0 || !is_over(&r))
        return ssh_session_explain(c, rc);
    shutdown(SSH_FD_STREAM, SHUT_RDWR);
    close_channel(&r);
    return r.stream_gone ? 0 : check_signal(c);
}
