/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic of every operation, one element at a time: the definition that all vector kernels must reproduce to the bit.
 *
 * This file is compiled both as C11 and as OpenCL C 1.2, so it uses only what both have. Rounding to nearest, ties to even;
 * no contraction of a*b+c. Every float that these functions divide by or return as a scale lies in [2^-100, 2^100], which
 * keeps all results independent of the flushing of denormals.
 *
 * CLQM_RINT(x)        nearest integer, ties to even
 * CLQM_TO_INT(x)      the same as an int, for |x| < 2^22
 * CLQM_DIVIDE(a, b)   correctly rounded quotient
 */
#ifndef CLQ_QUANT_MATH_H
#define CLQ_QUANT_MATH_H

#ifdef __OPENCL_VERSION__
#pragma OPENCL FP_CONTRACT OFF
typedef uint clqm_uint;
typedef ushort clqm_ushort;
#define CLQM_RINT(x)  rint(x)
/* 1.5 * 2^23: the sum's unit is 1, and its bits count from there. Two cheap operations, where rounding and conversion are slow ones. */
#define CLQM_TO_INT(x) (as_int((x) + 12582912.0f) - 0x4b400000)
#define CLQM_BITS(x)  as_uint(x)
#define CLQM_FLOAT(u) as_float(u)
#define CLQM_INLINE   static inline

/* OpenCL's quotient may be 2.5 ulp off, so correctly rounded ones are made from it with fma alone. */

/* fl(1 / s) for s in [2^-100, 2^100]. One Newton step leaves the result or, for mantissas near 2, a neighbour of it; the residuals 1 - s * r
   of the two are compared. Holds for all mantissas if the first quotient is up to 3 ulp off. */
CLQM_INLINE float clqm_reciprocal(float s)
{
    const float rough = 1.0f / s;
    const float r = fma(fma(-s, rough, 1.0f), rough, rough);
    const float residual = fma(-s, r, 1.0f);
    const float neighbour = as_float(as_uint(r) + (residual > 0.0f ? 1u : 0xffffffffu));
    return fabs(fma(-s, neighbour, 1.0f)) < fabs(residual) ? neighbour : r;
}

/* fl(a / b) for b in [2^-100, 2^100] and quotients in [2^-100, 2^125]; smaller ones come out below 2^-100, larger ones above 2^124 or
   infinite, none as NaN. Two corrections make a quotient correctly rounded that starts within 2 ulp (Markstein). Small dividends are scaled, so
   that no residual is a denormal. */
CLQM_INLINE float clqm_divide(float a, float b)
{
    const int small = fabs(a) < 0x1p-40f;
    const float dividend = small ? a * 0x1p64f : a, r = clqm_reciprocal(b);
    float q = dividend * r;
    if (!(fabs(q) < 0x1p126f)) return q;
    q = fma(fma(-q, b, dividend), r, q);
    q = fma(fma(-q, b, dividend), r, q);
    return small ? q * 0x1p-64f : q;
}
#define CLQM_DIVIDE(a, b) clqm_divide(a, b)
#else
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __FAST_MATH__
#error "clquant needs IEEE arithmetic: build without -ffast-math"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "clquant needs float operations to be rounded to float: on x86 build with -msse2 -mfpmath=sse"
#endif
typedef uint32_t clqm_uint;
typedef uint16_t clqm_ushort;
#define CLQM_RINT(x)      rintf(x)
#define CLQM_TO_INT(x)    ((int)rintf(x))
#define CLQM_DIVIDE(a, b) ((a) / (b))
#define CLQM_INLINE       static inline

CLQM_INLINE clqm_uint CLQM_BITS(float x)
{
    clqm_uint u;
    memcpy(&u, &x, sizeof u);
    return u;
}

