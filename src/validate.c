/* SPDX-License-Identifier: MIT */
/* Checks of arguments: shapes, sizes, memory and overlap. */
#include "config.h"

#include "validate.h"

#include "backend.h"
#include "base/util.h"
#include "buffer.h"
#include <string.h>
#include <unistd.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

clq_status clq_check_call(const struct clq_call *call)
{
    if (!call->context) return CLQ_ERROR_INVALID_ARGUMENT;
    call->context->fp_mode = clq_fp_mode_get();
    if (!clq_fp_mode_is_nearest(call->context->fp_mode))
        return FAIL(CLQ_ERROR_ROUNDING, "%s: the calling thread's rounding mode is not to nearest", call->name);
    if (call->context->opencl_state && getpid() != call->context->threads.pid)
        return FAIL(CLQ_ERROR_FORKED, "%s: the context belongs to the parent process, and OpenCL does not survive a fork", call->name);
    call->context->call = call->name;
    return CLQ_OK;
}

clq_status clq_check_shape(const struct clq_call *call, const char *name, const clq_tensor *tensor, int64_t *count)
{
    int64_t product = 1, product_nonzero = 1;
    if (!tensor) return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", call->name, name);
    if (tensor->rank < 0 || tensor->rank > CLQ_MAX_RANK)
        return FAIL(CLQ_ERROR_SHAPE, "%s: %s.rank = %d, must be 0 to %d", call->name, name, (int)tensor->rank, CLQ_MAX_RANK);
    for (int32_t i = 0; i < tensor->rank; ++i) {
        if (tensor->shape[i] < 0)
            return FAIL(CLQ_ERROR_SHAPE, "%s: %s.shape[%d] = %lld, at least 0", call->name, name, (int)i, (long long)tensor->shape[i]);
        /* Empty tensors too must have extents whose product fits, so that no order of multiplying them overflows. */
        if (!clq_mul_i64(product_nonzero, clq_max_i64(tensor->shape[i], 1), &product_nonzero))
            return FAIL(CLQ_ERROR_OVERFLOW, "%s: %s.shape: the product of the extents up to shape[%d] = %lld exceeds 2^63 - 1", call->name, name,
                        (int)i, (long long)tensor->shape[i]);
        product *= tensor->shape[i];
    }
    *count = product;
    return CLQ_OK;
}

/* The least and greatest element offsets that the strides reach, from the element with all indices 0. */
static bool reach(const struct clq_operand *operand, int64_t *least, int64_t *greatest)
{
    const clq_tensor *tensor = operand->tensor;
    *least = 0;
    *greatest = operand->count - 1;
    if (operand->contiguous) return true;
    *greatest = 0;
    for (int32_t i = 0; i < tensor->rank; ++i) {
        int64_t span;
        if (!clq_mul_i64(tensor->shape[i] - 1, tensor->strides[i], &span)) return false;
        if (!clq_add_i64(span < 0 ? *least : *greatest, span, span < 0 ? least : greatest)) return false;
    }
    return true;
}

static bool is_contiguous(const clq_tensor *tensor)
{
    int64_t stride = 1;
    for (int32_t i = tensor->rank - 1; i >= 0; --i) {
        if (tensor->shape[i] != 1 && tensor->strides[i] != stride) return false;
        stride *= tensor->shape[i];
    }
    return true;
}

/* Where the memory of a view that is not one of host memory begins, and its size. */
static clq_status find_memory(const struct clq_call *call, const char *name, const clq_tensor *tensor, struct clq_operand *operand, uintptr_t *base,
                              int64_t *size_bytes)
{
    const struct clq_backend *backend = call->context->backend;
    const clq_buffer *buffer = tensor->memory == CLQ_MEMORY_BUFFER ? tensor->data : NULL;
    clq_status status = CLQ_ERROR_CONTEXT;
    if (buffer && buffer->backend == backend && !buffer->memory) {
        *base = (uintptr_t)buffer->data;
        *size_bytes = buffer->size_bytes;
        return CLQ_OK;
    }
    *base = 0;
    operand->device = buffer ? buffer->memory : tensor->data;
    if (operand->device && backend->find_memory && (!buffer || buffer->backend == backend))
        status = backend->find_memory(call->context, operand->device, size_bytes);
    if (status == CLQ_OK) return CLQ_OK;
    return FAIL(status, "%s: %s lies in %s that this context, on %s, cannot reach", call->name, name, buffer ? "a buffer" : "OpenCL memory",
                backend->name);
}

