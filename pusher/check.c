#include "pusher/check.h"
#include "common/client.h"
#include "common/clock.h"
#include "common/command.h"
#include "common/text.h"
#include "pusher/candidate.h"
#include "pusher/contact.h"
#include "pusher/identity.h"

#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define TIMER "mailcow-cert-push.timer"
#define WATCH "mailcow-cert-push-watch.service"

enum severity {
    OK,
    NOTE, /* good to know */
    WARN, /* a pass goes on; somebody must act on it soon */
    FAIL, /* keeps certificates from arriving */
};

struct doctor {
    struct report *report;
    struct push_conf conf;
    struct lineage_list lineages;
    int worst;
};

/* What a finding is about; both may be NULL. */
struct subject {
    const char *target;
    const char *want;
};

static const struct subject nobody = {NULL, NULL};

static void doctor_free(struct doctor *d)
{
    lineage_list_free(&d->lineages);
    push_conf_free(&d->conf);
}

__attribute__((format(printf, 5, 6))) static void
find(struct doctor *d, enum severity severity, const char *id, struct subject subject, const char *fmt, ...)
{
    static const char *const words[] = {[OK] = "ok", [NOTE] = "note", [WARN] = "warn", [FAIL] = "fail"};
    char detail[1300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    if (severity >= WARN)
        d->worst = error_worse(d->worst, E_FAILED);
    report_result(d->report, &(struct report_result){
                                 .target = subject.target,
                                 .want = subject.want,
                                 .result = words[severity],
                                 .id = id,
                                 .detail = detail,
                                 .failed = severity == FAIL,
                             });
}

/* A failure with the code that it has. */
static void find_error(struct doctor *d, const char *id, struct subject subject, const struct error *err,
                       const char *remedy)
{
    d->worst = error_worse(d->worst, err->code == E_CONFIG ? E_CONFIG : E_FAILED);
    find(d, FAIL, id, subject, "%s%s%s", err->text, remedy ? ": " : "", remedy ? remedy : "");
}

/* ---- configuration ---- */

static void check_mode(struct doctor *d, const char *path, struct subject subject)
{
    struct stat st;
    if (stat(path, &st) == 0 && st.st_mode & 022)
        find(d, WARN, "mode", subject, "%s: others than its owner may change it: chmod go-w %s", path, path);
}

static int check_conf(struct doctor *d, const char *path)
{
    AUTO_PROBLEMS struct problems problems = {0};
    int rc = push_conf_read(path, &d->conf, &problems);
    char *rest = problems.text;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        find(d, FAIL, "configuration", nobody, "%s", line);
    if (!d->conf.target_count)
        find(d, FAIL, "target", nobody, "no mail host to push to: mailcow-cert-push enroll HOST");
    if (rc < 0)
        return d->worst = E_CONFIG;
    find(d, OK, "configuration", nobody, "%s: %zu sources, %zu targets", path, d->conf.source_count,
         d->conf.target_count);
    check_mode(d, path, nobody);
    return 0;
}

static bool is_enabled(const char *unit)
{
    const char *const argv[] = {"systemctl", "is-enabled", "--quiet", unit, NULL};
    struct error ignored;
    return command_run(argv, NULL, NULL, &ignored) == 0;
}

/* Where systemd runs, it is most likely to start the passes, but somebody else may as well. */
static void check_schedule(struct doctor *d)
{
    if (access("/run/systemd/system", F_OK) < 0)
        return;
    if (is_enabled(TIMER) || is_enabled(WATCH))
        find(d, OK, "schedule", nobody, "systemd starts the passes");
    else
        find(d, NOTE, "schedule", nobody,
             "systemd starts no passes: systemctl enable --now " TIMER " " WATCH);
}

/* ---- lineages ---- */

static void on_trouble(void *ctx, const struct source *source, const struct error *err)
{
    struct doctor *d = ctx;
    if (err->code == E_CONFIG)
        d->worst = E_CONFIG;
    find(d, FAIL, "source", nobody, "[source %s]: %s: mend it, or change the source in push.conf",
         source->name, err->text);
}

/* As a pass reads it: the pair, the key being the certificate's. */
static void check_lineage(struct doctor *d, const struct lineage *lineage)
{
    AUTO_SECRET struct secret bundle = SECRET(SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    struct error err;
    char when[TEXT_TIME_SIZE];
    int rc = candidate_load(lineage, clock_ms() + CANDIDATE_LOAD_MS, &bundle, &c, &err);
    if (rc < 0) {
        find(d, WARN, "lineage", nobody, "%s", err.text);
        return;
    }
    const struct cert_info *info = cert_info(c);
    bool expired = info->not_after <= time(NULL);
    find(d, expired ? NOTE : OK, "lineage", nobody, "%s: %s%s, %zu names, %s %s", lineage->name,
         info->name_count ? info->names[0] : "no name", info->name_count > 1 ? " and others" : "",
         info->name_count, expired ? "expired at" : "until", text_time(when, info->not_after));
}

static void scan_sources(struct doctor *d)
{
    for (size_t i = 0; i < d->conf.source_count; i++)
        lineage_scan_source(&d->conf.sources[i], &d->lineages, on_trouble, d);
    candidate_parse(&d->lineages, NULL); /* what cannot be parsed is found by check_lineage */
}

/* ---- wants ---- */

/* ACME clients renew when a third is left. */
static bool is_overdue(const struct cert_info *info, time_t now)
{
    return info->not_after - now < (info->not_after - info->not_before) / 3;
}

static void check_want(struct doctor *d, const struct target *target, const struct want *want)
{
    const struct subject subject = {target->name, want->id};
    struct error err;
    char when[TEXT_TIME_SIZE];
    const struct lineage *lineage = candidate_choose(&d->lineages, want, time(NULL), &err);
    if (!lineage) {
        find(d, FAIL, "want", subject,
             "%s: have a certificate issued for it here, add the folder that holds one, or, if another proxy "
             "host has it, name the other wants in push.conf (wants in [target %s])",
             err.text, target->name);
        return;
    }
    const struct cert_info *info = cert_info(lineage->cert);
    bool same = strcmp(want->installed, info->fingerprint) == 0;
    find(d, same && want->served ? OK : NOTE, "want", subject, "%s from %s until %s %s", info->fingerprint,
         lineage->name, text_time(when, info->not_after),
         !same          ? "would be pushed"
         : want->served ? "is served"
                        : "is installed, and would be pushed since it is not seen to be served");
    if (is_overdue(info, time(NULL)))
        find(d, WARN, "renewal", subject,
             "%s: less than a third of its lifetime is left, and there is no newer one: look at the log of "
             "what renews "
             "it (certbot renew, Nginx Proxy Manager)",
             lineage->name);
}

/* ---- a target ---- */

/* Where the contact has come to; on_step moves it on. */
struct visit {
    struct doctor *doctor;
    struct subject subject;
    const char *stage; /* the finding's id if it goes no further */
};

static void on_step(void *ctx, enum ssh_step step, const char *detail, int64_t us)
{
    static const char *const next[] = {
        [SSH_CONNECTED] = "handshake",
        [SSH_HOST_KEY] = "login",
        [SSH_AUTHENTICATED] = "command",
        [SSH_OPEN] = "greeting",
    };
    struct visit *v = ctx;
    if (step == SSH_OPEN)
        find(v->doctor, OK, v->stage, v->subject, "accepted in %lld ms", (long long)us / 1000);
    else
        find(v->doctor, OK, v->stage, v->subject, "%s in %lld ms", detail, (long long)us / 1000);
    v->stage = next[step];
}

static int converse(struct doctor *d, const struct target *target, struct ssh **session, struct wire *w,
                    struct error *err)
{
    AUTO_GREETING struct client_greeting greeting = {0};
    AUTO_WANTS struct want_list wants = {0};
    const struct subject subject = {target->name, NULL};
    wire_set_deadline(w, clock_ms() + CONTACT_MS);
    int rc = contact_greeted(session, w, &greeting, err);
    if (rc < 0)
        return rc;
    find(d, OK, "greeting", subject, "%s, mailcow-cert-deploy %s, wants %zu certificates", greeting.host,
         greeting.version, greeting.wants.count);
    rc = contact_take_wants(&greeting, target, &wants, err);
    for (size_t i = 0; !rc && i < wants.count; i++) {
        struct error unknown;
        const struct subject want = {target->name, wants.list[i].id};
        if (contact_has_want(&greeting, want.want, &unknown) < 0)
            find_error(d, "want", want, &unknown, NULL);
        else
            check_want(d, target, &wants.list[i]);
    }
    return rc;
}

static void visit(struct doctor *d, const struct target *target)
{
    AUTO_WIRE struct wire *wire = NULL;
    struct visit v = {.doctor = d, .subject = {target->name, NULL}, .stage = "connect"};
    struct ssh *session = NULL;
    struct error err, ended;
    char ignored[8];
    int rc = contact_open(&session, target, on_step, &v, &err);
    if (!rc)
        rc = wire_new(&wire, ssh_fd(session), &err);
    if (!rc)
        rc = converse(d, target, &session, wire, &err);
    if (rc < 0)
        find_error(d, v.stage, v.subject, &err, NULL);
    if (session)
        ssh_close(session, ignored, sizeof ignored, &ended);
}

/* Whether the key can be used; what is wrong with known_hosts shows before a connection is made. */
static bool check_key(struct doctor *d, const struct target *target)
{
    const struct subject subject = {target->name, NULL};
    char fingerprint[SSH_FINGERPRINT_SIZE];
    struct ssh_key key;
    struct error err;
    int rc = identity_read(target->key, &key, &err);
    if (rc == IDENTITY_NONE)
        rc = error_set(&err, E_CONFIG, "%s: there is no key: mailcow-cert-push enroll %s", target->key,
                       target->host);
    if (rc < 0) {
        find_error(d, "key", subject, &err, NULL);
        return false;
    }
    find(d, OK, "key", subject, "%s %s", key.type, ssh_blob_fingerprint(fingerprint, key.blob, key.len));
    check_mode(d, target->known_hosts, subject);
    return true;
}

int check_run(const struct arguments *a, struct report *report)
{
    CLEANUP(doctor_free) struct doctor d = {.report = report};
    struct error err;
    if (check_conf(&d, a->config) < 0)
        return d.worst;
    int rc = arguments_known_target(a, &d.conf, &err);
    if (rc < 0) {
        report_error(report, "%s", err.text);
        return rc;
    }
    check_schedule(&d);
    scan_sources(&d);
    for (size_t i = 0; i < d.conf.target_count; i++)
        if (arguments_select(a, &d.conf.targets[i]) && check_key(&d, &d.conf.targets[i]))
            visit(&d, &d.conf.targets[i]);
    for (size_t i = 0; i < d.lineages.count;
         i++) /* after the sessions, see ssh_open: it reads private keys */
        check_lineage(&d, &d.lineages.list[i]);
    return d.worst;
}
