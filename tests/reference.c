/* SPDX-License-Identifier: MIT */
/* The independent reference: integers only, one element at a time, straight from the definition. */
#include "config.h"

#include "reference.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers */

/* Digits of the significand with the hidden one, exponent of the last place of the subnormals, bits of the exponent field. */
struct format {
    int32_t precision, least_exponent, exponent_bits;
};

static struct format format_of(clq_dtype dtype)
{
    switch (dtype) {
    case CLQ_F32:
        return (struct format){24, -149, 8};
    case CLQ_F16:
        return (struct format){11, -24, 5};
    case CLQ_BF16:
        return (struct format){8, -133, 8};
    default:
        assert(dtype == CLQ_F64);
        return (struct format){53, -1074, 11};
    }
}

static int32_t bit_length(uint64_t value)
{
    int32_t length = 0;
    while (value != 0) {
        value >>= 1;
        length++;
    }
    return length;
}

enum ref_class ref_decode(clq_dtype dtype, uint64_t bits, struct ref_number *number)
{
    const struct format f = format_of(dtype);
    const int32_t stored = f.precision - 1;
    const uint64_t fraction = bits & (((uint64_t)1 << stored) - 1);
    const int32_t biased = (int32_t)(bits >> stored & ((1u << f.exponent_bits) - 1u));

    number->negative = (bits >> (stored + f.exponent_bits) & 1) != 0;
    number->sticky = false;
    number->mantissa = biased == 0 ? fraction : fraction + ((uint64_t)1 << stored);
    number->exponent = f.least_exponent + (biased == 0 ? 0 : biased - 1);
    if (biased != (1 << f.exponent_bits) - 1) return REF_FINITE;
    return fraction == 0 ? REF_INFINITE : REF_NAN;
}

/* The mantissa moved to a higher unit and rounded there, ties to even. */
static uint64_t round_to_unit(struct ref_number number, int32_t unit)
{
    const int32_t shift = unit - number.exponent;
    uint64_t kept, rest, half;

    if (shift <= 0) {
        assert(!number.sticky && (number.mantissa == 0 || bit_length(number.mantissa) - shift <= 63));
        return number.mantissa == 0 ? 0 : number.mantissa << -shift;
    }
    if (shift > 63) return 0; /* callers keep mantissas below 2^62: less than a half */
    kept = number.mantissa >> shift;
    rest = number.mantissa - (kept << shift);
    half = (uint64_t)1 << (shift - 1);
    if (rest > half) return kept + 1;
    if (rest < half) return kept;
    return number.sticky ? kept + 1 : kept + (kept & 1);
}

uint64_t ref_encode(clq_dtype dtype, struct ref_number number)
{
    const struct format f = format_of(dtype);
    const int32_t stored = f.precision - 1;
    const uint64_t sign = (uint64_t)number.negative << (stored + f.exponent_bits), hidden = (uint64_t)1 << stored;
    const int32_t largest = (1 << f.exponent_bits) - 2;
    int32_t unit, biased;
    uint64_t kept;

    if (number.mantissa == 0) return sign;
    assert(number.mantissa < (uint64_t)1 << 62);
    unit = number.exponent + bit_length(number.mantissa) - f.precision;
    if (unit < f.least_exponent) unit = f.least_exponent;
    kept = round_to_unit(number, unit);
    if (kept == hidden << 1) {
        kept = hidden;
        unit++;
    }
    if (kept < hidden) return sign | kept;
    biased = unit - f.least_exponent + 1;
    if (biased > largest) return sign | (uint64_t)(largest + 1) << stored;
    return sign | (uint64_t)biased << stored | (kept - hidden);
}

bool ref_is_nan(clq_dtype dtype, uint64_t bits)
{
    struct ref_number number;
    return ref_decode(dtype, bits, &number) == REF_NAN;
}

static uint64_t infinity_of(clq_dtype dtype, bool negative)
{
    return ref_encode(dtype, (struct ref_number){negative, false, 1, 2000});
}

uint64_t ref_cast(clq_dtype from, clq_dtype to, uint64_t bits)
{
    struct ref_number number;
    const enum ref_class class = ref_decode(from, bits, &number);

    if (from == to) return bits;
    if (class == REF_FINITE) return ref_encode(to, number);
    return infinity_of(to, number.negative) + (class == REF_NAN);
}

#define REF_NAN_BITS 0x7fc00000u

/* Shifts the mantissa up until its highest bit is bit `top`; the value stays. */
static void normalize(struct ref_number *number, int32_t top)
{
    while (number->mantissa >> top == 0) {
        number->mantissa <<= 1;
        number->exponent--;
    }
}

uint32_t ref_divide(uint32_t x, uint32_t s)
{
    struct ref_number a, b, quotient;
    const enum ref_class class = ref_decode(CLQ_F32, x, &a), divisor = ref_decode(CLQ_F32, s, &b);

    assert(divisor == REF_FINITE && b.mantissa != 0);
    (void)divisor;
    if (class == REF_NAN) return REF_NAN_BITS;
    if (class == REF_INFINITE) return (uint32_t)infinity_of(CLQ_F32, a.negative != b.negative);
    if (a.mantissa != 0) normalize(&a, 61); /* at least 38 digits of quotient */
    quotient = (struct ref_number){a.negative != b.negative, a.mantissa % b.mantissa != 0, a.mantissa / b.mantissa,
                                   a.exponent - b.exponent};
    return (uint32_t)ref_encode(CLQ_F32, quotient);
}

