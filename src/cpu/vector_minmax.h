/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: lo[p] = min(lo[p], finite x), hi[p] likewise.
 *
 * The fast way takes minimum and maximum of whatever comes and notes whether all of it was finite. A block that was not is gone over again,
 * still in the first-level cache, with what is not finite masked and counted.
 */

#define MINMAX_BLOCK 4096 /* elements */

/* Runs of up to so many elements are reduced WIDTH at a time. */
#define SHORT_RUN QUAD

struct extremes {
    vfloat lo, hi;
};

INLINE struct extremes no_extremes(void)
{
    return (struct extremes){splat_f32(INFINITY), splat_f32(-INFINITY)};
}

INLINE struct extremes join_extremes(struct extremes a, struct extremes b)
{
    return (struct extremes){min_f32(a.lo, b.lo), max_f32(a.hi, b.hi)};
}

/* What is finite among the first `lanes` of x, which are counted. */
INLINE struct extremes add_careful(struct extremes e, vfloat x, int64_t lanes, int64_t *counts)
{
    const vmask valid = first_lanes(lanes), finite = both(is_finite_lane(x), valid);
    const int nans = count_lanes(both(is_nan_lane(x), valid));
    counts[0] += nans;
    counts[1] += lanes - count_lanes(finite) - nans;
    return (struct extremes){select_f32(finite, min_f32(x, e.lo), e.lo), select_f32(finite, max_f32(x, e.hi), e.hi)};
}

static struct extremes find_careful(int from, const char *src, int64_t n, int64_t *counts)
{
    struct extremes e = no_extremes();
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t lanes = clq_min_i64(WIDTH, n - i);
        const char *p = src + i * float_bytes(from);
        const vfloat x = from == CLQ_FLOAT_F32   ? load_float_part(CLQ_FLOAT_F32, p, lanes)
                         : from == CLQ_FLOAT_F16 ? load_float_part(CLQ_FLOAT_F16, p, lanes)
                                                 : load_float_part(CLQ_FLOAT_BF16, p, lanes);
        e = add_careful(e, x, lanes, counts);
    }
    return e;
}

/* Of 1 to any number of elements as they come. The last vector may overlap the one before it. */
INLINE struct extremes find_fast(int from, const char *src, int64_t n, vfloat *seen)
{
    const int64_t bytes = float_bytes(from);
    struct extremes e[4];
    vfloat flags[4] = {*seen, splat_f32(0.0f), splat_f32(0.0f), splat_f32(0.0f)};
    int64_t i = 0;
    vfloat x;
    if (n < WIDTH) {
        const vmask valid = first_lanes(n);
        x = load_float_part(from, src, n);
        *seen = note_nonfinite(x, *seen);
        return (struct extremes){select_f32(valid, x, splat_f32(INFINITY)), select_f32(valid, x, splat_f32(-INFINITY))};
    }
    for (int v = 0; v < 4; ++v)
        e[v] = no_extremes();
    for (; i + QUAD <= n; i += QUAD)
        for (int v = 0; v < 4; ++v) {
            x = load_float(from, src + (i + v * WIDTH) * bytes);
            flags[v] = note_nonfinite(x, flags[v]);
            e[v] = join_extremes((struct extremes){x, x}, e[v]);
        }
    for (; i < n; i += WIDTH) {
        x = load_float(from, src + clq_min_i64(i, n - WIDTH) * bytes);
        flags[0] = note_nonfinite(x, flags[0]);
        e[0] = join_extremes((struct extremes){x, x}, e[0]);
    }
    *seen = add_f32(add_f32(flags[0], flags[1]), add_f32(flags[2], flags[3]));
    return join_extremes(join_extremes(e[0], e[1]), join_extremes(e[2], e[3]));
}

INLINE struct extremes find_block(int from, const char *src, int64_t n, int64_t *counts)
{
    vfloat seen = splat_f32(0.0f);
    const struct extremes e = find_fast(from, src, n, &seen);
    return any_nan(seen) ? find_careful(from, src, n, counts) : e;
}

INLINE struct extremes find_blocks(int from, const char *src, int64_t n, int64_t *counts)
{
    struct extremes e = find_block(from, src, clq_min_i64(n, MINMAX_BLOCK), counts);
    for (int64_t i = MINMAX_BLOCK; i < n; i += MINMAX_BLOCK)
        e = join_extremes(e, find_block(from, src + i * float_bytes(from), clq_min_i64(n - i, MINMAX_BLOCK), counts));
    return e;
}

static __attribute__((noinline)) struct extremes find_run_f32(const char *src, int64_t n, int64_t *counts)
{
    return find_blocks(CLQ_FLOAT_F32, src, n, counts);
}

