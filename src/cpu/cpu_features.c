/* SPDX-License-Identifier: MIT */
/* CPUID and XGETBV (Intel SDM vol. 2, CPUID; vol. 1, 13.3), and the processor's name. */
#include "config.h"

#include "cpu/cpu_features.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <stdint.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Registers of leaf 1, of leaf 7 and of its subleaf 1. */
enum { LEAF1_ECX, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX, LEAF7_1_EAX };

static uint32_t read_features(int which)
{
    uint32_t eax, ebx, ecx, edx;
    if (which == LEAF1_ECX) return __get_cpuid(1, &eax, &ebx, &ecx, &edx) ? ecx : 0;
    if (!__get_cpuid_count(7, which == LEAF7_1_EAX, &eax, &ebx, &ecx, &edx)) return 0;
    return which == LEAF7_EBX ? ebx : which == LEAF7_ECX ? ecx : which == LEAF7_EDX ? edx : eax;
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

bool clq_cpu_has_avxvnni(void)
{
    const uint32_t avx_vnni = 1u << 4;
    return clq_cpu_has_avx2() && HAS_ALL(read_features(LEAF7_1_EAX), avx_vnni);
}

bool clq_cpu_has_avx512vnni(void)
{
    const uint32_t avx512_vnni = 1u << 11;
    return clq_cpu_has_avx512() && HAS_ALL(read_features(LEAF7_ECX), avx512_vnni);
}

bool clq_cpu_has_amx(void)
{
    const uint32_t amx_tile = 1u << 24, amx_int8 = 1u << 25;
    return clq_cpu_has_avx512vnni() && HAS_ALL(read_features(LEAF7_EDX), amx_tile | amx_int8);
}

/* Parts of the register state that the system saves: 1 SSE, 2 AVX, 5 to 7 AVX-512, 17 and 18 AMX. */
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

/* Linux gives the tiles' 8 KiB only to processes that ask (its Documentation/arch/x86/xstate.rst); asking again does no harm. */
bool clq_cpu_allows_amx(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long request_permission = 0x1023, tile_data = 18;
    return allows_state(0x600e6) && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
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
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

bool clq_cpu_has_neondot(void)
{
    const unsigned long dot_products = 1ul << 20; /* HWCAP_ASIMDDP */
    return (getauxval(AT_HWCAP) & dot_products) != 0;
}
#elif defined(__aarch64__)
bool clq_cpu_has_neondot(void)
{
    return false;
}
#endif

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
