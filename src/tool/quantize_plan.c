/* SPDX-License-Identifier: MIT */
/* Decides what becomes of each tensor, and lays out the file. */
#include "config.h"

#include "tool/quantize_plan.h"

#include "tool/progress.h"
#include "tool/quantize_tensor.h"
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------- what becomes of each tensor */

static bool matches(const char *const *patterns, int count, const char *name)
{
    for (int k = 0; k < count; k++)
        if (fnmatch(patterns[k], name, 0) == 0) return true;
    return false;
}

/* Why a tensor passes through; NULL if it does not. */
static const char *find_reason(const struct clq_tool_request *request, const struct clq_tool_entry *entry)
{
    const clq_file_tensor *tensor = entry->tensor;
    const bool is_npy = clq_file_get_format(request->catalog.file) == CLQ_FILE_NPY;
    if (entry->role == CLQ_TOOL_QUANTIZED) return "is quantized already";
    if (entry->role == CLQ_TOOL_PARAMETER) return "belongs to a quantized tensor";
    if (request->include_count > 0 && !matches((const char *const *)request->includes, request->include_count, tensor->name))
        return "not included";
    if (matches((const char *const *)request->excludes, request->exclude_count, tensor->name)) return "excluded";
    if (clq_tool_entry_float(entry) == CLQ_DTYPE_NONE || (tensor->dtype == CLQ_F64 && !is_npy)) return "not f32, f16 or bf16";
    if (!request->per_tensor && tensor->rank < 2 && !is_npy) return "rank below 2";
    return NULL;
}

/* The scheme for one tensor: its axis counted from the first. */
static bool plan_scheme(const struct clq_tool_request *request, const struct clq_tool_entry *entry, clq_scheme *scheme)
{
    const clq_file_tensor *tensor = entry->tensor;
    *scheme = request->scheme;
    if (!request->per_tensor && !request->has_axis && tensor->rank < 2) scheme->granularity = CLQ_PER_TENSOR; /* a .npy */
    if (scheme->granularity == CLQ_PER_TENSOR) return true;
    if (scheme->axis < -tensor->rank || scheme->axis >= tensor->rank)
        return clq_tool_fail(request->in, NULL, "tensor \"%s\": axis %" PRId32 " is out of range, the rank is %" PRId32,
                             tensor->name, scheme->axis, tensor->rank);
    if (scheme->axis < 0) scheme->axis += tensor->rank;
    return true;
}

static bool check_collision(const struct clq_tool_request *request, const char *name, const char *suffix)
{
    char *full = clq_tool_join(name, suffix);
    if (full == NULL) return false;
    const bool is_free = clq_file_find_tensor(request->catalog.file, full) < 0;
    if (!is_free)
        clq_tool_fail(request->in, NULL, "tensor \"%s\": its parameters need the name \"%s\", which another tensor has", name,
                      full);
    free(full);
    return is_free;
}

static bool plan_tensor(struct clq_tool *tool, struct clq_tool_request *request, int64_t k)
{
    const struct clq_tool_entry *entry = &request->catalog.entries[k];
    const clq_file_tensor *tensor = entry->tensor;
    struct clq_tool_result *result = &request->results[k];
    struct clq_tool_plan *plan = &request->plans[k];
    *result = (struct clq_tool_result){.name = tensor->name,
                                       .reason = find_reason(request, entry),
                                       .from = clq_tool_entry_type(entry),
                                       .to = clq_tool_entry_type(entry),
                                       .rank = tensor->rank,
                                       .shape = tensor->shape,
                                       .element_count = tensor->element_count,
                                       .bytes_in = tensor->size_bytes,
                                       .bytes_out = tensor->size_bytes};
    if (result->reason != NULL) {
        clq_tool_say(tool, "tensor \"%s\": passes through: %s", tensor->name, result->reason);
        return true;
    }
    if (!plan_scheme(request, entry, &plan->scheme) || !check_collision(request, tensor->name, "_scale") ||
        !check_collision(request, tensor->name, "_zero_point"))
        return false;
    if (!clq_tool_grid_init(&plan->grid, &plan->scheme, tensor->rank, tensor->shape))
        return clq_tool_fail(request->in, NULL, "tensor \"%s\": a product of extents overflows", tensor->name);
    result->scheme = &plan->scheme;
    result->to = clq_dtype_name(plan->scheme.dtype);
    result->bytes_out = clq_tool_bytes(plan->scheme.dtype, tensor->element_count) + 8 * plan->grid.param_count;
    char text[128];
    clq_tool_say(tool, "tensor \"%s\": %s to %s, %s", tensor->name, result->from, result->to,
                 clq_tool_scheme_text(&plan->scheme, text, sizeof text));
    return true;
}

