/* SPDX-License-Identifier: MIT */
/* Contexts: options and environment, errors, the end. */
#include "config.h"

#include "context.h"

#include "base/alloc.h"
#include "run.h"
#include "task.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the first version of the header had: all up to error_text_bytes. */
#define CLQ_OPTIONS_LEAST_BYTES (offsetof(clq_context_options, error_text_bytes) + sizeof(size_t))

#define CLQ_STAGING_MIN_BYTES 4096

static void log_text(const clq_context *context, clq_log_level level, const char *text)
{
    if (context->log) context->log(context->log_opaque, level, text);
}

clq_status clq_fail(clq_context *context, clq_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->error_text, sizeof context->error_text, format, arguments);
    va_end(arguments);
    /* One line, whatever a file or an environment variable brought into it. */
    for (char *c = context->error_text; *c; ++c)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    log_text(context, CLQ_LOG_ERROR, context->error_text);
    return status;
}

void clq_log(const clq_context *context, clq_log_level level, const char *format, ...)
{
    char text[CLQ_ERROR_TEXT_BYTES];
    va_list arguments;
    if (!context->log) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_text(context, level, text);
}

/* An option, or the environment variable that stands in for it; `*source` names which. An empty variable counts as unset. */
static const char *read_setting(const char *option, const char *option_name, const char *variable, const char **source)
{
    const char *value = option;
    *source = option_name;
    if (!value) {
        value = getenv(variable);
        *source = variable;
        if (value && !*value) value = NULL;
    }
    return value;
}

static clq_status set_thread_count(clq_context *context, int32_t option)
{
    const char *source, *text = read_setting(NULL, "", "CLQ_NUM_THREADS", &source);
    char *end;
    long count = option;
    if (option < 0 || option > CLQ_THREADS_MAX)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: num_threads = %d, must be 0 to %d", (int)option, CLQ_THREADS_MAX);
    if (option == 0 && text) {
        count = strtol(text, &end, 10);
        if (end == text || *end != '\0' || count < 1 || count > CLQ_THREADS_MAX)
            return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: %s = \"%s\", must be 1 to %d", source, text, CLQ_THREADS_MAX);
    }
    context->threads.count = count ? (int32_t)count : clq_threads_default();
    return CLQ_OK;
}

/* Options that only a context on a device reads, checked in any case. */
static clq_status check_device_options(clq_context *context, const clq_context_options *options)
{
    if ((uint32_t)options->host_tensors > CLQ_HOST_TENSORS_DEVICE)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: host_tensors = %d, must be 0 to %d", (int)options->host_tensors,
                        CLQ_HOST_TENSORS_DEVICE);
    if (options->staging_bytes != 0 && options->staging_bytes < CLQ_STAGING_MIN_BYTES)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: staging_bytes = %lld, must be 0 or at least %d",
                        (long long)options->staging_bytes, CLQ_STAGING_MIN_BYTES);
    return CLQ_OK;
}

static clq_status set_up(clq_context *context, const clq_context_options *options, const void *foreign)
{
    struct clq_option_sources sources;
    clq_context_options resolved = *options;

    if (!clq_fp_mode_is_nearest(clq_fp_mode_get()))
        return clq_fail(context, CLQ_ERROR_ROUNDING, "clq_context_create: the calling thread's rounding mode is not to nearest");
    CLQ_TRY(check_device_options(context, options));
    CLQ_TRY(set_thread_count(context, options->num_threads));
    resolved.device = read_setting(options->device, "device", "CLQ_DEVICE", &sources.device);
    resolved.cpu = read_setting(options->cpu, "cpu", "CLQ_CPU", &sources.cpu);
    resolved.gemm_unit = read_setting(options->gemm_unit, "gemm_unit", "CLQ_GEMM_UNIT", &sources.gemm_unit);
    return clq_choose_backend(context, &resolved, &sources, foreign);
}

