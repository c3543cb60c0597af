/* SPDX-License-Identifier: MIT */
/*
 * Quantization-aware training on the CPU: a linear layer y = x W^T + b learns what another one does, as if it ran with weights of 4 bits and
 * activations of 8. Then every weight of a network at once, in one batch.
 *
 * The scale of each row of W is learned with it (LSQ). The activations' range is a moving average, updated in the call that fake-quantizes them.
 * The matrix products are plain loops, to be read and not to be fast.
 */
#include <clquant.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 64, INPUTS = 32, OUTPUTS = 16, STEPS = 200 };

static const float rate = 0.2f, scale_rate = 0.1f;

struct layer {
    clq_context *clq;
    float weights[OUTPUTS][INPUTS], bias[OUTPUTS], scale[OUTPUTS];  /* learned */
    float lo, hi, x_scale;                                          /* observed */
    int32_t x_zero_point;
    float x[BATCH][INPUTS], x_rounded[BATCH][INPUTS], rounded[OUTPUTS][INPUTS]; /* fake-quantized ones are what the product sees */
    float dy[BATCH][OUTPUTS], drounded[OUTPUTS][INPUTS], dweights[OUTPUTS][INPUTS], dscale[OUTPUTS];
};

/* From -1 to 1. */
static float random_number(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1.0f;
}

