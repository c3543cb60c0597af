/* SPDX-License-Identifier: MIT */
/*
 * clq_requantize() on every table and number of threads against the reference: all types, schemes, granularities on both sides, layouts,
 * floating-point modes of the caller, in place.
 */
#include "config.h"

#include "test_support.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const clq_dtype source_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S32};
static const clq_dtype target_dtypes[] = {CLQ_S8, CLQ_U8};

/* What each operand is for decides where it is put. */
enum { SLOT_X, SLOT_Y, SLOT_SOURCE, SLOT_TARGET = SLOT_SOURCE + 2 };

struct trial {
    struct test_tensor x, y;
    struct test_params source, target;
    bool in_place;
};

/* ---- making a trial */

/* Any bits; for accumulators often such as do not saturate, and the ends. */
static void fill_x(struct trial *t, struct test_random *random)
{
    const clq_tensor *const x = &t->x.view;
    int64_t index[CLQ_MAX_RANK] = {0};

    if (x->dtype != CLQ_S32 || ref_elements(x->rank, x->shape) == 0) return;
    do {
        const int64_t bits = test_between(random, 1, 31);
        int64_t value = test_between(random, -((int64_t)1 << bits), ((int64_t)1 << bits) - 1);
        if (test_chance(random, 20)) value = test_chance(random, 2) ? INT32_MIN : INT32_MAX;
        ref_set(x, index, (uint64_t)value);
    } while (ref_next(x->rank, x->shape, index));
    test_tensor_sync(&t->x);
}

/* Half of all scales of the target are within a few binary orders of those of the source, so that not everything is 0 or an end. */
static void bring_scales_together(struct trial *t, struct test_random *random)
{
    const clq_tensor *const from = &t->source.scale.view, *const to = &t->target.scale.view;
    int64_t index[CLQ_MAX_RANK] = {0}, zeros[CLQ_MAX_RANK] = {0};

    if (ref_elements(to->rank, to->shape) == 0 || ref_elements(from->rank, from->shape) == 0) return;
    do {
        const bool is_alike = from->rank == to->rank && memcmp(from->shape, to->shape, (size_t)to->rank * sizeof *to->shape) == 0;
        const int64_t source = (int64_t)ref_get(from, is_alike ? index : zeros);
        const int64_t orders = t->x.view.dtype == CLQ_S32 ? test_between(random, -2, 26) : test_between(random, -3, 3);
        int64_t scale = source + orders * (1 << 23) + (test_chance(random, 2) ? test_between(random, -(1 << 23), 1 << 23) : 0);
        if (test_chance(random, 2)) continue;
        if (scale < 0x0d800000) scale = 0x0d800000;
        if (scale > 0x71800000) scale = 0x71800000;
        ref_set(to, index, (uint64_t)scale);
    } while (ref_next(to->rank, to->shape, index));
    test_tensor_sync(&t->target.scale);
}

/* Everything but the schemes and the shape is drawn. */
static void make_trial(struct trial *t, struct test_random *random, const clq_scheme *source, const clq_scheme *target, int32_t rank,
                       const int64_t *shape)
{
    memset(t, 0, sizeof *t);
    t->in_place = clq_dtype_bits(source->dtype) == 8 && test_chance(random, 2);
    test_tensor_make(&t->x, random, SLOT_X, source->dtype, rank, shape, test_random_layout(random, !t->in_place));
    test_tensor_make(&t->y, random, SLOT_Y, target->dtype, rank, shape, test_random_layout(random, false));
    test_params_make(&t->source, random, SLOT_SOURCE, source, rank, shape);
    test_params_make(&t->target, random, SLOT_TARGET, target, rank, shape);
    fill_x(t, random);
    bring_scales_together(t, random);
}

static void free_trial(struct trial *t)
{
    test_tensor_free(&t->x);
    test_tensor_free(&t->y);
    test_params_free(&t->source);
    test_params_free(&t->target);
}

/* ---- running a trial */

static void run_trial(struct trial *t, clq_context *context, enum test_mode mode)
{
    clq_status status;

    test_tensor_reset(&t->y);
    test_mode_set(mode);
    status = clq_requantize(context, &t->x.view, &t->source.params, &t->target.params, &t->y.view);
    test_mode_end(mode);
    TEST_OK(context, status);
    test_tensor_compare(&t->y, "y");
    if (t->in_place) {
        clq_tensor view = t->x.view, expected = t->x.expected;
        view.dtype = expected.dtype = t->y.view.dtype;
        test_mode_set(mode);
        status = clq_requantize(context, &t->x.view, &t->source.params, &t->target.params, &view);
        test_mode_end(mode);
        TEST_OK(context, status);
        ref_convert(&t->y.expected, &expected);
        test_tensor_compare(&t->x, "y in place");
        test_tensor_reset(&t->x);
        test_tensor_sync(&t->x);
    }
    test_tensor_compare(&t->x, "x (an input)");
    test_params_compare(&t->source);
    test_params_compare(&t->target);
}

