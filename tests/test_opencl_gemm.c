/* SPDX-License-Identifier: MIT */
/*
 * What is OpenCL's alone of matrix products: operands in every memory, packed weights between contexts, staging, batches and queues of the caller's, units by
 * name, notes in the cache, sums in parts, parameters that nobody has checked, failing calls.
 */
#include "config.h"

#include "base/alloc.h"
#include "opencl/cl_device.h"
#include "opencl/cl_unit.h"
#include "opencl_shim.h"
#include "test_support.h"
#include <clquant_opencl.h>
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct clq_cl_device *devices;
static int32_t device_count;

#define CL_OK(call)                                                             \
    do {                                                                        \
        const cl_int cl_ok_code = (call);                                       \
        TEST_CHECK(cl_ok_code == CL_SUCCESS, "%s: %d", #call, (int)cl_ok_code); \
    } while (0)

#define FOR_EACH_DEVICE(i)                     \
    for (int32_t i = 0; i < device_count; i++) \
        if (devices[i].refusal[0] == '\0' && test_device_wanted(i))

static void find_devices(void)
{
    TEST_CHECK(clq_cl_devices_find(&clq_allocator_libc, &devices, &device_count) == CLQ_OK, "the list of devices");
}

/* ---- contexts */

enum { STAGING_BYTES = 4096 };

/* The caller's own OpenCL, and a context on it. */
struct own {
    cl_context cl;
    cl_command_queue queue;
    clq_context *context;
};

static clq_context *open_on(cl_context cl, int32_t device, cl_command_queue queue, const char *unit)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    char text[300] = "";
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    options.no_fallback = 1;
    options.staging_bytes = STAGING_BYTES;
    options.gemm_unit = unit;
    TEST_CHECK(clq_context_create_opencl(&options, cl, devices[device].id, queue, &context) == CLQ_OK, "%s", text);
    return context;
}

static struct own open_own(int32_t device, cl_command_queue_properties properties, const char *unit)
{
    struct own own;
    cl_int code;
    own.cl = clCreateContext(NULL, 1, &devices[device].id, NULL, NULL, &code);
    CL_OK(code);
    own.queue = clCreateCommandQueue(own.cl, devices[device].id, properties, &code);
    CL_OK(code);
    own.context = open_on(own.cl, device, own.queue, unit);
    test_note_place("[%s]", devices[device].name);
    return own;
}

/* The same cl_context once more, with a queue of its own. */
static struct own open_beside(const struct own *first, int32_t device)
{
    struct own own = {.cl = first->cl};
    cl_int code;
    CL_OK(clRetainContext(own.cl));
    own.queue = clCreateCommandQueue(own.cl, devices[device].id, 0, &code);
    CL_OK(code);
    own.context = open_on(own.cl, device, own.queue, NULL);
    return own;
}

static void close_own(struct own *own)
{
    clq_context_free(own->context);
    CL_OK(clReleaseCommandQueue(own->queue));
    CL_OK(clReleaseContext(own->cl));
}

/* A context of the library's own on a device; NULL and a text if it is refused. */
static clq_status open_named(int32_t device, const char *unit, bool no_fallback, char text[300], clq_context **context)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    char id[32];
    snprintf(id, sizeof id, "opencl:%d", (int)device);
    test_note_place("[%s]", id);
    text[0] = '\0';
    options.device = id;
    options.gemm_unit = unit;
    options.no_fallback = no_fallback;
    options.num_threads = 1;
    options.staging_bytes = STAGING_BYTES;
    options.error_text = text;
    options.error_text_bytes = 300;
    return clq_context_create(&options, context);
}

static struct own open_plain(int32_t device, const char *unit)
{
    struct own own = {.cl = NULL};
    char text[300];
    TEST_CHECK(open_named(device, unit, true, text, &own.context) == CLQ_OK, "%s", text);
    return own;
}

static long long launches(void)
{
    return atomic_load(&shim.calls[SHIM_clEnqueueNDRangeKernel]);
}

/* CLBlast makes events behind the shim's back, which the library releases. */
static void expect_no_references(bool is_f32)
{
    for (int i = 0; i < SHIM_OBJECTS; i++) {
        const long long live = atomic_load(&shim.live[i]);
        TEST_CHECK(live == 0 || (is_f32 && i == SHIM_LIVE_Event && live < 0), "%lld references of kind %d are left", live, i);
    }
}

/* ---- operands */

/* Where an operand is for a call: of OpenCL's memory, as large as the operand to the byte, or over memory of the host that begins at an odd address. */
enum place { ON_HOST, IN_BUFFER, IN_MEMORY, OVER_HOST, PLACES };

enum { A, B, C, BIAS, A_SCALE, A_ZERO, B_SCALE, B_ZERO, C_SCALE, C_ZERO, OPERANDS };
static const char *const operand_names[OPERANDS] = {"a", "b", "c", "bias", "scale of a", "zero_point of a", "scale of b", "zero_point of b", "scale of c",
                                                    "zero_point of c"};

enum { GUARD = 0x77, MOST_LEAD = 64 };

struct operand {
    struct test_tensor tensor;
    enum place place;
    clq_tensor view;  /* what calls take */
    clq_buffer *buffer;
    cl_mem memory;
    char *raw;        /* host memory under `memory` */
    int64_t lead;     /* bytes before the operand, which stay as they are */
};

enum param_kind { NO_PARAMS, ONE_PARAM, PARAM_BY_LINE, PARAM_KINDS };

/* What a product is to be. */
struct form {
    clq_dtype a, b, c;
    int64_t batch; /* 0: of rank 2 */
    int64_t m, n, k;
    bool by_cols[3];       /* of A, B, C: columns are adjacent */
    bool is_broadcast[2];  /* A, B: a batch stride of 0 */
    int64_t gap[3];        /* elements between lines, and between matrices */
    enum param_kind params[2];
    bool has_bias;
    clq_activation activation;
};

struct product {
    struct form form;
    struct operand operand[OPERANDS];
    clq_scheme scheme[3];
};

static void make_matrices(struct product *p, struct test_random *random, int which, clq_dtype dtype, int64_t rows, int64_t cols)
{
    const struct form *const form = &p->form;
    const int32_t rank = form->batch > 0 ? 3 : 2;
    const int64_t shape[3] = {form->batch, rows, cols};
    int64_t strides[3];
    strides[form->by_cols[which] ? 1 : 2] = 1;
    strides[form->by_cols[which] ? 2 : 1] = (form->by_cols[which] ? rows : cols) + form->gap[which];
    strides[0] = (form->by_cols[which] ? cols : rows) * strides[form->by_cols[which] ? 2 : 1] + form->gap[which];
    if (which != C && form->is_broadcast[which]) strides[0] = 0;
    test_tensor_make_strided(&p->operand[which].tensor, random, which, dtype, rank, shape + 3 - rank, strides + 3 - rank);
    if (dtype != CLQ_F32 || which == C) return;
    /* Sums of small integers are exact in whatever order. */
    for (size_t i = 0; i + 4 <= p->operand[which].tensor.size_bytes; i += 4) {
        const float x = (float)test_between(random, -8, 8);
        memcpy(p->operand[which].tensor.memory + i, &x, sizeof x);
    }
    test_tensor_sync(&p->operand[which].tensor);
}

static void make_vector(struct product *p, struct test_random *random, int which, clq_dtype dtype, int32_t rank, int64_t n)
{
    test_tensor_make(&p->operand[which].tensor, random, which, dtype, rank, &n, TEST_CONTIGUOUS);
}

static void set_entry(struct product *p, int which, int64_t i, uint64_t value)
{
    const int64_t index[CLQ_MAX_RANK] = {i};
    ref_set(&p->operand[which].tensor.view, index, value);
}

/* A scale and a zero point, or one of each for each line. */
static void make_params(struct product *p, struct test_random *random, int side, clq_dtype dtype, enum param_kind kind, int64_t lines)
{
    const int scale = A_SCALE + 2 * side, zero = scale + 1;
    const int32_t rank = kind == PARAM_BY_LINE ? 1 : 0, axis = p->form.batch > 0 ? 1 + side : side;
    p->scheme[side] = (clq_scheme){.dtype = dtype, .granularity = rank ? CLQ_PER_CHANNEL : CLQ_PER_TENSOR, .axis = rank ? axis : 0};
    make_vector(p, random, scale, CLQ_F32, rank, lines);
    make_vector(p, random, zero, CLQ_S32, rank, lines);
    for (int64_t i = 0; i < (rank ? lines : 1); i++) {
        const int64_t exponent = side == 2 ? test_between(random, -6, 4) : test_between(random, -8, -4);
        set_entry(p, scale, i, (uint64_t)((127 + exponent) << 23 | test_between(random, 0, 0x7fffff)));
        set_entry(p, zero, i, (uint64_t)(test_between(random, -128, 127) + (dtype == CLQ_U8 ? 128 : 0)));
    }
    test_tensor_sync(&p->operand[scale].tensor);
    test_tensor_sync(&p->operand[zero].tensor);
}

static bool is_8bit(clq_dtype dtype)
{
    return dtype == CLQ_S8 || dtype == CLQ_U8;
}

/* The arguments of a call, with the operands' views or those of the reference. */
struct arguments {
    clq_gemm_args args;
    clq_tensor view[OPERANDS];
    clq_qparams params[3];
};

