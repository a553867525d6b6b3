/*
 * The alarms of the mail host (common/alarm.h): a pusher that is silent, certificates about to end,
 * deployments that fail. Judged at the end of the hourly pass.
 */
#ifndef DEPLOYER_DEPLOY_ALARMS_H
#define DEPLOYER_DEPLOY_ALARMS_H

#include "common/alarm.h"
#include "deployer/deploy.h"

/* The book as it is after this pass, the caller's to free. keep: written to the state folder (alarm_is_kept);
 * there is none when that fails: what is not on record would be told as new by every pass. */
int deploy_alarms_judge(const struct mailhost *host, const struct deploy_outcome *outcome, bool keep,
                        struct alarm_book **out, struct error *err);

#endif
