/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: fake-quantize, and its gradient by x or by the mask.
 *
 * With the quotient d of vector_quantize.h, c = clamp(rne(d), qmin - z, qmax - z) in s32: y = fl(float(c) * s), and x is inside where the clamp has
 * changed nothing; NaN comes below all. The zero point itself is never added. No element is done twice, as all of this may be in place.
 */

/* What is done: forward, forward with the mask or with counts, or the gradient by x. */
enum { FORWARD, FORWARD_BITS, BACKWARD };

/* Known when compiling. */
struct fake {
    int type;
    int work;
};

struct faker {
    struct quantizer quantizer;
    vint lo, hi; /* qmin - z, qmax - z */
};

/* What a kernel works on at a time: a run, or up to STRIP_ROWS rows that share a table. */
struct lines {
    const char *src, *x;
    char *dst;
    uint8_t *mask; /* or NULL */
    int64_t src_pitch, x_pitch, dst_pitch, mask_pitch; /* bytes */
    int64_t rows, cols;
    bool streams; /* one row, as a strip */
    int64_t src_ahead, x_ahead; /* bytes, for that */
};

INLINE struct lines get_lines(const struct clq_span *span, int64_t row, int64_t bytes)
{
    const int64_t rows = span->streams ? 1 : STRIP_ROWS;
    return (struct lines){move(span->src, row * span->src_pitch, bytes),
                          span->x ? move(span->x, row * span->x_pitch, bytes) : NULL,
                          (char *)move(span->dst, row * span->dst_pitch, bytes),
                          span->mask ? span->mask + row * span->mask_pitch : NULL,
                          span->src_pitch * bytes,
                          span->x_pitch * bytes,
                          span->dst_pitch * bytes,
                          span->mask_pitch,
                          clq_min_i64(rows, span->rows - row),
                          span->cols,
                          span->streams,
                          find_ahead(span, span->src_pitch, bytes),
                          find_ahead(span, span->x_pitch, bytes)};
}

INLINE struct quantization quotient_of(struct fake k)
{
    return (struct quantization){k.type, 1, false};
}

INLINE struct faker make_faker(struct quantizer quantizer, const struct target *target)
{
    return (struct faker){quantizer, sub_s32(target->lo32, quantizer.z), sub_s32(target->hi32, quantizer.z)};
}

/* The first n of four vectors, with the bits of src where they are inside, else 0. */
INLINE void keep_quad(int type, const char *src, bool streams, char *dst, int64_t n, const vmask *inside)
{
    const vint zero = splat_s32(0);
    if (n == QUAD && type != CLQ_FLOAT_F32) {
        const vhalf low = keep_halves(inside[0], inside[1], load_halves(src));
        const vhalf high = keep_halves(inside[2], inside[3], load_halves(src + 4 * WIDTH));
        put_halves(streams, dst, low);
        put_halves(streams, dst + 4 * WIDTH, high);
        return;
    }
    EACH(v, 4) {
        const int64_t lanes = n == QUAD ? WIDTH : part_of_quad(n, v), at = v * WIDTH * float_bytes(type);
        if (n == QUAD)
            put32(streams, dst + at, select_s32(inside[v], load32(src + at), zero));
        else if (type == CLQ_FLOAT_F32)
            store32_part(dst + at, select_s32(inside[v], load32_part(src + at, lanes), zero), lanes);
        else
            store16_part(dst + at, narrow_u16(select_s32(inside[v], widen_u16(load16_part(src + at, lanes)), zero)), lanes);
    }
}

static __attribute__((noinline)) void count_nonfinite_quad(const vfloat *x, int64_t *counts)
{
    EACH(v, 4) {
        const int nan = count_lanes(is_nan_lane(x[v])), inf = WIDTH - count_lanes(is_finite_lane(x[v])) - nan;
        counts[0] += nan;
        counts[1] += inf;
        counts[2] -= nan + inf;
    }
}

