/* SPDX-License-Identifier: MIT */
/*
 * Stands between a test program and OpenCL: defines every function that the library calls, counts the calls and the references, makes one call
 * fail, shows the commands to the test, and passes everything else on to the real ones.
 */
#ifndef CLQ_TESTS_OPENCL_SHIM_H
#define CLQ_TESTS_OPENCL_SHIM_H

#include "opencl/cl_error.h"
#include <stdatomic.h>

/* Functions that can fail. */
#define SHIM_FOR_EACH(ITEM)             \
    ITEM(clBuildProgram)                \
    ITEM(clCreateBuffer)                \
    ITEM(clCreateCommandQueue)          \
    ITEM(clCreateContext)               \
    ITEM(clCreateKernel)                \
    ITEM(clCreateProgramWithBinary)     \
    ITEM(clCreateProgramWithSource)     \
    ITEM(clCreateUserEvent)             \
    ITEM(clEnqueueFillBuffer)           \
    ITEM(clEnqueueMapBuffer)            \
    ITEM(clEnqueueMarkerWithWaitList)   \
    ITEM(clEnqueueNDRangeKernel)        \
    ITEM(clEnqueueReadBuffer)           \
    ITEM(clEnqueueUnmapMemObject)       \
    ITEM(clEnqueueWriteBuffer)          \
    ITEM(clFinish)                      \
    ITEM(clFlush)                       \
    ITEM(clGetCommandQueueInfo)         \
    ITEM(clGetDeviceIDs)                \
    ITEM(clGetDeviceInfo)               \
    ITEM(clGetEventInfo)                \
    ITEM(clGetMemObjectInfo)            \
    ITEM(clGetPlatformIDs)              \
    ITEM(clGetPlatformInfo)             \
    ITEM(clGetProgramBuildInfo)         \
    ITEM(clGetProgramInfo)              \
    ITEM(clRetainCommandQueue)          \
    ITEM(clRetainContext)               \
    ITEM(clRetainEvent)                 \
    ITEM(clRetainMemObject)             \
    ITEM(clSetKernelArg)                \
    ITEM(clSetUserEventStatus)          \
    ITEM(clWaitForEvents)

/* Kinds of objects. */
#define SHIM_FOR_EACH_OBJECT(ITEM) \
    ITEM(CommandQueue)             \
    ITEM(Context)                  \
    ITEM(Event)                    \
    ITEM(Kernel)                   \
    ITEM(MemObject)                \
    ITEM(Program)

#define SHIM_CALL(name)   SHIM_##name,
#define SHIM_OBJECT(name) SHIM_LIVE_##name,
enum shim_call { SHIM_FOR_EACH(SHIM_CALL) SHIM_CALLS };
enum shim_object { SHIM_FOR_EACH_OBJECT(SHIM_OBJECT) SHIM_OBJECTS };
#undef SHIM_CALL
#undef SHIM_OBJECT

struct shim {
    atomic_llong total;                      /* calls of functions that can fail */
    atomic_llong calls[SHIM_CALLS];          /* of each */
    atomic_llong live[SHIM_OBJECTS];         /* references taken less those given back */
    atomic_llong written_bytes, read_bytes;  /* by transfers */
    cl_int fail_code;                        /* what a failing call returns, if not CL_OUT_OF_RESOURCES; 0: that */
    long long fail_at;                       /* the `total` at which a call fails and does nothing, but for those that wait: they wait first;
                                                0: none does */
    int fail_call;                           /* every call of this function fails so, if not SHIM_CALLS */
    atomic_int failed;                       /* the function that did last; SHIM_CALLS if none has */
    /* Called after each command was queued; keeps no reference to the event. Commands without an event are not shown. */
    void (*on_command)(enum shim_call call, cl_event event);
};

extern struct shim shim;

/* Its name, "clFlush". */
const char *shim_name(int call);

#endif
