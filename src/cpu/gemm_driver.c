/* SPDX-License-Identifier: MIT */
/*
 * The integer matrix product around the kernels of gemm.h.
 *
 *   B in panels, packed beforehand; or in chunks that fill the workspace, by all threads; or, where a part uses a panel once, by that part, just before
 *   parts: ranges of matrices, of rows and of panels, one for each thread
 *     blocks of rows of A that stay in the second-level cache, packed
 *       panels; groups of them, piece by piece, where parts pack them
 *         strips of rows whose sums stay in the first-level cache: tiles, then the epilogue
 *
 * Zero points, with the identity in unsigned arithmetic (the sums are exact modulo 2^32)
 *
 *     sum (a - za)(b - zb) = sum ab - za * colsum(b) - zb * y        y = rowsum(a) - k * za
 *
 * enter a tile's inits where that is possible. za, zb and the sums are those of packed elements, which a kernel may have flipped.
 */
#include "config.h"

#include "cpu/gemm_driver.h"

#include "base/alloc.h"
#include "base/util.h"
#include "cpu/gemm.h"
#include "quant_math.h"
#include <string.h>

enum {
    MAX_COLS = 32,             /* of a panel */
    MAX_ROWS = 512,            /* of a block of A */
    NARROW_ROWS = 128,         /* from here on few columns have a path of their own; rows of a strip there */
    READY_ROWS = 64,           /* up to here no more pages than the first TLB has, at any pitch */
    FEW_ROWS = 16,             /* up to here B's way from memory is what takes time */
    GROUP = 64,                /* panels packed side by side: long pieces of the rows of B */
    PAGE_BYTES = 4096,         /* rows at multiples of it share a set of the first-level cache */
    PIECE_BYTES = 4096,        /* of a panel that is packed and used at once, */
    KEPT_BYTES = 64 << 10,     /* of one that stays in a cache for the tiles of a strip */
    STRIP_BYTES = 16 << 10,    /* of sums */
    GROUP_BYTES = 64 << 10,    /* of those of panels in turn */
    BLOCK_BYTES = 512 << 10,   /* of A */
    CHUNK_BYTES = 16 << 20,    /* of B, packed on the way */
    TASK_WORK = 1 << 20,       /* multiplications for which a thread is worth its start */
    PACK_WORK = 8              /* what packing an element costs, in multiplications */
};

/* How B lies, packed: matrices of panels. */
struct panels {
    const struct clq_gemm_kernels *kernels;
    int64_t batch, k, n, k_padded, per_matrix;
    int64_t bytes; /* of a panel */
};

/* A product under way. */
struct product {
    const struct clq_cpu_ops *ops;
    const struct clq_gemm_kernels *kernels;
    struct clq_gemm gemm;
    struct panels panels;
    int a_type, b_type;
    int64_t a_pitch, block_rows, strip_rows, copied_rows; /* rows of A in a block, in a strip, transposed at a time */
    int64_t group, piece;  /* panels taken in turn, elements along k of each at a time */
    bool is_narrow;        /* few columns of B, taken by themselves, against rows of A as they lie */
    int64_t columns;       /* so many, with one of ones if needs_row_sums */
    int64_t chunk;         /* panels of B packed at a time for all parts; 0: B is packed, or each part packs pieces of its own */
    int64_t part_bytes;    /* of workspace */
    int64_t batch_parts, row_parts, panel_parts;
    char *parts, *packed;  /* workspace */
    int32_t *packed_sums;
    int64_t first_packed, first_matrix, matrices, first_panel, last_panel; /* the chunk at hand: the number of its first panel; what it holds */
    int32_t a_zero_point, b_zero_point; /* of packed elements: uniform ones, else what is to be added to each */
    bool is_a_uniform, is_b_uniform;
    bool needs_sums; /* of the columns of B: a zero point of A is not 0; */
    bool needs_row_sums; /* of the rows of A: one of B may be other than 0. The cut, and so the workspace, depends on no values */
    bool is_folded;  /* into col_init */
    bool is_a_ready; /* A needs no packing: kernels take it as it lies */
};

static int type_of(clq_dtype dtype)
{
    return dtype == CLQ_U8 ? CLQ_GEMM_U8 : CLQ_GEMM_S8;
}

/* What a flipped element is more than its value. */
static int32_t flip_offset(uint8_t flip, int type)
{
    return !flip ? 0 : type == CLQ_GEMM_S8 ? 128 : -128;
}

static int64_t round_up(int64_t value, int64_t unit)
{
    return clq_ceil_div(value, unit) * unit;
}

static struct panels describe_panels(const struct clq_gemm_kernels *kernels, int64_t batch, int64_t k, int64_t n)
{
    struct panels panels = {.kernels = kernels, .batch = batch, .k = k, .n = n, .k_padded = round_up(k, kernels->k_unit), .per_matrix = clq_ceil_div(n, kernels->cols)};
    panels.bytes = round_up(panels.k_padded * kernels->cols * kernels->element_bytes, CLQ_ALIGNMENT);
    return panels;
}

/* ------------------------------------------------------------------------------------------------ packing B */

/* A range of panels, numbered through all matrices, being packed. */
struct packing {
    const struct panels *panels;
    const struct clq_matrix *b;
    int64_t first, count, group; /* panels that a task packs side by side */
    char *target;
    int32_t *sums; /* NULL: not wanted */
};

/* An element of matrix `index`; with no elements there may be no memory either. */
static const char *matrix_at(const struct clq_matrix *matrix, int64_t index, int64_t row, int64_t col)
{
    const int64_t bytes = clq_dtype_bits(matrix->dtype) / 8;
    const int64_t offset = (index * matrix->batch_stride + row * matrix->row_stride + col * matrix->col_stride) * bytes;
    return (const char *)((uintptr_t)matrix->data + (uintptr_t)offset);
}

