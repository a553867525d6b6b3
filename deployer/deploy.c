#include "deployer/deploy.h"
#include "common/clock.h"
#include "common/file.h"
#include "deployer/deploy_metrics.h"
#include "deployer/install.h"
#include "deployer/ledger.h"
#include "deployer/rollout.h"
#include "deployer/sni.h"
#include "deployer/sni_render.h"

#include <string.h>

struct deploy {
    struct mailhost *host;
    struct pair *pairs; /* one per want of the host, in the same order */
    size_t count;
    struct progress progress; /* to the ledger, and on to the listener */
    struct progress listener;
    struct ledger ledger;
    bool force;
    char to_remove[WANT_ID_SIZE];  /* by the operator's word, "" */
    bool has_removed;              /* folders that are to go as soon as no service needs them */
    bool is_rendered;              /* sni.map and sni.conf say what is in the folders */
    bool is_put_off;               /* no file and no service is to be touched now */
    struct outcome refusal;        /* why no file is to be written and no service reloaded; else unchanged */
    bool (*may_repeat)(void *ctx); /* NULL: always */
    void *limit_ctx;
    bool repeats; /* it was asked, and said yes */
    struct rollout *rollout;
    struct outcome outcome; /* of the whole, beside those of the pairs */
};

int deploy_new(struct deploy **out, struct mailhost *mailhost, struct error *err)
{
    AUTO_DEPLOY struct deploy *d = calloc(1, sizeof *d);
    if (!d)
        return error_memory(err);
    d->host = mailhost;
    d->count = mailhost->wants.count;
    d->pairs = calloc(d->count + 1, sizeof *d->pairs);
    if (!d->pairs)
        return error_memory(err);
    for (size_t i = 0; i < d->count; i++)
        d->pairs[i].want = &mailhost->wants.list[i];
    *out = d;
    d = NULL;
    return 0;
}

void deploy_free(struct deploy *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->pairs && i < d->count; i++)
        pair_wipe(&d->pairs[i]);
    rollout_free(d->rollout);
    ledger_free(&d->ledger);
    free(d->pairs);
    free(d);
}

static struct pair *find_pair(struct deploy *d, const char *want)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->pairs[i].want->id, want) == 0)
            return &d->pairs[i];
    return NULL;
}

/* ---- what is to be done ---- */

int deploy_put(struct deploy *d, const char *want, const void *bundle, size_t len, struct judge_verdict *out,
               struct error *err)
{
    struct pair *p = find_pair(d, want);
    return p ? pair_put(d->host, p, bundle, len, out, err)
             : error_set(err, E_FAILED, "no such want here: %s", want);
}

bool deploy_has_bundle(const struct deploy *d)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->pairs[i].has_accepted)
            return true;
    return false;
}

/* How much is to be said for going back to it: that it is installed, or that the record says it was before.
 */
static int merit(const struct generation_meta *g, const struct pair *p, const struct record *r)
{
    return strcmp(g->fingerprint, p->want->installed) == 0 ? 2 : strcmp(g->id, r->previous) == 0;
}

/* By merit, and then the newest; neither the current one nor what is quarantined. */
static int choose_previous(struct deploy *d, const struct pair *p, const struct generation_meta *list,
                           size_t count, const struct generation_meta **out, struct error *err)
{
    char reason[STORE_REASON_SIZE];
    struct record record;
    int rc = store_read_record(d->host->store, p->want->id, &record, err);
    if (rc < 0)
        return rc;
    *out = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct generation_meta *g = &list[i];
        if (strcmp(g->fingerprint, record.fingerprint) == 0)
            continue;
        rc = store_is_quarantined(d->host->store, p->want->id, g->fingerprint, reason, err);
        if (rc < 0)
            return rc;
        if (rc == 0 && (!*out || merit(g, p, &record) >= merit(*out, p, &record)))
            *out = g;
    }
    return *out ? 0 : error_set(err, E_FAILED, "want %s: there is no generation to go back to", p->want->id);
}

