/*
 * The pusher's metrics: docs/metrics.md lists them.
 */
#ifndef PUSHER_PUSH_METRICS_H
#define PUSHER_PUSH_METRICS_H

#include "pusher/push_conf.h"

/* Writes them where the configuration says, for all targets, from what is in the state folder: by
 * whose that is, and by nobody else. */
int push_metrics_write(const struct push_conf *conf, int state_fd, struct error *err);

#endif
