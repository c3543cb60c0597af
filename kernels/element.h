/* SPDX-License-Identifier: MIT */
/*
 * What all kernels share: finding the job, finding an element and its parameters, loading and storing by dtype. Follows quant_math.h and
 * launch.h in every program.
 *
 * CLQ_LOCAL_SIZE  items in a work-group, a power of two from 16 to 256
 * CLQ_SRC         dtype of operand 0, a number of enum clq_dtype; each kernel file says which it takes
 * CLQ_DST         dtype of operand 1
 */
#ifndef CLQ_ELEMENT_H
#define CLQ_ELEMENT_H

#ifndef CLQ_LOCAL_SIZE
#define CLQ_LOCAL_SIZE 256
#endif

#define F32  1
#define F16  2
#define BF16 3
#define F64  4
#define S8   5
#define U8   6
#define S4   7
#define U4   8
#define S16  9
#define U16  10
#define S32  11
#define S64  12
#define IS_FLOAT(type) ((type) <= F64)
#define IS_4BIT(type)  ((type) == S4 || (type) == U4)

/* Much is decided by constant arguments, so nothing may be left as a call. */
#define INLINE static inline __attribute__((always_inline))
#define KERNEL __kernel __attribute__((reqd_work_group_size(CLQ_LOCAL_SIZE, 1, 1)))

/* ------------------------------------------------------------------------------------------------ jobs and tiles */

/* The job that the work-group is for: the last of those that begin at or before it. Every job starts with its first_group. */
INLINE __global const uchar *find_job(__global const uchar *jobs, ulong job_bytes, uint n_jobs)
{
    const long group = (long)get_group_id(0);
    uint low = 0, high = n_jobs;
    while (high - low > 1) {
        const uint middle = low + (high - low) / 2;
        if (*(__global const long *)(jobs + middle * job_bytes) <= group)
            low = middle;
        else
            high = middle;
    }
    return jobs + low * job_bytes;
}
#define FIND_JOB(type) ((__global const struct type *)find_job(args + jobs_offset, sizeof(struct type), n_jobs))

/* Indices are not negative; most fit in 32 bits, where a division costs a quarter. */
INLINE long divide(long a, long b)
{
    return (((ulong)a | (ulong)b) >> 32) != 0 ? (long)((ulong)a / (ulong)b) : (long)((uint)a / (uint)b);
}

/* Where an element lies and which parameters it has. */
struct place {
    long at[CLQL_OPERANDS]; /* elements from the operands' bases */
    long param;
    long same;  /* so many elements from this one on surely share its parameters */
    long along; /* so many surely have parameters param_stride of the innermost loop apart from one to the next */
};

/* Were all operands dense and all parameters the same. */
INLINE struct place place_at(__global const struct clql_job *job, long flat)
{
    const struct place place = {{job->offset[0] + flat, job->offset[1] + flat, job->offset[2] + flat, job->offset[3] + flat}, 0, LONG_MAX, 0};
    return place;
}

/* The place of index `flat` of the loops 0..`last`, all others at 0. */
INLINE struct place locate_outer(__global const struct clql_job *job, int last, long flat)
{
    struct place place = place_at(job, 0);
    long rest = flat, inside = 1; /* elements in an index of the loop at hand */
    for (int i = last; i >= 0; --i) {
        __global const struct clql_loop *loop = job->loops + i;
        const long extent = loop->extent, outer = i > 0 ? divide(rest, extent) : 0, index = rest - outer * extent;
        place.at[0] += index * loop->stride[0];
        place.at[1] += index * loop->stride[1];
        place.at[2] += index * loop->stride[2];
        place.at[3] += index * loop->stride[3];
        if (loop->param_stride != 0) {
            const long group = loop->group, number = group == 1 ? index : divide(index, group);
            place.param += number * loop->param_stride;
            if (place.same == LONG_MAX) place.same = (min((number + 1) * group, extent) - index) * inside - (flat - rest * inside);
            if (i == last && group == 1) place.along = extent - index;
        }
        inside *= extent;
        rest = outer;
    }
    return place;
}

