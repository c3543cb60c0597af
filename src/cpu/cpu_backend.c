/* SPDX-License-Identifier: MIT */
/* The CPU as a backend: which table of kernels serves a context, and how an operation is split among threads. */
#include "config.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#include "base/util.h"
#include "context.h"
#include "cpu/cpu_features.h"
#include "cpu/gemm_driver.h"
#include "cpu/walk.h"
#include "quant_math.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A thread is started for at least so many elements: below that its start costs more than it saves (a few microseconds). */
#define ELEMENTS_PER_TASK 65536

/* Operands of so many bytes are read and written past the caches: what a group of cores shares of the last level, and less than the whole of it where
   that is no faster than memory. */
#define STREAM_BYTES (INT64_C(32) << 20)

/* Sums of floating point are made in parts that depend on the shape alone, and added up in order. */
#define MAX_PARTS 64

/* A context's state on the CPU. A pointer to it is one to the table. */
struct cpu_state {
    struct clq_cpu_ops ops;
    void *workspace; /* of matrix products, kept from call to call: fresh memory costs more than a small product */
    int64_t workspace_bytes;
};

/* ------------------------------------------------------------------------------------------------ choice of a table */

static const char *const known_tables[] = {"amx", "avx512vnni", "avx512", "avxvnni", "avx2", "neondot", "neon", "scalar"};

/* NULL if the table can be used, else what is missing. */
static const char *find_obstacle(const struct clq_cpu_table *table)
{
    if (!table->has_instructions()) return "not on this CPU";
    if (!table->is_allowed()) return "not allowed by the operating system";
    if (!table->is_worth_it()) return "not worth it on this CPU";
    return NULL;
}

static const struct clq_cpu_table *find_best_table(void)
{
    const struct clq_cpu_table *table = clq_cpu_tables;
    while (find_obstacle(table))
        ++table; /* scalar has none */
    return table;
}

static clq_status choose_table(clq_context *context, const char *name, const char *source, const struct clq_cpu_table **chosen)
{
    *chosen = name ? NULL : find_best_table();
    if (!name) return CLQ_OK;
    for (int32_t i = 0; i < clq_cpu_table_count; ++i) {
        const char *obstacle;
        if (strcmp(name, clq_cpu_tables[i].ops->name) != 0) continue;
        obstacle = find_obstacle(&clq_cpu_tables[i]);
        if (obstacle) return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\": %s", source, name, obstacle);
        *chosen = &clq_cpu_tables[i];
        return CLQ_OK;
    }
    for (size_t i = 0; i < sizeof known_tables / sizeof known_tables[0]; ++i)
        if (strcmp(name, known_tables[i]) == 0)
            return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\": not in this build", source, name);
    return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT,
                    "clq_context_create: %s = \"%s\", must be amx, avx512vnni, avx512, avxvnni, avx2, neondot, neon or scalar", source, name);
}

static clq_status create(clq_context *context, const clq_context_options *options, const struct clq_option_sources *sources,
                         const void *foreign)
{
    const struct clq_cpu_table *table;
    struct cpu_state *state;
    (void)foreign;
    CLQ_TRY(choose_table(context, options->cpu, sources->cpu, &table));
    state = clq_alloc_zeroed(&context->allocator, 1, sizeof *state);
    if (!state) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "clq_context_create: no memory for a table of kernels");
    clq_cpu_ops_merge(table, &state->ops);
    context->cpu_state = state;
    clq_log(context, CLQ_LOG_INFO, "on the CPU: the table %s and up to %d threads", state->ops.name, (int)context->threads.count);
    return CLQ_OK;
}

static void destroy(clq_context *context)
{
    struct cpu_state *state = context->cpu_state;
    if (state) clq_dealloc(&context->allocator, state->workspace);
    clq_dealloc(&context->allocator, state);
}

