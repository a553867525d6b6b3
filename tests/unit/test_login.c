/* deployer/login: its file, and logins at real TLS servers (tls_server.h) that keep what they hear. */
#include "tests/unit/testing.h"

#include "common/clock.h"
#include "deployer/login.h"
#include "tests/unit/tls_server.h"

#define NAME     "certsync@example.org"
#define PASSWORD "correct horse"
#define TOKEN    "AGNlcnRzeW5jQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U=" /* base64 of \0NAME\0PASSWORD */

/* ---- the file ---- */

static int read_login(const struct directory *d, const char *text, struct login *out, struct error *err)
{
    const char *path = write_text(d, "login.conf", text);
    *err = (struct error){0};
    return login_read(path, out, err);
}

static void reads_name_and_password(void **state)
{
    AUTO_LOGIN struct login l = {0};
    struct error err;
    assert_int_equal(
        read_login(*state, "# a mailbox\n[login]\nname = " NAME "\npassword = =x: \"y;z#\"' \n", &l, &err),
        0);
    assert_string_equal(l.name, NAME);
    assert_string_equal((char *)l.password.data, "=x: \"y;z#\"'");
}

/* problem: what comes behind the path of the file. */
static void refused(const struct directory *d, const char *text, const char *problem)
{
    AUTO_LOGIN struct login l = {0};
    struct error err;
    char whole[600];
    assert_int_equal(read_login(d, text, &l, &err), E_CONFIG);
    snprintf(whole, sizeof whole, "%s/login.conf%s", d->path, problem);
    assert_string_equal(err.text, whole);
    assert_int_equal(err.code, E_CONFIG);
    assert_null(l.name);
    assert_null(l.password.data);
}

static void refuses_what_it_cannot_use(void **state)
{
    const struct directory *d = *state;
    refused(d, "", ": [login] needs both name and password");
    refused(d, "[login]\nname = x\n", ": [login] needs both name and password");
    refused(d, "[login]\npassword = x\n", ": [login] needs both name and password");
    refused(d, "name = x\n", ":1: a key before the first section");
    refused(d, "[login]\nname = x\npassword =\n", ":3: password: it is empty");
    refused(d, "[login]\nname = x\npasswort = secret\npassword = y\n",
            ":3: unknown key passwort in [login]; there are name, password");
    refused(d, "[login]\nname = x\npassword = secret ;word\n",
            ":3: password: it holds \" ;\", which begins a comment: choose another one");
    refused(d, "[login]\nname = x\npassword = a\npassword = b\n", ":4: password is given twice in [login]");
    refused(d, "[login]\nname = x\npassword = a\n  b\n",
            ":4: it is indented, but password is no list that it could go on with");
}

static void tells_all_that_is_wrong(void **state)
{
    const struct directory *d = *state;
    AUTO_LOGIN struct login l = {0};
    struct error err;
    assert_int_equal(read_login(d, "[login]\nnothing\nname =\npassword = secret ;word\n", &l, &err),
                     E_CONFIG);
    assert_has(err.text, "login.conf:2: neither");
    assert_has(err.text, "login.conf:3: name");
    assert_has(err.text, "login.conf:4: password");
    assert_lacks(err.text, "secret");
    assert_lacks(err.text, "\n");
}

static void must_be_private(void **state)
{
    const struct directory *d = *state;
    AUTO_LOGIN struct login l = {0};
    struct error err;
    const char *path = write_text(d, "login.conf", "[login]\nname = x\npassword = y\n");
    set_mode(d, "login.conf", 0640);
    assert_int_equal(login_read(path, &l, &err), E_CONFIG);
    assert_has(err.text, "its mode is 0640");
    assert_int_equal(unlinkat(d->fd, "login.conf", 0), 0);
    assert_int_equal(login_read(path, &l, &err), E_CONFIG);
    assert_has(err.text, "No such file");
    assert_int_equal(symlinkat("other", d->fd, "login.conf"), 0);
    write_text(d, "other", "[login]\nname = x\npassword = y\n");
    assert_int_equal(login_read(path, &l, &err), E_CONFIG);
}

