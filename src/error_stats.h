/* SPDX-License-Identifier: MIT */
/* Figures from sums. */
#ifndef CLQ_ERROR_STATS_H
#define CLQ_ERROR_STATS_H

#include "backend.h"

/* `op` has run; NULL stands for a tensor without elements. */
void clq_derive_error_stats(const struct clq_op *op, int64_t elements, clq_error_stats *stats);

#endif
