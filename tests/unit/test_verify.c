/* verify_run against real servers, see tls_server.h. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "common/clock.h"
#include "deployer/verify.h"
#include "tests/unit/tls_server.h"

#include <fcntl.h>
#include <stdio.h>

/* ---- fixture ---- */

#define SERVERS_MAX 12

static struct server servers[SERVERS_MAX];
static size_t server_count;
static int spare_fds[8];
static size_t spare_count;
static struct endpoint_list list;
static struct verify_result results[ENDPOINT_MAX];
static struct verify_cell cells[2 * ENDPOINT_MAX];
static const struct verify_result *reported[ENDPOINT_MAX];
static size_t reported_count;
static struct verify_expectation both[2]; /* without SNI, and with */

static const struct server *start(const struct plan *plan)
{
    server_start(&servers[server_count], plan);
    return &servers[server_count++];
}

/* A port that is taken, but where nobody listens. */
static uint16_t refusing_port(void)
{
    uint16_t port;
    spare_fds[spare_count++] = bind_any(&port);
    return port;
}

/* A port where connections are accepted by the kernel and by nobody else. */
static uint16_t silent_port(int backlog)
{
    uint16_t port = refusing_port();
    assert_int_equal(listen(spare_fds[spare_count - 1], backlog), 0);
    return port;
}

/* A port where not even connections are accepted: the queue is full. */
static uint16_t stuck_port(void)
{
    uint16_t port = silent_port(0);
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = spare_fds[spare_count++] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return port;
}

static void add_address(struct endpoint *e, const char *host, uint16_t port)
{
    struct endpoint_address *a = &e->addresses[e->address_count++];
    snprintf(a->host, sizeof(a->host), "%s", host);
    a->port = port;
}

static struct endpoint *ask(const char *proto, uint16_t port)
{
    struct endpoint *e = &list.list[list.count++];
    for (size_t i = 0; i < endpoint_proto_count; i++)
        if (strcmp(endpoint_protos[i].name, proto) == 0)
            e->proto = &endpoint_protos[i];
    add_address(e, "127.0.0.1", port);
    return e;
}

static void take_result(void *ctx, const struct verify_result *result)
{
    assert_ptr_equal(ctx, &list);
    reported[reported_count++] = result;
}

static int setup(void **state)
{
    (void)state;
    memset(&list, 0, sizeof(list));
    memset(results, 0, sizeof(results));
    server_count = spare_count = reported_count = 0;
    both[0] = (struct verify_expectation){NULL, new_leaf.fingerprint};
    both[1] = (struct verify_expectation){"sni.example.org", sni_leaf.fingerprint};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    while (server_count)
        server_stop(&servers[--server_count]);
    while (spare_count)
        close(spare_fds[--spare_count]);
    return 0;
}

static int run(int timeout_ms, bool once)
{
    struct error err = {0};
    struct verify_opts opts = {
        .endpoints = &list,
        .expectations = both,
        .expectation_count = 2,
        .timeout_ms = timeout_ms,
        .connect_timeout_ms = 150,
        .once = once,
        .on_result = take_result,
        .ctx = &list,
        .out_cells = cells,
    };
    int rc = verify_run(&opts, results, &err);
    assert_int_equal(reported_count, list.count);
    for (size_t i = 0; i < list.count; i++)
        assert_ptr_equal(results[i].endpoint, &list.list[i]);
    return rc;
}

static void expect(const struct verify_result *r, enum verify_state state, const char *detail)
{
    if (r->state != state || !strstr(r->detail, detail))
        fail_msg("%s: %s, %s", r->address, verify_state_str(r->state), r->detail);
}

static void expect_served(const struct verify_result *r)
{
    expect(r, VERIFY_SERVED, "");
    assert_string_equal(r->detail, "");
    assert_int_equal(r->probes, 2);
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    make_leaf(&new_leaf, EVP_EC_gen("P-256"));
    make_leaf(&old_leaf, EVP_EC_gen("P-256"));
    make_leaf(&sni_leaf, EVP_EC_gen("P-256"));
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    free_leaf(&new_leaf);
    free_leaf(&old_leaf);
    free_leaf(&sni_leaf);
    return 0;
}

