/* SPDX-License-Identifier: MIT */
/* The CPU as a backend: which table of kernels serves a context, and how an operation is split among threads. */
#include "config.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#include "base/util.h"
#include "context.h"
#include "cpu/cpu_features.h"
#include "cpu/walk.h"
#include "quant_math.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A thread is started for at least so many elements: below that its start costs more than it saves (a few microseconds). */
#define ELEMENTS_PER_TASK 65536

/* Sums of floating point are made in parts that depend on the shape alone, and added up in order. */
#define MAX_PARTS 64

/* ------------------------------------------------------------------------------------------------ choice of a table */

static const char *const known_tables[] = {"avx512", "avx2", "neon", "scalar"};

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
    *chosen = find_best_table();
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
    return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: %s = \"%s\", must be avx512, avx2, neon or scalar", source, name);
}

static clq_status create(clq_context *context, const clq_context_options *options, const struct clq_option_sources *sources,
                         const void *foreign)
{
    const struct clq_cpu_table *table;
    struct clq_cpu_ops *ops;
    (void)foreign;
    CLQ_TRY(choose_table(context, options->cpu, sources->cpu, &table));
    ops = clq_alloc(&context->allocator, 1, sizeof *ops);
    if (!ops) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "clq_context_create: no memory for a table of kernels");
    clq_cpu_ops_merge(table, ops);
    context->cpu_state = ops;
    clq_log(context, CLQ_LOG_INFO, "on the CPU: the table %s and up to %d threads", ops->name, (int)context->threads.count);
    return CLQ_OK;
}

static void destroy(clq_context *context)
{
    clq_dealloc(&context->allocator, context->cpu_state);
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

static bool is_4bit(clq_dtype dtype)
{
    return dtype == CLQ_S4 || dtype == CLQ_U4;
}

/* Where parts of loop `i` may begin. The innermost loop is cut at whole cache lines of any type; a 4-bit operand at whole bytes, which an
   even number of outermost steps always is. */
static int64_t find_unit(const struct clq_op *op, int32_t i)
{
    return i == op->rank - 1 ? 64 : 2;
}

/* The outermost loop that is long enough, else the longest; only the outermost one keeps the parts of a 4-bit operand apart. */
static void choose_loop(struct job *job, int64_t parts)
{
    const struct clq_op *op = job->op;
    int64_t most = 0;
    job->parts = 1;
    if (parts == 1) return;
    for (int32_t i = 0; i < op->rank && most < parts; ++i) {
        const int64_t units = clq_ceil_div(op->loops[i].extent, find_unit(op, i));
        if (i > 0 && (is_4bit(op->operand[0].dtype) || is_4bit(op->operand[1].dtype))) break;
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

static void run_part(void *argument, int64_t part)
{
    struct job *job = argument;
    struct clq_op *op = job->op;
    struct clq_walk walk = {.op = op, .ops = job->ops, .loop = job->loop, .begin = find_border(job, part), .end = find_border(job, part + 1)};
    walk.lo = job->part_lo ? job->part_lo + part * op->param_count : op->lo;
    walk.hi = job->part_hi ? job->part_hi + part * op->param_count : op->hi;
    walk.sums = &job->sums[op->kind == CLQ_OP_ERROR_STATS ? part : 0];
    if (walk.begin < walk.end) clq_walk_run(&walk);
    if (op->counted)
        for (int i = 0; i < 3; ++i)
            if (walk.counts[i]) __atomic_fetch_add(&op->counts[i], walk.counts[i], __ATOMIC_RELAXED);
}

static void run_elementwise(struct job *job)
{
    choose_loop(job, count_tasks(job->threads, job->op->count));
    clq_parallel_for(job->threads, job->parts, run_part, job);
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
    clq_parallel_for(job->threads, job->parts, run_part, job);
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
    clq_parallel_for(job->threads, job->parts, run_part, job);
    for (int64_t part = 0; job->part_lo && part < job->parts; ++part)
        for (int64_t p = 0; p < op->param_count; ++p) {
            const float lo = job->part_lo[part * op->param_count + p], hi = job->part_hi[part * op->param_count + p];
            op->lo[p] = lo < op->lo[p] ? lo : op->lo[p];
            op->hi[p] = hi > op->hi[p] ? hi : op->hi[p];
        }
    clq_dealloc(allocator, job->part_lo);
    finish_range(op->lo, op->hi, op->param_count);
}

static void run_qparams_part(void *argument, int64_t part)
{
    const struct job *job = argument;
    const struct clq_op *op = job->op;
    const int64_t begin = find_border(job, part), n = find_border(job, part + 1) - begin;
    job->ops->qparams_from_range(op->lo + begin, op->hi + begin, n, &op->rule, op->scale_out + begin,
                                 op->has_zero_point ? op->zero_point_out + begin : NULL);
}

/* The parameters are the one loop here. */
static void run_qparams(struct job *job)
{
    job->op->rank = 1;
    job->op->loops[0] = (struct clq_loop){.extent = job->op->param_count};
    job->unit = 64;
    job->parts = count_tasks(job->threads, job->op->param_count);
    clq_parallel_for(job->threads, job->parts, run_qparams_part, job);
}

static void run_op(const clq_context *context, const struct clq_threads *threads, struct clq_op *op)
{
    struct job job; /* its sums are set where they are used */
    memset(&job, 0, offsetof(struct job, sums));
    job.op = op;
    job.ops = context->cpu_state;
    job.threads = threads;
    switch (op->kind) {
    case CLQ_OP_CONVERT:
    case CLQ_OP_QUANTIZE:
    case CLQ_OP_DEQUANTIZE: run_elementwise(&job); break;
    case CLQ_OP_MINMAX: run_minmax(&context->allocator, &job); break;
    case CLQ_OP_QPARAMS: run_qparams(&job); break;
    case CLQ_OP_ERROR_STATS: run_error_stats(&job); break;
    }
}

/* ------------------------------------------------------------------------------------------------ several operations */

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
        if (op->count >= batch->small_limit) continue;
        if (at / per_share == share) run_op(batch->context, &alone, op);
        at += op->count;
    }
}

static void run_batch(const clq_context *context, struct clq_op *const *ops, int64_t n)
{
    const struct clq_threads *threads = &context->threads;
    struct batch batch = {.context = context, .ops = ops, .n = n, .small_limit = (int64_t)threads->count * ELEMENTS_PER_TASK};
    for (int64_t i = 0; i < n; ++i)
        if (ops[i]->count >= batch.small_limit)
            run_op(context, threads, ops[i]);
        else
            batch.small_elements += ops[i]->count; /* n operations of less than 2^26 elements */
    if (batch.small_elements == 0) return;
    batch.shares = clq_min_i64(n, 4 * count_tasks(threads, batch.small_elements));
    if (threads->count == 1) batch.shares = 1;
    clq_parallel_for(threads, batch.shares, run_share, &batch);
}

static bool supports(const clq_context *context, const struct clq_op *op)
{
    (void)context;
    return !clq_op_is_on_device(op);
}

static clq_status run(clq_context *context, struct clq_op *const *ops, int64_t n)
{
    const clq_fp_mode mode = clq_fp_mode_enter();
    if (n == 1)
        run_op(context, &context->threads, ops[0]);
    else
        run_batch(context, ops, n);
    clq_fp_mode_leave(mode);
    return CLQ_OK;
}

const struct clq_backend clq_backend_cpu = {
    .name = "cpu", .create = create, .destroy = destroy, .supports = supports, .run = run, .describe = describe, .list = list};
