/* SPDX-License-Identifier: MIT */
/* From operations to jobs of kernels: which kernel, with which arguments, and as few launches as the memory objects allow. */
#include "config.h"

#include "base/alloc.h"
#include "base/util.h"
#include "launch.h"
#include "opencl/cl_state.h"
#include <string.h>

/* A kernel and its memory arguments: items that agree in all of it share a launch. */
struct launch {
    const struct clq_cl_program *program;
    int form;
    cl_mem memory[5];
    int n;
};

static int64_t bits_of(const struct clq_op *op, int k)
{
    return clq_dtype_bits(op->operand[k].dtype);
}

bool clq_cl_is_dense(const struct clq_op *op, int k)
{
    int64_t stride = 1;
    for (int32_t i = op->rank - 1; i >= 0; --i) {
        if (op->loops[i].extent != 1 && op->loops[i].stride[k] != stride) return false;
        stride *= op->loops[i].extent;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ which kernel */

/* Memory that the host shares may begin anywhere. */
static bool is_misaligned(cl_mem memory, int64_t alignment_bytes)
{
    void *host = NULL;
    return clGetMemObjectInfo(memory, CL_MEM_HOST_PTR, sizeof host, &host, NULL) != CL_SUCCESS || (uintptr_t)host % (uintptr_t)alignment_bytes != 0;
}

static int64_t first_offset(const struct clq_cl_segment *segment, int k)
{
    return segment->operand[k].offset_bytes * 8 / bits_of(segment->bound->op, k);
}

/* The segment's elements of operand k follow each other in the order of the loops. */
static bool is_in_order(const struct clq_cl_segment *segment, int k)
{
    return segment->operand[k].packed || clq_cl_is_dense(segment->bound->op, k);
}

/* Quads of operand k are adjacent and aligned wherever a multiple of 4 elements begins; see launch.h. */
static bool has_quads(const struct clq_cl_segment *segment, int k)
{
    const struct clq_op *op = segment->bound->op;
    const int64_t bits = bits_of(op, k);
    if (first_offset(segment, k) % 4 != 0 || segment->operand[k].offset_bytes * 8 % bits != 0) return false;
    if (is_misaligned(segment->operand[k].memory, clq_max_i64(bits / 2, 1))) return false;
    if (is_in_order(segment, k)) return true;
    for (int32_t i = 0; i < op->rank - 1; ++i)
        if (op->loops[i].stride[k] % 4 != 0) return false;
    return op->loops[op->rank - 1].stride[k] == 1 && op->loops[op->rank - 1].extent % 4 == 0;
}

static int operand_count(const struct clq_op *op)
{
    return op->kind == CLQ_OP_MINMAX ? 1 : 2;
}

/* Rows that a work-group of minmax_columns takes, fewer where that leaves compute units idle, and the least for which it pays. */
#define COLUMNS_SLAB_ROWS  128
#define COLUMNS_LEAST_ROWS 16

/* Parameters change from column to column and stay from row to row, and the segment is of whole rows. */
static bool has_columns(const struct clq_cl_segment *segment)
{
    const struct clq_op *op = segment->bound->op;
    const struct clq_loop *cols = &op->loops[op->rank - 1];
    if (op->rank < 2 || cols->param_stride == 0 || cols->extent % 4 != 0 || op->loops[op->rank - 2].param_stride != 0) return false;
    if (cols->group != 1 && cols->group % 4 != 0) return false;
    return segment->first % cols->extent == 0 && segment->count % cols->extent == 0 && segment->count / cols->extent >= COLUMNS_LEAST_ROWS;
}

static int choose_form(const struct clq_cl_segment *segment, const struct clq_cl_program *program)
{
    const struct clq_op *op = segment->bound->op;
    bool quads = segment->first % 4 == 0;
    for (int k = 0; k < operand_count(op) && quads; ++k)
        quads = has_quads(segment, k);
    if (quads && program->kernels[CLQ_CL_COLUMNS] && has_columns(segment)) return CLQ_CL_COLUMNS;
    return quads && program->kernels[CLQ_CL_QUADS] ? CLQ_CL_QUADS : CLQ_CL_ANY;
}

/* Types that a copy of bits goes by. */
static clq_dtype copied_as(clq_dtype dtype)
{
    switch (clq_dtype_bits(dtype)) {
    case 4: return CLQ_U4;
    case 8: return CLQ_U8;
    case 16: return CLQ_U16;
    case 32: return CLQ_S32;
    default: return CLQ_S64;
    }
}

static clq_status find_program(clq_context *context, const struct clq_op *op, const struct clq_cl_program **program)
{
    struct clq_cl_programs *programs = &clq_cl_state_of(context)->programs;
    clq_dtype src = op->operand[0].dtype, dst = op->operand[1].dtype;
    switch (op->kind) {
    case CLQ_OP_CONVERT:
        if (src == dst) src = dst = copied_as(src);
        return clq_cl_programs_get(context, programs, CLQ_CL_CONVERT, src, dst, program);
    case CLQ_OP_MINMAX: return clq_cl_programs_get(context, programs, CLQ_CL_MINMAX, src, CLQ_DTYPE_NONE, program);
    case CLQ_OP_QPARAMS: return clq_cl_programs_get(context, programs, CLQ_CL_QPARAMS, CLQ_DTYPE_NONE, CLQ_DTYPE_NONE, program);
    case CLQ_OP_QUANTIZE: return clq_cl_programs_get(context, programs, CLQ_CL_QUANTIZE, src, dst, program);
    case CLQ_OP_DEQUANTIZE: return clq_cl_programs_get(context, programs, CLQ_CL_DEQUANTIZE, src, dst, program);
    default: return clq_cl_programs_get(context, programs, CLQ_CL_ERROR_STATS, src, dst, program);
    }
}

/* ------------------------------------------------------------------------------------------------ jobs of elements */

static clq_status set_element_launch(clq_context *context, const void *item, struct launch *launch)
{
    const struct clq_cl_segment *segment = item;
    const struct clq_cl_bound *bound = segment->bound;
    const cl_mem x = segment->operand[0].memory, y = segment->operand[1].memory;
    const cl_mem scale = bound->arg[CLQ_ARG_SCALE].memory, zero_point = bound->arg[CLQ_ARG_ZERO_POINT].memory;
    CLQ_TRY(find_program(context, bound->op, &launch->program));
    launch->form = choose_form(segment, launch->program);
    launch->memory[launch->n++] = x;
    switch (bound->op->kind) {
    case CLQ_OP_MINMAX:
        launch->memory[launch->n++] = bound->keys.memory;
        launch->memory[launch->n++] = bound->tally.memory;
        break;
    case CLQ_OP_QUANTIZE:
    case CLQ_OP_DEQUANTIZE:
    case CLQ_OP_ERROR_STATS:
        launch->memory[launch->n++] = y;
        launch->memory[launch->n++] = scale;
        launch->memory[launch->n++] = zero_point;
        if (bound->op->kind == CLQ_OP_QUANTIZE) launch->memory[launch->n++] = bound->tally.memory;
        if (bound->op->kind == CLQ_OP_ERROR_STATS) launch->memory[launch->n++] = bound->partials.memory;
        break;
    default: launch->memory[launch->n++] = y;
    }
    return CLQ_OK;
}

int64_t clq_cl_count_partials(int64_t elements)
{
    return clq_max_i64(1, clq_min_i64(2048, elements / 16384));
}

/* A work-group that takes several rounds finds its job and its parameters once. But there are to be enough of them to keep every compute unit
   busy to the end; and each round of minmax has its own parameters, unless all are the same. Returns the work-groups. */
static int64_t set_rounds(struct clql_job *job, const struct clq_op *op, int64_t elements, int64_t compute_units)
{
    const int64_t rounds = clq_ceil_div(job->count, elements);
    job->parts = (clql_int)clq_max_i64(1, clq_min_i64(8, rounds / (16 * clq_max_i64(1, compute_units))));
    if (op->kind == CLQ_OP_MINMAX && job->varying) job->parts = 1;
    return clq_ceil_div(rounds, job->parts);
}

static int64_t set_element_job(void *memory, const void *item, int form, const struct clq_cl_device *device)
{
    const int64_t local_size = (int64_t)device->max_local_size;
    const struct clq_cl_segment *segment = item;
    struct clq_cl_bound *bound = segment->bound;
    const struct clq_op *op = bound->op;
    struct clql_job *job = memory;
    job->first = segment->first;
    job->count = segment->count;
    for (int k = 0; k < operand_count(op); ++k) {
        job->offset[k] = first_offset(segment, k);
        if (is_in_order(segment, k)) job->dense |= 1 << k;
    }
    job->param_offset[0] = bound->arg[CLQ_ARG_SCALE].offset_bytes / 4;
    job->param_offset[1] = bound->arg[CLQ_ARG_ZERO_POINT].offset_bytes / 4;
    job->result_offset = bound->tally.offset_bytes / 4;
    job->rank = op->rank;
    job->counted = op->counted;
    job->has_zero_point = op->has_zero_point;
    job->fixed_zero_point = op->fixed_zero_point;
    job->qmin = op->qmin;
    job->qmax = op->qmax;
    job->reciprocal = op->reciprocal;
    for (int32_t i = 0; i < op->rank; ++i) {
        const struct clq_loop *loop = &op->loops[i];
        job->loops[i] = (struct clql_loop){loop->extent, {loop->stride[0], loop->stride[1]}, loop->param_stride, loop->group};
        if (loop->param_stride != 0) job->varying = 1;
    }
    if (op->kind == CLQ_OP_MINMAX) {
        job->param_offset[0] = bound->keys.offset_bytes / 4;
        job->param_offset[1] = job->param_offset[0] + op->param_count;
        job->dense |= 2; /* there is no operand 1 */
    }
    if (op->kind == CLQ_OP_ERROR_STATS) {
        job->parts = (clql_int)clq_cl_count_partials(segment->count);
        job->result_offset = bound->partials.offset_bytes / (int64_t)sizeof(struct clql_partial) + bound->partials_used;
        bound->partials_used += job->parts;
        return job->parts;
    }
    if (form == CLQ_CL_COLUMNS) {
        const int64_t extent = op->loops[op->rank - 1].extent, rows = job->count / extent, blocks = clq_ceil_div(extent / 4, local_size);
        int64_t slab_rows = COLUMNS_SLAB_ROWS;
        while (slab_rows > COLUMNS_LEAST_ROWS && rows / slab_rows * blocks < 4 * device->compute_units)
            slab_rows /= 2;
        job->parts = (clql_int)clq_min_i64(1 << 20, clq_ceil_div(rows, slab_rows));
        return blocks * job->parts;
    }
    return set_rounds(job, op, local_size * CLQL_UNITS * (form == CLQ_CL_QUADS ? CLQL_QUAD : CLQL_PAIR), device->compute_units);
}

/* ------------------------------------------------------------------------------------------------ launching */

/* Sets the arguments that every kernel has, the jobs', and the memory objects behind them, and queues it. An absent one is replaced: kernels do not
   touch what their jobs do not ask for. */
static clq_status launch_kernel(clq_context *context, cl_kernel kernel, const struct clq_cl_place *jobs, int64_t n_jobs, const cl_mem *memory, int n,
                                int64_t groups, cl_event also)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const cl_ulong offset_bytes = (cl_ulong)jobs->offset_bytes;
    const cl_uint count = (cl_uint)n_jobs;
    CL_TRY(context, clSetKernelArg(kernel, 0, sizeof jobs->memory, &jobs->memory));
    CL_TRY(context, clSetKernelArg(kernel, 1, sizeof offset_bytes, &offset_bytes));
    CL_TRY(context, clSetKernelArg(kernel, 2, sizeof count, &count));
    for (int i = 0; i < n; ++i)
        CL_TRY(context, clSetKernelArg(kernel, (cl_uint)(3 + i), sizeof(cl_mem), memory[i] ? &memory[i] : &jobs->memory));
    CL_TRY(context, clq_cl_queue_launch(&state->main, kernel, groups, state->programs.device.max_local_size, also));
    return CLQ_OK;
}

/* What is launched: how to find an item's kernel and memory objects (program NULL: nothing is to be done), and how to write its job, whose first
   field is first_group; returns the job's work-groups. */
struct kind {
    int64_t item_bytes, job_bytes;
    clq_status (*set_launch)(clq_context *context, const void *item, struct launch *launch);
    int64_t (*set_job)(void *job, const void *item, int form, const struct clq_cl_device *device);
};

/* Queues one launch for all items from `first` on that agree with it, and marks them done. */
static clq_status launch_group(clq_context *context, const struct kind *kind, const char *items, struct launch *launches, int64_t first, int64_t n,
                               cl_event also)
{
    const struct clq_cl_device *device = &clq_cl_state_of(context)->programs.device;
    struct launch launch;
    struct clq_cl_place jobs;
    char *host;
    int64_t n_jobs = 0, at = 0, groups = 0;
    clq_status status;
    memcpy(&launch, &launches[first], sizeof launch); /* its padding too, for the comparisons */
    for (int64_t i = first; i < n; ++i)
        n_jobs += memcmp(&launches[i], &launch, sizeof launch) == 0;
    CLQ_TRY(clq_cl_upload_begin(context, n_jobs * kind->job_bytes, &jobs, &host));
    for (int64_t i = first; i < n; ++i) {
        char *job = host + at * kind->job_bytes;
        int64_t of_job;
        if (memcmp(&launches[i], &launch, sizeof launch) != 0) continue;
        memset(job, 0, (size_t)kind->job_bytes);
        of_job = kind->set_job(job, items + i * kind->item_bytes, launch.form, device);
        memcpy(job, &groups, sizeof groups); /* its first_group */
        groups += of_job;
        launches[i].program = NULL;
        ++at;
    }
    status = clq_cl_upload_end(context, &jobs, host, n_jobs * kind->job_bytes);
    if (status == CLQ_OK)
        status = launch_kernel(context, launch.program->kernels[launch.form], &jobs, n_jobs, launch.memory, launch.n, groups, also);
    clReleaseMemObject(jobs.memory);
    return status;
}

static clq_status launch_all(clq_context *context, const struct kind *kind, const void *items, int64_t n, cl_event also)
{
    struct launch one, *launches = n == 1 ? &one : clq_alloc(&context->allocator, n, sizeof *launches);
    clq_status status = CLQ_OK;
    if (!launches) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory for %lld launches", (long long)n);
    for (int64_t i = 0; i < n && status == CLQ_OK; ++i) {
        memset(&launches[i], 0, sizeof launches[i]);
        status = kind->set_launch(context, (const char *)items + i * kind->item_bytes, &launches[i]);
    }
    for (int64_t i = 0; i < n && status == CLQ_OK; ++i)
        if (launches[i].program) status = launch_group(context, kind, items, launches, i, n, also);
    if (launches != &one) clq_dealloc(&context->allocator, launches);
    return status;
}

clq_status clq_cl_launch_segments(clq_context *context, const struct clq_cl_segment *segments, int64_t n, cl_event also)
{
    static const struct kind elements = {sizeof *segments, sizeof(struct clql_job), set_element_launch, set_element_job};
    return launch_all(context, &elements, segments, n, also);
}

/* ------------------------------------------------------------------------------------------------ what follows the elements */

static int64_t element_of(const struct clq_cl_place *place, int64_t size_bytes)
{
    return place->offset_bytes / size_bytes;
}

/* Keys to ranges, halves to counts. */
static clq_status set_finish_launch(clq_context *context, const void *item, struct launch *launch)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_cl_place *arg = bound->arg;
    const struct clq_op *op = bound->op;
    const bool is_minmax = op->kind == CLQ_OP_MINMAX;
    const cl_mem memory[] = {bound->keys.memory, arg[CLQ_ARG_LO].memory, arg[CLQ_ARG_HI].memory, bound->tally.memory, arg[CLQ_ARG_COUNTS].memory};
    if (!is_minmax && !(op->kind == CLQ_OP_QUANTIZE && arg[CLQ_ARG_COUNTS].memory)) return CLQ_OK;
    memcpy(launch->memory, memory, sizeof memory);
    launch->n = 5;
    launch->form = CLQ_CL_FINISH;
    /* The dtype does not matter here, but clq_context_warm_up() has compiled this one. */
    return clq_cl_programs_get(context, &clq_cl_state_of(context)->programs, CLQ_CL_MINMAX, op->operand[0].dtype, CLQ_DTYPE_NONE, &launch->program);
}