static void set_arguments(struct arguments *arguments, const struct product *p, bool is_reference)
{
    const struct form *const form = &p->form;
    for (int i = 0; i < OPERANDS; i++)
        arguments->view[i] = !is_reference ? p->operand[i].view : i == C ? p->operand[i].tensor.expected : p->operand[i].tensor.view;
    for (int side = 0; side < 3; side++)
        arguments->params[side] = (clq_qparams){p->scheme[side], arguments->view[A_SCALE + 2 * side], arguments->view[A_ZERO + 2 * side]};
    arguments->args = (clq_gemm_args){.a = &arguments->view[A], .b = &arguments->view[B], .c = &arguments->view[C],
                                      .bias = form->has_bias ? &arguments->view[BIAS] : NULL,
                                      .a_params = form->params[0] ? &arguments->params[0] : NULL, .b_params = form->params[1] ? &arguments->params[1] : NULL,
                                      .c_params = is_8bit(form->c) ? &arguments->params[2] : NULL,
                                      .activation = form->activation, .clamp_min = -50.0f, .clamp_max = 60.0f};
}

/* The product of f32 matrices. */
static void find_f32(const clq_gemm_args *args)
{
    const clq_tensor *const c = args->c;
    const int32_t rank = c->rank;
    const int64_t k = args->a->shape[rank - 1];
    int64_t index[CLQ_MAX_RANK] = {0};
    if (ref_elements(rank, c->shape) == 0) return;
    do {
        int64_t a_index[CLQ_MAX_RANK] = {index[0], index[rank - 2]}, b_index[CLQ_MAX_RANK] = {index[0], index[rank - 2]};
        float sum = 0.0f;
        a_index[rank - 2] = index[rank - 2];
        b_index[rank - 1] = index[rank - 1];
        for (int64_t p = 0; p < k; p++) {
            a_index[rank - 1] = b_index[rank - 2] = p;
            sum += test_float((uint32_t)ref_get(args->a, a_index)) * test_float((uint32_t)ref_get(args->b, b_index));
        }
        ref_set(c, index, ref_gemm_finish_f32(args, test_bits(sum), index[rank - 1]));
    } while (ref_next(rank, c->shape, index));
}

static void note_product(const struct product *p, uint64_t seed)
{
    const struct form *const f = &p->form;
    static const char *const places[PLACES] = {"host", "buffer", "cl_mem", "cl_mem over host memory"};
    test_note("seed %llu: %s x %s -> %s, batch %lld, m %lld, n %lld, k %lld, by columns %d %d %d, broadcast %d %d, gaps %lld %lld %lld, params %d %d, bias %d, "
              "activation %d; a in %s, b in %s, c in %s",
              (unsigned long long)seed, clq_dtype_name(f->a), clq_dtype_name(f->b), clq_dtype_name(f->c), (long long)f->batch, (long long)f->m, (long long)f->n,
              (long long)f->k,
              f->by_cols[0], f->by_cols[1], f->by_cols[2], f->is_broadcast[0], f->is_broadcast[1], (long long)f->gap[0], (long long)f->gap[1],
              (long long)f->gap[2], (int)f->params[0], (int)f->params[1], f->has_bias, (int)f->activation, places[p->operand[A].place],
              places[p->operand[B].place], places[p->operand[C].place]);
}

/* Operands in host memory, and what must come out. */
static void make_product(struct product *p, struct test_random *random, const struct form *form)
{
    struct arguments reference;
    memset(p, 0, sizeof *p);
    p->form = *form;
    make_matrices(p, random, A, form->a, form->m, form->k);
    make_matrices(p, random, B, form->b, form->k, form->n);
    make_matrices(p, random, C, form->c, form->m, form->n);
    make_params(p, random, 0, form->a, form->params[0], form->m);
    make_params(p, random, 1, form->b, form->params[1], form->n);
    make_params(p, random, 2, is_8bit(form->c) ? form->c : CLQ_S8, ONE_PARAM, 1);
    make_vector(p, random, BIAS, form->c == CLQ_F32 ? CLQ_F32 : CLQ_S32, 1, form->n);
    for (int64_t i = 0; i < form->n; i++)
        set_entry(p, BIAS, i, form->c == CLQ_F32 ? test_bits((float)test_between(random, -100, 100)) : (uint64_t)test_between(random, -5000, 5000));
    test_tensor_sync(&p->operand[BIAS].tensor);
    note_product(p, random->seed);
    set_arguments(&reference, p, true);
    if (form->a == CLQ_F32)
        find_f32(&reference.args);
    else
        ref_gemm(&reference.args);
}

static void free_product(struct product *p)
{
    for (int i = 0; i < OPERANDS; i++)
        test_tensor_free(&p->operand[i].tensor);
}

/* ---- operands to where they are for a call, and back */

static void copy_buffer(clq_context *context, clq_buffer *buffer, unsigned char *host, int64_t n, bool to_buffer)
{
    const clq_tensor here = clq_tensor_host(CLQ_U8, host, 1, &n), there = clq_tensor_buffer(CLQ_U8, buffer, 0, 1, &n);
    TEST_OK(context, clq_convert(context, to_buffer ? &here : &there, to_buffer ? &there : &here));
}

static void put_operand(const struct own *own, struct operand *operand, enum place place, int64_t lead)
{
    const struct test_tensor *const tensor = &operand->tensor;
    const int64_t size_bytes = clq_dtype_bits(tensor->view.dtype) / 8;
    const size_t all = (size_t)lead * (size_t)size_bytes + tensor->size_bytes;
    unsigned char *const copy = malloc(all + 1);
    cl_int code = CL_SUCCESS;
    operand->view = tensor->view;
    operand->place = tensor->size_bytes == 0 || (!own->cl && place > IN_BUFFER) ? ON_HOST : place;
    operand->lead = lead * size_bytes;
    TEST_CHECK(copy != NULL, "no memory for the test");
    memset(copy, GUARD, (size_t)operand->lead);
    memcpy(copy + operand->lead, tensor->memory, tensor->size_bytes);
    if (operand->place != ON_HOST) {
        operand->view.memory = operand->place == IN_BUFFER ? CLQ_MEMORY_BUFFER : CLQ_MEMORY_OPENCL;
        operand->view.offset += lead + (int64_t)((intptr_t)tensor->view.data - (intptr_t)tensor->memory) / size_bytes;
    }
    if (operand->place == IN_BUFFER) {
        TEST_OK(own->context, clq_buffer_create(own->context, (int64_t)all, &operand->buffer));
        copy_buffer(own->context, operand->buffer, copy, (int64_t)all, true);
        operand->view.data = operand->buffer;
    } else if (operand->place == IN_MEMORY) {
        operand->memory = clCreateBuffer(own->cl, CL_MEM_READ_WRITE, all, NULL, &code);
        CL_OK(code);
        CL_OK(clEnqueueWriteBuffer(own->queue, operand->memory, CL_TRUE, 0, all, copy, 0, NULL, NULL));
        operand->view.data = operand->memory;
    } else if (operand->place == OVER_HOST) {
        operand->raw = aligned_alloc(64, (all + 8 + 63) / 64 * 64);
        TEST_CHECK(operand->raw != NULL, "no memory for the test");
        memcpy(operand->raw + size_bytes, copy, all);
        operand->memory = clCreateBuffer(own->cl, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, all, operand->raw + size_bytes, &code);
        CL_OK(code);
        operand->view.data = operand->memory;
    }
    free(copy);
}

/* What a call made of an operand, and nothing before it. */
static void get_operand(const struct own *own, struct operand *operand, const char *name)
{
    const size_t all = (size_t)operand->lead + operand->tensor.size_bytes;
    unsigned char *const copy = malloc(all + 1);
    if (operand->place == IN_BUFFER) copy_buffer(own->context, operand->buffer, copy, (int64_t)all, false);
    if (operand->place > IN_BUFFER) {
        TEST_OK(own->context, clq_context_synchronize(own->context));
        CL_OK(clEnqueueReadBuffer(own->queue, operand->memory, CL_TRUE, 0, all, copy, 0, NULL, NULL));
        CL_OK(clReleaseMemObject(operand->memory));
    }
    if (operand->place != ON_HOST) {
        for (int64_t i = 0; i < operand->lead; i++)
            TEST_CHECK(copy[i] == GUARD, "%s: byte %lld before it was written", name, (long long)(operand->lead - i));
        memcpy(operand->tensor.memory, copy + operand->lead, operand->tensor.size_bytes);
    }
    clq_buffer_free(operand->buffer);
    free(operand->raw);
    free(copy);
    operand->buffer = NULL;
    operand->memory = NULL;
    operand->raw = NULL;
}

/* Places for all operands; the parameters go where `params` says. */
static void put_product(const struct own *own, struct product *p, enum place a, enum place b, enum place c, enum place params, int64_t lead)
{
    for (int i = 0; i < OPERANDS; i++)
        put_operand(own, &p->operand[i], i == A ? a : i == B ? b : i == C ? c : params, i < BIAS ? lead : 0);
    note_product(p, 0);
}

static void get_product(const struct own *own, struct product *p)
{
    for (int i = 0; i < OPERANDS; i++)
        get_operand(own, &p->operand[i], operand_names[i]);
}

static void expect_product(const struct product *p)
{
    for (int i = 0; i < OPERANDS; i++)
        test_tensor_compare(&p->operand[i].tensor, operand_names[i]);
}