/* k elements, from k0 on, of one panel of a matrix. Adds to the sums of its columns unless they are NULL. */
static void pack_piece(const struct panels *panels, const struct clq_matrix *b, int64_t index, int64_t k0, int64_t k, int64_t k_padded, void *target,
                       int32_t *sums)
{
    const int64_t matrix = index / panels->per_matrix, col = index % panels->per_matrix * panels->kernels->cols;
    panels->kernels->pack_b(matrix_at(b, matrix, k0, col), b->row_stride, b->col_stride, k, clq_min_i64(panels->n - col, panels->kernels->cols),
                           k_padded, type_of(b->dtype), target, sums);
}

/* Side by side, a few elements along k at a time: rows of B are read in long pieces if its columns are adjacent. */
static void pack_group(void *argument, int64_t task)
{
    const struct packing *packing = argument;
    const struct panels *panels = packing->panels;
    const struct clq_gemm_kernels *kernels = panels->kernels;
    const int64_t begin = task * packing->group, end = clq_min_i64(begin + packing->group, packing->count);
    const int64_t step = packing->b->row_stride == 1 ? panels->k_padded : round_up(64, kernels->k_unit);
    if (packing->sums) memset(packing->sums + begin * kernels->cols, 0, (size_t)((end - begin) * kernels->cols) * sizeof packing->sums[0]);
    for (int64_t k = 0; k < panels->k_padded; k += step)
        for (int64_t i = begin; i < end; ++i)
            pack_piece(panels, packing->b, packing->first + i, k, clq_min_i64(step, panels->k - k), clq_min_i64(step, panels->k_padded - k),
                       packing->target + i * panels->bytes + k * kernels->cols * kernels->element_bytes,
                       packing->sums ? packing->sums + i * kernels->cols : NULL);
}

static void pack_panels(const struct clq_threads *threads, struct packing *packing)
{
    const struct clq_threads alone = {.count = 1};
    const struct panels *panels = packing->panels;
    const bool is_small = packing->count * panels->bytes < TASK_WORK;
    packing->group = packing->b->row_stride == 1 ? 1 : clq_max_i64(1, clq_min_i64(GROUP, packing->count / threads->count));
    clq_parallel_for(is_small ? &alone : threads, clq_ceil_div(packing->count, packing->group), pack_group, packing);
}

bool clq_gemm_pack(const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_matrix *b, struct clq_packed *packed)
{
    const struct clq_gemm_kernels *kernels = ops->gemm;
    struct panels panels;
    struct packing packing = {.panels = &panels, .b = b};
    int64_t bytes, cols;
    /* What can be multiplied out here can be below. */
    if (!clq_add_i64(packed->k, kernels->k_unit, &bytes) || !clq_add_i64(packed->n, kernels->cols, &cols) || !clq_mul_i64(bytes, cols, &bytes) ||
        !clq_mul_i64(bytes, kernels->element_bytes * clq_max_i64(packed->batch, 1), &bytes))
        return false;
    panels = describe_panels(kernels, packed->batch, packed->k, packed->n);
    packing.count = panels.batch * panels.per_matrix;
    packed->path = kernels;
    packed->data = clq_alloc(&packed->allocator, clq_max_i64(1, packing.count), (size_t)clq_max_i64(1, panels.bytes));
    packed->col_sums = clq_alloc(&packed->allocator, clq_max_i64(1, packing.count), (size_t)kernels->cols * sizeof(int32_t));
    if (!packed->data || !packed->col_sums) return false;
    packing.target = packed->data;
    packing.sums = packed->col_sums;
    if (packing.count > 0) pack_panels(threads, &packing);
    return true;
}

/* ------------------------------------------------------------------------------------------------ plan */

/* The least work of the part with the most: whole tiles, the rows of A that it packs, and the columns of B that it packs, or fetches from who did. */
static void split(struct product *product, int64_t threads)
{
    const struct clq_gemm *gemm = &product->gemm;
    const struct clq_gemm_kernels *kernels = product->kernels;
    const int64_t row_units = clq_ceil_div(gemm->m, kernels->row_unit), panels = product->panels.per_matrix;
    double least = 0;
    product->batch_parts = clq_min_i64(gemm->batch, threads);
    if (!gemm->packed && gemm->m > FEW_ROWS && product->panels.batch > 1) /* as many matrices as a chunk of B may hold */
        product->batch_parts = clq_min_i64(product->batch_parts, clq_max_i64(1, CHUNK_BYTES / clq_max_i64(1, product->panels.bytes * panels)));
    threads = clq_max_i64(1, threads / product->batch_parts);
    product->row_parts = product->panel_parts = 1;
    for (int64_t parts = 1; parts <= (gemm->m <= FEW_ROWS ? 1 : clq_min_i64(threads, row_units)); ++parts) {
        const int64_t panel_parts = clq_min_i64(threads / parts, panels);
        const double rows = (double)(clq_ceil_div(row_units, parts) * kernels->row_unit), cols = (double)(clq_ceil_div(panels, panel_parts) * kernels->cols);
        const double work = rows * (cols + (product->is_a_ready ? 0 : PACK_WORK)) + (gemm->packed ? 0 : cols * PACK_WORK);
        if (parts > 1 && work >= least) continue;
        least = work;
        product->row_parts = parts;
        product->panel_parts = panel_parts;
    }
}

static int64_t count_threads(const struct clq_threads *threads, const struct clq_gemm *gemm)
{
    const double work = (double)gemm->batch * (double)gemm->m * (double)gemm->n * (double)gemm->k;
    const double most = work / TASK_WORK;
    return most < 1 ? 1 : most < threads->count ? (int64_t)most : threads->count;
}

/* A batch whose matrices of A and of C lie below each other, against one B, is one matrix. */
static void merge_batch(struct clq_gemm *gemm)
{
    const bool is_one_b = gemm->packed ? gemm->packed->batch == 1 : gemm->b.batch_stride == 0;
    if (gemm->batch == 1 || !is_one_b || !gemm->a_params.is_single) return;
    if (gemm->a.batch_stride != gemm->m * gemm->a.row_stride || gemm->c.batch_stride != gemm->m * gemm->c.row_stride) return;
    gemm->m *= gemm->batch;
    gemm->batch = 1;
}

