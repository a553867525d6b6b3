/* deployer/waiting: whose turn is next, and who has to go when there is no room. */
#include "tests/unit/testing.h"

#include "deployer/waiting.h"

#include <sys/socket.h>

#define PEERS 8

/* Connections; peers[i] is the other end of fds[i]. */
struct hall {
    struct waiting waiting;
    int fds[PEERS], peers[PEERS];
};

static int hall_setup(void **state)
{
    struct hall *h = calloc(1, sizeof *h);
    h->waiting.max = PEERS;
    for (int i = 0; i < PEERS; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        h->fds[i] = pair[0];
        h->peers[i] = pair[1];
    }
    *state = h;
    return 0;
}

static int hall_teardown(void **state)
{
    struct hall *h = *state;
    waiting_close(&h->waiting);
    for (int i = 0; i < PEERS; i++)
        close(h->peers[i]);
    free(h);
    return 0;
}

#define WITH_HALL(test) cmocka_unit_test_setup_teardown(test, hall_setup, hall_teardown)

static void add(struct hall *h, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(waiting_add(&h->waiting, h->fds[i]), -1);
}

static void assert_next(struct hall *h, int i)
{
    assert_int_equal(waiting_take(&h->waiting), h->fds[i]);
    close(h->fds[i]);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void newest_and_oldest_in_turn(void **state)
{
    struct hall *h = *state;
    add(h, 5);
    assert_next(h, 4);
    assert_next(h, 0);
    assert_next(h, 3);
    assert_next(h, 1);
    assert_next(h, 2);
    assert_int_equal(waiting_take(&h->waiting), -1);
}

static void who_is_gone_has_no_turn(void **state)
{
    struct hall *h = *state;
    add(h, 4);
    close(h->peers[3]);
    close(h->peers[0]);
    assert_next(h, 2); /* the newest that is there */
    assert_false(is_open(h->fds[3]));
    assert_next(h, 1);
    assert_int_equal(waiting_take(&h->waiting), -1);
    assert_false(is_open(h->fds[0]));
}

static void who_half_closed_is_not_gone(void **state)
{
    struct hall *h = *state;
    add(h, 1);
    shutdown(h->peers[0], SHUT_WR);
    waiting_tidy(&h->waiting);
    assert_int_equal(h->waiting.count, 1);
    assert_next(h, 0);
}

static void tidies(void **state)
{
    struct hall *h = *state;
    add(h, 3);
    close(h->peers[1]);
    waiting_tidy(&h->waiting);
    assert_int_equal(h->waiting.count, 2);
    assert_false(is_open(h->fds[1]));
    assert_next(h, 2);
    assert_next(h, 0);
}

static void who_is_gone_makes_room(void **state)
{
    struct hall *h = *state;
    h->waiting.max = 3;
    add(h, 3);
    close(h->peers[1]);
    assert_int_equal(waiting_add(&h->waiting, h->fds[3]), -1);
    assert_false(is_open(h->fds[1]));
    assert_int_equal(h->waiting.count, 3);
}

static void else_another_makes_room(void **state)
{
    struct hall *h = *state;
    h->waiting.max = 3;
    add(h, 3);
    int removed = waiting_add(&h->waiting, h->fds[3]);
    assert_true(removed == h->fds[0] || removed == h->fds[1] || removed == h->fds[2]);
    assert_true(is_open(removed)); /* to be told why */
    close(removed);
    assert_int_equal(h->waiting.count, 3);
    assert_int_equal(waiting_take(&h->waiting), h->fds[3]);
}

static void closes_all(void **state)
{
    struct hall *h = *state;
    add(h, 3);
    waiting_close(&h->waiting);
    for (int i = 0; i < 3; i++)
        assert_false(is_open(h->fds[i]));
    assert_int_equal(waiting_take(&h->waiting), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HALL(newest_and_oldest_in_turn),
        WITH_HALL(who_is_gone_has_no_turn),
        WITH_HALL(who_half_closed_is_not_gone),
        WITH_HALL(tidies),
        WITH_HALL(who_is_gone_makes_room),
        WITH_HALL(else_another_makes_room),
        WITH_HALL(closes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
