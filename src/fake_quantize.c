/* SPDX-License-Identifier: MIT */
/* clq_fake_quantize() and its gradients. */
#include "config.h"

#include "fake_quantize.h"

#include "loops.h"
#include "qparams.h"
#include <math.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

/* `b` is of the dtype and shape of `a`. */
static clq_status check_alike(const struct clq_call *call, const struct clq_operand *a, const struct clq_operand *b)
{
    if (b->tensor->dtype != a->tensor->dtype)
        return FAIL(CLQ_ERROR_DTYPE, "%s: %s.dtype = %s, must equal %s.dtype = %s", call->name, b->name, clq_dtype_name(b->tensor->dtype), a->name,
                    clq_dtype_name(a->tensor->dtype));
    return clq_check_same_shape(call, a, b);
}

/* A scheme for `x`, whose quantized values have fewer than 32 bits. */
static clq_status check_scheme(const struct clq_call *call, const clq_qparams *params, const struct clq_operand *x, struct clq_scheme_info *info)
{
    CLQ_TRY(clq_check_scheme(call, &params->scheme, info));
    if (params->scheme.dtype == CLQ_S32) return FAIL(CLQ_ERROR_DTYPE, "%s: scheme.dtype = s32, must be s8, u8, s4, u4, s16 or u16", call->name);
    return clq_fit_scheme(call, x->tensor, x->name, info);
}

/* ------------------------------------------------------------------------------------------------ forward */

clq_status clq_check_fake_quantize(const struct clq_call *call, const clq_tensor *x, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts,
                                   struct clq_fake_quantize *checked)
{
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, &checked->x));
    CLQ_TRY(clq_check_tensor(call, "y", y, CLQ_DTYPES_FLOAT, &checked->y));
    CLQ_TRY(check_alike(call, &checked->x, &checked->y));
    CLQ_TRY(clq_check_mask(call, mask, checked->x.count, &checked->mask));
    CLQ_TRY(clq_check_counts(call, counts, &checked->counts));
    CLQ_TRY(clq_check_output(call, &checked->y));
    CLQ_TRY(clq_check_disjoint_or_same(call, &checked->y, &checked->x, &checked->in_place));
    return clq_check_outputs(call, (const struct clq_operand *[]){&checked->mask, &checked->counts}, 2,
                             (const struct clq_operand *[]){&checked->x, &checked->y}, 2);
}

clq_status clq_add_fake_quantize(struct clq_task *task, const struct clq_fake_quantize *checked, const struct clq_scheme_info *info,
                                 const struct clq_param *scale, const struct clq_param *zero_point)
{
    struct clq_op *op;
    if (checked->x.count == 0) return task->counts.device ? clq_task_zero(task, &task->counts) : CLQ_OK;
    op = clq_task_op(task, CLQ_OP_FAKE_QUANTIZE);
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){&checked->x, &checked->y}, checked->mask.tensor ? &checked->mask : NULL, 1, info);
    clq_op_set_qparams(op, info, scale, zero_point);
    op->in_place = checked->in_place;
    clq_op_set_counts(op, &task->counts);
    return CLQ_OK;
}

static clq_status prepare(const struct clq_call *call, struct clq_task *task, const clq_tensor *x, const clq_qparams *params, const clq_tensor *y,
                          const clq_tensor *mask, const clq_tensor *counts)
{
    struct clq_param *const scale = clq_task_param(task, false), *const zero_point = clq_task_param(task, false);
    struct clq_fake_quantize checked;
    struct clq_scheme_info info;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_fake_quantize: params is NULL");
    CLQ_TRY(clq_check_fake_quantize(call, x, y, mask, counts, &checked));
    CLQ_TRY(check_scheme(call, params, &checked.x, &info));
    CLQ_TRY(clq_load_qparams(call, params, &info, scale, zero_point));
    CLQ_TRY(clq_check_outputs(call, (const struct clq_operand *[]){&checked.y, &checked.mask, &checked.counts}, 3,
                              (const struct clq_operand *[]){&scale->operand, &zero_point->operand}, 2));
    task->counts = checked.counts;
    return clq_add_fake_quantize(task, &checked, &info, scale, zero_point);
}

clq_status clq_fake_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask,
                             const clq_tensor *counts)
{
    const struct clq_call self = {context, "clq_fake_quantize"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare(call, task, x, params, y, mask, counts));
}

/* ------------------------------------------------------------------------------------------------ backward */

/* dy and dx. */
static clq_status check_gradients(const struct clq_call *call, const clq_tensor *dy, const clq_tensor *dx, struct clq_operand *in, struct clq_operand *out,
                                  bool *in_place)
{
    CLQ_TRY(clq_check_tensor(call, "dy", dy, CLQ_DTYPES_FLOAT, in));
    CLQ_TRY(clq_check_tensor(call, "dx", dx, CLQ_DTYPES_FLOAT, out));
    CLQ_TRY(check_alike(call, in, out));
    CLQ_TRY(clq_check_output(call, out));
    return clq_check_disjoint_or_same(call, out, in, in_place);
}

