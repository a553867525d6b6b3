/* common/wire: what went through it is not kept, since private keys do. */
#include <stdbool.h>
#include <stdlib.h>

static void look_and_free(void *p);

/* Compiled once more into this program, to look into its buffer. */
#define free(p) look_and_free(p)
#include "common/wire.c"
#undef free

#include "tests/unit/stream.h"

#define KEY "the bytes of a private key"

static bool freed_with_key;

static bool holds_key(const struct wire *w)
{
    return memmem(w->buffer, sizeof w->buffer, KEY, strlen(KEY));
}

static void look_and_free(void *p)
{
    freed_with_key = holds_key(p);
    free(p);
}

static void forgets_bytes_that_were_taken(void **state)
{
    struct stream *s = *state;
    AUTO_SECRET struct secret taken = SECRET(SECRET_MAX);
    struct error err;
    say(s, "PUT\n" KEY "and more");
    next_is(s, "PUT");
    assert_true(holds_key(s->wire));
    assert_int_equal(wire_read_bytes(s->wire, strlen(KEY), &taken, &err), 0);
    assert_false(holds_key(s->wire));
}

/* A bare bundle is read as lines first. */
static void forgets_lines_when_more_comes(void **state)
{
    struct stream *s = *state;
    say(s, "between: " KEY "\nx");
    next_is(s, "between: " KEY);
    say(s, "y\n");
    next_is(s, "xy");
    assert_false(holds_key(s->wire));
}

static void forgets_all_at_its_end(void **state)
{
    (void)state;
    struct wire *w;
    struct error err;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(wire_new(&w, pair[0], &err), 0);
    assert_int_equal(write(pair[1], "x\n" KEY, 2 + strlen(KEY)), 2 + (int)strlen(KEY));
    char line[WIRE_LINE + 1];
    assert_int_equal(wire_read_line(w, line, &err), 0);
    assert_true(holds_key(w));
    wire_free(w);
    assert_false(freed_with_key);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STREAM(forgets_bytes_that_were_taken),
        WITH_STREAM(forgets_lines_when_more_comes),
        cmocka_unit_test(forgets_all_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
