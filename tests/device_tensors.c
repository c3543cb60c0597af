/* SPDX-License-Identifier: MIT */
/* Operations on a mixture of host and device memory; see the header. */
#define CLQ_TESTS_DEVICE_TENSORS_C
#include "config.h"

#include "device_tensors.h"

#include "test_support.h"
#include <stdlib.h>
#include <string.h>

enum { MOST = 10 };

/* A call's tensors and where they really are. */
struct call {
    clq_context *context;
    clq_tensor views[MOST];
    const clq_tensor *originals[MOST];
    clq_buffer *buffers[MOST];
    int32_t n;
};

/* Decides by itself, so that the tests' own random values are those of the CPU's. */
static bool toss(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 40 & 1;
}

/* The bytes that a view's elements lie in, from its data. False if there are none or the view makes no sense. */
static bool find_bytes(const clq_tensor *view, int64_t *first, int64_t *last)
{
    const int64_t bits = clq_dtype_bits(view->dtype);
    int64_t least = view->offset, greatest = view->offset;
    if (view->memory != CLQ_MEMORY_HOST || !view->data || bits == 0 || view->rank < 0 || view->rank > CLQ_MAX_RANK) return false;
    for (int32_t i = 0; i < view->rank; i++) {
        if (view->shape[i] < 1 || view->shape[i] > 1 << 28 || view->strides[i] > 1 << 28 || view->strides[i] < -(1 << 28)) return false;
        *(view->strides[i] < 0 ? &least : &greatest) += (view->shape[i] - 1) * view->strides[i];
    }
    *first = least * bits / 8;
    *last = bits == 4 ? (greatest + 2) / 2 : (greatest + 1) * bits / 8; /* may be negative, but not with 4 bits */
    if (least < 0 && bits == 4) return false;
    return *last - *first <= 1 << 28; /* larger ones stay where they are */
}

/* Bytes between host memory and a buffer. */
static void copy_bytes(clq_context *context, void *host, clq_buffer *buffer, int64_t at, int64_t n, bool to_buffer)
{
    const clq_tensor there = clq_tensor_buffer(CLQ_U8, buffer, at, 1, &n), here = clq_tensor_host(CLQ_U8, host, 1, &n);
    TEST_OK(context, clq_convert(context, to_buffer ? &here : &there, to_buffer ? &there : &here));
}

/* The view to use in place of `original`; NULL stays NULL. */
static const clq_tensor *move(struct call *call, const clq_tensor *original)
{
    clq_tensor *const view = &call->views[call->n];
    int64_t first, last, lead;
    if (original == NULL) return NULL;
    *view = *original;
    call->originals[call->n] = original;
    call->buffers[call->n] = NULL;
    if (find_bytes(original, &first, &last) && toss()) {
        const int64_t bits = clq_dtype_bits(original->dtype), size_bytes = bits < 8 ? 1 : bits / 8;
        lead = (toss() ? 64 : 0) + (toss() ? size_bytes * (toss() ? 1 : 6) : 0);
        TEST_OK(call->context, clq_buffer_create(call->context, lead + last - first + (toss() ? 0 : 100), &call->buffers[call->n]));
        copy_bytes(call->context, (char *)original->data + first, call->buffers[call->n], lead, last - first, true);
        view->memory = CLQ_MEMORY_BUFFER;
        view->data = call->buffers[call->n];
        view->offset = original->offset + (lead - first) * 8 / bits;
    }
    return &call->views[call->n++];
}

/* The same for an output that may be a view of `input`'s memory and stays so then: `moved` is what became of that. */
static const clq_tensor *move_output(struct call *call, const clq_tensor *original, const clq_tensor *input, const clq_tensor *moved)
{
    clq_tensor *view;
    if (original == NULL || input == NULL || original->data != input->data) return move(call, original);
    view = &call->views[call->n];
    *view = *moved;
    view->dtype = original->dtype;
    call->originals[call->n] = original;
    call->buffers[call->n++] = NULL; /* the input's takes its bytes back */
    return view;
}

