/* SPDX-License-Identifier: MIT */
/* Checks of schemes and of the scales and zero points that go with them. */
#include "config.h"

#include "task.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#include "base/util.h"
#include "quant_math.h"
#include <stdio.h>
#include <string.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

static const struct {
    int32_t qmin, qmax;
} type_range[] = {
    [CLQ_S8] = {-128, 127}, [CLQ_U8] = {0, 255}, [CLQ_S4] = {-8, 7}, [CLQ_U4] = {0, 15}, [CLQ_S16] = {-32768, 32767}, [CLQ_U16] = {0, 65535},
};

static clq_status check_enumerators(const struct clq_call *call, const clq_scheme *scheme)
{
    if ((uint32_t)scheme->dtype > CLQ_S64 || !((CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32)) & CLQ_DTYPES(scheme->dtype)))
        return FAIL(CLQ_ERROR_DTYPE, "%s: scheme.dtype = %s (%d), must be s8, u8, s4, u4, s16, u16 or s32", call->name,
                    clq_dtype_name(scheme->dtype), (int)scheme->dtype);
    if ((uint32_t)scheme->symmetry > CLQ_POWER_OF_TWO)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: scheme.symmetry = %d, must be 0 to %d", call->name, (int)scheme->symmetry,
                    CLQ_POWER_OF_TWO);
    if ((uint32_t)scheme->granularity > CLQ_PER_GROUP)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: scheme.granularity = %d, must be 0 to %d", call->name, (int)scheme->granularity,
                    CLQ_PER_GROUP);
    if ((uint32_t)scheme->quotient > CLQ_RECIPROCAL)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: scheme.quotient = %d, must be 0 to %d", call->name, (int)scheme->quotient, CLQ_RECIPROCAL);
    if (scheme->granularity == CLQ_PER_GROUP && scheme->group_size < 1)
        return FAIL(CLQ_ERROR_SHAPE, "%s: scheme.group_size = %lld, at least 1", call->name, (long long)scheme->group_size);
    return CLQ_OK;
}

/* numerics of the fixed zero point z, P and the range [z - P, z + P]; see clq_qparams_from_range(). */
static clq_status set_symmetric(const struct clq_call *call, int32_t qmin, int32_t qmax, struct clq_scheme_info *info)
{
    const bool is_unsigned = type_range[info->scheme.dtype].qmin == 0;
    const int32_t z = is_unsigned ? (qmin + qmax + 1) >> 1 : 0;
    const int32_t below = z - qmin, above = qmax - z, p = below < above ? below : above;
    info->fixed_zero_point = true;
    info->zero_point = z;
    info->rule = (struct clq_range_rule){.symmetric = true, .zero_point = z, .qmin = qmin, .qmax = qmax};
    if (info->scheme.symmetry == CLQ_SYMMETRIC_FULL) {
        if (below - above != 0 && below - above != 1)
            return FAIL(CLQ_ERROR_PARAMETER, "%s: scheme.qmin = %d, qmax = %d: symmetric full range needs as many values below %d as above, or one more",
                        call->name, (int)qmin, (int)qmax, (int)z);
        info->rule.step = (float)(qmax - qmin) * 0.5f;
        return CLQ_OK;
    }
    if (p < 1)
        return FAIL(CLQ_ERROR_PARAMETER, "%s: scheme.qmin = %d, qmax = %d: a symmetric range needs values on both sides of %d", call->name,
                    (int)qmin, (int)qmax, (int)z);
    info->rule.step = (float)p;
    info->rule.power_of_two = info->scheme.symmetry == CLQ_POWER_OF_TWO;
    info->qmin = z - p;
    info->qmax = z + p;
    return CLQ_OK;
}

