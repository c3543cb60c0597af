/* SPDX-License-Identifier: MIT */
/* clq_convert() on every table and number of threads against the reference: copies of all types, casts, layouts, in place. */
#include "config.h"

#include "reference.h"
#include "test_support.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const clq_dtype all_dtypes[] = {CLQ_F32, CLQ_F16, CLQ_BF16, CLQ_F64, CLQ_S8,  CLQ_U8,
                                       CLQ_S4,  CLQ_U4,  CLQ_S16,  CLQ_U16, CLQ_S32, CLQ_S64};

static const struct {
    clq_dtype from, to;
} casts[] = {
    {CLQ_F32, CLQ_F16},  {CLQ_F32, CLQ_BF16}, {CLQ_F16, CLQ_F32}, {CLQ_F16, CLQ_BF16}, {CLQ_BF16, CLQ_F32},
    {CLQ_BF16, CLQ_F16}, {CLQ_F64, CLQ_F32},  {CLQ_F64, CLQ_F16}, {CLQ_F64, CLQ_BF16},
};

/* Bits of a float at or beside a tie of another float type, or of any kind. */
static uint64_t random_float(struct test_random *random, clq_dtype dtype)
{
    static const clq_dtype targets[] = {CLQ_F32, CLQ_F16, CLQ_BF16};
    const clq_dtype target = targets[test_between(random, 0, 2)];
    const uint32_t scale = (uint32_t)test_between(random, 110, 128) << 23;
    struct ref_number number;
    uint64_t bits;

    if (test_chance(random, 8)) return test_next(random) & (UINT64_MAX >> (64 - clq_dtype_bits(dtype)));
    if (test_chance(random, 4)) return ref_cast(CLQ_F32, dtype, test_random_value(random, scale, 0, -128, 127));
    /* A value of the target, denormal at times, then half-way to its neighbour, then a little aside. */
    bits = test_next(random) & (UINT64_MAX >> (64 - clq_dtype_bits(target)));
    if (ref_decode(target, bits, &number) != REF_FINITE) return ref_cast(target, dtype, bits);
    number.mantissa = 2 * number.mantissa + (uint64_t)test_between(random, 0, 1);
    number.exponent -= 1;
    bits = ref_encode(dtype, number);
    if (number.mantissa != 0 && test_chance(random, 2)) bits += (uint64_t)test_between(random, -1, 1);
    return bits;
}

static bool is_float(clq_dtype dtype)
{
    return dtype == CLQ_F32 || dtype == CLQ_F16 || dtype == CLQ_BF16 || dtype == CLQ_F64;
}

static void fill(struct test_tensor *tensor, struct test_random *random)
{
    int64_t index[CLQ_MAX_RANK] = {0};
    const clq_tensor *const view = &tensor->view;

    if (!is_float(view->dtype) || ref_elements(view->rank, view->shape) == 0) return;
    do {
        ref_set(view, index, random_float(random, view->dtype));
    } while (ref_next(view->rank, view->shape, index));
    test_tensor_sync(tensor);
}

static enum test_layout random_layout(struct test_random *random, bool is_input)
{
    if (test_chance(random, 3)) return TEST_CONTIGUOUS;
    return (enum test_layout)test_between(random, 0, is_input ? TEST_BROADCAST : TEST_MIXED);
}

static void run(struct test_random *random, struct test_place *places, int32_t place_count, const clq_tensor *src,
                struct test_tensor *dst)
{
    test_note("seed %" PRIu64 ", src %s; dst %s", random->seed, test_describe(src), test_describe(&dst->view));
    for (int32_t i = 0; i < place_count; i++) {
        const enum test_mode mode = (enum test_mode)test_between(random, 0, TEST_MODES - 1);
        clq_status status;
        test_note_place("[%s, mode %d]", places[i].name, (int)mode);
        test_tensor_reset(dst);
        test_mode_set(mode);
        status = clq_convert(places[i].context, src, &dst->view);
        test_mode_end(mode);
        TEST_OK(places[i].context, status);
        test_tensor_compare(dst, "dst");
    }
}

