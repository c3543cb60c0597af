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

INLINE vint sum_elements(int type, vint sum, vint v)
{
    (void)type;
    return vdotq_s32(sum, vreinterpretq_s8_s32(v), vdupq_n_s8(1));
}

INLINE vint dot(vint sum, vint b, vint a, int lane)
{
    const int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(b);
    switch (lane) {
    case 0: return vdotq_laneq_s32(sum, y, x, 0);
    case 1: return vdotq_laneq_s32(sum, y, x, 1);
    case 2: return vdotq_laneq_s32(sum, y, x, 2);
    default: return vdotq_laneq_s32(sum, y, x, 3);
    }
}

#include "cpu/gemm_kernels.h"

const struct clq_cpu_ops clq_cpu_neondot = {.name = "neondot", .gemm = &gemm_kernels};
