/* SPDX-License-Identifier: MIT */
/*
 * Every table of kernels against the scalar table, or against their definition, in what works on plain arrays: casts, 4-bit
 * values, error sums, scales from ranges, strided copies.
 */
#include "config.h"

#include "reference.h"
#include "test_support.h"
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const clq_dtype float_dtypes[CLQ_FLOAT_TYPES] = {CLQ_F32, CLQ_F16, CLQ_BF16};

enum { BLOCK = 1 << 14 };

static int64_t bytes_of(clq_dtype dtype)
{
    return clq_dtype_bits(dtype) / 8;
}

/* The table that a loop test is about; NULL if it is the scalar one, to which it would be compared. */
static const struct clq_cpu_ops *table_of(int i)
{
    const struct clq_cpu_ops *const ops = test_table(i)->ops;
    return ops == &clq_cpu_scalar ? NULL : ops;
}

/* ---- casts */

/* Runs a cast on guarded memory of every alignment, and in one long block. */
static void try_cast(const struct clq_cpu_ops *ops, clq_cast_fn cast, clq_cast_fn scalar, clq_dtype from, clq_dtype to,
                     const void *values, int64_t n, bool long_only)
{
    static unsigned char expected[8 * BLOCK];
    const size_t from_bytes = (size_t)bytes_of(from), to_bytes = (size_t)bytes_of(to);
    const int64_t lengths = long_only ? 0 : test_amount(270, 140);

    for (int64_t k = 0; k <= lengths; k++) {
        const int64_t length = long_only || k == lengths ? n : k, first = long_only || k == lengths ? 0 : (k * 37) % (n - k);
        const size_t from_slack = (size_t)(k * 7 % 64), to_slack = (size_t)(k * 5 % 64);
        const bool at_end = k % 3 != 0;
        unsigned char *src = test_guarded(0, (size_t)length * from_bytes + from_slack, at_end);
        unsigned char *dst = test_guarded(1, (size_t)length * to_bytes + to_slack, at_end);
        if (k % 2 != 0 && at_end) { /* up to the page */
            src += from_slack;
            dst += to_slack;
        }
        memcpy(src, (const char *)values + (size_t)first * from_bytes, (size_t)length * from_bytes);
        scalar(src, expected, length, false);
        cast(src, dst, length, k % 4 == lengths % 4); /* the last one, too */
        if (memcmp(dst, expected, (size_t)length * to_bytes) == 0) continue;
        for (int64_t i = 0; i < length; i++) {
            uint64_t x = 0, y = 0, e = 0;
            memcpy(&x, src + (size_t)i * from_bytes, from_bytes);
            memcpy(&y, dst + (size_t)i * to_bytes, to_bytes);
            memcpy(&e, expected + (size_t)i * to_bytes, to_bytes);
            TEST_CHECK(y == e || (to != CLQ_S8 && to != CLQ_U8 && ref_is_nan(to, y) && ref_is_nan(to, e)),
                       "table %s, %s to %s, n %" PRId64 ", src %p, dst %p, element %" PRId64 ": 0x%" PRIx64 " gives 0x%" PRIx64
                       ", expected 0x%" PRIx64,
                       ops->name, clq_dtype_name(from), clq_dtype_name(to), length, (void *)src, (void *)dst, i, x, y, e);
        }
    }
}

START_TEST(widen)
{
    static uint16_t values[BLOCK];
    const struct clq_cpu_ops *const ops = table_of(_i);

    for (int f = CLQ_FLOAT_F16; ops != NULL && f <= CLQ_FLOAT_BF16; f++) {
        if (ops->widen[f] == NULL) continue;
        for (uint32_t first = 0; first < 0x10000; first += BLOCK) {
            for (uint32_t i = 0; i < BLOCK; i++)
                values[i] = (uint16_t)(first + i);
            try_cast(ops, ops->widen[f], clq_cpu_scalar.widen[f], float_dtypes[f], CLQ_F32, values, BLOCK, first != 0);
        }
    }
}
END_TEST