clq_status clq_check_scheme(const struct clq_call *call, const clq_scheme *scheme, struct clq_scheme_info *info)
{
    int32_t qmin, qmax;
    CLQ_TRY(check_enumerators(call, scheme));
    info->scheme = *scheme;
    info->zero_point = 0;
    info->fixed_zero_point = false;
    if (scheme->dtype == CLQ_S32) {
        if (scheme->qmin != 0 || scheme->qmax != 0)
            return FAIL(CLQ_ERROR_PARAMETER, "%s: scheme.qmin = %d, qmax = %d, must both be 0 for s32", call->name, (int)scheme->qmin,
                        (int)scheme->qmax);
        info->fixed_zero_point = true;
        info->qmin = INT32_MIN;
        info->qmax = INT32_MAX;
        return CLQ_OK;
    }
    qmin = scheme->qmin;
    qmax = scheme->qmax;
    if (qmin == 0 && qmax == 0) {
        qmin = type_range[scheme->dtype].qmin;
        qmax = type_range[scheme->dtype].qmax;
    }
    if (qmin < type_range[scheme->dtype].qmin || qmax > type_range[scheme->dtype].qmax || qmin >= qmax)
        return FAIL(CLQ_ERROR_PARAMETER, "%s: scheme.qmin = %d, qmax = %d, must satisfy %d <= qmin < qmax <= %d", call->name, (int)qmin, (int)qmax,
                    (int)type_range[scheme->dtype].qmin, (int)type_range[scheme->dtype].qmax);
    info->qmin = qmin;
    info->qmax = qmax;
    if (scheme->symmetry != CLQ_ASYMMETRIC) return set_symmetric(call, qmin, qmax, info);
    info->rule = (struct clq_range_rule){.qmin = qmin, .qmax = qmax};
    return CLQ_OK;
}

clq_status clq_fit_scheme(const struct clq_call *call, const clq_tensor *x, const char *name, struct clq_scheme_info *info)
{
    clq_scheme *scheme = &info->scheme;
    const int32_t axis = scheme->axis < 0 ? scheme->axis + x->rank : scheme->axis;
    info->param_rank = 0;
    info->param_count = 1;
    if (scheme->granularity == CLQ_PER_TENSOR) return CLQ_OK;
    if (axis < 0 || axis >= x->rank)
        return FAIL(CLQ_ERROR_SHAPE, "%s: scheme.axis = %d, must be -%d to %d for %s.rank = %d", call->name, (int)scheme->axis, (int)x->rank,
                    (int)x->rank - 1, name, (int)x->rank);
    scheme->axis = axis;
    if (scheme->granularity == CLQ_PER_CHANNEL) {
        info->param_rank = 1;
        info->param_shape[0] = info->param_count = x->shape[axis];
        return CLQ_OK;
    }
    info->param_rank = x->rank;
    for (int32_t i = 0; i < x->rank; ++i) {
        info->param_shape[i] = i == axis ? clq_ceil_div(x->shape[i], scheme->group_size) : x->shape[i];
        info->param_count *= info->param_shape[i]; /* at most the number of elements, or of those of a tensor with no 0 among its extents */
    }
    return CLQ_OK;
}

clq_status clq_check_param(const struct clq_call *call, const char *name, const clq_tensor *tensor, clq_dtype dtype,
                           const struct clq_scheme_info *info, struct clq_param *param)
{
    CLQ_TRY(clq_check_tensor(call, name, tensor, CLQ_DTYPES(dtype), &param->operand));
    if (info->scheme.granularity == CLQ_PER_TENSOR && tensor->rank == 1 && tensor->shape[0] == 1) return CLQ_OK;
    if (tensor->rank != info->param_rank)
        return FAIL(CLQ_ERROR_SHAPE, "%s: %s.rank = %d, must be %d", call->name, name, (int)tensor->rank, (int)info->param_rank);
    for (int32_t i = 0; i < tensor->rank; ++i)
        if (tensor->shape[i] != info->param_shape[i])
            return FAIL(CLQ_ERROR_SHAPE, "%s: %s.shape[%d] = %lld, must be %lld", call->name, name, (int)i, (long long)tensor->shape[i],
                        (long long)info->param_shape[i]);
    return CLQ_OK;
}

/* Copies 4-byte values between the view, in index order, and a contiguous array. */
static void copy_values(const struct clq_operand *operand, char *array, bool to_array)
{
    const clq_tensor *tensor = operand->tensor;
    int64_t index[CLQ_MAX_RANK] = {0}, at = 0;
    for (int64_t i = 0; i < operand->count; ++i) {
        char *value = operand->data + 4 * at;
        memcpy(to_array ? array + 4 * i : value, to_array ? value : array + 4 * i, 4);
        for (int32_t k = tensor->rank - 1; k >= 0; --k) {
            if (tensor->shape[k] == 1) continue; /* its stride may be anything */
            at += tensor->strides[k];
            if (++index[k] < tensor->shape[k]) break;
            at -= tensor->strides[k] * tensor->shape[k];
            index[k] = 0;
        }
    }
}

