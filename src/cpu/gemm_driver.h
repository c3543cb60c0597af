/* SPDX-License-Identifier: MIT */
/* Matrix products on the CPU: blocking, packing, threads, epilogues. */
#ifndef CLQ_GEMM_DRIVER_H
#define CLQ_GEMM_DRIVER_H

#include "base/util.h"
#include "cpu/cpu_ops.h"

/* Where part number `part` of `parts` begins: the first ones have a unit more if they do not come out even. */
static inline int64_t clq_gemm_border(int64_t units, int64_t parts, int64_t part)
{
    return units / parts * part + clq_min_i64(units % parts, part);
}

/* Bytes of workspace, aligned to CLQ_ALIGNMENT, that clq_gemm_run() needs; INT64_MAX if that is more than there can be. */
int64_t clq_gemm_workspace(const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_gemm *gemm);

/* Runs a product of at least one element of C. */
void clq_gemm_run(const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_gemm *gemm, void *workspace);

/* Packs B; false if there is no memory. */
bool clq_gemm_pack(const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_matrix *b, struct clq_packed *packed);

/* f32 operands; with `threads`, unless the BLAS library has its own. */
void clq_gemm_f32_run(const struct clq_threads *threads, const struct clq_gemm *gemm);

#endif