/* ---- logins ---- */

#define SERVERS_MAX 4

static struct server servers[SERVERS_MAX];
static size_t server_count;
static struct endpoint_list list;
static struct login_result results[ENDPOINT_MAX];
static size_t result_count, reported_count;

static const struct server *serve_for(const char *proto, const struct plan *plan)
{
    struct server *s = &servers[server_count++];
    struct error err;
    char text[80];
    server_start(s, plan);
    snprintf(text, sizeof text, "%s://127.0.0.1:%u", proto, s->port);
    assert_int_equal(endpoint_parse(text, &list, &err), 0);
    return s;
}

static void take_result(void *ctx, const struct login_result *result)
{
    assert_ptr_equal(ctx, &list);
    assert_true(result >= results && result < results + ENDPOINT_MAX);
    reported_count++;
}

static int run_within(int timeout_ms, const char *spki)
{
    struct error err = {0};
    AUTO_LOGIN struct login l = {.name = strdup(NAME), .password = SECRET(100)};
    secret_append(&l.password, PASSWORD, strlen(PASSWORD));
    struct login_opts opts = {
        .login = &l,
        .endpoints = &list,
        .spki = spki,
        .timeout_ms = timeout_ms,
        .on_result = take_result,
        .ctx = &list,
    };
    int rc = login_run(&opts, results, &result_count, &err);
    assert_int_equal(reported_count, rc < 0 ? 0 : result_count);
    return rc;
}

static int run(void)
{
    return run_within(10000, new_leaf.spki);
}

static void expect(const struct login_result *r, enum login_state state, const char *detail)
{
    if (r->state != state || strcmp(r->detail, detail) != 0)
        fail_msg("%s: %s, %s", r->address, login_state_str(r->state), r->detail);
}