/* The product of operands that are where they are to be, by B as it is or by `packed`. */
static clq_status multiply(const struct own *own, const struct product *p, const clq_packed *packed)
{
    struct arguments arguments;
    set_arguments(&arguments, p, false);
    if (packed) arguments.args.b = NULL;
    arguments.args.packed_b = packed;
    return clq_gemm(own->context, &arguments.args);
}

/* From the host to places, through a product and back; what comes out is right, and it was made on the device. */
static void check_product(const struct own *own, struct product *p, enum place a, enum place b, enum place c, enum place params, int64_t lead)
{
    test_tensor_reset(&p->operand[C].tensor);
    put_product(own, p, a, b, c, params, lead);
    TEST_OK(own->context, multiply(own, p, NULL));
    TEST_CHECK(strcmp(clq_context_ran_on(own->context), "opencl") == 0, "it ran on \"%s\"", clq_context_ran_on(own->context));
    get_product(own, p);
    expect_product(p);
}

static void check_form(const struct own *own, struct test_random *random, const struct form *form, enum place place)
{
    struct product p;
    make_product(&p, random, form);
    check_product(own, &p, place, place, place, place, 0);
    free_product(&p);
}

/* ---- operands in every memory */

static struct form draw_form(struct test_random *random)
{
    static const clq_dtype results[] = {CLQ_S32, CLQ_F32, CLQ_S8, CLQ_U8};
    static const int64_t extents[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65, 70, 100};
    struct form form = {.a = test_chance(random, 2) ? CLQ_S8 : CLQ_U8, .b = test_chance(random, 2) ? CLQ_S8 : CLQ_U8, .c = results[test_between(random, 0, 3)],
                        .batch = test_chance(random, 2) ? 0 : test_between(random, 1, 4), .has_bias = test_chance(random, 2)};
    form.m = extents[test_between(random, 0, TEST_COUNT_OF(extents) - 1)];
    form.n = extents[test_between(random, 0, TEST_COUNT_OF(extents) - 1)];
    form.k = extents[test_between(random, 0, TEST_COUNT_OF(extents) - 1)] * (test_chance(random, 4) ? 5 : 1);
    for (int i = 0; i < 3; i++) {
        form.by_cols[i] = test_chance(random, 2);
        form.gap[i] = test_chance(random, 2) ? 0 : test_between(random, 0, 35);
        if (i < 2) form.is_broadcast[i] = test_chance(random, 4);
        if (i < 2) form.params[i] = (enum param_kind)test_between(random, 0, PARAM_KINDS - 1);
    }
    if (form.c == CLQ_F32) form.activation = (clq_activation)test_between(random, 0, 2);
    return form;
}

/* Any shape, types, layouts and places. The loop runs over seeds; every second time on an out-of-order queue, where the device has one. */
START_TEST(mixtures)
{
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1200 + (uint64_t)_i);
        struct own own = open_own(i, _i & 1 ? CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE : 0, NULL);
        for (int64_t repeat = 0; repeat < test_amount(120, 12); repeat++) {
            const struct form form = draw_form(&random);
            struct product p;
            make_product(&p, &random, &form);
            check_product(&own, &p, (enum place)test_between(&random, 0, PLACES - 1), (enum place)test_between(&random, 0, PLACES - 1),
                          (enum place)test_between(&random, 0, PLACES - 1), (enum place)test_between(&random, 0, PLACES - 1),
                          test_chance(&random, 2) ? 0 : test_between(&random, 1, MOST_LEAD));
            free_product(&p);
        }
        close_own(&own);
    }
    expect_no_references(false);
}
END_TEST

/* Kernels may read lines up to a multiple of 16 only where there is memory: here it ends with the last line. */
START_TEST(to_the_end_of_memory)
{
    static const int64_t depths[] = {1, 15, 16, 17, 24, 33, 100, 208};
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1220);
        struct own own = open_own(i, 0, NULL);
        for (size_t d = 0; d < TEST_COUNT_OF(depths); d++)
            for (int64_t lead = 0; lead < 2; lead++) {
                struct form form = {.a = CLQ_S8, .b = CLQ_U8, .c = CLQ_S32, .m = 33, .n = 17, .k = depths[d], .by_cols = {false, true, d & 1}};
                struct product p;
                if (d & 1) form.a = CLQ_U8;
                make_product(&p, &random, &form);
                check_product(&own, &p, IN_MEMORY, IN_MEMORY, IN_MEMORY, IN_MEMORY, lead);
                check_product(&own, &p, OVER_HOST, OVER_HOST, OVER_HOST, OVER_HOST, lead);
                free_product(&p);
            }
        close_own(&own);
    }
}
END_TEST

/* ---- packed weights */

static clq_packed *pack(const struct own *own, struct product *p, enum place place)
{
    clq_packed *packed = NULL;
    put_operand(own, &p->operand[B], place, 3);
    TEST_OK(own->context, clq_packed_create(own->context, &p->operand[B].view, &packed));
    get_operand(own, &p->operand[B], "b");
    return packed;
}

static void check_packed(const struct own *own, struct product *p, const clq_packed *packed, enum place a, enum place c)
{
    test_tensor_reset(&p->operand[C].tensor);
    put_product(own, p, a, ON_HOST, c, ON_HOST, 0);
    TEST_OK(own->context, multiply(own, p, packed));
    TEST_CHECK(strcmp(clq_context_ran_on(own->context), "opencl") == 0, "it ran on \"%s\"", clq_context_ran_on(own->context));
    get_product(own, p);
    expect_product(p);
}

static void expect_other_path(const struct own *own, struct product *p, const clq_packed *packed)
{
    test_tensor_reset(&p->operand[C].tensor);
    put_product(own, p, ON_HOST, ON_HOST, ON_HOST, ON_HOST, 0);
    TEST_CHECK(multiply(own, p, packed) == CLQ_ERROR_CONTEXT, "packed elsewhere: %s", clq_context_error(own->context));
    TEST_CHECK(strstr(clq_context_error(own->context), "packed_b") != NULL, "\"%s\"", clq_context_error(own->context));
    TEST_CHECK(memcmp(p->operand[C].tensor.memory, p->operand[C].tensor.initial, p->operand[C].tensor.size_bytes) == 0, "c was written");
}

/* Made of every memory and layout, used with A and C in host memory and in buffers, in another context of the same cl_context, after their own is gone. */
static void packed_of_form(int32_t device, struct test_random *random, const struct form *form)
{
    struct own first = open_own(device, 0, NULL), second = open_beside(&first, device), other = open_own(device, 0, NULL);
    struct own cpu = {.context = test_context(NULL, 1, NULL, NULL)};
    clq_packed *packed[PLACES], *of_cpu;
    struct product p;
    make_product(&p, random, form);
    TEST_OK(cpu.context, clq_packed_create(cpu.context, &p.operand[B].tensor.view, &of_cpu));
    for (int place = 0; place < PLACES; place++) {
        packed[place] = pack(&first, &p, (enum place)place);
        check_packed(&first, &p, packed[place], (enum place)(place & 1), (enum place)(place >> 1));
        check_packed(&second, &p, packed[place], (enum place)(place >> 1), (enum place)(place & 1));
        expect_other_path(&other, &p, packed[place]);
        expect_other_path(&cpu, &p, packed[place]);
    }
    expect_other_path(&first, &p, of_cpu);
    clq_packed_free(packed[1]);
    close_own(&first);
    close_own(&other);
    for (int place = 0; place < PLACES; place++) {
        if (place == 1) continue;
        check_packed(&second, &p, packed[place], IN_BUFFER, ON_HOST);
        if (place == 2) clq_packed_free(packed[place]);
    }
    close_own(&second);
    clq_packed_free(packed[0]);
    clq_packed_free(packed[3]);
    clq_packed_free(of_cpu);
    clq_context_free(cpu.context);
    free_product(&p);
}

START_TEST(packed_weights)
{
    static const struct form forms[] = {
        {.a = CLQ_S8, .b = CLQ_S8, .c = CLQ_S32, .m = 20, .n = 33, .k = 70},
        {.a = CLQ_U8, .b = CLQ_S8, .c = CLQ_U8, .m = 3, .n = 40, .k = 130, .by_cols = {false, true, false}, .gap = {0, 5, 0},
         .params = {ONE_PARAM, PARAM_BY_LINE}, .has_bias = true},
        {.a = CLQ_S8, .b = CLQ_U8, .c = CLQ_F32, .batch = 3, .m = 9, .n = 17, .k = 64, .gap = {3, 7, 1}, .params = {PARAM_BY_LINE, ONE_PARAM}},
        {.a = CLQ_U8, .b = CLQ_U8, .c = CLQ_S8, .batch = 2, .m = 35, .n = 5, .k = 33, .by_cols = {true, true, true}, .params = {PARAM_BY_LINE, PARAM_BY_LINE}},
    };
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1230 + (uint64_t)_i);
        packed_of_form(i, &random, &forms[_i]);
    }
    expect_no_references(false);
}
END_TEST

/* A thread of its own multiplies by weights that others use at the same time. */
struct worker {
    struct own own;
    struct product *p;
    const clq_packed *packed;
    int32_t *results;
    int64_t repeats, wrong;
};