START_TEST(narrow)
{
    static const uint32_t tails[] = {0x0000, 0x0001, 0x07ff, 0x0800, 0x0801, 0x0fff};
    static uint32_t values[BLOCK];
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(600 + (uint64_t)_i);
    const uint32_t step = (uint32_t)test_amount(1, 31);

    for (int f = CLQ_FLOAT_F16; ops != NULL && f <= CLQ_FLOAT_BF16; f++) {
        if (ops->narrow[f] == NULL) continue;
        for (uint32_t i = 0; i < BLOCK; i++)
            values[i] = test_random_value(&random, 0x3f800000, 0, -65536, 65536);
        try_cast(ops, ops->narrow[f], clq_cpu_scalar.narrow[f], CLQ_F32, float_dtypes[f], values, BLOCK, false);
        for (size_t tail = 0; tail < TEST_COUNT_OF(tails); tail++) {
            for (uint32_t first = 0; first < 1u << 20; first += BLOCK * step) {
                for (uint32_t i = 0; i < BLOCK; i++)
                    values[i] = f == CLQ_FLOAT_F16 ? (first + i * step) << 12 | tails[tail]
                                                   : (first + i * step) << 16 | tails[tail] << 4 | (tails[tail] & 15);
                try_cast(ops, ops->narrow[f], clq_cpu_scalar.narrow[f], CLQ_F32, float_dtypes[f], values, BLOCK, true);
            }
        }
    }
}
END_TEST

