/* SPDX-License-Identifier: MIT */
/*
 * Matrix products on NVIDIA's tensor cores, of compute capability 8.0 or more: mma.sync of 16 x 8 x 32, operands as they are stored, s8 or u8, so that
 * both sides' `shift` is 0. Work-groups: one for each tile of CLQ_TILE_M x CLQ_TILE_N results, for each matrix and part of K.
 *
 * Both sides' lines come through local memory, up to CLQ_STAGES steps of 64 k ahead. The warps share a tile as a grid of WARPS_M x WARPS_N.
 *
 * CLQ_TILE_M, CLQ_TILE_N  128 x 128 and 64 x 64, 64 x 128, 128 x 64; 128 x 256 and 256 x 128 with 256 items and two stages
 * CLQ_LOCAL_SIZE          128 or 256
 * CLQ_STAGES              2 or 3; local memory is (CLQ_TILE_M + CLQ_TILE_N) * 64 * CLQ_STAGES bytes, 48 KB at most
 * CLQ_EMULATED            defined: the unit's instructions are emulated, for any device
 */
#ifndef CLQ_TILE_M
#define CLQ_TILE_M 128
#endif
#ifndef CLQ_TILE_N
#define CLQ_TILE_N 128
#endif
#ifndef CLQ_STAGES
#define CLQ_STAGES 3
#endif

#define WARPS_M  (CLQ_LOCAL_SIZE == 256 && CLQ_TILE_M > CLQ_TILE_N ? 4 : 2)
#define WARPS_N  (CLQ_LOCAL_SIZE / 32 / WARPS_M)
#define BLOCKS_M (CLQ_TILE_M / WARPS_M / 16) /* of 16 rows, of a warp */
#define BLOCKS_N (CLQ_TILE_N / WARPS_N / 16) /* of 16 columns */

/* ------------------------------------------------------------------------------------------------ the unit */

#ifndef CLQ_EMULATED

/* The address of the staged lines in the shared space. All below are made volatile, so that a compiler keeps them in this order. */
struct unit {
    uint shared;
};

/* As an operand a __local pointer has 64 bits. NVIDIA's compiler gives the address in the shared space, though no document says so; a generic one would be
   converted. They are told apart safely: the shared space's window among generic addresses lies far from 0, so that no address in the space is in it. */
INLINE struct unit find_unit(__local uint4 *memory)
{
    struct unit unit;
    __asm__ volatile("{ .reg .pred generic; .reg .b64 address; mov.b64 address, %1; isspacep.shared generic, address; "
                     "@generic cvta.to.shared.u64 address, address; cvt.u32.u64 %0, address; }"
                     : "=r"(unit.shared)
                     : "l"(memory));
    return unit;
}

#define UNIT_MEMORY
#define FIND_UNIT(memory) find_unit(memory)

/* Starts to copy 16 bytes, or zeros unless index < count. The comparison is made here: made outside, its result takes a register for every index. */
INLINE void copy_async(struct unit unit, uint to, __global const uchar *from, int index, int count)
{
    __asm__ volatile("{ .reg .pred absent; setp.ge.s32 absent, %2, %3; cp.async.cg.shared.global.L2::128B [%0], [%1], 16, absent; }"
                     :
                     : "r"(unit.shared + to), "l"(from), "r"(index), "r"(count)
                     : "memory");
}

/* The same with the first `size` bytes, and zeros behind them; costs four instructions more. */
INLINE void copy_async_part(struct unit unit, uint to, __global const uchar *from, int size, int index, int count)
{
    __asm__ volatile("{ .reg .pred present; .reg .b32 size; setp.lt.s32 present, %3, %4; selp.b32 size, %2, 0, present; "
                     "cp.async.cg.shared.global [%0], [%1], 16, size; }"
                     :
                     : "r"(unit.shared + to), "l"(from), "r"(size), "r"(index), "r"(count)
                     : "memory");
}

INLINE void end_copies(void)
{
    __asm__ volatile("cp.async.commit_group;" : : : "memory");
}

