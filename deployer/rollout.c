#include "deployer/rollout.h"
#include "common/clock.h"
#include "deployer/endpoint.h"
#include "deployer/preflight.h"
#include "deployer/rollout_login.h"

#include <poll.h>
#include <string.h>

#define NGINX   "nginx-mailcow"
#define POSTFIX "postfix-mailcow"
#define DOVECOT "dovecot-mailcow"

#define WAIT_MS    10000
#define PAUSE_MS   1000
#define RESTART_MS 60000

/* One thing to ask at every endpoint: a name of any pair, or none. */
struct question {
    const char *name; /* NULL: without SNI */
    char wildcard[300];
};

struct rollout {
    const struct mailhost *host;
    const struct pair *pairs;
    size_t pair_count;
    const struct progress *progress;
    struct docker *docker;
    struct docker_containers containers;
    bool has_containers;
    struct endpoint_list endpoints;
    struct question *questions;
    size_t question_count;
    size_t *owners; /* services × questions: the pair whose leaf is to be shown */
    /* endpoints × questions; before: what was seen before anything was changed */
    struct verify_cell *now, *before;
    bool has_before;
    bool is_engine_lost;
    bool skips_sni_map;
    bool repeats;
    struct verify_result results[ENDPOINT_MAX];
    struct outcome outcome;
    struct rollout_login *login;
    unsigned forbidden; /* bit i: reload_services[i] takes no command, only a restart */
    bool is_nginx_old;  /* a command failed in it: it may have its configuration from before */
    char broken_text[400];
};

/* ---- questions ---- */

static bool is_primary(const struct want *want)
{
    return strcmp(want->id, WANT_PRIMARY) == 0;
}

static const char *primary_expected(const struct rollout *r)
{
    size_t i = 0;
    while (!is_primary(r->pairs[i].want))
        i++;
    return r->pairs[i].expected;
}

/* A wildcard is asked for by a name that it covers. */
static void ask_name(struct rollout *r, const char *name)
{
    struct question *q = &r->questions[r->question_count];
    q->name = name;
    if (strncmp(name, "*.", 2) == 0) {
        snprintf(q->wildcard, sizeof q->wildcard, "certsync-probe.%s", name + 2);
        q->name = q->wildcard;
    }
    for (size_t i = 1; i < r->question_count; i++)
        if (strcmp(r->questions[i].name, q->name) == 0)
            return;
    r->question_count++;
}

static int prepare_questions(struct rollout *r, struct error *err)
{
    size_t room = 2;
    for (size_t i = 0; i < r->pair_count; i++)
        room += r->pairs[i].want->name_count;
    r->questions = calloc(room, sizeof *r->questions);
    if (!r->questions)
        return error_memory(err);
    r->question_count = 1; /* without a name */
    for (size_t i = 0; i < r->pair_count; i++)
        for (size_t n = 0; n < r->pairs[i].want->name_count; n++)
            ask_name(r, r->pairs[i].want->names[n]);
    r->owners = calloc(reload_service_count * r->question_count, sizeof *r->owners);
    return r->owners ? 0 : error_memory(err);
}

static bool has_name(const struct rollout *r, const struct want *want, size_t question)
{
    const char *name = r->questions[question].name, *dot = name ? strchr(name, '.') : NULL;
    bool is_wildcard = name == r->questions[question].wildcard;
    for (size_t i = 0; name && i < want->name_count; i++)
        if (strcmp(want->names[i], name) == 0 || (is_wildcard && strcmp(want->names[i] + 1, dot) == 0))
            return true;
    return false;
}

/*
 * Whose leaf a service is to show for a question: that of the folder into which it looks. Not where that has
 * expired and the primary has the name, too: such a folder is one that was forgotten. pair_count: nobody's.
 */
static size_t find_owner(const struct rollout *r, const char *service, size_t question)
{
    const struct want *want =
        mailcow_serves(&r->host->mailcow, &r->host->wants, service, r->questions[question].name);
    const struct want *primary = want_find(&r->host->wants, WANT_PRIMARY);
    bool is_forgotten = want->not_after <= time(NULL) && has_name(r, primary, question);
    if (is_forgotten || (r->skips_sni_map && strcmp(service, POSTFIX) == 0))
        want = primary;
    for (size_t i = 0; i < r->pair_count; i++)
        if (r->pairs[i].want == want && r->pairs[i].expected[0])
            return i;
    return r->pair_count;
}

/* To be called whenever something was installed or removed. */
static void find_owners(struct rollout *r)
{
    for (size_t s = 0; s < reload_service_count; s++)
        for (size_t q = 0; q < r->question_count; q++)
            r->owners[s * r->question_count + q] = find_owner(r, reload_services[s].name, q);
}

static size_t owner_of(const struct rollout *r, const struct endpoint *endpoint, size_t question)
{
    return r->owners[reload_service_index(endpoint->proto->service) * r->question_count + question];
}

