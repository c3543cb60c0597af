/* SPDX-License-Identifier: MIT */
/* Part of avx512.c: the matrix product without VNNI, which came later. Elements are widened to s16: vpmaddubsw, which multiplies bytes, saturates. */
#define GEMM_ROWS     12
#define GEMM_COLS     32
#define A_WORDS       1
#define ELEMENT_BYTES 2
#define FLIP_A(type)  0
#define FLIP_B(type)  0

INLINE vint widen_bytes(int type, __m256i bytes)
{
    return type == CLQ_GEMM_S8 ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
}

INLINE vint load_elements(int type, const char *p)
{
    return widen_bytes(type, _mm256_loadu_si256((const void *)p));
}

INLINE vint load_element_lanes(int type, const char *p, int64_t step_bytes)
{
    const __m128i low = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)p), _mm_loadl_epi64((const void *)(p + step_bytes)));
    const __m128i high = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(p + 2 * step_bytes)), _mm_loadl_epi64((const void *)(p + 3 * step_bytes)));
    return widen_bytes(type, _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}

INLINE vint sum_elements(int type, vint sum, vint v)
{
    (void)type;
    return add_s32(sum, _mm512_madd_epi16(v, _mm512_set1_epi16(1)));
}

INLINE vint dot(vint sum, vint b, vint a, int lane)
{
    (void)lane;
    sum = add_s32(sum, _mm512_madd_epi16(a, b));
    __asm__ volatile("" : "+v"(sum)); /* one after the other: gcc 12 has more products in flight than there are registers */
    return sum;
}

#include "cpu/gemm_kernels.h"
