/* SPDX-License-Identifier: MIT */
/*
 * A linear layer in 8 bits, quantized statically: ranges of its input and output come from calibration data, once; then weights, scales and bias stay where the
 * context runs, and each batch is quantized, multiplied and requantized there without anybody waiting. It runs on the CPU and, where there is one, on the
 * OpenCL device opencl:0: with the same bits.
 *
 *     static_linear [DEVICE]      cpu, opencl, opencl:N
 */
#include <clquant.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 48, INPUTS = 320, OUTPUTS = 96, BATCHES = 3 };

static float w[OUTPUTS][INPUTS], bias[OUTPUTS], x[ROWS][INPUTS], calibrated[ROWS][OUTPUTS];

/* The quantized layer, as a file would hold it. */
static float x_scale, y_scale, w_scale[OUTPUTS];
static int32_t x_zero, y_zero, bias_s32[OUTPUTS];
static int8_t quantized[OUTPUTS][INPUTS];

static const int64_t x_shape[] = {ROWS, INPUTS}, w_shape[] = {OUTPUTS, INPUTS}, y_shape[] = {ROWS, OUTPUTS}, outputs[] = {OUTPUTS}, one[] = {1};

/* Numbers in [-1, 1), always the same ones. */
static float next_number(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

/* The right operand, [INPUTS, OUTPUTS]: transposition is a matter of strides. */
static clq_tensor turn(clq_tensor tensor)
{
    tensor.shape[0] = INPUTS;
    tensor.shape[1] = OUTPUTS;
    tensor.strides[0] = 1;
    tensor.strides[1] = INPUTS;
    return tensor;
}

/* The layer: what is kept on the device is in one buffer. */
struct layer {
    clq_context *context;
    clq_buffer *memory;
    clq_packed *weights;
    clq_tensor x, qx, qy, bias; /* in the buffer, as the parameters */
    clq_qparams x_params, w_params, y_params;
};

/* A tensor in the layer's buffer, behind the last one. */
static clq_tensor add_tensor(struct layer *layer, int64_t *end, clq_dtype dtype, int32_t rank, const int64_t *shape)
{
    const int64_t size_bytes = clq_dtype_bits(dtype) / 8, at = (*end + 63) / 64 * 64;
    const int64_t elements = rank == 2 ? shape[0] * shape[1] : shape[0];
    *end = at + elements * size_bytes;
    return clq_tensor_buffer(dtype, layer->memory, at / size_bytes, rank, shape);
}

/* Calibrates on the input `x` and quantizes the layer. */
static clq_status quantize_layer(void)
{
    const clq_scheme unsigned8 = {.dtype = CLQ_U8};
    const clq_qparams x_params = {unsigned8, clq_tensor_host(CLQ_F32, &x_scale, 1, one), clq_tensor_host(CLQ_S32, &x_zero, 1, one)};
    const clq_qparams y_params = {unsigned8, clq_tensor_host(CLQ_F32, &y_scale, 1, one), clq_tensor_host(CLQ_S32, &y_zero, 1, one)};
    const clq_qparams w_params = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                  .scale = clq_tensor_host(CLQ_F32, w_scale, 1, outputs)};
    const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 2, x_shape), tw = clq_tensor_host(CLQ_F32, w, 2, w_shape), right = turn(tw);
    const clq_tensor ty = clq_tensor_host(CLQ_F32, calibrated, 2, y_shape), tb = clq_tensor_host(CLQ_F32, bias, 1, outputs);
    const clq_tensor qw = clq_tensor_host(CLQ_S8, quantized, 2, w_shape);
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *ctx;
    clq_status status;
    options.device = "cpu";
    status = clq_context_create(&options, &ctx);
    /* The ranges: of the input, and of the f32 layer's output. */
    if (status == CLQ_OK) status = clq_gemm(ctx, &(clq_gemm_args){.a = &tx, .b = &right, .c = &ty, .bias = &tb, .activation = CLQ_ACTIVATION_RELU});
    if (status == CLQ_OK) status = clq_choose_qparams(ctx, &tx, &x_params);
    if (status == CLQ_OK) status = clq_choose_qparams(ctx, &ty, &y_params);
    if (status == CLQ_OK) status = clq_choose_qparams(ctx, &tw, &w_params);
    if (status == CLQ_OK) status = clq_quantize(ctx, &tw, &w_params, &qw, NULL);
    /* The bias counts in steps of the accumulator, which are x_scale * w_scale. */
    for (int j = 0; status == CLQ_OK && j < OUTPUTS; ++j)
        bias_s32[j] = (int32_t)lrintf(bias[j] / (x_scale * w_scale[j]));
    clq_context_free(ctx);
    return status;
}

/* A vector of the layer to where it will be used. */
static clq_status send(struct layer *layer, int64_t *end, clq_dtype dtype, const void *values, const int64_t *shape, clq_tensor *target)
{
    const clq_tensor source = clq_tensor_host(dtype, values, 1, shape);
    *target = add_tensor(layer, end, dtype, 1, shape);
    return clq_convert(layer->context, &source, target);
}

