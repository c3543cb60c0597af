/* SPDX-License-Identifier: MIT */
/* clq_scheme_shape(), clq_minmax(), clq_qparams_from_range(), clq_choose_qparams() and clq_qparams_check() on every table against
 * the reference. */
#include "config.h"

#include "reference.h"
#include "test_support.h"
#include <inttypes.h>
#include <string.h>

static const clq_dtype float_dtypes[] = {CLQ_F32, CLQ_F16, CLQ_BF16};
static const clq_dtype derived_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S16, CLQ_U16};

enum { SLOT_X, SLOT_LO, SLOT_HI, SLOT_COUNTS, SLOT_SCALE, SLOT_ZERO_POINT };

static enum test_layout random_layout(struct test_random *random, bool is_input)
{
    if (test_chance(random, 3)) return TEST_CONTIGUOUS;
    return (enum test_layout)test_between(random, 0, is_input ? TEST_BROADCAST : TEST_MIXED);
}

static clq_scheme random_scheme(struct test_random *random, clq_symmetry symmetry, clq_granularity granularity, int32_t rank,
                                const int64_t *shape)
{
    clq_scheme scheme = {.dtype = derived_dtypes[test_between(random, 0, 5)], .symmetry = symmetry, .granularity = granularity};

    if (granularity != CLQ_PER_TENSOR) {
        const int32_t axis = (int32_t)test_between(random, 0, rank - 1);
        scheme.axis = test_chance(random, 2) ? axis : axis - rank;
        scheme.group_size =
            test_chance(random, 4) ? 1 : test_between(random, 1, test_chance(random, 8) ? INT64_MAX : shape[axis] + 2);
    }
    if (test_chance(random, 3)) {
        /* Ranges that every symmetry takes. */
        const bool is_unsigned = scheme.dtype == CLQ_U8 || scheme.dtype == CLQ_U4 || scheme.dtype == CLQ_U16;
        const int32_t reach = (int32_t)test_between(random, 1, 7);
        scheme.qmin = is_unsigned ? (int32_t)test_between(random, 0, 1) : -reach;
        scheme.qmax = is_unsigned ? scheme.qmin + 2 * reach : reach;
    }
    return scheme;
}

/* A tensor's worth of values: clean ones, ones with NaN and infinities, nothing but those, tiny ones around 2^-126. */
static void fill_x(struct test_tensor *tensor, struct test_random *random)
{
    const clq_tensor *const x = &tensor->view;
    const int32_t mood = (int32_t)test_between(random, 0, 6);
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(x->rank, x->shape) == 0) return;
    do {
        uint32_t bits = test_bits((float)test_between(random, -100000, 100000) * 0x1p-12f);
        if (mood == 0 && test_chance(random, 3))
            bits = test_special_floats[test_between(random, 0, test_special_float_count - 1)];
        if (mood == 1) bits = 0x7f800000 | (uint32_t)(test_next(random) & 0x80000003);
        if (mood == 2) bits = (uint32_t)test_next(random) & 0x80ffffff;
        if (mood == 3) bits = (uint32_t)test_next(random);
        if (mood == 4) bits &= 0x7fffffff;
        if (mood == 5) bits |= 0x80000000;
        ref_set(x, index, ref_cast(CLQ_F32, x->dtype, bits));
    } while (ref_next(x->rank, x->shape, index));
    test_tensor_sync(tensor);
}

/* Everything that a range needs: lo and hi, scale and zero point, in any layout. */
struct ranges {
    struct test_tensor x, lo, hi, counts, scale, zero_point;
    clq_qparams params;
    bool counted;
};

