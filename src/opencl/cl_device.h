/* SPDX-License-Identifier: MIT */
/* OpenCL devices: which there are, what they can do, which is the best. */
#ifndef CLQ_OPENCL_CL_DEVICE_H
#define CLQ_OPENCL_CL_DEVICE_H

#include "opencl/cl_error.h"
#include <stdbool.h>

/* Kernels run in groups of a power of two of work-items, between these. */
#define CLQ_CL_LOCAL_SIZE_LEAST 16
#define CLQ_CL_LOCAL_SIZE_MOST  256

/* What the backend knows of a device; asked once. Texts are printable ASCII, cut to fit. */
struct clq_cl_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_device_type type;
    char name[128];
    char version[128]; /* "OpenCL 3.0 CUDA" */
    char driver[256];  /* driver version, platform name and version: with name and version, what a binary depends on */
    int64_t memory_bytes;
    int64_t max_alloc_bytes;
    int64_t local_memory_bytes; /* of a work-group */
    int64_t base_align_bytes;   /* of a buffer's address */
    size_t max_group_size;      /* work-items in a group that the device takes */
    size_t max_local_size;      /* work-items in a group that kernels may use: CLQ_CL_LOCAL_SIZE_LEAST..MOST, a power of two */
    int32_t compute_units;
    int32_t address_bits;
    bool unified;           /* memory is shared with the host */
    bool fp64;              /* with everything cl_khr_fp64 promises */
    bool fp16;              /* cl_khr_fp16 */
    bool int64_atomics;     /* cl_khr_int64_base_atomics */
    bool dot_product;       /* cl_khr_integer_dot_product */
    bool dot_product_packed; /* of four bytes in a uint */
    bool arm_dot;           /* cl_arm_integer_dot_product_accumulate_int8 */
    bool arm_matrix;        /* cl_arm_matrix_multiply */
    bool intel_matrix;      /* cl_intel_subgroup_matrix_multiply_accumulate, cl_intel_subgroup_local_block_io and what they rest on */
    int32_t intel_sub_group_size; /* the smallest one, which says which of its shapes the device has; 0: unknown */
    int32_t nvidia_capability; /* 10 * major + minor of the compute capability; 0: not NVIDIA's */
    bool denormals;         /* f32 denormals are not flushed */
    bool fast_fma;          /* fma() is an instruction */
    char capabilities[160]; /* "fp64, unified memory, 16 compute units, local size 256" */
    char refusal[160];      /* "" if the backend can use it, else why not */
};

/* Asks a device everything. On failure *device is untouched. */
cl_int clq_cl_device_read(cl_device_id id, struct clq_cl_device *device);

/* Fills in `refusal`, `capabilities` and `max_local_size` from the answers of a device; see cl_device.c. Apart, for the tests. */
struct clq_cl_answers {
    char profile[32], c_version[128], version[128];
    cl_device_fp_config single_config, double_config;
    bool available, compiler, little_endian;
    bool embedded_int64; /* cles_khr_int64 */
    size_t max_group_size, max_item_size;
};
void clq_cl_device_judge(const struct clq_cl_answers *answers, struct clq_cl_device *device);

/*
 * All devices of all platforms, best first: GPUs, those with memory of their own before others, more memory before less, more
 * compute units before fewer; accelerators; CPUs and others; those that are refused. "opencl:N" is the N-th, from 0. What fails
 * to answer is left out if it is a platform, listed as refused if it is a device. *devices is to be freed with clq_dealloc();
 * NULL if there are none.
 */
clq_status clq_cl_devices_find(const clq_allocator *allocator, struct clq_cl_device **devices, int32_t *count);

/* Puts them in that order. Equal ones stay in theirs. */
void clq_cl_devices_sort(struct clq_cl_device *devices, int32_t count);

/* The first usable GPU or accelerator, -1 if there is none: devices that are the CPU again are used only when asked for by
 * number. */
int32_t clq_cl_devices_best(const struct clq_cl_device *devices, int32_t count);

/* Compiler options that tell kernels what the device has, each with a space before it; at most 64 bytes with the NUL. */
void clq_cl_device_defines(const struct clq_cl_device *device, char *text, size_t size_bytes);

#endif
