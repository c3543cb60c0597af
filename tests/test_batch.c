/* SPDX-License-Identifier: MIT */
/* Batches on the CPU: the same results as one call after another, and what happens when something is wrong. */
#include "config.h"

#include "test_support.h"
#include <fenv.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS = 300, MOST = 3000, LARGEST = 200000, WIDTH = 7 };

/* One call's tensors, and room for the same results one by one. */
struct item {
    int64_t shape[2];
    float *x, *y, *product; /* the last of q and `weights` */
    int8_t *q;
    uint8_t *mask, *requantized;
    float scale, lo, hi, new_scale, dscale, dzero_point;
    int32_t zero_point, new_zero_point;
    int64_t counts[3];
    clq_error_stats stats;
};

static const clq_scheme scheme = {.dtype = CLQ_S8};
static int8_t weights[LARGEST * WIDTH];

static int64_t elements(const struct item *item)
{
    return item->shape[0] * item->shape[1];
}

/* Of every size from nothing to several blocks; in the threaded form one is large enough for all threads. */
static struct item *make_items(int64_t largest)
{
    struct test_random random = test_random_start(300);
    struct item *const items = calloc(CALLS, sizeof *items);
    TEST_CHECK(items != NULL, "no memory for the test");
    test_fill_random(&random, weights, sizeof weights);
    for (int i = 0; i < CALLS; i++) {
        struct item *const item = &items[i];
        test_random_shape(&random, 2, i == 7 ? largest : MOST, true, item->shape);
        item->x = calloc((size_t)elements(item) + 1, sizeof *item->x);
        item->y = calloc((size_t)elements(item) + 1, sizeof *item->y);
        item->q = calloc((size_t)elements(item) + 1, sizeof *item->q);
        item->mask = calloc((size_t)elements(item) / 8 + 1, sizeof *item->mask);
        item->requantized = calloc((size_t)elements(item) + 1, sizeof *item->requantized);
        item->product = calloc((size_t)item->shape[0] * WIDTH + 1, sizeof *item->product);
        TEST_CHECK(item->x != NULL && item->y != NULL && item->q != NULL && item->mask != NULL && item->requantized != NULL && item->product != NULL,
                   "no memory for the test");
        item->scale = 0.25f + (float)i / 64;
        item->zero_point = i % 100 - 50;
        for (int64_t k = 0; k < elements(item); k++)
            item->x[k] = test_float(test_random_value(&random, test_bits(item->scale), item->zero_point, -128, 127));
    }
    return items;
}

static void free_items(struct item *items)
{
    for (int i = 0; i < CALLS; i++) {
        free(items[i].x);
        free(items[i].y);
        free(items[i].q);
        free(items[i].mask);
        free(items[i].requantized);
        free(items[i].product);
    }
    free(items);
}

static void clear_results(struct item *items)
{
    for (int i = 0; i < CALLS; i++) {
        struct item *const item = &items[i];
        memset(item->y, 0x5a, (size_t)elements(item) * sizeof *item->y);
        memset(item->q, 0x5a, (size_t)elements(item));
        memset(item->mask, 0x5a, (size_t)elements(item) / 8 + 1);
        memset(item->requantized, 0x5a, (size_t)elements(item));
        memset(item->product, 0x5a, (size_t)item->shape[0] * WIDTH * sizeof *item->product);
        memset(item->counts, 0x5a, sizeof item->counts);
        item->lo = item->hi = item->new_scale = item->dscale = item->dzero_point = -7.0f;
        item->new_zero_point = -7;
        memset(&item->stats, 0x5a, sizeof item->stats);
    }
}

/* Those before STATS write no statistics, and may be mixed in one batch. */
enum operation { CONVERT, QUANTIZE, MINMAX, CHOOSE, DEQUANTIZE, DYNAMIC, REQUANTIZE, FAKE, BACKWARD, LEARNABLE, OBSERVE, GEMM, STATS, OPERATIONS };

