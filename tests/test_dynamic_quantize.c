/* SPDX-License-Identifier: MIT */
/*
 * clq_dynamic_quantize() and clq_observe_fake_quantize() on every table and number of threads against the reference, which takes one step after
 * another: all types, schemes, granularities and layouts, floating-point modes of the caller, in place.
 */
#include "config.h"

#include "test_support.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const clq_dtype range_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S16, CLQ_U16};

/* What each operand is for decides where it is put. */
enum { SLOT_X, SLOT_Q, SLOT_Y, SLOT_MASK, SLOT_COUNTS, SLOT_SCALE, SLOT_ZERO_POINT, SLOT_LO, SLOT_HI };

struct trial {
    struct test_tensor x, q, y, mask, counts, scale, zero_point, lo, hi;
    clq_qparams params;
    bool counted, masked, in_place;
    float averaging;
};

/* ---- making a trial */

/* A tensor's worth of values: ordinary ones with and without specials, nothing but NaN and infinities, tiny ones, any bits, one sign. */
static void fill_x(struct trial *t, struct test_random *random)
{
    const clq_tensor *const x = &t->x.view;
    const int32_t mood = (int32_t)test_between(random, 0, 8);
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(x->rank, x->shape) == 0) return;
    do {
        uint32_t bits = test_bits((float)test_between(random, -100000, 100000) * 0x1p-12f);
        if (mood == 0 && test_chance(random, 3)) bits = test_special_floats[test_between(random, 0, test_special_float_count - 1)];
        if (mood == 1) bits = 0x7f800000 | (uint32_t)(test_next(random) & 0x80000003);
        if (mood == 2) bits = (uint32_t)test_next(random) & 0x80ffffff;
        if (mood == 3) bits = (uint32_t)test_next(random);
        if (mood == 4) bits &= 0x7fffffff;
        if (mood == 5) bits |= 0x80000000;
        ref_set(x, index, ref_cast(CLQ_F32, x->dtype, bits));
    } while (ref_next(x->rank, x->shape, index));
    test_tensor_sync(&t->x);
}

/* Averages to begin with: empty ones, ordinary ones, the largest, the smallest. */
static void fill_average(struct trial *t, struct test_random *random)
{
    const clq_tensor *const lo = &t->lo.view, *const hi = &t->hi.view;
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(lo->rank, lo->shape) == 0) return;
    do {
        float low = -ldexpf((float)test_between(random, 0, 1000), (int)test_between(random, -9, 0)),
              high = ldexpf((float)test_between(random, 0, 1000), (int)test_between(random, -9, 0));
        switch (test_between(random, 0, 9)) {
        case 0:
        case 1:
        case 2:
            low = INFINITY;
            high = -INFINITY;
            break;
        case 3:
            low = test_float(0xff7fffff);
            high = test_float(0x7f7fffff - (uint32_t)test_between(random, 0, 1 << 23));
            break;
        case 4:
            low = test_float(0x80000000 | (uint32_t)test_between(random, 0, 1 << 25));
            high = test_float((uint32_t)test_between(random, 0, 1 << 25));
            break;
        case 5:
            low = high = low * 0.5f;
            break;
        case 7: /* crossed but for the flush: not empty */
            low = test_float((uint32_t)test_between(random, 1, 0x7fffff));
            high = test_float(0x80000000 | (uint32_t)test_between(random, 0, 0x7fffff));
            break;
        case 6:
            low = 5.0f;
            high = -5.0f;
            break;
        default:
            break;
        }
        ref_set(lo, index, test_bits(low));
        ref_set(hi, index, test_bits(high));
    } while (ref_next(lo->rank, lo->shape, index));
    test_tensor_sync(&t->lo);
    test_tensor_sync(&t->hi);
}

