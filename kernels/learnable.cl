/* SPDX-License-Identifier: MIT */
/*
 * The gradients of fake_quantize by x, by scales and by zero points: dx as backward does, and for each parameter the sums over its elements of dy * slope (see
 * clqm_slope()) and of dy outside. Operand 0 is dy, 1 is dx, which may be dy, 2 is x. A NaN in x adds nothing.
 *
 * The elements of a parameter are nested loops of their own: of a loop with a param_stride those indices that lead to it, of the others all. They are numbered in
 * the order of the loops; those in the job's range follow each other. At most one loop has a group above 1.
 *
 * backward_learnable  `lanes` items a parameter and a work-group, CLQ_LOCAL_SIZE / lanes parameters a work-group, `parts` work-groups for those: work-group
 *                     g of a job is for block g / parts of the parameters and part g % parts of their elements. An item sums units of 4 adjacent
 *                     elements if the job is aligned, else single ones, lanes * parts units apart, in ascending order; then the lanes are added in a
 *                     tree. So the sums depend on loops, range, parts and lanes alone. They are added to partials[result_offset +
 *                     parameter * parts + part], which the host fills with zeros, or with one part become dscale and dzero_point at once.
 * finish_gradients    a parameter's parts to dscale and dzero_point, by `lanes` items. struct clql_gradient_job
 *
 * Slow: groups of 2, 3, 5, ... elements that quads do not fit, and many loops that do not merge: a division a unit and loop.
 *
 * CLQ_SRC       F32, F16, BF16
 * CLQ_HAS_FP64  sums in f64; else in pairs of f32
 */
#ifndef CLQ_SRC
#define CLQ_SRC 1
#endif

/* ------------------------------------------------------------------------------------------------ sums */

#ifdef CLQ_HAS_FP64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double sum_type;

INLINE sum_type zero_sum(void)
{
    return 0.0;
}

INLINE sum_type add_sums(sum_type a, sum_type b)
{
    return a + b;
}

INLINE sum_type add_product(sum_type sum, float x, float y)
{
    return sum + (double)x * (double)y;
}

INLINE float scaled_sum(sum_type sum, float a, float b)
{
    return (float)(sum * ((double)a * (double)b));
}
#else
/* The sum of both: what the rounding of x has lost is in y. */
typedef float2 sum_type;

INLINE sum_type zero_sum(void)
{
    return (float2)(0.0f, 0.0f);
}

/* TwoSum (Knuth). */
INLINE sum_type add_sums(sum_type a, sum_type b)
{
    const float sum = a.x + b.x, part = sum - a.x;
    return (float2)(sum, ((a.x - (sum - part)) + (b.x - part)) + (a.y + b.y));
}

INLINE sum_type add_product(sum_type sum, float x, float y)
{
    const float product = x * y;
    return add_sums(sum, (float2)(product, fma(x, y, -product)));
}

/* Where the sum is not finite, what it has lost is NaN. */
INLINE float scaled_sum(sum_type sum, float a, float b)
{
    return (clqm_is_nan(sum.x) || clqm_is_inf(sum.x) ? sum.x : sum.x + sum.y) * a * b;
}
#endif

struct gradients {
    sum_type scale, zero_point;
};

/* Adds the sums of `lanes` items, `apart` items from each other, to that of lane 0. All items come here. */
INLINE sum_type add_lanes(__local sum_type *sums, sum_type sum, uint lane, uint lanes, uint apart)
{
    const uint lid = (uint)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE); /* earlier sums have been read */
    sums[lid] = sum;
    for (uint reach = CLQ_LOCAL_SIZE / 2; reach > 0; reach /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (reach < lanes && lane < reach) sums[lid] = add_sums(sums[lid], sums[lid + reach * apart]);
    }
    return sums[lid]; /* an item reads what it wrote itself */
}

/* ------------------------------------------------------------------------------------------------ a parameter's elements */

struct box {
    long base;        /* flat index of the first */
    long group;       /* indices of the loop with groups */
    long first, end;  /* the numbers of those in the job's range */
};

