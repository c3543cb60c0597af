/* SPDX-License-Identifier: MIT */
/* What is OpenCL's alone: contexts on the caller's queues, events, calls that do not wait, staging, batches in few launches, forks. */
#include "config.h"

#include "base/alloc.h"
#include "opencl/cl_device.h"
#include "opencl_shim.h"
#include "test_support.h"
#include <clquant_opencl.h>
#include <pthread.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct clq_cl_device *devices;
static int32_t device_count;
static const clq_scheme scheme = {.dtype = CLQ_S8};

#define CL_OK(call)                                                              \
    do {                                                                         \
        const cl_int cl_ok_code = (call);                                        \
        TEST_CHECK(cl_ok_code == CL_SUCCESS, "%s: %d", #call, (int)cl_ok_code);  \
    } while (0)

#define FOR_EACH_DEVICE(i)                     \
    for (int32_t i = 0; i < device_count; i++) \
        if (devices[i].refusal[0] == '\0' && test_device_wanted(i))

static void find_devices(void)
{
    TEST_CHECK(clq_cl_devices_find(&clq_allocator_libc, &devices, &device_count) == CLQ_OK, "the list of devices");
}

/* ---- help */

static clq_context *open_options(int32_t device, clq_context_options options)
{
    clq_context *context;
    char id[32], text[300] = "";
    snprintf(id, sizeof id, "opencl:%d", (int)device);
    test_note_place("on %s", id);
    options.device = id;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "%s: %s", id, text);
    return context;
}

static clq_context *open_context(int32_t device)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.no_fallback = 1;
    return open_options(device, options);
}

/* The caller's own OpenCL, and a context on it. */
struct own {
    cl_context cl;
    cl_command_queue queue;
    clq_context *context;
};

static struct own open_own(int32_t device, cl_command_queue_properties properties, int64_t staging_bytes)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct own own;
    char text[300] = "";
    cl_int code;
    own.cl = clCreateContext(NULL, 1, &devices[device].id, NULL, NULL, &code);
    CL_OK(code);
    own.queue = clCreateCommandQueue(own.cl, devices[device].id, properties, &code);
    CL_OK(code);
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    options.no_fallback = 1;
    options.staging_bytes = staging_bytes;
    TEST_CHECK(clq_context_create_opencl(&options, own.cl, devices[device].id, own.queue, &own.context) == CLQ_OK, "%s", text);
    test_note_place("on %s", devices[device].name);
    return own;
}

static void close_own(struct own *own)
{
    clq_context_free(own->context);
    CL_OK(clReleaseCommandQueue(own->queue));
    CL_OK(clReleaseContext(own->cl));
}

static cl_mem make_memory(const struct own *own, size_t size_bytes)
{
    cl_int code;
    const cl_mem memory = clCreateBuffer(own->cl, CL_MEM_READ_WRITE, size_bytes, NULL, &code);
    CL_OK(code);
    return memory;
}

static clq_buffer *make_buffer(clq_context *context, int64_t size_bytes)
{
    clq_buffer *buffer;
    TEST_OK(context, clq_buffer_create(context, size_bytes, &buffer));
    return buffer;
}

static float value_of(int64_t i)
{
    return (float)((i * 2654435761u + 12345u) % 4001) * 0.05f - 100.0f;
}

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = value_of(i);
}

/* Host parameters of one tensor. */
static clq_qparams one_scale(const float *scale)
{
    return (clq_qparams){.scheme = scheme, .scale = clq_tensor_host(CLQ_F32, scale, 0, NULL)};
}

/* What the CPU makes of it. */
static void quantize_on_cpu(const clq_tensor *x, const clq_qparams *params, const clq_tensor *q)
{
    clq_context *const cpu = test_context(NULL, 1, NULL, NULL);
    TEST_OK(cpu, clq_quantize(cpu, x, params, q, NULL));
    clq_context_free(cpu);
}

static bool is_over(clq_context *context)
{
    cl_event event;
    cl_int state = CL_COMPLETE;
    TEST_OK(context, clq_opencl_event(context, &event));
    CL_OK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL));
    CL_OK(clReleaseEvent(event));
    return state <= CL_COMPLETE;
}

/* ---- the caller's queue */

static const char own_source[] = "__kernel void twice(__global float *x) { x[get_global_id(0)] *= 2.0f; }\n"
                                 "__kernel void invert(__global char *q) { q[get_global_id(0)] = ~q[get_global_id(0)]; }\n";

static cl_kernel make_kernel(cl_program program, const char *name, cl_mem memory)
{
    cl_int code;
    const cl_kernel kernel = clCreateKernel(program, name, &code);
    CL_OK(code);
    CL_OK(clSetKernelArg(kernel, 0, sizeof memory, &memory));
    return kernel;
}

/* The caller's kernel doubles x, the library quantizes a part of it, the caller's kernel inverts q. */
static void among_own_commands(int32_t device, cl_command_queue_properties properties)
{
    enum { N = 5003, AT_X = 3, AT_Q = 5, AT_SCALE = 1 };
    static float x[N + AT_X];
    static int8_t q[N + AT_Q], expected[N + AT_Q];
    static const float scales[2] = {9.0f, 0.75f};
    struct own own = open_own(device, properties, 0);
    const char *text = own_source;
    const size_t all_x = N + AT_X, all_q = N + AT_Q;
    const int64_t n = N;
    const cl_mem mx = make_memory(&own, sizeof x), mq = make_memory(&own, sizeof q), ms = make_memory(&own, sizeof scales);
    cl_event before[3], doubled, quantized, inverted;
    cl_int code;
    const cl_program program = clCreateProgramWithSource(own.cl, 1, &text, NULL, &code);

    CL_OK(code);
    CL_OK(clBuildProgram(program, 1, &devices[device].id, "", NULL, NULL));
    const cl_kernel twice = make_kernel(program, "twice", mx), invert = make_kernel(program, "invert", mq);
    fill(x, N + AT_X);
    memset(q, 0x11, sizeof q);
    CL_OK(clEnqueueWriteBuffer(own.queue, mx, CL_FALSE, 0, sizeof x, x, 0, NULL, &before[0]));
    CL_OK(clEnqueueWriteBuffer(own.queue, mq, CL_FALSE, 0, sizeof q, q, 0, NULL, &before[1]));
    CL_OK(clEnqueueWriteBuffer(own.queue, ms, CL_FALSE, 0, sizeof scales, scales, 0, NULL, &before[2]));
    CL_OK(clEnqueueNDRangeKernel(own.queue, twice, 1, NULL, &all_x, NULL, 3, before, &doubled));
    TEST_OK(own.context, clq_opencl_wait(own.context, 1, &doubled));
    const clq_tensor tx = clq_tensor_opencl(CLQ_F32, mx, AT_X, 1, &n), tq = clq_tensor_opencl(CLQ_S8, mq, AT_Q, 1, &n);
    const clq_qparams params = {.scheme = scheme, .scale = clq_tensor_opencl(CLQ_F32, ms, AT_SCALE, 0, NULL)};
    TEST_OK(own.context, clq_quantize(own.context, &tx, &params, &tq, NULL));
    TEST_OK(own.context, clq_opencl_event(own.context, &quantized));
    CL_OK(clEnqueueNDRangeKernel(own.queue, invert, 1, NULL, &all_q, NULL, 1, &quantized, &inverted));
    CL_OK(clEnqueueReadBuffer(own.queue, mq, CL_TRUE, 0, sizeof q, q, 1, &inverted, NULL));

    memset(expected, 0x11, sizeof expected);
    for (int i = 0; i < N + AT_X; i++)
        x[i] *= 2.0f;
    const clq_tensor hx = clq_tensor_host(CLQ_F32, x + AT_X, 1, &n), hq = clq_tensor_host(CLQ_S8, expected + AT_Q, 1, &n);
    const clq_qparams host_params = one_scale(&scales[AT_SCALE]);
    quantize_on_cpu(&hx, &host_params, &hq);
    for (int i = 0; i < N + AT_Q; i++)
        TEST_CHECK(q[i] == (int8_t)~expected[i], "element %d: %d, not %d", i - AT_Q, q[i], ~expected[i]);

    TEST_OK(own.context, clq_opencl_wait(own.context, 0, NULL));
    for (int i = 0; i < 3; i++)
        CL_OK(clReleaseEvent(before[i]));
    CL_OK(clReleaseEvent(doubled));
    CL_OK(clReleaseEvent(quantized));
    CL_OK(clReleaseEvent(inverted));
    CL_OK(clReleaseKernel(twice));
    CL_OK(clReleaseKernel(invert));
    CL_OK(clReleaseProgram(program));
    /* The last references may be the library's. */
    CL_OK(clReleaseMemObject(mx));
    CL_OK(clReleaseMemObject(mq));
    CL_OK(clReleaseMemObject(ms));
    close_own(&own);
}