INLINE struct place locate(__global const struct clql_job *job, long flat)
{
    struct place place = place_at(job, flat);
    if (job->varying || job->dense != CLQL_ALL_DENSE) {
        place = locate_outer(job, job->rank - 1, flat);
        if (job->dense & 1) place.at[0] = job->offset[0] + flat;
        if (job->dense & 2) place.at[1] = job->offset[1] + flat;
        if (job->dense & 4) place.at[2] = job->offset[2] + flat;
        if (job->dense & 8) place.at[3] = job->offset[3] + flat;
    }
    return place;
}

/* The elements of a work-group: rounds of adjacent units of `unit` elements. */
struct tile {
    long first, end; /* flat indices */
    int uniform;     /* all share the parameters of the first */
    long param;
    /* Where near() is set: the last one or two loops from the tile's first element on, in numbers that differ little from it. */
    int is_near;
    uint column, row; /* the first element's index in the innermost loop, or in its group, and in the outer loop */
    long base;        /* the parameter that the columns count from */
};

/* All but a few jobs have dense operands and parameters that change along two loops at most. Then places in a tile follow from that of its first
   element by 32-bit arithmetic. */
INLINE void find_near(__global const struct clql_job *job, struct tile *tile)
{
    __global const struct clql_loop *inner = job->loops + (job->rank - 1);
    const long group = inner->param_stride != 0 ? inner->group : 1;
    tile->is_near = 0;
    if (job->dense != CLQL_ALL_DENSE || job->rank > 2 || group >= 1 << 30) return;
    if (job->rank == 1) {
        const long number = divide(tile->first, group);
        tile->column = (uint)(tile->first - number * group);
        tile->row = 0;
        tile->base = number * inner->param_stride;
    } else {
        if (inner->extent >= 1 << 30 || job->loops[0].extent >= 1 << 30) return;
        tile->row = (uint)divide(tile->first, inner->extent);
        tile->column = (uint)(tile->first - tile->row * inner->extent);
        tile->base = 0;
    }
    tile->is_near = 1;
}

/* locate() for an element of the tile. */
INLINE struct place locate_in(__global const struct clql_job *job, const struct tile *tile, long flat)
{
    if (!tile->is_near) return locate(job, flat);
    __global const struct clql_loop *inner = job->loops + (job->rank - 1);
    struct place place = place_at(job, flat);
    const uint columns = job->rank == 1 ? 0x7fffffffu : (uint)inner->extent; /* with one loop there is no next row */
    uint column = tile->column + (uint)(flat - tile->first), row = tile->row;
    place.param = tile->base;
    if (column >= columns) {
        const uint rows = column / columns;
        column -= rows * columns;
        row += rows;
    }
    if (job->rank == 2 && job->loops[0].param_stride != 0) {
        /* A group of 2^30 rows or more holds them all. */
        const uint group = (uint)min(job->loops[0].group, 1L << 30);
        place.param += (group == 1 ? row : row / group) * job->loops[0].param_stride;
        place.same = columns - column;
    }
    if (inner->param_stride != 0) {
        const uint group = (uint)inner->group, number = group == 1 ? column : column / group;
        place.param += number * inner->param_stride;
        place.same = min((number + 1) * group, columns) - column;
        if (group == 1) place.along = columns - column;
    }
    return place;
}

INLINE struct tile find_tile(__global const struct clql_job *job, long unit)
{
    const long elements = job->parts * (CLQ_LOCAL_SIZE * CLQL_UNITS * unit), part = (long)get_group_id(0) - job->first_group;
    struct tile tile = {job->first + part * elements, job->first + job->count, 1, 0, 0, 0, 0, 0};
    tile.end = min(tile.end, tile.first + elements);
    if (job->varying) {
        const struct place place = locate(job, tile.first);
        tile.uniform = place.same >= tile.end - tile.first;
        tile.param = place.param;
        if (!tile.uniform) find_near(job, &tile);
    }
    return tile;
}

