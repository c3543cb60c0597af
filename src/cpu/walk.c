/* SPDX-License-Identifier: MIT */
/*
 * Walks the loops of an operation. The two innermost loops make a block of rows and columns that kernels take whole, if every operand has
 * adjacent columns. Else the block is cut into tiles: operands with other strides, and 4-bit ones, are copied to or from a tile in the
 * first-level cache, where the same kernels work on them.
 */
#include "config.h"

#include "cpu/walk.h"

#include "base/util.h"
#include <string.h>

#define TILE       2048 /* elements */
#define MASK_BYTES 16384 /* of a tile; it is all there is in the tile if only the mask has to be copied */
#define STREAM_ELEMENTS 16384 /* of a block: smaller ones would wait too often for the end of their streams */
#define TILE_LINES 64   /* rows and columns of a tile of a transposed operand: whole cache lines on both sides */

/* How far the parameters have moved at an index of a loop. Most loops do not move them: they need no division. */
static int64_t param_step(const struct clq_loop *loop, int64_t index)
{
    if (loop->param_stride == 0) return 0;
    return (loop->group == 1 ? index : index / loop->group) * loop->param_stride;
}

/* An index of all loops: how far the operands and the parameters have moved there. */
struct corner {
    int64_t offset[CLQ_OPERANDS]; /* elements from the operands' data */
    int64_t param;                /* index of the first */
};

static void move_corner(struct corner *to, const struct corner *from, const struct clq_loop *loop, int64_t index)
{
    *to = *from;
    if (index == 0) return;
    to->param += param_step(loop, index);
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        to->offset[k] += index * loop->stride[k];
}

/* A block of the two innermost loops: where its first element is, its extents, and how parameters go. */
struct block {
    struct corner at;
    int64_t rows, cols;
    const int64_t *row_stride, *col_stride;   /* of each operand */
    int64_t param_pitch, group, group_stride; /* parameters a row; columns that share one; parameters from one group to the next */
};

/* Memory of a tile; blocks that kernels take whole have none. */
struct tile {
    _Alignas(64) unsigned char source[8 * TILE];
    _Alignas(64) unsigned char target[4 * TILE];
    _Alignas(64) float x_wide[TILE];
    _Alignas(64) float y_wide[TILE];
    float scale[TILE];
    int32_t zero_point[TILE];
    float lo[TILE], hi[TILE];
    int32_t source_zero_point[TILE];
    double slopes[TILE], outside[TILE];
    uint8_t mask[MASK_BYTES]; /* rows of whole bytes */
};

static int int_index(clq_dtype dtype)
{
    switch (dtype) {
    case CLQ_S4:
    case CLQ_S8: return CLQ_INT_S8;
    case CLQ_U4:
    case CLQ_U8: return CLQ_INT_U8;
    case CLQ_S16: return CLQ_INT_S16;
    case CLQ_U16: return CLQ_INT_U16;
    default: return CLQ_INT_S32;
    }
}

static int float_index(clq_dtype dtype)
{
    return dtype == CLQ_F32 ? CLQ_FLOAT_F32 : dtype == CLQ_F16 ? CLQ_FLOAT_F16 : CLQ_FLOAT_BF16;
}

static bool is_4bit(clq_dtype dtype)
{
    return dtype == CLQ_S4 || dtype == CLQ_U4;
}

/* Bytes of an element where kernels see it: 4-bit values are unpacked there. */
static int64_t element_bytes(clq_dtype dtype)
{
    return is_4bit(dtype) ? 1 : clq_bits(dtype) / 8;
}

static int log2_bytes(clq_dtype dtype)
{
    const int64_t bytes = element_bytes(dtype);
    return bytes == 8 ? 3 : bytes == 4 ? 2 : bytes == 2 ? 1 : 0;
}

/* ------------------------------------------------------------------------------------------------ tiles in and out */

