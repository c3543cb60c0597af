/* SPDX-License-Identifier: MIT */
/* The matrix products of the bench. */
#include "config.h"

#include "tool/bench.h"
#include <math.h>
#include <string.h>

#define OPERAND(name) (&a->operands[BENCH_##name])

static clq_status call_gemm(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_gemm(context, &a->gemm);
}

/* By the type of the results: sums alone; with scales, bias and ReLU; with zero points, bias and requantization. */
#define MATRICES (BENCH_BIT(A) | BENCH_BIT(B))
static const struct clq_bench_op
    gemm_s32 = {.name = "gemm", .inputs = MATRICES, .outputs = BENCH_BIT(C), .call = call_gemm},
    gemm_f32 = {.name = "gemm",
                .inputs = MATRICES | BENCH_BIT(BIAS) | BENCH_BIT(A_SCALE) | BENCH_BIT(B_SCALE),
                .outputs = BENCH_BIT(C),
                .call = call_gemm},
    gemm_8bit = {.name = "gemm",
                 .inputs = MATRICES | BENCH_BIT(BIAS) | BENCH_BIT(A_SCALE) | BENCH_BIT(A_ZERO_POINT) | BENCH_BIT(B_SCALE) |
                           BENCH_BIT(C_SCALE) | BENCH_BIT(C_ZERO_POINT),
                 .outputs = BENCH_BIT(C),
                 .call = call_gemm};

/* ---------------------------------------------------------------------------------------------- what is measured */

/* Batch, M, N, K. Of the first few all combinations of types are measured; the long ones only on the best table. */
static const struct {
    int64_t shape[4];
    bool all_types, is_long;
} sizes[] = {
    {{0, 512, 512, 512}, true, false},     {{0, 1, 4096, 4096}, false, false},   {{0, 16, 4096, 4096}, false, false},
    {{0, 128, 1024, 1024}, false, false},  {{0, 1000, 1000, 1000}, false, false}, {{0, 1024, 1024, 1024}, false, false},
    {{0, 2048, 2048, 2048}, false, true},  {{0, 4096, 4096, 4096}, false, true}, {{0, 32, 128, 9216}, false, false},
    {{0, 197, 768, 3072}, false, false},   {{64, 128, 128, 64}, false, false},
};

static const struct {
    const struct clq_bench_op *op;
    clq_dtype a, b, c;
    bool packed, is_main;
} types[] = {
    {&gemm_s32, CLQ_S8, CLQ_S8, CLQ_S32, true, true},  {&gemm_s32, CLQ_U8, CLQ_S8, CLQ_S32, true, true},
    {&gemm_s32, CLQ_S8, CLQ_S8, CLQ_S32, false, true}, {&gemm_s32, CLQ_S8, CLQ_U8, CLQ_S32, true, false},
    {&gemm_s32, CLQ_U8, CLQ_U8, CLQ_S32, true, false}, {&gemm_f32, CLQ_U8, CLQ_S8, CLQ_F32, true, false},
    {&gemm_8bit, CLQ_U8, CLQ_S8, CLQ_U8, true, false}, {&gemm_8bit, CLQ_S8, CLQ_S8, CLQ_S8, true, false},
};

/* Rows are checked as long as the scalar table does not take too long for them. */
#define CHECKED_PRODUCTS 0x1p26

static bool visit_types(struct clq_bench *bench, int32_t rank, const int64_t *shape, bool all_types, bool is_long, clq_bench_visit_fn visit)
{
    const int64_t batch = rank == 4 ? shape[0] : 1, m = shape[rank - 3], n = shape[rank - 2], k = shape[rank - 1];
    const double products = (double)batch * (double)m * (double)n * (double)k;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        if (!types[t].is_main && !all_types) continue;
        struct clq_bench_case c = {.op = types[t].op,
                                   .variant = types[t].packed ? "packed" : "not packed",
                                   .scheme = {.dtype = types[t].c},
                                   .x = types[t].a,
                                   .b = types[t].b,
                                   .c = types[t].c,
                                   .packed = types[t].packed,
                                   .is_long = is_long,
                                   .is_forced = bench->rank > 0,
                                   .rank = rank,
                                   .operations = 2 * products,
                                   .row_step = rank == 3 ? (int64_t)fmax(1, products / CHECKED_PRODUCTS) : 1};
        memcpy(c.shape, shape, (size_t)rank * sizeof *shape);
        if (!visit(bench, &c)) return false;
    }
    return true;
}

