/* SPDX-License-Identifier: MIT */
/* Rows of A times few columns of B, as a template over the operations that gemm_pack.h and gemm_dot.h ask for: vectors lie along k, so that A is read as it
   lies, once. */

/* Rows at a time, each a stream of memory; their sums, and a vector of each, stay in registers. */
#define STREAM_ROWS (WIDTH == 16 ? 4 : 2)

/* At any level of optimization, so that sums stay in registers. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

INLINE void add_columns(int rows, int cols, int type, const char *a, int64_t a_pitch, const char *b, int64_t b_pitch, vdots *sums)
{
    vint col[CLQ_GEMM_FEW_COLS];
    UNROLLED
    for (int j = 0; j < cols; ++j)
        col[j] = load32(b + j * b_pitch);
    UNROLLED
    for (int i = 0; i < rows; ++i) {
        const vint v = xor_s32(load_elements(type, a + i * a_pitch), splat_flip(FLIP_A(type)));
        UNROLLED
        for (int j = 0; j < cols; ++j)
            sums[i * cols + j] = dot(sums[i * cols + j], col[j], v, 0);
    }
}

/* The last vector of a row overlaps the one before it; that of the columns is 0 there. */
INLINE void dot_some_rows(const struct clq_gemm_rows *rows, int64_t first, int n, int cols, int type)
{
    const char *a = (const char *)rows->a + first * rows->a_pitch, *b = rows->b;
    vdots sums[STREAM_ROWS * CLQ_GEMM_FEW_COLS];
    int64_t k = 0;
    UNROLLED
    for (int i = 0; i < n * cols; ++i)
        sums[i] = zero_dots();
    for (; k + VECTOR_ELEMENTS <= rows->k; k += VECTOR_ELEMENTS, b += 4 * WIDTH)
        add_columns(n, cols, type, a + k, rows->a_pitch, b, rows->b_pitch, sums);
    if (k < rows->k) add_columns(n, cols, type, a + rows->k - VECTOR_ELEMENTS, rows->a_pitch, b, rows->b_pitch, sums);
    UNROLLED
    for (int i = 0; i < n; ++i)
        UNROLLED
        for (int j = 0; j < cols; ++j)
            rows->c[(first + i) * rows->c_pitch + j] = sum_32(dots_s32(sums[i * cols + j]));
}

INLINE void dot_all_rows(const struct clq_gemm_rows *rows, int cols, int type)
{
    int64_t i = 0;
    for (; i + STREAM_ROWS <= rows->rows; i += STREAM_ROWS)
        dot_some_rows(rows, i, STREAM_ROWS, cols, type);
    for (; i < rows->rows; ++i)
        dot_some_rows(rows, i, 1, cols, type);
}

static void dot_rows_s8(const struct clq_gemm_rows *rows)
{
    switch (rows->cols) {
    case 1: dot_all_rows(rows, 1, CLQ_GEMM_S8); break;
    case 2: dot_all_rows(rows, 2, CLQ_GEMM_S8); break;
    case 3: dot_all_rows(rows, 3, CLQ_GEMM_S8); break;
    default: dot_all_rows(rows, 4, CLQ_GEMM_S8); break;
    }
}

static void dot_rows_u8(const struct clq_gemm_rows *rows)
{
    switch (rows->cols) {
    case 1: dot_all_rows(rows, 1, CLQ_GEMM_U8); break;
    case 2: dot_all_rows(rows, 2, CLQ_GEMM_U8); break;
    case 3: dot_all_rows(rows, 3, CLQ_GEMM_U8); break;
    default: dot_all_rows(rows, 4, CLQ_GEMM_U8); break;
    }
}
