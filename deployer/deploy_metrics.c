#include "deployer/deploy_metrics.h"
#include "common/member.h"
#include "common/metrics.h"
#include "deployer/ledger.h"
#include "deployer/reload.h"

#include <string.h>

#define FILE_NAME "mailcow-cert-deploy.prom"

static void add_time(struct metrics *m, const struct metrics_label *labels, time_t t)
{
    if (t)
        metrics_add(m, labels, (double)t);
}

static void add_lifetime(struct metrics *m, const struct metrics_label *labels, time_t begin, time_t end)
{
    if (begin && end)
        metrics_add(m, labels, (double)end - (double)begin);
}

/* ---- wants ---- */

struct wanted {
    const struct want *want;
    struct record record;
    size_t quarantined;
};

static void add_state(struct metrics *m, const struct wanted *w, size_t count)
{
    static const enum store_state states[] = {STORE_NONE, STORE_PENDING, STORE_SERVED, STORE_FAILED};
    metrics_family(m, "deploy_want_state", METRICS_GAUGE,
                   "1 for the state that the want's record says, 0 for the others.");
    for (size_t i = 0; i < count; i++)
        for (size_t s = 0; s < sizeof states / sizeof *states; s++) {
            const struct metrics_label labels[] = {
                {"want", w[i].want->id}, {"state", store_state_str(states[s])}, {0}};
            metrics_add(m, labels, w[i].record.state == states[s]);
        }
}

static double installed_end(const struct wanted *w)
{
    return (double)w->want->not_after;
}

static double installed_lifetime(const struct wanted *w)
{
    return w->want->not_before ? (double)w->want->not_after - (double)w->want->not_before : 0;
}

static double last_success(const struct wanted *w)
{
    return (double)w->record.verified;
}

static double pending(const struct wanted *w)
{
    return w->record.state == STORE_PENDING;
}

static double quarantined(const struct wanted *w)
{
    return (double)w->quarantined;
}

static void add_wants(struct metrics *m, const struct wanted *w, size_t count)
{
    static const struct {
        const char *name, *help;
        double (*of)(const struct wanted *w);
        bool leaves_out_zero;
    } families[] = {
        {"deploy_installed_not_after_timestamp_seconds",
         "When the certificate in mailcow's SSL folder expires.", installed_end, true},
        {"deploy_installed_lifetime_seconds", "For how long that certificate is valid in all.",
         installed_lifetime, true},
        {"deploy_last_success_timestamp_seconds",
         "When the current certificate was last seen on every endpoint.", last_success, true},
        {"deploy_pending", "1 if an accepted certificate is yet to be deployed.", pending, false},
        {"deploy_quarantined", "Certificates that were rolled back and are refused.", quarantined, false},
    };
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        metrics_family(m, families[f].name, METRICS_GAUGE, families[f].help);
        for (size_t i = 0; i < count; i++) {
            const struct metrics_label labels[] = {{"want", w[i].want->id}, {0}};
            double value = families[f].of(&w[i]);
            if (value != 0 || !families[f].leaves_out_zero)
                metrics_add(m, labels, value);
        }
    }
    add_state(m, w, count);
}

static int read_wants(struct mailhost *host, struct wanted *out, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < host->wants.count; i++) {
        out[i].want = &host->wants.list[i];
        rc = store_read_record(host->store, out[i].want->id, &out[i].record, err);
        if (!rc)
            rc = store_count_quarantined(host->store, out[i].want->id, &out[i].quarantined, err);
    }
    return rc;
}

/* ---- endpoints ---- */

static void add_served(struct metrics *m, const struct metrics_label *labels, const json_t *row)
{
    metrics_add(m, labels, strcmp(member_text(row, "state"), "served") == 0);
}

static void add_end(struct metrics *m, const struct metrics_label *labels, const json_t *row)
{
    add_time(m, labels, member_time(row, "not_after"));
}

static void add_life(struct metrics *m, const struct metrics_label *labels, const json_t *row)
{
    add_lifetime(m, labels, member_time(row, "not_before"), member_time(row, "not_after"));
}

static void add_seen(struct metrics *m, const struct metrics_label *labels, const json_t *row)
{
    add_time(m, labels, member_time(row, "seen"));
}

