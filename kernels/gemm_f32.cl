/* SPDX-License-Identifier: MIT */
/*
 * Products of f32 matrices, of any strides.
 *
 * gemm_f32    a work-group makes a tile of results, an item 4 x 4 of them; batch * ceil(M / TILE_M) * ceil(N / TILE_N) work-groups
 * finish_f32  bias and activation where C has been made by others; an item a result
 */
#define STEP   16
#define ACROSS (CLQ_LOCAL_SIZE >= 256 ? 16 : CLQ_LOCAL_SIZE >= 64 ? 8 : 4) /* items */
#define TILE_M (CLQ_LOCAL_SIZE / ACROSS * 4)
#define TILE_N (ACROSS * 4)

#ifdef FP_FAST_FMAF
#define MULTIPLY_ADD(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

#define F32_PARAMETERS                                                                                                                                        \
    __global const uchar *restrict args, ulong job_offset, __global const float *restrict a, __global const float *restrict b, __global float *c,             \
        __global const float *restrict bias

INLINE float finish(__global const struct clql_gemm_f32_job *job, float y, __global const float *bias, long j)
{
    if (job->bias >= 0) y = y + bias[job->bias + j];
    if (job->relu) return y > 0.0f ? y : 0.0f;
    return y < job->low ? job->low : y > job->high ? job->high : y;
}

/* A step of an operand to local memory, zeros past its ends: lines of k, neighbouring items along the dimension of stride 1. */
INLINE void stage(__local float *lines, int tile_lines, __global const float *x, long line_stride, long k_stride, long lines_left, long k_left)
{
    for (uint i = (uint)get_local_id(0); i < (uint)tile_lines * STEP; i += CLQ_LOCAL_SIZE) {
        const uint line = k_stride == 1 ? i / STEP : i % (uint)tile_lines, k = k_stride == 1 ? i % STEP : i / (uint)tile_lines;
        lines[k * (uint)(tile_lines + 4) + line] = line < lines_left && k < k_left ? x[line * line_stride + k * k_stride] : 0.0f;
    }
}

KERNEL void gemm_f32(F32_PARAMETERS)
{
    __local float a_lines[STEP * (TILE_M + 4)] __attribute__((aligned(16))), b_lines[STEP * (TILE_N + 4)] __attribute__((aligned(16)));
    __global const struct clql_gemm_f32_job *job = (__global const struct clql_gemm_f32_job *)(args + job_offset);
    const uint down = (uint)((job->m + TILE_M - 1) / TILE_M), across = (uint)((job->n + TILE_N - 1) / TILE_N), group = (uint)get_group_id(0);
    const long batch = group / (down * across), m = (long)(group % down) * TILE_M, n = (long)(group / down % across) * TILE_N;
    const uint item = (uint)get_local_id(0), row = item / ACROSS * 4, col = item % ACROSS * 4;
    float4 sums[4] = {(float4)(0.0f), (float4)(0.0f), (float4)(0.0f), (float4)(0.0f)};

    a += job->a + batch * job->a_batch_stride + m * job->a_row_stride;
    b += job->b + batch * job->b_batch_stride + n * job->b_col_stride;
    for (long k = 0; k < job->k; k += STEP) {
        barrier(CLK_LOCAL_MEM_FENCE);
        stage(a_lines, TILE_M, a + k * job->a_col_stride, job->a_row_stride, job->a_col_stride, job->m - m, job->k - k);
        stage(b_lines, TILE_N, b + k * job->b_row_stride, job->b_col_stride, job->b_row_stride, job->n - n, job->k - k);
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (int i = 0; i < STEP; ++i) {
            const float4 x = *(__local const float4 *)(a_lines + i * (TILE_M + 4) + row), y = *(__local const float4 *)(b_lines + i * (TILE_N + 4) + col);
            sums[0] = MULTIPLY_ADD((float4)(x.x), y, sums[0]);
            sums[1] = MULTIPLY_ADD((float4)(x.y), y, sums[1]);
            sums[2] = MULTIPLY_ADD((float4)(x.z), y, sums[2]);
            sums[3] = MULTIPLY_ADD((float4)(x.w), y, sums[3]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float own[4] = {sums[i].x, sums[i].y, sums[i].z, sums[i].w};
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (m + row + i < job->m && n + col + j < job->n)
                c[job->c + batch * job->c_batch_stride + (m + row + i) * job->c_row_stride + (n + col + j) * job->c_col_stride] =
                    finish(job, own[j], bias, n + col + j);
    }
}

KERNEL void finish_f32(F32_PARAMETERS)
{
    __global const struct clql_gemm_f32_job *job = (__global const struct clql_gemm_f32_job *)(args + job_offset);
    const ulong m = (ulong)job->m, n = (ulong)job->n, at = get_global_id(0), line = at / n;
    const long i = (long)(line % m), j = (long)(at % n);
    __global float *result = c + job->c + (long)(line / m) * job->c_batch_stride + i * job->c_row_stride + j * job->c_col_stride;
    if (at < (ulong)job->batch * m * n) *result = finish(job, *result, bias, j);
}