int deploy_choose(struct deploy *d, const char *want, const char *generation, struct error *err)
{
    AUTO_FREE struct generation_meta *list = NULL;
    const struct generation_meta *chosen = NULL;
    size_t count;
    struct pair *p = find_pair(d, want);
    if (!p)
        return error_set(err, E_USAGE, "no such want here: %s", want);
    int rc = store_list(d->host->store, want, &list, &count, err);
    if (rc < 0)
        return rc;
    if (!*generation)
        rc = choose_previous(d, p, list, count, &chosen, err);
    for (size_t i = 0; *generation && i < count; i++)
        if (strcmp(list[i].id, generation) == 0)
            chosen = &list[i];
    if (!rc && !chosen)
        rc = error_set(err, E_FAILED, "want %s: there is no generation %s; status lists them", want,
                       generation);
    if (!rc)
        memcpy(p->chosen, chosen->id, sizeof p->chosen);
    return rc;
}

int deploy_remove(struct deploy *d, const char *want, struct error *err)
{
    if (strcmp(want, WANT_PRIMARY) == 0)
        return error_set(err, E_USAGE, "the primary certificate cannot be removed");
    if (deploy_conf_sni(d->host->conf, want))
        return error_set(err, E_USAGE, "deploy.conf asks for it: remove the section [sni %s] first", want);
    AUTO_CLOSE int folder = want_is_id(want) ? install_open_folder(d->host->ssl_fd, want, err) : -1;
    if (folder < 0)
        return error_set(err, E_USAGE, "%s/%s: there is no such folder", d->host->mailcow.ssl_path, want);
    snprintf(d->to_remove, sizeof d->to_remove, "%s", want);
    return 0;
}

/* ---- SNI folders ---- */

static bool is_primary(const struct pair *p)
{
    return strcmp(p->want->id, WANT_PRIMARY) == 0;
}

static int mark_removed(struct deploy *d, const char *want, struct error *err)
{
    const struct record record = {.state = STORE_REMOVED};
    return store_write_record(d->host->store, want, &record, err);
}

/* Somebody has made the folder anew since it was retired: it is not to go any more. */
static int leave_folder(const struct deploy *d, const char *want, struct error *err)
{
    progress_say(&d->progress, "kept want=%s: its folder was made anew while it was being removed", want);
    return store_write_record(d->host->store, want, &(struct record){.state = STORE_NONE}, err);
}

static int take_domains(const struct deploy *d, const char *want, struct error *err)
{
    const struct record retired = {.state = STORE_REMOVED, .is_retired = true};
    int rc = sni_retire_folder(d->host->ssl_fd, want, err);
    return rc ? rc : store_write_record(d->host->store, want, &retired, err);
}

/* From here on no service finds the folder when it reads its configuration anew; the pair stays until then.
 */
static int retire(void *ctx, const char *want, struct error *err)
{
    struct deploy *d = ctx;
    struct record mark;
    struct pair *p = find_pair(d, want);
    int rc = store_read_record(d->host->store, want, &mark, err);
    if (!rc && mark.is_retired)
        rc = sni_has_domains(d->host->ssl_fd, want, err);
    if (rc)
        return rc < 0 ? rc : leave_folder(d, want, err);
    d->has_removed = true;
    if (p) {
        p->is_removed = true;
        p->want->installed[0] = '\0'; /* its names are others' from now on */
    }
    return mark.is_retired ? 0 : take_domains(d, want, err);
}

/* Positive: a service may still use it. */
static int is_in_use(const struct deploy *d, const char *want, struct error *err)
{
    struct want folder = {.installed = ""};
    snprintf(folder.id, sizeof folder.id, "%s", want);
    int rc = mailcow_look(d->host->ssl_fd, &folder, err);
    return rc < 0 ? rc : rollout_may_use(d->rollout, folder.installed);
}

/* When no service uses it any more; whatever else is wrong with them is no reason to keep it. */
static int remove_folder(void *ctx, const char *want, struct error *err)
{
    struct deploy *d = ctx;
    int rc = sni_has_domains(d->host->ssl_fd, want, err);
    if (rc)
        return rc < 0 ? rc : leave_folder(d, want, err);
    rc = is_in_use(d, want, err);
    if (rc)
        return rc < 0 ? rc : 0;
    rc = sni_remove_folder(d->host->ssl_fd, want, err);
    if (rc == SNI_KEPT)
        progress_say(&d->progress, "warning want=%s: %s", want, err->text);
    if (rc >= 0) /* a want that stays keeps what it has in quarantine */
        rc = deploy_conf_sni(d->host->conf, want)
                 ? store_write_record(d->host->store, want, &(struct record){.state = STORE_NONE}, err)
                 : store_forget(d->host->store, want, err);
    if (!rc)
        progress_say(&d->progress, "removed want=%s", want);
    return rc;
}