static void describe(const clq_context *context, clq_device_info *info)
{
    const struct clq_cpu_ops *ops = context ? context->cpu_state : find_best_table()->ops;
    size_t n = 0;
    snprintf(info->id, sizeof info->id, "cpu");
    clq_cpu_name(info->name, sizeof info->name);
    snprintf(info->path, sizeof info->path, "%s", ops->name);
    for (int32_t i = 0; i < clq_cpu_table_count && n < sizeof info->tables; ++i) {
        const char *obstacle = find_obstacle(&clq_cpu_tables[i]);
        n += (size_t)snprintf(info->tables + n, sizeof info->tables - n, "%s%s%s%s%s", i ? ", " : "", clq_cpu_tables[i].ops->name,
                              obstacle ? " (" : "", obstacle ? obstacle : "", obstacle ? ")" : "");
    }
    info->num_threads = context ? context->threads.count : clq_threads_default();
    info->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

static int32_t list(const clq_context *context, clq_device_info *infos, int32_t capacity)
{
    if (capacity > 0) {
        memset(infos, 0, sizeof *infos);
        describe(context, infos);
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------------ split among threads */

/* An operation cut along one of its loops into parts; what each thread needs. */
struct job {
    struct clq_op *op;
    const struct clq_cpu_ops *ops;
    const struct clq_threads *threads;
    int32_t loop;
    int64_t unit; /* parts begin at multiples of it */
    int64_t parts;
    float *part_lo, *part_hi; /* minmax: param_count for each part; NULL: parts share no parameter */
    double *slopes, *outside; /* learnable gradients: param_count for each part, or for all if parts share no parameter */
    int64_t copies;           /* of them */
    struct clq_error_sums sums[MAX_PARTS];
};

static int64_t find_border(const struct job *job, int64_t part)
{
    const int64_t extent = job->op->loops[job->loop].extent;
    int64_t units;
    if (part == 0 || part == job->parts) return part ? extent : 0;
    units = clq_ceil_div(extent, job->unit);
    return (units / job->parts * part + units % job->parts * part / job->parts) * job->unit;
}

/* Where parts of loop `i` may begin. The innermost loop is cut at whole cache lines of any type; a 4-bit operand and a mask at whole bytes, which
   8 outermost steps always are. */
static int64_t find_unit(const struct clq_op *op, int32_t i)
{
    return i == op->rank - 1 ? 64 : clq_op_has_operand(op, CLQ_MASK) ? 8 : 2;
}

/* The outermost loop that is long enough, else the longest; only the outermost one keeps the parts of a 4-bit operand or a mask apart. */
static void choose_loop(struct job *job, int64_t parts)
{
    const struct clq_op *op = job->op;
    int64_t most = 0;
    job->parts = 1;
    if (parts == 1) return;
    for (int32_t i = 0; i < op->rank && most < parts; ++i) {
        const int64_t units = clq_ceil_div(op->loops[i].extent, find_unit(op, i));
        if (i > 0 && clq_op_is_packed(op)) break;
        if (units <= most) continue;
        most = units;
        job->loop = i;
        job->unit = find_unit(op, i);
    }
    job->parts = clq_min_i64(parts, most);
}

/* minmax: a loop along which parts share no parameter, cut where groups begin; false if there is none long enough. */
static bool choose_param_loop(struct job *job, int64_t parts)
{
    const struct clq_op *op = job->op;
    for (int32_t i = 0; i < op->rank; ++i) {
        const struct clq_loop *loop = &op->loops[i];
        if (loop->param_stride == 0 || clq_ceil_div(loop->extent, loop->group) < parts) continue;
        job->loop = i;
        job->unit = loop->group;
        job->parts = parts;
        return true;
    }
    return false;
}

static int64_t count_tasks(const struct clq_threads *threads, int64_t elements)
{
    return clq_max_i64(1, clq_min_i64(threads->count, elements / ELEMENTS_PER_TASK));
}

static bool does_stream(const struct clq_op *op)
{
    const int64_t most_bytes = 16; /* of an element's operands */
    int64_t bits = 0;
    if (op->count <= STREAM_BYTES / most_bytes) return false;
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        bits += clq_op_has_operand(op, k) ? clq_op_bits(op, k) : 0;
    return !op->in_place && op->count * bits > 8 * STREAM_BYTES;
}

static void run_part(void *argument, int64_t part)
{
    struct job *job = argument;
    struct clq_op *op = job->op;
    struct clq_walk walk; /* set field by field, as a span is */
    walk.op = op;
    walk.loop = job->loop;
    walk.begin = find_border(job, part);
    walk.end = find_border(job, part + 1);
    walk.lo = job->part_lo ? job->part_lo + part * op->param_count : op->lo;
    walk.hi = job->part_hi ? job->part_hi + part * op->param_count : op->hi;
    walk.ops = job->ops;
    walk.counts[0] = walk.counts[1] = walk.counts[2] = 0;
    walk.sums = &job->sums[op->kind == CLQ_OP_ERROR_STATS ? part : 0];
    walk.streams = does_stream(op);
    walk.slopes = walk.outside = NULL;
    if (job->slopes) {
        const int64_t first = job->copies == 1 ? 0 : part * op->param_count;
        walk.slopes = job->slopes + first;
        walk.outside = op->has_dzero_point ? job->outside + first : NULL;
    }
    if (walk.begin < walk.end) clq_walk_run(&walk);
    if (op->counted)
        for (int i = 0; i < 3; ++i)
            if (walk.counts[i]) __atomic_fetch_add(&op->counts[i], walk.counts[i], __ATOMIC_RELAXED);
}

/* One part needs no loop, and no second look at the floating-point mode. */
static void run_parts(struct job *job)
{
    if (job->parts == 1)
        run_part(job, 0);
    else
        clq_parallel_for(job->threads, job->parts, run_part, job);
}

static void run_elementwise(struct job *job)
{
    choose_loop(job, count_tasks(job->threads, job->op->count));
    run_parts(job);
}

static void add_sums(struct clq_error_sums *total, const struct clq_error_sums *part)
{
    total->count += part->count;
    total->nan += part->nan;
    total->inf += part->inf;
    total->squared_error += part->squared_error;
    total->absolute_error += part->absolute_error;
    total->squared_x += part->squared_x;
    total->squared_y += part->squared_y;
    total->product += part->product;
    total->max_error = fmaxf(total->max_error, part->max_error);
}

static void run_error_stats(struct job *job)
{
    choose_loop(job, clq_max_i64(1, clq_min_i64(MAX_PARTS, job->op->count / ELEMENTS_PER_TASK)));
    memset(job->sums, 0, (size_t)job->parts * sizeof job->sums[0]);
    run_parts(job);
    for (int64_t i = 0; i < job->parts; ++i)
        add_sums(&job->op->sums, &job->sums[i]);
}

static void fill_range(float *lo, float *hi, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        lo[i] = INFINITY;
        hi[i] = -INFINITY;
    }
}

/* No finite value: both 0. */
static void finish_range(float *lo, float *hi, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        const bool empty = lo[i] > hi[i];
        lo[i] = empty ? 0.0f : clqm_flush(lo[i]);
        hi[i] = empty ? 0.0f : clqm_flush(hi[i]);
    }
}

static void run_minmax(const clq_allocator *allocator, struct job *job)
{
    struct clq_op *op = job->op;
    const int64_t tasks = count_tasks(job->threads, op->count);
    fill_range(op->lo, op->hi, op->param_count);
    if (tasks == 1 || !choose_param_loop(job, tasks)) {
        choose_loop(job, tasks);
        /* Every loop has fewer than `tasks` parameters, so these arrays are small. Without them one part is as good. */
        if (job->parts > 1) job->part_lo = clq_alloc(allocator, 2 * job->parts * op->param_count, sizeof(float));
        if (job->part_lo) {
            job->part_hi = job->part_lo + job->parts * op->param_count;
            fill_range(job->part_lo, job->part_hi, job->parts * op->param_count);
        } else {
            job->loop = 0;
            job->parts = 1;
        }
    }
    run_parts(job);
    for (int64_t part = 0; job->part_lo && part < job->parts; ++part)
        for (int64_t p = 0; p < op->param_count; ++p) {
            const float lo = job->part_lo[part * op->param_count + p], hi = job->part_hi[part * op->param_count + p];
            op->lo[p] = lo < op->lo[p] ? lo : op->lo[p];
            op->hi[p] = hi > op->hi[p] ? hi : op->hi[p];
        }
    clq_dealloc(allocator, job->part_lo);
    finish_range(op->lo, op->hi, op->param_count);
}

/* Sums are made in parts that depend on the shape alone: each of its own parameters or, where there are not enough or they would be narrow columns,
   with a sum of its own for each, added up in order. */
static void split_learnable(struct job *job)
{
    const int64_t most_sums = 1 << 20, parts = clq_max_i64(1, clq_min_i64(MAX_PARTS, job->op->count / ELEMENTS_PER_TASK));
    const int64_t copies = clq_min_i64(parts, most_sums / job->op->param_count);
    job->loop = 0;
    job->copies = 1;
    if (choose_param_loop(job, parts) && (job->loop < job->op->rank - 1 || job->loop == 0 || copies < 8)) return;
    job->loop = 0;
    choose_loop(job, clq_max_i64(1, copies));
    job->copies = job->parts;
}

static void run_learnable(struct job *job)
{
    struct clq_op *op = job->op;
    split_learnable(job);
    job->slopes = op->gradient_sums;
    job->outside = job->slopes + job->copies * op->param_count;
    run_parts(job);
    for (int64_t p = 0; p < op->param_count; ++p) {
        double slope = 0, outside = 0;
        for (int64_t i = 0; i < job->copies; ++i) {
            slope += job->slopes[i * op->param_count + p];
            outside += job->outside[i * op->param_count + p];
        }
        op->dscale[p] = (float)((double)op->gradient_scale * slope);
        if (op->has_dzero_point) op->dzero_point[p] = (float)((double)op->gradient_scale * -(double)op->scale[p] * outside);
    }
}

/* Zeroed memory for the gradients' sums, for all of them in one piece: the caller's allocator is only for the caller's thread. */
static clq_status make_gradient_sums(clq_context *context, struct clq_op *const *ops, int64_t n, double **sums)
{
    for (int pass = 0; pass < 2; ++pass) {
        int64_t at = 0;
        for (int64_t i = 0; i < n; ++i) {
            struct job job;
            if (ops[i]->kind != CLQ_OP_BACKWARD_LEARNABLE) continue;
            job.op = ops[i];
            split_learnable(&job);
            if (pass == 1) ops[i]->gradient_sums = *sums + at;
            at += 2 * job.copies * ops[i]->param_count;
        }
        if (at == 0) return CLQ_OK;
        if (pass == 0) *sums = clq_alloc_zeroed(&context->allocator, at, sizeof **sums);
        if (!*sums) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory for %lld sums of gradients", context->call, (long long)at);
    }
    return CLQ_OK;
}

/* Ranges become averages: what follows reads them from there. */
static void update_averages(const struct clq_op *op, int64_t begin, int64_t n)
{
    for (int64_t i = begin; i < begin + n; ++i) {
        const float old_lo = clqm_flush(op->average_lo[i]), old_hi = clqm_flush(op->average_hi[i]);
        const bool empty = old_lo > old_hi;
        const float lo = empty ? op->lo[i] : clqm_moving_average(old_lo, op->lo[i], op->averaging);
        const float hi = empty ? op->hi[i] : clqm_moving_average(old_hi, op->hi[i], op->averaging);
        op->average_lo[i] = lo;
        op->average_hi[i] = hi < lo ? lo : hi;
    }
}

/* The parameters [begin, begin + n) from their ranges. */
static void derive_params(const struct clq_op *op, const struct clq_cpu_ops *ops, int64_t begin, int64_t n)
{
    const float *lo = op->averaged ? op->average_lo : op->lo, *hi = op->averaged ? op->average_hi : op->hi;
    if (op->averaged) update_averages(op, begin, n);
    ops->qparams_from_range(lo + begin, hi + begin, n, &op->rule, op->scale_out + begin, op->has_zero_point ? op->zero_point_out + begin : NULL);
}

static void run_qparams_part(void *argument, int64_t part)
{
    const struct job *job = argument;
    const int64_t begin = find_border(job, part);
    derive_params(job->op, job->ops, begin, find_border(job, part + 1) - begin);
}

static void run_multipliers_part(void *argument, int64_t part)
{
    const struct job *job = argument;
    const struct clq_op *op = job->op;
    const int64_t end = find_border(job, part + 1);
    for (int64_t i = find_border(job, part); i < end; ++i) {
        const int64_t source = op->is_single ? 0 : i, target = op->is_target_single ? 0 : i;
        op->scale_out[i] = clqm_multiplier(op->scale[source], op->target_scale[target]);
        op->source_zero_point[i] = op->has_zero_point ? op->zero_point[source] : op->fixed_zero_point;
        op->zero_point_out[i] = op->has_target_zero_point ? op->target_zero_point[target] : op->fixed_target_zero_point;
    }
}

/* The parameters are the one loop here. */
static void run_params(struct job *job, clq_task_fn run_params_part)
{
    job->op->rank = 1;
    job->op->loops[0] = (struct clq_loop){.extent = job->op->param_count};
    job->unit = 64;
    job->parts = count_tasks(job->threads, job->op->param_count);
    clq_parallel_for(job->threads, job->parts, run_params_part, job);
}

/* ------------------------------------------------------------------------------------------------ matrix products */

static void run_gemm(const clq_context *context, const struct clq_threads *threads, const struct clq_gemm *gemm)
{
    const struct cpu_state *state = context->cpu_state;
    if (gemm->a.dtype == CLQ_F32)
        clq_gemm_f32_run(threads, gemm);
    else
        clq_gemm_run(&state->ops, threads, gemm, state->workspace);
}

/* Makes the workspace large enough for each of the products, which are run one after the other. */
static clq_status reserve_workspace(clq_context *context, struct clq_op *const *ops, int64_t n)
{
    struct cpu_state *state = context->cpu_state;
    int64_t bytes = 0;
    for (int64_t i = 0; i < n; ++i)
        if (ops[i]->kind == CLQ_OP_GEMM && ops[i]->gemm->a.dtype != CLQ_F32)
            bytes = clq_max_i64(bytes, clq_gemm_workspace(&state->ops, &context->threads, ops[i]->gemm));
    if (bytes <= state->workspace_bytes) return CLQ_OK;
    clq_dealloc(&context->allocator, state->workspace);
    state->workspace_bytes = 0;
    state->workspace = clq_alloc(&context->allocator, bytes, 1);
    if (!state->workspace) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory for a workspace of %lld bytes", context->call, (long long)bytes);
    state->workspace_bytes = bytes;
    return CLQ_OK;
}

static clq_status pack(clq_context *context, const struct clq_matrix *b, struct clq_packed *packed)
{
    const clq_fp_mode mode = clq_fp_mode_enter(); /* for the runtime that starts threads */
    const bool done = clq_gemm_pack(context->cpu_state, &context->threads, b, packed);
    clq_fp_mode_leave(mode);
    if (done) return CLQ_OK;
    return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "clq_packed_create: no memory for %lld matrices of %lld x %lld", (long long)packed->batch,
                    (long long)packed->k, (long long)packed->n);
}

