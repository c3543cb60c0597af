/* SPDX-License-Identifier: MIT */
/* OpenCL as a backend: choice of a device, memory, and the course of an operation from its arguments to its results. */
#include "config.h"

#include "base/alloc.h"
#include "base/fp_mode.h"
#include "base/util.h"
#include "launch.h"
#include "opencl/cl_foreign.h"
#include "opencl/cl_state.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STAGING_BYTES (INT64_C(16) << 20)
#define ALIGNMENT     64 /* of arrays in intermediate memory, bytes */

/* ------------------------------------------------------------------------------------------------ choice of a device */

/* The devices' refusals in one line. */
static void list_refusals(const struct clq_cl_device *devices, int32_t count, char *text, size_t size_bytes)
{
    size_t n = 0;
    text[0] = '\0';
    for (int32_t i = 0; i < count && n < size_bytes; ++i)
        n += (size_t)snprintf(text + n, size_bytes - n, "%sopencl:%d, %s: %s", i ? "; " : "", (int)i, devices[i].name,
                              devices[i].refusal[0] ? devices[i].refusal : "the CPU again, used only by its number");
}

static clq_status choose_device(clq_context *context, const char *name, const char *source, const struct clq_cl_device *devices, int32_t count,
                                int32_t *index)
{
    char text[300];
    if (name && name[6] == ':') {
        const long wanted = strtol(name + 7, NULL, 10);
        if (wanted >= count)
            return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\": there are %d OpenCL devices", source, name, (int)count);
        if (devices[wanted].refusal[0])
            return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\", %s: %s", source, name, devices[wanted].name,
                            devices[wanted].refusal);
        *index = (int32_t)wanted;
        return CLQ_OK;
    }
    *index = clq_cl_devices_best(devices, count);
    if (*index >= 0 || !name) return CLQ_OK;
    list_refusals(devices, count, text, sizeof text);
    return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\": no OpenCL GPU or accelerator%s%s", source, name, count ? ": " : "", text);
}

/* ------------------------------------------------------------------------------------------------ a context's state */

static void destroy(clq_context *context)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    if (!state) return;
    /* The driver's threads are not in a forked child: what is its own stays as it is. */
    if (getpid() == context->threads.pid) {
        struct clq_cl_queue *const queues[] = {&state->main, &state->up, &state->down};
        clq_cl_drain(state);
        clq_cl_end_f32(state);
        clq_cl_slots_free(state);
        clq_cl_blocks_free(context);
        if (state->work.memory) clReleaseMemObject(state->work.memory);
        if (state->weights.memory) clReleaseMemObject(state->weights.memory);
        clq_cl_programs_free(&context->allocator, &state->programs);
        for (size_t i = 0; i < sizeof queues / sizeof queues[0]; ++i)
            if (queues[i]->queue) clReleaseCommandQueue(queues[i]->queue);
        if (state->cl) clReleaseContext(state->cl);
    }
    clq_dealloc(&context->allocator, state);
    context->opencl_state = NULL;
}

static clq_status open_own(clq_context *context, const struct clq_cl_device *device, int32_t index)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
    cl_int code;
    state->index = index;
    state->programs.device = *device;
    state->cl = clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    if (!state->cl) return clq_cl_fail(context, "clCreateContext", code);
    state->main.queue = clCreateCommandQueue(state->cl, device->id, 0, &code);
    if (!state->main.queue) return clq_cl_fail(context, "clCreateCommandQueue", code);
    return CLQ_OK;
}

static clq_status open_foreign(clq_context *context, const struct clq_cl_foreign *foreign)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    cl_context queue_context = NULL;
    cl_device_id queue_device = NULL;
    cl_int code;
    state->index = -1;
    CL_TRY(context, clGetCommandQueueInfo(foreign->queue, CL_QUEUE_CONTEXT, sizeof queue_context, &queue_context, NULL));
    CL_TRY(context, clGetCommandQueueInfo(foreign->queue, CL_QUEUE_DEVICE, sizeof queue_device, &queue_device, NULL));
    if (queue_context != foreign->cl || queue_device != foreign->device)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create_opencl: the queue belongs to another %s",
                        queue_context != foreign->cl ? "context" : "device");
    code = clq_cl_device_read(foreign->device, &state->programs.device);
    if (code != CL_SUCCESS) return clq_cl_fail(context, "clGetDeviceInfo", code);
    if (state->programs.device.refusal[0])
        return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create_opencl: %s: %s", state->programs.device.name, state->programs.device.refusal);
    CL_TRY(context, clRetainContext(foreign->cl));
    state->cl = foreign->cl;
    CL_TRY(context, clRetainCommandQueue(foreign->queue));
    state->main.queue = foreign->queue;
    return CLQ_OK;
}

