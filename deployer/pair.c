#include "deployer/pair.h"
#include "common/cert.h"
#include "common/clock.h"
#include "common/file.h"
#include "deployer/install.h"
#include "deployer/sni.h"

#include <string.h>

void pair_wipe(struct pair *p)
{
    judge_verdict_wipe(&p->accepted);
}

/* ---- judging ---- */

int pair_put(struct mailhost *host, struct pair *p, const void *bundle, size_t len, struct judge_verdict *out,
             struct error *err)
{
    judge_verdict_wipe(&p->accepted);
    p->has_accepted = false;
    memcpy(p->judged_against, p->want->installed, sizeof p->judged_against);
    int rc = mailhost_judge(host, p->want, true, bundle, len, &p->accepted, err);
    *out = p->accepted; /* shares its secrets: the pair owns them */
    if (rc < 0)
        return rc;
    if (p->accepted.reason != JUDGE_ACCEPTED)
        return PAIR_REFUSED;
    p->has_accepted = true;
    return strcmp(p->accepted.fingerprint, p->want->installed) == 0 ? PAIR_SAME : 0;
}

/* Judges a pair that was accepted before; see mailhost_judge. */
static int judge_pair(struct mailhost *host, const struct pair *p, bool as_successor,
                      const struct secret *chain, const struct secret *key, struct judge_verdict *out,
                      struct error *err)
{
    AUTO_SECRET struct secret bundle = SECRET(2 * SECRET_MAX);
    if (secret_append(&bundle, chain->data, chain->len) < 0 ||
        secret_append(&bundle, key->data, key->len) < 0)
        return error_memory(err);
    return mailhost_judge(host, p->want, as_successor, bundle.data, bundle.len, out, err);
}

/*
 * Another deployment may have installed a younger certificate since this one was judged, or it may have
 * expired while that one was waited for: then, with the lock held, it is judged again.
 */
static int judge_again(struct mailhost *host, struct pair *p, struct error *err)
{
    struct judge_verdict verdict = {0};
    if (strcmp(p->judged_against, p->want->installed) == 0 && p->accepted.not_after > time(NULL))
        return 0;
    int rc = judge_pair(host, p, true, &p->accepted.chain, &p->accepted.key, &verdict, err);
    judge_verdict_wipe(&p->accepted);
    p->accepted = verdict;
    p->has_accepted = false;
    if (rc < 0)
        return rc;
    p->has_accepted = verdict.reason == JUDGE_ACCEPTED;
    return p->has_accepted ? 0 : error_set(err, E_FAILED, "%s", p->accepted.why);
}

static int check_quarantine(struct mailhost *host, const struct pair *p, struct error *err)
{
    char reason[STORE_REASON_SIZE];
    int rc = store_is_quarantined(host->store, p->want->id, p->accepted.fingerprint, reason, err);
    if (rc != STORE_QUARANTINED)
        return rc;
    error_set(err, E_FAILED, "it was rolled back: %s; --force tries it again", reason);
    return error_mark(err, EVENT_QUARANTINED);
}

/* ---- what is there ---- */

static bool same_bytes(int folder, const char *name, const struct secret *content)
{
    AUTO_SECRET struct secret have = SECRET(SECRET_MAX);
    struct error ignored;
    return file_read(folder, name, 0, &have, NULL, &ignored) == 0 && have.len == content->len &&
           memcmp(have.data, content->data, have.len) == 0;
}

static bool is_installed(struct mailhost *host, const struct pair *p, const struct generation *g)
{
    struct error ignored;
    AUTO_CLOSE int folder = install_open_folder(host->ssl_fd, p->want->id, &ignored);
    return folder >= 0 && same_bytes(folder, "cert.pem", &g->chain) && same_bytes(folder, "key.pem", &g->key);
}

static bool is_generation_installed(struct mailhost *host, const struct pair *p, const char *id)
{
    AUTO_GENERATION struct generation g = {0};
    struct error ignored;
    return *id && store_load(host->store, p->want->id, id, &g, &ignored) == 0 && is_installed(host, p, &g);
}

