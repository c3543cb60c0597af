/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4). Names what must not be mistaken for something else, and finds damage. */
#ifndef CLQ_BASE_SHA256_H
#define CLQ_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define CLQ_SHA256_BYTES 32

/* A sum in the making: start, add any number of pieces, finish. Where the pieces are cut does not matter. */
struct clq_sha256 {
    uint32_t state[8];
    uint64_t size_bytes; /* of what was added so far */
    uint8_t block[64];   /* the last size_bytes % 64 bytes, not yet in `state` */
};

void clq_sha256_start(struct clq_sha256 *sum);

/* `data` may be NULL if there is none. */
void clq_sha256_add(struct clq_sha256 *sum, const void *data, size_t size_bytes);

/* `sum` must be started again before it is used again. */
void clq_sha256_finish(struct clq_sha256 *sum, uint8_t digest[CLQ_SHA256_BYTES]);

#endif
