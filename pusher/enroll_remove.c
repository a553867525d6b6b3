#include "common/file.h"
#include "pusher/conf_edit.h"
#include "pusher/enroll_impl.h"
#include "pusher/identity.h"
#include "pusher/past.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool same_pins(const struct target *a, const struct target *b)
{
    return strcasecmp(a->host, b->host) == 0 && a->port == b->port &&
           strcmp(a->known_hosts, b->known_hosts) == 0;
}

static bool same_key(const struct target *a, const struct target *b)
{
    return strcmp(a->key, b->key) == 0;
}

/* Whether a target that stays has that in common with the one that goes. */
static bool is_shared(const struct enrolment *e, bool (*same)(const struct target *, const struct target *))
{
    for (size_t i = 0; i < e->conf.target_count; i++)
        if (!enroll_is_meant(e, &e->conf.targets[i]) && same(&e->conf.targets[i], e->target))
            return true;
    return false;
}

static int remove_sections(const struct enrolment *e, struct error *err)
{
    AUTO_FREE char *text = strdup((char *)e->conf_text.data);
    for (size_t i = 0; text && i < e->conf.target_count; i++) {
        if (!enroll_is_meant(e, &e->conf.targets[i]))
            continue;
        char *shorter = conf_edit_remove(text, "target", e->conf.targets[i].name);
        free(text);
        text = shorter;
    }
    return text ? enroll_write(e->a->config, text, err) : error_memory(err);
}

static int remove_file(const char *path, struct error *err)
{
    return unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR ? error_errno(err, path, "remove") : 0;
}

/* What the passes over the targets that go left. */
static int remove_states(const struct enrolment *e, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < e->conf.target_count; i++) {
        const char *name = e->conf.targets[i].name;
        char path[PATH_MAX], history[NAME_MAX];
        if (!enroll_is_meant(e, &e->conf.targets[i]))
            continue;
        snprintf(path, sizeof path, "%s/%s.json", e->conf.state, name);
        rc = remove_file(path, err);
        snprintf(path, sizeof path, "%s/%s", e->conf.state, past_file(history, name));
        if (!rc)
            rc = remove_file(path, err);
    }
    return rc;
}

/* A key that is not where enrolment makes it is somebody else's. */
static int remove_key(const struct enrolment *e, struct error *err)
{
    if (strcmp(e->target->key, PUSH_CONF_KEY) != 0 || is_shared(e, same_key))
        return 0;
    int rc = remove_file(PUSH_CONF_KEY, err);
    return rc ? rc : remove_file(PUSH_CONF_KEY ".pub", err);
}

int enroll_remove(struct enrolment *e, struct error *err)
{
    int key = identity_read(e->target->key, &e->key, err);
    if (key < 0)
        return error_wrap(err, "nothing was removed: the mail host is to be told which key to forget (if it "
                               "knows none from here, move the file away)");
    int rc = remove_sections(e, err);
    if (!rc && !is_shared(e, same_pins))
        rc = enroll_pin(e, NULL, NULL, err);
    if (!rc)
        rc = remove_states(e, err);
    if (!rc)
        rc = remove_key(e, err);
    if (rc)
        return rc;
    enroll_tell(e, "removed", "target", "%s", e->a->config);
    if (key != IDENTITY_NONE)
        enroll_show_command(e, "--remove ", "Now run this on the mail host, as root:");
    return 0;
}
