/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the integer matrix product of every table, against plain C written from gemm.h: packing from memory between guard pages, tiles of
 * every number of rows and columns, corrections, the end in f32.
 */
#include "config.h"

#include "base/util.h"
#include "quant_math.h"
#include "test_support.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 32, MOST_COLS = 64, MOST_K = 700, ALIGNMENT = 64 };

static const char *const type_names[CLQ_GEMM_TYPES] = {"s8", "u8"};

/* The tables of this machine, and AMX in plain C (amx_emulation.c) where its other instructions are. */
static const struct clq_cpu_ops *ops_of(int i)
{
#if CLQ_HAVE_AVX512VNNI
    extern const struct clq_cpu_ops test_amx_emulation;
    if (i == test_table_count()) return &test_amx_emulation;
#endif
    return test_table(i)->ops;
}

static int count_tables(void)
{
    const int32_t count = test_table_count();
#if CLQ_HAVE_AVX512VNNI
    for (int32_t i = 0; i < count; i++)
        if (test_table(i)->ops == &clq_cpu_avx512vnni) return count + 1;
#endif
    return count;
}

/* NULL if the table has none of its own. */
static const struct clq_gemm_kernels *kernels_of(int i)
{
    return ops_of(i)->gemm;
}

static const char *name_of(int i)
{
    return ops_of(i)->name;
}

static int64_t round_up(int64_t k, int64_t unit)
{
    return clq_ceil_div(k, unit) * unit;
}

/* An element of an operand as it is packed. */
static int32_t packed_value(uint8_t byte, int type, const uint8_t *flips)
{
    const bool is_signed = (type == CLQ_GEMM_S8) != (flips[type] != 0);
    const uint8_t flipped = byte ^ flips[type];
    return is_signed ? (int32_t)(int8_t)flipped : (int32_t)flipped;
}

/* What lies in packed memory for it. */
static void check_packed(const struct clq_gemm_kernels *gemm, const unsigned char *packed, int64_t at, int32_t value, const char *what)
{
    if (gemm->element_bytes == 1) {
        TEST_CHECK(packed[at] == (uint8_t)value, "%s: element %" PRId64 " is 0x%02x, expected 0x%02x", what, at, packed[at], (uint8_t)value);
    } else {
        int16_t got;
        memcpy(&got, packed + 2 * at, sizeof got);
        TEST_CHECK(got == value, "%s: element %" PRId64 " is %d, expected %d", what, at, got, (int)value);
    }
}

/* Random, or extreme: all -128 or all 255 or 127 or 0, or any of these. */
static void fill(struct test_random *random, unsigned char *bytes, size_t n)
{
    static const unsigned char extremes[] = {0x80, 0xff, 0x7f, 0x00};
    const int64_t mood = test_between(random, 0, 8);
    test_fill_random(random, bytes, n);
    for (size_t i = 0; mood >= 4 && i < n; i++)
        bytes[i] = extremes[mood < 8 ? mood - 4 : bytes[i] % 4];
}

/* ---- packing */

static void try_pack_a(const struct clq_gemm_kernels *gemm, struct test_random *random, int64_t k, int type)
{
    const int64_t k_padded = round_up(k, gemm->k_unit) + gemm->k_unit * test_between(random, 0, 2), rows = test_between(random, 1, 3);
    const int64_t src_pitch = k + test_between(random, 0, 70), row_bytes = k_padded * gemm->element_bytes;
    const int64_t dst_pitch = row_bytes + 64 * test_between(random, 0, 1), src_bytes = (rows - 1) * src_pitch + k;
    const size_t slack = (size_t)test_between(random, 0, 63);
    const bool at_end = test_chance(random, 2), needs_sums = test_chance(random, 2);
    unsigned char *const src = test_guarded(0, (size_t)src_bytes + slack, at_end) + (at_end ? slack : 0);
    unsigned char *const dst = test_guarded(1, (size_t)((rows - 1) * dst_pitch + row_bytes), true);
    int32_t sums[3], before[3];

    test_note_place("%" PRId64 " rows of %" PRId64 " %s to %" PRId64, rows, k, type_names[type], k_padded);
    fill(random, src, (size_t)src_bytes);
    test_fill_random(random, before, sizeof before);
    memcpy(sums, before, sizeof sums);
    gemm->pack_a(src, src_pitch, rows, k, k_padded, type, dst, dst_pitch, needs_sums ? sums : NULL);
    for (int64_t r = 0; r < rows; r++) {
        uint32_t sum = (uint32_t)before[r];
        for (int64_t i = 0; i < k_padded; i++) {
            const int32_t value = i < k ? packed_value(src[r * src_pitch + i], type, gemm->flip_a) : 0;
            check_packed(gemm, dst + r * dst_pitch, i, value, "pack_a");
            sum += needs_sums ? (uint32_t)value : 0;
        }
        TEST_CHECK((uint32_t)sums[r] == sum, "pack_a: sum %" PRId32 ", expected %" PRId32, sums[r], (int32_t)sum);
    }
}