/* ---- TLS from the first byte ---- */

static void test_served(void **state)
{
    struct plan plan = {0};
    char address[300];
    (void)state;
    const struct server *s = start(&plan);
    ask("https", s->port);
    snprintf(address, sizeof(address), "127.0.0.1:%u", s->port);
    assert_int_equal(run(10000, false), 0);
    expect_served(&results[0]);
    assert_string_equal(results[0].fingerprint, new_leaf.fingerprint);
    assert_string_equal(results[0].address, address);
    assert_true(results[0].us > 0);
    assert_int_equal(s->tally->connections, 2);
    assert_int_equal(s->tally->resumed, 0);
}

static void test_stale(void **state)
{
    struct plan plan = {.leaf = &old_leaf};
    (void)state;
    const struct server *s = start(&plan);
    ask("imaps", s->port);
    assert_int_equal(run(10000, true), 1);
    expect(&results[0], VERIFY_STALE, "another leaf is served");
    expect(&results[0], VERIFY_STALE, "(asked without SNI)");
    assert_string_equal(results[0].fingerprint, old_leaf.fingerprint);
    assert_int_equal(results[0].probes, 1);
    assert_int_equal(s->tally->connections, 2);
}

static void test_stale_for_one_name(void **state)
{
    struct plan plan = {0};
    (void)state;
    const struct server *s = start(&plan);
    ask("imaps", s->port);
    both[1].fingerprint = old_leaf.fingerprint;
    assert_int_equal(run(600, false), 1);
    expect(&results[0], VERIFY_STALE, "(asked with SNI sni.example.org)");
    assert_int_equal(results[0].probes, 1);
    /* The first sweep, and after pauses of 100, 150 and 225 ms one more each: the other name is left alone.
     */
    assert_in_range(s->tally->connections, 3, 5);
}

static void test_handshake_fails(void **state)
{
    struct plan no_leaf = {.behaviour = NO_LEAF}, hang_up = {.behaviour = HANG_UP},
                ancient = {.max_version = TLS1_1_VERSION};
    static const char *const http[] = {"SHTTP/1.1 400 Bad Request\r\n\r\n", NULL};
    struct plan plaintext = {.behaviour = STOP_MIDWAY, .script = http};
    (void)state;
    ask("smtps", start(&no_leaf)->port);
    ask("smtps", start(&hang_up)->port);
    ask("https", start(&plaintext)->port);
    ask("pop3s", start(&ancient)->port);
    assert_int_equal(run(10000, true), 1);
    expect(&results[0], VERIFY_HANDSHAKE, "TLS handshake: ");
    expect(&results[0], VERIFY_HANDSHAKE, "alert");
    expect(&results[1], VERIFY_HANDSHAKE, "TLS handshake: ");
    expect(&results[2], VERIFY_HANDSHAKE, "TLS handshake: the answer is not TLS");
    expect(&results[3], VERIFY_HANDSHAKE, "TLS handshake: ");
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(results[i].fingerprint, "");
}