/* The want's installed pair as it is, its parts and both in one; MAILCOW_NOTHING where a part is missing. */
static int read_installed(struct mailhost *host, const struct pair *p, struct secret *chain,
                          struct secret *key, struct secret *both, struct error *err)
{
    int rc = mailcow_read_installed(host->ssl_fd, p->want->id, "cert.pem", chain, err);
    if (!rc)
        rc = mailcow_read_installed(host->ssl_fd, p->want->id, "key.pem", key, err);
    if (rc)
        return rc;
    bool fits =
        secret_append(both, chain->data, chain->len) == 0 && secret_append(both, key->data, key->len) == 0;
    return fits ? 0 : error_memory(err);
}

/* Whether the key is the first certificate's; yes, where that cannot be told. */
static bool belongs(const struct secret *pair)
{
    AUTO_CERT struct cert *first = NULL, *keyed = NULL;
    struct error ignored;
    int fault = cert_parse(pair->data, pair->len, CERT_KEY_REQUIRED, &keyed, &ignored);
    if (fault)
        return fault < 0 || fault == CERT_SEVERAL_KEYS || fault == CERT_KEY_KIND;
    return cert_parse(pair->data, pair->len, CERT_KEY_IGNORED, &first, &ignored) != 0 ||
           strcmp(cert_info(first)->spki, cert_info(keyed)->spki) == 0;
}

/* Whether services could load what is installed: a certificate may have been put there without its key. 1, 0,
 * or an error. */
static int can_be_loaded(struct mailhost *host, const struct pair *p, struct error *err)
{
    AUTO_SECRET struct secret chain = SECRET(SECRET_MAX), key = SECRET(SECRET_MAX);
    AUTO_SECRET struct secret pair = SECRET(2 * SECRET_MAX);
    int rc = read_installed(host, p, &chain, &key, &pair, err);
    if (rc)
        return rc < 0 ? rc : 0;
    return belongs(&pair);
}

/* Whether the current generation is this very chain: the same leaf may come again with a better one. */
static bool is_current(struct mailhost *host, const struct pair *p)
{
    AUTO_GENERATION struct generation g = {0};
    struct error ignored;
    return strcmp(p->accepted.fingerprint, p->record.fingerprint) == 0 &&
           store_load(host->store, p->want->id, p->record.current, &g, &ignored) == 0 &&
           g.chain.len == p->accepted.chain.len &&
           memcmp(g.chain.data, p->accepted.chain.data, g.chain.len) == 0;
}

/* ---- deciding ---- */

/*
 * Whether the current generation may still take the place of what somebody else put there: it may have
 * expired, or be older. What was accepted and never installed is not forgotten silently. What was rolled back
 * and what no service can load set no floor, and a rollback that was cut short goes on. 1, 0, or an error.
 */
static int may_replace(struct mailhost *host, struct pair *p, const struct generation *g,
                       const struct progress *progress, struct error *err)
{
    AUTO_VERDICT struct judge_verdict verdict = {0};
    char reason[STORE_REASON_SIZE];
    int quarantined = store_is_quarantined(host->store, p->want->id, p->want->installed, reason, err);
    if (quarantined < 0 || (quarantined && p->is_resumed))
        return quarantined;
    int rc = quarantined ? 0 : can_be_loaded(host, p, err);
    if (rc >= 0)
        rc = judge_pair(host, p, rc > 0, &g->chain, &g->key, &verdict, err);
    if (rc < 0)
        return rc;
    if (verdict.reason == JUDGE_ACCEPTED)
        return 1;
    progress_say(progress,
                 "kept want=%s: it was installed by somebody else, and generation %s is refused: %s",
                 p->want->id, g->id, verdict.why);
    if (p->record.state == STORE_PENDING)
        outcome_worsen(&p->outcome, OUTCOME_FAILED,
                       "generation %s was accepted, but cannot be installed any more: %s", g->id,
                       verdict.why);
    return 0;
}

