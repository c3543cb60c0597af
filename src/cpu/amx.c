/* SPDX-License-Identifier: MIT */
/*
 * x86 with AMX-INT8 (Intel since Sapphire Rapids): eight registers hold tiles, 16 rows x 64 elements of A, 16 words x 16 columns of B or 16 x 16 sums,
 * and an instruction adds the product of two of them to a third, 16 cycles after the one before. All signs are there, so nothing is flipped.
 *
 * The largest tile of gemm.h is 2 x 2 of these. A smaller one has two sets of sums, which take the steps along k in turn, for a sum is there 52
 * cycles after its product has begun.
 */
#include "config.h"

#include "base/util.h"
#include "cpu/vector_avx512.h"
#include <string.h>

#define GEMM_COLS     32
#define ELEMENT_BYTES 1
#define FLIP_A(type)  0
#define FLIP_B(type)  0
#define TILE          16             /* rows, columns, and words of k, of a tile */
#define STEP          64             /* elements of k of a tile, bytes of its rows */
#define B_PITCH       (4 * GEMM_COLS) /* bytes from word to word of a panel */

/* Memory is as written: gcc 12 does not say that loading a tile reads it. */
#define SETTLE() __asm__ volatile("" ::: "memory")

INLINE vint sum_elements(int type, vint sum, vint v)
{
    const vint ones = _mm512_set1_epi8(1);
    return type == CLQ_GEMM_S8 ? _mm512_dpbusd_epi32(sum, ones, v) : _mm512_dpbusd_epi32(sum, v, ones);
}

#include "cpu/gemm_pack.h"

#include "cpu/gemm_finish.h"

/* What LDTILECFG reads: palette 1, and the sizes of the tiles, all 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} config = {1, 0, {0}, {STEP, STEP, STEP, STEP, STEP, STEP, STEP, STEP}, {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE}};

static void begin(void)
{
    _tile_loadconfig(&config);
}

static void end(void)
{
    _tile_release();
}

/* Up to 16 rows of A. If they are fewer, they are copied, step by step, for what lies behind them is not ours to read. */
struct side {
    const char *from;
    int64_t pitch, rows;
    char *copy; /* 16 rows of a step */
};

INLINE const char *rows_at(const struct side *side, int64_t k)
{
    if (side->rows >= TILE) return side->from + k;
    SETTLE();
    for (int64_t i = 0; i < side->rows; ++i)
        store32(side->copy + i * STEP, load32(side->from + i * side->pitch + k));
    SETTLE();
    return side->copy;
}

INLINE int64_t pitch_of(const struct side *side)
{
    return side->rows >= TILE ? side->pitch : STEP;
}

/* c += a * b */
#define MULTIPLY(c, a, b)                                                          \
    do {                                                                           \
        if (type_a == CLQ_GEMM_S8 && type_b == CLQ_GEMM_S8) _tile_dpbssd(c, a, b); \
        if (type_a == CLQ_GEMM_S8 && type_b == CLQ_GEMM_U8) _tile_dpbsud(c, a, b); \
        if (type_a == CLQ_GEMM_U8 && type_b == CLQ_GEMM_S8) _tile_dpbusd(c, a, b); \
        if (type_a == CLQ_GEMM_U8 && type_b == CLQ_GEMM_U8) _tile_dpbuud(c, a, b); \
    } while (0)

/* A step of 2 x 2 tiles. A's are 4 and 5, B's 6 and 7; they are loaded while products are under way. */
INLINE void multiply_four(const struct side *upper, const struct side *lower, int64_t k, const char *b, int type_a, int type_b)
{
    _tile_loadd(4, rows_at(upper, k), pitch_of(upper));
    _tile_loadd(6, b, B_PITCH);
    MULTIPLY(0, 4, 6);
    _tile_loadd(7, b + STEP, B_PITCH);
    MULTIPLY(1, 4, 7);
    _tile_loadd(5, rows_at(lower, k), pitch_of(lower));
    MULTIPLY(2, 5, 6);
    MULTIPLY(3, 5, 7);
}

/* A step of 1 x 2 tiles, of 2 x 1, or of one; its sums are first and second. */
#define MULTIPLY_TWO(first, second)                             \
    do {                                                        \
        _tile_loadd(4, rows_at(upper, k), pitch_of(upper));     \
        _tile_loadd(6, b, B_PITCH);                             \
        MULTIPLY(first, 4, 6);                                  \
        if (two_cols) {                                         \
            _tile_loadd(7, b + STEP, B_PITCH);                  \
            MULTIPLY(second, 4, 7);                             \
        }                                                       \
        if (two_rows) {                                         \
            _tile_loadd(5, rows_at(lower, k), pitch_of(lower)); \
            MULTIPLY(second, 5, 6);                             \
        }                                                       \
    } while (0)

INLINE void multiply_two(const struct side *upper, const struct side *lower, bool two_rows, bool two_cols, int set, int64_t k, const char *b,
                         int type_a, int type_b)
{
    if (set == 0)
        MULTIPLY_TWO(0, 1);
    else
        MULTIPLY_TWO(2, 3);
}

#define SUM_PITCH (4 * GEMM_COLS) /* bytes */

/* What the sums of the tile begin with. */
INLINE void put_starts(const struct clq_gemm_tile *tile, bool two_cols, int32_t (*sums)[GEMM_COLS])
{
    for (int64_t i = 0; i < tile->rows; ++i)
        for (int j = 0; j < (two_cols ? 2 * TILE : TILE); j += TILE) {
            const vint inits = add_s32(load32(tile->col_init + j), splat_s32(tile->row_init ? tile->row_init[i] : 0));
            store32(&sums[i][j], tile->start ? add_s32(inits, load32(tile->start + i * tile->start_pitch + j)) : inits);
        }
    SETTLE();
}