static void try_pair(struct test_random *random, struct test_place *places, int32_t place_count, clq_dtype from, clq_dtype to,
                     int32_t rank, const int64_t *shape)
{
    struct test_tensor src, dst;

    test_tensor_make(&src, random, 0, from, rank, shape, random_layout(random, true));
    test_tensor_make(&dst, random, 1, to, rank, shape, random_layout(random, false));
    fill(&src, random);
    ref_convert(&src.view, &dst.expected);
    run(random, places, place_count, &src.view, &dst);
    test_tensor_compare(&src, "src (an input)");
    test_tensor_free(&src);
    test_tensor_free(&dst);
}

static void try_shapes(struct test_random *random, struct test_place *places, int32_t place_count, clq_dtype from, clq_dtype to)
{
    const int64_t repeats = test_amount(250, 12);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        int64_t shape[CLQ_MAX_RANK];
        const int32_t rank = (int32_t)test_between(random, 0, test_chance(random, 4) ? CLQ_MAX_RANK : 3);
        test_random_shape(random, rank, test_chance(random, 10) ? 9000 : 400, true, shape);
        try_pair(random, places, place_count, from, to, rank, shape);
    }
}

START_TEST(copies)
{
    struct test_random random = test_random_start(200 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);

    try_shapes(&random, places, place_count, all_dtypes[_i], all_dtypes[_i]);
    test_places_close(places, place_count);
}
END_TEST

START_TEST(casts_between_floats)
{
    struct test_random random = test_random_start(220 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);

    try_shapes(&random, places, place_count, casts[_i].from, casts[_i].to);
    test_places_close(places, place_count);
}
END_TEST

/* Transposition of large matrices, long rows: several threads, several tiles. */
START_TEST(large)
{
    static const int64_t shapes[][3] = {{1, 1, 400001}, {3, 131, 1021}, {700, 577, 1}, {65537, 2, 3}};
    struct test_random random = test_random_start(240 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, true);
    const int64_t repeats = test_amount(6, 1);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        const bool copying = test_chance(&random, 2);
        const size_t cast = (size_t)test_between(&random, 0, TEST_COUNT_OF(casts) - 1),
                     copy = (size_t)test_between(&random, 0, TEST_COUNT_OF(all_dtypes) - 1);
        try_pair(&random, places, place_count, copying ? all_dtypes[copy] : casts[cast].from,
                 copying ? all_dtypes[copy] : casts[cast].to, 3, shapes[_i]);
    }
    test_places_close(places, place_count);
}
END_TEST

/* The identical view as source and destination, with another type of the same size, or the same. */
START_TEST(in_place)
{
    static const struct {
        clq_dtype from, to;
    } pairs[] = {{CLQ_F16, CLQ_BF16}, {CLQ_BF16, CLQ_F16}, {CLQ_F32, CLQ_F32},
                 {CLQ_S8, CLQ_S8},    {CLQ_S4, CLQ_S4},    {CLQ_F16, CLQ_F16}};
    struct test_random random = test_random_start(260 + (uint64_t)_i);
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, _i < 2);
    const int64_t repeats = test_amount(120, 10);

    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        int64_t shape[CLQ_MAX_RANK];
        const int32_t rank = (int32_t)test_between(&random, 0, 4);
        struct test_tensor both;
        clq_tensor original;
        unsigned char *kept;

        test_random_shape(&random, rank, repeat == 0 ? 400000 : test_chance(&random, 6) ? 7000 : 300, true, shape);
        if (repeat == 0) test_random_shape(&random, 1, 400000, false, shape);
        test_tensor_make(&both, &random, 0, pairs[_i].from, repeat == 0 ? 1 : rank, shape, random_layout(&random, false));
        fill(&both, &random);
        /* The reference reads from a second copy. */
        kept = malloc(both.size_bytes + 1);
        TEST_CHECK(kept != NULL, "no memory for the test");
        memcpy(kept, both.memory, both.size_bytes);
        original = both.view;
        if (both.size_bytes > 0) original.data = (void *)((uintptr_t)kept + ((uintptr_t)both.view.data - (uintptr_t)both.memory));
        const clq_tensor src = both.view;
        both.view.dtype = both.expected.dtype = pairs[_i].to;
        if (pairs[_i].from != pairs[_i].to) ref_convert(&original, &both.expected);
        run(&random, places, place_count, &src, &both);
        free(kept);
        test_tensor_free(&both);
    }
    test_places_close(places, place_count);
}
END_TEST