/* Sees to it that the file `domains` says the want's names, and so that all services serve them. */
static int write_domains(struct deploy *d, struct pair *p, struct error *err)
{
    if (is_primary(p) || !p->expected[0])
        return 0;
    int rc = sni_write_domains(d->host->ssl_fd, p->want->id, p->want->names, p->want->name_count, err);
    if (rc < 0 || rc == SNI_SAME)
        return rc < 0 ? rc : 0;
    p->is_due = p->new_domains = true;
    p->is_new = p->is_new || rc == SNI_NEW;
    progress_say(&d->progress, "added want=%s: its names are in the file `domains` from now on", p->want->id);
    return 0;
}

/* Has sni.map and sni.conf say what is in the folders, *out_changed when they did not; what the services must
 * do to read it. */
static enum reload_level render(struct deploy *d, bool *out_changed)
{
    enum reload_level level = RELOAD_PRIMARY;
    struct sni_changes changes = {0};
    struct error err;
    d->is_rendered = sni_render(&d->host->mailcow, d->host->ssl_fd, rollout_skips_sni_map(d->rollout),
                                &changes, &err) >= 0;
    if (!d->is_rendered)
        outcome_fail(&d->outcome, &err);
    if (changes.unread)
        level = RELOAD_SNI;
    *out_changed = changes.postfix || changes.dovecot;
    bool rebuild = *out_changed || d->has_removed;
    for (size_t i = 0; i < d->count; i++) {
        const struct pair *p = &d->pairs[i];
        if (is_primary(p))
            continue;
        level = p->is_due ? RELOAD_SNI : level;
        rebuild = rebuild || p->new_domains || p->is_resumed || d->force || rollout_lacks(d->rollout, i);
    }
    return rebuild ? RELOAD_REBUILD : level;
}

/* ---- the preflight ---- */

static bool is_anything_due(const struct deploy *d)
{
    bool due = d->has_removed;
    for (size_t i = 0; i < d->count; i++)
        due = due || d->pairs[i].is_due;
    return due;
}

static void tell_warnings(const struct deploy *d, const struct finding_list *found)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct finding *f = &found->list[i];
        if (f->severity == FINDING_WARN)
            progress_say(&d->progress, "warning id=%s want=%s: %s%s%s", f->id, f->want[0] ? f->want : "-",
                         f->text, f->remedy[0] ? "; " : "", f->remedy);
    }
}

static void hold(struct deploy *d, const struct finding *refused, const struct finding *later)
{
    const struct finding *f = refused ? refused : later;
    struct outcome why = {0};
    outcome_worsen(&why, refused ? OUTCOME_FAILED : OUTCOME_PENDING, "%s: %s; %s", f->id, f->text, f->remedy);
    why.event = refused ? EVENT_REFUSED : EVENT_PENDING;
    why.finding = f->id;
    for (size_t i = 0; i < d->count; i++)
        if (later || d->pairs[i].is_due)
            pair_hold(&d->pairs[i], &why);
    if (refused)
        d->refusal = why;
    else
        outcome_merge(&d->outcome, &why);
    d->is_put_off = later != NULL;
}

/*
 * While mailcow is being updated nothing is touched, and nothing even looked at. What is refused holds all
 * that is due, not only what it concerns: services read all certificates at once, and one that they cannot
 * read makes a reload, or worse a restart, fail for all.
 */
static void look_ahead(struct deploy *d)
{
    AUTO_FREE struct finding_list *found = calloc(1, sizeof *found);
    const struct finding none = {.id = "memory", .text = "out of memory", .remedy = "try again"};
    if (!found) {
        hold(d, NULL, &none);
        return;
    }
    rollout_preflight(d->rollout, found);
    if (is_anything_due(d))
        tell_warnings(d, found);
    const struct finding *refused = finding_of(found, FINDING_REFUSE);
    const struct finding *later = finding_of(found, FINDING_LATER);
    if (refused || later)
        hold(d, refused, later);
}

