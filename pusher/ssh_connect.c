/* The child's way to a TCP connection, still with all the rights of its parent. */
#include "common/clock.h"
#include "common/io.h"
#include "pusher/ssh_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

CLEANUP_DEFINE(struct addrinfo *, freeaddrinfo)
#define AUTO_ADDRINFO CLEANUP(freeaddrinfop)

/* What came of the addresses tried, for one sentence at the end. */
struct attempts {
    char text[600];
    size_t count;
    size_t late;
    size_t refused;
};

static int resolve(struct ssh_child *c, struct addrinfo **out)
{
    const struct ssh_opts *o = c->job->opts;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    snprintf(port, sizeof port, "%u", o->port);
    int rc = getaddrinfo(o->host, port, &hints, out);
    switch (rc) {
    case 0:
        return 0;
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return error_set(&c->err, E_CONFIG, "resolve: the name does not exist: check `host`, or DNS");
    case EAI_MEMORY:
        return error_memory(&c->err);
    case EAI_SYSTEM:
        return error_set(&c->err, E_TEMPORARY, "resolve: %s", strerror(errno));
    default:
        return error_set(&c->err, E_TEMPORARY, "resolve: the name service does not answer: %s",
                         gai_strerror(rc));
    }
}

static int try_address(const struct addrinfo *ai, int64_t deadline_ms)
{
    AUTO_CLOSE int fd =
        socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (fd < 0)
        return -errno;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    int ready = io_wait(fd, POLLOUT, deadline_ms), number = 0;
    socklen_t len = sizeof number;
    if (ready <= 0)
        return ready < 0 ? -errno : -ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len) < 0)
        return -errno;
    if (number)
        return -number;
    int connected = fd;
    fd = -1;
    return connected;
}

static void address_text(const struct addrinfo *ai, char *out, size_t size)
{
    char host[64] = "?", port[8] = "?";
    getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, "%s port %s", host, port);
}

static void note(struct attempts *a, const struct addrinfo *ai, int number)
{
    char address[80];
    size_t used = strlen(a->text);
    address_text(ai, address, sizeof address);
    a->count++;
    a->late += number == ETIMEDOUT;
    a->refused += number == ECONNREFUSED;
    snprintf(a->text + used, sizeof a->text - used, "%s%s: %s", used ? "; " : "", address,
             number == ETIMEDOUT ? "no answer" : strerror(number));
}

static int give_up(struct ssh_child *c, const struct attempts *a)
{
    int ms = c->job->opts->connect_timeout_ms;
    if (a->late || !a->count)
        return error_set(
            &c->err, E_TEMPORARY,
            "connect: timed out after %d.%d s: is the host up, does a firewall drop the port? (%s)",
            ms / 1000, ms % 1000 / 100, a->text);
    if (a->refused)
        return error_set(&c->err, E_TEMPORARY,
                         "connect: connection refused: does sshd run, and on this port? (%s)", a->text);
    return error_set(&c->err, E_TEMPORARY, "connect: cannot be reached: %s", a->text);
}

/* Without TCP_NODELAY the session takes 1.8 round trips more. Keepalives find a peer that is gone for good.
 */
static void tune(int fd)
{
    int on = 1, idle = 15, interval = 5, count = 4;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int ssh_connect(struct ssh_child *c)
{
    AUTO_ADDRINFO struct addrinfo *list = NULL;
    struct attempts attempts = {0};
    int64_t deadline = c->job->start_us / 1000 + c->job->opts->connect_timeout_ms;
    int rc = resolve(c, &list), left = 0;
    if (rc < 0)
        return rc;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        left++;
    for (const struct addrinfo *ai = list; ai && clock_left_ms(deadline); ai = ai->ai_next, left--) {
        int fd = try_address(ai, clock_ms() + clock_left_ms(deadline) / left);
        if (fd >= 0) {
            char text[80];
            tune(fd);
            address_text(ai, text, sizeof text);
            ssh_child_step(c, SSH_CONNECTED, text);
            return fd;
        }
        note(&attempts, ai, -fd);
    }
    return give_up(c, &attempts);
}
