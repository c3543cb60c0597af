/* SPDX-License-Identifier: MIT */
/*
 * Dot products of four bytes, by what the device has for them. Follows gemm.h.
 *
 * CLQ_DOT  1: PTX dp4a; 2: cl_khr_integer_dot_product, packed; 3: sdot4; 4: sudot4; 5: cl_arm_integer_dot_product_accumulate_int8; else plain C
 */
#ifndef CLQ_GEMM_DOT_H
#define CLQ_GEMM_DOT_H

#ifndef CLQ_DOT
#define CLQ_DOT 0
#endif

#if CLQ_DOT == 2
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#elif CLQ_DOT == 5
#pragma OPENCL EXTENSION cl_arm_integer_dot_product_accumulate_int8 : enable
#endif

/* c + a.0 * b.0 + a.1 * b.1 + a.2 * b.2 + a.3 * b.3 of s8, modulo 2^32. None of these saturates. */
INLINE uint dot4(uint a, uint b, uint c)
{
#if CLQ_DOT == 1
    uint d;
    __asm__("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
#elif CLQ_DOT == 2
    return c + (uint)dot_4x8packed_ss_int(a, b);
#elif CLQ_DOT == 3
    return (uint)__builtin_amdgcn_sdot4((int)a, (int)b, (int)c, false);
#elif CLQ_DOT == 4
    return (uint)__builtin_amdgcn_sudot4(true, (int)a, true, (int)b, (int)c, false);
#elif CLQ_DOT == 5
    return (uint)arm_dot_acc(as_char4(a), as_char4(b), (int)c);
#else
    const int4 x = convert_int4(as_char4(a)), y = convert_int4(as_char4(b));
    return c + (uint)(mul24(x.x, y.x) + mul24(x.y, y.y) + mul24(x.z, y.z) + mul24(x.w, y.w));
#endif
}

INLINE uint dot16(uint4 a, uint4 b, uint c)
{
    return dot4(a.w, b.w, dot4(a.z, b.z, dot4(a.y, b.y, dot4(a.x, b.x, c))));
}

#endif
