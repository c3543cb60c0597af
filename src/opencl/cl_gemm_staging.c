/* SPDX-License-Identifier: MIT */
/*
 * Matrix products with operands in host memory. B goes to the device whole, through the slots for host tensors, and is made lines there once. Then A and C pass
 * in pieces: rows of a matrix, or several matrices. While one slot's piece is computed, the next one's A is on its way there and the C of the one before on
 * its way back.
 */
#include "config.h"

#include "base/util.h"
#include "opencl/cl_state.h"
#include <string.h>

#define ALIGNMENT         64        /* of what lies in a slot, bytes */
#define COPY_TASK_BYTES   (1 << 20) /* a thread is worth starting for so much */
#define PIECES            8         /* are enough for transfers and computation to overlap, */
#define LEAST_PIECE_BYTES (1 << 20) /* and smaller ones not worth it */
#define PIECE_ROWS        128       /* pieces have a multiple of so many rows, where that is possible */

/* ------------------------------------------------------------------------------------------------ copies on the host */

/*
 * Rows of a stack of matrices in host memory, and the same in a block: lines, which are rows or columns, follow each other at a pitch. The lines of all
 * matrices are counted through.
 */
struct copy {
    const struct clq_matrix *matrix;
    int64_t size_bytes; /* of an element */
    int64_t first_matrix, matrices, first_row, rows, cols;
    bool by_cols;       /* lines are columns */
    int64_t pitch;      /* bytes */
    int64_t first_line, lines; /* of this copy */
    char *block;        /* where the first line goes */
    bool to_block;
    int64_t task_lines;
};

static int64_t matrix_lines(const struct copy *copy)
{
    return copy->by_cols ? copy->cols : copy->rows;
}

static int64_t line_elements(const struct copy *copy)
{
    return copy->by_cols ? copy->rows : copy->cols;
}

static int64_t block_bytes(const struct copy *copy)
{
    return copy->matrices * matrix_lines(copy) * copy->pitch;
}

static void copy_line(char *block, char *element, int64_t stride, int64_t n, int64_t size_bytes, bool to_block)
{
    if (stride == 1) {
        memcpy(to_block ? block : element, to_block ? element : block, (size_t)(n * size_bytes));
        return;
    }
    for (int64_t i = 0; i < n; ++i, block += size_bytes, element += stride * size_bytes)
        memcpy(to_block ? block : element, to_block ? element : block, (size_t)size_bytes);
}

static void copy_lines(void *argument, int64_t task)
{
    const struct copy *copy = argument;
    const struct clq_matrix *matrix = copy->matrix;
    const int64_t end = clq_min_i64((task + 1) * copy->task_lines, copy->lines);
    for (int64_t at = task * copy->task_lines; at < end; ++at) {
        const int64_t line = copy->first_line + at, own = line % matrix_lines(copy);
        const int64_t row = copy->first_row + (copy->by_cols ? 0 : own), col = copy->by_cols ? own : 0;
        const int64_t element = (copy->first_matrix + line / matrix_lines(copy)) * matrix->batch_stride + row * matrix->row_stride + col * matrix->col_stride;
        copy_line(copy->block + at * copy->pitch, (char *)matrix->data + element * copy->size_bytes, copy->by_cols ? matrix->row_stride : matrix->col_stride,
                  line_elements(copy), copy->size_bytes, copy->to_block);
    }
}

static void run_copy(const clq_context *context, struct copy *copy, bool to_block)
{
    const int64_t tasks = clq_max_i64(1, clq_min_i64(context->threads.count, copy->lines * copy->pitch / COPY_TASK_BYTES));
    if (copy->lines == 0) return;
    copy->to_block = to_block;
    copy->task_lines = clq_ceil_div(copy->lines, tasks);
    clq_parallel_for(&context->threads, clq_ceil_div(copy->lines, copy->task_lines), copy_lines, copy);
}

/* Lines are of what is adjacent in memory, and begin at multiples of 16 bytes, as kernels like them. A broadcast matrix is there once. */
static struct copy plan_copy(const struct clq_matrix *matrix, int64_t first_matrix, int64_t matrices, int64_t first_row, int64_t rows, int64_t cols)
{
    struct copy copy = {.matrix = matrix, .size_bytes = clq_bits(matrix->dtype) / 8, .first_matrix = first_matrix,
                        .matrices = matrix->batch_stride == 0 ? clq_min_i64(1, matrices) : matrices, .first_row = first_row, .rows = rows, .cols = cols};
    copy.by_cols = cols > 1 && matrix->col_stride != 1;
    copy.pitch = clq_ceil_div(line_elements(&copy) * copy.size_bytes, 16) * 16;
    copy.lines = line_elements(&copy) > 0 ? copy.matrices * matrix_lines(&copy) : 0;
    return copy;
}

