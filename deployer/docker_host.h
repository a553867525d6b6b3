/*
 * Where a Docker Engine listens, in Docker's own terms (as in DOCKER_HOST): a pure function of the text.
 */
#ifndef DEPLOYER_DOCKER_HOST_H
#define DEPLOYER_DOCKER_HOST_H

#include <stdbool.h>

#define DOCKER_HOST_DEFAULT "unix:///var/run/docker.sock"
#define DOCKER_HOST_FORMS                                                                                    \
    "unix:///PATH or tcp://HOST:PORT, such as " DOCKER_HOST_DEFAULT " or tcp://127.0.0.1:2375"

struct docker_host {
    char path[108];      /* of the unix socket, "" for TCP */
    char authority[270]; /* "host:port" of a URL, an IPv6 address in brackets; "" for a unix socket */
    bool is_loopback;    /* TCP to localhost, 127.0.0.0/8 or ::1 */
};

/* False when text is none of DOCKER_HOST_FORMS, or its path longer than a socket's may be. */
bool docker_host_parse(const char *text, struct docker_host *out);

#endif