/* Bits at which an element starts and ends, checked against what memory there is; the address of the element with all indices 0. */
static clq_status resolve_memory(const struct clq_call *call, const char *name, const clq_tensor *tensor, struct clq_operand *operand)
{
    const int64_t bits = clq_bits(tensor->dtype);
    int64_t least, greatest, first, last, memory_bytes = -1;
    uintptr_t base = (uintptr_t)tensor->data;

    if ((uint32_t)tensor->memory > CLQ_MEMORY_OPENCL)
        return FAIL(CLQ_ERROR_CONTEXT, "%s: %s.memory = %d, no kind of memory", call->name, name, (int)tensor->memory);
    if (!tensor->data && (tensor->memory != CLQ_MEMORY_HOST || operand->count > 0))
        return FAIL(CLQ_ERROR_INVALID_ARGUMENT, "%s: %s.data is NULL", call->name, name);
    if (tensor->memory != CLQ_MEMORY_HOST) CLQ_TRY(find_memory(call, name, tensor, operand, &base, &memory_bytes));
    if (operand->count == 0) return CLQ_OK;
    if (!reach(operand, &least, &greatest) || !clq_add_i64(tensor->offset, least, &first) || !clq_add_i64(tensor->offset, greatest, &last) ||
        !clq_mul_i64(first, bits, &first) || !clq_add_i64(last, 1, &last) || !clq_mul_i64(last, bits, &last))
        return FAIL(CLQ_ERROR_OVERFLOW, "%s: %s.strides and offset reach past 2^63 bits", call->name, name);
    first >>= 3;           /* bytes; a 4-bit view starts on one */
    last = (last >> 3) + ((last & 7) != 0);
    if (memory_bytes >= 0 && (first < 0 || last > memory_bytes))
        return FAIL(CLQ_ERROR_SHAPE, "%s: %s covers bytes %lld to %lld of a buffer of %lld", call->name, name, (long long)first, (long long)last,
                    (long long)memory_bytes);
    if (memory_bytes < 0 && ((first < 0 && base < (uintptr_t)-first) || (last > 0 && base > UINTPTR_MAX - (uintptr_t)last)))
        return FAIL(CLQ_ERROR_OVERFLOW, "%s: %s covers bytes %lld to %lld from its data, past the address space", call->name, name,
                    (long long)first, (long long)last);
    operand->data = (char *)(base + (uintptr_t)(tensor->offset * bits >> 3));
    operand->begin = base + (uintptr_t)first;
    operand->end = base + (uintptr_t)last;
    return CLQ_OK;
}

clq_status clq_check_tensor(const struct clq_call *call, const char *name, const clq_tensor *tensor, uint32_t dtypes, struct clq_operand *operand)
{
    *operand = (struct clq_operand){.tensor = tensor, .name = name};
    CLQ_TRY(clq_check_shape(call, name, tensor, &operand->count));
    if ((uint32_t)tensor->dtype > CLQ_S64 || !(dtypes & CLQ_DTYPES(tensor->dtype)))
        return FAIL(CLQ_ERROR_DTYPE, "%s: %s.dtype = %s (%d), which this operation does not take there", call->name, name,
                    clq_dtype_name(tensor->dtype), (int)tensor->dtype);
    operand->contiguous = is_contiguous(tensor);
    if (clq_is_4bit(tensor->dtype)) {
        if (!operand->contiguous && operand->count > 0)
            return FAIL(CLQ_ERROR_SHAPE, "%s: %s.strides: a 4-bit tensor must be contiguous", call->name, name);
        if (tensor->offset % 2 != 0)
            return FAIL(CLQ_ERROR_SHAPE, "%s: %s.offset = %lld, must be even: a 4-bit tensor starts on a byte", call->name, name,
                        (long long)tensor->offset);
    }
    return resolve_memory(call, name, tensor, operand);
}

clq_status clq_check_same_shape(const struct clq_call *call, const struct clq_operand *a, const struct clq_operand *b)
{
    if (b->tensor->rank != a->tensor->rank)
        return FAIL(CLQ_ERROR_SHAPE, "%s: %s.rank = %d, must equal %s.rank = %d", call->name, b->name, (int)b->tensor->rank, a->name,
                    (int)a->tensor->rank);
    for (int32_t i = 0; i < a->tensor->rank; ++i)
        if (b->tensor->shape[i] != a->tensor->shape[i])
            return FAIL(CLQ_ERROR_SHAPE, "%s: %s.shape[%d] = %lld, must equal %s.shape[%d] = %lld", call->name, b->name, (int)i,
                        (long long)b->tensor->shape[i], a->name, (int)i, (long long)a->tensor->shape[i]);
    return CLQ_OK;
}

static uint64_t magnitude(int64_t stride)
{
    return stride < 0 ? -(uint64_t)stride : (uint64_t)stride;
}

/* Strides sorted by magnitude must each step over all that the smaller ones reach. That is sufficient, and necessary for every layout that
   slicing, transposing and padding produce. */
clq_status clq_check_output(const struct clq_call *call, const struct clq_operand *output)
{
    const clq_tensor *tensor = output->tensor;
    int32_t order[CLQ_MAX_RANK], n = 0;
    uint64_t reached = 0;
    if (output->contiguous || output->count == 0) return CLQ_OK;
    for (int32_t i = 0; i < tensor->rank; ++i) {
        int32_t at = n;
        if (tensor->shape[i] == 1) continue;
        for (; at > 0 && magnitude(tensor->strides[order[at - 1]]) > magnitude(tensor->strides[i]); --at)
            order[at] = order[at - 1];
        order[at] = i;
        ++n;
    }
    for (int32_t i = 0; i < n; ++i) {
        const uint64_t stride = magnitude(tensor->strides[order[i]]);
        if (stride <= reached)
            return FAIL(CLQ_ERROR_OVERLAP, "%s: %s.strides[%d] = %lld: the output overlaps itself", call->name, output->name, (int)order[i],
                        (long long)tensor->strides[order[i]]);
        reached += stride * (uint64_t)(tensor->shape[order[i]] - 1);
    }
    return CLQ_OK;
}

