/*
 * How a deployment, or one want of it, comes out; and what it says while it happens.
 */
#ifndef DEPLOYER_OUTCOME_H
#define DEPLOYER_OUTCOME_H

#include "common/error.h"

#include <stdbool.h>

/* From the best to the worst. */
enum outcome_result {
    OUTCOME_UNCHANGED,   /* it was installed and is served: nothing was done */
    OUTCOME_DEPLOYED,    /* something was done, and every endpoint serves it */
    OUTCOME_PENDING,     /* kept; a later pass finishes it */
    OUTCOME_ROLLED_BACK, /* it broke a listener: the one before it is installed and served again */
    OUTCOME_FAILED,      /* some endpoint or service does not do as it should */
};

/* "unchanged", "deployed", "pending", "rolled-back", "failed" */
const char *outcome_str(enum outcome_result result);

/* A zeroed one is unchanged. */
struct outcome {
    enum outcome_result result;
    enum event event;    /* that it is; EVENT_NONE: its result says all */
    const char *finding; /* id of the preflight's finding that it comes from, or NULL */
    char detail[600];    /* what kept it from being deployed, for people */
};

/* Takes over a result that is worse than what is there: of two equal ones the first is what people are told.
 */
void outcome_worsen(struct outcome *o, enum outcome_result result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void outcome_merge(struct outcome *o, const struct outcome *other);
/* The same for an error, with what it means and the event that it is. */
void outcome_fail(struct outcome *o, const struct error *err);

/* What an error means: pending where time may cure it, else failed. */
enum outcome_result outcome_of_error(const struct error *err);

/* Takes lines of progress: words and key=value fields as in the protocol. line may be NULL: nobody listens.
 */
struct progress {
    void (*line)(void *ctx, const char *text);
    void *ctx;
};
void progress_say(const struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
