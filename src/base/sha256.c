/* SPDX-License-Identifier: MIT */
/* SHA-256, after FIPS 180-4, sections 4.1.2, 4.2.2, 5.1.1, 5.3.3 and 6.2. */
#include "config.h"

#include "base/sha256.h"

#include <string.h>

#define BLOCK_BYTES 64

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t read_big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void mix_block(uint32_t state[8], const uint8_t block[BLOCK_BYTES])
{
    uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6],
                    h = state[7];

    for (int t = 0; t < 16; ++t)
        w[t] = read_big_endian(block + 4 * t);
    for (int t = 16; t < 64; ++t) {
        const uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
        const uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    for (int t = 0; t < 64; ++t) {
        const uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        const uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + constants[t] + w[t];
        const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void clq_sha256_start(struct clq_sha256 *sum)
{
    /* The first 32 bits of the fractional parts of the square roots of the first 8 primes. */
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sum->state, initial, sizeof initial);
    sum->size_bytes = 0;
}

void clq_sha256_add(struct clq_sha256 *sum, const void *data, size_t size_bytes)
{
    const uint8_t *bytes = data;
    const size_t held = sum->size_bytes % BLOCK_BYTES;

    if (size_bytes == 0) return;
    sum->size_bytes += size_bytes;
    if (held > 0) {
        const size_t missing = BLOCK_BYTES - held;
        if (size_bytes < missing) {
            memcpy(sum->block + held, bytes, size_bytes);
            return;
        }
        memcpy(sum->block + held, bytes, missing);
        mix_block(sum->state, sum->block);
        bytes += missing;
        size_bytes -= missing;
    }
    for (; size_bytes >= BLOCK_BYTES; bytes += BLOCK_BYTES, size_bytes -= BLOCK_BYTES)
        mix_block(sum->state, bytes);
    memcpy(sum->block, bytes, size_bytes);
}

void clq_sha256_finish(struct clq_sha256 *sum, uint8_t digest[CLQ_SHA256_BYTES])
{
    static const uint8_t padding[BLOCK_BYTES] = {0x80};
    const uint64_t bits = sum->size_bytes * 8;
    const size_t held = sum->size_bytes % BLOCK_BYTES;
    uint8_t length[8];

    for (int i = 0; i < 8; ++i)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    /* To 8 bytes below a whole block, of at least one byte of padding. */
    clq_sha256_add(sum, padding, held < BLOCK_BYTES - 8 ? BLOCK_BYTES - 8 - held : 2 * BLOCK_BYTES - 8 - held);
    clq_sha256_add(sum, length, sizeof length);
    for (int i = 0; i < CLQ_SHA256_BYTES; ++i)
        digest[i] = (uint8_t)(sum->state[i / 4] >> (24 - 8 * (i % 4)));
}
