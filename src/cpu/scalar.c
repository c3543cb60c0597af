/* SPDX-License-Identifier: MIT */
/* The scalar table: one element after the other over quant_math.h. It defines every result and runs anywhere. */
#include "config.h"

#include "cpu/cpu_ops.h"

#include "quant_math.h"
#include <string.h>

/* Elements lie at any byte address. */
INLINE float load_f32(const void *src, int64_t i)
{
    float x;
    memcpy(&x, (const char *)src + 4 * i, sizeof x);
    return x;
}

INLINE uint16_t load_u16(const void *src, int64_t i)
{
    uint16_t x;
    memcpy(&x, (const char *)src + 2 * i, sizeof x);
    return x;
}

INLINE float load_float(const void *src, int64_t i, int type)
{
    if (type == CLQ_FLOAT_F32) return load_f32(src, i);
    return type == CLQ_FLOAT_F16 ? clqm_widen_f16(load_u16(src, i)) : clqm_widen_bf16(load_u16(src, i));
}

INLINE void store_float(void *dst, int64_t i, int type, float y)
{
    if (type == CLQ_FLOAT_F32) {
        memcpy((char *)dst + 4 * i, &y, sizeof y);
    } else {
        const uint16_t bits = type == CLQ_FLOAT_F16 ? clqm_narrow_f16(y) : clqm_narrow_bf16(y);
        memcpy((char *)dst + 2 * i, &bits, sizeof bits);
    }
}

INLINE int32_t load_int(const void *src, int64_t i, int type)
{
    int32_t q;
    switch (type) {
    case CLQ_INT_S8: return ((const int8_t *)src)[i];
    case CLQ_INT_U8: return ((const uint8_t *)src)[i];
    case CLQ_INT_S16: return (int16_t)load_u16(src, i);
    case CLQ_INT_U16: return load_u16(src, i);
    default: memcpy(&q, (const char *)src + 4 * i, sizeof q); return q;
    }
}

INLINE void store_int(void *dst, int64_t i, int type, int32_t q)
{
    const uint16_t half = (uint16_t)q;
    switch (type) {
    case CLQ_INT_S8:
    case CLQ_INT_U8: ((uint8_t *)dst)[i] = (uint8_t)q; break;
    case CLQ_INT_S16:
    case CLQ_INT_U16: memcpy((char *)dst + 2 * i, &half, sizeof half); break;
    default: memcpy((char *)dst + 4 * i, &q, sizeof q);
    }
}

INLINE int64_t float_bytes(int type)
{
    return type == CLQ_FLOAT_F32 ? 4 : 2;
}

INLINE int64_t int_bytes(int type)
{
    return type <= CLQ_INT_U8 ? 1 : type <= CLQ_INT_U16 ? 2 : 4;
}

INLINE int32_t get_zero_point(const struct clq_span *span, int64_t p)
{
    return span->zero_point ? span->zero_point[p] : span->fixed_zero_point;
}

static void count(int64_t *counts, float x, int clipped)
{
    if (clqm_is_nan(x))
        ++counts[0];
    else if (clqm_is_inf(x))
        ++counts[1];
    else
        counts[2] += clipped;
}

INLINE void quantize(const struct clq_span *span, int float_type, int int_type)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * float_bytes(float_type);
        char *dst = (char *)span->dst + row * span->dst_pitch * int_bytes(int_type);
        int64_t p = row * span->param_pitch;
        for (int64_t col = 0; col < span->cols; ++p) {
            const int64_t end = span->cols - col < span->group ? span->cols : col + span->group;
            const float s = span->scale[p];
            const int32_t z = get_zero_point(span, p);
            for (; col < end; ++col) {
                const float x = load_float(src, col, float_type);
                const float d = clqm_quotient(x, s, span->reciprocal);
                if (int_type == CLQ_INT_S32) {
                    store_int(dst, col, int_type, clqm_quantize_s32(d));
                    if (span->counts) count(span->counts, x, clqm_clipped_s32(d));
                } else {
                    store_int(dst, col, int_type, clqm_quantize(d, z, span->qmin, span->qmax));
                    if (span->counts) count(span->counts, x, clqm_clipped(d, z, span->qmin, span->qmax));
                }
            }
        }
    }
}

INLINE void dequantize(const struct clq_span *span, int int_type, int float_type)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * int_bytes(int_type);
        char *dst = (char *)span->dst + row * span->dst_pitch * float_bytes(float_type);
        int64_t p = row * span->param_pitch;
        for (int64_t col = 0; col < span->cols; ++p) {
            const int64_t end = span->cols - col < span->group ? span->cols : col + span->group;
            const float s = span->scale[p];
            const int32_t z = int_type == CLQ_INT_S32 ? 0 : get_zero_point(span, p);
            for (; col < end; ++col)
                store_float(dst, col, float_type, clqm_dequantize(load_int(src, col, int_type), s, z));
        }
    }
}

