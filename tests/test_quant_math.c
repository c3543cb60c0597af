/* SPDX-License-Identifier: MIT */
/* quant_math.h, which defines every result, against the integer arithmetic of the reference. */
#include "config.h"

#include "quant_math.h"
#include "reference.h"
#include "test_support.h"
#include <inttypes.h>

#define SCALE_LEAST 0x0d800000u
#define SCALE_MOST  0x71800000u

static void check_quotient(uint32_t x, uint32_t s, bool reciprocal)
{
    const uint32_t got = test_bits(clqm_quotient(test_float(x), test_float(s), reciprocal)),
                   expected = ref_quotient(x, s, reciprocal);
    TEST_CHECK(got == expected || (ref_is_nan(CLQ_F32, got) && ref_is_nan(CLQ_F32, expected)),
               "quotient(x = 0x%08x, s = 0x%08x, reciprocal = %d) = 0x%08x, must be 0x%08x", x, s, reciprocal, got, expected);
}

static void check_quantize(uint32_t x, uint32_t s, bool reciprocal, int32_t z, int32_t qmin, int32_t qmax)
{
    const float d = clqm_quotient(test_float(x), test_float(s), reciprocal);
    const int32_t got = clqm_quantize(d, z, qmin, qmax);
    enum ref_kind kind;
    const int32_t expected = ref_quantize_bits(x, s, reciprocal, z, qmin, qmax, &kind);
    const bool is_finite = kind == REF_INSIDE || kind == REF_CLIPPED;

    TEST_CHECK(got == expected, "quantize(x = 0x%08x, s = 0x%08x, z = %d, [%d, %d], reciprocal = %d) = %d, must be %d", x, s, z,
               qmin, qmax, reciprocal, got, expected);
    TEST_CHECK(!is_finite || clqm_clipped(d, z, qmin, qmax) == (kind == REF_CLIPPED),
               "clipped(x = 0x%08x, s = 0x%08x, z = %d, [%d, %d], reciprocal = %d) must be %d", x, s, z, qmin, qmax, reciprocal,
               kind == REF_CLIPPED);
}

/* The pair on which division and reciprocal part. */
START_TEST(frozen_pair)
{
    const float x = 0.273939937f, s = 0.00214854861f;

    TEST_CHECK(clqm_quantize(clqm_quotient(x, s, 0), 0, 0, 255) == 127, "u8 by division must be 127");
    TEST_CHECK(clqm_quantize(clqm_quotient(x, s, 1), 0, 0, 255) == 128, "u8 by reciprocal must be 128");
    TEST_CHECK(clqm_quantize(clqm_quotient(-x, s, 0), 0, -128, 127) == -127, "s8 by division must be -127");
    TEST_CHECK(clqm_quantize(clqm_quotient(-x, s, 1), 0, -128, 127) == -128, "s8 by reciprocal must be -128");
}
END_TEST

static const struct {
    float lo, hi;
    int32_t qmin, qmax;
    float scale;
    int32_t zero_point;
} worked_examples[] = {
    {-1.0f, 1.0f, -128, 127, 0x1.010102p-7f, -1}, /* lo / s is just above -127.5 */
    {-0.5f, 1.5f, -128, 127, 0x1.010102p-7f, -64},
    {-10.0f, 30.0f, 0, 255, 0x1.414142p-3f, 64},
    {-5.2f, 10.5f, 0, 255, 0x1.f85ec4p-5f, 84},
};

START_TEST(worked_example)
{
    const float lo = worked_examples[_i].lo, hi = worked_examples[_i].hi;
    const int32_t qmin = worked_examples[_i].qmin, qmax = worked_examples[_i].qmax;
    const float scale = clqm_scale_asymmetric(lo, hi, qmin, qmax);
    const int32_t zero_point = clqm_zero_point_asymmetric(lo, hi, scale, qmin, qmax);

    TEST_CHECK(scale == worked_examples[_i].scale, "[%a, %a]: scale %a, must be %a", lo, hi, scale, worked_examples[_i].scale);
    TEST_CHECK(zero_point == worked_examples[_i].zero_point, "[%a, %a]: zero point %d, must be %d", lo, hi, zero_point,
               worked_examples[_i].zero_point);
}
END_TEST

/* All mantissas of x, for scales whose mantissas are hard. */
static const uint32_t hard_mantissas[] = {0x7fffff, 0x000001, 0x2aaaab, 0x490fdb};

