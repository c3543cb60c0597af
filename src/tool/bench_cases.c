/* SPDX-License-Identifier: MIT */
/* The element-wise operations and reductions of the bench: their operands, their calls, and what is measured of each. */
#include "config.h"

#include "tool/bench.h"
#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------- calls */

#define OPERAND(name) (&a->operands[BENCH_##name])

static clq_status call_quantize(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_quantize(context, OPERAND(X), &a->params, OPERAND(Q), NULL);
}

static clq_status call_dequantize(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_dequantize(context, OPERAND(Q), &a->params, OPERAND(Y));
}

static clq_status call_requantize(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_requantize(context, OPERAND(X), &a->x_params, &a->params, OPERAND(Q));
}

static clq_status call_dynamic_quantize(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_dynamic_quantize(context, OPERAND(X), &a->params, OPERAND(Q), NULL);
}

static clq_status call_fake_quantize(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_fake_quantize(context, OPERAND(X), &a->params, OPERAND(Y), NULL, NULL);
}

static clq_status call_fake_quantize_mask(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_fake_quantize(context, OPERAND(X), &a->params, OPERAND(Y), OPERAND(MASK), NULL);
}

static clq_status call_backward(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_fake_quantize_backward(context, OPERAND(DY), OPERAND(X), &a->params, NULL, OPERAND(Y));
}

static clq_status call_backward_mask(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_fake_quantize_backward(context, OPERAND(DY), NULL, NULL, OPERAND(MASK), OPERAND(Y));
}

static clq_status call_backward_learnable(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_fake_quantize_backward_learnable(context, OPERAND(DY), OPERAND(X), &a->params, 1, OPERAND(Y), OPERAND(LO), OPERAND(HI));
}

static clq_status call_observe(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_observe_fake_quantize(context, OPERAND(X), 0.01f, OPERAND(LO), OPERAND(HI), &a->params, OPERAND(Y), NULL, NULL);
}

static clq_status call_minmax(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_minmax(context, OPERAND(X), &a->params.scheme, OPERAND(LO), OPERAND(HI), NULL);
}

static clq_status call_choose_qparams(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_choose_qparams(context, OPERAND(X), &a->params);
}

static clq_status call_convert(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_convert(context, OPERAND(X), OPERAND(Q));
}

static clq_status call_error_stats(clq_context *context, struct clq_bench_arguments *a)
{
    return clq_compute_error_stats(context, OPERAND(X), OPERAND(Q), &a->params, &a->stats);
}

/* One call of `one` for each index of the outermost axis, in a batch. */
static clq_status call_batch(clq_context *context, const struct clq_bench_arguments *a,
                             clq_status (*one)(clq_context *, struct clq_bench_arguments *))
{
    struct clq_bench_arguments part = *a;
    clq_status status = clq_batch_begin(context), last;
    for (int operand = BENCH_X; operand <= BENCH_Y; operand++) {
        clq_tensor *view = &part.operands[operand];
        view->rank = 1;
        view->shape[0] = view->strides[0] > 0 ? view->shape[1] : 0;
        view->strides[0] = 1;
    }
    for (int64_t k = 0; k < a->operands[BENCH_Q].shape[0] && status == CLQ_OK; k++) {
        status = one(context, &part);
        for (int operand = BENCH_X; operand <= BENCH_Y; operand++)
            part.operands[operand].offset += part.operands[operand].shape[0];
    }
    last = clq_batch_end(context);
    return status != CLQ_OK ? status : last;
}

static clq_status call_quantize_batch(clq_context *context, struct clq_bench_arguments *a)
{
    return call_batch(context, a, call_quantize);
}

static clq_status call_dequantize_batch(clq_context *context, struct clq_bench_arguments *a)
{
    return call_batch(context, a, call_dequantize);
}

/* ---------------------------------------------------------------------------------------------- what is measured */

#define PARAMS (BENCH_BIT(SCALE) | BENCH_BIT(ZERO_POINT))
#define RANGE  (BENCH_BIT(LO) | BENCH_BIT(HI))

