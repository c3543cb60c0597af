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
    cl_mem memory[8];
    int n;
};

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

bool clq_cl_is_misaligned(cl_mem memory, int64_t alignment_bytes)
{
    void *host = NULL;
    return clGetMemObjectInfo(memory, CL_MEM_HOST_PTR, sizeof host, &host, NULL) != CL_SUCCESS || (uintptr_t)host % (uintptr_t)alignment_bytes != 0;
}

static int64_t first_offset(const struct clq_cl_segment *segment, int k)
{
    return segment->operand[k].offset_bytes * 8 / clq_op_bits(segment->bound->op, k);
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
    const int64_t bits = clq_op_bits(op, k);
    if (first_offset(segment, k) % 4 != 0 || segment->operand[k].offset_bytes * 8 % bits != 0) return false;
    if (clq_cl_is_misaligned(segment->operand[k].memory, clq_max_i64(bits / 2, 1))) return false;
    if (is_in_order(segment, k)) return true;
    for (int32_t i = 0; i < op->rank - 1; ++i)
        if (op->loops[i].stride[k] % 4 != 0) return false;
    return op->loops[op->rank - 1].stride[k] == 1 && op->loops[op->rank - 1].extent % 4 == 0;
}

static bool is_aligned(const struct clq_cl_segment *segment)
{
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        if (clq_op_has_operand(segment->bound->op, k) && !has_quads(segment, k)) return false;
    return segment->first % 4 == 0;
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
    if (!program->kernels[CLQ_CL_QUADS] || !is_aligned(segment)) return CLQ_CL_ANY;
    return program->kernels[CLQ_CL_COLUMNS] && has_columns(segment) ? CLQ_CL_COLUMNS : CLQ_CL_QUADS;
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
    case CLQ_OP_QPARAMS:
    case CLQ_OP_MULTIPLIERS: return clq_cl_programs_get(context, programs, CLQ_CL_QPARAMS, CLQ_DTYPE_NONE, CLQ_DTYPE_NONE, program);
    case CLQ_OP_QUANTIZE: return clq_cl_programs_get(context, programs, CLQ_CL_QUANTIZE, src, dst, program);
    case CLQ_OP_DEQUANTIZE: return clq_cl_programs_get(context, programs, CLQ_CL_DEQUANTIZE, src, dst, program);
    case CLQ_OP_REQUANTIZE: return clq_cl_programs_get(context, programs, CLQ_CL_REQUANTIZE, src, dst, program);
    case CLQ_OP_FAKE_QUANTIZE: return clq_cl_programs_get(context, programs, CLQ_CL_FAKE_QUANTIZE, src, CLQ_DTYPE_NONE, program);
    case CLQ_OP_BACKWARD: return clq_cl_programs_get(context, programs, CLQ_CL_BACKWARD, src, CLQ_DTYPE_NONE, program);
    case CLQ_OP_BACKWARD_LEARNABLE: return clq_cl_programs_get(context, programs, CLQ_CL_LEARNABLE, src, CLQ_DTYPE_NONE, program);
    default: return clq_cl_programs_get(context, programs, CLQ_CL_ERROR_STATS, src, dst, program);
    }
}

/* The memory objects that a kernel takes after the jobs, in its order. */
#define SET_MEMORY(launch, ...)                                                                                                  \
    do {                                                                                                                         \
        const cl_mem set_memory[] = {__VA_ARGS__};                                                                               \
        memcpy((launch)->memory, set_memory, sizeof set_memory);                                                                 \
        (launch)->n = (int)(sizeof set_memory / sizeof set_memory[0]);                                                           \
    } while (0)