static void unpack(struct clq_packed *packed)
{
    clq_dealloc(&packed->allocator, packed->data);
    clq_dealloc(&packed->allocator, packed->col_sums);
}

static bool accepts(const clq_context *context, const struct clq_packed *packed)
{
    const struct clq_cpu_ops *ops = context->cpu_state;
    return packed->path == ops->gemm;
}

/* ------------------------------------------------------------------------------------------------ operations */

static void run_op(const clq_context *context, const struct clq_threads *threads, struct clq_op *op)
{
    struct job job; /* its sums are set where they are used */
    job.op = op;
    job.ops = context->cpu_state;
    job.threads = threads;
    job.loop = 0;
    job.unit = job.parts = 1;
    job.part_lo = job.part_hi = NULL;
    job.slopes = job.outside = NULL;
    job.copies = 0;
    switch (op->kind) {
    case CLQ_OP_CONVERT:
    case CLQ_OP_QUANTIZE:
    case CLQ_OP_DEQUANTIZE:
    case CLQ_OP_REQUANTIZE:
    case CLQ_OP_FAKE_QUANTIZE:
    case CLQ_OP_BACKWARD: run_elementwise(&job); break;
    case CLQ_OP_MINMAX: run_minmax(&context->allocator, &job); break;
    case CLQ_OP_QPARAMS: run_params(&job, run_qparams_part); break;
    case CLQ_OP_MULTIPLIERS: run_params(&job, run_multipliers_part); break;
    case CLQ_OP_ERROR_STATS: run_error_stats(&job); break;
    case CLQ_OP_BACKWARD_LEARNABLE: run_learnable(&job); break;
    case CLQ_OP_GEMM: run_gemm(context, threads, op->gemm); break;
    }
}