static int setup(void **state)
{
    (void)state;
    memset(&list, 0, sizeof list);
    server_count = result_count = reported_count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    while (server_count)
        server_stop(&servers[--server_count]);
    return 0;
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

/* As Dovecot and Postfix speak. */
#define IMAP_GREETING                                                                                        \
    "S* OK [CAPABILITY IMAP4rev1] ready\r\n", "CA001 CAPABILITY\r\n",                                        \
        "S* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=LOGIN\r\nA001 OK done\r\n"
#define IMAP_LOGIN   "CA002 AUTHENTICATE PLAIN " TOKEN "\r\n"
#define IMAP_GOODBYE "CA003 NOOP\r\n", "SA003 OK done\r\n", "CA004 LOGOUT\r\n", "S* BYE\r\nA004 OK done\r\n"
#define SMTP_HELLO   "CEHLO certsync.invalid\r\n"
#define SMTP_AUTH                                                                                            \
    SMTP_HELLO, "S250-mail\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n", "CAUTH PLAIN\r\n", "S334 \r\n",   \
        "C" TOKEN "\r\n"
#define SMTP_GOODBYE "CNOOP\r\n", "S250 2.0.0 Ok\r\n", "CQUIT\r\n", "S221 2.0.0 Bye\r\n"

static const char *const imap_good[] = {IMAP_GREETING, IMAP_LOGIN, "SA002 OK logged in\r\n", IMAP_GOODBYE,
                                        NULL};
static const char *const smtps_good[] = {"S220 mail\r\n", SMTP_AUTH, "S235 2.7.0 ok\r\n", SMTP_GOODBYE, NULL};
static const char *const smtp_good[] = {SMTP_AUTH, "S235 2.7.0 ok\r\n", SMTP_GOODBYE, NULL};
static const char *const starttls[] = {
    "S220 mail\r\n", SMTP_HELLO,    "S250-mail\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
    "CSTARTTLS\r\n", "S220 go\r\n", NULL};

static void logs_in_and_takes_its_leave(void **state)
{
    struct plan imaps = {.tls_script = imap_good}, smtps = {.tls_script = smtps_good};
    struct plan submission = {.script = starttls, .tls_script = smtp_good};
    (void)state;
    serve_for("imaps", &imaps);
    assert_int_equal(run(), 0);
    list.count = reported_count = 0;
    serve_for("smtps", &smtps);
    serve_for("submission", &submission);
    assert_int_equal(run(), 0);
    assert_int_equal(result_count, 2);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(servers[i].tally->surprises, 0);
    expect(&results[0], LOGIN_DONE, "");
    assert_ptr_equal(results[1].endpoint, &list.list[1]);
    assert_true(results[1].us > 0);
}

static void passes_over_where_nobody_logs_in(void **state)
{
    struct plan plan = {.tls_script = imap_good};
    (void)state;
    serve_for("https", &plan);
    serve_for("smtp", &plan);
    serve_for("imaps", &plan);
    assert_int_equal(run(), 0);
    assert_int_equal(result_count, 1);
    assert_ptr_equal(results[0].endpoint, &list.list[2]);
    assert_int_equal(servers[0].tally->connections + servers[1].tally->connections, 0);
}

static void tells_what_the_server_says(void **state)
{
    static const char *const imap[] = {IMAP_GREETING, IMAP_LOGIN,
                                       "SA002 NO [AUTHENTICATIONFAILED] No\x1b[2J.\r\n", NULL};
    static const char *const smtp[] = {"S220 mail\r\n", SMTP_AUTH, "S535-5.7.8 Error:\r\n535 5.7.8 no\r\n",
                                       NULL};
    struct plan imaps = {.tls_script = imap}, smtps = {.tls_script = smtp};
    (void)state;
    serve_for("imaps", &imaps);
    serve_for("smtps", &smtps);
    assert_int_equal(run(), 1);
    expect(&results[0], LOGIN_REFUSED, "A002 NO [AUTHENTICATIONFAILED] No\\x1b[2J.");
    expect(&results[1], LOGIN_REFUSED, "535 5.7.8 no");
}

static void repeats_no_password(void **state)
{
    static const char *const plain[] = {"S220 mail\r\n", SMTP_AUTH, "S535 not " PASSWORD "\r\n", NULL};
    static const char *const token[] = {"S220 mail\r\n", SMTP_AUTH, "S501 AUTH PLAIN " TOKEN "?\r\n", NULL};
    struct plan first = {.tls_script = plain}, second = {.tls_script = token};
    (void)state;
    serve_for("smtps", &first);
    serve_for("smtps", &second);
    assert_int_equal(run(), 1);
    expect(&results[0], LOGIN_REFUSED, "(its words hold the password)");
    expect(&results[1], LOGIN_REFUSED, "(its words hold the password)");
}

static const char *const anything[] = {NULL};

/* Neither the password nor a command: what comes after the handshake comes from the peer that proved its key.
 */
static void says_nothing_to_another_key(void **state)
{
    struct plan direct = {.tls_script = anything, .leaf = &old_leaf};
    struct plan talks = {.script = starttls, .tls_script = anything, .leaf = &old_leaf};
    (void)state;
    serve_for("imaps", &direct);
    serve_for("smtps", &direct);
    serve_for("submission", &talks);
    assert_int_equal(run(), 1);
    for (size_t i = 0; i < 3; i++) {
        expect(&results[i], LOGIN_OTHER_KEY,
               "another key is served than the expected one: the password was not sent");
        server_settle(&servers[i]);
        assert_int_equal(servers[i].tally->handshakes, 1);
        assert_string_equal(servers[i].tally->heard, "");
    }
    assert_int_equal(servers[2].tally->surprises, 0);
}

/* libcurl 7.88 holds no pin against a peer that shows no certificate. */
static void refuses_anonymous_ciphers(void **state)
{
    struct plan plan = {
        .behaviour = NO_LEAF, .tls_script = anything, .max_version = TLS1_2_VERSION, .ciphers = "aNULL"};
    (void)state;
    serve_for("imaps", &plan);
    assert_int_equal(run(), 1);
    assert_int_equal(results[0].state, LOGIN_FAILED);
    server_settle(&servers[0]);
    assert_int_equal(servers[0].tally->handshakes, 0);
}

static void says_nothing_without_tls(void **state)
{
    static const char *const script[] = {"S220 mail\r\n", SMTP_HELLO, "S250-mail\r\n250 AUTH PLAIN\r\n", "W",
                                         NULL};
    static const char *const refusal[] = {"S220 mail\r\n",
                                          SMTP_HELLO,
                                          "S250-AUTH PLAIN\r\n250 STARTTLS\r\n",
                                          "CSTARTTLS\r\n",
                                          "S454 no\r\n",
                                          "W",
                                          NULL};
    struct plan first = {.script = script, .behaviour = STOP_MIDWAY};
    struct plan second = {.script = refusal, .behaviour = STOP_MIDWAY};
    (void)state;
    serve_for("submission", &first);
    serve_for("submission", &second);
    assert_int_equal(run(), 1);
    assert_int_equal(results[0].state, LOGIN_FAILED);
    assert_has(results[0].detail, "SSL");
    assert_int_equal(results[1].state, LOGIN_FAILED);
    server_settle(&servers[0]);
    server_settle(&servers[1]);
    assert_int_equal(servers[0].tally->surprises, 0);
    assert_int_equal(servers[1].tally->surprises, 0);
}

/* libcurl goes on without a login then, and is content. */
static void misses_a_login_that_did_not_happen(void **state)
{
    static const char *const smtp[] = {"S220 mail\r\n", SMTP_HELLO, "S250 mail\r\n", SMTP_GOODBYE, NULL};
    static const char *const other[] = {"S220 mail\r\n", SMTP_HELLO, "S250 AUTH CRAM-MD5\r\n", NULL};
    static const char *const greeted[] = {"S* PREAUTH welcome\r\n",
                                          "CA001 CAPABILITY\r\n",
                                          "S* CAPABILITY IMAP4rev1\r\nA001 OK done\r\n",
                                          "CA002 NOOP\r\n",
                                          "SA002 OK done\r\n",
                                          "CA003 LOGOUT\r\n",
                                          "SA003 OK done\r\n",
                                          NULL};
    struct plan first = {.tls_script = smtp}, second = {.tls_script = other}, third = {.tls_script = greeted};
    (void)state;
    serve_for("imaps", &third);
    serve_for("smtps", &first);
    serve_for("smtps", &second);
    assert_int_equal(run(), 1);
    expect(&results[0], LOGIN_FAILED, "the server did not ask for name and password");
    expect(&results[1], LOGIN_FAILED, "AUTH PLAIN is not announced");
    expect(&results[2], LOGIN_FAILED, "AUTH PLAIN is not announced");
    assert_int_equal(servers[0].tally->surprises, 0);
}

static void goes_behind_a_balancer(void **state)
{
    struct plan imaps = {.proxy = 1, .tls_script = imap_good};
    struct plan submission = {.proxy = 2, .script = starttls, .tls_script = smtp_good};
    struct plan closed = {.behaviour = HANG_UP};
    (void)state;
    serve_for("imaps+proxy", &imaps);
    serve_for("submission+proxy2", &submission);
    serve_for("imaps+proxy", &closed);
    assert_int_equal(run(), 1);
    expect(&results[0], LOGIN_DONE, "");
    expect(&results[1], LOGIN_DONE, "");
    assert_int_equal(results[2].state, LOGIN_FAILED);
    assert_has(results[2].detail, "haproxy_trusted_networks");
    assert_int_equal(servers[0].tally->surprises + servers[1].tally->surprises, 0);
}

static void tries_the_next_address(void **state)
{
    struct plan plan = {.tls_script = imap_good};
    char used[80];
    (void)state;
    const struct server *s = serve_for("imaps", &plan);
    struct endpoint *e = &list.list[0];
    int spare = bind_any(&e->addresses[0].port);
    e->addresses[e->address_count++] = (struct endpoint_address){.host = "127.0.0.1", .port = s->port};
    assert_int_equal(run(), 0);
    close(spare);
    snprintf(used, sizeof used, "127.0.0.1:%u", s->port);
    assert_string_equal(results[0].address, used);
}

static void fails_without_a_connection(void **state)
{
    struct endpoint_list other;
    struct error err;
    uint16_t port;
    char text[80];
    (void)state;
    int spare = bind_any(&port);
    snprintf(text, sizeof text, "imaps://127.0.0.1:%u", port);
    assert_int_equal(endpoint_parse(text, &list, &err), 0);
    other = list;
    assert_int_equal(run(), 1);
    expect(&results[0], LOGIN_FAILED, "connect: Connection refused");
    close(spare);
    assert_memory_equal(&other, &list, sizeof list);
}

static void fails_otherwise_without_an_address(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(endpoint_parse("imaps://127.0.0.1:993", &list, &err), 0);
    strcpy(list.list[0].addresses[0].host, "no host");
    assert_int_equal(run(), 1);
    assert_int_equal(results[0].state, LOGIN_UNRESOLVED);
    assert_has(results[0].detail, "the name no host does not resolve: ");
    assert_string_equal(login_state_str(LOGIN_UNRESOLVED), "unresolved");
}

static void does_not_wait_for_ever(void **state)
{
    static const char *const script[] = {IMAP_GREETING, IMAP_LOGIN, NULL};
    struct plan plan = {.tls_script = script}, good = {.tls_script = smtps_good};
    (void)state;
    serve_for("imaps", &plan);
    serve_for("smtps", &good);
    int64_t start = clock_ms();
    assert_int_equal(run_within(700, new_leaf.spki), 1);
    assert_in_range(clock_ms() - start, 600, 1500);
    expect(&results[0], LOGIN_FAILED, "no answer in time");
    expect(&results[1], LOGIN_DONE, "");
    assert_true(results[1].us < results[0].us);
}

/* libcurl waits for it in earnest, two minutes unless it is told otherwise. */
static void does_not_wait_for_a_farewell(void **state)
{
    static const char *const script[] = {IMAP_GREETING,    IMAP_LOGIN,          "SA002 OK in\r\n",
                                         "CA003 NOOP\r\n", "SA003 OK done\r\n", NULL};
    struct plan plan = {.tls_script = script};
    (void)state;
    serve_for("imaps", &plan);
    int64_t start = clock_ms();
    assert_int_equal(run_within(60000, new_leaf.spki), 0);
    assert_in_range(clock_ms() - start, 1000, 6000);
    expect(&results[0], LOGIN_DONE, "");
}

/* Pages of this process that it could have written the password to; the test's own copies are in its
 * constants. */
static size_t count_in_memory(const char *reversed)
{
    char line[400], needle[128];
    size_t len = strlen(reversed), found = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    unsigned char *page = mmap(NULL, 4096 + 128, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < len; i++)
        needle[i] = reversed[len - 1 - i];
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || strcmp(mode, "rw-p") != 0 ||
            to - from > 1UL << 28) /* the sanitizer's shadow */
            continue;
        for (; from < to; from += 4096) {
            ssize_t n = pread(memory, page, 4096 + len - 1, (off_t)from);
            unsigned char *hit = n > 0 ? memmem(page, (size_t)n, needle, len) : NULL;
            bool is_own = hit && from + (size_t)(hit - page) == (unsigned long)needle;
            found += hit && !is_own;
        }
    }
    explicit_bzero(needle, sizeof needle);
    munmap(page, 4096 + 128);
    close(memory);
    fclose(maps);
    return found;
}

