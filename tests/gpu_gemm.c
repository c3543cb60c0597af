/* SPDX-License-Identifier: MIT */
/*
 * Checks and measures matrix products on one OpenCL device through the public headers and prints a section of tests/gpu-report.sh in Markdown.
 *
 *   tests/gpu_gemm check DEVICE             every dot-product unit that the device has, against the library's scalar CPU kernels, bit for bit
 *   tests/gpu_gemm unit DEVICE UNIT [LOG2]  how fast a unit is, before and after clq_context_tune(): give it a cache of its own, without notes of a tuning
 *   tests/gpu_gemm f32 DEVICE [LOG2]        products of f32
 *   tests/gpu_gemm host DEVICE [LOG2]       operands in host memory
 *   tests/gpu_gemm tune DEVICE              clq_context_tune(), for the processes after it
 *   tests/gpu_gemm product DEVICE M N K     one line: best and median microseconds of a product with packed weights
 *
 * DEVICE counts as clquant devices does; shapes with more than 2^LOG2 multiplications are left out, and so are those that the device has no memory for or
 * would take seconds for. A time is wall time of many queued products until the queue is empty, divided by their number; of seven such times the best and
 * the median. Some rows of what was timed are compared with the CPU's.
 */
#include "gpu_device.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_N  16384 /* of all shapes */

static clq_context *cpu;
static int mistakes;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static uint64_t ask_device(cl_device_info what)
{
    cl_ulong value = 0;
    cl_ok(clGetDeviceInfo(device, what, sizeof value, &value, NULL), "clGetDeviceInfo");
    return value;
}

/* ------------------------------------------------------------------------------------------------ the device */

static clq_context *open_cpu(const char *table)
{
    char text[300] = "";
    clq_context *context;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.device = "cpu";
    options.cpu = table;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    if (clq_context_create(&options, &context) != CLQ_OK) fail("clq_context_create", text);
    return context;
}

/* A context with a unit, NULL for the best, after a first product, which tries the unit. Returns NULL, and why, if the device lacks it. */
static clq_context *open_gpu(const char *unit, char *reason, size_t size_bytes)
{
    const int64_t shape[] = {4, 4};
    clq_context *context = NULL;
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_tensor operand, result;
    cl_mem memory;
    cl_int code;
    clq_status status;
    options.error_text = reason;
    options.error_text_bytes = size_bytes;
    options.no_fallback = 1;
    options.gemm_unit = unit;
    status = clq_context_create_opencl(&options, cl, device, queue, &context);
    if (unit && (status == CLQ_ERROR_NO_DEVICE || status == CLQ_ERROR_INVALID_ARGUMENT)) return NULL;
    if (status != CLQ_OK) fail("clq_context_create_opencl", reason);
    memory = clCreateBuffer(cl, CL_MEM_READ_WRITE, 16 + 64, NULL, &code);
    cl_ok(code, "clCreateBuffer");
    operand = clq_tensor_opencl(CLQ_S8, memory, 0, 2, shape);
    result = clq_tensor_opencl(CLQ_S32, memory, 4, 2, shape);
    status = clq_gemm(context, &(clq_gemm_args){.a = &operand, .b = &operand, .c = &result});
    if (status == CLQ_OK) status = clq_context_synchronize(context);
    if (status != CLQ_OK) snprintf(reason, size_bytes, "%s", clq_context_error(context));
    clReleaseMemObject(memory);
    if (status == CLQ_OK) return context;
    if (status != CLQ_ERROR_NO_DEVICE) fail("the first product", reason);
    clq_context_free(context);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ timing */

struct times {
    double best, median; /* seconds */
};

/* As many calls at a time as take 20 ms. The first one, which may compile, does not count. */
static struct times measure(work_fn work, void *argument, clq_context *context)
{
    double times[REPEATS];
    run_many(work, argument, context, 1);
    double once = run_many(work, argument, context, 1);
    if (once < 0.02) once = run_many(work, argument, context, 8) / 8;
    const int64_t calls = once > 0.02 ? 1 : (int64_t)(0.02 / fmax(once, 1e-6)) + 1;
    time_repeats(work, argument, context, calls, times);
    return (struct times){times[0], times[REPEATS / 2]};
}

/* ------------------------------------------------------------------------------------------------ limits of the device */

/* Operations of a compute unit in a clock by a unit, or by f32 ones; 0: not known. By the vendors' papers about their architectures, dense:
   A100 (8.0) 624 TOPS of int8 / 108 SMs / 1.41 GHz; GA102 (8.6), RTX 3090, 284 / 82 / 1.695; AD102 (8.9), RTX 4090, 660 / 128 / 2.52; H100 SXM (9.0)
   1979 / 132 / 1.83, which takes wgmma. dp4a: the 64 multiply-adds of 32 bits in a clock that the CUDA programming guide lists from 7.0 on, each of 8
   operations; 6.1: P40, 47 / 30 / 1.53. f32: lanes of the same list. MI50 (gfx906) 53 / 60 / 1.725; MI100 (gfx908) 184.6 / 120 / 1.502; MI250X (gfx90a)
   383 / 220 / 1.7; MI300X (gfx942) 2615 / 304 / 2.1. Where a driver counts something else as a compute unit, nothing is said. */
static int operations_per_clock(const char *unit)
{
    static const struct {
        const char *unit, *device; /* the device's compute capability or the beginning of its name */
        int operations;
    } known[] = {
        {"nvidia-mma", "8.0", 4096},   {"nvidia-mma", "8.6", 2048},    {"nvidia-mma", "8.9", 2048},    {"nvidia-mma", "9.0", 8192},
        {"nvidia-dp4a", "6.1", 1024},  {"nvidia-dp4a", "7.0", 512},    {"nvidia-dp4a", "7.5", 512},    {"nvidia-dp4a", "8.0", 512},
        {"nvidia-dp4a", "8.6", 512},   {"nvidia-dp4a", "8.9", 512},    {"nvidia-dp4a", "9.0", 512},    {"f32", "6.1", 256},
        {"f32", "7.0", 128},           {"f32", "7.5", 128},            {"f32", "8.0", 128},            {"f32", "8.6", 256},
        {"f32", "8.9", 256},           {"f32", "9.0", 256},            {"amd-sdot4", "gfx906", 512},   {"amd-sdot4", "gfx908", 512},
        {"amd-sdot4", "gfx90a", 512},  {"amd-mfma16", "gfx908", 1024}, {"amd-mfma16", "gfx90a", 1024}, {"amd-mfma", "gfx942", 4096},
    };
    cl_uint major = 0, minor = 0;
    char name[256] = "";
    clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof name, name, NULL);
    /* CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV and _MINOR_NV of cl_nv_device_attribute_query. */
    if (clGetDeviceInfo(device, 0x4000, sizeof major, &major, NULL) == CL_SUCCESS && clGetDeviceInfo(device, 0x4001, sizeof minor, &minor, NULL) == CL_SUCCESS)
        snprintf(name, sizeof name, "%u.%u", (unsigned)major, (unsigned)minor);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].unit, unit) == 0 && strncmp(name, known[i].device, strlen(known[i].device)) == 0) return known[i].operations;
    return 0;
}

