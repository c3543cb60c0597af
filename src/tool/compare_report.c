/* SPDX-License-Identifier: MIT */
/* What compare says: a table of the pairs that have figures, then those that have none. */
#include "config.h"

#include "tool/compare_report.h"

#include "tool/json.h"
#include "tool/table.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_texts[] = {"compared",
                                            "identical bytes",
                                            "different bytes",
                                            "shapes differ, not compared",
                                            "types differ, not compared",
                                            "only in the first file",
                                            "only in the second file"};

/* Worst first; those without figures last, by what came of them. */
static int order(const void *left, const void *right)
{
    const struct clq_tool_pair *l = left, *r = right;
    if (l->outcome != r->outcome) return l->outcome < r->outcome ? -1 : 1;
    if (l->outcome == CLQ_TOOL_COMPARED && l->stats.sqnr_db != r->stats.sqnr_db)
        return l->stats.sqnr_db < r->stats.sqnr_db ? -1 : 1;
    return strcmp(l->name, r->name);
}

enum {
    COLUMN_NAME,
    COLUMN_A,
    COLUMN_B,
    COLUMN_SQNR,
    COLUMN_MSE,
    COLUMN_MAE,
    COLUMN_MAX,
    COLUMN_COSINE,
    COLUMN_CLIPPED,
    COLUMN_BYTES_A,
    COLUMN_BYTES_B,
    COLUMNS
};

static const struct clq_tool_column columns[COLUMNS] = {[COLUMN_NAME] = {"tensor", true},
                                                        [COLUMN_A] = {"A", true},
                                                        [COLUMN_B] = {"B", true},
                                                        [COLUMN_SQNR] = {"SQNR dB", false},
                                                        [COLUMN_MSE] = {"MSE", false},
                                                        [COLUMN_MAE] = {"MAE", false},
                                                        [COLUMN_MAX] = {"largest error", false},
                                                        [COLUMN_COSINE] = {"cosine", false},
                                                        [COLUMN_CLIPPED] = {"clipped", false},
                                                        [COLUMN_BYTES_A] = {"bytes A", false},
                                                        [COLUMN_BYTES_B] = {"bytes B", false}};

static const char *cell(const void *rows, int64_t index, int column, char *text, size_t text_bytes)
{
    const struct clq_tool_pair *row = &((const struct clq_tool_pair *)rows)[index];
    switch (column) {
    case COLUMN_NAME:
        return row->outcome == CLQ_TOOL_COMPARED ? row->name : NULL;
    case COLUMN_A:
        return clq_tool_entry_type(row->a);
    case COLUMN_B:
        return clq_tool_entry_type(row->b);
    case COLUMN_SQNR:
        snprintf(text, text_bytes, "%.2f", row->stats.sqnr_db);
        break;
    case COLUMN_MSE:
        snprintf(text, text_bytes, "%.6g", row->stats.mse);
        break;
    case COLUMN_MAE:
        snprintf(text, text_bytes, "%.6g", row->stats.mae);
        break;
    case COLUMN_MAX:
        snprintf(text, text_bytes, "%.6g", row->stats.max_error);
        break;
    case COLUMN_COSINE:
        snprintf(text, text_bytes, "%.9f", row->stats.cosine);
        break;
    case COLUMN_CLIPPED:
        snprintf(text, text_bytes, "%.3f %%", 100 * row->stats.clipped_share);
        break;
    case COLUMN_BYTES_A:
        snprintf(text, text_bytes, "%" PRId64, row->bytes_a);
        break;
    default:
        snprintf(text, text_bytes, "%" PRId64, row->bytes_b);
    }
    return text;
}

