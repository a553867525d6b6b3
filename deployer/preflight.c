#include "deployer/preflight.h"
#include "deployer/install.h"
#include "deployer/preflight_impl.h"
#include "deployer/reload.h"
#include "deployer/updater.h"

#include <fcntl.h>
#include <string.h>

#define PROC "/proc"

/* What one preflight works with. */
struct preflight {
    const struct mailhost *host;
    const struct preflight_opts *opts;
    struct docker *docker; /* NULL from when it does not answer any more */
    struct preflight_stack stack;
    struct preflight_owners owners;
    struct finding_list *out;
};

static bool is_of(const struct docker_container *c, const char *service)
{
    return strcmp(c->service, service) == 0;
}

static bool inspect(struct preflight *p, const struct docker_container *c, struct docker_details *out)
{
    struct error err;
    int rc = p->docker ? docker_inspect(p->docker, c->id, out, &err) : E_TEMPORARY;
    if (rc == E_TEMPORARY)
        p->docker = NULL;
    return rc == 0;
}

/* ---- acme ---- */

/* False when the engine does not tell. */
static bool check_acme_container(struct preflight *p, const struct docker_container *c)
{
    AUTO_DETAILS struct docker_details details = {0};
    if (!inspect(p, c, &details))
        return false;
    const struct preflight_acme acme = {
        .container = c->name,
        .state = c->state,
        .skip = docker_env(&details, "SKIP_LETS_ENCRYPT"),
        .starts_by_itself = strcmp(details.restart_policy, "always") == 0,
        .configured = p->host->mailcow.skip_acme,
    };
    preflight_acme(&p->stack, &acme, p->out);
    return true;
}

/* What is in force is the environment of the container; the file is only what the next one will have. */
static void check_acme(struct preflight *p)
{
    const struct docker_containers *containers = p->opts->containers;
    bool is_known = p->docker && containers && !containers->is_by_name;
    for (size_t i = 0; is_known && i < containers->count; i++)
        if (is_of(&containers->list[i], PREFLIGHT_ACME))
            is_known = check_acme_container(p, &containers->list[i]);
    if (is_known || mailcow_is_yes(p->host->mailcow.skip_acme))
        return;
    finding_add(p->out, FINDING_WARN, "acme-unknown", NULL,
                "mailcow.conf has SKIP_LETS_ENCRYPT=%s, and Docker cannot be asked whether " PREFLIGHT_ACME
                " runs",
                p->host->mailcow.skip_acme);
    finding_remedy(
        p->out, "set SKIP_LETS_ENCRYPT=y in mailcow.conf, then in %s: docker compose up -d " PREFLIGHT_ACME,
        p->stack.directory);
}

/* ---- update.sh ---- */

static void check_update(const struct preflight *p)
{
    pid_t pid = updater_find(PROC, p->stack.directory);
    if (!pid)
        return;
    finding_add(p->out, FINDING_LATER, "update-running", NULL, "%s/update.sh is at work (process %d)",
                p->stack.directory, (int)pid);
    finding_remedy(p->out, "wait until it has ended; the next pass goes on by itself");
}

/* ---- the SSL folder ---- */

/* With `userns_mode: host`, as mailcow's users have it under userns-remap, a container is not remapped. */
static bool is_remapped(struct preflight *p, const struct docker_container *c)
{
    AUTO_DETAILS struct docker_details details = {0};
    return inspect(p, c, &details) && strcmp(details.userns_mode, "host") != 0;
}

static bool any_is_remapped(struct preflight *p)
{
    const struct docker_containers *containers = p->opts->containers;
    for (size_t i = 0; containers && i < containers->count; i++)
        for (size_t s = 0; s < reload_service_count; s++)
            if (is_of(&containers->list[i], reload_services[s].name) && is_remapped(p, &containers->list[i]))
                return true;
    return false;
}

