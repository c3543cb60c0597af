/* SPDX-License-Identifier: MIT */
/* Loops of an operation: one for each dimension, in memory order, neighbours merged. */
#include "config.h"

#include "loops.h"

#include <string.h>

/* Parameters are contiguous arrays of the shape that the scheme gives them: the stride of dimension `i` in it, and how many indices share
   an entry. */
static void set_param_stride(struct clq_loop *loop, int32_t i, const struct clq_scheme_info *info)
{
    loop->param_stride = 0;
    loop->group = 1;
    if (!info || info->scheme.granularity == CLQ_PER_TENSOR) return;
    if (info->scheme.granularity == CLQ_PER_CHANNEL) {
        loop->param_stride = i == info->scheme.axis;
        return;
    }
    if (info->param_shape[i] == 1) return; /* one group or one element: always entry 0 */
    loop->param_stride = 1;
    for (int32_t k = i + 1; k < info->param_rank; ++k)
        loop->param_stride *= info->param_shape[k];
    if (i == info->scheme.axis) loop->group = info->scheme.group_size;
}

static uint64_t magnitude(int64_t stride)
{
    return stride < 0 ? -(uint64_t)stride : (uint64_t)stride;
}

/* Outermost first means larger strides of the leading operand first, then of the others. */
static bool is_outside(const struct clq_loop *a, const struct clq_loop *b, int lead)
{
    for (int i = 0; i < CLQ_OPERANDS; ++i) {
        const int k = (lead + i) % CLQ_OPERANDS;
        const uint64_t of_a = magnitude(a->stride[k]), of_b = magnitude(b->stride[k]);
        if (of_a != of_b) return of_a > of_b;
    }
    return false;
}

static void sort_loops(struct clq_loop *loops, const struct clq_loop *end, int lead)
{
    for (struct clq_loop *next = loops + 1; next < end; ++next) {
        const struct clq_loop loop = *next;
        struct clq_loop *at = next;
        for (; at > loops && is_outside(&loop, at - 1, lead); --at)
            *at = at[-1];
        *at = loop;
    }
}

/* Makes one loop of two neighbours if every operand and the parameters move alike. */
static bool merge(struct clq_loop *outer, const struct clq_loop *inner)
{
    for (int k = 0; k < CLQ_OPERANDS; ++k)
        if (outer->stride[k] != inner->stride[k] * inner->extent) return false;
    if (inner->param_stride == 0) {
        /* The inner index does not matter: inner->extent elements share what one shared. */
        outer->group = outer->param_stride == 0 ? 1 : outer->group * inner->extent;
    } else {
        if (outer->group != 1 || inner->extent % inner->group != 0) return false;
        if (outer->param_stride != inner->extent / inner->group * inner->param_stride) return false;
        outer->param_stride = inner->param_stride;
        outer->group = inner->group;
    }
    outer->extent *= inner->extent;
    memcpy(outer->stride, inner->stride, sizeof outer->stride);
    return true;
}

static void set_operand(struct clq_op *op, int k, const struct clq_operand *operand)
{
    op->operand[k].dtype = operand->tensor->dtype;
    op->operand[k].data = operand->data;
    op->device[CLQ_ARG_0 + k] = operand->device;
}

void clq_op_set_operands(struct clq_op *op, const struct clq_operand *const operands[CLQ_MASK], const struct clq_operand *mask, int lead,
                         const struct clq_scheme_info *info)
{
    const struct clq_operand *leader = mask ? mask : operands[lead];
    const clq_tensor *x = operands[lead]->tensor;
    int64_t row_major = operands[lead]->count; /* the stride of a mask */
    struct clq_loop *end = op->loops, *merged = op->loops;

    for (int k = 0; k < CLQ_MASK; ++k)
        if (operands[k]) set_operand(op, k, operands[k]);
    if (mask) set_operand(op, CLQ_MASK, mask);
    for (int32_t i = 0; i < x->rank; ++i) {
        if (x->shape[i] <= 1) continue;
        end->extent = x->shape[i];
        for (int k = 0; k < CLQ_MASK; ++k)
            end->stride[k] = operands[k] ? operands[k]->tensor->strides[i] : 0;
        end->stride[CLQ_MASK] = mask ? row_major /= end->extent : 0;
        set_param_stride(end++, i, info);
    }
    /* A contiguous leader is in order already, and a 4-bit one always is. */
    if (!leader->contiguous) sort_loops(op->loops, end, lead);
    for (const struct clq_loop *loop = op->loops + 1; loop < end; ++loop)
        if (!merge(merged, loop)) *++merged = *loop;
    if (end == op->loops) {
        op->loops[0] = (struct clq_loop){.extent = 1, .group = 1};
        for (int k = 0; k < CLQ_OPERANDS; ++k)
            op->loops[0].stride[k] = clq_op_has_operand(op, k);
    }
    op->rank = (int32_t)(merged - op->loops) + 1;
    op->count = operands[lead]->count;
}