/* What goes in, what comes out, what of that are sums. */
static const struct clq_bench_op
    quantize = {"quantize", BENCH_BIT(X) | PARAMS, BENCH_BIT(Q), 0, call_quantize},
    quantize_batch = {"quantize", BENCH_BIT(X) | PARAMS, BENCH_BIT(Q), 0, call_quantize_batch},
    dequantize = {"dequantize", BENCH_BIT(Q) | PARAMS, BENCH_BIT(Y), 0, call_dequantize},
    dequantize_batch = {"dequantize", BENCH_BIT(Q) | PARAMS, BENCH_BIT(Y), 0, call_dequantize_batch},
    requantize = {"requantize", BENCH_BIT(X) | BENCH_BIT(A_SCALE) | PARAMS, BENCH_BIT(Q), 0, call_requantize},
    dynamic_quantize = {"dynamic_quantize", BENCH_BIT(X), PARAMS | BENCH_BIT(Q), 0, call_dynamic_quantize},
    fake_quantize = {"fake_quantize", BENCH_BIT(X) | PARAMS, BENCH_BIT(Y), 0, call_fake_quantize},
    fake_quantize_mask = {"fake_quantize_mask", BENCH_BIT(X) | PARAMS, BENCH_BIT(Y) | BENCH_BIT(MASK), 0, call_fake_quantize_mask},
    backward = {"backward", BENCH_BIT(DY) | BENCH_BIT(X) | PARAMS, BENCH_BIT(Y), 0, call_backward},
    backward_mask = {"backward_mask", BENCH_BIT(DY) | BENCH_BIT(MASK), BENCH_BIT(Y), 0, call_backward_mask},
    backward_learnable = {"backward_learnable", BENCH_BIT(DY) | BENCH_BIT(X) | PARAMS, BENCH_BIT(Y) | RANGE, RANGE, call_backward_learnable},
    observe = {"observe_fake_quantize", BENCH_BIT(X) | RANGE, RANGE | PARAMS | BENCH_BIT(Y), 0, call_observe},
    minmax = {"minmax", BENCH_BIT(X), RANGE, 0, call_minmax},
    choose_qparams = {"choose_qparams", BENCH_BIT(X), PARAMS, 0, call_choose_qparams},
    convert = {"convert", BENCH_BIT(X), BENCH_BIT(Q), 0, call_convert},
    error_stats = {"error_stats", BENCH_BIT(X) | BENCH_BIT(Q) | PARAMS, 0, 0, call_error_stats};

/* Variants are letters: per (t)ensor, per channel of the (o)utermost or (i)nnermost axis, per (g)roup of 32, a (b)atch of small tensors. */
static const struct {
    const struct clq_bench_op *op;
    clq_dtype x, q;
    const char *variants;
    bool is_short; /* two sizes will do */
} entries[] = {
    {&quantize, CLQ_F32, CLQ_S8, "toig", false},
    {&quantize_batch, CLQ_F32, CLQ_S8, "b", false},
    {&quantize, CLQ_F32, CLQ_U8, "t", true},
    {&quantize, CLQ_F32, CLQ_S4, "t", true},
    {&quantize, CLQ_F32, CLQ_S16, "t", true},
    {&quantize, CLQ_F16, CLQ_S8, "t", true},
    {&quantize, CLQ_BF16, CLQ_S8, "t", true},
    {&dequantize, CLQ_F32, CLQ_S8, "toig", false},
    {&dequantize_batch, CLQ_F32, CLQ_S8, "b", false},
    {&dequantize, CLQ_F32, CLQ_S4, "t", true},
    {&dequantize, CLQ_F16, CLQ_S8, "t", true},
    {&dequantize, CLQ_BF16, CLQ_S8, "t", true},
    {&requantize, CLQ_S32, CLQ_S8, "toig", false},
    {&dynamic_quantize, CLQ_F32, CLQ_S8, "toig", false},
    {&fake_quantize, CLQ_F32, CLQ_S8, "toig", false},
    {&fake_quantize_mask, CLQ_F32, CLQ_S8, "toig", false},
    {&backward, CLQ_F32, CLQ_S8, "toig", false},
    {&backward_mask, CLQ_F32, CLQ_S8, "t", false},
    {&backward_learnable, CLQ_F32, CLQ_S8, "toig", false},
    {&observe, CLQ_F32, CLQ_S8, "toig", false},
    {&minmax, CLQ_F32, CLQ_S8, "toig", false},
    {&minmax, CLQ_BF16, CLQ_S8, "t", true},
    {&choose_qparams, CLQ_F32, CLQ_S8, "toig", false},
    {&convert, CLQ_F32, CLQ_F32, "t", false},
    {&convert, CLQ_F32, CLQ_F16, "t", false},
    {&convert, CLQ_F32, CLQ_BF16, "t", true},
    {&convert, CLQ_F16, CLQ_F32, "t", true},
    {&error_stats, CLQ_F32, CLQ_S8, "toig", false},
};

#define ENTRIES (sizeof entries / sizeof *entries)

static const struct {
    char letter;
    const char *name;
    clq_granularity granularity;
    int32_t axis;
    int64_t sizes[4][2]; /* one extent or two; two have 0 alone */
} variants[] = {
    {'t', "per tensor", CLQ_PER_TENSOR, 0, {{100000}, {1 << 24}, {1000}, {1000000}}},
    {'o', "per channel, outer", CLQ_PER_CHANNEL, 0, {{316, 316}, {4096, 4096}, {32, 32}, {1000, 1000}}},
    {'i', "per channel, inner", CLQ_PER_CHANNEL, 1, {{316, 316}, {4096, 4096}, {32, 32}, {1000, 1000}}},
    {'g', "per group of 32", CLQ_PER_GROUP, -1, {{316, 316}, {4096, 4096}, {32, 32}, {1000, 1000}}},
    {'b', "batch", CLQ_PER_TENSOR, 0, {{300, 4096}}},
};

