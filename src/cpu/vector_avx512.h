/* SPDX-License-Identifier: MIT */
/* The vector operations of AVX-512 F, BW, VL and DQ, for the templates of kernels: vector_kernels.h says what they do. */
#ifndef CLQ_VECTOR_AVX512_H
#define CLQ_VECTOR_AVX512_H

#include "cpu/cpu_ops.h"

#include <immintrin.h>

#define WIDTH       16
#define MASKED_ENDS 1

typedef __m512 vfloat;
typedef __m512d vdouble;
typedef __m512i vint, vhalf, vbyte;
typedef __m256i vraw16;
typedef __m128i vraw8;
typedef __mmask16 vmask;

/* ------------------------------------------------------------------------------------------------ memory */

INLINE vmask first_lanes(int64_t n)
{
    return (vmask)((1u << n) - 1u);
}

INLINE vint load32(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE vint load32_part(const void *p, int64_t n)
{
    return _mm512_maskz_loadu_epi32(first_lanes(n), p);
}

INLINE vraw16 load16(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE vraw16 load16_part(const void *p, int64_t n)
{
    return _mm256_maskz_loadu_epi16(first_lanes(n), p);
}

INLINE vraw8 load8(const void *p)
{
    return _mm_loadu_si128(p);
}

INLINE vraw8 load8_part(const void *p, int64_t n)
{
    return _mm_maskz_loadu_epi8(first_lanes(n), p);
}

INLINE void store32(void *p, vint v)
{
    _mm512_storeu_si512(p, v);
}

INLINE void store32_part(void *p, vint v, int64_t n)
{
    _mm512_mask_storeu_epi32(p, first_lanes(n), v);
}

INLINE void store16(void *p, vraw16 v)
{
    _mm256_storeu_si256(p, v);
}

INLINE void store16_part(void *p, vraw16 v, int64_t n)
{
    _mm256_mask_storeu_epi16(p, first_lanes(n), v);
}

INLINE void store_bytes(void *p, vbyte v)
{
    _mm512_storeu_si512(p, v);
}

INLINE void store_bytes_part(void *p, vbyte v, int64_t n)
{
    _mm512_mask_storeu_epi8(p, ((__mmask64)1 << n) - 1, v);
}

INLINE vhalf load_halves(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE void store_halves(void *p, vhalf v)
{
    _mm512_storeu_si512(p, v);
}

INLINE void store_halves_part(void *p, vhalf v, int64_t n)
{
    _mm512_mask_storeu_epi16(p, (__mmask32)(((uint64_t)1 << n) - 1), v);
}

/* Past the caches, to aligned addresses. */
INLINE void stream32(void *p, vint v)
{
    _mm512_stream_si512(p, v);
}

INLINE void stream16(void *p, vraw16 v)
{
    _mm256_stream_si256(p, v);
}

INLINE void stream_bytes(void *p, vbyte v)
{
    _mm512_stream_si512(p, v);
}

INLINE void stream_halves(void *p, vhalf v)
{
    _mm512_stream_si512(p, v);
}

INLINE void end_streams(void)
{
    _mm_sfence();
}

/* ------------------------------------------------------------------------------------------------ 32-bit lanes */

INLINE vfloat splat_f32(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vfloat add_f32(vfloat a, vfloat b)
{
    return _mm512_add_ps(a, b);
}

INLINE vfloat sub_f32(vfloat a, vfloat b)
{
    return _mm512_sub_ps(a, b);
}

INLINE vfloat mul_f32(vfloat a, vfloat b)
{
    return _mm512_mul_ps(a, b);
}

INLINE vfloat div_f32(vfloat a, vfloat b)
{
    return _mm512_div_ps(a, b);
}

INLINE vfloat fma_f32(vfloat a, vfloat b, vfloat c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vfloat fnma_f32(vfloat a, vfloat b, vfloat c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

INLINE vfloat min_f32(vfloat a, vfloat b)
{
    return _mm512_min_ps(a, b);
}

INLINE vfloat max_f32(vfloat a, vfloat b)
{
    return _mm512_max_ps(a, b);
}

INLINE vint splat_s32(int32_t x)
{
    return _mm512_set1_epi32(x);
}

INLINE vint add_s32(vint a, vint b)
{
    return _mm512_add_epi32(a, b);
}

INLINE vint sub_s32(vint a, vint b)
{
    return _mm512_sub_epi32(a, b);
}

INLINE vint min_s32(vint a, vint b)
{
    return _mm512_min_epi32(a, b);
}

INLINE vint max_s32(vint a, vint b)
{
    return _mm512_max_epi32(a, b);
}

INLINE vint and_s32(vint a, vint b)
{
    return _mm512_and_si512(a, b);
}

INLINE vint or_s32(vint a, vint b)
{
    return _mm512_or_si512(a, b);
}

INLINE vint xor_s32(vint a, vint b)
{
    return _mm512_xor_si512(a, b);
}

INLINE vint mul_s32(vint a, vint b)
{
    return _mm512_mullo_epi32(a, b);
}

INLINE vint shift_left_8(vint a)
{
    return _mm512_slli_epi32(a, 8);
}

INLINE vint shift_left_16(vint a)
{
    return _mm512_slli_epi32(a, 16);
}

INLINE vint shift_right_16(vint a)
{
    return _mm512_srli_epi32(a, 16);
}

INLINE vint as_s32(vfloat a)
{
    return _mm512_castps_si512(a);
}

INLINE vfloat as_f32(vint a)
{
    return _mm512_castsi512_ps(a);
}

INLINE vfloat to_f32(vint a)
{
    return _mm512_cvtepi32_ps(a);
}

/* The conversion gives -2^31 for NaN and for anything out of range. */
INLINE vint round_s32(vfloat a)
{
    return _mm512_cvtps_epi32(a);
}

INLINE vint round_full_s32(vfloat a)
{
    const __mmask16 over = _mm512_cmp_ps_mask(a, splat_f32(0x1p31f), _CMP_GE_OQ);
    return _mm512_mask_mov_epi32(_mm512_cvtps_epi32(a), over, splat_s32(INT32_MAX));
}

INLINE vmask less_f32(vfloat a, vfloat b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

INLINE vmask less_s32(vint a, vint b)
{
    return _mm512_cmplt_epi32_mask(a, b);
}

INLINE vmask equal_s32(vint a, vint b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}

INLINE vmask both(vmask a, vmask b)
{
    return a & b;
}

INLINE vfloat select_f32(vmask mask, vfloat a, vfloat b)
{
    return _mm512_mask_blend_ps(mask, b, a);
}

INLINE vint select_s32(vmask mask, vint a, vint b)
{
    return _mm512_mask_blend_epi32(mask, b, a);
}

INLINE int count_lanes(vmask mask)
{
    return __builtin_popcount(mask);
}

INLINE uint64_t quad_bits(const vmask *masks)
{
    return _cvtmask64_u64(_mm512_kunpackd(_mm512_kunpackw(masks[3], masks[2]), _mm512_kunpackw(masks[1], masks[0])));
}

INLINE vmask bits_lanes(uint32_t bits)
{
    return (vmask)bits;
}

INLINE vmask is_nan_lane(vfloat a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

INLINE bool any_nan(vfloat a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0;
}

INLINE uint32_t lane_index(uint32_t lane)
{
    return lane;
}

/* Lanes of the first four words of a table. */
INLINE vint permute4(const void *table, vint index)
{
    const vfloat lanes = _mm512_castsi512_ps(_mm512_broadcast_i32x4(_mm_loadu_si128(table)));
    return _mm512_castps_si512(_mm512_permutevar_ps(lanes, index));
}

INLINE float least_lane(vfloat a)
{
    return _mm512_reduce_min_ps(a);
}

INLINE float greatest_lane(vfloat a)
{
    return _mm512_reduce_max_ps(a);
}

/* ------------------------------------------------------------------------------------------------ narrow types */

INLINE vfloat widen_f16(vraw16 a)
{
    return _mm512_cvtph_ps(a);
}

INLINE vraw16 narrow_f16(vfloat a)
{
    return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE vint widen_u16(vraw16 a)
{
    return _mm512_cvtepu16_epi32(a);
}

INLINE vint widen_s16(vraw16 a)
{
    return _mm512_cvtepi16_epi32(a);
}

INLINE vint widen_u8(vraw8 a)
{
    return _mm512_cvtepu8_epi32(a);
}

INLINE vint widen_s8(vraw8 a)
{
    return _mm512_cvtepi8_epi32(a);
}

INLINE vraw16 narrow_u16(vint a)
{
    return _mm512_cvtepi32_epi16(a);
}

/* Packing works in each 128 bits apart; ordered_halves() and ordered_bytes() put the parts in their places. */
INLINE vhalf pack_s16(vint a, vint b)
{
    return _mm512_packs_epi32(a, b);
}

INLINE vhalf upper_halves(vint a, vint b)
{
    /* Words 1, 3, 5 and so on of both. */
    const vint first = _mm512_setr_epi32(0x00030001, 0x00070005, 0x000b0009, 0x000f000d, 0x00130011, 0x00170015, 0x001b0019, 0x001f001d,
                                         0x00230021, 0x00270025, 0x002b0029, 0x002f002d, 0x00330031, 0x00370035, 0x003b0039, 0x003f003d);
    return _mm512_permutex2var_epi16(a, first, b);
}

INLINE vhalf keep_half_bits(uint32_t bits, vhalf v)
{
    return _mm512_maskz_mov_epi16(bits, v);
}

INLINE vhalf keep_halves(vmask a, vmask b, vhalf v)
{
    return keep_half_bits(_mm512_kunpackw(b, a), v);
}

INLINE vhalf splat_16(int32_t x)
{
    return _mm512_set1_epi16((int16_t)x);
}

INLINE vhalf add_saturated_s16(vhalf a, vhalf b)
{
    return _mm512_adds_epi16(a, b);
}

INLINE vhalf clamp_s16(vhalf a, vhalf lo, vhalf hi)
{
    return _mm512_min_epi16(_mm512_max_epi16(a, lo), hi);
}

INLINE vhalf xor_halves(vhalf a, vhalf b)
{
    return _mm512_xor_si512(a, b);
}

INLINE vhalf count_equal_16(vhalf counts, vhalf a, vhalf b)
{
    return _mm512_mask_add_epi16(counts, _mm512_cmpeq_epi16_mask(a, b), counts, splat_16(1));
}

INLINE vint count_equal_32(vint counts, vint a, vint b)
{
    return _mm512_mask_add_epi32(counts, _mm512_cmpeq_epi32_mask(a, b), counts, splat_s32(1));
}

INLINE int32_t sum_32(vint a)
{
    __m256i b = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1)); /* modulo 2^32, as gcc's reduction is not */
    __m128i c = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    c = _mm_add_epi32(c, _mm_shuffle_epi32(c, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}

INLINE int32_t sum_16(vhalf a)
{
    return sum_32(_mm512_madd_epi16(a, splat_16(1)));
}

INLINE vhalf ordered_halves(vhalf a)
{
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), a);
}

INLINE vbyte pack_s8(vhalf a, vhalf b)
{
    return _mm512_packs_epi16(a, b);
}

INLINE vbyte splat_8(int32_t x)
{
    return _mm512_set1_epi8((char)x);
}

INLINE vbyte clamp_s8(vbyte a, vbyte lo, vbyte hi)
{
    return _mm512_min_epi8(_mm512_max_epi8(a, lo), hi);
}

INLINE vbyte xor_bytes(vbyte a, vbyte b)
{
    return _mm512_xor_si512(a, b);
}

INLINE vbyte ordered_bytes(vbyte a)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), a);
}

/* ------------------------------------------------------------------------------------------------ 4-bit values */

/* Each 16 bits of two vectors of bytes, the second's low nibble shifted above the first's, as 8 bits. */
INLINE vbyte join_nibbles(const void *p)
{
    const vbyte a = _mm512_and_si512(_mm512_loadu_si512(p), splat_8(15));
    const vbyte b = _mm512_and_si512(_mm512_loadu_si512((const char *)p + 64), splat_8(15));
    const vhalf weights = splat_16(0x1001);
    return ordered_halves(_mm512_packus_epi16(_mm512_maddubs_epi16(a, weights), _mm512_maddubs_epi16(b, weights)));
}

/* 2 * WIDTH bytes, each split into two. */
INLINE vbyte split_nibbles(const void *p)
{
    const vhalf wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256(p));
    return _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)), splat_8(15));
}

