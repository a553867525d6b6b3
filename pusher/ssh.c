/* The parent's side of a session: starts the child, hears its events, reaps it. */
#include "pusher/ssh.h"
#include "common/clock.h"
#include "common/io.h"
#include "common/text.h"
#include "pusher/ssh_blob.h"
#include "pusher/ssh_impl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECT_MS   15000
#define HANDSHAKE_MS 30000
#define SESSION_MS   600000
#define SLACK_MS     1000 /* the child ends at its own deadlines; later than this it is ended */
#define GRACE_MS     2000

struct ssh {
    pid_t pid;
    int stream;
    int events;
    bool ended; /* the child has reported its end */
    struct ssh_event end;
    char subject[320]; /* host and port, for messages */
};

static void defaults(struct ssh_opts *o)
{
    if (!o->connect_timeout_ms)
        o->connect_timeout_ms = CONNECT_MS;
    if (!o->handshake_timeout_ms)
        o->handshake_timeout_ms = HANDSHAKE_MS;
    if (!o->session_timeout_ms)
        o->session_timeout_ms = SESSION_MS;
}

/* The child's peer may have taken it over: what it reports is cut to what is printable and known. */
static void clean(struct ssh_event *event)
{
    event->text[sizeof event->text - 1] = '\0';
    for (char *p = event->text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    if (event->code != 0 && event->code != E_TEMPORARY && event->code != E_CONFIG)
        event->code = E_FAILED;
    if (event->event != EVENT_HOST_KEY && event->event != EVENT_KEY_REFUSED)
        event->event = EVENT_NONE;
    if (event->stderr_len > sizeof event->remote_stderr)
        event->stderr_len = sizeof event->remote_stderr;
}

/* 1: event filled, 0: the deadline has passed, -1: the child is gone. */
static int next_event(struct ssh *s, int64_t deadline_ms, struct ssh_event *event)
{
    int ready = io_wait(s->events, POLLIN, deadline_ms);
    if (ready <= 0)
        return ready;
    ssize_t n;
    do
        n = recv(s->events, event, sizeof *event, 0);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *event)
        return -1;
    clean(event);
    return 1;
}

/* The child's wait status, -1 if there is none. One that has not ended by the deadline is ended. */
static int wait_status(pid_t child, int64_t deadline_ms)
{
    int status, flags = WNOHANG;
    for (;;) {
        pid_t pid = waitpid(child, &status, flags);
        if (pid > 0 || (pid < 0 && errno != EINTR))
            return pid < 0 ? -1 : status;
        if (pid == 0 && clock_left_ms(deadline_ms)) {
            poll(NULL, 0, 1);
        } else if (pid == 0) {
            kill(child, SIGKILL);
            flags = 0;
        }
    }
}

/* Waits for the child's end, which comes soon after its last event. Its wait status, -1 if there is none. */
static int reap(struct ssh *s)
{
    struct ssh_event event = {0};
    int64_t deadline = clock_ms() + GRACE_MS;
    while (next_event(s, deadline, &event) > 0)
        if (event.is_end && !s->ended) {
            s->ended = true;
            s->end = event;
        }
    return wait_status(s->pid, deadline);
}

static void release(struct ssh *s)
{
    close(s->events);
    if (s->stream >= 0)
        close(s->stream);
    free(s);
}

static int died(const struct ssh *s, int status, struct error *err)
{
    if (status >= 0 && WIFSIGNALED(status))
        return error_set(err, E_TEMPORARY, "%s: the session process was killed by signal %d", s->subject,
                         WTERMSIG(status));
    return error_set(err, E_TEMPORARY, "%s: the session process ended without a word", s->subject);
}

/* What the child's end means. */
static int outcome(const struct ssh *s, int status, struct error *err)
{
    if (!s->ended)
        return died(s, status, err);
    if (s->end.code == 0)
        return 0;
    error_set(err, s->end.code, "%s: %.900s", s->subject, s->end.text);
    return error_mark(err, (enum event)s->end.event);
}

static int start(struct ssh *s, struct ssh_job *job, struct error *err)
{
    int stream[2], events[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) < 0)
        return error_errno(err, s->subject, "socketpair");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events) < 0) {
        int rc = error_errno(err, s->subject, "socketpair");
        close(stream[0]);
        close(stream[1]);
        return rc;
    }
    job->parent = getpid();
    s->pid = fork();
    if (s->pid == 0)
        ssh_child_run(job, stream[1], events[1]);
    int number = errno;
    close(stream[1]);
    close(events[1]);
    s->stream = stream[0];
    s->events = events[0];
    errno = number;
    return s->pid < 0 ? error_errno(err, s->subject, "fork") : 0;
}

/* The child sees to its deadlines itself, except while it is inside getaddrinfo(3). */
static int overdue(const struct ssh *s, const struct ssh_opts *o, bool connected, struct error *err)
{
    kill(s->pid, SIGKILL);
    if (connected)
        return error_set(err, E_TEMPORARY, "%s: handshake: timed out: the session process hangs", s->subject);
    return error_set(err, E_TEMPORARY,
                     "%s: resolve: timed out: the name service does not answer within %d.%d s", s->subject,
                     o->connect_timeout_ms / 1000, o->connect_timeout_ms % 1000 / 100);
}