/* Views and structs are gone when the call returns. */
static clq_status run(clq_context *context, struct item *item, enum operation operation)
{
    clq_tensor x = clq_tensor_host(CLQ_F32, item->x, 2, item->shape), y = clq_tensor_host(CLQ_F32, item->y, 2, item->shape);
    clq_tensor q = clq_tensor_host(CLQ_S8, item->q, 2, item->shape);
    const int64_t three = 3;
    clq_tensor counts = clq_tensor_host(CLQ_S64, item->counts, 1, &three);
    clq_tensor lo = clq_tensor_host(CLQ_F32, &item->lo, 0, NULL), hi = clq_tensor_host(CLQ_F32, &item->hi, 0, NULL);
    clq_qparams params = {.scheme = scheme,
                          .scale = clq_tensor_host(CLQ_F32, &item->scale, 0, NULL),
                          .zero_point = clq_tensor_host(CLQ_S32, &item->zero_point, 0, NULL)};
    clq_qparams chosen = {.scheme = scheme,
                          .scale = clq_tensor_host(CLQ_F32, &item->new_scale, 0, NULL),
                          .zero_point = clq_tensor_host(CLQ_S32, &item->new_zero_point, 0, NULL)};
    const int64_t mask_bytes = (elements(item) + 7) / 8;
    clq_tensor mask = clq_tensor_host(CLQ_U8, item->mask, 1, &mask_bytes), requantized = clq_tensor_host(CLQ_U8, item->requantized, 2, item->shape);
    clq_tensor dscale = clq_tensor_host(CLQ_F32, &item->dscale, 0, NULL), dzero_point = clq_tensor_host(CLQ_F32, &item->dzero_point, 0, NULL);
    static const float target_scale = 0.75f;
    clq_qparams target = {.scheme = {.dtype = CLQ_U8}, .scale = clq_tensor_host(CLQ_F32, &target_scale, 0, NULL)};
    const int64_t b_shape[2] = {item->shape[1], WIDTH}, c_shape[2] = {item->shape[0], WIDTH};
    clq_tensor b = clq_tensor_host(CLQ_S8, weights, 2, b_shape), c = clq_tensor_host(CLQ_F32, item->product, 2, c_shape);
    clq_gemm_args args = {.a = &q, .b = &b, .c = &c, .a_params = &params, .allow_wrap = 1};
    clq_status status;
    switch (operation) {
    case CONVERT: status = clq_convert(context, &x, &y); break;
    case QUANTIZE: status = clq_quantize(context, &x, &params, &q, &counts); break;
    case MINMAX: status = clq_minmax(context, &x, &params.scheme, &lo, &hi, NULL); break;
    case CHOOSE: status = clq_choose_qparams(context, &x, &chosen); break;
    case DEQUANTIZE: status = clq_dequantize(context, &q, &params, &y); break;
    case DYNAMIC: status = clq_dynamic_quantize(context, &x, &chosen, &q, &counts); break;
    case REQUANTIZE: status = clq_requantize(context, &q, &params, &target, &requantized); break;
    case FAKE: status = clq_fake_quantize(context, &x, &params, &y, &mask, &counts); break;
    case BACKWARD: status = clq_fake_quantize_backward(context, &x, &x, &params, NULL, &y); break;
    case LEARNABLE: status = clq_fake_quantize_backward_learnable(context, &x, &x, &params, 0.5f, &y, &dscale, &dzero_point); break;
    case OBSERVE: status = clq_observe_fake_quantize(context, &x, 0.5f, &lo, &hi, &chosen, &y, &mask, &counts); break;
    case GEMM: status = clq_gemm(context, &args); break;
    default: status = clq_compute_error_stats(context, &x, &q, &params, &item->stats);
    }
    memset(&x, 0x5a, sizeof x);
    memset(&y, 0x5a, sizeof y);
    memset(&q, 0x5a, sizeof q);
    memset(&counts, 0x5a, sizeof counts);
    memset(&lo, 0x5a, sizeof lo);
    memset(&hi, 0x5a, sizeof hi);
    memset(&params, 0x5a, sizeof params);
    memset(&chosen, 0x5a, sizeof chosen);
    memset(&mask, 0x5a, sizeof mask);
    memset(&requantized, 0x5a, sizeof requantized);
    memset(&dscale, 0x5a, sizeof dscale);
    memset(&dzero_point, 0x5a, sizeof dzero_point);
    memset(&target, 0x5a, sizeof target);
    memset(&b, 0x5a, sizeof b);
    memset(&c, 0x5a, sizeof c);
    memset(&args, 0x5a, sizeof args);
    return status;
}

