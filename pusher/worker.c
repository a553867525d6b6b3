/* mailcow-cert-push-worker: what mailcow-cert-push becomes when there is something to do. */
#include "common/journal.h"
#include "common/process.h"
#include "pusher/arguments.h"
#include "pusher/check.h"
#include "pusher/enroll.h"
#include "pusher/pass.h"
#include "pusher/pass_alarms.h"
#include "pusher/state.h"

static int push_all(const struct arguments *a, const struct push_conf *conf, int state_fd,
                    struct report *report, struct error *err)
{
    AUTO_LINEAGES struct lineage_list lineages = {0};
    AUTO_FREE struct pass_result *results = calloc(conf->target_count + 1, sizeof *results);
    if (!results)
        return error_memory(err);
    int scanned = lineage_scan(conf, &lineages, report), worst = scanned;
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
    if (a->dry_run || a->target) /* what concerns the others cannot be said */
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

static int push(const struct arguments *a, struct report *report, struct error *err)
{
    AUTO_PUSH_CONF struct push_conf conf = {0};
    int rc = arguments_configure(a, &conf, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int state_fd = state_open(conf.state, true, err);
    return state_fd < 0 ? state_fd : push_all(a, &conf, state_fd, report, err);
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