START_TEST(own_queue)
{
    FOR_EACH_DEVICE(i)
    {
        among_own_commands(i, 0);
        among_own_commands(i, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    }
    for (int i = 0; i < SHIM_OBJECTS; i++)
        TEST_CHECK(atomic_load(&shim.live[i]) == 0, "%lld references of kind %d are left", atomic_load(&shim.live[i]), i);
}
END_TEST

static void expect_refused(const char *mentions, clq_status wanted, cl_context cl, cl_device_id device, cl_command_queue queue)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context = (clq_context *)(void *)&options;
    char text[300] = "";
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    TEST_CHECK(clq_context_create_opencl(&options, cl, device, queue, &context) == wanted && context == NULL, "%s: %s", mentions, text);
    TEST_CHECK(strncmp(text, "cl", 2) == 0 && strstr(text, mentions) != NULL, "\"%s\" does not mention %s", text, mentions);
    TEST_CHECK(clq_context_create_opencl(NULL, cl, device, queue, &context) == wanted && context == NULL, "%s without options", mentions);
}

START_TEST(refusals)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, 0), other = open_own(i, 0, 0);
        clq_context *const cpu = test_context(NULL, 1, NULL, NULL);
        const cl_device_id id = devices[i].id;
        const int64_t ten = 10;
        const cl_mem mine = make_memory(&own, 40), foreign = make_memory(&other, 40);
        clq_tensor x = clq_tensor_opencl(CLQ_F32, mine, 0, 1, &ten), y = clq_tensor_opencl(CLQ_F32, foreign, 0, 1, &ten);
        cl_event event;

        expect_refused("cl is NULL", CLQ_ERROR_INVALID_ARGUMENT, NULL, id, own.queue);
        expect_refused("device is NULL", CLQ_ERROR_INVALID_ARGUMENT, own.cl, NULL, own.queue);
        expect_refused("queue is NULL", CLQ_ERROR_INVALID_ARGUMENT, own.cl, id, NULL);
        expect_refused("another context", CLQ_ERROR_INVALID_ARGUMENT, own.cl, id, other.queue);
        for (int32_t k = 0; k < device_count; k++)
            if (devices[k].id != id) expect_refused("another device", CLQ_ERROR_INVALID_ARGUMENT, own.cl, devices[k].id, own.queue);
        TEST_CHECK(clq_context_create_opencl(NULL, own.cl, id, own.queue, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no place for the context");

        TEST_CHECK(clq_convert(own.context, &x, &y) == CLQ_ERROR_CONTEXT, "memory of another cl_context");
        TEST_CHECK(strstr(clq_context_error(own.context), "clq_convert: dst") != NULL, "%s", clq_context_error(own.context));
        y = clq_tensor_opencl(CLQ_F32, mine, 1, 1, &ten);
        TEST_CHECK(clq_convert(own.context, &x, &y) == CLQ_ERROR_SHAPE, "a view past the end");
        y.offset = -1;
        TEST_CHECK(clq_convert(own.context, &x, &y) == CLQ_ERROR_SHAPE, "a view before the begin");
        const int64_t six = 6;
        x = clq_tensor_opencl(CLQ_F32, mine, 0, 1, &six);
        y = clq_tensor_opencl(CLQ_F32, mine, 4, 1, &six);
        TEST_CHECK(clq_convert(own.context, &x, &y) == CLQ_ERROR_OVERLAP, "an overlap");
        TEST_CHECK(strstr(clq_context_error(own.context), "overlaps src by up to 8 bytes") != NULL, "%s", clq_context_error(own.context));
        x.data = NULL;
        TEST_CHECK(clq_convert(own.context, &x, &y) == CLQ_ERROR_INVALID_ARGUMENT, "a NULL cl_mem");
        TEST_CHECK(clq_convert(cpu, &y, &y) == CLQ_ERROR_CONTEXT, "device memory in a CPU context");

        TEST_CHECK(clq_opencl_wait(NULL, 0, NULL) == CLQ_ERROR_INVALID_ARGUMENT && clq_opencl_event(NULL, &event) == CLQ_ERROR_INVALID_ARGUMENT, "NULL");
        TEST_CHECK(clq_opencl_wait(cpu, 0, NULL) == CLQ_ERROR_CONTEXT && clq_opencl_event(cpu, &event) == CLQ_ERROR_CONTEXT && event == NULL, "the CPU");
        TEST_CHECK(clq_opencl_wait(own.context, 1, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "events NULL");
        TEST_CHECK(clq_opencl_event(own.context, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "event NULL");
        clq_context_free(cpu);
        CL_OK(clReleaseMemObject(mine));
        CL_OK(clReleaseMemObject(foreign));
        close_own(&own);
        close_own(&other);
    }
}
END_TEST

/* ---- calls that do not wait */

enum { HELD_ROWS = 70000, HELD_COLS = 2, HELD = HELD_ROWS * HELD_COLS };

/* More host parameters than a block for small uploads holds. */
static void held_calls(const struct own *own, clq_buffer *buffer, int8_t *expected, int calls)
{
    static float x[HELD], scales[HELD_ROWS];
    const int64_t shape[2] = {HELD_ROWS, HELD_COLS}, rows = HELD_ROWS;
    clq_context *const context = own->context;
    const clq_tensor dx = clq_tensor_buffer(CLQ_F32, buffer, 0, 2, shape), dy = clq_tensor_buffer(CLQ_F32, buffer, HELD, 2, shape);
    const clq_tensor dq = clq_tensor_buffer(CLQ_S8, buffer, 8 * HELD, 2, shape), hx = clq_tensor_host(CLQ_F32, x, 2, shape);
    const clq_tensor lo = clq_tensor_buffer(CLQ_F32, buffer, 3 * HELD, 0, NULL), hi = clq_tensor_buffer(CLQ_F32, buffer, 3 * HELD + 1, 0, NULL);
    const clq_qparams chosen = {.scheme = scheme,
                                .scale = clq_tensor_buffer(CLQ_F32, buffer, 3 * HELD + 2, 0, NULL),
                                .zero_point = clq_tensor_buffer(CLQ_S32, buffer, 3 * HELD + 3, 0, NULL)};
    cl_int code;
    const cl_event user = clCreateUserEvent(own->cl, &code);
    CL_OK(code);

    fill(x, HELD);
    TEST_OK(context, clq_convert(context, &hx, &dx));
    TEST_OK(context, clq_opencl_wait(context, 1, &user));
    TEST_CHECK(!is_over(context), "a context that waits for an event is done");
    for (int i = 0; i < calls; i++) {
        float scale = 0.5f;
        const clq_qparams params = one_scale(&scale);
        const clq_tensor few_x = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &rows), few_q = clq_tensor_buffer(CLQ_S8, buffer, 8 * HELD, 1, &rows);
        const clq_tensor few_y = clq_tensor_buffer(CLQ_F32, buffer, HELD, 1, &rows);
        switch (i % 5) {
        case 0: TEST_OK(context, clq_quantize(context, &few_x, &params, &few_q, NULL)); break;
        case 1: TEST_OK(context, clq_dequantize(context, &few_q, &params, &few_y)); break;
        case 2: TEST_OK(context, clq_convert(context, &few_x, &few_y)); break;
        case 3: TEST_OK(context, clq_minmax(context, &few_x, &scheme, &lo, &hi, NULL)); break;
        default: TEST_OK(context, clq_choose_qparams(context, &few_x, &chosen));
        }
        scale = 0.0f;
    }
    for (int i = 0; i < HELD_ROWS; i++)
        scales[i] = 0.25f + (float)(i % 100) / 64;
    clq_qparams params = {.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0}, .scale = clq_tensor_host(CLQ_F32, scales, 1, &rows)};
    const clq_tensor hq = clq_tensor_host(CLQ_S8, expected, 2, shape);
    quantize_on_cpu(&hx, &params, &hq);
    TEST_OK(context, clq_quantize(context, &dx, &params, &dq, NULL));
    TEST_OK(context, clq_dequantize(context, &dq, &params, &dy));
    memset(scales, 0, sizeof scales);
    TEST_CHECK(!is_over(context), "a call has waited");
    CL_OK(clSetUserEventStatus(user, CL_COMPLETE));
    CL_OK(clReleaseEvent(user));
}