START_TEST(pack_a)
{
    const struct clq_gemm_kernels *const gemm = kernels_of(_i);
    struct test_random random = test_random_start(1300 + (uint64_t)_i);
    const int64_t most = test_amount(MOST_K, 300);

    test_note("seed %" PRIu64 ", table %s", random.seed, name_of(_i));
    for (int64_t k = 0; gemm != NULL && k <= most; k++)
        for (int type = 0; type < CLQ_GEMM_TYPES; type++)
            try_pack_a(gemm, &random, k, type);
    test_note_place("%s", "");
}
END_TEST

/* Where element (i, j) of B lies in a panel. */
static int64_t panel_index(const struct clq_gemm_kernels *gemm, int64_t i, int64_t j)
{
    return (i / gemm->group * gemm->cols + j) * gemm->group + i % gemm->group;
}

static void try_pack_b(const struct clq_gemm_kernels *gemm, struct test_random *random, int64_t k, int64_t n, int type, bool by_rows)
{
    const int64_t lines = by_rows ? k : n, length = by_rows ? n : k;
    const int64_t pitch = (length + test_between(random, 0, 3) * test_between(random, 0, 40)) * (test_chance(random, 4) ? -1 : 1);
    const int64_t extent = (lines - 1) * (pitch < 0 ? -pitch : pitch) + length, k_padded = round_up(k, gemm->k_unit);
    const int64_t spare = gemm->k_unit * test_between(random, 0, 1);
    const size_t slack = (size_t)test_between(random, 0, 63);
    const bool at_end = test_chance(random, 2), needs_sums = test_chance(random, 2);
    int32_t sums[MOST_COLS], before[MOST_COLS];
    unsigned char *const memory = test_guarded(0, (size_t)extent + slack, at_end) + (at_end ? slack : 0);
    const unsigned char *const src = memory + (pitch < 0 ? -pitch * (lines - 1) : 0);
    unsigned char *const dst = test_guarded(1, (size_t)((k_padded + spare) * gemm->cols * gemm->element_bytes), true);
    const int64_t k_stride = by_rows ? pitch : 1, n_stride = by_rows ? 1 : pitch;

    test_note_place("%s, %" PRId64 " x %" PRId64 ", strides %" PRId64 ", %" PRId64, type_names[type], k, n, k_stride, n_stride);
    fill(random, memory, (size_t)extent);
    test_fill_random(random, before, sizeof before);
    memcpy(sums, before, sizeof sums);
    gemm->pack_b(src, k_stride, n_stride, k, n, k_padded + spare, type, dst, needs_sums ? sums : NULL);
    for (int64_t j = 0; j < gemm->cols; j++) {
        uint32_t sum = (uint32_t)before[j];
        for (int64_t i = 0; i < k_padded + spare; i++) {
            const int32_t value = i < k && j < n ? packed_value(src[i * k_stride + j * n_stride], type, gemm->flip_b) : 0;
            check_packed(gemm, dst, panel_index(gemm, i, j), value, "pack_b");
            sum += needs_sums ? (uint32_t)value : 0;
        }
        TEST_CHECK((uint32_t)sums[j] == sum, "pack_b: sum %" PRId32 ", expected %" PRId32, sums[j], (int32_t)sum);
    }
}

START_TEST(pack_b)
{
    const struct clq_gemm_kernels *const gemm = kernels_of(_i);
    struct test_random random = test_random_start(1310 + (uint64_t)_i);
    const int64_t most = test_amount(140, 70);

    test_note("seed %" PRIu64 ", table %s", random.seed, name_of(_i));
    for (int64_t k = 1; gemm != NULL && k <= most; k++)
        for (int64_t n = 1; n <= gemm->cols; n++)
            for (int by_rows = 0; by_rows < 2; by_rows++)
                try_pack_b(gemm, &random, k, n, (int)((k + n) % 2), by_rows);
    test_note_place("%s", "");
}
END_TEST

