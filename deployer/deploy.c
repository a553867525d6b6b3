#include "deployer/deploy.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/text.h"
#include "deployer/docker.h"
#include "deployer/endpoint.h"
#include "deployer/install.h"
#include "deployer/reload.h"

#include <stdarg.h>
#include <string.h>

/* What is known of one want during the deployment; the public part comes first. */
struct work {
    struct deploy_want public;
    struct judge_verdict accepted;
    char judged_against[65]; /* fingerprint of what was installed then */
    bool has_accepted;
    bool is_refused; /* not staged after all: the record speaks of what was there before */
    bool installed_now;
};

struct deploy {
    struct mailhost *host;
    struct work *works; /* one per want of the host, in the same order */
    struct deploy_want *wants;
    struct deploy_say say;
    bool force;
    struct docker_containers containers;
    struct endpoint_list endpoints;
    struct verify_result results[ENDPOINT_MAX];
    struct deploy_outcome outcome;
};

int deploy_new(struct deploy **out, struct mailhost *mailhost, struct error *err)
{
    AUTO_DEPLOY struct deploy *d = calloc(1, sizeof *d);
    if (!d)
        return error_memory(err);
    d->host = mailhost;
    d->works = calloc(mailhost->wants.count, sizeof *d->works);
    d->wants = calloc(mailhost->wants.count, sizeof *d->wants);
    if (!d->works || !d->wants)
        return error_memory(err);
    for (size_t i = 0; i < mailhost->wants.count; i++)
        d->works[i].public.want = &mailhost->wants.list[i];
    *out = d;
    d = NULL;
    return 0;
}

void deploy_free(struct deploy *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->works && i < d->host->wants.count; i++)
        judge_verdict_wipe(&d->works[i].accepted);
    docker_containers_free(&d->containers);
    free(d->works);
    free(d->wants);
    free(d);
}

static const char *const result_words[] = {
    [DEPLOY_UNCHANGED] = "unchanged",
    [DEPLOY_DEPLOYED] = "deployed",
    [DEPLOY_PENDING] = "pending",
    [DEPLOY_FAILED] = "failed",
};

const char *deploy_result_str(enum deploy_result result)
{
    return result_words[result];
}

__attribute__((format(printf, 2, 3))) static void say(const struct deploy *d, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (d->say.line)
        d->say.line(d->say.ctx, text);
}

/* Notes what went wrong, the first and worst of it being what people are told. */
__attribute__((format(printf, 3, 4))) static void fall_short(struct deploy *d, enum deploy_result result,
                                                             const char *fmt, ...)
{
    if (d->outcome.result >= result)
        return;
    d->outcome.result = result;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->outcome.detail, sizeof d->outcome.detail, fmt, ap);
    va_end(ap);
}

static enum deploy_result result_of(const struct error *err)
{
    return err->code == E_TEMPORARY ? DEPLOY_PENDING : DEPLOY_FAILED;
}

/* ---- put ---- */

static struct work *find_work(struct deploy *d, const char *want)
{
    for (size_t i = 0; i < d->host->wants.count; i++)
        if (strcmp(d->works[i].public.want->id, want) == 0)
            return &d->works[i];
    return NULL;
}

int deploy_put(struct deploy *d, const char *want, const void *bundle, size_t len, struct judge_verdict *out,
               struct error *err)
{
    struct work *w = find_work(d, want);
    if (!w)
        return error_set(err, E_FAILED, "no such want here: %s", want);
    judge_verdict_wipe(&w->accepted);
    w->has_accepted = false;
    memcpy(w->judged_against, w->public.want->installed, sizeof w->judged_against);
    int rc = mailhost_judge(d->host, w->public.want, bundle, len, &w->accepted, err);
    *out = w->accepted; /* shares its secrets: the deployment owns them */
    if (rc < 0)
        return rc;
    if (w->accepted.reason != JUDGE_ACCEPTED)
        return DEPLOY_REFUSED;
    w->has_accepted = true;
    return strcmp(w->accepted.fingerprint, w->public.want->installed) == 0 ? DEPLOY_SAME : 0;
}

bool deploy_has_bundle(const struct deploy *d)
{
    for (size_t i = 0; i < d->host->wants.count; i++)
        if (d->works[i].has_accepted)
            return true;
    return false;
}

