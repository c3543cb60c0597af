/* SPDX-License-Identifier: MIT */
/* How tensors larger than memory are cut: contiguous runs of elements that the library can take as boxes of rank 3. */
#include "config.h"

#include "tool/chunks.h"

#include "tool/tool.h"
#include <stdlib.h>
#include <string.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rounded up, without overflow. */
static int64_t divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

bool clq_tool_grid_init(struct clq_tool_grid *grid, const clq_scheme *scheme, int32_t rank, const int64_t *shape)
{
    const bool per_tensor = scheme->granularity == CLQ_PER_TENSOR;
    int64_t bytes;
    bool overflows = false;
    *grid = (struct clq_tool_grid){.outer = 1, .axis = 1, .inner = 1, .scheme = *scheme};
    grid->scheme.axis = per_tensor ? 0 : 1;
    for (int32_t d = 0; d < rank; d++) {
        if (per_tensor || d > scheme->axis)
            overflows |= __builtin_mul_overflow(grid->inner, shape[d], &grid->inner);
        else if (d < scheme->axis)
            overflows |= __builtin_mul_overflow(grid->outer, shape[d], &grid->outer);
        else
            grid->axis = shape[d];
    }
    overflows |= __builtin_mul_overflow(grid->outer, grid->axis, &grid->element_count);
    overflows |= __builtin_mul_overflow(grid->element_count, grid->inner, &grid->element_count);
    if (per_tensor) {
        grid->param_count = 1;
    } else if (scheme->granularity == CLQ_PER_CHANNEL) {
        grid->param_count = grid->axis;
    } else {
        overflows |= __builtin_mul_overflow(grid->outer, divide_up(grid->axis, scheme->group_size), &grid->param_count);
        overflows |= __builtin_mul_overflow(grid->param_count, grid->inner, &grid->param_count);
    }
    /* Eight bytes at the most for an element and four for each of four parameters. */
    overflows |= __builtin_mul_overflow(grid->element_count, 8, &bytes);
    overflows |= __builtin_mul_overflow(grid->param_count, 16, &bytes);
    return !overflows;
}

/* Of `rows` rows from row `d` of an axis on, those that do not end inside a group that they did not start in. */
static int64_t whole_groups(const struct clq_tool_grid *grid, int64_t d, int64_t rows)
{
    const int64_t group = grid->scheme.group_size;
    if (grid->scheme.granularity != CLQ_PER_GROUP) return rows;
    if (d % group != 0) return least(rows, group - d % group);
    if (d + rows == grid->axis || rows < group) return rows;
    return rows - rows % group;
}

static void set_params(const struct clq_tool_grid *grid, struct clq_tool_box *box, int64_t o, int64_t d, int64_t i)
{
    const int64_t group = grid->scheme.group_size;
    switch (grid->scheme.granularity) {
    case CLQ_PER_TENSOR:
        box->param_count = 1;
        break;
    case CLQ_PER_CHANNEL:
        box->param_first = d;
        box->param_rank = 1;
        box->param_shape[0] = box->param_count = box->shape[1];
        break;
    case CLQ_PER_GROUP:
        box->param_first = (o * divide_up(grid->axis, group) + d / group) * grid->inner + i;
        box->param_rank = 3;
        box->param_shape[0] = box->shape[0];
        box->param_shape[1] = divide_up(box->shape[1], group);
        box->param_shape[2] = box->shape[2];
        box->param_count = box->param_shape[0] * box->param_shape[1] * box->param_shape[2];
        break;
    }
}