/* The block as matrices on the device. */
static struct clq_matrix view_block(const struct copy *copy, cl_mem memory, int64_t offset_bytes)
{
    const int64_t pitch = copy->pitch / copy->size_bytes;
    return (struct clq_matrix){.dtype = copy->matrix->dtype, .device = memory, .data = (void *)(uintptr_t)offset_bytes,
                               .batch_stride = copy->matrix->batch_stride == 0 ? 0 : matrix_lines(copy) * pitch, .row_stride = copy->by_cols ? 1 : pitch, .col_stride = copy->by_cols ? pitch : 1};
}

/* ------------------------------------------------------------------------------------------------ B */

/* Brings all lines of a matrix to memory of the device, through the slots; `also` is what used it before. */
static clq_status send_matrix(clq_context *context, struct copy *copy, cl_mem memory, int64_t offset_bytes, cl_event also)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const int64_t all = copy->lines, at_once = clq_max_i64(1, state->staging_bytes / clq_max_i64(16, copy->pitch));
    for (int64_t first = 0; first < all; first += at_once, also = NULL) {
        struct clq_cl_slot *slot = &state->slots[state->next_slot];
        state->next_slot = 1 - state->next_slot;
        CLQ_TRY(clq_cl_wait_for_slot(context, slot));
        CLQ_TRY(clq_cl_open_slot(context, slot, clq_max_i64(state->staging_bytes, copy->pitch)));
        copy->first_line = first;
        copy->lines = clq_min_i64(at_once, all - first);
        copy->block = slot->pinned;
        run_copy(context, copy, true);
        CL_TRY(context, clq_cl_queue_write(&state->up, memory, (size_t)(offset_bytes + first * copy->pitch), (size_t)(copy->lines * copy->pitch), slot->pinned,
                                           also));
        CL_TRY(context, clFlush(state->up.queue));
        CL_TRY(context, clRetainEvent(state->up.last));
        slot->busy = state->up.last;
    }
    return CLQ_OK;
}

/* Makes B ready: its lines, or for f32 the matrix `b`, on the device. */
static clq_status prepare_b(clq_context *context, const struct clq_gemm *gemm, struct clq_matrix *b, struct clq_cl_lines *lines)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const bool is_f32 = gemm->a.dtype == CLQ_F32;
    const int64_t lines_bytes = clq_cl_lines_bytes(gemm->b.batch_stride == 0 ? 1 : gemm->batch, gemm->k, gemm->n);
    struct copy copy = plan_copy(&gemm->b, 0, gemm->batch, 0, gemm->k, gemm->n);
    int64_t bytes = 0, raw = 0, made = 0;
    cl_event sent = NULL;
    *b = gemm->b;
    if (gemm->packed) {
        *lines = ((const struct clq_cl_packed *)gemm->packed->data)->lines;
        return CLQ_OK;
    }
    if (is_f32 && gemm->b.device) return CLQ_OK;
    if (!gemm->b.device) raw = clq_cl_take(&bytes, clq_max_i64(1, block_bytes(&copy)));
    if (!is_f32 && lines_bytes < 0) return clq_fail(context, CLQ_ERROR_OVERFLOW, "%s: packed operands do not fit in 63 bits", context->call);
    if (!is_f32) made = clq_cl_take(&bytes, lines_bytes);
    CLQ_TRY(clq_cl_arena_fit(context, &state->weights, bytes));
    if (!gemm->b.device) {
        CLQ_TRY(clq_cl_open_transfers(context));
        CLQ_TRY(send_matrix(context, &copy, state->weights.memory, raw, state->main.last));
        *b = view_block(&copy, state->weights.memory, raw);
        sent = state->up.last;
    }
    if (!is_f32) return clq_cl_make_lines(context, b, gemm->batch, gemm->k, gemm->n, state->weights.memory, made, sent, lines);
    if (sent) CL_TRY(context, clq_cl_queue_wait(&state->main, 1, &sent));
    return CLQ_OK;
}

/* ------------------------------------------------------------------------------------------------ pieces of A and C */

