#include "deployer/rollout_login.h"

#include "common/cert.h"
#include "common/clock.h"
#include "common/file.h"
#include "deployer/login.h"

#include <poll.h>
#include <string.h>

#define PAUSE_MS 1000 /* between tries: services settle after a reload */

struct rollout_login {
    const struct mailhost *host;
    const struct endpoint_list *endpoints;
    const struct progress *progress;
    struct login login;
    bool worked_before[ENDPOINT_MAX];
    struct endpoint_list asked;  /* in this try */
    size_t places[ENDPOINT_MAX]; /* of these in endpoints */
    struct login_result results[ENDPOINT_MAX];
    size_t result_count;
};

int rollout_login_new(struct rollout_login **out, const struct mailhost *host,
                      const struct endpoint_list *endpoints, const struct progress *progress,
                      struct error *err)
{
    *out = NULL;
    if (!host->conf->login)
        return 0;
    struct rollout_login *l = calloc(1, sizeof *l);
    if (!l)
        return error_memory(err);
    l->host = host;
    l->endpoints = endpoints;
    l->progress = progress;
    if (login_read(host->conf->login, &l->login, err) < 0) {
        progress_say(progress, "warning: nobody logs in: %s", err->text);
        free(l);
        return 0;
    }
    *out = l;
    return 0;
}

void rollout_login_free(struct rollout_login *l)
{
    if (!l)
        return;
    login_wipe(&l->login);
    free(l);
}

/* ---- one try ---- */

/* The key of the installed leaf, if it is the expected one. 0, OTHER_LEAF, or an error. */
enum {
    OTHER_LEAF = 1
};
static int find_key(const struct rollout_login *l, const char *fingerprint, char *out, struct error *err)
{
    AUTO_SECRET struct secret pem = SECRET(SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    int rc = file_read(l->host->ssl_fd, "cert.pem", 0, &pem, NULL, err);
    if (!rc)
        rc = cert_parse(pem.data, pem.len, CERT_KEY_IGNORED, &c, err);
    if (rc)
        return E_FAILED;
    if (strcmp(cert_info(c)->fingerprint, fingerprint) != 0) {
        error_set(err, E_FAILED, "cert.pem is not what is to be served");
        return OTHER_LEAF;
    }
    strcpy(out, cert_info(c)->spki);
    return 0;
}

static void tell(void *ctx, const struct login_result *r)
{
    const struct rollout_login *l = ctx;
    char name[ENDPOINT_NAME_SIZE];
    endpoint_name(name, r->endpoint);
    if (r->state == LOGIN_DONE)
        progress_say(l->progress, "logged-in endpoint=%s address=%s us=%lld", name, r->address,
                     (long long)r->us);
    else
        progress_say(l->progress, "not-logged-in endpoint=%s address=%s us=%lld: %s: %s", name,
                     r->address[0] ? r->address : "-", (long long)r->us, login_state_str(r->state),
                     r->detail);
}

/* At the endpoints that are asked, as long as timeout_ms. No results when nothing could be tried: that is
 * told, and is an error when the next try may be better. */
static int attempt(struct rollout_login *l, const char *fingerprint, int timeout_ms)
{
    char spki[65];
    struct error err;
    struct login_opts opts = {
        .login = &l->login,
        .endpoints = &l->asked,
        .spki = spki,
        .timeout_ms = timeout_ms,
        .on_result = tell,
        .ctx = l,
    };
    l->result_count = 0;
    int other = find_key(l, fingerprint, spki, &err);
    int rc = other ? other : login_run(&opts, l->results, &l->result_count, &err);
    if (other || rc < 0)
        progress_say(l->progress, "warning: nobody logs in: %s", err.text);
    return rc < 0 ? rc : 0;
}

static size_t place_of(const struct rollout_login *l, const struct login_result *r)
{
    return l->places[r->endpoint - l->asked.list];
}

static void ask(struct rollout_login *l, size_t place)
{
    l->places[l->asked.count] = place;
    l->asked.list[l->asked.count++] = l->endpoints->list[place];
}

static void ask_all(struct rollout_login *l)
{
    l->asked.count = 0;
    for (size_t i = 0; i < l->endpoints->count; i++)
        ask(l, i);
}

static int time_for_all(const struct rollout_login *l)
{
    return (int)l->host->conf->verify_timeout * 1000;
}

/* ---- before ---- */

void rollout_login_before(struct rollout_login *l, const char *fingerprint)
{
    if (!l)
        return;
    ask_all(l);
    attempt(l, fingerprint, time_for_all(l));
    for (size_t i = 0; i < l->result_count; i++)
        l->worked_before[place_of(l, &l->results[i])] = l->results[i].state == LOGIN_DONE;
}

static const char *noted(const struct endpoint *e, char *out)
{
    endpoint_listener(out, e);
    return strcat(out, "/login ");
}

void rollout_login_note(const struct rollout_login *l, char *list, size_t size)
{
    char text[ENDPOINT_LISTENER_SIZE + 8];
    for (size_t i = 0; l && i < l->endpoints->count; i++) {
        size_t n = strlen(list);
        if (l->worked_before[i] && n + strlen(noted(&l->endpoints->list[i], text)) < size)
            strcpy(list + n, text);
    }
}

void rollout_login_recall(struct rollout_login *l, const char *list, bool again)
{
    char text[ENDPOINT_LISTENER_SIZE + 8];
    for (size_t i = 0; l && i < l->endpoints->count; i++)
        l->worked_before[i] =
            (!again || l->worked_before[i]) && strstr(list, noted(&l->endpoints->list[i], text));
}

/* ---- after ---- */

/* Takes those that worked before and did not now: only they are asked again. */
static bool find_broken(struct rollout_login *l, char *text, size_t size)
{
    size_t places[ENDPOINT_MAX], count = 0;
    for (size_t i = 0; i < l->result_count; i++) {
        const struct login_result *r = &l->results[i];
        char name[ENDPOINT_NAME_SIZE];
        if (r->state == LOGIN_DONE || r->state == LOGIN_UNRESOLVED || !l->worked_before[place_of(l, r)])
            continue;
        if (!count)
            snprintf(text, size, "the login over %s at %s worked before and does not any more: %s: %s",
                     endpoint_name(name, r->endpoint), r->address[0] ? r->address : "-",
                     login_state_str(r->state), r->detail);
        places[count++] = place_of(l, r);
    }
    l->asked.count = 0;
    for (size_t i = 0; i < count; i++)
        ask(l, places[i]);
    return count;
}

bool rollout_login_broke(struct rollout_login *l, const char *fingerprint, char *text, size_t size)
{
    if (!l)
        return false;
    int64_t deadline = clock_ms() + time_for_all(l);
    bool broken = false;
    ask_all(l);
    for (;;) {
        int rc = attempt(l, fingerprint, clock_left_ms(deadline));
        broken = rc < 0 ? broken : find_broken(l, text, size);
        if (!rc && !broken)
            return false;
        if (clock_left_ms(deadline) <= PAUSE_MS)
            break;
        poll(NULL, 0, PAUSE_MS);
    }
    if (broken)
        progress_say(l->progress, "login-broken: %s", text);
    return broken;
}
