/* SPDX-License-Identifier: MIT */
/*
 * Every OpenCL call and every allocation of every operation failing once: the CPU takes over or the call says so, inputs stay, nothing leaks, and the
 * context works afterwards.
 */
#include "config.h"

#include "base/alloc.h"
#include "opencl/cl_device.h"
#include <clquant_opencl.h>
#include "opencl_shim.h"
#include "test_support.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor of ROWS x COLS, parameters by row; several chunks in the smallest staging memory. */
enum { ROWS = 40, COLS = 64, PITCH = COLS + 3, STAGING_BYTES = 4096 };

/* What operations read and write, for host memory or, as a whole, for a buffer. */
struct values {
    _Alignas(64) float x[ROWS * PITCH];
    _Alignas(64) float y[ROWS * PITCH];
    _Alignas(64) float dy[ROWS * PITCH];
    _Alignas(64) int8_t q[ROWS * PITCH];
    _Alignas(64) int8_t q_in[ROWS * PITCH];
    _Alignas(64) float lo[ROWS], hi[ROWS], lo_out[ROWS], hi_out[ROWS];
    _Alignas(64) float scale[ROWS], scale_out[ROWS];
    _Alignas(64) int32_t zero_point[ROWS], zero_point_out[ROWS];
    _Alignas(64) int64_t counts[3];
    _Alignas(64) float dscale[ROWS], dzero_point[ROWS], average_lo[ROWS], average_hi[ROWS];
    _Alignas(64) uint8_t mask[ROWS * COLS / 8];
};

enum place { ON_DEVICE, PARAMS_ON_HOST, STAGED, ZERO_COPY, PLACES };
static const char *const place_names[] = {"on the device", "parameters on the host", "staged", "without copies"};

struct bench {
    clq_context *context;
    enum place place;
    int64_t pitch;
    clq_buffer *buffer; /* where operands are on the device */
    struct values now;
    clq_error_stats stats;
};

static struct values initial;
static char device_id[32];
static int warnings;

/* ---- devices, contexts */

/* The first usable device. */
static bool find_device(void)
{
    struct clq_cl_device *devices = NULL;
    int32_t count = 0;
    bool found = false;
    TEST_CHECK(clq_cl_devices_find(&clq_allocator_libc, &devices, &count) == CLQ_OK, "the list of devices");
    for (int32_t i = 0; i < count && !found; i++) {
        found = devices[i].refusal[0] == '\0' && test_device_wanted(i);
        snprintf(device_id, sizeof device_id, "opencl:%d", (int)i);
    }
    clq_dealloc(&clq_allocator_libc, devices);
    return found;
}

static void count_warning(void *opaque, clq_log_level level, const char *text)
{
    (void)opaque;
    (void)text;
    warnings += level == CLQ_LOG_WARNING;
}

static clq_status create(struct test_allocator *allocator, bool no_fallback, char *text, clq_context **context)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.device = device_id;
    options.num_threads = 1;
    options.staging_bytes = STAGING_BYTES;
    options.no_fallback = no_fallback;
    options.log = count_warning;
    options.error_text = text;
    options.error_text_bytes = 300;
    if (allocator != NULL) options.allocator = test_allocator_of(allocator);
    return clq_context_create(&options, context);
}

/* References of all kinds. */
struct references {
    long long live[SHIM_OBJECTS];
};

static struct references count_references(void)
{
    struct references references;
    for (int i = 0; i < SHIM_OBJECTS; i++)
        references.live[i] = atomic_load(&shim.live[i]);
    return references;
}

static void expect_references(const struct references *before)
{
#define NAME(name) #name,
    static const char *const names[] = {SHIM_FOR_EACH_OBJECT(NAME)};
    for (int i = 0; i < SHIM_OBJECTS; i++)
        TEST_CHECK(atomic_load(&shim.live[i]) == before->live[i], "%lld references to a %s are left, %lld before", atomic_load(&shim.live[i]),
                   names[i], before->live[i]);
}

/* ---- values */