uint32_t ref_multiply(uint32_t x, uint32_t s)
{
    struct ref_number a, b;
    const enum ref_class class = ref_decode(CLQ_F32, x, &a), factor = ref_decode(CLQ_F32, s, &b);

    assert(factor == REF_FINITE && b.mantissa != 0);
    (void)factor;
    if (class == REF_NAN) return REF_NAN_BITS;
    if (class == REF_INFINITE) return (uint32_t)infinity_of(CLQ_F32, a.negative != b.negative);
    return (uint32_t)ref_encode(
        CLQ_F32, (struct ref_number){a.negative != b.negative, false, a.mantissa * b.mantissa, a.exponent + b.exponent});
}

/* a + b before any rounding, as far as 24 digits can tell. Both have at most 48 digits. */
static struct ref_number add(struct ref_number a, struct ref_number b)
{
    struct ref_number sum;
    int32_t shift;

    if (a.mantissa == 0 && b.mantissa == 0) return (struct ref_number){a.negative && b.negative, false, 0, 0};
    if (b.mantissa == 0) return a;
    if (a.mantissa == 0) return b;
    normalize(&a, 60);
    normalize(&b, 60);
    if (b.exponent > a.exponent || (b.exponent == a.exponent && b.mantissa > a.mantissa)) {
        const struct ref_number larger = b;
        b = a;
        a = larger;
    }
    shift = a.exponent - b.exponent;
    sum = a;
    if (shift > 60) {
        b.mantissa = 0;
        sum.sticky = true;
    } else {
        sum.sticky = (b.mantissa & (((uint64_t)1 << shift) - 1)) != 0;
        b.mantissa >>= shift;
    }
    if (a.negative == b.negative) {
        sum.mantissa += b.mantissa;
    } else {
        sum.mantissa -= b.mantissa + sum.sticky; /* what was cut off takes a little from the last place */
    }
    if (sum.mantissa == 0) sum.negative = false;
    return sum;
}

uint32_t ref_subtract(uint32_t x, uint32_t y)
{
    struct ref_number a, b;
    const enum ref_class left = ref_decode(CLQ_F32, x, &a), right = ref_decode(CLQ_F32, y, &b);

    assert(left == REF_FINITE && right == REF_FINITE);
    (void)left;
    (void)right;
    b.negative = !b.negative;
    return (uint32_t)ref_encode(CLQ_F32, add(a, b));
}

uint32_t ref_add(uint32_t x, uint32_t y)
{
    struct ref_number a, b;
    const enum ref_class left = ref_decode(CLQ_F32, x, &a), right = ref_decode(CLQ_F32, y, &b);

    if (left == REF_NAN || right == REF_NAN) return REF_NAN_BITS;
    if (left == REF_INFINITE && right == REF_INFINITE && a.negative != b.negative) return REF_NAN_BITS;
    if (left == REF_INFINITE) return x;
    if (right == REF_INFINITE) return y;
    return (uint32_t)ref_encode(CLQ_F32, add(a, b));
}

int64_t ref_round(uint32_t x)
{
    const int64_t limit = (int64_t)1 << 40;
    struct ref_number number;
    int64_t magnitude;

    if (ref_decode(CLQ_F32, x, &number) != REF_FINITE || bit_length(number.mantissa) + number.exponent > 40)
        magnitude = limit;
    else
        magnitude = (int64_t)round_to_unit(number, 0);
    return number.negative ? -magnitude : magnitude;
}

/* ---- schemes */

void ref_type_range(clq_dtype dtype, int64_t *least, int64_t *most)
{
    static const struct {
        clq_dtype dtype;
        int64_t least, most;
    } types[] = {{CLQ_S4, -8, 7},
                 {CLQ_U4, 0, 15},
                 {CLQ_S8, -128, 127},
                 {CLQ_U8, 0, 255},
                 {CLQ_U16, 0, 65535},
                 {CLQ_S16, -32768, 32767},
                 {CLQ_S32, INT32_MIN, INT32_MAX}};

    *least = *most = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].dtype != dtype) continue;
        *least = types[i].least;
        *most = types[i].most;
    }
}

void ref_scheme_resolve(const clq_scheme *scheme, struct ref_scheme *resolved)
{
    int64_t least, most, below, above;

    ref_type_range(scheme->dtype, &least, &most);
    if (scheme->qmin != 0 || scheme->qmax != 0) {
        least = scheme->qmin;
        most = scheme->qmax;
    }
    *resolved =
        (struct ref_scheme){.qmin = (int32_t)least, .qmax = (int32_t)most, .lowest = (int32_t)least, .highest = (int32_t)most};
    resolved->symmetric = scheme->symmetry != CLQ_ASYMMETRIC && scheme->dtype != CLQ_S32;
    if (scheme->dtype == CLQ_U4 || scheme->dtype == CLQ_U8 || scheme->dtype == CLQ_U16) {
        if (resolved->symmetric) resolved->zero_point = (int32_t)((least + most + 1) / 2);
    }
    if (!resolved->symmetric) {
        if (least > 0) resolved->zero_point = (int32_t)least;
        if (most < 0) resolved->zero_point = (int32_t)most;
        return;
    }
    below = resolved->zero_point - least;
    above = most - resolved->zero_point;
    resolved->reach = (int32_t)(below < above ? below : above);
    if (scheme->symmetry == CLQ_SYMMETRIC_FULL) return;
    resolved->lowest = resolved->zero_point - resolved->reach;
    resolved->highest = resolved->zero_point + resolved->reach;
}

