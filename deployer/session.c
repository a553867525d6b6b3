#include "deployer/session.h"
#include "common/cert.h"
#include "common/clock.h"
#include "common/text.h"
#include "common/wire.h"
#include "deployer/deploy.h"
#include "deployer/deploy_alarms.h"
#include "deployer/preflight.h"
#include "deployer/status.h"

#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

struct session {
    const struct session_opts *opts;
    struct wire *wire;
    enum session_role role;
    struct turn *turn;
    int64_t deadline_ms; /* of the last command */
    struct mailhost *host;
    struct deploy *deploy;
    struct report *report;
    bool hello;
    bool brings_new;  /* a leaf that is not installed */
    bool done;        /* no further command */
    int64_t start_us; /* of the deployment */
    bool keeps_alarms;
    bool is_pass; /* the hourly one, at whose end the alarms are judged */
    bool deaf;    /* the client takes no more lines: a deployment goes on without it */
};

enum session_role session_role(int fd, uid_t push_uid)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return ROLE_NONE;
    if (cred.uid == 0 || cred.uid == geteuid())
        return ROLE_OPERATOR;
    return push_uid != (uid_t)-1 && cred.uid == push_uid ? ROLE_PUSHER : ROLE_NONE;
}

bool session_may_tell(const struct session_opts *opts)
{
    unsigned left_out;
    if (!turn_may_tell(opts->turn, &left_out))
        return false;
    if (left_out)
        report_event(opts->report, EVENT_SESSION_FAILED, NULL,
                     "session: %u messages about pushers' sessions were left out", left_out);
    return true;
}

/* ---- answers to what went wrong ---- */

static int code_of_error(int rc)
{
    return rc == E_TEMPORARY ? WIRE_BUSY : rc == E_CONFIG ? WIRE_CONFIG : WIRE_FAILED;
}

/* What the client sent cannot be read: it was silent for too long, or it does not keep to the protocol. The
 * end. */
static int complain(struct session *s, int rc, const struct error *why)
{
    struct error ignored;
    s->done = true;
    wire_set_deadline(s->wire, clock_ms() + SESSION_SAY_MS);
    wire_write_line(s->wire, &ignored, "%d %s: %s", rc == E_TEMPORARY ? WIRE_UNAVAILABLE : WIRE_SYNTAX,
                    rc == E_TEMPORARY ? "timeout" : "syntax", why->text);
    return rc;
}

/* ---- greeting ---- */

static int greet_want(struct session *s, const struct want *want, struct error *err)
{
    char when[TEXT_TIME_SIZE] = "-";
    struct record record;
    int rc = store_read_record(s->host->store, want->id, &record, err);
    if (rc < 0)
        return rc;
    if (want->not_after)
        text_time(when, want->not_after);
    rc = wire_write_line(s->wire, err, "%d-want id=%s installed=%s not-after=%s state=%s", WIRE_GREETING,
                         want->id, want->installed[0] ? want->installed : "-", when,
                         store_state_str(status_of(want, &record)));
    for (size_t i = 0; !rc && i < want->name_count; i++)
        rc = wire_write_line(s->wire, err, "%d-name id=%s name=%s", WIRE_GREETING, want->id, want->names[i]);
    return rc;
}

static int greet(struct session *s, struct error *err)
{
    int rc = wire_write_line(s->wire, err, "%d-%s version=%s protocol=%d host=%s", WIRE_GREETING,
                             WIRE_PROGRAM, VERSION, WIRE_PROTOCOL, s->host->mailcow.hostname);
    for (size_t i = 0; !rc && i < s->host->wants.count; i++)
        rc = greet_want(s, &s->host->wants.list[i], err);
    return rc ? rc : wire_write_line(s->wire, err, "%d ready", WIRE_GREETING);
}

/* ---- the verdict ---- */

static void say_line(void *ctx, const char *text)
{
    struct session *s = ctx;
    struct error ignored;
    report_progress(s->report, text);
    if (s->deaf)
        return;
    wire_set_deadline(s->wire, clock_ms() + SESSION_SAY_MS);
    s->deaf = wire_write_line(s->wire, &ignored, "%d %s", WIRE_PROGRESS, text) < 0;
}

