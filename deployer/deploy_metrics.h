/*
 * The deployer's metrics: docs/metrics.md lists them.
 */
#ifndef DEPLOYER_DEPLOY_METRICS_H
#define DEPLOYER_DEPLOY_METRICS_H

#include "deployer/mailhost.h"

#include <jansson.h>

/* Writes them where the configuration says, from the records and the history (deployer/ledger.h). */
int deploy_metrics_write(struct mailhost *host, const json_t *history, struct error *err);

#endif
