/* SPDX-License-Identifier: MIT */
/*
 * Matrix products on the matrix units of AMD's, Intel's and ARM's devices. They take s8: of a u8 128 less. Work-groups: one for each tile of
 * CLQ_TILE_M x CLQ_TILE_N results, for each matrix and part of K.
 *
 * Both sides' lines come through local memory, 64 of k at a time: while a step is multiplied, the next one's lines are on their way to registers, and from
 * there they go to the other half of the memory. The sub-groups share a tile as a grid of SUBS_M x SUBS_N.
 *
 * CLQ_UNIT                1: AMD's MFMA of gfx908 and gfx90a, 2: of gfx940 and later; 3: AMD's WMMA of gfx11; 4: Intel's units with sub-groups of 8, 5: of 16,
 *                         both by cl_intel_subgroup_matrix_multiply_accumulate and cl_intel_subgroup_local_block_io; 6: cl_arm_matrix_multiply
 * CLQ_TILE_M, CLQ_TILE_N  multiples of CLQ_LOCAL_SIZE / 4, and of SUBS_M * BLOCK_M and SUBS_N * BLOCK_N
 * CLQ_LOCAL_SIZE          a multiple of LANES and of CLQ_TILE_N / 4
 * CLQ_EMULATED            defined: the unit's instructions are emulated, for any device
 *
 * Local memory is (CLQ_TILE_M + CLQ_TILE_N) * 128 bytes, on Intel's units up to 2 KB more.
 */
#ifndef CLQ_TILE_M
#define CLQ_TILE_M 128
#endif
#ifndef CLQ_TILE_N
#define CLQ_TILE_N 128
#endif

#define STEP   64
#define CHUNKS (STEP / 16)

/* Where a chunk of 16 elements of a line is in a step's memory of a side, SIDE uint4 long. Neither the stores of two lines nor the loads of a chunk of 8 lines
   meet a bank twice: chunks are swizzled; or 32 k of all lines lie together, as block reads want them, and the other 32 start half a round of the banks on. */
#if CLQ_UNIT == 4 || CLQ_UNIT == 5
#define SIDE(lines)               (4 * (lines) + 8)
#define PLACE(lines, line, chunk) ((chunk) / 2 * (2 * (lines) + 4) + (line) * 2 + (chunk) % 2)
#else
#define SIDE(lines)               (4 * (lines))
#define PLACE(lines, line, chunk) ((line) * 4 + ((chunk) ^ (line) / 2 % 4))
#endif

/* ------------------------------------------------------------------------------------------------ the units */

/*
 * LANES items with neighbouring numbers are a sub-group. An instruction adds the products of UNIT_K k to a block of BLOCK_M x BLOCK_N sums. A lane has SUMS of
 * them, in the column lane % BLOCK_N: sum i is in the row FIRST_ROW(lane) + i * ROW_STEP. Of a step's operands PARTS parts are loaded, each for TERMS
 * instructions.
 *
 * Where the instruction finds them: element k of a row of A is byte A_BYTE of what lane A_LANE gives, that of a column of B byte B_BYTE of lane B_LANE.
 */

#if CLQ_UNIT == 1 || CLQ_UNIT == 2

#define LANES     64
#define BLOCK_M   16
#define BLOCK_N   16
#define SUMS      4
#define ROW_STEP  1
#define PARTS     1
#define TERMS     (64 / UNIT_K)
#define UNIT_K    (16 * CLQ_UNIT)
#define A_LANE    (row + 16 * (k / (UNIT_K / 4)))
#define A_BYTE    (k % (UNIT_K / 4))
#define B_LANE    (col + 16 * (k / (UNIT_K / 4)))
#define B_BYTE    A_BYTE
#define STRIP_PAD 4
#define FIRST_ROW(lane) ((lane) / 16 * 4)
#define SUB_GROUP
typedef int4 block_sums;
typedef uint4 a_operand, b_operand;