static void fill_initial(void)
{
    struct test_random random = test_random_start(900);
    test_fill_random(&random, &initial, sizeof initial);
    for (int i = 0; i < ROWS * PITCH; i++) {
        const uint32_t bits = test_random_value(&random, 0x3e800000, 3, -128, 127);
        initial.x[i] = fabsf(test_float(bits)) < 1e20f ? test_float(bits) : 1.0f;
        initial.dy[i] = (float)(i % 91) + 1.0f;
    }
    for (int i = 0; i < ROWS; i++) {
        initial.scale[i] = 0.25f + (float)i / 64;
        initial.zero_point[i] = i - 20;
        initial.lo[i] = -1.0f - (float)i;
        initial.hi[i] = 2.0f + (float)i;
        initial.average_lo[i] = -3.0f;
        initial.average_hi[i] = 3.0f;
    }
}

/* A view of a member of the values. */
static clq_tensor view(struct bench *b, bool on_device, clq_dtype dtype, size_t at, int32_t rank)
{
    const int64_t shape[2] = {ROWS, COLS};
    const int64_t size_bytes = clq_dtype_bits(dtype) / 8;
    clq_tensor tensor = clq_tensor_host(dtype, (char *)&b->now + at, rank, shape);
    if (on_device) tensor = clq_tensor_buffer(dtype, b->buffer, (int64_t)at / size_bytes, rank, shape);
    if (rank == 2) tensor.strides[0] = b->pitch;
    return tensor;
}

#define IS_ON_DEVICE            (b->place == ON_DEVICE || b->place == PARAMS_ON_HOST)
#define TENSOR(dtype, member)   view(b, IS_ON_DEVICE, dtype, offsetof(struct values, member), 2)
#define PARAM(dtype, member)    view(b, b->place == ON_DEVICE, dtype, offsetof(struct values, member), 1)
#define OUT(member)             {offsetof(struct values, member), sizeof initial.member}

static clq_tensor counts_of(struct bench *b)
{
    const int64_t three = 3;
    if (b->place == ON_DEVICE) return clq_tensor_buffer(CLQ_S64, b->buffer, offsetof(struct values, counts) / 8, 1, &three);
    return clq_tensor_host(CLQ_S64, b->now.counts, 1, &three);
}

static clq_qparams params_of(struct bench *b, bool out)
{
    const clq_scheme scheme = {.dtype = CLQ_S8, .granularity = CLQ_PER_CHANNEL, .axis = 0};
    return (clq_qparams){.scheme = scheme,
                         .scale = out ? PARAM(CLQ_F32, scale_out) : PARAM(CLQ_F32, scale),
                         .zero_point = out ? PARAM(CLQ_S32, zero_point_out) : PARAM(CLQ_S32, zero_point)};
}

/* ---- operations */

static clq_status convert(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), y = TENSOR(CLQ_F32, y);
    return clq_convert(b->context, &x, &y);
}

static clq_status quantize(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), q = TENSOR(CLQ_S8, q), counts = counts_of(b);
    const clq_qparams params = params_of(b, false);
    return clq_quantize(b->context, &x, &params, &q, &counts);
}

static clq_status dequantize(struct bench *b)
{
    const clq_tensor q = TENSOR(CLQ_S8, q_in), y = TENSOR(CLQ_F32, y);
    const clq_qparams params = params_of(b, false);
    return clq_dequantize(b->context, &q, &params, &y);
}

static clq_status minmax(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), lo = PARAM(CLQ_F32, lo_out), hi = PARAM(CLQ_F32, hi_out), counts = counts_of(b);
    const clq_qparams params = params_of(b, false);
    return clq_minmax(b->context, &x, &params.scheme, &lo, &hi, &counts);
}

static clq_status from_range(struct bench *b)
{
    const clq_tensor lo = PARAM(CLQ_F32, lo), hi = PARAM(CLQ_F32, hi);
    const clq_qparams params = params_of(b, true);
    return clq_qparams_from_range(b->context, &lo, &hi, &params);
}

static clq_status choose(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x);
    const clq_qparams params = params_of(b, true);
    return clq_choose_qparams(b->context, &x, &params);
}

