/* The child process of a session: its descriptors, its confinement, its report. */
#include "common/clock.h"
#include "common/process.h"
#include "common/sandbox.h"
#include "pusher/ssh_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void report(struct ssh_child *c, const struct ssh_event *event)
{
    ssize_t n;
    do
        n = send(SSH_FD_EVENTS, event, sizeof *event, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *event) {
        ssh_session_free(c);
        _exit(2);
    }
}

void ssh_child_step(struct ssh_child *c, enum ssh_step step, const char *detail)
{
    struct ssh_event event = {.step = (int)step};
    int64_t now = clock_us();
    event.us = now - c->last_us;
    c->last_us = now;
    snprintf(event.text, sizeof event.text, "%s", detail);
    report(c, &event);
}

static void report_end(struct ssh_child *c, int code)
{
    struct ssh_event event = {.is_end = true, .code = code, .stderr_len = c->stderr_len};
    if (code < 0)
        event.event = (int)c->err.event;
    if (code < 0)
        snprintf(event.text, sizeof event.text, "%s", c->err.text);
    memcpy(event.remote_stderr, c->remote_stderr, c->stderr_len);
    report(c, &event);
}

/* The parent's handlers and mask are not the child's. */
static void reset_signals(void)
{
    sigset_t none;
    for (int sig = 1; sig < SIGRTMIN; sig++)
        signal(sig, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Closes at once all that was inherited: other sessions' streams would not end while this child holds them.
 * SSH_FD_SOCKET is a placeholder until there is a socket.
 */
static bool keep_channels(int stream, int events)
{
    int high_stream = fcntl(stream, F_DUPFD, SSH_FD_COUNT);
    int high_events = fcntl(events, F_DUPFD, SSH_FD_COUNT);
    return high_stream >= 0 && high_events >= 0 && dup2(high_stream, SSH_FD_STREAM) >= 0 &&
           dup2(high_events, SSH_FD_EVENTS) >= 0 && dup2(high_events, SSH_FD_SOCKET) >= 0 &&
           close_range(SSH_FD_COUNT, ~0U, 0) == 0;
}

/* Setting it again after the uid has changed: the kernel forgets it then. */
static bool die_with_parent(const struct ssh_job *job)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == job->parent;
}

/* Bytes over the descriptors that are there; libssh2 looks at the socket's mode. */
static const struct sandbox_call calls[] = {
    {.name = "recvfrom"},
    {.name = "sendto"},
    {.name = "poll"},
    {.name = "shutdown"},
    {.name = "setsockopt", .argument = 2, .value = TCP_QUICKACK},
    {.name = "fcntl", .argument = 1, .value = F_GETFL},
    {.name = "fcntl", .argument = 1, .value = F_SETFL},
    /* elsewhere than on amd64 */
    {.name = "ppoll"},
    {.name = "ppoll_time64"},
    {.name = "recv"},
    {.name = "send"},
    {.name = "fcntl64"},
    {.name = NULL},
};

/* From here on the peer's bytes are parsed. */
static int confine(struct ssh_child *c, int socket)
{
    const char *failed = dup2(socket, SSH_FD_SOCKET) < 0 ? "dup2" : process_confine(SSH_FD_COUNT);
    if (!failed && !die_with_parent(c->job))
        failed = "prctl";
    if (!failed)
        failed = sandbox_enter(calls);
    if (!failed)
        return 0;
    return error_set(&c->err, E_FAILED, "session process: cannot be confined: %s: %s", failed,
                     strerror(errno));
}

static int session(struct ssh_child *c)
{
    int rc = ssh_session_prepare(c);
    if (rc < 0)
        return rc;
    int fd = ssh_connect(c);
    if (fd < 0)
        return fd;
    rc = confine(c, fd);
    if (rc == 0)
        rc = ssh_session_open(c);
    return rc < 0 || c->job->learn ? rc : ssh_relay(c);
}

void ssh_child_run(const struct ssh_job *job, int stream, int events)
{
    reset_signals();
    struct ssh_child *c = calloc(1, sizeof *c);
    if (!c || !keep_channels(stream, events) || !die_with_parent(job))
        _exit(2);
    c->job = job;
    c->last_us = job->start_us;
    report_end(c, session(c));
    ssh_session_free(c);
    free(c);
    _exit(0);
}
