/* SPDX-License-Identifier: MIT */
/* The vector operations of AVX2, FMA and F16C, for the templates of kernels: vector_kernels.h says what they do. */
#ifndef CLQ_VECTOR_AVX2_H
#define CLQ_VECTOR_AVX2_H

#include "cpu/cpu_ops.h"

#include "cpu/partial.h"
#include <immintrin.h>

#define WIDTH       8
#define MASKED_ENDS 0

typedef __m256 vfloat;
typedef __m256d vdouble;
typedef __m256i vint, vhalf, vbyte;
typedef __m128i vraw16, vraw8; /* vraw8: the lower half */
typedef __m256 vmask;          /* all bits of a lane */

/* ------------------------------------------------------------------------------------------------ memory */

INLINE __m256i first_lanes_s32(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE vmask first_lanes(int64_t n)
{
    return _mm256_castsi256_ps(first_lanes_s32(n));
}

INLINE __m128i load_part(const void *p, int64_t bytes)
{
    const struct clq_words words = clq_load_words(p, bytes);
    return _mm_set_epi64x((long long)words.high, (long long)words.low);
}

INLINE void store_part(void *p, __m128i v, int64_t bytes)
{
    const struct clq_words words = {(uint64_t)_mm_cvtsi128_si64(v), (uint64_t)_mm_extract_epi64(v, 1)};
    clq_store_words(p, words, bytes);
}

/* Up to 32 bytes. */
INLINE void store_wide_part(void *p, __m256i v, int64_t bytes)
{
    __m128i rest = _mm256_castsi256_si128(v);
    if (bytes >= 32) {
        _mm256_storeu_si256(p, v);
        return;
    }
    if (bytes >= 16) {
        _mm_storeu_si128(p, rest);
        rest = _mm256_extracti128_si256(v, 1);
        p = (char *)p + 16;
        bytes -= 16;
    }
    store_part(p, rest, bytes);
}

INLINE vint load32(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE vint load32_part(const void *p, int64_t n)
{
    return _mm256_maskload_epi32(p, first_lanes_s32(n));
}

INLINE vraw16 load16(const void *p)
{
    return _mm_loadu_si128(p);
}

INLINE vraw16 load16_part(const void *p, int64_t n)
{
    return n == WIDTH ? load16(p) : load_part(p, 2 * n);
}

INLINE vraw8 load8(const void *p)
{
    return _mm_loadl_epi64(p);
}

INLINE vraw8 load8_part(const void *p, int64_t n)
{
    return n == WIDTH ? load8(p) : _mm_cvtsi64_si128((long long)clq_load_word(p, n));
}

INLINE void store32(void *p, vint v)
{
    _mm256_storeu_si256(p, v);
}

INLINE void store32_part(void *p, vint v, int64_t n)
{
    store_wide_part(p, v, 4 * n);
}

INLINE void store16(void *p, vraw16 v)
{
    _mm_storeu_si128(p, v);
}

INLINE void store16_part(void *p, vraw16 v, int64_t n)
{
    if (n == WIDTH)
        store16(p, v);
    else
        store_part(p, v, 2 * n);
}

INLINE void store_bytes(void *p, vbyte v)
{
    _mm256_storeu_si256(p, v);
}

INLINE void store_bytes_part(void *p, vbyte v, int64_t n)
{
    store_wide_part(p, v, n);
}

INLINE vhalf load_halves(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE void store_halves(void *p, vhalf v)
{
    _mm256_storeu_si256(p, v);
}

INLINE void store_halves_part(void *p, vhalf v, int64_t n)
{
    store_wide_part(p, v, 2 * n);
}

/* Past the caches, to aligned addresses. */
INLINE void stream32(void *p, vint v)
{
    _mm256_stream_si256(p, v);
}

INLINE void stream16(void *p, vraw16 v)
{
    _mm_stream_si128(p, v);
}

INLINE void stream_bytes(void *p, vbyte v)
{
    _mm256_stream_si256(p, v);
}

INLINE void stream_halves(void *p, vhalf v)
{
    _mm256_stream_si256(p, v);
}

INLINE void end_streams(void)
{
    _mm_sfence();
}

/* ------------------------------------------------------------------------------------------------ 32-bit lanes */

INLINE vfloat splat_f32(float x)
{
    return _mm256_set1_ps(x);
}

INLINE vfloat add_f32(vfloat a, vfloat b)
{
    return _mm256_add_ps(a, b);
}

INLINE vfloat sub_f32(vfloat a, vfloat b)
{
    return _mm256_sub_ps(a, b);
}

INLINE vfloat mul_f32(vfloat a, vfloat b)
{
    return _mm256_mul_ps(a, b);
}

INLINE vfloat div_f32(vfloat a, vfloat b)
{
    return _mm256_div_ps(a, b);
}

INLINE vfloat fma_f32(vfloat a, vfloat b, vfloat c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE vfloat fnma_f32(vfloat a, vfloat b, vfloat c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

INLINE vfloat min_f32(vfloat a, vfloat b)
{
    return _mm256_min_ps(a, b);
}

INLINE vfloat max_f32(vfloat a, vfloat b)
{
    return _mm256_max_ps(a, b);
}

INLINE vint splat_s32(int32_t x)
{
    return _mm256_set1_epi32(x);
}

INLINE vint add_s32(vint a, vint b)
{
    return _mm256_add_epi32(a, b);
}

INLINE vint sub_s32(vint a, vint b)
{
    return _mm256_sub_epi32(a, b);
}

INLINE vint min_s32(vint a, vint b)
{
    return _mm256_min_epi32(a, b);
}

INLINE vint max_s32(vint a, vint b)
{
    return _mm256_max_epi32(a, b);
}

INLINE vint and_s32(vint a, vint b)
{
    return _mm256_and_si256(a, b);
}

INLINE vint or_s32(vint a, vint b)
{
    return _mm256_or_si256(a, b);
}

INLINE vint xor_s32(vint a, vint b)
{
    return _mm256_xor_si256(a, b);
}

INLINE vint mul_s32(vint a, vint b)
{
    return _mm256_mullo_epi32(a, b);
}

INLINE vint shift_left_8(vint a)
{
    return _mm256_slli_epi32(a, 8);
}

INLINE vint shift_left_16(vint a)
{
    return _mm256_slli_epi32(a, 16);
}

INLINE vint shift_right_16(vint a)
{
    return _mm256_srli_epi32(a, 16);
}

INLINE vint as_s32(vfloat a)
{
    return _mm256_castps_si256(a);
}

INLINE vfloat as_f32(vint a)
{
    return _mm256_castsi256_ps(a);
}

INLINE vfloat to_f32(vint a)
{
    return _mm256_cvtepi32_ps(a);
}

/* The conversion gives -2^31 for NaN and for anything out of range. */
INLINE vint round_s32(vfloat a)
{
    return _mm256_cvtps_epi32(a);
}

/* Above the range all bits of -2^31 are flipped. */
INLINE vint round_full_s32(vfloat a)
{
    const vfloat over = _mm256_cmp_ps(a, splat_f32(0x1p31f), _CMP_GE_OQ);
    return _mm256_xor_si256(_mm256_cvtps_epi32(a), as_s32(over));
}

INLINE vmask less_f32(vfloat a, vfloat b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

INLINE vmask less_s32(vint a, vint b)
{
    return as_f32(_mm256_cmpgt_epi32(b, a));
}

INLINE vmask equal_s32(vint a, vint b)
{
    return as_f32(_mm256_cmpeq_epi32(a, b));
}

INLINE vmask both(vmask a, vmask b)
{
    return _mm256_and_ps(a, b);
}

INLINE vfloat select_f32(vmask mask, vfloat a, vfloat b)
{
    return _mm256_blendv_ps(b, a, mask);
}

INLINE vint select_s32(vmask mask, vint a, vint b)
{
    return as_s32(_mm256_blendv_ps(as_f32(b), as_f32(a), mask));
}

INLINE int count_lanes(vmask mask)
{
    return __builtin_popcount((unsigned)_mm256_movemask_ps(mask));
}

/* Words to bytes: each of the four masks has half of its lanes in either 128 bits. */
INLINE uint64_t quad_bits(const vmask *masks)
{
    const __m256i a = _mm256_packs_epi32(as_s32(masks[0]), as_s32(masks[1])), b = _mm256_packs_epi32(as_s32(masks[2]), as_s32(masks[3]));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    return (uint32_t)_mm256_movemask_epi8(bytes);
}

INLINE vmask bits_lanes(uint32_t bits)
{
    const vint lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return equal_s32(and_s32(splat_s32((int32_t)bits), lane), lane);
}

INLINE vmask is_nan_lane(vfloat a)
{
    return _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
}

INLINE bool any_nan(vfloat a)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0;
}

INLINE uint32_t lane_index(uint32_t lane)
{
    return lane;
}

/* Lanes of the first four words of a table. */
INLINE vint permute4(const void *table, vint index)
{
    const vfloat lanes = _mm256_castsi256_ps(_mm256_broadcastsi128_si256(_mm_loadu_si128(table)));
    return _mm256_castps_si256(_mm256_permutevar_ps(lanes, index));
}

INLINE float least_lane(vfloat a)
{
    __m128 v = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_min_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_min_ss(v, _mm_movehdup_ps(v)));
}

INLINE float greatest_lane(vfloat a)
{
    __m128 v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)));
}

/* ------------------------------------------------------------------------------------------------ narrow types */

INLINE vfloat widen_f16(vraw16 a)
{
    return _mm256_cvtph_ps(a);
}

INLINE vraw16 narrow_f16(vfloat a)
{
    return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE vint widen_u16(vraw16 a)
{
    return _mm256_cvtepu16_epi32(a);
}

INLINE vint widen_s16(vraw16 a)
{
    return _mm256_cvtepi16_epi32(a);
}

INLINE vint widen_u8(vraw8 a)
{
    return _mm256_cvtepu8_epi32(a);
}

INLINE vint widen_s8(vraw8 a)
{
    return _mm256_cvtepi8_epi32(a);
}

INLINE vraw16 narrow_u16(vint a)
{
    return _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
}

/* Packing works in each 128 bits apart; ordered_halves() and ordered_bytes() put the parts in their places. */
INLINE vhalf pack_s16(vint a, vint b)
{
    return _mm256_packs_epi32(a, b);
}

INLINE vhalf upper_halves(vint a, vint b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16)), 0xd8);
}