static void test_key_types(void **state)
{
    struct leaf leaves[4];
    struct plan plans[8] = {0};
    struct verify_expectation expectations[4];
    struct error err;
    (void)state;
    make_leaf(&leaves[0], EVP_EC_gen("P-384"));
    make_leaf(&leaves[1], EVP_RSA_gen(2048));
    make_leaf(&leaves[2], EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    make_leaf(&leaves[3], EVP_EC_gen("P-521"));
    for (size_t i = 0; i < 8; i++) {
        plans[i].leaf = &leaves[i % 4];
        plans[i].max_version = i < 4 ? TLS1_2_VERSION : 0;
        struct verify_opts opts = {.endpoints = &list,
                                   .expectations = &expectations[i % 4],
                                   .expectation_count = 1,
                                   .timeout_ms = 10000};
        expectations[i % 4] = (struct verify_expectation){"mail.example.org", leaves[i % 4].fingerprint};
        list.count = 0;
        memset(&list.list[0], 0, sizeof(list.list[0]));
        ask("https", start(&plans[i])->port);
        assert_int_equal(verify_run(&opts, results, &err), 0);
        assert_string_equal(results[0].fingerprint, leaves[i % 4].fingerprint);
    }
    for (size_t i = 0; i < 4; i++)
        free_leaf(&leaves[i]);
}

/* ---- time ---- */

static void test_silent(void **state)
{
    struct plan plan = {0};
    (void)state;
    ask("imaps", silent_port(16));
    ask("smtp", silent_port(16));
    ask("imaps", start(&plan)->port);
    int64_t before = clock_ms();
    assert_int_equal(run(700, false), 1);
    assert_in_range(clock_ms() - before, 700, 1700);
    expect(&results[0], VERIFY_UNREACHABLE, "TLS handshake: nothing was said in time");
    expect(&results[1], VERIFY_UNREACHABLE, "greeting: nothing was said in time");
    expect_served(&results[2]);
    /* What is settled is told at once, without waiting for the silent ones. */
    assert_ptr_equal(reported[0], &results[2]);
    assert_true(results[2].us < 700000);
}

static void test_switches_later(void **state)
{
    struct plan plan = {.old_from = 1, .old_to = 4};
    (void)state;
    const struct server *s = start(&plan);
    both[1] = (struct verify_expectation){"mail.example.org", new_leaf.fingerprint};
    ask("imaps", s->port);
    assert_int_equal(run(10000, false), 0);
    expect_served(&results[0]);
    /* Two stale, two single ones stale, one single one served, a full sweep. */
    assert_int_equal(s->tally->connections, 7);
}

/* An old process that still accepts one connection: seen once, everything is asked again. */
static void test_old_and_new_side_by_side(void **state)
{
    struct plan plan = {.old_from = 2, .old_to = 2};
    (void)state;
    const struct server *s = start(&plan);
    both[1] = (struct verify_expectation){"mail.example.org", new_leaf.fingerprint};
    ask("imaps", s->port);
    assert_int_equal(run(10000, false), 0);
    expect_served(&results[0]);
    assert_int_equal(s->tally->connections, 2 + 1 + 2);
}

/* ---- addresses ---- */

static void test_next_address(void **state)
{
    struct plan plan = {0};
    char address[300];
    (void)state;
    const struct server *s = start(&plan);
    snprintf(address, sizeof(address), "127.0.0.1:%u", s->port);
    add_address(ask("https", refusing_port()), "127.0.0.1", s->port);
    add_address(ask("https", stuck_port()), "127.0.0.1", s->port);
    assert_int_equal(run(10000, false), 0);
    expect_served(&results[0]);
    expect_served(&results[1]);
    assert_string_equal(results[0].address, address);
    assert_string_equal(results[1].address, address);
    assert_true(results[1].us >= 150000);
}

static void test_no_address(void **state)
{
    (void)state;
    ask("https", refusing_port());
    add_address(ask("https", refusing_port()), "127.0.0.1", refusing_port());
    ask("https", stuck_port());
    add_address(ask("https", refusing_port()), "127.0.0.1", stuck_port());
    assert_int_equal(run(10000, true), 1);
    expect(&results[0], VERIFY_UNREACHABLE, "connect: Connection refused (asked");
    expect(&results[1], VERIFY_UNREACHABLE, "none of 2 addresses accepts, the last: Connection refused");
    expect(&results[2], VERIFY_UNREACHABLE, "connect: Connection timed out");
    expect(&results[3], VERIFY_UNREACHABLE, "none of 2 addresses accepts, the last: Connection timed out");
}

/* Docker's proxy accepts on the published port when nothing listens in the container. */
static void test_proxy_without_backend(void **state)
{
    struct plan plan = {.behaviour = HANG_UP};
    (void)state;
    const struct server *s = start(&plan);
    add_address(ask("https", refusing_port()), "127.0.0.1", s->port);
    add_address(ask("smtp", refusing_port()), "127.0.0.1", s->port);
    for (size_t i = 0; i < 2; i++) {
        struct endpoint *e = ask(i ? "smtp" : "https", refusing_port());
        e->proxy = 1;
        add_address(e, "127.0.0.1", s->port);
    }
    assert_int_equal(run(600, false), 1);
    for (size_t i = 0; i < 4; i++)
        expect(&results[i], VERIFY_UNREACHABLE, "not a word was said");
}

static void test_host_names(void **state)
{
    struct plan plan = {0};
    (void)state;
    struct endpoint *e = ask("https", 1);
    e->address_count = 0;
    add_address(e, "localhost", start(&plan)->port);
    e = ask("https", 1);
    e->address_count = 0;
    add_address(e, "no host", 443);
    assert_int_equal(run(10000, false), 1);
    expect_served(&results[0]);
    expect(&results[1], VERIFY_UNRESOLVED, "the name no host does not resolve: ");
    expect(&results[1], VERIFY_UNRESOLVED, "[verify] endpoints");
    assert_string_equal(results[1].address, "no host:443");
    assert_ptr_equal(reported[0], &results[1]);
}

/* Of the service behind a name that does not resolve nothing is known, and of one address beside it all. */
static void test_unresolved_is_not_unreachable(void **state)
{
    struct plan plan = {0};
    (void)state;
    struct endpoint *e = ask("https", 1);
    e->address_count = 0;
    add_address(e, "no host", 443);
    ask("https", refusing_port());
    e = ask("https", 1);
    e->address_count = 0;
    add_address(e, "no host", 443);
    add_address(e, "127.0.0.1", start(&plan)->port);
    assert_int_equal(run(5000, true), 1);
    assert_string_equal(verify_state_str(VERIFY_UNRESOLVED), "unresolved");
    expect(&results[0], VERIFY_UNRESOLVED, "");
    expect(&results[1], VERIFY_UNREACHABLE, "");
    expect_served(&results[2]);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(cells[i].state, VERIFY_UNRESOLVED);
        assert_int_equal(cells[2 + i].state, VERIFY_UNREACHABLE);
        assert_int_equal(cells[4 + i].state, VERIFY_SERVED);
    }
    assert_false(verify_asked(VERIFY_UNRESOLVED) || verify_completed(VERIFY_UNRESOLVED));
    assert_true(verify_asked(VERIFY_UNREACHABLE));
}

