/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: lo[p] = min(lo[p], finite x), hi[p] likewise.
 *
 * The fast way takes minimum and maximum of whatever comes and notes whether all of it was finite. What was not is gone over again, still in
 * the first-level cache, with the elements that are not finite masked and counted.
 */

#define MINMAX_BLOCK 4096 /* elements between two looks */

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

INLINE struct extremes add_vector(struct extremes e, vfloat x)
{
    return (struct extremes){min_f32(x, e.lo), max_f32(x, e.hi)};
}

INLINE void put_extremes(const struct clq_span *span, int64_t p, struct extremes e)
{
    const float lo = least_lane(e.lo), hi = greatest_lane(e.hi);
    span->lo[p] = lo < span->lo[p] ? lo : span->lo[p];
    span->hi[p] = hi > span->hi[p] ? hi : span->hi[p];
}

/* ------------------------------------------------------------------------------------------------ with a look at each element */

/* What is finite among the first `lanes` of x, which are counted. */
INLINE struct extremes add_careful(struct extremes e, vfloat x, int64_t lanes, int64_t *counts)
{
    const vmask valid = first_lanes(lanes), finite = both(is_finite_lane(x), valid);
    const int nans = count_lanes(both(is_nan_lane(x), valid));
    const struct extremes all = add_vector(e, x);
    counts[0] += nans;
    counts[1] += lanes - count_lanes(finite) - nans;
    return (struct extremes){select_f32(finite, all.lo, e.lo), select_f32(finite, all.hi, e.hi)};
}

INLINE vfloat load_any(int from, const char *p, int64_t lanes)
{
    switch (from) {
    case CLQ_FLOAT_F32: return load_float_part(CLQ_FLOAT_F32, p, lanes);
    case CLQ_FLOAT_F16: return load_float_part(CLQ_FLOAT_F16, p, lanes);
    default: return load_float_part(CLQ_FLOAT_BF16, p, lanes);
    }
}

/* A run. */
static __attribute__((noinline)) void find_careful(int from, const char *src, int64_t n, int64_t *counts, struct extremes *e)
{
    *e = no_extremes();
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t lanes = clq_min_i64(WIDTH, n - i);
        *e = add_careful(*e, load_any(from, src + i * float_bytes(from), lanes), lanes, counts);
    }
}

/* Up to WIDTH columns. */
static __attribute__((noinline)) void find_columns_careful(int from, const char *src, int64_t pitch_bytes, int64_t rows, int64_t lanes,
                                                           float *lo, float *hi, int64_t *counts)
{
    struct extremes e = {as_f32(load32_part(lo, lanes)), as_f32(load32_part(hi, lanes))};
    for (int64_t row = 0; row < rows; ++row)
        e = add_careful(e, load_any(from, src + row * pitch_bytes, lanes), lanes, counts);
    store32_part(lo, as_s32(e.lo), lanes);
    store32_part(hi, as_s32(e.hi), lanes);
}

/* ------------------------------------------------------------------------------------------------ runs */

/* Of at least WIDTH elements. The last vector may overlap the one before it. */
INLINE struct extremes find_block(int from, bool streams, const char *src, int64_t n, int64_t *counts)
{
    const int64_t bytes = float_bytes(from);
    struct extremes e[4];
    vfloat seen[4], x;
    int64_t i = 0;
    EACH(v, 4) {
        e[v] = no_extremes();
        seen[v] = splat_f32(0.0f);
    }
    for (; i + QUAD <= n; i += QUAD) {
        if (streams) ask_for(src + AHEAD_BYTES + i * bytes, QUAD * bytes);
        EACH(v, 4) {
            x = load_float(from, src + (i + v * WIDTH) * bytes);
            seen[v] = note_nonfinite(x, seen[v]);
            e[v] = add_vector(e[v], x);
        }
    }
    for (; i < n; i += WIDTH) {
        x = load_float(from, src + clq_min_i64(i, n - WIDTH) * bytes);
        seen[0] = note_nonfinite(x, seen[0]);
        e[0] = add_vector(e[0], x);
    }
    e[0] = join_extremes(join_extremes(e[0], e[1]), join_extremes(e[2], e[3]));
    if (any_nan(add_f32(add_f32(seen[0], seen[1]), add_f32(seen[2], seen[3])))) find_careful(from, src, n, counts, &e[0]);
    return e[0];
}

