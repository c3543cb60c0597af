/* SPDX-License-Identifier: MIT */
/*
 * x86 with AVX-512 F, BW, VL and DQ (Intel since Skylake-SP, AMD since Zen 4): 16 lanes, and masks that make short rows and ends of rows
 * cheap. Nothing here needs a later extension.
 */
#include "config.h"

#include "cpu/vector_avx512.h"

#include "cpu/vector_kernels.h"

#include "cpu/gemm_avx512.h"

const struct clq_cpu_ops clq_cpu_avx512 = {
    .name = "avx512",
    .quantize = QUANTIZE_SLOTS,
    .dequantize = DEQUANTIZE_SLOTS,
    .requantize = REQUANTIZE_SLOTS,
    .fake_quantize = FAKE_QUANTIZE_SLOTS,
    .fake_backward = FAKE_BACKWARD_SLOTS,
    .mask_backward = MASK_BACKWARD_SLOTS,
    .learnable_backward = LEARNABLE_BACKWARD_SLOTS,
    .minmax = MINMAX_SLOTS,
    .widen = {NULL, widen_f16_row, widen_bf16_row},
    .narrow = {NULL, narrow_f16_row, narrow_bf16_row},
    .narrow_f64 = {narrow_f64_f32, narrow_f64_f16, narrow_f64_bf16},
    .pack4 = pack4,
    .unpack_s4 = unpack_s4,
    .unpack_u4 = unpack_u4,
    .error_sums = error_sums,
    .qparams_from_range = qparams_from_range,
    .copy2d = {copy2d_1, copy2d_2, copy2d_4, copy2d_8},
    .gemm = &gemm_kernels,
};
