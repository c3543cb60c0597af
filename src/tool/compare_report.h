/* SPDX-License-Identifier: MIT */
/* What compare says. */
#ifndef CLQ_TOOL_COMPARE_REPORT_H
#define CLQ_TOOL_COMPARE_REPORT_H

#include "tool/catalog.h"

/* What came of a tensor. Those with figures come first in the table. */
enum clq_tool_outcome {
    CLQ_TOOL_COMPARED,
    CLQ_TOOL_IDENTICAL,
    CLQ_TOOL_DIFFERENT,
    CLQ_TOOL_SHAPES_DIFFER,
    CLQ_TOOL_TYPES_DIFFER,
    CLQ_TOOL_ONLY_IN_A,
    CLQ_TOOL_ONLY_IN_B
};

/* Two tensors of one name. */
struct clq_tool_pair {
    const char *name;
    const struct clq_tool_entry *a, *b; /* either may be NULL */
    enum clq_tool_outcome outcome;
    int64_t bytes_a, bytes_b;
    clq_error_stats stats;
};

/* Sorts the pairs, the worst first, and prints the table or the JSON document. */
void clq_tool_report_pairs(const struct clq_tool *tool, char *const *paths, struct clq_tool_pair *pairs, int64_t count);

#endif
