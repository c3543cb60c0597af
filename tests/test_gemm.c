/* SPDX-License-Identifier: MIT */
/*
 * clq_gemm() on every table and number of threads against the reference: all types, parameters, epilogues, layouts and shapes, B as it is and packed;
 * K at its bounds; f32 operands against f64.
 */
#include "config.h"

#include "test_support.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const clq_dtype operand_dtypes[] = {CLQ_S8, CLQ_U8}, result_dtypes[] = {CLQ_S32, CLQ_F32, CLQ_S8, CLQ_U8};

/* What each operand is for decides where it is put. */
enum { SLOT_A, SLOT_B, SLOT_C, SLOT_BIAS, SLOT_A_PARAMS, SLOT_B_PARAMS = SLOT_A_PARAMS + 2, SLOT_C_PARAMS = SLOT_B_PARAMS + 2 };

/* What a trial is to be; the rest is drawn. */
struct form {
    clq_dtype a, b, c;
    int64_t batch; /* 0: c has rank 2 */
    int64_t m, n, k;
};

struct trial {
    struct test_tensor a, b, c, bias;
    struct test_params a_params, b_params, c_params;
    clq_gemm_args args;
};

/* ---- making a trial */

static int64_t at_least_1(int64_t extent)
{
    return extent > 0 ? extent : 1;
}

/* One of the last two dimensions has stride 1, or an extent of at most 1. Matrices of a batch lie one after the other or in one another. */
static void draw_strides(struct test_random *random, bool is_input, int32_t rank, const int64_t *shape, int64_t *strides)
{
    const int32_t inner = rank - 1 - (int32_t)test_between(random, 0, 1), outer = 2 * rank - 3 - inner;
    const bool is_line = shape[inner] <= 1 || shape[outer] <= 1;
    const int64_t gap = test_chance(random, 2) ? 0 : test_between(random, 1, 70);

    strides[inner] = is_line && test_chance(random, 2) ? test_between(random, 2, 5) : 1;
    strides[outer] = at_least_1(shape[inner]) * strides[inner] + gap;
    if (rank == 3) {
        strides[0] = at_least_1(shape[outer]) * strides[outer] + (test_chance(random, 2) ? 0 : test_between(random, 1, 70));
        if (test_chance(random, 4)) {
            strides[0] = strides[outer];
            strides[outer] *= at_least_1(shape[0]);
        }
        if (test_chance(random, 4)) strides[0] *= -1;
        if (is_input && test_chance(random, 4)) strides[0] = 0;
    }
    if (test_chance(random, 4)) strides[outer] *= -1;
    if (is_line && test_chance(random, 4)) strides[inner] *= -1;
    if (is_input && test_chance(random, 10)) strides[outer] = test_between(random, 0, 1);
}

static void make_matrices(struct test_tensor *tensor, struct test_random *random, int32_t slot, clq_dtype dtype, bool is_contiguous, int32_t rank,
                          int64_t batch, int64_t rows, int64_t cols)
{
    const int64_t extents[3] = {batch, rows, cols}, *const shape = extents + 3 - rank;
    int64_t strides[3];

    draw_strides(random, slot != SLOT_C, rank, shape, strides);
    if (is_contiguous || test_chance(random, 3)) memcpy(strides, clq_tensor_host(dtype, NULL, rank, shape).strides, sizeof strides);
    test_tensor_make_strided(tensor, random, slot, dtype, rank, shape, strides);
    if (clq_dtype_bits(dtype) != 8 || slot == SLOT_C || !test_chance(random, 4) || tensor->size_bytes == 0) return;
    /* One of the ends everywhere. */
    memset(tensor->memory, (dtype == CLQ_S8 ? 0x80 : 0xff) ^ (test_chance(random, 4) ? 0xff : 0), tensor->size_bytes);
    test_tensor_sync(tensor);
}

static clq_scheme draw_scheme(struct test_random *random, clq_dtype dtype, bool may_be_per_channel, int32_t axis, int32_t rank)
{
    clq_scheme scheme = {.dtype = dtype, .symmetry = test_chance(random, 2) ? CLQ_ASYMMETRIC : (clq_symmetry)test_between(random, 1, 3)};

    if (test_chance(random, 3)) test_random_range(random, &scheme);
    if (!may_be_per_channel || test_chance(random, 2)) return scheme;
    scheme.granularity = CLQ_PER_CHANNEL;
    scheme.axis = test_chance(random, 2) ? axis : axis - rank;
    return scheme;
}

/* Every scale within [2^least, 2^(most + 1)). */
static void calm_scales(struct test_random *random, struct test_tensor *scale, int64_t least, int64_t most)
{
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(scale->view.rank, scale->view.shape) == 0) return;
    do {
        ref_set(&scale->view, index, (uint64_t)(test_between(random, 127 + least, 127 + most) << 23 | test_between(random, 0, 0x7fffff)));
    } while (ref_next(scale->view.rank, scale->view.shape, index));
    test_tensor_sync(scale);
}

