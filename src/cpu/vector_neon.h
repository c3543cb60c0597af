/* SPDX-License-Identifier: MIT */
/* The vector operations of NEON, for the templates of kernels: vector_kernels.h says what they do. */
#ifndef CLQ_VECTOR_NEON_H
#define CLQ_VECTOR_NEON_H

#include "cpu/cpu_ops.h"

#include "cpu/partial.h"
#include <arm_neon.h>

#define WIDTH       4
#define MASKED_ENDS 0

typedef float32x4_t vfloat;
typedef float64x2_t vdouble;
typedef int32x4_t vint;
typedef int16x8_t vhalf;
typedef int8x16_t vbyte;
typedef uint16x4_t vraw16;
typedef uint8x8_t vraw8; /* the lower half */
typedef uint32x4_t vmask; /* all bits of a lane */

/* ------------------------------------------------------------------------------------------------ memory: by bytes, which need no alignment */

INLINE vmask first_lanes(int64_t n)
{
    const int32_t lanes[4] = {0, 1, 2, 3};
    return vcltq_s32(vld1q_s32(lanes), vdupq_n_s32((int32_t)n));
}

INLINE uint8x16_t load_part(const void *p, int64_t bytes)
{
    const struct clq_words words = clq_load_words(p, bytes);
    return vcombine_u8(vcreate_u8(words.low), vcreate_u8(words.high));
}

INLINE void store_part(void *p, uint8x16_t v, int64_t bytes)
{
    const uint64x2_t pair = vreinterpretq_u64_u8(v);
    const struct clq_words words = {vgetq_lane_u64(pair, 0), vgetq_lane_u64(pair, 1)};
    if (bytes == 16)
        vst1q_u8(p, v);
    else
        clq_store_words(p, words, bytes);
}

INLINE vint load32(const void *p)
{
    return vreinterpretq_s32_u8(vld1q_u8(p));
}

INLINE vint load32_part(const void *p, int64_t n)
{
    return n == WIDTH ? load32(p) : vreinterpretq_s32_u8(load_part(p, 4 * n));
}

INLINE vraw16 load16(const void *p)
{
    return vreinterpret_u16_u8(vld1_u8(p));
}

INLINE vraw16 load16_part(const void *p, int64_t n)
{
    return n == WIDTH ? load16(p) : vcreate_u16(clq_load_word(p, 2 * n));
}

INLINE vraw8 load8(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return vcreate_u8(word);
}

INLINE vraw8 load8_part(const void *p, int64_t n)
{
    return vcreate_u8(clq_load_word(p, n));
}

INLINE void store32(void *p, vint v)
{
    vst1q_u8(p, vreinterpretq_u8_s32(v));
}

INLINE void store32_part(void *p, vint v, int64_t n)
{
    store_part(p, vreinterpretq_u8_s32(v), 4 * n);
}

INLINE void store16(void *p, vraw16 v)
{
    vst1_u8(p, vreinterpret_u8_u16(v));
}

INLINE void store16_part(void *p, vraw16 v, int64_t n)
{
    const struct clq_words words = {vget_lane_u64(vreinterpret_u64_u16(v), 0), 0};
    clq_store_words(p, words, 2 * n);
}

INLINE void store_bytes(void *p, vbyte v)
{
    vst1q_u8(p, vreinterpretq_u8_s8(v));
}

INLINE void store_bytes_part(void *p, vbyte v, int64_t n)
{
    store_part(p, vreinterpretq_u8_s8(v), n);
}

INLINE vhalf load_halves(const void *p)
{
    return vreinterpretq_s16_u8(vld1q_u8(p));
}

INLINE void store_halves(void *p, vhalf v)
{
    vst1q_u8(p, vreinterpretq_u8_s16(v));
}

INLINE void store_halves_part(void *p, vhalf v, int64_t n)
{
    store_part(p, vreinterpretq_u8_s16(v), 2 * n);
}

/* There are no stores past the caches for one vector, and Arm's cores find out by themselves when whole lines are written. */
INLINE void stream32(void *p, vint v)
{
    store32(p, v);
}

INLINE void stream16(void *p, vraw16 v)
{
    store16(p, v);
}

INLINE void stream_bytes(void *p, vbyte v)
{
    store_bytes(p, v);
}

INLINE void stream_halves(void *p, vhalf v)
{
    store_halves(p, v);
}

INLINE void end_streams(void)
{
}