/* 4 bits, a scale for each row. */
static clq_qparams weight_params(struct layer *l)
{
    const int64_t rows[] = {OUTPUTS};
    return (clq_qparams){.scheme = {.dtype = CLQ_S4, .symmetry = CLQ_SYMMETRIC_FULL, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                         .scale = clq_tensor_host(CLQ_F32, l->scale, 1, rows)};
}

/* ------------------------------------------------------------------------------------------------ a step */

/* x and W as they are after quantization. */
static clq_status round_operands(struct layer *l)
{
    const int64_t x_shape[] = {BATCH, INPUTS}, w_shape[] = {OUTPUTS, INPUTS};
    const clq_tensor x = clq_tensor_host(CLQ_F32, l->x, 2, x_shape), x_rounded = clq_tensor_host(CLQ_F32, l->x_rounded, 2, x_shape);
    const clq_tensor w = clq_tensor_host(CLQ_F32, l->weights, 2, w_shape), rounded = clq_tensor_host(CLQ_F32, l->rounded, 2, w_shape);
    const clq_tensor lo = clq_tensor_host(CLQ_F32, &l->lo, 0, NULL), hi = clq_tensor_host(CLQ_F32, &l->hi, 0, NULL);
    const clq_qparams w_params = weight_params(l), x_params = {.scheme = {.dtype = CLQ_U8},
                                                               .scale = clq_tensor_host(CLQ_F32, &l->x_scale, 0, NULL),
                                                               .zero_point = clq_tensor_host(CLQ_S32, &l->x_zero_point, 0, NULL)};
    const clq_status status = clq_observe_fake_quantize(l->clq, &x, 0.1f, &lo, &hi, &x_params, &x_rounded, NULL, NULL);
    return status == CLQ_OK ? clq_fake_quantize(l->clq, &w, &w_params, &rounded, NULL, NULL) : status;
}

/* The gradients by W and its scales from that by the rounded W: straight through the rounding, and as LSQ has it. */
static clq_status unround_gradient(struct layer *l)
{
    const int64_t shape[] = {OUTPUTS, INPUTS}, rows[] = {OUTPUTS};
    const clq_tensor drounded = clq_tensor_host(CLQ_F32, l->drounded, 2, shape), w = clq_tensor_host(CLQ_F32, l->weights, 2, shape);
    const clq_tensor dweights = clq_tensor_host(CLQ_F32, l->dweights, 2, shape), dscale = clq_tensor_host(CLQ_F32, l->dscale, 1, rows);
    const clq_qparams params = weight_params(l);
    const float g = 1.0f / sqrtf(INPUTS * 7.0f); /* so many elements a scale, so many steps to the end of the range */
    return clq_fake_quantize_backward_learnable(l->clq, &drounded, &w, &params, g, &dweights, &dscale, NULL);
}

/* Mean squared error of y = x W^T + b, and its gradient by y. */
static float find_loss(struct layer *l, float target[BATCH][OUTPUTS])
{
    float loss = 0;
    for (int i = 0; i < BATCH; i++)
        for (int o = 0; o < OUTPUTS; o++) {
            float y = l->bias[o];
            for (int k = 0; k < INPUTS; k++)
                y += l->x_rounded[i][k] * l->rounded[o][k];
            loss += (y - target[i][o]) * (y - target[i][o]) / (BATCH * OUTPUTS);
            l->dy[i][o] = 2 * (y - target[i][o]) / BATCH;
        }
    return loss;
}

static void find_gradients(struct layer *l)
{
    for (int o = 0; o < OUTPUTS; o++)
        for (int k = 0; k < INPUTS; k++) {
            l->drounded[o][k] = 0;
            for (int i = 0; i < BATCH; i++)
                l->drounded[o][k] += l->dy[i][o] * l->x_rounded[i][k];
        }
}

static void descend(struct layer *l)
{
    for (int o = 0; o < OUTPUTS; o++) {
        for (int k = 0; k < INPUTS; k++)
            l->weights[o][k] -= rate * l->dweights[o][k];
        for (int i = 0; i < BATCH; i++)
            l->bias[o] -= rate * l->dy[i][o];
        l->scale[o] = fmaxf(l->scale[o] - scale_rate * l->dscale[o], 1e-6f);
    }
}

/* ------------------------------------------------------------------------------------------------ training */

/* New activations, and what the layer to be learned makes of them. */
static void draw(struct layer *l, float weights[OUTPUTS][INPUTS], float target[BATCH][OUTPUTS])
{
    for (int i = 0; i < BATCH; i++) {
        for (int k = 0; k < INPUTS; k++)
            l->x[i][k] = fmaxf(random_number(), -0.25f);
        for (int o = 0; o < OUTPUTS; o++) {
            target[i][o] = 0.5f;
            for (int k = 0; k < INPUTS; k++)
                target[i][o] += l->x[i][k] * weights[o][k];
        }
    }
}

static clq_status train(struct layer *l, float *first, float *last)
{
    const int64_t shape[] = {OUTPUTS, INPUTS};
    const clq_tensor w = clq_tensor_host(CLQ_F32, l->weights, 2, shape);
    const clq_qparams params = weight_params(l);
    float weights[OUTPUTS][INPUTS], target[BATCH][OUTPUTS];
    clq_status status;

    for (int o = 0; o < OUTPUTS; o++)
        for (int k = 0; k < INPUTS; k++) {
            weights[o][k] = random_number();
            l->weights[o][k] = 0.1f * random_number();
        }
    l->lo = INFINITY; /* an empty average */
    l->hi = -INFINITY;
    status = clq_choose_qparams(l->clq, &w, &params); /* scales to begin with */
    for (int step = 0; step < STEPS && status == CLQ_OK; step++) {
        draw(l, weights, target);
        status = round_operands(l);
        if (status != CLQ_OK) break;
        *last = find_loss(l, target);
        if (step == 0) *first = *last;
        if (step % 40 == 0) printf("step %3d: loss %.5f\n", step, *last);
        find_gradients(l);
        status = unround_gradient(l);
        descend(l);
    }
    if (status == CLQ_OK) printf("step %3d: loss %.5f; activations in [%.3f, %.3f], first scale %.4f\n", STEPS, *last, l->lo, l->hi, l->scale[0]);
    return status;
}

/* ------------------------------------------------------------------------------------------------ many tensors at once */

enum { LAYERS = 40, MOST_WIDTH = 96 };

/* Every weight of a network of many small layers to s8: calls that are recorded first and then run together, spread over the threads. */
static clq_status quantize_network(clq_context *clq)
{
    static float weights[LAYERS][MOST_WIDTH * MOST_WIDTH], scales[LAYERS][MOST_WIDTH];
    static int8_t quantized[LAYERS][MOST_WIDTH * MOST_WIDTH];
    clq_status status = clq_batch_begin(clq);
    int64_t elements = 0;

    for (int i = 0; i < LAYERS && status == CLQ_OK; i++) {
        const int64_t shape[] = {16 + 2 * i, 16 + i % 7 * 10}, n = shape[0] * shape[1];
        const clq_tensor w = clq_tensor_host(CLQ_F32, weights[i], 2, shape), q = clq_tensor_host(CLQ_S8, quantized[i], 2, shape);
        const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                    .scale = clq_tensor_host(CLQ_F32, scales[i], 1, shape)};
        for (int64_t k = 0; k < n; k++)
            weights[i][k] = random_number();
        status = clq_dynamic_quantize(clq, &w, &params, &q, NULL); /* the views may go, the memory stays */
        elements += n;
    }
    if (status == CLQ_OK) status = clq_batch_end(clq);
    if (status == CLQ_OK) printf("%d tensors, %lld weights: quantized in one batch\n", (int)LAYERS, (long long)elements);
    return status;
}

int main(void)
{
    struct layer *const layer = calloc(1, sizeof *layer);
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    float first = 0, last = 0;
    clq_status status = CLQ_ERROR_OUT_OF_MEMORY;

    options.device = "cpu";
    if (layer != NULL) status = clq_context_create(&options, &layer->clq);
    if (status == CLQ_OK) status = train(layer, &first, &last);
    if (status == CLQ_OK) status = quantize_network(layer->clq);
    if (status != CLQ_OK) fprintf(stderr, "training_step: %s: %s\n", clq_status_name(status), layer && layer->clq ? clq_context_error(layer->clq) : "");
    else if (!(last < 0.05f * first)) fprintf(stderr, "training_step: the loss has not fallen enough\n");
    if (layer != NULL) clq_context_free(layer->clq);
    free(layer);
    return status == CLQ_OK && last < 0.05f * first ? EXIT_SUCCESS : EXIT_FAILURE;
}