/* ---- stage ---- */

/* Judges a pair that was accepted before against what is installed now. */
static int judge_pair(struct deploy *d, const struct work *w, const struct secret *chain,
                      const struct secret *key, struct judge_verdict *out, struct error *err)
{
    AUTO_SECRET struct secret bundle = SECRET(2 * SECRET_MAX);
    if (secret_append(&bundle, chain->data, chain->len) < 0 ||
        secret_append(&bundle, key->data, key->len) < 0)
        return error_memory(err);
    return mailhost_judge(d->host, w->public.want, bundle.data, bundle.len, out, err);
}

/*
 * Another deployment may have installed a younger certificate since this one was judged: then, with the lock
 * held, it is judged again.
 */
static int judge_again(struct deploy *d, struct work *w, struct error *err)
{
    struct judge_verdict verdict = {0};
    if (strcmp(w->judged_against, w->public.want->installed) == 0)
        return 0;
    int rc = judge_pair(d, w, &w->accepted.chain, &w->accepted.key, &verdict, err);
    judge_verdict_wipe(&w->accepted);
    w->accepted = verdict;
    w->has_accepted = false;
    if (rc < 0)
        return rc;
    w->has_accepted = verdict.reason == JUDGE_ACCEPTED;
    return w->has_accepted ? 0 : error_set(err, E_FAILED, "%s", w->accepted.why);
}

static int accept_generation(struct deploy *d, struct work *w, struct error *err)
{
    struct record *r = &w->public.record;
    char id[STORE_GENERATION_SIZE];
    time_t now = time(NULL);
    int64_t start = clock_us();
    int rc = store_stage(d->host->store, w->public.want->id, &w->accepted, now, id, err);
    if (rc < 0)
        return rc;
    if (r->current[0] && r->state == STORE_SERVED)
        memcpy(r->previous, r->current, sizeof r->previous);
    memcpy(r->current, id, sizeof r->current);
    memcpy(r->fingerprint, w->accepted.fingerprint, sizeof r->fingerprint);
    r->not_after = w->accepted.not_after;
    r->changed = now;
    r->verified = 0;
    r->state = STORE_PENDING;
    r->detail[0] = '\0';
    rc = store_write_record(d->host->store, w->public.want->id, r, err);
    if (!rc)
        say(d, "staged want=%s generation=%s us=%lld", w->public.want->id, id,
            (long long)(clock_us() - start));
    return rc;
}

/* Whether the current generation is this very chain: the same leaf may come again with a better one. */
static bool is_current(struct deploy *d, const struct work *w)
{
    AUTO_GENERATION struct generation g = {0};
    struct error ignored;
    return strcmp(w->accepted.fingerprint, w->public.record.fingerprint) == 0 &&
           store_load(d->host->store, w->public.want->id, w->public.record.current, &g, &ignored) == 0 &&
           g.chain.len == w->accepted.chain.len &&
           memcmp(g.chain.data, w->accepted.chain.data, g.chain.len) == 0;
}

static int stage(struct deploy *d, struct work *w, struct error *err)
{
    if (!w->has_accepted || is_current(d, w))
        return 0;
    int rc = judge_again(d, w, err);
    if (!rc)
        rc = accept_generation(d, w, err);
    w->is_refused = rc < 0 && w->public.record.state != STORE_PENDING;
    return rc;
}

/* ---- install ---- */

static bool same_bytes(int folder, const char *name, const struct secret *content)
{
    AUTO_SECRET struct secret have = SECRET(SECRET_MAX);
    struct error ignored;
    return file_read(folder, name, 0, &have, NULL, &ignored) == 0 && have.len == content->len &&
           memcmp(have.data, content->data, have.len) == 0;
}

/*
 * Whether the current generation may still take the place of what somebody else put there: it may have
 * expired, or be older. What was accepted and never installed is not forgotten silently.
 */
