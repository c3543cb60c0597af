/* SPDX-License-Identifier: MIT */
/*
 * Tensors of more than 2^32 elements, through every operation that makes one of another: values are checked at both ends and around 2^31 and 2^32, sums
 * and ranges as a whole. Runs only with CLQ_TEST_LARGE=1, and is skipped otherwise: it takes minutes, and 5 GiB for the test in a buffer.
 *
 * Tensors are one file of a period, mapped again and again, inputs and outputs alike: element i is that of i % PERIOD. A position of which a bit is lost
 * lies elsewhere in the period, which 2^31 and 2^32 are no multiples of. The last page of an input is one of its own.
 */
#include "config.h"

#include "test_support.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* In bytes of any type, and of two or eight elements a byte, a period is a whole number of pages. */
#define PERIOD   ((int64_t)32768 * 385)
#define COLS     ((int64_t)32768)
#define ROWS     (((int64_t)1 << 17) + 1)
#define ELEMENTS (ROWS * COLS)

struct periodic {
    FILE *file;
    unsigned char *memory;
    size_t size_bytes;
};

static struct periodic map(int64_t bits)
{
    const size_t period = (size_t)(PERIOD * bits / 8), total = (size_t)(ELEMENTS * bits / 8);
    struct periodic p = {.file = tmpfile(), .size_bytes = total};

    TEST_CHECK(p.file != NULL && ftruncate(fileno(p.file), (off_t)period) == 0, "no file for the test");
    p.memory = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TEST_CHECK(p.memory != MAP_FAILED, "no addresses for the test");
    for (size_t at = 0; at < total; at += period) {
        const size_t bytes = total - at < period ? total - at : period;
        TEST_CHECK(mmap(p.memory + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fileno(p.file), 0) != MAP_FAILED, "no mapping for the test");
    }
    return p;
}

static void unmap(struct periodic *p)
{
    munmap(p->memory, p->size_bytes);
    fclose(p->file);
}

/* A page of its own for the last row's end. */
static void split_last_page(struct periodic *p)
{
    unsigned char copy[65536];
    const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *const page = p->memory + p->size_bytes - bytes;
    TEST_CHECK(bytes <= sizeof copy, "pages of %zu bytes", bytes);
    memcpy(copy, page, bytes);
    TEST_CHECK(mmap(page, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED, "no page for the test");
    memcpy(page, copy, bytes);
}

/* ---- values */

/* Of few digits, exact in each float type. */
static float value_at(int64_t i)
{
    return (float)(i % PERIOD * 7919 % 251 - 125) * 0.125f;
}

static struct periodic map_floats(clq_dtype dtype)
{
    struct periodic p = map(clq_dtype_bits(dtype));
    uint16_t *const x = (void *)p.memory;
    for (int64_t i = 0; i < PERIOD; i++)
        x[i] = (uint16_t)ref_cast(CLQ_F32, dtype, test_bits(value_at(i)));
    return p;
}

static clq_tensor matrix(clq_dtype dtype, const struct periodic *p)
{
    const int64_t shape[2] = {ROWS, COLS};
    return clq_tensor_host(dtype, p->memory, 2, shape);
}

/* Elements to look at. */
static int64_t position(int k)
{
    const int64_t near[] = {500, (int64_t)1 << 31, (int64_t)1 << 32, ELEMENTS - 500};
    return near[k / 1000] - 500 + k % 1000;
}

enum { POSITIONS = 4000 };

/* The bits of element i. */
static uint64_t get(const clq_tensor *tensor, int64_t i)
{
    const int64_t index[2] = {i / COLS, i % COLS};
    return ref_get(tensor, index);
}

#define CHECK_AT(tensor, i, expected)                                                                                            \
    TEST_CHECK(get(&tensor, i) == (uint64_t)(expected), "element %" PRId64 ": got %" PRId64 ", must be %" PRId64, i, (int64_t)get(&tensor, i), (int64_t)(expected))

static int64_t quantized(float x, float s, int64_t z, int64_t least, int64_t most, enum ref_kind *kind)
{
    return ref_quantize_bits(test_bits(x), test_bits(s), false, z, least, most, kind);
}

/* ---- operations on one context */

static float scale = 0.25f;

static void quantize_to_s4(clq_context *context)
{
    struct periodic x_memory = map_floats(CLQ_BF16), q_memory = map(4);
    const clq_tensor x = matrix(CLQ_BF16, &x_memory), q = matrix(CLQ_S4, &q_memory);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S4}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    enum ref_kind kind;

    TEST_OK(context, clq_quantize(context, &x, &params, &q, NULL));
    for (int k = 0; k < POSITIONS; k++)
        CHECK_AT(q, position(k), quantized(value_at(position(k)), scale, 0, -8, 7, &kind));
    unmap(&x_memory);
    unmap(&q_memory);
}

