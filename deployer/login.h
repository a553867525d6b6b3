/*
 * Logins: a service mailbox logs in at every endpoint of the protocols imaps, smtps and submission, says
 * NOOP, and takes its leave. Certificates alone do not show that people can log in: Dovecot's and Postfix's
 * password checks go through nginx.
 *
 * The password goes to nobody but a peer that has proved, in the TLS handshake, to hold the key whose SPKI
 * the caller expects: names and addresses are those of containers and prove nothing. No server name is sent,
 * so the default certificate is asked for. The password is in no message, and is wiped wherever it was copied
 * to (libcurl's copies included).
 *
 * All logins run in one thread and in parallel. A refusal takes a while: Dovecot holds it back for two
 * seconds and longer.
 */
#ifndef DEPLOYER_LOGIN_H
#define DEPLOYER_LOGIN_H

#include "common/secret.h"
#include "deployer/endpoint.h"

#include <stdint.h>

struct login {
    char *name;
    struct secret password;
};

/*
 * Reads a file with the section [login] and in it name and password. What is wrong with it is told with file
 * and line and without the password: E_CONFIG, or E_TEMPORARY. It must belong to root or this user, and be
 * readable by its owner only. On failure there is nothing to wipe.
 */
int login_read(const char *path, struct login *out, struct error *err);
void login_wipe(struct login *l);
#define AUTO_LOGIN CLEANUP(login_wipe)

enum login_state {
    LOGIN_DONE,
    LOGIN_REFUSED,    /* the server said no to the name and password */
    LOGIN_OTHER_KEY,  /* another key than the expected one is served: the password was not sent */
    LOGIN_UNRESOLVED, /* no name resolves: nobody was asked, and nothing is known of it */
    LOGIN_FAILED,     /* anything else: no connection, no TLS, no AUTH announced, no answer in time */
};

struct login_result {
    const struct endpoint *endpoint;
    enum login_state state;
    char address[300]; /* the one that was used, "host:port" */
    char detail[300];  /* printable; why it is not LOGIN_DONE */
    int64_t us;        /* from the start of the run */
};

struct login_opts {
    const struct login *login;
    const struct endpoint_list *endpoints; /* those where nobody can log in this way are passed over */
    const char *spki; /* SHA-256 of the expected leaf's SubjectPublicKeyInfo, 64 hex digits */
    int timeout_ms;   /* for all of it */
    void (*on_result)(void *ctx, const struct login_result *result); /* once for each, as it ends; or NULL */
    void *ctx;
};

/*
 * out_results: in the order of the endpoints; the caller gives room for endpoints->count. *out_count: how
 * many there are. 0 when all are LOGIN_DONE, 1 when one is not, or an error when nothing could be tried.
 */
int login_run(const struct login_opts *opts, struct login_result *out_results, size_t *out_count,
              struct error *err);

/* "logged in", "refused", … */
const char *login_state_str(enum login_state state);

#endif
