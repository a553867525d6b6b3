#include "tests/fuzz/pem.h"
#include "tests/fuzz/fuzz.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pem {
    size_t before; /* bytes of text in front of the first block */
    size_t count;
    struct pem_block blocks[PEM_BLOCKS_MAX];
};

/* ---- taking apart, putting together ---- */

static bool decode(const char *from, const char *end, struct pem_block *block)
{
    char text[PEM_DER_MAX / 3 * 4];
    size_t n = 0;
    for (; from < end && n < sizeof text; from++)
        if (!strchr(" \t\r\n", *from))
            text[n++] = *from;
    int len = n % 4 ? -1 : EVP_DecodeBlock(block->der, (const unsigned char *)text, (int)n);
    if (len < 3)
        return false;
    block->len = (size_t)len - (text[n - 1] == '=') - (text[n - 2] == '=');
    return true;
}

/* The block whose BEGIN line stands at `at`; what is behind it, or NULL. */
static const char *parse_block(const char *at, struct pem_block *block)
{
    const char *label = at + strlen("-----BEGIN "), *dashes = strstr(label, "-----\n");
    char end_line[100];
    if (!dashes || (size_t)(dashes - label) >= sizeof block->label)
        return NULL;
    snprintf(block->label, sizeof block->label, "%.*s", (int)(dashes - label), label);
    snprintf(end_line, sizeof end_line, "-----END %s-----\n", block->label);
    const char *body = dashes + strlen("-----\n"), *end = strstr(body, end_line);
    return end && decode(body, end, block) ? end + strlen(end_line) : NULL;
}

static struct pem *take_apart(const uint8_t *data, size_t size)
{
    struct pem *pem = calloc(1, sizeof *pem);
    char *text = calloc(1, size + 1);
    CHECK(pem && text);
    memcpy(text, data, size);
    const char *at = text;
    while (pem->count < PEM_BLOCKS_MAX && (at = strstr(at, "-----BEGIN "))) {
        if (!pem->count)
            pem->before = (size_t)(at - text);
        const char *next = parse_block(at, &pem->blocks[pem->count]);
        pem->count += next != NULL;
        at = next ? next : at + 1;
    }
    free(text);
    return pem;
}

static size_t append(uint8_t *out, size_t at, size_t max, const void *bytes, size_t len)
{
    if (len > max - at)
        len = max - at;
    memcpy(out + at, bytes, len);
    return at + len;
}

static size_t put_together(const struct pem *pem, uint8_t *out, size_t max)
{
    char line[200], base64[68];
    size_t n = pem->before < max ? pem->before : max;
    for (size_t i = 0; i < pem->count; i++) {
        const struct pem_block *b = &pem->blocks[i];
        snprintf(line, sizeof line, "-----BEGIN %s-----\n", b->label);
        n = append(out, n, max, line, strlen(line));
        for (size_t at = 0; at < b->len; at += 48) {
            size_t len = b->len - at < 48 ? b->len - at : 48;
            int text = EVP_EncodeBlock((unsigned char *)base64, b->der + at, (int)len);
            base64[text] = '\n';
            n = append(out, n, max, base64, (size_t)text + 1);
        }
        snprintf(line, sizeof line, "-----END %s-----\n", b->label);
        n = append(out, n, max, line, strlen(line));
    }
    return n;
}

/* ---- DER ---- */

bool pem_element(const uint8_t *der, size_t len, size_t *pos, size_t *out_content, size_t *out_len)
{
    size_t at = *pos + 2;
    if (at > len || (der[*pos] & 0x1f) == 0x1f)
        return false;
    size_t n = der[*pos + 1];
    if (n & 0x80) {
        size_t bytes = n & 0x7f;
        if (!bytes || bytes > 3 || bytes > len - at)
            return false;
        for (n = 0; bytes; bytes--)
            n = n << 8 | der[at++];
    }
    if (n > len - at)
        return false;
    *out_content = at;
    *out_len = n;
    *pos = at + n;
    return true;
}

size_t pem_header(uint8_t *out, uint8_t tag, size_t len)
{
    out[0] = tag;
    if (len < 0x80) {
        out[1] = (uint8_t)len;
        return 2;
    }
    if (len < 0x100) {
        out[1] = 0x81;
        out[2] = (uint8_t)len;
        return 3;
    }
    out[1] = 0x82;
    out[2] = (uint8_t)(len >> 8);
    out[3] = (uint8_t)len;
    return 4;
}

#define ELEMENTS_MAX 64
#define DEPTH_MAX    12

/* A run of elements, one after another; starts[count] is where the last one ends. */
struct run {
    size_t starts[ELEMENTS_MAX + 1];
    size_t count;
};

/* False when the bytes are something else. */
static bool find_elements(const uint8_t *der, size_t len, struct run *out)
{
    size_t pos = 0, content, n;
    out->count = 0;
    out->starts[0] = 0;
    while (pos < len && out->count < ELEMENTS_MAX) {
        if (!pem_element(der, len, &pos, &content, &n))
            return false;
        out->starts[++out->count] = pos;
    }
    return out->count && pos == len;
}