static void try_schemes(struct test_random *random, struct test_place *places, int32_t place_count, const clq_scheme *source, const clq_scheme *target,
                        int32_t rank, const int64_t *shape)
{
    struct trial t;

    make_trial(&t, random, source, target, rank, shape);
    test_note("seed %" PRIu64 ", %s to %s; x %s; y %s; scales %s and %s; zero points %s and %s%s", random->seed, test_describe_scheme(source),
              test_describe_scheme(target), test_describe(&t.x.view), test_describe(&t.y.view), test_describe(&t.source.params.scale),
              test_describe(&t.target.params.scale), t.source.has_zero_point ? test_describe(&t.source.params.zero_point) : "none",
              t.target.has_zero_point ? test_describe(&t.target.params.zero_point) : "none", t.in_place ? "; in place too" : "");
    ref_requantize(&t.x.view, &t.source.params, &t.target.params, &t.y.expected);
    for (int32_t i = 0; i < place_count; i++) {
        const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
        test_note_place("[%s, mode %d]", places[i].name, (int)mode);
        run_trial(&t, places[i].context, mode);
    }
    test_note_place("%s", "");
    free_trial(&t);
}

/* A scheme with the granularity of `like`, or per tensor. */
static clq_scheme scheme_like(struct test_random *random, const clq_scheme *like, clq_dtype dtype, bool per_tensor)
{
    clq_scheme scheme = {.dtype = dtype, .symmetry = (clq_symmetry)test_between(random, 0, 3)};

    if (!per_tensor) {
        scheme.granularity = like->granularity;
        scheme.axis = like->axis;
        scheme.group_size = like->group_size;
    }
    if (dtype != CLQ_S32 && test_chance(random, 3)) test_random_range(random, &scheme);
    return scheme;
}

/* ---- tests */

/* On random shapes, one side per tensor in two of three cases. The loop runs over pairs of types. */
START_TEST(combinations)
{
    struct test_random random = test_random_start(800 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(300, 24);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        const clq_granularity granularity = (clq_granularity)(repeat % 3);
        const int32_t side = (int32_t)test_between(&random, 0, 2);
        const int32_t rank = (int32_t)test_between(&random, granularity == CLQ_PER_TENSOR ? 0 : 1, test_chance(&random, 4) ? CLQ_MAX_RANK : 4);
        int64_t shape[CLQ_MAX_RANK];
        clq_scheme like = {.granularity = granularity};

        test_random_shape(&random, rank, test_chance(&random, 6) ? 3000 : 300, true, shape);
        test_random_axis(&random, &like, rank, shape);
        const clq_scheme source = scheme_like(&random, &like, source_dtypes[_i / 2], side == 0);
        const clq_scheme target = scheme_like(&random, &like, target_dtypes[_i % 2], side == 1);
        try_schemes(&random, places, place_count, &source, &target, rank, shape);
    }
    test_places_close(places, place_count);
}
END_TEST

static void try_shape(struct test_random *random, struct test_place *places, int32_t place_count, const struct test_shape *shape)
{
    const clq_scheme like = {.granularity = shape->granularity, .axis = shape->axis, .group_size = shape->group_size};
    const int32_t side = (int32_t)test_between(random, 0, 2);
    const clq_scheme source = scheme_like(random, &like, source_dtypes[test_between(random, 0, 4)], side == 0);
    const clq_scheme target = scheme_like(random, &like, target_dtypes[test_between(random, 0, 1)], side == 1);
    try_schemes(random, places, place_count, &source, &target, shape->rank, shape->shape);
}

START_TEST(tiles)
{
    struct test_random random = test_random_start(820 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(20, 3);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, &test_long_shapes[_i]);
    test_places_close(places, place_count);
}
END_TEST