static void add_endpoints(struct metrics *m, const json_t *seen)
{
    static const struct {
        const char *name, *help;
        void (*add)(struct metrics *m, const struct metrics_label *labels, const json_t *row);
    } families[] = {
        {"deploy_endpoint_served", "1 if the endpoint showed the want's certificate when it was last asked.",
         add_served},
        {"deploy_endpoint_not_after_timestamp_seconds", "When the certificate that it showed expires.",
         add_end},
        {"deploy_endpoint_lifetime_seconds", "For how long that certificate is valid in all.", add_life},
        {"deploy_endpoint_seen_timestamp_seconds", "When the endpoint was last asked.", add_seen},
    };
    size_t i;
    const json_t *row;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        metrics_family(m, families[f].name, METRICS_GAUGE, families[f].help);
        json_array_foreach(seen, i, row)
        {
            const struct metrics_label labels[] = {{"want", member_text(row, "want")},
                                                   {"endpoint", member_text(row, "endpoint")},
                                                   {"listener", member_text(row, "listener")},
                                                   {0}};
            families[f].add(m, labels, row);
        }
    }
}

/* ---- deployments ---- */

static void add_last(struct metrics *m, const json_t *passes)
{
    const json_t *last = json_array_get(passes, json_array_size(passes) - 1);
    const char *result = member_text(last, "result");
    if (!last)
        return;
    metrics_family(m, "deploy_last_deployment_timestamp_seconds", METRICS_GAUGE,
                   "When the last deployment or reconcile ended.");
    add_time(m, NULL, member_time(last, "time"));
    metrics_family(m, "deploy_last_deployment_duration_seconds", METRICS_GAUGE, "How long it took.");
    metrics_add(m, NULL, (double)member_number(last, "us") / 1e6);
    metrics_family(m, "deploy_last_deployment_success", METRICS_GAUGE,
                   "1 if everything was served at its end.");
    metrics_add(m, NULL, strcmp(result, "deployed") == 0 || strcmp(result, "unchanged") == 0);
}

/* Also those that never happened: a counter that begins at 1 is an increase that nobody sees. */
static void add_services(struct metrics *m, const json_t *history, const char *counter)
{
    static const char *const how[] = {"done", "failed"};
    char kind[80];
    for (size_t s = 0; s < reload_service_count; s++)
        for (size_t h = 0; h < 2; h++) {
            const struct metrics_label labels[] = {
                {"service", reload_services[s].name}, {"result", how[h]}, {0}};
            snprintf(kind, sizeof kind, "%s %s", reload_services[s].name, how[h]);
            metrics_add(m, labels, (double)history_counted(history, counter, kind));
        }
}

static void add_counters(struct metrics *m, const json_t *history)
{
    metrics_family(m, "deploy_deployments_total", METRICS_COUNTER, "Deployments and reconciles, by result.");
    for (int result = OUTCOME_UNCHANGED; result <= OUTCOME_FAILED; result++) {
        const char *word = outcome_str((enum outcome_result)result);
        const struct metrics_label labels[] = {{"result", word}, {0}};
        metrics_add(m, labels, (double)history_counted(history, LEDGER_DEPLOYMENTS, word));
    }
    metrics_family(m, "deploy_reloads_total", METRICS_COUNTER, "Reloads of services.");
    add_services(m, history, LEDGER_RELOADS);
    metrics_family(m, "deploy_restarts_total", METRICS_COUNTER, "Restarts of containers.");
    add_services(m, history, LEDGER_RESTARTS);
    metrics_family(m, "deploy_rollbacks_total", METRICS_COUNTER,
                   "Certificates that broke a listener, and were taken back.");
    metrics_add(m, NULL, (double)history_counted(history, LEDGER_ROLLBACKS, NULL));
}

int deploy_metrics_write(struct mailhost *host, const json_t *history, struct error *err)
{
    AUTO_METRICS struct metrics *m = NULL;
    AUTO_FREE struct wanted *wanted = calloc(host->wants.count + 1, sizeof *wanted);
    const struct metrics_label version[] = {{"version", VERSION}, {"host", host->mailcow.hostname}, {0}};
    if (!metrics_are_wanted(host->conf->textfile))
        return 0;
    if (!wanted)
        return error_memory(err);
    int rc = metrics_new(&m, err);
    if (!rc)
        rc = read_wants(host, wanted, err);
    if (rc < 0)
        return rc;
    metrics_family(m, "deploy_info", METRICS_GAUGE, "1; which version runs, and for which host.");
    metrics_add(m, version, 1);
    metrics_family(m, "deploy_last_contact_timestamp_seconds", METRICS_GAUGE,
                   "When a pusher last opened a session.");
    add_time(m, NULL, store_last_contact(host->store));
    add_wants(m, wanted, host->wants.count);
    add_endpoints(m, ledger_seen(history));
    add_last(m, history_passes(history));
    add_counters(m, history);
    return metrics_write(m, host->conf->textfile, FILE_NAME, err);
}
