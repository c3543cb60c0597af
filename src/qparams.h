/* SPDX-License-Identifier: MIT */
/* Steps of calls that derive parameters from data or quantize with them, for calls that do both. */
#ifndef CLQ_QPARAMS_H
#define CLQ_QPARAMS_H

#include "task.h"

/* Outputs, those that are not absent, exclude one another and the inputs. */
clq_status clq_check_outputs(const struct clq_call *call, const struct clq_operand *const *outputs, int n_outputs,
                             const struct clq_operand *const *inputs, int n_inputs);

/* The destination of parameters: what is being asked for, checked as outputs. Both are empty parameters before. */
clq_status clq_check_targets(const struct clq_call *call, const clq_qparams *params, const struct clq_scheme_info *info,
                             const struct clq_operand *const *inputs, int n_inputs, struct clq_param *scale, struct clq_param *zero_point);

/* The scheme is one whose parameters come from ranges. */
clq_status clq_check_derivable(const struct clq_call *call, const clq_scheme *scheme);

/* Adds what finds the range of `x` to lo and hi, arrays in memory of the same kind each; `counts` may be NULL, or absent. */
clq_status clq_add_minmax(struct clq_task *task, const struct clq_operand *x, const struct clq_scheme_info *info, const struct clq_param *lo,
                          const struct clq_param *hi, const struct clq_operand *counts);

/* Makes room for parameters and adds what derives them from ranges; nothing if there are none. */
clq_status clq_add_qparams(const struct clq_call *call, struct clq_task *task, const struct clq_scheme_info *info, const struct clq_param *lo,
                           const struct clq_param *hi, struct clq_param *scale, struct clq_param *zero_point);

/* Checks a float and a quantized tensor, `in` and `out`, against the scheme and each other. */
clq_status clq_check_quantized(const struct clq_call *call, const clq_scheme *scheme, const struct clq_operand *in, const struct clq_operand *out,
                               const struct clq_operand *quantized, struct clq_scheme_info *info);

/* Adds the operation; the task has the counts already. */
clq_status clq_add_quantize(struct clq_task *task, const struct clq_operand *x, const struct clq_operand *q, const struct clq_scheme_info *info,
                            const struct clq_param *scale, const struct clq_param *zero_point);

#endif