static clq_status check(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x);
    const clq_qparams params = params_of(b, false);
    return clq_qparams_check(b->context, &x, &params);
}

static clq_status error_stats(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), q = TENSOR(CLQ_S8, q_in);
    const clq_qparams params = params_of(b, false);
    return clq_compute_error_stats(b->context, &x, &q, &params, &b->stats);
}

static clq_tensor mask_of(struct bench *b)
{
    const int64_t n = sizeof b->now.mask;
    if (IS_ON_DEVICE) return clq_tensor_buffer(CLQ_U8, b->buffer, offsetof(struct values, mask), 1, &n);
    return clq_tensor_host(CLQ_U8, b->now.mask, 1, &n);
}

static clq_status dynamic_quantize(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), q = TENSOR(CLQ_S8, q), counts = counts_of(b);
    const clq_qparams params = params_of(b, true);
    return clq_dynamic_quantize(b->context, &x, &params, &q, &counts);
}

static clq_status requantize(struct bench *b)
{
    const clq_tensor q_in = TENSOR(CLQ_S8, q_in), q = TENSOR(CLQ_S8, q);
    const clq_qparams params = params_of(b, false);
    return clq_requantize(b->context, &q_in, &params, &params, &q);
}

static clq_status fake_quantize(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), y = TENSOR(CLQ_F32, y), mask = mask_of(b), counts = counts_of(b);
    const clq_qparams params = params_of(b, false);
    return clq_fake_quantize(b->context, &x, &params, &y, &mask, &counts);
}

static clq_status backward(struct bench *b)
{
    const clq_tensor dy = TENSOR(CLQ_F32, dy), x = TENSOR(CLQ_F32, x), y = TENSOR(CLQ_F32, y);
    const clq_qparams params = params_of(b, false);
    return clq_fake_quantize_backward(b->context, &dy, &x, &params, NULL, &y);
}

static clq_status backward_by_mask(struct bench *b)
{
    const clq_tensor dy = TENSOR(CLQ_F32, dy), y = TENSOR(CLQ_F32, y), mask = mask_of(b);
    return clq_fake_quantize_backward(b->context, &dy, NULL, NULL, &mask, &y);
}

static clq_status learnable(struct bench *b)
{
    const clq_tensor dy = TENSOR(CLQ_F32, dy), x = TENSOR(CLQ_F32, x), y = TENSOR(CLQ_F32, y), dscale = PARAM(CLQ_F32, dscale), dzero_point = PARAM(CLQ_F32, dzero_point);
    const clq_qparams params = params_of(b, false);
    return clq_fake_quantize_backward_learnable(b->context, &dy, &x, &params, 0.125f, &y, &dscale, &dzero_point);
}

static clq_status observe(struct bench *b)
{
    const clq_tensor x = TENSOR(CLQ_F32, x), lo = PARAM(CLQ_F32, average_lo), hi = PARAM(CLQ_F32, average_hi), y = TENSOR(CLQ_F32, y), mask = mask_of(b),
                     counts = counts_of(b);
    const clq_qparams params = params_of(b, true);
    return clq_observe_fake_quantize(b->context, &x, 0.5f, &lo, &hi, &params, &y, &mask, &counts);
}

/* Quantize, dequantize and parameters together, which write different members. */
static clq_status batch(struct bench *b)
{
    clq_status status = clq_batch_begin(b->context), ended;
    if (status != CLQ_OK) return status;
    status = quantize(b);
    if (status == CLQ_OK) status = dequantize(b);
    if (status == CLQ_OK) status = choose(b);
    if (status == CLQ_OK) status = error_stats(b);
    ended = clq_batch_end(b->context);
    return status != CLQ_OK ? status : ended;
}

/* The context's own functions, after an operation that may still be under way. */
static clq_status events(struct bench *b)
{
    cl_event event = NULL;
    clq_status status = convert(b);
    if (status == CLQ_OK) status = clq_opencl_event(b->context, &event);
    if (status == CLQ_OK) status = clq_opencl_wait(b->context, 1, &event);
    if (event != NULL) clReleaseEvent(event);
    if (status == CLQ_OK) status = clq_context_synchronize(b->context);
    return status;
}

