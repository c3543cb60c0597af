/* SPDX-License-Identifier: MIT */
/*
 * Bad arguments: each gives its status and a line of text that names the function and the argument, and no byte of memory
 * changes.
 */
#include "config.h"

#include "test_support.h"
#include <fenv.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- a workbench: right arguments for every operation, of which a test spoils one */

enum { ROWS = 4, COLS = 6 };

/* All that operations read or write, to be compared as bytes. */
struct memory {
    float x[64], y[64], dy[64], dx[64], lo[16], hi[16], scale[32], dscale[16], dzero_point[16];
    int32_t zero_point[32];
    int64_t counts[8], shape[CLQ_MAX_RANK];
    int32_t rank;
    int8_t q[64], r[64];
    uint8_t mask[16];
    clq_error_stats stats;
    unsigned char left[128], right[128], product[128]; /* of a matrix product */
    int32_t bias[8];
};

struct bench {
    clq_context *context;
    clq_tensor x, q, y, lo, hi, counts, r, dy, dx, mask, dscale, dzero_point;
    clq_qparams params, target;
    float averaging, gradient_scale;
    /* What is passed; NULL where a test says so. */
    clq_tensor *px, *pq, *py, *plo, *phi, *pcounts, *pr, *pdy, *pdx, *pmask, *pdscale, *pdzero_point;
    clq_qparams *pparams, *ptarget;
    clq_scheme *pscheme;
    clq_error_stats *pstats;
    clq_tensor left, right, product, bias;
    clq_qparams left_params, right_params, product_params;
    clq_gemm_args args;
    const clq_gemm_args *pargs;
    int32_t *prank;
    int64_t *pshape;
    struct memory m;
};

static clq_context *the_context;
static struct bench b;

/* s8 [4, 6] with parameters by row times s8 [6, 5] with parameters by column and a bias, to s8. */
static void start_gemm(void)
{
    const int64_t left[2] = {4, 6}, right[2] = {6, 5}, product[2] = {4, 5}, *const m = &product[0], *const n = &product[1];

    b.left = clq_tensor_host(CLQ_S8, b.m.left, 2, left);
    b.right = clq_tensor_host(CLQ_S8, b.m.right, 2, right);
    b.product = clq_tensor_host(CLQ_S8, b.m.product, 2, product);
    b.bias = clq_tensor_host(CLQ_S32, b.m.bias, 1, n);
    b.left_params = (clq_qparams){.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                                  .scale = clq_tensor_host(CLQ_F32, b.m.scale, 1, m),
                                  .zero_point = clq_tensor_host(CLQ_S32, b.m.zero_point, 1, m)};
    b.right_params = (clq_qparams){.scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 1},
                                   .scale = clq_tensor_host(CLQ_F32, b.m.scale + 8, 1, n),
                                   .zero_point = clq_tensor_host(CLQ_S32, b.m.zero_point + 8, 1, n)};
    b.product_params = (clq_qparams){.scheme = {.dtype = CLQ_S8},
                                     .scale = clq_tensor_host(CLQ_F32, b.m.scale + 16, 0, NULL),
                                     .zero_point = clq_tensor_host(CLQ_S32, b.m.zero_point + 16, 0, NULL)};
    b.args = (clq_gemm_args){.a = &b.left, .b = &b.right, .c = &b.product, .bias = &b.bias, .a_params = &b.left_params, .b_params = &b.right_params,
                             .c_params = &b.product_params};
    b.pargs = &b.args;
}

/* s8, asymmetric, per channel along axis 0 of [ROWS, COLS]. */
static void start(void)
{
    const int64_t shape[2] = {ROWS, COLS}, channels[1] = {ROWS}, three[1] = {3}, mask_bytes[1] = {ROWS * COLS / 8};

    memset(&b, 0, sizeof b);
    memset(&b.m, 0xa5, sizeof b.m);
    b.context = the_context;
    for (int i = 0; i < 64; i++)
        b.m.x[i] = (float)(i % 13) - 6.0f;
    for (int i = 0; i < 32; i++) {
        b.m.scale[i] = 0.5f;
        b.m.zero_point[i] = 1;
    }
    for (int i = 0; i < 16; i++) {
        b.m.lo[i] = -1.0f;
        b.m.hi[i] = 2.0f;
    }
    b.x = clq_tensor_host(CLQ_F32, b.m.x, 2, shape);
    b.y = clq_tensor_host(CLQ_F32, b.m.y, 2, shape);
    b.q = clq_tensor_host(CLQ_S8, b.m.q, 2, shape);
    b.lo = clq_tensor_host(CLQ_F32, b.m.lo, 1, channels);
    b.hi = clq_tensor_host(CLQ_F32, b.m.hi, 1, channels);
    b.counts = clq_tensor_host(CLQ_S64, b.m.counts, 1, three);
    b.r = clq_tensor_host(CLQ_S8, b.m.r, 2, shape);
    b.dy = clq_tensor_host(CLQ_F32, b.m.dy, 2, shape);
    b.dx = clq_tensor_host(CLQ_F32, b.m.dx, 2, shape);
    b.mask = clq_tensor_host(CLQ_U8, b.m.mask, 1, mask_bytes);
    b.dscale = clq_tensor_host(CLQ_F32, b.m.dscale, 1, channels);
    b.dzero_point = clq_tensor_host(CLQ_F32, b.m.dzero_point, 1, channels);
    b.averaging = 0.5f;
    b.gradient_scale = 1.0f;
    b.params.scheme = (clq_scheme){.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL};
    b.params.scale = clq_tensor_host(CLQ_F32, b.m.scale, 1, channels);
    b.params.zero_point = clq_tensor_host(CLQ_S32, b.m.zero_point, 1, channels);
    b.target = b.params;
    b.px = &b.x;
    b.pq = &b.q;
    b.py = &b.y;
    b.plo = &b.lo;
    b.phi = &b.hi;
    b.pcounts = &b.counts;
    b.pr = &b.r;
    b.pdy = &b.dy;
    b.pdx = &b.dx;
    b.pmask = &b.mask;
    b.pdscale = &b.dscale;
    b.pdzero_point = &b.dzero_point;
    b.ptarget = &b.target;
    b.pparams = &b.params;
    b.pscheme = &b.params.scheme;
    b.pstats = &b.m.stats;
    b.prank = &b.m.rank;
    b.pshape = b.m.shape;
    start_gemm();
}

static clq_status quantize(void)
{
    return clq_quantize(b.context, b.px, b.pparams, b.pq, b.pcounts);
}

static clq_status dequantize(void)
{
    return clq_dequantize(b.context, b.pq, b.pparams, b.py);
}

static clq_status minmax(void)
{
    return clq_minmax(b.context, b.px, b.pscheme, b.plo, b.phi, b.pcounts);
}

static clq_status qparams_from_range(void)
{
    return clq_qparams_from_range(b.context, b.plo, b.phi, b.pparams);
}

static clq_status choose_qparams(void)
{
    return clq_choose_qparams(b.context, b.px, b.pparams);
}

static clq_status qparams_check(void)
{
    return clq_qparams_check(b.context, b.px, b.pparams);
}

static clq_status compute_error_stats(void)
{
    return clq_compute_error_stats(b.context, b.px, b.pq, b.pparams, b.pstats);
}

static clq_status scheme_shape(void)
{
    return clq_scheme_shape(b.context, b.pscheme, b.px, b.prank, b.pshape);
}

/* x to y; its arguments are called src and dst. */
static clq_status convert(void)
{
    return clq_convert(b.context, b.px, b.py);
}

static clq_status dynamic_quantize(void)
{
    return clq_dynamic_quantize(b.context, b.px, b.pparams, b.pq, b.pcounts);
}

/* q with params to r with the target's; the arguments are called x, x_params, y_params and y. */
static clq_status requantize(void)
{
    return clq_requantize(b.context, b.pq, b.pparams, b.ptarget, b.pr);
}

static clq_status fake_quantize(void)
{
    return clq_fake_quantize(b.context, b.px, b.pparams, b.py, b.pmask, b.pcounts);
}

static clq_status fake_quantize_backward(void)
{
    return clq_fake_quantize_backward(b.context, b.pdy, b.px, b.pparams, NULL, b.pdx);
}

static clq_status backward_by_mask(void)
{
    return clq_fake_quantize_backward(b.context, b.pdy, NULL, NULL, b.pmask, b.pdx);
}

static clq_status fake_quantize_backward_learnable(void)
{
    return clq_fake_quantize_backward_learnable(b.context, b.pdy, b.px, b.pparams, b.gradient_scale, b.pdx, b.pdscale, b.pdzero_point);
}

static clq_status observe_fake_quantize(void)
{
    return clq_observe_fake_quantize(b.context, b.px, b.averaging, b.plo, b.phi, b.pparams, b.py, b.pmask, b.pcounts);
}

static clq_status gemm(void)
{
    return clq_gemm(b.context, b.pargs);
}

/* The right operand. */
static clq_status packed_create(void)
{
    clq_packed *packed = (clq_packed *)(void *)&b;
    const clq_status status = clq_packed_create(b.context, b.args.b, &packed);
    TEST_CHECK((status == CLQ_OK) == (packed != NULL), "%s with packed = %p", clq_status_name(status), (void *)packed);
    clq_packed_free(packed);
    return status;
}

typedef clq_status (*operation)(void);

static const struct {
    const char *name;
    operation run;
} operations[] = {
    {"quantize", quantize},
    {"dequantize", dequantize},
    {"minmax", minmax},
    {"qparams_from_range", qparams_from_range},
    {"choose_qparams", choose_qparams},
    {"qparams_check", qparams_check},
    {"compute_error_stats", compute_error_stats},
    {"scheme_shape", scheme_shape},
    {"convert", convert},
    {"dynamic_quantize", dynamic_quantize},
    {"requantize", requantize},
    {"fake_quantize", fake_quantize},
    {"fake_quantize_backward", fake_quantize_backward},
    {"fake_quantize_backward", backward_by_mask},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable},
    {"observe_fake_quantize", observe_fake_quantize},
    {"gemm", gemm},
    {"packed_create", packed_create},
};

static void expect(const char *name, operation run, clq_status expected, const char *mentions, const char *what)
{
    static struct bench before;
    clq_status status;

    test_note("clq_%s with %s", name, what);
    before = b;
    status = run();
    TEST_CHECK(status == expected, "got %s, must be %s; %s", clq_status_name(status), clq_status_name(expected),
               clq_context_error(the_context));
    if (expected == CLQ_OK) return;
    TEST_CHECK(memcmp(&before.m, &b.m, sizeof before.m) == 0, "memory was written");
    TEST_CHECK(memcmp(&before, &b, offsetof(struct bench, m)) == 0, "a view or a struct was written");
    if (b.context == NULL) return;
    const char *const text = clq_context_error(b.context);
    TEST_CHECK(strstr(text, name) != NULL, "\"%s\" does not name the function", text);
    TEST_CHECK(strstr(text, mentions) != NULL, "\"%s\" does not mention \"%s\"", text, mentions);
    TEST_CHECK(strchr(text, '\n') == NULL, "\"%s\" is more than a line", text);
}

