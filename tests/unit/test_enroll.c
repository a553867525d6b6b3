/* deployer/authorized_keys and deployer/sshd_check: who may push, and whether sshd lets him. */
#include "tests/unit/testing.h"

#include "deployer/authorized_keys.h"
#include "deployer/sshd_check.h"

#define ED      "AAAAC3NzaC1lZDI1NTE5AAAAIJNO2Yd0rZMlgTXBvcxfLnB0TvbhFzsPDeYwRzt1w3ks"
#define OTHER   "AAAAC3NzaC1lZDI1NTE5AAAAIIZgvDZJpVP8bzsGYiRcbRRrjzkZ5Sq1tEjnnPVQtVxO"
#define ECDSA   "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA=="
#define RSA     "AAAAB3NzaC1yc2EAAAADAQABAAABgQC7"
#define OPTIONS "restrict,command=\"/x\""

/* ---- public keys ---- */

static void reads_a_public_key(void **state)
{
    (void)state;
    struct public_key key;
    assert_int_equal(public_key_parse("ssh-ed25519 " ED " proxy host\n", &key, NULL), 0);
    assert_string_equal(key.type, "ssh-ed25519");
    assert_string_equal(key.blob, ED);
    assert_string_equal(key.comment, "proxy host");
    assert_int_equal(public_key_parse("  ecdsa-sha2-nistp256\t" ECDSA, &key, NULL), 0);
    assert_string_equal(key.comment, "");
    assert_int_equal(public_key_parse("ssh-ed25519 " ED " a\x1b[2Jb\r\n", &key, NULL), 0);
    assert_string_equal(key.comment, "a\\x1b[2Jb");
}

static void refuses_what_is_no_public_key(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "\n",
        "ssh-ed25519",
        "ssh-ed25519 ",
        ED,
        "ssh-rsa " RSA,
        "ssh-ed25519 " RSA,
        "ecdsa-sha2-nistp256 " ED,
        "ssh-ed25519 " ED "\"",
        "command=\"/bin/sh\" ssh-ed25519 " ED,
        "ssh-ed25519 " ED "\nssh-ed25519 " OTHER,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-ed25519 " ED " a\n\nb",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct public_key key;
        struct error err = {0};
        if (public_key_parse(lines[i], &key, &err) == 0)
            fail_msg("taken for a key: %s", lines[i]);
        assert_int_equal(err.code, E_USAGE);
        assert_null(strchr(err.text, '\n'));
    }
}

/* ---- the file ---- */

static struct public_key key_of(const char *blob)
{
    struct public_key key = {.type = "ssh-ed25519", .comment = "c"};
    snprintf(key.blob, sizeof key.blob, "%s", blob);
    return key;
}

static void assert_with(const char *text, const char *expected)
{
    struct public_key key = key_of(ED);
    char *out = authorized_keys_with(text, &key, OPTIONS);
    assert_string_equal(out, expected);
    char *again = authorized_keys_with(out, &key, OPTIONS);
    assert_string_equal(again, expected);
    free(again);
    free(out);
}

static void adds_a_key_once(void **state)
{
    (void)state;
    static const char line[] = OPTIONS " ssh-ed25519 " ED " c\n";
    assert_with("", line);
    assert_with("# ours\n", "# ours\n" OPTIONS " ssh-ed25519 " ED " c\n");
    assert_with("ssh-ed25519 " OTHER, "ssh-ed25519 " OTHER "\n" OPTIONS " ssh-ed25519 " ED " c\n");
    assert_with("from=\"192.0.2.1\" ssh-ed25519 " ED " old\n", line);
    assert_with("ssh-ed25519 " ED, line);
    assert_with("ssh-ed25519 " ED "\r\n", line);
    assert_with("ssh-ed25519 " ED "A\n", "ssh-ed25519 " ED "A\n" OPTIONS " ssh-ed25519 " ED " c\n");
    assert_with("#ssh-ed25519 " ED "\n", "#ssh-ed25519 " ED "\n" OPTIONS " ssh-ed25519 " ED " c\n");
}

static void knows_a_confined_key(void **state)
{
    static const struct {
        const char *text;
        bool has;
    } cases[] = {
        {"", false},
        {"ssh-ed25519 " ED "\n", false},
        {OPTIONS " ssh-ed25519 " OTHER "\n", false},
        {"#" OPTIONS " ssh-ed25519 " ED "\n", false},
        {"ssh-ed25519 " ED " " OPTIONS "\n", false},
        {OPTIONS " ssh-ed25519 " ED, true},
        {"# a\nfrom=\"192.0.2.1\"," OPTIONS ",expiry-time=\"20300101\" ssh-ed25519 " ED " c\n", true},
        {OPTIONS " ssh-ed25519 " ED "\nssh-ed25519 " ED "\n", false},
    };
    const struct public_key key = key_of(ED);
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        if (authorized_keys_has(cases[i].text, &key, OPTIONS) != cases[i].has)
            fail_msg("case %zu", i);
}