static int code_of(enum outcome_result result)
{
    switch (result) {
    case OUTCOME_UNCHANGED:
        return WIRE_UNCHANGED;
    case OUTCOME_DEPLOYED:
        return WIRE_OK;
    case OUTCOME_PENDING:
        return WIRE_BUSY;
    default:
        return WIRE_FAILED;
    }
}

/* Whether what is to be served is the record's generation. */
static bool is_ours(const struct pair *p)
{
    return strcmp(p->expected, p->record.fingerprint) == 0;
}

static time_t not_after(const struct pair *p)
{
    return is_ours(p) ? p->record.not_after : p->want->not_after;
}

static void report_verdict(struct session *s, const struct deploy_outcome *out)
{
    char us[24];
    snprintf(us, sizeof us, "%lld", (long long)(clock_us() - s->start_us));
    for (size_t i = 0; i < out->pair_count; i++) {
        const struct pair *p = &out->pairs[i];
        const struct report_field fields[] = {
            {"GENERATION", is_ours(p) ? p->record.current : ""},
            {"FINDING", p->outcome.finding},
            {"DURATION_USEC", us},
            {0},
        };
        report_result(s->report, &(struct report_result){
                                     .event = pair_event(p),
                                     .want = p->want->id,
                                     .result = outcome_str(p->outcome.result),
                                     .fingerprint = p->expected,
                                     .not_after = not_after(p),
                                     .detail = p->outcome.detail,
                                     .failed = p->outcome.result > OUTCOME_DEPLOYED,
                                     .fields = fields,
                                 });
    }
}

static int write_pair(struct session *s, int code, const struct pair *p, struct error *err)
{
    char when[TEXT_TIME_SIZE];
    return wire_write_line(
        s->wire, err, "%d-want id=%s result=%s fingerprint=%s not-after=%s generation=%s%s%s", code,
        p->want->id, outcome_str(p->outcome.result), p->expected[0] ? p->expected : "-",
        not_after(p) ? text_time(when, not_after(p)) : "-", is_ours(p) ? p->record.current : "-",
        p->outcome.detail[0] ? ": " : "", p->outcome.detail);
}

static int write_alarms(struct session *s, int code, const struct alarm_book *alarms, struct error *err)
{
    char since[TEXT_TIME_SIZE];
    int rc = 0;
    for (size_t i = 0; !rc && i < alarm_book_count(alarms); i++) {
        const struct alarm *a = alarm_book_at(alarms, i);
        if (!alarm_has_begun(a))
            continue;
        rc = wire_write_line(s->wire, err, "%d-alarm state=%s id=%s want=%s told=%u since=%s: %s", code,
                             alarm_state_str(a->state), alarm_kind_str(a->kind), a->want[0] ? a->want : "-",
                             a->times, text_time(since, a->since), a->detail);
    }
    return rc;
}

static int write_verdict(struct session *s, const struct deploy_outcome *out, struct error *err)
{
    AUTO_ALARMS struct alarm_book *alarms = NULL;
    struct outcome worst = out->worst;
    struct error why;
    if (s->is_pass && deploy_alarms_judge(s->host, out, s->keeps_alarms, &alarms, &why) < 0) {
        report_event(s->report, EVENT_UNAVAILABLE, NULL, "alarms: %s", why.text);
        outcome_worsen(&worst, OUTCOME_FAILED, "alarms: %s", why.text);
    }
    int code = code_of(worst.result), rc = 0;
    for (size_t i = 0; !rc && i < out->pair_count; i++)
        rc = write_pair(s, code, &out->pairs[i], err);
    if (!rc && alarms)
        rc = write_alarms(s, code, alarms, err);
    return rc ? rc
              : wire_write_line(s->wire, err, "%d %s served=%zu endpoints=%zu%s%s", code,
                                outcome_str(worst.result), out->served, out->endpoint_count,
                                worst.detail[0] ? ": " : "", worst.detail);
}

