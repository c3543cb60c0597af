/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: how the parameters of a span reach the lanes. A kernel works on rows in one of four ways:
 *
 * RUNS      the elements of a run have the same parameters: they are splat once. Quads in which runs end blend those of several
 * COLUMNS   each element of a row has its own, taken from a table as the elements are, and from its beginning again after `period` of them
 * SPLATS    those of two vectors have the same
 * PERMUTED  those of a vector belong to at most four groups: they are taken from a table and permuted
 *
 * A table holds what a kernel needs of up to TABLE parameters. Rows that share it are worked on a few at a time, so that the parameters of a
 * quad of columns are fetched once for all of them.
 */
enum { RUNS, COLUMNS, SPLATS, PERMUTED };

#define TABLE      1024
#define TABLE_END  QUAD /* entries behind the last that may be read: parameters that do no harm */
#define STRIP_ROWS 4

/* Rows that begin anywhere are streamed from this length on. */
#define STREAM_COLS (8 * QUAD)

/* From so many elements in a group on, those of a vector belong to at most four: (group - 1 + WIDTH - 1) / group <= 3. */
#define PERMUTED_GROUP ((WIDTH + 1) / 3)

/* Where a row is among groups: how far into the cycle of vectors after which an element is first in its group again, and the group that was
   first when this cycle began. A cycle has as many vectors as a group has elements, and WIDTH groups. Splats: the row's first group. Columns: what is
   added to a column. */
struct position {
    int64_t vector, group;
};

/* The elements that follow each other with the same parameter, up to column `end`; `row_param` is that of the row's first ones. */
struct run {
    int64_t end, row_end;
    int64_t param, row_param;
};

struct table {
    _Alignas(64) float s[TABLE + TABLE_END];
    float r[TABLE + TABLE_END]; /* fl(1 / s); requantize: the multipliers */
    int32_t z[TABLE + TABLE_END];
    int32_t source_z[TABLE + TABLE_END]; /* requantize */
    /* Permuted: the vectors of a cycle, and three more, so that those of a quad follow each other. */
    _Alignas(64) uint32_t patterns[QUAD + 3][WIDTH]; /* lane_index() of a lane's group, counted from the first lane's */
    int32_t first_groups[QUAD + 3];                  /* that of the first lane, counted from where the cycle began */
    struct position next_quad;                       /* 4 vectors as cycles and a rest */
    int64_t group;
    int64_t period; /* a quad or more */
    int64_t row_params; /* each row has so many of its own, one row's behind the other's; 0: all rows have the same */
    int way;
};

/* A span, and how far its integers are above those that the kernel works with: unsigned ones become signed ones of the same width. */
struct task {
    struct clq_span span;
    int32_t bias;
    int64_t row_cols; /* runs: after so many columns another row begins; rows one behind the other are one */
};

/* Works on the rows and columns of a span; `table` holds the parameters from that of column 0 on, or is NULL if they are to be taken from the
   span, by RUNS. */
typedef void (*span_kernel)(const struct task *task, const struct table *table);

INLINE void move_to_next_quad(const struct table *table, struct position *at)
{
    const int64_t vector = at->vector + table->next_quad.vector;
    const bool wrap = vector >= table->group;
    at->vector = wrap ? vector - table->group : vector;
    at->group += table->next_quad.group + (wrap ? WIDTH : 0);
}

/* To the quad of columns from `col` on, in ascending order. */
INLINE void wrap_columns(const struct table *table, struct position *at, int64_t col)
{
    if (col + at->group >= table->period) at->group -= table->period;
}

INLINE struct run first_run(const struct task *task, int64_t row)
{
    const int64_t param = row * task->span.param_pitch;
    return (struct run){clq_min_i64(task->span.group, task->row_cols), task->row_cols, param, param};
}

INLINE void move_to_next_run(const struct task *task, struct run *run)
{
    if (run->end < run->row_end) {
        ++run->param;
        run->end = clq_min_i64(run->end + task->span.group, run->row_end);
        return;
    }
    run->row_param += task->span.param_pitch;
    run->param = run->row_param;
    run->end = run->row_end + clq_min_i64(task->span.group, task->row_cols);
    run->row_end += task->row_cols;
}

/* The next run goes on to the end of the quad from column i on. */
INLINE bool is_next_run_long(const struct task *task, const struct run *run, int64_t i)
{
    struct run next = *run;
    move_to_next_run(task, &next);
    return next.end >= i + QUAD;
}

