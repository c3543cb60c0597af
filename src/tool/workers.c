/* SPDX-License-Identifier: MIT */
/*
 * Threads that share the library's loops, and sleep while the program reads and writes between them.
 *
 * OpenMP's spin there, and at the end of each loop: on a busy machine that made quantizing a file several times slower. And where
 * memory is short the OpenMP runtime ends the program, while these do without.
 */
#include "config.h"

#include "tool/workers.h"

#include <stdlib.h>

/* Takes tasks as long as there are any. The mutex is held at the beginning and at the end. */
static void take_tasks(struct clq_tool_workers *workers)
{
    while (workers->next < workers->tasks) {
        const int64_t index = workers->next++;
        const clq_task_fn task = workers->task;
        void *argument = workers->argument;
        workers->running++;
        pthread_mutex_unlock(&workers->mutex);
        task(argument, index);
        pthread_mutex_lock(&workers->mutex);
        workers->running--;
    }
    if (workers->running == 0) pthread_cond_signal(&workers->done);
}

static void *work(void *opaque)
{
    struct clq_tool_workers *workers = opaque;
    pthread_mutex_lock(&workers->mutex);
    while (!workers->stops) {
        take_tasks(workers);
        if (!workers->stops) pthread_cond_wait(&workers->work, &workers->mutex);
    }
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

void clq_tool_workers_start(struct clq_tool_workers *workers, int32_t count)
{
    *workers = (struct clq_tool_workers){.threads = count > 0 ? malloc((size_t)count * sizeof *workers->threads) : NULL};
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->work, NULL);
    pthread_cond_init(&workers->done, NULL);
    workers->is_ready = true;
    while (workers->threads != NULL && workers->count < count &&
           pthread_create(&workers->threads[workers->count], NULL, work, workers) == 0)
        workers->count++;
}

void clq_tool_workers_stop(struct clq_tool_workers *workers)
{
    if (!workers->is_ready) return;
    pthread_mutex_lock(&workers->mutex);
    workers->stops = true;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->mutex);
    for (int32_t k = 0; k < workers->count; k++)
        pthread_join(workers->threads[k], NULL);
    free(workers->threads);
    pthread_cond_destroy(&workers->work);
    pthread_cond_destroy(&workers->done);
    pthread_mutex_destroy(&workers->mutex);
    workers->is_ready = false;
}

void clq_tool_workers_run(void *opaque, int64_t tasks, clq_task_fn task, void *argument)
{
    struct clq_tool_workers *workers = opaque;
    if (!workers->is_ready || workers->count == 0) {
        for (int64_t k = 0; k < tasks; k++)
            task(argument, k);
        return;
    }
    pthread_mutex_lock(&workers->mutex);
    workers->task = task;
    workers->argument = argument;
    workers->next = 0;
    workers->tasks = tasks;
    pthread_cond_broadcast(&workers->work);
    take_tasks(workers);
    while (workers->running > 0)
        pthread_cond_wait(&workers->done, &workers->mutex);
    pthread_mutex_unlock(&workers->mutex);
}
