/* SPDX-License-Identifier: MIT */
/* Part of vector_kernels.h: casts between float types, and 4-bit values to bytes and back. */

INLINE void cast_vector(int from, int to, const char *src, char *dst)
{
    store_float(to, dst, load_float(from, src));
}

INLINE void cast_floats(int from, int to, const void *src, void *dst, int64_t n)
{
    const int64_t src_bytes = float_bytes(from), dst_bytes = float_bytes(to);
    const char *p = src;
    char *q = dst;
    int64_t i = 0;
    for (; i + QUAD <= n; i += QUAD)
        for (int v = 0; v < 4; ++v)
            cast_vector(from, to, p + (i + v * WIDTH) * src_bytes, q + (i + v * WIDTH) * dst_bytes);
    for (; i + WIDTH <= n; i += WIDTH)
        cast_vector(from, to, p + i * src_bytes, q + i * dst_bytes);
    if (i == n) return;
    if (!MASKED_ENDS && n >= WIDTH)
        cast_vector(from, to, p + (n - WIDTH) * src_bytes, q + (n - WIDTH) * dst_bytes);
    else
        store_float_part(to, q + i * dst_bytes, load_float_part(from, p + i * src_bytes, n - i), n - i);
}

/* To f16 and bf16 by way of an f32 rounded to odd: the second rounding is then the only one that counts (Boldo and Melquiond, "When double
   rounding is odd", 2004), as f32 has more than two bits more than either, also where they have denormals. */
INLINE void narrow_doubles(int to, const void *src, void *dst, int64_t n)
{
    const char *p = src;
    char *q = dst;
    double last[WIDTH] = {0};
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        store_float(to, q + i * float_bytes(to), to == CLQ_FLOAT_F32 ? nearest_f64(p + 8 * i) : odd_f64(p + 8 * i));
    if (i == n) return;
    memcpy(last, p + 8 * i, (size_t)(n - i) * sizeof *last);
    store_float_part(to, q + i * float_bytes(to), to == CLQ_FLOAT_F32 ? nearest_f64(last) : odd_f64(last), n - i);
}

static void pack4(const uint8_t *src, uint8_t *dst, int64_t n)
{
    int64_t i = 0;
    for (; i + 2 * QUAD <= n; i += 2 * QUAD)
        store_bytes(dst + i / 2, join_nibbles(src + i));
    for (; i + 2 <= n; i += 2)
        dst[i / 2] = (uint8_t)((src[i] & 15) | src[i + 1] << 4);
    if (i < n) dst[i / 2] = src[i] & 15;
}

INLINE void unpack4(const void *src, void *dst, int64_t n, bool extend)
{
    const uint8_t *p = src;
    uint8_t *q = dst;
    int64_t i = 0;
    for (; i + QUAD <= n; i += QUAD) {
        const vbyte bytes = split_nibbles(p + i / 2);
        store_bytes(q + i, extend ? extend_nibbles(bytes) : bytes);
    }
    for (; i < n; ++i) {
        const int nibble = p[i / 2] >> i % 2 * 4 & 15;
        q[i] = (uint8_t)(extend ? (nibble ^ 8) - 8 : nibble);
    }
}

static void unpack_s4(const void *src, void *dst, int64_t n)
{
    unpack4(src, dst, n, true);
}

static void unpack_u4(const void *src, void *dst, int64_t n)
{
    unpack4(src, dst, n, false);
}

#define CAST(name, from, to) \
    static void name(const void *src, void *dst, int64_t n) { cast_floats(CLQ_FLOAT_##from, CLQ_FLOAT_##to, src, dst, n); }
#define NARROW_F64(name, to) \
    static void name(const void *src, void *dst, int64_t n) { narrow_doubles(CLQ_FLOAT_##to, src, dst, n); }

/* clang-format off */
CAST(widen_f16_row, F16, F32) CAST(widen_bf16_row, BF16, F32) CAST(narrow_f16_row, F32, F16) CAST(narrow_bf16_row, F32, BF16)
NARROW_F64(narrow_f64_f32, F32) NARROW_F64(narrow_f64_f16, F16) NARROW_F64(narrow_f64_bf16, BF16)
/* clang-format on */