/* The lanes below lane n, which may be any number. */
INLINE vmask lanes_below(int64_t n)
{
    static const int32_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return less_s32(load32(numbers), splat_s32((int32_t)n));
}

INLINE const char *move(const void *p, int64_t elements, int64_t bytes)
{
    return (const char *)p + elements * bytes;
}

INLINE int32_t zero_point_at(const struct task *task, int64_t p)
{
    return (task->span.zero_point ? task->span.zero_point[p] : task->span.fixed_zero_point) - task->bias;
}

/* Parameters that do no harm: zero elements count as not clipped. */
static void end_table(struct table *table, int64_t n, const struct task *task)
{
    const vfloat one = splat_f32(1.0f);
    const vint z = splat_s32(zero_point_at(task, 0));
    const bool sources = task->span.source_zero_point != NULL;
    for (int64_t i = n; i < n + TABLE_END; i += WIDTH) {
        store32(table->s + i, as_s32(one));
        store32(table->r + i, as_s32(one));
        store32(table->z + i, z);
        if (sources) store32(table->source_z + i, z);
    }
}

static void fill_table(struct table *table, const struct task *task, int64_t first, int64_t n)
{
    const vint bias = splat_s32(task->bias), fixed = splat_s32(task->span.fixed_zero_point);
    const float *const scale = task->span.scale + first;
    const int32_t *const zero_point = task->span.zero_point, *const source = task->span.source_zero_point;
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t lanes = clq_min_i64(WIDTH, n - i);
        const vfloat s = as_f32(load32_part(scale + i, lanes));
        const vint z = zero_point ? load32_part(zero_point + first + i, lanes) : fixed;
        store32(table->s + i, as_s32(s));
        store32(table->r + i, as_s32(source ? s : div_f32(splat_f32(1.0f), s)));
        store32(table->z + i, sub_s32(z, bias));
        if (source) store32(table->source_z + i, load32_part(source + first + i, lanes));
    }
    end_table(table, n, task);
}

/* Groups of a few elements: the parameters of n columns. */
static void spread_table(struct table *table, const struct task *task, int64_t first, int64_t n)
{
    const struct clq_span *span = &task->span;
    for (int64_t i = 0, gone = 0; i < n; ++i) {
        table->s[i] = span->scale[first];
        table->r[i] = span->source_zero_point ? span->scale[first] : 1.0f / span->scale[first];
        table->z[i] = zero_point_at(task, first);
        if (span->source_zero_point) table->source_z[i] = span->source_zero_point[first];
        if (++gone < span->group) continue;
        gone = 0;
        ++first;
    }
    end_table(table, n, task);
}

/* The first `vectors` of a cycle, or all of it. */
static void fill_cycle(struct table *table, int64_t vectors)
{
    const int64_t group = table->group, count = clq_min_i64(group, vectors) + 3;
    uint32_t pattern[QUAD + WIDTH];
    int64_t first = 0, gone = 0;
    for (int64_t i = 0, index = 0, end = group; i < group + WIDTH; ++i) {
        if (i == end) {
            end += group;
            ++index;
        }
        pattern[i] = lane_index((uint32_t)index);
    }
    for (int64_t i = 0; i < count; ++i) {
        store32(table->patterns[i], load32(pattern + gone));
        table->first_groups[i] = (int32_t)first;
        for (gone += WIDTH; gone >= group; gone -= group)
            ++first;
    }
    table->next_quad = (struct position){4 % group, 4 / group * WIDTH};
}

static void start_table(struct table *table, int64_t group, int64_t cols)
{
    table->group = group;
    table->period = INT64_MAX;
    table->row_params = 0;
    if (group == 2 * WIDTH) {
        table->way = SPLATS;
    } else if (group >= PERMUTED_GROUP && group > 1) {
        table->way = PERMUTED;
        fill_cycle(table, clq_ceil_div(cols, WIDTH));
    } else {
        table->way = COLUMNS;
    }
}

/* Repeats the first n of `total` words. */
INLINE void repeat(void *words, int64_t n, int64_t total)
{
    char *p = words;
    for (int64_t done = n; done < total; done *= 2)
        memcpy(p + 4 * done, p, (size_t)(4 * clq_min_i64(done, total - done)));
}

