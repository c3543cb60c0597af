/* SPDX-License-Identifier: MIT */
/* What quantize and dequantize say at the end. */
#ifndef CLQ_TOOL_REPORT_RUN_H
#define CLQ_TOOL_REPORT_RUN_H

#include "tool/tool.h"

/* What happened to a tensor. */
struct clq_tool_result {
    const char *name;
    const char *reason;    /* why it was passed through; NULL: it was not */
    const char *from, *to; /* element types */
    int32_t rank;
    const int64_t *shape;
    const clq_scheme *scheme;
    int64_t element_count;
    int64_t bytes_in, bytes_out;
    int64_t counts[3]; /* NaN, infinite, clipped */
    const char *note;  /* or NULL */
    struct clq_tool_meter meter;
};

/* Prints the notes and the table, or the JSON document, of a run. report_run.c */
void clq_tool_report_run(struct clq_tool *tool, const char *in, const char *out, const struct clq_tool_result *results,
                         int64_t count);

#endif
