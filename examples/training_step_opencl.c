/* SPDX-License-Identifier: MIT */
/*
 * Quantization-aware training with everything on an OpenCL device: what training_step.c does on the CPU, the matrix products, the loss and the
 * descent being kernels of the program's own. All of it follows on one queue, parameters, their gradients and moving averages in device memory; the
 * program waits only to print the loss. Then every weight of a network at once: one batch, on a device one launch for each step of the work.
 *
 * Exit status 77: there is no OpenCL device that clquant can use.
 */
#include <clquant_opencl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 64, INPUTS = 32, OUTPUTS = 16, STEPS = 200, WEIGHTS = OUTPUTS * INPUTS, MOST_DEVICES = 16 };

/* One work-item for each element of the result. */
static const char *const source =
    "float random(uint i)\n" /* -1 to 1 */
    "{\n"
    "    i = (i ^ 61u ^ i >> 16) * 9u; i = (i ^ i >> 4) * 0x27d4eb2du;\n"
    "    return (float)((i ^ i >> 15) >> 8) * 0x1p-23f - 1.0f;\n"
    "}\n"
    "__kernel void draw(__global float *x, uint step)\n"
    "{\n"
    "    const uint i = get_global_id(0);\n"
    "    x[i] = fmax(random(i + (step + 1u) * 65536u), -0.25f);\n"
    "}\n"
    "__kernel void find_target(__global const float *x, __global const float *teacher, __global float *target)\n"
    "{\n"
    "    const int i = get_global_id(0) / OUTPUTS, o = get_global_id(0) % OUTPUTS;\n"
    "    float sum = 0.5f;\n"
    "    for (int k = 0; k < INPUTS; k++) sum += x[i * INPUTS + k] * teacher[o * INPUTS + k];\n"
    "    target[get_global_id(0)] = sum;\n"
    "}\n"
    "__kernel void find_error(__global const float *x, __global const float *w, __global const float *bias, __global const float *target,\n"
    "                         __global float *error)\n"
    "{\n"
    "    const int i = get_global_id(0) / OUTPUTS, o = get_global_id(0) % OUTPUTS;\n"
    "    float sum = bias[o];\n"
    "    for (int k = 0; k < INPUTS; k++) sum += x[i * INPUTS + k] * w[o * INPUTS + k];\n"
    "    error[get_global_id(0)] = sum - target[get_global_id(0)];\n"
    "}\n"
    "__kernel void find_gradient(__global const float *x, __global const float *error, __global float *dw)\n"
    "{\n"
    "    const int o = get_global_id(0) / INPUTS, k = get_global_id(0) % INPUTS;\n"
    "    float sum = 0.0f;\n"
    "    for (int i = 0; i < BATCH; i++) sum += error[i * OUTPUTS + o] * x[i * INPUTS + k];\n"
    "    dw[get_global_id(0)] = sum * 2.0f / BATCH;\n"
    "}\n"
    "__kernel void descend(__global float *w, __global const float *dw, float rate)\n"
    "{\n"
    "    w[get_global_id(0)] -= rate * dw[get_global_id(0)];\n"
    "}\n"
    "__kernel void descend_rows(__global float *bias, __global const float *error, __global float *scale, __global const float *dscale,\n"
    "                           float rate, float scale_rate)\n"
    "{\n"
    "    const int o = get_global_id(0);\n"
    "    float sum = 0.0f;\n"
    "    for (int i = 0; i < BATCH; i++) sum += error[i * OUTPUTS + o];\n"
    "    bias[o] -= rate * sum * 2.0f / BATCH;\n"
    "    scale[o] = fmax(scale[o] - scale_rate * dscale[o], 1e-6f);\n"
    "}\n";

enum kernel { DRAW, FIND_TARGET, FIND_ERROR, FIND_GRADIENT, DESCEND, DESCEND_ROWS, KERNELS };
static const char *const kernel_names[] = {"draw", "find_target", "find_error", "find_gradient", "descend", "descend_rows"};

enum memory { X, X_ROUNDED, TEACHER, TARGET, ERRORS, W, W_ROUNDED, DW_ROUNDED, DW, BIAS, SCALE, DSCALE, LO, HI, X_SCALE, X_ZERO_POINT, MEMORIES };
static const size_t elements[] = {BATCH * INPUTS, BATCH * INPUTS, WEIGHTS, BATCH *OUTPUTS, BATCH *OUTPUTS, WEIGHTS, WEIGHTS, WEIGHTS,
                                  WEIGHTS,        OUTPUTS,        OUTPUTS, OUTPUTS,        1,              1,       1,       1};