int rollout_new(struct rollout **out, const struct mailhost *host, const struct pair *pairs,
                size_t pair_count, const struct progress *progress, struct error *err)
{
    AUTO_ROLLOUT struct rollout *r = calloc(1, sizeof *r);
    if (!r)
        return error_memory(err);
    r->host = host;
    r->pairs = pairs;
    r->pair_count = pair_count;
    r->progress = progress;
    int rc = prepare_questions(r, err);
    if (rc < 0)
        return rc;
    *out = r;
    r = NULL;
    return 0;
}

void rollout_free(struct rollout *r)
{
    if (!r)
        return;
    docker_free(r->docker);
    rollout_login_free(r->login);
    docker_containers_free(&r->containers);
    free(r->questions);
    free(r->owners);
    free(r->now);
    free(r->before);
    free(r);
}

/* ---- containers and endpoints ---- */

static int list_containers(struct rollout *r, struct error *err)
{
    const struct deploy_conf *conf = r->host->conf;
    struct docker_containers now = {0};
    int rc = docker_containers_found(r->docker, r->host->mailcow.project,
                                     (const char *const *)conf->docker_containers.items, &now, err);
    if (rc) /* those that were there are still the best that is known */
        return rc;
    docker_containers_free(&r->containers);
    r->containers = now;
    r->has_containers = true;
    return 0;
}

static int find_endpoints(struct rollout *r, struct error *err)
{
    const struct conf_list *configured = &r->host->conf->endpoints;
    struct endpoint_https https = {r->host->mailcow.https_port, r->host->mailcow.https_proxy};
    int rc = 0;
    for (size_t i = 0; !rc && i < configured->count; i++)
        rc = endpoint_parse(configured->items[i], &r->endpoints, err);
    if (!rc && configured->count == 0)
        rc = endpoint_derive(&r->containers, &https, &r->endpoints, err);
    return rc;
}

/* As mailcow's start script reads the container's own environment. */
static bool find_sni_skipped(const struct rollout *r)
{
    for (size_t i = 0; i < r->containers.count; i++) {
        AUTO_DETAILS struct docker_details details = {0};
        struct error ignored;
        const char *skip = NULL;
        if (strcmp(r->containers.list[i].service, "postfix-mailcow") == 0 &&
            docker_inspect(r->docker, r->containers.list[i].id, &details, &ignored) == 0)
            skip = docker_env(&details, "SKIP_LETS_ENCRYPT");
        if (skip && mailcow_is_yes(skip))
            return true;
    }
    return false;
}

bool rollout_skips_sni_map(const struct rollout *r)
{
    return r->skips_sni_map;
}

int rollout_survey(struct rollout *r, struct error *err)
{
    const struct deploy_conf *conf = r->host->conf;
    int rc = docker_new(&r->docker, conf->docker_host, conf->docker_cert_path, err);
    if (!rc)
        rc = list_containers(r, err);
    if (!rc)
        rc = find_endpoints(r, err);
    if (rc < 0)
        return rc;
    r->skips_sni_map = find_sni_skipped(r);
    size_t cells = r->endpoints.count * r->question_count + 1;
    r->now = calloc(cells, sizeof *r->now);
    r->before = calloc(cells, sizeof *r->before);
    return r->now && r->before ? rollout_login_new(&r->login, r->host, &r->endpoints, r->progress, err)
                               : error_memory(err);
}

void rollout_preflight(struct rollout *r, struct finding_list *out)
{
    const struct preflight_opts opts = {
        .docker = r->has_containers ? r->docker : NULL,
        .containers = r->has_containers ? &r->containers : NULL,
        .now = time(NULL),
    };
    preflight_run(r->host, &opts, out);
}

static bool is_of(const struct docker_container *c, const struct endpoint *e)
{
    return strcmp(c->service, e->proto->service) == 0 &&
           (!e->container[0] || strcmp(c->name, e->container) == 0);
}

static bool has_state(const struct docker_container *c, const char *state)
{
    return strcmp(c->state, state) == 0;
}

/* A container that an administrator stopped or paused is nobody's breakage; one that dies over and over is.
 */
static bool is_up(const struct rollout *r, const struct endpoint *e)
{
    for (size_t i = 0; i < r->containers.count; i++) {
        const struct docker_container *c = &r->containers.list[i];
        if (is_of(c, e) && (has_state(c, "running") || has_state(c, "restarting")))
            return true;
    }
    return false;
}

/* ---- asking ---- */

struct batch {
    const struct rollout *rollout;
    struct endpoint_list endpoints;
    size_t places[ENDPOINT_MAX]; /* of the endpoints in the rollout's list */
    struct verify_expectation *expectations;
    struct asked {
        size_t question;
        size_t owner;
    } * asked; /* for each expectation */
    size_t count;
    struct verify_cell *cells;
    struct verify_result results[ENDPOINT_MAX];
};

static void batch_free(struct batch *b)
{
    if (!b)
        return;
    free(b->expectations);
    free(b->asked);
    free(b->cells);
    free(b);
}
CLEANUP_DEFINE(struct batch *, batch_free)

