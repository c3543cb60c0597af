/* SPDX-License-Identifier: MIT */
/* clquant bench: how fast the operations are on this machine, and how far from what it can do. */
#include "config.h"

#include "tool/bench.h"
#include "tool/json.h"
#include "tool/table.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: clquant bench [OP] [--shape SHAPE] [--threads N] [--cpu TABLE]\n"
    "                     [--device DEVICE] [--json]\n"
    "\n"
    "Measures the operations of the library on random tensors: every table of CPU\n"
    "kernels that this machine has, the best one with one and with all threads, and\n"
    "the best GPU or accelerator. First it measures what the machine can do at best:\n"
    "'share' is the time that a call would take at that rate, moving each byte once,\n"
    "by the time it takes. Results are compared with the scalar table's first.\n"
    "\n"
    "OP is one of quantize, dequantize, requantize, dynamic_quantize, fake_quantize,\n"
    "fake_quantize_mask, backward, backward_mask, backward_learnable,\n"
    "observe_fake_quantize, minmax, choose_qparams, convert, error_stats, gemm.\n"
    "\n"
    "      --shape SHAPE    this shape instead of several: N or ROWSxCOLUMNS of a\n"
    "                       tensor; MxNxK or BATCHxMxNxK of a matrix product\n"
    "      --threads N      with at most N threads of the CPU alone\n"
    "      --cpu TABLE      only this table of CPU kernels\n"
    "      --device DEVICE  only there: cpu, opencl, opencl:N\n"
    "      --json           a list of measurements as a JSON document\n"
    "  -q, --quiet          no table\n"
    "  -v, --verbose        tells on stderr what is measured\n"
    "  -h, --help           this text\n";

enum { OPTION_SHAPE = CLQ_TOOL_OWN, OPTION_CPU };

static const struct option options[] = {{"shape", required_argument, NULL, OPTION_SHAPE},
                                        {"cpu", required_argument, NULL, OPTION_CPU},
                                        {NULL, 0, NULL, 0}};

/* ---------------------------------------------------------------------------------------------- command line */

#define MOST_ELEMENTS 0x1p40

static bool read_shape(struct clq_bench *bench, const char *text)
{
    double elements = 1;
    const char *rest = text;
    bench->rank = 0;
    for (;;) {
        char *end;
        const long long extent = *rest >= '0' && *rest <= '9' && bench->rank < 4 ? strtoll(rest, &end, 10) : 0;
        if (extent < 1 || (*end != 0 && *end != 'x')) break;
        bench->shape[bench->rank++] = extent;
        elements *= (double)extent;
        if (*end == 0 && elements <= MOST_ELEMENTS) return true;
        if (*end == 0) break;
        rest = end + 1;
    }
    bench->tool->exit_status = clq_tool_usage_error(
        bench->tool, "--shape '%s': must be N, ROWSxCOLUMNS, MxNxK or BATCHxMxNxK, extents from 1 and of a product up to 2^40", text);
    return false;
}