/* ---- dialogues ---- */

static const char *const smtp[] = {"S220-mx\r\n",
                                   "W",
                                   "S220 mx ESMTP\r\n",
                                   "CEHLO certsync.invalid\r\n",
                                   "S250-mx\r\n250-STARTT",
                                   "SLS\r\n250 SMTPUTF8\r\n",
                                   "CSTARTTLS\r\n",
                                   "S220 2.0.0 Ready to start TLS\r\n",
                                   NULL};
static const char *const imap[] = {"S* OK [CAPABILITY STARTTLS] ready\r\n", "Ca1 STARTTLS\r\n",
                                   "S* CAPABILITY IMAP4rev1\r\n", "Sa1 OK Begin TLS\r\n", NULL};
static const char *const pop3[] = {"S+OK ready\r\n", "CSTLS\r\n", "S+OK go\r\n", NULL};
static const char *const sieve[] = {"S\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n",
                                    "CSTARTTLS\r\n", "SOK \"go\"\r\n", NULL};

static void test_starttls(void **state)
{
    const struct {
        const char *proto;
        struct plan plan;
    } cases[] = {{"smtp", {.script = smtp}},
                 {"submission", {.script = smtp}},
                 {"imap", {.script = imap}},
                 {"pop3", {.script = pop3}},
                 {"sieve", {.script = sieve}}};
    size_t n = sizeof(cases) / sizeof(cases[0]);
    (void)state;
    for (size_t i = 0; i < n; i++)
        ask(cases[i].proto, start(&cases[i].plan)->port);
    assert_int_equal(run(10000, false), 0);
    for (size_t i = 0; i < n; i++) {
        expect_served(&results[i]);
        /* The second farewell may still be on its way. */
        assert_int_equal(servers[i].tally->surprises, 0);
        assert_in_range(servers[i].tally->farewells, 1, 2);
    }
}