/* The device of a context to be: the caller's, or the one of `name`. Leaves the context without a state if none is named and none is good. */
static clq_status open_state(clq_context *context, const clq_context_options *options, const char *source, const struct clq_cl_foreign *foreign)
{
    struct clq_cl_device *devices = NULL;
    struct clq_cl_state *state;
    int32_t count = 0, index = -1;
    clq_status status = CLQ_OK;
    if (!foreign) {
        status = clq_cl_devices_find(&context->allocator, &devices, &count);
        if (status != CLQ_OK) clq_fail(context, status, "clq_context_create: no memory for a list of devices");
        if (status == CLQ_OK) status = choose_device(context, options->device, source, devices, count, &index);
    }
    if (status == CLQ_OK && (foreign || index >= 0)) {
        state = context->opencl_state = clq_alloc_zeroed(&context->allocator, 1, sizeof *state);
        if (!state)
            status = clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "clq_context_create: no memory for a device");
        else
            status = foreign ? open_foreign(context, foreign) : open_own(context, &devices[index], index);
    }
    clq_dealloc(&context->allocator, devices);
    return status;
}

/* The unit that was asked for, which the device must have. */
static clq_status choose_unit(clq_context *context, const char *name, const char *source)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const struct clq_cl_unit *unit = clq_cl_unit_find(name);
    const char *obstacle;
    if (!unit) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: %s = \"%.40s\", there is no such unit", source, name);
    obstacle = unit->find_obstacle(&state->programs.device);
    if (obstacle)
        return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\", %s: %s", source, name, state->programs.device.name, obstacle);
    state->products.wanted = unit;
    return CLQ_OK;
}

static clq_status create(clq_context *context, const clq_context_options *options, const struct clq_option_sources *sources, const void *foreign)
{
    struct clq_cl_state *state;
    CLQ_TRY(open_state(context, options, sources->device, foreign));
    state = clq_cl_state_of(context);
    if (!state) return CLQ_OK;
    if (options->gemm_unit) CLQ_TRY(choose_unit(context, options->gemm_unit, sources->gemm_unit));
    state->programs.cl = state->cl;
    state->staging_bytes = clq_min_i64(options->staging_bytes ? options->staging_bytes : STAGING_BYTES, state->programs.device.max_alloc_bytes) /
                           ALIGNMENT * ALIGNMENT;
    clq_cl_cache_open(&state->programs.cache, &context->allocator);
    clq_log(context, CLQ_LOG_INFO, "on OpenCL: %s, %s", state->programs.device.name, state->programs.device.capabilities);
    if (!state->programs.cache.folder) clq_log(context, CLQ_LOG_WARNING, "compiled kernels are not kept: %s", state->programs.cache.reason);
    return CLQ_OK;
}

static void describe_device(const struct clq_cl_programs *programs, const clq_allocator *allocator, const struct clq_cl_products *products,
                            clq_device_info *info)
{
    const struct clq_cl_device *device = &programs->device;
    snprintf(info->name, sizeof info->name, "%s", device->name);
    snprintf(info->path, sizeof info->path, "opencl");
    snprintf(info->version, sizeof info->version, "%.60s, driver %.50s", device->version, device->driver);
    snprintf(info->capabilities, sizeof info->capabilities, "%s", device->capabilities);
    clq_cl_cache_describe(&programs->cache, info->cache, sizeof info->cache);
    if (!device->refusal[0]) clq_cl_describe_unit(programs, allocator, products, info->matrix_products, sizeof info->matrix_products);
    info->num_threads = device->compute_units;
    info->memory_bytes = device->memory_bytes;
}

static void describe(const clq_context *context, clq_device_info *info)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    if (state->index >= 0)
        snprintf(info->id, sizeof info->id, "opencl:%d", (int)state->index);
    else
        snprintf(info->id, sizeof info->id, "opencl");
    describe_device(&state->programs, &context->allocator, &state->products, info);
}