/* Waits for the item's own copies but those of the last `count` groups; those of other items have arrived after a barrier. */
#define WAIT_COPIES_(count) __asm__ volatile("cp.async.wait_group " #count ";" : : : "memory")
#define WAIT_COPIES(count)  WAIT_COPIES_(count)

/* Four matrices of 8 lines of 16 bytes: item i of the warp gives the place of line i % 8 of matrix i / 8, and gets bytes 4 * (i % 4) and on of line i / 4 of
   each. */
INLINE uint4 load_matrices(struct unit unit, uint at)
{
    uint x, y, z, w;
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x), "=r"(y), "=r"(z), "=r"(w)
                     : "r"(unit.shared + at)
                     : "memory");
    return (uint4)(x, y, z, w);
}

#define TYPE_5      "s8" /* S8 */
#define TYPE_6      "u8" /* U8 */
#define TYPE_(type) TYPE_##type
#define TYPE(type)  TYPE_(type)

/* sum += A B for 16 rows, 8 columns, 32 k. Item i has columns 2 * (i % 4) and the next of the rows i / 4 (x, y) and i / 4 + 8 (z, w). */
INLINE void multiply(struct unit unit, uint4 *sum, uint4 a, uint b0, uint b1)
{
    uint x = sum->x, y = sum->y, z = sum->z, w = sum->w;
    __asm__ volatile("mma.sync.aligned.m16n8k32.row.col.s32." TYPE(CLQ_SRC) "." TYPE(CLQ_DST)
                     ".s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+r"(x), "+r"(y), "+r"(z), "+r"(w)
                     : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
    *sum = (uint4)(x, y, z, w);
}

#else

/* The same, lane by lane as the PTX ISA documents the instructions: what items give each other goes through local memory. Every call is made by all items. */
struct unit {
    __local uchar *shared;
    __local uint *exchange;
};

#define UNIT_MEMORY __local uint exchange[CLQ_LOCAL_SIZE * 6];
#define FIND_UNIT(memory) ((struct unit){(__local uchar *)(memory), exchange})

INLINE void copy_async_part(struct unit unit, uint to, __global const uchar *from, int size, int index, int count)
{
    for (int i = 0; i < 16; ++i)
        unit.shared[to + i] = index < count && i < size ? from[i] : 0;
}

#define copy_async(unit, to, from, index, count) copy_async_part(unit, to, from, 16, index, count)
#define end_copies()
#define WAIT_COPIES(count)

INLINE uint4 load_matrices(struct unit unit, uint at)
{
    const uint item = (uint)get_local_id(0), lane = item % 32;
    __local uint *places = unit.exchange + (item - lane);
    uint loaded[4];
    places[lane] = at;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < 4; ++i)
        loaded[i] = *(__local const uint *)(unit.shared + places[8 * i + lane / 4] + 4 * (lane % 4));
    barrier(CLK_LOCAL_MEM_FENCE);
    return (uint4)(loaded[0], loaded[1], loaded[2], loaded[3]);
}

/* Byte k of four, as the type of side A or B has it. */
#define ELEMENT(four, k, type) ((type) == S8 ? (int)(char)((four) >> 8 * (k)) : (int)(uchar)((four) >> 8 * (k)))

