/* SPDX-License-Identifier: MIT */
/* Part of vector_kernels.h: y = fl(float(q - z) * s), narrowed to the float type. q - z fits in s32 for every type: s32 has z = 0. */
/* Known when compiling. */
struct dequantization {
    int from, to;
};

struct dequantizer {
    vfloat s;
    vint z;
};

/* The dequantizer of vector `v` of a quad, from column `col` on. */
INLINE struct dequantizer get_dequantizer(int way, const struct table *table, const struct position *at, int v, int64_t col)
{
    if (way == SPLATS) {
        const int64_t p = at->group + (col / WIDTH - v) / 2 + v / 2;
        return (struct dequantizer){splat_f32(table->s[p]), splat_s32(table->z[p])};
    }
    if (way == PERMUTED) {
        const vint pattern = load32(table->patterns[at->vector + v]);
        const int64_t group = at->group + table->first_groups[at->vector + v];
        const struct dequantizer p = {as_f32(permute4(table->s + group, pattern)), permute4(table->z + group, pattern)};
        return p;
    }
    col += at->group;
    return (struct dequantizer){as_f32(load32(table->s + col)), load32(table->z + col)};
}

/* Four vectors; `n` of their elements are there, QUAD if that is known when compiling: a quad that is streamed is whole. */
INLINE void dequantize_quad(struct dequantization k, const char *src, bool streams, char *dst, int64_t n, const struct dequantizer *p, int step)
{
    vfloat y[4];
    EACH(v, 4) {
        const char *at = src + v * WIDTH * int_bytes(k.from);
        const vint q = n == QUAD ? load_int(k.from, at) : load_int_part(k.from, at, part_of_quad(n, v));
        y[v] = mul_f32(to_f32(k.from == CLQ_INT_S32 ? q : sub_s32(q, p[v * step].z)), p[v * step].s);
    }
    if (n == QUAD)
        put_quad(k.to, streams, dst, y);
    else
        store_quad_part(k.to, dst, y, n);
}

/* The quad from column i on, in the first rows of a strip; `n` of its columns are there. Vector v has the dequantizer p[v * step]. */
INLINE void dequantize_column_quad(struct dequantization k, bool streams, const struct strip *strip, int64_t rows, int64_t i, int64_t n,
                                   const struct dequantizer *p, int step)
{
    const char *src = strip->src + i * int_bytes(k.from);
    char *dst = strip->dst + i * float_bytes(k.to);
#pragma GCC unroll 1
    for (; rows > 0; --rows) {
        if (streams) ask_for(src + strip->ahead, QUAD * int_bytes(k.from));
        dequantize_quad(k, src, streams, dst, n, p, step);
        src += strip->src_pitch;
        dst += strip->dst_pitch;
    }
}

INLINE void get_dequantizers(struct dequantizer p[4], int way, const struct table *table, struct position *at, int64_t col)
{
    if (way == COLUMNS) wrap_columns(table, at, col);
    EACH(v, 4)
        p[v] = get_dequantizer(way, table, at, v, col + v * WIDTH);
    if (way == PERMUTED) move_to_next_quad(table, at);
}

/* The quads of columns [i, end); returns where they end. `shared` is that of a run. */
INLINE int64_t dequantize_quads(struct dequantization k, int way, bool streams, const struct strip *strip, int64_t i, int64_t end,
                                const struct dequantizer *shared, const struct table *table, struct position *at)
{
    struct dequantizer p[4];
    for (; i + QUAD <= end; i += QUAD) {
        if (way != RUNS) get_dequantizers(p, way, table, at, i);
        dequantize_column_quad(k, streams, strip, way == RUNS ? 1 : strip->rows, i, QUAD, way == RUNS ? shared : p, way != RUNS);
    }
    return i;
}

/* The columns that do not fill a quad; see vector_quantize.h. */
typedef void (*dequantize_end)(const struct strip *strip, int64_t i, int64_t n, const struct dequantizer *p);

/* `first_param` is where the row's parameters begin in the table. */
INLINE void dequantize_strip(struct dequantization k, int way, const struct strip *strip, const struct table *table, int64_t first_param,
                             dequantize_end end)
{
    const bool overlap = way == COLUMNS && strip->cols >= QUAD;
    struct position at = {0, first_param};
    struct dequantizer p[4];
    int64_t i = 0;
    if (strip->streams) i = find_head(strip->dst, float_bytes(k.to), strip->cols, way == COLUMNS ? 1 : QUAD);
    if (strip->streams && i > 0) dequantize_quads(k, way, false, strip, 0, QUAD, NULL, table, &at); /* the head, and some of what follows */
    if (strip->streams && i >= 0)
        i = dequantize_quads(k, way, true, strip, i, strip->cols, NULL, table, &at);
    else
        i = dequantize_quads(k, way, false, strip, 0, strip->cols, NULL, table, &at);
    if (overlap && i < strip->cols) i = dequantize_quads(k, way, false, strip, strip->cols - QUAD, strip->cols, NULL, table, &at);
    if (i == strip->cols) return;
    get_dequantizers(p, way, table, &at, i);
    end(strip, i, strip->cols - i, p);
}

INLINE struct dequantizer share_dequantizer(const struct task *task, const struct run *run)
{
    return (struct dequantizer){splat_f32(task->span.scale[run->param]), splat_s32(zero_point_at(task, run->param))};
}

