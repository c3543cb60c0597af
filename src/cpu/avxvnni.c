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

INLINE vint sum_elements(int type, vint sum, vint v)
{
    const vint ones = _mm256_set1_epi8(1);
    return type == CLQ_GEMM_S8 ? _mm256_dpbusd_avx_epi32(sum, ones, v) : _mm256_dpbusd_avx_epi32(sum, v, ones);
}

INLINE vint dot(vint sum, vint b, vint a, int lane)
{
    (void)lane;
    return _mm256_dpbusd_avx_epi32(sum, a, b);
}

#include "cpu/gemm_kernels.h"

const struct clq_cpu_ops clq_cpu_avxvnni = {.name = "avxvnni", .gemm = &gemm_kernels};
