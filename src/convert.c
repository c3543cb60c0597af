/* SPDX-License-Identifier: MIT */
/* clq_convert(). */
#include "config.h"

#include "task.h"

#include <string.h>

#define FAIL(status, ...) clq_fail(call->context, status, __VA_ARGS__)

/* 4-bit tensors are contiguous: their copy in host memory is one of bytes, with the spare nibble cleared. */
static void copy_4bit(const struct clq_operand *in, const struct clq_operand *out)
{
    memcpy(out->data, in->data, (size_t)(in->count / 2));
    if (in->count % 2) out->data[in->count / 2] = in->data[in->count / 2] & 15;
}

static clq_status prepare(const struct clq_call *call, struct clq_task *task, const clq_tensor *src, const clq_tensor *dst)
{
    struct clq_operand in, out;
    struct clq_op *op;
    bool identical;

    CLQ_TRY(clq_check_tensor(call, "src", src, CLQ_DTYPES_ALL, &in));
    CLQ_TRY(clq_check_tensor(call, "dst", dst, CLQ_DTYPES_ALL, &out));
    if (src->dtype != dst->dtype) {
        if (!((CLQ_DTYPES_FLOAT | CLQ_DTYPES(CLQ_F64)) & CLQ_DTYPES(src->dtype)) || !(CLQ_DTYPES_FLOAT & CLQ_DTYPES(dst->dtype)))
            return FAIL(CLQ_ERROR_DTYPE, "clq_convert: from %s to %s, must be equal, or from f32, f16, bf16 or f64 to f32, f16 or bf16",
                        clq_dtype_name(src->dtype), clq_dtype_name(dst->dtype));
    }
    CLQ_TRY(clq_check_same_shape(call, &in, &out));
    CLQ_TRY(clq_check_output(call, &out));
    CLQ_TRY(clq_check_disjoint_or_same(call, &out, &in, &identical));
    if (in.count == 0 || (identical && src->dtype == dst->dtype)) return CLQ_OK;
    if (clq_is_4bit(src->dtype) && !in.device && !out.device) {
        copy_4bit(&in, &out);
        return CLQ_OK;
    }
    op = clq_task_op(task, CLQ_OP_CONVERT);
    clq_op_set_convert(op, &in, &out);
    op->in_place = identical;
    return CLQ_OK;
}

clq_status clq_convert(clq_context *context, const clq_tensor *src, const clq_tensor *dst)
{
    const struct clq_call self = {context, "clq_convert"}, *call = &self;
    struct clq_task local, *task;
    CLQ_TRY(clq_task_begin(call, &local, &task));
    return clq_task_end(call, task, prepare(call, task, src, dst));
}
