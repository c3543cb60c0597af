/* SPDX-License-Identifier: MIT */
/*
 * Jobs and host parameters on their way to the device. Small ones are written from blocks whose host half stays as it is until the write
 * is over, so that no call waits for one; a block is used again when it is full and its last write is over. Large ones are written on a
 * queue of their own, which nothing holds up, while the caller waits.
 */
#include "config.h"

#include "base/alloc.h"
#include "base/util.h"
#include "opencl/cl_state.h"
#include <string.h>

#define BLOCK_BYTES (256 * 1024)
#define ALIGNMENT   64

static void free_block(const clq_allocator *allocator, struct clq_cl_block *block)
{
    if (block->last) clReleaseEvent(block->last);
    if (block->memory) clReleaseMemObject(block->memory);
    clq_dealloc(allocator, block->host);
    clq_dealloc(allocator, block);
}

void clq_cl_blocks_free(clq_context *context)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    while (state->blocks) {
        struct clq_cl_block *block = state->blocks;
        state->blocks = block->next;
        free_block(&context->allocator, block);
    }
}

/* A block whose host half nothing reads any more, taken out of the list; NULL if there is none. What was queued before reads its device half in
   time, as commands take effect in order; what is still to be queued holds it. */
static struct clq_cl_block *take_idle_block(struct clq_cl_state *state)
{
    for (struct clq_cl_block **link = &state->blocks; *link; link = &(*link)->next) {
        struct clq_cl_block *block = *link;
        if (block == state->held || (block->last && !clq_cl_is_over(block->last))) continue;
        *link = block->next;
        if (block->last) clReleaseEvent(block->last);
        block->last = NULL;
        return block;
    }
    return NULL;
}

static clq_status make_block(clq_context *context, struct clq_cl_block **made)
{
    const struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_block *block = clq_alloc_zeroed(&context->allocator, 1, sizeof *block);
    cl_int code = CL_OUT_OF_HOST_MEMORY;
    if (block) block->host = clq_alloc(&context->allocator, BLOCK_BYTES, 1);
    if (block && block->host) block->memory = clCreateBuffer(state->cl, CL_MEM_READ_ONLY, BLOCK_BYTES, NULL, &code);
    if (!block || !block->memory) {
        if (block) free_block(&context->allocator, block);
        return clq_cl_fail(context, "clCreateBuffer", code);
    }
    *made = block;
    return CLQ_OK;
}

clq_status clq_cl_upload_begin(clq_context *context, int64_t size_bytes, struct clq_cl_place *place, char **host)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_block *block = state->blocks;
    cl_int code;
    if (size_bytes > BLOCK_BYTES) {
        CLQ_TRY(clq_cl_open_transfers(context));
        *host = clq_alloc(&context->allocator, size_bytes, 1);
        if (!*host) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "no memory for %lld bytes of parameters", (long long)size_bytes);
        place->offset_bytes = 0;
        place->memory = clCreateBuffer(state->cl, CL_MEM_READ_ONLY, (size_t)size_bytes, NULL, &code);
        if (place->memory) return CLQ_OK;
        clq_dealloc(&context->allocator, *host);
        return clq_cl_fail(context, "clCreateBuffer", code);
    }
    if (!block || block->used_bytes + size_bytes > BLOCK_BYTES) {
        block = take_idle_block(state);
        if (!block) CLQ_TRY(make_block(context, &block));
        block->used_bytes = 0;
        block->next = state->blocks;
        state->blocks = block;
    }
    code = clRetainMemObject(block->memory);
    if (code != CL_SUCCESS) return clq_cl_fail(context, "clRetainMemObject", code);
    place->memory = block->memory;
    place->offset_bytes = block->used_bytes;
    *host = block->host + block->used_bytes;
    block->used_bytes += clq_ceil_div(size_bytes, ALIGNMENT) * ALIGNMENT;
    return CLQ_OK;
}

clq_status clq_cl_upload_end(clq_context *context, const struct clq_cl_place *place, char *host, int64_t size_bytes)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_block *block = state->blocks;
    cl_int code;
    if (size_bytes > BLOCK_BYTES) {
        code = clEnqueueWriteBuffer(state->up.queue, place->memory, CL_TRUE, 0, (size_t)size_bytes, host, 0, NULL, NULL);
        clq_dealloc(&context->allocator, host);
        return code == CL_SUCCESS ? CLQ_OK : clq_cl_fail(context, "clEnqueueWriteBuffer", code);
    }
    code = clq_cl_queue_write(&state->main, place->memory, (size_t)place->offset_bytes, (size_t)size_bytes, host, NULL);
    if (code != CL_SUCCESS) return clq_cl_fail(context, "clEnqueueWriteBuffer", code);
    /* The write is under way: without a reference to its event nobody would know how long the block is in use. */
    code = clRetainEvent(state->main.last);
    if (code != CL_SUCCESS) {
        clq_cl_drain(state);
        return clq_cl_fail(context, "clRetainEvent", code);
    }
    if (block->last) clReleaseEvent(block->last);
    block->last = state->main.last;
    return CLQ_OK;
}
