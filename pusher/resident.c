#include "pusher/resident.h"

int64_t resident_delay_ms(unsigned failures, int64_t every, uint32_t random)
{
    int64_t seconds = every;
    if (failures && failures < 32) {
        int64_t retry = (int64_t)RESIDENT_RETRY_S << (failures - 1);
        seconds = retry < every ? retry : every;
    }
    return seconds * 1000 + seconds * 100 * (int64_t)(random % 1000) / 1000;
}

int64_t resident_quiet_ms(int64_t since_first_ms)
{
    int64_t left = RESIDENT_LATE_MS - since_first_ms;
    return left < 0 ? 0 : left < RESIDENT_QUIET_MS ? left : RESIDENT_QUIET_MS;
}