INLINE vhalf keep_halves(vmask a, vmask b, vhalf v)
{
    return _mm256_and_si256(_mm256_permute4x64_epi64(_mm256_packs_epi32(as_s32(a), as_s32(b)), 0xd8), v);
}

INLINE vhalf keep_half_bits(uint32_t bits, vhalf v)
{
    const __m256i lane = _mm256_setr_epi16(0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000,
                                           (int16_t)0x8000);
    return _mm256_and_si256(_mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16((int16_t)bits), lane), lane), v);
}

INLINE vhalf splat_16(int32_t x)
{
    return _mm256_set1_epi16((int16_t)x);
}

INLINE vhalf add_saturated_s16(vhalf a, vhalf b)
{
    return _mm256_adds_epi16(a, b);
}

INLINE vhalf clamp_s16(vhalf a, vhalf lo, vhalf hi)
{
    return _mm256_min_epi16(_mm256_max_epi16(a, lo), hi);
}

INLINE vhalf xor_halves(vhalf a, vhalf b)
{
    return _mm256_xor_si256(a, b);
}

INLINE vhalf count_equal_16(vhalf counts, vhalf a, vhalf b)
{
    return _mm256_sub_epi16(counts, _mm256_cmpeq_epi16(a, b));
}

INLINE vint count_equal_32(vint counts, vint a, vint b)
{
    return _mm256_sub_epi32(counts, _mm256_cmpeq_epi32(a, b));
}