static int32_t list(const clq_context *context, clq_device_info *infos, int32_t capacity)
{
    struct clq_cl_device *devices = NULL;
    struct clq_cl_programs programs = {.cl = NULL};
    const struct clq_cl_products unknown = {.unit = NULL};
    int32_t count = 0;
    (void)context;
    if (clq_cl_devices_find(&clq_allocator_libc, &devices, &count) != CLQ_OK) return 0;
    clq_cl_cache_open(&programs.cache, &clq_allocator_libc);
    for (int32_t i = 0; i < count && i < capacity; ++i) {
        memset(&infos[i], 0, sizeof infos[i]);
        snprintf(infos[i].id, sizeof infos[i].id, "opencl:%d", (int)i);
        programs.device = devices[i];
        describe_device(&programs, &clq_allocator_libc, &unknown, &infos[i]);
        if (devices[i].refusal[0])
            snprintf(infos[i].reason, sizeof infos[i].reason, "%s", devices[i].refusal);
        else if (!(devices[i].type & (CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR)))
            snprintf(infos[i].reason, sizeof infos[i].reason, "the CPU again, slower than by its own kernels: used only by its number");
    }
    clq_cl_cache_close(&programs.cache, &clq_allocator_libc);
    clq_dealloc(&clq_allocator_libc, devices);
    return count;
}

static clq_status warm_up(clq_context *context, clq_dtype x, clq_dtype q)
{
    return clq_cl_programs_warm_up(context, &clq_cl_state_of(context)->programs, x, q);
}

/* Commands that wait for one that has failed never end on PoCL: nothing is queued then until clq_context_synchronize() has told. */
static clq_status check_earlier(clq_context *context)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    const cl_int failed = state->main.last ? clq_cl_error_of(state->main.last) : CL_SUCCESS;
    return failed == CL_SUCCESS ? CLQ_OK : clq_cl_fail(context, "an earlier command", failed);
}

static clq_status tune(clq_context *context)
{
    clq_fp_mode mode;
    clq_status status;
    CLQ_TRY(check_earlier(context));
    mode = clq_fp_mode_enter();
    status = clq_cl_tune(context);
    clq_fp_mode_leave(mode);
    return status;
}

/* ------------------------------------------------------------------------------------------------ memory and waiting */

static clq_status allocate(clq_context *context, int64_t size_bytes, void **memory)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    cl_int code;
    if (size_bytes > state->programs.device.max_alloc_bytes)
        return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "the device allocates at most %lld bytes at once, not %lld",
                        (long long)state->programs.device.max_alloc_bytes, (long long)size_bytes);
    *memory = clCreateBuffer(state->cl, CL_MEM_READ_WRITE, (size_t)size_bytes, NULL, &code);
    return *memory ? CLQ_OK : clq_cl_fail(context, "clCreateBuffer", code);
}

static void release(void *memory)
{
    clReleaseMemObject(memory);
}

static clq_status find_memory(clq_context *context, void *memory, int64_t *size_bytes)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    cl_context owner = NULL;
    cl_mem_object_type type = 0;
    size_t size = 0;
    if (clGetMemObjectInfo(memory, CL_MEM_CONTEXT, sizeof owner, &owner, NULL) != CL_SUCCESS || owner != state->cl) return CLQ_ERROR_CONTEXT;
    if (clGetMemObjectInfo(memory, CL_MEM_TYPE, sizeof type, &type, NULL) != CL_SUCCESS || type != CL_MEM_OBJECT_BUFFER) return CLQ_ERROR_CONTEXT;
    if (clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof size, &size, NULL) != CL_SUCCESS) return CLQ_ERROR_CONTEXT;
    *size_bytes = size > INT64_MAX ? INT64_MAX : (int64_t)size;
    return CLQ_OK;
}

cl_int clq_cl_drain(struct clq_cl_state *state)
{
    const cl_int code = clq_cl_queue_finish(&state->main);
    const cl_int up = clq_cl_queue_finish(&state->up), down = clq_cl_queue_finish(&state->down);
    if (code != CL_SUCCESS) return code;
    return up != CL_SUCCESS ? up : down;
}