/* ------------------------------------------------------------------------------------------------ 32-bit lanes */

INLINE vfloat splat_f32(float x)
{
    return vdupq_n_f32(x);
}

INLINE vfloat add_f32(vfloat a, vfloat b)
{
    return vaddq_f32(a, b);
}

INLINE vfloat sub_f32(vfloat a, vfloat b)
{
    return vsubq_f32(a, b);
}

INLINE vfloat mul_f32(vfloat a, vfloat b)
{
    return vmulq_f32(a, b);
}

INLINE vfloat div_f32(vfloat a, vfloat b)
{
    return vdivq_f32(a, b);
}

INLINE vfloat fma_f32(vfloat a, vfloat b, vfloat c)
{
    return vfmaq_f32(c, a, b);
}

INLINE vfloat fnma_f32(vfloat a, vfloat b, vfloat c)
{
    return vfmsq_f32(c, a, b);
}

INLINE vfloat min_f32(vfloat a, vfloat b)
{
    return vminq_f32(a, b);
}

INLINE vfloat max_f32(vfloat a, vfloat b)
{
    return vmaxq_f32(a, b);
}

INLINE vint splat_s32(int32_t x)
{
    return vdupq_n_s32(x);
}

INLINE vint add_s32(vint a, vint b)
{
    return vaddq_s32(a, b);
}

INLINE vint sub_s32(vint a, vint b)
{
    return vsubq_s32(a, b);
}

INLINE vint min_s32(vint a, vint b)
{
    return vminq_s32(a, b);
}

INLINE vint max_s32(vint a, vint b)
{
    return vmaxq_s32(a, b);
}

INLINE vint and_s32(vint a, vint b)
{
    return vandq_s32(a, b);
}

INLINE vint or_s32(vint a, vint b)
{
    return vorrq_s32(a, b);
}

INLINE vint xor_s32(vint a, vint b)
{
    return veorq_s32(a, b);
}

INLINE vint mul_s32(vint a, vint b)
{
    return vmulq_s32(a, b);
}

INLINE vint shift_left_8(vint a)
{
    return vshlq_n_s32(a, 8);
}

INLINE vint shift_left_16(vint a)
{
    return vshlq_n_s32(a, 16);
}

INLINE vint shift_right_16(vint a)
{
    return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), 16));
}

INLINE vint as_s32(vfloat a)
{
    return vreinterpretq_s32_f32(a);
}

INLINE vfloat as_f32(vint a)
{
    return vreinterpretq_f32_s32(a);
}

INLINE vfloat to_f32(vint a)
{
    return vcvtq_f32_s32(a);
}

/* The conversion saturates but gives 0 for NaN, which results of arithmetic are quiet, so that maximum drops it. */
INLINE vint round_s32(vfloat a)
{
    return vcvtnq_s32_f32(vmaxnmq_f32(a, splat_f32(-0x1p21f)));
}

INLINE vint round_full_s32(vfloat a)
{
    return vcvtnq_s32_f32(vmaxnmq_f32(a, splat_f32(-0x1p31f)));
}

INLINE vmask less_f32(vfloat a, vfloat b)
{
    return vcltq_f32(a, b);
}

INLINE vmask less_s32(vint a, vint b)
{
    return vcltq_s32(a, b);
}

INLINE vmask equal_s32(vint a, vint b)
{
    return vceqq_s32(a, b);
}

INLINE vmask both(vmask a, vmask b)
{
    return vandq_u32(a, b);
}

INLINE vfloat select_f32(vmask mask, vfloat a, vfloat b)
{
    return vbslq_f32(mask, a, b);
}

INLINE vint select_s32(vmask mask, vint a, vint b)
{
    return vbslq_s32(mask, a, b);
}

INLINE int count_lanes(vmask mask)
{
    return -vaddvq_s32(vreinterpretq_s32_u32(mask));
}

/* Lanes to bytes, each of which keeps its bit; then the bytes of either half add up. */
INLINE uint64_t quad_bits(const vmask *masks)
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    const uint16x8_t a = vmovn_high_u32(vmovn_u32(masks[0]), masks[1]), b = vmovn_high_u32(vmovn_u32(masks[2]), masks[3]);
    const uint8x16_t bytes = vandq_u8(vmovn_high_u16(vmovn_u16(a), b), bit);
    return vaddv_u8(vget_low_u8(bytes)) | (uint64_t)vaddv_u8(vget_high_u8(bytes)) << 8;
}

