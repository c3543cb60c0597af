/* SPDX-License-Identifier: MIT */
/*
 * Every operation on tiny tensors of ragged sizes, on the first OpenCL device and on the CPU: the same bits (of sums the same but for rounding), or exit
 * status 1. For tests/oclgrind.sh, under which the device watches each access. Buffers are as large as their tensors, to the byte.
 *
 *   tests/oclgrind_shapes [most]     tensors of up to so many elements; else 9000
 */
#include <clquant.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clq_context *device, *cpu;
static long cases, failures;

static void fail(const char *what, const char *text)
{
    fprintf(stderr, "oclgrind_shapes: %s: %s\n", what, text);
    exit(1);
}

static void ok(clq_context *context, clq_status status, const char *what)
{
    if (status != CLQ_OK) fail(what, clq_context_error(context));
}

static uint64_t random_state = 1;

static uint32_t random_bits(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33);
}

/* ------------------------------------------------------------------------------------------------ operands */

/* Memory of a tensor, and what of it the tensor is. */
struct operand {
    clq_tensor view;
    int64_t elements;
    void *copy; /* contents before the call */
};

enum layout { CONTIGUOUS, TRANSPOSED, STEPPED, LAYOUTS };

static size_t size_of(const struct operand *operand)
{
    return (size_t)((operand->elements * clq_dtype_bits(operand->view.dtype) + 7) / 8);
}

static struct operand make(clq_dtype dtype, int32_t rank, const int64_t *shape, enum layout layout)
{
    struct operand operand = {.view = clq_tensor_host(dtype, NULL, rank, shape), .elements = 1};
    int64_t step = layout == STEPPED ? 2 : 1;
    for (int32_t i = 0; i < rank; i++) {
        const int32_t axis = layout == TRANSPOSED ? i : rank - 1 - i;
        operand.view.strides[axis] = step;
        step *= shape[axis];
    }
    for (int32_t i = 0; i < rank; i++)
        operand.elements += (shape[i] - 1) * operand.view.strides[i];
    if (layout == STEPPED) {
        operand.view.offset = 3;
        operand.elements += 3;
    }
    operand.view.data = calloc(1, size_of(&operand));
    operand.copy = calloc(1, size_of(&operand));
    if (!operand.view.data || !operand.copy) fail("calloc", "no memory");
    memset(operand.view.data, 0xa5, size_of(&operand));
    if (dtype == CLQ_S4 || dtype == CLQ_U4) /* the spare nibble is written as 0 */
        memset(operand.view.data, 0, size_of(&operand));
    memcpy(operand.copy, operand.view.data, size_of(&operand));
    return operand;
}

static void drop(struct operand *operand)
{
    free(operand->view.data);
    free(operand->copy);
}

static clq_tensor whole(const struct operand *operand, clq_buffer *buffer)
{
    const int64_t shape[] = {operand->elements};
    return buffer ? clq_tensor_buffer(operand->view.dtype, buffer, 0, 1, shape) : clq_tensor_host(operand->view.dtype, operand->view.data, 1, shape);
}

/* ------------------------------------------------------------------------------------------------ running */

enum { OPERANDS = 8 };
enum operation { MINMAX, RANGE, CHOOSE, QUANTIZE, DEQUANTIZE, CONVERT, COMPARE, DYNAMIC, REQUANTIZE, FAKE, BACKWARD, BACKWARD_MASK, LEARNABLE, OBSERVE, GEMM,
                 GEMM_PACKED, OPERATIONS };
static const char *const names[OPERATIONS] = {"minmax", "qparams_from_range", "choose_qparams", "quantize", "dequantize", "convert", "error_stats",
                                              "dynamic_quantize", "requantize", "fake_quantize", "backward", "backward by mask", "backward_learnable",
                                              "observe_fake_quantize", "gemm", "gemm with packed weights"};

struct call {
    enum operation operation;
    clq_scheme scheme;
    struct operand *operand[OPERANDS]; /* in the order of perform(); NULL: absent */
    int outputs_from;                  /* the first that is written */
    clq_error_stats stats;
};