/* All values of f16 and bf16 through f32 and back. */
START_TEST(round_trips)
{
    static uint16_t values[65536], back[65536];
    static float wide[65536];
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const int64_t n = 65536;

    for (int i = 0; i < 65536; i++)
        values[i] = (uint16_t)i;
    for (int32_t place = 0; place < place_count; place++) {
        for (int k = 0; k < 2; k++) {
            const clq_dtype half = k == 0 ? CLQ_F16 : CLQ_BF16;
            const clq_tensor source = clq_tensor_host(half, values, 1, &n), middle = clq_tensor_host(CLQ_F32, wide, 1, &n),
                             target = clq_tensor_host(half, back, 1, &n);
            TEST_OK(places[place].context, clq_convert(places[place].context, &source, &middle));
            TEST_OK(places[place].context, clq_convert(places[place].context, &middle, &target));
            for (int i = 0; i < 65536; i++)
                TEST_CHECK(back[i] == values[i] || (ref_is_nan(half, values[i]) && ref_is_nan(half, back[i])),
                           "%s: 0x%04x of %s comes back as 0x%04x", places[place].name, values[i], clq_dtype_name(half), back[i]);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

/* One rounding, not two: f64 values just beside ties that f32 would round onto them. */
START_TEST(no_double_rounding)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);
    const double values[] = {1.0 + 0x1p-11 + 0x1p-40,
                             1.0 + 0x1p-11 - 0x1p-40,
                             1.0 + 0x1p-8 + 0x1p-40,
                             65520.0 - 0x1p-30,
                             0x1p-25 + 0x1p-60,
                             0x1p-25,
                             3e38,
                             1e300,
                             -1e-300};
    const uint16_t f16[] = {0x3c01, 0x3c00, 0x3c04, 0x7bff, 0x0001, 0x0000, 0x7c00, 0x7c00, 0x8000};
    const uint16_t bf16[] = {0x3f80, 0x3f80, 0x3f81, 0x4780, 0x3300, 0x3300, 0x7f62, 0x7f80, 0x8000};
    const int64_t n = TEST_COUNT_OF(values);

    for (int32_t place = 0; place < place_count; place++) {
        uint16_t results[TEST_COUNT_OF(values)];
        const clq_tensor source = clq_tensor_host(CLQ_F64, values, 1, &n);
        for (int k = 0; k < 2; k++) {
            const clq_tensor target = clq_tensor_host(k == 0 ? CLQ_F16 : CLQ_BF16, results, 1, &n);
            TEST_OK(places[place].context, clq_convert(places[place].context, &source, &target));
            for (int64_t i = 0; i < n; i++)
                TEST_CHECK(results[i] == (k == 0 ? f16 : bf16)[i], "%s: %a to %s gives 0x%04x, must give 0x%04x",
                           places[place].name, values[i], clq_dtype_name(target.dtype), results[i], (k == 0 ? f16 : bf16)[i]);
        }
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("convert");
    TCase *all = test_case(suite, "against the reference"), *known = test_case(suite, "known results");

    tcase_add_loop_test(all, copies, 0, TEST_COUNT_OF(all_dtypes));
    tcase_add_loop_test(all, casts_between_floats, 0, TEST_COUNT_OF(casts));
    tcase_add_loop_test(all, large, 0, 4);
    tcase_add_loop_test(all, in_place, 0, 6);
    tcase_add_test(known, round_trips);
    tcase_add_test(known, no_double_rounding);
    return test_run(suite);
}