INLINE struct box find_box(__global const struct clql_job *job, long param)
{
    struct box box = {0, 1, 0, 0};
    long first = job->first, end = job->first + job->count; /* what the loops at hand and those around them make of the range */
    long count = 1, inside = 1;                             /* numbers, flat indices in an index of the loop at hand */
    for (int i = job->rank - 1; i >= 0; --i) {
        __global const struct clql_loop *loop = job->loops + i;
        const long extent = loop->extent, outer_first = i > 0 ? divide(first, extent) : 0, outer_end = i > 0 ? divide(end, extent) : 0;
        long begin = 0, indices = extent;
        if (loop->param_stride != 0) {
            const long group = loop->group, groups = divide(extent + group - 1, group), number = divide(param, loop->param_stride);
            begin = (number - divide(number, groups) * groups) * group;
            indices = min(group, extent - begin);
            if (group > 1) box.group = indices;
        }
        first -= outer_first * extent + begin;
        end -= outer_end * extent + begin;
        box.first = first < 0 ? 0 : first >= indices ? indices * count : first * count + box.first;
        box.end = end < 0 ? 0 : end >= indices ? indices * count : end * count + box.end;
        box.base += begin * inside;
        count *= indices;
        inside *= extent;
        first = outer_first;
        end = outer_end;
    }
    return box;
}

/* The flat index of an element from its number. */
INLINE long find_flat(__global const struct clql_job *job, const struct box *box, long number)
{
    long flat = box->base, inside = 1;
    for (int i = job->rank - 1; i > 0; --i) {
        __global const struct clql_loop *loop = job->loops + i;
        const long extent = loop->extent;
        const long indices = loop->param_stride == 0 ? extent : loop->group == 1 ? 1 : box->group;
        if (indices > 1) {
            const long outer = divide(number, indices);
            flat += (number - outer * indices) * inside;
            number = outer;
        }
        inside *= extent;
    }
    return flat + number * inside;
}

/* ------------------------------------------------------------------------------------------------ kernels */

/* Returns whether x is inside. */
INLINE int add_element(struct rule rule, struct gradients *gradients, float dy, float x, struct params params)
{
    const float d = quotient(x, params, rule.reciprocal);
    const float low = (float)(rule.qmin - params.z), high = (float)(rule.qmax - params.z), rounded = round_near(d, low, high);
    const int inside = rounded >= low && rounded <= high, nan = clqm_is_nan(d);
    gradients->scale = add_product(gradients->scale, nan ? 0.0f : dy, inside ? rounded - d : clamp(rounded, low, high));
    gradients->zero_point = add_product(gradients->zero_point, inside || nan ? 0.0f : dy, 1.0f);
    return inside;
}

INLINE void store_gradients(__global float *dscale, __global float *dzero_point, long scale_at, long zero_point_at, struct gradients gradients, float s,
                            float gradient_scale)
{
    dscale[scale_at] = scaled_sum(gradients.scale, gradient_scale, 1.0f);
    if (zero_point_at >= 0) dzero_point[zero_point_at] = scaled_sum(gradients.zero_point, gradient_scale, -s);
}

