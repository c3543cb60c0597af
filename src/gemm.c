/* SPDX-License-Identifier: MIT */
/* clq_gemm(), clq_packed_create(), clq_packed_free(). */
#include "config.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#include "base/util.h"
#include "qparams.h"
#include <math.h>
#include <string.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

#define DTYPES_8BIT (CLQ_DTYPES(CLQ_S8) | CLQ_DTYPES(CLQ_U8))

/* An operand as a stack of matrices. */
struct stack {
    struct clq_operand operand;
    int64_t batch, rows, cols;
    bool is_batched; /* of rank 3 */
    struct clq_matrix matrix;
};

static clq_status check_stack(const struct clq_call *call, const char *name, const clq_tensor *tensor, uint32_t dtypes, struct stack *stack)
{
    const int64_t *shape, *strides;
    CLQ_TRY(clq_check_tensor(call, name, tensor, dtypes, &stack->operand));
    if (tensor->rank < 2 || tensor->rank > 3)
        return FAIL(CLQ_ERROR_SHAPE, "%s: %s.rank = %d, must be 2 or 3", call->name, name, (int)tensor->rank);
    shape = tensor->shape + tensor->rank - 2;
    strides = tensor->strides + tensor->rank - 2;
    if (shape[0] > 1 && shape[1] > 1 && strides[0] != 1 && strides[1] != 1)
        return FAIL(CLQ_ERROR_SHAPE, "%s: %s has the strides %lld and %lld, one of them must be 1", call->name, name, (long long)strides[0],
                    (long long)strides[1]);
    stack->is_batched = tensor->rank == 3;
    stack->batch = stack->is_batched ? tensor->shape[0] : 1;
    stack->rows = shape[0];
    stack->cols = shape[1];
    stack->matrix = (struct clq_matrix){.dtype = tensor->dtype,
                                        .device = stack->operand.device,
                                        .data = stack->operand.data,
                                        .batch_stride = stack->is_batched ? tensor->strides[0] : 0,
                                        .row_stride = strides[0],
                                        .col_stride = shape[1] > 1 ? strides[1] : 1};
    if (shape[0] <= 1 && stack->matrix.col_stride != 1) stack->matrix.row_stride = 1;
    return CLQ_OK;
}

static clq_status check_equal(const struct clq_call *call, const char *name, int64_t value, const char *other, int64_t bound)
{
    if (value == bound) return CLQ_OK;
    return FAIL(CLQ_ERROR_SHAPE, "%s: %s = %lld, must be that of %s, %lld", call->name, name, (long long)value, other, (long long)bound);
}

/* ------------------------------------------------------------------------------------------------ parameters */

/* A side's scheme and values: per tensor or, unless it is -1, along `axis`. */
struct side {
    struct clq_call call; /* names the parameters in error texts */
    const clq_tensor *tensor;
    int32_t axis;
    const char *axis_name;
    struct clq_param *scale, *zero_point; /* of the task */
    struct clq_scheme_info info;
};

static clq_status load_side(struct side *side, const clq_qparams *params, bool needs_scale)
{
    static const float one = 1.0f;
    const struct clq_call *call = &side->call;
    const clq_scheme *scheme = &params->scheme;
    clq_qparams loaded = *params;
    CLQ_TRY(clq_check_scheme(call, scheme, &side->info));
    if (scheme->dtype != side->tensor->dtype)
        return FAIL(CLQ_ERROR_DTYPE, "%s: scheme.dtype = %s, must be that of the matrix, %s", call->name, clq_dtype_name(scheme->dtype),
                    clq_dtype_name(side->tensor->dtype));
    CLQ_TRY(clq_fit_scheme(call, side->tensor, "the matrix", &side->info));
    if (scheme->granularity != CLQ_PER_TENSOR && (scheme->granularity != CLQ_PER_CHANNEL || side->info.scheme.axis != side->axis))
        return FAIL(CLQ_ERROR_SHAPE, "%s: granularity = %d, axis = %d, must be per tensor%s%s", call->name, (int)scheme->granularity, (int)scheme->axis,
                    side->axis_name ? " or per channel along " : "", side->axis_name ? side->axis_name : "");
    if (!needs_scale && params->scale.dtype == CLQ_DTYPE_NONE) { /* ones: strides are 0 */
        loaded.scale = (clq_tensor){.dtype = CLQ_F32, .rank = side->info.param_rank, .data = (void *)(uintptr_t)&one};
        memcpy(loaded.scale.shape, side->info.param_shape, sizeof loaded.scale.shape);
    }
    CLQ_TRY(clq_load_qparams(call, &loaded, &side->info, side->scale, side->zero_point));
    /* A batch keeps the caller's views. */
    side->scale->operand.tensor = params->scale.dtype != CLQ_DTYPE_NONE ? &params->scale : NULL;
    if (side->zero_point->operand.tensor) side->zero_point->operand.tensor = &params->zero_point;
    return CLQ_OK;
}