/* Parameters of A, B and C. In two of three cases scales that give results between the ends. */
static void make_params(struct trial *t, struct test_random *random)
{
    const clq_tensor *const a = &t->a.view, *const b = &t->b.view, *const c = &t->c.view;
    const clq_scheme a_scheme = draw_scheme(random, a->dtype, true, a->rank - 2, a->rank),
                     b_scheme = draw_scheme(random, b->dtype, true, b->rank - 1, b->rank);
    const bool is_8bit = c->dtype == CLQ_S8 || c->dtype == CLQ_U8, are_calm = !test_chance(random, 3);
    const clq_scheme c_scheme = draw_scheme(random, is_8bit ? c->dtype : CLQ_U8, false, 0, c->rank);

    test_params_make(&t->a_params, random, SLOT_A_PARAMS, &a_scheme, a->rank, a->shape);
    test_params_make(&t->b_params, random, SLOT_B_PARAMS, &b_scheme, b->rank, b->shape);
    test_params_make(&t->c_params, random, SLOT_C_PARAMS, &c_scheme, c->rank, c->shape);
    if (are_calm) {
        calm_scales(random, &t->a_params.scale, -8, -4);
        calm_scales(random, &t->b_params.scale, -8, -4);
        calm_scales(random, &t->c_params.scale, -8, 8);
    }
    if (!test_chance(random, 3)) t->args.a_params = &t->a_params.params;
    if (!test_chance(random, 3)) t->args.b_params = &t->b_params.params;
    if (is_8bit) t->args.c_params = &t->c_params.params;
    /* They may be absent here. */
    if (c->dtype == CLQ_S32 && test_chance(random, 3)) t->a_params.params.scale = (clq_tensor){0};
    if (c->dtype == CLQ_S32 && test_chance(random, 3)) t->b_params.params.scale = (clq_tensor){0};
}

/* Any number of bits; for f32 any float too, and those that are special. */
static void make_bias(struct trial *t, struct test_random *random, int64_t n)
{
    const clq_dtype dtype = t->args.c->dtype == CLQ_F32 ? CLQ_F32 : CLQ_S32;
    const bool has_specials = test_chance(random, 2);
    int64_t index[CLQ_MAX_RANK] = {0};

    test_tensor_make(&t->bias, random, SLOT_BIAS, dtype, 1, &n, test_random_layout(random, true));
    if (test_chance(random, 2)) t->args.bias = &t->bias.view;
    if (n == 0) return;
    do {
        const int64_t bits = test_between(random, 1, 31), value = test_between(random, -((int64_t)1 << bits), ((int64_t)1 << bits) - 1);
        uint64_t entry = (uint64_t)value;
        if (dtype == CLQ_F32) entry = test_bits((float)value * 0x1p-12f);
        if (dtype == CLQ_F32 && has_specials && test_chance(random, 3))
            entry = test_special_floats[test_between(random, 0, test_special_float_count - 1)];
        ref_set(&t->bias.view, index, entry);
    } while (ref_next(1, &n, index));
    test_tensor_sync(&t->bias);
}

static void draw_activation(struct test_random *random, clq_gemm_args *args)
{
    static const float bounds[] = {-INFINITY, -100.0f, -1.5f, -0.0f, 0.0f, 0x1p-140f, 6.0f, 1e4f, INFINITY};
    const int64_t low = test_between(random, 0, TEST_COUNT_OF(bounds) - 1), high = test_between(random, low, TEST_COUNT_OF(bounds) - 1);

    args->activation = (clq_activation)test_between(random, 0, 2);
    args->clamp_min = bounds[low];
    args->clamp_max = bounds[high];
}

static void make_trial(struct trial *t, struct test_random *random, const struct form *form)
{
    const int32_t rank = form->batch > 0 ? 3 : 2;
    const bool is_b_single = test_chance(random, 2), is_a_single = is_b_single ? test_chance(random, 8) : test_chance(random, 3);
    const bool is_contiguous = test_chance(random, 4);

    memset(t, 0, sizeof *t);
    make_matrices(&t->a, random, SLOT_A, form->a, is_contiguous, is_a_single ? 2 : rank, form->batch, form->m, form->k);
    make_matrices(&t->b, random, SLOT_B, form->b, is_contiguous, is_b_single ? 2 : rank, form->batch, form->k, form->n);
    make_matrices(&t->c, random, SLOT_C, form->c, is_contiguous, rank, form->batch, form->m, form->n);
    t->args = (clq_gemm_args){.a = &t->a.view, .b = &t->b.view, .c = &t->c.view};
    make_params(t, random);
    make_bias(t, random, form->n);
    if (form->c == CLQ_F32) draw_activation(random, &t->args);
}

static void free_trial(struct trial *t)
{
    test_tensor_free(&t->a);
    test_tensor_free(&t->b);
    test_tensor_free(&t->c);
    test_tensor_free(&t->bias);
    test_params_free(&t->a_params);
    test_params_free(&t->b_params);
    test_params_free(&t->c_params);
}

static const char *describe_side(const clq_qparams *params)
{
    return params != NULL ? test_describe_scheme(&params->scheme) : "none";
}