INLINE void requantize(const struct clq_span *span, int from, int to)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * int_bytes(from);
        char *dst = (char *)span->dst + row * span->dst_pitch * int_bytes(to);
        int64_t p = row * span->param_pitch;
        for (int64_t col = 0; col < span->cols; ++p) {
            const int64_t end = span->cols - col < span->group ? span->cols : col + span->group;
            const float m = span->scale[p];
            const int32_t z = span->zero_point[p], source_z = span->source_zero_point[p];
            for (; col < end; ++col)
                store_int(dst, col, to, clqm_requantize(load_int(src, col, from) - source_z, m, z, span->qmin, span->qmax));
        }
    }
}

INLINE void fake_quantize(const struct clq_span *span, int type)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * float_bytes(type);
        char *dst = (char *)span->dst + row * span->dst_pitch * float_bytes(type);
        uint8_t *mask = span->mask ? span->mask + row * span->mask_pitch : NULL;
        int64_t p = row * span->param_pitch;
        if (mask) memset(mask, 0, (size_t)((span->cols + 7) / 8));
        for (int64_t col = 0; col < span->cols; ++p) {
            const int64_t end = span->cols - col < span->group ? span->cols : col + span->group;
            const float s = span->scale[p];
            const int32_t z = get_zero_point(span, p);
            for (; col < end; ++col) {
                const float x = load_float(src, col, type);
                const float d = clqm_quotient(x, s, span->reciprocal);
                store_float(dst, col, type, clqm_dequantize(clqm_quantize(d, z, span->qmin, span->qmax), s, z));
                if (mask) mask[col / 8] |= (uint8_t)(clqm_inside(d, z, span->qmin, span->qmax) << col % 8);
                if (span->counts) count(span->counts, x, clqm_clipped(d, z, span->qmin, span->qmax));
            }
        }
    }
}

/* The bits of one element, or zeros. */
INLINE void pass_gradient(const char *src, char *dst, int64_t i, int64_t bytes, bool inside)
{
    uint32_t bits = 0;
    if (inside) memcpy(&bits, src + i * bytes, (size_t)bytes);
    memcpy(dst + i * bytes, &bits, (size_t)bytes);
}

/* With sums if `learnable`. */
INLINE void backward(const struct clq_span *span, int type, bool learnable)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * float_bytes(type);
        const char *values = (const char *)span->x + row * span->x_pitch * float_bytes(type);
        char *dst = (char *)span->dst + row * span->dst_pitch * float_bytes(type);
        int64_t p = row * span->param_pitch;
        for (int64_t col = 0; col < span->cols; ++p) {
            const int64_t end = span->cols - col < span->group ? span->cols : col + span->group;
            const float s = span->scale[p];
            const int32_t z = get_zero_point(span, p);
            double slopes = 0, outside = 0;
            for (; col < end; ++col) {
                const float x = load_float(values, col, type), d = clqm_quotient(x, s, span->reciprocal);
                const bool inside = clqm_inside(d, z, span->qmin, span->qmax);
                if (learnable && !clqm_is_nan(x)) {
                    const double dy = load_float(src, col, type);
                    slopes += dy * clqm_slope(d, z, span->qmin, span->qmax);
                    outside += inside ? 0 : dy;
                }
                pass_gradient(src, dst, col, float_bytes(type), inside);
            }
            if (learnable) span->slopes[p] += slopes;
            if (learnable && span->outside) span->outside[p] += outside;
        }
    }
}

INLINE void mask_backward(const struct clq_span *span, int64_t bytes)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * bytes;
        char *dst = (char *)span->dst + row * span->dst_pitch * bytes;
        const uint8_t *mask = span->mask + row * span->mask_pitch;
        for (int64_t col = 0; col < span->cols; ++col)
            pass_gradient(src, dst, col, bytes, mask[col / 8] >> col % 8 & 1);
    }
}

INLINE void minmax(const struct clq_span *span, int float_type)
{
    for (int64_t row = 0; row < span->rows; ++row) {
        const char *src = (const char *)span->src + row * span->src_pitch * float_bytes(float_type);
        int64_t p = row * span->param_pitch;
        for (int64_t col = 0; col < span->cols; ++p) {
            const int64_t end = span->cols - col < span->group ? span->cols : col + span->group;
            float lo = span->lo[p], hi = span->hi[p];
            for (; col < end; ++col) {
                const float x = load_float(src, col, float_type);
                if (clqm_is_nan(x)) {
                    ++span->counts[0];
                } else if (clqm_is_inf(x)) {
                    ++span->counts[1];
                } else {
                    lo = x < lo ? x : lo;
                    hi = x > hi ? x : hi;
                }
            }
            span->lo[p] = lo;
            span->hi[p] = hi;
        }
    }
}