START_TEST(calls_do_not_wait)
{
    static int8_t q[HELD], expected[HELD];
    const int64_t shape[2] = {HELD_ROWS, HELD_COLS}, four = 4;
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, 0);
        clq_buffer *const buffer = make_buffer(own.context, 5 * 4 * HELD);
        const clq_tensor dq = clq_tensor_buffer(CLQ_S8, buffer, 8 * HELD, 2, shape), hq = clq_tensor_host(CLQ_S8, q, 2, shape);
        float results[4], x[HELD_ROWS], lo = 0.0f, hi = 0.0f;
        const clq_tensor there = clq_tensor_buffer(CLQ_F32, buffer, 3 * HELD, 1, &four), here = clq_tensor_host(CLQ_F32, results, 1, &four);
        held_calls(&own, buffer, expected, 2000);
        TEST_OK(own.context, clq_convert(own.context, &dq, &hq));
        TEST_OK(own.context, clq_convert(own.context, &there, &here));
        TEST_CHECK(memcmp(q, expected, sizeof q) == 0, "other values than on the CPU");
        fill(x, HELD_ROWS);
        for (int k = 0; k < HELD_ROWS; k++) {
            lo = x[k] < lo ? x[k] : lo;
            hi = x[k] > hi ? x[k] : hi;
        }
        TEST_CHECK(results[0] == lo && results[1] == hi && results[2] > 0.0f, "%g to %g, scale %g", results[0], results[1], results[2]);
        clq_buffer_free(buffer);
        close_own(&own);
    }
}
END_TEST

/* ---- staging */

enum { STAGED_ROWS = 2000, STAGED_COLS = 1000, STAGED_PITCH = STAGED_COLS + 3 };

static struct {
    enum shim_call call;
    cl_event event;
} commands[4096];
static int command_count;

static void keep_command(enum shim_call call, cl_event event)
{
    if (command_count == (int)TEST_COUNT_OF(commands)) return;
    CL_OK(clRetainEvent(event));
    commands[command_count].call = call;
    commands[command_count++].event = event;
}

static void release_commands(void)
{
    shim.on_command = NULL;
    while (command_count > 0)
        CL_OK(clReleaseEvent(commands[--command_count].event));
}

static cl_ulong time_of(int command, cl_profiling_info which)
{
    cl_ulong time = 0;
    CL_OK(clGetEventProfilingInfo(commands[command].event, which, sizeof time, &time, NULL));
    return time;
}

/* Large uploads of a chunk, as opposed to those of jobs, come in the order write, jobs, kernel, read. */
START_TEST(staging_overlaps)
{
    float *const x = malloc(sizeof *x * STAGED_ROWS * STAGED_PITCH);
    int8_t *const q = malloc(2 * STAGED_ROWS * STAGED_COLS), *const expected = q + STAGED_ROWS * STAGED_COLS;
    const int64_t shape[2] = {STAGED_ROWS, STAGED_COLS};
    const float scale = 0.75f;
    const clq_qparams params = one_scale(&scale);
    clq_tensor tx = clq_tensor_host(CLQ_F32, x, 2, shape);
    const clq_tensor tq = clq_tensor_host(CLQ_S8, q, 2, shape), te = clq_tensor_host(CLQ_S8, expected, 2, shape);

    TEST_CHECK(x != NULL && q != NULL, "no memory for the test");
    tx.strides[0] = STAGED_PITCH;
    fill(x, STAGED_ROWS * STAGED_PITCH);
    quantize_on_cpu(&tx, &params, &te);
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, CL_QUEUE_PROFILING_ENABLE, 1 << 20);
        int overlaps = 0, early = 0, kernels = 0;
        TEST_OK(own.context, clq_quantize(own.context, &tx, &params, &tq, NULL));
        memset(q, 0x33, STAGED_ROWS * STAGED_COLS);
        command_count = 0;
        shim.on_command = keep_command;
        TEST_OK(own.context, clq_quantize(own.context, &tx, &params, &tq, NULL));
        shim.on_command = NULL; /* the events stay */
        TEST_CHECK(memcmp(q, expected, STAGED_ROWS * STAGED_COLS) == 0, "other values than on the CPU");
        for (int k = 0; k < command_count; k++) {
            if (commands[k].call != SHIM_clEnqueueNDRangeKernel) continue;
            kernels++;
            for (int t = 0; t < command_count; t++) {
                if (commands[t].call != SHIM_clEnqueueWriteBuffer && commands[t].call != SHIM_clEnqueueReadBuffer) continue;
                overlaps += time_of(t, CL_PROFILING_COMMAND_START) < time_of(k, CL_PROFILING_COMMAND_END) &&
                            time_of(k, CL_PROFILING_COMMAND_START) < time_of(t, CL_PROFILING_COMMAND_END);
                early += t > k && commands[t].call == SHIM_clEnqueueWriteBuffer &&
                         time_of(t, CL_PROFILING_COMMAND_QUEUED) < time_of(k, CL_PROFILING_COMMAND_END);
            }
        }
        printf("%s: %d kernels, %d transfers beside a kernel, %d uploads queued while one ran\n", devices[i].name, kernels, overlaps, early);
        TEST_CHECK(kernels >= 10, "%d kernels: not in chunks", kernels);
        TEST_CHECK(overlaps > 0 || early > 0, "nothing overlaps");
        release_commands();
        close_own(&own);
    }
    free(x);
    free(q);
}
END_TEST

