/* mailcow-cert-deploy: the daemon of the mail host and its operator's commands. */
#include "common/alarm.h"
#include "common/journal.h"
#include "common/options.h"
#include "common/process.h"
#include "common/report.h"
#include "common/wire.h"
#include "deployer/deploy.h"
#include "deployer/deploy_conf.h"
#include "deployer/enroll.h"
#include "deployer/operator.h"
#include "deployer/serve.h"

#include <string.h>

struct arguments {
    const char *config;
    const char *socket;
    const char *want;       /* of rollback */
    const char *generation; /* of rollback; "": the one before */
    const char *folder;     /* of remove */
    const char *key, *from; /* of enroll */
    bool remove;            /* of enroll */
    bool force, json, quiet, verbose;
};

enum command {
    RECONCILE,
    SERVE,
    STATUS,
    CHECK,
    ROLLBACK,
    REMOVE,
    RECOVER,
    ENROLL
};

#define OPERATORS (1 << RECONCILE | 1 << STATUS | 1 << CHECK | 1 << ROLLBACK | 1 << REMOVE)

static int parse_arguments(int argc, char **argv, struct arguments *a, size_t *out_command, struct error *err)
{
    const struct option_command commands[] = {
        [RECONCILE] = {"reconcile",
                       "finish what is unfinished, re-check what is served (what the timer calls)", NULL,
                       NULL},
        [SERVE] = {"serve", "the daemon, on the socket that systemd hands over or on --socket", NULL, NULL},
        [STATUS] = {"status", "what is installed, how it stands, and what can be gone back to", NULL, NULL},
        [CHECK] = {"check", "what keeps mailcow from getting or serving certificates, and what resolves it",
                   NULL, NULL},
        [ROLLBACK] = {"rollback", "go back to a generation (the one before), and refuse the current one",
                      "[GENERATION]", &a->generation},
        [REMOVE] = {"remove", "remove an SNI folder; its names get the primary certificate", "NAME",
                    &a->folder},
        [RECOVER] = {"recover",
                     "finish an installation that was cut short, without daemon or Docker (at boot)", NULL,
                     NULL},
        [ENROLL] = {"enroll", "let the proxy host with this public key push, or no longer", "KEY", &a->key},
    };
    const struct option_row rows[] = {
        {"force", 'f', NULL, "reconcile: install the current generation again, reload, verify", &a->force,
         NULL, 1 << RECONCILE | 1 << ROLLBACK},
        {"want", 'w', "NAME", "rollback: of this want (an SNI folder), not of the primary", NULL, &a->want,
         1 << ROLLBACK},
        {"from", 0, "ADDRESS", "enroll: the key counts from there alone (an sshd pattern list)", NULL,
         &a->from, 1 << ENROLL},
        {"remove", 0, NULL, "enroll: take the key away again", &a->remove, NULL, 1 << ENROLL},
        {"config", 'c', "FILE", "instead of " DEPLOY_CONF_PATH, NULL, &a->config, 0},
        {"socket", 's', "PATH", "serve: listen here; else: connect here", NULL, &a->socket,
         OPERATORS | 1 << SERVE},
        {"json", 0, NULL, "one machine-readable object on stdout", &a->json, NULL, 0},
        {"verbose", 'v', NULL, "every step, also where nobody watches", &a->verbose, NULL, 0},
        {"quiet", 'q', NULL, "nothing but errors", &a->quiet, NULL, 0},
    };
    const struct options options = {
        .program = "mailcow-cert-deploy",
        .purpose = "installs the certificates that are pushed into mailcow, and proves that they are served",
        .commands = commands,
        .command_count = sizeof commands / sizeof *commands,
        .rows = rows,
        .row_count = sizeof rows / sizeof *rows,
    };
    return options_parse(&options, argc, argv, out_command, err);
}

/*
 * A socket-activated daemon with a broken configuration must take its connections all the same: left in the
 * backlog, they would have systemd start it over and over. Whoever connects is told the first problem.
 */