static clq_status buffers(struct bench *b)
{
    clq_buffer *buffer;
    const clq_status status = clq_buffer_create(b->context, 1000, &buffer);
    TEST_CHECK((status == CLQ_OK) == (buffer != NULL), "a failed buffer is there");
    clq_buffer_free(buffer);
    return status;
}

static clq_status warm_up(struct bench *b)
{
    return clq_context_warm_up(b->context, CLQ_F32, CLQ_S8);
}

struct range {
    size_t at, size_bytes;
};

static const struct operation {
    const char *name;
    clq_status (*run)(struct bench *b);
    struct range outputs[7];
    bool of_context; /* no operands, or on the device alone: nothing falls back */
} operations[] = {
    {"quantize", quantize, {OUT(q), OUT(counts)}, false},
    {"convert", convert, {OUT(y)}, false},
    {"dequantize", dequantize, {OUT(y)}, false},
    {"minmax", minmax, {OUT(lo_out), OUT(hi_out), OUT(counts)}, false},
    {"qparams_from_range", from_range, {OUT(scale_out), OUT(zero_point_out)}, false},
    {"choose_qparams", choose, {OUT(scale_out), OUT(zero_point_out)}, false},
    {"qparams_check", check, {{0, 0}}, false},
    {"compute_error_stats", error_stats, {{0, 0}}, false},
    {"dynamic_quantize", dynamic_quantize, {OUT(scale_out), OUT(zero_point_out), OUT(q), OUT(counts)}, false},
    {"requantize", requantize, {OUT(q)}, false},
    {"fake_quantize", fake_quantize, {OUT(y), OUT(mask), OUT(counts)}, false},
    {"fake_quantize_backward", backward, {OUT(y)}, false},
    {"fake_quantize_backward by the mask", backward_by_mask, {OUT(y)}, false},
    {"fake_quantize_backward_learnable", learnable, {OUT(y), OUT(dscale), OUT(dzero_point)}, false},
    {"observe_fake_quantize",
     observe,
     {OUT(average_lo), OUT(average_hi), OUT(scale_out), OUT(zero_point_out), OUT(y), OUT(mask), OUT(counts)},
     false},
    {"batch", batch, {OUT(q), OUT(y), OUT(scale_out), OUT(zero_point_out), OUT(counts)}, false},
    {"events", events, {OUT(y)}, true},
    {"buffers", buffers, {{0, 0}}, true},
    {"warm_up", warm_up, {{0, 0}}, true},
};

static bool is_on(enum place place)
{
    return place == ON_DEVICE || place == PARAMS_ON_HOST;
}

/* All values between host and device. */
static void copy_values(struct bench *b, bool to_device)
{
    const int64_t n = sizeof b->now;
    const clq_tensor here = clq_tensor_host(CLQ_U8, &b->now, 1, &n);
    clq_tensor there;
    if (!is_on(b->place)) return;
    there = clq_tensor_buffer(CLQ_U8, b->buffer, 0, 1, &n);
    TEST_OK(b->context, clq_convert(b->context, to_device ? &here : &there, to_device ? &there : &here));
}

static void reset(struct bench *b)
{
    b->now = initial;
    memset(&b->stats, 0xa5, sizeof b->stats);
    copy_values(b, true);
}

/* What came out, all together again: with the parameters on the host, results are in both places. */
static void gather(struct bench *b)
{
    const struct values host = b->now;
    copy_values(b, false);
    if (b->place != PARAMS_ON_HOST) return;
    memcpy(b->now.lo_out, host.lo_out, sizeof host.lo_out);
    memcpy(b->now.hi_out, host.hi_out, sizeof host.hi_out);
    memcpy(b->now.scale_out, host.scale_out, sizeof host.scale_out);
    memcpy(b->now.zero_point_out, host.zero_point_out, sizeof host.zero_point_out);
    memcpy(b->now.counts, host.counts, sizeof host.counts);
    memcpy(b->now.dscale, host.dscale, sizeof host.dscale);
    memcpy(b->now.dzero_point, host.dzero_point, sizeof host.dzero_point);
    memcpy(b->now.average_lo, host.average_lo, sizeof host.average_lo);
    memcpy(b->now.average_hi, host.average_hi, sizeof host.average_hi);
}