static void set_params(struct clq_gemm_params *target, const struct side *side, const clq_qparams *params)
{
    static const float one = 1.0f;
    *target = (struct clq_gemm_params){.scale = &one, .is_single = true};
    if (!params) return;
    target->scale = side->scale->data;
    target->scale_device = side->scale->device;
    target->zero_point = side->zero_point->data;
    target->zero_point_device = side->zero_point->device;
    target->fixed_zero_point = side->info.zero_point;
    target->is_single = side->info.scheme.granularity == CLQ_PER_TENSOR;
}

/* Some zero point of `lines` is not 0, for all that is known. */
static bool has_zero_point(const struct clq_gemm_params *params, int64_t lines)
{
    if (params->zero_point_device) return true;
    if (!params->zero_point) return params->fixed_zero_point != 0;
    for (int64_t i = 0; i < (params->is_single ? 1 : lines); ++i)
        if (params->zero_point[i] != 0) return true;
    return false;
}

/* Largest magnitude of an element less its zero point. */
static int64_t find_magnitude(clq_dtype dtype, bool has_zero_point)
{
    return dtype == CLQ_U8 || has_zero_point ? 255 : 128;
}

static clq_status check_depth(const struct clq_call *call, const struct clq_gemm *gemm)
{
    const int64_t a = find_magnitude(gemm->a.dtype, has_zero_point(&gemm->a_params, gemm->m));
    const int64_t bound = INT32_MAX / (a * find_magnitude(gemm->b.dtype, has_zero_point(&gemm->b_params, gemm->n)));
    if (gemm->k <= bound) return CLQ_OK;
    return FAIL(CLQ_ERROR_SHAPE, "%s: K = %lld, at most %lld: sums could overflow (see allow_wrap)", call->name, (long long)gemm->k, (long long)bound);
}

/* ------------------------------------------------------------------------------------------------ the call */

static clq_status check_clamp(const struct clq_call *call, const clq_gemm_args *args)
{
    const clq_fp_mode mode = clq_fp_mode_enter(); /* bounds may be denormals or NaN */
    clq_status status = CLQ_OK;
    if (!(args->clamp_min <= args->clamp_max))
        status = FAIL(CLQ_ERROR_PARAMETER, "%s: clamp_min = %g, must be at most clamp_max, %g", call->name, (double)args->clamp_min, (double)args->clamp_max);
    clq_fp_mode_leave(mode);
    return status;
}

static clq_status check_presence(const struct clq_call *call, const clq_gemm_args *args)
{
    const bool is_f32 = args && args->a && args->a->dtype == CLQ_F32;
    if (!args) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: args is NULL", call->name);
    if (!args->b == !args->packed_b)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: b and packed_b are both %s, one of them must be", call->name, args->b ? "there" : "NULL");
    if (is_f32 && (args->a_params || args->b_params || args->packed_b))
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: %s is not NULL, but a is f32", call->name,
                    args->a_params ? "a_params" : args->b_params ? "b_params" : "packed_b");
    if ((uint32_t)args->activation > CLQ_ACTIVATION_CLAMP)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: activation = %d, must be 0 to %d", call->name, (int)args->activation, CLQ_ACTIVATION_CLAMP);
    return args->activation == CLQ_ACTIVATION_CLAMP ? check_clamp(call, args) : CLQ_OK;
}

/* What the dtype of C asks for. */
static clq_status check_epilogue(const struct clq_call *call, const clq_gemm_args *args)
{
    const clq_dtype dtype = args->c->dtype;
    const bool is_8bit = dtype == CLQ_S8 || dtype == CLQ_U8;
    if (args->a->dtype == CLQ_F32 && dtype != CLQ_F32)
        return FAIL(CLQ_ERROR_DTYPE, "%s: c.dtype = %s, must be f32 as a is", call->name, clq_dtype_name(dtype));
    if (args->activation != CLQ_ACTIVATION_NONE && dtype != CLQ_F32)
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: activation = %d, must be 0 as c is %s", call->name, (int)args->activation, clq_dtype_name(dtype));
    if (is_8bit != (args->c_params != NULL))
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: c_params is %s, but c is %s", call->name, args->c_params ? "not NULL" : "NULL", clq_dtype_name(dtype));
    return CLQ_OK;
}