/* Columns `col` and after of the rows from `row` on; a mask is cut at whole bytes. What has an operand x has it in the type of dst. */
static void move_span(struct clq_span *part, const struct clq_span *span, int64_t row, int64_t col, int64_t src_bytes, int64_t dst_bytes)
{
    part->src = move(span->src, row * span->src_pitch + col, src_bytes);
    part->dst = (char *)move(span->dst, row * span->dst_pitch + col, dst_bytes);
    if (span->x) part->x = move(span->x, row * span->x_pitch + col, dst_bytes);
    if (span->mask) part->mask = span->mask + row * span->mask_pitch + col / 8;
}

/* Rows of less than half a table that lie one behind the other and share parameters, one for each column: several make a long row, whose
   table holds the parameters several times. Where they stream all of them make one row. */
static void run_short_rows(const struct task *task, span_kernel kernel, int64_t src_bytes, int64_t dst_bytes)
{
    const int64_t cols = task->span.cols, rows = task->span.rows;
    const int64_t most = TABLE / cols;
    const int64_t copies = task->span.streams ? most : clq_max_i64(1, clq_min_i64(rows / STRIP_ROWS, most)), rest = rows % copies;
    struct task part = *task;
    struct table table;
    start_table(&table, 1, cols);
    fill_table(&table, task, 0, cols);
    repeat(table.s, cols, copies * cols + TABLE_END);
    repeat(table.r, cols, copies * cols + TABLE_END);
    repeat(table.z, cols, copies * cols + TABLE_END);
    if (task->span.source_zero_point) repeat(table.source_z, cols, copies * cols + TABLE_END);
    if (task->span.streams) {
        table.period = copies * cols;
        part.span.rows = 1;
        part.span.cols = rows * cols;
        kernel(&part, &table);
        return;
    }
    end_table(&table, copies * cols, task);
    part.span.rows = rows / copies;
    part.span.cols = part.span.src_pitch = part.span.dst_pitch = part.span.x_pitch = copies * cols;
    part.span.mask_pitch = copies * cols / 8;
    kernel(&part, &table);
    if (rest == 0) return;
    move_span(&part.span, &task->span, part.span.rows * copies, 0, src_bytes, dst_bytes);
    part.span.rows = 1;
    part.span.cols = rest * cols;
    kernel(&part, &table);
}

/* All columns of a table, one table after the other; all rows at once if they share the parameters, several if their parameters make a table. */
static void run_tables(const struct task *task, span_kernel kernel, int64_t src_bytes, int64_t dst_bytes)
{
    const struct clq_span *span = &task->span;
    const bool spread = span->group > 1 && span->group < PERMUTED_GROUP;
    const int64_t own = spread ? span->group : 1; /* entries of a table for each parameter */
    const int64_t room = TABLE / own / 8 * 8; /* whole bytes of a mask */
    const int64_t params = clq_ceil_div(span->cols, span->group), tables = clq_ceil_div(params, room);
    const int64_t step = clq_min_i64(room, (clq_ceil_div(params, tables) + QUAD - 1) / QUAD * QUAD);
    const bool joined = span->param_pitch == params && params <= TABLE / 2 && !spread;
    struct task part = *task;
    struct table table;
    start_table(&table, span->group, span->cols);
    if (joined) table.row_params = params;
    for (int64_t row = 0; row < span->rows; row += part.span.rows) {
        if (span->param_pitch != 0) part.span.rows = joined ? clq_min_i64(TABLE / params, span->rows - row) : 1;
        for (int64_t p = 0; p < params; p += step) {
            const int64_t col = p * span->group, first = row * span->param_pitch + p;
            part.span.cols = clq_min_i64(step * span->group, span->cols - col);
            if (spread)
                spread_table(&table, task, first, part.span.cols);
            else
                fill_table(&table, task, first, joined ? part.span.rows * params : clq_min_i64(step, params - p));
            move_span(&part.span, span, row, col, src_bytes, dst_bytes);
            kernel(&part, &table);
        }
    }
}

/* The rows of all operands lie one behind the other. */
static bool is_dense(const struct clq_span *span)
{
    return span->src_pitch == span->cols && span->dst_pitch == span->cols && (!span->x || span->x_pitch == span->cols) &&
           (!span->mask || span->mask_pitch * 8 == span->cols);
}