/* Operations a second at the device's highest clock, and a line about them; 0: not known. */
static double print_peak(const char *unit)
{
    const int operations = operations_per_clock(unit);
    const double units = (double)ask_device(CL_DEVICE_MAX_COMPUTE_UNITS), clock = (double)ask_device(CL_DEVICE_MAX_CLOCK_FREQUENCY) * 1e6;
    const double peak = operations * units * clock;
    if (operations > 0)
        printf("Peak: %.0f compute units x %.0f MHz x %d operations = %.1f TOPS.\n", units, clock * 1e-6, operations, peak * 1e-12);
    else
        printf("Peak: not known for this device (%.0f compute units, %.0f MHz).\n", units, clock * 1e-6);
    return peak;
}

struct reading {
    cl_kernel kernel;
    size_t items;
};

static void read_all(void *argument)
{
    const struct reading *reading = argument;
    const size_t local = 64;
    cl_ok(clEnqueueNDRangeKernel(queue, reading->kernel, 1, NULL, &reading->items, &local, 0, NULL, NULL), "clEnqueueNDRangeKernel");
}

/* Bytes a second that a kernel reads of a buffer, and a line about it. */
static double print_reading(cl_mem buffer, int64_t size_bytes)
{
    static const char *source = "__kernel void read4(__global const uint4 *x, uint count, __global uint *y) {\n"
                                "    uint4 sum = (uint4)(0);\n"
                                "    for (uint i = get_global_id(0); i < count; i += get_global_size(0)) sum ^= x[i];\n"
                                "    sum.x ^= sum.y ^ sum.z ^ sum.w;\n"
                                "    if (sum.x == 0x12345678) y[0] = sum.x;\n}";
    struct reading reading = {.items = 2048 * (size_t)ask_device(CL_DEVICE_MAX_COMPUTE_UNITS)};
    const cl_uint count = (cl_uint)(size_bytes / 16);
    cl_int code;
    const cl_program program = clCreateProgramWithSource(cl, 1, &source, NULL, &code);
    const cl_mem unused = clCreateBuffer(cl, CL_MEM_READ_WRITE, 4, NULL, NULL);
    cl_ok(code, "clCreateProgramWithSource");
    cl_ok(clBuildProgram(program, 1, &device, "-cl-std=CL1.2", NULL, NULL), "clBuildProgram");
    reading.kernel = clCreateKernel(program, "read4", &code);
    cl_ok(code, "clCreateKernel");
    cl_ok(clSetKernelArg(reading.kernel, 0, sizeof buffer, &buffer), "clSetKernelArg");
    cl_ok(clSetKernelArg(reading.kernel, 1, sizeof count, &count), "clSetKernelArg");
    cl_ok(clSetKernelArg(reading.kernel, 2, sizeof unused, &unused), "clSetKernelArg");
    const double rate = (double)size_bytes / measure(read_all, &reading, NULL).median;
    printf("Reading of %lld bytes by a plain kernel: %.1f GB/s.\n", (long long)size_bytes, rate * 1e-9);
    clReleaseKernel(reading.kernel);
    clReleaseProgram(program);
    clReleaseMemObject(unused);
    return rate;
}

/* ------------------------------------------------------------------------------------------------ operands */

struct shape {
    int64_t batch, m, n, k; /* batch 0: plain matrices */
};

