/*
 * A mutator for PEM: blocks are taken apart, their DER is changed with the lengths of what surrounds the
 * change kept right, blocks change places, and the whole is put together again, so that what is tried gets
 * past the armour.
 */
#ifndef TESTS_FUZZ_PEM_H
#define TESTS_FUZZ_PEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEM_BLOCKS_MAX 24
#define PEM_DER_MAX    16384

struct pem_block {
    char label[64]; /* "CERTIFICATE" */
    size_t len;
    uint8_t der[PEM_DER_MAX];
};

/* What may be done with a block after its DER was changed, e.g. sign it anew; NULL: nothing. */
typedef void pem_mend(struct pem_block *block, uint64_t *random);

/* As LLVMFuzzerCustomMutator. Text before the first block is kept. */
size_t pem_mutate(uint8_t *data, size_t size, size_t max_size, unsigned int seed, pem_mend *mend);

/* Takes the tag and length at *pos: the content's offset and length, *pos behind it. False if there is none.
 */
bool pem_element(const uint8_t *der, size_t len, size_t *pos, size_t *out_content, size_t *out_len);

/* Writes tag and length; returns how many bytes that took (2 to 4). */
size_t pem_header(uint8_t *out, uint8_t tag, size_t len);

#endif