/* Of any length. */
INLINE void find_blocks(int from, bool streams, const char *src, int64_t n, int64_t *counts, struct extremes *e)
{
    if (n < WIDTH) {
        find_careful(from, src, n, counts, e);
        return;
    }
    *e = no_extremes();
    for (int64_t i = 0, length; i < n; i += length) {
        /* What is left behind a block is not less than a vector. */
        length = n - i < MINMAX_BLOCK + WIDTH ? n - i : MINMAX_BLOCK;
        if (streams)
            *e = join_extremes(*e, find_block(from, true, src + i * float_bytes(from), length, counts));
        else
            *e = join_extremes(*e, find_block(from, false, src + i * float_bytes(from), length, counts));
    }
}

#define FIND_RUN(from) \
    static __attribute__((noinline)) void find_run_##from(bool streams, const char *src, int64_t n, int64_t *counts, struct extremes *e) { find_blocks(CLQ_FLOAT_##from, streams, src, n, counts, e); }

FIND_RUN(F32)
FIND_RUN(F16)
FIND_RUN(BF16)

INLINE struct extremes find_run(int from, const struct clq_span *span, const char *src, int64_t n)
{
    struct extremes e;
    switch (from) {
    case CLQ_FLOAT_F32: find_run_F32(span->streams, src, n, span->counts, &e); break;
    case CLQ_FLOAT_F16: find_run_F16(span->streams, src, n, span->counts, &e); break;
    default: find_run_BF16(span->streams, src, n, span->counts, &e);
    }
    return e;
}

/* Of a run of `vectors` vectors, the last of which may overlap the one before it or, if it is the only one, not be full. */
INLINE struct extremes find_short(int from, const char *src, int64_t n, int vectors, vfloat *seen)
{
    struct extremes e;
    vfloat x;
    if (vectors == 0) {
        const vmask valid = first_lanes(n);
        x = load_float_part(from, src, n);
        *seen = note_nonfinite(x, *seen);
        return (struct extremes){select_f32(valid, x, splat_f32(INFINITY)), select_f32(valid, x, splat_f32(-INFINITY))};
    }
    x = load_float(from, src + (n - WIDTH) * float_bytes(from));
    *seen = note_nonfinite(x, *seen);
    e = (struct extremes){x, x};
    EACH(v, vectors - 1) {
        x = load_float(from, src + v * WIDTH * float_bytes(from));
        *seen = note_nonfinite(x, *seen);
        e = add_vector(e, x);
    }
    return e;
}

/* Two vectors as one, halves of which belong to either. */
INLINE struct extremes fold(int step, struct extremes a, struct extremes b)
{
    return (struct extremes){min_f32(fold_low(step, a.lo, b.lo), fold_high(step, a.lo, b.lo)),
                             max_f32(fold_low(step, a.hi, b.hi), fold_high(step, a.hi, b.hi))};
}

/* WIDTH runs of the same length, `pitch_bytes` from one to the next, reduced all at once: lane i gets run i. */
INLINE struct extremes find_short_runs(int from, const char *src, int64_t pitch_bytes, int64_t n, int vectors, vfloat *seen)
{
    struct extremes e[4], fours[4];
#pragma GCC unroll 1
    for (int i = 0; i < WIDTH / 4; ++i) {
        for (int j = 0; j < 4; ++j)
            e[j] = find_short(from, src + (4 * i + j) * pitch_bytes, n, vectors, seen);
        fours[i] = fold(2, fold(1, e[0], e[1]), fold(1, e[2], e[3]));
    }
    if (WIDTH == 4) return fours[0];
    if (WIDTH == 8) return fold(4, fours[0], fours[1]);
    return fold(8, fold(4, fours[0], fours[1]), fold(4, fours[2], fours[3]));
}

