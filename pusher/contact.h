/*
 * Contact with a target: the session with its forced command, as push.conf has it, up to the deployer's
 * greeting.
 */
#ifndef PUSHER_CONTACT_H
#define PUSHER_CONTACT_H

#include "common/client.h"
#include "pusher/push_conf.h"
#include "pusher/ssh.h"

/* A deployment that waits for another one and for slow services is answered within minutes, or asked for
 * again. */
#define CONTACT_MS 600000

/* Reads key and known_hosts, and opens the session; see ssh_open. on_step as in struct ssh_opts. */
int contact_open(struct ssh **out, const struct target *target,
                 void (*on_step)(void *ctx, enum ssh_step step, const char *detail, int64_t us), void *ctx,
                 struct error *err);

/*
 * Reads the greeting. When there is none, err says what there is instead, and the session has been closed: it
 * is NULL then.
 */
int contact_greeted(struct ssh **session, struct wire *w, struct client_greeting *out, struct error *err);

/*
 * Moves the wants that the target names, all if it names none, out of the greeting, which keeps their ids.
 * One that the mail host does not have comes without names. want_list_free releases out, also after a
 * failure.
 */
int contact_take_wants(struct client_greeting *greeting, const struct target *target, struct want_list *out,
                       struct error *err);

/* 0, or E_CONFIG with what the mail host has instead. */
int contact_has_want(const struct client_greeting *greeting, const char *id, struct error *err);

#endif
