/* SPDX-License-Identifier: MIT */
/* clq_compute_error_stats(): against sums in higher precision, the same bits for any number of threads, and what theory says of
 * uniform errors. */
#include "config.h"

#include "reference.h"
#include "test_support.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const clq_dtype float_dtypes[] = {CLQ_F32, CLQ_F16, CLQ_BF16};
static const clq_dtype quantized_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S16, CLQ_U16, CLQ_S32};

enum { SLOT_X, SLOT_Q, SLOT_SCALE, SLOT_ZERO_POINT };

static enum test_layout random_layout(struct test_random *random)
{
    if (test_chance(random, 3)) return TEST_CONTIGUOUS;
    return (enum test_layout)test_between(random, 0, TEST_BROADCAST);
}

/* ---- comparison */

static bool is_close(double got, long double expected, long double tolerance)
{
    if (isinf(expected) || isinf((double)expected)) return got == (double)expected;
    return fabsl((long double)got - expected) <= tolerance;
}

#define CHECK_EQUAL(field, expected)                                                                                             \
    TEST_CHECK(stats->field == (expected), #field " = %" PRId64 ", must be %" PRId64, (int64_t)stats->field, (int64_t)(expected))
#define CHECK_CLOSE(field, expected, tolerance)                                                                                  \
    TEST_CHECK(is_close(stats->field, expected, tolerance), #field " = %.17g, must be %.20Lg", stats->field,                     \
               (long double)(expected))

static void compare(const clq_error_stats *stats, const struct ref_stats *r)
{
    const int64_t elements = r->count + r->nan_count + r->inf_count;
    const long double n = r->count > 0 ? (long double)r->count : 1.0L, mse = r->squared_error / n, mae = r->absolute_error / n;
    long double sqnr = INFINITY, cosine;

    CHECK_EQUAL(count, r->count);
    CHECK_EQUAL(nan_count, r->nan_count);
    CHECK_EQUAL(inf_count, r->inf_count);
    CHECK_EQUAL(clipped_count, r->clipped_count);
    TEST_CHECK(stats->max_error == (double)test_float(r->max_error), "max_error = %a, must be %a", stats->max_error,
               test_float(r->max_error));
    TEST_CHECK(stats->clipped_share == (elements > 0 ? (double)r->clipped_count / (double)elements : 0.0), "clipped_share = %a",
               stats->clipped_share);
    CHECK_CLOSE(mse, mse, 1e-9L * mse);
    CHECK_CLOSE(mae, mae, 1e-9L * mae);
    CHECK_CLOSE(sum_squared_error, r->squared_error, 1e-9L * r->squared_error);
    CHECK_CLOSE(sum_absolute_error, r->absolute_error, 1e-9L * r->absolute_error);
    CHECK_CLOSE(sum_squared_x, r->squared_x, 1e-9L * r->squared_x);
    CHECK_CLOSE(sum_squared_y, r->squared_y, 1e-9L * r->squared_y);
    CHECK_CLOSE(sum_product, r->product, 1e-9L * sqrtl(r->squared_x) * sqrtl(r->squared_y));
    if (r->max_error != 0) sqnr = r->squared_x == 0 ? -INFINITY : 10.0L * log10l(r->squared_x / r->squared_error);
    CHECK_CLOSE(sqnr_db, sqnr, 1e-8L);
    if (r->squared_x == 0 || r->squared_y == 0)
        cosine = r->squared_x == r->squared_y ? 1.0L : 0.0L;
    else
        cosine = r->product / (sqrtl(r->squared_x) * sqrtl(r->squared_y));
    CHECK_CLOSE(cosine, cosine, 1e-9L);
}

/* ---- against the reference */

/* Values near the integers' grid, some far outside, some no numbers at all. */
static void fill(struct test_tensor *tensor, struct test_random *random, bool with_specials)
{
    const clq_tensor *const view = &tensor->view;
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(view->rank, view->shape) == 0) return;
    do {
        uint32_t bits = test_bits((float)test_between(random, -(1 << 20), 1 << 20) * 0x1p-14f);
        if (with_specials && test_chance(random, 5))
            bits = test_special_floats[test_between(random, 0, test_special_float_count - 1)];
        ref_set(view, index, ref_cast(CLQ_F32, view->dtype, bits));
    } while (ref_next(view->rank, view->shape, index));
    test_tensor_sync(tensor);
}

