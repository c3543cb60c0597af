/* SPDX-License-Identifier: MIT */
/* JSON as it is written. */
#ifndef CLQ_TOOL_JSON_H
#define CLQ_TOOL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Writes JSON as it goes; nothing is allocated. Members of the outermost `line_depth` levels start a new line. */
struct clq_tool_json {
    FILE *out;
    int depth, line_depth;
    bool is_first;
};

/* `key` is NULL in an array and at the top. `bracket` is '{' or '['. */
void clq_tool_json_open(struct clq_tool_json *json, const char *key, char bracket);
void clq_tool_json_close(struct clq_tool_json *json, char bracket);
/* Bytes that are not UTF-8 become U+FFFD; a NULL value is null. */
void clq_tool_json_string(struct clq_tool_json *json, const char *key, const char *value);
void clq_tool_json_integer(struct clq_tool_json *json, const char *key, int64_t value);
/* Infinities and NaN, which JSON lacks, become the strings "Infinity", "-Infinity" and "NaN". */
void clq_tool_json_real(struct clq_tool_json *json, const char *key, double value);
void clq_tool_json_boolean(struct clq_tool_json *json, const char *key, bool value);
void clq_tool_json_shape(struct clq_tool_json *json, const char *key, int32_t rank, const int64_t *shape);

#endif
