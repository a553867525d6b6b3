/*
 * One pass over one target: compare, and if something changed, connect, push and wait for the verdict.
 */
#ifndef PUSHER_PASS_H
#define PUSHER_PASS_H

#include "common/report.h"
#include "pusher/lineage.h"
#include "pusher/push_conf.h"

struct pass_opts {
    const struct push_conf *conf;
    const struct target *target;
    struct lineage_list *lineages; /* scanned; parsed when it is needed */
    int state_fd;                  /* open state folder */
    bool force;                    /* push what is installed already, and have it deployed again */
    bool dry_run;                  /* connect and compare, send nothing, record nothing */
    struct report *report;
    struct error
        *failure; /* takes what kept it from succeeding, the first; text stays "" if nothing did; or NULL */
};

/* 0 when every want is served, else the worst code of common/error.h; everything has been reported. */
int pass_run(const struct pass_opts *opts);

#endif
