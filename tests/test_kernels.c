/* SPDX-License-Identifier: MIT */
/*
 * Every table of kernels, slot by slot, against the scalar table: all sizes to past several vectors, every alignment, pitches of
 * both signs, groups, guard pages on both sides. Integers, bits of floats and counts are equal or wrong.
 */
#include "config.h"

#include "quant_math.h"
#include "reference.h"
#include "test_support.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const clq_dtype float_dtypes[CLQ_FLOAT_TYPES] = {CLQ_F32, CLQ_F16, CLQ_BF16};
static const clq_dtype int_dtypes[CLQ_INT_TYPES] = {CLQ_S8, CLQ_U8, CLQ_S16, CLQ_U16, CLQ_S32};

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

/* ---- blocks of rows between guard pages */

enum { MOST_PARAMS = 1 << 17, MOST_BYTES = 1 << 21 };

/*
 * Rows of elements in guarded memory. Either all rows lie close together, with a pitch of either sign, or, `apart`, each row
 * begins or ends at a page that cannot be touched.
 */
struct rows {
    unsigned char *first;  /* row 0 */
    int64_t pitch;         /* elements */
    unsigned char *memory; /* lowest row */
    size_t size_bytes;     /* of all, gaps included */
    bool apart;
    size_t row_bytes;
};

enum { APART_ROWS = 4, APART_PAGES = 2 };

/* APART_ROWS times APART_PAGES pages, each followed by one that cannot be touched. */
static unsigned char *guarded_rows(int32_t slot, size_t *pitch_bytes)
{
    static unsigned char *slots[TEST_SLOTS];
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pitch = (APART_PAGES + 1) * page;

    *pitch_bytes = pitch;
    if (slots[slot] == NULL) {
        unsigned char *memory = mmap(NULL, page + APART_ROWS * pitch, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        TEST_CHECK(memory != MAP_FAILED, "no memory for the test");
        slots[slot] = memory + page;
        for (int i = 0; i < APART_ROWS; i++)
            TEST_CHECK(mprotect(slots[slot] + (size_t)i * pitch, APART_PAGES * page, PROT_READ | PROT_WRITE) == 0,
                       "no memory for the test");
    }
    return slots[slot];
}

static struct rows make_rows(struct test_random *random, int32_t slot, int64_t rows, int64_t cols, int64_t size_bytes,
                             bool zero_pitch_allowed, bool dense)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct rows result = {.row_bytes = (size_t)(cols * size_bytes)};
    int64_t gap, slack;

    if (!dense && rows <= APART_ROWS && result.row_bytes <= APART_PAGES * page && test_chance(random, 3)) {
        size_t pitch_bytes;
        const size_t room = APART_PAGES * page - result.row_bytes;
        const size_t start = test_chance(random, 4)   ? (size_t)test_between(random, 0, (int64_t)(room < 63 ? room : 63))
                             : test_chance(random, 2) ? 0
                                                      : room;
        result.memory = guarded_rows(slot, &pitch_bytes) + start;
        result.apart = true;
        result.pitch = (int64_t)pitch_bytes / size_bytes;
    } else {
        gap = dense || test_chance(random, 3) ? 0 : test_between(random, 0, 70);
        result.pitch = !dense && zero_pitch_allowed && test_chance(random, 10) ? 0 : cols + gap;
        slack = test_between(random, 0, 63);
        result.size_bytes = rows == 0 || cols == 0 ? 0 : (size_t)(((rows - 1) * result.pitch + cols) * size_bytes);
        result.memory = test_guarded(slot, result.size_bytes + (size_t)slack, test_chance(random, 2));
        if (test_chance(random, 2)) result.memory += slack;
    }
    result.first = result.memory;
    if (!dense && test_chance(random, 3) && rows > 0 && result.pitch != 0) {
        result.first += (rows - 1) * result.pitch * size_bytes;
        result.pitch = -result.pitch;
    }
    return result;
}

static unsigned char *row_at(const struct rows *rows, int64_t row, int64_t size_bytes)
{
    return rows->first + row * rows->pitch * size_bytes;
}

/* ---- quantize, dequantize, minmax */

/* group and param_pitch are drawn if they are 0 and -1. */
struct case_shape {
    int64_t rows, cols, group, param_pitch;
};

enum { ANY_GROUP = 0, ANY_PITCH = -1 };

/* A span over new memory, with random parameters; `src` holds random bytes. */
struct span_case {
    struct clq_span span;
    struct rows src, dst;
    int64_t counts[3], params;
    float scale[MOST_PARAMS];
    int32_t zero_point[MOST_PARAMS];
};

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Few columns to a parameter, all of them, or a number that ends in the middle of a vector. */
static int64_t random_group(struct test_random *random, int64_t cols)
{
    switch (test_between(random, 0, 5)) {
    case 0:
        return 1;
    case 1:
    case 2:
        return test_between(random, 1, 40);
    case 3:
        return cols + test_between(random, 0, 9) + (cols == 0);
    case 4:
        return test_between(random, 1, cols + 1);
    default:
        return 1 << test_between(random, 0, 8);
    }
}

static void make_case(struct span_case *c, struct test_random *random, struct case_shape shape, clq_dtype src, clq_dtype dst,
                      clq_dtype quantized)
{
    const bool dense = test_chance(random, 3); /* rows one behind the other on both sides */
    int64_t least, most, groups;

    memset(&c->span, 0, sizeof c->span);
    c->src = make_rows(random, 0, shape.rows, shape.cols, bytes_of(src), true, dense);
    c->dst = make_rows(random, 1, shape.rows, shape.cols, bytes_of(dst), false, dense);
    TEST_CHECK(c->dst.size_bytes <= MOST_BYTES, "the test has room for %d bytes, not %zu", MOST_BYTES, c->dst.size_bytes);
    c->span.src = c->src.first;
    c->span.dst = c->dst.first;
    c->span.src_pitch = c->src.pitch;
    c->span.dst_pitch = c->dst.pitch;
    c->span.rows = shape.rows;
    c->span.cols = shape.cols;
    c->span.group = shape.group == ANY_GROUP ? random_group(random, shape.cols) : shape.group;
    groups = ceil_div(shape.cols, c->span.group);
    c->span.param_pitch = test_chance(random, 3) ? 0 : test_chance(random, 2) ? groups : test_between(random, 0, groups + 3);
    if (shape.param_pitch != ANY_PITCH) c->span.param_pitch = shape.param_pitch;
    c->params = shape.rows == 0 ? 0 : (shape.rows - 1) * c->span.param_pitch + groups;
    TEST_CHECK(c->params <= MOST_PARAMS, "the test has room for %d parameters, not %" PRId64, MOST_PARAMS, c->params);

    ref_type_range(quantized, &least, &most);
    if (quantized != CLQ_S32 && test_chance(random, 4)) {
        const int64_t a = test_between(random, least, most), b = test_between(random, least, most);
        if (a != b) {
            least = a < b ? a : b;
            most = a < b ? b : a;
        }
    }
    c->span.qmin = (int32_t)least;
    c->span.qmax = (int32_t)most;
    /* Parameters end at a guard page, too. */
    float *const scale = (float *)(void *)test_guarded(2, (size_t)c->params * 4, true);
    int32_t *const zero_point = (int32_t *)(void *)test_guarded(3, (size_t)c->params * 4, true);
    for (int64_t i = 0; i < c->params; i++) {
        c->scale[i] = scale[i] = test_float(test_random_scale(random));
        c->zero_point[i] = zero_point[i] = (int32_t)(test_chance(random, 4)   ? least
                                                     : test_chance(random, 3) ? most
                                                                              : test_between(random, least, most));
        if (quantized == CLQ_S32) c->zero_point[i] = zero_point[i] = 0;
    }
    c->span.scale = scale;
    c->span.zero_point = test_chance(random, 3) ? NULL : zero_point;
    c->span.fixed_zero_point = quantized == CLQ_S32 ? 0 : (int32_t)test_between(random, least, most);
    c->span.reciprocal = test_chance(random, 3);
    c->span.streams = test_chance(random, 3);
    for (int i = 0; i < 3; i++)
        c->counts[i] = test_between(random, 0, 1000);
}