/* ------------------------------------------------------------------------------------------------ chains */

/* Bytes of a float tensor that stay in the second-level cache from one step to the next. */
#define CHAIN_BYTES (256 << 10)

/* Range, parameters and values of a tensor, one part after the other: each is read from memory once. */
struct chain {
    struct clq_op *range, *params, *values;
    struct job job; /* of the values, cut along the outermost loop */
};

/* The steps follow each other, and can be cut along the outermost loop. */
static bool is_chain(const struct clq_op *op)
{
    const struct clq_op *params = op->then, *values = params ? params->then : NULL;
    if (op->kind != CLQ_OP_MINMAX || !values || params->kind != CLQ_OP_QPARAMS || values->then) return false;
    if (values->kind != CLQ_OP_QUANTIZE && values->kind != CLQ_OP_FAKE_QUANTIZE) return false;
    if (op->counted || op->rank != values->rank || !clq_op_has_outer_params(op)) return false;
    for (int32_t i = 0; i < op->rank; ++i) {
        const struct clq_loop *a = &op->loops[i], *b = &values->loops[i];
        if (a->extent != b->extent || a->param_stride != b->param_stride || a->group != b->group || a->stride[0] != b->stride[0]) return false;
    }
    return true;
}

static void run_chain_part(void *argument, int64_t part)
{
    struct chain *chain = argument;
    const struct clq_loop *outer = &chain->values->loops[0];
    const int64_t begin = find_border(&chain->job, part), end = find_border(&chain->job, part + 1);
    const int64_t first = begin / outer->group * outer->param_stride, n = clq_ceil_div(end, outer->group) * outer->param_stride - first;
    struct clq_walk walk = {.op = chain->range, .ops = chain->job.ops, .begin = begin, .end = end, .lo = chain->range->lo, .hi = chain->range->hi};
    fill_range(walk.lo + first, walk.hi + first, n);
    clq_walk_run(&walk);
    finish_range(walk.lo + first, walk.hi + first, n);
    derive_params(chain->params, chain->job.ops, first, n);
    run_part(&chain->job, part);
}

