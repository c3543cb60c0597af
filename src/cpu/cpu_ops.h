/* SPDX-License-Identifier: MIT */
/*
 * Tables of CPU kernels, one for each instruction set, best first. The scalar table defines every result; the others list what they
 * do faster and must give the same bits. A slot left NULL means that of the next table.
 *
 * Kernels never allocate, never fail, need no alignment of any pointer, touch exactly the elements they are given, and may assume
 * round-to-nearest without flushing of denormals. Parameters lie in the bounds of numerics: s in [2^-100, 2^100], z in [qmin, qmax].
 */
#ifndef CLQ_CPU_OPS_H
#define CLQ_CPU_OPS_H

#include "backend.h"
#include "cpu/gemm.h"

/* Kernels are templates: functions of types and ways that are constants where they are called, inlined always. Not where a sanitizer watches: what comes
   of them would take minutes to compile, and is the same but for its speed. */
#ifdef CLQ_SANITIZED
#define INLINE static inline __attribute__((unused))
#else
#define INLINE static inline __attribute__((always_inline))
#endif

/* Float types and integer types as indices of a table. */
enum { CLQ_FLOAT_F32, CLQ_FLOAT_F16, CLQ_FLOAT_BF16, CLQ_FLOAT_TYPES };
enum { CLQ_INT_S8, CLQ_INT_U8, CLQ_INT_S16, CLQ_INT_U16, CLQ_INT_S32, CLQ_INT_TYPES };

/*
 * A block of rows x cols elements, adjacent along a row. The parameters of the element (row, col) are those with the index
 * row * param_pitch + col / group: group >= cols means one for the row, group 1 one for each element.
 */
struct clq_span {
    const void *src;
    void *dst; /* not used by minmax */
    const void *x;                /* fake_backward, learnable_backward: third operand */
    uint8_t *mask;                /* fake_quantize: NULL, or written; mask_backward: read. Element (row, col) in bit col % 8 of byte col / 8 of the row's */
    int64_t rows, cols;
    int64_t src_pitch, dst_pitch, x_pitch; /* elements from a row to the next; any sign */
    int64_t mask_pitch;           /* bytes from a row to the next: (cols + 7) / 8 or more. Spare bits of a row are written as 0 */
    int64_t group;                /* 1 or more */
    int64_t param_pitch;          /* 0 or more */
    const float *scale;           /* aligned to float */
    const int32_t *zero_point;    /* NULL: fixed_zero_point for all */
    int32_t fixed_zero_point;
    const int32_t *source_zero_point; /* requantize: that of src, indexed as scale, which holds the multipliers; zero_point is there then */
    int32_t qmin, qmax;           /* effective range; not used for s32, nor by dequantize */
    bool reciprocal;              /* d = x * fl(1 / s) instead of x / s; not used by dequantize, requantize */
    int64_t *counts;              /* quantize, fake_quantize: NULL, or [3] += NaN, infinite, finite clipped; minmax: [2] += NaN, infinite */
    float *lo, *hi;               /* minmax: indexed as scale */
    double *slopes, *outside;     /* learnable_backward: += sums, indexed as scale; outside may be NULL */
    bool streams;                 /* a hint: what is read and written does not fit the caches, and dst lies nowhere near src and x */
};

typedef void (*clq_span_fn)(const struct clq_span *span);
typedef void (*clq_cast_fn)(const void *src, void *dst, int64_t n, bool streams); /* streams: as that of a span */
typedef void (*clq_unpack_fn)(const void *src, void *dst, int64_t n);

struct clq_cpu_ops {
    const char *name;

    /* dst[i] = quantized src[i]; see quant_math.h. s8 and u8 share nothing but the width. */
    clq_span_fn quantize[CLQ_FLOAT_TYPES][CLQ_INT_TYPES];

    /* dst[i] = dequantized src[i], narrowed to the float type. */
    clq_span_fn dequantize[CLQ_INT_TYPES][CLQ_FLOAT_TYPES];

