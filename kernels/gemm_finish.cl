/* SPDX-License-Identifier: MIT */
/*
 * Results from the sums of parts of K. One result an item: ceil(batch * M * N / CLQ_LOCAL_SIZE) work-groups.
 */
KERNEL void gemm_finish(GEMM_PARAMETERS, __global const uint *restrict partials)
{
    __global const struct clql_gemm_job *job = GEMM_JOB;
    const struct epilogue epilogue = LOAD_EPILOGUE;
    const ulong m = (ulong)job->side[0].lines, n = (ulong)job->side[1].lines, count = (ulong)job->batch * m * n, at = get_global_id(0);
    const ulong line = at / n, batch = line / m;
    const long i = (long)(line % m), j = (long)(at % n);
    struct line row, col;
    uint sum = 0;
    if (at >= count) return;
    for (int split = 0; split < job->splits; ++split)
        sum += partials[job->partials + (long)((ulong)split * count + at)];
    row = LOAD_ROW((long)batch, i);
    col = LOAD_COL((long)batch, j);
    store_result(job, c, find_result(job, (long)batch, 0, i, j), MAKE_RESULT(sum, row, col));
}