/* Runs an operation on a fresh workbench `b` after the given statements; its errors name it so. */
#define EXPECT_NAMED(name, run, status, mentions, ...)                                                                           \
    do {                                                                                                                         \
        start();                                                                                                                 \
        __VA_ARGS__;                                                                                                             \
        expect(name, run, status, mentions, #__VA_ARGS__);                                                                       \
    } while (0)
#define EXPECT(run, status, mentions, ...)   EXPECT_NAMED(#run, run, status, mentions, __VA_ARGS__)
#define EXPECT_MASK(status, mentions, ...)   EXPECT_NAMED("fake_quantize_backward", backward_by_mask, status, mentions, __VA_ARGS__)

static void set_up(void)
{
    the_context = test_context(NULL, 1, NULL, NULL);
}

static void tear_down(void)
{
    clq_context_free(the_context);
}

/* ---- what concerns every operation */

/* The workbench is right as it is. */
START_TEST(right_arguments)
{
    for (size_t i = 0; i < TEST_COUNT_OF(operations); i++) {
        start();
        expect(operations[i].name, operations[i].run, CLQ_OK, "", "nothing spoilt");
    }
}
END_TEST

START_TEST(no_context)
{
    for (size_t i = 0; i < TEST_COUNT_OF(operations); i++) {
        start();
        b.context = NULL;
        expect(operations[i].name, operations[i].run, CLQ_ERROR_INVALID_ARGUMENT, "", "no context");
    }
}
END_TEST

START_TEST(rounding_mode)
{
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

    for (size_t i = 0; i < TEST_COUNT_OF(operations); i++) {
        for (size_t k = 0; k < TEST_COUNT_OF(modes); k++) {
            clq_status status;
            start();
            const struct memory before = b.m;
            if (fesetround(modes[k]) != 0) continue;
            status = operations[i].run();
            TEST_CHECK(fegetround() == modes[k], "%s changed the rounding mode", operations[i].name);
            fesetround(FE_TONEAREST);
            TEST_CHECK(status == CLQ_ERROR_ROUNDING, "%s in rounding mode %d: %s", operations[i].name, modes[k],
                       clq_status_name(status));
            TEST_CHECK(memcmp(&before, &b.m, sizeof b.m) == 0, "%s wrote memory", operations[i].name);
            TEST_CHECK(strstr(clq_context_error(the_context), operations[i].name) != NULL, "\"%s\"",
                       clq_context_error(the_context));
        }
    }
}
END_TEST

/* Which views an operation takes, and what its texts call them. `views` that only lend a shape have no memory of their own. */
#define VIEW(field)    offsetof(struct bench, field)
#define POINTER(field) offsetof(struct bench, field)
#define NO_POINTER     0

static const struct {
    const char *name;
    operation run;
    size_t view, pointer;
    const char *argument;
    bool shape_only, optional;
} operands[] = {
    {"quantize", quantize, VIEW(x), POINTER(px), "x", false, false},
    {"quantize", quantize, VIEW(q), POINTER(pq), "q", false, false},
    {"quantize", quantize, VIEW(counts), POINTER(pcounts), "counts", false, true},
    {"quantize", quantize, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"quantize", quantize, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"dequantize", dequantize, VIEW(q), POINTER(pq), "q", false, false},
    {"dequantize", dequantize, VIEW(y), POINTER(py), "y", false, false},
    {"dequantize", dequantize, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"dequantize", dequantize, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"minmax", minmax, VIEW(x), POINTER(px), "x", false, false},
    {"minmax", minmax, VIEW(lo), POINTER(plo), "lo", false, false},
    {"minmax", minmax, VIEW(hi), POINTER(phi), "hi", false, false},
    {"minmax", minmax, VIEW(counts), POINTER(pcounts), "counts", false, true},
    {"qparams_from_range", qparams_from_range, VIEW(lo), POINTER(plo), "lo", false, false},
    {"qparams_from_range", qparams_from_range, VIEW(hi), POINTER(phi), "hi", false, false},
    {"qparams_from_range", qparams_from_range, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"qparams_from_range", qparams_from_range, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"choose_qparams", choose_qparams, VIEW(x), POINTER(px), "x", false, false},
    {"choose_qparams", choose_qparams, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"choose_qparams", choose_qparams, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"qparams_check", qparams_check, VIEW(x), POINTER(px), "x", true, false},
    {"qparams_check", qparams_check, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"qparams_check", qparams_check, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"compute_error_stats", compute_error_stats, VIEW(x), POINTER(px), "x", false, false},
    {"compute_error_stats", compute_error_stats, VIEW(q), POINTER(pq), "q", false, false},
    {"compute_error_stats", compute_error_stats, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"compute_error_stats", compute_error_stats, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"scheme_shape", scheme_shape, VIEW(x), POINTER(px), "x", true, false},
    {"convert", convert, VIEW(x), POINTER(px), "src", false, false},
    {"convert", convert, VIEW(y), POINTER(py), "dst", false, false},
    {"dynamic_quantize", dynamic_quantize, VIEW(x), POINTER(px), "x", false, false},
    {"dynamic_quantize", dynamic_quantize, VIEW(q), POINTER(pq), "q", false, false},
    {"dynamic_quantize", dynamic_quantize, VIEW(counts), POINTER(pcounts), "counts", false, true},
    {"dynamic_quantize", dynamic_quantize, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"dynamic_quantize", dynamic_quantize, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"requantize", requantize, VIEW(q), POINTER(pq), "x", false, false},
    {"requantize", requantize, VIEW(r), POINTER(pr), "y", false, false},
    {"requantize", requantize, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"requantize", requantize, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"requantize", requantize, VIEW(target.scale), NO_POINTER, "scale", false, false},
    {"requantize", requantize, VIEW(target.zero_point), NO_POINTER, "zero_point", false, true},
    {"fake_quantize", fake_quantize, VIEW(x), POINTER(px), "x", false, false},
    {"fake_quantize", fake_quantize, VIEW(y), POINTER(py), "y", false, false},
    {"fake_quantize", fake_quantize, VIEW(mask), POINTER(pmask), "mask", false, true},
    {"fake_quantize", fake_quantize, VIEW(counts), POINTER(pcounts), "counts", false, true},
    {"fake_quantize", fake_quantize, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"fake_quantize", fake_quantize, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"fake_quantize_backward", fake_quantize_backward, VIEW(dy), POINTER(pdy), "dy", false, false},
    {"fake_quantize_backward", fake_quantize_backward, VIEW(x), POINTER(px), "x", false, false},
    {"fake_quantize_backward", fake_quantize_backward, VIEW(dx), POINTER(pdx), "dx", false, false},
    {"fake_quantize_backward", fake_quantize_backward, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"fake_quantize_backward", fake_quantize_backward, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"fake_quantize_backward", backward_by_mask, VIEW(dy), POINTER(pdy), "dy", false, false},
    {"fake_quantize_backward", backward_by_mask, VIEW(mask), POINTER(pmask), "mask", false, false},
    {"fake_quantize_backward", backward_by_mask, VIEW(dx), POINTER(pdx), "dx", false, false},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(dy), POINTER(pdy), "dy", false, false},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(x), POINTER(px), "x", false, false},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(dx), POINTER(pdx), "dx", false, false},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(dscale), POINTER(pdscale), "dscale", false, false},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(dzero_point), POINTER(pdzero_point), "dzero_point", false, true},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"fake_quantize_backward_learnable", fake_quantize_backward_learnable, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(x), POINTER(px), "x", false, false},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(y), POINTER(py), "y", false, false},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(lo), POINTER(plo), "lo", false, false},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(hi), POINTER(phi), "hi", false, false},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(mask), POINTER(pmask), "mask", false, true},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(counts), POINTER(pcounts), "counts", false, true},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(params.scale), NO_POINTER, "scale", false, false},
    {"observe_fake_quantize", observe_fake_quantize, VIEW(params.zero_point), NO_POINTER, "zero_point", false, true},
    {"gemm", gemm, VIEW(left), POINTER(args.a), "a", false, false},
    {"gemm", gemm, VIEW(right), POINTER(args.b), "b", false, false},
    {"gemm", gemm, VIEW(product), POINTER(args.c), "c", false, false},
    {"gemm", gemm, VIEW(bias), POINTER(args.bias), "bias", false, true},
    {"gemm", gemm, VIEW(left_params.scale), NO_POINTER, "a_params: scale", false, false},
    {"gemm", gemm, VIEW(left_params.zero_point), NO_POINTER, "a_params: zero_point", false, true},
    {"gemm", gemm, VIEW(right_params.scale), NO_POINTER, "b_params: scale", false, false},
    {"gemm", gemm, VIEW(right_params.zero_point), NO_POINTER, "b_params: zero_point", false, true},
    {"packed_create", packed_create, VIEW(right), POINTER(args.b), "b", false, false},
};

/* The view that a loop test is about. */
static clq_tensor *view_of(int i)
{
    return (clq_tensor *)(void *)((char *)&b + operands[i].view);
}

