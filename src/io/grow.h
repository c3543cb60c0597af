/* SPDX-License-Identifier: MIT */
/* Arrays that grow by doubling. */
#ifndef CLQ_IO_GROW_H
#define CLQ_IO_GROW_H

#include "base/alloc.h"
#include <string.h>

/* Makes room for one more element behind the `used` ones: returns the array, moved if need be, or NULL without memory, and then
   the old array is as it was. */
static inline void *clq_grow(const clq_allocator *allocator, void *array, int64_t used, int64_t *capacity, size_t element_bytes)
{
    if (used < *capacity) return array;
    const int64_t wanted = used < 8 ? 16 : 2 * used; /* used * element_bytes are allocated, so that 2 * used cannot overflow */
    void *grown = clq_alloc(allocator, wanted, element_bytes);
    if (grown == NULL) return NULL;
    if (used > 0) memcpy(grown, array, (size_t)used * element_bytes);
    clq_dealloc(allocator, array);
    *capacity = wanted;
    return grown;
}

#endif