/* Services differ in whose leaf they are to show: one expectation for each owner that there is. */
static void expect(struct batch *b, size_t question)
{
    const struct rollout *r = b->rollout;
    size_t first = b->count;
    for (size_t s = 0; s < reload_service_count; s++) {
        size_t owner = r->owners[s * r->question_count + question], i = first;
        while (i < b->count && b->asked[i].owner != owner)
            i++;
        if (owner == r->pair_count || i < b->count)
            continue;
        b->asked[b->count] = (struct asked){.question = question, .owner = owner};
        b->expectations[b->count++] = (struct verify_expectation){.name = r->questions[question].name,
                                                                  .fingerprint = r->pairs[owner].expected};
    }
}

/* service: only its endpoints, or (not only) all but its; NULL: all. */
static struct batch *batch_new(const struct rollout *r, const char *service, bool only)
{
    struct batch *b = calloc(1, sizeof *b);
    size_t room = r->question_count * reload_service_count;
    if (!b)
        return NULL;
    b->rollout = r;
    for (size_t i = 0; i < r->endpoints.count; i++) {
        if (service && (strcmp(r->endpoints.list[i].proto->service, service) == 0) != only)
            continue;
        b->places[b->endpoints.count] = i;
        b->endpoints.list[b->endpoints.count++] = r->endpoints.list[i];
    }
    b->expectations = calloc(room, sizeof *b->expectations);
    b->asked = calloc(room, sizeof *b->asked);
    b->cells = calloc(b->endpoints.count * room + 1, sizeof *b->cells);
    if (!b->expectations || !b->asked || !b->cells) {
        batch_free(b);
        return NULL;
    }
    for (size_t q = 0; q < r->question_count; q++)
        expect(b, q);
    return b;
}

static void take_cells(struct rollout *r, const struct batch *b, struct verify_cell *cells)
{
    for (size_t i = 0; i < b->endpoints.count; i++) {
        size_t row = b->places[i] * r->question_count;
        r->results[b->places[i]] = b->results[i];
        r->results[b->places[i]].endpoint = &r->endpoints.list[b->places[i]];
        memset(&cells[row], 0, r->question_count * sizeof *cells);
        for (size_t e = 0; e < b->count; e++)
            if (b->cells[i * b->count + e].applies)
                cells[row + b->asked[e].question] = b->cells[i * b->count + e];
    }
}

static bool applies(void *ctx, const struct endpoint *endpoint, size_t expectation)
{
    const struct batch *b = ctx;
    const struct asked *asked = &b->asked[expectation];
    return owner_of(b->rollout, endpoint, asked->question) == asked->owner;
}

static void tell(const struct rollout *r, const struct verify_result *v)
{
    char name[ENDPOINT_NAME_SIZE];
    endpoint_name(name, v->endpoint);
    if (v->state == VERIFY_SERVED)
        progress_say(r->progress, "verified endpoint=%s address=%s handshakes=%u us=%lld", name, v->address,
                     v->probes, (long long)v->us);
    else
        progress_say(r->progress, "not-verified endpoint=%s address=%s us=%lld: %s: %s", name,
                     v->address[0] ? v->address : "-", (long long)v->us, verify_state_str(v->state),
                     v->detail);
}

static void on_verified(void *ctx, const struct verify_result *v)
{
    const struct batch *b = ctx;
    tell(b->rollout, v);
}

/* As verify_run. once: a look, told to nobody. */
static int ask_batch(struct rollout *r, struct batch *b, bool once, struct error *err)
{
    if (!b->endpoints.count)
        return error_set(err, E_FAILED,
                         "no endpoint to verify: mailcow publishes no port; set endpoints in [verify]");
    if (!b->count)
        return error_set(err, E_FAILED, "nothing is installed yet");
    const struct verify_opts opts = {
        .endpoints = &b->endpoints,
        .expectations = b->expectations,
        .expectation_count = b->count,
        .out_cells = b->cells,
        .timeout_ms = (int)r->host->conf->verify_timeout * 1000,
        .once = once,
        .applies = applies,
        .on_result = once ? NULL : on_verified,
        .ctx = b,
    };
    return verify_run(&opts, b->results, err);
}

/* Asks the endpoints of batch_new. 0: all serve what they should; 1: not all; or an error: they were not
 * asked, and cells are as before. */
static int ask_endpoints(struct rollout *r, const char *service, bool only, bool once,
                         struct verify_cell *cells, struct error *err)
{
    find_owners(r);
    CLEANUP(batch_freep) struct batch *b = batch_new(r, service, only);
    if (!b)
        return error_memory(err);
    if (!b->endpoints.count && r->endpoints.count)
        return 0;
    int rc = ask_batch(r, b, once, err);
    if (rc >= 0)
        take_cells(r, b, cells);
    return rc;
}

static bool ask(struct rollout *r, const char *service, bool only, bool once, struct verify_cell *cells)
{
    struct error err;
    int rc = ask_endpoints(r, service, only, once, cells, &err);
    if (rc < 0 && !once)
        outcome_worsen(&r->outcome, outcome_of_error(&err), "verify: %s", err.text);
    return rc == 0;
}

