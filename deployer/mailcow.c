#include "deployer/mailcow.h"
#include "common/cert.h"
#include "common/file.h"
#include "common/text.h"
#include "deployer/sni.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define CONF_BYTES (256 * 1024)

static bool is_primary(const struct want *want)
{
    return strcmp(want->id, WANT_PRIMARY) == 0;
}

/* ---- mailcow.conf ---- */

/* Takes the quotes, or an unquoted value's comment and trailing space (CR, too), off; in place. */
static char *unquote(char *value)
{
    size_t len = strlen(value);
    if (len >= 2 && (*value == '"' || *value == '\'')) {
        char *end = strchr(value + 1, *value);
        if (end) {
            *end = '\0';
            return value + 1;
        }
    }
    for (char *p = value; *p; p++)
        if (*p == '#' && (p == value || isblank((unsigned char)p[-1]))) {
            *p = '\0';
            break;
        }
    for (len = strlen(value); len && isspace((unsigned char)value[len - 1]); len--)
        value[len - 1] = '\0';
    return value;
}

/* The value of an assignment to key on this line, NULL if it is none. */
static char *assignment(char *line, const char *key)
{
    line += strspn(line, " \t");
    if (strncmp(line, "export ", 7) == 0)
        line += 7 + strspn(line + 7, " \t");
    size_t len = strlen(key);
    if (strncmp(line, key, len) != 0 || line[len] != '=')
        return NULL;
    line += len + 1;
    return unquote(line + strspn(line, " \t"));
}

struct variable {
    const char *key;
    char value[512];
    unsigned line; /* 0: not in the file */
};

static void read_variables(char *text, struct variable *variables, size_t count)
{
    unsigned number = 0;
    for (char *line; (line = strsep(&text, "\n"));) {
        number++;
        for (size_t i = 0; i < count; i++) {
            const char *value = assignment(line, variables[i].key);
            if (!value)
                continue;
            snprintf(variables[i].value, sizeof variables[i].value, "%s", value);
            variables[i].line = number;
            break;
        }
    }
}

static int bad_variable(const char *path, const struct variable *v, const char *expected, struct error *err)
{
    char shown[100];
    return error_set(err, E_CONFIG, "%s:%u: %s=%s: expected %s", path, v->line, v->key,
                     text_escape(shown, sizeof shown, v->value, strlen(v->value)), expected);
}

static int use_hostname(const char *path, const struct variable *v, struct mailcow *out, struct error *err)
{
    if (!v->line || !*v->value)
        return error_set(err, E_CONFIG, "%s: MAILCOW_HOSTNAME is not set: is this a mailcow directory?",
                         path);
    text_lower(out->hostname, sizeof out->hostname, v->value);
    size_t len = strlen(out->hostname);
    if (len && out->hostname[len - 1] == '.')
        out->hostname[len - 1] = '\0';
    if (strlen(v->value) >= sizeof out->hostname || !text_is_host_name(out->hostname, false))
        return bad_variable(path, v, "a host name", err);
    return 0;
}

#define PROJECT_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789_-"

/* Without a name compose takes that of the folder, less what a project's name may not hold. */
static void default_project(const char *folder, char *out, size_t size)
{
    char lower[PATH_MAX];
    size_t len = strlen(text_lower(lower, sizeof lower, folder)), n = 0;
    while (len && lower[len - 1] == '/')
        lower[--len] = '\0';
    const char *slash = strrchr(lower, '/');
    for (const char *p = slash ? slash + 1 : lower; *p && n + 1 < size; p++)
        if (strchr(PROJECT_LETTERS, *p))
            out[n++] = *p;
    out[n] = '\0';
}

/* Compose makes project names lower case, and mailcow's own scripts compare them so. */
static int use_project(const char *path, const char *folder, const struct variable *v, struct mailcow *out,
                       struct error *err)
{
    if (!*v->value)
        default_project(folder, out->project, sizeof out->project);
    else
        text_lower(out->project, sizeof out->project, v->value);
    if (!out->project[0] || strlen(v->value) >= sizeof out->project ||
        strspn(out->project, PROJECT_LETTERS) != strlen(out->project))
        return bad_variable(path, v, "letters, digits, - and _, 127 at most", err);
    return 0;
}

