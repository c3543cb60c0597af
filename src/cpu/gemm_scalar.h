/* SPDX-License-Identifier: MIT */
/* Part of scalar.c: the matrix product in plain C, which defines the others. Elements are packed as s16, columns of a panel side by side. */

enum { GEMM_ROWS = 4, GEMM_COLS = 16 };

INLINE int16_t load_element(const void *src, int64_t i, int type)
{
    return type == CLQ_GEMM_S8 ? ((const int8_t *)src)[i] : ((const uint8_t *)src)[i];
}

static void pack_a(const void *src, int64_t src_pitch, int64_t rows, int64_t k, int64_t k_padded, int type, void *dst, int64_t dst_pitch, int32_t *sums)
{
    for (int64_t r = 0; r < rows; ++r) {
        int16_t *const to = (int16_t *)(void *)((char *)dst + r * dst_pitch);
        uint32_t sum = 0;
        for (int64_t i = 0; i < k_padded; ++i) {
            to[i] = i < k ? load_element(src, r * src_pitch + i, type) : 0;
            sum += (uint32_t)to[i];
        }
        if (sums) sums[r] = (int32_t)((uint32_t)sums[r] + sum);
    }
}

static void pack_b(const void *src, int64_t k_stride, int64_t n_stride, int64_t k, int64_t n, int64_t k_padded, int type, void *dst, int32_t *sums)
{
    int16_t *to = dst;
    for (int64_t i = 0; i < k_padded; ++i)
        for (int64_t j = 0; j < GEMM_COLS; ++j, ++to) {
            *to = i < k && j < n ? load_element(src, i * k_stride + j * n_stride, type) : 0;
            if (sums) sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)*to);
        }
}

static void tile_row(const int16_t *a, const int16_t *b, int64_t k, uint32_t *sums)
{
    for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < GEMM_COLS; ++j)
            sums[j] += (uint32_t)(a[i] * b[i * GEMM_COLS + j]);
}

static void gemm_tile(const struct clq_gemm_tile *tile)
{
    for (int64_t i = 0; i < tile->rows; ++i) {
        int32_t *const c = tile->c + i * tile->c_pitch;
        uint32_t sums[GEMM_COLS];
        for (int64_t j = 0; j < GEMM_COLS; ++j)
            sums[j] = (tile->start ? (uint32_t)load_int(tile->start + i * tile->start_pitch, j, CLQ_INT_S32) : 0) +
                      (tile->row_init ? (uint32_t)tile->row_init[i] : 0) + (uint32_t)tile->col_init[j];
        tile_row((const int16_t *)((const char *)tile->a + i * tile->a_pitch), tile->b, tile->k, sums);
        for (int64_t j = 0; j < GEMM_COLS; ++j)
            store_int(c, j, CLQ_INT_S32, (int32_t)sums[j]);
    }
}

static void subtract_outer(int32_t *c, int64_t c_pitch, int64_t rows, int64_t cols, const int32_t *row, const int32_t *col)
{
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; ++j) {
            const uint32_t before = (uint32_t)load_int(c + i * c_pitch, j, CLQ_INT_S32);
            store_int(c + i * c_pitch, j, CLQ_INT_S32, (int32_t)(before - (uint32_t)row[i] * (uint32_t)col[j]));
        }
}

INLINE float activate(const struct clq_gemm_finish *finish, float y)
{
    if (finish->relu) return y > 0.0f ? y : 0.0f;
    return y < finish->low ? finish->low : y > finish->high ? finish->high : y;
}

static void finish_f32(const struct clq_gemm_finish *finish)
{
    for (int64_t i = 0; i < finish->rows; ++i)
        for (int64_t j = 0; j < finish->cols; ++j) {
            const float col_scale = load_f32(finish->col_scale, j);
            const float s = finish->row_scale ? clqm_product_scale(load_f32(finish->row_scale, i), col_scale) : col_scale;
            float y = (float)load_int(finish->c + i * finish->c_pitch, j, CLQ_INT_S32) * s;
            if (finish->bias) y += load_f32(finish->bias, j);
            store_float(finish->dst + i * finish->dst_pitch, j, CLQ_FLOAT_F32, activate(finish, y));
        }
}

static const struct clq_gemm_kernels gemm_kernels = {
    .rows = GEMM_ROWS,
    .cols = GEMM_COLS,
    .row_unit = 1,
    .group = 1,
    .k_unit = 1,
    .element_bytes = 2,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .tile = {{gemm_tile, gemm_tile}, {gemm_tile, gemm_tile}},
    .subtract_outer = subtract_outer,
    .finish_f32 = finish_f32,
};
