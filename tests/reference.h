/* SPDX-License-Identifier: MIT */
/*
 * An independent account of what every operation must give, for tests: written from the definition in clquant.h and not from
 * quant_math.h. It does no floating-point arithmetic but that of the error statistics: numbers are integers times powers of two,
 * so it works in any rounding mode, whatever the compiler and the machine do. Tensors are walked one multi-index at a time.
 */
#ifndef CLQ_TESTS_REFERENCE_H
#define CLQ_TESTS_REFERENCE_H

#include <clquant.h>
#include <stdbool.h>

/* ---- numbers */

/* (-1)^negative * (mantissa + a little if sticky) * 2^exponent. */
struct ref_number {
    bool negative, sticky;
    uint64_t mantissa;
    int32_t exponent;
};

enum ref_class { REF_FINITE, REF_INFINITE, REF_NAN };

/* The bits of a float type to a number and back, rounded to nearest, ties to even. */
enum ref_class ref_decode(clq_dtype dtype, uint64_t bits, struct ref_number *number);
uint64_t ref_encode(clq_dtype dtype, struct ref_number number);

/* From one float type to another, rounded once; a NaN becomes some NaN. */
uint64_t ref_cast(clq_dtype from, clq_dtype to, uint64_t bits);

bool ref_is_nan(clq_dtype dtype, uint64_t bits);

/* Correctly rounded x / s, x * s and x - y on the bits of f32. */
uint32_t ref_divide(uint32_t x, uint32_t s);
uint32_t ref_multiply(uint32_t x, uint32_t s);
uint32_t ref_subtract(uint32_t x, uint32_t y);

/* Correctly rounded x + y, of any f32. */
uint32_t ref_add(uint32_t x, uint32_t y);

/* A finite f32 to the nearest integer, ties to even; beyond +-2^40 it stays at that. */
int64_t ref_round(uint32_t x);

/* ---- schemes */

/* What a scheme comes to. */
struct ref_scheme {
    int32_t qmin, qmax;      /* its own range */
    int32_t zero_point;      /* fixed one of a symmetric scheme; 0 clamped into the range otherwise */
    int32_t reach;           /* P */
    int32_t lowest, highest; /* effective range at the fixed zero point; with another z of an asymmetric scheme: qmin, qmax */
    bool symmetric;
};

void ref_scheme_resolve(const clq_scheme *scheme, struct ref_scheme *resolved);

/* Range of an integer type. */
void ref_type_range(clq_dtype dtype, int64_t *least, int64_t *most);

/* ---- elements */

enum ref_kind { REF_INSIDE, REF_KIND_NAN, REF_KIND_INFINITE, REF_CLIPPED };

uint32_t ref_quotient(uint32_t x, uint32_t s, bool reciprocal);
int32_t ref_quantize_bits(uint32_t x, uint32_t s, bool reciprocal, int64_t z, int64_t lowest, int64_t highest,
                          enum ref_kind *kind);
uint32_t ref_dequantize_bits(int64_t q, uint32_t s, int64_t z);

/* What x - zx is multiplied by to be requantized. */
uint32_t ref_multiplier(uint32_t source_scale, uint32_t target_scale);

/* An end of a moving average after another one, by the constant c. Both are finite and no denormals. */
uint32_t ref_moving_average(uint32_t average, uint32_t next, uint32_t c);

/* Returns false if the range is refused. */
bool ref_from_range(uint32_t lo, uint32_t hi, const clq_scheme *scheme, uint32_t *scale, int32_t *zero_point);

/* ---- tensors in host memory */

int64_t ref_elements(int32_t rank, const int64_t *shape);

/* Steps a row-major multi-index; false after the last. Start from zeros, and only if there are elements. */
bool ref_next(int32_t rank, const int64_t *shape, int64_t *index);

/* The element at a multi-index: the bits of a float, the value of an integer. */
uint64_t ref_get(const clq_tensor *tensor, const int64_t *index);
void ref_set(const clq_tensor *tensor, const int64_t *index, uint64_t value);

/* Shape of the parameters. */
void ref_scheme_shape(const clq_scheme *scheme, int32_t rank, const int64_t *shape, int32_t *param_rank, int64_t *param_shape);

/* Scale and zero point of an element. */
void ref_params_at(const clq_qparams *params, const struct ref_scheme *resolved, int32_t rank, const int64_t *index,
                   uint32_t *scale, int64_t *zero_point);

/* The operations. The parameters are right, the outputs host views; counts receives three numbers and may be NULL. */
void ref_quantize(const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, int64_t *counts);
void ref_dequantize(const clq_tensor *q, const clq_qparams *params, const clq_tensor *y);
void ref_minmax(const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo, const clq_tensor *hi, int64_t *counts);
void ref_qparams_from_range(const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params);
void ref_convert(const clq_tensor *src, const clq_tensor *dst);
void ref_requantize(const clq_tensor *x, const clq_qparams *x_params, const clq_qparams *y_params, const clq_tensor *y);

/* `mask` may be NULL. */
void ref_fake_quantize(const clq_tensor *x, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, int64_t *counts);

/* By the mask, or by x and params if it is NULL. */
void ref_backward(const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, const clq_tensor *mask, const clq_tensor *dx);

/* A sum in long double, one term after another, and that of the terms' magnitudes. */
struct ref_sum {
    long double sum, magnitude;
};

/* The terms of dscale and dzero_point before their common factor; one entry for each parameter, in row-major order. */
void ref_learnable_sums(const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, struct ref_sum *dscale, struct ref_sum *dzero_point);

/* lo and hi, which hold an average, with the ranges of x in it. */
void ref_observe(const clq_tensor *x, const clq_scheme *scheme, uint32_t averaging, const clq_tensor *lo, const clq_tensor *hi);

/* The matrix product of 8-bit operands: `b` is there even if it is packed, `c` is a host view. */
void ref_gemm(const clq_gemm_args *args);

/* What becomes of an f32 sum in column `col` of C. */
uint32_t ref_gemm_finish_f32(const clq_gemm_args *args, uint32_t sum, int64_t col);

/* Sums in long double, one after another. */
struct ref_stats {
    int64_t count, nan_count, inf_count, clipped_count;
    long double squared_error, absolute_error, squared_x, squared_y, product;
    uint32_t max_error; /* bits */
};

void ref_error_stats(const clq_tensor *x, const clq_tensor *q, const clq_qparams *params, struct ref_stats *stats);

#endif
