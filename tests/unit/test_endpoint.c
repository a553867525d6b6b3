/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "deployer/endpoint.h"

#include <stdio.h>
#include <string.h>

static struct endpoint_list list;
static bool https_proxy; /* mailcow's NGINX_USE_PROXY_PROTOCOL */

static int setup(void **state)
{
    (void)state;
    memset(&list, 0, sizeof(list));
    https_proxy = false;
    return 0;
}

/* "smtp host:port host:port": an endpoint in one line. */
static const char *shown(const struct endpoint *e)
{
    static char out[9 * ENDPOINT_TEXT];
    char address[ENDPOINT_TEXT], name[ENDPOINT_NAME_SIZE];
    int n = snprintf(out, sizeof(out), "%s", endpoint_name(name, e));
    for (size_t i = 0; i < e->address_count; i++)
        n += snprintf(out + n, sizeof(out) - (size_t)n, " %s",
                      endpoint_address_text(address, &e->addresses[i]));
    return out;
}

/* ---- endpoint_parse ---- */

static void test_parse(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"smtp://mail.example.org", "smtp mail.example.org:25"},
        {"smtps://mail.example.org", "smtps mail.example.org:465"},
        {"submission://mail.example.org", "submission mail.example.org:587"},
        {"imap://mail.example.org", "imap mail.example.org:143"},
        {"imaps://mail.example.org:1993", "imaps mail.example.org:1993"},
        {"pop3://localhost", "pop3 localhost:110"},
        {"pop3s://192.0.2.7:1", "pop3s 192.0.2.7:1"},
        {"sieve://[2001:db8::25]", "sieve [2001:db8::25]:4190"},
        {"https://[::1]:65535", "https [::1]:65535"},
        {"smtp+proxy://192.0.2.7", "smtp+proxy 192.0.2.7:10025"},
        {"smtps+proxy://192.0.2.7", "smtps+proxy 192.0.2.7:10465"},
        {"submission+proxy://192.0.2.7", "submission+proxy 192.0.2.7:10587"},
        {"imap+proxy://192.0.2.7", "imap+proxy 192.0.2.7:10143"},
        {"imaps+proxy2://[::1]", "imaps+proxy2 [::1]:10993"},
        {"pop3+proxy2://192.0.2.7", "pop3+proxy2 192.0.2.7:10110"},
        {"pop3s+proxy2://192.0.2.7", "pop3s+proxy2 192.0.2.7:10995"},
        {"sieve+proxy2://192.0.2.7:4190", "sieve+proxy2 192.0.2.7:4190"},
        {"https+proxy://192.0.2.7", "https+proxy 192.0.2.7:443"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        assert_int_equal(endpoint_parse(cases[i].text, &list, &err), 0);
        assert_int_equal(list.count, i + 1);
        assert_string_equal(shown(&list.list[i]), cases[i].expected);
        assert_string_equal(list.list[i].container, "");
    }
}

static void test_parse_refuses(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "not proto://host"},
        {"mail.example.org:993", "not proto://host"},
        {"imaps:/mail.example.org", "not proto://host"},
        {"IMAPS://mail.example.org", "the protocol is none of"},
        {"://mail.example.org", "the protocol is none of"},
        {"smt://mail.example.org", "the protocol is none of"},
        {"smtp+://mail.example.org", "the protocol is none of"},
        {"smtp+proxy3://mail.example.org", "the protocol is none of"},
        {"smtp+proxy22://mail.example.org", "the protocol is none of"},
        {"smtp+proxy+proxy2://mail.example.org", "the protocol is none of"},
        {"+proxy://mail.example.org", "the protocol is none of"},
        {"imaps://", "no host name"},
        {"imaps://:993", "no host name"},
        {"imaps://ma il", "no host name"},
        {"imaps://-x.example.org", "no host name"},
        {"imaps://mail.example.org/", "no host name"},
        {"imaps://[::1", "no host name"},
        {"imaps://[mail.example.org]", "no host name"},
        {"imaps://[]", "no host name"},
        {"imaps://::1", "no host name"},
        {"imaps://2001:db8::1", "in brackets"},
        {"imaps://mail.example.org:", "no port"},
        {"imaps://mail.example.org:0", "no port"},
        {"imaps://mail.example.org:65536", "no port"},
        {"imaps://mail.example.org:99x", "no port"},
        {"imaps://[::1]x", "no port"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        assert_int_equal(endpoint_parse(cases[i].text, &list, &err), E_CONFIG);
        if (!strstr(err.text, cases[i].why) || !strstr(err.text, "for example imaps://"))
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_int_equal(list.count, 0);
    }
}

