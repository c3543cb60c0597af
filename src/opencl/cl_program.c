/* SPDX-License-Identifier: MIT */
/* Kernels of a context: from the cache on disk or from source. */
#include "config.h"

#include "opencl/cl_program.h"

#include "base/alloc.h"
#include "kernel_sources.h"
#include <stdio.h>
#include <string.h>

struct file {
    const char *name;
    const unsigned char *text;
    const size_t *size_bytes;
    const char *kernels[CLQ_CL_FORMS];
};

#define FILE_OF(name) #name ".cl", clq_kernel_##name, &clq_kernel_##name##_bytes

static const struct file files[CLQ_CL_FILES] = {
    [CLQ_CL_QUANTIZE] = {FILE_OF(quantize), {[CLQ_CL_ANY] = "quantize_any", [CLQ_CL_QUADS] = "quantize_quads"}},
    [CLQ_CL_DEQUANTIZE] = {FILE_OF(dequantize), {[CLQ_CL_ANY] = "dequantize_any", [CLQ_CL_QUADS] = "dequantize_quads"}},
    [CLQ_CL_CONVERT] = {FILE_OF(convert), {[CLQ_CL_ANY] = "convert_any", [CLQ_CL_QUADS] = "convert_quads"}},
    [CLQ_CL_MINMAX] = {FILE_OF(minmax),
                       {[CLQ_CL_ANY] = "minmax_any", [CLQ_CL_QUADS] = "minmax_quads", [CLQ_CL_COLUMNS] = "minmax_columns",
                        [CLQ_CL_FINISH] = "finish_minmax"}},
    [CLQ_CL_QPARAMS] = {FILE_OF(qparams), {[CLQ_CL_ANY] = "qparams_from_range", [CLQ_CL_MULTIPLIERS] = "multipliers"}},
    [CLQ_CL_ERROR_STATS] = {FILE_OF(error_stats), {[CLQ_CL_ANY] = "error_stats_any", [CLQ_CL_QUADS] = "error_stats_quads"}},
    [CLQ_CL_FAKE_QUANTIZE] = {FILE_OF(fake_quantize), {[CLQ_CL_ANY] = "fake_quantize"}},
    [CLQ_CL_BACKWARD] = {FILE_OF(backward), {[CLQ_CL_ANY] = "backward"}},
    [CLQ_CL_LEARNABLE] = {FILE_OF(learnable), {[CLQ_CL_ANY] = "backward_learnable", [CLQ_CL_FINISH] = "finish_gradients"}},
    [CLQ_CL_REQUANTIZE] = {FILE_OF(requantize), {[CLQ_CL_ANY] = "requantize"}},
    [CLQ_CL_GEMM_TILES] = {FILE_OF(gemm_tiles), {[CLQ_CL_ANY] = "gemm_tiles"}},
    [CLQ_CL_GEMM_MMA] = {FILE_OF(gemm_mma), {[CLQ_CL_ANY] = "gemm_tiles"}},
    [CLQ_CL_GEMM_MATRIX] = {FILE_OF(gemm_matrix), {[CLQ_CL_ANY] = "gemm_tiles"}},
    [CLQ_CL_GEMM_ROWS] = {FILE_OF(gemm_rows), {[CLQ_CL_ANY] = "gemm_rows"}},
    [CLQ_CL_GEMM_PACK] = {FILE_OF(gemm_pack), {[CLQ_CL_ANY] = "pack_lines", [CLQ_CL_COLUMNS] = "pack_columns"}},
    [CLQ_CL_GEMM_FINISH] = {FILE_OF(gemm_finish), {[CLQ_CL_ANY] = "gemm_finish"}},
    [CLQ_CL_GEMM_F32] = {FILE_OF(gemm_f32), {[CLQ_CL_ANY] = "gemm_f32", [CLQ_CL_FINISH] = "finish_f32"}},
};

enum { SOURCES = 5 };

