/* SPDX-License-Identifier: MIT */
/* Running calls one by one or in batches: clq_batch_begin(), clq_batch_end(). */
#include "config.h"

#include "task.h"

#include "base/alloc.h"
#include "base/util.h"
#include "error_stats.h"
#include "loops.h"
#include <string.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

static struct clq_task *take_spare(clq_context *context)
{
    struct clq_task *task = context->spare_tasks;
    if (task) context->spare_tasks = task->next;
    return task;
}

clq_status clq_task_begin(const struct clq_call *call, struct clq_task *local, struct clq_task **task)
{
    CLQ_TRY(clq_check_call(call));
    *task = local;
    if (call->context->batching) {
        *task = take_spare(call->context);
        if (!*task) *task = clq_alloc(&call->context->allocator, 1, sizeof **task);
        if (!*task) return FAIL(CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory to record a call", call->name);
    }
    (*task)->ops = (*task)->params = 0;
    (*task)->counts.tensor = NULL;
    (*task)->scratch = (*task)->device_scratch = NULL;
    (*task)->stats = NULL;
    (*task)->next = NULL;
    return CLQ_OK;
}

struct clq_param *clq_task_param(struct clq_task *task, bool is_output)
{
    struct clq_param *param = &task->param[task->params];
    param->operand.tensor = NULL;
    param->operand.device = NULL;
    param->operand.data = NULL;
    param->data = param->copy = param->device = param->device_copy = NULL;
    task->is_output[task->params++] = is_output;
    return param;
}

struct clq_op *clq_task_op(struct clq_task *task, enum clq_op_kind kind)
{
    struct clq_op *op = &task->op[task->ops++];
    clq_op_init(op, kind);
    if (op != task->op) op[-1].then = op;
    return op;
}

void clq_op_set_convert(struct clq_op *op, const struct clq_operand *in, const struct clq_operand *out)
{
    clq_op_set_operands(op, (const struct clq_operand *[CLQ_MASK]){in, out}, NULL, 1, NULL);
}

void clq_op_set_qparams(struct clq_op *op, const struct clq_scheme_info *info, const struct clq_param *scale, const struct clq_param *zero_point)
{
    op->param_count = info->param_count;
    op->scale = scale->data;
    op->device[CLQ_ARG_SCALE] = scale->device;
    op->has_zero_point = zero_point->operand.tensor != NULL;
    op->zero_point = zero_point->data;
    op->device[CLQ_ARG_ZERO_POINT] = zero_point->device;
    op->fixed_zero_point = info->zero_point;
    op->qmin = info->qmin;
    op->qmax = info->qmax;
    op->reciprocal = info->scheme.quotient == CLQ_RECIPROCAL;
}

void clq_op_set_counts(struct clq_op *op, const struct clq_operand *counts)
{
    op->counted = counts->tensor != NULL;
    if (!counts->tensor || !counts->device) return;
    op->counts_out = (int64_t *)(void *)counts->data;
    op->device[CLQ_ARG_COUNTS] = counts->device;
}

/* In a batch from memory that its calls share: those that agree in their memory share launches. */
static clq_status take_device_scratch(const struct clq_call *call, struct clq_task *task, int64_t size_bytes, void **device, int64_t *offset)
{
    enum { MOST_BLOCKS = sizeof call->context->batch_memory / sizeof call->context->batch_memory[0], FIRST_BYTES = 1 << 20, MOST_BYTES = 1 << 26 };
    const int64_t needed = clq_ceil_div(clq_max_i64(1, size_bytes), CLQ_ALIGNMENT) * CLQ_ALIGNMENT;
    clq_context *context = call->context;
    void **blocks = context->batch_memory;
    *offset = 0;
    if (!context->batching || (needed > context->block_bytes - context->block_used_bytes && context->batch_blocks == MOST_BLOCKS)) {
        CLQ_TRY(context->backend->allocate(context, needed, &task->device_scratch));
        *device = task->device_scratch;
        return CLQ_OK;
    }
    if (context->batch_blocks == 0 || needed > context->block_bytes - context->block_used_bytes) {
        const int64_t bytes = clq_max_i64(needed, clq_min_i64(MOST_BYTES, clq_max_i64(FIRST_BYTES, 2 * context->block_bytes)));
        CLQ_TRY(context->backend->allocate(context, bytes, &blocks[context->batch_blocks]));
        ++context->batch_blocks;
        context->block_bytes = bytes;
        context->block_used_bytes = 0;
    }
    *device = blocks[context->batch_blocks - 1];
    *offset = context->block_used_bytes;
    context->block_used_bytes += needed;
    return CLQ_OK;
}

clq_status clq_task_scratch(const struct clq_call *call, struct clq_task *task, bool on_device, int64_t count, struct clq_param *arrays, int n)
{
    const int64_t few = (int64_t)(sizeof task->inline_scratch / sizeof task->inline_scratch[0]);
    clq_context *context = call->context;
    uintptr_t base = (uintptr_t)task->inline_scratch;
    void *device = NULL;
    if (on_device) {
        int64_t offset;
        CLQ_TRY(take_device_scratch(call, task, 4 * n * count, &device, &offset));
        base = (uintptr_t)offset;
    } else if (n * count > few) {
        task->scratch = clq_alloc(&context->allocator, count, (size_t)n * 4);
        if (!task->scratch) return FAIL(CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory for %d times %lld values", call->name, n, (long long)count);
        base = (uintptr_t)task->scratch;
    }
    for (int i = 0; i < n; ++i) {
        arrays[i] = (struct clq_param){.device = device};
        arrays[i].data = (void *)(base + (uintptr_t)(4 * i * count));
    }
    return CLQ_OK;
}

clq_status clq_task_zero(struct clq_task *task, const struct clq_operand *output)
{
    static const int64_t zero;
    const int64_t shape[] = {output->count};
    const clq_tensor source = {.dtype = output->tensor->dtype, .rank = 1, .shape = {output->count}, .data = (void *)(uintptr_t)&zero};
    const struct clq_operand in = {.tensor = &source, .data = (char *)(uintptr_t)&zero, .count = output->count};
    clq_tensor target = clq_tensor_host(output->tensor->dtype, NULL, 1, shape);
    struct clq_operand out = *output;
    if (output->count == 0) return CLQ_OK;
    out.tensor = &target;
    clq_op_set_convert(clq_task_op(task, CLQ_OP_CONVERT), &in, &out);
    return CLQ_OK;
}

clq_status clq_task_zero_param(struct clq_task *task, const struct clq_param *param, int64_t count)
{
    const clq_tensor view = {.dtype = CLQ_F32};
    const struct clq_operand operand = {.tensor = &view, .device = param->device, .data = param->data, .count = count};
    return clq_task_zero(task, &operand);
}

/* ------------------------------------------------------------------------------------------------ the end of a task */

static void free_task(clq_context *context, struct clq_task *task, bool recorded)
{
    for (int32_t i = 0; i < task->params; ++i)
        if (!clq_param_is_view(&task->param[i])) clq_param_free(context, &task->param[i]);
    clq_dealloc(&context->allocator, task->scratch);
    clq_release(context, task->device_scratch);
    if (!recorded) return;
    task->next = context->spare_tasks;
    context->spare_tasks = task;
}

/* Results to where the caller wants them. */
static clq_status finish(clq_context *context, struct clq_task *task)
{
    static const int64_t none[3];
    clq_status status = CLQ_OK;
    for (int32_t i = 0; i < task->params; ++i) {
        const clq_status stored = task->is_output[i] && !clq_param_is_view(&task->param[i]) ? clq_param_store(context, &task->param[i]) : CLQ_OK;
        if (status == CLQ_OK) status = stored;
    }
    if (task->counts.tensor && !task->counts.device) clq_store_counts(&task->counts, task->ops ? task->op[task->ops - 1].counts : none);
    if (task->stats) clq_derive_error_stats(task->ops ? &task->op[0] : NULL, task->elements, task->stats);
    return status;
}

/* A batch outlives the caller's views. Those of results that are not made in place are needed in the end; parameters used in place no more. */
static void keep_views(struct clq_task *task)
{
    int32_t needed = 0;
    for (int32_t i = 0; i < task->params; ++i) {
        struct clq_operand *operand = &task->param[i].operand;
        if (clq_param_is_view(&task->param[i])) continue;
        needed = i + 1;
        if (!task->is_output[i] || !operand->tensor) continue;
        task->views[i] = *operand->tensor;
        operand->tensor = &task->views[i];
    }
    task->params = needed;
}

static clq_status run_task(clq_context *context, struct clq_task *task)
{
    struct clq_op *first = task->op;
    if (task->ops > 0) CLQ_TRY(clq_run(context, &first, 1));
    return finish(context, task);
}

clq_status clq_task_end(const struct clq_call *call, struct clq_task *task, clq_status status)
{
    clq_context *context = call->context;
    const bool recorded = context->batching;
    if (status == CLQ_OK && recorded) {
        keep_views(task);
        *context->next_task = task;
        context->next_task = &task->next;
        return CLQ_OK;
    }
    if (status == CLQ_OK) status = run_task(context, task);
    free_task(context, task, recorded);
    return status;
}

/* ------------------------------------------------------------------------------------------------ batches */

clq_status clq_batch_begin(clq_context *context)
{
    const struct clq_call self = {context, "clq_batch_begin"}, *call = &self;
    CLQ_TRY(clq_check_call(call));
    if (context->batching) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_batch_begin: a batch is open already");
    context->batching = true;
    context->first_task = NULL;
    context->next_task = &context->first_task;
    return CLQ_OK;
}

/* Runs the operations of all tasks, and then what follows in each. */
static clq_status run_batch(clq_context *context, struct clq_op **ops)
{
    clq_status status = CLQ_OK;
    int64_t n = 0;
    for (struct clq_task *task = context->first_task; task; task = task->next)
        if (task->ops > 0) ops[n++] = task->op;
    if (n > 0) status = clq_run(context, ops, n);
    for (struct clq_task *task = context->first_task; task && status == CLQ_OK; task = task->next)
        status = finish(context, task);
    return status;
}

static void end_batch(clq_context *context)
{
    while (context->first_task) {
        struct clq_task *task = context->first_task;
        context->first_task = task->next;
        free_task(context, task, true);
    }
    while (context->batch_blocks > 0)
        clq_release(context, context->batch_memory[--context->batch_blocks]);
    context->block_bytes = context->block_used_bytes = 0;
    context->batching = false;
}

void clq_tasks_free(clq_context *context)
{
    struct clq_task *task;
    end_batch(context);
    while ((task = take_spare(context)) != NULL)
        clq_dealloc(&context->allocator, task);
}

clq_status clq_batch_end(clq_context *context)
{
    const struct clq_call self = {context, "clq_batch_end"}, *call = &self;
    struct clq_op **ops;
    int64_t tasks = 0;
    clq_status status = clq_check_call(call);
    if (status == CLQ_OK && !context->batching) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "clq_batch_end: no batch is open");
    if (status != CLQ_OK) {
        if (context) end_batch(context); /* in any case */
        return status;
    }
    for (const struct clq_task *task = context->first_task; task; task = task->next)
        ++tasks;
    if (tasks > 0) {
        ops = clq_alloc(&context->allocator, tasks, sizeof *ops);
        status = ops ? run_batch(context, ops) : FAIL(CLQ_ERROR_OUT_OF_MEMORY, "clq_batch_end: no memory for a list of %lld calls", (long long)tasks);
        clq_dealloc(&context->allocator, ops);
    }
    end_batch(context);
    return status;
}