START_TEST(division_over_mantissas)
{
    const uint32_t step = (uint32_t)test_amount(1, 61), s = 120u << 23 | hard_mantissas[_i];

    for (uint32_t mantissa = 0; mantissa < 1u << 23; mantissa += step) {
        check_quotient(130u << 23 | mantissa, s, false);
        if (mantissa % 8 == 0) check_quotient(0x80000000 | 129u << 23 | mantissa, s, true);
    }
}
END_TEST

/* All mantissas of s, and the x at a tie and beside it. */
static const int32_t hard_ties[] = {1, 3, 127, 253, 255, 511};

START_TEST(ties_over_scales)
{
    const uint32_t step = (uint32_t)test_amount(17, 331);
    const int32_t halves = hard_ties[_i];

    for (uint32_t mantissa = (uint32_t)_i % step; mantissa < 1u << 23; mantissa += step) {
        const uint32_t s = 125u << 23 | mantissa, x = ref_multiply(s, test_bits((float)halves * 0.5f));
        for (uint32_t bits = x - 1; bits <= x + 1; bits++) {
            check_quantize(bits, s, false, 0, 0, 255);
            check_quantize(0x80000000 | bits, s, false, 0, -128, 127);
        }
    }
}
END_TEST

/* Exponents at random, denormals among them; all kinds of x, ranges and zero points. */
START_TEST(quantize_at_random)
{
    static const int32_t ranges[][2] = {{-128, 127}, {0, 255}, {-8, 7}, {0, 15},     {-32768, 32767},
                                        {0, 65535},  {-4, 3},  {0, 1},  {-127, 127}, {5, 9}};
    struct test_random random = test_random_start(1);
    const int64_t n = test_amount(4000000, 100000);

    for (int64_t i = 0; i < n; i++) {
        const int32_t *const range = ranges[test_between(&random, 0, TEST_COUNT_OF(ranges) - 1)];
        const int32_t z = (int32_t)(test_chance(&random, 3)   ? range[test_between(&random, 0, 1)]
                                    : test_chance(&random, 4) ? range[0] + (range[1] - range[0] + 1) / 2
                                                              : test_between(&random, range[0], range[1]));
        const uint32_t s = test_random_scale(&random), x = test_random_value(&random, s, z, range[0], range[1]);
        check_quotient(x, s, i % 2);
        check_quantize(x, s, i % 2, z, range[0], range[1]);
    }
}
END_TEST

START_TEST(special_values)
{
    for (int32_t i = 0; i < test_special_float_count; i++) {
        const uint32_t bits = test_special_floats[i];
        struct ref_number number;
        const enum ref_class class = ref_decode(CLQ_F32, bits, &number);
        const float x = test_float(bits);

        TEST_CHECK(clqm_is_nan(x) == (class == REF_NAN), "is_nan(0x%08x)", bits);
        TEST_CHECK(clqm_is_inf(x) == (class == REF_INFINITE), "is_inf(0x%08x)", bits);
        if (class == REF_FINITE) {
            const uint32_t expected = (bits & 0x7fffffff) < 0x00800000 ? 0 : bits;
            TEST_CHECK(test_bits(clqm_flush(x)) == expected, "flush(0x%08x) must be 0x%08x", bits, expected);
        }
        for (int reciprocal = 0; reciprocal < 2; reciprocal++) {
            check_quantize(bits, SCALE_LEAST, reciprocal, -128, -128, 127);
            check_quantize(bits, SCALE_LEAST, reciprocal, 127, -128, 127);
            check_quantize(bits, SCALE_MOST, reciprocal, 0, 0, 65535);
            check_quantize(bits, SCALE_MOST, reciprocal, 65535, 0, 65535);
            check_quantize(bits, 0x3f800000, reciprocal, 7, 0, 15);
        }
    }
    for (int32_t z = 0; z <= 255; z += 51) {
        TEST_CHECK(clqm_quantize(test_float(0x7fc00000), z, 0, 255) == 0, "NaN must give qmin, z = %d", z);
        TEST_CHECK(clqm_quantize(test_float(0xffffffff), z, 3, 255) == 3, "NaN must give qmin, z = %d", z);
        TEST_CHECK(clqm_quantize(test_float(0x7f800000), z, 0, 250) == 250, "infinity must give qmax, z = %d", z);
        TEST_CHECK(clqm_quantize(test_float(0xff800000), z, 2, 255) == 2, "-infinity must give qmin, z = %d", z);
        TEST_CHECK(clqm_quantize(1e30f, z, 0, 255) == 255, "1e30 must give qmax, z = %d", z);
    }
}
END_TEST

