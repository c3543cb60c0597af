/* SPDX-License-Identifier: MIT */
/* A call whose arguments have been checked: what to run, what follows, what to free. It runs at once, or with the others of a batch. */
#ifndef CLQ_TASK_H
#define CLQ_TASK_H

#include "scheme.h"

enum { CLQ_TASK_OPS = 4, CLQ_TASK_PARAMS = 7 };

struct clq_task {
    struct clq_task *next;
    int32_t ops;                             /* in use, */
    int32_t params;                          /* each the first so many */
    void *scratch;                           /* host memory, or */
    void *device_scratch;                    /* memory of the device */
    clq_error_stats *stats;                  /* with `elements`, of clq_compute_error_stats(); NULL in other calls */
    int64_t elements;
    struct clq_operand counts;               /* where the last operation's counts go; its tensor is NULL if nowhere */
    struct clq_op op[CLQ_TASK_OPS];          /* run in order */
    struct clq_param param[CLQ_TASK_PARAMS];
    bool is_output[CLQ_TASK_PARAMS];         /* stored to their views in the end */
    struct clq_gemm gemm;                    /* of clq_gemm(): what its operation points to */
    float inline_scratch[32];                /* in place of a small `scratch` */
    clq_tensor views[CLQ_TASK_PARAMS];       /* in a batch: copies of those that results are stored to */
};

/* Checks the call's context and gives it a task: `local`, or one of the batch. Prepare it, then call clq_task_end() in any case. */
clq_status clq_task_begin(const struct clq_call *call, struct clq_task *local, struct clq_task **task);

/* Runs the task or adds it to the batch; frees it if preparing it failed with `status`. */
clq_status clq_task_end(const struct clq_call *call, struct clq_task *task, clq_status status);

/* The next parameter of the task, empty. */
struct clq_param *clq_task_param(struct clq_task *task, bool is_output);

/* The next operation of the task, zeroed but for its loops. */
struct clq_op *clq_task_op(struct clq_task *task, enum clq_op_kind kind);

/* Makes tensors of equal shapes the source and target of a CLQ_OP_CONVERT, and sets its loops. */
void clq_op_set_convert(struct clq_op *op, const struct clq_operand *in, const struct clq_operand *out);

/* Makes parameters and counts arguments of an operation. */
void clq_op_set_qparams(struct clq_op *op, const struct clq_scheme_info *info, const struct clq_param *scale, const struct clq_param *zero_point);
void clq_op_set_counts(struct clq_op *op, const struct clq_operand *counts);

/* Room for n arrays of `count` floats or integers, in host memory or on the device, as long as the task lives; not views of the caller. */
clq_status clq_task_scratch(const struct clq_call *call, struct clq_task *task, bool on_device, int64_t count, struct clq_param *arrays, int n);

/* Adds an operation that makes every element of a contiguous output 0. */
clq_status clq_task_zero(struct clq_task *task, const struct clq_operand *output);
clq_status clq_task_zero_param(struct clq_task *task, const struct clq_param *param, int64_t count);

/* Forgets an open batch and frees what batches have left for the next. */
void clq_tasks_free(clq_context *context);

#endif
