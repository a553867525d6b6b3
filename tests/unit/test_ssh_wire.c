/* pusher/ssh_wire: deadline, budget and queue hold whatever the peer does. */
#include "common/clock.h"
#include "common/io.h"
#include "pusher/ssh_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct ssh_wire *wire;
    void *abstract;
    int peer;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int pair[2], small = 4096;
    f->abstract = f->wire = calloc(1, sizeof *f->wire);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    f->wire->fd = pair[0];
    f->peer = pair[1];
    f->wire->budget = 1000;
    f->wire->deadline_ms = clock_ms() + 10000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->wire->fd);
    close(f->peer);
    free(f->wire);
    free(f);
    return 0;
}

static ssize_t take(struct fixture *f, void *buffer, size_t len)
{
    return ssh_wire_recv(-1, buffer, len, 0, &f->abstract);
}

static ssize_t give(struct fixture *f, const void *bytes, size_t len)
{
    return ssh_wire_send(-1, bytes, len, 0, &f->abstract);
}

static void test_receives(void **state)
{
    struct fixture *f = *state;
    char buffer[16];
    assert_int_equal(take(f, buffer, sizeof buffer), -EAGAIN);
    assert_int_equal(io_write_all(f->peer, "hello", 5), 0);
    assert_true(ssh_wire_wait(f->wire));
    assert_int_equal(take(f, buffer, sizeof buffer), 5);
    assert_memory_equal(buffer, "hello", 5);
    assert_int_equal(f->wire->received, 5);
    shutdown(f->peer, SHUT_WR);
    assert_int_equal(take(f, buffer, sizeof buffer), -ECONNABORTED);
    assert_int_equal(f->wire->end, SSH_WIRE_CLOSED);
}

static void test_budget(void **state)
{
    struct fixture *f = *state;
    char buffer[2000] = {0};
    assert_int_equal(io_write_all(f->peer, buffer, 1500), 0);
    assert_int_equal(take(f, buffer, sizeof buffer), 1000);
    assert_int_equal(take(f, buffer, sizeof buffer), -ECONNABORTED);
    assert_int_equal(f->wire->end, SSH_WIRE_FLOOD);
    assert_false(ssh_wire_wait(f->wire));
}

static void test_deadline_holds_while_bytes_come(void **state)
{
    struct fixture *f = *state;
    char byte;
    assert_int_equal(io_write_all(f->peer, "xx", 2), 0);
    assert_int_equal(take(f, &byte, 1), 1);
    f->wire->deadline_ms = clock_ms();
    assert_int_equal(take(f, &byte, 1), -ECONNABORTED);
    assert_int_equal(f->wire->end, SSH_WIRE_LATE);
    assert_int_equal(give(f, "x", 1), -ECONNABORTED);
}

static void test_deadline_of_wait(void **state)
{
    struct fixture *f = *state;
    int64_t before = clock_ms();
    f->wire->deadline_ms = before + 50;
    assert_false(ssh_wire_wait(f->wire));
    assert_int_equal(f->wire->end, SSH_WIRE_LATE);
    assert_in_range(clock_ms() - before, 50, 1000);
}

/* A peer that does not read: nothing blocks, nothing is cut, and all of it arrives in order. */
static void test_queue(void **state)
{
    struct fixture *f = *state;
    unsigned char *sent = malloc(100000), *got = malloc(100000);
    size_t n = 0;
    for (size_t i = 0; i < 100000; i++)
        sent[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t i = 0; i < 100000; i += 10000)
        assert_int_equal(give(f, sent + i, 10000), 10000);
    assert_true(f->wire->queued > 0);
    while (n < 100000) {
        ssize_t one = recv(f->peer, got + n, 100000 - n, MSG_DONTWAIT);
        assert_true(one > 0);
        n += (size_t)one;
        ssh_wire_flush(f->wire);
    }
    assert_memory_equal(got, sent, 100000);
    assert_int_equal(f->wire->queued, 0);
    free(sent);
    free(got);
}

static void test_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    static const char chunk[30000];
    ssize_t n = 0;
    for (int i = 0; i < 20 && n >= 0; i++)
        n = give(f, chunk, sizeof chunk);
    assert_int_equal(n, -ECONNABORTED);
    assert_int_equal(f->wire->end, SSH_WIRE_FLOOD);
}

/* Its last words are still read when nothing can be sent to it any more. */
static void test_last_words_of_a_closed_peer(void **state)
{
    struct fixture *f = *state;
    char buffer[16];
    assert_int_equal(io_write_all(f->peer, "bye", 3), 0);
    shutdown(f->peer, SHUT_RDWR);
    assert_int_equal(give(f, "x", 1), 1);
    assert_int_equal(f->wire->end, SSH_WIRE_UP);
    assert_int_equal(take(f, buffer, sizeof buffer), 3);
    assert_int_equal(take(f, buffer, sizeof buffer), -ECONNABORTED);
}

static void hear(struct fixture *f, const char *text)
{
    char byte;
    assert_int_equal(io_write_all(f->peer, text, strlen(text)), 0);
    while (take(f, &byte, 1) == 1)
        ;
}

static void test_greeting(void **state)
{
    struct fixture *f = *state;
    hear(f, "one SSH-2.0\r\nxSSH-\nSSH\nSSH-2.0-x");
    assert_false(f->wire->greeted);
    hear(f, "\r\nrest");
    assert_true(f->wire->greeted);
    assert_int_equal(f->wire->line_len, strlen("one SSH-2.0"));
    assert_memory_equal(f->wire->line, "one SSH-2.0", f->wire->line_len);
    assert_int_equal(f->wire->kexinit_len, 4);
}

static void test_offer(void **state)
{
    struct fixture *f = *state;
    static const unsigned char lists[] = "\0\0\0\3a,b\0\0\0\1h\0\0\0\0\0\0\0\2ci\0\0\0\1m\0\0\0\2mm";
    const char *list;
    size_t len;
    assert_false(ssh_wire_offer(f->wire, SSH_LIST_KEX, &list, &len));
    f->wire->kexinit[5] = 20;
    memcpy(f->wire->kexinit + 22, lists, sizeof lists - 1);
    f->wire->kexinit_len = 22 + sizeof lists - 2;
    assert_false(ssh_wire_offer(f->wire, SSH_LIST_KEX, &list, &len));
    f->wire->kexinit_len++;
    assert_true(ssh_wire_offer(f->wire, SSH_LIST_KEX, &list, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(list, "a,b", 3);
    assert_true(ssh_wire_offer(f->wire, SSH_LIST_CIPHER_OUT, &list, &len));
    assert_int_equal(len, 0);
    assert_true(ssh_wire_offer(f->wire, SSH_LIST_MAC_IN, &list, &len));
    assert_memory_equal(list, "mm", 2);
}

static void test_common(void **state)
{
    (void)state;
    assert_true(ssh_wire_common("a", "a", 1));
    assert_true(ssh_wire_common("x,bb", "aa,bb", 5));
    assert_false(ssh_wire_common("b", "aa,bb", 5));
    assert_false(ssh_wire_common("bb", "aa,bb", 4));
    assert_false(ssh_wire_common("", "aa", 2));
    assert_false(ssh_wire_common("aa", "", 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_receives),
        TEST(test_budget),
        TEST(test_deadline_holds_while_bytes_come),
        TEST(test_deadline_of_wait),
        TEST(test_queue),
        TEST(test_queue_is_bounded),
        TEST(test_last_words_of_a_closed_peer),
        TEST(test_greeting),
        TEST(test_offer),
        TEST(test_common),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