/* Large host tensors whose elements are in order: nothing but jobs is copied where memory is shared. */
START_TEST(shared_memory_is_not_copied)
{
    const int64_t n = 3000000;
    float *const x = aligned_alloc(64, (size_t)n * sizeof *x);
    int8_t *const q = aligned_alloc(64, (size_t)n), *const expected = aligned_alloc(64, (size_t)n);
    const float scale = 0.75f;
    const clq_qparams params = one_scale(&scale);
    const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 1, &n), tq = clq_tensor_host(CLQ_S8, q, 1, &n), te = clq_tensor_host(CLQ_S8, expected, 1, &n);

    TEST_CHECK(x != NULL && q != NULL && expected != NULL, "no memory for the test");
    fill(x, n);
    quantize_on_cpu(&tx, &params, &te);
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        const long long written = atomic_load(&shim.written_bytes), read = atomic_load(&shim.read_bytes);
        memset(q, 0x33, (size_t)n);
        TEST_OK(context, clq_quantize(context, &tx, &params, &tq, NULL));
        TEST_CHECK(memcmp(q, expected, (size_t)n) == 0, "other values than on the CPU");
        const long long wrote = atomic_load(&shim.written_bytes) - written, back = atomic_load(&shim.read_bytes) - read;
        if (devices[i].unified) TEST_CHECK(wrote < 100000 && back == 0, "%lld bytes written, %lld read", wrote, back);
        if (!devices[i].unified) TEST_CHECK(wrote >= 4 * n && back >= n, "%lld bytes written, %lld read", wrote, back);
        clq_context_free(context);
    }
    free(x);
    free(q);
    free(expected);
}
END_TEST

START_TEST(staging_sizes)
{
    static const int64_t sizes[] = {4096, 4097, 65536, INT64_MAX};
    FOR_EACH_DEVICE(i)
    {
        clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
        options.no_fallback = 1;
        for (size_t k = 0; k < TEST_COUNT_OF(sizes) - 1; k++) {
            options.staging_bytes = sizes[k];
            clq_context *const context = open_options(i, options);
            TEST_CHECK(test_works(context, 30011, k), "staging %lld: %s", (long long)sizes[k], clq_context_error(context));
            clq_context_free(context);
        }
        /* Bounded by the device, and made only when needed. */
        options.staging_bytes = INT64_MAX;
        clq_context_free(open_options(i, options));
    }
    for (int k = 0; k < 2; k++) {
        clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
        clq_context *context;
        options.device = "opencl:0";
        options.staging_bytes = k ? 4095 : -1;
        TEST_CHECK(clq_context_create(&options, &context) == CLQ_ERROR_INVALID_ARGUMENT && context == NULL, "staging_bytes %lld",
                   (long long)options.staging_bytes);
    }
}
END_TEST

/* ---- failures of earlier work */

/* What a failed event held fails, is reported once, and leaves a context that works. */
START_TEST(event_that_fails)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, 0);
        clq_buffer *const buffer = make_buffer(own.context, 8000);
        const int64_t n = 1000;
        const clq_tensor a = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &n), b = clq_tensor_buffer(CLQ_F32, buffer, n, 1, &n);
        for (int host_call = 0; host_call < 2; host_call++) {
            static float x[1000];
            const clq_tensor host = clq_tensor_host(CLQ_F32, x, 1, &n);
            cl_int code, state = CL_COMPLETE;
            cl_event event;
            const cl_event user = clCreateUserEvent(own.cl, &code);
            CL_OK(code);
            /* PoCL 3.1 aborts when an event that fails for another's sake has no other owner. */
            shim.on_command = keep_command;
            TEST_OK(own.context, clq_opencl_wait(own.context, 1, &user));
            TEST_OK(own.context, clq_convert(own.context, &a, &b));
            TEST_OK(own.context, clq_opencl_event(own.context, &event));
            CL_OK(clSetUserEventStatus(user, -1));
            (void)clWaitForEvents(1, &event);
            CL_OK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL));
            TEST_CHECK(state < 0, "the event has not failed: %d", (int)state);
            TEST_CHECK(clq_convert(own.context, &a, &b) == CLQ_ERROR_DEVICE, "a call after a failure was begun");
            TEST_CHECK(clq_opencl_wait(own.context, 1, &user) == CLQ_ERROR_DEVICE, "a wait after a failure was begun");
            if (host_call) TEST_CHECK(clq_convert(own.context, &b, &host) == CLQ_ERROR_DEVICE, "a call after a failure has read something");
            TEST_CHECK(clq_context_synchronize(own.context) == CLQ_ERROR_DEVICE, "the failure was not reported");
            TEST_CHECK(strstr(clq_context_error(own.context), "earlier command") != NULL, "%s", clq_context_error(own.context));
            TEST_OK(own.context, clq_context_synchronize(own.context));
            TEST_CHECK(test_works(own.context, 1000, 3), "%s", clq_context_error(own.context));
            CL_OK(clReleaseEvent(event));
            CL_OK(clReleaseEvent(user));
            release_commands();
        }
        clq_buffer_free(buffer);
        close_own(&own);
    }
}
END_TEST

/* ---- threads, lifetimes, forks */

struct worker {
    int32_t device;
    uint64_t salt;
    bool good;
};

static void *work(void *opaque)
{
    struct worker *const worker = opaque;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    char id[32];
    snprintf(id, sizeof id, "opencl:%d", (int)worker->device);
    options.device = id;
    options.no_fallback = 1;
    options.num_threads = 1;
    options.staging_bytes = 65536;
    worker->good = clq_context_create(&options, &context) == CLQ_OK;
    for (int k = 0; k < 20 && worker->good; k++)
        worker->good = test_works(context, 1000 + 997 * k, worker->salt + (uint64_t)k);
    clq_context_free(context);
    return NULL;
}

static void work_on(const int32_t *on, int n)
{
    struct worker workers[4];
    pthread_t threads[4];
    for (int k = 0; k < n; k++) {
        workers[k] = (struct worker){.device = on[k], .salt = (uint64_t)k * 100};
        TEST_CHECK(pthread_create(&threads[k], NULL, work, &workers[k]) == 0, "no thread");
    }
    for (int k = 0; k < n; k++)
        pthread_join(threads[k], NULL);
    for (int k = 0; k < n; k++)
        TEST_CHECK(workers[k].good, "thread %d", k);
}

START_TEST(contexts_on_threads)
{
    FOR_EACH_DEVICE(i)
    {
        const int32_t on[4] = {i, i, i, i};
        work_on(on, 4);
    }
}
END_TEST

/* Without the other tests' set-up: the variable is read when OpenCL begins. */
START_TEST(two_devices)
{
    setenv("POCL_DEVICES", "pthread pthread", 1);
    find_devices();
    if (device_count < 2 || devices[0].refusal[0] || devices[1].refusal[0]) {
        printf("two devices: there is one\n");
        return;
    }
    const int32_t on[4] = {0, 1, 0, 1};
    clq_context *const first = open_context(0), *const second = open_context(1);
    const int64_t n = 100;
    clq_buffer *const buffer = make_buffer(first, 400);
    const clq_tensor there = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &n);
    clq_device_info info;
    TEST_CHECK(clq_convert(second, &there, &there) == CLQ_ERROR_CONTEXT, "a buffer of another device");
    TEST_OK(second, clq_context_info(second, &info));
    TEST_CHECK(strcmp(info.id, "opencl:1") == 0, "%s", info.id);
    work_on(on, 4);
    clq_context_free(first);
    clq_buffer_free(buffer);
    clq_context_free(second);
}
END_TEST

static void *complete_later(void *event)
{
    usleep(50000);
    (void)clSetUserEventStatus(event, CL_COMPLETE);
    return NULL;
}