/* Doubles at and beside the ties of all three types, and where two roundings would differ from one. */
static double random_double(struct test_random *random)
{
    struct ref_number number;
    uint64_t bits;
    double x;

    if (test_chance(random, 4)) {
        bits = test_next(random);
    } else {
        const clq_dtype type = float_dtypes[test_between(random, 0, 2)];
        const uint32_t value = test_random_value(random, (uint32_t)test_between(random, 90, 150) << 23, 0, -300, 300);
        bits = ref_cast(CLQ_F32, type, value);
        bits = ref_cast(type, CLQ_F64, bits);
        if (ref_decode(CLQ_F64, bits, &number) == REF_FINITE && number.mantissa != 0 && test_chance(random, 2)) {
            /* half-way to the next value of the type, and a little more or less */
            const int32_t digits = type == CLQ_F32 ? 24 : type == CLQ_F16 ? 11 : 8;
            bits += (uint64_t)1 << (52 - digits);
            bits += (uint64_t)test_between(random, -1, 1);
            if (test_chance(random, 2)) bits += (uint64_t)test_between(random, -1, 1) << test_between(random, 1, 28);
        }
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}

START_TEST(narrow_f64)
{
    static double values[BLOCK];
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(700 + (uint64_t)_i);

    for (int f = 0; ops != NULL && f < CLQ_FLOAT_TYPES; f++) {
        if (ops->narrow_f64[f] == NULL) continue;
        for (int64_t round = 0; round < test_amount(20, 2); round++) {
            for (int32_t i = 0; i < BLOCK; i++)
                values[i] = random_double(&random);
            try_cast(ops, ops->narrow_f64[f], clq_cpu_scalar.narrow_f64[f], CLQ_F64, float_dtypes[f], values, BLOCK, round != 0);
        }
    }
}
END_TEST

START_TEST(nibbles)
{
    static unsigned char source[4096], expected[4096];
    const struct clq_cpu_ops *const ops = test_table(_i)->ops;
    struct test_random random = test_random_start(800 + (uint64_t)_i);
    const int64_t most = test_amount(700, 300);

    for (int64_t n = 0; n <= most; n++) {
        const size_t packed = (size_t)(n + 1) / 2, slack = (size_t)test_between(&random, 0, 63);
        const bool at_end = n % 4 < 3;
        test_fill_random(&random, source, sizeof source);
        test_note("seed %" PRIu64 ", table %s, %" PRId64 " nibbles, slack %zu", random.seed, ops->name, n, slack);
        if (ops->pack4 != NULL) {
            unsigned char *src = test_guarded(0, (size_t)n + slack, at_end), *dst = test_guarded(1, packed + slack, at_end);
            if (n % 2 != 0 && at_end) {
                src += slack;
                dst += slack;
            }
            memcpy(src, source, (size_t)n);
            memset(expected, 0, packed);
            for (int64_t i = 0; i < n; i++)
                expected[i / 2] |= (unsigned char)((source[i] & 15) << (i % 2 * 4));
            ops->pack4(src, dst, n);
            TEST_CHECK(memcmp(dst, expected, packed) == 0, "pack4 differs");
        }
        for (int sign = 0; sign < 2; sign++) {
            const clq_unpack_fn unpack = sign ? ops->unpack_s4 : ops->unpack_u4;
            unsigned char *src = test_guarded(0, packed + slack, at_end), *dst = test_guarded(1, (size_t)n + slack, at_end);
            if (unpack == NULL) continue;
            if (n % 2 != 0 && at_end) {
                src += slack;
                dst += slack;
            }
            memcpy(src, source, packed);
            for (int64_t i = 0; i < n; i++) {
                const unsigned nibble = source[i / 2] >> (i % 2 * 4) & 15;
                expected[i] = (unsigned char)(sign && nibble > 7 ? nibble - 16 : nibble);
            }
            unpack(src, dst, n);
            TEST_CHECK(memcmp(dst, expected, (size_t)n) == 0, "unpack_%s4 differs", sign ? "s" : "u");
        }
    }
}
END_TEST

/* ---- sums, ranges, copies */

static bool is_near(double got, double expected, double magnitude)
{
    return got == expected || fabs(got - expected) <= 1e-12 * magnitude || (isinf(got) && isinf(expected)) ||
           (isnan(got) && isnan(expected));
}

START_TEST(error_sums)
{
    static float x[5000], y[5000];
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(900 + (uint64_t)_i);
    const int64_t most = test_amount(600, 200);

    if (ops == NULL || ops->error_sums == NULL) return;
    for (int64_t k = 0; k <= most; k++) {
        const int64_t n = k < most - 3 ? k : test_between(&random, 1000, 5000);
        const int32_t mood = (int32_t)test_between(&random, 0, 3);
        struct clq_error_sums got = {.count = 3, .nan = 4, .inf = 5, .squared_x = 0.5, .max_error = k % 2 ? 0.0f : 0.25f},
                              expected = got, again = got;
        double absolute = 0;
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)test_between(&random, -1000000, 1000000) * 0x1p-18f;
            y[i] = x[i] + (float)test_between(&random, -1000, 1000) * 0x1p-18f;
            if (mood == 1 && test_chance(&random, 6))
                x[i] = test_float(test_special_floats[test_between(&random, 0, test_special_float_count - 1)]);
            if (mood == 1 && test_chance(&random, 6))
                y[i] = test_float(test_special_floats[test_between(&random, 0, test_special_float_count - 1)]);
            if (mood == 2 && test_chance(&random, 50)) x[i] = NAN;
            if (mood == 3) y[i] = x[i];
            if (isfinite(x[i]) && isfinite(y[i])) absolute += fabs((double)x[i] * y[i]);
        }
        test_note("seed %" PRIu64 ", table %s, error_sums of %" PRId64, random.seed, ops->name, n);
        /* At the guard page, and elsewhere at another alignment: the order of the sums depends on n alone. */
        unsigned char *const a = test_guarded(0, (size_t)n * 4, true), *const b = test_guarded(1, (size_t)n * 4 + 64, true) + 64 -
                                                                                  (k % 61);
        memcpy(a, x, (size_t)n * 4);
        memcpy(b, y, (size_t)n * 4);
        clq_cpu_scalar.error_sums(x, y, n, &expected);
        ops->error_sums(a, b, n, &got);
        ops->error_sums(x, y, n, &again);
        TEST_CHECK(got.count == expected.count && got.nan == expected.nan && got.inf == expected.inf,
                   "counts %" PRId64 ", %" PRId64 ", %" PRId64 ", expected %" PRId64 ", %" PRId64 ", %" PRId64, got.count,
                   got.nan, got.inf, expected.count, expected.nan, expected.inf);
        TEST_CHECK(test_bits(got.max_error) == test_bits(expected.max_error), "max_error %a, expected %a", got.max_error,
                   expected.max_error);
        TEST_CHECK(is_near(got.squared_error, expected.squared_error, expected.squared_error),
                   "squared_error %.17g, expected %.17g", got.squared_error, expected.squared_error);
        TEST_CHECK(is_near(got.absolute_error, expected.absolute_error, expected.absolute_error),
                   "absolute_error %.17g, expected %.17g", got.absolute_error, expected.absolute_error);
        TEST_CHECK(is_near(got.squared_x, expected.squared_x, expected.squared_x), "squared_x %.17g, expected %.17g",
                   got.squared_x, expected.squared_x);
        TEST_CHECK(is_near(got.squared_y, expected.squared_y, expected.squared_y), "squared_y %.17g, expected %.17g",
                   got.squared_y, expected.squared_y);
        TEST_CHECK(is_near(got.product, expected.product, absolute), "product %.17g, expected %.17g", got.product,
                   expected.product);
        TEST_CHECK(memcmp(&got, &again, offsetof(struct clq_error_sums, max_error)) == 0, "the sums depend on the alignment");
    }
}
END_TEST