struct piece {
    struct clq_cl_slot *slot;
    struct copy a, c; /* if they are in host memory */
    int64_t c_offset;
    cl_event done;    /* NULL: nothing is under way that is waited for */
};

/* Waits for a piece and brings its results to where they belong. */
static clq_status end_piece(clq_context *context, struct piece *piece)
{
    cl_int code;
    if (!piece->done) return CLQ_OK;
    code = clq_cl_wait(piece->done);
    clReleaseEvent(piece->done);
    piece->done = NULL;
    if (code != CL_SUCCESS) return clq_cl_fail(context, "a matrix product", code);
    piece->c.block = piece->slot->pinned + piece->c_offset;
    run_copy(context, &piece->c, false);
    return CLQ_OK;
}

static void *advance(const void *data, int64_t bytes)
{
    return (void *)((uintptr_t)data + (uintptr_t)bytes);
}

/* A matrix on the device, from a row of a matrix on. */
static struct clq_matrix view_from(const struct clq_matrix *matrix, int64_t first_matrix, int64_t first_row)
{
    struct clq_matrix view = *matrix;
    view.data = advance(view.data, (first_matrix * matrix->batch_stride + first_row * matrix->row_stride) * (clq_bits(matrix->dtype) / 8));
    return view;
}

/* The product of a piece, but for operands in host memory. */
static struct clq_gemm make_part(const struct clq_gemm *gemm, int64_t first_matrix, int64_t matrices, int64_t first_row, int64_t rows)
{
    struct clq_gemm part = *gemm;
    part.batch = matrices;
    part.m = rows;
    part.packed = NULL;
    part.a = view_from(&gemm->a, first_matrix, first_row);
    part.c = view_from(&gemm->c, first_matrix, first_row);
    if (gemm->a_params.is_single) return part;
    part.a_params.scale = advance(gemm->a_params.scale, 4 * first_row);
    if (gemm->a_params.zero_point || gemm->a_params.zero_point_device) part.a_params.zero_point = advance(gemm->a_params.zero_point, 4 * first_row);
    return part;
}

static clq_status start_piece(clq_context *context, const struct clq_gemm *gemm, const struct clq_matrix *b, const struct clq_cl_lines *lines,
                              struct piece *piece, int64_t first_matrix, int64_t matrices, int64_t first_row, int64_t rows)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_slot *slot = piece->slot;
    struct clq_gemm part = make_part(gemm, first_matrix, matrices, first_row, rows);
    struct clq_cl_lines part_lines = *lines;
    cl_event sent = NULL;
    int64_t bytes = 0, a_bytes = 0, c_bytes = 0;
    piece->a = plan_copy(&gemm->a, first_matrix, matrices, first_row, rows, gemm->k);
    piece->c = plan_copy(&gemm->c, first_matrix, matrices, first_row, rows, gemm->n);
    if (!gemm->a.device) a_bytes = block_bytes(&piece->a);
    if (!gemm->c.device) c_bytes = block_bytes(&piece->c);
    clq_cl_take(&bytes, a_bytes);
    piece->c_offset = clq_cl_take(&bytes, c_bytes);
    CLQ_TRY(clq_cl_wait_for_slot(context, slot));
    CLQ_TRY(clq_cl_open_slot(context, slot, clq_max_i64(state->staging_bytes, bytes)));
    if (a_bytes > 0) {
        piece->a.block = slot->pinned;
        run_copy(context, &piece->a, true);
        CL_TRY(context, clq_cl_queue_write(&state->up, slot->memory, 0, (size_t)a_bytes, slot->pinned, NULL));
        CL_TRY(context, clFlush(state->up.queue));
        sent = state->up.last;
    }
    if (!gemm->a.device) part.a = view_block(&piece->a, slot->memory, 0);
    if (!gemm->c.device) part.c = view_block(&piece->c, slot->memory, piece->c_offset);
    part.b = *b;
    part.b.data = advance(b->data, first_matrix * b->batch_stride * (clq_bits(b->dtype) / 8));
    part_lines.offset += first_matrix * lines->batch_stride;
    part_lines.sums_offset += 4 * first_matrix * lines->sums_stride;
    CLQ_TRY(gemm->a.dtype == CLQ_F32 ? clq_cl_multiply_f32(context, &part, sent) : clq_cl_multiply(context, &part, &part_lines, sent));
    CL_TRY(context, clFlush(state->main.queue));
    CL_TRY(context, clRetainEvent(state->main.last));
    if (c_bytes == 0) {
        slot->busy = state->main.last;
        return CLQ_OK;
    }
    piece->done = state->main.last;
    CL_TRY(context, clq_cl_queue_read(&state->down, slot->memory, (size_t)piece->c_offset, (size_t)c_bytes, slot->pinned + piece->c_offset, state->main.last));
    CL_TRY(context, clFlush(state->down.queue));
    CL_TRY(context, clRetainEvent(state->down.last));
    clReleaseEvent(piece->done);
    piece->done = state->down.last;
    return CLQ_OK;
}

