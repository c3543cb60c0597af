/* SPDX-License-Identifier: MIT */
/*
 * The matrix product of an instruction set with dot products, as a template: the table gemm_kernels. Over operations of vector_kernels.h,
 * and what gemm_pack.h and gemm_dot.h ask for. All types are packed to one form, so that one tile does for all.
 */
#include "base/util.h"
#include <string.h>

#include "cpu/gemm_pack.h"

#include "cpu/gemm_dot.h"
#include "cpu/gemm_finish.h"
#if A_WORDS == 1
#include "cpu/gemm_rows.h"
#endif

static const struct clq_gemm_kernels gemm_kernels = {
    .rows = GEMM_ROWS,
    .cols = GEMM_COLS,
    .row_unit = 1,
    .group = GROUP,
    .k_unit = GROUP * A_WORDS,
    .element_bytes = ELEMENT_BYTES,
    .flip_a = {FLIP_A(CLQ_GEMM_S8), FLIP_A(CLQ_GEMM_U8)},
    .flip_b = {FLIP_B(CLQ_GEMM_S8), FLIP_B(CLQ_GEMM_U8)},
    .pack_a = pack_a,
    .pack_b = pack_b,
#if A_WORDS == 1
    .dot_rows = {dot_rows_s8, dot_rows_u8},
    .row_step = VECTOR_ELEMENTS,
#endif
    .tile = {{gemm_tile, gemm_tile}, {gemm_tile, gemm_tile}},
    .subtract_outer = subtract_outer,
    .finish_f32 = finish_f32,
};
