#include "deployer/serve.h"
#include "common/clock.h"
#include "deployer/deploy.h"
#include "deployer/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

struct daemon {
    const struct serve_opts *opts;
    int listen_fd;
    int signal_fd;
    uid_t push_uid; /* looked up once: a name service that hangs would stop the loop */
    bool stopping;
    int64_t last_used_ms;
    struct {
        pid_t pid; /* 0: free */
        enum session_role role;
    } children[SERVE_MAX_PUSHERS + SERVE_MAX_OPERATORS];
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

static unsigned count_children(const struct daemon *d, enum session_role role)
{
    unsigned n = 0;
    for (size_t i = 0; i < sizeof d->children / sizeof *d->children; i++)
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

/* fd: the session's; -1: the child finishes an installation that a killed session left in its midst. */
static _Noreturn void run_child(struct daemon *d, int fd, enum session_role role)
{
    struct error err;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(d->listen_fd);
    close(d->signal_fd);
    int rc = fd < 0 ? deploy_recover(d->opts->conf, d->opts->report, &err)
                    : session_serve(fd, role, d->opts->conf, d->opts->report, &err);
    if (rc < 0)
        report_error(d->opts->report, "session: %s", err.text);
    fflush(NULL);
    _exit(rc < 0);
}

static bool start_child(struct daemon *d, int fd, enum session_role role)
{
    size_t slot = 0;
    while (d->children[slot].pid)
        if (++slot == sizeof d->children / sizeof *d->children)
            return false;
    pid_t pid = fork();
    if (pid == 0)
        run_child(d, fd, role);
    if (pid < 0)
        return false;
    d->children[slot].pid = pid;
    d->children[slot].role = role;
    return true;
}

static void accept_session(struct daemon *d)
{
    AUTO_CLOSE int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    enum session_role role = session_role(fd, d->push_uid);
    if (role == ROLE_NONE)
        turn_away(fd, "530 forbidden: only root and the push user may connect\n");
    else if (d->opts->refusal)
        turn_away(fd, d->opts->refusal);
    else if (!has_room(d, role))
        turn_away(fd, "421 busy: too many sessions, come again\n");
    else if (!start_child(d, fd, role))
        turn_away(fd, "421 busy: no process can be started\n");
    d->last_used_ms = clock_ms();
}

static void forget_child(struct daemon *d, pid_t pid, int status)
{
    bool was_session = false;
    for (size_t i = 0; i < sizeof d->children / sizeof *d->children; i++)
        if (d->children[i].pid == pid) {
            was_session = d->children[i].role != ROLE_NONE;
            d->children[i].pid = 0;
        }
    if (!WIFSIGNALED(status) || d->stopping)
        return;
    report_error(d->opts->report, "session: process %d was ended by signal %d (%s)", (int)pid,
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (was_session)
        start_child(d, -1, ROLE_NONE);
}

static void reap(struct daemon *d)
{
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        forget_child(d, pid, status);
    d->last_used_ms = clock_ms();
}

/* Sessions that deploy finish first; the others end at once, and their clients come again. */
static void stop(struct daemon *d)
{
    d->stopping = true;
    for (size_t i = 0; i < sizeof d->children / sizeof *d->children; i++)
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

/* ---- the loop ---- */

static bool is_over(const struct daemon *d)
{
    bool busy = count_children(d, ROLE_NONE) > 0;
    bool idle = d->opts->idle && clock_ms() - d->last_used_ms >= d->opts->idle * 1000;
    return !busy && (d->stopping || idle);
}

static int wait_ms(const struct daemon *d)
{
    if (!d->opts->idle || count_children(d, ROLE_NONE))
        return -1;
    return clock_left_ms(d->last_used_ms + d->opts->idle * 1000);
}

static int loop(struct daemon *d, struct error *err)
{
    while (!is_over(d)) {
        struct pollfd fds[] = {
            {.fd = d->signal_fd, .events = POLLIN},
            {.fd = d->stopping ? -1 : d->listen_fd, .events = POLLIN},
        };
        if (poll(fds, 2, wait_ms(d)) < 0 && errno != EINTR)
            return error_errno(err, "serve", "poll");
        if (fds[0].revents)
            on_signal(d);
        if (fds[1].revents)
            accept_session(d);
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

int serve(const struct serve_opts *opts, struct error *err)
{
    const struct passwd *pw = getpwnam(opts->conf->push_user);
    struct daemon d = {.opts = opts, .last_used_ms = clock_ms(), .push_uid = pw ? pw->pw_uid : (uid_t)-1};
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
    sd_notify(0, "READY=1");
    int rc = loop(&d, err);
    sd_notify(0, "STOPPING=1");
    if (opts->socket_path)
        unlink(opts->socket_path);
    return rc;
}
