/*
 * The daemon: accepts sessions on the socket that systemd hands over (sd_listen_fds(3)) or on one of its own,
 * and serves each in a child process. It does nothing else, so nothing that a client sends can reach it.
 */
#ifndef DEPLOYER_SERVE_H
#define DEPLOYER_SERVE_H

#include "common/report.h"
#include "deployer/deploy_conf.h"

#define SERVE_MAX_PUSHERS                                                                                    \
    256                       /* sessions at a time; more wait for their turn (deployer/waiting.h, turn.h)   \
                               */
#define SERVE_MAX_OPERATORS 8 /* kept apart, so that no pusher can keep the operator out */

struct serve_opts {
    const struct deploy_conf *conf;
    const char *socket_path; /* listen here; NULL: the socket comes from systemd */
    const char *refusal;     /* not NULL: why no session can be served, told to everyone who connects */
    int64_t idle;            /* seconds without a session after which it ends; 0: never */
    struct report *report;
};

/* Runs until it has been idle, or SIGTERM or SIGINT came and the running sessions have ended. */
int serve(const struct serve_opts *opts, struct error *err);

#endif
