#include "pusher/contact.h"
#include "common/file.h"

#include <fcntl.h>
#include <string.h>

#define KNOWN_HOSTS_MAX (1024 * 1024)
#define IDENTITY_MAX    (64 * 1024)

/* What enrolment makes. */
static int read_made(const struct target *target, const char *path, int flags, struct secret *out,
                     struct error *err)
{
    int rc = file_read(AT_FDCWD, path, flags, out, NULL, err);
    return rc == FILE_MISSING
               ? error_set(err, E_CONFIG, "%s: there is no such file; run: mailcow-cert-push enroll %s", path,
                           target->host)
               : rc;
}

static int read_credentials(const struct target *target, struct secret *key, struct secret *known_hosts,
                            struct error *err)
{
    int rc = read_made(target, target->key, FILE_FOLLOW | FILE_PRIVATE_KEY, key, err);
    if (!rc)
        rc = read_made(target, target->known_hosts, FILE_FOLLOW, known_hosts, err);
    if (!rc)
        rc = secret_append(known_hosts, "", 0); /* terminated even when the file is empty */
    if (!rc && memchr(known_hosts->data, '\0', known_hosts->len))
        rc = error_set(err, E_CONFIG, "%s: not a known_hosts file: NUL bytes", target->known_hosts);
    return rc == 0 ? 0 : (err->code = E_CONFIG);
}

int contact_open(struct ssh **out, const struct target *target,
                 void (*on_step)(void *ctx, enum ssh_step step, const char *detail, int64_t us), void *ctx,
                 struct error *err)
{
    AUTO_SECRET struct secret key = SECRET(IDENTITY_MAX);
    AUTO_SECRET struct secret known_hosts = SECRET(KNOWN_HOSTS_MAX);
    int rc = read_credentials(target, &key, &known_hosts, err);
    if (rc < 0)
        return rc;
    const struct ssh_opts opts = {
        .host = target->host,
        .port = (uint16_t)target->port,
        .user = target->user,
        .key = &key,
        .key_path = target->key,
        .known_hosts = (const char *)known_hosts.data,
        .known_hosts_path = target->known_hosts,
        .connect_timeout_ms = (int)target->timeout * 1000,
        .handshake_timeout_ms = (int)target->timeout * 1000,
        .session_timeout_ms = CONTACT_MS,
        .on_step = on_step,
        .ctx = ctx,
    };
    return ssh_open(out, &opts, err);
}

/* The session is over and no protocol was spoken: says what there was instead. */
static int explain_silence(struct ssh **session, int rc, struct error *err)
{
    char said[300], answer[300];
    struct error ended;
    snprintf(answer, sizeof answer, "%.*s", (int)sizeof answer - 1,
             rc == CLIENT_NO_GREETING ? err->text : "");
    int ssh_rc = ssh_close(*session, said, sizeof said, &ended);
    *session = NULL;
    if (rc == WIRE_END && ssh_rc < 0)
        return error_set(err, ssh_rc, "%s", ended.text);
    if (rc == CLIENT_NO_GREETING)
        return error_set(
            err, E_CONFIG,
            "the forced command is missing: a shell or another program answers (%s); the key's line in "
            "authorized_keys must begin with restrict,command=\"(the path of mailcow-cert-receive)\"",
            answer);
    return error_set(err, E_CONFIG,
                     "the forced command is missing or does not start: the mail host ended the session "
                     "without a greeting%s%s",
                     said[0] ? "; it says: " : "", said);
}

int contact_greeted(struct ssh **session, struct wire *w, struct client_greeting *out, struct error *err)
{
    int rc = client_read_greeting(w, out, err);
    return rc > 0 ? explain_silence(session, rc, err) : rc;
}

static int take_want(struct client_greeting *greeting, const char *id, struct want_list *out,
                     struct error *err)
{
    struct want *from = want_find(&greeting->wants, id), *to;
    if (want_find(out, id))
        return 0;
    int rc = want_add(out, id, &to, err);
    if (rc < 0 || !from)
        return rc;
    *to = *from;
    from->names = NULL;
    from->name_count = 0;
    return 0;
}

int contact_take_wants(struct client_greeting *greeting, const struct target *target, struct want_list *out,
                       struct error *err)
{
    const struct conf_list *named = &target->wants;
    size_t count = named->count ? named->count : greeting->wants.count;
    int rc = 0;
    for (size_t i = 0; !rc && i < count; i++)
        rc = take_want(greeting, named->count ? named->items[i] : greeting->wants.list[i].id, out, err);
    return rc;
}

int contact_has_want(const struct client_greeting *greeting, const char *id, struct error *err)
{
    const struct want_list *l = &greeting->wants;
    char has[600] = "";
    size_t n = 0;
    if (want_find(l, id))
        return 0;
    for (size_t i = 0; i < l->count && n < sizeof has; i++)
        n += (size_t)snprintf(has + n, sizeof has - n, "%s%s", i ? ", " : "", l->list[i].id);
    return error_set(err, E_CONFIG, "wants in push.conf has %s, which the mail host does not have; it has %s",
                     id, *has ? has : "none");
}