/* A, B, bias, scale and zero point of A, of B, and C, whose parameters are A's if it has any. */
static clq_status multiply(clq_context *context, const clq_tensor *t, bool is_packed)
{
    const bool is_8bit = t[7].dtype == CLQ_S8 || t[7].dtype == CLQ_U8, is_by_channel = t[5].rank == 1;
    const clq_qparams a = {{.dtype = t[0].dtype}, t[3], t[4]}, c = {{.dtype = t[7].dtype}, t[3], t[4]};
    const clq_qparams b = {{.dtype = t[1].dtype, .granularity = is_by_channel ? CLQ_PER_CHANNEL : CLQ_PER_TENSOR, .axis = is_by_channel}, t[5], t[6]};
    clq_packed *packed = NULL;
    clq_status status = is_packed ? clq_packed_create(context, &t[1], &packed) : CLQ_OK;
    const clq_gemm_args args = {.a = &t[0], .b = is_packed ? NULL : &t[1], .packed_b = packed, .c = &t[7], .bias = t[2].dtype ? &t[2] : NULL,
                                .a_params = t[3].dtype ? &a : NULL, .b_params = t[5].dtype ? &b : NULL, .c_params = is_8bit ? &c : NULL};
    if (status == CLQ_OK) status = clq_gemm(context, &args);
    clq_packed_free(packed);
    return status;
}

static clq_status perform(clq_context *context, struct call *call, const clq_tensor *t)
{
    const clq_tensor *const counts = t[4].dtype != CLQ_DTYPE_NONE ? &t[4] : NULL;
    const clq_qparams first = {call->scheme, t[0], t[1]}, second = {call->scheme, t[1], t[2]}, third = {call->scheme, t[2], t[3]};
    const clq_qparams target = {{.dtype = t[5].dtype}, t[3], t[4]}, observed = {call->scheme, t[5], t[6]};
    switch (call->operation) {
    case MINMAX: return clq_minmax(context, &t[0], &call->scheme, &t[1], &t[2], counts);
    case RANGE: return clq_qparams_from_range(context, &t[0], &t[1], &third);
    case CHOOSE: return clq_choose_qparams(context, &t[0], &second);
    case QUANTIZE: return clq_quantize(context, &t[2], &first, &t[3], counts);
    case DEQUANTIZE: return clq_dequantize(context, &t[2], &first, &t[3]);
    case CONVERT: return clq_convert(context, &t[0], &t[1]);
    case DYNAMIC: return clq_dynamic_quantize(context, &t[0], &second, &t[3], counts);
    case REQUANTIZE: return clq_requantize(context, &t[2], &first, &target, &t[5]);
    case FAKE: return clq_fake_quantize(context, &t[2], &first, &t[3], &t[5], counts);
    case BACKWARD: return clq_fake_quantize_backward(context, &t[3], &t[2], &first, NULL, &t[4]);
    case BACKWARD_MASK: return clq_fake_quantize_backward(context, &t[1], NULL, NULL, &t[0], &t[2]);
    case LEARNABLE:
        return clq_fake_quantize_backward_learnable(context, &t[3], &t[2], &first, 0.5f, &t[4], &t[5], t[6].dtype != CLQ_DTYPE_NONE ? &t[6] : NULL);
    case GEMM:
    case GEMM_PACKED: return multiply(context, t, call->operation == GEMM_PACKED);
    case OBSERVE: return clq_observe_fake_quantize(context, &t[0], 0.25f, &t[1], &t[2], &observed, &t[3], &t[7], counts);
    default: return clq_compute_error_stats(context, &t[2], &t[3], &first, &call->stats);
    }
}

static void run(clq_context *context, struct call *call, bool in_buffers)
{
    clq_tensor views[OPERANDS];
    clq_buffer *buffers[OPERANDS] = {NULL};
    memset(views, 0, sizeof views);
    for (int i = 0; i < OPERANDS; i++) {
        struct operand *const operand = call->operand[i];
        if (!operand) continue;
        views[i] = operand->view;
        if (!in_buffers) continue;
        ok(context, clq_buffer_create(context, (int64_t)size_of(operand), &buffers[i]), "clq_buffer_create");
        const clq_tensor from = whole(operand, NULL), to = whole(operand, buffers[i]);
        ok(context, clq_convert(context, &from, &to), "clq_convert to a buffer");
        views[i].memory = CLQ_MEMORY_BUFFER;
        views[i].data = buffers[i];
    }
    ok(context, perform(context, call, views), names[call->operation]);
    for (int i = 0; i < OPERANDS; i++) {
        if (!buffers[i]) continue;
        const clq_tensor from = whole(call->operand[i], buffers[i]), to = whole(call->operand[i], NULL);
        ok(context, clq_convert(context, &from, &to), "clq_convert from a buffer");
        clq_buffer_free(buffers[i]);
    }
}