/* A sum with infinities may be any NaN. */
static bool is_same(float a, float b)
{
    return test_bits(a) == test_bits(b) || (a != a && b != b);
}

static void expect_same(const struct item *got, const struct item *expected)
{
    for (int i = 0; i < CALLS; i++) {
        const struct item *const a = &got[i], *const b = &expected[i];
        test_note("call %d, %lld x %lld", i, (long long)a->shape[0], (long long)a->shape[1]);
        TEST_CHECK(memcmp(a->y, b->y, (size_t)elements(a) * sizeof *a->y) == 0, "y");
        TEST_CHECK(memcmp(a->q, b->q, (size_t)elements(a)) == 0, "q");
        TEST_CHECK(memcmp(a->mask, b->mask, (size_t)elements(a) / 8 + 1) == 0, "mask");
        TEST_CHECK(memcmp(a->requantized, b->requantized, (size_t)elements(a)) == 0, "requantized");
        TEST_CHECK(memcmp(a->product, b->product, (size_t)a->shape[0] * WIDTH * sizeof *a->product) == 0, "product");
        TEST_CHECK(is_same(a->dscale, b->dscale) && is_same(a->dzero_point, b->dzero_point), "gradients");
        TEST_CHECK(memcmp(a->counts, b->counts, sizeof a->counts) == 0, "counts");
        TEST_CHECK(test_bits(a->lo) == test_bits(b->lo) && test_bits(a->hi) == test_bits(b->hi), "ranges");
        TEST_CHECK(test_bits(a->new_scale) == test_bits(b->new_scale) && a->new_zero_point == b->new_zero_point, "parameters");
        TEST_CHECK(memcmp(&a->stats, &b->stats, sizeof a->stats) == 0, "statistics");
    }
}

/* Every operation of its own batch, then several kinds in one. */
static void compare_batches(clq_context *context, clq_context *one_by_one, int64_t largest)
{
    struct item *const batched = make_items(largest), *const single = make_items(largest);
    clear_results(batched);
    clear_results(single);
    for (int operation = 0; operation < OPERATIONS; operation++) {
        TEST_OK(context, clq_batch_begin(context));
        for (int i = 0; i < CALLS; i++) {
            TEST_OK(context, run(context, &batched[i], operation));
            TEST_OK(one_by_one, run(one_by_one, &single[i], operation));
        }
        TEST_OK(context, clq_batch_end(context));
        expect_same(batched, single);
    }
    clear_results(batched);
    clear_results(single);
    TEST_OK(context, clq_batch_begin(context));
    for (int i = 0; i < CALLS; i++)
        TEST_OK(context, run(context, &batched[i], i % STATS));
    TEST_OK(context, clq_batch_end(context));
    for (int i = 0; i < CALLS; i++)
        TEST_OK(one_by_one, run(one_by_one, &single[i], i % STATS));
    expect_same(batched, single);
    free_items(batched);
    free_items(single);
}

/* The loop runs over tables. */
START_TEST(batches_equal_single_calls)
{
    const char *const table = test_table(_i)->ops->name;
    struct test_hook hook = {.threads = 3};
    clq_context *const contexts[] = {test_context(table, 1, NULL, NULL), test_context(table, 4, NULL, NULL),
                                     test_context(table, 4, test_parallel_for, &hook)};
    clq_context *const one_by_one = test_context(table, 1, NULL, NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(contexts); i++) {
        test_note_place("%s, context %zu", table, i);
        compare_batches(contexts[i], one_by_one, i == 0 ? MOST : LARGEST);
        clq_context_free(contexts[i]);
    }
    clq_context_free(one_by_one);
    TEST_CHECK(atomic_load(&hook.calls) > 0, "the hook was not called");
    /* A call of 300 small ones is worth threads, which each alone is not. */
    TEST_CHECK(atomic_load(&hook.tasks) > 6, "%lld tasks", atomic_load(&hook.tasks));
}
END_TEST

