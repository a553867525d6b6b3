/* common/secret and common/io: bytes that are bounded and wiped, descriptors that are read and written whole.
 */
#include "tests/unit/testing.h"

#include "common/clock.h"
#include "common/io.h"
#include "common/secret.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

/* Secrets */

static void grows_to_its_maximum_and_no_further(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = SECRET(5000);
    char bytes[4000];
    memset(bytes, 'k', sizeof bytes);
    assert_int_equal(secret_append(&s, "a", 1), 0);
    assert_int_equal(secret_append(&s, bytes, sizeof bytes), 0);
    assert_int_equal(s.len, 4001);
    assert_int_equal(s.data[0], 'a');
    assert_int_equal(s.data[4000], 'k');
    assert_int_equal(s.data[4001], '\0');
    assert_int_equal(secret_append(&s, bytes, 1000), E_FAILED);
    assert_int_equal(s.len, 4001);
    assert_int_equal(secret_append(&s, bytes, SIZE_MAX), E_FAILED);
    assert_int_equal(secret_append(&s, bytes, 999), 0);
    assert_int_equal(s.len, 5000);
    assert_int_equal(secret_append(&s, "a", 1), E_FAILED);
    assert_int_equal(secret_append(&s, "", 0), 0);
}

static void has_no_room_until_it_is_given(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = {0};
    assert_int_equal(secret_append(&s, "a", 1), E_FAILED);
    assert_int_equal(secret_append(&s, "", 0), 0);
    assert_int_equal(s.data[0], '\0');
}

static void is_terminated_when_it_is_empty(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = SECRET(10);
    assert_int_equal(secret_append(&s, NULL, 0), 0);
    assert_non_null(s.data);
    assert_string_equal((char *)s.data, "");
}

static void forgets_and_can_be_used_again(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = SECRET(10);
    secret_append(&s, "0123456789", 10);
    secret_wipe(&s);
    assert_null(s.data);
    assert_int_equal(s.len, 0);
    assert_int_equal(s.max, 10);
    assert_int_equal(secret_append(&s, "abc", 3), 0);
    assert_string_equal((char *)s.data, "abc");
}

/*
 * The allocator's free list keeps what a freed block held, but for the first 16 bytes. Reading it is what the
 * sanitizers forbid, so there it is left out.
 */
#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
static const char marker[] = "MARKER-of-a-private-key";

static bool memory_holds_marker(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[400];
    bool found = false;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (strstr(line, "[heap]") && sscanf(line, "%lx-%lx", &from, &to) == 2)
            /* assembled here, so that the needle is not in the heap itself */
            found = found || memmem((const void *)from, to - from, marker, sizeof marker - 1);
    }
    fclose(maps);
    return found;
}

static void leaves_nothing_behind(void **state)
{
    (void)state;
    struct secret s;
    secret_init(&s, 100000);
    char fill[500];
    memset(fill, '.', sizeof fill);
    for (int i = 0; i < 40; i++) { /* grows several times */
        secret_append(&s, fill, sizeof fill);
        secret_append(&s, marker, sizeof marker);
    }
    assert_true(memory_holds_marker());
    secret_wipe(&s);
    assert_false(memory_holds_marker());
}
#else
static void leaves_nothing_behind(void **state)
{
    (void)state;
    skip();
}
#endif

/* Descriptors */

static void ignore(int signal)
{
    (void)signal;
}

/* A child writes len bytes in pieces while it interrupts this process. */
static pid_t disturb(int fd, size_t len)
{
    pid_t parent = getpid(), pid = fork();
    if (pid)
        return pid;
    char bytes[1000];
    memset(bytes, 'x', sizeof bytes);
    for (size_t sent = 0; sent < len; sent += sizeof bytes) {
        kill(parent, SIGUSR1);
        if (write(fd, bytes, sizeof bytes) < 0)
            _exit(1);
    }
    _exit(0);
}