/* Without k all sums are 0, in every matrix, wherever B's matrices would lie. */
START_TEST(packed_without_k)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, NULL);
        const int64_t a_shape[3] = {3, 16, 0}, b_shape[3] = {3, 0, 16}, c_shape[3] = {3, 16, 16};
        const clq_tensor a = clq_tensor_host(CLQ_U8, own.context, 3, a_shape);
        clq_tensor b = clq_tensor_host(CLQ_S8, own.context, 3, b_shape);
        int32_t results[3 * 16 * 16];
        const clq_tensor c = clq_tensor_host(CLQ_S32, results, 3, c_shape);
        clq_packed *packed;
        b.strides[0] = 32;
        /* Memory that is not all zeros. */
        for (int k = 0; k < 20; k++) {
            const cl_uint junk = 0x5a5a5a5a;
            cl_int code;
            const cl_mem memory = clCreateBuffer(own.cl, CL_MEM_READ_WRITE, 512, NULL, &code);
            CL_OK(code);
            CL_OK(clEnqueueFillBuffer(own.queue, memory, &junk, sizeof junk, 0, 512, 0, NULL, NULL));
            CL_OK(clFinish(own.queue));
            CL_OK(clReleaseMemObject(memory));
        }
        TEST_OK(own.context, clq_packed_create(own.context, &b, &packed));
        for (int is_packed = 0; is_packed < 2; is_packed++) {
            const clq_gemm_args args = {.a = &a, .b = is_packed ? NULL : &b, .packed_b = is_packed ? packed : NULL, .c = &c};
            memset(results, 0x7f, sizeof results);
            TEST_OK(own.context, clq_gemm(own.context, &args));
            for (int k = 0; k < 3 * 16 * 16; k++)
                TEST_CHECK(results[k] == 0, "result %d is %d", k, (int)results[k]);
        }
        clq_packed_free(packed);
        close_own(&own);
    }
}
END_TEST

static void *work(void *opaque)
{
    struct worker *const worker = opaque;
    const clq_tensor *const a = &worker->p->operand[A].tensor.view, *const expected = &worker->p->operand[C].tensor.expected;
    const clq_tensor c = clq_tensor_host(CLQ_S32, worker->results, 2, expected->shape);
    const clq_gemm_args args = {.a = a, .packed_b = worker->packed, .c = &c};
    const size_t bytes = worker->p->operand[C].tensor.size_bytes;
    for (int64_t i = 0; i < worker->repeats; i++) {
        memset(worker->results, 0x5a, bytes);
        worker->wrong += clq_gemm(worker->own.context, &args) != CLQ_OK || memcmp(worker->results, worker->p->operand[C].tensor.copy, bytes) != 0;
    }
    return NULL;
}

START_TEST(packed_on_threads)
{
    enum { THREADS = 2, M = 37, N = 45 };
    const struct form form = {.a = CLQ_S8, .b = CLQ_S8, .c = CLQ_S32, .m = M, .n = N, .k = 90};
    static int32_t results[THREADS][M * N];
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1240);
        struct own own = open_own(i, 0, NULL);
        struct worker workers[THREADS];
        pthread_t threads[THREADS];
        struct product p;
        make_product(&p, &random, &form);
        clq_packed *const packed = pack(&own, &p, ON_HOST);
        for (int k = 0; k < THREADS; k++)
            workers[k] = (struct worker){.own = open_beside(&own, i), .p = &p, .packed = packed, .results = results[k], .repeats = test_amount(500, 100)};
        for (int k = 0; k < THREADS; k++)
            TEST_CHECK(pthread_create(&threads[k], NULL, work, &workers[k]) == 0, "no thread");
        for (int k = 0; k < THREADS; k++)
            pthread_join(threads[k], NULL);
        for (int k = 0; k < THREADS; k++) {
            TEST_CHECK(workers[k].wrong == 0, "thread %d: %lld of %lld are wrong: %s", k, (long long)workers[k].wrong, (long long)workers[k].repeats,
                       clq_context_error(workers[k].own.context));
            close_own(&workers[k].own);
        }
        clq_packed_free(packed);
        close_own(&own);
        free_product(&p);
    }
    expect_no_references(false);
}
END_TEST

/* ---- staging */

/* Rows longer than the staging memory, and shorter ones; all mixtures of memories. The loop runs over forms. */
static const struct form staged_forms[] = {
    {.a = CLQ_S8, .b = CLQ_S8, .c = CLQ_S32, .m = 5, .n = 1500, .k = 5000},
    {.a = CLQ_U8, .b = CLQ_S8, .c = CLQ_S8, .m = 150, .n = 60, .k = 300, .by_cols = {true, false, true},
     .params = {PARAM_BY_LINE, PARAM_BY_LINE}, .has_bias = true},
    {.a = CLQ_S8, .b = CLQ_U8, .c = CLQ_U8, .batch = 7, .m = 20, .n = 30, .k = 70, .params = {PARAM_BY_LINE, ONE_PARAM}},
    {.a = CLQ_U8, .b = CLQ_U8, .c = CLQ_F32, .batch = 3, .m = 50, .n = 90, .k = 100, .by_cols = {false, true, true}, .is_broadcast = {false, true},
     .gap = {1, 2, 3}, .params = {PARAM_BY_LINE, PARAM_BY_LINE}, .has_bias = true, .activation = CLQ_ACTIVATION_RELU},
    {.a = CLQ_S8, .b = CLQ_S8, .c = CLQ_S32, .batch = 3, .m = 17, .n = 9, .k = 4500, .by_cols = {true, true, false}, .is_broadcast = {true, false}},
    {.a = CLQ_F32, .b = CLQ_F32, .c = CLQ_F32, .m = 40, .n = 1100, .k = 50, .has_bias = true, .activation = CLQ_ACTIVATION_CLAMP},
    {.a = CLQ_F32, .b = CLQ_F32, .c = CLQ_F32, .batch = 4, .m = 30, .n = 40, .k = 50, .by_cols = {true, true, true}, .is_broadcast = {false, true}},
};

START_TEST(staging)
{
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1250 + (uint64_t)_i);
        struct own own = open_own(i, 0, NULL);
        struct product p;
        make_product(&p, &random, &staged_forms[_i]);
        for (int mixture = 0; mixture < 16; mixture++)
            check_product(&own, &p, (enum place)(mixture & 1), (enum place)(mixture >> 1 & 1), (enum place)(mixture >> 2 & 1), (enum place)(mixture >> 3), 0);
        free_product(&p);
        close_own(&own);
    }
    expect_no_references(staged_forms[_i].a == CLQ_F32);
}
END_TEST

/* ---- batches of calls */

/* A product and another operation, on buffers, on the host and on both. */
START_TEST(among_other_operations)
{
    static const struct form forms[2] = {
        {.a = CLQ_S8, .b = CLQ_S8, .c = CLQ_S32, .m = 30, .n = 20, .k = 50},
        {.a = CLQ_U8, .b = CLQ_S8, .c = CLQ_S8, .m = 5, .n = 40, .k = 90, .params = {ONE_PARAM, PARAM_BY_LINE}, .has_bias = true},
    };
    enum { N = 3000 };
    static float x[N], scale = 0.25f;
    static int8_t q[N], expected[N];
    const int64_t n = N;
    const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 1, &n), tq = clq_tensor_host(CLQ_S8, q, 1, &n), te = clq_tensor_host(CLQ_S8, expected, 1, &n);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    for (int k = 0; k < N; k++)
        x[k] = (float)(k % 201 - 100) * 0.3f;
    ref_quantize(&tx, &params, &te, NULL);
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1260);
        struct own own = open_own(i, 0, NULL);
        for (int mixture = 0; mixture < 8; mixture++) {
            struct arguments arguments;
            struct product p;
            make_product(&p, &random, &forms[mixture & 1]);
            put_product(&own, &p, (enum place)(mixture & 1), ON_HOST, (enum place)(mixture >> 1 & 1), (enum place)(mixture >> 2), 0);
            set_arguments(&arguments, &p, false);
            memset(q, 0, sizeof q);
            TEST_OK(own.context, clq_batch_begin(own.context));
            TEST_OK(own.context, clq_quantize(own.context, &tx, &params, &tq, NULL));
            TEST_OK(own.context, clq_gemm(own.context, &arguments.args));
            TEST_OK(own.context, clq_batch_end(own.context));
            get_product(&own, &p);
            expect_product(&p);
            free_product(&p);
            TEST_CHECK(memcmp(q, expected, sizeof q) == 0, "what was quantized in the same batch");
        }
        close_own(&own);
    }
    expect_no_references(false);
}
END_TEST

/* Products that share a packed B, recorded together; their work memory is one after the other's. */
START_TEST(products_in_a_batch)
{
    enum { PRODUCTS = 5, M = 12, N = 33, K = 40 };
    const struct form form = {.a = CLQ_U8, .b = CLQ_U8, .c = CLQ_S32, .m = M * PRODUCTS, .n = N, .k = K};
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1270);
        struct own own = open_own(i, 0, NULL);
        struct product p;
        make_product(&p, &random, &form);
        clq_packed *const packed = pack(&own, &p, IN_BUFFER);
        for (int mixture = 0; mixture < 4; mixture++) {
            const int64_t a_shape[2] = {M, K}, c_shape[2] = {M, N};
            test_tensor_reset(&p.operand[C].tensor);
            put_product(&own, &p, (enum place)(mixture & 1), ON_HOST, (enum place)(mixture >> 1), ON_HOST, 0);
            TEST_OK(own.context, clq_batch_begin(own.context));
            for (int k = 0; k < PRODUCTS; k++) {
                clq_tensor a = p.operand[A].view, c = p.operand[C].view;
                memcpy(a.shape, a_shape, sizeof a_shape);
                memcpy(c.shape, c_shape, sizeof c_shape);
                a.offset += k * M * a.strides[0];
                c.offset += k * M * c.strides[0];
                TEST_OK(own.context, clq_gemm(own.context, &(clq_gemm_args){.a = &a, .packed_b = packed, .c = &c}));
            }
            TEST_OK(own.context, clq_batch_end(own.context));
            get_product(&own, &p);
            expect_product(&p);
        }
        clq_packed_free(packed);
        free_product(&p);
        close_own(&own);
    }
}
END_TEST