/* Nothing happens before the end. */
START_TEST(batch_waits)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    struct item *const items = make_items(MOST);
    clear_results(items);
    TEST_CHECK(strcmp(clq_context_ran_on(context), "") == 0, "ran on %s", clq_context_ran_on(context));
    TEST_OK(context, clq_batch_begin(context));
    for (int i = 0; i < CALLS; i++)
        TEST_OK(context, run(context, &items[i], QUANTIZE));
    for (int i = 0; i < CALLS; i++)
        TEST_CHECK(elements(&items[i]) == 0 || items[i].q[0] == 0x5a, "call %d has run", i);
    TEST_CHECK(strcmp(clq_context_ran_on(context), "") == 0, "ran on %s", clq_context_ran_on(context));
    TEST_OK(context, clq_batch_end(context));
    TEST_CHECK(strcmp(clq_context_ran_on(context), "cpu") == 0, "ran on %s", clq_context_ran_on(context));
    free_items(items);
    clq_context_free(context);
}
END_TEST

/* Results in strided parameters reach their places only at the end, through views that are gone. */
START_TEST(batch_with_strided_parameters)
{
    enum { ROWS = 50, COLS = 9 };
    clq_context *const context = test_context(NULL, 4, NULL, NULL);
    static float x[2][ROWS * COLS], scale[2][2][3 * ROWS];
    static int32_t zero_point[2][2][2 * ROWS];
    const int64_t shape[2] = {ROWS, COLS}, rows = ROWS;

    for (int k = 0; k < 2; k++)
        for (int i = 0; i < ROWS * COLS; i++)
            x[k][i] = (float)((i * 37 + k) % 91) - 40.0f;
    for (int batched = 0; batched < 2; batched++) {
        if (batched) TEST_OK(context, clq_batch_begin(context));
        for (int k = 0; k < 2; k++) {
            const clq_tensor tensor = clq_tensor_host(CLQ_F32, x[k], 2, shape);
            clq_qparams params = {.scheme = {.dtype = CLQ_U8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                  .scale = clq_tensor_host(CLQ_F32, scale[batched][k], 1, &rows),
                                  .zero_point = clq_tensor_host(CLQ_S32, zero_point[batched][k], 1, &rows)};
            params.scale.strides[0] = 3;
            params.zero_point.strides[0] = -2;
            params.zero_point.offset = 2 * (ROWS - 1);
            TEST_OK(context, clq_choose_qparams(context, &tensor, &params));
            memset(&params, 0x5a, sizeof params);
        }
        if (batched) TEST_OK(context, clq_batch_end(context));
    }
    TEST_CHECK(scale[0][1][3] > 0.0f && scale[0][1][1] == 0.0f, "the test's own values");
    TEST_CHECK(memcmp(scale[0], scale[1], sizeof scale[0]) == 0 && memcmp(zero_point[0], zero_point[1], sizeof zero_point[0]) == 0, "parameters");
    clq_context_free(context);
}
END_TEST

/* Products of sizes of their own, of B and of packed weights in turns, share a workspace; other operations lie between them. */
START_TEST(products_in_a_batch)
{
    enum { PRODUCTS = 40, M = 60, N = 90, K = 70 };
    static int8_t a_bytes[PRODUCTS * K], b_bytes[K * N], q[PRODUCTS][100];
    static int32_t result[PRODUCTS][M * N], expected[M * N];
    static float x[100];
    const float scale = 0.5f;
    const int64_t b_shape[2] = {K, N}, hundred = 100;
    const clq_tensor b = clq_tensor_host(CLQ_S8, b_bytes, 2, b_shape);
    const clq_qparams params = {.scheme = scheme, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    struct test_random random = test_random_start(310);
    clq_context *const context = test_context(test_table(_i)->ops->name, 4, NULL, NULL);
    clq_packed *packed = NULL;

    test_fill_random(&random, a_bytes, sizeof a_bytes);
    test_fill_random(&random, b_bytes, sizeof b_bytes);
    memset(result, 0x5a, sizeof result);
    for (int i = 0; i < 100; i++)
        x[i] = (float)i;
    TEST_OK(context, clq_packed_create(context, &b, &packed));
    TEST_OK(context, clq_batch_begin(context));
    for (int i = 0; i < PRODUCTS; i++) {
        const int64_t a_shape[2] = {i, K}, c_shape[2] = {i, N};
        const clq_tensor a = clq_tensor_host(CLQ_S8, a_bytes, 2, a_shape), c = clq_tensor_host(CLQ_S32, result[i], 2, c_shape),
                         from = clq_tensor_host(CLQ_F32, x, 1, &hundred), to = clq_tensor_host(CLQ_S8, q[i], 1, &hundred);
        TEST_OK(context, clq_gemm(context, &(clq_gemm_args){.a = &a, .b = i % 2 == 0 ? &b : NULL, .packed_b = i % 2 == 0 ? NULL : packed, .c = &c}));
        TEST_OK(context, clq_quantize(context, &from, &params, &to, NULL));
    }
    TEST_CHECK(result[1][0] == 0x5a5a5a5a, "a product has run before the end");
    TEST_OK(context, clq_batch_end(context));
    for (int i = 0; i < PRODUCTS; i++) {
        const int64_t a_shape[2] = {i, K}, c_shape[2] = {i, N};
        const clq_tensor a = clq_tensor_host(CLQ_S8, a_bytes, 2, a_shape), c = clq_tensor_host(CLQ_S32, expected, 2, c_shape);
        ref_gemm(&(clq_gemm_args){.a = &a, .b = &b, .c = &c});
        TEST_CHECK(memcmp(result[i], expected, (size_t)(i * N) * sizeof expected[0]) == 0, "%s: product %d", test_table(_i)->ops->name, i);
        TEST_CHECK(q[i][3] == 6, "quantized values %d", i);
    }
    clq_packed_free(packed);
    clq_context_free(context);
}
END_TEST

START_TEST(bad_calls_in_a_batch)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    struct item *const items = make_items(MOST), *const expected = make_items(MOST);
    const float zero = 0.0f;

    clear_results(items);
    clear_results(expected);
    TEST_OK(context, clq_batch_begin(context));
    for (int i = 0; i < CALLS; i++) {
        const float good = items[i].scale;
        TEST_OK(context, run(context, &items[i], QUANTIZE));
        TEST_OK(context, run(context, &items[i], MINMAX));
        if (elements(&items[i]) == 0) continue;
        items[i].scale = zero;
        TEST_CHECK(run(context, &items[i], DEQUANTIZE) == CLQ_ERROR_PARAMETER, "a scale of 0 in a batch");
        TEST_CHECK(strstr(clq_context_error(context), "clq_dequantize: scale") != NULL, "%s", clq_context_error(context));
        items[i].scale = good;
    }
    TEST_OK(context, clq_batch_end(context));
    for (int i = 0; i < CALLS; i++) {
        TEST_OK(context, run(context, &expected[i], QUANTIZE));
        TEST_OK(context, run(context, &expected[i], MINMAX));
    }
    expect_same(items, expected);
    free_items(items);
    free_items(expected);
    clq_context_free(context);
}
END_TEST

START_TEST(begin_and_end)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    struct item *const items = make_items(MOST);

    TEST_CHECK(clq_batch_begin(NULL) == CLQ_ERROR_INVALID_ARGUMENT && clq_batch_end(NULL) == CLQ_ERROR_INVALID_ARGUMENT, "NULL");
    TEST_CHECK(clq_batch_end(context) == CLQ_ERROR_INVALID_ARGUMENT, "an end without a begin");
    TEST_CHECK(strstr(clq_context_error(context), "no batch is open") != NULL, "%s", clq_context_error(context));
    TEST_OK(context, clq_batch_begin(context));
    TEST_CHECK(clq_batch_begin(context) == CLQ_ERROR_INVALID_ARGUMENT, "a begin in a batch");
    TEST_CHECK(strstr(clq_context_error(context), "open already") != NULL, "%s", clq_context_error(context));
    /* The batch goes on. */
    clear_results(items);
    TEST_OK(context, run(context, &items[1], QUANTIZE));
    TEST_CHECK(items[1].q[0] == 0x5a, "the call has run");
    TEST_OK(context, clq_batch_end(context));
    TEST_CHECK(items[1].counts[0] != 0x5a5a5a5a5a5a5a5a, "the call has not run");
    TEST_CHECK(clq_batch_end(context) == CLQ_ERROR_INVALID_ARGUMENT, "a second end");
    /* Empty ones. */
    TEST_OK(context, clq_batch_begin(context));
    TEST_OK(context, clq_batch_end(context));
    TEST_CHECK(test_works(context, 100, 1), "after empty batches");
    /* An end that is refused is one. */
    TEST_OK(context, clq_batch_begin(context));
    TEST_OK(context, run(context, &items[1], QUANTIZE));
    fesetround(FE_UPWARD);
    const clq_status refused = clq_batch_end(context);
    fesetround(FE_TONEAREST);
    TEST_CHECK(refused == CLQ_ERROR_ROUNDING, "%s", clq_status_name(refused));
    TEST_OK(context, clq_batch_begin(context));
    TEST_OK(context, clq_batch_end(context));
    free_items(items);
    clq_context_free(context);
}
END_TEST