static void run_in_parts(const clq_context *context, const struct clq_threads *threads, struct clq_op *op)
{
    struct chain chain = {.range = op, .params = op->then, .values = op->then->then};
    const struct clq_loop *outer = &op->loops[0];
    chain.job = (struct job){.op = chain.values, .ops = context->cpu_state, .threads = threads};
    /* So many groups begin where an element of any operand begins a byte. */
    chain.job.unit = outer->group * (clq_op_is_packed(chain.values) ? 8 : 1);
    chain.job.parts = clq_min_i64(clq_ceil_div(outer->extent, chain.job.unit), clq_ceil_div(op->count * clq_op_bits(op, 0) / 8, CHAIN_BYTES));
    clq_parallel_for(threads, chain.job.parts, run_chain_part, &chain);
}

/* An operation and what is to follow it. */
static void run_all(const clq_context *context, const struct clq_threads *threads, struct clq_op *op)
{
    if (is_chain(op)) {
        run_in_parts(context, threads, op);
        return;
    }
    for (; op; op = op->then)
        run_op(context, threads, op);
}

/* ------------------------------------------------------------------------------------------------ several operations */

static int64_t count_elements(const struct clq_op *op)
{
    int64_t count = 0;
    if (op->kind == CLQ_OP_GEMM) return INT64_MAX; /* it has threads of its own, and the workspace */
    for (; op; op = op->then)
        count += op->count;
    return count;
}

