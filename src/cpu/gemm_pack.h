/* SPDX-License-Identifier: MIT */
/*
 * Packing for the matrix product, as a template: see gemm.h for the forms. A vector is WIDTH words of 4 bytes, a word is GROUP packed elements.
 *
 * GEMM_COLS                       columns of a panel, a multiple of WIDTH
 * ELEMENT_BYTES                   of a packed element: 1, or 2 for s16
 * FLIP_A(type), FLIP_B(type)      0 or 0x80
 *
 * sum_elements(type, sum, v)      sum + the sum of each word of v, which has elements of that type as packed
 *
 * for s16
 * load_elements(type, p)          a vector of adjacent elements, widened
 * load_element_lanes(type, p, step_bytes)      so too four words from each of WIDTH / 4 places
 *
 * for bytes
 * spread_words(v)                 see vector_avx512.h
 */
#define GROUP           (4 / ELEMENT_BYTES)
#define VECTOR_ELEMENTS (WIDTH * GROUP)
#define SQUARE          (4 * GROUP) /* elements of a column that make four words */
#define LINE_ELEMENTS   64          /* a cache line of a column */

#if ELEMENT_BYTES == 1
INLINE vint load_elements(int type, const char *p)
{
    (void)type;
    return load32(p);
}

INLINE vint load_element_lanes(int type, const char *p, int64_t step_bytes)
{
    (void)type;
    return load_lanes(p, step_bytes);
}
#endif

INLINE vint splat_flip(uint8_t flip)
{
    return splat_s32((int32_t)(flip * 0x01010101u));
}

INLINE int64_t lanes_of(int64_t n, int64_t first)
{
    return clq_max_i64(0, clq_min_i64(WIDTH, n - first));
}

/* The type that elements have as packed: one of the two. */
INLINE int packed_type(int type, uint8_t flip)
{
    return flip != 0 ? CLQ_GEMM_S8 + CLQ_GEMM_U8 - type : type;
}

/* Packs a vector of A. */
INLINE vint pack_vector(const char *src, int type, char *dst, bool needs_sum, vint sum)
{
    const vint v = xor_s32(load_elements(type, src), splat_flip(FLIP_A(type)));
    store32(dst, v);
    return needs_sum ? sum_elements(packed_type(type, FLIP_A(type)), sum, v) : sum;
}

/* Packs a row of A. */
INLINE int32_t pack_row(const char *from, int64_t k, int64_t k_padded, int type, char *to, bool needs_sum)
{
    vint even = splat_s32(0), odd = even;
    int64_t i = 0;
    for (; i + 2 * VECTOR_ELEMENTS <= k; i += 2 * VECTOR_ELEMENTS) {
        even = pack_vector(from + i, type, to + i * ELEMENT_BYTES, needs_sum, even);
        odd = pack_vector(from + i + VECTOR_ELEMENTS, type, to + (i + VECTOR_ELEMENTS) * ELEMENT_BYTES, needs_sum, odd);
    }
    if (i + VECTOR_ELEMENTS <= k) {
        even = pack_vector(from + i, type, to + i * ELEMENT_BYTES, needs_sum, even);
        i += VECTOR_ELEMENTS;
    }
    if (i < k) { /* what is flipped back to 0 fills up */
        char rest[VECTOR_ELEMENTS], packed[4 * WIDTH];
        memset(rest, FLIP_A(type), sizeof rest);
        memcpy(rest, from + i, (size_t)clq_min_i64(VECTOR_ELEMENTS, k - i));
        even = pack_vector(rest, type, packed, needs_sum, even);
        memcpy(to + i * ELEMENT_BYTES, packed, (size_t)(clq_min_i64(VECTOR_ELEMENTS, k_padded - i) * ELEMENT_BYTES));
        i += VECTOR_ELEMENTS;
    }
    if (i < k_padded) memset(to + i * ELEMENT_BYTES, 0, (size_t)((k_padded - i) * ELEMENT_BYTES));
    return needs_sum ? sum_32(add_s32(even, odd)) : 0;
}

