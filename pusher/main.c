/*
 * mailcow-cert-push: the pass that a timer runs, and that nearly always has nothing to do. That much is found
 * out here, with no library but those of the configuration and the state; for all else the process becomes
 * mailcow-cert-push-worker, whose libraries (libssh2, OpenSSL, libsystemd) take longer to load than the
 * answer takes; or mailcow-cert-push-watch.
 */
#include "common/libexec.h"
#include "pusher/arguments.h"
#include "pusher/past.h"
#include "pusher/push_alarms.h"
#include "pusher/push_metrics.h"
#include "pusher/push_status.h"
#include "pusher/unchanged.h"

#include <limits.h>
#include <string.h>

#define WORKER "mailcow-cert-push-worker"
#define WATCH  "mailcow-cert-push-watch"

static int become(const char *program, char **argv, struct error *err)
{
    char path[PATH_MAX];
    int rc = libexec_path(path, sizeof path, program, err);
    if (rc)
        return rc;
    execv(path, argv);
    return error_errno(err, path, "execute");
}

/* Whatever cannot be read, or is not as it was, is for the worker to deal with and to tell of. */
static bool is_all_unchanged(const struct arguments *a, const struct push_conf *conf,
                             const struct state *states)
{
    AUTO_LINEAGES struct lineage_list lineages = {0};
    if (a->force || a->dry_run || lineage_scan(conf, &lineages, NULL) < 0)
        return false;
    for (size_t i = 0; i < conf->target_count; i++)
        if (arguments_select(a, &conf->targets[i]) &&
            !unchanged(&states[i], conf, &conf->targets[i], &lineages, time(NULL)))
            return false;
    return true;
}

static void report_unchanged(const struct arguments *a, const struct push_conf *conf,
                             const struct state *states, int state_fd, struct report *report)
{
    struct error err;
    for (size_t i = 0; i < conf->target_count; i++) {
        const struct target *target = &conf->targets[i];
        if (!arguments_select(a, target))
            continue;
        unchanged_report(&states[i], target, report);
        past_touch(state_fd, target->name);
    }
    if (push_metrics_write(conf, state_fd, &err) < 0)
        report_error(report, "%s", err.text);
}

static int run(const struct arguments *a, struct state *states, struct report *report, char **argv,
               struct error *err)
{
    AUTO_PUSH_CONF struct push_conf conf = {0};
    struct error why;
    if (a->command != COMMAND_RUN && a->command != COMMAND_STATUS)
        return become(a->command == COMMAND_WATCH ? WATCH : WORKER, argv, err);
    int rc = arguments_configure(a, &conf, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int state_fd = state_open(conf.state, err);
    if (state_fd < 0)
        return state_fd;
    rc = a->command == COMMAND_RUN ? state_lock(state_fd, 0, err) : 0;
    if (rc < 0)
        return rc; /* the worker waits */
    for (size_t i = 0; i < conf.target_count; i++) {
        rc = state_read(state_fd, conf.targets[i].name, &states[i], &why);
        if (rc && a->command == COMMAND_STATUS)
            report_error(report, "%s: %s", conf.targets[i].name, why.text);
    }
    if (a->command == COMMAND_STATUS)
        return push_status(a, &conf, states, state_fd, report, err);
    bool quiet = a->target || push_alarms_quiet(&conf, states, state_fd);
    if (!quiet || !is_all_unchanged(a, &conf, states))
        return become(WORKER, argv, err);
    report_unchanged(a, &conf, states, state_fd, report);
    return 0;
}

int main(int argc, char **argv)
{
    AUTO_REPORT struct report *report = NULL;
    struct arguments a;
    struct error err = {0};
    struct state states[PUSH_CONF_MAX_TARGETS] = {0};
    int rc = arguments_parse(argc, argv, &a, &err);
    if (rc < 0)
        fprintf(stderr, "mailcow-cert-push: %s\n", err.text);
    if (rc)
        return rc < 0 ? error_exit_code(rc) : 0;
    const struct report_opts opts = arguments_report(&a);
    rc = report_new(&report, &opts, &err);
    if (!rc)
        rc = run(&a, states, report, argv, &err);
    if (rc < 0 && report && a.command == COMMAND_RUN) /* which has the journal's fields to tell it with */
        become(WORKER, argv, &(struct error){0});
    if (rc < 0 && report)
        report_failure(report, &err);
    for (size_t i = 0; i < PUSH_CONF_MAX_TARGETS; i++)
        state_free(&states[i]);
    return report ? report_end(report, error_exit_code(rc)) : error_exit_code(rc);
}
