/*
 * Lines, replies, words and fields of the protocol: what is read does not depend on how it was cut, is what a
 * plain reading of docs/protocol.md says, and what is written is read back.
 */
#include "common/wire.h"
#include "tests/fuzz/stream.h"

#include <stdio.h>
#include <string.h>

/* ---- lines, by the words of docs/protocol.md ---- */

/* One line without its end, or what is wrong with it: 0, WIRE_END, E_FAILED. */
static int plain_line(const uint8_t *in, size_t len, size_t *pos, char *line)
{
    const uint8_t *at = in + *pos, *lf = memchr(at, '\n', len - *pos);
    size_t n = lf ? (size_t)(lf - at) : len - *pos;
    if (!lf)
        return n > WIRE_LINE + 1 ? E_FAILED : WIRE_END;
    *pos += n + 1;
    if (n && at[n - 1] == '\r')
        n--;
    if (n > WIRE_LINE)
        return E_FAILED;
    for (size_t i = 0; i < n; i++)
        if (at[i] < 0x20 || at[i] > 0x7e)
            return E_FAILED;
    memcpy(line, at, n);
    line[n] = '\0';
    return 0;
}

/* ---- words and fields ---- */

static void check_token(const char *line, const struct wire_token *token)
{
    const char *end = line + strlen(line), *free_text = wire_free_text(line);
    CHECK(token->value >= line && token->value + token->value_len <= end);
    CHECK(!memchr(token->value, ' ', token->value_len));
    const char *behind = token->value + token->value_len; /* the colon that ends the fields is in none */
    CHECK(*behind == ':' || ((!*behind || *behind == ' ') && behind[-1] != ':'));
    CHECK(!*free_text || token->value + token->value_len < free_text);
    if (!token->key)
        CHECK(!memchr(token->value, '=', token->value_len) && token->key_len == 0);
    else
        CHECK(token->key + token->key_len + 1 == token->value && !memchr(token->key, '=', token->key_len));
}

/* wire_word and wire_field find what wire_next steps over. */
static void check_lookup(const char *line, const struct wire_token *token, unsigned *words)
{
    char key[WIRE_LINE + 1], found[WIRE_LINE + 1];
    if (!token->key) {
        CHECK(wire_word(line, *words, found, sizeof found));
        CHECK(strlen(found) == token->value_len && memcmp(found, token->value, token->value_len) == 0);
        CHECK(!wire_word(line, *words, found, token->value_len));
        ++*words;
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)token->key_len, token->key);
    CHECK(wire_field(line, key, found, sizeof found));
    CHECK(!strchr(found, ' '));
}

/* The tokens alone, put together again, are the same tokens. */
static void check_tokens(const char *line)
{
    char again[2 * WIRE_LINE + 2] = "", word[WIRE_LINE + 1];
    struct wire_token token, same;
    unsigned words = 0;
    size_t n = 0;
    const char *colon = strstr(line, ": ");
    CHECK_TEXT(wire_free_text(line), colon ? colon + 2 : "");
    for (const char *cursor = line; wire_next(&cursor, &token);) {
        check_token(line, &token);
        check_lookup(line, &token, &words);
        const char *start = token.key ? token.key : token.value, *end = token.value + token.value_len;
        n += (size_t)snprintf(again + n, sizeof again - n, "%s%.*s", n ? " " : "",
                              (int)(end - start) + (*end == ':'), start);
    }
    CHECK(!wire_word(line, words, word, sizeof word));
    const char *cursor = line, *cursor_again = again;
    while (wire_next(&cursor, &token)) {
        CHECK(wire_next(&cursor_again, &same));
        CHECK(same.key_len == token.key_len && same.value_len == token.value_len);
        CHECK(memcmp(same.value, token.value, token.value_len) == 0);
    }
}