static bool read_arguments(struct clq_bench *bench, int argc, char **argv)
{
    struct clq_tool *tool = bench->tool;
    for (int option; (option = clq_tool_option(tool, argc, argv)) != -1;) {
        if (option == CLQ_TOOL_STOP || (option == OPTION_SHAPE && !read_shape(bench, optarg))) return false;
        if (option == OPTION_CPU) bench->cpu = optarg;
    }
    if (argc > optind + 1) return clq_tool_operands(tool, argc, argv, 1, "OP");
    if (argc > optind) bench->op = argv[optind];
    if (bench->op != NULL && !clq_bench_is_op(bench->op)) {
        tool->exit_status = clq_tool_usage_error(tool, "unknown operation '%s'", bench->op);
        return false;
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------- places */

/* All tables of any build, best first. */
static const struct {
    const char *name;
    bool only_products;
} tables[] = {{"amx", true},  {"avx512vnni", true}, {"avx512", false}, {"avxvnni", true},
              {"avx2", false}, {"neondot", true},   {"neon", false},   {"scalar", false}};

/* Returns the exit status; where the failure is no error `status` tells it. */
static int open_context(struct clq_bench *bench, const char *device, const char *cpu, int32_t num_threads, clq_context **context,
                        clq_status *status)
{
    char text[512] = "";
    clq_context_options wanted = CLQ_CONTEXT_OPTIONS_INIT;
    wanted.device = device;
    wanted.cpu = cpu;
    wanted.num_threads = num_threads;
    wanted.error_text = text;
    wanted.error_text_bytes = sizeof text;
    const clq_status result = clq_context_create(&wanted, context);
    if (status != NULL) *status = result;
    if (result == CLQ_OK || (status != NULL && result != CLQ_ERROR_OUT_OF_MEMORY)) return 0;
    const char *start = strstr(text, ": "), *fault = start != NULL ? start + 2 : clq_status_name(result);
    if (result == CLQ_ERROR_INVALID_ARGUMENT) return clq_tool_usage_error(bench->tool, "%s", fault);
    clq_tool_fail(NULL, NULL, "%s", fault);
    return CLQ_TOOL_FAILURE;
}

/* Places with as many threads, or on the same device, have the same limits. */
static struct clq_bench_limits *limits_for(struct clq_bench *bench, const struct clq_bench_place *place)
{
    for (int k = 0; k < bench->limits_count && !place->is_device; k++)
        if (bench->limits[k].num_threads == place->num_threads) return &bench->limits[k];
    struct clq_bench_limits *limits = &bench->limits[bench->limits_count++];
    limits->num_threads = place->num_threads;
    return limits;
}

static void add_place(struct clq_bench *bench, clq_context *context, bool is_best, bool only_products)
{
    clq_device_info info;
    struct clq_bench_place *place = &bench->places[bench->place_count];
    if (bench->place_count == BENCH_PLACES || clq_context_info(context, &info) != CLQ_OK) {
        clq_context_free(context);
        return;
    }
    *place = (struct clq_bench_place){
        .is_device = strcmp(info.id, "cpu") != 0, .is_best = is_best, .only_products = only_products, .context = context};
    snprintf(place->device, sizeof place->device, "%s", info.id);
    if (!place->is_device) {
        snprintf(place->cpu, sizeof place->cpu, "%s", info.path);
        place->num_threads = info.num_threads;
    }
    place->limits = limits_for(bench, place);
    bench->place_count++;
}

/* A table with `--threads` threads, or with one, and with all of them where it is the best. */
static int add_table(struct clq_bench *bench, const char *name, bool is_best, bool with_all, bool only_products)
{
    clq_context *context;
    const int32_t asked = bench->tool->num_threads;
    int status = open_context(bench, "cpu", name, asked > 0 ? asked : 1, &context, NULL);
    if (status != 0) return status;
    add_place(bench, context, is_best, only_products);
    if (asked > 0 || !with_all) return 0;
    status = open_context(bench, "cpu", name, 0, &context, NULL);
    if (status != 0) return status;
    clq_device_info info;
    if (clq_context_info(context, &info) == CLQ_OK && info.num_threads > 1)
        add_place(bench, context, is_best, only_products);
    else
        clq_context_free(context);
    return 0;
}

static int add_tables(struct clq_bench *bench)
{
    bool has_table = false, has_elements = false;
    if (bench->cpu != NULL) return add_table(bench, bench->cpu, true, true, false);
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        clq_context *context = NULL;
        clq_status status;
        int exit_status = open_context(bench, "cpu", tables[k].name, 1, &context, &status);
        clq_context_free(context);
        if (exit_status != 0) return exit_status;
        if (status != CLQ_OK) continue;
        exit_status = add_table(bench, tables[k].name, !has_table, !has_table || (!has_elements && !tables[k].only_products),
                                tables[k].only_products);
        if (exit_status != 0) return exit_status;
        has_table = true;
        has_elements = has_elements || !tables[k].only_products;
    }
    return 0;
}

/* A device that is named, or the best GPU or accelerator if there is one. */
static int add_device(struct clq_bench *bench, const char *name)
{
    clq_context *context = NULL;
    clq_status status = CLQ_OK;
    const int exit_status = open_context(bench, name != NULL ? name : "opencl", NULL, bench->tool->num_threads, &context, name != NULL ? NULL : &status);
    if (context != NULL)
        add_place(bench, context, true, false);
    else if (exit_status == 0 && status != CLQ_ERROR_NO_DEVICE)
        clq_tool_note(bench->tool, "opencl: %s", clq_status_name(status));
    return exit_status;
}

static int find_places(struct clq_bench *bench)
{
    const char *device = bench->tool->device != NULL ? bench->tool->device : getenv("CLQ_DEVICE"), *cpu = getenv("CLQ_CPU");
    int status = open_context(bench, "cpu", "scalar", bench->tool->num_threads, &bench->scalar, NULL);
    if (bench->cpu == NULL && cpu != NULL && *cpu != 0) bench->cpu = cpu;
    if (device != NULL && *device == 0) device = NULL;
    if (status == 0 && (device == NULL || strcmp(device, "cpu") == 0)) status = add_tables(bench);
    if (status == 0 && (device != NULL ? strcmp(device, "cpu") != 0 : bench->cpu == NULL)) status = add_device(bench, device);
    return status;
}

/* ---------------------------------------------------------------------------------------------- the run */

/* What the scalar table is spared unless it is asked for. */
#define MOST_SCALAR_OPERATIONS 0x1p29
#define MOST_SCALAR_BYTES      BENCH_CACHED_BYTES

static bool runs_in(const struct clq_bench_data *data, const struct clq_bench_place *place)
{
    const struct clq_bench_case *c = data->c;
    if (place->only_products && c->operations == 0) return false;
    if (c->is_forced || place->is_best) return true;
    if (strcmp(place->cpu, "scalar") != 0) return !c->is_long;
    return c->operations <= MOST_SCALAR_OPERATIONS && data->bytes_read + data->bytes_written <= MOST_SCALAR_BYTES;
}

static bool measure_limits(struct clq_bench *bench, const struct clq_bench_case *c)
{
    struct clq_bench_data data;
    clq_bench_layout(c, &data);
    for (int k = 0; k < bench->place_count; k++) {
        struct clq_bench_place *place = &bench->places[k];
        if (!runs_in(&data, place)) continue;
        if (!clq_bench_measure_limits(bench, place, data.bytes_read + data.bytes_written)) return false;
        if (c->operations > 0 && !clq_bench_measure_peak(bench, place)) return false;
    }
    return true;
}

static bool measure(struct clq_bench *bench, const struct clq_bench_case *c)
{
    struct clq_bench_data data;
    clq_bench_layout(c, &data);
    clq_tool_say(bench->tool, "%s, %s, %zu bytes", c->op->name, c->variant, data.set_bytes);
    bool done = clq_bench_prepare(bench, &data);
    for (int k = 0; k < bench->place_count && done; k++)
        if (runs_in(&data, &bench->places[k])) done = clq_bench_measure(bench, &data, &bench->places[k]);
    clq_bench_release(&data);
    return done;
}

static bool for_all(struct clq_bench *bench, clq_bench_visit_fn visit)
{
    return clq_bench_for_cases(bench, visit) && clq_bench_for_gemm_cases(bench, visit);
}

/* ---------------------------------------------------------------------------------------------- results */

enum { OP, VARIANT, SHAPE, DTYPE, ON, THREADS, MEDIAN, LEAST, SPREAD, RATE, UNIT, SHARE, COLUMNS };

static const struct clq_tool_column columns[COLUMNS] = {
    [OP] = {"op", true},        [VARIANT] = {"variant", true}, [SHAPE] = {"shape", true},    [DTYPE] = {"dtype", true},
    [ON] = {"on", true},        [THREADS] = {"threads", false}, [MEDIAN] = {"median", false}, [LEAST] = {"min", false},
    [SPREAD] = {"spread", false}, [RATE] = {"rate", false},     [UNIT] = {"unit", true},      [SHARE] = {"share", false}};

static const char *seconds_text(double seconds, char *text, size_t text_bytes)
{
    if (seconds < 1e-6)
        snprintf(text, text_bytes, "%.1f ns", seconds * 1e9);
    else if (seconds < 1e-3)
        snprintf(text, text_bytes, "%.2f us", seconds * 1e6);
    else
        snprintf(text, text_bytes, "%.2f ms", seconds * 1e3);
    return text;
}

static const char *cell(const void *rows, int64_t index, int column, char *text, size_t text_bytes)
{
    const struct clq_bench_row *row = (const struct clq_bench_row *)rows + index;
    const char *const texts[] = {[OP] = row->op, [VARIANT] = row->variant, [SHAPE] = row->shape, [DTYPE] = row->dtype, [UNIT] = row->unit};
    switch (column) {
    case ON:
        return *row->cpu != 0 ? row->cpu : row->device;
    case THREADS:
        snprintf(text, text_bytes, "%" PRId32, row->num_threads);
        return row->num_threads > 0 ? text : "";
    case MEDIAN:
        return seconds_text(row->median, text, text_bytes);
    case LEAST:
        return seconds_text(row->least, text, text_bytes);
    case SPREAD:
        snprintf(text, text_bytes, "%.0f %%", 100 * row->spread);
        return text;
    case RATE:
        snprintf(text, text_bytes, "%.1f", row->rate);
        return text;
    case SHARE:
        snprintf(text, text_bytes, "%.0f %%", 100 * row->share);
        return isnan(row->share) ? "" : text;
    default:
        return texts[column];
    }
}

static void print_json(const struct clq_bench *bench)
{
    struct clq_tool_json json = {.out = stdout, .line_depth = 1};
    clq_tool_json_open(&json, NULL, '[');
    for (int64_t k = 0; k < bench->row_count; k++) {
        const struct clq_bench_row *row = &bench->rows[k];
        clq_tool_json_open(&json, NULL, '{');
        clq_tool_json_string(&json, "op", row->op);
        clq_tool_json_string(&json, "variant", row->variant);
        clq_tool_json_string(&json, "shape", row->shape);
        clq_tool_json_string(&json, "dtype", row->dtype);
        clq_tool_json_integer(&json, "threads", row->num_threads);
        clq_tool_json_string(&json, "cpu", row->cpu);
        clq_tool_json_string(&json, "device", row->device);
        clq_tool_json_real(&json, "median_s", row->median);
        clq_tool_json_real(&json, "min_s", row->least);
        clq_tool_json_real(&json, "spread", row->spread);
        clq_tool_json_real(&json, "rate", row->rate);
        clq_tool_json_string(&json, "unit", row->unit);
        if (isnan(row->share))
            clq_tool_json_string(&json, "share", NULL);
        else
            clq_tool_json_real(&json, "share", row->share);
        clq_tool_json_close(&json, '{');
    }
    clq_tool_json_close(&json, '[');
}

static int run_bench(struct clq_bench *bench)
{
    const int status = find_places(bench);
    if (status != 0) return status;
    if (!for_all(bench, measure_limits)) return CLQ_TOOL_FAILURE;
    if (bench->row_count == 0) return clq_tool_usage_error(bench->tool, "no operation that was asked for takes this --shape");
    if (!for_all(bench, measure)) return CLQ_TOOL_FAILURE;
    if (bench->tool->json)
        print_json(bench);
    else if (!bench->tool->quiet)
        clq_tool_print_table(columns, COLUMNS, bench->row_count, cell, bench->rows);
    return 0;
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    struct clq_bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) {
        clq_tool_fail_memory();
        return CLQ_TOOL_FAILURE;
    }
    bench->tool = tool;
    if (!read_arguments(bench, argc, argv)) {
        free(bench);
        return tool->exit_status;
    }
    bench->seconds = bench->rank > 0 ? 8 * CLQ_TOOL_BENCH_SECONDS : CLQ_TOOL_BENCH_SECONDS; /* with a shape there are few */
    const int status = run_bench(bench);
    for (int k = 0; k < bench->place_count; k++)
        clq_context_free(bench->places[k].context);
    clq_context_free(bench->scalar);
    free(bench->rows);
    free(bench);
    return status;
}

const struct clq_tool_command clq_tool_bench = {
    .name = "bench",
    .summary = "how fast the operations are on this machine",
    .help = help,
    .computes = true,
    .options = options,
    .run = run,
};
