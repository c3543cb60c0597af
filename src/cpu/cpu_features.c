/* SPDX-License-Identifier: MIT */
/* CPUID and XGETBV (Intel SDM vol. 2, CPUID; vol. 1, 13.3), and the processor's name. */
#include "config.h"

#include "cpu/cpu_features.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <stdint.h>

enum { LEAF1_ECX, LEAF7_EBX };

static uint32_t read_features(int which)
{
    uint32_t eax, ebx, ecx, edx;
    if (which == LEAF1_ECX) return __get_cpuid(1, &eax, &ebx, &ecx, &edx) ? ecx : 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ? ebx : 0;
}

#define HAS_ALL(value, bits) (((value) & (bits)) == (bits))

bool clq_cpu_has_avx2(void)
{
    const uint32_t leaf1 = bit_AVX | bit_FMA | bit_F16C, leaf7 = bit_AVX2;
    return HAS_ALL(read_features(LEAF1_ECX), leaf1) && HAS_ALL(read_features(LEAF7_EBX), leaf7);
}

bool clq_cpu_has_avx512(void)
{
    const uint32_t leaf7 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    return clq_cpu_has_avx2() && HAS_ALL(read_features(LEAF7_EBX), leaf7);
}

/* Parts of the register state that the system saves: 1 SSE, 2 AVX, 5 to 7 AVX-512. */
static bool allows_state(uint32_t bits)
{
    uint32_t low, high;
    if (!(read_features(LEAF1_ECX) & bit_OSXSAVE)) return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return HAS_ALL(low, bits);
}

bool clq_cpu_allows_avx2(void)
{
    return allows_state(0x06);
}

bool clq_cpu_allows_avx512(void)
{
    return allows_state(0xe6);
}

/* Leaves 0x80000002 to 4 hold 48 characters, padded with blanks in front or behind. */
static void read_name(char name[49])
{
    uint32_t words[12] = {0};
    for (uint32_t i = 0; i < 3; ++i)
        if (!__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3])) break;
    memcpy(name, words, 48);
    name[48] = '\0';
}
#else
/* Linux gives Arm processors no name in one place; the board's or the virtual machine's model is the closest. */
static void read_name(char name[49])
{
    FILE *file = fopen("/proc/device-tree/model", "re");
    size_t n = 0;
    if (file) {
        n = fread(name, 1, 48, file);
        fclose(file);
    }
    name[n] = '\0';
}
#endif

void clq_cpu_name(char *name, size_t size_bytes)
{
    char text[49];
    const char *start = text;
    size_t length;
    read_name(text);
    while (*start == ' ')
        ++start;
    length = strlen(start);
    while (length > 0 && start[length - 1] == ' ')
        --length;
    if (length > 0)
        snprintf(name, size_bytes, "%.*s", (int)length, start);
    else
        snprintf(name, size_bytes, "unknown CPU");
}
