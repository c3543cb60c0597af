/* SPDX-License-Identifier: MIT */
/* How tensors larger than memory are cut, and the memory for the pieces. */
#ifndef CLQ_TOOL_CHUNKS_H
#define CLQ_TOOL_CHUNKS_H

#include <clquant.h>
#include <stdbool.h>
#include <stdint.h>

/* Elements of a tensor that are in memory at a time, 1 or more. 4 MiB of f32 stay in a cache between being read, searched for
   their range, quantized and written. */
#ifndef CLQ_TOOL_CHUNK_ELEMENTS
#define CLQ_TOOL_CHUNK_ELEMENTS (INT64_C(1) << 20)
#endif

/* A tensor as the scheme sees it: the extents before the axis multiplied, the axis, those after it multiplied. */
struct clq_tool_grid {
    int64_t outer, axis, inner;
    int64_t element_count, param_count;
    clq_scheme scheme; /* for boxes of rank 3: axis 1 */
};

/* A contiguous run of elements that is also a box of rank 3, with scales that are contiguous too. */
struct clq_tool_box {
    int64_t first, count;
    int64_t shape[3];
    int64_t param_first, param_count;
    int32_t param_rank;
    int64_t param_shape[3];
};

/* `scheme->axis` is in 0..rank-1. False if a product of extents, or the bytes for so many elements or scales, overflow. */
bool clq_tool_grid_init(struct clq_tool_grid *grid, const clq_scheme *scheme, int32_t rank, const int64_t *shape);

/* The largest box from element `first` on of at most `limit` (1 or more) elements. */
struct clq_tool_box clq_tool_box_at(const struct clq_tool_grid *grid, int64_t first, int64_t limit);

/* The next run of elements that shares no scale with others: of at most CLQ_TOOL_CHUNK_ELEMENTS where that is possible. */
struct clq_tool_box clq_tool_block_at(const struct clq_tool_grid *grid, int64_t first);

clq_tensor clq_tool_box_view(const struct clq_tool_box *box, clq_dtype dtype, const void *data);
clq_tensor clq_tool_param_view(const struct clq_tool_box *box, clq_dtype dtype, const void *data);
clq_qparams clq_tool_box_params(const struct clq_tool_grid *grid, const struct clq_tool_box *box, const float *scale,
                                const int32_t *zero_point);

/* Bytes of `count` elements, packed: the last one of an odd number of 4-bit elements takes a byte. */
int64_t clq_tool_bytes(clq_dtype dtype, int64_t count);

/* 4-bit elements in place: `_drop` removes the first of `count`; `_insert` puts one before them (the memory holds count/2 + 1
 * bytes). */
void clq_tool_nibbles_drop(uint8_t *bytes, int64_t count);
void clq_tool_nibbles_insert(uint8_t *bytes, int64_t count, uint8_t first);

/* Memory that grows and is used again; zeroed to start with. */
struct clq_tool_memory {
    void *data;
    int64_t size_bytes;
};

/* At least `size_bytes`, contents undefined; NULL (and a line on stderr) if there is no memory. */
void *clq_tool_reserve(struct clq_tool_memory *memory, int64_t size_bytes);
void clq_tool_release(struct clq_tool_memory *memory);

#endif