INLINE int32_t sum_32(vint a)
{
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_add_epi32(v, _mm_unpackhi_epi64(v, v));
    return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 1)));
}

INLINE int32_t sum_16(vhalf a)
{
    return sum_32(_mm256_madd_epi16(a, splat_16(1)));
}

INLINE vhalf ordered_halves(vhalf a)
{
    return _mm256_permute4x64_epi64(a, 0xd8);
}

INLINE vbyte pack_s8(vhalf a, vhalf b)
{
    return _mm256_packs_epi16(a, b);
}

INLINE vbyte splat_8(int32_t x)
{
    return _mm256_set1_epi8((char)x);
}

INLINE vbyte clamp_s8(vbyte a, vbyte lo, vbyte hi)
{
    return _mm256_min_epi8(_mm256_max_epi8(a, lo), hi);
}

INLINE vbyte xor_bytes(vbyte a, vbyte b)
{
    return _mm256_xor_si256(a, b);
}

INLINE vbyte ordered_bytes(vbyte a)
{
    return _mm256_permutevar8x32_epi32(a, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* ------------------------------------------------------------------------------------------------ 4-bit values */

/* Each 16 bits of two vectors of bytes, the second's low nibble shifted above the first's, as 8 bits. */
INLINE vbyte join_nibbles(const void *p)
{
    const vbyte a = _mm256_and_si256(_mm256_loadu_si256(p), splat_8(15));
    const vbyte b = _mm256_and_si256(_mm256_loadu_si256((const void *)((const char *)p + 32)), splat_8(15));
    const vhalf weights = splat_16(0x1001);
    return ordered_halves(_mm256_packus_epi16(_mm256_maddubs_epi16(a, weights), _mm256_maddubs_epi16(b, weights)));
}

/* 2 * WIDTH bytes, each split into two. */
INLINE vbyte split_nibbles(const void *p)
{
    const vhalf wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(p));
    return _mm256_and_si256(_mm256_or_si256(wide, _mm256_slli_epi16(wide, 4)), splat_8(15));
}

INLINE vbyte extend_nibbles(vbyte a)
{
    return _mm256_sub_epi8(_mm256_xor_si256(a, splat_8(8)), splat_8(8));
}

/* ------------------------------------------------------------------------------------------------ 64-bit lanes */

INLINE vdouble low_f64(vfloat a)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(a));
}

INLINE vdouble high_f64(vfloat a)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}