bool clq_tool_plan_all(struct clq_tool *tool, struct clq_tool_request *request)
{
    const int64_t count = request->catalog.count;
    int64_t work_bytes = 0;
    request->plans = calloc(count > 0 ? (size_t)count : 1, sizeof *request->plans);
    request->results = calloc(count > 0 ? (size_t)count : 1, sizeof *request->results);
    if (request->plans == NULL || request->results == NULL) return clq_tool_fail_memory();
    if (clq_file_get_format(request->catalog.file) == CLQ_FILE_NPY &&
        clq_tool_entry_float(&request->catalog.entries[0]) == CLQ_DTYPE_NONE)
        return clq_tool_fail(request->in, "dtype", "%s is not f32, f16 or f64", request->catalog.entries[0].tensor->dtype_name);
    for (int64_t k = 0; k < count; k++) {
        if (!plan_tensor(tool, request, k)) return false;
        const bool works = request->results[k].reason == NULL;
        work_bytes += request->results[k].bytes_in * (works ? clq_tool_quantize_passes(&request->plans[k].grid) : 1);
    }
    clq_tool_progress_start(tool, work_bytes);
    return true;
}

/* ---------------------------------------------------------------------------------------------- the file */

/* Declares a tensor "NAME_suffix". */
static bool declare_suffixed(struct clq_tool *tool, struct clq_tool_output *output, const char *name, const char *suffix,
                             const char *dtype_name, int32_t rank, const int64_t *shape, int64_t *index)
{
    char *full = clq_tool_join(name, suffix);
    if (full == NULL) return false;
    const bool done = clq_tool_output_tensor(tool, output, full, dtype_name, rank, shape, index);
    free(full);
    return done;
}

static bool declare_quantized(struct clq_tool *tool, const struct clq_tool_request *request, int64_t k,
                              struct clq_tool_output *output, int64_t *shape)
{
    const clq_file_tensor *tensor = request->catalog.entries[k].tensor;
    struct clq_tool_plan *plan = &request->plans[k];
    const clq_dtype dtype = plan->scheme.dtype;
    const struct clq_tool_record record = {.scheme = plan->scheme,
                                           .source_dtype = tensor->dtype,
                                           .rank = tensor->rank,
                                           .shape = (int64_t *)tensor->shape, /* only read */
                                           .element_count = tensor->element_count};
    const char *stored = clq_tool_word_of(clq_tool_file_dtypes, clq_dtype_bits(dtype) == 4 ? CLQ_U8 : (int)dtype);
    int32_t rank;
    char *key = clq_tool_join(CLQ_TOOL_KEY_TENSOR, tensor->name);
    char *text = key != NULL ? clq_tool_record_write(&record) : NULL;
    const bool done = text != NULL && clq_tool_output_metadata(tool, output, key, text);
    free(key);
    free(text);
    if (!done) return false;
    clq_tool_stored_shape(&record, &rank, shape);
    if (!clq_tool_output_tensor(tool, output, tensor->name, stored, rank, shape, &plan->indexes[0])) return false;
    clq_tool_scale_shape(&record, &rank, shape);
    return declare_suffixed(tool, output, tensor->name, "_scale", "F32", rank, shape, &plan->indexes[1]) &&
           declare_suffixed(tool, output, tensor->name, "_zero_point", "I32", rank, shape, &plan->indexes[2]);
}

bool clq_tool_declare_all(struct clq_tool *tool, const struct clq_tool_request *request, struct clq_tool_output *output)
{
    if (!clq_tool_output_copy_metadata(tool, output, &request->catalog, true) ||
        !clq_tool_output_metadata(tool, output, CLQ_TOOL_KEY_VERSION, clq_version()))
        return false;
    for (int64_t k = 0; k < request->catalog.count; k++) {
        const struct clq_tool_entry *entry = &request->catalog.entries[k];
        if (request->results[k].reason != NULL) {
            if (!clq_tool_output_declare_copy(tool, output, entry, &request->plans[k].indexes[0])) return false;
            continue;
        }
        int64_t *shape = malloc(((size_t)entry->tensor->rank + 1) * sizeof *shape);
        if (shape == NULL) return clq_tool_fail_memory();
        const bool done = declare_quantized(tool, request, k, output, shape);
        free(shape);
        if (!done) return false;
    }
    return true;
}
