/* SPDX-License-Identifier: MIT */
/*
 * clq_quantize() and clq_dequantize() on every table and number of threads against the reference: all types, schemes,
 * granularities, axes and layouts, floating-point modes of the caller, buffers.
 */
#include "config.h"

#include "reference.h"
#include "test_support.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const clq_dtype quantized_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S16, CLQ_U16, CLQ_S32};

/* What each operand is for decides where it is put. */
enum { SLOT_X, SLOT_Q, SLOT_PARAMS, SLOT_COUNTS = SLOT_PARAMS + 2, SLOT_Y };

/* One quantization and the way back. */
struct trial {
    struct test_tensor x, q, counts, y;
    struct test_params p;
    clq_qparams expected_params;
    bool counted;
};

/* ---- making a trial */

/* Everything but the scheme and the shape is drawn. */
static void make_trial(struct trial *trial, struct test_random *random, clq_dtype dtype, const clq_scheme *scheme, int32_t rank,
                       const int64_t *shape)
{
    static const int64_t three = 3;

    memset(trial, 0, sizeof *trial);
    test_tensor_make(&trial->x, random, SLOT_X, dtype, rank, shape, test_random_layout(random, true));
    test_tensor_make(&trial->q, random, SLOT_Q, scheme->dtype, rank, shape, test_random_layout(random, false));
    test_tensor_make(&trial->y, random, SLOT_Y, test_float_dtypes[test_between(random, 0, 2)], rank, shape,
                     test_random_layout(random, false));
    test_tensor_make(&trial->counts, random, SLOT_COUNTS, CLQ_S64, 1, &three, TEST_CONTIGUOUS);
    trial->counted = test_chance(random, 2);
    test_params_make(&trial->p, random, SLOT_PARAMS, scheme, rank, shape);
    test_params_fill(&trial->p, random, &trial->x);
    trial->expected_params = trial->p.params;
}

static void free_trial(struct trial *trial)
{
    test_tensor_free(&trial->x);
    test_tensor_free(&trial->q);
    test_tensor_free(&trial->y);
    test_tensor_free(&trial->counts);
    test_params_free(&trial->p);
}

/* ---- running a trial */

static void compute_expected(struct trial *trial)
{
    int64_t counts[3], index[1] = {0};

    ref_quantize(&trial->x.view, &trial->p.params, &trial->q.expected, counts);
    ref_dequantize(&trial->q.expected, &trial->p.params, &trial->y.expected);
    for (; trial->counted && index[0] < 3; index[0]++)
        ref_set(&trial->counts.expected, index, (uint64_t)counts[index[0]]);
}

static void run_trial(struct trial *trial, clq_context *context, enum test_mode mode)
{
    clq_status status;

    test_tensor_reset(&trial->q);
    test_tensor_reset(&trial->y);
    test_tensor_reset(&trial->counts);
    test_mode_set(mode);
    status = clq_quantize(context, &trial->x.view, &trial->p.params, &trial->q.view, trial->counted ? &trial->counts.view : NULL);
    test_mode_end(mode);
    TEST_OK(context, status);
    test_tensor_compare(&trial->q, "q");
    test_tensor_compare(&trial->counts, "counts");

    test_mode_set(mode);
    status = clq_dequantize(context, &trial->q.view, &trial->p.params, &trial->y.view);
    test_mode_end(mode);
    TEST_OK(context, status);
    test_tensor_compare(&trial->y, "y");

    test_tensor_compare(&trial->x, "x (an input)");
    test_params_compare(&trial->p);
    TEST_CHECK(memcmp(&trial->p.params, &trial->expected_params, sizeof trial->p.params) == 0, "the parameters' struct was written");
}

static void try_everywhere(struct trial *trial, struct test_random *random, struct test_place *places, int32_t place_count)
{
    test_note("seed %" PRIu64 ", %s; x %s; q %s; y %s; scale %s; zero_point %s; %s", random->seed,
              test_describe_scheme(&trial->p.params.scheme), test_describe(&trial->x.view), test_describe(&trial->q.view),
              test_describe(&trial->y.view), test_describe(&trial->p.params.scale),
              trial->p.has_zero_point ? test_describe(&trial->p.params.zero_point) : "none",
              trial->counted ? "counted" : "not counted");
    compute_expected(trial);
    for (int32_t i = 0; i < place_count; i++) {
        const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
        test_note_place("[%s, mode %d]", places[i].name, (int)mode);
        run_trial(trial, places[i].context, mode);
    }
    test_note_place("%s", "");
}