static void get_sources(enum clq_cl_file file, const char *texts[SOURCES], size_t sizes[SOURCES])
{
    const bool is_product = file >= CLQ_CL_GEMM_TILES;
    const unsigned char *const all[SOURCES] = {clq_kernel_quant_math, clq_kernel_launch, is_product ? clq_kernel_gemm : clq_kernel_element,
                                               is_product ? clq_kernel_gemm_dot : (const unsigned char *)"", files[file].text};
    const size_t all_bytes[SOURCES] = {clq_kernel_quant_math_bytes, clq_kernel_launch_bytes, is_product ? clq_kernel_gemm_bytes : clq_kernel_element_bytes,
                                       is_product ? clq_kernel_gemm_dot_bytes : 0, *files[file].size_bytes};
    for (int i = 0; i < SOURCES; ++i) {
        texts[i] = (const char *)all[i];
        sizes[i] = all_bytes[i];
    }
}

/* The compiler's own words, for those who listen. */
static void log_build(clq_context *context, const struct clq_cl_programs *programs, cl_program program, const char *name)
{
    char text[1024] = "";
    size_t size = 0;
    char *log = NULL;
    if (!context->log || clGetProgramBuildInfo(program, programs->device.id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS) return;
    log = size < SIZE_MAX ? clq_alloc(&context->allocator, (int64_t)size + 1, 1) : NULL;
    if (log && clGetProgramBuildInfo(program, programs->device.id, CL_PROGRAM_BUILD_LOG, size, log, NULL) == CL_SUCCESS) {
        log[size] = '\0';
        snprintf(text, sizeof text, "%s", log);
    }
    clq_dealloc(&context->allocator, log);
    clq_log(context, CLQ_LOG_WARNING, "%s does not compile: %s", name, text);
}

static void store_binary(clq_context *context, struct clq_cl_programs *programs, cl_program program, const uint8_t *key)
{
    enum { MOST_DEVICES = 16 }; /* of a caller's context; with more, nothing is kept */
    cl_device_id devices[MOST_DEVICES];
    size_t sizes[MOST_DEVICES] = {0};
    unsigned char *binaries[MOST_DEVICES] = {NULL}; /* those left NULL are not asked for */
    cl_uint n = 0, at = 0;
    if (!programs->cache.folder) return;
    if (clGetProgramInfo(program, CL_PROGRAM_NUM_DEVICES, sizeof n, &n, NULL) != CL_SUCCESS || n > MOST_DEVICES) return;
    if (clGetProgramInfo(program, CL_PROGRAM_DEVICES, n * sizeof devices[0], devices, NULL) != CL_SUCCESS) return;
    while (at < n && devices[at] != programs->device.id)
        ++at;
    if (at == n || clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, n * sizeof sizes[0], sizes, NULL) != CL_SUCCESS) return;
    if (sizes[at] == 0 || sizes[at] > INT64_MAX) return;
    binaries[at] = clq_alloc(&context->allocator, (int64_t)sizes[at], 1);
    if (binaries[at] && clGetProgramInfo(program, CL_PROGRAM_BINARIES, n * sizeof binaries[0], binaries, NULL) == CL_SUCCESS)
        clq_cl_cache_store(&programs->cache, key, binaries[at], sizes[at]);
    clq_dealloc(&context->allocator, binaries[at]);
}

/* NULL if the cache has none that this driver takes. */
static cl_program load_binary(clq_context *context, struct clq_cl_programs *programs, const uint8_t *key, const char *options)
{
    uint8_t *binary = NULL;
    size_t size = 0;
    cl_int code = CL_SUCCESS, state = CL_SUCCESS;
    cl_program program = NULL;
    if (!clq_cl_cache_load(&programs->cache, &context->allocator, key, &binary, &size)) return NULL;
    program = clCreateProgramWithBinary(programs->cl, 1, &programs->device.id, &size, (const unsigned char *[]){binary}, &state, &code);
    clq_dealloc(&context->allocator, binary);
    if (code == CL_SUCCESS) code = state;
    if (code == CL_SUCCESS) code = clBuildProgram(program, 1, &programs->device.id, options, NULL, NULL);
    if (code == CL_SUCCESS) return program;
    if (program) clReleaseProgram(program);
    clq_log(context, CLQ_LOG_INFO, "the driver refuses a program of the cache (%s): compiling it again", clq_cl_error_name(code));
    return NULL;
}

