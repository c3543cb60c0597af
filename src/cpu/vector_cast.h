/* SPDX-License-Identifier: MIT */
/* Part of vector_kernels.h: casts between float types, and 4-bit values to bytes and back. */

INLINE void cast_vector(int from, int to, bool streams, const char *src, char *dst)
{
    put_float(to, streams, dst, load_float(from, src));
}

INLINE void cast_part(int from, int to, const char *src, char *dst, int64_t n)
{
    store_float_part(to, dst, load_float_part(from, src, n), n);
}

/* The quads of n elements; returns how many elements they are. */
INLINE int64_t cast_quads(int from, int to, bool streams, const char *src, char *dst, int64_t n)
{
    const int64_t src_bytes = float_bytes(from), dst_bytes = float_bytes(to);
    int64_t i = 0;
    for (; i + QUAD <= n; i += QUAD) {
        if (streams) ask_for(src + i * src_bytes + AHEAD_BYTES, QUAD * src_bytes);
        EACH(v, 4)
            cast_vector(from, to, streams, src + (i + v * WIDTH) * src_bytes, dst + (i + v * WIDTH) * dst_bytes);
    }
    return i;
}

/* Up to `head` elements, less than a quad, come first, so that the others can be streamed. */
INLINE int64_t cast_head(int from, int to, const char *src, char *dst, int64_t head)
{
    for (int64_t i = 0; i < head; i += WIDTH)
        cast_part(from, to, src + i * float_bytes(from), dst + i * float_bytes(to), clq_min_i64(WIDTH, head - i));
    return head;
}

INLINE void cast_floats(int from, int to, const void *src, void *dst, int64_t n, bool streams)
{
    const int64_t src_bytes = float_bytes(from), dst_bytes = float_bytes(to), head = streams ? find_head(dst, dst_bytes, n, 1) : -1;
    const char *p = src;
    char *q = dst;
    int64_t i = 0;
    if (head >= 0) {
        i = cast_head(from, to, p, q, head);
        i += cast_quads(from, to, true, p + i * src_bytes, q + i * dst_bytes, n - i);
        end_streams();
    } else {
        i = cast_quads(from, to, false, p, q, n);
    }
    for (; i + WIDTH <= n; i += WIDTH)
        cast_vector(from, to, false, p + i * src_bytes, q + i * dst_bytes);
    if (i == n) return;
    if (!MASKED_ENDS && n >= WIDTH)
        cast_vector(from, to, false, p + (n - WIDTH) * src_bytes, q + (n - WIDTH) * dst_bytes);
    else
        cast_part(from, to, p + i * src_bytes, q + i * dst_bytes, n - i);
}

/* To f16 and bf16 by way of an f32 rounded to odd: the second rounding is then the only one that counts (Boldo and Melquiond, "When double
   rounding is odd", 2004), as f32 has more than two bits more than either, also where they have denormals. */
INLINE void narrow_vector(int to, bool streams, const char *src, char *dst)
{
    put_float(to, streams, dst, to == CLQ_FLOAT_F32 ? nearest_f64(src) : odd_f64(src));
}

INLINE void narrow_part(int to, const char *src, char *dst, int64_t n)
{
    char last[8 * WIDTH] = {0};
    memcpy(last, src, (size_t)(8 * n));
    store_float_part(to, dst, to == CLQ_FLOAT_F32 ? nearest_f64(last) : odd_f64(last), n);
}

INLINE void narrow_doubles(int to, const void *src, void *dst, int64_t n, bool streams)
{
    const int64_t bytes = float_bytes(to), head = streams ? find_head(dst, bytes, n, 1) : -1;
    const char *p = src;
    char *q = dst;
    int64_t i = 0;
    for (; i < head; i += clq_min_i64(WIDTH, head - i))
        narrow_part(to, p + 8 * i, q + bytes * i, clq_min_i64(WIDTH, head - i));
    for (; head >= 0 && i + WIDTH <= n; i += WIDTH) {
        ask_for(p + 8 * i + AHEAD_BYTES, 8 * WIDTH);
        narrow_vector(to, true, p + 8 * i, q + bytes * i);
    }
    for (; i + WIDTH <= n; i += WIDTH)
        narrow_vector(to, false, p + 8 * i, q + bytes * i);
    if (i < n) narrow_part(to, p + 8 * i, q + bytes * i, n - i);
    if (head >= 0) end_streams();
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
    static void name(const void *src, void *dst, int64_t n, bool streams) { cast_floats(CLQ_FLOAT_##from, CLQ_FLOAT_##to, src, dst, n, streams); }
#define NARROW_F64(name, to) \
    static void name(const void *src, void *dst, int64_t n, bool streams) { narrow_doubles(CLQ_FLOAT_##to, src, dst, n, streams); }

/* clang-format off */
CAST(widen_f16_row, F16, F32) CAST(widen_bf16_row, BF16, F32) CAST(narrow_f16_row, F32, F16) CAST(narrow_bf16_row, F32, BF16)
NARROW_F64(narrow_f64_f32, F32) NARROW_F64(narrow_f64_f16, F16) NARROW_F64(narrow_f64_bf16, BF16)
/* clang-format on */
