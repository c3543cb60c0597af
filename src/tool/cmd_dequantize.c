/* SPDX-License-Identifier: MIT */
/* clquant dequantize: the way back, to the type and shape that the metadata tells. */
#include "config.h"

#include "tool/output.h"
#include "tool/progress.h"
#include "tool/report_run.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "usage: clquant dequantize IN -o OUT [OPTION...]\n"
                           "\n"
                           "Restores the quantized tensors of IN, which clquant quantize wrote, to their\n"
                           "type and shape (f64 comes back as f32). Other tensors pass through untouched.\n"
                           "OUT is a .npy if its name ends so, which takes a file of one tensor, else a\n"
                           ".safetensors.\n"
                           "\n"
                           "  -o, --output FILE     the file to write; it is replaced only when the new\n"
                           "                        one is complete\n"
                           "      --device DEVICE   cpu, opencl, opencl:N of 'clquant devices'\n"
                           "                        (default: $CLQ_DEVICE, else cpu)\n"
                           "      --threads N       at most N threads of the CPU\n"
                           "      --json            the report as a JSON document\n"
                           "  -q, --quiet           no report\n"
                           "  -v, --verbose         each decision, and where it ran, on stderr\n"
                           "  -h, --help            this text\n";

static const struct option own_options[] = {{"output", required_argument, NULL, 'o'}, {NULL, 0, NULL, 0}};

struct request {
    const char *in, *out;
    struct clq_tool_catalog catalog;
    struct clq_tool_result *results; /* one for each tensor of the output */
    int64_t *indexes;                /* of the catalog, likewise */
    int64_t *out_indexes;            /* of the output, likewise */
    int64_t count;
    struct clq_tool_memory floats;
};

static int parse(struct clq_tool *tool, int argc, char **argv, struct request *request)
{
    int option;
    while ((option = clq_tool_option(tool, argc, argv)) >= 0)
        request->out = optarg;
    if (option == CLQ_TOOL_STOP || !clq_tool_operands(tool, argc, argv, 1, "IN")) return tool->exit_status;
    if (request->out == NULL) return clq_tool_usage_error(tool, "no output: -o OUT is missing");
    request->in = argv[optind];
    return 0;
}

static void plan_tensor(struct clq_tool *tool, struct request *request, const struct clq_tool_entry *entry)
{
    const clq_file_tensor *tensor = entry->tensor;
    struct clq_tool_result *result = &request->results[request->count];
    request->indexes[request->count++] = entry->index;
    *result =
        (struct clq_tool_result){.name = tensor->name, .from = clq_tool_entry_type(entry), .to = clq_tool_entry_type(entry)};
    result->rank = clq_tool_entry_shape(entry, &result->shape);
    result->element_count = clq_tool_entry_elements(entry);
    result->bytes_in = result->bytes_out = clq_tool_entry_bytes(&request->catalog, entry);
    if (entry->role != CLQ_TOOL_QUANTIZED) {
        result->reason = "not quantized";
        clq_tool_say(tool, "tensor \"%s\": passes through: %s", tensor->name, result->reason);
        return;
    }
    result->scheme = &entry->record.scheme;
    result->to = clq_dtype_name(clq_tool_entry_float(entry));
    result->bytes_out = clq_tool_bytes(clq_tool_entry_float(entry), result->element_count);
    if (entry->record.source_dtype == CLQ_F64) result->note = "was f64, comes back as f32";
    clq_tool_say(tool, "tensor \"%s\": %s to %s", tensor->name, result->from, result->to);
}

static bool plan_all(struct clq_tool *tool, struct request *request)
{
    const size_t room = request->catalog.count > 0 ? (size_t)request->catalog.count : 1;
    int64_t work_bytes = 0;
    request->results = calloc(room, sizeof *request->results);
    request->indexes = calloc(room, sizeof *request->indexes);
    request->out_indexes = calloc(room, sizeof *request->out_indexes);
    if (request->results == NULL || request->indexes == NULL || request->out_indexes == NULL) return clq_tool_fail_memory();
    for (int64_t k = 0; k < request->catalog.count; k++)
        if (request->catalog.entries[k].role != CLQ_TOOL_PARAMETER) plan_tensor(tool, request, &request->catalog.entries[k]);
    for (int64_t k = 0; k < request->count; k++)
        work_bytes += request->results[k].bytes_out;
    clq_tool_progress_start(tool, work_bytes);
    return true;
}

