/* SPDX-License-Identifier: MIT */
/* clquant compare: how far the tensors of one file are from those of another, the worst first. */
#include "config.h"

#include "tool/catalog.h"
#include "tool/compare_report.h"
#include "tool/progress.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "usage: clquant compare A B [OPTION...]\n"
                           "\n"
                           "Compares each tensor of A with the one of the same name in B, A being the\n"
                           "reference; quantized tensors on either side count as what they stand for.\n"
                           "Where each file has one tensor, the names may differ. The worst\n"
                           "signal-to-noise ratio comes first. Tensors that are no floats are compared\n"
                           "byte by byte.\n"
                           "\n"
                           "      --device DEVICE   cpu, opencl, opencl:N of 'clquant devices'\n"
                           "                        (default: $CLQ_DEVICE, else cpu)\n"
                           "      --threads N       at most N threads of the CPU\n"
                           "      --json            the table as a JSON document; infinities are the\n"
                           "                        strings \"Infinity\" and \"-Infinity\"\n"
                           "  -q, --quiet           no table: only the exit status\n"
                           "  -v, --verbose         what the library logs and where it ran, on\n"
                           "                        stderr\n"
                           "  -h, --help            this text\n";

struct comparison {
    struct clq_tool_catalog a, b;
    struct clq_tool_pair *rows;
    int64_t count;
    struct clq_tool_memory x, y;
};

/* ---------------------------------------------------------------------------------------------- pairs */

/* The only tensor of a file that is no parameter; NULL if there are more or none. */
static const struct clq_tool_entry *only_tensor(const struct clq_tool_catalog *catalog)
{
    const struct clq_tool_entry *only = NULL;
    for (int64_t k = 0; k < catalog->count; k++) {
        if (catalog->entries[k].role == CLQ_TOOL_PARAMETER) continue;
        if (only != NULL) return NULL;
        only = &catalog->entries[k];
    }
    return only;
}

static const struct clq_tool_entry *find_partner(const struct clq_tool_catalog *catalog, const char *name)
{
    const int64_t index = clq_file_find_tensor(catalog->file, name);
    return index < 0 || catalog->entries[index].role == CLQ_TOOL_PARAMETER ? NULL : &catalog->entries[index];
}

static enum clq_tool_outcome expect(const struct clq_tool_entry *a, const struct clq_tool_entry *b)
{
    const int64_t *shape_a, *shape_b;
    if (a == NULL) return CLQ_TOOL_ONLY_IN_B;
    if (b == NULL) return CLQ_TOOL_ONLY_IN_A;
    const int32_t rank = clq_tool_entry_shape(a, &shape_a);
    if (rank != clq_tool_entry_shape(b, &shape_b)) return CLQ_TOOL_SHAPES_DIFFER;
    for (int32_t d = 0; d < rank; d++)
        if (shape_a[d] != shape_b[d]) return CLQ_TOOL_SHAPES_DIFFER;
    const bool float_a = clq_tool_entry_float(a) != CLQ_DTYPE_NONE, float_b = clq_tool_entry_float(b) != CLQ_DTYPE_NONE;
    if (float_a && float_b) return CLQ_TOOL_COMPARED;
    if (float_a || float_b || strcmp(a->tensor->dtype_name, b->tensor->dtype_name) != 0) return CLQ_TOOL_TYPES_DIFFER;
    return a->tensor->size_bytes == b->tensor->size_bytes ? CLQ_TOOL_IDENTICAL : CLQ_TOOL_DIFFERENT;
}

static void add_row(struct comparison *c, const struct clq_tool_entry *a, const struct clq_tool_entry *b)
{
    c->rows[c->count++] = (struct clq_tool_pair){.name = (a != NULL ? a : b)->tensor->name,
                                                 .a = a,
                                                 .b = b,
                                                 .outcome = expect(a, b),
                                                 .bytes_a = a != NULL ? clq_tool_entry_bytes(&c->a, a) : 0,
                                                 .bytes_b = b != NULL ? clq_tool_entry_bytes(&c->b, b) : 0};
}

