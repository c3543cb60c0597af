/* SPDX-License-Identifier: MIT */
/* What follows the matrix product, as a template over the operations of vector_kernels.h: see gemm.h. */

INLINE void subtract_vector(int32_t *c, int64_t lanes, vint row, const int32_t *col)
{
    if (lanes >= WIDTH)
        store32(c, sub_s32(load32(c), mul_s32(row, load32(col))));
    else
        store32_part(c, sub_s32(load32_part(c, lanes), mul_s32(row, load32_part(col, lanes))), lanes);
}

static void subtract_outer(int32_t *c, int64_t c_pitch, int64_t rows, int64_t cols, const int32_t *row, const int32_t *col)
{
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; j += WIDTH)
            subtract_vector(c + i * c_pitch + j, cols - j, splat_s32(row[i]), col + j);
}

/* The parts of a row that do not change. */
struct finish_row {
    const struct clq_gemm_finish *finish;
    const int32_t *c;
    float *dst; /* at any address, as c */
    vfloat row_scale, low, high;
};

INLINE vfloat product_scale(vfloat a_scale, vfloat b_scale)
{
    const vfloat s = mul_f32(a_scale, b_scale), least = splat_f32(0x1p-126f), most = splat_f32(0x1p127f);
    return select_f32(less_f32(s, least), least, select_f32(less_f32(most, s), most, s));
}

INLINE vfloat load_f32(const float *p, int64_t lanes)
{
    return as_f32(lanes == WIDTH ? load32(p) : load32_part(p, lanes));
}

INLINE vfloat activate(const struct finish_row *row, vfloat y)
{
    const vfloat zero = splat_f32(0.0f);
    if (row->finish->relu) return select_f32(less_f32(zero, y), y, zero);
    return select_f32(less_f32(y, row->low), row->low, select_f32(less_f32(row->high, y), row->high, y));
}

INLINE void finish_vector(const struct finish_row *row, int64_t j, int64_t lanes)
{
    const struct clq_gemm_finish *const finish = row->finish;
    const vint c = lanes == WIDTH ? load32(row->c + j) : load32_part(row->c + j, lanes);
    vfloat s = load_f32(finish->col_scale + j, lanes), y;
    if (finish->row_scale) s = product_scale(row->row_scale, s);
    y = mul_f32(to_f32(c), s);
    if (finish->bias) y = add_f32(y, load_f32(finish->bias + j, lanes));
    y = activate(row, y);
    if (lanes == WIDTH)
        store32(row->dst + j, as_s32(y));
    else
        store32_part(row->dst + j, as_s32(y), lanes);
}

static void finish_f32(const struct clq_gemm_finish *finish)
{
    for (int64_t i = 0; i < finish->rows; ++i) {
        const struct finish_row row = {.finish = finish,
                                       .c = finish->c + i * finish->c_pitch,
                                       .dst = finish->dst + i * finish->dst_pitch,
                                       .row_scale = splat_f32(finish->row_scale ? finish->row_scale[i] : 1.0f),
                                       .low = splat_f32(finish->low),
                                       .high = splat_f32(finish->high)};
        int64_t j = 0;
        for (; j + WIDTH <= finish->cols; j += WIDTH)
            finish_vector(&row, j, WIDTH);
        if (j < finish->cols) finish_vector(&row, j, finish->cols - j);
    }
}