/* ---- before ---- */

static const struct verify_cell *row_of(const struct rollout *r, const struct verify_cell *cells,
                                        size_t endpoint)
{
    return &cells[endpoint * r->question_count];
}

void rollout_look_before(struct rollout *r)
{
    struct error ignored; /* with nothing installed, nothing can break */
    if (r->has_before)
        return;
    r->has_before = ask_endpoints(r, NULL, true, true, r->before, &ignored) >= 0;
    rollout_login_before(r->login, primary_expected(r));
}

#define UNRESOLVED "/unresolved "
#define NOTE_SIZE  (ENDPOINT_LISTENER_SIZE + sizeof UNRESOLVED)

/* What is stable over a crash: protocol and container, or address; with what follows it in the list. */
static const char *note(const struct endpoint *e, enum verify_state state, char *out)
{
    endpoint_listener(out, e);
    return strcat(out, verify_asked(state) ? " " : UNRESOLVED);
}

/* VERIFY_SERVED unless one of its names did not complete a handshake. */
static enum verify_state state_before(const struct rollout *r, size_t endpoint)
{
    const struct verify_cell *row = row_of(r, r->before, endpoint);
    for (size_t q = 0; q < r->question_count; q++)
        if (row[q].applies && !verify_completed(row[q].state))
            return row[q].state;
    return VERIFY_SERVED;
}

void rollout_down_before(const struct rollout *r, char *out, size_t size)
{
    char text[NOTE_SIZE];
    snprintf(out, size, "%s", r->has_before ? "" : "?");
    for (size_t i = 0; r->has_before && i < r->endpoints.count; i++) {
        size_t n = strlen(out);
        enum verify_state state = state_before(r, i);
        if (state == VERIFY_SERVED)
            continue;
        if (n + strlen(note(&r->endpoints.list[i], state, text)) >= size) {
            snprintf(out, size, "?"); /* half the list would accuse the other half */
            return;
        }
        strcpy(out + n, text);
    }
    if (r->has_before)
        rollout_login_note(r->login, out, size);
}

static enum verify_state recall_state(const struct endpoint *e, const char *down_before)
{
    static const enum verify_state noted[] = {VERIFY_UNREACHABLE, VERIFY_UNRESOLVED};
    char text[NOTE_SIZE];
    for (size_t i = 0; i < sizeof noted / sizeof *noted; i++)
        if (strstr(down_before, note(e, noted[i], text)))
            return noted[i];
    return VERIFY_SERVED;
}

void rollout_recall_before(struct rollout *r, const char *down_before)
{
    r->has_before = strcmp(down_before, "?") != 0;
    for (size_t i = 0; i < r->endpoints.count; i++) {
        enum verify_state state = recall_state(&r->endpoints.list[i], down_before);
        for (size_t q = 0; q < r->question_count; q++)
            r->before[i * r->question_count + q] = (struct verify_cell){.applies = true, .state = state};
    }
    rollout_login_recall(r->login, down_before);
}

/* ---- judging what was seen ---- */

#define ALL_SERVICES ~0U

static unsigned service_bit(const char *service)
{
    return 1U << reload_service_index(service);
}

static bool is_broken_cell(const struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_cell *before = &row_of(r, r->before, endpoint)[question];
    const struct verify_cell *now = &row_of(r, r->now, endpoint)[question];
    return !r->repeats && r->has_before && before->applies && verify_completed(before->state) &&
           now->applies && verify_asked(now->state) && !verify_completed(now->state) &&
           is_up(r, &r->endpoints.list[endpoint]);
}

static void describe_broken(struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_result *v = &r->results[endpoint];
    const char *name = r->questions[question].name;
    char endpoint_shown[ENDPOINT_NAME_SIZE];
    snprintf(r->broken_text, sizeof r->broken_text, "%s at %s worked before and does not any more (%s%s): %s",
             endpoint_name(endpoint_shown, v->endpoint), v->address[0] ? v->address : "-",
             name ? "name " : "no name", name ? name : "", v->detail);
}

/* silent: the services, as bits, of which also what does not answer at all is broken. */
static bool find_broken(struct rollout *r, unsigned silent)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        for (size_t q = 0; q < r->question_count; q++) {
            bool is_silent = r->now[i * r->question_count + q].state == VERIFY_UNREACHABLE;
            if (!is_broken_cell(r, i, q) ||
                (is_silent && !(silent & service_bit(r->endpoints.list[i].proto->service))))
                continue;
            describe_broken(r, i, q);
            return true;
        }
    return false;
}

/* A name of a folder that goes stays its concern until others serve it. */
static bool concerns(const struct rollout *r, size_t pair, size_t endpoint, size_t question)
{
    const struct pair *p = &r->pairs[pair];
    return p->is_removed ? has_name(r, p->want, question)
                         : owner_of(r, &r->endpoints.list[endpoint], question) == pair;
}

