/*
 * What can be said of a target without asking anybody: that nothing has changed since the last verdict, and
 * what it was.
 */
#ifndef PUSHER_UNCHANGED_H
#define PUSHER_UNCHANGED_H

#include "common/report.h"
#include "pusher/state.h"

/*
 * Whether a pass has nothing to do: every want was served at the last contact, the lineages are as they were,
 * none has become valid since, and the contact is less than verify_every ago.
 */
bool unchanged(const struct state *s, const struct push_conf *conf, const struct target *target,
               const struct lineage_list *lineages, time_t now);

/* Reports every want of the state as unchanged. */
void unchanged_report(const struct state *s, const struct target *target, struct report *report);

#endif