/* Rows of A and C in host memory. */
static int64_t row_bytes(const struct clq_gemm *gemm)
{
    return (gemm->a.device ? 0 : gemm->k * (clq_bits(gemm->a.dtype) / 8)) + (gemm->c.device ? 0 : gemm->n * (clq_bits(gemm->c.dtype) / 8));
}

static clq_status run_pieces(clq_context *context, const struct clq_gemm *gemm, struct piece *pieces)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const int64_t row = clq_max_i64(1, row_bytes(gemm)), total = gemm->batch * gemm->m * row;
    const int64_t wanted = clq_min_i64(state->staging_bytes, clq_max_i64(LEAST_PIECE_BYTES, total / PIECES)), rows_at_once = clq_max_i64(1, wanted / row);
    const int64_t rows = rows_at_once >= gemm->m ? gemm->m : rows_at_once >= PIECE_ROWS ? rows_at_once / PIECE_ROWS * PIECE_ROWS : rows_at_once;
    const int64_t matrices = rows == gemm->m ? clq_max_i64(1, rows_at_once / gemm->m) : 1;
    struct clq_matrix b;
    struct clq_cl_lines lines = {.memory = NULL};
    int current = 0;
    CLQ_TRY(clq_cl_open_transfers(context));
    CLQ_TRY(prepare_b(context, gemm, &b, &lines));
    for (int64_t i = 0; i < gemm->batch; i += matrices)
        for (int64_t m = 0; m < gemm->m; m += rows) {
            CLQ_TRY(end_piece(context, &pieces[current]));
            CLQ_TRY(start_piece(context, gemm, &b, &lines, &pieces[current], i, clq_min_i64(matrices, gemm->batch - i), m, clq_min_i64(rows, gemm->m - m)));
            current = 1 - current;
        }
    CLQ_TRY(end_piece(context, &pieces[current]));
    return end_piece(context, &pieces[1 - current]);
}

clq_status clq_cl_multiply_staged(clq_context *context, const struct clq_gemm *gemm)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct piece pieces[2] = {{.slot = &state->slots[0]}, {.slot = &state->slots[1]}};
    const clq_status status = run_pieces(context, gemm, pieces);
    /* What is under way uses the slots and the caller's memory. */
    if (status != CLQ_OK) clq_cl_drain(state);
    for (int i = 0; i < 2; ++i)
        if (pieces[i].done) clReleaseEvent(pieces[i].done);
    return status;
}

/* ------------------------------------------------------------------------------------------------ packed weights */

clq_status clq_cl_pack(clq_context *context, const struct clq_matrix *b, struct clq_packed *packed, struct clq_cl_packed *made)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const bool is_empty = packed->batch == 0 || packed->k == 0 || packed->n == 0;
    struct copy copy = plan_copy(b, 0, packed->batch, 0, packed->k, packed->n);
    struct clq_matrix whole = *b;
    cl_event sent = NULL;
    cl_int code;
    if (!b->device && !is_empty) {
        CLQ_TRY(clq_cl_open_transfers(context));
        CLQ_TRY(clq_cl_arena_fit(context, &state->weights, block_bytes(&copy)));
        CLQ_TRY(send_matrix(context, &copy, state->weights.memory, 0, state->main.last));
        whole = view_block(&copy, state->weights.memory, 0);
        sent = state->up.last;
    }
    CLQ_TRY(clq_cl_make_lines(context, &whole, packed->batch, packed->k, packed->n, made->memory, 0, sent, &made->lines));
    if (!state->main.last) return CLQ_OK;
    /* Other contexts' queues do not wait for this one's. */
    CL_TRY(context, clFlush(state->main.queue));
    code = clq_cl_wait(state->main.last);
    return code == CL_SUCCESS ? CLQ_OK : clq_cl_fail(context, "packing weights", code);
}