START_TEST(threads)
{
    struct test_random random = test_random_start(850 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(6, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, &test_large_shapes[_i]);
    test_places_close(places, place_count);
}
END_TEST

/* Every value of s8 and u8 by many multipliers, ties among them: m = k / 2^j. */
START_TEST(all_bytes)
{
    struct test_random random = test_random_start(870);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 256, repeats = test_amount(4000, 200);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        const clq_dtype from = source_dtypes[repeat % 2], to = target_dtypes[repeat / 2 % 2];
        float scales[2] = {(float)test_between(&random, 1, 64), test_chance(&random, 3) ? 3.0f : (float)(1 << test_between(&random, 0, 7))};
        int32_t zero_points[2] = {(int32_t)test_between(&random, 0, 127), (int32_t)test_between(&random, 0, 127)};
        uint8_t x[256], y[256], expected[256];
        const clq_tensor source = clq_tensor_host(from, x, 1, &n), target = clq_tensor_host(to, y, 1, &n), wanted = clq_tensor_host(to, expected, 1, &n);
        const clq_qparams x_params = {.scheme = {.dtype = from},
                                      .scale = clq_tensor_host(CLQ_F32, &scales[0], 0, NULL),
                                      .zero_point = clq_tensor_host(CLQ_S32, &zero_points[0], 0, NULL)},
                          y_params = {.scheme = {.dtype = to},
                                      .scale = clq_tensor_host(CLQ_F32, &scales[1], 0, NULL),
                                      .zero_point = clq_tensor_host(CLQ_S32, &zero_points[1], 0, NULL)};
        for (int i = 0; i < 256; i++)
            x[i] = (uint8_t)i;
        ref_requantize(&source, &x_params, &y_params, &wanted);
        for (int32_t place = 0; place < place_count; place++) {
            TEST_OK(places[place].context, clq_requantize(places[place].context, &source, &x_params, &y_params, &target));
            TEST_CHECK(memcmp(y, expected, sizeof y) == 0, "%s: scales %g and %g, zero points %d and %d", places[place].name, (double)scales[0],
                       (double)scales[1], (int)zero_points[0], (int)zero_points[1]);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

/* A product of matrices brought to 8 bits, the ends of s32, integers that a float rounds, multipliers at their bounds. */
START_TEST(accumulators)
{
    static const struct {
        int32_t acc;
        float sx, sy;
        int32_t z;
        int expected; /* u8 */
    } cases[] = {
        {INT32_MIN, 1.0f, 1.0f, 10, 0},
        {INT32_MAX, 1.0f, 1.0f, 10, 255},
        {INT32_MAX, 0x1p-100f, 0x1p100f, 7, 7},  /* m = 2^-64 */
        {1, 0x1p100f, 0x1p-100f, 0, 255},        /* m = 2^64 */
        {-1, 0x1p100f, 0x1p-100f, 255, 0},
        {16777217, 0x1p-24f, 0x1p-1f, 0, 2},     /* float() gives 2^24: exactly 2 */
        {33554435, 0x1p-25f, 0x1p-1f, 0, 2},     /* 2^25 + 3 gives 2^25 + 4 */
        {5, 0.5f, 1.0f, 0, 2},                   /* 2.5, ties to even */
        {7, 0.5f, 1.0f, 0, 4},                   /* 3.5 */
        {-5, 0.5f, 1.0f, 100, 98},
        {1000, 0.001f, 0.1f, 3, 13},
    };
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 67;

    for (int32_t place = 0; place < place_count; place++) {
        for (size_t k = 0; k < TEST_COUNT_OF(cases); k++) {
            int32_t x[67];
            uint8_t y[67];
            const clq_tensor source = clq_tensor_host(CLQ_S32, x, 1, &n), target = clq_tensor_host(CLQ_U8, y, 1, &n);
            float sx = cases[k].sx, sy = cases[k].sy;
            int32_t z = cases[k].z;
            const clq_qparams x_params = {.scheme = {.dtype = CLQ_S32}, .scale = clq_tensor_host(CLQ_F32, &sx, 0, NULL)},
                              y_params = {.scheme = {.dtype = CLQ_U8},
                                          .scale = clq_tensor_host(CLQ_F32, &sy, 0, NULL),
                                          .zero_point = clq_tensor_host(CLQ_S32, &z, 0, NULL)};
            for (int i = 0; i < 67; i++)
                x[i] = cases[k].acc;
            TEST_OK(places[place].context, clq_requantize(places[place].context, &source, &x_params, &y_params, &target));
            for (int i = 0; i < 67; i++)
                TEST_CHECK(y[i] == cases[k].expected, "%s: case %zu, element %d: got %d, must be %d", places[place].name, k, i, y[i], cases[k].expected);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("requantize");
    TCase *const all = test_case(suite, "against the reference"), *const known = test_case(suite, "known results");

    tcase_add_loop_test(all, combinations, 0, TEST_COUNT_OF(source_dtypes) * 2);
    tcase_add_loop_test(all, tiles, 0, test_long_shape_count);
    tcase_add_loop_test(all, threads, 0, test_large_shape_count);
    tcase_add_test(known, all_bytes);
    tcase_add_test(known, accumulators);
    return test_run(suite);
}
