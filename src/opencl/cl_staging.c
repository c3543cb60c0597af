/* SPDX-License-Identifier: MIT */
/*
 * Host tensors on a device. Their elements pass in chunks through two slots of pinned memory: while one slot's chunk is computed, the next
 * one's inputs are on their way there, and the outputs of the one before on their way back, each on a queue of its own. Many small
 * tensors share a slot, and a launch. Where host and device have the same memory, larger tensors whose elements are in order are not copied at all.
 */
#include "config.h"

#include "base/alloc.h"
#include "base/util.h"
#include "opencl/cl_state.h"
#include <string.h>

#define SLOT_SEGMENTS   512         /* chunks in a slot */
#define ALIGNMENT       64          /* of a chunk in a slot, bytes; and in elements, so that 4-bit ones fit too */
#define COPY_TASK_BYTES (1 << 20)   /* a thread is worth starting for so much */
#define ZERO_COPY_BYTES (1 << 14)   /* less is copied sooner than made a memory object of, and shares its launch with others */

/* What is in a slot. */
struct round {
    struct clq_cl_slot *slot;
    int64_t n; /* segments */
    int64_t in_bytes, out_bytes; /* used from the begin and from the end of the slot */
    int64_t elements_bytes;      /* of all chunks, zero-copy ones too */
    bool is_awaited;             /* the call waits for it: it has outputs in host memory, or uses the caller's memory where it is */
    cl_event done;               /* the last command of the round; NULL: nothing is under way */
    struct clq_cl_segment segments[SLOT_SEGMENTS];
};

/* ------------------------------------------------------------------------------------------------ copies on the host */

struct copy {
    const struct clq_op *op;
    int k;
    int64_t first, count, piece;
    char *packed;
    bool to_packed;
};

static void copy_strided(char *packed, char *element, int64_t stride_bytes, int64_t n, int64_t size_bytes, bool to_packed)
{
    for (int64_t i = 0; i < n; ++i, packed += size_bytes, element += stride_bytes)
        memcpy(to_packed ? packed : element, to_packed ? element : packed, (size_t)size_bytes);
}

/* A run along the innermost loop. */
static void copy_run(char *packed, char *element, int64_t stride, int64_t n, int64_t size_bytes, bool to_packed)
{
    if (stride == 1) {
        memcpy(to_packed ? packed : element, to_packed ? element : packed, (size_t)(n * size_bytes));
        return;
    }
    switch (size_bytes) { /* constants make moves of the copies */
    case 1: copy_strided(packed, element, stride, n, 1, to_packed); break;
    case 2: copy_strided(packed, element, 2 * stride, n, 2, to_packed); break;
    case 4: copy_strided(packed, element, 4 * stride, n, 4, to_packed); break;
    default: copy_strided(packed, element, 8 * stride, n, 8, to_packed);
    }
}

/* The elements with the flat indices [first, first + count) between their places and an array. */
static void copy_range(const struct copy *copy, int64_t first, int64_t count, char *packed)
{
    const struct clq_op *op = copy->op;
    const struct clq_loop *inner = &op->loops[op->rank - 1];
    const int64_t bits = clq_op_bits(op, copy->k);
    char *base = op->operand[copy->k].data;
    if (clq_cl_is_dense(op, copy->k)) {
        char *elements = base + first * bits / 8;
        memcpy(copy->to_packed ? packed : elements, copy->to_packed ? elements : packed, (size_t)((count * bits + 7) / 8));
        return;
    }
    while (count > 0) {
        const int64_t col = first % inner->extent, n = clq_min_i64(inner->extent - col, count);
        int64_t row = first / inner->extent, offset = col * inner->stride[copy->k];
        for (int32_t i = op->rank - 2; i >= 0; --i) {
            offset += row % op->loops[i].extent * op->loops[i].stride[copy->k];
            row /= op->loops[i].extent;
        }
        copy_run(packed, base + offset * (bits / 8), inner->stride[copy->k], n, bits / 8, copy->to_packed);
        packed += n * (bits / 8);
        first += n;
        count -= n;
    }
}

