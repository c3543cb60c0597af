/* SPDX-License-Identifier: MIT */
/*
 * Which unit makes a context's integer matrix products, and how fast its tilings are. What was found by trying is kept beside the compiled programs, for the
 * same device, driver and kernels.
 */
#include "config.h"

#include "base/alloc.h"
#include "base/util.h"
#include "opencl/cl_state.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CLOCK_GHZ 1.5f /* of a compute unit, for tilings that nobody has measured: a guess that all of them share */

/* Rates are noted in so many parts, as integers are written the same in every locale. */
#define NOTED_RATE 1000.0f
#define MOST_NOTED 9.9e8f /* nine digits */

/* ------------------------------------------------------------------------------------------------ notes */

#define SUBJECT_BYTES 1024

/* Everything that a note on a unit is about but the kernels' sources. */
static void note_key(const struct clq_cl_programs *programs, const struct clq_cl_unit *unit, const char *kind, uint8_t key[CLQ_CL_CACHE_KEY_BYTES])
{
    char subject[SUBJECT_BYTES];
    int n = snprintf(subject, sizeof subject, "%s of %s %s", kind, unit->name, unit->options);
    for (int i = 0; i < CLQ_CL_TILINGS && unit->tilings[i].m > 0 && n < SUBJECT_BYTES; ++i)
        n += snprintf(subject + n, (size_t)(SUBJECT_BYTES - n), "; %d %d %d%s", (int)unit->tilings[i].m, (int)unit->tilings[i].n,
                      (int)unit->tilings[i].local_size, unit->tilings[i].defines);
    clq_cl_programs_note_key(programs, subject, key);
}

/* True, and a text, if there is one. */
static bool load_note(const struct clq_cl_programs *programs, const clq_allocator *allocator, const struct clq_cl_unit *unit, const char *kind, char *text,
                      size_t size_bytes)
{
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES], *bytes = NULL;
    size_t n = 0;
    note_key(programs, unit, kind, key);
    if (!clq_cl_cache_load(&programs->cache, allocator, key, &bytes, &n)) return false;
    snprintf(text, size_bytes, "%.*s", (int)clq_min_i64((int64_t)n, 1024), (const char *)bytes);
    clq_dealloc(allocator, bytes);
    return true;
}

static void store_note(const struct clq_cl_programs *programs, const struct clq_cl_unit *unit, const char *kind, const char *text)
{
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES];
    note_key(programs, unit, kind, key);
    clq_cl_cache_store(&programs->cache, key, (const uint8_t *)text, strlen(text));
}

/* ------------------------------------------------------------------------------------------------ a product to try */

/* u8 by s8 to s32, K adjacent in both operands. */
struct trial {
    struct clq_gemm gemm;
    cl_mem memory; /* A, B and C, one after the other */
    int64_t c_offset;
};

