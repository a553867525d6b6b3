#include "common/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_escape(char *out, size_t size, const void *bytes, size_t len)
{
    static const char cut[] = "...";
    const unsigned char *in = bytes;
    size_t n = 0, room = 0; /* room: where the cut still fits */
    for (size_t i = 0; i < len; i++) {
        char piece[5];
        if (in[i] == '\\')
            strcpy(piece, "\\\\");
        else if (in[i] >= 0x20 && in[i] < 0x7f)
            snprintf(piece, sizeof piece, "%c", in[i]);
        else
            snprintf(piece, sizeof piece, "\\x%02x", in[i]);
        size_t add = strlen(piece);
        if (n + add + 1 > size) {
            snprintf(out + room, size - room, "%s", cut);
            return out;
        }
        memcpy(out + n, piece, add);
        n += add;
        if (n + sizeof cut <= size)
            room = n;
    }
    out[n] = '\0';
    return out;
}

char *text_lower(char *out, size_t size, const char *in)
{
    size_t n = 0;
    for (; in[n] && n + 1 < size; n++)
        out[n] = (char)tolower((unsigned char)in[n]);
    out[n] = '\0';
    return out;
}

bool text_parse_duration(const char *text, int64_t *out_seconds)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    int64_t total = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    while (isdigit((unsigned char)*text)) {
        char *end;
        errno = 0;
        long long n = strtoll(text, &end, 10);
        if (errno || n > 100000000)
            return false;
        int64_t scale = *end ? 0 : 1;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (*end && *end == units[i].unit)
                scale = units[i].seconds;
        if (!scale)
            return false;
        total += n * scale;
        text = *end ? end + 1 : end;
    }
    if (*text)
        return false;
    *out_seconds = total;
    return true;
}

bool text_parse_number(const char *text, long min, long max, long *out)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || n < min || n > max)
        return false;
    *out = n;
    return true;
}

static bool is_label(const char *label, size_t len)
{
    if (!len || len > 63 || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)label[i]) && !isdigit((unsigned char)label[i]) && label[i] != '-')
            return false;
    return true;
}

bool text_is_host_name(const char *name, bool wildcard)
{
    size_t labels = 0;
    if (strlen(name) > 253)
        return false;
    if (wildcard && strncmp(name, "*.", 2) == 0)
        name += 2;
    for (;;) {
        size_t len = strcspn(name, ".");
        if (!is_label(name, len))
            return false;
        labels++;
        if (!name[len])
            return labels >= 2;
        name += len + 1;
    }
}

/* Also what resolvers know beside host names of certificates: single labels, underscores. */
static bool is_host(const char *host)
{
    size_t len = strlen(host);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)host[i]) && !strchr("-._", host[i]))
            return false;
    return len > 0 && host[0] != '-' && host[0] != '.';
}

const char *text_take_host(const char *text, char *out, size_t size)
{
    unsigned char in6[16];
    bool v6 = *text == '[';
    if (v6)
        text++;
    size_t len = strcspn(text, v6 ? "]" : ":");
    if (len >= size || (v6 && !text[len]))
        return NULL;
    memcpy(out, text, len);
    out[len] = '\0';
    if (v6 ? inet_pton(AF_INET6, out, in6) != 1 : !is_host(out))
        return NULL;
    return text + len + v6;
}

bool text_is_fingerprint(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

void text_hex(char *out, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    out[2 * len] = '\0';
}

char *text_time(char *out, time_t t)
{
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(out, TEXT_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
        out[0] = '\0';
    return out;
}

bool text_parse_time(const char *text, time_t *out)
{
    struct tm tm = {0};
    char again[TEXT_TIME_SIZE];
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    time_t t = end && !*end ? timegm(&tm) : 0;
    if (!end ||
        strcmp(text_time(again, t), text) != 0) /* strptime(3) also takes blanks, and a 31st of June */
        return false;
    *out = t;
    return true;
}

char *text_span(char *out, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}};
    size_t i = 0;
    while (i < 2 && seconds < 2 * units[i].seconds)
        i++;
    int64_t n = seconds / units[i].seconds;
    snprintf(out, TEXT_SPAN_SIZE, "%lld %s%s", (long long)n, units[i].name, n == 1 ? "" : "s");
    return out;
}
