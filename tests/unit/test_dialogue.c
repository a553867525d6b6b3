/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "deployer/dialogue.h"

#include <stdio.h>
#include <string.h>

struct conversation {
    const char *title;
    enum endpoint_dialogue kind;
    const char *server; /* everything it says */
    const char *client; /* everything that is sent */
    enum dialogue_action end;
    const char *why; /* part of dialogue_why, for refusals */
};

#define EHLO "EHLO certsync.invalid\r\n"

static const struct conversation conversations[] = {
    {"smtp", DIALOGUE_SMTP,
     "220 mx ESMTP Postfix\r\n250-mx\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 CHUNKING\r\n220 2.0.0 "
     "Ready\r\n",
     EHLO "STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"smtp, postscreen's banner", DIALOGUE_SMTP,
     "220-mx ESMTP Postcow\r\n220-wait\r\n220 mx ESMTP Postcow\r\n250 starttls\r\n220 go\r\n",
     EHLO "STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"smtp, bare line feeds, bare codes, multi-line go-ahead", DIALOGUE_SMTP,
     "220\n250-mx\n250 STARTTLS\n220-go\n220\n", EHLO "STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"smtp, STARTTLS with an argument", DIALOGUE_SMTP, "220 mx\r\n250-mx\r\n250 STARTTLS x\r\n220 go\r\n",
     EHLO "STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"smtp, banner not complete", DIALOGUE_SMTP, "220-mx\r\n220-mx\r\n", "", DIALOGUE_NEED_MORE, ""},
    {"smtp, busy", DIALOGUE_SMTP, "421 4.3.2 all screening ports are busy\r\n", "", DIALOGUE_BROKEN,
     "greeting: \"421 4.3.2 all"},
    {"smtp, 554 in several lines", DIALOGUE_SMTP, "554-no\r\n554 go away\r\n", "", DIALOGUE_BROKEN,
     "554 go away"},
    {"smtp, EHLO refused", DIALOGUE_SMTP, "220 mx\r\n502 what\r\n", EHLO, DIALOGUE_BROKEN, "answer to EHLO"},
    {"smtp, not announced", DIALOGUE_SMTP,
     "220 mx\r\n250-mx\r\n250-XSTARTTLS\r\n250-STARTTLSX\r\n250 SIZE\r\n", EHLO, DIALOGUE_REFUSED,
     "STARTTLS is not announced"},
    {"smtp, 454", DIALOGUE_SMTP,
     "220 mx\r\n250 STARTTLS\r\n454 4.7.0 TLS not available due to local problem\r\n", EHLO "STARTTLS\r\n",
     DIALOGUE_REFUSED, "answer to STARTTLS: \"454 4.7.0 TLS not available due to local problem\""},
    {"smtp, codes change", DIALOGUE_SMTP, "220-mx\r\n250 mx\r\n", "", DIALOGUE_BROKEN, "250 mx"},
    {"smtp, codes change for the better", DIALOGUE_SMTP, "554-mx\r\n220 mx\r\n", "", DIALOGUE_BROKEN,
     "220 mx"},
    {"smtp, another protocol", DIALOGUE_SMTP, "* OK IMAP4rev1\r\n", "", DIALOGUE_BROKEN, "* OK IMAP4rev1"},
    {"smtp, four digits", DIALOGUE_SMTP, "2200 mx\r\n", "", DIALOGUE_BROKEN, "2200"},
    {"smtp, empty line", DIALOGUE_SMTP, "\r\n", "", DIALOGUE_BROKEN, "greeting: \"\""},
    {"smtp, escapes", DIALOGUE_SMTP, "\x1b[2J\xff\r\n", "", DIALOGUE_BROKEN, "\"\\x1b[2J\\xff\""},
    {"imap", DIALOGUE_IMAP, "* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\na1 OK Begin TLS\r\n",
     "a1 STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"imap, untagged lines", DIALOGUE_IMAP, "* ok\r\n* CAPABILITY IMAP4rev1\r\n* NO hurry\r\na1 ok go\r\n",
     "a1 STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"imap, NO", DIALOGUE_IMAP, "* OK\r\na1 NO not now\r\n", "a1 STARTTLS\r\n", DIALOGUE_REFUSED,
     "a1 NO not now"},
    {"imap, BAD", DIALOGUE_IMAP, "* OK\r\na1 BAD TLS support isn't enabled.\r\n", "a1 STARTTLS\r\n",
     DIALOGUE_REFUSED, "a1 BAD"},
    {"imap, BYE at once", DIALOGUE_IMAP, "* BYE shutting down\r\n", "", DIALOGUE_BROKEN, "greeting: \"* BYE"},
    {"imap, BYE later", DIALOGUE_IMAP, "* OK\r\n* BYE\r\n", "a1 STARTTLS\r\n", DIALOGUE_BROKEN, "* BYE"},
    {"imap, PREAUTH", DIALOGUE_IMAP, "* PREAUTH\r\n", "", DIALOGUE_BROKEN, "PREAUTH"},
    {"imap, another tag", DIALOGUE_IMAP, "* OK\r\na12 OK\r\n", "a1 STARTTLS\r\n", DIALOGUE_BROKEN, "a12"},
    {"pop3", DIALOGUE_POP3, "+OK Dovecot ready.\r\n+OK Begin TLS\r\n", "STLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"pop3, -ERR", DIALOGUE_POP3, "+OK\r\n-ERR no\r\n", "STLS\r\n", DIALOGUE_REFUSED,
     "answer to STLS: \"-ERR no\""},
    {"pop3, -ERR at once", DIALOGUE_POP3, "-ERR busy\r\n", "", DIALOGUE_BROKEN, "-ERR busy"},
    {"pop3, nonsense", DIALOGUE_POP3, "+OK\r\n+OKAY\r\n", "STLS\r\n", DIALOGUE_BROKEN, "+OKAY"},
    {"sieve", DIALOGUE_SIEVE,
     "\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\n\"VERSION\" "
     "\"1.0\"\r\n"
     "OK \"Dovecot ready.\"\r\nOK \"Begin TLS negotiation now.\"\r\n",
     "STARTTLS\r\n", DIALOGUE_GO_AHEAD, ""},
    {"sieve, not announced", DIALOGUE_SIEVE, "\"X\" \"STARTTLS\"\r\nOK\r\n", "", DIALOGUE_REFUSED,
     "not announced"},
    {"sieve, NO", DIALOGUE_SIEVE, "\"starttls\"\r\nok\r\nNO \"TLS\"\r\n", "STARTTLS\r\n", DIALOGUE_REFUSED,
     "NO \"TLS\""},
    {"sieve, BYE", DIALOGUE_SIEVE, "BYE \"later\"\r\n", "", DIALOGUE_BROKEN, "BYE"},
    {"sieve, BYE later", DIALOGUE_SIEVE, "\"STARTTLS\"\r\nOK\r\nBYE\r\n", "STARTTLS\r\n", DIALOGUE_BROKEN,
     "BYE"},
};

/* Feeds the server's words in pieces of the given size, what is left over after a command again. */
static enum dialogue_action run(struct dialogue *d, const char *server, size_t len, size_t piece,
                                char *client, size_t *out_at)
{
    enum dialogue_action action = DIALOGUE_NEED_MORE;
    for (*out_at = 0; *out_at < len;) {
        const char *words = NULL;
        size_t used = 0, n = len - *out_at < piece ? len - *out_at : piece;
        action = dialogue_feed(d, server + *out_at, n, &used, &words);
        assert_in_range(used, 1, n);
        *out_at += used;
        if (action == DIALOGUE_SEND)
            strcat(client, words);
        else if (action == DIALOGUE_NEED_MORE)
            assert_int_equal(used, n);
        else
            break;
    }
    return action;
}

static void test_conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++) {
        const struct conversation *c = &conversations[i];
        for (size_t piece = 1; piece <= strlen(c->server); piece++) {
            struct dialogue d;
            char client[200] = "";
            size_t at;
            dialogue_init(&d, c->kind);
            enum dialogue_action end = run(&d, c->server, strlen(c->server), piece, client, &at);
            if (end != c->end || strcmp(client, c->client) != 0 || !strstr(dialogue_why(&d), c->why))
                fail_msg("%s, in pieces of %zu: action %d, sent \"%s\", why \"%s\"", c->title, piece, end,
                         client, dialogue_why(&d));
        }
    }
}

