/* SPDX-License-Identifier: MIT */
/* Memory: the caller's allocator or the C library's, with overflow-checked sizes. */
#ifndef CLQ_BASE_ALLOC_H
#define CLQ_BASE_ALLOC_H

#include <clquant.h>

#define CLQ_ALIGNMENT 64 /* bytes: a cache line, and the widest vector */

/* The C library's memory. */
extern const clq_allocator clq_allocator_libc;

/* `count` elements of `size_bytes` each, uninitialized, aligned to CLQ_ALIGNMENT; at least 1 byte. NULL if the product overflows or
   there is no memory. */
void *clq_alloc(const clq_allocator *allocator, int64_t count, size_t size_bytes);

/* As clq_alloc(), zeroed. */
void *clq_alloc_zeroed(const clq_allocator *allocator, int64_t count, size_t size_bytes);

/* A copy of a string. */
char *clq_alloc_string(const clq_allocator *allocator, const char *text);

/* Zeroes a structure. A call: compilers that see the size take string instructions for it, whose start costs a small call dearly. */
void clq_zero(void *memory, size_t size_bytes);

/* NULL is fine. */
void clq_dealloc(const clq_allocator *allocator, void *memory);

#endif
