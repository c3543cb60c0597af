/* SPDX-License-Identifier: MIT */
/*
 * Operand 0 to operand 1: bits as they are, or one float type to another, rounded once, ties to even; a NaN stays one. All in integers but for the
 * device's own f16 conversions, so no denormal is lost.
 *
 * convert_quads  4 quads an item; operands, offsets and bases as for quantize_quads
 * convert_any    4 pairs an item; any strides
 *
 * CLQ_SRC  F32, F16, BF16, F64; or as CLQ_DST: U8, U16, S32, S64 for any elements of 1, 2, 4, 8 bytes, U4 for those of 4 bits
 * CLQ_DST  F32, F16, BF16; or as CLQ_SRC
 */
#ifndef CLQ_SRC
#define CLQ_SRC 4
#endif
#ifndef CLQ_DST
#define CLQ_DST 2
#endif

/* The bits of an f32 from those of an f64: to nearest, or to odd: a result that is not exact gets an odd mantissa, so that a second rounding to at
   most 22 bits is the only one that counts (Boldo and Melquiond, "When double rounding is odd", 2004). */
INLINE uint narrow_f64(ulong bits, int to_odd)
{
    const uint sign = (uint)(bits >> 32) & 0x80000000u;
    const ulong magnitude = bits & 0x7fffffffffffffffUL;
    const int exponent = (int)(magnitude >> 52);
    if (magnitude > 0x7ff0000000000000UL) return sign | 0x7fc00000u;
    if (exponent >= 1023 + 128) return sign | (to_odd && exponent < 2047 ? 0x7f7fffffu : 0x7f800000u);
    /* 2^-126 has the exponent 897. Below, the result is in units of 2^-149; an f64 denormal only leaves a remainder. */
    const ulong mantissa = (magnitude & 0xfffffffffffffUL) | (exponent > 0 ? 0x10000000000000UL : 0UL);
    const int shift = exponent >= 897 ? 29 : min(29 + 897 - exponent, 60);
    const ulong rest = mantissa & ((1UL << shift) - 1UL), half_unit = 1UL << (shift - 1);
    uint result = (uint)(mantissa >> shift) + (exponent >= 897 ? (uint)(exponent - 897) << 23 : 0u);
    if (to_odd)
        result |= rest != 0;
    else
        result += rest > half_unit || (rest == half_unit && (result & 1u)); /* the carry may raise the exponent, to infinity too */
    return sign | result;
}

/* The bits of the result from those of an element. */
INLINE ulong convert(ulong bits)
{
    uint wide = (uint)bits;
    if (CLQ_SRC == CLQ_DST) return bits;
    if (CLQ_SRC == F64) wide = narrow_f64(bits, CLQ_DST != F32);
    if (CLQ_SRC == F16) wide = as_uint(widen((ushort)bits, F16));
    if (CLQ_SRC == BF16) wide = (uint)bits << 16;
    return CLQ_DST == F32 ? wide : narrow(as_float(wide), CLQ_DST);
}

/* Of an element; 4-bit ones go through other code. */
INLINE int bytes(int type)
{
    if (type == U8 || IS_4BIT(type)) return 1;
    if (type == F16 || type == BF16 || type == U16) return 2;
    return type == F32 || type == S32 ? 4 : 8;
}

INLINE ulong load_bits(__global const uchar *src, long at)
{
    if (IS_4BIT(CLQ_SRC)) return (ulong)load_int(src, at, U4);
    switch (bytes(CLQ_SRC)) {
    case 1: return src[at];
    case 2: return ((__global const ushort *)src)[at];
    case 4: return ((__global const uint *)src)[at];
    default: return ((__global const ulong *)src)[at];
    }
}

INLINE ulong4 load_bits4(__global const uchar *src, long at)
{
    if (IS_4BIT(CLQ_SRC)) return convert_ulong4(load_int4(src, at, U4));
    switch (bytes(CLQ_SRC)) {
    case 1: return convert_ulong4(as_uchar4(*(__global const uint *)(src + at)));
    case 2: return convert_ulong4(as_ushort4(*(__global const uint2 *)(src + 2 * at)));
    case 4: return convert_ulong4(*(__global const uint4 *)(src + 4 * at));
    default: return (ulong4)(*(__global const ulong2 *)(src + 8 * at), *(__global const ulong2 *)(src + 8 * at + 16));
    }
}