static void check_s32(uint32_t x, uint32_t s, bool reciprocal)
{
    const float d = clqm_quotient(test_float(x), test_float(s), reciprocal);
    enum ref_kind kind;
    const int32_t expected = ref_quantize_bits(x, s, reciprocal, 0, INT32_MIN, INT32_MAX, &kind), got = clqm_quantize_s32(d);

    TEST_CHECK(got == expected, "quantize_s32(x = 0x%08x, s = 0x%08x, reciprocal = %d) = %d, must be %d", x, s, reciprocal, got,
               expected);
    if (kind == REF_INSIDE || kind == REF_CLIPPED)
        TEST_CHECK(clqm_clipped_s32(d) == (kind == REF_CLIPPED), "clipped_s32(x = 0x%08x, s = 0x%08x) must be %d", x, s,
                   kind == REF_CLIPPED);
}

START_TEST(quantize_s32)
{
    struct test_random random = test_random_start(2);
    const int64_t n = test_amount(1000000, 30000);

    for (int32_t i = 0; i < test_special_float_count; i++) {
        check_s32(test_special_floats[i], 0x3f800000, false);
        check_s32(test_special_floats[i], 0x3f800000, true);
        check_s32(test_special_floats[i], SCALE_LEAST, false);
        check_s32(test_special_floats[i], SCALE_MOST, true);
    }
    for (int64_t i = 0; i < n; i++) {
        const uint32_t s = test_random_scale(&random);
        check_s32(test_random_value(&random, s, 0, INT32_MIN, INT32_MAX), s, i % 2);
        check_s32(test_random_value(&random, s, 0, -70000, 70000), s, i % 2);
    }
}
END_TEST

START_TEST(dequantize)
{
    struct test_random random = test_random_start(3);
    const int64_t n = test_amount(2000000, 50000);

    for (int64_t i = 0; i < n; i++) {
        const uint32_t s = test_random_scale(&random);
        const bool is_wide = i % 4 == 0;
        const int32_t z = is_wide ? 0 : (int32_t)test_between(&random, -65535, 65535);
        const int32_t q = (int32_t)(is_wide ? test_between(&random, INT32_MIN, INT32_MAX) : test_between(&random, -65535, 65535));
        const uint32_t got = test_bits(clqm_dequantize(q, test_float(s), z)), expected = ref_dequantize_bits(q, s, z);
        TEST_CHECK(got == expected, "dequantize(%d, s = 0x%08x, z = %d) = 0x%08x, must be 0x%08x", q, s, z, got, expected);
    }
    TEST_CHECK(test_bits(clqm_dequantize(5, 1e-20f, 5)) == 0, "q = z must give +0");
    TEST_CHECK(clqm_dequantize(INT32_MIN, 1.0f, 0) == -0x1p31f, "INT32_MIN");
    TEST_CHECK(clqm_dequantize(INT32_MAX, 1.0f, 0) == 0x1p31f, "INT32_MAX rounds up");
    TEST_CHECK(clqm_dequantize(16777217, 1.0f, 0) == 16777216.0f, "2^24 + 1 is a tie");
    TEST_CHECK(clqm_dequantize(16777219, 1.0f, 0) == 16777220.0f, "2^24 + 3 is a tie");
}
END_TEST

/* ---- f16 and bf16 */

START_TEST(widen)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        const uint32_t f16 = test_bits(clqm_widen_f16((uint16_t)bits)), bf16 = test_bits(clqm_widen_bf16((uint16_t)bits));
        const uint32_t expected_f16 = (uint32_t)ref_cast(CLQ_F16, CLQ_F32, bits),
                       expected_bf16 = (uint32_t)ref_cast(CLQ_BF16, CLQ_F32, bits);
        TEST_CHECK(f16 == expected_f16 || (ref_is_nan(CLQ_F16, bits) && ref_is_nan(CLQ_F32, f16)),
                   "widen_f16(0x%04x) = 0x%08x, must be 0x%08x", bits, f16, expected_f16);
        TEST_CHECK(bf16 == expected_bf16 || (ref_is_nan(CLQ_BF16, bits) && ref_is_nan(CLQ_F32, bf16)),
                   "widen_bf16(0x%04x) = 0x%08x, must be 0x%08x", bits, bf16, expected_bf16);
    }
}
END_TEST