static clq_status set_element_launch(clq_context *context, const void *item, struct launch *launch)
{
    const struct clq_cl_segment *segment = item;
    const struct clq_cl_bound *bound = segment->bound;
    const cl_mem x = segment->operand[0].memory, y = segment->operand[1].memory, third = segment->operand[2].memory, mask = segment->operand[CLQ_MASK].memory;
    const cl_mem scale = bound->arg[CLQ_ARG_SCALE].memory, zero_point = bound->arg[CLQ_ARG_ZERO_POINT].memory;
    const cl_mem tally = bound->tally.memory, partials = bound->partials.memory;
    CLQ_TRY(find_program(context, bound->op, &launch->program));
    launch->form = choose_form(segment, launch->program);
    switch (bound->op->kind) {
    case CLQ_OP_MINMAX: SET_MEMORY(launch, x, bound->keys.memory, tally); break;
    case CLQ_OP_QUANTIZE: SET_MEMORY(launch, x, y, scale, zero_point, tally); break;
    case CLQ_OP_DEQUANTIZE: SET_MEMORY(launch, x, y, scale, zero_point); break;
    case CLQ_OP_ERROR_STATS: SET_MEMORY(launch, x, y, scale, zero_point, partials); break;
    case CLQ_OP_REQUANTIZE: SET_MEMORY(launch, x, y, scale, zero_point, bound->arg[CLQ_ARG_SOURCE_ZERO_POINT].memory); break;
    case CLQ_OP_FAKE_QUANTIZE: SET_MEMORY(launch, x, y, mask, scale, zero_point, tally); break;
    case CLQ_OP_BACKWARD: SET_MEMORY(launch, x, y, third, mask, scale, zero_point); break;
    case CLQ_OP_BACKWARD_LEARNABLE:
        SET_MEMORY(launch, x, y, third, scale, zero_point, partials, bound->arg[CLQ_ARG_DSCALE].memory, bound->arg[CLQ_ARG_DZERO_POINT].memory);
        break;
    default: SET_MEMORY(launch, x, y);
    }
    return CLQ_OK;
}

/* ------------------------------------------------------------------------------------------------ gradients of parameters */

/* How many parameters or lanes a work-group has at most: the power of two that is not below n, or not above it. */
static int64_t power_from(int64_t n, int64_t most)
{
    int64_t power = 1;
    while (power < n && power < most)
        power *= 2;
    return power;
}

static int64_t power_to(int64_t n, int64_t most)
{
    const int64_t power = power_from(n, most);
    return power > n ? power / 2 : power;
}

/* Neighbouring elements have different parameters. */
static bool changes_along(const struct clq_op *op)
{
    const struct clq_loop *inner = &op->loops[op->rank - 1];
    return inner->param_stride != 0 && inner->group < 4;
}

/* Items that share a parameter: few for parameters next to each other, else one for every quad. */
static int64_t count_lanes(const struct clq_op *op, int64_t local_size)
{
    if (changes_along(op)) return local_size / power_from(op->param_count, local_size);
    return power_to(clq_max_i64(1, op->count / op->param_count / 4), local_size);
}

/* Enough work-groups to be busy with, each with a few units for an item. */
int64_t clq_cl_count_gradient_parts(const struct clq_cl_state *state, const struct clq_op *op, int64_t elements)
{
    const int64_t local_size = (int64_t)state->programs.device.max_local_size, lanes = count_lanes(op, local_size);
    const int64_t blocks = clq_ceil_div(op->param_count, local_size / lanes);
    return clq_max_i64(1, clq_min_i64(2048 / blocks, elements / op->param_count / (lanes * 16)));
}

/* Quads of each parameter's elements are adjacent; see learnable.cl. */
static bool has_param_quads(const struct clq_op *op)
{
    const struct clq_loop *inner = &op->loops[op->rank - 1];
    return (op->rank == 1 || inner->extent % 4 == 0) && (inner->param_stride == 0 || inner->group % 4 == 0);
}