static const struct shape shapes[] = {
    {0, 1, 4096, 4096},    {0, 4, 4096, 4096},    {0, 8, 4096, 4096},     {0, 16, 4096, 4096},    {0, 32, 4096, 4096},  {0, 64, 4096, 4096},
    {0, 32, 128, 9216},    {64, 128, 128, 64},    {0, 128, 1024, 1024},   {0, 197, 768, 3072},    {0, 1000, 1000, 1000}, {0, 1024, 1024, 1024},
    {0, 2048, 2048, 2048}, {0, 4096, 4096, 4096}, {0, 8192, 8192, 8192},  {0, MOST_N, MOST_N, MOST_N},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int64_t matrices(const struct shape *shape)
{
    return shape->batch ? shape->batch : 1;
}

static double multiplications(const struct shape *shape)
{
    return (double)matrices(shape) * (double)shape->m * (double)shape->n * (double)shape->k;
}

static void print_shape(const struct shape *shape)
{
    if (shape->batch) printf("%lld x (", (long long)shape->batch);
    printf("%lldx%lldx%lld%s", (long long)shape->m, (long long)shape->n, (long long)shape->k, shape->batch ? ")" : "");
}

/* How B lies, or that it is packed from rows beforehand. */
enum weights { PACKED, COLUMNS, ROWS, WEIGHTS };
static const char *const weights_names[] = {"packed", "K adjacent", "N adjacent"};

/* The operands, on the device and on the host. */
enum operand { A, B, C, A_SCALE, A_ZERO_POINT, B_SCALE, B_ZERO_POINT, BIAS, BIAS_F32, C_SCALE, C_ZERO_POINT, OPERANDS };
static struct {
    cl_mem there;
    void *here;
} memory[OPERANDS];

static void drop(enum operand operand)
{
    if (memory[operand].there) clReleaseMemObject(memory[operand].there);
    free(memory[operand].here);
    memory[operand].there = NULL;
    memory[operand].here = NULL;
}

static void reserve(enum operand operand, int64_t size_bytes)
{
    cl_int code;
    drop(operand);
    memory[operand].here = allocate(size_bytes);
    memory[operand].there = clCreateBuffer(cl, CL_MEM_READ_WRITE, (size_t)size_bytes, NULL, &code);
    cl_ok(code, "clCreateBuffer");
}

static void send(enum operand operand, int64_t offset_bytes, int64_t size_bytes)
{
    cl_ok(clEnqueueWriteBuffer(queue, memory[operand].there, CL_TRUE, (size_t)offset_bytes, (size_t)size_bytes, memory[operand].here, 0, NULL, NULL),
          "clEnqueueWriteBuffer");
}

static uint64_t random_bits(void)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}

static void fill_bytes(enum operand operand, int64_t n)
{
    uint8_t *x = memory[operand].here;
    for (int64_t i = 0; i < n; i += 8) {
        const uint64_t bits = random_bits();
        memcpy(x + i, &bits, (size_t)least(8, n - i));
    }
}

static void fill_floats(enum operand operand, int64_t n)
{
    float *x = memory[operand].here;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(int8_t)random_bits() / 128.0f;
}

/* Scales, zero points and biases for all shapes. */
static void open_parameters(void)
{
    static const enum operand single[] = {A_SCALE, A_ZERO_POINT, C_SCALE, C_ZERO_POINT}, many[] = {B_SCALE, B_ZERO_POINT, BIAS, BIAS_F32};
    for (int i = 0; i < 4; i++) {
        reserve(single[i], 4);
        reserve(many[i], 4 * MOST_N);
    }
    *(float *)memory[A_SCALE].here = 0.011f;
    *(int32_t *)memory[A_ZERO_POINT].here = 3;
    *(float *)memory[C_SCALE].here = 0.1f;
    *(int32_t *)memory[C_ZERO_POINT].here = 7;
    for (int64_t i = 0; i < MOST_N; i++) {
        ((float *)memory[B_SCALE].here)[i] = 0.001f * (float)(1 + random_bits() % 16);
        ((int32_t *)memory[B_ZERO_POINT].here)[i] = (int32_t)(random_bits() % 16);
        ((int32_t *)memory[BIAS].here)[i] = (int32_t)(random_bits() % 2001) - 1000;
        ((float *)memory[BIAS_F32].here)[i] = (float)(int8_t)random_bits() / 64.0f;
    }
    for (int i = 0; i < 4; i++) {
        send(single[i], 0, 4);
        send(many[i], 0, 4 * MOST_N);
    }
}

/* An operand on the device or on the host. */
static clq_tensor view(enum operand operand, bool on_device, clq_dtype dtype, int64_t offset, int32_t rank, const int64_t *shape)
{
    if (on_device) return clq_tensor_opencl(dtype, memory[operand].there, offset, rank, shape);
    clq_tensor host = clq_tensor_host(dtype, memory[operand].here, rank, shape);
    host.offset = offset;
    return host;
}

/* ------------------------------------------------------------------------------------------------ a product */

/* Copies of B that take turns, so that weights come from memory. */
#define MOST_COPIES 16

struct product {
    clq_context *context;
    const struct shape *shape;
    enum weights weights;
    clq_tensor a, b[MOST_COPIES], c, bias;
    clq_qparams a_params, b_params, c_params;
    clq_packed *packed[MOST_COPIES];
    int copies, next;
    clq_gemm_args args;
};