/* Spoils it and expects it to be named. */
#define SPOIL(status, ...)                                                                                                       \
    do {                                                                                                                         \
        start();                                                                                                                 \
        clq_tensor *const v = view_of(_i);                                                                                       \
        __VA_ARGS__;                                                                                                             \
        expect_named(_i, status, #__VA_ARGS__);                                                                                  \
    } while (0)

static void expect_named(int i, clq_status status, const char *spoilt)
{
    char what[200];
    snprintf(what, sizeof what, "%s: %s", operands[i].argument, spoilt);
    expect(operands[i].name, operands[i].run, status, operands[i].argument, what);
}

START_TEST(spoilt_view)
{
    SPOIL(CLQ_ERROR_SHAPE, v->rank = 9);
    SPOIL(CLQ_ERROR_SHAPE, v->rank = -1);
    SPOIL(CLQ_ERROR_SHAPE, v->rank = INT32_MAX);
    SPOIL(CLQ_ERROR_SHAPE, v->rank = INT32_MIN);
    SPOIL(CLQ_ERROR_SHAPE, v->shape[0] = -1);
    SPOIL(CLQ_ERROR_SHAPE, v->shape[0] = INT64_MIN);
    SPOIL(CLQ_ERROR_SHAPE, v->shape[v->rank - 1] = -7);
    SPOIL(CLQ_ERROR_OVERFLOW, v->rank = 2; v->shape[0] = v->shape[1] = (int64_t)1 << 40);
    SPOIL(CLQ_ERROR_OVERFLOW, v->rank = 3; v->shape[0] = v->shape[1] = v->shape[2] = 3037000500);
    if (operands[_i].pointer != NO_POINTER && !operands[_i].optional) {
        start();
        *(clq_tensor **)(void *)((char *)&b + operands[_i].pointer) = NULL;
        expect_named(_i, CLQ_ERROR_INVALID_ARGUMENT, "NULL");
    }
    if (operands[_i].shape_only) return;
    SPOIL(CLQ_ERROR_DTYPE, v->dtype = (clq_dtype)13);
    SPOIL(CLQ_ERROR_DTYPE, v->dtype = (clq_dtype)99);
    SPOIL(CLQ_ERROR_DTYPE, v->dtype = (clq_dtype)-1);
    SPOIL(CLQ_ERROR_DTYPE, v->dtype = (clq_dtype)INT32_MIN);
    if (strstr(operands[_i].argument, "zero_point") == NULL) SPOIL(CLQ_ERROR_DTYPE, v->dtype = CLQ_DTYPE_NONE);
    if (operands[_i].run != convert) {
        SPOIL(CLQ_ERROR_DTYPE, v->dtype = CLQ_F64);
        SPOIL(CLQ_ERROR_DTYPE, v->dtype = v->dtype == CLQ_S64 ? CLQ_S32 : CLQ_S64);
        start();
        if (operands[_i].run != gemm || view_of(_i)->dtype != CLQ_S8) /* matrices may be f32 */
            SPOIL(CLQ_ERROR_DTYPE, v->dtype = v->dtype == CLQ_S8 || v->dtype == CLQ_U8 ? CLQ_F32 : CLQ_U8);
    }
    SPOIL(CLQ_ERROR_INVALID_ARGUMENT, v->data = NULL);
    SPOIL(CLQ_ERROR_INVALID_ARGUMENT, v->memory = CLQ_MEMORY_BUFFER; v->data = NULL);
    SPOIL(CLQ_ERROR_CONTEXT, v->memory = (clq_memory)2);
    SPOIL(CLQ_ERROR_CONTEXT, v->memory = (clq_memory)-1);
    SPOIL(CLQ_ERROR_OVERFLOW, v->strides[0] = INT64_MAX);
    SPOIL(CLQ_ERROR_OVERFLOW, v->strides[0] = INT64_MIN);
    SPOIL(CLQ_ERROR_OVERFLOW, v->strides[0] = INT64_MAX / v->shape[0] - 1);
    SPOIL(CLQ_ERROR_OVERFLOW, v->strides[0] = (int64_t)1 << 61);
    SPOIL(CLQ_ERROR_OVERFLOW, v->strides[0] = -((int64_t)1 << 61));
    SPOIL(CLQ_ERROR_OVERFLOW, v->offset = INT64_MAX);
    SPOIL(CLQ_ERROR_OVERFLOW, v->offset = INT64_MIN);
    SPOIL(CLQ_ERROR_OVERFLOW, v->offset = -((int64_t)1 << 59));
}
END_TEST

/* One extent off: the text names a shape, of this view or of one that it must match. */
START_TEST(shorter_view)
{
    if (operands[_i].run == scheme_shape || operands[_i].run == packed_create) return;
    start();
    view_of(_i)->shape[0] -= 1;
    const char *const argument = operands[_i].argument;
    const bool has_own_shape = strcmp(argument, "counts") == 0 || strcmp(argument, "mask") == 0 || operands[_i].run == gemm;
    expect(operands[_i].name, operands[_i].run, CLQ_ERROR_SHAPE, has_own_shape ? argument : "shape[0]", argument);
}
END_TEST

/* Views that take no part in the check of shapes alone. */
START_TEST(null_structs)
{
    EXPECT(quantize, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(dequantize, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(minmax, CLQ_ERROR_INVALID_ARGUMENT, "scheme", b.pscheme = NULL);
    EXPECT(qparams_from_range, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(choose_qparams, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(qparams_check, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(compute_error_stats, CLQ_ERROR_INVALID_ARGUMENT, "stats", b.pstats = NULL);
    EXPECT(scheme_shape, CLQ_ERROR_INVALID_ARGUMENT, "scheme", b.pscheme = NULL);
    EXPECT(scheme_shape, CLQ_ERROR_INVALID_ARGUMENT, "rank", b.prank = NULL);
    EXPECT(scheme_shape, CLQ_ERROR_INVALID_ARGUMENT, "shape", b.pshape = NULL);
    EXPECT(dynamic_quantize, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(requantize, CLQ_ERROR_INVALID_ARGUMENT, "x_params", b.pparams = NULL);
    EXPECT(requantize, CLQ_ERROR_INVALID_ARGUMENT, "y_params", b.ptarget = NULL);
    EXPECT(fake_quantize, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(fake_quantize_backward, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(observe_fake_quantize, CLQ_ERROR_INVALID_ARGUMENT, "params", b.pparams = NULL);
    EXPECT(dynamic_quantize, CLQ_OK, "", b.pcounts = NULL);
    EXPECT(fake_quantize, CLQ_OK, "", b.pcounts = b.pmask = NULL);
    EXPECT(fake_quantize_backward_learnable, CLQ_OK, "", b.pdzero_point = NULL);
    EXPECT(observe_fake_quantize, CLQ_OK, "", b.pcounts = b.pmask = NULL);
    EXPECT(quantize, CLQ_OK, "", b.pcounts = NULL);
    EXPECT(minmax, CLQ_OK, "", b.pcounts = NULL);
    EXPECT(compute_error_stats, CLQ_OK, "", b.pparams = NULL; b.q = b.y; memcpy(b.m.y, b.m.x, sizeof b.m.y));
}
END_TEST

/* ---- schemes */

/* For every operation that takes a scheme. */
#define EXPECT_SCHEME(status, mentions, ...)                                                                                     \
    do {                                                                                                                         \
        EXPECT(quantize, status, mentions, __VA_ARGS__);                                                                         \
        EXPECT(dequantize, status, mentions, __VA_ARGS__);                                                                       \
        EXPECT(minmax, status, mentions, __VA_ARGS__);                                                                           \
        EXPECT(qparams_from_range, status, mentions, __VA_ARGS__);                                                               \
        EXPECT(choose_qparams, status, mentions, __VA_ARGS__);                                                                   \
        EXPECT(qparams_check, status, mentions, __VA_ARGS__);                                                                    \
        EXPECT(compute_error_stats, status, mentions, __VA_ARGS__);                                                              \
        EXPECT(scheme_shape, status, mentions, __VA_ARGS__);                                                                     \
        EXPECT(dynamic_quantize, status, mentions, __VA_ARGS__);                                                                 \
        EXPECT(requantize, status, mentions, __VA_ARGS__);                                                                       \
        EXPECT(fake_quantize, status, mentions, __VA_ARGS__);                                                                    \
        EXPECT(fake_quantize_backward, status, mentions, __VA_ARGS__);                                                           \
        EXPECT(fake_quantize_backward_learnable, status, mentions, __VA_ARGS__);                                                 \
        EXPECT(observe_fake_quantize, status, mentions, __VA_ARGS__);                                                            \
    } while (0)

/* ... and a tensor along which it runs. */
#define EXPECT_AXIS(status, mentions, ...)                                                                                       \
    do {                                                                                                                         \
        EXPECT(quantize, status, mentions, __VA_ARGS__);                                                                         \
        EXPECT(dequantize, status, mentions, __VA_ARGS__);                                                                       \
        EXPECT(minmax, status, mentions, __VA_ARGS__);                                                                           \
        EXPECT(choose_qparams, status, mentions, __VA_ARGS__);                                                                   \
        EXPECT(qparams_check, status, mentions, __VA_ARGS__);                                                                    \
        EXPECT(compute_error_stats, status, mentions, __VA_ARGS__);                                                              \
        EXPECT(scheme_shape, status, mentions, __VA_ARGS__);                                                                     \
        EXPECT(dynamic_quantize, status, mentions, __VA_ARGS__);                                                                 \
        EXPECT(requantize, status, mentions, __VA_ARGS__);                                                                       \
        EXPECT(fake_quantize, status, mentions, __VA_ARGS__);                                                                    \
        EXPECT(fake_quantize_backward, status, mentions, __VA_ARGS__);                                                           \
        EXPECT(fake_quantize_backward_learnable, status, mentions, __VA_ARGS__);                                                 \
        EXPECT(observe_fake_quantize, status, mentions, __VA_ARGS__);                                                            \
    } while (0)

START_TEST(schemes)
{
    EXPECT_SCHEME(CLQ_ERROR_DTYPE, "scheme.dtype", b.params.scheme.dtype = CLQ_DTYPE_NONE);
    EXPECT_SCHEME(CLQ_ERROR_DTYPE, "scheme.dtype", b.params.scheme.dtype = CLQ_F32);
    EXPECT_SCHEME(CLQ_ERROR_DTYPE, "scheme.dtype", b.params.scheme.dtype = CLQ_S64);
    EXPECT_SCHEME(CLQ_ERROR_DTYPE, "scheme.dtype", b.params.scheme.dtype = (clq_dtype)40);
    EXPECT_SCHEME(CLQ_ERROR_DTYPE, "scheme.dtype", b.params.scheme.dtype = (clq_dtype)-5);
    EXPECT_SCHEME(CLQ_ERROR_INVALID_ARGUMENT, "symmetry", b.params.scheme.symmetry = (clq_symmetry)4);
    EXPECT_SCHEME(CLQ_ERROR_INVALID_ARGUMENT, "symmetry", b.params.scheme.symmetry = (clq_symmetry)-1);
    EXPECT_SCHEME(CLQ_ERROR_INVALID_ARGUMENT, "granularity", b.params.scheme.granularity = (clq_granularity)3);
    EXPECT_SCHEME(CLQ_ERROR_INVALID_ARGUMENT, "granularity", b.params.scheme.granularity = (clq_granularity)-1);
    EXPECT_SCHEME(CLQ_ERROR_INVALID_ARGUMENT, "quotient", b.params.scheme.quotient = (clq_quotient)2);
    EXPECT_SCHEME(CLQ_ERROR_INVALID_ARGUMENT, "quotient", b.params.scheme.quotient = (clq_quotient)-1);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.qmin = 5; b.params.scheme.qmax = 4);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.qmin = 5; b.params.scheme.qmax = 5);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.qmin = -129; b.params.scheme.qmax = 127);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmax", b.params.scheme.qmin = -128; b.params.scheme.qmax = 128);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmax", b.params.scheme.qmin = INT32_MIN; b.params.scheme.qmax = INT32_MAX);
}
END_TEST

/* A half-range that leaves no room on one side of the zero point. */
START_TEST(symmetric_schemes)
{
    static const clq_symmetry both[] = {CLQ_SYMMETRIC, CLQ_POWER_OF_TWO};

    for (size_t i = 0; i < 2; i++) {
        EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = both[i]; b.params.scheme.qmin = 0;
                      b.params.scheme.qmax = 127);
        EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = both[i]; b.params.scheme.qmin = -128;
                      b.params.scheme.qmax = 0);
        EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = both[i]; b.params.scheme.qmin = 3;
                      b.params.scheme.qmax = 100);
        EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = both[i]; b.params.scheme.qmin = -100;
                      b.params.scheme.qmax = -3);
        EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = both[i]; b.params.scheme.dtype = b.q.dtype = CLQ_U8;
                      b.params.scheme.qmin = 7; b.params.scheme.qmax = 8);
    }
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL; b.params.scheme.qmin = -127;
                  b.params.scheme.qmax = 125; b.params.scheme.qmin = -100);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL; b.params.scheme.qmin = -126;
                  b.params.scheme.qmax = 127);
    EXPECT_SCHEME(CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL; b.params.scheme.qmin = 0;
                  b.params.scheme.qmax = 127);
    EXPECT(scheme_shape, CLQ_OK, "", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL; b.params.scheme.qmin = -127;
           b.params.scheme.qmax = 127);
    EXPECT(scheme_shape, CLQ_OK, "", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL; b.params.scheme.qmin = -1;
           b.params.scheme.qmax = 0);
    EXPECT(scheme_shape, CLQ_OK, "", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL; b.params.scheme.dtype = CLQ_U8;
           b.params.scheme.qmin = 0; b.params.scheme.qmax = 1);
}
END_TEST