/* As room in host memory, on the device. */
static clq_status make_device_copy(const struct clq_call *call, struct clq_param *param)
{
    const struct clq_backend *backend = call->context->backend;
    int64_t size_bytes;
    if (!clq_mul_i64(param->operand.count, 4, &size_bytes))
        return FAIL(CLQ_ERROR_OVERFLOW, "%s: %s has %lld values, whose size exceeds 2^63 - 1 bytes", call->name, param->operand.name,
                    (long long)param->operand.count);
    CLQ_TRY(backend->allocate(call->context, size_bytes, &param->device_copy));
    param->device = param->device_copy;
    param->data = NULL;
    return CLQ_OK;
}

/* Copies between the view and the contiguous copy of it that is on the device. */
static clq_status copy_on_device(clq_context *context, const struct clq_param *param, bool to_array)
{
    const clq_tensor *tensor = param->operand.tensor;
    clq_tensor dense = clq_tensor_host(tensor->dtype, NULL, tensor->rank, tensor->shape);
    struct clq_operand array = {.tensor = &dense, .device = param->device, .data = param->data, .count = param->operand.count, .contiguous = true};
    const struct clq_operand *in = to_array ? &param->operand : &array, *out = to_array ? &array : &param->operand;
    struct clq_op op, *ops = &op;
    clq_op_init(&op, CLQ_OP_CONVERT);
    clq_op_set_convert(&op, in, out);
    return clq_run(context, &ops, 1);
}