/* The parameters of a job's range, where indices of the outermost loop have their own: else a tensor in chunks would have all of them visited by each. */
static void set_param_range(struct clql_job *job, const struct clq_op *op)
{
    const struct clq_loop *outer = &op->loops[0];
    const int64_t inside = op->count / outer->extent, first = job->first / inside / outer->group, last = (job->first + job->count - 1) / inside / outer->group;
    job->param_count = op->param_count;
    if (!clq_op_has_outer_params(op)) return;
    job->first_param = first * outer->param_stride;
    job->param_count = (last - first + 1) * outer->param_stride;
}

static int64_t set_learnable_job(struct clql_job *job, const struct clq_cl_bound *bound, int64_t local_size)
{
    const struct clq_op *op = bound->op;
    const struct clq_cl_place *dzero_point = &bound->arg[CLQ_ARG_DZERO_POINT];
    job->aligned = job->aligned && has_param_quads(op);
    set_param_range(job, op);
    job->gradient_scale = op->gradient_scale;
    job->result_offset = bound->partials.offset_bytes / (int64_t)sizeof(struct clql_gradients);
    job->dscale = bound->keeps_gradients ? -1 : bound->arg[CLQ_ARG_DSCALE].offset_bytes / 4;
    job->dzero_point = op->has_dzero_point ? dzero_point->offset_bytes / 4 : -1;
    job->parts = (clql_int)bound->gradient_parts;
    job->columns = changes_along(op);
    job->lanes = (clql_int)count_lanes(op, local_size);
    return clq_ceil_div(job->param_count, local_size / job->lanes) * job->parts;
}

/* ------------------------------------------------------------------------------------------------ jobs of elements */

int64_t clq_cl_count_partials(int64_t elements)
{
    return clq_max_i64(1, clq_min_i64(2048, elements / 16384));
}

/* A work-group that takes several rounds finds its job and its parameters once. But there are to be enough of them to keep every compute unit
   busy to the end; each round of minmax has its own parameters, unless all are the same; and a mask is written once. Returns the work-groups. */
static int64_t set_rounds(struct clql_job *job, const struct clq_op *op, int64_t elements, int64_t compute_units)
{
    const int64_t rounds = clq_ceil_div(job->count, elements);
    job->parts = (clql_int)clq_max_i64(1, clq_min_i64(8, rounds / (16 * clq_max_i64(1, compute_units))));
    if ((op->kind == CLQ_OP_MINMAX && job->varying) || (op->kind == CLQ_OP_FAKE_QUANTIZE && job->present >> CLQL_MASK)) job->parts = 1;
    return clq_ceil_div(rounds, job->parts);
}

