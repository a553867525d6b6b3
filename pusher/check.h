/*
 * `mailcow-cert-push check`: a look at all that a pass needs, which changes nothing: configuration, lineages,
 * keys, the way to each mail host, and what a pass would do there.
 */
#ifndef PUSHER_CHECK_H
#define PUSHER_CHECK_H

#include "pusher/arguments.h"

/*
 * Reports each finding as a result: "ok", "note", "warn" or "fail", with a stable id and, in its text, what
 * resolves it. 0 when there is none that somebody must act on; E_FAILED; E_CONFIG when it is the
 * configuration.
 */
int check_run(const struct arguments *a, struct report *report);

#endif
