#include "deployer/preflight_impl.h"
#include "deployer/reload.h"

#include <string.h>
#include <sys/stat.h>

#define SSL_MOUNT     "/etc/ssl/mail"
#define YOUNG_SECONDS 600 /* a container that was made and not started for longer is not being made */

static bool has_state(const struct docker_container *c, const char *state)
{
    return strcmp(c->state, state) == 0;
}

/* ---- acme ---- */

static void acme_runs(const struct preflight_stack *stack, const struct preflight_acme *acme,
                      struct finding_list *out)
{
    bool configured = mailcow_is_yes(acme->configured);
    finding_add(
        out, FINDING_REFUSE, "acme-active", NULL,
        "%s is %s with SKIP_LETS_ENCRYPT=%.20s: mailcow's ACME client would put its own certificate over "
        "the pushed one%s",
        acme->container, acme->state, acme->skip ? acme->skip : "",
        configured ? "; mailcow.conf says otherwise, but the container was made before that" : "");
    finding_remedy(out, "%sin %s: docker compose up -d " PREFLIGHT_ACME,
                   configured ? "" : "set SKIP_LETS_ENCRYPT=y in mailcow.conf, then ", stack->directory);
}

void preflight_acme(const struct preflight_stack *stack, const struct preflight_acme *acme,
                    struct finding_list *out)
{
    static const char *const idle[] = {"created", "exited", "dead", "removing"};
    if (acme->skip && mailcow_is_yes(acme->skip))
        return;
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        if (strcmp(acme->state, idle[i]) != 0)
            continue;
        if (acme->starts_by_itself) {
            finding_add(
                out, FINDING_NOTE, "acme-stopped", NULL,
                "%s is %s; with SKIP_LETS_ENCRYPT=%.20s it would replace the pushed certificate if it were "
                "started again, as Docker does when it is restarted",
                acme->container, acme->state, acme->skip ? acme->skip : "");
            finding_remedy(
                out,
                "set SKIP_LETS_ENCRYPT=y in mailcow.conf, then in %s: docker compose up -d " PREFLIGHT_ACME,
                stack->directory);
        }
        return;
    }
    acme_runs(stack, acme, out);
}

/* ---- the services ---- */

static bool is_optional(const struct preflight_stack *stack, const char *service)
{
    for (const char *const *name = stack->optional; name && *name; name++)
        if (strcmp(*name, service) == 0)
            return true;
    return false;
}

/* What a state means where none of the service's containers runs, or where it matters all the same. */
static void report_state(const struct preflight_stack *stack, const struct docker_container *c,
                         bool has_running, struct finding_list *out)
{
    if (has_state(c, "paused")) {
        finding_add(out, FINDING_WARN, "container-paused", NULL,
                    "%s is paused: it answers nobody, and keeps the old "
                    "certificate",
                    c->name);
        finding_remedy(out, "docker unpause %s", c->name);
    } else if (has_state(c, "restarting")) {
        finding_add(out, FINDING_WARN, "container-restarting", NULL, "%s is restarting: %s", c->name,
                    c->status);
        finding_remedy(out, "docker logs --tail 50 %s", c->name);
    } else if (has_state(c, "removing") ||
               (has_state(c, "created") && labs(stack->now - c->created) < YOUNG_SECONDS)) {
        finding_add(out, FINDING_LATER, "container-changing", NULL, "%s is %s at this moment", c->name,
                    has_state(c, "created") ? "being made" : "being removed");
        finding_remedy(out, "wait until it runs; the next pass goes on by itself");
    } else if (!has_running) {
        finding_add(out, FINDING_WARN, "container-stopped", NULL, "%s is %s: %s", c->name, c->state,
                    c->status);
        finding_remedy(out, "docker start %s; or name %s as optional in [mailcow]", c->name, c->service);
    }
}