/* x with its parameters, none of which dx may overlap. */
static clq_status check_values(const struct clq_call *call, const clq_tensor *x, const clq_qparams *params, const struct clq_operand *dy,
                               const struct clq_operand *dx, struct clq_operand *values, struct clq_scheme_info *info, struct clq_param *scale,
                               struct clq_param *zero_point)
{
    CLQ_TRY(clq_check_tensor(call, "x", x, CLQ_DTYPES_FLOAT, values));
    CLQ_TRY(check_alike(call, dy, values));
    CLQ_TRY(check_scheme(call, params, values, info));
    CLQ_TRY(clq_load_qparams(call, params, info, scale, zero_point));
    CLQ_TRY(clq_check_disjoint(call, dx, values));
    CLQ_TRY(clq_check_disjoint(call, dx, &scale->operand));
    return clq_check_disjoint(call, dx, &zero_point->operand);
}

static clq_status prepare_backward(const struct clq_call *call, struct clq_task *task, const clq_tensor *dy, const clq_tensor *x,
                                   const clq_qparams *params, const clq_tensor *mask, const clq_tensor *dx)
{
    struct clq_param *const scale = clq_task_param(task, false), *const zero_point = clq_task_param(task, false);
    struct clq_operand in, out, values, bits;
    struct clq_scheme_info info;
    struct clq_op *op;
    bool in_place;

    if (mask ? x || params : !x || !params)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_fake_quantize_backward: x is %s, params is %s, mask is %s: must be x and params, or mask alone",
                    x ? "there" : "NULL", params ? "there" : "NULL", mask ? "there" : "NULL");
    CLQ_TRY(check_gradients(call, dy, dx, &in, &out, &in_place));
    CLQ_TRY(clq_check_mask(call, mask, in.count, &bits));
    CLQ_TRY(clq_check_disjoint(call, &out, &bits));
    if (!mask) CLQ_TRY(check_values(call, x, params, &in, &out, &values, &info, scale, zero_point));
    if (in.count == 0) return CLQ_OK;
    op = clq_task_op(task, CLQ_OP_BACKWARD);
    op->in_place = in_place;
    if (mask) {
        clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){&in, &out}, &bits, 1, NULL);
    } else {
        clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){&in, &out, &values}, NULL, 1, &info);
        clq_op_set_qparams(op, &info, scale, zero_point);
    }
    return CLQ_OK;
}

clq_status clq_fake_quantize_backward(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, const clq_tensor *mask,
                                      const clq_tensor *dx)
{
    const struct clq_call self = {context, "clq_fake_quantize_backward"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_backward(call, task, dy, x, params, mask, dx));
}

static clq_status prepare_learnable(const struct clq_call *call, struct clq_task *task, const clq_tensor *dy, const clq_tensor *x,
                                    const clq_qparams *params, float gradient_scale, const clq_tensor *dx, const clq_tensor *dscale,
                                    const clq_tensor *dzero_point)
{
    struct clq_param *const scale = clq_task_param(task, false), *const zero_point = clq_task_param(task, false);
    struct clq_param *const slopes = clq_task_param(task, true), *const shifts = clq_task_param(task, true);
    struct clq_operand in, out, values;
    struct clq_scheme_info info;
    struct clq_op *op;
    bool in_place;

    if (!params) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_fake_quantize_backward_learnable: params is NULL");
    if (!isfinite(gradient_scale))
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_fake_quantize_backward_learnable: gradient_scale = %g, must be finite", (double)gradient_scale);
    CLQ_TRY(check_gradients(call, dy, dx, &in, &out, &in_place));
    CLQ_TRY(check_values(call, x, params, &in, &out, &values, &info, scale, zero_point));
    if (dzero_point && info.fixed_zero_point)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_fake_quantize_backward_learnable: dzero_point is there, must be NULL for a symmetric scheme");
    CLQ_TRY(clq_check_param(call, "dscale", dscale, CLQ_F32, &info, slopes));
    if (dzero_point) CLQ_TRY(clq_check_param(call, "dzero_point", dzero_point, CLQ_F32, &info, shifts));
    CLQ_TRY(clq_check_outputs(call, (const struct clq_operand *[]){&slopes->operand, &shifts->operand}, 2,
                              (const struct clq_operand *[]){&in, &out, &values, &scale->operand, &zero_point->operand}, 5));
    CLQ_TRY(clq_param_room(call, slopes));
    CLQ_TRY(clq_param_room(call, shifts));
    if (in.count == 0) {
        CLQ_TRY(clq_task_zero_param(task, slopes, info.param_count));
        return dzero_point ? clq_task_zero_param(task, shifts, info.param_count) : CLQ_OK;
    }
    op = clq_task_op(task, CLQ_OP_BACKWARD_LEARNABLE);
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){&in, &out, &values}, NULL, 1, &info);
    clq_op_set_qparams(op, &info, scale, zero_point);
    op->in_place = in_place;
    op->gradient_scale = gradient_scale;
    op->dscale = slopes->data;
    op->device[CLQ_ARG_DSCALE] = slopes->device;
    op->has_dzero_point = dzero_point != NULL;
    op->dzero_point = shifts->data;
    op->device[CLQ_ARG_DZERO_POINT] = shifts->device;
    return CLQ_OK;
}

clq_status clq_fake_quantize_backward_learnable(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params,
                                                float gradient_scale, const clq_tensor *dx, const clq_tensor *dscale, const clq_tensor *dzero_point)
{
    const struct clq_call self = {context, "clq_fake_quantize_backward_learnable"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare_learnable(call, task, dy, x, params, gradient_scale, dx, dscale, dzero_point));
}
