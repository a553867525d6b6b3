/* pusher/known_hosts: what is pinned, what is revoked, and every line that must be refused. */
#include "pusher/known_hosts.h"
#include "pusher/ssh_blob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST "mail.example.org"
#define A    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmlScWxoK2MsBHMwoFVnUR/9LSb77YwI2cNLH9LGrjy"
#define B    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG6pHbuWcpkCYzLVyK8YGDQIVYaJiCiTb4U33HqDFVah"
#define EC                                                                                                   \
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCmWUDAv635E2jJOj+"             \
    "X495mSWtDxPIJ68dE37CD+c4W4iZ5bxmbTQMm1n+9Py3m2VgQm79eGwzvkT4IR2ZgHiZc="
#define RSA                                                                                                  \
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDxiqVZ8bAte6Pa8y7bD4AJmqnkmJ7d9MA5c2NmwHgYApNMG5zTZ+2EN+"         \
    "KZc1+ciDR65YVQvqB4L2p9QBaorjzFKMSVfCSASvEKaqOiV/qSCpp1zRszy+cXLA/"                                      \
    "SVyrKPZ/Gd4TO1eplMv4RwiLvO46RevnzSMvlOC5s8DJ6BWMxM2knxoAz6UPe8OquehyGSenbRlDTrWIWS7z0TImJKyOYSXDN1nHtb" \
    "kIeLChloBOYuYWdProS1CSbnIbjg1eNxj1PqEyLLxMZpApX/7lI5hdDOBl6y5FZLk7SEPHy7eUJjdRMdFyJWHgbylyl9K6xWdIqRSl" \
    "xDxT+aEleR8AMZnkB"
/* ssh-keygen -H of HOST and of [HOST]:2222 */
#define HASHED      "|1|03IqZiahzDp5E1CNY1e1Czs0oGo=|HUg4CAqi2yUM8BZ6PnZmb6/ARXY="
#define HASHED_2222 "|1|i7r1y+ExToz4ysWJZ328rssuyyc=|OVGihcKIJas+KbFNW/10DpAFLNM="

static int load(const char *text, uint16_t port, struct known_hosts *out, struct error *err)
{
    return known_hosts_load(text, "kh", HOST, port, out, err);
}

/* Key types of what was found, "+" pinned and "-" revoked, with the line: "+2 -3". */
static void found(const char *text, uint16_t port, const char *expected)
{
    AUTO_KNOWN_HOSTS struct known_hosts known = {0};
    struct error err = {.text = ""};
    char got[200] = "";
    size_t pinned = 0;
    int rc = load(text, port, &known, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    for (size_t i = 0; i < known.count; i++) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof got - n, "%s%c%zu", n ? " " : "", known.keys[i].revoked ? '-' : '+',
                 known.keys[i].line);
        pinned += !known.keys[i].revoked;
    }
    assert_string_equal(got, expected);
    assert_int_equal(known.pinned, pinned);
}

static void test_plain(void **state)
{
    (void)state;
    found("", 22, "");
    found("\n# comment\n  \n\t# another\n", 22, "");
    found(HOST " " A "\n", 22, "+1");
    found(HOST " " A, 22, "+1");
    found(HOST "\t" A " root@mail \xc3\xa9\n", 22, "+1");
    found("other.example.org " A "\n" HOST " " B "\n", 22, "+2");
    found("MAIL.Example.ORG " A "\n", 22, "+1");
    found("a,b," HOST ",c " A "\n", 22, "+1");
    found("mail.example.or " A "\nmail.example.orgx " A "\nxmail.example.org " A "\n", 22, "");
    found(HOST " " A "\n" HOST " " EC "\n" HOST " " RSA "\n", 22, "+1 +2 +3");
}

static void test_host_is_lowered(void **state)
{
    (void)state;
    AUTO_KNOWN_HOSTS struct known_hosts known = {0};
    assert_int_equal(known_hosts_load(HASHED " " A "\n", "kh", "Mail.EXAMPLE.org", 22, &known, NULL), 0);
    assert_int_equal(known.pinned, 1);
}

static void test_port(void **state)
{
    (void)state;
    found("[" HOST "]:2222 " A "\n", 2222, "+1");
    found("[" HOST "]:2222 " A "\n", 22, "");
    found("[" HOST "]:2222 " A "\n", 222, "");
    found("[" HOST "]:22 " A "\n", 22, "+1");
    found(HOST " " A "\n", 2222, "+1");
    found(HOST " " A "\n[" HOST "]:2222 " B "\n", 2222, "+2");
    found(HOST " " A "\n[" HOST "]:2222 " B "\n", 22, "+1");
    found("[" HOST "]:2222," HOST " " A "\n", 2222, "+1");
    found("@revoked " HOST " " A "\n[" HOST "]:2222 " B "\n", 2222, "-1 +2");
}