static void test_parse_bounds(void **state)
{
    struct error err;
    char text[400] = "imaps://";
    (void)state;
    memset(text + 8, 'a', 254);
    assert_int_equal(endpoint_parse(text, &list, &err), E_CONFIG);
    text[8 + 253] = '\0';
    for (size_t i = 0; i < ENDPOINT_MAX; i++)
        assert_int_equal(endpoint_parse(text, &list, &err), 0);
    assert_int_equal(endpoint_parse(text, &list, &err), E_CONFIG);
    assert_int_equal(list.count, ENDPOINT_MAX);
    assert_non_null(strstr(err.text, "more than 64"));
}

static void test_parse_escapes(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(endpoint_parse("\x1b[2J\n://x", &list, &err), E_CONFIG);
    assert_null(strchr(err.text, '\x1b'));
    assert_null(strchr(err.text, '\n'));
}

/* ---- endpoint_derive ---- */

static struct docker_container container(const char *service, const char *state_word)
{
    struct docker_container c = {0};
    snprintf(c.name, sizeof(c.name), "mailcowdockerized-%s-1", service);
    snprintf(c.service, sizeof(c.service), "%s", service);
    snprintf(c.state, sizeof(c.state), "%s", state_word);
    return c;
}

static void add_address(struct docker_container *c, const char *address)
{
    snprintf(c->addresses[c->address_count++], sizeof(c->addresses[0]), "%s", address);
}

static void publish(struct docker_container *c, const char *host_ip, uint16_t host_port, uint16_t port)
{
    struct docker_port *p = &c->ports[c->port_count++];
    snprintf(p->host_ip, sizeof(p->host_ip), "%s", host_ip);
    p->host_port = host_port;
    p->container_port = port;
}

static void derive(struct docker_container *containers, size_t count, uint16_t https_port)
{
    struct docker_containers all = {containers, count};
    struct endpoint_https https = {.port = https_port, .proxy = https_proxy};
    struct error err;
    assert_int_equal(endpoint_derive(&all, &https, &list, &err), 0);
}

static void test_derive_mailcow(void **state)
{
    struct docker_container c[] = {
        container("postfix-mailcow", "running"),
        container("dovecot-mailcow", "running"),
        container("nginx-mailcow", "running"),
        container("postfix-tlspol-mailcow", "running"),
    };
    static const uint16_t postfix[] = {25, 465, 587}, dovecot[] = {110, 143, 993, 995, 4190};
    (void)state;
    add_address(&c[0], "172.22.1.253");
    add_address(&c[1], "172.22.1.250");
    add_address(&c[1], "fd4d:6169:6c63:6f77::250");
    add_address(&c[2], "172.22.1.9");
    for (size_t i = 0; i < 3; i++) {
        publish(&c[0], "0.0.0.0", postfix[i], postfix[i]);
        publish(&c[0], "::", postfix[i], postfix[i]);
    }
    for (size_t i = 0; i < 5; i++)
        publish(&c[1], "0.0.0.0", dovecot[i], dovecot[i]);
    publish(&c[1], "127.0.0.1", 19991, 12345); /* doveadm: no protocol of ours */
    publish(&c[2], "192.0.2.1", 8443, 8443);
    publish(&c[2], "0.0.0.0", 80, 80);
    publish(&c[3], "0.0.0.0", 2525, 25); /* not the postfix service */
    derive(c, 4, 8443);
    static const char *const expected[] = {
        "smtp 172.22.1.253:25 127.0.0.1:25 [::1]:25",
        "smtps 172.22.1.253:465 127.0.0.1:465 [::1]:465",
        "submission 172.22.1.253:587 127.0.0.1:587 [::1]:587",
        "imap 172.22.1.250:143 [fd4d:6169:6c63:6f77::250]:143 127.0.0.1:143",
        "imaps 172.22.1.250:993 [fd4d:6169:6c63:6f77::250]:993 127.0.0.1:993",
        "pop3 172.22.1.250:110 [fd4d:6169:6c63:6f77::250]:110 127.0.0.1:110",
        "pop3s 172.22.1.250:995 [fd4d:6169:6c63:6f77::250]:995 127.0.0.1:995",
        "sieve 172.22.1.250:4190 [fd4d:6169:6c63:6f77::250]:4190 127.0.0.1:4190",
        "https 172.22.1.9:8443 192.0.2.1:8443",
    };
    assert_int_equal(list.count, 9);
    for (size_t i = 0; i < 9; i++)
        assert_string_equal(shown(&list.list[i]), expected[i]);
    assert_string_equal(list.list[8].container, "mailcowdockerized-nginx-mailcow-1");
}

static void test_derive_only_what_is_published(void **state)
{
    struct docker_container c = container("dovecot-mailcow", "running");
    (void)state;
    add_address(&c, "172.22.1.250");
    publish(&c, "", 0, 143);
    publish(&c, "", 0, 993);
    publish(&c, "10.0.0.1", 1993, 993);
    derive(&c, 1, 443);
    assert_int_equal(list.count, 1);
    assert_string_equal(shown(&list.list[0]), "imaps 172.22.1.250:993 10.0.0.1:1993");
}

