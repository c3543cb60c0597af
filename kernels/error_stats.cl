/* SPDX-License-Identifier: MIT */
/*
 * Sums over pairs of finite x, y with e = fl(x - y): e^2, |e|, x^2, y^2, x * y, the largest |e|, and counts: pairs in the sums, NaN, infinite,
 * clipped (finite x whose quotient quantize would clip). Operand 0 is x; operand 1 is y, or q with y = fl(float(q - z) * s).
 *
 * `parts` work-groups a job, each for every parts-th block of CLQ_LOCAL_SIZE units of the range; each writes one struct clql_partial to
 * partials[result_offset + part]. Items sum in ascending order, then a tree over the items; the host adds the partials in ascending order. So the
 * sums depend on shape, CLQ_LOCAL_SIZE and parts alone.
 *
 * error_stats_quads  units of 4 elements; operands, offsets and bases as for quantize_quads
 * error_stats_any    single elements; any strides
 *
 * CLQ_SRC       F32, F16, BF16
 * CLQ_DST       F32, F16, BF16: no parameters; S8, U8, S4, U4, S16, U16, S32
 * CLQ_HAS_FP64  sums in f64; else in 64-bit integers with an exponent, which keep 60 bits of the largest term
 */
#ifndef CLQ_SRC
#define CLQ_SRC 1
#endif
#ifndef CLQ_DST
#define CLQ_DST 5
#endif

#define SUMS 5

/* The magnitude of a finite float in units of 2^(exponent of 1 .. 254) * 2^-150. */
INLINE uint mantissa(uint bits)
{
    return (bits & 0x7f800000u) != 0 ? (bits & 0x7fffffu) | 0x800000u : bits & 0x7fffffu;
}

INLINE int exponent(uint bits)
{
    return max((int)(bits >> 23 & 255u), 1);
}

/* The bits of fl(x - y), both finite. Differences of small numbers are made in integers, in units of 2^-149: they may be denormals or their operands
   may be, which a device need not have. From 2^-95 on neither can change a bit. */
INLINE uint subtract(float x, float y)
{
    const uint a = as_uint(x), b = as_uint(y);
    if (max(exponent(a), exponent(b)) >= 32) return as_uint(x - y);
    const long m = (long)mantissa(a) << (exponent(a) - 1), n = (long)mantissa(b) << (exponent(b) - 1); /* < 2^55 */
    const long difference = (a >> 31 ? -m : m) - (b >> 31 ? -n : n);
    const uint sign = difference < 0 ? 0x80000000u : 0u;
    const ulong magnitude = abs(difference);
    /* Below 2^24 units, where nothing is rounded, the number of units is the float's bits. */
    return sign | (magnitude < 0x1000000UL ? (uint)magnitude : as_uint(convert_float_rte(magnitude)) - (149u << 23));
}

#ifdef CLQ_HAS_FP64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double sum_type;

/* The conversion of a denormal may flush it. */
INLINE double to_double(uint bits)
{
    const double magnitude = (bits & 0x7f800000u) != 0 ? (double)as_float(bits & 0x7fffffffu) : (double)mantissa(bits) * 0x1p-149;
    return bits >> 31 ? -magnitude : magnitude;
}

INLINE sum_type zero_sum(void)
{
    return 0.0;
}

INLINE sum_type add_sums(sum_type a, sum_type b)
{
    return a + b;
}

INLINE sum_type add_product(sum_type sum, uint x, uint y)
{
    return sum + to_double(x) * to_double(y);
}

INLINE long sum_bits(sum_type sum)
{
    return as_long(sum);
}

INLINE int sum_exponent(sum_type sum)
{
    return 0;
}
#else
/* value * 2^exponent, |value| < 2^62; 0 has any exponent */
typedef struct sum {
    long value;
    int exponent;
} sum_type;

INLINE sum_type zero_sum(void)
{
    const sum_type sum = {0, 0};
    return sum;
}

