/* deployer/proxy_header: the bytes, as haproxy's proxy-protocol.txt has them. */
#include "tests/unit/testing.h"

#include "deployer/proxy_header.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_storage address(const char *text, uint16_t port)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
    }
    return out;
}

static size_t header(unsigned version, const struct sockaddr_storage *source,
                     const struct sockaddr_storage *destination, unsigned char *out)
{
    return proxy_header(version, (const struct sockaddr *)source, (const struct sockaddr *)destination, out);
}

/* §2.1: single spaces, decimal ports, CRLF. */
static void version_1_is_a_line(void **state)
{
    static const struct {
        const char *source, *destination, *line;
    } cases[] = {
        {"192.168.0.1", "192.168.0.11", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"},
        {"2001:db8::80", "2001:db8::25", "PROXY TCP6 2001:db8::80 2001:db8::25 56324 443\r\n"},
        {"::ffff:192.168.0.1", "192.168.0.11", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned char out[PROXY_HEADER_MAX];
        struct sockaddr_storage source = address(cases[i].source, 56324);
        struct sockaddr_storage destination = address(cases[i].destination, 443);
        size_t len = header(1, &source, &destination, out);
        assert_int_equal(len, strlen(cases[i].line));
        assert_memory_equal(out, cases[i].line, len);
    }
}

/* "worst case" in §2.1, less UNKNOWN's: 104 characters and the end of the line. */
static void version_1_fits_at_its_longest(void **state)
{
    unsigned char out[PROXY_HEADER_MAX];
    struct sockaddr_storage all = address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535);
    (void)state;
    assert_int_equal(header(1, &all, &all, out), 104);
}

/* §2.2: the signature, 0x21 (version 2, PROXY), 0x11 (TCP over IPv4), 12 bytes of addresses and ports. */
static void version_2_with_ipv4(void **state)
{
    static const unsigned char expected[] = {
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, /* */
        192,  0,    2,    80,   198,  51,   100,  25,   0xdc, 0x04, 0x2a, 0xf1,                         /* */
    };
    unsigned char out[PROXY_HEADER_MAX];
    struct sockaddr_storage source = address("192.0.2.80", 56324),
                            destination = address("198.51.100.25", 10993);
    (void)state;
    assert_int_equal(header(2, &source, &destination, out), sizeof expected);
    assert_memory_equal(out, expected, sizeof expected);
}

/* 0x21 (TCP over IPv6), 36 bytes. */
static void version_2_with_ipv6(void **state)
{
    static const unsigned char expected[] = {
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x21, 0x00, 0x24, /* */
        0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0x80, /* */
        0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0x25, /* */
        0xdc, 0x04, 0x2a, 0xf1,                                                                         /* */
    };
    unsigned char out[PROXY_HEADER_MAX];
    struct sockaddr_storage source = address("2001:db8::80", 56324),
                            destination = address("2001:db8::25", 10993);
    (void)state;
    assert_int_equal(header(2, &source, &destination, out), sizeof expected);
    assert_memory_equal(out, expected, sizeof expected);
}

static void other_addresses_have_none(void **state)
{
    unsigned char out[PROXY_HEADER_MAX];
    struct sockaddr_storage v4 = address("192.0.2.80", 1), v6 = address("2001:db8::80", 1);
    struct sockaddr_storage local = {.ss_family = AF_UNIX};
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        assert_int_equal(header(version, &v4, &v6, out), 0);
        assert_int_equal(header(version, &local, &local, out), 0);
    }
}

static void sends_the_connections_own(void **state)
{
    struct sockaddr_storage here = address("127.0.0.1", 0), client;
    socklen_t len = sizeof(struct sockaddr_in), client_len = sizeof client;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pair[2];
    char expected[PROXY_HEADER_MAX + 1], got[PROXY_HEADER_MAX + 1] = "";
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&here, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&here, len), 0);
    int server = accept(listener, (struct sockaddr *)&client, &client_len);
    assert_int_equal(proxy_header_send(fd, 1), 0);
    snprintf(expected, sizeof expected, "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\n",
             ntohs(((struct sockaddr_in *)&client)->sin_port),
             ntohs(((struct sockaddr_in *)&here)->sin_port));
    assert_int_equal(recv(server, got, sizeof got - 1, 0), strlen(expected));
    assert_string_equal(got, expected);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(proxy_header_send(pair[0], 2), EAFNOSUPPORT);
    const int fds[] = {listener, fd, server, pair[0], pair[1]};
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_is_a_line),       cmocka_unit_test(version_1_fits_at_its_longest),
        cmocka_unit_test(version_2_with_ipv4),       cmocka_unit_test(version_2_with_ipv6),
        cmocka_unit_test(other_addresses_have_none), cmocka_unit_test(sends_the_connections_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