/* The caller's struct may be of an older or newer header: what it lacks has its default, what we do not know must be zero. */
static clq_status read_options(const clq_context_options *given, clq_context_options *options, clq_context *error)
{
    *options = (clq_context_options)CLQ_CONTEXT_OPTIONS_INIT;
    if (!given) return CLQ_OK;
    if (given->struct_size < CLQ_OPTIONS_LEAST_BYTES)
        return clq_fail(error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: options->struct_size = %zu, at least %zu", given->struct_size,
                        CLQ_OPTIONS_LEAST_BYTES);
    memcpy(options, given, given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
    for (size_t i = sizeof *options; i < given->struct_size; ++i)
        if (((const char *)given)[i] != 0)
            return clq_fail(error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: options->struct_size = %zu has options set past byte %zu, which this version lacks",
                            given->struct_size, sizeof *options);
    if (!options->allocator.allocate != !options->allocator.deallocate)
        return clq_fail(error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: options->allocator has one function, must have both or neither");
    return CLQ_OK;
}

clq_status clq_context_make(const clq_context_options *options, const void *foreign, clq_context **context)
{
    clq_context_options read;
    clq_context error = {.allocator = clq_allocator_libc}, *made = NULL;
    clq_status status;

    if (context) *context = NULL;
    status = read_options(options, &read, &error);
    if (status == CLQ_OK && !context) status = clq_fail(&error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: context is NULL");
    if (status == CLQ_OK) {
        error.log = read.log;
        error.log_opaque = read.log_opaque;
        if (read.allocator.allocate) error.allocator = read.allocator;
        made = clq_alloc_zeroed(&error.allocator, 1, sizeof *made);
        if (!made) status = clq_fail(&error, CLQ_ERROR_OUT_OF_MEMORY, "clq_context_create: no memory for a context");
    }
    if (status == CLQ_OK) {
        *made = error;
        made->ran_on = "";
        made->threads = (struct clq_threads){.hook = read.parallel_for, .hook_opaque = read.parallel_for_opaque, .pid = getpid()};
        status = set_up(made, &read, foreign);
    }
    if (status == CLQ_OK) {
        *context = made;
        return CLQ_OK;
    }
    if (options && options->struct_size >= CLQ_OPTIONS_LEAST_BYTES && options->error_text && options->error_text_bytes > 0)
        snprintf(options->error_text, options->error_text_bytes, "%s", made ? made->error_text : error.error_text);
    clq_context_free(made);
    return status;
}

clq_status clq_context_create(const clq_context_options *options, clq_context **context)
{
    return clq_context_make(options, NULL, context);
}

void clq_context_free(clq_context *context)
{
    clq_allocator allocator;
    if (!context) return;
    clq_tasks_free(context);
    clq_free_backends(context);
    allocator = context->allocator;
    clq_dealloc(&allocator, context);
}

const char *clq_context_error(const clq_context *context)
{
    return context ? context->error_text : "the context is NULL";
}

const char *clq_context_ran_on(const clq_context *context)
{
    return context ? context->ran_on : "";
}

clq_status clq_context_synchronize(clq_context *context)
{
    const struct clq_call call = {context, "clq_context_synchronize"};
    CLQ_TRY(clq_check_call(&call));
    return context->backend->synchronize ? context->backend->synchronize(context) : CLQ_OK;
}

clq_status clq_context_warm_up(clq_context *context, clq_dtype x, clq_dtype q)
{
    const struct clq_call call = {context, "clq_context_warm_up"};
    CLQ_TRY(clq_check_call(&call));
    if (x != CLQ_DTYPE_NONE && ((uint32_t)x > CLQ_S64 || !(CLQ_DTYPES_FLOAT & CLQ_DTYPES(x))))
        return clq_fail(context, CLQ_ERROR_DTYPE, "clq_context_warm_up: x = %s (%d), must be f32, f16, bf16 or none", clq_dtype_name(x), (int)x);
    if (q != CLQ_DTYPE_NONE && ((uint32_t)q > CLQ_S64 || !((CLQ_DTYPES_QUANTIZED | CLQ_DTYPES(CLQ_S32)) & CLQ_DTYPES(q))))
        return clq_fail(context, CLQ_ERROR_DTYPE, "clq_context_warm_up: q = %s (%d), must be a quantized type, s32 or none", clq_dtype_name(q), (int)q);
    return context->backend->warm_up ? context->backend->warm_up(context, x, q) : CLQ_OK;
}

clq_status clq_context_tune(clq_context *context)
{
    const struct clq_call call = {context, "clq_context_tune"};
    CLQ_TRY(clq_check_call(&call));
    return context->backend->tune ? context->backend->tune(context) : CLQ_OK;
}