/* ---- limits ---- */

void deploy_limit(struct deploy *d, bool (*may_repeat)(void *ctx), void *ctx)
{
    d->may_repeat = may_repeat;
    d->limit_ctx = ctx;
}

static bool is_new(const struct deploy *d, const struct pair *p)
{
    char reason[STORE_REASON_SIZE];
    struct error ignored;
    return p->has_accepted && strcmp(p->accepted.fingerprint, p->want->installed) != 0 &&
           store_is_quarantined(d->host->store, p->want->id, p->accepted.fingerprint, reason, &ignored) == 0;
}

/* Whether files may be written and services told. */
static bool may_disturb(struct deploy *d)
{
    bool may = !d->may_repeat || d->repeats;
    for (size_t i = 0; !may && i < d->count; i++)
        may = is_new(d, &d->pairs[i]);
    if (!may)
        may = d->repeats = d->may_repeat(d->limit_ctx);
    return may;
}

/* What is due is only looked at, if it may not be done. */
static void limit(struct deploy *d)
{
    if (!is_anything_due(d) || may_disturb(d))
        return;
    for (size_t i = 0; i < d->count; i++)
        d->pairs[i].stages = d->pairs[i].writes = d->pairs[i].is_due = false;
    d->force = d->has_removed = false;
    progress_say(&d->progress,
                 "warning: it brings nothing new and was done again a short while ago: it is only looked at");
}

/* ---- installing ---- */

/* Where an earlier deployment was cut short, what it saw before it began counts. */
static void look_before(struct deploy *d, char *down, size_t size)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->pairs[i].is_resumed && d->pairs[i].is_due)
            rollout_recall_before(d->rollout, d->pairs[i].record.down_before);
    rollout_look_before(d->rollout);
    rollout_down_before(d->rollout, down, size);
}

static void install_all(struct deploy *d, const char *down)
{
    struct error err;
    for (size_t i = 0; i < d->count; i++) {
        struct pair *p = &d->pairs[i];
        if (p->is_removed)
            continue;
        int rc = p->is_due || p->stages ? pair_install(d->host, p, down, &d->progress, &err) : 0;
        if (!rc && !p->is_held)
            rc = write_domains(d, p, &err);
        if (rc < 0)
            outcome_fail(&p->outcome, &err);
    }
}

/* ---- onto the wire ---- */

static void note_run(struct deploy *d)
{
    for (size_t i = 0; i < d->count; i++)
        d->pairs[i].is_on_wire = d->pairs[i].is_due && !rollout_lost_engine(d->rollout);
}

/* The names of a folder that goes are the primary's. */
static enum rollout_result run(struct deploy *d)
{
    const struct pair *primary = find_pair(d, WANT_PRIMARY);
    for (size_t i = 0; i < d->count; i++)
        if (d->pairs[i].is_removed)
            memcpy(d->pairs[i].expected, primary->expected, sizeof primary->expected);
    bool changed = false;
    enum reload_level level = render(d, &changed);
    enum rollout_result result = rollout_run(d->rollout, level, !changed && !d->force && !is_anything_due(d));
    note_run(d);
    return result;
}

/* owners: only what owns a name that broke. True when anything was put back. */
static bool revert_some(struct deploy *d, bool owners, const char *reason)
{
    bool any = false;
    struct error err;
    for (size_t i = 0; i < d->count; i++) {
        struct pair *p = &d->pairs[i];
        if (!pair_can_revert(p) || (owners && !rollout_broke(d->rollout, i)))
            continue;
        int rc = pair_revert(d->host, p, reason, &d->progress, &err);
        if (rc == PAIR_NO_FOLDER) {
            rc = mark_removed(d, p->want->id, &err);
            p->is_stuck = rc < 0;
        }
        if (rc < 0)
            outcome_worsen(&p->outcome, OUTCOME_FAILED, "it cannot be rolled back: %s", err.text);
        any = any || rc >= 0;
    }
    return any;
}

/*
 * A listener broke: what owns the name that it broke under goes back, and if that does not mend it all that
 * this deployment brought.
 */
