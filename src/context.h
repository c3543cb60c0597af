/* SPDX-License-Identifier: MIT */
/* The context's inside, and how a call fails. */
#ifndef CLQ_CONTEXT_H
#define CLQ_CONTEXT_H

#include "base/fp_mode.h"
#include "base/thread.h"
#include <clquant.h>
#include <stdbool.h>

struct clq_backend;
struct clq_task;

#define CLQ_ERROR_TEXT_BYTES 512

struct clq_context {
    clq_allocator allocator;
    clq_log_fn log;
    void *log_opaque;
    struct clq_threads threads;
    const struct clq_backend *backend; /* where it runs; the CPU is there besides, for host tensors */
    void *cpu_state, *opencl_state;    /* made by a backend's create(), freed by its destroy() */
    clq_host_tensors host_tensors;     /* never CLQ_HOST_TENSORS_AUTO */
    bool no_fallback;
    const char *ran_on;                /* name of the backend of the last operation */
    const char *call;                  /* the function being run, "clq_quantize" */
    clq_fp_mode fp_mode;               /* that of the thread that called it */
    bool batching;
    struct clq_task *first_task, **next_task; /* of the batch */
    struct clq_task *spare_tasks;             /* of earlier batches, to be used again */
    void *batch_memory[16];                   /* blocks of the device's, for intermediate results of the batch's calls */
    int32_t batch_blocks;
    int64_t block_bytes, block_used_bytes;    /* of the last block */
    char error_text[CLQ_ERROR_TEXT_BYTES];
};

/* clq_context_create(), on a device that the caller has chosen (see clq_choose_backend()) or with NULL for `foreign`. */
clq_status clq_context_make(const clq_context_options *options, const void *foreign, clq_context **context);

/* Keeps a line of text ("clq_quantize: x.rank = 9, at most 8") as the context's error, logs it, and returns `status`. */
clq_status clq_fail(clq_context *context, clq_status status, const char *format, ...) __attribute__((format(printf, 3, 4), cold));

/* Logs a line at CLQ_LOG_WARNING or CLQ_LOG_INFO. */
void clq_log(const clq_context *context, clq_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4), cold));

/* Passes a failure up. */
#define CLQ_TRY(call)                               \
    do {                                            \
        const clq_status clq_try_status = (call);   \
        if (clq_try_status != CLQ_OK) return clq_try_status; \
    } while (0)

#endif
