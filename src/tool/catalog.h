/* SPDX-License-Identifier: MIT */
/* The tensors of a file, what each is there for, and their elements. */
#ifndef CLQ_TOOL_CATALOG_H
#define CLQ_TOOL_CATALOG_H

#include "tool/chunks.h"
#include "tool/scheme_metadata.h"
#include "tool/tool.h"
#include <clquant_io.h>

enum clq_tool_role { CLQ_TOOL_PLAIN, CLQ_TOOL_QUANTIZED, CLQ_TOOL_PARAMETER };

/* A tensor of a file and what it is there for. */
struct clq_tool_entry {
    const clq_file_tensor *tensor;
    int64_t index;
    enum clq_tool_role role;
    struct clq_tool_record record;         /* of a quantized one */
    int64_t scale_index, zero_point_index; /* of a quantized one */
    int64_t owner;                         /* of a parameter: the index of the quantized tensor */
};

struct clq_tool_catalog {
    const char *path;
    clq_file *file;
    int64_t count;
    struct clq_tool_entry *entries;
    struct clq_tool_memory raw, scale, zero_point; /* for clq_tool_read_floats() */
};

/* Opens a file, and checks its metadata against its tensors. Close it in every case; a zeroed one is fine. */
bool clq_tool_catalog_open(struct clq_tool *tool, const char *path, struct clq_tool_catalog *catalog);
void clq_tool_catalog_close(struct clq_tool_catalog *catalog);

/* What the tensor stands for: its true shape, its float type (f64 counts as f32; CLQ_DTYPE_NONE if it is no float tensor). */
int32_t clq_tool_entry_shape(const struct clq_tool_entry *entry, const int64_t **shape);
int64_t clq_tool_entry_elements(const struct clq_tool_entry *entry);
clq_dtype clq_tool_entry_float(const struct clq_tool_entry *entry);

/* Its type as a report calls it: "s4", "f32", and what the file says of types that are neither. */
const char *clq_tool_entry_type(const struct clq_tool_entry *entry);

/* Bytes of a tensor and its parameters. */
int64_t clq_tool_entry_bytes(const struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry);

/* Reads `count` elements. Those of a quantized tensor are dequantized to `dtype`; of others it must be clq_tool_entry_float(). */
bool clq_tool_read_floats(struct clq_tool *tool, struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                          int64_t first, int64_t count, clq_dtype dtype, void *data);

/* Reads the stored elements of a box of a quantized tensor (4-bit ones shifted to start on a byte) and their parameters into the
   catalog's memory. */
bool clq_tool_read_box(struct clq_tool *tool, struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                       const struct clq_tool_grid *grid, const struct clq_tool_box *box, clq_tensor *q, clq_qparams *params);

/* An operation on such a box failed. Always returns false. */
bool clq_tool_fail_box(struct clq_tool *tool, const struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                       const struct clq_tool_box *box, clq_status status);

/* As clq_file_read(), with an error line. */
bool clq_tool_read(struct clq_tool *tool, const struct clq_tool_catalog *catalog, int64_t index, int64_t offset_bytes,
                   int64_t size_bytes, void *data);

#endif