/* Runs of n elements for the parameters p, p + 1 and so on; returns how many it did. `vectors` is 0 for n < WIDTH. */
INLINE int64_t find_short_groups(int from, const struct clq_span *span, const char *src, int64_t runs, int64_t pitch_bytes, int64_t n, int64_t p,
                                 int vectors)
{
    int64_t run = 0;
    for (; run + WIDTH <= runs; run += WIDTH) {
        const char *first = src + run * pitch_bytes;
        float *lo = span->lo + p + run, *hi = span->hi + p + run;
        vfloat seen = splat_f32(0.0f);
        struct extremes e;
        if (span->streams) ask_for(first + AHEAD_BYTES, WIDTH * n * float_bytes(from));
        e = find_short_runs(from, first, pitch_bytes, n, vectors, &seen);
        if (any_nan(seen)) {
            for (int i = 0; i < WIDTH; ++i) {
                find_careful(from, first + i * pitch_bytes, n, span->counts, &e);
                put_extremes(span, p + run + i, e);
            }
            continue;
        }
        e = join_extremes(e, (struct extremes){as_f32(load32(lo)), as_f32(load32(hi))});
        store32(lo, as_s32(e.lo));
        store32(hi, as_s32(e.hi));
    }
    return run;
}

/* `runs` of n elements each, `pitch` elements from one to the next, for the parameters p, p + step and so on. */
INLINE void find_runs(int from, const struct clq_span *span, const char *src, int64_t runs, int64_t pitch, int64_t n, int64_t p, int64_t step)
{
    const int64_t pitch_bytes = pitch * float_bytes(from);
    int64_t run = 0;
    if (step == 1 && n <= QUAD) {
        switch (n < WIDTH ? 0 : (n + WIDTH - 1) / WIDTH) {
        case 0: run = find_short_groups(from, span, src, runs, pitch_bytes, n, p, 0); break;
        case 1: run = find_short_groups(from, span, src, runs, pitch_bytes, n, p, 1); break;
        case 2: run = find_short_groups(from, span, src, runs, pitch_bytes, n, p, 2); break;
        case 3: run = find_short_groups(from, span, src, runs, pitch_bytes, n, p, 3); break;
        default: run = find_short_groups(from, span, src, runs, pitch_bytes, n, p, 4);
        }
    }
    for (; run < runs; ++run)
        put_extremes(span, p + run * step, find_run(from, span, src + run * pitch_bytes, n));
}

/* ------------------------------------------------------------------------------------------------ columns */

/* Parameters of their own for each column: several rows at once, so that lo and hi are loaded and stored less often. */
#define TILE_ROWS 8

INLINE void find_tile(int from, const char *src, int64_t pitch_bytes, int rows, float *lo, float *hi, int64_t *counts)
{
    const struct extremes old = {as_f32(load32(lo)), as_f32(load32(hi))};
    struct extremes e = old;
    vfloat seen = splat_f32(0.0f);
    for (int row = 0; row < rows; ++row) {
        const vfloat x = load_float(from, src + row * pitch_bytes);
        seen = note_nonfinite(x, seen);
        e = add_vector(e, x);
    }
    if (any_nan(seen)) {
        find_columns_careful(from, src, pitch_bytes, rows, WIDTH, lo, hi, counts);
    } else {
        store32(lo, as_s32(e.lo));
        store32(hi, as_s32(e.hi));
    }
}