/* A lane takes 16 adjacent k, 4 or 8 for each instruction: any order of k will do that is the same for both sides. */
#define load_a(lines, first, part, lane) (lines)[PLACE(CLQ_TILE_M, (first) + (lane) % 16, (lane) / 16)]
#define load_b(lines, first, part, lane) (lines)[PLACE(CLQ_TILE_N, (first) + (lane) % 16, (lane) / 16)]

#if CLQ_UNIT == 1
#define MULTIPLY(sums, a, b, term) \
    __builtin_amdgcn_mfma_i32_16x16x16i8(((const int *)&(a))[term], ((const int *)&(b))[term], sums, 0, 0, 0)
#else
#define MULTIPLY(sums, a, b, term) \
    __builtin_amdgcn_mfma_i32_16x16x32_i8(((const long *)&(a))[term], ((const long *)&(b))[term], sums, 0, 0, 0)
#endif

#elif CLQ_UNIT == 3

#define LANES     32
#define BLOCK_M   16
#define BLOCK_N   16
#define SUMS      8
#define ROW_STEP  2
#define PARTS     4
#define TERMS     1
#define UNIT_K    16
#define A_LANE    (row + lane / 16 * 16) /* either half has all operands */
#define A_BYTE    k
#define B_LANE    (col + lane / 16 * 16)
#define B_BYTE    k
#define STRIP_PAD 16
#define FIRST_ROW(lane) ((lane) / 16)
#define SUB_GROUP
typedef int8 block_sums;
typedef uint4 a_operand, b_operand;

#define load_a(lines, first, part, lane) (lines)[PLACE(CLQ_TILE_M, (first) + (lane) % 16, part)]
#define load_b(lines, first, part, lane) (lines)[PLACE(CLQ_TILE_N, (first) + (lane) % 16, part)]
#define MULTIPLY(sums, a, b, term)       __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, as_int4(a), true, as_int4(b), sums, false)

#elif CLQ_UNIT == 4 || CLQ_UNIT == 5

#define LANES     (CLQ_UNIT == 4 ? 8 : 16)
#define BLOCK_M   8
#define BLOCK_N   LANES
#define SUMS      8
#define ROW_STEP  1
#define PARTS     2
#define TERMS     1
#define UNIT_K    32
#define A_LANE    (k / (32 / LANES))
#define A_BYTE    (row * (32 / LANES) + k % (32 / LANES))
#define B_LANE    col
#define B_BYTE    k
#define STRIP_PAD 0
#define FIRST_ROW(lane) 0
typedef int8 block_sums;
typedef int8 b_operand;
#if CLQ_UNIT == 4
typedef int8 a_operand;
#else
typedef short8 a_operand;
#endif

#ifndef CLQ_EMULATED
#define SUB_GROUP __attribute__((intel_reqd_sub_group_size(LANES)))
#define READ_BLOCK_8(from, lane)  as_int8(intel_sub_group_block_read8((__local const uint *)(from)))
#define READ_BLOCK_16(from, lane) as_short8(intel_sub_group_block_read_us8((__local const ushort *)(from)))
#else
#define SUB_GROUP
#define READ_BLOCK_8(from, lane)  READ_BLOCK((__local const int *)(from) + (lane), 8)
#define READ_BLOCK_16(from, lane) READ_BLOCK((__local const short *)(from) + (lane), 16)
#define READ_BLOCK(p, n)          ((a_operand)((p)[0], (p)[n], (p)[2 * n], (p)[3 * n], (p)[4 * n], (p)[5 * n], (p)[6 * n], (p)[7 * n]))
#endif

/* 8 rows of A, of which a lane takes 2 or 4 adjacent k; a column of B. */
#if CLQ_UNIT == 4
#define load_a(lines, first, part, lane) READ_BLOCK_8((lines) + PLACE(CLQ_TILE_M, first, 2 * (part)), lane)
#else
#define load_a(lines, first, part, lane) READ_BLOCK_16((lines) + PLACE(CLQ_TILE_M, first, 2 * (part)), lane)
#endif
#define load_b(lines, first, part, lane) *(__local const int8 *)((lines) + PLACE(CLQ_TILE_N, (first) + (lane), 2 * (part)))
#define MULTIPLY(sums, a, b, term) intel_sub_group_i8_i8_matrix_mad_k32(a, b, sums)

