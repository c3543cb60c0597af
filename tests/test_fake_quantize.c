/* SPDX-License-Identifier: MIT */
/*
 * clq_fake_quantize() and its gradients on every table and number of threads against the reference: types, schemes, granularities, layouts,
 * floating-point modes of the caller, in place; gradients against finite differences too.
 */
#include "config.h"

#include "test_support.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const clq_dtype range_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S16, CLQ_U16};

/* What each operand is for decides where it is put. */
enum { SLOT_X, SLOT_Y, SLOT_MASK, SLOT_COUNTS, SLOT_PARAMS, SLOT_DY = SLOT_PARAMS + 2, SLOT_DX, SLOT_DSCALE, SLOT_DZERO_POINT };

/* One tensor fake-quantized, and the way back. */
struct trial {
    struct test_tensor x, y, mask, counts, dy, dx, dscale, dzero_point;
    struct test_params p;
    bool masked, counted, in_place;
    bool wild; /* dy has any bits: its sums mean nothing */
    float gradient_scale;
    struct ref_sum *dscale_sums, *dzero_point_sums;
};

/* ---- making a trial */

/* A finite gradient whose sums neither overflow nor vanish. */
static uint32_t random_gradient(struct test_random *random)
{
    const float value = ldexpf((float)test_between(random, -2048, 2048), (int)test_between(random, -16, 0));
    return test_chance(random, 20) ? 0x80000000u : test_bits(value);
}

static void fill_dy(struct trial *t, struct test_random *random)
{
    const clq_tensor *const dy = &t->dy.view;
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(dy->rank, dy->shape) == 0) return;
    do {
        ref_set(dy, index, ref_cast(CLQ_F32, dy->dtype, t->wild ? (uint32_t)test_next(random) : random_gradient(random)));
    } while (ref_next(dy->rank, dy->shape, index));
    test_tensor_sync(&t->dy);
}

static void make_sums(struct trial *t)
{
    const size_t n = (size_t)ref_elements(t->dscale.view.rank, t->dscale.view.shape) + 1;
    t->dscale_sums = calloc(n, sizeof *t->dscale_sums);
    t->dzero_point_sums = calloc(n, sizeof *t->dzero_point_sums);
    TEST_CHECK(t->dscale_sums != NULL && t->dzero_point_sums != NULL, "no memory for the test");
}

/* Everything but the scheme and the shape is drawn. */
static void make_trial(struct trial *t, struct test_random *random, clq_dtype dtype, const clq_scheme *scheme, int32_t rank, const int64_t *shape)
{
    static const float gradient_scales[] = {1.0f, -0.5f, 0.0123f, 0x1p-12f};
    const int64_t three = 3, mask_bytes = (ref_elements(rank, shape) + 7) / 8;

    memset(t, 0, sizeof *t);
    t->in_place = test_chance(random, 4);
    t->masked = !test_chance(random, 3);
    t->counted = test_chance(random, 2);
    t->wild = test_chance(random, 4);
    t->gradient_scale = gradient_scales[test_between(random, 0, 3)];
    test_params_make(&t->p, random, SLOT_PARAMS, scheme, rank, shape);
    test_tensor_make(&t->x, random, SLOT_X, dtype, rank, shape, test_random_layout(random, !t->in_place));
    test_tensor_make(&t->y, random, SLOT_Y, dtype, rank, shape, test_random_layout(random, false));
    test_tensor_make(&t->dy, random, SLOT_DY, dtype, rank, shape, test_random_layout(random, !t->in_place));
    test_tensor_make(&t->dx, random, SLOT_DX, dtype, rank, shape, test_random_layout(random, false));
    test_tensor_make(&t->mask, random, SLOT_MASK, CLQ_U8, 1, &mask_bytes, TEST_CONTIGUOUS);
    test_tensor_make(&t->counts, random, SLOT_COUNTS, CLQ_S64, 1, &three, TEST_CONTIGUOUS);
    test_tensor_make(&t->dscale, random, SLOT_DSCALE, CLQ_F32, t->p.scale.view.rank, t->p.scale.view.shape, test_random_layout(random, false));
    test_tensor_make(&t->dzero_point, random, SLOT_DZERO_POINT, CLQ_F32, t->p.scale.view.rank, t->p.scale.view.shape,
                     test_random_layout(random, false));
    test_params_fill(&t->p, random, &t->x);
    fill_dy(t, random);
    make_sums(t);
}