/* Sums of gradients, which a device may make in another order. */
static void expect_near(const float *got, const float *wanted, const char *name)
{
    for (int i = 0; i < ROWS; i++)
        TEST_CHECK(test_bits(got[i]) == test_bits(wanted[i]) || fabsf(got[i] - wanted[i]) <= 1e-5f * fabsf(wanted[i]), "%s[%d] is %g, not %g", name, i,
                   (double)got[i], (double)wanted[i]);
}

static void expect_same(const struct bench *b, const struct values *expected, const clq_error_stats *stats)
{
    const unsigned char *const got = (const unsigned char *)&b->now, *const wanted = (const unsigned char *)expected;
    expect_near(b->now.dscale, expected->dscale, "dscale");
    expect_near(b->now.dzero_point, expected->dzero_point, "dzero_point");
    for (size_t i = 0; i < sizeof b->now; i++) {
        if (i >= offsetof(struct values, dscale) && i < offsetof(struct values, dzero_point) + sizeof initial.dzero_point) continue;
        TEST_CHECK(got[i] == wanted[i], "byte %zu is %d, not %d (x, y, q, q_in begin at %zu, %zu, %zu, %zu; lo at %zu)", i, got[i], wanted[i],
                   offsetof(struct values, x), offsetof(struct values, y), offsetof(struct values, q), offsetof(struct values, q_in),
                   offsetof(struct values, lo));
    }
    TEST_CHECK(b->stats.count == stats->count && b->stats.clipped_count == stats->clipped_count &&
                   memcmp(&b->stats.max_error, &stats->max_error, sizeof stats->max_error) == 0,
               "the statistics' counts");
    TEST_CHECK(b->stats.mse == stats->mse || fabs(b->stats.mse - stats->mse) <= 1e-9 * fabs(stats->mse), "mse %g, not %g", b->stats.mse, stats->mse);
}

/* After a failure only outputs may have changed. */
static void expect_inputs(struct bench *b, const struct operation *operation)
{
    struct values masked = initial;
    for (size_t i = 0; i < TEST_COUNT_OF(operation->outputs); i++)
        memcpy((char *)&masked + operation->outputs[i].at, (char *)&b->now + operation->outputs[i].at, operation->outputs[i].size_bytes);
    expect_same(b, &masked, &b->stats);
}

static void expect_text(const clq_context *context, clq_status status, int failed)
{
    const char *const text = clq_context_error(context);
    const clq_status lost = failed == SHIM_clGetMemObjectInfo ? CLQ_ERROR_CONTEXT : CLQ_ERROR_DEVICE;
    TEST_CHECK(status == CLQ_ERROR_DEVICE || status == CLQ_ERROR_OUT_OF_MEMORY || status == lost, "%s: %s", clq_status_name(status), text);
    TEST_CHECK(strlen(text) > 10 && strchr(text, '\n') == NULL, "\"%s\"", text);
}

/* ---- faults */

enum fault { NO_FAULT, CALL_FAILS, ALLOCATION_FAILS };

/* Runs the operation with its n-th call or allocation failing. False if it made fewer. */
static bool run_once(struct bench *b, const struct operation *operation, enum fault fault, long long n, struct test_allocator *allocator, clq_status *status)
{
    bool reached;
    atomic_store(&shim.failed, SHIM_CALLS);
    if (fault == CALL_FAILS) shim.fail_at = atomic_load(&shim.total) + n;
    if (fault == ALLOCATION_FAILS) allocator->fail_at = atomic_load(&allocator->calls) + n;
    *status = operation->run(b);
    reached = fault == CALL_FAILS ? atomic_load(&shim.failed) != SHIM_CALLS : atomic_load(&allocator->calls) >= allocator->fail_at;
    shim.fail_at = allocator->fail_at = 0;
    return reached && fault != NO_FAULT;
}

static bool is_repeatable(const struct bench *b, const struct operation *operation)
{
    return !operation->of_context && !is_on(b->place);
}

