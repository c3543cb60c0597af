/* SPDX-License-Identifier: MIT */
/*
 * A program with OpenCL code of its own: a kernel of its makes activations, clquant quantizes and restores them, another kernel
 * of its finds how far they moved. All of it follows on one queue, in device memory; the program waits once, for the number that
 * it prints.
 *
 * Exit status 77: there is no OpenCL device that clquant can use.
 */
#include <clquant_opencl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 64, COLS = 4096, ELEMENTS = ROWS * COLS, MOST_DEVICES = 16 };

/* The worst error, in steps of the row's scale. The bits of floats from 0 on have their order. */
static const char *const source =
    "__kernel void scaled_relu(__global const float *in, float gain, __global float *out)\n"
    "{\n"
    "    out[get_global_id(0)] = fmax(0.0f, gain * in[get_global_id(0)]);\n"
    "}\n"
    "__kernel void find_worst(__global const float *x, __global const float *y, __global const float *scale, int cols, __global "
    "int *worst)\n"
    "{\n"
    "    const float steps = fabs(x[get_global_id(0)] - y[get_global_id(0)]) / scale[get_global_id(0) / cols];\n"
    "    atomic_max(worst, as_int(steps));\n"
    "}\n";

struct program {
    cl_device_id device;
    cl_context cl;
    cl_command_queue queue;
    cl_program program;
    cl_kernel scaled_relu, find_worst;
    cl_mem in, activations, quantized, restored, scale, zero_point, worst;
    clq_context *clq;
};

static bool fail(const char *what, const char *text, int code)
{
    fprintf(stderr, "opencl_program: %s: %s (%d)\n", what, text, code);
    return false;
}

static bool cl_ok(const char *what, cl_int code)
{
    return code == CL_SUCCESS || fail(what, "OpenCL error", code);
}

/* ------------------------------------------------------------------------------------------------ set-up */

/* A context, a queue, and clquant on it; CLQ_ERROR_NO_DEVICE if clquant has no use for the device. */
static clq_status open_device(struct program *p, cl_device_id device)
{
    char text[256] = "";
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_status status = CLQ_ERROR_NO_DEVICE;
    cl_int code;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    p->device = device;
    p->cl = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    if (p->cl != NULL) p->queue = clCreateCommandQueue(p->cl, device, 0, &code);
    if (p->queue != NULL) status = clq_context_create_opencl(&options, p->cl, device, p->queue, &p->clq);
    if (status == CLQ_OK) return status;
    fail("a device that is not used", *text != 0 ? text : "OpenCL error", *text != 0 ? (int)status : code);
    if (p->queue != NULL) clReleaseCommandQueue(p->queue);
    if (p->cl != NULL) clReleaseContext(p->cl);
    p->queue = NULL;
    p->cl = NULL;
    return status;
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
                if (open_device(p, devices[k]) == CLQ_OK) return true;
        }
    return false;
}

static bool build_kernels(struct program *p)
{
    cl_int code;
    p->program = clCreateProgramWithSource(p->cl, 1, (const char **)(uintptr_t)&source, NULL, &code);
    if (p->program == NULL) return cl_ok("clCreateProgramWithSource", code);
    if (!cl_ok("clBuildProgram", clBuildProgram(p->program, 1, &p->device, "", NULL, NULL))) return false;
    p->scaled_relu = clCreateKernel(p->program, "scaled_relu", &code);
    if (p->scaled_relu != NULL) p->find_worst = clCreateKernel(p->program, "find_worst", &code);
    return cl_ok("clCreateKernel", code);
}

static bool make_buffers(struct program *p)
{
    const struct {
        cl_mem *memory;
        size_t bytes;
    } wanted[] = {{&p->in, ELEMENTS * 4},
                  {&p->activations, ELEMENTS * 4},
                  {&p->quantized, ELEMENTS},
                  {&p->restored, ELEMENTS * 4},
                  {&p->scale, ROWS * 4},
                  {&p->zero_point, ROWS * 4},
                  {&p->worst, 4}};
    static float numbers[ELEMENTS];
    const cl_int zero = 0;
    cl_int code;
    for (size_t k = 0; k < sizeof wanted / sizeof wanted[0]; k++) {
        *wanted[k].memory = clCreateBuffer(p->cl, CL_MEM_READ_WRITE, wanted[k].bytes, NULL, &code);
        if (*wanted[k].memory == NULL) return cl_ok("clCreateBuffer", code);
    }
    for (int k = 0; k < ELEMENTS; k++) /* from -1 to 1, in no order */
        numbers[k] = (float)(k * 7919LL % 20011) / 10005.0f - 1.0f;
    return cl_ok("clEnqueueWriteBuffer",
                 clEnqueueWriteBuffer(p->queue, p->in, CL_TRUE, 0, sizeof numbers, numbers, 0, NULL, NULL)) &&
           cl_ok("clEnqueueWriteBuffer", clEnqueueWriteBuffer(p->queue, p->worst, CL_TRUE, 0, sizeof zero, &zero, 0, NULL, NULL));
}

/* ------------------------------------------------------------------------------------------------ work: queued, not waited for
 */

