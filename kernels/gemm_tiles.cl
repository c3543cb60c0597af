/* SPDX-License-Identifier: MIT */
/*
 * Products by four-byte dot products: a work-group makes a tile of CLQ_TILE_M x CLQ_TILE_N results, an item CLQ_ITEM x CLQ_ITEM of them, in registers.
 *
 * Both operands pass through local memory, CLQ_STEP of k at a time; while a step is computed, the next one's lines are on their way to registers. There the four
 * bytes of a line that a dot product takes are a uint, and those of neighbouring lines lie side by side: an item reads four lines at once.
 *
 * CLQ_TILE_M, CLQ_TILE_N  powers of two, 16 or more
 * CLQ_ITEM                4 or 8
 * CLQ_STEP                32 or 64
 * CLQ_LOCAL_SIZE          CLQ_TILE_M / CLQ_ITEM * CLQ_TILE_N / CLQ_ITEM, and a divisor of CLQ_STEP / 16 * CLQ_TILE_M and of CLQ_STEP / 16 * CLQ_TILE_N
 */
#ifndef CLQ_TILE_M
#define CLQ_TILE_M 128
#define CLQ_TILE_N 128
#define CLQ_ITEM   8
#define CLQ_STEP   32
#endif

#define CHUNKS  (CLQ_STEP / 16)
#define QUADS   (CLQ_ITEM / 4)
#define ACROSS  (CLQ_TILE_N / CLQ_ITEM)
#define A_LOADS (CLQ_TILE_M * CHUNKS / CLQ_LOCAL_SIZE)
#define B_LOADS (CLQ_TILE_N * CHUNKS / CLQ_LOCAL_SIZE)

/* Where four elements of a line are: lines are exchanged so that neighbouring items, which store 16 bytes each of CHUNKS parts of some lines, use different
   ones of 32 banks. */
#define SWIZZLE(line, chunk, lines) ((line) ^ ((chunk) * (32 / CHUNKS) & ((lines) - 1)))

/* The item's part of a side's step: `loads` pieces of 16 bytes. */
INLINE void load_step(uint4 *step, int loads, __global const struct clql_gemm_job *job, int side, __global const uchar *base, const struct tile *tile,
                      long first, long k, int type)
{
    const uint item = (uint)get_local_id(0);
#pragma unroll
    for (int i = 0; i < loads; ++i) {
        const uint at = item + i * CLQ_LOCAL_SIZE;
        const long line = min(first + at / CHUNKS, job->side[side].lines - 1);
        step[i] = load_line(find_line(job, side, base, tile->batch, line), k + at % CHUNKS * 16, tile->k_end, type);
    }
}

INLINE void store_step(__local uint *lines, int pitch, const uint4 *step, int loads)
{
    const uint item = (uint)get_local_id(0);
#pragma unroll
    for (int i = 0; i < loads; ++i) {
        const uint at = item + i * CLQ_LOCAL_SIZE, chunk = at % CHUNKS, line = SWIZZLE(at / CHUNKS, chunk, pitch);
        lines[(4 * chunk + 0) * pitch + line] = step[i].x;
        lines[(4 * chunk + 1) * pitch + line] = step[i].y;
        lines[(4 * chunk + 2) * pitch + line] = step[i].z;
        lines[(4 * chunk + 3) * pitch + line] = step[i].w;
    }
}

/* Four of k, of the item's lines. Its quads lie a part of the tile apart. */
INLINE void load_quads(uint *values, __local const uint *lines, int pitch, uint first, int chunk, int four)
{
#pragma unroll
    for (int q = 0; q < QUADS; ++q) {
        const uint line = SWIZZLE(first + q * (pitch / QUADS), chunk, pitch);
        const uint4 quad = *(__local const uint4 *)(lines + (4 * chunk + four) * pitch + line);
        values[4 * q + 0] = quad.x;
        values[4 * q + 1] = quad.y;
        values[4 * q + 2] = quad.z;
        values[4 * q + 3] = quad.w;
    }
}

/* Moves the sums up by a quad, in the order of their rows, first those of the first quad of every row. */
INLINE void next_quad(uint (*sums)[CLQ_ITEM])
{
#pragma unroll
    for (int at = 1; at < QUADS * CLQ_ITEM; ++at)
#pragma unroll
        for (int j = 0; j < 4; ++j)
            sums[(at - 1) % CLQ_ITEM][(at - 1) / CLQ_ITEM * 4 + j] = sums[at % CLQ_ITEM][at / CLQ_ITEM * 4 + j];
}