static void perform(void *argument)
{
    struct product *product = argument;
    product->args.b = product->weights == PACKED ? NULL : &product->b[product->next];
    product->args.packed_b = product->weights == PACKED ? product->packed[product->next] : NULL;
    product->next = (product->next + 1) % product->copies;
    ok(product->context, clq_gemm(product->context, &product->args), "clq_gemm");
}

static clq_tensor matrix(enum operand operand, bool on_device, clq_dtype dtype, int64_t offset, const struct shape *shape, int64_t rows, int64_t cols)
{
    const int64_t extents[] = {shape->batch, rows, cols};
    return view(operand, on_device, dtype, offset, shape->batch ? 3 : 2, shape->batch ? extents : extents + 1);
}

static clq_tensor place_b(const struct shape *shape, bool on_device, clq_dtype dtype, enum weights weights, int copy)
{
    clq_tensor b = matrix(B, on_device, dtype, copy * matrices(shape) * shape->k * shape->n, shape, shape->k, shape->n);
    if (weights != COLUMNS) return b;
    b.strides[b.rank - 2] = 1;
    b.strides[b.rank - 1] = shape->k;
    return b;
}

/* The operands of a product; all parameters unless only sums are wanted. Refers to *product itself. */
static void place(struct product *product, bool on_device, clq_dtype a, clq_dtype b, clq_dtype c, bool sums_alone)
{
    const struct shape *shape = product->shape;
    product->a = matrix(A, on_device, a, 0, shape, shape->m, shape->k);
    product->c = matrix(C, on_device, c, 0, shape, shape->m, shape->n);
    for (int copy = 0; copy < product->copies; copy++)
        product->b[copy] = place_b(shape, on_device, b, product->weights, copy);
    product->bias = view(c == CLQ_F32 ? BIAS_F32 : BIAS, on_device, c == CLQ_F32 ? CLQ_F32 : CLQ_S32, 0, 1, &shape->n);
    product->a_params = (clq_qparams){.scheme = {.dtype = a}, .scale = view(A_SCALE, on_device, CLQ_F32, 0, 0, NULL),
                                      .zero_point = view(A_ZERO_POINT, on_device, CLQ_S32, 0, 0, NULL)};
    product->b_params = (clq_qparams){.scheme = {.dtype = b, .granularity = CLQ_PER_CHANNEL, .axis = -1},
                                      .scale = view(B_SCALE, on_device, CLQ_F32, 0, 1, &shape->n),
                                      .zero_point = view(B_ZERO_POINT, on_device, CLQ_S32, 0, 1, &shape->n)};
    product->c_params = (clq_qparams){.scheme = {.dtype = c}, .scale = view(C_SCALE, on_device, CLQ_F32, 0, 0, NULL),
                                      .zero_point = view(C_ZERO_POINT, on_device, CLQ_S32, 0, 0, NULL)};
    product->args = (clq_gemm_args){.a = &product->a, .c = &product->c};
    if (sums_alone) return;
    product->args.bias = &product->bias;
    if (a == CLQ_F32) return;
    product->args.a_params = &product->a_params;
    product->args.b_params = &product->b_params;
    if (c == CLQ_S8 || c == CLQ_U8) product->args.c_params = &product->c_params;
    if (c == CLQ_F32) product->args.activation = CLQ_ACTIVATION_RELU;
}

static void pack(struct product *product)
{
    for (int copy = 0; copy < product->copies && product->weights == PACKED; copy++)
        ok(product->context, clq_packed_create(product->context, &product->b[copy], &product->packed[copy]), "clq_packed_create");
}

static void free_packed(struct product *product)
{
    for (int copy = 0; copy < MOST_COPIES; copy++) {
        clq_packed_free(product->packed[copy]);
        product->packed[copy] = NULL;
    }
}

/* ------------------------------------------------------------------------------------------------ check */

static const char *const units[] = {"nvidia-mma", "intel-dpas", "intel-dpas8", "amd-mfma", "amd-mfma16", "amd-wmma", "nvidia-dp4a",
                                    "khr-dot",    "amd-sudot4", "amd-sdot4",   "arm-dot",  "arm-matrix", "portable"};
enum { UNITS = sizeof units / sizeof *units };

static int64_t size_of(clq_dtype dtype, int64_t n)
{
    return n * clq_dtype_bits(dtype) / 8;
}

static void read_results(void *to, int64_t offset_bytes, int64_t size_bytes)
{
    cl_ok(clEnqueueReadBuffer(queue, memory[C].there, CL_TRUE, (size_t)offset_bytes, (size_t)size_bytes, to, 0, NULL, NULL), "clEnqueueReadBuffer");
}

/* Whether the device makes the same C as the CPU has made. */
static bool is_same(struct product *product, clq_dtype a, clq_dtype b, clq_dtype c, void *results)
{
    const int64_t size_bytes = size_of(c, matrices(product->shape) * product->shape->m * product->shape->n);
    place(product, true, a, b, c, false);
    pack(product);
    perform(product);
    ok(product->context, clq_context_synchronize(product->context), "clq_context_synchronize");
    if (strcmp(clq_context_ran_on(product->context), "opencl") != 0) fail("clq_gemm", "did not run on the device");
    read_results(results, 0, size_bytes);
    free_packed(product);
    return memcmp(results, memory[C].here, (size_t)size_bytes) == 0;
}

