/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: q = rne(clamp(d, qmin - z, qmax - z)) + z with d = fl(x / s), without a divider.
 *
 * With r = fl(1 / s), q0 = fl(x * r) and e = x - q0 * s, exact, d = fma(e, r, q0) is the correctly rounded quotient wherever it rounds to
 * anything but 0 (numerics, "Quantize"). It is a number if q0 is: so x is first lowered to at most 2^17 * s, a float for every allowed
 * s, whose quotient 2^17 lies above every qmax - z. Nothing is done about the other end: there infinity and overflow of q0 make d NaN, and
 * round_s32() gives a number below every qmin - z for NaN, which is what NaN itself needs. Clamping the rounded number is the same as
 * rounding the clamped one, as the bounds are integers.
 *
 * For the reciprocal form, d = q0, the last r is 0 instead: where e is no number, d is NaN then too.
 *
 * Integers are signed here: for an unsigned type z, qmin and qmax come lowered by half its range, and the results' top bits are flipped.
 *
 * Requantizing is the same from d = fl(float(q - z_source) * m) on, a number that is finite: the reciprocal form with r = m.
 */

#define ABOVE_ALL 0x1p17f

/* Elements between two looks at whether any of them was not finite; they are still in the first-level cache then. */
#define COUNT_BLOCK 2048

#define FROM_INT CLQ_FLOAT_TYPES

/* Known when compiling. */
struct quantization {
    int from; /* a float type, or FROM_INT and an integer type: requantize */
    int bytes; /* of an integer */
    bool counts;
};

struct quantizer {
    vfloat s, r, last_r, most;
    vint z, source_z;
};

/* What all lines have in common. */
struct target {
    vint lo32, hi32;
    vhalf lo16, hi16, flip16;
    vbyte lo8, hi8, flip8;
    vint corrects; /* all bits or none */
};

/* Lanes seen, and those of them whose integer was within the bounds, which an element that is not finite never is. Counts of lanes hold a
   block: at most STRIP_ROWS * COUNT_BLOCK / (2 * WIDTH) = 2048 each. */
struct tally {
    int64_t lanes, inside;
    vhalf inside16;
    vint inside32;
    vfloat nonfinite;
};

INLINE int64_t source_bytes(int from)
{
    return from < FROM_INT ? float_bytes(from) : int_bytes(from - FROM_INT);
}

INLINE struct quantizer make_quantizer(struct quantization k, vfloat s, vfloat r, vint z, vint source_z, const struct target *target)
{
    if (k.from >= FROM_INT) return (struct quantizer){r, r, r, r, z, source_z};
    return (struct quantizer){s, r, as_f32(and_s32(as_s32(r), target->corrects)), mul_f32(s, splat_f32(ABOVE_ALL)), z, z};
}

/* Of all elements of a run. */
INLINE struct quantizer share_quantizer(struct quantization k, const struct task *task, int64_t p, const struct target *target)
{
    const vint z = splat_s32(zero_point_at(task, p));
    const float s = task->span.scale[p];
    if (k.from >= FROM_INT) return make_quantizer(k, splat_f32(s), splat_f32(s), z, splat_s32(task->span.source_zero_point[p]), target);
    return make_quantizer(k, splat_f32(s), splat_f32(1.0f / s), z, z, target);
}

/* `a` in the lanes of the mask, `b` in the others. */
INLINE struct quantizer mix_quantizers(struct quantization k, vmask mask, const struct quantizer *a, const struct quantizer *b,
                                       const struct target *target)
{
    const vint z = select_s32(mask, a->z, b->z), source_z = select_s32(mask, a->source_z, b->source_z);
    return make_quantizer(k, select_f32(mask, a->s, b->s), select_f32(mask, a->r, b->r), z, source_z, target);
}

/* Vector v of a quad has the quantizer p[v * step] or, if that is MIXED, p[0] below column `border` of the quad and p[1] from there on. */
#define MIXED 2

INLINE struct quantizer quantizer_of(struct quantization k, const struct quantizer *p, int step, int64_t border, int v, const struct target *target)
{
    return step == MIXED ? mix_quantizers(k, lanes_below(border - v * WIDTH), &p[0], &p[1], target) : p[v * step];
}