/* CVE-2011-0411: what comes with the go-ahead and after it was not protected. */
static void test_plaintext_after_the_go_ahead(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++) {
        const struct conversation *c = &conversations[i];
        char server[600], client[200] = "";
        struct dialogue d;
        size_t at;
        if (c->end != DIALOGUE_GO_AHEAD)
            continue;
        snprintf(server, sizeof(server), "%sx", c->server);
        dialogue_init(&d, c->kind);
        assert_int_equal(run(&d, server, strlen(server), sizeof(server), client, &at), DIALOGUE_BROKEN);
        assert_non_null(strstr(dialogue_why(&d), "plaintext follows the go-ahead"));
    }
}

static void test_line_bound(void **state)
{
    static char line[DIALOGUE_LINE_MAX + 10];
    struct dialogue d;
    char client[200] = "";
    size_t at;
    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "220 ", 4);
    line[DIALOGUE_LINE_MAX] = '\n';
    dialogue_init(&d, DIALOGUE_SMTP);
    assert_int_equal(run(&d, line, DIALOGUE_LINE_MAX + 1, sizeof(line), client, &at), DIALOGUE_SEND);
    line[DIALOGUE_LINE_MAX] = 'x';
    dialogue_init(&d, DIALOGUE_SMTP);
    assert_int_equal(run(&d, line, sizeof(line), sizeof(line), client, &at), DIALOGUE_BROKEN);
    assert_int_equal(at, DIALOGUE_LINE_MAX + 1);
    assert_string_equal(dialogue_why(&d), "greeting: a line is too long");
}

