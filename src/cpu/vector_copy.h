/* SPDX-License-Identifier: MIT */
/*
 * Part of vector_kernels.h: copies between strided arrays.
 *
 * A transposition goes by WIDTH / 4 small squares of 16 bytes by 16 bytes, one above the other: element k of 16 bytes of every row becomes
 * row k of 4 * WIDTH bytes. These fill blocks as wide as a cache line of the source, so that it is read whole, and tall enough to write
 * several lines of the destination in a row, which saves address translations.
 */

#define LINE       64 /* bytes */
#define BLOCK_ROWS 128

/* Rows and columns of the squares of one step, for elements of `size` bytes. */
#define SQUARE_COLS(size) (16 / (size))
#define SQUARE_ROWS(size) (16 / (size) * (WIDTH / 4))

INLINE void transpose_squares(int size, const char *src, int64_t src_row_bytes, char *dst, int64_t dst_col_bytes)
{
    vint v[16], w[16];
    const int n = SQUARE_COLS(size);
    for (int k = 0; k < n; ++k)
        v[k] = load_lanes(src + k * src_row_bytes, n * src_row_bytes);
    /* Each step doubles the number of rows whose elements lie side by side. */
    for (int step = 1; step < n; step *= 2) {
        for (int k = 0; k < n / 2; ++k) {
            w[2 * k] = zip_low(size, v[k], v[k + n / 2]);
            w[2 * k + 1] = zip_high(size, v[k], v[k + n / 2]);
        }
        for (int k = 0; k < n; ++k)
            v[k] = w[k];
    }
    for (int k = 0; k < n; ++k)
        store32(dst + k * dst_col_bytes, v[k]);
}

/* At least one step's rows and columns; the last steps may overlap those before them. */
INLINE void transpose_block(int size, const char *src, int64_t src_row_bytes, char *dst, int64_t dst_col_bytes, int64_t rows, int64_t cols)
{
    for (int64_t row = 0; row < rows; row += SQUARE_ROWS(size)) {
        const int64_t r = clq_min_i64(row, rows - SQUARE_ROWS(size));
        for (int64_t col = 0; col < cols; col += SQUARE_COLS(size)) {
            const int64_t c = clq_min_i64(col, cols - SQUARE_COLS(size));
            transpose_squares(size, src + r * src_row_bytes + c * size, src_row_bytes, dst + c * dst_col_bytes + r * size, dst_col_bytes);
        }
    }
}

/* src has adjacent columns, dst adjacent rows. */
INLINE void transpose(int size, const char *src, int64_t src_row_bytes, char *dst, int64_t dst_col_bytes, int64_t rows, int64_t cols)
{
    for (int64_t row = 0; row < rows; row += BLOCK_ROWS) {
        const int64_t r = clq_min_i64(row, rows - SQUARE_ROWS(size)), height = clq_min_i64(BLOCK_ROWS, rows - r);
        for (int64_t col = 0; col < cols; col += LINE / size) {
            const int64_t c = clq_min_i64(col, cols - SQUARE_COLS(size)), width = clq_min_i64(LINE / size, cols - c);
            transpose_block(size, src + r * src_row_bytes + c * size, src_row_bytes, dst + c * dst_col_bytes + r * size, dst_col_bytes, height,
                            width);
        }
    }
}

/* Up to 64 bytes without a call. */
INLINE void copy_row(char *dst, const char *src, int64_t n)
{
    if (n > 64) {
        memcpy(dst, src, (size_t)n);
    } else if (n >= 32) {
        char a[32], b[32];
        memcpy(a, src, 32);
        memcpy(b, src + n - 32, 32);
        memcpy(dst, a, 32);
        memcpy(dst + n - 32, b, 32);
    } else if (n >= 16) {
        char a[16], b[16];
        memcpy(a, src, 16);
        memcpy(b, src + n - 16, 16);
        memcpy(dst, a, 16);
        memcpy(dst + n - 16, b, 16);
    } else if (n >= 8) {
        char a[8], b[8];
        memcpy(a, src, 8);
        memcpy(b, src + n - 8, 8);
        memcpy(dst, a, 8);
        memcpy(dst + n - 8, b, 8);
    } else {
        for (int64_t i = 0; i < n; ++i)
            dst[i] = src[i];
    }
}

INLINE void copy_strided(int size, const char *src, int64_t src_row, int64_t src_col, char *dst, int64_t dst_row, int64_t dst_col, int64_t rows,
                         int64_t cols)
{
    for (int64_t row = 0; row < rows; ++row) {
        const char *p = src + row * src_row * size;
        char *q = dst + row * dst_row * size;
        for (int64_t col = 0; col < cols; ++col)
            memcpy(q + col * dst_col * size, p + col * src_col * size, (size_t)size);
    }
}

INLINE int64_t magnitude(int64_t a)
{
    return a < 0 ? -a : a;
}

INLINE void copy2d(int size, const char *src, int64_t src_row, int64_t src_col, char *dst, int64_t dst_row, int64_t dst_col, int64_t rows,
                   int64_t cols)
{
    if (rows <= 0 || cols <= 0) return;
    if (src_col == 1 && dst_col == 1) {
        if (src_row == cols && dst_row == cols) {
            cols *= rows;
            rows = 1;
        }
        for (int64_t row = 0; row < rows; ++row)
            copy_row(dst + row * dst_row * size, src + row * src_row * size, cols * size);
    } else if (src_row == 1 && dst_row == 1) {
        for (int64_t col = 0; col < cols; ++col)
            copy_row(dst + col * dst_col * size, src + col * src_col * size, rows * size);
    } else if (src_col == 1 && dst_row == 1 && rows >= SQUARE_ROWS(size) && cols >= SQUARE_COLS(size)) {
        transpose(size, src, src_row * size, dst, dst_col * size, rows, cols);
    } else if (src_row == 1 && dst_col == 1 && cols >= SQUARE_ROWS(size) && rows >= SQUARE_COLS(size)) {
        transpose(size, src, src_col * size, dst, dst_row * size, cols, rows);
    } else if (magnitude(src_col) + magnitude(dst_col) <= magnitude(src_row) + magnitude(dst_row)) {
        copy_strided(size, src, src_row, src_col, dst, dst_row, dst_col, rows, cols);
    } else {
        copy_strided(size, src, src_col, src_row, dst, dst_col, dst_row, cols, rows);
    }
}

#define COPY(name, size)                                                                                                         \
    static void name(const void *src, int64_t src_row, int64_t src_col, void *dst, int64_t dst_row, int64_t dst_col, int64_t rows, \
                     int64_t cols) { copy2d(size, src, src_row, src_col, dst, dst_row, dst_col, rows, cols); }

/* clang-format off */
COPY(copy2d_1, 1) COPY(copy2d_2, 2) COPY(copy2d_4, 4) COPY(copy2d_8, 8)
/* clang-format on */
