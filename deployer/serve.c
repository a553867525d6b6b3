#include "deployer/serve.h"
#include "common/clock.h"
#include "common/text.h"
#include "deployer/deploy.h"
#include "deployer/session.h"
#include "deployer/turn.h"
#include "deployer/waiting.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#define STARTS                                                                                               \
    8 /* sessions of pushers that are started before the next look at the socket: an operator may be there   \
       */
#define LOOK_MS       100   /* while somebody waits, to see whose turn is over */
#define CROWD_LOG_MS  60000 /* between two complaints of a crowd */
#define SERVE_MAX_ALL (SERVE_MAX_PUSHERS + SERVE_MAX_OPERATORS)
#define OTHER_FDS     64 /* descriptors beside those of connections that wait */

#define STATUS_SIZE 200

#define BUSY "421 busy: too many sessions, come again\n"

struct child {
    pid_t pid; /* 0: free */
    enum session_role role;
    struct turn *turn; /* a pusher's */
    bool told;         /* to end */
};

struct daemon {
    const struct serve_opts *opts;
    int listen_fd;
    int signal_fd;
    uid_t push_uid; /* looked up once: a name service that hangs would stop the loop */
    bool stopping;
    int64_t last_used_ms;
    time_t idle_since; /* the same, as people tell time */
    int64_t crowd_logged_ms;
    int64_t watchdog_ms; /* between two signs of life that systemd is given; 0: it wants none */
    int64_t next_sign_ms;
    char status[STATUS_SIZE]; /* as systemd was told last */
    struct child children[SERVE_MAX_ALL];
    struct turns *turns; /* one for each child */
    struct trust *trust; /* NULL until the first pusher's session has begun */
    struct waiting waiting;
};

/* ---- the socket ---- */

static int take_over_socket(struct error *err)
{
    int n = sd_listen_fds(1);
    if (n != 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
        return error_set(
            err, E_USAGE,
            "serve: systemd handed over %d sockets, expected one; to listen by yourself use --socket PATH",
            n);
    return SD_LISTEN_FDS_START;
}

/* Only root and the push user can connect; SO_PEERCRED then tells which. */
static int set_access(const char *path, const struct deploy_conf *conf, struct error *err)
{
    const struct passwd *pw = getpwnam(conf->push_user);
    if (geteuid() == 0 && pw && chown(path, 0, pw->pw_gid) < 0)
        return error_errno(err, path, "chown");
    return chmod(path, 0660) < 0 ? error_errno(err, path, "chmod") : 0;
}

/* An old socket is removed only if nobody listens on it. */
static bool is_stale(const struct sockaddr_un *address)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 &&
           errno == ECONNREFUSED;
}

static int listen_on(const char *path, const struct deploy_conf *conf, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, E_CONFIG, "%s: too long for a socket", path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, path, "socket");
    if (is_stale(&address))
        unlink(path);
    mode_t mask = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (rc < 0 || listen(fd, SOMAXCONN) < 0)
        rc = error_errno(err, path, "listen");
    if (!rc)
        rc = set_access(path, conf, err);
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

/* ---- sessions ---- */

static void mark_used(struct daemon *d)
{
    d->last_used_ms = clock_ms();
    d->idle_since = time(NULL);
}

static unsigned count_children(const struct daemon *d, enum session_role role)
{
    unsigned n = 0;
    for (size_t i = 0; i < SERVE_MAX_ALL; i++)
        n += d->children[i].pid && (role == ROLE_NONE || d->children[i].role == role);
    return n;
}

static bool has_room(const struct daemon *d, enum session_role role)
{
    return count_children(d, role) < (role == ROLE_OPERATOR ? SERVE_MAX_OPERATORS : SERVE_MAX_PUSHERS);
}

static void turn_away(int fd, const char *line)
{
    ssize_t n = send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
}

static int session_fd; /* of this process, for leave() */

/* A session that does not deploy ends when it is told to; its client comes again. */
static void leave(int number)
{
    (void)number;
    turn_away(session_fd, BUSY);
    _exit(0);
}

/* fd: the session's; -1: the child finishes an installation that a killed session left in its midst. */
static _Noreturn void run_child(struct daemon *d, int fd, const struct child *child)
{
    struct error err;
    sigset_t none;
    const struct session_opts opts = {.fd = fd,
                                      .role = child->role,
                                      .turn = child->turn,
                                      .trust = d->trust,
                                      .conf = d->opts->conf,
                                      .report = d->opts->report};
    session_fd = fd;
    signal(SIGTERM, leave);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(d->listen_fd);
    close(d->signal_fd);
    waiting_close(&d->waiting); /* their peers would not see their end while this process holds them */
    int rc = fd < 0 ? deploy_recover(d->opts->conf, d->opts->report, &err) : session_serve(&opts, &err);
    if (rc < 0 && session_may_tell(&opts))
        report_event(d->opts->report, err.event ? err.event : EVENT_SESSION_FAILED, NULL, "session: %s",
                     err.text);
    fflush(NULL);
    _exit(rc < 0);
}

