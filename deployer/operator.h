/*
 * The operator's commands: clients of the daemon's socket.
 */
#ifndef DEPLOYER_OPERATOR_H
#define DEPLOYER_OPERATOR_H

#include "common/report.h"

/*
 * Sends one command line ("RECONCILE", "RECONCILE force", "STATUS", …) and reports what comes back. 0, or a
 * code of common/error.h, already reported.
 */
int operator_run(const char *socket_path, const char *command, struct report *report);

#endif
