/* SPDX-License-Identifier: MIT */
/*
 * Measures one OpenCL device through the public headers and prints a section of tests/gpu-report.sh in Markdown.
 *
 *   tests/gpu_bandwidth PART DEVICE [LOG2]      PART: environment, bandwidth, staging, latency, batch, start; DEVICE: as clquant devices counts;
 *                                               2^LOG2 elements
 *
 * Data repeats every BLOCK elements, so the CPU's results for one block tell what all of them must be: each operation is checked on its first and
 * last block, and sums and counts as a whole, before it is timed. A time is wall time of many queued calls until the queue is empty, divided by
 * their number; of seven such times the median. The device's copy is timed in the same way.
 */
#include "gpu_device.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK   (INT64_C(1) << 20)
#define COLUMNS 1024

static clq_context *gpu, *cpu;
static int mistakes;

static int64_t bytes_of(clq_dtype dtype, int64_t n)
{
    return (n * clq_dtype_bits(dtype) + 7) / 8;
}

static cl_mem create_buffer(int64_t size_bytes)
{
    cl_int code;
    const cl_mem buffer = clCreateBuffer(cl, CL_MEM_READ_WRITE, (size_t)size_bytes, NULL, &code);
    cl_ok(code, "clCreateBuffer");
    return buffer;
}

/* ------------------------------------------------------------------------------------------------ timing */

/* Seconds of a call; `calls` 0: as many at a time as take 20 ms. */
static double measure(work_fn work, void *argument, int64_t calls)
{
    double times[REPEATS];
    run_many(work, argument, gpu, 1);
    if (calls == 0) {
        const double once = run_many(work, argument, gpu, 3) / 3;
        calls = once > 0.02 ? 1 : (int64_t)(0.02 / (once > 1e-6 ? once : 1e-6)) + 1;
    }
    time_repeats(work, argument, gpu, calls, times);
    return times[REPEATS / 2];
}

/* ------------------------------------------------------------------------------------------------ the device */

static void open_contexts(void)
{
    char text[300] = "";
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    options.no_fallback = 1;
    if (clq_context_create_opencl(&options, cl, device, queue, &gpu) != CLQ_OK) fail("clq_context_create_opencl", text);
    options.device = "cpu";
    if (clq_context_create(&options, &cpu) != CLQ_OK) fail("clq_context_create", text);
}

/* ------------------------------------------------------------------------------------------------ the device's own copy */

struct copy {
    cl_mem from, to;
    size_t size_bytes;
    cl_kernel kernel;
};

static void copy_buffer(void *argument)
{
    const struct copy *copy = argument;
    cl_ok(clEnqueueCopyBuffer(queue, copy->from, copy->to, 0, 0, copy->size_bytes, 0, NULL, NULL), "clEnqueueCopyBuffer");
}

static void copy_float4(void *argument)
{
    const struct copy *copy = argument;
    const size_t global = copy->size_bytes / 16, local = 64;
    cl_ok(clEnqueueNDRangeKernel(queue, copy->kernel, 1, NULL, &global, &local, 0, NULL, NULL), "clEnqueueNDRangeKernel");
}

/* Bytes read and written a second, the better of two ways. Overwrites `to`. */
static double copy_bandwidth(cl_mem from, cl_mem to, int64_t size_bytes, double *buffer, double *kernel)
{
    static const char *source = "__kernel void copy4(__global const float4 *a, __global float4 *b) { b[get_global_id(0)] = a[get_global_id(0)]; }";
    struct copy copy = {from, to, (size_t)size_bytes, NULL};
    cl_int code;
    const cl_program program = clCreateProgramWithSource(cl, 1, &source, NULL, &code);
    cl_ok(code, "clCreateProgramWithSource");
    cl_ok(clBuildProgram(program, 1, &device, "-cl-std=CL1.2", NULL, NULL), "clBuildProgram");
    copy.kernel = clCreateKernel(program, "copy4", &code);
    cl_ok(code, "clCreateKernel");
    cl_ok(clSetKernelArg(copy.kernel, 0, sizeof from, &from), "clSetKernelArg");
    cl_ok(clSetKernelArg(copy.kernel, 1, sizeof to, &to), "clSetKernelArg");
    *buffer = 2.0 * (double)size_bytes / measure(copy_buffer, &copy, 0);
    *kernel = 2.0 * (double)size_bytes / measure(copy_float4, &copy, 0);
    clReleaseKernel(copy.kernel);
    clReleaseProgram(program);
    return *buffer > *kernel ? *buffer : *kernel;
}

/* ------------------------------------------------------------------------------------------------ bandwidth */

enum kind { QUANTIZE, DEQUANTIZE, MINMAX, CONVERT, COMPARE, DYNAMIC, REQUANTIZE, FAKE, OBSERVE, BACKWARD, BACKWARD_BY_MASK, LEARNABLE };

