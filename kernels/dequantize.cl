/* SPDX-License-Identifier: MIT */
/*
 * y = fl(float(q - z) * s), narrowed to the output's type. Operand 0 is q, 1 is y. s32 has z = 0.
 *
 * dequantize_quads  4 quads an item; operands, offsets and bases as for quantize_quads
 * dequantize_any    4 pairs an item; any strides
 *
 * CLQ_SRC  S8, U8, S4, U4, S16, U16, S32
 * CLQ_DST  F32, F16, BF16
 */
#ifndef CLQ_SRC
#define CLQ_SRC 5
#endif
#ifndef CLQ_DST
#define CLQ_DST 1
#endif

INLINE float dequantize(int q, struct params params)
{
    return clqm_dequantize(q, params.s, CLQ_SRC == S32 ? 0 : params.z);
}

INLINE float4 dequantize4(int4 q, const struct params params[4])
{
    return (float4)(dequantize(q.x, params[0]), dequantize(q.y, params[1]), dequantize(q.z, params[2]), dequantize(q.w, params[3]));
}

/* The elements from `flat` on to `end`. */
INLINE void dequantize_elements(__global const struct clql_job *job, __global const uchar *src, __global uchar *dst,
                                       __global const float *scale, __global const int *zero_point, long flat, long end)
{
    for (; flat < end; ++flat) {
        const struct place place = locate(job, flat);
        const struct params params = load_params(job, scale, zero_point, place.param);
        store_float(dst, place.at[1], dequantize(load_int(src, place.at[0], CLQ_SRC), params), CLQ_DST);
    }
}

KERNEL void dequantize_quads(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *src, __global uchar *dst,
                             __global const float *restrict scale, __global const int *restrict zero_point)
{
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_QUAD);
    const int plain = is_plain(job, &tile);
    const long src_offset = job->offset[0], dst_offset = job->offset[1];
    struct params params[4];

    if (plain) {
        struct params shared;
        int is_loaded = 0;
        FOR_ROUNDS(round, tile, CLQL_QUAD)
        {
            int4 q[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) q[k] = load_int4(src, src_offset + flat, CLQ_SRC);
            }
            /* After the loads, which need not wait for it. */
            if (!is_loaded) shared = load_params(job, scale, zero_point, tile.param);
            is_loaded = 1;
            params[0] = params[1] = params[2] = params[3] = shared;
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) store_float4(dst, dst_offset + flat, dequantize4(q[k], params), CLQ_DST);
            }
        }
    }
    /* One quad ahead: its load is under way while the parameters of the one at hand are found. */
    const int is_dense = !plain && (job->dense & 1);
    FOR_ROUNDS(round, tile, CLQL_QUAD)
    {
        int4 ahead = 0;
        if (is_dense && find_unit(round, 0, CLQL_QUAD) + CLQL_QUAD <= tile.end)
            ahead = load_int4(src, src_offset + find_unit(round, 0, CLQL_QUAD), CLQ_SRC);
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, CLQL_QUAD), next = find_unit(round, k + 1, CLQL_QUAD);
            int4 q = ahead;
            if (is_dense && k + 1 < CLQL_UNITS && next + CLQL_QUAD <= tile.end) ahead = load_int4(src, src_offset + next, CLQ_SRC);
            if (flat + CLQL_QUAD <= tile.end) {
                if (plain) continue;
                const struct place place = locate_in(job, &tile, flat);
                if (load_params4(job, &tile, scale, zero_point, place, flat, params)) {
                    if (!is_dense) q = load_int4(src, place.at[0], CLQ_SRC);
                    store_float4(dst, place.at[1], dequantize4(q, params), CLQ_DST);
                    continue;
                }
            }
            dequantize_elements(job, src, dst, scale, zero_point, flat, min(tile.end, flat + CLQL_QUAD));
        }
    }
}

KERNEL void dequantize_any(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *src, __global uchar *dst,
                           __global const float *restrict scale, __global const int *restrict zero_point)
{
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_PAIR);
    FOR_ROUNDS(round, tile, CLQL_PAIR)
    for (int k = 0; k < CLQL_UNITS; ++k) {
        const long flat = find_unit(round, k, CLQL_PAIR);
        dequantize_elements(job, src, dst, scale, zero_point, flat, min(tile.end, flat + CLQL_PAIR));
    }
}