bool rollout_broke(const struct rollout *r, size_t pair)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        for (size_t q = 0; q < r->question_count; q++)
            if (is_broken_cell(r, i, q) && concerns(r, pair, i, q))
                return true;
    return false;
}

bool rollout_lacks(const struct rollout *r, size_t pair)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        for (size_t q = 0; q < r->question_count; q++)
            if (row_of(r, r->now, i)[q].applies && row_of(r, r->now, i)[q].state == VERIFY_STALE &&
                concerns(r, pair, i, q))
                return true;
    return false;
}

const char *rollout_broken_text(const struct rollout *r)
{
    return r->broken_text;
}

/* ---- reload ---- */

static bool is_forbidden(const struct rollout *r, const char *service)
{
    return r->forbidden & service_bit(service);
}

/* A service that does not run cannot be verified, so it counts. */
static void on_missing(struct rollout *r, const struct reload_step *step)
{
    progress_say(r->progress, "not-reloaded service=%s container=%s: %s", step->service,
                 step->container ? step->container : "-", step->detail);
    if (!step->tolerated)
        outcome_worsen(&r->outcome, OUTCOME_FAILED, "service %s is %s: %s", step->service,
                       reload_outcome_str(step->outcome), step->detail);
}

/* A command's failure is only told: the wire says whether it mattered. */
static void on_reload(void *ctx, const struct reload_step *step)
{
    struct rollout *r = ctx;
    if (step->outcome == RELOAD_ABSENT || step->outcome == RELOAD_NOT_RUNNING) {
        on_missing(r, step);
        return;
    }
    if (step->outcome == RELOAD_FORBIDDEN)
        r->forbidden |= service_bit(step->service);
    bool done = step->outcome == RELOAD_DONE;
    r->is_nginx_old = r->is_nginx_old || (!done && strcmp(step->service, NGINX) == 0);
    progress_say(r->progress, "%s service=%s container=%s command=%s us=%lld%s%s",
                 done ? "reloaded" : "not-reloaded", step->service, step->container, step->command,
                 (long long)step->us, done ? "" : ": ", done ? "" : step->detail);
}

static int reload(struct rollout *r, struct docker *docker, enum reload_level level, const char *service)
{
    struct error err = {0};
    struct reload_opts opts = {
        .level = level,
        .service = service,
        .optional = (const char *const *)r->host->conf->optional.items,
        .on_step = on_reload,
        .ctx = r,
    };
    int rc = docker ? reload_run(docker, &r->containers, &opts, &err) : reload_look(&r->containers, &opts);
    if (rc < 0) {
        r->is_engine_lost = true;
        outcome_worsen(&r->outcome, outcome_of_error(&err), "reload: %s", err.text);
    }
    return rc;
}

/* NULL: nobody's leaf is expected there. */
static const struct pair *owning_pair(const struct rollout *r, size_t endpoint, size_t question)
{
    size_t owner = owner_of(r, &r->endpoints.list[endpoint], question);
    return owner < r->pair_count ? &r->pairs[owner] : NULL;
}

/* Whether an endpoint that does not answer may have done so before: nobody knows where nobody has looked. */
static bool may_have_worked(const struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_cell *before = &row_of(r, r->before, endpoint)[question];
    const struct pair *owner = owning_pair(r, endpoint, question);
    if (owner && owner->before == STORE_SERVED)
        return true;
    if (!r->has_before || !verify_asked(before->state))
        return !r->repeats;
    return !before->applies || verify_completed(before->state);
}

/* Whether a reload may help this endpoint: another pair may be there than the one with which no TLS came
 * about. */
static bool needs_reload(const struct rollout *r, size_t endpoint)
{
    for (size_t q = 0; q < r->question_count; q++) {
        const struct verify_cell *cell = &row_of(r, r->now, endpoint)[q];
        if (!cell->applies || cell->state == VERIFY_SERVED || !verify_asked(cell->state))
            continue;
        if (cell->state == VERIFY_STALE || cell->state == VERIFY_HANDSHAKE || may_have_worked(r, endpoint, q))
            return true;
    }
    return false;
}

static bool service_needs_reload(const struct rollout *r, const char *service)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        if (strcmp(r->endpoints.list[i].proto->service, service) == 0 && needs_reload(r, i))
            return true;
    return false;
}

/* In a run that repeats, a service that needs none is only looked at. */
static int reload_service(struct rollout *r, enum reload_level level, const char *service)
{
    return reload(r, r->repeats && !service_needs_reload(r, service) ? NULL : r->docker, level, service);
}

/*
 * Postfix comes after Dovecot has been seen to work with the new configuration: a new smtpd asks Dovecot for
 * its SASL mechanisms first of all, hangs on one that is just reloading, and its master then starts no other
 * for a minute.
 */
static void reload_all(struct rollout *r, enum reload_level level)
{
    r->forbidden = 0;
    if (reload_service(r, level, NGINX) < 0 || reload_service(r, level, DOVECOT) < 0)
        return;
    if (!is_forbidden(r, DOVECOT))
        ask(r, DOVECOT, true, false, r->now);
    reload_service(r, level, POSTFIX);
}

