/* mailcow-cert-push-worker: what mailcow-cert-push becomes when there is something to do. */
#include "common/journal.h"
#include "common/process.h"
#include "pusher/arguments.h"
#include "pusher/candidate.h"
#include "pusher/check.h"
#include "pusher/enroll.h"
#include "pusher/pass.h"
#include "pusher/pass_alarms.h"
#include "pusher/push_metrics.h"
#include "pusher/state.h"

#include <string.h>

#define ROUNDS       3
#define WAIT_MINUTES 20 /* mailcow-cert-push.service has an hour */

/* What is being renewed at this moment is waited for. */
static int scan_settled(const struct push_conf *conf, struct lineage_list *out, struct report *report)
{
    AUTO_LINEAGES struct lineage_list first = {0};
    lineage_scan(conf, &first, NULL);
    candidate_settle(&first);
    return lineage_scan(conf, out, report);
}

static bool is_same(const struct lineage_list *a, const struct lineage_list *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        if (strcmp(a->list[i].signature, b->list[i].signature) != 0)
            return false;
    return a->count == b->count;
}

static bool has_changed(const struct push_conf *conf, const struct lineage_list *before)
{
    AUTO_LINEAGES struct lineage_list now = {0};
    lineage_scan(conf, &now, NULL);
    return !is_same(before, &now);
}

static void write_metrics(const struct arguments *a, const struct push_conf *conf, int state_fd,
                          struct report *report)
{
    struct error err;
    if (!a->dry_run && push_metrics_write(conf, state_fd, &err) < 0)
        report_error(report, "%s", err.text);
}

/* out_changed: whether a lineage is not as it was at the beginning. */
static int push_all(const struct arguments *a, const struct push_conf *conf, int state_fd,
                    struct report *report, bool *out_changed, struct error *err)
{
    AUTO_LINEAGES struct lineage_list lineages = {0};
    AUTO_FREE struct pass_result *results = calloc(conf->target_count + 1, sizeof *results);
    if (!results)
        return error_memory(err);
    int scanned = scan_settled(conf, &lineages, report), worst = scanned;
    for (size_t i = 0; i < conf->target_count; i++) {
        const struct pass_opts opts = {
            .failure = &results[i].failure,
            .conf = conf,
            .target = &conf->targets[i],
            .lineages = &lineages,
            .state_fd = state_fd,
            .force = a->force,
            .dry_run = a->dry_run,
            .report = report,
        };
        if (arguments_select(a, opts.target))
            worst = error_worse(worst, results[i].rc = pass_run(&opts));
    }
    write_metrics(a, conf, state_fd, report);
    *out_changed = has_changed(conf, &lineages);
    if (a->dry_run || a->target ||
        *out_changed) /* what concerns the others, or what is new, cannot be said */
        return worst;
    const struct pass_alarms_opts alarms = {.conf = conf,
                                            .lineages = &lineages,
                                            .state_fd = state_fd,
                                            .scanned = scanned,
                                            .results = results,
                                            .report = report};
    int rc = pass_alarms(&alarms);
    return worst ? worst : rc;
}

/* The other one may have to wait for several mail hosts. */
static int wait_for_turn(int state_fd, struct report *report, struct error *err)
{
    int rc = state_lock(state_fd, 0, err);
    if (rc != E_TEMPORARY)
        return rc;
    report_step(report, "waiting: %s; this one begins when it has ended", err->text);
    rc = state_lock(state_fd, WAIT_MINUTES * 60000, err);
    if (rc != E_TEMPORARY)
        return rc;
    return error_set(err, rc, "another pass has not ended within %d minutes", WAIT_MINUTES);
}

static int push(const struct arguments *a, struct report *report, struct error *err)
{
    AUTO_PUSH_CONF struct push_conf conf = {0};
    int rc = arguments_configure(a, &conf, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int state_fd = state_open(conf.state, err);
    if (state_fd < 0)
        return state_fd;
    rc = wait_for_turn(state_fd, report, err);
    if (rc < 0)
        return rc;
    /* systemd starts no second pass while one runs: what was renewed meanwhile is this one's. */
    struct arguments again = *a;
    bool changed = true;
    for (int round = 0; changed && round < ROUNDS; round++) {
        rc = push_all(&again, &conf, state_fd, report, &changed, err);
        again.force = false;
    }
    return rc;
}

static int run(const struct arguments *a, struct report *report, struct error *err)
{
    switch (a->command) {
    case COMMAND_ENROLL:
        return enroll_run(a, report, err);
    case COMMAND_CHECK:
        return check_run(a, report);
    default:
        return push(a, report, err);
    }
}

int main(int argc, char **argv)
{
    AUTO_REPORT struct report *report = NULL;
    struct arguments a;
    struct error err = {0};
    process_protect();
    int rc = arguments_parse(argc, argv, &a, &err);
    if (!rc) {
        struct report_opts opts = arguments_report(&a);
        opts.journal = journal_write;
        rc = report_new(&report, &opts, &err);
    }
    if (!rc)
        rc = run(&a, report, &err);
    if (rc < 0 && report && err.text[0])
        report_failure(report, &err);
    return report ? report_end(report, error_exit_code(rc)) : error_exit_code(rc);
}