static void pack_a(const void *src, int64_t src_pitch, int64_t rows, int64_t k, int64_t k_padded, int type, void *dst, int64_t dst_pitch, int32_t *sums)
{
    const char *const from = src;
    char *const to = dst;
    for (int64_t i = 0; !sums && i < rows; ++i)
        pack_row(from + i * src_pitch, k, k_padded, type, to + i * dst_pitch, false);
    for (int64_t i = 0; sums && i < rows; ++i)
        sums[i] = (int32_t)((uint32_t)sums[i] + (uint32_t)pack_row(from + i * src_pitch, k, k_padded, type, to + i * dst_pitch, true));
}

/* Word k / GROUP of WIDTH columns, the first `lanes` of which are there, from GROUP rows. */
INLINE vint interleave_rows(const char *const *row, int64_t at, int64_t lanes, int type)
{
    vint v[GROUP];
    for (int r = 0; r < GROUP; ++r) {
        const vraw8 raw = lanes == WIDTH ? load8(row[r] + at) : load8_part(row[r] + at, lanes);
        v[r] = ELEMENT_BYTES == 2 && type == CLQ_GEMM_S8 ? widen_s8(raw) : widen_u8(raw);
    }
    if (ELEMENT_BYTES == 2) return or_s32(and_s32(v[0], splat_s32(0xffff)), shift_left_16(v[1]));
    return or_s32(or_s32(v[0], shift_left_16(v[GROUP / 2])), shift_left_8(or_s32(v[1], shift_left_16(v[GROUP - 1]))));
}

/* Stores a vector of B and adds the sum of each of its words. */
INLINE void store_words(char *dst, vint v, int type, vint *sums)
{
    store32(dst, v);
    *sums = sum_elements(packed_type(type, FLIP_B(type)), *sums, v);
}

#if ELEMENT_BYTES == 1
/* Words of a whole panel's width from 4 rows. */
INLINE void pack_words(const char *src, int64_t pitch, vint flip, int type, char *dst, vint *low, vint *high)
{
    vint v[4], even, odd;
    for (int r = 0; r < 4; ++r) {
        __builtin_prefetch((const void *)((uintptr_t)src + (uintptr_t)(r * pitch) + 64), 0, 2); /* for the next panels */
        v[r] = spread_words(load16(src + r * pitch));
    }
    even = zip_low(1, v[0], v[1]);
    odd = zip_low(1, v[2], v[3]);
    store_words(dst, xor_s32(zip_low(2, even, odd), flip), type, low);
    store_words(dst + 4 * WIDTH, xor_s32(zip_high(2, even, odd), flip), type, high);
}
#endif

/* Rows of B are adjacent elements. */
INLINE void pack_rows(const char *src, int64_t pitch, int64_t k, int64_t n, int type, char *dst, vint *sums)
{
    char filler[GEMM_COLS];
    vint flip[GEMM_COLS / WIDTH];
    memset(filler, FLIP_B(type), sizeof filler);
    for (int j = 0; j < GEMM_COLS / WIDTH; ++j)
        flip[j] = select_s32(first_lanes(lanes_of(n, j * WIDTH)), splat_flip(FLIP_B(type)), splat_s32(0));
    int64_t i = 0;
#if ELEMENT_BYTES == 1
    vint low = sums[0], high = sums[1]; /* in registers */
    for (; n == GEMM_COLS && i + GROUP <= k; i += GROUP, dst += GEMM_COLS * 4)
        pack_words(src + i * pitch, pitch, splat_flip(FLIP_B(type)), type, dst, &low, &high);
    sums[0] = low;
    sums[1] = high;
#endif
    for (; i < k; i += GROUP) {
        const char *row[GROUP];
        for (int r = 0; r < GROUP; ++r)
            row[r] = i + r < k ? src + (i + r) * pitch : filler;
        for (int j = 0; j < GEMM_COLS / WIDTH; ++j, dst += 4 * WIDTH)
            store_words(dst, xor_s32(interleave_rows(row, j * WIDTH, lanes_of(n, j * WIDTH), type), flip[j]), type, &sums[j]);
    }
}

