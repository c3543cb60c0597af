/* SPDX-License-Identifier: MIT */
/* clq_quantize() and clq_dequantize(). */
#include "config.h"

#include "loops.h"

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

/* What both calls check: the scheme against its tensor, and input, output and parameters against each other. */
static clq_status check(const struct clq_call *call, const clq_qparams *params, const struct clq_operand *in, const struct clq_operand *out,
                        const struct clq_operand *quantized, struct clq_scheme_info *info)
{
    CLQ_TRY(clq_check_scheme(call, &params->scheme, info));
    if (quantized->tensor->dtype != params->scheme.dtype)
        return FAIL(CLQ_ERROR_DTYPE, "%s: %s.dtype = %s, must be the scheme's %s", call->name, quantized->name,
                    clq_dtype_name(quantized->tensor->dtype), clq_dtype_name(params->scheme.dtype));
    CLQ_TRY(clq_check_same_shape(call, in, out));
    CLQ_TRY(clq_fit_scheme(call, in->tensor, in->name, info));
    CLQ_TRY(clq_check_output(call, out));
    return clq_check_disjoint(call, out, in);
}

static clq_status run(const struct clq_call *call, enum clq_op_kind kind, const struct clq_operand *in, const struct clq_operand *out,
                      const struct clq_scheme_info *info, const struct clq_param *scale, const struct clq_param *zero_point, int64_t counts[3])
{
    struct clq_op op;
    clq_status status;
    if (in->count == 0) return CLQ_OK;
    clq_op_init(&op, kind);
    clq_set_loops(&op, in, out, clq_is_4bit(in->tensor->dtype) ? in : out, info);
    op.operand[0].dtype = in->tensor->dtype;
    op.operand[0].data = in->data;
    op.operand[1].dtype = out->tensor->dtype;
    op.operand[1].data = out->data;
    op.param_count = info->param_count;
    op.scale = scale->data;
    op.zero_point = zero_point->data;
    op.fixed_zero_point = info->zero_point;
    op.qmin = info->qmin;
    op.qmax = info->qmax;
    op.reciprocal = info->scheme.quotient == CLQ_RECIPROCAL;
    op.counted = counts != NULL;
    status = clq_run(call->context, &op);
    for (int i = 0; counts && i < 3; ++i)
        counts[i] = op.counts[i];
    return status;
}

clq_status clq_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_quantize"}, *call = &self;
    struct clq_operand in, out, tally;
    struct clq_scheme_info info;
    struct clq_param scale, zero_point;
    int64_t totals[3] = {0, 0, 0};
    clq_status status;

    CLQ_TRY(clq_check_call(call));
    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_quantize: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_tensor(call, "q", q, CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32), &out));
    CLQ_TRY(clq_check_counts(call, counts, &tally));
    CLQ_TRY(check(call, params, &in, &out, &out, &info));
    CLQ_TRY(clq_check_disjoint(call, &tally, &in));
    CLQ_TRY(clq_check_disjoint(call, &tally, &out));
    CLQ_TRY(clq_load_qparams(call, params, &info, &scale, &zero_point));
    status = clq_check_disjoint(call, &out, &scale.operand);
    if (status == CLQ_OK) status = clq_check_disjoint(call, &out, &zero_point.operand);
    if (status == CLQ_OK) status = clq_check_disjoint(call, &tally, &scale.operand);
    if (status == CLQ_OK) status = clq_check_disjoint(call, &tally, &zero_point.operand);
    if (status == CLQ_OK) status = run(call, CLQ_OP_QUANTIZE, &in, &out, &info, &scale, &zero_point, counts ? totals : NULL);
    if (status == CLQ_OK) clq_store_counts(&tally, totals);
    clq_param_free(call, &scale);
    clq_param_free(call, &zero_point);
    return status;
}

clq_status clq_dequantize(clq_context *context, const clq_tensor *q, const clq_qparams *params, const clq_tensor *y)
{
    const struct clq_call self = {context, "clq_dequantize"}, *call = &self;
    struct clq_operand in, out;
    struct clq_scheme_info info;
    struct clq_param scale, zero_point;
    clq_status status;

    CLQ_TRY(clq_check_call(call));
    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_dequantize: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "q", q, CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32), &in));
    CLQ_TRY(clq_check_tensor(call, "y", y, CLQ_DTYPES_FLOAT, &out));
    CLQ_TRY(check(call, params, &in, &out, &in, &info));
    CLQ_TRY(clq_load_qparams(call, params, &info, &scale, &zero_point));
    status = clq_check_disjoint(call, &out, &scale.operand);
    if (status == CLQ_OK) status = clq_check_disjoint(call, &out, &zero_point.operand);
    if (status == CLQ_OK) status = run(call, CLQ_OP_DEQUANTIZE, &in, &out, &info, &scale, &zero_point, NULL);
    clq_param_free(call, &scale);
    clq_param_free(call, &zero_point);
    return status;
}
