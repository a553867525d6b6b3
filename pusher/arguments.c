#include "pusher/arguments.h"

#include <string.h>

int arguments_parse(int argc, char **argv, struct arguments *out, struct error *err)
{
    struct arguments *a = out;
    size_t command = 0;
    *out = (struct arguments){.config = PUSH_CONF_PATH};
    const struct option_command commands[] = {
        [COMMAND_RUN] = {"run", "one pass: push what changed, wait for the verdict", NULL, NULL},
        [COMMAND_STATUS] = {"status", "what the last verdicts said, without asking anybody", NULL, NULL},
        [COMMAND_WATCH] = {"watch", "stay, and run a pass whenever a lineage changes, and every hour", NULL,
                           NULL},
        [COMMAND_CHECK] = {"check", "what keeps certificates from arriving, or will; changes nothing", NULL,
                           NULL},
        [COMMAND_ENROLL] = {"enroll", "introduce this host to a mail host", "HOST", &a->host},
    };
    const struct option_row rows[] = {
        {"force", 'f', NULL, "push also what is installed already, and have it deployed again", &a->force,
         NULL, 1 << COMMAND_RUN},
        {"dry-run", 'n', NULL, "ask the mail host and compare; send nothing", &a->dry_run, NULL,
         1 << COMMAND_RUN},
        {"target", 't', "NAME", "only this [target NAME]", NULL, &a->target, 0},
        {"fingerprint", 0, "FP", "SHA256:... of the mail host's key: nobody is asked whether it is right",
         NULL, &a->fingerprint, 1 << COMMAND_ENROLL},
        {"port", 'p', "PORT", "of the mail host's sshd (22)", NULL, &a->port, 1 << COMMAND_ENROLL},
        {"user", 'u', "USER", "to log in to the mail host as (certsync)", NULL, &a->user,
         1 << COMMAND_ENROLL},
        {"source", 's', "FOLDER", "of lineages, where they are in no usual place", NULL, &a->source,
         1 << COMMAND_ENROLL},
        {"remove", 0, NULL, "forget the mail host: its target, its pinned key", &a->remove, NULL,
         1 << COMMAND_ENROLL},
        {"config", 'c', "FILE", "instead of " PUSH_CONF_PATH, NULL, &a->config, 0},
        {"json", 0, NULL, "one machine-readable object on stdout", &a->json, NULL, ~(1U << COMMAND_WATCH)},
        {"verbose", 'v', NULL, "every step, also where nobody watches", &a->verbose, NULL, 0},
        {"quiet", 'q', NULL, "nothing but errors", &a->quiet, NULL, 0},
    };
    const struct options options = {
        .program = "mailcow-cert-push",
        .purpose = "finds renewed certificates and pushes them to mailcow hosts",
        .commands = commands,
        .command_count = sizeof commands / sizeof *commands,
        .rows = rows,
        .row_count = sizeof rows / sizeof *rows,
    };
    int rc = options_parse(&options, argc, argv, &command, err);
    out->command = (enum arguments_command)command;
    return rc;
}

struct report_opts arguments_report(const struct arguments *a)
{
    return (struct report_opts){.program = "mailcow-cert-push",
                                .json = a->json,
                                .quiet = a->quiet,
                                .verbose = a->verbose,
                                .aside = a->command == COMMAND_ENROLL};
}

bool arguments_select(const struct arguments *a, const struct target *target)
{
    return !a->target || strcmp(a->target, target->name) == 0;
}

int arguments_known_target(const struct arguments *a, const struct push_conf *conf, struct error *err)
{
    for (size_t i = 0; i < conf->target_count; i++)
        if (arguments_select(a, &conf->targets[i]))
            return 0;
    return error_set(err, E_USAGE, "--target %s: there is no [target %s] in %s", a->target, a->target,
                     a->config);
}

int arguments_configure(const struct arguments *a, struct push_conf *out, struct error *err)
{
    AUTO_PROBLEMS struct problems problems = {0};
    int rc = push_conf_read(a->config, out, &problems);
    if (rc < 0)
        return problems_error(&problems, rc, err);
    return arguments_known_target(a, out, err);
}