/* One fault, what it leads to, and the same again without. */
static bool fail_once(struct bench *b, const struct operation *operation, enum fault fault, long long n, bool no_fallback,
                      struct test_allocator *allocator, const struct values *expected, const clq_error_stats *stats)
{
    clq_status status;
    bool reached;
    int failed;

    reset(b);
    warnings = 0;
    reached = run_once(b, operation, fault, n, allocator, &status);
    failed = atomic_load(&shim.failed);
    test_note("%s %s, %s, %s %lld (%s): %s", operation->name, place_names[b->place], no_fallback ? "no fallback" : "fallback",
              fault == CALL_FAILS ? "call" : "allocation", n, shim_name(failed), status == CLQ_OK ? "CLQ_OK" : clq_context_error(b->context));
    TEST_CHECK(!atomic_load(&allocator->misused), "the allocator was misused");
    gather(b);
    if (status == CLQ_OK) {
        expect_same(b, expected, stats);
        TEST_CHECK(strcmp(clq_context_ran_on(b->context), "cpu") != 0 || is_on(b->place) || (warnings > 0 && !no_fallback) || operation->run == from_range ||
                       operation->of_context || operation->run == check || operation->run == observe, /* in place: on the CPU anyway */
                   "the CPU took over without a word");
    } else {
        TEST_CHECK(reached, "%s: %s", clq_status_name(status), clq_context_error(b->context));
        TEST_CHECK(no_fallback || !is_repeatable(b, operation) || fault == ALLOCATION_FAILS, "no fallback: %s", clq_context_error(b->context));
        expect_text(b->context, status, failed);
        expect_inputs(b, operation);
    }
    /* Without faults: there is nothing left of it. */
    TEST_OK(b->context, clq_context_synchronize(b->context));
    reset(b);
    warnings = 0;
    TEST_OK(b->context, operation->run(b));
    TEST_CHECK(warnings == 0, "the device failed again");
    gather(b);
    expect_same(b, expected, stats);
    return reached;
}

/* What the CPU makes of it. */
static void find_expected(const struct operation *operation, int64_t pitch, struct values *expected, clq_error_stats *stats)
{
    struct bench b = {.context = test_context(NULL, 1, NULL, NULL), .place = ZERO_COPY, .pitch = pitch};
    clq_status status;
    reset(&b);
    status = operation->run == events ? convert(&b) : operation->run(&b);
    TEST_CHECK(status == CLQ_OK, "on the CPU: %s", clq_context_error(b.context));
    *expected = b.now;
    *stats = b.stats;
    clq_context_free(b.context);
}

static void open_bench(struct bench *b, enum place place, bool no_fallback, struct test_allocator *allocator)
{
    char text[300] = "";
    b->place = place;
    b->pitch = place == STAGED ? PITCH : COLS;
    TEST_CHECK(create(allocator, no_fallback, text, &b->context) == CLQ_OK, "%s", text);
    TEST_OK(b->context, clq_buffer_create(b->context, sizeof b->now, &b->buffer));
}

static void close_bench(struct bench *b, const struct references *before, struct test_allocator *allocator)
{
    clq_context_free(b->context);
    clq_buffer_free(b->buffer);
    expect_references(before);
    TEST_CHECK(atomic_load(&allocator->live) == 0 && !atomic_load(&allocator->misused), "%lld pieces have leaked", atomic_load(&allocator->live));
}

/* All faults of an operation; each in a context of its own if `fresh`, so that also what is made only once fails. */
static void fail_everywhere(const struct operation *operation, enum place place, enum fault fault, bool no_fallback, bool fresh)
{
    static struct bench b;
    static struct values expected;
    const struct references before = count_references();
    struct test_allocator allocator = {0};
    clq_error_stats stats;
    bool reached = true;
    long long n = 0;

    find_expected(operation, place == STAGED ? PITCH : COLS, &expected, &stats);
    while (reached) {
        if (fresh || n == 0) open_bench(&b, place, no_fallback, &allocator);
        if (!fresh && n == 0) {
            reset(&b);
            TEST_OK(b.context, operation->run(&b));
        }
        reached = fail_once(&b, operation, fault, ++n, no_fallback, &allocator, &expected, &stats);
        if (fresh || !reached) close_bench(&b, &before, &allocator);
        TEST_CHECK(n < 5000, "no end");
    }
    if (getenv("CLQ_TEST_VERBOSE")) printf("%s %s: %lld\n", operation->name, place_names[place], n - 1);
    TEST_CHECK(n > 1 || fault == ALLOCATION_FAILS || operation->run == check || ((operation->run == from_range || operation->run == observe) && !is_on(place)),
               "%s %s: no call was made to fail", operation->name, place_names[place]);
}

