/* SPDX-License-Identifier: MIT */
/* Where operations run: the only place that chooses among backends, when a context is created and when an operation is run. */
#include "config.h"

#include "run.h"

#include "context.h"
#include <stdio.h>
#include <string.h>

/* Best first; the CPU last, as it takes everything. */
static const struct clq_backend *const backends[] = {&clq_backend_cpu};
#define BACKENDS (int32_t)(sizeof backends / sizeof backends[0])

/* "opencl" or "opencl:N". */
static bool names_opencl(const char *device)
{
    if (strncmp(device, "opencl", 6) != 0) return false;
    device += 6;
    return *device == '\0' || (*device == ':' && device[1] != '\0' && device[1 + strspn(device + 1, "0123456789")] == '\0');
}

clq_status clq_choose_backend(clq_context *context, const char *device, const char *source)
{
    for (int32_t i = 0; i < BACKENDS; ++i)
        if (!device || strcmp(device, backends[i]->name) == 0) {
            context->backend = backends[i];
            return CLQ_OK;
        }
    if (names_opencl(device))
        return clq_fail(context, CLQ_ERROR_NO_DEVICE, "clq_context_create: %s = \"%s\", but this version runs on the CPU only", source, device);
    return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_context_create: %s = \"%s\", must be cpu, opencl or opencl:N", source, device);
}

clq_status clq_run(clq_context *context, struct clq_op *op)
{
    return context->backend->run(context, op);
}

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
    char error_text[sizeof infos->reason];
    clq_context *context;

    if (!count || capacity < 0 || (capacity > 0 && !infos)) return CLQ_ERROR_INVALID_ARGUMENT;
    /* What would be used is found by doing it. */
    options.error_text = error_text;
    options.error_text_bytes = sizeof error_text;
    clq_context_create(&options, &context);
    for (int32_t i = 0; i < BACKENDS && i < capacity; ++i) {
        const bool chosen = context && context->backend == backends[i];
        memset(&infos[i], 0, sizeof infos[i]);
        backends[i]->describe(chosen ? context : NULL, &infos[i]);
        infos[i].chosen = chosen;
        if (chosen)
            snprintf(infos[i].reason, sizeof infos[i].reason, "the best device there is");
        else
            snprintf(infos[i].reason, sizeof infos[i].reason, "%s", context ? "another device is better" : error_text);
    }
    clq_context_free(context);
    *count = BACKENDS;
    return CLQ_OK;
}
