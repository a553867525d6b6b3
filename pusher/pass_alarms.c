#include "pusher/pass_alarms.h"
#include "pusher/candidate.h"
#include "pusher/push_alarms.h"

#include <string.h>

/* What the mail host has otherwise may last longer, as when the proxy host was restored from a backup. */
static bool is_renewal(const struct cert_info *lineage, const struct state_want *want)
{
    return want->fingerprint[0] || lineage->not_after > want->not_after;
}

static void judge_renewals(struct alarm_book *book, const struct pass_alarms_opts *o,
                           const struct target *target, const struct state *s)
{
    struct error ignored;
    for (size_t i = 0; i < s->names.count; i++) {
        const struct lineage *l = candidate_choose(o->lineages, &s->names.list[i], time(NULL), &ignored);
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

static void judge_target(struct alarm_book *book, const struct pass_alarms_opts *o, size_t i)
{
    const struct target *target = &o->conf->targets[i];
    const struct pass_result *result = &o->results[i];
    AUTO_STATE struct state s = {0};
    struct error ignored;
    alarm_judge_pass(book, &o->conf->alarm, target->name, "", result->rc, result->failure.text);
    if (state_read(o->state_fd, target->name, &s, &ignored))
        return;
    push_alarms_judge(book, o->conf, target, &s);
    judge_renewals(book, o, target, &s);
}

static int judge_all(struct alarm_book *book, const struct pass_alarms_opts *o, struct error *err)
{
    candidate_parse(o->lineages, NULL);
    alarm_judge_pass(book, &o->conf->alarm, "", "", o->scanned, "a source cannot be read");
    for (size_t i = 0; i < o->conf->target_count; i++)
        judge_target(book, o, i);
    bool stands = alarm_book_settle(book);
    for (size_t i = 0; i < alarm_book_count(book); i++)
        alarm_tell(alarm_book_at(book, i), o->report);
    int rc = alarm_is_kept() ? alarm_book_write(book, o->state_fd, err) : 0;
    if (rc < 0)
        report_error(o->report, "alarms: %s", err->text);
    return rc ? rc : stands ? E_FAILED : 0;
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
    return rc < 0 ? rc : judge_all(book, o, &err);
}
