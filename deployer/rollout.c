#include "deployer/rollout.h"
#include "common/clock.h"
#include "deployer/preflight.h"
#include "deployer/rollout_login.h"
#include "deployer/rollout_wire.h"

#include <poll.h>
#include <string.h>

#define WAIT_MS    10000
#define PAUSE_MS   1000
#define RESTART_MS 60000

struct rollout {
    const struct mailhost *host;
    const struct progress *progress;
    struct docker *docker;
    struct docker_containers containers;
    bool has_containers;
    struct rollout_wire wire;
    struct rollout_login *login;
    /* of the last run */
    int64_t begun_ms;
    bool is_engine_lost;
    bool repeats;
    /* bit i: reload_services[i] … */
    unsigned forbidden; /* takes no command, only a restart */
    unsigned restarted; /* was restarted by this run */
    bool is_nginx_old;  /* a command failed in it: it may have its configuration from before */
    char broken_text[400];
    struct outcome outcome;
};

int rollout_new(struct rollout **out, const struct mailhost *host, const struct pair *pairs,
                size_t pair_count, const struct progress *progress, struct error *err)
{
    AUTO_ROLLOUT struct rollout *r = calloc(1, sizeof *r);
    if (!r)
        return error_memory(err);
    r->host = host;
    r->progress = progress;
    int rc = rollout_wire_init(&r->wire, host, pairs, pair_count, progress, err);
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
    rollout_wire_release(&r->wire);
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

/* As mailcow's start script reads the container's own environment. */
static bool find_sni_skipped(const struct rollout *r)
{
    for (size_t i = 0; i < r->containers.count; i++) {
        AUTO_DETAILS struct docker_details details = {0};
        struct error ignored;
        const char *skip = NULL;
        if (strcmp(r->containers.list[i].service, MAILCOW_POSTFIX) == 0 &&
            docker_inspect(r->docker, r->containers.list[i].id, &details, &ignored) == 0)
            skip = docker_env(&details, "SKIP_LETS_ENCRYPT");
        if (skip && mailcow_is_yes(skip))
            return true;
    }
    return false;
}

bool rollout_skips_sni_map(const struct rollout *r)
{
    return r->wire.skips_sni_map;
}

int rollout_survey(struct rollout *r, struct error *err)
{
    const struct deploy_conf *conf = r->host->conf;
    int rc = docker_new(&r->docker, conf->docker_host, conf->docker_cert_path, err);
    if (!rc)
        rc = list_containers(r, err);
    if (!rc)
        rc = rollout_wire_find_endpoints(&r->wire, &r->containers, err);
    if (rc < 0)
        return rc;
    r->wire.skips_sni_map = find_sni_skipped(r);
    return rollout_login_new(&r->login, r->host, &r->wire.endpoints, r->progress, err);
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

/* ---- before ---- */

void rollout_look_before(struct rollout *r)
{
    if (r->wire.has_before)
        return;
    rollout_wire_look_before(&r->wire);
    rollout_login_before(r->login, rollout_wire_primary(&r->wire));
}

void rollout_down_before(const struct rollout *r, char *out, size_t size)
{
    rollout_wire_down_before(&r->wire, out, size);
    if (strcmp(out, STORE_DOWN_UNKNOWN) != 0)
        rollout_login_note(r->login, out, size);
}

void rollout_recall_before(struct rollout *r, const char *down_before)
{
    if (strcmp(down_before, STORE_DOWN_UNKNOWN) == 0)
        return;
    rollout_login_recall(r->login, down_before, r->wire.has_before);
    rollout_wire_recall_before(&r->wire, down_before);
}

/* ---- judging what was seen ---- */

static bool ask(struct rollout *r, const char *service, bool only, bool once)
{
    struct error err;
    int rc = rollout_wire_ask(&r->wire, service, only, once, &err);
    if (rc < 0 && !once)
        outcome_worsen(&r->outcome, outcome_of_error(&err), "verify: %s", err.text);
    return rc == 0;
}

#define ALL_SERVICES ~0U

static unsigned service_bit(const char *service)
{
    return 1U << reload_service_index(service);
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

/* When the run began, or since: what it was seen to do was that of one that starts. */
static bool was_young(const struct rollout *r, const char *service)
{
    return (r->restarted & service_bit(service)) || r->begun_ms < start_deadline(r, service);
}

/* Nothing was heard of it, as of one that is starting: for such a one Docker's proxy accepts, and hangs up.
 */
static bool is_silent_cell(const struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_cell *cell = rollout_wire_now(&r->wire, endpoint, question);
    if (!cell->applies || verify_completed(cell->state) || !verify_asked(cell->state))
        return false;
    return cell->state == VERIFY_UNREACHABLE ||
           (!cell->heard && was_young(r, r->wire.endpoints.list[endpoint].proto->service));
}

static bool is_broken_cell(const struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_cell *before = rollout_wire_before(&r->wire, endpoint, question);
    const struct verify_cell *now = rollout_wire_now(&r->wire, endpoint, question);
    return !r->repeats && r->wire.has_before && before->applies && verify_completed(before->state) &&
           now->applies && verify_asked(now->state) && !verify_completed(now->state) &&
           is_up(r, &r->wire.endpoints.list[endpoint]);
}

static void describe_broken(struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_result *v = &r->wire.results[endpoint];
    const char *name = r->wire.questions[question].name;
    char endpoint_shown[ENDPOINT_NAME_SIZE];
    snprintf(r->broken_text, sizeof r->broken_text, "%s at %s worked before and does not any more (%s%s): %s",
             endpoint_name(endpoint_shown, v->endpoint), v->address[0] ? v->address : "-",
             name ? "name " : "no name", name ? name : "", v->detail);
}

/* services: as bits, those that are looked at; silent: of which also what does not answer at all is broken.
 */
static bool find_broken(struct rollout *r, unsigned services, unsigned silent)
{
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        for (size_t q = 0; q < r->wire.question_count; q++) {
            unsigned bit = service_bit(r->wire.endpoints.list[i].proto->service);
            if (!(services & bit) || !is_broken_cell(r, i, q) || (!(silent & bit) && is_silent_cell(r, i, q)))
                continue;
            describe_broken(r, i, q);
            return true;
        }
    return false;
}

bool rollout_broke(const struct rollout *r, size_t pair)
{
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        for (size_t q = 0; q < r->wire.question_count; q++)
            if (is_broken_cell(r, i, q) && rollout_wire_concerns(&r->wire, pair, i, q))
                return true;
    return false;
}

bool rollout_lacks(const struct rollout *r, size_t pair)
{
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        for (size_t q = 0; q < r->wire.question_count; q++) {
            const struct verify_cell *cell = rollout_wire_now(&r->wire, i, q);
            if (cell->applies && cell->state == VERIFY_STALE && rollout_wire_concerns(&r->wire, pair, i, q))
                return true;
        }
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
    r->is_nginx_old = r->is_nginx_old || (!done && strcmp(step->service, MAILCOW_NGINX) == 0);
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

/* Whether an endpoint that does not answer may have done so before: nobody knows where nobody has looked. */
static bool may_have_worked(const struct rollout *r, size_t endpoint, size_t question)
{
    const struct verify_cell *before = rollout_wire_before(&r->wire, endpoint, question);
    const struct pair *owner = rollout_wire_owner(&r->wire, endpoint, question);
    if (owner && owner->before == STORE_SERVED)
        return true;
    if (!r->wire.has_before || !verify_asked(before->state))
        return !r->repeats;
    return !before->applies || verify_completed(before->state);
}

/* Whether a reload may help this endpoint: another pair may be there than the one with which no TLS came
 * about. */
static bool needs_reload(const struct rollout *r, size_t endpoint)
{
    for (size_t q = 0; q < r->wire.question_count; q++) {
        const struct verify_cell *cell = rollout_wire_now(&r->wire, endpoint, q);
        if (!cell->applies || cell->state == VERIFY_SERVED || !verify_asked(cell->state))
            continue;
        if (cell->state == VERIFY_STALE || cell->state == VERIFY_HANDSHAKE || may_have_worked(r, endpoint, q))
            return true;
    }
    return false;
}

static bool service_needs_reload(const struct rollout *r, const char *service)
{
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        if (strcmp(r->wire.endpoints.list[i].proto->service, service) == 0 && needs_reload(r, i))
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
    if (reload_service(r, level, MAILCOW_NGINX) < 0 || reload_service(r, level, MAILCOW_DOVECOT) < 0)
        return;
    if (!is_forbidden(r, MAILCOW_DOVECOT))
        ask(r, MAILCOW_DOVECOT, true, false);
    reload_service(r, level, MAILCOW_POSTFIX);
}

bool rollout_look(struct rollout *r)
{
    reload(r, NULL, RELOAD_PRIMARY, NULL);
    if (!ask(r, NULL, true, true) || r->outcome.result > OUTCOME_UNCHANGED)
        return false;
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        rollout_wire_tell(&r->wire, i);
    return true;
}

/* ---- the ladder ---- */

/* Whether another leaf may be one that the container remembers: that of another folder is a matter of names,
 * and one that was started since the installation has read what is there. started: 0 when nobody can tell. */
static bool may_remember(const struct rollout *r, size_t endpoint, size_t question, int64_t started)
{
    const struct pair *owner = rollout_wire_owner(&r->wire, endpoint, question);
    const struct verify_cell *cell = rollout_wire_now(&r->wire, endpoint, question);
    return owner && !mailcow_holds(r->host->ssl_fd, cell->fingerprint) &&
           started <= mailcow_changed_at(r->host->ssl_fd, owner->want->id);
}

/* Whether a restart may help this endpoint: whom Dovecot trusts is a matter of its configuration. */
static bool needs_restart(const struct rollout *r, size_t endpoint, int64_t started)
{
    for (size_t q = 0; q < r->wire.question_count; q++) {
        const struct verify_cell *cell = rollout_wire_now(&r->wire, endpoint, q);
        if (!cell->applies || cell->state == VERIFY_SERVED || cell->state == VERIFY_DISTRUSTED ||
            !verify_asked(cell->state))
            continue;
        if (cell->state == VERIFY_STALE ? may_remember(r, endpoint, q, started)
                                        : may_have_worked(r, endpoint, q))
            return true;
    }
    return false;
}

/* Whether a service does not answer where it may have done so before. */
static bool is_silent(const struct rollout *r, const char *service)
{
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        for (size_t q = 0; q < r->wire.question_count; q++)
            if (strcmp(r->wire.endpoints.list[i].proto->service, service) == 0 && is_silent_cell(r, i, q) &&
                may_have_worked(r, i, q))
                return true;
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
        ask(r, service, true, true);
    }
}

static void await_start(struct rollout *r, const char *service)
{
    ask(r, service, true, true);
    await_answer(r, service, clock_ms() + start_ms(r));
}

/* True when it did not answer before its turn: by now it may, and if it was just started it is waited for. */
static bool await_young(struct rollout *r, const char *service)
{
    if (!is_silent(r, service))
        return false;
    ask(r, service, true, true);
    await_answer(r, service, start_deadline(r, service));
    return true;
}

static bool container_needs_restart(const struct rollout *r, const struct docker_container *c)
{
    int64_t started = started_at(r, c);
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        if (is_of(c, &r->wire.endpoints.list[i]) && needs_restart(r, i, started))
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
        bool is_gone = clock_ms() - start < WAIT_MS / 2;
        if (rc != E_FAILED || is_gone || clock_ms() >= deadline)
            return rc > 0 ? 0 : rc; /* who may not look at it asks the wire */
        progress_say(r->progress, "waiting service=%s container=%s: %s", c->service, c->name, err->text);
    }
}

static bool restart(struct rollout *r, const struct docker_container *c)
{
    struct error err = {0};
    int64_t start = clock_us();
    int rc = docker_restart(r->docker, c->id, RESTART_MS, &err);
    if (rc == E_FAILED) /* it may have been stopped, and not been started again */
        rc = docker_restart(r->docker, c->id, RESTART_MS, &err);
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
    r->is_nginx_old = r->is_nginx_old && strcmp(c->service, MAILCOW_NGINX) != 0;
    r->restarted |= service_bit(c->service);
    return true;
}

/*
 * Dovecot comes before Postfix, which needs its SASL, and nginx last, after Dovecot has been seen to work
 * again: every login of Dovecot's goes through nginx, so the two are never away at once.
 */
static const char *const ladder[] = {MAILCOW_DOVECOT, MAILCOW_POSTFIX, MAILCOW_NGINX};

static bool answers(const struct rollout *r, const struct docker_container *c)
{
    for (size_t i = 0; i < r->wire.endpoints.count; i++)
        for (size_t q = 0; is_of(c, &r->wire.endpoints.list[i]) && q < r->wire.question_count; q++) {
            const struct verify_cell *cell = rollout_wire_now(&r->wire, i, q);
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
        ask(r, service, true, false);
    if (any && strcmp(service, MAILCOW_DOVECOT) == 0 && !is_forbidden(r, MAILCOW_POSTFIX)) {
        reload(r, r->docker, RELOAD_PRIMARY, MAILCOW_POSTFIX); /* its smtpd have missed Dovecot's SASL */
        await_start(r, MAILCOW_POSTFIX);
        ask(r, MAILCOW_POSTFIX, true, false);
        asked |= service_bit(MAILCOW_POSTFIX);
    }
    /* The others have not had their turn: what was seen of them may be of the run before. */
    return good && (!any || !find_broken(r, asked, asked));
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

/* After a ladder that has not come to its end: what could not be restarted may still work. */
static enum rollout_result give_up(struct rollout *r)
{
    if (r->is_engine_lost || !look_at_containers(r))
        return ROLLOUT_SHORT;
    return find_broken(r, ALL_SERVICES, ALL_SERVICES) ? ROLLOUT_BROKEN : ROLLOUT_SHORT;
}

static enum rollout_result bring_up(struct rollout *r, enum reload_level level)
{
    r->is_nginx_old = false;
    reload_all(r, level);
    if (!restart_forbidden(r)) {
        ask(r, NULL, true, true);
        return give_up(r);
    }
    if (ask(r, MAILCOW_DOVECOT, false, false) && rollout_wire_is_served(&r->wire))
        return r->outcome.result > OUTCOME_DEPLOYED ? ROLLOUT_SHORT : ROLLOUT_SERVED;
    if (!look_at_containers(r))
        return ROLLOUT_SHORT;
    if (find_broken(r, ALL_SERVICES, 0))
        return ROLLOUT_BROKEN;
    if (r->is_engine_lost) /* who was not told to reload needs no restart */
        return ROLLOUT_SHORT;
    for (size_t i = 0; i < sizeof ladder / sizeof *ladder; i++)
        if (!is_forbidden(r, ladder[i]) && !climb(r, ladder[i], false))
            return give_up(r);
    if (!look_at_containers(r))
        return ROLLOUT_SHORT;
    if (find_broken(r, ALL_SERVICES, ALL_SERVICES))
        return ROLLOUT_BROKEN;
    if (!rollout_wire_is_served(&r->wire))
        return ROLLOUT_SHORT;
    return r->outcome.result > OUTCOME_DEPLOYED ? ROLLOUT_SHORT : ROLLOUT_SERVED;
}

enum rollout_result rollout_run(struct rollout *r, enum reload_level level, bool repeats)
{
    r->begun_ms = clock_ms();
    r->restarted = 0;
    r->repeats = repeats;
    r->is_engine_lost = false;
    r->outcome = (struct outcome){.result = OUTCOME_UNCHANGED};
    enum rollout_result result = bring_up(r, level);
    if (result != ROLLOUT_BROKEN && !r->is_engine_lost &&
        rollout_login_broke(r->login, rollout_wire_primary(&r->wire), r->broken_text, sizeof r->broken_text))
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

static bool may_show(const struct verify_cell *cell, const char *leaf)
{
    return cell->applies && (!verify_asked(cell->state) ||
                             (cell->state == VERIFY_STALE && strcmp(cell->fingerprint, leaf) == 0));
}

bool rollout_may_use(const struct rollout *r, const char *leaf)
{
    bool may = r->is_engine_lost || r->is_nginx_old || !r->wire.endpoints.count;
    for (size_t i = 0; !may && i < r->wire.endpoints.count; i++) {
        may = !r->wire.results[i].endpoint;
        for (size_t q = 0; !may && q < r->wire.question_count; q++)
            may = may_show(rollout_wire_now(&r->wire, i, q), leaf);
    }
    return may;
}

/* NULL: the endpoint shows what it should for every name of the pair. */
static const struct verify_cell *find_short(const struct rollout *r, size_t endpoint, size_t pair)
{
    for (size_t q = 0; q < r->wire.question_count; q++) {
        const struct verify_cell *cell = rollout_wire_now(&r->wire, endpoint, q);
        if (cell->applies && cell->state != VERIFY_SERVED &&
            rollout_wire_concerns(&r->wire, pair, endpoint, q))
            return cell;
    }
    return NULL;
}

bool rollout_want(const struct rollout *r, size_t pair, struct outcome *out)
{
    size_t missing = 0;
    const char *unresolved = NULL;
    for (size_t i = 0; i < r->wire.endpoints.count; i++) {
        const struct verify_cell *cell = find_short(r, i, pair);
        missing += cell != NULL;
        if (cell && !unresolved && !verify_asked(cell->state))
            unresolved = r->wire.results[i].detail;
    }
    if (missing)
        outcome_worsen(out, r->is_engine_lost ? OUTCOME_PENDING : OUTCOME_FAILED,
                       "%zu of %zu endpoints do not serve it%s%s", missing, r->wire.endpoints.count,
                       unresolved ? ": " : "", unresolved ? unresolved : "");
    return !missing && r->wire.endpoints.count;
}

bool rollout_see(const struct rollout *r, size_t pair, size_t endpoint, struct rollout_seen *out)
{
    const struct verify_cell *worst = NULL;
    if (!r->wire.now || endpoint >= r->wire.endpoints.count || !r->wire.results[endpoint].endpoint)
        return false;
    for (size_t q = 0; q < r->wire.question_count; q++) {
        const struct verify_cell *cell = rollout_wire_now(&r->wire, endpoint, q);
        if (cell->applies && rollout_wire_concerns(&r->wire, pair, endpoint, q) &&
            (!worst || cell->state > worst->state))
            worst = cell;
    }
    *out = (struct rollout_seen){.result = &r->wire.results[endpoint], .cell = worst};
    return worst;
}

const struct verify_result *rollout_endpoints(const struct rollout *r, size_t *out_count, size_t *out_served)
{
    *out_count = *out_served = 0;
    for (size_t i = 0; i < r->wire.endpoints.count; i++) {
        *out_count += r->wire.results[i].endpoint != NULL;
        *out_served += r->wire.results[i].endpoint && r->wire.results[i].state == VERIFY_SERVED;
    }
    return r->wire.results;
}