static int64_t param_of(const struct clq_span *span, int64_t row, int64_t col)
{
    return row * span->param_pitch + col / span->group;
}

static void note_case(const struct span_case *c, const struct test_random *random, const char *table, const char *operation,
                      clq_dtype src, clq_dtype dst)
{
    const struct clq_span *const s = &c->span;
    test_note("seed %" PRIu64 ", table %s, %s %s to %s: rows %" PRId64 ", cols %" PRId64 ", src %p pitch %" PRId64
              ", dst %p pitch %" PRId64 ", group %" PRId64 ", param_pitch %" PRId64 ", zero_point %s, fixed %d, [%d, %d], %s, %s%s",
              random->seed, table, operation, clq_dtype_name(src), clq_dtype_name(dst), s->rows, s->cols, s->src, s->src_pitch,
              s->dst, s->dst_pitch, s->group, s->param_pitch, s->zero_point ? "given" : "fixed", (int)s->fixed_zero_point,
              (int)s->qmin, (int)s->qmax, s->reciprocal ? "reciprocal" : "division", s->counts ? "counted" : "not counted", s->streams ? ", streams" : "");
}

/* What the scalar table writes: to memory of its own, in rows without gaps. */
static unsigned char *run_scalar(const struct span_case *c, clq_span_fn kernel, int64_t dst_bytes, int64_t *counts)
{
    struct clq_span span = c->span;
    unsigned char *const wanted = malloc((size_t)(span.rows * span.cols * dst_bytes) + 1);

    TEST_CHECK(wanted != NULL, "no memory for the test");
    span.dst = wanted;
    span.dst_pitch = span.cols;
    span.counts = counts;
    kernel(&span);
    return wanted;
}

static void compare_rows(const struct span_case *c, const unsigned char *wanted, int64_t src_bytes, int64_t dst_bytes)
{
    const struct clq_span *const s = &c->span;
    for (int64_t row = 0; row < s->rows; row++) {
        const unsigned char *const got = row_at(&c->dst, row, dst_bytes), *const must = wanted + row * s->cols * dst_bytes;
        if (memcmp(got, must, (size_t)(s->cols * dst_bytes)) == 0) continue;
        for (int64_t col = 0; col < s->cols; col++) {
            const int64_t p = param_of(s, row, col);
            uint64_t x = 0, q = 0, e = 0;
            if (memcmp(got + col * dst_bytes, must + col * dst_bytes, (size_t)dst_bytes) == 0) continue;
            memcpy(&x, row_at(&c->src, row, src_bytes) + col * src_bytes, (size_t)src_bytes);
            memcpy(&q, got + col * dst_bytes, (size_t)dst_bytes);
            memcpy(&e, must + col * dst_bytes, (size_t)dst_bytes);
            TEST_CHECK(false,
                       "row %" PRId64 " col %" PRId64 ": src 0x%" PRIx64 ", scale 0x%08x, zero point %d: got 0x%" PRIx64
                       ", expected 0x%" PRIx64,
                       row, col, x, test_bits(s->scale[p]), (int)(s->zero_point ? s->zero_point[p] : s->fixed_zero_point), q, e);
        }
    }
}

/* Fills the memory between and in the rows of dst and remembers it, to see that nothing else is written. */
static void compare_gaps(const struct span_case *c, unsigned char *before, int64_t dst_bytes)
{
    if (c->dst.apart || c->dst.size_bytes == 0) return;
    for (int64_t row = 0; row < c->span.rows; row++) {
        const unsigned char *const got = row_at(&c->dst, row, dst_bytes);
        memcpy(before + (got - c->dst.memory), got, c->dst.row_bytes);
    }
    for (size_t i = 0; i < c->dst.size_bytes; i++)
        TEST_CHECK(before[i] == c->dst.memory[i], "byte %zu from the lowest row, between rows, was written", i);
}

static void fill_source(const struct span_case *c, struct test_random *random, clq_dtype dtype)
{
    const struct clq_span *const s = &c->span;
    const int64_t size_bytes = bytes_of(dtype);
    for (int64_t row = 0; row < s->rows; row++) {
        unsigned char *const x = row_at(&c->src, row, size_bytes);
        for (int64_t col = 0; col < s->cols; col++) {
            const int64_t p = param_of(s, row, col);
            const uint32_t bits = test_random_value(random, test_bits(s->scale[p]),
                                                    s->zero_point ? s->zero_point[p] : s->fixed_zero_point, s->qmin, s->qmax);
            const uint64_t narrow = ref_cast(CLQ_F32, dtype, bits);
            memcpy(x + col * size_bytes, &narrow, (size_t)size_bytes);
        }
    }
}