/* `n` 4-bit values from number `at` on, as bytes. */
static void unpack(const struct clq_cpu_ops *ops, clq_dtype dtype, const unsigned char *src, int64_t at, unsigned char *dst, int64_t n)
{
    const clq_unpack_fn unpack_even = dtype == CLQ_S4 ? ops->unpack_s4 : ops->unpack_u4;
    if (at % 2 != 0) {
        unsigned char pair[2];
        unpack_even(src + at / 2, pair, 2);
        *dst++ = pair[1];
        ++at;
        --n;
    }
    if (n > 0) unpack_even(src + at / 2, dst, n);
}

/* The reverse. Values are written in ascending order within a part, and parts begin on bytes: a low nibble clears the high one beside it. */
static void pack(const struct clq_cpu_ops *ops, const unsigned char *src, unsigned char *dst, int64_t at, int64_t n)
{
    if (at % 2 != 0) {
        dst[at / 2] = (unsigned char)((dst[at / 2] & 15) | *src++ << 4);
        ++at;
        --n;
    }
    if (n > 0) ops->pack4(src, dst + at / 2, n);
}

struct place {
    void *data;
    int64_t pitch; /* elements from row to row */
};

static char *address(const struct clq_op *op, const struct block *block, int k)
{
    return (char *)op->operand[k].data + block->at.offset[k] * element_bytes(op->operand[k].dtype);
}

static bool is_direct(const struct clq_op *op, const struct block *block, int k)
{
    return !is_4bit(op->operand[k].dtype) && (block->col_stride[k] == 1 || block->cols == 1);
}

/* Operand k with adjacent columns: where it is, or a copy in the tile. */
static struct place fetch(const struct clq_walk *walk, const struct block *block, int k, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const clq_dtype dtype = op->operand[k].dtype;
    unsigned char *copy;
    if (!tile || is_direct(op, block, k)) return (struct place){address(op, block, k), block->row_stride[k]};
    copy = k == 0 ? tile->source : k == 1 ? tile->target : (unsigned char *)tile->x_wide;
    if (is_4bit(dtype))
        unpack(walk->ops, dtype, op->operand[k].data, block->at.offset[k], copy, block->rows * block->cols);
    else
        walk->ops->copy2d[log2_bytes(dtype)](address(op, block, k), block->row_stride[k], block->col_stride[k], copy, block->cols, 1, block->rows,
                                             block->cols);
    return (struct place){copy, block->cols};
}

/* Where operand 1 may be written with adjacent columns; put_target() brings it to its place. */
static struct place make_target(const struct clq_op *op, const struct block *block, struct tile *tile)
{
    if (!tile || is_direct(op, block, 1)) return (struct place){address(op, block, 1), block->row_stride[1]};
    return (struct place){tile->target, block->cols};
}

static void put_target(const struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const clq_dtype dtype = op->operand[1].dtype;
    if (!tile || is_direct(op, block, 1)) return;
    if (is_4bit(dtype))
        pack(walk->ops, tile->target, op->operand[1].data, block->at.offset[1], block->rows * block->cols);
    else
        walk->ops->copy2d[log2_bytes(dtype)](tile->target, block->cols, 1, address(op, block, 1), block->row_stride[1], block->col_stride[1],
                                             block->rows, block->cols);
}

/* ------------------------------------------------------------------------------------------------ masks */

/* Rows of a block's mask begin and, but for the last one, end on bytes. */
static bool is_mask_direct(const struct clq_op *op, const struct block *block)
{
    if (!clq_op_has_operand(op, CLQ_MASK)) return true;
    return block->at.offset[CLQ_MASK] % 8 == 0 && (block->rows == 1 || block->row_stride[CLQ_MASK] % 8 == 0);
}

static int64_t mask_pitch(const struct clq_op *op, const struct block *block)
{
    return is_mask_direct(op, block) ? block->row_stride[CLQ_MASK] / 8 : (block->cols + 7) / 8;
}

/* Where kernels find the block's mask; NULL if there is none. */
static uint8_t *mask_place(const struct clq_op *op, const struct block *block, struct tile *tile)
{
    if (!clq_op_has_operand(op, CLQ_MASK)) return NULL;
    return is_mask_direct(op, block) ? (uint8_t *)op->operand[CLQ_MASK].data + block->at.offset[CLQ_MASK] / 8 : tile->mask;
}