static void note_trial(const struct trial *t, uint64_t seed)
{
    const clq_gemm_args *const args = &t->args;
    test_note("seed %" PRIu64 "; a %s; b %s; c %s; bias %s; activation %d [%a, %a]; params of a %s%s; of b %s%s; of c %s", seed,
              test_describe(args->a), test_describe(args->b), test_describe(args->c), args->bias != NULL ? test_describe(args->bias) : "none", (int)args->activation,
              (double)args->clamp_min, (double)args->clamp_max, describe_side(args->a_params), t->a_params.has_zero_point ? " with zero points" : "",
              describe_side(args->b_params), t->b_params.has_zero_point ? " with zero points" : "", describe_side(args->c_params));
}

/* ---- running a trial */

static void run_trial(struct trial *t, clq_context *context, enum test_mode mode, bool is_packed)
{
    clq_gemm_args args = t->args;
    clq_packed *packed = NULL;
    clq_status status = CLQ_OK;

    test_tensor_reset(&t->c);
    test_mode_set(mode);
    if (is_packed) {
        status = clq_packed_create(context, args.b, &packed);
        args.packed_b = packed;
        args.b = NULL;
    }
    if (status == CLQ_OK) status = clq_gemm(context, &args);
    test_mode_end(mode);
    TEST_OK(context, status);
    clq_packed_free(packed);
    test_tensor_compare(&t->c, "c");
    test_tensor_compare(&t->a, "a (an input)");
    test_tensor_compare(&t->b, "b (an input)");
    test_tensor_compare(&t->bias, "bias (an input)");
    test_params_compare(&t->a_params);
    test_params_compare(&t->b_params);
    test_params_compare(&t->c_params);
}

static void try_form(struct test_random *random, struct test_place *places, int32_t place_count, const struct form *form)
{
    struct trial t;
    clq_gemm_args args;

    make_trial(&t, random, form);
    note_trial(&t, random->seed);
    args = t.args;
    args.c = &t.c.expected;
    ref_gemm(&args);
    for (int32_t i = 0; i < place_count; i++) {
        for (int is_packed = 0; is_packed < 2; is_packed++) {
            const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
            test_note_place("[%s, mode %d, b %s]", places[i].name, (int)mode, is_packed ? "packed" : "as it is");
            run_trial(&t, places[i].context, mode, is_packed);
        }
    }
    test_note_place("%s", "");
    free_trial(&t);
}

/* The types are drawn. */
static void try_shape(struct test_random *random, struct test_place *places, int32_t place_count, int64_t batch, int64_t m, int64_t n, int64_t k)
{
    const struct form form = {.a = operand_dtypes[test_between(random, 0, 1)],
                              .b = operand_dtypes[test_between(random, 0, 1)],
                              .c = result_dtypes[test_between(random, 0, 3)],
                              .batch = batch,
                              .m = m,
                              .n = n,
                              .k = k};
    try_form(random, places, place_count, &form);
}

/* ---- tests against the reference */

/* Around the sizes of tiles, panels and units along K. */
static const int64_t extents[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  12, 13,  15,  16,  17,  23,  24,  25,  31,  32, 33,
                                  47, 48, 49, 63, 64, 65, 79, 80, 95, 96, 97, 127, 128, 129, 191, 192, 193, 197, 200, 255};

static int64_t random_extent(struct test_random *random)
{
    return extents[test_between(random, test_chance(random, 20) ? 0 : 1, TEST_COUNT_OF(extents) - 1)];
}

/* The loop runs over pairs of operand types and types of results. */
START_TEST(combinations)
{
    struct test_random random = test_random_start(900 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t repeats = test_amount(250, 20), most = test_amount(2000000, 250000);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct form form = {.a = operand_dtypes[_i & 1], .b = operand_dtypes[_i >> 1 & 1], .c = result_dtypes[_i >> 2]};
        do {
            form.m = random_extent(&random);
            form.n = random_extent(&random);
            form.k = test_chance(&random, 8) ? test_between(&random, 256, 700) : random_extent(&random);
        } while (form.m * form.n * form.k > most);
        try_form(&random, places, place_count, &form);
    }
    test_places_close(places, place_count);
}
END_TEST

/* Every pair of extents along two axes, the third drawn. The loop runs over the first extent. */
START_TEST(edges)
{
    struct test_random random = test_random_start(920 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t step = test_amount(1, 7);

    for (size_t other = (size_t)(_i % step); other < TEST_COUNT_OF(extents); other += (size_t)step) {
        const int64_t first = extents[_i], second = extents[other];
        try_shape(&random, places, place_count, 0, first, second, test_between(&random, 0, 40));
        try_shape(&random, places, place_count, 0, first, test_between(&random, 0, 70), second);
        try_shape(&random, places, place_count, 0, test_between(&random, 0, 20), first, second);
    }
    test_places_close(places, place_count);
}
END_TEST

/* Batches: each operand a stack, one matrix for all by rank or by a stride of 0; with and without parameters by row, which keep a batch from
   being one matrix. */
START_TEST(batches)
{
    struct test_random random = test_random_start(970 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t repeats = test_amount(200, 30);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        const int64_t batch = test_chance(&random, 30) ? 0 : test_between(&random, 1, 9), most = test_chance(&random, 4) ? 66 : 18;
        try_shape(&random, places, place_count, batch, test_between(&random, test_chance(&random, 9) ? 0 : 1, most),
                  test_between(&random, test_chance(&random, 9) ? 0 : 1, most), test_between(&random, test_chance(&random, 9) ? 0 : 1, most));
    }
    test_places_close(places, place_count);
}
END_TEST

/* An empty batch, which has no elements. */
START_TEST(empty_batch)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    const int64_t a_shape[3] = {0, 3, 4}, c_shape[3] = {0, 3, 5}, b_shape[2] = {4, 5};
    static int8_t elements[20];
    const clq_tensor a = clq_tensor_host(CLQ_S8, NULL, 3, a_shape), b = clq_tensor_host(CLQ_S8, elements, 2, b_shape),
                     c = clq_tensor_host(CLQ_S32, NULL, 3, c_shape);

    TEST_OK(context, clq_gemm(context, &(clq_gemm_args){.a = &a, .b = &b, .c = &c}));
    clq_context_free(context);
}
END_TEST