/* A shape in all types and layouts: the products that were made, and in *wrong those that differ. */
static int check_shape(clq_context *const *contexts, const struct shape *shape, int *wrong)
{
    static const clq_dtype bytes[] = {CLQ_S8, CLQ_U8}, types[] = {CLQ_S32, CLQ_F32, CLQ_S8, CLQ_U8};
    const int64_t a = matrices(shape) * shape->m * shape->k, b = matrices(shape) * shape->k * shape->n, c = 4 * matrices(shape) * shape->m * shape->n;
    void *const results = allocate(c);
    int count = 0;
    reserve(A, a);
    reserve(B, b);
    reserve(C, c);
    fill_bytes(A, a);
    fill_bytes(B, b);
    send(A, 0, a);
    send(B, 0, b);
    for (int i = 0; i < 16; i++)
        for (enum weights weights = 0; weights < WEIGHTS; weights++) {
            const clq_dtype a_type = bytes[i & 1], b_type = bytes[i >> 1 & 1], c_type = types[i >> 2];
            struct product expected = {.context = cpu, .shape = shape, .weights = weights == PACKED ? ROWS : weights, .copies = 1};
            place(&expected, false, a_type, b_type, c_type, false);
            perform(&expected);
            for (int u = 0; u < UNITS; u++) {
                struct product product = {.context = contexts[u], .shape = shape, .weights = weights, .copies = 1};
                if (contexts[u] && !is_same(&product, a_type, b_type, c_type, results)) wrong[u]++;
            }
            count++;
        }
    free(results);
    return count;
}

static void check(void)
{
    /* Around the tiles' edges, for few rows and columns, in parts of K, in batches. */
    static const struct shape checked[] = {{0, 1, 1, 1},       {0, 7, 65, 17},      {0, 1, 129, 1000},  {0, 5, 200, 4096},  {0, 130, 3, 333},
                                           {0, 64, 64, 64},    {0, 65, 129, 200},   {0, 127, 255, 95},  {0, 128, 128, 512}, {0, 150, 257, 1000},
                                           {0, 20, 20, 20000}, {5, 33, 47, 130}};
    clq_context *contexts[UNITS];
    char reasons[UNITS][300] = {""};
    int wrong[UNITS] = {0}, count = 0;
    cpu = open_cpu("scalar");
    for (int u = 0; u < UNITS; u++)
        contexts[u] = open_gpu(units[u], reasons[u], sizeof reasons[u]);
    for (size_t i = 0; i < sizeof checked / sizeof *checked; i++)
        count += check_shape(contexts, &checked[i], wrong);
    printf("## Matrix products: the same bits as the scalar CPU kernels\n\n%d shapes, s8 and u8, all types of C, with zero points, scales per column, bias; "
           "weights packed, K adjacent, N adjacent.\n\n| unit | products | |\n|---|---:|---|\n",
           (int)(sizeof checked / sizeof *checked));
    for (int u = 0; u < UNITS; u++) {
        if (!contexts[u])
            printf("| %s | | not on this device: %s |\n", units[u], reasons[u]);
        else if (wrong[u] > 0)
            printf("| %s | %d | **WRONG**: %d |\n", units[u], count, wrong[u]);
        else
            printf("| %s | %d | same bits |\n", units[u], count);
        mistakes += wrong[u];
        clq_context_free(contexts[u]);
    }
}

/* ------------------------------------------------------------------------------------------------ shapes to measure */

#define SLOW_SECONDS 2.0 /* of a product: it is left out */

/* Makes the shape's operands of so many bytes an element of A and B, with copies of B; false, and why in a table's row, if it is left out. `rate` is of
   multiplications a second, as far as it is known. */