START_TEST(qparams_from_range)
{
    static const struct clq_range_rule rules[] = {
        {.qmin = -128, .qmax = 127},
        {.qmin = 0, .qmax = 255},
        {.qmin = 0, .qmax = 65535},
        {.qmin = -32768, .qmax = 32767},
        {.qmin = -8, .qmax = 7},
        {.qmin = 0, .qmax = 1},
        {.qmin = 3, .qmax = 9},
        {.symmetric = true, .step = 127.0f, .qmin = -128, .qmax = 127, .zero_point = 0},
        {.symmetric = true, .step = 127.5f, .qmin = 0, .qmax = 255, .zero_point = 128},
        {.symmetric = true, .power_of_two = true, .step = 32767.0f, .qmin = 0, .qmax = 65535, .zero_point = 32768},
        {.symmetric = true, .power_of_two = true, .step = 7.0f, .qmin = -8, .qmax = 7, .zero_point = 0},
    };
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(1000 + (uint64_t)_i);
    const int64_t rounds = test_amount(3000, 200);

    if (ops == NULL || ops->qparams_from_range == NULL) return;
    for (int64_t round = 0; round < rounds; round++) {
        const struct clq_range_rule *const rule = &rules[round % (int64_t)TEST_COUNT_OF(rules)];
        const int64_t n = round < 140 ? round : test_between(&random, 0, 140);
        float expected[141];
        int32_t expected_z[141];
        float *const lo = (float *)(void *)test_guarded(0, (size_t)n * 4, true), *const hi = (float *)(void *)test_guarded(
                                                                                     1, (size_t)n * 4, round % 2 == 0);
        /* The scales may replace the lower bounds. */
        float *const scale = round % 3 == 0 ? lo : (float *)(void *)test_guarded(2, (size_t)n * 4, true);
        int32_t *const zero_point = round % 4 == 3 ? NULL : (int32_t *)(void *)test_guarded(3, (size_t)n * 4, round % 2 == 1);
        float lows[141], highs[141];
        for (int64_t i = 0; i < n; i++) {
            float a = test_float((uint32_t)test_next(&random)), b = test_float((uint32_t)test_next(&random));
            if (test_chance(&random, 3))
                a = test_float(test_special_floats[test_between(&random, 0, test_special_float_count - 1)]);
            if (test_chance(&random, 4))
                b = test_float(test_special_floats[test_between(&random, 0, test_special_float_count - 1)]);
            if (test_chance(&random, 2)) {
                a = -(float)test_between(&random, 0, 1000000) * 0x1p-18f;
                b = (float)test_between(&random, 0, 1000000) * 0x1p-18f;
            }
            if (!isfinite(a)) a = 0;
            if (!isfinite(b)) b = test_chance(&random, 2) ? a : 0;
            lows[i] = lo[i] = a < b ? a : b;
            highs[i] = hi[i] = a < b ? b : a;
        }
        test_note("seed %" PRIu64 ", table %s, qparams_from_range of %" PRId64 ", rule %" PRId64, random.seed, ops->name, n,
                  round % (int64_t)TEST_COUNT_OF(rules));
        clq_cpu_scalar.qparams_from_range(lows, highs, n, rule, expected, expected_z);
        ops->qparams_from_range(lo, hi, n, rule, scale, zero_point);
        for (int64_t i = 0; i < n; i++) {
            TEST_CHECK(test_bits(scale[i]) == test_bits(expected[i]), "[%a, %a]: scale %a, expected %a", lows[i], highs[i],
                       scale[i], expected[i]);
            TEST_CHECK(zero_point == NULL || zero_point[i] == expected_z[i], "[%a, %a]: zero point %d, expected %d", lows[i],
                       highs[i], (int)zero_point[i], (int)expected_z[i]);
        }
    }
}
END_TEST

/* Elements from the first to the last of a strided block. */
static int64_t span_of(int64_t rows, int64_t row, int64_t cols, int64_t col, int64_t *least)
{
    const int64_t a = (rows - 1) * row, b = (cols - 1) * col;
    *least = (a < 0 ? a : 0) + (b < 0 ? b : 0);
    return llabs(a) + llabs(b) + 1;
}

