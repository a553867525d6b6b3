#include "pusher/enroll.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/text.h"
#include "pusher/conf_edit.h"
#include "pusher/enroll_impl.h"
#include "pusher/identity.h"
#include "pusher/pin.h"
#include "pusher/places.h"
#include "pusher/ssh.h"

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#define FILE_MAX_SIZE (64 * 1024)
#define NAME_MAX_LEN  40 /* of a target, as common/conf.h has it */
#define LOCK_MS       10000
#define COMPARE       "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the mail host itself"

static void enrolment_free(struct enrolment *e)
{
    secret_wipe(&e->conf_text);
    secret_wipe(&e->pins_text);
    push_conf_free(&e->conf);
    known_hosts_free(&e->pins);
    cleanup_closep(&e->lock);
}

void enroll_tell(const struct enrolment *e, const char *result, const char *id, const char *fmt, ...)
{
    char detail[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    report_result(e->report, &(struct report_result){
                                 .target = e->target->name, .result = result, .id = id, .detail = detail});
}

/* ---- files ---- */

/* A missing file is an empty one. */
static int read_text(const char *path, struct secret *out, struct error *err)
{
    *out = (struct secret)SECRET(FILE_MAX_SIZE);
    int rc = file_read(AT_FDCWD, path, FILE_FOLLOW, out, NULL, err);
    if (rc == FILE_MISSING)
        rc = 0;
    if (!rc)
        rc = secret_append(out, "", 0); /* terminated even when it is empty */
    if (!rc && memchr(out->data, '\0', out->len))
        rc = error_set(err, E_CONFIG, "%s: not a text file: NUL bytes", path);
    return rc > 0 ? E_TEMPORARY : rc;
}

/* The file itself where path is a link to it: a rename would replace the link. */
static void resolve(const char *path, char out[PATH_MAX])
{
    if (!realpath(path, out))
        snprintf(out, PATH_MAX, "%s", path);
}

int enroll_write(const char *path, const char *text, struct error *err)
{
    char file[PATH_MAX], folder[PATH_MAX];
    struct stat st = {.st_mode = 0644, .st_uid = geteuid(), .st_gid = getegid()};
    resolve(path, file);
    strcpy(folder, file);
    stat(file, &st);
    const struct file_owner owner = {st.st_uid, st.st_gid};
    AUTO_CLOSE int dir = file_open_dir(AT_FDCWD, dirname(folder), true, 0755, err);
    if (dir < 0)
        return err->code;
    const char *name = strrchr(file, '/');
    int rc =
        file_replace_as(dir, name ? name + 1 : file, text, strlen(text), st.st_mode & 07777, &owner, err);
    return rc < 0 ? error_wrap(err, "%s", path) : 0;
}

static int read_conf(struct enrolment *e, struct error *err)
{
    AUTO_PROBLEMS struct problems problems = {0};
    int rc = read_text(e->a->config, &e->conf_text, err);
    if (rc)
        return rc;
    AUTO_FREE char *copy = strdup((char *)e->conf_text.data);
    if (!copy)
        return error_memory(err);
    rc = push_conf_parse(e->a->config, copy, &e->conf, &problems);
    return rc < 0 ? problems_error(&problems, rc, err) : 0;
}

static int read_pins(struct enrolment *e, struct error *err)
{
    int rc = read_text(e->target->known_hosts, &e->pins_text, err);
    if (rc)
        return rc;
    return known_hosts_load((char *)e->pins_text.data, e->target->known_hosts, e->target->host,
                            (uint16_t)e->target->port, &e->pins, err);
}

int enroll_pin(struct enrolment *e, const char *type, const char *base64, struct error *err)
{
    const struct target *t = e->target;
    AUTO_FREE char *edited = NULL;
    int rc = pin_edit((char *)e->pins_text.data, t->known_hosts, &e->pins, t->host, (uint16_t)t->port, type,
                      base64, &edited, err);
    if (rc || strcmp(edited, (char *)e->pins_text.data) == 0)
        return rc;
    return enroll_write(t->known_hosts, edited, err);
}

/* ---- which target ---- */

static bool is_host(const char *host)
{
    size_t len = strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:");
    return *host && *host != '-' && !host[len] && len < 254;
}

static bool is_name(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_");
    return *name && *name != '.' && !name[len] && len <= NAME_MAX_LEN;
}

static bool is_fingerprint(const char *text)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *begin = "SHA256:";
    return strlen(text) == SSH_FINGERPRINT_SIZE - 1 && strncmp(text, begin, strlen(begin)) == 0 &&
           strspn(text + strlen(begin), base64) == SSH_FINGERPRINT_SIZE - 1 - strlen(begin);
}