/* Operations of a batch, cut into shares of about as many elements. */
struct batch {
    const clq_context *context;
    struct clq_op *const *ops;
    int64_t n, shares;
    int64_t small_elements, small_limit; /* operations of fewer elements than the limit are shared out, each to one thread */
};

/* An operation belongs to the share in which its first element falls. */
static void run_share(void *argument, int64_t share)
{
    const struct batch *batch = argument;
    const struct clq_threads alone = {.count = 1};
    const int64_t per_share = clq_ceil_div(batch->small_elements, batch->shares);
    int64_t at = 0;
    for (int64_t i = 0; i < batch->n; ++i) {
        struct clq_op *op = batch->ops[i];
        const int64_t count = count_elements(op);
        if (count >= batch->small_limit) continue;
        if (at / per_share == share) run_all(batch->context, &alone, op);
        at += count;
    }
}

static void run_batch(const clq_context *context, struct clq_op *const *ops, int64_t n)
{
    const struct clq_threads *threads = &context->threads;
    struct batch batch = {.context = context, .ops = ops, .n = n, .small_limit = (int64_t)threads->count * ELEMENTS_PER_TASK};
    for (int64_t i = 0; i < n; ++i) {
        const int64_t count = count_elements(ops[i]);
        if (count >= batch.small_limit || threads->count == 1)
            run_all(context, threads, ops[i]);
        else
            batch.small_elements += count; /* n operations of less than 2^26 elements */
    }
    if (batch.small_elements == 0) return;
    batch.shares = clq_min_i64(n, 4 * count_tasks(threads, batch.small_elements));
    clq_parallel_for(threads, batch.shares, run_share, &batch);
}