static clq_status build_source(clq_context *context, struct clq_cl_programs *programs, const struct file *file, const char *const *texts,
                               const size_t *sizes, const char *options, cl_program *program)
{
    cl_int code;
    *program = clCreateProgramWithSource(programs->cl, SOURCES, (const char **)(uintptr_t)texts, sizes, &code);
    if (!*program) return clq_cl_fail(context, "clCreateProgramWithSource", code);
    code = clBuildProgram(*program, 1, &programs->device.id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        log_build(context, programs, *program, file->name);
        return clq_cl_fail(context, "clBuildProgram", code);
    }
    return CLQ_OK;
}

static clq_status create_kernels(clq_context *context, const struct file *file, struct clq_cl_program *made)
{
    for (int i = 0; i < CLQ_CL_FORMS; ++i) {
        cl_int code;
        if (!file->kernels[i]) continue;
        made->kernels[i] = clCreateKernel(made->program, file->kernels[i], &code);
        if (!made->kernels[i]) return clq_cl_fail(context, "clCreateKernel", code);
    }
    return CLQ_OK;
}

static void free_program(const clq_allocator *allocator, struct clq_cl_program *program)
{
    if (!program) return;
    for (int i = 0; i < CLQ_CL_FORMS; ++i)
        if (program->kernels[i]) clReleaseKernel(program->kernels[i]);
    if (program->program) clReleaseProgram(program->program);
    clq_dealloc(allocator, program);
}

static clq_status make_program(clq_context *context, struct clq_cl_programs *programs, enum clq_cl_file number, const char *options,
                               struct clq_cl_program *made)
{
    const struct file *file = &files[number];
    const char *texts[SOURCES];
    size_t sizes[SOURCES];
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES];
    bool cached;
    get_sources(number, texts, sizes);
    clq_cl_cache_key(&programs->device, SOURCES, texts, sizes, options, key);
    made->program = load_binary(context, programs, key, options);
    cached = made->program != NULL;
    if (!cached) CLQ_TRY(build_source(context, programs, file, texts, sizes, options, &made->program));
    CLQ_TRY(create_kernels(context, file, made));
    if (!cached) store_binary(context, programs, made->program, key);
    ++*(cached ? &programs->loaded : &programs->built);
    return CLQ_OK;
}

/* A program, ready to be used. */
static clq_status add_program(clq_context *context, struct clq_cl_programs *programs, enum clq_cl_file file, const char *options,
                              struct clq_cl_program **program)
{
    struct clq_cl_program *made = clq_alloc_zeroed(&context->allocator, 1, sizeof *made);
    clq_status status;
    if (!made) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: no memory for a program", files[file].name);
    status = make_program(context, programs, file, options, made);
    if (status != CLQ_OK) {
        free_program(&context->allocator, made);
        return status;
    }
    *program = made;
    return CLQ_OK;
}

clq_status clq_cl_programs_get(clq_context *context, struct clq_cl_programs *programs, enum clq_cl_file file, clq_dtype src, clq_dtype dst,
                               const struct clq_cl_program **program)
{
    struct clq_cl_program **slot = &programs->slots[file][src][dst];
    char options[256], defines[64];
    *program = *slot;
    if (*slot) return CLQ_OK;
    clq_cl_device_defines(&programs->device, defines, sizeof defines);
    snprintf(options, sizeof options, "-cl-std=CL1.2 -D CLQ_LOCAL_SIZE=%d -D CLQ_SRC=%d -D CLQ_DST=%d%s", (int)programs->device.max_local_size,
             (int)src, (int)dst, defines);
    CLQ_TRY(add_program(context, programs, file, options, slot));
    *program = *slot;
    return CLQ_OK;
}

