/*
 * The deployer's side of one session of the protocol (docs/protocol.md): greeting, commands, verdict. Runs in
 * a process of its own; what it does is decided by the role of whoever connected.
 */
#ifndef DEPLOYER_SESSION_H
#define DEPLOYER_SESSION_H

#include "common/report.h"
#include "deployer/deploy_conf.h"
#include "deployer/trust.h"
#include "deployer/turn.h"

#include <sys/types.h>

enum session_role {
    ROLE_NONE,     /* neither: is turned away before there is a session */
    ROLE_PUSHER,   /* push_user: may put and deploy what the judge accepts */
    ROLE_OPERATOR, /* root or the daemon's own user: may also reconcile, force and ask for the status */
};

#define SESSION_HELLO_MS   15000 /* for a pusher to say its first word */
#define SESSION_COMMAND_MS 60000 /* for a client to say what it wants, bundles included */
#define SESSION_SAY_MS     5000  /* for a client to take a line; it is not waited for twice */

/* The role of a peer, by SO_PEERCRED of fd. push_uid: that of push_user, or (uid_t)-1 when there is no such
 * user. */
enum session_role session_role(int fd, uid_t push_uid);

struct session_opts {
    int fd;
    enum session_role role;
    struct turn *turn;         /* NULL: of an operator */
    const struct trust *trust; /* NULL: the session loads its own */
    const struct deploy_conf *conf;
    struct report *report;
};

/*
 * Serves the session to its end, telling the report of what it decided. Returns 0, or the code of what ended
 * it early. SIGTERM is held off from the beginning of a deployment on.
 */
int session_serve(const struct session_opts *opts, struct error *err);

/* Whether something that went wrong in the session may be logged; tells the report how much was left out
 * before. */
bool session_may_tell(const struct session_opts *opts);

#endif
