/* SPDX-License-Identifier: MIT */
/* The file being written. */
#ifndef CLQ_TOOL_OUTPUT_H
#define CLQ_TOOL_OUTPUT_H

#include "tool/catalog.h"

/* The file being written. */
struct clq_tool_output {
    const char *path;
    clq_file_writer *writer;
};

/* From here to _close() a signal that ends the program removes the temporary file first. */
bool clq_tool_output_open(struct clq_tool *tool, const char *path, clq_file_format format, struct clq_tool_output *output);
bool clq_tool_output_metadata(struct clq_tool *tool, struct clq_tool_output *output, const char *key, const char *value);
bool clq_tool_output_tensor(struct clq_tool *tool, struct clq_tool_output *output, const char *name, const char *dtype_name,
                            int32_t rank, const int64_t *shape, int64_t *index);
bool clq_tool_output_write(struct clq_tool *tool, struct clq_tool_output *output, int64_t index, int64_t offset_bytes,
                           int64_t size_bytes, const void *data);
bool clq_tool_output_commit(struct clq_tool *tool, struct clq_tool_output *output);
void clq_tool_output_close(struct clq_tool_output *output);

/* Copies all metadata but clquant's own, unless `keep_records`. */
bool clq_tool_output_copy_metadata(struct clq_tool *tool, struct clq_tool_output *output, const struct clq_tool_catalog *catalog,
                                   bool keep_records);

/* Declares a tensor as `entry` is, and copies its bytes. */
bool clq_tool_output_declare_copy(struct clq_tool *tool, struct clq_tool_output *output, const struct clq_tool_entry *entry,
                                  int64_t *index);
bool clq_tool_output_copy(struct clq_tool *tool, struct clq_tool_output *output, struct clq_tool_catalog *catalog,
                          const struct clq_tool_entry *entry, int64_t index);

#endif