static void copy_piece(void *argument, int64_t index)
{
    const struct copy *copy = argument;
    const int64_t begin = index * copy->piece, bits = clq_op_bits(copy->op, copy->k);
    copy_range(copy, copy->first + begin, clq_min_i64(copy->piece, copy->count - begin), copy->packed + begin * bits / 8);
}

static void copy_chunk(const clq_context *context, const struct clq_cl_segment *segment, int k, bool to_packed)
{
    const struct clq_op *op = segment->bound->op;
    const int64_t bytes = (segment->count * clq_op_bits(op, k) + 7) / 8;
    const int64_t pieces = clq_max_i64(1, clq_min_i64(context->threads.count, bytes / COPY_TASK_BYTES));
    struct copy copy = {.op = op, .k = k, .first = segment->first, .count = segment->count, .packed = segment->operand[k].host, .to_packed = to_packed};
    copy.piece = clq_ceil_div(clq_ceil_div(copy.count, pieces), ALIGNMENT) * ALIGNMENT;
    clq_parallel_for(&context->threads, clq_ceil_div(copy.count, copy.piece), copy_piece, &copy);
}

/* ------------------------------------------------------------------------------------------------ slots */

clq_status clq_cl_open_transfers(clq_context *context)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_queue *const queues[] = {&state->up, &state->down};
    cl_command_queue_properties properties = 0;
    /* The measurements that the main queue's owner makes include the transfers. */
    CL_TRY(context, clGetCommandQueueInfo(state->main.queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL));
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; ++i) {
        cl_int code;
        if (queues[i]->queue) continue;
        queues[i]->queue = clCreateCommandQueue(state->cl, state->programs.device.id, properties & CL_QUEUE_PROFILING_ENABLE, &code);
        if (!queues[i]->queue) return clq_cl_fail(context, "clCreateCommandQueue", code);
    }
    return CLQ_OK;
}

/* An unmapping is over before the memory goes. */
static void close_slot(struct clq_cl_state *state, struct clq_cl_slot *slot)
{
    if (slot->busy) clReleaseEvent(slot->busy);
    if (slot->pinned) clEnqueueUnmapMemObject(state->up.queue, slot->pinned_memory, slot->pinned, 0, NULL, NULL);
    if (slot->pinned) clFinish(state->up.queue);
    if (slot->pinned_memory) clReleaseMemObject(slot->pinned_memory);
    if (slot->memory) clReleaseMemObject(slot->memory);
    *slot = (struct clq_cl_slot){.memory = NULL};
}

clq_status clq_cl_open_slot(clq_context *context, struct clq_cl_slot *slot, int64_t size_bytes)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const size_t bytes = (size_t)size_bytes;
    cl_int code;
    CLQ_TRY(clq_cl_open_transfers(context));
    if (slot->pinned && slot->size_bytes >= size_bytes) return CLQ_OK;
    close_slot(state, slot);
    slot->memory = clCreateBuffer(state->cl, CL_MEM_READ_WRITE, bytes, NULL, &code);
    if (!slot->memory) return clq_cl_fail(context, "clCreateBuffer", code);
    slot->pinned_memory = clCreateBuffer(state->cl, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &code);
    if (!slot->pinned_memory) return clq_cl_fail(context, "clCreateBuffer", code);
    slot->pinned = clEnqueueMapBuffer(state->up.queue, slot->pinned_memory, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, NULL, &code);
    if (!slot->pinned) return clq_cl_fail(context, "clEnqueueMapBuffer", code);
    slot->size_bytes = size_bytes;
    return CLQ_OK;
}

void clq_cl_slots_free(struct clq_cl_state *state)
{
    for (int i = 0; i < 2; ++i)
        close_slot(state, &state->slots[i]);
}

/* ------------------------------------------------------------------------------------------------ chunks */

/* Operand k is there, and in host memory. */
static bool is_host(const struct clq_op *op, int k)
{
    return clq_op_has_operand(op, k) && !op->device[CLQ_ARG_0 + k];
}

