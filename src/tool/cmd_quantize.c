/* SPDX-License-Identifier: MIT */
/* clquant quantize: the options, and the work that quantize_plan.c lays out. */
#include "config.h"

#include "tool/quantize_plan.h"
#include "tool/quantize_tensor.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "usage: clquant quantize IN -o OUT.safetensors [OPTION...]\n"
                           "\n"
                           "Quantizes the f32, f16 and bf16 tensors of IN: a .npy (f64 is narrowed to\n"
                           "f32), a .safetensors, or the index.json of a sharded checkpoint. OUT holds,\n"
                           "for a tensor NAME, the integers NAME, their scales NAME_scale and zero points\n"
                           "NAME_zero_point. Tensors of other types, of rank 0 and 1 (unless --per-tensor)\n"
                           "and excluded ones pass through untouched.\n"
                           "\n"
                           "  -o, --output FILE       the file to write; it is replaced only when the new\n"
                           "                          one is complete\n"
                           "      --dtype TYPE        s8 (default), u8, s4, u4, s16, u16\n"
                           "      --scheme SCHEME     symmetric (default), symmetric-full, asymmetric, pow2\n"
                           "      --axis N            a scale for each index of axis N (default 0);\n"
                           "                          negative axes count from the last\n"
                           "      --group-size G      with --axis: a scale for every G consecutive elements\n"
                           "                          along the axis\n"
                           "      --per-tensor        one scale for a tensor\n"
                           "      --division          round x / scale (default)\n"
                           "      --reciprocal        round x * (1 / scale)\n"
                           "      --include GLOB      only tensors with such a name; may be given again\n"
                           "      --exclude GLOB      no tensors with such a name; may be given again\n"
                           "      --allow-nonfinite   NaN and infinities become the ends of the range\n"
                           "                          instead of an error\n"
                           "      --device DEVICE     cpu, opencl, opencl:N of 'clquant devices'\n"
                           "                          (default: $CLQ_DEVICE, else cpu)\n"
                           "      --threads N         at most N threads of the CPU\n"
                           "      --json              the report as a JSON document\n"
                           "  -q, --quiet             no report\n"
                           "  -v, --verbose           each decision, and where it ran, on stderr\n"
                           "  -h, --help              this text\n";

enum {
    OPTION_DTYPE = CLQ_TOOL_OWN,
    OPTION_SCHEME,
    OPTION_AXIS,
    OPTION_GROUP_SIZE,
    OPTION_PER_TENSOR,
    OPTION_DIVISION,
    OPTION_RECIPROCAL,
    OPTION_INCLUDE,
    OPTION_EXCLUDE,
    OPTION_ALLOW_NONFINITE
};

static const struct option own_options[] = {{"output", required_argument, NULL, 'o'},
                                            {"dtype", required_argument, NULL, OPTION_DTYPE},
                                            {"scheme", required_argument, NULL, OPTION_SCHEME},
                                            {"axis", required_argument, NULL, OPTION_AXIS},
                                            {"group-size", required_argument, NULL, OPTION_GROUP_SIZE},
                                            {"per-tensor", no_argument, NULL, OPTION_PER_TENSOR},
                                            {"division", no_argument, NULL, OPTION_DIVISION},
                                            {"reciprocal", no_argument, NULL, OPTION_RECIPROCAL},
                                            {"include", required_argument, NULL, OPTION_INCLUDE},
                                            {"exclude", required_argument, NULL, OPTION_EXCLUDE},
                                            {"allow-nonfinite", no_argument, NULL, OPTION_ALLOW_NONFINITE},
                                            {NULL, 0, NULL, 0}};

/* ---------------------------------------------------------------------------------------------- options */

/* One of a list of words. */
static bool take_word(struct clq_tool *tool, const char *option, const struct clq_tool_word *words, int *value)
{
    char known[128] = "";
    *value = clq_tool_value_of(words, optarg);
    if (*value >= 0) return true;
    for (; words->word != NULL; words++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", words->word);
    }
    tool->exit_status = clq_tool_usage_error(tool, "%s '%s': must be one of %s", option, optarg, known);
    return false;
}

static bool take_option(struct clq_tool *tool, struct clq_tool_request *request, int option)
{
    int64_t number;
    int value;
    switch (option) {
    case 'o':
        request->out = optarg;
        return true;
    case OPTION_DTYPE:
        if (!take_word(tool, "--dtype", clq_tool_dtypes, &value)) return false;
        request->scheme.dtype = (clq_dtype)value;
        return true;
    case OPTION_SCHEME:
        if (!take_word(tool, "--scheme", clq_tool_symmetries, &value)) return false;
        request->scheme.symmetry = (clq_symmetry)value;
        return true;
    case OPTION_AXIS:
        if (!clq_tool_number(tool, "--axis", optarg, INT32_MIN, INT32_MAX, &number)) return false;
        request->scheme.axis = (int32_t)number;
        request->has_axis = true;
        return true;
    case OPTION_GROUP_SIZE:
        return clq_tool_number(tool, "--group-size", optarg, 1, INT64_MAX, &request->scheme.group_size);
    case OPTION_PER_TENSOR:
        return request->per_tensor = true;
    case OPTION_DIVISION:
        return request->division = true;
    case OPTION_RECIPROCAL:
        return request->reciprocal = true;
    case OPTION_INCLUDE:
        request->includes[request->include_count++] = optarg;
        return true;
    case OPTION_EXCLUDE:
        request->excludes[request->exclude_count++] = optarg;
        return true;
    default:
        return request->allow_nonfinite = true;
    }
}

