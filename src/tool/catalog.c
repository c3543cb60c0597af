/* SPDX-License-Identifier: MIT */
/* The tensors of a file and what each is there for: plain, quantized, or the scales and zero points of a quantized one. */
#include "config.h"

#include "tool/catalog.h"

#include "tool/table.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------- opening */

static bool same_shape(int32_t rank, const int64_t *shape, const clq_file_tensor *tensor)
{
    return rank == tensor->rank && (rank == 0 || memcmp(shape, tensor->shape, (size_t)rank * sizeof *shape) == 0);
}

/* Checks that a tensor is what the metadata of `owner` demands, and gives it its role. */
static bool take_parameter(struct clq_tool_catalog *catalog, const struct clq_tool_entry *owner, const char *suffix,
                           clq_dtype dtype, int32_t rank, const int64_t *shape, int64_t *index)
{
    const char *name = owner->tensor->name;
    char *full = clq_tool_join(name, suffix), wanted[256], found[256];
    bool done = false;
    if (full == NULL) return false;
    *index = clq_file_find_tensor(catalog->file, full);
    if (*index < 0) {
        clq_tool_fail(catalog->path, NULL, "tensor \"%s\" is quantized, but tensor \"%s\" is missing", name, full);
        goto out;
    }
    struct clq_tool_entry *entry = &catalog->entries[*index];
    const clq_file_tensor *tensor = entry->tensor;
    const bool fits = same_shape(rank, shape, tensor) || (rank == 0 && tensor->rank == 1 && tensor->shape[0] == 1);
    if (entry->role != CLQ_TOOL_PLAIN) {
        clq_tool_fail(catalog->path, NULL, "tensor \"%s\": belongs to \"%s\", but the metadata gives it another use too", full,
                      name);
        goto out;
    }
    if (tensor->dtype != dtype || !fits) {
        clq_tool_fail(catalog->path, NULL, "tensor \"%s\": is %s %s, must be %s %s for \"%s\"", full, tensor->dtype_name,
                      clq_tool_shape_text(tensor->rank, tensor->shape, found, sizeof found),
                      clq_tool_word_of(clq_tool_file_dtypes, (int)dtype), clq_tool_shape_text(rank, shape, wanted, sizeof wanted),
                      name);
        goto out;
    }
    entry->role = CLQ_TOOL_PARAMETER;
    entry->owner = owner->index;
    done = true;
out:
    free(full);
    return done;
}

/* Checks the stored tensor and its parameters against the record. */
static bool check_record(struct clq_tool_catalog *catalog, struct clq_tool_entry *entry, int64_t *shape)
{
    const struct clq_tool_record *record = &entry->record;
    const clq_file_tensor *tensor = entry->tensor;
    const clq_dtype stored = clq_dtype_bits(record->scheme.dtype) == 4 ? CLQ_U8 : record->scheme.dtype;
    char wanted[256], found[256];
    struct clq_tool_grid grid;
    int32_t rank;
    clq_tool_stored_shape(record, &rank, shape);
    if (tensor->dtype != stored || !same_shape(rank, shape, tensor))
        return clq_tool_fail(
            catalog->path, NULL, "tensor \"%s\": is %s %s, must be %s %s to hold what the metadata says", tensor->name,
            tensor->dtype_name, clq_tool_shape_text(tensor->rank, tensor->shape, found, sizeof found),
            clq_tool_word_of(clq_tool_file_dtypes, (int)stored), clq_tool_shape_text(rank, shape, wanted, sizeof wanted));
    if (!clq_tool_grid_init(&grid, &record->scheme, record->rank, record->shape))
        return clq_tool_fail(catalog->path, NULL, "tensor \"%s\": a product of extents overflows", tensor->name);
    clq_tool_scale_shape(record, &rank, shape);
    return take_parameter(catalog, entry, "_scale", CLQ_F32, rank, shape, &entry->scale_index) &&
           take_parameter(catalog, entry, "_zero_point", CLQ_S32, rank, shape, &entry->zero_point_index);
}

static bool read_record(struct clq_tool_catalog *catalog, const char *key, const char *text)
{
    const char *name = key + strlen(CLQ_TOOL_KEY_TENSOR);
    const int64_t index = clq_file_find_tensor(catalog->file, name);
    if (index < 0) return clq_tool_fail(catalog->path, "metadata", "\"%s\" is about a tensor that is not there", key);
    struct clq_tool_entry *entry = &catalog->entries[index];
    if (entry->role != CLQ_TOOL_PLAIN)
        return clq_tool_fail(catalog->path, "metadata", "\"%s\" is about the parameters of another tensor", key);
    if (!clq_tool_record_read(catalog->path, key, text, &entry->record)) return false;
    entry->role = CLQ_TOOL_QUANTIZED;
    int64_t *shape = malloc(((size_t)entry->record.rank + 1) * sizeof *shape);
    const bool done = shape != NULL ? check_record(catalog, entry, shape) : clq_tool_fail_memory();
    free(shape);
    return done;
}

