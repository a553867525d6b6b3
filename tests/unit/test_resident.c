/* pusher/resident: when the next pass is. */
#include "tests/unit/testing.h"

#include "pusher/resident.h"

#define HOUR 3600

static void passes_every_hour(void **state)
{
    (void)state;
    assert_int_equal(resident_delay_ms(0, HOUR, 0), 3600000);
    for (uint32_t random = 0; random < 5000; random++)
        assert_in_range(resident_delay_ms(0, HOUR, random), 3600000, 3960000);
    assert_true(resident_delay_ms(0, HOUR, 999) > 3900000);
}

static void tries_again_sooner_and_then_later(void **state)
{
    static const int64_t seconds[] = {15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600};
    (void)state;
    for (unsigned i = 0; i < COUNT(seconds); i++)
        assert_int_equal(resident_delay_ms(i + 1, HOUR, 0), seconds[i] * 1000);
    assert_int_equal(resident_delay_ms(31, HOUR, 0), 3600000);
    assert_int_equal(resident_delay_ms(4000000000U, HOUR, 0), 3600000);
    assert_int_equal(resident_delay_ms(2, 10, 0), 10000);
}

static void waits_for_quiet_but_not_for_ever(void **state)
{
    (void)state;
    assert_int_equal(resident_quiet_ms(0), 1000);
    assert_int_equal(resident_quiet_ms(28000), 1000);
    assert_int_equal(resident_quiet_ms(29500), 500);
    assert_int_equal(resident_quiet_ms(30000), 0);
    assert_int_equal(resident_quiet_ms(300000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_every_hour),
        cmocka_unit_test(tries_again_sooner_and_then_later),
        cmocka_unit_test(waits_for_quiet_but_not_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