/* ---- tests */

static void set_up(void)
{
    TEST_CHECK(find_device(), "no OpenCL device");
    fill_initial();
}

/* The loop runs over operations. */
START_TEST(calls_fail)
{
    const struct operation *const operation = &operations[_i];
    for (int place = 0; place < (operation->of_context ? 1 : PLACES); place++)
        for (int no_fallback = 0; no_fallback < (is_on(place) ? 1 : 2); no_fallback++)
            fail_everywhere(operation, place, CALL_FAILS, no_fallback, operation->run == warm_up);
}
END_TEST

/* Also what a context makes when it is first needed: programs, queues, staging memory. */
START_TEST(first_calls_fail)
{
    const struct operation *const operation = &operations[_i];
    for (int place = 0; place < (operation->of_context ? 1 : PLACES); place++) {
        /* A fresh context for each call takes long: all places for one operation, one place for each of the others. */
        if (operation->run != quantize && (test_quick() || place != _i % PLACES)) continue;
        for (int no_fallback = 0; no_fallback < 2; no_fallback++)
            fail_everywhere(operation, place, CALL_FAILS, no_fallback, true);
    }
}
END_TEST

START_TEST(allocations_fail)
{
    const struct operation *const operation = &operations[_i];
    for (int place = 0; place < (operation->of_context ? 1 : PLACES); place++) {
        fail_everywhere(operation, place, ALLOCATION_FAILS, true, true);
        fail_everywhere(operation, place, ALLOCATION_FAILS, false, false);
    }
}
END_TEST

/* The loop runs over calls, then allocations. */
START_TEST(context_fails)
{
    const struct references before = count_references();
    struct test_allocator allocator = {0};
    bool reached = true;

    for (long long n = 1; reached; n++) {
        struct bench b = {.place = STAGED, .pitch = PITCH};
        char text[300] = "";
        clq_status status;
        atomic_store(&shim.failed, SHIM_CALLS);
        atomic_store(&allocator.calls, 0);
        if (_i == 0) shim.fail_at = atomic_load(&shim.total) + n;
        if (_i == 1) allocator.fail_at = n;
        status = create(&allocator, false, text, &b.context);
        reached = _i == 0 ? atomic_load(&shim.failed) != SHIM_CALLS : atomic_load(&allocator.calls) >= n;
        shim.fail_at = allocator.fail_at = 0;
        test_note("creation, %lld (%s): %s", n, shim_name(atomic_load(&shim.failed)), text);
        TEST_CHECK((status == CLQ_OK) == (b.context != NULL), "status %s", clq_status_name(status));
        if (status == CLQ_OK) {
            TEST_CHECK(test_works(b.context, 1000, (uint64_t)n), "%s", clq_context_error(b.context));
            clq_context_free(b.context);
        } else {
            TEST_CHECK(reached, "%s", text);
            TEST_CHECK(status == CLQ_ERROR_DEVICE || status == CLQ_ERROR_OUT_OF_MEMORY || status == CLQ_ERROR_NO_DEVICE, "%s", clq_status_name(status));
            TEST_CHECK(strncmp(text, "cl", 2) == 0 && strchr(text, '\n') == NULL, "\"%s\"", text);
        }
        expect_references(&before);
        TEST_CHECK(atomic_load(&allocator.live) == 0 && !atomic_load(&allocator.misused), "%lld pieces have leaked", atomic_load(&allocator.live));
        TEST_CHECK(n < 5000, "no end");
    }
}
END_TEST