/* The quantizers of n columns from column i on, in any number of runs; `run` becomes the last one's. */
static __attribute__((noinline)) void get_run_quantizers(struct quantizer p[4], const struct task *task, int64_t i, int64_t n, struct run *run,
                                                         const struct target *target)
{
    const struct quantization k = {task->span.source_zero_point ? FROM_INT : CLQ_FLOAT_F32, 1, false};
    struct quantizer next = share_quantizer(k, task, run->param, target);
    EACH(v, 4)
        p[v] = next;
    while (run->end < i + n) {
        const int64_t border = run->end - i;
        move_to_next_run(task, run);
        next = share_quantizer(k, task, run->param, target);
        EACH(v, 4)
            p[v] = mix_quantizers(k, lanes_below(border - v * WIDTH), &p[v], &next, target);
    }
}

/* The quantizer of vector `v` of a quad, from column `col` on. */
INLINE struct quantizer get_quantizer(struct quantization k, int way, const struct table *table, const struct position *at, int v, int64_t col,
                                      const struct target *target)
{
    if (way == SPLATS) {
        const int64_t p = at->group + (col / WIDTH - v) / 2 + v / 2;
        return make_quantizer(k, splat_f32(table->s[p]), splat_f32(table->r[p]), splat_s32(table->z[p]), splat_s32(table->source_z[p]), target);
    }
    if (way == PERMUTED) {
        const vint pattern = load32(table->patterns[at->vector + v]);
        const int64_t group = at->group + table->first_groups[at->vector + v];
        const vint s = permute4(table->s + group, pattern), r = permute4(table->r + group, pattern);
        const vint z = permute4(table->z + group, pattern), source_z = permute4(table->source_z + group, pattern);
        return make_quantizer(k, as_f32(s), as_f32(r), z, source_z, target);
    }
    col += at->group;
    return make_quantizer(k, as_f32(load32(table->s + col)), as_f32(load32(table->r + col)), load32(table->z + col),
                          load32(table->source_z + col), target);
}

INLINE vfloat get_quotient(struct quantization k, vfloat x, const struct quantizer *p)
{
    vfloat q0;
    if (k.bytes == 4) {
        /* There is no room above the range: where q0 has overflowed it is the quotient. */
        vfloat d;
        q0 = mul_f32(x, p->r);
        d = fma_f32(fnma_f32(q0, p->s, x), p->last_r, q0);
        return select_f32(is_nan_lane(d), q0, d);
    }
    if (k.from >= FROM_INT) return min_f32(splat_f32(ABOVE_ALL), mul_f32(x, p->r));
    x = min_f32(p->most, x);
    q0 = mul_f32(x, p->r);
    return fma_f32(fnma_f32(q0, p->s, x), p->last_r, q0);
}

/* `whole`: lanes is WIDTH, known when compiling. */
INLINE vfloat load_source(struct quantization k, const char *p, int64_t lanes, bool whole, const struct quantizer *quantizer)
{
    if (k.from < FROM_INT) return whole ? load_float(k.from, p) : load_float_part(k.from, p, lanes);
    return to_f32(sub_s32(whole ? load_int(k.from - FROM_INT, p) : load_int_part(k.from - FROM_INT, p, lanes), quantizer->source_z));
}

/* Two vectors of integers as 16 bits, saturated, plus z: as |z| < 2^8, what is outside the bounds stays there. */
INLINE vhalf add_zero_points(const vint *q, const vint *z)
{
    return add_saturated_s16(pack_s16(q[0], q[1]), pack_s16(z[0], z[1]));
}

INLINE void store_quad_8(struct quantization k, const vint *q, const vint *z, bool streams, char *dst, int64_t n, const struct target *target,
                         struct tally *tally)
{
    vhalf a = add_zero_points(q, z), b = add_zero_points(q + 2, z + 2);
    vbyte bytes;
    if (k.counts) {
        const vhalf a_wide = a, b_wide = b;
        a = clamp_s16(a, target->lo16, target->hi16);
        b = clamp_s16(b, target->lo16, target->hi16);
        tally->inside16 = count_equal_16(count_equal_16(tally->inside16, a, a_wide), b, b_wide);
    }
    bytes = pack_s8(a, b);
    if (!k.counts) bytes = clamp_s8(bytes, target->lo8, target->hi8);
    bytes = ordered_bytes(xor_bytes(bytes, target->flip8));
    if (n == QUAD)
        put_bytes(streams, dst, bytes);
    else
        store_bytes_part(dst, bytes, n);
}

