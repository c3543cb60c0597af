/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of every operation failing once: the call says so or does without it, its outputs are untouched or right,
 * nothing leaks, and the context works afterwards.
 */
#include "config.h"

#include "reference.h"
#include "test_support.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 40, COLS = 70, GROUP = 8, GROUPS = (COLS + GROUP - 1) / GROUP };

/* Operands that need as much memory of the library's own as any: strided parameters, which it copies, and strided tensors. */
struct bench {
    clq_context *context;
    struct test_tensor x, q, y, lo, hi, scale, zero_point, counts, requantized, dx, mask, dscale, dzero_point;
    clq_qparams params, target;
    float target_scale;
    clq_error_stats stats;
};

static void make_bench(struct bench *b, struct test_random *random, int64_t rows)
{
    const int64_t shape[2] = {rows, COLS}, param_shape[2] = {rows, GROUPS}, three = 3, mask_bytes = (rows * COLS + 7) / 8;
    int64_t index[2] = {0, 0};

    test_tensor_make(&b->x, random, 0, CLQ_F32, 2, shape, TEST_TRANSPOSED);
    test_tensor_make(&b->q, random, 1, CLQ_S8, 2, shape, TEST_STEPPED);
    test_tensor_make(&b->y, random, 2, CLQ_F16, 2, shape, TEST_REVERSED);
    test_tensor_make(&b->lo, random, 3, CLQ_F32, 2, param_shape, TEST_STEPPED);
    test_tensor_make(&b->hi, random, 4, CLQ_F32, 2, param_shape, TEST_STEPPED);
    test_tensor_make(&b->scale, random, 5, CLQ_F32, 2, param_shape, TEST_STEPPED);
    test_tensor_make(&b->zero_point, random, 6, CLQ_S32, 2, param_shape, TEST_STEPPED);
    test_tensor_make(&b->counts, random, 7, CLQ_S64, 1, &three, TEST_CONTIGUOUS);
    test_tensor_make(&b->requantized, random, 10, CLQ_U8, 2, shape, TEST_STEPPED);
    test_tensor_make(&b->dx, random, 11, CLQ_F32, 2, shape, TEST_REVERSED);
    test_tensor_make(&b->mask, random, 12, CLQ_U8, 1, &mask_bytes, TEST_CONTIGUOUS);
    test_tensor_make(&b->dscale, random, 13, CLQ_F32, 2, param_shape, TEST_STEPPED);
    test_tensor_make(&b->dzero_point, random, 14, CLQ_F32, 2, param_shape, TEST_STEPPED);
    do {
        const uint32_t value = test_random_value(random, 0x3e800000, 0, -128, 127);
        ref_set(&b->x.view, index, (value & 0x7fffffff) < 0x60000000 ? value : 0x3f800000); /* a gradient too, of a finite sum */
    } while (ref_next(2, shape, index));
    memset(index, 0, sizeof index);
    do {
        ref_set(&b->scale.view, index, 0x3e800000);
        ref_set(&b->zero_point.view, index, 3);
        ref_set(&b->lo.view, index, test_bits(-1.0f));
        ref_set(&b->hi.view, index, test_bits(2.0f));
    } while (ref_next(2, param_shape, index));
    test_tensor_sync(&b->x);
    test_tensor_sync(&b->scale);
    test_tensor_sync(&b->zero_point);
    test_tensor_sync(&b->lo);
    test_tensor_sync(&b->hi);
    b->params = (clq_qparams){.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_GROUP, .axis = 1, .group_size = GROUP},
                              .scale = b->scale.view,
                              .zero_point = b->zero_point.view};
    b->target_scale = 0.75f;
    b->target = (clq_qparams){.scheme = {.dtype = CLQ_U8}, .scale = clq_tensor_host(CLQ_F32, &b->target_scale, 0, NULL)};
}

static void for_each_tensor(struct bench *b, void (*action)(struct test_tensor *tensor))
{
    struct test_tensor *const tensors[] = {&b->x, &b->q, &b->y, &b->lo, &b->hi, &b->scale, &b->zero_point, &b->counts,
                                           &b->requantized, &b->dx, &b->mask, &b->dscale, &b->dzero_point};
    for (size_t i = 0; i < TEST_COUNT_OF(tensors); i++)
        action(tensors[i]);
}

