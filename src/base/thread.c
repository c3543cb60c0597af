/* SPDX-License-Identifier: MIT */
/* Parallel loops over the caller's hook or OpenMP, and how many threads to use by default. */
#include "config.h"

#include "base/thread.h"

#include "base/fp_mode.h"
#include "base/util.h"
#include <ctype.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct loop {
    clq_task_fn task;
    void *argument;
};

/* A worker's floating-point mode is whatever its creator had or its owner left there. */
static void run_task(void *opaque, int64_t index)
{
    const struct loop *loop = opaque;
    const clq_fp_mode mode = clq_fp_mode_enter();
    loop->task(loop->argument, index);
    clq_fp_mode_leave(mode);
}

void clq_parallel_for(const struct clq_threads *threads, int64_t tasks, clq_task_fn task, void *argument)
{
    struct loop loop = {task, argument};
    if (tasks > 1 && threads->count > 1 && getpid() == threads->pid) {
        if (threads->hook) {
            threads->hook(threads->hook_opaque, tasks, run_task, &loop);
            return;
        }
#ifdef _OPENMP
#pragma omp parallel for num_threads((int)clq_min_i64(tasks, threads->count)) schedule(dynamic, 1)
        for (int64_t i = 0; i < tasks; ++i)
            run_task(&loop, i);
        return;
#endif
    }
    for (int64_t i = 0; i < tasks; ++i)
        run_task(&loop, i);
}

/* OMP_NUM_THREADS is a list, of which the first entry counts here; what OpenMP itself would not accept is ignored, as it does. */
static long read_omp_num_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    char *end;
    long value;
    if (!text) return LONG_MAX;
    value = strtol(text, &end, 10);
    while (isspace((unsigned char)*end))
        ++end;
    return end != text && (*end == '\0' || *end == ',') && value >= 1 ? value : LONG_MAX;
}

static long count_affinity(void)
{
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return sysconf(_SC_NPROCESSORS_ONLN);
}

/* Reads a small file into `text`; false if there is none. */
static bool read_text(const char *path, char *text, size_t size_bytes)
{
    FILE *file = fopen(path, "re");
    size_t n;
    if (!file) return false;
    n = fread(text, 1, size_bytes - 1, file);
    text[n] = '\0';
    fclose(file);
    return n > 0;
}

/* CPUs that a quota of `quota` microseconds each `period` allows, rounded up; LONG_MAX if that is no limit. */
static long count_quota(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) return LONG_MAX;
    return (long)clq_min_i64(clq_ceil_div(quota, period), LONG_MAX);
}

/* Version 2 keeps "QUOTA PERIOD" in cpu.max of the process's own group and of every group above it; version 1 two files. Paths as in the
   kernel's cgroup-v2.rst and sched-bwc.rst. Inside a container the group's own path may not exist, and the root stands for it. */
static long read_cgroup_quota(void)
{
    char text[4096], path[4608];
    long least = LONG_MAX;
    long long quota, period;

    if (read_text("/proc/self/cgroup", text, sizeof text)) {
        char *group = strstr(text, "0::/");
        if (group) {
            group += 3;
            group[strcspn(group, "\n")] = '\0';
            for (;;) {
                char limits[64];
                char *slash;
                snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", strcmp(group, "/") == 0 ? "" : group);
                if (read_text(path, limits, sizeof limits) && sscanf(limits, "%lld %lld", &quota, &period) == 2)
                    least = clq_min_i64(least, count_quota(quota, period));
                slash = strrchr(group, '/');
                if (!slash || strcmp(group, "/") == 0) break;
                slash[slash == group] = '\0';
            }
        }
    }
    if (read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text) && sscanf(text, "%lld", &quota) == 1 &&
        read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text, sizeof text) && sscanf(text, "%lld", &period) == 1)
        least = clq_min_i64(least, count_quota(quota, period));
    return least;
}

int32_t clq_threads_default(void)
{
    int64_t count = clq_min_i64(clq_min_i64(read_omp_num_threads(), count_affinity()), read_cgroup_quota());
    return (int32_t)clq_max_i64(1, clq_min_i64(count, CLQ_THREADS_MAX));
}