static int check_arguments(const struct arguments *a, struct error *err)
{
    long port;
    if (!is_host(a->host))
        return error_set(err, E_USAGE, "enroll: not a host name or an address");
    if (a->target && !is_name(a->target))
        return error_set(err, E_USAGE,
                         "--target %s: a name is made of letters, digits, - _ . and has %d at most",
                         a->target, NAME_MAX_LEN);
    if (!a->target && !a->remove && !is_name(a->host))
        return error_set(err, E_USAGE,
                         "enroll: %s cannot be the name of a target: give it one by --target NAME", a->host);
    if (!a->remove && !push_conf_is_target_name(a->target ? a->target : a->host))
        return error_set(err, E_USAGE, "enroll: [target %s]: " PUSH_CONF_TARGET_NAME " by --target NAME",
                         a->target ? a->target : a->host);
    if (a->port && !text_parse_number(a->port, 1, 65535, &port))
        return error_set(err, E_USAGE, "--port %s: not a port", a->port);
    if (a->fingerprint && !is_fingerprint(a->fingerprint))
        return error_set(err, E_USAGE,
                         "--fingerprint %s: not as `ssh-keygen -l` prints it, SHA256: and 43 characters",
                         a->fingerprint);
    if (a->source && (*a->source != '/' || strpbrk(a->source, "\r\n")))
        return error_set(err, E_USAGE, "--source %s: not an absolute path", a->source);
    return 0;
}

bool enroll_is_meant(const struct enrolment *e, const struct target *target)
{
    return strcasecmp(target->host, e->a->host) == 0 && arguments_select(e->a, target);
}

static struct target *find_target(struct enrolment *e)
{
    for (size_t i = 0; i < e->conf.target_count; i++)
        if (enroll_is_meant(e, &e->conf.targets[i]))
            return &e->conf.targets[i];
    return NULL;
}

/* What is configured holds: an option that says otherwise is a mistake, or to be settled by who wrote the
 * file. */
static int check_target(const struct enrolment *e, struct error *err)
{
    const struct arguments *a = e->a;
    const struct target *t = e->target;
    if (strcasecmp(t->host, a->host) != 0)
        return error_set(err, E_CONFIG, "%s: [target %s] is %s: choose another name by --target", a->config,
                         t->name, t->host);
    if (a->port && strtol(a->port, NULL, 10) != t->port)
        return error_set(err, E_CONFIG, "%s: [target %s] has port = %ld: change it there", a->config, t->name,
                         t->port);
    if (a->user && strcmp(a->user, t->user) != 0)
        return error_set(err, E_CONFIG, "%s: [target %s] has user = %s: change it there", a->config, t->name,
                         t->user);
    return 0;
}

static int choose_target(struct enrolment *e, struct error *err)
{
    const struct arguments *a = e->a;
    e->target = find_target(e);
    if (!e->target) {
        size_t before = e->conf.target_count;
        e->target = push_conf_target(&e->conf, a->target ? a->target : a->host);
        if (!e->target)
            return error_set(err, E_CONFIG, "%s: there are %d targets already", a->config,
                             PUSH_CONF_MAX_TARGETS);
        e->is_new = e->conf.target_count > before;
    }
    if (!e->is_new)
        return check_target(e, err);
    if (a->port)
        e->target->port = strtol(a->port, NULL, 10);
    if (conf_set_string(&e->target->host, a->host) < 0 ||
        (a->user && conf_set_string(&e->target->user, a->user) < 0))
        return error_memory(err);
    return 0;
}

/* ---- the mail host's key ---- */

static void on_step(void *ctx, enum ssh_step step, const char *detail, int64_t us)
{
    const struct enrolment *e = ctx;
    if (step == SSH_CONNECTED)
        report_step(e->report, "connected us=%lld: %s", (long long)us, detail);
}

static int learn(struct enrolment *e, struct ssh_host_key *out, struct error *err)
{
    const struct target *t = e->target;
    const struct ssh_opts opts = {
        .host = t->host,
        .port = (uint16_t)t->port,
        .known_hosts = (char *)e->pins_text.data,
        .known_hosts_path = t->known_hosts,
        .connect_timeout_ms = (int)t->timeout * 1000,
        .handshake_timeout_ms = (int)t->timeout * 1000,
        .on_step = on_step,
        .ctx = e,
    };
    return ssh_learn(&opts, out, err);
}

static enum known_verdict judge(const struct enrolment *e, const struct ssh_host_key *shown,
                                const struct known_key **out_key)
{
    unsigned char blob[sizeof shown->base64];
    int len = ssh_blob_decode(shown->base64, strlen(shown->base64), blob, sizeof blob);
    return known_hosts_judge(&e->pins, blob, (size_t)len, out_key);
}