/* Two of the four vectors. */
INLINE void store_pair_16(struct quantization k, const vint *q, const vint *z, bool streams, char *dst, int64_t n, const struct target *target,
                          struct tally *tally)
{
    vint wide[2];
    vhalf halves;
    EACH(v, 2) {
        wide[v] = add_s32(max_s32(q[v], splat_s32(-(int32_t)ABOVE_ALL)), z[v]); /* in -2^17..2^17 before z */
        if (k.counts) tally->inside32 = count_equal_32(tally->inside32, wide[v], min_s32(max_s32(wide[v], target->lo32), target->hi32));
    }
    halves = clamp_s16(pack_s16(wide[0], wide[1]), target->lo16, target->hi16);
    halves = ordered_halves(xor_halves(halves, target->flip16));
    if (n >= 2 * WIDTH)
        put_halves(streams, dst, halves);
    else if (n > 0)
        store_halves_part(dst, halves, n);
}

INLINE void store_vector_32(struct quantization k, vfloat d, bool streams, char *dst, int64_t n, struct tally *tally)
{
    if (k.counts) tally->inside += count_lanes(less_f32(d, splat_f32(0x1p31f))) - count_lanes(less_f32(d, splat_f32(-0x1p31f)));
    if (n == WIDTH)
        put32(streams, dst, round_full_s32(d));
    else
        store32_part(dst, round_full_s32(d), n);
}

/* Four vectors; `n` of their elements are there, QUAD if that is known when compiling: a quad that is streamed is whole. */
INLINE void quantize_quad(struct quantization k, const char *src, bool streams, char *dst, int64_t n, const struct quantizer *p, int step,
                          int64_t border, const struct target *target, struct tally *tally)
{
    vint q[4], z[4];
    tally->lanes += QUAD;
    EACH(v, 4) {
        const int64_t lanes = n == QUAD ? WIDTH : part_of_quad(n, v);
        const struct quantizer quantizer = quantizer_of(k, p, step, border, v, target);
        const vfloat x = load_source(k, src + v * WIDTH * source_bytes(k.from), lanes, n == QUAD, &quantizer);
        const vfloat d = get_quotient(k, x, &quantizer);
        z[v] = quantizer.z;
        if (k.counts) tally->nonfinite = note_nonfinite(x, tally->nonfinite);
        if (k.bytes == 4)
            store_vector_32(k, d, streams, dst + 4 * v * WIDTH, lanes, tally);
        else
            q[v] = round_s32(d);
    }
    if (k.bytes == 1) {
        store_quad_8(k, q, z, streams, dst, n, target, tally);
    } else if (k.bytes == 2) {
        store_pair_16(k, q, z, streams, dst, n, target, tally);
        store_pair_16(k, q + 2, z + 2, streams, dst + 4 * WIDTH, n - 2 * WIDTH, target, tally);
    }
}

static void add_nonfinite(int from, const char *src, int64_t n, int64_t *counts)
{
    switch (from) {
    case CLQ_FLOAT_F32: count_nonfinite(CLQ_FLOAT_F32, src, n, &counts[0], &counts[1]); break;
    case CLQ_FLOAT_F16: count_nonfinite(CLQ_FLOAT_F16, src, n, &counts[0], &counts[1]); break;
    default: count_nonfinite(CLQ_FLOAT_BF16, src, n, &counts[0], &counts[1]);
    }
}

INLINE struct tally empty_tally(void)
{
    return (struct tally){0, 0, splat_16(0), splat_s32(0), splat_f32(0.0f)};
}

/* Adds up what columns [begin, end) gave. */
INLINE void end_block(struct quantization k, const struct strip *strip, int64_t begin, int64_t end, struct tally *tally, int64_t *counts)
{
    int64_t nonfinite[2] = {0, 0};
    for (int64_t row = 0; any_nan(tally->nonfinite) && row < strip->rows; ++row)
        add_nonfinite(k.from, strip->src + row * strip->src_pitch + begin * float_bytes(k.from), end - begin, nonfinite);
    if (k.bytes == 1) tally->inside = sum_16(tally->inside16);
    if (k.bytes == 2) tally->inside = sum_32(tally->inside32);
    counts[0] += nonfinite[0];
    counts[1] += nonfinite[1];
    counts[2] += tally->lanes - tally->inside - nonfinite[0] - nonfinite[1];
}

