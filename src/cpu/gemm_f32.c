/* SPDX-License-Identifier: MIT */
/* The f32 matrix product: the BLAS library's where there is one and it takes the strides, else a plain one. */
#include "config.h"

#include "cpu/gemm_driver.h"

#include "base/util.h"
#include <limits.h>
#include <math.h>
#include <string.h>
#ifdef CLQ_WITH_BLAS
#include <cblas.h>
#endif

enum {
    COLUMNS = 512,           /* of C, kept while k passes: 2 KiB of sums */
    ELEMENTS_PER_PART = 65536 /* of C, to add a bias to and so on: a thread is worth its start then */
};

struct job {
    const struct clq_gemm *gemm;
    int64_t matrix, parts;
};

/* Elements need no alignment. */
static void *element(const struct clq_matrix *matrix, int64_t index, int64_t row, int64_t col)
{
    return (char *)matrix->data + (index * matrix->batch_stride + row * matrix->row_stride + col * matrix->col_stride) * (int64_t)sizeof(float);
}

static float load(const void *from)
{
    float x;
    memcpy(&x, from, sizeof x);
    return x;
}

static void store(void *to, float x)
{
    memcpy(to, &x, sizeof x);
}

static void activate_row(const struct clq_gemm *gemm, int64_t matrix, int64_t row)
{
    const float *bias = gemm->bias;
    for (int64_t j = 0; j < gemm->n; ++j) {
        void *const c = element(&gemm->c, matrix, row, j);
        const float y = bias ? load(c) + bias[j] : load(c);
        store(c, gemm->relu ? (y > 0.0f ? y : 0.0f) : y < gemm->low ? gemm->low : y > gemm->high ? gemm->high : y);
    }
}

/* A row of C, some columns at a time. */
static void multiply_row(const struct clq_gemm *gemm, int64_t matrix, int64_t row)
{
    float sums[COLUMNS];
    for (int64_t j0 = 0; j0 < gemm->n; j0 += COLUMNS) {
        const int64_t n = clq_min_i64(COLUMNS, gemm->n - j0);
        for (int64_t j = 0; j < n; ++j)
            sums[j] = 0.0f;
        for (int64_t k = 0; k < gemm->k; ++k) {
            const float a = load(element(&gemm->a, matrix, row, k));
            const char *const b = element(&gemm->b, matrix, k, j0);
            const int64_t step = gemm->b.col_stride * (int64_t)sizeof(float);
            if (gemm->b.col_stride == 1)
                for (int64_t j = 0; j < n; ++j)
                    sums[j] += a * load(b + j * (int64_t)sizeof(float));
            else
                for (int64_t j = 0; j < n; ++j)
                    sums[j] += a * load(b + j * step);
        }
        for (int64_t j = 0; j < n; ++j)
            store(element(&gemm->c, matrix, row, j0 + j), sums[j]);
    }
}

static void multiply_part(void *argument, int64_t part)
{
    const struct job *job = argument;
    const struct clq_gemm *gemm = job->gemm;
    const int64_t end = clq_gemm_border(gemm->m, job->parts, part + 1);
    for (int64_t i = clq_gemm_border(gemm->m, job->parts, part); i < end; ++i)
        multiply_row(gemm, job->matrix, i);
}

static void activate_part(void *argument, int64_t part)
{
    const struct job *job = argument;
    const int64_t end = clq_gemm_border(job->gemm->m, job->parts, part + 1);
    for (int64_t i = clq_gemm_border(job->gemm->m, job->parts, part); i < end; ++i)
        activate_row(job->gemm, job->matrix, i);
}

#ifdef CLQ_WITH_BLAS
/* The distance between rows, or columns, of a matrix that BLAS can take; 0 if there is none. */
static int find_ld(const struct clq_matrix *matrix, int64_t rows, int64_t cols, CBLAS_TRANSPOSE *transpose)
{
    const bool is_plain = matrix->col_stride == 1;
    const int64_t ld = is_plain ? matrix->row_stride : matrix->col_stride, least = is_plain ? cols : rows, lines = is_plain ? rows : cols;
    *transpose = is_plain ? CblasNoTrans : CblasTrans;
    if (!is_plain && matrix->row_stride != 1) return 0;
    if (rows > INT_MAX || cols > INT_MAX) return 0;
    if (lines <= 1) return (int)clq_max_i64(1, least);
    return ld >= clq_max_i64(1, least) && ld <= INT_MAX ? (int)ld : 0;
}

static CBLAS_TRANSPOSE other(CBLAS_TRANSPOSE transpose)
{
    return transpose == CblasTrans ? CblasNoTrans : CblasTrans;
}

static bool multiply_by_blas(const struct clq_gemm *gemm, int64_t matrix)
{
    CBLAS_TRANSPOSE a_transpose, b_transpose, c_transpose;
    const int lda = find_ld(&gemm->a, gemm->m, gemm->k, &a_transpose), ldb = find_ld(&gemm->b, gemm->k, gemm->n, &b_transpose);
    const int ldc = find_ld(&gemm->c, gemm->m, gemm->n, &c_transpose);
    const bool by_columns = c_transpose == CblasTrans;
    if (!lda || !ldb || !ldc || gemm->k == 0) return false;
    cblas_sgemm(by_columns ? CblasColMajor : CblasRowMajor, by_columns ? other(a_transpose) : a_transpose, by_columns ? other(b_transpose) : b_transpose,
                (int)gemm->m, (int)gemm->n, (int)gemm->k, 1.0f, element(&gemm->a, matrix, 0, 0), lda, element(&gemm->b, matrix, 0, 0), ldb, 0.0f,
                element(&gemm->c, matrix, 0, 0), ldc);
    return true;
}
#else
static bool multiply_by_blas(const struct clq_gemm *gemm, int64_t matrix)
{
    (void)gemm;
    (void)matrix;
    return false;
}
#endif

void clq_gemm_f32_run(const struct clq_threads *threads, const struct clq_gemm *gemm)
{
    const int64_t parts = clq_min_i64(gemm->m, threads->count), rows_per_part = clq_ceil_div(ELEMENTS_PER_PART, clq_max_i64(1, gemm->n));
    struct job job = {.gemm = gemm};
    for (job.matrix = 0; job.matrix < gemm->batch; ++job.matrix) {
        job.parts = parts;
        if (!multiply_by_blas(gemm, job.matrix)) clq_parallel_for(threads, job.parts, multiply_part, &job);
        if (!gemm->bias && !gemm->relu && gemm->low == -INFINITY && gemm->high == INFINITY) continue;
        job.parts = clq_min_i64(parts, clq_max_i64(1, gemm->m / rows_per_part));
        clq_parallel_for(threads, job.parts, activate_part, &job);
    }
}
