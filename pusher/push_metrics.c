#include "pusher/push_metrics.h"
#include "common/member.h"
#include "common/metrics.h"
#include "pusher/past.h"
#include "pusher/state.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "mailcow-cert-push.prom"

struct targeted {
    const char *name;
    struct state state;
    json_t *history;
    time_t last;
};

struct all {
    struct targeted list[PUSH_CONF_MAX_TARGETS];
    size_t count;
};

static void all_free(struct all *all)
{
    for (size_t i = 0; i < all->count; i++) {
        state_free(&all->list[i].state);
        json_decref(all->list[i].history);
    }
}

/* ---- targets ---- */

/* A value of 0 is left out but where it means something. */
static double contact(const struct targeted *t)
{
    return (double)t->state.contact;
}

static double last_pass(const struct targeted *t)
{
    return (double)t->last;
}

static double last_success(const struct targeted *t)
{
    return (double)member_time(t->history, PAST_SUCCESS);
}

static const json_t *latest(const struct targeted *t)
{
    const json_t *passes = history_passes(t->history);
    return json_array_get(passes, json_array_size(passes) - 1);
}

static double duration(const struct targeted *t)
{
    return (double)member_number(latest(t), "us") / 1e6;
}

static double succeeded(const struct targeted *t)
{
    return strcmp(member_text(latest(t), "result"), past_results[0]) == 0;
}

static void add_targets(struct metrics *m, const struct all *all)
{
    static const struct {
        const char *name, *help;
        double (*of)(const struct targeted *t);
        bool needs_pass; /* else: needs to be other than 0 */
    } families[] = {
        {"push_last_contact_timestamp_seconds", "When the mail host last gave a verdict.", contact, false},
        {"push_last_pass_timestamp_seconds", "When the last pass ended, whatever came of it.", last_pass,
         false},
        {"push_last_success_timestamp_seconds", "When a pass last found or brought everything served.",
         last_success, false},
        {"push_last_pass_duration_seconds", "How long the last pass that asked the mail host took.", duration,
         true},
        {"push_last_pass_success", "1 if everything was served at its end.", succeeded, true},
    };
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        metrics_family(m, families[f].name, METRICS_GAUGE, families[f].help);
        for (size_t i = 0; i < all->count; i++) {
            const struct targeted *t = &all->list[i];
            const struct metrics_label labels[] = {{"target", t->name}, {0}};
            if (families[f].needs_pass ? latest(t) != NULL : families[f].of(t) != 0)
                metrics_add(m, labels, families[f].of(t));
        }
    }
    metrics_family(m, "push_passes_total", METRICS_COUNTER, "Passes that asked the mail host, by result.");
    for (size_t i = 0; i < all->count; i++)
        for (size_t r = 0; past_results[r]; r++) {
            const struct metrics_label labels[] = {
                {"target", all->list[i].name}, {"result", past_results[r]}, {0}};
            metrics_add(m, labels,
                        (double)history_counted(all->list[i].history, PAST_PASSES, past_results[r]));
        }
}

/* ---- wants ---- */

static double served(const struct state_want *w)
{
    return w->fingerprint[0] != '\0';
}

static double end(const struct state_want *w)
{
    return (double)w->not_after;
}

static double lifetime(const struct state_want *w)
{
    return w->not_before ? (double)w->not_after - (double)w->not_before : 0;
}

static double pending(const struct state_want *w)
{
    return strcmp(w->result, "pending") == 0;
}

static void add_wants(struct metrics *m, const struct all *all)
{
    static const struct {
        const char *name, *help;
        double (*of)(const struct state_want *w);
        bool needs_served;
    } families[] = {
        {"push_served", "1 if the mail host said that it serves what was pushed.", served, false},
        {"push_pending", "1 if the mail host has accepted what was pushed and is yet to deploy it.", pending,
         false},
        {"push_not_after_timestamp_seconds", "When the certificate that is served expires.", end, true},
        {"push_lifetime_seconds", "For how long that certificate is valid in all.", lifetime, true},
    };
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        metrics_family(m, families[f].name, METRICS_GAUGE, families[f].help);
        for (size_t i = 0; i < all->count; i++)
            for (size_t n = 0; n < all->list[i].state.names.count; n++) {
                const struct state_want *w = &all->list[i].state.wants[n];
                const struct metrics_label labels[] = {
                    {"target", all->list[i].name}, {"want", w->id}, {"lineage", w->lineage}, {0}};
                if (!families[f].needs_served || (w->fingerprint[0] && families[f].of(w) != 0))
                    metrics_add(m, labels, families[f].of(w));
            }
    }
}

static int read_all(struct all *all, const struct push_conf *conf, int state_fd, struct error *err)
{
    struct error ignored; /* a damaged state is an empty one, and was told */
    for (size_t i = 0; i < conf->target_count; i++) {
        struct targeted *t = &all->list[all->count++];
        t->name = conf->targets[i].name;
        state_read(state_fd, t->name, &t->state, &ignored);
        int rc = past_read(&t->history, &t->last, state_fd, t->name, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What another one who calls the program wrote, root as a rule, the service could not replace. */
static bool is_ours(int state_fd)
{
    struct stat st;
    return fstat(state_fd, &st) == 0 && st.st_uid == geteuid();
}

int push_metrics_write(const struct push_conf *conf, int state_fd, struct error *err)
{
    AUTO_METRICS struct metrics *m = NULL;
    CLEANUP(all_free) struct all all = {.count = 0};
    const struct metrics_label version[] = {{"version", VERSION}, {0}};
    if (!metrics_are_wanted(conf->textfile) || !is_ours(state_fd))
        return 0;
    int rc = metrics_new(&m, err);
    if (!rc)
        rc = read_all(&all, conf, state_fd, err);
    if (rc < 0)
        return rc;
    metrics_family(m, "push_info", METRICS_GAUGE, "1; which version runs.");
    metrics_add(m, version, 1);
    add_targets(m, &all);
    add_wants(m, &all);
    return metrics_write(m, conf->textfile, FILE_NAME, err);
}