/* Compose 2 joins by hyphens, its first version did by underscores. */
static bool has_usual_name(const struct preflight_stack *stack, const struct docker_container *c)
{
    const char *name = c->name;
    const char *parts[] = {stack->project, c->service};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(parts[i]);
        if (strncmp(name, parts[i], len) != 0 || !name[len] || !strchr("-_", name[len]))
            return false;
        name += len + 1;
    }
    return *name && strspn(name, "0123456789") == strlen(name);
}

static void report_name(const struct preflight_stack *stack, const struct docker_container *c,
                        struct finding_list *out)
{
    if (has_usual_name(stack, c))
        return;
    finding_add(
        out, FINDING_NOTE, "container-renamed", NULL,
        "the container of %s is called %s: it is found by its labels, but not by scripts that go by names",
        c->service, c->name);
    finding_remedy(out, "docker rename %s %s-%s-1", c->name, stack->project, c->service);
}

static void report_scale(const struct preflight_stack *stack, const char *service, size_t running,
                         struct finding_list *out)
{
    if (running < 2)
        return;
    finding_add(out, FINDING_NOTE, "container-scaled", NULL,
                "%zu containers of %s run: each is reloaded and verified, but mailcow is not made for it",
                running, service);
    finding_remedy(out, "in %s: docker compose up -d --scale %s=1", stack->directory, service);
}

static void report_service(const struct preflight_stack *stack, const struct docker_containers *all,
                           const char *service, struct finding_list *out)
{
    size_t found = 0, running = 0;
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].service, service) == 0) {
            found++;
            running += has_state(&all->list[i], "running");
        }
    if (!found) {
        finding_add(out, FINDING_WARN, "container-missing", NULL, "no container of %s in project %s", service,
                    stack->project);
        finding_remedy(out, "in %s: docker compose up -d %s; or name it as optional in [mailcow]",
                       stack->directory, service);
    }
    report_scale(stack, service, running, out);
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].service, service) == 0) {
            report_name(stack, &all->list[i], out);
            if (!has_state(&all->list[i], "running"))
                report_state(stack, &all->list[i], running > 0, out);
        }
}

void preflight_containers(const struct preflight_stack *stack, const struct docker_containers *containers,
                          struct finding_list *out)
{
    if (!containers->count) {
        finding_add(out, FINDING_WARN, "project-empty", NULL,
                    "no container has the label "
                    "com.docker.compose.project=%s",
                    stack->project);
        finding_remedy(out, "in %s: docker compose up -d; or put right COMPOSE_PROJECT_NAME in mailcow.conf",
                       stack->directory);
        return;
    }
    for (size_t i = 0; i < reload_service_count; i++)
        if (!is_optional(stack, reload_services[i].name))
            report_service(stack, containers, reload_services[i].name, out);
}

/* ---- mounts ---- */

static void report_mount(const struct docker_container *c, const char *source, const struct stat *ssl,
                         const char *ssl_path, struct finding_list *out)
{
    struct stat st;
    if (strcmp(source, ssl_path) == 0 || stat(source, &st) < 0 ||
        (st.st_dev == ssl->st_dev && st.st_ino == ssl->st_ino))
        return;
    finding_add(out, FINDING_WARN, "ssl-mount", NULL, "%s has %s mounted at " SSL_MOUNT ", not %s", c->name,
                source, ssl_path);
    finding_remedy(out, "set path in [mailcow] to the directory that the containers were made from");
}

void preflight_mounts(const struct docker_containers *containers, int ssl_fd, const char *ssl_path,
                      struct finding_list *out)
{
    struct stat ssl;
    if (fstat(ssl_fd, &ssl) < 0)
        return;
    for (size_t i = 0; i < containers->count; i++) {
        const struct docker_container *c = &containers->list[i];
        bool reads = false;
        for (size_t s = 0; s < reload_service_count; s++)
            reads = reads || strcmp(c->service, reload_services[s].name) == 0;
        for (size_t m = 0; reads && m < c->mount_count; m++)
            if (strcmp(c->mounts[m].target, SSL_MOUNT) == 0)
                report_mount(c, c->mounts[m].source, &ssl, ssl_path, out);
    }
}