/* On a queue of the caller's, whose references are the caller's again afterwards. */
START_TEST(foreign_context_fails)
{
    struct clq_cl_device *devices = NULL;
    int32_t count = 0;
    cl_int code;
    bool reached = true;

    TEST_CHECK(clq_cl_devices_find(&clq_allocator_libc, &devices, &count) == CLQ_OK && count > 0, "no device");
    const cl_device_id device = devices[atoi(device_id + strlen("opencl:"))].id;
    const cl_context cl = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    const cl_command_queue queue = clCreateCommandQueue(cl, device, 0, &code);
    const struct references before = count_references();
    TEST_CHECK(queue != NULL, "no queue: %d", (int)code);
    for (long long n = 1; reached; n++) {
        clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
        clq_context *context;
        char text[300] = "";
        clq_status status;
        options.error_text = text;
        options.error_text_bytes = sizeof text;
        atomic_store(&shim.failed, SHIM_CALLS);
        shim.fail_at = atomic_load(&shim.total) + n;
        status = clq_context_create_opencl(&options, cl, device, queue, &context);
        reached = atomic_load(&shim.failed) != SHIM_CALLS;
        shim.fail_at = 0;
        test_note("creation on a queue, call %lld (%s): %s", n, shim_name(atomic_load(&shim.failed)), text);
        TEST_CHECK((status == CLQ_OK) == (context != NULL), "status %s", clq_status_name(status));
        TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_DEVICE, "%s", clq_status_name(status));
        TEST_CHECK(status == CLQ_OK ? context != NULL : text[0] != '\0', "no text");
        TEST_CHECK(status != CLQ_OK || test_works(context, 100, 1), "%s", clq_context_error(context));
        clq_context_free(context);
        expect_references(&before);
    }
    clReleaseCommandQueue(queue);
    clReleaseContext(cl);
    clq_dealloc(&clq_allocator_libc, devices);
}
END_TEST

/* A function that never works: no call hangs or crashes, and results are right wherever there are any. The loop runs over functions. */
START_TEST(function_never_works)
{
    static struct bench b;
    static struct values expected;
    const struct references before = count_references();
    struct test_allocator allocator = {0};
    clq_error_stats stats;

    for (int place = 0; place < PLACES; place++) {
        open_bench(&b, place, false, &allocator);
        for (size_t i = 0; i < TEST_COUNT_OF(operations); i++) {
            clq_status status;
            find_expected(&operations[i], b.pitch, &expected, &stats);
            reset(&b);
            shim.fail_call = _i;
            status = operations[i].run(&b);
            shim.fail_call = SHIM_CALLS;
            test_note("%s %s, %s never works: %s", operations[i].name, place_names[place], shim_name(_i), clq_context_error(b.context));
            gather(&b);
            if (status == CLQ_OK)
                expect_same(&b, &expected, &stats);
            else
                expect_inputs(&b, &operations[i]);
            TEST_CHECK(status == CLQ_OK || !is_repeatable(&b, &operations[i]), "no fallback");
            /* Whether earlier work had failed could not be asked either. */
            (void)clq_context_synchronize(b.context);
            TEST_OK(b.context, clq_context_synchronize(b.context));
        }
        TEST_CHECK(test_works(b.context, 5000, 7), "%s", clq_context_error(b.context));
        close_bench(&b, &before, &allocator);
    }
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("OpenCL faults");
    TCase *const tcase = test_case(suite, "faults");

    tcase_add_checked_fixture(tcase, set_up, NULL);
    tcase_add_loop_test(tcase, calls_fail, 0, TEST_COUNT_OF(operations));
    tcase_add_loop_test(tcase, first_calls_fail, 0, TEST_COUNT_OF(operations));
    tcase_add_loop_test(tcase, allocations_fail, 0, TEST_COUNT_OF(operations));
    tcase_add_loop_test(tcase, context_fails, 0, 2);
    tcase_add_test(tcase, foreign_context_fails);
    tcase_add_loop_test(tcase, function_never_works, 0, SHIM_CALLS);
    return test_run_opencl(suite);
}