/* The kernels NAME_any. */
static bool takes_pairs(const struct clq_op *op, int form)
{
    return form == CLQ_CL_ANY && op->kind != CLQ_OP_REQUANTIZE && op->kind != CLQ_OP_FAKE_QUANTIZE && op->kind != CLQ_OP_BACKWARD;
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
    for (int k = 0; k < CLQ_OPERANDS; ++k) {
        const bool is_there = clq_op_has_operand(op, k);
        if (is_there) job->offset[k] = first_offset(segment, k);
        if (is_there) job->present |= 1 << k;
        if (!is_there || is_in_order(segment, k)) job->dense |= 1 << k;
    }
    job->aligned = is_aligned(segment);
    job->param_offset[0] = bound->arg[CLQ_ARG_SCALE].offset_bytes / 4;
    job->param_offset[1] = bound->arg[CLQ_ARG_ZERO_POINT].offset_bytes / 4;
    job->param_offset[2] = bound->arg[CLQ_ARG_SOURCE_ZERO_POINT].offset_bytes / 4;
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
        job->loops[i] = (struct clql_loop){.extent = loop->extent, .param_stride = loop->param_stride, .group = loop->group};
        memcpy(job->loops[i].stride, loop->stride, sizeof loop->stride);
        if (loop->param_stride != 0) job->varying = 1;
    }
    if (op->kind == CLQ_OP_MINMAX) {
        job->param_offset[0] = bound->keys.offset_bytes / 4;
        job->param_offset[1] = job->param_offset[0] + op->param_count;
    }
    if (op->kind == CLQ_OP_ERROR_STATS) {
        job->parts = (clql_int)clq_cl_count_partials(segment->count);
        job->result_offset = bound->partials.offset_bytes / (int64_t)sizeof(struct clql_partial) + bound->partials_used;
        bound->partials_used += job->parts;
        return job->parts;
    }
    if (op->kind == CLQ_OP_BACKWARD_LEARNABLE) return set_learnable_job(job, bound, local_size);
    if (form == CLQ_CL_COLUMNS) {
        const int64_t extent = op->loops[op->rank - 1].extent, rows = job->count / extent, blocks = clq_ceil_div(extent / 4, local_size);
        int64_t slab_rows = COLUMNS_SLAB_ROWS;
        while (slab_rows > COLUMNS_LEAST_ROWS && rows / slab_rows * blocks < 4 * device->compute_units)
            slab_rows /= 2;
        job->parts = (clql_int)clq_min_i64(1 << 20, clq_ceil_div(rows, slab_rows));
        return blocks * job->parts;
    }
    return set_rounds(job, op, local_size * CLQL_UNITS * (takes_pairs(op, form) ? CLQL_PAIR : CLQL_QUAD), device->compute_units);
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
    if (!is_minmax && !(clq_cl_has_tally(op) && arg[CLQ_ARG_COUNTS].memory)) return CLQ_OK;
    SET_MEMORY(launch, bound->keys.memory, arg[CLQ_ARG_LO].memory, arg[CLQ_ARG_HI].memory, bound->tally.memory, arg[CLQ_ARG_COUNTS].memory);
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
    if (bound->op->kind != CLQ_OP_QPARAMS) return CLQ_OK;
    SET_MEMORY(launch, arg[CLQ_ARG_LO].memory, arg[CLQ_ARG_HI].memory, arg[CLQ_ARG_AVERAGE_LO].memory, arg[CLQ_ARG_AVERAGE_HI].memory,
               arg[CLQ_ARG_SCALE_OUT].memory, arg[CLQ_ARG_ZERO_POINT_OUT].memory);
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
        .average_lo = element_of(&bound->arg[CLQ_ARG_AVERAGE_LO], 4),
        .average_hi = element_of(&bound->arg[CLQ_ARG_AVERAGE_HI], 4),
        .scale = element_of(&bound->arg[CLQ_ARG_SCALE_OUT], 4),
        .zero_point = element_of(&bound->arg[CLQ_ARG_ZERO_POINT_OUT], 4),
        .step = op->rule.step,
        .averaging = op->averaged ? op->averaging : 0.0f,
        .symmetric = op->rule.symmetric,
        .power_of_two = op->rule.power_of_two,
        .qmin = op->rule.qmin,
        .qmax = op->rule.qmax,
        .fixed_zero_point = op->rule.zero_point,
        .has_zero_point = op->has_zero_point,
    };
    return clq_ceil_div(op->param_count, (int64_t)device->max_local_size);
}

static clq_status set_multiplier_launch(clq_context *context, const void *item, struct launch *launch)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_cl_place *arg = bound->arg;
    if (bound->op->kind != CLQ_OP_MULTIPLIERS) return CLQ_OK;
    SET_MEMORY(launch, arg[CLQ_ARG_SCALE].memory, arg[CLQ_ARG_ZERO_POINT].memory, arg[CLQ_ARG_TARGET_SCALE].memory, arg[CLQ_ARG_TARGET_ZERO_POINT].memory,
               arg[CLQ_ARG_SCALE_OUT].memory, arg[CLQ_ARG_SOURCE_ZERO_POINT].memory, arg[CLQ_ARG_ZERO_POINT_OUT].memory);
    launch->form = CLQ_CL_MULTIPLIERS;
    return find_program(context, bound->op, &launch->program);
}