static bool may_repeat(void *ctx)
{
    const struct session *s = ctx;
    return turn_may_repeat(s->turn);
}

/* The deadline of the commands is not for it. */
static int say_busy(struct session *s, const char *why, struct error *err)
{
    wire_set_deadline(s->wire, clock_ms() + SESSION_SAY_MS);
    return wire_write_line(s->wire, err, "%d busy: %s", WIRE_BUSY, why);
}

/* What has begun is finished, and it is the session's last act. */
static void block_signals(void)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGHUP);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

static int run(struct session *s, bool force, struct error *err)
{
    struct deploy_outcome out;
    struct error why;
    const struct progress progress = {.line = say_line, .ctx = s};
    const int64_t patience = s->role == ROLE_OPERATOR ? DEPLOY_OPERATOR_LOCK_MS : DEPLOY_LOCK_MS;
    s->done = true;
    if (!turn_deploy_begin(s->turn, s->brings_new, clock_ms() + patience))
        return say_busy(s, "other deployments are under way", err);
    if (s->role == ROLE_PUSHER) /* one that has come so far is not ended for a crowd; an operator's may be */
        block_signals();
    s->start_us = clock_us();
    int rc = deploy_lock(s->deploy, patience, &progress, &why);
    block_signals();
    deploy_limit(s->deploy, may_repeat, s);
    if (!rc)
        rc = deploy_run(s->deploy, force, &progress, &out, &why);
    wire_set_deadline(s->wire, clock_ms() + SESSION_SAY_MS);
    if (rc < 0 && rc != E_TEMPORARY)
        report_event(s->report, EVENT_UNAVAILABLE, NULL, "%s", why.text);
    if (rc < 0)
        return wire_write_line(s->wire, err, "%d %s: %s", code_of_error(rc),
                               rc == E_TEMPORARY ? "busy" : "failed", why.text);
    report_verdict(s, &out);
    if (s->deaf) /* its last line may be cut: a verdict behind it would be misread */
        return error_set(err, E_TEMPORARY, "the client went away before the verdict");
    return write_verdict(s, &out, err);
}

/* ---- put ---- */

static int answer_put(struct session *s, const char *want, const struct judge_verdict *v, int rc, int64_t us,
                      struct error *err)
{
    char when[TEXT_TIME_SIZE];
    if (rc == PAIR_REFUSED) {
        const struct report_field fields[] = {{"REASON", judge_reason_str(v->reason)}, {0}};
        if (session_may_tell(s->opts))
            report_result(s->report, &(struct report_result){.event = EVENT_REJECTED,
                                                             .want = want,
                                                             .result = "rejected",
                                                             .fingerprint = v->fingerprint,
                                                             .detail = v->why,
                                                             .failed = true,
                                                             .fields = fields});
        return wire_write_line(s->wire, err, "%d rejected want=%s reason=%s us=%lld: %s",
                               v->reason == JUDGE_NOT_YET_VALID ? WIRE_NOT_YET : WIRE_REJECTED, want,
                               judge_reason_str(v->reason), (long long)us, v->why);
    }
    return wire_write_line(
        s->wire, err, "%d judged want=%s fingerprint=%s not-after=%s key=%s chain=%zu us=%lld",
        rc == PAIR_SAME ? WIRE_UNCHANGED : WIRE_OK, want, v->fingerprint, text_time(when, v->not_after),
        strncmp(v->key_type, "RSA ", 4) == 0 ? "RSA" : v->key_type, v->chain_length, (long long)us);
}

static int put(struct session *s, const char *want, const struct secret *bundle, struct error *err)
{
    struct judge_verdict verdict;
    struct error why;
    int64_t start = clock_us();
    if (!turn_judge_begin(s->turn, s->deadline_ms))
        return complain(s, error_set(&why, E_TEMPORARY, "too many bundles are to be judged"), &why);
    int rc = deploy_put(s->deploy, want, bundle->data, bundle->len, &verdict, &why);
    turn_judge_end(s->turn, rc == 0 || rc == PAIR_SAME);
    s->brings_new = s->brings_new || rc == 0;
    if (rc < 0)
        return wire_write_line(s->wire, err, "%d failed want=%s: %s", code_of_error(rc), want, why.text);
    return answer_put(s, want, &verdict, rc, clock_us() - start, err);
}

