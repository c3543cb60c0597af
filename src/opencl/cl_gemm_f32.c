/* SPDX-License-Identifier: MIT */
/* Products of f32 matrices on the device: by CLBlast where the library is built with it and the strides are a BLAS's, else by a kernel of our own. */
#include "config.h"

#include "base/util.h"
#include "launch.h"
#include "opencl/cl_state.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#ifdef CLQ_WITH_CLBLAST
#include <clblast_c.h>
#include <pthread.h>
#endif

/* Jobs and a bias from host memory, on the device. */
struct upload {
    struct clq_cl_place place;
    int64_t bias_offset;
    cl_mem bias;
};

static clq_status send_job(clq_context *context, const struct clq_gemm *gemm, struct upload *upload)
{
    const struct clq_matrix *a = &gemm->a, *b = &gemm->b, *c = &gemm->c;
    const bool is_host = gemm->bias && !gemm->bias_device;
    struct clql_gemm_f32_job job = {
        .batch = gemm->batch, .m = gemm->m, .n = gemm->n, .k = gemm->k,
        .a = (int64_t)(uintptr_t)a->data / 4, .a_batch_stride = a->batch_stride, .a_row_stride = a->row_stride, .a_col_stride = a->col_stride,
        .b = (int64_t)(uintptr_t)b->data / 4, .b_batch_stride = b->batch_stride, .b_row_stride = b->row_stride, .b_col_stride = b->col_stride,
        .c = (int64_t)(uintptr_t)c->data / 4, .c_batch_stride = c->batch_stride, .c_row_stride = c->row_stride, .c_col_stride = c->col_stride,
        .bias = -1, .relu = gemm->relu, .low = gemm->low, .high = gemm->high,
    };
    int64_t bytes = 0;
    const int64_t job_at = clq_cl_take(&bytes, sizeof job), bias_at = clq_cl_take(&bytes, is_host ? 4 * gemm->n : 0);
    char *host;
    CLQ_TRY(clq_cl_upload_begin(context, bytes, &upload->place, &host));
    upload->bias = upload->place.memory;
    if (is_host) {
        job.bias = (upload->place.offset_bytes + bias_at) / 4;
        memcpy(host + bias_at, gemm->bias, (size_t)(4 * gemm->n));
    } else if (gemm->bias_device) {
        job.bias = (int64_t)(uintptr_t)gemm->bias / 4;
        upload->bias = gemm->bias_device;
    }
    memcpy(host + job_at, &job, sizeof job);
    return clq_cl_upload_end(context, &upload->place, host, bytes);
}

static clq_status queue_kernel(clq_context *context, const struct clq_gemm *gemm, const struct upload *upload, int form, int64_t groups, cl_event also)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    const size_t local_size = state->programs.device.max_local_size;
    /* Without k neither operand is read, and they may be nowhere. */
    const cl_mem memory[] = {gemm->a.device ? gemm->a.device : gemm->c.device, gemm->b.device ? gemm->b.device : gemm->c.device, gemm->c.device, upload->bias};
    const cl_ulong offset = (cl_ulong)upload->place.offset_bytes;
    const struct clq_cl_program *program;
    char options[64];
    cl_kernel kernel;
    if (groups > INT32_MAX)
        return clq_fail(context, CLQ_ERROR_OVERFLOW, "%s: the product takes %lld work-groups, at most %d", context->call, (long long)groups, INT32_MAX);
    snprintf(options, sizeof options, "-cl-std=CL1.2 -D CLQ_LOCAL_SIZE=%d", (int)local_size);
    CLQ_TRY(clq_cl_programs_get_product(context, &state->programs, CLQ_CL_GEMM_F32, options, &program));
    kernel = program->kernels[form];
    CL_TRY(context, clSetKernelArg(kernel, 0, sizeof upload->place.memory, &upload->place.memory));
    CL_TRY(context, clSetKernelArg(kernel, 1, sizeof offset, &offset));
    for (cl_uint i = 0; i < 4; ++i)
        CL_TRY(context, clSetKernelArg(kernel, 2 + i, sizeof memory[i], &memory[i]));
    CL_TRY(context, clq_cl_queue_launch(&state->main, kernel, groups, local_size, also));
    return CLQ_OK;
}