static void test_starttls_fails(void **state)
{
    static const char *const refused[] = {"S220 mx\r\n",
                                          "CEHLO certsync.invalid\r\n",
                                          "S250 STARTTLS\r\n",
                                          "CSTARTTLS\r\n",
                                          "S454 4.7.0 TLS not available due to local problem\r\n",
                                          NULL};
    static const char *const injected[] = {"S+OK\r\n", "CSTLS\r\n", "S+OK\r\n+OK capabilities\r\n", NULL};
    static const char *const closed[] = {"S* OK\r\n", "Ca1 STARTTLS\r\n", NULL};
    static const char *const foreign[] = {"SSSH-2.0-OpenSSH\r\n", NULL};
    static const struct plan plans[] = {
        {.behaviour = STOP_MIDWAY, .script = refused}, {.behaviour = STOP_MIDWAY, .script = injected},
        {.behaviour = STOP_MIDWAY, .script = closed},  {.behaviour = STOP_MIDWAY, .script = foreign},
        {.behaviour = NO_LEAF, .script = pop3},        {.behaviour = HANG_UP},
    };
    (void)state;
    ask("smtp", start(&plans[0])->port);
    ask("pop3", start(&plans[1])->port);
    ask("imap", start(&plans[2])->port);
    ask("sieve", start(&plans[3])->port);
    ask("pop3", start(&plans[4])->port);
    ask("pop3", start(&plans[5])->port);
    assert_int_equal(run(10000, true), 1);
    expect(&results[0], VERIFY_HANDSHAKE, "454 4.7.0 TLS not available");
    expect(&results[1], VERIFY_DIALOGUE, "plaintext follows the go-ahead");
    expect(&results[2], VERIFY_DIALOGUE, "answer to STARTTLS: the connection was closed");
    expect(&results[3], VERIFY_DIALOGUE, "greeting: \"SSH-2.0-OpenSSH\"");
    expect(&results[4], VERIFY_HANDSHAKE, "TLS handshake: ");
    expect(&results[5], VERIFY_UNREACHABLE, "not a word was said");
}

/* ---- many ---- */

#define MANY 20

/* As run, for many names that all stand for new_leaf. */
static int run_many(int timeout_ms, int connect_timeout_ms, bool once)
{
    struct verify_expectation names[MANY];
    struct error err;
    struct verify_opts opts = {
        .endpoints = &list,
        .expectations = names,
        .expectation_count = MANY,
        .timeout_ms = timeout_ms,
        .connect_timeout_ms = connect_timeout_ms,
        .once = once,
    };
    for (size_t i = 0; i < MANY; i++)
        names[i] = (struct verify_expectation){i ? "mail.example.org" : NULL, new_leaf.fingerprint};
    return verify_run(&opts, results, &err);
}

/* ---- behind a balancer ---- */

static void test_proxy_header(void **state)
{
    static const char *const script[] = {"S220 hello\r\n",    "CEHLO certsync.invalid\r\n",
                                         "S250 STARTTLS\r\n", "CSTARTTLS\r\n",
                                         "S220 go\r\n",       NULL};
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct plan direct = {.proxy = version}, talks = {.proxy = version, .script = script};
        ask("imaps", start(&direct)->port)->proxy = version;
        ask("smtp", start(&talks)->port)->proxy = version;
    }
    assert_int_equal(run(10000, true), 0);
    for (size_t i = 0; i < 4; i++) {
        expect_served(&results[i]);
        assert_int_equal(servers[i].tally->surprises, 0);
    }
}

