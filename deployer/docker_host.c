#include "deployer/docker_host.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* libcurl takes localhost for the loopback addresses, whatever a resolver says. */
static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcasecmp(host, "localhost") == 0;
}

static bool parse_tcp(const char *text, struct docker_host *out)
{
    char host[254];
    long port;
    const char *rest = text_take_host(text, host, sizeof host);
    if (!rest || *rest != ':' || !text_parse_number(rest + 1, 1, 65535, &port))
        return false;
    snprintf(out->authority, sizeof out->authority, "%s", text);
    out->is_loopback = is_loopback(host);
    return true;
}

static bool parse_unix(const char *path, struct docker_host *out)
{
    size_t len = strlen(path);
    if (*path != '/' || len < 2 || len >= sizeof out->path)
        return false;
    memcpy(out->path, path, len + 1);
    return true;
}

bool docker_host_parse(const char *text, struct docker_host *out)
{
    struct docker_host host = {.path = ""};
    bool ok = strncmp(text, "unix://", 7) == 0  ? parse_unix(text + 7, &host)
              : strncmp(text, "tcp://", 6) == 0 ? parse_tcp(text + 6, &host)
                                                : false;
    if (ok)
        *out = host;
    return ok;
}