INLINE vbyte extend_nibbles(vbyte a)
{
    return _mm512_sub_epi8(_mm512_xor_si512(a, splat_8(8)), splat_8(8));
}

/* ------------------------------------------------------------------------------------------------ 64-bit lanes */

INLINE vdouble low_f64(vfloat a)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}

INLINE vdouble high_f64(vfloat a)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}

INLINE vdouble zero_f64(void)
{
    return _mm512_setzero_pd();
}

INLINE vdouble add_f64(vdouble a, vdouble b)
{
    return _mm512_add_pd(a, b);
}

INLINE vdouble fma_f64(vdouble a, vdouble b, vdouble c)
{
    return _mm512_fmadd_pd(a, b, c);
}

INLINE vdouble load_f64(const double *p)
{
    return _mm512_loadu_pd(p);
}

INLINE void store_f64(double *p, vdouble a)
{
    _mm512_storeu_pd(p, a);
}

INLINE vdouble add_unless_f64(vmask mask, int half, vdouble a, vdouble sum)
{
    const __mmask16 others = _knot_mask16(mask);
    return _mm512_mask_add_pd(sum, (__mmask8)(half ? _kshiftri_mask16(others, 8) : others), a, sum);
}

INLINE double sum_f64(vdouble a)
{
    return _mm512_reduce_add_pd(a);
}

