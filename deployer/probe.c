#include "deployer/probe.h"

#include "common/clock.h"
#include "deployer/proxy_header.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The reason comes first, so that a long name is what is cut. Always true: the probe is over. */
__attribute__((format(printf, 3, 4))) static bool over(struct probe *p, enum verify_state state,
                                                       const char *fmt, ...)
{
    char reason[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    const char *name = p->opts.expectation->name;
    int n = snprintf(p->outcome.detail, sizeof(p->outcome.detail), "%s (asked with%s%s)", reason,
                     name ? " SNI " : "out SNI", name ? name : "");
    if (n >= (int)sizeof(p->outcome.detail))
        memcpy(p->outcome.detail + sizeof(p->outcome.detail) - 4, "...", 4);
    p->outcome.state = state;
    p->phase = PROBE_OVER;
    return true;
}

/* ---- TLS ---- */

static bool compare(struct probe *p)
{
    struct error err;
    const char *expected = p->opts.expectation->fingerprint;
    if (tls_fingerprint(p->tls, p->outcome.fingerprint, &err))
        return over(p, VERIFY_HANDSHAKE, "%s", err.text);
    tls_validity(p->tls, &p->outcome.not_before, &p->outcome.not_after);
    tls_leave(p->tls, dialogue_farewell(p->opts.dialogue));
    if (strcmp(p->outcome.fingerprint, expected) != 0)
        return over(p, VERIFY_STALE, "another leaf is served: %.16s... instead of %.16s...",
                    p->outcome.fingerprint, expected);
    over(p, VERIFY_SERVED, "served");
    p->outcome.detail[0] = '\0';
    return true;
}

/*
 * Docker's proxy accepts on a published port and hangs up when nothing listens in the container: after
 * another address has turned us away, that is no failed handshake, and no distrust.
 */
static bool fail_unheard(struct probe *p, enum verify_state state, const char *why)
{
    if (p->opts.proxy && !p->was_refused)
        return over(p, VERIFY_DISTRUSTED, ENDPOINT_PROXY_HINT);
    if (p->tried > 1)
        state = VERIFY_UNREACHABLE;
    return state == VERIFY_UNREACHABLE ? over(p, state, "accepted, but not a word was said: %.120s", why)
                                       : over(p, state, "%.120s", why);
}

static bool fail_handshake(struct probe *p, const char *why)
{
    return p->outcome.heard ? over(p, VERIFY_HANDSHAKE, "%.120s", why)
                            : fail_unheard(p, VERIFY_HANDSHAKE, why);
}

static bool shake_hands(struct probe *p)
{
    struct error err;
    int rc = tls_handshake(p->tls, &err);
    p->outcome.heard |= tls_heard(p->tls);
    if (rc == 0)
        return compare(p);
    if (rc < 0)
        return fail_handshake(p, err.text);
    p->events = rc == TLS_WANT_WRITE ? POLLOUT : POLLIN;
    return false;
}

static bool start_tls(struct probe *p)
{
    struct error err;
    if (tls_new(&p->tls, p->opts.tls, p->fd, p->opts.expectation->name, &err))
        return over(p, VERIFY_UNREACHABLE, "%.120s", err.text);
    p->phase = PROBE_HANDSHAKING;
    return shake_hands(p);
}

/* ---- dialogue ---- */

/* A command fits the empty buffer of a new socket: anything else than all of it is a failure. */
static bool say(struct probe *p, const char *words)
{
    size_t len = strlen(words);
    return send(p->fd, words, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool hang_up(struct probe *p, const char *why)
{
    return p->outcome.heard ? over(p, VERIFY_DIALOGUE, "%s: %s", dialogue_awaited(&p->dialogue), why)
                            : fail_unheard(p, VERIFY_UNREACHABLE, why);
}

static bool talk(struct probe *p)
{
    char buf[2048];
    const char *words = NULL;
    ssize_t n = recv(p->fd, buf, sizeof(buf), 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? false : hang_up(p, strerror(errno));
    if (n == 0)
        return hang_up(p, "the connection was closed");
    p->outcome.heard = true;
    for (size_t at = 0, used; at < (size_t)n; at += used) {
        switch (dialogue_feed(&p->dialogue, buf + at, (size_t)n - at, &used, &words)) {
        case DIALOGUE_NEED_MORE:
            break;
        case DIALOGUE_SEND:
            if (!say(p, words))
                return hang_up(p, "the connection was closed");
            break;
        case DIALOGUE_GO_AHEAD:
            return start_tls(p);
        case DIALOGUE_REFUSED:
            return over(p, VERIFY_HANDSHAKE, "%s", dialogue_why(&p->dialogue));
        case DIALOGUE_BROKEN:
            return over(p, VERIFY_DIALOGUE, "%s", dialogue_why(&p->dialogue));
        }
    }
    return false;
}

/* ---- connection ---- */

static bool connected(struct probe *p)
{
    p->deadline_ms = clock_ms() + PROBE_PATIENCE_MS;
    p->events = POLLIN;
    int cause = p->opts.proxy ? proxy_header_send(p->fd, p->opts.proxy) : 0;
    if (cause)
        return over(p, VERIFY_UNREACHABLE, "PROXY header: %s", strerror(cause));
    if (p->opts.dialogue == DIALOGUE_TLS)
        return start_tls(p);
    dialogue_init(&p->dialogue, p->opts.dialogue);
    p->phase = PROBE_TALKING;
    return false;
}

static void hang_socket(struct probe *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* 0 when the connection stands, or an errno; EINPROGRESS is no failure. */
static int open_socket(struct probe *p, const struct probe_address *a)
{
    p->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        return errno;
    return connect(p->fd, (const struct sockaddr *)&a->sa, a->len) == 0 ? 0 : errno;
}

/* Tries the next address after the one that failed with cause (0: none has been tried). */
static bool connect_next(struct probe *p, int cause)
{
    const struct probe_opts *o = &p->opts;
    while (p->tried < o->address_count) {
        p->was_refused = p->was_refused || cause == ECONNREFUSED;
        hang_socket(p);
        p->outcome.address = (o->first + p->tried++) % o->address_count;
        cause = open_socket(p, &o->addresses[p->outcome.address]);
        if (cause == 0)
            return connected(p);
        p->phase = PROBE_CONNECTING;
        p->events = POLLOUT;
        p->deadline_ms = clock_ms() + o->connect_timeout_ms;
        if (cause == EINPROGRESS)
            return false;
    }
    if (o->address_count > 1)
        return over(p, VERIFY_UNREACHABLE, "none of %zu addresses accepts, the last: %s", p->tried,
                    strerror(cause));
    return over(p, VERIFY_UNREACHABLE, "connect: %s", strerror(cause));
}

static bool finish_connect(struct probe *p)
{
    int cause = 0;
    socklen_t len = sizeof(cause);
    if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &cause, &len) != 0)
        cause = errno;
    return cause ? connect_next(p, cause) : connected(p);
}

/* ---- the probe ---- */

bool probe_start(struct probe *p, const struct probe_opts *opts)
{
    p->opts = *opts;
    p->tried = 0;
    p->was_refused = false;
    p->fd = -1;
    p->tls = NULL;
    memset(&p->outcome, 0, sizeof(p->outcome));
    return connect_next(p, 0);
}

void probe_expire(struct probe *p)
{
    switch (p->phase) {
    case PROBE_CONNECTING:
        over(p, VERIFY_UNREACHABLE, "connect: no answer in time");
        break;
    case PROBE_TALKING:
        over(p, VERIFY_UNREACHABLE, "%s: nothing was said in time", dialogue_awaited(&p->dialogue));
        break;
    case PROBE_HANDSHAKING:
        over(p, VERIFY_UNREACHABLE, "TLS handshake: nothing was said in time");
        break;
    case PROBE_IDLE:
    case PROBE_OVER:
        break;
    }
}

bool probe_step(struct probe *p, short revents)
{
    if (!revents && clock_ms() < p->deadline_ms)
        return false;
    if (!revents && p->phase == PROBE_CONNECTING)
        return connect_next(p, ETIMEDOUT);
    if (!revents) {
        probe_expire(p);
        return true;
    }
    switch (p->phase) {
    case PROBE_CONNECTING:
        return finish_connect(p);
    case PROBE_TALKING:
        return talk(p);
    case PROBE_HANDSHAKING:
        return shake_hands(p);
    case PROBE_IDLE:
    case PROBE_OVER:
        break;
    }
    return p->phase == PROBE_OVER;
}

void probe_end(struct probe *p)
{
    char rest[4096];
    if (p->phase == PROBE_IDLE)
        return;
    tls_free(p->tls);
    p->tls = NULL;
    /* Closing with unread bytes (session tickets) sends a reset, which servers log as an error. */
    if (p->fd >= 0)
        while (recv(p->fd, rest, sizeof(rest), MSG_DONTWAIT) == (ssize_t)sizeof(rest))
            ;
    hang_socket(p);
    p->phase = PROBE_IDLE;
}