/* Everything but the scheme and the shape is drawn. */
static void make_trial(struct trial *t, struct test_random *random, clq_dtype dtype, const clq_scheme *scheme, int32_t rank, const int64_t *shape)
{
    static const float averagings[] = {1.0f, 0.01f, 0.5f, 0x1p-64f, 0x1.fffffep-2f, 0x1p-30f};
    const int64_t three = 3, mask_bytes = (ref_elements(rank, shape) + 7) / 8;
    int64_t param_shape[CLQ_MAX_RANK];
    int32_t param_rank;

    memset(t, 0, sizeof *t);
    ref_scheme_shape(scheme, rank, shape, &param_rank, param_shape);
    if (param_rank == 0 && test_chance(random, 2)) param_shape[param_rank++] = 1;
    t->in_place = test_chance(random, 4);
    t->counted = test_chance(random, 2);
    t->masked = test_chance(random, 2);
    t->averaging = averagings[test_between(random, 0, 5)];
    test_tensor_make(&t->x, random, SLOT_X, dtype, rank, shape, test_random_layout(random, !t->in_place));
    test_tensor_make(&t->q, random, SLOT_Q, scheme->dtype, rank, shape, test_random_layout(random, false));
    test_tensor_make(&t->y, random, SLOT_Y, dtype, rank, shape, test_random_layout(random, false));
    test_tensor_make(&t->mask, random, SLOT_MASK, CLQ_U8, 1, &mask_bytes, TEST_CONTIGUOUS);
    test_tensor_make(&t->counts, random, SLOT_COUNTS, CLQ_S64, 1, &three, TEST_CONTIGUOUS);
    test_tensor_make(&t->scale, random, SLOT_SCALE, CLQ_F32, param_rank, param_shape, test_random_layout(random, false));
    test_tensor_make(&t->zero_point, random, SLOT_ZERO_POINT, CLQ_S32, param_rank, param_shape, test_random_layout(random, false));
    test_tensor_make(&t->lo, random, SLOT_LO, CLQ_F32, param_rank, param_shape, test_random_layout(random, false));
    test_tensor_make(&t->hi, random, SLOT_HI, CLQ_F32, param_rank, param_shape, test_random_layout(random, false));
    fill_x(t, random);
    fill_average(t, random);
    t->params = (clq_qparams){.scheme = *scheme, .scale = t->scale.view};
    if (scheme->symmetry == CLQ_ASYMMETRIC || test_chance(random, 2)) t->params.zero_point = t->zero_point.view;
}

static void for_each_tensor(struct trial *t, void (*action)(struct test_tensor *tensor))
{
    struct test_tensor *const tensors[] = {&t->x, &t->q, &t->y, &t->mask, &t->counts, &t->scale, &t->zero_point, &t->lo, &t->hi};
    for (size_t i = 0; i < TEST_COUNT_OF(tensors); i++)
        action(tensors[i]);
}

/* The initial contents, which are expected again. */
static void forget(struct test_tensor *tensor)
{
    test_tensor_reset(tensor);
    test_tensor_sync(tensor);
}

static void compare_all(const struct trial *t, const char *what)
{
    test_note_place("%s", what);
    test_tensor_compare(&t->x, "x");
    test_tensor_compare(&t->scale, "scale");
    test_tensor_compare(&t->zero_point, "zero_point");
    test_tensor_compare(&t->lo, "lo");
    test_tensor_compare(&t->hi, "hi");
    test_tensor_compare(&t->q, "q");
    test_tensor_compare(&t->y, "y");
    test_tensor_compare(&t->mask, "mask");
    test_tensor_compare(&t->counts, "counts");
}

/* ---- running a trial */

static clq_qparams expected_params(const struct trial *t)
{
    clq_qparams expected = t->params;
    expected.scale.data = t->scale.expected.data;
    if (expected.zero_point.dtype != CLQ_DTYPE_NONE) expected.zero_point.data = t->zero_point.expected.data;
    return expected;
}

static void expect_counts(struct trial *t, const int64_t *counts)
{
    for (int64_t i = 0; t->counted && i < 3; i++)
        ref_set(&t->counts.expected, &i, (uint64_t)counts[i]);
}

/* By way of an average that begins empty; where it is put on the way is nobody's business. */
static void expect_dynamic(struct trial *t)
{
    const clq_qparams params = expected_params(t);
    int64_t counts[3], index[CLQ_MAX_RANK] = {0};

    if (ref_elements(t->lo.view.rank, t->lo.view.shape) > 0) {
        do {
            ref_set(&t->lo.expected, index, 0x7f800000);
            ref_set(&t->hi.expected, index, 0xff800000);
        } while (ref_next(t->lo.view.rank, t->lo.view.shape, index));
    }
    ref_observe(&t->x.view, &params.scheme, test_bits(1.0f), &t->lo.expected, &t->hi.expected);
    ref_qparams_from_range(&t->lo.expected, &t->hi.expected, &params);
    ref_quantize(&t->x.view, &params, &t->q.expected, counts);
    expect_counts(t, counts);
    test_tensor_sync(&t->lo);
    test_tensor_sync(&t->hi);
}