static void try_quantize(const struct clq_cpu_ops *ops, struct test_random *random, int f, int i, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    const clq_dtype x = float_dtypes[f], q = int_dtypes[i];
    int64_t counts[3], expected_counts[3];
    unsigned char *wanted;

    make_case(&c, random, shape, x, q, q);
    fill_source(&c, random, x);
    for (int64_t row = 0; row < shape.rows; row++)
        test_fill_random(random, row_at(&c.dst, row, bytes_of(q)), c.dst.row_bytes);
    if (!c.dst.apart) memcpy(before, c.dst.memory, c.dst.size_bytes);
    memcpy(counts, c.counts, sizeof counts);
    memcpy(expected_counts, c.counts, sizeof counts);
    c.span.counts = test_chance(random, 2) ? counts : NULL;
    note_case(&c, random, ops->name, "quantize", x, q);
    wanted = run_scalar(&c, clq_cpu_scalar.quantize[f][i], bytes_of(q), c.span.counts ? expected_counts : NULL);
    ops->quantize[f][i](&c.span);
    compare_rows(&c, wanted, bytes_of(x), bytes_of(q));
    compare_gaps(&c, before, bytes_of(q));
    TEST_CHECK(memcmp(counts, expected_counts, sizeof counts) == 0,
               "counts %" PRId64 ", %" PRId64 ", %" PRId64 ", expected %" PRId64 ", %" PRId64 ", %" PRId64 " from %" PRId64
               ", %" PRId64 ", %" PRId64,
               counts[0], counts[1], counts[2], expected_counts[0], expected_counts[1], expected_counts[2], c.counts[0],
               c.counts[1], c.counts[2]);
    free(wanted);
}

static void try_dequantize(const struct clq_cpu_ops *ops, struct test_random *random, int i, int f, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    const clq_dtype q = int_dtypes[i], y = float_dtypes[f];
    unsigned char *wanted;

    make_case(&c, random, shape, q, y, q);
    for (int64_t row = 0; row < shape.rows; row++) {
        test_fill_random(random, row_at(&c.src, row, bytes_of(q)), c.src.row_bytes);
        test_fill_random(random, row_at(&c.dst, row, bytes_of(y)), c.dst.row_bytes);
    }
    if (!c.dst.apart) memcpy(before, c.dst.memory, c.dst.size_bytes);
    note_case(&c, random, ops->name, "dequantize", q, y);
    wanted = run_scalar(&c, clq_cpu_scalar.dequantize[i][f], bytes_of(y), NULL);
    ops->dequantize[i][f](&c.span);
    compare_rows(&c, wanted, bytes_of(q), bytes_of(y));
    compare_gaps(&c, before, bytes_of(y));
    free(wanted);
}

/* ---- requantize, fake-quantize and its gradients */

/* Multipliers that fit integers of the type, and some that do not. */
static void make_multipliers(struct span_case *c, struct test_random *random, int from)
{
    float *const scale = (float *)(void *)test_guarded(2, (size_t)c->params * 4, true);
    int32_t *const source = (int32_t *)(void *)test_guarded(4, (size_t)c->params * 4, true),
                   *const zero_point = (int32_t *)(void *)test_guarded(3, (size_t)c->params * 4, true);
    int64_t least, most;

    ref_type_range(int_dtypes[from], &least, &most);
    for (int64_t i = 0; i < c->params; i++) {
        const int64_t middle = from == CLQ_INT_S32 ? 103 : 127;
        const uint32_t exponent = (uint32_t)(test_chance(random, 4) ? test_between(random, 63, 190)
                                                                    : test_between(random, middle - 4, middle + 4));
        const uint32_t mantissa = test_chance(random, 2) ? (uint32_t)test_between(random, 0, 0x7fffff) : 0;
        c->scale[i] = scale[i] = test_float(exponent << 23 | mantissa);
        source[i] = from == CLQ_INT_S32 ? 0 : (int32_t)test_between(random, least, most);
        zero_point[i] = c->zero_point[i];
    }
    c->span.scale = scale;
    c->span.source_zero_point = source;
    c->span.zero_point = zero_point;
    c->span.reciprocal = false;
}

static int64_t mask_bytes(int64_t cols)
{
    return (cols + 7) / 8;
}

/* Rows of a mask, one behind the other if those of the elements are, with random bytes in the gaps. */
static struct rows make_mask(struct span_case *c, struct test_random *random, int32_t slot)
{
    const bool dense = c->span.src_pitch == c->span.cols;
    const struct rows rows = make_rows(random, slot, c->span.rows, mask_bytes(c->span.cols), 1, false, dense);
    c->span.mask = rows.first;
    c->span.mask_pitch = rows.pitch;
    for (int64_t row = 0; row < c->span.rows; row++)
        test_fill_random(random, row_at(&rows, row, 1), rows.row_bytes);
    return rows;
}

/* In one case of three dst is src; the scalar table has its own memory for results, and runs first. */
static void write_in_place(struct span_case *c, struct test_random *random)
{
    if (c->src.pitch == 0 || !test_chance(random, 3)) return;
    c->dst = c->src;
    c->span.dst = c->dst.first;
    c->span.dst_pitch = c->dst.pitch;
    c->span.streams = false;
}

static void prepare_target(const struct span_case *c, struct test_random *random, unsigned char *before, int64_t dst_bytes)
{
    for (int64_t row = 0; c->dst.first != c->src.first && row < c->span.rows; row++)
        test_fill_random(random, row_at(&c->dst, row, dst_bytes), c->dst.row_bytes);
    if (!c->dst.apart) memcpy(before, c->dst.memory, c->dst.size_bytes);
}

static void try_requantize(const struct clq_cpu_ops *ops, struct test_random *random, int from, int to, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    const clq_dtype q = int_dtypes[from], y = int_dtypes[to];
    unsigned char *wanted;

    make_case(&c, random, shape, q, y, y);
    make_multipliers(&c, random, from);
    for (int64_t row = 0; row < shape.rows; row++)
        test_fill_random(random, row_at(&c.src, row, bytes_of(q)), c.src.row_bytes);
    if (bytes_of(q) == 1) write_in_place(&c, random);
    prepare_target(&c, random, before, 1);
    note_case(&c, random, ops->name, "requantize", q, y);
    wanted = run_scalar(&c, clq_cpu_scalar.requantize[from][to], 1, NULL);
    ops->requantize[from][to](&c.span);
    compare_rows(&c, wanted, bytes_of(q), 1);
    compare_gaps(&c, before, 1);
    free(wanted);
}

