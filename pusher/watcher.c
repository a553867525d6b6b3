/*
 * mailcow-cert-push-watch: what mailcow-cert-push becomes for `watch`. It stays, so it holds little: no key,
 * no certificate and none of the libraries for these. Each pass is a process of its own,
 * mailcow-cert-push-worker.
 */
#include "common/clock.h"
#include "common/journal.h"
#include "common/libexec.h"
#include "common/text.h"
#include "pusher/arguments.h"
#include "pusher/resident.h"
#include "pusher/watch.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#define WORKER "mailcow-cert-push-worker"

struct watcher {
    const struct arguments *a;
    struct report *report;
    struct push_conf conf;
    struct watch *watch;
    sd_event *event;
    sd_event_source *quiet;  /* until the sources have been quiet for long enough */
    sd_event_source *due;    /* until the next pass by the clock */
    int64_t first_change_ms; /* that no pass has seen; 0: none */
    pid_t pass;              /* that is running; 0: none */
    sd_event_source *child;  /* until it has ended */
    bool again;              /* there is a reason for one more when it has ended */
    unsigned failures;
    char last[80];                               /* how the last pass ended, for the status */
    bool told;                                   /* that not all can be watched */
    char wrong[sizeof((struct error *)0)->text]; /* with the configuration; "" if it is in force */
};

static void watcher_free(struct watcher *w)
{
    sd_event_source_unref(w->quiet);
    sd_event_source_unref(w->due);
    sd_event_source_unref(w->child);
    if (w->watch)
        watch_free(w->watch);
    push_conf_free(&w->conf);
}

static bool is_complete(const struct watcher *w)
{
    return w->conf.source_count && w->conf.target_count;
}

static void tell_status(const struct watcher *w)
{
    if (w->wrong[0]) {
        sd_notifyf(0, "STATUS=The configuration is wrong: %s", w->wrong);
        return;
    }
    if (!is_complete(w)) {
        sd_notifyf(0, "STATUS=Waiting for a source and a target in %s: mailcow-cert-push enroll HOST",
                   w->a->config);
        return;
    }
    sd_notifyf(0, "STATUS=Watching %zu folders of %zu sources; %s", watch_folders(w->watch),
               w->conf.source_count, w->pass ? "a pass is running" : w->last);
}

/* What cannot be watched is told once, and again after it could be. */
static void arm(struct watcher *w)
{
    struct error err;
    int rc = watch_arm(w->watch, w->a->config, &w->conf, &err);
    if (rc < 0 && !w->told)
        report_error(w->report, "%s", err.text);
    w->told = rc < 0;
}

/* ---- configuration ---- */

/* There may be none as yet: enrolment writes it. */
static int read_conf(const struct watcher *w, struct push_conf *out, struct error *err)
{
    AUTO_PROBLEMS struct problems problems = {0};
    bool missing = access(w->a->config, F_OK) < 0 && errno == ENOENT;
    int rc = missing ? push_conf_parse(w->a->config, (char[]){""}, out, &problems)
                     : push_conf_read_part(w->a->config, out, &problems);
    if (rc < 0)
        return problems_error(&problems, rc, err);
    return w->a->target && out->target_count ? arguments_known_target(w->a, out, err) : 0;
}

/* One that is wrong ends no service: it is told of once, and there is no pass until it is mended. */
static void reconfigure(struct watcher *w)
{
    struct push_conf fresh = {0};
    struct error err;
    if (read_conf(w, &fresh, &err) < 0) {
        if (strcmp(w->wrong, err.text) != 0)
            report_error(w->report, "no passes until this is mended: %s", err.text);
        strcpy(w->wrong, err.text);
        push_conf_free(&fresh);
        return;
    }
    w->wrong[0] = '\0';
    push_conf_free(&w->conf);
    w->conf = fresh;
}

/* ---- a pass ---- */

/* The service manager hears of this process alone; alarms are for the timer's passes, which end with a
 * result. */
