#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* What a library or a file's name put into it must not move the cursor, nor begin a line of its own. */
static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        clean(err->text);
        err->code = code;
        err->event = EVENT_NONE;
    }
    return code;
}

int error_mark(struct error *err, enum event event)
{
    err->event = event;
    return err->code;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    if (!err)
        return E_FAILED;
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    size_t room = sizeof err->text - n;
    snprintf(err->text + n, room, ": %.*s", (int)room, inner);
    clean(err->text);
    return err->code;
}

static int errno_code(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case EINTR:
        return E_TEMPORARY;
    default:
        return E_FAILED;
    }
}

int error_errno(struct error *err, const char *subject, const char *action)
{
    int number = errno;
    return error_set(err, errno_code(number), "%s: %s: %s", subject, action, strerror(number));
}

int error_memory(struct error *err)
{
    return error_set(err, E_TEMPORARY, "out of memory");
}

const struct error_exit error_exits[] = {
    {EX_OK, "done, or nothing to do"},
    {1, "failed"},
    {EX_USAGE, "the command line is wrong"},
    {EX_TEMPFAIL, "temporary: unreachable or busy, a later try may succeed"},
    {EX_CONFIG, "the configuration, or a file that it names, is wrong"},
};
const size_t error_exit_count = sizeof error_exits / sizeof *error_exits;

int error_exit_code(int result)
{
    switch (result) {
    case E_USAGE:
        return EX_USAGE;
    case E_TEMPORARY:
        return EX_TEMPFAIL;
    case E_CONFIG:
        return EX_CONFIG;
    default:
        return result < 0 ? 1 : EX_OK;
    }
}

int error_worse(int a, int b)
{
    static const int order[] = {E_USAGE, E_CONFIG, E_FAILED, E_TEMPORARY};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return 0;
}