struct program {
    cl_device_id device;
    cl_context cl;
    cl_command_queue queue;
    cl_program program;
    cl_kernel kernels[KERNELS];
    cl_mem memory[MEMORIES];
    clq_context *clq;
};

static bool fail(const char *what, const char *text, int code)
{
    fprintf(stderr, "training_step_opencl: %s: %s (%d)\n", what, text, code);
    return false;
}

static bool cl_ok(const char *what, cl_int code)
{
    return code == CL_SUCCESS || fail(what, "OpenCL error", code);
}

static bool clq_ok(struct program *p, clq_status status)
{
    return status == CLQ_OK || fail(clq_status_name(status), clq_context_error(p->clq), status);
}

/* ------------------------------------------------------------------------------------------------ set-up */

/* A context, a queue, and clquant on it; false if clquant has no use for the device. */
static bool open_device(struct program *p, cl_device_id device)
{
    cl_int code;
    p->device = device;
    p->cl = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    if (p->cl != NULL) p->queue = clCreateCommandQueue(p->cl, device, 0, &code);
    if (p->queue != NULL && clq_context_create_opencl(NULL, p->cl, device, p->queue, &p->clq) == CLQ_OK) return true;
    if (p->queue != NULL) clReleaseCommandQueue(p->queue);
    if (p->cl != NULL) clReleaseContext(p->cl);
    p->queue = NULL;
    p->cl = NULL;
    return false;
}

/* The first GPU that clquant takes, else the first device of any kind. */
static bool find_device(struct program *p)
{
    static const cl_device_type types[] = {CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_ALL};
    cl_platform_id platforms[MOST_DEVICES];
    cl_device_id devices[MOST_DEVICES];
    cl_uint platform_count = 0, count = 0;
    if (clGetPlatformIDs(MOST_DEVICES, platforms, &platform_count) != CL_SUCCESS) return false;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (cl_uint i = 0; i < platform_count && i < MOST_DEVICES; i++) {
            if (clGetDeviceIDs(platforms[i], types[t], MOST_DEVICES, devices, &count) != CL_SUCCESS) continue;
            for (cl_uint k = 0; k < count && k < MOST_DEVICES; k++)
                if (open_device(p, devices[k])) return true;
        }
    return false;
}

static bool build_kernels(struct program *p)
{
    char options[100];
    cl_int code;
    p->program = clCreateProgramWithSource(p->cl, 1, (const char **)(uintptr_t)&source, NULL, &code);
    if (p->program == NULL) return cl_ok("clCreateProgramWithSource", code);
    snprintf(options, sizeof options, "-DBATCH=%d -DINPUTS=%d -DOUTPUTS=%d", BATCH, INPUTS, OUTPUTS);
    if (!cl_ok("clBuildProgram", clBuildProgram(p->program, 1, &p->device, options, NULL, NULL))) return false;
    for (int k = 0; k < KERNELS; k++) {
        p->kernels[k] = clCreateKernel(p->program, kernel_names[k], &code);
        if (p->kernels[k] == NULL) return cl_ok(kernel_names[k], code);
    }
    return true;
}

static bool write_floats(struct program *p, enum memory which, const float *values)
{
    return cl_ok("clEnqueueWriteBuffer", clEnqueueWriteBuffer(p->queue, p->memory[which], CL_TRUE, 0, elements[which] * 4, values, 0, NULL, NULL));
}

static bool make_memory(struct program *p)
{
    const float empty[2] = {INFINITY, -INFINITY}; /* an average of nothing yet */
    float teacher[WEIGHTS], w[WEIGHTS], zeros[OUTPUTS] = {0};
    cl_int code;
    for (int k = 0; k < MEMORIES; k++) {
        p->memory[k] = clCreateBuffer(p->cl, CL_MEM_READ_WRITE, elements[k] * 4, NULL, &code);
        if (p->memory[k] == NULL) return cl_ok("clCreateBuffer", code);
    }
    for (int k = 0; k < WEIGHTS; k++) {
        teacher[k] = (float)(k * 7919 % 1009) / 504.0f - 1.0f; /* from -1 to 1, in no order */
        w[k] = 0.1f * (float)(k * 6007 % 1013) / 506.0f - 0.1f;
    }
    return write_floats(p, TEACHER, teacher) && write_floats(p, W, w) && write_floats(p, BIAS, zeros) && write_floats(p, LO, &empty[0]) &&
           write_floats(p, HI, &empty[1]);
}

/* ------------------------------------------------------------------------------------------------ a step: queued, not waited for */