static __attribute__((noinline)) struct extremes find_run_f16(const char *src, int64_t n, int64_t *counts)
{
    return find_blocks(CLQ_FLOAT_F16, src, n, counts);
}

static __attribute__((noinline)) struct extremes find_run_bf16(const char *src, int64_t n, int64_t *counts)
{
    return find_blocks(CLQ_FLOAT_BF16, src, n, counts);
}

INLINE struct extremes find_run(int from, const char *src, int64_t n, int64_t *counts)
{
    return from == CLQ_FLOAT_F32 ? find_run_f32(src, n, counts) : from == CLQ_FLOAT_F16 ? find_run_f16(src, n, counts) : find_run_bf16(src, n, counts);
}

/* Lane i of the result is the extreme of e[i]: each step takes halves of pairs of vectors and leaves half as many. */
INLINE struct extremes reduce_rows(const struct extremes *e)
{
    struct extremes left[WIDTH];
    memcpy(left, e, sizeof left);
    for (int step = 1; step < WIDTH; step *= 2)
        for (int i = 0; i < WIDTH / 2 / step; ++i) {
            const struct extremes a = left[2 * i], b = left[2 * i + 1];
            left[i] = (struct extremes){min_f32(fold_low(step, a.lo, b.lo), fold_high(step, a.lo, b.lo)),
                                        max_f32(fold_low(step, a.hi, b.hi), fold_high(step, a.hi, b.hi))};
        }
    return left[0];
}

INLINE void put_extremes(const struct clq_span *span, int64_t p, struct extremes e)
{
    const float lo = least_lane(e.lo), hi = greatest_lane(e.hi);
    span->lo[p] = lo < span->lo[p] ? lo : span->lo[p];
    span->hi[p] = hi > span->hi[p] ? hi : span->hi[p];
}

/* `runs` of n elements each, `pitch` elements from one to the next, for the parameters p, p + step and so on. */
INLINE void find_runs(int from, const struct clq_span *span, const char *src, int64_t runs, int64_t pitch, int64_t n, int64_t p, int64_t step)
{
    const int64_t pitch_bytes = pitch * float_bytes(from);
    int64_t run = 0;
    for (; n <= SHORT_RUN && step == 1 && run + WIDTH <= runs; run += WIDTH) {
        const char *first = src + run * pitch_bytes;
        float *lo = span->lo + p + run, *hi = span->hi + p + run;
        vfloat seen = splat_f32(0.0f);
        struct extremes e[WIDTH];
        /* Not unrolled: the code would be 16 times that of a run. */
#pragma GCC unroll 1
        for (int i = 0; i < WIDTH; ++i)
            e[i] = find_fast(from, first + i * pitch_bytes, n, &seen);
        if (any_nan(seen)) {
            for (int i = 0; i < WIDTH; ++i)
                put_extremes(span, p + run + i, find_careful(from, first + i * pitch_bytes, n, span->counts));
            continue;
        }
        e[0] = reduce_rows(e);
        store32(lo, as_s32(min_f32(e[0].lo, as_f32(load32(lo)))));
        store32(hi, as_s32(max_f32(e[0].hi, as_f32(load32(hi)))));
    }
    for (; run < runs; ++run)
        put_extremes(span, p + run * step, find_run(from, src + run * pitch_bytes, n, span->counts));
}

/* Parameters of their own for each column: a few rows at once, so that lo and hi are loaded and stored less often. `lanes` columns. */
INLINE void find_column_tile(int from, const char *src, int64_t pitch_bytes, int rows, int64_t lanes, float *lo, float *hi, int64_t *counts)
{
    vfloat seen = splat_f32(0.0f), x[4];
    struct extremes e, old;
    for (int i = 0; i < rows; ++i) {
        const char *p = src + i * pitch_bytes;
        x[i] = lanes == WIDTH ? load_float(from, p) : load_float_part(from, p, lanes);
        seen = note_nonfinite(x[i], seen);
    }
    old.lo = as_f32(lanes == WIDTH ? load32(lo) : load32_part(lo, lanes));
    old.hi = as_f32(lanes == WIDTH ? load32(hi) : load32_part(hi, lanes));
    if (any_nan(seen)) {
        e = old;
        for (int i = 0; i < rows; ++i)
            e = add_careful(e, x[i], lanes, counts);
    } else {
        e = (struct extremes){x[0], x[0]};
        for (int i = 1; i < rows; ++i)
            e = join_extremes(e, (struct extremes){x[i], x[i]});
        e = join_extremes(e, old);
    }
    if (lanes == WIDTH) {
        store32(lo, as_s32(e.lo));
        store32(hi, as_s32(e.hi));
    } else {
        store32_part(lo, as_s32(e.lo), lanes);
        store32_part(hi, as_s32(e.hi), lanes);
    }
}