static uint8_t element(uint64_t i)
{
    return (uint8_t)((i * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
}

/* Without a trial->memory there is nothing to close. Kernels that read u8 as s8 are to find neither operand's zero point: then none is packed. */
static clq_status open_trial(clq_context *context, const struct clq_cl_unit *unit, struct trial *trial, int64_t m, int64_t n, int64_t k)
{
    static const float one = 1.0f;
    struct clq_cl_state *state = clq_cl_state_of(context);
    const struct clq_gemm_params none = {.scale = &one, .is_single = true};
    const int64_t pitch = clq_ceil_div(k, 16) * 16;
    int64_t bytes = 0;
    const int64_t a = clq_cl_take(&bytes, m * pitch), b = clq_cl_take(&bytes, n * pitch), filled = bytes, c = clq_cl_take(&bytes, 4 * m * n);
    uint8_t *host = clq_alloc(&context->allocator, filled, 1);
    cl_int code = CL_OUT_OF_HOST_MEMORY;
    *trial = (struct trial){.c_offset = c};
    if (host) trial->memory = clCreateBuffer(state->cl, CL_MEM_READ_WRITE, (size_t)bytes, NULL, &code);
    if (trial->memory) {
        for (int64_t i = 0; i < filled; ++i)
            host[i] = element((uint64_t)i);
        code = clEnqueueWriteBuffer(state->main.queue, trial->memory, CL_TRUE, 0, (size_t)filled, host, 0, NULL, NULL);
    }
    clq_dealloc(&context->allocator, host);
    if (code != CL_SUCCESS) return clq_cl_fail(context, "a trial's memory", code);
    trial->gemm = (struct clq_gemm){.batch = 1, .m = m, .n = n, .k = k, .a_params = none, .b_params = none, .low = 0.0f, .high = 0.0f,
                                    .a = {CLQ_U8, trial->memory, (void *)(uintptr_t)a, 0, pitch, 1},
                                    .b = {CLQ_S8, trial->memory, (void *)(uintptr_t)b, 0, 1, pitch},
                                    .c = {CLQ_S32, trial->memory, (void *)(uintptr_t)c, 0, n, 1}};
    if (!unit->takes_u8) trial->gemm.a_params.fixed_zero_point = 128;
    return CLQ_OK;
}

static void close_trial(struct trial *trial)
{
    if (trial->memory) clReleaseMemObject(trial->memory);
}

static bool is_right(const struct trial *trial, const int32_t *results)
{
    const struct clq_gemm *gemm = &trial->gemm;
    const uint64_t a = (uint64_t)(uintptr_t)gemm->a.data, b = (uint64_t)(uintptr_t)gemm->b.data;
    for (int64_t i = 0; i < gemm->m; ++i)
        for (int64_t j = 0; j < gemm->n; ++j) {
            int32_t sum = 0;
            for (int64_t k = 0; k < gemm->k; ++k)
                sum += (element(a + (uint64_t)(i * gemm->a.row_stride + k)) - gemm->a_params.fixed_zero_point) *
                       (int8_t)element(b + (uint64_t)(j * gemm->b.col_stride + k));
            if (results[i * gemm->n + j] != sum) return false;
        }
    return true;
}

#define WRONG "wrong numbers"

/* Runs a product and looks at what comes out; says what is wrong, or "". */
static void try_product(clq_context *context, const struct clq_cl_unit *unit, int tiling, int64_t m, int64_t n, int64_t k, char *fault, size_t size_bytes)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct trial trial;
    int32_t *results = clq_alloc(&context->allocator, m * n, sizeof *results);
    clq_status status = results ? open_trial(context, unit, &trial, m, n, k) : clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory for a trial");
    fault[0] = '\0';
    if (status == CLQ_OK) status = clq_cl_multiply_with(context, &trial.gemm, unit, tiling);
    if (status == CLQ_OK) {
        cl_int code = clq_cl_queue_read(&state->main, trial.memory, (size_t)trial.c_offset, (size_t)(4 * m * n), results, NULL);
        if (code == CL_SUCCESS) code = clq_cl_queue_finish(&state->main);
        if (code != CL_SUCCESS) status = clq_cl_fail(context, "a trial", code);
    }
    if (status != CLQ_OK)
        snprintf(fault, size_bytes, "%.80s", context->error_text);
    else if (!is_right(&trial, results))
        snprintf(fault, size_bytes, WRONG);
    if (results) close_trial(&trial);
    clq_dealloc(&context->allocator, results);
}

/* With results that are stored one by one, and with a K whose end is cut off and results that are stored by fours. */
static void try_kernel(clq_context *context, const struct clq_cl_unit *unit, int tiling, int64_t m, int64_t n, char *fault, size_t size_bytes)
{
    try_product(context, unit, tiling, m + 3, n + 5, 208, fault, size_bytes);
    if (!fault[0]) try_product(context, unit, tiling, m + 1, n + 4, 203, fault, size_bytes);
}

/* ------------------------------------------------------------------------------------------------ the unit */

/* A fault of the kernel's own. Others may be gone the next time. */
static bool is_lasting(const char *fault)
{
    return strstr(fault, WRONG) || strstr(fault, "CL_BUILD_PROGRAM_FAILURE") || strstr(fault, "CL_INVALID_WORK_GROUP_SIZE");
}

/* Tries all kernels of a unit: the numbers of the tilings that are right, '-' for the others; or "no: " and what is wrong. False if it may be another verdict
   the next time. */
static bool try_unit(clq_context *context, const struct clq_cl_unit *unit, char *verdict, size_t size_bytes)
{
    const struct clq_cl_device *device = &clq_cl_state_of(context)->programs.device;
    char fault[100], last[100] = "no tiling fits", tilings[CLQ_CL_TILINGS + 1] = "";
    bool any = false, lasts = true;
    for (int i = 0; i < CLQ_CL_TILINGS; ++i) {
        const struct clq_cl_tiling *tiling = &unit->tilings[i];
        tilings[i] = '-';
        if (!clq_cl_tiling_fits(unit, tiling, device)) continue;
        try_kernel(context, unit, i, tiling->m, tiling->n, fault, sizeof fault);
        if (fault[0])
            memcpy(last, fault, sizeof last);
        else
            tilings[i] = (char)('0' + i);
        any = any || !fault[0];
        lasts = lasts && (!fault[0] || is_lasting(fault));
    }
    if (any) {
        try_kernel(context, unit, CLQ_CL_ROWS, 0, 32, fault, sizeof fault);
        if (fault[0]) memcpy(last, fault, sizeof last);
        any = !fault[0];
        lasts = lasts && (any || is_lasting(fault));
    }
    snprintf(verdict, size_bytes, any ? "%s" : "no: %s", any ? tilings : last);
    return lasts;
}

/* The same with a queue and memory of its own: the context's may hold work that waits for what the caller is yet to do, and whose failures are not the unit's. */
static bool try_apart(clq_context *context, const struct clq_cl_unit *unit, char *verdict, size_t size_bytes)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const struct clq_cl_queue queue = state->main;
    const struct clq_cl_arena work = state->work;
    struct clq_cl_block *const blocks = state->blocks, *const held = state->held;
    const clq_log_fn log = context->log;
    cl_int code = CL_SUCCESS;
    bool lasts = false;
    state->main = (struct clq_cl_queue){.queue = clCreateCommandQueue(state->cl, state->programs.device.id, 0, &code)};
    state->work = (struct clq_cl_arena){.memory = NULL};
    state->blocks = state->held = NULL;
    context->log = NULL; /* a failure is one of this trial alone */
    if (state->main.queue)
        lasts = try_unit(context, unit, verdict, size_bytes);
    else
        snprintf(verdict, size_bytes, "no: clCreateCommandQueue: %s", clq_cl_error_name(code));
    clq_cl_queue_finish(&state->main);
    clq_cl_blocks_free(context);
    if (state->work.memory) clReleaseMemObject(state->work.memory);
    if (state->main.queue) clReleaseCommandQueue(state->main.queue);
    state->main = queue;
    state->work = work;
    state->blocks = blocks;
    state->held = held;
    context->log = log;
    context->error_text[0] = '\0';
    return lasts;
}