START_TEST(axes_and_groups)
{
    const int32_t wrong[] = {2, -3, 8, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        EXPECT_AXIS(CLQ_ERROR_SHAPE, "axis", b.params.scheme.axis = wrong[i]);
        EXPECT_AXIS(CLQ_ERROR_SHAPE, "axis", b.params.scheme.axis = wrong[i]; b.params.scheme.granularity = CLQ_PER_GROUP;
                    b.params.scheme.group_size = 2);
        /* Not looked at per tensor. */
        EXPECT(scheme_shape, CLQ_OK, "", b.params.scheme.axis = wrong[i]; b.params.scheme.granularity = CLQ_PER_TENSOR);
    }
    EXPECT_AXIS(CLQ_ERROR_SHAPE, "axis", b.x.rank = b.q.rank = b.y.rank = b.r.rank = b.dy.rank = b.dx.rank = 0; b.mask.shape[0] = 1);
    EXPECT_SCHEME(CLQ_ERROR_SHAPE, "group_size", b.params.scheme.granularity = CLQ_PER_GROUP);
    EXPECT_SCHEME(CLQ_ERROR_SHAPE, "group_size", b.params.scheme.granularity = CLQ_PER_GROUP; b.params.scheme.group_size = -1);
    EXPECT_SCHEME(CLQ_ERROR_SHAPE, "group_size", b.params.scheme.granularity = CLQ_PER_GROUP;
                  b.params.scheme.group_size = INT64_MIN);
}
END_TEST

START_TEST(s32)
{
    EXPECT(quantize, CLQ_OK, "", b.params.scheme.dtype = b.q.dtype = CLQ_S32; b.q.data = b.m.y;
           memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT(quantize, CLQ_OK, "", b.params.scheme.dtype = b.q.dtype = CLQ_S32; b.q.data = b.m.y;
           memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    EXPECT(quantize, CLQ_ERROR_PARAMETER, "zero_point[0]", b.params.scheme.dtype = b.q.dtype = CLQ_S32; b.q.data = b.m.y);
    EXPECT(scheme_shape, CLQ_ERROR_PARAMETER, "qmin", b.params.scheme.dtype = CLQ_S32; b.params.scheme.qmin = -5;
           b.params.scheme.qmax = 5);
    EXPECT(qparams_from_range, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = CLQ_S32);
    EXPECT(choose_qparams, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = CLQ_S32);
    /* No symmetry matters to it. */
    EXPECT(qparams_check, CLQ_OK, "", b.params.scheme.dtype = CLQ_S32; b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL;
           memset(b.m.zero_point, 0, sizeof b.m.zero_point));
}
END_TEST

/* ---- types and shapes against each other */

START_TEST(types)
{
    EXPECT(quantize, CLQ_ERROR_DTYPE, "q", b.q.dtype = CLQ_U8);
    EXPECT(quantize, CLQ_ERROR_DTYPE, "q", b.params.scheme.dtype = CLQ_U8);
    EXPECT(dequantize, CLQ_ERROR_DTYPE, "q", b.q.dtype = CLQ_U8);
    EXPECT(compute_error_stats, CLQ_ERROR_DTYPE, "q", b.q.dtype = CLQ_U8);
    EXPECT(compute_error_stats, CLQ_ERROR_DTYPE, "q", b.pparams = NULL);
    EXPECT(compute_error_stats, CLQ_ERROR_DTYPE, "q", b.q = b.y);
    EXPECT(quantize, CLQ_ERROR_DTYPE, "scale", b.params.scale.dtype = CLQ_F16);
    EXPECT(quantize, CLQ_ERROR_DTYPE, "zero_point", b.params.zero_point.dtype = CLQ_S8);
    EXPECT(quantize, CLQ_ERROR_DTYPE, "zero_point", b.params.zero_point.dtype = CLQ_F32);
    EXPECT(minmax, CLQ_ERROR_DTYPE, "lo", b.lo.dtype = CLQ_F16);
    EXPECT(minmax, CLQ_ERROR_DTYPE, "hi", b.hi.dtype = CLQ_BF16);
    EXPECT(quantize, CLQ_ERROR_DTYPE, "counts", b.counts.dtype = CLQ_S32);
    /* No conversion to f64, or between floats and integers. */
    EXPECT(convert, CLQ_ERROR_DTYPE, "f64", b.y.dtype = CLQ_F64; b.x.shape[0] = b.y.shape[0] = 2);
    EXPECT(convert, CLQ_ERROR_DTYPE, "s8", b.y.dtype = CLQ_S8);
    EXPECT(convert, CLQ_ERROR_DTYPE, "s32", b.x.dtype = CLQ_S32);
    EXPECT(convert, CLQ_ERROR_DTYPE, "u8", b.x.dtype = CLQ_S8; b.y.dtype = CLQ_U8);
    EXPECT(convert, CLQ_ERROR_DTYPE, "s4", b.x.dtype = CLQ_S4; b.y.dtype = CLQ_S8);
    EXPECT(convert, CLQ_ERROR_DTYPE, "s64", b.x.dtype = CLQ_S32; b.y.dtype = CLQ_S64; b.x.shape[0] = b.y.shape[0] = 2);
    EXPECT(convert, CLQ_ERROR_DTYPE, "s16", b.x.dtype = CLQ_F16; b.y.dtype = CLQ_S16);
}
END_TEST

START_TEST(shapes)
{
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.shape[1] = 5", b.q.shape[1] = 5);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.rank = 1", b.q.rank = 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.rank = 3", b.q.rank = 3; b.q.shape[2] = 1; b.q.strides[2] = 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.shape[0]", b.q.shape[0] = COLS; b.q.shape[1] = ROWS; b.q.strides[0] = ROWS);
    EXPECT(dequantize, CLQ_ERROR_SHAPE, "y.shape[1]", b.y.shape[1] = 5);
    EXPECT(compute_error_stats, CLQ_ERROR_SHAPE, "q.shape[1]", b.q.shape[1] = 5);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst.shape[1]", b.y.shape[1] = 5);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst.shape[1]", b.y.shape[1] = 0);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "scale.shape[0]", b.params.scale.shape[0] = 5);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "scale.rank", b.params.scale.rank = 0);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "scale.rank", b.params.scale.rank = 2;
           b.params.scale.shape[1] = b.params.scale.strides[1] = 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "scale", b.params.scheme.granularity = CLQ_PER_TENSOR; b.params.scale.rank = 1;
           b.params.scale.shape[0] = 4);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "zero_point.shape[0]", b.params.zero_point.shape[0] = 3);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "scale", b.params.scheme.granularity = CLQ_PER_GROUP; b.params.scheme.group_size = 2;
           b.params.scheme.axis = 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "counts", b.counts.shape[0] = 2);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "counts", b.counts.shape[0] = 4);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "counts", b.counts.rank = 0);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "counts", b.counts.rank = 2; b.counts.shape[1] = b.counts.strides[1] = 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "counts", b.counts.strides[0] = 2);
    EXPECT(minmax, CLQ_ERROR_SHAPE, "counts", b.counts.strides[0] = -1; b.counts.offset = 3);
    EXPECT(minmax, CLQ_ERROR_SHAPE, "lo.shape[0]", b.lo.shape[0] = 6);
    EXPECT(qparams_from_range, CLQ_ERROR_SHAPE, "hi", b.hi.shape[0] = 3);
    EXPECT(qparams_from_range, CLQ_ERROR_SHAPE, "scale", b.params.scale.rank = 2;
           b.params.scale.shape[1] = b.params.scale.strides[1] = 1);
    EXPECT(qparams_from_range, CLQ_ERROR_SHAPE, "zero_point", b.params.zero_point.shape[0] = 5);
}
END_TEST

/* 4-bit views: contiguous, and from a byte on. */
START_TEST(nibbles)
{
#define PACKED b.params.scheme.dtype = b.q.dtype = CLQ_S4
    EXPECT(quantize, CLQ_OK, "", PACKED);
    EXPECT(dequantize, CLQ_OK, "", PACKED; b.q.offset = 2);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.offset", PACKED; b.q.offset = 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.offset", PACKED; b.q.offset = -3);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.strides", PACKED; b.q.strides[0] = 8);
    EXPECT(dequantize, CLQ_ERROR_SHAPE, "q.strides", PACKED; b.q.strides[1] = 2; b.q.strides[0] = 12);
    EXPECT(dequantize, CLQ_ERROR_SHAPE, "q.strides", PACKED; b.q.strides[0] = 0);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "q.strides", PACKED; b.q.strides[0] = 1; b.q.strides[1] = ROWS);
    EXPECT(compute_error_stats, CLQ_ERROR_SHAPE, "q.strides", PACKED; b.q.strides[0] = -6; b.q.offset = 18);
    EXPECT(convert, CLQ_ERROR_SHAPE, "src.strides", b.x.dtype = b.y.dtype = CLQ_U4; b.x.strides[0] = 8);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst.offset", b.x.dtype = b.y.dtype = CLQ_U4; b.y.offset = 5);
    /* The stride of an extent of 1 does not matter. */
    EXPECT(quantize, CLQ_OK, "", PACKED; b.params.scheme.axis = 1; b.x.shape[0] = b.q.shape[0] = 1; b.q.strides[0] = 100;
           b.params.scale.shape[0] = b.params.zero_point.shape[0] = COLS);
}
END_TEST

/* ---- values */

/* For every operation that reads parameters. */
#define EXPECT_VALUE(status, mentions, ...)                                                                                      \
    do {                                                                                                                         \
        EXPECT(quantize, status, mentions, __VA_ARGS__);                                                                         \
        EXPECT(dequantize, status, mentions, __VA_ARGS__);                                                                       \
        EXPECT(qparams_check, status, mentions, __VA_ARGS__);                                                                    \
        EXPECT(compute_error_stats, status, mentions, __VA_ARGS__);                                                              \
        EXPECT(requantize, status, mentions, __VA_ARGS__);                                                                       \
        EXPECT(fake_quantize, status, mentions, __VA_ARGS__);                                                                    \
        EXPECT(fake_quantize_backward, status, mentions, __VA_ARGS__);                                                           \
        EXPECT(fake_quantize_backward_learnable, status, mentions, __VA_ARGS__);                                                 \
    } while (0)

