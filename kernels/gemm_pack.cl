/* SPDX-License-Identifier: MIT */
/*
 * Lines of a product's side, see launch.h, from any matrix of bytes: as s8, filled up with zeros to a multiple of CLQL_GEMM_K, and with their sums if they are wanted.
 *
 * pack_lines    k_stride 1: an item takes 16 elements of k, ceil(batch * lines * pitch / 16 / CLQ_LOCAL_SIZE) work-groups
 * pack_columns  line_stride 1: a work-group takes 64 lines by 64 of k, batch * ceil(lines / 64) * pitch / 64 of them
 *
 * Either takes any strides, but those are slow. Sums are added to: the host fills them with zeros.
 *
 * CLQ_SRC  S8, U8
 */
#define BLOCK 64

INLINE uint sum4(uint four)
{
    const int4 values = convert_int4(as_char4(four));
    return (uint)(values.x + values.y + values.z + values.w);
}

INLINE uint sum16(uint4 sixteen)
{
    return sum4(sixteen.x) + sum4(sixteen.y) + sum4(sixteen.z) + sum4(sixteen.w);
}

INLINE uint load_element(__global const struct clql_pack_job *job, __global const uchar *source, long line, long k)
{
    if (line >= job->lines || k >= job->k) return 0;
    return (uint)source[line * job->line_stride + k * job->k_stride] ^ (CLQ_SRC == U8 ? 0x80u : 0u);
}

INLINE uint load_four_k(__global const struct clql_pack_job *job, __global const uchar *source, long line, long k)
{
    return load_element(job, source, line, k) | load_element(job, source, line, k + 1) << 8 | load_element(job, source, line, k + 2) << 16 |
           load_element(job, source, line, k + 3) << 24;
}

KERNEL void pack_lines(__global const uchar *restrict args, ulong job_offset, __global const uchar *restrict x, __global uchar *restrict packed,
                       __global uint *restrict sums)
{
    __local uint shared[CLQ_LOCAL_SIZE];
    __global const struct clql_pack_job *job = (__global const struct clql_pack_job *)(args + job_offset);
    const uint item = (uint)get_local_id(0);
    const ulong chunks = (ulong)job->pitch / 16, lines = (ulong)job->batch * (ulong)job->lines;
    const ulong first = (ulong)get_group_id(0) * CLQ_LOCAL_SIZE, at = first + item, first_line = first / chunks, line = at / chunks;
    const int is_there = line < lines;
    uint4 out = (uint4)(0);

    shared[item] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (is_there) {
        const ulong batch = line / (ulong)job->lines;
        const long i = (long)(line % (ulong)job->lines), k = (long)(at % chunks) * 16;
        __global const uchar *source = x + job->source + (long)batch * job->batch_stride;
        if (job->aligned)
            out = load_line(source + i * job->line_stride, k, job->k, CLQ_SRC);
        else
            out = (uint4)(load_four_k(job, source, i, k), load_four_k(job, source, i, k + 4), load_four_k(job, source, i, k + 8),
                          load_four_k(job, source, i, k + 12));
        *(__global uint4 *)(packed + job->target + (long)batch * job->target_batch_stride + i * job->pitch + k) = out;
        if (job->sums >= 0) atomic_add(&shared[line - first_line], sum16(out));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (job->sums >= 0 && first_line + item < lines && shared[item] != 0) {
        const ulong own = first_line + item;
        atomic_add(&sums[job->sums + (long)(own / (ulong)job->lines) * job->sums_stride + (long)(own % (ulong)job->lines)], shared[item]);
    }
}

/* Four lines of four k from four k of four lines. */
INLINE uint4 transpose(uint4 v)
{
    const uint4 low = (uint4)((v.x & 0xffu) | (v.y & 0xffu) << 8, (v.x >> 8 & 0xffu) | (v.y & 0xff00u), (v.x >> 16 & 0xffu) | (v.y >> 8 & 0xff00u),
                              v.x >> 24 | (v.y >> 16 & 0xff00u));
    const uint4 high = (uint4)((v.z & 0xffu) | (v.w & 0xffu) << 8, (v.z >> 8 & 0xffu) | (v.w & 0xff00u), (v.z >> 16 & 0xffu) | (v.w >> 8 & 0xff00u),
                               v.z >> 24 | (v.w >> 16 & 0xff00u));
    return low | high << 16;
}

/* Four lines of one k. */
INLINE uint load_four(__global const struct clql_pack_job *job, __global const uchar *source, long line, long k)
{
    if (job->aligned && line + 4 <= job->lines && k < job->k) return to_s8(*(__global const uint *)(source + line + k * job->k_stride), CLQ_SRC);
    return load_element(job, source, line, k) | load_element(job, source, line + 1, k) << 8 | load_element(job, source, line + 2, k) << 16 |
           load_element(job, source, line + 3, k) << 24;
}

KERNEL void pack_columns(__global const uchar *restrict args, ulong job_offset, __global const uchar *restrict x, __global uchar *restrict packed,
                         __global uint *restrict sums)
{
    __local uint block[BLOCK][BLOCK / 4 + 1], shared[BLOCK];
    __global const struct clql_pack_job *job = (__global const struct clql_pack_job *)(args + job_offset);
    const uint item = (uint)get_local_id(0), down = (uint)(job->pitch / BLOCK), across = (uint)((job->lines + BLOCK - 1) / BLOCK);
    const uint group = (uint)get_group_id(0), batch = group / (down * across), index = group % (down * across);
    const long line = (long)(index % across) * BLOCK, k = (long)(index / across) * BLOCK;
    __global const uchar *source = x + job->source + (long)batch * job->batch_stride;
    __global uchar *target = packed + job->target + (long)batch * job->target_batch_stride + k;

    for (uint i = item; i < BLOCK; i += CLQ_LOCAL_SIZE)
        shared[i] = 0;
    for (uint i = item; i < BLOCK / 4 * (BLOCK / 4); i += CLQ_LOCAL_SIZE) {
        const uint across4 = i % (BLOCK / 4), down4 = i / (BLOCK / 4);
        const long own = line + 4 * across4, own_k = k + 4 * down4;
        const uint4 lines = transpose((uint4)(load_four(job, source, own, own_k), load_four(job, source, own, own_k + 1), load_four(job, source, own, own_k + 2),
                                              load_four(job, source, own, own_k + 3)));
        block[4 * across4 + 0][down4] = lines.x;
        block[4 * across4 + 1][down4] = lines.y;
        block[4 * across4 + 2][down4] = lines.z;
        block[4 * across4 + 3][down4] = lines.w;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < BLOCK * (BLOCK / 16); i += CLQ_LOCAL_SIZE) {
        const uint own = i / (BLOCK / 16), chunk = i % (BLOCK / 16);
        const uint4 out = (uint4)(block[own][4 * chunk], block[own][4 * chunk + 1], block[own][4 * chunk + 2], block[own][4 * chunk + 3]);
        if (line + own < job->lines) *(__global uint4 *)(target + (line + own) * job->pitch + 16 * chunk) = out;
        if (job->sums >= 0) atomic_add(&shared[own], sum16(out));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < BLOCK; i += CLQ_LOCAL_SIZE)
        if (job->sums >= 0 && line + i < job->lines) atomic_add(&sums[job->sums + batch * job->sums_stride + line + i], shared[i]);
}