static bool is_refused(const char *verdict)
{
    return strncmp(verdict, "no: ", 4) == 0;
}

/* The one whose failure leaves no other to take. */
static bool is_last_resort(const struct clq_cl_unit *unit)
{
    static const struct clq_cl_device nothing;
    return !unit->find_obstacle(&nothing);
}

/* A unit's verdict in the cache. One that refuses the last resort is not believed: it would save nothing. */
static bool load_verdict(const struct clq_cl_programs *programs, const clq_allocator *allocator, const struct clq_cl_unit *unit, char *verdict,
                         size_t size_bytes)
{
    if (!load_note(programs, allocator, unit, "verdict", verdict, size_bytes)) return false;
    return is_refused(verdict) ? !is_last_resort(unit) : strpbrk(verdict, "0123") != NULL;
}

/* The same from the cache, or by trying. */
static void get_verdict(clq_context *context, const struct clq_cl_unit *unit, char *verdict, size_t size_bytes)
{
    const struct clq_cl_programs *programs = &clq_cl_state_of(context)->programs;
    if (load_verdict(programs, &context->allocator, unit, verdict, size_bytes)) return;
    if (try_apart(context, unit, verdict, size_bytes)) store_note(programs, unit, "verdict", verdict);
}

static void set_rates(clq_context *context, const struct clq_cl_unit *unit, const char *verdict)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    char tuned[160];
    int measured[CLQ_CL_TILINGS] = {0};
    const bool is_tuned = load_note(&state->programs, &context->allocator, unit, "tuning", tuned, sizeof tuned) &&
                          sscanf(tuned, "%9d %9d %9d %9d", &measured[0], &measured[1], &measured[2], &measured[3]) == CLQ_CL_TILINGS;
    for (int i = 0; i < CLQ_CL_TILINGS; ++i) {
        const bool is_right = (size_t)i < strlen(verdict) && verdict[i] == (char)('0' + i);
        const float rate = is_tuned && measured[i] > 0 ? (float)measured[i] / NOTED_RATE : (float)unit->macs * CLOCK_GHZ * unit->tilings[i].efficiency;
        state->products.rate[i] = is_right ? rate : 0.0f;
    }
}

/* What is said of units that the device has but that failed. */
static void add_reason(char *reason, size_t size_bytes, const char *name, const char *verdict)
{
    const size_t n = strlen(reason);
    snprintf(reason + n, size_bytes - n, "%snot %s: %s", n ? "; " : "", name, verdict + 4);
}

clq_status clq_cl_find_unit(clq_context *context)
{
    struct clq_cl_products *products = &clq_cl_state_of(context)->products;
    const struct clq_cl_device *device = &clq_cl_state_of(context)->programs.device;
    char verdict[120], reason[200] = "";
    if (products->unit) return CLQ_OK;
    for (int32_t i = 0; i < clq_cl_unit_count; ++i) {
        const struct clq_cl_unit *unit = &clq_cl_units[i];
        if (products->wanted ? unit != products->wanted : unit->by_name_only || unit->find_obstacle(device)) continue;
        get_verdict(context, unit, verdict, sizeof verdict);
        if (!is_refused(verdict)) {
            products->unit = unit;
            set_rates(context, unit, verdict);
            clq_log(context, CLQ_LOG_INFO, "integer matrix products by %s%s%s", unit->name, reason[0] ? "; " : "", reason);
            return CLQ_OK;
        }
        add_reason(reason, sizeof reason, unit->name, verdict);
    }
    return clq_fail(context, CLQ_ERROR_NO_DEVICE, "%s: no kernels for matrix products: %s", context->call, reason);
}

