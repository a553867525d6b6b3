/*
 * The deployer's side of a session, from greeting to verdict, as a pusher and as an operator. Deployments and
 * the preflight are stand-ins (the functions of deployer/deploy.h and preflight.h, below), which accept what
 * begins with "good"; mailcow's folder, with an SNI folder in it, and the state are real ones.
 *
 * However the client's bytes are cut, the answers are the same; every line of them keeps to docs/protocol.md;
 * bundles are exactly what was sent and announced; nothing is deployed that was not accepted, and nothing
 * that the role forbids.
 */
#include "common/cert.h"
#include "common/text.h"
#include "common/wire.h"
#include "deployer/deploy.h"
#include "deployer/preflight.h"
#include "deployer/rollout.h"
#include "deployer/session.h"
#include "tests/fuzz/stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SSL         "mailcow/data/assets/ssl"

static char top[300];
static struct deploy_conf conf;

static const char *path_of(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    fuzz_write_file(AT_FDCWD, path_of(name), text, strlen(text));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const folders[] = {"mailcow", "mailcow/data", "mailcow/data/assets",
                                          SSL,       SSL "/shop",    "state"};
    (void)argc, (void)argv;
    snprintf(top, sizeof top, "%s", fuzz_folder());
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        CHECK(mkdir(path_of(folders[i]), 0700) == 0);
    write_file("mailcow/mailcow.conf", "MAILCOW_HOSTNAME=mail.example.org\n");
    write_file(SSL "/shop/domains", "shop.example.org *.shop.example.org .shop.example.org");
    write_file(SSL "/shop/cert.pem", "none\n");
    write_file(SSL "/shop/key.pem", "none\n");
    CHECK(deploy_conf_defaults(&conf) == 0);
    CHECK(conf_set_string(&conf.mailcow, path_of("mailcow")) == 0);
    CHECK(conf_set_string(&conf.state, path_of("state")) == 0);
    CHECK(conf_set_string(&conf.trust, path_of("none")) == 0);
    return 0;
}

/* ---- deployments that only note what they were asked for ---- */

static struct {
    const uint8_t *data; /* the whole input */
    size_t size;
    bool operates;
    size_t put_at; /* behind the last bundle */
    bool accepted; /* one is waiting */
    bool chosen;   /* a generation, or a folder to be removed */
    unsigned acts; /* deployments, and looks of the preflight */
} asked;

/* A deployment, or a look at the mail host, is a session's last act. */
static void act(void)
{
    CHECK(asked.accepted || asked.operates);
    CHECK(++asked.acts == 1);
}

struct deploy {
    struct mailhost *host;
};

int deploy_new(struct deploy **out, struct mailhost *mailhost, struct error *err)
{
    (void)err;
    CHECK(*out = calloc(1, sizeof **out));
    (*out)->host = mailhost;
    return 0;
}

void deploy_free(struct deploy *d)
{
    free(d);
}

static void accept(struct judge_verdict *out)
{
    strcpy(out->fingerprint, FINGERPRINT);
    strcpy(out->key_type, "RSA 2048");
    out->not_after = 1795248000;
}

static bool is_put(const uint8_t *line, size_t size, size_t len, const char *digest)
{
    char text[WIRE_LINE + 1], word[100];
    const uint8_t *lf = memchr(line, '\n', size);
    if (!lf || lf - line > WIRE_LINE)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)(lf - line), (const char *)line);
    text[strcspn(text, "\r")] = '\0';
    return wire_word(text, 0, word, sizeof word) && strcmp(word, "PUT") == 0 &&
           wire_word(text, 2, word, sizeof word) && strtoul(word, NULL, 10) == len &&
           wire_word(text, 3, word, sizeof word) && strcmp(word, digest) == 0;
}

/* From somewhere on, the input is a PUT with this length and digest. */
static bool was_announced(const void *bundle, size_t len)
{
    char digest[65];
    CHECK(cert_sha256(digest, bundle, len));
    for (size_t at = 0; at < asked.size; at++)
        if (asked.data[at] == 'P' && is_put(asked.data + at, asked.size - at, len, digest))
            return true;
    return false;
}

/* The bundle is a part of the input that has not been one before. */
int deploy_put(struct deploy *d, const char *want, const void *bundle, size_t len, struct judge_verdict *out,
               struct error *err)
{
    const uint8_t *rest = asked.data + asked.put_at;
    size_t left = asked.size - asked.put_at;
    const uint8_t *found = len ? memmem(rest, left, bundle, len) : rest;
    (void)err;
    CHECK(want_find(&d->host->wants, want) && len <= SECRET_MAX);
    bool bare = len >= 11 && memcmp(bundle, "-----BEGIN ", 11) == 0 && asked.put_at == 0;
    CHECK(bare || (found && was_announced(bundle, len)));
    asked.put_at = found ? (size_t)(found + len - asked.data) : asked.size;
    *out = (struct judge_verdict){.reason = JUDGE_MALFORMED, .why = "not good"};
    asked.accepted = len >= 4 && memcmp(bundle, "good", 4) == 0;
    if (!asked.accepted)
        return PAIR_REFUSED;
    out->reason = JUDGE_ACCEPTED;
    out->why[0] = '\0';
    accept(out);
    return len % 2 ? PAIR_SAME : 0;
}

bool deploy_has_bundle(const struct deploy *d)
{
    (void)d;
    return asked.accepted;
}

int deploy_choose(struct deploy *d, const char *want, const char *generation, struct error *err)
{
    CHECK(asked.operates && !asked.chosen && strlen(generation) < STORE_GENERATION_SIZE);
    if (!want_find(&d->host->wants, want))
        return error_set(err, E_USAGE, "no such want");
    asked.chosen = true;
    return *generation ? error_set(err, E_FAILED, "no such generation") : 0;
}

