/* SPDX-License-Identifier: MIT */
/*
 * Scale and zero point of each range [lo, hi]: clqm_scale_symmetric(), clqm_scale_asymmetric(), clqm_zero_point_asymmetric().
 *
 * A parameter an item; struct clql_range_job. `scale` may lie where `lo` or `hi` does. Ranges made by a device are not checked: an end that is
 * not finite counts as 0, so that every quotient is finite.
 */
INLINE float finite_or_zero(float x)
{
    return clqm_is_nan(x) || clqm_is_inf(x) ? 0.0f : x;
}

KERNEL void qparams_from_range(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const float *lo, __global const float *hi,
                               __global float *scale, __global int *zero_point)
{
    __global const struct clql_range_job *job = FIND_JOB(clql_range_job);
    const long i = ((long)get_group_id(0) - job->first_group) * CLQ_LOCAL_SIZE + (long)get_local_id(0);
    if (i >= job->count) return;
    const float low = finite_or_zero(lo[job->lo + i]), high = finite_or_zero(hi[job->hi + i]);
    const float s = job->symmetric ? clqm_scale_symmetric(low, high, job->step, job->power_of_two)
                                   : clqm_scale_asymmetric(low, high, job->qmin, job->qmax);
    scale[job->scale + i] = s;
    if (job->has_zero_point)
        zero_point[job->zero_point + i] = job->symmetric ? job->fixed_zero_point : clqm_zero_point_asymmetric(low, high, s, job->qmin, job->qmax);
}