static int64_t set_finish_job(void *memory, const void *item, int form, const struct clq_cl_device *device)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_cl_place *counts = &bound->arg[CLQ_ARG_COUNTS];
    struct clql_finish_job *job = memory;
    (void)form;
    if (bound->op->kind == CLQ_OP_MINMAX) {
        job->count = bound->op->param_count;
        job->keys_lo = element_of(&bound->keys, 4);
        job->keys_hi = job->keys_lo + job->count;
        job->lo = element_of(&bound->arg[CLQ_ARG_LO], 4);
        job->hi = element_of(&bound->arg[CLQ_ARG_HI], 4);
    }
    job->counts = counts->memory ? element_of(&bound->tally, 4) : -1;
    job->counts_out = element_of(counts, 8);
    return clq_ceil_div(clq_max_i64(1, job->count), (int64_t)device->max_local_size);
}

static clq_status set_range_launch(clq_context *context, const void *item, struct launch *launch)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_cl_place *arg = bound->arg;
    const cl_mem memory[] = {arg[CLQ_ARG_LO].memory, arg[CLQ_ARG_HI].memory, arg[CLQ_ARG_SCALE_OUT].memory, arg[CLQ_ARG_ZERO_POINT_OUT].memory};
    if (bound->op->kind != CLQ_OP_QPARAMS) return CLQ_OK;
    memcpy(launch->memory, memory, sizeof memory);
    launch->n = 4;
    launch->form = CLQ_CL_ANY;
    return find_program(context, bound->op, &launch->program);
}