static bool open_output(struct clq_tool *tool, const struct request *request, struct clq_tool_output *output)
{
    const size_t length = strlen(request->out);
    const bool is_npy = length >= 4 && strcmp(request->out + length - 4, ".npy") == 0;
    if (is_npy && request->count != 1)
        return clq_tool_fail(request->out, NULL, "a .npy holds one tensor, %s has %" PRId64, request->in, request->count);
    if (!clq_tool_output_open(tool, request->out, is_npy ? CLQ_FILE_NPY : CLQ_FILE_SAFETENSORS, output)) return false;
    return is_npy || clq_tool_output_copy_metadata(tool, output, &request->catalog, false);
}

static bool declare_all(struct clq_tool *tool, struct request *request, struct clq_tool_output *output)
{
    for (int64_t k = 0; k < request->count; k++) {
        const struct clq_tool_result *result = &request->results[k];
        const struct clq_tool_entry *entry = &request->catalog.entries[request->indexes[k]];
        const bool done = result->reason != NULL
                              ? clq_tool_output_declare_copy(tool, output, entry, &request->out_indexes[k])
                              : clq_tool_output_tensor(tool, output, result->name,
                                                       clq_tool_word_of(clq_tool_file_dtypes, (int)clq_tool_entry_float(entry)),
                                                       result->rank, result->shape, &request->out_indexes[k]);
        if (!done) return false;
    }
    return true;
}

static bool dequantize(struct clq_tool *tool, struct request *request, int64_t k, struct clq_tool_output *output)
{
    struct clq_tool_result *result = &request->results[k];
    const struct clq_tool_entry *entry = &request->catalog.entries[request->indexes[k]];
    const clq_dtype dtype = clq_tool_entry_float(entry);
    const struct clq_tool_meter before = tool->meter;
    const int64_t most = result->element_count < CLQ_TOOL_CHUNK_ELEMENTS ? result->element_count : CLQ_TOOL_CHUNK_ELEMENTS;
    void *data = clq_tool_reserve(&request->floats, clq_tool_bytes(dtype, most));
    if (data == NULL) return false;
    for (int64_t first = 0; first < result->element_count;) {
        const int64_t rest = result->element_count - first, count = rest < most ? rest : most,
                      bytes = clq_tool_bytes(dtype, count);
        if (!clq_tool_read_floats(tool, &request->catalog, entry, first, count, dtype, data) ||
            !clq_tool_output_write(tool, output, request->out_indexes[k], clq_tool_bytes(dtype, first), bytes, data))
            return false;
        clq_tool_progress_advance(bytes);
        first += count;
    }
    result->meter.seconds = tool->meter.seconds - before.seconds;
    result->meter.bytes = tool->meter.bytes - before.bytes;
    return true;
}

static bool write_all(struct clq_tool *tool, struct request *request, struct clq_tool_output *output)
{
    for (int64_t k = 0; k < request->count; k++) {
        const bool done = request->results[k].reason != NULL
                              ? clq_tool_output_copy(tool, output, &request->catalog,
                                                     &request->catalog.entries[request->indexes[k]], request->out_indexes[k])
                              : dequantize(tool, request, k, output);
        if (!done) return false;
    }
    return clq_tool_output_commit(tool, output);
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    struct request request = {.in = NULL};
    struct clq_tool_output output = {.writer = NULL};
    int exit_status = parse(tool, argc, argv, &request);
    if (exit_status != 0 || request.in == NULL) return exit_status;
    exit_status = clq_tool_open_context(tool);
    if (exit_status != 0) return exit_status;
    exit_status = CLQ_TOOL_FAILURE;
    if (clq_tool_catalog_open(tool, request.in, &request.catalog) && plan_all(tool, &request) &&
        open_output(tool, &request, &output) && declare_all(tool, &request, &output) && write_all(tool, &request, &output)) {
        clq_tool_report_run(tool, request.in, request.out, request.results, request.count);
        exit_status = 0;
    }
    clq_tool_output_close(&output);
    clq_tool_catalog_close(&request.catalog);
    clq_tool_release(&request.floats);
    free(request.results);
    free(request.indexes);
    free(request.out_indexes);
    return exit_status;
}

const struct clq_tool_command clq_tool_dequantize = {
    .name = "dequantize",
    .summary = "restore the floats of a quantized file",
    .help = help,
    .computes = true,
    .letters = "o:",
    .options = own_options,
    .run = run,
};
