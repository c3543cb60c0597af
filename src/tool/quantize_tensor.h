/* SPDX-License-Identifier: MIT */
/* The quantization of one tensor, piece by piece. */
#ifndef CLQ_TOOL_QUANTIZE_TENSOR_H
#define CLQ_TOOL_QUANTIZE_TENSOR_H

#include "tool/output.h"
#include "tool/report_run.h"

/* Quantizes one tensor: cmd_quantize.c plans, quantize_tensor.c works. */
struct clq_tool_quantizer {
    struct clq_tool *tool;
    struct clq_tool_catalog *catalog;
    struct clq_tool_output *output;
    bool allow_nonfinite;
    struct clq_tool_memory floats, packed, lo, hi, chunk_lo, chunk_hi, scale, zero_point;
    uint8_t carry; /* a 4-bit element that waits for the other half of its byte */
};

/* Times that every element is read. */
int clq_tool_quantize_passes(const struct clq_tool_grid *grid);

/* `indexes` are those of the tensor, its scale and its zero point in the output. */
bool clq_tool_quantize_tensor(struct clq_tool_quantizer *quantizer, const struct clq_tool_entry *entry,
                              const struct clq_tool_grid *grid, const int64_t indexes[3], struct clq_tool_result *result);
void clq_tool_quantizer_free(struct clq_tool_quantizer *quantizer);

#endif
