/* SPDX-License-Identifier: MIT */
/* Contexts: options and environment, errors, the end. */
#include "config.h"

#include "context.h"

#include "base/alloc.h"
#include "run.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static clq_status set_up(clq_context *context, const clq_context_options *options)
{
    const char *source, *device = read_setting(options->device, "device", "CLQ_DEVICE", &source);
    clq_context_options resolved = *options;

    if (!clq_rounding_is_nearest())
        return clq_fail(context, CLQ_ERROR_ROUNDING, "clq_context_create: the calling thread's rounding mode is not to nearest");
    CLQ_TRY(set_thread_count(context, options->num_threads));
    CLQ_TRY(clq_choose_backend(context, device, source));
    resolved.cpu = read_setting(options->cpu, "cpu", "CLQ_CPU", &source);
    return context->backend->create(context, &resolved, source);
}

/* The caller's struct may be of an older or newer header: what it lacks has its default, what we do not know must be zero. */
static clq_status read_options(const clq_context_options *given, clq_context_options *options, clq_context *error)
{
    const size_t least = offsetof(clq_context_options, error_text_bytes) + sizeof given->error_text_bytes;
    *options = (clq_context_options)CLQ_CONTEXT_OPTIONS_INIT;
    if (!given) return CLQ_OK;
    if (given->struct_size < least)
        return clq_fail(error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: options->struct_size = %zu, at least %zu", given->struct_size, least);
    *options = *given;
    for (size_t i = sizeof *options; i < given->struct_size; ++i)
        if (((const char *)given)[i] != 0)
            return clq_fail(error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: options->struct_size = %zu has options set past byte %zu, which this version lacks",
                            given->struct_size, sizeof *options);
    if (!options->allocator.allocate != !options->allocator.deallocate)
        return clq_fail(error, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: options->allocator has one function, must have both or neither");
    return CLQ_OK;
}

clq_status clq_context_create(const clq_context_options *options, clq_context **context)
{
    clq_context_options read;
    clq_context made = {.allocator = clq_allocator_libc}, *copy = NULL;
    clq_status status;

    if (context) *context = NULL;
    status = read_options(options, &read, &made);
    if (status == CLQ_OK && !context) status = clq_fail(&made, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: context is NULL");
    if (status == CLQ_OK) {
        if (read.allocator.allocate) made.allocator = read.allocator;
        made.log = read.log;
        made.log_opaque = read.log_opaque;
        made.threads = (struct clq_threads){.hook = read.parallel_for, .hook_opaque = read.parallel_for_opaque, .pid = getpid()};
        status = set_up(&made, &read);
    }
    if (status == CLQ_OK) {
        copy = clq_alloc(&made.allocator, 1, sizeof *copy);
        if (copy) {
            *copy = made;
            *context = copy;
        } else {
            status = clq_fail(&made, CLQ_ERROR_OUT_OF_MEMORY, "clq_context_create: no memory for a context");
            made.backend->destroy(&made);
        }
    }
    if (status != CLQ_OK && options && options->struct_size >= sizeof *options && options->error_text && options->error_text_bytes > 0)
        snprintf(options->error_text, options->error_text_bytes, "%s", made.error_text);
    return status;
}

void clq_context_free(clq_context *context)
{
    clq_allocator allocator;
    if (!context) return;
    allocator = context->allocator;
    context->backend->destroy(context);
    clq_dealloc(&allocator, context);
}

const char *clq_context_error(const clq_context *context)
{
    return context ? context->error_text : "the context is NULL";
}

clq_status clq_context_synchronize(clq_context *context)
{
    return context ? CLQ_OK : CLQ_ERROR_INVALID_ARGUMENT;
}