/* Where the rounds of a tile begin: FOR_ROUNDS(round, tile, unit) { ... } */
#define FOR_ROUNDS(round, tile, unit) \
    for (long round = (tile).first; round < (tile).end; round += CLQ_LOCAL_SIZE * CLQL_UNITS * (unit))

/* The flat index of the item's unit number k: units of neighbouring items are adjacent, so that their accesses are joined. */
INLINE long find_unit(long round, int k, long unit)
{
    return round + (k * CLQ_LOCAL_SIZE + (long)get_local_id(0)) * unit;
}

/* Whether an item's quads lie where their flat indices say and share the parameters: then all can be loaded before the first is used. */
INLINE int is_plain(__global const struct clql_job *job, const struct tile *tile)
{
    return tile->uniform && job->dense == CLQL_ALL_DENSE;
}

/* ------------------------------------------------------------------------------------------------ parameters */

struct params {
    float s, r; /* scale, its rounded reciprocal */
    int z;
};

/* Parameters that a device made are not checked. Any scale is harmless below; a zero point outside [qmin, qmax] would overflow. */
INLINE struct params load_params(__global const struct clql_job *job, __global const float *scale, __global const int *zero_point, long param)
{
    struct params params;
    params.s = scale[job->param_offset[0] + param];
    params.r = clqm_reciprocal(params.s);
    params.z = job->fixed_zero_point;
    if (job->has_zero_point) params.z = zero_point[job->param_offset[1] + param];
    params.z = clamp(params.z, job->qmin, job->qmax);
    return params;
}

/* The parameters of the quad that begins at `place`. 0 if they are more than two and not those of neighbouring indices: then the caller goes by
   single elements. */
INLINE int load_params4(__global const struct clql_job *job, const struct tile *tile, __global const float *scale, __global const int *zero_point,
                        struct place place, long flat, struct params params[4])
{
    params[0] = params[1] = params[2] = params[3] = load_params(job, scale, zero_point, place.param);
    if (place.same >= 4) return 1;
    if (place.along >= 4) {
        const long stride = job->loops[job->rank - 1].param_stride;
        params[1] = load_params(job, scale, zero_point, place.param + stride);
        params[2] = load_params(job, scale, zero_point, place.param + 2 * stride);
        params[3] = load_params(job, scale, zero_point, place.param + 3 * stride);
        return 1;
    }
    const struct place next = locate_in(job, tile, flat + place.same);
    if (next.same < 4 - place.same) return 0;
    params[3] = load_params(job, scale, zero_point, next.param);
    if (place.same <= 2) params[2] = params[3];
    if (place.same <= 1) params[1] = params[3];
    return 1;
}

/* d of quant_math.h's clqm_quotient(). The residual of x * r corrects it to the rounded quotient wherever |d| >= 1/2; smaller ones round to 0
   either way. Huge and infinite ones have no residual, and are clipped either way. */
INLINE float quotient(float x, struct params params, int reciprocal)
{
    const float product = x * params.r;
    if (reciprocal || !(fabs(product) < 0x1p34f)) return product;
    return fma(fma(-product, params.s, x), params.r, product);
}

/* What all elements of a job have in common, out of the way of what stores might overwrite. */
struct rule {
    int qmin, qmax, reciprocal, counted;
};

INLINE struct rule get_rule(__global const struct clql_job *job)
{
    const struct rule rule = {job->qmin, job->qmax, job->reciprocal, job->counted};
    return rule;
}

/* rne(d), except that what is outside [low, high] counts as the integer next to it, and NaN as the one below; |low|, |high| < 2^20. Cheaper than rint() and all
   that clqm_inside(), clqm_quantize() and clqm_slope() need of it. */