bool clq_bench_is_op(const char *name)
{
    for (size_t k = 0; k < ENTRIES; k++)
        if (strcmp(entries[k].op->name, name) == 0) return true;
    return strcmp(name, "gemm") == 0;
}

static bool visit_variant(struct clq_bench *bench, size_t entry, size_t variant, clq_bench_visit_fn visit)
{
    const int needed = strchr("oib", variants[variant].letter) != NULL ? 2 : 1, sizes = entries[entry].is_short ? 2 : 4;
    struct clq_bench_case c = {.op = entries[entry].op,
                               .variant = variants[variant].name,
                               .scheme = {.dtype = entries[entry].q,
                                          .granularity = variants[variant].granularity,
                                          .axis = variants[variant].axis,
                                          .group_size = 32},
                               .x = entries[entry].x,
                               .is_forced = bench->rank > 0,
                               .row_step = 1};
    if (bench->rank > 0) {
        c.rank = bench->rank;
        memcpy(c.shape, bench->shape, sizeof c.shape);
        return bench->rank < needed || bench->rank > 2 || visit(bench, &c);
    }
    for (int k = 0; k < sizes && variants[variant].sizes[k][0] > 0; k++) {
        c.rank = variants[variant].sizes[k][1] > 0 ? 2 : 1;
        memcpy(c.shape, variants[variant].sizes[k], sizeof variants[variant].sizes[k]);
        if (!visit(bench, &c)) return false;
    }
    return true;
}

bool clq_bench_for_cases(struct clq_bench *bench, clq_bench_visit_fn visit)
{
    for (size_t k = 0; k < ENTRIES; k++) {
        if (bench->op != NULL && strcmp(bench->op, entries[k].op->name) != 0) continue;
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
            if (strchr(entries[k].variants, variants[v].letter) != NULL && !visit_variant(bench, k, v, visit)) return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------- operands */

static clq_tensor params_view(const struct clq_bench_case *c, clq_dtype dtype)
{
    int64_t shape[CLQ_MAX_RANK];
    int32_t rank = 0;
    if (c->scheme.granularity == CLQ_PER_CHANNEL) {
        shape[rank++] = c->shape[c->scheme.axis];
    } else if (c->scheme.granularity == CLQ_PER_GROUP) {
        rank = c->rank;
        memcpy(shape, c->shape, sizeof c->shape);
        shape[rank - 1] = (shape[rank - 1] + c->scheme.group_size - 1) / c->scheme.group_size;
    }
    return clq_tensor_host(dtype, NULL, rank, shape);
}

static int64_t count_elements(const struct clq_bench_case *c)
{
    int64_t count = 1;
    for (int32_t d = 0; d < c->rank; d++)
        count *= c->shape[d];
    return count;
}

/* Values lie in [-1, 1], and the scales are such that one in some twenty is clipped. */
void clq_bench_describe(const struct clq_bench_case *c, int operand, struct clq_bench_content *content)
{
    const int bits = clq_dtype_bits(c->scheme.dtype);
    const int64_t mask_bytes = (count_elements(c) + 7) / 8;
    const double steps = ldexp(1, bits), middle = c->scheme.dtype == CLQ_U8 ? steps / 2 : 0;
    *content = (struct clq_bench_content){.least = -1, .most = 1};
    switch (operand) {
    case BENCH_X:
        content->view = clq_tensor_host(c->x, NULL, c->rank, c->shape);
        if (c->x == CLQ_S32) content->most = -(content->least = -100000);
        break;
    case BENCH_DY:
    case BENCH_Y:
        content->view = clq_tensor_host(c->x, NULL, c->rank, c->shape);
        break;
    case BENCH_Q:
        content->view = clq_tensor_host(c->scheme.dtype, NULL, c->rank, c->shape);
        break;
    case BENCH_MASK:
        content->view = clq_tensor_host(CLQ_U8, NULL, 1, &mask_bytes);
        content->most = 255;
        break;
    case BENCH_SCALE:
        content->view = params_view(c, CLQ_F32);
        content->least = 1.9 / steps;
        content->most = 2.1 / steps;
        break;
    case BENCH_ZERO_POINT:
        content->view = params_view(c, CLQ_S32);
        content->least = middle - 2;
        content->most = middle + 2;
        break;
    case BENCH_A_SCALE: /* requantize: of X */
        content->view = clq_tensor_host(CLQ_F32, NULL, 0, NULL);
        content->least = content->most = 1e-5;
        break;
    default: /* a range: empty, where it is an input */
        content->view = params_view(c, CLQ_F32);
        content->least = content->most = operand == BENCH_LO ? HUGE_VAL : -HUGE_VAL;
    }
}

void clq_bench_bind(const struct clq_bench_case *c, struct clq_bench_arguments *a)
{
    a->params = (clq_qparams){.scheme = c->scheme, .scale = *OPERAND(SCALE), .zero_point = *OPERAND(ZERO_POINT)};
    a->x_params = (clq_qparams){.scheme = {.dtype = c->x}, .scale = *OPERAND(A_SCALE)};
}