static bool may_replace(struct deploy *d, struct work *w, const struct generation *g)
{
    AUTO_VERDICT struct judge_verdict verdict = {0};
    struct error err;
    if (judge_pair(d, w, &g->chain, &g->key, &verdict, &err) < 0)
        return false;
    if (verdict.reason == JUDGE_ACCEPTED)
        return true;
    say(d, "kept want=%s: it was installed by somebody else, and generation %s is refused: %s",
        w->public.want->id, g->id, verdict.why);
    if (w->public.record.state == STORE_PENDING)
        fall_short(d, DEPLOY_FAILED,
                   "want %s: generation %s was accepted, but cannot be installed any more: %s",
                   w->public.want->id, g->id, verdict.why);
    return false;
}

static int install(struct deploy *d, struct work *w, struct error *err)
{
    AUTO_GENERATION struct generation g = {0};
    const char *id = w->public.want->id;
    int64_t start = clock_us();
    if (!w->public.record.current[0])
        return 0;
    int rc = store_load(d->host->store, id, w->public.record.current, &g, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int folder = install_open_folder(d->host->ssl_fd, id, err);
    if (folder < 0)
        return err->code;
    bool same = same_bytes(folder, "cert.pem", &g.chain) && same_bytes(folder, "key.pem", &g.key);
    bool foreign = !same && !w->has_accepted;
    if ((same && !d->force && w->public.record.state != STORE_PENDING) || (foreign && !may_replace(d, w, &g)))
        return 0;
    rc = same && !d->force ? 0 : install_generation(d->host->store, folder, id, &g, err);
    if (rc < 0)
        return rc;
    memcpy(w->public.expected, g.fingerprint, sizeof w->public.expected);
    w->installed_now = true;
    say(d, "installed want=%s generation=%s us=%lld", id, g.id, (long long)(clock_us() - start));
    return 0;
}

/* ---- reload and verify ---- */

/* A service that does not run cannot be verified, so it counts. */
static void on_missing(struct deploy *d, const struct reload_step *step)
{
    say(d, "not-reloaded service=%s container=%s: %s", step->service, step->container ? step->container : "-",
        step->detail);
    if (!step->tolerated)
        fall_short(d, DEPLOY_FAILED, "service %s is %s: %s", step->service, reload_outcome_str(step->outcome),
                   step->detail);
}

/* A command's failure is only told: the wire says whether it mattered. */
static void on_reload(void *ctx, const struct reload_step *step)
{
    struct deploy *d = ctx;
    if (step->outcome == RELOAD_ABSENT || step->outcome == RELOAD_NOT_RUNNING)
        on_missing(d, step);
    else if (step->outcome == RELOAD_DONE)
        say(d, "reloaded service=%s container=%s us=%lld", step->service, step->container,
            (long long)step->us);
    else
        say(d, "not-reloaded service=%s container=%s us=%lld: %s", step->service, step->container,
            (long long)step->us, step->detail);
}

static void on_verified(void *ctx, const struct verify_result *r)
{
    const struct deploy *d = ctx;
    if (r->state == VERIFY_SERVED)
        say(d, "verified endpoint=%s address=%s handshakes=%u us=%lld", r->endpoint->proto->name, r->address,
            r->probes, (long long)r->us);
    else
        say(d, "not-verified endpoint=%s address=%s us=%lld: %s: %s", r->endpoint->proto->name,
            r->address[0] ? r->address : "-", (long long)r->us, verify_state_str(r->state), r->detail);
}

/* Lists the containers, and derives the endpoints from them unless they are configured. */
static int survey(struct deploy *d, struct docker **out_docker, struct error *err)
{
    const struct deploy_conf *conf = d->host->conf;
    int rc = 0;
    d->endpoints.count = 0;
    for (size_t i = 0; !rc && i < conf->endpoints.count; i++)
        rc = endpoint_parse(conf->endpoints.items[i], &d->endpoints, err);
    if (!rc)
        rc = docker_new(out_docker, conf->docker_socket, err);
    if (!rc)
        rc = docker_containers(*out_docker, d->host->mailcow.project, &d->containers, err);
    if (!rc && conf->endpoints.count == 0)
        rc = endpoint_derive(&d->containers, d->host->mailcow.https_port, &d->endpoints, err);
    return rc;
}

/* With docker the services are reloaded, without only looked at. */
static void reload(struct deploy *d, struct docker *docker)
{
    struct error err = {0};
    struct reload_opts opts = {
        .optional = (const char *const *)d->host->conf->optional.items,
        .on_step = on_reload,
        .ctx = d,
    };
    int rc = docker ? reload_run(docker, &d->containers, &opts, &err) : reload_look(&d->containers, &opts);
    if (rc < 0)
        fall_short(d, result_of(&err), "reload: %s", err.text);
}

/* A wildcard is asked for by a name that it covers. */
static const char *probe_name(const char *name, char *buffer, size_t size)
{
    if (strncmp(name, "*.", 2) != 0)
        return name;
    snprintf(buffer, size, "certsync-probe.%s", name + 2);
    return buffer;
}

struct expectations {
    struct verify_expectation *list;
    size_t count;
    char (*wildcards)[300];
};

static void expectations_free(struct expectations *e)
{
    free(e->list);
    free(e->wildcards);
}

static int expect_all(struct deploy *d, struct expectations *e, struct error *err)
{
    size_t room = 1;
    for (size_t i = 0; i < d->host->wants.count; i++)
        room += d->host->wants.list[i].name_count;
    e->list = calloc(room, sizeof *e->list);
    e->wildcards = calloc(room, sizeof *e->wildcards);
    if (!e->list || !e->wildcards)
        return error_memory(err);
    for (size_t i = 0; i < d->host->wants.count; i++) {
        const struct deploy_want *w = &d->works[i].public;
        if (!w->expected[0])
            continue;
        if (strcmp(w->want->id, WANT_PRIMARY) == 0)
            e->list[e->count++] = (struct verify_expectation){.fingerprint = w->expected};
        for (size_t n = 0; n < w->want->name_count; n++) {
            const char *name = probe_name(w->want->names[n], e->wildcards[e->count], sizeof *e->wildcards);
            e->list[e->count++] = (struct verify_expectation){.name = name, .fingerprint = w->expected};
        }
    }
    return 0;
}

static size_t count_served(const struct deploy *d)
{
    size_t served = 0;
    for (size_t i = 0; i < d->endpoints.count; i++)
        served += d->results[i].state == VERIFY_SERVED;
    return served;
}

/* One look (once) or until the deadline. True when all is served. */
static bool verify(struct deploy *d, bool once, struct error *err)
{
    CLEANUP(expectations_free) struct expectations e = {0};
    if (expect_all(d, &e, err) < 0)
        return false;
    if (!e.count || !d->endpoints.count) {
        error_set(err, E_FAILED,
                  e.count ? "no endpoint to verify: mailcow publishes no port; set endpoints in [verify]"
                          : "nothing is installed yet");
        return false;
    }
    struct verify_opts opts = {
        .endpoints = &d->endpoints,
        .expectations = e.list,
        .expectation_count = e.count,
        .timeout_ms = (int)d->host->conf->verify_timeout * 1000,
        .once = once,
        .on_result = once ? NULL : on_verified,
        .ctx = d,
    };
    int rc = verify_run(&opts, d->results, err);
    d->outcome.endpoints = d->results;
    d->outcome.endpoint_count = d->endpoints.count;
    d->outcome.served = count_served(d);
    if (rc > 0)
        error_set(err, E_FAILED, "%zu of %zu endpoints do not serve it",
                  d->endpoints.count - d->outcome.served, d->endpoints.count);
    return rc == 0;
}

static bool installed_anything(const struct deploy *d)
{
    for (size_t i = 0; i < d->host->wants.count; i++)
        if (d->works[i].installed_now)
            return true;
    return false;
}

/* True when all is served as it is. */
static bool look(struct deploy *d)
{
    struct error ignored;
    reload(d, NULL);
    if (!verify(d, true, &ignored))
        return false;
    for (size_t i = 0; i < d->endpoints.count; i++)
        on_verified(d, &d->results[i]);
    return true;
}

/* What changed is reloaded; what did not is looked at, and reloaded only if it is not served. */
static void bring_to_wire(struct deploy *d)
{
    AUTO_DOCKER struct docker *docker = NULL;
    struct error err = {0};
    if (survey(d, &docker, &err) < 0) {
        fall_short(d, result_of(&err), "%s", err.text);
        return;
    }
    if (!d->force && !installed_anything(d) && look(d))
        return;
    reload(d, docker);
    if (verify(d, false, &err))
        fall_short(d, DEPLOY_DEPLOYED, "%s", "");
    else
        fall_short(d, result_of(&err), "verify: %s", err.text);
}

/* ---- the whole ---- */

static int recover(struct deploy *d, struct error *err)
{
    char want[WANT_ID_SIZE];
    int rc = install_recover(d->host->store, d->host->ssl_fd, want, err);
    if (rc == INSTALL_RECOVERED)
        say(d, "recovered want=%s: an installation that was cut short is finished", want);
    if (rc == INSTALL_LOST)
        say(d, "warning want=%s: an installation was cut short, and cannot be finished: %s", want, err->text);
    return rc < 0 ? rc : 0;
}

/* Records how each want stands at the end, and tidies its generations. */
static void conclude(struct deploy *d, struct work *w)
{
    struct record *r = &w->public.record;
    struct error err;
    enum deploy_result result = d->outcome.result;
    w->public.result = result;
    if (!r->current[0] || w->is_refused)
        return;
    bool ours = strcmp(w->public.expected, r->fingerprint) == 0;
    if (result <= DEPLOY_DEPLOYED && ours) {
        r->state = STORE_SERVED;
        r->verified = time(NULL);
        r->detail[0] = '\0';
    } else if (result > DEPLOY_DEPLOYED) {
        r->state = result == DEPLOY_PENDING ? STORE_PENDING : STORE_FAILED;
        snprintf(r->detail, sizeof r->detail, "%.*s", (int)sizeof r->detail - 1, d->outcome.detail);
    }
    int rc = store_write_record(d->host->store, w->public.want->id, r, &err);
    if (!rc)
        rc = store_prune(d->host->store, w->public.want->id, r->current, &err);
    if (rc < 0)
        say(d, "warning want=%s: %s", w->public.want->id, err.text);
}

/* With the lock held: nobody else installs from here on. */
static int prepare(struct deploy *d, struct work *w, struct want *want, struct error *err)
{
    mailcow_look(d->host->ssl_fd, want);
    memcpy(w->public.expected, want->installed, sizeof w->public.expected);
    int rc = store_read_record(d->host->store, want->id, &w->public.record, err);
    if (!rc)
        rc = stage(d, w, err);
    return rc ? rc : install(d, w, err);
}

static void publish(struct deploy *d, struct deploy_outcome *out)
{
    for (size_t i = 0; i < d->host->wants.count; i++)
        d->wants[i] = d->works[i].public;
    d->outcome.wants = d->wants;
    d->outcome.want_count = d->host->wants.count;
    *out = d->outcome;
}

int deploy_run(struct deploy *d, bool force, const struct deploy_say *say_to, struct deploy_outcome *out,
               struct error *err)
{
    d->say = *say_to;
    d->force = force;
    int rc = store_lock(d->host->store, clock_ms() + DEPLOY_LOCK_MS, err);
    if (!rc)
        rc = recover(d, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < d->host->wants.count; i++) {
        rc = prepare(d, &d->works[i], &d->host->wants.list[i], err);
        if (rc < 0)
            fall_short(d, result_of(err), "want %s: %s", d->works[i].public.want->id, err->text);
    }
    if (d->outcome.result == DEPLOY_UNCHANGED || installed_anything(d))
        bring_to_wire(d);
    for (size_t i = 0; i < d->host->wants.count; i++)
        conclude(d, &d->works[i]);
    publish(d, out);
    return 0;
}

static void step_line(void *ctx, const char *text)
{
    report_step(ctx, "%s", text);
}

int deploy_recover(const struct deploy_conf *conf, struct report *report, struct error *err)
{
    struct mailhost host = {.conf = conf, .ssl_fd = -1};
    struct deploy d = {.host = &host, .say = {.line = step_line, .ctx = report}};
    AUTO_STORE struct store *store = NULL;
    mailcow_locate(conf->mailcow, &host.mailcow); /* what mailcow.conf says does not matter here */
    AUTO_CLOSE int ssl_fd = mailcow_open_ssl(&host.mailcow, err);
    if (ssl_fd < 0)
        return err->code;
    int rc = store_open(&store, conf->state, err);
    if (!rc)
        rc = store_lock(store, clock_ms() + DEPLOY_LOCK_MS, err);
    if (rc < 0)
        return rc;
    host.ssl_fd = ssl_fd;
    host.store = store;
    return recover(&d, err);
}