static void compare_all(const struct bench *b)
{
    test_tensor_compare(&b->x, "x");
    test_tensor_compare(&b->q, "q");
    test_tensor_compare(&b->y, "y");
    test_tensor_compare(&b->lo, "lo");
    test_tensor_compare(&b->hi, "hi");
    test_tensor_compare(&b->scale, "scale");
    test_tensor_compare(&b->zero_point, "zero_point");
    test_tensor_compare(&b->counts, "counts");
    test_tensor_compare(&b->requantized, "requantized");
    test_tensor_compare(&b->dx, "dx");
    test_tensor_compare(&b->mask, "mask");
    test_tensor_compare(&b->dscale, "dscale");
    test_tensor_compare(&b->dzero_point, "dzero_point");
}

/* ---- operations, and what they must write */

static clq_status quantize(struct bench *b)
{
    return clq_quantize(b->context, &b->x.view, &b->params, &b->q.view, &b->counts.view);
}

static void expect_counts(struct bench *b, const int64_t *counts)
{
    for (int64_t i = 0; i < 3; i++)
        ref_set(&b->counts.expected, &i, (uint64_t)counts[i]);
}

static void expect_quantize(struct bench *b)
{
    int64_t counts[3];
    ref_quantize(&b->x.view, &b->params, &b->q.expected, counts);
    expect_counts(b, counts);
}

static clq_status dequantize(struct bench *b)
{
    return clq_dequantize(b->context, &b->q.view, &b->params, &b->y.view);
}

static void expect_dequantize(struct bench *b)
{
    ref_dequantize(&b->q.view, &b->params, &b->y.expected);
}

static clq_status minmax(struct bench *b)
{
    return clq_minmax(b->context, &b->x.view, &b->params.scheme, &b->lo.view, &b->hi.view, &b->counts.view);
}

static void expect_minmax(struct bench *b)
{
    int64_t counts[3];
    ref_minmax(&b->x.view, &b->params.scheme, &b->lo.expected, &b->hi.expected, counts);
    expect_counts(b, counts);
}

static clq_status from_range(struct bench *b)
{
    return clq_qparams_from_range(b->context, &b->lo.view, &b->hi.view, &b->params);
}

static void expect_from_range(struct bench *b)
{
    clq_qparams expected = b->params;
    expected.scale.data = b->scale.expected.data;
    expected.zero_point.data = b->zero_point.expected.data;
    ref_qparams_from_range(&b->lo.view, &b->hi.view, &expected);
}

static clq_status choose(struct bench *b)
{
    return clq_choose_qparams(b->context, &b->x.view, &b->params);
}

static void expect_choose(struct bench *b)
{
    /* Where the ranges are put on the way is nobody's business. */
    struct test_random random = {1, 1};
    struct test_tensor lo, hi;
    clq_qparams expected = b->params;

    test_tensor_make(&lo, &random, 8, CLQ_F32, 2, b->scale.view.shape, TEST_CONTIGUOUS);
    test_tensor_make(&hi, &random, 9, CLQ_F32, 2, b->scale.view.shape, TEST_CONTIGUOUS);
    ref_minmax(&b->x.view, &b->params.scheme, &lo.view, &hi.view, NULL);
    expected.scale.data = b->scale.expected.data;
    expected.zero_point.data = b->zero_point.expected.data;
    ref_qparams_from_range(&lo.view, &hi.view, &expected);
    test_tensor_free(&lo);
    test_tensor_free(&hi);
}

static clq_status check(struct bench *b)
{
    return clq_qparams_check(b->context, &b->x.view, &b->params);
}

static clq_status error_stats(struct bench *b)
{
    return clq_compute_error_stats(b->context, &b->x.view, &b->q.view, &b->params, &b->stats);
}

static clq_status convert(struct bench *b)
{
    return clq_convert(b->context, &b->x.view, &b->y.view);
}

static void expect_convert(struct bench *b)
{
    ref_convert(&b->x.view, &b->y.expected);
}

static clq_status dynamic_quantize(struct bench *b)
{
    return clq_dynamic_quantize(b->context, &b->x.view, &b->params, &b->q.view, &b->counts.view);
}

static clq_qparams expected_params(const struct bench *b)
{
    clq_qparams expected = b->params;
    expected.scale.data = b->scale.expected.data;
    expected.zero_point.data = b->zero_point.expected.data;
    return expected;
}

