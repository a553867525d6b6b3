#include "pusher/state.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/member.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#define STATE_MAX (8 * 1024 * 1024)

static void free_signatures(struct state *s)
{
    for (size_t i = 0; i < s->signature_count; i++)
        free(s->signatures[i]);
    free(s->signatures);
    s->signatures = NULL;
    s->signature_count = 0;
}

void state_free(struct state *s)
{
    free_signatures(s);
    want_list_free(&s->names);
    free(s->wants);
    *s = (struct state){0};
}

int state_open(const char *path, struct error *err)
{
    int fd = file_open_dir(AT_FDCWD, path, true, 0700, err);
    return fd < 0 ? err->code : fd;
}

/* On the folder itself. */
int state_lock(int fd, int64_t wait_ms, struct error *err)
{
    return file_lock(fd, clock_ms() + wait_ms, "another pass is running", err);
}

/* ---- reading ---- */

static int parse_want(const json_t *object, struct state *s, struct error *err)
{
    const char *fingerprint = member_text(object, "fingerprint");
    const json_t *name;
    struct want *want;
    size_t i;
    int rc = want_add(&s->names, member_text(object, "id"), &want, err);
    if (rc < 0)
        return rc;
    json_array_foreach(json_object_get(object, "names"), i, name)
    {
        rc = want_add_name(want, json_is_string(name) ? json_string_value(name) : "", err);
        if (rc < 0)
            return rc;
    }
    struct state_want *out = &s->wants[s->names.count - 1];
    strcpy(out->id, want->id);
    if (text_is_fingerprint(fingerprint))
        strcpy(out->fingerprint, fingerprint);
    member_copy(object, "lineage", out->lineage, sizeof out->lineage);
    out->not_before = member_time(object, "not_before");
    out->not_after = member_time(object, "not_after");
    out->since = member_time(object, "since");
    member_copy(object, "result", out->result, sizeof out->result);
    member_copy(object, "detail", out->detail, sizeof out->detail);
    return 0;
}

static int add_signature(struct state *s, const char *signature, struct error *err)
{
    char **grown = reallocarray(s->signatures, s->signature_count + 1, sizeof *grown);
    if (!grown)
        return error_memory(err);
    s->signatures = grown;
    if (!(grown[s->signature_count] = strdup(signature)))
        return error_memory(err);
    s->signature_count++;
    return 0;
}

static int parse_state(const json_t *root, struct state *s, struct error *err)
{
    const json_t *wants = json_object_get(root, "wants"), *item;
    size_t i;
    if (!text_parse_time(member_text(root, "contact"), &s->contact))
        return error_set(err, E_FAILED, "no time of contact");
    s->next_begin = member_time(root, "next_begin");
    s->wants = calloc(json_array_size(wants) + 1, sizeof *s->wants);
    if (!s->wants)
        return error_memory(err);
    int rc = 0;
    json_array_foreach(wants, i, item) if (!rc) rc = parse_want(item, s, err);
    json_array_foreach(json_object_get(root, "signatures"), i, item) if (!rc) rc =
        add_signature(s, json_is_string(item) ? json_string_value(item) : "", err);
    return rc;
}

int state_read(int dirfd, const char *target, struct state *out, struct error *err)
{
    char file[300];
    json_error_t detail;
    AUTO_SECRET struct secret text = SECRET(STATE_MAX);
    snprintf(file, sizeof file, "%s.json", target);
    *out = (struct state){0};
    int rc = file_read(dirfd, file, 0, &text, NULL, err);
    if (rc == FILE_MISSING)
        return 0;
    if (rc)
        return rc < 0 ? rc : E_TEMPORARY;
    json_auto_t *root = json_loadb((char *)text.data, text.len, 0, &detail);
    if (!root)
        error_set(err, E_FAILED, "line %d: %s", detail.line, detail.text);
    if (root && parse_state(root, out, err) == 0)
        return 0;
    error_wrap(err, "state %s", file);
    state_free(out);
    return STATE_DAMAGED;
}

time_t state_written(int dirfd, const char *target)
{
    char file[300];
    struct stat st;
    snprintf(file, sizeof file, "%s.json", target);
    return fstatat(dirfd, file, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mtim.tv_sec : 0;
}

/* ---- writing ---- */

static json_t *new_want(const struct want *names, const struct state_want *want)
{
    char when[TEXT_TIME_SIZE], from[TEXT_TIME_SIZE];
    json_t *list = json_array();
    for (size_t i = 0; i < names->name_count; i++)
        json_array_append_new(list, json_string(names->names[i]));
    return json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:s, s:o}", "id", want->id, "names", list,
                     "fingerprint", want->fingerprint, "lineage", want->lineage, "not_before",
                     text_time(from, want->not_before), "not_after", text_time(when, want->not_after),
                     "since", member_new_time(want->since), "result", want->result, "detail",
                     member_new_text(want->detail));
}

int state_write(int dirfd, const char *target, const struct state *s, struct error *err)
{
    char file[300], when[TEXT_TIME_SIZE];
    json_t *wants = json_array(), *signatures = json_array();
    for (size_t i = 0; i < s->names.count; i++)
        json_array_append_new(wants, new_want(&s->names.list[i], &s->wants[i]));
    for (size_t i = 0; i < s->signature_count; i++)
        json_array_append_new(signatures, json_string(s->signatures[i]));
    json_auto_t *root =
        json_pack("{s:s, s:o, s:o, s:o}", "contact", text_time(when, s->contact), "next_begin",
                  member_new_time(s->next_begin), "wants", wants, "signatures", signatures);
    AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text)
        return error_memory(err);
    snprintf(file, sizeof file, "%s.json", target);
    return file_replace(dirfd, file, text, strlen(text), 0600, err);
}

/* ---- comparing ---- */

/* What a contact is about: with whom, and about which wants. NULL: no memory. */
static char *sign_target(const struct target *target)
{
    char *out = NULL;
    size_t len;
    FILE *f = open_memstream(&out, &len);
    if (!f)
        return NULL;
    fprintf(f, "%s:%ld %s", target->host, target->port, target->user);
    for (size_t i = 0; i < target->wants.count; i++)
        fprintf(f, " %s", target->wants.items[i]);
    if (fclose(f) == 0)
        return out;
    free(out);
    return NULL;
}

/* What could not be read is as it was for as long as it cannot be. */
static bool is_as_signed(const struct lineage *lineage, const char *signature)
{
    return *signature ? strcmp(signature, lineage->signature) == 0 : !lineage_is_readable(lineage);
}

bool state_is_current(const struct state *s, const struct target *target, const struct lineage_list *lineages)
{
    AUTO_FREE char *contact = sign_target(target);
    if (!contact || s->signature_count != lineages->count + 1 || strcmp(s->signatures[0], contact) != 0 ||
        !s->names.count)
        return false;
    for (size_t i = 0; i < lineages->count; i++)
        if (!is_as_signed(&lineages->list[i], s->signatures[i + 1]))
            return false;
    for (size_t i = 0; i < s->names.count; i++)
        if (!s->wants[i].fingerprint[0])
            return false;
    return true;
}

int state_sign(struct state *s, const struct target *target, const struct lineage_list *lineages,
               struct error *err)
{
    AUTO_FREE char *contact = sign_target(target);
    if (!contact)
        return error_memory(err);
    free_signatures(s);
    int rc = add_signature(s, contact, err);
    for (size_t i = 0; !rc && i < lineages->count; i++)
        rc = add_signature(s, lineages->list[i].is_unread ? "" : lineages->list[i].signature, err);
    return rc;
}