static int use_https_port(const char *path, const struct variable *v, struct mailcow *out, struct error *err)
{
    long port = 443;
    if (*v->value && !text_parse_number(v->value, 1, 65535, &port))
        return bad_variable(path, v, "a port number (the address belongs in HTTPS_BIND)", err);
    out->https_port = (uint16_t)port;
    return 0;
}

/* acme.sh and its like: [[ $value =~ ^([yY][eE][sS]|[yY])+$ ]] */
bool mailcow_is_yes(const char *value)
{
    regex_t yes;
    if (regcomp(&yes, "^([yY][eE][sS]|[yY])+$", REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool is = regexec(&yes, value, 0, NULL, 0) == 0;
    regfree(&yes);
    return is;
}

void mailcow_locate(const char *path, struct mailcow *out)
{
    snprintf(out->ssl_path, sizeof out->ssl_path, "%.4000s/data/assets/ssl", path);
    snprintf(out->postfix_path, sizeof out->postfix_path, "%.4000s/data/conf/postfix", path);
    snprintf(out->dovecot_path, sizeof out->dovecot_path, "%.4000s/data/conf/dovecot", path);
}

int mailcow_read(const char *path, struct mailcow *out, struct error *err)
{
    char file[PATH_MAX];
    struct variable v[] = {
        {.key = "MAILCOW_HOSTNAME"},
        {.key = "COMPOSE_PROJECT_NAME"},
        {.key = "HTTPS_PORT"},
        {.key = "ADDITIONAL_SERVER_NAMES"},
        {.key = "NGINX_USE_PROXY_PROTOCOL"},
        {.key = "SKIP_LETS_ENCRYPT"},
    };
    AUTO_SECRET struct secret text = SECRET(CONF_BYTES); /* it holds mailcow's database passwords */
    snprintf(file, sizeof file, "%s/mailcow.conf", path);
    *out = (struct mailcow){0};
    mailcow_locate(path, out);
    int rc = file_read(AT_FDCWD, file, FILE_FOLLOW, &text, NULL, err);
    if (rc == FILE_CHANGED || rc == E_TEMPORARY)
        return E_TEMPORARY;
    if (rc) {
        err->code = E_CONFIG;
        return error_wrap(err, "mailcow's configuration (set path in [mailcow])");
    }
    if (text.len && memchr(text.data, '\0', text.len))
        return error_set(err, E_CONFIG, "%s: not a text file: NUL bytes", file);
    if (text.len)
        read_variables((char *)text.data, v, sizeof v / sizeof *v);
    memcpy(out->server_names, v[3].value, sizeof out->server_names);
    text_escape(out->skip_acme, sizeof out->skip_acme, v[5].value, strlen(v[5].value));
    rc = use_hostname(file, &v[0], out, err);
    if (!rc)
        rc = use_project(file, path, &v[1], out, err);
    out->https_proxy = strcasecmp(v[4].value, "y") == 0 || strcasecmp(v[4].value, "yes") == 0;
    return rc ? rc : use_https_port(file, &v[2], out, err);
}

/* ---- the SSL folder ---- */

int mailcow_open_ssl(const struct mailcow *m, struct error *err)
{
    struct stat st;
    int fd = file_open_dir(AT_FDCWD, m->ssl_path, false, 0, err);
    if (fd < 0 && lstat(m->ssl_path, &st) == 0 && S_ISLNK(st.st_mode))
        error_set(
            err, E_CONFIG,
            "%s: it is a symbolic link, and the containers have what it led to when they were made: put "
            "the folder itself there, and make the containers anew (docker compose up -d --force-recreate)",
            m->ssl_path);
    if (fd < 0) {
        err->code = E_CONFIG;
        error_wrap(err, "mailcow's SSL folder");
    }
    return fd;
}

/* In the SSL folder. */
static const char *folder_of(const char *want)
{
    return strcmp(want, WANT_PRIMARY) == 0 ? "." : want;
}

int mailcow_read_installed(int ssl_fd, const char *want, const char *name, struct secret *out,
                           struct error *err)
{
    const char *path = folder_of(want);
    AUTO_CLOSE int folder = file_open_dir(ssl_fd, path, false, 0, err);
    int rc = folder < 0 ? err->code : file_read(folder, name, 0, out, NULL, err);
    if (!rc)
        return 0;
    out->len = 0;
    if (!(folder < 0 ? file_is_there(ssl_fd, path, S_IFDIR, SIZE_MAX)
                     : file_is_there(folder, name, S_IFREG, out->max)))
        return MAILCOW_NOTHING;
    return error_wrap(err, "what is installed for %s cannot be read", want);
}

int mailcow_look(int ssl_fd, struct want *want, struct error *err)
{
    AUTO_SECRET struct secret pem = SECRET(SECRET_MAX);
    AUTO_CERT struct cert *c = NULL;
    struct error ignored;
    want->installed[0] = '\0';
    want->not_before = want->not_after = 0;
    int rc = mailcow_read_installed(ssl_fd, want->id, "cert.pem", &pem, err);
    if (rc || cert_parse(pem.data, pem.len, CERT_KEY_IGNORED, &c, &ignored))
        return rc < 0 ? rc : 0;
    memcpy(want->installed, cert_info(c)->fingerprint, sizeof want->installed);
    want->not_before = cert_info(c)->not_before;
    want->not_after = cert_info(c)->not_after;
    return 0;
}

static bool may_hold(int ssl_fd, const char *id, const char *fingerprint)
{
    struct want want = {.installed = ""};
    struct error ignored;
    snprintf(want.id, sizeof want.id, "%s", id);
    return mailcow_look(ssl_fd, &want, &ignored) < 0 || strcmp(want.installed, fingerprint) == 0;
}

bool mailcow_holds(int ssl_fd, const char *fingerprint)
{
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    struct error ignored;
    bool holds = may_hold(ssl_fd, WANT_PRIMARY, fingerprint) || sni_scan(ssl_fd, &folders, &ignored) < 0;
    for (size_t i = 0; !holds && i < folders.count; i++)
        holds = may_hold(ssl_fd, folders.list[i].name, fingerprint);
    return holds;
}

static void take_later(time_t *last, int folder, const char *path)
{
    struct stat st;
    if (fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ctime > *last)
        *last = st.st_ctime;
}

time_t mailcow_changed_at(int ssl_fd, const char *want)
{
    struct error ignored;
    AUTO_CLOSE int folder = file_open_dir(ssl_fd, folder_of(want), false, 0, &ignored);
    time_t last = 0;
    take_later(&last, ssl_fd, ".");
    if (folder < 0)
        return last;
    take_later(&last, folder, ".");
    take_later(&last, folder, "cert.pem");
    take_later(&last, folder, "key.pem");
    return last;
}

/* ---- the wants ---- */

static bool has_name(const struct want *want, const char *name)
{
    for (size_t i = 0; i < want->name_count; i++)
        if (strcmp(want->names[i], name) == 0)
            return true;
    return false;
}

/* The first of the names that another SNI folder asks for already, and which. */
static const char *find_double(const struct want_list *list, const struct conf_list *names,
                               const struct want **out_other)
{
    for (size_t n = 0; n < names->count; n++)
        for (size_t i = 1; i < list->count; i++)
            if (has_name(&list->list[i], names->items[n])) {
                *out_other = &list->list[i];
                return names->items[n];
            }
    return NULL;
}

static int add_sni(struct want_list *list, const char *id, const struct conf_list *names,
                   struct problems *problems, struct error *err)
{
    const struct want *other = NULL;
    struct want *want;
    const char *twice = find_double(list, names, &other);
    if (twice) {
        problem_add(
            problems,
            "SNI folder %s: %s belongs to %s already: it is left out, and what the services serve for "
            "that name is by chance; take the name away from one of them",
            id, twice, other->id);
        return 0;
    }
    if (list->count == WANT_MAX) {
        problem_add(problems, "SNI folder %s: more than %d certificates: it is left out", id, WANT_MAX);
        return 0;
    }
    int rc = want_add(list, id, &want, err);
    for (size_t i = 0; !rc && i < names->count; i++)
        rc = want_add_name(want, names->items[i], err);
    return rc;
}

static int add_folders(const struct deploy_conf *conf, int ssl_fd, struct want_list *out,
                       struct problems *problems, struct error *err)
{
    AUTO_SNI_FOLDERS struct sni_folders folders = {0};
    int rc = sni_scan(ssl_fd, &folders, err);
    for (size_t i = 0; !rc && i < folders.count; i++) {
        const struct sni_folder *folder = &folders.list[i];
        if (deploy_conf_sni(conf, folder->name) || deploy_conf_ignores(conf, folder->name))
            continue;
        if (folder->state == SNI_USED)
            rc = add_sni(out, folder->name, &folder->domains.names, problems, err);
        else if (folder->state == SNI_UNUSABLE)
            problem_add(problems, "SNI folder %s: %s", folder->name, folder->problem);
    }
    return rc;
}

int mailcow_wants(const struct mailcow *m, const struct deploy_conf *conf, int ssl_fd, struct want_list *out,
                  struct problems *problems, struct error *err)
{
    struct want *primary = NULL;
    int rc = want_add(out, WANT_PRIMARY, &primary, err);
    if (!rc)
        rc = want_add_name(primary, m->hostname, err);
    for (size_t i = 0; !rc && i < conf->require.count; i++)
        rc = want_add_name(primary, conf->require.items[i], err);
    for (size_t i = 0; !rc && i < conf->sni_count; i++)
        rc = add_sni(out, conf->sni[i].name, &conf->sni[i].domains, problems, err);
    if (!rc)
        rc = add_folders(conf, ssl_fd, out, problems, err);
    struct error ignored; /* of what cannot be read, the judge and a deployment tell */
    for (size_t i = 0; !rc && i < out->count; i++)
        mailcow_look(ssl_fd, &out->list[i], &ignored);
    return rc;
}

/* ---- which certificate a service serves ---- */

static bool lists_name(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; *p; p += strcspn(p, ", ")) {
        p += strspn(p, ", ");
        if (strcspn(p, ", ") == len && strncasecmp(p, name, len) == 0)
            return true;
    }
    return false;
}

/* The wildcard for the name without its first so many labels; false when too few are left. */
static bool make_wildcard(char out[300], const char *name, unsigned labels)
{
    while (labels-- && name)
        name = (name = strchr(name, '.')) ? name + 1 : NULL;
    return name && strchr(name, '.') && snprintf(out, 300, "*.%s", name) < 300;
}

static bool is_used(const struct want *want)
{
    return !is_primary(want) && want->installed[0];
}

/* Exact names first, then the longest wildcard. skipped: a folder with this name is none for nginx. */
static const struct want *best_match(const struct want_list *wants, const char *name, const char *skipped)
{
    char wildcard[300];
    const char *asked = name;
    for (unsigned labels = 1;; labels++) {
        for (size_t i = 0; i < wants->count; i++)
            if (is_used(&wants->list[i]) && has_name(&wants->list[i], asked) &&
                !(skipped && has_name(&wants->list[i], skipped)))
                return &wants->list[i];
        if (!make_wildcard(wildcard, name, labels))
            return NULL;
        asked = wildcard;
    }
}

/* The first that matches in the order of sni.conf, be it by name or by a wildcard for one label. */
static const struct want *first_match(const struct want_list *wants, const char *name)
{
    char wildcard[300] = "";
    const struct want *found = NULL;
    make_wildcard(wildcard, name, 1);
    for (size_t i = 0; i < wants->count; i++) {
        const struct want *want = &wants->list[i];
        if (is_used(want) && (has_name(want, name) || has_name(want, wildcard)) &&
            (!found || sni_compare(want->id, found->id) < 0))
            found = want;
    }
    return found;
}

const struct want *mailcow_serves(const struct mailcow *m, const struct want_list *wants, const char *service,
                                  const char *name)
{
    const struct want *primary = want_find(wants, WANT_PRIMARY), *found;
    bool is_nginx = strcmp(service, MAILCOW_NGINX) == 0;
    if (!name || (is_nginx && (strcmp(name, m->hostname) == 0 || lists_name(m->server_names, name))))
        return primary;
    if (strcmp(service, MAILCOW_DOVECOT) == 0)
        found = first_match(wants, name);
    else
        found = best_match(wants, name, is_nginx ? m->hostname : NULL);
    return found ? found : primary;
}