/* ---- a queue of the caller's */

/* Quantizes, multiplies and dequantizes on buffers, each call as soon as the one before has returned. */
START_TEST(chain)
{
    enum { M = 60, N = 50, K = 80 };
    static float x[M * K], y[M * N], expected[M * N];
    static int8_t q[M * K], b[K * N], r[M * N];
    static const float scales[3] = {0.125f, 0.25f, 3.0f};
    static const int32_t zeros[3] = {5, -3, 7};
    const int64_t x_shape[2] = {M, K}, b_shape[2] = {K, N}, c_shape[2] = {M, N};
    const clq_tensor host_x = clq_tensor_host(CLQ_F32, x, 2, x_shape), host_b = clq_tensor_host(CLQ_S8, b, 2, b_shape),
                     host_y = clq_tensor_host(CLQ_F32, y, 2, c_shape);
    const clq_tensor host_q = clq_tensor_host(CLQ_S8, q, 2, x_shape), host_r = clq_tensor_host(CLQ_S8, r, 2, c_shape),
                     host_expected = clq_tensor_host(CLQ_F32, expected, 2, c_shape);
    clq_qparams params[3];
    struct test_random random = test_random_start(1280);
    for (int k = 0; k < 3; k++)
        params[k] = (clq_qparams){.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scales[k], 0, NULL),
                                  .zero_point = clq_tensor_host(CLQ_S32, &zeros[k], 0, NULL)};
    for (int k = 0; k < M * K; k++)
        x[k] = (float)test_between(&random, -128, 127) * 0.11f;
    test_fill_random(&random, b, sizeof b);
    ref_quantize(&host_x, &params[0], &host_q, NULL);
    ref_gemm(&(clq_gemm_args){.a = &host_q, .b = &host_b, .c = &host_r, .a_params = &params[0], .b_params = &params[1], .c_params = &params[2]});
    ref_dequantize(&host_r, &params[2], &host_expected);
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, NULL);
        clq_buffer *buffer[5];
        const clq_tensor *const hosts[5] = {&host_x, &host_q, &host_b, &host_r, &host_y};
        clq_tensor there[5];
        for (int k = 0; k < 5; k++) {
            TEST_OK(own.context, clq_buffer_create(own.context, sizeof x + sizeof y, &buffer[k]));
            there[k] = clq_tensor_buffer(hosts[k]->dtype, buffer[k], 0, 2, hosts[k]->shape);
        }
        for (int repeat = 0; repeat < (int)test_amount(50, 10); repeat++) {
            const clq_gemm_args args = {.a = &there[1], .b = &there[2], .c = &there[3], .a_params = &params[0], .b_params = &params[1], .c_params = &params[2]};
            memset(y, 0, sizeof y);
            TEST_OK(own.context, clq_convert(own.context, &host_y, &there[4]));
            TEST_OK(own.context, clq_convert(own.context, &host_x, &there[0]));
            TEST_OK(own.context, clq_convert(own.context, &host_b, &there[2]));
            TEST_OK(own.context, clq_quantize(own.context, &there[0], &params[0], &there[1], NULL));
            TEST_OK(own.context, clq_gemm(own.context, &args));
            TEST_OK(own.context, clq_dequantize(own.context, &there[3], &params[2], &there[4]));
            TEST_OK(own.context, clq_convert(own.context, &there[4], &host_y));
            TEST_CHECK(memcmp(y, expected, sizeof y) == 0, "run %d: other values than the reference's", repeat);
        }
        for (int k = 0; k < 5; k++)
            clq_buffer_free(buffer[k]);
        close_own(&own);
    }
    expect_no_references(false);
}
END_TEST

/* ---- sums in parts */

/* One tile, of whichever tiling, with a long K: where there is more than one compute unit parts of K are kernels of one launch, their sums finished by a
   second one. */
START_TEST(split_k)
{
    enum { M = 12, N = 12, K = 20000 };
    FOR_EACH_DEVICE(i)
    {
        static const clq_dtype results[] = {CLQ_S32, CLQ_F32, CLQ_S8};
        struct own own = open_own(i, 0, NULL);
        clq_device_info info;
        TEST_OK(own.context, clq_context_info(own.context, &info));
        for (size_t t = 0; t < TEST_COUNT_OF(results); t++) {
            struct test_random random = test_random_start(1290 + t);
            struct form form = {.a = CLQ_S8, .b = CLQ_S8, .c = results[t], .m = M, .n = N, .k = 64, .by_cols = {false, true, t == 1}, .has_bias = true};
            struct product p;
            for (int depth = 0; depth < 2; depth++) {
                long long before;
                form.k = depth ? K : 64;
                make_product(&p, &random, &form);
                put_product(&own, &p, IN_BUFFER, IN_BUFFER, IN_BUFFER, IN_BUFFER, 0);
                TEST_OK(own.context, multiply(&own, &p, NULL)); /* tries the unit */
                before = launches();
                TEST_OK(own.context, multiply(&own, &p, NULL));
                TEST_CHECK(launches() - before == 1 + (depth && info.num_threads > 1), "K = %lld took %lld launches", (long long)form.k, launches() - before);
                get_product(&own, &p);
                expect_product(&p);
                free_product(&p);
            }
            form.params[0] = form.params[1] = PARAM_BY_LINE;
            form.batch = t == 2 ? 2 : 0;
            check_form(&own, &random, &form, IN_BUFFER);
            form.m = 3; /* few rows have a kernel of their own */
            check_form(&own, &random, &form, t ? ON_HOST : IN_BUFFER);
        }
        close_own(&own);
    }
}
END_TEST

/* ---- parameters on the device */

START_TEST(parameters_on_the_device)
{
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1300);
        struct own own = open_own(i, 0, NULL);
        for (int t = 0; t < 16; t++) {
            const struct form form = {.a = t & 1 ? CLQ_U8 : CLQ_S8, .b = t & 2 ? CLQ_U8 : CLQ_S8, .c = t & 4 ? CLQ_U8 : t & 8 ? CLQ_F32 : CLQ_S32,
                                      .m = t & 2 ? 5 : 21, .n = 35, .k = 70, .by_cols = {false, t & 1, t & 8},
                                      .params = {t & 4 ? ONE_PARAM : PARAM_BY_LINE, t & 8 ? ONE_PARAM : PARAM_BY_LINE}, .has_bias = true};
            struct product p;
            make_product(&p, &random, &form);
            check_product(&own, &p, IN_BUFFER, IN_BUFFER, IN_BUFFER, IN_BUFFER, 0);
            check_product(&own, &p, ON_HOST, ON_HOST, ON_HOST, IN_MEMORY, 0);
            free_product(&p);
        }
        close_own(&own);
    }
}
END_TEST

/* Nobody checks them there: results are unspecified, but lie within their range, and nothing else is written. */
START_TEST(bad_parameters_on_the_device)
{
    static const float scales[] = {NAN, INFINITY, -INFINITY, 0.0f, -1.0f, 1e-40f, 3e38f};
    static const int32_t zeros[] = {INT32_MIN, INT32_MAX, 300, -300, 1 << 24, -129, 256};
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1310);
        struct own own = open_own(i, 0, NULL);
        for (int t = 0; t < 7 * 8; t++) {
            static const clq_dtype results[] = {CLQ_S8, CLQ_U8, CLQ_F32, CLQ_S32};
            const struct form form = {.a = t & 1 ? CLQ_U8 : CLQ_S8, .b = CLQ_S8, .c = results[t / 7 % 4], .m = t < 28 ? 4 : 19, .n = 21, .k = 40,
                                      .gap = {0, 0, 11}, .by_cols = {false, true, t & 1}, .params = {ONE_PARAM, PARAM_BY_LINE}};
            struct product p;
            struct test_tensor *const c = &p.operand[C].tensor;
            int64_t index[CLQ_MAX_RANK] = {0};
            make_product(&p, &random, &form);
            for (int side = 0; side < 3; side++) {
                set_entry(&p, A_SCALE + 2 * side, 0, test_bits(scales[(t + side) % 7]));
                set_entry(&p, A_ZERO + 2 * side, 0, (uint64_t)(int64_t)zeros[(t + side) % 7]);
                test_tensor_sync(&p.operand[A_SCALE + 2 * side].tensor);
                test_tensor_sync(&p.operand[A_ZERO + 2 * side].tensor);
            }
            p.scheme[2].qmin = form.c == CLQ_U8 ? 10 : -100;
            p.scheme[2].qmax = form.c == CLQ_U8 ? 240 : 90;
            test_tensor_reset(c);
            put_product(&own, &p, IN_BUFFER, IN_BUFFER, IN_BUFFER, IN_BUFFER, 5);
            TEST_OK(own.context, multiply(&own, &p, NULL));
            get_product(&own, &p);
            memcpy(c->copy, c->initial, c->size_bytes);
            do {
                const int64_t value = (int64_t)ref_get(&c->view, index);
                TEST_CHECK(!is_8bit(form.c) || (value >= p.scheme[2].qmin && value <= p.scheme[2].qmax), "a result is %lld", (long long)value);
                ref_set(&c->expected, index, (uint64_t)value);
            } while (ref_next(2, c->view.shape, index));
            expect_product(&p);
            free_product(&p);
        }
        close_own(&own);
    }
}
END_TEST