static void test_hashed(void **state)
{
    (void)state;
    found(HASHED " " A "\n", 22, "+1");
    found(HASHED_2222 " " B "\n", 2222, "+1");
    found(HASHED_2222 " " B "\n", 22, "");
    found(HASHED " " A "\n" HASHED_2222 " " B "\n", 2222, "+2");
    found("@revoked " HASHED " " A "\n", 22, "-1");
    found("|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|HUg4CAqi2yUM8BZ6PnZmb6/ARXY= " A "\n", 22, "");
}

static void test_ipv6(void **state)
{
    (void)state;
    AUTO_KNOWN_HOSTS struct known_hosts known = {0}, with_port = {0};
    assert_int_equal(known_hosts_load("2001:DB8::1 " A "\n", "kh", "2001:db8::1", 22, &known, NULL), 0);
    assert_int_equal(known.pinned, 1);
    assert_int_equal(
        known_hosts_load("[2001:db8::1]:2222 " A "\n", "kh", "2001:db8::1", 2222, &with_port, NULL), 0);
    assert_int_equal(with_port.pinned, 1);
}

static void test_unknown_kind_is_kept(void **state)
{
    (void)state;
    /* "future-key", then one string */
    found(HOST " future-key AAAACmZ1dHVyZS1rZXkAAAABeA==\n" HOST " " A "\n", 22, "+1 +2");
}

static void test_line_at_the_limit(void **state)
{
    (void)state;
    char *text = malloc(KNOWN_LINE_MAX + 100);
    int n = sprintf(text, HOST " " A " ");
    memset(text + n, 'c', KNOWN_LINE_MAX - n);
    strcpy(text + KNOWN_LINE_MAX, "\n" HOST " " B "\n");
    found(text, 22, "+1 +2");
    free(text);
}

static void refused(const char *line, const char *why)
{
    struct known_hosts known = {0};
    struct error err = {.text = ""};
    char text[2 * KNOWN_LINE_MAX];
    snprintf(text, sizeof text, "# first\n" HOST " " A "\n%s\n" HOST " " B "\n", line);
    int rc = load(text, 22, &known, &err);
    if (rc != E_CONFIG || strncmp(err.text, "kh:3: ", 6) != 0 || !strstr(err.text, why))
        print_error("%.200s: %d %s\n", line, rc, err.text);
    assert_int_equal(rc, E_CONFIG);
    assert_memory_equal(err.text, "kh:3: ", 6);
    assert_non_null(strstr(err.text, why));
    assert_int_equal(known.count, 0);
}

