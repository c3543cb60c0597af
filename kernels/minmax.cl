/* SPDX-License-Identifier: MIT */
/*
 * Least and greatest finite value for each parameter, as the keys of launch.h: keys[param_offset[0] + p] of the least, keys[param_offset[1] + p] of the
 * greatest. The host fills keys and counts with zeros. Adds to counts[result_offset..+4], two 64-bit numbers in halves, low ones first: NaN and
 * infinite elements. Operand 0 is x.
 *
 * minmax_quads    4 quads an item; operand, offset and base as for quantize_quads
 * minmax_any      4 pairs an item; any strides
 * minmax_columns  for parameters that change from column to column: innermost param_stride not 0, rank 2 or more. Operand and range as for
 *                 minmax_quads, and `first` and `count` are multiples of the innermost extent C (so C % 4 == 0): the range is rows of C columns. An
 *                 item keeps a quad of columns over many rows in registers, then they are combined. Work-group g of a job is for the columns
 *                 from g % blocks * CLQ_LOCAL_SIZE * 4 on, blocks = ceil(C / 4 / CLQ_LOCAL_SIZE), and slab g / blocks of `parts` slabs of
 *                 ceil(rows / parts) rows each: blocks * parts work-groups. Rows of a slab may have different parameters (outer loops with
 *                 param_stride), which then costs atomics wherever they change. 64 rows or more a slab pay.
 * finish_minmax   keys and counts to results; a parameter an item, ceil(count / CLQ_LOCAL_SIZE) work-groups but at least one
 *
 * CLQ_SRC  F32, F16, BF16
 */
#ifndef CLQ_SRC
#define CLQ_SRC 1
#endif

/* Keys of the least (negated) and the greatest value, 0 if none. */
struct range {
    uint least, greatest;
};

INLINE uint float_key(float x)
{
    const uint bits = as_uint(x);
    return bits ^ ((uint)((int)bits >> 31) | 0x80000000u);
}

/* In integers, so that no device can flush or reorder anything. */
INLINE void fold(struct range *range, float x, struct tally *tally)
{
    const uint bits = as_uint(x), magnitude = bits & 0x7fffffffu;
    if (magnitude < 0x7f800000u) {
        const uint key = float_key(x);
        range->least = max(range->least, ~key); /* the key of -x */
        range->greatest = max(range->greatest, key);
    } else {
        tally->nan += magnitude != 0x7f800000u;
        tally->inf += magnitude == 0x7f800000u;
    }
}

INLINE void fold4(struct range *range, float4 x, struct tally *tally)
{
    const uint4 magnitude = as_uint4(x) & 0x7fffffffu;
    if (max(max(magnitude.x, magnitude.y), max(magnitude.z, magnitude.w)) < 0x7f800000u) {
        const uint a = float_key(x.x), b = float_key(x.y), c = float_key(x.z), d = float_key(x.w);
        range->greatest = max(range->greatest, max(max(a, b), max(c, d)));
        range->least = max(range->least, ~min(min(a, b), min(c, d)));
    } else {
        fold(range, x.x, tally);
        fold(range, x.y, tally);
        fold(range, x.z, tally);
        fold(range, x.w, tally);
    }
}