static void expect_observe(struct trial *t, const clq_tensor *y)
{
    const clq_qparams params = expected_params(t);
    int64_t counts[3];

    ref_observe(&t->x.view, &params.scheme, test_bits(t->averaging), &t->lo.expected, &t->hi.expected);
    ref_qparams_from_range(&t->lo.expected, &t->hi.expected, &params);
    ref_fake_quantize(&t->x.view, &params, y, t->masked ? &t->mask.expected : NULL, counts);
    expect_counts(t, counts);
}

static clq_status observe(struct trial *t, clq_context *context, const clq_tensor *y)
{
    return clq_observe_fake_quantize(context, &t->x.view, t->averaging, &t->lo.view, &t->hi.view, &t->params, y, t->masked ? &t->mask.view : NULL,
                                     t->counted ? &t->counts.view : NULL);
}

enum step { DYNAMIC, OBSERVE, OBSERVE_IN_PLACE, STEPS };

static void try_scheme(struct test_random *random, struct test_place *places, int32_t place_count, clq_dtype dtype, const clq_scheme *scheme,
                       int32_t rank, const int64_t *shape)
{
    static const char *const names[] = {"dynamic quantize", "observe", "observe in place"};
    struct trial t;

    make_trial(&t, random, dtype, scheme, rank, shape);
    test_note("seed %" PRIu64 ", %s; x %s; q %s; y %s; scale %s; zero_point %s; lo %s; averaging %a;%s%s%s", random->seed, test_describe_scheme(scheme),
              test_describe(&t.x.view), test_describe(&t.q.view), test_describe(&t.y.view), test_describe(&t.params.scale),
              t.params.zero_point.dtype ? test_describe(&t.params.zero_point) : "none", test_describe(&t.lo.view), t.averaging, t.counted ? " counted" : "",
              t.masked ? " masked" : "", t.in_place ? " in place too" : "");
    for (int step = DYNAMIC; step < STEPS; step++) {
        if (step == OBSERVE_IN_PLACE && !t.in_place) continue;
        for_each_tensor(&t, forget);
        if (step == DYNAMIC) expect_dynamic(&t);
        if (step == OBSERVE) expect_observe(&t, &t.y.expected);
        if (step == OBSERVE_IN_PLACE) expect_observe(&t, &t.x.expected);
        for (int32_t i = 0; i < place_count; i++) {
            const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
            clq_context *const context = places[i].context;
            char what[128];
            clq_status status;

            snprintf(what, sizeof what, "[%s, mode %d] %s", places[i].name, (int)mode, names[step]);
            for_each_tensor(&t, test_tensor_reset);
            test_note_place("%s", what);
            test_mode_set(mode);
            if (step == DYNAMIC)
                status = clq_dynamic_quantize(context, &t.x.view, &t.params, &t.q.view, t.counted ? &t.counts.view : NULL);
            else
                status = observe(&t, context, step == OBSERVE ? &t.y.view : &t.x.view);
            test_mode_end(mode);
            TEST_OK(context, status);
            compare_all(&t, what);
        }
        if (step == OBSERVE_IN_PLACE) test_tensor_reset(&t.x);
    }
    test_note_place("%s", "");
    for_each_tensor(&t, test_tensor_free);
}

/* ---- tests */