INLINE vmask bits_lanes(uint32_t bits)
{
    const uint32_t lanes[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lanes));
}

INLINE vmask is_nan_lane(vfloat a)
{
    return vmvnq_u32(vceqq_f32(a, a));
}

INLINE bool any_nan(vfloat a)
{
    return vminvq_u32(vceqq_f32(a, a)) == 0;
}

/* Its four bytes. */
INLINE uint32_t lane_index(uint32_t lane)
{
    return 0x03020100u + 0x04040404u * lane;
}

/* Lanes of the first four words of a table. */
INLINE vint permute4(const void *table, vint index)
{
    return vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_s32(index)));
}

INLINE float least_lane(vfloat a)
{
    return vminvq_f32(a);
}

INLINE float greatest_lane(vfloat a)
{
    return vmaxvq_f32(a);
}

/* ------------------------------------------------------------------------------------------------ narrow types */

INLINE vfloat widen_f16(vraw16 a)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(a));
}

INLINE vraw16 narrow_f16(vfloat a)
{
    return vreinterpret_u16_f16(vcvt_f16_f32(a));
}

INLINE vint widen_u16(vraw16 a)
{
    return vreinterpretq_s32_u32(vmovl_u16(a));
}

INLINE vint widen_s16(vraw16 a)
{
    return vmovl_s16(vreinterpret_s16_u16(a));
}

INLINE vint widen_u8(vraw8 a)
{
    return widen_u16(vget_low_u16(vmovl_u8(a)));
}

INLINE vint widen_s8(vraw8 a)
{
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(a))));
}

INLINE vraw16 narrow_u16(vint a)
{
    return vmovn_u32(vreinterpretq_u32_s32(a));
}

INLINE vhalf pack_s16(vint a, vint b)
{
    return vqmovn_high_s32(vqmovn_s32(a), b);
}

INLINE vhalf upper_halves(vint a, vint b)
{
    return vuzp2q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
}

INLINE vhalf keep_halves(vmask a, vmask b, vhalf v)
{
    return vandq_s16(vreinterpretq_s16_u16(vmovn_high_u32(vmovn_u32(a), b)), v);
}

INLINE vhalf keep_half_bits(uint32_t bits, vhalf v)
{
    const uint16_t lanes[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vandq_s16(vreinterpretq_s16_u16(vtstq_u16(vdupq_n_u16((uint16_t)bits), vld1q_u16(lanes))), v);
}

INLINE vhalf splat_16(int32_t x)
{
    return vdupq_n_s16((int16_t)x);
}

INLINE vhalf add_saturated_s16(vhalf a, vhalf b)
{
    return vqaddq_s16(a, b);
}

INLINE vhalf clamp_s16(vhalf a, vhalf lo, vhalf hi)
{
    return vminq_s16(vmaxq_s16(a, lo), hi);
}

INLINE vhalf xor_halves(vhalf a, vhalf b)
{
    return veorq_s16(a, b);
}

INLINE vhalf count_equal_16(vhalf counts, vhalf a, vhalf b)
{
    return vsubq_s16(counts, vreinterpretq_s16_u16(vceqq_s16(a, b)));
}

INLINE vint count_equal_32(vint counts, vint a, vint b)
{
    return vsubq_s32(counts, vreinterpretq_s32_u32(vceqq_s32(a, b)));
}

INLINE int32_t sum_32(vint a)
{
    return vaddvq_s32(a);
}

INLINE int32_t sum_16(vhalf a)
{
    return vaddlvq_s16(a);
}

INLINE vhalf ordered_halves(vhalf a)
{
    return a;
}

INLINE vbyte pack_s8(vhalf a, vhalf b)
{
    return vqmovn_high_s16(vqmovn_s16(a), b);
}

INLINE vbyte splat_8(int32_t x)
{
    return vdupq_n_s8((int8_t)x);
}

INLINE vbyte clamp_s8(vbyte a, vbyte lo, vbyte hi)
{
    return vminq_s8(vmaxq_s8(a, lo), hi);
}

INLINE vbyte xor_bytes(vbyte a, vbyte b)
{
    return veorq_s8(a, b);
}

INLINE vbyte ordered_bytes(vbyte a)
{
    return a;
}

/* ------------------------------------------------------------------------------------------------ 4-bit values */

/* Pairs of bytes, the second's low nibble shifted above the first's. */
INLINE vbyte join_nibbles(const void *p)
{
    const uint8x16x2_t pairs = vld2q_u8(p);
    return vreinterpretq_s8_u8(vsliq_n_u8(vandq_u8(pairs.val[0], vdupq_n_u8(15)), pairs.val[1], 4));
}

/* 2 * WIDTH bytes, each split into two. */
INLINE vbyte split_nibbles(const void *p)
{
    const uint8x8_t bytes = vld1_u8(p), low = vand_u8(bytes, vdup_n_u8(15)), high = vshr_n_u8(bytes, 4);
    return vreinterpretq_s8_u8(vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)));
}