static void free_trial(struct trial *t)
{
    struct test_tensor *const tensors[] = {&t->x, &t->y, &t->mask, &t->counts, &t->dy, &t->dx, &t->dscale, &t->dzero_point};
    for (size_t i = 0; i < TEST_COUNT_OF(tensors); i++)
        test_tensor_free(tensors[i]);
    test_params_free(&t->p);
    free(t->dscale_sums);
    free(t->dzero_point_sums);
}

static void compute_expected(struct trial *t)
{
    int64_t counts[3];

    ref_fake_quantize(&t->x.view, &t->p.params, &t->y.expected, &t->mask.expected, counts);
    for (int64_t i = 0; i < 3; i++)
        ref_set(&t->counts.expected, &i, (uint64_t)counts[i]);
    ref_backward(&t->dy.view, &t->x.view, &t->p.params, NULL, &t->dx.expected);
    if (!t->wild) ref_learnable_sums(&t->dy.view, &t->x.view, &t->p.params, t->dscale_sums, t->dzero_point_sums);
}

/* ---- running a trial */

/* Each element of `got` is g times its sum, up to 1e-6 of what its terms come to and to what may be flushed. */
static void compare_sums(struct test_tensor *got, const struct ref_sum *sums, float g, const char *name)
{
    int64_t index[CLQ_MAX_RANK] = {0}, i = 0;

    if (ref_elements(got->view.rank, got->view.shape) == 0) return;
    do {
        const uint64_t bits = ref_get(&got->view, index);
        const long double value = test_float((uint32_t)bits), expected = g * sums[i].sum,
                          bound = 1e-6L * fabsl(g * sums[i].magnitude) + 0x1p-126L;
        TEST_CHECK(fabsl(g * sums[i].magnitude) > 0x1p127L || fabsl(value - expected) <= bound,
                   "%s, parameter %" PRId64 ": got %La, expected %La: %Lg of the terms' magnitudes", name, i, value, expected,
                   fabsl(value - expected) / fabsl(g * sums[i].magnitude));
        ref_set(&got->expected, index, bits);
        i++;
    } while (ref_next(got->view.rank, got->view.shape, index));
    test_tensor_compare(got, name);
}

static void forward(struct trial *t, clq_context *context, enum test_mode mode)
{
    clq_status status;

    test_mode_set(mode);
    status = clq_fake_quantize(context, &t->x.view, &t->p.params, &t->y.view, t->masked ? &t->mask.view : NULL,
                               t->counted ? &t->counts.view : NULL);
    test_mode_end(mode);
    TEST_OK(context, status);
    test_tensor_compare(&t->y, "y");
    if (t->masked) test_tensor_compare(&t->mask, "mask");
    if (t->counted) test_tensor_compare(&t->counts, "counts");
}

/* dx by the mask if `masked`, else by x. */
static void backward(struct trial *t, clq_context *context, enum test_mode mode, bool masked)
{
    clq_status status;

    test_tensor_reset(&t->dx);
    test_mode_set(mode);
    if (masked)
        status = clq_fake_quantize_backward(context, &t->dy.view, NULL, NULL, &t->mask.view, &t->dx.view);
    else
        status = clq_fake_quantize_backward(context, &t->dy.view, &t->x.view, &t->p.params, NULL, &t->dx.view);
    test_mode_end(mode);
    TEST_OK(context, status);
    test_tensor_compare(&t->dx, masked ? "dx by the mask" : "dx by x");
}

static void learnable(struct trial *t, clq_context *context, enum test_mode mode)
{
    const bool has_dzero_point = !t->p.resolved.symmetric && t->masked;
    clq_status status;

    test_tensor_reset(&t->dx);
    test_tensor_reset(&t->dscale);
    test_tensor_reset(&t->dzero_point);
    test_mode_set(mode);
    status = clq_fake_quantize_backward_learnable(context, &t->dy.view, &t->x.view, &t->p.params, t->gradient_scale, &t->dx.view, &t->dscale.view,
                                                  has_dzero_point ? &t->dzero_point.view : NULL);
    test_mode_end(mode);
    TEST_OK(context, status);
    test_tensor_compare(&t->dx, "dx with dscale");
    if (t->wild) return;
    compare_sums(&t->dscale, t->dscale_sums, t->gradient_scale, "dscale");
    if (has_dzero_point) compare_sums(&t->dzero_point, t->dzero_point_sums, t->gradient_scale, "dzero_point");
}