static int64_t set_multiplier_job(void *memory, const void *item, int form, const struct clq_cl_device *device)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_op *op = bound->op;
    (void)form;
    *(struct clql_multiplier_job *)memory = (struct clql_multiplier_job){
        .count = op->param_count,
        .scale = element_of(&bound->arg[CLQ_ARG_SCALE], 4),
        .target_scale = element_of(&bound->arg[CLQ_ARG_TARGET_SCALE], 4),
        .multiplier = element_of(&bound->arg[CLQ_ARG_SCALE_OUT], 4),
        .zero_point = op->has_zero_point ? element_of(&bound->arg[CLQ_ARG_ZERO_POINT], 4) : -1,
        .target_zero_point = op->has_target_zero_point ? element_of(&bound->arg[CLQ_ARG_TARGET_ZERO_POINT], 4) : -1,
        .source_zero_point_out = element_of(&bound->arg[CLQ_ARG_SOURCE_ZERO_POINT], 4),
        .zero_point_out = element_of(&bound->arg[CLQ_ARG_ZERO_POINT_OUT], 4),
        .fixed_zero_point = op->fixed_zero_point,
        .fixed_target_zero_point = op->fixed_target_zero_point,
        .is_single = op->is_single,
        .is_target_single = op->is_target_single,
    };
    return clq_ceil_div(op->param_count, (int64_t)device->max_local_size);
}

static clq_status set_gradient_launch(clq_context *context, const void *item, struct launch *launch)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_cl_place *arg = bound->arg;
    if (bound->op->kind != CLQ_OP_BACKWARD_LEARNABLE || !bound->keeps_gradients) return CLQ_OK;
    SET_MEMORY(launch, bound->partials.memory, arg[CLQ_ARG_SCALE].memory, arg[CLQ_ARG_DSCALE].memory, arg[CLQ_ARG_DZERO_POINT].memory);
    launch->form = CLQ_CL_FINISH;
    return find_program(context, bound->op, &launch->program);
}

static int64_t set_gradient_job(void *memory, const void *item, int form, const struct clq_cl_device *device)
{
    const struct clq_cl_bound *bound = item;
    const struct clq_op *op = bound->op;
    const int64_t local_size = (int64_t)device->max_local_size, lanes = power_to(bound->gradient_parts, local_size);
    (void)form;
    *(struct clql_gradient_job *)memory = (struct clql_gradient_job){
        .count = op->param_count,
        .partials = element_of(&bound->partials, (int64_t)sizeof(struct clql_gradients)),
        .scale = element_of(&bound->arg[CLQ_ARG_SCALE], 4),
        .dscale = element_of(&bound->arg[CLQ_ARG_DSCALE], 4),
        .dzero_point = op->has_dzero_point ? element_of(&bound->arg[CLQ_ARG_DZERO_POINT], 4) : -1,
        .gradient_scale = op->gradient_scale,
        .parts = (clql_int)bound->gradient_parts,
        .lanes = (clql_int)lanes,
    };
    return clq_ceil_div(op->param_count, local_size / lanes);
}

clq_status clq_cl_launch_finish(clq_context *context, const struct clq_cl_bound *bounds, int64_t n)
{
    static const struct kind results = {sizeof *bounds, sizeof(struct clql_finish_job), set_finish_launch, set_finish_job};
    static const struct kind ranges = {sizeof *bounds, sizeof(struct clql_range_job), set_range_launch, set_range_job};
    static const struct kind multipliers = {sizeof *bounds, sizeof(struct clql_multiplier_job), set_multiplier_launch, set_multiplier_job};
    static const struct kind gradients = {sizeof *bounds, sizeof(struct clql_gradient_job), set_gradient_launch, set_gradient_job};
    const struct kind *const kinds[] = {&results, &ranges, &multipliers, &gradients};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i)
        CLQ_TRY(launch_all(context, kinds[i], bounds, n, NULL));
    return CLQ_OK;
}
