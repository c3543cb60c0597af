/* SPDX-License-Identifier: MIT */
/* clq_quantize() and clq_dequantize(). */
#include "config.h"

#include "loops.h"
#include "qparams.h"

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

clq_status clq_check_quantized(const struct clq_call *call, const clq_scheme *scheme, const struct clq_operand *in, const struct clq_operand *out,
                               const struct clq_operand *quantized, struct clq_scheme_info *info)
{
    CLQ_TRY(clq_check_scheme(call, scheme, info));
    if (quantized->tensor->dtype != scheme->dtype)
        return FAIL(CLQ_ERROR_DTYPE, "%s: %s.dtype = %s, must be the scheme's %s", call->name, quantized->name,
                    clq_dtype_name(quantized->tensor->dtype), clq_dtype_name(scheme->dtype));
    CLQ_TRY(clq_check_same_shape(call, in, out));
    CLQ_TRY(clq_fit_scheme(call, in->tensor, in->name, info));
    CLQ_TRY(clq_check_output(call, out));
    return clq_check_disjoint(call, out, in);
}

static void set_op(struct clq_op *op, const struct clq_operand *in, const struct clq_operand *out, const struct clq_scheme_info *info,
                   const struct clq_param *scale, const struct clq_param *zero_point)
{
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){in, out}, NULL, clq_is_4bit(in->tensor->dtype) ? 0 : 1, info);
    clq_op_set_qparams(op, info, scale, zero_point);
}

clq_status clq_add_quantize(struct clq_task *task, const struct clq_operand *x, const struct clq_operand *q, const struct clq_scheme_info *info,
                            const struct clq_param *scale, const struct clq_param *zero_point)
{
    struct clq_op *op;
    if (x->count == 0) return task->counts.device ? clq_task_zero(task, &task->counts) : CLQ_OK;
    op = clq_task_op(task, CLQ_OP_QUANTIZE);
    set_op(op, x, q, info, scale, zero_point);
    clq_op_set_counts(op, &task->counts);
    return CLQ_OK;
}

static clq_status prepare_quantize(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_qparams *params,
                                   const clq_tensor *q, const clq_tensor *counts)
{
    struct clq_param *const scale = clq_task_param(task, false), *const zero_point = clq_task_param(task, false);
    struct clq_operand in, out;
    struct clq_scheme_info info;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_quantize: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &in));
    CLQ_TRY(clq_check_tensor(call, "q", q, CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32), &out));
    CLQ_TRY(clq_check_counts(call, counts, &task->counts));
    CLQ_TRY(clq_check_quantized(call, &params->scheme, &in, &out, &out, &info));
    CLQ_TRY(clq_check_disjoint(call, &task->counts, &in));
    CLQ_TRY(clq_check_disjoint(call, &task->counts, &out));
    CLQ_TRY(clq_load_qparams(call, params, &info, scale, zero_point));
    CLQ_TRY(clq_check_disjoint(call, &out, &scale->operand));
    CLQ_TRY(clq_check_disjoint(call, &out, &zero_point->operand));
    CLQ_TRY(clq_check_disjoint(call, &task->counts, &scale->operand));
    CLQ_TRY(clq_check_disjoint(call, &task->counts, &zero_point->operand));
    return clq_add_quantize(task, &in, &out, &info, scale, zero_point);
}

clq_status clq_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_quantize"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_quantize(call, task, x, params, q, counts));
}

static clq_status prepare_dequantize(const struct clq_call *call, struct clq_task *task, const clq_tensor *q, const clq_qparams *params,
                                     const clq_tensor *y)
{
    struct clq_param *const scale = clq_task_param(task, false), *const zero_point = clq_task_param(task, false);
    struct clq_operand in, out;
    struct clq_scheme_info info;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_dequantize: params is NULL");
    CLQ_TRY(clq_check_tensor(call, "q", q, CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32), &in));
    CLQ_TRY(clq_check_tensor(call, "y", y, CLQ_DTYPES_FLOAT, &out));
    CLQ_TRY(clq_check_quantized(call, &params->scheme, &in, &out, &in, &info));
    CLQ_TRY(clq_load_qparams(call, params, &info, scale, zero_point));
    CLQ_TRY(clq_check_disjoint(call, &out, &scale->operand));
    CLQ_TRY(clq_check_disjoint(call, &out, &zero_point->operand));
    if (in.count > 0) set_op(clq_task_op(task, CLQ_OP_DEQUANTIZE), &in, &out, &info, scale, zero_point);
    return CLQ_OK;
}

clq_status clq_dequantize(clq_context *context, const clq_tensor *q, const clq_qparams *params, const clq_tensor *y)
{
    const struct clq_call self = {context, "clq_dequantize"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_dequantize(call, task, q, params, y));
}