/* The tiles of gemm_f32.cl, which follow from the size of a work-group. */
static int64_t count_tiles(const struct clq_gemm *gemm, int64_t local_size)
{
    const int64_t across = local_size >= 256 ? 16 : local_size >= 64 ? 8 : 4;
    return gemm->batch * clq_ceil_div(gemm->m, local_size / across * 4) * clq_ceil_div(gemm->n, across * 4);
}

/* ------------------------------------------------------------------------------------------------ CLBlast */

#ifdef CLQ_WITH_CLBLAST

/* Its cache of programs is not safe for threads (1.5.3). They keep the cl_contexts alive for which they were made. */
static pthread_mutex_t clblast_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t clblast_users; /* contexts that have used it */

/* What a BLAS is told of a matrix, seen by rows. */
struct blas_matrix {
    CLBlastTranspose transpose;
    size_t offset, pitch, batch_stride;
};

static bool describe_matrix(const struct clq_matrix *matrix, int64_t rows, int64_t cols, struct blas_matrix *described)
{
    const bool by_rows = cols == 1 || matrix->col_stride == 1;
    const int64_t pitch = by_rows ? (rows > 1 ? matrix->row_stride : cols) : (cols > 1 ? matrix->col_stride : rows);
    if (!by_rows && rows > 1 && matrix->row_stride != 1) return false;
    if (pitch < (by_rows ? cols : rows) || matrix->batch_stride < 0) return false;
    *described = (struct blas_matrix){by_rows ? CLBlastTransposeNo : CLBlastTransposeYes, (size_t)((uintptr_t)matrix->data / 4), (size_t)pitch,
                                      (size_t)matrix->batch_stride};
    return true;
}

/* Its kernels count in 32 bits: in a matrix of so many lines, */
static bool is_countable(const struct blas_matrix *matrix, int64_t lines, int64_t batch)
{
    return (double)matrix->offset + (double)(batch - 1) * (double)matrix->batch_stride + (double)lines * (double)matrix->pitch <= INT32_MAX;
}

/* and in temporary memory, where every extent is rounded up to that of a tile. */
static bool is_temporary_countable(int64_t m, int64_t n, int64_t k, int64_t batch)
{
    const double rows = (double)m + 256, cols = (double)n + 256, depth = (double)k + 256;
    return (rows * cols + rows * depth + depth * cols) * (double)batch <= INT32_MAX;
}

