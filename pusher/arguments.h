/*
 * The command line of mailcow-cert-push, which mailcow-cert-push-worker is started with as well.
 */
#ifndef PUSHER_ARGUMENTS_H
#define PUSHER_ARGUMENTS_H

#include "common/options.h"
#include "common/report.h"
#include "pusher/push_conf.h"

enum arguments_command {
    COMMAND_RUN,
    COMMAND_STATUS,
    COMMAND_WATCH,
    COMMAND_CHECK,
    COMMAND_ENROLL
};

struct arguments {
    enum arguments_command command;
    const char *config, *target;
    const char *host, *port, *user, *fingerprint, *source; /* of enroll */
    bool force, dry_run, remove, json, quiet, verbose;
};

/* 0, OPTIONS_SHOWN, or E_USAGE. */
int arguments_parse(int argc, char **argv, struct arguments *out, struct error *err);

/* The options of a report that the arguments ask for. */
struct report_opts arguments_report(const struct arguments *a);

/* Whether --target leaves this one in. */
bool arguments_select(const struct arguments *a, const struct target *target);

/* E_USAGE when --target names none of the configuration's targets. */
int arguments_known_target(const struct arguments *a, const struct push_conf *conf, struct error *err);

/* Reads the configuration; all its problems are in err. E_USAGE when --target names none of its targets. */
int arguments_configure(const struct arguments *a, struct push_conf *out, struct error *err);

#endif