INLINE void get_sums(const struct clq_gemm_tile *tile, bool two_cols, int32_t (*sums)[GEMM_COLS], int32_t (*others)[GEMM_COLS])
{
    SETTLE();
    for (int64_t i = 0; i < tile->rows; ++i)
        for (int j = 0; j < (two_cols ? 2 * TILE : TILE); j += TILE) {
            const vint v = load32(&sums[i][j]);
            store32(tile->c + i * tile->c_pitch + j, others ? add_s32(v, load32(&others[i][j])) : v);
        }
}

INLINE void four_tiles(const struct clq_gemm_tile *tile, const struct side *upper, const struct side *lower, int type_a, int type_b)
{
    int32_t sums[2 * TILE][GEMM_COLS] __attribute__((aligned(64)));
    const bool direct = tile->rows == 2 * TILE;
    char *const c = direct ? (char *)tile->c : (char *)sums;
    const int64_t pitch = direct ? 4 * tile->c_pitch : SUM_PITCH;
    put_starts(tile, true, sums);
    _tile_loadd(0, sums[0], SUM_PITCH);
    _tile_loadd(1, &sums[0][TILE], SUM_PITCH);
    _tile_loadd(2, sums[TILE], SUM_PITCH);
    _tile_loadd(3, &sums[TILE][TILE], SUM_PITCH);
    for (int64_t k = 0; k < tile->k; k += STEP)
        multiply_four(upper, lower, k, (const char *)tile->b + k * GEMM_COLS, type_a, type_b);
    _tile_stored(0, c, pitch);
    _tile_stored(1, c + STEP, pitch);
    _tile_stored(2, c + TILE * pitch, pitch);
    _tile_stored(3, c + TILE * pitch + STEP, pitch);
    if (!direct) get_sums(tile, true, sums, NULL);
}

INLINE void two_tiles(const struct clq_gemm_tile *tile, const struct side *upper, const struct side *lower, bool two_rows, bool two_cols, int type_a,
                      int type_b)
{
    int32_t sums[2][2 * TILE][GEMM_COLS] __attribute__((aligned(64)));
    const int second_row = two_rows ? TILE : 0, second_col = two_cols ? TILE : 0;
    int64_t k = 0;
    put_starts(tile, two_cols, sums[0]);
    _tile_loadd(0, sums[0][0], SUM_PITCH);
    _tile_loadd(1, &sums[0][second_row][second_col], SUM_PITCH);
    _tile_zero(2);
    _tile_zero(3);
    for (; k < tile->k; k += STEP)
        multiply_two(upper, lower, two_rows, two_cols, k / STEP % 2, k, (const char *)tile->b + k * GEMM_COLS, type_a, type_b);
    if (two_rows || two_cols) {
        _tile_stored(1, &sums[0][second_row][second_col], SUM_PITCH);
        _tile_stored(3, &sums[1][second_row][second_col], SUM_PITCH);
    }
    _tile_stored(0, sums[0][0], SUM_PITCH);
    _tile_stored(2, sums[1][0], SUM_PITCH);
    get_sums(tile, two_cols, sums[0], sums[1]);
}

INLINE void tile_of(const struct clq_gemm_tile *tile, int type_a, int type_b)
{
    char copies[2][TILE * STEP] __attribute__((aligned(64)));
    const int64_t pitch = tile->a_pitch, rows = tile->rows;
    const char *const a = tile->a;
    const struct side full = {a, pitch, TILE, NULL}, full_too = {a + TILE * pitch, pitch, TILE, NULL};
    const struct side upper = {a, pitch, rows, copies[0]}, lower = {a + TILE * pitch, pitch, rows - TILE, copies[1]};
    if (rows % TILE != 0) memset(copies, 0, sizeof copies);
    if (rows > TILE && tile->cols <= TILE)
        two_tiles(tile, &full, &lower, true, false, type_a, type_b);
    else if (rows == 2 * TILE)
        four_tiles(tile, &full, &full_too, type_a, type_b);
    else if (rows > TILE)
        four_tiles(tile, &full, &lower, type_a, type_b);
    else
        two_tiles(tile, &upper, NULL, false, tile->cols > TILE, type_a, type_b);
}

static void tile_s8_s8(const struct clq_gemm_tile *tile)
{
    tile_of(tile, CLQ_GEMM_S8, CLQ_GEMM_S8);
}

static void tile_s8_u8(const struct clq_gemm_tile *tile)
{
    tile_of(tile, CLQ_GEMM_S8, CLQ_GEMM_U8);
}

static void tile_u8_s8(const struct clq_gemm_tile *tile)
{
    tile_of(tile, CLQ_GEMM_U8, CLQ_GEMM_S8);
}

static void tile_u8_u8(const struct clq_gemm_tile *tile)
{
    tile_of(tile, CLQ_GEMM_U8, CLQ_GEMM_U8);
}

static const struct clq_gemm_kernels gemm_kernels = {
    .rows = 2 * TILE,
    .cols = GEMM_COLS,
    .row_unit = TILE,
    .group = GROUP,
    .k_unit = STEP,
    .element_bytes = ELEMENT_BYTES,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .tile = {{tile_s8_s8, tile_s8_u8}, {tile_u8_s8, tile_u8_u8}},
    .begin = begin,
    .end = end,
    .subtract_outer = subtract_outer,
    .finish_f32 = finish_f32,
};

const struct clq_cpu_ops clq_cpu_amx = {.name = "amx", .gemm = &gemm_kernels};