/* Copies n bits, 1 or more, from bit `src_at` of src to bit `dst_at` of dst. Bits of dst before the first stay; those behind the last in its byte become 0. */
static void copy_bits(const uint8_t *src, int64_t src_at, uint8_t *dst, int64_t dst_at, int64_t n)
{
    const int skip = (int)(src_at % 8), shift = (int)(dst_at % 8);
    uint64_t carry = shift ? dst[dst_at / 8] & ((1u << shift) - 1) : 0, word = 0;
    src += src_at / 8;
    dst += dst_at / 8;
    for (; n > 56; n -= 56, src += 7, dst += 7) { /* more than 56 bits touch 8 bytes */
        memcpy(&word, src, 8);
        word = ((word >> skip & ((UINT64_C(1) << 56) - 1)) << shift) | carry;
        memcpy(dst, &word, 8);
        carry = word >> 56;
    }
    word = 0;
    memcpy(&word, src, (size_t)(skip + n + 7) / 8);
    word = ((word >> skip & ((UINT64_C(1) << n) - 1)) << shift) | carry;
    memcpy(dst, &word, (size_t)(shift + n + 7) / 8);
}

static void fetch_mask(const struct clq_op *op, const struct block *block, struct tile *tile)
{
    const int64_t pitch = (block->cols + 7) / 8;
    if (is_mask_direct(op, block)) return;
    for (int64_t row = 0; row < block->rows; ++row)
        copy_bits(op->operand[CLQ_MASK].data, block->at.offset[CLQ_MASK] + row * block->row_stride[CLQ_MASK], tile->mask + row * pitch, 0, block->cols);
}

/* As with 4-bit values, bits are written in ascending order: those behind the last one in its byte are to come, or spare. */
static void put_mask(const struct clq_op *op, const struct block *block, const struct tile *tile)
{
    const int64_t pitch = (block->cols + 7) / 8;
    if (is_mask_direct(op, block)) return;
    for (int64_t row = 0; row < block->rows; ++row)
        copy_bits(tile->mask + row * pitch, 0, op->operand[CLQ_MASK].data, block->at.offset[CLQ_MASK] + row * block->row_stride[CLQ_MASK], block->cols);
}

/* ------------------------------------------------------------------------------------------------ operations on a block */

/* Whether neighbouring groups have parameters that are not neighbours. */
static bool is_scattered(const struct block *block)
{
    return block->group_stride > 1 && block->group < block->cols;
}

/* A span from src to dst with its parameters. Kernels want those of neighbouring groups adjacent; tiles bring them together. Fields are set one by one:
   compilers zero a structure with string instructions, whose start costs a small call dearly. */
static void begin_span(struct clq_walk *walk, const struct block *block, struct tile *tile, struct place src, struct place dst, struct clq_span *span)
{
    const struct clq_op *op = walk->op;
    int64_t groups;
    span->src = src.data;
    span->dst = dst.data;
    span->x = NULL;
    span->mask = NULL;
    span->rows = block->rows;
    span->cols = block->cols;
    span->src_pitch = src.pitch;
    span->dst_pitch = dst.pitch;
    span->x_pitch = span->mask_pitch = 0;
    span->group = block->group;
    span->param_pitch = block->param_pitch;
    span->scale = op->scale ? op->scale + block->at.param : NULL;
    span->zero_point = op->zero_point ? op->zero_point + block->at.param : NULL;
    span->fixed_zero_point = op->fixed_zero_point;
    span->source_zero_point = op->source_zero_point ? op->source_zero_point + block->at.param : NULL;
    span->qmin = op->qmin;
    span->qmax = op->qmax;
    span->reciprocal = op->reciprocal;
    span->counts = NULL;
    span->lo = span->hi = NULL;
    span->slopes = span->outside = NULL;
    span->streams = walk->streams && !tile && block->rows * block->cols >= STREAM_ELEMENTS;
    if (!is_scattered(block)) return;
    groups = clq_ceil_div(block->cols, block->group);
    for (int64_t i = 0; span->scale && i < groups; ++i)
        tile->scale[i] = span->scale[i * block->group_stride];
    for (int64_t i = 0; span->zero_point && i < groups; ++i)
        tile->zero_point[i] = span->zero_point[i * block->group_stride];
    for (int64_t i = 0; span->source_zero_point && i < groups; ++i)
        tile->source_zero_point[i] = span->source_zero_point[i * block->group_stride];
    span->scale = span->scale ? tile->scale : NULL;
    span->zero_point = span->zero_point ? tile->zero_point : NULL;
    span->source_zero_point = span->source_zero_point ? tile->source_zero_point : NULL;
}