struct job {
    enum kind kind;
    clq_dtype x, q;
    bool counted, masked;
    const struct division *division;
    /* Where it runs: operands and the parameters. Gradients have `other` for dy and, learnable ones, results in lo and hi. */
    clq_context *context;
    clq_tensor from, to, other, mask, scale, zero_point, lo, hi, counts;
    clq_error_stats stats;
};

static const struct division {
    const char *name;
    clq_granularity granularity;
    int32_t axis;
    int64_t group_size;
} divisions[] = {
    {"per tensor", CLQ_PER_TENSOR, 0, 0},        {"channel outer", CLQ_PER_CHANNEL, 0, 0},    {"channel inner", CLQ_PER_CHANNEL, 1, 0},
    {"groups of 32", CLQ_PER_GROUP, 1, 32},      {"groups of 128", CLQ_PER_GROUP, 1, 128},
};
enum { DIVISIONS = sizeof divisions / sizeof *divisions };

static clq_qparams params_of(const struct job *job)
{
    return (clq_qparams){.scheme = {.dtype = job->kind == MINMAX || job->kind == CONVERT ? CLQ_S8 : job->q,
                                    .granularity = job->division->granularity,
                                    .axis = job->division->axis,
                                    .group_size = job->division->group_size},
                         .scale = job->scale,
                         .zero_point = job->zero_point};
}

static void perform(void *argument)
{
    struct job *job = argument;
    const clq_qparams params = params_of(job);
    const clq_tensor *const counts = job->counted ? &job->counts : NULL;
    clq_status status;
    switch (job->kind) {
    case QUANTIZE: status = clq_quantize(job->context, &job->from, &params, &job->to, counts); break;
    case DEQUANTIZE: status = clq_dequantize(job->context, &job->from, &params, &job->to); break;
    case MINMAX: status = clq_minmax(job->context, &job->from, &params.scheme, &job->scale, &job->zero_point, counts); break;
    case CONVERT: status = clq_convert(job->context, &job->from, &job->to); break;
    case DYNAMIC: status = clq_dynamic_quantize(job->context, &job->from, &params, &job->to, counts); break;
    case REQUANTIZE: status = clq_requantize(job->context, &job->from, &params, &params, &job->to); break;
    case FAKE: status = clq_fake_quantize(job->context, &job->from, &params, &job->to, job->masked ? &job->mask : NULL, counts); break;
    case OBSERVE:
        status = clq_observe_fake_quantize(job->context, &job->from, 0.01f, &job->lo, &job->hi, &params, &job->to, job->masked ? &job->mask : NULL, counts);
        break;
    case BACKWARD: status = clq_fake_quantize_backward(job->context, &job->other, &job->from, &params, NULL, &job->to); break;
    case BACKWARD_BY_MASK: status = clq_fake_quantize_backward(job->context, &job->other, NULL, NULL, &job->mask, &job->to); break;
    case LEARNABLE:
        status = clq_fake_quantize_backward_learnable(job->context, &job->other, &job->from, &params, 1.0f, &job->to, &job->lo, &job->hi);
        break;
    default: status = clq_compute_error_stats(job->context, &job->from, &job->to, &params, &job->stats); break;
    }
    ok(job->context, status, "an operation");
}

/* The device's memory, and on the host that of a block and its results. */
struct arena {
    int64_t n, block;
    cl_mem x, q, y, other, mask, scale, zero_point, lo, hi, counts;
    void *block_x[4], *block_q, *block_y, *block_mask, *host_scale, *host_zero_point, *host_lo, *host_hi, *there;
    int64_t host_counts[3];
    double copy;
};

static void shape_of(int64_t n, int64_t shape[2])
{
    shape[0] = n / COLUMNS;
    shape[1] = COLUMNS;
}

static int64_t param_count(clq_context *context, const struct job *job, int64_t n, int32_t *rank, int64_t *shape)
{
    const clq_qparams params = params_of(job);
    int64_t tensor_shape[2], count = 1;
    shape_of(n, tensor_shape);
    const clq_tensor x = clq_tensor_host(CLQ_F32, NULL, 2, tensor_shape);
    ok(context, clq_scheme_shape(context, &params.scheme, &x, rank, shape), "clq_scheme_shape");
    for (int32_t i = 0; i < *rank; i++)
        count *= shape[i];
    return count;
}

/* q is the input. */
static bool has_quantized_input(const struct job *job)
{
    return job->kind == DEQUANTIZE || job->kind == REQUANTIZE;
}

/* q is the output. */
static bool has_quantized_output(const struct job *job)
{
    return job->kind == QUANTIZE || job->kind == DYNAMIC;
}