static clq_status synchronize(clq_context *context)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    cl_int code = state->failed;
    CL_TRY(context, clFlush(state->main.queue));
    state->failed = clq_cl_drain(state);
    if (code == CL_SUCCESS) code = state->failed;
    state->failed = CL_SUCCESS;
    return code == CL_SUCCESS ? CLQ_OK : clq_cl_fail(context, "an earlier command", code);
}

/* ------------------------------------------------------------------------------------------------ arguments and results */

/* Intermediate memory of a call: first what begins as zeros, then the rest. */
struct plan {
    int64_t zeroed_bytes, bytes;
    int64_t upload_bytes; /* parameters in host memory */
    bool is_host_result;  /* something is to be read back */
};

int64_t clq_cl_take(int64_t *bytes, int64_t size_bytes)
{
    const int64_t at = *bytes;
    *bytes += clq_ceil_div(size_bytes, ALIGNMENT) * ALIGNMENT;
    return at;
}

/* The arrays of 4-byte values that an operation reads or writes besides its operands, in the order of enum clq_arg. */
struct array {
    const void *host;
    bool is_used, is_output;
    int64_t size_bytes;
};

static struct array array_of(const struct clq_op *op, int arg)
{
    const bool is_minmax = op->kind == CLQ_OP_MINMAX, is_qparams = op->kind == CLQ_OP_QPARAMS;
    const bool is_multipliers = op->kind == CLQ_OP_MULTIPLIERS, is_requantize = op->kind == CLQ_OP_REQUANTIZE;
    const bool is_learnable = op->kind == CLQ_OP_BACKWARD_LEARNABLE, has_params = op->param_count > 0 && !is_minmax && !is_qparams;
    const int64_t bytes = 4 * op->param_count, source_bytes = is_multipliers && op->is_single ? 4 : bytes, target_bytes = op->is_target_single ? 4 : bytes;
    switch (arg) {
    case CLQ_ARG_SCALE: return (struct array){op->scale, has_params, false, source_bytes};
    case CLQ_ARG_ZERO_POINT: return (struct array){op->zero_point, has_params && op->has_zero_point, false, source_bytes};
    case CLQ_ARG_SOURCE_ZERO_POINT: return (struct array){op->source_zero_point, is_multipliers || is_requantize, is_multipliers, bytes};
    case CLQ_ARG_TARGET_SCALE: return (struct array){op->target_scale, is_multipliers, false, target_bytes};
    case CLQ_ARG_TARGET_ZERO_POINT: return (struct array){op->target_zero_point, is_multipliers && op->has_target_zero_point, false, target_bytes};
    case CLQ_ARG_LO: return (struct array){op->lo, is_minmax || is_qparams, is_minmax, bytes};
    case CLQ_ARG_HI: return (struct array){op->hi, is_minmax || is_qparams, is_minmax, bytes};
    case CLQ_ARG_AVERAGE_LO: return (struct array){op->average_lo, is_qparams && op->averaged, true, bytes};
    case CLQ_ARG_AVERAGE_HI: return (struct array){op->average_hi, is_qparams && op->averaged, true, bytes};
    case CLQ_ARG_SCALE_OUT: return (struct array){op->scale_out, is_qparams || is_multipliers, true, bytes};
    case CLQ_ARG_ZERO_POINT_OUT: return (struct array){op->zero_point_out, is_multipliers || (is_qparams && op->has_zero_point), true, bytes};
    case CLQ_ARG_DSCALE: return (struct array){op->dscale, is_learnable, true, bytes};
    case CLQ_ARG_DZERO_POINT: return (struct array){op->dzero_point, is_learnable && op->has_dzero_point, true, bytes};
    case CLQ_ARG_COUNTS:
        return (struct array){op->counts, op->counted && op->kind != CLQ_OP_ERROR_STATS, true, sizeof op->counts};
    default: return (struct array){0};
    }
}

/* Some operand is in host memory, to be staged. */
static bool is_on_host(const struct clq_op *op)
{
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        if (clq_op_has_operand(op, k) && !op->device[CLQ_ARG_0 + k]) return true;
    return false;
}

/* Elements of an operation that pass at once. */
static int64_t segment_elements(const struct clq_cl_state *state, const struct clq_op *op)
{
    return is_on_host(op) ? clq_cl_chunk_elements(state, op) : op->count;
}

