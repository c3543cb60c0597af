/* SPDX-License-Identifier: MIT */
/*
 * The seam between the public operations (above) and the places where they run (below): validated operations, brought to a common form,
 * and what a backend does with them.
 */
#ifndef CLQ_BACKEND_H
#define CLQ_BACKEND_H

#include "base/alloc.h"
#include "base/util.h"
#include "context.h"
#include <string.h>

/* Where a context's settings come from, for error texts: the option's name or the variable's. */
struct clq_option_sources {
    const char *device, *cpu, *gemm_unit;
};

enum clq_op_kind {
    CLQ_OP_CONVERT,            /* operand 0 to operand 1: equal dtypes, or float to f32, f16, bf16 */
    CLQ_OP_MINMAX,             /* operand 0 to lo, hi, counts[0..1] */
    CLQ_OP_QPARAMS,            /* lo, hi to scale_out, zero_point_out; if averaged, by way of average_lo, average_hi; no loops */
    CLQ_OP_QUANTIZE,           /* operand 0 to operand 1, counts if counted */
    CLQ_OP_DEQUANTIZE,         /* operand 0 to operand 1 */
    CLQ_OP_ERROR_STATS,        /* operands 0 (x) and 1 (float, or quantized with parameters) to sums, counts[2] */
    CLQ_OP_MULTIPLIERS,        /* scale, zero_point and target_scale, target_zero_point to scale_out (the multipliers), zero_point_out (the
                                  target's) and source_zero_point; no loops */
    CLQ_OP_REQUANTIZE,         /* operand 0 to operand 1 by what CLQ_OP_MULTIPLIERS has made: scale, zero_point, source_zero_point */
    CLQ_OP_FAKE_QUANTIZE,      /* operand 0 (x) to operand 1 (y) and, if it is there, the mask; counts if counted */
    CLQ_OP_BACKWARD,           /* operand 0 (dy) to operand 1 (dx) by the mask or, with parameters, by operand 2 (x) */
    CLQ_OP_BACKWARD_LEARNABLE, /* operands 0 (dy) and 2 (x) to operand 1 (dx), dscale and, unless it is NULL, dzero_point */
    CLQ_OP_GEMM                /* what `gemm` says; no loops */
};

/* An operation's operands have numbers. The last is the mask, one bit an element. */
enum { CLQ_MASK = 3, CLQ_OPERANDS };

/* Arguments of an operation that may live on a device. */
enum clq_arg {
    CLQ_ARG_0, /* operand 0 */
    CLQ_ARG_1,
    CLQ_ARG_2,
    CLQ_ARG_MASK,
    CLQ_ARG_SCALE,
    CLQ_ARG_ZERO_POINT,
    CLQ_ARG_SOURCE_ZERO_POINT,
    CLQ_ARG_TARGET_SCALE,
    CLQ_ARG_TARGET_ZERO_POINT,
    CLQ_ARG_LO,
    CLQ_ARG_HI,
    CLQ_ARG_AVERAGE_LO,
    CLQ_ARG_AVERAGE_HI,
    CLQ_ARG_SCALE_OUT,
    CLQ_ARG_ZERO_POINT_OUT,
    CLQ_ARG_DSCALE,
    CLQ_ARG_DZERO_POINT,
    CLQ_ARG_COUNTS,
    CLQ_ARGS
};

/* A loop over elements. At its index i operand k has moved i * stride[k] elements, and the parameter i / group * param_stride. At most one loop of an
   operation has a group above 1. */