static void try_scheme(struct test_random *random, struct test_place *places, int32_t place_count, clq_dtype dtype,
                       const clq_scheme *scheme, int32_t rank, const int64_t *shape)
{
    struct trial trial;

    make_trial(&trial, random, dtype, scheme, rank, shape);
    try_everywhere(&trial, random, places, place_count);
    free_trial(&trial);
}

/* ---- tests */

/* Every combination of types and schemes, on random shapes. The loop runs over float types and quantized types. */
START_TEST(combinations)
{
    struct test_random random = test_random_start(20 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(24, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        for (int32_t kind = 0; kind < 4 * 3 * 2; kind++) {
            int64_t shape[CLQ_MAX_RANK];
            clq_scheme scheme = {.dtype = quantized_dtypes[_i / 3],
                                 .symmetry = (clq_symmetry)(kind % 4),
                                 .granularity = (clq_granularity)(kind / 4 % 3),
                                 .quotient = (clq_quotient)(kind / 12)};
            const int32_t rank = (int32_t)test_between(&random, scheme.granularity == CLQ_PER_TENSOR ? 0 : 1,
                                                       test_chance(&random, 4) ? CLQ_MAX_RANK : 4);
            test_random_shape(&random, rank, test_chance(&random, 6) ? 3000 : 300, true, shape);
            test_random_axis(&random, &scheme, rank, shape);
            if (scheme.dtype != CLQ_S32 && test_chance(&random, 3)) test_random_range(&random, &scheme);
            try_scheme(&random, places, place_count, test_float_dtypes[_i % 3], &scheme, rank, shape);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

START_TEST(tiles)
{
    struct test_random random = test_random_start(60 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t repeats = test_amount(4, 1);

    for (int64_t repeat = 0; repeat < repeats * (int64_t)TEST_COUNT_OF(quantized_dtypes); repeat++) {
        const clq_dtype dtype = quantized_dtypes[repeat % (int64_t)TEST_COUNT_OF(quantized_dtypes)];
        const clq_scheme scheme = test_shape_scheme(&random, &test_long_shapes[_i], dtype);
        if (test_quick() && !test_chance(&random, 4)) continue;
        try_scheme(&random, places, place_count, test_float_dtypes[test_between(&random, 0, 2)], &scheme, test_long_shapes[_i].rank,
                   test_long_shapes[_i].shape);
    }
    test_places_close(places, place_count);
}
END_TEST

START_TEST(threads)
{
    struct test_random random = test_random_start(90 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(6, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        const clq_scheme scheme = test_shape_scheme(&random, &test_large_shapes[_i], quantized_dtypes[test_between(&random, 0, 6)]);
        try_scheme(&random, places, place_count, test_float_dtypes[test_between(&random, 0, 2)], &scheme, test_large_shapes[_i].rank,
                   test_large_shapes[_i].shape);
    }
#ifndef TEST_OPENCL
    int64_t tasks = 0;
    for (int32_t i = 0; i < place_count; i++)
        tasks += atomic_load(&places[i].hook.tasks);
    TEST_CHECK(tasks >= 2 * repeats, "these sizes must keep several threads busy");
#endif
    test_places_close(places, place_count);
}
END_TEST

/* The pair on which division and reciprocal part, at every place of a vector. */
START_TEST(frozen_pair)
{
    static const struct {
        clq_dtype dtype;
        clq_quotient quotient;
        float x;
        int expected;
    } pairs[] = {{CLQ_U8, CLQ_DIVISION, 0.273939937f, 127},
                 {CLQ_U8, CLQ_RECIPROCAL, 0.273939937f, 128},
                 {CLQ_S8, CLQ_DIVISION, -0.273939937f, -127},
                 {CLQ_S8, CLQ_RECIPROCAL, -0.273939937f, -128}};
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const float scale = 0.00214854861f;
    const int64_t n = 300;

    for (int32_t place = 0; place < place_count; place++) {
        for (size_t k = 0; k < TEST_COUNT_OF(pairs); k++) {
            float x[300];
            int8_t q[300];
            const clq_tensor source = clq_tensor_host(CLQ_F32, x, 1, &n), target = clq_tensor_host(pairs[k].dtype, q, 1, &n);
            const clq_qparams params = {.scheme = {.dtype = pairs[k].dtype, .quotient = pairs[k].quotient},
                                        .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
            for (int64_t i = 0; i < n; i++)
                x[i] = pairs[k].x;
            TEST_OK(places[place].context, clq_quantize(places[place].context, &source, &params, &target, NULL));
            for (int64_t i = 0; i < n; i++)
                TEST_CHECK(q[i] == (int8_t)pairs[k].expected, "%s: pair %zu, element %" PRId64 ": got %d, must be %d",
                           places[place].name, k, i, q[i], pairs[k].expected);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

/* NaN gives qmin, infinities the ends, for every zero point of u8. */
START_TEST(not_numbers)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const uint32_t specials[] = {0x7fc00000, 0xffc00001, 0x7f800001, 0x7f800000, 0xff800000,
                                 0x7149f2ca, 0xf149f2ca, 0x7f7fffff, 0xff7fffff};
    const uint8_t expected[] = {3, 3, 3, 250, 3, 250, 3, 250, 3};
    const int64_t n = 9 * 29, three = 3;

    for (int32_t place = 0; place < place_count; place++) {
        for (int32_t z = 3; z <= 250; z++) {
            const float scale = 0.5f;
            float x[9 * 29];
            uint8_t q[9 * 29];
            int64_t counts[3];
            const clq_tensor source = clq_tensor_host(CLQ_F32, x, 1, &n), target = clq_tensor_host(CLQ_U8, q, 1, &n),
                             tally = clq_tensor_host(CLQ_S64, counts, 1, &three);
            const clq_qparams params = {.scheme = {.dtype = CLQ_U8, .qmin = 3, .qmax = 250},
                                        .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                                        .zero_point = clq_tensor_host(CLQ_S32, &z, 0, NULL)};
            for (int64_t i = 0; i < n; i++)
                x[i] = test_float(specials[i % 9]);
            TEST_OK(places[place].context, clq_quantize(places[place].context, &source, &params, &target, &tally));
            for (int64_t i = 0; i < n; i++)
                TEST_CHECK(q[i] == expected[i % 9], "%s, z = %d: x 0x%08x gives %d, must give %d", places[place].name, (int)z,
                           specials[i % 9], q[i], expected[i % 9]);
            TEST_CHECK(counts[0] == 3 * 29 && counts[1] == 2 * 29 && counts[2] == 4 * 29,
                       "%s: counts %" PRId64 ", %" PRId64 ", %" PRId64, places[place].name, counts[0], counts[1], counts[2]);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

/* Host to buffer, buffer to buffer, buffer to host, each view somewhere in the middle; the buffer of another context. */
START_TEST(buffers)
{
    struct test_random random = test_random_start(110);
    clq_context *const context = test_context(NULL, 1, NULL, NULL), *const other = test_context("scalar", 1, NULL, NULL);
    const int64_t repeats = test_amount(200, 20);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        const int64_t shape[2] = {test_between(&random, 1, 20), test_between(&random, 1, 50)}, n = shape[0] * shape[1];
        const int64_t x_offset = test_between(&random, 0, 100), q_offset = 2 * test_between(&random, 0, 50),
                      scale_offset = test_between(&random, 0, 30);
        const clq_scheme scheme = {.dtype = quantized_dtypes[test_between(&random, 0, 6)],
                                   .granularity = CLQ_PER_CHANNEL,
                                   .axis = 0,
                                   .symmetry = CLQ_SYMMETRIC};
        clq_buffer *x_buffer, *q_buffer, *scale_buffer;
        struct trial trial;
        clq_qparams params;
        clq_tensor x, q;

        make_trial(&trial, &random, CLQ_F32, &scheme, 2, shape);
        compute_expected(&trial);
        TEST_OK(context, clq_buffer_create(context, (x_offset + n) * 4, &x_buffer));
        TEST_OK(other, clq_buffer_create(other, ((q_offset + n) * clq_dtype_bits(scheme.dtype) + 7) / 8, &q_buffer));
        TEST_OK(context, clq_buffer_create(context, (scale_offset + shape[0]) * 4, &scale_buffer));
        x = clq_tensor_buffer(CLQ_F32, x_buffer, x_offset, 2, shape);
        q = clq_tensor_buffer(scheme.dtype, q_buffer, q_offset, 2, shape);
        params = (clq_qparams){.scheme = scheme, .scale = clq_tensor_buffer(CLQ_F32, scale_buffer, scale_offset, 1, shape)};
        test_note("seed %" PRIu64 ", x %s, q %s", random.seed, test_describe(&x), test_describe(&q));
        TEST_OK(context, clq_convert(context, &trial.x.view, &x));
        TEST_OK(other, clq_convert(other, &trial.p.scale.view, &params.scale));
        TEST_OK(context, clq_quantize(context, &x, &params, &q, NULL));
        if (clq_dtype_bits(scheme.dtype) > 4 || trial.q.view.strides[1] == 1)
            TEST_OK(other, clq_convert(other, &q, &trial.q.view));
        test_tensor_compare(&trial.q, "q");
        TEST_OK(other, clq_dequantize(other, &q, &params, &trial.y.view));
        test_tensor_compare(&trial.y, "y");
        clq_buffer_free(x_buffer);
        clq_buffer_free(q_buffer);
        clq_buffer_free(scale_buffer);
        free_trial(&trial);
    }
    clq_context_free(other);
    clq_context_free(context);
    clq_buffer_free(NULL);
}
END_TEST

/* Values outside of [qmin, qmax], which no call of ours writes, are dequantized as they are. */
START_TEST(dequantize_outside_of_range)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 256;

    for (int32_t place = 0; place < place_count; place++) {
        int8_t q[256];
        float y[256];
        const float scale = 0.25f;
        const int32_t z = -3;
        const clq_tensor source = clq_tensor_host(CLQ_S8, q, 1, &n), target = clq_tensor_host(CLQ_F32, y, 1, &n);
        const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .qmin = -4, .qmax = 3},
                                    .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL),
                                    .zero_point = clq_tensor_host(CLQ_S32, &z, 0, NULL)};
        for (int i = 0; i < 256; i++)
            q[i] = (int8_t)(i - 128);
        TEST_OK(places[place].context, clq_dequantize(places[place].context, &source, &params, &target));
        for (int i = 0; i < 256; i++)
            TEST_CHECK(test_bits(y[i]) == test_bits((float)(i - 128 + 3) * 0.25f), "%s: q = %d gives %a", places[place].name,
                       i - 128, y[i]);
    }
    test_places_close(places, place_count);
}
END_TEST

#ifndef TEST_OPENCL
/* A tensor that the CPU does not expect to fit its caches, and does in another way, gives what its pieces give. It begins anywhere. */
START_TEST(past_the_caches)
{
    enum { PIECE = 1 << 20, PIECES = 7, COUNT = PIECE * PIECES };
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const float scale = 0.0123f;
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    float *const memory = malloc((3 * (size_t)COUNT + 64) * sizeof *memory), *const x = memory + 3, *const y = x + COUNT + 5, *const wanted_y = y + COUNT;
    int8_t *const q = malloc(2 * (size_t)COUNT + 64), *const wanted_q = q + COUNT + 7;
    const int64_t whole = COUNT, piece = PIECE;

    TEST_CHECK(memory != NULL && q != NULL, "no memory for the test");
    for (int64_t i = 0; i < COUNT; i++)
        x[i] = (float)((i * 7919) % 4001 - 2000) * 0.001f;
    for (int32_t place = 0; place < place_count; place++) {
        clq_context *const context = places[place].context;
        const clq_tensor all_x = clq_tensor_host(CLQ_F32, x, 1, &whole), all_q = clq_tensor_host(CLQ_S8, q + 1, 1, &whole),
                         all_y = clq_tensor_host(CLQ_F32, y, 1, &whole);
        TEST_OK(context, clq_quantize(context, &all_x, &params, &all_q, NULL));
        TEST_OK(context, clq_dequantize(context, &all_q, &params, &all_y));
        for (int64_t i = 0; i < COUNT; i += PIECE) {
            const clq_tensor part_x = clq_tensor_host(CLQ_F32, x + i, 1, &piece), part_q = clq_tensor_host(CLQ_S8, wanted_q + i, 1, &piece),
                             part_y = clq_tensor_host(CLQ_F32, wanted_y + i, 1, &piece);
            TEST_OK(context, clq_quantize(context, &part_x, &params, &part_q, NULL));
            TEST_OK(context, clq_dequantize(context, &part_q, &params, &part_y));
        }
        TEST_CHECK(memcmp(q + 1, wanted_q, COUNT) == 0, "%s: q differs from that of pieces", places[place].name);
        TEST_CHECK(memcmp(y, wanted_y, COUNT * sizeof *y) == 0, "%s: y differs from that of pieces", places[place].name);
    }
    free(memory);
    free(q);
    test_places_close(places, place_count);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("quantize");
    TCase *all = test_case(suite, "against the reference"), *known = test_case(suite, "known results");

    tcase_add_loop_test(all, combinations, 0, TEST_COUNT_OF(quantized_dtypes) * 3);
    tcase_add_loop_test(all, tiles, 0, test_long_shape_count);
    tcase_add_loop_test(all, threads, 0, test_large_shape_count);
    tcase_add_test(known, frozen_pair);
    tcase_add_test(known, not_numbers);
    tcase_add_test(known, buffers);
    tcase_add_test(known, dequantize_outside_of_range);
#ifndef TEST_OPENCL
    tcase_add_test(known, past_the_caches);
#endif
    return test_run(suite);
}