static char **environment(void)
{
    static const char *const own[] = {
        "NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=", "MAILCOW_CERT_ALARMS="};
    static char alarms[] = "MAILCOW_CERT_ALARMS=off";
    size_t count = 0, n = 0;
    while (environ[count])
        count++;
    char **out = calloc(count + 2, sizeof *out);
    for (size_t i = 0; out && i < count; i++) {
        bool keep = true;
        for (size_t k = 0; k < sizeof own / sizeof *own; k++)
            keep = keep && strncmp(environ[i], own[k], strlen(own[k])) != 0;
        if (keep)
            out[n++] = environ[i];
    }
    if (out)
        out[n] = alarms;
    return out;
}

static int spawn(const struct watcher *w, const char *path, pid_t *out)
{
    const struct arguments *a = w->a;
    const char *const words[] = {"mailcow-cert-push",
                                 "run",
                                 "--config",
                                 a->config,
                                 a->verbose ? "--verbose" : NULL,
                                 a->quiet ? "--quiet" : NULL,
                                 a->target ? "--target" : NULL,
                                 a->target};
    char *argv[sizeof words / sizeof *words + 1] = {0};
    for (size_t i = 0, n = 0; i < sizeof words / sizeof *words; i++)
        if (words[i])
            memcpy(&argv[n++], &words[i], sizeof *argv);
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none); /* here signals are events, and blocked */
    AUTO_FREE char **envp = environment();
    if (!envp || posix_spawnattr_init(&attributes) != 0)
        return ENOMEM;
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(out, path, NULL, &attributes, argv, envp);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

static void end_pass(struct watcher *w, int number)
{
    kill(w->pass, number);
    waitid(P_PID, (id_t)w->pass, NULL, WEXITED);
    w->pass = 0;
}

static int on_pass_ended(sd_event_source *source, const siginfo_t *info, void *ctx);

static int start_pass(struct watcher *w, struct error *err)
{
    char path[PATH_MAX];
    int rc = libexec_path(path, sizeof path, WORKER, err);
    if (rc < 0)
        return rc;
    errno = spawn(w, path, &w->pass);
    if (errno) {
        w->pass = 0;
        return error_errno(err, path, "start a pass");
    }
    rc = sd_event_add_child(w->event, &w->child, w->pass, WEXITED, on_pass_ended, w);
    if (rc >= 0)
        return 0;
    end_pass(w, SIGKILL);
    return error_set(err, E_FAILED, "wait for a pass: %s", strerror(-rc));
}

static void set_timer(sd_event_source *timer, int64_t ms)
{
    sd_event_source_set_time_relative(timer, (uint64_t)ms * 1000);
    sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static void schedule(struct watcher *w)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)clock_us();
    set_timer(w->due, resident_delay_ms(w->failures, w->conf.watch_every, random));
}

/*
 * Configuration and sources are looked at anew before the pass reads them: what changes from here on starts
 * another one. They are watched first, since what is read may have changed just then.
 */
static int pass(struct watcher *w)
{
    struct error err;
    if (w->pass) {
        w->again = true;
        return 0;
    }
    w->again = false;
    if (w->first_change_ms)
        w->failures = 0;
    w->first_change_ms = 0;
    sd_event_source_set_enabled(w->quiet, SD_EVENT_OFF);
    arm(w);
    reconfigure(w);
    arm(w);
    if (!is_complete(w) || w->wrong[0]) {
        schedule(w);
    } else if (start_pass(w, &err) < 0) {
        report_error(w->report, "%s", err.text);
        w->failures++;
        schedule(w);
    }
    tell_status(w);
    return 0;
}

static int on_pass_ended(sd_event_source *source, const siginfo_t *info, void *ctx)
{
    struct watcher *w = ctx;
    char when[TEXT_TIME_SIZE];
    bool exited = info->si_code == CLD_EXITED;
    w->pass = 0;
    w->child = sd_event_source_unref(source);
    w->failures = exited && !info->si_status ? 0 : w->failures + 1;
    if (!w->failures)
        snprintf(w->last, sizeof w->last, "all was served at %s", text_time(when, time(NULL)));
    else
        snprintf(w->last, sizeof w->last, "the pass at %s failed (%s %d)", text_time(when, time(NULL)),
                 exited ? "exit code" : "signal", info->si_status);
    schedule(w);
    tell_status(w);
    return w->again ? pass(w) : 0;
}

/* ---- events ---- */

