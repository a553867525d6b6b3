/* pusher/ssh_child: what the process may ask of the kernel that parses a server's bytes. */
#include <stdbool.h>

#include "tests/unit/testing.h"

/* Compiled once more into this program, for its list of system calls. */
#define ssh_child_run  child_run
#define ssh_child_step child_step
#include "pusher/ssh_child.c"

#include "tests/unit/forbidden.h"

static bool enter(void)
{
    return !process_confine(SSH_FD_COUNT) && !sandbox_enter(calls);
}

static void test_allows_only(void **state)
{
    (void)state;
    static const char *const allowed[] = {"recvfrom", "sendto", "poll", "shutdown", "ppoll", NULL};
    assert_allows_only(enter, allowed);
}

static void look_at_mode(long command)
{
    fcntl(0, (int)command, 0);
    _exit(0);
}

static void acknowledge(long option)
{
    setsockopt(0, IPPROTO_TCP, (int)option, NULL, 0);
    _exit(0);
}

static void test_allows_what_libssh2_does(void **state)
{
    (void)state;
    assert_int_equal(status_of(enter, look_at_mode, F_GETFL), 0);
    assert_int_equal(status_of(enter, look_at_mode, F_SETFL), 0);
    assert_true(is_killed(status_of(enter, look_at_mode, F_SETOWN)));
    assert_int_equal(status_of(enter, acknowledge, TCP_QUICKACK), 0);
    assert_true(is_killed(status_of(enter, acknowledge, TCP_ULP)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allows_only),
        cmocka_unit_test(test_allows_what_libssh2_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