static bool make_activations(struct program *p)
{
    const size_t items = ELEMENTS;
    const cl_float gain = 3.0f;
    cl_int code = clSetKernelArg(p->scaled_relu, 0, sizeof(cl_mem), &p->in);
    if (code == CL_SUCCESS) code = clSetKernelArg(p->scaled_relu, 1, sizeof gain, &gain);
    if (code == CL_SUCCESS) code = clSetKernelArg(p->scaled_relu, 2, sizeof(cl_mem), &p->activations);
    if (code == CL_SUCCESS) code = clEnqueueNDRangeKernel(p->queue, p->scaled_relu, 1, NULL, &items, NULL, 0, NULL, NULL);
    return cl_ok("scaled_relu", code);
}

/* The activations to 8 bits, a scale and a zero point for each row, and back. */
static clq_status quantize_and_restore(struct program *p)
{
    const int64_t shape[] = {ROWS, COLS}, rows[] = {ROWS};
    const clq_tensor x = clq_tensor_opencl(CLQ_F32, p->activations, 0, 2, shape);
    const clq_tensor q = clq_tensor_opencl(CLQ_U8, p->quantized, 0, 2, shape);
    const clq_tensor y = clq_tensor_opencl(CLQ_F32, p->restored, 0, 2, shape);
    const clq_qparams params = {
        .scheme = {.dtype = CLQ_U8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
        .scale = clq_tensor_opencl(CLQ_F32, p->scale, 0, 1, rows),
        .zero_point = clq_tensor_opencl(CLQ_S32, p->zero_point, 0, 1, rows),
    };
    clq_status status = clq_choose_qparams(p->clq, &x, &params);
    if (status == CLQ_OK) status = clq_quantize(p->clq, &x, &params, &q, NULL);
    if (status == CLQ_OK) status = clq_dequantize(p->clq, &q, &params, &y);
    return status;
}

static bool find_worst(struct program *p)
{
    const size_t items = ELEMENTS;
    const cl_int cols = COLS;
    cl_int code = clSetKernelArg(p->find_worst, 0, sizeof(cl_mem), &p->activations);
    if (code == CL_SUCCESS) code = clSetKernelArg(p->find_worst, 1, sizeof(cl_mem), &p->restored);
    if (code == CL_SUCCESS) code = clSetKernelArg(p->find_worst, 2, sizeof(cl_mem), &p->scale);
    if (code == CL_SUCCESS) code = clSetKernelArg(p->find_worst, 3, sizeof cols, &cols);
    if (code == CL_SUCCESS) code = clSetKernelArg(p->find_worst, 4, sizeof(cl_mem), &p->worst);
    if (code == CL_SUCCESS) code = clEnqueueNDRangeKernel(p->queue, p->find_worst, 1, NULL, &items, NULL, 0, NULL, NULL);
    return cl_ok("find_worst", code);
}

/* ------------------------------------------------------------------------------------------------ all of it */

static bool run(struct program *p)
{
    clq_device_info info;
    cl_float worst = 0;
    if (!build_kernels(p) || !make_buffers(p) || !make_activations(p)) return false;
    const clq_status status = quantize_and_restore(p);
    if (status != CLQ_OK) return fail(clq_status_name(status), clq_context_error(p->clq), status);
    if (!find_worst(p)) return false;
    /* The queue is in order, so this one wait is for everything. */
    if (!cl_ok("clEnqueueReadBuffer", clEnqueueReadBuffer(p->queue, p->worst, CL_TRUE, 0, sizeof worst, &worst, 0, NULL, NULL)))
        return false;
    if (clq_context_synchronize(p->clq) != CLQ_OK) return fail("clquant", clq_context_error(p->clq), CLQ_ERROR_DEVICE);
    clq_context_info(p->clq, &info);
    printf("%d activations to 8 bits and back on %s: the worst moved %.3f steps\n", ELEMENTS, info.name, (double)worst);
    /* Half a step, and a little for the roundings of the floats. */
    return (worst > 0.4f && worst < 0.501f) || fail("the worst error", "must be half a step", 1);
}

static void close_all(struct program *p)
{
    cl_mem const buffers[] = {p->in, p->activations, p->quantized, p->restored, p->scale, p->zero_point, p->worst};
    clq_context_free(p->clq);
    for (size_t k = 0; k < sizeof buffers / sizeof buffers[0]; k++)
        if (buffers[k] != NULL) clReleaseMemObject(buffers[k]);
    if (p->scaled_relu != NULL) clReleaseKernel(p->scaled_relu);
    if (p->find_worst != NULL) clReleaseKernel(p->find_worst);
    if (p->program != NULL) clReleaseProgram(p->program);
    if (p->queue != NULL) clReleaseCommandQueue(p->queue);
    if (p->cl != NULL) clReleaseContext(p->cl);
}

int main(void)
{
    struct program p = {.cl = NULL};
    if (!find_device(&p)) {
        printf("opencl_program: there is no OpenCL device that clquant can use\n");
        return 77;
    }
    const bool done = run(&p);
    close_all(&p);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