struct clq_tool_box clq_tool_box_at(const struct clq_tool_grid *grid, int64_t first, int64_t limit)
{
    struct clq_tool_box box = {.first = first, .shape = {1, 1, 1}};
    const int64_t slab = grid->axis * grid->inner, room = least(limit, grid->element_count - first);
    if (grid->element_count == 0) {
        box.shape[0] = grid->outer;
        box.shape[1] = grid->axis;
        box.shape[2] = grid->inner;
        set_params(grid, &box, 0, 0, 0);
        return box;
    }
    const int64_t o = first / slab, d = first % slab / grid->inner, i = first % grid->inner;
    if (i != 0 || room < grid->inner) {
        box.shape[2] = least(grid->inner - i, room);
    } else {
        box.shape[2] = grid->inner;
        if (d != 0 || room < slab) {
            box.shape[1] = whole_groups(grid, d, least(grid->axis - d, room / grid->inner));
        } else {
            box.shape[0] = room / slab;
            box.shape[1] = grid->axis;
        }
    }
    box.count = box.shape[0] * box.shape[1] * box.shape[2];
    set_params(grid, &box, o, d, i);
    return box;
}

struct clq_tool_box clq_tool_block_at(const struct clq_tool_grid *grid, int64_t first)
{
    int64_t unit = grid->element_count;
    if (grid->scheme.granularity == CLQ_PER_CHANNEL && grid->outer == 1) {
        unit = grid->inner;
    } else if (grid->scheme.granularity == CLQ_PER_GROUP && grid->element_count != 0) {
        const int64_t d = first % (grid->axis * grid->inner) / grid->inner;
        unit = least(grid->scheme.group_size, grid->axis - d) * grid->inner;
    }
    return clq_tool_box_at(grid, first, unit > CLQ_TOOL_CHUNK_ELEMENTS ? unit : CLQ_TOOL_CHUNK_ELEMENTS);
}

clq_tensor clq_tool_box_view(const struct clq_tool_box *box, clq_dtype dtype, const void *data)
{
    return clq_tensor_host(dtype, data, 3, box->shape);
}

clq_tensor clq_tool_param_view(const struct clq_tool_box *box, clq_dtype dtype, const void *data)
{
    return clq_tensor_host(dtype, data, box->param_rank, box->param_shape);
}

clq_qparams clq_tool_box_params(const struct clq_tool_grid *grid, const struct clq_tool_box *box, const float *scale,
                                const int32_t *zero_point)
{
    return (clq_qparams){.scheme = grid->scheme,
                         .scale = clq_tool_param_view(box, CLQ_F32, scale),
                         .zero_point = clq_tool_param_view(box, CLQ_S32, zero_point)};
}

int64_t clq_tool_bytes(clq_dtype dtype, int64_t count)
{
    const int32_t bits = clq_dtype_bits(dtype);
    return bits == 4 ? count / 2 + count % 2 : count * (bits / 8);
}

void clq_tool_nibbles_drop(uint8_t *bytes, int64_t count)
{
    const int64_t last = count / 2 + count % 2 - 1;
    for (int64_t k = 0; k < last; k++)
        bytes[k] = (uint8_t)(bytes[k] >> 4 | bytes[k + 1] << 4);
    bytes[last] >>= 4;
}

void clq_tool_nibbles_insert(uint8_t *bytes, int64_t count, uint8_t first)
{
    int64_t last = count / 2;
    if (count % 2 == 0) { /* the new last byte has one element, which is now in the high half of the byte before it */
        bytes[last] = last > 0 ? bytes[last - 1] >> 4 : first;
        last--;
    }
    for (int64_t k = last; k > 0; k--)
        bytes[k] = (uint8_t)(bytes[k] << 4 | bytes[k - 1] >> 4);
    if (last >= 0) bytes[0] = (uint8_t)(bytes[0] << 4 | first);
}

void *clq_tool_reserve(struct clq_tool_memory *memory, int64_t size_bytes)
{
    if (memory->data == NULL || memory->size_bytes < size_bytes) {
        clq_tool_release(memory);
        memory->data = (uint64_t)size_bytes > SIZE_MAX ? NULL : malloc(size_bytes > 0 ? (size_t)size_bytes : 1);
        if (memory->data == NULL) {
            clq_tool_fail_memory();
            return NULL;
        }
        memory->size_bytes = size_bytes;
    }
    return memory->data;
}

void clq_tool_release(struct clq_tool_memory *memory)
{
    free(memory->data);
    *memory = (struct clq_tool_memory){NULL, 0};
}