/* Not for 4-bit elements. */
INLINE void store_bits(__global uchar *dst, long at, ulong bits)
{
    if (bytes(CLQ_DST) == 8)
        ((__global ulong *)dst)[at] = bits;
    else
        store_int(dst, at, (int)bits, bytes(CLQ_DST) == 1 ? U8 : bytes(CLQ_DST) == 2 ? U16 : S32);
}

INLINE void store_bits4(__global uchar *dst, long at, ulong4 bits)
{
    if (bytes(CLQ_DST) == 8) {
        *(__global ulong2 *)(dst + 8 * at) = bits.xy;
        *(__global ulong2 *)(dst + 8 * at + 16) = bits.zw;
    } else {
        store_int4(dst, at, convert_int4(bits), IS_4BIT(CLQ_DST) ? U4 : bytes(CLQ_DST) == 1 ? U8 : bytes(CLQ_DST) == 2 ? U16 : S32);
    }
}

/* The elements from `flat` on to `end`, 4-bit ones from an even index on and up to 2. */
INLINE void convert_pair(__global const struct clql_job *job, __global const uchar *src, __global uchar *dst, long flat, long end)
{
    if (IS_4BIT(CLQ_DST)) {
        const struct place place = locate(job, flat);
        const ulong second = flat + 1 < end ? load_bits(src, place.at[0] + 1) : 0;
        store_nibbles(dst, place.at[1], (int)load_bits(src, place.at[0]), (int)second);
        return;
    }
    for (; flat < end; ++flat) {
        const struct place place = locate(job, flat);
        store_bits(dst, place.at[1], convert(load_bits(src, place.at[0])));
    }
}

INLINE ulong4 convert4(ulong4 bits)
{
    return (ulong4)(convert(bits.x), convert(bits.y), convert(bits.z), convert(bits.w));
}

KERNEL void convert_quads(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *src, __global uchar *dst)
{
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_QUAD);
    const int plain = is_plain(job, &tile);
    const long src_offset = job->offset[0], dst_offset = job->offset[1];

    FOR_ROUNDS(round, tile, CLQL_QUAD)
    {
        if (plain) {
            ulong4 bits[CLQL_UNITS];
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) bits[k] = load_bits4(src, src_offset + flat);
            }
#pragma unroll
            for (int k = 0; k < CLQL_UNITS; ++k) {
                const long flat = find_unit(round, k, CLQL_QUAD);
                if (flat + CLQL_QUAD <= tile.end) store_bits4(dst, dst_offset + flat, convert4(bits[k]));
            }
        }
#pragma unroll 1
        for (int k = 0; k < CLQL_UNITS; ++k) {
            const long flat = find_unit(round, k, CLQL_QUAD), end = min(tile.end, flat + CLQL_QUAD);
            if (flat + CLQL_QUAD <= tile.end) {
                if (plain) continue;
                const struct place place = locate(job, flat);
                store_bits4(dst, place.at[1], convert4(load_bits4(src, place.at[0])));
            } else {
                for (long pair = flat; pair < end; pair += CLQL_PAIR)
                    convert_pair(job, src, dst, pair, min(end, pair + CLQL_PAIR));
            }
        }
    }
}

KERNEL void convert_any(__global const uchar *restrict args, ulong jobs_offset, uint n_jobs, __global const uchar *src, __global uchar *dst)
{
    __global const struct clql_job *job = FIND_JOB(clql_job);
    const struct tile tile = find_tile(job, CLQL_PAIR);
    FOR_ROUNDS(round, tile, CLQL_PAIR)
    for (int k = 0; k < CLQL_UNITS; ++k) {
        const long flat = find_unit(round, k, CLQL_PAIR);
        if (flat < tile.end) convert_pair(job, src, dst, flat, min(tile.end, flat + CLQL_PAIR));
    }
}
