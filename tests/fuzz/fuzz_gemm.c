/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the input chooses a matrix product: shapes, types, layouts, parameters, epilogue, threads, packed or not. Every table must
 * give what the reference gives. Memory is exactly as large as the operands, for a sanitizer to see a byte too many.
 */
#include "config.h"

#include "fuzz_file.h"

#include "../reference.h"
#include "cpu/cpu_ops.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition, ...)                                                                                                    \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition);                                              \
            fprintf(stderr, __VA_ARGS__);                                                                                        \
            fprintf(stderr, "\n");                                                                                               \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

/* ---- the input */

static const uint8_t *input, *input_end;
static uint64_t state; /* of values that the input does not give one by one */

/* Zeros when the input is at its end. */
static unsigned take(void)
{
    return input < input_end ? *input++ : 0;
}

/* Most are below 40, the others 95 to 150. */
static int64_t take_extent(void)
{
    const unsigned byte = take();
    return byte < 200 ? byte % 40 : byte - 105;
}

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* ---- operands */

/* Memory that holds a view's elements and the gaps between them, and nothing else. */
struct operand {
    clq_tensor view;
    unsigned char *memory;
    size_t size_bytes;
};

/* Rows below rows or columns beside columns, gaps, either order, matrices in one another, a stride of 0 for inputs. */
static void choose_strides(clq_tensor *view, bool is_input, unsigned layout)
{
    const int32_t inner = view->rank - 1 - (int32_t)(layout & 1), outer = 2 * view->rank - 3 - inner;
    const int64_t gap = layout & 2 ? 3 : 0;

    view->strides[inner] = 1;
    view->strides[outer] = (view->shape[inner] > 0 ? view->shape[inner] : 1) + gap;
    if (view->rank == 3 && layout & 4) {
        view->strides[0] = view->strides[outer];
        view->strides[outer] *= view->shape[0] > 0 ? view->shape[0] : 1;
    } else if (view->rank == 3) {
        view->strides[0] = view->strides[outer] * (view->shape[outer] > 0 ? view->shape[outer] : 1) + gap;
    }
    if (layout & 8) view->strides[outer] *= -1;
    if (view->rank == 3 && layout & 16) view->strides[0] *= -1;
    if (view->rank == 3 && is_input && layout & 32) view->strides[0] = 0;
    if (is_input && (layout & 0xc0) == 0xc0) view->strides[outer] = 0;
}

/* Filled with random bytes or, if `fill` is not 0, with that. */
static void allocate(struct operand *operand, unsigned fill)
{
    clq_tensor *const view = &operand->view;
    const int64_t bytes = clq_dtype_bits(view->dtype) / 8;
    int64_t least = 0, most = 0;

    for (int32_t i = 0; i < view->rank; i++)
        *(view->strides[i] < 0 ? &least : &most) += (view->shape[i] - 1) * view->strides[i];
    operand->size_bytes = ref_elements(view->rank, view->shape) == 0 ? 0 : (size_t)((most - least + 1) * bytes);
    operand->memory = malloc(operand->size_bytes);
    CHECK(operand->memory != NULL || operand->size_bytes == 0, "no memory");
    for (size_t i = 0; i < operand->size_bytes; i++)
        operand->memory[i] = (unsigned char)(fill != 0 ? fill : draw());
    view->data = operand->memory;
    view->offset = -least;
}

static void make_matrices(struct operand *operand, clq_dtype dtype, bool is_batched, bool is_input, int64_t batch, int64_t rows, int64_t cols)
{
    const int64_t shape[3] = {batch, rows, cols};
    const unsigned layout = take(), fill = is_input ? take() : 0;

    operand->view = is_batched ? clq_tensor_host(dtype, NULL, 3, shape) : clq_tensor_host(dtype, NULL, 2, shape + 1);
    choose_strides(&operand->view, is_input, layout);
    allocate(operand, fill == 1 ? 0x80 : fill == 2 ? 0xff : 0);
}

static float choose_scale(bool is_any)
{
    return ldexpf(1.0f + (float)(draw() % 0x800000) * 0x1p-23f, is_any ? (int)(draw() % 200) - 100 : (int)(draw() % 5) - 8);
}

/* ---- a product */

struct product {
    struct operand a, b, c, bias, a_scale, b_scale, a_zero_point, b_zero_point;
    float c_scale;
    int32_t c_zero_point;
    clq_qparams a_params, b_params, c_params;
    clq_gemm_args args;
};