static void make_ranges(struct ranges *r, struct test_random *random, clq_dtype dtype, const clq_scheme *scheme, int32_t rank,
                        const int64_t *shape)
{
    static const int64_t three = 3;
    int64_t param_shape[CLQ_MAX_RANK];
    int32_t param_rank;

    ref_scheme_shape(scheme, rank, shape, &param_rank, param_shape);
    if (param_rank == 0 && test_chance(random, 2)) param_shape[param_rank++] = 1;
    test_tensor_make(&r->x, random, SLOT_X, dtype, rank, shape, random_layout(random, true));
    test_tensor_make(&r->lo, random, SLOT_LO, CLQ_F32, param_rank, param_shape, random_layout(random, false));
    test_tensor_make(&r->hi, random, SLOT_HI, CLQ_F32, param_rank, param_shape, random_layout(random, false));
    test_tensor_make(&r->counts, random, SLOT_COUNTS, CLQ_S64, 1, &three, TEST_CONTIGUOUS);
    test_tensor_make(&r->scale, random, SLOT_SCALE, CLQ_F32, param_rank, param_shape, random_layout(random, false));
    test_tensor_make(&r->zero_point, random, SLOT_ZERO_POINT, CLQ_S32, param_rank, param_shape, random_layout(random, false));
    fill_x(&r->x, random);
    r->counted = test_chance(random, 2);
    r->params = (clq_qparams){.scheme = *scheme, .scale = r->scale.view};
    if (scheme->symmetry == CLQ_ASYMMETRIC || test_chance(random, 2)) r->params.zero_point = r->zero_point.view;
}

static void free_ranges(struct ranges *r)
{
    test_tensor_free(&r->x);
    test_tensor_free(&r->lo);
    test_tensor_free(&r->hi);
    test_tensor_free(&r->counts);
    test_tensor_free(&r->scale);
    test_tensor_free(&r->zero_point);
}

static void reset_ranges(struct ranges *r)
{
    test_tensor_reset(&r->lo);
    test_tensor_reset(&r->hi);
    test_tensor_reset(&r->counts);
    test_tensor_reset(&r->scale);
    test_tensor_reset(&r->zero_point);
}

static void note_ranges(const struct ranges *r, const struct test_random *random)
{
    test_note("seed %" PRIu64 ", %s; x %s; lo %s; hi %s; scale %s; zero_point %s", random->seed,
              test_describe_scheme(&r->params.scheme), test_describe(&r->x.view), test_describe(&r->lo.view),
              test_describe(&r->hi.view), test_describe(&r->params.scale),
              r->params.zero_point.dtype ? test_describe(&r->params.zero_point) : "none");
}

static void expect_params(struct ranges *r)
{
    clq_qparams expected = r->params;

    expected.scale.data = r->scale.expected.data;
    expected.zero_point.data = r->zero_point.expected.data;
    ref_qparams_from_range(&r->lo.expected, &r->hi.expected, &expected);
}

/* clq_minmax(), clq_qparams_from_range() on its results, then both in one call. */
static void try_ranges(struct ranges *r, struct test_random *random, struct test_place *places, int32_t place_count)
{
    int64_t counts[3], index[1] = {0};

    note_ranges(r, random);
    ref_minmax(&r->x.view, &r->params.scheme, &r->lo.expected, &r->hi.expected, counts);
    for (; r->counted && index[0] < 3; index[0]++)
        ref_set(&r->counts.expected, index, (uint64_t)counts[index[0]]);
    expect_params(r);
    for (int32_t i = 0; i < place_count; i++) {
        clq_context *const context = places[i].context;
        const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
        clq_status status;

        test_note_place("[%s, mode %d]", places[i].name, (int)mode);
        reset_ranges(r);
        test_mode_set(mode);
        status =
            clq_minmax(context, &r->x.view, &r->params.scheme, &r->lo.view, &r->hi.view, r->counted ? &r->counts.view : NULL);
        test_mode_end(mode);
        TEST_OK(context, status);
        test_tensor_compare(&r->lo, "lo");
        test_tensor_compare(&r->hi, "hi");
        test_tensor_compare(&r->counts, "counts");

        test_mode_set(mode);
        status = clq_qparams_from_range(context, &r->lo.view, &r->hi.view, &r->params);
        test_mode_end(mode);
        TEST_OK(context, status);
        test_tensor_compare(&r->lo, "lo (an input)");
        test_tensor_compare(&r->hi, "hi (an input)");
        test_tensor_compare(&r->scale, "scale");
        test_tensor_compare(&r->zero_point, "zero_point");

        test_tensor_reset(&r->scale);
        test_tensor_reset(&r->zero_point);
        test_mode_set(mode);
        status = clq_choose_qparams(context, &r->x.view, &r->params);
        test_mode_end(mode);
        TEST_OK(context, status);
        test_tensor_compare(&r->scale, "scale (chosen)");
        test_tensor_compare(&r->zero_point, "zero_point (chosen)");

        test_mode_set(mode);
        status = clq_qparams_check(context, &r->x.view, &r->params);
        test_mode_end(mode);
        TEST_OK(context, status);
        test_tensor_compare(&r->x, "x (an input)");
    }
    test_note_place("%s", "");
}