/* The extremes are the last elements. */
static void minmax_of_f16(clq_context *context)
{
    struct periodic x_memory = map_floats(CLQ_F16);
    const clq_tensor x = matrix(CLQ_F16, &x_memory);
    const clq_scheme scheme = {.dtype = CLQ_S8};
    const int64_t three = 3;
    int64_t counts[3];
    float lo = 0, hi = 0;
    const clq_tensor lo_view = clq_tensor_host(CLQ_F32, &lo, 0, NULL), hi_view = clq_tensor_host(CLQ_F32, &hi, 0, NULL),
                     counts_view = clq_tensor_host(CLQ_S64, counts, 1, &three);

    split_last_page(&x_memory);
    memcpy(x_memory.memory + 2 * ELEMENTS - 2, (uint16_t[]){0x5640}, 2); /* 100 */
    memcpy(x_memory.memory + 2 * ELEMENTS - 4, (uint16_t[]){0xd640}, 2);
    memcpy(x_memory.memory + 2 * ELEMENTS - 6, (uint16_t[]){0x7e00}, 2); /* NaN */
    TEST_OK(context, clq_minmax(context, &x, &scheme, &lo_view, &hi_view, &counts_view));
    TEST_CHECK(lo == -100.0f && hi == 100.0f && counts[0] == 1 && counts[1] == 0, "[%a, %a], %" PRId64 " NaN, %" PRId64 " infinite", lo, hi, counts[0], counts[1]);
    unmap(&x_memory);
}

static void fake_quantize_f16(clq_context *context)
{
    struct periodic x_memory = map_floats(CLQ_F16), y_memory = map(16), mask_memory = map(1), dx_memory = map(16);
    const clq_tensor x = matrix(CLQ_F16, &x_memory), y = matrix(CLQ_F16, &y_memory), dx = matrix(CLQ_F16, &dx_memory);
    const int64_t mask_bytes = ELEMENTS / 8, three = 3;
    const clq_tensor mask = clq_tensor_host(CLQ_U8, mask_memory.memory, 1, &mask_bytes);
    int64_t counts[3], outside = 0;
    const clq_tensor counts_view = clq_tensor_host(CLQ_S64, counts, 1, &three);
    float dscale = 0;
    const clq_tensor dscale_view = clq_tensor_host(CLQ_F32, &dscale, 0, NULL);
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .qmin = -32, .qmax = 31}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    enum ref_kind kind;

    TEST_OK(context, clq_fake_quantize(context, &x, &params, &y, &mask, &counts_view));
    for (int k = 0; k < POSITIONS; k++) {
        const int64_t i = position(k), q = quantized(value_at(i), scale, 0, -32, 31, &kind);
        CHECK_AT(y, i, ref_cast(CLQ_F32, CLQ_F16, ref_dequantize_bits(q, test_bits(scale), 0)));
        TEST_CHECK((mask_memory.memory[i / 8] >> i % 8 & 1) == (kind == REF_INSIDE), "bit %" PRId64 " of the mask", i);
    }
    for (int64_t i = 0; i < PERIOD; i++) {
        (void)quantized(value_at(i), scale, 0, -32, 31, &kind);
        outside += kind == REF_CLIPPED ? (i < ELEMENTS % PERIOD) + ELEMENTS / PERIOD : 0;
    }
    TEST_CHECK(counts[0] == 0 && counts[1] == 0 && counts[2] == outside, "%" PRId64 " clipped, must be %" PRId64, counts[2], outside);
    TEST_OK(context, clq_fake_quantize_backward(context, &x, NULL, NULL, &mask, &dx));
    for (int k = 0; k < POSITIONS; k++) {
        const int64_t i = position(k);
        CHECK_AT(dx, i, mask_memory.memory[i / 8] >> i % 8 & 1 ? get(&x, i) : 0);
    }
    TEST_OK(context, clq_fake_quantize_backward_learnable(context, &x, &x, &params, 0x1p-32f, &dx, &dscale_view, NULL));
    long double sum = 0, magnitude = 0;
    for (int64_t i = 0; i < PERIOD; i++) {
        const float v = value_at(i);
        const int64_t q = quantized(v, scale, 0, -32, 31, &kind), times = (i < ELEMENTS % PERIOD) + ELEMENTS / PERIOD;
        const long double term = (kind == REF_INSIDE ? (long double)q - v / scale : (long double)q) * v * (long double)times;
        sum += term * 0x1p-32L;
        magnitude += (term < 0 ? -term : term) * 0x1p-32L;
    }
    TEST_CHECK(dscale - sum <= 1e-6L * magnitude && sum - dscale <= 1e-6L * magnitude, "dscale %a, must be %La", dscale, sum);
    unmap(&x_memory);
    unmap(&y_memory);
    unmap(&mask_memory);
    unmap(&dx_memory);
}