static clq_status load_bias(const struct clq_call *call, const clq_gemm_args *args, int64_t n, struct clq_param *bias)
{
    const struct clq_scheme_info shape = {.scheme.granularity = CLQ_PER_CHANNEL, .param_rank = 1, .param_shape = {n}, .param_count = n};
    if (!args->bias) return CLQ_OK;
    CLQ_TRY(clq_check_param(call, "bias", args->bias, args->c->dtype == CLQ_F32 ? CLQ_F32 : CLQ_S32, &shape, bias));
    return clq_param_load(call, bias);
}

/* B, or a tensor that stands for packed weights where only shapes matter. */
static clq_status check_b(const struct clq_call *call, const clq_gemm_args *args, struct stack *b, clq_tensor *shape)
{
    const clq_packed *packed = args->packed_b;
    const uint32_t dtypes = args->a->dtype == CLQ_F32 ? CLQ_DTYPES(CLQ_F32) : DTYPES_8BIT;
    if (!packed) {
        CLQ_TRY(check_stack(call, "b", args->b, dtypes, b));
        *shape = *args->b;
        return CLQ_OK;
    }
    if (packed->backend != call->context->backend || !packed->backend->accepts(call->context, packed))
        return FAIL(CLQ_ERROR_CONTEXT, "%s: packed_b was packed for %s", call->name,
                    packed->backend != call->context->backend ? "another kind of device than this context's"
                    : packed->backend == &clq_backend_cpu     ? "kernels of another instruction set than this context's"
                                                              : "another OpenCL context than this one's");
    *b = (struct stack){.batch = packed->batch, .rows = packed->k, .cols = packed->n, .is_batched = packed->rank == 3, .matrix.dtype = packed->dtype};
    *shape = packed->rank == 3 ? clq_tensor_host(packed->dtype, NULL, 3, (const int64_t[]){packed->batch, packed->k, packed->n})
                               : clq_tensor_host(packed->dtype, NULL, 2, (const int64_t[]){packed->k, packed->n});
    return CLQ_OK;
}

static clq_status check_shapes(const struct clq_call *call, const struct stack *a, const struct stack *b, const struct stack *c)
{
    CLQ_TRY(check_equal(call, "K of B", b->rows, "a", a->cols));
    CLQ_TRY(check_equal(call, "M of c", c->rows, "a", a->rows));
    CLQ_TRY(check_equal(call, "N of c", c->cols, "B", b->cols));
    if (a->is_batched) CLQ_TRY(check_equal(call, "the batch of c", c->batch, "a", a->batch));
    if (b->is_batched) CLQ_TRY(check_equal(call, "the batch of c", c->batch, "B", b->batch));
    return CLQ_OK;
}

/* A call: its operands, and their parameters. */
struct product {
    struct stack a, b, c;
    clq_tensor b_shape;
    struct side a_side, b_side, c_side;
    struct clq_param *bias;
};

static void set_up(const struct clq_call *call, struct clq_task *task, struct product *product)
{
    product->a_side = (struct side){.call = {call->context, "clq_gemm: a_params"}, .axis_name = "the axis of M"};
    product->b_side = (struct side){.call = {call->context, "clq_gemm: b_params"}, .axis_name = "the axis of N"};
    product->c_side = (struct side){.call = {call->context, "clq_gemm: c_params"}, .axis = -1};
    product->bias = clq_task_param(task, false);
    for (int i = 0; i < 3; ++i) {
        struct side *side = i == 0 ? &product->a_side : i == 1 ? &product->b_side : &product->c_side;
        side->scale = clq_task_param(task, false);
        side->zero_point = clq_task_param(task, false);
    }
}

static clq_status check_operands(const struct clq_call *call, const clq_gemm_args *args, struct product *product)
{
    CLQ_TRY(check_presence(call, args));
    CLQ_TRY(check_stack(call, "a", args->a, DTYPES_8BIT | CLQ_DTYPES(CLQ_F32), &product->a));
    CLQ_TRY(check_b(call, args, &product->b, &product->b_shape));
    CLQ_TRY(check_stack(call, "c", args->c, DTYPES_8BIT | CLQ_DTYPES(CLQ_S32) | CLQ_DTYPES(CLQ_F32), &product->c));
    CLQ_TRY(check_epilogue(call, args));
    CLQ_TRY(check_shapes(call, &product->a, &product->b, &product->c));
    CLQ_TRY(clq_check_output(call, &product->c.operand));
    CLQ_TRY(clq_check_disjoint(call, &product->c.operand, &product->a.operand));
    return clq_check_disjoint(call, &product->c.operand, &product->b.operand);
}

