/*
 * The mail host as one session sees it: configuration, mailcow, the open SSL folder, the wants and the state,
 * opened together and closed together.
 */
#ifndef DEPLOYER_MAILHOST_H
#define DEPLOYER_MAILHOST_H

#include "deployer/deploy_conf.h"
#include "deployer/install.h"
#include "deployer/mailcow.h"
#include "deployer/store.h"
#include "deployer/trust.h"

struct mailhost {
    const struct deploy_conf *conf; /* borrowed */
    struct mailcow mailcow;
    int ssl_fd;
    struct want_list wants;   /* as they were when the mail host was opened */
    struct problems problems; /* SNI folders that are no wants */
    struct store *store;
    const struct trust *trust; /* NULL until it is loaded or lent */
    struct trust *own_trust;
};

int mailhost_open(struct mailhost **out, const struct deploy_conf *conf, struct error *err);
void mailhost_close(struct mailhost *m);
CLEANUP_DEFINE(struct mailhost *, mailhost_close)
#define AUTO_MAILHOST CLEANUP(mailhost_closep)

/* Where pairs are installed. */
struct install_place mailhost_place(const struct mailhost *m);

/* Has it judge by this store, which must outlive it, instead of loading one. */
void mailhost_lend_trust(struct mailhost *m, const struct trust *trust);

/* To be called while nothing else is to be done: judging loads it otherwise (17 ms for Debian's roots). */
int mailhost_load_trust(struct mailhost *m, struct error *err);

/*
 * Judges a bundle for a want, confined; as a successor against what is installed at this moment, else by
 * itself. Loads the trust store when it is first needed: most sessions ask and go.
 */
int mailhost_judge(struct mailhost *m, const struct want *want, bool as_successor, const void *bundle,
                   size_t len, struct judge_verdict *out, struct error *err);

#endif
