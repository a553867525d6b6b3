/*
 * mailcow-cert-receive: the forced command of user certsync. A bounded relay between its stdio and the
 * deployer's socket, and nothing else: no arguments, no SSH_ORIGINAL_COMMAND, no privilege, no files, no
 * parser, no cryptography.
 *
 * A cut SSH connection looks like an ordinary end of its input (sshd closes the pipe), so that is what is
 * passed on: the deployer's framing tells the difference.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#ifndef SOCKET_PATH
#define SOCKET_PATH "/run/mailcow-cert-deploy/deploy.sock"
#endif

#define MAX_IN    (8UL * 1024 * 1024) /* bytes from the pusher: what the deployer reads in a session at most */
#define MAX_OUT   (8UL * 1024 * 1024) /* bytes to the pusher */
#define IDLE_MS   300000              /* without a byte in either direction */
#define DRAIN_MS  10000               /* for the pusher to take the last bytes when the deployer has ended */
#define TOTAL_SEC 1200                /* for the whole session */

/* One direction: what was read from `from` waits in buffer[start..end) until `to` takes it. */
struct flow {
    int from, to;
    bool eof;    /* `from` has ended */
    bool closed; /* and `to` was told */
    size_t left; /* bytes that may still come */
    size_t start, end;
    char buffer[16384];
};

static struct flow in = {.from = STDIN_FILENO, .left = MAX_IN};
static struct flow out = {.to = STDOUT_FILENO, .left = MAX_OUT};

static int fail(int code, const char *reply)
{
    /* The pusher is told in the protocol's own way. */
    ssize_t n = write(STDOUT_FILENO, reply, strlen(reply));
    (void)n;
    return code;
}

/* A side that takes nothing must not keep this process in write(2). */
static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int connect_deployer(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool wants_input(const struct flow *f)
{
    return !f->eof && f->end < sizeof f->buffer;
}

static bool has_output(const struct flow *f)
{
    return f->start < f->end;
}

/* False when the flow's budget is spent. */
static bool take(struct flow *f)
{
    ssize_t n = read(f->from, f->buffer + f->end, sizeof f->buffer - f->end);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN || (f->eof = true);
    f->eof = n == 0;
    f->end += (size_t)n;
    if ((size_t)n > f->left)
        return false;
    f->left -= (size_t)n;
    return true;
}

/* A side that no longer takes anything ends its flow; the other flow goes on. */
static void give(struct flow *f)
{
    ssize_t n = write(f->to, f->buffer + f->start, f->end - f->start);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n < 0) {
        explicit_bzero(f->buffer, sizeof f->buffer);
        f->eof = true;
        f->end = f->start;
    } else {
        explicit_bzero(f->buffer + f->start, (size_t)n); /* a private key was in it */
        f->start += (size_t)n;
    }
    if (f->start == f->end)
        f->start = f->end = 0;
}

static short events(bool read_side, bool write_side)
{
    return (short)((read_side ? POLLIN : 0) | (write_side ? POLLOUT : 0));
}

static int relay(int deployer)
{
    in.to = out.from = deployer;
    set_nonblocking(STDOUT_FILENO);
    set_nonblocking(deployer);
    while (!out.eof || has_output(&out)) {
        struct pollfd fds[] = {
            {.fd = wants_input(&in) ? in.from : -1, .events = POLLIN},
            {.fd = deployer, .events = events(wants_input(&out), has_output(&in))},
            {.fd = has_output(&out) ? out.to : -1, .events = POLLOUT},
        };
        if (in.eof && !has_output(&in) && !in.closed) {
            shutdown(deployer, SHUT_WR);
            in.closed = true;
        }
        if (!fds[1].events)
            fds[1].fd = -1;
        int n = poll(fds, 3, out.eof ? DRAIN_MS : IDLE_MS);
        if (n == 0)
            return fail(EX_TEMPFAIL, "421 timeout: nothing was sent for too long\n");
        if (n < 0 && errno != EINTR)
            return 1;
        if (n < 0)
            continue;
        if ((fds[0].revents && !take(&in)) || (fds[1].revents & ~POLLOUT && wants_input(&out) && !take(&out)))
            return fail(1, "552 too-large: more bytes than a session may have\n");
        if (fds[1].revents & POLLOUT)
            give(&in);
        if (fds[2].revents)
            give(&out);
    }
    if (out.left == MAX_OUT)
        return fail(EX_TEMPFAIL, "421 unavailable: mailcow-cert-deploy ended before it said anything\n");
    return EX_OK;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 0); /* private keys pass through */
    alarm(TOTAL_SEC);
    int deployer = connect_deployer();
    if (deployer < 0)
        return fail(EX_TEMPFAIL, "421 unavailable: mailcow-cert-deploy does not answer on " SOCKET_PATH
                                 "; is mailcow-cert-deploy.socket running?\n");
    return relay(deployer);
}
