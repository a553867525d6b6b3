/*
 * A deployment: what was accepted is staged, installed, reloaded and verified on the wire, one deployment at
 * a time.
 *
 * Every step is idempotent. Before anything else a deployment finishes what an earlier one left undone, so a
 * pass without any new bundle (reconcile) runs the same code: it reinstalls what was replaced from outside,
 * reloads what still serves another leaf, and verifies. What is accepted is recorded as pending before it is
 * installed: whatever happens then, the next pass takes it up.
 */
#ifndef DEPLOYER_DEPLOY_H
#define DEPLOYER_DEPLOY_H

#include "common/report.h"
#include "deployer/mailhost.h"
#include "deployer/verify.h"

#define DEPLOY_LOCK_MS 120000 /* how long a deployment waits for another one to end */

struct deploy;

/* mailhost is borrowed and must outlive the deployment. */
int deploy_new(struct deploy **out, struct mailhost *mailhost, struct error *err);
void deploy_free(struct deploy *d);
CLEANUP_DEFINE(struct deploy *, deploy_free)
#define AUTO_DEPLOY CLEANUP(deploy_freep)

/*
 * Has a bundle judged for a want. 0: accepted, part of the next deploy_run; DEPLOY_SAME: accepted, and it is
 * what is installed already; DEPLOY_REFUSED: out->why says why. A second bundle for the same want takes the
 * place of the first.
 */
enum {
    DEPLOY_SAME = 1,
    DEPLOY_REFUSED = 2
};
int deploy_put(struct deploy *d, const char *want, const void *bundle, size_t len, struct judge_verdict *out,
               struct error *err);

/* Whether any accepted bundle waits for deploy_run. */
bool deploy_has_bundle(const struct deploy *d);

enum deploy_result {
    DEPLOY_UNCHANGED, /* it was installed and is served: nothing was done */
    DEPLOY_DEPLOYED,  /* something was done, and every endpoint serves it */
    DEPLOY_PENDING,   /* kept; a later pass finishes it */
    DEPLOY_FAILED,    /* some endpoint or service does not do as it should */
};

struct deploy_want {
    const struct want *want;
    enum deploy_result result;
    struct record record; /* as it is on disk at the end */
    char expected[65];    /* fingerprint that the endpoints are to serve */
};

/* The outcome; wants and endpoints belong to the deployment. */
struct deploy_outcome {
    enum deploy_result result; /* the worst */
    const struct deploy_want *wants;
    size_t want_count;
    const struct verify_result *endpoints;
    size_t endpoint_count;
    size_t served;    /* endpoints that serve what they should */
    char detail[600]; /* what kept it from being DEPLOYED, for people */
};

/* Says one line of progress: words and key=value fields as in the protocol. */
struct deploy_say {
    void (*line)(void *ctx, const char *text);
    void *ctx;
};

/*
 * Runs it. force: reinstall and reload even where nothing changed. 0 with the outcome, or an error when it
 * could not be begun (busy, state unreadable); a failure in its midst is an outcome.
 */
int deploy_run(struct deploy *d, bool force, const struct deploy_say *say, struct deploy_outcome *out,
               struct error *err);

/*
 * Only makes a whole pair of what a crash left behind, waiting for no daemon and no Docker: to be run at
 * boot, before the containers start. 0 also when there was nothing to do.
 */
int deploy_recover(const struct deploy_conf *conf, struct report *report, struct error *err);

const char *deploy_result_str(enum deploy_result result);

#endif
