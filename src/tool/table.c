/* SPDX-License-Identifier: MIT */
/* Tables, formatted twice: to find how wide the columns are, and to print. So they need no memory. */
#include "config.h"

#include "tool/table.h"

#include "tool/tool.h"
#include <inttypes.h>

/* Columns that a text takes on the screen, if every character takes one. */
static int text_width(const char *text)
{
    int width = 0;
    for (; *text != 0; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void put_cell(const char *text, int width, bool is_text, bool is_last)
{
    const int pad = width - text_width(text);
    if (!is_text) printf("%*s", pad, "");
    clq_tool_put_text(stdout, text);
    if (is_text && !is_last) printf("%*s", pad, "");
    fputs(is_last ? "\n" : "  ", stdout);
}

#define MAX_COLUMNS 16

void clq_tool_print_table(const struct clq_tool_column *columns, int column_count, int64_t row_count, clq_tool_cell_fn cell,
                          const void *rows)
{
    char text[256];
    int widths[MAX_COLUMNS];
    for (int c = 0; c < column_count; c++)
        widths[c] = text_width(columns[c].title);
    for (int64_t r = 0; r < row_count; r++) {
        for (int c = 0; c < column_count; c++) {
            const char *shown = cell(rows, r, c, text, sizeof text);
            if (shown == NULL) break;
            if (text_width(shown) > widths[c]) widths[c] = text_width(shown);
        }
    }
    for (int64_t r = -1; r < row_count; r++) {
        for (int c = 0; c < column_count; c++) {
            const char *shown = r < 0 ? columns[c].title : cell(rows, r, c, text, sizeof text);
            if (shown == NULL) break;
            put_cell(shown, widths[c], columns[c].is_text, c == column_count - 1);
        }
    }
}

const char *clq_tool_shape_text(int32_t rank, const int64_t *shape, char *text, size_t text_bytes)
{
    size_t used = 1;
    snprintf(text, text_bytes, "[");
    for (int32_t d = 0; d < rank && used + 32 < text_bytes; d++)
        used += (size_t)snprintf(text + used, text_bytes - used, d > 0 ? ",%" PRId64 : "%" PRId64, shape[d]);
    snprintf(text + used, text_bytes - used, used + 32 < text_bytes ? "]" : "...]");
    return text;
}

const char *clq_tool_bytes_text(double bytes, char *text, size_t text_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    int unit = 0;
    while (bytes >= 999.95 && unit < 6) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, text_bytes, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}
