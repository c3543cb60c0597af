/* SPDX-License-Identifier: MIT */
/* Where operations run: the only place that chooses among backends, when a context is created and when an operation is run. */
#include "config.h"

#include "run.h"

#include "base/alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Best first; the CPU last, as it takes everything in host memory. */
static const struct clq_backend *const backends[] = {
#ifdef CLQ_WITH_OPENCL
    &clq_backend_opencl,
#endif
    &clq_backend_cpu,
};
#define BACKENDS (int32_t)(sizeof backends / sizeof backends[0])

/* ------------------------------------------------------------------------------------------------ when a context is created */

/* "opencl" or "opencl:N". */
static bool names_opencl(const char *device)
{
    if (strncmp(device, "opencl", 6) != 0) return false;
    device += 6;
    return *device == '\0' || (*device == ':' && device[1] != '\0' && device[1 + strspn(device + 1, "0123456789")] == '\0');
}

clq_status clq_choose_backend(clq_context *context, const clq_context_options *options, const struct clq_option_sources *sources,
                              const void *foreign)
{
    const char *device = options->device;
    const bool named = foreign || (device && names_opencl(device));
#ifdef CLQ_WITH_OPENCL
    clq_status status;
#endif
    if (!named && device && strcmp(device, "cpu") != 0)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: %s = \"%s\", must be cpu, opencl or opencl:N", sources->device, device);
    context->backend = &clq_backend_cpu;
    CLQ_TRY(clq_backend_cpu.create(context, options, sources, NULL));
    if (device && !named) return CLQ_OK;
#ifdef CLQ_WITH_OPENCL
    status = clq_backend_opencl.create(context, options, sources, foreign);
    if (status != CLQ_OK) {
        /* A device that is listed but cannot be opened, for instance by a second process, is none for those who did not ask for it. */
        if (named || options->gemm_unit || status == CLQ_ERROR_INVALID_ARGUMENT) return status;
        clq_log(context, CLQ_LOG_WARNING, "the best device cannot be used, so the CPU is: %s", context->error_text);
        clq_backend_opencl.destroy(context);
        context->error_text[0] = '\0';
    }
    if (context->opencl_state) context->backend = &clq_backend_opencl;
    context->no_fallback = options->no_fallback != 0;
    context->host_tensors = options->host_tensors;
    if (context->host_tensors == CLQ_HOST_TENSORS_AUTO) context->host_tensors = named ? CLQ_HOST_TENSORS_DEVICE : CLQ_HOST_TENSORS_CPU;
#else
    if (named)
        return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\", but this build has no OpenCL", sources->device, device);
#endif
    return CLQ_OK;
}

void clq_free_backends(clq_context *context)
{
    for (int32_t i = 0; i < BACKENDS; ++i)
        backends[i]->destroy(context);
}

/* ------------------------------------------------------------------------------------------------ when an operation is run */

static clq_status run_on(clq_context *context, const struct clq_backend *backend, struct clq_op *const *ops, int64_t n)
{
    context->ran_on = backend->name;
    return backend->run(context, ops, n);
}

/* The device takes what is on it, even in part, and of the rest what it is to take. */
static bool is_for_device(const clq_context *context, const struct clq_op *op)
{
    bool supported = context->host_tensors == CLQ_HOST_TENSORS_DEVICE;
    for (; op; op = op->then) {
        if (clq_op_is_on_device(op)) return true;
        supported = supported && context->backend->supports(context, op);
    }
    return supported;
}

/* On the device, one after the other: all first ones at once, then all second ones; `ops` is used up. */
static clq_status run_in_steps(clq_context *context, struct clq_op **ops, int64_t n)
{
    while (n > 0) {
        int64_t left = 0;
        CLQ_TRY(run_on(context, context->backend, ops, n));
        for (int64_t i = 0; i < n; ++i)
            if (ops[i]->then) ops[left++] = ops[i]->then;
        n = left;
    }
    return CLQ_OK;
}

/* Operations that are in host memory alone can be run again: their inputs are intact. */
static bool can_fall_back(const clq_context *context, struct clq_op *const *ops, int64_t n)
{
    if (context->no_fallback) return false;
    for (int64_t i = 0; i < n; ++i)
        for (const struct clq_op *op = ops[i]; op; op = op->then)
            if (clq_op_is_on_device(op)) return false;
    return true;
}