static void try_fake_quantize(const struct clq_cpu_ops *ops, struct test_random *random, int f, int i, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    const clq_dtype x = float_dtypes[f];
    int64_t counts[3], expected_counts[3];
    unsigned char *wanted, *wanted_mask;
    struct rows mask = {0};

    make_case(&c, random, shape, x, x, int_dtypes[i]);
    fill_source(&c, random, x);
    write_in_place(&c, random);
    prepare_target(&c, random, before, bytes_of(x));
    memcpy(counts, c.counts, sizeof counts);
    memcpy(expected_counts, c.counts, sizeof counts);
    c.span.counts = test_chance(random, 2) ? counts : NULL;
    note_case(&c, random, ops->name, "fake_quantize", x, int_dtypes[i]);
    wanted_mask = calloc((size_t)(shape.rows * mask_bytes(shape.cols)) + 1, 1);
    TEST_CHECK(wanted_mask != NULL, "no memory for the test");
    if (test_chance(random, 2)) {
        const struct clq_span span = c.span;
        mask = make_mask(&c, random, 6);
        c.span.mask = wanted_mask;
        c.span.mask_pitch = mask_bytes(shape.cols);
        wanted = run_scalar(&c, clq_cpu_scalar.fake_quantize[f], bytes_of(x), c.span.counts ? expected_counts : NULL);
        c.span = span;
        c.span.mask = mask.first;
        c.span.mask_pitch = mask.pitch;
    } else {
        wanted = run_scalar(&c, clq_cpu_scalar.fake_quantize[f], bytes_of(x), c.span.counts ? expected_counts : NULL);
    }
    ops->fake_quantize[f](&c.span);
    compare_rows(&c, wanted, bytes_of(x), bytes_of(x));
    compare_gaps(&c, before, bytes_of(x));
    for (int64_t row = 0; c.span.mask && row < shape.rows; row++)
        for (int64_t k = 0; k < mask_bytes(shape.cols); k++)
            TEST_CHECK(row_at(&mask, row, 1)[k] == wanted_mask[row * mask_bytes(shape.cols) + k],
                       "mask, pitch %" PRId64 ": row %" PRId64 ", byte %" PRId64 ": got 0x%02x, expected 0x%02x", mask.pitch, row, k,
                       row_at(&mask, row, 1)[k], wanted_mask[row * mask_bytes(shape.cols) + k]);
    TEST_CHECK(memcmp(counts, expected_counts, sizeof counts) == 0,
               "counts %" PRId64 ", %" PRId64 ", %" PRId64 ", expected %" PRId64 ", %" PRId64 ", %" PRId64, counts[0], counts[1],
               counts[2], expected_counts[0], expected_counts[1], expected_counts[2]);
    free(wanted);
    free(wanted_mask);
}

/* A gradient: any bits for kernels that only copy, else numbers with a few that are none. */
static void fill_gradient(const struct span_case *c, struct test_random *random, clq_dtype dtype, bool any)
{
    const int64_t size_bytes = bytes_of(dtype);
    const bool special = test_chance(random, 4);
    for (int64_t row = 0; row < c->span.rows; row++) {
        unsigned char *const dy = row_at(&c->src, row, size_bytes);
        test_fill_random(random, dy, c->src.row_bytes);
        for (int64_t col = 0; !any && col < c->span.cols; col++) {
            uint64_t bits = test_bits((float)test_between(random, -1000000, 1000000) * 0x1p-20f);
            if (special && test_chance(random, 50)) bits = test_special_floats[test_between(random, 0, test_special_float_count - 1)];
            bits = ref_cast(CLQ_F32, dtype, bits);
            memcpy(dy + col * size_bytes, &bits, (size_t)size_bytes);
        }
    }
}

/* The operand x: rows of its own, filled as those of a quantized tensor. */
static struct rows make_values(struct span_case *c, struct test_random *random, int32_t slot, clq_dtype dtype)
{
    const bool dense = c->span.src_pitch == c->span.cols;
    const struct rows gradient = c->src, x = make_rows(random, slot, c->span.rows, c->span.cols, bytes_of(dtype), true, dense);
    c->src = x;
    fill_source(c, random, dtype);
    c->src = gradient;
    c->span.x = x.first;
    c->span.x_pitch = x.pitch;
    return x;
}

static void try_fake_backward(const struct clq_cpu_ops *ops, struct test_random *random, int f, int i, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    const clq_dtype x = float_dtypes[f];
    unsigned char *wanted;

    make_case(&c, random, shape, x, x, int_dtypes[i]);
    make_values(&c, random, 6, x);
    fill_gradient(&c, random, x, true);
    write_in_place(&c, random);
    prepare_target(&c, random, before, bytes_of(x));
    note_case(&c, random, ops->name, "fake_backward", x, int_dtypes[i]);
    wanted = run_scalar(&c, clq_cpu_scalar.fake_backward[f], bytes_of(x), NULL);
    ops->fake_backward[f](&c.span);
    compare_rows(&c, wanted, bytes_of(x), bytes_of(x));
    compare_gaps(&c, before, bytes_of(x));
    free(wanted);
}

static void try_mask_backward(const struct clq_cpu_ops *ops, struct test_random *random, int size, int unused, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    const clq_dtype x = size == 0 ? CLQ_F16 : CLQ_F32;
    unsigned char *wanted;

    (void)unused;
    make_case(&c, random, shape, x, x, CLQ_S8);
    make_mask(&c, random, 6);
    fill_gradient(&c, random, x, true);
    write_in_place(&c, random);
    prepare_target(&c, random, before, bytes_of(x));
    note_case(&c, random, ops->name, "mask_backward", x, x);
    wanted = run_scalar(&c, clq_cpu_scalar.mask_backward[size], bytes_of(x), NULL);
    ops->mask_backward[size](&c.span);
    compare_rows(&c, wanted, bytes_of(x), bytes_of(x));
    compare_gaps(&c, before, bytes_of(x));
    free(wanted);
}

/* Within the bound of numerics, 1e-6 of `terms`, the sum of magnitudes, and units of denormals: d need not be the nearest where it rounds to 0. */
static bool is_sum(double got, double expected, double terms)
{
    return got == expected || (isnan(got) && isnan(expected)) || fabs(got - expected) <= 1e-6 * terms + 0x1p-140;
}