/* Past the blocks, strips, groups and chunks of the driver. */
static const struct {
    int64_t batch, m, n, k, quick_n;
} large_shapes[] = {
    {0, 600, 40, 70, 40},      {0, 513, 257, 65, 33},     {0, 1100, 17, 300, 9},  {0, 20, 1100, 40, 1100},  {0, 17, 2100, 33, 1100},
    {0, 20, 40, 5100, 40},     {0, 100, 70, 9000, 20},    {0, 1, 1, 20000, 1},    {0, 700, 1, 3000, 1},     {0, 1, 3000, 1, 3000},
    {0, 1, 1100, 1500, 600},   {0, 2, 1100, 1500, 600},   {0, 5, 1100, 4200, 90}, {0, 8, 600, 5000, 70},    {0, 13, 1100, 900, 600},
    {0, 16, 1100, 1500, 600},  {0, 3, 33, 33025, 9},      {3, 40, 520, 130, 70},  {70, 5, 40, 65, 40},      {130, 1, 64, 64, 64},
    {0, 17, 4200, 4100, 2100}, {5, 17, 1000, 3500, 100},  {3, 18, 4100, 2100, 60},
};

/* With B in both orientations, as a rule: the strides are drawn. */
START_TEST(large)
{
    struct test_random random = test_random_start(1000 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t work = at_least_1(large_shapes[_i].batch) * large_shapes[_i].m * large_shapes[_i].n * large_shapes[_i].k;
    const int64_t repeats = work > 100000000 ? 2 : test_amount(12, 2);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, large_shapes[_i].batch, large_shapes[_i].m, test_amount(large_shapes[_i].n, large_shapes[_i].quick_n),
                  large_shapes[_i].k);
    test_places_close(places, place_count);
}
END_TEST

/* Large enough for several threads to get parts: of rows, of columns, of the batch. */
static const struct {
    int64_t batch, m, n, k;
} threaded_shapes[] = {
    {0, 300, 200, 130}, {0, 1000, 8, 700}, {0, 8, 1000, 700}, {0, 1, 3000, 2100}, {0, 16, 700, 500}, {0, 17, 700, 500}, {0, 70, 70, 1100},
    {4, 65, 130, 130},  {7, 33, 140, 170}, {2, 20, 500, 300}, {90, 3, 100, 200},
};

START_TEST(threads)
{
    struct test_random random = test_random_start(1030 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, true);
    const int64_t repeats = test_amount(8, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++)
        try_shape(&random, places, place_count, threaded_shapes[_i].batch, threaded_shapes[_i].m, threaded_shapes[_i].n, threaded_shapes[_i].k);
    test_places_close(places, place_count);
}
END_TEST

/* ---- known results */

/* Every element of A and B the same; `bound` is the largest K. */
static const struct {
    clq_dtype a_dtype, b_dtype;
    int32_t a, a_zero_point, b, b_zero_point, bound;
} deep[] = {
    {CLQ_S8, CLQ_S8, -128, 0, -128, 0, 131071},  {CLQ_S8, CLQ_S8, -128, 0, 127, 0, 131071},     {CLQ_S8, CLQ_U8, -128, 0, 255, 0, 65793},
    {CLQ_U8, CLQ_S8, 255, 0, -128, 0, 65793},    {CLQ_U8, CLQ_U8, 255, 0, 255, 0, 33025},       {CLQ_U8, CLQ_U8, 0, 255, 0, 255, 33025},
    {CLQ_U8, CLQ_U8, 0, 255, 255, 0, 33025},     {CLQ_U8, CLQ_U8, 255, 0, 0, 255, 33025},       {CLQ_S8, CLQ_S8, -128, 127, -128, 0, 65793},
    {CLQ_S8, CLQ_S8, 127, -128, -128, 127, 33025}, {CLQ_S8, CLQ_S8, -128, 0, -128, 1, 65793},   {CLQ_S8, CLQ_U8, -128, 127, 0, 255, 33025},
    {CLQ_U8, CLQ_S8, 255, 255, -128, 0, 65793},
};

static clq_qparams plain_params(clq_dtype dtype, const float *scale, const int32_t *zero_point)
{
    return (clq_qparams){.scheme = {.dtype = dtype}, .scale = clq_tensor_host(CLQ_F32, scale, 0, NULL),
                         .zero_point = clq_tensor_host(CLQ_S32, zero_point, 0, NULL)};
}

