/* SPDX-License-Identifier: MIT */
/* Part of vector_kernels.h: the sums of error statistics, and scales and zero points from ranges. */

enum { SQUARED_ERROR, ABSOLUTE_ERROR, SQUARED_X, SQUARED_Y, PRODUCT, SUMS };

struct error_lanes {
    vdouble sum[SUMS][2];
    vfloat max;
};

INLINE void add_pairs(struct error_lanes *lanes, vfloat x, vfloat y)
{
    const vfloat e = sub_f32(x, y), magnitude = as_f32(and_s32(as_s32(e), splat_s32(0x7fffffff)));
    for (int half = 0; half < 2; ++half) {
        const vdouble xd = half ? high_f64(x) : low_f64(x), yd = half ? high_f64(y) : low_f64(y);
        const vdouble ed = half ? high_f64(magnitude) : low_f64(magnitude);
        lanes->sum[SQUARED_ERROR][half] = fma_f64(ed, ed, lanes->sum[SQUARED_ERROR][half]);
        lanes->sum[ABSOLUTE_ERROR][half] = add_f64(ed, lanes->sum[ABSOLUTE_ERROR][half]);
        lanes->sum[SQUARED_X][half] = fma_f64(xd, xd, lanes->sum[SQUARED_X][half]);
        lanes->sum[SQUARED_Y][half] = fma_f64(yd, yd, lanes->sum[SQUARED_Y][half]);
        lanes->sum[PRODUCT][half] = fma_f64(xd, yd, lanes->sum[PRODUCT][half]);
    }
    lanes->max = max_f32(magnitude, lanes->max);
}

/* Pairs that are not finite on both sides become zeros, which add nothing, and are counted. */
INLINE void add_finite_pairs(struct error_lanes *lanes, vfloat x, vfloat y, struct clq_error_sums *sums)
{
    const vmask finite = both(is_finite_lane(x), is_finite_lane(y));
    const vfloat zero = splat_f32(0.0f);
    const int nans = count_lanes(is_nan_lane(select_f32(is_nan_lane(x), x, y)));
    sums->nan += nans;
    sums->inf += WIDTH - count_lanes(finite) - nans;
    add_pairs(lanes, select_f32(finite, x, zero), select_f32(finite, y, zero));
}

static void error_sums(const void *x, const void *y, int64_t n, struct clq_error_sums *sums)
{
    const int64_t skipped_before = sums->nan + sums->inf;
    const vfloat zero = splat_f32(0.0f);
    struct error_lanes lanes;
    double total[SUMS];
    float max;
    for (int i = 0; i < SUMS; ++i)
        lanes.sum[i][0] = lanes.sum[i][1] = zero_f64();
    lanes.max = zero;
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t left = n - i;
        const char *p = move(x, i, 4), *q = move(y, i, 4);
        const vfloat a = as_f32(left < WIDTH ? load32_part(p, left) : load32(p)), b = as_f32(left < WIDTH ? load32_part(q, left) : load32(q));
        if (any_nan(note_nonfinite(a, note_nonfinite(b, zero))))
            add_finite_pairs(&lanes, a, b, sums);
        else
            add_pairs(&lanes, a, b);
    }
    for (int i = 0; i < SUMS; ++i)
        total[i] = sum_f64(add_f64(lanes.sum[i][0], lanes.sum[i][1]));
    max = greatest_lane(lanes.max);
    sums->count += n - (sums->nan + sums->inf - skipped_before);
    sums->squared_error += total[SQUARED_ERROR];
    sums->absolute_error += total[ABSOLUTE_ERROR];
    sums->squared_x += total[SQUARED_X];
    sums->squared_y += total[SQUARED_Y];
    sums->product += total[PRODUCT];
    sums->max_error = max > sums->max_error ? max : sums->max_error;
}

/* ------------------------------------------------------------------------------------------------ scales and zero points */

/* The formulas are those of quant_math.h: clqm_scale_symmetric() and so on. */
INLINE vfloat flush(vfloat x)
{
    const vmask tiny = equal_s32(and_s32(as_s32(x), splat_s32(0x7f800000)), splat_s32(0));
    return select_f32(tiny, splat_f32(0.0f), x);
}

INLINE vfloat clamp_scale(vfloat s)
{
    const vfloat least = as_f32(splat_s32(CLQM_SCALE_MIN_BITS)), most = as_f32(splat_s32(CLQM_SCALE_MAX_BITS));
    return min_f32(max_f32(s, least), most);
}

INLINE vfloat find_symmetric_scale(vfloat lo, vfloat hi, const struct clq_range_rule *rule)
{
    const vfloat zero = splat_f32(0.0f), magnitude = max_f32(sub_f32(zero, lo), hi);
    vfloat s = div_f32(magnitude, splat_f32(rule->step));
    if (rule->power_of_two) {
        const vint bits = as_s32(s), floor = and_s32(bits, splat_s32(0x7f800000));
        const vmask exact = equal_s32(bits, floor);
        s = as_f32(select_s32(exact, bits, add_s32(floor, splat_s32(0x00800000))));
    }
    return select_f32(less_f32(zero, magnitude), clamp_scale(s), splat_f32(1.0f));
}

INLINE vfloat find_asymmetric_scale(vfloat lo, vfloat hi, const struct clq_range_rule *rule)
{
    const vfloat half = splat_f32(0.5f), width = sub_f32(mul_f32(hi, half), mul_f32(lo, half));
    const vfloat s = div_f32(width, splat_f32((float)(rule->qmax - rule->qmin) * 0.5f));
    return select_f32(less_f32(lo, hi), clamp_scale(s), splat_f32(1.0f));
}

INLINE vint find_zero_point(vfloat lo, vfloat hi, vfloat s, const struct clq_range_rule *rule)
{
    const vint least = splat_s32(rule->qmin), most = splat_s32(rule->qmax);
    const vint z = sub_s32(least, round_s32(div_f32(lo, s)));
    const vmask empty = equal_s32(as_s32(lo), as_s32(hi)); /* both 0 */
    return min_s32(max_s32(select_s32(empty, splat_s32(0), z), least), most);
}

/* scale may lie where lo or hi does: so the ends are partial, never overlapping. */
static void qparams_from_range(const float *lo, const float *hi, int64_t n, const struct clq_range_rule *rule, float *scale, int32_t *zero_point)
{
    const vfloat zero = splat_f32(0.0f);
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t lanes = clq_min_i64(WIDTH, n - i);
        vfloat low = flush(as_f32(load32_part(lo + i, lanes))), high = flush(as_f32(load32_part(hi + i, lanes))), s;
        vint z;
        if (rule->symmetric) {
            s = find_symmetric_scale(low, high, rule);
            z = splat_s32(rule->zero_point);
        } else {
            low = min_f32(low, zero);
            high = max_f32(high, zero);
            s = find_asymmetric_scale(low, high, rule);
            z = find_zero_point(low, high, s, rule);
        }
        store32_part(scale + i, as_s32(s), lanes);
        if (zero_point) store32_part(zero_point + i, z, lanes);
    }
}
