/* SPDX-License-Identifier: MIT */
/* clquant inspect: what is in a file. */
#include "config.h"

#include "tool/catalog.h"
#include "tool/json.h"
#include "tool/table.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <string.h>

static const char help[] = "usage: clquant inspect FILE [--json]\n"
                           "\n"
                           "Lists the tensors of a .npy, a .safetensors, or the index.json of a sharded\n"
                           "checkpoint: name, type, shape and bytes as stored, and for those that clquant\n"
                           "quantized the true type and shape and the scheme. Headers and metadata are\n"
                           "checked, data is not read.\n"
                           "\n"
                           "      --json      the list as a JSON document\n"
                           "  -q, --quiet     no list: only the exit status\n"
                           "  -v, --verbose   what the library logs, on stderr\n"
                           "  -h, --help      this text\n";

enum { COLUMN_NAME, COLUMN_DTYPE, COLUMN_SHAPE, COLUMN_BYTES, COLUMN_QUANTIZATION, COLUMNS };

static const struct clq_tool_column columns[COLUMNS] = {
    {"tensor", true}, {"type", true}, {"shape", true}, {"bytes", false}, {"quantization", true}};

static const char *quantization_text(const struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry, char *text,
                                     size_t text_bytes)
{
    char shape[96], scheme[96];
    const struct clq_tool_record *record = &entry->record;
    *text = 0;
    if (entry->role == CLQ_TOOL_QUANTIZED)
        snprintf(text, text_bytes, "%s %s from %s, %s", clq_dtype_name(record->scheme.dtype),
                 clq_tool_shape_text(record->rank, record->shape, shape, sizeof shape),
                 clq_tool_word_of(clq_tool_file_dtypes, (int)record->source_dtype),
                 clq_tool_scheme_text(&record->scheme, scheme, sizeof scheme));
    else if (entry->role == CLQ_TOOL_PARAMETER)
        snprintf(text, text_bytes, "of %s", catalog->entries[entry->owner].tensor->name);
    return text;
}

static const char *cell(const void *rows, int64_t row, int column, char *text, size_t text_bytes)
{
    const struct clq_tool_catalog *catalog = rows;
    const struct clq_tool_entry *entry = &catalog->entries[row];
    const clq_file_tensor *tensor = entry->tensor;
    switch (column) {
    case COLUMN_NAME:
        return tensor->name;
    case COLUMN_DTYPE:
        return tensor->dtype_name;
    case COLUMN_SHAPE:
        return clq_tool_shape_text(tensor->rank, tensor->shape, text, text_bytes);
    case COLUMN_BYTES:
        snprintf(text, text_bytes, "%" PRId64, tensor->size_bytes);
        return text;
    default:
        return quantization_text(catalog, entry, text, text_bytes);
    }
}

static void put_tensor(struct clq_tool_json *json, const struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry)
{
    const clq_file_tensor *tensor = entry->tensor;
    clq_tool_json_open(json, NULL, '{');
    clq_tool_json_string(json, "name", tensor->name);
    clq_tool_json_string(json, "file", tensor->file_path);
    clq_tool_json_string(json, "dtype", tensor->dtype_name);
    clq_tool_json_shape(json, "shape", tensor->rank, tensor->shape);
    clq_tool_json_integer(json, "elements", tensor->element_count);
    clq_tool_json_integer(json, "bytes", tensor->size_bytes);
    if (entry->role == CLQ_TOOL_PARAMETER)
        clq_tool_json_string(json, "parameter_of", catalog->entries[entry->owner].tensor->name);
    if (entry->role == CLQ_TOOL_QUANTIZED) {
        clq_tool_json_open(json, "quantization", '{');
        clq_tool_json_record(json, &entry->record);
        clq_tool_json_close(json, '{');
    }
    clq_tool_json_close(json, '{');
}

static void put_document(const struct clq_tool_catalog *catalog, const char *format, int64_t quantized, int64_t bytes)
{
    struct clq_tool_json json = {.out = stdout, .line_depth = 2};
    const char *key, *value;
    clq_tool_json_open(&json, NULL, '{');
    clq_tool_json_string(&json, "command", "inspect");
    clq_tool_json_string(&json, "version", clq_version());
    clq_tool_json_string(&json, "file", catalog->path);
    clq_tool_json_string(&json, "format", format);
    clq_tool_json_open(&json, "tensors", '[');
    for (int64_t k = 0; k < catalog->count; k++)
        put_tensor(&json, catalog, &catalog->entries[k]);
    clq_tool_json_close(&json, '[');
    clq_tool_json_open(&json, "metadata", '{');
    for (int64_t k = 0; clq_file_metadata_at(catalog->file, k, &key, &value); k++)
        clq_tool_json_string(&json, key, value);
    clq_tool_json_close(&json, '{');
    clq_tool_json_integer(&json, "tensor_count", catalog->count);
    clq_tool_json_integer(&json, "quantized", quantized);
    clq_tool_json_integer(&json, "bytes", bytes);
    clq_tool_json_close(&json, '{');
}

static void print_list(const struct clq_tool_catalog *catalog, const char *format, int64_t quantized, int64_t bytes)
{
    const char *key, *value;
    char total[16];
    clq_tool_print_table(columns, quantized > 0 ? COLUMNS : COLUMN_QUANTIZATION, catalog->count, cell, catalog);
    for (int64_t k = 0; clq_file_metadata_at(catalog->file, k, &key, &value); k++) {
        if (strncmp(key, CLQ_TOOL_KEY_TENSOR, strlen(CLQ_TOOL_KEY_TENSOR)) == 0) continue; /* shown above */
        fputs("metadata ", stdout);
        clq_tool_put_text(stdout, key);
        fputs(": ", stdout);
        clq_tool_put_text(stdout, value);
        putchar('\n');
    }
    printf("%s, %" PRId64 " tensor%s, %" PRId64 " quantized, %" PRId64 " bytes of data (%s)\n", format, catalog->count,
           catalog->count == 1 ? "" : "s", quantized, bytes, clq_tool_bytes_text((double)bytes, total, sizeof total));
}

static void print_catalog(struct clq_tool *tool, const struct clq_tool_catalog *catalog)
{
    const char *format = clq_file_get_format(catalog->file) == CLQ_FILE_NPY ? ".npy" : ".safetensors";
    int64_t quantized = 0, bytes = 0; /* bytes: at most those of the files, so no overflow */
    for (int64_t k = 0; k < catalog->count; k++) {
        quantized += catalog->entries[k].role == CLQ_TOOL_QUANTIZED;
        bytes += catalog->entries[k].tensor->size_bytes;
    }
    if (tool->json)
        put_document(catalog, format, quantized, bytes);
    else if (!tool->quiet)
        print_list(catalog, format, quantized, bytes);
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    struct clq_tool_catalog catalog;
    if (clq_tool_option(tool, argc, argv) == CLQ_TOOL_STOP) return tool->exit_status;
    if (!clq_tool_operands(tool, argc, argv, 1, "FILE")) return tool->exit_status;
    const int status = clq_tool_open_context(tool);
    if (status != 0) return status;
    const bool opened = clq_tool_catalog_open(tool, argv[optind], &catalog);
    if (opened) print_catalog(tool, &catalog);
    clq_tool_catalog_close(&catalog);
    return opened ? 0 : CLQ_TOOL_FAILURE;
}

const struct clq_tool_command clq_tool_inspect = {
    .name = "inspect",
    .summary = "list the tensors of a file",
    .help = help,
    .run = run,
};