static void quantize(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const struct place x = fetch(walk, block, 0, tile), q = make_target(op, block, tile);
    struct clq_span span;
    begin_span(walk, block, tile, x, q, &span);
    span.counts = op->counted ? walk->counts : NULL;
    walk->ops->quantize[float_index(op->operand[0].dtype)][int_index(op->operand[1].dtype)](&span);
    put_target(walk, block, tile);
}

static void dequantize(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const struct place q = fetch(walk, block, 0, tile), y = make_target(op, block, tile);
    struct clq_span span;
    begin_span(walk, block, tile, q, y, &span);
    walk->ops->dequantize[int_index(op->operand[0].dtype)][float_index(op->operand[1].dtype)](&span);
    put_target(walk, block, tile);
}

static void requantize(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const struct place x = fetch(walk, block, 0, tile), y = make_target(op, block, tile);
    struct clq_span span;
    begin_span(walk, block, tile, x, y, &span);
    walk->ops->requantize[int_index(op->operand[0].dtype)][int_index(op->operand[1].dtype)](&span);
    put_target(walk, block, tile);
}

static void fake_quantize(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const struct place x = fetch(walk, block, 0, tile), y = make_target(op, block, tile);
    struct clq_span span;
    begin_span(walk, block, tile, x, y, &span);
    span.counts = op->counted ? walk->counts : NULL;
    span.mask = mask_place(op, block, tile);
    span.mask_pitch = mask_pitch(op, block);
    walk->ops->fake_quantize[float_index(op->operand[0].dtype)](&span);
    put_target(walk, block, tile);
    put_mask(op, block, tile);
}

static void backward(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const int type = float_index(op->operand[0].dtype);
    const struct place dy = fetch(walk, block, 0, tile), dx = make_target(op, block, tile);
    struct clq_span span;
    begin_span(walk, block, tile, dy, dx, &span);
    if (clq_op_has_operand(op, CLQ_MASK)) {
        fetch_mask(op, block, tile);
        span.mask = mask_place(op, block, tile);
        span.mask_pitch = mask_pitch(op, block);
        walk->ops->mask_backward[type == CLQ_FLOAT_F32](&span);
    } else {
        const struct place x = fetch(walk, block, 2, tile);
        span.x = x.data;
        span.x_pitch = x.pitch;
        walk->ops->fake_backward[type](&span);
    }
    put_target(walk, block, tile);
}

static void backward_learnable(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const int64_t groups = is_scattered(block) ? clq_ceil_div(block->cols, block->group) : 0;
    const struct place dy = fetch(walk, block, 0, tile), dx = make_target(op, block, tile), x = fetch(walk, block, 2, tile);
    struct clq_span span;
    begin_span(walk, block, tile, dy, dx, &span);
    span.x = x.data;
    span.x_pitch = x.pitch;
    span.slopes = walk->slopes + block->at.param;
    span.outside = walk->outside ? walk->outside + block->at.param : NULL;
    if (groups > 0) {
        memset(tile->slopes, 0, (size_t)groups * sizeof tile->slopes[0]);
        memset(tile->outside, 0, (size_t)groups * sizeof tile->outside[0]);
        span.slopes = tile->slopes;
        span.outside = walk->outside ? tile->outside : NULL;
    }
    walk->ops->learnable_backward[float_index(op->operand[0].dtype)](&span);
    for (int64_t i = 0; i < groups; ++i) {
        walk->slopes[block->at.param + i * block->group_stride] += tile->slopes[i];
        if (walk->outside) walk->outside[block->at.param + i * block->group_stride] += tile->outside[i];
    }
    put_target(walk, block, tile);
}