static int on_change(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
    struct watcher *w = ctx;
    (void)source, (void)fd, (void)events;
    if (!watch_read(w->watch))
        return 0;
    int64_t now = clock_ms();
    if (!w->first_change_ms)
        w->first_change_ms = now;
    set_timer(w->quiet, resident_quiet_ms(now - w->first_change_ms));
    return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *ctx)
{
    (void)source, (void)usec;
    return pass(ctx);
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
    struct watcher *w = ctx;
    (void)source, (void)info;
    sd_notify(0, "STOPPING=1");
    if (w->pass)
        end_pass(w, SIGTERM); /* what the mail host does goes on; the next pass asks what became of it */
    return sd_event_exit(w->event, 0);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
    struct watcher *w = ctx;
    (void)source, (void)info;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_us());
    w->wrong[0] = '\0';
    pass(w);
    sd_notify(0, "READY=1");
    return 0;
}

/* ---- beginning ---- */

static int add_timer(struct watcher *w, sd_event_source **out)
{
    /* An accuracy of a tenth of a second: whether others' timers are near is of no use to a process this
     * idle. */
    int rc = sd_event_add_time_relative(w->event, out, CLOCK_MONOTONIC, 0, 100000, on_time, w);
    return rc < 0 ? rc : sd_event_source_set_enabled(*out, SD_EVENT_OFF);
}

static int add_sources(struct watcher *w)
{
    static const struct {
        int number;
        sd_event_signal_handler_t handler;
    } signals[] = {{SIGTERM, on_end}, {SIGINT, on_end}, {SIGHUP, on_reload}};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&blocked, signals[i].number);
    int rc = sigprocmask(SIG_BLOCK, &blocked, NULL) < 0 ? -errno : 0;
    for (size_t i = 0; rc >= 0 && i < sizeof signals / sizeof *signals; i++)
        rc = sd_event_add_signal(w->event, NULL, signals[i].number, signals[i].handler, w);
    if (rc >= 0)
        rc = sd_event_add_io(w->event, NULL, watch_fd(w->watch), EPOLLIN, on_change, w);
    if (rc >= 0)
        rc = add_timer(w, &w->quiet);
    if (rc >= 0)
        rc = add_timer(w, &w->due);
    return rc < 0 ? rc : sd_event_set_watchdog(w->event, true);
}

/* A service waits for a wrong one to be mended, since nobody may be there to start it again. A person sees
 * what is wrong. */
static int configure(struct watcher *w, struct error *err)
{
    AUTO_PROBLEMS struct problems ignored = {0};
    if (*w->a->config != '/')
        return error_set(err, E_USAGE, "--config %s: not an absolute path", w->a->config);
    int rc = read_conf(w, &w->conf, err);
    if (rc != E_CONFIG || !getenv("NOTIFY_SOCKET"))
        return rc;
    push_conf_free(&w->conf);
    return push_conf_parse(w->a->config, (char[]){""}, &w->conf, &ignored);
}

static int watch(struct watcher *w, struct error *err)
{
    CLEANUP(sd_event_unrefp) sd_event *event = NULL;
    int rc = configure(w, err);
    if (!rc)
        rc = watch_new(&w->watch, err);
    if (rc < 0)
        return rc;
    rc = sd_event_new(&event);
    w->event = event;
    if (rc >= 0)
        rc = add_sources(w);
    if (rc < 0)
        return error_set(err, E_FAILED, "watch: event loop: %s", strerror(-rc));
    pass(w);
    sd_notify(0, "READY=1");
    rc = sd_event_loop(event);
    return rc < 0 ? error_set(err, E_FAILED, "watch: event loop: %s", strerror(-rc)) : 0;
}

int main(int argc, char **argv)
{
    AUTO_REPORT struct report *report = NULL;
    struct arguments a;
    struct error err = {0};
    int rc = arguments_parse(argc, argv, &a, &err);
    if (!rc) {
        struct report_opts opts = arguments_report(&a);
        opts.journal = journal_write;
        rc = report_new(&report, &opts, &err);
    }
    if (!rc) {
        CLEANUP(watcher_free) struct watcher w = {.a = &a, .report = report};
        rc = watch(&w, &err);
    }
    if (rc < 0 && report && err.text[0])
        report_error(report, "%s", err.text);
    return report ? report_end(report, error_exit_code(rc)) : error_exit_code(rc);
}