bool clq_tool_catalog_open(struct clq_tool *tool, const char *path, struct clq_tool_catalog *catalog)
{
    const char *key, *value;
    *catalog = (struct clq_tool_catalog){.path = path};
    const clq_status status = clq_file_open(tool->context, path, &catalog->file);
    if (status != CLQ_OK) return clq_tool_fail_library(tool, path, NULL, status);
    catalog->count = clq_file_tensor_count(catalog->file);
    int64_t bytes = 0;
    catalog->entries = calloc(catalog->count > 0 ? (size_t)catalog->count : 1, sizeof *catalog->entries);
    if (catalog->entries == NULL) return clq_tool_fail_memory();
    for (int64_t k = 0; k < catalog->count; k++) {
        catalog->entries[k].tensor = clq_file_get_tensor(catalog->file, k);
        catalog->entries[k].index = k;
        /* So that no sum of a report can overflow: dequantized, 4 bits become 32. */
        if (__builtin_add_overflow(bytes, catalog->entries[k].tensor->size_bytes, &bytes) || bytes > INT64_MAX / 16)
            return clq_tool_fail(path, NULL, "the bytes of all tensors together overflow");
    }
    for (int64_t k = 0; clq_file_metadata_at(catalog->file, k, &key, &value); k++)
        if (strncmp(key, CLQ_TOOL_KEY_TENSOR, strlen(CLQ_TOOL_KEY_TENSOR)) == 0 && !read_record(catalog, key, value))
            return false;
    return true;
}

void clq_tool_catalog_close(struct clq_tool_catalog *catalog)
{
    for (int64_t k = 0; catalog->entries != NULL && k < catalog->count; k++)
        free(catalog->entries[k].record.shape);
    free(catalog->entries);
    clq_tool_release(&catalog->raw);
    clq_tool_release(&catalog->scale);
    clq_tool_release(&catalog->zero_point);
    clq_file_close(catalog->file);
    *catalog = (struct clq_tool_catalog){.path = NULL};
}

/* ---------------------------------------------------------------------------------------------- questions */

int32_t clq_tool_entry_shape(const struct clq_tool_entry *entry, const int64_t **shape)
{
    const bool quantized = entry->role == CLQ_TOOL_QUANTIZED;
    *shape = quantized ? entry->record.shape : entry->tensor->shape;
    return quantized ? entry->record.rank : entry->tensor->rank;
}

int64_t clq_tool_entry_elements(const struct clq_tool_entry *entry)
{
    return entry->role == CLQ_TOOL_QUANTIZED ? entry->record.element_count : entry->tensor->element_count;
}

clq_dtype clq_tool_entry_float(const struct clq_tool_entry *entry)
{
    const clq_dtype dtype = entry->role == CLQ_TOOL_QUANTIZED ? entry->record.source_dtype : entry->tensor->dtype;
    if (dtype == CLQ_F64) return CLQ_F32;
    return dtype == CLQ_F32 || dtype == CLQ_F16 || dtype == CLQ_BF16 ? dtype : CLQ_DTYPE_NONE;
}

const char *clq_tool_entry_type(const struct clq_tool_entry *entry)
{
    if (entry->role == CLQ_TOOL_QUANTIZED) return clq_dtype_name(entry->record.scheme.dtype);
    return clq_tool_entry_float(entry) != CLQ_DTYPE_NONE ? clq_dtype_name(entry->tensor->dtype) : entry->tensor->dtype_name;
}

int64_t clq_tool_entry_bytes(const struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry)
{
    int64_t bytes = entry->tensor->size_bytes;
    if (entry->role == CLQ_TOOL_QUANTIZED)
        bytes += catalog->entries[entry->scale_index].tensor->size_bytes +
                 catalog->entries[entry->zero_point_index].tensor->size_bytes;
    return bytes;
}

/* ---------------------------------------------------------------------------------------------- elements */

bool clq_tool_read(struct clq_tool *tool, const struct clq_tool_catalog *catalog, int64_t index, int64_t offset_bytes,
                   int64_t size_bytes, void *data)
{
    const clq_status status = clq_file_read(tool->context, catalog->file, index, offset_bytes, size_bytes, data);
    return status == CLQ_OK || clq_tool_fail_library(tool, catalog->path, NULL, status);
}

