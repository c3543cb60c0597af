/* SPDX-License-Identifier: MIT */
/* What quantize was asked for, and what therefore becomes of each tensor. */
#ifndef CLQ_TOOL_QUANTIZE_PLAN_H
#define CLQ_TOOL_QUANTIZE_PLAN_H

#include "tool/output.h"
#include "tool/report_run.h"

/* What becomes of a tensor. */
struct clq_tool_plan {
    clq_scheme scheme; /* axis in 0..rank-1 */
    struct clq_tool_grid grid;
    int64_t indexes[3]; /* in the output: the tensor, its scale, its zero point */
    char note[160];
};

struct clq_tool_request {
    const char *in, *out;
    clq_scheme scheme;
    bool has_axis, per_tensor, division, reciprocal, allow_nonfinite;
    const char **includes, **excludes; /* argc entries each */
    int include_count, exclude_count;
    struct clq_tool_catalog catalog;
    struct clq_tool_plan *plans;     /* one a tensor of the catalog */
    struct clq_tool_result *results; /* likewise */
};

/* Makes a plan and a result for each tensor of the catalog, and starts the progress. */
bool clq_tool_plan_all(struct clq_tool *tool, struct clq_tool_request *request);

/* Declares all that the output will hold. */
bool clq_tool_declare_all(struct clq_tool *tool, const struct clq_tool_request *request, struct clq_tool_output *output);

#endif
