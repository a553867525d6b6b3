/*
 * Turns: what the daemon and the processes of its sessions share, so that a pusher that does not get on, or
 * does not want to, keeps nobody out.
 *
 * A session may be ended, to make room for one that waits, when its turn is over: when it has not said a word
 * for TURN_SILENT_MS, or not a whole bundle in TURN_BUNDLE_MS; when its bundle was refused; TURN_NEXT_MS
 * after one was accepted. While it is judged (or waits for that), and from DEPLOY on, it is not ended. When
 * nobody waits, no turn ends.
 *
 * One bundle is judged at a time: the rest of the machine has other things to do. And of what goes wrong in
 * sessions, only so much is logged: the log has other things to hold.
 *
 * A session without a turn (NULL: an operator's) is never ended and waits for nobody.
 */
#ifndef DEPLOYER_TURN_H
#define DEPLOYER_TURN_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pusher sends all it has in one flight, a round trip after the greeting. */
#define TURN_SILENT_MS 1000
#define TURN_BUNDLE_MS 3000
#define TURN_NEXT_MS   3000

#define TURN_TOLD_MAX 60 /* messages a minute, of all sessions together */

struct turns;
struct turn;

/* In memory that is shared with every process forked from here on; it is never released. */
int turns_new(struct turns **out, size_t count, struct error *err);

/* The daemon's: whether somebody waits. */
void turns_set_crowded(struct turns *t, bool crowded);
/* Before the session's process starts. */
struct turn *turn_begin(struct turns *t, size_t i);
bool turn_is_over(const struct turn *t);
/* Which of two that are over should end first. */
bool turn_ended_before(const struct turn *a, const struct turn *b);

/* The session's: it has said its first word; it deploys; whether it should end now, since somebody waits. */
void turn_spoke(struct turn *t);
void turn_deploys(struct turn *t);
bool turn_should_end(const struct turn *t);

/* Around the judgement of a bundle. False when it could not begin before the deadline (clock_ms()). */
bool turn_judge_begin(struct turn *t, int64_t deadline_ms);
void turn_judge_end(struct turn *t, bool accepted);

/* Whether it may log something. *out_left_out: how often the answer was no since it was last yes. */
bool turn_may_tell(struct turn *t, unsigned *out_left_out);

#endif