static void try_learnable(const struct clq_cpu_ops *ops, struct test_random *random, int f, int i, struct case_shape shape)
{
    static struct span_case c;
    static unsigned char before[MOST_BYTES];
    static double terms[MOST_PARAMS], beyond_terms[MOST_PARAMS];
    const clq_dtype x = float_dtypes[f];
    const bool with_outside = test_chance(random, 2);
    double *expected[2], *got[2], *again[2];
    struct clq_span span;
    struct rows values;
    unsigned char *wanted;

    make_case(&c, random, shape, x, x, int_dtypes[i]);
    values = make_values(&c, random, 6, x);
    fill_gradient(&c, random, x, false);
    for (int k = 0; k < 2; k++) {
        expected[k] = calloc((size_t)c.params + 1, sizeof(double));
        again[k] = calloc((size_t)c.params + 1, sizeof(double));
        got[k] = (double *)(void *)test_guarded(7 + k, (size_t)c.params * sizeof(double), true);
        TEST_CHECK(expected[k] && again[k], "no memory for the test");
        memset(got[k], 0, (size_t)c.params * sizeof(double));
    }
    memset(terms, 0, (size_t)c.params * sizeof *terms);
    memset(beyond_terms, 0, (size_t)c.params * sizeof *terms);
    for (int64_t row = 0; row < shape.rows; row++)
        for (int64_t col = 0; col < shape.cols; col++) {
            const int64_t p = param_of(&c.span, row, col);
            const int32_t z = c.span.zero_point ? c.span.zero_point[p] : c.span.fixed_zero_point;
            uint64_t bits = 0, dy_bits = 0;
            memcpy(&bits, row_at(&values, row, bytes_of(x)) + col * bytes_of(x), (size_t)bytes_of(x));
            memcpy(&dy_bits, row_at(&c.src, row, bytes_of(x)) + col * bytes_of(x), (size_t)bytes_of(x));
            const float value = test_float((uint32_t)ref_cast(x, CLQ_F32, bits)), dy = test_float((uint32_t)ref_cast(x, CLQ_F32, dy_bits)),
                        d = clqm_quotient(value, c.scale[p], c.span.reciprocal);
            if (!isfinite(dy) || isnan(value)) continue;
            terms[p] += fabs((double)dy * clqm_slope(d, z, c.span.qmin, c.span.qmax));
            if (!clqm_inside(d, z, c.span.qmin, c.span.qmax)) beyond_terms[p] += fabs((double)dy);
        }
    span = c.span;
    write_in_place(&c, random);
    prepare_target(&c, random, before, bytes_of(x));
    note_case(&c, random, ops->name, "learnable_backward", x, int_dtypes[i]);

    /* Once more with other pitches and places, and streaming: the sums must not notice. */
    unsigned char *const copy = malloc((size_t)(shape.rows * shape.cols * bytes_of(x)) * 2 + 1),
                         *const copy_x = malloc((size_t)(shape.rows * (shape.cols + 3) * bytes_of(x)) + 1);
    TEST_CHECK(copy != NULL && copy_x != NULL, "no memory for the test");
    for (int64_t row = 0; row < shape.rows; row++) {
        memcpy(copy + row * shape.cols * bytes_of(x), row_at(&c.src, row, bytes_of(x)), c.src.row_bytes);
        memcpy(copy_x + row * (shape.cols + 3) * bytes_of(x), row_at(&values, row, bytes_of(x)), c.src.row_bytes);
    }
    span.src = copy;
    span.src_pitch = span.dst_pitch = shape.cols;
    span.dst = copy + shape.rows * shape.cols * bytes_of(x);
    span.x = copy_x;
    span.x_pitch = shape.cols + 3;
    span.slopes = again[0];
    span.streams = true;
    span.outside = with_outside ? again[1] : NULL;
    ops->learnable_backward[f](&span);

    c.span.slopes = expected[0];
    c.span.outside = with_outside ? expected[1] : NULL;
    wanted = run_scalar(&c, clq_cpu_scalar.learnable_backward[f], bytes_of(x), NULL);
    c.span.slopes = got[0];
    c.span.outside = with_outside ? got[1] : NULL;
    ops->learnable_backward[f](&c.span);
    compare_rows(&c, wanted, bytes_of(x), bytes_of(x));
    compare_gaps(&c, before, bytes_of(x));
    for (int64_t p = 0; p < c.params; p++) {
        TEST_CHECK(is_sum(got[0][p], expected[0][p], terms[p]), "slopes[%" PRId64 "]: got %.17g, expected %.17g, terms %g", p, got[0][p],
                   expected[0][p], terms[p]);
        TEST_CHECK(is_sum(got[1][p], expected[1][p], beyond_terms[p]), "outside[%" PRId64 "]: got %.17g, expected %.17g", p, got[1][p],
                   expected[1][p]);
        for (int k = 0; k < 2; k++)
            TEST_CHECK(memcmp(&got[k][p], &again[k][p], sizeof(double)) == 0 || (isnan(got[k][p]) && isnan(again[k][p])),
                       "sum %d of parameter %" PRId64 " depends on pitches: %.17g and %.17g", k, p, got[k][p], again[k][p]);
    }
    for (int k = 0; k < 2; k++) {
        free(expected[k]);
        free(again[k]);
    }
    free(wanted);
    free(copy);
    free(copy_x);
}

static void try_minmax(const struct clq_cpu_ops *ops, struct test_random *random, int f, struct case_shape shape)
{
    static struct span_case c;
    static float expected_lo[MOST_PARAMS], expected_hi[MOST_PARAMS];
    const clq_dtype x = float_dtypes[f];
    struct clq_span span;
    int64_t expected_counts[2];
    /* Blocks of nothing finite are as likely as clean ones. */
    const int32_t mood = (int32_t)test_between(random, 0, 4);

    make_case(&c, random, shape, x, CLQ_S8, CLQ_S8);
    for (int64_t row = 0; row < shape.rows; row++) {
        unsigned char *const line = row_at(&c.src, row, bytes_of(x));
        for (int64_t col = 0; col < shape.cols; col++) {
            const uint32_t ordinary = test_bits((float)test_between(random, -1000000, 1000000) * 0x1p-10f);
            const uint32_t special = test_special_floats[test_between(random, 0, test_special_float_count - 1)];
            const bool is_special = mood == 0 || (mood == 1 && test_chance(random, 8)) || (mood == 2 && test_chance(random, 200));
            uint64_t bits = is_special  ? special
                            : mood == 3 ? 0x7f800000 | (uint32_t)(test_next(random) << 31 | test_next(random) % 2)
                                        : ordinary;
            bits = ref_cast(CLQ_F32, x, bits);
            memcpy(line + col * bytes_of(x), &bits, (size_t)bytes_of(x));
        }
    }
    c.span.lo = (float *)(void *)test_guarded(4, (size_t)c.params * 4, true);
    c.span.hi = (float *)(void *)test_guarded(5, (size_t)c.params * 4, true);
    for (int64_t i = 0; i < c.params; i++) {
        expected_lo[i] = c.span.lo[i] = test_chance(random, 4) ? (float)test_between(random, -1000, 1000) : INFINITY;
        expected_hi[i] = c.span.hi[i] = test_chance(random, 4) ? (float)test_between(random, -1000, 1000) : -INFINITY;
    }
    memcpy(expected_counts, c.counts, sizeof expected_counts);
    c.span.dst = NULL;
    c.span.dst_pitch = 0;
    c.span.scale = NULL;
    c.span.zero_point = NULL;
    span = c.span;
    span.lo = expected_lo;
    span.hi = expected_hi;
    span.counts = expected_counts;
    c.span.counts = c.counts;
    note_case(&c, random, ops->name, "minmax", x, CLQ_F32);
    clq_cpu_scalar.minmax[f](&span);
    ops->minmax[f](&c.span);
    for (int64_t i = 0; i < c.params; i++)
        TEST_CHECK(test_bits(clqm_flush(c.span.lo[i])) == test_bits(clqm_flush(expected_lo[i])) &&
                       test_bits(clqm_flush(c.span.hi[i])) == test_bits(clqm_flush(expected_hi[i])),
                   "parameter %" PRId64 ": got [%a, %a], expected [%a, %a]", i, c.span.lo[i], c.span.hi[i], expected_lo[i],
                   expected_hi[i]);
    TEST_CHECK(c.counts[0] == expected_counts[0] && c.counts[1] == expected_counts[1],
               "counts %" PRId64 ", %" PRId64 ", expected %" PRId64 ", %" PRId64, c.counts[0], c.counts[1], expected_counts[0],
               expected_counts[1]);
}