/* One row of A and one column of B serve for all. */
static void try_depth(clq_context *context, int which, int64_t m, int64_t n, int64_t k, const unsigned char *a_bytes, const unsigned char *b_bytes)
{
    static const float one = 1.0f;
    static int32_t result[20 * 70];
    const int64_t a_shape[2] = {m, k}, b_shape[2] = {k, n}, c_shape[2] = {m, n};
    const clq_qparams a_params = plain_params(deep[which].a_dtype, &one, &deep[which].a_zero_point),
                      b_params = plain_params(deep[which].b_dtype, &one, &deep[which].b_zero_point);
    clq_tensor a = clq_tensor_host(deep[which].a_dtype, a_bytes, 2, a_shape), b = clq_tensor_host(deep[which].b_dtype, b_bytes, 2, b_shape);
    const clq_tensor c = clq_tensor_host(CLQ_S32, result, 2, c_shape);
    clq_gemm_args args = {.a = &a, .b = &b, .c = &c, .a_params = &a_params, .b_params = &b_params};
    const uint32_t factor = (uint32_t)((deep[which].a - deep[which].a_zero_point) * (deep[which].b - deep[which].b_zero_point));
    const int32_t expected = (int32_t)((uint32_t)k * factor);
    clq_packed *packed = NULL;

    test_note("all %d less %d by all %d less %d, %" PRId64 " x %" PRId64 " x %" PRId64, (int)deep[which].a, (int)deep[which].a_zero_point,
              (int)deep[which].b, (int)deep[which].b_zero_point, m, n, k);
    a.strides[0] = b.strides[1] = 0;
    b.strides[0] = 1;
    TEST_OK(context, clq_packed_create(context, &b, &packed));
    for (int is_packed = 0; is_packed < 2; is_packed++) {
        memset(result, 0x5a, sizeof result);
        if (k > deep[which].bound) {
            args.allow_wrap = 0;
            TEST_CHECK(clq_gemm(context, &args) == CLQ_ERROR_SHAPE && strstr(clq_context_error(context), "K = ") != NULL, "\"%s\"",
                       clq_context_error(context));
            TEST_CHECK(result[0] == 0x5a5a5a5a, "c was written");
            args.allow_wrap = 1;
        }
        TEST_OK(context, clq_gemm(context, &args));
        for (int64_t i = 0; i < m * n; i++)
            TEST_CHECK(result[i] == expected, "element %" PRId64 ": got %d, must be %d", i, (int)result[i], (int)expected);
        args.b = NULL;
        args.packed_b = packed;
    }
    clq_packed_free(packed);
}

/* K at its bounds: exact up to there, refused beyond, or modulo 2^32. */
START_TEST(depth)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t depths[] = {deep[_i].bound, deep[_i].bound + 1, 3 * (int64_t)deep[_i].bound + 7}, most = depths[2];
    unsigned char *const a = malloc((size_t)most), *const b = malloc((size_t)most);

    TEST_CHECK(a != NULL && b != NULL, "no memory for the test");
    memset(a, deep[_i].a, (size_t)most);
    memset(b, deep[_i].b, (size_t)most);
    for (int32_t i = 0; i < place_count; i++) {
        test_note_place("[%s]", places[i].name);
        for (size_t k = 0; k < TEST_COUNT_OF(depths) - test_quick(); k++) {
            try_depth(places[i].context, _i, 1, test_quick() ? 3 : 70, depths[k], a, b);
            try_depth(places[i].context, _i, test_quick() ? 17 : 20, test_quick() ? 3 : 33, depths[k], a, b);
            if (k == 0 || !test_quick()) try_depth(places[i].context, _i, 130, 2, depths[k], a, b); /* few columns have kernels of their own */
        }
    }
    free(a);
    free(b);
    test_places_close(places, place_count);
}
END_TEST