#else

#define LANES     16
#define BLOCK_M   4
#define BLOCK_N   4
#define SUMS      1
#define ROW_STEP  1
#define PARTS     4
#define TERMS     1
#define UNIT_K    16
#define A_LANE    (row * 4 + k / 4)
#define A_BYTE    (k % 4)
#define B_LANE    (k / 4 * 4 + col)
#define B_BYTE    (k % 4)
#define STRIP_PAD 0
#define FIRST_ROW(lane) ((lane) / 4)
#define SUB_GROUP
typedef int block_sums;
typedef uint a_operand, b_operand;

#define load_a(lines, first, part, lane) ((__local const uint *)((lines) + PLACE(CLQ_TILE_M, (first) + (lane) / 4, part)))[(lane) % 4]
#define load_b(lines, first, part, lane) ((__local const uint *)((lines) + PLACE(CLQ_TILE_N, (first) + (lane) % 4, part)))[(lane) / 4]
#define MULTIPLY(sums, a, b, term)       arm_matrix_multiply(as_char4(a), as_char4(b), sums)

#endif

#ifndef CLQ_EMULATED

#define UNIT_MEMORY
#define UNROLL _Pragma("unroll")
#define multiply(sums, a, b, term) *(sums) = MULTIPLY(*(sums), a, b, term)

#else

/* The same, lane by lane as the instructions' documents describe it: what lanes give each other goes through local memory. Every call is made by all items. */
#define COPIES      (CLQ_UNIT == 3 ? 2 : 1)
#define A_WORDS     (BLOCK_M * UNIT_K * COPIES / LANES / 4)
#define B_WORDS     (BLOCK_N * UNIT_K * COPIES / LANES / 4)
#define UNIT_MEMORY __local uint exchange[CLQ_LOCAL_SIZE * (A_WORDS + B_WORDS)];
#define UNROLL
#define multiply(sums, a, b, term) emulate(exchange, sums, (const uint *)&(a) + (term) * A_WORDS, (const uint *)&(b) + (term) * B_WORDS)

INLINE void emulate(__local uint *exchange, block_sums *sums, const uint *a, const uint *b)
{
    const uint item = (uint)get_local_id(0), lane = item % LANES, col = lane % BLOCK_N;
    __local uint *a_given = exchange + (item - lane) * A_WORDS, *b_given = exchange + CLQ_LOCAL_SIZE * A_WORDS + (item - lane) * B_WORDS;
    for (uint i = 0; i < A_WORDS; ++i)
        a_given[lane * A_WORDS + i] = a[i];
    for (uint i = 0; i < B_WORDS; ++i)
        b_given[lane * B_WORDS + i] = b[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < SUMS; ++i) {
        const uint row = FIRST_ROW(lane) + i * ROW_STEP;
        for (uint k = 0; k < UNIT_K; ++k)
            ((int *)sums)[i] += ((__local const char *)(a_given + A_LANE * A_WORDS))[A_BYTE] * ((__local const char *)(b_given + B_LANE * B_WORDS))[B_BYTE];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

#endif

/* ------------------------------------------------------------------------------------------------ staging */

/* Lines that all items load at once, a chunk each, and how often they do in a step. */
#define LINES      (CLQ_LOCAL_SIZE / CHUNKS)
#define LOADS_A    (CLQ_TILE_M / LINES)
#define LOADS      ((CLQ_TILE_M + CLQ_TILE_N) / LINES)
#define STEP_SIZE  (SIDE(CLQ_TILE_M) + SIDE(CLQ_TILE_N))
#define TYPE(load) ((load) < LOADS_A ? CLQ_SRC : CLQ_DST)

/* Where an item's chunks of the first step are. */
INLINE void find_source(__global const uchar **from, __global const struct clql_gemm_job *job, struct tile tile, __global const uchar *a,
                        __global const uchar *b)
{
    const uint item = (uint)get_local_id(0);
    #pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const int side = i >= LOADS_A;
        const long line = item / CHUNKS + (side ? tile.col + (i - LOADS_A) * LINES : tile.row + i * LINES);
        from[i] = find_line(job, side, side ? b : a, tile.batch, min(line, job->side[side].lines - 1)) + tile.k + item % CHUNKS * 16;
    }
}

/* Chunks that lie past the end of a line are read `back` bytes before. */
INLINE void load_step(uint4 *step, __global const uchar **from, int back)
{
    #pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        step[i] = *(__global const uint4 *)(from[i] - back);
        from[i] += STEP;
    }
}