static void expect_dynamic(struct bench *b)
{
    const clq_qparams expected = expected_params(b);
    int64_t counts[3];
    expect_choose(b);
    ref_quantize(&b->x.view, &expected, &b->q.expected, counts);
    expect_counts(b, counts);
}

static clq_status requantize(struct bench *b)
{
    return clq_requantize(b->context, &b->q.view, &b->params, &b->target, &b->requantized.view);
}

static void expect_requantize(struct bench *b)
{
    ref_requantize(&b->q.view, &b->params, &b->target, &b->requantized.expected);
}

static clq_status fake_quantize(struct bench *b)
{
    return clq_fake_quantize(b->context, &b->x.view, &b->params, &b->dx.view, &b->mask.view, &b->counts.view);
}

static void expect_fake_quantize(struct bench *b)
{
    int64_t counts[3];
    ref_fake_quantize(&b->x.view, &b->params, &b->dx.expected, &b->mask.expected, counts);
    expect_counts(b, counts);
}

/* x is its own gradient. */
static clq_status backward(struct bench *b)
{
    return clq_fake_quantize_backward(b->context, &b->x.view, &b->x.view, &b->params, NULL, &b->dx.view);
}

static void expect_backward(struct bench *b)
{
    ref_backward(&b->x.view, &b->x.view, &b->params, NULL, &b->dx.expected);
}

static clq_status backward_learnable(struct bench *b)
{
    return clq_fake_quantize_backward_learnable(b->context, &b->x.view, &b->x.view, &b->params, 1.0f, &b->dx.view, &b->dscale.view, &b->dzero_point.view);
}

/* What is near enough to the sum is what must stay. */
static void expect_sums(struct test_tensor *got, const struct ref_sum *sums)
{
    int64_t index[2] = {0, 0}, i = 0;
    do {
        const uint64_t bits = ref_get(&got->view, index);
        const long double error = test_float((uint32_t)bits) - sums[i].sum, bound = 1e-6L * sums[i].magnitude;
        TEST_CHECK(error <= bound && error >= -bound, "sum %" PRId64 ": got %a, expected %La", i, test_float((uint32_t)bits), sums[i].sum);
        ref_set(&got->expected, index, bits);
        i++;
    } while (ref_next(2, got->view.shape, index));
}

static void expect_learnable(struct bench *b)
{
    const size_t n = (size_t)ref_elements(2, b->dscale.view.shape);
    struct ref_sum *const sums = calloc(2 * n, sizeof *sums);
    TEST_CHECK(sums != NULL, "no memory for the test");
    expect_backward(b);
    ref_learnable_sums(&b->x.view, &b->x.view, &b->params, sums, sums + n);
    expect_sums(&b->dscale, sums);
    expect_sums(&b->dzero_point, sums + n);
    free(sums);
}

static clq_status observe(struct bench *b)
{
    return clq_observe_fake_quantize(b->context, &b->x.view, 0.5f, &b->lo.view, &b->hi.view, &b->params, &b->dx.view, &b->mask.view, &b->counts.view);
}

static void expect_observe(struct bench *b)
{
    const clq_qparams expected = expected_params(b);
    int64_t counts[3];
    ref_observe(&b->x.view, &b->params.scheme, test_bits(0.5f), &b->lo.expected, &b->hi.expected);
    ref_qparams_from_range(&b->lo.expected, &b->hi.expected, &expected);
    ref_fake_quantize(&b->x.view, &expected, &b->dx.expected, &b->mask.expected, counts);
    expect_counts(b, counts);
}

static void expect_nothing(struct bench *b)
{
    (void)b;
}

static const struct {
    const char *name;
    clq_status (*run)(struct bench *b);
    void (*expect)(struct bench *b);
} operations[] = {
    {"quantize", quantize, expect_quantize},
    {"dequantize", dequantize, expect_dequantize},
    {"minmax", minmax, expect_minmax},
    {"qparams_from_range", from_range, expect_from_range},
    {"choose_qparams", choose, expect_choose},
    {"qparams_check", check, expect_nothing},
    {"compute_error_stats", error_stats, expect_nothing},
    {"convert", convert, expect_convert},
    {"dynamic_quantize", dynamic_quantize, expect_dynamic},
    {"requantize", requantize, expect_requantize},
    {"fake_quantize", fake_quantize, expect_fake_quantize},
    {"fake_quantize_backward", backward, expect_backward},
    {"fake_quantize_backward_learnable", backward_learnable, expect_learnable},
    {"observe_fake_quantize", observe, expect_observe},
};

