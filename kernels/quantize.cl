/* SPDX-License-Identifier: MIT */
/*
 * q = rne(clamp(x / s, qmin - z, qmax - z)) + z, or with x * fl(1 / s); NaN gives qmin. See clqm_quantize().
 *
 * Operand 0 is x, 1 is q. Adds to counts[result_offset..+6], three 64-bit numbers in halves, low ones first: NaN, infinite and clipped elements.
 *
 * quantize_quads  4 quads an item. Each operand is dense, or has adjacent columns: innermost stride 1, innermost extent and all other strides
 *                 multiples of 4. The range begins at a multiple of 4; offsets are multiples of 4, bases aligned to 4 elements. Where the
 *                 count is not a multiple of 4, both operands are dense.
 * quantize_any    4 pairs an item; any strides. A pair because a byte of two 4-bit values must have one writer.
 *
 * CLQ_SRC  F32, F16, BF16
 * CLQ_DST  S8, U8, S4, U4, S16, U16, S32
 */
#ifndef CLQ_SRC
#define CLQ_SRC 1
#endif
#ifndef CLQ_DST
#define CLQ_DST 5
#endif

INLINE void count(struct rule rule, float x, float d, int z, struct tally *tally)
{
    const int nan = clqm_is_nan(x), inf = clqm_is_inf(x);
    const int clipped = CLQ_DST == S32 ? clqm_clipped_s32(d) : clqm_clipped(d, z, rule.qmin, rule.qmax);
    tally->nan += nan;
    tally->inf += inf;
    tally->clipped += !nan && !inf && clipped;
}

INLINE int round_quotient(struct rule rule, float d, int z)
{
    return CLQ_DST == S32 ? clqm_quantize_s32(d) : clqm_quantize(d, z, rule.qmin, rule.qmax);
}

/* Most quads are: then nothing is to be counted. Nothing that is not finite compares so. */
INLINE int all_inside(struct rule rule, float4 d, const struct params params[4])
{
    if (CLQ_DST == S32) {
        const float4 bound = 2147483648.0f;
        return all(d < bound) && all(d >= -bound);
    }
    const int4 z = (int4)(params[0].z, params[1].z, params[2].z, params[3].z);
    return all(d >= convert_float4(rule.qmin - z)) && all(d <= convert_float4(rule.qmax - z));
}

INLINE int4 quantize4(struct rule rule, float4 x, const struct params params[4], struct tally *tally)
{
    const float4 d = quotient4(x, params, rule.reciprocal);
    if (rule.counted && !all_inside(rule, d, params)) {
        count(rule, x.x, d.x, params[0].z, tally);
        count(rule, x.y, d.y, params[1].z, tally);
        count(rule, x.z, d.z, params[2].z, tally);
        count(rule, x.w, d.w, params[3].z, tally);
    }
    return (int4)(round_quotient(rule, d.x, params[0].z), round_quotient(rule, d.y, params[1].z), round_quotient(rule, d.z, params[2].z),
                  round_quotient(rule, d.w, params[3].z));
}

INLINE int quantize(struct rule rule, float x, struct params params, struct tally *tally)
{
    const float d = quotient(x, params, rule.reciprocal);
    if (rule.counted) count(rule, x, d, params.z, tally);
    return round_quotient(rule, d, params.z);
}

/* The elements flat and flat + 1, if before `end`. */
INLINE void quantize_pair(__global const struct clql_job *job, struct rule rule, __global const uchar *src, __global uchar *dst,
                          __global const float *scale, __global const int *zero_point, long flat, long end, struct tally *tally)
{
    const struct place place = locate(job, flat);
    struct params params = load_params(job, scale, zero_point, place.param);
    const int first = quantize(rule, load_float(src, place.at[0], CLQ_SRC), params, tally);
    int second = 0;
    if (!IS_4BIT(CLQ_DST)) store_int(dst, place.at[1], first, CLQ_DST);
    if (flat + 1 < end) {
        const struct place next = locate(job, flat + 1);
        if (place.same == 1) params = load_params(job, scale, zero_point, next.param);
        second = quantize(rule, load_float(src, next.at[0], CLQ_SRC), params, tally);
        if (!IS_4BIT(CLQ_DST)) store_int(dst, next.at[1], second, CLQ_DST);
    }
    if (IS_4BIT(CLQ_DST)) store_nibbles(dst, place.at[1], first, second);
}

KERNEL void quantize_quads(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *src, __global uchar *dst,
                           __global const float *restrict scale, __global const int *restrict zero_point, __global uint *counts)
{
    __local uint sums[3];
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_QUAD);
    const struct rule rule = get_rule(job);
    const int plain = is_plain(job, &tile);
    const long src_offset = job->offset[0], dst_offset = job->offset[1];
    struct tally tally = {0, 0, 0};
    struct params params[4];

    if (plain) {
        struct params shared;
        int is_loaded = 0;
        FOR_ROUNDS(round, tile, CLQL_QUAD)
        {
            float4 x[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) x[k] = load_float4(src, src_offset + flat, CLQ_SRC);
            }
            /* After the loads, which need not wait for it. */
            if (!is_loaded) shared = load_params(job, scale, zero_point, tile.param);
            is_loaded = 1;
            params[0] = params[1] = params[2] = params[3] = shared;
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) store_int4(dst, dst_offset + flat, quantize4(rule, x[k], params, &tally), CLQ_DST);
            }
        }
    }
    const int is_dense = !plain && (job->dense & 1);
    FOR_ROUNDS(round, tile, CLQL_QUAD)
    {
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, CLQL_QUAD), end = min(tile.end, flat + CLQL_QUAD);
            float4 x;
            /* On its way while the parameters are found. */
            if (is_dense && flat + CLQL_QUAD <= tile.end) x = load_float4(src, src_offset + flat, CLQ_SRC);
            if (flat + CLQL_QUAD <= tile.end) {
                if (plain) continue;
                const struct place place = locate_in(job, &tile, flat);
                if (load_params4(job, &tile, scale, zero_point, place, flat, params)) {
                    if (!is_dense) x = load_float4(src, place.at[0], CLQ_SRC);
                    store_int4(dst, place.at[1], quantize4(rule, x, params, &tally), CLQ_DST);
                    continue;
                }
            }
            for (long pair = flat; pair < end; pair += CLQL_PAIR)
                quantize_pair(job, rule, src, dst, scale, zero_point, pair, end, &tally);
        }
    }
    add_tallies(job, counts, tally, sums);
}
KERNEL void quantize_any(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *src, __global uchar *dst,
                         __global const float *restrict scale, __global const int *restrict zero_point, __global uint *counts)
{
    __local uint sums[3];
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_PAIR);
    const struct rule rule = get_rule(job);
    struct tally tally = {0, 0, 0};

    FOR_ROUNDS(round, tile, CLQL_PAIR)
    for (int k = 0; k < CLQL_UNITS; ++k) {
        const long flat = find_unit(round, k, CLQL_PAIR);
        if (flat < tile.end) quantize_pair(job, rule, src, dst, scale, zero_point, flat, tile.end, &tally);
    }
    add_tallies(job, counts, tally, sums);
}
