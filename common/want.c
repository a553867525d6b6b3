#include "common/want.h"
#include "common/text.h"

#include <string.h>

bool want_is_id(const char *id)
{
    size_t len = strlen(id);
    return len && len < WANT_ID_SIZE && strcmp(id, ".") != 0 && strcmp(id, "..") != 0 &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._*") == len;
}

struct want *want_find(const struct want_list *list, const char *id)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->list[i].id, id) == 0)
            return &list->list[i];
    return NULL;
}

int want_add(struct want_list *list, const char *id, struct want **out, struct error *err)
{
    char shown[100];
    if (!want_is_id(id))
        return error_set(err, E_FAILED, "not the name of a want: %s",
                         text_escape(shown, sizeof shown, id, strlen(id)));
    if (want_find(list, id))
        return error_set(err, E_FAILED, "want %s is given twice", id);
    if (list->count == WANT_MAX)
        return error_set(err, E_FAILED, "more than %d wants", WANT_MAX);
    struct want *grown = reallocarray(list->list, list->count + 1, sizeof *grown);
    if (!grown)
        return error_memory(err);
    list->list = grown;
    *out = &grown[list->count++];
    **out = (struct want){0};
    strcpy((*out)->id, id);
    return 0;
}

int want_add_name(struct want *want, const char *name, struct error *err)
{
    char shown[100];
    if (!text_is_host_name(name, true))
        return error_set(err, E_FAILED, "not a host name: %s",
                         text_escape(shown, sizeof shown, name, strlen(name)));
    for (size_t i = 0; i < want->name_count; i++)
        if (strcmp(want->names[i], name) == 0)
            return 0;
    if (want->name_count == WANT_MAX_NAMES)
        return error_set(err, E_FAILED, "want %s: more than %d names", want->id, WANT_MAX_NAMES);
    char **grown = reallocarray(want->names, want->name_count + 1, sizeof *grown);
    if (!grown)
        return error_memory(err);
    want->names = grown;
    if (!(grown[want->name_count] = strdup(name)))
        return error_memory(err);
    want->name_count++;
    return 0;
}

void want_join_names(const struct want *want, char *out, size_t size)
{
    size_t n = 0;
    *out = '\0';
    for (size_t i = 0; i < want->name_count && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? " " : "", want->names[i]);
}

void want_list_free(struct want_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        for (size_t n = 0; n < list->list[i].name_count; n++)
            free(list->list[i].names[n]);
        free(list->list[i].names);
    }
    free(list->list);
    *list = (struct want_list){0};
}
