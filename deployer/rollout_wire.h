/*
 * A rollout's view of the wire: every endpoint is asked without a name and with each name of any pair, and
 * has to show the leaf of the pair into whose folder its service looks for that name. What was seen last is
 * kept, and what was seen before anything was changed.
 */
#ifndef DEPLOYER_ROLLOUT_WIRE_H
#define DEPLOYER_ROLLOUT_WIRE_H

#include "deployer/docker.h"
#include "deployer/outcome.h"
#include "deployer/pair.h"
#include "deployer/verify.h"

/* One thing to ask at every endpoint: a name of any pair, or none. */
struct rollout_question {
    const char *name; /* NULL: without SNI */
    char wildcard[300];
};

/* All but skips_sni_map is for reading. An endpoint, a question, a pair: its index. */
struct rollout_wire {
    const struct mailhost *host;
    const struct pair *pairs;
    size_t pair_count;
    const struct progress *progress;
    bool skips_sni_map; /* Postfix leaves SNI folders out */
    struct endpoint_list endpoints;
    struct rollout_question *questions;
    size_t question_count;
    size_t *owners; /* services × questions: the pair whose leaf is to be shown, or pair_count */
    /* endpoints × questions */
    struct verify_cell *now, *before;
    bool has_before;
    struct verify_result results[ENDPOINT_MAX];
};

/* All are borrowed and must outlive it. The pairs' `expected` is read anew whenever something is asked. */
int rollout_wire_init(struct rollout_wire *w, const struct mailhost *host, const struct pair *pairs,
                      size_t pair_count, const struct progress *progress, struct error *err);
void rollout_wire_release(struct rollout_wire *w);
/* Those that are configured, or what the containers publish. Nothing can be asked before. */
int rollout_wire_find_endpoints(struct rollout_wire *w, const struct docker_containers *containers,
                                struct error *err);

const struct verify_cell *rollout_wire_now(const struct rollout_wire *w, size_t endpoint, size_t question);
const struct verify_cell *rollout_wire_before(const struct rollout_wire *w, size_t endpoint, size_t question);
/* The pair whose leaf is to be shown there; NULL: nobody's leaf is expected. */
const struct pair *rollout_wire_owner(const struct rollout_wire *w, size_t endpoint, size_t question);
/* Whether it matters to the pair what is shown there. */
bool rollout_wire_concerns(const struct rollout_wire *w, size_t pair, size_t endpoint, size_t question);
/* What the primary's endpoints are to show. */
const char *rollout_wire_primary(const struct rollout_wire *w);

/*
 * Asks the endpoints of the service, or (not only) all but its; NULL: all. once: a look, told to nobody; else
 * what fails is repeated as verify_run does it. 0: all serve what they should; 1: not all; or an error: they
 * were not asked, and what was seen last is as it was.
 */
int rollout_wire_ask(struct rollout_wire *w, const char *service, bool only, bool once, struct error *err);
/* Tells what the endpoint showed last. */
void rollout_wire_tell(const struct rollout_wire *w, size_t endpoint);
/* Whether all showed what they should when they were asked last. */
bool rollout_wire_is_served(const struct rollout_wire *w);

/* As those of rollout.h, but for the logins. */
void rollout_wire_look_before(struct rollout_wire *w);
void rollout_wire_down_before(const struct rollout_wire *w, char *out, size_t size);
void rollout_wire_recall_before(struct rollout_wire *w, const char *down_before);

#endif