/* mailcow's HAPROXY override publishes them on the loopback address; sometimes nothing else is. */
static void test_derive_behind_a_balancer(void **state)
{
    static const uint16_t ports[] = {10143, 10993, 10110, 10995, 14190, 993};
    static const char *const expected[] = {
        "imap+proxy 172.22.1.250:10143 127.0.0.1:10143",
        "imaps 172.22.1.250:993 127.0.0.1:993",
        "imaps+proxy 172.22.1.250:10993 127.0.0.1:10993",
        "pop3+proxy 172.22.1.250:10110 127.0.0.1:10110",
        "pop3s+proxy 172.22.1.250:10995 127.0.0.1:10995",
        "sieve+proxy 172.22.1.250:14190 127.0.0.1:14190",
        "smtp+proxy 127.0.0.1:2525",
        "smtps+proxy 127.0.0.1:10465",
        "submission+proxy 127.0.0.1:10587",
        "https+proxy 127.0.0.1:8443",
    };
    struct docker_container c[] = {container("dovecot-mailcow", "running"),
                                   container("postfix-mailcow", "running"),
                                   container("nginx-mailcow", "running")};
    (void)state;
    add_address(&c[0], "172.22.1.250");
    for (size_t i = 0; i < 6; i++)
        publish(&c[0], "127.0.0.1", ports[i], ports[i]);
    publish(&c[1], "127.0.0.1", 2525, 10025);
    publish(&c[1], "127.0.0.1", 10465, 10465);
    publish(&c[1], "127.0.0.1", 10587, 10587);
    publish(&c[2], "127.0.0.1", 8443, 8443);
    https_proxy = true;
    derive(c, 3, 8443);
    assert_int_equal(list.count, 10);
    for (size_t i = 0; i < 10; i++)
        assert_string_equal(shown(&list.list[i]), expected[i]);
}

static void test_derive_skips_what_does_not_run(void **state)
{
    static const char *const states[] = {"created", "paused", "restarting", "exited", "dead", ""};
    (void)state;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct docker_container c = container("nginx-mailcow", states[i]);
        publish(&c, "0.0.0.0", 443, 443);
        list.count = 7;
        derive(&c, 1, 443);
        assert_int_equal(list.count, 0);
    }
}

static void test_derive_scaled(void **state)
{
    struct docker_container c[] = {container("nginx-mailcow", "running"),
                                   container("nginx-mailcow", "running")};
    (void)state;
    add_address(&c[0], "172.22.1.9");
    add_address(&c[1], "172.22.1.10");
    publish(&c[0], "127.0.0.1", 8443, 443);
    publish(&c[1], "127.0.0.1", 8444, 443);
    derive(c, 2, 443);
    assert_int_equal(list.count, 2);
    assert_string_equal(shown(&list.list[1]), "https 172.22.1.10:443 127.0.0.1:8444");
}

static void test_derive_many_addresses(void **state)
{
    struct docker_container c = container("nginx-mailcow", "running");
    char address[32];
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        snprintf(address, sizeof(address), "172.22.%u.9", i);
        add_address(&c, address);
        snprintf(address, sizeof(address), "10.0.%u.1", i);
        publish(&c, address, 443, 443);
        publish(&c, address, 443, 443);
    }
    derive(&c, 1, 443);
    assert_string_equal(shown(&list.list[0]),
                        "https 172.22.0.9:443 172.22.1.9:443 172.22.2.9:443 172.22.3.9:443"
                        " 10.0.0.1:443 10.0.1.1:443 10.0.2.1:443 10.0.3.1:443");
}

static void test_derive_bounds(void **state)
{
    static struct docker_container c[ENDPOINT_MAX + 1];
    struct docker_containers all = {c, ENDPOINT_MAX + 1};
    struct endpoint_https https = {.port = 443};
    struct error err;
    (void)state;
    for (size_t i = 0; i < ENDPOINT_MAX + 1; i++) {
        c[i] = container("nginx-mailcow", "running");
        publish(&c[i], "0.0.0.0", 443, 443);
    }
    assert_int_equal(endpoint_derive(&all, &https, &list, &err), E_FAILED);
    all.count--;
    assert_int_equal(endpoint_derive(&all, &https, &list, &err), 0);
    assert_int_equal(list.count, ENDPOINT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_parse, setup),
        cmocka_unit_test_setup(test_parse_refuses, setup),
        cmocka_unit_test_setup(test_parse_bounds, setup),
        cmocka_unit_test_setup(test_parse_escapes, setup),
        cmocka_unit_test_setup(test_derive_mailcow, setup),
        cmocka_unit_test_setup(test_derive_only_what_is_published, setup),
        cmocka_unit_test_setup(test_derive_behind_a_balancer, setup),
        cmocka_unit_test_setup(test_derive_skips_what_does_not_run, setup),
        cmocka_unit_test_setup(test_derive_scaled, setup),
        cmocka_unit_test_setup(test_derive_many_addresses, setup),
        cmocka_unit_test_setup(test_derive_bounds, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
