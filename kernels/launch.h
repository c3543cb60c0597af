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

/* One loop; the fields are those of struct clq_loop. */
struct clql_loop {
    clql_long extent;
    clql_long stride[2]; /* elements */
    clql_long param_stride;
    clql_long group;
};

struct clql_job {
    clql_long first_group; /* of the launch's work-groups, the first that works on this job; ascending from job to job */
    clql_long first;       /* the range of flat indices: [first, first + count); even if an operand has 4 bits, */
    clql_long count;       /* and a multiple of 4 in the kernels NAME_quads */
    clql_long offset[2];   /* elements from an operand's base to its element with the flat index 0; negative for a chunk that holds only the range */
    clql_long param_offset[2]; /* elements from the base of scale and zero_point (quantize, dequantize, error_stats), or of keys (minmax: least, greatest) */
    clql_long result_offset;   /* elements from the base of counts, or of partial sums */
    clql_int rank;             /* loops, outermost first; 1 or more */
    clql_int dense;            /* bit k: operand k lies at offset[k] + flat index */
    clql_int varying;          /* some param_stride is not 0 */
    clql_int counted;          /* quantize, minmax: add to counts */
    clql_int has_zero_point;   /* else fixed_zero_point */
    clql_int fixed_zero_point;
    clql_int qmin, qmax;
    clql_int reciprocal;
    clql_int parts;            /* error_stats: work-groups, and partial sums, of this job */
    struct clql_loop loops[CLQL_MAX_LOOPS];
};

/* Parameters from ranges, one job for each array of them: struct clq_range_rule and where things lie, in elements. */
struct clql_range_job {
    clql_long first_group;
    clql_long count;
    clql_long lo, hi;
    clql_long scale, zero_point;
    float step;
    clql_int symmetric, power_of_two, qmin, qmax, fixed_zero_point;
    clql_int has_zero_point; /* zero points are wanted */
    clql_int unused;
};

/* Results of minmax: keys to floats, counts to 64 bits. */
struct clql_finish_job {
    clql_long first_group;
    clql_long count;       /* parameters; 0: counts alone */
    clql_long keys_lo, keys_hi;
    clql_long lo, hi;
    clql_long counts;      /* in 32-bit halves: NaN, infinite, clipped, each low half first; -1: not wanted */
    clql_long counts_out;  /* s64 [3] */
};

/* A work-group's share of the error statistics. Sums are value * 2^exponent with fp64 absent, value alone as the bits of an f64 with it:
   squared error, absolute error, squared x, squared y, product. */
struct clql_partial {
    clql_long count, nan, inf, clipped;
    clql_long sum[5];
    clql_int exponent[5];
    clql_int max_error; /* bits of an f32 */
};

#endif