static clq_status load_values(const struct clq_call *call, const clq_gemm_args *args, struct product *product)
{
    struct side *const a = &product->a_side, *const b = &product->b_side, *const c = &product->c_side;
    const struct clq_operand *const inputs[] = {&a->scale->operand,      &a->zero_point->operand, &b->scale->operand,      &b->zero_point->operand,
                                                &c->scale->operand,      &c->zero_point->operand, &product->bias->operand};
    const bool needs_scale = args->c->dtype != CLQ_S32;
    a->tensor = args->a;
    a->axis = args->a->rank - 2;
    b->tensor = &product->b_shape;
    b->axis = product->b_shape.rank - 1;
    c->tensor = args->c;
    if (args->a_params) CLQ_TRY(load_side(a, args->a_params, needs_scale));
    if (args->b_params) CLQ_TRY(load_side(b, args->b_params, needs_scale));
    if (args->c_params) CLQ_TRY(load_side(c, args->c_params, true));
    CLQ_TRY(load_bias(call, args, product->c.cols, product->bias));
    return clq_check_outputs(call, (const struct clq_operand *[]){&product->c.operand}, 1, inputs, sizeof inputs / sizeof inputs[0]);
}

static void set_epilogue(struct clq_gemm *gemm, const clq_gemm_args *args, const struct product *product)
{
    gemm->bias = product->bias->data;
    gemm->bias_device = product->bias->device;
    gemm->relu = args->activation == CLQ_ACTIVATION_RELU;
    gemm->low = args->activation == CLQ_ACTIVATION_CLAMP ? args->clamp_min : -INFINITY;
    gemm->high = args->activation == CLQ_ACTIVATION_CLAMP ? args->clamp_max : INFINITY;
    if (!args->c_params) return;
    set_params(&gemm->c_params, &product->c_side, args->c_params);
    gemm->qmin = product->c_side.info.qmin;
    gemm->qmax = product->c_side.info.qmax;
}

static clq_status prepare(const struct clq_call *call, struct clq_task *task, const clq_gemm_args *args)
{
    struct clq_gemm *const gemm = &task->gemm;
    struct product product;
    struct clq_op *op;
    set_up(call, task, &product);
    CLQ_TRY(check_operands(call, args, &product));
    CLQ_TRY(load_values(call, args, &product));
    *gemm = (struct clq_gemm){.batch = product.c.batch, .m = product.c.rows, .n = product.c.cols, .k = product.a.cols,
                              .a = product.a.matrix, .b = product.b.matrix, .c = product.c.matrix, .packed = args->packed_b};
    set_params(&gemm->a_params, &product.a_side, args->a_params);
    set_params(&gemm->b_params, &product.b_side, args->b_params);
    set_epilogue(gemm, args, &product);
    if (args->a->dtype != CLQ_F32 && !args->allow_wrap) CLQ_TRY(check_depth(call, gemm));
    if (product.c.operand.count == 0) return CLQ_OK;
    op = clq_task_op(task, CLQ_OP_GEMM);
    op->count = product.c.operand.count;
    op->gemm = gemm;
    return CLQ_OK;
}

clq_status clq_gemm(clq_context *context, const clq_gemm_args *args)
{
    const struct clq_call self = {context, "clq_gemm"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare(call, task, args));
}

/* ------------------------------------------------------------------------------------------------ packed weights */

clq_status clq_packed_create(clq_context *context, const clq_tensor *b, clq_packed **packed)
{
    const struct clq_call self = {context, "clq_packed_create"}, *call = &self;
    struct stack stack;
    clq_packed *made;
    clq_status status;
    if (packed) *packed = NULL;
    CLQ_TRY(clq_check_call(call));
    if (!packed) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_packed_create: packed is NULL");
    CLQ_TRY(check_stack(call, "b", b, DTYPES_8BIT, &stack));
    made = clq_alloc(&context->allocator, 1, sizeof *made);
    if (!made) return FAIL(CLQ_ERROR_OUT_OF_MEMORY, "clq_packed_create: no memory for packed weights");
    *made = (clq_packed){.backend = context->backend, .allocator = context->allocator, .dtype = b->dtype, .rank = b->rank, .batch = stack.batch,
                         .k = stack.rows, .n = stack.cols};
    status = made->backend->pack(context, &stack.matrix, made);
    if (status != CLQ_OK) {
        clq_packed_free(made);
        return status;
    }
    *packed = made;
    return CLQ_OK;
}

void clq_packed_free(clq_packed *packed)
{
    clq_allocator allocator;
    if (!packed) return;
    packed->backend->unpack(packed);
    allocator = packed->allocator; /* the copy goes with them */
    clq_dealloc(&allocator, packed);
}