/* Bits that pass through a slot for each element. */
static int64_t host_bits(const struct clq_op *op)
{
    int64_t bits = 0;
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        if (is_host(op, k)) bits += clq_op_bits(op, k);
    return bits;
}

/* Bytes of a slot for so many elements, with room for the operands' alignment. */
static int64_t slot_bytes(const struct clq_op *op, int64_t count)
{
    return clq_ceil_div(count * host_bits(op), 8) + CLQ_OPERANDS * ALIGNMENT;
}

/* Elements that `bytes` of a slot hold. */
static int64_t elements_in(const struct clq_op *op, int64_t bytes)
{
    return clq_max_i64(0, (bytes - slot_bytes(op, 0)) * 8 / host_bits(op) / ALIGNMENT * ALIGNMENT);
}

int64_t clq_cl_chunk_elements(const struct clq_cl_state *state, const struct clq_op *op)
{
    return clq_min_i64(op->count, elements_in(op, state->staging_bytes));
}

/* Host memory that is the device's too is used where it is; not twice at once. */
static bool is_zero_copy(const struct clq_cl_state *state, const struct clq_op *op, int k)
{
    const int64_t bits = clq_op_bits(op, k);
    if (!state->programs.device.unified || op->in_place || op->count < ZERO_COPY_BYTES * 8 / bits) return false;
    for (int i = 0; i < k; ++i)
        if (clq_op_has_operand(op, i) && op->operand[i].data == op->operand[k].data) return false;
    return clq_cl_is_dense(op, k) && (uintptr_t)op->operand[k].data % (uintptr_t)clq_max_i64(1, bits / 8) == 0;
}

static clq_status wrap_chunk(clq_context *context, struct clq_cl_segment *segment, int k)
{
    const struct clq_op *op = segment->bound->op;
    const int64_t bits = clq_op_bits(op, k);
    char *elements = (char *)op->operand[k].data + segment->first * bits / 8;
    cl_int code;
    segment->operand[k].memory = clCreateBuffer(clq_cl_state_of(context)->cl, CL_MEM_USE_HOST_PTR | (clq_op_is_output(op, k) ? CL_MEM_READ_WRITE : CL_MEM_READ_ONLY),
                                                (size_t)((segment->count * bits + 7) / 8), elements, &code);
    if (!segment->operand[k].memory) return clq_cl_fail(context, "clCreateBuffer", code);
    segment->operand[k].offset_bytes = -segment->first * bits / 8;
    segment->operand[k].packed = true;
    return CLQ_OK;
}

static void place_chunk(const clq_context *context, struct round *round, struct clq_cl_segment *segment, int k)
{
    const struct clq_op *op = segment->bound->op;
    const int64_t bits = clq_op_bits(op, k);
    const int64_t bytes = clq_ceil_div(clq_ceil_div(segment->count * bits, 8), ALIGNMENT) * ALIGNMENT;
    int64_t at;
    if (clq_op_is_output(op, k)) {
        round->out_bytes += bytes;
        at = clq_cl_state_of(context)->staging_bytes - round->out_bytes;
    } else {
        at = round->in_bytes;
        round->in_bytes += bytes;
    }
    segment->operand[k].memory = round->slot->memory;
    segment->operand[k].offset_bytes = at - segment->first * bits / 8;
    segment->operand[k].packed = true;
    segment->operand[k].host = round->slot->pinned + at;
    if (!clq_op_is_output(op, k)) copy_chunk(context, segment, k, true);
}

static clq_status add_chunk(clq_context *context, struct round *round, struct clq_cl_bound *bound, int64_t first, int64_t count)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    const struct clq_op *op = bound->op;
    struct clq_cl_segment *segment = &round->segments[round->n++];
    memset(segment, 0, sizeof *segment);
    segment->bound = bound;
    segment->first = first;
    segment->count = count;
    round->elements_bytes += slot_bytes(op, count);
    for (int k = 0; k < CLQ_OPERANDS; ++k) {
        if (!clq_op_has_operand(op, k)) continue;
        round->is_awaited |= clq_op_is_output(op, k) && is_host(op, k);
        if (!is_host(op, k)) {
            segment->operand[k].memory = bound->arg[CLQ_ARG_0 + k].memory;
            segment->operand[k].offset_bytes = bound->arg[CLQ_ARG_0 + k].offset_bytes;
        } else if (is_zero_copy(state, op, k)) {
            CLQ_TRY(wrap_chunk(context, segment, k));
            round->is_awaited = true;
        } else {
            place_chunk(context, round, segment, k);
        }
    }
    return CLQ_OK;
}

