/* SPDX-License-Identifier: MIT */
/* Ranges and parameters: clq_scheme_shape(), clq_minmax(), clq_qparams_from_range(), clq_choose_qparams(), clq_qparams_check(). */
#include "config.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#include "loops.h"
#include "quant_math.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

/* Outputs of these calls, most of which are parameter arrays, exclude one another and the inputs. */
static clq_status check_outputs(const struct clq_call *call, const struct clq_operand *const *outputs, int n_outputs,
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

/* ------------------------------------------------------------------------------------------------ ranges from data */

static clq_status run_minmax(const struct clq_call *call, const struct clq_operand *x, const struct clq_scheme_info *info, float *lo, float *hi,
                             int64_t counts[3])
{
    struct clq_op op;
    clq_status status;
    if (x->count == 0) {
        for (int64_t i = 0; i < info->param_count; ++i)
            lo[i] = hi[i] = 0.0f;
        return CLQ_OK;
    }
    clq_op_init(&op, CLQ_OP_MINMAX);
    clq_set_loops(&op, x, NULL, x, info);
    op.operand[0].dtype = op.operand[1].dtype = x->tensor->dtype;
    op.operand[0].data = op.operand[1].data = x->data;
    op.param_count = info->param_count;
    op.lo = lo;
    op.hi = hi;
    op.counted = true;
    status = clq_run(call->context, &op);
    memcpy(counts, op.counts, sizeof op.counts);
    return status;
}

clq_status clq_minmax(clq_context *context, const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo, const clq_tensor *hi,
                      const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_minmax"}, *call = &self;
    struct clq_operand in, tally;
    struct clq_scheme_info info;
    struct clq_param low, high = {.copy = NULL};
    int64_t totals[3] = {0, 0, 0};
    clq_status status;

    CLQ_TRY(clq_check_call(call));
    if (!scheme) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_minmax: scheme is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_scheme(call, scheme, &info));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(clq_check_param(call, "lo", lo, CLQ_F32, &info, &low));
    CLQ_TRY(clq_check_param(call, "hi", hi, CLQ_F32, &info, &high));
    CLQ_TRY(clq_check_counts(call, counts, &tally));
    CLQ_TRY(check_outputs(call, (const struct clq_operand *[]){&low.operand, &high.operand, &tally}, 3, (const struct clq_operand *[]){&in}, 1));

    status = clq_param_room(call, &low);
    if (status == CLQ_OK) status = clq_param_room(call, &high);
    if (status == CLQ_OK) status = run_minmax(call, &in, &info, low.data, high.data, totals);
    if (status == CLQ_OK) {
        clq_param_store(&low);
        clq_param_store(&high);
        clq_store_counts(&tally, totals);
    }
    clq_param_free(call, &low);
    clq_param_free(call, &high);
    return status;
}

/* ------------------------------------------------------------------------------------------------ parameters from ranges */

/* The destination of parameters: what is being asked for, checked as outputs. */
static clq_status check_targets(const struct clq_call *call, const clq_qparams *params, const struct clq_scheme_info *info,
                                const struct clq_operand *const *inputs, int n_inputs, struct clq_param *scale, struct clq_param *zero_point)
{
    *zero_point = (struct clq_param){.data = NULL};
    CLQ_TRY(clq_check_param(call, "scale", &params->scale, CLQ_F32, info, scale));
    if (params->zero_point.dtype != CLQ_DTYPE_NONE)
        CLQ_TRY(clq_check_param(call, "zero_point", &params->zero_point, CLQ_S32, info, zero_point));
    else if (!info->fixed_zero_point)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: zero_point is absent, which only a symmetric scheme allows", call->name);
    return check_outputs(call, (const struct clq_operand *[]){&scale->operand, &zero_point->operand}, 2, inputs, n_inputs);
}

static clq_status check_derivable(const struct clq_call *call, const clq_scheme *scheme)
{
    if (scheme->dtype != CLQ_S32) return CLQ_OK;
    return FAIL(CLQ_ERROR_DTYPE, "%s: scheme.dtype = s32, whose scale is given, not derived from a range", call->name);
}