/* ---- elements */

uint32_t ref_quotient(uint32_t x, uint32_t s, bool reciprocal)
{
    const uint32_t one = 0x3f800000u;
    return reciprocal ? ref_multiply(x, ref_divide(one, s)) : ref_divide(x, s);
}

int32_t ref_quantize_bits(uint32_t x, uint32_t s, bool reciprocal, int64_t z, int64_t lowest, int64_t highest,
                          enum ref_kind *kind)
{
    const uint32_t d = ref_quotient(x, s, reciprocal);
    struct ref_number number;
    const enum ref_class class = ref_decode(CLQ_F32, x, &number);
    int64_t steps;

    if (class == REF_NAN) {
        *kind = REF_KIND_NAN;
        return (int32_t)lowest;
    }
    /* The bounds are integers, so clamping the rounded value equals rounding the clamped one. */
    steps = ref_round(d);
    *kind = class == REF_INFINITE ? REF_KIND_INFINITE : steps < lowest - z || steps > highest - z ? REF_CLIPPED : REF_INSIDE;
    if (steps < lowest - z) return (int32_t)lowest;
    if (steps > highest - z) return (int32_t)highest;
    return (int32_t)(steps + z);
}

uint32_t ref_dequantize_bits(int64_t q, uint32_t s, int64_t z)
{
    const int64_t steps = q - z;
    const struct ref_number exact = {steps < 0, false, (uint64_t)(steps < 0 ? -steps : steps), 0};

    return steps == 0 ? 0 : ref_multiply((uint32_t)ref_encode(CLQ_F32, exact), s);
}

static bool is_negative(uint32_t bits)
{
    return bits >> 31 != 0;
}

/* Order of finite f32 by value, through integers that grow with it. */
static int64_t rank_of(uint32_t bits)
{
    const int64_t magnitude = bits & 0x7fffffffu;
    return is_negative(bits) ? -magnitude : magnitude;
}

static uint32_t flush_zero(uint32_t bits)
{
    return (bits & 0x7fffffffu) < 0x00800000u ? 0 : bits;
}

/* At most 24 digits, ties to even, without bounds on the exponent. */
static struct ref_number round_digits(struct ref_number number)
{
    const int32_t excess = bit_length(number.mantissa) - 24;

    if (excess <= 0) return number;
    number.mantissa = round_to_unit((struct ref_number){false, number.sticky, number.mantissa, 0}, excess);
    number.exponent += excess;
    number.sticky = false;
    return number;
}

/* value / (halves / 2) as a scale: rounded, raised to a power of two if asked, clamped to [2^-100, 2^100]. */
static uint32_t scale_of(struct ref_number value, int64_t halves, bool power_of_two)
{
    const uint32_t least = 0x0d800000u, most = 0x71800000u;
    struct ref_number scale;
    int32_t magnitude;

    normalize(&value, 61);
    scale =
        (struct ref_number){false, value.mantissa % (uint64_t)halves != 0, value.mantissa / (uint64_t)halves, value.exponent + 1};
    scale = round_digits(scale);
    if (power_of_two && (scale.mantissa & (scale.mantissa - 1)) != 0) scale.mantissa = (uint64_t)1 << bit_length(scale.mantissa);
    magnitude = bit_length(scale.mantissa) - 1 + scale.exponent; /* scale in [2^magnitude, 2^(magnitude + 1)) */
    if (magnitude < -100) return least;
    if (magnitude >= 100) return most;
    return (uint32_t)ref_encode(CLQ_F32, scale);
}

uint32_t ref_multiplier(uint32_t source_scale, uint32_t target_scale)
{
    const uint32_t least = 0x1f800000u, most = 0x5f800000u, m = ref_divide(source_scale, target_scale); /* 2^-64, 2^64 */
    return m < least ? least : m > most ? most : m;
}

uint32_t ref_moving_average(uint32_t average, uint32_t next, uint32_t c)
{
    struct ref_number step, factor, sum;
    uint32_t difference;

    difference = flush_zero(ref_subtract(next, average));
    if ((difference & 0x7fffffffu) == 0x7f800000u) difference--; /* the largest float */
    (void)ref_decode(CLQ_F32, difference, &step);
    (void)ref_decode(CLQ_F32, c, &factor);
    step.mantissa *= factor.mantissa;
    step.exponent += factor.exponent;
    step = round_digits(step);
    if (bit_length(step.mantissa) + step.exponent <= -126) step.mantissa = 0;
    (void)ref_decode(CLQ_F32, average, &sum);
    return flush_zero((uint32_t)ref_encode(CLQ_F32, add(sum, step)));
}