/* ------------------------------------------------------------------------------------------------ rounds */

/* The device's writes to shared memory are the host's when the region has been mapped. */
static clq_status hand_over_output(clq_context *context, const struct clq_cl_segment *segment, int k)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const size_t bytes = (size_t)((segment->count * clq_op_bits(segment->bound->op, k) + 7) / 8);
    const cl_mem memory = segment->operand[k].memory;
    const struct clq_cl_waits waits = clq_cl_queue_waits(&state->down, state->main.last);
    cl_event mapped, unmapped;
    cl_int code;
    void *pointer = clEnqueueMapBuffer(state->down.queue, memory, CL_FALSE, CL_MAP_READ, 0, bytes, waits.n, waits.events, &mapped, &code);
    if (!pointer) return clq_cl_fail(context, "clEnqueueMapBuffer", code);
    clq_cl_queue_push(&state->down, mapped);
    code = clEnqueueUnmapMemObject(state->down.queue, memory, pointer, 1, &mapped, &unmapped);
    /* Mesa's rusticl knows of a mapping only when it has been made. */
    if (code == CL_INVALID_VALUE && clq_cl_wait(mapped) == CL_SUCCESS)
        code = clEnqueueUnmapMemObject(state->down.queue, memory, pointer, 1, &mapped, &unmapped);
    if (code != CL_SUCCESS) return clq_cl_fail(context, "clEnqueueUnmapMemObject", code);
    clq_cl_queue_push(&state->down, unmapped);
    return CLQ_OK;
}

static clq_status hand_over_outputs(clq_context *context, const struct round *round, bool *any)
{
    for (int64_t i = 0; i < round->n; ++i)
        for (int k = 0; k < CLQ_OPERANDS; ++k) {
            const struct clq_cl_segment *segment = &round->segments[i];
            if (!clq_op_is_output(segment->bound->op, k) || !is_host(segment->bound->op, k) || segment->operand[k].host) continue;
            CLQ_TRY(hand_over_output(context, segment, k));
            *any = true;
        }
    return CLQ_OK;
}

/* Queues a round's transfers and kernels. */
static clq_status start_round(clq_context *context, struct round *round)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const struct clq_cl_slot *slot = round->slot;
    const size_t out_at = (size_t)(state->staging_bytes - round->out_bytes);
    bool is_down = round->out_bytes > 0;
    cl_event done;
    if (round->n == 0) return CLQ_OK;
    if (round->in_bytes > 0) {
        CL_TRY(context, clq_cl_queue_write(&state->up, slot->memory, 0, (size_t)round->in_bytes, slot->pinned, NULL));
        CL_TRY(context, clFlush(state->up.queue));
    }
    CLQ_TRY(clq_cl_launch_segments(context, round->segments, round->n, round->in_bytes > 0 ? state->up.last : NULL));
    CL_TRY(context, clFlush(state->main.queue));
    if (round->out_bytes > 0)
        CL_TRY(context, clq_cl_queue_read(&state->down, slot->memory, out_at, (size_t)round->out_bytes, slot->pinned + out_at, state->main.last));
    CLQ_TRY(hand_over_outputs(context, round, &is_down));
    done = is_down ? state->down.last : state->main.last;
    CL_TRY(context, clRetainEvent(done));
    round->done = done;
    CL_TRY(context, clFlush(state->down.queue));
    return CLQ_OK;
}