clq_status clq_cl_programs_get_product(clq_context *context, struct clq_cl_programs *programs, enum clq_cl_file file, const char *options,
                                       const struct clq_cl_program **program)
{
    struct clq_cl_program *made = programs->products;
    while (made && !(made->file == file && strcmp(made->options, options) == 0))
        made = made->next;
    if (!made) {
        CLQ_TRY(add_program(context, programs, file, options, &made));
        made->file = file;
        snprintf(made->options, sizeof made->options, "%s", options);
        made->next = programs->products;
        programs->products = made;
    }
    *program = made;
    return CLQ_OK;
}

void clq_cl_programs_note_key(const struct clq_cl_programs *programs, const char *subject, uint8_t key[CLQ_CL_CACHE_KEY_BYTES])
{
    enum { FILES = CLQ_CL_FILES - CLQ_CL_GEMM_TILES };
    const char *texts[FILES * SOURCES];
    size_t sizes[FILES * SOURCES];
    for (int i = 0; i < FILES; ++i)
        get_sources((enum clq_cl_file)(CLQ_CL_GEMM_TILES + i), texts + i * SOURCES, sizes + i * SOURCES);
    clq_cl_cache_key(&programs->device, FILES * SOURCES, texts, sizes, subject, key);
}

clq_status clq_cl_programs_warm_up(clq_context *context, struct clq_cl_programs *programs, clq_dtype x, clq_dtype q)
{
    static const clq_dtype floats[] = {CLQ_F32, CLQ_F16, CLQ_BF16};
    static const clq_dtype integers[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S16, CLQ_U16, CLQ_S32};
    static const clq_dtype sources[] = {CLQ_S8, CLQ_U8, CLQ_S4, CLQ_U4, CLQ_S32};
    static const enum clq_cl_file of_floats[] = {CLQ_CL_MINMAX, CLQ_CL_FAKE_QUANTIZE, CLQ_CL_BACKWARD, CLQ_CL_LEARNABLE};
    const struct clq_cl_program *program;
    CLQ_TRY(clq_cl_programs_get(context, programs, CLQ_CL_QPARAMS, CLQ_DTYPE_NONE, CLQ_DTYPE_NONE, &program));
    for (clq_dtype target = CLQ_S8; target <= CLQ_U8; ++target) {
        if (q != CLQ_DTYPE_NONE && q != target) continue;
        for (size_t i = 0; i < sizeof sources / sizeof sources[0]; ++i)
            CLQ_TRY(clq_cl_programs_get(context, programs, CLQ_CL_REQUANTIZE, sources[i], target, &program));
    }
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; ++i) {
        if (x != CLQ_DTYPE_NONE && x != floats[i]) continue;
        for (size_t k = 0; k < sizeof of_floats / sizeof of_floats[0]; ++k)
            CLQ_TRY(clq_cl_programs_get(context, programs, of_floats[k], floats[i], CLQ_DTYPE_NONE, &program));
        for (size_t k = 0; k < sizeof integers / sizeof integers[0]; ++k) {
            if (q != CLQ_DTYPE_NONE && q != integers[k]) continue;
            CLQ_TRY(clq_cl_programs_get(context, programs, CLQ_CL_QUANTIZE, floats[i], integers[k], &program));
            CLQ_TRY(clq_cl_programs_get(context, programs, CLQ_CL_DEQUANTIZE, integers[k], floats[i], &program));
            CLQ_TRY(clq_cl_programs_get(context, programs, CLQ_CL_ERROR_STATS, floats[i], integers[k], &program));
        }
    }
    return CLQ_OK;
}

void clq_cl_programs_free(const clq_allocator *allocator, struct clq_cl_programs *programs)
{
    for (int file = 0; file < CLQ_CL_FILES; ++file)
        for (int src = 0; src < CLQ_CL_DTYPES; ++src)
            for (int dst = 0; dst < CLQ_CL_DTYPES; ++dst)
                free_program(allocator, programs->slots[file][src][dst]);
    while (programs->products) {
        struct clq_cl_program *program = programs->products;
        programs->products = program->next;
        free_program(allocator, program);
    }
    clq_cl_cache_close(&programs->cache, allocator);
}