/* ---- tiles */

struct operands {
    int32_t a[MOST_ROWS][MOST_K], b[MOST_K][MOST_COLS]; /* as packed */
    unsigned char *packed_a, *packed_b;
    int64_t a_pitch;
};

/* Rows of exactly k elements, padded, of which the last ends at a guard page unless there is a gap behind it. */
static void make_operands(const struct clq_gemm_kernels *gemm, struct test_random *random, struct operands *operands, int64_t rows, int64_t cols,
                          int64_t k, int type_a, int type_b)
{
    static unsigned char line[MOST_K], matrix[MOST_K * MOST_COLS];
    const int64_t row_bytes = k * gemm->element_bytes, unit_bytes = gemm->k_unit * gemm->element_bytes;
    operands->a_pitch = row_bytes + (test_chance(random, 2) ? ALIGNMENT * test_between(random, 0, 3) : 0);
    operands->a_pitch = round_up(operands->a_pitch, unit_bytes);
    operands->packed_a = test_guarded(2, (size_t)((rows - 1) * operands->a_pitch + row_bytes), true);
    operands->packed_b = test_guarded(3, (size_t)(k * gemm->cols * gemm->element_bytes), true);
    for (int64_t i = 0; i < rows; i++) {
        fill(random, line, (size_t)k);
        gemm->pack_a(line, k, 1, k, k, type_a, operands->packed_a + i * operands->a_pitch, operands->a_pitch, NULL);
        for (int64_t l = 0; l < k; l++)
            operands->a[i][l] = packed_value(line[l], type_a, gemm->flip_a);
    }
    fill(random, matrix, (size_t)(k * cols));
    if (k > 0) gemm->pack_b(matrix, cols, 1, k, cols, k, type_b, operands->packed_b, NULL);
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < cols; j++)
            operands->b[l][j] = packed_value(matrix[l * cols + j], type_b, gemm->flip_b);
}

static void try_tile(const struct clq_gemm_kernels *gemm, struct test_random *random, int64_t rows, int64_t cols, int64_t k, int type_a, int type_b)
{
    static struct operands operands;
    static int32_t before[MOST_ROWS][2 * MOST_COLS], others[MOST_ROWS * MOST_COLS];
    int32_t row_init[MOST_ROWS], col_init[MOST_COLS];
    const int64_t c_pitch = gemm->cols + test_between(random, 0, 9);
    const size_t c_bytes = (size_t)((rows - 1) * c_pitch + gemm->cols) * 4, slack = (size_t)test_between(random, 0, 15) * 4;
    const bool at_end = test_chance(random, 2);
    int32_t *const c = (int32_t *)(void *)(test_guarded(4, c_bytes + slack, at_end) + (at_end ? slack : 0));
    struct clq_gemm_tile tile = {.rows = rows, .cols = cols, .k = k, .row_init = test_chance(random, 3) ? NULL : row_init, .col_init = col_init,
                                 .c = c, .c_pitch = c_pitch};
    if (test_chance(random, 3)) {
        tile.start = test_chance(random, 2) ? c : others;
        tile.start_pitch = tile.start == c ? c_pitch : MOST_COLS;
    }

    test_note_place("%s by %s, %" PRId64 " x %" PRId64 " x %" PRId64 "%s", type_names[type_a], type_names[type_b], rows, cols, k,
                    tile.start == c ? ", accumulating" : tile.start != NULL ? ", from others" : "");
    make_operands(gemm, random, &operands, rows, cols, k, type_a, type_b);
    tile.a = operands.packed_a;
    tile.a_pitch = operands.a_pitch;
    tile.b = operands.packed_b;
    test_fill_random(random, row_init, sizeof row_init);
    test_fill_random(random, col_init, sizeof col_init);
    test_fill_random(random, others, sizeof others);
    test_fill_random(random, c, c_bytes);
    for (int64_t i = 0; i < rows; i++)
        memcpy(before[i], c + i * c_pitch, (size_t)(i < rows - 1 ? c_pitch : gemm->cols) * 4);
    if (gemm->begin != NULL) gemm->begin();
    gemm->tile[type_a][type_b](&tile);
    if (gemm->end != NULL) gemm->end();
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            uint32_t sum = (tile.row_init != NULL ? (uint32_t)row_init[i] : 0) + (uint32_t)col_init[j];
            if (tile.start != NULL) sum += (uint32_t)(tile.start == c ? before[i][j] : others[i * MOST_COLS + j]);
            for (int64_t l = 0; l < k; l++)
                sum += (uint32_t)operands.a[i][l] * (uint32_t)operands.b[l][j];
            TEST_CHECK((uint32_t)c[i * c_pitch + j] == sum, "element (%" PRId64 ", %" PRId64 ") is %" PRId32 ", expected %" PRId32, i, j,
                       c[i * c_pitch + j], (int32_t)sum);
        }
        for (int64_t j = gemm->cols; i < rows - 1 && j < c_pitch; j++)
            TEST_CHECK(c[i * c_pitch + j] == before[i][j], "written beyond the panel: row %" PRId64 ", column %" PRId64, i, j);
    }
}