/* An open batch is forgotten; nothing of it runs or leaks. */
START_TEST(context_freed_with_an_open_batch)
{
    struct test_allocator allocator = {0};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct item *const items = make_items(MOST);
    clq_context *context;

    options.device = "cpu";
    options.allocator = test_allocator_of(&allocator);
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "no context");
    clear_results(items);
    TEST_OK(context, clq_batch_begin(context));
    for (int i = 0; i < CALLS; i++)
        TEST_OK(context, run(context, &items[i], i % OPERATIONS));
    clq_context_free(context);
    TEST_CHECK(atomic_load(&allocator.live) == 0 && !atomic_load(&allocator.misused), "%lld pieces have leaked", atomic_load(&allocator.live));
    for (int i = 0; i < CALLS; i++)
        TEST_CHECK(elements(&items[i]) == 0 || items[i].q[0] == 0x5a, "call %d has run", i);
    free_items(items);
}
END_TEST

/* Every allocation of a batch failing: the call or the end says so, nothing leaks, and the context works. */
START_TEST(batch_without_memory)
{
    struct test_allocator allocator = {0};
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    struct item *const items = make_items(MOST);
    clq_context *context;
    clq_status status = CLQ_ERROR_OUT_OF_MEMORY;

    options.device = "cpu";
    options.num_threads = 1;
    options.allocator = test_allocator_of(&allocator);
    for (long long n = 1; status != CLQ_OK; n++) {
        int failed = 0;
        TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "no context");
        TEST_OK(context, clq_batch_begin(context));
        allocator.fail_at = atomic_load(&allocator.calls) + n;
        for (int i = 0; i < STATS; i++) {
            status = run(context, &items[i], i);
            TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_OUT_OF_MEMORY, "%s", clq_status_name(status));
            failed += status != CLQ_OK;
        }
        status = clq_batch_end(context);
        TEST_CHECK(failed == 0 || status == CLQ_OK, "more than one failure");
        TEST_CHECK(status == CLQ_OK || strstr(clq_context_error(context), "clq_batch_end") != NULL, "%s", clq_context_error(context));
        if (failed > 0) status = CLQ_ERROR_OUT_OF_MEMORY;
        TEST_CHECK((status != CLQ_OK) == (atomic_load(&allocator.calls) >= allocator.fail_at), "allocation %lld: %s", n, clq_status_name(status));
        allocator.fail_at = 0;
        TEST_CHECK(test_works(context, 100, 1), "after a failed batch");
        clq_context_free(context);
        TEST_CHECK(atomic_load(&allocator.live) == 0 && !atomic_load(&allocator.misused), "%lld pieces have leaked", atomic_load(&allocator.live));
        TEST_CHECK(status != CLQ_OK || n > STATS, "only %lld allocations", n - 1);
    }
    free_items(items);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("batch");
    TCase *const tcase = test_case(suite, "batches");

    tcase_add_loop_test(tcase, batches_equal_single_calls, 0, test_table_count());
    tcase_add_test(tcase, batch_waits);
    tcase_add_test(tcase, batch_with_strided_parameters);
    tcase_add_loop_test(tcase, products_in_a_batch, 0, test_table_count());
    tcase_add_test(tcase, bad_calls_in_a_batch);
    tcase_add_test(tcase, begin_and_end);
    tcase_add_test(tcase, context_freed_with_an_open_batch);
    tcase_add_test(tcase, batch_without_memory);
    return test_run(suite);
}