bool clq_tool_read_box(struct clq_tool *tool, struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                       const struct clq_tool_grid *grid, const struct clq_tool_box *box, clq_tensor *q, clq_qparams *params)
{
    const clq_dtype dtype = grid->scheme.dtype;
    const bool packed = clq_dtype_bits(dtype) == 4, shifted = packed && box->first % 2 != 0;
    const int64_t offset = packed ? box->first / 2 : clq_tool_bytes(dtype, box->first);
    const int64_t bytes = clq_tool_bytes(dtype, box->count + shifted);
    uint8_t *raw = clq_tool_reserve(&catalog->raw, bytes);
    float *scale = raw != NULL ? clq_tool_reserve(&catalog->scale, box->param_count * 4) : NULL;
    int32_t *zero_point = scale != NULL ? clq_tool_reserve(&catalog->zero_point, box->param_count * 4) : NULL;
    if (zero_point == NULL || !clq_tool_read(tool, catalog, entry->index, offset, bytes, raw) ||
        !clq_tool_read(tool, catalog, entry->scale_index, box->param_first * 4, box->param_count * 4, scale) ||
        !clq_tool_read(tool, catalog, entry->zero_point_index, box->param_first * 4, box->param_count * 4, zero_point))
        return false;
    if (shifted) clq_tool_nibbles_drop(raw, box->count + 1);
    *q = clq_tool_box_view(box, dtype, raw);
    *params = clq_tool_box_params(grid, box, scale, zero_point);
    return true;
}

bool clq_tool_fail_box(struct clq_tool *tool, const struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                       const struct clq_tool_box *box, clq_status status)
{
    const char *text = clq_context_error(tool->context), *start = strstr(text, ": ");
    if (box->param_first == 0) return clq_tool_fail_library(tool, catalog->path, entry->tensor->name, status);
    return clq_tool_fail(catalog->path, NULL, "tensor \"%.400s\": counting scales from number %" PRId64 " on: %s",
                         entry->tensor->name, box->param_first, start != NULL ? start + 2 : text);
}

static bool dequantize_range(struct clq_tool *tool, struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                             int64_t first, int64_t count, clq_dtype dtype, uint8_t *data)
{
    struct clq_tool_grid grid;
    clq_tool_grid_init(&grid, &entry->record.scheme, entry->record.rank, entry->record.shape); /* fits: checked on opening */
    while (count > 0) {
        const struct clq_tool_box box = clq_tool_box_at(&grid, first, count);
        clq_tensor q;
        clq_qparams params;
        if (!clq_tool_read_box(tool, catalog, entry, &grid, &box, &q, &params)) return false;
        const clq_tensor y = clq_tool_box_view(&box, dtype, data);
        const int64_t bytes = clq_tool_bytes(dtype, box.count);
        const double begun = clq_tool_meter_begin();
        const clq_status status = clq_dequantize(tool->context, &q, &params, &y);
        clq_tool_meter_end(tool, begun, bytes + clq_tool_bytes(grid.scheme.dtype, box.count) + box.param_count * 8);
        if (status != CLQ_OK) return clq_tool_fail_box(tool, catalog, entry, &box, status);
        first += box.count;
        count -= box.count;
        data += bytes;
    }
    return true;
}

bool clq_tool_read_floats(struct clq_tool *tool, struct clq_tool_catalog *catalog, const struct clq_tool_entry *entry,
                          int64_t first, int64_t count, clq_dtype dtype, void *data)
{
    const clq_dtype stored = entry->tensor->dtype;
    if (entry->role == CLQ_TOOL_QUANTIZED) return dequantize_range(tool, catalog, entry, first, count, dtype, data);
    const int64_t offset = clq_tool_bytes(stored, first), bytes = clq_tool_bytes(stored, count);
    if (stored != CLQ_F64) return clq_tool_read(tool, catalog, entry->index, offset, bytes, data);

    void *raw = clq_tool_reserve(&catalog->raw, bytes);
    if (raw == NULL || !clq_tool_read(tool, catalog, entry->index, offset, bytes, raw)) return false;
    const clq_tensor wide = clq_tensor_host(CLQ_F64, raw, 1, &count), narrow = clq_tensor_host(dtype, data, 1, &count);
    const double begun = clq_tool_meter_begin();
    const clq_status status = clq_convert(tool->context, &wide, &narrow);
    clq_tool_meter_end(tool, begun, bytes + bytes / 2);
    return status == CLQ_OK || clq_tool_fail_library(tool, catalog->path, entry->tensor->name, status);
}
