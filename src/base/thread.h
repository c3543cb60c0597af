/* SPDX-License-Identifier: MIT */
/* Parallel loops and the floating-point environment they run in. */
#ifndef CLQ_BASE_THREAD_H
#define CLQ_BASE_THREAD_H

#include <clquant.h>
#include <stdbool.h>
#include <sys/types.h>

/* How a context's loops run. */
struct clq_threads {
    int32_t count;            /* at most so many at once, 1 or more */
    clq_parallel_for_fn hook; /* NULL: OpenMP, or one thread without it */
    void *hook_opaque;
    pid_t pid;                /* of the process that created the context: a forked child runs everything on one thread */
};

/* Runs task(argument, i) for every i in [0, tasks) and returns when all are done. Each task runs in round-to-nearest mode without
   flushing of denormals, with exceptions masked; the thread's own mode is restored after it. */
void clq_parallel_for(const struct clq_threads *threads, int64_t tasks, clq_task_fn task, void *argument);

/* Threads by default: the least of OMP_NUM_THREADS, the affinity mask and the cgroup's CPU quota; at least 1, at most CLQ_THREADS_MAX. */
int32_t clq_threads_default(void);

#define CLQ_THREADS_MAX 1024

#endif
