/* SPDX-License-Identifier: MIT */
/* Up to 15 bytes to and from two words, for vectors without masked memory operations. Touches no byte beyond them. */
#ifndef CLQ_CPU_PARTIAL_H
#define CLQ_CPU_PARTIAL_H

#include <stdint.h>
#include <string.h>

struct clq_words {
    uint64_t low, high;
};

/* 0 to 7 bytes; those that overlap in the two loads are equal. */
static inline uint64_t clq_load_word(const char *p, int64_t n)
{
    uint32_t first, last;
    if (n >= 4) {
        memcpy(&first, p, 4);
        memcpy(&last, p + n - 4, 4);
        return first | (uint64_t)last << 8 * (n - 4);
    }
    if (n == 0) return 0;
    first = (uint8_t)p[0];
    first |= (uint32_t)(uint8_t)p[n / 2] << 8 * (n / 2);
    return first | (uint32_t)(uint8_t)p[n - 1] << 8 * (n - 1);
}

/* 0 to 15 bytes, the others 0. */
static inline struct clq_words clq_load_words(const void *src, int64_t n)
{
    const char *p = src;
    struct clq_words words = {0, 0};
    if (n < 8) {
        words.low = clq_load_word(p, n);
    } else {
        memcpy(&words.low, p, 8);
        words.high = clq_load_word(p + 8, n - 8);
    }
    return words;
}

static inline void clq_store_words(void *dst, struct clq_words words, int64_t n)
{
    char *p = dst;
    if (n & 8) {
        memcpy(p, &words.low, 8);
        words.low = words.high;
        p += 8;
    }
    if (n & 4) {
        memcpy(p, &words.low, 4);
        words.low >>= 32;
        p += 4;
    }
    if (n & 2) {
        memcpy(p, &words.low, 2);
        words.low >>= 16;
        p += 2;
    }
    if (n & 1) *p = (char)words.low;
}

#endif