/* The mask of n elements, the rest of its last byte 0, and the counts; lanes that are not there have x = 0. */
INLINE void put_bits(const vmask *inside, const vfloat *x, uint8_t *mask, int64_t n, int64_t *counts)
{
    uint64_t bits = quad_bits(inside);
    if (n < QUAD) bits &= ((uint64_t)1 << n) - 1;
    if (mask) {
        for (int i = 0; n < QUAD && i < (n + 7) / 8; ++i)
            mask[i] = (uint8_t)(bits >> 8 * i);
        if (n == QUAD) memcpy(mask, &bits, QUAD / 8);
    }
    if (counts) {
        vfloat seen = splat_f32(0.0f);
        counts[2] += n - __builtin_popcountll(bits);
        EACH(v, 4)
            seen = note_nonfinite(x[v], seen);
        if (__builtin_expect(any_nan(seen), 0)) {
            const vfloat copy[4] = {x[0], x[1], x[2], x[3]};
            count_nonfinite_quad(copy, counts);
        }
    }
}

/* That of vector v of a quad; see quantizer_of(). */
INLINE struct faker faker_of(struct fake k, const struct faker *p, int step, int64_t border, int v, const struct target *target)
{
    if (step != MIXED) return p[v * step];
    return make_faker(mix_quantizers(quotient_of(k), lanes_below(border - v * WIDTH), &p[0].quantizer, &p[1].quantizer, target), target);
}

/* Four vectors; `n` of their elements are there, QUAD if that is known when compiling: a quad that is streamed is whole. */
INLINE void fake_quad(struct fake k, const char *src, const char *values, bool streams, char *dst, uint8_t *mask, int64_t n,
                      const struct faker *p, int step, int64_t border, const struct target *target, int64_t *counts)
{
    vmask inside[4];
    vfloat x[4], y[4];
    EACH(v, 4) {
        const struct faker faker = faker_of(k, p, step, border, v, target);
        const char *at = (k.work == BACKWARD ? values : src) + v * WIDTH * float_bytes(k.type);
        vint q, clamped;
        x[v] = n == QUAD ? load_float(k.type, at) : load_float_part(k.type, at, part_of_quad(n, v));
        q = round_s32(get_quotient(quotient_of(k), x[v], &faker.quantizer));
        clamped = min_s32(max_s32(q, faker.lo), faker.hi);
        inside[v] = equal_s32(q, clamped);
        y[v] = mul_f32(to_f32(clamped), faker.quantizer.s);
    }
    if (k.work == BACKWARD)
        keep_quad(k.type, src, streams, dst, n, inside);
    else if (n == QUAD)
        put_quad(k.type, streams, dst, y);
    else
        store_quad_part(k.type, dst, y, n);
    if (k.work == FORWARD_BITS) put_bits(inside, x, mask, n, counts);
}

/* The quad from column i on, a multiple of 8, in the first rows; `n` of its columns are there. */
INLINE void fake_column_quad(struct fake k, bool streams, const struct lines *lines, int64_t rows, int64_t i, int64_t n, const struct faker *p,
                             int step, int64_t border, const struct target *target, int64_t *counts)
{
    const char *src = lines->src + i * float_bytes(k.type), *x = k.work == BACKWARD ? lines->x + i * float_bytes(k.type) : NULL;
    char *dst = lines->dst + i * float_bytes(k.type);
    uint8_t *mask = k.work == FORWARD_BITS && lines->mask ? lines->mask + i / 8 : NULL;
#pragma GCC unroll 1
    for (; rows > 0; --rows) {
        if (streams) ask_for(src + lines->src_ahead, QUAD * float_bytes(k.type));
        if (streams && k.work == BACKWARD) ask_for(x + lines->x_ahead, QUAD * float_bytes(k.type));
        fake_quad(k, src, x, streams, dst, mask, n, p, step, border, target, counts);
        src += lines->src_pitch;
        dst += lines->dst_pitch;
        if (k.work == BACKWARD) x += lines->x_pitch;
        if (k.work == FORWARD_BITS && mask) mask += lines->mask_pitch;
    }
}

/* The columns that do not fill a quad; see vector_quantize.h. */
typedef void (*fake_end)(const struct lines *lines, int64_t i, int64_t n, const struct faker *p, int64_t *counts);

