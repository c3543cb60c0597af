/* SPDX-License-Identifier: MIT */
/* What quantize and dequantize say at the end: a row for each tensor that they worked on, and the totals. */
#include "config.h"

#include "tool/report_run.h"

#include "tool/json.h"
#include "tool/scheme_metadata.h"
#include "tool/table.h"
#include <inttypes.h>
#include <string.h>

enum {
    COLUMN_NAME,
    COLUMN_SHAPE,
    COLUMN_FROM,
    COLUMN_TO,
    COLUMN_SCHEME,
    COLUMN_BYTES_IN,
    COLUMN_BYTES_OUT,
    COLUMN_SECONDS,
    COLUMN_RATE,
    COLUMN_CLIPPED,
    COLUMNS
};

static const struct clq_tool_column columns[COLUMNS] = {
    [COLUMN_NAME] = {"tensor", true},
    [COLUMN_SHAPE] = {"shape", true},
    [COLUMN_FROM] = {"from", true},
    [COLUMN_TO] = {"to", true},
    [COLUMN_SCHEME] = {"scheme", true},
    [COLUMN_BYTES_IN] = {"bytes in", false},
    [COLUMN_BYTES_OUT] = {"bytes out", false},
    [COLUMN_SECONDS] = {"seconds", false},
    [COLUMN_RATE] = {"GB/s", false},
    [COLUMN_CLIPPED] = {"clipped", false},
};

static const char *cell(const void *rows, int64_t row, int column, char *text, size_t text_bytes)
{
    const struct clq_tool_result *result = &((const struct clq_tool_result *)rows)[row];
    const double share = result->element_count > 0 ? (double)result->counts[2] / (double)result->element_count : 0;
    switch (column) {
    case COLUMN_NAME:
        return result->reason != NULL ? NULL : result->name;
    case COLUMN_SHAPE:
        return clq_tool_shape_text(result->rank, result->shape, text, text_bytes);
    case COLUMN_FROM:
        return result->from;
    case COLUMN_TO:
        return result->to;
    case COLUMN_SCHEME:
        return clq_tool_scheme_text(result->scheme, text, text_bytes);
    case COLUMN_BYTES_IN:
        snprintf(text, text_bytes, "%" PRId64, result->bytes_in);
        break;
    case COLUMN_BYTES_OUT:
        snprintf(text, text_bytes, "%" PRId64, result->bytes_out);
        break;
    case COLUMN_SECONDS:
        snprintf(text, text_bytes, "%.4f", result->meter.seconds);
        break;
    case COLUMN_RATE:
        snprintf(text, text_bytes, "%.1f", clq_tool_rate(&result->meter));
        break;
    default:
        snprintf(text, text_bytes, "%.3f %%", 100 * share);
    }
    return text;
}

/* What a whole run came to. */
struct totals {
    int64_t worked, passed, bytes_in, bytes_out;
    double seconds;
};

static struct totals add_up(const struct clq_tool *tool, const struct clq_tool_result *results, int64_t count)
{
    struct totals totals = {.seconds = clq_tool_now() - tool->started};
    for (int64_t k = 0; k < count; k++) {
        totals.worked += results[k].reason == NULL;
        totals.passed += results[k].reason != NULL;
        totals.bytes_in += results[k].bytes_in;
        totals.bytes_out += results[k].bytes_out;
    }
    return totals;
}

