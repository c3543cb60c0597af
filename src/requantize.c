/* SPDX-License-Identifier: MIT */
/* clq_requantize(). */
#include "config.h"

#include "loops.h"
#include "qparams.h"

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

static clq_status check_dtype(const struct clq_call *call, const struct clq_operand *operand, const char *name, const clq_scheme *scheme)
{
    if (operand->tensor->dtype == scheme->dtype) return CLQ_OK;
    return FAIL(CLQ_ERROR_DTYPE, "clq_requantize: %s.dtype = %s, must be that of %s, %s", operand->name, clq_dtype_name(operand->tensor->dtype), name,
                clq_dtype_name(scheme->dtype));
}

/* Both sides have the same parameters' shape, or one has a single one. */
static clq_status check_granularities(const struct clq_call *call, const clq_scheme *x, const clq_scheme *y)
{
    if (x->granularity == CLQ_PER_TENSOR || y->granularity == CLQ_PER_TENSOR) return CLQ_OK;
    if (x->granularity == y->granularity && x->axis == y->axis && (x->granularity == CLQ_PER_CHANNEL || x->group_size == y->group_size)) return CLQ_OK;
    return FAIL(CLQ_ERROR_SHAPE,
                "clq_requantize: y_params has granularity %d, axis %d, group_size %lld, must be those of x_params, %d, %d, %lld, or one of the two per tensor",
                (int)y->granularity, (int)y->axis, (long long)y->group_size, (int)x->granularity, (int)x->axis, (long long)x->group_size);
}

/* What a multiplier is made of. */
static void set_sources(struct clq_op *op, const struct clq_scheme_info *x, const struct clq_param *x_scale, const struct clq_param *x_zero_point,
                        const struct clq_scheme_info *y, const struct clq_param *y_scale, const struct clq_param *y_zero_point)
{
    clq_op_set_qparams(op, x, x_scale, x_zero_point);
    op->target_scale = y_scale->data;
    op->device[CLQ_ARG_TARGET_SCALE] = y_scale->device;
    op->has_target_zero_point = y_zero_point->operand.tensor != NULL;
    op->target_zero_point = y_zero_point->data;
    op->device[CLQ_ARG_TARGET_ZERO_POINT] = y_zero_point->device;
    op->fixed_target_zero_point = y->zero_point;
    op->is_single = x->scheme.granularity == CLQ_PER_TENSOR;
    op->is_target_single = y->scheme.granularity == CLQ_PER_TENSOR;
}

static clq_status prepare(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_qparams *x_params,
                          const clq_qparams *y_params, const clq_tensor *y)
{
    struct clq_param *const x_scale = clq_task_param(task, false), *const x_zero_point = clq_task_param(task, false);
    struct clq_param *const y_scale = clq_task_param(task, false), *const y_zero_point = clq_task_param(task, false), made[3];
    struct clq_operand in, out;
    struct clq_scheme_info x_info, y_info, *info;
    struct clq_op *op;
    bool in_place;

    if (!x_params || !y_params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_requantize: %s is NULL", x_params ? "y_params" : "x_params");
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES(CLQ_S8) | CLQ_DTYPES(CLQ_U8) | CLQ_DTYPES(CLQ_S4) | CLQ_DTYPES(CLQ_U4) | CLQ_DTYPES(CLQ_S32), &in));
    CLQ_TRY(clq_check_tensor(call, "y", y, CLQ_DTYPES(CLQ_S8) | CLQ_DTYPES(CLQ_U8), &out));
    CLQ_TRY(clq_check_scheme(call, &x_params->scheme, &x_info));
    CLQ_TRY(clq_check_scheme(call, &y_params->scheme, &y_info));
    CLQ_TRY(check_dtype(call, &in, "x_params", &x_params->scheme));
    CLQ_TRY(check_dtype(call, &out, "y_params", &y_params->scheme));
    CLQ_TRY(clq_check_same_shape(call, &in, &out));
    CLQ_TRY(clq_fit_scheme(call, x, "x", &x_info));
    CLQ_TRY(clq_fit_scheme(call, y, "y", &y_info));
    CLQ_TRY(check_granularities(call, &x_info.scheme, &y_info.scheme));
    CLQ_TRY(clq_check_output(call, &out));
    CLQ_TRY(clq_check_disjoint_or_same(call, &out, &in, &in_place));
    CLQ_TRY(clq_load_qparams(call, x_params, &x_info, x_scale, x_zero_point));
    CLQ_TRY(clq_load_qparams(call, y_params, &y_info, y_scale, y_zero_point));
    CLQ_TRY(clq_check_outputs(call, (const struct clq_operand *[]){&out}, 1,
                              (const struct clq_operand *[]){&x_scale->operand, &x_zero_point->operand, &y_scale->operand, &y_zero_point->operand}, 4));
    if (in.count == 0) return CLQ_OK;
    info = x_info.scheme.granularity == CLQ_PER_TENSOR ? &y_info : &x_info;
    CLQ_TRY(clq_task_scratch(call, task, in.device || out.device, info->param_count, made, 3));

    op = clq_task_op(task, CLQ_OP_MULTIPLIERS);
    set_sources(op, &x_info, x_scale, x_zero_point, &y_info, y_scale, y_zero_point);
    op->count = op->param_count = info->param_count;
    op->scale_out = made[0].data;
    op->zero_point_out = made[1].data;
    op->source_zero_point = made[2].data;
    op->device[CLQ_ARG_SCALE_OUT] = made[0].device;
    op->device[CLQ_ARG_ZERO_POINT_OUT] = made[1].device;
    op->device[CLQ_ARG_SOURCE_ZERO_POINT] = made[2].device;

    op = clq_task_op(task, CLQ_OP_REQUANTIZE);
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){&in, &out}, NULL, clq_is_4bit(x->dtype) ? 0 : 1, info);
    op->in_place = in_place;
    op->param_count = info->param_count;
    op->scale = made[0].data;
    op->zero_point = made[1].data;
    op->source_zero_point = made[2].data;
    op->device[CLQ_ARG_SCALE] = made[0].device;
    op->device[CLQ_ARG_ZERO_POINT] = made[1].device;
    op->device[CLQ_ARG_SOURCE_ZERO_POINT] = made[2].device;
    op->has_zero_point = true;
    op->qmin = y_info.qmin;
    op->qmax = y_info.qmax;
    return CLQ_OK;
}

clq_status clq_requantize(clq_context *context, const clq_tensor *x, const clq_qparams *x_params, const clq_qparams *y_params, const clq_tensor *y)
{
    const struct clq_call self = {context, "clq_requantize"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare(call, task, x, x_params, y_params, y));
}