static const clq_qparams *move_params(struct call *call, const clq_qparams *original, clq_qparams *params)
{
    if (original == NULL) return NULL;
    *params = *original;
    params->scale = *move(call, &original->scale);
    params->zero_point = *move(call, &original->zero_point);
    return params;
}

/* Everything back to the host: inputs too, since they must not have changed; those that have not may be constants. */
static clq_status end(struct call *call, clq_status status)
{
    for (int32_t i = 0; i < call->n; i++) {
        const clq_tensor *const original = call->originals[i];
        int64_t first, last;
        if (call->buffers[i] == NULL) continue;
        find_bytes(original, &first, &last);
        const int64_t lead = (call->views[i].offset - original->offset) * clq_dtype_bits(original->dtype) / 8 + first;
        char *const found = malloc((size_t)(last - first)), *const host = (char *)original->data + first;
        TEST_CHECK(found != NULL, "no memory");
        copy_bytes(call->context, found, call->buffers[i], lead, last - first, false);
        if (memcmp(host, found, (size_t)(last - first)) != 0) memcpy(host, found, (size_t)(last - first));
        free(found);
        clq_buffer_free(call->buffers[i]);
    }
    return status;
}

clq_status test_device_convert(clq_context *context, const clq_tensor *src, const clq_tensor *dst)
{
    struct call call = {.context = context};
    /* Views of the same memory stay so. */
    if (src == NULL || dst == NULL || src->data == dst->data) return clq_convert(context, src, dst);
    const clq_tensor *const from = move(&call, src), *const to = move(&call, dst);
    return end(&call, clq_convert(context, from, to));
}

clq_status test_device_minmax(clq_context *context, const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo, const clq_tensor *hi,
                              const clq_tensor *counts)
{
    struct call call = {.context = context};
    const clq_tensor *const moved_x = move(&call, x), *const moved_lo = move(&call, lo), *const moved_hi = move(&call, hi);
    const clq_tensor *const moved_counts = move(&call, counts);
    return end(&call, clq_minmax(context, moved_x, scheme, moved_lo, moved_hi, moved_counts));
}

clq_status test_device_qparams_from_range(clq_context *context, const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_lo = move(&call, lo), *const moved_hi = move(&call, hi);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_qparams_from_range(context, moved_lo, moved_hi, moved_params));
}

clq_status test_device_choose_qparams(clq_context *context, const clq_tensor *x, const clq_qparams *params)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_x = move(&call, x);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_choose_qparams(context, moved_x, moved_params));
}

clq_status test_device_qparams_check(clq_context *context, const clq_tensor *x, const clq_qparams *params)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_qparams_check(context, x, moved_params));
}

clq_status test_device_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, const clq_tensor *counts)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_x = move(&call, x), *const moved_q = move(&call, q), *const moved_counts = move(&call, counts);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_quantize(context, moved_x, moved_params, moved_q, moved_counts));
}

clq_status test_device_dequantize(clq_context *context, const clq_tensor *q, const clq_qparams *params, const clq_tensor *y)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_q = move(&call, q), *const moved_y = move(&call, y);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_dequantize(context, moved_q, moved_params, moved_y));
}

clq_status test_device_compute_error_stats(clq_context *context, const clq_tensor *x, const clq_tensor *q, const clq_qparams *params,
                                           clq_error_stats *stats)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_x = move(&call, x), *const moved_q = move(&call, q);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_compute_error_stats(context, moved_x, moved_q, moved_params, stats));
}

clq_status test_device_dynamic_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q,
                                        const clq_tensor *counts)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_x = move(&call, x), *const moved_q = move(&call, q), *const moved_counts = move(&call, counts);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_dynamic_quantize(context, moved_x, moved_params, moved_q, moved_counts));
}