/* ---- f32 */

START_TEST(f32_operands)
{
    static const struct form forms[] = {
        {.m = 1, .n = 200, .k = 300},
        {.m = 1, .n = 65, .k = 33, .by_cols = {false, true, false}, .has_bias = true, .activation = CLQ_ACTIVATION_RELU},
        {.m = 200, .n = 1, .k = 70, .by_cols = {true, false, true}, .has_bias = true},
        {.m = 70, .n = 65, .k = 90, .by_cols = {false, false, true}, .has_bias = true, .activation = CLQ_ACTIVATION_CLAMP},
        {.m = 33, .n = 40, .k = 1, .gap = {3, 5, 7}},
        {.batch = 3, .m = 20, .n = 30, .k = 40, .is_broadcast = {true, false}, .has_bias = true, .activation = CLQ_ACTIVATION_CLAMP},
        {.batch = 3, .m = 20, .n = 30, .k = 40, .by_cols = {true, true, true}, .is_broadcast = {false, true}, .gap = {4, 4, 4}},
        {.batch = 2, .m = 65, .n = 66, .k = 67, .is_broadcast = {true, true}, .activation = CLQ_ACTIVATION_RELU},
    };
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1320);
        struct own own = open_own(i, 0, NULL);
        cl_uint before, after;
        CL_OK(clGetContextInfo(own.cl, CL_CONTEXT_REFERENCE_COUNT, sizeof before, &before, NULL));
        for (size_t t = 0; t < TEST_COUNT_OF(forms); t++) {
            struct form form = forms[t];
            struct product p;
            form.a = form.b = form.c = CLQ_F32;
            make_product(&p, &random, &form);
            for (int place = 0; place < 3; place++)
                check_product(&own, &p, (enum place)place, (enum place)place, (enum place)place, (enum place)place, t % 3);
            free_product(&p);
        }
        clq_context_free(own.context);
        own.context = NULL;
        /* PoCL's threads let go of commands a little after they are complete. */
        for (int tries = 0; tries < 5000; tries++) {
            CL_OK(clGetContextInfo(own.cl, CL_CONTEXT_REFERENCE_COUNT, sizeof after, &after, NULL));
            if (after < before) break;
            usleep(1000);
        }
        TEST_CHECK(after < before, "%u references to the cl_context with a context, %u without", (unsigned)before, (unsigned)after);
        close_own(&own);
    }
}
END_TEST

/* ---- units by name */

/* A product that is made by tiles, on the host. */
static void check_works(clq_context *context)
{
    static const struct form form = {.a = CLQ_U8, .b = CLQ_S8, .c = CLQ_S32, .m = 20, .n = 20, .k = 40};
    const struct own own = {.context = context};
    struct test_random random = test_random_start(1330);
    check_form(&own, &random, &form, ON_HOST);
}

static void expect_text(const clq_context *context, const char *mentions)
{
    clq_device_info info;
    TEST_CHECK(clq_context_info(context, &info) == CLQ_OK, "no info");
    TEST_CHECK(strstr(info.matrix_products, mentions) != NULL, "\"%s\" does not mention \"%s\"", info.matrix_products, mentions);
}

START_TEST(unit_names)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *context;
        char text[300];
        for (int by_variable = 0; by_variable < 2; by_variable++) {
            const char *const source = by_variable ? "CLQ_GEMM_UNIT" : "gemm_unit";
            if (by_variable) setenv("CLQ_GEMM_UNIT", "nonesuch", 1);
            TEST_CHECK(open_named(i, by_variable ? NULL : "nonesuch", true, text, &context) == CLQ_ERROR_INVALID_ARGUMENT && context == NULL, "%s", text);
            TEST_CHECK(strstr(text, source) != NULL && strstr(text, "nonesuch") != NULL, "\"%s\"", text);
            for (int32_t k = 0; k < clq_cl_unit_count; k++) {
                const struct clq_cl_unit *const unit = &clq_cl_units[k];
                const char *const obstacle = unit->find_obstacle(&devices[i]);
                if (!obstacle) continue;
                if (by_variable) setenv("CLQ_GEMM_UNIT", unit->name, 1);
                TEST_CHECK(open_named(i, by_variable ? NULL : unit->name, true, text, &context) == CLQ_ERROR_NO_DEVICE && context == NULL, "%s: %s",
                           unit->name, text);
                TEST_CHECK(strstr(text, source) != NULL && strstr(text, unit->name) != NULL && strstr(text, obstacle) != NULL, "\"%s\"", text);
            }
            if (by_variable) setenv("CLQ_GEMM_UNIT", "portable", 1);
            TEST_CHECK(open_named(i, by_variable ? NULL : "portable", true, text, &context) == CLQ_OK, "%s", text);
            expect_text(context, "portable: asked for");
            check_works(context);
            expect_text(context, "portable: asked for, its numbers are right");
            clq_context_free(context);
        }
        /* The option goes before the variable, and on the CPU neither matters. */
        setenv("CLQ_GEMM_UNIT", "nonesuch", 1);
        TEST_CHECK(open_named(i, "portable", true, text, &context) == CLQ_OK, "%s", text);
        clq_context_free(context);
        clq_context_free(test_context(NULL, 1, NULL, NULL));
        unsetenv("CLQ_GEMM_UNIT");
    }
}
END_TEST

/* The units that the device has, each by its name, around the sizes of tiles; those by name only, which take long to
   compile, are left to `tests/matrix.sh units`. The loop runs over units. */
START_TEST(units)
{
    static const int64_t extents[] = {9, 31, 33, 63, 64, 65, 129, 130};
    const struct clq_cl_unit *const unit = &clq_cl_units[_i];
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1340 + (uint64_t)_i);
        struct own own;
        if (unit->find_obstacle(&devices[i]) || unit->by_name_only) continue;
        own = open_own(i, 0, unit->name);
        for (size_t t = 0; t < TEST_COUNT_OF(extents) * (size_t)test_amount(6, 1); t++) {
            struct form form = draw_form(&random);
            form.batch = 0;
            form.m = extents[t % TEST_COUNT_OF(extents)];
            form.n = extents[test_between(&random, 0, TEST_COUNT_OF(extents) - 1)];
            form.k = extents[test_between(&random, 0, TEST_COUNT_OF(extents) - 1)];
            check_form(&own, &random, &form, (enum place)test_between(&random, 0, PLACES - 1));
        }
        expect_text(own.context, "its numbers are right");
        close_own(&own);
    }
}
END_TEST

/* ---- notes in the cache */

static char cache_folder[PATH_MAX];

static void close_cache(void)
{
    test_remove_folder(cache_folder);
}

static void open_cache(void)
{
    find_devices();
    test_make_folder(cache_folder);
    setenv("CLQ_CACHE_DIR", cache_folder, 1);
}

/* Notes are much smaller than programs. */
enum { MOST_NOTE_BYTES = 400, MOST_NOTES = 8 };

struct note {
    char path[2 * PATH_MAX];
    size_t size_bytes;
    unsigned char bytes[MOST_NOTE_BYTES];
};

/* The notes that are there; *files: of how many files. */
static int read_notes(struct note *notes, int *files)
{
    DIR *const entries = opendir(cache_folder);
    const struct dirent *entry;
    int n = 0;
    TEST_CHECK(entries != NULL, "no folder %s", cache_folder);
    *files = 0;
    while ((entry = readdir(entries)) != NULL) {
        struct note *const note = &notes[n];
        struct stat info;
        FILE *file;
        if (entry->d_name[0] == '.') continue;
        snprintf(note->path, sizeof note->path, "%s/%s", cache_folder, entry->d_name);
        TEST_CHECK(stat(note->path, &info) == 0, "no %s", note->path);
        ++*files;
        if (info.st_size > MOST_NOTE_BYTES) continue;
        TEST_CHECK(++n < MOST_NOTES, "too many notes");
        file = fopen(note->path, "rb");
        note->size_bytes = (size_t)info.st_size;
        TEST_CHECK(file != NULL && fread(note->bytes, 1, note->size_bytes, file) == note->size_bytes, "cannot read %s", note->path);
        fclose(file);
    }
    closedir(entries);
    return n;
}

static void write_note(const struct note *note, const unsigned char *bytes, size_t size_bytes)
{
    FILE *const file = fopen(note->path, "wb");
    TEST_CHECK(file != NULL && fwrite(bytes, 1, size_bytes, file) == size_bytes, "cannot write %s", note->path);
    fclose(file);
}

/* Launches of the first product in a context of its own: one of a unit that is known, and packing; more with a trial. */
static long long first_product(int32_t device)
{
    struct own own = open_plain(device, NULL);
    const long long before = launches();
    long long taken;
    check_works(own.context);
    taken = launches() - before;
    expect_text(own.context, "its numbers are right");
    clq_context_free(own.context);
    return taken;
}