struct comparison {
    struct test_tensor x, q, scale, zero_point;
    clq_qparams params;
    bool quantized;
};

static void make_comparison(struct comparison *c, struct test_random *random, const clq_scheme *scheme, int32_t rank,
                            const int64_t *shape)
{
    int64_t param_shape[CLQ_MAX_RANK], index[CLQ_MAX_RANK] = {0};
    int32_t param_rank;
    struct ref_scheme resolved;
    const bool with_specials = test_chance(random, 2);

    ref_scheme_resolve(scheme, &resolved);
    ref_scheme_shape(scheme, rank, shape, &param_rank, param_shape);
    c->quantized = test_chance(random, 4) ? false : true;
    test_tensor_make(&c->x, random, SLOT_X, float_dtypes[test_between(random, 0, 2)], rank, shape, random_layout(random));
    test_tensor_make(&c->q, random, SLOT_Q, c->quantized ? scheme->dtype : float_dtypes[test_between(random, 0, 2)], rank, shape,
                     random_layout(random));
    test_tensor_make(&c->scale, random, SLOT_SCALE, CLQ_F32, param_rank, param_shape, random_layout(random));
    test_tensor_make(&c->zero_point, random, SLOT_ZERO_POINT, CLQ_S32, param_rank, param_shape, random_layout(random));
    fill(&c->x, random, with_specials);
    if (!c->quantized) fill(&c->q, random, with_specials);
    if (ref_elements(param_rank, param_shape) > 0) {
        do {
            ref_set(&c->scale.view, index,
                    test_chance(random, 30) ? test_random_scale(random)
                                            : (uint32_t)test_between(random, 118, 129) << 23 | (test_next(random) & 0x7fffff));
            ref_set(&c->zero_point.view, index,
                    (uint64_t)(resolved.symmetric || scheme->dtype == CLQ_S32
                                   ? resolved.zero_point
                                   : test_between(random, resolved.qmin, resolved.qmax)));
        } while (ref_next(param_rank, param_shape, index));
    }
    test_tensor_sync(&c->scale);
    test_tensor_sync(&c->zero_point);
    c->params = (clq_qparams){.scheme = *scheme, .scale = c->scale.view, .zero_point = c->zero_point.view};
    /* Mostly what quantization gives, at times any integers. */
    if (c->quantized && test_chance(random, 3)) ref_quantize(&c->x.view, &c->params, &c->q.view, NULL);
    test_tensor_sync(&c->q);
}

static void free_comparison(struct comparison *c)
{
    test_tensor_free(&c->x);
    test_tensor_free(&c->q);
    test_tensor_free(&c->scale);
    test_tensor_free(&c->zero_point);
}

static void try_comparison(struct comparison *c, struct test_random *random, struct test_place *places, int32_t place_count)
{
    struct ref_stats reference;
    clq_error_stats first = {0};
    char first_table[16] = "";

    ref_error_stats(&c->x.view, &c->q.view, c->quantized ? &c->params : NULL, &reference);
    test_note("seed %" PRIu64 ", %s; x %s; q %s; scale %s", random->seed, test_describe_scheme(&c->params.scheme),
              test_describe(&c->x.view), test_describe(&c->q.view), test_describe(&c->params.scale));
    for (int32_t i = 0; i < place_count; i++) {
        const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
        const size_t table_length = strcspn(places[i].name, ",");
        clq_error_stats stats;
        clq_status status;

        memset(&stats, 0xa5, sizeof stats);
        test_note_place("[%s, mode %d]", places[i].name, (int)mode);
        test_mode_set(mode);
        status = clq_compute_error_stats(places[i].context, &c->x.view, &c->q.view, c->quantized ? &c->params : NULL, &stats);
        test_mode_end(mode);
        TEST_OK(places[i].context, status);
        compare(&stats, &reference);
        /* The number of threads changes nothing, to the bit. */
        if (strlen(first_table) == table_length && strncmp(places[i].name, first_table, table_length) == 0) {
            TEST_CHECK(memcmp(&stats, &first, sizeof stats) == 0, "differs from the same table on one thread: mse %a, %a",
                       stats.mse, first.mse);
        } else {
            first = stats;
            snprintf(first_table, sizeof first_table, "%.*s", (int)table_length, places[i].name);
        }
        test_tensor_compare(&c->x, "x (an input)");
        test_tensor_compare(&c->q, "q (an input)");
    }
    test_note_place("%s", "");
}