/* A kernel over so many elements; memory first, then numbers. */
static bool launch(struct program *p, enum kernel kernel, size_t items, int memories, const enum memory *which, int numbers, const float *values)
{
    cl_int code = CL_SUCCESS;
    for (int k = 0; k < memories && code == CL_SUCCESS; k++)
        code = clSetKernelArg(p->kernels[kernel], (cl_uint)k, sizeof(cl_mem), &p->memory[which[k]]);
    for (int k = 0; k < numbers && code == CL_SUCCESS; k++)
        code = clSetKernelArg(p->kernels[kernel], (cl_uint)(memories + k), sizeof values[k], &values[k]);
    if (code == CL_SUCCESS) code = clEnqueueNDRangeKernel(p->queue, p->kernels[kernel], 1, NULL, &items, NULL, 0, NULL, NULL);
    return cl_ok(kernel_names[kernel], code);
}

static bool draw(struct program *p, cl_uint step)
{
    const cl_int code = clSetKernelArg(p->kernels[DRAW], 1, sizeof step, &step);
    return cl_ok("draw", code) && launch(p, DRAW, BATCH * INPUTS, 1, (const enum memory[]){X}, 0, NULL) &&
           launch(p, FIND_TARGET, BATCH * OUTPUTS, 3, (const enum memory[]){X, TEACHER, TARGET}, 0, NULL);
}

static clq_tensor view(const struct program *p, enum memory which, int32_t rank, int64_t rows, int64_t cols)
{
    const int64_t shape[2] = {rows, cols};
    return clq_tensor_opencl(which == X_ZERO_POINT ? CLQ_S32 : CLQ_F32, p->memory[which], 0, rank, shape);
}

