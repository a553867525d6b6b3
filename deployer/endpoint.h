/*
 * Endpoints: what can be asked on the wire for the certificate it serves. An endpoint is a protocol, one or
 * more addresses under which the same listener can be reached, and the service (container) behind it. A
 * listener that stands behind a load balancer expects a PROXY header in front of everything else; it is an
 * endpoint of its own beside its twin that does not.
 */
#ifndef DEPLOYER_ENDPOINT_H
#define DEPLOYER_ENDPOINT_H

#include "common/error.h"
#include "deployer/docker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum endpoint_dialogue {
    DIALOGUE_TLS,   /* TLS from the first byte */
    DIALOGUE_SMTP,  /* RFC 3207 */
    DIALOGUE_IMAP,  /* RFC 9051 §6.2.1 */
    DIALOGUE_POP3,  /* RFC 2595 §4 */
    DIALOGUE_SIEVE, /* RFC 5804 §2.2 */
};

struct endpoint_proto {
    const char *name;    /* smtp, smtps, submission, imap, imaps, pop3, pop3s, sieve, https */
    uint16_t port;       /* inside mailcow's containers */
    uint16_t proxy_port; /* of mailcow's listener that expects a PROXY header */
    enum endpoint_dialogue dialogue;
    const char *service; /* postfix-mailcow, dovecot-mailcow, nginx-mailcow */
};

extern const struct endpoint_proto endpoint_protos[];
extern const size_t endpoint_proto_count;

struct endpoint_address {
    char host[254]; /* IP address or host name */
    uint16_t port;
};

struct endpoint {
    const struct endpoint_proto *proto;
    unsigned proxy;                       /* version of the PROXY header that it expects, 1 or 2; 0: none */
    char container[128];                  /* the container's name; "" for a configured endpoint */
    struct endpoint_address addresses[8]; /* in the order in which they are tried */
    size_t address_count;
};

/* Why a PROXY endpoint may hang up without a word: no service says so itself, and Dovecot trusts nobody until
 * it is told whom. */
#define ENDPOINT_PROXY_HINT                                                                                  \
    "hung up after the PROXY header: is one expected, and this host trusted (Dovecot: "                      \
    "haproxy_trusted_networks)?"

#define ENDPOINT_MAX  64
#define ENDPOINT_TEXT 264 /* "host:port", a v6 literal in brackets */

struct endpoint_list {
    struct endpoint list[ENDPOINT_MAX];
    size_t count;
};

/* "host:port" as it is shown to people; out: ENDPOINT_TEXT bytes. Returns out. */
char *endpoint_address_text(char *out, const struct endpoint_address *address);

struct addrinfo;
/*
 * What an address stands for: 0, and *out for freeaddrinfo. Or a code of getaddrinfo, and why says so and
 * what to do, in about 200 bytes; nothing is known then of the service.
 */
int endpoint_resolve(const struct endpoint_address *address, struct addrinfo **out, char *why, size_t size);

#define ENDPOINT_NAME_SIZE 24
/* "imaps", "imaps+proxy", "imaps+proxy2": as it is configured. out: ENDPOINT_NAME_SIZE bytes. Returns out. */
char *endpoint_name(char *out, const struct endpoint *e);

#define ENDPOINT_LISTENER_SIZE 440
/* "imaps@mailcowdockerized-dovecot-mailcow-1", or the address of a configured one: what names it in the
 * state. out: ENDPOINT_LISTENER_SIZE bytes. Returns out. */
char *endpoint_listener(char *out, const struct endpoint *e);

/*
 * Parses one configured endpoint, `proto[+proxy|+proxy2]://host[:port]` (host may be a [v6] literal; the port
 * defaults to that of mailcow's listener), and appends it. E_CONFIG with what is wrong and an example of what
 * is right; list is unchanged then.
 */
int endpoint_parse(const char *text, struct endpoint_list *list, struct error *err);

/*
 * Derives the endpoints from the containers: every protocol whose port is published on the mail host, reached
 * by the container's own addresses first, then by the published ones (0.0.0.0 and :: mean the loopback
 * address of that family). The listeners for load balancers are asked with version 1 of the PROXY header: it
 * is what balancers send unless they are told otherwise, and the services take both. Scaled services give one
 * endpoint per container. A container that is not running gives none, because the engine does not say what it
 * publishes: that it is missing is the caller's to report. E_FAILED when there would be more than
 * ENDPOINT_MAX.
 */
struct endpoint_https {
    uint16_t port; /* nginx's port inside its container: mailcow's HTTPS_PORT */
    bool proxy;    /* it expects a PROXY header: mailcow's NGINX_USE_PROXY_PROTOCOL */
};
int endpoint_derive(const struct docker_containers *containers, const struct endpoint_https *https,
                    struct endpoint_list *out, struct error *err);

#endif
