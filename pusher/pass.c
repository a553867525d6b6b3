#include "pusher/pass.h"
#include "common/client.h"
#include "common/clock.h"
#include "pusher/candidate.h"
#include "pusher/contact.h"
#include "pusher/past.h"
#include "pusher/state.h"
#include "pusher/unchanged.h"

#include <string.h>

/* What is known of one want in this pass. */
struct plan {
    const struct want *want;
    const struct lineage *lineage; /* chosen; NULL: none */
    struct secret bundle;          /* loaded, to be sent */
    char fingerprint[65];          /* of the bundle, or of the chosen lineage */
    time_t not_before, not_after;
    char result[16];
    char detail[300];
    bool sent;
    bool accepted;
    bool served; /* the verdict's, or the greeting's, word */
    bool told;   /* the verdict had a row for it */
    int rc;
};

struct pass {
    const struct pass_opts *opts;
    struct state state;
    struct client_greeting greeting;
    struct want_list wants;   /* of the greeting, those that are this target's */
    struct plan *plans;       /* one for each of them */
    int64_t load_deadline_ms; /* for pairs that do not match yet */
    time_t next_begin;        /* of the lineages that are not valid yet; 0: there are none */
    struct wire *wire;
};

static void pass_free(struct pass *p)
{
    for (size_t i = 0; p->plans && i < p->wants.count; i++)
        secret_wipe(&p->plans[i].bundle);
    free(p->plans);
    state_free(&p->state);
    want_list_free(&p->wants);
    client_greeting_free(&p->greeting);
    wire_free(p->wire);
}

static void report_plan(const struct pass *p, struct plan *plan, const char *result, enum event event,
                        const char *detail)
{
    if (plan->rc < 0 && p->opts->failure && !p->opts->failure->text[0])
        error_set(p->opts->failure, plan->rc, "want %s: %s: %s", plan->want->id, result,
                  detail ? detail : "");
    snprintf(plan->result, sizeof plan->result, "%s", plan->served ? "served" : result);
    snprintf(plan->detail, sizeof plan->detail, "%.*s", (int)sizeof plan->detail - 1, detail ? detail : "");
    report_result(p->opts->report, &(struct report_result){
                                       .event = event,
                                       .target = p->opts->target->name,
                                       .want = plan->want->id,
                                       .result = result,
                                       .lineage = plan->lineage ? plan->lineage->name : NULL,
                                       .fingerprint = plan->fingerprint,
                                       .not_after = plan->not_after,
                                       .detail = detail,
                                       .failed = plan->rc < 0,
                                   });
}

/* ---- connecting ---- */

static void on_step(void *ctx, enum ssh_step step, const char *detail, int64_t us)
{
    static const char *const words[] = {
        [SSH_CONNECTED] = "connected",
        [SSH_HOST_KEY] = "host-key",
        [SSH_AUTHENTICATED] = "authenticated",
        [SSH_OPEN] = "opened",
    };
    const struct pass *p = ctx;
    report_step(p->opts->report, "%s us=%lld%s%s", words[step], (long long)us, *detail ? ": " : "", detail);
}

/* ---- choosing ---- */

static const struct state_want *recall(const struct pass *p, const char *id)
{
    for (size_t i = 0; i < p->state.names.count; i++)
        if (strcmp(p->state.wants[i].id, id) == 0)
            return &p->state.wants[i];
    return NULL;
}

static void use_cert(struct plan *plan, const struct cert *c)
{
    memcpy(plan->fingerprint, cert_info(c)->fingerprint, sizeof plan->fingerprint);
    plan->not_before = cert_info(c)->not_before;
    plan->not_after = cert_info(c)->not_after;
}