static bool supports(const clq_context *context, const struct clq_op *op)
{
    (void)context;
    return !clq_op_is_on_device(op);
}

static clq_status run(clq_context *context, struct clq_op *const *ops, int64_t n)
{
    const clq_fp_mode mode = context->fp_mode; /* still, and costly to read */
    double *sums = NULL;
    uint32_t kinds = 0;
    clq_status status = CLQ_OK;
    clq_fp_mode_enter_from(mode);
    for (int64_t i = 0; i < n; ++i)
        kinds |= 1u << ops[i]->kind;
    if (kinds & 1u << CLQ_OP_GEMM) status = reserve_workspace(context, ops, n);
    if (status == CLQ_OK && kinds & 1u << CLQ_OP_BACKWARD_LEARNABLE) status = make_gradient_sums(context, ops, n, &sums);
    if (status == CLQ_OK && n == 1)
        run_all(context, &context->threads, ops[0]);
    else if (status == CLQ_OK)
        run_batch(context, ops, n);
    clq_dealloc(&context->allocator, sums);
    clq_fp_mode_leave(mode);
    return status;
}

const struct clq_backend clq_backend_cpu = {.name = "cpu",
                                            .create = create,
                                            .destroy = destroy,
                                            .supports = supports,
                                            .run = run,
                                            .pack = pack,
                                            .unpack = unpack,
                                            .accepts = accepts,
                                            .describe = describe,
                                            .list = list};