static void find_minmax(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const bool scattered = is_scattered(block);
    const int64_t groups = scattered ? clq_ceil_div(block->cols, block->group) : 1;
    const struct place x = fetch(walk, block, 0, tile);
    struct clq_span span;
    begin_span(walk, block, tile, x, (struct place){NULL, 0}, &span);
    span.lo = walk->lo + block->at.param;
    span.hi = walk->hi + block->at.param;
    span.counts = walk->counts;
    for (int64_t i = 0; scattered && i < groups; ++i) {
        tile->lo[i] = span.lo[i * block->group_stride];
        tile->hi[i] = span.hi[i * block->group_stride];
    }
    if (scattered) {
        span.lo = tile->lo;
        span.hi = tile->hi;
    }
    walk->ops->minmax[float_index(walk->op->operand[0].dtype)](&span);
    for (int64_t i = 0; scattered && i < groups; ++i) {
        walk->lo[block->at.param + i * block->group_stride] = tile->lo[i];
        walk->hi[block->at.param + i * block->group_stride] = tile->hi[i];
    }
}

/* A row of floats of any type as f32. */
static const void *widen_row(const struct clq_cpu_ops *ops, clq_dtype dtype, const void *src, float *wide, int64_t n)
{
    if (dtype == CLQ_F32) return src;
    ops->widen[float_index(dtype)](src, wide, n, false);
    return wide;
}

static void add_errors(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const clq_dtype x_type = op->operand[0].dtype, y_type = op->scale ? CLQ_F32 : op->operand[1].dtype;
    const struct place x = fetch(walk, block, 0, tile);
    struct place y = fetch(walk, block, 1, tile);
    int64_t rows = block->rows, cols = block->cols;

    if (op->scale) {
        const int type = int_index(op->operand[1].dtype);
        struct clq_span span;
        begin_span(walk, block, tile, y, (struct place){tile->y_wide, cols}, &span);
        walk->ops->dequantize[type][CLQ_FLOAT_F32](&span);
        y = (struct place){tile->y_wide, cols};
        /* Counts what is clipped; the quantized values themselves are not needed. */
        span.src = x.data;
        span.src_pitch = x.pitch;
        span.dst = tile->target;
        span.counts = walk->counts;
        walk->ops->quantize[float_index(x_type)][type](&span);
    }
    if (x.pitch == cols && y.pitch == cols) {
        cols *= rows;
        rows = 1;
    }
    for (int64_t row = 0; row < rows; ++row) {
        const void *x_row = (const char *)x.data + row * x.pitch * element_bytes(x_type);
        const void *y_row = (const char *)y.data + row * y.pitch * element_bytes(y_type);
        x_row = widen_row(walk->ops, x_type, x_row, tile->x_wide, cols);
        y_row = widen_row(walk->ops, y_type, y_row, tile->y_wide, cols);
        walk->ops->error_sums(x_row, y_row, cols, walk->sums);
    }
}

static void convert(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    const struct clq_op *op = walk->op;
    const clq_dtype from = op->operand[0].dtype, to = op->operand[1].dtype;
    const bool streams = walk->streams && !tile && block->cols >= STREAM_ELEMENTS;
    struct place x, y;
    if (from == to) {
        walk->ops->copy2d[log2_bytes(from)](address(op, block, 0), block->row_stride[0], block->col_stride[0], address(op, block, 1),
                                            block->row_stride[1], block->col_stride[1], block->rows, block->cols);
        return;
    }
    x = fetch(walk, block, 0, tile);
    y = make_target(op, block, tile);
    for (int64_t row = 0; row < block->rows; ++row) {
        const void *x_row = (const char *)x.data + row * x.pitch * element_bytes(from);
        void *y_row = (char *)y.data + row * y.pitch * element_bytes(to);
        if (from == CLQ_F64)
            walk->ops->narrow_f64[float_index(to)](x_row, y_row, block->cols, streams);
        else if (from == CLQ_F32)
            walk->ops->narrow[float_index(to)](x_row, y_row, block->cols, streams);
        else if (to == CLQ_F32)
            walk->ops->widen[float_index(from)](x_row, y_row, block->cols, streams);
        else
            walk->ops->narrow[float_index(to)](widen_row(walk->ops, from, x_row, tile->x_wide, block->cols), y_row, block->cols, false);
    }
    put_target(walk, block, tile);
}