/* Room in the workspace, one array after the other. */
static int64_t take(int64_t *at, int64_t bytes)
{
    const int64_t begin = *at;
    *at += round_up(bytes, CLQ_ALIGNMENT);
    return begin;
}

/* A part's workspace. */
struct room {
    int64_t columns, a, copy, sums, b, out;
};

/* Of a strip: the last one takes a few rows that are left. */
static int64_t most_rows(const struct product *product)
{
    return product->strip_rows + product->kernels->rows;
}

/* Bytes of a block of A for a piece along k. */
static int64_t block_pitch(const struct product *product)
{
    return product->block_rows * product->a_pitch;
}

/* Bytes of a column of B by itself: a step more than its k elements. */
static int64_t column_pitch(const struct product *product)
{
    return round_up((product->gemm.k + product->kernels->row_step) * product->kernels->element_bytes, CLQ_ALIGNMENT);
}

static struct room lay_out(const struct product *product, int64_t *bytes)
{
    const struct clq_gemm_kernels *kernels = product->kernels;
    struct room room;
    *bytes = 0;
    room.columns = take(bytes, product->is_narrow ? product->columns * column_pitch(product) : 0);
    room.a = take(bytes, product->is_narrow ? 0 : clq_max_i64(1, clq_ceil_div(product->panels.k_padded, product->piece)) * block_pitch(product));
    room.copy = take(bytes, product->copied_rows * product->gemm.k);
    room.sums = take(bytes, product->group * most_rows(product) * kernels->cols * (int64_t)sizeof(int32_t));
    room.b = take(bytes, product->gemm.packed || product->chunk || product->is_narrow ? 0 : product->piece * kernels->cols * kernels->element_bytes);
    room.out = take(bytes, most_rows(product) * kernels->cols * (int64_t)sizeof(float));
    return room;
}

/* Bytes from row to row of a piece of A: an odd number of cache lines, to lie in different sets of a cache. */
static int64_t row_pitch(const struct product *product)
{
    return round_up(product->piece * product->kernels->element_bytes, CLQ_ALIGNMENT) | CLQ_ALIGNMENT;
}

/* With few rows B, if it is not packed, is packed piece by piece for each part, several panels side by side unless its columns are what lies together. */
static void plan_few(struct product *product)
{
    const struct clq_gemm *gemm = &product->gemm;
    const struct clq_gemm_kernels *kernels = product->kernels;
    const bool is_by_columns = gemm->b.row_stride == 1 && gemm->b.col_stride != 1;
    const int64_t bytes = gemm->packed ? KEPT_BYTES : is_by_columns ? 8 * PIECE_BYTES : PIECE_BYTES;
    product->strip_rows = product->block_rows = round_up(gemm->m, kernels->rows);
    product->piece = clq_min_i64(product->piece, round_up(bytes / kernels->cols / kernels->element_bytes, kernels->k_unit));
    product->group = gemm->packed || is_by_columns ? 1 : GROUP;
    product->a_pitch = row_pitch(product);
}

static void plan_many(struct product *product)
{
    const struct panels *panels = &product->panels;
    const struct clq_gemm_kernels *kernels = product->kernels;
    const int64_t tiles = clq_ceil_div(clq_ceil_div(product->gemm.m, product->row_parts), kernels->rows);
    int64_t row_bytes;
    product->piece = clq_min_i64(product->piece, round_up(KEPT_BYTES / kernels->cols / kernels->element_bytes, kernels->k_unit));
    product->a_pitch = row_pitch(product);
    row_bytes = product->a_pitch * clq_max_i64(1, clq_ceil_div(panels->k_padded, product->piece));
    product->block_rows = kernels->rows * clq_max_i64(1, clq_min_i64(tiles, clq_min_i64(MAX_ROWS, BLOCK_BYTES / row_bytes) / kernels->rows));
    product->strip_rows = kernels->rows * clq_max_i64(1, STRIP_BYTES / (int64_t)sizeof(int32_t) / kernels->cols / kernels->rows);
    product->strip_rows = clq_min_i64(product->strip_rows, product->block_rows);
    if (product->gemm.packed) return;
    if (product->row_parts == 1 && product->gemm.m <= product->block_rows) { /* each part uses each of its panels once */
        product->strip_rows = product->block_rows;
        if (product->piece < panels->k_padded) /* rows of B are read in longer pieces then */
            product->group = clq_max_i64(1, clq_min_i64(GROUP, GROUP_BYTES / (int64_t)sizeof(int32_t) / kernels->cols / product->strip_rows));
        return;
    }
    product->chunk = clq_min_i64(panels->batch * panels->per_matrix, clq_max_i64(1, CHUNK_BYTES / clq_max_i64(1, panels->bytes)));
    if (product->chunk > panels->per_matrix) product->chunk -= product->chunk % panels->per_matrix;
}

static bool is_uniform(const struct clq_gemm_params *params, int64_t n)
{
    if (!params->zero_point || params->is_single) return true;
    for (int64_t i = 1; i < n; ++i)
        if (params->zero_point[i] != params->zero_point[0]) return false;
    return true;
}

/* A zero point for packed elements: all of it, or what each is more. */
static int32_t find_zero_point(const struct clq_gemm_params *params, bool is_uniform, int32_t offset)
{
    if (!is_uniform) return offset;
    return (params->zero_point ? params->zero_point[0] : params->fixed_zero_point) + offset;
}

/* What each packed element of B is more than its value. */
static int32_t b_offset(const struct product *product)
{
    return flip_offset(product->kernels->flip_b[product->b_type], product->b_type);
}

