/*
 * Logins in a rollout: where the service mailbox could log in before anything was changed, it has to be able
 * to afterwards. Without [verify] login there is nothing of this, and nothing happens.
 */
#ifndef DEPLOYER_ROLLOUT_LOGIN_H
#define DEPLOYER_ROLLOUT_LOGIN_H

#include "deployer/endpoint.h"
#include "deployer/mailhost.h"
#include "deployer/outcome.h"

struct rollout_login;

/*
 * All are borrowed and must outlive it. *out is NULL, which all functions here take, when no login is
 * configured, or when its file cannot be used: that is told, and keeps no certificate from being renewed.
 */
int rollout_login_new(struct rollout_login **out, const struct mailhost *host,
                      const struct endpoint_list *endpoints, const struct progress *progress,
                      struct error *err);
void rollout_login_free(struct rollout_login *l);

/* Logs in, before anything is changed. fingerprint: of the leaf that is installed. */
void rollout_login_before(struct rollout_login *l, const char *fingerprint);
/* Appends which logins worked to the list of what was down before, as far as there is room, and takes it from
 * there; see rollout_down_before. again: from one list more, and what did not work by one did not. */
void rollout_login_note(const struct rollout_login *l, char *list, size_t size);
void rollout_login_recall(struct rollout_login *l, const char *list, bool again);

/*
 * Logs in again. True when a login that worked before does not any more, however often it is tried within the
 * time for the verification; text says which. Other failures are only told.
 */
bool rollout_login_broke(struct rollout_login *l, const char *fingerprint, char *text, size_t size);

#endif
