/* SPDX-License-Identifier: MIT */
/*
 * Scale and zero point of each range [lo, hi]: clqm_scale_symmetric(), clqm_scale_asymmetric(), clqm_zero_point_asymmetric(). And what requantize
 * multiplies by: clqm_multiplier(). A parameter an item.
 *
 * qparams_from_range  struct clql_range_job. `scale` may lie where `lo` or `hi` does. If averaging is not 0, [average_lo, average_hi] moves towards the range, or
 *                     begins as it, and is what the parameters are derived from. Ranges made by a device are not checked: an end that is not
 *                     finite counts as 0, so that every quotient is finite; an average with such an end counts as empty.
 * multipliers         struct clql_multiplier_job
 */
INLINE float finite_or_zero(float x)
{
    return clqm_is_nan(x) || clqm_is_inf(x) ? 0.0f : x;
}

KERNEL void qparams_from_range(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const float *lo, __global const float *hi,
                               __global float *average_lo, __global float *average_hi, __global float *scale, __global int *zero_point)
{
    __global const struct clql_range_job *job = FIND_JOB(clql_range_job);
    const long i = ((long)get_group_id(0) - job->first_group) * CLQ_LOCAL_SIZE + (long)get_local_id(0);
    if (i >= job->count) return;
    float low = finite_or_zero(lo[job->lo + i]), high = finite_or_zero(hi[job->hi + i]);
    if (job->averaging != 0.0f) {
        __global float *lowest = average_lo + (job->average_lo + i), *highest = average_hi + (job->average_hi + i);
        const float old_low = clqm_flush(*lowest), old_high = clqm_flush(*highest);
        if (old_low <= old_high && !clqm_is_inf(old_low) && !clqm_is_inf(old_high)) {
            low = clqm_moving_average(old_low, low, job->averaging);
            high = clqm_moving_average(old_high, high, job->averaging);
            high = high < low ? low : high;
        }
        *lowest = low;
        *highest = high;
    }
    const float s = job->symmetric ? clqm_scale_symmetric(low, high, job->step, job->power_of_two)
                                   : clqm_scale_asymmetric(low, high, job->qmin, job->qmax);
    scale[job->scale + i] = s;
    if (job->has_zero_point)
        zero_point[job->zero_point + i] = job->symmetric ? job->fixed_zero_point : clqm_zero_point_asymmetric(low, high, s, job->qmin, job->qmax);
}

KERNEL void multipliers(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const float *scale, __global const int *zero_point,
                        __global const float *target_scale, __global const int *target_zero_point, __global float *multiplier,
                        __global int *source_zero_point_out, __global int *zero_point_out)
{
    __global const struct clql_multiplier_job *job = FIND_JOB(clql_multiplier_job);
    const long i = ((long)get_group_id(0) - job->first_group) * CLQ_LOCAL_SIZE + (long)get_local_id(0);
    if (i >= job->count) return;
    const long source = job->is_single ? 0 : i, target = job->is_target_single ? 0 : i;
    multiplier[job->multiplier + i] = clqm_multiplier(scale[job->scale + source], target_scale[job->target_scale + target]);
    source_zero_point_out[job->source_zero_point_out + i] = job->zero_point >= 0 ? zero_point[job->zero_point + source] : job->fixed_zero_point;
    zero_point_out[job->zero_point_out + i] =
        job->target_zero_point >= 0 ? target_zero_point[job->target_zero_point + target] : job->fixed_target_zero_point;
}