/* Per row. */
static void dynamic_quantize_rows(clq_context *context)
{
    struct periodic x_memory = map_floats(CLQ_BF16), q_memory = map(8);
    const clq_tensor x = matrix(CLQ_BF16, &x_memory), q = matrix(CLQ_U8, &q_memory);
    float *const scales = calloc((size_t)ROWS, sizeof *scales);
    int32_t *const zero_points = calloc((size_t)ROWS, sizeof *zero_points);
    const int64_t rows = ROWS;
    const clq_qparams params = {.scheme = {.dtype = CLQ_U8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                .scale = clq_tensor_host(CLQ_F32, scales, 1, &rows),
                                .zero_point = clq_tensor_host(CLQ_S32, zero_points, 1, &rows)};
    uint32_t s;
    int32_t z;
    enum ref_kind kind;

    TEST_CHECK(scales != NULL && zero_points != NULL, "no memory for the test");
    TEST_OK(context, clq_dynamic_quantize(context, &x, &params, &q, NULL));
    /* Each row has every value. */
    TEST_CHECK(ref_from_range(test_bits(-125 * 0.125f), test_bits(125 * 0.125f), &params.scheme, &s, &z), "the range");
    for (int64_t row = 0; row < ROWS; row++)
        TEST_CHECK(test_bits(scales[row]) == s && zero_points[row] == z, "row %" PRId64 ": %a, %d", row, scales[row], (int)zero_points[row]);
    for (int k = 0; k < POSITIONS; k++)
        CHECK_AT(q, position(k), quantized(value_at(position(k)), test_float(s), z, 0, 255, &kind));
    free(scales);
    free(zero_points);
    unmap(&x_memory);
    unmap(&q_memory);
}

static float source_scale = 0.5f, target_scale = 0.75f;
static int32_t source_zero_point = 100, target_zero_point = -7;

static clq_qparams bytes(bool is_source)
{
    return (clq_qparams){.scheme = {.dtype = is_source ? CLQ_U8 : CLQ_S8},
                         .scale = clq_tensor_host(CLQ_F32, is_source ? &source_scale : &target_scale, 0, NULL),
                         .zero_point = clq_tensor_host(CLQ_S32, is_source ? &source_zero_point : &target_zero_point, 0, NULL)};
}

static struct periodic map_bytes(void)
{
    struct periodic p = map(8);
    for (int64_t i = 0; i < PERIOD; i++)
        p.memory[i] = (uint8_t)(i * 7919 % 251);
    return p;
}

static void check_requantized(const clq_tensor *y)
{
    const clq_qparams x_params = bytes(true), y_params = bytes(false);
    for (int k = 0; k < POSITIONS; k++) {
        uint8_t x = (uint8_t)(position(k) % PERIOD * 7919 % 251);
        int8_t expected = 0;
        const clq_tensor from = clq_tensor_host(CLQ_U8, &x, 0, NULL), to = clq_tensor_host(CLQ_S8, &expected, 0, NULL);
        ref_requantize(&from, &x_params, &y_params, &to);
        CHECK_AT((*y), position(k), expected);
    }
}

static void requantize(clq_context *context)
{
    struct periodic x_memory = map_bytes(), y_memory = map(8);
    const clq_tensor x = matrix(CLQ_U8, &x_memory), y = matrix(CLQ_S8, &y_memory);
    const clq_qparams x_params = bytes(true), y_params = bytes(false);

    TEST_OK(context, clq_requantize(context, &x, &x_params, &y_params, &y));
    check_requantized(&y);
    unmap(&x_memory);
    unmap(&y_memory);
}

/* There and back by clq_convert(), in place in between. */
static void requantize_in_a_buffer(clq_context *context)
{
    const int64_t shape[2] = {ROWS, COLS};
    struct periodic x_memory = map_bytes(), y_memory = map(8);
    const clq_tensor x = matrix(CLQ_U8, &x_memory), y = matrix(CLQ_S8, &y_memory);
    const clq_qparams x_params = bytes(true), y_params = bytes(false);
    clq_buffer *buffer = NULL;

    if (clq_buffer_create(context, ELEMENTS, &buffer) != CLQ_OK) {
        printf("no buffer of %" PRId64 " bytes: %s\n", ELEMENTS, clq_context_error(context));
        unmap(&x_memory);
        unmap(&y_memory);
        return;
    }
    const clq_tensor from = clq_tensor_buffer(CLQ_U8, buffer, 0, 2, shape), to = clq_tensor_buffer(CLQ_S8, buffer, 0, 2, shape);
    TEST_OK(context, clq_convert(context, &x, &from));
    TEST_OK(context, clq_requantize(context, &from, &x_params, &y_params, &to));
    TEST_OK(context, clq_convert(context, &to, &y));
    check_requantized(&y);
    clq_buffer_free(buffer);
    unmap(&x_memory);
    unmap(&y_memory);
}

/* ---- tests */

static const struct {
    const char *name;
    void (*run)(clq_context *context);
} operations[] = {
    {"clq_quantize to s4", quantize_to_s4},
    {"clq_minmax of f16", minmax_of_f16},
    {"clq_fake_quantize of f16 and its gradients", fake_quantize_f16},
    {"clq_dynamic_quantize by rows", dynamic_quantize_rows},
    {"clq_requantize", requantize},
    {"clq_requantize in a buffer", requantize_in_a_buffer},
};

/* The places of a device are two, of which the second stages in small chunks; the first place of the CPU is the best table. */
#ifdef TEST_OPENCL
enum { PLACE_STEP = 2 };
#else
enum { PLACE_STEP = TEST_PLACES };
#endif

/* The loop runs over operations. */
START_TEST(large)
{
    struct test_place places[TEST_PLACES];
    const int32_t place_count = test_places_open(places, false);

    for (int32_t i = 0; i < place_count; i += PLACE_STEP) {
        test_note("%s", operations[_i].name);
        test_note_place("[%s]", places[i].name);
        operations[_i].run(places[i].context);
    }
    test_places_close(places, place_count);
}
END_TEST

int main(void)
{
    const char *const wanted = getenv("CLQ_TEST_LARGE");
    Suite *suite;
    TCase *tcase;

    if (wanted == NULL || strcmp(wanted, "1") != 0) {
        printf("skipped: CLQ_TEST_LARGE=1 has it run\n");
        return 77;
    }
    suite = suite_create("large");
    tcase = test_case(suite, "more than 2^32 elements");
    tcase_add_loop_test(tcase, large, 0, TEST_COUNT_OF(operations));
    return test_run(suite);
}