typedef void (*try_fn)(const struct clq_cpu_ops *ops, struct test_random *random, int first, int second, struct case_shape shape);

/* Blocks that are larger than what a kernel keeps tables or counts for, and rows that it may join. */
static const struct case_shape large_blocks[] = {
    {1, 5000, 5000, 0}, {3, 4500, 1, 0},    {3, 4500, 1, 4500}, {9, 2300, 1, 0},    {17, 1030, 1, 0},   {40, 300, 1, 0},
    {70, 131, 1, 0},    {333, 30, 1, 0},    {1000, 7, 1, 0},    {2100, 5, 1, 5},    {2100, 5, 5, 0},    {2100, 5, 5, 1},
    {5, 4100, 2, 0},    {5, 4100, 3, 1367}, {9, 4096, 4, 1024}, {7, 3000, 7, 0},    {3, 8192, 8, 1024}, {9, 4100, 16, 0},
    {5, 4096, 32, 128}, {5, 4100, 32, 129}, {3, 5000, 33, 0},   {2, 9000, 64, 141}, {2, 9000, 4500, 2}, {8, 2300, 400, 6},
    {300, 33, 11, 3},   {300, 33, 11, 0},   {64, 64, 16, 4},    {130, 48, 48, 1},   {1030, 17, 17, 1},  {1, 40000, 1, 0},
    {200, 24, 1, 0},    {210, 24, 8, 3},    {3, 4000, 49, 82},  {10, 20, 1, 0},     {40, 316, 32, 10},  {300, 100, 33, 4},
};

static void try_large_blocks(try_fn try, const struct clq_cpu_ops *ops, struct test_random *random, int first, int second)
{
    const int64_t count = (int64_t)TEST_COUNT_OF(large_blocks), tried = test_amount(count, 2),
                  start = test_between(random, 0, count - 1);

    for (int64_t i = 0; i < tried; i++)
        try(ops, random, first, second, large_blocks[(start + i) % count]);
}

/* Sizes one by one to past two tiles of the widest vectors, with a random number of rows; tall, wide and empty blocks; large
 * ones. */
static void try_sizes(try_fn try, const struct clq_cpu_ops *ops, struct test_random *random, int first, int second)
{
    const int64_t most = test_amount(300, 140), step = test_amount(1, 3), wide = test_amount(8, 2);

    for (int64_t cols = 0; cols <= most; cols += cols < 40 ? 1 : step)
        for (int64_t repeat = test_amount(3, 1); repeat > 0; repeat--)
            try(ops, random, first, second, (struct case_shape){test_between(random, 0, 4), cols, ANY_GROUP, ANY_PITCH});
    for (int64_t repeat = 0; repeat < wide; repeat++) {
        try(ops, random, first, second, (struct case_shape){1, test_between(random, 1000, 4000), ANY_GROUP, ANY_PITCH});
        try(ops, random, first, second,
            (struct case_shape){test_between(random, 5, 150), test_between(random, 1, 20), ANY_GROUP, ANY_PITCH});
        try(ops, random, first, second,
            (struct case_shape){test_between(random, 1, 7), test_between(random, 300, 580), ANY_GROUP, ANY_PITCH});
    }
    try_large_blocks(try, ops, random, first, second);
}

START_TEST(quantize)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(100 + (uint64_t)_i);

    for (int f = 0; ops != NULL && f < CLQ_FLOAT_TYPES; f++)
        for (int i = 0; i < CLQ_INT_TYPES; i++)
            if (ops->quantize[f][i] != NULL) try_sizes(try_quantize, ops, &random, f, i);
}
END_TEST

START_TEST(dequantize)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(200 + (uint64_t)_i);

    for (int i = 0; ops != NULL && i < CLQ_INT_TYPES; i++)
        for (int f = 0; f < CLQ_FLOAT_TYPES; f++)
            if (ops->dequantize[i][f] != NULL) try_sizes(try_dequantize, ops, &random, i, f);
}
END_TEST

START_TEST(requantize)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(1200 + (uint64_t)_i);

    for (int from = 0; ops != NULL && from < CLQ_INT_TYPES; from++)
        for (int to = 0; to < 2; to++)
            if (ops->requantize[from][to] != NULL) try_sizes(try_requantize, ops, &random, from, to);
}
END_TEST

/* The ranges of all types but s32. */
START_TEST(fake_quantize)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(1300 + (uint64_t)_i);

    for (int f = 0; ops != NULL && f < CLQ_FLOAT_TYPES; f++)
        for (int i = 0; i < CLQ_INT_S32; i++)
            if (ops->fake_quantize[f] != NULL) try_sizes(try_fake_quantize, ops, &random, f, i);
}
END_TEST

START_TEST(fake_backward)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(1400 + (uint64_t)_i);

    for (int f = 0; ops != NULL && f < CLQ_FLOAT_TYPES; f++)
        for (int i = 0; i < CLQ_INT_S32; i++)
            if (ops->fake_backward[f] != NULL) try_sizes(try_fake_backward, ops, &random, f, i);
}
END_TEST

START_TEST(mask_backward)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(1500 + (uint64_t)_i);

    for (int size = 0; ops != NULL && size < 2; size++)
        if (ops->mask_backward[size] != NULL) try_sizes(try_mask_backward, ops, &random, size, 0);
}
END_TEST

START_TEST(learnable_backward)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(1600 + (uint64_t)_i);

    for (int f = 0; ops != NULL && f < CLQ_FLOAT_TYPES; f++)
        for (int i = 0; i < CLQ_INT_S32; i++)
            if (ops->learnable_backward[f] != NULL) try_sizes(try_learnable, ops, &random, f, i);
}
END_TEST

static void try_minmax_of(const struct clq_cpu_ops *ops, struct test_random *random, int f, int unused, struct case_shape shape)
{
    (void)unused;
    try_minmax(ops, random, f, shape);
}

START_TEST(minmax)
{
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(300 + (uint64_t)_i);

    for (int f = 0; ops != NULL && f < CLQ_FLOAT_TYPES; f++) {
        if (ops->minmax[f] == NULL) continue;
        for (int64_t repeat = test_amount(4, 1); repeat > 0; repeat--)
            try_sizes(try_minmax_of, ops, &random, f, 0);
    }
}
END_TEST

