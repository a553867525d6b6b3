/*
 * When mailcow-cert-push-watch runs a pass: after a change, when the clock says so, and again after a
 * failure.
 */
#ifndef PUSHER_RESIDENT_H
#define PUSHER_RESIDENT_H

#include <stdint.h>

#define RESIDENT_QUIET_MS 1000  /* without a change, before a pass begins: a renewal touches several files */
#define RESIDENT_LATE_MS  30000 /* since the first change: then it begins all the same */
#define RESIDENT_RETRY_S  15    /* after the first such failure */

/*
 * Milliseconds from the end of a pass to the next one. failures: how many passes in a row have failed since
 * the last change; every: seconds between passes otherwise; random: any number, of which the result depends
 * by a tenth.
 */
int64_t resident_delay_ms(unsigned failures, int64_t every, uint32_t random);

/* Milliseconds from a change to the pass; since_first: since the first change that no pass has seen. */
int64_t resident_quiet_ms(int64_t since_first_ms);

#endif