/* One product and a bias as an f32: sums at the bounds of s_ab, denormals, what NaN and infinities become. */
START_TEST(f32_results)
{
    static const struct {
        int8_t a, b;
        float a_scale, b_scale, bias, plain, relu, clamped; /* to [-2, 3] */
    } cases[] = {
        {3, 5, 0.5f, 0.25f, 0.125f, 2.0f, 2.0f, 2.0f},
        {-3, 5, 0.5f, 0.25f, 0.125f, -1.75f, 0.0f, -1.75f},
        {1, 1, 0x1p-100f, 0x1p-100f, 0.0f, 0x1p-126f, 0x1p-126f, 0x1p-126f},
        {1, 1, 0x1p-100f, 0x1p-100f, -0x1p-127f, 0x1p-127f, 0x1p-127f, 0x1p-127f},
        {-1, 1, 0x1p-100f, 0x1p-100f, 0x1p-127f, -0x1p-127f, 0.0f, -0x1p-127f},
        {0, 1, 1.0f, 1.0f, 0x1p-149f, 0x1p-149f, 0x1p-149f, 0x1p-149f},
        {0, 1, 1.0f, 1.0f, -0.0f, 0.0f, 0.0f, 0.0f},
        {1, 1, 0x1p100f, 0x1p100f, 0.0f, 0x1p127f, 0x1p127f, 3.0f},
        {2, 1, 0x1p100f, 0x1p100f, 0.0f, INFINITY, INFINITY, 3.0f},
        {-2, 1, 0x1p100f, 0x1p100f, 0.0f, -INFINITY, 0.0f, -2.0f},
        {2, 1, 0x1p100f, 0x1p100f, -INFINITY, NAN, 0.0f, NAN},
        {7, 1, 1.0f, 1.0f, NAN, NAN, 0.0f, NAN},
        {7, 1, 1.0f, 1.0f, INFINITY, INFINITY, INFINITY, 3.0f},
        {7, 1, 1.0f, 1.0f, -INFINITY, -INFINITY, 0.0f, -2.0f},
        {3, 1, 0.1f, 1.0f, 0.7f, 1.0f, 1.0f, 1.0f}, /* fl(3 * 0.1f) = 0x1.333334p-2, more than 0.3; the sum is rounded to 1 */
    };
    enum { M = 2, N = 67 };
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t a_shape[2] = {M, 1}, b_shape[2] = {1, N}, c_shape[2] = {M, N}, n = N;
    static int8_t a_bytes[M], b_bytes[N];
    static float result[M * N], bias_values[N];
    const clq_tensor a = clq_tensor_host(CLQ_S8, a_bytes, 2, a_shape), b = clq_tensor_host(CLQ_S8, b_bytes, 2, b_shape),
                     c = clq_tensor_host(CLQ_F32, result, 2, c_shape), bias = clq_tensor_host(CLQ_F32, bias_values, 1, &n);

    for (int32_t trial = 0; trial < place_count * 3 * (int32_t)TEST_COUNT_OF(cases); trial++) {
        const int32_t place = trial % place_count, activation = trial / place_count % 3, i = trial / place_count / 3;
        const float wanted = activation == 0 ? cases[i].plain : activation == 1 ? cases[i].relu : cases[i].clamped;
        const clq_qparams a_params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &cases[i].a_scale, 0, NULL)},
                          b_params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &cases[i].b_scale, 0, NULL)};
        const clq_gemm_args args = {.a = &a, .b = &b, .c = &c, .bias = &bias, .a_params = &a_params, .b_params = &b_params,
                                    .activation = (clq_activation)activation, .clamp_min = -2.0f, .clamp_max = 3.0f};
        memset(a_bytes, cases[i].a, sizeof a_bytes);
        memset(b_bytes, cases[i].b, sizeof b_bytes);
        for (int j = 0; j < N; j++)
            bias_values[j] = cases[i].bias;
        test_mode_set(TEST_MODE_FLUSH);
        const clq_status status = clq_gemm(places[place].context, &args);
        test_mode_end(TEST_MODE_FLUSH);
        TEST_OK(places[place].context, status);
        for (int j = 0; j < M * N; j++)
            TEST_CHECK(test_bits(result[j]) == test_bits(wanted) || (isnan(result[j]) && isnan(wanted)),
                       "%s: case %d, activation %d, element %d: got %a, must be %a",
                       places[place].name, (int)i, (int)activation, j, (double)result[j], (double)wanted);
    }
    test_places_close(places, place_count);
}
END_TEST

