/* deployer/rollout_login: which logins break a deployment, against servers that let in or refuse. */
#include "tests/unit/testing.h"

#include "common/clock.h"
#include "deployer/rollout_login.h"
#include "tests/unit/tls_server.h"

#include <openssl/pem.h>

#define TOKEN "AG1lAGh1bnRlcjI=" /* base64 of \0me\0hunter2 */

#define SMTP_UNTIL_ANSWER                                                                                    \
    "S220 ready\r\n", "CEHLO certsync.invalid\r\n", "S250 AUTH PLAIN\r\n", "CAUTH PLAIN\r\n", "S334 \r\n",   \
        "C" TOKEN "\r\n"

static const char *const lets_in[] = {SMTP_UNTIL_ANSWER, "S235 in\r\n",  "CNOOP\r\n", "S250 done\r\n",
                                      "CQUIT\r\n",       "S221 bye\r\n", NULL};
static const char *const refuses[] = {SMTP_UNTIL_ANSWER, "S535 not you\r\n", NULL};

static struct deploy_conf conf;
static struct mailhost host;
static struct endpoint_list list;
static struct server servers[4];
static size_t server_count;
static char said[4000];
static struct rollout_login *login;
static const char *goes_at; /* cert.pem is gone once this was said */

static void take_line(void *ctx, const char *text)
{
    assert_ptr_equal(ctx, said);
    if (goes_at && strstr(text, goes_at))
        unlinkat(host.ssl_fd, "cert.pem", 0);
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", text);
}

static const struct progress progress = {.line = take_line, .ctx = said};

static int setup(void **state)
{
    static char path[600];
    char pem[4000];
    if (directory_setup(state) < 0)
        return -1;
    const struct directory *d = *state;
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, new_leaf.x);
    int n = BIO_read(bio, pem, sizeof pem);
    BIO_free(bio);
    write_bytes(d, "cert.pem", pem, (size_t)n);
    snprintf(path, sizeof path, "%s",
             write_text(d, "login.conf", "[login]\nname = me\npassword = hunter2\n"));
    conf = (struct deploy_conf){.login = path, .verify_timeout = 2};
    host = (struct mailhost){.conf = &conf, .ssl_fd = d->fd};
    memset(&list, 0, sizeof list);
    server_count = 0;
    said[0] = '\0';
    goes_at = NULL;
    return 0;
}