bool rollout_look(struct rollout *r)
{
    reload(r, NULL, RELOAD_PRIMARY, NULL);
    if (!ask(r, NULL, true, true, r->now) || r->outcome.result > OUTCOME_UNCHANGED)
        return false;
    for (size_t i = 0; i < r->endpoints.count; i++)
        tell(r, &r->results[i]);
    return true;
}

/* ---- the ladder ---- */

/* Whether another leaf may be one that the container remembers: that of another folder is a matter of names,
 * and one that was started since the installation has read what is there. started: 0 when nobody can tell. */
static bool may_remember(const struct rollout *r, size_t endpoint, size_t question, int64_t started)
{
    const struct pair *owner = owning_pair(r, endpoint, question);
    const struct verify_cell *cell = &row_of(r, r->now, endpoint)[question];
    return owner && !mailcow_holds(r->host->ssl_fd, cell->fingerprint) &&
           started <= mailcow_changed_at(r->host->ssl_fd, owner->want->id);
}

/* Whether a restart may help this endpoint: whom Dovecot trusts is a matter of its configuration. */
static bool needs_restart(const struct rollout *r, size_t endpoint, int64_t started)
{
    for (size_t q = 0; q < r->question_count; q++) {
        const struct verify_cell *cell = &row_of(r, r->now, endpoint)[q];
        if (!cell->applies || cell->state == VERIFY_SERVED || cell->state == VERIFY_DISTRUSTED ||
            !verify_asked(cell->state))
            continue;
        if (cell->state == VERIFY_STALE ? may_remember(r, endpoint, q, started)
                                        : may_have_worked(r, endpoint, q))
            return true;
    }
    return false;
}

static int64_t start_ms(const struct rollout *r)
{
    return r->host->conf->start_timeout * 1000;
}

static int64_t started_at(const struct rollout *r, const struct docker_container *c)
{
    AUTO_DETAILS struct docker_details details = {0};
    struct error ignored;
    int rc = docker_inspect(r->docker, c->id, &details, &ignored);
    return rc || details.started > time(NULL) ? 0 : details.started; /* the clock may have been ahead */
}

/* Whether a service does not answer where it may have done so before. */
static bool is_silent(const struct rollout *r, const char *service)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        for (size_t q = 0; q < r->question_count; q++) {
            const struct verify_cell *cell = &row_of(r, r->now, i)[q];
            if (strcmp(r->endpoints.list[i].proto->service, service) == 0 && cell->applies &&
                cell->state == VERIFY_UNREACHABLE && may_have_worked(r, i, q))
                return true;
        }
    return false;
}

static bool has_running(const struct rollout *r, const char *service)
{
    for (size_t i = 0; i < r->containers.count; i++)
        if (strcmp(r->containers.list[i].service, service) == 0 &&
            has_state(&r->containers.list[i], "running"))
            return true;
    return false;
}

/* A container that runs may not serve for minutes yet: its start script waits for database and DNS. A client
 * hears of it at least every ten seconds. */
static void await_answer(struct rollout *r, const char *service, int64_t deadline)
{
    struct error ignored;
    int64_t next = 0;
    while (is_silent(r, service) && clock_ms() < deadline) {
        if (clock_ms() >= next) {
            if (list_containers(r, &ignored) == 0 && !has_running(r, service))
                break;
            progress_say(
                r->progress,
                "waiting service=%s: it, or what it needs, was just started, and it does not answer yet",
                service);
            next = clock_ms() + WAIT_MS;
        }
        poll(NULL, 0, PAUSE_MS);
        ask(r, service, true, true, r->now);
    }
}

static void await_start(struct rollout *r, const char *service)
{
    ask(r, service, true, true, r->now);
    await_answer(r, service, clock_ms() + start_ms(r));
}

/* Of its containers the youngest; in the clock of clock_ms. */
static int64_t start_deadline(const struct rollout *r, const char *service)
{
    int64_t youngest = 0;
    for (size_t i = 0; i < r->containers.count; i++) {
        const struct docker_container *c = &r->containers.list[i];
        int64_t started = strcmp(c->service, service) == 0 && has_state(c, "running") ? started_at(r, c) : 0;
        youngest = started > youngest ? started : youngest;
    }
    return clock_ms() + (youngest - time(NULL)) * 1000 + start_ms(r);
}

/* True when it did not answer before its turn: by now it may, and if it was just started it is waited for. */
static bool await_young(struct rollout *r, const char *service)
{
    if (!is_silent(r, service))
        return false;
    ask(r, service, true, true, r->now);
    await_answer(r, service, start_deadline(r, service));
    return true;
}

static bool container_needs_restart(const struct rollout *r, const struct docker_container *c)
{
    int64_t started = started_at(r, c);
    for (size_t i = 0; i < r->endpoints.count; i++)
        if (is_of(c, &r->endpoints.list[i]) && needs_restart(r, i, started))
            return true;
    return false;
}