static clq_status run_qparams(const struct clq_call *call, const struct clq_scheme_info *info, float *lo, float *hi, struct clq_param *scale,
                              struct clq_param *zero_point)
{
    struct clq_op op;
    clq_status status;
    if (info->param_count == 0) return CLQ_OK;
    CLQ_TRY(clq_param_room(call, scale));
    status = clq_param_room(call, zero_point);
    if (status == CLQ_OK) {
        clq_op_init(&op, CLQ_OP_QPARAMS);
        op.param_count = info->param_count;
        op.rule = info->rule;
        op.lo = lo;
        op.hi = hi;
        op.scale_out = scale->data;
        op.zero_point_out = zero_point->data;
        status = clq_run(call->context, &op);
    }
    if (status == CLQ_OK) {
        clq_param_store(scale);
        clq_param_store(zero_point);
    }
    clq_param_free(call, scale);
    clq_param_free(call, zero_point);
    return status;
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

clq_status clq_qparams_from_range(clq_context *context, const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params)
{
    const struct clq_call self = {context, "clq_qparams_from_range"}, *call = &self;
    struct clq_scheme_info info;
    struct clq_param low, high = {.copy = NULL}, scale, zero_point;
    clq_status status;

    CLQ_TRY(clq_check_call(call));
    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_qparams_from_range: params is NULL");
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(check_derivable(call, &params->scheme));
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
    CLQ_TRY(clq_check_param(call, "lo", lo, CLQ_F32, &info, &low));
    CLQ_TRY(clq_check_param(call, "hi", hi, CLQ_F32, &info, &high));
    CLQ_TRY(check_targets(call, params, &info, (const struct clq_operand *[]){&low.operand, &high.operand}, 2, &scale, &zero_point));

    status = clq_param_load(call, &low);
    if (status == CLQ_OK) status = clq_param_load(call, &high);
    if (status == CLQ_OK) {
        const clq_fp_mode mode = clq_fp_mode_enter();
        status = check_ranges(call, low.data, high.data, info.param_count);
        clq_fp_mode_leave(mode);
    }
    if (status == CLQ_OK) status = run_qparams(call, &info, low.data, high.data, &scale, &zero_point);
    clq_param_free(call, &low);
    clq_param_free(call, &high);
    return status;
}

clq_status clq_choose_qparams(clq_context *context, const clq_tensor *x, const clq_qparams *params)
{
    const struct clq_call self = {context, "clq_choose_qparams"}, *call = &self;
    struct clq_operand in;
    struct clq_scheme_info info;
    struct clq_param scale, zero_point;
    float inline_ranges[32], *ranges = inline_ranges;
    int64_t counts[3];
    clq_status status;

    CLQ_TRY(clq_check_call(call));
    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_choose_qparams: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(check_derivable(call, &params->scheme));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(check_targets(call, params, &info, (const struct clq_operand *[]){&in}, 1, &scale, &zero_point));

    if (info.param_count > (int64_t)(sizeof inline_ranges / sizeof inline_ranges[0] / 2)) {
        ranges = clq_alloc(&context->allocator, info.param_count, 2 * sizeof *ranges);
        if (!ranges)
            return FAIL(CLQ_ERROR_OUT_OF_MEMORY, "clq_choose_qparams: no memory for %lld ranges", (long long)info.param_count);
    }
    status = run_minmax(call, &in, &info, ranges, ranges + info.param_count, counts);
    if (status == CLQ_OK) status = run_qparams(call, &info, ranges, ranges + info.param_count, &scale, &zero_point);
    if (ranges != inline_ranges) clq_dealloc(&context->allocator, ranges);
    return status;
}

clq_status clq_qparams_check(clq_context *context, const clq_tensor *x, const clq_qparams *params)
{
    const struct clq_call self = {context, "clq_qparams_check"}, *call = &self;
    struct clq_scheme_info info;
    struct clq_param scale, zero_point;
    int64_t count;

    CLQ_TRY(clq_check_call(call));
    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_qparams_check: params is NULL");
    CLQ_TRY(clq_check_shape(call, "x", x, &count));
    CLQ_TRY(clq_check_scheme(call, &params->scheme, &info));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &info));
    CLQ_TRY(clq_load_qparams(call, params, &info, &scale, &zero_point));
    clq_param_free(call, &scale);
    clq_param_free(call, &zero_point);
    return CLQ_OK;
}
