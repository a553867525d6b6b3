/* pusher/ssh: a child that its peer has taken over is ended, whatever it reports. */
#include "tests/unit/testing.h"

/* Compiled once more into this program, with a child of the test's. */
#define ssh_open      parent_open
#define ssh_learn     parent_learn
#define ssh_fd        parent_fd
#define ssh_close     parent_close
#define ssh_child_run taken_over
#include "pusher/ssh.c"

#define STAYS_S 20 /* unless it is ended */

static char host[] = "mail.example.org";
static void (*deed)(int events);

void taken_over(const struct ssh_job *job, int stream, int events)
{
    (void)job, (void)stream;
    alarm(STAYS_S);
    deed(events);
    for (;;)
        pause();
}

static void report_half(int events)
{
    send(events, "x", 1, 0);
}

static void shut(int events)
{
    shutdown(events, SHUT_RDWR);
}

static void report_for_ever(int events)
{
    const struct ssh_event event = {.step = SSH_HOST_KEY};
    while (send(events, &event, sizeof event, MSG_NOSIGNAL) > 0)
        continue;
}

static void open_and_shut(int events)
{
    const struct ssh_event event = {.step = SSH_OPEN};
    send(events, &event, sizeof event, 0);
    shut(events);
}

static int open_with(void (*what)(int events), struct ssh **out, struct error *err)
{
    const struct ssh_opts opts = {
        .host = host, .port = 22, .connect_timeout_ms = 500, .handshake_timeout_ms = 500};
    struct ssh_job job = {.opts = &opts};
    deed = what;
    return begin(out, &job, SSH_OPEN, err);
}

static void is_ended_before_the_session_is_open(void **state)
{
    static void (*const deeds[])(int events) = {report_half, shut, report_for_ever};
    (void)state;
    for (size_t i = 0; i < COUNT(deeds); i++) {
        struct ssh *s = NULL;
        struct error err;
        assert_int_equal(open_with(deeds[i], &s, &err), E_TEMPORARY);
        assert_has(err.text, i < 2 ? "port 22: the session process was killed by signal 9" : "timed out");
        assert_null(s);
    }
}

static void is_ended_when_the_session_is_closed(void **state)
{
    struct ssh *s = NULL;
    struct error err;
    char said[8];
    (void)state;
    assert_int_equal(open_with(open_and_shut, &s, &err), 0);
    assert_int_equal(ssh_close(s, said, sizeof said, &err), E_TEMPORARY);
    assert_has(err.text, "port 22: the session process was killed by signal 9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_ended_before_the_session_is_open),
        cmocka_unit_test(is_ended_when_the_session_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
