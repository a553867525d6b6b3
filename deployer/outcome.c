#include "deployer/outcome.h"

#include <stdarg.h>
#include <stdio.h>

const char *outcome_str(enum outcome_result result)
{
    static const char *const words[] = {
        [OUTCOME_UNCHANGED] = "unchanged",     [OUTCOME_DEPLOYED] = "deployed", [OUTCOME_PENDING] = "pending",
        [OUTCOME_ROLLED_BACK] = "rolled-back", [OUTCOME_FAILED] = "failed",
    };
    return words[result];
}

void outcome_worsen(struct outcome *o, enum outcome_result result, const char *fmt, ...)
{
    va_list ap;
    if (o->result >= result)
        return;
    o->result = result;
    o->event = EVENT_NONE;
    o->finding = NULL;
    va_start(ap, fmt);
    vsnprintf(o->detail, sizeof o->detail, fmt, ap);
    va_end(ap);
}

void outcome_merge(struct outcome *o, const struct outcome *other)
{
    if (other->result > o->result)
        *o = *other;
}

void outcome_fail(struct outcome *o, const struct error *err)
{
    struct outcome failure = {.result = outcome_of_error(err), .event = err->event};
    snprintf(failure.detail, sizeof failure.detail, "%.*s", (int)sizeof failure.detail - 1, err->text);
    outcome_merge(o, &failure);
}

enum outcome_result outcome_of_error(const struct error *err)
{
    return err->code == E_TEMPORARY ? OUTCOME_PENDING : OUTCOME_FAILED;
}

void progress_say(const struct progress *p, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (p->line)
        p->line(p->ctx, text);
}
