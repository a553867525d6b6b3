#include "deployer/sshd_check.h"
#include "common/cleanup.h"
#include "common/text.h"

#include <fnmatch.h>
#include <string.h>

#define KEYS_PATTERN "/etc/ssh/certsync/%u" /* as our drop-in has it */

/* What mailcow-cert-push has even with libssh2 1.10, Debian 12's: a server that has none of a row locks it
 * out. */
static const struct {
    const char *keyword, *id, *names, *option;
} algorithms[] = {
    {"kexalgorithms", "kex",
     "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-"
     "nistp521,"
     "diffie-hellman-group16-sha512,diffie-hellman-group14-sha256",
     "KexAlgorithms +curve25519-sha256"},
    {"ciphers", "ciphers", "aes128-ctr,aes192-ctr,aes256-ctr", "Ciphers +aes256-ctr"},
    {"macs", "macs", "hmac-sha2-256,hmac-sha2-512", "MACs +hmac-sha2-256"},
    {"hostkeyalgorithms", "host-key",
     "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
     "HostKeyAlgorithms +ssh-ed25519"},
};

/* The rest of the first line at or after *at that begins with the keyword; *at is moved behind it. */
static char *next_value(const char **at, const char *keyword)
{
    size_t size = strlen(keyword);
    while (**at) {
        const char *line = *at;
        size_t len = strcspn(line, "\n");
        *at += len + (line[len] == '\n');
        if (len > size && memcmp(line, keyword, size) == 0 && line[size] == ' ')
            return strndup(line + size + 1, len - size - 1);
    }
    return NULL;
}

char *sshd_check_value(const char *text, const char *keyword)
{
    return next_value(&text, keyword);
}

static bool is_one_of(const char *name, size_t len, const char *list, const char *separators)
{
    while (*list) {
        size_t n = strcspn(list, separators);
        if (n == len && memcmp(list, name, len) == 0)
            return true;
        list += n + (list[n] != '\0');
    }
    return false;
}

static bool have_common(const char *a, const char *b)
{
    while (*a) {
        size_t n = strcspn(a, ",");
        if (is_one_of(a, n, b, ","))
            return true;
        a += n + (a[n] == ',');
    }
    return false;
}

static void check_algorithms(const char *text, const struct sshd_account *account,
                             struct finding_list *findings)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++) {
        AUTO_FREE char *value = sshd_check_value(text, algorithms[i].keyword);
        if (!value || have_common(algorithms[i].names, value))
            continue;
        finding_add(findings, FINDING_REFUSE, algorithms[i].id, NULL, "sshd has none of %s",
                    algorithms[i].names);
        finding_remedy(findings, "add to sshd_config: %s", algorithms[i].option);
    }
    AUTO_FREE char *accepted = sshd_check_value(text, "pubkeyacceptedalgorithms");
    if (!accepted || have_common(account->key_type, accepted))
        return;
    finding_add(findings, FINDING_REFUSE, "key-type", NULL, "sshd accepts no key of type %s",
                account->key_type);
    finding_remedy(findings, "add to sshd_config: PubkeyAcceptedAlgorithms +%s", account->key_type);
}

/* As match_user(): a pattern may have @HOST behind it, which cannot be judged from here. */
static bool matches(const char *pattern, const char *name)
{
    AUTO_FREE char *user = strndup(pattern, strcspn(pattern, "@"));
    return user && fnmatch(user, name, 0) == 0;
}

/* Whether a pattern of any line of this keyword matches one of the names; out_any: whether there is any
 * pattern. */
static bool is_listed(const char *text, const char *keyword, const char *const *names, bool *out_any)
{
    bool listed = false;
    *out_any = false;
    for (;;) {
        AUTO_FREE char *value = next_value(&text, keyword);
        if (!value)
            return listed;
        char *rest = value;
        for (char *word; (word = strsep(&rest, " "));) {
            *out_any = *out_any || *word;
            for (size_t i = 0; names[i]; i++)
                listed = listed || matches(word, names[i]);
        }
    }
}

static void check_lists(const char *text, const struct sshd_account *account, struct finding_list *findings)
{
    const char *const user[] = {account->user, NULL};
    const struct {
        const char *keyword, *option;
        const char *const *names;
        bool allows;
    } lists[] = {
        {"allowusers", "AllowUsers", user, true},
        {"denyusers", "DenyUsers", user, false},
        {"allowgroups", "AllowGroups", account->groups, true},
        {"denygroups", "DenyGroups", account->groups, false},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        bool any, listed = is_listed(text, lists[i].keyword, lists[i].names, &any);
        if (!any || listed == lists[i].allows)
            continue;
        finding_add(findings, FINDING_REFUSE, "account-list", NULL, "%s in sshd_config keeps %s out",
                    lists[i].option, account->user);
        finding_remedy(findings, lists[i].allows ? "add %s to %s" : "take %s out of %s", lists[i].names[0],
                       lists[i].option);
    }
}

static void check_match(const char *text, const struct sshd_account *account, struct finding_list *findings)
{
    AUTO_FREE char *pubkey = sshd_check_value(text, "pubkeyauthentication");
    AUTO_FREE char *files = sshd_check_value(text, "authorizedkeysfile");
    AUTO_FREE char *command = sshd_check_value(text, "forcecommand");
    if (pubkey && strcmp(pubkey, "yes") != 0) {
        finding_add(findings, FINDING_REFUSE, "pubkey", NULL, "PubkeyAuthentication is off for %s",
                    account->user);
        finding_remedy(findings, "add to sshd_config: Match User %s, PubkeyAuthentication yes",
                       account->user);
    }
    if (!files || (!is_one_of(account->keys_file, strlen(account->keys_file), files, " ") &&
                   !is_one_of(KEYS_PATTERN, strlen(KEYS_PATTERN), files, " "))) {
        finding_add(findings, FINDING_REFUSE, "keys-file", NULL,
                    "sshd does not look into %s: it does not read %s", account->keys_file,
                    "/etc/ssh/sshd_config.d/mailcow-certsync.conf");
        finding_remedy(
            findings, "add as the first line of /etc/ssh/sshd_config: Include /etc/ssh/sshd_config.d/*.conf");
    }
    if (command && strcmp(command, "none") != 0 && strcmp(command, account->command) != 0) {
        char shown[200];
        text_escape(shown, sizeof shown, command, strlen(command));
        finding_add(findings, FINDING_REFUSE, "forced-command", NULL, "sshd runs another command for %s: %s",
                    account->user, shown);
        finding_remedy(findings, "let its ForceCommand be %s", account->command);
    }
}

/* With fewer, a handful of strangers who have not logged in keeps everybody out. */
static void check_startups(const char *text, struct finding_list *findings)
{
    AUTO_FREE char *value = sshd_check_value(text, "maxstartups");
    long begin;
    if (value)
        value[strcspn(value, ":")] = '\0';
    if (!value || !text_parse_number(value, 0, 1000000, &begin) || begin >= 10)
        return;
    finding_add(
        findings, FINDING_WARN, "max-startups", NULL,
        "MaxStartups lets %ld connections be before they are logged in: a few strangers keep the pusher out",
        begin);
    finding_remedy(findings, "add to sshd_config: MaxStartups 50:30:200");
}

void sshd_check(const char *text, const struct sshd_account *account, struct finding_list *findings)
{
    check_match(text, account, findings);
    check_lists(text, account, findings);
    check_algorithms(text, account, findings);
    check_startups(text, findings);
}
