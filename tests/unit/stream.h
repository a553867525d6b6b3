/*
 * A connected pair of sockets for tests of the protocol: a wire at the near end, the test as the peer at the
 * far one.
 */
#ifndef TESTS_UNIT_STREAM_H
#define TESTS_UNIT_STREAM_H

#include "tests/unit/testing.h"

#include "common/clock.h"
#include "common/wire.h"

#include <sys/socket.h>

struct stream {
    int near, far;
    struct wire *wire;
    struct error err;
    char line[WIRE_LINE + 1];
};

static UNUSED int stream_setup(void **state)
{
    struct stream *s = calloc(1, sizeof *s);
    int fds[2], size = 4 * 1024 * 1024;
    if (!s || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    s->near = fds[0];
    s->far = fds[1];
    setsockopt(s->far, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *state = s;
    if (wire_new(&s->wire, s->near, &s->err) < 0)
        return -1;
    wire_set_deadline(s->wire, clock_ms() + 20000);
    return 0;
}

static UNUSED int stream_teardown(void **state)
{
    struct stream *s = *state;
    wire_free(s->wire);
    close(s->near);
    if (s->far >= 0)
        close(s->far);
    free(s);
    return 0;
}

#define WITH_STREAM(test) cmocka_unit_test_setup_teardown(test, stream_setup, stream_teardown)

/* The other side says text; at the end it hangs up. */
static UNUSED void say(struct stream *s, const char *text)
{
    assert_true(write(s->far, text, strlen(text)) == (ssize_t)strlen(text));
}

static UNUSED void hang_up(struct stream *s)
{
    close(s->far);
    s->far = -1;
}

static UNUSED int read_line(struct stream *s)
{
    memset(s->line, 'X', sizeof s->line);
    s->err = (struct error){0};
    return wire_read_line(s->wire, s->line, &s->err);
}

static UNUSED void next_is(struct stream *s, const char *line)
{
    if (read_line(s) != 0)
        fail_msg("instead of \"%s\": %s", line, s->err.text);
    assert_string_equal(s->line, line);
}

#endif