/* `tensor` must have become what `expected` holds, and is made what it was. */
static void compare_in_place(struct test_tensor *tensor, const clq_tensor *expected, const char *name)
{
    if (ref_elements(expected->rank, expected->shape) > 0) ref_convert(expected, &tensor->expected);
    test_tensor_compare(tensor, name);
    test_tensor_reset(tensor);
    test_tensor_sync(tensor);
}

static void run_in_place(struct trial *t, clq_context *context)
{
    const clq_tensor *const x = &t->x.view, *const dy = &t->dy.view;

    TEST_OK(context, clq_fake_quantize(context, x, &t->p.params, x, &t->mask.view, NULL));
    test_tensor_compare(&t->mask, "mask in place");
    compare_in_place(&t->x, &t->y.expected, "y in place");
    TEST_OK(context, clq_fake_quantize_backward(context, dy, NULL, NULL, &t->mask.view, dy));
    compare_in_place(&t->dy, &t->dx.expected, "dx by the mask in place");
    TEST_OK(context, clq_fake_quantize_backward(context, dy, x, &t->p.params, NULL, dy));
    compare_in_place(&t->dy, &t->dx.expected, "dx by x in place");
    TEST_OK(context, clq_fake_quantize_backward_learnable(context, dy, x, &t->p.params, t->gradient_scale, dy, &t->dscale.view, NULL));
    compare_in_place(&t->dy, &t->dx.expected, "dx with dscale in place");
    if (!t->wild) compare_sums(&t->dscale, t->dscale_sums, t->gradient_scale, "dscale in place");
}

static void run_trial(struct trial *t, clq_context *context, enum test_mode mode)
{
    test_tensor_reset(&t->y);
    test_tensor_reset(&t->mask);
    test_tensor_reset(&t->counts);
    forward(t, context, mode);
    if (t->masked) backward(t, context, mode, true);
    backward(t, context, mode, false);
    learnable(t, context, mode);
    if (t->in_place) run_in_place(t, context);
    test_tensor_compare(&t->x, "x (an input)");
    test_tensor_compare(&t->dy, "dy (an input)");
    test_params_compare(&t->p);
}

static void note_trial(const struct trial *t, const struct test_random *random)
{
    test_note("seed %" PRIu64 ", %s; x %s; y %s; dy %s; dx %s; scale %s; zero_point %s; dscale %s;%s%s%s%s", random->seed,
              test_describe_scheme(&t->p.params.scheme), test_describe(&t->x.view), test_describe(&t->y.view), test_describe(&t->dy.view),
              test_describe(&t->dx.view), test_describe(&t->p.params.scale), t->p.has_zero_point ? test_describe(&t->p.params.zero_point) : "none",
              test_describe(&t->dscale.view), t->masked ? " masked" : "", t->counted ? " counted" : "", t->in_place ? " in place too" : "",
              t->wild ? " wild" : "");
}

static void try_scheme(struct test_random *random, struct test_place *places, int32_t place_count, clq_dtype dtype, const clq_scheme *scheme,
                       int32_t rank, const int64_t *shape)
{
    struct trial trial;

    make_trial(&trial, random, dtype, scheme, rank, shape);
    note_trial(&trial, random);
    compute_expected(&trial);
    for (int32_t i = 0; i < place_count; i++) {
        const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
        test_note_place("[%s, mode %d]", places[i].name, (int)mode);
        run_trial(&trial, places[i].context, mode);
    }
    test_note_place("%s", "");
    free_trial(&trial);
}

/* The range of so many bits, 2 to 8. */
static void few_bits(clq_scheme *scheme, int32_t bits)
{
    const bool is_unsigned = scheme->dtype == CLQ_U8 || scheme->dtype == CLQ_U16;
    scheme->qmin = is_unsigned ? 0 : -(1 << (bits - 1));
    scheme->qmax = scheme->qmin + (1 << bits) - 1;
}