INLINE void get_fakers(struct faker p[4], struct fake k, int way, const struct table *table, struct position *at, int64_t col,
                       const struct target *target)
{
    if (way == COLUMNS) wrap_columns(table, at, col);
    EACH(v, 4)
        p[v] = make_faker(get_quantizer(quotient_of(k), way, table, at, v, col + v * WIDTH, target), target);
    if (way == PERMUTED) move_to_next_quad(table, at);
}

/* The quads of columns [i, end); returns where they end. `shared` is that of a run. */
INLINE int64_t fake_quads(struct fake k, int way, bool streams, const struct lines *lines, int64_t i, int64_t end, const struct faker *shared,
                          const struct table *table, struct position *at, const struct target *target, int64_t *counts)
{
    struct faker p[4];
    for (; i + QUAD <= end; i += QUAD) {
        if (way != RUNS) get_fakers(p, k, way, table, at, i, target);
        fake_column_quad(k, streams, lines, way == RUNS ? 1 : lines->rows, i, QUAD, way == RUNS ? shared : p, way != RUNS, 0, target, counts);
    }
    return i;
}

/* Columns [i, i + n), less than a quad. */
INLINE void fake_part(struct fake k, int way, const struct lines *lines, int64_t i, int64_t n, const struct table *table, struct position *at,
                      const struct target *target, fake_end end, int64_t *counts)
{
    const struct lines copy = *lines;
    struct faker p[4];
    get_fakers(p, k, way, table, at, i, target);
    end(&copy, i, n, p, counts);
}

/* Columns that must be done so that those behind them can be streamed, -1 if they cannot: a mask is cut at whole bytes. */
INLINE int64_t find_lines_head(struct fake k, const struct lines *lines, int64_t unit)
{
    if (!lines->streams) return -1;
    return find_head(lines->dst, float_bytes(k.type), lines->cols, k.work == FORWARD_BITS && lines->mask ? clq_max_i64(unit, 8) : unit);
}

/* `first_param` is where the row's parameters begin in the table. */
INLINE void fake_strip(struct fake k, int way, const struct lines *lines, const struct table *table, int64_t first_param,
                       const struct target *target, fake_end end, int64_t *counts)
{
    int64_t i = find_lines_head(k, lines, way == COLUMNS ? 1 : QUAD);
    struct position at = {0, first_param};
    if (i > 0) fake_part(k, way, lines, 0, i, table, &at, target, end, counts);
    if (i >= 0)
        i = fake_quads(k, way, true, lines, i, lines->cols, NULL, table, &at, target, counts);
    else
        i = fake_quads(k, way, false, lines, 0, lines->cols, NULL, table, &at, target, counts);
    if (i < lines->cols) fake_part(k, way, lines, i, lines->cols - i, table, &at, target, end, counts);
}

INLINE struct faker share_faker(struct fake k, const struct task *task, const struct run *run, const struct target *target)
{
    return make_faker(share_quantizer(quotient_of(k), task, run->param, target), target);
}

/* Less than a quad, or one in which several runs end. */
INLINE void fake_rest_of_runs(const struct lines *lines, int64_t i, int64_t n, const struct task *task, struct run *run,
                              const struct target *target, fake_end end, int64_t *counts)
{
    const struct lines copy = *lines;
    struct run last = *run;
    struct quantizer quantizers[4];
    struct faker p[4];
    get_run_quantizers(quantizers, task, i, n, &last, target);
    EACH(v, 4)
        p[v] = make_faker(quantizers[v], target);
    end(&copy, i, n, p, counts);
    *run = last;
}