bool ref_from_range(uint32_t lo, uint32_t hi, const clq_scheme *scheme, uint32_t *scale, int32_t *zero_point)
{
    struct ref_scheme r;
    struct ref_number low, high, width;
    const enum ref_class first = ref_decode(CLQ_F32, lo, &low), second = ref_decode(CLQ_F32, hi, &high);
    int64_t z, steps;

    if (first != REF_FINITE || second != REF_FINITE || rank_of(flush_zero(lo)) > rank_of(flush_zero(hi))) return false;
    ref_scheme_resolve(scheme, &r);
    lo = is_negative(lo) ? flush_zero(lo) : 0;
    hi = is_negative(hi) ? 0 : flush_zero(hi);
    *zero_point = r.zero_point;
    if (lo == 0 && hi == 0) {
        *scale = 0x3f800000u;
        return true;
    }
    (void)ref_decode(CLQ_F32, lo, &low);
    (void)ref_decode(CLQ_F32, hi, &high);
    low.negative = false;
    if (r.symmetric) {
        const int64_t halves = scheme->symmetry == CLQ_SYMMETRIC_FULL ? (int64_t)r.qmax - r.qmin : 2 * (int64_t)r.reach;
        *scale = scale_of((lo & 0x7fffffffu) > hi ? low : high, halves, scheme->symmetry == CLQ_POWER_OF_TWO);
        return true;
    }
    /* Without bounds on the exponent, fl(hi/2 - lo/2) is half of fl(hi - lo). */
    width = round_digits(add(high, low));
    width.exponent--;
    *scale = scale_of(width, (int64_t)r.qmax - r.qmin, false);
    steps = lo == 0 ? 0 : ref_round(ref_divide(lo, *scale));
    z = r.qmin - steps;
    *zero_point = (int32_t)(z < r.qmin ? r.qmin : z > r.qmax ? r.qmax : z);
    return true;
}

/* ---- tensors */

int64_t ref_elements(int32_t rank, const int64_t *shape)
{
    int64_t elements = 1;
    for (int32_t i = 0; i < rank; i++)
        elements *= shape[i];
    return elements;
}

bool ref_next(int32_t rank, const int64_t *shape, int64_t *index)
{
    for (int32_t i = rank - 1; i >= 0; i--) {
        if (++index[i] < shape[i]) return true;
        index[i] = 0;
    }
    return false;
}

static int64_t place_of(const clq_tensor *tensor, const int64_t *index)
{
    int64_t place = tensor->offset;
    for (int32_t i = 0; i < tensor->rank; i++)
        place += index[i] * tensor->strides[i];
    return place;
}

/* 4-bit values: the byte, rounded down for places before the pointer, and where in it. */
static int64_t byte_of(int64_t place)
{
    return place >= 0 ? place / 2 : -((1 - place) / 2);
}

static unsigned nibble_shift(int64_t place)
{
    return place % 2 != 0 ? 4 : 0;
}

uint64_t ref_get(const clq_tensor *tensor, const int64_t *index)
{
    const unsigned char *const bytes = tensor->data;
    const int64_t place = place_of(tensor, index);
    uint64_t value = 0;
    int32_t size;

    if (tensor->dtype == CLQ_S4 || tensor->dtype == CLQ_U4) {
        const unsigned nibble = bytes[byte_of(place)] >> nibble_shift(place) & 15u;
        return tensor->dtype == CLQ_S4 && nibble > 7 ? (uint64_t)((int64_t)nibble - 16) : nibble;
    }
    size = clq_dtype_bits(tensor->dtype) / 8;
    for (int32_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[place * size + i] << (8 * i); /* tests run on little-endian machines */
    switch (tensor->dtype) {
    case CLQ_S8:
        return (uint64_t)(int64_t)(int8_t)(uint8_t)value;
    case CLQ_S16:
        return (uint64_t)(int64_t)(int16_t)(uint16_t)value;
    case CLQ_S32:
        return (uint64_t)(int64_t)(int32_t)(uint32_t)value;
    default:
        return value;
    }
}

void ref_set(const clq_tensor *tensor, const int64_t *index, uint64_t value)
{
    unsigned char *const bytes = tensor->data;
    const int64_t place = place_of(tensor, index);
    int32_t size;

    if (tensor->dtype == CLQ_S4 || tensor->dtype == CLQ_U4) {
        const unsigned shift = nibble_shift(place);
        const bool is_last = place - tensor->offset == ref_elements(tensor->rank, tensor->shape) - 1;
        unsigned char *const byte = &bytes[byte_of(place)];
        *byte = (unsigned char)((*byte & ~(15u << shift)) | ((unsigned)value & 15u) << shift);
        if (is_last && shift == 0) *byte &= 15u; /* the spare nibble */
        return;
    }
    size = clq_dtype_bits(tensor->dtype) / 8;
    for (int32_t i = 0; i < size; i++)
        bytes[place * size + i] = (unsigned char)(value >> (8 * i));
}

static int32_t axis_of(const clq_scheme *scheme, int32_t rank)
{
    return scheme->axis < 0 ? scheme->axis + rank : scheme->axis;
}

void ref_scheme_shape(const clq_scheme *scheme, int32_t rank, const int64_t *shape, int32_t *param_rank, int64_t *param_shape)
{
    int32_t axis;

    *param_rank = 0;
    if (scheme->granularity == CLQ_PER_TENSOR) return;
    axis = axis_of(scheme, rank);
    if (scheme->granularity == CLQ_PER_CHANNEL) {
        *param_rank = 1;
        param_shape[0] = shape[axis];
        return;
    }
    *param_rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        param_shape[i] = shape[i];
        if (i != axis) continue;
        /* The last element's group, and those before it. */
        param_shape[i] = shape[i] == 0 ? 0 : (shape[i] - 1) / scheme->group_size + 1;
    }
}