static int load(const struct pass *p, struct plan *plan, struct error *err)
{
    AUTO_CERT struct cert *c = NULL;
    int rc = candidate_load(plan->lineage, p->load_deadline_ms, &plan->bundle, &c, err);
    if (rc < 0)
        return rc;
    use_cert(plan, c);
    const char *missing =
        cert_first_uncovered(c, (const char *const *)plan->want->names, plan->want->name_count);
    if (missing)
        return error_set(err, E_TEMPORARY, "lineage %s was just renewed and no longer covers %s",
                         plan->lineage->name, missing);
    return 0;
}

/* What is known of the leaf that the mail host has installed; NULL if it is not the one of the state. */
static const struct state_want *recall_installed(const struct pass *p, const struct want *want)
{
    const struct state_want *before = recall(p, want->id);
    return before && before->not_before && before->not_after == want->not_after ? before : NULL;
}

/* The lineage that the mail host has its certificate from, if it could not be read and the chosen one began
 * before that: the mail host would refuse it. */
static const struct lineage *find_hidden(const struct pass *p, const struct plan *plan)
{
    const struct lineage_list *l = p->opts->lineages;
    const struct state_want *before = recall_installed(p, plan->want);
    if (!before || cert_info(plan->lineage->cert)->not_before >= before->not_before)
        return NULL;
    for (size_t i = 0; i < l->count; i++)
        if (l->list[i].is_unread && strcmp(l->list[i].name, before->lineage) == 0)
            return &l->list[i];
    return NULL;
}

static void put_off(struct pass *p, struct plan *plan, const struct lineage *hidden)
{
    struct error err;
    plan->rc =
        error_set(&err, E_TEMPORARY, "lineage %s could not be read, and %s is older than what is installed",
                  hidden->name, plan->lineage->name);
    plan->lineage = hidden;
    report_plan(p, plan, "unreadable", EVENT_LINEAGE_UNREADABLE, err.text);
}

/* Decides about one want: nothing (served already), or a bundle to send. */
static void choose(struct pass *p, struct plan *plan)
{
    struct error err;
    int64_t start = clock_us();
    plan->rc = contact_has_want(&p->greeting, plan->want->id, &err);
    if (plan->rc < 0) {
        report_plan(p, plan, "unknown", EVENT_PUSH_FAILED, err.text);
        return;
    }
    plan->lineage = candidate_choose(p->opts->lineages, plan->want, time(NULL), &err);
    if (!plan->lineage) {
        plan->rc = err.code;
        report_plan(p, plan, "missing", EVENT_NO_LINEAGE, err.text);
        return;
    }
    const struct lineage *hidden = find_hidden(p, plan);
    if (hidden) {
        put_off(p, plan, hidden);
        return;
    }
    use_cert(plan, plan->lineage->cert);
    report_step(p->opts->report, "chosen want=%s lineage=%s fingerprint=%s us=%lld", plan->want->id,
                plan->lineage->name, plan->fingerprint, (long long)(clock_us() - start));
    bool same = strcmp(plan->want->installed, plan->fingerprint) == 0 && plan->want->served;
    plan->served = same && !p->opts->force;
    if (plan->served || p->opts->dry_run)
        return;
    plan->rc = load(p, plan, &err);
    if (plan->rc < 0)
        report_plan(p, plan, "unreadable", EVENT_LINEAGE_UNREADABLE, err.text);
}

static int choose_all(struct pass *p, struct error *err)
{
    p->plans = calloc(p->wants.count + 1, sizeof *p->plans);
    if (!p->plans)
        return error_memory(err);
    p->load_deadline_ms = clock_ms() + CANDIDATE_LOAD_MS;
    p->next_begin = candidate_next_begin(p->opts->lineages, time(NULL));
    for (size_t i = 0; i < p->wants.count; i++) {
        struct plan *plan = &p->plans[i];
        plan->want = &p->wants.list[i];
        secret_init(&plan->bundle, SECRET_MAX);
        choose(p, plan);
    }
    return 0;
}

/* ---- sending ---- */