static int64_t partial_count(const struct clq_cl_state *state, const struct clq_op *op)
{
    const int64_t chunk = segment_elements(state, op);
    return clq_ceil_div(op->count, chunk) * clq_cl_count_partials(chunk);
}

/* Device arguments to where they are, host arrays to offsets in intermediate memory (results) or in an upload (inputs). */
static void plan_zeroed(const struct clq_cl_state *state, struct clq_cl_bound *bound, struct plan *plan)
{
    const struct clq_op *op = bound->op;
    const int64_t at_once = segment_elements(state, op);
    if (op->kind == CLQ_OP_MINMAX) bound->keys.offset_bytes = clq_cl_take(&plan->bytes, 2 * 4 * op->param_count);
    /* The kernels of minmax count in any case. */
    if (op->kind == CLQ_OP_MINMAX || clq_cl_has_tally(op)) bound->tally.offset_bytes = clq_cl_take(&plan->bytes, 2 * 4 * 3);
    if (op->kind == CLQ_OP_BACKWARD_LEARNABLE) {
        bound->gradient_parts = clq_cl_count_gradient_parts(state, op, at_once);
        bound->keeps_gradients = bound->gradient_parts > 1 || at_once < op->count;
        if (bound->keeps_gradients)
            bound->partials.offset_bytes = clq_cl_take(&plan->bytes, op->param_count * bound->gradient_parts * (int64_t)sizeof(struct clql_gradients));
    }
    plan->zeroed_bytes = plan->bytes;
}

static void plan_rest(const struct clq_cl_state *state, struct clq_cl_bound *bound, struct plan *plan)
{
    const struct clq_op *op = bound->op;
    if (op->kind == CLQ_OP_ERROR_STATS) {
        bound->partials.offset_bytes = clq_cl_take(&plan->bytes, (partial_count(state, op) + 1) * (int64_t)sizeof(struct clql_partial));
        bound->partials.offset_bytes = clq_ceil_div(bound->partials.offset_bytes, (int64_t)sizeof(struct clql_partial)) * (int64_t)sizeof(struct clql_partial);
        plan->is_host_result = true;
    }
    for (int arg = 0; arg < CLQ_ARGS; ++arg) {
        const struct array array = array_of(op, arg);
        if (op->device[arg]) {
            /* Its pointer is the offset. */
            const void *offset = arg <= CLQ_ARG_MASK ? op->operand[arg].data : arg == CLQ_ARG_COUNTS ? op->counts_out : array.host;
            bound->arg[arg] = (struct clq_cl_place){op->device[arg], (int64_t)(uintptr_t)offset};
        } else if (array.is_used) {
            bound->arg[arg].offset_bytes = clq_cl_take(array.is_output ? &plan->bytes : &plan->upload_bytes, array.size_bytes);
            plan->is_host_result |= array.is_output;
        }
    }
}

/* Memory objects for the offsets that the plan made. */
static void place(const struct clq_cl_state *state, struct clq_cl_bound *bound, const struct clq_cl_place *upload)
{
    const struct clq_op *op = bound->op;
    bound->keys.memory = bound->tally.memory = bound->partials.memory = state->work.memory;
    for (int arg = 0; arg < CLQ_ARGS; ++arg) {
        const struct array array = array_of(op, arg);
        if (op->device[arg] || !array.is_used) continue;
        bound->arg[arg].memory = array.is_output ? state->work.memory : upload->memory;
        if (!array.is_output) bound->arg[arg].offset_bytes += upload->offset_bytes;
    }
}

clq_status clq_cl_arena_fit(clq_context *context, struct clq_cl_arena *arena, int64_t size_bytes)
{
    void *memory;
    if (size_bytes <= arena->size_bytes) return CLQ_OK;
    CLQ_TRY(allocate(context, size_bytes, &memory));
    if (arena->memory) clReleaseMemObject(arena->memory);
    arena->memory = memory;
    arena->size_bytes = size_bytes;
    return CLQ_OK;
}

static clq_status make_work(clq_context *context, const struct plan *plan)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    CLQ_TRY(clq_cl_arena_fit(context, &state->work, plan->bytes));
    if (plan->zeroed_bytes > 0) CL_TRY(context, clq_cl_queue_zero(&state->main, state->work.memory, 0, (size_t)plan->zeroed_bytes));
    return CLQ_OK;
}