/* Replaces der[from..to) by other bytes; returns the new length, the old one where there is no room. */
static size_t splice(uint8_t *der, size_t len, size_t from, size_t to, const uint8_t *bytes, size_t count)
{
    if (len - (to - from) + count > PEM_DER_MAX)
        return len;
    memmove(der + from + count, der + to, len - to);
    if (count)
        memcpy(der + from, bytes, count);
    return len - (to - from) + count;
}

static size_t mutate_der(uint8_t *der, size_t len, uint64_t *random, int depth);

/* Goes into an element; its length is written anew. */
static size_t mutate_element(uint8_t *der, size_t len, size_t from, size_t to, uint64_t *random, int depth)
{
    uint8_t element[PEM_DER_MAX + 4];
    size_t pos = from, content, n;
    pem_element(der, len, &pos, &content, &n);
    memcpy(element + 4, der + content, n);
    n = mutate_der(element + 4, n, random, depth + 1);
    uint8_t header[4];
    size_t head = pem_header(header, der[from], n);
    memcpy(element + 4 - head, header, head);
    return splice(der, len, from, to, element + 4 - head, head + n);
}

static size_t mutate_run(uint8_t *der, size_t len, const struct run *run, uint64_t *random, int depth)
{
    size_t i = fuzz_random(random, run->count), j = fuzz_random(random, run->count);
    size_t from = run->starts[i], to = run->starts[i + 1];
    uint8_t other[PEM_DER_MAX];
    size_t other_len = run->starts[j + 1] - run->starts[j];
    memcpy(other, der + run->starts[j], other_len);
    switch (fuzz_random(random, 24)) {
    case 0:
        return splice(der, len, from, to, NULL, 0);
    case 1: /* one more of it, somewhere */
        return splice(der, len, from, from, other, other_len);
    case 2:
        return splice(der, len, from, to, other, other_len);
    default:
        return mutate_element(der, len, from, to, random, depth);
    }
}

/* A value: mostly of the same length, which most kinds must have. */
static size_t mutate_value(uint8_t *der, size_t len, uint64_t *random)
{
    size_t room = len + 16 < PEM_DER_MAX ? len + 16 : PEM_DER_MAX;
    if (!len || fuzz_random(random, 3) == 0)
        return LLVMFuzzerMutate(der, len, room);
    size_t at = fuzz_random(random, len);
    LLVMFuzzerMutate(der + at, 1, 1);
    return len;
}

/* Changes what der (with room for PEM_DER_MAX bytes) holds; returns its new length. */
static size_t mutate_der(uint8_t *der, size_t len, uint64_t *random, int depth)
{
    struct run run;
    if (depth == DEPTH_MAX || !find_elements(der, len, &run) || fuzz_random(random, 64) == 0)
        return mutate_value(der, len, random);
    return mutate_run(der, len, &run, random, depth);
}

/* ---- blocks ---- */

/* Mostly a certificate: there is more in it. */
static void mutate_block(struct pem *pem, uint64_t *random, pem_mend *mend)
{
    struct pem_block *b = &pem->blocks[fuzz_random(random, pem->count)];
    if (!strstr(b->label, "CERTIFICATE"))
        b = &pem->blocks[fuzz_random(random, pem->count)];
    b->len = mutate_der(b->der, b->len, random, 0);
    if (mend)
        mend(b, random);
}

static void swap_blocks(struct pem *pem, uint64_t *random)
{
    struct pem_block *a = &pem->blocks[fuzz_random(random, pem->count)];
    struct pem_block *b = &pem->blocks[fuzz_random(random, pem->count)];
    struct pem_block keep = *a;
    *a = *b;
    *b = keep;
}

static void remove_block(struct pem *pem, uint64_t *random)
{
    size_t i = fuzz_random(random, pem->count--);
    memmove(&pem->blocks[i], &pem->blocks[i + 1], (pem->count - i) * sizeof pem->blocks[0]);
}

static void repeat_block(struct pem *pem, uint64_t *random)
{
    if (pem->count == PEM_BLOCKS_MAX)
        return;
    pem->blocks[pem->count] = pem->blocks[fuzz_random(random, pem->count)];
    pem->count++;
}

static void rename_block(struct pem *pem, uint64_t *random)
{
    static const char *const labels[] = {
        "CERTIFICATE",           "X509 CERTIFICATE",    "TRUSTED CERTIFICATE",
        "PRIVATE KEY",           "EC PRIVATE KEY",      "RSA PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "DSA PRIVATE KEY",
        "EC PARAMETERS",         "PUBLIC KEY",          "CERTIFICATE REQUEST"};
    struct pem_block *b = &pem->blocks[fuzz_random(random, pem->count)];
    strcpy(b->label, labels[fuzz_random(random, sizeof labels / sizeof *labels)]);
}

size_t pem_mutate(uint8_t *data, size_t size, size_t max_size, unsigned int seed, pem_mend *mend)
{
    uint64_t random = seed;
    struct pem *pem = take_apart(data, size);
    size_t choice = fuzz_random(&random, 16);
    if (!pem->count || choice == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
    } else {
        if (choice == 1)
            swap_blocks(pem, &random);
        else if (choice == 2 && pem->count > 1)
            remove_block(pem, &random);
        else if (choice == 3)
            repeat_block(pem, &random);
        else if (choice == 4)
            rename_block(pem, &random);
        else
            mutate_block(pem, &random, mend);
        size = put_together(pem, data, max_size);
    }
    free(pem);
    return size;
}