INLINE void find_columns(int from, const struct clq_span *span, const char *src, int64_t rows, int64_t cols, float *lo, float *hi)
{
    const int64_t bytes = float_bytes(from), pitch_bytes = span->src_pitch * bytes;
    for (int64_t begin = 0; begin < cols; begin += TABLE) {
        const int64_t end = clq_min_i64(cols, begin + TABLE);
        int64_t row = 0, i;
        for (; row + TILE_ROWS <= rows; row += TILE_ROWS)
            for (i = begin; i + WIDTH <= end; i += WIDTH)
                find_tile(from, src + row * pitch_bytes + i * bytes, pitch_bytes, TILE_ROWS, lo + i, hi + i, span->counts);
        for (; row < rows; ++row)
            for (i = begin; i + WIDTH <= end; i += WIDTH)
                find_tile(from, src + row * pitch_bytes + i * bytes, pitch_bytes, 1, lo + i, hi + i, span->counts);
        i = end - (end - begin) % WIDTH;
        if (i < end) find_columns_careful(from, src + i * bytes, pitch_bytes, rows, end - i, lo + i, hi + i, span->counts);
    }
}

/* Short rows one behind the other: several make a long one with parameters of its own, see run_short_rows(). */
INLINE void find_short_rows(int from, const struct clq_span *span)
{
    const int64_t copies = clq_max_i64(1, clq_min_i64(span->rows / TILE_ROWS, TABLE / span->cols));
    const int64_t rows = span->rows / copies, rest = span->rows % copies;
    struct clq_span wide = *span;
    float lo[TABLE], hi[TABLE];
    wide.src_pitch = copies * span->cols;
    for (int64_t i = 0; i < wide.src_pitch; ++i) {
        lo[i] = INFINITY;
        hi[i] = -INFINITY;
    }
    find_columns(from, &wide, span->src, rows, wide.src_pitch, lo, hi);
    if (rest) find_columns(from, &wide, move(span->src, rows * wide.src_pitch, float_bytes(from)), 1, rest * span->cols, lo, hi);
    for (int64_t copy = 0; copy < copies; ++copy)
        for (int64_t p = 0; p < span->cols; ++p) {
            span->lo[p] = lo[copy * span->cols + p] < span->lo[p] ? lo[copy * span->cols + p] : span->lo[p];
            span->hi[p] = hi[copy * span->cols + p] > span->hi[p] ? hi[copy * span->cols + p] : span->hi[p];
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

/* ------------------------------------------------------------------------------------------------ spans */

/* The groups of each row; if that is one, all rows at once. */
INLINE void find_groups(int from, const struct clq_span *span)
{
    const bool single = span->group == span->cols;
    const int64_t groups = single ? span->rows : span->cols / span->group, rest = span->cols % span->group;
    for (int64_t row = 0; row < (single ? 1 : span->rows); ++row) {
        const char *src = move(span->src, row * span->src_pitch, float_bytes(from));
        const int64_t p = row * span->param_pitch;
        find_runs(from, span, src, groups, single ? span->src_pitch : span->group, span->group, p, single ? span->param_pitch : 1);
        if (rest)
            put_extremes(span, p + groups, find_run(from, span, move(src, groups * span->group, float_bytes(from)), rest));
    }
}

INLINE void minmax(int from, const struct clq_span *whole)
{
    struct clq_span span = *whole;
    if (span.rows <= 0 || span.cols <= 0) return;
    span.dst_pitch = span.src_pitch;
    join_rows(&span);
    if (span.group == span.cols && span.param_pitch == 0) {
        struct extremes e = no_extremes();
        for (int64_t row = 0; row < span.rows; ++row)
            e = join_extremes(e, find_run(from, &span, move(span.src, row * span.src_pitch, float_bytes(from)), span.cols));
        put_extremes(&span, 0, e);
    } else if (span.group == 1) {
        find_own_columns(from, &span);
    } else {
        find_groups(from, &span);
    }
}

#define MINMAX(from) \
    static void minmax_##from(const struct clq_span *span) { minmax(CLQ_FLOAT_##from, span); }

/* clang-format off */
MINMAX(F32) MINMAX(F16) MINMAX(BF16)

#define MINMAX_SLOTS {minmax_F32, minmax_F16, minmax_BF16}
/* clang-format on */
