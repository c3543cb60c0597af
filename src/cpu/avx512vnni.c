/* SPDX-License-Identifier: MIT */
/* x86 with AVX-512 VNNI (Intel since Ice Lake-SP, AMD since Zen 4): dot products of 4 u8 and 4 s8 added to 32 bits, 64 in an instruction. */
#include "config.h"

#include "cpu/vector_avx512.h"
#include <string.h>

#define GEMM_ROWS     14
#define GEMM_COLS     32
#define A_WORDS       1
#define ELEMENT_BYTES 1
#define FLIP_A(type)  ((type) == CLQ_GEMM_S8 ? 0x80 : 0)
#define FLIP_B(type)  ((type) == CLQ_GEMM_U8 ? 0x80 : 0)

INLINE vint sum_elements(int type, vint sum, vint v)
{
    const vint ones = _mm512_set1_epi8(1);
    return type == CLQ_GEMM_S8 ? _mm512_dpbusd_epi32(sum, ones, v) : _mm512_dpbusd_epi32(sum, v, ones);
}

INLINE vint dot(vint sum, vint b, vint a, int lane)
{
    (void)lane;
    return _mm512_dpbusd_epi32(sum, a, b);
}

#include "cpu/gemm_kernels.h"

const struct clq_cpu_ops clq_cpu_avx512vnni = {.name = "avx512vnni", .gemm = &gemm_kernels};
