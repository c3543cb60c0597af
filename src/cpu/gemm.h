/* SPDX-License-Identifier: MIT */
/*
 * The integer matrix product on the CPU: what the driver asks of an instruction set. The driver blocks, packs and corrects; kernels do tiles.
 *
 * Operands are packed first. A kernel has its own idea of signs: with flip_a[s8] = 0x80, say, an s8 of A is packed with its top bit turned, as the u8
 * a + 128; the driver corrects zero points to match. Packed elements have element_bytes: 8-bit ones as they are, or widened to s16, never flipped.
 *
 *   A, packed: rows of k elements, k a multiple of k_unit, filled up with 0, at a pitch of the driver's choice: kernels may read every row of a tile to
 *   its padded end and nothing else.
 *   B, packed: panels of `cols` columns, filled up with 0; a panel is [k / group][cols][group].
 */
#ifndef CLQ_GEMM_H
#define CLQ_GEMM_H

#include "backend.h"

/* s8 and u8 as indices. */
enum { CLQ_GEMM_S8, CLQ_GEMM_U8, CLQ_GEMM_TYPES };

/*
 * c[i][j] = start[i][j] + row_init[i] + col_init[j] + sum over k of a[i][k] * b[k][j], modulo 2^32, for i < rows and j < cols rounded up to what the
 * kernel likes: it may write all columns of the panel, but no row beyond `rows`.
 */
struct clq_gemm_tile {
    int64_t rows, cols;      /* 1 to those of the kernels */
    int64_t k;               /* a multiple of k_unit, 0 or more */
    const void *a;
    int64_t a_pitch;         /* bytes from row to row */
    const void *b;           /* the panel, from the first k on */
    bool prefetch;           /* B comes from memory */
    const int32_t *start;    /* NULL: zeros; may be c */
    int64_t start_pitch;     /* elements from row to row */
    const int32_t *row_init; /* [rows]; NULL: zeros */
    const int32_t *col_init; /* [cols of the panel] */
    int32_t *c;
    int64_t c_pitch;         /* elements from row to row */
};

/*
 * dst[i][j] = activated fl(fl(float(c[i][j]) * s) + bias[j]), with s = clqm_product_scale(row_scale[i], col_scale[j]), or col_scale[j] if row_scale is
 * NULL. No addition if bias is NULL. Activated: y < low ? low : y > high ? high : y, or with `relu` y > 0 ? y : +0.
 */
struct clq_gemm_finish {
    const int32_t *c;
    int64_t c_pitch, rows, cols;
    const float *row_scale, *col_scale, *bias;
    bool relu;
    float low, high; /* -inf and inf: no clamp */
    float *dst;
    int64_t dst_pitch;
};

/* Columns that dot_rows() takes at most. */
#define CLQ_GEMM_FEW_COLS 4

/*
 * c[i][j] = sum over k of a[i][k] * b[j][k], modulo 2^32. A is as the caller has it, k row_step or more elements of a row adjacent. The columns of B are
 * packed elements; what is left of k after whole steps has a step to itself, at whose end it lies, 0 before it.
 */
struct clq_gemm_rows {
    int64_t rows, cols, k; /* cols 1 to CLQ_GEMM_FEW_COLS */
    const void *a;
    int64_t a_pitch;       /* bytes from row to row */
    const void *b;
    int64_t b_pitch;       /* bytes from column to column */
    int32_t *c;
    int64_t c_pitch;       /* elements */
};

typedef void (*clq_gemm_rows_fn)(const struct clq_gemm_rows *rows);
typedef void (*clq_gemm_tile_fn)(const struct clq_gemm_tile *tile);

struct clq_gemm_kernels {
    int32_t rows, cols;      /* of the largest tile */
    int32_t row_unit;        /* what a smaller one costs goes by its rows, rounded up to a multiple of this divisor of `rows` */
    int32_t group;           /* elements along k that lie together in a panel: 1, 2 or 4 */
    int32_t k_unit;          /* a multiple of group */
    int32_t element_bytes;   /* 1, or 2 for s16 */
    uint8_t flip_a[CLQ_GEMM_TYPES], flip_b[CLQ_GEMM_TYPES]; /* 0 or 0x80 */

    /*
     * Packs rows of k adjacent elements of A, each filled up to k_padded. Pitches in bytes from row to row. Adds to sums[rows], modulo 2^32, those of
     * the elements as packed; NULL: not wanted.
     */
    void (*pack_a)(const void *src, int64_t src_pitch, int64_t rows, int64_t k, int64_t k_padded, int type, void *dst, int64_t dst_pitch, int32_t *sums);

    /*
     * Packs k x n elements, n <= cols, of B to a panel, filled up to k_padded x cols. Strides in elements, one of them is 1, the other of any sign.
     * Adds to sums[cols] as pack_a() does.
     */
    void (*pack_b)(const void *src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t n, int64_t k_padded, int type, void *dst, int32_t *sums);

    clq_gemm_tile_fn tile[CLQ_GEMM_TYPES][CLQ_GEMM_TYPES]; /* by the types of A and B */

    /* Few columns of B at once, by the type of A: NULL if tiles do it. row_step is at most 64. */
    clq_gemm_rows_fn dot_rows[CLQ_GEMM_TYPES];
    int32_t row_step;

    /* What a thread does before its first tile and after its last; both NULL if nothing. */
    void (*begin)(void);
    void (*end)(void);

    /* c[i][j] -= row[i] * col[j], modulo 2^32. */
    void (*subtract_outer)(int32_t *c, int64_t c_pitch, int64_t rows, int64_t cols, const int32_t *row, const int32_t *col);

    void (*finish_f32)(const struct clq_gemm_finish *finish);
};

#endif
