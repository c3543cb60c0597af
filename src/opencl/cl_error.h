/* SPDX-License-Identifier: MIT */
/* OpenCL's header, as the whole backend includes it, and what a failed call becomes. */
#ifndef CLQ_OPENCL_CL_ERROR_H
#define CLQ_OPENCL_CL_ERROR_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "context.h"

/* The code as text, "CL_OUT_OF_RESOURCES" for instance; "unknown OpenCL error" for any other number. Static storage. */
const char *clq_cl_error_name(cl_int code);

/* Keeps "clCreateBuffer: CL_OUT_OF_RESOURCES (-5)" as the context's error: CLQ_ERROR_OUT_OF_MEMORY if the code says that an
   allocation failed, else CLQ_ERROR_DEVICE. Of `call`, only what is before a parenthesis is kept. */
clq_status clq_cl_fail(clq_context *context, const char *call, cl_int code);

/* Passes the failure of a call that returns a cl_int up: CL_TRY(context, clFlush(queue)). */
#define CL_TRY(context, call)                                                                                                    \
    do {                                                                                                                         \
        const cl_int cl_try_code = (call);                                                                                       \
        if (cl_try_code != CL_SUCCESS) return clq_cl_fail((context), #call, cl_try_code);                                        \
    } while (0)

#endif