static void reads_to_the_end_in_spite_of_signals(void **state)
{
    (void)state;
    const struct sigaction interrupt = {.sa_handler = ignore}; /* no SA_RESTART */
    AUTO_SECRET struct secret s = SECRET(100000);
    struct error err;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    sigaction(SIGUSR1, &interrupt, NULL);
    pid_t pid = disturb(fds[1], 50000);
    close(fds[1]);
    int rc = io_read_secret(fds[0], clock_ms() + 20000, &s, &err);
    int status = -1;
    waitpid(pid, &status, 0);
    close(fds[0]);
    assert_int_equal(rc, 0);
    assert_int_equal(status, 0);
    assert_int_equal(s.len, 50000);
}

/* A signal each 5 ms, without SA_RESTART. */
static void interrupt_often(bool on)
{
    const struct sigaction interrupt = {.sa_handler = ignore};
    const struct itimerval timer =
        on ? (struct itimerval){{0, 5000}, {0, 5000}} : (struct itimerval){{0, 0}, {0, 0}};
    if (on)
        sigaction(SIGALRM, &interrupt, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    if (!on)
        signal(SIGALRM, SIG_DFL);
}

static void waits_in_spite_of_signals(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    interrupt_often(true);
    int rc = io_wait(fds[0], POLLIN, clock_ms() + 60);
    interrupt_often(false);
    assert_int_equal(rc, 0);
    close(fds[0]);
    close(fds[1]);
}

static void refuses_more_than_fits(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = SECRET(9);
    struct error err;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(io_write_all(fds[1], "0123456789", 10), 0);
    close(fds[1]);
    assert_int_equal(io_read_secret(fds[0], clock_ms() + 20000, &s, &err), E_FAILED);
    assert_string_equal(err.text, "more than 9 bytes");
    close(fds[0]);
}

static void waits_until_the_deadline_only(void **state)
{
    (void)state;
    AUTO_SECRET struct secret s = SECRET(9);
    struct error err;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int64_t start = clock_ms();
    assert_int_equal(io_read_secret(fds[0], start + 100, &s, &err), E_TEMPORARY);
    assert_in_range(clock_ms() - start, 95, 10000);
    assert_int_equal(io_wait(fds[0], POLLIN, clock_ms() - 1), 0);
    assert_int_equal(io_wait(fds[1], POLLOUT, clock_ms() + 1000), 1);
    close(fds[0]);
    close(fds[1]);
}

/* Reads slowly to the end and leaves with 0 if it was bytes. */
static void expect(int fd, const char *bytes, size_t len)
{
    size_t total = 0;
    char buffer[5000];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0; total += (size_t)n) {
        if (total + (size_t)n > len || memcmp(buffer, bytes + total, (size_t)n) != 0)
            _exit(1);
        usleep(1000);
    }
    _exit(total == len ? 0 : 1);
}

/* A write that a signal interrupts has written a part. */
static void writes_everything_in_spite_of_signals(void **state)
{
    (void)state;
    static char bytes[300000]; /* more than a pipe holds */
    int fds[2];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i % 251);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (!pid) {
        close(fds[1]);
        expect(fds[0], bytes, sizeof bytes);
    }
    close(fds[0]);
    interrupt_often(true);
    int rc = io_write_all(fds[1], bytes, sizeof bytes), status = -1;
    interrupt_often(false);
    close(fds[1]);
    waitpid(pid, &status, 0);
    assert_int_equal(rc, 0);
    assert_int_equal(status, 0);
    assert_int_equal(io_write_all(-1, "a", 1), -1);
    assert_int_equal(errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_its_maximum_and_no_further),
        cmocka_unit_test(has_no_room_until_it_is_given),
        cmocka_unit_test(is_terminated_when_it_is_empty),
        cmocka_unit_test(forgets_and_can_be_used_again),
        cmocka_unit_test(leaves_nothing_behind),
        cmocka_unit_test(reads_to_the_end_in_spite_of_signals),
        cmocka_unit_test(waits_in_spite_of_signals),
        cmocka_unit_test(refuses_more_than_fits),
        cmocka_unit_test(waits_until_the_deadline_only),
        cmocka_unit_test(writes_everything_in_spite_of_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
