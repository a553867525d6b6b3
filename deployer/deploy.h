/*
 * A deployment: what was accepted is staged, installed, reloaded and verified on the wire, one deployment at
 * a time.
 *
 * Every step is idempotent. Before anything else a deployment finishes what an earlier one left undone, so a
 * pass without any new bundle (reconcile) runs the same code: it reinstalls what was replaced from outside,
 * reloads what still serves another leaf, and verifies. What is accepted is recorded as pending before it is
 * installed: whatever happens then, the next pass takes it up. What breaks a listener is rolled back.
 */
#ifndef DEPLOYER_DEPLOY_H
#define DEPLOYER_DEPLOY_H

#include "common/report.h"
#include "deployer/mailhost.h"
#include "deployer/outcome.h"
#include "deployer/pair.h"
#include "deployer/verify.h"

/* How long a deployment waits for another one to end; of an operator, or the hourly one: what restarts and
 * waits takes minutes, and is no failure of others. */
#define DEPLOY_LOCK_MS          120000
#define DEPLOY_OPERATOR_LOCK_MS 600000

struct deploy;

/* mailhost is borrowed and must outlive the deployment. */
int deploy_new(struct deploy **out, struct mailhost *mailhost, struct error *err);
void deploy_free(struct deploy *d);
CLEANUP_DEFINE(struct deploy *, deploy_free)
#define AUTO_DEPLOY CLEANUP(deploy_freep)

/*
 * Has a bundle judged for a want. 0: accepted, part of the next deploy_run; PAIR_SAME: accepted, and it is
 * what is installed already; PAIR_REFUSED: out->why says why. A second bundle for the same want takes the
 * place of the first.
 */
int deploy_put(struct deploy *d, const char *want, const void *bundle, size_t len, struct judge_verdict *out,
               struct error *err);

/* Whether any accepted bundle waits for deploy_run. */
bool deploy_has_bundle(const struct deploy *d);

/*
 * Has deploy_run go back to a generation of a want: "" is the one before the current one. The current one is
 * quarantined then. E_FAILED when there is no such generation, E_USAGE when there is no such want.
 */
int deploy_choose(struct deploy *d, const char *want, const char *generation, struct error *err);

/*
 * Has deploy_run remove an SNI folder, whose names are served by the primary's certificate afterwards.
 * E_USAGE when it is no folder or the configuration asks for it.
 */
int deploy_remove(struct deploy *d, const char *want, struct error *err);

/*
 * Limits what may be done for somebody who brings nothing new (no leaf but what is installed or was rolled
 * back): before files are written or services told all the same, by force or because one does not serve,
 * may_repeat is asked; if it says no, everything is only looked at.
 */
void deploy_limit(struct deploy *d, bool (*may_repeat)(void *ctx), void *ctx);

/* The outcome; pairs and endpoints belong to the deployment. */
struct deploy_outcome {
    struct outcome worst;
    const struct pair *pairs; /* in the order of the mail host's wants */
    size_t pair_count;
    const struct verify_result *endpoints;
    size_t endpoint_count;
    size_t served; /* endpoints that serve what they should */
};

/*
 * Keeps other deployments out until the process ends, as deploy_run needs it; says so when it has to wait for
 * one. E_TEMPORARY: that has not ended in time. Nothing is changed yet.
 */
int deploy_lock(struct deploy *d, int64_t wait_ms, const struct progress *progress, struct error *err);

/*
 * Runs it. force: reinstall and reload even where nothing changed, and try what is quarantined. 0 with the
 * outcome, or an error when it could not be begun (busy, state unreadable); a failure in its midst is an
 * outcome.
 */
int deploy_run(struct deploy *d, bool force, const struct progress *progress, struct deploy_outcome *out,
               struct error *err);

/*
 * Only makes a whole pair of what a crash left behind, waiting for no daemon, no Docker and no other
 * deployment, each of which does the same first: to be run at boot, before the containers start. 0 also when
 * there was nothing to do.
 */
int deploy_recover(const struct deploy_conf *conf, struct report *report, struct error *err);

#endif
