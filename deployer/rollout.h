/*
 * Bringing what is installed onto the wire: the services are reloaded, every endpoint is asked, and a service
 * that still shows another leaf, or worked before and does not answer, goes up its ladder: reload, verify,
 * restart of its container alone, verify, alarm. It climbs once: a container that was started since the
 * installation has read it, and what did not work before is not what a restart is for.
 *
 * A look before the installation tells which listeners work. One that did and completes no handshake any more
 * is broken, whatever leaf it would show: that ends the climb at once, so that the deployment can go back. An
 * endpoint whose name does not resolve is not served, and nothing else: of the service nothing is known.
 */
#ifndef DEPLOYER_ROLLOUT_H
#define DEPLOYER_ROLLOUT_H

#include "deployer/docker.h"
#include "deployer/finding.h"
#include "deployer/outcome.h"
#include "deployer/pair.h"
#include "deployer/reload.h"
#include "deployer/verify.h"

struct rollout;

/* All are borrowed and must outlive it. The pairs' `expected` is read anew in each look and run. */
int rollout_new(struct rollout **out, const struct mailhost *host, const struct pair *pairs,
                size_t pair_count, const struct progress *progress, struct error *err);
void rollout_free(struct rollout *r);
CLEANUP_DEFINE(struct rollout *, rollout_free)
#define AUTO_ROLLOUT CLEANUP(rollout_freep)

/* Lists the containers and finds the endpoints. Until it has succeeded nothing else is to be called. */
int rollout_survey(struct rollout *r, struct error *err);

/* What there is about mailcow that a deployment should not go on with; also after rollout_survey has failed.
 */
void rollout_preflight(struct rollout *r, struct finding_list *out);

/* Whether Postfix's start script leaves SNI folders out: SKIP_LETS_ENCRYPT is in the container's own
 * environment. */
bool rollout_skips_sni_map(const struct rollout *r);

/* One look at which listeners complete a handshake, before anything is changed; none where that is known. */
void rollout_look_before(struct rollout *r);
/* The listeners that did not, each followed by a space, marked where their names did not resolve; and back,
 * for a deployment that goes on after a crash. STORE_DOWN_UNKNOWN: nobody has looked. */
void rollout_down_before(const struct rollout *r, char *out, size_t size);
/* Of several lists what is in one of them was down. */
void rollout_recall_before(struct rollout *r, const char *down_before);

/* One look at how things stand; true, and told, when every endpoint serves what it should and every service
 * runs. Else a run may follow that repeats. */
bool rollout_look(struct rollout *r);

enum rollout_result {
    ROLLOUT_SERVED,
    ROLLOUT_SHORT,  /* rollout_outcome and rollout_want say what is missing */
    ROLLOUT_BROKEN, /* a listener that worked before completes no handshake any more */
};
/* repeats: nothing is new, and only a service is reloaded that the look saw show another leaf or complete no
 * handshake, or not answer although all was served when it was verified last. */
enum rollout_result rollout_run(struct rollout *r, enum reload_level level, bool repeats);

/* Whether the engine failed in the last run, so that not every service was told, or can be judged. */
bool rollout_lost_engine(const struct rollout *r);

/* What concerns the mail host as a whole: a service that is missing, an engine that does not answer. */
const struct outcome *rollout_outcome(const struct rollout *r);

/* Whether a service may still use a folder that has been retired and holds this leaf: one showed it where it
 * is to show another, nginx kept its configuration, or not every endpoint could be asked. */
bool rollout_may_use(const struct rollout *r, const char *leaf);

/* How the pair of that index fared in the last look or run. True when every endpoint serves it. */
bool rollout_want(const struct rollout *r, size_t pair, struct outcome *out);
/* Whether one was asked for a name of the pair, and showed another leaf. */
bool rollout_lacks(const struct rollout *r, size_t pair);
/* Whether a listener broke under one of its names. */
bool rollout_broke(const struct rollout *r, size_t pair);
/* The first listener that broke, for people. */
const char *rollout_broken_text(const struct rollout *r);

/* What the endpoint of that index (below ENDPOINT_MAX) showed last for the names of the pair, the worst of
 * it. False when there is none, or it was not asked for any. */
struct rollout_seen {
    const struct verify_result *result; /* of the endpoint as a whole */
    const struct verify_cell *cell;
};
bool rollout_see(const struct rollout *r, size_t pair, size_t endpoint, struct rollout_seen *out);

/* Of the last look or run, one per endpoint; they belong to the rollout. */
const struct verify_result *rollout_endpoints(const struct rollout *r, size_t *out_count, size_t *out_served);

#endif
