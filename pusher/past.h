/*
 * What the passes over a target did, for status and metrics: <state>/<target>.history (common/history.h). Its
 * time is that of the last pass, also of one that had nothing to do, which changes nothing else in it.
 */
#ifndef PUSHER_PAST_H
#define PUSHER_PAST_H

#include "common/history.h"

#include <limits.h>

struct past_pass {
    int rc;
    int64_t us;
    const char *detail; /* why it failed */
};
/* The name of the file; returns out. */
const char *past_file(char out[NAME_MAX], const char *target);

/* A pass that asked the mail host has ended. */
int past_add(int state_fd, const char *target, const struct past_pass *pass, struct error *err);
/* One has ended that had nothing to do. */
void past_touch(int state_fd, const char *target);

/* What is kept, for reading; out_last: when the last pass ended, 0 if there was none. */
int past_read(json_t **out, time_t *out_last, int state_fd, const char *target, struct error *err);

/* The words for results: "done", "failed", "temporary", "configuration"; NULL behind them. */
extern const char *const past_results[];

/* The counter of passes that asked, its kinds being the results; the member that says when one was done. */
#define PAST_PASSES  "passes"
#define PAST_SUCCESS "last_success"

#endif