INLINE vfloat join_f32(__m256 low, __m256 high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

INLINE vfloat nearest_f64(const void *p)
{
    return join_f32(_mm512_cvtpd_ps(_mm512_loadu_pd(p)), _mm512_cvtpd_ps(_mm512_loadu_pd((const char *)p + 64)));
}

/* Rounds to odd: towards zero, and the last bit set if that was not exact. */
INLINE __m256 odd_half(__m512d x)
{
    const __m256 cut = _mm512_cvt_roundpd_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_cvtps_pd(cut), x, _CMP_NEQ_UQ);
    const __m256i bits = _mm256_castps_si256(cut);
    return _mm256_castsi256_ps(_mm256_mask_or_epi32(bits, inexact, bits, _mm256_set1_epi32(1)));
}

INLINE vfloat odd_f64(const void *p)
{
    return join_f32(odd_half(_mm512_loadu_pd(p)), odd_half(_mm512_loadu_pd((const char *)p + 64)));
}

/* ------------------------------------------------------------------------------------------------ shuffles */

/* Pairs that halve a reduction: after step 1, 2, 4, 8 over 16 vectors lane i belongs to vector i. */
INLINE vfloat fold_low(int step, vfloat a, vfloat b)
{
    switch (step) {
    case 1: return _mm512_unpacklo_ps(a, b);
    case 2: return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    case 4: return _mm512_shuffle_f32x4(a, b, 0x44);
    default: return _mm512_shuffle_f32x4(a, b, 0x88);
    }
}