/* The multi-index of the parameters of an element. */
static void param_index(const clq_scheme *scheme, int32_t rank, const int64_t *index, int64_t *param)
{
    const int32_t axis = axis_of(scheme, rank);

    memset(param, 0, CLQ_MAX_RANK * sizeof *param);
    if (scheme->granularity == CLQ_PER_TENSOR) return;
    if (scheme->granularity == CLQ_PER_CHANNEL) {
        param[0] = index[axis];
        return;
    }
    memcpy(param, index, (size_t)rank * sizeof *param);
    param[axis] = index[axis] / scheme->group_size;
}

void ref_params_at(const clq_qparams *params, const struct ref_scheme *resolved, int32_t rank, const int64_t *index,
                   uint32_t *scale, int64_t *zero_point)
{
    int64_t param[CLQ_MAX_RANK];

    param_index(&params->scheme, rank, index, param);
    *scale = (uint32_t)ref_get(&params->scale, param);
    *zero_point = resolved->symmetric ? resolved->zero_point : 0;
    if (params->zero_point.dtype != CLQ_DTYPE_NONE) *zero_point = (int64_t)ref_get(&params->zero_point, param);
}

static uint32_t get_f32(const clq_tensor *x, const int64_t *index)
{
    return (uint32_t)ref_cast(x->dtype, CLQ_F32, ref_get(x, index));
}

void ref_quantize(const clq_tensor *x, const clq_qparams *params, const clq_tensor *q, int64_t *counts)
{
    int64_t index[CLQ_MAX_RANK] = {0}, kinds[4] = {0}, z;
    struct ref_scheme resolved;
    enum ref_kind kind;
    uint32_t s;

    ref_scheme_resolve(&params->scheme, &resolved);
    if (ref_elements(x->rank, x->shape) > 0) {
        do {
            ref_params_at(params, &resolved, x->rank, index, &s, &z);
            const int32_t value = ref_quantize_bits(get_f32(x, index), s, params->scheme.quotient == CLQ_RECIPROCAL, z,
                                                    resolved.lowest, resolved.highest, &kind);
            kinds[kind]++;
            ref_set(q, index, (uint64_t)(int64_t)value);
        } while (ref_next(x->rank, x->shape, index));
    }
    if (counts == NULL) return;
    counts[0] = kinds[REF_KIND_NAN];
    counts[1] = kinds[REF_KIND_INFINITE];
    counts[2] = kinds[REF_CLIPPED];
}

void ref_dequantize(const clq_tensor *q, const clq_qparams *params, const clq_tensor *y)
{
    int64_t index[CLQ_MAX_RANK] = {0}, z;
    struct ref_scheme resolved;
    uint32_t s;

    if (ref_elements(q->rank, q->shape) == 0) return;
    ref_scheme_resolve(&params->scheme, &resolved);
    do {
        ref_params_at(params, &resolved, q->rank, index, &s, &z);
        ref_set(y, index, ref_cast(CLQ_F32, y->dtype, ref_dequantize_bits((int64_t)ref_get(q, index), s, z)));
    } while (ref_next(q->rank, q->shape, index));
}

void ref_minmax(const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo, const clq_tensor *hi, int64_t *counts)
{
    int64_t index[CLQ_MAX_RANK] = {0}, param[CLQ_MAX_RANK] = {0}, kinds[3] = {0};
    /* Until a finite element is seen: a NaN, which no result can be. */
    const uint32_t unseen = REF_NAN_BITS;

    if (ref_elements(lo->rank, lo->shape) > 0) {
        do {
            ref_set(lo, param, unseen);
            ref_set(hi, param, unseen);
        } while (ref_next(lo->rank, lo->shape, param));
    }
    if (ref_elements(x->rank, x->shape) > 0) {
        do {
            const uint32_t bits = get_f32(x, index), value = flush_zero(bits);
            struct ref_number number;
            const enum ref_class class = ref_decode(CLQ_F32, bits, &number);
            kinds[class]++;
            if (class != REF_FINITE) continue;
            param_index(scheme, x->rank, index, param);
            if (ref_get(lo, param) == unseen || rank_of(value) < rank_of((uint32_t)ref_get(lo, param))) ref_set(lo, param, value);
            if (ref_get(hi, param) == unseen || rank_of(value) > rank_of((uint32_t)ref_get(hi, param))) ref_set(hi, param, value);
        } while (ref_next(x->rank, x->shape, index));
    }
    memset(param, 0, sizeof param);
    if (ref_elements(lo->rank, lo->shape) > 0) {
        do {
            if (ref_get(lo, param) != unseen) continue;
            ref_set(lo, param, 0);
            ref_set(hi, param, 0);
        } while (ref_next(lo->rank, lo->shape, param));
    }
    if (counts == NULL) return;
    counts[0] = kinds[REF_NAN];
    counts[1] = kinds[REF_INFINITE];
    counts[2] = 0;
}