INLINE void find_columns(int from, const struct clq_span *span, const char *src, int64_t rows, int64_t cols, float *lo, float *hi)
{
    const int64_t bytes = float_bytes(from), pitch_bytes = span->src_pitch * bytes;
    for (int64_t begin = 0; begin < cols; begin += TABLE) {
        const int64_t end = clq_min_i64(cols, begin + TABLE);
        int64_t row = 0;
        for (; row < rows; row += row + 4 <= rows ? 4 : 1) {
            const char *line = src + row * pitch_bytes;
            int64_t i = begin;
            if (row + 4 <= rows) {
                for (; i + WIDTH <= end; i += WIDTH)
                    find_column_tile(from, line + i * bytes, pitch_bytes, 4, WIDTH, lo + i, hi + i, span->counts);
                if (i < end) find_column_tile(from, line + i * bytes, pitch_bytes, 4, end - i, lo + i, hi + i, span->counts);
            } else {
                for (; i + WIDTH <= end; i += WIDTH)
                    find_column_tile(from, line + i * bytes, pitch_bytes, 1, WIDTH, lo + i, hi + i, span->counts);
                if (i < end) find_column_tile(from, line + i * bytes, pitch_bytes, 1, end - i, lo + i, hi + i, span->counts);
            }
        }
    }
}

/* Short rows one behind the other: several make a long one with parameters of its own, see run_short_rows(). */
INLINE void find_short_rows(int from, const struct clq_span *span)
{
    const int64_t copies = clq_min_i64(span->rows, TABLE / span->cols), rows = span->rows / copies, rest = span->rows % copies;
    struct clq_span wide = *span;
    float lo[TABLE], hi[TABLE];
    wide.src_pitch = copies * span->cols;
    for (int64_t i = 0; i < wide.src_pitch; ++i) {
        lo[i] = INFINITY;
        hi[i] = -INFINITY;
    }
    find_columns(from, &wide, span->src, rows, wide.src_pitch, lo, hi);
    if (rest) find_columns(from, &wide, move(span->src, rows * wide.src_pitch, float_bytes(from)), 1, rest * span->cols, lo, hi);
    for (int64_t i = 0, p = 0; i < wide.src_pitch; ++i, p = p + 1 == span->cols ? 0 : p + 1) {
        span->lo[p] = lo[i] < span->lo[p] ? lo[i] : span->lo[p];
        span->hi[p] = hi[i] > span->hi[p] ? hi[i] : span->hi[p];
    }
}

INLINE void find_own_columns(int from, const struct clq_span *span)
{
    const int64_t together = span->param_pitch ? 1 : span->rows;
    if (span->rows > 1 && span->param_pitch == 0 && span->src_pitch == span->cols && span->cols <= TABLE / 2) {
        find_short_rows(from, span);
        return;
    }
    for (int64_t row = 0; row < span->rows; row += together)
        find_columns(from, span, move(span->src, row * span->src_pitch, float_bytes(from)), together, span->cols,
                     span->lo + row * span->param_pitch, span->hi + row * span->param_pitch);
}

INLINE void minmax(int from, const struct clq_span *whole)
{
    struct clq_span span = *whole;
    int64_t groups, rest;
    if (span.rows <= 0 || span.cols <= 0) return;
    span.dst_pitch = span.src_pitch;
    join_rows(&span);
    groups = span.cols / span.group;
    rest = span.cols % span.group;
    if (span.group == span.cols && span.param_pitch == 0) {
        struct extremes e = no_extremes();
        for (int64_t row = 0; row < span.rows; ++row)
            e = join_extremes(e, find_run(from, move(span.src, row * span.src_pitch, float_bytes(from)), span.cols, span.counts));
        put_extremes(&span, 0, e);
    } else if (span.group == span.cols) {
        find_runs(from, &span, span.src, span.rows, span.src_pitch, span.cols, 0, span.param_pitch);
    } else if (span.group == 1) {
        find_own_columns(from, &span);
    } else {
        for (int64_t row = 0; row < span.rows; ++row) {
            const char *src = move(span.src, row * span.src_pitch, float_bytes(from));
            find_runs(from, &span, src, groups, span.group, span.group, row * span.param_pitch, 1);
            if (rest)
                put_extremes(&span, row * span.param_pitch + groups,
                             find_run(from, src + groups * span.group * float_bytes(from), rest, span.counts));
        }
    }
}

#define MINMAX(from) \
    static void minmax_##from(const struct clq_span *span) { minmax(CLQ_FLOAT_##from, span); }

/* clang-format off */
MINMAX(F32) MINMAX(F16) MINMAX(BF16)

#define MINMAX_SLOTS {minmax_F32, minmax_F16, minmax_BF16}
/* clang-format on */