/* The term with the smaller exponent loses what lies below the other's unit. */
INLINE sum_type add_sums(sum_type a, sum_type b)
{
    if (b.value == 0) return a;
    if (a.value == 0) return b;
    const int exponent = max(a.exponent, b.exponent);
    sum_type sum = {(a.value >> min(exponent - a.exponent, 63)) + (b.value >> min(exponent - b.exponent, 63)), exponent};
    if (abs(sum.value) >= 1UL << 62) {
        sum.value >>= 1;
        ++sum.exponent;
    }
    return sum;
}

/* A product of two mantissas has up to 48 bits; 14 more below them make it lose nothing that counts. */
INLINE sum_type add_product(sum_type sum, uint x, uint y)
{
    const long magnitude = (long)((ulong)mantissa(x) * mantissa(y)) << 14;
    const sum_type term = {(x ^ y) >> 31 ? -magnitude : magnitude, exponent(x) + exponent(y) - 300 - 14};
    return add_sums(sum, term);
}

INLINE long sum_bits(sum_type sum)
{
    return sum.value;
}

INLINE int sum_exponent(sum_type sum)
{
    return sum.value == 0 ? 0 : sum.exponent;
}
#endif

struct statistics {
    sum_type sums[SUMS];
    struct tally tally;
    uint count, max_error;
};

INLINE void add_pair(struct statistics *statistics, float x, float y)
{
    const uint a = as_uint(x), b = as_uint(y);
    if (clqm_is_nan(x) || clqm_is_nan(y)) {
        ++statistics->tally.nan;
    } else if (clqm_is_inf(x) || clqm_is_inf(y)) {
        ++statistics->tally.inf;
    } else {
        const uint e = subtract(x, y), magnitude = e & 0x7fffffffu;
        ++statistics->count;
        statistics->max_error = max(statistics->max_error, magnitude);
        statistics->sums[0] = add_product(statistics->sums[0], e, e);
        statistics->sums[1] = add_product(statistics->sums[1], magnitude, as_uint(1.0f));
        statistics->sums[2] = add_product(statistics->sums[2], a, a);
        statistics->sums[3] = add_product(statistics->sums[3], b, b);
        statistics->sums[4] = add_product(statistics->sums[4], a, b);
    }
}

INLINE void add_quantized(__global const struct clql_job *job, struct statistics *statistics, float x, int q, struct params params)
{
    const float d = quotient(x, params, job->reciprocal);
    if (!clqm_is_nan(x) && !clqm_is_inf(x))
        statistics->tally.clipped += CLQ_DST == S32 ? clqm_clipped_s32(d) : clqm_clipped(d, params.z, job->qmin, job->qmax);
    add_pair(statistics, x, clqm_dequantize(q, params.s, CLQ_DST == S32 ? 0 : params.z));
}

INLINE void add_element(__global const struct clql_job *job, struct statistics *statistics, __global const uchar *x, __global const uchar *y,
                               __global const float *scale, __global const int *zero_point, long flat)
{
    const struct place place = locate(job, flat);
    const float value = load_float(x, place.at[0], CLQ_SRC);
    if (IS_FLOAT(CLQ_DST))
        add_pair(statistics, value, load_float(y, place.at[1], CLQ_DST));
    else
        add_quantized(job, statistics, value, load_int(y, place.at[1], CLQ_DST), load_params(job, scale, zero_point, place.param));
}

INLINE void add_quad(__global const struct clql_job *job, struct statistics *statistics, __global const uchar *x, __global const uchar *y,
                            __global const float *scale, __global const int *zero_point, long flat)
{
    const struct tile apart = {0, 0, 0, 0, 0, 0, 0, 0}; /* an item's quads lie far from each other */
    const struct place place = locate(job, flat);
    struct params params[4];
    if (!IS_FLOAT(CLQ_DST) && !load_params4(job, &apart, scale, zero_point, place, flat, params)) {
        for (int k = 0; k < CLQL_QUAD; ++k)
            add_element(job, statistics, x, y, scale, zero_point, flat + k);
        return;
    }
    const float4 value = load_float4(x, place.at[0], CLQ_SRC);
    if (IS_FLOAT(CLQ_DST)) {
        const float4 other = load_float4(y, place.at[1], CLQ_DST);
        add_pair(statistics, value.x, other.x);
        add_pair(statistics, value.y, other.y);
        add_pair(statistics, value.z, other.z);
        add_pair(statistics, value.w, other.w);
    } else {
        const int4 q = load_int4(y, place.at[1], CLQ_DST);
        add_quantized(job, statistics, value.x, q.x, params[0]);
        add_quantized(job, statistics, value.y, q.y, params[1]);
        add_quantized(job, statistics, value.z, q.z, params[2]);
        add_quantized(job, statistics, value.w, q.w, params[3]);
    }
}