INLINE void widen(const void *src, void *dst, int64_t n, int type)
{
    for (int64_t i = 0; i < n; ++i)
        store_float(dst, i, CLQ_FLOAT_F32, load_float(src, i, type));
}

INLINE void narrow(const void *src, void *dst, int64_t n, int type)
{
    for (int64_t i = 0; i < n; ++i)
        store_float(dst, i, type, load_f32(src, i));
}

/* Rounds to odd: a result that is not exact gets an odd mantissa, so that a second rounding to at most 22 bits is the only one that
   counts (Boldo and Melquiond, "When double rounding is odd", 2004). */
static float narrow_to_odd(double x)
{
    const float nearest = (float)x;
    uint32_t bits = CLQM_BITS(nearest);
    if (clqm_is_nan(nearest) || (double)nearest == x || (bits & 1u)) return nearest;
    /* The even neighbour was chosen: step to the other one, towards x. */
    bits += ((double)nearest < x) == (x > 0) ? 1u : (uint32_t)-1;
    return CLQM_FLOAT(bits);
}

INLINE void narrow_f64(const void *src, void *dst, int64_t n, int type)
{
    for (int64_t i = 0; i < n; ++i) {
        double x;
        memcpy(&x, (const char *)src + 8 * i, sizeof x);
        store_float(dst, i, type, type == CLQ_FLOAT_F32 ? (float)x : narrow_to_odd(x));
    }
}

static void pack4(const uint8_t *src, uint8_t *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 2; ++i)
        dst[i] = (uint8_t)((src[2 * i] & 15) | src[2 * i + 1] << 4);
    if (n % 2) dst[n / 2] = src[n - 1] & 15;
}

static void unpack_s4(const void *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n; ++i)
        ((int8_t *)dst)[i] = (int8_t)(((((const uint8_t *)src)[i / 2] >> i % 2 * 4 & 15) ^ 8) - 8);
}

static void unpack_u4(const void *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n; ++i)
        ((uint8_t *)dst)[i] = ((const uint8_t *)src)[i / 2] >> i % 2 * 4 & 15;
}

static void error_sums(const void *x, const void *y, int64_t n, struct clq_error_sums *sums)
{
    for (int64_t i = 0; i < n; ++i) {
        const float a = load_f32(x, i), b = load_f32(y, i);
        if (clqm_is_nan(a) || clqm_is_nan(b)) {
            ++sums->nan;
        } else if (clqm_is_inf(a) || clqm_is_inf(b)) {
            ++sums->inf;
        } else {
            const float e = a - b, magnitude = fabsf(e);
            ++sums->count;
            sums->squared_error += (double)e * e;
            sums->absolute_error += magnitude;
            sums->squared_x += (double)a * a;
            sums->squared_y += (double)b * b;
            sums->product += (double)a * b;
            sums->max_error = magnitude > sums->max_error ? magnitude : sums->max_error;
        }
    }
}

static void qparams_from_range(const float *lo, const float *hi, int64_t n, const struct clq_range_rule *rule, float *scale,
                               int32_t *zero_point)
{
    for (int64_t i = 0; i < n; ++i) {
        if (rule->symmetric) {
            scale[i] = clqm_scale_symmetric(lo[i], hi[i], rule->step, rule->power_of_two);
            if (zero_point) zero_point[i] = rule->zero_point;
        } else {
            const float low = lo[i], high = hi[i]; /* scale may lie where they do */
            scale[i] = clqm_scale_asymmetric(low, high, rule->qmin, rule->qmax);
            if (zero_point) zero_point[i] = clqm_zero_point_asymmetric(low, high, scale[i], rule->qmin, rule->qmax);
        }
    }
}

INLINE void copy2d(const void *src, int64_t src_row, int64_t src_col, void *dst, int64_t dst_row, int64_t dst_col, int64_t rows, int64_t cols,
                   int64_t size_bytes)
{
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t col = 0; col < cols; ++col)
            memcpy((char *)dst + (row * dst_row + col * dst_col) * size_bytes,
                   (const char *)src + (row * src_row + col * src_col) * size_bytes, (size_t)size_bytes);
}

#include "cpu/gemm_scalar.h"

#define QUANTIZE(f, i) \
    static void quantize_##f##_##i(const struct clq_span *span) { quantize(span, CLQ_FLOAT_##f, CLQ_INT_##i); }
