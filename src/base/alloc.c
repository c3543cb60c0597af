/* SPDX-License-Identifier: MIT */
/* Overflow-checked allocation through the caller's allocator or the C library's. */
#include "config.h"

#include "base/alloc.h"

#include "base/util.h"
#include <stdlib.h>
#include <string.h>

static void *allocate_libc(void *opaque, size_t size_bytes, size_t alignment_bytes)
{
    void *memory;
    (void)opaque;
    return posix_memalign(&memory, alignment_bytes, size_bytes) == 0 ? memory : NULL;
}

static void deallocate_libc(void *opaque, void *memory)
{
    (void)opaque;
    free(memory);
}

const clq_allocator clq_allocator_libc = {allocate_libc, deallocate_libc, NULL};

void *clq_alloc(const clq_allocator *allocator, int64_t count, size_t size_bytes)
{
    int64_t total;
    if (count < 0 || size_bytes > INT64_MAX || !clq_mul_i64(count, (int64_t)size_bytes, &total) || (uint64_t)total > PTRDIFF_MAX) return NULL;
    return allocator->allocate(allocator->opaque, (size_t)clq_max_i64(total, 1), CLQ_ALIGNMENT);
}

void *clq_alloc_zeroed(const clq_allocator *allocator, int64_t count, size_t size_bytes)
{
    void *memory = clq_alloc(allocator, count, size_bytes);
    if (memory) memset(memory, 0, (size_t)count * size_bytes);
    return memory;
}

char *clq_alloc_string(const clq_allocator *allocator, const char *text)
{
    const size_t size_bytes = strlen(text) + 1;
    char *copy = clq_alloc(allocator, 1, size_bytes);
    if (copy) memcpy(copy, text, size_bytes);
    return copy;
}

void clq_zero(void *memory, size_t size_bytes)
{
    memset(memory, 0, size_bytes);
}

void clq_dealloc(const clq_allocator *allocator, void *memory)
{
    if (memory) allocator->deallocate(allocator->opaque, memory);
}