static void set_zero_points(struct product *product)
{
    const struct clq_gemm *gemm = &product->gemm;
    product->is_a_uniform = is_uniform(&gemm->a_params, gemm->m);
    product->is_b_uniform = is_uniform(&gemm->b_params, gemm->n);
    product->a_zero_point =
        find_zero_point(&gemm->a_params, product->is_a_uniform, flip_offset(product->kernels->flip_a[product->a_type], product->a_type));
    product->b_zero_point = find_zero_point(&gemm->b_params, product->is_b_uniform, b_offset(product));
    product->needs_sums = !product->is_a_uniform || product->a_zero_point != 0;
}

/* A few columns of B against long rows of A. */
static void plan_narrow(struct product *product)
{
    const struct clq_gemm *gemm = &product->gemm;
    const struct clq_gemm_kernels *kernels = product->kernels;
    product->columns = gemm->n + product->needs_row_sums;
    product->is_narrow = kernels->dot_rows[product->a_type] && product->columns <= CLQ_GEMM_FEW_COLS && gemm->m >= NARROW_ROWS && gemm->a.col_stride == 1 &&
                         gemm->k >= kernels->row_step;
    if (!product->is_narrow) return;
    product->group = 1;
    product->block_rows = product->strip_rows = NARROW_ROWS;
}

static bool is_a_ready(const struct product *product)
{
    const struct clq_gemm *gemm = &product->gemm;
    const struct clq_gemm_kernels *kernels = product->kernels;
    return gemm->k > 0 && kernels->element_bytes == 1 && kernels->flip_a[product->a_type] == 0 && gemm->a.col_stride == 1 &&
           gemm->k == product->panels.k_padded && (gemm->k * kernels->cols <= KEPT_BYTES || gemm->m <= READY_ROWS) &&
           gemm->a.row_stride >= gemm->k && gemm->a.row_stride <= 2 * gemm->k &&
           gemm->a.row_stride % PAGE_BYTES != 0 && !product->needs_row_sums;
}

/* How the product is cut, and the workspace it takes. */
static int64_t plan(struct product *product, const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_gemm *gemm)
{
    const struct clq_gemm_kernels *kernels = ops->gemm;
    int64_t bytes;
    if (gemm->k > (int64_t)1 << 40) return INT64_MAX;
    *product = (struct product){.ops = ops, .kernels = kernels, .gemm = *gemm, .a_type = type_of(gemm->a.dtype), .b_type = type_of(gemm->b.dtype)};
    merge_batch(&product->gemm);
    gemm = &product->gemm;
    product->needs_row_sums = gemm->b_params.zero_point || gemm->b_params.fixed_zero_point + b_offset(product) != 0;
    product->panels = describe_panels(kernels, gemm->packed ? gemm->packed->batch : gemm->b.batch_stride == 0 ? 1 : gemm->batch, gemm->k, gemm->n);
    product->is_a_ready = is_a_ready(product);
    split(product, count_threads(threads, gemm));
    product->group = 1;
    product->piece = clq_max_i64(product->panels.k_padded, kernels->k_unit);
    plan_narrow(product);
    if (gemm->m <= FEW_ROWS)
        plan_few(product);
    else if (!product->is_narrow)
        plan_many(product);
    product->copied_rows = gemm->a.col_stride == 1 ? 0 : clq_min_i64(product->block_rows, 64);
    lay_out(product, &product->part_bytes);
    bytes = product->batch_parts * product->row_parts * product->panel_parts * product->part_bytes;
    take(&bytes, product->chunk * product->panels.bytes);
    take(&bytes, product->chunk * kernels->cols * (int64_t)sizeof(int32_t));
    return bytes;
}

int64_t clq_gemm_workspace(const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_gemm *gemm)
{
    struct product product;
    return plan(&product, ops, threads, gemm);
}

/* ------------------------------------------------------------------------------------------------ a part */

/* A block of packed rows of A, and what belongs to them. */
struct block {
    int64_t first, rows;
    const char *a;
    int64_t a_pitch, piece_pitch; /* bytes from row to row and from piece to piece along k */
    int32_t zero_point[MAX_ROWS], y[MAX_ROWS], row_init[MAX_ROWS];
};

/* A panel of B, and what belongs to its columns. */
struct panel {
    int64_t index, first, cols; /* of the panel in its matrix; its first column */
    const char *b;              /* NULL: to be packed piece by piece, */
    int32_t piece_sums[MAX_COLS];
    const int32_t *sums;        /* which are known in the end only then */
    int32_t zero_point[MAX_COLS], col_init[MAX_COLS];
    float scale[MAX_COLS];      /* of f32: what sums are multiplied by, or that of B; of 8 bits: multipliers */
};

/* What a thread works on. */
struct part {
    const struct product *product;
    struct room room;
    char *memory;
    int64_t matrix; /* of the batch */
    struct block block;
    struct panel panels[GROUP];
};

/* The zero point of packed elements of a row of A. */
static uint32_t a_zero_point_at(const struct product *product, int64_t row)
{
    return (uint32_t)product->a_zero_point + (product->is_a_uniform ? 0 : (uint32_t)product->gemm.a_params.zero_point[row]);
}

/* Rows [begin, end) of a block: all rows of a piece along k, then those of the next, so that what is in use together lies together. */
static void pack_rows(struct part *part, int64_t begin, int64_t end)
{
    const struct product *product = part->product;
    const struct clq_matrix *a = &product->gemm.a;
    const int64_t k = product->gemm.k, k_padded = product->panels.k_padded;
    const char *src = matrix_at(a, part->matrix, part->block.first + begin, 0);
    int64_t pitch = a->row_stride;
    if (a->col_stride != 1) {
        char *copy = part->memory + part->room.copy;
        product->ops->copy2d[0](src, a->row_stride, a->col_stride, copy, k, 1, end - begin, k);
        src = copy;
        pitch = k;
    }
    for (int64_t k0 = 0; k0 < k; k0 += product->piece) /* the last piece has elements: there are no more than k_unit - 1 behind k */
        product->kernels->pack_a(src + k0, pitch, end - begin, clq_min_i64(product->piece, k - k0), clq_min_i64(product->piece, k_padded - k0),
                                 product->a_type, part->memory + part->room.a + k0 / product->piece * block_pitch(product) + begin * product->a_pitch,
                                 product->a_pitch, product->needs_row_sums ? part->block.y + begin : NULL);
}

