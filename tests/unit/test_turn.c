/* deployer/turn: when a session may be ended to make room, and one judgement at a time, over processes. */
#include "tests/unit/testing.h"

#include "common/clock.h"
#include "deployer/turn.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

static struct turns *new_turns(void)
{
    struct turns *t;
    struct error err;
    assert_int_equal(turns_new(&t, 3, &err), 0);
    return t;
}

static void pass(int ms)
{
    poll(NULL, 0, ms);
}

static void of_a_silent_one_is_over_soon(void **state)
{
    (void)state;
    struct turn *t = turn_begin(new_turns(), 0);
    assert_false(turn_is_over(t));
    pass(TURN_SILENT_MS + 1);
    assert_true(turn_is_over(t));
    turn_spoke(t); /* so it was not ended: nobody waited */
    assert_false(turn_is_over(t));
    pass(TURN_BUNDLE_MS - TURN_SILENT_MS);
    assert_true(turn_is_over(t));
}

static void who_began_first_ends_first(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    struct turn *first = turn_begin(all, 1);
    pass(2);
    struct turn *second = turn_begin(all, 0);
    assert_true(turn_ended_before(first, second));
    assert_false(turn_ended_before(second, first));
}

static void of_an_operator_is_never_over(void **state)
{
    (void)state;
    assert_false(turn_is_over(NULL));
    turn_spoke(NULL);
    turn_deploys(NULL);
    assert_true(turn_judge_begin(NULL, 0));
    turn_judge_end(NULL, true);
}

static void of_who_deploys_is_never_over(void **state)
{
    (void)state;
    struct turn *t = turn_begin(new_turns(), 0);
    pass(TURN_SILENT_MS + 1);
    turn_deploys(t);
    assert_false(turn_is_over(t));
}

static void judge(struct turn *t, bool accepted)
{
    assert_true(turn_judge_begin(t, clock_ms() + 10000));
    pass(TURN_SILENT_MS + 1);
    assert_false(turn_is_over(t));
    turn_judge_end(t, accepted);
}

static void after_a_bundle_that_was_accepted_it_goes_on(void **state)
{
    (void)state;
    struct turn *t = turn_begin(new_turns(), 0);
    judge(t, true);
    assert_false(turn_is_over(t));
    pass(TURN_NEXT_MS + 1);
    assert_true(turn_is_over(t));
}

static void after_a_bundle_that_was_refused_it_is_over(void **state)
{
    (void)state;
    struct turn *t = turn_begin(new_turns(), 0);
    judge(t, false);
    assert_true(turn_is_over(t));
}

static void it_should_end_when_somebody_waits(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    struct turn *t = turn_begin(all, 0);
    turns_set_crowded(all, true);
    assert_false(turn_should_end(t));
    judge(t, false);
    assert_true(turn_should_end(t));
    turns_set_crowded(all, false);
    assert_false(turn_should_end(t));
    assert_false(turn_should_end(NULL));
}

static void tells_only_so_much(void **state)
{
    (void)state;
    unsigned left_out = 1;
    struct turns *all = new_turns();
    struct turn *one = turn_begin(all, 0), *other = turn_begin(all, 1);
    assert_true(turn_may_tell(one, &left_out));
    assert_int_equal(left_out, 0);
    unsigned told = 1;
    for (int i = 0; i < 10 * TURN_TOLD_MAX; i++)
        told += turn_may_tell(i % 2 ? one : other, &left_out);
    assert_in_range(told, TURN_TOLD_MAX, 2 * TURN_TOLD_MAX); /* the minute may have changed */
    assert_true(turn_may_tell(NULL, &left_out));
}

/* In a process of its own: judges until it is killed. */
static pid_t judge_elsewhere(struct turns *all, size_t i, int told[2])
{
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct turn *t = turn_begin(all, i);
        bool begun = turn_judge_begin(t, clock_ms() + 10000);
        (void)!write(told[1], &begun, 1);
        for (;;)
            pause();
    }
    char begun;
    assert_int_equal(read(told[0], &begun, 1), 1);
    assert_int_equal(begun, 1);
    close(told[0]);
    close(told[1]);
    return pid;
}

static void one_is_judged_at_a_time(void **state)
{
    (void)state;
    int told[2];
    struct turns *all = new_turns();
    struct turn *t = turn_begin(all, 0);
    pid_t other = judge_elsewhere(all, 1, told);
    int64_t start = clock_ms();
    assert_false(turn_judge_begin(t, start + 200));
    assert_in_range(clock_ms() - start, 199, 5000);
    assert_true(turn_is_over(t));
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    assert_true(turn_judge_begin(t, clock_ms() + 10000)); /* the dead give it back */
    turn_judge_end(t, true);
    assert_true(turn_judge_begin(t, clock_ms() + 10000));
    turn_judge_end(t, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_silent_one_is_over_soon),
        cmocka_unit_test(who_began_first_ends_first),
        cmocka_unit_test(of_an_operator_is_never_over),
        cmocka_unit_test(of_who_deploys_is_never_over),
        cmocka_unit_test(after_a_bundle_that_was_accepted_it_goes_on),
        cmocka_unit_test(after_a_bundle_that_was_refused_it_is_over),
        cmocka_unit_test(it_should_end_when_somebody_waits),
        cmocka_unit_test(tells_only_so_much),
        cmocka_unit_test(one_is_judged_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
