#include "deployer/proxy_header.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

enum {
    VERSION_2_PROXY = 0x21,
    TCP_OVER_IPV4 = 0x11,
    TCP_OVER_IPV6 = 0x21,
};

struct side {
    int family; /* 0: neither IPv4 nor IPv6 */
    unsigned char address[16];
    in_port_t port; /* network byte order */
};

static struct side take_side(const struct sockaddr *sa)
{
    struct side side = {0};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (sa->sa_family == AF_INET) {
        memcpy(&in, sa, sizeof in);
        side = (struct side){.family = AF_INET, .port = in.sin_port};
        memcpy(side.address, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(&in6, sa, sizeof in6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        side = (struct side){.family = mapped ? AF_INET : AF_INET6, .port = in6.sin6_port};
        memcpy(side.address, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
    return side;
}

/* §2.1: "PROXY TCP4 192.0.2.80 192.0.2.25 56324 10993\r\n" */
static size_t write_text(const struct side *source, const struct side *destination, unsigned char *out)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN], line[PROXY_HEADER_MAX + 1];
    inet_ntop(source->family, source->address, from, sizeof from);
    inet_ntop(source->family, destination->address, to, sizeof to);
    int n = snprintf(line, sizeof line, "PROXY TCP%d %s %s %u %u\r\n", source->family == AF_INET ? 4 : 6,
                     from, to, ntohs(source->port), ntohs(destination->port));
    memcpy(out, line, (size_t)n);
    return (size_t)n;
}

static size_t put(unsigned char *out, size_t at, const void *bytes, size_t len)
{
    memcpy(out + at, bytes, len);
    return at + len;
}

/* §2.2: signature, version and command, family, length of what follows, both addresses, both ports. */
static size_t write_binary(const struct side *source, const struct side *destination, unsigned char *out)
{
    bool v4 = source->family == AF_INET;
    size_t len = v4 ? 4 : 16;
    const unsigned char fixed[] = {VERSION_2_PROXY, v4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, 0,
                                   (unsigned char)(2 * len + 4)};
    size_t n = put(out, 0, SIGNATURE, sizeof SIGNATURE - 1);
    n = put(out, n, fixed, sizeof fixed);
    n = put(out, n, source->address, len);
    n = put(out, n, destination->address, len);
    n = put(out, n, &source->port, 2);
    return put(out, n, &destination->port, 2);
}

size_t proxy_header(unsigned version, const struct sockaddr *source, const struct sockaddr *destination,
                    unsigned char *out)
{
    struct side from = take_side(source), to = take_side(destination);
    if (!from.family || from.family != to.family)
        return 0;
    return version == 1 ? write_text(&from, &to, out) : write_binary(&from, &to, out);
}

int proxy_header_send(int fd, unsigned version)
{
    struct sockaddr_storage source, destination;
    socklen_t source_len = sizeof source, destination_len = sizeof destination;
    unsigned char header[PROXY_HEADER_MAX];
    if (getsockname(fd, (struct sockaddr *)&source, &source_len) < 0 ||
        getpeername(fd, (struct sockaddr *)&destination, &destination_len) < 0)
        return errno;
    size_t len = proxy_header(version, (struct sockaddr *)&source, (struct sockaddr *)&destination, header);
    if (!len)
        return EAFNOSUPPORT;
    ssize_t n = send(fd, header, len, MSG_NOSIGNAL); /* it fits the empty buffer of a new socket */
    return n == (ssize_t)len ? 0 : n < 0 ? errno : EMSGSIZE;
}
