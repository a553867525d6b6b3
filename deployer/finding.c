#include "deployer/finding.h"
#include "common/text.h"

#include <stdarg.h>
#include <string.h>

/* The place for a finding of this severity: at the end, or that of the last less severe one. */
static struct finding *make_room(struct finding_list *list, enum finding_severity severity)
{
    if (list->count < FINDING_MAX)
        return &list->list[list->count++];
    list->omitted++;
    for (size_t i = FINDING_MAX; i-- > 0;)
        if (list->list[i].severity < severity) {
            memmove(&list->list[i], &list->list[i + 1], (FINDING_MAX - 1 - i) * sizeof *list->list);
            return &list->list[FINDING_MAX - 1];
        }
    return NULL;
}

__attribute__((format(printf, 3, 0))) static void format(char *out, size_t size, const char *fmt, va_list ap)
{
    char text[1000];
    vsnprintf(text, sizeof text, fmt, ap);
    text_escape(out, size, text, strlen(text));
}

void finding_add(struct finding_list *list, enum finding_severity severity, const char *id, const char *want,
                 const char *fmt, ...)
{
    struct finding *f = make_room(list, severity);
    list->added = f;
    if (!f)
        return;
    *f = (struct finding){.severity = severity, .id = id};
    snprintf(f->want, sizeof f->want, "%s", want ? want : "");
    va_list ap;
    va_start(ap, fmt);
    format(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
}

void finding_remedy(struct finding_list *list, const char *fmt, ...)
{
    va_list ap;
    if (!list->added)
        return;
    va_start(ap, fmt);
    format(list->added->remedy, sizeof list->added->remedy, fmt, ap);
    va_end(ap);
}

const struct finding *finding_of(const struct finding_list *list, enum finding_severity severity)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->list[i].severity == severity)
            return &list->list[i];
    return NULL;
}

const char *finding_severity_str(enum finding_severity severity)
{
    static const char *const words[] = {
        [FINDING_NOTE] = "note",
        [FINDING_WARN] = "warn",
        [FINDING_LATER] = "later",
        [FINDING_REFUSE] = "refuse",
    };
    return words[severity];
}