START_TEST(tiles)
{
    const struct clq_gemm_kernels *const gemm = kernels_of(_i);
    struct test_random random = test_random_start(1320 + (uint64_t)_i);
    const int64_t rounds = test_amount(4, 1);

    test_note("seed %" PRIu64 ", table %s", random.seed, name_of(_i));
    if (gemm != NULL) TEST_CHECK(gemm->rows <= MOST_ROWS && gemm->cols <= MOST_COLS, "the test's arrays are too small");
    for (int64_t rows = 1; gemm != NULL && rows <= gemm->rows; rows++)
        for (int64_t cols = 1; cols <= gemm->cols; cols++)
            for (int64_t round = 0; round < rounds; round++) {
                const int64_t units = test_between(&random, 0, clq_min_i64(11, MOST_K / gemm->k_unit));
                try_tile(gemm, &random, rows, cols, units * gemm->k_unit, (int)test_between(&random, 0, 1), (int)test_between(&random, 0, 1));
            }
    /* All signs, every number of units up to several rounds of any loop. */
    for (int signs = 0; gemm != NULL && signs < 4; signs++)
        for (int64_t units = 0; units <= clq_min_i64(40, MOST_K / gemm->k_unit); units++)
            for (int64_t rows = 1; rows <= gemm->rows; rows += gemm->rows - 1)
                try_tile(gemm, &random, rows, test_between(&random, 1, gemm->cols), units * gemm->k_unit, signs / 2, signs % 2);
    test_note_place("%s", "");
}
END_TEST

/* ---- what follows */

START_TEST(subtract_outer)
{
    static int32_t before[8 * 200];
    const struct clq_gemm_kernels *const gemm = kernels_of(_i);
    struct test_random random = test_random_start(1330 + (uint64_t)_i);

    for (int64_t cols = 1; gemm != NULL && cols <= 150; cols++) {
        const int64_t rows = test_between(&random, 1, 8), pitch = cols + test_between(&random, 0, 40);
        const size_t count = (size_t)((rows - 1) * pitch + cols);
        int32_t *const c = (int32_t *)(void *)test_guarded(0, count * 4, cols % 3 != 0);
        int32_t *const row = (int32_t *)(void *)test_guarded(1, (size_t)rows * 4, true), *const col = (int32_t *)(void *)test_guarded(
                                                                                          2, (size_t)cols * 4, cols % 2 == 0);
        test_note("seed %" PRIu64 ", table %s, %" PRId64 " x %" PRId64, random.seed, name_of(_i), rows, cols);
        test_fill_random(&random, c, count * 4);
        test_fill_random(&random, row, (size_t)rows * 4);
        test_fill_random(&random, col, (size_t)cols * 4);
        memcpy(before, c, count * 4);
        gemm->subtract_outer(c, pitch, rows, cols, row, col);
        for (int64_t i = 0; i < (int64_t)count; i++) {
            const int64_t m = i / pitch, n = i % pitch;
            const uint32_t expected = (uint32_t)before[i] - (n < cols ? (uint32_t)row[m] * (uint32_t)col[n] : 0);
            TEST_CHECK((uint32_t)c[i] == expected, "element (%" PRId64 ", %" PRId64 ") is %" PRId32 ", expected %" PRId32, m, n, c[i], (int32_t)expected);
        }
    }
}
END_TEST

static float any_float(struct test_random *random)
{
    if (test_chance(random, 8)) return test_float(test_special_floats[test_between(random, 0, test_special_float_count - 1)]);
    return (float)test_between(random, -1000000, 1000000) * 0x1p-12f;
}