/* The work-group's share of the range in units of 4 or 1 elements. An item meets fewer than 2^32 of them. */
INLINE void write_partial(__global const struct clql_job *job, __global const uchar *x, __global const uchar *y, __global const float *scale,
                                 __global const int *zero_point, __global struct clql_partial *partials, long unit, __local sum_type *sums,
                                 __local long *counts)
{
    const uint lid = (uint)get_local_id(0);
    const long part = (long)get_group_id(0) - job->first_group, step = (long)job->parts * CLQ_LOCAL_SIZE * unit, end = job->first + job->count;
    __global struct clql_partial *partial = partials + job->result_offset + part;
    struct statistics statistics;
    statistics.tally.nan = statistics.tally.inf = statistics.tally.clipped = statistics.count = statistics.max_error = 0;
#pragma unroll
    for (int i = 0; i < SUMS; ++i)
        statistics.sums[i] = zero_sum();

    for (long flat = job->first + (part * CLQ_LOCAL_SIZE + lid) * unit; flat < end; flat += step) {
        if (unit == CLQL_QUAD && flat + unit <= end) {
            add_quad(job, &statistics, x, y, scale, zero_point, flat);
        } else {
            for (long i = flat; i < min(end, flat + unit); ++i)
                add_element(job, &statistics, x, y, scale, zero_point, i);
        }
    }

#pragma unroll
    for (int i = 0; i < SUMS; ++i) {
        barrier(CLK_LOCAL_MEM_FENCE); /* the last sum has been read */
        sums[lid] = statistics.sums[i];
        for (uint reach = CLQ_LOCAL_SIZE / 2; reach > 0; reach /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (lid < reach) sums[lid] = add_sums(sums[lid], sums[lid + reach]);
        }
        if (lid == 0) {
            partial->sum[i] = sum_bits(sums[0]);
            partial->exponent[i] = sum_exponent(sums[0]);
        }
    }
    /* Counts and the largest error, 5 again. */
#pragma unroll
    for (int i = 0; i < 5; ++i) {
        barrier(CLK_LOCAL_MEM_FENCE);
        counts[lid] = i == 0   ? statistics.count
                      : i == 1 ? statistics.tally.nan
                      : i == 2 ? statistics.tally.inf
                      : i == 3 ? statistics.tally.clipped
                               : statistics.max_error;
        for (uint reach = CLQ_LOCAL_SIZE / 2; reach > 0; reach /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (lid < reach) counts[lid] = i == 4 ? max(counts[lid], counts[lid + reach]) : counts[lid] + counts[lid + reach];
        }
        if (lid == 0) {
            if (i == 0) partial->count = counts[0];
            if (i == 1) partial->nan = counts[0];
            if (i == 2) partial->inf = counts[0];
            if (i == 3) partial->clipped = counts[0];
            if (i == 4) partial->max_error = (int)counts[0];
        }
    }
}

KERNEL void error_stats_quads(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *restrict x,
                              __global const uchar *restrict y, __global const float *restrict scale, __global const int *restrict zero_point,
                              __global struct clql_partial *partials)
{
    __local sum_type sums[CLQ_LOCAL_SIZE];
    __local long counts[CLQ_LOCAL_SIZE];
    write_partial(FIND_JOB(clql_job), x, y, scale, zero_point, partials, CLQL_QUAD, sums, counts);
}

KERNEL void error_stats_any(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *restrict x,
                            __global const uchar *restrict y, __global const float *restrict scale, __global const int *restrict zero_point,
                            __global struct clql_partial *partials)
{
    __local sum_type sums[CLQ_LOCAL_SIZE];
    __local long counts[CLQ_LOCAL_SIZE];
    write_partial(FIND_JOB(clql_job), x, y, scale, zero_point, partials, 1, sums, counts);
}
