/* SPDX-License-Identifier: MIT */
/* From tensors and a granularity to the loops of an operation. */
#ifndef CLQ_LOOPS_H
#define CLQ_LOOPS_H

#include "scheme.h"

/*
 * Sets op->rank, loops and count for one or two checked operands of equal shape; `b` may be NULL. `info` has been fitted to them; NULL
 * means no parameters. The loops are ordered so that `leader` (a or b) is walked in the order of its memory, then merged.
 */
void clq_set_loops(struct clq_op *op, const struct clq_operand *a, const struct clq_operand *b, const struct clq_operand *leader,
                   const struct clq_scheme_info *info);

#endif