static int send_bundle(struct pass *p, struct plan *plan, struct error *err)
{
    char digest[65];
    int64_t start = clock_us();
    if (!cert_sha256(digest, plan->bundle.data, plan->bundle.len))
        return error_memory(err);
    int rc = wire_write_line(p->wire, err, "PUT %s %zu %s", plan->want->id, plan->bundle.len, digest);
    if (!rc)
        rc = wire_write_bytes(p->wire, plan->bundle.data, plan->bundle.len, err);
    if (!rc)
        report_step(p->opts->report, "sent want=%s bytes=%zu us=%lld", plan->want->id, plan->bundle.len,
                    (long long)(clock_us() - start));
    secret_wipe(&plan->bundle);
    plan->sent = !rc;
    return rc;
}

/* Everything goes out in one flight; the answers come in the same order. */
static int send_all(struct pass *p, struct error *err)
{
    bool any = false;
    int rc = wire_write_line(p->wire, err, "HELLO %d mailcow-cert-push/%s", WIRE_PROTOCOL, VERSION);
    for (size_t i = 0; !rc && i < p->wants.count; i++) {
        struct plan *plan = &p->plans[i];
        if (plan->bundle.len)
            rc = send_bundle(p, plan, err);
        any = any || plan->sent;
    }
    if (rc)
        return rc;
    return wire_write_line(p->wire, err, any ? p->opts->force ? "DEPLOY force" : "DEPLOY" : "QUIT");
}

/* ---- the verdict ---- */

static int read_answer(struct pass *p, struct plan *plan, struct error *err)
{
    struct client_reply reply;
    int rc = client_read_reply(p->wire, p->opts->report, NULL, NULL, &reply, err);
    if (rc)
        return rc;
    plan->rc = client_result(reply.code);
    plan->accepted = !plan->rc;
    if (plan->accepted)
        report_step(p->opts->report, "%s", reply.text);
    else
        report_plan(p, plan, "rejected", EVENT_REJECTED, wire_free_text(reply.text));
    return 0;
}

/* A want's own result counts: that of the whole is the worst of all. */
static int result_of(const struct client_want *row, int code)
{
    if (strcmp(row->result, "deployed") == 0 || strcmp(row->result, "unchanged") == 0)
        return 0;
    int rc = client_result(code);
    return strcmp(row->result, "pending") == 0 ? E_TEMPORARY : rc ? rc : E_FAILED;
}

/* By what was made of it, not by the mail host's word alone. */
static enum event event_of(const struct plan *plan, const char *result)
{
    if (plan->rc == E_TEMPORARY)
        return EVENT_PENDING;
    if (plan->rc < 0)
        return strcmp(result, "rolled-back") == 0 ? EVENT_ROLLED_BACK : EVENT_NOT_SERVED;
    return strcmp(result, "deployed") == 0 ? EVENT_DEPLOYED : EVENT_NONE;
}

static void on_verdict(void *ctx, int code, const char *text)
{
    struct pass *p = ctx;
    struct client_want row;
    if (!client_parse_want(text, &row))
        return;
    for (size_t i = 0; i < p->wants.count; i++) {
        struct plan *plan = &p->plans[i];
        if (strcmp(plan->want->id, row.id) != 0 || !plan->accepted)
            continue;
        bool same = strcmp(row.fingerprint, plan->fingerprint) == 0;
        plan->rc = result_of(&row, code);
        plan->rc = plan->rc || same ? plan->rc : E_FAILED;
        plan->served = !plan->rc;
        bool contradicts = !plan->served && !result_of(&row, code);
        report_plan(p, plan, contradicts ? "failed" : row.result, event_of(plan, row.result),
                    *row.detail    ? row.detail
                    : plan->served ? NULL
                                   : "the mail host serves another certificate");
        plan->told = true;
    }
}

/* What has no row of its own comes out as the whole. */
static void report_verdict(struct pass *p, const struct client_reply *verdict)
{
    for (size_t i = 0; i < p->wants.count; i++) {
        struct plan *plan = &p->plans[i];
        if (!plan->accepted || plan->told)
            continue;
        int rc = client_result(verdict->code);
        plan->rc = rc ? rc : E_FAILED;
        report_plan(p, plan, plan->rc == E_TEMPORARY ? "pending" : "failed", event_of(plan, ""),
                    *wire_free_text(verdict->text) ? wire_free_text(verdict->text)
                                                   : "the mail host serves another certificate");
    }
}