/* Every symmetry and granularity, on random shapes. */
START_TEST(from_data)
{
    struct test_random random = test_random_start(300 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const clq_granularity granularity = (clq_granularity)(_i / 4);
    const int64_t repeats = test_amount(700, 25);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct ranges r;
        int64_t shape[CLQ_MAX_RANK];
        const int32_t rank =
            (int32_t)test_between(&random, granularity == CLQ_PER_TENSOR ? 0 : 1, test_chance(&random, 4) ? CLQ_MAX_RANK : 4);
        test_random_shape(&random, rank, test_chance(&random, 6) ? 6000 : 300, true, shape);
        const clq_scheme scheme = random_scheme(&random, (clq_symmetry)(_i % 4), granularity, rank, shape);
        make_ranges(&r, &random, float_dtypes[test_between(&random, 0, 2)], &scheme, rank, shape);
        try_ranges(&r, &random, places, place_count);
        free_ranges(&r);
    }
    test_places_close(places, place_count);
}
END_TEST

static const struct {
    int32_t rank;
    int64_t shape[4];
    clq_granularity granularity;
    int32_t axis;
    int64_t group_size;
} large_shapes[] = {
    {1, {327700}, CLQ_PER_TENSOR, 0, 0},     {2, {3, 131077}, CLQ_PER_CHANNEL, 0, 0},   {2, {2, 170001}, CLQ_PER_CHANNEL, 1, 0},
    {2, {131077, 3}, CLQ_PER_CHANNEL, 0, 0}, {2, {131077, 3}, CLQ_PER_CHANNEL, 1, 0},   {2, {3, 131077}, CLQ_PER_GROUP, 1, 70001},
    {2, {131077, 3}, CLQ_PER_GROUP, 0, 777}, {3, {5, 257, 259}, CLQ_PER_CHANNEL, 1, 0}, {3, {257, 5, 259}, CLQ_PER_GROUP, 2, 32},
    {2, {577, 571}, CLQ_PER_TENSOR, 0, 0},
};

