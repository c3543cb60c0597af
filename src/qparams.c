/* SPDX-License-Identifier: MIT */
/* Ranges and parameters: clq_scheme_shape(), clq_minmax(), clq_qparams_from_range(), clq_choose_qparams(), clq_qparams_check(). */
#include "config.h"

#include "base/fp_mode.h"
#include "loops.h"
#include "qparams.h"
#include "quant_math.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

clq_status clq_check_outputs(const struct clq_call *call, const struct clq_operand *const *outputs, int n_outputs,
                                const struct clq_operand *const *inputs, int n_inputs)
{
    for (int i = 0; i < n_outputs; ++i) {
        if (!outputs[i]->tensor) continue;
        CLQ_TRY(clq_check_output(call, outputs[i]));
        for (int k = 0; k < i; ++k)
            CLQ_TRY(clq_check_disjoint(call, outputs[i], outputs[k]));
        for (int k = 0; k < n_inputs; ++k)
            CLQ_TRY(clq_check_disjoint(call, outputs[i], inputs[k]));
    }
    return CLQ_OK;
}

clq_status clq_scheme_shape(clq_context *context, const clq_scheme *scheme, const clq_tensor *x, int32_t *rank, int64_t *shape)
{
    const struct clq_call self = {context, "clq_scheme_shape"}, *call = &self;
    struct clq_scheme_info info;
    int64_t count;
    CLQ_TRY(clq_check_call(call));
    if (!scheme || !rank || !shape)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_scheme_shape: %s is NULL", !scheme ? "scheme" : !rank ? "rank" : "shape");
    CLQ_TRY(clq_check_scheme(call, scheme, &info));
    CLQ_TRY(clq_check_shape(call, "x", x, &count));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    *rank = info.param_rank;
    for (int32_t i = 0; i < info.param_rank; ++i)
        shape[i] = info.param_shape[i];
    return CLQ_OK;
}

/* Makes arrays of ranges arguments of an operation. */
static void set_range(struct clq_op *op, const struct clq_param *lo, const struct clq_param *hi)
{
    op->lo = lo->data;
    op->device[CLQ_ARG_LO] = lo->device;
    op->hi = hi->data;
    op->device[CLQ_ARG_HI] = hi->device;
}

/* ------------------------------------------------------------------------------------------------ ranges from data */

clq_status clq_add_minmax(struct clq_task *task, const struct clq_operand *x, const struct clq_scheme_info *info, const struct clq_param *lo,
                          const struct clq_param *hi, const struct clq_operand *counts)
{
    struct clq_op *op;
    if (x->count == 0) {
        CLQ_TRY(clq_task_zero_param(task, lo, info->param_count));
        CLQ_TRY(clq_task_zero_param(task, hi, info->param_count));
        return counts && counts->device ? clq_task_zero(task, counts) : CLQ_OK;
    }
    op = clq_task_op(task, CLQ_OP_MINMAX);
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){x}, NULL, 0, info);
    op->param_count = info->param_count;
    set_range(op, lo, hi);
    if (counts) clq_op_set_counts(op, counts);
    return CLQ_OK;
}

static clq_status prepare_minmax(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_scheme *scheme,
                                 const clq_tensor *lo, const clq_tensor *hi, const clq_tensor *counts)
{
    struct clq_param *const low = clq_task_param(task, true), *const high = clq_task_param(task, true);
    struct clq_operand in;
    struct clq_scheme_info info;

    if (!scheme) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_minmax: scheme is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_scheme(call, scheme, &info));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(clq_check_param(call, "lo", lo, CLQ_F32, &info, low));
    CLQ_TRY(clq_check_param(call, "hi", hi, CLQ_F32, &info, high));
    CLQ_TRY(clq_check_counts(call, counts, &task->counts));
    CLQ_TRY(clq_check_outputs(call, (const struct clq_operand *[]){&low->operand, &high->operand, &task->counts}, 3,
                          (const struct clq_operand *[]){&in}, 1));
    CLQ_TRY(clq_param_room(call, low));
    CLQ_TRY(clq_param_room(call, high));
    return clq_add_minmax(task, &in, &info, low, high, &task->counts);
}