/* Buffers freed while work uses them and after their context; a context freed with work under way. */
START_TEST(lifetimes)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, 0);
        static float x[1000], y[1000];
        const int64_t n = 1000;
        clq_buffer *const a = make_buffer(own.context, 4000), *const b = make_buffer(own.context, 4000), *const kept = make_buffer(own.context, 10);
        const cl_mem result = make_memory(&own, 4000);
        const clq_tensor host = clq_tensor_host(CLQ_F32, x, 1, &n), ta = clq_tensor_buffer(CLQ_F32, a, 0, 1, &n);
        const clq_tensor tb = clq_tensor_buffer(CLQ_F32, b, 0, 1, &n), tr = clq_tensor_opencl(CLQ_F32, result, 0, 1, &n);
        pthread_t thread;
        cl_event event;
        cl_int code;
        const cl_event user = clCreateUserEvent(own.cl, &code);
        CL_OK(code);
        fill(x, n);
        TEST_OK(own.context, clq_convert(own.context, &host, &ta));
        TEST_OK(own.context, clq_opencl_wait(own.context, 1, &user));
        TEST_OK(own.context, clq_convert(own.context, &ta, &tb));
        clq_buffer_free(a);
        TEST_OK(own.context, clq_convert(own.context, &tb, &tr));
        clq_buffer_free(b);
        TEST_OK(own.context, clq_opencl_event(own.context, &event));
        TEST_CHECK(pthread_create(&thread, NULL, complete_later, user) == 0, "no thread");
        clq_context_free(own.context);
        pthread_join(thread, NULL);
        clq_buffer_free(kept);
        CL_OK(clEnqueueReadBuffer(own.queue, result, CL_TRUE, 0, sizeof y, y, 1, &event, NULL));
        TEST_CHECK(memcmp(x, y, sizeof x) == 0, "values were lost");
        CL_OK(clReleaseEvent(event));
        CL_OK(clReleaseEvent(user));
        CL_OK(clReleaseMemObject(result));
        CL_OK(clReleaseCommandQueue(own.queue));
        CL_OK(clReleaseContext(own.cl));
        for (int k = 0; k < SHIM_OBJECTS; k++)
            TEST_CHECK(atomic_load(&shim.live[k]) == 0, "%lld references of kind %d are left", atomic_load(&shim.live[k]), k);
    }
}
END_TEST

/* The number of the first call that does not refuse; 0 if all do. */
static int try_in_child(clq_context *context, clq_buffer *buffer)
{
    const int64_t n = 10;
    float x[10] = {0};
    const clq_tensor host = clq_tensor_host(CLQ_F32, x, 1, &n), there = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &n);
    clq_buffer *made;
    cl_event event;
    if (clq_convert(context, &host, &there) != CLQ_ERROR_FORKED) return 1;
    if (strstr(clq_context_error(context), "clq_convert: ") == NULL || strstr(clq_context_error(context), "fork") == NULL) return 2;
    if (clq_convert(context, &host, &host) != CLQ_ERROR_FORKED) return 3;
    if (clq_context_synchronize(context) != CLQ_ERROR_FORKED) return 4;
    if (clq_context_warm_up(context, CLQ_F32, CLQ_S8) != CLQ_ERROR_FORKED) return 5;
    if (clq_buffer_create(context, 10, &made) != CLQ_ERROR_FORKED || made != NULL) return 6;
    if (clq_batch_begin(context) != CLQ_ERROR_FORKED) return 7;
    if (clq_opencl_event(context, &event) != CLQ_ERROR_FORKED || event != NULL) return 8;
    if (clq_opencl_wait(context, 0, NULL) != CLQ_ERROR_FORKED) return 9;
    clq_context_free(context);
    clq_buffer_free(buffer);
    return 0;
}

START_TEST(forked_child)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        clq_buffer *const buffer = make_buffer(context, 40);
        int status = -1;
        TEST_CHECK(test_works(context, 1000, 1), "%s", clq_context_error(context));
        const pid_t child = fork();
        if (child == 0) {
            alarm(20);
            _exit(try_in_child(context, buffer));
        }
        TEST_CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
        TEST_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", status);
        TEST_CHECK(test_works(context, 1000, 2), "%s", clq_context_error(context));
        clq_buffer_free(buffer);
        clq_context_free(context);
    }
}
END_TEST

/* ---- batches */

enum { TENSORS = 300, LARGEST = 1200, ARENA = TENSORS * LARGEST, OPERATIONS = 10 };

/* Every operation on 300 tensors of different shapes, parameters on the host, and how many launches each took. */
static void run_tensors(clq_context *context, bool batched, const clq_tensor *x, const clq_tensor *q, const clq_tensor *y, struct clq_error_stats *stats,
                        float *ranges, float *scales, long long *launches)
{
    const clq_scheme symmetric = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC};
    for (int operation = 0; operation < OPERATIONS; operation++) {
        const long long before = atomic_load(&shim.calls[SHIM_clEnqueueNDRangeKernel]);
        if (batched) TEST_OK(context, clq_batch_begin(context));
        for (int i = 0; i < TENSORS; i++) {
            const clq_qparams params = one_scale(&scales[i]);
            const clq_tensor lo = clq_tensor_host(CLQ_F32, &ranges[2 * i], 0, NULL), hi = clq_tensor_host(CLQ_F32, &ranges[2 * i + 1], 0, NULL);
            const clq_tensor found = clq_tensor_host(CLQ_F32, &ranges[2 * TENSORS + i], 0, NULL);
            clq_tensor r = y[i], scale = y[i]; /* room where y was */
            r.dtype = CLQ_S8;
            r.offset *= 4;
            scale.rank = 0;
            const clq_qparams dynamic = {.scheme = symmetric, .scale = scale};
            switch (operation) {
            case 0: TEST_OK(context, clq_quantize(context, &x[i], &params, &q[i], NULL)); break;
            case 1: TEST_OK(context, clq_dequantize(context, &q[i], &params, &y[i])); break;
            case 2: TEST_OK(context, clq_minmax(context, &x[i], &scheme, &lo, &hi, NULL)); break;
            case 3: TEST_OK(context, clq_compute_error_stats(context, &x[i], &q[i], &params, &stats[i])); break;
            case 4: TEST_OK(context, clq_convert(context, &x[i], &y[i])); break;
            case 5: TEST_OK(context, clq_fake_quantize(context, &x[i], &params, &y[i], NULL, NULL)); break;
            case 6: TEST_OK(context, clq_fake_quantize_backward(context, &x[i], &x[i], &params, NULL, &y[i])); break;
            case 7: TEST_OK(context, clq_fake_quantize_backward_learnable(context, &x[i], &x[i], &params, 1.0f, &y[i], &found, NULL)); break;
            case 8: TEST_OK(context, clq_dynamic_quantize(context, &x[i], &dynamic, &q[i], NULL)); break;
            default: TEST_OK(context, clq_requantize(context, &q[i], &params, &params, &r));
            }
        }
        if (batched) TEST_OK(context, clq_batch_end(context));
        launches[operation] = atomic_load(&shim.calls[SHIM_clEnqueueNDRangeKernel]) - before;
    }
}