CLQM_INLINE float CLQM_FLOAT(clqm_uint u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
#endif

#define CLQM_SCALE_MIN_BITS 0x0d800000u /* 2^-100 */
#define CLQM_SCALE_MAX_BITS 0x71800000u /* 2^100 */

/* The rounded quotient's argument: fl(x / s), or fl(x * fl(1 / s)) for `reciprocal`. */
CLQM_INLINE float clqm_quotient(float x, float s, int reciprocal)
{
    return reciprocal ? x * CLQM_DIVIDE(1.0f, s) : CLQM_DIVIDE(x, s);
}

/* q = rne(clamp(d, qmin - z, qmax - z)) + z; NaN gives qmin. |z|, |qmin|, |qmax| <= 65535. */
CLQM_INLINE int clqm_quantize(float d, int z, int qmin, int qmax)
{
    const float low = (float)(qmin - z), high = (float)(qmax - z);
    const float clamped = d >= high ? high : (d > low ? d : low); /* NaN fails both comparisons */
    return CLQM_TO_INT(clamped) + z;
}

/* 1 if a finite quotient rounds to a value outside [qmin - z, qmax - z]. */
CLQM_INLINE int clqm_clipped(float d, int z, int qmin, int qmax)
{
    const float rounded = CLQM_RINT(d);
    return rounded < (float)(qmin - z) || rounded > (float)(qmax - z);
}

/* s32, full range, z = 0. A finite quotient is clipped from 2^31 on and below -2^31. */
CLQM_INLINE int clqm_quantize_s32(float d)
{
    if (d >= 2147483648.0f) return 2147483647;
    return d > -2147483648.0f ? (int)CLQM_RINT(d) : -2147483647 - 1; /* NaN fails the comparison */
}

CLQM_INLINE int clqm_clipped_s32(float d)
{
    return d >= 2147483648.0f || d < -2147483648.0f;
}

/* y = fl(float(q - z) * s); q - z fits in int for every type (s32 has z = 0). */
CLQM_INLINE float clqm_dequantize(int q, float s, int z)
{
    return (float)(q - z) * s;
}

/* 1 if the quotient rounds to a value in [qmin - z, qmax - z], which NaN does not: where a fake-quantized x has a gradient. */
CLQM_INLINE int clqm_inside(float d, int z, int qmin, int qmax)
{
    const float rounded = CLQM_RINT(d);
    return rounded >= (float)(qmin - z) && rounded <= (float)(qmax - z);
}

/* The derivative of a fake-quantized value by its scale: rne(d) - d inside (Esser et al., "Learned Step Size Quantization", 2020), qmin - z below,
   qmax - z above; 0 for NaN. The difference is exact, as |d| < 2^17 there. */
CLQM_INLINE float clqm_slope(float d, int z, int qmin, int qmax)
{
    const float low = (float)(qmin - z), high = (float)(qmax - z), rounded = CLQM_RINT(d);
    if (rounded < low) return low;
    if (rounded > high) return high;
    return rounded == rounded ? rounded - d : 0.0f;
}

/* What an integer minus its zero point is multiplied by to be requantized: s of the source over s of the target. */
CLQM_INLINE float clqm_multiplier(float source_scale, float target_scale)
{
    const float m = CLQM_DIVIDE(source_scale, target_scale), least = 5.421010862427522e-20f, most = 18446744073709551616.0f; /* 2^-64, 2^64 */
    return m < least ? least : (m > most ? most : m);
}

/* The scale of an accumulator of products. */
CLQM_INLINE float clqm_product_scale(float a_scale, float b_scale)
{
    const float s = a_scale * b_scale, least = 1.17549435082228751e-38f, most = 1.70141183460469232e38f; /* 2^-126, 2^127 */
    return s < least ? least : (s > most ? most : s);
}

/* |acc| <= 2^31: an s32, or a q - z. */
CLQM_INLINE int clqm_requantize(int acc, float m, int z, int qmin, int qmax)
{
    return clqm_quantize((float)acc * m, z, qmin, qmax);
}

/* NaN, infinity, and what minimum and maximum make of a finite value: magnitudes below 2^-126 and -0 count as +0. */
CLQM_INLINE int clqm_is_nan(float x)
{
    return (CLQM_BITS(x) & 0x7fffffffu) > 0x7f800000u;
}

CLQM_INLINE int clqm_is_inf(float x)
{
    return (CLQM_BITS(x) & 0x7fffffffu) == 0x7f800000u;
}

CLQM_INLINE float clqm_flush(float x)
{
    return (CLQM_BITS(x) & 0x7f800000u) == 0 ? 0.0f : x;
}

/* The moving average m of the ends of ranges after another one: fl(m + fl(c * fl(next - m))), 2^-64 <= c <= 1, both finite and flushed. A difference too
   large for a float counts as the largest one; differences and products below 2^-126 as 0, a product before its rounding to a denormal. */
CLQM_INLINE float clqm_moving_average(float m, float next, float c)
{
    float step = clqm_flush(next - m);
    if (clqm_is_inf(step)) step = step > 0.0f ? 3.40282346638528859812e38f : -3.40282346638528859812e38f;
    if (step < 1.0f && step > -1.0f) {
        step = c * (step * 18446744073709551616.0f);                                                  /* 2^64 */
        step = step < 2.168404344971009e-19f && step > -2.168404344971009e-19f ? 0.0f : step * 5.421010862427522e-20f; /* 2^-62, 2^-64 */
    } else {
        step = c * step;
    }
    return clqm_flush(m + step);
}

/* Scale and zero point of the finite range [lo, hi], lo <= hi: see clq_qparams_from_range() in clquant.h. `fixed_zero_point` is that of
   a symmetric scheme, `step` what its A is divided by: P or n/2. */
CLQM_INLINE float clqm_clamp_scale(float s)
{
    const float least = CLQM_FLOAT(CLQM_SCALE_MIN_BITS), most = CLQM_FLOAT(CLQM_SCALE_MAX_BITS);
    return s < least ? least : (s > most ? most : s);
}

CLQM_INLINE float clqm_scale_symmetric(float lo, float hi, float step, int power_of_two)
{
    float s, magnitude;
    lo = clqm_flush(lo);
    hi = clqm_flush(hi);
    magnitude = -lo > hi ? -lo : hi;
    if (!(magnitude > 0.0f)) return 1.0f;
    s = CLQM_DIVIDE(magnitude, step);
    if (power_of_two && (CLQM_BITS(s) & 0x007fffffu) != 0) s = CLQM_FLOAT((CLQM_BITS(s) & 0x7f800000u) + 0x00800000u);
    return clqm_clamp_scale(s);
}

CLQM_INLINE float clqm_scale_asymmetric(float lo, float hi, int qmin, int qmax)
{
    lo = clqm_flush(lo);
    hi = clqm_flush(hi);
    lo = lo < 0.0f ? lo : 0.0f;
    hi = hi > 0.0f ? hi : 0.0f;
    if (lo == hi) return 1.0f;
    return clqm_clamp_scale(CLQM_DIVIDE(hi * 0.5f - lo * 0.5f, (float)(qmax - qmin) * 0.5f));
}

CLQM_INLINE int clqm_zero_point_asymmetric(float lo, float hi, float s, int qmin, int qmax)
{
    int z = 0;
    lo = clqm_flush(lo);
    hi = clqm_flush(hi);
    lo = lo < 0.0f ? lo : 0.0f;
    /* |lo / s| < 2^29: s >= 2^-100 and, where that clamp is idle, lo / s >= -n */
    if (lo < 0.0f || hi > 0.0f) z = qmin - (int)CLQM_RINT(CLQM_DIVIDE(lo, s));
    return z < qmin ? qmin : (z > qmax ? qmax : z);
}

/* f16 and bf16 as bits. Widening is exact; narrowing rounds once, ties to even; a NaN stays one. All in integers, so that no
   flushing of denormals can interfere. */
CLQM_INLINE float clqm_widen_f16(clqm_ushort h)
{
    const clqm_uint sign = (clqm_uint)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
    if (exponent == 31u) return CLQM_FLOAT(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0u) return CLQM_FLOAT(sign | (exponent + 112u) << 23 | mantissa << 13);
    /* mantissa * 2^-24, a normal f32 */
    return CLQM_FLOAT(sign | CLQM_BITS((float)(int)mantissa * 5.9604644775390625e-8f));
}

CLQM_INLINE clqm_ushort clqm_narrow_f16(float x)
{
    const clqm_uint bits = CLQM_BITS(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    clqm_uint shift, mantissa, result;
    if (magnitude > 0x7f800000u) return (clqm_ushort)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (clqm_ushort)(sign | 0x7c00u); /* 65520 and above */
    if (magnitude >= 0x38800000u)                                     /* 2^-14: normal; the carry may raise the exponent */
        return (clqm_ushort)(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13));
    if (magnitude < 0x33000000u) return (clqm_ushort)sign; /* below 2^-25 */
    shift = 126u - (magnitude >> 23);                      /* 14..24: units of 2^-24 */
    mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    result = mantissa >> shift;
    mantissa &= (1u << shift) - 1u;
    result += (mantissa > 1u << (shift - 1u) || (mantissa == 1u << (shift - 1u) && (result & 1u))) ? 1u : 0u;
    return (clqm_ushort)(sign | result);
}

CLQM_INLINE float clqm_widen_bf16(clqm_ushort b)
{
    return CLQM_FLOAT((clqm_uint)b << 16);
}

CLQM_INLINE clqm_ushort clqm_narrow_bf16(float x)
{
    const clqm_uint bits = CLQM_BITS(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (clqm_ushort)(bits >> 16 | 0x40u);
    return (clqm_ushort)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