/* Makes zeros of all elements of the item's chunks but the first `left`. */
INLINE void cut_step(uint4 *step, int left)
{
    const uint4 mask = (uint4)(mask_word(left), mask_word(left - 4), mask_word(left - 8), mask_word(left - 12));
    #pragma unroll
    for (int i = 0; i < LOADS; ++i)
        step[i] = to_s8x16(to_s8x16(step[i], TYPE(i)) & mask, TYPE(i));
}

INLINE void store_step(__local uint4 *lines, const uint4 *step)
{
    const uint item = (uint)get_local_id(0), line = item / CHUNKS, chunk = item % CHUNKS;
    #pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const uint place = i < LOADS_A ? PLACE(CLQ_TILE_M, line + i * LINES, chunk)
                                       : SIDE(CLQ_TILE_M) + PLACE(CLQ_TILE_N, line + (i - LOADS_A) * LINES, chunk);
        lines[place] = to_s8x16(step[i], TYPE(i));
    }
}

/* ------------------------------------------------------------------------------------------------ products */

#define SUBS     (CLQ_LOCAL_SIZE / LANES)
#define SUBS_M   (SUBS >= 64 ? 8 : SUBS >= 16 ? 4 : SUBS >= 4 ? 2 : 1)
#define SUBS_N   (SUBS / SUBS_M)
#define BLOCKS_M (CLQ_TILE_M / SUBS_M / BLOCK_M)
#define BLOCKS_N (CLQ_TILE_N / SUBS_N / BLOCK_N)

/* Sums become results strip by strip, a block's rows of every sub-group, in local memory behind what rows have in common: an item finds four adjacent sums of a
   row there. The lanes that store in different rows use different banks. */
#define STRIP_ROWS  (BLOCK_M * SUBS_M)
#define STRIP_PITCH (CLQ_TILE_N + STRIP_PAD)
#define QUADS       (CLQ_TILE_N / 4)
#define RESULT_SIZE (CLQ_TILE_M + STRIP_ROWS * STRIP_PITCH / 4)
#define MEMORY_SIZE (2 * STEP_SIZE > RESULT_SIZE ? 2 * STEP_SIZE : RESULT_SIZE)

/* The sums of a sub-group's next BLOCK_M rows, to the strip. The others move up: so all their indices are constants, and they stay in registers. */
INLINE void store_sums(__local uint *strip, block_sums (*sums)[BLOCKS_N])
{
    const uint item = (uint)get_local_id(0), lane = item % LANES, sub = item / LANES;
    __local uint *to = strip + (sub / SUBS_N * BLOCK_M + FIRST_ROW(lane)) * STRIP_PITCH + sub % SUBS_N * BLOCKS_N * BLOCK_N + lane % BLOCK_N;
    #pragma unroll
    for (int j = 0; j < BLOCKS_N; ++j) {
        #pragma unroll
        for (int i = 0; i < SUMS; ++i)
            to[i * ROW_STEP * STRIP_PITCH + j * BLOCK_N] = ((const uint *)&sums[0][j])[i];
        #pragma unroll
        for (int i = 1; i < BLOCKS_M; ++i)
            sums[i - 1][j] = sums[i][j];
    }
}