static void run_block(struct clq_walk *walk, const struct block *block, struct tile *tile)
{
    switch (walk->op->kind) {
    case CLQ_OP_QUANTIZE: quantize(walk, block, tile); break;
    case CLQ_OP_DEQUANTIZE: dequantize(walk, block, tile); break;
    case CLQ_OP_MINMAX: find_minmax(walk, block, tile); break;
    case CLQ_OP_ERROR_STATS: add_errors(walk, block, tile); break;
    case CLQ_OP_CONVERT: convert(walk, block, tile); break;
    case CLQ_OP_REQUANTIZE: requantize(walk, block, tile); break;
    case CLQ_OP_FAKE_QUANTIZE: fake_quantize(walk, block, tile); break;
    case CLQ_OP_BACKWARD: backward(walk, block, tile); break;
    case CLQ_OP_BACKWARD_LEARNABLE: backward_learnable(walk, block, tile); break;
    case CLQ_OP_QPARAMS:
    case CLQ_OP_MULTIPLIERS:
    case CLQ_OP_GEMM: break; /* have no loops */
    }
}

/* ------------------------------------------------------------------------------------------------ blocks and tiles */

/* Whether kernels can take a block whole. */
static bool fits_kernels(const struct clq_walk *walk, const struct block *block)
{
    const struct clq_op *op = walk->op;
    const clq_dtype from = op->operand[0].dtype, to = op->operand[1].dtype;
    if (is_scattered(block)) return false;
    switch (op->kind) {
    case CLQ_OP_ERROR_STATS: return false;
    case CLQ_OP_MINMAX: return is_direct(op, block, 0);
    case CLQ_OP_CONVERT: return from == to || (is_direct(op, block, 0) && is_direct(op, block, 1) && (from == CLQ_F32 || to == CLQ_F32 || from == CLQ_F64));
    default:
        if (clq_op_has_operand(op, 2) && !is_direct(op, block, 2)) return false;
        return is_direct(op, block, 0) && is_direct(op, block, 1) && is_mask_direct(op, block);
    }
}

/* Rows and columns of the tiles of a block. A 4-bit operand is contiguous over whole rows only. */
static void choose_tile(const struct clq_walk *walk, const struct block *block, int64_t *rows, int64_t *cols)
{
    const struct clq_op *op = walk->op;
    const bool packed = clq_op_is_packed(op);
    bool transposed = false, direct = clq_op_has_operand(op, CLQ_MASK) && !is_scattered(block);
    for (int k = 0; k < CLQ_MASK; ++k) {
        if (!clq_op_has_operand(op, k) || is_direct(op, block, k)) continue;
        transposed |= block->row_stride[k] == 1 || block->row_stride[k] == -1;
        direct = false;
    }
    *cols = clq_min_i64(block->cols, direct ? 8 * MASK_BYTES : transposed && !packed ? TILE_LINES : TILE);
    if (*cols < block->cols && block->group > 1 && block->group < *cols) *cols -= *cols % block->group;
    *rows = clq_min_i64(block->rows, direct ? MASK_BYTES / clq_ceil_div(*cols, 8) : TILE / *cols);
    if (packed && *cols < block->cols) *rows = 1;
    /* Scattered parameters are brought together for one row. */
    if (block->param_pitch != 0 && is_scattered(block)) *rows = 1;
}