static clq_scheme random_scheme(struct test_random *random, clq_granularity granularity, int32_t rank, const int64_t *shape)
{
    clq_scheme scheme = {.dtype = quantized_dtypes[test_between(random, 0, 6)],
                         .symmetry = (clq_symmetry)test_between(random, 0, 3),
                         .granularity = granularity,
                         .quotient = (clq_quotient)test_between(random, 0, 1)};
    if (granularity != CLQ_PER_TENSOR) {
        scheme.axis = (int32_t)test_between(random, -rank, rank - 1);
        scheme.group_size = test_between(random, 1, shape[scheme.axis < 0 ? scheme.axis + rank : scheme.axis] + 2);
    }
    return scheme;
}

START_TEST(at_random)
{
    struct test_random random = test_random_start(400 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(700, 40);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct comparison c;
        int64_t shape[CLQ_MAX_RANK];
        const int32_t rank = (int32_t)test_between(&random, _i == 0 ? 0 : 1, test_chance(&random, 4) ? CLQ_MAX_RANK : 3);
        test_random_shape(&random, rank, test_chance(&random, 6) ? 7000 : 300, true, shape);
        const clq_scheme scheme = random_scheme(&random, (clq_granularity)_i, rank, shape);
        make_comparison(&c, &random, &scheme, rank, shape);
        try_comparison(&c, &random, places, place_count);
        free_comparison(&c);
    }
    test_places_close(places, place_count);
}
END_TEST

START_TEST(threads)
{
    static const int64_t shapes[][3] = {{1, 1, 400003}, {3, 131, 1021}, {131077, 3, 1}, {577, 571, 1}};
    struct test_random random = test_random_start(420 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(6, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct comparison c;
        const clq_scheme scheme = random_scheme(&random, (clq_granularity)(repeat % 3), 3, shapes[_i]);
        make_comparison(&c, &random, &scheme, 3, shapes[_i]);
        try_comparison(&c, &random, places, place_count);
        free_comparison(&c);
    }
    test_places_close(places, place_count);
}
END_TEST

/* ---- known results */

enum { UNIFORM_VALUES = 200000 };

static clq_error_stats stats_of(clq_context *context, const float *x, const float *y, int64_t n)
{
    const clq_tensor a = clq_tensor_host(CLQ_F32, x, 1, &n), b = clq_tensor_host(CLQ_F32, y, 1, &n);
    clq_error_stats stats;
    TEST_OK(context, clq_compute_error_stats(context, &a, &b, NULL, &stats));
    return stats;
}

START_TEST(edges)
{
    const float zero[3] = {0, 0, 0}, one[3] = {1, -2, 3}, none[3] = {NAN, INFINITY, -INFINITY}, opposite[3] = {-1, 2, -3},
                large[1] = {3e38f}, small[1] = {-3e38f};
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);

    for (int32_t i = 0; i < place_count; i++) {
        clq_context *const context = places[i].context;
        clq_error_stats s = stats_of(context, NULL, NULL, 0);
        TEST_CHECK(s.count == 0 && s.mse == 0 && s.mae == 0 && s.max_error == 0 && s.sqnr_db == INFINITY && s.cosine == 1 &&
                       s.clipped_share == 0,
                   "nothing");
        s = stats_of(context, zero, zero, 3);
        TEST_CHECK(s.count == 3 && s.mse == 0 && s.sqnr_db == INFINITY && s.cosine == 1, "zeros");
        s = stats_of(context, one, one, 3);
        TEST_CHECK(s.count == 3 && s.mse == 0 && s.sqnr_db == INFINITY && fabs(s.cosine - 1) < 1e-15 && s.sum_squared_x == 14,
                   "no error");
        s = stats_of(context, zero, one, 3);
        TEST_CHECK(s.mae == 2 && s.max_error == 3 && s.sqnr_db == -INFINITY && s.cosine == 0, "no signal");
        s = stats_of(context, one, zero, 3);
        TEST_CHECK(s.sqnr_db == 0 && s.cosine == 0 && s.sum_squared_error == 14 && s.sum_absolute_error == 6, "all error");
        s = stats_of(context, one, opposite, 3);
        TEST_CHECK(fabs(s.cosine + 1) < 1e-15 && s.max_error == 6, "opposite");
        s = stats_of(context, none, one, 3);
        TEST_CHECK(s.count == 0 && s.nan_count == 1 && s.inf_count == 2 && s.mse == 0 && s.max_error == 0,
                   "nothing finite on the left");
        s = stats_of(context, one, none, 3);
        TEST_CHECK(s.count == 0 && s.nan_count == 1 && s.inf_count == 2, "nothing finite on the right");
        s = stats_of(context, none, none, 3);
        TEST_CHECK(s.count == 0 && s.nan_count == 1 && s.inf_count == 2, "an infinity less itself is left out");
        s = stats_of(context, large, small, 1);
        TEST_CHECK(s.count == 1 && isinf(s.max_error) && isinf(s.mse), "the error of finite values may overflow");
    }
    test_places_close(places, place_count);
}
END_TEST