void ref_qparams_from_range(const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params)
{
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(lo->rank, lo->shape) == 0) return;
    do {
        uint32_t scale = 0;
        int32_t zero_point = 0;
        const bool accepted =
            ref_from_range((uint32_t)ref_get(lo, index), (uint32_t)ref_get(hi, index), &params->scheme, &scale, &zero_point);
        assert(accepted);
        (void)accepted;
        ref_set(&params->scale, index, scale);
        if (params->zero_point.dtype != CLQ_DTYPE_NONE) ref_set(&params->zero_point, index, (uint64_t)(int64_t)zero_point);
    } while (ref_next(lo->rank, lo->shape, index));
}

void ref_convert(const clq_tensor *src, const clq_tensor *dst)
{
    int64_t index[CLQ_MAX_RANK] = {0};

    if (ref_elements(src->rank, src->shape) == 0) return;
    do {
        const uint64_t value = ref_get(src, index);
        ref_set(dst, index, src->dtype == dst->dtype ? value : ref_cast(src->dtype, dst->dtype, value));
    } while (ref_next(src->rank, src->shape, index));
}

/* ---- requantize */

void ref_requantize(const clq_tensor *x, const clq_qparams *x_params, const clq_qparams *y_params, const clq_tensor *y)
{
    int64_t index[CLQ_MAX_RANK] = {0}, zx, zy;
    struct ref_scheme source, target;

    if (ref_elements(x->rank, x->shape) == 0) return;
    ref_scheme_resolve(&x_params->scheme, &source);
    ref_scheme_resolve(&y_params->scheme, &target);
    do {
        uint32_t sx, sy;
        int64_t steps;
        ref_params_at(x_params, &source, x->rank, index, &sx, &zx);
        ref_params_at(y_params, &target, x->rank, index, &sy, &zy);
        /* x - zx as a scale of 1 makes it a float: rounded once. */
        steps = ref_round(ref_multiply(ref_dequantize_bits((int64_t)ref_get(x, index), 0x3f800000u, zx), ref_multiplier(sx, sy)));
        if (steps < target.lowest - zy) steps = target.lowest - zy;
        if (steps > target.highest - zy) steps = target.highest - zy;
        ref_set(y, index, (uint64_t)(steps + zy));
    } while (ref_next(x->rank, x->shape, index));
}

/* ---- matrix products */

/* Scale and zero point of a row of A, of a column of B or of C; 1 and 0 where there are none. */
static void side_at(const clq_qparams *params, int64_t line, uint32_t *scale, int64_t *zero_point)
{
    struct ref_scheme resolved;
    int64_t param[CLQ_MAX_RANK] = {0};

    *scale = 0x3f800000u;
    *zero_point = 0;
    if (params == NULL) return;
    ref_scheme_resolve(&params->scheme, &resolved);
    if (params->scheme.granularity == CLQ_PER_CHANNEL) param[0] = line;
    if (params->scale.dtype != CLQ_DTYPE_NONE) *scale = (uint32_t)ref_get(&params->scale, param);
    if (resolved.symmetric) *zero_point = resolved.zero_point;
    if (params->zero_point.dtype != CLQ_DTYPE_NONE) *zero_point = (int64_t)ref_get(&params->zero_point, param);
}

/* Rows of A (axis 0) or columns of B (axis 1) of one matrix: elements less their zero points, along K. */
static int32_t *load_lines(const clq_tensor *tensor, const clq_qparams *params, int64_t matrix, int32_t axis)
{
    const int32_t line = tensor->rank - 2 + axis, along = tensor->rank - 1 - axis;
    int32_t *const values = malloc((size_t)(tensor->shape[line] * tensor->shape[along] + 1) * sizeof *values), *next = values;
    int64_t index[CLQ_MAX_RANK] = {0}, z;
    uint32_t scale;

    if (values == NULL) abort();
    if (tensor->rank == 3) index[0] = matrix;
    for (index[line] = 0; index[line] < tensor->shape[line]; index[line]++) {
        side_at(params, index[line], &scale, &z);
        for (index[along] = 0; index[along] < tensor->shape[along]; index[along]++)
            *next++ = (int32_t)((int64_t)ref_get(tensor, index) - z);
    }
    return values;
}

static uint32_t clamp_bits(uint32_t positive, uint32_t least, uint32_t most)
{
    return positive < least ? least : positive > most ? most : positive;
}

uint32_t ref_gemm_finish_f32(const clq_gemm_args *args, uint32_t sum, int64_t col)
{
    const int64_t index[CLQ_MAX_RANK] = {col};
    const uint32_t y = args->bias != NULL ? ref_add(sum, (uint32_t)ref_get(args->bias, index)) : sum;
    uint32_t least, most;

    memcpy(&least, &args->clamp_min, sizeof least);
    memcpy(&most, &args->clamp_max, sizeof most);

    if (args->activation == CLQ_ACTIVATION_RELU) return !ref_is_nan(CLQ_F32, y) && rank_of(y) > 0 ? y : 0;
    if (args->activation != CLQ_ACTIVATION_CLAMP || ref_is_nan(CLQ_F32, y)) return y;
    return rank_of(y) < rank_of(least) ? least : rank_of(y) > rank_of(most) ? most : y;
}