/* Kept out of line, so that blocks without tiles do not pay for their stack. */
static __attribute__((noinline)) void run_tiles(struct clq_walk *walk, const struct block *block)
{
    struct tile tile;
    int64_t tile_rows, tile_cols;
    choose_tile(walk, block, &tile_rows, &tile_cols);
    for (int64_t row = 0; row < block->rows; row += tile_rows)
        for (int64_t col = 0, cols; col < block->cols; col += cols) {
            struct block part = *block;
            part.rows = clq_min_i64(tile_rows, block->rows - row);
            /* A tile covers whole groups or lies in one. */
            cols = clq_min_i64(tile_cols, block->cols - col);
            if (block->group > tile_cols) cols = clq_min_i64(cols, block->group - col % block->group);
            part.cols = cols;
            part.at.param += row * block->param_pitch + col / block->group * block->group_stride;
            if (part.group >= cols) part.group = cols;
            for (int k = 0; k < CLQ_OPERANDS; ++k)
                part.at.offset[k] += row * block->row_stride[k] + col * block->col_stride[k];
            run_block(walk, &part, &tile);
        }
}

static void run_whole_or_tiles(struct clq_walk *walk, const struct block *block)
{
    if (fits_kernels(walk, block))
        run_block(walk, block, NULL);
    else
        run_tiles(walk, block);
}

/* The indices of a loop that are walked: [begin, end). */
static int64_t begin_of(const struct clq_walk *walk, const struct clq_loop *loop)
{
    return loop == &walk->op->loops[walk->loop] ? walk->begin : 0;
}

static int64_t end_of(const struct clq_walk *walk, const struct clq_loop *loop)
{
    return loop == &walk->op->loops[walk->loop] ? walk->end : loop->extent;
}

/* The innermost loop: first what is left of the group where it begins. */
static void run_columns(struct clq_walk *walk, const struct corner *row, struct block *part, const struct clq_loop *loop)
{
    const int64_t begin = begin_of(walk, loop), end = end_of(walk, loop);
    part->col_stride = loop->stride;
    part->group_stride = loop->param_stride;
    for (int64_t col = begin; col < end; col += part->cols) {
        const int64_t into_group = loop->param_stride && col > 0 ? col % loop->group : 0;
        part->cols = into_group ? clq_min_i64(end - col, loop->group - into_group) : end - col;
        part->group = loop->param_stride && !into_group ? clq_min_i64(loop->group, part->cols) : part->cols;
        move_corner(&part->at, row, loop, col);
        run_whole_or_tiles(walk, part);
    }
}

/* Rows [begin, end): as many at once as lie in one group, or all if each has its own parameters or all have the same. */
static void run_rows(struct clq_walk *walk, const struct corner *corner, struct block *part, const struct clq_loop *rows, int64_t begin, int64_t end)
{
    const bool grouped = rows->param_stride != 0 && rows->group > 1;
    struct corner at;
    part->row_stride = rows->stride;
    part->param_pitch = grouped ? 0 : rows->param_stride;
    for (int64_t row = begin; row < end; row += part->rows) {
        part->rows = grouped ? clq_min_i64(end - row, rows->group - row % rows->group) : end - row;
        move_corner(&at, corner, rows, row);
        run_columns(walk, &at, part, rows + 1);
    }
}

/* The loops from number `k` on, at an index of those before it. */
static void run_loops(struct clq_walk *walk, const struct corner *corner, int32_t k)
{
    static const int64_t no_stride[CLQ_OPERANDS];
    const struct clq_loop *loop = &walk->op->loops[k];
    const int32_t inner = walk->op->rank - 1 - k;
    struct block part; /* filled step by step: copies of it would cost a small call more than its elements */
    if (inner > 1) {
        for (int64_t i = begin_of(walk, loop); i < end_of(walk, loop); ++i) {
            struct corner at;
            move_corner(&at, corner, loop, i);
            run_loops(walk, &at, k + 1);
        }
    } else if (inner == 1) {
        run_rows(walk, corner, &part, loop, begin_of(walk, loop), end_of(walk, loop));
    } else {
        part.row_stride = no_stride;
        part.rows = 1;
        part.param_pitch = 0;
        run_columns(walk, corner, &part, loop);
    }
}

void clq_walk_run(struct clq_walk *walk)
{
    const struct corner corner = {.param = 0};
    run_loops(walk, &corner, 0);
}