static void reset(struct test_tensor *tensor)
{
    test_tensor_reset(tensor);
}

static void forget(struct test_tensor *tensor)
{
    test_tensor_reset(tensor);
    test_tensor_sync(tensor);
}

/* The operation with its n-th allocation failing. Returns false if it made fewer. */
static bool fail_once(struct bench *b, int operation, struct test_allocator *allocator, long long n)
{
    const long long live = allocator->live, before = allocator->calls;
    bool reached;
    clq_status status;

    for_each_tensor(b, forget);
    memset(&b->stats, 0xa5, sizeof b->stats);
    const clq_error_stats stats_before = b->stats;
    allocator->fail_at = before + n;
    status = operations[operation].run(b);
    reached = allocator->calls >= allocator->fail_at;
    allocator->fail_at = 0;
    test_note("%s, allocation %lld of those of the call", operations[operation].name, n);
    TEST_CHECK(allocator->live == live, "%lld pieces have leaked", (long long)allocator->live - live);
    TEST_CHECK(!allocator->misused, "the allocator was misused");
    if (status == CLQ_OK) {
        operations[operation].expect(b); /* it did without, or made no such allocation */
    } else {
        TEST_CHECK(reached && status == CLQ_ERROR_OUT_OF_MEMORY, "%s: %s", clq_status_name(status),
                   clq_context_error(b->context));
        TEST_CHECK(strstr(clq_context_error(b->context), operations[operation].name) != NULL, "\"%s\" does not name the function",
                   clq_context_error(b->context));
        TEST_CHECK(memcmp(&b->stats, &stats_before, sizeof stats_before) == 0, "stats were written");
    }
    compare_all(b);

    /* The same call again, with memory. */
    for_each_tensor(b, reset);
    TEST_OK(b->context, operations[operation].run(b));
    if (status != CLQ_OK) operations[operation].expect(b);
    compare_all(b);
    TEST_CHECK(allocator->live == live, "%lld pieces have leaked after success", (long long)allocator->live - live);
    return reached;
}

static clq_context *context_of(struct test_allocator *allocator, struct test_hook *hook)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context = NULL;

    options.device = "cpu";
    options.cpu = test_table(0)->ops->name;
    options.num_threads = hook == NULL ? 1 : 4;
    options.parallel_for = hook == NULL ? NULL : test_parallel_for;
    options.parallel_for_opaque = hook;
    options.allocator = test_allocator_of(allocator);
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "no context");
    return context;
}

/* The loop runs over operations; small operands, then such as keep several threads busy. */
START_TEST(operation_without_memory)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct test_random random = test_random_start(500 + (uint64_t)_i);
        struct test_allocator allocator = {0};
        struct test_hook hook = {.threads = 3};
        struct bench b = {.context = context_of(&allocator, threaded ? &hook : NULL)};
        long long n = 1;

        make_bench(&b, &random, threaded ? 140000 / COLS : ROWS);
        while (fail_once(&b, _i, &allocator, n))
            n++;
        /* Copies of strided parameters must have been needed, or this test tests nothing. */
        TEST_CHECK(n > 1 || operations[_i].run == convert, "%s makes no allocation", operations[_i].name);
        for_each_tensor(&b, test_tensor_free);
        clq_context_free(b.context);
        TEST_CHECK(allocator.live == 0, "%lld pieces have leaked", (long long)allocator.live);
    }
}
END_TEST