static bool pair_up(struct clq_tool *tool, struct comparison *c)
{
    int64_t work_bytes = 0;
    c->rows = calloc((size_t)(c->a.count + c->b.count) + 1, sizeof *c->rows);
    if (c->rows == NULL) return clq_tool_fail_memory();
    const struct clq_tool_entry *only_a = only_tensor(&c->a), *only_b = only_tensor(&c->b);
    if (only_a != NULL && only_b != NULL) {
        add_row(c, only_a, only_b);
    } else {
        for (int64_t k = 0; k < c->a.count; k++) {
            const struct clq_tool_entry *entry = &c->a.entries[k];
            if (entry->role != CLQ_TOOL_PARAMETER) add_row(c, entry, find_partner(&c->b, entry->tensor->name));
        }
        for (int64_t k = 0; k < c->b.count; k++) {
            const struct clq_tool_entry *entry = &c->b.entries[k];
            if (entry->role != CLQ_TOOL_PARAMETER && find_partner(&c->a, entry->tensor->name) == NULL) add_row(c, NULL, entry);
        }
    }
    for (int64_t k = 0; k < c->count; k++)
        if (c->rows[k].outcome <= CLQ_TOOL_IDENTICAL) work_bytes += c->rows[k].bytes_a;
    clq_tool_progress_start(tool, work_bytes);
    return true;
}

/* ---------------------------------------------------------------------------------------------- figures */

static void merge(clq_error_stats *total, const clq_error_stats *part)
{
    total->count += part->count;
    total->nan_count += part->nan_count;
    total->inf_count += part->inf_count;
    total->clipped_count += part->clipped_count;
    total->sum_squared_error += part->sum_squared_error;
    total->sum_absolute_error += part->sum_absolute_error;
    total->sum_squared_x += part->sum_squared_x;
    total->sum_squared_y += part->sum_squared_y;
    total->sum_product += part->sum_product;
    if (part->max_error > total->max_error) total->max_error = part->max_error;
}

/* The figures that follow from the sums: the formulas of clq_error_stats. */
static void finish(clq_error_stats *stats)
{
    const double count = (double)stats->count, all = count + (double)stats->nan_count + (double)stats->inf_count;
    const double xx = stats->sum_squared_x, yy = stats->sum_squared_y, ee = stats->sum_squared_error;
    stats->mse = stats->count > 0 ? ee / count : 0;
    stats->mae = stats->count > 0 ? stats->sum_absolute_error / count : 0;
    stats->sqnr_db = stats->max_error == 0 ? HUGE_VAL : xx == 0 ? -HUGE_VAL : 10 * log10(xx / ee);
    stats->cosine = xx == 0 || yy == 0 ? (xx == yy ? 1 : 0) : fmin(1, stats->sum_product / (sqrt(xx) * sqrt(yy)));
    stats->clipped_share = all > 0 ? (double)stats->clipped_count / all : 0;
}

static bool compare_box(struct clq_tool *tool, struct comparison *c, struct clq_tool_pair *row, const struct clq_tool_grid *grid,
                        const struct clq_tool_box *box)
{
    /* A quantized tensor is what its scales make of it, not yet rounded to a narrower type. */
    const clq_dtype dtype_a = row->a->role == CLQ_TOOL_QUANTIZED ? CLQ_F32 : clq_tool_entry_float(row->a);
    const clq_dtype dtype_b = clq_tool_entry_float(row->b);
    const bool quantized = row->b->role == CLQ_TOOL_QUANTIZED;
    clq_tensor q;
    clq_qparams params;
    clq_error_stats stats;
    void *data = clq_tool_reserve(&c->x, clq_tool_bytes(dtype_a, box->count));
    if (data == NULL || !clq_tool_read_floats(tool, &c->a, row->a, box->first, box->count, dtype_a, data)) return false;
    const clq_tensor x = clq_tool_box_view(box, dtype_a, data);
    if (quantized) {
        if (!clq_tool_read_box(tool, &c->b, row->b, grid, box, &q, &params)) return false;
    } else {
        data = clq_tool_reserve(&c->y, clq_tool_bytes(dtype_b, box->count));
        if (data == NULL || !clq_tool_read_floats(tool, &c->b, row->b, box->first, box->count, dtype_b, data)) return false;
        q = clq_tool_box_view(box, dtype_b, data);
    }
    const double begun = clq_tool_meter_begin();
    const clq_status status = clq_compute_error_stats(tool->context, &x, &q, quantized ? &params : NULL, &stats);
    clq_tool_meter_end(tool, begun, clq_tool_bytes(dtype_a, box->count) + clq_tool_bytes(q.dtype, box->count));
    if (status != CLQ_OK) return clq_tool_fail_box(tool, &c->b, row->b, box, status);
    merge(&row->stats, &stats);
    return true;
}