static bool ends_in(const char *text, const char *end)
{
    const size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* The options against each other. */
static bool check_request(struct clq_tool *tool, struct clq_tool_request *request)
{
    const char *fault = NULL;
    if (request->out == NULL)
        fault = "no output: -o OUT.safetensors is missing";
    else if (ends_in(request->out, ".npy"))
        fault = "the output is a .safetensors, a .npy cannot hold scales";
    else if (request->per_tensor && request->has_axis)
        fault = "--per-tensor and --axis exclude each other";
    else if (request->scheme.group_size != 0 && !request->has_axis)
        fault = "--group-size needs --axis";
    else if (request->division && request->reciprocal)
        fault = "--division and --reciprocal exclude each other";
    if (fault != NULL) {
        tool->exit_status = clq_tool_usage_error(tool, "%s", fault);
        return false;
    }
    request->scheme.quotient = request->reciprocal ? CLQ_RECIPROCAL : CLQ_DIVISION;
    request->scheme.granularity = request->per_tensor               ? CLQ_PER_TENSOR
                                  : request->scheme.group_size != 0 ? CLQ_PER_GROUP
                                                                    : CLQ_PER_CHANNEL;
    return true;
}

static int parse(struct clq_tool *tool, int argc, char **argv, struct clq_tool_request *request)
{
    int option;
    request->includes = calloc((size_t)argc, sizeof *request->includes);
    request->excludes = calloc((size_t)argc, sizeof *request->excludes);
    if (request->includes == NULL || request->excludes == NULL) {
        clq_tool_fail_memory();
        return CLQ_TOOL_FAILURE;
    }
    while ((option = clq_tool_option(tool, argc, argv)) >= 0)
        if (!take_option(tool, request, option)) return tool->exit_status;
    if (option == CLQ_TOOL_STOP) return tool->exit_status;
    if (!clq_tool_operands(tool, argc, argv, 1, "IN") || !check_request(tool, request)) return tool->exit_status;
    request->in = argv[optind];
    return 0;
}

/* ---------------------------------------------------------------------------------------------- work */

/* What the user should know of a tensor that was quantized. */
static void note_result(const struct clq_tool_request *request, int64_t k)
{
    struct clq_tool_result *result = &request->results[k];
    char *note = request->plans[k].note;
    const bool is_wide = request->catalog.entries[k].tensor->dtype == CLQ_F64;
    const bool has_nonfinite = result->counts[0] + result->counts[1] > 0;
    if (!is_wide && !has_nonfinite) return;
    const int used = snprintf(note, sizeof request->plans[k].note, "%s", is_wide ? "f64 narrowed to f32" : "");
    if (has_nonfinite)
        snprintf(note + used, sizeof request->plans[k].note - (size_t)used,
                 "%s%" PRId64 " NaN and %" PRId64 " infinite values quantized", is_wide ? "; " : "", result->counts[0],
                 result->counts[1]);
    result->note = note;
}

static bool write_all(struct clq_tool *tool, struct clq_tool_request *request, struct clq_tool_output *output)
{
    struct clq_tool_quantizer quantizer = {
        .tool = tool, .catalog = &request->catalog, .output = output, .allow_nonfinite = request->allow_nonfinite};
    bool done = true;
    for (int64_t k = 0; done && k < request->catalog.count; k++) {
        const struct clq_tool_entry *entry = &request->catalog.entries[k];
        const struct clq_tool_plan *plan = &request->plans[k];
        if (request->results[k].reason != NULL) {
            done = clq_tool_output_copy(tool, output, &request->catalog, entry, plan->indexes[0]);
            continue;
        }
        done = clq_tool_quantize_tensor(&quantizer, entry, &plan->grid, plan->indexes, &request->results[k]);
        if (done) note_result(request, k);
    }
    clq_tool_quantizer_free(&quantizer);
    return done && clq_tool_output_commit(tool, output);
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    struct clq_tool_request request = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC}};
    struct clq_tool_output output = {.writer = NULL};
    int exit_status = parse(tool, argc, argv, &request);
    if (exit_status != 0 || request.in == NULL) goto out;
    exit_status = clq_tool_open_context(tool);
    if (exit_status != 0) goto out;
    exit_status = CLQ_TOOL_FAILURE;
    if (!clq_tool_catalog_open(tool, request.in, &request.catalog) || !clq_tool_plan_all(tool, &request) ||
        !clq_tool_output_open(tool, request.out, CLQ_FILE_SAFETENSORS, &output) ||
        !clq_tool_declare_all(tool, &request, &output) || !write_all(tool, &request, &output))
        goto out;
    clq_tool_report_run(tool, request.in, request.out, request.results, request.catalog.count);
    exit_status = 0;
out:
    clq_tool_output_close(&output);
    clq_tool_catalog_close(&request.catalog);
    free(request.results);
    free(request.plans);
    free(request.includes);
    free(request.excludes);
    return exit_status;
}

const struct clq_tool_command clq_tool_quantize = {
    .name = "quantize",
    .summary = "quantize the tensors of a file",
    .help = help,
    .computes = true,
    .letters = "o:",
    .options = own_options,
    .run = run,
};
