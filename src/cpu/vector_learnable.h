/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: the gradient by x of a fake-quantized tensor, and the sums of the gradients of its parameters.
 *
 * With d and c as in vector_fake_quantize.h the slope is c - d inside and c outside, where c is the bound. Products and sums are f64, each lane its own
 * sum, the lanes added at the end of a run; where each column has its own parameter, in the order of the rows. Rows are never joined: what is added in
 * which order depends on the extents and on the group alone.
 */

struct slope_sums {
    vdouble slopes[2], outside[2]; /* of the lower and the upper half of the lanes */
};

INLINE struct slope_sums no_slopes(void)
{
    return (struct slope_sums){{zero_f64(), zero_f64()}, {zero_f64(), zero_f64()}};
}

/* Up to four vectors, and how many bytes one is from the next. */
struct vectors {
    const char *src, *x;
    char *dst;
    int64_t src_step, x_step, dst_step;
};

/* `count` vectors with the same parameters, known when compiling, step by step side by side, as the steps take long. The first `lanes` of each;
   `whole`: that is WIDTH, known when compiling, and `streams` too. A NaN x adds nothing. */
INLINE void learn_vectors(int type, int count, bool streams, const struct vectors *at, int64_t lanes, bool whole, const struct faker *p,
                          bool with_outside, struct slope_sums *sums)
{
    const struct fake k = {type, BACKWARD};
    const vfloat zero = splat_f32(0.0f);
    vfloat dy[4], d[4], slope[4];
    vint q[4], clamped[4];
    vmask inside[4], nan[4];
    for (int v = 0; streams && v < count; ++v) {
        ask_for(at->src + AHEAD_BYTES + v * at->src_step, WIDTH * float_bytes(type));
        ask_for(at->x + AHEAD_BYTES + v * at->x_step, WIDTH * float_bytes(type));
    }
    EACH(v, count) {
        const char *src = at->src + v * at->src_step, *values = at->x + v * at->x_step;
        const vfloat x = whole ? load_float(type, values) : load_float_part(type, values, lanes);
        dy[v] = whole ? load_float(type, src) : load_float_part(type, src, lanes);
        d[v] = get_quotient(quotient_of(k), x, &p->quantizer);
        nan[v] = is_nan_lane(x);
    }
    EACH(v, count)
        q[v] = round_s32(d[v]);
    EACH(v, count) {
        clamped[v] = min_s32(max_s32(q[v], p->lo), p->hi);
        inside[v] = equal_s32(q[v], clamped[v]);
    }
    EACH(v, count) {
        const vfloat c = to_f32(clamped[v]);
        slope[v] = select_f32(inside[v], sub_f32(c, d[v]), c);
    }
    EACH(v, count) {
        const char *src = at->src + v * at->src_step;
        char *dst = at->dst + v * at->dst_step;
        const vint zeros = splat_s32(0);
        const vint kept = select_s32(inside[v], type == CLQ_FLOAT_F32 ? as_s32(dy[v]) : widen_u16(whole ? load16(src) : load16_part(src, lanes)), zeros);
        if (type == CLQ_FLOAT_F32 && whole)
            put32(streams, dst, kept);
        else if (type == CLQ_FLOAT_F32)
            store32_part(dst, kept, lanes);
        else if (whole)
            put16(streams, dst, narrow_u16(kept));
        else
            store16_part(dst, narrow_u16(kept), lanes);
    }
    EACH(v, count) {
        const vfloat known = select_f32(nan[v], zero, dy[v]);
        const vdouble low = low_f64(known), high = high_f64(known);
        sums->slopes[0] = fma_f64(low, low_f64(slope[v]), sums->slopes[0]);
        sums->slopes[1] = fma_f64(high, high_f64(slope[v]), sums->slopes[1]);
        if (with_outside) {
            sums->outside[0] = add_unless_f64(inside[v], 0, low, sums->outside[0]);
            sums->outside[1] = add_unless_f64(inside[v], 1, high, sums->outside[1]);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ runs */

/* From column `col` on. */
INLINE struct lines get_run(const struct lines *row, int64_t col, int64_t n, int64_t bytes)
{
    struct lines run = *row;
    run.src += col * bytes;
    run.dst += col * bytes;
    if (run.x) run.x += col * bytes;
    if (run.mask) run.mask += col / 8;
    run.rows = 1;
    run.cols = n;
    return run;
}

INLINE void learn_run(int type, const struct lines *run, const struct faker *p, bool with_outside, struct slope_sums *sums)
{
    const int64_t bytes = float_bytes(type), step = WIDTH * bytes;
    const bool streams = run->streams && find_head(run->dst, bytes, run->cols, QUAD) == 0; /* the first sums begin where the run does */
    int64_t i = 0;
    for (; streams && i + QUAD <= run->cols; i += QUAD)
        learn_vectors(type, 4, true, &(struct vectors){run->src + i * bytes, run->x + i * bytes, run->dst + i * bytes, step, step, step}, WIDTH, true,
                      p, with_outside, sums);
    for (; i + QUAD <= run->cols; i += QUAD)
        learn_vectors(type, 4, false, &(struct vectors){run->src + i * bytes, run->x + i * bytes, run->dst + i * bytes, step, step, step}, WIDTH, true,
                      p, with_outside, sums);
    for (; i + WIDTH <= run->cols; i += WIDTH)
        learn_vectors(type, 1, false, &(struct vectors){run->src + i * bytes, run->x + i * bytes, run->dst + i * bytes, 0, 0, 0}, WIDTH, true, p,
                      with_outside, sums);
    if (i < run->cols)
        learn_vectors(type, 1, false, &(struct vectors){run->src + i * bytes, run->x + i * bytes, run->dst + i * bytes, 0, 0, 0}, run->cols - i, false,
                      p, with_outside, sums);
}

INLINE void learn_runs(int type, const struct task *task, const struct target *target, bool with_outside)
{
    const struct clq_span *span = &task->span;
    for (int64_t row = 0; row < span->rows; ++row) {
        const struct lines line = get_lines(span, row, float_bytes(type));
        int64_t p = row * span->param_pitch;
        for (int64_t col = 0; col < span->cols; col += span->group, ++p) {
            const struct lines run = get_run(&line, col, clq_min_i64(span->group, span->cols - col), float_bytes(type));
            const struct quantization k = quotient_of((struct fake){type, BACKWARD});
            const struct faker faker = make_faker(share_quantizer(k, task, p, target), target);
            struct slope_sums sums = no_slopes();
            learn_run(type, &run, &faker, with_outside, &sums);
            span->slopes[p] += sum_f64(add_f64(sums.slopes[0], sums.slopes[1]));
            if (with_outside) span->outside[p] += sum_f64(add_f64(sums.outside[0], sums.outside[1]));
        }
    }
}

/* ------------------------------------------------------------------------------------------------ columns */

/* A vector of columns in all rows of a strip. */
INLINE void learn_column_vector(int type, const struct lines *lines, int64_t i, int64_t lanes, bool whole, const struct faker *p, double *slopes,
                                double *outside, bool with_outside)
{
    const int64_t offset = i * float_bytes(type);
    struct vectors at = {lines->src + offset, lines->x + offset, lines->dst + offset, lines->src_pitch, lines->x_pitch, lines->dst_pitch};
    struct slope_sums sums;
    for (int half = 0; half < 2; ++half) {
        sums.slopes[half] = load_f64(slopes + half * (WIDTH / 2));
        if (with_outside) sums.outside[half] = load_f64(outside + half * (WIDTH / 2));
    }
    if (whole && lines->rows == STRIP_ROWS) {
        learn_vectors(type, STRIP_ROWS, false, &at, WIDTH, true, p, with_outside, &sums);
    } else {
#pragma GCC unroll 1
        for (int64_t row = 0; row < lines->rows; ++row) {
            learn_vectors(type, 1, false, &at, lanes, whole, p, with_outside, &sums);
            at.src += at.src_step;
            at.x += at.x_step;
            at.dst += at.dst_step;
        }
    }
    for (int half = 0; half < 2; ++half) {
        store_f64(slopes + half * (WIDTH / 2), sums.slopes[half]);
        if (with_outside) store_f64(outside + half * (WIDTH / 2), sums.outside[half]);
    }
}

/* What is left of a table's columns. */
INLINE void learn_last_columns(int type, const struct lines *lines, int64_t i, int64_t lanes, const struct faker *p, double *slopes, double *outside,
                               bool with_outside)
{
    double sums[2][WIDTH] = {{0}};
    memcpy(sums[0], slopes, (size_t)lanes * sizeof **sums);
    if (with_outside) memcpy(sums[1], outside, (size_t)lanes * sizeof **sums);
    learn_column_vector(type, lines, i, lanes, false, p, sums[0], sums[1], with_outside);
    memcpy(slopes, sums[0], (size_t)lanes * sizeof **sums);
    if (with_outside) memcpy(outside, sums[1], (size_t)lanes * sizeof **sums);
}

/* Each column of a table has its own parameter, the same in all rows. */
INLINE void learn_table(int type, const struct clq_span *span, const struct table *table, const struct target *target, bool with_outside)
{
    const struct quantization k = quotient_of((struct fake){type, BACKWARD});
    const struct position start = {0};
    for (int64_t row = 0; row < span->rows; row += STRIP_ROWS) {
        struct lines lines = get_lines(span, row, float_bytes(type));
        lines.rows = clq_min_i64(STRIP_ROWS, span->rows - row);
        for (int64_t i = 0; i < span->cols; i += WIDTH) {
            const struct faker p = make_faker(get_quantizer(k, COLUMNS, table, &start, 0, i, target), target);
            double *slopes = span->slopes + i, *outside = with_outside ? span->outside + i : NULL;
            if (i + WIDTH <= span->cols)
                learn_column_vector(type, &lines, i, WIDTH, true, &p, slopes, outside, with_outside);
            else
                learn_last_columns(type, &lines, i, span->cols - i, &p, slopes, outside, with_outside);
        }
    }
}

INLINE void learn_columns(int type, const struct task *task, const struct target *target, bool with_outside)
{
    const struct clq_span *span = &task->span;
    struct clq_span part = *span;
    struct table table;
    if (span->param_pitch != 0) part.rows = 1;
    for (int64_t row = 0; row < span->rows; row += part.rows)
        for (int64_t col = 0; col < span->cols; col += TABLE) {
            const int64_t first = row * span->param_pitch + col;
            part.cols = clq_min_i64(TABLE, span->cols - col);
            fill_table(&table, task, first, part.cols);
            move_span(&part, span, row, col, float_bytes(type), float_bytes(type));
            part.slopes = span->slopes + first;
            part.outside = with_outside ? span->outside + first : NULL;
            learn_table(type, &part, &table, target, with_outside);
        }
}

/* ------------------------------------------------------------------------------------------------ spans */

INLINE void learnable_backward(int type, const struct clq_span *span)
{
    const struct task task = {.span = *span};
    const struct target target = make_target(&task);
    if (span->rows <= 0 || span->cols <= 0) return;
    if (span->group > 1 && span->group < clq_min_i64(WIDTH, span->cols))
        clq_cpu_scalar.learnable_backward[type](span); /* groups that do not fill a vector */
    else if (span->group == 1 && span->cols > 1 && span->outside)
        learn_columns(type, &task, &target, true);
    else if (span->group == 1 && span->cols > 1)
        learn_columns(type, &task, &target, false);
    else if (span->outside)
        learn_runs(type, &task, &target, true);
    else
        learn_runs(type, &task, &target, false);
    if (span->streams) end_streams();
}

#define LEARNABLE_BACKWARD(type) \
    static void learnable_backward_##type(const struct clq_span *span) { learnable_backward(CLQ_FLOAT_##type, span); }

/* clang-format off */
LEARNABLE_BACKWARD(F32) LEARNABLE_BACKWARD(F16) LEARNABLE_BACKWARD(BF16)

#define LEARNABLE_BACKWARD_SLOTS {learnable_backward_F32, learnable_backward_F16, learnable_backward_BF16}
/* clang-format on */