static bool open_shape(const struct shape *shape, int element_bytes, int copies, int log2, double rate)
{
    const int64_t a = element_bytes * matrices(shape) * shape->m * shape->k, b = element_bytes * matrices(shape) * shape->k * shape->n;
    const int64_t c = 4 * matrices(shape) * shape->m * shape->n, most = (int64_t)ask_device(CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    const char *reason = NULL;
    if (multiplications(shape) > ldexp(1, log2)) return false;
    if (b * copies > most || c > most || a + 2 * b * copies + c > (int64_t)ask_device(CL_DEVICE_GLOBAL_MEM_SIZE)) reason = "too little memory";
    if (rate > 0 && multiplications(shape) / rate > SLOW_SECONDS) reason = "it takes too long";
    if (reason) {
        printf("| ");
        print_shape(shape);
        printf(" | left out: %s |\n", reason);
        return false;
    }
    reserve(A, a);
    reserve(B, b * copies);
    reserve(C, c);
    if (element_bytes == 1) {
        fill_bytes(A, a);
        fill_bytes(B, b);
    } else {
        fill_floats(A, a / 4);
        fill_floats(B, b / 4);
    }
    send(A, 0, a);
    for (int copy = 0; copy < copies; copy++)
        send(B, copy * b, b);
    return true;
}

/* Rows of each matrix that are compared. */
#define CHECKED_ROWS 8

static int64_t row_step(const struct shape *shape)
{
    return shape->m > CHECKED_ROWS ? shape->m / CHECKED_ROWS : 1;
}

static int64_t row_count(const struct shape *shape)
{
    return least(shape->m, CHECKED_ROWS);
}

/* Those rows of the sums, by the CPU. */
static void *expect_rows(const struct shape *shape, clq_dtype dtype, enum weights weights)
{
    const bool is_f32 = dtype == CLQ_F32;
    const struct shape rows = {shape->batch, row_count(shape), shape->n, shape->k};
    clq_tensor a = matrix(A, false, dtype, 0, &rows, rows.m, rows.k), b = place_b(shape, false, dtype, weights, 0), c;
    void *const expected = allocate(4 * matrices(&rows) * rows.m * rows.n);
    a.strides[a.rank - 2] = row_step(shape) * shape->k;
    if (shape->batch) a.strides[0] = shape->m * shape->k;
    c = matrix(C, false, is_f32 ? CLQ_F32 : CLQ_S32, 0, &rows, rows.m, rows.n);
    c.data = expected;
    ok(cpu, clq_gemm(cpu, &(clq_gemm_args){.a = &a, .b = &b, .c = &c}), "clq_gemm");
    return expected;
}

/* Whether the device's C, all 4-byte results, has those rows. f32 sums may differ in rounding. */
static bool has_rows(const struct shape *shape, const void *expected, bool is_f32)
{
    float *const row = allocate(4 * shape->n);
    bool right = true;
    for (int64_t i = 0; i < matrices(shape) * row_count(shape) && right; i++) {
        const int64_t at = i / row_count(shape) * shape->m + i % row_count(shape) * row_step(shape);
        const float *own = (const float *)expected + i * shape->n;
        read_results(row, 4 * at * shape->n, 4 * shape->n);
        for (int64_t j = 0; j < shape->n && is_f32; j++)
            right = right && fabsf(row[j] - own[j]) <= 1e-6f * (float)shape->k;
        if (!is_f32) right = memcmp(row, own, (size_t)(4 * shape->n)) == 0;
    }
    free(row);
    if (!right) mistakes++;
    return right;
}

static void print_share(double share)
{
    if (share > 0)
        printf(" %.0f %% |", 100 * share);
    else
        printf(" |");
}

/* ------------------------------------------------------------------------------------------------ unit */

#define READ_BYTES (INT64_C(1) << 28)

/* Bytes that a product with few rows has to move; 0: it has more. */
static int64_t read_bytes(const struct shape *shape)
{
    return shape->m <= 64 && !shape->batch ? shape->k * shape->n + shape->m * shape->k + 4 * shape->m * shape->n : 0;
}

/* Weights of as many megabytes come from memory if copies of them take turns. */
static int copies_of(const struct shape *shape)
{
    return shape->m <= 64 && shape->k * shape->n >= READ_BYTES / MOST_COPIES ? MOST_COPIES : 1;
}

/* A shape and layout by two contexts, the second one tuned. Returns the better rate, multiplications a second. */
static double measure_layout(clq_context *const contexts[2], const struct shape *shape, enum weights weights, double peak, double reading)
{
    struct product product = {.context = contexts[0], .shape = shape, .weights = weights, .copies = copies_of(shape)};
    void *const expected = expect_rows(shape, CLQ_S8, weights);
    bool right = true;
    double best = 0;
    place(&product, true, CLQ_S8, CLQ_S8, CLQ_S32, true);
    pack(&product);
    printf("| ");
    print_shape(shape);
    printf(" | %s |", weights_names[weights]);
    for (int i = 0; i < 2; i++) {
        product.context = contexts[i];
        const struct times times = measure(perform, &product, contexts[i]);
        right = has_rows(shape, expected, false) && right;
        best = fmax(best, multiplications(shape) / times.best);
        printf(" %.1f | %.1f | %.4g |", times.best * 1e6, times.median * 1e6, 2e-12 * multiplications(shape) / times.median);
        print_share(peak > 0 ? 2 * multiplications(shape) / times.median / peak : 0);
        print_share((double)read_bytes(shape) / times.median / reading);
    }
    printf(" %s |\n", right ? "right" : "**WRONG**");
    fflush(stdout);
    free_packed(&product);
    free(expected);
    return best;
}

/* All types of one shape, of which A and B are there. */
static void measure_types(clq_context *gpu, const struct shape *shape)
{
    static const clq_dtype types[][3] = {{CLQ_S8, CLQ_S8, CLQ_S32}, {CLQ_U8, CLQ_S8, CLQ_S32}, {CLQ_U8, CLQ_U8, CLQ_S32},
                                         {CLQ_U8, CLQ_S8, CLQ_F32}, {CLQ_U8, CLQ_S8, CLQ_U8},  {CLQ_S8, CLQ_S8, CLQ_S8}};
    printf("\n");
    print_shape(shape);
    printf(" by types, tuned, weights packed, with zero points, scales per column and bias:\n\n| A, B, C | median us | TOPS |\n|---|---:|---:|\n");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct product product = {.context = gpu, .shape = shape, .weights = PACKED, .copies = 1};
        place(&product, true, types[i][0], types[i][1], types[i][2], false);
        pack(&product);
        const struct times times = measure(perform, &product, gpu);
        printf("| %s, %s, %s | %.1f | %.4g |\n", clq_dtype_name(types[i][0]), clq_dtype_name(types[i][1]), clq_dtype_name(types[i][2]), times.median * 1e6,
               2e-12 * multiplications(shape) / times.median);
        free_packed(&product);
    }
}