static void put_result(struct clq_tool_json *json, const struct clq_tool_result *result)
{
    clq_tool_json_open(json, NULL, '{');
    clq_tool_json_string(json, "name", result->name);
    clq_tool_json_boolean(json, "passed_through", result->reason != NULL);
    clq_tool_json_string(json, "reason", result->reason);
    clq_tool_json_shape(json, "shape", result->rank, result->shape);
    clq_tool_json_string(json, "from", result->from);
    clq_tool_json_string(json, "to", result->to);
    if (result->scheme != NULL) {
        clq_tool_json_scheme(json, result->scheme);
        clq_tool_json_integer(json, "nan", result->counts[0]);
        clq_tool_json_integer(json, "infinite", result->counts[1]);
        clq_tool_json_integer(json, "clipped", result->counts[2]);
        clq_tool_json_real(json, "kernel_seconds", result->meter.seconds);
        clq_tool_json_real(json, "gb_per_second", clq_tool_rate(&result->meter));
    }
    clq_tool_json_integer(json, "elements", result->element_count);
    clq_tool_json_integer(json, "bytes_in", result->bytes_in);
    clq_tool_json_integer(json, "bytes_out", result->bytes_out);
    clq_tool_json_string(json, "note", result->note);
    clq_tool_json_close(json, '{');
}

static void put_document(struct clq_tool *tool, const char *in, const char *out, const struct clq_tool_result *results,
                         int64_t count, const struct totals *totals)
{
    struct clq_tool_json json = {.out = stdout, .line_depth = 2};
    clq_tool_json_open(&json, NULL, '{');
    clq_tool_json_string(&json, "command", tool->command->name);
    clq_tool_json_string(&json, "version", clq_version());
    clq_tool_json_string(&json, "input", in);
    clq_tool_json_string(&json, "output", out);
    clq_tool_json_string(&json, "device", tool->info.id);
    clq_tool_json_string(&json, "path", tool->info.path);
    clq_tool_json_integer(&json, "threads", tool->num_threads);
    clq_tool_json_integer(&json, "calls", tool->calls);
    clq_tool_json_integer(&json, "calls_on_cpu", tool->calls_on_cpu);
    clq_tool_json_open(&json, "tensors", '[');
    for (int64_t k = 0; k < count; k++)
        put_result(&json, &results[k]);
    clq_tool_json_close(&json, '[');
    clq_tool_json_integer(&json, "worked_on", totals->worked);
    clq_tool_json_integer(&json, "passed_through", totals->passed);
    clq_tool_json_integer(&json, "bytes_in", totals->bytes_in);
    clq_tool_json_integer(&json, "bytes_out", totals->bytes_out);
    clq_tool_json_real(&json, "seconds", totals->seconds);
    clq_tool_json_real(&json, "kernel_seconds", tool->meter.seconds);
    clq_tool_json_real(&json, "gb_per_second", clq_tool_rate(&tool->meter));
    clq_tool_json_close(&json, '{');
}

void clq_tool_report_run(struct clq_tool *tool, const char *in, const char *out, const struct clq_tool_result *results,
                         int64_t count)
{
    const bool quantizes = tool->command == &clq_tool_quantize;
    const char *verb = quantizes ? "quantized" : "dequantized";
    const struct totals totals = add_up(tool, results, count);
    char bytes_in[16], bytes_out[16], place[128];
    for (int64_t k = 0; k < count; k++)
        if (results[k].note != NULL) clq_tool_note(tool, "%s: tensor \"%s\": %s", in, results[k].name, results[k].note);
    if (totals.worked == 0) clq_tool_note(tool, "%s: no tensor was %s, all passed through", in, verb);
    if (tool->json) put_document(tool, in, out, results, count, &totals);
    if (tool->json || tool->quiet) return;
    if (totals.worked > 0) clq_tool_print_table(columns, quantizes ? COLUMNS : COLUMN_CLIPPED, count, cell, results);
    printf("%" PRId64 " %s, %" PRId64 " passed through: %s to %s in %.3f s; kernels %.4f s, %.1f GB/s, %s\n", totals.worked, verb,
           totals.passed, clq_tool_bytes_text((double)totals.bytes_in, bytes_in, sizeof bytes_in),
           clq_tool_bytes_text((double)totals.bytes_out, bytes_out, sizeof bytes_out), totals.seconds, tool->meter.seconds,
           clq_tool_rate(&tool->meter), clq_tool_place_text(tool, place, sizeof place));
    fputs("written to ", stdout);
    clq_tool_put_text(stdout, out);
    putchar('\n');
}
