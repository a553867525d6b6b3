/*
 * The answer to STATUS: what is recorded, looking at no endpoint. docs/protocol.md has its rows.
 */
#ifndef DEPLOYER_STATUS_H
#define DEPLOYER_STATUS_H

#include "common/wire.h"
#include "deployer/mailhost.h"

int status_write(struct wire *w, struct mailhost *host, struct error *err);

/* How the want stands: a record speaks of the generation that it names, which is yet to be installed or is
 * installed; not of what somebody else put in its place since. */
enum store_state status_of(const struct want *want, const struct record *record);

#endif
