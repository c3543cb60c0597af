/* SPDX-License-Identifier: MIT */
/*
 * What the host tells a kernel about its work: a table of jobs, one for each tensor of a launch. Compiled as C11 and as OpenCL C 1.2, with the
 * same layout in both: 64-bit fields first, then 32-bit ones, in pairs.
 *
 * A job is a range of the elements that nested loops visit. The flat index of an element counts all of them in the order of the loops; its
 * indices are the digits of the flat index in the extents' mixed radix. At the indices i operand k lies at
 * offset[k] + sum of i * stride[k], and the parameters' index is the sum of i / group * param_stride.
 */
#ifndef CLQ_LAUNCH_H
#define CLQ_LAUNCH_H

#ifdef __OPENCL_VERSION__
typedef long clql_long;
typedef int clql_int;
#else
#include <stdint.h>
typedef int64_t clql_long;
typedef int32_t clql_int;
#endif

#define CLQL_MAX_LOOPS 8

/* Launch geometry. In a round an item takes CLQL_UNITS units, CLQ_LOCAL_SIZE units apart: quads of 4 consecutive flat elements in the kernels
   NAME_quads, pairs of 2 in NAME_any. So a work-group covers parts * CLQ_LOCAL_SIZE * CLQL_UNITS * (CLQL_QUAD or CLQL_PAIR) elements, and a job
   takes ceil(count / that) work-groups. Kernels with neither ending take quads too, element by element unless the job is aligned. Others: minmax_columns
   ceil(C / 4 / CLQ_LOCAL_SIZE) * parts for C columns; error_stats `parts`; backward_learnable and finish_gradients CLQ_LOCAL_SIZE / lanes parameters a
   work-group, the former `parts` times; qparams_from_range, multipliers and finish_minmax one parameter an item, finish_minmax at least one work-group. */
#define CLQL_UNITS 4
#define CLQL_QUAD  4
#define CLQL_PAIR  2

/* The operands, in the numbers of struct clq_op; those that are not there count as dense. */
#define CLQL_OPERANDS  4
#define CLQL_MASK      3
#define CLQL_ALL_DENSE 15

/* One loop; the fields are those of struct clq_loop. */
struct clql_loop {
    clql_long extent;
    clql_long stride[CLQL_OPERANDS]; /* elements */
    clql_long param_stride;
    clql_long group;
};

struct clql_job {
    clql_long first_group; /* of the launch's work-groups, the first that works on this job; ascending from job to job */
    clql_long first;       /* the range of flat indices: [first, first + count); even if an operand has 4 bits, */
    clql_long count;       /* and a multiple of 4 in the kernels NAME_quads */
    clql_long offset[CLQL_OPERANDS]; /* elements from an operand's base to its element with the flat index 0; negative for a chunk that holds only the
                                        range; bits for a mask, a multiple of 8 */
    clql_long param_offset[3]; /* elements from the bases of scale (requantize: multiplier), zero_point and requantize's source zero points; or twice
                                  from that of keys (minmax: least, greatest) */
    clql_long result_offset;   /* elements (uint) from the base of counts, structs clql_partial or clql_gradients from the base of partials */
    clql_long first_param, param_count; /* backward_learnable: those that the range may touch */
    clql_long dscale, dzero_point; /* backward_learnable: elements from the bases; dscale -1: the sums go to partials, dzero_point -1: it is not wanted */
    float gradient_scale;
    clql_int rank;             /* loops, outermost first; 1 or more */
    clql_int dense;            /* bit k: operand k lies at offset[k] + flat index */
    clql_int present;          /* bit k: operand k is there */
    clql_int aligned;          /* quads of all operands are as for quantize_quads; backward_learnable: those of each parameter's elements */
    clql_int varying;          /* some param_stride is not 0 */
    clql_int counted;          /* quantize, fake_quantize, minmax: add to counts */
    clql_int has_zero_point;   /* else fixed_zero_point */
    clql_int fixed_zero_point;
    clql_int qmin, qmax;       /* hold every zero point, in all jobs with parameters (s32: the full range) */
    clql_int reciprocal;
    clql_int parts;            /* error_stats: work-groups, and partial sums, of this job; backward_learnable: partial sums of a parameter;
                                  minmax_columns: slabs of rows; others: rounds of a work-group, 1 or more; with a mask to be written 1 */
    clql_int lanes;            /* backward_learnable: items that share a parameter, a power of two */
    clql_int columns;          /* backward_learnable: neighbouring items have neighbouring parameters, else neighbouring elements of one */
    struct clql_loop loops[CLQL_MAX_LOOPS];
};

/* Parameters from ranges, one job for each array of them: struct clq_range_rule and where things lie, in elements. */
struct clql_range_job {
    clql_long first_group;
    clql_long count;
    clql_long lo, hi;
    clql_long average_lo, average_hi;
    clql_long scale, zero_point;
    float step;
    float averaging; /* 0: there is no average */
    clql_int symmetric, power_of_two, qmin, qmax, fixed_zero_point;
    clql_int has_zero_point; /* zero points are wanted */
};

/* Multipliers of requantize, one job for each array of them, and its zero points: where things lie, in elements. */
struct clql_multiplier_job {
    clql_long first_group;
    clql_long count;
    clql_long scale, target_scale, multiplier;
    clql_long zero_point, target_zero_point;         /* inputs; -1: the fixed ones */
    clql_long source_zero_point_out, zero_point_out;
    clql_int fixed_zero_point, fixed_target_zero_point;
    clql_int is_single, is_target_single;            /* scale and zero point are the same for all */
};

