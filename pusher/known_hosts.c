#include "pusher/known_hosts.h"
#include "common/text.h"
#include "pusher/ssh_blob.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_SIZE 300

struct loader {
    const char *path;
    size_t line;
    char host[NAME_MAX_SIZE];      /* lower case */
    char with_port[NAME_MAX_SIZE]; /* [host]:port */
    uint16_t port;
    struct known_hosts *out;
    struct error *err;
};

struct span {
    const char *at;
    size_t len;
};

enum match {
    MATCH_NONE,
    MATCH_HOST,
    MATCH_PORT
};

#define ADVICE "write the line anew with `ssh-keyscan -t ed25519`"

static __attribute__((format(printf, 2, 3))) int bad_line(const struct loader *l, const char *fmt, ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return error_set(l->err, E_CONFIG, "%s:%zu: %s", l->path, l->line, what);
}

/* The next word of rest, empty at its end. */
static struct span next_word(struct span *rest)
{
    while (rest->len && (*rest->at == ' ' || *rest->at == '\t'))
        rest->at++, rest->len--;
    struct span word = {.at = rest->at};
    while (rest->len && *rest->at != ' ' && *rest->at != '\t')
        rest->at++, rest->len--, word.len++;
    return word;
}

static bool equals(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static bool equals_nocase(struct span s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

static const char *show(struct span s, char *out, size_t size)
{
    return text_escape(out, size, s.at, s.len);
}

/* |1|salt|hash, both of 20 bytes in base64. */
static int match_hashed(const struct loader *l, struct span name, enum match *out)
{
    unsigned char salt[24], hash[24];
    const char *bar = name.len > 3 ? memchr(name.at + 3, '|', name.len - 3) : NULL;
    if (!bar || memcmp(name.at, "|1|", 3) != 0)
        return bad_line(l, "hashed host: only |1|salt|hash is known: " ADVICE);
    const char *end = name.at + name.len;
    if (ssh_blob_decode(name.at + 3, (size_t)(bar - name.at) - 3, salt, sizeof salt) != SSH_HASH_SIZE ||
        ssh_blob_decode(bar + 1, (size_t)(end - bar) - 1, hash, sizeof hash) != SSH_HASH_SIZE)
        return bad_line(l, "hashed host: salt and hash must be 20 bytes in base64: " ADVICE);
    *out = ssh_blob_hashes_to(salt, l->with_port, hash) ? MATCH_PORT
           : ssh_blob_hashes_to(salt, l->host, hash)    ? MATCH_HOST
                                                        : MATCH_NONE;
    return 0;
}

static bool is_host_with_port(struct span name)
{
    char port[8];
    long number;
    const char *close = memchr(name.at, ']', name.len);
    size_t head = close ? (size_t)(close - name.at) + 2 : 0;
    if (!close || head < 4 || head >= name.len || close[1] != ':' || name.len - head >= sizeof port)
        return false;
    memcpy(port, name.at + head, name.len - head);
    port[name.len - head] = '\0';
    return text_parse_number(port, 1, 65535, &number);
}

static int match_name(const struct loader *l, struct span name, enum match *out)
{
    char shown[100];
    if (!name.len)
        return bad_line(l, "empty host name: remove the comma, or " ADVICE);
    if (*name.at == '|')
        return match_hashed(l, name, out);
    for (size_t i = 0; i < name.len; i++) {
        if (strchr("*?!", name.at[i]))
            return bad_line(l, "%s: wildcards and negations are not supported: name the host itself",
                            show(name, shown, sizeof shown));
        if (!isgraph((unsigned char)name.at[i]))
            return bad_line(l, "%s: not a host name: " ADVICE, show(name, shown, sizeof shown));
    }
    if (*name.at == '[' && !is_host_with_port(name))
        return bad_line(l, "%s: not [host]:port: " ADVICE, show(name, shown, sizeof shown));
    *out = equals_nocase(name, l->with_port) ? MATCH_PORT
           : equals_nocase(name, l->host)    ? MATCH_HOST
                                             : MATCH_NONE;
    return 0;
}

/* Looks at every name, so that a bad one is found also behind a match. */
static int match_names(const struct loader *l, struct span names, enum match *out)
{
    enum match best = MATCH_NONE;
    for (;;) {
        const char *comma = memchr(names.at, ',', names.len);
        struct span name = {names.at, comma ? (size_t)(comma - names.at) : names.len};
        enum match one = MATCH_NONE;
        int rc = match_name(l, name, &one);
        if (rc < 0)
            return rc;
        if (one > best)
            best = one;
        if (!comma)
            break;
        names.at = comma + 1;
        names.len -= name.len + 1;
    }
    *out = best;
    return 0;
}

static int parse_key(const struct loader *l, struct span type, struct span base64, struct known_key *key,
                     unsigned char *blob, size_t size)
{
    char shown[100], inner[sizeof key->type];
    if (!base64.len)
        return bad_line(l, "host, key type and key expected: " ADVICE);
    int len = ssh_blob_decode(base64.at, base64.len, blob, size);
    if (len < 0)
        return bad_line(l, "the key is not base64: " ADVICE);
    if (!ssh_blob_type(blob, (size_t)len, inner, sizeof inner) || !equals(type, inner))
        return bad_line(l, "the key is not of the kind %s that the line names: " ADVICE,
                        show(type, shown, sizeof shown));
    if (!ssh_blob_is_whole(blob, (size_t)len)) /* cut at a multiple of three bytes it is still base64 */
        return bad_line(l, "the %s key is incomplete: " ADVICE, inner);
    memcpy(key->type, inner, sizeof inner);
    key->len = (size_t)len;
    return 0;
}

static int keep(const struct loader *l, const struct known_key *key, const unsigned char *blob)
{
    struct known_hosts *out = l->out;
    struct known_key *keys = reallocarray(out->keys, out->count + 1, sizeof *keys);
    if (!keys)
        return error_memory(l->err);
    out->keys = keys;
    keys[out->count] = *key;
    keys[out->count].blob = malloc(key->len);
    if (!keys[out->count].blob)
        return error_memory(l->err);
    memcpy(keys[out->count].blob, blob, key->len);
    out->count++;
    return 0;
}

static int parse_marker(const struct loader *l, struct span word, bool *out_revoked)
{
    char shown[100];
    if (equals(word, "@cert-authority"))
        return bad_line(l, "@cert-authority: host certificates are not supported: pin the host's own key");
    if (!equals(word, "@revoked"))
        return bad_line(l, "%s: unknown marker: only @revoked is known", show(word, shown, sizeof shown));
    *out_revoked = true;
    return 0;
}

static int parse_line(const struct loader *l, struct span rest)
{
    unsigned char blob[KNOWN_LINE_MAX];
    struct known_key key = {.line = l->line};
    enum match match = MATCH_NONE;
    if (rest.len > KNOWN_LINE_MAX)
        return bad_line(l, "longer than %d bytes: " ADVICE, KNOWN_LINE_MAX);
    if (memchr(rest.at, '\r', rest.len))
        return bad_line(l, "carriage return: save the file with Unix line ends");
    struct span names = next_word(&rest);
    if (!names.len || *names.at == '#')
        return 0;
    int rc = *names.at == '@' ? parse_marker(l, names, &key.revoked) : 0;
    if (rc < 0)
        return rc;
    if (key.revoked)
        names = next_word(&rest);
    struct span type = next_word(&rest);
    struct span base64 = next_word(&rest);
    rc = parse_key(l, type, base64, &key, blob, sizeof blob);
    if (rc == 0)
        rc = match_names(l, names, &match);
    if (rc < 0 || match == MATCH_NONE)
        return rc;
    key.for_port = match == MATCH_PORT;
    return keep(l, &key, blob);
}

/* Pins without the port do not count beside pins with it. */
static void prefer_port(struct known_hosts *known)
{
    bool any = false;
    for (size_t i = 0; i < known->count; i++)
        any |= known->keys[i].for_port && !known->keys[i].revoked;
    size_t n = 0;
    for (size_t i = 0; i < known->count; i++) {
        struct known_key *key = &known->keys[i];
        if (any && !key->for_port && !key->revoked) {
            free(key->blob);
            continue;
        }
        known->pinned += !key->revoked;
        known->keys[n++] = *key;
    }
    known->count = n;
}

int known_hosts_load(const char *text, const char *path, const char *host, uint16_t port,
                     struct known_hosts *out, struct error *err)
{
    AUTO_KNOWN_HOSTS struct known_hosts known = {0};
    struct loader l = {.path = path, .port = port, .out = &known, .err = err};
    if (strlen(host) + sizeof "[]:65535" > sizeof l.host)
        return error_set(err, E_CONFIG, "host: longer than %zu characters",
                         sizeof l.host - sizeof "[]:65535");
    text_lower(l.host, sizeof l.host, host);
    snprintf(l.with_port, sizeof l.with_port, "[%.280s]:%u", l.host, port);
    while (*text) {
        struct span line = {text, strcspn(text, "\n")};
        l.line++;
        int rc = parse_line(&l, line);
        if (rc < 0)
            return rc;
        text += line.len + (text[line.len] == '\n');
    }
    prefer_port(&known);
    *out = known;
    known = (struct known_hosts){0};
    return 0;
}

enum known_verdict known_hosts_judge(const struct known_hosts *known, const unsigned char *blob, size_t len,
                                     const struct known_key **out_key)
{
    char type[sizeof known->keys->type] = "";
    const struct known_key *pinned = NULL, *same_kind = NULL;
    ssh_blob_type(blob, len, type, sizeof type);
    for (size_t i = 0; i < known->count; i++) {
        const struct known_key *key = &known->keys[i];
        bool equal = key->len == len && memcmp(key->blob, blob, len) == 0;
        *out_key = key;
        if (equal && key->revoked)
            return KNOWN_REVOKED;
        if (equal)
            pinned = key;
        else if (!key->revoked && strcmp(key->type, type) == 0)
            same_kind = key;
    }
    *out_key = pinned ? pinned : same_kind;
    return pinned ? KNOWN_MATCH : same_kind ? KNOWN_CHANGED : KNOWN_UNKNOWN;
}

void known_hosts_free(struct known_hosts *known)
{
    for (size_t i = 0; i < known->count; i++)
        free(known->keys[i].blob);
    free(known->keys);
    *known = (struct known_hosts){0};
}
