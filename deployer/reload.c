#include "deployer/reload.h"

#include "common/clock.h"
#include "deployer/mailcow.h"

#include <stdio.h>
#include <string.h>

/* The command has 20 s, and its engine 5 more to say so. */
#define EXEC_TIMEOUT_MS 25000
#define TIMED_OUT       124 /* timeout(1)'s exit code */

/*
 * As mailcow's entrypoint does it (cwd: bootstrap.py finds its templates below it). With a configuration that
 * nginx refuses, every later reload would fail, and a restart end in a loop: what was there is put back.
 */
static const char *const bootstrap_argv[] = {
    "timeout",
    "20",
    "sh",
    "-c",
    "cd / && cp /etc/nginx/nginx.conf /tmp/nginx.conf.before || exit 1\n"
    "python3 /bootstrap.py && nginx -t && exec rm /tmp/nginx.conf.before\n"
    "cat /tmp/nginx.conf.before > /etc/nginx/nginx.conf\n"
    "exit 1",
    NULL};
static const char *const nginx_argv[] = {"timeout", "20", "nginx", "-s", "reload", NULL};
static const char *const postmap_argv[] = {"timeout", "20", "postmap", "-F", "hash:/opt/postfix/conf/sni.map",
                                           NULL};
static const char *const postfix_argv[] = {"timeout",           "20",     "postfix", "-c",
                                           "/opt/postfix/conf", "reload", NULL};
static const char *const dovecot_argv[] = {"timeout", "20", "dovecot", "reload", NULL};

static const char *const postfix_check_argv[] = {"timeout",           "20",    "postfix", "-c",
                                                 "/opt/postfix/conf", "check", NULL};
/* Without what it says of a good one: passwords. */
static const char *const dovecot_check_argv[] = {"timeout", "20", "sh", "-c", "exec doveconf -n > /dev/null",
                                                 NULL};

static const struct reload_command nginx[] = {
    {.name = "bootstrap", .from = RELOAD_REBUILD, .argv = bootstrap_argv},
    {.name = "reload", .argv = nginx_argv},
};
/* postmap leaves out what it cannot read, and exits with 0. */
static const struct reload_command postfix[] = {
    {.name = "postmap", .from = RELOAD_SNI, .reads_stderr = true, .argv = postmap_argv},
    {.name = "reload", .argv = postfix_argv},
};
static const struct reload_command dovecot[] = {{.name = "reload", .argv = dovecot_argv}};

#define COMMANDS(table) .commands = table, .command_count = sizeof table / sizeof *table

const struct reload_service reload_services[] = {
    {.name = MAILCOW_NGINX, .check_argv = bootstrap_argv, COMMANDS(nginx)},
    {.name = MAILCOW_POSTFIX, .check_argv = postfix_check_argv, COMMANDS(postfix)},
    {.name = MAILCOW_DOVECOT, .check_argv = dovecot_check_argv, COMMANDS(dovecot)},
};
const size_t reload_service_count = sizeof reload_services / sizeof *reload_services;

size_t reload_service_index(const char *name)
{
    size_t i = 0;
    while (i < reload_service_count && strcmp(reload_services[i].name, name) != 0)
        i++;
    return i;
}

const char *reload_outcome_str(enum reload_outcome outcome)
{
    static const char *const names[] = {"done", "failed", "not running", "absent", "forbidden"};
    return names[outcome];
}

struct run {
    struct docker *d; /* NULL: nothing is reloaded */
    const struct docker_containers *containers;
    const struct reload_opts *opts;
    bool incomplete;
};

static void report(struct run *run, const struct reload_step *step)
{
    if (step->outcome != RELOAD_DONE && !step->tolerated)
        run->incomplete = true;
    if (run->opts->on_step)
        run->opts->on_step(run->opts->ctx, step);
}

static bool is_optional(const struct run *run, const char *service)
{
    const char *const *name = run->opts->optional;
    for (; name && *name; name++)
        if (strcmp(*name, service) == 0)
            return true;
    return false;
}

static bool has_state(const struct docker_container *c, const char *state)
{
    return strcmp(c->state, state) == 0;
}

static bool is_running(const struct docker_container *c)
{
    return has_state(c, "running");
}

/* As Postfix's programs write them. */
static bool complains(const char *errors)
{
    static const char *const words[] = {"warning:", "error:", "fatal:", "panic:"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(errors, words[i]))
            return true;
    return false;
}