bool clq_bench_for_gemm_cases(struct clq_bench *bench, clq_bench_visit_fn visit)
{
    if (bench->op != NULL && strcmp(bench->op, "gemm") != 0) return true;
    if (bench->rank >= 3) return visit_types(bench, bench->rank, bench->shape, true, false, visit);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes && bench->rank == 0; k++) {
        const int32_t rank = sizes[k].shape[0] > 0 ? 4 : 3;
        if (!visit_types(bench, rank, sizes[k].shape + 4 - rank, sizes[k].all_types, sizes[k].is_long, visit)) return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------- operands */

static clq_tensor matrix(const struct clq_bench_case *c, clq_dtype dtype, int64_t rows, int64_t cols)
{
    const int64_t shape[] = {c->rank == 4 ? c->shape[0] : rows, c->rank == 4 ? rows : cols, cols};
    return clq_tensor_host(dtype, NULL, c->rank - 1, shape);
}

void clq_bench_describe_gemm(const struct clq_bench_case *c, int operand, struct clq_bench_content *content)
{
    const int64_t m = c->shape[c->rank - 3], n = c->shape[c->rank - 2], k = c->shape[c->rank - 1];
    *content = (struct clq_bench_content){.least = 1e-3, .most = 2e-3}; /* scales */
    switch (operand) {
    case BENCH_A:
        content->view = matrix(c, c->x, m, k);
        break;
    case BENCH_B:
        content->view = matrix(c, c->b, k, n);
        break;
    case BENCH_C:
        content->view = matrix(c, c->c, m, n);
        break;
    case BENCH_BIAS:
        content->view = clq_tensor_host(c->c == CLQ_F32 ? CLQ_F32 : CLQ_S32, NULL, 1, &n);
        content->most = -(content->least = -100);
        break;
    case BENCH_B_SCALE:
        content->view = clq_tensor_host(CLQ_F32, NULL, 1, &n);
        break;
    case BENCH_A_SCALE:
    case BENCH_C_SCALE:
        content->view = clq_tensor_host(CLQ_F32, NULL, 0, NULL);
        break;
    default: /* a zero point: of A, of C */
        content->view = clq_tensor_host(CLQ_S32, NULL, 0, NULL);
        content->least = content->most = 3;
    }
    if (operand == BENCH_C_SCALE) content->least = content->most = 1e-4 * sqrt((double)k);
}

void clq_bench_bind_gemm(const struct clq_bench_case *c, struct clq_bench_arguments *a)
{
    const bool to_8bit = c->op == &gemm_8bit;
    a->x_params = (clq_qparams){.scheme = {.dtype = c->x}, .scale = *OPERAND(A_SCALE), .zero_point = *OPERAND(A_ZERO_POINT)};
    a->params = (clq_qparams){.scheme = {.dtype = c->b, .granularity = CLQ_PER_CHANNEL, .axis = c->rank - 2}, .scale = *OPERAND(B_SCALE)};
    a->c_params = (clq_qparams){.scheme = {.dtype = c->c}, .scale = *OPERAND(C_SCALE), .zero_point = *OPERAND(C_ZERO_POINT)};
    a->gemm = (clq_gemm_args){.a = OPERAND(A),
                              .b = OPERAND(B),
                              .c = OPERAND(C),
                              .bias = c->op != &gemm_s32 ? OPERAND(BIAS) : NULL,
                              .a_params = c->op != &gemm_s32 ? &a->x_params : NULL,
                              .b_params = c->op != &gemm_s32 ? &a->params : NULL,
                              .c_params = to_8bit ? &a->c_params : NULL,
                              .activation = c->c == CLQ_F32 ? CLQ_ACTIVATION_RELU : CLQ_ACTIVATION_NONE};
}

void clq_bench_thin_out(const struct clq_bench_case *c, struct clq_bench_arguments *a)
{
    clq_tensor *const views[] = {OPERAND(A), OPERAND(C)};
    for (int k = 0; k < 2; k++) {
        views[k]->shape[0] = (views[k]->shape[0] + c->row_step - 1) / c->row_step;
        views[k]->strides[0] *= c->row_step;
    }
}
