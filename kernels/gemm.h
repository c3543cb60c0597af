/* SPDX-License-Identifier: MIT */
/*
 * What the kernels of matrix products share: where a work-group's tile is, how lines are read, and what becomes of sums. Follows quant_math.h and
 * launch.h; the file of a kernel follows it.
 *
 * CLQ_LOCAL_SIZE  items in a work-group
 * CLQ_SRC         how the lines of side 0 are stored: S8 or U8; packed ones are S8
 * CLQ_DST         the same for side 1
 */
#ifndef CLQ_GEMM_KERNELS_H
#define CLQ_GEMM_KERNELS_H

#ifndef CLQ_LOCAL_SIZE
#define CLQ_LOCAL_SIZE 256
#endif
#ifndef CLQ_SRC
#define CLQ_SRC 5
#endif
#ifndef CLQ_DST
#define CLQ_DST 5
#endif

#define F32 1
#define S8  5
#define U8  6
#define S32 11

#define INLINE static inline __attribute__((always_inline))
#define KERNEL __kernel __attribute__((reqd_work_group_size(CLQ_LOCAL_SIZE, 1, 1)))

/* The first parameters of every kernel that makes results. The job lies `job_offset` bytes into args. Sums and biases are 32 bits, of whatever type. */
#define GEMM_PARAMETERS                                                                                                                                       \
    __global const uchar *restrict args, ulong job_offset, __global const uchar *restrict a, __global const uchar *restrict b, __global uchar *c,             \
        __global const uint *restrict a_sums, __global const uint *restrict b_sums, __global const float *restrict a_scale,                                   \
        __global const int *restrict a_zero_point, __global const float *restrict b_scale, __global const int *restrict b_zero_point,                         \
        __global const uint *restrict bias, __global const float *restrict c_scale, __global const int *restrict c_zero_point
#define GEMM_JOB ((__global const struct clql_gemm_job *)(args + job_offset))

/* ------------------------------------------------------------------------------------------------ tiles */

/* A work-group's part of a product: rows x cols results from the lines `row` and `col` on, over [k, k_end). */
struct tile {
    long batch, row, col, k, k_end;
    long split;
};

/* Tiles that work-groups with neighbouring numbers take together, along side 0: what they read of side 1 is still in the cache. */
#define GEMM_BAND 8

/* Work-groups: for every part of K of every matrix ceil(M / rows) * ceil(N / cols). */
INLINE struct tile find_tile(__global const struct clql_gemm_job *job, uint rows, uint cols)
{
    const uint down = (uint)((job->side[0].lines + rows - 1) / rows), across = (uint)((job->side[1].lines + cols - 1) / cols);
    const uint group = (uint)get_group_id(0), part = group / (down * across), index = group - part * (down * across);
    const uint band = index / across / GEMM_BAND, first = band * GEMM_BAND, depth = min(down - first, (uint)GEMM_BAND);
    const uint inside = index - first * across;
    struct tile tile;
    tile.batch = part % (uint)job->batch;
    tile.split = part / (uint)job->batch;
    tile.row = (long)(first + inside % depth) * rows;
    tile.col = (long)(inside / depth) * cols;
    tile.k = tile.split * job->k_split;
    tile.k_end = min(job->k, tile.k + job->k_split);
    return tile;
}

/* ------------------------------------------------------------------------------------------------ lines */

/* Four stored elements as four s8: a u8 less 128. */
INLINE uint to_s8(uint four, int type)
{
    return type == U8 ? four ^ 0x80808080u : four;
}

INLINE uint4 to_s8x16(uint4 sixteen, int type)
{
    return type == U8 ? sixteen ^ (uint4)(0x80808080u) : sixteen;
}

/* The first byte of a line of a side; lines past the last one are not to be read. */
INLINE __global const uchar *find_line(__global const struct clql_gemm_job *job, int side, __global const uchar *base, long batch, long line)
{
    return base + job->side[side].offset + batch * job->side[side].batch_stride + line * job->side[side].pitch;
}

/* The bytes of a word that come before `left`. */
INLINE uint mask_word(long left)
{
    return left >= 4 ? 0xffffffffu : left <= 0 ? 0 : (1u << (uint)(8 * left)) - 1u;
}

/* 16 elements of a line from k on, a multiple of 16, as s8; zeros from `end` on. */
INLINE uint4 load_line(__global const uchar *line, long k, long end, int type)
{
    uint4 elements;
    if (k >= end) return (uint4)(0);
    elements = to_s8x16(*(__global const uint4 *)(line + k), type);
    if (k + 16 > end)
        elements &= (uint4)(mask_word(end - k), mask_word(end - k - 4), mask_word(end - k - 8), mask_word(end - k - 12));
    return elements;
}

/* ------------------------------------------------------------------------------------------------ results */

/* What the results of a line have in common. */
struct line {
    uint zero_point; /* less the side's shift */
    uint sum;
    uint bias;
    float scale;     /* if the other side is single, that of the result */
};

/* The results' scale from those of two lines: s_ab of f32, the multiplier m of 8-bit ones. */
INLINE float combine_scales(__global const struct clql_gemm_job *job, float a, float b, __global const float *c_scale)
{
    const float product = clqm_product_scale(a, b);
    return job->c_dtype == F32 ? product : clqm_multiplier(product, c_scale[job->c_scale]);
}