static enum rollout_result roll_back(struct deploy *d)
{
    char reason[STORE_REASON_SIZE];
    enum rollout_result result = ROLLOUT_BROKEN;
    struct error err;
    snprintf(reason, sizeof reason, "%s", rollout_broken_text(d->rollout));
    while (result == ROLLOUT_BROKEN && (revert_some(d, true, reason) || revert_some(d, false, reason))) {
        if (store_each_removed(d->host->store, retire, d, &err) < 0)
            outcome_fail(&d->outcome, &err);
        result = run(d);
    }
    if (result == ROLLOUT_BROKEN)
        outcome_worsen(&d->outcome, OUTCOME_FAILED, "%s", rollout_broken_text(d->rollout));
    return result;
}

/* What changed is reloaded; what did not is looked at, and reloaded only where it is not served. */
static void bring_to_wire(struct deploy *d)
{
    struct error err;
    if (!d->force && !is_anything_due(d) && rollout_look(d->rollout))
        return;
    if (!is_anything_due(d) && !may_disturb(d)) {
        outcome_worsen(&d->outcome, OUTCOME_PENDING,
                       "not everything is served; for who brings nothing new, the services were reloaded a "
                       "short while ago");
        return;
    }
    if (d->refusal.result) {
        outcome_merge(&d->outcome, &d->refusal);
        return;
    }
    rollout_look_before(d->rollout); /* what is due may have been found after it was looked for */
    enum rollout_result result = run(d);
    if (result == ROLLOUT_BROKEN)
        result = roll_back(d);
    outcome_merge(&d->outcome, rollout_outcome(d->rollout));
    outcome_worsen(&d->outcome, OUTCOME_DEPLOYED, "%s", "");
    if (d->has_removed && d->is_rendered && result != ROLLOUT_BROKEN &&
        store_each_removed(d->host->store, remove_folder, d, &err) < 0)
        outcome_fail(&d->outcome, &err);
}

/* ---- the whole ---- */

static int recover(struct mailhost *host, const struct progress *progress, struct error *err)
{
    char want[WANT_ID_SIZE];
    const struct install_place place = mailhost_place(host);
    int rc = install_recover(&place, want, err);
    if (rc == INSTALL_RECOVERED)
        progress_say(progress, "recovered want=%s: an installation that was cut short is finished", want);
    if (rc == INSTALL_LOST)
        progress_say(progress,
                     "not-recovered want=%s: an installation was cut short, and cannot be finished: %s", want,
                     err->text);
    sni_remove_temporaries(host->ssl_fd);
    sni_render_remove_temporaries(&host->mailcow);
    return rc < 0 ? rc : 0;
}

/*
 * With the lock held: nobody else installs from here on. Without knowing what is installed nothing is begun:
 * there would be nothing to go back to, and no telling what works.
 */
static int begin(struct deploy *d, struct error *err)
{
    int rc = recover(d->host, &d->progress, err);
    for (size_t i = 0; !rc && i < d->count; i++)
        rc = mailcow_look(d->host->ssl_fd, d->pairs[i].want, err);
    if (!rc && d->to_remove[0])
        rc = mark_removed(d, d->to_remove, err);
    if (!rc)
        rc = store_each_removed(d->host->store, retire, d, err);
    if (!rc)
        rc = rollout_new(&d->rollout, d->host, d->pairs, d->count, &d->progress, err);
    return rc;
}

static void open_pairs(struct deploy *d)
{
    struct error err;
    for (size_t i = 0; i < d->count; i++) {
        struct pair *p = &d->pairs[i];
        if (!p->is_removed && pair_open(d->host, p, d->force, &d->progress, &err) < 0)
            outcome_fail(&p->outcome, &err);
    }
}

/* Files are right without an engine, too: its containers read them when they start. */
static void carry_out(struct deploy *d)
{
    char down[sizeof d->pairs->record.down_before] = STORE_DOWN_UNKNOWN;
    struct error err;
    open_pairs(d);
    limit(d);
    int engine = rollout_survey(d->rollout, &err);
    look_ahead(d);
    if (!engine && is_anything_due(d))
        look_before(d, down, sizeof down);
    install_all(d, down);
    if (d->is_put_off)
        return;
    if (engine < 0)
        outcome_fail(&d->outcome, &err);
    else
        bring_to_wire(d);
}

