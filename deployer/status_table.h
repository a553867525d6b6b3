/*
 * `status` of the operator: the answer to STATUS as tables for people and as JSON for programs.
 */
#ifndef DEPLOYER_STATUS_TABLE_H
#define DEPLOYER_STATUS_TABLE_H

#include "common/client.h"

/* Reads the answer and reports it. As client_read_reply. */
int status_show(struct wire *w, const struct client_greeting *greeting, struct report *report,
                struct client_reply *out, struct error *err);

#endif