static void clear_round(struct round *round)
{
    for (int64_t i = 0; i < round->n; ++i)
        for (int k = 0; k < CLQ_OPERANDS; ++k) {
            const struct clq_cl_segment *segment = &round->segments[i];
            const bool wrapped = segment->operand[k].packed && !segment->operand[k].host && segment->operand[k].memory;
            if (wrapped) clReleaseMemObject(segment->operand[k].memory);
        }
    if (round->done) clReleaseEvent(round->done);
    round->done = NULL;
    round->n = round->in_bytes = round->out_bytes = round->elements_bytes = 0;
    round->is_awaited = false;
}

clq_status clq_cl_wait_for_slot(clq_context *context, struct clq_cl_slot *slot)
{
    cl_int code;
    if (!slot->busy) return CLQ_OK;
    code = clq_cl_wait(slot->busy);
    clReleaseEvent(slot->busy);
    slot->busy = NULL;
    return code == CL_SUCCESS ? CLQ_OK : clq_cl_fail(context, "an earlier command", code);
}

/* Waits for a round and brings its outputs to where they belong; the slot is free then. A round that only uses the slot is left to itself. */
static clq_status end_round(clq_context *context, struct round *round)
{
    if (!round->done) return CLQ_OK;
    if (!round->is_awaited) {
        round->slot->busy = round->done;
        round->done = NULL;
        clear_round(round);
        return CLQ_OK;
    }
    CL_TRY(context, clq_cl_wait(round->done));
    for (int64_t i = 0; i < round->n; ++i)
        for (int k = 0; k < CLQ_OPERANDS; ++k)
            if (clq_op_is_output(round->segments[i].bound->op, k) && round->segments[i].operand[k].host)
                copy_chunk(context, &round->segments[i], k, false);
    clear_round(round);
    return CLQ_OK;
}

static clq_status run_rounds(clq_context *context, struct round *rounds, struct clq_cl_bound *bounds, int64_t n)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    int current = state->next_slot;
    state->next_slot = 1 - current; /* the one that was used longer ago, if this call uses one */
    for (int64_t i = 0; i < n; ++i) {
        const struct clq_op *op = bounds[i].op;
        const int64_t chunk = clq_cl_chunk_elements(state, op);
        for (int64_t first = 0; first < op->count;) {
            struct round *round = &rounds[current];
            const int64_t count = clq_min_i64(chunk, op->count - first);
            /* An operation that does not fit beside the others begins a slot of its own, so that its chunks are those that
               clq_cl_chunk_elements() makes. */
            if (round->n == SLOT_SEGMENTS || (round->n > 0 && count > elements_in(op, state->staging_bytes - round->elements_bytes))) {
                CLQ_TRY(start_round(context, round));
                current = 1 - current;
                CLQ_TRY(end_round(context, &rounds[current]));
                continue;
            }
            if (round->n == 0) CLQ_TRY(clq_cl_wait_for_slot(context, round->slot));
            CLQ_TRY(add_chunk(context, round, &bounds[i], first, count));
            first += count;
        }
    }
    CLQ_TRY(start_round(context, &rounds[current]));
    CLQ_TRY(end_round(context, &rounds[1 - current]));
    return end_round(context, &rounds[current]);
}

clq_status clq_cl_run_staged(clq_context *context, struct clq_cl_bound *bounds, int64_t n)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct round *rounds;
    clq_status status;
    for (int i = 0; i < 2; ++i)
        CLQ_TRY(clq_cl_open_slot(context, &state->slots[i], state->staging_bytes));
    rounds = clq_alloc(&context->allocator, 2, sizeof *rounds);
    if (!rounds) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory to stage host tensors");
    for (int i = 0; i < 2; ++i) {
        memset(&rounds[i], 0, offsetof(struct round, segments)); /* segments are set when they are added */
        rounds[i].slot = &state->slots[i];
    }
    status = run_rounds(context, rounds, bounds, n);
    /* What is under way uses the slots and the caller's memory. */
    if (status != CLQ_OK) clq_cl_drain(state);
    for (int i = 0; i < 2; ++i)
        clear_round(&rounds[i]);
    clq_dealloc(&context->allocator, rounds);
    return status;
}
