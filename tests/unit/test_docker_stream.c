#include "deployer/docker_stream.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void reads_frames_however_they_are_cut(void **state)
{
    static const char frames[] =
        "\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\6 world\3\0\0\0\0\0\0\1!\1\0\0";
    (void)state;
    for (size_t a = 0; a < sizeof frames; a++)
        for (size_t b = a; b < sizeof frames; b++) {
            struct docker_stream s = {0};
            assert_int_equal(docker_stream_feed(&s, frames, a), 0);
            assert_int_equal(docker_stream_feed(&s, frames + a, b - a), 0);
            assert_int_equal(docker_stream_feed(&s, frames + b, sizeof frames - 1 - b), 0);
            assert_int_equal(s.kept_len, 12);
            assert_memory_equal(s.kept, "hello world!", 12);
            assert_int_equal(s.errors_len, 7);
            assert_memory_equal(s.errors, " world!", 7);
        }
}

static void refuses_what_is_no_frame(void **state)
{
    static const char *const starts[] = {"\4\0\0\0\0\0\0\1", "\1\1\0\0\0\0\0\1", "\1\0\0\1\0\0\0\1",
                                         "HTTP/1.1"};
    (void)state;
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct docker_stream s = {0};
        assert_int_equal(docker_stream_feed(&s, starts[i], 7), 0);
        assert_int_equal(docker_stream_feed(&s, starts[i] + 7, 1), E_FAILED);
        assert_int_equal(docker_stream_feed(&s, "\1\0\0\0\0\0\0\1x", 9), E_FAILED);
        assert_int_equal(s.kept_len, 0);
    }
}

static void takes_no_more_than_the_limit(void **state)
{
    struct docker_stream s = {0}, empty = {0};
    (void)state;
    assert_int_equal(docker_stream_feed(&s, "\1\0\0\0\xff\xff\xff\xff", 8), 0);
    for (size_t i = 8; i < DOCKER_STREAM_MAX; i++)
        assert_int_equal(docker_stream_feed(&s, "y", 1), 0);
    assert_int_equal(docker_stream_feed(&s, "y", 1), DOCKER_STREAM_CUT);
    assert_int_equal(docker_stream_feed(&s, "y", 1), DOCKER_STREAM_CUT);
    assert_int_equal(s.kept_len, DOCKER_STREAM_KEEP);
    assert_int_equal(s.errors_len, 0);
    assert_int_equal(s.fed, DOCKER_STREAM_MAX);
    int r = 0;
    size_t frames = 0;
    for (; !r && frames < DOCKER_STREAM_MAX; frames++)
        r = docker_stream_feed(&empty, "\1\0\0\0\0\0\0\0", 8);
    assert_int_equal(r, DOCKER_STREAM_CUT);
    assert_int_equal(frames, DOCKER_STREAM_MAX / 8 + 1);
}

static void keeps_so_much_of_stderr_behind_a_long_stdout(void **state)
{
    struct docker_stream s = {0};
    (void)state;
    assert_int_equal(docker_stream_feed(&s, "\1\0\0\0\0\0\x10\0", 8), 0);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(docker_stream_feed(&s, "o", 1), 0);
    assert_int_equal(docker_stream_feed(&s, "\2\0\0\0\0\0\x10\0", 8), 0);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(docker_stream_feed(&s, "e", 1), 0);
    assert_int_equal(s.kept_len, DOCKER_STREAM_KEEP);
    assert_int_equal(s.errors_len, DOCKER_STREAM_KEEP);
    for (size_t i = 0; i < DOCKER_STREAM_KEEP; i++) {
        assert_int_equal(s.kept[i], 'o');
        assert_int_equal(s.errors[i], 'e');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_frames_however_they_are_cut),
        cmocka_unit_test(refuses_what_is_no_frame),
        cmocka_unit_test(takes_no_more_than_the_limit),
        cmocka_unit_test(keeps_so_much_of_stderr_behind_a_long_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
