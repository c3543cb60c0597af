/* SPDX-License-Identifier: MIT */
/*
 * The kernels of a vector instruction set, as a template: a table's file defines the types, macros and operations below and then includes
 * this file. An operation is a static always-inline function; lanes are 32 bits wide unless its name says otherwise.
 *
 * WIDTH        lanes of a vector: 4, 8 or 16
 * MASKED_ENDS  1: partial loads and stores cost no more than whole ones; 0: overlapping the last whole vectors is cheaper
 *
 * vfloat, vint, vmask      WIDTH lanes of f32, of s32, of truth
 * vhalf, vbyte             2 * WIDTH lanes of 16 bits, 4 * WIDTH lanes of 8
 * vraw16, vraw8            WIDTH lanes of 16 and of 8 bits
 * vdouble                  WIDTH / 2 lanes of f64
 *
 * load32/16/8, load_halves, store32/16, store_halves, store_bytes     at any address
 * stream32, stream16, stream_halves, stream_bytes                     to an address aligned to the vector, past the caches if there is a way;
 *                          end_streams() puts such stores in order with those that follow
 * ..._part(p, n)           the first n lanes alone, 0 <= n <= all of them; others are loaded as 0
 * min_f32(a, b), max_f32   NaN if b is NaN; a is a number
 * round_s32                nearest, ties to even, of a number below 2^31; NaN and numbers below -2^20 may give any integer below -2^20
 * round_full_s32           the same saturated to s32, NaN gives -2^31
 * fma_f32(a, b, c)         a * b + c rounded once; fnma_f32 c - a * b
 * less_f32                 false for NaN
 * permute4(p, i)           lanes of the four words at p; lane_index(k) is what names word k in i
 * count_equal_16, _32      lanes that are equal are counted up
 * quad_bits(m)             the lanes of four masks as QUAD bits, the first lowest; bits_lanes(b) the lowest WIDTH bits as a mask
 * keep_halves(a, b, v)     the halves whose lane of a, then b, is true, others 0; keep_half_bits(b, v) by the lowest 2 * WIDTH bits
 * pack_s16, pack_u16, pack_s8, pack_u8, split and join of nibbles: see x86; saturating, lanes in any order that ordered_halves() and
 *                          ordered_bytes() set right and that add_saturated_s16() and clamps do not care about
 * fold_low, fold_high      halves of two vectors, for reductions of WIDTH vectors at once; see reduce_rows()
 * load_lanes, zip_low, zip_high      for transposition, see vector_copy.h
 * add_unless_f64           to the lanes of the sum whose lane in the lower (0) or upper half of the mask is false
 * nearest_f64, odd_f64     WIDTH doubles as f32, rounded to nearest and to odd
 */
#include "base/util.h"
#include "quant_math.h"
#include <stdbool.h>
#include <string.h>

#define QUAD (4 * WIDTH) /* kernels take four vectors at a time: one of bytes */

/* A loop over a few vectors, which the compiler is not to leave as one: gcc 12 does with -O2, and kernels take 2 to 4 times as long. */
#define EACH(v, n) _Pragma("GCC unroll 4") for (int v = 0; v < (n); ++v)

/* How far ahead of its use memory is asked for where it streams: more than what is under way, and past the page's end, where hardware stops. */
#define AHEAD_BYTES 8192

INLINE int64_t float_bytes(int type)
{
    return type == CLQ_FLOAT_F32 ? 4 : 2;
}

INLINE int64_t int_bytes(int type)
{
    return type <= CLQ_INT_U8 ? 1 : type <= CLQ_INT_U16 ? 2 : 4;
}

INLINE vmask is_finite_lane(vfloat x)
{
    return less_s32(and_s32(as_s32(x), splat_s32(0x7fffffff)), splat_s32(0x7f800000));
}

/* NaN in a lane of the result tells that one of `seen` was there or that x is not finite. */
INLINE vfloat note_nonfinite(vfloat x, vfloat seen)
{
    return fma_f32(x, splat_f32(0.0f), seen);
}

INLINE vfloat widen_bf16(vraw16 a)
{
    return as_f32(shift_left_16(widen_u16(a)));
}

/* The upper 16 bits of the result are those of a number. Ties to even; the carry goes into the exponent, up to infinity. */
INLINE vint round_bf16(vfloat x)
{
    const vint bits = as_s32(x), odd = and_s32(shift_right_16(bits), splat_s32(1));
    return add_s32(add_s32(bits, splat_s32(0x7fff)), odd);
}

INLINE vraw16 narrow_bf16(vfloat x)
{
    const vint quiet = or_s32(as_s32(x), splat_s32(0x400000));
    return narrow_u16(shift_right_16(select_s32(is_nan_lane(x), quiet, round_bf16(x))));
}

