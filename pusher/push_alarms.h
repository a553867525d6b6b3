/*
 * The alarms of the proxy host (common/alarm.h): a mail host that is silent, renewals that are not served,
 * certificates about to end, passes that fail. Judged at the end of a pass over all targets.
 */
#ifndef PUSHER_PUSH_ALARMS_H
#define PUSHER_PUSH_ALARMS_H

#include "common/alarm.h"
#include "pusher/push_conf.h"
#include "pusher/state.h"

/* What is known without asking anybody: when there was a contact, and how long what is served lasts. */
void push_alarms_judge(struct alarm_book *b, const struct push_conf *conf, const struct target *target,
                       const struct state *s);

/* Whether none stands and none stood; states: one for each target of conf. */
bool push_alarms_quiet(const struct push_conf *conf, const struct state *states, int state_fd);

#endif