/* Parameters for each line of the axis, or for all; or none. */
static const clq_qparams *choose_params(clq_qparams *params, struct operand *scale, struct operand *zero_point, const clq_tensor *matrix,
                                        int32_t axis)
{
    const unsigned choice = take();
    const bool is_single = choice & 2, is_signed = matrix->dtype == CLQ_S8;
    const int64_t n = is_single ? 1 : matrix->shape[axis];

    if (choice & 1) return NULL;
    params->scheme = (clq_scheme){.dtype = matrix->dtype, .granularity = is_single ? CLQ_PER_TENSOR : CLQ_PER_CHANNEL, .axis = is_single ? 0 : axis};
    if (choice & 4) params->scheme.symmetry = CLQ_SYMMETRIC;
    scale->view = clq_tensor_host(CLQ_F32, NULL, 1, &n);
    zero_point->view = clq_tensor_host(CLQ_S32, NULL, 1, &n);
    allocate(scale, 0);
    allocate(zero_point, 0);
    for (int64_t i = 0; i < n; i++) {
        ((float *)(void *)scale->memory)[i] = choose_scale(choice & 8);
        ((int32_t *)(void *)zero_point->memory)[i] = (int32_t)(choice & 16 ? draw() % 256 : choice) - (is_signed ? 128 : 0);
    }
    params->scale = scale->view;
    if (!(choice & 4) && !(choice & 32)) params->zero_point = zero_point->view;
    return params;
}

static void choose_epilogue(struct product *p, int64_t n)
{
    const unsigned choice = take();
    const clq_dtype dtype = p->c.view.dtype;

    if (choice & 1) {
        p->bias.view = clq_tensor_host(dtype == CLQ_F32 ? CLQ_F32 : CLQ_S32, NULL, 1, &n);
        allocate(&p->bias, 0);
        p->args.bias = &p->bias.view;
    }
    if (dtype == CLQ_F32) {
        p->args.activation = (clq_activation)((choice >> 1) % 3);
        p->args.clamp_min = -(float)(choice >> 4);
        p->args.clamp_max = choice & 8 ? INFINITY : 100.0f;
    } else if (dtype != CLQ_S32) {
        const int32_t least = dtype == CLQ_S8 ? -128 : 0;
        p->c_scale = choice & 2 ? choose_scale(true) : ldexpf(1.0f, (int)(choice >> 4) - 8);
        p->c_params = (clq_qparams){.scheme = {.dtype = dtype}, .scale = clq_tensor_host(CLQ_F32, &p->c_scale, 0, NULL),
                                    .zero_point = clq_tensor_host(CLQ_S32, &p->c_zero_point, 0, NULL)};
        p->c_zero_point = least + (int32_t)(draw() % 256);
        if (choice & 4 && p->c_zero_point < least + 255) {
            p->c_params.scheme.qmin = p->c_zero_point;
            p->c_params.scheme.qmax = least + 255;
        }
        p->args.c_params = &p->c_params;
    }
}

static void make_product(struct product *p)
{
    static const clq_dtype results[] = {CLQ_S32, CLQ_F32, CLQ_S8, CLQ_U8};
    const unsigned types = take(), batches = take();
    const int64_t m = take_extent(), n = take_extent(), k = take_extent(), batch = 1 + batches % 4;
    const bool is_batched = batches & 4;

    *p = (struct product){0};
    state = 0x9e3779b97f4a7c15u + take();
    make_matrices(&p->a, types & 1 ? CLQ_U8 : CLQ_S8, is_batched && batches & 8, true, batch, m, k);
    make_matrices(&p->b, types & 2 ? CLQ_U8 : CLQ_S8, is_batched && batches & 16, true, batch, k, n);
    make_matrices(&p->c, results[types >> 2 & 3], is_batched, false, batch, m, n);
    p->args = (clq_gemm_args){.a = &p->a.view, .b = &p->b.view, .c = &p->c.view};
    p->args.a_params = choose_params(&p->a_params, &p->a_scale, &p->a_zero_point, &p->a.view, p->a.view.rank - 2);
    p->args.b_params = choose_params(&p->b_params, &p->b_scale, &p->b_zero_point, &p->b.view, p->b.view.rank - 1);
    choose_epilogue(p, n);
}

