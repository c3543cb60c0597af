/* SPDX-License-Identifier: MIT */
/* What the processor has and what the operating system lets us use: two questions. */
#ifndef CLQ_CPU_FEATURES_H
#define CLQ_CPU_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__x86_64__) || defined(__i386__)
bool clq_cpu_has_avx2(void); /* AVX2, FMA, F16C */
bool clq_cpu_has_avxvnni(void); /* and AVX-VNNI */
bool clq_cpu_has_avx512(void); /* and AVX-512 F, BW, VL, DQ */
bool clq_cpu_has_avx512vnni(void); /* and AVX-512 VNNI */
bool clq_cpu_has_amx(void); /* and AMX-TILE, AMX-INT8 */
bool clq_cpu_allows_avx2(void);
bool clq_cpu_allows_avx512(void);
bool clq_cpu_allows_amx(void); /* asks the system for it */
#elif defined(__aarch64__)
bool clq_cpu_has_neondot(void); /* the dot products of Armv8.2 */
#endif

/* The processor's own name; "unknown CPU" if it has none. */
void clq_cpu_name(char *name, size_t size_bytes);

#endif
