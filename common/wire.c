#include "common/wire.h"
#include "common/clock.h"
#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

struct wire {
    int fd;
    int64_t deadline_ms;
    size_t budget; /* bytes that may still be read */
    size_t start, end;
    unsigned char buffer[16384];
};

int wire_new(struct wire **out, int fd, struct error *err)
{
    struct wire *w = calloc(1, sizeof *w);
    if (!w)
        return error_memory(err);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        free(w);
        return error_errno(err, "connection", "set non-blocking");
    }
    w->fd = fd;
    w->budget = WIRE_BUDGET;
    w->deadline_ms = INT64_MAX;
    *out = w;
    return 0;
}

void wire_free(struct wire *w)
{
    if (!w)
        return;
    explicit_bzero(w->buffer, sizeof w->buffer);
    free(w);
}

void wire_set_deadline(struct wire *w, int64_t deadline_ms)
{
    w->deadline_ms = deadline_ms;
}

static int wait_for(struct wire *w, short events, struct error *err)
{
    int ready = io_wait(w->fd, events, w->deadline_ms);
    if (ready < 0)
        return error_errno(err, "connection", "poll");
    return ready ? 0 : error_set(err, E_TEMPORARY, "the other side was silent for too long");
}

/* Moves more bytes into the buffer. 0, WIRE_END or an error. */
static int fill(struct wire *w, struct error *err)
{
    if (w->start) {
        memmove(w->buffer, w->buffer + w->start, w->end - w->start);
        explicit_bzero(w->buffer + (w->end - w->start), w->start);
        w->end -= w->start;
        w->start = 0;
    }
    for (;;) {
        int rc = wait_for(w, POLLIN, err);
        if (rc < 0)
            return rc;
        ssize_t n = recv(w->fd, w->buffer + w->end, sizeof w->buffer - w->end, 0);
        if (n == 0)
            return WIRE_END;
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return error_set(err, E_TEMPORARY, "connection: read: %s", strerror(errno));
        if ((size_t)n > w->budget)
            return error_set(err, E_FAILED, "the other side sent more than %d bytes", WIRE_BUDGET);
        w->budget -= (size_t)n;
        w->end += (size_t)n;
        return 0;
    }
}

static bool is_printable(const char *line)
{
    for (; *line; line++)
        if (*line < 0x20 || *line > 0x7e)
            return false;
    return true;
}

static int take_line(struct wire *w, size_t len, char *line, struct error *err)
{
    const unsigned char *from = w->buffer + w->start;
    size_t text = len && from[len - 1] == '\r' ? len - 1 : len;
    if (text > WIRE_LINE)
        return error_set(err, E_FAILED, "a line of more than %d bytes", WIRE_LINE);
    memcpy(line, from, text);
    line[text] = '\0';
    w->start += len + 1;
    if (strlen(line) != text || !is_printable(line))
        return error_set(err, E_FAILED, "a line with control characters");
    return 0;
}

int wire_read_line(struct wire *w, char *line, struct error *err)
{
    for (;;) {
        const unsigned char *from = w->buffer + w->start;
        const unsigned char *lf = memchr(from, '\n', w->end - w->start);
        if (lf)
            return take_line(w, (size_t)(lf - from), line, err);
        if (w->end - w->start > WIRE_LINE + 1)
            return error_set(err, E_FAILED, "a line of more than %d bytes", WIRE_LINE);
        int rc = fill(w, err);
        if (rc)
            return rc;
    }
}

size_t wire_unread(const struct wire *w)
{
    return w->end - w->start;
}

/* Moves up to len buffered bytes to out. */
static int take_bytes(struct wire *w, size_t len, struct secret *out, size_t *out_taken, struct error *err)
{
    size_t have = w->end - w->start;
    size_t n = have < len ? have : len;
    if (secret_append(out, w->buffer + w->start, n) < 0)
        return error_set(err, E_FAILED, "more than %zu bytes", out->max);
    explicit_bzero(w->buffer + w->start, n);
    w->start += n;
    *out_taken = n;
    return 0;
}