/* What docker_exec gave for the command. */
static int run_command(struct run *run, const struct reload_service *service,
                       const struct reload_command *command, const struct docker_container *c)
{
    struct docker_exec result = {0};
    struct error why = {0};
    char detail[1100];
    struct reload_step step = {
        .service = service->name, .container = c->name, .command = command->name, .detail = detail};
    int64_t begin = clock_us();
    int r = docker_exec(run->d, c->id, command->argv, EXEC_TIMEOUT_MS, &result, &why);
    bool failed = result.exit_code || (command->reads_stderr && complains(result.errors));
    step.us = clock_us() - begin;
    if (r)
        snprintf(detail, sizeof detail, "%s", why.text);
    else if (result.exit_code)
        snprintf(detail, sizeof detail, "exit code %d: %.400s", result.exit_code,
                 *result.output ? result.output : "no output");
    else
        snprintf(detail, sizeof detail, "%.400s", failed ? result.errors : result.output);
    step.outcome = r == DOCKER_FORBIDDEN ? RELOAD_FORBIDDEN : r || failed ? RELOAD_FAILED : RELOAD_DONE;
    report(run, &step);
    return r;
}

/*
 * A failure is this container's own unless the engine has gone; one that hangs over a single container still
 * answers a ping.
 */
static int reload_container(struct run *run, const struct reload_service *service,
                            const struct docker_container *c, struct error *err)
{
    for (size_t i = 0; i < service->command_count; i++) {
        const struct reload_command *command = &service->commands[i];
        int r = command->from <= run->opts->level ? run_command(run, service, command, c) : 0;
        if (r)
            return r == E_TEMPORARY ? docker_ping(run->d, err) : 0;
    }
    return 0;
}

static void report_state(struct run *run, const struct reload_service *service,
                         const struct docker_container *c, bool has_running)
{
    char detail[120];
    bool holds_old = has_state(c, "paused") || has_state(c, "restarting");
    snprintf(detail, sizeof detail, "%s%s%s", c->state, *c->status ? ": " : "", c->status);
    report(run, &(struct reload_step){
                    .service = service->name,
                    .container = c->name,
                    .outcome = RELOAD_NOT_RUNNING,
                    .tolerated = is_optional(run, service->name) || (has_running && !holds_old),
                    .detail = detail,
                });
}

static int reload_service(struct run *run, const struct reload_service *service, struct error *err)
{
    const struct docker_containers *all = run->containers;
    size_t found = 0, running = 0;
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].service, service->name) == 0) {
            found++;
            running += is_running(&all->list[i]);
        }
    if (!found)
        report(run, &(struct reload_step){.service = service->name,
                                          .outcome = RELOAD_ABSENT,
                                          .tolerated = is_optional(run, service->name),
                                          .detail = "no container of this service"});
    int r = 0;
    for (size_t i = 0; i < all->count && !r; i++) {
        const struct docker_container *c = &all->list[i];
        if (strcmp(c->service, service->name) != 0)
            continue;
        if (is_running(c))
            r = run->d ? reload_container(run, service, c, err) : 0;
        else
            report_state(run, service, c, running > 0);
    }
    return r;
}

static int visit_all(struct run *run, struct error *err)
{
    for (size_t i = 0; i < reload_service_count; i++) {
        const struct reload_service *service = &reload_services[i];
        bool passed_over = run->opts->service && strcmp(run->opts->service, service->name) != 0;
        int r = passed_over ? 0 : reload_service(run, service, err);
        if (r)
            return r;
    }
    return run->incomplete ? RELOAD_INCOMPLETE : 0;
}

int reload_run(struct docker *d, const struct docker_containers *containers, const struct reload_opts *opts,
               struct error *err)
{
    return visit_all(&(struct run){.d = d, .containers = containers, .opts = opts}, err);
}

int reload_look(const struct docker_containers *containers, const struct reload_opts *opts)
{
    return visit_all(&(struct run){.containers = containers, .opts = opts}, NULL);
}

int reload_check(struct docker *d, const struct docker_container *c, struct error *err)
{
    const struct reload_service *service = &reload_services[reload_service_index(c->service)];
    struct docker_exec result = {0};
    struct error ignored;
    if (docker_exec(d, c->id, service->check_argv, EXEC_TIMEOUT_MS, &result, &ignored) || !result.exit_code ||
        result.exit_code == TIMED_OUT)
        return 0;
    return error_set(err, E_FAILED, "%s refuses its configuration, exit code %d: %.400s", c->service,
                     result.exit_code, *result.output ? result.output : "no output");
}