/* Tensors in host memory or in one buffer. */
static void compare_batch(clq_context *context, bool on_device)
{
    static float x[ARENA], y[2][ARENA], ranges[2][3 * TENSORS], scales[TENSORS];
    static int8_t q[2][ARENA];
    static clq_error_stats stats[2][TENSORS];
    static clq_tensor tx[TENSORS], tq[TENSORS], ty[TENSORS];
    const int64_t all = ARENA;
    clq_buffer *const arena = make_buffer(context, 9 * ARENA);
    const clq_tensor hx = clq_tensor_host(CLQ_F32, x, 1, &all), dx = clq_tensor_buffer(CLQ_F32, arena, 0, 1, &all);
    long long launches[2][OPERATIONS];

    fill(x, ARENA);
    for (int batched = 0; batched < 2; batched++) {
        for (int i = 0; i < TENSORS; i++) {
            const int64_t shape[2] = {1 + i % 7, 4 * (1 + i % 40)}, at = i * LARGEST;
            scales[i] = 0.25f + (float)i / 64;
            tx[i] = on_device ? clq_tensor_buffer(CLQ_F32, arena, at, 2, shape) : clq_tensor_host(CLQ_F32, x + at, 2, shape);
            ty[i] = on_device ? clq_tensor_buffer(CLQ_F32, arena, ARENA + at, 2, shape) : clq_tensor_host(CLQ_F32, y[batched] + at, 2, shape);
            tq[i] = on_device ? clq_tensor_buffer(CLQ_S8, arena, 8 * ARENA + at, 2, shape) : clq_tensor_host(CLQ_S8, q[batched] + at, 2, shape);
        }
        if (on_device) TEST_OK(context, clq_convert(context, &hx, &dx));
        run_tensors(context, batched, tx, tq, ty, stats[batched], ranges[batched], scales, launches[batched]);
        if (!on_device) continue;
        const clq_tensor dy = clq_tensor_buffer(CLQ_F32, arena, ARENA, 1, &all), dq = clq_tensor_buffer(CLQ_S8, arena, 8 * ARENA, 1, &all);
        const clq_tensor hy = clq_tensor_host(CLQ_F32, y[batched], 1, &all), hq = clq_tensor_host(CLQ_S8, q[batched], 1, &all);
        TEST_OK(context, clq_convert(context, &dy, &hy));
        TEST_OK(context, clq_convert(context, &dq, &hq));
    }
    TEST_CHECK(memcmp(q[0], q[1], sizeof q[0]) == 0 && memcmp(y[0], y[1], sizeof y[0]) == 0, "other values in a batch");
    TEST_CHECK(memcmp(ranges[0], ranges[1], sizeof ranges[0]) == 0, "other ranges in a batch");
    for (int i = 0; i < TENSORS; i++)
        TEST_CHECK(stats[0][i].count == stats[1][i].count && stats[0][i].mse == stats[1][i].mse, "tensor %d: other statistics in a batch", i);
    for (int operation = 0; operation < OPERATIONS; operation++) {
        /* Ranges and sums take a second kernel, what is derived on the way others; host tensors may need more than one slot. */
        static const int kernels[OPERATIONS] = {1, 1, 2, 1, 1, 1, 1, 2, 4, 2};
        TEST_CHECK(launches[0][operation] >= TENSORS && launches[1][operation] <= kernels[operation] * (on_device ? 1 : 2),
                   "operation %d: %lld launches, %lld in a batch", operation, launches[0][operation], launches[1][operation]);
    }
    clq_buffer_free(arena);
}

START_TEST(batch_in_few_launches)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        compare_batch(context, true);
        compare_batch(context, false);
        clq_context_free(context);
    }
}
END_TEST

START_TEST(batch_errors)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        const int64_t n = 100;
        float x[100], y[100] = {0}, bad = -1.0f, scale = 0.5f;
        int8_t q[100], expected[100];
        const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 1, &n), ty = clq_tensor_host(CLQ_F32, y, 1, &n), tq = clq_tensor_host(CLQ_S8, q, 1, &n);
        const clq_tensor te = clq_tensor_host(CLQ_S8, expected, 1, &n);
        const clq_qparams params = one_scale(&scale), bad_params = one_scale(&bad);
        fill(x, n);
        memset(q, 0x33, sizeof q);
        quantize_on_cpu(&tx, &params, &te);
        TEST_CHECK(clq_batch_end(context) == CLQ_ERROR_INVALID_ARGUMENT, "an end without a begin");
        TEST_OK(context, clq_batch_begin(context));
        TEST_CHECK(clq_batch_begin(context) == CLQ_ERROR_INVALID_ARGUMENT, "a begin in a batch");
        TEST_OK(context, clq_quantize(context, &tx, &params, &tq, NULL));
        TEST_CHECK(clq_quantize(context, &tx, &bad_params, &tq, NULL) == CLQ_ERROR_PARAMETER, "a bad scale");
        TEST_OK(context, clq_convert(context, &tx, &ty));
        TEST_CHECK(q[0] == 0x33 && y[0] == 0.0f, "a call of a batch has run");
        TEST_OK(context, clq_batch_end(context));
        TEST_CHECK(memcmp(q, expected, sizeof q) == 0 && memcmp(x, y, sizeof x) == 0, "other values in a batch");
        /* Freed with an open one. */
        memset(q, 0x33, sizeof q);
        TEST_OK(context, clq_batch_begin(context));
        TEST_OK(context, clq_quantize(context, &tx, &params, &tq, NULL));
        clq_context_free(context);
        TEST_CHECK(q[0] == 0x33, "a call of a forgotten batch has run");
    }
    for (int k = 0; k < SHIM_OBJECTS; k++)
        TEST_CHECK(atomic_load(&shim.live[k]) == 0, "%lld references of kind %d are left", atomic_load(&shim.live[k]), k);
}
END_TEST

/* ---- the context's own */

START_TEST(warm_up)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        const int64_t n = 64, three = 3;
        uint16_t x[64], y[64];
        int8_t q[64];
        int64_t counts[3];
        float scale = 0.5f, lo, hi;
        int32_t zero_point;
        clq_error_stats stats;
        const clq_tensor tx = clq_tensor_host(CLQ_F16, x, 1, &n), ty = clq_tensor_host(CLQ_F16, y, 1, &n), tq = clq_tensor_host(CLQ_S8, q, 1, &n);
        const clq_tensor tc = clq_tensor_host(CLQ_S64, counts, 1, &three);
        const clq_tensor tlo = clq_tensor_host(CLQ_F32, &lo, 0, NULL), thi = clq_tensor_host(CLQ_F32, &hi, 0, NULL);
        clq_qparams params = one_scale(&scale);
        for (int k = 0; k < 64; k++)
            x[k] = (uint16_t)(0x3c00 + 8 * k);
        TEST_CHECK(clq_context_warm_up(context, CLQ_F64, CLQ_S8) == CLQ_ERROR_DTYPE && clq_context_warm_up(context, CLQ_F32, CLQ_S64) == CLQ_ERROR_DTYPE,
                   "dtypes");
        TEST_OK(context, clq_context_warm_up(context, CLQ_F16, CLQ_S8));
        const long long built = atomic_load(&shim.calls[SHIM_clBuildProgram]);
        TEST_CHECK(built > 0, "nothing was built");
        TEST_OK(context, clq_quantize(context, &tx, &params, &tq, &tc));
        TEST_OK(context, clq_dequantize(context, &tq, &params, &ty));
        TEST_OK(context, clq_compute_error_stats(context, &tx, &tq, &params, &stats));
        TEST_OK(context, clq_minmax(context, &tx, &scheme, &tlo, &thi, &tc));
        params.zero_point = clq_tensor_host(CLQ_S32, &zero_point, 0, NULL);
        TEST_OK(context, clq_choose_qparams(context, &tx, &params));
        TEST_OK(context, clq_qparams_from_range(context, &tlo, &thi, &params));
        TEST_CHECK(atomic_load(&shim.calls[SHIM_clBuildProgram]) == built, "%lld programs more", atomic_load(&shim.calls[SHIM_clBuildProgram]) - built);
        TEST_CHECK(strcmp(clq_context_ran_on(context), "opencl") == 0, "ran on %s", clq_context_ran_on(context));
        clq_context_free(context);
    }
}
END_TEST