/* That of a line past the last one may be used, too; its results may not. */
INLINE struct line load_params(__global const struct clql_gemm_job *job, int side, long batch, long index, __global const uint *sums,
                               __global const float *scale, __global const int *zero_point, __global const float *other_scale, __global const uint *bias,
                               __global const float *c_scale)
{
    __global const struct clql_gemm_side *own = &job->side[side], *other = &job->side[1 - side];
    const long i = min(index, own->lines - 1), at = own->single ? 0 : i;
    struct line line = {0, 0, 0, 1.0f};
    if (job->raw) return line;
    line.zero_point = (uint)(own->zero_point >= 0 ? zero_point[own->zero_point + at] : own->fixed_zero_point) - (uint)own->shift;
    if (own->sums >= 0) line.sum = sums[own->sums + batch * own->sums_stride + i];
    if (job->bias >= 0 && job->bias_side == side) line.bias = bias[job->bias + i];
    if (job->c_dtype == S32) return line;
    line.scale = scale[own->scale + at];
    /* In the order a, b: a product of floats is the same in both. */
    if (other->single) line.scale = combine_scales(job, line.scale, other_scale[other->scale], c_scale);
    return line;
}
#define LOAD_ROW(batch, i) load_params(job, 0, batch, i, a_sums, a_scale, a_zero_point, b_scale, bias, c_scale)
#define LOAD_COL(batch, j) load_params(job, 1, batch, j, b_sums, b_scale, b_zero_point, a_scale, bias, c_scale)

/* What all results have in common. */
struct epilogue {
    float low, high; /* f32 */
    int zero_point, qmin, qmax; /* 8 bits */
    int a_single, b_single;     /* of the first side and of the second */
    int c_aligned;
    uint k;
};

INLINE struct epilogue load_epilogue(__global const struct clql_gemm_job *job, __global const int *c_zero_point)
{
    struct epilogue e;
    e.k = (uint)job->k;
    e.a_single = job->side[0].single;
    e.b_single = job->side[1].single;
    e.c_aligned = job->c_aligned;
    e.low = job->low;
    e.high = job->high;
    e.qmin = job->qmin;
    e.qmax = job->qmax;
    e.zero_point = 0;
    if (job->c_dtype == S8 || job->c_dtype == U8) {
        e.zero_point = job->c_zero_point >= 0 ? c_zero_point[job->c_zero_point] : job->c_fixed_zero_point;
        e.zero_point = clamp(e.zero_point, e.qmin, e.qmax);
    }
    return e;
}
#define LOAD_EPILOGUE load_epilogue(job, c_zero_point)

/* The bits of a result from the sum of products: sum (a - za)(b - zb) = sum ab - za sum b - zb sum a + K za zb, modulo 2^32. */
INLINE uint make_result(__global const struct clql_gemm_job *job, struct epilogue e, uint sum, struct line row, struct line col, __global const float *c_scale)
{
    const uint acc = sum - row.zero_point * (col.sum - e.k * col.zero_point) - col.zero_point * row.sum;
    const uint bias_bits = job->bias_side ? col.bias : row.bias;
    float scale, y;
    if (job->raw) return sum;
    if (job->c_dtype == S32) return acc + bias_bits;
    scale = e.a_single ? col.scale : e.b_single ? row.scale : combine_scales(job, row.scale, col.scale, c_scale);
    if (job->c_dtype != F32) return (uint)clqm_requantize((int)(acc + bias_bits), scale, e.zero_point, e.qmin, e.qmax) & 0xffu;
    y = (float)(int)acc * scale;
    if (job->bias >= 0) y = y + as_float(bias_bits);
    if (job->relu) return y > 0.0f ? as_uint(y) : 0u;
    return as_uint(y < e.low ? e.low : y > e.high ? e.high : y);
}
#define MAKE_RESULT(sum, row, col) make_result(job, epilogue, sum, row, col, c_scale)

/* The place of lines i and j's result, in elements from the base of c. */
INLINE long find_result(__global const struct clql_gemm_job *job, long batch, long split, long i, long j)
{
    return job->c + batch * job->c_batch_stride + split * job->split_stride + i * job->c_pitch + j * job->c_step;
}

INLINE void store_result(__global const struct clql_gemm_job *job, __global uchar *c, long at, uint bits)
{
    if (job->c_dtype == S32 || job->c_dtype == F32)
        ((__global uint *)c)[at] = bits;
    else
        c[at] = (uchar)bits;
}

/* Those of four adjacent columns, from one on that is a multiple of 4; the first `left` of them are there. */
INLINE void store_results(__global const struct clql_gemm_job *job, struct epilogue e, __global uchar *c, long at, uint4 bits, int left)
{
    if (e.c_aligned && left >= 4) {
        if (job->c_dtype == S32 || job->c_dtype == F32)
            *(__global uint4 *)(c + 4 * at) = bits;
        else
            *(__global uint *)(c + at) = bits.x | bits.y << 8 | bits.z << 16 | bits.w << 24;
        return;
    }
    if (left > 0) store_result(job, c, at, bits.x);
    if (left > 1) store_result(job, c, at + job->c_step, bits.y);
    if (left > 2) store_result(job, c, at + 2 * job->c_step, bits.z);
    if (left > 3) store_result(job, c, at + 3 * job->c_step, bits.w);
}

/* The results that are there of four columns from `col` on. */
INLINE int count_left(__global const struct clql_gemm_job *job, long col)
{
    return (int)clamp(job->side[1].lines - col, 0L, 4L);
}

/* What a line has, for local memory. */
INLINE uint4 pack_line(struct line line)
{
    return (uint4)(line.zero_point, line.sum, line.bias, as_uint(line.scale));
}

INLINE struct line unpack_line(uint4 packed)
{
    const struct line line = {packed.x, packed.y, packed.z, as_float(packed.w)};
    return line;
}

#endif