static int read_verdict(struct pass *p, struct error *err)
{
    struct client_reply verdict = {0};
    int rc = 0;
    bool any = false;
    for (size_t i = 0; !rc && i < p->wants.count; i++)
        if (p->plans[i].sent) {
            rc = read_answer(p, &p->plans[i], err);
            any = any || p->plans[i].accepted;
        }
    if (!rc)
        rc = client_read_reply(p->wire, p->opts->report, on_verdict, p, &verdict, err);
    if (rc == WIRE_END)
        return error_set(err, E_TEMPORARY,
                         "the connection was cut before the verdict; it will be asked for again");
    if (!rc && any)
        report_verdict(p, &verdict);
    return rc;
}

/* ---- the state ---- */

static time_t begin_of_installed(const struct pass *p, const struct plan *plan)
{
    const struct state_want *before = recall_installed(p, plan->want);
    if (strcmp(plan->want->installed, plan->fingerprint) == 0)
        return plan->not_before;
    return before ? before->not_before : 0;
}

/* Only what the deployer's word says to be served is recorded; the rest is tried again by the next pass. */
static int record(struct pass *p, struct error *err)
{
    AUTO_STATE struct state new = {.contact = time(NULL), .next_begin = p->next_begin};
    size_t count = p->wants.count;
    new.wants = calloc(count + 1, sizeof *new.wants);
    if (!new.wants)
        return error_memory(err);
    new.names = p->wants; /* they are read no more */
    p->wants = (struct want_list){0};
    for (size_t i = 0; i < count; i++) {
        const struct plan *plan = &p->plans[i];
        const struct state_want *before = recall(p, plan->want->id);
        struct state_want *want = &new.wants[i];
        strcpy(want->id, plan->want->id);
        memcpy(want->result, plan->result, sizeof want->result);
        memcpy(want->detail, plan->detail, sizeof want->detail);
        if (plan->served) {
            bool same = before && before->since && strcmp(before->fingerprint, plan->fingerprint) == 0;
            memcpy(want->fingerprint, plan->fingerprint, sizeof want->fingerprint);
            memcpy(want->lineage, plan->lineage->name, sizeof want->lineage);
            want->not_before = plan->not_before;
            want->not_after = plan->not_after;
            want->since = same ? before->since : new.contact;
        } else {
            want->not_before = begin_of_installed(p, plan);
            want->not_after = plan->want->not_after;
            if (before)
                memcpy(want->lineage, before->lineage, sizeof want->lineage);
        }
    }
    free(p->plans);
    p->plans = NULL;
    int rc = state_sign(&new, p->opts->target, p->opts->lineages, err);
    return rc ? rc : state_write(p->opts->state_fd, p->opts->target->name, &new, err);
}

/* Something was sent and no verdict came: what the last one said is no longer known to hold. */
static void forget(struct pass *p)
{
    struct error ignored;
    for (size_t i = 0; i < p->state.names.count; i++)
        p->state.wants[i].fingerprint[0] = '\0';
    if (p->state.names.count)
        state_write(p->opts->state_fd, p->opts->target->name, &p->state, &ignored);
}

/* ---- the pass ---- */

static int finish_dry(struct pass *p)
{
    int worst = 0;
    for (size_t i = 0; i < p->wants.count; i++) {
        struct plan *plan = &p->plans[i];
        worst = error_worse(worst, plan->rc);
        if (!plan->rc)
            report_plan(p, plan, plan->served ? "unchanged" : "would be pushed", EVENT_NONE, NULL);
    }
    return worst;
}