/* Every combination of types and schemes, on random shapes. The loop runs over float types and quantized types. */
START_TEST(combinations)
{
    struct test_random random = test_random_start(900 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(12, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        for (int32_t kind = 0; kind < 4 * 3 * 2; kind++) {
            int64_t shape[CLQ_MAX_RANK];
            clq_scheme scheme = {.dtype = range_dtypes[_i / 3],
                                 .symmetry = (clq_symmetry)(kind % 4),
                                 .granularity = (clq_granularity)(kind / 4 % 3),
                                 .quotient = (clq_quotient)(kind / 12)};
            const int32_t rank =
                (int32_t)test_between(&random, scheme.granularity == CLQ_PER_TENSOR ? 0 : 1, test_chance(&random, 4) ? CLQ_MAX_RANK : 4);
            test_random_shape(&random, rank, test_chance(&random, 6) ? 3000 : 300, true, shape);
            test_random_axis(&random, &scheme, rank, shape);
            if (test_chance(&random, 3)) test_random_range(&random, &scheme);
            try_scheme(&random, places, place_count, test_float_dtypes[_i % 3], &scheme, rank, shape);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

static void try_shape(struct test_random *random, struct test_place *places, int32_t place_count, const struct test_shape *shape)
{
    const clq_scheme scheme = test_shape_scheme(random, shape, range_dtypes[test_between(random, 0, 5)]);
    try_scheme(random, places, place_count, test_float_dtypes[test_between(random, 0, 2)], &scheme, shape->rank, shape->shape);
}

START_TEST(tiles)
{
    struct test_random random = test_random_start(930 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(12, 2);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, &test_long_shapes[_i]);
    test_places_close(places, place_count);
}
END_TEST

START_TEST(threads)
{
    struct test_random random = test_random_start(960 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(3, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, &test_large_shapes[_i]);
    test_places_close(places, place_count);
}
END_TEST

/* One average over several tensors, as training has it; rounding crosses no ends, so lo <= hi all along. */
START_TEST(many_steps)
{
    struct test_random random = test_random_start(980);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    enum { N = 37 };
    const int64_t n = N, one = 1, steps = test_amount(3000, 300);

    for (int32_t place = 0; place < place_count; place++) {
        clq_context *const context = places[place].context;
        float x[N], y[N], lo = INFINITY, hi = -INFINITY, scale;
        uint32_t expected_lo = 0x7f800000, expected_hi = 0xff800000;
        int32_t zero_point;
        const clq_tensor from = clq_tensor_host(CLQ_F32, x, 1, &n), to = clq_tensor_host(CLQ_F32, y, 1, &n);
        const clq_tensor lo_view = clq_tensor_host(CLQ_F32, &lo, 1, &one), hi_view = clq_tensor_host(CLQ_F32, &hi, 1, &one);
        const clq_tensor expected_lo_view = clq_tensor_host(CLQ_F32, &expected_lo, 1, &one), expected_hi_view = clq_tensor_host(CLQ_F32, &expected_hi, 1, &one);
        const clq_qparams params = {.scheme = {.dtype = CLQ_U8},
                                    .scale = clq_tensor_host(CLQ_F32, &scale, 1, &one),
                                    .zero_point = clq_tensor_host(CLQ_S32, &zero_point, 1, &one)};
        test_note_place("[%s]", places[place].name);
        for (int64_t step = 0; step < steps; step++) {
            const float c = step % 7 == 0 ? 0.3f : 0.01f;
            const int order = (int)test_between(&random, -140, 100);
            for (int i = 0; i < N; i++)
                x[i] = ldexpf((float)test_between(&random, step % 3 == 0 ? 10 : -1000, 1000), step < 200 ? 0 : order);
            TEST_OK(context, clq_observe_fake_quantize(context, &from, c, &lo_view, &hi_view, &params, &to, NULL, NULL));
            ref_observe(&from, &params.scheme, test_bits(c), &expected_lo_view, &expected_hi_view);
            TEST_CHECK(test_bits(lo) == expected_lo && test_bits(hi) == expected_hi, "step %" PRId64 ": [%a, %a], expected [%a, %a]", step, lo, hi,
                       test_float(expected_lo), test_float(expected_hi));
        }
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("dynamic_quantize");
    TCase *const all = test_case(suite, "against the reference"), *const known = test_case(suite, "known results");

    tcase_add_loop_test(all, combinations, 0, TEST_COUNT_OF(range_dtypes) * 3);
    tcase_add_loop_test(all, tiles, 0, test_long_shape_count);
    tcase_add_loop_test(all, threads, 0, test_large_shape_count);
    tcase_add_test(known, many_steps);
    return test_run(suite);
}