INLINE void put_range(__global const struct clql_job *job, __global uint *keys, long param, struct range range)
{
    if (range.greatest == 0) return;
    atomic_max(keys + job->param_offset[0] + param, range.least);
    atomic_max(keys + job->param_offset[1] + param, range.greatest);
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* Where a tile's parameters differ, its items combine those near the first one in local memory: least, then greatest. */
#define WINDOW (2 * CLQ_LOCAL_SIZE)

INLINE void put_in_window(__global const struct clql_job *job, const struct tile *tile, __global uint *keys, __local uint *window, long param,
                                 struct range range)
{
    const long slot = param - tile->param;
    if (slot < 0 || slot >= WINDOW) {
        put_range(job, keys, param, range);
    } else if (range.greatest != 0) {
        atomic_max(window + slot, range.least);
        atomic_max(window + WINDOW + slot, range.greatest);
    }
}

/* Folds the elements from `flat` on to `end`, at any strides and with any parameters. */
INLINE void fold_elements(__global const struct clql_job *job, const struct tile *tile, __global const uchar *x, __global uint *keys,
                                 __local uint *window, long flat, long end, struct range *uniform, struct tally *tally)
{
    for (; flat < end; ++flat) {
        const struct place place = locate(job, flat);
        struct range range = {0, 0};
        if (tile->uniform) {
            fold(uniform, load_float(x, place.at[0], CLQ_SRC), tally);
        } else {
            fold(&range, load_float(x, place.at[0], CLQ_SRC), tally);
            put_in_window(job, tile, keys, window, place.param, range);
        }
    }
}

/* Units of `unit` elements, 4 or 2. */
INLINE void minmax_tile(__global const struct clql_job *job, __global const uchar *x, __global uint *keys, __global uint *counts, long unit,
                               __local uint *window, __local uint *sums)
{
    const uint lid = (uint)get_local_id(0);
    const struct tile tile = find_tile(job, unit);
    const int plain = unit == CLQL_QUAD && is_plain(job, &tile);
    struct range range = {0, 0};
    struct tally tally = {0, 0, 0};

    for (uint slot = lid; slot < 2 * WINDOW; slot += CLQ_LOCAL_SIZE)
        window[slot] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    const int is_dense = unit == CLQL_QUAD && !plain && (job->dense & 1);
    const long offset = job->offset[0];
    if (plain) {
        FOR_ROUNDS(round, tile, unit)
        {
            float4 values[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, unit);
                if (flat + unit <= tile.end) values[k] = load_float4(x, offset + flat, CLQ_SRC);
            }
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k)
                if (find_unit(round, k, unit) + unit <= tile.end) fold4(&range, values[k], &tally);
        }
    }
    FOR_ROUNDS(round, tile, unit)
    {
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, unit);
            float4 values;
            if (is_dense && flat + unit <= tile.end) values = load_float4(x, offset + flat, CLQ_SRC); /* on its way while the parameter is found */
            if (unit == CLQL_QUAD && flat + unit <= tile.end) {
                if (plain) continue;
                const struct place place = locate_in(job, &tile, flat);
                if (tile.uniform || place.same >= unit) {
                    if (!tile.uniform) range.least = range.greatest = 0;
                    if (!is_dense) values = load_float4(x, place.at[0], CLQ_SRC);
                    fold4(&range, values, &tally);
                    if (!tile.uniform) put_in_window(job, &tile, keys, window, place.param, range);
                    continue;
                }
            }
            fold_elements(job, &tile, x, keys, window, flat, min(tile.end, flat + unit), &range, &tally);
        }
    }

    /* One parameter: a tree over the items. The barriers are for all tiles: see add_tallies(). */
    if (tile.uniform) {
        window[lid] = range.least;
        window[WINDOW + lid] = range.greatest;
    }
    for (uint reach = CLQ_LOCAL_SIZE / 2; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (tile.uniform && lid < reach) {
            window[lid] = max(window[lid], window[lid + reach]);
            window[WINDOW + lid] = max(window[WINDOW + lid], window[WINDOW + lid + reach]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint slot = lid; slot < (tile.uniform ? 1 : WINDOW); slot += CLQ_LOCAL_SIZE) {
        range.least = window[slot];
        range.greatest = window[WINDOW + slot];
        put_range(job, keys, tile.param + slot, range);
    }
    add_tallies(job, counts, tally, sums);
}

KERNEL void minmax_quads(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *x, __global uint *keys,
                         __global uint *counts)
{
    __local uint window[2 * WINDOW], sums[3];
    minmax_tile(FIND_JOB(clql_job), x, keys, counts, CLQL_QUAD, window, sums);
}

KERNEL void minmax_any(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *x, __global uint *keys,
                       __global uint *counts)
{
    __local uint window[2 * WINDOW], sums[3];
    minmax_tile(FIND_JOB(clql_job), x, keys, counts, CLQL_PAIR, window, sums);
}

/* ------------------------------------------------------------------------------------------------ columns */

/* The parameter of a column, from that of its row. */
INLINE long column_param(__global const struct clql_loop *columns, long column)
{
    return (columns->group == 1 ? column : divide(column, columns->group)) * columns->param_stride;
}

INLINE void put_columns(__global const struct clql_job *job, __global uint *keys, long row_param, long column, const struct range range[4])
{
    __global const struct clql_loop *columns = job->loops + (job->rank - 1);
    put_range(job, keys, row_param + column_param(columns, column), range[0]);
    put_range(job, keys, row_param + column_param(columns, column + 1), range[1]);
    put_range(job, keys, row_param + column_param(columns, column + 2), range[2]);
    put_range(job, keys, row_param + column_param(columns, column + 3), range[3]);
}

INLINE void fold_columns(struct range range[4], float4 x, struct tally *tally)
{
    fold(&range[0], x.x, tally);
    fold(&range[1], x.y, tally);
    fold(&range[2], x.z, tally);
    fold(&range[3], x.w, tally);
}

KERNEL void minmax_columns(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *x, __global uint *keys,
                           __global uint *counts)
{
    __local uint sums[3], least[4][CLQ_LOCAL_SIZE], greatest[4][CLQ_LOCAL_SIZE];
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const uint lid = (uint)get_local_id(0);
    const long extent = job->loops[job->rank - 1].extent, quads = extent / 4, blocks = (quads + CLQ_LOCAL_SIZE - 1) / CLQ_LOCAL_SIZE;
    const long part = (long)get_group_id(0) - job->first_group, slab = part / blocks;
    const long row_first = job->first / extent, row_end = row_first + job->count / extent;
    const long slab_rows = (row_end - row_first + job->parts - 1) / job->parts;
    const long begin = row_first + slab * slab_rows, end = min(row_end, begin + slab_rows);
    struct range range[4] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
    struct tally tally = {0, 0, 0};
    uint width = CLQ_LOCAL_SIZE; /* quads that the work-group is for, rounded up to a power of two; the items beyond take further rows at once */
    while (width / 2 >= quads)
        width /= 2;
    const uint lanes = CLQ_LOCAL_SIZE / width;
    const long quad = part % blocks * CLQ_LOCAL_SIZE + (lid & (width - 1)), column = 4 * quad;
    const struct place first = locate_outer(job, job->rank - 2, begin);
    const int uniform = first.same >= end - begin; /* one parameter a column all over the slab */
    long row_param = first.param;

    if (quad < quads) {
        long row = begin + lid / width;
        /* Four rows at a time: four loads under way. */
        for (; uniform && (job->dense & 1) && row + 3 * lanes < end; row += 4 * lanes) {
            const long at = job->offset[0] + row * extent + column, step = lanes * extent;
            const float4 a = load_float4(x, at, CLQ_SRC), b = load_float4(x, at + step, CLQ_SRC);
            const float4 c = load_float4(x, at + 2 * step, CLQ_SRC), d = load_float4(x, at + 3 * step, CLQ_SRC);
            fold_columns(range, a, &tally);
            fold_columns(range, b, &tally);
            fold_columns(range, c, &tally);
            fold_columns(range, d, &tally);
        }
        for (; row < end; row += lanes) {
            struct place place = first;
            if (!uniform || !(job->dense & 1)) place = locate_outer(job, job->rank - 2, row);
            if (job->dense & 1) place.at[0] = job->offset[0] + row * extent;
            if (place.param != row_param) {
                put_columns(job, keys, row_param, column, range);
                range[0].greatest = range[1].greatest = range[2].greatest = range[3].greatest = 0;
                range[0].least = range[1].least = range[2].least = range[3].least = 0;
                row_param = place.param;
            }
            fold_columns(range, load_float4(x, place.at[0] + column, CLQ_SRC), &tally);
        }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        least[k][lid] = range[k].least;
        greatest[k][lid] = range[k].greatest;
    }
    for (uint reach = CLQ_LOCAL_SIZE / 2; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (uniform && reach >= width && lid < reach) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                least[k][lid] = max(least[k][lid], least[k][lid + reach]);
                greatest[k][lid] = max(greatest[k][lid], greatest[k][lid + reach]);
            }
        }
    }
    /* An item reads what it wrote itself. */
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        range[k].least = least[k][lid];
        range[k].greatest = greatest[k][lid];
    }
    if (quad < quads && (!uniform || lid < width)) put_columns(job, keys, row_param, column, range);
    add_tallies(job, counts, tally, sums);
}

/* ------------------------------------------------------------------------------------------------ results */

INLINE float key_to_float(uint key)
{
    return clqm_flush(as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key));
}

/* For counts of quantize too: then count is 0. */
KERNEL void finish_minmax(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uint *keys, __global float *lo,
                          __global float *hi, __global const uint *counts, __global long *counts_out)
{
    __global const struct clql_finish_job *job = FIND_JOB(clql_finish_job);
    const long i = ((long)get_group_id(0) - job->first_group) * CLQ_LOCAL_SIZE + (long)get_local_id(0);
    if (i < job->count) {
        const uint least = keys[job->keys_lo + i], greatest = keys[job->keys_hi + i];
        lo[job->lo + i] = least == 0 ? 0.0f : key_to_float(~least);
        hi[job->hi + i] = greatest == 0 ? 0.0f : key_to_float(greatest);
    }
    if (i < 3 && job->counts >= 0) {
        __global const uint *halves = counts + job->counts + 2 * i;
        counts_out[job->counts_out + i] = (long)((ulong)halves[0] | (ulong)halves[1] << 32);
    }
}
