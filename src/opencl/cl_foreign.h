/* SPDX-License-Identifier: MIT */
/* What a caller brings to clq_context_create_opencl(). */
#ifndef CLQ_OPENCL_CL_FOREIGN_H
#define CLQ_OPENCL_CL_FOREIGN_H

#include "opencl/cl_error.h"

struct clq_cl_foreign {
    cl_context cl;
    cl_device_id device;
    cl_command_queue queue;
};

#endif
