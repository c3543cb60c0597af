/* SPDX-License-Identifier: MIT */
/* Kernels of a context: compiled when first asked for, from the cache on disk or from source. */
#ifndef CLQ_OPENCL_CL_PROGRAM_H
#define CLQ_OPENCL_CL_PROGRAM_H

#include "opencl/cl_cache.h"

/* A file of kernels/. */
enum clq_cl_file {
    CLQ_CL_QUANTIZE,
    CLQ_CL_DEQUANTIZE,
    CLQ_CL_CONVERT,
    CLQ_CL_MINMAX,
    CLQ_CL_QPARAMS,
    CLQ_CL_ERROR_STATS,
    CLQ_CL_FAKE_QUANTIZE,
    CLQ_CL_BACKWARD,
    CLQ_CL_LEARNABLE,
    CLQ_CL_REQUANTIZE,
    CLQ_CL_GEMM_TILES, /* from here on of matrix products */
    CLQ_CL_GEMM_MMA,
    CLQ_CL_GEMM_MATRIX,
    CLQ_CL_GEMM_ROWS,
    CLQ_CL_GEMM_PACK,
    CLQ_CL_GEMM_FINISH,
    CLQ_CL_GEMM_F32,
    CLQ_CL_FILES
};

/* The kernels of a file; one that takes operands of any kind is CLQ_CL_ANY. */
enum { CLQ_CL_ANY, CLQ_CL_QUADS, CLQ_CL_COLUMNS, CLQ_CL_FINISH, CLQ_CL_MULTIPLIERS, CLQ_CL_FORMS };

#define CLQ_CL_DTYPES (CLQ_S64 + 1)

#define CLQ_CL_OPTIONS_BYTES 320

struct clq_cl_program {
    cl_program program;
    cl_kernel kernels[CLQ_CL_FORMS]; /* NULL where the file has no such kernel */
    enum clq_cl_file file;           /* of matrix products, as what follows */
    char options[CLQ_CL_OPTIONS_BYTES];
    struct clq_cl_program *next;
};

struct clq_cl_programs {
    cl_context cl;
    struct clq_cl_device device;
    struct clq_cl_cache cache;
    struct clq_cl_program *slots[CLQ_CL_FILES][CLQ_CL_DTYPES][CLQ_CL_DTYPES];
    struct clq_cl_program *products; /* those of matrix products, which many options tell apart */
    int64_t built, loaded; /* from source, from the cache */
};

/* The kernels of `file` between two dtypes, which the file knows as CLQ_SRC and CLQ_DST; CLQ_DTYPE_NONE where it has none. */
clq_status clq_cl_programs_get(clq_context *context, struct clq_cl_programs *programs, enum clq_cl_file file, clq_dtype src, clq_dtype dst,
                               const struct clq_cl_program **program);

/* The kernels of a file of matrix products, built with `options`, which say all of it. */
clq_status clq_cl_programs_get_product(clq_context *context, struct clq_cl_programs *programs, enum clq_cl_file file, const char *options,
                                       const struct clq_cl_program **program);

/* The key of a note about matrix products in the cache: it holds as long as no kernel, the device and its driver change. */
void clq_cl_programs_note_key(const struct clq_cl_programs *programs, const char *subject, uint8_t key[CLQ_CL_CACHE_KEY_BYTES]);

/* All that operations between the float type `x` and the quantized type `q` need. */
clq_status clq_cl_programs_warm_up(clq_context *context, struct clq_cl_programs *programs, clq_dtype x, clq_dtype q);

void clq_cl_programs_free(const clq_allocator *allocator, struct clq_cl_programs *programs);

#endif