/* The driver is asked for a program's binary once, and given it from then on. */
START_TEST(programs_are_kept)
{
    FOR_EACH_DEVICE(i)
    {
        for (int is_named = 0; is_named < 2; is_named++) {
            const int64_t n = 64;
            float x[64];
            uint16_t first[64], second[64];
            char folder[256];
            const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 1, &n);
            const clq_tensor to[] = {clq_tensor_host(CLQ_BF16, first, 1, &n), clq_tensor_host(CLQ_BF16, second, 1, &n)};
            test_make_folder(folder);
            unsetenv(is_named ? "XDG_CACHE_HOME" : "CLQ_CACHE_DIR");
            setenv(is_named ? "CLQ_CACHE_DIR" : "XDG_CACHE_HOME", folder, 1);
            fill(x, n);
            for (int again = 0; again < 2; again++) {
                const long long asked = atomic_load(&shim.calls[SHIM_clGetProgramInfo]), loaded = atomic_load(&shim.calls[SHIM_clCreateProgramWithBinary]);
                clq_context *const context = open_context(i);
                test_note("%s, %s", is_named ? "CLQ_CACHE_DIR" : "XDG_CACHE_HOME", again ? "again" : "first");
                TEST_OK(context, clq_convert(context, &tx, &to[again]));
                TEST_CHECK((atomic_load(&shim.calls[SHIM_clGetProgramInfo]) > asked) == !again, "asked for a binary or not");
                TEST_CHECK((atomic_load(&shim.calls[SHIM_clCreateProgramWithBinary]) > loaded) == again, "loaded or not");
                clq_context_free(context);
            }
            TEST_CHECK(memcmp(first, second, sizeof first) == 0, "other results");
            test_remove_folder(folder);
        }
    }
}
END_TEST

START_TEST(where_host_tensors_run)
{
    static const struct {
        clq_host_tensors choice;
        const char *place;
    } rows[] = {{CLQ_HOST_TENSORS_AUTO, "opencl"}, {CLQ_HOST_TENSORS_CPU, "cpu"}, {CLQ_HOST_TENSORS_DEVICE, "opencl"}};
    FOR_EACH_DEVICE(i)
    {
        for (size_t k = 0; k < TEST_COUNT_OF(rows); k++) {
            clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
            const int64_t n = 100;
            float x[100];
            uint16_t y[200];
            options.no_fallback = 1;
            options.host_tensors = rows[k].choice;
            clq_context *const context = open_options(i, options);
            const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 1, &n);
            clq_tensor there = clq_tensor_host(CLQ_BF16, y, 1, &n);
            fill(x, n);
            TEST_CHECK(strcmp(clq_context_ran_on(context), "") == 0, "ran on %s", clq_context_ran_on(context));
            TEST_OK(context, clq_convert(context, &tx, &there));
            TEST_CHECK(strcmp(clq_context_ran_on(context), rows[k].place) == 0, "ran on %s", clq_context_ran_on(context));
            /* In place, the device could not be followed by the CPU. */
            const clq_tensor half = clq_tensor_host(CLQ_F16, y, 1, &n);
            TEST_OK(context, clq_convert(context, &there, &half));
            TEST_CHECK(strcmp(clq_context_ran_on(context), "cpu") == 0, "in place on %s", clq_context_ran_on(context));
            /* What is on the device runs there in any case. */
            clq_buffer *const buffer = make_buffer(context, 400);
            there = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &n);
            TEST_OK(context, clq_convert(context, &tx, &there));
            TEST_CHECK(strcmp(clq_context_ran_on(context), "opencl") == 0, "ran on %s", clq_context_ran_on(context));
            clq_buffer_free(buffer);
            clq_context_free(context);
        }
    }
}
END_TEST

START_TEST(names_and_descriptions)
{
    static const char *const bad[] = {"opencl:", "opencl:x", "opencl:1x", "opencl0", "gpu"};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    clq_device_info infos[64], info;
    char text[300];
    int32_t count;

    options.error_text = text;
    options.error_text_bytes = sizeof text;
    for (size_t k = 0; k < TEST_COUNT_OF(bad); k++) {
        options.device = bad[k];
        TEST_CHECK(clq_context_create(&options, &context) == CLQ_ERROR_INVALID_ARGUMENT, "%s", bad[k]);
    }
    options.device = "opencl:99";
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_ERROR_NO_DEVICE && strstr(text, "opencl:99") != NULL, "%s", text);
    options.device = NULL;
    setenv("CLQ_DEVICE", "opencl:99", 1);
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_ERROR_NO_DEVICE && strstr(text, "CLQ_DEVICE") != NULL, "%s", text);
    TEST_CHECK(clq_devices_list(infos, 64, &count) == CLQ_OK && count == device_count + 1, "%d devices listed", (int)count);
    FOR_EACH_DEVICE(i)
    {
        char id[32];
        snprintf(id, sizeof id, "opencl:%d", (int)i);
        setenv("CLQ_DEVICE", id, 1);
        TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "%s: %s", id, text);
        TEST_OK(context, clq_context_info(context, &info));
        TEST_CHECK(strcmp(info.id, id) == 0 && strcmp(info.path, "opencl") == 0 && info.chosen == 1, "%s %s", info.id, info.path);
        TEST_CHECK(strcmp(info.name, devices[i].name) == 0 && strncmp(info.version, "OpenCL ", 7) == 0, "%s, %s", info.name, info.version);
        TEST_CHECK(strcmp(info.capabilities, devices[i].capabilities) == 0 && info.cache[0] != '\0', "%s, %s", info.capabilities, info.cache);
        TEST_CHECK(info.num_threads > 0 && info.memory_bytes > 0, "%d threads, %lld bytes", (int)info.num_threads, (long long)info.memory_bytes);
        clq_context_free(context);
        TEST_CHECK(clq_devices_list(infos, 64, &count) == CLQ_OK, "no list");
        for (int32_t k = 0; k < count; k++)
            TEST_CHECK(infos[k].chosen == (strcmp(infos[k].id, id) == 0) && infos[k].reason[0] != '\0', "%s: %s", infos[k].id, infos[k].reason);
        TEST_CHECK(strcmp(infos[count - 1].id, "cpu") == 0, "the last is %s", infos[count - 1].id);
        unsetenv("CLQ_DEVICE");
        struct own own = open_own(i, 0, 0);
        TEST_OK(own.context, clq_context_info(own.context, &info));
        TEST_CHECK(strcmp(info.id, "opencl") == 0 && strcmp(info.name, devices[i].name) == 0, "%s %s", info.id, info.name);
        close_own(&own);
    }
}
END_TEST

/* Counts and ranges of nothing are zeros, on the device too. */
START_TEST(empty_tensors)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        const int64_t shape[2] = {3, 0}, three = 3, bytes = 100;
        clq_buffer *const buffer = make_buffer(context, bytes);
        unsigned char all[100];
        float scales[3] = {1.0f, 1.0f, 1.0f};
        const clq_tensor whole = clq_tensor_buffer(CLQ_U8, buffer, 0, 1, &bytes), host = clq_tensor_host(CLQ_U8, all, 1, &bytes);
        const clq_tensor x = clq_tensor_buffer(CLQ_F32, buffer, 0, 2, shape), q = clq_tensor_buffer(CLQ_S8, buffer, 0, 2, shape);
        const clq_tensor lo = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &three), hi = clq_tensor_buffer(CLQ_F32, buffer, 3, 1, &three);
        const clq_tensor counts = clq_tensor_buffer(CLQ_S64, buffer, 4, 1, &three);
        const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                    .scale = clq_tensor_host(CLQ_F32, scales, 1, &three)};
        memset(all, 0x77, sizeof all);
        TEST_OK(context, clq_convert(context, &host, &whole));
        TEST_OK(context, clq_minmax(context, &x, &params.scheme, &lo, &hi, NULL));
        TEST_OK(context, clq_quantize(context, &x, &params, &q, &counts));
        TEST_OK(context, clq_dequantize(context, &q, &params, &x));
        TEST_OK(context, clq_convert(context, &whole, &host));
        for (int k = 0; k < 100; k++)
            TEST_CHECK(all[k] == (k < 24 || (k >= 32 && k < 56) ? 0 : 0x77), "byte %d is 0x%x", k, all[k]);
        clq_buffer_free(buffer);
        clq_context_free(context);
    }
}
END_TEST