/* ---- tests */

/* Every combination of types and schemes, on random shapes. The loop runs over float types and types of the range. */
START_TEST(combinations)
{
    struct test_random random = test_random_start(700 + (uint64_t)_i);
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
            if (test_chance(&random, 3))
                test_random_range(&random, &scheme);
            else if (clq_dtype_bits(scheme.dtype) >= 8 && test_chance(&random, 2))
                few_bits(&scheme, (int32_t)test_between(&random, 2, 8));
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
    struct test_random random = test_random_start(730 + (uint64_t)_i);
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
    struct test_random random = test_random_start(760 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(3, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, &test_large_shapes[_i]);
    test_places_close(places, place_count);
}
END_TEST

#ifndef TEST_OPENCL
/* Sums have the same bits on any number of threads of one table. */
START_TEST(sums_on_threads)
{
    struct test_random random = test_random_start(780 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const clq_scheme scheme = {.dtype = CLQ_U8,
                               .granularity = test_large_shapes[_i].granularity,
                               .axis = test_large_shapes[_i].axis,
                               .group_size = test_large_shapes[_i].group_size};

    for (int64_t i = 0; i < test_amount(3, 1); i++) {
        struct trial trial;
        size_t bytes;
        unsigned char *first;

        make_trial(&trial, &random, test_float_dtypes[(i + _i) % 3], &scheme, test_large_shapes[_i].rank, test_large_shapes[_i].shape);
        trial.wild = false;
        trial.masked = true; /* with dzero_point */
        fill_dy(&trial, &random);
        note_trial(&trial, &random);
        compute_expected(&trial);
        bytes = trial.dscale.size_bytes;
        first = malloc(bytes + trial.dzero_point.size_bytes);
        TEST_CHECK(first != NULL, "no memory for the test");
        for (int32_t place = 0; place < place_count; place++) {
            const bool is_first = place % 4 == 0; /* the places of a table follow each other */
            test_note_place("[%s]", places[place].name);
            learnable(&trial, places[place].context, TEST_MODE_PLAIN);
            if (is_first) {
                memcpy(first, trial.dscale.memory, bytes);
                memcpy(first + bytes, trial.dzero_point.memory, trial.dzero_point.size_bytes);
            }
            TEST_CHECK(memcmp(first, trial.dscale.memory, bytes) == 0, "dscale depends on the threads");
            TEST_CHECK(memcmp(first + bytes, trial.dzero_point.memory, trial.dzero_point.size_bytes) == 0, "dzero_point depends on the threads");
        }
        free(first);
        free_trial(&trial);
    }
    test_places_close(places, place_count);
}
END_TEST
#endif

/* NaN becomes what qmin stands for, infinities the ends; none of them has a gradient, nor lets one through that is NaN itself. */
START_TEST(not_numbers)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const uint32_t specials[] = {0x7fc00000, 0xffc00001, 0x7f800001, 0x7f800000, 0xff800000, 0x7149f2ca, 0xf149f2ca, 0x3f800000, 0x80000001};
    const float expected[] = {-3.5f, -3.5f, -3.5f, 120.0f, -3.5f, 120.0f, -3.5f, 1.0f, 0.0f};
    enum { N = 9 * 29 };
    const int64_t n = N, mask_bytes = (N + 7) / 8, three = 3;

    for (int32_t place = 0; place < place_count; place++) {
        const float scale = 0.5f;
        const int32_t z = 10;
        float x[N], y[N], dy[N], dx[N], dscale = 0, dzero_point = 0;
        uint8_t mask[(N + 7) / 8];
        int64_t counts[3];
        const clq_tensor x_view = clq_tensor_host(CLQ_F32, x, 1, &n), y_view = clq_tensor_host(CLQ_F32, y, 1, &n),
                         dy_view = clq_tensor_host(CLQ_F32, dy, 1, &n), dx_view = clq_tensor_host(CLQ_F32, dx, 1, &n),
                         mask_view = clq_tensor_host(CLQ_U8, mask, 1, &mask_bytes), counts_view = clq_tensor_host(CLQ_S64, counts, 1, &three),
                         dscale_view = clq_tensor_host(CLQ_F32, &dscale, 0, NULL), dzero_point_view = clq_tensor_host(CLQ_F32, &dzero_point, 0, NULL);
        const clq_qparams params = {.scheme = {.dtype = CLQ_U8, .qmin = 3, .qmax = 250},
                                    .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                                    .zero_point = clq_tensor_host(CLQ_S32, &z, 0, NULL)};
        clq_context *const context = places[place].context;
        test_note_place("[%s]", places[place].name);
        for (int i = 0; i < N; i++) {
            x[i] = test_float(specials[i % 9]);
            dy[i] = i % 9 < 3 ? NAN : 1.0f;
        }
        TEST_OK(context, clq_fake_quantize(context, &x_view, &params, &y_view, &mask_view, &counts_view));
        for (int i = 0; i < N; i++) {
            TEST_CHECK(test_bits(y[i]) == test_bits(expected[i % 9]), "x 0x%08x gives %a, must give %a", specials[i % 9], y[i], expected[i % 9]);
            TEST_CHECK((mask[i / 8] >> i % 8 & 1) == (i % 9 >= 7), "bit %d of the mask", i);
        }
        TEST_CHECK(mask[mask_bytes - 1] >> N % 8 == 0, "spare bits 0x%02x", mask[mask_bytes - 1]);
        TEST_CHECK(counts[0] == 3 * 29 && counts[1] == 2 * 29 && counts[2] == 2 * 29, "counts %" PRId64 ", %" PRId64 ", %" PRId64, counts[0], counts[1],
                   counts[2]);
        for (int way = 0; way < 3; way++) {
            if (way == 0) TEST_OK(context, clq_fake_quantize_backward(context, &dy_view, NULL, NULL, &mask_view, &dx_view));
            if (way == 1) TEST_OK(context, clq_fake_quantize_backward(context, &dy_view, &x_view, &params, NULL, &dx_view));
            if (way == 2) {
                for (int i = 0; i < N; i++) /* where x is NaN, no gradient counts */
                    dy[i] = 1.0f;
                TEST_OK(context,
                        clq_fake_quantize_backward_learnable(context, &dy_view, &x_view, &params, 0.5f, &dx_view, &dscale_view, &dzero_point_view));
                /* Twice above, twice below; 1 / s is an integer, and a denormal is next to one. */
                TEST_CHECK(fabsf(dscale - 0.5f * 29 * (2 * 240 - 2 * 7)) < 0.01f, "dscale %a", dscale);
                TEST_CHECK(fabsf(dzero_point - 0.5f * 29 * 4 * -0.5f) < 0.001f, "dzero_point %a", dzero_point);
            }
            for (int i = 0; i < N; i++)
                TEST_CHECK(test_bits(dx[i]) == (i % 9 >= 7 ? 0x3f800000 : 0), "way %d, dx[%d] is %a", way, i, dx[i]);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

/* ---- finite differences */

enum { STEPS = 1000 };

struct slope_bench {
    float x[STEPS], y[STEPS], dy[STEPS], dx[STEPS], scale, dscale, dzero_point;
    int32_t zero_point;
};

/* sum dy * fake_quantize(x) by the scale, the zero point and x moved by so much. */
static double loss(struct slope_bench *b, clq_context *context, float more_scale, int32_t more_zero_point, float more_x)
{
    const int64_t n = STEPS;
    float x[STEPS] = {0};
    const float scale = b->scale + more_scale;
    const int32_t zero_point = b->zero_point + more_zero_point;
    const clq_tensor from = clq_tensor_host(CLQ_F32, x, 1, &n), to = clq_tensor_host(CLQ_F32, b->y, 1, &n);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .qmin = -20, .qmax = 11},
                                .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                                .zero_point = clq_tensor_host(CLQ_S32, &zero_point, 0, NULL)};
    double sum = 0;

    for (int i = 0; i < STEPS; i++)
        x[i] = b->x[i] + more_x;
    TEST_OK(context, clq_fake_quantize(context, &from, &params, &to, NULL, NULL));
    for (int i = 0; i < STEPS; i++)
        sum += (double)b->dy[i] * b->y[i];
    return sum;
}

static void differentiate(struct slope_bench *b, clq_context *context)
{
    const int64_t n = STEPS;
    const clq_tensor x = clq_tensor_host(CLQ_F32, b->x, 1, &n), dy = clq_tensor_host(CLQ_F32, b->dy, 1, &n), dx = clq_tensor_host(CLQ_F32, b->dx, 1, &n),
                     dscale = clq_tensor_host(CLQ_F32, &b->dscale, 0, NULL), dzero_point = clq_tensor_host(CLQ_F32, &b->dzero_point, 0, NULL);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .qmin = -20, .qmax = 11},
                                .scale = clq_tensor_host(CLQ_F32, &b->scale, 0, NULL),
                                .zero_point = clq_tensor_host(CLQ_S32, &b->zero_point, 0, NULL)};
    TEST_OK(context, clq_fake_quantize_backward_learnable(context, &dy, &x, &params, 1.0f, &dx, &dscale, &dzero_point));
}