static void test_total_bound(void **state)
{
    static char flood[DIALOGUE_TOTAL_MAX + 10];
    struct dialogue d;
    char client[200] = "";
    size_t at;
    (void)state;
    for (size_t i = 0; i < sizeof(flood); i++)
        flood[i] = "220-x\r\n"[i % 7];
    dialogue_init(&d, DIALOGUE_SMTP);
    assert_int_equal(run(&d, flood, sizeof(flood), 1000, client, &at), DIALOGUE_BROKEN);
    assert_int_equal(at, DIALOGUE_TOTAL_MAX + 1);
    assert_non_null(strstr(dialogue_why(&d), "says too much"));
}

static void test_nothing_after_the_end(void **state)
{
    struct dialogue d;
    char client[200] = "";
    size_t at;
    (void)state;
    dialogue_init(&d, DIALOGUE_POP3);
    assert_int_equal(run(&d, "+OK\n+OK\n", 8, 4, client, &at), DIALOGUE_GO_AHEAD);
    assert_int_equal(run(&d, "+OK\n", 4, 4, client, &at), DIALOGUE_BROKEN);
    assert_int_equal(run(&d, "+OK\n", 4, 4, client, &at), DIALOGUE_BROKEN);
}

static void test_embedded_nul(void **state)
{
    struct dialogue d;
    char client[200] = "";
    size_t at;
    (void)state;
    dialogue_init(&d, DIALOGUE_SMTP);
    assert_int_equal(run(&d, "2\0000\n", 5, 5, client, &at), DIALOGUE_BROKEN);
    assert_non_null(strstr(dialogue_why(&d), "\\x00"));
}

static void test_words_for_people(void **state)
{
    struct dialogue d;
    char client[200] = "";
    size_t at;
    (void)state;
    dialogue_init(&d, DIALOGUE_SMTP);
    assert_string_equal(dialogue_awaited(&d), "greeting");
    run(&d, "220 x\n", 6, 6, client, &at);
    assert_string_equal(dialogue_awaited(&d), "answer to EHLO");
    assert_null(dialogue_farewell(DIALOGUE_TLS));
    assert_string_equal(dialogue_farewell(DIALOGUE_POP3), "QUIT\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_plaintext_after_the_go_ahead),
        cmocka_unit_test(test_line_bound),
        cmocka_unit_test(test_total_bound),
        cmocka_unit_test(test_nothing_after_the_end),
        cmocka_unit_test(test_embedded_nul),
        cmocka_unit_test(test_words_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
