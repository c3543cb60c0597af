/* SPDX-License-Identifier: MIT */
/*
 * y = dequantize(quantize(x)), and where x is inside: see clqm_inside(). Operand 0 is x, 1 is y, which may be x; the mask, if it is there, has element i in bit
 * i % 8 of byte i / 8, and bits beyond the last element are 0. Adds to counts[result_offset..+6] as quantize does.
 *
 * fake_quantize  4 quads an item; aligned jobs have operands, offsets and bases as for quantize_quads. With a mask the range begins at a multiple of 8, and
 *                parts is 1: then a work-group's mask is whole bytes, and is written when all of it is there.
 *
 * CLQ_SRC  F32, F16, BF16
 */
#ifndef CLQ_SRC
#define CLQ_SRC 1
#endif

INLINE void count_outside(float x, int inside, struct tally *tally)
{
    const int nan = clqm_is_nan(x), inf = clqm_is_inf(x);
    tally->nan += nan;
    tally->inf += inf;
    tally->clipped += !nan && !inf && !inside;
}

/* clqm_dequantize() of clqm_quantize(); sets the low bit of `inside` by clqm_inside(). */
INLINE float fake_quantize_one(struct rule rule, float d, struct params params, uint *inside)
{
    const float low = (float)(rule.qmin - params.z), high = (float)(rule.qmax - params.z), rounded = round_near(d, low, high);
    *inside = rounded >= low && rounded <= high;
    return clamp(rounded, low, high) * params.s;
}

/* Stores a quad's y; returns its bits of the mask. */
INLINE uint fake_quantize4(struct rule rule, __global uchar *y, long at, float4 x, const struct params params[4], struct tally *tally)
{
    const float4 d = quotient4(x, params, rule.reciprocal);
    uint bits[4];
    const float4 values = (float4)(fake_quantize_one(rule, d.x, params[0], &bits[0]), fake_quantize_one(rule, d.y, params[1], &bits[1]),
                                   fake_quantize_one(rule, d.z, params[2], &bits[2]), fake_quantize_one(rule, d.w, params[3], &bits[3]));
    const uint inside = bits[0] | bits[1] << 1 | bits[2] << 2 | bits[3] << 3;
    store_float4(y, at, values, CLQ_SRC);
    if (rule.counted && inside != 15u) {
        count_outside(x.x, inside & 1, tally);
        count_outside(x.y, inside & 2, tally);
        count_outside(x.z, inside & 4, tally);
        count_outside(x.w, inside & 8, tally);
    }
    return inside;
}

/* The same for the elements from `flat` on to `end`. */
INLINE uint fake_quantize_elements(__global const struct clql_job *job, struct rule rule, __global const uchar *x, __global uchar *y, __global const float *scale,
                                   __global const int *zero_point, long flat, long end, struct tally *tally)
{
    uint all = 0;
    for (int k = 0; flat + k < end; ++k) {
        const struct place place = locate(job, flat + k);
        const struct params params = load_params(job, scale, zero_point, place.param);
        const float value = load_float(x, place.at[0], CLQ_SRC), d = quotient(value, params, rule.reciprocal);
        uint inside;
        store_float(y, place.at[1], fake_quantize_one(rule, d, params, &inside), CLQ_SRC);
        if (!inside) count_outside(value, 0, tally);
        all |= inside << k;
    }
    return all;
}

KERNEL void fake_quantize(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *x, __global uchar *y,
                          __global uchar *restrict mask, __global const float *restrict scale, __global const int *restrict zero_point,
                          __global uint *restrict counts)
{
    __local uint sums[3];
    __local uchar nibbles[CLQL_UNITS * CLQ_LOCAL_SIZE]; /* of the mask, one a quad */
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const uint lid = (uint)get_local_id(0);
    const struct tile tile = find_tile(job, CLQL_QUAD);
    const struct rule rule = get_rule(job);
    const int aligned = job->aligned, plain = aligned && is_plain(job, &tile), is_dense = aligned && (job->dense & 1);
    const long x_offset = job->offset[0], y_offset = job->offset[1];
    struct tally tally = {0, 0, 0};
    struct params params[4];

    if (plain) {
        struct params shared;
        int is_loaded = 0;
        FOR_ROUNDS(round, tile, CLQL_QUAD)
        {
            float4 values[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) values[k] = load_float4(x, x_offset + flat, CLQ_SRC);
            }
            /* After the loads, which need not wait for it. */
            if (!is_loaded) shared = load_params(job, scale, zero_point, tile.param);
            is_loaded = 1;
            params[0] = params[1] = params[2] = params[3] = shared;
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end)
                    nibbles[k * CLQ_LOCAL_SIZE + lid] = (uchar)fake_quantize4(rule, y, y_offset + flat, values[k], params, &tally);
            }
        }
    }
    FOR_ROUNDS(round, tile, CLQL_QUAD)
    {
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, CLQL_QUAD), end = min(tile.end, flat + CLQL_QUAD);
            __local uchar *nibble = nibbles + (k * CLQ_LOCAL_SIZE + lid);
            if (aligned && flat + CLQL_QUAD <= tile.end) {
                float4 values;
                if (plain) continue;
                if (is_dense) values = load_float4(x, x_offset + flat, CLQ_SRC); /* on its way while the parameters are found */
                const struct place place = locate_in(job, &tile, flat);
                if (load_params4(job, &tile, scale, zero_point, place, flat, params)) {
                    if (!is_dense) values = load_float4(x, place.at[0], CLQ_SRC);
                    *nibble = (uchar)fake_quantize4(rule, y, place.at[1], values, params, &tally);
                    continue;
                }
            }
            *nibble = (uchar)fake_quantize_elements(job, rule, x, y, scale, zero_point, flat, end, &tally);
        }
    }

    barrier(CLK_LOCAL_MEM_FENCE);
    if (job->present & 1 << CLQL_MASK) {
        const uint bytes = (uint)((tile.end - tile.first + 7) / 8);
        __global uchar *out = mask + (job->offset[CLQL_MASK] + tile.first) / 8;
        for (uint i = lid; i < bytes; i += CLQ_LOCAL_SIZE)
            out[i] = (uchar)(nibbles[2 * i] | nibbles[2 * i + 1] << 4);
    }
    add_tallies(job, counts, tally, sums);
}