static void check_narrow(uint32_t bits)
{
    const uint16_t f16 = clqm_narrow_f16(test_float(bits)), bf16 = clqm_narrow_bf16(test_float(bits));
    const uint16_t expected_f16 = (uint16_t)ref_cast(CLQ_F32, CLQ_F16, bits),
                   expected_bf16 = (uint16_t)ref_cast(CLQ_F32, CLQ_BF16, bits);
    const bool is_nan = ref_is_nan(CLQ_F32, bits);

    TEST_CHECK(is_nan ? ref_is_nan(CLQ_F16, f16) : f16 == expected_f16, "narrow_f16(0x%08x) = 0x%04x, must be 0x%04x", bits, f16,
               expected_f16);
    TEST_CHECK(is_nan ? ref_is_nan(CLQ_BF16, bf16) : bf16 == expected_bf16, "narrow_bf16(0x%08x) = 0x%04x, must be 0x%04x", bits,
               bf16, expected_bf16);
}

/* All upper halves with the lower ones at and beside the ties of bf16; all upper 20 bits with those of f16. */
START_TEST(narrow)
{
    static const uint32_t tails[] = {0, 1, 0x7ff, 0x800, 0x801, 0xfff};
    const uint32_t step = (uint32_t)test_amount(1, 23);

    for (uint32_t upper = 0; upper <= 0xffff; upper++) {
        for (uint32_t tail = 0x7fff; tail <= 0x8001; tail++)
            check_narrow(upper << 16 | tail);
        check_narrow(upper << 16);
        check_narrow(upper << 16 | 0xffff);
    }
    for (uint32_t upper = 0; upper < 1u << 20; upper += step)
        for (size_t i = 0; i < TEST_COUNT_OF(tails); i++)
            check_narrow(upper << 12 | tails[i]);
    /* Every value of f16 and what lies half-way to the next, denormals too. */
    for (uint32_t half = 0; half < 0x7c00; half++) {
        struct ref_number number;
        (void)ref_decode(CLQ_F16, half, &number);
        number.mantissa = 2 * number.mantissa + 1;
        number.exponent--;
        const uint32_t tie = (uint32_t)ref_encode(CLQ_F32, number);
        for (uint32_t bits = tie - 1; bits <= tie + 1; bits++) {
            check_narrow(bits);
            check_narrow(0x80000000 | bits);
        }
    }
}
END_TEST

START_TEST(narrow_at_random)
{
    struct test_random random = test_random_start(4);
    const int64_t n = test_amount(2000000, 50000);

    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)test_next(&random);
        check_narrow(bits);
        check_narrow((bits & 0x80ffffff) +
                     (uint32_t)test_between(&random, 99, 146) * 0x800000); /* where f16 is not 0 or infinite */
    }
    for (int32_t i = 0; i < test_special_float_count; i++)
        check_narrow(test_special_floats[i]);
    TEST_CHECK(clqm_narrow_f16(65519.996f) == 0x7bff, "below 65520 is 65504");
    TEST_CHECK(clqm_narrow_f16(65520.0f) == 0x7c00, "65520 is infinity");
    TEST_CHECK(clqm_narrow_f16(-65520.0f) == 0xfc00, "-65520 is -infinity");
}
END_TEST

/* ---- parameters from a range */

static void check_range(uint32_t lo, uint32_t hi, const clq_scheme *scheme)
{
    struct ref_scheme r;
    uint32_t scale, expected_scale = 0;
    int32_t zero_point, expected_zero_point = 0;

    if (!ref_from_range(lo, hi, scheme, &expected_scale, &expected_zero_point)) return;
    ref_scheme_resolve(scheme, &r);
    if (r.symmetric) {
        const float step = scheme->symmetry == CLQ_SYMMETRIC_FULL ? (float)(r.qmax - r.qmin) * 0.5f : (float)r.reach;
        scale = test_bits(clqm_scale_symmetric(test_float(lo), test_float(hi), step, scheme->symmetry == CLQ_POWER_OF_TWO));
        zero_point = expected_zero_point;
    } else {
        scale = test_bits(clqm_scale_asymmetric(test_float(lo), test_float(hi), r.qmin, r.qmax));
        zero_point = clqm_zero_point_asymmetric(test_float(lo), test_float(hi), test_float(scale), r.qmin, r.qmax);
    }
    TEST_CHECK(scale == expected_scale, "[0x%08x, 0x%08x] %s: scale 0x%08x, must be 0x%08x", lo, hi, test_describe_scheme(scheme),
               scale, expected_scale);
    TEST_CHECK(zero_point == expected_zero_point, "[0x%08x, 0x%08x] %s: zero point %d, must be %d", lo, hi,
               test_describe_scheme(scheme), zero_point, expected_zero_point);
}

