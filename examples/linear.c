/* SPDX-License-Identifier: MIT */
/*
 * A linear layer in 8 bits: weights quantized and packed once, one scale for each output; activations quantized as they come, with a range of their own. The
 * result, in f32 with bias and ReLU, beside that of the f32 product.
 */
#include <clquant.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum { ROWS = 32, INPUTS = 256, OUTPUTS = 64 };

static float w[OUTPUTS][INPUTS], bias[OUTPUTS], x[ROWS][INPUTS], y[ROWS][OUTPUTS], expected[ROWS][OUTPUTS], w_scale[OUTPUTS], x_scale;
static int8_t w_quantized[OUTPUTS][INPUTS];
static uint8_t x_quantized[ROWS][INPUTS];
static int32_t x_zero_point;

/* Numbers in [-1, 1), always the same ones. */
static float next_number(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static void make_data(void)
{
    for (int i = 0; i < OUTPUTS * INPUTS; ++i)
        w[i / INPUTS][i % INPUTS] = next_number() * 0.1f;
    for (int i = 0; i < OUTPUTS; ++i)
        bias[i] = next_number();
    for (int i = 0; i < ROWS * INPUTS; ++i)
        x[i / INPUTS][i % INPUTS] = next_number() * 3.0f + 1.0f;
}

int main(void)
{
    const int64_t x_shape[] = {ROWS, INPUTS}, w_shape[] = {OUTPUTS, INPUTS}, y_shape[] = {ROWS, OUTPUTS}, outputs[] = {OUTPUTS}, one[] = {1};
    const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 2, x_shape), tw = clq_tensor_host(CLQ_F32, w, 2, w_shape);
    const clq_tensor ty = clq_tensor_host(CLQ_F32, y, 2, y_shape), te = clq_tensor_host(CLQ_F32, expected, 2, y_shape);
    const clq_tensor qx = clq_tensor_host(CLQ_U8, x_quantized, 2, x_shape), qw = clq_tensor_host(CLQ_S8, w_quantized, 2, w_shape);
    const clq_tensor tb = clq_tensor_host(CLQ_F32, bias, 1, outputs);
    const clq_qparams x_params = {.scheme = {.dtype = CLQ_U8}, .scale = clq_tensor_host(CLQ_F32, &x_scale, 1, one),
                                  .zero_point = clq_tensor_host(CLQ_S32, &x_zero_point, 1, one)};
    clq_qparams w_params = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                            .scale = clq_tensor_host(CLQ_F32, w_scale, 1, outputs)};
    clq_tensor right = qw, right_f32 = tw; /* the weights as the right operand, [INPUTS, OUTPUTS]: transposition is a matter of strides */
    double error = 0, power = 0;
    clq_context *ctx = NULL;
    clq_packed *packed = NULL;
    clq_status status = clq_context_create(NULL, &ctx);

    make_data();
    right.shape[0] = right_f32.shape[0] = INPUTS;
    right.shape[1] = right_f32.shape[1] = OUTPUTS;
    right.strides[0] = right_f32.strides[0] = 1;
    right.strides[1] = right_f32.strides[1] = INPUTS;

    /* Once: */
    if (status == CLQ_OK) status = clq_choose_qparams(ctx, &tw, &w_params);
    if (status == CLQ_OK) status = clq_quantize(ctx, &tw, &w_params, &qw, NULL);
    if (status == CLQ_OK) status = clq_packed_create(ctx, &right, &packed);
    w_params.scheme.axis = 1; /* outputs are the columns of the right operand */

    /* For each batch: */
    if (status == CLQ_OK) status = clq_dynamic_quantize(ctx, &tx, &x_params, &qx, NULL);
    if (status == CLQ_OK)
        status = clq_gemm(ctx, &(clq_gemm_args){.a = &qx, .packed_b = packed, .c = &ty, .bias = &tb, .a_params = &x_params, .b_params = &w_params,
                                                .activation = CLQ_ACTIVATION_RELU});

    if (status == CLQ_OK) status = clq_gemm(ctx, &(clq_gemm_args){.a = &tx, .b = &right_f32, .c = &te, .bias = &tb, .activation = CLQ_ACTIVATION_RELU});
    if (status != CLQ_OK) fprintf(stderr, "%s: %s\n", clq_status_name(status), ctx != NULL ? clq_context_error(ctx) : "");
    for (int i = 0; status == CLQ_OK && i < ROWS * OUTPUTS; ++i) {
        const double e = expected[i / OUTPUTS][i % OUTPUTS];
        error += (y[i / OUTPUTS][i % OUTPUTS] - e) * (y[i / OUTPUTS][i % OUTPUTS] - e);
        power += e * e;
    }
    if (status == CLQ_OK) printf("%d x %d x %d in 8 bits: %.1f dB above its error\n", ROWS, OUTPUTS, INPUTS, 10 * log10(power / error));
    clq_packed_free(packed);
    clq_context_free(ctx);
    return status == CLQ_OK && error < 1e-3 * power ? 0 : 1;
}
