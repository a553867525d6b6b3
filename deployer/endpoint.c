#include "deployer/endpoint.h"

#include "common/text.h"
#include "deployer/mailcow.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define EXAMPLE "for example imaps://mail.example.org, or smtp://[2001:db8::25]:25"

/* Half of an endpoint's addresses: what is published must find room beside them. */
#define OWN_ADDRESSES 4

const struct endpoint_proto endpoint_protos[] = {
    {"smtp", 25, 10025, DIALOGUE_SMTP, MAILCOW_POSTFIX},
    {"smtps", 465, 10465, DIALOGUE_TLS, MAILCOW_POSTFIX},
    {"submission", 587, 10587, DIALOGUE_SMTP, MAILCOW_POSTFIX},
    {"imap", 143, 10143, DIALOGUE_IMAP, MAILCOW_DOVECOT},
    {"imaps", 993, 10993, DIALOGUE_TLS, MAILCOW_DOVECOT},
    {"pop3", 110, 10110, DIALOGUE_POP3, MAILCOW_DOVECOT},
    {"pop3s", 995, 10995, DIALOGUE_TLS, MAILCOW_DOVECOT},
    {"sieve", 4190, 14190, DIALOGUE_SIEVE, MAILCOW_DOVECOT},
    {"https", 443, 443, DIALOGUE_TLS, MAILCOW_NGINX},
};
const size_t endpoint_proto_count = sizeof(endpoint_protos) / sizeof(endpoint_protos[0]);

char *endpoint_address_text(char *out, const struct endpoint_address *address)
{
    const char *form = strchr(address->host, ':') ? "[%s]:%u" : "%s:%u";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(out, ENDPOINT_TEXT, form, address->host, address->port);
#pragma GCC diagnostic pop
    return out;
}

char *endpoint_name(char *out, const struct endpoint *e)
{
    snprintf(out, ENDPOINT_NAME_SIZE, "%s%s", e->proto->name,
             e->proxy == 1 ? "+proxy"
             : e->proxy    ? "+proxy2"
                           : "");
    return out;
}

char *endpoint_listener(char *out, const struct endpoint *e)
{
    char address[ENDPOINT_TEXT] = "", name[ENDPOINT_NAME_SIZE];
    if (!e->container[0] && e->address_count)
        endpoint_address_text(address, &e->addresses[0]);
    snprintf(out, ENDPOINT_LISTENER_SIZE, "%s@%s", endpoint_name(name, e),
             e->container[0] ? e->container : address);
    return out;
}

static bool add_address(struct endpoint *e, const char *host, uint16_t port)
{
    struct endpoint_address *a = &e->addresses[e->address_count];
    for (size_t i = 0; i < e->address_count; i++)
        if (e->addresses[i].port == port && strcmp(e->addresses[i].host, host) == 0)
            return true;
    if (e->address_count == sizeof(e->addresses) / sizeof(e->addresses[0]))
        return false;
    snprintf(a->host, sizeof(a->host), "%s", host);
    a->port = port;
    e->address_count++;
    return true;
}

/* ---- configured ---- */