INLINE struct target make_target(const struct task *task)
{
    const int32_t lo = task->span.qmin, hi = task->span.qmax, top_8 = task->bias ? 0x80 : 0, top_16 = task->bias ? 0x8000 : 0;
    return (struct target){splat_s32(lo), splat_s32(hi), splat_16(lo),   splat_16(hi), splat_16(top_16),
                           splat_8(lo),   splat_8(hi),   splat_8(top_8), splat_s32(task->span.reciprocal ? 0 : -1)};
}

/* The quad from column i on, in the first rows of a strip; `n` of its columns are there. */
INLINE void quantize_column_quad(struct quantization k, bool streams, const struct strip *strip, int64_t rows, int64_t i, int64_t n,
                                 const struct quantizer *p, int step, int64_t border, const struct target *target, struct tally *tally)
{
    const char *src = strip->src + i * source_bytes(k.from);
    char *dst = strip->dst + i * k.bytes;
#pragma GCC unroll 1
    for (; rows > 0; --rows) {
        if (streams) ask_for(src + strip->ahead, QUAD * source_bytes(k.from));
        quantize_quad(k, src, streams, dst, n, p, step, border, target, tally);
        src += strip->src_pitch;
        dst += strip->dst_pitch;
    }
}

/* The columns that do not fill a quad. Their code is long, so it is kept once for each pair of types: with counts. */
typedef void (*quantize_end)(const struct strip *strip, int64_t i, int64_t n, const struct quantizer *p, const struct task *task, struct tally *tally);

/* With copies, so that what the caller works on can stay in registers. */
INLINE void call_end(quantize_end end, const struct strip *strip, int64_t i, int64_t n, const struct quantizer *p, int step,
                     const struct task *task, struct tally *tally)
{
    const struct quantizer p_copy[4] = {p[0], p[step], p[2 * step], p[3 * step]};
    const struct strip strip_copy = *strip;
    struct tally tally_copy = *tally;
    end(&strip_copy, i, n, p_copy, task, &tally_copy);
    *tally = tally_copy;
}

INLINE void get_quantizers(struct quantizer p[4], struct quantization k, int way, const struct table *table, struct position *at, int64_t col,
                           const struct target *target)
{
    if (way == COLUMNS) wrap_columns(table, at, col);
    EACH(v, 4)
        p[v] = get_quantizer(k, way, table, at, v, col + v * WIDTH, target);
    if (way == PERMUTED) move_to_next_quad(table, at);
}

/* The quads of columns [i, end); returns where they end. `shared` is that of a run. */
INLINE int64_t quantize_quads(struct quantization k, int way, bool streams, const struct strip *strip, int64_t i, int64_t end,
                              const struct quantizer *shared, const struct table *table, struct position *at, const struct target *target,
                              struct tally *tally)
{
    struct quantizer p[4];
    for (; i + QUAD <= end; i += QUAD) {
        if (way != RUNS) get_quantizers(p, k, way, table, at, i, target);
        quantize_column_quad(k, streams, strip, way == RUNS ? 1 : strip->rows, i, QUAD, way == RUNS ? shared : p, way != RUNS, 0, target, tally);
    }
    return i;
}

/* The last elements are done again with those before them. Not where that would be wrong: in place, as requantizing may be, or if they count. */
INLINE bool can_overlap(struct quantization k)
{
    return k.from < FROM_INT && !k.counts;
}

/* Where blocks end: `head` columns are one of their own. */
INLINE int64_t end_of_block(struct quantization k, const struct strip *strip, int64_t begin, int64_t head)
{
    if (begin == 0 && head > 0) return head;
    return k.counts ? clq_min_i64(strip->cols, begin + COUNT_BLOCK) : strip->cols;
}