static bool is_near(double a, double b)
{
    return a == b || fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

static bool is_same(const clq_error_stats *a, const clq_error_stats *b)
{
    return a->count == b->count && a->nan_count == b->nan_count && a->inf_count == b->inf_count && a->clipped_count == b->clipped_count &&
           a->max_error == b->max_error && is_near(a->sum_squared_error, b->sum_squared_error) && is_near(a->sum_absolute_error, b->sum_absolute_error) &&
           is_near(a->sum_squared_x, b->sum_squared_x) && is_near(a->sum_squared_y, b->sum_squared_y);
}

static void restore(struct call *call)
{
    for (int i = call->outputs_from; i < OPERANDS; i++)
        if (call->operand[i]) memcpy(call->operand[i]->view.data, call->operand[i]->copy, size_of(call->operand[i]));
}

/* Sums of gradients may differ in their rounding. */
static bool is_same_output(const struct call *call, int i, const void *expected)
{
    const struct operand *operand = call->operand[i];
    const float *a = expected, *b = operand->view.data;
    if (call->operation != LEARNABLE || i == 4) return memcmp(a, b, size_of(operand)) == 0;
    for (int64_t k = 0; k < operand->elements; k++)
        if (!(a[k] == b[k] || (isnan(a[k]) && isnan(b[k])) || fabsf(a[k] - b[k]) <= 1e-5f * fmaxf(fabsf(a[k]), 100))) return false;
    return true;
}

/* On the CPU, whose results stay, and on the device in both memories. */
static void check(struct call *call)
{
    void *results[OPERANDS] = {NULL};
    clq_error_stats stats;
    call->stats = (clq_error_stats){0};
    restore(call);
    run(cpu, call, false);
    stats = call->stats;
    for (int i = call->outputs_from; i < OPERANDS; i++) {
        if (!call->operand[i]) continue;
        results[i] = malloc(size_of(call->operand[i]));
        if (!results[i]) fail("malloc", "no memory");
        memcpy(results[i], call->operand[i]->view.data, size_of(call->operand[i]));
    }
    /* Host matrices of f32 would be CLBlast's, whose kernels Oclgrind does not run. */
    for (int in_buffers = call->operation == GEMM && call->operand[0]->view.dtype == CLQ_F32; in_buffers < 2; in_buffers++) {
        bool same = true;
        restore(call);
        run(device, call, in_buffers != 0);
        for (int i = call->outputs_from; i < OPERANDS; i++)
            same = same && (!call->operand[i] || is_same_output(call, i, results[i]));
        same = same && is_same(&stats, &call->stats);
        cases++;
        if (same) continue;
        failures++;
        fprintf(stderr, "oclgrind_shapes: %s in %s memory differs: %lld elements, granularity %d, axis %d, group %lld\n", names[call->operation],
                in_buffers ? "device" : "host", (long long)call->operand[0]->elements, (int)call->scheme.granularity, (int)call->scheme.axis,
                (long long)call->scheme.group_size);
    }
    for (int i = 0; i < OPERANDS; i++)
        free(results[i]);
}

/* ------------------------------------------------------------------------------------------------ what to run */

static void fill(struct operand *operand)
{
    const int64_t shape[] = {operand->elements};
    float *values = malloc((size_t)operand->elements * sizeof *values);
    if (!values) fail("malloc", "no memory");
    for (int64_t i = 0; i < operand->elements; i++) {
        const uint32_t bits = random_bits();
        values[i] = ((float)(bits % 20001) - 10000.0f) / 1024.0f;
        if (bits % 61 == 0) values[i] = bits % 2 ? INFINITY : -1e-40f;
    }
    const clq_tensor from = clq_tensor_host(CLQ_F32, values, 1, shape), to = whole(operand, NULL);
    ok(cpu, clq_convert(cpu, &from, &to), "clq_convert");
    free(values);
}

static void all_operations(clq_dtype x_dtype, clq_dtype q_dtype, int32_t rank, const int64_t *shape, enum layout layout, const clq_scheme *scheme)
{
    static const int64_t three[] = {3};
    static int turn;
    const enum layout q_layout = clq_dtype_bits(q_dtype) < 8 ? CONTIGUOUS : layout;
    int64_t param_shape[CLQ_MAX_RANK];
    int32_t param_rank;
    struct operand x = make(x_dtype, rank, shape, layout), q = make(q_dtype, rank, shape, q_layout);
    struct operand y = make(x_dtype == CLQ_F16 ? CLQ_F32 : CLQ_F16, rank, shape, CONTIGUOUS), copy = make(q_dtype, rank, shape, CONTIGUOUS);
    struct operand back = make(x_dtype, rank, shape, layout), counts = make(CLQ_S64, 1, three, CONTIGUOUS);
    ok(cpu, clq_scheme_shape(cpu, scheme, &x.view, &param_rank, param_shape), "clq_scheme_shape");
    struct operand lo = make(CLQ_F32, param_rank, param_shape, CONTIGUOUS), hi = make(CLQ_F32, param_rank, param_shape, CONTIGUOUS);
    struct operand scale = make(CLQ_F32, param_rank, param_shape, CONTIGUOUS), zero = make(CLQ_S32, param_rank, param_shape, CONTIGUOUS);
    const int64_t mask_shape[] = {(y.elements + 7) / 8};
    struct operand mask = make(CLQ_U8, 1, mask_shape, CONTIGUOUS), dy = make(x_dtype, rank, shape, CONTIGUOUS), eight = make(CLQ_U8, rank, shape, q_layout);
    struct operand dscale = make(CLQ_F32, param_rank, param_shape, CONTIGUOUS), dzero = make(CLQ_F32, param_rank, param_shape, CONTIGUOUS);
    struct operand target_scale = make(CLQ_F32, 0, NULL, CONTIGUOUS), target_zero = make(CLQ_S32, 0, NULL, CONTIGUOUS);
    fill(&x);
    fill(&dy);
    *(float *)target_scale.view.data = 0.0625f;
    *(int32_t *)target_zero.view.data = 100;
    check(&(struct call){MINMAX, *scheme, {&x, &lo, &hi, NULL, &counts}, 1, {0}});
    check(&(struct call){RANGE, *scheme, {&lo, &hi, &scale, &zero, NULL}, 2, {0}});
    check(&(struct call){CHOOSE, *scheme, {&x, &scale, &zero, NULL, NULL}, 1, {0}});
    check(&(struct call){QUANTIZE, *scheme, {&scale, &zero, &x, &q, &counts}, 3, {0}});
    check(&(struct call){DEQUANTIZE, *scheme, {&scale, &zero, &q, &back, NULL}, 3, {0}});
    check(&(struct call){COMPARE, *scheme, {&scale, &zero, &x, &q, NULL}, OPERANDS, {0}});
    check(&(struct call){CONVERT, *scheme, {&x, &y, NULL, NULL, NULL}, 1, {0}});
    check(&(struct call){CONVERT, *scheme, {&q, &copy, NULL, NULL, NULL}, 1, {0}});
    check(&(struct call){DYNAMIC, *scheme, {&x, &scale, &zero, &q, &counts}, 1, {0}});
    if (clq_dtype_bits(q_dtype) <= 8) check(&(struct call){REQUANTIZE, *scheme, {&scale, &zero, &q, &target_scale, &target_zero, &eight}, 5, {0}});
    /* These are slow here. 7 is prime to the number of schemes, so all of them meet some shapes. */
    if (turn++ % 7 < 2 && y.elements <= 1300) {
        for (int64_t i = 0; i < scale.elements; i++)
            ((float *)scale.view.data)[i] *= 0.5f; /* so that some are outside */
        check(&(struct call){FAKE, *scheme, {&scale, &zero, &x, &back, &counts, &mask}, 3, {0}});
        check(&(struct call){BACKWARD_MASK, *scheme, {&mask, &dy, &back}, 2, {0}});
        check(&(struct call){BACKWARD, *scheme, {&scale, &zero, &x, &dy, &back}, 4, {0}});
        check(&(struct call){LEARNABLE, *scheme, {&scale, &zero, &x, &dy, &back, &dscale, scheme->symmetry == CLQ_ASYMMETRIC ? &dzero : NULL}, 4, {0}});
        for (int64_t i = 0; i < lo.elements; i++) { /* averages, every third empty */
            ((float *)lo.copy)[i] = i % 3 == 0 ? INFINITY : -2.0f;
            ((float *)hi.copy)[i] = i % 3 == 0 ? -INFINITY : 1.0f;
        }
        check(&(struct call){OBSERVE, *scheme, {&x, &lo, &hi, &back, &counts, &scale, &zero, &mask}, 1, {0}});
    }
    struct operand *const all[] = {&x,    &q,    &y,  &copy,  &back,   &counts, &lo,           &hi,         &scale,
                                   &zero, &mask, &dy, &eight, &dscale, &dzero,  &target_scale, &target_zero};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

static void all_schemes(clq_dtype x, clq_dtype q, int32_t rank, const int64_t *shape, enum layout layout)
{
    static const clq_scheme schemes[] = {
        {.granularity = CLQ_PER_TENSOR},
        {.granularity = CLQ_PER_CHANNEL, .axis = 0, .symmetry = CLQ_SYMMETRIC},
        {.granularity = CLQ_PER_CHANNEL, .axis = -1, .quotient = CLQ_RECIPROCAL},
        {.granularity = CLQ_PER_GROUP, .axis = -1, .group_size = 4},
        {.granularity = CLQ_PER_GROUP, .axis = -1, .group_size = 3, .symmetry = CLQ_POWER_OF_TWO},
        {.granularity = CLQ_PER_GROUP, .axis = 0, .group_size = 2},
    };
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        clq_scheme scheme = schemes[i];
        scheme.dtype = q;
        all_operations(x, q, rank, shape, layout, &scheme);
    }
}

/* Several tensors in one launch. */
static void batch(void)
{
    static const int64_t sizes[] = {1, 70, 5, 33};
    enum { TENSORS = sizeof sizes / sizeof *sizes };
    struct operand x[TENSORS], q[2 * TENSORS], scale = make(CLQ_F32, 0, NULL, CONTIGUOUS);
    *(float *)scale.view.data = 0.0625f;
    for (int i = 0; i < TENSORS; i++) {
        x[i] = make(CLQ_F32, 1, &sizes[i], CONTIGUOUS);
        fill(&x[i]);
    }
    for (int on_device = 0; on_device < 2; on_device++) {
        clq_context *const context = on_device ? device : cpu;
        ok(context, clq_batch_begin(context), "clq_batch_begin");
        for (int i = 0; i < TENSORS; i++) {
            const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC}, .scale = scale.view};
            q[on_device * TENSORS + i] = make(CLQ_S8, 1, &sizes[i], CONTIGUOUS);
            ok(context, clq_quantize(context, &x[i].view, &params, &q[on_device * TENSORS + i].view, NULL), "clq_quantize");
        }
        ok(context, clq_batch_end(context), "clq_batch_end");
    }
    for (int i = 0; i < TENSORS; i++) {
        cases++;
        if (memcmp(q[i].view.data, q[TENSORS + i].view.data, size_of(&q[i])) != 0) {
            failures++;
            fprintf(stderr, "oclgrind_shapes: a batch differs\n");
        }
        drop(&x[i]);
        drop(&q[i]);
        drop(&q[TENSORS + i]);
    }
    drop(&scale);
}

