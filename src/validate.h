/* SPDX-License-Identifier: MIT */
/* Checks of arguments, made once, here: everything below asserts nothing and trusts. */
#ifndef CLQ_VALIDATE_H
#define CLQ_VALIDATE_H

#include "context.h"
#include <stdbool.h>

/* A call being checked; names it in error texts. */
struct clq_call {
    clq_context *context;
    const char *name; /* "clq_quantize" */
};

/* A tensor that has passed clq_check_tensor(). */
struct clq_operand {
    const clq_tensor *tensor;
    const char *name;  /* "x" */
    void *device;      /* the device's memory; NULL: host memory */
    char *data;        /* the element with all indices 0; a 4-bit tensor's first byte. On a device: its offset there in bytes */
    int64_t count;     /* elements */
    uintptr_t begin, end; /* bytes touched lie in [begin, end), in the terms of `data`; both 0 if there are none */
    bool contiguous;
};

/* Sets of dtypes. */
#define CLQ_DTYPES(dtype)   (1u << (dtype))
#define CLQ_DTYPES_FLOAT    (CLQ_DTYPES(CLQ_F32) | CLQ_DTYPES(CLQ_F16) | CLQ_DTYPES(CLQ_BF16))
#define CLQ_DTYPES_QUANTIZED                                                                                           \
    (CLQ_DTYPES(CLQ_S8) | CLQ_DTYPES(CLQ_U8) | CLQ_DTYPES(CLQ_S4) | CLQ_DTYPES(CLQ_U4) | CLQ_DTYPES(CLQ_S16) | CLQ_DTYPES(CLQ_U16))
#define CLQ_DTYPES_ALL ((1u << (CLQ_S64 + 1)) - 2u)

static inline bool clq_is_4bit(clq_dtype dtype)
{
    return dtype == CLQ_S4 || dtype == CLQ_U4;
}

/* The context is not NULL, of this process, and the thread rounds to nearest. */
clq_status clq_check_call(const struct clq_call *call);

/* Null pointer, dtype, rank, extents, sizes, strides, memory. */
clq_status clq_check_tensor(const struct clq_call *call, const char *name, const clq_tensor *tensor, uint32_t dtypes, struct clq_operand *operand);

/* As clq_check_tensor() for rank and extents alone; gives the number of elements. */
clq_status clq_check_shape(const struct clq_call *call, const char *name, const clq_tensor *tensor, int64_t *count);

/* `b` has the shape of `a`. */
clq_status clq_check_same_shape(const struct clq_call *call, const struct clq_operand *a, const struct clq_operand *b);

/* No element of `output` is visited twice. */
clq_status clq_check_output(const struct clq_call *call, const struct clq_operand *output);

/* `output` shares no byte with `other`, though the memory between their ends does. */
clq_status clq_check_interleaved(const struct clq_call *call, const struct clq_operand *output, const struct clq_operand *other);

/* `output` shares no byte with `other`; either may be absent (tensor NULL). */
static inline clq_status clq_check_disjoint(const struct clq_call *call, const struct clq_operand *output, const struct clq_operand *other)
{
    if (!output->tensor || !other->tensor || output->device != other->device) return CLQ_OK;
    if (output->begin >= other->end || other->begin >= output->end) return CLQ_OK;
    return clq_check_interleaved(call, output, other);
}

/* As clq_check_disjoint(), or the two are the same elements at the same places. */
clq_status clq_check_disjoint_or_same(const struct clq_call *call, const struct clq_operand *output, const struct clq_operand *other, bool *same);

/* The optional mask of `count` elements: u8 [ceil(count / 8)], contiguous. `operand->tensor` is NULL if it is absent. */
clq_status clq_check_mask(const struct clq_call *call, const clq_tensor *mask, int64_t count, struct clq_operand *operand);

/* The optional counts argument: s64 [3], contiguous. `operand->tensor` is NULL if it is absent. */
clq_status clq_check_counts(const struct clq_call *call, const clq_tensor *counts, struct clq_operand *operand);

/* Stores three counts in host memory, where `operand` says. */
void clq_store_counts(const struct clq_operand *operand, const int64_t counts[3]);

#endif