/* Hears the child until the step is done. */
static int await(struct ssh *s, const struct ssh_opts *o, enum ssh_step goal, struct error *err)
{
    struct ssh_event event = {0};
    bool connected = false;
    int64_t deadline = clock_ms() + o->connect_timeout_ms + SLACK_MS;
    for (;;) {
        int got = next_event(s, deadline, &event);
        if (got == 0) {
            int rc = overdue(s, o, connected, err);
            reap(s);
            return rc;
        }
        if (got > 0 && event.is_end) {
            s->ended = true;
            s->end = event;
        }
        if (got < 0 || event.is_end) {
            int rc = outcome(s, reap(s), err);
            return rc < 0 ? rc : died(s, -1, err);
        }
        if (o->on_step && event.step >= SSH_CONNECTED && event.step <= SSH_OPEN)
            o->on_step(o->ctx, (enum ssh_step)event.step, event.text, event.us);
        if (event.step == (int)goal)
            return 0;
        if (event.step == SSH_CONNECTED && !connected) {
            connected = true;
            deadline = clock_ms() + o->handshake_timeout_ms + SLACK_MS;
        }
    }
}

/* Starts the child with its job, whose known hosts are the caller's, and waits for the step. */
static int begin(struct ssh **out, struct ssh_job *job, enum ssh_step goal, struct error *err)
{
    const struct ssh_opts *o = job->opts;
    struct ssh *s = calloc(1, sizeof *s);
    if (!s)
        return error_memory(err);
    s->stream = s->events = -1;
    char host[290];
    snprintf(s->subject, sizeof s->subject, "%s port %u",
             text_escape(host, sizeof host, o->host, strlen(o->host)), o->port);
    int rc = start(s, job, err);
    if (rc == 0)
        rc = await(s, o, goal, err);
    if (rc < 0)
        release(s);
    else
        *out = s;
    return rc;
}

int ssh_open(struct ssh **out, const struct ssh_opts *opts, struct error *err)
{
    struct ssh_opts o = *opts;
    struct ssh_job job = {.opts = &o, .start_us = clock_us()};
    defaults(&o);
    int rc = ssh_key_inspect(o.key, o.key_path, &job.key, err);
    if (rc == 0)
        rc = known_hosts_load(o.known_hosts, o.known_hosts_path, o.host, o.port, &job.known, err);
    if (rc == 0)
        rc = begin(out, &job, SSH_OPEN, err);
    known_hosts_free(&job.known);
    return rc;
}

/* `type base64`, as the child reports it; it may be anybody's by now. */
static int parse_host_key(const char *text, struct ssh_host_key *out)
{
    unsigned char blob[sizeof out->base64];
    char inner[sizeof out->type];
    if (sscanf(text, "%63s %1023s", out->type, out->base64) != 2)
        return -1;
    int len = ssh_blob_decode(out->base64, strlen(out->base64), blob, sizeof blob);
    if (len < 0 || !ssh_blob_type(blob, (size_t)len, inner, sizeof inner) || strcmp(inner, out->type) != 0 ||
        !ssh_blob_is_whole(blob, (size_t)len))
        return -1;
    ssh_blob_fingerprint(out->fingerprint, blob, (size_t)len);
    return 0;
}

struct learning {
    const struct ssh_opts *opts;
    char key[1024];
};

static void on_learning_step(void *ctx, enum ssh_step step, const char *detail, int64_t us)
{
    struct learning *l = ctx;
    if (step == SSH_HOST_KEY)
        snprintf(l->key, sizeof l->key, "%s", detail);
    else if (l->opts->on_step)
        l->opts->on_step(l->opts->ctx, step, detail, us);
}

int ssh_learn(const struct ssh_opts *opts, struct ssh_host_key *out, struct error *err)
{
    struct learning learning = {.opts = opts};
    struct ssh_opts o = *opts;
    struct ssh_job job = {.opts = &o, .start_us = clock_us(), .learn = true};
    struct ssh *s = NULL;
    char ignored[8];
    struct error ended;
    defaults(&o);
    o.on_step = on_learning_step;
    o.ctx = &learning;
    int rc = known_hosts_load(o.known_hosts, o.known_hosts_path, o.host, o.port, &job.known, err);
    if (rc == 0)
        rc = begin(&s, &job, SSH_HOST_KEY, err);
    known_hosts_free(&job.known);
    if (rc < 0)
        return rc;
    ssh_close(s, ignored, sizeof ignored, &ended);
    return parse_host_key(learning.key, out) < 0
               ? error_set(err, E_FAILED, "%s port %u: it shows a host key that is none", o.host, o.port)
               : 0;
}

int ssh_fd(const struct ssh *s)
{
    return s->stream;
}

int ssh_close(struct ssh *s, char *out_stderr, size_t size, struct error *err)
{
    close(s->stream);
    s->stream = -1;
    int status = reap(s);
    size_t len = s->end.stderr_len;
    while (len && s->end.remote_stderr[len - 1] == '\n')
        len--;
    text_escape(out_stderr, size, s->end.remote_stderr, len);
    int rc = outcome(s, status, err);
    release(s);
    return rc;
}
