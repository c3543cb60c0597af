/* SPDX-License-Identifier: MIT */
/**
 * @file clquant_opencl.h
 * clquant inside a program that has OpenCL code of its own: contexts on its queues, tensors in its buffers, events both ways.
 *
 * The only header that includes CL/cl.h; installed with libraries that were built with OpenCL. Rules of clquant.h hold.
 */
#ifndef CLQUANT_OPENCL_H
#define CLQUANT_OPENCL_H

#include <clquant.h>

#ifndef CL_TARGET_OPENCL_VERSION
/** The version of OpenCL that CL/cl.h declares, unless the program has chosen another. This header needs 1.2. */
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Creates a context that runs on a queue of the caller's.
 *
 * Operations are queued there in the order of the calls, each waiting for the one before it, so that an out-of-order queue serves as
 * well as an in-order one. On an in-order queue they take their place among the caller's own commands; on an
 * out-of-order queue the two are ordered by clq_opencl_wait() and clq_opencl_event() alone. Host tensors are staged
 * through further queues on the same device, which the library makes when they are first needed: there too the calls' own order holds,
 * and a call with an output in host memory waits for what the operations before it wait for.
 *
 * Any number of contexts may share a cl_context, a device or a queue; a queue that several threads use must be safe for that, as all of OpenCL
 * but clSetKernelArg() is. The first call of each kind compiles kernels, or loads them from the cache: see clq_context_warm_up().
 * @param options  as in clq_context_create(), of which `device` must be NULL; CLQ_DEVICE is not read; may be NULL
 * @param cl       retained until the context is freed
 * @param device   a device of `cl`
 * @param queue    a queue of `cl` on `device`; retained
 * @param[out] context the new context, NULL on failure; free it with clq_context_free()
 * @return as clq_context_create(); CLQ_ERROR_NO_DEVICE if the device lacks what clquant needs; CLQ_ERROR_INVALID_ARGUMENT if context, device and
 *         queue do not belong together or one is NULL
 */
CLQ_API clq_status clq_context_create_opencl(const clq_context_options *options, cl_context cl, cl_device_id device, cl_command_queue queue,
                                             clq_context **context);

/**
 * A contiguous row-major view of an OpenCL buffer, starting `offset` elements into it. Checks nothing, as clq_tensor_host().
 *
 * The buffer must be one of the cl_context that the context of a call runs in, else CLQ_ERROR_CONTEXT, and as large as the view,
 * else CLQ_ERROR_SHAPE. It may be released as soon as the call returns, outside of a batch. Of two buffers the library knows only whether
 * they are the same: that sub-buffers of one parent do not overlap is the caller's to see to, and that those made with
 * CL_MEM_USE_HOST_PTR are not mapped or reached by the host meanwhile.
 */
CLQ_API clq_tensor clq_tensor_opencl(clq_dtype dtype, cl_mem buffer, int64_t offset, int32_t rank, const int64_t *shape);

/**
 * Makes all later operations of the context wait for events, without blocking the calling thread. On an out-of-order queue nobody else's
 * commands wait; on an in-order one those queued later do, as they would for any command.
 *
 * @param n      0 or more; with 0 nothing happens
 * @param events `n` events of the same cl_context; they may be released on return. One that has failed already is refused with
 *               CLQ_ERROR_DEVICE; one that fails later fails the operations that wait for it
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_CONTEXT if the context does not run on OpenCL, CLQ_ERROR_DEVICE, CLQ_ERROR_FORKED
 */
CLQ_API clq_status clq_opencl_wait(clq_context *context, cl_uint n, const cl_event *events);

/**
 * An event that completes when all work of the context so far has; flushes the queue. If some of that work fails, so does the event.
 *
 * @param[out] event to be released by the caller; NULL on failure
 * @return as clq_opencl_wait()
 */
CLQ_API clq_status clq_opencl_event(clq_context *context, cl_event *event);

#ifdef __cplusplus
}
#endif

#endif