/* Waits until it works again, and says so: a client hears of it at least every ten seconds. */
static int wait_healthy(struct rollout *r, const struct docker_container *c, struct error *err)
{
    int64_t deadline = clock_ms() + start_ms(r);
    for (;;) {
        int64_t start = clock_ms();
        int rc = docker_wait_running(r->docker, c->id, WAIT_MS, err);
        bool waited = clock_ms() - start >= WAIT_MS;
        if (rc != E_FAILED || !waited || clock_ms() >= deadline)
            return rc > 0 ? 0 : rc; /* who may not look at it asks the wire */
        progress_say(r->progress, "waiting service=%s container=%s: %s", c->service, c->name, err->text);
    }
}

static bool restart(struct rollout *r, const struct docker_container *c)
{
    struct error err = {0};
    int64_t start = clock_us();
    int rc = docker_restart(r->docker, c->id, RESTART_MS, &err);
    if (!rc)
        rc = wait_healthy(r, c, &err);
    if (rc < 0) {
        progress_say(r->progress, "not-restarted service=%s container=%s us=%lld: %s", c->service, c->name,
                     (long long)(clock_us() - start), err.text);
        r->is_engine_lost = r->is_engine_lost || err.code == E_TEMPORARY;
        outcome_worsen(&r->outcome, outcome_of_error(&err), "%s", err.text);
        return false;
    }
    progress_say(r->progress, "restarted service=%s container=%s us=%lld", c->service, c->name,
                 (long long)(clock_us() - start));
    r->is_nginx_old = r->is_nginx_old && strcmp(c->service, NGINX) != 0;
    return true;
}

/*
 * Dovecot comes before Postfix, which needs its SASL, and nginx last, after Dovecot has been seen to work
 * again: every login of Dovecot's goes through nginx, so the two are never away at once.
 */
static const char *const ladder[] = {DOVECOT, POSTFIX, NGINX};

static bool answers(const struct rollout *r, const struct docker_container *c)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        for (size_t q = 0; is_of(c, &r->endpoints.list[i]) && q < r->question_count; q++) {
            const struct verify_cell *cell = &row_of(r, r->now, i)[q];
            if (cell->applies && verify_completed(cell->state))
                return true;
        }
    return false;
}

/* What works is not restarted into a configuration that it would not come back with. */
static bool may_restart(struct rollout *r, const struct docker_container *c)
{
    struct error err;
    if (!answers(r, c) || reload_check(r->docker, c, &err) == 0)
        return true;
    progress_say(r->progress, "not-restarted service=%s container=%s us=0: %s", c->service, c->name,
                 err.text);
    outcome_worsen(&r->outcome, OUTCOME_FAILED,
                   "container %s is not restarted, for it would not come back: %s", c->name, err.text);
    return false;
}

/* Restarts what of the service has to be, all: whether or not it serves what it should; false when it did not
 * come back. */
static bool climb(struct rollout *r, const char *service, bool all)
{
    bool any = !all && await_young(r, service);
    bool good = true, restarted = false;
    unsigned asked = service_bit(service);
    for (size_t i = 0; good && i < r->containers.count; i++) {
        const struct docker_container *c = &r->containers.list[i];
        if (strcmp(c->service, service) != 0 || !has_state(c, "running") ||
            (!all && (!container_needs_restart(r, c) || !may_restart(r, c))))
            continue;
        restarted = any = true;
        good = restart(r, c);
    }
    if (restarted && good)
        await_start(r, service);
    if (any)
        ask(r, service, true, false, r->now);
    if (any && strcmp(service, DOVECOT) == 0 && !is_forbidden(r, POSTFIX)) {
        reload(r, r->docker, RELOAD_PRIMARY, POSTFIX); /* its smtpd have missed Dovecot's SASL */
        await_start(r, POSTFIX);
        ask(r, POSTFIX, true, false, r->now);
        asked |= service_bit(POSTFIX);
    }
    /* The others have not had their turn. */
    return good && (!any || !find_broken(r, asked));
}

/* What was seen is to be understood by how the containers are now: without it a later deployment decides. */
static bool look_at_containers(struct rollout *r)
{
    struct error err = {0};
    if (list_containers(r, &err) == 0)
        return true;
    r->is_engine_lost = true;
    outcome_worsen(&r->outcome, OUTCOME_PENDING, "%s", err.text);
    return false;
}

/* Services that take no command are restarted without waiting for them to show the old leaf, if anything is
 * new. */
static bool restart_forbidden(struct rollout *r)
{
    for (size_t i = 0; i < sizeof ladder / sizeof *ladder; i++)
        if (is_forbidden(r, ladder[i]) && !climb(r, ladder[i], !r->repeats))
            return false;
    return true;
}

static bool is_served(const struct rollout *r)
{
    for (size_t i = 0; i < r->endpoints.count; i++)
        if (!r->results[i].endpoint || r->results[i].state != VERIFY_SERVED)
            return false;
    return true;
}