/* CLQ_OK even if it does not take the product; *done: the product has been queued. */
static clq_status try_clblast(clq_context *context, const struct clq_gemm *gemm, cl_event also, bool *done)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_queue *queue = &state->main;
    const bool is_by_cols = gemm->c.col_stride != 1 && gemm->n > 1; /* C^T = B^T A^T */
    const struct clq_matrix turned_c = {gemm->c.dtype, gemm->c.device, gemm->c.data, gemm->c.batch_stride, gemm->c.col_stride, gemm->c.row_stride};
    const struct clq_matrix turned_a = {gemm->a.dtype, gemm->a.device, gemm->a.data, gemm->a.batch_stride, gemm->a.col_stride, gemm->a.row_stride};
    const struct clq_matrix turned_b = {gemm->b.dtype, gemm->b.device, gemm->b.data, gemm->b.batch_stride, gemm->b.col_stride, gemm->b.row_stride};
    const struct clq_matrix *x = is_by_cols ? &turned_b : &gemm->a, *y = is_by_cols ? &turned_a : &gemm->b, *z = is_by_cols ? &turned_c : &gemm->c;
    const int64_t m = is_by_cols ? gemm->n : gemm->m, n = is_by_cols ? gemm->m : gemm->n;
    struct blas_matrix left, right, result;
    cl_event event = NULL;
    CLBlastStatusCode code;
    *done = false;
    if (gemm->k == 0 || !describe_matrix(x, m, gemm->k, &left) || !describe_matrix(y, gemm->k, n, &right) || !describe_matrix(z, m, n, &result)) return CLQ_OK;
    if (result.transpose != CLBlastTransposeNo || (gemm->batch > 1 && result.batch_stride == 0)) return CLQ_OK;
    if (!is_countable(&left, left.transpose == CLBlastTransposeNo ? m : gemm->k, gemm->batch) ||
        !is_countable(&right, right.transpose == CLBlastTransposeNo ? gemm->k : n, gemm->batch) || !is_countable(&result, m, gemm->batch) ||
        !is_temporary_countable(m, n, gemm->k, gemm->batch))
        return CLQ_OK;
    if (also) CL_TRY(context, clq_cl_queue_wait(queue, 1, &also));
    /* It takes no events to wait for. */
    if (queue->last) CL_TRY(context, clEnqueueBarrierWithWaitList(queue->queue, 1, &queue->last, NULL));
    pthread_mutex_lock(&clblast_lock);
    clblast_users += !state->uses_clblast;
    state->uses_clblast = true;
    if (gemm->batch == 1)
        code = CLBlastSgemm(CLBlastLayoutRowMajor, left.transpose, right.transpose, (size_t)m, (size_t)n, (size_t)gemm->k, 1.0f, x->device, left.offset,
                            left.pitch, y->device, right.offset, right.pitch, 0.0f, z->device, result.offset, result.pitch, &queue->queue, &event);
    else
        code = CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, left.transpose, right.transpose, (size_t)m, (size_t)n, (size_t)gemm->k, 1.0f, x->device,
                                          left.offset, left.pitch, left.batch_stride, y->device, right.offset, right.pitch, right.batch_stride, 0.0f,
                                          z->device, result.offset, result.pitch, result.batch_stride, (size_t)gemm->batch, &queue->queue, &event);
    pthread_mutex_unlock(&clblast_lock);
    if (code != CLBlastSuccess || !event) {
        if (event) clReleaseEvent(event);
        clq_log(context, CLQ_LOG_WARNING, "CLBlast refuses a product of %lld x %lld x %lld (%d): it is made by a kernel of our own", (long long)gemm->m,
                (long long)gemm->n, (long long)gemm->k, (int)code);
        return CLQ_OK;
    }
    clq_cl_queue_push(queue, event);
    *done = true;
    return CLQ_OK;
}

#endif

void clq_cl_end_f32(const struct clq_cl_state *state)
{
#ifdef CLQ_WITH_CLBLAST
    if (!state->uses_clblast) return;
    pthread_mutex_lock(&clblast_lock);
    if (--clblast_users == 0) CLBlastClearCache();
    pthread_mutex_unlock(&clblast_lock);
#else
    (void)state;
#endif
}

/* ------------------------------------------------------------------------------------------------ a product */

clq_status clq_cl_multiply_f32(clq_context *context, const struct clq_gemm *gemm, cl_event also)
{
    const int64_t local_size = (int64_t)clq_cl_state_of(context)->programs.device.max_local_size;
    const bool is_plain = !gemm->bias && !gemm->bias_device && !gemm->relu && gemm->low == -INFINITY && gemm->high == INFINITY;
    struct upload upload = {.bias = NULL};
    bool done = false;
    clq_status status;
#ifdef CLQ_WITH_CLBLAST
    CLQ_TRY(try_clblast(context, gemm, also, &done));
#endif
    if (done && is_plain) return CLQ_OK;
    status = send_job(context, gemm, &upload);
    if (status == CLQ_OK && done)
        status = queue_kernel(context, gemm, &upload, CLQ_CL_FINISH, clq_ceil_div(gemm->batch * gemm->m * gemm->n, local_size), NULL);
    else if (status == CLQ_OK)
        status = queue_kernel(context, gemm, &upload, CLQ_CL_ANY, count_tiles(gemm, local_size), also);
    if (upload.place.memory) clReleaseMemObject(upload.place.memory);
    return status;
}
