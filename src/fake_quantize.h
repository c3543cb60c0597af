/* SPDX-License-Identifier: MIT */
/* Steps of clq_fake_quantize(), for the call that derives the parameters first. */
#ifndef CLQ_FAKE_QUANTIZE_H
#define CLQ_FAKE_QUANTIZE_H

#include "task.h"

/* Tensors that have passed clq_check_fake_quantize(); mask and counts may be absent. */
struct clq_fake_quantize {
    struct clq_operand x, y, mask, counts;
    bool in_place;
};

/* Checks everything but the parameters. */
clq_status clq_check_fake_quantize(const struct clq_call *call, const clq_tensor *x, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts,
                                   struct clq_fake_quantize *checked);

/* Adds the operation; the task has the counts already. */
clq_status clq_add_fake_quantize(struct clq_task *task, const struct clq_fake_quantize *checked, const struct clq_scheme_info *info,
                                 const struct clq_param *scale, const struct clq_param *zero_point);

#endif
