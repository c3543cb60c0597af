/* SPDX-License-Identifier: MIT */
/* The context's inside, and how a call fails. */
#ifndef CLQ_CONTEXT_H
#define CLQ_CONTEXT_H

#include "base/thread.h"
#include <clquant.h>

struct clq_backend;

#define CLQ_ERROR_TEXT_BYTES 512

struct clq_context {
    clq_allocator allocator;
    clq_log_fn log;
    void *log_opaque;
    struct clq_threads threads;
    const struct clq_backend *backend;
    void *backend_state; /* made by the backend's create(), freed by its destroy() */
    char error_text[CLQ_ERROR_TEXT_BYTES];
};

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
