/*
 * One want during a deployment: what is installed for it, what was accepted, what its record says, and the
 * steps that change it. The store must be locked from pair_open on.
 */
#ifndef DEPLOYER_PAIR_H
#define DEPLOYER_PAIR_H

#include "deployer/mailhost.h"
#include "deployer/outcome.h"

/* Zeroed, with want set, before first use; released by pair_wipe. */
struct pair {
    struct want *want; /* of the mail host */
    struct record record;
    struct outcome outcome;
    enum store_state before; /* of the record, when it was opened */
    char expected[65];       /* fingerprint that the endpoints are to serve, "" when nothing is installed */

    struct judge_verdict accepted;
    char judged_against[65]; /* fingerprint of what was installed then */
    bool has_accepted;

    char chosen[STORE_GENERATION_SIZE]; /* to go back to by an operator's word; "" */

    bool stages;      /* the accepted bundle becomes a generation */
    bool writes;      /* a pair is to be written into the folder */
    bool is_due;      /* the services are to be told: it is written, or was left unfinished */
    bool is_resumed;  /* it was left unfinished by a deployment before this one */
    bool is_refused;  /* the record speaks of what was there before */
    bool new_domains; /* the folder's file `domains` was written */
    bool is_new;      /* it had none: no service has read the folder before */
    bool is_repeated; /* it was installed and served already: by its bytes nothing breaks */
    bool is_held;     /* nothing may be installed now: see pair_hold */
    bool is_on_wire;  /* what is due was told to the services, and the endpoints were asked for it */
    bool is_reverted;
    bool is_stuck;   /* it broke a listener, and could not be put back: the next deployment tries again */
    bool is_removed; /* its folder is to go: its names are to be served by the primary's certificate */
};

void pair_wipe(struct pair *p);

/* Has a bundle judged against what is installed. 0, PAIR_SAME: the leaf that is installed, or PAIR_REFUSED:
 * out->why says why. */
enum {
    PAIR_SAME = 1,
    PAIR_REFUSED = 2
};
int pair_put(struct mailhost *host, struct pair *p, const void *bundle, size_t len, struct judge_verdict *out,
             struct error *err);

/*
 * Looks at what is there and decides what is to be done: sets stages, writes and is_due. force: also what is
 * quarantined, and what is installed already. An error is this want's own: nothing is to be done for it, and
 * its record stays as it is.
 */
int pair_open(struct mailhost *host, struct pair *p, bool force, const struct progress *progress,
              struct error *err);

/*
 * Has nothing installed for it now, why being its outcome: what was accepted only becomes a generation, with
 * which a later deployment goes on. Between pair_open and pair_install.
 */
void pair_hold(struct pair *p, const struct outcome *why);

/* Does it. down_before: what struct record keeps while it is pending. */
int pair_install(struct mailhost *host, struct pair *p, const char *down_before,
                 const struct progress *progress, struct error *err);

/* Whether there is something to go back to: a generation, or the absence of a folder that is new and holds
 * nothing but what came from here. */
bool pair_can_revert(const struct pair *p);

/*
 * Puts the generation before this one back and quarantines this one for the reason. PAIR_NO_FOLDER: there was
 * none, the folder is to be removed.
 */
enum {
    PAIR_NO_FOLDER = 1
};
int pair_revert(struct mailhost *host, struct pair *p, const char *reason, const struct progress *progress,
                struct error *err);

/* Records how it stands at the end, and tidies its generations. served: every endpoint serves what is
 * expected. What was installed and is not on the wire stays pending, whatever the outcome: what it breaks
 * only shows when the services read it. */
void pair_conclude(struct mailhost *host, struct pair *p, bool served, const struct progress *progress);

/* What its outcome is to who reads the journal; EVENT_NONE: nothing was to be done. */
enum event pair_event(const struct pair *p);

#endif