/* A reduction whose parts share their results asks for memory of each thread's own. */
START_TEST(shared_reduction_without_memory)
{
    struct test_random random = test_random_start(520);
    struct test_allocator allocator = {0};
    struct test_hook hook = {.threads = 3};
    clq_context *const context = context_of(&allocator, &hook);
    const int64_t shape[2] = {70001, 3}, channels = 3;
    struct test_tensor x, lo, hi;
    const clq_scheme scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 1};
    int64_t index[2] = {0, 0};

    test_tensor_make(&x, &random, 0, CLQ_F32, 2, shape, TEST_CONTIGUOUS);
    test_tensor_make(&lo, &random, 1, CLQ_F32, 1, &channels, TEST_CONTIGUOUS);
    test_tensor_make(&hi, &random, 2, CLQ_F32, 1, &channels, TEST_CONTIGUOUS);
    do {
        ref_set(&x.view, index, test_random_value(&random, 0x3e800000, 0, -128, 127));
    } while (ref_next(2, shape, index));
    for (long long n = 1; n < 4; n++) {
        const long long live = allocator.live;
        clq_status status;
        test_tensor_reset(&lo);
        test_tensor_sync(&lo);
        test_tensor_reset(&hi);
        test_tensor_sync(&hi);
        allocator.fail_at = allocator.calls + n;
        status = clq_minmax(context, &x.view, &scheme, &lo.view, &hi.view, NULL);
        allocator.fail_at = 0;
        TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_OUT_OF_MEMORY, "%s", clq_status_name(status));
        TEST_CHECK(allocator.live == live, "leaked");
        if (status == CLQ_OK) ref_minmax(&x.view, &scheme, &lo.expected, &hi.expected, NULL);
        test_tensor_compare(&lo, "lo");
        test_tensor_compare(&hi, "hi");
    }
    test_tensor_free(&x);
    test_tensor_free(&lo);
    test_tensor_free(&hi);
    clq_context_free(context);
    TEST_CHECK(allocator.live == 0 && !allocator.misused, "leaked or misused");
}
END_TEST

/* Operands of a product that the library copies or packs: strided parameters and bias, A by columns, B as it is. */
struct factors {
    struct test_tensor a, b, c, bias, scale, zero_point;
    float c_scale;
    clq_qparams a_params, c_params;
    clq_gemm_args args;
};

static void make_factors(struct factors *f, struct test_random *random, int64_t m)
{
    enum { K = 70, N = 90 };
    const int64_t a_shape[2] = {m, K}, a_strides[2] = {1, m}, b_shape[2] = {K, N}, c_shape[2] = {m, N}, n = N;

    test_tensor_make_strided(&f->a, random, 0, CLQ_S8, 2, a_shape, a_strides);
    test_tensor_make(&f->b, random, 1, CLQ_U8, 2, b_shape, TEST_PADDED);
    test_tensor_make(&f->c, random, 2, CLQ_U8, 2, c_shape, TEST_PADDED);
    test_tensor_make(&f->bias, random, 3, CLQ_S32, 1, &n, TEST_STEPPED);
    test_tensor_make(&f->scale, random, 4, CLQ_F32, 1, &m, TEST_STEPPED);
    test_tensor_make(&f->zero_point, random, 5, CLQ_S32, 1, &m, TEST_STEPPED);
    for (int64_t i = 0; i < m; i++) {
        ref_set(&f->scale.view, &i, test_bits(0.01f * (float)(i % 7 + 1)));
        ref_set(&f->zero_point.view, &i, (uint64_t)(i % 90));
    }
    test_tensor_sync(&f->scale);
    test_tensor_sync(&f->zero_point);
    f->c_scale = 3.0f;
    f->a_params = (clq_qparams){.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL}, .scale = f->scale.view,
                                .zero_point = f->zero_point.view};
    f->c_params = (clq_qparams){.scheme = {.dtype = CLQ_U8}, .scale = clq_tensor_host(CLQ_F32, &f->c_scale, 0, NULL)};
    f->args = (clq_gemm_args){.a = &f->a.view, .b = &f->b.view, .c = &f->c.view, .bias = &f->bias.view, .a_params = &f->a_params,
                              .c_params = &f->c_params};
}