static void tell_of_root(const struct preflight *p)
{
    char root[40] = "another user";
    if (p->owners.root_is_known)
        snprintf(root, sizeof root, "uid %u", p->owners.root.uid);
    finding_add(
        p->out, FINDING_NOTE, "userns-remap", NULL,
        "Docker remaps users: the containers' root is %s on this host, who has to be able to read key.pem",
        root);
    finding_remedy(p->out, "what is replaced keeps its owner; owner and group in [mailcow] set another");
}

static void find_root(struct preflight *p)
{
    struct docker_info info;
    struct error ignored;
    if (!p->docker || docker_info(p->docker, &info, &ignored) || !info.remaps_users || !any_is_remapped(p))
        return;
    p->owners.is_remapped = true;
    p->owners.root_is_known = info.root_is_known;
    p->owners.root = (struct file_owner){.uid = info.root_uid, .gid = info.root_gid};
    if (p->opts->check)
        tell_of_root(p);
}

static void link_to_folder(const struct preflight *p, const char *want)
{
    finding_add(p->out, FINDING_REFUSE, "symlink", want,
                "%s/%s is a symbolic link: the containers see only what is in their SSL folder",
                p->host->mailcow.ssl_path, want);
    finding_remedy(p->out, "put the folder itself there");
}

/* Opens the folder of a want; -1 when there is none. */
static int open_folder(const struct preflight *p, const char *want, char *path, size_t size)
{
    struct error ignored;
    struct stat st;
    bool is_primary = strcmp(want, WANT_PRIMARY) == 0;
    snprintf(path, size, "%s%s%s", p->host->mailcow.ssl_path, is_primary ? "" : "/", is_primary ? "" : want);
    if (!is_primary && fstatat(p->host->ssl_fd, want, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        link_to_folder(p, want);
    return install_open_folder(p->host->ssl_fd, want, &ignored);
}

static bool any_is_foreign(const struct preflight *p)
{
    for (size_t i = 0; i < p->host->wants.count; i++) {
        struct error ignored;
        AUTO_CLOSE int folder = install_open_folder(p->host->ssl_fd, p->host->wants.list[i].id, &ignored);
        if (folder >= 0 && preflight_is_foreign(folder, &p->owners))
            return true;
    }
    return false;
}

static void check_folders(struct preflight *p)
{
    if (p->opts->check || any_is_foreign(p))
        find_root(p);
    for (size_t i = 0; i < p->host->wants.count; i++) {
        char path[4400];
        const char *want = p->host->wants.list[i].id;
        AUTO_CLOSE int folder = open_folder(p, want, path, sizeof path);
        if (folder >= 0)
            preflight_pair(folder, path, want, &p->owners, p->out);
    }
}

static void check_space(const struct preflight *p)
{
    struct statvfs fs;
    if (statvfs(p->host->conf->state, &fs) == 0)
        preflight_space(p->host->conf->state, &fs, p->out);
    if (fstatvfs(p->host->ssl_fd, &fs) == 0)
        preflight_space(p->host->mailcow.ssl_path, &fs, p->out);
}

/* ---- SNI folders ---- */

/* The first name of the primary for which a service serves the folder's certificate. */
static bool find_shadowed(const struct preflight *p, const struct want *folder, struct preflight_shadow *out)
{
    const struct want_list *wants = &p->host->wants;
    const struct want *primary = want_find(wants, WANT_PRIMARY);
    for (size_t n = 0; n < primary->name_count; n++)
        for (size_t s = 0; s < reload_service_count; s++)
            if (mailcow_serves(&p->host->mailcow, wants, reload_services[s].name, primary->names[n]) ==
                folder) {
                out->service = reload_services[s].name;
                out->name = primary->names[n];
                return true;
            }
    return false;
}

static void check_shadow(const struct preflight *p, const struct want *folder)
{
    const struct want *primary = want_find(&p->host->wants, WANT_PRIMARY);
    struct preflight_shadow s = {.folder = folder, .primary = primary};
    if (folder != primary && folder->installed[0] && primary->installed[0] && find_shadowed(p, folder, &s))
        preflight_shadow(&s, p->opts->now, p->opts->check, p->out);
}

static void check_sni(const struct preflight *p)
{
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    struct error ignored;
    preflight_sni_map(p->host->mailcow.postfix_path, p->out);
    preflight_problems(&p->host->problems, p->out);
    /* a deployment writes such files anew */
    if (p->opts->check && sni_scan(p->host->ssl_fd, &folders, &ignored) == 0)
        preflight_domains(p->host->mailcow.ssl_path, &folders, p->out);
    for (size_t i = 0; i < p->host->wants.count; i++)
        check_shadow(p, &p->host->wants.list[i]);
}

/* ---- what only a person asks for ---- */

static void check_trust(const struct preflight *p)
{
    AUTO_TRUST struct trust *trust = NULL;
    struct error err;
    if (trust_new(&trust, p->host->conf->trust, &err) != E_CONFIG)
        return;
    finding_add(p->out, FINDING_REFUSE, "trust", NULL, "%s: no push can be judged", err.text);
    finding_remedy(p->out, "apt install ca-certificates; or set trust in [deploy] to a PEM file of CAs");
}

static bool has_watchdog(const struct docker_containers *containers)
{
    for (size_t i = 0; containers && i < containers->count; i++)
        if (is_of(&containers->list[i], "watchdog-mailcow") &&
            strcmp(containers->list[i].state, "running") == 0)
            return true;
    return false;
}

static void check_lifetime(const struct preflight *p, const struct want *want)
{
    if (!want->installed[0])
        return;
    preflight_lifetime(want, p->opts->now, p->out);
    if (has_watchdog(p->opts->containers) && strcmp(want->id, WANT_PRIMARY) == 0)
        preflight_watchdog(want, p->out);
}

/* ---- the whole ---- */

void preflight_run(const struct mailhost *host, const struct preflight_opts *opts, struct finding_list *out)
{
    struct preflight p = {
        .host = host,
        .opts = opts,
        .docker = opts->docker,
        .stack = {.directory = host->conf->mailcow,
                  .project = host->mailcow.project,
                  .optional = (const char *const *)host->conf->optional.items,
                  .now = opts->now},
        .owners = {.configured = deploy_conf_owner(host->conf)},
        .out = out,
    };
    check_acme(&p);
    check_update(&p);
    check_folders(&p);
    if (opts->containers) {
        preflight_containers(&p.stack, opts->containers, out);
        preflight_mounts(opts->containers, host->ssl_fd, host->mailcow.ssl_path, out);
    }
    preflight_dhparams(host->ssl_fd, host->mailcow.ssl_path, &p.owners, out);
    check_sni(&p);
    check_space(&p);
    if (!opts->check)
        return;
    check_trust(&p);
    for (size_t i = 0; i < host->wants.count; i++)
        check_lifetime(&p, &host->wants.list[i]);
}

void preflight_check(const struct mailhost *host, struct finding_list *out)
{
    AUTO_DOCKER struct docker *docker = NULL;
    AUTO_CONTAINERS struct docker_containers containers = {0};
    struct error err;
    int rc = docker_new(&docker, host->conf->docker_host, host->conf->docker_cert_path, &err);
    if (!rc)
        rc = docker_containers_found(docker, host->mailcow.project,
                                     (const char *const *)host->conf->docker_containers.items, &containers,
                                     &err);
    if (rc) {
        finding_add(out, FINDING_WARN, "docker-unreachable", NULL, "%s", err.text);
        finding_remedy(out, "systemctl status docker; or set host in [docker]");
    }
    const struct preflight_opts opts = {
        .docker = rc ? NULL : docker,
        .containers = rc ? NULL : &containers,
        .now = time(NULL),
        .check = true,
    };
    preflight_run(host, &opts, out);
}