static int bad(struct error *err, const char *text, const char *what)
{
    char shown[120];
    return error_set(err, E_CONFIG, "endpoint \"%s\": %s; " EXAMPLE,
                     text_escape(shown, sizeof(shown), text, strlen(text)), what);
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* Takes "imaps" or "imaps+proxy2"; false when it is neither. */
static bool take_scheme(const char *text, size_t len, struct endpoint *e)
{
    const char *plus = memchr(text, '+', len);
    size_t name = plus ? (size_t)(plus - text) : len;
    for (size_t i = 0; i < endpoint_proto_count; i++)
        if (is_word(text, name, endpoint_protos[i].name))
            e->proto = &endpoint_protos[i];
    if (plus && is_word(plus, len - name, "+proxy"))
        e->proxy = 1;
    else if (plus && is_word(plus, len - name, "+proxy2"))
        e->proxy = 2;
    return e->proto && (!plus || e->proxy);
}

int endpoint_parse(const char *text, struct endpoint_list *list, struct error *err)
{
    struct endpoint e = {0};
    char host[sizeof(e.addresses[0].host)];
    const char *mark = strstr(text, "://");
    if (!mark)
        return bad(err, text, "it is not proto://host[:port]");
    if (!take_scheme(text, (size_t)(mark - text), &e))
        return bad(err, text,
                   "the protocol is none of smtp, smtps, submission, imap, imaps, pop3, pop3s, sieve, https, "
                   "each with +proxy or +proxy2 behind it where a PROXY header is expected");
    const char *rest = text_take_host(mark + 3, host, sizeof(host));
    if (!rest)
        return bad(err, text, "what follows :// is no host name and no address");
    long port = e.proxy ? e.proto->proxy_port : e.proto->port;
    if (*rest && (*rest != ':' || !text_parse_number(rest + 1, 1, 65535, &port)))
        return bad(err, text,
                   "what follows the host is no port (1 to 65535); an IPv6 address stands in brackets");
    if (list->count == ENDPOINT_MAX)
        return error_set(err, E_CONFIG, "endpoints: more than %d are configured", ENDPOINT_MAX);
    add_address(&e, host, (uint16_t)port);
    list->list[list->count++] = e;
    return 0;
}

/* ---- resolving ---- */

int endpoint_resolve(const struct endpoint_address *address, struct addrinfo **out, char *why, size_t size)
{
    char port[8];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    snprintf(port, sizeof(port), "%u", address->port);
    int rc = getaddrinfo(address->host, port, &hints, out);
    if (rc)
        snprintf(why, size, "the name %.90s does not resolve: %s; %s", address->host,
                 rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc),
                 rc == EAI_NONAME ? "correct it in [verify] endpoints, or in the DNS"
                                  : "see to this host's resolver, or set the address in [verify] endpoints");
    return rc;
}

/* ---- derived ---- */

/* Where a listener on all addresses can be reached from this host. */
static const char *reachable(const char *host_ip)
{
    if (strcmp(host_ip, "0.0.0.0") == 0 || !*host_ip)
        return "127.0.0.1";
    return strcmp(host_ip, "::") == 0 ? "::1" : host_ip;
}

static bool is_published(const struct docker_container *c, uint16_t port)
{
    for (size_t i = 0; i < c->port_count; i++)
        if (c->ports[i].container_port == port && c->ports[i].host_port)
            return true;
    return false;
}

struct listener {
    const struct endpoint_proto *proto;
    uint16_t port; /* inside the container */
    unsigned proxy;
};

static struct endpoint make_endpoint(const struct docker_container *c, const struct listener *l)
{
    struct endpoint e = {.proto = l->proto, .proxy = l->proxy};
    snprintf(e.container, sizeof(e.container), "%s", c->name);
    for (size_t i = 0; i < c->address_count && e.address_count < OWN_ADDRESSES; i++)
        if (c->addresses[i][0])
            add_address(&e, c->addresses[i], l->port);
    for (size_t i = 0; i < c->port_count; i++)
        if (c->ports[i].container_port == l->port && c->ports[i].host_port)
            add_address(&e, reachable(c->ports[i].host_ip), c->ports[i].host_port);
    return e;
}

static int derive_listener(const struct docker_container *c, const struct listener *l,
                           struct endpoint_list *out, struct error *err)
{
    if (strcmp(l->proto->service, c->service) != 0 || !is_published(c, l->port))
        return 0;
    if (out->count == ENDPOINT_MAX)
        return error_set(err, E_FAILED, "endpoints: the containers publish more than %d", ENDPOINT_MAX);
    out->list[out->count++] = make_endpoint(c, l);
    return 0;
}

static int derive_container(const struct docker_container *c, const struct endpoint_https *https,
                            struct endpoint_list *out, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < endpoint_proto_count; i++) {
        const struct endpoint_proto *proto = &endpoint_protos[i];
        bool has_twin = proto->proxy_port != proto->port;
        struct listener direct = {proto, proto->port, 0}, behind = {proto, proto->proxy_port, 1};
        if (!has_twin)
            direct = (struct listener){proto, https->port, https->proxy};
        rc = derive_listener(c, &direct, out, err);
        if (!rc && has_twin)
            rc = derive_listener(c, &behind, out, err);
    }
    return rc;
}

int endpoint_derive(const struct docker_containers *containers, const struct endpoint_https *https,
                    struct endpoint_list *out, struct error *err)
{
    out->count = 0;
    for (size_t i = 0; i < containers->count; i++) {
        if (strcmp(containers->list[i].state, "running") != 0)
            continue;
        int rc = derive_container(&containers->list[i], https, out, err);
        if (rc)
            return rc;
    }
    return 0;
}