clq_status clq_minmax(clq_context *context, const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo, const clq_tensor *hi,
                      const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_minmax"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_minmax(call, task, x, scheme, lo, hi, counts));
}

/* ------------------------------------------------------------------------------------------------ parameters from ranges */

clq_status clq_check_targets(const struct clq_call *call, const clq_qparams *params, const struct clq_scheme_info *info,
                             const struct clq_operand *const *inputs, int n_inputs, struct clq_param *scale, struct clq_param *zero_point)
{
    CLQ_TRY(clq_check_param(call, "scale", &params->scale, CLQ_F32, info, scale));
    if (params->zero_point.dtype != CLQ_DTYPE_NONE)
        CLQ_TRY(clq_check_param(call, "zero_point", &params->zero_point, CLQ_S32, info, zero_point));
    else if (!info->fixed_zero_point)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: zero_point is absent, which only a symmetric scheme allows", call->name);
    return clq_check_outputs(call, (const struct clq_operand *[]){&scale->operand, &zero_point->operand}, 2, inputs, n_inputs);
}

clq_status clq_check_derivable(const struct clq_call *call, const clq_scheme *scheme)
{
    if (scheme->dtype != CLQ_S32) return CLQ_OK;
    return FAIL(CLQ_ERROR_DTYPE, "%s: scheme.dtype = s32, whose scale is given, not derived from a range", call->name);
}

clq_status clq_add_qparams(const struct clq_call *call, struct clq_task *task, const struct clq_scheme_info *info, const struct clq_param *lo,
                           const struct clq_param *hi, struct clq_param *scale, struct clq_param *zero_point)
{
    struct clq_op *op;
    if (info->param_count == 0) return CLQ_OK;
    CLQ_TRY(clq_param_room(call, scale));
    CLQ_TRY(clq_param_room(call, zero_point));
    op = clq_task_op(task, CLQ_OP_QPARAMS);
    op->count = op->param_count = info->param_count;
    op->rule = info->rule;
    set_range(op, lo, hi);
    op->scale_out = scale->data;
    op->device[CLQ_ARG_SCALE_OUT] = scale->device;
    op->has_zero_point = zero_point->operand.tensor != NULL;
    op->zero_point_out = zero_point->data;
    op->device[CLQ_ARG_ZERO_POINT_OUT] = zero_point->device;
    return CLQ_OK;
}

/* Bounds below 2^-126 count as 0, here too. Every comparison with NaN is false. */
static bool is_range(float lo, float hi)
{
    return (clqm_flush(lo) <= clqm_flush(hi)) & (fabsf(lo) <= FLT_MAX) & (fabsf(hi) <= FLT_MAX);
}

static clq_status check_ranges(const struct clq_call *call, const float *lo, const float *hi, int64_t n)
{
    bool good = true;
    for (int64_t i = 0; i < n; ++i)
        good &= is_range(lo[i], hi[i]);
    for (int64_t i = 0; !good; ++i)
        if (!is_range(lo[i], hi[i]))
            return FAIL(CLQ_ERROR_PARAMETER, "%s: range %lld, lo = %g to hi = %g, must be finite and lo <= hi", call->name, (long long)i,
                        (double)lo[i], (double)hi[i]);
    return CLQ_OK;
}

