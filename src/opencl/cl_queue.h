/* SPDX-License-Identifier: MIT */
/*
 * A context's commands on a queue. Each waits for the one before it, so that they take effect in order on any kind of queue and a failure is
 * passed on to all that follow, where clq_cl_queue_finish() finds it.
 */
#ifndef CLQ_OPENCL_CL_QUEUE_H
#define CLQ_OPENCL_CL_QUEUE_H

#include "opencl/cl_error.h"

struct clq_cl_queue {
    cl_command_queue queue;
    cl_event last; /* the last command; NULL: there is none to wait for */
};

/* The wait list of a command: the last one, and `also` unless it is NULL. */
struct clq_cl_waits {
    cl_event events[2];
    cl_uint n;
};

struct clq_cl_waits clq_cl_queue_waits(const struct clq_cl_queue *queue, cl_event also);

/* The command just enqueued is the last one from now on; takes its event over. */
void clq_cl_queue_push(struct clq_cl_queue *queue, cl_event event);

/* Commands, each after the last one and after `also` if it is not NULL. None blocks. `host` must stay until the command is complete. */
cl_int clq_cl_queue_write(struct clq_cl_queue *queue, cl_mem memory, size_t offset_bytes, size_t size_bytes, const void *host, cl_event also);
cl_int clq_cl_queue_read(struct clq_cl_queue *queue, cl_mem memory, size_t offset_bytes, size_t size_bytes, void *host, cl_event also);
cl_int clq_cl_queue_zero(struct clq_cl_queue *queue, cl_mem memory, size_t offset_bytes, size_t size_bytes);
cl_int clq_cl_queue_launch(struct clq_cl_queue *queue, cl_kernel kernel, int64_t groups, size_t local_size, cl_event also);

/* Later commands wait for these events too. */
cl_int clq_cl_queue_wait(struct clq_cl_queue *queue, cl_uint n, const cl_event *events);

/* Blocks until all commands are complete; the first error among them. The queue can be used again afterwards. */
cl_int clq_cl_queue_finish(struct clq_cl_queue *queue);

/* Waits for one event and gives its error, if any. */
cl_int clq_cl_wait(cl_event event);

/* What a command has failed with; CL_SUCCESS if it is complete or still to run. */
cl_int clq_cl_error_of(cl_event event);

/* True if the command is known to be complete or to have failed. */
bool clq_cl_is_over(cl_event event);

#endif
