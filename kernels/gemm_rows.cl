/* SPDX-License-Identifier: MIT */
/*
 * Products of few rows, which cost what it takes to read B: a work-group makes CLQ_ROWS x CLQ_COLS results. Its items take 16 of k each, all of them a piece
 * of K that lies together in every line; each adds up for all results, and in the end the items' sums are added.
 *
 * CLQ_ROWS  1 to 8
 * CLQ_COLS  a divisor of CLQ_LOCAL_SIZE
 */
#ifndef CLQ_ROWS
#define CLQ_ROWS 1
#define CLQ_COLS 8
#endif

#define SLICES (CLQ_LOCAL_SIZE / CLQ_COLS)

KERNEL void gemm_rows(GEMM_PARAMETERS)
{
    __local uint shared[CLQ_LOCAL_SIZE * CLQ_COLS];
    __global const struct clql_gemm_job *job = GEMM_JOB;
    const struct tile tile = find_tile(job, CLQ_ROWS, CLQ_COLS);
    const struct epilogue epilogue = LOAD_EPILOGUE;
    const uint item = (uint)get_local_id(0), own_col = item % CLQ_COLS, slice = item / CLQ_COLS;
    const long last_row = job->side[0].lines - 1, last_col = job->side[1].lines - 1;
    __global const uchar *rows[CLQ_ROWS], *cols[CLQ_COLS];
    uint sums[CLQ_ROWS][CLQ_COLS];

#pragma unroll
    for (int i = 0; i < CLQ_ROWS; ++i)
        rows[i] = find_line(job, 0, a, tile.batch, min(tile.row + i, last_row));
#pragma unroll
    for (int j = 0; j < CLQ_COLS; ++j)
        cols[j] = find_line(job, 1, b, tile.batch, min(tile.col + j, last_col));
#pragma unroll
    for (int i = 0; i < CLQ_ROWS; ++i)
#pragma unroll
        for (int j = 0; j < CLQ_COLS; ++j)
            sums[i][j] = 0;
    for (long k = tile.k + 16 * item; k < tile.k_end; k += 16 * CLQ_LOCAL_SIZE) {
        uint4 x[CLQ_ROWS], y[CLQ_COLS];
#pragma unroll
        for (int j = 0; j < CLQ_COLS; ++j)
            y[j] = load_line(cols[j], k, tile.k_end, CLQ_DST);
#pragma unroll
        for (int i = 0; i < CLQ_ROWS; ++i)
            x[i] = load_line(rows[i], k, tile.k_end, CLQ_SRC);
#pragma unroll
        for (int j = 0; j < CLQ_COLS; ++j)
#pragma unroll
            for (int i = 0; i < CLQ_ROWS; ++i)
                sums[i][j] = dot16(x[i], y[j], sums[i][j]);
    }
    /* Code for one row: those to come move up, so that all indices are constants and the sums stay in registers. */
#pragma unroll 1
    for (int row = 0; row < CLQ_ROWS; ++row) {
        uint sum = 0;
#pragma unroll
        for (int j = 0; j < CLQ_COLS; ++j) {
            shared[item * CLQ_COLS + j] = sums[0][j];
#pragma unroll
            for (int i = 1; i < CLQ_ROWS; ++i)
                sums[i - 1][j] = sums[i][j];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        /* Of the own column first the slice's items, then all slices. */
        for (uint k = slice; k < CLQ_LOCAL_SIZE; k += SLICES)
            sum += shared[k * CLQ_COLS + own_col];
        barrier(CLK_LOCAL_MEM_FENCE);
        shared[item] = sum;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (slice == 0 && tile.row + row <= last_row && tile.col + own_col <= last_col) {
            const long m = tile.row + row, n = tile.col + own_col;
            for (uint k = 1; k < SLICES; ++k)
                sum += shared[k * CLQ_COLS + own_col];
            store_result(job, c, find_result(job, tile.batch, tile.split, m, n),
                         MAKE_RESULT(sum, LOAD_ROW(tile.batch, m), LOAD_COL(tile.batch, n)));
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