/* Values that nothing clips, quantized with `bits` bits. */
static clq_error_stats error_of(clq_context *context, const clq_tensor *x, int32_t bits, float *scale)
{
    static int16_t q[UNIFORM_VALUES];
    const clq_tensor target = clq_tensor_host(CLQ_S16, q, 1, x->shape);
    const clq_qparams params = {
        .scheme = {.dtype = CLQ_S16, .symmetry = CLQ_SYMMETRIC, .qmin = -(1 << (bits - 1)), .qmax = (1 << (bits - 1)) - 1},
        .scale = clq_tensor_host(CLQ_F32, scale, 0, NULL)};
    clq_error_stats stats;

    TEST_OK(context, clq_choose_qparams(context, x, &params));
    TEST_OK(context, clq_quantize(context, x, &params, &target, NULL));
    TEST_OK(context, clq_compute_error_stats(context, x, &target, &params, &stats));
    return stats;
}

/* Largest error s/2, mean square s^2/12, mean s/4, 6.02 dB a bit (Bennett, "Spectra of quantized signals", 1948). */
START_TEST(theory)
{
    struct test_random random = test_random_start(440);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    static float x[UNIFORM_VALUES];
    const int64_t n = UNIFORM_VALUES;
    const clq_tensor source = clq_tensor_host(CLQ_F32, x, 1, &n);

    for (int64_t i = 0; i < n; i++)
        x[i] = (float)test_between(&random, -(1 << 23), 1 << 23) * 0x1p-23f;
    for (int32_t i = 0; i < place_count; i++) {
        double before = 0;
        for (int32_t bits = 4; bits <= 13; bits++) {
            float scale;
            const clq_error_stats s = error_of(places[i].context, &source, bits, &scale);
            /* y is rounded: half a place of 1 */
            TEST_CHECK(s.max_error <= scale * 0.5 + 0x1p-24 && s.max_error > scale * 0.49, "%d bits: largest error %g, scale %g",
                       (int)bits, s.max_error, scale);
            TEST_CHECK(fabs(s.mse / (scale * (double)scale / 12) - 1) < 0.02, "%d bits: mse %g, scale %g", (int)bits, s.mse,
                       scale);
            TEST_CHECK(fabs(s.mae / (scale / 4.0) - 1) < 0.02, "%d bits: mae %g, scale %g", (int)bits, s.mae, scale);
            /* [-1, 1] in 2^bits - 2 steps: the gain tends to 6.02 as the lost two steps matter less */
            const double gain = 20 * log10((pow(2, bits) - 2) / (pow(2, bits - 1) - 2));
            TEST_CHECK(bits == 4 || fabs(s.sqnr_db - before - gain) < 0.1, "%d bits: %g dB, one bit fewer: %g dB", (int)bits,
                       s.sqnr_db, before);
            TEST_CHECK(bits < 9 || fabs(s.sqnr_db - before - 6.02) < 0.15, "%d bits: %g dB, one bit fewer: %g dB", (int)bits,
                       s.sqnr_db, before);
            TEST_CHECK(s.clipped_count == 0, "nothing is clipped");
            before = s.sqnr_db;
        }
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error_stats");
    TCase *all = test_case(suite, "against the reference"), *known = test_case(suite, "known results");

    tcase_add_loop_test(all, at_random, 0, 3);
    tcase_add_loop_test(all, threads, 0, 4);
    tcase_add_test(known, edges);
    tcase_add_test(known, theory);
    return test_run(suite);
}
