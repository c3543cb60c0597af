/* SPDX-License-Identifier: MIT */
/* The functions of clquant_opencl.h. */
#include "config.h"

#include "opencl/cl_foreign.h"
#include "opencl/cl_state.h"
#include <clquant_opencl.h>
#include <stdio.h>
#include <unistd.h>

clq_status clq_context_create_opencl(const clq_context_options *options, cl_context cl, cl_device_id device, cl_command_queue queue,
                                     clq_context **context)
{
    const struct clq_cl_foreign foreign = {cl, device, queue};
    const bool has_options = options && options->struct_size >= offsetof(clq_context_options, host_tensors);
    const char *fault = !cl                               ? "cl is NULL"
                        : !device                         ? "device is NULL"
                        : !queue                          ? "queue is NULL"
                        : has_options && options->device ? "options->device must be NULL, as the device is given"
                                                         : NULL;
    if (context) *context = NULL;
    if (!fault) return clq_context_make(options, &foreign, context);
    if (has_options && options->error_text && options->error_text_bytes > 0)
        snprintf(options->error_text, options->error_text_bytes, "clq_context_create_opencl: %s", fault);
    return CLQ_ERROR_INVALID_ARGUMENT;
}

clq_tensor clq_tensor_opencl(clq_dtype dtype, cl_mem buffer, int64_t offset, int32_t rank, const int64_t *shape)
{
    clq_tensor tensor = clq_tensor_host(dtype, buffer, rank, shape);
    tensor.memory = CLQ_MEMORY_OPENCL;
    tensor.offset = offset;
    return tensor;
}

/* The state of a context that runs on OpenCL, in this process. */
static clq_status get_state(clq_context *context, const char *name, struct clq_cl_state **state)
{
    if (!context) return CLQ_ERROR_INVALID_ARGUMENT;
    *state = clq_cl_state_of(context);
    if (!*state) return clq_fail(context, CLQ_ERROR_CONTEXT, "%s: the context runs on the CPU", name);
    if (getpid() != context->threads.pid)
        return clq_fail(context, CLQ_ERROR_FORKED, "%s: the context belongs to the parent process, and OpenCL does not survive a fork", name);
    return CLQ_OK;
}

clq_status clq_opencl_wait(clq_context *context, cl_uint n, const cl_event *events)
{
    struct clq_cl_state *state;
    CLQ_TRY(get_state(context, "clq_opencl_wait", &state));
    if (n > 0 && !events) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_opencl_wait: events is NULL");
    CL_TRY(context, clq_cl_queue_wait(&state->main, n, events));
    return CLQ_OK;
}

clq_status clq_opencl_event(clq_context *context, cl_event *event)
{
    struct clq_cl_state *state;
    cl_event reached;
    cl_int code = CL_SUCCESS;
    if (event) *event = NULL;
    CLQ_TRY(get_state(context, "clq_opencl_event", &state));
    if (!event) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_opencl_event: event is NULL");
    CL_TRY(context, clFlush(state->main.queue));
    /* The last command's event is that of all; if there is none, one that is complete. A marker would wait for the caller's own commands. What
       has failed unseen fails this event. */
    reached = state->main.last;
    if (reached && state->failed == CL_SUCCESS) {
        CL_TRY(context, clRetainEvent(reached));
    } else {
        reached = clCreateUserEvent(state->cl, &code);
        if (!reached) return clq_cl_fail(context, "clCreateUserEvent", code);
        code = clSetUserEventStatus(reached, state->failed == CL_SUCCESS ? CL_COMPLETE : state->failed);
    }
    if (code != CL_SUCCESS) {
        clReleaseEvent(reached);
        return clq_cl_fail(context, "clSetUserEventStatus", code);
    }
    *event = reached;
    return CLQ_OK;
}