static bool compare_floats(struct clq_tool *tool, struct comparison *c, struct clq_tool_pair *row)
{
    const clq_scheme flat = {.granularity = CLQ_PER_TENSOR};
    const bool quantized = row->b->role == CLQ_TOOL_QUANTIZED;
    const int64_t *shape;
    const int32_t rank = clq_tool_entry_shape(row->b, &shape);
    const int64_t total = clq_tool_entry_elements(row->b);
    struct clq_tool_grid grid;
    if (!clq_tool_grid_init(&grid, quantized ? &row->b->record.scheme : &flat, rank, shape))
        return clq_tool_fail(c->b.path, NULL, "tensor \"%s\": a product of extents overflows", row->b->tensor->name);
    for (int64_t first = 0; first < total;) {
        const struct clq_tool_box box = clq_tool_box_at(&grid, first, CLQ_TOOL_CHUNK_ELEMENTS);
        if (!compare_box(tool, c, row, &grid, &box)) return false;
        first += box.count;
        clq_tool_progress_advance((int64_t)((double)row->bytes_a * (double)box.count / (double)total));
    }
    finish(&row->stats);
    return true;
}

static bool compare_bytes(struct clq_tool *tool, struct comparison *c, struct clq_tool_pair *row)
{
    const int64_t total = row->a->tensor->size_bytes, most = total < CLQ_TOOL_CHUNK_ELEMENTS ? total : CLQ_TOOL_CHUNK_ELEMENTS;
    void *a = clq_tool_reserve(&c->x, most), *b = a != NULL ? clq_tool_reserve(&c->y, most) : NULL;
    if (b == NULL) return false;
    for (int64_t done = 0; done < total && row->outcome == CLQ_TOOL_IDENTICAL;) {
        const int64_t bytes = total - done < most ? total - done : most;
        if (!clq_tool_read(tool, &c->a, row->a->index, done, bytes, a) ||
            !clq_tool_read(tool, &c->b, row->b->index, done, bytes, b))
            return false;
        if (memcmp(a, b, (size_t)bytes) != 0) row->outcome = CLQ_TOOL_DIFFERENT;
        clq_tool_progress_advance(bytes);
        done += bytes;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------- command */

static bool compare(struct clq_tool *tool, struct comparison *c, char **paths)
{
    bool any = false;
    if (!clq_tool_catalog_open(tool, paths[0], &c->a) || !clq_tool_catalog_open(tool, paths[1], &c->b) || !pair_up(tool, c))
        return false;
    for (int64_t k = 0; k < c->count; k++) {
        struct clq_tool_pair *row = &c->rows[k];
        any |= row->a != NULL && row->b != NULL;
        if (row->outcome == CLQ_TOOL_COMPARED && !compare_floats(tool, c, row)) return false;
        if (row->outcome == CLQ_TOOL_IDENTICAL && !compare_bytes(tool, c, row)) return false;
    }
    if (!any && c->count > 0) return clq_tool_fail(paths[0], NULL, "has no tensor in common with %s", paths[1]);
    clq_tool_report_pairs(tool, paths, c->rows, c->count);
    return true;
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    struct comparison c = {.count = 0};
    if (clq_tool_option(tool, argc, argv) == CLQ_TOOL_STOP) return tool->exit_status;
    if (!clq_tool_operands(tool, argc, argv, 2, "A B")) return tool->exit_status;
    const int status = clq_tool_open_context(tool);
    if (status != 0) return status;
    const bool done = compare(tool, &c, argv + optind);
    free(c.rows);
    clq_tool_release(&c.x);
    clq_tool_release(&c.y);
    clq_tool_catalog_close(&c.a);
    clq_tool_catalog_close(&c.b);
    return done ? 0 : CLQ_TOOL_FAILURE;
}

const struct clq_tool_command clq_tool_compare = {
    .name = "compare",
    .summary = "errors of the tensors of one file against another, worst first",
    .help = help,
    .computes = true,
    .run = run,
};
