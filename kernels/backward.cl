/* SPDX-License-Identifier: MIT */
/*
 * The gradient of fake_quantize by x: dx = dy where x is inside, +0 elsewhere. Operand 0 is dy, 1 is dx, which may be dy; where x is inside is said by the mask,
 * if it is there, else by operand 2, x, and parameters. Bits are moved, so that nothing happens to a NaN or a denormal.
 *
 * backward  4 quads an item; aligned jobs have operands, offsets and bases as for quantize_quads
 *
 * CLQ_SRC  F32, F16, BF16
 */
#ifndef CLQ_SRC
#define CLQ_SRC 1
#endif

/* The mask's bit of an element, or of a quad that begins at a multiple of 4. */
INLINE uint load_mask(__global const uchar *mask, long at)
{
    return (uint)mask[at >> 3] >> (at & 7);
}

INLINE void drop_elements(__global const struct clql_job *job, struct rule rule, __global const uchar *dy, __global uchar *dx, __global const uchar *x,
                          __global const uchar *mask, __global const float *scale, __global const int *zero_point, int by_mask, long flat, long end)
{
    for (; flat < end; ++flat) {
        const struct place place = locate(job, flat);
        const int bits = load_int(dy, place.at[0], BITS_OF(CLQ_SRC));
        int inside;
        if (by_mask) {
            inside = (int)load_mask(mask, place.at[CLQL_MASK]) & 1;
        } else {
            const struct params params = load_params(job, scale, zero_point, place.param);
            inside = is_inside(rule, quotient(load_float(x, place.at[2], CLQ_SRC), params, rule.reciprocal), params);
        }
        store_int(dx, place.at[1], inside ? bits : 0, BITS_OF(CLQ_SRC));
    }
}

KERNEL void backward(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *dy, __global uchar *dx,
                     __global const uchar *restrict x, __global const uchar *restrict mask, __global const float *restrict scale,
                     __global const int *restrict zero_point)
{
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_QUAD);
    const struct rule rule = get_rule(job);
    const int aligned = job->aligned, plain = aligned && is_plain(job, &tile), by_mask = job->present >> CLQL_MASK & 1;
    const long dy_offset = job->offset[0], dx_offset = job->offset[1], x_offset = job->offset[2], mask_offset = job->offset[CLQL_MASK];
    struct params params[4];

    if (plain) {
        struct params shared;
        int is_loaded = by_mask;
        FOR_ROUNDS(round, tile, CLQL_QUAD)
        {
            int4 bits[CLQL_UNITS];
            float4 values[CLQL_UNITS];
            uint inside[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD > tile.end) continue;
                bits[k] = load_int4(dy, dy_offset + flat, BITS_OF(CLQ_SRC));
                if (by_mask)
                    inside[k] = load_mask(mask, mask_offset + flat);
                else
                    values[k] = load_float4(x, x_offset + flat, CLQ_SRC);
            }
            /* After the loads, which need not wait for it. */
            if (!is_loaded) shared = load_params(job, scale, zero_point, tile.param);
            is_loaded = 1;
            params[0] = params[1] = params[2] = params[3] = shared;
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD > tile.end) continue;
                if (!by_mask) inside[k] = inside4(rule, quotient4(values[k], params, rule.reciprocal), params);
                store_int4(dx, dx_offset + flat, keep4(bits[k], inside[k]), BITS_OF(CLQ_SRC));
            }
        }
    }
    FOR_ROUNDS(round, tile, CLQL_QUAD)
    {
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, CLQL_QUAD), end = min(tile.end, flat + CLQL_QUAD);
            if (aligned && flat + CLQL_QUAD <= tile.end) {
                if (plain) continue;
                const struct place place = locate_in(job, &tile, flat);
                if (by_mask || load_params4(job, &tile, scale, zero_point, place, flat, params)) {
                    const int4 bits = load_int4(dy, place.at[0], BITS_OF(CLQ_SRC));
                    const uint inside = by_mask ? load_mask(mask, place.at[CLQL_MASK])
                                                : inside4(rule, quotient4(load_float4(x, place.at[2], CLQ_SRC), params, rule.reciprocal), params);
                    store_int4(dx, place.at[1], keep4(bits, inside), BITS_OF(CLQ_SRC));
                    continue;
                }
            }
            drop_elements(job, rule, dy, dx, x, mask, scale, zero_point, by_mask, flat, end);
        }
    }
}