START_TEST(scales)
{
    const float wrong[] = {0.0f,
                           -0.0f,
                           -0.5f,
                           NAN,
                           -NAN,
                           INFINITY,
                           -INFINITY,
                           FLT_MIN,
                           0x1p-149f,
                           0x1p-101f,
                           FLT_MAX,
                           0x1p101f,
                           0x1.fffffep-101f,
                           0x1.000002p100f,
                           -0x1p-50f,
                           test_float(0x7f800001)};
    const float right[] = {0x1p-100f, 0x1p100f, 1.0f, 0x1.000002p-100f, 0x1.fffffep99f};

    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        for (int channel = 0; channel < ROWS; channel++) {
            char text[32];
            snprintf(text, sizeof text, "scale[%d]", channel);
            EXPECT_VALUE(CLQ_ERROR_PARAMETER, text, b.m.scale[channel] = wrong[i]);
        }
        /* Wherever the view leads: strided, per group, per tensor. */
        EXPECT_VALUE(CLQ_ERROR_PARAMETER, "scale[3]", b.params.scale.strides[0] = 5; b.m.scale[15] = wrong[i]);
        EXPECT_VALUE(CLQ_ERROR_PARAMETER, "scale[1]", b.params.scale.strides[0] = -1; b.params.scale.offset = 3;
                     b.m.scale[2] = wrong[i]);
        EXPECT_VALUE(CLQ_ERROR_PARAMETER, "scale[2][1]",
                     b.params.scheme = (clq_scheme){.dtype = CLQ_S8, .granularity = CLQ_PER_GROUP, .axis = 1, .group_size = 4};
                     b.params.scale = clq_tensor_host(CLQ_F32, b.m.scale, 2, (const int64_t[]){ROWS, 2});
                     b.params.zero_point = b.params.scale; b.params.zero_point.dtype = CLQ_S32;
                     b.params.zero_point.data = b.m.zero_point; b.target = b.params; b.m.scale[5] = wrong[i]);
        EXPECT_VALUE(CLQ_ERROR_PARAMETER, "scale", b.params.scheme.granularity = CLQ_PER_TENSOR;
                     b.params.scale.rank = b.params.zero_point.rank = 0; b.m.scale[0] = wrong[i]);
    }
    for (size_t i = 0; i < TEST_COUNT_OF(right); i++)
        EXPECT_VALUE(CLQ_OK, "", b.m.scale[2] = right[i]);
    /* What the view does not reach is not looked at. */
    EXPECT_VALUE(CLQ_OK, "", b.params.scale.strides[0] = 2; b.target = b.params; b.m.scale[3] = NAN);
}
END_TEST

/* Neither traps nor the flushing of denormals change what is refused, and a failed call leaves the mode alone. */
START_TEST(values_in_other_modes)
{
    const float wrong[] = {0x1p-149f, -0x1p-149f, 0x1p-126f, NAN, test_float(0x7f800001), test_float(0xff8fffff), INFINITY, 0.0f};

    for (int mode = TEST_MODE_FLUSH; mode < TEST_MODES; mode++) {
        for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
            const uint32_t bits = test_bits(wrong[i]);
            clq_status status;
            test_note("mode %d, value 0x%08x", mode, bits);
            start();
            memcpy(&b.m.scale[1], &bits, sizeof bits);
            test_mode_set((enum test_mode)mode);
            status = quantize();
            test_mode_end((enum test_mode)mode);
            TEST_CHECK(status == CLQ_ERROR_PARAMETER, "a scale: %s", clq_status_name(status));
            start();
            memcpy(&b.m.lo[1], &bits, sizeof bits);
            b.m.hi[1] = -1.0f;
            test_mode_set((enum test_mode)mode);
            status = qparams_from_range();
            test_mode_end((enum test_mode)mode);
            TEST_CHECK(status == CLQ_ERROR_PARAMETER, "a range: %s", clq_status_name(status));
        }
    }
}
END_TEST

START_TEST(zero_points)
{
    const int32_t wrong[] = {-129, 128, INT32_MIN, INT32_MAX, -1000, 255};

    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[2]", b.m.zero_point[2] = wrong[i]);
        EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[1]", b.params.zero_point.strides[0] = 7; b.m.zero_point[7] = wrong[i]);
    }
    EXPECT_VALUE(CLQ_OK, "", b.m.zero_point[0] = -128; b.m.zero_point[1] = 127);
    /* A narrower range bounds them too. */
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[3]", b.params.scheme.qmin = -4; b.params.scheme.qmax = 3;
                 b.m.zero_point[3] = 4);
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[3]", b.params.scheme.qmin = -4; b.params.scheme.qmax = 3;
                 b.m.zero_point[3] = -5);
    /* Absent means 0, which must lie in the range. */
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point", b.params.scheme.qmin = 1; b.params.scheme.qmax = 9;
                 memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point", b.params.scheme.qmin = -9; b.params.scheme.qmax = -1;
                 memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT_VALUE(CLQ_OK, "", b.params.scheme.qmin = -9; b.params.scheme.qmax = 1;
                 memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    /* A symmetric scheme has one and no other. */
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[0]", b.params.scheme.symmetry = CLQ_SYMMETRIC);
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[3]", b.params.scheme.symmetry = CLQ_SYMMETRIC_FULL;
                 b.m.zero_point[0] = b.m.zero_point[1] = b.m.zero_point[2] = 0);
    EXPECT_VALUE(CLQ_OK, "", b.params.scheme.symmetry = CLQ_POWER_OF_TWO; b.pdzero_point = NULL; memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    EXPECT_VALUE(CLQ_ERROR_PARAMETER, "zero_point[1]", b.params.scheme.symmetry = CLQ_SYMMETRIC;
                 b.params.scheme.dtype = b.q.dtype = CLQ_U8; b.m.zero_point[0] = 128; b.m.zero_point[1] = 127);
}
END_TEST

START_TEST(ranges)
{
    const float wrong[][2] = {{1.0f, 0.5f},      {NAN, 1.0f},       {-1.0f, NAN},         {NAN, NAN},
                              {-INFINITY, 1.0f}, {-1.0f, INFINITY}, {INFINITY, INFINITY}, {FLT_MAX, -FLT_MAX}};

    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        EXPECT(qparams_from_range, CLQ_ERROR_PARAMETER, "2", b.m.lo[2] = wrong[i][0]; b.m.hi[2] = wrong[i][1]);
        EXPECT(qparams_from_range, CLQ_ERROR_PARAMETER, "1", b.lo.strides[0] = b.hi.strides[0] = 3; b.m.lo[3] = wrong[i][0];
               b.m.hi[3] = wrong[i][1]);
    }
    EXPECT(qparams_from_range, CLQ_OK, "", b.m.lo[2] = -FLT_MAX; b.m.hi[2] = FLT_MAX);
    /* Below 2^-126 all are 0, in order or not. */
    EXPECT(qparams_from_range, CLQ_OK, "", b.m.lo[2] = 0x1p-127f; b.m.hi[2] = -0x1p-149f);
    EXPECT(qparams_from_range, CLQ_ERROR_PARAMETER, "2", b.m.lo[2] = 0x1p-126f; b.m.hi[2] = 0x1p-127f);
    EXPECT(qparams_from_range, CLQ_ERROR_INVALID_ARGUMENT, "zero_point", memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT(choose_qparams, CLQ_ERROR_INVALID_ARGUMENT, "zero_point", memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT(choose_qparams, CLQ_OK, "", b.params.scheme.symmetry = CLQ_SYMMETRIC;
           memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
}
END_TEST

/* What is the training operations' own. */
START_TEST(gradients_and_averages)
{
    const float unbounded[] = {NAN, INFINITY, -INFINITY, test_float(0x7f800001)};
    const float wrong[] = {0.0f, -0.5f, 0x1p-65f, 1.0000001f, 2.0f, NAN, INFINITY};
    const float ends[][2] = {{NAN, 1.0f}, {-1.0f, NAN}, {-INFINITY, 1.0f}, {-1.0f, INFINITY}, {-INFINITY, INFINITY}};

    for (size_t i = 0; i < TEST_COUNT_OF(unbounded); i++)
        EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_INVALID_ARGUMENT, "gradient_scale", b.gradient_scale = unbounded[i]);
    EXPECT(fake_quantize_backward_learnable, CLQ_OK, "", b.gradient_scale = -0.0f);
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_INVALID_ARGUMENT, "dzero_point", b.params.scheme.symmetry = CLQ_SYMMETRIC;
           memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    EXPECT(fake_quantize_backward_learnable, CLQ_OK, "", b.params.scheme.symmetry = CLQ_SYMMETRIC; b.pdzero_point = NULL;
           memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++)
        EXPECT(observe_fake_quantize, CLQ_ERROR_PARAMETER, "averaging", b.averaging = wrong[i]);
    EXPECT(observe_fake_quantize, CLQ_OK, "", b.averaging = 0x1p-64f);
    EXPECT(observe_fake_quantize, CLQ_OK, "", b.averaging = 1.0f);
    for (size_t i = 0; i < TEST_COUNT_OF(ends); i++)
        EXPECT(observe_fake_quantize, CLQ_ERROR_PARAMETER, "average 2", b.m.lo[2] = ends[i][0]; b.m.hi[2] = ends[i][1]);
    EXPECT(observe_fake_quantize, CLQ_OK, "", b.m.lo[2] = INFINITY; b.m.hi[2] = -INFINITY);
    EXPECT(observe_fake_quantize, CLQ_ERROR_INVALID_ARGUMENT, "zero_point", memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT(dynamic_quantize, CLQ_ERROR_INVALID_ARGUMENT, "zero_point", memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    /* By x and params, or by the mask, and by nothing else. */
    EXPECT(fake_quantize_backward, CLQ_ERROR_INVALID_ARGUMENT, "mask", b.px = NULL);
    EXPECT_MASK(CLQ_ERROR_INVALID_ARGUMENT, "mask", b.pmask = NULL);
}
END_TEST

/* Schemes that a requantization, or a range alone, does not take. */
START_TEST(pairs_of_schemes)
{
    EXPECT(requantize, CLQ_ERROR_DTYPE, "y", b.r.dtype = CLQ_U8);
    EXPECT(requantize, CLQ_ERROR_DTYPE, "y", b.target.scheme.dtype = CLQ_U8);
    EXPECT(requantize, CLQ_ERROR_DTYPE, "y", b.r.dtype = b.target.scheme.dtype = CLQ_S4);
    EXPECT(requantize, CLQ_ERROR_DTYPE, "x", b.q.dtype = b.params.scheme.dtype = CLQ_S16);
    EXPECT(requantize, CLQ_ERROR_DTYPE, "x", b.q.dtype = CLQ_U8);
    EXPECT(requantize, CLQ_OK, "", b.q.dtype = b.params.scheme.dtype = CLQ_S4);
    EXPECT(requantize, CLQ_OK, "", b.q.dtype = b.params.scheme.dtype = CLQ_S32; b.q.data = b.m.x; memset(&b.params.zero_point, 0, sizeof(clq_tensor)));
    EXPECT(requantize, CLQ_ERROR_PARAMETER, "zero_point[0]", b.q.dtype = b.params.scheme.dtype = CLQ_S32; b.q.data = b.m.x);
    EXPECT(requantize, CLQ_ERROR_SHAPE, "y_params", b.target.scheme.axis = 1; b.target.scale.shape[0] = b.target.zero_point.shape[0] = COLS);
    EXPECT(requantize, CLQ_OK, "", b.target.scheme.axis = -2);
    EXPECT(requantize, CLQ_OK, "", b.target.scheme.granularity = CLQ_PER_TENSOR; b.target.scale.rank = b.target.zero_point.rank = 0);
    EXPECT(requantize, CLQ_ERROR_PARAMETER, "scale[3]", b.target.scale.data = b.m.scale + 20; b.m.scale[23] = 0.0f);
    EXPECT(requantize, CLQ_ERROR_PARAMETER, "zero_point[1]", b.target.zero_point.data = b.m.zero_point + 20; b.m.zero_point[21] = 128);
    EXPECT(fake_quantize, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = CLQ_S32; memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    EXPECT(fake_quantize_backward, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = CLQ_S32; memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = CLQ_S32; memset(b.m.zero_point, 0, sizeof b.m.zero_point));
    EXPECT(dynamic_quantize, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = b.q.dtype = CLQ_S32; b.q.data = b.m.y);
    EXPECT(observe_fake_quantize, CLQ_ERROR_DTYPE, "s32", b.params.scheme.dtype = CLQ_S32);
    EXPECT(fake_quantize, CLQ_ERROR_DTYPE, "y", b.y.dtype = CLQ_F16);
    EXPECT(fake_quantize_backward, CLQ_ERROR_DTYPE, "dx", b.dx.dtype = CLQ_BF16);
    EXPECT(fake_quantize_backward, CLQ_ERROR_DTYPE, "x", b.x.dtype = CLQ_F16);
    EXPECT(fake_quantize, CLQ_ERROR_SHAPE, "mask", b.mask.strides[0] = 2);
    EXPECT(fake_quantize, CLQ_ERROR_SHAPE, "mask", b.mask.shape[0] = 4);
    EXPECT(fake_quantize, CLQ_ERROR_SHAPE, "mask", b.mask.rank = 0);
}
END_TEST

/* ---- matrix products */

#define F32_RESULT b.product.dtype = CLQ_F32; b.args.bias = NULL; b.args.c_params = NULL
#define NO_PARAMS  b.args.a_params = b.args.b_params = NULL
#define F32_OPERANDS F32_RESULT; NO_PARAMS; b.left.dtype = b.right.dtype = CLQ_F32
#define IN_BATCHES(v, n)                                                                                                         \
    (v).rank = 3;                                                                                                                \
    (v).shape[2] = (v).shape[1];                                                                                                 \
    (v).shape[1] = (v).shape[0];                                                                                                 \
    (v).shape[0] = (n);                                                                                                          \
    (v).strides[2] = 1;                                                                                                          \
    (v).strides[1] = (v).shape[2];                                                                                               \
    (v).strides[0] = (v).shape[1] * (v).shape[2]

START_TEST(gemm_arguments)
{
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "args is NULL", b.pargs = NULL);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "b and packed_b are both NULL", b.args.b = NULL);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "b and packed_b are both there", b.args.packed_b = (const clq_packed *)(const void *)&b);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "activation = 3, must be 0 to 2", F32_RESULT; b.args.activation = (clq_activation)3);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "activation = -1", F32_RESULT; b.args.activation = (clq_activation)-1);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "activation = 1, must be 0 as c is s8", b.args.activation = CLQ_ACTIVATION_RELU);
    EXPECT(gemm, CLQ_OK, "", F32_RESULT; b.args.activation = CLQ_ACTIVATION_RELU);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "clamp_min = 1, must be at most clamp_max, 0.5", F32_RESULT; b.args.activation = CLQ_ACTIVATION_CLAMP;
           b.args.clamp_min = 1; b.args.clamp_max = 0.5f);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "clamp_min = nan", F32_RESULT; b.args.activation = CLQ_ACTIVATION_CLAMP; b.args.clamp_min = NAN);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "clamp_max, nan", F32_RESULT; b.args.activation = CLQ_ACTIVATION_CLAMP; b.args.clamp_max = NAN);
    EXPECT(gemm, CLQ_OK, "", F32_RESULT; b.args.activation = CLQ_ACTIVATION_CLAMP);
    EXPECT(gemm, CLQ_OK, "", b.args.clamp_min = NAN);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "c_params is NULL, but c is s8", b.args.c_params = NULL);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "c_params is not NULL, but c is s32", b.product.dtype = CLQ_S32);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "c_params is not NULL, but c is f32", b.product.dtype = CLQ_F32);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "c.dtype = s16", b.product.dtype = CLQ_S16);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "a.dtype = s4", b.left.dtype = CLQ_S4);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "b.dtype = f32", b.right.dtype = CLQ_F32);
    EXPECT(gemm, CLQ_OK, "", F32_OPERANDS);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "a_params is not NULL, but a is f32", b.left.dtype = CLQ_F32);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "b_params is not NULL, but a is f32", b.left.dtype = CLQ_F32; b.args.a_params = NULL);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "packed_b is not NULL, but a is f32", F32_OPERANDS; b.args.b = NULL;
           b.args.packed_b = (const clq_packed *)(const void *)&b);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "b.dtype = s8", F32_OPERANDS; b.right.dtype = CLQ_S8);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "c.dtype = s32, must be f32", F32_OPERANDS; b.product.dtype = CLQ_S32);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "bias.dtype = f32", b.bias.dtype = CLQ_F32);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "bias.dtype = s32", F32_RESULT; b.args.bias = &b.bias);
    EXPECT(packed_create, CLQ_ERROR_DTYPE, "b.dtype = f32", b.right.dtype = CLQ_F32);
    TEST_CHECK(clq_packed_create(the_context, &b.right, NULL) == CLQ_ERROR_INVALID_ARGUMENT &&
                   strstr(clq_context_error(the_context), "packed is NULL") != NULL,
               "\"%s\"", clq_context_error(the_context));
}
END_TEST