/* The stream ended where more was promised: nobody may be there to hear it, and nothing has been done. */
static int cut_short(struct session *s, struct error *err)
{
    struct error ignored;
    s->done = true;
    wire_write_line(s->wire, &ignored,
                    "%d cut: the stream ended before the bundle did; nothing was installed", WIRE_ARGUMENT);
    return error_set(err, E_TEMPORARY, "the stream ended within a bundle");
}

/* PUT <want> <bytes> <sha256>, followed by that many bytes. */
static int command_put(struct session *s, const char *line, struct error *err)
{
    char want[WANT_ID_SIZE], length[16], digest[65], actual[65];
    long len;
    AUTO_SECRET struct secret bundle = SECRET(SECRET_MAX);
    if (!wire_word(line, 1, want, sizeof want) || !wire_word(line, 2, length, sizeof length) ||
        !wire_word(line, 3, digest, sizeof digest) || !want_is_id(want) || !text_is_fingerprint(digest) ||
        !text_parse_number(length, 0, LONG_MAX, &len)) {
        s->done = true;
        return wire_write_line(s->wire, err, "%d syntax: PUT <want> <bytes> <sha256>", WIRE_ARGUMENT);
    }
    if (len > SECRET_MAX) {
        s->done = true;
        return wire_write_line(s->wire, err, "%d too-large: a bundle has at most %d bytes", WIRE_TOO_LARGE,
                               SECRET_MAX);
    }
    int rc = wire_read_bytes(s->wire, (size_t)len, &bundle, err);
    if (rc == WIRE_END)
        return cut_short(s, err);
    if (rc < 0)
        return complain(s, rc, err);
    if (!cert_sha256(actual, bundle.data, bundle.len) || strcmp(actual, digest) != 0)
        return wire_write_line(s->wire, err, "%d digest want=%s: the bytes have SHA-256 %s", WIRE_ARGUMENT,
                               want, actual);
    if (!want_find(&s->host->wants, want))
        return wire_write_line(s->wire, err, "%d unknown want=%s: it is not wanted here (any more)",
                               WIRE_ARGUMENT, want);
    return put(s, want, &bundle, err);
}

/* A bare PEM bundle, from a person with `cat fullchain.pem privkey.pem | ssh …`: for the primary, and
 * deployed at once. */
static int bare_bundle(struct session *s, const char *first_line, struct error *err)
{
    AUTO_SECRET struct secret bundle = SECRET(SECRET_MAX);
    if (secret_append(&bundle, first_line, strlen(first_line)) < 0 || secret_append(&bundle, "\n", 1) < 0)
        return error_memory(err);
    s->done = true;
    int rc = wire_read_rest(s->wire, &bundle, err);
    if (rc == E_TEMPORARY)
        return complain(s, rc, err);
    if (rc < 0)
        return wire_write_line(s->wire, err, "%d too-large: a bundle has at most %d bytes", WIRE_TOO_LARGE,
                               SECRET_MAX);
    rc = put(s, WANT_PRIMARY, &bundle, err);
    return rc || !deploy_has_bundle(s->deploy) ? rc : run(s, false, err);
}

/* ---- commands ---- */

static int command_hello(struct session *s, const char *line, struct error *err)
{
    char version[16];
    long number;
    if (!wire_word(line, 1, version, sizeof version) || !text_parse_number(version, 0, 1000, &number)) {
        s->done = true;
        return wire_write_line(s->wire, err, "%d syntax: HELLO <protocol> <program>", WIRE_ARGUMENT);
    }
    s->hello = number == WIRE_PROTOCOL;
    s->done = !s->hello;
    if (s->hello && s->role == ROLE_PUSHER)
        store_note_contact(s->host->store);
    if (!s->hello)
        return wire_write_line(s->wire, err,
                               "%d version: this is protocol %d, you speak %ld; upgrade the older side",
                               WIRE_VERSION, WIRE_PROTOCOL, number);
    return 0; /* no answer: the client sends on in the same flight */
}