/* Parts of a reduction on several threads, some of which share a scale. */
START_TEST(threads)
{
    struct test_random random = test_random_start(320 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(4, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct ranges r;
        clq_scheme scheme = {.dtype = derived_dtypes[test_between(&random, 0, 5)],
                             .symmetry = (clq_symmetry)test_between(&random, 0, 3),
                             .granularity = large_shapes[_i].granularity,
                             .axis = large_shapes[_i].axis,
                             .group_size = large_shapes[_i].group_size};
        make_ranges(&r, &random, float_dtypes[test_between(&random, 0, 2)], &scheme, large_shapes[_i].rank,
                    large_shapes[_i].shape);
        try_ranges(&r, &random, places, place_count);
        free_ranges(&r);
    }
    test_places_close(places, place_count);
}
END_TEST

/* Ranges that no data gives: any two finite numbers, on both sides of 0 or not. */
START_TEST(from_range)
{
    struct test_random random = test_random_start(340 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(120, 8);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct ranges r;
        int64_t index[CLQ_MAX_RANK] = {0};
        /* A few times enough ranges for several threads. */
        const int64_t shape[2] = {repeat % 60 == 0 ? 140001 : test_between(&random, 1, 200), 1};
        const clq_scheme scheme = random_scheme(&random, (clq_symmetry)_i, CLQ_PER_CHANNEL, 1, shape);
        make_ranges(&r, &random, CLQ_F32, &scheme, 1, shape);
        do {
            uint32_t lo = (uint32_t)test_next(&random), hi = (uint32_t)test_next(&random);
            if (test_chance(&random, 3)) lo = test_special_floats[test_between(&random, 0, test_special_float_count - 1)];
            if (test_chance(&random, 3)) hi = test_special_floats[test_between(&random, 0, test_special_float_count - 1)];
            if (test_chance(&random, 3)) {
                lo = test_bits(-(float)test_between(&random, 0, 100000) * 0x1p-10f);
                hi = test_bits((float)test_between(&random, 0, 100000) * 0x1p-10f);
            }
            if ((lo & 0x7f800000) == 0x7f800000) lo = 0x80000000;
            if ((hi & 0x7f800000) == 0x7f800000) hi = lo;
            const bool in_order = test_float(lo) <= test_float(hi);
            ref_set(&r.lo.view, index, in_order ? lo : hi);
            ref_set(&r.hi.view, index, in_order ? hi : lo);
        } while (ref_next(1, shape, index));
        test_tensor_sync(&r.lo);
        test_tensor_sync(&r.hi);
        note_ranges(&r, &random);
        expect_params(&r);
        for (int32_t i = 0; i < place_count; i++) {
            const enum test_mode mode = (enum test_mode)test_between(&random, 0, TEST_MODES - 1);
            clq_status status;
            test_note_place("[%s, mode %d]", places[i].name, (int)mode);
            test_tensor_reset(&r.scale);
            test_tensor_reset(&r.zero_point);
            test_mode_set(mode);
            status = clq_qparams_from_range(places[i].context, &r.lo.view, &r.hi.view, &r.params);
            test_mode_end(mode);
            TEST_OK(places[i].context, status);
            test_tensor_compare(&r.scale, "scale");
            test_tensor_compare(&r.zero_point, "zero_point");
        }
        free_ranges(&r);
    }
    test_places_close(places, place_count);
}
END_TEST

static const struct {
    clq_dtype dtype;
    clq_symmetry symmetry;
    float lo, hi, scale;
    int32_t zero_point;
} examples[] = {
    {CLQ_S8, CLQ_ASYMMETRIC, -1.0f, 1.0f, 0x1.010102p-7f, -1},
    {CLQ_S8, CLQ_ASYMMETRIC, -0.5f, 1.5f, 0x1.010102p-7f, -64},
    {CLQ_U8, CLQ_ASYMMETRIC, -10.0f, 30.0f, 0x1.414142p-3f, 64},
    {CLQ_U8, CLQ_ASYMMETRIC, -5.2f, 10.5f, 0x1.f85ec4p-5f, 84},
    {CLQ_U8, CLQ_ASYMMETRIC, 0.0f, 0.0f, 1.0f, 0},
    {CLQ_S8, CLQ_ASYMMETRIC, 0.0f, 0.0f, 1.0f, 0},
    {CLQ_S8, CLQ_ASYMMETRIC, -0.0f, 0x1p-127f, 1.0f, 0},
    {CLQ_U8, CLQ_SYMMETRIC, 0.0f, 0.0f, 1.0f, 128},
    {CLQ_S8, CLQ_SYMMETRIC, -127.0f, 3.0f, 1.0f, 0},
    {CLQ_U8, CLQ_SYMMETRIC, -2.0f, 127.0f, 1.0f, 128},
    {CLQ_U8, CLQ_SYMMETRIC_FULL, -2.0f, 127.5f, 1.0f, 128},
    {CLQ_S8, CLQ_SYMMETRIC_FULL, -127.5f, 3.0f, 1.0f, 0},
    {CLQ_S8, CLQ_POWER_OF_TWO, -127.0f, 3.0f, 1.0f, 0},
    {CLQ_S8, CLQ_POWER_OF_TWO, -127.00001f, 3.0f, 2.0f, 0},
    {CLQ_S4, CLQ_POWER_OF_TWO, 0.0f, 6.0f, 1.0f, 0},
    {CLQ_U4, CLQ_SYMMETRIC, 0.0f, 14.0f, 2.0f, 8},
    {CLQ_S16, CLQ_SYMMETRIC, -32767.0f, 0.0f, 1.0f, 0},
    {CLQ_U16, CLQ_ASYMMETRIC, -32768.0f, 32767.0f, 1.0f, 32768},
    {CLQ_S8, CLQ_ASYMMETRIC, -0x1.fffffep127f, 0x1.fffffep127f, 0x1p100f, 127},
    {CLQ_S8, CLQ_SYMMETRIC, -0x1p-126f, 0.0f, 0x1p-100f, 0},
    {CLQ_S8, CLQ_ASYMMETRIC, 5.0f, 10.0f, 0x1.414142p-5f, -128}, /* the range takes 0 in */
    {CLQ_S8, CLQ_ASYMMETRIC, -10.0f, -5.0f, 0x1.414142p-5f, 127},
};

START_TEST(worked_examples)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 35;

    for (int32_t place = 0; place < place_count; place++) {
        clq_context *const context = places[place].context;
        for (size_t k = 0; k < TEST_COUNT_OF(examples); k++) {
            float lo[35], hi[35], scale[35];
            int32_t zero_point[35];
            const clq_tensor low = clq_tensor_host(CLQ_F32, lo, 1, &n), high = clq_tensor_host(CLQ_F32, hi, 1, &n);
            const clq_qparams params = {
                .scheme = {.dtype = examples[k].dtype, .symmetry = examples[k].symmetry, .granularity = CLQ_PER_CHANNEL},
                .scale = clq_tensor_host(CLQ_F32, scale, 1, &n),
                .zero_point = clq_tensor_host(CLQ_S32, zero_point, 1, &n)};
            for (int64_t i = 0; i < n; i++) {
                lo[i] = examples[k].lo;
                hi[i] = examples[k].hi;
            }
            TEST_OK(context, clq_qparams_from_range(context, &low, &high, &params));
            for (int64_t i = 0; i < n; i++)
                TEST_CHECK(scale[i] == examples[k].scale && zero_point[i] == examples[k].zero_point,
                           "%s, example %zu, [%a, %a]: scale %a, zero point %d, must be %a, %d", places[place].name, k, lo[i],
                           hi[i], scale[i], (int)zero_point[i], examples[k].scale, (int)examples[k].zero_point);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

START_TEST(scheme_shapes)
{
    struct test_random random = test_random_start(360);
    clq_context *const context = test_context(NULL, 1, NULL, NULL);

    for (int64_t repeat = 0; repeat < test_amount(20000, 2000); repeat++) {
        int64_t shape[CLQ_MAX_RANK], expected_shape[CLQ_MAX_RANK], got_shape[CLQ_MAX_RANK];
        int32_t expected_rank, got_rank = 77;
        const clq_granularity granularity = (clq_granularity)test_between(&random, 0, 2);
        const int32_t rank = (int32_t)test_between(&random, granularity == CLQ_PER_TENSOR ? 0 : 1, CLQ_MAX_RANK);
        test_random_shape(&random, rank, 1 << 20, true, shape);
        const clq_scheme scheme = random_scheme(&random, CLQ_SYMMETRIC, granularity, rank, shape);
        /* Only the rank and the shape are read. */
        clq_tensor x = {.dtype = (clq_dtype)77, .memory = (clq_memory)5, .rank = rank, .data = NULL, .offset = -1};
        memcpy(x.shape, shape, (size_t)rank * sizeof *shape);
        if (rank > 0 && test_chance(&random, 10)) x.shape[0] = INT64_MAX / 2 / (1 << 20);
        ref_scheme_shape(&scheme, rank, x.shape, &expected_rank, expected_shape);
        test_note("seed %" PRIu64 ", %s, rank %d", random.seed, test_describe_scheme(&scheme), (int)rank);
        TEST_OK(context, clq_scheme_shape(context, &scheme, &x, &got_rank, got_shape));
        TEST_CHECK(got_rank == expected_rank && memcmp(got_shape, expected_shape, (size_t)got_rank * sizeof *shape) == 0,
                   "rank %d, expected %d, or another shape", (int)got_rank, (int)expected_rank);
    }
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qparams");
    TCase *all = test_case(suite, "against the reference"), *known = test_case(suite, "known results");

    tcase_add_loop_test(all, from_data, 0, 12);
    tcase_add_loop_test(all, threads, 0, TEST_COUNT_OF(large_shapes));
    tcase_add_loop_test(all, from_range, 0, 4);
    tcase_add_test(known, worked_examples);
    tcase_add_test(known, scheme_shapes);
    return test_run(suite);
}