/* The gradients of parameters from partial sums, one job for each tensor. */
struct clql_gradient_job {
    clql_long first_group;
    clql_long count;    /* parameters */
    clql_long partials; /* structs clql_gradients, those of a parameter together */
    clql_long scale, dscale, dzero_point; /* elements; dzero_point -1: not wanted */
    float gradient_scale;
    clql_int parts, lanes;
    clql_int unused;
};

/* Sums over elements of a parameter: of dy times the slope, of dy outside. Built with CLQ_HAS_FP64 a sum is the bits of an f64; without, those of the
   two f32 whose sum it is. */
struct clql_gradients {
    clql_long sum[2];
};

/*
 * Results of minmax: keys to floats, counts to 64 bits.
 *
 * A key is a float's bits in an order that unsigned integers have: bits ^ (sign ? 0xffffffff : 0x80000000). The greatest value is kept as the
 * greatest key, the least one as the greatest key of the negated values, so both start from 0, which no float has and means that nothing was
 * seen: the host fills keys (and counts) with zeros.
 */
struct clql_finish_job {
    clql_long first_group;
    clql_long count;       /* parameters; 0: counts alone */
    clql_long keys_lo, keys_hi;
    clql_long lo, hi;
    clql_long counts;      /* in 32-bit halves: NaN, infinite, clipped, each low half first; -1: not wanted */
    clql_long counts_out;  /* s64 [3] */
};

/* A work-group's share of the error statistics: squared error, absolute error, squared x, squared y, product. Built with CLQ_HAS_FP64 a sum is the
   bits of an f64 and its exponent 0; without, sum * 2^exponent. */
struct clql_partial {
    clql_long count, nan, inf, clipped;
    clql_long sum[5];
    clql_int exponent[5];
    clql_int max_error; /* bits of an f32 */
};

/*
 * A matrix product, and one of its two sides: the rows of A or the columns of B. A line has K adjacent bytes, which are read 16 at a time: offset, batch_stride
 * and pitch are multiples of 16. What lies between K and the next multiple of 16 may be anything, but is there.
 */
struct clql_gemm_side {
    clql_long offset;       /* bytes from the base to line 0 of matrix 0 */
    clql_long batch_stride; /* bytes from matrix to matrix */
    clql_long pitch;        /* bytes from line to line */
    clql_long lines;        /* M or N, 1 or more */
    clql_long sums;         /* index of the sum of line 0 of matrix 0, over the elements less `shift`; -1: not needed, as the other side's zero points are 0 */
    clql_long sums_stride;  /* from matrix to matrix */
    clql_long scale;        /* index of the first; not read for s32 results */
    clql_long zero_point;   /* index of the first; -1: fixed_zero_point */
    clql_int single;        /* all lines have one scale and zero point */
    clql_int fixed_zero_point;
    clql_int shift;         /* the kernel takes elements less this: 128 where it takes a u8 as an s8 */
    clql_int unused;
};

struct clql_gemm_job {
    struct clql_gemm_side side[2];
    clql_long batch, k;     /* 1 or more, 0 or more */
    clql_long c, c_batch_stride, c_pitch, c_step; /* elements: the result of lines i and j of matrix b is at c + b * c_batch_stride + i * c_pitch + j * c_step, */
    clql_long split_stride; /* and, from the part s of K, that much * s further on */
    clql_long k_split;      /* a part of K, a multiple of CLQL_GEMM_K */
    clql_long bias;         /* index of the first; -1: none */
    clql_long c_scale, c_zero_point; /* indices; c_zero_point -1: c_fixed_zero_point */
    clql_long partials;     /* gemm_finish: ints from their base to the results of the first part, which are dense: [splits][batch][M][N] */
    clql_int splits;        /* parts of K */
    clql_int raw;           /* results are s32 sums of products, without zero points, scale and bias */
    clql_int c_dtype;       /* S32, F32, S8 or U8 */
    clql_int c_aligned;     /* c_step is 1, and c, c_batch_stride, c_pitch are multiples of 4 elements, the base of 4 elements' bytes */
    clql_int bias_side;     /* the bias has an entry for each line of this side */
    clql_int c_fixed_zero_point, qmin, qmax;
    clql_int relu;          /* f32 results: y > 0 ? y : +0; then low and high do not count */
    float low, high;        /* -inf and inf without bounds */
    clql_int unused;
};

/* Parts of K are multiples of this, and so is K in packed lines, which are filled up with zeros. */
#define CLQL_GEMM_K 64

/* Lines from a matrix of bytes: element k of line i of matrix b is at source + b * batch_stride + i * line_stride + k * k_stride. See gemm_pack.cl. */
struct clql_pack_job {
    clql_long source, batch_stride, line_stride, k_stride;
    clql_long batch, lines, k; /* 1 or more */
    clql_long target, target_batch_stride, pitch; /* as in struct clql_gemm_side; pitch is K rounded up to CLQL_GEMM_K */
    clql_long sums, sums_stride; /* as there; sums -1: not wanted */
    clql_int aligned;            /* pack_lines: the base and all offsets are multiples of 16; pack_columns: of 4 */
    clql_int unused;
};

/* A product of f32 matrices; strides in elements. */
struct clql_gemm_f32_job {
    clql_long batch, m, n, k;
    clql_long a, a_batch_stride, a_row_stride, a_col_stride;
    clql_long b, b_batch_stride, b_row_stride, b_col_stride;
    clql_long c, c_batch_stride, c_row_stride, c_col_stride;
    clql_long bias; /* index of the first; -1: none */
    clql_int relu;  /* y > 0 ? y : +0; then low and high do not count */
    clql_int unused;
    float low, high;
};

#endif