/* Points a job at n elements on the device or at a block on the host. */
static void place(struct job *job, struct arena *arena, bool on_device)
{
    static const int64_t three[] = {3};
    const int64_t n = on_device ? arena->n : arena->block;
    const clq_dtype second = job->kind == MINMAX ? CLQ_F32 : CLQ_S32;
    const clq_dtype y_dtype = job->kind == CONVERT || job->kind == REQUANTIZE ? job->q : job->x;
    const bool is_y = !has_quantized_output(job) && job->kind != COMPARE && job->kind != MINMAX;
    const int64_t mask_bytes = n / 8;
    int64_t shape[2], param_shape[CLQ_MAX_RANK];
    int32_t rank;
    shape_of(n, shape);
    job->context = on_device ? gpu : cpu;
    param_count(job->context, job, n, &rank, param_shape);
    if (on_device) {
        const clq_tensor x = clq_tensor_opencl(job->x, arena->x, 0, 2, shape), q = clq_tensor_opencl(job->q, arena->q, 0, 2, shape);
        const clq_tensor y = clq_tensor_opencl(y_dtype, arena->y, 0, 2, shape);
        job->from = has_quantized_input(job) ? q : x;
        job->to = is_y ? y : q;
        job->other = clq_tensor_opencl(job->x, arena->other, 0, 2, shape);
        job->mask = clq_tensor_opencl(CLQ_U8, arena->mask, 0, 1, &mask_bytes);
        job->scale = clq_tensor_opencl(CLQ_F32, arena->scale, 0, rank, param_shape);
        job->zero_point = clq_tensor_opencl(second, arena->zero_point, 0, rank, param_shape);
        job->lo = clq_tensor_opencl(CLQ_F32, arena->lo, 0, rank, param_shape);
        job->hi = clq_tensor_opencl(CLQ_F32, arena->hi, 0, rank, param_shape);
        job->counts = clq_tensor_opencl(CLQ_S64, arena->counts, 0, 1, three);
    } else {
        const clq_tensor x = clq_tensor_host(job->x, arena->block_x[job->x], 2, shape), q = clq_tensor_host(job->q, arena->block_q, 2, shape);
        const clq_tensor y = clq_tensor_host(y_dtype, arena->block_y, 2, shape);
        job->from = has_quantized_input(job) ? q : x;
        job->to = is_y ? y : q;
        job->other = x;
        job->mask = clq_tensor_host(CLQ_U8, arena->block_mask, 1, &mask_bytes);
        job->scale = clq_tensor_host(CLQ_F32, arena->host_scale, rank, param_shape);
        job->zero_point = clq_tensor_host(second, arena->host_zero_point, rank, param_shape);
        job->lo = clq_tensor_host(CLQ_F32, arena->host_lo, rank, param_shape);
        job->hi = clq_tensor_host(CLQ_F32, arena->host_hi, rank, param_shape);
        job->counts = clq_tensor_host(CLQ_S64, arena->host_counts, 1, three);
    }
}

/* The first and the last bytes of what is on the device are those of the host. */
static bool is_there(struct arena *arena, cl_mem buffer, int64_t size_bytes, const void *expected, int64_t expected_bytes)
{
    const int64_t starts[] = {0, size_bytes - expected_bytes};
    bool same = true;
    for (int i = 0; i < 2; i++) {
        cl_ok(clEnqueueReadBuffer(queue, buffer, CL_TRUE, (size_t)starts[i], (size_t)expected_bytes, arena->there, 0, NULL, NULL), "clEnqueueReadBuffer");
        same = same && memcmp(arena->there, expected, (size_t)expected_bytes) == 0;
    }
    return same;
}

