/* SPDX-License-Identifier: MIT */
/*
 * The tile of the matrix product for instruction sets that add the dot products of 4 bytes, or of 2 s16, to 32-bit lanes, as a template.
 *
 * A tile of GEMM_ROWS x GEMM_COLS stays in registers. Along k it takes a word of 4 bytes of each row of A, in all lanes, times the words of
 * GEMM_COLS columns of B, which are adjacent in the panel. Where a tile has few rows, several sets of sums take words in turn, for a dot product
 * takes 4 or 5 cycles while two can start in each.
 *
 * GEMM_ROWS, GEMM_COLS   the largest tile: 6, 8, 12 or 14 rows and 2 * WIDTH columns
 * A_WORDS                words of a row that are loaded at once: 1, in all lanes, or 4 if dot() takes them by lane; k_unit is a multiple of them
 *
 * dot(sum, b, a, i)      sum + b * word i of a
 *
 * with OWN_DOTS, for dot()s whose sums are no vint:
 * vdots                  WIDTH sums: zero_dots(), start_dots(v), dots_s32(v)
 */
#define WORD_BYTES     4
#define PREFETCH_BYTES 4096 /* ahead */

#ifndef OWN_DOTS
typedef vint vdots;

INLINE vdots zero_dots(void)
{
    vint zero = splat_s32(0);
#ifdef __x86_64__
    __asm__ volatile("" : "+v"(zero)); /* or gcc 12 copies sums to and fro in the loop, where they are constant before it */
#endif
    return zero;
}

INLINE vdots start_dots(vint a)
{
    return a;
}

INLINE vint dots_s32(vdots a)
{
    return a;
}
#endif

INLINE vint load_a(const char *p)
{
    int32_t word;
    if (A_WORDS > 1) return load32(p);
    memcpy(&word, p, sizeof word);
    return splat_s32(word);
}

/* Sums of a row: of its first WIDTH columns and of the others. */
struct pair {
    vdots low, high;
};

/* Those of a tile: p<set * rows + row>. Names, and macros for loops over them: gcc would keep an array in memory. */
struct sums {
    struct pair p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13;
};
#define EACH_PAIR(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13)
#define EACH_WORD(DO) DO(0) DO(1) DO(2) DO(3)

INLINE int count_sets(int rows)
{
    return rows * 4 <= GEMM_ROWS ? 4 : rows * 2 <= GEMM_ROWS ? 2 : 1;
}

INLINE void add_word(struct pair *pair, bool both, const char *a, const char *b, int word)
{
    const vint row = load_a(a + word / A_WORDS * A_WORDS * WORD_BYTES);
    const char *const col = b + word * GEMM_COLS * WORD_BYTES;
    pair->low = dot(pair->low, load32(col), row, word % A_WORDS);
    if (both) pair->high = dot(pair->high, load32(col + WIDTH * WORD_BYTES), row, word % A_WORDS);
}

/* The next 1 to 4 words of each row and column, a multiple of A_WORDS; word w goes to the set w % sets. */
INLINE void add_words(struct sums *sums, int rows, bool both, int sets, int words, const char *a, int64_t a_pitch, const char *b)
{
#define ADD_TO_PAIR(n) \
    if (n / rows == word % sets && n < sets * rows) add_word(&sums->p##n, both, a + n % rows * a_pitch, b, word);
#define ADD_WORD(w)                \
    if (w < words) {               \
        enum { word = w };         \
        EACH_PAIR(ADD_TO_PAIR)     \
    }
    EACH_WORD(ADD_WORD)
#undef ADD_WORD
#undef ADD_TO_PAIR
}

/* What sums begin with. */
INLINE vdots start_at(const struct clq_gemm_tile *tile, int row, int col)
{
    vint sums = load32(tile->col_init + col);
    if (tile->row_init) sums = add_s32(sums, splat_s32(tile->row_init[row]));
    if (tile->start) sums = add_s32(sums, load32(tile->start + row * tile->start_pitch + col));
    return start_dots(sums);
}

/* A pair of the first set goes to c; others are added to it. */
INLINE void store_pair(int32_t *c, bool is_first, bool both, const struct pair *pair)
{
    for (int j = 0; j < (both ? 2 * WIDTH : WIDTH); j += WIDTH) {
        const vint sums = dots_s32(j == 0 ? pair->low : pair->high);
        store32(c + j, is_first ? sums : add_s32(load32(c + j), sums));
    }
}

INLINE void tile_of(const struct clq_gemm_tile *tile, int rows, bool both)
{
    const int sets = count_sets(rows), step = sets > A_WORDS ? sets : A_WORDS;
    const int64_t words = tile->k * ELEMENT_BYTES / WORD_BYTES;
    const int64_t c_pitch = tile->c_pitch;
    const char *a = tile->a, *b = tile->b;
    int32_t *const c = tile->c;
    struct sums sums;
    int64_t w = 0;
#define START_PAIR(n)                                                             \
    sums.p##n.low = n < rows ? start_at(tile, n, 0) : zero_dots();                 \
    sums.p##n.high = n < rows && both ? start_at(tile, n, WIDTH) : zero_dots();
    EACH_PAIR(START_PAIR)
#undef START_PAIR
    for (; w + step <= words; w += step) {
        if (tile->prefetch)
            for (int line = 0; line < step * GEMM_COLS * WORD_BYTES; line += 64)
                __builtin_prefetch((const void *)((uintptr_t)b + PREFETCH_BYTES + (uintptr_t)line)); /* whatever is there */
        add_words(&sums, rows, both, sets, step, a, tile->a_pitch, b);
        a += step * WORD_BYTES;
        b += step * GEMM_COLS * WORD_BYTES;
    }
    for (; step > A_WORDS && w < words; w += A_WORDS) {
        add_words(&sums, rows, both, 1, A_WORDS, a, tile->a_pitch, b);
        a += A_WORDS * WORD_BYTES;
        b += A_WORDS * GEMM_COLS * WORD_BYTES;
    }
#define STORE_PAIR(n) \
    if (n < sets * rows) store_pair(c + n % rows * c_pitch, n < rows, both, &sums.p##n);
    EACH_PAIR(STORE_PAIR)
#undef STORE_PAIR
}

/* clang-format off */
#define TILE(rows) \
    static void tile_##rows##_1(const struct clq_gemm_tile *tile) { tile_of(tile, rows, false); } \
    static void tile_##rows##_2(const struct clq_gemm_tile *tile) { tile_of(tile, rows, true); }
#define TILES(rows) {tile_##rows##_1, tile_##rows##_2},

#if GEMM_ROWS >= 14
#define EACH_ROWS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14)
#elif GEMM_ROWS >= 12
#define EACH_ROWS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)
#elif GEMM_ROWS >= 8
#define EACH_ROWS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)
#else
#define EACH_ROWS(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
#endif

EACH_ROWS(TILE)
static const clq_gemm_tile_fn tiles[GEMM_ROWS][2] = {EACH_ROWS(TILES)};
/* clang-format on */

static void gemm_tile(const struct clq_gemm_tile *tile)
{
    tiles[tile->rows - 1][tile->cols > WIDTH](tile);
}