START_TEST(copy2d)
{
    static unsigned char before[1 << 22], source[1 << 22];
    const struct clq_cpu_ops *const ops = test_table(_i)->ops;
    struct test_random random = test_random_start(1100 + (uint64_t)_i);
    const int64_t rounds = test_amount(6000, 600);

    for (int64_t round = 0; round < rounds; round++) {
        const int32_t log = (int32_t)(round % 4);
        const int64_t size_bytes = 1 << log,
                      one = test_between(&random, round % 7 == 0 ? 0 : 1, test_chance(&random, 3) ? 130 : 40),
                      many = test_chance(&random, 6)
                                 ? test_between(&random, 100, 400)
                                 : test_between(&random, round % 7 == 1 ? 0 : 1, test_chance(&random, 3) ? 130 : 40);
        const int64_t rows = round % 2 ? one : many, cols = round % 2 ? many : one; /* at most 400 x 130 x 5 x 8 bytes */
        int64_t strides[4], least[2], spans[2];                                     /* of src and dst: row, col */
        unsigned char *memory[2];
        if (ops->copy2d[log] == NULL) continue;
        for (int k = 0; k < 4; k += 2) {
            const bool transposed = test_chance(&random, 2), zero_allowed = k == 0;
            const int64_t step = test_chance(&random, 3) ? test_between(&random, 2, 5) : 1;
            /* Whichever index is the inner one has the small stride. */
            if (transposed) {
                strides[k] = step;
                strides[k + 1] = rows * step + test_between(&random, 0, 3) * test_between(&random, 0, 1);
            } else {
                strides[k + 1] = step;
                strides[k] = cols * step + test_between(&random, 0, 3) * test_between(&random, 0, 1);
            }
            for (int side = 0; side < 2; side++) {
                if (test_chance(&random, 4)) strides[k + side] = -strides[k + side];
                if (zero_allowed && test_chance(&random, 10)) strides[k + side] = 0;
            }
            spans[k / 2] = rows == 0 || cols == 0 ? 0 : span_of(rows, strides[k], cols, strides[k + 1], &least[k / 2]);
            if (spans[k / 2] == 0) least[k / 2] = 0;
            const int64_t slack = test_chance(&random, 2) ? 0 : test_between(&random, 0, 63);
            memory[k / 2] = test_guarded(k / 2, (size_t)(spans[k / 2] * size_bytes + slack), test_chance(&random, 2));
            if (test_chance(&random, 2)) memory[k / 2] += slack;
        }
        test_note("seed %" PRIu64 ", table %s, copy2d of %" PRId64 " x %" PRId64 " x %" PRId64 " bytes, src %p strides %" PRId64
                  ", %" PRId64 ", dst %p strides %" PRId64 ", %" PRId64,
                  random.seed, ops->name, rows, cols, size_bytes, (void *)memory[0], strides[0], strides[1], (void *)memory[1],
                  strides[2], strides[3]);
        test_fill_random(&random, memory[0], (size_t)(spans[0] * size_bytes));
        test_fill_random(&random, memory[1], (size_t)(spans[1] * size_bytes));
        memcpy(source, memory[0], (size_t)(spans[0] * size_bytes));
        memcpy(before, memory[1], (size_t)(spans[1] * size_bytes));
        ops->copy2d[log](memory[0] - least[0] * size_bytes, strides[0], strides[1], memory[1] - least[1] * size_bytes, strides[2],
                         strides[3], rows, cols);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t col = 0; col < cols; col++)
                memcpy(before + (row * strides[2] + col * strides[3] - least[1]) * size_bytes,
                       source + (row * strides[0] + col * strides[1] - least[0]) * size_bytes, (size_t)size_bytes);
        for (int64_t i = 0; i < spans[1] * size_bytes; i++)
            TEST_CHECK(before[i] == memory[1][i], "byte %" PRId64 " of %" PRId64 " differs", i, spans[1] * size_bytes);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel arrays");
    TCase *casts = test_case(suite, "casts"), *others = test_case(suite, "sums, ranges, copies");
    const int32_t tables = test_table_count();

    tcase_add_loop_test(casts, widen, 0, tables);
    tcase_add_loop_test(casts, narrow, 0, tables);
    tcase_add_loop_test(casts, narrow_f64, 0, tables);
    tcase_add_loop_test(casts, nibbles, 0, tables);
    tcase_add_loop_test(others, error_sums, 0, tables);
    tcase_add_loop_test(others, qparams_from_range, 0, tables);
    tcase_add_loop_test(others, copy2d, 0, tables);
    return test_run(suite);
}