static clq_status prepare_from_range(const struct clq_call *call, struct clq_task *task, const clq_tensor *lo, const clq_tensor *hi,
                                     const clq_qparams *params)
{
    struct clq_param *const low = clq_task_param(task, false), *const high = clq_task_param(task, false);
    struct clq_param *const scale = clq_task_param(task, true), *const zero_point = clq_task_param(task, true);
    struct clq_scheme_info info;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_qparams_from_range: params is NULL");
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(clq_check_derivable(call, &params->scheme));
    /* There is no tensor: the scales' own shape is the one to hold. */
    CLQ_TRY(clq_check_shape(call, "scale", &params->scale, &info.param_count));
    info.param_rank = params->scale.rank;
    memcpy(info.param_shape, params->scale.shape, sizeof info.param_shape);
    if (info.scheme.granularity == CLQ_PER_TENSOR) {
        info.param_rank = 0;
        info.param_count = 1;
    }
    if (info.scheme.granularity == CLQ_PER_CHANNEL && info.param_rank != 1)
        return FAIL(CLQ_ERROR_SHAPE, "clq_qparams_from_range: scale.rank = %d, must be 1 per channel", (int)info.param_rank);
    CLQ_TRY(clq_check_param(call, "lo", lo, CLQ_F32, &info, low));
    CLQ_TRY(clq_check_param(call, "hi", hi, CLQ_F32, &info, high));
    CLQ_TRY(clq_check_targets(call, params, &info, (const struct clq_operand *[]){&low->operand, &high->operand}, 2, scale, zero_point));

    CLQ_TRY(clq_param_load(call, low));
    CLQ_TRY(clq_param_load(call, high));
    if (!low->device || !high->device) {
        /* Where one end is on a device the other stands in for it: it is still to be finite. */
        const float *least = low->device ? high->data : low->data, *greatest = high->device ? low->data : high->data;
        const clq_fp_mode mode = clq_fp_mode_enter();
        const clq_status status = check_ranges(call, least, greatest, info.param_count);
        clq_fp_mode_leave(mode);
        if (status != CLQ_OK) return status;
    }
    return clq_add_qparams(call, task, &info, low, high, scale, zero_point);
}

clq_status clq_qparams_from_range(clq_context *context, const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params)
{
    const struct clq_call self = {context, "clq_qparams_from_range"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_from_range(call, task, lo, hi, params));
}

static clq_status prepare_choose(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_qparams *params)
{
    struct clq_param *const scale = clq_task_param(task, true), *const zero_point = clq_task_param(task, true), range[2];
    struct clq_operand in;
    struct clq_scheme_info info;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_choose_qparams: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(clq_check_derivable(call, &params->scheme));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(clq_check_targets(call, params, &info, (const struct clq_operand *[]){&in}, 1, scale, zero_point));
    CLQ_TRY(clq_task_scratch(call, task, in.device, info.param_count, range, 2));
    CLQ_TRY(clq_add_minmax(task, &in, &info, &range[0], &range[1], NULL));
    return clq_add_qparams(call, task, &info, &range[0], &range[1], scale, zero_point);
}

clq_status clq_choose_qparams(clq_context *context, const clq_tensor *x, const clq_qparams *params)
{
    const struct clq_call self = {context, "clq_choose_qparams"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_choose(call, task, x, params));
}

/* Values on a device are brought to the host here: this is the call that looks at them. */
static clq_status check_values(const struct clq_call *call, const clq_tensor *x, const clq_qparams *params, struct clq_param *scale,
                               struct clq_param *zero_point)
{
    struct clq_scheme_info info;
    int64_t count;
    CLQ_TRY(clq_check_shape(call, "x", x, &count));
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(clq_load_qparams(call, params, &info, scale, zero_point));
    CLQ_TRY(clq_param_fetch(call, scale));
    CLQ_TRY(clq_param_fetch(call, zero_point));
    return clq_check_qparams(call, &info, scale, zero_point);
}

clq_status clq_qparams_check(clq_context *context, const clq_tensor *x, const clq_qparams *params)
{
    const struct clq_call self = {context, "clq_qparams_check"}, *call = &self;
    struct clq_param scale = {.data = NULL}, zero_point = {.data = NULL};
    clq_status status;
    CLQ_TRY(clq_check_call(call));
    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_qparams_check: params is NULL");
    status = check_values(call, x, params, &scale, &zero_point);
    clq_param_free(context, &scale);
    clq_param_free(context, &zero_point);
    return status;
}