/* Columns [begin, end) of a row; the run in which they begin becomes that in which they end. */
INLINE void fake_run_block(struct fake k, bool streams, const struct lines *lines, int64_t begin, int64_t end, const struct task *task,
                           struct run *run, const struct target *target, fake_end rest, int64_t *counts)
{
    struct faker p[2] = {share_faker(k, task, run, target)};
    int64_t i = begin, border;
    while (true) {
        i = fake_quads(k, RUNS, streams, lines, i, clq_min_i64(end, run->end), p, NULL, NULL, target, counts);
        if (i == end) return;
        border = run->end - i;
        if (border == 0) {
            move_to_next_run(task, run);
            p[0] = share_faker(k, task, run, target);
            continue;
        }
        if (border >= end - i && MASKED_ENDS) {
            fake_column_quad(k, false, lines, 1, i, end - i, p, 0, 0, target, counts);
            return;
        }
        if (i + QUAD > end || !is_next_run_long(task, run, i)) {
            fake_rest_of_runs(lines, i, clq_min_i64(QUAD, end - i), task, run, target, rest, counts);
            i = clq_min_i64(end, i + QUAD);
            p[0] = share_faker(k, task, run, target);
            continue;
        }
        move_to_next_run(task, run);
        p[1] = share_faker(k, task, run, target);
        fake_column_quad(k, streams, lines, 1, i, QUAD, p, MIXED, border, target, counts);
        p[0] = p[1];
        i += QUAD;
    }
}

INLINE void fake_runs(struct fake k, const struct task *task, const struct target *target, fake_end end, int64_t *counts)
{
    for (int64_t row = 0; row < task->span.rows; ++row) {
        struct lines line = get_lines(&task->span, row, float_bytes(k.type));
        const int64_t head = find_lines_head(k, &line, 1);
        struct run run = first_run(task, row);
        line.rows = 1;
        if (head > 0) fake_run_block(k, false, &line, 0, head, task, &run, target, end, counts);
        if (head >= 0)
            fake_run_block(k, true, &line, head, line.cols, task, &run, target, end, counts);
        else
            fake_run_block(k, false, &line, 0, line.cols, task, &run, target, end, counts);
    }
}

INLINE void fake_rows(struct fake k, int way, const struct task *task, const struct table *table, const struct target *target, fake_end end,
                      int64_t *counts)
{
    struct lines lines;
    for (int64_t row = 0; row < task->span.rows; row += lines.rows) {
        lines = get_lines(&task->span, row, float_bytes(k.type));
        if (table->row_params) lines.rows = 1;
        fake_strip(k, way, &lines, table, row * table->row_params, target, end, counts);
    }
}

INLINE void fake_ways(struct fake k, const struct task *task, const struct table *table, fake_end end)
{
    const struct target target = make_target(task);
    int64_t *counts = k.work == FORWARD_BITS ? task->span.counts : NULL;
    if (table && table->way == COLUMNS)
        fake_rows(k, COLUMNS, task, table, &target, end, counts);
    else if (table && table->way == PERMUTED)
        fake_rows(k, PERMUTED, task, table, &target, end, counts);
    else if (table && table->way == SPLATS)
        fake_rows(k, SPLATS, task, table, &target, end, counts);
    else
        fake_runs(k, task, &target, end, counts);
}

INLINE void fake_forward(int type, const struct task *task, const struct table *table, fake_end end)
{
    if (task->span.mask || task->span.counts)
        fake_ways((struct fake){type, FORWARD_BITS}, task, table, end);
    else
        fake_ways((struct fake){type, FORWARD}, task, table, end);
}

#define FAKE_END(name, type, work) \
    static __attribute__((noinline)) void name##_end_##type(const struct lines *lines, int64_t i, int64_t n, const struct faker *p, int64_t *counts) { fake_column_quad((struct fake){CLQ_FLOAT_##type, work}, false, lines, lines->rows, i, n, p, 1, 0, NULL, counts); }
#define FAKE_QUANTIZE(type) \
    FAKE_END(fake, type, FORWARD_BITS) \
    static void fake_part_##type(const struct task *task, const struct table *table) { fake_forward(CLQ_FLOAT_##type, task, table, fake_end_##type); } \
    static void fake_quantize_##type(const struct clq_span *span) { run_span(span, 0, fake_part_##type, float_bytes(CLQ_FLOAT_##type), float_bytes(CLQ_FLOAT_##type)); }
