#include "pusher/unchanged.h"

bool unchanged(const struct state *s, const struct push_conf *conf, const struct target *target,
               const struct lineage_list *lineages, time_t now)
{
    time_t age = now - s->contact;
    bool has_begun = s->next_begin && now >= s->next_begin;
    return !has_begun && age >= 0 && age < conf->verify_every && state_is_current(s, target, lineages);
}

void unchanged_report(const struct state *s, const struct target *target, struct report *report)
{
    for (size_t i = 0; i < s->names.count; i++) {
        const struct state_want *want = &s->wants[i];
        report_result(report, &(struct report_result){
                                  .target = target->name,
                                  .want = want->id,
                                  .result = "unchanged",
                                  .lineage = want->lineage,
                                  .fingerprint = want->fingerprint,
                                  .not_after = want->not_after,
                              });
    }
}