/* What becomes of the current generation, where nothing new was accepted. */
static int decide_current(struct mailhost *host, struct pair *p, bool force, const struct progress *progress,
                          struct error *err)
{
    AUTO_GENERATION struct generation g = {0};
    if (!p->record.current[0])
        return 0;
    int rc = store_load(host->store, p->want->id, p->record.current, &g, err);
    if (rc < 0)
        return rc;
    if (is_installed(host, p, &g)) {
        p->writes = force;
        p->is_due = force || p->record.state == STORE_PENDING;
        p->is_repeated =
            p->record.state == STORE_SERVED || p->record.state == STORE_FAILED || p->record.verified;
    } else {
        rc = p->has_accepted ? 1 : may_replace(host, p, &g, progress, err);
        if (rc < 0)
            return rc;
        p->writes = p->is_due = rc;
    }
    if (p->is_due)
        memcpy(p->expected, g.fingerprint, sizeof p->expected);
    return 0;
}

static int admit(struct mailhost *host, struct pair *p, bool force, struct error *err)
{
    int rc = judge_again(host, p, err);
    if (!rc && !force)
        rc = check_quarantine(host, p, err);
    if (rc < 0)
        return rc;
    p->stages = p->writes = p->is_due = true;
    return 0;
}

/* An operator may go back to what is older, but to what is useless only by force. */
static int decide_chosen(struct mailhost *host, struct pair *p, bool force, struct error *err)
{
    AUTO_GENERATION struct generation g = {0};
    AUTO_VERDICT struct judge_verdict verdict = {0};
    int rc = store_load(host->store, p->want->id, p->chosen, &g, err);
    if (!rc && !force)
        rc = judge_pair(host, p, false, &g.chain, &g.key, &verdict, err);
    if (!rc && verdict.reason != JUDGE_ACCEPTED)
        rc = error_set(err, E_FAILED, "generation %s is refused: %s; --force installs it all the same",
                       p->chosen, verdict.why);
    if (rc < 0)
        return rc;
    p->writes = p->is_due = true;
    return 0;
}

static int decide(struct mailhost *host, struct pair *p, bool force, const struct progress *progress,
                  struct error *err)
{
    memcpy(p->expected, p->want->installed, sizeof p->expected);
    int rc = store_read_record(host->store, p->want->id, &p->record, err);
    if (rc < 0)
        return rc;
    p->before = p->record.state;
    p->is_resumed = p->record.state == STORE_PENDING && p->record.current[0];
    p->is_new = p->record.is_new;
    if (p->chosen[0])
        return decide_chosen(host, p, force, err);
    if (p->has_accepted && !is_current(host, p))
        return admit(host, p, force, err);
    return decide_current(host, p, force, progress, err);
}

int pair_open(struct mailhost *host, struct pair *p, bool force, const struct progress *progress,
              struct error *err)
{
    int rc = decide(host, p, force, progress, err);
    p->is_refused = rc < 0;
    return rc;
}

/* ---- installing ---- */