static int32_t any_accumulator(struct test_random *random)
{
    static const int32_t extremes[] = {0, 1, -1, INT32_MIN, INT32_MAX, 0x1000001, -0x1000003};
    if (test_chance(random, 4)) return extremes[test_between(random, 0, (int64_t)TEST_COUNT_OF(extremes) - 1)];
    return (int32_t)test_next(random) >> test_between(random, 0, 31);
}

static float expected_finish(const struct clq_gemm_finish *finish, int64_t i, int64_t j)
{
    const float s = finish->row_scale ? clqm_product_scale(finish->row_scale[i], finish->col_scale[j]) : finish->col_scale[j];
    float y = (float)finish->c[i * finish->c_pitch + j] * s;
    if (finish->bias) y = y + finish->bias[j];
    if (finish->relu) return y > 0.0f ? y : 0.0f;
    return y < finish->low ? finish->low : y > finish->high ? finish->high : y;
}

static void check_finish(const struct clq_gemm_finish *finish)
{
    for (int64_t i = 0; i < finish->rows; i++)
        for (int64_t j = 0; j < finish->cols; j++) {
            const float expected = expected_finish(finish, i, j), got = finish->dst[i * finish->dst_pitch + j];
            TEST_CHECK(test_bits(got) == test_bits(expected) || (isnan(got) && isnan(expected)), "element (%" PRId64 ", %" PRId64 ") is %a, expected %a",
                       i, j, got, expected);
        }
}

START_TEST(finish_f32)
{
    const struct clq_gemm_kernels *const gemm = kernels_of(_i);
    struct test_random random = test_random_start(1340 + (uint64_t)_i);
    const int64_t rounds = test_amount(3000, 400);

    for (int64_t round = 0; gemm != NULL && round < rounds; round++) {
        const int64_t rows = test_between(&random, 1, 5), cols = 1 + round % 100, c_pitch = cols + test_between(&random, 0, 9);
        const size_t cols_bytes = (size_t)cols * 4;
        struct clq_gemm_finish finish = {.rows = rows, .cols = cols, .c_pitch = c_pitch, .dst_pitch = cols, .relu = test_chance(&random, 3)};
        int32_t *const c = (int32_t *)(void *)test_guarded(0, (size_t)((rows - 1) * c_pitch + cols) * 4, true);
        float *const row_scale = (float *)(void *)test_guarded(1, (size_t)rows * 4, true);
        float *const col_scale = (float *)(void *)test_guarded(2, cols_bytes, true), *const bias = (float *)(void *)test_guarded(3, cols_bytes, true);
        for (int64_t i = 0; i < (rows - 1) * c_pitch + cols; i++)
            c[i] = any_accumulator(&random);
        for (int64_t i = 0; i < rows; i++)
            row_scale[i] = test_float(test_random_scale(&random));
        for (int64_t j = 0; j < cols; j++) {
            col_scale[j] = test_float(test_random_scale(&random));
            bias[j] = any_float(&random);
        }
        finish.c = c;
        finish.row_scale = test_chance(&random, 3) ? NULL : row_scale;
        finish.col_scale = col_scale;
        finish.bias = test_chance(&random, 3) ? NULL : bias;
        finish.low = finish.relu || test_chance(&random, 3) ? -INFINITY : -(float)test_between(&random, 0, 100);
        finish.high = finish.relu || test_chance(&random, 3) ? INFINITY : (float)test_between(&random, 0, 1000);
        finish.dst = (float *)(void *)test_guarded(4, (size_t)rows * cols_bytes, true);
        test_note("seed %" PRIu64 ", table %s, %" PRId64 " x %" PRId64 ", round %" PRId64, random.seed, name_of(_i), rows, cols, round);
        gemm->finish_f32(&finish);
        check_finish(&finish);
    }
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("gemm kernels");
    TCase *const tcase = test_case(suite, "every table");
    const int tables = count_tables();

    tcase_add_loop_test(tcase, pack_a, 0, tables);
    tcase_add_loop_test(tcase, pack_b, 0, tables);
    tcase_add_loop_test(tcase, tiles, 0, tables);
    tcase_add_loop_test(tcase, subtract_outer, 0, tables);
    tcase_add_loop_test(tcase, finish_f32, 0, tables);
    return test_run(suite);
}