static void forget_results(struct clq_op *const *ops, int64_t n)
{
    for (int64_t i = 0; i < n; ++i)
        for (struct clq_op *op = ops[i]; op; op = op->then) {
            memset(op->counts, 0, sizeof op->counts);
            op->sums = (struct clq_error_sums){0};
        }
}

/* Puts those that are for the device in front, the others behind; returns how many are for the device. */
static int64_t sort_ops(const clq_context *context, struct clq_op *const *ops, int64_t n, struct clq_op **sorted)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i)
        if (is_for_device(context, ops[i]))
            sorted[count++] = ops[i];
        else
            sorted[n - 1 - (i - count)] = ops[i];
    return count;
}

static clq_status run_on_both(clq_context *context, struct clq_op *const *ops, int64_t n, struct clq_op **sorted)
{
    const int64_t count = sort_ops(context, ops, n, sorted);
    if (count > 0) {
        const bool again = can_fall_back(context, sorted, count);
        const clq_status status = run_in_steps(context, sorted, count);
        if (status != CLQ_OK && !again) return status;
        if (status != CLQ_OK) {
            clq_log(context, CLQ_LOG_WARNING, "the device failed, so the CPU takes over: %s", context->error_text);
            context->error_text[0] = '\0'; /* the call does not fail */
            sort_ops(context, ops, n, sorted); /* as they were */
            forget_results(sorted, count);
            CLQ_TRY(run_on(context, &clq_backend_cpu, sorted, count));
        }
    }
    return count < n ? run_on(context, &clq_backend_cpu, sorted + count, n - count) : CLQ_OK;
}

clq_status clq_run(clq_context *context, struct clq_op *const *ops, int64_t n)
{
    struct clq_op *one[1], **sorted = one;
    clq_status status;
    if (context->backend == &clq_backend_cpu) return run_on(context, &clq_backend_cpu, ops, n);
    if (n > 1) sorted = clq_alloc(&context->allocator, n, sizeof *sorted);
    if (!sorted) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "clq_batch_end: no memory for a list of %lld operations", (long long)n);
    status = run_on_both(context, ops, n, sorted);
    if (sorted != one) clq_dealloc(&context->allocator, sorted);
    return status;
}

void clq_release(clq_context *context, void *memory)
{
    if (memory && getpid() == context->threads.pid) context->backend->release(memory);
}

/* ------------------------------------------------------------------------------------------------ what there is */

clq_status clq_context_info(const clq_context *context, clq_device_info *info)
{
    if (!context || !info) return CLQ_ERROR_INVALID_ARGUMENT;
    memset(info, 0, sizeof *info);
    context->backend->describe(context, info);
    info->chosen = 1;
    snprintf(info->reason, sizeof info->reason, "this context runs here");
    return CLQ_OK;
}

clq_status clq_devices_list(clq_device_info *infos, int32_t capacity, int32_t *count)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_device_info chosen = {.chosen = 0};
    char error_text[sizeof infos->reason];
    const char *variable = getenv("CLQ_DEVICE");
    const bool named = variable && *variable;
    clq_context *context;
    int32_t n = 0;

    if (!count || capacity < 0 || (capacity > 0 && !infos)) return CLQ_ERROR_INVALID_ARGUMENT;
    /* What would be used is found by doing it. */
    options.error_text = error_text;
    options.error_text_bytes = sizeof error_text;
    if (clq_context_create(&options, &context) == CLQ_OK) clq_context_info(context, &chosen);
    for (int32_t i = 0; i < BACKENDS; ++i)
        n += backends[i]->list(context, n < capacity ? infos + n : NULL, n < capacity ? capacity - n : 0);
    for (int32_t i = 0; i < n && i < capacity; ++i) {
        infos[i].chosen = strcmp(infos[i].id, chosen.id) == 0;
        if (infos[i].reason[0]) continue; /* it cannot be used */
        if (infos[i].chosen)
            snprintf(infos[i].reason, sizeof infos[i].reason, named ? "CLQ_DEVICE names it" : "the best device there is");
        else if (context)
            snprintf(infos[i].reason, sizeof infos[i].reason, named ? "CLQ_DEVICE names another" : "another device is better");
        else
            snprintf(infos[i].reason, sizeof infos[i].reason, "%s", error_text);
    }
    clq_context_free(context);
    *count = n;
    return CLQ_OK;
}
