/* SPDX-License-Identifier: MIT */
/* The thread's floating-point mode: read, set to the one that kernels assume, restore. Reading it alone takes some nanoseconds. */
#ifndef CLQ_BASE_FP_MODE_H
#define CLQ_BASE_FP_MODE_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__SSE__)
#include <xmmintrin.h>
/* MXCSR: bits 0-5 sticky flags, 6 DAZ, 7-12 exception masks, 13-14 rounding, 15 FTZ (Intel SDM vol. 1, 10.2.3). */
#define CLQ_FP_MODE_MASK 0xffc0u
#define CLQ_FP_MODE      0x1f80u
#define CLQ_FP_ROUNDING  0x6000u
typedef uint32_t clq_fp_mode;

static inline clq_fp_mode clq_fp_mode_get(void)
{
    return _mm_getcsr();
}

static inline void clq_fp_mode_set(clq_fp_mode mode)
{
    _mm_setcsr(mode);
}
#elif defined(__aarch64__)
/* FPCR: 8-12 and 15 trap enables, 19 FZ16, 22-23 rounding, 24 FZ, 25 DN (Arm ARM, C5.2.8). */
#define CLQ_FP_MODE_MASK 0x3c89f00u
#define CLQ_FP_MODE      0u
#define CLQ_FP_ROUNDING  0xc00000u
typedef uint64_t clq_fp_mode;

static inline clq_fp_mode clq_fp_mode_get(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}

static inline void clq_fp_mode_set(clq_fp_mode mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#include <fenv.h>
/* Elsewhere only the rounding mode can be read. */
#define CLQ_FP_MODE_MASK ~0u
#define CLQ_FP_MODE      ((unsigned)FE_TONEAREST)
#define CLQ_FP_ROUNDING  ~0u
typedef unsigned clq_fp_mode;

static inline clq_fp_mode clq_fp_mode_get(void)
{
    return (unsigned)fegetround();
}

static inline void clq_fp_mode_set(clq_fp_mode mode)
{
    fesetround((int)mode);
}
#endif

/* Rounds to nearest, ties to even. */
static inline bool clq_fp_mode_is_nearest(clq_fp_mode mode)
{
    return (mode & CLQ_FP_ROUNDING) == (CLQ_FP_MODE & CLQ_FP_ROUNDING);
}

/* Sets the mode that kernels assume where the thread's is `mode`. */
static inline void clq_fp_mode_enter_from(clq_fp_mode mode)
{
    if ((mode & CLQ_FP_MODE_MASK) != CLQ_FP_MODE) clq_fp_mode_set((mode & ~(clq_fp_mode)CLQ_FP_MODE_MASK) | CLQ_FP_MODE);
}

/* Sets the mode that kernels assume and returns the one to restore. */
static inline clq_fp_mode clq_fp_mode_enter(void)
{
    const clq_fp_mode mode = clq_fp_mode_get();
    clq_fp_mode_enter_from(mode);
    return mode;
}

static inline void clq_fp_mode_leave(clq_fp_mode mode)
{
    if ((mode & CLQ_FP_MODE_MASK) != CLQ_FP_MODE) clq_fp_mode_set(mode);
}

#endif
