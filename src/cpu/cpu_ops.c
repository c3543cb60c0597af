/* SPDX-License-Identifier: MIT */
/* The ordered list of CPU tables, and a complete table out of several. */
#include "config.h"

#include "cpu/cpu_ops.h"

#include "cpu/cpu_features.h"
#include <string.h>

static bool always(void)
{
    return true;
}

/* Best first. Each line: the table, the CPU has the instructions, the system saves the registers, it is worth it. */
const struct clq_cpu_table clq_cpu_tables[] = {
#if CLQ_HAVE_AMX
    {&clq_cpu_amx, clq_cpu_has_amx, clq_cpu_allows_amx, always},
#endif
#if CLQ_HAVE_AVX512VNNI
    {&clq_cpu_avx512vnni, clq_cpu_has_avx512vnni, clq_cpu_allows_avx512, always},
#endif
#if CLQ_HAVE_AVX512
    {&clq_cpu_avx512, clq_cpu_has_avx512, clq_cpu_allows_avx512, always},
#endif
#if CLQ_HAVE_AVXVNNI
    {&clq_cpu_avxvnni, clq_cpu_has_avxvnni, clq_cpu_allows_avx2, always},
#endif
#if CLQ_HAVE_AVX2
    {&clq_cpu_avx2, clq_cpu_has_avx2, clq_cpu_allows_avx2, always},
#endif
#if CLQ_HAVE_NEONDOT
    {&clq_cpu_neondot, clq_cpu_has_neondot, always, always},
#endif
#if CLQ_HAVE_NEON
    {&clq_cpu_neon, always, always, always},
#endif
    {&clq_cpu_scalar, always, always, always},
};
const int32_t clq_cpu_table_count = sizeof clq_cpu_tables / sizeof clq_cpu_tables[0];

/* A table is its name and then nothing but pointers, to functions and to the table of the matrix product. */
typedef void (*slot_fn)(void);
#define FIRST_SLOT sizeof(const char *)
_Static_assert(sizeof(slot_fn) == sizeof(const char *), "the name takes as much room as a slot");
_Static_assert(sizeof(slot_fn) == sizeof(const struct clq_gemm_kernels *), "so does the last");
_Static_assert(sizeof(struct clq_cpu_ops) % sizeof(slot_fn) == 0, "slots leave no padding");

void clq_cpu_ops_merge(const struct clq_cpu_table *first, struct clq_cpu_ops *ops)
{
    *ops = *first->ops;
    for (const struct clq_cpu_table *next = first + 1; next < clq_cpu_tables + clq_cpu_table_count; ++next)
        for (size_t at = FIRST_SLOT; at < sizeof *ops; at += sizeof(slot_fn)) {
            slot_fn slot;
            memcpy(&slot, (char *)ops + at, sizeof slot);
            if (!slot) memcpy((char *)ops + at, (const char *)next->ops + at, sizeof slot);
        }
}