START_TEST(gemm_shapes)
{
    EXPECT(gemm, CLQ_ERROR_SHAPE, "K of B = 5, must be that of a, 6", b.right.shape[0] = 5);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "M of c = 3, must be that of a, 4", b.product.shape[0] = 3);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "N of c = 4, must be that of B, 5", b.product.shape[1] = 4);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a.rank = 1, must be 2 or 3", b.left.rank = 1);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "b.rank = 0, must be 2 or 3", b.right.rank = 0);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "c.rank = 4, must be 2 or 3", b.product.rank = 4; b.product.shape[2] = b.product.shape[3] = 1);
    EXPECT(packed_create, CLQ_ERROR_SHAPE, "b.rank = 1, must be 2 or 3", b.right.rank = 1);
    /* Batches: that of c counts. */
    EXPECT(gemm, CLQ_ERROR_SHAPE, "the batch of c = 1, must be that of a, 2", IN_BATCHES(b.left, 2); b.args.a_params = NULL);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "the batch of c = 2, must be that of B, 3", IN_BATCHES(b.right, 3); IN_BATCHES(b.product, 2); NO_PARAMS);
    EXPECT(gemm, CLQ_OK, "", IN_BATCHES(b.product, 2));
    EXPECT(gemm, CLQ_OK, "", IN_BATCHES(b.left, 2); IN_BATCHES(b.product, 2); b.left_params.scheme.axis = 1);
    EXPECT(gemm, CLQ_OK, "", IN_BATCHES(b.right, 2); IN_BATCHES(b.product, 2); b.right_params.scheme.axis = -1);
    /* One of the last two strides is 1. */
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a has the strides 12 and 2", b.left.strides[0] = 12; b.left.strides[1] = 2);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a has the strides 6 and 0", b.left.strides[1] = 0);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "b has the strides 5 and -1", b.right.strides[1] = -1; b.right.offset = 4);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "c has the strides 10 and 2", b.product.strides[0] = 10; b.product.strides[1] = 2);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a has the strides 12 and 2", F32_OPERANDS; b.left.strides[0] = 12; b.left.strides[1] = 2);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "b has the strides -5 and -1", F32_OPERANDS; b.right.strides[0] = -5; b.right.strides[1] = -1; b.right.offset = 29);
    EXPECT(packed_create, CLQ_ERROR_SHAPE, "b has the strides 10 and 2", b.right.strides[0] = 10; b.right.strides[1] = 2);
    EXPECT(gemm, CLQ_OK, "", b.left.strides[0] = 1; b.left.strides[1] = 4);
    EXPECT(gemm, CLQ_OK, "", b.left.strides[0] = -6; b.left.offset = 18);
    EXPECT(gemm, CLQ_OK, "", b.left.strides[0] = 0; b.right.strides[0] = 1; b.right.strides[1] = 0);
    EXPECT(gemm, CLQ_OK, "", b.product.strides[0] = 1; b.product.strides[1] = 4);
    EXPECT(gemm, CLQ_OK, "", b.left.shape[0] = b.product.shape[0] = 1; b.left.strides[1] = 3; b.product.strides[1] = 7; b.args.a_params = NULL);
    /* Parameters and bias. */
    EXPECT(gemm, CLQ_ERROR_SHAPE, "bias.shape[0] = 4", b.bias.shape[0] = 4);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "bias.shape[0] = 1", b.bias.shape[0] = 1);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a_params: scale.shape[0] = 5", b.left_params.scale.shape[0] = 5);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "b_params: zero_point.shape[0] = 4", b.right_params.zero_point.shape[0] = 4);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a_params: granularity = 1, axis = 1", b.left_params.scheme.axis = 1);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a_params: granularity = 1, axis = 0", IN_BATCHES(b.left, 2); IN_BATCHES(b.product, 2));
    EXPECT(gemm, CLQ_ERROR_SHAPE, "b_params: granularity = 1, axis = 0", b.right_params.scheme.axis = 0);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "b_params: granularity = 2", b.right_params.scheme.granularity = CLQ_PER_GROUP;
           b.right_params.scheme.group_size = 2);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "c_params: scale", b.product_params.scale.rank = 1; b.product_params.scale.shape[0] = 2);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "c_params: granularity = 1", b.product_params.scheme.granularity = CLQ_PER_CHANNEL);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a_params: scheme.axis = 2", b.left_params.scheme.axis = 2);
}
END_TEST

START_TEST(gemm_values)
{
    EXPECT(gemm, CLQ_ERROR_DTYPE, "a_params: scheme.dtype = u8, must be that of the matrix, s8", b.left_params.scheme.dtype = CLQ_U8);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "b_params: scheme.dtype = s4", b.right_params.scheme.dtype = CLQ_S4);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "c_params: scheme.dtype = s8, must be that of the matrix, u8", b.product.dtype = CLQ_U8);
    EXPECT(gemm, CLQ_ERROR_INVALID_ARGUMENT, "a_params: scheme.symmetry = 4", b.left_params.scheme.symmetry = (clq_symmetry)4);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "c_params: scheme.qmin = 5", b.product_params.scheme.qmin = 5; b.product_params.scheme.qmax = 5);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "a_params: scale[1]", b.m.scale[1] = 0);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "b_params: scale[4]", b.m.scale[12] = NAN);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "c_params: scale", b.m.scale[16] = 0x1p101f);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "a_params: zero_point[3]", b.m.zero_point[3] = 128);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "b_params: zero_point[0]", b.m.zero_point[8] = -129);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "c_params: zero_point", b.m.zero_point[16] = 1000);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "a_params: zero_point[0]", b.left_params.scheme.symmetry = CLQ_SYMMETRIC);
    /* Scales may be absent where none are needed; zero points are looked at all the same. */