static void finds_an_option_of_a_key(void **state)
{
    static const struct {
        const char *options, *from;
    } cases[] = {
        {"", NULL},
        {"restrict", NULL},
        {"from=\"192.0.2.80\"", "192.0.2.80"},
        {"restrict,from=\"a,b c\",command=\"/x\"", "a,b c"},
        {"command=\"from=\\\"not this\\\"\",FROM=\"*.x\"", "*.x"},
        {"command=\"a,from=b\",restrict", NULL},
        {"from=\"cut", NULL},
        {"fromage=\"blue\"", NULL},
    };
    const struct public_key key = key_of(ED);
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[300];
        snprintf(text, sizeof text, "from=\"other\" ssh-ed25519 " OTHER "\n%s%sssh-ed25519 " ED " c\n",
                 cases[i].options, cases[i].options[0] ? " " : "");
        char *from = authorized_keys_option(text, &key, "from");
        if (!from != !cases[i].from || (from && strcmp(from, cases[i].from) != 0))
            fail_msg("%s: %s", cases[i].options, from ? from : "none");
        free(from);
    }
}

static void takes_a_key_away(void **state)
{
    (void)state;
    struct public_key key = key_of(ED);
    char *out = authorized_keys_without("# a\nx ssh-ed25519 " ED " c\nssh-ed25519 " OTHER "\n", &key);
    assert_string_equal(out, "# a\nssh-ed25519 " OTHER "\n");
    assert_true(authorized_keys_has_any(out));
    free(out);
    assert_false(authorized_keys_has_any(""));
    assert_false(authorized_keys_has_any("# a\n\n  \n\t# b"));
    assert_true(authorized_keys_has_any("# a\n\n  k"));
}

/* ---- sshd -T ---- */

#define GOOD                                                                                                 \
    "pubkeyauthentication yes\nmaxstartups 10:30:100\nauthorizedkeysfile /etc/ssh/certsync/%u\n"             \
    "forcecommand /usr/libexec/mailcow-cert-receive\nciphers chacha20-poly1305@openssh.com,aes256-ctr\n"     \
    "macs hmac-sha2-256\nkexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\n"               \
    "hostkeyalgorithms ssh-ed25519,rsa-sha2-512\npubkeyacceptedalgorithms ssh-ed25519\n"

static const char *const groups[] = {"certsync", "mail", NULL};

/* What is found first; "" when nothing is. */
static const char *found(const char *text)
{
    static struct finding_list list;
    memset(&list, 0, sizeof list);
    sshd_check(text,
               &(struct sshd_account){.user = "certsync",
                                      .groups = groups,
                                      .keys_file = "/etc/ssh/certsync/certsync",
                                      .command = "/usr/libexec/mailcow-cert-receive",
                                      .key_type = "ssh-ed25519"},
               &list);
    for (size_t i = 0; i < list.count; i++)
        assert_true(list.list[i].remedy[0]);
    assert_true(list.count <= 1);
    return list.count ? list.list[0].id : "";
}

/* GOOD with the line of this keyword replaced. */
static const char *found_with(const char *line)
{
    static char text[2000];
    size_t keyword = strcspn(line, " ") + 1, used = 0;
    for (const char *at = GOOD; *at;) {
        size_t len = strcspn(at, "\n") + 1;
        if (strncmp(at, line, keyword) != 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%.*s", (int)len, at);
        at += len;
    }
    snprintf(text + used, sizeof text - used, "%s\n", line);
    return found(text);
}

static void finds_what_keeps_the_account_out(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com", "ciphers"},
        {"ciphers aes256-ctr", ""},
        {"macs hmac-sha2-256-etm@openssh.com", "macs"},
        {"kexalgorithms sntrup761x25519-sha512@openssh.com", "kex"},
        {"hostkeyalgorithms rsa-sha2-512,rsa-sha2-256", "host-key"},
        {"pubkeyacceptedalgorithms ecdsa-sha2-nistp256", "key-type"},
        {"pubkeyauthentication no", "pubkey"},
        {"authorizedkeysfile .ssh/authorized_keys", "keys-file"},
        {"authorizedkeysfile .ssh/authorized_keys /etc/ssh/certsync/certsync", ""},
        {"forcecommand /bin/false", "forced-command"},
        {"forcecommand none", ""},
        {"maxstartups 2:30:100", "max-startups"},
        {"maxstartups 10:30:100", ""},
        {"allowusers root", "account-list"},
        {"allowusers certsync@192.0.2.80", ""},
        {"allowusers root\nallowusers cert*", ""},
        {"denyusers certsync", "account-list"},
        {"denyusers mallory", ""},
        {"allowgroups ssh-users", "account-list"},
        {"allowgroups ssh-users mail", ""},
        {"denygroups mail", "account-list"},
    };
    assert_string_equal(found(GOOD), "");
    for (size_t i = 0; i < COUNT(cases); i++)
        if (strcmp(found_with(cases[i][0]), cases[i][1]) != 0)
            fail_msg("%s: found %s instead of %s", cases[i][0], found_with(cases[i][0]), cases[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_public_key), cmocka_unit_test(refuses_what_is_no_public_key),
        cmocka_unit_test(adds_a_key_once),    cmocka_unit_test(knows_a_confined_key),
        cmocka_unit_test(finds_an_option_of_a_key),
        cmocka_unit_test(takes_a_key_away),   cmocka_unit_test(finds_what_keeps_the_account_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
