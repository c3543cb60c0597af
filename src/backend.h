/* SPDX-License-Identifier: MIT */
/*
 * The seam between the public operations (above) and the places where they run (below): validated operations, brought to a common form,
 * and what a backend does with them.
 */
#ifndef CLQ_BACKEND_H
#define CLQ_BACKEND_H

#include <clquant.h>
#include <stdbool.h>
#include <string.h>

enum clq_op_kind {
    CLQ_OP_CONVERT,     /* operand 0 to operand 1: equal dtypes, or float to f32, f16, bf16 */
    CLQ_OP_MINMAX,      /* operand 0 to lo, hi, counts[0..1] */
    CLQ_OP_QPARAMS,     /* lo, hi to scale_out, zero_point_out; no loops */
    CLQ_OP_QUANTIZE,    /* operand 0 to operand 1, counts if counted */
    CLQ_OP_DEQUANTIZE,  /* operand 0 to operand 1 */
    CLQ_OP_ERROR_STATS  /* operands 0 (x) and 1 (float, or quantized with parameters) to sums, counts[2] */
};

/* A loop over elements. At its index i operand k has moved i * stride[k] elements, and the parameter i / group * param_stride. */
struct clq_loop {
    int64_t extent; /* 1 or more */
    int64_t stride[2];
    int64_t param_stride; /* 0: the same parameter all along */
    int64_t group;        /* 1 or more */
};

/* Sums over pairs of finite x, y; see clq_error_stats. */
struct clq_error_sums {
    int64_t count, nan, inf;
    double squared_error, absolute_error, squared_x, squared_y, product;
    float max_error;
};

/* Constants of clq_qparams_from_range() for a scheme. */
struct clq_range_rule {
    bool symmetric, power_of_two;
    float step;         /* symmetric: P or n/2 */
    int32_t qmin, qmax; /* asymmetric: the scheme's own range */
    int32_t zero_point; /* symmetric: the fixed one */
};

/*
 * One operation. Loops are in an order of the layer above's choice, merged as far as possible; a 4-bit operand is contiguous in the order
 * of the loops and starts on a byte. Parameters are contiguous arrays of param_count entries, checked.
 */
struct clq_op {
    enum clq_op_kind kind;
    int64_t count; /* elements: the product of the extents; 1 or more */
    struct {
        clq_dtype dtype;
        void *data;
    } operand[2];
    int64_t param_count;
    const float *scale;        /* NULL: CLQ_OP_ERROR_STATS against a float operand 1 */
    const int32_t *zero_point; /* NULL: fixed_zero_point */
    int32_t fixed_zero_point;
    int32_t qmin, qmax; /* the range that quantized values take */
    bool reciprocal;
    bool counted;
    struct clq_range_rule rule;
    float *lo, *hi; /* param_count entries each */
    float *scale_out;
    int32_t *zero_point_out; /* or NULL */
    int64_t counts[3];       /* += */
    struct clq_error_sums sums;
    int32_t rank; /* loops, outermost first; 1 or more */
    struct clq_loop loops[CLQ_MAX_RANK];
};

/* Zeroes an operation but for its loops, which are large and mostly unused. */
static inline void clq_op_init(struct clq_op *op, enum clq_op_kind kind)
{
    memset(op, 0, offsetof(struct clq_op, loops));
    op->kind = kind;
}

/* A place where operations run. */
struct clq_backend {
    const char *name; /* what CLQ_DEVICE takes, "cpu" */
    /* Sets context->backend_state up. Options left to the environment have been filled in; `cpu_source` names where options->cpu is from. */
    clq_status (*create)(clq_context *context, const clq_context_options *options, const char *cpu_source);
    void (*destroy)(clq_context *context);
    /* Runs an operation to its end, in whatever floating-point mode the thread is. */
    clq_status (*run)(clq_context *context, struct clq_op *op);
    /* Describes the context's device, or with NULL what there is; all of `info` but `chosen` and `reason`. */
    void (*describe)(const clq_context *context, clq_device_info *info);
};

extern const struct clq_backend clq_backend_cpu;

/* run.c: runs a validated operation of at least one element. */
clq_status clq_run(clq_context *context, struct clq_op *op);

#endif