static clq_status upload_params(clq_context *context, const struct clq_cl_bound *bounds, int64_t n, const struct plan *plan, struct clq_cl_place *upload)
{
    char *host;
    if (plan->upload_bytes == 0) return CLQ_OK;
    CLQ_TRY(clq_cl_upload_begin(context, plan->upload_bytes, upload, &host));
    clq_cl_state_of(context)->held = clq_cl_state_of(context)->blocks;
    for (int64_t i = 0; i < n; ++i)
        for (int arg = 0; arg < CLQ_ARGS; ++arg) {
            const struct array array = array_of(bounds[i].op, arg);
            if (array.is_used && !array.is_output && !bounds[i].op->device[arg])
                memcpy(host + bounds[i].arg[arg].offset_bytes, array.host, (size_t)array.size_bytes);
        }
    return clq_cl_upload_end(context, upload, host, plan->upload_bytes);
}

/* Averages in host memory are inputs before they are outputs; the call waits for them at its end. */
static clq_status write_averages(clq_context *context, const struct clq_cl_bound *bounds, int64_t n)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    for (int64_t i = 0; i < n; ++i)
        for (int arg = CLQ_ARG_AVERAGE_LO; arg <= CLQ_ARG_AVERAGE_HI; ++arg) {
            const struct array array = array_of(bounds[i].op, arg);
            if (!array.is_used || bounds[i].op->device[arg]) continue;
            CL_TRY(context, clq_cl_queue_write(&state->main, state->work.memory, (size_t)bounds[i].arg[arg].offset_bytes, (size_t)array.size_bytes, array.host, NULL));
        }
    return CLQ_OK;
}

static void add_partials(struct clq_op *op, const struct clql_partial *partials, int64_t n, bool fp64)
{
    struct clq_error_sums *sums = &op->sums;
    double *const totals[] = {&sums->squared_error, &sums->absolute_error, &sums->squared_x, &sums->squared_y, &sums->product};
    for (int64_t i = 0; i < n; ++i) {
        const struct clql_partial *partial = &partials[i];
        float max_error;
        sums->count += partial->count;
        sums->nan += partial->nan;
        sums->inf += partial->inf;
        op->counts[2] += partial->clipped;
        memcpy(&max_error, &partial->max_error, sizeof max_error);
        if (max_error > sums->max_error) sums->max_error = max_error;
        for (int k = 0; k < 5; ++k) {
            double sum;
            memcpy(&sum, &partial->sum[k], sizeof sum);
            *totals[k] += fp64 ? sum : ldexp((double)partial->sum[k], partial->exponent[k]);
        }
    }
    /* A difference of finite values can be infinite, which sums in integers cannot be. */
    if (isinf(sums->max_error)) *totals[0] = *totals[1] = sums->max_error;
}

/* Reads an operation's results for host memory; `partials` is room for those of error statistics. */
static clq_status read_results(clq_context *context, struct clq_cl_bound *bound, struct clql_partial *partials)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_op *op = bound->op;
    if (op->kind == CLQ_OP_ERROR_STATS)
        CL_TRY(context, clq_cl_queue_read(&state->main, bound->partials.memory, (size_t)bound->partials.offset_bytes,
                                          (size_t)bound->partials_used * sizeof *partials, partials, NULL));
    for (int arg = 0; arg < CLQ_ARGS; ++arg) {
        const struct array array = array_of(op, arg);
        if (!array.is_used || !array.is_output || op->device[arg]) continue;
        CL_TRY(context, clq_cl_queue_read(&state->main, bound->arg[arg].memory, (size_t)bound->arg[arg].offset_bytes, (size_t)array.size_bytes,
                                          (void *)(uintptr_t)array.host, NULL));
    }
    return CLQ_OK;
}