/* Keeps a pair that is not ours, byte for byte, to go back to it: whatever it is, mail works with it. */
static int adopt(struct mailhost *host, struct pair *p, struct error *err)
{
    AUTO_VERDICT struct judge_verdict v = {0};
    AUTO_SECRET struct secret bundle = SECRET(2 * SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    struct error ignored;
    secret_init(&v.chain, SECRET_MAX);
    secret_init(&v.key, SECRET_MAX);
    int rc = read_installed(host, p, &v.chain, &v.key, &bundle, err);
    if (rc) /* what can be read later is not given up */
        return rc < 0 ? rc : 0;
    if (cert_parse(bundle.data, bundle.len, CERT_KEY_REQUIRED, &c, &ignored) || !cert_key_is_usable(c) ||
        !cert_key_proves(c))
        return 0;
    const struct cert_info *info = cert_info(c);
    memcpy(v.fingerprint, info->fingerprint, sizeof v.fingerprint);
    memcpy(v.spki, info->spki, sizeof v.spki);
    memcpy(v.key_type, info->key_type, sizeof v.key_type);
    memcpy(v.issuer, info->issuer, sizeof v.issuer);
    v.not_before = info->not_before;
    v.not_after = info->not_after;
    return store_stage(host->store, p->want->id, &v, time(NULL), p->record.previous, err);
}

/* Whether there is nothing to go back to as it stands: no generation before, or only one that has expired, or
 * that is gone to now. */
static bool lacks_previous(struct mailhost *host, const struct pair *p)
{
    AUTO_GENERATION struct generation g = {0};
    struct error ignored;
    const char *previous = p->record.previous;
    return strcmp(previous, p->chosen) == 0 ||
           store_load(host->store, p->want->id, previous, &g, &ignored) < 0 || g.not_after <= time(NULL);
}

/* Whether the current generation, which is installed and about to be replaced, is what to go back to. Of one
 * that failed it is not known that all serve it, but more than of one that nobody can use. */
static bool is_worth_going_back_to(struct mailhost *host, const struct pair *p)
{
    if (!p->stages && !p->chosen[0])
        return false;
    return p->record.state == STORE_SERVED || (p->record.state == STORE_FAILED && lacks_previous(host, p));
}

/* Sees to it that what is about to be replaced can be put back; what was rolled back is not to be. */
static int remember_installed(struct mailhost *host, struct pair *p, struct error *err)
{
    struct record *r = &p->record;
    char reason[STORE_REASON_SIZE];
    int rc = store_is_quarantined(host->store, p->want->id, p->want->installed, reason, err);
    if (rc)
        return rc < 0 ? rc : 0;
    if (is_generation_installed(host, p, r->current)) {
        if (is_worth_going_back_to(host, p))
            memcpy(r->previous, r->current, sizeof r->previous);
        return 0;
    }
    if (is_generation_installed(host, p, r->previous) || is_generation_installed(host, p, p->chosen))
        return 0;
    return adopt(host, p, err);
}

/* For the deployment that goes on after a crash: it finds the `domains` that this one is about to write. */
static int note_new_folder(struct mailhost *host, struct pair *p, struct error *err)
{
    if (strcmp(p->want->id, WANT_PRIMARY) == 0)
        return 0;
    int rc = sni_has_domains(host->ssl_fd, p->want->id, err);
    p->record.is_new = p->record.is_new || rc == 0;
    return rc < 0 ? rc : 0;
}

/* The record now speaks of the generation, which is about to be installed. */
static int make_current(struct mailhost *host, struct pair *p, const struct generation_meta *g,
                        const char *down_before, struct error *err)
{
    struct record *r = &p->record;
    memcpy(r->current, g->id, sizeof r->current);
    memcpy(r->fingerprint, g->fingerprint, sizeof r->fingerprint);
    r->not_after = g->not_after;
    r->changed = time(NULL);
    r->verified = 0;
    r->state = STORE_PENDING;
    r->detail[0] = '\0';
    snprintf(r->down_before, sizeof r->down_before, "%s", down_before);
    return store_write_record(host->store, p->want->id, r, err);
}

/* The current generation goes on its way again: a crash leaves it pending, and knowing what was seen first.
 */
static int resume(struct mailhost *host, struct pair *p, const char *down_before, struct error *err)
{
    struct record *r = &p->record;
    int rc = note_new_folder(host, p, err);
    if (rc < 0)
        return rc;
    if (r->state != STORE_PENDING || strcmp(down_before, STORE_DOWN_UNKNOWN) != 0)
        snprintf(r->down_before, sizeof r->down_before, "%s", down_before);
    r->state = STORE_PENDING;
    return store_write_record(host->store, p->want->id, r, err);
}

static int stage(struct mailhost *host, struct pair *p, const char *down_before,
                 const struct progress *progress, struct error *err)
{
    struct generation_meta g = {.not_after = p->accepted.not_after};
    int64_t start = clock_us();
    memcpy(g.fingerprint, p->accepted.fingerprint, sizeof g.fingerprint);
    int rc = note_new_folder(host, p, err);
    if (!rc)
        rc = store_stage(host->store, p->want->id, &p->accepted, time(NULL), g.id, err);
    if (!rc)
        rc = make_current(host, p, &g, down_before, err);
    if (!rc)
        progress_say(progress, "staged want=%s generation=%s us=%lld", p->want->id, g.id,
                     (long long)(clock_us() - start));
    return rc;
}

static int leave(struct mailhost *host, const struct pair *p, const char *fingerprint,
                 const struct generation *chosen, struct error *err)
{
    if (!fingerprint[0] || strcmp(fingerprint, chosen->fingerprint) == 0)
        return 0;
    return store_quarantine(host->store, p->want->id, fingerprint, time(NULL), "by the operator", err);
}

/* The operator's word: what is installed and what is current are left for a generation before them, and not
 * taken back by themselves. */
static int go_back(struct mailhost *host, struct pair *p, const char *down_before, struct error *err)
{
    AUTO_GENERATION struct generation g = {0};
    struct generation_meta meta;
    int rc = store_load(host->store, p->want->id, p->chosen, &g, err);
    if (rc < 0)
        return rc;
    meta.not_after = g.not_after;
    memcpy(meta.id, g.id, sizeof meta.id);
    memcpy(meta.fingerprint, g.fingerprint, sizeof meta.fingerprint);
    if (strcmp(p->record.previous, meta.id) == 0)
        p->record.previous[0] = '\0';
    rc = leave(host, p, p->want->installed, &g, err);
    if (!rc)
        rc = leave(host, p, p->record.fingerprint, &g, err);
    if (!rc)
        rc = store_release(host->store, p->want->id, g.fingerprint, err);
    return rc ? rc : make_current(host, p, &meta, down_before, err);
}

static int write_pair(struct mailhost *host, struct pair *p, const struct progress *progress,
                      struct error *err)
{
    AUTO_GENERATION struct generation g = {0};
    const struct install_place place = mailhost_place(host);
    int64_t start = clock_us();
    int rc = store_load(host->store, p->want->id, p->record.current, &g, err);
    if (!rc)
        rc = install_generation(&place, p->want->id, &g, err);
    if (rc < 0)
        return rc;
    memcpy(p->want->installed, g.fingerprint, sizeof p->want->installed);
    p->want->not_before = g.not_before;
    p->want->not_after = g.not_after;
    memcpy(p->expected, g.fingerprint, sizeof p->expected);
    progress_say(progress, "installed want=%s generation=%s us=%lld", p->want->id, g.id,
                 (long long)(clock_us() - start));
    return 0;
}

void pair_hold(struct pair *p, const struct outcome *why)
{
    p->is_held = true;
    p->is_refused = p->is_refused || p->chosen[0] || !p->is_due;
    p->chosen[0] = '\0';
    p->writes = p->is_due = false;
    memcpy(p->expected, p->want->installed, sizeof p->expected);
    outcome_merge(&p->outcome, why);
}

int pair_install(struct mailhost *host, struct pair *p, const char *down_before,
                 const struct progress *progress, struct error *err)
{
    int rc = p->writes ? remember_installed(host, p, err) : 0;
    if (!rc && p->stages)
        rc = stage(host, p, down_before, progress, err);
    if (!rc && p->chosen[0])
        rc = go_back(host, p, down_before, err);
    if (!rc && p->is_due && !p->stages && !p->chosen[0])
        rc = resume(host, p, down_before, err);
    if (rc < 0)
        p->is_refused = true;
    if (!rc && p->writes) {
        rc = write_pair(host, p, progress, err);
        p->is_stuck = rc < 0; /* half of it may be there, and the next deployment finishes it */
    }
    if (rc < 0)
        p->is_due = false;
    return rc;
}

/* ---- going back ---- */

/* Whether what is to be served is the current generation: somebody else may have put another there. */
static bool is_ours(const struct pair *p)
{
    return strcmp(p->expected, p->record.fingerprint) == 0;
}

bool pair_can_revert(const struct pair *p)
{
    if (!p->is_due || p->is_reverted || !is_ours(p))
        return false;
    return p->is_new || (p->record.previous[0] && !p->is_repeated);
}

/* In this order a crash leaves a pending generation that the next deployment installs. */
static int put_back(struct mailhost *host, struct pair *p, const struct progress *progress, struct error *err)
{
    AUTO_GENERATION struct generation g = {0};
    struct record *r = &p->record;
    int rc = store_load(host->store, p->want->id, r->previous, &g, err);
    if (!rc)
        rc = store_release(host->store, p->want->id, g.fingerprint, err);
    if (rc < 0)
        return rc;
    struct generation_meta meta = {.not_after = g.not_after};
    memcpy(meta.id, g.id, sizeof meta.id);
    memcpy(meta.fingerprint, g.fingerprint, sizeof meta.fingerprint);
    r->previous[0] = '\0';
    r->is_new = false;
    rc = make_current(host, p, &meta, r->down_before, err);
    return rc ? rc : write_pair(host, p, progress, err);
}

int pair_revert(struct mailhost *host, struct pair *p, const char *reason, const struct progress *progress,
                struct error *err)
{
    const struct record before = p->record;
    const time_t now = time(NULL);
    struct error why;
    p->is_reverted = true;
    outcome_worsen(&p->outcome, OUTCOME_ROLLED_BACK, "%s", reason);
    /* The old pair matters more than that the new one is not tried again: that may fail, and then be done
     * after it. */
    bool quarantined = store_quarantine(host->store, p->want->id, before.fingerprint, now, reason, &why) == 0;
    int rc = before.previous[0] ? put_back(host, p, progress, err) : PAIR_NO_FOLDER;
    if (!quarantined && store_quarantine(host->store, p->want->id, before.fingerprint, now, reason, &why) < 0)
        progress_say(progress, "warning want=%s: it cannot be quarantined: %s", p->want->id, why.text);
    if (rc < 0) {
        p->is_stuck = true;
        p->record = before;
    } else if (rc == 0) {
        progress_say(progress, "rolled-back want=%s generation=%s to=%s: %s", p->want->id, before.current,
                     p->record.current, reason);
    }
    return rc;
}

/* ---- the end ---- */

/* What it is from now on, where it is not served. Of what was not under way nothing is learnt by an engine
 * that is away. */
static enum store_state unserved_state(const struct pair *p)
{
    bool is_under_way = p->is_due || p->before == STORE_PENDING;
    bool is_put_off = p->outcome.result == OUTCOME_PENDING;
    if (p->is_stuck || (is_under_way && (is_put_off || (is_ours(p) && !p->is_on_wire))))
        return STORE_PENDING;
    return is_put_off ? p->record.state : STORE_FAILED;
}

void pair_conclude(struct mailhost *host, struct pair *p, bool served, const struct progress *progress)
{
    struct record *r = &p->record;
    struct error err;
    if (!r->current[0] || p->is_refused)
        return;
    if (served && is_ours(p)) {
        r->state = STORE_SERVED;
        r->verified = time(NULL);
    } else if (p->outcome.result > OUTCOME_DEPLOYED) {
        bool was_pending = r->state == STORE_PENDING;
        r->state = unserved_state(p);
        if (r->state == STORE_PENDING && !was_pending) /* nothing was looked at for it */
            snprintf(r->down_before, sizeof r->down_before, "%s", STORE_DOWN_UNKNOWN);
    }
    snprintf(r->detail, sizeof r->detail, "%.*s", (int)sizeof r->detail - 1, p->outcome.detail);
    if (r->state != STORE_PENDING) {
        r->down_before[0] = '\0';
        r->is_new = false;
    }
    int rc = store_write_record(host->store, p->want->id, r, &err);
    if (!rc && served && is_ours(p))
        rc = store_release(host->store, p->want->id, r->fingerprint, &err);
    if (!rc)
        rc = store_prune(host->store, p->want->id, (size_t)host->conf->keep, &err);
    if (rc < 0)
        progress_say(progress, "warning want=%s: %s", p->want->id, err.text);
}

enum event pair_event(const struct pair *p)
{
    bool was_wrong = p->before == STORE_PENDING || p->before == STORE_FAILED;
    if (p->outcome.event)
        return p->outcome.event;
    switch (p->outcome.result) {
    case OUTCOME_UNCHANGED:
        return was_wrong ? EVENT_SERVED_AGAIN : EVENT_NONE;
    case OUTCOME_DEPLOYED:
        return was_wrong && !p->stages ? EVENT_SERVED_AGAIN : EVENT_DEPLOYED;
    case OUTCOME_PENDING:
        return EVENT_PENDING;
    case OUTCOME_ROLLED_BACK:
        return EVENT_ROLLED_BACK;
    default:
        return EVENT_NOT_SERVED;
    }
}