/* Small integers, of which sums are exact in whatever order. */
static void fill_integers(struct operand *operand)
{
    for (int64_t i = 0; i < operand->elements; i++) {
        const uint32_t bits = random_bits();
        if (operand->view.dtype == CLQ_F32)
            ((float *)operand->view.data)[i] = (float)(bits % 17) - 8.0f;
        else if (operand->view.dtype == CLQ_S32)
            ((int32_t *)operand->view.data)[i] = (int32_t)(bits % 101);
        else
            ((uint8_t *)operand->view.data)[i] = (uint8_t)bits;
    }
}

/* A matrix product, its operands and results by rows or by columns. */
struct product {
    clq_dtype a, b, c;
    int64_t m, n, k;
    enum layout a_layout, b_layout, c_layout;
    bool has_params;
};

static void multiply_both(const struct product *p)
{
    const int64_t a_shape[] = {p->m, p->k}, b_shape[] = {p->k, p->n}, c_shape[] = {p->m, p->n};
    const bool is_f32 = p->a == CLQ_F32;
    struct operand a = make(p->a, 2, a_shape, p->a_layout), b = make(p->b, 2, b_shape, p->b_layout), c = make(p->c, 2, c_shape, p->c_layout);
    struct operand bias = make(p->c == CLQ_F32 ? CLQ_F32 : CLQ_S32, 1, &p->n, CONTIGUOUS), a_scale = make(CLQ_F32, 0, NULL, CONTIGUOUS);
    struct operand a_zero = make(CLQ_S32, 0, NULL, CONTIGUOUS), b_scale = make(CLQ_F32, 1, &p->n, CONTIGUOUS), b_zero = make(CLQ_S32, 1, &p->n, CONTIGUOUS);
    fill_integers(&a);
    fill_integers(&b);
    fill_integers(&bias);
    fill_integers(&b_zero);
    *(float *)a_scale.view.data = 0.125f;
    *(int32_t *)a_zero.view.data = 7;
    for (int64_t i = 0; i < p->n; i++)
        ((float *)b_scale.view.data)[i] = 0.0625f + (float)i / 1024.0f;
    if (is_f32) { /* rows from the last to the first, which CLBlast does not take */
        a.view.offset += (p->m - 1) * a.view.strides[0];
        a.view.strides[0] *= -1;
    }
    for (int is_packed = 0; is_packed < (is_f32 ? 1 : 2); is_packed++) {
        struct call call = {is_packed ? GEMM_PACKED : GEMM, {.dtype = CLQ_S8}, {&a, &b, &bias, &a_scale, &a_zero, &b_scale, &b_zero, &c}, 7, {0}};
        if (!p->has_params) call.operand[3] = call.operand[4] = call.operand[5] = call.operand[6] = NULL;
        check(&call);
    }
    struct operand *const all[] = {&a, &b, &c, &bias, &a_scale, &a_zero, &b_scale, &b_zero};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(all[i]);
}