static int finish(struct pass *p, struct error *err)
{
    int worst = 0;
    for (size_t i = 0; i < p->wants.count; i++) {
        struct plan *plan = &p->plans[i];
        worst = error_worse(worst, plan->rc);
        if (!plan->rc && !plan->sent)
            report_plan(p, plan, "unchanged", EVENT_NONE, NULL);
    }
    int rc = record(p, err);
    return rc < 0 ? error_wrap(err, "record the verdict") : worst;
}

static int converse(struct pass *p, struct ssh **session, struct error *err)
{
    int64_t start = clock_us();
    wire_set_deadline(p->wire, clock_ms() + CONTACT_MS);
    candidate_parse(p->opts->lineages, p->opts->report); /* while the greeting is under way */
    int rc = contact_greeted(session, p->wire, &p->greeting, err);
    if (rc < 0)
        return rc;
    report_step(p->opts->report, "greeted host=%s wants=%zu us=%lld", p->greeting.host,
                p->greeting.wants.count, (long long)(clock_us() - start));
    rc = contact_take_wants(&p->greeting, p->opts->target, &p->wants, err);
    if (!rc)
        rc = choose_all(p, err);
    if (rc < 0)
        return rc;
    if (p->opts->dry_run)
        return finish_dry(p);
    rc = send_all(p, err);
    if (!rc)
        rc = read_verdict(p, err);
    if (rc)
        forget(p);
    return rc ? rc : finish(p, err);
}

static int connect_and_push(struct pass *p, struct error *err)
{
    struct ssh *session = NULL;
    char ignored[8];
    struct error ended;
    int rc = contact_open(&session, p->opts->target, on_step, p, err);
    if (!rc)
        rc = wire_new(&p->wire, ssh_fd(session), err);
    if (!rc)
        rc = converse(p, &session, err);
    if (session)
        ssh_close(session, ignored, sizeof ignored, &ended);
    return rc;
}

static enum event event_of_failure(const struct error *err)
{
    return err->event ? err->event : err->code == E_TEMPORARY ? EVENT_PUSH_DELAYED : EVENT_PUSH_FAILED;
}

/* The first want that was not served, for people. */
static const char *find_complaint(const struct state *s)
{
    for (size_t i = 0; i < s->names.count; i++)
        if (!s->wants[i].fingerprint[0] && s->wants[i].detail[0])
            return s->wants[i].detail;
    return "";
}

static void keep_record(const struct pass_opts *opts, int rc, int64_t start_us, const char *text)
{
    AUTO_STATE struct state after = {0};
    struct error err;
    state_read(opts->state_fd, opts->target->name, &after, &err);
    const struct past_pass pass = {
        .rc = rc, .us = clock_us() - start_us, .detail = rc < 0 && !*text ? find_complaint(&after) : text};
    if (past_add(opts->state_fd, opts->target->name, &pass, &err) < 0)
        report_error(opts->report, "%s: what was done cannot be recorded: %s", opts->target->name, err.text);
}

int pass_run(const struct pass_opts *opts)
{
    CLEANUP(pass_free) struct pass p = {.opts = opts};
    struct error err = {0};
    int64_t start_us = clock_us();
    int rc = state_read(opts->state_fd, opts->target->name, &p.state, &err);
    if (rc)
        report_error(opts->report, "%s: %s; it is asked for again", opts->target->name, err.text);
    err.text[0] = '\0';
    if (!opts->force && !opts->dry_run &&
        unchanged(&p.state, opts->conf, opts->target, opts->lineages, time(NULL))) {
        unchanged_report(&p.state, opts->target, opts->report);
        past_touch(opts->state_fd, opts->target->name);
        return 0;
    }
    rc = connect_and_push(&p, &err);
    if (rc < 0 && err.text[0])
        report_event(opts->report, event_of_failure(&err), opts->target->name, "%s: %s", opts->target->name,
                     err.text);
    if (rc < 0 && err.text[0] && opts->failure)
        *opts->failure = err;
    if (!opts->dry_run)
        keep_record(opts, rc, start_us, rc < 0 ? err.text : "");
    return rc;
}