/* Everything to the device, once. */
static clq_status make_layer(struct layer *layer)
{
    const clq_tensor right = turn(clq_tensor_host(CLQ_S8, quantized, 2, w_shape));
    int64_t end = 0;
    clq_status status = clq_packed_create(layer->context, &right, &layer->weights);
    if (status == CLQ_OK) status = clq_buffer_create(layer->context, 1 << 18, &layer->memory);
    if (status != CLQ_OK) return status;
    layer->x_params.scheme = layer->y_params.scheme = (clq_scheme){.dtype = CLQ_U8};
    /* Outputs are the columns of the right operand. */
    layer->w_params.scheme = (clq_scheme){.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 1};
    layer->x = add_tensor(layer, &end, CLQ_F32, 2, x_shape);
    layer->qx = add_tensor(layer, &end, CLQ_U8, 2, x_shape);
    layer->qy = add_tensor(layer, &end, CLQ_U8, 2, y_shape);
    status = send(layer, &end, CLQ_S32, bias_s32, outputs, &layer->bias);
    if (status == CLQ_OK) status = send(layer, &end, CLQ_F32, &x_scale, one, &layer->x_params.scale);
    if (status == CLQ_OK) status = send(layer, &end, CLQ_S32, &x_zero, one, &layer->x_params.zero_point);
    if (status == CLQ_OK) status = send(layer, &end, CLQ_F32, &y_scale, one, &layer->y_params.scale);
    if (status == CLQ_OK) status = send(layer, &end, CLQ_S32, &y_zero, one, &layer->y_params.zero_point);
    if (status == CLQ_OK) status = send(layer, &end, CLQ_F32, w_scale, outputs, &layer->w_params.scale);
    return status;
}

/* One batch. ReLU needs no step of its own: the output's zero point stands for 0, its least value. */
static clq_status run_layer(const struct layer *layer, const clq_tensor *input)
{
    clq_status status = clq_convert(layer->context, input, &layer->x);
    if (status == CLQ_OK) status = clq_quantize(layer->context, &layer->x, &layer->x_params, &layer->qx, NULL);
    if (status == CLQ_OK)
        status = clq_gemm(layer->context, &(clq_gemm_args){.a = &layer->qx, .packed_b = layer->weights, .c = &layer->qy, .bias = &layer->bias,
                                                           .a_params = &layer->x_params, .b_params = &layer->w_params, .c_params = &layer->y_params});
    return status;
}

/* The results of all batches on a device, in f32; their distance from the f32 layer's, for the first one, which calibrated it. */
static clq_status run_on(const char *device, float results[BATCHES][ROWS][OUTPUTS], double *decibels)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct layer layer = {.memory = NULL};
    double error = 0, power = 0;
    clq_status status;
    options.device = device;
    status = clq_context_create(&options, &layer.context);
    if (status != CLQ_OK) return status;
    status = make_layer(&layer);
    for (int batch = 0; status == CLQ_OK && batch < BATCHES; ++batch) {
        static float input[ROWS][INPUTS];
        const clq_tensor tx = clq_tensor_host(CLQ_F32, input, 2, x_shape), ty = clq_tensor_host(CLQ_F32, results[batch], 2, y_shape);
        for (int i = 0; i < ROWS * INPUTS; ++i)
            input[i / INPUTS][i % INPUTS] = x[i / INPUTS][i % INPUTS] * (1.0f - 0.25f * (float)batch);
        status = run_layer(&layer, &tx);
        if (status == CLQ_OK) status = clq_dequantize(layer.context, &layer.qy, &layer.y_params, &ty);
    }
    for (int i = 0; status == CLQ_OK && i < ROWS * OUTPUTS; ++i) {
        const double expected = calibrated[i / OUTPUTS][i % OUTPUTS], e = results[0][i / OUTPUTS][i % OUTPUTS] - expected;
        error += e * e;
        power += expected * expected;
    }
    if (status != CLQ_OK) fprintf(stderr, "%s: %s\n", clq_status_name(status), clq_context_error(layer.context));
    *decibels = 10 * log10(power / error);
    clq_packed_free(layer.weights);
    clq_buffer_free(layer.memory);
    clq_context_free(layer.context);
    return status;
}

int main(int argc, char **argv)
{
    static float results[2][BATCHES][ROWS][OUTPUTS];
    const char *const device = argc > 1 ? argv[1] : "cpu";
    double decibels;
    for (int i = 0; i < OUTPUTS * INPUTS; ++i)
        w[i / INPUTS][i % INPUTS] = next_number() * 0.1f;
    for (int i = 0; i < OUTPUTS; ++i)
        bias[i] = next_number();
    for (int i = 0; i < ROWS * INPUTS; ++i)
        x[i / INPUTS][i % INPUTS] = next_number() * 3.0f + 1.0f;

    if (quantize_layer() != CLQ_OK || run_on(device, results[0], &decibels) != CLQ_OK) return 1;
    printf("%d x %d x %d on %s: %.1f dB above the error of 8 bits\n", ROWS, OUTPUTS, INPUTS, device, decibels);
    if (argc > 1) return decibels > 30 ? 0 : 1;
    switch (run_on("opencl:0", results[1], &decibels)) {
    case CLQ_OK: break;
    case CLQ_ERROR_NO_DEVICE: printf("no OpenCL device to compare with\n"); return 0;
    default: return 1;
    }
    if (memcmp(results[0], results[1], sizeof results[0]) != 0) {
        fprintf(stderr, "the device's results differ from the CPU's\n");
        return 1;
    }
    printf("opencl:0: the same bits\n");
    return decibels > 30 ? 0 : 1;
}