/* The dequantizers of n columns from column i on, in which runs end: `shared` is that of the first run before, that of the last one after. */
INLINE void cross_dequantizers(struct dequantizer p[4], const struct task *task, int64_t i, int64_t n, struct run *run, struct dequantizer *shared)
{
    EACH(v, 4)
        p[v] = *shared;
    do {
        const int64_t border = run->end - i;
        move_to_next_run(task, run);
        *shared = share_dequantizer(task, run);
        EACH(v, 4) {
            const vmask before = lanes_below(border - v * WIDTH);
            p[v] = (struct dequantizer){select_f32(before, p[v].s, shared->s), select_s32(before, p[v].z, shared->z)};
        }
    } while (run->end < i + n);
}

/* Columns [begin, end) of a row; the run in which they begin becomes that in which they end. */
INLINE void dequantize_run_block(struct dequantization k, bool streams, const struct strip *strip, int64_t begin, int64_t end,
                                 const struct task *task, struct run *run, dequantize_end dequantize_rest)
{
    struct dequantizer shared = share_dequantizer(task, run), p[4];
    int64_t i = begin, run_begin = begin;
    while (true) {
        i = dequantize_quads(k, RUNS, streams, strip, i, clq_min_i64(end, run->end), &shared, NULL, NULL);
        if (i == end) return;
        if (i == run->end) {
            run_begin = i;
            move_to_next_run(task, run);
            shared = share_dequantizer(task, run);
        } else if (i + QUAD <= end) {
            cross_dequantizers(p, task, i, QUAD, run, &shared);
            dequantize_column_quad(k, streams, strip, 1, i, QUAD, p, 1);
            i += QUAD;
            run_begin = i;
        } else if (run->end >= end && MASKED_ENDS) {
            dequantize_column_quad(k, false, strip, 1, i, end - i, &shared, 0);
            return;
        } else if (run->end >= end && end - run_begin >= QUAD) {
            dequantize_column_quad(k, false, strip, 1, end - QUAD, QUAD, &shared, 0);
            return;
        } else {
            EACH(v, 4)
                p[v] = shared;
            if (run->end < end) cross_dequantizers(p, task, i, end - i, run, &shared);
            dequantize_rest(strip, i, end - i, p);
            return;
        }
    }
}

INLINE void dequantize_runs(struct dequantization k, const struct task *task, dequantize_end end)
{
    for (int64_t row = 0; row < task->span.rows; ++row) {
        struct strip strip = get_strip(task, NULL, row, int_bytes(k.from), float_bytes(k.to));
        const int64_t head = strip.streams ? find_head(strip.dst, float_bytes(k.to), strip.cols, 1) : -1;
        struct run run = first_run(task, row);
        strip.rows = 1;
        if (head > 0) dequantize_run_block(k, false, &strip, 0, head, task, &run, end);
        if (head >= 0)
            dequantize_run_block(k, true, &strip, head, strip.cols, task, &run, end);
        else
            dequantize_run_block(k, false, &strip, 0, strip.cols, task, &run, end);
    }
}

INLINE void dequantize_rows(struct dequantization k, int way, const struct task *task, const struct table *table, dequantize_end end)
{
    struct strip strip;
    for (int64_t row = 0; row < task->span.rows; row += strip.rows) {
        strip = get_strip(task, table, row, int_bytes(k.from), float_bytes(k.to));
        dequantize_strip(k, way, &strip, table, row * table->row_params, end);
    }
}

INLINE void dequantize_part(int from, int to, const struct task *task, const struct table *table, dequantize_end end)
{
    const struct dequantization k = {from, to};
    if (!table)
        dequantize_runs(k, task, end);
    else if (table->way == COLUMNS)
        dequantize_rows(k, COLUMNS, task, table, end);
    else if (table->way == SPLATS)
        dequantize_rows(k, SPLATS, task, table, end);
    else
        dequantize_rows(k, PERMUTED, task, table, end);
}

#define DEQUANTIZE_END(from, to) \
    static __attribute__((noinline)) void dequantize_end_##from##_##to(const struct strip *strip, int64_t i, int64_t n, const struct dequantizer *p) { dequantize_column_quad((struct dequantization){CLQ_INT_##from, CLQ_FLOAT_##to}, false, strip, strip->rows, i, n, p, 1); }
#define DEQUANTIZE_PART(from, to) \
    static void dequantize_part_##from##_##to(const struct task *task, const struct table *table) { dequantize_part(CLQ_INT_##from, CLQ_FLOAT_##to, task, table, dequantize_end_##from##_##to); }
#define DEQUANTIZE(from, to) \
    static void dequantize_##from##_##to(const struct clq_span *span) { run_span(span, 0, dequantize_part_##from##_##to, int_bytes(CLQ_INT_##from), float_bytes(CLQ_FLOAT_##to)); }
#define DEQUANTIZE_BOTH(from, to) DEQUANTIZE_END(from, to) DEQUANTIZE_PART(from, to) DEQUANTIZE(from, to)
#define DEQUANTIZE_ALL(from) DEQUANTIZE_BOTH(from, F32) DEQUANTIZE_BOTH(from, F16) DEQUANTIZE_BOTH(from, BF16)

/* clang-format off */
DEQUANTIZE_ALL(S8) DEQUANTIZE_ALL(U8) DEQUANTIZE_ALL(S16) DEQUANTIZE_ALL(U16) DEQUANTIZE_ALL(S32)

#define DEQUANTIZE_ROW(from) {dequantize_##from##_F32, dequantize_##from##_F16, dequantize_##from##_BF16}
#define DEQUANTIZE_SLOTS     {DEQUANTIZE_ROW(S8), DEQUANTIZE_ROW(U8), DEQUANTIZE_ROW(S16), DEQUANTIZE_ROW(U16), DEQUANTIZE_ROW(S32)}
/* clang-format on */
