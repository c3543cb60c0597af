/* SPDX-License-Identifier: MIT */
/* What a file says about its quantized tensors. */
#ifndef CLQ_TOOL_SCHEME_METADATA_H
#define CLQ_TOOL_SCHEME_METADATA_H

#include "tool/json.h"
#include <clquant.h>

#define CLQ_TOOL_KEY_VERSION "clquant.version"
#define CLQ_TOOL_KEY_TENSOR  "clquant.tensor."

/* What the metadata of a file says about a quantized tensor. */
struct clq_tool_record {
    clq_scheme scheme; /* axis in 0..rank-1 */
    clq_dtype source_dtype;
    int32_t rank;
    int64_t *shape;
    int64_t element_count;
};

/* A name and a value of an enumeration: options and metadata use the same words. */
struct clq_tool_word {
    const char *word;
    int value;
};
extern const struct clq_tool_word clq_tool_dtypes[], clq_tool_symmetries[], clq_tool_granularities[], clq_tool_quotients[],
    clq_tool_file_dtypes[];
const char *clq_tool_word_of(const struct clq_tool_word *words, int value); /* NULL if none */
int clq_tool_value_of(const struct clq_tool_word *words, const char *word); /* -1 if none */

/* Members that describe a scheme, and all those that describe a quantized tensor. */
void clq_tool_json_scheme(struct clq_tool_json *json, const clq_scheme *scheme);
void clq_tool_json_record(struct clq_tool_json *json, const struct clq_tool_record *record);

/* The quantized type's own range. */
void clq_tool_dtype_range(clq_dtype dtype, int32_t *qmin, int32_t *qmax);

/* Two texts as one, in new memory: names and keys. NULL (and a line on stderr) without memory. */
char *clq_tool_join(const char *first, const char *second);

/* The text of a record, likewise. */
char *clq_tool_record_write(const struct clq_tool_record *record);

/* Reads and checks a text; `file` and `key` are for the error line. The record's shape is new memory. */
bool clq_tool_record_read(const char *file, const char *key, const char *text, struct clq_tool_record *record);

/* "symmetric, per group of 32 on axis 0" */
const char *clq_tool_scheme_text(const clq_scheme *scheme, char *text, size_t text_bytes);

/* Shapes of what a quantized tensor is stored as; `stored` has room for `rank` + 1 extents. */
void clq_tool_stored_shape(const struct clq_tool_record *record, int32_t *stored_rank, int64_t *stored);
void clq_tool_scale_shape(const struct clq_tool_record *record, int32_t *scale_rank, int64_t *scale);

#endif
