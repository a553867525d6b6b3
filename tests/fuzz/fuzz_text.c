/*
 * Small things done to text. The first byte is a size for what is bounded; the rest is the text, up to its
 * NUL where one is needed.
 */
#include "common/text.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What text_escape makes of it with room enough. */
static char *escape_whole(const uint8_t *bytes, size_t len)
{
    char *out = malloc(4 * len + 1);
    CHECK(out);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const char *form = bytes[i] == '\\' ? "\\\\" : bytes[i] < 0x20 || bytes[i] > 0x7e ? "\\x%02x" : "%c";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        n += (size_t)sprintf(out + n, form, bytes[i]);
#pragma GCC diagnostic pop
    }
    out[n] = '\0';
    return out;
}

static void check_escape(const uint8_t *bytes, size_t len, size_t size)
{
    char *whole = escape_whole(bytes, len), *out = malloc(size);
    CHECK(text_escape(out, size, bytes, len) == out);
    size_t n = strlen(out);
    CHECK(n < size && fuzz_is_printable(out));
    if (strcmp(out, whole) != 0) {
        CHECK(strlen(whole) >= size);
        size_t dots = n < 3 ? n : 3;
        CHECK(memcmp(out + n - dots, "...", dots) == 0);
        CHECK(strncmp(out, whole, n - dots) == 0);
    }
    free(whole);
    free(out);
}

static void check_lower(const char *text, size_t size)
{
    char *out = malloc(size);
    CHECK(out);
    CHECK(text_lower(out, size, text) == out);
    size_t n = strlen(out);
    CHECK(n == (strlen(text) < size ? strlen(text) : size - 1));
    for (size_t i = 0; i < n; i++)
        CHECK(out[i] == (char)tolower((unsigned char)text[i]));
    free(out);
}

/* Digits and units, each number at most 100000000. */
static bool plain_duration(const char *text, int64_t *out)
{
    *out = 0;
    for (bool any = false;; any = true) {
        int64_t n = 0;
        size_t digits = strspn(text, "0123456789");
        if (!digits)
            return any && !*text;
        for (const char *p = text; p < text + digits; p++)
            n = n > 100000000 ? n : n * 10 + (*p - '0');
        text += digits;
        const char *units = "smhdw", *unit = *text ? strchr(units, *text) : NULL;
        static const int64_t seconds[] = {1, 60, 3600, 86400, 604800};
        if (n > 100000000 || (*text && !unit))
            return false;
        *out += n * (unit ? seconds[unit - units] : 1);
        text += unit != NULL;
    }
}

static void check_numbers(const char *text)
{
    int64_t seconds = -1, wanted;
    long number = -1;
    bool ok = plain_duration(text, &wanted);
    CHECK(text_parse_duration(text, &seconds) == ok);
    CHECK(seconds == (ok ? wanted : -1));
    ok = text_parse_number(text, 3, 65535, &number);
    CHECK(ok ? number >= 3 && number <= 65535 && strspn(text, "0123456789") == strlen(text) : number == -1);
    if (strspn(text, "0123456789") == strlen(text) && *text && strlen(text) < 9)
        CHECK(ok == (atol(text) >= 3 && atol(text) <= 65535));
}

/* RFC 1123, lower case, two labels or more. */
static bool plain_host_name(const char *name)
{
    char copy[254];
    size_t labels = 0;
    if (strlen(name) > 253)
        return false;
    strcpy(copy, name);
    char *rest = copy;
    for (char *label; (label = strsep(&rest, ".")); labels++) {
        size_t n = strlen(label);
        if (n < 1 || n > 63 || label[0] == '-' || label[n - 1] == '-' ||
            strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
            return false;
    }
    return labels >= 2;
}

static void check_names(const char *text)
{
    bool plain = plain_host_name(text);
    bool wild = strncmp(text, "*.", 2) == 0 && strlen(text) <= 253 && plain_host_name(text + 2);
    CHECK(text_is_host_name(text, false) == plain);
    CHECK(text_is_host_name(text, true) == (plain || wild));
}

/* "host:port": what was taken stands in front of what is left, and is a host. */
static void check_host(const char *text, size_t size)
{
    char *out = malloc(size);
    CHECK(out);
    const char *rest = text_take_host(text, out, size);
    if (rest) {
        bool v6 = *text == '[';
        size_t n = strlen(out);
        CHECK(n && n < size && strncmp(text + v6, out, n) == 0);
        CHECK(rest == text + n + 2u * v6 && (!v6 || rest[-1] == ']'));
        CHECK(v6 ? strspn(out, "0123456789abcdefABCDEF:.") == n
                 : !strpbrk(out, ":/@[]%\\ \t") && *out != '-');
    }
    free(out);
}

static void check_time(const char *text)
{
    char again[TEXT_TIME_SIZE];
    time_t t = -1, same;
    if (!text_parse_time(text, &t)) {
        CHECK(t == -1);
        return;
    }
    CHECK_TEXT(text_time(again, t), text);
    CHECK(text_parse_time(again, &same) && same == t);
}

/* Any number of seconds is written, or as "". */
static void check_seconds(const uint8_t *bytes, size_t len)
{
    int64_t t = 0;
    char text[TEXT_TIME_SIZE];
    time_t same;
    memcpy(&t, bytes, len < sizeof t ? len : sizeof t);
    text_time(text, t);
    CHECK(strlen(text) < sizeof text && fuzz_is_printable(text));
    if (t >= 0 && t < INT64_C(253402300800)) /* the year 10000 */
        CHECK(text_parse_time(text, &same) && same == t);
}

static void check_hex(const uint8_t *bytes, size_t len)
{
    char out[2 * 32 + 1];
    text_hex(out, bytes, len < 32 ? len : 32);
    CHECK(text_is_fingerprint(out) == (len >= 32));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t len = size - 1;
    char *text = calloc(1, len + 1);
    CHECK(text);
    if (len)
        memcpy(text, data + 1, len);
    check_escape(data + 1, len, 1u + data[0]);
    check_lower(text, 1u + data[0]);
    check_numbers(text);
    check_names(text);
    check_host(text, 1u + data[0]);
    check_time(text);
    check_seconds(data + 1, len);
    check_hex(data + 1, len);
    free(text);
    return 0;
}
