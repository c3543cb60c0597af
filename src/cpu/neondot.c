/* SPDX-License-Identifier: MIT */
/* Arm with the dot products of Armv8.2 (Cortex-A55, A76 and later, Neoverse, Apple): four products of 4 s8 added to 32 bits, A's taken by lane. */
#include "config.h"

#include "cpu/vector_neon.h"
#include <string.h>

#define GEMM_ROWS     8
#define GEMM_COLS     8
#define A_WORDS       4
#define ELEMENT_BYTES 1
#define FLIP_A(type)  ((type) == CLQ_GEMM_U8 ? 0x80 : 0)
#define FLIP_B(type)  ((type) == CLQ_GEMM_U8 ? 0x80 : 0)

typedef vint vword, vdots;

INLINE vint xor_s32(vint a, vint b)
{
    return veorq_s32(a, b);
}

INLINE vint mul_s32(vint a, vint b)
{
    return vmulq_s32(a, b);
}

INLINE vint shift_left_8(vint a)
{
    return vshlq_n_s32(a, 8);
}

INLINE vint load_elements(int type, const char *p)
{
    (void)type;
    return load32(p);
}

INLINE vint load_element_lanes(int type, const char *p, int64_t step_bytes)
{
    (void)type;
    return load_lanes(p, step_bytes);
}

INLINE vint sum_elements(int type, vint sum, vint v)
{
    (void)type;
    return vdotq_s32(sum, vreinterpretq_s8_s32(v), vdupq_n_s8(1));
}

INLINE vword load_a(const char *p)
{
    return load32(p);
}

INLINE vdots zero_dots(void)
{
    return splat_s32(0);
}

INLINE vdots start_dots(vint a)
{
    return a;
}

INLINE vint dots_s32(vdots a)
{
    return a;
}

INLINE vdots dot(vdots sum, vint b, vword a, int lane)
{
    const int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(b);
    switch (lane) {
    case 0: return vdotq_laneq_s32(sum, y, x, 0);
    case 1: return vdotq_laneq_s32(sum, y, x, 1);
    case 2: return vdotq_laneq_s32(sum, y, x, 2);
    default: return vdotq_laneq_s32(sum, y, x, 3);
    }
}

INLINE void prefetch(uintptr_t p)
{
    __builtin_prefetch((const void *)p);
}

#include "cpu/gemm_kernels.h"

const struct clq_cpu_ops clq_cpu_neondot = {.name = "neondot", .gemm = &gemm_kernels};