/* A key that replaces a pinned one is not agreed to by three letters. */
static int ask(const struct enrolment *e, const struct ssh_host_key *shown, bool changed, struct error *err)
{
    char answer[100] = "";
    fprintf(stderr, "%s shows the host key\n\n    %s %s\n\n", e->target->host, shown->type,
            shown->fingerprint);
    if (changed)
        fprintf(stderr,
                "ANOTHER KEY IS PINNED for it in %s. Unless it was installed anew, someone is in between.\n",
                e->target->known_hosts);
    fprintf(stderr, "Compare it with what %s says:\n\n    ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub\n\n%s",
            "the mail host itself",
            strncmp(shown->type, "ecdsa", 5) == 0 ? "ecdsa" : shown->type + strlen("ssh-"),
            changed ? "If it is the same, paste it here: " : "Is it the same? (yes, or paste it here) ");
    if (!fgets(answer, sizeof answer, stdin))
        *answer = '\0';
    answer[strcspn(answer, "\r\n")] = '\0';
    if (strcmp(answer, shown->fingerprint) == 0 || (!changed && strcmp(answer, "yes") == 0))
        return 0;
    return error_set(err, E_FAILED, "%s: the host key is not confirmed; nothing was changed",
                     e->target->host);
}

static int confirm(const struct enrolment *e, const struct ssh_host_key *shown, bool changed,
                   struct error *err)
{
    const char *given = e->a->fingerprint;
    if (given && strcmp(given, shown->fingerprint) == 0)
        return 0;
    if (given)
        return error_set(
            err, E_CONFIG,
            "%s: host key: it shows %s %s, not %s: someone is in between, or that is another of its "
            "keys: compare with " COMPARE "; nothing was changed",
            e->target->host, shown->type, shown->fingerprint, given);
    if (isatty(STDIN_FILENO))
        return ask(e, shown, changed, err);
    return error_set(err, E_USAGE,
                     "%s: host key: it shows %s %s%s, and there is no terminal to ask whether that is right: "
                     "compare with " COMPARE ", then give what it prints by --fingerprint SHA256:...",
                     e->target->host, shown->type, shown->fingerprint,
                     changed ? ", another than the pinned one" : "");
}

static int trust_host_key(struct enrolment *e, struct error *err)
{
    struct ssh_host_key shown;
    const struct known_key *pinned = NULL;
    int rc = learn(e, &shown, err);
    if (rc)
        return rc;
    enum known_verdict verdict = judge(e, &shown, &pinned);
    if (verdict == KNOWN_REVOKED)
        return error_set(
            err, E_CONFIG,
            "%s: host key REVOKED: it shows %s %s, which %s:%zu revokes: give the host a new key",
            e->target->host, shown.type, shown.fingerprint, e->target->known_hosts, pinned->line);
    bool is_pinned = verdict == KNOWN_MATCH;
    if (!is_pinned || e->a->fingerprint)
        rc = confirm(e, &shown, verdict == KNOWN_CHANGED, err);
    if (!rc && !is_pinned)
        rc = enroll_pin(e, shown.type, shown.base64, err);
    if (!rc)
        enroll_tell(e, is_pinned ? "unchanged" : "pinned", "host-key", "%s %s in %s", shown.type,
                    shown.fingerprint, e->target->known_hosts);
    return rc;
}

/* ---- our own key ---- */

static int have_key(struct enrolment *e, struct error *err)
{
    char fingerprint[SSH_FINGERPRINT_SIZE];
    const char *path = e->target->key;
    int rc = identity_read(path, &e->key, err);
    bool made = rc == IDENTITY_NONE;
    if (made && !(rc = identity_make(path, err)))
        rc = identity_read(path, &e->key, err);
    if (rc)
        return rc < 0 ? rc : error_set(err, E_FAILED, "%s: it was made, and is not there", path);
    enroll_tell(e, made ? "created" : "unchanged", "key", "%s %s in %s", e->key.type,
                ssh_blob_fingerprint(fingerprint, e->key.blob, e->key.len), path);
    return 0;
}

/* ---- push.conf ---- */

/* What the file is to hold. */
struct draft {
    char *text;
    char added[500]; /* headers of the sections that are new, for the report */
};

static void draft_free(struct draft *d)
{
    free(d->text);
}

static int add_section(struct draft *d, const char *section)
{
    size_t used = strlen(d->added);
    snprintf(d->added + used, sizeof d->added - used, " %.*s", (int)strcspn(section, "\n"), section);
    char *longer = conf_edit_append(d->text, section);
    if (!longer)
        return E_TEMPORARY;
    free(d->text);
    d->text = longer;
    return 0;
}

static int add_target(const struct enrolment *e, struct draft *d)
{
    char section[600];
    const struct target *t = e->target;
    int n = snprintf(section, sizeof section, "[target %s]\nhost = %s\n", t->name, t->host);
    if (e->a->port)
        n += snprintf(section + n, sizeof section - (size_t)n, "port = %ld\n", t->port);
    if (e->a->user)
        snprintf(section + n, sizeof section - (size_t)n, "user = %.200s\n", t->user);
    return add_section(d, section);
}