static int64_t set_range_job(void *memory, const void *item, int form, const struct clq_cl_device *device)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_op *op = bound->op;
    (void)form;
    *(struct clql_range_job *)memory = (struct clql_range_job){
        .count = op->param_count,
        .lo = element_of(&bound->arg[CLQ_ARG_LO], 4),
        .hi = element_of(&bound->arg[CLQ_ARG_HI], 4),
        .scale = element_of(&bound->arg[CLQ_ARG_SCALE_OUT], 4),
        .zero_point = element_of(&bound->arg[CLQ_ARG_ZERO_POINT_OUT], 4),
        .step = op->rule.step,
        .symmetric = op->rule.symmetric,
        .power_of_two = op->rule.power_of_two,
        .qmin = op->rule.qmin,
        .qmax = op->rule.qmax,
        .fixed_zero_point = op->rule.zero_point,
        .has_zero_point = op->has_zero_point,
    };
    return clq_ceil_div(op->param_count, (int64_t)device->max_local_size);
}

clq_status clq_cl_launch_finish(clq_context *context, const struct clq_cl_bound *bounds, int64_t n)
{
    static const struct kind results = {sizeof *bounds, sizeof(struct clql_finish_job), set_finish_launch, set_finish_job};
    static const struct kind ranges = {sizeof *bounds, sizeof(struct clql_range_job), set_range_launch, set_range_job};
    CLQ_TRY(launch_all(context, &results, bounds, n, NULL));
    return launch_all(context, &ranges, bounds, n, NULL);
}
