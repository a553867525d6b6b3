/*
 * Turns: what the daemon and the processes of its sessions share, so that a pusher that does not get on, or
 * does not want to, keeps nobody out.
 *
 * A session may be ended, to make room for one that waits, when its turn is over: when it has not said a word
 * for TURN_SILENT_MS, or not a whole bundle in TURN_BUNDLE_MS; when its bundle was refused; TURN_NEXT_MS
 * after one was accepted. While it is judged (or waits for that), and from DEPLOY on, it is not ended. When
 * nobody waits, no turn ends.
 *
 * One bundle is judged at a time: the rest of the machine has other things to do. One session deploys at a
 * time, and what is done already is done again only so often. And of what goes wrong in sessions, only so
 * much is logged: the log has other things to hold.
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

#define TURN_REPEAT_MS 300000 /* a forced reload ends idle IMAP sessions */

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

/* When a repetition was last allowed, and so until when the daemon must remember it; clock_ms(). */
int64_t turns_repeat_until(const struct turns *t);

/* The session's: it has said its first word; whether it should end now, since somebody waits. */
void turn_spoke(struct turn *t);
bool turn_should_end(const struct turn *t);

/* Around the judgement of a bundle. False when it could not begin before the deadline (clock_ms()). */
bool turn_judge_begin(struct turn *t, int64_t deadline_ms);
void turn_judge_end(struct turn *t, bool accepted);

/*
 * Before a deployment, which is the session's last act: one at a time, and those that bring something new do
 * not stand in line behind those that do not. Who has stood in line lets an operator go first. False when the
 * deadline has passed.
 */
bool turn_deploy_begin(struct turn *t, bool brings_new, int64_t deadline_ms);

/* Whether it may do again what is done already: once in TURN_REPEAT_MS, of all sessions together. */
bool turn_may_repeat(struct turn *t);

/* Whether it may log something. *out_left_out: how often the answer was no since it was last yes. */
bool turn_may_tell(struct turn *t, unsigned *out_left_out);

#endif