    /* lo[p] = min(lo[p], finite x), hi[p] likewise, over the elements with parameter p. Zeros and denormals are taken as they come (the
       driver flushes the result); NaN and infinities are skipped and counted. */
    clq_span_fn minmax[CLQ_FLOAT_TYPES];

    /* s8, u8 or s32 (the others are NULL) to s8 and u8: clqm_requantize(). In place if src is dst. */
    clq_span_fn requantize[CLQ_INT_TYPES][2];

    /* dst[i] = dequantized quantized src[i], of the same type; mask bits are 1 where clqm_inside(). In place if src is dst. */
    clq_span_fn fake_quantize[CLQ_FLOAT_TYPES];

    /* dst[i] = inside ? src[i] : +0, the bits of src; by x and the parameters, or by the mask for elements of 2 and 4 bytes. In place if src is dst. */
    clq_span_fn fake_backward[CLQ_FLOAT_TYPES];
    clq_span_fn mask_backward[2];

    /* The same by x, and for the elements with parameter p: slopes[p] += sum of src[i] * clqm_slope(), outside[p] += sum of src[i] where x is
       neither inside nor NaN. Sums of one call in f64 from products that are exact or rounded to f64; their order depends on the span's rows, cols and
       group alone, never on its pitches or on where things lie. */
    clq_span_fn learnable_backward[CLQ_FLOAT_TYPES];

    clq_cast_fn widen[CLQ_FLOAT_TYPES];      /* f16, bf16 to f32; [CLQ_FLOAT_F32] is NULL */
    clq_cast_fn narrow[CLQ_FLOAT_TYPES];     /* f32 to f16, bf16; [CLQ_FLOAT_F32] is NULL */
    clq_cast_fn narrow_f64[CLQ_FLOAT_TYPES]; /* f64 to each, rounded once */

    /* n 4-bit values as bytes (the low nibble counts) to (n + 1) / 2 bytes, the first in the low nibble, a spare nibble 0; and back. */
    void (*pack4)(const uint8_t *src, uint8_t *dst, int64_t n);
    clq_unpack_fn unpack_s4, unpack_u4;

    /* Adds n pairs of f32. The order of the sums depends on n alone. */
    void (*error_sums)(const void *x, const void *y, int64_t n, struct clq_error_sums *sums);

    /* scale[i] and, unless it is NULL, zero_point[i] from lo[i] <= hi[i], all finite. */
    void (*qparams_from_range)(const float *lo, const float *hi, int64_t n, const struct clq_range_rule *rule, float *scale,
                               int32_t *zero_point);

    /* Copies rows x cols elements of 1, 2, 4 or 8 bytes (index log2) between two strided arrays; strides in elements, any sign. */
    void (*copy2d[4])(const void *src, int64_t src_row, int64_t src_col, void *dst, int64_t dst_row, int64_t dst_col, int64_t rows,
                      int64_t cols);

    /* The integer matrix product. */
    const struct clq_gemm_kernels *gemm;
};

/* What a machine offers, and a list of the tables of this build, best first, scalar last. */
struct clq_cpu_table {
    const struct clq_cpu_ops *ops;
    bool (*has_instructions)(void);
    bool (*is_allowed)(void);   /* by the operating system */
    bool (*is_worth_it)(void);
};

extern const struct clq_cpu_table clq_cpu_tables[];
extern const int32_t clq_cpu_table_count;

/* The complete table made of `first` and those after it. */
void clq_cpu_ops_merge(const struct clq_cpu_table *first, struct clq_cpu_ops *ops);

extern const struct clq_cpu_ops clq_cpu_scalar, clq_cpu_avx2, clq_cpu_avxvnni, clq_cpu_avx512, clq_cpu_avx512vnni, clq_cpu_amx, clq_cpu_neon,
    clq_cpu_neondot;

#endif