INLINE vfloat load_float(int type, const char *p)
{
    switch (type) {
    case CLQ_FLOAT_F32: return as_f32(load32(p));
    case CLQ_FLOAT_F16: return widen_f16(load16(p));
    default: return widen_bf16(load16(p));
    }
}

INLINE vfloat load_float_part(int type, const char *p, int64_t n)
{
    switch (type) {
    case CLQ_FLOAT_F32: return as_f32(load32_part(p, n));
    case CLQ_FLOAT_F16: return widen_f16(load16_part(p, n));
    default: return widen_bf16(load16_part(p, n));
    }
}

INLINE void ask_for(const char *p, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(p + i);
}

INLINE void put32(bool streams, char *p, vint v)
{
    if (streams)
        stream32(p, v);
    else
        store32(p, v);
}

INLINE void put16(bool streams, char *p, vraw16 v)
{
    if (streams)
        stream16(p, v);
    else
        store16(p, v);
}

INLINE void put_halves(bool streams, char *p, vhalf v)
{
    if (streams)
        stream_halves(p, v);
    else
        store_halves(p, v);
}

INLINE void put_bytes(bool streams, char *p, vbyte v)
{
    if (streams)
        stream_bytes(p, v);
    else
        store_bytes(p, v);
}

INLINE void put_float(int type, bool streams, char *p, vfloat x)
{
    switch (type) {
    case CLQ_FLOAT_F32: put32(streams, p, as_s32(x)); break;
    case CLQ_FLOAT_F16: put16(streams, p, narrow_f16(x)); break;
    default: put16(streams, p, narrow_bf16(x));
    }
}

INLINE void store_float(int type, char *p, vfloat x)
{
    put_float(type, false, p, x);
}

INLINE void store_float_part(int type, char *p, vfloat x, int64_t n)
{
    switch (type) {
    case CLQ_FLOAT_F32: store32_part(p, as_s32(x), n); break;
    case CLQ_FLOAT_F16: store16_part(p, narrow_f16(x), n); break;
    default: store16_part(p, narrow_bf16(x), n);
    }
}

INLINE vint load_int(int type, const char *p)
{
    switch (type) {
    case CLQ_INT_S8: return widen_s8(load8(p));
    case CLQ_INT_U8: return widen_u8(load8(p));
    case CLQ_INT_S16: return widen_s16(load16(p));
    case CLQ_INT_U16: return widen_u16(load16(p));
    default: return load32(p);
    }
}

INLINE vint load_int_part(int type, const char *p, int64_t n)
{
    switch (type) {
    case CLQ_INT_S8: return widen_s8(load8_part(p, n));
    case CLQ_INT_U8: return widen_u8(load8_part(p, n));
    case CLQ_INT_S16: return widen_s16(load16_part(p, n));
    case CLQ_INT_U16: return widen_u16(load16_part(p, n));
    default: return load32_part(p, n);
    }
}

/* Of `n` elements that a quad holds, those in vector `v`. */
INLINE int64_t part_of_quad(int64_t n, int v)
{
    return clq_max_i64(0, clq_min_i64(WIDTH, n - v * WIDTH));
}

/* A quad of floats that are not NaN. */
INLINE void put_quad(int type, bool streams, char *p, const vfloat *y)
{
    if (type == CLQ_FLOAT_BF16) {
        put_halves(streams, p, upper_halves(round_bf16(y[0]), round_bf16(y[1])));
        put_halves(streams, p + 4 * WIDTH, upper_halves(round_bf16(y[2]), round_bf16(y[3])));
        return;
    }
    EACH(v, 4)
        put_float(type, streams, p + v * WIDTH * float_bytes(type), y[v]);
}

/* The first n of its elements. */
INLINE void store_quad_part(int type, char *p, const vfloat *y, int64_t n)
{
    EACH(v, 4)
        store_float_part(type, p + v * WIDTH * float_bytes(type), y[v], part_of_quad(n, v));
}

/* How many of n elements are NaN, and how many infinite. */
INLINE void count_nonfinite(int type, const char *src, int64_t n, int64_t *nan, int64_t *inf)
{
    for (int64_t i = 0; i < n; i += WIDTH) {
        const int64_t lanes = clq_min_i64(WIDTH, n - i);
        const vfloat x = load_float_part(type, src + i * float_bytes(type), lanes);
        const int nans = count_lanes(is_nan_lane(x));
        *nan += nans;
        *inf += WIDTH - count_lanes(is_finite_lane(x)) - nans;
    }
}

#include "cpu/vector_params.h"

#include "cpu/vector_cast.h"
#include "cpu/vector_copy.h"
#include "cpu/vector_dequantize.h"
#include "cpu/vector_minmax.h"
#include "cpu/vector_quantize.h"

#include "cpu/vector_fake_quantize.h"
#include "cpu/vector_learnable.h"
#include "cpu/vector_requantize.h"
#include "cpu/vector_statistics.h"