/* `first_param` is where the row's parameters begin in the table. */
INLINE void quantize_strip(struct quantization k, int way, const struct strip *strip, const struct task *task, const struct table *table,
                           int64_t first_param, const struct target *target, quantize_end quantize_rest, int64_t *counts)
{
    const bool overlap = way == COLUMNS && can_overlap(k) && strip->cols >= QUAD;
    const int64_t head = strip->streams ? find_head(strip->dst, k.bytes, strip->cols, way == COLUMNS ? 1 : QUAD) : -1;
    struct position at = {0, first_param};
    for (int64_t begin = 0, end; begin < strip->cols; begin = end) {
        struct tally tally = empty_tally();
        struct quantizer p[4];
        int64_t i = begin;
        end = end_of_block(k, strip, begin, head);
        if (head >= 0)
            i = quantize_quads(k, way, true, strip, i, end, NULL, table, &at, target, &tally);
        else
            i = quantize_quads(k, way, false, strip, i, end, NULL, table, &at, target, &tally);
        if (overlap && i < end && end >= QUAD) i = quantize_quads(k, way, false, strip, end - QUAD, end, NULL, table, &at, target, &tally);
        if (i < end) {
            get_quantizers(p, k, way, table, &at, i, target);
            call_end(quantize_rest, strip, i, end - i, p, 1, task, &tally);
        }
        if (k.counts) end_block(k, strip, begin, end, &tally, counts);
    }
}

/* Less than a quad, or one in which several runs end. */
INLINE void quantize_rest_of_runs(const struct strip *strip, int64_t i, int64_t n, const struct task *task, struct run *run,
                                  const struct target *target, quantize_end rest, struct tally *tally)
{
    struct quantizer p[4];
    struct run last = *run;
    get_run_quantizers(p, task, i, n, &last, target);
    call_end(rest, strip, i, n, p, 1, task, tally);
    *run = last;
}

/* Columns [begin, end) of a row; the run in which they begin becomes that in which they end. */
INLINE void quantize_run_block(struct quantization k, bool streams, const struct strip *strip, int64_t begin, int64_t end, const struct task *task,
                               struct run *run, const struct target *target, quantize_end rest, struct tally *tally)
{
    struct quantizer p[2] = {share_quantizer(k, task, run->param, target)};
    int64_t i = begin, run_begin = begin, border;
    while (true) {
        i = quantize_quads(k, RUNS, streams, strip, i, clq_min_i64(end, run->end), p, NULL, NULL, target, tally);
        if (i == end) return;
        border = run->end - i;
        if (border == 0) {
            run_begin = i;
            move_to_next_run(task, run);
            p[0] = share_quantizer(k, task, run->param, target);
            continue;
        }
        if (border >= end - i && MASKED_ENDS && !k.counts) {
            quantize_column_quad(k, false, strip, 1, i, end - i, p, 0, 0, target, tally);
            return;
        }
        if (border >= end - i && !MASKED_ENDS && can_overlap(k) && end - run_begin >= QUAD) {
            quantize_column_quad(k, false, strip, 1, end - QUAD, QUAD, p, 0, 0, target, tally);
            return;
        }
        run_begin = run->end;
        if (i + QUAD > end || !is_next_run_long(task, run, i)) {
            quantize_rest_of_runs(strip, i, clq_min_i64(QUAD, end - i), task, run, target, rest, tally);
            i = clq_min_i64(end, i + QUAD);
            run_begin = i;
            p[0] = share_quantizer(k, task, run->param, target);
            continue;
        }
        move_to_next_run(task, run);
        p[1] = share_quantizer(k, task, run->param, target);
        quantize_column_quad(k, streams, strip, 1, i, QUAD, p, MIXED, border, target, tally);
        p[0] = p[1];
        i += QUAD;
    }
}

INLINE void quantize_runs(struct quantization k, const struct task *task, quantize_end quantize_rest, int64_t *counts)
{
    const struct target target = make_target(task);
    for (int64_t row = 0; row < task->span.rows; ++row) {
        struct strip strip = get_strip(task, NULL, row, source_bytes(k.from), k.bytes);
        const int64_t head = strip.streams ? find_head(strip.dst, k.bytes, strip.cols, 1) : -1;
        struct run run = first_run(task, row);
        strip.rows = 1;
        for (int64_t begin = 0, end; begin < strip.cols; begin = end) {
            struct tally tally = empty_tally();
            end = end_of_block(k, &strip, begin, head);
            if (head >= 0)
                quantize_run_block(k, true, &strip, begin, end, task, &run, &target, quantize_rest, &tally);
            else
                quantize_run_block(k, false, &strip, begin, end, task, &run, &target, quantize_rest, &tally);
            if (k.counts) end_block(k, &strip, begin, end, &tally, counts);
        }
    }
}

