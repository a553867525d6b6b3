#include "pusher/push_conf.h"
#include "common/metrics.h"
#include "common/want.h"

#include <string.h>

static bool is_word(const char *item)
{
    return *item && *item != '-' && !strpbrk(item, " \t");
}

bool push_conf_is_target_name(const char *name)
{
    return strcmp(name, ALARM_BOOK) != 0;
}

#define AT(type, field) offsetof(struct type, field)

static const struct conf_key push_keys[] = {
    {.name = "state", .type = CONF_PATH, .offset = AT(push_conf, state)},
    {.name = "verify_every",
     .type = CONF_DURATION,
     .offset = AT(push_conf, verify_every),
     .min = 60,
     .max = 31536000},
    {.name = "watch_every",
     .type = CONF_DURATION,
     .offset = AT(push_conf, watch_every),
     .min = 10,
     .max = 86400},
};
static const struct conf_key metrics_keys[] = {
    {.name = "textfile",
     .type = CONF_STRING,
     .offset = AT(push_conf, textfile),
     .accepts = metrics_is_place,
     .expected = METRICS_EXPECTED},
};
static const struct conf_key source_keys[] = {
    {.name = "path", .type = CONF_PATH, .offset = AT(source, path)},
    {.name = "cert", .type = CONF_PATH, .offset = AT(source, cert)},
    {.name = "key", .type = CONF_PATH, .offset = AT(source, key)},
};
static const struct conf_key target_keys[] = {
    {.name = "host",
     .type = CONF_STRING,
     .offset = AT(target, host),
     .accepts = is_word,
     .expected = "a host name"},
    {.name = "port", .type = CONF_NUMBER, .offset = AT(target, port), .min = 1, .max = 65535},
    {.name = "user",
     .type = CONF_STRING,
     .offset = AT(target, user),
     .accepts = is_word,
     .expected = "a user name"},
    {.name = "key", .type = CONF_PATH, .offset = AT(target, key)},
    {.name = "known_hosts", .type = CONF_PATH, .offset = AT(target, known_hosts)},
    {.name = "timeout", .type = CONF_DURATION, .offset = AT(target, timeout), .min = 1, .max = 600},
    {.name = "wants",
     .type = CONF_LIST,
     .offset = AT(target, wants),
     .accepts = want_is_id,
     .expected = "wants as `mailcow-cert-push status` names them, such as primary",
     .line_offset = AT(target, wants_line)},
};

static void *push_record(void *config, const char *instance)
{
    (void)instance;
    return config;
}

static void *source_record(void *config, const char *instance)
{
    struct push_conf *s = config;
    for (size_t i = 0; i < s->source_count; i++)
        if (strcmp(s->sources[i].name, instance) == 0)
            return &s->sources[i];
    if (s->source_count == PUSH_CONF_MAX_SOURCES)
        return NULL;
    struct source *source = &s->sources[s->source_count];
    return conf_set_string(&source->name, instance) < 0 ? NULL : &s->sources[s->source_count++];
}

static void *target_record(void *config, const char *instance)
{
    struct push_conf *s = config;
    for (size_t i = 0; i < s->target_count; i++)
        if (strcmp(s->targets[i].name, instance) == 0)
            return &s->targets[i];
    if (s->target_count == PUSH_CONF_MAX_TARGETS)
        return NULL;
    struct target *target = &s->targets[s->target_count];
    target->port = 22;
    target->timeout = 30; /* at 30 % packet loss a handshake was seen to take 21 s */
    if (conf_set_string(&target->name, instance) < 0 || conf_set_string(&target->user, "certsync") < 0 ||
        conf_set_string(&target->key, PUSH_CONF_KEY) < 0 ||
        conf_set_string(&target->known_hosts, "/etc/mailcow-certsync/known_hosts") < 0)
        return NULL;
    return &s->targets[s->target_count++];
}

#define KEYS(table) .keys = table, .key_count = sizeof table / sizeof *table

static void *alarm_record(void *config, const char *instance)
{
    (void)instance;
    return &((struct push_conf *)config)->alarm;
}

static const struct conf_section sections[] = {
    {.name = "push", .record = push_record, KEYS(push_keys)},
    {.name = "alarm", .record = alarm_record, .keys = alarm_keys, .key_count = ALARM_KEYS_PUSHER},
    {.name = "metrics", .record = push_record, KEYS(metrics_keys)},
    {.name = "source", .named = true, .record = source_record, KEYS(source_keys)},
    {.name = "target",
     .named = true,
     .record = target_record,
     .accepts = push_conf_is_target_name,
     .expected = PUSH_CONF_TARGET_NAME,
     KEYS(target_keys)},
};

