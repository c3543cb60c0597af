/* SPDX-License-Identifier: MIT */
/* x86 with AVX-VNNI (Intel since Alder Lake, AMD since Zen 5): dot products of 4 u8 and 4 s8 added to 32 bits, in vectors of 256 bits. */
#include "config.h"

#include "cpu/vector_avx2.h"
#include <string.h>

#define GEMM_ROWS     6
#define GEMM_COLS     16
#define A_WORDS       1
#define ELEMENT_BYTES 1
#define FLIP_A(type)  ((type) == CLQ_GEMM_S8 ? 0x80 : 0)
#define FLIP_B(type)  ((type) == CLQ_GEMM_U8 ? 0x80 : 0)

typedef vint vword, vdots;

INLINE vint xor_s32(vint a, vint b)
{
    return _mm256_xor_si256(a, b);
}

INLINE vint mul_s32(vint a, vint b)
{
    return _mm256_mullo_epi32(a, b);
}

INLINE vint shift_left_8(vint a)
{
    return _mm256_slli_epi32(a, 8);
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
    return _mm256_dpbusd_avx_epi32(sum, v, _mm256_set1_epi8(1));
}

INLINE vword load_a(const char *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return splat_s32(word);
}

INLINE vdots zero_dots(void)
{
    vint zero = _mm256_setzero_si256();
    __asm__ volatile("" : "+x"(zero)); /* or gcc 12 copies sums to and fro in the loop, where they are constant before it */
    return zero;
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
    (void)lane;
    return _mm256_dpbusd_avx_epi32(sum, a, b);
}

INLINE void prefetch(uintptr_t p)
{
    _mm_prefetch((const void *)p, _MM_HINT_T0);
}

#include "cpu/gemm_kernels.h"

const struct clq_cpu_ops clq_cpu_avxvnni = {.name = "avxvnni", .gemm = &gemm_kernels};