/* What becomes of a sum of products. */
static uint64_t finish_sum(const clq_gemm_args *args, uint32_t sum, int64_t row, int64_t col)
{
    const int64_t index[CLQ_MAX_RANK] = {col};
    struct ref_scheme target;
    uint32_t a_scale, b_scale, c_scale, scale;
    int64_t z, steps;

    if (args->c->dtype != CLQ_F32 && args->bias != NULL) sum += (uint32_t)ref_get(args->bias, index);
    if (args->c->dtype == CLQ_S32) return (uint64_t)(int64_t)(int32_t)sum;
    side_at(args->a_params, row, &a_scale, &z);
    side_at(args->b_params, col, &b_scale, &z);
    scale = clamp_bits(ref_multiply(a_scale, b_scale), 0x00800000u, 0x7f000000u); /* 2^-126, 2^127 */
    /* A scale of 1 makes the sum a float: rounded once. */
    sum = ref_dequantize_bits((int32_t)sum, 0x3f800000u, 0);
    if (args->c->dtype == CLQ_F32) return ref_gemm_finish_f32(args, ref_multiply(sum, scale), col);
    ref_scheme_resolve(&args->c_params->scheme, &target);
    side_at(args->c_params, 0, &c_scale, &z);
    steps = ref_round(ref_multiply(sum, ref_multiplier(scale, c_scale)));
    if (steps < target.lowest - z) steps = target.lowest - z;
    if (steps > target.highest - z) steps = target.highest - z;
    return (uint64_t)(steps + z);
}

void ref_gemm(const clq_gemm_args *args)
{
    const clq_tensor *const a = args->a, *const b = args->b, *const c = args->c;
    const int64_t batch = c->rank == 3 ? c->shape[0] : 1, m = c->shape[c->rank - 2], n = c->shape[c->rank - 1], k = a->shape[a->rank - 1];

    for (int64_t matrix = 0; matrix < batch; matrix++) {
        int32_t *const rows = load_lines(a, args->a_params, matrix, 0), *const cols = load_lines(b, args->b_params, matrix, 1);
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j++) {
                const int64_t in_stack[CLQ_MAX_RANK] = {matrix, i, j}, alone[CLQ_MAX_RANK] = {i, j};
                uint32_t sum = 0;
                for (int64_t p = 0; p < k; p++)
                    sum += (uint32_t)rows[i * k + p] * (uint32_t)cols[j * k + p];
                ref_set(c, c->rank == 3 ? in_stack : alone, finish_sum(args, sum, i, j));
            }
        }
        free(rows);
        free(cols);
    }
}

/* ---- fake-quantize and its gradients */

/* The class of an element of x, and what it is quantized to. */
static enum ref_kind kind_at(const clq_tensor *x, const clq_qparams *params, const struct ref_scheme *resolved, const int64_t *index, int32_t *q,
                             uint32_t *s, int64_t *z)
{
    enum ref_kind kind;
    ref_params_at(params, resolved, x->rank, index, s, z);
    *q = ref_quantize_bits(get_f32(x, index), *s, params->scheme.quotient == CLQ_RECIPROCAL, *z, resolved->lowest, resolved->highest, &kind);
    return kind;
}

/* One bit of a contiguous mask; its byte begins with zeros. */
static void set_bit(const clq_tensor *mask, int64_t i, bool value)
{
    unsigned char *const byte = (unsigned char *)mask->data + mask->offset + i / 8;
    if (i % 8 == 0) *byte = 0;
    *byte = (unsigned char)(*byte | (unsigned)value << i % 8);
}

void ref_fake_quantize(const clq_tensor *x, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, int64_t *counts)
{
    int64_t index[CLQ_MAX_RANK] = {0}, kinds[4] = {0}, i = 0, z;
    struct ref_scheme resolved;
    uint32_t s;
    int32_t q;

    ref_scheme_resolve(&params->scheme, &resolved);
    if (ref_elements(x->rank, x->shape) > 0) {
        do {
            const enum ref_kind kind = kind_at(x, params, &resolved, index, &q, &s, &z);
            kinds[kind]++;
            ref_set(y, index, ref_cast(CLQ_F32, y->dtype, ref_dequantize_bits(q, s, z)));
            if (mask != NULL) set_bit(mask, i++, kind == REF_INSIDE);
        } while (ref_next(x->rank, x->shape, index));
    }
    if (counts == NULL) return;
    counts[0] = kinds[REF_KIND_NAN];
    counts[1] = kinds[REF_KIND_INFINITE];
    counts[2] = kinds[REF_CLIPPED];
}

void ref_backward(const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, const clq_tensor *mask, const clq_tensor *dx)
{
    int64_t index[CLQ_MAX_RANK] = {0}, i = 0, z;
    struct ref_scheme resolved = {0};
    uint32_t s;
    int32_t q;

    if (ref_elements(dy->rank, dy->shape) == 0) return;
    if (mask == NULL) ref_scheme_resolve(&params->scheme, &resolved);
    do {
        const bool inside = mask != NULL ? ((unsigned char *)mask->data)[mask->offset + i / 8] >> i % 8 & 1
                                         : kind_at(x, params, &resolved, index, &q, &s, &z) == REF_INSIDE;
        ref_set(dx, index, inside ? ref_get(dy, index) : 0);
        i++;
    } while (ref_next(dy->rank, dy->shape, index));
}