/* Makes one row of rows that lie one behind the other, where parameters allow it. */
static void join_rows(struct clq_span *span)
{
    int64_t groups;
    bool one_for_all;
    if (span->group > span->cols) span->group = span->cols;
    if (span->rows == 1 || !is_dense(span)) return;
    groups = clq_ceil_div(span->cols, span->group);
    one_for_all = groups == 1 && span->param_pitch == 0;
    if (!one_for_all && (span->cols % span->group != 0 || span->param_pitch != groups)) return;
    span->cols *= span->rows;
    span->rows = 1;
    if (one_for_all) span->group = span->cols;
}

/* Groups of a few elements where filling a table for a row alone costs more than it saves. */
INLINE bool has_few_groups(const struct clq_span *span)
{
    const int64_t most = 8;
    return span->rows > 1 && span->param_pitch != 0 && span->cols <= most * span->group && span->param_pitch != clq_ceil_div(span->cols, span->group);
}

/* By runs: rows one behind the other are one. */
static void run_runs(struct task *task, span_kernel kernel)
{
    struct clq_span *span = &task->span;
    task->row_cols = span->cols;
    if (is_dense(span)) {
        span->cols *= span->rows;
        span->rows = 1;
    }
    kernel(task, NULL);
}

static void run_span(const struct clq_span *whole, int32_t bias, span_kernel kernel, int64_t src_bytes, int64_t dst_bytes)
{
    struct task task = {.span = *whole, .bias = bias};
    struct clq_span *span = &task.span;
    bool has_short_rows;
    if (span->rows <= 0 || span->cols <= 0) return;
    span->qmin -= bias;
    span->qmax -= bias;
    join_rows(span);
    has_short_rows = span->rows > 1 && span->param_pitch == 0 && span->group == 1 && is_dense(span) && span->cols <= TABLE / 2;
    if (span->rows > 1 && span->cols < STREAM_COLS && !has_short_rows) span->streams = false;
    if (span->group == span->cols || span->group >= QUAD || has_few_groups(span))
        run_runs(&task, kernel);
    else if (has_short_rows)
        run_short_rows(&task, kernel, src_bytes, dst_bytes);
    else
        run_tables(&task, kernel, src_bytes, dst_bytes);
    if (span->streams) end_streams();
}

/* What a kernel works on at a time: a run, or up to STRIP_ROWS rows that share a table. */
struct strip {
    const char *src;
    char *dst;
    int64_t src_pitch, dst_pitch; /* bytes */
    int64_t rows, cols;
    bool streams;  /* one row: several at once are slower where they come from memory */
    int64_t ahead; /* bytes, for that */
};

/* How far ahead memory is asked for where rows of `bytes` follow each other. */
INLINE int64_t find_ahead(const struct clq_span *span, int64_t pitch, int64_t bytes)
{
    const int64_t row_bytes = span->cols * bytes;
    if (!span->streams || span->rows == 1 || row_bytes >= AHEAD_BYTES) return AHEAD_BYTES;
    return clq_ceil_div(AHEAD_BYTES, row_bytes) * pitch * bytes;
}

/* Quads of a row may be streamed if those from some column on are aligned: after how many columns, less than a quad; -1 if that cannot be, or is not
   worth it, or those columns have to be a multiple of `unit`. */
INLINE int64_t find_head(const char *dst, int64_t bytes, int64_t cols, int64_t unit)
{
    const int64_t before = (int64_t)(-(uintptr_t)dst % (4 * WIDTH)), head = before / bytes;
    if (before == 0) return 0;
    return before % bytes == 0 && head % unit == 0 && cols >= STREAM_COLS ? head : -1;
}

/* Up to STRIP_ROWS rows from `row` on. */
INLINE struct strip get_strip(const struct task *task, const struct table *table, int64_t row, int64_t src_bytes, int64_t dst_bytes)
{
    const struct clq_span *span = &task->span;
    const int64_t rows = span->streams || (table && table->row_params) ? 1 : STRIP_ROWS;
    return (struct strip){move(span->src, row * span->src_pitch, src_bytes),
                          (char *)move(span->dst, row * span->dst_pitch, dst_bytes),
                          span->src_pitch * src_bytes,
                          span->dst_pitch * dst_bytes,
                          clq_min_i64(rows, span->rows - row),
                          span->cols,
                          span->streams,
                          find_ahead(span, span->src_pitch, src_bytes)};
}