START_TEST(verdicts_are_kept)
{
    FOR_EACH_DEVICE(i)
    {
        static struct note notes[MOST_NOTES], again[MOST_NOTES];
        struct own own = open_plain(i, NULL);
        int files, files_again;
        expect_text(own.context, "not tried yet");
        clq_context_free(own.context);
        const long long with_trial = first_product(i);
        const int n = read_notes(notes, &files);
        const long long without = first_product(i);
        TEST_CHECK(n == 1 && files > 2, "%d notes in %d files", n, files);
        TEST_CHECK(without < with_trial, "%lld launches with a verdict, %lld with a trial", without, with_trial);
        TEST_CHECK(read_notes(again, &files_again) == n && files_again == files, "%d files, then %d", files, files_again);

        /* Damaged in some way, it means one more trial, and is mended. */
        for (int damage = 0; damage < 8; damage++) {
            unsigned char bytes[MOST_NOTE_BYTES + 1] = {0};
            test_note("damage %d", damage);
            memcpy(bytes, notes[0].bytes, notes[0].size_bytes);
            if (damage >= 4) bytes[notes[0].size_bytes * (size_t)(damage - 4) / 4] ^= 1 << damage % 3;
            write_note(&notes[0], bytes, damage < 4 ? notes[0].size_bytes * (size_t)damage / 4 : notes[0].size_bytes);
            TEST_CHECK(first_product(i) == with_trial, "no new trial");
            TEST_CHECK(read_notes(again, &files_again) == n && memcmp(again[0].bytes, notes[0].bytes, notes[0].size_bytes) == 0, "it was not mended");
        }
        /* Another device's would be another's. */
        close_cache();
        TEST_CHECK(mkdir(cache_folder, 0700) == 0, "no folder");
    }
}
END_TEST

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

START_TEST(tuning)
{
    FOR_EACH_DEVICE(i)
    {
        static struct note notes[MOST_NOTES], again[MOST_NOTES];
        struct own own = open_plain(i, NULL);
        const double begin = seconds();
        int files;
        TEST_OK(own.context, clq_context_tune(own.context));
        printf("%s is tuned in %.1f s\n", devices[i].name, seconds() - begin);
        expect_text(own.context, "tuned");
        check_works(own.context);
        clq_context_free(own.context);
        const int n = read_notes(notes, &files);
        TEST_CHECK(n == 2, "%d notes", n);

        own = open_plain(i, NULL);
        check_works(own.context);
        expect_text(own.context, "tuned");
        clq_context_free(own.context);
        for (int k = 0; k < n; k++)
            write_note(&notes[k], notes[k].bytes, notes[k].size_bytes / 2);
        own = open_plain(i, NULL);
        check_works(own.context);
        clq_device_info info;
        TEST_OK(own.context, clq_context_info(own.context, &info));
        TEST_CHECK(strstr(info.matrix_products, "tuned") == NULL, "tuned by half a note: %s", info.matrix_products);
        TEST_OK(own.context, clq_context_tune(own.context));
        clq_context_free(own.context);
        TEST_CHECK(read_notes(again, &files) == 2, "not mended");
        close_cache();
        TEST_CHECK(mkdir(cache_folder, 0700) == 0, "no folder");
    }
}
END_TEST

static const enum shim_call trial_calls[] = {SHIM_clBuildProgram, SHIM_clCreateBuffer, SHIM_clCreateKernel, SHIM_clEnqueueNDRangeKernel, SHIM_clSetKernelArg,
                                             SHIM_clEnqueueReadBuffer};

static void expect_notes(const struct note *wanted, int n, const char *after)
{
    static struct note notes[MOST_NOTES];
    int files;
    const int found = read_notes(notes, &files);
    TEST_CHECK(found <= n, "%d notes after %s fails", found, after);
    for (int k = 0; k < found; k++)
        TEST_CHECK(strcmp(notes[k].path, wanted[0].path) == 0 && notes[k].size_bytes == wanted[0].size_bytes &&
                       memcmp(notes[k].bytes, wanted[0].bytes, wanted[0].size_bytes) == 0,
                   "another verdict is kept after %s fails: \"%.*s\"", after, (int)(notes[k].size_bytes > 88 ? notes[k].size_bytes - 88 : 0),
                   (const char *)notes[k].bytes + 56);
}

static void remove_cache_files(void)
{
    close_cache();
    TEST_CHECK(mkdir(cache_folder, 0700) == 0, "no folder");
}

/* What is in the buffer does not matter. */
static clq_status try_product(clq_context *context, clq_buffer *buffer)
{
    const int64_t a_shape[2] = {20, 40}, b_shape[2] = {40, 20}, c_shape[2] = {20, 20};
    const clq_tensor a = clq_tensor_buffer(CLQ_S8, buffer, 0, 2, a_shape), b = clq_tensor_buffer(CLQ_S8, buffer, 800, 2, b_shape),
                     c = clq_tensor_buffer(CLQ_S32, buffer, 400, 2, c_shape);
    const clq_status status = clq_gemm(context, &(clq_gemm_args){.a = &a, .b = &b, .c = &c});
    const clq_status later = clq_context_synchronize(context);
    return status != CLQ_OK ? status : later;
}

static clq_buffer *make_buffer(clq_context *context)
{
    clq_buffer *buffer;
    TEST_OK(context, clq_buffer_create(context, 3200, &buffer));
    return buffer;
}

/* Work that the caller is yet to allow holds up neither the trial nor the call; what has failed stops packing and tuning as it does products. */
START_TEST(earlier_work)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, NULL);
        clq_buffer *const buffer = make_buffer(own.context);
        const int64_t shape[2] = {20, 20};
        const clq_tensor b = clq_tensor_buffer(CLQ_S8, buffer, 0, 2, shape), c = clq_tensor_buffer(CLQ_S32, buffer, 400, 2, shape);
        clq_packed *packed;
        cl_int code;
        for (int fails = 0; fails < 2; fails++) {
            const cl_event allowed = clCreateUserEvent(own.cl, &code);
            cl_event last;
            CL_OK(code);
            TEST_OK(own.context, clq_opencl_wait(own.context, 1, &allowed));
            if (!fails) TEST_OK(own.context, clq_gemm(own.context, &(clq_gemm_args){.a = &b, .b = &b, .c = &c}));
            TEST_OK(own.context, clq_opencl_event(own.context, &last));
            CL_OK(clSetUserEventStatus(allowed, fails ? -5 : CL_COMPLETE));
            (void)clWaitForEvents(1, &last);
            if (fails) {
                TEST_CHECK(clq_packed_create(own.context, &b, &packed) == CLQ_ERROR_DEVICE && packed == NULL, "packed after a failure");
                TEST_CHECK(clq_context_tune(own.context) == CLQ_ERROR_DEVICE, "tuned after a failure");
            }
            TEST_CHECK(clq_context_synchronize(own.context) == (fails ? CLQ_ERROR_DEVICE : CLQ_OK), "%s", clq_context_error(own.context));
            CL_OK(clReleaseEvent(last));
            CL_OK(clReleaseEvent(allowed));
        }
        TEST_OK(own.context, clq_packed_create(own.context, &b, &packed));
        TEST_OK(own.context, clq_context_tune(own.context));
        check_works(own.context);
        clq_packed_free(packed);
        clq_buffer_free(buffer);
        close_own(&own);
    }
}
END_TEST

/* A compiler that fails once, whatever it says, does not take the last unit away for good; where nothing can be kept, the unit in use is known all the same. */
START_TEST(compiler_fails)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_plain(i, NULL);
        clq_buffer *const buffer = make_buffer(own.context);
        shim.fail_call = SHIM_clBuildProgram;
        shim.fail_code = CL_BUILD_PROGRAM_FAILURE;
        TEST_CHECK(try_product(own.context, buffer) == CLQ_ERROR_NO_DEVICE, "%s", clq_context_error(own.context));
        shim.fail_call = SHIM_CALLS;
        shim.fail_code = 0;
        clq_buffer_free(buffer);
        clq_context_free(own.context);
        first_product(i);
        setenv("CLQ_CACHE_DIR", "/dev/null/none", 1);
        first_product(i);
        setenv("CLQ_CACHE_DIR", cache_folder, 1);
        remove_cache_files();
    }
}
END_TEST

/* A call that fails during a trial says nothing about the unit: no verdict is kept but the right one. The loop runs over single calls, then over functions of
   which every call fails. */
