/* SPDX-License-Identifier: MIT */
/* Integer helpers that everybody needs. */
#ifndef CLQ_BASE_UTIL_H
#define CLQ_BASE_UTIL_H

#include <stdbool.h>
#include <stdint.h>

static inline int64_t clq_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t clq_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* a / b rounded up, for a >= 0 and b >= 1, without overflow. */
static inline int64_t clq_ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* Store the exact result and return true, or return false if it does not fit. */
static inline bool clq_mul_i64(int64_t a, int64_t b, int64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline bool clq_add_i64(int64_t a, int64_t b, int64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

#endif