static bool is_near(double a, double b)
{
    return a == b || fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

static bool is_right(const struct job *there, const struct job *here, struct arena *arena)
{
    const int64_t repeats = arena->n / arena->block;
    int64_t counts[3], shape[CLQ_MAX_RANK];
    int32_t rank;
    bool right = true;
    if (there->counted) {
        cl_ok(clEnqueueReadBuffer(queue, arena->counts, CL_TRUE, 0, sizeof counts, counts, 0, NULL, NULL), "clEnqueueReadBuffer");
        for (int i = 0; i < 3; i++)
            right = right && counts[i] == repeats * arena->host_counts[i];
    }
    if (there->kind == COMPARE)
        return right && there->stats.count == repeats * here->stats.count && there->stats.max_error == here->stats.max_error &&
               there->stats.clipped_count == repeats * here->stats.clipped_count && is_near(there->stats.mse, here->stats.mse) &&
               is_near(there->stats.mae, here->stats.mae);
    if (there->kind == MINMAX) {
        const int64_t all = 4 * param_count(cpu, there, arena->n, &rank, shape), some = 4 * param_count(cpu, there, arena->block, &rank, shape);
        return right && is_there(arena, arena->scale, all, arena->host_scale, some) && is_there(arena, arena->zero_point, all, arena->host_zero_point, some);
    }
    if (there->masked) right = right && is_there(arena, arena->mask, arena->n / 8, arena->block_mask, arena->block / 8);
    return right && is_there(arena, has_quantized_output(there) ? arena->q : arena->y, bytes_of(there->to.dtype, arena->n), here->to.data,
                             bytes_of(here->to.dtype, arena->block));
}

/* Fills x and the gradient with the block again and again. */
static void fill(struct arena *arena, clq_dtype dtype)
{
    const size_t size_bytes = (size_t)bytes_of(dtype, arena->block);
    for (int64_t i = 0; i < arena->n / arena->block; i++)
        cl_ok(clEnqueueWriteBuffer(queue, arena->x, CL_FALSE, (size_t)i * size_bytes, size_bytes, arena->block_x[dtype], 0, NULL, NULL), "clEnqueueWriteBuffer");
    cl_ok(clEnqueueCopyBuffer(queue, arena->x, arena->other, 0, 0, (size_t)bytes_of(dtype, arena->n), 0, NULL, NULL), "clEnqueueCopyBuffer");
    cl_ok(clFinish(queue), "clFinish");
}

static void open_arena(struct arena *arena, int64_t n)
{
    arena->n = n;
    arena->block = n < BLOCK ? n : BLOCK;
    const int64_t shape[] = {arena->block};
    uint64_t state = 1;
    float *values = allocate((size_t)arena->block * 4);
    for (int64_t i = 0; i < arena->block; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        values[i] = (float)((double)(state >> 40) / 8388608.0 - 1.0) * (i % 97 == 0 ? 8.0f : 1.0f);
        if (state >> 50 == 77) values[i] = INFINITY; /* no NaN: its payload may differ */
    }
    arena->block_x[CLQ_F32] = values;
    for (clq_dtype dtype = CLQ_F16; dtype <= CLQ_BF16; dtype++) {
        arena->block_x[dtype] = allocate((size_t)arena->block * 2);
        const clq_tensor from = clq_tensor_host(CLQ_F32, values, 1, shape), to = clq_tensor_host(dtype, arena->block_x[dtype], 1, shape);
        ok(cpu, clq_convert(cpu, &from, &to), "clq_convert");
    }
    arena->block_q = allocate((size_t)arena->block * 4);
    arena->block_y = allocate((size_t)arena->block * 4);
    arena->there = allocate((size_t)arena->block * 4);
    arena->host_scale = allocate((size_t)arena->block * 4);
    arena->host_zero_point = allocate((size_t)arena->block * 4);
    arena->host_lo = allocate((size_t)arena->block * 4);
    arena->host_hi = allocate((size_t)arena->block * 4);
    arena->block_mask = allocate((size_t)arena->block / 8);
    arena->x = create_buffer(4 * n);
    arena->q = create_buffer(n);
    arena->y = create_buffer(4 * n);
    arena->other = create_buffer(4 * n);
    arena->mask = create_buffer(n / 8);
    arena->scale = create_buffer(n / 32 * 4 + COLUMNS * 4);
    arena->zero_point = create_buffer(n / 32 * 4 + COLUMNS * 4);
    arena->lo = create_buffer(n / 32 * 4 + COLUMNS * 4);
    arena->hi = create_buffer(n / 32 * 4 + COLUMNS * 4);
    arena->counts = create_buffer(24);
}

static void close_arena(struct arena *arena)
{
    const cl_mem buffers[] = {arena->x,          arena->q,  arena->y,  arena->other,  arena->mask, arena->scale,
                              arena->zero_point, arena->lo, arena->hi, arena->counts};
    void *const memory[] = {arena->block_x[CLQ_F32], arena->block_x[CLQ_F16], arena->block_x[CLQ_BF16], arena->block_q, arena->block_y,
                            arena->there, arena->host_scale, arena->host_zero_point, arena->host_lo, arena->host_hi, arena->block_mask};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        clReleaseMemObject(buffers[i]);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        free(memory[i]);
}

/* Parameters from the data, q where that is an input, the mask and an average, in both places. */
static void prepare(const struct job *job)
{
    struct job first = *job;
    const clq_qparams params = params_of(job);
    if (job->kind == MINMAX || job->kind == CONVERT) return;
    if (has_quantized_input(job)) {
        first.from = job->to;
        first.from.dtype = job->x;
        first.to = job->from;
    }
    ok(job->context, clq_choose_qparams(job->context, &first.from, &params), "clq_choose_qparams");
    first.kind = QUANTIZE;
    if (has_quantized_input(job) || job->kind == COMPARE) perform(&first);
    if (job->kind == BACKWARD_BY_MASK)
        ok(job->context, clq_fake_quantize(job->context, &job->from, &params, &job->to, &job->mask, NULL), "clq_fake_quantize");
    if (job->kind == OBSERVE) ok(job->context, clq_minmax(job->context, &job->from, &params.scheme, &job->lo, &job->hi, NULL), "clq_minmax");
}

/* Those of the operands and parameters, each once, in n elements. */
static double count_bytes(const struct job *job, int64_t n)
{
    const bool reads_from = job->kind != BACKWARD_BY_MASK, writes = job->kind != MINMAX;
    const bool has_other = job->kind == BACKWARD || job->kind == BACKWARD_BY_MASK || job->kind == LEARNABLE;
    double bytes = 0;
    int64_t shape[CLQ_MAX_RANK];
    int32_t rank;
    if (reads_from) bytes += (double)bytes_of(job->from.dtype, n);
    if (writes) bytes += (double)bytes_of(job->to.dtype, n);
    if (has_other) bytes += (double)bytes_of(job->x, n);
    if (job->masked) bytes += (double)n / 8;
    if (job->kind != CONVERT && reads_from) bytes += 8.0 * (double)param_count(cpu, job, n, &rank, shape);
    return bytes;
}

static void measure_operation(struct arena *arena, const char *name, struct job job, int division, clq_dtype *filled)
{
    struct job here, there;
    job.division = &divisions[division];
    if (*filled != job.x) fill(arena, *filled = job.x);
    here = there = job;
    place(&here, arena, false);
    place(&there, arena, true);
    if (has_quantized_input(&job)) { /* that is x, quantized: y serves as x until then */
        memcpy(arena->block_y, arena->block_x[job.x], (size_t)bytes_of(job.x, arena->block));
        cl_ok(clEnqueueCopyBuffer(queue, arena->x, arena->y, 0, 0, (size_t)bytes_of(job.x, arena->n), 0, NULL, NULL), "clEnqueueCopyBuffer");
    }
    prepare(&here);
    prepare(&there);
    perform(&here);
    perform(&there);
    ok(gpu, clq_context_synchronize(gpu), "clq_context_synchronize");
    const bool right = is_right(&there, &here, arena);
    if (!right) mistakes++;
    const double seconds = measure(perform, &there, 0);
    const double bytes = count_bytes(&there, arena->n);
    printf("| %s | %s | %.1f | %.1f | %.0f %% | %s |\n", name, job.kind == CONVERT ? "" : job.division->name, seconds * 1e6, bytes / seconds * 1e-9,
           100.0 * bytes / seconds / arena->copy, right ? "same bits" : "**WRONG**");
    fflush(stdout);
}

static void bandwidth(int log2)
{
    static const struct {
        const char *name;
        struct job job;
        int divisions;
    } operations[] = {
        {"quantize f32 to s8", {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"quantize f32 to s8, counts", {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_S8, .counted = true}, DIVISIONS},
        {"quantize f32 to u8", {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_U8}, DIVISIONS},
        {"quantize f32 to s4", {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_S4}, DIVISIONS},
        {"dequantize s8 to f32", {.kind = DEQUANTIZE, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"dequantize u8 to f32", {.kind = DEQUANTIZE, .x = CLQ_F32, .q = CLQ_U8}, DIVISIONS},
        {"dequantize s4 to f32", {.kind = DEQUANTIZE, .x = CLQ_F32, .q = CLQ_S4}, DIVISIONS},
        {"minmax f32", {.kind = MINMAX, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"minmax f32, counts", {.kind = MINMAX, .x = CLQ_F32, .q = CLQ_S8, .counted = true}, 1},
        {"error_stats f32, s8", {.kind = COMPARE, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"convert f32 to f16", {.kind = CONVERT, .x = CLQ_F32, .q = CLQ_F16}, 1},
        {"dynamic_quantize f32 to u8", {.kind = DYNAMIC, .x = CLQ_F32, .q = CLQ_U8}, DIVISIONS},
        {"requantize s8 to s8", {.kind = REQUANTIZE, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"fake_quantize f32", {.kind = FAKE, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"fake_quantize f32, mask", {.kind = FAKE, .x = CLQ_F32, .q = CLQ_S8, .masked = true}, DIVISIONS},
        {"observe_fake_quantize f32, mask", {.kind = OBSERVE, .x = CLQ_F32, .q = CLQ_S8, .masked = true}, DIVISIONS},
        {"fake_quantize_backward f32, by mask", {.kind = BACKWARD_BY_MASK, .x = CLQ_F32, .q = CLQ_S8, .masked = true}, 1},
        {"fake_quantize_backward f32, by x", {.kind = BACKWARD, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"fake_quantize_backward_learnable f32", {.kind = LEARNABLE, .x = CLQ_F32, .q = CLQ_S8}, DIVISIONS},
        {"fake_quantize f16, mask", {.kind = FAKE, .x = CLQ_F16, .q = CLQ_S8, .masked = true}, DIVISIONS},
        {"quantize f16 to s8", {.kind = QUANTIZE, .x = CLQ_F16, .q = CLQ_S8}, DIVISIONS},
        {"dequantize s8 to f16", {.kind = DEQUANTIZE, .x = CLQ_F16, .q = CLQ_S8}, DIVISIONS},
        {"minmax f16", {.kind = MINMAX, .x = CLQ_F16, .q = CLQ_S8}, 1},
    };
    const int64_t n = INT64_C(1) << log2;
    struct arena arena = {0};
    clq_dtype filled = CLQ_DTYPE_NONE;
    cl_ulong most = 0, memory = 0;
    double buffer, kernel;
    printf("## Bandwidth, 2^%d elements as %lld x %d\n\n", log2, (long long)(n / COLUMNS), COLUMNS);
    cl_ok(clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof most, &most, NULL), "clGetDeviceInfo");
    cl_ok(clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL), "clGetDeviceInfo");
    if (4 * (uint64_t)n > most || 15 * (uint64_t)n > memory) {
        printf("Left out: it takes 15 bytes an element, 4 of them at once; the device has %llu, at most %llu at once.\n", (unsigned long long)memory,
               (unsigned long long)most);
        return;
    }
    open_arena(&arena, n);
    fill(&arena, filled = CLQ_F32);
    arena.copy = copy_bandwidth(arena.x, arena.y, 4 * n, &buffer, &kernel);
    printf("Copy of %lld bytes, read + written: clEnqueueCopyBuffer %.1f GB/s, a float4 kernel %.1f GB/s. Shares are of the better one.\n"
           "Bytes are those of the operands and parameters, each once. Times: wall time of many queued calls; error_stats waits for each.\n\n"
           "| operation | parameters | microseconds | GB/s | share | check |\n|---|---|---:|---:|---:|---|\n",
           (long long)(4 * n), buffer * 1e-9, kernel * 1e-9);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        for (int d = 0; d < operations[i].divisions; d++)
            measure_operation(&arena, operations[i].name, operations[i].job, d, &filled);
    close_arena(&arena);
}

/* ------------------------------------------------------------------------------------------------ the link, small calls, starting */

struct transfer {
    cl_mem buffer;
    void *memory;
    size_t size_bytes;
    bool up;
};

static void transfer(void *argument)
{
    const struct transfer *t = argument;
    cl_ok(t->up ? clEnqueueWriteBuffer(queue, t->buffer, CL_FALSE, 0, t->size_bytes, t->memory, 0, NULL, NULL)
                : clEnqueueReadBuffer(queue, t->buffer, CL_FALSE, 0, t->size_bytes, t->memory, 0, NULL, NULL), "a transfer");
}

static void staging(int log2)
{
    const int64_t n = INT64_C(1) << log2;
    struct job job = {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_S8, .division = &divisions[0]};
    struct transfer t = {.size_bytes = (size_t)(n < (INT64_C(1) << 24) ? 4 * n : INT64_C(1) << 26)};
    double link[2];
    int64_t shape[] = {n};
    cl_int code;
    const cl_mem pinned = clCreateBuffer(cl, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, t.size_bytes, NULL, &code);
    cl_ok(code, "clCreateBuffer");
    t.buffer = create_buffer((int64_t)t.size_bytes);
    t.memory = clEnqueueMapBuffer(queue, pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, t.size_bytes, 0, NULL, NULL, &code);
    cl_ok(code, "clEnqueueMapBuffer");
    memset(t.memory, 0, t.size_bytes);
    for (int up = 0; up < 2; up++) {
        t.up = up != 0;
        link[up] = (double)t.size_bytes / measure(transfer, &t, 0);
    }
    cl_ok(clEnqueueUnmapMemObject(queue, pinned, t.memory, 0, NULL, NULL), "clEnqueueUnmapMemObject");
    cl_ok(clFinish(queue), "clFinish");
    clReleaseMemObject(pinned);
    clReleaseMemObject(t.buffer);

    float scale = 1.0f / 64.0f;
    int32_t zero_point = 3;
    float *x = allocate((size_t)n * 4), *y = allocate((size_t)n * 4);
    int8_t *q = allocate((size_t)n), *expected = allocate((size_t)n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i * 7919 % 4001 - 2000) / 1000.0f;
    job.scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL);
    job.zero_point = clq_tensor_host(CLQ_S32, &zero_point, 0, NULL);
    job.from = clq_tensor_host(CLQ_F32, x, 1, shape);
    job.to = clq_tensor_host(CLQ_S8, expected, 1, shape);
    job.context = cpu;
    perform(&job);
    job.to.data = q;
    job.context = gpu;
    perform(&job);
    const bool right = memcmp(q, expected, (size_t)n) == 0 && strcmp(clq_context_ran_on(gpu), "opencl") == 0;
    if (!right) mistakes++;
    const double quantized = measure(perform, &job, 0);
    job.kind = DEQUANTIZE;
    job.from = job.to;
    job.to = clq_tensor_host(CLQ_F32, y, 1, shape);
    const double dequantized = measure(perform, &job, 0);
    printf("## Host tensors, 2^%d elements\n\nThe link, pinned memory, %zu bytes at a time: to the device %.2f GB/s, back %.2f GB/s.\n\n"
           "| call | microseconds | f32 GB/s | share of the link | check |\n|---|---:|---:|---:|---|\n"
           "| quantize f32 to s8 | %.0f | %.2f | %.0f %% | %s |\n| dequantize s8 to f32 | %.0f | %.2f | %.0f %% | |\n",
           log2, t.size_bytes, link[1] * 1e-9, link[0] * 1e-9, quantized * 1e6, 4e-9 * (double)n / quantized, 400.0 * (double)n / quantized / link[1],
           right ? "same bits" : "**WRONG**", dequantized * 1e6, 4e-9 * (double)n / dequantized, 400.0 * (double)n / dequantized / link[0]);
    free(x);
    free(y);
    free(q);
    free(expected);
}

/* A call and the wait for it. */
static void perform_and_wait(void *argument)
{
    perform(argument);
    ok(gpu, clq_context_synchronize(gpu), "clq_context_synchronize");
}

static void latency(void)
{
    const int64_t shape[] = {1000};
    float x[1000] = {0}, scale = 0.5f;
    int32_t zero_point = 0;
    int8_t q[1000];
    const cl_mem memory[] = {create_buffer(sizeof x), create_buffer(sizeof q)};
    struct job job = {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_S8, .division = &divisions[0], .context = gpu};
    job.scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL);
    job.zero_point = clq_tensor_host(CLQ_S32, &zero_point, 0, NULL);
    job.from = clq_tensor_opencl(CLQ_F32, memory[0], 0, 1, shape);
    job.to = clq_tensor_opencl(CLQ_S8, memory[1], 0, 1, shape);
    cl_ok(clEnqueueWriteBuffer(queue, memory[0], CL_TRUE, 0, sizeof x, x, 0, NULL, NULL), "clEnqueueWriteBuffer");
    const double queued = measure(perform, &job, 1000), waited = measure(perform_and_wait, &job, 200);
    job.from = clq_tensor_host(CLQ_F32, x, 1, shape);
    job.to = clq_tensor_host(CLQ_S8, q, 1, shape);
    const double host = measure(perform, &job, 200);
    job.context = cpu;
    const double on_cpu = measure(perform, &job, 1000);
    printf("## Latency: quantize 1,000 f32 to s8\n\n| call | microseconds |\n|---|---:|\n| device memory, many queued | %.1f |\n"
           "| device memory, waited for | %.1f |\n| host memory, on the device | %.1f |\n| host memory, on the CPU | %.1f |\n",
           queued * 1e6, waited * 1e6, host * 1e6, on_cpu * 1e6);
    for (int i = 0; i < 2; i++)
        clReleaseMemObject(memory[i]);
}

struct many {
    struct job jobs[300];
    bool batch;
};

static void perform_many(void *argument)
{
    struct many *many = argument;
    if (many->batch) ok(gpu, clq_batch_begin(gpu), "clq_batch_begin");
    for (size_t i = 0; i < sizeof many->jobs / sizeof *many->jobs; i++)
        perform(&many->jobs[i]);
    if (many->batch) ok(gpu, clq_batch_end(gpu), "clq_batch_end");
}

static void batch(void)
{
    enum { TENSORS = 300, EACH = 10240 };
    const int64_t shape[] = {EACH}, all[] = {TENSORS * EACH};
    static struct many many;
    float *const x = allocate(TENSORS * EACH * sizeof *x), scale = 1.0f / 32.0f;
    int8_t *const q = allocate(TENSORS * EACH), *const expected = allocate(TENSORS * EACH);
    const cl_mem memory[] = {create_buffer(TENSORS * EACH * 4), create_buffer(TENSORS * EACH), create_buffer(4)};
    struct job one = {.kind = QUANTIZE, .x = CLQ_F32, .q = CLQ_S8, .division = &divisions[0], .context = cpu};
    for (int64_t i = 0; i < all[0]; i++)
        x[i] = (float)(i * 7919 % 4001 - 2000) / 512.0f;
    one.scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL);
    one.from = clq_tensor_host(CLQ_F32, x, 1, all);
    one.to = clq_tensor_host(CLQ_S8, expected, 1, all);
    perform(&one);
    cl_ok(clEnqueueWriteBuffer(queue, memory[0], CL_TRUE, 0, TENSORS * EACH * 4, x, 0, NULL, NULL), "clEnqueueWriteBuffer");
    cl_ok(clEnqueueWriteBuffer(queue, memory[2], CL_TRUE, 0, 4, &scale, 0, NULL, NULL), "clEnqueueWriteBuffer");
    one.context = gpu;
    one.scale = clq_tensor_opencl(CLQ_F32, memory[2], 0, 0, NULL);
    one.from = clq_tensor_opencl(CLQ_F32, memory[0], 0, 1, all);
    one.to = clq_tensor_opencl(CLQ_S8, memory[1], 0, 1, all);
    for (int i = 0; i < TENSORS; i++) {
        many.jobs[i] = one;
        many.jobs[i].from = clq_tensor_opencl(CLQ_F32, memory[0], i * EACH, 1, shape);
        many.jobs[i].to = clq_tensor_opencl(CLQ_S8, memory[1], i * EACH, 1, shape);
    }
    many.batch = true;
    perform_many(&many);
    ok(gpu, clq_context_synchronize(gpu), "clq_context_synchronize");
    cl_ok(clEnqueueReadBuffer(queue, memory[1], CL_TRUE, 0, TENSORS * EACH, q, 0, NULL, NULL), "clEnqueueReadBuffer");
    const bool right = memcmp(q, expected, TENSORS * EACH) == 0;
    if (!right) mistakes++;
    const double batched = measure(perform_many, &many, 0), large = measure(perform, &one, 0);
    many.batch = false;
    const double single = measure(perform_many, &many, 0);
    printf("## Many tensors: quantize f32 to s8 in device memory\n\n| what | microseconds |\n|---|---:|\n| a batch of %d tensors of %d elements (%s) | %.1f |\n"
           "| the same, call by call | %.1f |\n| one tensor of %d elements | %.1f |\n",
           TENSORS, EACH, right ? "same bits" : "**WRONG**", batched * 1e6, single * 1e6, TENSORS * EACH, large * 1e6);
    for (int i = 0; i < 3; i++)
        clReleaseMemObject(memory[i]);
    free(x);
    free(q);
    free(expected);
}

/* One line: milliseconds to a context and to kernels that are ready. The caller sees to the caches. */
static void start(int number)
{
    char id[32], text[300] = "";
    clq_context *context;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    const double begin = now();
    snprintf(id, sizeof id, "opencl:%d", number);
    options.device = id;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    if (clq_context_create(&options, &context) != CLQ_OK) fail("clq_context_create", text);
    const double created = now();
    ok(context, clq_context_warm_up(context, CLQ_F32, CLQ_S8), "clq_context_warm_up");
    printf("%.0f | %.0f", (created - begin) * 1e3, (now() - created) * 1e3);
    clq_context_free(context);
}

static void environment(void)
{
    clq_device_info info;
    char day[32];
    const time_t seconds = time(NULL);
    ok(gpu, clq_context_info(gpu, &info), "clq_context_info");
    strftime(day, sizeof day, "%Y-%m-%d", gmtime(&seconds));
    printf("## Environment\n\n| | |\n|---|---|\n| date | %s |\n| clquant | %s |\n| device | %s |\n| version | %s |\n| capabilities | %s |\n| memory | %.1f GiB |\n", day,
           clq_version(), info.name, info.version, info.capabilities, (double)info.memory_bytes / 1073741824.0);
    ok(cpu, clq_context_info(cpu, &info), "clq_context_info");
    printf("| processor | %s, %s, %d threads |\n", info.name, info.path, (int)info.num_threads);
}

int main(int argc, char **argv)
{
    program_name = "gpu_bandwidth";
    const char *const part = argc > 2 ? argv[1] : "";
    const int number = argc > 2 ? atoi(argv[2]) : 0, log2 = argc > 3 ? atoi(argv[3]) : 24;
    if (argc < 3 || log2 < 12 || log2 > 32) {
        fprintf(stderr, "usage: gpu_bandwidth environment|bandwidth|staging|latency|batch|start DEVICE [LOG2, 12 to 32]\n");
        return 2;
    }
    if (strcmp(part, "start") == 0) {
        start(number);
        return 0;
    }
    open_device(number);
    open_contexts();
    if (strcmp(part, "environment") == 0)
        environment();
    else if (strcmp(part, "bandwidth") == 0)
        bandwidth(log2);
    else if (strcmp(part, "staging") == 0)
        staging(log2);
    else if (strcmp(part, "latency") == 0)
        latency();
    else if (strcmp(part, "batch") == 0)
        batch();
    else
        fail(part, "there is no such part");
    clq_context_free(gpu);
    clq_context_free(cpu);
    close_device();
    if (mistakes > 0) fprintf(stderr, "gpu_bandwidth: %d results are wrong\n", mistakes);
    return mistakes > 0;
}