static const struct {
    clq_dtype dtype;
    int32_t qmin, qmax;
} ranged_types[] = {{CLQ_S8, 0, 0},  {CLQ_U8, 0, 0}, {CLQ_S4, 0, 0},      {CLQ_U4, 0, 0},  {CLQ_S16, 0, 0}, {CLQ_U16, 0, 0},
                    {CLQ_S8, -4, 3}, {CLQ_U8, 0, 1}, {CLQ_S8, -127, 127}, {CLQ_U16, 0, 2}, {CLQ_S8, -1, 1}, {CLQ_S16, -3, 100}};

/* Symmetric full takes only ranges whose two sides are equal or differ by one below. */
static bool is_allowed(const clq_scheme *scheme)
{
    struct ref_scheme r;
    ref_scheme_resolve(scheme, &r);
    const int32_t excess = (r.zero_point - r.qmin) - (r.qmax - r.zero_point);
    if (!r.symmetric) return true;
    if (scheme->symmetry == CLQ_SYMMETRIC_FULL) return excess == 0 || excess == 1;
    return r.reach >= 1;
}

START_TEST(ranges_at_random)
{
    struct test_random random = test_random_start(5 + (uint64_t)_i);
    const int64_t n = test_amount(250000, 8000);

    for (int64_t i = 0; i < n; i++) {
        const size_t type = (size_t)test_between(&random, 0, TEST_COUNT_OF(ranged_types) - 1);
        const clq_scheme scheme = {.dtype = ranged_types[type].dtype,
                                   .symmetry = (clq_symmetry)_i,
                                   .qmin = ranged_types[type].qmin,
                                   .qmax = ranged_types[type].qmax};
        uint32_t lo = (uint32_t)test_next(&random), hi = (uint32_t)test_next(&random);
        if (!is_allowed(&scheme)) continue;
        if (i % 3 == 0) { /* like those of real tensors */
            lo = 0x80000000 | (0x3a000000 + (lo & 0x07ffffff));
            hi = 0x3a000000 + (hi & 0x07ffffff);
        }
        if (i % 3 == 1 && i % 2 == 0) hi = test_special_floats[test_between(&random, 0, test_special_float_count - 1)];
        if (i % 3 == 1 && i % 4 == 1) lo = test_special_floats[test_between(&random, 0, test_special_float_count - 1)];
        check_range(lo, hi, &scheme);
        check_range(hi, lo, &scheme);
        check_range(lo, lo, &scheme);
    }
}
END_TEST

START_TEST(ranges_of_special_values)
{
    for (size_t type = 0; type < TEST_COUNT_OF(ranged_types); type++) {
        const clq_scheme scheme = {.dtype = ranged_types[type].dtype,
                                   .symmetry = (clq_symmetry)_i,
                                   .qmin = ranged_types[type].qmin,
                                   .qmax = ranged_types[type].qmax};
        if (!is_allowed(&scheme)) continue;
        for (int32_t i = 0; i < test_special_float_count; i++)
            for (int32_t k = 0; k < test_special_float_count; k++)
                check_range(test_special_floats[i], test_special_floats[k], &scheme);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quant_math");
    TCase *quantization = test_case(suite, "quantize and dequantize"), *halves = test_case(suite, "f16 and bf16"),
          *ranges = test_case(suite, "ranges");

    tcase_add_test(quantization, frozen_pair);
    tcase_add_loop_test(quantization, division_over_mantissas, 0, TEST_COUNT_OF(hard_mantissas));
    tcase_add_loop_test(quantization, ties_over_scales, 0, TEST_COUNT_OF(hard_ties));
    tcase_add_test(quantization, quantize_at_random);
    tcase_add_test(quantization, special_values);
    tcase_add_test(quantization, quantize_s32);
    tcase_add_test(quantization, dequantize);
    tcase_add_test(halves, widen);
    tcase_add_test(halves, narrow);
    tcase_add_test(halves, narrow_at_random);
    tcase_add_loop_test(ranges, worked_example, 0, TEST_COUNT_OF(worked_examples));
    tcase_add_loop_test(ranges, ranges_at_random, 0, 4);
    tcase_add_loop_test(ranges, ranges_of_special_values, 0, 4);
    return test_run(suite);
}