INLINE vdouble zero_f64(void)
{
    return _mm256_setzero_pd();
}

INLINE vdouble add_f64(vdouble a, vdouble b)
{
    return _mm256_add_pd(a, b);
}

INLINE vdouble fma_f64(vdouble a, vdouble b, vdouble c)
{
    return _mm256_fmadd_pd(a, b, c);
}

INLINE vdouble load_f64(const double *p)
{
    return _mm256_loadu_pd(p);
}

INLINE void store_f64(double *p, vdouble a)
{
    _mm256_storeu_pd(p, a);
}

INLINE vdouble add_unless_f64(vmask mask, int half, vdouble a, vdouble sum)
{
    const __m128i lanes = half ? _mm256_extracti128_si256(as_s32(mask), 1) : _mm256_castsi256_si128(as_s32(mask));
    return _mm256_add_pd(_mm256_andnot_pd(_mm256_castsi256_pd(_mm256_cvtepi32_epi64(lanes)), a), sum);
}

INLINE double sum_f64(vdouble a)
{
    const __m128d v = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)));
}

INLINE vfloat join_f32(__m128 low, __m128 high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

INLINE vfloat nearest_f64(const void *p)
{
    return join_f32(_mm256_cvtpd_ps(_mm256_loadu_pd(p)), _mm256_cvtpd_ps(_mm256_loadu_pd((const void *)((const char *)p + 32))));
}

/* The lower 32 bits of each 64. */
INLINE __m128i lower_halves(__m256d a)
{
    const __m128 low = _mm_castpd_ps(_mm256_castpd256_pd128(a)), high = _mm_castpd_ps(_mm256_extractf128_pd(a, 1));
    return _mm_castps_si128(_mm_shuffle_ps(low, high, 0x88));
}

/* Rounds to odd: the nearest is made smaller where it is larger in magnitude, and its last bit set where it is not exact. */
INLINE __m128 odd_half(__m256d x)
{
    const __m256d sign = _mm256_set1_pd(-0.0);
    const __m128 nearest = _mm256_cvtpd_ps(x);
    const __m256d back = _mm256_cvtps_pd(nearest);
    const __m256d larger = _mm256_cmp_pd(_mm256_andnot_pd(sign, back), _mm256_andnot_pd(sign, x), _CMP_GT_OQ);
    const __m256d inexact = _mm256_cmp_pd(back, x, _CMP_NEQ_OQ);
    const __m128i bits = _mm_add_epi32(_mm_castps_si128(nearest), lower_halves(larger));
    return _mm_castsi128_ps(_mm_or_si128(bits, _mm_and_si128(lower_halves(inexact), _mm_set1_epi32(1))));
}

INLINE vfloat odd_f64(const void *p)
{
    return join_f32(odd_half(_mm256_loadu_pd(p)), odd_half(_mm256_loadu_pd((const void *)((const char *)p + 32))));
}

/* ------------------------------------------------------------------------------------------------ shuffles */

/* Pairs that halve a reduction: after step 1, 2, 4 over 8 vectors lane i belongs to vector i. */
INLINE vfloat fold_low(int step, vfloat a, vfloat b)
{
    switch (step) {
    case 1: return _mm256_unpacklo_ps(a, b);
    case 2: return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
    default: return _mm256_permute2f128_ps(a, b, 0x20);
    }
}

INLINE vfloat fold_high(int step, vfloat a, vfloat b)
{
    switch (step) {
    case 1: return _mm256_unpackhi_ps(a, b);
    case 2: return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
    default: return _mm256_permute2f128_ps(a, b, 0x31);
    }
}

/* 16 bytes from each of WIDTH / 4 places. */
INLINE vint load_lanes(const char *p, int64_t step_bytes)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)p)), _mm_loadu_si128((const void *)(p + step_bytes)), 1);
}

/* For 2 * WIDTH bytes: words L and L + WIDTH / 4 in the lower half of every 16 bytes L. */
INLINE vint spread_words(vraw16 a)
{
    return _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(a), _mm256_setr_epi32(0, 2, 0, 0, 1, 3, 0, 0));
}

INLINE vint zip_low(int size_bytes, vint a, vint b)
{
    switch (size_bytes) {
    case 1: return _mm256_unpacklo_epi8(a, b);
    case 2: return _mm256_unpacklo_epi16(a, b);
    case 4: return _mm256_unpacklo_epi32(a, b);
    default: return _mm256_unpacklo_epi64(a, b);
    }
}

INLINE vint zip_high(int size_bytes, vint a, vint b)
{
    switch (size_bytes) {
    case 1: return _mm256_unpackhi_epi8(a, b);
    case 2: return _mm256_unpackhi_epi16(a, b);
    case 4: return _mm256_unpackhi_epi32(a, b);
    default: return _mm256_unpackhi_epi64(a, b);
    }
}

#endif
