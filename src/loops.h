/* SPDX-License-Identifier: MIT */
/* From tensors and a granularity to the loops of an operation. */
#ifndef CLQ_LOOPS_H
#define CLQ_LOOPS_H

#include "scheme.h"

/*
 * Makes checked tensors of equal shapes the operands of an operation, those that are not NULL, and sets its rank, loops and count. `mask` is NULL or a
 * mask of their elements. `info` has been fitted to them; NULL means no parameters. The loops are ordered so that operand `lead` is walked in
 * the order of its memory, a mask always is, then merged.
 */
void clq_op_set_operands(struct clq_op *op, const struct clq_operand *const operands[CLQ_MASK], const struct clq_operand *mask, int lead,
                         const struct clq_scheme_info *info);

#endif