static bool start_child(struct daemon *d, int fd, enum session_role role)
{
    size_t slot = 0;
    while (d->children[slot].pid)
        if (++slot == SERVE_MAX_ALL)
            return false;
    struct child child = {.role = role};
    if (role == ROLE_PUSHER)
        child.turn = turn_begin(d->turns, slot);
    child.pid = fork();
    if (child.pid == 0)
        run_child(d, fd, &child);
    if (child.pid < 0)
        return false;
    d->children[slot] = child;
    return true;
}

/*
 * The CAs are loaded once for all sessions (17 ms for Debian's): after a first session has begun, which loads
 * them itself while its client is under way, and again when the file has changed.
 */
static void start_session(struct daemon *d, int fd, enum session_role role)
{
    struct error ignored; /* the session tells it */
    if (d->trust && !trust_is_current(d->trust, d->opts->conf->trust)) {
        trust_free(d->trust);
        d->trust = NULL;
    }
    if (!start_child(d, fd, role))
        turn_away(fd, "421 busy: no process can be started\n");
    close(fd);
    if (!d->trust && role == ROLE_PUSHER)
        trust_new(&d->trust, d->opts->conf->trust, &ignored);
}

static void dismiss(int fd, const char *line)
{
    turn_away(fd, line);
    close(fd);
}

/* Of an operator there is a session at once or not at all; a pusher waits. */
static void admit(struct daemon *d, int fd)
{
    enum session_role role = session_role(fd, d->push_uid);
    if (role == ROLE_NONE)
        dismiss(fd, "530 forbidden: only root and the push user may connect\n");
    else if (d->opts->refusal)
        dismiss(fd, d->opts->refusal);
    else if (role == ROLE_OPERATOR && !has_room(d, role))
        dismiss(fd, BUSY);
    else if (role == ROLE_OPERATOR)
        start_session(d, fd, role);
    else if ((fd = waiting_add(&d->waiting, fd)) >= 0)
        dismiss(fd, BUSY);
}