/* Long rows, which kernels may walk in several streams or write past the cache. */
START_TEST(long_rows)
{
    static const int64_t lengths[] = {1 << 14, (1 << 14) + 37, (1 << 16) - 1, (1 << 17) + 4097, 200003};
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(400 + (uint64_t)_i);
    const size_t lengths_tried = (size_t)test_amount(TEST_COUNT_OF(lengths), 2);

    for (size_t k = 0; ops != NULL && k < lengths_tried; k++) {
        for (int i = 0; i < CLQ_INT_TYPES; i++) {
            const int64_t n = lengths[k], q_bytes = bytes_of(int_dtypes[i]);
            int64_t least, most, counts[3] = {0}, expected_counts[3] = {0};
            const size_t offset = (size_t)test_between(&random, 0, 63);
            float *const x = (float *)(void *)(test_guarded(0, (size_t)n * 4 + 64, true) + 64);
            unsigned char *const q = test_guarded(1, (size_t)n * (size_t)q_bytes + offset, false) + offset,
                                 *const wanted = malloc((size_t)(n * q_bytes));
            float *const y = (float *)(void *)test_guarded(2, (size_t)n * 4, true), *const wanted_y = malloc((size_t)n * 4);
            struct clq_span span = {
                .src = x, .dst = q, .rows = 1, .cols = n, .src_pitch = n, .dst_pitch = n, .group = n, .counts = counts};
            float scale = test_float(test_random_scale(&random));

            TEST_CHECK(wanted != NULL && wanted_y != NULL, "no memory for the test");
            ref_type_range(int_dtypes[i], &least, &most);
            span.scale = &scale;
            span.qmin = (int32_t)least;
            span.qmax = (int32_t)most;
            span.fixed_zero_point = i == CLQ_INT_S32 ? 0 : (int32_t)test_between(&random, least, most);
            span.reciprocal = k % 2;
            for (int64_t at = 0; at < n; at++)
                x[at] = test_float(test_random_value(&random, test_bits(scale), span.fixed_zero_point, least, most));
            test_note("seed %" PRIu64 ", table %s, f32 and %s, one row of %" PRId64 ", scale 0x%08x, z %d", random.seed,
                      ops->name, clq_dtype_name(int_dtypes[i]), n, test_bits(scale), (int)span.fixed_zero_point);
            if (ops->quantize[CLQ_FLOAT_F32][i] != NULL) {
                ops->quantize[CLQ_FLOAT_F32][i](&span);
                span.dst = wanted;
                span.counts = expected_counts;
                clq_cpu_scalar.quantize[CLQ_FLOAT_F32][i](&span);
                for (int64_t at = 0; at < n; at++)
                    TEST_CHECK(memcmp(q + at * q_bytes, wanted + at * q_bytes, (size_t)q_bytes) == 0,
                               "quantize: col %" PRId64 ", x 0x%08x", at, test_bits(x[at]));
                TEST_CHECK(memcmp(counts, expected_counts, sizeof counts) == 0, "quantize: counts differ");
            }
            if (ops->dequantize[i][CLQ_FLOAT_F32] != NULL) {
                test_fill_random(&random, q, (size_t)(n * q_bytes));
                span.src = q;
                span.dst = y;
                span.counts = NULL;
                ops->dequantize[i][CLQ_FLOAT_F32](&span);
                span.dst = wanted_y;
                clq_cpu_scalar.dequantize[i][CLQ_FLOAT_F32](&span);
                for (int64_t at = 0; at < n; at++)
                    TEST_CHECK(test_bits(y[at]) == test_bits(wanted_y[at]), "dequantize: col %" PRId64 ": got %a, expected %a",
                               at, y[at], wanted_y[at]);
            }
            free(wanted);
            free(wanted_y);
        }
    }
}
END_TEST

/* ---- division */

enum { BLOCK = 1 << 14 };

/* One row with one scale, quantized by both tables. */
static void compare_block(const struct clq_cpu_ops *ops, int i, const float *x, int64_t n, const float *scale, int64_t group,
                          bool reciprocal, int32_t z)
{
    static int32_t got[BLOCK], expected[BLOCK];
    const int64_t size_bytes = bytes_of(int_dtypes[i]);
    int64_t least, most;
    struct clq_span span = {
        .src = x, .dst = got, .rows = 1, .cols = n, .src_pitch = n, .dst_pitch = n, .group = group, .scale = scale};

    ref_type_range(int_dtypes[i], &least, &most);
    span.qmin = (int32_t)least;
    span.qmax = (int32_t)most;
    span.fixed_zero_point = z;
    span.reciprocal = reciprocal;
    ops->quantize[CLQ_FLOAT_F32][i](&span);
    span.dst = expected;
    clq_cpu_scalar.quantize[CLQ_FLOAT_F32][i](&span);
    if (memcmp(got, expected, (size_t)(n * size_bytes)) == 0) return;
    for (int64_t at = 0; at < n; at++) {
        int32_t q = 0, e = 0;
        memcpy(&q, (char *)got + at * size_bytes, (size_t)size_bytes);
        memcpy(&e, (char *)expected + at * size_bytes, (size_t)size_bytes);
        TEST_CHECK(q == e, "table %s, %s, %s: x 0x%08x, scale 0x%08x, z %d: got 0x%x, expected 0x%x", ops->name,
                   clq_dtype_name(int_dtypes[i]), reciprocal ? "reciprocal" : "division", test_bits(x[at]),
                   test_bits(scale[at / group]), (int)z, (unsigned)q, (unsigned)e);
    }
}

/*
 * s32 shows a quotient of 2^23 to 2^31 to its last bit, so all mantissas of x over one of s see every digit that division rounds.
 * Exponents vary between the bounds of scales.
 */
START_TEST(quotient_over_mantissas_of_x)
{
    static const uint32_t mantissas[] = {0x7fffff, 0x000001, 0x7ffffe, 0x2aaaab, 0x490fdb, 0x3504f3};
    static float x[BLOCK];
    const struct clq_cpu_ops *const ops = table_of(_i);
    const uint32_t step = (uint32_t)test_amount(1, 64);
    const size_t tried = (size_t)test_amount(TEST_COUNT_OF(mantissas), 3);

    if (ops == NULL || ops->quantize[CLQ_FLOAT_F32][CLQ_INT_S32] == NULL) return;
    for (size_t k = 0; k < tried; k++) {
        const uint32_t exponent = k == 0 ? 27 : k == 1 ? 226 : 100 + 9 * (uint32_t)k;
        const float scale = test_float(exponent << 23 | mantissas[k]);
        for (uint32_t first = 0; first < 1u << 23; first += BLOCK * step) {
            for (uint32_t i = 0; i < BLOCK; i++)
                x[i] = test_float((i % 2) << 31 | (exponent + 25) << 23 | (first + i * step));
            compare_block(ops, CLQ_INT_S32, x, BLOCK, &scale, BLOCK, false, 0);
            if (k % 2 == 0) compare_block(ops, CLQ_INT_S32, x, BLOCK, &scale, BLOCK, true, 0);
        }
    }
}
END_TEST