KERNEL void backward_learnable(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *dy, __global uchar *dx,
                               __global const uchar *restrict x, __global const float *restrict scale, __global const int *restrict zero_point,
                               __global struct gradients *restrict partials, __global float *restrict dscale, __global float *restrict dzero_point)
{
    __local sum_type sums[CLQ_LOCAL_SIZE];
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const uint lid = (uint)get_local_id(0), lanes = (uint)job->lanes, neighbours = CLQ_LOCAL_SIZE / lanes; /* parameters */
    const uint lane = job->columns ? lid / neighbours : lid % lanes, neighbour = job->columns ? lid % neighbours : lid / lanes;
    const long group = (long)get_group_id(0) - job->first_group, block = divide(group, job->parts), part = group - block * job->parts;
    const long param = job->first_param + block * neighbours + neighbour, end = job->first_param + job->param_count, unit = job->aligned ? CLQL_QUAD : 1, step = (long)job->parts * lanes * unit;
    const struct rule rule = get_rule(job);
    const int is_dense = job->dense == CLQL_ALL_DENSE;
    struct gradients gradients = {zero_sum(), zero_sum()};
    struct params params = {0.0f, 0.0f, 0};

    if (param < end) {
        const struct box box = find_box(job, param);
        params = load_params(job, scale, zero_point, param);
        for (long number = box.first + (part * lanes + lane) * unit; number < box.end; number += step) {
            const long flat = find_flat(job, &box, number);
            if (number + CLQL_QUAD <= box.end && unit == CLQL_QUAD) {
                const struct place place = is_dense ? place_at(job, flat) : locate(job, flat);
                const int4 bits = load_int4(dy, place.at[0], BITS_OF(CLQ_SRC));
                const float4 values = load_float4(x, place.at[2], CLQ_SRC), weights = floats_of(bits, CLQ_SRC);
                uint inside = (uint)add_element(rule, &gradients, weights.x, values.x, params);
                inside |= (uint)add_element(rule, &gradients, weights.y, values.y, params) << 1;
                inside |= (uint)add_element(rule, &gradients, weights.z, values.z, params) << 2;
                inside |= (uint)add_element(rule, &gradients, weights.w, values.w, params) << 3;
                store_int4(dx, place.at[1], keep4(bits, inside), BITS_OF(CLQ_SRC));
                continue;
            }
            for (long i = flat; i < flat + min(unit, box.end - number); ++i) {
                const struct place place = is_dense ? place_at(job, i) : locate(job, i);
                const int bits = load_int(dy, place.at[0], BITS_OF(CLQ_SRC));
                const int inside = add_element(rule, &gradients, float_of(bits, CLQ_SRC), load_float(x, place.at[2], CLQ_SRC), params);
                store_int(dx, place.at[1], inside ? bits : 0, BITS_OF(CLQ_SRC));
            }
        }
    }

    const uint apart = job->columns ? neighbours : 1;
    gradients.scale = add_lanes(sums, gradients.scale, lane, lanes, apart);
    gradients.zero_point = add_lanes(sums, gradients.zero_point, lane, lanes, apart);
    if (lane == 0 && param < end) {
        if (job->dscale >= 0) {
            store_gradients(dscale, dzero_point, job->dscale + param, job->dzero_point < 0 ? -1 : job->dzero_point + param, gradients, params.s,
                            job->gradient_scale);
        } else {
            __global struct gradients *partial = partials + (job->result_offset + param * job->parts + part);
            partial->scale = add_sums(partial->scale, gradients.scale);
            partial->zero_point = add_sums(partial->zero_point, gradients.zero_point);
        }
    }
}

KERNEL void finish_gradients(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const struct gradients *restrict partials,
                             __global const float *restrict scale, __global float *restrict dscale, __global float *restrict dzero_point)
{
    __local sum_type sums[CLQ_LOCAL_SIZE];
    __global const struct clql_gradient_job *job = FIND_JOB(clql_gradient_job);
    const uint lid = (uint)get_local_id(0), lanes = (uint)job->lanes, neighbours = CLQ_LOCAL_SIZE / lanes, lane = lid % lanes;
    const long param = ((long)get_group_id(0) - job->first_group) * neighbours + lid / lanes;
    struct gradients gradients = {zero_sum(), zero_sum()};

    if (param < job->count)
        for (long part = lane; part < job->parts; part += lanes) {
            __global const struct gradients *partial = partials + (job->partials + param * job->parts + part);
            gradients.scale = add_sums(gradients.scale, partial->scale);
            gradients.zero_point = add_sums(gradients.zero_point, partial->zero_point);
        }
    gradients.scale = add_lanes(sums, gradients.scale, lane, lanes, 1);
    gradients.zero_point = add_lanes(sums, gradients.zero_point, lane, lanes, 1);
    if (lane == 0 && param < job->count)
        store_gradients(dscale, dzero_point, job->dscale + param, job->dzero_point < 0 ? -1 : job->dzero_point + param, gradients,
                        scale[job->scale + param], job->gradient_scale);
}
