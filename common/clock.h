/*
 * Monotonic time for deadlines and durations. Wall-clock time is never read here: what judges certificates
 * takes it as an argument.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Microseconds of CLOCK_MONOTONIC: comparable within one boot of one host. */
static inline int64_t clock_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline int64_t clock_ms(void)
{
    return clock_us() / 1000;
}

/* Milliseconds until a deadline given in clock_ms(), 0 when it has passed; fits poll(2). */
static inline int clock_left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_ms();
    return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

#endif