#define FAKE_BACKWARD(type) \
    FAKE_END(backward, type, BACKWARD) \
    static void backward_part_##type(const struct task *task, const struct table *table) { fake_ways((struct fake){CLQ_FLOAT_##type, BACKWARD}, task, table, backward_end_##type); } \
    static void fake_backward_##type(const struct clq_span *span) { run_span(span, 0, backward_part_##type, float_bytes(CLQ_FLOAT_##type), float_bytes(CLQ_FLOAT_##type)); }

/* clang-format off */
FAKE_QUANTIZE(F32) FAKE_QUANTIZE(F16) FAKE_QUANTIZE(BF16)
FAKE_BACKWARD(F32) FAKE_BACKWARD(F16) FAKE_BACKWARD(BF16)

#define FAKE_QUANTIZE_SLOTS {fake_quantize_F32, fake_quantize_F16, fake_quantize_BF16}
#define FAKE_BACKWARD_SLOTS {fake_backward_F32, fake_backward_F16, fake_backward_BF16}
/* clang-format on */

/* ------------------------------------------------------------------------------------------------ by the mask */

INLINE void mask_quad(int type, bool streams, const char *src, const uint8_t *mask, char *dst)
{
    uint64_t bits = 0;
    memcpy(&bits, mask, QUAD / 8);
    if (streams) ask_for(src + AHEAD_BYTES, QUAD * float_bytes(type));
    for (int v = 0; type == CLQ_FLOAT_F32 && v < 4; ++v)
        put32(streams, dst + 4 * v * WIDTH, select_s32(bits_lanes((uint32_t)(bits >> v * WIDTH)), load32(src + 4 * v * WIDTH), splat_s32(0)));
    for (int v = 0; type != CLQ_FLOAT_F32 && v < 2; ++v)
        put_halves(streams, dst + 4 * v * WIDTH, keep_half_bits((uint32_t)(bits >> 2 * v * WIDTH), load_halves(src + 4 * v * WIDTH)));
}

/* Less than a quad. */
INLINE void mask_part(int type, const char *src, const uint8_t *mask, char *dst, int64_t n)
{
    uint64_t bits = 0;
    vmask inside[4];
    for (int64_t k = 0; k < n; k += 8)
        bits |= (uint64_t)mask[k / 8] << k;
    EACH(v, 4)
        inside[v] = bits_lanes((uint32_t)(bits >> v * WIDTH));
    keep_quad(type, src, false, dst, n, inside);
}

INLINE void mask_line(int type, bool streams, const char *src, const uint8_t *mask, char *dst, int64_t n)
{
    const int64_t bytes = float_bytes(type), head = streams ? find_head(dst, bytes, n, 8) : 0;
    int64_t i = clq_max_i64(0, head);
    if (i > 0) mask_part(type, src, mask, dst, i);
    for (; streams && head >= 0 && i + QUAD <= n; i += QUAD)
        mask_quad(type, true, src + i * bytes, mask + i / 8, dst + i * bytes);
    for (; i + QUAD <= n; i += QUAD)
        mask_quad(type, false, src + i * bytes, mask + i / 8, dst + i * bytes);
    if (i < n) mask_part(type, src + i * bytes, mask + i / 8, dst + i * bytes, n - i);
}

INLINE void mask_backward(int type, const struct clq_span *whole)
{
    struct clq_span span = *whole;
    if (is_dense(&span)) {
        span.cols *= span.rows;
        span.rows = 1;
    }
    for (int64_t row = 0; row < span.rows; ++row) {
        const struct lines line = get_lines(&span, row, float_bytes(type));
        mask_line(type, span.streams, line.src, line.mask, line.dst, span.cols);
    }
    if (span.streams) end_streams();
}

static void mask_backward_2(const struct clq_span *span)
{
    mask_backward(CLQ_FLOAT_F16, span);
}

static void mask_backward_4(const struct clq_span *span)
{
    mask_backward(CLQ_FLOAT_F32, span);
}

#define MASK_BACKWARD_SLOTS {mask_backward_2, mask_backward_4}