/* The product with its n-th allocation failing, in a context that has made none yet. Returns false if it made fewer. */
static bool fail_product(struct factors *f, struct test_hook *hook, long long n)
{
    struct test_allocator allocator = {0};
    clq_context *const context = context_of(&allocator, hook);
    const long long live = allocator.live;
    clq_status status;
    bool reached;

    test_note("a product of %lld rows, allocation %lld", (long long)f->a.view.shape[0], n);
    test_tensor_reset(&f->c);
    test_tensor_sync(&f->c);
    allocator.fail_at = allocator.calls + n;
    status = clq_gemm(context, &f->args);
    reached = allocator.calls >= allocator.fail_at;
    allocator.fail_at = 0;
    if (reached) {
        TEST_CHECK(status == CLQ_ERROR_OUT_OF_MEMORY && strstr(clq_context_error(context), "clq_gemm") != NULL, "%s: \"%s\"", clq_status_name(status),
                   clq_context_error(context));
        TEST_CHECK(allocator.live == live, "%lld pieces have leaked", (long long)allocator.live - live);
        test_tensor_compare(&f->c, "c of a failed call");
        TEST_OK(context, clq_gemm(context, &f->args));
    } else {
        TEST_OK(context, status);
    }
    clq_gemm_args expected = f->args;
    expected.c = &f->c.expected;
    ref_gemm(&expected);
    test_tensor_compare(&f->c, "c");
    clq_context_free(context);
    TEST_CHECK(allocator.live == 0 && !allocator.misused, "%lld pieces have leaked", (long long)allocator.live);
    return reached;
}

/* Few rows and many, the latter on several threads. */
START_TEST(product_without_memory)
{
    struct test_random random = test_random_start(530);
    struct test_hook hook = {.threads = 3};

    for (int64_t m = 9; m < 1000; m += 600) {
        struct factors f;
        long long n = 1;
        make_factors(&f, &random, m);
        while (fail_product(&f, m > 100 ? &hook : NULL, n))
            n++;
        TEST_CHECK(n > 4, "only %lld allocations: copies of three arrays and a workspace were to be made", n - 1);
        test_tensor_free(&f.a);
        test_tensor_free(&f.b);
        test_tensor_free(&f.c);
        test_tensor_free(&f.bias);
        test_tensor_free(&f.scale);
        test_tensor_free(&f.zero_point);
    }
}
END_TEST

/* One element of A and one of B, again and again: what is packed is more than any machine has. */
START_TEST(endless_product)
{
    static const int8_t bytes[17];
    static int32_t result[17];
    struct test_allocator allocator = {.fail_size_from = 1 << 30};
    clq_context *const context = context_of(&allocator, NULL);

    for (int64_t m = 1; m <= 17; m += 16) {
        for (int bits = 38; bits < 58; bits++) {
            const int64_t a_shape[2] = {m, INT64_C(1) << bits}, b_shape[2] = {a_shape[1], 1}, c_shape[2] = {m, 1};
            clq_tensor a = clq_tensor_host(CLQ_S8, bytes, 2, a_shape), b = clq_tensor_host(CLQ_S8, bytes, 2, b_shape);
            const clq_tensor c = clq_tensor_host(CLQ_S32, result, 2, c_shape);
            a.strides[0] = 1;
            a.strides[1] = b.strides[0] = 0;
            TEST_CHECK(clq_gemm(context, &(clq_gemm_args){.a = &a, .b = &b, .c = &c, .allow_wrap = 1}) == CLQ_ERROR_OUT_OF_MEMORY,
                       "M = %d, K = 2^%d", (int)m, bits);
        }
    }
    clq_context_free(context);
    TEST_CHECK(allocator.live == 0 && !allocator.misused, "leaked or misused");
}
END_TEST

START_TEST(packed_without_memory)
{
    static const int8_t bytes[500 * 300];
    const int64_t shape[2] = {500, 300}, huge[2] = {INT64_C(1) << 40, 1 << 20};
    const clq_tensor b = clq_tensor_host(CLQ_S8, bytes, 2, shape);
    clq_tensor repeated = clq_tensor_host(CLQ_S8, bytes, 2, huge);
    struct test_allocator allocator = {0};
    clq_context *const context = context_of(&allocator, NULL);
    clq_packed *packed = NULL;

    for (long long n = 1; packed == NULL; n++) {
        const long long live = allocator.live, before = allocator.calls;
        clq_status status;
        packed = (clq_packed *)(void *)context;
        allocator.fail_at = before + n;
        status = clq_packed_create(context, &b, &packed);
        if (status == CLQ_OK) {
            TEST_CHECK(n > 3 && allocator.calls < before + n, "a failed allocation went unnoticed");
            continue;
        }
        TEST_CHECK(status == CLQ_ERROR_OUT_OF_MEMORY && packed == NULL, "allocation %lld: %s", n, clq_status_name(status));
        TEST_CHECK(strstr(clq_context_error(context), "clq_packed_create") != NULL, "\"%s\"", clq_context_error(context));
        TEST_CHECK(allocator.live == live, "leaked");
    }
    clq_packed_free(packed);
    /* More than any machine has: one row, again and again. */
    repeated.strides[0] = 0;
    repeated.shape[1] = 300;
    allocator.fail_at = 0;
    allocator.fail_size_from = 1 << 30;
    TEST_CHECK(clq_packed_create(context, &repeated, &packed) == CLQ_ERROR_OUT_OF_MEMORY && packed == NULL, "2^40 rows");
    repeated.shape[0] = INT64_C(1) << 54;
    TEST_CHECK(clq_packed_create(context, &repeated, &packed) == CLQ_ERROR_OUT_OF_MEMORY && packed == NULL, "2^54 rows");
    clq_context_free(context);
    TEST_CHECK(allocator.live == 0 && !allocator.misused, "leaked or misused");
}
END_TEST

