/*
 * What the judge's process answers, which a bundle may have taken over. The input changes a good answer: its
 * first byte says how many changes follow, each of them an offset (two bytes), a length and so many bytes;
 * what is left takes the place of chain and key.
 */
#include "deployer/judge_confined.c"
#include "tests/fuzz/fuzz.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct reply good_reply(size_t rest)
{
    struct reply reply = {.rc = 0};
    strcpy(reply.verdict.fingerprint, FINGERPRINT);
    strcpy(reply.verdict.spki, FINGERPRINT);
    strcpy(reply.verdict.key_type, "P-256");
    strcpy(reply.verdict.issuer, "CN=Fuzz");
    reply.verdict.chain.len = rest / 2;
    reply.verdict.key.len = rest - rest / 2;
    return reply;
}

/* Applies the changes; how many bytes of data they took. */
static size_t change(struct reply *reply, const uint8_t *data, size_t size)
{
    size_t at = 1;
    for (unsigned n = data[0]; n && size - at >= 3; n--) {
        size_t offset = (size_t)(data[at] << 8 | data[at + 1]) % sizeof *reply, len = data[at + 2];
        at += 3;
        if (len > size - at)
            len = size - at;
        if (len > sizeof *reply - offset)
            len = sizeof *reply - offset;
        memcpy((char *)reply + offset, data + at, len);
        at += len;
    }
    return at;
}

static void check_verdict(const struct judge_verdict *v, const uint8_t *rest, size_t len)
{
    CHECK((unsigned)v->reason <= JUDGE_CRASHED && fuzz_is_printable(v->why));
    if (v->reason == JUDGE_CRASHED && !v->fingerprint[0]) {
        CHECK(v->why[0] && !v->chain.len && !v->key.len);
        return;
    }
    CHECK(fuzz_is_printable(v->issuer) && fuzz_is_printable(v->key_type));
    CHECK(v->chain.len + v->key.len == len);
    CHECK(!v->chain.len || memcmp(v->chain.data, rest, v->chain.len) == 0);
    CHECK(!v->key.len || memcmp(v->key.data, rest + v->chain.len, v->key.len) == 0);
    if (v->reason == JUDGE_ACCEPTED)
        CHECK(text_is_fingerprint(v->fingerprint) && text_is_fingerprint(v->spki) && v->chain.len &&
              v->key.len);
    else
        CHECK(v->why[0] && !v->chain.len && !v->key.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_VERDICT struct judge_verdict verdict = {.reason = JUDGE_ACCEPTED};
    AUTO_SECRET struct secret answer = SECRET(3 * SECRET_MAX);
    struct error err;
    if (!size)
        return 0;
    struct reply reply = good_reply(0);
    size_t changes = change(&reply, data, size);
    reply = good_reply(size - changes);
    change(&reply, data, size);
    CHECK(secret_append(&answer, &reply, sizeof reply) == 0);
    CHECK(secret_append(&answer, data + changes, size - changes) == 0);
    if (data[0] == 0xff) /* cut */
        answer.len = answer.len * 2 / 3;
    int rc = unpack(&answer, &verdict, &err);
    if (rc)
        CHECK_ERROR(rc, &err);
    else
        check_verdict(&verdict, data + changes, size - changes);
    return 0;
}