/* The value of a finite f32. */
static long double value_of(uint32_t bits)
{
    struct ref_number number;
    long double magnitude;

    (void)ref_decode(CLQ_F32, bits, &number);
    magnitude = ldexpl((long double)number.mantissa, number.exponent);
    return number.negative ? -magnitude : magnitude;
}

static void add_term(struct ref_sum *sum, long double term)
{
    sum->sum += term;
    sum->magnitude += fabsl(term);
}

void ref_learnable_sums(const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params, struct ref_sum *dscale, struct ref_sum *dzero_point)
{
    int64_t index[CLQ_MAX_RANK] = {0}, param[CLQ_MAX_RANK], z;
    const clq_tensor *const scale = &params->scale;
    const bool reciprocal = params->scheme.quotient == CLQ_RECIPROCAL;
    struct ref_scheme resolved;
    uint32_t s;
    int32_t q;

    memset(dscale, 0, (size_t)ref_elements(scale->rank, scale->shape) * sizeof *dscale);
    memset(dzero_point, 0, (size_t)ref_elements(scale->rank, scale->shape) * sizeof *dzero_point);
    if (ref_elements(x->rank, x->shape) == 0) return;
    ref_scheme_resolve(&params->scheme, &resolved);
    do {
        const enum ref_kind kind = kind_at(x, params, &resolved, index, &q, &s, &z);
        const long double gradient = value_of(get_f32(dy, index)), steps = (long double)(q - z);
        int64_t k = 0;
        if (kind == REF_KIND_NAN) continue;
        param_index(&params->scheme, x->rank, index, param);
        for (int32_t i = 0; i < scale->rank; i++)
            k = k * scale->shape[i] + param[i];
        if (kind == REF_INSIDE) {
            add_term(&dscale[k], gradient * (steps - value_of(ref_quotient(get_f32(x, index), s, reciprocal))));
        } else {
            add_term(&dscale[k], gradient * steps);
            add_term(&dzero_point[k], -gradient * value_of(s));
        }
    } while (ref_next(x->rank, x->shape, index));
}

void ref_observe(const clq_tensor *x, const clq_scheme *scheme, uint32_t averaging, const clq_tensor *lo, const clq_tensor *hi)
{
    const int64_t n = ref_elements(lo->rank, lo->shape);
    int64_t index[CLQ_MAX_RANK] = {0};
    clq_tensor least, most;
    uint32_t *ranges;

    if (n == 0) return;
    ranges = calloc(2 * (size_t)n, sizeof *ranges);
    assert(ranges != NULL);
    least = clq_tensor_host(CLQ_F32, ranges, lo->rank, lo->shape);
    most = clq_tensor_host(CLQ_F32, ranges + n, lo->rank, lo->shape);
    ref_minmax(x, scheme, &least, &most, NULL);
    do {
        uint32_t low = (uint32_t)ref_get(&least, index), high = (uint32_t)ref_get(&most, index);
        const uint32_t before_low = flush_zero((uint32_t)ref_get(lo, index)), before_high = flush_zero((uint32_t)ref_get(hi, index));
        if (rank_of(before_low) <= rank_of(before_high)) {
            low = ref_moving_average(before_low, low, averaging);
            high = ref_moving_average(before_high, high, averaging);
        }
        ref_set(lo, index, low);
        ref_set(hi, index, rank_of(high) < rank_of(low) ? low : high); /* rounding may have crossed them */
    } while (ref_next(lo->rank, lo->shape, index));
    free(ranges);
}

/* ---- error statistics */

void ref_error_stats(const clq_tensor *x, const clq_tensor *q, const clq_qparams *params, struct ref_stats *stats)
{
    int64_t index[CLQ_MAX_RANK] = {0}, z;
    struct ref_scheme resolved = {0};
    enum ref_kind kind;
    uint32_t s;

    memset(stats, 0, sizeof *stats);
    if (ref_elements(x->rank, x->shape) == 0) return;
    if (params != NULL) ref_scheme_resolve(&params->scheme, &resolved);
    do {
        const uint32_t a = get_f32(x, index);
        uint32_t b, e;
        if (params != NULL) {
            ref_params_at(params, &resolved, x->rank, index, &s, &z);
            b = ref_dequantize_bits((int64_t)ref_get(q, index), s, z);
            (void)ref_quantize_bits(a, s, params->scheme.quotient == CLQ_RECIPROCAL, z, resolved.lowest, resolved.highest, &kind);
            if (kind == REF_CLIPPED) stats->clipped_count++;
        } else {
            b = get_f32(q, index);
        }
        if (ref_is_nan(CLQ_F32, a) || ref_is_nan(CLQ_F32, b)) {
            stats->nan_count++;
            continue;
        }
        if ((a & 0x7fffffffu) == 0x7f800000u || (b & 0x7fffffffu) == 0x7f800000u) {
            stats->inf_count++;
            continue;
        }
        stats->count++;
        e = ref_subtract(a, b) & 0x7fffffffu;
        if (e > stats->max_error) stats->max_error = e;
        const long double error = e == 0x7f800000u ? (long double)INFINITY : value_of(e), left = value_of(a), right = value_of(b);
        stats->squared_error += error * error;
        stats->absolute_error += error;
        stats->squared_x += left * left;
        stats->squared_y += right * right;
        stats->product += left * right;
    } while (ref_next(x->rank, x->shape, index));
}