static void test_bad_lines(void **state)
{
    (void)state;
    refused("@cert-authority *.example.org " A, "@cert-authority");
    refused("@cert-authority " HOST " " A, "@cert-authority");
    refused("@revokedx " HOST " " A, "@revokedx: unknown marker");
    refused("@ " HOST " " A, "unknown marker");
    refused("@revoked @revoked " HOST " " A, "not base64");
    refused("@revoked * " A, "wildcards");
    refused("*.example.org " A, "wildcards");
    refused("mail?.example.org " A, "wildcards");
    refused("!" HOST "," HOST " " A, "wildcards");
    refused(HOST ",!other " A, "wildcards");
    refused("other.example.org,*.x " A, "wildcards");
    refused(HOST " " A "\r", "carriage return");
    refused("\r", "carriage return");
    refused("#\r", "carriage return");
    refused(HOST, "expected");
    refused(HOST " ssh-ed25519", "expected");
    refused("@revoked", "expected");
    refused("garbage in a line", "not base64");
    refused(HOST " ssh-ed25519 AAAA*AAA", "not base64");
    refused(HOST " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "not base64");
    refused(HOST " ssh-ed25519 AAAA=AAA", "not base64");
    refused(HOST " ssh-ed25519 ====", "not base64");
    refused(HOST " ssh-ed25519 AAAA", "not of the kind ssh-ed25519");
    refused(HOST " 1024 35 12345", "not base64");
    refused(HOST " ecdsa-sha2-nistp256 AAAAC3NzaC1lZDI1NTE5AAAAIEmlScWxoK2MsBHMwoFVnUR/9LSb77YwI2cNLH9LGrjy",
            "not of the kind");
    refused(HOST " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEmlScWxoK2MsBHMwoFVnUR/9LSb77YwI2cNLH9L",
            "incomplete");
    refused(",mail " A, "empty host name");
    refused("mail, " A, "empty host name");
    refused("mail,,x " A, "empty host name");
    refused("[mail " A, "[host]:port");
    refused("[mail] " A, "[host]:port");
    refused("[mail]:0 " A, "[host]:port");
    refused("[mail]:65536 " A, "[host]:port");
    refused("[]:22 " A, "[host]:port");
    refused("ma\x01il " A, "ma\\x01il: not a host name");
    refused("m\xc3\xa4il " A, "m\\xc3\\xa4il: not a host name");
    refused("|2|03IqZiahzDp5E1CNY1e1Czs0oGo=|HUg4CAqi2yUM8BZ6PnZmb6/ARXY= " A, "only |1|salt|hash");
    refused("|1|03IqZiahzDp5E1CNY1e1Czs0oGo= " A, "only |1|salt|hash");
    refused("|1|03IqZiahzDp5E1CNY1e1Czs0oGo=| " A, "20 bytes");
    refused("|1|AAAA|HUg4CAqi2yUM8BZ6PnZmb6/ARXY= " A, "20 bytes");
    refused("|1||HUg4CAqi2yUM8BZ6PnZmb6/ARXY= " A, "20 bytes");
    refused("| " A, "only |1|salt|hash");
}

static void test_long_line(void **state)
{
    (void)state;
    char line[KNOWN_LINE_MAX + 2];
    memset(line, '#', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    refused(line, "longer than 8192 bytes");
}

static void test_long_host(void **state)
{
    (void)state;
    struct known_hosts known;
    struct error err;
    char host[400];
    memset(host, 'a', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    assert_int_equal(known_hosts_load("", "kh", host, 22, &known, &err), E_CONFIG);
}

static enum known_verdict verdict(const char *file, const char *base64, size_t *out_line)
{
    AUTO_KNOWN_HOSTS struct known_hosts known = {0};
    const struct known_key *key = NULL;
    unsigned char blob[1024];
    int len = ssh_blob_decode(base64, strlen(base64), blob, sizeof blob);
    assert_true(len > 0);
    assert_int_equal(load(file, 22, &known, NULL), 0);
    enum known_verdict v = known_hosts_judge(&known, blob, (size_t)len, &key);
    *out_line = key ? key->line : 0;
    return v;
}

static void judged(const char *file, const char *shown, enum known_verdict expected, size_t expected_line)
{
    size_t line;
    assert_int_equal(verdict(file, strchr(shown, ' ') + 1, &line), expected);
    assert_int_equal(line, expected_line);
}

static void test_judge(void **state)
{
    (void)state;
    judged("", A, KNOWN_UNKNOWN, 0);
    judged("other " A "\n", A, KNOWN_UNKNOWN, 0);
    judged(HOST " " A "\n", A, KNOWN_MATCH, 1);
    judged(HOST " " A "\n", B, KNOWN_CHANGED, 1);
    judged(HOST " " A "\n", EC, KNOWN_UNKNOWN, 0);
    judged(HOST " " EC "\n" HOST " " A "\n" HOST " " B "\n", B, KNOWN_MATCH, 3);
    judged(HOST " " A "\n@revoked " HOST " " A "\n", A, KNOWN_REVOKED, 2);
    judged("@revoked " HOST " " A "\n" HOST " " A "\n", A, KNOWN_REVOKED, 1);
    judged("@revoked " HOST " " A "\n", A, KNOWN_REVOKED, 1);
    judged("@revoked " HOST " " A "\n", B, KNOWN_UNKNOWN, 0);
    judged("@revoked " HOST " " A "\n" HOST " " B "\n", B, KNOWN_MATCH, 2);
    judged("@revoked other " A "\n" HOST " " A "\n", A, KNOWN_MATCH, 2);
}

static void test_fingerprint(void **state)
{
    (void)state;
    unsigned char blob[64];
    char text[SSH_FINGERPRINT_SIZE];
    int len = ssh_blob_decode(strchr(A, ' ') + 1, strlen(strchr(A, ' ') + 1), blob, sizeof blob);
    assert_string_equal(ssh_blob_fingerprint(text, blob, (size_t)len),
                        "SHA256:We58Cv/7jY/nlo5PjvyC362mUJDKtusQG3yZJnsN1IE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_host_is_lowered),
        cmocka_unit_test(test_port),
        cmocka_unit_test(test_hashed),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_unknown_kind_is_kept),
        cmocka_unit_test(test_line_at_the_limit),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_long_host),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