/* A bias as an 8-bit value: the ends of s32, wrapped sums, ties, multipliers at their bounds. */
START_TEST(u8_results)
{
    static const struct {
        int8_t product; /* times 1 */
        int32_t bias;
        float scale, c_scale; /* both operands' */
        int32_t z, qmin, qmax, expected;
    } cases[] = {
        {0, INT32_MIN, 1.0f, 1.0f, 10, 0, 255, 0},
        {0, INT32_MAX, 1.0f, 1.0f, 10, 0, 255, 255},
        {1, INT32_MAX, 1.0f, 1.0f, 10, 0, 255, 0},  /* wraps */
        {-1, INT32_MIN, 1.0f, 1.0f, 10, 0, 255, 255},
        {0, INT32_MAX, 0x1p-60f, 0x1p60f, 7, 0, 255, 7}, /* m = 2^-64 */
        {1, 0, 0x1p60f, 0x1p-60f, 0, 0, 255, 255},       /* m = 2^64 */
        {1, 0, 0x1p100f, 0x1p100f, 0, 0, 255, 255},      /* s_ab = 2^127 */
        {1, 0, 0x1p-100f, 0x1p-100f, 3, 0, 255, 3},      /* s_ab = 2^-126 */
        {0, 16777217, 0x1p-12f, 0x1p-1f, 0, 0, 255, 2},  /* float() gives 2^24: exactly 2 */
        {2, 33554433, 0x1p-12f, 1.0f, 0, 0, 255, 2},     /* 2^25 + 3 gives 2^25 + 4, a little more than 2 */
        {2, 3, 0.5f, 0.5f, 0, 0, 255, 2},                /* 2.5, ties to even */
        {4, 3, 0.5f, 0.5f, 0, 0, 255, 4},                /* 3.5 */
        {-2, -3, 0.5f, 0.5f, 100, 0, 255, 98},
        {-100, 0, 1.0f, 1.0f, 30, 30, 255, 30},          /* qmin = z is ReLU */
        {100, 0, 1.0f, 1.0f, 30, 30, 99, 99},
    };
    enum { M = 18, N = 67 };
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, false);
    const int64_t a_shape[2] = {M, 1}, b_shape[2] = {1, N}, c_shape[2] = {M, N}, n = N;
    static int8_t a_bytes[M], b_bytes[N];
    static uint8_t result[M * N];
    static int32_t bias_values[N];
    const clq_tensor a = clq_tensor_host(CLQ_S8, a_bytes, 2, a_shape), b = clq_tensor_host(CLQ_S8, b_bytes, 2, b_shape),
                     c = clq_tensor_host(CLQ_U8, result, 2, c_shape), bias = clq_tensor_host(CLQ_S32, bias_values, 1, &n);

    memset(b_bytes, 1, sizeof b_bytes);
    for (int32_t trial = 0; trial < place_count * (int32_t)TEST_COUNT_OF(cases); trial++) {
        const int32_t place = trial % place_count, i = trial / place_count;
        const clq_qparams params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &cases[i].scale, 0, NULL)};
        clq_qparams c_params = plain_params(CLQ_U8, &cases[i].c_scale, &cases[i].z);
        const clq_gemm_args args = {.a = &a, .b = &b, .c = &c, .bias = &bias, .a_params = &params, .b_params = &params, .c_params = &c_params};
        c_params.scheme.qmin = cases[i].qmin;
        c_params.scheme.qmax = cases[i].qmax;
        memset(a_bytes, cases[i].product, sizeof a_bytes);
        for (int j = 0; j < N; j++)
            bias_values[j] = cases[i].bias;
        TEST_OK(places[place].context, clq_gemm(places[place].context, &args));
        for (int j = 0; j < M * N; j++)
            TEST_CHECK(result[j] == cases[i].expected, "%s: case %d, element %d: got %d, must be %d", places[place].name, (int)i, j, (int)result[j],
                       (int)cases[i].expected);
    }
    test_places_close(places, place_count);
}
END_TEST

/* ---- packed weights */

/* They outlive their context, serve another on the same table, and are refused by kernels that do not read them. */
START_TEST(packed_elsewhere)
{
    const int64_t a_shape[2] = {3, 40}, b_shape[2] = {40, 20}, c_shape[2] = {3, 20};
    static int8_t a_bytes[120], b_bytes[800];
    static int32_t expected[60], result[60];
    const clq_tensor a = clq_tensor_host(CLQ_S8, a_bytes, 2, a_shape), b = clq_tensor_host(CLQ_S8, b_bytes, 2, b_shape),
                     wanted = clq_tensor_host(CLQ_S32, expected, 2, c_shape), c = clq_tensor_host(CLQ_S32, result, 2, c_shape);
    struct test_random random = test_random_start(1060);
    int32_t refusals = 0;

    test_fill_random(&random, a_bytes, sizeof a_bytes);
    test_fill_random(&random, b_bytes, sizeof b_bytes);
    ref_gemm(&(clq_gemm_args){.a = &a, .b = &b, .c = &wanted});
    for (int32_t from = 0; from < test_table_count(); from++) {
        for (int32_t to = 0; to < test_table_count(); to++) {
            clq_context *const maker = test_context(test_table(from)->ops->name, 1, NULL, NULL);
            clq_context *const user = test_context(test_table(to)->ops->name, 1, NULL, NULL);
            clq_packed *packed = NULL;
            clq_status status;
            test_note("packed for %s, used on %s", test_table(from)->ops->name, test_table(to)->ops->name);
            TEST_OK(maker, clq_packed_create(maker, &b, &packed));
            clq_context_free(maker);
            memset(result, 0x5a, sizeof result);
            status = clq_gemm(user, &(clq_gemm_args){.a = &a, .packed_b = packed, .c = &c});
            TEST_CHECK(status == CLQ_OK || (from != to && status == CLQ_ERROR_CONTEXT), "%s", clq_status_name(status));
            if (status == CLQ_OK) {
                TEST_CHECK(memcmp(result, expected, sizeof result) == 0, "wrong result");
            } else {
                refusals++;
                TEST_CHECK(strstr(clq_context_error(user), "packed_b") != NULL && result[0] == 0x5a5a5a5a, "\"%s\"", clq_context_error(user));
            }
            clq_packed_free(packed);
            clq_context_free(user);
        }
    }
    TEST_CHECK(test_table_count() == 1 || refusals > 0, "every table takes every other's packed weights");
    clq_packed_free(NULL);
}
END_TEST

/* ---- f32 operands */

/* Sums of k products in any order, each product and each addition rounded, differ from the exact one by at most (k + 1) * 2^-24 times the sum of
   magnitudes, for k below 4096. */
