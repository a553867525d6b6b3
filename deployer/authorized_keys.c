#include "deployer/authorized_keys.h"
#include "common/cleanup.h"
#include "common/text.h"

#include <stdio.h>
#include <string.h>

#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

/* Each type, and how its blob begins: with the length and the name of the type (RFC 4253, section 6.6). */
static const struct {
    const char *name, *begin;
} types[] = {
    {"ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAA"},
    {"ecdsa-sha2-nistp256", "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY"},
    {"ecdsa-sha2-nistp384", "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ"},
    {"ecdsa-sha2-nistp521", "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjE"},
};

static int take_word(const char **at, char *out, size_t size)
{
    *at += strspn(*at, " \t");
    size_t len = strcspn(*at, " \t\r\n");
    if (!len || len >= size)
        return -1;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at += len;
    return 0;
}

static const char *begin_of(const char *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, type) == 0)
            return types[i].begin;
    return NULL;
}

int public_key_parse(const char *line, struct public_key *out, struct error *err)
{
    char shown[120];
    const char *at = line;
    *out = (struct public_key){.type = ""};
    text_escape(shown, sizeof shown, line, strnlen(line, 80));
    if (take_word(&at, out->type, sizeof out->type) < 0)
        return error_set(err, E_USAGE, "not a public key in one line: %s", shown);
    const char *begin = begin_of(out->type);
    if (!begin)
        return error_set(
            err, E_USAGE,
            "not a key that mailcow-cert-push can use (ssh-ed25519 or ecdsa-sha2-nistp256, without "
            "options): %s",
            shown);
    if (take_word(&at, out->blob, sizeof out->blob) < 0 || strspn(out->blob, BASE64) != strlen(out->blob) ||
        strncmp(out->blob, begin, strlen(begin)) != 0)
        return error_set(err, E_USAGE, "%s: what follows is not such a key: %s", out->type, shown);
    at += strspn(at, " \t");
    size_t len = strcspn(at, "\r\n");
    if (at[len + strspn(at + len, "\r\n")])
        return error_set(err, E_USAGE, "more than one line: %s", shown);
    text_escape(out->comment, sizeof out->comment, at, len);
    return 0;
}

/* Where a line of the file holds this key, behind whatever options; NULL: it does not. */
static const char *find_key(const char *line, size_t len, const struct public_key *key)
{
    size_t size = strlen(key->blob);
    const char *found = line[0] == '#' ? NULL : memmem(line, len, key->blob, size);
    if (!found || (found > line && !strchr(" \t", found[-1])))
        return NULL;
    return found + size == line + len || strchr(" \t\r", found[size]) ? found : NULL;
}

char *authorized_keys_without(const char *text, const struct public_key *key)
{
    char *out = malloc(strlen(text) + 1), *end = out;
    while (out && *text) {
        size_t len = strcspn(text, "\n"), whole = len + (text[len] == '\n');
        if (!find_key(text, len, key))
            end = mempcpy(end, text, whole);
        text += whole;
    }
    if (out)
        *end = '\0';
    return out;
}

char *authorized_keys_with(const char *text, const struct public_key *key, const char *options)
{
    AUTO_FREE char *others = authorized_keys_without(text, key);
    char *out = NULL;
    size_t len = others ? strlen(others) : 0;
    if (!others || asprintf(&out, "%s%s%s %s %s%s%s\n", others, len && others[len - 1] != '\n' ? "\n" : "",
                            options, key->type, key->blob, *key->comment ? " " : "", key->comment) < 0)
        return NULL;
    return out;
}

bool authorized_keys_has(const char *text, const struct public_key *key, const char *options)
{
    bool any = false;
    while (*text) {
        size_t len = strcspn(text, "\n");
        const char *found = find_key(text, len, key);
        if (found && !memmem(text, (size_t)(found - text), options, strlen(options)))
            return false;
        any = any || found;
        text += len + (text[len] == '\n');
    }
    return any;
}

/* The end of an option that begins there: a comma or blank that is not within quotes. */
static const char *option_end(const char *at, const char *end)
{
    bool quoted = false;
    for (; at < end && (quoted || !strchr(", \t", *at)); at++) {
        if (*at == '\\' && at + 1 < end && at[1] == '"')
            at++;
        else if (*at == '"')
            quoted = !quoted;
    }
    return at;
}

static char *option_value(const char *at, const char *end, const char *name)
{
    size_t len = strlen(name);
    while (at < end) {
        const char *next = option_end(at, end);
        if ((size_t)(next - at) > len + 2 && strncasecmp(at, name, len) == 0 &&
            strncmp(at + len, "=\"", 2) == 0 && next[-1] == '"')
            return strndup(at + len + 2, (size_t)(next - at) - len - 3);
        at = next + 1;
    }
    return NULL;
}

char *authorized_keys_option(const char *text, const struct public_key *key, const char *name)
{
    char *value = NULL;
    while (!value && *text) {
        size_t len = strcspn(text, "\n");
        const char *found = find_key(text, len, key);
        value = found ? option_value(text, found, name) : NULL;
        text += len + (text[len] == '\n');
    }
    return value;
}

bool authorized_keys_has_any(const char *text)
{
    while (*text) {
        size_t blank = strspn(text, " \t\r"), len = strcspn(text, "\n");
        if (blank < len && text[blank] != '#')
            return true;
        text += len + (text[len] == '\n');
    }
    return false;
}