int deploy_remove(struct deploy *d, const char *want, struct error *err)
{
    CHECK(asked.operates && !asked.chosen);
    asked.chosen = want_find(&d->host->wants, want);
    return asked.chosen ? 0 : error_set(err, E_USAGE, "no such want");
}

void deploy_limit(struct deploy *d, bool (*may_repeat)(void *ctx), void *ctx)
{
    (void)d, (void)may_repeat, (void)ctx;
}

int deploy_lock(struct deploy *d, int64_t wait_ms, const struct progress *progress, struct error *err)
{
    (void)d, (void)wait_ms, (void)progress, (void)err;
    return 0;
}

int deploy_run(struct deploy *d, bool force, const struct progress *progress, struct deploy_outcome *out,
               struct error *err)
{
    static struct pair pair;
    act();
    progress_say(progress, "staged want=primary generation=x us=1");
    if (force && !asked.accepted)
        return error_set(err, E_TEMPORARY, "another deployment is under way");
    pair = (struct pair){
        .want = &d->host->wants.list[0], .outcome.result = OUTCOME_DEPLOYED, .expected = FINGERPRINT};
    *out = (struct deploy_outcome){.worst.result = OUTCOME_DEPLOYED, .pairs = &pair, .pair_count = 1};
    return 0;
}

bool rollout_see(const struct rollout *r, size_t pair, size_t endpoint, struct rollout_seen *out)
{
    (void)r, (void)pair, (void)endpoint, (void)out;
    return false;
}

void preflight_check(const struct mailhost *host, struct finding_list *out)
{
    act();
    finding_add(out, FINDING_WARN, "trust", host->wants.list[0].id, "a finding");
    finding_remedy(out, "and what to do");
}

/* ---- answers ---- */

/* The time that something took, us=N, is not to be compared. */
static void hide_times(char *text)
{
    for (char *p = text; (p = strstr(p, " us=")); p += 4)
        for (char *digit = p + 4; *digit >= '0' && *digit <= '9'; digit++)
            *digit = '0';
    char *out = text;
    for (const char *p = text; *p; p++)
        if (!(*p == '0' && out > text && out[-1] == '0'))
            *out++ = *p;
    *out = '\0';
}

static void check_answers(const char *answers)
{
    char *copy = strdup(answers), *rest = copy;
    bool verdict = false;
    CHECK(copy && (!*copy || copy[strlen(copy) - 1] == '\n'));
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        struct wire_reply reply;
        struct error err;
        CHECK(strlen(line) <= WIRE_LINE && fuzz_is_printable(line));
        CHECK(wire_parse_reply(line, &reply, &err) == 0);
        CHECK(!verdict);
        CHECK(asked.operates || (strcmp(line, "250 status") != 0 && !strstr(line, "finding")));
        verdict = strncmp(line, "250 deployed", 12) == 0 || strncmp(line, "251 unchanged", 13) == 0;
    }
    CHECK(verdict <= asked.acts);
    CHECK(!rest || !*rest);
    free(copy);
}

static char *session(const uint8_t *data, size_t size, enum session_role role, enum cut how)
{
    AUTO_STREAM struct stream peer;
    struct error err;
    asked.data = data;
    asked.size = size;
    asked.operates = role == ROLE_OPERATOR;
    asked.put_at = 0;
    asked.accepted = asked.chosen = false;
    asked.acts = 0;
    const struct session_opts opts = {.fd = stream_open(&peer, data, size, how), .role = role, .conf = &conf};
    int rc = session_serve(&opts, &err);
    if (rc)
        CHECK_ERROR(rc, &err);
    check_answers(peer.out);
    char *answers = strdup(peer.out);
    CHECK(answers && strncmp(answers, "220-mailcow-cert-deploy ", 24) == 0);
    hide_times(answers);
    return answers;
}

static void check_role(const uint8_t *data, size_t size, enum session_role role)
{
    char *whole = session(data, size, role, CUT_NOWHERE);
    char *cut = session(data, size, role, size < 2000 ? CUT_EVERYWHERE : CUT_RANDOM);
    CHECK_TEXT(cut, whole);
    free(whole);
    free(cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_role(data, size, ROLE_PUSHER);
    check_role(data, size, ROLE_OPERATOR);
    return 0;
}

/* ---- mutation: a PUT whose digest is right again, of as many bytes as there are ---- */

static size_t mend_put(uint8_t *data, size_t size, size_t max_size)
{
    char want[254], header[400], digest[65];
    size_t said;
    uint8_t *put = memmem(data, size, "PUT ", 4);
    uint8_t *lf = put ? memchr(put, '\n', size - (size_t)(put - data)) : NULL;
    if (!lf || lf - put >= (int)sizeof header)
        return size;
    snprintf(header, sizeof header, "%.*s", (int)(lf - put), (char *)put);
    if (sscanf(header, "PUT %253s %zu", want, &said) != 2)
        return size;
    size_t rest = size - (size_t)(lf + 1 - data);
    CHECK(cert_sha256(digest, lf + 1, said < rest ? said : rest));
    size_t n = (size_t)snprintf(header, sizeof header, "PUT %s %zu %s\n", want, said, digest);
    size_t before = (size_t)(put - data);
    if (n >= sizeof header || before + n + rest > max_size)
        return size;
    memmove(put + n, lf + 1, rest);
    memcpy(put, header, n);
    return before + n + rest;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    size = LLVMFuzzerMutate(data, size, max_size);
    return seed % 2 ? mend_put(data, size, max_size) : size;
}