void clq_cl_describe_unit(const struct clq_cl_programs *programs, const clq_allocator *allocator, const struct clq_cl_products *products, char *text,
                          size_t size_bytes)
{
    const struct clq_cl_unit *wanted = products->wanted, *found = products->unit;
    char verdict[120], tuned[160], reason[200] = "";
    for (int32_t i = 0; i < clq_cl_unit_count; ++i) {
        const struct clq_cl_unit *unit = &clq_cl_units[i];
        bool is_known;
        if (wanted ? unit != wanted : unit->by_name_only || unit->find_obstacle(&programs->device)) continue;
        is_known = load_verdict(programs, allocator, unit, verdict, sizeof verdict);
        if (found ? unit == found : !is_known || !is_refused(verdict)) {
            const bool is_tuned = is_known && load_note(programs, allocator, unit, "tuning", tuned, sizeof tuned);
            snprintf(text, size_bytes, "%s: %s%s%s%s%s", unit->name, wanted ? "asked for" : "the best that the device has",
                     is_known || found ? ", its numbers are right" : ", not tried yet", is_tuned ? ", tuned" : "", reason[0] ? "; " : "", reason);
            return;
        }
        add_reason(reason, sizeof reason, unit->name, is_known && is_refused(verdict) ? verdict : "no: it failed its trial");
    }
    snprintf(text, size_bytes, "none works: %s", reason);
}

/* ------------------------------------------------------------------------------------------------ tuning */

#define TUNING_WAVES  4     /* of work-groups on every compute unit */
#define TUNING_NS     4e6   /* that a measured product takes at least, unless its K has */
#define TUNING_MOST_K 16384
#define TUNING_RUNS   5

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The least time of some runs, in nanoseconds. */
static clq_status time_product(clq_context *context, const struct trial *trial, const struct clq_cl_unit *unit, int tiling, double *least)
{
    *least = 0.0;
    for (int run = 0; run <= TUNING_RUNS; ++run) {
        const double start = now_ns();
        double taken;
        cl_int code;
        CLQ_TRY(clq_cl_multiply_with(context, &trial->gemm, unit, tiling));
        CL_TRY(context, clFlush(clq_cl_state_of(context)->main.queue));
        code = clq_cl_queue_finish(&clq_cl_state_of(context)->main);
        if (code != CL_SUCCESS) return clq_cl_fail(context, "a measured product", code);
        taken = now_ns() - start;
        if (run == 1 || (run > 1 && taken < *least)) *least = taken; /* the first one may compile */
    }
    return CLQ_OK;
}

static clq_status measure(clq_context *context, const struct clq_cl_unit *unit, int tiling, float *rate)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    const int64_t units = clq_max_i64(1, state->programs.device.compute_units), m = unit->tilings[tiling].m * TUNING_WAVES, n = unit->tilings[tiling].n * units;
    double ns = 0.0;
    for (int64_t k = 256;; k *= 2) {
        struct trial trial;
        clq_status status = open_trial(context, unit, &trial, m, n, k);
        if (status == CLQ_OK) status = time_product(context, &trial, unit, tiling, &ns);
        close_trial(&trial);
        if (status != CLQ_OK) return status;
        *rate = (float)((double)m * (double)n * (double)k / (ns > 1.0 ? ns : 1.0) / (double)units);
        if (ns >= TUNING_NS || k >= TUNING_MOST_K) return CLQ_OK;
    }
}

clq_status clq_cl_tune(clq_context *context)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_products *products = &state->products;
    int noted[CLQ_CL_TILINGS] = {0};
    float rate[CLQ_CL_TILINGS] = {0.0f};
    char text[160];
    CLQ_TRY(clq_cl_find_unit(context));
    for (int i = 0; i < CLQ_CL_TILINGS; ++i) {
        if (products->rate[i] <= 0.0f) continue;
        CLQ_TRY(measure(context, products->unit, i, &rate[i]));
        noted[i] = (int)fminf(fmaxf(rate[i] * NOTED_RATE, 1.0f), MOST_NOTED);
    }
    /* Measured rates are compared with measured ones alone. */
    memcpy(products->rate, rate, sizeof rate);
    snprintf(text, sizeof text, "%d %d %d %d", noted[0], noted[1], noted[2], noted[3]);
    store_note(&state->programs, products->unit, "tuning", text);
    return CLQ_OK;
}