struct clq_loop {
    int64_t extent; /* 1 or more */
    int64_t stride[CLQ_OPERANDS]; /* elements; 0 for operands that are not there */
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

/* Matrices of equal extents; strides in elements. That of one of the two dimensions is 1. Here and below memory of the context's device goes with
   an offset in bytes in place of the pointer; NULL: host memory. */
struct clq_matrix {
    clq_dtype dtype;
    void *device;
    void *data;
    int64_t batch_stride, row_stride, col_stride;
};

/* Parameters along the rows of A or the columns of B, or of C: arrays of one entry for all, or of one for each. */
struct clq_gemm_params {
    const float *scale;        /* ones where none are needed */
    const int32_t *zero_point; /* NULL, and not on a device: fixed_zero_point */
    void *scale_device, *zero_point_device;
    int32_t fixed_zero_point;
    bool is_single;
};

/* A product of `batch` matrices, see clq_gemm(): C, m x n, of A, m x k, and B, k x n. */
struct clq_gemm {
    int64_t batch, m, n, k;
    struct clq_matrix a, b, c;        /* b.dtype is that of packed weights too */
    const struct clq_packed *packed;  /* NULL: b */
    struct clq_gemm_params a_params, b_params; /* not for f32 operands */
    const void *bias;                 /* n of f32 or s32, as C goes; NULL, and not on a device: none */
    void *bias_device;
    bool relu;
    float low, high;                  /* f32 C: bounds, -inf and inf without them */
    struct clq_gemm_params c_params;  /* of an 8-bit C, single, as all that follows */
    int32_t qmin, qmax;
};

struct clq_backend;

/* Packed weights. They belong to a backend, which alone knows what `path` and `data` are, and whether a context can use them. */
struct clq_packed {
    const struct clq_backend *backend;
    clq_allocator allocator; /* a copy: they may outlive their context */
    clq_dtype dtype;
    int32_t rank;            /* of the tensor that was packed */
    int64_t batch, k, n;
    const void *path;
    void *data;
    int32_t *col_sums;
};

/*
 * One operation, beginning with what most kinds read. Loops are in an order of the layer above's choice, merged as far as possible; a 4-bit operand
 * and a mask are contiguous in the order of the loops and start on a byte. Parameters are contiguous arrays of param_count entries, checked if they
 * are in host memory. A mask has element i in bit i % 8 of byte i / 8; spare bits are written as 0.
 *
 * Where device[arg] is not NULL it is memory of the context's device, and the argument's pointer is the offset in it, in bytes.
 */
struct clq_op {
    enum clq_op_kind kind;
    int32_t rank;            /* loops, outermost first; 1 or more */
    struct clq_op *then;     /* what is to be run when this one is done, or NULL */
    int64_t count;           /* elements: the product of the extents; 1 or more */
    int64_t param_count;
    const float *scale;        /* not used by CLQ_OP_ERROR_STATS against a float operand 1, nor by CLQ_OP_BACKWARD with a mask */
    const int32_t *zero_point; /* if has_zero_point, else NULL: fixed_zero_point */
    int32_t fixed_zero_point;
    int32_t qmin, qmax;      /* the range that quantized values take */
    bool has_zero_point;
    bool reciprocal;
    bool counted;
    bool in_place;           /* an output is an input: the operation cannot be begun twice */
    struct {
        clq_dtype dtype;     /* CLQ_DTYPE_NONE: not there; a mask has CLQ_U8 */
        void *data;
    } operand[CLQ_OPERANDS];
    int32_t *source_zero_point; /* an output of CLQ_OP_MULTIPLIERS, an input of CLQ_OP_REQUANTIZE */
    const float *target_scale;
    const int32_t *target_zero_point; /* if has_target_zero_point, else NULL: fixed_target_zero_point */
    bool has_target_zero_point;
    int32_t fixed_target_zero_point;
    bool is_single, is_target_single; /* CLQ_OP_MULTIPLIERS: scale and zero_point, or the target's, have one entry for all */
    struct clq_range_rule rule;
    float *lo, *hi; /* param_count entries each */
    bool averaged;
    float averaging;                  /* the constant c of clqm_moving_average() */
    float *average_lo, *average_hi;   /* brought up to date */
    float gradient_scale;             /* a factor of dscale and dzero_point */
    float *dscale, *dzero_point;
    bool has_dzero_point;
    double *gradient_sums; /* the CPU's own */
    float *scale_out;
    int32_t *zero_point_out; /* if has_zero_point */
    int64_t counts[3];   /* +=, unless counts_out is on a device, */
    int64_t *counts_out; /* which then receives them */
    struct clq_error_sums sums;
    const struct clq_gemm *gemm;
    void *device[CLQ_ARGS];
    struct clq_loop loops[CLQ_MAX_RANK];
};

/* clq_dtype_bits() of a dtype there is. */
static inline int64_t clq_bits(clq_dtype dtype)
{
    static const unsigned char bits[] = {[CLQ_F32] = 32, [CLQ_F16] = 16, [CLQ_BF16] = 16, [CLQ_F64] = 64, [CLQ_S8] = 8,   [CLQ_U8] = 8,
                                         [CLQ_S4] = 4,   [CLQ_U4] = 4,   [CLQ_S16] = 16,  [CLQ_U16] = 16, [CLQ_S32] = 32, [CLQ_S64] = 64};
    return bits[dtype];
}

/* Zeroes an operation but for its loops, which are large and mostly unused. */
static inline void clq_op_init(struct clq_op *op, enum clq_op_kind kind)
{
    clq_zero(op, offsetof(struct clq_op, loops));
    op->kind = kind;
}

static inline bool clq_op_has_operand(const struct clq_op *op, int k)
{
    return op->operand[k].dtype != CLQ_DTYPE_NONE;
}

/* Bits of an element of an operand that is there. */
static inline int64_t clq_op_bits(const struct clq_op *op, int k)
{
    return k == CLQ_MASK ? 1 : clq_bits(op->operand[k].dtype);
}

/* The operand is written. */
static inline bool clq_op_is_output(const struct clq_op *op, int k)
{
    switch (op->kind) {
    case CLQ_OP_MINMAX:
    case CLQ_OP_ERROR_STATS: return false;
    case CLQ_OP_FAKE_QUANTIZE: return k != 0;
    default: return k == 1;
    }
}

/* Indices of the outermost loop, or groups of them, have parameters of their own, adjacent for adjacent ones: a range of them has a range of those. */
static inline bool clq_op_has_outer_params(const struct clq_op *op)
{
    const struct clq_loop *outer = &op->loops[0];
    return outer->param_stride != 0 && clq_ceil_div(outer->extent, outer->group) * outer->param_stride == op->param_count;
}

/* Elements share bytes with their neighbours: there is a 4-bit operand or a mask. */
static inline bool clq_op_is_packed(const struct clq_op *op)
{
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        if (clq_op_has_operand(op, k) && clq_op_bits(op, k) < 8) return true;
    return false;
}

extern const struct clq_backend clq_backend_cpu;
#ifdef CLQ_WITH_OPENCL
extern const struct clq_backend clq_backend_opencl;
#endif

/* True if some argument lives on a device, or is packed for one. */
static inline bool clq_gemm_is_on_device(const struct clq_gemm *gemm)
{
    const struct clq_gemm_params *const params[] = {&gemm->a_params, &gemm->b_params, &gemm->c_params};
    for (int i = 0; i < 3; ++i)
        if (params[i]->scale_device || params[i]->zero_point_device) return true;
    return gemm->a.device || gemm->b.device || gemm->c.device || gemm->bias_device || (gemm->packed && gemm->packed->backend != &clq_backend_cpu);
}

/* True if some argument lives on a device. */
static inline bool clq_op_is_on_device(const struct clq_op *op)
{
    if (op->gemm) return clq_gemm_is_on_device(op->gemm);
    for (int i = 0; i < CLQ_ARGS; ++i)
        if (op->device[i]) return true;
    return false;
}

/* A kind of place where operations run. A context has one of each kind or none; its state hangs in the context. */
struct clq_backend {
    const char *name; /* what CLQ_DEVICE takes, "cpu" */
    /* Sets the context's state of this kind up. Options left to the environment have been filled in; the sources say where they are from.
       OpenCL: leaves the state NULL if no device was named and there is no good one; `foreign` is a struct clq_cl_foreign or NULL. */
    clq_status (*create)(clq_context *context, const clq_context_options *options, const struct clq_option_sources *sources, const void *foreign);
    /* Frees it; fine if there is none. */
    void (*destroy)(clq_context *context);
    /* True if run() takes the operation. A pure question. */
    bool (*supports)(const clq_context *context, const struct clq_op *op);
    /* Runs independent operations, in whatever floating-point mode the thread is. On return those with all results in host memory are
       complete, others possibly only begun. The CPU's also runs what is to follow each; a device's is called again for that. */
    clq_status (*run)(clq_context *context, struct clq_op *const *ops, int64_t n);
    /* Fills packed->path, data and col_sums from `b`, which may have no elements; says why if it fails, and unpack() is called in any case. */
    clq_status (*pack)(clq_context *context, const struct clq_matrix *b, struct clq_packed *packed);
    /* Frees what pack() made, without a context. */
    void (*unpack)(struct clq_packed *packed);
    /* True if the context can use the weights, which are the backend's. */
    bool (*accepts)(const clq_context *context, const struct clq_packed *packed);
    /* Describes the context's device: all of the zeroed `info` but `chosen` and `reason`. */
    void (*describe)(const clq_context *context, clq_device_info *info);
    /* Describes the devices of this kind, best first, the first `capacity` of them; `reason` is set for those that cannot be used. Returns how
       many there are. `context` is what clq_context_create() made of the environment's settings, or NULL. */
    int32_t (*list)(const clq_context *context, clq_device_info *infos, int32_t capacity);

    /* Those below are NULL where memory is that of the host and nothing runs on after a call. */

    clq_status (*synchronize)(clq_context *context);
    clq_status (*warm_up)(clq_context *context, clq_dtype x, clq_dtype q);
    clq_status (*tune)(clq_context *context);
    /* Memory on the device: `*memory` is a reference, to be given back by release(). */
    clq_status (*allocate)(clq_context *context, int64_t size_bytes, void **memory);
    void (*release)(void *memory);
    /* CLQ_OK and its size if `memory`, from allocate() of any context or from a caller, is the context's to use. */
    clq_status (*find_memory)(clq_context *context, void *memory, int64_t *size_bytes);
};

/* run.c: runs validated, independent operations of at least one element each, and what is to follow them. */
clq_status clq_run(clq_context *context, struct clq_op *const *ops, int64_t n);

/* Gives memory of the context's device back; NULL is fine. A forked child leaves it alone. */
void clq_release(clq_context *context, void *memory);

#endif