static void accept_sessions(struct daemon *d)
{
    int fd;
    for (int i = 0; i < WAITING_MAX && (fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0; i++)
        admit(d, fd);
    mark_used(d);
}

/* ---- turns ---- */

static void complain_of_crowd(struct daemon *d)
{
    int64_t now = clock_ms();
    if (d->crowd_logged_ms && now - d->crowd_logged_ms < CROWD_LOG_MS)
        return;
    d->crowd_logged_ms = now;
    report_event(
        d->opts->report, EVENT_CROWD, NULL,
        "serve: %d sessions of pushers and %zu connections that wait: the idle ones are ended to make room; "
        "does somebody else have the push key?",
        SERVE_MAX_PUSHERS, d->waiting.count);
}

/* Whose turn has been over for the longest time. */
static struct child *find_idle(struct daemon *d)
{
    struct child *found = NULL;
    for (size_t i = 0; i < SERVE_MAX_ALL; i++) {
        struct child *c = &d->children[i];
        if (c->pid && !c->told && turn_is_over(c->turn) &&
            (!found || turn_ended_before(c->turn, found->turn)))
            found = c;
    }
    return found;
}

static size_t count_told(const struct daemon *d)
{
    size_t n = 0;
    for (size_t i = 0; i < SERVE_MAX_ALL; i++)
        n += d->children[i].pid && d->children[i].told;
    return n;
}

static void end_idle(struct daemon *d)
{
    struct child *idle;
    for (size_t told = count_told(d); told < d->waiting.count && (idle = find_idle(d)); told++) {
        complain_of_crowd(d);
        kill(idle->pid, SIGTERM);
        idle->told = true;
    }
}

static void give_turns(struct daemon *d)
{
    int fd;
    for (int i = 0; i < STARTS && has_room(d, ROLE_PUSHER) && (fd = waiting_take(&d->waiting)) >= 0; i++)
        start_session(d, fd, ROLE_PUSHER);
    bool full = !has_room(d, ROLE_PUSHER);
    if (full)
        waiting_tidy(&d->waiting);
    turns_set_crowded(d->turns, full && d->waiting.count);
    if (full)
        end_idle(d);
}

static void forget_child(struct daemon *d, pid_t pid, int status)
{
    bool was_session = false;
    for (size_t i = 0; i < SERVE_MAX_ALL; i++)
        if (d->children[i].pid == pid) {
            was_session = d->children[i].role != ROLE_NONE;
            d->children[i].pid = 0;
        }
    if (!WIFSIGNALED(status) || d->stopping)
        return;
    report_event(d->opts->report, EVENT_SESSION_CRASHED, NULL,
                 "session: process %d was ended by signal %d (%s)", (int)pid, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    if (was_session)
        start_child(d, -1, ROLE_NONE);
}

static void reap(struct daemon *d)
{
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        forget_child(d, pid, status);
    mark_used(d);
}

/* Sessions that deploy finish first; the others end at once, and their clients come again. */
static void stop(struct daemon *d)
{
    d->stopping = true;
    waiting_close(&d->waiting);
    for (size_t i = 0; i < SERVE_MAX_ALL; i++)
        if (d->children[i].pid)
            kill(d->children[i].pid, SIGTERM);
}

static void on_signal(struct daemon *d)
{
    struct signalfd_siginfo info;
    while (read(d->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(d);
        else
            stop(d);
    }
}

/* ---- what systemd is told ---- */

static void describe(const struct daemon *d, char *out)
{
    unsigned pushers = count_children(d, ROLE_PUSHER), operators = count_children(d, ROLE_OPERATOR);
    char idle[TEXT_TIME_SIZE];
    if (d->opts->refusal)
        snprintf(out, STATUS_SIZE, "Refuses all sessions: %.*s", (int)strcspn(d->opts->refusal, "\n"),
                 d->opts->refusal);
    else if (pushers || operators || d->waiting.count)
        snprintf(out, STATUS_SIZE, "%s: %u of pushers, %u of operators; %zu connections wait",
                 d->stopping ? "Ends after its sessions" : "Sessions", pushers, operators, d->waiting.count);
    else if (d->opts->idle)
        snprintf(out, STATUS_SIZE, "Idle since %s; ends when nobody comes", text_time(idle, d->idle_since));
    else
        snprintf(out, STATUS_SIZE, "Idle");
}

static void tell_systemd(struct daemon *d)
{
    char status[STATUS_SIZE];
    describe(d, status);
    if (strcmp(status, d->status) != 0)
        sd_notifyf(0, "STATUS=%s", strcpy(d->status, status));
    if (d->watchdog_ms && clock_ms() >= d->next_sign_ms) {
        sd_notify(0, "WATCHDOG=1");
        d->next_sign_ms = clock_ms() + d->watchdog_ms;
    }
}

/* A third of what systemd allows, so that a busy machine does not look like a daemon that hangs. */
static int64_t watchdog_interval_ms(void)
{
    uint64_t usec;
    return sd_watchdog_enabled(0, &usec) > 0 ? (int64_t)(usec / 3000) : 0;
}

/* ---- the loop ---- */

/* When it has been idle for long enough: not before what it remembers of repetitions means nothing any more.
 */
static int64_t end_ms(const struct daemon *d)
{
    int64_t idle = d->last_used_ms + d->opts->idle * 1000, remembers = turns_repeat_until(d->turns);
    return idle > remembers ? idle : remembers;
}

static bool is_over(const struct daemon *d)
{
    bool busy = d->waiting.count || count_children(d, ROLE_NONE) > 0;
    bool idle = d->opts->idle && clock_ms() >= end_ms(d);
    return !busy && (d->stopping || idle);
}

static int wait_ms(const struct daemon *d)
{
    if (d->waiting.count)
        return has_room(d, ROLE_PUSHER) ? 0 : LOOK_MS;
    int end = !d->opts->idle || count_children(d, ROLE_NONE) ? -1 : clock_left_ms(end_ms(d));
    int sign = d->watchdog_ms ? clock_left_ms(d->next_sign_ms) : -1;
    return end < 0 || (sign >= 0 && sign < end) ? sign : end;
}

static int loop(struct daemon *d, struct error *err)
{
    while (!is_over(d)) {
        tell_systemd(d);
        struct pollfd fds[] = {
            {.fd = d->signal_fd, .events = POLLIN},
            {.fd = d->stopping ? -1 : d->listen_fd, .events = POLLIN},
        };
        if (poll(fds, 2, wait_ms(d)) < 0 && errno != EINTR)
            return error_errno(err, "serve", "poll");
        if (fds[0].revents)
            on_signal(d);
        if (fds[1].revents)
            accept_sessions(d);
        give_turns(d);
    }
    return 0;
}

static int open_signals(struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? error_errno(err, "serve", "signalfd") : fd;
}

/* As many may wait as there can be descriptors. */
static size_t limit_waiting(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return 0;
    rlim_t need = WAITING_MAX + OTHER_FDS;
    if (files.rlim_cur < need) {
        files.rlim_cur = files.rlim_max < need ? files.rlim_max : need;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    return files.rlim_cur >= need ? WAITING_MAX : files.rlim_cur > OTHER_FDS ? files.rlim_cur - OTHER_FDS : 1;
}

int serve(const struct serve_opts *opts, struct error *err)
{
    const struct passwd *pw = getpwnam(opts->conf->push_user);
    struct daemon d = {.opts = opts, .push_uid = pw ? pw->pw_uid : (uid_t)-1};
    mark_used(&d);
    d.waiting.max = limit_waiting();
    int rc = turns_new(&d.turns, SERVE_MAX_ALL, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int listen_fd =
        opts->socket_path ? listen_on(opts->socket_path, opts->conf, err) : take_over_socket(err);
    if (listen_fd < 0)
        return listen_fd;
    AUTO_CLOSE int signal_fd = open_signals(err);
    if (signal_fd < 0)
        return signal_fd;
    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
    d.listen_fd = listen_fd;
    d.signal_fd = signal_fd;
    d.watchdog_ms = watchdog_interval_ms();
    sd_notify(0, "READY=1");
    rc = loop(&d, err);
    sd_notify(0, "STOPPING=1");
    if (opts->socket_path)
        unlink(opts->socket_path);
    trust_free(d.trust);
    return rc;
}
