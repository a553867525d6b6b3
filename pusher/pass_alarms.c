#include "pusher/pass_alarms.h"
#include "pusher/candidate.h"
#include "pusher/push_alarms.h"

#include <string.h>

/* What the mail host has otherwise may last longer, as when the proxy host was restored from a backup. */
static bool is_renewal(const struct cert_info *lineage, const struct state_want *want)
{
    if (want->fingerprint[0])
        return lineage->not_before >= want->not_before;
    return want->not_before ? lineage->not_before > want->not_before : lineage->not_after > want->not_after;
}

/* What cannot be read may be the renewal that an alarm is about. */
static bool is_all_known(const struct pass_alarms_opts *o)
{
    for (size_t i = 0; i < o->lineages->count; i++)
        if (!o->lineages->list[i].cert)
            return false;
    return o->scanned >= 0 && !o->lineages->is_partial;
}

static void judge_renewals(struct alarm_book *book, const struct pass_alarms_opts *o,
                           const struct target *target, const struct state *s)
{
    struct error ignored;
    bool known = is_all_known(o);
    for (size_t i = 0; i < s->names.count; i++) {
        const struct lineage *l = candidate_choose(o->lineages, &s->names.list[i], time(NULL), &ignored);
        if (!known || !s->wants[i].fingerprint[0])
            alarm_keep(book, ALARM_UNSERVED, target->name, s->wants[i].id, s->wants[i].since);
        if (!l)
            continue;
        const struct cert_info *info = cert_info(l->cert);
        const struct alarm_cert renewal = {.target = target->name,
                                           .want = s->wants[i].id,
                                           .not_before = info->not_before,
                                           .not_after = info->not_after};
        if (is_renewal(info, &s->wants[i]))
            alarm_judge_unserved(book, &o->conf->alarm, &renewal,
                                 strcmp(info->fingerprint, s->wants[i].fingerprint) == 0);
    }
}

/* Of a damaged state, no more than when there was a contact. */
static int recall(struct alarm_book *book, const struct pass_alarms_opts *o, const char *target,
                  struct state *out, struct error *err)
{
    int rc = state_read(o->state_fd, target, out, err);
    if (!rc)
        return 0;
    alarm_keep(book, ALARM_EXPIRY, target, NULL, 0);
    alarm_keep(book, ALARM_UNSERVED, target, NULL, 0);
    if (rc < 0)
        alarm_keep(book, ALARM_CONTACT, target, NULL, 0);
    else
        out->contact = state_written(o->state_fd, target);
    return rc < 0 ? rc : 0;
}

/* A contact of when the clock was ahead counts from now on. */
static int restamp(const struct pass_alarms_opts *o, const char *target, struct state *s, struct error *err)
{
    time_t now = time(NULL);
    if (s->contact <= now)
        return 0;
    s->contact = now;
    return state_write(o->state_fd, target, s, err);
}

static int judge_target(struct alarm_book *book, const struct pass_alarms_opts *o, size_t i,
                        struct error *err)
{
    const struct target *target = &o->conf->targets[i];
    const struct pass_result *result = &o->results[i];
    AUTO_STATE struct state s = {0};
    alarm_judge_pass(book, &o->conf->alarm, target->name, "", result->rc, result->failure.text);
    int rc = recall(book, o, target->name, &s, err);
    if (rc < 0)
        return rc;
    rc = restamp(o, target->name, &s, err);
    push_alarms_judge(book, o->conf, target, &s);
    judge_renewals(book, o, target, &s);
    return rc;
}

static int report_worse(const struct pass_alarms_opts *o, int worst, int rc, const struct error *err)
{
    if (rc < 0)
        report_error(o->report, "alarms: %s", err->text);
    return error_worse(worst, rc);
}

/* What is not on record would be told as new by every pass, or never come to its count: then none is told,
 * and whoever tells people has a pass that failed without an alarm. */
static int tell(const struct alarm_book *book, const struct pass_alarms_opts *o, struct error *err)
{
    int rc = alarm_is_kept() ? alarm_book_write(book, o->state_fd, err) : 0;
    if (rc < 0)
        return error_wrap(err, "none is told, since the state cannot be written");
    for (size_t i = 0; i < alarm_book_count(book); i++)
        if (alarm_has_begun(alarm_book_at(book, i)))
            alarm_tell(alarm_book_at(book, i), o->report);
    return 0;
}

static int judge_all(struct alarm_book *book, const struct pass_alarms_opts *o)
{
    struct error err;
    int worst = 0;
    candidate_parse(o->lineages, NULL);
    alarm_judge_pass(book, &o->conf->alarm, "", "", o->scanned, "a source cannot be read");
    for (size_t i = 0; i < o->conf->target_count; i++)
        worst = report_worse(o, worst, judge_target(book, o, i, &err), &err);
    bool stands = alarm_book_settle(book);
    worst = report_worse(o, worst, tell(book, o, &err), &err);
    return error_worse(worst, stands ? E_FAILED : 0);
}

int pass_alarms(const struct pass_alarms_opts *o)
{
    AUTO_ALARMS struct alarm_book *book = NULL;
    struct error err;
    if (alarm_is_off())
        return 0;
    int rc = alarm_book_read(&book, o->state_fd, time(NULL), &err);
    if (rc)
        report_error(o->report, "alarms: %s", err.text);
    return rc < 0 ? rc : judge_all(book, o);
}