INLINE vfloat fold_high(int step, vfloat a, vfloat b)
{
    switch (step) {
    case 1: return _mm512_unpackhi_ps(a, b);
    case 2: return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    case 4: return _mm512_shuffle_f32x4(a, b, 0xee);
    default: return _mm512_shuffle_f32x4(a, b, 0xdd);
    }
}

/* 16 bytes from each of WIDTH / 4 places. */
INLINE vint load_lanes(const char *p, int64_t step_bytes)
{
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)p)),
                                                _mm_loadu_si128((const void *)(p + step_bytes)), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)(p + 2 * step_bytes))),
                                                 _mm_loadu_si128((const void *)(p + 3 * step_bytes)), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* For 2 * WIDTH bytes: words L and L + WIDTH / 4 in the lower half of every 16 bytes L. */
INLINE vint spread_words(vraw16 a)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 0, 0, 1, 5, 0, 0, 2, 6, 0, 0, 3, 7, 0, 0), _mm512_castsi256_si512(a));
}

INLINE vint zip_low(int size_bytes, vint a, vint b)
{
    switch (size_bytes) {
    case 1: return _mm512_unpacklo_epi8(a, b);
    case 2: return _mm512_unpacklo_epi16(a, b);
    case 4: return _mm512_unpacklo_epi32(a, b);
    default: return _mm512_unpacklo_epi64(a, b);
    }
}

INLINE vint zip_high(int size_bytes, vint a, vint b)
{
    switch (size_bytes) {
    case 1: return _mm512_unpackhi_epi8(a, b);
    case 2: return _mm512_unpackhi_epi16(a, b);
    case 4: return _mm512_unpackhi_epi32(a, b);
    default: return _mm512_unpackhi_epi64(a, b);
    }
}

#endif
