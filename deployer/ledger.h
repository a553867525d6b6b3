/*
 * What deployments did, kept for status and metrics: the last ones, counters, and what each endpoint showed
 * for each want when it was last asked, and since when. In the state folder, history.json (common/history.h).
 * Nothing is decided by it.
 */
#ifndef DEPLOYER_LEDGER_H
#define DEPLOYER_LEDGER_H

#include "common/history.h"
#include "deployer/mailhost.h"
#include "deployer/rollout.h"

/* Of one deployment: ledger_open, then ledger_hear for each of its lines of progress, then ledger_close. A
 * zeroed one hears nothing. Only with the store's lock. */
struct ledger {
    const char *by; /* "push", "reconcile", "rollback" or "remove" */
    int64_t begin_us;
    json_t *history;
    unsigned reloads, restarts, rollbacks;
};

int ledger_open(struct ledger *l, struct store *store, const char *by, struct error *err);
void ledger_free(struct ledger *l);

/* Counts reloads, restarts and rollbacks. */
void ledger_hear(struct ledger *l, const char *line);

/* Takes down what the endpoints showed; where none was asked, what was shown before stays. */
void ledger_see(struct ledger *l, const struct pair *pairs, size_t count, const struct rollout *rollout);

struct ledger_end {
    const struct outcome *outcome;
    size_t served, endpoints;
};
int ledger_close(struct ledger *l, struct store *store, const struct ledger_end *end, struct error *err);

/* What is kept, for reading. */
int ledger_read(json_t **out, const struct store *store, struct error *err);
/* What endpoints showed: an array of objects with the keys want, endpoint, address, state, fingerprint,
 * not_before, not_after, since, seen, detail; or NULL. */
const json_t *ledger_seen(const json_t *history);

/* The counters, each with kinds but the last; the kind of the first two ends in " done" or " failed". */
#define LEDGER_RELOADS     "reloads"
#define LEDGER_RESTARTS    "restarts"
#define LEDGER_DEPLOYMENTS "deployments"
#define LEDGER_ROLLBACKS   "rollbacks"

#endif