KERNEL SUB_GROUP void gemm_tiles(GEMM_PARAMETERS)
{
    __local uint4 memory[MEMORY_SIZE] __attribute__((aligned(32)));
    UNIT_MEMORY
    __global const struct clql_gemm_job *job = GEMM_JOB;
    const struct tile tile = find_tile(job, CLQ_TILE_M, CLQ_TILE_N);
    const uint item = (uint)get_local_id(0), lane = item % LANES, sub = item / LANES;
    const uint a_first = sub / SUBS_N * BLOCKS_M * BLOCK_M, b_first = sub % SUBS_N * BLOCKS_N * BLOCK_N;
    const int steps = (int)((max(tile.k_end - tile.k, 0L) + STEP - 1) / STEP);
    const int tail = (int)(tile.k_end - tile.k - (long)(steps - 1) * STEP), chunk = (int)(item % CHUNKS) * 16;
    const int back = max(chunk - (tail - 1) / 16 * 16, 0); /* of the last step */
    __global const uchar *from[LOADS];
    uint4 step[LOADS];
    block_sums sums[BLOCKS_M][BLOCKS_N];

    #pragma unroll
    for (int i = 0; i < BLOCKS_M * BLOCKS_N; ++i)
        sums[i / BLOCKS_N][i % BLOCKS_N] = (block_sums)(0);
    find_source(from, job, tile, a, b);
    if (steps > 0) load_step(step, from, steps == 1 ? back : 0);
    for (int s = 0; s < steps; ++s) {
        __local uint4 *lines = memory + s % 2 * STEP_SIZE;
        if (s + 1 == steps) cut_step(step, tail - chunk);
        store_step(lines, step);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (s + 1 < steps) load_step(step, from, s + 2 == steps ? back : 0);
        /* Unrolled, the parts' operands take too many registers. */
        #pragma unroll 1
        for (int part = 0; part < PARTS; ++part) {
            b_operand y[BLOCKS_N];
            #pragma unroll
            for (int j = 0; j < BLOCKS_N; ++j)
                y[j] = load_b(lines + SIDE(CLQ_TILE_M), b_first + j * BLOCK_N, part, lane);
            UNROLL
            for (int i = 0; i < BLOCKS_M; ++i) {
                const a_operand x = load_a(lines, a_first + i * BLOCK_M, part, lane);
                UNROLL
                for (int term = 0; term < TERMS; ++term) {
                    UNROLL
                    for (int j = 0; j < BLOCKS_N; ++j)
                        multiply(&sums[i][j], x, y[j], term);
                }
            }
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    __local uint *strip = (__local uint *)(memory + CLQ_TILE_M);
    const uint quad = item % QUADS;
    const long col = tile.col + 4 * quad;
    const struct epilogue epilogue = LOAD_EPILOGUE;
    const struct line col0 = LOAD_COL(tile.batch, col), col1 = LOAD_COL(tile.batch, col + 1), col2 = LOAD_COL(tile.batch, col + 2),
                      col3 = LOAD_COL(tile.batch, col + 3);
    const int cols_left = count_left(job, col);
    for (uint i = item; i < CLQ_TILE_M; i += CLQ_LOCAL_SIZE)
        memory[i] = pack_line(LOAD_ROW(tile.batch, tile.row + i));
    #pragma unroll 1
    for (uint index = 0; index < BLOCKS_M; ++index) {
        store_sums(strip, sums);
        barrier(CLK_LOCAL_MEM_FENCE);
        #pragma unroll 1
        for (uint i = item / QUADS; i < STRIP_ROWS; i += CLQ_LOCAL_SIZE / QUADS) {
            const uint row = (i / BLOCK_M * BLOCKS_M + index) * BLOCK_M + i % BLOCK_M;
            const struct line own = unpack_line(memory[row]);
            const uint4 four = *(__local const uint4 *)(strip + i * STRIP_PITCH + 4 * quad);
            const uint4 results = (uint4)(MAKE_RESULT(four.x, own, col0), MAKE_RESULT(four.y, own, col1), MAKE_RESULT(four.z, own, col2),
                                          MAKE_RESULT(four.w, own, col3));
            const long m = tile.row + row;
            if (m < job->side[0].lines) store_results(job, epilogue, c, find_result(job, tile.batch, tile.split, m, col), results, cols_left);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
