/*
 * `status` of the pusher: what the last verdicts said and what the last passes did, without asking anybody.
 */
#ifndef PUSHER_PUSH_STATUS_H
#define PUSHER_PUSH_STATUS_H

#include "common/report.h"
#include "pusher/arguments.h"
#include "pusher/state.h"

/* states: one for each target of conf. */
int push_status(const struct arguments *a, const struct push_conf *conf, const struct state *states,
                int state_fd, struct report *report, struct error *err);

#endif