INLINE float round_near(float d, float low, float high)
{
    const float below = low - 1.0f, above = high + 1.0f;
    return (d >= above ? above : (d > below ? d : below)) + 12582912.0f - 12582912.0f; /* 1.5 * 2^23, as in CLQM_TO_INT() */
}

INLINE int is_inside(struct rule rule, float d, struct params params)
{
    const float low = (float)(rule.qmin - params.z), high = (float)(rule.qmax - params.z), rounded = round_near(d, low, high);
    return rounded >= low && rounded <= high;
}

/* Of a quad, in the low bits. */
INLINE uint inside4(struct rule rule, float4 d, const struct params params[4])
{
    return (uint)is_inside(rule, d.x, params[0]) | (uint)is_inside(rule, d.y, params[1]) << 1 | (uint)is_inside(rule, d.z, params[2]) << 2 |
           (uint)is_inside(rule, d.w, params[3]) << 3;
}

INLINE float4 quotient4(float4 x, const struct params params[4], int reciprocal)
{
    return (float4)(quotient(x.x, params[0], reciprocal), quotient(x.y, params[1], reciprocal), quotient(x.z, params[2], reciprocal),
                    quotient(x.w, params[3], reciprocal));
}

/* ------------------------------------------------------------------------------------------------ loads and stores */

/* `type` is a constant wherever these are inlined. `at` counts elements. Operands of quads are aligned to 4 elements: accesses through vector
   types, because vloadN comes out element by element. */

INLINE float widen(ushort bits, int type)
{
    return type == F16 ? vload_half(0, (const half *)&bits) : clqm_widen_bf16(bits);
}

/* Through the device's own conversion: the same bits as clqm_narrow_f16(), since a denormal float becomes a zero either way. */
INLINE ushort narrow(float x, int type)
{
    ushort bits;
    if (type == BF16) return clqm_narrow_bf16(x);
    vstore_half_rte(x, 0, (half *)&bits);
    return bits;
}

INLINE float load_float(__global const uchar *src, long at, int type)
{
    return type == F32 ? ((__global const float *)src)[at] : widen(((__global const ushort *)src)[at], type);
}

INLINE float4 load_float4(__global const uchar *src, long at, int type)
{
    if (type == F32) return *(__global const float4 *)(src + 4 * at);
    const uint2 pairs = *(__global const uint2 *)(src + 2 * at);
    return (float4)(widen((ushort)pairs.x, type), widen((ushort)(pairs.x >> 16), type), widen((ushort)pairs.y, type),
                    widen((ushort)(pairs.y >> 16), type));
}

INLINE void store_float(__global uchar *dst, long at, float y, int type)
{
    if (type == F32)
        ((__global float *)dst)[at] = y;
    else
        ((__global ushort *)dst)[at] = narrow(y, type);
}

INLINE void store_float4(__global uchar *dst, long at, float4 y, int type)
{
    if (type == F32)
        *(__global float4 *)(dst + 4 * at) = y;
    else
        *(__global uint2 *)(dst + 2 * at) =
            (uint2)(narrow(y.x, type) | (uint)narrow(y.y, type) << 16, narrow(y.z, type) | (uint)narrow(y.w, type) << 16);
}

/* The 4-bit value in the low bits. */
INLINE int extend_4bit(uint nibble, int type)
{
    return type == S4 ? (int)((nibble & 15u) ^ 8u) - 8 : (int)(nibble & 15u);
}

INLINE int load_int(__global const uchar *src, long at, int type)
{
    switch (type) {
    case S8: return ((__global const char *)src)[at];
    case U8: return src[at];
    case S4:
    case U4: return extend_4bit((uint)src[at >> 1] >> (at & 1) * 4, type);
    case S16: return ((__global const short *)src)[at];
    case U16: return ((__global const ushort *)src)[at];
    default: return ((__global const int *)src)[at];
    }
}