static int add_source(struct draft *d, const char *name, const char *path)
{
    char section[PATH_MAX + 100];
    snprintf(section, sizeof section, "[source %s]\npath = %s\n", name, path);
    return add_section(d, section);
}

static bool has_source(const struct push_conf *conf, const char *name, const char *path)
{
    for (size_t i = 0; i < conf->source_count; i++) {
        const struct source *s = &conf->sources[i];
        if ((name && strcmp(s->name, name) == 0) || (path && s->path && strcmp(s->path, path) == 0))
            return true;
    }
    return false;
}

static int add_given_source(const struct enrolment *e, struct draft *d)
{
    char name[24] = "lineages";
    if (has_source(&e->conf, NULL, e->a->source))
        return 0;
    for (unsigned i = 2; has_source(&e->conf, name, NULL); i++)
        snprintf(name, sizeof name, "lineages-%u", i);
    return add_source(d, name, e->a->source);
}

static int add_sources(const struct enrolment *e, struct draft *d)
{
    if (e->a->source)
        return add_given_source(e, d);
    if (e->conf.source_count)
        return 0;
    AUTO_FREE struct place *places = calloc(PLACES_MAX, sizeof *places);
    size_t count = places ? places_find(places) : 0;
    int rc = 0;
    for (size_t i = 0; i < count && !rc; i++)
        rc = add_source(d, places[i].name, places[i].path);
    if (!count)
        enroll_tell(e, "missing", "source",
                    "no lineages in the usual places: say where they are by --source FOLDER, or in %s",
                    e->a->config);
    return rc;
}

static int configure(struct enrolment *e, struct error *err)
{
    CLEANUP(draft_free) struct draft d = {.text = strdup((char *)e->conf_text.data)};
    int rc = d.text ? add_sources(e, &d) : E_TEMPORARY;
    if (!rc && e->is_new)
        rc = add_target(e, &d);
    if (rc)
        return error_memory(err);
    if (d.added[0])
        rc = enroll_write(e->a->config, d.text, err);
    if (!rc)
        enroll_tell(e, d.added[0] ? "written" : "unchanged", "configuration", "%s%s%s", e->a->config,
                    d.added[0] ? ":" : "", d.added);
    return rc;
}

/* ---- all of it ---- */

bool enroll_show_command(const struct enrolment *e, const char *options, const char *hint)
{
    char line[700], command[800];
    if (!identity_line(&e->key, line, sizeof line))
        return false;
    snprintf(command, sizeof command, "mailcow-cert-deploy enroll %s'%s'", options, line);
    if (e->a->json) {
        enroll_tell(e, "to run on the mail host", NULL, "%s", command);
        return true;
    }
    if (!e->a->quiet)
        fprintf(stderr, "%s\n", hint);
    fflush(stderr);
    printf("%s\n", command);
    return true;
}

static int introduce(struct enrolment *e, struct error *err)
{
    int rc = choose_target(e, err);
    if (!rc)
        rc = read_pins(e, err);
    if (!rc)
        rc = trust_host_key(e, err);
    if (!rc)
        rc = have_key(e, err);
    if (!rc)
        rc = configure(e, err);
    if (!rc && !enroll_show_command(
                   e, "", "Now run this on the mail host, as root; then `mailcow-cert-push check` here:"))
        rc = error_set(err, E_FAILED, "%s: its public half is too long", e->target->key);
    return rc;
}

static int forget(struct enrolment *e, struct error *err)
{
    e->target = find_target(e);
    if (!e->target)
        return error_set(err, E_USAGE, "enroll --remove: no target in %s is %s", e->a->config, e->a->host);
    int rc = read_pins(e, err);
    return rc ? rc : enroll_remove(e, err);
}

/* One enrolment at a time: each rewrites files that it has read before. */
static int lock(struct enrolment *e, struct error *err)
{
    char file[PATH_MAX];
    resolve(e->a->config, file);
    e->lock = file_open_dir(AT_FDCWD, dirname(file), !e->a->remove, 0755, err);
    return e->lock < 0 ? err->code
                       : file_lock(e->lock, clock_ms() + LOCK_MS, "another enrolment is running", err);
}

int enroll_run(const struct arguments *a, struct report *report, struct error *err)
{
    CLEANUP(enrolment_free) struct enrolment e = {.a = a, .report = report, .lock = -1};
    int rc = check_arguments(a, err);
    if (!rc)
        rc = lock(&e, err);
    if (!rc)
        rc = read_conf(&e, err);
    if (rc)
        return rc;
    return a->remove ? forget(&e, err) : introduce(&e, err);
}