/* Between two contacts verify_every passes. */
static void check_alarm(const struct push_conf *s, const char *path, struct problems *problems)
{
    const struct alarm_conf *alarm = &s->alarm;
    if (alarm->contact > 0 && alarm->contact <= s->verify_every)
        problem_add(
            problems,
            "%s:%u: contact = %llds is no longer than verify_every, %llds, the time between two contacts: it "
            "would be raised though all is well; give it some hours more, or 0 for never",
            path, alarm->contact_line, (long long)alarm->contact, (long long)s->verify_every);
}

static void check_sources(const struct push_conf *s, const char *path, struct problems *problems)
{
    for (size_t i = 0; i < s->source_count; i++) {
        const struct source *source = &s->sources[i];
        if (source->path ? source->cert || source->key : !source->cert || !source->key)
            problem_add(problems, "%s: [source %s]: it needs either path, or cert and key", path,
                        source->name);
    }
}

static void check_targets(const struct push_conf *s, const char *path, bool is_clean,
                          struct problems *problems)
{
    for (size_t i = 0; i < s->target_count; i++) {
        const struct target *target = &s->targets[i];
        if (!target->host)
            problem_add(problems, "%s: [target %s]: host is missing", path, target->name);
        if (is_clean && target->wants_line && !target->wants.count)
            problem_add(problems, "%s:%u: wants is empty: without that key all are pushed", path,
                        target->wants_line);
    }
}

static int check(const struct push_conf *s, const char *path, struct problems *problems)
{
    bool is_clean = !problems->count; /* else what a key lacks may be among them */
    if (is_clean)
        check_alarm(s, path, problems);
    check_sources(s, path, problems);
    check_targets(s, path, is_clean, problems);
    return problems->count ? E_CONFIG : 0;
}

static int set_defaults(struct push_conf *out)
{
    *out = (struct push_conf){.verify_every = 86400, .watch_every = 3600, .alarm = alarm_conf_defaults};
    out->alarm.contact = -1;
    int rc = conf_set_string(&out->state, "/var/lib/mailcow-cert-push");
    return rc ? rc : conf_set_string(&out->textfile, METRICS_FOLDER);
}

int push_conf_parse(const char *path, char *text, struct push_conf *out, struct problems *problems)
{
    if (set_defaults(out) < 0)
        return E_TEMPORARY;
    conf_parse(path, text, sections, sizeof sections / sizeof *sections, out, problems);
    return check(out, path, problems);
}

struct target *push_conf_target(struct push_conf *s, const char *name)
{
    return target_record(s, name);
}

int push_conf_read_part(const char *path, struct push_conf *out, struct problems *problems)
{
    if (set_defaults(out) < 0)
        return E_TEMPORARY;
    if (conf_read(path, sections, sizeof sections / sizeof *sections, out, problems) < 0 &&
        !out->source_count && !out->target_count)
        return E_CONFIG;
    if (out->alarm.contact < 0)
        out->alarm.contact = 2 * out->verify_every;
    return check(out, path, problems);
}

int push_conf_read(const char *path, struct push_conf *out, struct problems *problems)
{
    int rc = push_conf_read_part(path, out, problems);
    if (rc < 0 && !out->source_count && !out->target_count)
        return rc;
    if (!out->source_count)
        problem_add(problems, "%s: no [source NAME]: say where the lineages are", path);
    if (!out->target_count)
        problem_add(problems, "%s: no [target NAME]: say where to push", path);
    return problems->count ? E_CONFIG : 0;
}

void push_conf_free(struct push_conf *s)
{
    free(s->state);
    free(s->textfile);
    for (size_t i = 0; i < s->source_count; i++) {
        free(s->sources[i].name);
        free(s->sources[i].path);
        free(s->sources[i].cert);
        free(s->sources[i].key);
    }
    for (size_t i = 0; i < s->target_count; i++) {
        free(s->targets[i].name);
        free(s->targets[i].host);
        free(s->targets[i].user);
        free(s->targets[i].key);
        free(s->targets[i].known_hosts);
        conf_list_free(&s->targets[i].wants);
    }
    *s = (struct push_conf){0};
}