START_TEST(trial_fails)
{
    FOR_EACH_DEVICE(i)
    {
        static struct note wanted[MOST_NOTES];
        const int functions = (int)TEST_COUNT_OF(trial_calls), step = test_quick() ? 9 : 1;
        int files;
        bool reached = true;
        first_product(i);
        TEST_CHECK(read_notes(wanted, &files) == 1, "no verdict");
        /* With programs in the cache a trial takes little; functions that never work are asked to build everything. */
        for (int n = 1; reached && _i == 0; n += step) {
            struct own own = open_plain(i, NULL);
            TEST_CHECK(n < 5000, "no end");
            clq_buffer *const buffer = make_buffer(own.context);
            (void)remove(wanted[0].path);
            atomic_store(&shim.failed, SHIM_CALLS);
            shim.fail_at = atomic_load(&shim.total) + n;
            (void)try_product(own.context, buffer);
            shim.fail_at = 0;
            reached = atomic_load(&shim.failed) != SHIM_CALLS;
            test_note("call %d, %s", n, shim_name(atomic_load(&shim.failed)));
            expect_notes(wanted, 1, shim_name(atomic_load(&shim.failed)));
            check_works(own.context);
            expect_notes(wanted, 1, "nothing");
            clq_buffer_free(buffer);
            clq_context_free(own.context);
        }
        for (int k = 0; k < functions && _i == 1; k++) {
            struct own own = open_plain(i, NULL);
            clq_buffer *const buffer = make_buffer(own.context);
            remove_cache_files();
            test_note("%s never works", shim_name(trial_calls[k]));
            shim.fail_call = trial_calls[k];
            TEST_CHECK(try_product(own.context, buffer) != CLQ_OK, "it does without");
            shim.fail_call = SHIM_CALLS;
            expect_notes(wanted, 0, shim_name(trial_calls[k]));
            check_works(own.context);
            clq_buffer_free(buffer);
            clq_context_free(own.context);
        }
        remove_cache_files();
    }
    expect_no_references(false);
}
END_TEST

/* ---- failing calls */

static int warnings;

static void count_warning(void *opaque, clq_log_level level, const char *text)
{
    (void)opaque;
    (void)text;
    warnings += level == CLQ_LOG_WARNING;
}

static clq_context *open_watched(int32_t device, bool no_fallback, struct test_allocator *allocator)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    char text[300] = "", id[32];
    snprintf(id, sizeof id, "opencl:%d", (int)device);
    options.device = id;
    options.no_fallback = no_fallback;
    options.num_threads = 1;
    options.staging_bytes = STAGING_BYTES;
    options.log = count_warning;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    options.allocator = test_allocator_of(allocator);
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "%s", text);
    return context;
}

/* One call fails: the CPU's result comes, or a status; then the same again without. False if there were fewer calls. */
static bool fail_once(struct own *own, struct product *p, const clq_packed *packed, bool no_fallback, long long n)
{
    clq_status status;
    int failed;
    bool reached;
    test_tensor_reset(&p->operand[C].tensor);
    warnings = 0;
    atomic_store(&shim.failed, SHIM_CALLS);
    shim.fail_at = atomic_load(&shim.total) + n;
    status = multiply(own, p, packed);
    shim.fail_at = 0;
    failed = atomic_load(&shim.failed);
    reached = failed != SHIM_CALLS;
    test_note("%s, call %lld (%s): %s: %s", no_fallback ? "no fallback" : "fallback", n, shim_name(failed), clq_status_name(status),
              clq_context_error(own->context));
    if (status == CLQ_OK) {
        expect_product(p);
        TEST_CHECK(strcmp(clq_context_ran_on(own->context), "opencl") == 0 || (warnings > 0 && !no_fallback && reached), "the CPU took over without a word");
    } else {
        TEST_CHECK(reached && (no_fallback || packed), "%s: %s", clq_status_name(status), clq_context_error(own->context));
        TEST_CHECK(status == CLQ_ERROR_DEVICE || status == CLQ_ERROR_OUT_OF_MEMORY || status == CLQ_ERROR_NO_DEVICE, "%s", clq_status_name(status));
        TEST_CHECK(strlen(clq_context_error(own->context)) > 10 && strchr(clq_context_error(own->context), '\n') == NULL, "\"%s\"",
                   clq_context_error(own->context));
    }
    (void)clq_context_synchronize(own->context);
    test_tensor_reset(&p->operand[C].tensor);
    TEST_OK(own->context, multiply(own, p, packed));
    TEST_CHECK(strcmp(clq_context_ran_on(own->context), "opencl") == 0, "it does not run on the device any more");
    expect_product(p);
    return reached;
}

/* The loop runs over B as it is, B packed and f32; then the same in contexts of which these are the first calls. */
START_TEST(calls_fail)
{
    static const struct form integers = {.a = CLQ_U8, .b = CLQ_S8, .c = CLQ_S8, .m = 20, .n = 30, .k = 300, .params = {ONE_PARAM, PARAM_BY_LINE},
                                         .has_bias = true};
    static const struct form floats = {.a = CLQ_F32, .b = CLQ_F32, .c = CLQ_F32, .m = 20, .n = 30, .k = 60, .has_bias = true,
                                       .activation = CLQ_ACTIVATION_RELU};
    const bool is_packed = _i % 3 == 1, is_f32 = _i % 3 == 2, is_fresh = _i >= 3;
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1350);
        struct product p;
        make_product(&p, &random, is_f32 ? &floats : &integers);
        for (int no_fallback = 0; no_fallback < 2; no_fallback++) {
            const int step = test_quick() ? (is_fresh ? 17 : 3) : 1;
            struct test_allocator allocator = {0};
            struct own own = {.cl = NULL};
            clq_packed *packed = NULL;
            bool reached = true;
            for (long long n = 1; reached; n += step) {
                if (is_fresh || n == 1) {
                    own.context = open_watched(i, no_fallback, &allocator);
                    put_product(&own, &p, ON_HOST, ON_HOST, ON_HOST, ON_HOST, 0);
                    if (is_packed) TEST_OK(own.context, clq_packed_create(own.context, &p.operand[B].view, &packed));
                    if (!is_fresh) TEST_OK(own.context, multiply(&own, &p, packed));
                }
                reached = fail_once(&own, &p, packed, no_fallback, n);
                TEST_CHECK(n < 5000, "no end");
                if (!is_fresh && reached) continue;
                clq_packed_free(packed);
                clq_context_free(own.context);
                expect_no_references(is_f32);
                TEST_CHECK(atomic_load(&allocator.live) == 0 && !atomic_load(&allocator.misused), "%lld pieces have leaked", atomic_load(&allocator.live));
            }
        }
        free_product(&p);
    }
}
END_TEST

/* Weights: every call of the packing fails once. */
START_TEST(packing_fails)
{
    static const struct form form = {.a = CLQ_S8, .b = CLQ_U8, .c = CLQ_S32, .m = 3, .n = 50, .k = 120};
    FOR_EACH_DEVICE(i)
    {
        struct test_random random = test_random_start(1360);
        struct test_allocator allocator = {0};
        struct own own = {.context = open_watched(i, true, &allocator)};
        struct product p;
        bool reached = true;
        make_product(&p, &random, &form);
        clq_packed_free(pack(&own, &p, ON_HOST));
        for (long long n = 1; reached; n++) {
            clq_packed *packed;
            clq_status status;
            put_product(&own, &p, ON_HOST, ON_HOST, ON_HOST, ON_HOST, 0);
            atomic_store(&shim.failed, SHIM_CALLS);
            shim.fail_at = atomic_load(&shim.total) + n;
            status = clq_packed_create(own.context, &p.operand[B].view, &packed);
            shim.fail_at = 0;
            reached = atomic_load(&shim.failed) != SHIM_CALLS;
            test_note("call %lld (%s): %s", n, shim_name(atomic_load(&shim.failed)), clq_context_error(own.context));
            TEST_CHECK((status == CLQ_OK) == (packed != NULL) && (status == CLQ_OK || reached), "%s", clq_status_name(status));
            if (packed) check_packed(&own, &p, packed, ON_HOST, ON_HOST);
            clq_packed_free(packed);
            (void)clq_context_synchronize(own.context);
            packed = pack(&own, &p, ON_HOST);
            check_packed(&own, &p, packed, ON_HOST, ON_HOST);
            clq_packed_free(packed);
            TEST_CHECK(n < 5000, "no end");
        }
        clq_context_free(own.context);
        TEST_CHECK(atomic_load(&allocator.live) == 0 && !atomic_load(&allocator.misused), "%lld pieces have leaked", atomic_load(&allocator.live));
        free_product(&p);
    }
    expect_no_references(false);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("matrix products on OpenCL");
    TCase *const tcase = test_case(suite, "products"), *const notes = test_case(suite, "notes");

    tcase_add_checked_fixture(tcase, find_devices, NULL);
    tcase_add_loop_test(tcase, mixtures, 0, 4);
    tcase_add_test(tcase, to_the_end_of_memory);
    tcase_add_loop_test(tcase, packed_weights, 0, 4);
    tcase_add_test(tcase, packed_without_k);
    tcase_add_test(tcase, packed_on_threads);
    tcase_add_loop_test(tcase, staging, 0, TEST_COUNT_OF(staged_forms));
    tcase_add_test(tcase, among_other_operations);
    tcase_add_test(tcase, products_in_a_batch);
    tcase_add_test(tcase, chain);
    tcase_add_test(tcase, split_k);
    tcase_add_test(tcase, parameters_on_the_device);
    tcase_add_test(tcase, bad_parameters_on_the_device);
    tcase_add_test(tcase, f32_operands);
    tcase_add_test(tcase, unit_names);
    tcase_add_loop_test(tcase, units, 0, clq_cl_unit_count);
    tcase_add_loop_test(tcase, calls_fail, 0, 6);
    tcase_add_test(tcase, packing_fails);
    tcase_add_checked_fixture(notes, open_cache, close_cache);
    tcase_add_test(notes, verdicts_are_kept);
    tcase_add_test(notes, tuning);
    tcase_add_test(notes, earlier_work);
    tcase_add_test(notes, compiler_fails);
    tcase_add_loop_test(notes, trial_fails, 0, 2);
    return test_run_opencl(suite);
}
