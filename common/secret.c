#include "common/secret.h"
#include "common/error.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void secret_init(struct secret *s, size_t max)
{
    *s = (struct secret){.max = max};
}

/* realloc would leave the old bytes behind in the heap. */
static int grow(struct secret *s, size_t need)
{
    size_t cap = s->cap ? s->cap : 1024;
    while (cap < need)
        cap *= 2;
    unsigned char *data = malloc(cap);
    if (!data)
        return E_TEMPORARY;
    if (s->data) {
        memcpy(data, s->data, s->len);
        explicit_bzero(s->data, s->cap);
        free(s->data);
    }
    s->data = data;
    s->cap = cap;
    return 0;
}

int secret_append(struct secret *s, const void *bytes, size_t len)
{
    if (len > s->max - s->len)
        return E_FAILED;
    if (s->len + len + 1 > s->cap) {
        int rc = grow(s, s->len + len + 1);
        if (rc < 0)
            return rc;
    }
    if (len)
        memcpy(s->data + s->len, bytes, len);
    s->len += len;
    s->data[s->len] = '\0';
    return 0;
}

void secret_wipe(struct secret *s)
{
    if (s->data) {
        explicit_bzero(s->data, s->cap);
        free(s->data);
    }
    *s = (struct secret){.max = s->max};
}

void secret_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

void *secret_realloc(void *p, size_t size)
{
    if (!size) {
        secret_free(p);
        return NULL;
    }
    void *grown = malloc(size);
    if (grown && p) {
        size_t old = malloc_usable_size(p);
        memcpy(grown, p, old < size ? old : size);
        secret_free(p);
    }
    return grown;
}