/* `elements` of SQUARE elements of `lanes` of WIDTH columns; the rest is filled up. */
INLINE void copy_square(const char *src, int64_t pitch, int64_t elements, int64_t lanes, uint8_t flip, char *square)
{
    memset(square, flip, WIDTH * SQUARE);
    for (int64_t lane = 0; lane < lanes; ++lane)
        memcpy(square + lane * SQUARE, src + lane * pitch, (size_t)elements);
}

/* Transposes SQUARE elements of WIDTH columns to `words` words of each. */
INLINE void pack_square(const char *src, int64_t pitch, int64_t words, vint flip, int type, char *dst, vint *sums)
{
    vint v[4], w[4];
    for (int i = 0; i < 4; ++i)
        v[i] = load_element_lanes(type, src + i * pitch, 4 * pitch);
    for (int step = 0; step < 2; ++step) {
        for (int i = 0; i < 2; ++i) {
            w[2 * i] = zip_low(4, v[i], v[i + 2]);
            w[2 * i + 1] = zip_high(4, v[i], v[i + 2]);
        }
        for (int i = 0; i < 4; ++i)
            v[i] = w[i];
    }
    for (int i = 0; i < 4; ++i)
        if (i < words) store_words(dst + i * GEMM_COLS * 4, xor_s32(v[i], flip), type, sums);
}

/* Columns of B are adjacent elements. Every cache line of theirs is read at once, and every one of the panel written soon. */
INLINE void pack_columns(const char *src, int64_t pitch, int64_t k, int64_t n, int type, char *dst, vint *sums)
{
    for (int64_t block = 0; block < k; block += LINE_ELEMENTS)
        for (int64_t j = 0; j < GEMM_COLS; j += WIDTH)
            for (int64_t i = block; i < clq_min_i64(k, block + LINE_ELEMENTS); i += SQUARE) {
                const int64_t elements = clq_min_i64(SQUARE, k - i), lanes = lanes_of(n, j);
                const char *from = src + j * pitch + i;
                char square[WIDTH * SQUARE];
                vint flip = splat_flip(FLIP_B(type));
                if (elements == SQUARE && lanes == WIDTH) {
                    pack_square(from, pitch, 4, flip, type, dst + (i / GROUP * GEMM_COLS + j) * 4, &sums[j / WIDTH]);
                    continue;
                }
                copy_square(from, pitch, elements, lanes, FLIP_B(type), square);
                pack_square(square, SQUARE, clq_ceil_div(elements, GROUP), flip, type, dst + (i / GROUP * GEMM_COLS + j) * 4, &sums[j / WIDTH]);
            }
}

static void pack_b(const void *src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t n, int64_t k_padded, int type, void *dst, int32_t *sums)
{
    const int64_t words = clq_ceil_div(k, GROUP), rest = k_padded / GROUP - words;
    vint more[GEMM_COLS / WIDTH];
    for (int j = 0; j < GEMM_COLS / WIDTH; ++j)
        more[j] = splat_s32(0);
    if (n_stride == 1)
        pack_rows(src, k_stride, k, n, type, dst, more);
    else
        pack_columns(src, n_stride, k, n, type, dst, more);
    for (int j = 0; sums && j < GEMM_COLS / WIDTH; ++j)
        store32(sums + j * WIDTH, add_s32(load32(sums + j * WIDTH), more[j]));
    if (rest > 0) memset((char *)dst + words * GEMM_COLS * 4, 0, (size_t)(rest * GEMM_COLS * 4));
}