static clq_status fetch_results(clq_context *context, struct clq_cl_bound *bounds, int64_t n)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clql_partial *partials;
    int64_t total = 0, at = 0;
    clq_status status = CLQ_OK;
    cl_int code;
    for (int64_t i = 0; i < n; ++i)
        total += bounds[i].partials_used;
    partials = clq_alloc(&context->allocator, clq_max_i64(1, total), sizeof *partials);
    if (!partials) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory for %lld partial sums", (long long)total);
    for (int64_t i = 0; i < n && status == CLQ_OK; at += bounds[i++].partials_used)
        status = read_results(context, &bounds[i], partials + at);
    /* Also after a failure: the reads under way write to memory that is about to go. */
    code = clq_cl_drain(state);
    if (status == CLQ_OK && code != CL_SUCCESS) status = clq_cl_fail(context, "reading results", code);
    at = 0;
    for (int64_t i = 0; i < n && status == CLQ_OK; at += bounds[i++].partials_used)
        add_partials(bounds[i].op, partials + at, bounds[i].partials_used, state->programs.device.fp64);
    clq_dealloc(&context->allocator, partials);
    return status;
}

/* ------------------------------------------------------------------------------------------------ operations */

/* Elements of operations whose operands are on the device. */
static clq_status run_on_device(clq_context *context, struct clq_cl_bound *bounds, int64_t n)
{
    struct clq_cl_segment one, *segments = n == 1 ? &one : clq_alloc(&context->allocator, n, sizeof *segments);
    int64_t used = 0;
    clq_status status = CLQ_OK;
    if (!segments) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory for %lld operations", (long long)n);
    for (int64_t i = 0; i < n; ++i) {
        struct clq_cl_segment *segment = &segments[used];
        if (!clq_op_has_operand(bounds[i].op, 0)) continue; /* only parameters */
        *segment = (struct clq_cl_segment){.bound = &bounds[i], .count = bounds[i].op->count};
        for (int k = 0; k < CLQ_OPERANDS; ++k) {
            segment->operand[k].memory = bounds[i].arg[CLQ_ARG_0 + k].memory;
            segment->operand[k].offset_bytes = bounds[i].arg[CLQ_ARG_0 + k].offset_bytes;
        }
        ++used;
    }
    if (used > 0) status = clq_cl_launch_segments(context, segments, used, NULL);
    if (segments != &one) clq_dealloc(&context->allocator, segments);
    return status;
}

/* `bounds` in order: `on_host` operations with operands in host memory after those without. */
static clq_status run_bound(clq_context *context, struct clq_cl_bound *bounds, int64_t n, int64_t on_device)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_place upload = {.memory = NULL};
    struct plan plan = {.bytes = 0};
    clq_status status;
    for (int64_t i = 0; i < n; ++i)
        plan_zeroed(state, &bounds[i], &plan);
    for (int64_t i = 0; i < n; ++i)
        plan_rest(state, &bounds[i], &plan);
    status = make_work(context, &plan);
    if (status == CLQ_OK) status = upload_params(context, bounds, n, &plan, &upload);
    for (int64_t i = 0; i < n && status == CLQ_OK; ++i)
        place(state, &bounds[i], &upload);
    if (status == CLQ_OK) status = write_averages(context, bounds, n);
    if (status == CLQ_OK && on_device > 0) status = run_on_device(context, bounds, on_device);
    if (status == CLQ_OK && on_device < n) status = clq_cl_run_staged(context, bounds + on_device, n - on_device);
    if (status == CLQ_OK) status = clq_cl_launch_finish(context, bounds, n);
    if (status == CLQ_OK) status = plan.is_host_result ? fetch_results(context, bounds, n) : CLQ_OK;
    if (status != CLQ_OK && plan.is_host_result) clq_cl_drain(state); /* writes under way read from the caller's memory */
    state->held = NULL;
    if (upload.memory) clReleaseMemObject(upload.memory);
    if (status == CLQ_OK) CL_TRY(context, clFlush(state->main.queue));
    return status;
}

/* A matrix product; with C in host memory it is complete on return. */
static clq_status run_product(clq_context *context, const struct clq_gemm *gemm)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    if (!gemm->a.device || !gemm->c.device || !(gemm->packed || gemm->b.device)) return clq_cl_multiply_staged(context, gemm);
    CLQ_TRY(gemm->a.dtype == CLQ_F32 ? clq_cl_multiply_f32(context, gemm, NULL) : clq_cl_multiply(context, gemm, NULL, NULL));
    CL_TRY(context, clFlush(state->main.queue));
    return CLQ_OK;
}