/* What the sums of rows, which are in y, and zero points come to. */
static void set_row_inits(const struct product *product, struct block *block)
{
    for (int64_t i = 0; i < block->rows; ++i) {
        const uint32_t z = a_zero_point_at(product, block->first + i);
        block->zero_point[i] = (int32_t)z;
        if (!product->is_folded) block->y[i] = (int32_t)((uint32_t)block->y[i] - (uint32_t)product->gemm.k * z);
        block->row_init[i] = (int32_t)-((uint32_t)product->b_zero_point * (uint32_t)block->y[i]);
    }
}

static void pack_block(struct part *part, int64_t first, int64_t rows)
{
    const struct product *product = part->product;
    const int64_t step = product->copied_rows ? product->copied_rows : rows;
    struct block *block = &part->block;
    const bool is_ready = product->is_a_ready, has_inits = product->needs_row_sums || !product->is_folded;
    block->first = first;
    block->rows = rows;
    block->a = is_ready ? matrix_at(&product->gemm.a, part->matrix, first, 0) : part->memory + part->room.a;
    block->a_pitch = is_ready ? product->gemm.a.row_stride : product->a_pitch;
    block->piece_pitch = is_ready ? product->piece : block_pitch(product);
    if (has_inits) memset(block->y, 0, (size_t)rows * sizeof block->y[0]);
    for (int64_t i = 0; !is_ready && i < rows; i += step)
        pack_rows(part, i, clq_min_i64(i + step, rows));
    if (has_inits) set_row_inits(product, block);
}

static float panel_scale(const struct product *product, int64_t col)
{
    const struct clq_gemm *gemm = &product->gemm;
    const float b = gemm->b_params.scale[gemm->b_params.is_single ? 0 : col];
    const float s = gemm->a_params.is_single ? clqm_product_scale(gemm->a_params.scale[0], b) : b;
    return gemm->c.dtype == CLQ_F32 || !gemm->a_params.is_single ? s : clqm_multiplier(s, *gemm->c_params.scale);
}

/* The zero points of the columns of a panel, as packed. */
static void set_col_zero_points(const struct product *product, struct panel *panel)
{
    for (int64_t j = 0; j < panel->cols; ++j)
        panel->zero_point[j] = (int32_t)((uint32_t)product->b_zero_point +
                                         (product->is_b_uniform ? 0 : (uint32_t)product->gemm.b_params.zero_point[panel->first + j]));
}

/* Once the sums of the columns are known. */
static void set_col_inits(const struct product *product, struct panel *panel)
{
    const struct clq_gemm *gemm = &product->gemm;
    const int32_t *bias = gemm->c.dtype == CLQ_F32 || !gemm->bias ? NULL : (const int32_t *)gemm->bias + panel->first;
    const int32_t za = product->is_folded ? product->a_zero_point : 0, minus_kza = (int32_t)-((uint32_t)gemm->k * (uint32_t)za);
    const uint32_t least = product->is_b_uniform ? (uint32_t)gemm->k * (uint32_t)za * (uint32_t)product->b_zero_point : 0;
    memset(panel->col_init, 0, sizeof panel->col_init);
    if (bias) memcpy(panel->col_init, bias, (size_t)panel->cols * sizeof bias[0]);
    for (int64_t j = 0; least != 0 && j < panel->cols; ++j)
        panel->col_init[j] = (int32_t)((uint32_t)panel->col_init[j] + least);
    if (za == 0) return;
    product->kernels->subtract_outer(panel->col_init, MAX_COLS, 1, panel->cols, &za, panel->sums);
    if (!product->is_b_uniform) product->kernels->subtract_outer(panel->col_init, MAX_COLS, 1, panel->cols, &minus_kza, panel->zero_point);
}

static void describe_panel(const struct part *part, int64_t index, struct panel *panel)
{
    const struct product *product = part->product;
    const struct panels *panels = &product->panels;
    const int64_t number = (panels->batch == 1 ? 0 : part->matrix) * panels->per_matrix + index, from = number - product->first_packed;
    panel->index = number;
    panel->first = index * panels->kernels->cols;
    panel->cols = clq_min_i64(panels->kernels->cols, product->gemm.n - panel->first);
    panel->b = product->packed ? product->packed + from * panels->bytes : NULL;
    panel->sums = product->packed ? product->packed_sums + from * panels->kernels->cols : panel->piece_sums;
    if (!product->is_b_uniform || product->is_narrow) set_col_zero_points(product, panel);
    for (int64_t j = 0; product->gemm.c.dtype != CLQ_S32 && j < panel->cols; ++j)
        panel->scale[j] = panel_scale(product, panel->first + j);
}

/* ------------------------------------------------------------------------------------------------ from sums to C */

static void finish_f32(const struct part *part, const struct panel *panel, int64_t row, int64_t rows, const int32_t *sums, void *dst, int64_t dst_pitch)
{
    const struct product *product = part->product;
    const struct clq_gemm *gemm = &product->gemm;
    const struct clq_gemm_finish finish = {
        .c = sums, .c_pitch = product->kernels->cols, .rows = rows, .cols = panel->cols,
        .row_scale = gemm->a_params.is_single ? NULL : gemm->a_params.scale + part->block.first + row, .col_scale = panel->scale,
        .bias = gemm->bias ? (const float *)gemm->bias + panel->first : NULL, .relu = gemm->relu, .low = gemm->low, .high = gemm->high, .dst = dst, .dst_pitch = dst_pitch};
    product->kernels->finish_f32(&finish);
}

