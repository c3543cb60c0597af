/* SPDX-License-Identifier: MIT */
/*
 * Dot products of bytes in registers, one loop an instruction set: what a matrix product can reach at best.
 *
 * A multiplication and an addition are two operations; accumulators are as many as hide the latency. Which of the loops may run is asked at run time.
 */
#include "config.h"

#include "tool/bench.h"
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef __aarch64__
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

#define ROUND 100 /* steps of a round */

#ifdef __x86_64__

/* ---------------------------------------------------------------------------------------------- AMX */

#ifdef CLQ_HAVE_AMX
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18

static bool has_amx(void)
{
    unsigned int a, b, c, d;
    const unsigned int tile_and_int8 = 3u << 24;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & tile_and_int8) != tile_and_int8) return false;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Two tiles of A, two of B, four of sums: the most that registers hold. */
__attribute__((target("amx-tile,amx-int8"))) static void run_amx(int64_t rounds, const void *random_bytes, void *sink)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    int32_t sums[16][16];
    for (int tile = 0; tile < 8; tile++) {
        config.row_bytes[tile] = 64;
        config.rows[tile] = 16;
    }
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, random_bytes, 64);
    _tile_loadd(5, (const char *)random_bytes + 1024, 64);
    _tile_loadd(6, (const char *)random_bytes + 2048, 64);
    _tile_loadd(7, (const char *)random_bytes + 3072, 64);
    for (int64_t k = 0; k < rounds * ROUND; k++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    memcpy(sink, sums, 16);
    _tile_release();
}
#endif

/* ---------------------------------------------------------------------------------------------- AVX-512, AVX2 and their VNNI */

/* The loops are written out, as compilers move and spill accumulators: twelve of them in registers 0 to 11, operands in 14 and 15. */
#define TWELVE(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)
#define DOT_512(n)   "vpdpbusd %%zmm15, %%zmm14, %%zmm" #n "\n\t"
#define DOT_256(n)   "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #n "\n\t"
#define MADD_512(n)  "vpmaddwd %%zmm15, %%zmm14, %%zmm13\n\tvpaddd %%zmm13, %%zmm" #n ", %%zmm" #n "\n\t"
#define MADD_256(n)  "vpmaddwd %%ymm15, %%ymm14, %%ymm13\n\tvpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n\t"

/* `load` is the instruction that fills a register of `width` letters. */
#define RUN(load, width, step)                                                                                                             \
    int64_t left = rounds * ROUND;                                                                                                         \
    __asm__ volatile(load " (%[from]), %%" width "14\n\t" load " 64(%[from]), %%" width "15\n"                                            \
                     "1:\n\t" TWELVE(step) "dec %[left]\n\tjnz 1b\n\t" load " %%" width "0, (%[to])\n\tvzeroupper"                       \
                     : [left] "+r"(left)                                                                                                   \
                     : [from] "r"(random_bytes), [to] "r"(sink)                                                                            \
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",   \
                       "xmm13", "xmm14", "xmm15")

#ifdef CLQ_HAVE_AVX512VNNI
static bool has_avx512vnni(void)
{
    return __builtin_cpu_supports("avx512vnni") != 0;
}

static void run_avx512vnni(int64_t rounds, const void *random_bytes, void *sink)
{
    RUN("vmovdqu64", "zmm", DOT_512);
}
#endif

#ifdef CLQ_HAVE_AVXVNNI
static bool has_avxvnni(void)
{
    unsigned int a, b, c, d;
    return __builtin_cpu_supports("avx2") != 0 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1u << 4) != 0;
}

static void run_avxvnni(int64_t rounds, const void *random_bytes, void *sink)
{
    RUN("vmovdqu", "ymm", DOT_256);
}
#endif

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw") != 0;
}

static void run_avx512(int64_t rounds, const void *random_bytes, void *sink)
{
    RUN("vmovdqu64", "zmm", MADD_512);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

static void run_avx2(int64_t rounds, const void *random_bytes, void *sink)
{
    RUN("vmovdqu", "ymm", MADD_256);
}
#endif

/* ---------------------------------------------------------------------------------------------- NEON */

#ifdef __aarch64__
#ifdef CLQ_HAVE_NEONDOT
static bool has_neondot(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

__attribute__((target("arch=armv8.2-a+dotprod"))) static void run_neondot(int64_t rounds, const void *random_bytes, void *sink)
{
    int32x4_t sums[16];
    int8x16_t a = vld1q_s8(random_bytes);
    const int8x16_t b = vld1q_s8((const int8_t *)random_bytes + 16);
    for (int j = 0; j < 16; j++)
        sums[j] = vreinterpretq_s32_s8(a);
    for (int64_t k = 0; k < rounds * ROUND; k++) {
        for (int j = 0; j < 16; j++)
            sums[j] = vdotq_s32(sums[j], a, b);
        __asm__ volatile("" : "+w"(a));
    }
    for (int j = 1; j < 16; j++)
        sums[0] = veorq_s32(sums[0], sums[j]);
    vst1q_s32(sink, sums[0]);
}
#endif

static bool has_neon(void)
{
    return true;
}

static void run_neon(int64_t rounds, const void *random_bytes, void *sink)
{
    int32x4_t sums[16];
    int16x4_t a = vld1_s16(random_bytes);
    const int16x4_t b = vld1_s16((const int16_t *)random_bytes + 4);
    for (int j = 0; j < 16; j++)
        sums[j] = vmovl_s16(a);
    for (int64_t k = 0; k < rounds * ROUND; k++) {
        for (int j = 0; j < 16; j++)
            sums[j] = vmlal_s16(sums[j], a, b);
        __asm__ volatile("" : "+w"(a));
    }
    for (int j = 1; j < 16; j++)
        sums[0] = veorq_s32(sums[0], sums[j]);
    vst1q_s32(sink, sums[0]);
}
#endif

/* ---------------------------------------------------------------------------------------------- plain C */

static bool has_scalar(void)
{
    return true;
}

static void run_scalar(int64_t rounds, const void *random_bytes, void *sink)
{
    const int8_t *a = random_bytes, *b = a + 1024;
    int32_t sum = 0;
    for (int64_t k = 0; k < rounds; k++) {
        for (int j = 0; j < 1024; j++)
            sum += a[j] * b[j];
        __asm__ volatile("" : "+r"(a) : : "memory");
    }
    memcpy(sink, &sum, sizeof sum);
}

const struct clq_bench_peak clq_bench_peaks[] = {
#ifdef __x86_64__
#ifdef CLQ_HAVE_AMX
    {"amx", has_amx, ROUND * 4 * 2 * 16 * 16 * 64, run_amx},
#endif
#ifdef CLQ_HAVE_AVX512VNNI
    {"avx512vnni", has_avx512vnni, ROUND * 12 * 2 * 64, run_avx512vnni},
#endif
    {"avx512", has_avx512, ROUND * 12 * 2 * 32, run_avx512},
#ifdef CLQ_HAVE_AVXVNNI
    {"avxvnni", has_avxvnni, ROUND * 12 * 2 * 32, run_avxvnni},
#endif
    {"avx2", has_avx2, ROUND * 12 * 2 * 16, run_avx2},
#endif
#ifdef __aarch64__
#ifdef CLQ_HAVE_NEONDOT
    {"neondot", has_neondot, ROUND * 16 * 2 * 16, run_neondot},
#endif
    {"neon", has_neon, ROUND * 16 * 2 * 4, run_neon},
#endif
    {"scalar", has_scalar, 2 * 1024, run_scalar},
};
const int clq_bench_peak_count = sizeof clq_bench_peaks / sizeof *clq_bench_peaks;