/* Bytes that the loops with strides not divisible by `period` reach below and above the element with all indices 0, that element
   included. False if they span more than one period. */
static bool find_cell(const struct clq_operand *operand, uint64_t period, uint64_t *below, uint64_t *above)
{
    const clq_tensor *tensor = operand->tensor;
    const uint64_t size_bytes = (uint64_t)clq_bits(tensor->dtype) / 8;
    *below = 0;
    *above = size_bytes;
    for (int32_t i = 0; i < tensor->rank; ++i) {
        const uint64_t stride = magnitude(tensor->strides[i]) * size_bytes;
        if (tensor->shape[i] == 1 || stride % period == 0) continue;
        *(tensor->strides[i] < 0 ? below : above) += stride * (uint64_t)(tensor->shape[i] - 1);
    }
    return *below + *above <= period;
}

/* True if, at some stride of `a` taken as the period of a grid, the two occupy different parts of each cell: columns of one matrix, or
   interleaved elements. */
static bool is_interleaved(const struct clq_operand *a, const struct clq_operand *b)
{
    if (clq_is_4bit(a->tensor->dtype) || clq_is_4bit(b->tensor->dtype)) return false;
    for (int32_t i = 0; i < a->tensor->rank; ++i) {
        const uint64_t period = magnitude(a->tensor->strides[i]) * (uint64_t)clq_bits(a->tensor->dtype) / 8;
        uint64_t a_below, a_above, b_below, b_above, gap;
        if (a->tensor->shape[i] == 1 || period == 0 || !find_cell(a, period, &a_below, &a_above) || !find_cell(b, period, &b_below, &b_above))
            continue;
        /* Where b's cell begins after a's, modulo the period. */
        gap = (((uintptr_t)b->data - b_below) % period + period - ((uintptr_t)a->data - a_below) % period) % period;
        if (gap >= a_below + a_above && gap + b_below + b_above <= period) return true;
    }
    return false;
}

clq_status clq_check_interleaved(const struct clq_call *call, const struct clq_operand *output, const struct clq_operand *other)
{
    if (is_interleaved(output, other) || is_interleaved(other, output)) return CLQ_OK;
    return FAIL(CLQ_ERROR_OVERLAP, "%s: %s overlaps %s by up to %llu bytes", call->name, output->name, other->name,
                (unsigned long long)((output->end < other->end ? output->end : other->end) -
                                     (output->begin > other->begin ? output->begin : other->begin)));
}

static bool is_same(const struct clq_operand *a, const struct clq_operand *b)
{
    if (a->device != b->device || a->data != b->data || clq_bits(a->tensor->dtype) != clq_bits(b->tensor->dtype)) return false;
    for (int32_t i = 0; i < a->tensor->rank; ++i)
        if (a->tensor->shape[i] != 1 && a->tensor->strides[i] != b->tensor->strides[i]) return false;
    return true;
}

clq_status clq_check_disjoint_or_same(const struct clq_call *call, const struct clq_operand *output, const struct clq_operand *other, bool *same)
{
    *same = is_same(output, other);
    return *same ? CLQ_OK : clq_check_disjoint(call, output, other);
}

clq_status clq_check_mask(const struct clq_call *call, const clq_tensor *mask, int64_t count, struct clq_operand *operand)
{
    const int64_t bytes = count / 8 + (count % 8 != 0);
    *operand = (struct clq_operand){0};
    if (!mask) return CLQ_OK;
    CLQ_TRY(clq_check_tensor(call, "mask", mask, CLQ_DTYPES(CLQ_U8), operand));
    if (mask->rank != 1 || mask->shape[0] != bytes || !operand->contiguous)
        return FAIL(CLQ_ERROR_SHAPE, "%s: mask has rank %d and %lld bytes, must be a contiguous u8 [%lld], a bit for each of %lld elements", call->name,
                    (int)mask->rank, (long long)operand->count, (long long)bytes, (long long)count);
    return CLQ_OK;
}

clq_status clq_check_counts(const struct clq_call *call, const clq_tensor *counts, struct clq_operand *operand)
{
    if (!counts) {
        *operand = (struct clq_operand){0};
        return CLQ_OK;
    }
    CLQ_TRY(clq_check_tensor(call, "counts", counts, CLQ_DTYPES(CLQ_S64), operand));
    if (counts->rank != 1 || counts->shape[0] != 3 || !operand->contiguous)
        return FAIL(CLQ_ERROR_SHAPE, "%s: counts has rank %d and %lld elements, must be a contiguous s64 [3]", call->name, (int)counts->rank,
                    (long long)operand->count);
    return CLQ_OK;
}

void clq_store_counts(const struct clq_operand *operand, const int64_t counts[3])
{
    memcpy(operand->data, counts, 3 * sizeof counts[0]);
}
