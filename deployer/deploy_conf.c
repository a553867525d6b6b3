#include "deployer/deploy_conf.h"
#include "common/metrics.h"
#include "common/text.h"
#include "common/want.h"
#include "deployer/docker_host.h"
#include "deployer/endpoint.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

static bool is_name(const char *item)
{
    return text_is_host_name(item, true);
}

static bool is_user(const char *item)
{
    return *item && strspn(item, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(item);
}

static bool is_service(const char *item)
{
    for (size_t i = 0; i < endpoint_proto_count; i++)
        if (strcmp(endpoint_protos[i].service, item) == 0)
            return true;
    return false;
}

static bool is_docker_host(const char *item)
{
    struct docker_host host;
    return docker_host_parse(item, &host);
}

/* The name as the engine allows it, 64 bytes at most. */
static bool is_named_container(const char *item)
{
    char service[32];
    size_t len = strcspn(item, "=");
    const char *name = item + len + (item[len] == '=');
    snprintf(service, sizeof service, "%.*s", len < sizeof service ? (int)len : 0, item);
    return is_service(service) && isalnum((unsigned char)*name) && strlen(name) <= 64 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(name);
}

/* By number (the last one means "nobody in particular" to chown(2)) or by name; false when there is none. */
static bool find_user(const char *item, uid_t *out)
{
    long number;
    bool is_number = text_parse_number(item, 0, (long)UINT_MAX - 1, &number);
    const struct passwd *user = is_number ? NULL : getpwnam(item);
    if (is_number || user)
        *out = user ? user->pw_uid : (uid_t)number;
    return is_number || user;
}

static bool find_group(const char *item, gid_t *out)
{
    long number;
    bool is_number = text_parse_number(item, 0, (long)UINT_MAX - 1, &number);
    const struct group *group = is_number ? NULL : getgrnam(item);
    if (is_number || group)
        *out = group ? group->gr_gid : (gid_t)number;
    return is_number || group;
}

static bool is_owner(const char *item)
{
    uid_t uid;
    return find_user(item, &uid);
}

static bool is_group(const char *item)
{
    gid_t gid;
    return find_group(item, &gid);
}

static bool is_endpoint(const char *item)
{
    struct endpoint_list list = {.count = 0};
    struct error err;
    return strcmp(item, "auto") == 0 || endpoint_parse(item, &list, &err) == 0;
}

#define AT(field) offsetof(struct deploy_conf, field)

static const struct conf_key deploy_keys[] = {
    {.name = "state", .type = CONF_PATH, .offset = AT(state)},
    {.name = "socket", .type = CONF_PATH, .offset = AT(socket)},
    {.name = "push_user",
     .type = CONF_STRING,
     .offset = AT(push_user),
     .accepts = is_user,
     .expected = "a user name"},
    {.name = "trust", .type = CONF_PATH, .offset = AT(trust)},
    {.name = "idle", .type = CONF_DURATION, .offset = AT(idle), .min = 1, .max = 86400},
    {.name = "keep", .type = CONF_NUMBER, .offset = AT(keep), .min = 2, .max = 100},
};
static const struct conf_key mailcow_keys[] = {
    {.name = "path", .type = CONF_PATH, .offset = AT(mailcow)},
    {.name = "require",
     .type = CONF_LIST,
     .offset = AT(require),
     .accepts = is_name,
     .expected = "host names in lower case, such as mail.example.org"},
    {.name = "ignore",
     .type = CONF_LIST,
     .offset = AT(ignore),
     .accepts = want_is_id,
     .expected = "names of folders in mailcow's data/assets/ssl"},
    {.name = "optional",
     .type = CONF_LIST,
     .offset = AT(optional),
     .accepts = is_service,
     .expected = "services: nginx-mailcow, postfix-mailcow, dovecot-mailcow"},
    {.name = "owner",
     .type = CONF_STRING,
     .offset = AT(owner),
     .accepts = is_owner,
     .expected = "a user of this host, or a number"},
    {.name = "group",
     .type = CONF_STRING,
     .offset = AT(group),
     .accepts = is_group,
     .expected = "a group of this host, or a number"},
};
static const struct conf_key docker_keys[] = {
    {.name = "host",
     .type = CONF_STRING,
     .offset = AT(docker_host),
     .accepts = is_docker_host,
     .expected = DOCKER_HOST_FORMS,
     .line_offset = AT(docker_host_line)},
    {.name = "cert_path", .type = CONF_PATH, .offset = AT(docker_cert_path)},
    {.name = "containers",
     .type = CONF_LIST,
     .offset = AT(docker_containers),
     .accepts = is_named_container,
     .expected = "SERVICE=NAME, such as nginx-mailcow=mailcowdockerized-nginx-mailcow-1"},
};
static const struct conf_key verify_keys[] = {
    {.name = "timeout", .type = CONF_DURATION, .offset = AT(verify_timeout), .min = 5, .max = 90},
    {.name = "start_timeout", .type = CONF_DURATION, .offset = AT(start_timeout), .min = 5, .max = 900},
    {.name = "endpoints",
     .type = CONF_LIST,
     .offset = AT(endpoints),
     .accepts = is_endpoint,
     .expected = "auto, or endpoints such as smtp://mail.example.org:25"},
    {.name = "login", .type = CONF_PATH, .offset = AT(login)},
};
static const struct conf_key metrics_keys[] = {
    {.name = "textfile",
     .type = CONF_STRING,
     .offset = AT(textfile),
     .accepts = metrics_is_place,
     .expected = METRICS_EXPECTED},
};

static const struct conf_key sni_keys[] = {
    {.name = "domains",
     .type = CONF_LIST,
     .offset = offsetof(struct deploy_sni, domains),
     .accepts = is_name,
     .expected = "host names in lower case, such as mail.example.net or *.example.net"},
};

/* What mailcow, or this program, has there for other ends. */
static bool is_sni_name(const char *name)
{
    static const char *const taken[] = {"primary", "acme",    "acme-sh",      "backups",    "cert.pem",
                                        "key.pem", "domains", "dhparams.pem", "force_renew"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(name, taken[i]) == 0)
            return false;
    return true;
}

static void *sni_record(void *config, const char *instance)
{
    struct deploy_conf *s = config;
    for (size_t i = 0; i < s->sni_count; i++)
        if (strcmp(s->sni[i].name, instance) == 0)
            return &s->sni[i];
    if (s->sni_count == DEPLOY_CONF_SNI_MAX)
        return NULL;
    struct deploy_sni *sni = &s->sni[s->sni_count];
    return conf_set_string(&sni->name, instance) < 0 ? NULL : &s->sni[s->sni_count++];
}

static void *the_record(void *config, const char *instance)
{
    (void)instance;
    return config;
}

#define KEYS(table) .keys = table, .key_count = sizeof table / sizeof *table

static void *alarm_record(void *config, const char *instance)
{
    (void)instance;
    return &((struct deploy_conf *)config)->alarm;
}

static const struct conf_section sections[] = {
    {.name = "deploy", .record = the_record, KEYS(deploy_keys)},
    {.name = "mailcow", .record = the_record, KEYS(mailcow_keys)},
    {.name = "docker", .record = the_record, KEYS(docker_keys)},
    {.name = "verify", .record = the_record, KEYS(verify_keys)},
    {.name = "alarm", .record = alarm_record, .keys = alarm_keys, .key_count = ALARM_KEYS_DEPLOYER},
    {.name = "metrics", .record = the_record, KEYS(metrics_keys)},
    {.name = "sni",
     .named = true,
     .record = sni_record,
     .accepts = is_sni_name,
     .expected = "mailcow, or this program, has that name for something else",
     KEYS(sni_keys)},
};

int deploy_conf_defaults(struct deploy_conf *s)
{
    *s = (struct deploy_conf){
        .idle = 120, .keep = 4, .verify_timeout = 30, .start_timeout = 300, .alarm = alarm_conf_defaults};
    const struct {
        char **slot;
        const char *value;
    } defaults[] = {
        {&s->state, "/var/lib/mailcow-cert-deploy"},
        {&s->socket, "/run/mailcow-cert-deploy/deploy.sock"},
        {&s->push_user, "certsync"},
        {&s->trust, "/etc/ssl/certs/ca-certificates.crt"},
        {&s->mailcow, "/opt/mailcow-dockerized"},
        {&s->docker_host, DOCKER_HOST_DEFAULT},
        {&s->textfile, METRICS_FOLDER},
    };
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (conf_set_string(defaults[i].slot, defaults[i].value) < 0)
            return E_TEMPORARY;
    return 0;
}

/* `auto` is the default; beside other endpoints it would mean two things. */
static void check_endpoints(struct deploy_conf *s, const char *path, struct problems *problems)
{
    bool has_auto = false;
    for (size_t i = 0; i < s->endpoints.count; i++)
        has_auto = has_auto || strcmp(s->endpoints.items[i], "auto") == 0;
    if (has_auto && s->endpoints.count > 1)
        problem_add(problems, "%s: endpoints: either auto or a list of endpoints, not both", path);
    if (has_auto)
        conf_list_free(&s->endpoints);
    if (s->endpoints.count > ENDPOINT_MAX)
        problem_add(problems, "%s: endpoints: more than %d", path, ENDPOINT_MAX);
}

static void check_sni(const struct deploy_conf *s, const char *path, struct problems *problems)
{
    bool is_whole = !problems->count; /* no domains may be all that is left of bad ones */
    for (size_t i = 0; i < s->sni_count; i++) {
        const struct deploy_sni *sni = &s->sni[i];
        if (!sni->domains.count && is_whole)
            problem_add(problems, "%s: [sni %s]: domains is missing: the names that its certificate is for",
                        path, sni->name);
        if (deploy_conf_ignores(s, sni->name))
            problem_add(problems, "%s: [sni %s]: ignore names it, too: it is to be renewed or not", path,
                        sni->name);
        if (sni->domains.count > WANT_MAX_NAMES)
            problem_add(problems, "%s: [sni %s]: more than %d domains", path, sni->name, WANT_MAX_NAMES);
    }
}

/* Who may speak to the engine is root on this host. */
static void check_docker(const struct deploy_conf *s, const char *path, struct problems *problems)
{
    struct docker_host host;
    if (!docker_host_parse(s->docker_host, &host))
        return;
    if (!*host.path && !host.is_loopback && !s->docker_cert_path)
        problem_add(
            problems,
            "%s:%u: host = %s: without TLS everybody on the way there would be root on this host; set "
            "cert_path = FOLDER (with ca.pem, cert.pem, key.pem; such as /etc/mailcow-certsync/docker), "
            "or use a loopback address",
            path, s->docker_host_line, s->docker_host);
}

int deploy_conf_read(const char *path, struct deploy_conf *out, struct problems *problems)
{
    int rc = deploy_conf_defaults(out);
    if (rc < 0)
        return rc;
    if (strcmp(path, DEPLOY_CONF_PATH) == 0 && access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    conf_read(path, sections, sizeof sections / sizeof *sections, out, problems);
    check_endpoints(out, path, problems);
    check_sni(out, path, problems);
    check_docker(out, path, problems);
    return problems->count ? E_CONFIG : 0;
}

const struct deploy_sni *deploy_conf_sni(const struct deploy_conf *s, const char *name)
{
    for (size_t i = 0; i < s->sni_count; i++)
        if (strcmp(s->sni[i].name, name) == 0)
            return &s->sni[i];
    return NULL;
}

struct file_owner deploy_conf_owner(const struct deploy_conf *s)
{
    struct file_owner owner = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    if (s->owner)
        find_user(s->owner, &owner.uid);
    if (s->group)
        find_group(s->group, &owner.gid);
    return owner;
}

bool deploy_conf_ignores(const struct deploy_conf *s, const char *name)
{
    for (size_t i = 0; i < s->ignore.count; i++)
        if (strcmp(s->ignore.items[i], name) == 0)
            return true;
    return false;
}

void deploy_conf_free(struct deploy_conf *s)
{
    free(s->state);
    free(s->socket);
    free(s->push_user);
    free(s->trust);
    free(s->mailcow);
    free(s->docker_host);
    free(s->docker_cert_path);
    conf_list_free(&s->docker_containers);
    free(s->owner);
    free(s->group);
    conf_list_free(&s->require);
    conf_list_free(&s->ignore);
    conf_list_free(&s->optional);
    conf_list_free(&s->endpoints);
    for (size_t i = 0; i < s->sni_count; i++) {
        free(s->sni[i].name);
        conf_list_free(&s->sni[i].domains);
    }
    free(s->textfile);
    free(s->login);
    *s = (struct deploy_conf){0};
}
