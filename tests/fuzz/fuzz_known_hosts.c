/*
 * known_hosts, asked for mail.example.org on port 22 and 2222. A key that was kept is whole and matches; a
 * line that cannot be understood is an error with its number.
 */
#include "pusher/known_hosts.h"
#include "pusher/ssh_blob.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST "mail.example.org"

static size_t lines_of(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n' && text[1];
    return n;
}

/* "path:line: what", the line being one of the text's. */
static size_t check_place(const struct error *err, const char *text)
{
    size_t line = 0;
    int end = 0;
    CHECK(sscanf(err->text, "known_hosts:%zu: %n", &line, &end) == 1 && end);
    CHECK(line >= 1 && line <= lines_of(text) && err->text[end]);
    return line;
}

static void check_key(const struct known_hosts *known, const struct known_key *key)
{
    char type[64], fingerprint[SSH_FINGERPRINT_SIZE];
    const struct known_key *by;
    CHECK(ssh_blob_type(key->blob, key->len, type, sizeof type));
    CHECK_TEXT(type, key->type);
    CHECK(strncmp(ssh_blob_fingerprint(fingerprint, key->blob, key->len), "SHA256:", 7) == 0);
    enum known_verdict verdict = known_hosts_judge(known, key->blob, key->len, &by);
    CHECK(by && by->len == key->len && memcmp(by->blob, key->blob, key->len) == 0);
    CHECK(verdict == KNOWN_REVOKED || (verdict == KNOWN_MATCH && !key->revoked));
}

/* The same kind of key, but another one. */
static void check_other(const struct known_hosts *known, const struct known_key *key)
{
    const struct known_key *by = NULL;
    unsigned char *blob = malloc(key->len);
    CHECK(blob);
    memcpy(blob, key->blob, key->len);
    blob[key->len - 1] ^= 1;
    enum known_verdict verdict = known_hosts_judge(known, blob, key->len, &by);
    if (verdict == KNOWN_MATCH || verdict == KNOWN_REVOKED)
        CHECK(by && memcmp(by->blob, blob, key->len) == 0);
    else if (!key->revoked)
        CHECK(verdict == KNOWN_CHANGED && by && !by->revoked);
    free(blob);
}

static void check_known(const struct known_hosts *known)
{
    size_t pinned = 0, last = 0;
    for (size_t i = 0; i < known->count; i++) {
        const struct known_key *key = &known->keys[i];
        CHECK(key->line > last);
        last = key->line;
        pinned += !key->revoked;
        check_key(known, key);
        if (key->len > 4 + strlen(key->type))
            check_other(known, key);
    }
    CHECK(known->pinned == pinned);
}

/* A comment in front moves the lines and changes nothing else. */
static void check_moved(const char *text, uint16_t port, int rc, const struct known_hosts *known, size_t line)
{
    AUTO_KNOWN_HOSTS struct known_hosts again = {0};
    struct error err;
    char *moved;
    CHECK(asprintf(&moved, "# a comment\n%s", text) > 0);
    CHECK(known_hosts_load(moved, "known_hosts", HOST, port, &again, &err) == rc);
    if (rc < 0)
        CHECK(check_place(&err, moved) == line + 1);
    CHECK(again.count == known->count && again.pinned == known->pinned);
    for (size_t i = 0; i < again.count; i++)
        CHECK(again.keys[i].line == known->keys[i].line + 1);
    free(moved);
}

/* Ports that the file does not name know no more than the host's own lines. */
static void check_port(const char *text, uint16_t port)
{
    AUTO_KNOWN_HOSTS struct known_hosts known = {0};
    struct error err;
    size_t line = 0;
    int rc = known_hosts_load(text, "known_hosts", HOST, port, &known, &err);
    if (rc < 0) {
        CHECK_ERROR(rc, &err);
        CHECK(rc == E_CONFIG && !known.count);
        line = check_place(&err, text);
    }
    check_known(&known);
    check_moved(text, port, rc, &known, line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    CHECK(text);
    check_port(text, 22);
    check_port(text, 2222);
    free(text);
    return 0;
}
