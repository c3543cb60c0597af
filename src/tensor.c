/* SPDX-License-Identifier: MIT */
/* Tensor views, and buffers to put behind them. */
#include "config.h"

#include "base/alloc.h"
#include "buffer.h"
#include "context.h"
#include "validate.h"
#include <unistd.h>

static clq_tensor make_view(clq_dtype dtype, clq_memory memory, void *data, int64_t offset, int32_t rank, const int64_t *shape)
{
    clq_tensor tensor = {.dtype = dtype, .memory = memory, .rank = rank, .data = data, .offset = offset};
    uint64_t stride = 1; /* wraps where the size overflows, which the operations refuse */
    if (rank < 0 || rank > CLQ_MAX_RANK || !shape) return tensor;
    for (int32_t i = rank - 1; i >= 0; --i) {
        tensor.shape[i] = shape[i];
        tensor.strides[i] = (int64_t)stride;
        stride *= (uint64_t)shape[i];
    }
    return tensor;
}

clq_tensor clq_tensor_host(clq_dtype dtype, const void *data, int32_t rank, const int64_t *shape)
{
    return make_view(dtype, CLQ_MEMORY_HOST, (void *)(uintptr_t)data, 0, rank, shape);
}

clq_tensor clq_tensor_buffer(clq_dtype dtype, clq_buffer *buffer, int64_t offset, int32_t rank, const int64_t *shape)
{
    return make_view(dtype, CLQ_MEMORY_BUFFER, buffer, offset, rank, shape);
}

static clq_status allocate(clq_context *context, clq_buffer *buffer)
{
    if (context->backend->allocate) return context->backend->allocate(context, buffer->size_bytes, &buffer->memory);
    buffer->data = clq_alloc(&context->allocator, buffer->size_bytes, 1);
    return buffer->data ? CLQ_OK : CLQ_ERROR_OUT_OF_MEMORY;
}

clq_status clq_buffer_create(clq_context *context, int64_t size_bytes, clq_buffer **buffer)
{
    const struct clq_call call = {context, "clq_buffer_create"};
    clq_status status = CLQ_ERROR_OUT_OF_MEMORY;
    clq_buffer *made;
    if (buffer) *buffer = NULL;
    CLQ_TRY(clq_check_call(&call));
    if (!buffer) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_buffer_create: buffer is NULL");
    if (size_bytes < 1)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_buffer_create: size_bytes = %lld, at least 1", (long long)size_bytes);
    made = clq_alloc(&context->allocator, 1, sizeof *made);
    if (made) {
        *made = (struct clq_buffer){.allocator = context->allocator, .size_bytes = size_bytes, .backend = context->backend, .pid = getpid()};
        status = allocate(context, made);
    }
    if (status != CLQ_OK) {
        clq_dealloc(&context->allocator, made);
        return status == CLQ_ERROR_OUT_OF_MEMORY
                   ? clq_fail(context, status, "clq_buffer_create: no memory for size_bytes = %lld", (long long)size_bytes)
                   : status;
    }
    *buffer = made;
    return CLQ_OK;
}

void clq_buffer_free(clq_buffer *buffer)
{
    clq_allocator allocator;
    if (!buffer) return;
    allocator = buffer->allocator; /* the copy goes with the buffer */
    if (buffer->memory && getpid() == buffer->pid) buffer->backend->release(buffer->memory);
    clq_dealloc(&allocator, buffer->data);
    clq_dealloc(&allocator, buffer);
}

clq_memory clq_buffer_memory(const clq_buffer *buffer, void **data)
{
    const bool is_opencl = buffer && buffer->memory;
    if (data) *data = !buffer ? NULL : is_opencl ? buffer->memory : buffer->data;
    return is_opencl ? CLQ_MEMORY_OPENCL : CLQ_MEMORY_HOST;
}