/* 4 bits, a scale for each row. */
static clq_qparams weight_params(const struct program *p)
{
    return (clq_qparams){.scheme = {.dtype = CLQ_S4, .symmetry = CLQ_SYMMETRIC_FULL, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                         .scale = view(p, SCALE, 1, OUTPUTS, 0)};
}

/* x and W as they are after quantization. */
static bool round_operands(struct program *p)
{
    const clq_tensor x = view(p, X, 2, BATCH, INPUTS), x_rounded = view(p, X_ROUNDED, 2, BATCH, INPUTS), lo = view(p, LO, 0, 0, 0),
                     hi = view(p, HI, 0, 0, 0), w = view(p, W, 2, OUTPUTS, INPUTS), w_rounded = view(p, W_ROUNDED, 2, OUTPUTS, INPUTS);
    const clq_qparams w_params = weight_params(p),
                      x_params = {.scheme = {.dtype = CLQ_U8}, .scale = view(p, X_SCALE, 0, 0, 0), .zero_point = view(p, X_ZERO_POINT, 0, 0, 0)};
    return clq_ok(p, clq_observe_fake_quantize(p->clq, &x, 0.1f, &lo, &hi, &x_params, &x_rounded, NULL, NULL)) &&
           clq_ok(p, clq_fake_quantize(p->clq, &w, &w_params, &w_rounded, NULL, NULL));
}

/* The gradients by W and its scales from that by the rounded W. */
static bool unround_gradient(struct program *p)
{
    const clq_tensor dy = view(p, DW_ROUNDED, 2, OUTPUTS, INPUTS), w = view(p, W, 2, OUTPUTS, INPUTS), dx = view(p, DW, 2, OUTPUTS, INPUTS),
                     dscale = view(p, DSCALE, 1, OUTPUTS, 0);
    const clq_qparams params = weight_params(p);
    return clq_ok(p, clq_fake_quantize_backward_learnable(p->clq, &dy, &w, &params, 1.0f / sqrtf(INPUTS * 7.0f), &dx, &dscale, NULL));
}

static bool step(struct program *p, cl_uint number)
{
    const float rate = 0.2f, rates[] = {rate, 0.1f};
    return draw(p, number) && round_operands(p) &&
           launch(p, FIND_ERROR, BATCH * OUTPUTS, 5, (const enum memory[]){X_ROUNDED, W_ROUNDED, BIAS, TARGET, ERRORS}, 0, NULL) &&
           launch(p, FIND_GRADIENT, WEIGHTS, 3, (const enum memory[]){X_ROUNDED, ERRORS, DW_ROUNDED}, 0, NULL) && unround_gradient(p) &&
           launch(p, DESCEND, WEIGHTS, 2, (const enum memory[]){W, DW}, 1, &rate) &&
           launch(p, DESCEND_ROWS, OUTPUTS, 4, (const enum memory[]){BIAS, ERRORS, SCALE, DSCALE}, 2, rates);
}

/* Mean squared error of the last step. Waits. */
static bool read_loss(struct program *p, float *loss)
{
    float errors[BATCH * OUTPUTS];
    if (!cl_ok("clEnqueueReadBuffer", clEnqueueReadBuffer(p->queue, p->memory[ERRORS], CL_TRUE, 0, sizeof errors, errors, 0, NULL, NULL))) return false;
    *loss = 0;
    for (int k = 0; k < BATCH * OUTPUTS; k++)
        *loss += errors[k] * errors[k] / (BATCH * OUTPUTS);
    return true;
}

static bool train(struct program *p)
{
    const clq_tensor w = view(p, W, 2, OUTPUTS, INPUTS);
    const clq_qparams params = weight_params(p);
    float first = 0, loss = 0;
    if (!clq_ok(p, clq_choose_qparams(p->clq, &w, &params))) return false; /* scales to begin with */
    for (cl_uint k = 0; k <= STEPS; k++) {
        if (!step(p, k)) return false;
        if (k % 40 != 0) continue;
        if (!read_loss(p, &loss)) return false;
        if (k == 0) first = loss;
        printf("step %3u: loss %.5f\n", (unsigned)k, (double)loss);
    }
    return loss < 0.05f * first || fail("the loss", "has not fallen enough", 1);
}

/* ------------------------------------------------------------------------------------------------ many tensors at once */

/* Every weight of a network of many small layers, in one buffer: a scale for each row, and s8 next to each other. */
static bool quantize_network(struct program *p)
{
    enum { LAYERS = 40, ALL_BYTES = 1 << 20 };
    clq_buffer *weights = NULL, *scales = NULL, *quantized = NULL;
    int64_t at = 0, row = 0;
    bool good = clq_ok(p, clq_buffer_create(p->clq, ALL_BYTES, &weights)) && clq_ok(p, clq_buffer_create(p->clq, ALL_BYTES, &scales)) &&
                clq_ok(p, clq_buffer_create(p->clq, ALL_BYTES, &quantized));
    const int64_t n = ALL_BYTES / 4;
    float *const numbers = calloc((size_t)n, sizeof *numbers);
    good = good && numbers != NULL;
    for (int64_t k = 0; good && k < n; k++)
        numbers[k] = (float)(k * 7919 % 20011) / 10005.0f - 1.0f;
    if (good) {
        const clq_tensor from = clq_tensor_host(CLQ_F32, numbers, 1, &n), to = clq_tensor_buffer(CLQ_F32, weights, 0, 1, &n);
        good = clq_ok(p, clq_convert(p->clq, &from, &to)) && clq_ok(p, clq_batch_begin(p->clq));
    }
    for (int i = 0; i < LAYERS && good; i++) {
        const int64_t shape[] = {16 + 2 * i, 16 + i % 7 * 10};
        const clq_tensor w = clq_tensor_buffer(CLQ_F32, weights, at, 2, shape), q = clq_tensor_buffer(CLQ_S8, quantized, at, 2, shape);
        const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                    .scale = clq_tensor_buffer(CLQ_F32, scales, row, 1, shape)};
        good = clq_ok(p, clq_dynamic_quantize(p->clq, &w, &params, &q, NULL));
        at += shape[0] * shape[1];
        row += shape[0];
    }
    good = good && clq_ok(p, clq_batch_end(p->clq)) && clq_ok(p, clq_context_synchronize(p->clq));
    if (good) printf("%d tensors, %lld weights: quantized in one batch\n", (int)LAYERS, (long long)at);
    clq_buffer_free(weights);
    clq_buffer_free(scales);
    clq_buffer_free(quantized);
    free(numbers);
    return good;
}

static void close_all(struct program *p)
{
    clq_context_free(p->clq);
    for (int k = 0; k < MEMORIES; k++)
        if (p->memory[k] != NULL) clReleaseMemObject(p->memory[k]);
    for (int k = 0; k < KERNELS; k++)
        if (p->kernels[k] != NULL) clReleaseKernel(p->kernels[k]);
    if (p->program != NULL) clReleaseProgram(p->program);
    if (p->queue != NULL) clReleaseCommandQueue(p->queue);
    if (p->cl != NULL) clReleaseContext(p->cl);
}

int main(void)
{
    struct program p = {.cl = NULL};
    if (!find_device(&p)) {
        printf("training_step_opencl: there is no OpenCL device that clquant can use\n");
        return 77;
    }
    const bool done = build_kernels(&p) && make_memory(&p) && train(&p) && quantize_network(&p);
    close_all(&p);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