#define NO_SCALES                                                                                                                \
    b.product.dtype = CLQ_S32;                                                                                                   \
    b.args.c_params = NULL;                                                                                                      \
    b.left_params.scale = b.right_params.scale = (clq_tensor){0}
    EXPECT(gemm, CLQ_OK, "", NO_SCALES);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "b_params: zero_point[2]", NO_SCALES; b.m.zero_point[10] = 128);
    EXPECT(gemm, CLQ_ERROR_SHAPE, "a_params: zero_point.shape[0]", NO_SCALES; b.left_params.zero_point.shape[0] = 3);
    EXPECT(gemm, CLQ_ERROR_PARAMETER, "a_params: zero_point is absent", NO_SCALES; b.left_params.zero_point = (clq_tensor){0};
           b.left_params.scheme.qmin = 5; b.left_params.scheme.qmax = 50);
    EXPECT(gemm, CLQ_ERROR_DTYPE, "a_params: scale", b.left_params.scale = (clq_tensor){0});
    EXPECT(gemm, CLQ_ERROR_DTYPE, "b_params: scale", F32_RESULT; b.right_params.scale = (clq_tensor){0});
}
END_TEST

/* Bounds that only a mode which flushes would find equal. */
START_TEST(clamp_in_other_modes)
{
    for (int mode = TEST_MODE_PLAIN; mode < TEST_MODES; mode++) {
        clq_status status;
        start();
        F32_RESULT;
        b.args.activation = CLQ_ACTIVATION_CLAMP;
        b.args.clamp_min = 0x1p-140f;
        b.args.clamp_max = 0x1p-149f;
        test_mode_set((enum test_mode)mode);
        status = gemm();
        test_mode_end((enum test_mode)mode);
        TEST_CHECK(status == CLQ_ERROR_PARAMETER, "mode %d: %s", mode, clq_status_name(status));
    }
}
END_TEST

/* c shares no byte with anything: there is no product in place. */
START_TEST(gemm_overlap)
{
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "a", b.product.data = b.m.left);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "a", b.product.data = b.m.left + 23);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "a", b.right.shape[1] = b.product.shape[1] = 6; b.right.strides[0] = b.product.strides[0] = 6;
           b.product.data = b.m.left; b.args.b_params = NULL; b.args.bias = NULL);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "b", b.product.data = b.m.right + 29);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "bias", b.product.data = b.m.bias);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "scale", b.product.data = b.m.scale + 3);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "scale", b.product.data = b.m.scale + 12);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "scale", b.product.data = b.m.scale + 16);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "zero_point", b.product.data = b.m.zero_point);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "zero_point", b.product.data = b.m.zero_point + 11);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "zero_point", b.product.data = (char *)b.m.zero_point + 16 * 4 + 3);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "a", F32_OPERANDS; b.product.data = b.m.left + 92);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "c", b.product.strides[0] = 4);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "c", b.product.strides[0] = 0);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "c", IN_BATCHES(b.product, 2); b.product.strides[0] = 0);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "c", IN_BATCHES(b.product, 2); b.product.strides[0] = 4);
    /* Neighbours; rows of c in the gaps between those of a. */
    EXPECT(gemm, CLQ_OK, "", b.product.data = b.m.left + 24);
    EXPECT(gemm, CLQ_OK, "", b.left.strides[0] = b.product.strides[0] = 11; b.product.data = b.m.left + 6);
    EXPECT(gemm, CLQ_ERROR_OVERLAP, "a", b.left.strides[0] = b.product.strides[0] = 11; b.product.data = b.m.left + 7);
    /* Without elements there is nothing to overlap. */
    EXPECT(gemm, CLQ_OK, "", b.left.shape[0] = b.product.shape[0] = 0; b.product.data = b.m.right; b.args.a_params = NULL);
}
END_TEST

/* ---- memory: overlap, buffers */

START_TEST(overlap)
{
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "x", b.q.data = b.m.x);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "x", b.q.data = (char *)b.m.x + ROWS * COLS * 4 - 1);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "x", b.q.data = (char *)b.m.x - ROWS * COLS + 1);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "scale", b.q.data = b.m.scale);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "scale", b.q.data = (char *)b.m.scale + ROWS * 4 - 1);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "zero_point", b.q.data = b.m.zero_point);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "counts", b.q.data = b.m.counts);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "counts", b.counts.data = b.m.x);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "counts", b.counts.data = (char *)b.m.scale - 20);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "counts", b.counts.data = b.m.zero_point + 3);
    EXPECT(dequantize, CLQ_ERROR_OVERLAP, "q", b.y.data = b.m.q);
    EXPECT(dequantize, CLQ_ERROR_OVERLAP, "scale", b.y.data = (float *)b.m.scale - 5);
    EXPECT(dequantize, CLQ_ERROR_OVERLAP, "zero_point", b.y.data = b.m.zero_point);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "lo", b.lo.data = b.m.x);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "hi", b.hi.data = b.m.x + 20);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "hi", b.hi.data = b.m.lo);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "hi", b.hi.data = (char *)b.m.lo + 15);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "counts", b.counts.data = b.m.hi);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "counts", b.counts.data = b.m.x);
    EXPECT(qparams_from_range, CLQ_ERROR_OVERLAP, "scale", b.params.scale.data = b.m.lo);
    EXPECT(qparams_from_range, CLQ_ERROR_OVERLAP, "scale", b.params.scale.data = b.m.hi + 3);
    EXPECT(qparams_from_range, CLQ_ERROR_OVERLAP, "zero_point", b.params.zero_point.data = b.m.hi);
    EXPECT(qparams_from_range, CLQ_ERROR_OVERLAP, "zero_point", b.params.zero_point.data = b.m.scale + 1);
    EXPECT(choose_qparams, CLQ_ERROR_OVERLAP, "scale", b.params.scale.data = b.m.x + 1);
    EXPECT(choose_qparams, CLQ_ERROR_OVERLAP, "zero_point", b.params.zero_point.data = b.m.x + 22);
    EXPECT(choose_qparams, CLQ_ERROR_OVERLAP, "zero_point", b.params.zero_point.data = b.m.scale);
    /* Convert takes the identical view, and nothing that is almost so. */
    EXPECT(convert, CLQ_OK, "", b.y = b.x);
    EXPECT(convert, CLQ_OK, "", b.y = b.x; b.x.dtype = CLQ_F16; b.y.dtype = CLQ_BF16);
    EXPECT(convert, CLQ_OK, "", b.y = b.x; b.y.data = b.m.x + 2; b.y.offset = -2);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.y.data = b.m.x + 1);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.y.data = (char *)b.m.x + 1);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.y.dtype = CLQ_F16);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.x.dtype = CLQ_F16);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.y.strides[0] = 8);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.y.strides[1] = -1; b.y.offset = 5);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.y.strides[0] = 1; b.y.strides[1] = ROWS);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.x.dtype = b.y.dtype = CLQ_S4; b.y.data = (char *)b.m.x + 5; b.x.data = b.m.x);
    /* Neighbours do not touch. */
    EXPECT(quantize, CLQ_OK, "", b.q.data = b.m.x + ROWS * COLS);
    EXPECT(quantize, CLQ_OK, "", b.q.data = b.m.scale + ROWS);
    EXPECT(convert, CLQ_OK, "", b.x.dtype = b.y.dtype = CLQ_S4; b.y.data = (char *)b.m.x + ROWS * COLS / 2; b.x.data = b.m.x);
    /* Without elements there is nothing to overlap. */
    EXPECT(convert, CLQ_OK, "", b.x.shape[1] = b.y.shape[1] = 0; b.y.data = b.m.x);
    EXPECT(quantize, CLQ_OK, "", b.x.shape[1] = b.q.shape[1] = 0; b.q.data = b.m.x; b.x.data = NULL);
}
END_TEST

/* The same for operations in place: the identical view, and nothing that is almost so. */
START_TEST(in_place)
{
    EXPECT(fake_quantize, CLQ_OK, "", b.y = b.x);
    EXPECT(fake_quantize, CLQ_ERROR_OVERLAP, "y", b.y = b.x; b.y.data = b.m.x + 1);
    EXPECT(fake_quantize, CLQ_ERROR_OVERLAP, "mask", b.mask.data = (char *)b.m.x + 95);
    EXPECT(fake_quantize, CLQ_ERROR_OVERLAP, "mask", b.mask.data = b.m.y + 3);
    EXPECT(fake_quantize, CLQ_ERROR_OVERLAP, "mask", b.mask.data = b.m.scale + 3);
    EXPECT(fake_quantize, CLQ_ERROR_OVERLAP, "counts", b.counts.data = b.m.mask);
    EXPECT(fake_quantize, CLQ_ERROR_OVERLAP, "zero_point", b.y.data = b.m.zero_point);
    EXPECT(observe_fake_quantize, CLQ_OK, "", b.y = b.x);
    EXPECT(observe_fake_quantize, CLQ_ERROR_OVERLAP, "lo", b.y.data = b.m.lo);
    EXPECT(observe_fake_quantize, CLQ_ERROR_OVERLAP, "hi", b.hi.data = b.m.lo + 3);
    EXPECT(observe_fake_quantize, CLQ_ERROR_OVERLAP, "scale", b.params.scale.data = b.m.lo);
    EXPECT(observe_fake_quantize, CLQ_ERROR_OVERLAP, "zero_point", b.params.zero_point.data = b.m.scale + 2);
    EXPECT(fake_quantize_backward, CLQ_OK, "", b.dx = b.dy);
    EXPECT(fake_quantize_backward, CLQ_ERROR_OVERLAP, "dx", b.dx = b.dy; b.dx.strides[0] = 8);
    EXPECT(fake_quantize_backward, CLQ_ERROR_OVERLAP, "dx", b.dx = b.x);
    EXPECT(fake_quantize_backward, CLQ_ERROR_OVERLAP, "dx", b.dx.data = b.m.scale);
    EXPECT_MASK(CLQ_OK, "", b.dx = b.dy);
    EXPECT_MASK(CLQ_ERROR_OVERLAP, "mask", b.dx.data = b.m.mask);
    EXPECT(fake_quantize_backward_learnable, CLQ_OK, "", b.dx = b.dy);
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_OVERLAP, "dscale", b.dscale.data = b.m.dx + 5);
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_OVERLAP, "dscale", b.dscale.data = b.m.scale);
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_OVERLAP, "dzero_point", b.dzero_point.data = b.m.dscale + 3);
    EXPECT(fake_quantize_backward_learnable, CLQ_ERROR_OVERLAP, "dzero_point", b.dzero_point.strides[0] = 0);
    EXPECT(requantize, CLQ_OK, "", b.r = b.q);
    EXPECT(requantize, CLQ_OK, "", b.r = b.q; b.r.dtype = b.target.scheme.dtype = CLQ_U8);
    EXPECT(requantize, CLQ_ERROR_OVERLAP, "y", b.r = b.q; b.r.data = b.m.q + 1);
    EXPECT(requantize, CLQ_ERROR_OVERLAP, "y", b.r.data = b.m.q; b.q.dtype = b.params.scheme.dtype = CLQ_S4);
    EXPECT(requantize, CLQ_ERROR_OVERLAP, "scale", b.r.data = b.m.scale);
    EXPECT(dynamic_quantize, CLQ_ERROR_OVERLAP, "q", b.q.data = b.m.x);
    EXPECT(dynamic_quantize, CLQ_ERROR_OVERLAP, "scale", b.params.scale.data = b.m.q);
}
END_TEST