static void finish_8bit(const struct part *part, const struct panel *panel, int64_t row, int64_t rows, const int32_t *sums, void *dst, int64_t dst_pitch)
{
    static const int32_t zeros[MAX_COLS];
    const struct product *product = part->product;
    const struct clq_gemm *gemm = &product->gemm;
    const bool is_by_row = !gemm->a_params.is_single;
    const clq_span_fn requantize = product->ops->requantize[CLQ_INT_S32][gemm->c.dtype == CLQ_U8];
    const int32_t zero_point = gemm->c_params.zero_point ? *gemm->c_params.zero_point : gemm->c_params.fixed_zero_point;
    int32_t zero_points[MAX_COLS];
    float multipliers[MAX_COLS];
    struct clq_span span = {.rows = is_by_row ? 1 : rows, .cols = panel->cols, .src_pitch = product->kernels->cols,
                            .dst_pitch = dst_pitch, .group = gemm->b_params.is_single ? panel->cols : 1, .scale = is_by_row ? multipliers : panel->scale,
                            .zero_point = zero_points, .source_zero_point = zeros, .qmin = gemm->qmin, .qmax = gemm->qmax};
    for (int64_t j = 0; j < panel->cols; ++j)
        zero_points[j] = zero_point;
    for (int64_t i = 0; i < rows; i += span.rows) {
        span.src = sums + i * span.src_pitch;
        span.dst = (char *)dst + i * dst_pitch;
        for (int64_t j = 0; is_by_row && j < panel->cols; ++j)
            multipliers[j] = clqm_multiplier(clqm_product_scale(gemm->a_params.scale[part->block.first + row + i], panel->scale[j]), *gemm->c_params.scale);
        requantize(&span);
    }
}

/* What tiles could not take into account. */
static void correct_strip(struct part *part, const struct panel *panel, int64_t row, int64_t rows, int32_t *sums)
{
    const struct product *product = part->product;
    const int64_t pitch = product->kernels->cols;
    if (product->needs_sums && !product->is_folded)
        product->kernels->subtract_outer(sums, pitch, rows, panel->cols, part->block.zero_point + row, panel->sums);
    if (!product->is_b_uniform) product->kernels->subtract_outer(sums, pitch, rows, panel->cols, part->block.y + row, panel->zero_point);
}