/* Both kernels that pack, tiles with and without edges, few rows and few columns, sums in two parts, f32. */
static void products(void)
{
    static const struct product all[] = {
        {CLQ_S8, CLQ_S8, CLQ_S32, 17, 18, 48, CONTIGUOUS, TRANSPOSED, CONTIGUOUS, false}, /* as they lie */
        {CLQ_U8, CLQ_S8, CLQ_U8, 9, 21, 35, CONTIGUOUS, CONTIGUOUS, CONTIGUOUS, true},
        {CLQ_S8, CLQ_U8, CLQ_F32, 16, 16, 70, TRANSPOSED, TRANSPOSED, TRANSPOSED, true},
        {CLQ_S8, CLQ_S8, CLQ_S8, 3, 19, 33, CONTIGUOUS, CONTIGUOUS, CONTIGUOUS, true},
        {CLQ_U8, CLQ_U8, CLQ_S32, 20, 5, 16, TRANSPOSED, CONTIGUOUS, TRANSPOSED, false},
        {CLQ_S8, CLQ_U8, CLQ_F32, 2, 7, 4100, CONTIGUOUS, TRANSPOSED, CONTIGUOUS, true}, /* in parts, since there are few columns */
        {CLQ_F32, CLQ_F32, CLQ_F32, 19, 18, 21, CONTIGUOUS, CONTIGUOUS, CONTIGUOUS, false},
        {CLQ_F32, CLQ_F32, CLQ_F32, 5, 3, 9, CONTIGUOUS, TRANSPOSED, TRANSPOSED, false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        multiply_both(&all[i]);
}

int main(int argc, char **argv)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 70};
    static const int64_t shapes[][3] = {{3, 7, 1}, {17, 4, 1}, {7, 10, 1}, {2, 5, 7}, {18, 68, 1}, {130, 68, 1}};
    static const clq_dtype pairs[][2] = {{CLQ_F32, CLQ_S8}, {CLQ_F16, CLQ_U4}, {CLQ_BF16, CLQ_S16}, {CLQ_F32, CLQ_S4}};
    const int64_t most = argc > 1 ? atoll(argv[1]) : 9000;
    char text[300] = "";
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    options.device = "cpu";
    if (clq_context_create(&options, &cpu) != CLQ_OK) fail("a context on the CPU", text);
    options.device = "opencl:0";
    options.host_tensors = CLQ_HOST_TENSORS_DEVICE;
    options.no_fallback = 1;
    options.staging_bytes = 4096;
    if (clq_context_create(&options, &device) != CLQ_OK) fail("a context on OpenCL", text);

    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            if (p > 0 && i % 4 != p - 1) continue; /* the first pair has them all */
            all_schemes(pairs[p][0], pairs[p][1], 1, &sizes[i], i % 2 ? STEPPED : CONTIGUOUS);
        }
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            const int32_t rank = shapes[i][2] > 1 ? 3 : 2;
            if (shapes[i][0] * shapes[i][1] * shapes[i][2] > (p > 0 && most > 2000 ? 2000 : most)) continue;
            for (int layout = 0; layout < LAYOUTS; layout++)
                if (layout == CONTIGUOUS || shapes[i][0] < 100)
                    all_schemes(pairs[p][0], pairs[p][1], rank, shapes[i], (enum layout)layout);
        }
    }
    batch();
    products();
    clq_context_free(device);
    clq_context_free(cpu);
    printf("oclgrind_shapes: %ld calls, %ld differ from the CPU\n", cases, failures);
    return failures == 0 ? 0 : 1;
}
