#include "deployer/deploy_alarms.h"

static int result_of(const struct outcome *o)
{
    return o->result <= OUTCOME_DEPLOYED ? 0 : o->result == OUTCOME_PENDING ? E_TEMPORARY : E_FAILED;
}

/* One of when the clock was ahead counts from now on: no silence would be noticed before it had come to it.
 */
static time_t last_contact(const struct mailhost *host)
{
    time_t last = store_last_contact(host->store), now = time(NULL);
    if (last <= now)
        return last;
    store_note_contact(host->store);
    return now;
}

int deploy_alarms_judge(const struct mailhost *host, const struct deploy_outcome *outcome, bool keep,
                        struct alarm_book **out, struct error *err)
{
    const struct alarm_conf *conf = &host->conf->alarm;
    AUTO_ALARMS struct alarm_book *book = NULL;
    int rc = alarm_book_read(&book, store_folder(host->store), time(NULL), err);
    if (rc < 0)
        return rc;
    alarm_judge_contact(book, conf, "", last_contact(host));
    for (size_t i = 0; i < outcome->pair_count; i++) {
        const struct pair *p = &outcome->pairs[i];
        if (p->is_removed)
            continue;
        alarm_judge_expiry(book, conf,
                           &(struct alarm_cert){.target = "",
                                                .want = p->want->id,
                                                .not_before = p->want->not_before,
                                                .not_after = p->want->not_after});
        alarm_judge_pass(book, conf, "", p->want->id, result_of(&p->outcome), p->outcome.detail);
    }
    alarm_book_settle(book);
    rc = keep ? alarm_book_write(book, store_folder(host->store), err) : 0;
    if (rc < 0)
        return error_wrap(err, "none is told, since the state cannot be written");
    *out = book;
    book = NULL;
    return 0;
}