/* Sums of a strip, from `row` of the block on, to C. */
static void finish_strip(struct part *part, const struct panel *panel, int64_t row, int64_t rows, int32_t *sums)
{
    const struct product *product = part->product;
    const struct clq_matrix *c = &product->gemm.c;
    const int64_t pitch = product->kernels->cols, log2_bytes = c->dtype == CLQ_S32 || c->dtype == CLQ_F32 ? 2 : 0;
    char *const target = (char *)(uintptr_t)matrix_at(c, part->matrix, part->block.first + row, panel->first);
    const bool is_adjacent = c->col_stride == 1;
    void *const out = is_adjacent ? target : part->memory + part->room.out;
    const int64_t out_pitch = is_adjacent ? c->row_stride : pitch;
    if (c->dtype == CLQ_S32) {
        product->ops->copy2d[2](sums, pitch, 1, target, c->row_stride, c->col_stride, rows, panel->cols);
        return;
    }
    if (c->dtype == CLQ_F32)
        finish_f32(part, panel, row, rows, sums, out, out_pitch);
    else
        finish_8bit(part, panel, row, rows, sums, out, out_pitch);
    if (!is_adjacent) product->ops->copy2d[log2_bytes](out, pitch, 1, target, c->row_stride, c->col_stride, rows, panel->cols);
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* Sums of a strip go to C at once. */
static bool is_direct(const struct product *product, const struct panel *panel)
{
    return product->gemm.c.dtype == CLQ_S32 && product->gemm.c.col_stride == 1 && panel->cols == product->kernels->cols && product->is_b_uniform &&
           (product->is_folded || !product->needs_sums);
}

/* Rows of the next tile, of `left`: the last two share what is left, as small ones use the kernel badly. */
static int64_t choose_rows(const struct clq_gemm_kernels *kernels, int64_t left)
{
    if (left <= kernels->rows) return left;
    return left >= 2 * kernels->rows ? kernels->rows : round_up(clq_ceil_div(left, 2), kernels->row_unit);
}

/* A piece of a panel, k elements from k0 on, by this part for itself. */
static void pack_here(struct part *part, struct panel *panel, int64_t k0, int64_t k, bool is_last)
{
    const struct product *product = part->product;
    if (k0 == 0) memset(panel->piece_sums, 0, sizeof panel->piece_sums);
    if (k > 0)
        pack_piece(&product->panels, &product->gemm.b, panel->index, k0, clq_min_i64(k, product->gemm.k - k0), k, part->memory + part->room.b,
                   product->needs_sums ? panel->piece_sums : NULL);
    if (is_last) set_col_inits(product, panel);
}

/* A piece of a panel, k elements from k0 on, times a strip. */
static void run_tiles(struct part *part, struct panel *panel, int64_t row, int64_t rows, int64_t k0, int64_t k, int32_t *sums)
{
    static const int32_t zeros[MAX_COLS];
    const struct product *product = part->product;
    const struct clq_gemm_kernels *kernels = product->kernels;
    const struct block *block = &part->block;
    const clq_gemm_tile_fn run = kernels->tile[product->a_type][product->b_type];
    const bool is_last = k0 + k >= product->panels.k_padded, is_at_c = is_last && is_direct(product, panel);
    const char *a = block->a + k0 / product->piece * block->piece_pitch + row * block->a_pitch;
    const int32_t *row_init = is_last && product->needs_row_sums && product->is_b_uniform ? block->row_init + row : NULL, *start = k0 > 0 ? sums : NULL;
    const int64_t c_pitch = is_at_c ? product->gemm.c.row_stride : kernels->cols;
    int32_t *c = is_at_c ? (int32_t *)(uintptr_t)matrix_at(&product->gemm.c, part->matrix, block->first + row, panel->first) : sums;
    const char *const b = panel->b ? panel->b + k0 * kernels->element_bytes * kernels->cols : part->memory + part->room.b;
    struct clq_gemm_tile tile = {.cols = panel->cols, .k = k, .b = b, .a_pitch = block->a_pitch, .prefetch = row == 0 && panel->b, .start_pitch = kernels->cols,
                                 .col_init = is_last ? panel->col_init : zeros, .c_pitch = c_pitch};
    if (!panel->b) pack_here(part, panel, k0, k, is_last);
    for (int64_t i = 0; i < rows; i += tile.rows) {
        tile.rows = choose_rows(kernels, rows - i);
        tile.a = a + i * tile.a_pitch;
        tile.start = start ? start + i * tile.start_pitch : NULL;
        tile.row_init = row_init ? row_init + i : NULL;
        tile.c = c + i * c_pitch;
        run(&tile);
        tile.prefetch = false; /* others find it in a cache */
    }
}

/* A group of panels against a block. */
static void run_panels(struct part *part, int64_t first, int64_t count)
{
    const struct product *product = part->product;
    const int64_t strip_sums = most_rows(product) * product->kernels->cols, k = product->panels.k_padded;
    int64_t rows;
    int32_t *const sums = (int32_t *)(void *)(part->memory + part->room.sums);
    for (int64_t i = 0; i < count; ++i) {
        describe_panel(part, first + i, &part->panels[i]);
        if (part->panels[i].b) set_col_inits(product, &part->panels[i]);
    }
    for (int64_t row = 0; row < part->block.rows; row += rows) {
        const int64_t left = part->block.rows - row;
        rows = left <= most_rows(product) ? left : product->strip_rows;
        for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += product->piece)
            for (int64_t i = 0; i < count; ++i)
                run_tiles(part, &part->panels[i], row, rows, k0, clq_min_i64(product->piece, k - k0), sums + i * strip_sums);
        for (int64_t i = 0; i < count; ++i) {
            if (is_direct(product, &part->panels[i])) continue;
            correct_strip(part, &part->panels[i], row, rows, sums + i * strip_sums);
            finish_strip(part, &part->panels[i], row, rows, sums + i * strip_sums);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ few columns */

/* A column of B, as packed elements. */
static void copy_column(const struct part *part, int64_t j, char *column)
{
    const struct product *product = part->product;
    const struct clq_gemm_kernels *kernels = product->kernels;
    const struct clq_matrix *b = &product->gemm.b;
    const int64_t group_bytes = kernels->group * kernels->element_bytes, matrix = product->panels.batch == 1 ? 0 : part->matrix;
    if (product->packed) {
        const char *src = product->packed + matrix * product->panels.per_matrix * product->panels.bytes + j * group_bytes;
        for (int64_t i = 0; i < clq_ceil_div(product->gemm.k, kernels->group); ++i)
            memcpy(column + i * group_bytes, src + i * kernels->cols * group_bytes, (size_t)group_bytes);
        return;
    }
    for (int64_t i = 0; i < product->gemm.k; ++i) {
        const uint8_t byte = (uint8_t)(*matrix_at(b, matrix, i, j) ^ kernels->flip_b[product->b_type]);
        const int16_t half = product->b_type == CLQ_GEMM_S8 ? (int8_t)byte : byte;
        if (kernels->element_bytes == 1)
            column[i] = (char)byte;
        else
            memcpy(column + 2 * i, &half, sizeof half);
    }
}

/* The columns of a matrix of B one after the other, each with its last elements at the end of a step; then ones. */
static void take_columns(const struct part *part)
{
    const struct product *product = part->product;
    const int64_t bytes = product->kernels->element_bytes, step = product->kernels->row_step, rest = product->gemm.k % step;
    const int64_t whole = product->gemm.k - rest;
    const int16_t one = 1;
    for (int64_t j = 0; j < product->columns; ++j) {
        char *const column = part->memory + part->room.columns + j * column_pitch(product);
        if (j < product->gemm.n)
            copy_column(part, j, column);
        else
            for (int64_t i = 0; i < product->gemm.k; ++i)
                memcpy(column + i * bytes, &one, (size_t)bytes); /* little-endian, as every machine with vectors here */
        if (rest == 0) continue;
        memmove(column + (whole + step - rest) * bytes, column + whole * bytes, (size_t)(rest * bytes));
        memset(column + whole * bytes, 0, (size_t)((step - rest) * bytes));
    }
}

/* Sums of the columns just taken. */
static void sum_taken(const struct part *part, int32_t *sums)
{
    const struct product *product = part->product;
    const bool is_signed = (product->b_type == CLQ_GEMM_S8) != (product->kernels->flip_b[product->b_type] != 0);
    for (int64_t j = 0; j < product->gemm.n; ++j) {
        const char *const column = part->memory + part->room.columns + j * column_pitch(product);
        uint32_t sum = 0;
        for (int64_t i = 0; i < round_up(product->gemm.k, product->kernels->row_step); ++i) {
            int16_t half;
            if (product->kernels->element_bytes == 2)
                memcpy(&half, column + 2 * i, sizeof half);
            else
                half = is_signed ? (int8_t)column[i] : (uint8_t)column[i];
            sum += (uint32_t)half;
        }
        sums[j] = (int32_t)sum;
    }
}

/* Zero points of A and B, and the bias, for rows whose last column holds their sums if those are needed. */
static void correct_rows(const struct part *part, const struct panel *panel, int64_t rows, int32_t *sums)
{
    const struct product *product = part->product;
    const struct clq_gemm *gemm = &product->gemm;
    for (int64_t i = 0; i < rows; ++i, sums += product->kernels->cols) {
        const uint32_t za = a_zero_point_at(product, part->block.first + i);
        const uint32_t y = product->needs_row_sums ? (uint32_t)sums[gemm->n] - (uint32_t)gemm->k * za : 0;
        for (int64_t j = 0; j < gemm->n; ++j)
            sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)panel->col_init[j] - (product->needs_sums ? za * (uint32_t)panel->piece_sums[j] : 0) - (uint32_t)panel->zero_point[j] * y);
    }
}

static void run_rows(struct part *part, int64_t first, int64_t last)
{
    const struct product *product = part->product;
    struct panel *const panel = &part->panels[0];
    int32_t *const sums = (int32_t *)(void *)(part->memory + part->room.sums);
    struct clq_gemm_rows rows = {.cols = product->columns, .k = product->gemm.k, .a_pitch = product->gemm.a.row_stride, .b = part->memory + part->room.columns,
                                 .b_pitch = column_pitch(product), .c = sums, .c_pitch = product->kernels->cols};
    describe_panel(part, 0, panel);
    set_col_inits(product, panel);
    take_columns(part);
    if (product->needs_sums) sum_taken(part, panel->piece_sums);
    for (int64_t row = first; row < last; row += product->strip_rows) {
        rows.rows = clq_min_i64(product->strip_rows, last - row);
        rows.a = matrix_at(&product->gemm.a, part->matrix, row, 0);
        part->block.first = row;
        product->kernels->dot_rows[product->a_type](&rows);
        correct_rows(part, panel, rows.rows, sums);
        finish_strip(part, panel, 0, rows.rows, sums);
    }
}

/* ------------------------------------------------------------------------------------------------ the whole */

static void run_blocks(struct part *part, int64_t first_row, int64_t last_row, int64_t first_panel, int64_t last_panel)
{
    const struct product *product = part->product;
    for (int64_t row = first_row; row < last_row; row += product->block_rows) {
        pack_block(part, row, clq_min_i64(product->block_rows, last_row - row));
        for (int64_t panel = first_panel; panel < last_panel; panel += product->group)
            run_panels(part, panel, clq_min_i64(product->group, last_panel - panel));
    }
}

static void run_part(void *argument, int64_t index)
{
    const struct product *product = argument;
    const struct clq_gemm_kernels *kernels = product->kernels;
    const int64_t panel_part = index % product->panel_parts, row_part = index / product->panel_parts % product->row_parts;
    const int64_t batch_part = index / product->panel_parts / product->row_parts;
    const int64_t panels = product->last_panel - product->first_panel, rows = clq_ceil_div(product->gemm.m, kernels->row_unit);
    const int64_t first_panel = product->first_panel + clq_gemm_border(panels, product->panel_parts, panel_part);
    const int64_t last_panel = product->first_panel + clq_gemm_border(panels, product->panel_parts, panel_part + 1);
    const int64_t first_row = clq_gemm_border(rows, product->row_parts, row_part) * kernels->row_unit;
    const int64_t last_row = clq_min_i64(product->gemm.m, clq_gemm_border(rows, product->row_parts, row_part + 1) * kernels->row_unit);
    const int64_t last_matrix = product->first_matrix + clq_gemm_border(product->matrices, product->batch_parts, batch_part + 1);
    struct part part;
    int64_t bytes;
    part.product = product;
    part.room = lay_out(product, &bytes);
    part.memory = product->parts + index * product->part_bytes;
    if (first_panel >= last_panel) return;
    if (kernels->begin) kernels->begin();
    for (part.matrix = product->first_matrix + clq_gemm_border(product->matrices, product->batch_parts, batch_part); part.matrix < last_matrix; ++part.matrix)
        if (product->is_narrow)
            run_rows(&part, first_row, last_row);
        else
            run_blocks(&part, first_row, last_row, first_panel, last_panel);
    if (kernels->end) kernels->end();
}

/* B, packed in chunks that all parts then share. */
static void run_chunks(struct product *product, const struct clq_threads *threads, int64_t parts)
{
    const struct panels *panels = &product->panels;
    const int64_t all = panels->batch * panels->per_matrix;
    struct packing packing = {.panels = panels, .b = &product->gemm.b, .target = product->packed, .sums = product->needs_sums ? product->packed_sums : NULL};
    for (packing.first = 0; packing.first < all; packing.first += packing.count) {
        const int64_t at = packing.first % panels->per_matrix, left = product->chunk < panels->per_matrix ? panels->per_matrix - at : all - packing.first;
        packing.count = clq_min_i64(product->chunk, left);
        pack_panels(threads, &packing);
        product->first_packed = packing.first;
        if (panels->batch > 1) {
            product->first_matrix = packing.first / panels->per_matrix;
            product->matrices = clq_ceil_div(packing.count, panels->per_matrix);
        }
        product->first_panel = at;
        product->last_panel = clq_min_i64(panels->per_matrix, at + packing.count);
        clq_parallel_for(threads, parts, run_part, product);
    }
}

void clq_gemm_run(const struct clq_cpu_ops *ops, const struct clq_threads *threads, const struct clq_gemm *gemm, void *workspace)
{
    struct product product;
    int64_t parts, at;
    plan(&product, ops, threads, gemm);
    parts = product.batch_parts * product.row_parts * product.panel_parts;
    at = parts * product.part_bytes;
    product.parts = workspace;
    product.matrices = product.gemm.batch;
    product.last_panel = product.panels.per_matrix;
    if (product.chunk) {
        product.packed = product.parts + take(&at, product.chunk * product.panels.bytes);
        product.packed_sums = (int32_t *)(void *)(product.parts + at);
    } else if (gemm->packed) {
        product.packed = gemm->packed->data;
        product.packed_sums = gemm->packed->col_sums;
    }
    set_zero_points(&product);
    product.is_folded = product.is_a_uniform && !product.is_narrow;
    if (product.chunk)
        run_chunks(&product, threads, parts);
    else
        clq_parallel_for(threads, parts, run_part, &product);
}
