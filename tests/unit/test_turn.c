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
    assert_true(turn_deploy_begin(NULL, false, 0));
    assert_true(turn_may_repeat(NULL) && turn_may_repeat(NULL));
    assert_true(turn_judge_begin(NULL, 0));
    turn_judge_end(NULL, true);
}

static void of_who_deploys_is_never_over(void **state)
{
    (void)state;
    struct turn *t = turn_begin(new_turns(), 0);
    pass(TURN_SILENT_MS + 1);
    assert_true(turn_deploy_begin(t, true, clock_ms() + 10000));
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

enum what {
    JUDGES,
    DEPLOYS_NEW,
    DEPLOYS_AGAIN
};

static bool begin(struct turn *t, enum what what, int ms)
{
    int64_t deadline = clock_ms() + ms;
    return what == JUDGES ? turn_judge_begin(t, deadline)
                          : turn_deploy_begin(t, what == DEPLOYS_NEW, deadline);
}

/* A process that has begun with it and goes on until it is killed. */
static pid_t begin_elsewhere(struct turns *all, size_t i, enum what what)
{
    int told[2];
    char begun = 0;
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        begun = begin(turn_begin(all, i), what, 10000);
        (void)!write(told[1], &begun, 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(told[0], &begun, 1), 1);
    assert_int_equal(begun, 1);
    close(told[0]);
    close(told[1]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void one_is_judged_at_a_time(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    struct turn *t = turn_begin(all, 0);
    pid_t other = begin_elsewhere(all, 1, JUDGES);
    int64_t start = clock_ms();
    assert_false(begin(t, JUDGES, 200));
    assert_in_range(clock_ms() - start, 199, 5000);
    assert_true(turn_is_over(t));
    end(other);
    assert_true(begin(t, JUDGES, 10000)); /* the dead give it back */
    turn_judge_end(t, true);
    assert_true(begin(t, JUDGES, 10000));
    turn_judge_end(t, true);
}

static void one_deploys_at_a_time(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    pid_t other = begin_elsewhere(all, 1, DEPLOYS_NEW);
    assert_false(begin(turn_begin(all, 0), DEPLOYS_NEW, 100));
    assert_false(begin(turn_begin(all, 0), DEPLOYS_AGAIN, 100));
    end(other);
    assert_true(begin(turn_begin(all, 0), DEPLOYS_NEW, 10000));
}

/* What comes again has a line of its own, of which only the first stands in the other. */
static void what_is_new_does_not_stand_behind_what_comes_again(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    pid_t again = begin_elsewhere(all, 1, DEPLOYS_AGAIN), line = fork();
    if (line == 0) {
        begin(turn_begin(all, 2), DEPLOYS_AGAIN, 10000);
        _exit(0);
    }
    pid_t killer = fork();
    if (killer == 0) {
        pass(200);
        kill(again, SIGKILL);
        _exit(0);
    }
    int64_t start = clock_ms();
    assert_true(begin(turn_begin(all, 0), DEPLOYS_NEW, 10000));
    assert_in_range(clock_ms() - start, 200 + 90, 10000); /* it let an operator go first */
    assert_int_equal(waitpid(line, NULL, WNOHANG), 0);
    end(line);
    waitpid(killer, NULL, 0);
    waitpid(again, NULL, 0);
}

static void waiting_to_come_again_goes_on_with_the_turn(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    pid_t again = begin_elsewhere(all, 1, DEPLOYS_AGAIN);
    struct turn *t = turn_begin(all, 0);
    assert_false(begin(t, DEPLOYS_AGAIN, TURN_SILENT_MS + 1));
    assert_true(turn_is_over(t));
    end(again);
}

static void repeats_once(void **state)
{
    (void)state;
    struct turns *all = new_turns();
    assert_int_equal(turns_repeat_until(all), 0);
    assert_true(turn_may_repeat(turn_begin(all, 0)));
    assert_false(turn_may_repeat(turn_begin(all, 0)));
    assert_false(turn_may_repeat(turn_begin(all, 1)));
    assert_in_range(turns_repeat_until(all), clock_ms() + TURN_REPEAT_MS - 5000, clock_ms() + TURN_REPEAT_MS);
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
        cmocka_unit_test(one_deploys_at_a_time),
        cmocka_unit_test(what_is_new_does_not_stand_behind_what_comes_again),
        cmocka_unit_test(waiting_to_come_again_goes_on_with_the_turn),
        cmocka_unit_test(repeats_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
