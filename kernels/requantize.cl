/* SPDX-License-Identifier: MIT */
/*
 * y = rne(clamp(fl(float(x - zx) * m), qmin - z, qmax - z)) + z: see clqm_requantize(). Operand 0 is x, 1 is y, which may be x. For each parameter scale has m,
 * zero_point z and source_zero_point zx, as the kernel multipliers has made them. s32 has zx = 0.
 *
 * requantize  4 quads an item; aligned jobs have operands, offsets and bases as for quantize_quads
 *
 * CLQ_SRC  S8, U8, S4, U4, S32
 * CLQ_DST  S8, U8
 */
#ifndef CLQ_SRC
#define CLQ_SRC 5
#endif
#ifndef CLQ_DST
#define CLQ_DST 5
#endif

struct multiplier {
    float m;
    int z, source_z;
};

/* Zero points that a device made are not checked. */
INLINE struct multiplier load_multiplier(__global const struct clql_job *job, __global const float *m, __global const int *z, __global const int *source_z,
                                         long param)
{
    struct multiplier multiplier;
    multiplier.m = m[job->param_offset[0] + param];
    multiplier.z = clamp(z[job->param_offset[1] + param], job->qmin, job->qmax);
    multiplier.source_z = CLQ_SRC == S32 ? 0 : clamp(source_z[job->param_offset[2] + param], -255, 255);
    return multiplier;
}

INLINE int requantize_one(struct rule rule, int q, struct multiplier multiplier)
{
    return clqm_requantize(q - multiplier.source_z, multiplier.m, multiplier.z, rule.qmin, rule.qmax);
}

INLINE int4 requantize4(struct rule rule, int4 q, struct multiplier multiplier)
{
    return (int4)(requantize_one(rule, q.x, multiplier), requantize_one(rule, q.y, multiplier), requantize_one(rule, q.z, multiplier),
                  requantize_one(rule, q.w, multiplier));
}

KERNEL void requantize(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *x, __global uchar *y,
                       __global const float *restrict m, __global const int *restrict z, __global const int *restrict source_z)
{
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_QUAD);
    const struct rule rule = get_rule(job);
    const int aligned = job->aligned, plain = aligned && is_plain(job, &tile);
    const long x_offset = job->offset[0], y_offset = job->offset[1];

    if (plain) {
        struct multiplier shared;
        int is_loaded = 0;
        FOR_ROUNDS(round, tile, CLQL_QUAD)
        {
            int4 q[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) q[k] = load_int4(x, x_offset + flat, CLQ_SRC);
            }
            /* After the loads, which need not wait for it. */
            if (!is_loaded) shared = load_multiplier(job, m, z, source_z, tile.param);
            is_loaded = 1;
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) store_int4(y, y_offset + flat, requantize4(rule, q[k], shared), CLQ_DST);
            }
        }
    }
    FOR_ROUNDS(round, tile, CLQL_QUAD)
    {
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, CLQL_QUAD), end = min(tile.end, flat + CLQL_QUAD);
            if (plain && flat + CLQL_QUAD <= tile.end) continue;
            if (aligned && flat + CLQL_QUAD <= tile.end) {
                const struct place place = locate_in(job, &tile, flat);
                const long stride = place.same >= CLQL_QUAD ? 0 : job->loops[job->rank - 1].param_stride;
                if (place.same >= CLQL_QUAD || place.along >= CLQL_QUAD) {
                    const int4 q = load_int4(x, place.at[0], CLQ_SRC);
                    const int first = requantize_one(rule, q.x, load_multiplier(job, m, z, source_z, place.param));
                    const int second = requantize_one(rule, q.y, load_multiplier(job, m, z, source_z, place.param + stride));
                    const int third = requantize_one(rule, q.z, load_multiplier(job, m, z, source_z, place.param + 2 * stride));
                    const int fourth = requantize_one(rule, q.w, load_multiplier(job, m, z, source_z, place.param + 3 * stride));
                    store_int4(y, place.at[1], (int4)(first, second, third, fourth), CLQ_DST);
                    continue;
                }
            }
            for (long i = flat; i < end; ++i) {
                const struct place place = locate(job, i);
                const int q = load_int(x, place.at[0], CLQ_SRC);
                store_int(y, place.at[1], requantize_one(rule, q, load_multiplier(job, m, z, source_z, place.param)), CLQ_DST);
            }
        }
    }
}