START_TEST(context_without_memory)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct test_allocator allocator = {0};
    char text[200];

    options.device = "cpu";
    options.num_threads = 1;
    options.cpu = "scalar";
    options.allocator = test_allocator_of(&allocator);
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    for (long long n = 1;; n++) {
        clq_context *context = (clq_context *)(void *)&options;
        memset(text, 0, sizeof text);
        atomic_store(&allocator.calls, 0);
        allocator.fail_at = n;
        const clq_status status = clq_context_create(&options, &context);
        if (status == CLQ_OK && allocator.calls < n) {
            TEST_CHECK(n > 1, "a context takes no memory");
            clq_context_free(context);
            break;
        }
        TEST_CHECK(status == CLQ_ERROR_OUT_OF_MEMORY && context == NULL, "allocation %lld: %s", n, clq_status_name(status));
        TEST_CHECK(strstr(text, "clq_context_create") != NULL, "\"%s\"", text);
        TEST_CHECK(allocator.live == 0, "allocation %lld: %lld pieces have leaked", n, (long long)allocator.live);
    }
    TEST_CHECK(allocator.live == 0 && !allocator.misused, "leaked or misused");
}
END_TEST

START_TEST(buffer_without_memory)
{
    struct test_allocator allocator = {0};
    clq_context *const context = context_of(&allocator, NULL);

    for (long long n = 1;; n++) {
        clq_buffer *buffer = (clq_buffer *)(void *)context;
        const long long live = allocator.live, before = allocator.calls;
        allocator.fail_at = before + n;
        const clq_status status = clq_buffer_create(context, 1000, &buffer);
        if (status == CLQ_OK) {
            TEST_CHECK(n > 1 && allocator.calls < before + n, "a failed allocation went unnoticed");
            clq_buffer_free(buffer);
            break;
        }
        TEST_CHECK(status == CLQ_ERROR_OUT_OF_MEMORY && buffer == NULL, "allocation %lld: %s", n, clq_status_name(status));
        TEST_CHECK(strstr(clq_context_error(context), "1000") != NULL, "\"%s\"", clq_context_error(context));
        TEST_CHECK(allocator.live == live, "leaked");
    }
    /* A size that no machine has, past any limit of the allocator. */
    clq_buffer *buffer = NULL;
    allocator.fail_at = 0;
    allocator.fail_size_from = 1 << 30;
    TEST_CHECK(clq_buffer_create(context, INT64_MAX, &buffer) == CLQ_ERROR_OUT_OF_MEMORY && buffer == NULL, "INT64_MAX bytes");
    TEST_CHECK(clq_buffer_create(context, INT64_MAX - 63, &buffer) == CLQ_ERROR_OUT_OF_MEMORY && buffer == NULL,
               "nearly as many");
    clq_context_free(context);
    TEST_CHECK(allocator.live == 0 && !allocator.misused, "leaked or misused");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alloc");
    TCase *tcase = test_case(suite, "without memory");

    tcase_add_loop_test(tcase, operation_without_memory, 0, TEST_COUNT_OF(operations));
    tcase_add_test(tcase, shared_reduction_without_memory);
    tcase_add_test(tcase, product_without_memory);
    tcase_add_test(tcase, endless_product);
    tcase_add_test(tcase, packed_without_memory);
    tcase_add_test(tcase, context_without_memory);
    tcase_add_test(tcase, buffer_without_memory);
    return test_run(suite);
}
