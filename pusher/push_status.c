#include "pusher/push_status.h"
#include "common/member.h"
#include "common/table.h"
#include "common/text.h"
#include "pusher/past.h"

#include <string.h>

static const struct table_column target_columns[] = {
    {"target", "TARGET", TABLE_TEXT},
    {"host", "MAIL HOST", TABLE_TEXT},
    {"state", "STATE", TABLE_STATE},
    {"contact", "LAST VERDICT", TABLE_SINCE},
    {"last_success", "LAST SUCCESS", TABLE_SINCE},
    {"last_pass", "LAST PASS", TABLE_SINCE},
    {0},
};
static const struct table_column want_columns[] = {
    {"target", "TARGET", TABLE_TEXT},
    {"want", "WANT", TABLE_TEXT},
    {"state", "STATE", TABLE_STATE},
    {"lineage", "LINEAGE", TABLE_TEXT},
    {"fingerprint", "FINGERPRINT", TABLE_FINGERPRINT},
    {"since", "SINCE", TABLE_SINCE},
    {"not_before", NULL, TABLE_SINCE},
    {"not_after", "UNTIL", TABLE_UNTIL},
    {"names", NULL, TABLE_WORDS},
    {"detail", "WHY", TABLE_TEXT},
    {0},
};
static const struct table_column pass_columns[] = {
    {"time", "PASS", TABLE_SINCE},      {"target", "TARGET", TABLE_TEXT}, {"result", "RESULT", TABLE_STATE},
    {"us", "TOOK", TABLE_MICROSECONDS}, {"detail", "WHY", TABLE_TEXT},    {0},
};

struct tables {
    struct table *targets, *wants, *passes;
};

static void tables_free(struct tables *t)
{
    table_free(t->targets);
    table_free(t->wants);
    table_free(t->passes);
}

static const char *show_time(char out[TEXT_TIME_SIZE], time_t t)
{
    return t ? text_time(out, t) : "";
}

static const char *state_of(const struct state *s)
{
    for (size_t i = 0; i < s->names.count; i++)
        if (!s->wants[i].fingerprint[0])
            return "not served";
    return s->contact ? "served" : "never contacted";
}

static int add_want(struct table *t, const char *target, const struct want *names,
                    const struct state_want *want, struct error *err)
{
    char since[TEXT_TIME_SIZE], begin[TEXT_TIME_SIZE], end[TEXT_TIME_SIZE];
    const size_t size = names->name_count * 256 + 1;
    AUTO_FREE char *list = malloc(size);
    bool served = want->fingerprint[0];
    if (!list)
        return error_memory(err);
    want_join_names(names, list, size);
    const char *values[] = {
        target,
        want->id,
        served                                                   ? "served"
        : want->result[0] && strcmp(want->result, "served") != 0 ? want->result
                                                                 : "not served",
        want->lineage,
        want->fingerprint,
        show_time(since, want->since),
        show_time(begin, served ? want->not_before : 0),
        show_time(end, served ? want->not_after : 0),
        list,
        served ? "" : want->detail,
    };
    table_add(t, values);
    return 0;
}

static void add_passes(struct table *t, const char *target, const json_t *passes)
{
    char us[24];
    for (size_t i = json_array_size(passes); i-- > 0;) {
        const json_t *pass = json_array_get(passes, i);
        snprintf(us, sizeof us, "%lld", (long long)member_number(pass, "us"));
        const char *values[] = {member_text(pass, "time"), target, member_text(pass, "result"), us,
                                member_text(pass, "detail")};
        table_add(t, values);
    }
}

static int add_target(struct tables *t, const struct target *target, const struct state *s, int state_fd,
                      struct error *err)
{
    json_auto_t *history = NULL;
    char contact[TEXT_TIME_SIZE], last[TEXT_TIME_SIZE];
    time_t last_pass;
    int rc = past_read(&history, &last_pass, state_fd, target->name, err);
    if (rc < 0)
        return rc;
    const char *values[] = {target->name,
                            target->host,
                            state_of(s),
                            show_time(contact, s->contact),
                            member_text(history, PAST_SUCCESS),
                            show_time(last, last_pass)};
    table_add(t->targets, values);
    for (size_t i = 0; !rc && i < s->names.count; i++)
        rc = add_want(t->wants, target->name, &s->names.list[i], &s->wants[i], err);
    add_passes(t->passes, target->name, history_passes(history));
    return rc;
}

int push_status(const struct arguments *a, const struct push_conf *conf, const struct state *states,
                int state_fd, struct report *report, struct error *err)
{
    CLEANUP(tables_free) struct tables t = {.targets = NULL};
    time_t now = time(NULL);
    int rc = table_new(&t.targets, target_columns, now, err);
    if (!rc)
        rc = table_new(&t.wants, want_columns, now, err);
    if (!rc)
        rc = table_new(&t.passes, pass_columns, now, err);
    for (size_t i = 0; !rc && i < conf->target_count; i++)
        if (arguments_select(a, &conf->targets[i]))
            rc = add_target(&t, &conf->targets[i], &states[i], state_fd, err);
    if (rc < 0)
        return rc;
    report_table(report, "targets", t.targets);
    report_table(report, "wants", t.wants);
    report_table(report, "passes", t.passes);
    return 0;
}