clq_status test_device_requantize(clq_context *context, const clq_tensor *x, const clq_qparams *x_params, const clq_qparams *y_params,
                                  const clq_tensor *y)
{
    struct call call = {.context = context};
    clq_qparams moved_source, moved_target;
    const clq_tensor *const moved_x = move(&call, x), *const moved_y = move_output(&call, y, x, moved_x);
    const clq_qparams *const moved_x_params = move_params(&call, x_params, &moved_source), *const moved_y_params = move_params(&call, y_params, &moved_target);
    return end(&call, clq_requantize(context, moved_x, moved_x_params, moved_y_params, moved_y));
}

clq_status test_device_fake_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask,
                                     const clq_tensor *counts)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_x = move(&call, x), *const moved_y = move_output(&call, y, x, moved_x);
    const clq_tensor *const moved_mask = move(&call, mask), *const moved_counts = move(&call, counts);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_fake_quantize(context, moved_x, moved_params, moved_y, moved_mask, moved_counts));
}

clq_status test_device_backward(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, const clq_tensor *mask,
                                const clq_tensor *dx)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_dy = move(&call, dy), *const moved_dx = move_output(&call, dx, dy, moved_dy);
    const clq_tensor *const moved_x = move(&call, x), *const moved_mask = move(&call, mask);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_fake_quantize_backward(context, moved_dy, moved_x, moved_params, moved_mask, moved_dx));
}

clq_status test_device_backward_learnable(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, float gradient_scale,
                                          const clq_tensor *dx, const clq_tensor *dscale, const clq_tensor *dzero_point)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_dy = move(&call, dy), *const moved_dx = move_output(&call, dx, dy, moved_dy), *const moved_x = move(&call, x);
    const clq_tensor *const moved_dscale = move(&call, dscale), *const moved_dzero_point = move(&call, dzero_point);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_fake_quantize_backward_learnable(context, moved_dy, moved_x, moved_params, gradient_scale, moved_dx, moved_dscale,
                                                           moved_dzero_point));
}

clq_status test_device_observe_fake_quantize(clq_context *context, const clq_tensor *x, float averaging, const clq_tensor *lo, const clq_tensor *hi,
                                             const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts)
{
    struct call call = {.context = context};
    clq_qparams moved;
    const clq_tensor *const moved_x = move(&call, x), *const moved_y = move_output(&call, y, x, moved_x), *const moved_lo = move(&call, lo);
    const clq_tensor *const moved_hi = move(&call, hi), *const moved_mask = move(&call, mask), *const moved_counts = move(&call, counts);
    const clq_qparams *const moved_params = move_params(&call, params, &moved);
    return end(&call, clq_observe_fake_quantize(context, moved_x, averaging, moved_lo, moved_hi, moved_params, moved_y, moved_mask, moved_counts));
}

clq_status test_device_packed_create(clq_context *context, const clq_tensor *b, clq_packed **packed)
{
    struct call call = {.context = context};
    const clq_tensor *const moved = move(&call, b);
    return end(&call, clq_packed_create(context, moved, packed));
}

/* Sums of more products are refused where zero points lie on the device, as they may be anything. */
#define LEAST_BOUND_OF_K 33025

clq_status test_device_gemm(clq_context *context, const clq_gemm_args *args)
{
    struct call call = {.context = context};
    clq_qparams a_params, b_params, c_params;
    clq_gemm_args moved;
    if (args == NULL || args->a == NULL || args->a->rank < 2 || args->a->shape[args->a->rank - 1] > LEAST_BOUND_OF_K) return clq_gemm(context, args);
    moved = *args;
    moved.a = move(&call, args->a);
    moved.b = move(&call, args->b);
    moved.c = move(&call, args->c);
    moved.bias = move(&call, args->bias);
    moved.a_params = move_params(&call, args->a_params, &a_params);
    moved.b_params = move_params(&call, args->b_params, &b_params);
    moved.c_params = move_params(&call, args->c_params, &c_params);
    return end(&call, clq_gemm(context, &moved));
}