/* Whether it is one of the words behind the verb and its arguments; others are of a later version. */
static bool says(const char *line, unsigned arguments, const char *expected)
{
    char word[16];
    for (unsigned i = arguments + 1; wire_word(line, i, word, sizeof word); i++)
        if (strcmp(word, expected) == 0)
            return true;
    return false;
}

/* DEPLOY [force] */
static int command_deploy(struct session *s, const char *line, struct error *err)
{
    if (deploy_has_bundle(s->deploy))
        return run(s, says(line, 0, "force"), err);
    s->done = true;
    return wire_write_line(s->wire, err, "%d nothing: no bundle was accepted", WIRE_SEQUENCE);
}

/* RECONCILE [alarms] [force] */
static int command_reconcile(struct session *s, const char *line, struct error *err)
{
    s->keeps_alarms = says(line, 0, "alarms");
    s->is_pass = true;
    return run(s, says(line, 0, "force"), err);
}

static int wrong_arguments(struct session *s, const struct error *why, struct error *err)
{
    return wire_write_line(s->wire, err, "%d %s: %s", why->code == E_USAGE ? WIRE_ARGUMENT : WIRE_FAILED,
                           why->code == E_USAGE ? "unknown" : "failed", why->text);
}

/* ROLLBACK <want> [<generation>] [force] */
static int command_rollback(struct session *s, const char *line, struct error *err)
{
    char want[WANT_ID_SIZE] = "", generation[STORE_GENERATION_SIZE] = "";
    struct error why;
    wire_word(line, 1, want, sizeof want);
    if (wire_word(line, 2, generation, sizeof generation) && strcmp(generation, "force") == 0)
        generation[0] = '\0';
    s->done = true;
    return deploy_choose(s->deploy, want, generation, &why) < 0 ? wrong_arguments(s, &why, err)
                                                                : run(s, says(line, 1, "force"), err);
}

/* REMOVE <want> */
static int command_remove(struct session *s, const char *line, struct error *err)
{
    char want[WANT_ID_SIZE] = "";
    struct error why;
    wire_word(line, 1, want, sizeof want);
    s->done = true;
    return deploy_remove(s->deploy, want, &why) < 0 ? wrong_arguments(s, &why, err) : run(s, false, err);
}

static int command_status(struct session *s, const char *line, struct error *err)
{
    (void)line;
    return status_write(s->wire, s->host, err);
}

static int write_findings(struct session *s, int code, const struct finding_list *found,
                          enum finding_severity severity, struct error *err)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct finding *f = &found->list[i];
        if (f->severity != severity)
            continue;
        int rc = wire_write_line(s->wire, err, "%d-finding severity=%s id=%s want=%s: %s%s%s", code,
                                 finding_severity_str(f->severity), f->id, f->want[0] ? f->want : "-",
                                 f->text, f->remedy[0] ? "; " : "", f->remedy);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The session's last act: the engine may take its time, and the deadline of the commands is not for that. */
static int command_check(struct session *s, const char *line, struct error *err)
{
    (void)line;
    AUTO_FREE struct finding_list *found = calloc(1, sizeof *found);
    if (!found)
        return error_memory(err);
    s->done = true;
    preflight_check(s->host, found);
    wire_set_deadline(s->wire, clock_ms() + SESSION_SAY_MS);
    int code = finding_of(found, FINDING_REFUSE)  ? WIRE_FAILED
               : finding_of(found, FINDING_LATER) ? WIRE_BUSY
                                                  : WIRE_OK;
    int rc = 0;
    for (int severity = FINDING_REFUSE; !rc && severity >= FINDING_NOTE; severity--)
        rc = write_findings(s, code, found, (enum finding_severity)severity, err);
    return rc ? rc
              : wire_write_line(s->wire, err, "%d check findings=%zu", code, found->count + found->omitted);
}

static int command_quit(struct session *s, const char *line, struct error *err)
{
    (void)line;
    s->done = true;
    return wire_write_line(s->wire, err, "%d bye", WIRE_BYE);
}