static void free_product(struct product *p)
{
    struct operand *const operands[] = {&p->a, &p->b, &p->c, &p->bias, &p->a_scale, &p->b_scale, &p->a_zero_point, &p->b_zero_point};
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++)
        free(operands[i]->memory);
}

/* ---- running it */

/* One after another is always right. */
static void run_tasks(void *opaque, int64_t tasks, clq_task_fn task, void *argument)
{
    (void)opaque;
    for (int64_t i = tasks - 1; i >= 0; i--)
        task(argument, i);
}

enum { PLACES = 32 };

static clq_context *places[PLACES];
static int place_count;

static void clean_up(void)
{
    for (int i = 0; i < place_count; i++)
        clq_context_free(places[i]);
}

/* Each table of this machine with one thread and with three. */
static void set_up(void)
{
    for (int32_t i = 0; i < 2 * clq_cpu_table_count && place_count < PLACES; i++) {
        clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
        options.device = "cpu";
        options.cpu = clq_cpu_tables[i / 2].ops->name;
        options.num_threads = i % 2 == 0 ? 1 : 3;
        options.parallel_for = run_tasks;
        place_count += clq_context_create(&options, &places[place_count]) == CLQ_OK;
    }
    CHECK(place_count > 0, "no table");
    atexit(clean_up);
}

/* Any NaN equals any other. */
static bool is_equal(const struct product *p, const unsigned char *expected)
{
    for (size_t i = 0; i < p->c.size_bytes; i += 4) {
        const size_t bytes = p->c.size_bytes - i < 4 ? p->c.size_bytes - i : 4;
        float got, wanted;
        if (memcmp(p->c.memory + i, expected + i, bytes) == 0) continue;
        if (p->c.view.dtype != CLQ_F32) return false;
        memcpy(&got, p->c.memory + i, sizeof got);
        memcpy(&wanted, expected + i, sizeof wanted);
        if (!isnan(got) || !isnan(wanted)) return false;
    }
    return true;
}

static void run(struct product *p, clq_context *context, bool is_packed, const unsigned char *before, const unsigned char *expected)
{
    clq_gemm_args args = p->args;
    clq_packed *packed = NULL;
    clq_status status = CLQ_OK;
    clq_device_info info;

    if (p->c.size_bytes > 0) memcpy(p->c.memory, before, p->c.size_bytes);
    if (is_packed) {
        status = clq_packed_create(context, args.b, &packed);
        args.packed_b = packed;
        args.b = NULL;
    }
    if (status == CLQ_OK) status = clq_gemm(context, &args);
    CHECK(status == CLQ_OK, "%s: %s", clq_status_name(status), clq_context_error(context));
    CHECK(clq_context_info(context, &info) == CLQ_OK, "no information");
    CHECK(is_equal(p, expected), "%s, %d threads, packed %d: ranks %d %d %d, m = %lld, n = %lld, k = %lld, %s by %s to %s", info.path,
          (int)info.num_threads, is_packed, (int)p->a.view.rank, (int)p->b.view.rank, (int)p->c.view.rank, (long long)p->c.view.shape[p->c.view.rank - 2],
          (long long)p->c.view.shape[p->c.view.rank - 1], (long long)p->a.view.shape[p->a.view.rank - 1], clq_dtype_name(p->a.view.dtype),
          clq_dtype_name(p->b.view.dtype), clq_dtype_name(p->c.view.dtype));
    clq_packed_free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct product p;
    clq_gemm_args reference;
    clq_tensor c;
    unsigned char *before, *expected;

    if (place_count == 0) set_up();
    input = data;
    input_end = data + size;
    make_product(&p);
    before = malloc(p.c.size_bytes + 1);
    expected = malloc(p.c.size_bytes + 1);
    CHECK(before != NULL && expected != NULL, "no memory");
    if (p.c.size_bytes > 0) {
        memcpy(before, p.c.memory, p.c.size_bytes);
        memcpy(expected, before, p.c.size_bytes);
    }
    reference = p.args;
    c = p.c.view;
    c.data = expected;
    reference.c = &c;
    ref_gemm(&reference);
    for (int i = 0; i < place_count; i++) {
        run(&p, places[i], false, before, expected);
        run(&p, places[i], true, before, expected);
    }
    free(before);
    free(expected);
    free_product(&p);
    return 0;
}
