/* SPDX-License-Identifier: MIT */
/*
 * Part of neon.c: the matrix product without dot products, which came later. Products of s8 as s16, added in pairs to 32 bits: 16 of them take two
 * multiplications and two additions, which go to different pipes; s16 multiply-add by lane takes four multiplications.
 */
#define GEMM_ROWS     6
#define GEMM_COLS     8
#define A_WORDS       1
#define ELEMENT_BYTES 1
#define FLIP_A(type)  ((type) == CLQ_GEMM_U8 ? 0x80 : 0)
#define FLIP_B(type)  ((type) == CLQ_GEMM_U8 ? 0x80 : 0)

/* Two sums for each column, which dots_s32() adds up. */
#define OWN_DOTS
typedef struct {
    vint low, high;
} vdots;

INLINE vint sum_elements(int type, vint sum, vint v)
{
    (void)type;
    return vpadalq_s16(sum, vpaddlq_s8(vreinterpretq_s8_s32(v)));
}

INLINE vdots zero_dots(void)
{
    return (vdots){splat_s32(0), splat_s32(0)};
}

INLINE vdots start_dots(vint a)
{
    return (vdots){vzip1q_s32(a, splat_s32(0)), vzip2q_s32(a, splat_s32(0))};
}

INLINE vint dots_s32(vdots a)
{
    return vpaddq_s32(a.low, a.high);
}

INLINE vdots dot(vdots sum, vint b, vint a, int lane)
{
    const int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(b);
    (void)lane;
    sum.low = vpadalq_s16(sum.low, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    sum.high = vpadalq_s16(sum.high, vmull_high_s8(x, y));
    __asm__ volatile("" : "+w"(sum.low), "+w"(sum.high)); /* one after the other: gcc 12 has more products in flight than there are registers */
    return sum;
}

#include "cpu/gemm_kernels.h"