/* Leaves what earlier calls had on the stack as it is. */
static __attribute__((noinline)) size_t count_further_down(const char *reversed)
{
    char gap[16384];
    __asm__ volatile("" : : "r"(gap) : "memory");
    return count_in_memory(reversed);
}

/* The password is longer than what free(3) writes over. */
static void leaves_no_password_in_memory(void **state)
{
    static const char *const scripts[2][20] = {
        {"S220 mail\r\n", SMTP_HELLO, "S250 AUTH PLAIN\r\n", "CAUTH PLAIN\r\n", "S334 \r\n", NULL},
        {IMAP_GREETING, NULL},
    };
    struct plan smtps = {.tls_script = scripts[0]}, imaps = {.tls_script = scripts[1]};
    struct directory *d = NULL;
    AUTO_LOGIN struct login l = {0};
    struct login_opts opts = {.endpoints = &list, .spki = new_leaf.spki, .timeout_ms = 5000};
    struct error err;
    (void)state;
    serve_for("imaps", &imaps);
    serve_for("smtps", &smtps);
    assert_int_equal(directory_setup((void **)&d), 0);
    /* Written by another process, so that this one never has the password but by reading it. */
    pid_t child = fork();
    if (child == 0) {
        const char reversed[] = "etirwrevo-tonnac-eerf-taht-drowssap-terces-yrev-a";
        char text[100];
        int n = snprintf(text, sizeof text, "[login]\nname = me\npassword = ");
        for (size_t i = strlen(reversed); i-- > 0;)
            text[n++] = reversed[i];
        write_bytes(d, "login.conf", text, (size_t)n);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(login_read(path_in(d, "login.conf"), &l, &err), 0);
    assert_true(count_in_memory("etirwrevo-tonnac-eerf-taht-drowssap-terces-yrev-a") > 0);
    login_wipe(&l);
    assert_int_equal(count_further_down("etirwrevo-tonnac-eerf-taht-drowssap-terces-yrev-a"), 0);
    assert_int_equal(login_read(path_in(d, "login.conf"), &l, &err), 0);
    opts.login = &l;
    assert_int_equal(login_run(&opts, results, &result_count, &err), 1);
    login_wipe(&l);
    for (size_t i = 0; i < 2; i++) {
        server_settle(&servers[i]);
        assert_has(servers[i].tally->heard,
                   "AG1lAGEtdmVyeS1zZWNyZXQtcGFzc3dvcmQtdGhhdC1mcmVlLWNhbm5vdC1vdmVyd3JpdGU=");
        memset(servers[i].tally->heard, 0, sizeof servers[i].tally->heard);
    }
    assert_int_equal(count_in_memory("etirwrevo-tonnac-eerf-taht-drowssap-terces-yrev-a"), 0);
    assert_int_equal(
        count_in_memory("=UGdpJ3dyVmdv1Cdv5mbhNWLlVmcm1CdhhGdtQmcvd3czFGctQXZyNWZz1SeyVmdtEGAl1GA"), 0);
    assert_int_equal(directory_teardown((void **)&d), 0);
}

static void needs_something_to_try(void **state)
{
    struct plan plan = {.tls_script = imap_good};
    (void)state;
    assert_int_equal(run(), E_FAILED);
    serve_for("https", &plan);
    assert_int_equal(run(), E_FAILED);
    serve_for("imaps", &plan);
    assert_int_equal(run_within(1000, ""), E_FAILED);
    assert_int_equal(servers[1].tally->connections, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(reads_name_and_password),
        WITH_DIRECTORY(refuses_what_it_cannot_use),
        WITH_DIRECTORY(tells_all_that_is_wrong),
        WITH_DIRECTORY(must_be_private),
        TEST(logs_in_and_takes_its_leave),
        TEST(passes_over_where_nobody_logs_in),
        TEST(tells_what_the_server_says),
        TEST(repeats_no_password),
        TEST(says_nothing_to_another_key),
        TEST(refuses_anonymous_ciphers),
        TEST(says_nothing_without_tls),
        TEST(misses_a_login_that_did_not_happen),
        TEST(goes_behind_a_balancer),
        TEST(tries_the_next_address),
        TEST(fails_without_a_connection),
        TEST(fails_otherwise_without_an_address),
        TEST(does_not_wait_for_ever),
        TEST(does_not_wait_for_a_farewell),
        TEST(leaves_no_password_in_memory),
        TEST(needs_something_to_try),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