INLINE void quantize_rows(struct quantization k, int way, const struct task *task, const struct table *table, quantize_end end, int64_t *counts)
{
    const struct target target = make_target(task);
    struct strip strip;
    for (int64_t row = 0; row < task->span.rows; row += strip.rows) {
        strip = get_strip(task, table, row, source_bytes(k.from), k.bytes);
        quantize_strip(k, way, &strip, task, table, row * table->row_params, &target, end, counts);
    }
}

INLINE void quantize_ways(struct quantization k, const struct task *task, const struct table *table, quantize_end end)
{
    int64_t ignored[3] = {0, 0, 0}, *counts = task->span.counts ? task->span.counts : ignored;
    if (table && table->way == COLUMNS) {
        quantize_rows(k, COLUMNS, task, table, end, counts);
    } else if (table && table->way == PERMUTED) {
        quantize_rows(k, PERMUTED, task, table, end, counts);
    } else if (table && table->way == SPLATS) {
        quantize_rows(k, SPLATS, task, table, end, counts);
    } else {
        quantize_runs(k, task, end, counts);
    }
}

/* s32 always counts: the code for it is long. */
INLINE void quantize_part(int from, int bytes, const struct task *task, const struct table *table, quantize_end end)
{
    struct quantization k = {from, bytes, true};
    if (bytes == 4 || (from < FROM_INT && task->span.counts)) {
        quantize_ways(k, task, table, end);
    } else {
        k.counts = false;
        quantize_ways(k, task, table, end);
    }
}

INLINE int32_t bias_of(int type)
{
    return type == CLQ_INT_U8 ? 0x80 : type == CLQ_INT_U16 ? 0x8000 : 0;
}

INLINE void quantize_columns_end(int from, int bytes, const struct strip *strip, int64_t i, int64_t n, const struct quantizer *p,
                                 const struct task *task, struct tally *tally)
{
    const struct quantization k = {from, bytes, from < FROM_INT};
    const struct target target = make_target(task);
    quantize_column_quad(k, false, strip, strip->rows, i, n, p, 1, 0, &target, tally);
}

#define QUANTIZE_END(from, bytes) \
    static __attribute__((noinline)) void quantize_end_##from##_##bytes(const struct strip *strip, int64_t i, int64_t n, const struct quantizer *p, const struct task *task, struct tally *tally) { quantize_columns_end(CLQ_FLOAT_##from, bytes, strip, i, n, p, task, tally); }
#define QUANTIZE_PART(from, bytes) \
    static void quantize_part_##from##_##bytes(const struct task *task, const struct table *table) { quantize_part(CLQ_FLOAT_##from, bytes, task, table, quantize_end_##from##_##bytes); }
#define QUANTIZE(from, to, bytes) \
    static void quantize_##from##_##to(const struct clq_span *span) { run_span(span, bias_of(CLQ_INT_##to), quantize_part_##from##_##bytes, float_bytes(CLQ_FLOAT_##from), bytes); }
#define QUANTIZE_ENDS(from)  QUANTIZE_END(from, 1) QUANTIZE_END(from, 2) QUANTIZE_END(from, 4)
#define QUANTIZE_PARTS(from) QUANTIZE_ENDS(from) QUANTIZE_PART(from, 1) QUANTIZE_PART(from, 2) QUANTIZE_PART(from, 4)
#define QUANTIZE_ALL(from) QUANTIZE(from, S8, 1) QUANTIZE(from, U8, 1) QUANTIZE(from, S16, 2) QUANTIZE(from, U16, 2) QUANTIZE(from, S32, 4)

/* clang-format off */
QUANTIZE_PARTS(F32) QUANTIZE_PARTS(F16) QUANTIZE_PARTS(BF16)
QUANTIZE_ALL(F32) QUANTIZE_ALL(F16) QUANTIZE_ALL(BF16)

#define QUANTIZE_ROW(from) {quantize_##from##_S8, quantize_##from##_U8, quantize_##from##_S16, quantize_##from##_U16, quantize_##from##_S32}
#define QUANTIZE_SLOTS     {QUANTIZE_ROW(F32), QUANTIZE_ROW(F16), QUANTIZE_ROW(BF16)}
/* clang-format on */