#define DEQUANTIZE(f, i) \
    static void dequantize_##i##_##f(const struct clq_span *span) { dequantize(span, CLQ_INT_##i, CLQ_FLOAT_##f); }
#define BOTH(f, i) QUANTIZE(f, i) DEQUANTIZE(f, i)
#define INTEGERS(f) BOTH(f, S8) BOTH(f, U8) BOTH(f, S16) BOTH(f, U16) BOTH(f, S32)
#define REQUANTIZE(from, to) \
    static void requantize_##from##_##to(const struct clq_span *span) { requantize(span, CLQ_INT_##from, CLQ_INT_##to); }
#define REQUANTIZE_BOTH(from) REQUANTIZE(from, S8) REQUANTIZE(from, U8)
#define TRAINING(f) \
    static void fake_quantize_##f(const struct clq_span *span) { fake_quantize(span, CLQ_FLOAT_##f); } \
    static void fake_backward_##f(const struct clq_span *span) { backward(span, CLQ_FLOAT_##f, false); } \
    static void learnable_backward_##f(const struct clq_span *span) { backward(span, CLQ_FLOAT_##f, true); }
#define MASK_BACKWARD(bytes) \
    static void mask_backward_##bytes(const struct clq_span *span) { mask_backward(span, bytes); }
#define MINMAX(f) \
    static void minmax_##f(const struct clq_span *span) { minmax(span, CLQ_FLOAT_##f); }
#define CAST(name, f) \
    static void name##_##f(const void *src, void *dst, int64_t n, bool streams) { (void)streams; name(src, dst, n, CLQ_FLOAT_##f); }
#define COPY(bytes) \
    static void copy2d_##bytes(const void *src, int64_t src_row, int64_t src_col, void *dst, int64_t dst_row, int64_t dst_col, int64_t rows, \
                               int64_t cols) { copy2d(src, src_row, src_col, dst, dst_row, dst_col, rows, cols, bytes); }

/* clang-format off */
INTEGERS(F32) INTEGERS(F16) INTEGERS(BF16)
REQUANTIZE_BOTH(S8) REQUANTIZE_BOTH(U8) REQUANTIZE_BOTH(S32)
TRAINING(F32) TRAINING(F16) TRAINING(BF16) MASK_BACKWARD(2) MASK_BACKWARD(4)
MINMAX(F32) MINMAX(F16) MINMAX(BF16)
CAST(widen, F16) CAST(widen, BF16) CAST(narrow, F16) CAST(narrow, BF16)
CAST(narrow_f64, F32) CAST(narrow_f64, F16) CAST(narrow_f64, BF16)
COPY(1) COPY(2) COPY(4) COPY(8)

#define QUANTIZE_ROW(f) {quantize_##f##_S8, quantize_##f##_U8, quantize_##f##_S16, quantize_##f##_U16, quantize_##f##_S32}
#define DEQUANTIZE_ROW(i) {dequantize_##i##_F32, dequantize_##i##_F16, dequantize_##i##_BF16}

const struct clq_cpu_ops clq_cpu_scalar = {
    .name = "scalar",
    .quantize = {QUANTIZE_ROW(F32), QUANTIZE_ROW(F16), QUANTIZE_ROW(BF16)},
    .dequantize = {DEQUANTIZE_ROW(S8), DEQUANTIZE_ROW(U8), DEQUANTIZE_ROW(S16), DEQUANTIZE_ROW(U16), DEQUANTIZE_ROW(S32)},
    .requantize = {[CLQ_INT_S8] = {requantize_S8_S8, requantize_S8_U8}, [CLQ_INT_U8] = {requantize_U8_S8, requantize_U8_U8},
                   [CLQ_INT_S32] = {requantize_S32_S8, requantize_S32_U8}},
    .fake_quantize = {fake_quantize_F32, fake_quantize_F16, fake_quantize_BF16},
    .fake_backward = {fake_backward_F32, fake_backward_F16, fake_backward_BF16},
    .mask_backward = {mask_backward_2, mask_backward_4},
    .learnable_backward = {learnable_backward_F32, learnable_backward_F16, learnable_backward_BF16},
    .minmax = {minmax_F32, minmax_F16, minmax_BF16},
    .widen = {NULL, widen_F16, widen_BF16},
    .narrow = {NULL, narrow_F16, narrow_BF16},
    .narrow_f64 = {narrow_f64_F32, narrow_f64_F16, narrow_f64_BF16},
    .pack4 = pack4,
    .unpack_s4 = unpack_s4,
    .unpack_u4 = unpack_u4,
    .error_sums = error_sums,
    .qparams_from_range = qparams_from_range,
    .copy2d = {copy2d_1, copy2d_2, copy2d_4, copy2d_8},
    .gemm = &gemm_kernels,
};
/* clang-format on */