static int teardown(void **state)
{
    rollout_login_free(login);
    login = NULL;
    while (server_count)
        server_stop(&servers[--server_count]);
    return directory_teardown(state);
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

/* An smtps endpoint of the container's name at a server that follows the script. */
static void serve_as(const char *container, const char *const *script)
{
    const struct plan plan = {.tls_script = script};
    struct server *s = &servers[server_count++];
    struct error err;
    char text[80];
    server_start(s, &plan);
    snprintf(text, sizeof text, "smtps://127.0.0.1:%u", s->port);
    assert_int_equal(endpoint_parse(text, &list, &err), 0);
    snprintf(list.list[list.count - 1].container, sizeof list.list->container, "%s", container);
}

static void begin(void)
{
    struct error err;
    rollout_login_free(login);
    assert_int_equal(rollout_login_new(&login, &host, &list, &progress, &err), 0);
}

static void notes(const char *expected)
{
    char note[1000] = "";
    rollout_login_note(login, note, sizeof note);
    assert_string_equal(note, expected);
}

static bool broke(char *text)
{
    text[0] = '\0';
    return rollout_login_broke(login, new_leaf.fingerprint, text, 400);
}

static void only_what_worked_can_break(void **state)
{
    char text[400];
    (void)state;
    serve_as("one", lets_in);
    serve_as("two", refuses);
    begin();
    rollout_login_before(login, new_leaf.fingerprint);
    notes("smtps@one/login ");
    assert_false(broke(text));
    assert_has(said, "\nlogged-in endpoint=smtps address=127.0.0.1:");
    assert_has(said, "not-logged-in endpoint=smtps address=127.0.0.1:");
    assert_has(said, ": refused: 535 not you");
    assert_lacks(said, "nobody logs in");
    assert_int_equal(servers[1].tally->connections, 2);
}

static void what_worked_is_tried_again_and_then_broken(void **state)
{
    char text[400];
    (void)state;
    serve_as("one", refuses);
    serve_as("two", lets_in);
    begin();
    rollout_login_recall(login, "smtp@x smtps@one/login smtps@two/login ", false);
    int64_t start = clock_ms();
    assert_true(broke(text));
    assert_in_range(clock_ms() - start, 1000, 3500);
    assert_has(text, "the login over smtps at 127.0.0.1:");
    assert_has(text, "worked before and does not any more: refused: 535 not you");
    assert_in_range(servers[0].tally->connections, 2, 3);
    assert_int_equal(servers[1].tally->connections, 1);
}

static void what_was_refused_is_not_in_again_because_it_cannot_be_tried(void **state)
{
    char text[400];
    (void)state;
    serve_as("one", refuses);
    begin();
    rollout_login_recall(login, "smtps@one/login ", false);
    goes_at = "not-logged-in";
    assert_true(broke(text));
    assert_has(text, "does not any more: refused: 535 not you");
    assert_has(said, "warning: nobody logs in: cert.pem: ");
    assert_int_equal(servers[0].tally->connections, 1);
}

/* An error that passes: it is tried until there is no time left. */
static void what_cannot_be_tried_is_tried_again(void **state)
{
    const struct directory *d = *state;
    char text[400];
    serve_as("one", refuses);
    begin();
    rollout_login_recall(login, "smtps@one/login ", false);
    assert_int_equal(unlinkat(d->fd, "cert.pem", 0), 0);
    int64_t start = clock_ms();
    assert_false(broke(text));
    assert_true(clock_ms() - start >= 1000);
    assert_int_equal(servers[0].tally->connections, 0);
}

static void what_is_not_known_does_not_break(void **state)
{
    char text[400];
    (void)state;
    serve_as("one", refuses);
    begin();
    assert_false(broke(text));
    rollout_login_recall(login, "smtps@one smtps@onetwo/login smtps@two/login ", false);
    notes("");
    assert_false(broke(text));
    assert_int_equal(servers[0].tally->connections, 2);
}

static void what_cannot_be_looked_up_does_not_break(void **state)
{
    char text[400];
    (void)state;
    serve_as("one", lets_in);
    strcpy(list.list[0].addresses[0].host, "no host");
    begin();
    rollout_login_recall(login, "smtps@one/login ", false);
    assert_false(broke(text));
    assert_has(said, "not-logged-in endpoint=smtps address=no host:");
    assert_has(said, ": unresolved: the name no host does not resolve: ");
}

static void notes_only_what_fits(void **state)
{
    char note[24] = "smtp@x ";
    (void)state;
    serve_as("one", lets_in);
    begin();
    rollout_login_recall(login, "smtps@one/login ", false);
    rollout_login_note(login, note, strlen("smtp@x smtps@one/login "));
    assert_string_equal(note, "smtp@x ");
    rollout_login_note(login, note, strlen("smtp@x smtps@one/login ") + 1);
    assert_string_equal(note, "smtp@x smtps@one/login ");
}

static void takes_what_worked_by_every_list(void **state)
{
    (void)state;
    serve_as("one", lets_in);
    serve_as("two", lets_in);
    begin();
    rollout_login_recall(login, "smtps@one/login smtps@two/login ", false);
    rollout_login_recall(login, "smtps@two/login ", true);
    notes("smtps@two/login ");
    rollout_login_recall(login, "smtps@one/login ", true);
    notes("");
}

/* The key that the password is for is that of the leaf that is expected, and no other. */
static void tries_nothing_without_the_expected_leaf(void **state)
{
    char text[400];
    (void)state;
    serve_as("one", lets_in);
    begin();
    rollout_login_recall(login, "smtps@one/login ", false);
    assert_false(rollout_login_broke(login, old_leaf.fingerprint, text, sizeof text));
    assert_has(said, "warning: nobody logs in: cert.pem is not what is to be served");
    assert_int_equal(servers[0].tally->connections, 0);
}

static void goes_on_without_a_usable_file(void **state)
{
    const struct directory *d = *state;
    char text[400];
    serve_as("one", lets_in);
    set_mode(d, "login.conf", 0644);
    begin();
    assert_null(login);
    assert_has(said, "warning: nobody logs in: ");
    assert_has(said, "login.conf: its mode is 0644, others may read it: chmod 600");
    conf.login = NULL;
    said[0] = '\0';
    begin();
    assert_null(login);
    rollout_login_before(login, new_leaf.fingerprint);
    rollout_login_recall(login, "smtps@one/login ", false);
    notes("");
    assert_false(broke(text));
    assert_string_equal(said, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_worked_can_break),
        TEST(what_worked_is_tried_again_and_then_broken),
        TEST(what_was_refused_is_not_in_again_because_it_cannot_be_tried),
        TEST(what_cannot_be_tried_is_tried_again),
        TEST(what_is_not_known_does_not_break),
        TEST(what_cannot_be_looked_up_does_not_break),
        TEST(notes_only_what_fits),
        TEST(takes_what_worked_by_every_list),
        TEST(tries_nothing_without_the_expected_leaf),
        TEST(goes_on_without_a_usable_file),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
