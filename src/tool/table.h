/* SPDX-License-Identifier: MIT */
/* Tables on stdout, and figures as text. */
#ifndef CLQ_TOOL_TABLE_H
#define CLQ_TOOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A table. `cell` returns the text of a cell, in `text` or anywhere else; NULL for a row's first cell leaves the row out. Nothing
   is allocated. */
struct clq_tool_column {
    const char *title;
    bool is_text; /* to the left; numbers to the right */
};
typedef const char *(*clq_tool_cell_fn)(const void *rows, int64_t row, int column, char *text, size_t text_bytes);
void clq_tool_print_table(const struct clq_tool_column *columns, int column_count, int64_t row_count, clq_tool_cell_fn cell,
                          const void *rows);

/* "[2,3]", cut to fit. */
const char *clq_tool_shape_text(int32_t rank, const int64_t *shape, char *text, size_t text_bytes);

/* "12.3 MB". */
const char *clq_tool_bytes_text(double bytes, char *text, size_t text_bytes);

#endif