INLINE int4 load_int4(__global const uchar *src, long at, int type)
{
    if (IS_4BIT(type)) {
        const uint nibbles = *(__global const ushort *)(src + (at >> 1));
        return (int4)(extend_4bit(nibbles, type), extend_4bit(nibbles >> 4, type), extend_4bit(nibbles >> 8, type), extend_4bit(nibbles >> 12, type));
    }
    if (type == S8) return convert_int4(as_char4(*(__global const uint *)(src + at)));
    if (type == U8) return convert_int4(as_uchar4(*(__global const uint *)(src + at)));
    if (type == S16) return convert_int4(as_short4(*(__global const uint2 *)(src + 2 * at)));
    if (type == U16) return convert_int4(as_ushort4(*(__global const uint2 *)(src + 2 * at)));
    return *(__global const int4 *)(src + 4 * at);
}

/* Not for 4-bit types, whose bytes have one writer: store_nibbles(). */
INLINE void store_int(__global uchar *dst, long at, int q, int type)
{
    if (type <= U8)
        dst[at] = (uchar)q;
    else if (type <= U16)
        ((__global ushort *)dst)[at] = (ushort)q;
    else
        ((__global int *)dst)[at] = q;
}

INLINE void store_nibbles(__global uchar *dst, long at, int low, int high)
{
    dst[at >> 1] = (uchar)((low & 15) | (high & 15) << 4);
}

INLINE void store_int4(__global uchar *dst, long at, int4 q, int type)
{
    const uint4 u = as_uint4(q);
    if (IS_4BIT(type))
        *(__global ushort *)(dst + (at >> 1)) = (ushort)((u.x & 15u) | (u.y & 15u) << 4 | (u.z & 15u) << 8 | (u.w & 15u) << 12);
    else if (type <= U8)
        *(__global uint *)(dst + at) = (u.x & 255u) | (u.y & 255u) << 8 | (u.z & 255u) << 16 | u.w << 24;
    else if (type <= U16)
        *(__global uint2 *)(dst + 2 * at) = (uint2)((u.x & 65535u) | u.y << 16, (u.z & 65535u) | u.w << 16);
    else
        *(__global int4 *)(dst + 4 * at) = q;
}

/* The bits of floats: gradients are kept or dropped, not computed. As load_int() and store_int() have them. */
#define BITS_OF(type) ((type) == F32 ? S32 : U16)

INLINE float float_of(int bits, int type)
{
    return type == F32 ? as_float(bits) : widen((ushort)bits, type);
}

INLINE float4 floats_of(int4 bits, int type)
{
    return (float4)(float_of(bits.x, type), float_of(bits.y, type), float_of(bits.z, type), float_of(bits.w, type));
}

INLINE int4 keep4(int4 bits, uint inside)
{
    return (int4)(inside & 1 ? bits.x : 0, inside & 2 ? bits.y : 0, inside & 4 ? bits.z : 0, inside & 8 ? bits.w : 0);
}

/* ------------------------------------------------------------------------------------------------ counts */

/* NaN, infinite, clipped elements that an item met. */
struct tally {
    uint nan, inf, clipped;
};

/* Adds the items' tallies to 64-bit counters made of 32-bit halves, low half first: the addition that wraps the low half carries. `sums` is local
   memory for 3 numbers. All items of the work-group come here, counted or not: barriers under a condition, even one that all items share, went
   wrong in a portable implementation (PoCL 3.1 lost counts). */
INLINE void add_tallies(__global const struct clql_job *job, __global uint *counts, struct tally tally, __local uint *sums)
{
    const uint lid = (uint)get_local_id(0);
    if (lid < 3) sums[lid] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (tally.nan) atomic_add(sums, tally.nan);
    if (tally.inf) atomic_add(sums + 1, tally.inf);
    if (tally.clipped) atomic_add(sums + 2, tally.clipped);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (job->counted && lid < 3 && sums[lid] != 0) {
        __global uint *halves = counts + job->result_offset + 2 * lid;
        const uint old = atomic_add(halves, sums[lid]);
        if (old + sums[lid] < old) atomic_inc(halves + 1);
    }
}

#endif