INLINE vbyte extend_nibbles(vbyte a)
{
    return vsubq_s8(veorq_s8(a, splat_8(8)), splat_8(8));
}

/* ------------------------------------------------------------------------------------------------ 64-bit lanes */

INLINE vdouble low_f64(vfloat a)
{
    return vcvt_f64_f32(vget_low_f32(a));
}

INLINE vdouble high_f64(vfloat a)
{
    return vcvt_high_f64_f32(a);
}

INLINE vdouble zero_f64(void)
{
    return vdupq_n_f64(0.0);
}

INLINE vdouble add_f64(vdouble a, vdouble b)
{
    return vaddq_f64(a, b);
}

INLINE vdouble fma_f64(vdouble a, vdouble b, vdouble c)
{
    return vfmaq_f64(c, a, b);
}

INLINE vdouble add_unless_f64(vmask mask, int half, vdouble a, vdouble sum)
{
    const int32x4_t lanes = vreinterpretq_s32_u32(mask);
    const int64x2_t wide = half ? vmovl_high_s32(lanes) : vmovl_s32(vget_low_s32(lanes));
    return vaddq_f64(vreinterpretq_f64_s64(vbicq_s64(vreinterpretq_s64_f64(a), wide)), sum);
}

INLINE double sum_f64(vdouble a)
{
    return vaddvq_f64(a);
}

INLINE vdouble load_f64(const void *p)
{
    return vreinterpretq_f64_u8(vld1q_u8(p));
}

INLINE void store_f64(double *p, vdouble a)
{
    vst1q_f64(p, a);
}

INLINE vfloat nearest_f64(const void *p)
{
    return vcvt_high_f32_f64(vcvt_f32_f64(load_f64(p)), load_f64((const char *)p + 16));
}

INLINE vfloat odd_f64(const void *p)
{
    return vcvtx_high_f32_f64(vcvtx_f32_f64(load_f64(p)), load_f64((const char *)p + 16));
}

/* ------------------------------------------------------------------------------------------------ shuffles */

INLINE vfloat zip_pairs(vfloat a, vfloat b, bool high)
{
    const float64x2_t c = vreinterpretq_f64_f32(a), d = vreinterpretq_f64_f32(b);
    return vreinterpretq_f32_f64(high ? vzip2q_f64(c, d) : vzip1q_f64(c, d));
}

/* Pairs that halve a reduction: after step 1 and 2 over 4 vectors lane i belongs to vector i. */
INLINE vfloat fold_low(int step, vfloat a, vfloat b)
{
    return step == 1 ? vzip1q_f32(a, b) : zip_pairs(a, b, false);
}

INLINE vfloat fold_high(int step, vfloat a, vfloat b)
{
    return step == 1 ? vzip2q_f32(a, b) : zip_pairs(a, b, true);
}

/* 16 bytes from each of WIDTH / 4 places. */
INLINE vint load_lanes(const char *p, int64_t step_bytes)
{
    (void)step_bytes;
    return load32(p);
}

/* For 2 * WIDTH bytes: words L and L + WIDTH / 4 in the lower half of every 16 bytes L. */
INLINE vint spread_words(vraw16 a)
{
    return vreinterpretq_s32_u16(vcombine_u16(a, a));
}

INLINE vint zip_low(int size_bytes, vint a, vint b)
{
    switch (size_bytes) {
    case 1: return vreinterpretq_s32_s8(vzip1q_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
    case 2: return vreinterpretq_s32_s16(vzip1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
    case 4: return vzip1q_s32(a, b);
    default: return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
    }
}

INLINE vint zip_high(int size_bytes, vint a, vint b)
{
    switch (size_bytes) {
    case 1: return vreinterpretq_s32_s8(vzip2q_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
    case 2: return vreinterpretq_s32_s16(vzip2q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
    case 4: return vzip2q_s32(a, b);
    default: return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
    }
}

#endif