static void tune(clq_context *gpu)
{
    const double start = now();
    ok(gpu, clq_context_tune(gpu), "clq_context_tune");
    printf("clq_context_tune(): %.1f s.\n", now() - start);
}

static void unit(const char *name, int log2)
{
    char reason[300] = "";
    clq_context *contexts[2];
    clq_device_info info;
    double rate = 0;
    const struct shape *typed = NULL;
    cpu = open_cpu(NULL);
    printf("## Matrix products by %s\n\n", name);
    for (int i = 0; i < 2; i++) {
        contexts[i] = open_gpu(name, reason, sizeof reason);
        if (!contexts[i]) {
            printf("Not on this device: %s.\n", reason);
            return;
        }
    }
    ok(contexts[0], clq_context_info(contexts[0], &info), "clq_context_info");
    printf("%s.\n", info.matrix_products);
    tune(contexts[1]);
    const double peak = print_peak(name);
    const int64_t size_bytes = least(READ_BYTES, (int64_t)ask_device(CL_DEVICE_MAX_MEM_ALLOC_SIZE));
    reserve(B, size_bytes);
    fill_bytes(B, size_bytes);
    send(B, 0, size_bytes);
    const double reading = print_reading(memory[B].there, size_bytes);
    printf("\nSums of s8 by s8. Weights of %lld and more bytes come from memory where M is 64 or less.\n\n"
           "| M x N x K | weights | best us | median us | TOPS | of peak | of reading | tuned: best us | median us | TOPS | of peak | of reading | check |\n"
           "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
           (long long)(READ_BYTES / MOST_COPIES));
    for (int i = 0; i < SHAPES; i++) {
        if (!open_shape(&shapes[i], 1, copies_of(&shapes[i]), log2, rate)) continue;
        for (enum weights weights = 0; weights < WEIGHTS; weights++)
            rate = fmax(rate, measure_layout(contexts, &shapes[i], weights, peak, reading));
        if (shapes[i].m <= 4096) typed = &shapes[i];
    }
    open_parameters();
    if (typed && open_shape(typed, 1, 1, log2, rate)) measure_types(contexts[1], typed);
    for (int i = 0; i < 2; i++)
        clq_context_free(contexts[i]);
}

/* ------------------------------------------------------------------------------------------------ f32, host memory, one product */

static clq_context *open_best(void)
{
    char reason[300] = "";
    clq_context *const gpu = open_gpu(NULL, reason, sizeof reason);
    if (!gpu) fail("matrix products", reason);
    cpu = open_cpu(NULL);
    return gpu;
}

static void f32(int log2)
{
    clq_context *const gpu = open_best();
    double rate = 0;
    printf("## Matrix products of f32\n\n");
    const double peak = print_peak("f32");
    printf("\n| M x N x K | best us | median us | TFLOPS | of peak | check |\n|---|---:|---:|---:|---:|---|\n");
    for (int i = 0; i < SHAPES; i++) {
        struct product product = {.context = gpu, .shape = &shapes[i], .weights = ROWS, .copies = 1};
        if (!open_shape(&shapes[i], 4, 1, log2, rate)) continue;
        place(&product, true, CLQ_F32, CLQ_F32, CLQ_F32, true);
        const struct times times = measure(perform, &product, gpu);
        void *const expected = expect_rows(&shapes[i], CLQ_F32, ROWS);
        rate = fmax(rate, multiplications(&shapes[i]) / times.best);
        printf("| ");
        print_shape(&shapes[i]);
        printf(" | %.1f | %.1f | %.4g |", times.best * 1e6, times.median * 1e6, 2e-12 * multiplications(&shapes[i]) / times.median);
        print_share(peak > 0 ? 2 * multiplications(&shapes[i]) / times.median / peak : 0);
        printf(" %s |\n", has_rows(&shapes[i], expected, true) ? "right" : "**WRONG**");
        fflush(stdout);
        free(expected);
    }
    clq_context_free(gpu);
}

struct transfer {
    cl_mem buffer;
    void *pinned;
    size_t size_bytes;
    bool up;
};

static void transfer(void *argument)
{
    const struct transfer *t = argument;
    cl_ok(t->up ? clEnqueueWriteBuffer(queue, t->buffer, CL_FALSE, 0, t->size_bytes, t->pinned, 0, NULL, NULL)
                : clEnqueueReadBuffer(queue, t->buffer, CL_FALSE, 0, t->size_bytes, t->pinned, 0, NULL, NULL),
          "a transfer");
}

/* Bytes a second from the device, and to it. */
static void measure_link(double link[2])
{
    struct transfer t = {.size_bytes = 1 << 26};
    cl_int code;
    const cl_mem pinned = clCreateBuffer(cl, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, t.size_bytes, NULL, &code);
    cl_ok(code, "clCreateBuffer");
    t.buffer = clCreateBuffer(cl, CL_MEM_READ_WRITE, t.size_bytes, NULL, &code);
    cl_ok(code, "clCreateBuffer");
    t.pinned = clEnqueueMapBuffer(queue, pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, t.size_bytes, 0, NULL, NULL, &code);
    cl_ok(code, "clEnqueueMapBuffer");
    memset(t.pinned, 1, t.size_bytes);
    for (int up = 0; up < 2; up++) {
        t.up = up != 0;
        link[up] = (double)t.size_bytes / measure(transfer, &t, NULL).median;
    }
    cl_ok(clEnqueueUnmapMemObject(queue, pinned, t.pinned, 0, NULL, NULL), "clEnqueueUnmapMemObject");
    cl_ok(clFinish(queue), "clFinish");
    clReleaseMemObject(pinned);
    clReleaseMemObject(t.buffer);
}

