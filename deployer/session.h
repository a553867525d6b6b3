/*
 * The deployer's side of one session of the protocol (docs/protocol.md): greeting, commands, verdict. Runs in
 * a process of its own; what it does is decided by the role of whoever connected.
 */
#ifndef DEPLOYER_SESSION_H
#define DEPLOYER_SESSION_H

#include "common/report.h"
#include "deployer/deploy_conf.h"

#include <sys/types.h>

enum session_role {
    ROLE_NONE,     /* neither: is turned away before there is a session */
    ROLE_PUSHER,   /* push_user: may put and deploy what the judge accepts */
    ROLE_OPERATOR, /* root or the daemon's own user: may also reconcile, force and ask for the status */
};

#define SESSION_COMMAND_MS 60000 /* for a client to say what it wants, bundles included */
#define SESSION_SAY_MS     5000  /* for a client to take a line; it is not waited for twice */

/* The role of a peer, by SO_PEERCRED of fd. push_uid: that of push_user, or (uid_t)-1 when there is no such
 * user. */
enum session_role session_role(int fd, uid_t push_uid);

/*
 * Serves the session on fd to its end, telling the report of what it decided. Returns 0, or the code of what
 * ended it early.
 */
int session_serve(int fd, enum session_role role, const struct deploy_conf *conf, struct report *report,
                  struct error *err);

#endif