/* An output that visits an element twice. */
START_TEST(self_overlap)
{
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", b.q.strides[0] = 0);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", b.q.strides[1] = 0);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", b.q.strides[0] = COLS - 1);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", b.q.strides[0] = -(COLS - 1); b.q.offset = 20);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", b.q.strides[0] = 1);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", b.q.strides[0] = 2; b.q.strides[1] = 4);
    EXPECT(dequantize, CLQ_ERROR_OVERLAP, "y", b.y.strides[0] = 0);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "lo", b.lo.strides[0] = 0);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "hi", b.hi.strides[0] = 0);
    EXPECT(qparams_from_range, CLQ_ERROR_OVERLAP, "scale", b.params.scale.strides[0] = 0);
    EXPECT(qparams_from_range, CLQ_ERROR_OVERLAP, "zero_point", b.params.zero_point.strides[0] = 0);
    EXPECT(choose_qparams, CLQ_ERROR_OVERLAP, "scale", b.params.scale.strides[0] = 0);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y.strides[0] = 0);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", b.y = b.x; b.x.strides[0] = b.y.strides[0] = 0);
    /* Inputs may, and an extent of 1 has no second element. */
    EXPECT(quantize, CLQ_OK, "", b.x.strides[0] = b.x.strides[1] = 0);
    EXPECT(quantize, CLQ_OK, "", b.params.scale.strides[0] = b.params.zero_point.strides[0] = 0);
    EXPECT(dequantize, CLQ_OK, "", b.q.strides[0] = 1);
    EXPECT(convert, CLQ_OK, "", b.x.shape[0] = b.y.shape[0] = 1; b.y.strides[0] = 0);
    /* Transposed, padded and reversed outputs do not. */
    EXPECT(quantize, CLQ_OK, "", b.q.strides[0] = 1; b.q.strides[1] = ROWS);
    EXPECT(quantize, CLQ_OK, "", b.q.strides[0] = COLS + 3);
    EXPECT(quantize, CLQ_OK, "", b.q.strides[0] = -COLS; b.q.strides[1] = -1; b.q.offset = ROWS * COLS - 1);
}
END_TEST

/* Columns, rows and single elements of one array, in turns. */
START_TEST(interleaved)
{
#define HALVES                                                                                                                   \
    b.x.shape[1] = b.y.shape[1] = 3;                                                                                             \
    b.y.data = b.m.x
    /* Columns 0..2 and 3..5 of rows of 6. */
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.y.offset = 3);
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.x.offset = 3);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.y.offset = 2);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.y.offset = 4);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", HALVES; b.x.strides[0] = 6; b.y.strides[0] = 7; b.y.offset = 3);
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.y.strides[0] = 8; b.y.offset = 4);
    /* One of them from the bottom to the top, or from right to left. */
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = 6; b.y.strides[0] = -6; b.y.offset = 18 + 3);
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.x.strides[1] = -1; b.x.offset = 2; b.y.offset = 3);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.x.strides[1] = -1; b.x.offset = 3;
           b.y.offset = 3);
    /* Even and odd elements, even and odd rows. */
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.x.strides[1] = b.y.strides[1] = 2; b.y.offset = 1);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", HALVES; b.x.strides[0] = b.y.strides[0] = 6; b.x.strides[1] = b.y.strides[1] = 2;
           b.y.offset = 2);
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.y.strides[0] = 12; b.y.offset = 6);
    EXPECT(convert, CLQ_OK, "", b.x.shape[1] = b.y.shape[1] = 6; b.y.data = b.m.x; b.x.strides[0] = b.y.strides[0] = 12;
           b.y.offset = 6);
    /* A source that repeats one element among the destination's gaps. */
    EXPECT(convert, CLQ_OK, "", HALVES; b.x.strides[0] = b.x.strides[1] = 0; b.x.offset = 3; b.y.strides[0] = 6);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", HALVES; b.x.strides[0] = b.x.strides[1] = 0; b.x.offset = 7; b.y.strides[0] = 6);
    /* Records of 3 floats and 3 integers: 15 bytes each, 16 apart, and where they meet. */
#define RECORDS                                                                                                                  \
    b.x.shape[1] = b.q.shape[1] = 3;                                                                                             \
    b.x.strides[0] = 4;                                                                                                          \
    b.q.strides[0] = 16;                                                                                                         \
    b.x.data = b.m.x
    EXPECT(quantize, CLQ_OK, "", RECORDS; b.q.data = (char *)b.m.x + 12);
    EXPECT(quantize, CLQ_OK, "", RECORDS; b.q.data = (char *)b.m.x + 13);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", RECORDS; b.q.data = (char *)b.m.x + 14);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "q", RECORDS; b.q.data = (char *)b.m.x + 11);
    EXPECT(dequantize, CLQ_OK, "", b.y.shape[1] = b.q.shape[1] = 3; b.y.strides[0] = 4; b.q.strides[0] = 16;
           b.q.data = (char *)b.m.y + 12);
    /* Scales in the rows that they scale. */
    EXPECT(quantize, CLQ_OK, "", b.q.strides[0] = 16; b.q.data = b.m.scale + 1; b.params.scale.strides[0] = 4);
    EXPECT(quantize, CLQ_ERROR_OVERLAP, "scale", b.q.strides[0] = 16; b.q.data = (char *)b.m.scale + 3;
           b.params.scale.strides[0] = 4);
    EXPECT(choose_qparams, CLQ_OK, "", b.params.scale.strides[0] = b.params.zero_point.strides[0] = 2;
           b.params.zero_point.data = b.m.scale + 1);
    EXPECT(minmax, CLQ_OK, "", b.lo.strides[0] = b.hi.strides[0] = 2; b.hi.data = b.m.lo + 1);
    EXPECT(minmax, CLQ_ERROR_OVERLAP, "hi", b.lo.strides[0] = 2; b.hi.strides[0] = 3; b.hi.data = b.m.lo + 1);
}
END_TEST

START_TEST(buffers)
{
    clq_buffer *buffer, *small;

    TEST_OK(the_context, clq_buffer_create(the_context, ROWS * COLS * 4, &buffer));
    TEST_OK(the_context, clq_buffer_create(the_context, 3, &small));
#define IN_BUFFER(v)                                                                                                             \
    (v).memory = CLQ_MEMORY_BUFFER;                                                                                              \
    (v).data = buffer
    EXPECT(convert, CLQ_OK, "", IN_BUFFER(b.y));
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", IN_BUFFER(b.y); b.y.offset = 1);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", IN_BUFFER(b.y); b.y.offset = -1);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", IN_BUFFER(b.y); b.y.strides[0] = 7);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", IN_BUFFER(b.y); b.y.strides[0] = -6);
    EXPECT(convert, CLQ_OK, "", IN_BUFFER(b.y); b.y.strides[0] = -6; b.y.offset = 18);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", IN_BUFFER(b.y); b.y.strides[0] = -6; b.y.offset = 17);
    EXPECT(convert, CLQ_ERROR_SHAPE, "src", IN_BUFFER(b.x); b.x.offset = 1);
    EXPECT(convert, CLQ_ERROR_SHAPE, "src", IN_BUFFER(b.x); b.x.shape[0] = b.y.shape[0] = 5);
    EXPECT(convert, CLQ_ERROR_OVERFLOW, "src", IN_BUFFER(b.x); b.x.offset = INT64_MAX / 8);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "scale", IN_BUFFER(b.params.scale); b.params.scale.offset = ROWS * COLS - ROWS + 1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "zero_point", IN_BUFFER(b.params.zero_point); b.params.zero_point.offset = -1);
    EXPECT(quantize, CLQ_ERROR_SHAPE, "counts", IN_BUFFER(b.counts); b.counts.offset = 10);
    /* Two views of one buffer: halves that do not meet, and that do. */
    EXPECT(convert, CLQ_OK, "", IN_BUFFER(b.x); IN_BUFFER(b.y); b.x.shape[0] = b.y.shape[0] = 2; b.y.offset = 12);
    EXPECT(convert, CLQ_ERROR_OVERLAP, "dst", IN_BUFFER(b.x); IN_BUFFER(b.y); b.x.shape[0] = b.y.shape[0] = 2; b.y.offset = 11);
    /* 3 bytes hold 6 4-bit values. */
#define NIBBLES(n)                                                                                                               \
    b.x.dtype = b.y.dtype = CLQ_U4;                                                                                              \
    b.x.rank = b.y.rank = 1;                                                                                                     \
    b.x.shape[0] = b.y.shape[0] = (n);                                                                                           \
    b.x.strides[0] = b.y.strides[0] = 1;                                                                                         \
    b.y.memory = CLQ_MEMORY_BUFFER;                                                                                              \
    b.y.data = small
    EXPECT(convert, CLQ_OK, "", NIBBLES(6));
    EXPECT(convert, CLQ_OK, "", NIBBLES(5));
    EXPECT(convert, CLQ_OK, "", NIBBLES(3); b.y.offset = 2);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", NIBBLES(7));
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", NIBBLES(5); b.y.offset = 2);
    EXPECT(convert, CLQ_ERROR_SHAPE, "dst", NIBBLES(2); b.y.offset = -2);
    clq_buffer_free(small);
    clq_buffer_free(buffer);
}
END_TEST

/* After all these the context works. */
START_TEST(context_survives)
{
    for (size_t i = 0; i < TEST_COUNT_OF(operations); i++) {
        EXPECT(quantize, CLQ_ERROR_PARAMETER, "scale[1]", b.m.scale[1] = NAN);
        start();
        expect(operations[i].name, operations[i].run, CLQ_OK, "", "nothing spoilt");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors");
    TCase *all = test_case(suite, "every operation"), *schemes_case = test_case(suite, "schemes and values"),
          *products = test_case(suite, "matrix products"), *memory = test_case(suite, "memory");
    TCase *const cases[] = {all, schemes_case, products, memory};

    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++)
        tcase_add_checked_fixture(cases[i], set_up, tear_down);
    tcase_add_test(all, right_arguments);
    tcase_add_test(all, no_context);
    tcase_add_test(all, rounding_mode);
    tcase_add_loop_test(all, spoilt_view, 0, TEST_COUNT_OF(operands));
    tcase_add_loop_test(all, shorter_view, 0, TEST_COUNT_OF(operands));
    tcase_add_test(all, null_structs);
    tcase_add_test(all, types);
    tcase_add_test(all, shapes);
    tcase_add_test(schemes_case, schemes);
    tcase_add_test(schemes_case, symmetric_schemes);
    tcase_add_test(schemes_case, axes_and_groups);
    tcase_add_test(schemes_case, s32);
    tcase_add_test(schemes_case, scales);
    tcase_add_test(schemes_case, values_in_other_modes);
    tcase_add_test(schemes_case, zero_points);
    tcase_add_test(schemes_case, ranges);
    tcase_add_test(schemes_case, gradients_and_averages);
    tcase_add_test(schemes_case, pairs_of_schemes);
    tcase_add_test(products, gemm_arguments);
    tcase_add_test(products, gemm_shapes);
    tcase_add_test(products, gemm_values);
    tcase_add_test(products, clamp_in_other_modes);
    tcase_add_test(products, gemm_overlap);
    tcase_add_test(memory, nibbles);
    tcase_add_test(memory, overlap);
    tcase_add_test(memory, in_place);
    tcase_add_test(memory, self_overlap);
    tcase_add_test(memory, interleaved);
    tcase_add_test(memory, buffers);
    tcase_add_test(memory, context_survives);
    return test_run(suite);
}