clq_status clq_param_room(const struct clq_call *call, struct clq_param *param)
{
    const struct clq_operand *operand = &param->operand;
    if (!operand->tensor) return CLQ_OK;
    param->device = operand->device;
    if (operand->count == 0) return CLQ_OK;
    if (operand->contiguous && (operand->device || (uintptr_t)operand->data % 4 == 0)) {
        param->data = operand->data;
    } else if (operand->device) {
        return make_device_copy(call, param);
    } else if (operand->count == 1) {
        param->data = &param->inline_value;
    } else {
        param->data = param->copy = clq_alloc(&call->context->allocator, operand->count, 4);
        if (!param->copy)
            return FAIL(CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory for a copy of %s, %lld values", call->name, operand->name, (long long)operand->count);
    }
    return CLQ_OK;
}

clq_status clq_param_load(const struct clq_call *call, struct clq_param *param)
{
    CLQ_TRY(clq_param_room(call, param));
    if (!param->operand.tensor || param->operand.count == 0 || clq_param_is_view(param)) return CLQ_OK;
    if (param->device) return copy_on_device(call->context, param, true);
    copy_values(&param->operand, param->data, true);
    return CLQ_OK;
}

clq_status clq_param_store(clq_context *context, struct clq_param *param)
{
    if (!param->operand.tensor || param->operand.count == 0 || clq_param_is_view(param)) return CLQ_OK;
    if (param->device) return copy_on_device(context, param, false);
    copy_values(&param->operand, param->data, false);
    return CLQ_OK;
}

void clq_param_free(clq_context *context, struct clq_param *param)
{
    clq_dealloc(&context->allocator, param->copy);
    param->copy = NULL;
    clq_release(context, param->device_copy);
    param->device_copy = NULL;
}

clq_status clq_param_fetch(const struct clq_call *call, struct clq_param *param)
{
    struct clq_operand from = param->operand, to = param->operand;
    clq_tensor dense;
    struct clq_op op, *ops = &op;
    if (!param->operand.tensor || !param->device || from.count == 0) return CLQ_OK;
    param->copy = clq_alloc(&call->context->allocator, from.count, 4);
    if (!param->copy)
        return FAIL(CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory for a copy of %s, %lld values", call->name, from.name, (long long)from.count);
    dense = clq_tensor_host(from.tensor->dtype, NULL, from.tensor->rank, from.tensor->shape);
    from.device = param->device;
    from.data = param->data;
    to.device = NULL;
    to.data = param->copy;
    from.tensor = to.tensor = &dense;
    from.contiguous = to.contiguous = true;
    clq_op_init(&op, CLQ_OP_CONVERT);
    clq_op_set_convert(&op, &from, &to);
    CLQ_TRY(clq_run(call->context, &ops, 1));
    param->device = NULL;
    param->data = param->copy;
    return CLQ_OK;
}

/* Writes "scale[2][0]" for the parameter number `at`. */
static void name_element(const struct clq_operand *operand, int64_t at, char *text, size_t size_bytes)
{
    const clq_tensor *tensor = operand->tensor;
    int64_t index[CLQ_MAX_RANK];
    size_t n;
    for (int32_t k = tensor->rank - 1; k >= 0; --k) {
        index[k] = at % tensor->shape[k];
        at /= tensor->shape[k];
    }
    n = (size_t)snprintf(text, size_bytes, "%s", operand->name);
    for (int32_t k = 0; k < tensor->rank && n < size_bytes; ++k)
        n += (size_t)snprintf(text + n, size_bytes - n, "[%lld]", (long long)index[k]);
}

/* The first of n integers outside [least, greatest], n if there is none. One of the two differences is negative then, also where the other overflows. */
static int64_t find_outside(const void *integers, int64_t n, uint32_t least, uint32_t greatest)
{
    const uint32_t sign = 0x80000000u;
    uint32_t differences = 0, value;
    for (int64_t i = 0; i < n; ++i) {
        memcpy(&value, (const char *)integers + 4 * i, sizeof value);
        differences |= (value - least) | (greatest - value);
    }
    if (!(differences & sign)) return n;
    for (int64_t i = 0;; ++i) {
        memcpy(&value, (const char *)integers + 4 * i, sizeof value);
        if (((value - least) | (greatest - value)) & sign) return i;
    }
}

static clq_status refuse_scale(const struct clq_call *call, const struct clq_param *param, int64_t i)
{
    const float *scale = param->data;
    const clq_fp_mode mode = clq_fp_mode_enter(); /* it may be a NaN */
    char name[256];
    name_element(&param->operand, i, name, sizeof name);
    FAIL(CLQ_ERROR_PARAMETER, "%s: %s = %g, must be 2^-100 to 2^100", call->name, name, (double)scale[i]);
    clq_fp_mode_leave(mode);
    return CLQ_ERROR_PARAMETER;
}

/* In a range of positive floats the bits are ordered as the values, and NaN and negative values lie outside. */
static clq_status check_scales(const struct clq_call *call, const struct clq_param *param)
{
    const int64_t i = find_outside(param->data, param->operand.count, CLQM_SCALE_MIN_BITS, CLQM_SCALE_MAX_BITS);
    return i < param->operand.count ? refuse_scale(call, param, i) : CLQ_OK;
}

static clq_status check_zero_points(const struct clq_call *call, const struct clq_param *param, int32_t least, int32_t greatest)
{
    const int64_t i = find_outside(param->data, param->operand.count, (uint32_t)least, (uint32_t)greatest);
    char name[256];
    if (i == param->operand.count) return CLQ_OK;
    name_element(&param->operand, i, name, sizeof name);
    return FAIL(CLQ_ERROR_PARAMETER, "%s: %s = %d, must be %d to %d", call->name, name, (int)((const int32_t *)param->data)[i], (int)least, (int)greatest);
}

/* What a zero point may be. */
static void get_bounds(const struct clq_scheme_info *info, int32_t *least, int32_t *greatest)
{
    *least = info->fixed_zero_point ? info->zero_point : info->qmin;
    *greatest = info->fixed_zero_point ? info->zero_point : info->qmax;
}

clq_status clq_check_qparams(const struct clq_call *call, const struct clq_scheme_info *info, const struct clq_param *scale,
                             const struct clq_param *zero_point)
{
    int32_t least, greatest;
    if (!scale->device) CLQ_TRY(check_scales(call, scale));
    get_bounds(info, &least, &greatest);
    return zero_point->operand.tensor && !zero_point->device ? check_zero_points(call, zero_point, least, greatest) : CLQ_OK;
}

clq_status clq_load_qparams(const struct clq_call *call, const clq_qparams *params, const struct clq_scheme_info *info, struct clq_param *scale,
                            struct clq_param *zero_point)
{
    int32_t least, greatest;
    get_bounds(info, &least, &greatest);
    CLQ_TRY(clq_check_param(call, "scale", &params->scale, CLQ_F32, info, scale));
    if (params->zero_point.dtype != CLQ_DTYPE_NONE) {
        CLQ_TRY(clq_check_param(call, "zero_point", &params->zero_point, CLQ_S32, info, zero_point));
    } else if (info->zero_point < least || info->zero_point > greatest) {
        return FAIL(CLQ_ERROR_PARAMETER, "%s: zero_point is absent, which means 0, must be %d to %d", call->name, (int)least, (int)greatest);
    }
    CLQ_TRY(clq_param_load(call, scale));
    if (zero_point->operand.tensor) CLQ_TRY(clq_param_load(call, zero_point));
    return clq_check_qparams(call, info, scale, zero_point);
}
