#include "pusher/push_alarms.h"

void push_alarms_judge(struct alarm_book *b, const struct push_conf *conf, const struct target *target,
                       const struct state *s)
{
    alarm_judge_contact(b, &conf->alarm, target->name, s->contact);
    for (size_t i = 0; i < s->names.count; i++) {
        const struct state_want *want = &s->wants[i];
        const struct alarm_cert served = {.target = target->name,
                                          .want = want->id,
                                          .not_before = want->not_before,
                                          .not_after = want->not_after};
        if (!want->fingerprint[0])
            alarm_keep(b, ALARM_EXPIRY, target->name, want->id, 0);
        alarm_judge_expiry(b, &conf->alarm, &served);
    }
}

bool push_alarms_quiet(const struct push_conf *conf, const struct state *states, int state_fd)
{
    AUTO_ALARMS struct alarm_book *book = NULL;
    struct error ignored;
    if (alarm_book_read(&book, state_fd, time(NULL), &ignored) || alarm_book_count(book))
        return false;
    for (size_t i = 0; i < conf->target_count; i++)
        push_alarms_judge(book, conf, &conf->targets[i], &states[i]);
    return !alarm_book_count(book);
}