static void check_f32(const struct trial *t, int64_t matrix, int64_t row, int64_t col)
{
    const int64_t k = t->a.view.shape[t->a.view.rank - 1];
    const int64_t c_index[3] = {matrix, row, col};
    const float got = test_float((uint32_t)ref_get(&t->c.view, t->c.view.rank == 3 ? c_index : c_index + 1));
    double sum = 0, magnitudes = 0;

    for (int64_t p = 0; p < k; p++) {
        const int64_t a_index[3] = {matrix, row, p}, b_index[3] = {matrix, p, col};
        const double a = (double)test_float((uint32_t)ref_get(&t->a.view, t->a.view.rank == 3 ? a_index : a_index + 1));
        const double b = (double)test_float((uint32_t)ref_get(&t->b.view, t->b.view.rank == 3 ? b_index : b_index + 1));
        sum += a * b;
        magnitudes += fabs(a * b);
    }
    TEST_CHECK(fabs((double)got - sum) <= (double)(k + 1) * 0x1p-24 * magnitudes, "c[%" PRId64 "][%" PRId64 "][%" PRId64 "]: got %a, must be near %a",
               matrix, row, col, (double)got, sum);
}

static void fill_f32(struct test_random *random, struct test_tensor *tensor)
{
    for (size_t i = 0; i + 4 <= tensor->size_bytes; i += 4) {
        const float x = (float)test_between(random, -4000, 4000) * 0x1p-11f;
        memcpy(tensor->memory + i, &x, sizeof x);
    }
    test_tensor_sync(tensor);
}

/* The product against f64; then bias and activation of it, to the bit. */
static void try_f32(struct test_random *random, struct test_place *place, int64_t batch, int64_t m, int64_t n, int64_t k)
{
    const struct form form = {.a = CLQ_F32, .b = CLQ_F32, .c = CLQ_F32, .batch = batch, .m = m, .n = n, .k = k};
    const int32_t rank = batch > 0 ? 3 : 2;
    const bool is_contiguous = test_chance(random, 4);
    struct trial t = {0};
    int64_t index[CLQ_MAX_RANK] = {0};
    clq_gemm_args plain;

    make_matrices(&t.a, random, SLOT_A, form.a, is_contiguous, test_chance(random, 3) ? 2 : rank, batch, m, k);
    make_matrices(&t.b, random, SLOT_B, form.b, is_contiguous, test_chance(random, 3) ? 2 : rank, batch, k, n);
    make_matrices(&t.c, random, SLOT_C, form.c, is_contiguous, rank, batch, m, n);
    fill_f32(random, &t.a);
    fill_f32(random, &t.b);
    t.args = (clq_gemm_args){.a = &t.a.view, .b = &t.b.view, .c = &t.c.view};
    plain = t.args;
    make_bias(&t, random, n);
    draw_activation(random, &t.args);
    note_trial(&t, random->seed);
    TEST_OK(place->context, clq_gemm(place->context, &plain));
    if (at_least_1(batch) * m * n > 0) {
        do {
            check_f32(&t, rank == 3 ? index[0] : 0, index[rank - 2], index[rank - 1]);
            ref_set(&t.c.expected, index, ref_get(&t.c.view, index));
        } while (ref_next(rank, t.c.view.shape, index));
        test_tensor_compare(&t.c, "c");
        do {
            ref_set(&t.c.expected, index, ref_gemm_finish_f32(&t.args, (uint32_t)ref_get(&t.c.view, index), index[rank - 1]));
        } while (ref_next(rank, t.c.view.shape, index));
    }
    test_tensor_reset(&t.c);
    TEST_OK(place->context, clq_gemm(place->context, &t.args));
    test_tensor_compare(&t.c, "c with bias and activation");
    test_tensor_compare(&t.a, "a (an input)");
    test_tensor_compare(&t.b, "b (an input)");
    free(t.a.copy);
    free(t.b.copy);
    free(t.c.copy);
    free(t.bias.copy);
}

START_TEST(f32_operands)
{
    struct test_random random = test_random_start(1070 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_gemm_places_open(places, _i == 1);
    const int64_t repeats = test_amount(300, 30);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        struct test_place *const place = &places[test_between(&random, 0, place_count - 1)];
        const int64_t batch = test_chance(&random, 2) ? 0 : test_between(&random, 1, 4), most = test_chance(&random, 8) ? 140 : 33;
        test_note_place("[%s]", place->name);
        try_f32(&random, place, batch, test_between(&random, 0, most), test_chance(&random, 20) ? 1100 : test_between(&random, 0, most),
                test_between(&random, 0, most));
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("gemm");
    TCase *const all = test_case(suite, "against the reference"), *const known = test_case(suite, "known results"),
          *const f32 = test_case(suite, "f32");

    tcase_add_loop_test(all, combinations, 0, 16);
    tcase_add_loop_test(all, edges, 0, TEST_COUNT_OF(extents));
    tcase_add_loop_test(all, batches, 0, 4);
    tcase_add_test(all, empty_batch);
    tcase_add_loop_test(all, large, 0, TEST_COUNT_OF(large_shapes));
    tcase_add_loop_test(all, threads, 0, TEST_COUNT_OF(threaded_shapes));
    tcase_add_loop_test(known, depth, 0, TEST_COUNT_OF(deep));
    tcase_add_test(known, f32_results);
    tcase_add_test(known, u8_results);
    tcase_add_test(known, packed_elsewhere);
    tcase_add_loop_test(f32, f32_operands, 0, 2);
    return test_run(suite);
}