static clq_status run(clq_context *context, struct clq_op *const *ops, int64_t n)
{
    struct clq_cl_bound one, *bounds = n == 1 ? &one : clq_alloc(&context->allocator, n, sizeof *bounds);
    struct clq_cl_state *state = clq_cl_state_of(context);
    cl_event before = state->main.last;
    int64_t used = 0, on_device;
    clq_fp_mode mode;
    clq_status status = check_earlier(context);
    if (!bounds) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory for %lld operations", (long long)n);
    if (status != CLQ_OK) {
        if (bounds != &one) clq_dealloc(&context->allocator, bounds);
        return status;
    }
    if (before && clRetainEvent(before) != CL_SUCCESS) before = NULL;
    mode = clq_fp_mode_enter();
    for (int64_t i = 0; i < n; ++i)
        if (ops[i]->kind != CLQ_OP_GEMM && !is_on_host(ops[i])) bounds[used++] = (struct clq_cl_bound){.op = ops[i]};
    on_device = used;
    for (int64_t i = 0; i < n; ++i)
        if (ops[i]->kind != CLQ_OP_GEMM && is_on_host(ops[i])) bounds[used++] = (struct clq_cl_bound){.op = ops[i]};
    status = used > 0 ? run_bound(context, bounds, used, on_device) : CLQ_OK;
    for (int64_t i = 0; i < n && status == CLQ_OK; ++i)
        if (ops[i]->kind == CLQ_OP_GEMM) status = run_product(context, ops[i]->gemm);
    /* This call may have failed for the sake of earlier work, which may never be asked about but in clq_context_synchronize(). */
    if (status != CLQ_OK && before && state->failed == CL_SUCCESS) state->failed = clq_cl_error_of(before);
    if (before) clReleaseEvent(before);
    if (bounds != &one) clq_dealloc(&context->allocator, bounds);
    clq_fp_mode_leave(mode);
    return status;
}

/* What is done in place cannot be done again on the CPU if the device fails halfway. */
static bool supports(const clq_context *context, const struct clq_op *op)
{
    (void)context;
    return !(op->in_place || op->averaged) || clq_op_is_on_device(op);
}

/* ------------------------------------------------------------------------------------------------ packed weights */

static void unpack(struct clq_packed *packed)
{
    struct clq_cl_packed *made = packed->data;
    if (!made) return;
    if (made->pid == getpid()) {
        if (made->memory) clReleaseMemObject(made->memory);
        if (made->cl) clReleaseContext(made->cl);
    }
    clq_dealloc(&packed->allocator, made);
}

static clq_status pack(clq_context *context, const struct clq_matrix *b, struct clq_packed *packed)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const int64_t bytes = clq_cl_lines_bytes(packed->batch, packed->k, packed->n);
    struct clq_cl_packed *made = packed->data = clq_alloc_zeroed(&context->allocator, 1, sizeof *made);
    clq_fp_mode mode;
    void *memory;
    clq_status status;
    if (!made) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "clq_packed_create: no memory for packed weights");
    if (bytes < 0) return clq_fail(context, CLQ_ERROR_OVERFLOW, "clq_packed_create: packed weights do not fit in 63 bits");
    CLQ_TRY(check_earlier(context));
    made->pid = getpid();
    made->device = state->programs.device.id;
    CLQ_TRY(allocate(context, bytes, &memory));
    made->memory = memory;
    CL_TRY(context, clRetainContext(state->cl));
    made->cl = state->cl;
    mode = clq_fp_mode_enter();
    status = clq_cl_pack(context, b, packed, made);
    if (status != CLQ_OK) clq_cl_drain(state); /* transfers under way read from the slots */
    clq_fp_mode_leave(mode);
    return status;
}

static bool accepts(const clq_context *context, const struct clq_packed *packed)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    const struct clq_cl_packed *made = packed->data;
    return made->cl == state->cl && made->device == state->programs.device.id;
}

const struct clq_backend clq_backend_opencl = {
    .name = "opencl",
    .create = create,
    .destroy = destroy,
    .supports = supports,
    .run = run,
    .pack = pack,
    .unpack = unpack,
    .accepts = accepts,
    .describe = describe,
    .list = list,
    .synchronize = synchronize,
    .warm_up = warm_up,
    .tune = tune,
    .allocate = allocate,
    .release = release,
    .find_memory = find_memory,
};