/* Device parameters that no kernel should see. */
START_TEST(odd_parameters)
{
    FOR_EACH_DEVICE(i)
    {
        clq_context *const context = open_context(i);
        const int64_t none[2] = {0, 5}, no_rows = 0, huge = (INT64_C(1) << 62) + 16;
        clq_buffer *const buffer = make_buffer(context, 400);
        const clq_scheme per_row = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0};
        const clq_tensor lo = clq_tensor_buffer(CLQ_F32, buffer, 0, 0, NULL), scale = clq_tensor_buffer(CLQ_F32, buffer, 1, 0, NULL);
        const clq_tensor zero_point = clq_tensor_buffer(CLQ_S32, buffer, 2, 0, NULL);
        const clq_qparams one = {.scheme = {.dtype = CLQ_S8}, .scale = scale, .zero_point = zero_point};
        float bad = NAN;
        const clq_tensor host = clq_tensor_host(CLQ_F32, &bad, 0, NULL);
        clq_qparams params = {.scheme = per_row, .scale = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &no_rows)};

        /* No values, at a stride of 2. */
        params.scale.strides[0] = 2;
        const clq_tensor x = clq_tensor_buffer(CLQ_F32, buffer, 0, 2, none), q = clq_tensor_buffer(CLQ_S8, buffer, 0, 2, none);
        TEST_OK(context, clq_quantize(context, &x, &params, &q, NULL));
        /* More than there are bytes for, all at one place. */
        params.scale = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &huge);
        params.scale.strides[0] = 0;
        const clq_tensor wide = clq_tensor_host(CLQ_F32, &bad, 1, &huge);
        TEST_CHECK(clq_qparams_check(context, &wide, &params) == CLQ_ERROR_OVERFLOW, "%s", clq_context_error(context));
        /* Half of a range is in host memory, and looked at. */
        TEST_CHECK(clq_qparams_from_range(context, &host, &lo, &one) == CLQ_ERROR_PARAMETER, "lo is NaN");
        TEST_CHECK(clq_qparams_from_range(context, &lo, &host, &one) == CLQ_ERROR_PARAMETER, "hi is NaN");
        clq_buffer_free(buffer);
        clq_context_free(context);
    }
}
END_TEST

/* An event that has failed is refused, not waited for: drivers may do so for ever. */
START_TEST(wait_for_a_failed_event)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, 0);
        cl_int code;
        const cl_event user = clCreateUserEvent(own.cl, &code);
        CL_OK(code);
        CL_OK(clSetUserEventStatus(user, -5));
        TEST_CHECK(clq_opencl_wait(own.context, 1, &user) == CLQ_ERROR_DEVICE, "%s", clq_context_error(own.context));
        CL_OK(clReleaseEvent(user));
        TEST_CHECK(test_works(own.context, 1000, 5), "%s", clq_context_error(own.context));
        close_own(&own);
    }
}
END_TEST

/* Parameters stay on the device as long as kernels that read them are still to be queued, however many jobs are uploaded in between: in the
   smallest chunks there are enough to fill the blocks for uploads several times over. */
START_TEST(parameters_outlast_jobs)
{
    enum { COLS = 10, MOST_ROWS = 70000 };
    static float x[MOST_ROWS * COLS], scales[MOST_ROWS];
    static int8_t q[MOST_ROWS * COLS], expected[MOST_ROWS * COLS];
    static const int64_t row_counts[] = {1000, 65400, 65536, MOST_ROWS};
    FOR_EACH_DEVICE(i)
    {
        clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
        options.no_fallback = 1;
        options.staging_bytes = 4096;
        clq_context *const context = open_options(i, options);
        fill(x, MOST_ROWS * COLS);
        for (int k = 0; k < MOST_ROWS; k++)
            scales[k] = 0.25f + (float)(k % 100) / 64;
        for (size_t k = 0; k < TEST_COUNT_OF(row_counts); k++) {
            const int64_t rows = row_counts[k], shape[2] = {rows, COLS};
            const clq_tensor hx = clq_tensor_host(CLQ_F32, x, 2, shape), hq = clq_tensor_host(CLQ_S8, expected, 2, shape);
            const clq_tensor dq = clq_tensor_host(CLQ_S8, q, 2, shape);
            const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                        .scale = clq_tensor_host(CLQ_F32, scales, 1, &rows)};
            quantize_on_cpu(&hx, &params, &hq);
            memset(q, 0x55, sizeof q);
            TEST_OK(context, clq_quantize(context, &hx, &params, &dq, NULL));
            TEST_CHECK(memcmp(q, expected, (size_t)(rows * COLS)) == 0, "%lld rows: other values than on the CPU", (long long)rows);
            /* One scale, which the last chunk reads too. */
            const clq_qparams one = one_scale(&scales[50]);
            quantize_on_cpu(&hx, &one, &hq);
            TEST_OK(context, clq_quantize(context, &hx, &one, &dq, NULL));
            TEST_CHECK(memcmp(q, expected, (size_t)(rows * COLS)) == 0, "%lld rows, one scale: other values than on the CPU", (long long)rows);
        }
        clq_context_free(context);
    }
}
END_TEST

/* A tensor in host memory on its way to the device waits for nobody. */
START_TEST(host_inputs_do_not_wait)
{
    FOR_EACH_DEVICE(i)
    {
        struct own own = open_own(i, 0, 0);
        const int64_t n = 1000;
        static float x[1000], back[1000];
        clq_buffer *const buffer = make_buffer(own.context, 4 * n);
        const clq_tensor host = clq_tensor_host(CLQ_F32, x, 1, &n), there = clq_tensor_buffer(CLQ_F32, buffer, 0, 1, &n);
        const clq_tensor here = clq_tensor_host(CLQ_F32, back, 1, &n);
        cl_int code;
        const cl_event user = clCreateUserEvent(own.cl, &code);
        CL_OK(code);
        fill(x, (int)n);
        TEST_OK(own.context, clq_opencl_wait(own.context, 1, &user));
        TEST_OK(own.context, clq_convert(own.context, &host, &there));
        TEST_CHECK(!is_over(own.context), "the call has waited");
        memset(x, 0, sizeof x);
        CL_OK(clSetUserEventStatus(user, CL_COMPLETE));
        CL_OK(clReleaseEvent(user));
        TEST_OK(own.context, clq_convert(own.context, &there, &here));
        fill(x, (int)n);
        TEST_CHECK(memcmp(x, back, sizeof x) == 0, "other values than were given");
        clq_buffer_free(buffer);
        close_own(&own);
    }
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("OpenCL");
    TCase *const tcase = test_case(suite, "OpenCL"), *const alone = test_case(suite, "devices");

    tcase_add_checked_fixture(tcase, find_devices, NULL);
    tcase_add_test(tcase, own_queue);
    tcase_add_test(tcase, odd_parameters);
    tcase_add_test(tcase, wait_for_a_failed_event);
    tcase_add_test(tcase, parameters_outlast_jobs);
    tcase_add_test(tcase, host_inputs_do_not_wait);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, calls_do_not_wait);
    tcase_add_test(tcase, event_that_fails);
    tcase_add_test(tcase, staging_overlaps);
    tcase_add_test(tcase, shared_memory_is_not_copied);
    tcase_add_test(tcase, staging_sizes);
    tcase_add_test(tcase, contexts_on_threads);
    tcase_add_test(tcase, lifetimes);
    tcase_add_test(tcase, forked_child);
    tcase_add_test(tcase, batch_in_few_launches);
    tcase_add_test(tcase, batch_errors);
    tcase_add_test(tcase, warm_up);
    tcase_add_test(tcase, programs_are_kept);
    tcase_add_test(tcase, where_host_tensors_run);
    tcase_add_test(tcase, names_and_descriptions);
    tcase_add_test(tcase, empty_tensors);
    tcase_add_test(alone, two_devices);
    return test_run_opencl(suite);
}