INLINE void multiply(struct unit unit, uint4 *sum, uint4 a, uint b0, uint b1)
{
    const uint item = (uint)get_local_id(0), lane = item % 32;
    __local uint *operands = unit.exchange + (item - lane) * 6;
    uint sums[4] = {sum->x, sum->y, sum->z, sum->w};
    operands[lane] = a.x;
    operands[lane + 32] = a.y;
    operands[lane + 64] = a.z;
    operands[lane + 96] = a.w;
    operands[lane + 128] = b0;
    operands[lane + 160] = b1;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < 4; ++i) {
        const uint row = lane / 4 + 8 * (i / 2), col = 2 * (lane % 4) + i % 2;
        for (uint k = 0; k < 32; k += 4) {
            const uint four_a = operands[32 * (row / 8 + 2 * (k / 16)) + 4 * (row % 8) + k % 16 / 4];
            const uint four_b = operands[128 + 32 * (k / 16) + 4 * col + k % 16 / 4];
            for (uint j = 0; j < 4; ++j)
                sums[i] += (uint)(ELEMENT(four_a, j, CLQ_SRC) * ELEMENT(four_b, j, CLQ_DST));
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    *sum = (uint4)(sums[0], sums[1], sums[2], sums[3]);
}

#endif

/* ------------------------------------------------------------------------------------------------ staging */

/* A step of K in local memory: the lines of A, then those of B, 64 bytes each. The four 16-byte units of a line are swizzled, so that neither a copy nor a load
   of 8 lines' units meets a bank twice: unit c of line i lies in the place c ^ (i / 2 % 4). */
#define STEP        64
#define STAGE_BYTES ((CLQ_TILE_M + CLQ_TILE_N) * STEP)

INLINE uint find_place(uint line, uint part)
{
    return line * STEP + ((part ^ (line >> 1 & 3)) << 4);
}

/* Lines that all items copy at once, a unit each, and how often they do. */
#define LINES    (CLQ_LOCAL_SIZE / 4)
#define PASSES_A (CLQ_TILE_M / LINES)
#define PASSES   ((CLQ_TILE_M + CLQ_TILE_N) / LINES)

/* Where an item copies from: a unit of every LINES-th line of the stage. Of A and of B the first `count` are not past the last line. */
struct source {
    __global const uchar *from[PASSES];
    int a_count, b_count;
};

/* Lines first, first + LINES, ... that are not past the last one; those of a tile are fewer than 256. */
INLINE int count_lines(long first, long lines)
{
    return first < lines ? (int)((uint)min(lines - first + LINES - 1, 256L) / LINES) : 0;
}

INLINE struct source find_source(__global const struct clql_gemm_job *job, struct tile tile, __global const uchar *a, __global const uchar *b)
{
    const uint item = (uint)get_local_id(0);
    const long a_line = tile.row + item / 4, b_line = tile.col + item / 4;
    struct source source;
    source.a_count = count_lines(a_line, job->side[0].lines);
    source.b_count = count_lines(b_line, job->side[1].lines);
    #pragma unroll
    for (int i = 0; i < PASSES; ++i) {
        const int side = i >= PASSES_A;
        const long line = side ? b_line + (i - PASSES_A) * LINES : a_line + i * LINES;
        source.from[i] = find_line(job, side, side ? b : a, tile.batch, min(line, job->side[side].lines - 1)) + tile.k + item % 4 * 16;
    }
    return source;
}

/* Starts to copy the next step, if `left` of them is above 0. Of the last one `last_size` bytes of the item's units are there. */
INLINE void copy_step(struct unit unit, struct source *source, uint stage, int left, int last_size)
{
    const uint to = stage + find_place((uint)get_local_id(0) / 4, (uint)get_local_id(0) % 4);
    if (left > 1) {
        #pragma unroll
        for (int i = 0; i < PASSES_A; ++i)
            copy_async(unit, to + i * LINES * STEP, source->from[i], i, source->a_count);
        #pragma unroll
        for (int i = PASSES_A; i < PASSES; ++i)
            copy_async(unit, to + i * LINES * STEP, source->from[i], i - PASSES_A, source->b_count);
        #pragma unroll
        for (int i = 0; i < PASSES; ++i)
            source->from[i] += STEP;
    } else if (left == 1) {
        #pragma unroll
        for (int i = 0; i < PASSES_A; ++i)
            copy_async_part(unit, to + i * LINES * STEP, source->from[i], last_size, i, source->a_count);
        #pragma unroll
        for (int i = PASSES_A; i < PASSES; ++i)
            copy_async_part(unit, to + i * LINES * STEP, source->from[i], last_size, i - PASSES_A, source->b_count);
    }
}

/* ------------------------------------------------------------------------------------------------ products */

/* A warp's operands over 32 k: of A 16 rows a block, of B 16 columns, whose first 8 have x and y, the others z and w. */
struct fragments {
    uint4 a[BLOCKS_M], b[BLOCKS_N];
};

INLINE void load_fragments(struct unit unit, struct fragments *f, uint a, uint b)
{
    #pragma unroll
    for (int i = 0; i < BLOCKS_M; ++i)
        f->a[i] = load_matrices(unit, a + i * 16 * STEP);
    #pragma unroll
    for (int j = 0; j < BLOCKS_N; ++j)
        f->b[j] = load_matrices(unit, b + j * 16 * STEP);
}

INLINE void multiply_fragments(struct unit unit, uint4 (*sums)[2 * BLOCKS_N], const struct fragments *f)
{
    #pragma unroll
    for (int i = 0; i < BLOCKS_M; ++i) {
        #pragma unroll
        for (int j = 0; j < BLOCKS_N; ++j) {
            multiply(unit, &sums[i][2 * j], f->a[i], f->b[j].x, f->b[j].y);
            multiply(unit, &sums[i][2 * j + 1], f->a[i], f->b[j].z, f->b[j].w);
        }
    }
}

/* The sums of products of a warp's part of the tile. Leaves local memory free. */
INLINE void multiply_tile(__global const struct clql_gemm_job *job, struct tile tile, __global const uchar *a, __global const uchar *b, struct unit unit,
                          uint4 (*sums)[2 * BLOCKS_N])
{
    const uint item = (uint)get_local_id(0), lane = item % 32, warp = item / 32;
    const int steps = (int)((max(tile.k_end - tile.k, 0L) + STEP - 1) / STEP);
    const int tail = clamp((int)(tile.k_end - tile.k - (long)(steps - 1) * STEP) - (int)(item % 4) * 16, 0, 16);
    const uint a_from = warp / WARPS_N * BLOCKS_M * 16 * STEP + find_place(lane % 16, lane / 16);
    const uint b_from = (CLQ_TILE_M + warp % WARPS_N * BLOCKS_N * 16) * STEP + find_place(lane / 16 * 8 + lane % 8, lane / 8 % 2);
    struct source source = find_source(job, tile, a, b);
    struct fragments first, second;
    uint stage = 0;

    #pragma unroll 1
    for (int s = 0; s < CLQ_STAGES; ++s) {
        copy_step(unit, &source, s * STAGE_BYTES, steps - s, tail);
        end_copies();
    }
    WAIT_COPIES(CLQ_STAGES - 1);
    barrier(CLK_LOCAL_MEM_FENCE);
    load_fragments(unit, &first, a_from, b_from);
    for (int step = 0; step < steps; ++step) {
        const uint next = stage == (CLQ_STAGES - 1) * STAGE_BYTES ? 0 : stage + STAGE_BYTES;
        /* The second 32 k of a line lie two units away, which swizzled is a bit of the place. */
        load_fragments(unit, &second, stage + (a_from ^ 32), stage + (b_from ^ 32));
        multiply_fragments(unit, sums, &first);
        /* All items have the step's operands: its stage is free; and the next step has arrived. */
        WAIT_COPIES(CLQ_STAGES - 2);
        barrier(CLK_LOCAL_MEM_FENCE);
        load_fragments(unit, &first, next + a_from, next + b_from);
        copy_step(unit, &source, stage, steps - step - CLQ_STAGES, tail);
        end_copies();
        multiply_fragments(unit, sums, &second);
        stage = next;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* ------------------------------------------------------------------------------------------------ results */

/* Sums become results strip by strip, 16 rows of every warp, in local memory behind what rows have in common: an item finds four adjacent sums of a row there.
   A warp's stores, 8 bytes of 4 items on each of 8 rows, meet no bank twice, as a row lies 32 bytes further than a multiple of 128. */
#define STRIP_ROWS    (16 * WARPS_M)
#define STRIP_PITCH   (CLQ_TILE_N + 8)
#define QUADS        (CLQ_TILE_N / 4)
#define RESULT_BYTES (CLQ_TILE_M * 16 + STRIP_ROWS * STRIP_PITCH * 4)
#define MEMORY_BYTES (STAGE_BYTES * CLQ_STAGES > RESULT_BYTES ? STAGE_BYTES * CLQ_STAGES : RESULT_BYTES)

/* The sums of a warp's next 16 rows, to the strip. The others move up: so all their indices are constants, and they stay in registers. */
INLINE void store_sums(__local uint *strip, uint4 (*sums)[2 * BLOCKS_N])
{
    const uint item = (uint)get_local_id(0), lane = item % 32, warp = item / 32;
    __local uint *to = strip + (warp / WARPS_N * 16 + lane / 4) * STRIP_PITCH + warp % WARPS_N * BLOCKS_N * 16 + 2 * (lane % 4);
    #pragma unroll
    for (int j = 0; j < 2 * BLOCKS_N; ++j) {
        *(__local uint2 *)(to + 8 * j) = sums[0][j].xy;
        *(__local uint2 *)(to + 8 * STRIP_PITCH + 8 * j) = sums[0][j].zw;
        #pragma unroll
        for (int i = 1; i < BLOCKS_M; ++i)
            sums[i - 1][j] = sums[i][j];
    }
}

KERNEL void gemm_tiles(GEMM_PARAMETERS)
{
    __local uint4 memory[MEMORY_BYTES / 16];
    UNIT_MEMORY
    __local uint *strip = (__local uint *)(memory + CLQ_TILE_M);
    __global const struct clql_gemm_job *job = GEMM_JOB;
    const struct tile tile = find_tile(job, CLQ_TILE_M, CLQ_TILE_N);
    const uint item = (uint)get_local_id(0), quad = item % QUADS;
    const long col = tile.col + 4 * quad;
    uint4 sums[BLOCKS_M][2 * BLOCKS_N];

    #pragma unroll
    for (int i = 0; i < BLOCKS_M * 2 * BLOCKS_N; ++i)
        sums[i / (2 * BLOCKS_N)][i % (2 * BLOCKS_N)] = (uint4)(0);
    multiply_tile(job, tile, a, b, FIND_UNIT(memory), sums);

    const struct epilogue epilogue = LOAD_EPILOGUE;
    const struct line cols[4] = {LOAD_COL(tile.batch, col), LOAD_COL(tile.batch, col + 1), LOAD_COL(tile.batch, col + 2), LOAD_COL(tile.batch, col + 3)};
    const int rows_left = (int)min(job->side[0].lines - tile.row, (long)CLQ_TILE_M), cols_left = count_left(job, col);
    for (uint i = item; i < CLQ_TILE_M; i += CLQ_LOCAL_SIZE)
        memory[i] = pack_line(LOAD_ROW(tile.batch, tile.row + i));
    #pragma unroll 1
    for (int index = 0; index < BLOCKS_M; ++index) {
        store_sums(strip, sums);
        barrier(CLK_LOCAL_MEM_FENCE);
        #pragma unroll 1
        for (uint i = item / QUADS; i < STRIP_ROWS; i += CLQ_LOCAL_SIZE / QUADS) {
            const int row = (i / 16 * BLOCKS_M + index) * 16 + i % 16;
            const struct line line = unpack_line(memory[row]);
            const uint4 quad_sums = *(__local const uint4 *)(strip + i * STRIP_PITCH + 4 * quad);
            const uint4 results = (uint4)(MAKE_RESULT(quad_sums.x, line, cols[0]), MAKE_RESULT(quad_sums.y, line, cols[1]),
                                          MAKE_RESULT(quad_sums.z, line, cols[2]), MAKE_RESULT(quad_sums.w, line, cols[3]));
            if (row < rows_left) store_results(job, epilogue, c, find_result(job, tile.batch, tile.split, tile.row + row, col), results, cols_left);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