static int serve_refusing(struct report *report, const struct problems *problems, struct error *err)
{
    AUTO_DEPLOY_CONF struct deploy_conf defaults = {0};
    char refusal[600];
    int first = problems->text ? (int)strcspn(problems->text, "\n") : 0;
    snprintf(refusal, sizeof refusal, "%d configuration: %.*s\n", WIRE_CONFIG, first < 500 ? first : 500,
             problems->text ? problems->text : "");
    int rc = deploy_conf_defaults(&defaults);
    const struct serve_opts opts = {
        .conf = &defaults, .idle = defaults.idle, .refusal = refusal, .report = report};
    report_event(report, EVENT_CONFIGURATION, NULL, "%s", problems->text);
    rc = rc ? rc : serve(&opts, err);
    return rc < 0 ? rc : E_CONFIG;
}

/* What a person types has no place in a line of the protocol unless it is a name. */
static int rollback(const struct arguments *a, const char *socket, struct report *report, struct error *err)
{
    char line[WIRE_LINE + 1];
    bool good = want_is_id(a->want) && strspn(a->generation, "0123456789abcdefTZ-") == strlen(a->generation);
    if (!good || strlen(a->generation) > 64)
        return error_set(err, E_USAGE, "rollback: not the name of a %s (status lists them)",
                         want_is_id(a->want) ? "generation" : "want");
    snprintf(line, sizeof line, "ROLLBACK %s%s%s%s", a->want, *a->generation ? " " : "", a->generation,
             a->force ? " force" : "");
    return operator_run(socket, line, report);
}

static int remove_folder(const struct arguments *a, const char *socket, struct report *report,
                         struct error *err)
{
    char line[WIRE_LINE + 1];
    if (!want_is_id(a->folder))
        return error_set(err, E_USAGE, "remove: not the name of an SNI folder");
    snprintf(line, sizeof line, "REMOVE %s", a->folder);
    return operator_run(socket, line, report);
}

static int reconcile(const struct arguments *a, const char *socket, struct report *report)
{
    char line[32];
    snprintf(line, sizeof line, "RECONCILE%s%s", alarm_is_kept() ? " alarms" : "", a->force ? " force" : "");
    return operator_run(socket, line, report);
}

static int run(enum command command, const struct arguments *a, const struct deploy_conf *conf,
               struct report *report, struct error *err)
{
    const char *socket = a->socket ? a->socket : conf->socket;
    const struct serve_opts serve_opts = {
        .conf = conf,
        .socket_path = a->socket,
        .idle = a->socket ? 0 : conf->idle,
        .report = report,
    };
    switch (command) {
    case SERVE:
        return serve(&serve_opts, err);
    case STATUS:
        return operator_run(socket, "STATUS", report);
    case CHECK:
        return operator_run(socket, "CHECK", report);
    case ROLLBACK:
        return rollback(a, socket, report, err);
    case REMOVE:
        return remove_folder(a, socket, report, err);
    case RECOVER:
        return deploy_recover(conf, report, err);
    case ENROLL:
        return enroll(&(struct enroll_opts){a->key, a->from, a->remove, conf->push_user}, report, err);
    default:
        return reconcile(a, socket, report);
    }
}

static int configure_and_run(enum command command, const struct arguments *a, struct report *report,
                             struct error *err)
{
    AUTO_DEPLOY_CONF struct deploy_conf conf = {0};
    AUTO_PROBLEMS struct problems problems = {0};
    int rc = deploy_conf_read(a->config, &conf, &problems);
    if (!rc)
        return run(command, a, &conf, report, err);
    if (command == SERVE && !a->socket && rc == E_CONFIG)
        return serve_refusing(report, &problems, err);
    return problems_error(&problems, rc, err);
}

int main(int argc, char **argv)
{
    AUTO_REPORT struct report *report = NULL;
    struct arguments a = {.config = DEPLOY_CONF_PATH, .want = WANT_PRIMARY, .generation = ""};
    struct error err = {0};
    size_t command = 0;
    process_protect();
    int rc = parse_arguments(argc, argv, &a, &command, &err);
    if (rc < 0)
        fprintf(stderr, "mailcow-cert-deploy: %s\n", err.text);
    if (rc)
        return rc < 0 ? error_exit_code(rc) : 0;
    struct report_opts opts = {.program = "mailcow-cert-deploy",
                               .journal = journal_write,
                               .json = a.json,
                               .quiet = a.quiet,
                               .verbose = a.verbose};
    rc = report_new(&report, &opts, &err);
    if (!rc)
        rc = configure_and_run((enum command)command, &a, report, &err);
    if (rc < 0 && report && err.text[0])
        report_failure(report, &err);
    return report ? report_end(report, error_exit_code(rc)) : error_exit_code(rc);
}