static void print_list(const struct clq_tool *tool, const struct clq_tool_pair *pairs, int64_t count)
{
    int64_t compared = 0;
    char place[128];
    while (compared < count && pairs[compared].outcome == CLQ_TOOL_COMPARED)
        compared++;
    if (compared > 0) clq_tool_print_table(columns, COLUMNS, compared, cell, pairs);
    for (int64_t k = 0; k < count; k++) {
        const struct clq_tool_pair *row = &pairs[k];
        const int64_t skipped = row->stats.nan_count + row->stats.inf_count;
        if (row->outcome == CLQ_TOOL_COMPARED && skipped == 0) continue;
        fputs("tensor \"", stdout);
        clq_tool_put_text(stdout, row->name);
        if (row->outcome != CLQ_TOOL_COMPARED)
            printf("\": %s\n", outcome_texts[row->outcome]);
        else
            printf("\": %" PRId64 " NaN and %" PRId64 " infinite values left out\n", row->stats.nan_count, row->stats.inf_count);
    }
    printf("%" PRId64 " compared, %" PRId64 " not; %s\n", compared, count - compared,
           clq_tool_place_text(tool, place, sizeof place));
}

static void put_row(struct clq_tool_json *json, const struct clq_tool_pair *row)
{
    const int64_t *shape;
    const int32_t rank = clq_tool_entry_shape(row->a != NULL ? row->a : row->b, &shape);
    clq_tool_json_open(json, NULL, '{');
    clq_tool_json_string(json, "name", row->name);
    clq_tool_json_string(json, "outcome", outcome_texts[row->outcome]);
    clq_tool_json_shape(json, "shape", rank, shape);
    clq_tool_json_string(json, "type_a", row->a != NULL ? clq_tool_entry_type(row->a) : NULL);
    clq_tool_json_string(json, "type_b", row->b != NULL ? clq_tool_entry_type(row->b) : NULL);
    clq_tool_json_integer(json, "bytes_a", row->bytes_a);
    clq_tool_json_integer(json, "bytes_b", row->bytes_b);
    if (row->outcome == CLQ_TOOL_COMPARED) {
        clq_tool_json_integer(json, "elements", row->stats.count);
        clq_tool_json_integer(json, "nan", row->stats.nan_count);
        clq_tool_json_integer(json, "infinite", row->stats.inf_count);
        clq_tool_json_integer(json, "clipped", row->stats.clipped_count);
        clq_tool_json_real(json, "clipped_share", row->stats.clipped_share);
        clq_tool_json_real(json, "mse", row->stats.mse);
        clq_tool_json_real(json, "mae", row->stats.mae);
        clq_tool_json_real(json, "max_error", row->stats.max_error);
        clq_tool_json_real(json, "sqnr_db", row->stats.sqnr_db);
        clq_tool_json_real(json, "cosine", row->stats.cosine);
    }
    clq_tool_json_close(json, '{');
}

static void put_document(const struct clq_tool *tool, char *const *paths, const struct clq_tool_pair *pairs, int64_t count)
{
    struct clq_tool_json json = {.out = stdout, .line_depth = 2};
    clq_tool_json_open(&json, NULL, '{');
    clq_tool_json_string(&json, "command", "compare");
    clq_tool_json_string(&json, "version", clq_version());
    clq_tool_json_string(&json, "a", paths[0]);
    clq_tool_json_string(&json, "b", paths[1]);
    clq_tool_json_string(&json, "device", tool->info.id);
    clq_tool_json_string(&json, "path", tool->info.path);
    clq_tool_json_integer(&json, "threads", tool->num_threads);
    clq_tool_json_integer(&json, "calls", tool->calls);
    clq_tool_json_integer(&json, "calls_on_cpu", tool->calls_on_cpu);
    clq_tool_json_open(&json, "tensors", '[');
    for (int64_t k = 0; k < count; k++)
        put_row(&json, &pairs[k]);
    clq_tool_json_close(&json, '[');
    clq_tool_json_real(&json, "seconds", clq_tool_now() - tool->started);
    clq_tool_json_close(&json, '{');
}

void clq_tool_report_pairs(const struct clq_tool *tool, char *const *paths, struct clq_tool_pair *pairs, int64_t count)
{
    qsort(pairs, (size_t)count, sizeof *pairs, order);
    if (tool->json)
        put_document(tool, paths, pairs, count);
    else if (!tool->quiet)
        print_list(tool, pairs, count);
}
