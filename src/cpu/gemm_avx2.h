/* SPDX-License-Identifier: MIT */
/* Part of avx2.c: the matrix product. Elements are widened to s16: vpmaddubsw, which multiplies bytes, saturates. */
#define GEMM_ROWS     6
#define GEMM_COLS     16
#define A_WORDS       1
#define ELEMENT_BYTES 2
#define FLIP_A(type)  0
#define FLIP_B(type)  0

INLINE vint widen_bytes(int type, __m128i bytes)
{
    return type == CLQ_GEMM_S8 ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}

INLINE vint load_elements(int type, const char *p)
{
    return widen_bytes(type, _mm_loadu_si128((const void *)p));
}

INLINE vint load_element_lanes(int type, const char *p, int64_t step_bytes)
{
    return widen_bytes(type, _mm_unpacklo_epi64(load8(p), load8(p + step_bytes)));
}

INLINE vint sum_elements(int type, vint sum, vint v)
{
    (void)type;
    return add_s32(sum, _mm256_madd_epi16(v, _mm256_set1_epi16(1)));
}

/* In assembler, for there is but one register for products: gcc 12 has several of them in flight, and copies sums to and fro. */
INLINE vint dot(vint sum, vint b, vint a, int lane)
{
    vint products;
    (void)lane;
    __asm__("vpmaddwd {%2, %3, %0|%0, %3, %2}\n\tvpaddd {%0, %1, %1|%1, %1, %0}" : "=&x"(products), "+x"(sum) : "x"(a), "x"(b));
    return sum;
}

#include "cpu/gemm_kernels.h"
