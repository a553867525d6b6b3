/*
 * The alarms at the end of a pass over all targets (pusher/push_alarms.h), with what only the certificates of
 * the lineages and the results of the pass say.
 */
#ifndef PUSHER_PASS_ALARMS_H
#define PUSHER_PASS_ALARMS_H

#include "common/report.h"
#include "pusher/lineage.h"
#include "pusher/push_conf.h"

/* How the pass over one target came out. */
struct pass_result {
    int rc;
    struct error failure; /* pass_opts.failure */
};

struct pass_alarms_opts {
    const struct push_conf *conf;
    struct lineage_list *lineages;
    int state_fd;
    int scanned;                       /* whether all sources could be read, as lineage_scan says */
    const struct pass_result *results; /* one for each target */
    struct report *report;
};

/* Judges, writes the book and tells; what could not be written is not told. 0, or a failure: one stands. */
int pass_alarms(const struct pass_alarms_opts *opts);

#endif
