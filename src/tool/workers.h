/* SPDX-License-Identifier: MIT */
/* Threads that share the library's loops. */
#ifndef CLQ_TOOL_WORKERS_H
#define CLQ_TOOL_WORKERS_H

#include <clquant.h>
#include <pthread.h>
#include <stdbool.h>

/* A loop at a time: `next` of `tasks` is the first that nobody has taken yet, `running` are at work. */
struct clq_tool_workers {
    pthread_t *threads;
    int32_t count;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    bool is_ready, stops;
    clq_task_fn task;
    void *argument;
    int64_t next, tasks, running;
};

/* Starts `count` threads, or as many as the system gives. Without memory, none. */
void clq_tool_workers_start(struct clq_tool_workers *workers, int32_t count);

/* Ends them. Fine after no start. */
void clq_tool_workers_stop(struct clq_tool_workers *workers);

/* A clq_parallel_for_fn: `opaque` is the workers, which the calling thread joins. */
void clq_tool_workers_run(void *opaque, int64_t tasks, clq_task_fn task, void *argument);

#endif