/* x at every kind of tie and beside it, for mantissas of s without end: the last digit decides the integer. */
START_TEST(ties_over_mantissas_of_s)
{
    static const int32_t halves[] = {1, 3, 5, 127, 253, 255, 257, 509, 511, 65535, 131069};
    static float x[BLOCK], scale[BLOCK];
    const struct clq_cpu_ops *const ops = table_of(_i);
    struct test_random random = test_random_start(500 + (uint64_t)_i);
    const uint32_t step = (uint32_t)test_amount(5, 509);

    if (ops == NULL) return;
    for (size_t k = 0; k < TEST_COUNT_OF(halves); k++) {
        const float half = (float)halves[k] * 0.5f;
        const int type = halves[k] > 511            ? (k % 2 ? CLQ_INT_S16 : CLQ_INT_U16)
                         : halves[k] > 255 || k % 2 ? CLQ_INT_U8
                                                    : CLQ_INT_S8;
        const uint32_t exponent = (uint32_t)(k % 4 == 0 ? 27 : k % 4 == 1 ? 226 : test_between(&random, 28, 225));
        uint32_t mantissa = (uint32_t)test_between(&random, 0, step - 1);
        if (ops->quantize[CLQ_FLOAT_F32][type] == NULL) continue;
        while (mantissa < 1u << 23) {
            int64_t n = 0;
            for (; n + 3 <= BLOCK && mantissa < 1u << 23; mantissa += step) {
                const float s = test_float(exponent << 23 | mantissa);
                const uint32_t tie = test_bits(s * half);
                for (uint32_t bits = tie - 1; bits <= tie + 1; bits++) {
                    scale[n] = s;
                    x[n++] = type == CLQ_INT_S8 || type == CLQ_INT_S16 ? -test_float(bits) : test_float(bits);
                }
            }
            /* A parameter for each element, as when the channel axis is innermost. */
            compare_block(ops, type, x, n, scale, 1, false, 0);
        }
    }
}
END_TEST

/* Overflow, underflow and everything that is no number, at the bounds of scales. */
START_TEST(special_values)
{
    static float x[256];
    static const uint32_t scales[] = {0x0d800000, 0x0d800001, 0x71800000, 0x717fffff, 0x3f800000, 0x3f800001, 0x3f7fffff};
    const struct clq_cpu_ops *const ops = table_of(_i);

    if (ops == NULL) return;
    for (int32_t i = 0; i < 256; i++)
        x[i] = test_float(test_special_floats[i % test_special_float_count]);
    for (int type = 0; type < CLQ_INT_TYPES; type++) {
        int64_t least, most;
        ref_type_range(int_dtypes[type], &least, &most);
        if (ops->quantize[CLQ_FLOAT_F32][type] == NULL) continue;
        for (size_t k = 0; k < TEST_COUNT_OF(scales); k++) {
            const float scale = test_float(scales[k]);
            for (int32_t z = 0; z < 5; z++) {
                const int32_t point = type == CLQ_INT_S32 ? 0 : (int32_t)(least + (most - least) * z / 4);
                compare_block(ops, type, x, 256, &scale, 256, z % 2 == 0, point);
                compare_block(ops, type, x + 1, 100, &scale, 100, z % 2 != 0, point);
            }
        }
    }
}
END_TEST

/* ---- tables */

/* The scalar table has everything, so that every merged one has. */
START_TEST(merged_tables)
{
    struct clq_cpu_ops merged;

    for (int32_t i = 0; i < clq_cpu_table_count; i++) {
        clq_cpu_ops_merge(&clq_cpu_tables[i], &merged);
        TEST_CHECK(merged.name == clq_cpu_tables[i].ops->name, "a merged table bears the name of its best");
        for (int f = 0; f < CLQ_FLOAT_TYPES; f++) {
            for (int k = 0; k < CLQ_INT_TYPES; k++) {
                TEST_CHECK(merged.quantize[f][k] != NULL && merged.dequantize[k][f] != NULL, "%s: no kernel", merged.name);
                if (clq_cpu_tables[i].ops->quantize[f][k] != NULL)
                    TEST_CHECK(merged.quantize[f][k] == clq_cpu_tables[i].ops->quantize[f][k], "%s: a worse kernel was taken",
                               merged.name);
            }
            TEST_CHECK(merged.minmax[f] != NULL && merged.narrow_f64[f] != NULL, "%s: no kernel", merged.name);
            TEST_CHECK(merged.fake_quantize[f] && merged.fake_backward[f] && merged.learnable_backward[f], "%s: no kernel", merged.name);
            TEST_CHECK((merged.widen[f] != NULL && merged.narrow[f] != NULL) || f == CLQ_FLOAT_F32, "%s: no kernel", merged.name);
        }
        TEST_CHECK(merged.pack4 && merged.unpack_s4 && merged.unpack_u4 && merged.error_sums && merged.qparams_from_range,
                   "%s: no kernel", merged.name);
        for (int to = 0; to < 2; to++)
            TEST_CHECK(merged.requantize[CLQ_INT_S8][to] && merged.requantize[CLQ_INT_U8][to] && merged.requantize[CLQ_INT_S32][to] &&
                           merged.mask_backward[to],
                       "%s: no kernel", merged.name);
        for (int log = 0; log < 4; log++)
            TEST_CHECK(merged.copy2d[log] != NULL, "%s: no copy of %d bytes", merged.name, 1 << log);
    }
    TEST_CHECK(clq_cpu_tables[clq_cpu_table_count - 1].ops == &clq_cpu_scalar, "the scalar table is the last");
    TEST_CHECK(test_table(test_table_count() - 1)->ops == &clq_cpu_scalar, "the scalar table runs everywhere");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *spans = test_case(suite, "blocks"), *division = test_case(suite, "division"), *list = test_case(suite, "tables");
    const int32_t tables = test_table_count();

    tcase_add_loop_test(spans, quantize, 0, tables);
    tcase_add_loop_test(spans, dequantize, 0, tables);
    tcase_add_loop_test(spans, minmax, 0, tables);
    tcase_add_loop_test(spans, requantize, 0, tables);
    tcase_add_loop_test(spans, fake_quantize, 0, tables);
    tcase_add_loop_test(spans, fake_backward, 0, tables);
    tcase_add_loop_test(spans, mask_backward, 0, tables);
    tcase_add_loop_test(spans, learnable_backward, 0, tables);
    tcase_add_loop_test(spans, long_rows, 0, tables);
    tcase_add_loop_test(division, quotient_over_mantissas_of_x, 0, tables);
    tcase_add_loop_test(division, ties_over_mantissas_of_s, 0, tables);
    tcase_add_loop_test(division, special_values, 0, tables);
    tcase_add_test(list, merged_tables);
    return test_run(suite);
}