static void conclude(struct deploy *d, struct deploy_outcome *out)
{
    *out = (struct deploy_outcome){.worst = d->outcome, .pairs = d->pairs, .pair_count = d->count};
    out->endpoints = rollout_endpoints(d->rollout, &out->endpoint_count, &out->served);
    for (size_t i = 0; i < d->count; i++) {
        struct pair *p = &d->pairs[i];
        outcome_merge(&p->outcome, &d->outcome);
        bool served = p->expected[0] && out->endpoint_count && rollout_want(d->rollout, i, &p->outcome) &&
                      d->outcome.result <= OUTCOME_DEPLOYED;
        if (!p->expected[0])
            outcome_worsen(&p->outcome, OUTCOME_PENDING, "nothing is installed yet");
        if (!p->is_removed)
            pair_conclude(d->host, p, served, &d->progress);
        if (p->outcome.result > out->worst.result)
            outcome_worsen(&out->worst, p->outcome.result, "want %s: %s", p->want->id, p->outcome.detail);
    }
}

/* ---- what is kept of it ---- */

static const char *kind_of(const struct deploy *d)
{
    if (d->to_remove[0])
        return "remove";
    for (size_t i = 0; i < d->count; i++)
        if (d->pairs[i].chosen[0])
            return "rollback";
    return deploy_has_bundle(d) ? "push" : "reconcile";
}

static void on_line(void *ctx, const char *text)
{
    struct deploy *d = ctx;
    ledger_hear(&d->ledger, text);
    if (d->listener.line)
        d->listener.line(d->listener.ctx, text);
}

/* That it cannot be kept changes nothing. */
static void keep_records(struct deploy *d, const struct deploy_outcome *out)
{
    const struct ledger_end end = {
        .outcome = &out->worst, .served = out->served, .endpoints = out->endpoint_count};
    struct error err;
    ledger_see(&d->ledger, d->pairs, d->count, d->rollout);
    int rc = ledger_close(&d->ledger, d->host->store, &end, &err);
    if (rc < 0)
        progress_say(&d->progress, "warning: what was done cannot be recorded: %s", err.text);
    rc = deploy_metrics_write(d->host, d->ledger.history, &err);
    if (rc < 0)
        progress_say(&d->progress, "warning: %s", err.text);
}

int deploy_lock(struct deploy *d, int64_t wait_ms, const struct progress *progress, struct error *err)
{
    int rc = store_lock(d->host->store, clock_ms(), err);
    if (rc != E_TEMPORARY)
        return rc;
    progress_say(progress, "waiting: %s", err->text);
    return store_lock(d->host->store, clock_ms() + wait_ms, err);
}

int deploy_run(struct deploy *d, bool force, const struct progress *progress, struct deploy_outcome *out,
               struct error *err)
{
    const char *kind = kind_of(d);
    d->listener = *progress;
    d->progress = (struct progress){.line = on_line, .ctx = d};
    d->force = force;
    int rc = begin(d, err);
    if (!rc)
        rc = ledger_open(&d->ledger, d->host->store, kind, err);
    if (rc < 0)
        return rc;
    carry_out(d);
    conclude(d, out);
    keep_records(d, out);
    return 0;
}

static void step_line(void *ctx, const char *text)
{
    report_progress(ctx, text);
}

int deploy_recover(const struct deploy_conf *conf, struct report *report, struct error *err)
{
    struct mailhost host = {.conf = conf, .ssl_fd = -1};
    const struct progress progress = {.line = step_line, .ctx = report};
    AUTO_STORE struct store *store = NULL;
    mailcow_locate(conf->mailcow, &host.mailcow); /* what mailcow.conf says does not matter here */
    AUTO_CLOSE int ssl_fd = mailcow_open_ssl(&host.mailcow, err);
    if (ssl_fd < 0)
        return err->code;
    int rc = store_open(&store, conf->state, err);
    if (rc < 0)
        return rc;
    rc = store_lock(store, clock_ms(), err);
    if (rc == E_TEMPORARY) { /* Docker's start waits for this, and the other one may for Docker */
        step_line(report, "nothing to do: another deployment is under way, and has seen to it");
        return 0;
    }
    if (rc < 0)
        return rc;
    host.ssl_fd = ssl_fd;
    host.store = store;
    return recover(&host, &progress, err);
}