static const struct command {
    const char *verb;
    enum session_role least;
    bool before_hello;
    int (*run)(struct session *s, const char *line, struct error *err);
} commands[] = {
    {"HELLO", ROLE_PUSHER, true, command_hello},
    {"QUIT", ROLE_PUSHER, true, command_quit},
    {"PUT", ROLE_PUSHER, false, command_put},
    {"DEPLOY", ROLE_PUSHER, false, command_deploy},
    {"RECONCILE", ROLE_OPERATOR, false, command_reconcile},
    {"ROLLBACK", ROLE_OPERATOR, false, command_rollback},
    {"REMOVE", ROLE_OPERATOR, false, command_remove},
    {"STATUS", ROLE_OPERATOR, false, command_status},
    {"CHECK", ROLE_OPERATOR, false, command_check},
};

static int dispatch(struct session *s, const char *line, struct error *err)
{
    char verb[16] = "";
    wire_word(line, 0, verb, sizeof verb);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->verb, verb) != 0)
            continue;
        if (!s->hello && !c->before_hello)
            break;
        if (s->role < c->least)
            return wire_write_line(s->wire, err, "%d forbidden: %s is for the operator", WIRE_FORBIDDEN,
                                   verb);
        return c->run(s, line, err);
    }
    s->done = true;
    return wire_write_line(s->wire, err, "%d syntax: expected %s", WIRE_SYNTAX,
                           s->hello ? "PUT, DEPLOY, RECONCILE, ROLLBACK, REMOVE, STATUS, CHECK or QUIT"
                                    : "HELLO, or a PEM bundle from its first line on");
}

static int make_room(struct session *s, struct error *err)
{
    return wire_write_line(s->wire, err, "%d busy: others wait; come again", WIRE_UNAVAILABLE);
}

static int converse(struct session *s, struct error *err)
{
    char line[WIRE_LINE + 1];
    bool first = true;
    while (!s->done) {
        int rc = wire_read_line(s->wire, line, err);
        if (rc == WIRE_END)
            return 0;
        if (rc < 0)
            return complain(s, rc, err);
        bool bundle = first && strncmp(line, "-----BEGIN ", 11) == 0;
        if (first) {
            turn_spoke(s->turn);
            wire_set_deadline(s->wire, s->deadline_ms);
        }
        if (turn_should_end(s->turn))
            return make_room(s, err);
        first = false;
        rc = bundle ? bare_bundle(s, line, err) : dispatch(s, line, err);
        explicit_bzero(line, sizeof line);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int session_serve(const struct session_opts *opts, struct error *err)
{
    AUTO_WIRE struct wire *wire = NULL;
    AUTO_MAILHOST struct mailhost *host = NULL;
    AUTO_DEPLOY struct deploy *deploy = NULL;
    struct error ignored;
    int64_t start = clock_ms();
    int rc = wire_new(&wire, opts->fd, err);
    if (rc < 0)
        return rc;
    wire_set_deadline(wire, start + (opts->role == ROLE_PUSHER ? SESSION_HELLO_MS : SESSION_COMMAND_MS));
    rc = mailhost_open(&host, opts->conf, err);
    if (!rc)
        rc = deploy_new(&deploy, host, err);
    if (rc < 0) {
        wire_write_line(wire, &ignored, "%d unavailable: %s", code_of_error(rc), err->text);
        return error_mark(err, EVENT_UNAVAILABLE);
    }
    struct session s = {
        .opts = opts,
        .wire = wire,
        .role = opts->role,
        .turn = opts->turn,
        .deadline_ms = start + SESSION_COMMAND_MS,
        .host = host,
        .deploy = deploy,
        .report = opts->report,
    };
    rc = greet(&s, err);
    if (rc < 0) {
        wire_write_line(wire, &ignored, "%d unavailable: %s", code_of_error(rc), err->text);
        return rc;
    }
    mailhost_lend_trust(host, opts->trust);
    if (opts->role == ROLE_PUSHER)
        mailhost_load_trust(host, &ignored); /* a failure is told when a bundle has come */
    return converse(&s, err);
}