int wire_read_bytes(struct wire *w, size_t len, struct secret *out, struct error *err)
{
    for (;;) {
        size_t taken = 0;
        int rc = take_bytes(w, len, out, &taken, err);
        if (rc < 0)
            return rc;
        len -= taken;
        if (!len)
            return 0;
        rc = fill(w, err);
        if (rc)
            return rc;
    }
}

int wire_read_rest(struct wire *w, struct secret *out, struct error *err)
{
    for (;;) {
        size_t taken = 0;
        int rc = take_bytes(w, SIZE_MAX, out, &taken, err);
        if (rc < 0)
            return rc;
        rc = fill(w, err);
        if (rc)
            return rc == WIRE_END ? 0 : rc;
    }
}

int wire_write_bytes(struct wire *w, const void *bytes, size_t len, struct error *err)
{
    const char *p = bytes;
    while (len) {
        ssize_t n = send(w->fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            int rc = wait_for(w, POLLOUT, err);
            if (rc < 0)
                return rc;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, E_TEMPORARY, "connection: write: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int wire_write_line(struct wire *w, struct error *err, const char *fmt, ...)
{
    char line[WIRE_LINE + 2];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, WIRE_LINE + 1, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : n > WIRE_LINE ? WIRE_LINE : (size_t)n;
    for (size_t i = 0; i < len; i++)
        if (line[i] < 0x20 || line[i] > 0x7e)
            line[i] = '?';
    line[len] = '\n';
    return wire_write_bytes(w, line, len + 1, err);
}

int wire_parse_reply(const char *line, struct wire_reply *out, struct error *err)
{
    bool digits = strspn(line, "0123456789") == 3;
    if (!digits || (line[3] != ' ' && line[3] != '-'))
        return error_set(err, E_FAILED, "not a reply: %s", line);
    out->code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    out->more = line[3] == '-';
    snprintf(out->text, sizeof out->text, "%s", line + 4);
    return 0;
}

int wire_read_reply(struct wire *w, struct wire_reply *out, struct error *err)
{
    char line[WIRE_LINE + 1];
    int rc = wire_read_line(w, line, err);
    return rc ? rc : wire_parse_reply(line, out, err);
}

const char *wire_free_text(const char *text)
{
    const char *colon = strstr(text, ": ");
    return colon ? colon + 2 : "";
}

bool wire_next(const char **cursor, struct wire_token *out)
{
    const char *at = *cursor + strspn(*cursor, " ");
    size_t len = strcspn(at, " ");
    /* ": " ends the fields: it stands behind a word or a value, or alone. */
    bool last = len && at[len - 1] == ':';
    const char *equals = memchr(at, '=', len);
    if (!len || (last && len == 1))
        return false;
    *cursor = last ? at + strlen(at) : at + len;
    len -= last;
    *out = (struct wire_token){.value = at, .value_len = len};
    if (equals)
        *out = (struct wire_token){
            .key = at,
            .key_len = (size_t)(equals - at),
            .value = equals + 1,
            .value_len = len - (size_t)(equals + 1 - at),
        };
    return true;
}

static bool copy_value(const struct wire_token *token, char *out, size_t size)
{
    if (token->value_len >= size)
        return false;
    memcpy(out, token->value, token->value_len);
    out[token->value_len] = '\0';
    return true;
}

bool wire_word(const char *text, unsigned n, char *out, size_t size)
{
    struct wire_token token;
    while (wire_next(&text, &token))
        if (!token.key && n-- == 0)
            return copy_value(&token, out, size);
    return false;
}

bool wire_field(const char *text, const char *key, char *out, size_t size)
{
    struct wire_token token;
    while (wire_next(&text, &token))
        if (token.key && token.key_len == strlen(key) && memcmp(token.key, key, token.key_len) == 0)
            return copy_value(&token, out, size);
    return false;
}
