/* SPDX-License-Identifier: MIT */
/* Calls that derive parameters and use them: clq_dynamic_quantize(), clq_observe_fake_quantize(). */
#include "config.h"

#include "base/fp_mode.h"
#include "fake_quantize.h"
#include "loops.h"
#include "qparams.h"
#include "quant_math.h"
#include <float.h>
#include <math.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

static clq_status prepare_dynamic(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_qparams *params,
                                  const clq_tensor *q, const clq_tensor *counts)
{
    struct clq_param *const scale = clq_task_param(task, true), *const zero_point = clq_task_param(task, true), range[2];
    struct clq_operand in, out;
    struct clq_scheme_info info;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_dynamic_quantize: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_tensor(call, "q", q, CLQ_DTYPES_QUANTIZED, &out));
    CLQ_TRY(clq_check_counts(call, counts, &task->counts));
    CLQ_TRY(clq_check_quantized(call, &params->scheme, &in, &out, &out, &info));
    CLQ_TRY(clq_check_derivable(call, &params->scheme));
    CLQ_TRY(clq_check_outputs(call, (const struct clq_operand *[]){&task->counts}, 1, (const struct clq_operand *[]){&in, &out}, 2));
    CLQ_TRY(clq_check_targets(call, params, &info, (const struct clq_operand *[]){&in, &out, &task->counts}, 3, scale, zero_point));
    CLQ_TRY(clq_task_scratch(call, task, in.device, info.param_count, range, 2));
    CLQ_TRY(clq_add_minmax(task, &in, &info, &range[0], &range[1], NULL));
    CLQ_TRY(clq_add_qparams(call, task, &info, &range[0], &range[1], scale, zero_point));
    return clq_add_quantize(task, &in, &out, &info, scale, zero_point);
}

clq_status clq_dynamic_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_dynamic_quantize"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_dynamic(call, task, x, params, q, counts));
}

/* The constant, and an average in host memory: finite and in order, or empty. Every comparison with NaN is false. */
static clq_status check_average(const struct clq_call *call, float averaging, const struct clq_param *lo, const struct clq_param *hi, int64_t n)
{
    const float *least = lo->data, *greatest = hi->data;
    if (!(averaging >= 0x1p-64f && averaging <= 1.0f))
        return FAIL(CLQ_ERROR_PARAMETER, "%s: averaging = %g, must be 2^-64 to 1", call->name, (double)averaging);
    if (lo->device || hi->device) return CLQ_OK;
    for (int64_t i = 0; i < n; ++i)
        if (!(clqm_flush(least[i]) > clqm_flush(greatest[i])) && !(fabsf(least[i]) <= FLT_MAX && fabsf(greatest[i]) <= FLT_MAX))
            return FAIL(CLQ_ERROR_PARAMETER, "%s: average %lld, lo = %g to hi = %g, must be finite, or lo > hi to begin with", call->name, (long long)i,
                        (double)least[i], (double)greatest[i]);
    return CLQ_OK;
}

static clq_status prepare_observe(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, float averaging, const clq_tensor *lo,
                                  const clq_tensor *hi, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts)
{
    struct clq_param *const average_lo = clq_task_param(task, true), *const average_hi = clq_task_param(task, true);
    struct clq_param *const scale = clq_task_param(task, true), *const zero_point = clq_task_param(task, true), range[2];
    struct clq_fake_quantize checked;
    struct clq_scheme_info info;
    clq_fp_mode mode;
    clq_status status;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_observe_fake_quantize: params is NULL");
    CLQ_TRY(clq_check_fake_quantize(call, x, y, mask, counts, &checked));
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(clq_check_derivable(call, &params->scheme));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(clq_check_param(call, "lo", lo, CLQ_F32, &info, average_lo));
    CLQ_TRY(clq_check_param(call, "hi", hi, CLQ_F32, &info, average_hi));
    CLQ_TRY(clq_check_outputs(call, (const struct clq_operand *[]){&average_lo->operand, &average_hi->operand}, 2,
                              (const struct clq_operand *[]){&checked.x, &checked.y, &checked.mask, &checked.counts}, 4));
    CLQ_TRY(clq_check_targets(call, params, &info,
                              (const struct clq_operand *[]){&checked.x, &checked.y, &checked.mask, &checked.counts, &average_lo->operand, &average_hi->operand},
                              6, scale, zero_point));
    CLQ_TRY(clq_param_load(call, average_lo));
    CLQ_TRY(clq_param_load(call, average_hi));
    mode = clq_fp_mode_enter();
    status = check_average(call, averaging, average_lo, average_hi, info.param_count);
    clq_fp_mode_leave(mode);
    if (status != CLQ_OK) return status;
    CLQ_TRY(clq_task_scratch(call, task, checked.x.device, info.param_count, range, 2));
    CLQ_TRY(clq_add_minmax(task, &checked.x, &info, &range[0], &range[1], NULL));
    CLQ_TRY(clq_add_qparams(call, task, &info, &range[0], &range[1], scale, zero_point));
    if (info.param_count > 0) {
        struct clq_op *const op = &task->op[task->ops - 1];
        op->averaged = op->in_place = true;
        op->averaging = averaging;
        op->average_lo = average_lo->data;
        op->device[CLQ_ARG_AVERAGE_LO] = average_lo->device;
        op->average_hi = average_hi->data;
        op->device[CLQ_ARG_AVERAGE_HI] = average_hi->device;
    }
    task->counts = checked.counts;
    return clq_add_fake_quantize(task, &checked, &info, scale, zero_point);
}

clq_status clq_observe_fake_quantize(clq_context *context, const clq_tensor *x, float averaging, const clq_tensor *lo, const clq_tensor *hi,
                                     const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_observe_fake_quantize"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_observe(call, task, x, averaging, lo, hi, params, y, mask, counts));
}