static void check_reply(const char *line)
{
    struct wire_reply reply;
    struct error err;
    char again[WIRE_LINE + 10];
    int rc = wire_parse_reply(line, &reply, &err);
    if (rc) {
        CHECK_ERROR(rc, &err);
        return;
    }
    snprintf(again, sizeof again, "%03d%c%s", reply.code, reply.more ? '-' : ' ', reply.text);
    CHECK_TEXT(again, line);
    check_tokens(reply.text);
}

/* ---- reading ---- */

static void check_reading(const uint8_t *data, size_t size, enum cut how)
{
    AUTO_STREAM struct stream peer;
    AUTO_WIRE struct wire *wire = NULL;
    char line[WIRE_LINE + 1], expected[WIRE_LINE + 1];
    struct error err;
    size_t pos = 0;
    CHECK(wire_new(&wire, stream_open(&peer, data, size, how), &err) == 0);
    for (;;) {
        int wanted = plain_line(data, size, &pos, expected);
        int rc = wire_read_line(wire, line, &err);
        CHECK(rc == wanted);
        if (rc < 0)
            CHECK_ERROR(rc, &err);
        if (rc == WIRE_END)
            CHECK(wire_unread(wire) == size - pos);
        if (rc)
            return;
        CHECK_TEXT(line, expected);
        if (how == CUT_NOWHERE)
            check_reply(line);
    }
}

static void check_rest(const uint8_t *data, size_t size, enum cut how)
{
    AUTO_STREAM struct stream peer;
    AUTO_WIRE struct wire *wire = NULL;
    AUTO_SECRET struct secret rest = SECRET(1000);
    struct error err;
    CHECK(wire_new(&wire, stream_open(&peer, data, size, how), &err) == 0);
    int rc = wire_read_rest(wire, &rest, &err);
    CHECK(rc == (size > rest.max ? E_FAILED : 0));
    if (rc)
        CHECK_ERROR(rc, &err);
    else
        CHECK(rest.len == size && (!size || memcmp(rest.data, data, size) == 0));
}

/* ---- writing, and reading back: a line, bytes, and a line, as PUT has them ---- */

static void expect_line(const uint8_t *data, size_t size, char *out)
{
    size_t n = 0;
    for (; n < size && n < WIRE_LINE && data[n]; n++)
        out[n] = data[n] < 0x20 || data[n] > 0x7e ? '?' : (char)data[n];
    out[n] = '\0';
}

static void check_writing(const uint8_t *data, size_t size, enum cut how)
{
    AUTO_STREAM struct stream out;
    AUTO_WIRE struct wire *writer = NULL;
    AUTO_WIRE struct wire *reader = NULL;
    AUTO_SECRET struct secret bytes = SECRET(SECRET_MAX);
    struct error err;
    char line[WIRE_LINE + 1], expected[WIRE_LINE + 1];
    expect_line(data, size, expected);
    CHECK(wire_new(&writer, stream_open(&out, data, size, how), &err) == 0);
    CHECK(wire_write_line(writer, &err, "%.*s", (int)size, (const char *)data) == 0);
    CHECK(wire_write_bytes(writer, data, size, &err) == 0);
    CHECK(wire_write_line(writer, &err, "DEPLOY") == 0);
    AUTO_STREAM struct stream in;
    CHECK(wire_new(&reader, stream_open(&in, out.out, out.out_len, how), &err) == 0);
    CHECK(wire_read_line(reader, line, &err) == 0);
    CHECK_TEXT(line, expected);
    CHECK(wire_read_bytes(reader, size, &bytes, &err) == 0);
    CHECK(bytes.len == size && (!size || memcmp(bytes.data, data, size) == 0));
    CHECK(wire_read_line(reader, line, &err) == 0);
    CHECK_TEXT(line, "DEPLOY");
    CHECK(wire_read_bytes(reader, 1, &bytes, &err) == WIRE_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum cut how = 0; how < CUTS; how++)
        check_reading(data, size, how);
    check_rest(data, size, CUT_RANDOM);
    check_writing(data, size, CUT_RANDOM);
    return 0;
}