/*
 * The loss is L = sum dy * y, x being quarters of steps so that nothing small changes a rounding, and nothing next to an end of the range.
 * By s, at a fixed rounding, dy/ds = rne(x / s) inside and qmin - z or qmax - z outside; the straight-through gradient of s * rne(x / s) takes rne' = 1,
 * which adds s * (-x / s^2) = -x / s inside: dscale = dL/ds - sum over inside of dy * x / s.
 * By z, a step moves the ends of the range alone, -s each: dzero_point = L(z + 1) - L(z).
 * By x, a step of s moves y by s inside and not at all outside: sum of dx = (L(x + s) - L(x)) / s.
 */
START_TEST(finite_differences)
{
    struct test_random random = test_random_start(790);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);

    for (int32_t place = 0; place < place_count; place++) {
        clq_context *const context = places[place].context;
        struct slope_bench b = {.scale = 0.25f, .zero_point = -3};
        const float h = 0x1p-12f;
        double straight_through = 0, dx_sum = 0, difference;

        test_note_place("[%s]", places[place].name);
        for (int i = 0; i < STEPS; i++) {
            /* Steps -17..14 are inside at the zero point -3; those from -15 to 12 stay so, those beyond 18 do not matter. */
            const bool is_inside = test_chance(&random, 2);
            const int64_t steps = is_inside ? test_between(&random, -15, 12) : test_chance(&random, 2) ? test_between(&random, 18, 40) : -test_between(&random, 21, 50);
            b.x[i] = ((float)steps + 0.25f * (float)test_between(&random, -1, 1)) * b.scale;
            b.dy[i] = (float)test_between(&random, -64, 64) / 16;
            if (is_inside) straight_through += (double)b.dy[i] * b.x[i] / b.scale;
        }
        differentiate(&b, context);
        difference = (loss(&b, context, h, 0, 0) - loss(&b, context, -h, 0, 0)) / (2 * h) - straight_through;
        TEST_CHECK(fabs(difference - b.dscale) < 1e-6 * STEPS * 4 * 20, "dscale %a, by difference %a", b.dscale, difference);
        difference = loss(&b, context, 0, 1, 0) - loss(&b, context, 0, 0, 0);
        TEST_CHECK(fabs(difference - b.dzero_point) < 1e-6 * STEPS * 4 * 0.25, "dzero_point %a, by difference %a", b.dzero_point, difference);
        for (int i = 0; i < STEPS; i++)
            dx_sum += b.dx[i];
        difference = (loss(&b, context, 0, 0, b.scale) - loss(&b, context, 0, 0, 0)) / b.scale;
        TEST_CHECK(dx_sum == difference, "sum of dx %a, by difference %a", dx_sum, difference);
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("fake_quantize");
    TCase *const all = test_case(suite, "against the reference"), *const known = test_case(suite, "known results");

    tcase_add_loop_test(all, combinations, 0, TEST_COUNT_OF(range_dtypes) * 3);
    tcase_add_loop_test(all, tiles, 0, test_long_shape_count);
    tcase_add_loop_test(all, threads, 0, test_large_shape_count);
#ifndef TEST_OPENCL
    tcase_add_loop_test(all, sums_on_threads, 0, test_large_shape_count);
#endif
    tcase_add_test(known, not_numbers);
    tcase_add_test(known, finite_differences);
    return test_run(suite);
}