/* As Dovecot does to whom it does not trust: it says nothing, so the text has to. */
static void test_proxy_header_is_not_trusted(void **state)
{
    struct plan plan = {.behaviour = HANG_UP};
    (void)state;
    ask("imaps", start(&plan)->port)->proxy = 1;
    ask("sieve", start(&plan)->port)->proxy = 2;
    assert_int_equal(run(10000, true), 1);
    expect(&results[0], VERIFY_DISTRUSTED, "haproxy_trusted_networks");
    expect(&results[1], VERIFY_DISTRUSTED, "haproxy_trusted_networks");
    assert_string_equal(verify_state_str(VERIFY_DISTRUSTED), "not trusted");
}

static void test_more_than_run_at_once(void **state)
{
    struct plan plan = {0};
    (void)state;
    for (size_t i = 0; i < 9; i++)
        ask("https", start(&plan)->port);
    assert_int_equal(run_many(30000, 0, false), 0);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(results[i].probes, MANY);
        assert_int_equal(servers[i].tally->connections, MANY);
        assert_int_equal(servers[i].tally->resumed, 0);
    }
}

static void test_probes_of_one_endpoint_are_bounded(void **state)
{
    unsigned accepted = 0;
    int fd;
    (void)state;
    ask("https", silent_port(128));
    assert_int_equal(fcntl(spare_fds[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(run_many(200, 0, false), 1);
    for (; (fd = accept(spare_fds[0], NULL, NULL)) >= 0; accepted++)
        close(fd);
    assert_int_equal(accepted, VERIFY_PER_ENDPOINT);
}

/* Whether anything is said does not depend on the name. */
static void test_unreachable_ends_the_sweep(void **state)
{
    struct plan plan = {.behaviour = HANG_UP};
    (void)state;
    const struct server *s = start(&plan);
    ask("smtp", s->port);
    assert_int_equal(run_many(10000, 0, true), 1);
    assert_in_range(s->tally->connections, 1, MANY - 1);
}

/* Only the first probes pay for an address that does not answer. */
static void test_address_is_remembered(void **state)
{
    struct plan plan = {0};
    (void)state;
    add_address(ask("https", stuck_port()), "127.0.0.1", start(&plan)->port);
    assert_int_equal(run_many(10000, 500, false), 0);
    assert_in_range(results[0].us, 500000, 1400000);
}

static void test_nothing_to_try(void **state)
{
    struct error err;
    struct verify_opts opts = {
        .endpoints = &list, .expectations = both, .expectation_count = 2, .timeout_ms = 10};
    (void)state;
    assert_int_equal(verify_run(&opts, results, &err), E_FAILED);
    assert_string_equal(err.text, "verify: there is no endpoint to ask");
    ask("https", 1);
    opts.expectation_count = 0;
    assert_int_equal(verify_run(&opts, results, &err), E_FAILED);
    assert_string_equal(err.text, "verify: there is no leaf to expect");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_served),
        TEST(test_stale),
        TEST(test_stale_for_one_name),
        TEST(test_handshake_fails),
        TEST(test_key_types),
        TEST(test_silent),
        TEST(test_switches_later),
        TEST(test_old_and_new_side_by_side),
        TEST(test_next_address),
        TEST(test_no_address),
        TEST(test_proxy_without_backend),
        TEST(test_host_names),
        TEST(test_unresolved_is_not_unreachable),
        TEST(test_starttls),
        TEST(test_starttls_fails),
        TEST(test_proxy_header),
        TEST(test_proxy_header_is_not_trusted),
        TEST(test_more_than_run_at_once),
        TEST(test_probes_of_one_endpoint_are_bounded),
        TEST(test_unreachable_ends_the_sweep),
        TEST(test_address_is_remembered),
        TEST(test_nothing_to_try),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
