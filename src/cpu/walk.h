/* SPDX-License-Identifier: MIT */
/* Walks the loops of an operation, or a part of them, and feeds the kernels. */
#ifndef CLQ_CPU_WALK_H
#define CLQ_CPU_WALK_H

#include "cpu/cpu_ops.h"

struct clq_walk {
    const struct clq_op *op;
    int32_t loop;       /* this loop runs from begin to end, the others over their whole extents */
    int64_t begin, end; /* begin < end */
    float *lo, *hi;     /* minmax: results, indexed by parameter */
    const struct clq_cpu_ops *ops;
    int64_t counts[3];  /* += */
    struct clq_error_sums *sums;
    bool streams;             /* what all parts read and write is more than the caches hold, and nothing is in place */
    double *slopes, *outside; /* learnable gradients: += sums, indexed by parameter; outside may be NULL */
};

void clq_walk_run(struct clq_walk *walk);

#endif
