/* SPDX-License-Identifier: MIT */
/* clq_compute_error_stats(). */
#include "config.h"

#include "error_stats.h"

#include "base/fp_mode.h"
#include "loops.h"
#include "task.h"
#include <math.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

static void derive(const struct clq_error_sums *sums, int64_t clipped, int64_t elements, clq_error_stats *stats)
{
    const double count = (double)(sums->count ? sums->count : 1);
    *stats = (clq_error_stats){
        .count = sums->count,
        .nan_count = sums->nan,
        .inf_count = sums->inf,
        .clipped_count = clipped,
        .mse = sums->squared_error / count,
        .mae = sums->absolute_error / count,
        .max_error = sums->max_error,
        .clipped_share = elements ? (double)clipped / (double)elements : 0.0,
        .sum_squared_error = sums->squared_error,
        .sum_absolute_error = sums->absolute_error,
        .sum_squared_x = sums->squared_x,
        .sum_squared_y = sums->squared_y,
        .sum_product = sums->product,
    };
    if (sums->max_error == 0.0f)
        stats->sqnr_db = INFINITY;
    else
        stats->sqnr_db = sums->squared_x == 0.0 ? -INFINITY : 10.0 * log10(sums->squared_x / sums->squared_error);
    if (sums->squared_x == 0.0 || sums->squared_y == 0.0)
        stats->cosine = sums->squared_x == sums->squared_y ? 1.0 : 0.0;
    else /* two roots: the product of the sums may overflow */
        stats->cosine = sums->product / (sqrt(sums->squared_x) * sqrt(sums->squared_y));
}

void clq_derive_error_stats(const struct clq_op *op, int64_t elements, clq_error_stats *stats)
{
    static const struct clq_error_sums none;
    const clq_fp_mode mode = clq_fp_mode_enter();
    derive(op ? &op->sums : &none, op ? op->counts[2] : 0, elements, stats);
    clq_fp_mode_leave(mode);
}

static clq_status prepare(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_tensor *q, const clq_qparams *params,
                          clq_error_stats *stats)
{
    const uint32_t q_types = params ? CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32) : CLQ_DTYPES_FLOAT;
    struct clq_param *const scale = clq_task_param(task, false), *const zero_point = clq_task_param(task, false);
    struct clq_operand in, quantized;
    struct clq_scheme_info info;
    struct clq_op *op;

    if (!stats) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_compute_error_stats: stats is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_tensor(call, "q", q, q_types, &quantized));
    CLQ_TRY(clq_check_same_shape(call, &in, &quantized));
    if (params) {
        CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
        if (q->dtype != params->scheme.dtype)
            return FAIL(CLQ_ERROR_DTYPE, "clq_compute_error_stats: q.dtype = %s, must be the scheme's %s", clq_dtype_name(q->dtype),
                        clq_dtype_name(params->scheme.dtype));
        CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
        CLQ_TRY(clq_load_qparams(call, params, &info, scale, zero_point));
    }
    task->stats = stats;
    task->elements = in.count;
    if (in.count == 0) return CLQ_OK;
    op = clq_task_op(task, CLQ_OP_ERROR_STATS);
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){&in, &quantized}, NULL, clq_is_4bit(q->dtype) ? 1 : 0, params ? &info : NULL);
    if (params) clq_op_set_qparams(op, &info, scale, zero_point);
    op->counted = true;
    return CLQ_OK;
}

clq_status clq_compute_error_stats(clq_context *context, const clq_tensor *x, const clq_tensor *q, const clq_qparams *params, clq_error_stats *stats)
{
    const struct clq_call self = {context, "clq_compute_error_stats"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare(call, task, x, q, params, stats));
}