/* A, C and, unless packed, B in host memory: the product's own bytes over the time, and the time that the slower direction of the link needs over it. */
static double measure_host(clq_context *gpu, const struct shape *shape, enum weights weights, const double link[2])
{
    struct product product = {.context = gpu, .shape = shape, .weights = weights, .copies = 1};
    const int64_t b = matrices(shape) * shape->k * shape->n, up = matrices(shape) * shape->m * shape->k + (weights == PACKED ? 0 : b);
    const int64_t down = 4 * matrices(shape) * shape->m * shape->n;
    int32_t *const expected = expect_rows(shape, CLQ_S8, weights);
    place(&product, false, CLQ_S8, CLQ_S8, CLQ_S32, true);
    pack(&product);
    const struct times times = measure(perform, &product, gpu);
    if (strcmp(clq_context_ran_on(gpu), "opencl") != 0) fail("clq_gemm", "did not run on the device");
    bool right = true;
    for (int64_t i = 0; i < matrices(shape) * row_count(shape); i++) {
        const int64_t row = i / row_count(shape) * shape->m + i % row_count(shape) * row_step(shape);
        right = right && memcmp((const int32_t *)memory[C].here + row * shape->n, expected + i * shape->n, (size_t)(4 * shape->n)) == 0;
    }
    if (!right) mistakes++;
    printf("| ");
    print_shape(shape);
    printf(" | %s | %.0f | %.0f | %.2f |", weights_names[weights], times.best * 1e6, times.median * 1e6, 1e-9 * (double)(up + down) / times.median);
    print_share(fmax((double)up / link[1], (double)down / link[0]) / times.median);
    printf(" %.4g | %s |\n", 2e-12 * multiplications(shape) / times.median, right ? "right" : "**WRONG**");
    fflush(stdout);
    free_packed(&product);
    free(expected);
    return multiplications(shape) / times.best;
}

static void host(int log2)
{
    clq_context *const gpu = open_best();
    double link[2], rate = 0;
    measure_link(link);
    printf("## Matrix products, operands in host memory\n\nThe link, pinned memory: to the device %.2f GB/s, back %.2f GB/s. Share: what the slower "
           "direction takes for the bytes, of the time.\n\n"
           "| M x N x K | weights | best us | median us | GB/s | of the link | TOPS | check |\n|---|---|---:|---:|---:|---:|---:|---|\n",
           link[1] * 1e-9, link[0] * 1e-9);
    for (int i = 0; i < SHAPES; i++) {
        if (!open_shape(&shapes[i], 1, 1, log2, rate)) continue;
        rate = fmax(rate, measure_host(gpu, &shapes[i], PACKED, link));
        measure_host(gpu, &shapes[i], ROWS, link);
    }
    clq_context_free(gpu);
}

/* Best and median microseconds, for scripts. */
static void one_product(const struct shape *shape)
{
    clq_context *const gpu = open_best();
    struct product product = {.context = gpu, .shape = shape, .weights = PACKED, .copies = copies_of(shape)};
    if (!open_shape(shape, 1, product.copies, 62, 0)) exit(1);
    place(&product, true, CLQ_S8, CLQ_S8, CLQ_S32, true);
    pack(&product);
    const struct times times = measure(perform, &product, gpu);
    printf("%.2f %.2f\n", times.best * 1e6, times.median * 1e6);
    free_packed(&product);
    clq_context_free(gpu);
}

int main(int argc, char **argv)
{
    program_name = "gpu_gemm";
    const char *const part = argc > 2 ? argv[1] : "";
    const bool is_unit = strcmp(part, "unit") == 0;
    const int log2 = argc > 3 + is_unit ? atoi(argv[3 + is_unit]) : 62;
    if (argc < 3 + is_unit || (strcmp(part, "product") == 0 && argc < 6)) {
        fprintf(stderr, "usage: gpu_gemm check|f32|host|tune DEVICE [LOG2] | unit DEVICE UNIT [LOG2] | product DEVICE M N K\n");
        return 2;
    }
    open_device(atoi(argv[2]));
    if (strcmp(part, "check") == 0) {
        open_parameters();
        check();
    } else if (is_unit) {
        unit(argv[3], log2);
    } else if (strcmp(part, "f32") == 0) {
        f32(log2);
    } else if (strcmp(part, "host") == 0) {
        host(log2);
    } else if (strcmp(part, "tune") == 0) {
        clq_context *const gpu = open_best();
        tune(gpu);
        clq_context_free(gpu);
    } else if (strcmp(part, "product") == 0) {
        const struct shape shape = {0, atoll(argv[3]), atoll(argv[4]), atoll(argv[5])};
        one_product(&shape);
    } else {
        fail(part, "there is no such part");
    }
    for (int operand = 0; operand < OPERANDS; operand++)
        drop((enum operand)operand);
    clq_context_free(cpu);
    close_device();
    if (mistakes > 0) fprintf(stderr, "gpu_gemm: %d results are wrong\n", mistakes);
    return mistakes > 0;
}
