/* SPDX-License-Identifier: MIT */
/* Chained commands. */
#include "config.h"

#include "opencl/cl_queue.h"

struct clq_cl_waits clq_cl_queue_waits(const struct clq_cl_queue *queue, cl_event also)
{
    struct clq_cl_waits waits = {.n = 0};
    if (queue->last) waits.events[waits.n++] = queue->last;
    if (also) waits.events[waits.n++] = also;
    return waits;
}

void clq_cl_queue_push(struct clq_cl_queue *queue, cl_event event)
{
    if (queue->last) clReleaseEvent(queue->last);
    queue->last = event;
}

/* What the enqueueing functions take for their wait list and event. */
#define LIST waits.n, waits.n ? waits.events : NULL, &event

#define ENQUEUE(call)                                                            \
    do {                                                                         \
        const struct clq_cl_waits waits = clq_cl_queue_waits(queue, also);       \
        cl_event event = NULL;                                                   \
        const cl_int code = (call);                                              \
        if (code == CL_SUCCESS) clq_cl_queue_push(queue, event);                 \
        return code;                                                             \
    } while (0)

cl_int clq_cl_queue_write(struct clq_cl_queue *queue, cl_mem memory, size_t offset_bytes, size_t size_bytes, const void *host, cl_event also)
{
    ENQUEUE(clEnqueueWriteBuffer(queue->queue, memory, CL_FALSE, offset_bytes, size_bytes, host, LIST));
}

cl_int clq_cl_queue_read(struct clq_cl_queue *queue, cl_mem memory, size_t offset_bytes, size_t size_bytes, void *host, cl_event also)
{
    ENQUEUE(clEnqueueReadBuffer(queue->queue, memory, CL_FALSE, offset_bytes, size_bytes, host, LIST));
}

cl_int clq_cl_queue_zero(struct clq_cl_queue *queue, cl_mem memory, size_t offset_bytes, size_t size_bytes)
{
    const cl_uint zero = 0;
    const cl_event also = NULL;
    ENQUEUE(clEnqueueFillBuffer(queue->queue, memory, &zero, sizeof zero, offset_bytes, size_bytes, LIST));
}

cl_int clq_cl_queue_launch(struct clq_cl_queue *queue, cl_kernel kernel, int64_t groups, size_t local_size, cl_event also)
{
    const size_t global_size = (size_t)groups * local_size;
    ENQUEUE(clEnqueueNDRangeKernel(queue->queue, kernel, 1, NULL, &global_size, &local_size, LIST));
}

cl_int clq_cl_queue_wait(struct clq_cl_queue *queue, cl_uint n, const cl_event *events)
{
    cl_event gathered = NULL;
    cl_int code;
    if (n == 0) return CL_SUCCESS;
    /* PoCL never ends what waits for an event that has failed already. */
    code = queue->last ? clq_cl_error_of(queue->last) : CL_SUCCESS;
    for (cl_uint i = 0; i < n && code == CL_SUCCESS; ++i)
        code = clq_cl_error_of(events[i]);
    if (code != CL_SUCCESS) return code;
    code = clEnqueueMarkerWithWaitList(queue->queue, n, events, &gathered);
    if (code != CL_SUCCESS) return code;
    /* A marker waits for its list alone, so a second one joins it to what went before. */
    if (queue->last) {
        const cl_event both[2] = {queue->last, gathered};
        cl_event joined = NULL;
        code = clEnqueueMarkerWithWaitList(queue->queue, 2, both, &joined);
        clReleaseEvent(gathered);
        if (code != CL_SUCCESS) return code;
        gathered = joined;
    }
    clq_cl_queue_push(queue, gathered);
    return CL_SUCCESS;
}

cl_int clq_cl_error_of(cl_event event)
{
    cl_int state = CL_COMPLETE;
    const cl_int code = clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
    if (code != CL_SUCCESS) return code;
    return state < 0 ? state : CL_SUCCESS;
}

cl_int clq_cl_wait(cl_event event)
{
    const cl_int code = clWaitForEvents(1, &event);
    /* The wait itself only says that some event failed; its state says how. */
    const cl_int failed = clq_cl_error_of(event);
    return failed != CL_SUCCESS ? failed : code;
}

bool clq_cl_is_over(cl_event event)
{
    cl_int state = CL_COMPLETE;
    return clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) == CL_SUCCESS && state <= CL_COMPLETE;
}

cl_int clq_cl_queue_finish(struct clq_cl_queue *queue)
{
    cl_int code = CL_SUCCESS;
    if (!queue->last) return CL_SUCCESS;
    /* Not clFinish(): there may be commands of others, and rusticl's returns too early after a flush. */
    code = clq_cl_wait(queue->last);
    clReleaseEvent(queue->last);
    queue->last = NULL;
    return code;
}