KERNEL void gemm_tiles(GEMM_PARAMETERS)
{
    __local uint a_lines[CLQ_STEP / 4 * CLQ_TILE_M] __attribute__((aligned(16)));
    __local uint b_lines[CLQ_STEP / 4 * CLQ_TILE_N] __attribute__((aligned(16)));
    __global const struct clql_gemm_job *job = GEMM_JOB;
    const struct tile tile = find_tile(job, CLQ_TILE_M, CLQ_TILE_N);
    const uint item = (uint)get_local_id(0), row = item / ACROSS * 4, col = item % ACROSS * 4;
    uint4 a_step[A_LOADS], b_step[B_LOADS];
    uint sums[CLQ_ITEM][CLQ_ITEM];

#pragma unroll
    for (int i = 0; i < CLQ_ITEM; ++i)
#pragma unroll
        for (int j = 0; j < CLQ_ITEM; ++j)
            sums[i][j] = 0;
    load_step(a_step, A_LOADS, job, 0, a, &tile, tile.row, tile.k, CLQ_SRC);
    load_step(b_step, B_LOADS, job, 1, b, &tile, tile.col, tile.k, CLQ_DST);
    for (long k = tile.k; k < tile.k_end; k += CLQ_STEP) {
        barrier(CLK_LOCAL_MEM_FENCE);
        store_step(a_lines, CLQ_TILE_M, a_step, A_LOADS);
        store_step(b_lines, CLQ_TILE_N, b_step, B_LOADS);
        barrier(CLK_LOCAL_MEM_FENCE);
        load_step(a_step, A_LOADS, job, 0, a, &tile, tile.row, k + CLQ_STEP, CLQ_SRC);
        load_step(b_step, B_LOADS, job, 1, b, &tile, tile.col, k + CLQ_STEP, CLQ_DST);
#pragma unroll 1
        for (int chunk = 0; chunk < CHUNKS; ++chunk)
#pragma unroll
            for (int four = 0; four < 4; ++four) {
                uint x[CLQ_ITEM], y[CLQ_ITEM];
                load_quads(x, a_lines, CLQ_TILE_M, row, chunk, four);
                load_quads(y, b_lines, CLQ_TILE_N, col, chunk, four);
#pragma unroll
                for (int i = 0; i < CLQ_ITEM; ++i)
#pragma unroll
                    for (int j = 0; j < CLQ_ITEM; ++j)
                        sums[i][j] = dot4(x[i], y[j], sums[i][j]);
            }
    }
    const struct epilogue epilogue = LOAD_EPILOGUE;
    __local uint4 *rows = (__local uint4 *)a_lines, *cols = (__local uint4 *)b_lines;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < CLQ_TILE_M; i += CLQ_LOCAL_SIZE)
        rows[i] = pack_line(LOAD_ROW(tile.batch, tile.row + i));
    for (uint i = item; i < CLQ_TILE_N; i += CLQ_LOCAL_SIZE)
        cols[i] = pack_line(LOAD_COL(tile.batch, tile.col + i));
    barrier(CLK_LOCAL_MEM_FENCE);
    const long first = find_result(job, tile.batch, tile.split, tile.row, tile.col);
    const int rows_left = (int)min(job->side[0].lines - tile.row, (long)CLQ_TILE_M), cols_left = (int)min(job->side[1].lines - tile.col, (long)CLQ_TILE_N);
    /* Code for four results: as the sums move, all indices are constants, and they stay in registers. */
#pragma unroll 1
    for (uint i = 0; i < QUADS * CLQ_ITEM; ++i) {
        const uint m = row + i % CLQ_ITEM / 4 * (CLQ_TILE_M / QUADS) + i % 4, n = col + i / CLQ_ITEM * (CLQ_TILE_N / QUADS);
        const struct line own = unpack_line(rows[m]);
        const uint4 results = (uint4)(MAKE_RESULT(sums[0][0], own, unpack_line(cols[n])), MAKE_RESULT(sums[0][1], own, unpack_line(cols[n + 1])),
                                      MAKE_RESULT(sums[0][2], own, unpack_line(cols[n + 2])), MAKE_RESULT(sums[0][3], own, unpack_line(cols[n + 3])));
        if ((int)m < rows_left) store_results(job, epilogue, c, first + m * job->c_pitch + n * job->c_step, results, cols_left - (int)n);
        next_quad(sums);
    }
}