static enum rollout_result bring_up(struct rollout *r, enum reload_level level)
{
    r->is_nginx_old = false;
    reload_all(r, level);
    if (!restart_forbidden(r)) { /* what cannot be restarted still shows the old leaf, and works */
        ask(r, NULL, true, true, r->now);
        return find_broken(r, ALL_SERVICES) ? ROLLOUT_BROKEN : ROLLOUT_SHORT;
    }
    if (ask(r, DOVECOT, false, false, r->now) && is_served(r))
        return r->outcome.result > OUTCOME_DEPLOYED ? ROLLOUT_SHORT : ROLLOUT_SERVED;
    if (!look_at_containers(r))
        return ROLLOUT_SHORT;
    if (find_broken(r, 0))
        return ROLLOUT_BROKEN;
    if (r->is_engine_lost) /* who was not told to reload needs no restart */
        return ROLLOUT_SHORT;
    for (size_t i = 0; i < sizeof ladder / sizeof *ladder; i++)
        if (!climb(r, ladder[i], false))
            return find_broken(r, ALL_SERVICES) ? ROLLOUT_BROKEN : ROLLOUT_SHORT;
    if (!look_at_containers(r))
        return ROLLOUT_SHORT;
    if (find_broken(r, ALL_SERVICES))
        return ROLLOUT_BROKEN;
    if (!is_served(r))
        return ROLLOUT_SHORT;
    return r->outcome.result > OUTCOME_DEPLOYED ? ROLLOUT_SHORT : ROLLOUT_SERVED;
}

enum rollout_result rollout_run(struct rollout *r, enum reload_level level, bool repeats)
{
    r->repeats = repeats;
    r->is_engine_lost = false;
    r->outcome = (struct outcome){.result = OUTCOME_UNCHANGED};
    enum rollout_result result = bring_up(r, level);
    if (result != ROLLOUT_BROKEN && !r->is_engine_lost &&
        rollout_login_broke(r->login, primary_expected(r), r->broken_text, sizeof r->broken_text))
        result = ROLLOUT_BROKEN;
    return result;
}

/* ---- results ---- */

bool rollout_lost_engine(const struct rollout *r)
{
    return r->is_engine_lost;
}

const struct outcome *rollout_outcome(const struct rollout *r)
{
    return &r->outcome;
}

bool rollout_may_use(const struct rollout *r, const char *leaf)
{
    bool may = r->is_engine_lost || r->is_nginx_old || !r->endpoints.count;
    for (size_t i = 0; !may && i < r->endpoints.count; i++) {
        const struct verify_cell *row = row_of(r, r->now, i);
        may = !r->results[i].endpoint;
        for (size_t q = 0; !may && q < r->question_count; q++)
            may = row[q].applies && (!verify_asked(row[q].state) ||
                                     (row[q].state == VERIFY_STALE && strcmp(row[q].fingerprint, leaf) == 0));
    }
    return may;
}

static size_t short_question(const struct rollout *r, size_t endpoint, size_t pair)
{
    const struct verify_cell *row = row_of(r, r->now, endpoint);
    size_t q = 0;
    for (; q < r->question_count; q++)
        if (row[q].applies && row[q].state != VERIFY_SERVED && concerns(r, pair, endpoint, q))
            break;
    return q;
}

bool rollout_want(const struct rollout *r, size_t pair, struct outcome *out)
{
    size_t missing = 0;
    const char *unresolved = NULL;
    for (size_t i = 0; i < r->endpoints.count; i++) {
        size_t q = short_question(r, i, pair);
        if (q == r->question_count)
            continue;
        missing++;
        if (!unresolved && !verify_asked(row_of(r, r->now, i)[q].state))
            unresolved = r->results[i].detail;
    }
    if (missing)
        outcome_worsen(out, r->is_engine_lost ? OUTCOME_PENDING : OUTCOME_FAILED,
                       "%zu of %zu endpoints do not serve it%s%s", missing, r->endpoints.count,
                       unresolved ? ": " : "", unresolved ? unresolved : "");
    return !missing && r->endpoints.count;
}

bool rollout_see(const struct rollout *r, size_t pair, size_t endpoint, struct rollout_seen *out)
{
    const struct verify_cell *row = r->now, *worst = NULL;
    if (!row || endpoint >= r->endpoints.count || !r->results[endpoint].endpoint)
        return false;
    row = row_of(r, row, endpoint);
    for (size_t q = 0; q < r->question_count; q++)
        if (row[q].applies && concerns(r, pair, endpoint, q) && (!worst || row[q].state > worst->state))
            worst = &row[q];
    *out = (struct rollout_seen){.result = &r->results[endpoint], .cell = worst};
    return worst;
}

const struct verify_result *rollout_endpoints(const struct rollout *r, size_t *out_count, size_t *out_served)
{
    *out_count = *out_served = 0;
    for (size_t i = 0; i < r->endpoints.count; i++) {
        *out_count += r->results[i].endpoint != NULL;
        *out_served += r->results[i].endpoint && r->results[i].state == VERIFY_SERVED;
    }
    return r->results;
}
