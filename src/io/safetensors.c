/* SPDX-License-Identifier: MIT */
/*
 * The .safetensors header: 8 bytes of length N, little endian; N bytes of JSON, {"name": {"dtype", "shape", "data_offsets":
 * [begin, end]}, ...}, beginning with '{' and padded with white space; the data, which the tensors must cover without overlap or
 * hole.
 *
 * As in the reference implementation keys that an entry does not need are passed over. Unlike there a name twice is refused.
 */
#include "config.h"

#include "io/safetensors.h"

#include "base/alloc.h"
#include "base/util.h"
#include "context.h"
#include "io/file.h"
#include "io/grow.h"
#include "io/json.h"
#include "io/os_file.h"
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES   8
#define DATA_ALIGNMENT 64
#define METADATA_KEY   "__metadata__"

/* What reading a header needs at hand. */
struct reader {
    clq_context *context;
    struct clq_file *file;
    struct clq_file_part *part;
    int32_t part_index;
    struct clq_json json;
};

static clq_status fail_tensor(const struct reader *reader, const char *name, const char *fault)
{
    return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: tensor \"%s\": %s", clq_show(reader->part->path).text,
                    clq_show(name).text, fault);
}

static clq_status add_extent(struct reader *reader, int64_t extent)
{
    struct clq_file_part *part = reader->part;
    int64_t *grown = clq_grow(&reader->file->allocator, part->shapes, part->shapes_used, &part->shapes_capacity, sizeof *grown);
    if (grown == NULL) return clq_file_no_memory(reader->context, part->path);
    part->shapes = grown;
    part->shapes[part->shapes_used++] = extent;
    return CLQ_OK;
}

static clq_status read_shape(struct reader *reader, struct clq_file_entry *entry)
{
    entry->shape_index = reader->part->shapes_used;
    CLQ_TRY(clq_json_enter(&reader->json, '['));
    for (;;) {
        bool more;
        int64_t extent;
        CLQ_TRY(clq_json_next(&reader->json, '[', &more));
        if (!more) return CLQ_OK;
        if (entry->view.rank == CLQ_FILE_MAX_RANK)
            return fail_tensor(reader, entry->view.name, "the shape has more than 64 extents");
        CLQ_TRY(clq_json_size(&reader->json, &extent));
        CLQ_TRY(add_extent(reader, extent));
        entry->view.rank++;
    }
}

static clq_status read_offsets(struct reader *reader, struct clq_file_entry *entry, int64_t *end)
{
    int64_t offsets[2];
    bool more;
    CLQ_TRY(clq_json_enter(&reader->json, '['));
    for (int i = 0; i < 2; i++) {
        CLQ_TRY(clq_json_next(&reader->json, '[', &more));
        if (!more) return fail_tensor(reader, entry->view.name, "data_offsets needs two numbers");
        CLQ_TRY(clq_json_size(&reader->json, &offsets[i]));
    }
    CLQ_TRY(clq_json_next(&reader->json, '[', &more));
    if (more) return fail_tensor(reader, entry->view.name, "data_offsets needs two numbers");
    entry->begin = offsets[0];
    *end = offsets[1];
    return CLQ_OK;
}

/* Dtype, shape and data_offsets must tell of the same number of bytes, and those must be in the file. */
static clq_status measure(struct reader *reader, struct clq_file_entry *entry, const struct clq_element_type *type, int64_t end)
{
    clq_file_tensor *view = &entry->view;
    const int64_t *shape = view->rank == 0 ? NULL : reader->part->shapes + entry->shape_index;
    const clq_status status = clq_element_type_measure(type, view->rank, shape, &view->element_count, &view->size_bytes);
    if (status == CLQ_ERROR_OVERFLOW) return fail_tensor(reader, view->name, "the product of the shape overflows");
    if (status != CLQ_OK) return fail_tensor(reader, view->name, "the shape's elements do not end on a byte");
    const int64_t data_bytes = reader->part->size_bytes - reader->part->data_begin;
    if (entry->begin > end || end > data_bytes)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                        "%s: tensor \"%s\": data_offsets [%lld, %lld] are out of bounds: the file has %lld bytes of data",
                        clq_show(reader->part->path).text, clq_show(view->name).text, (long long)entry->begin, (long long)end,
                        (long long)data_bytes);
    if (end - entry->begin != view->size_bytes)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                        "%s: tensor \"%s\": data_offsets [%lld, %lld] are %lld bytes, shape and dtype %lld",
                        clq_show(reader->part->path).text, clq_show(view->name).text, (long long)entry->begin, (long long)end,
                        (long long)(end - entry->begin), (long long)view->size_bytes);
    return CLQ_OK;
}

static clq_status add_entry(struct reader *reader, const struct clq_file_entry *entry)
{
    struct clq_file *file = reader->file;
    struct clq_file_entry *grown =
        clq_grow(&file->allocator, file->entries, file->entry_count, &file->entry_capacity, sizeof *grown);
    if (grown == NULL) return clq_file_no_memory(reader->context, reader->part->path);
    file->entries = grown;
    file->entries[file->entry_count++] = *entry;
    return CLQ_OK;
}

static clq_status read_tensor(struct reader *reader, const char *name)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    struct clq_file_entry entry = {.view = {.name = name, .file_path = reader->part->path}, .part = reader->part_index};
    const struct clq_element_type *type = NULL;
    int64_t end = 0;
    int seen = 0;
    CLQ_TRY(clq_json_enter(&reader->json, '{'));
    for (;;) {
        bool more;
        const char *key;
        CLQ_TRY(clq_json_next(&reader->json, '{', &more));
        if (!more) break;
        CLQ_TRY(clq_json_key(&reader->json, &key));
        const int field = strcmp(key, "dtype") == 0          ? DTYPE
                          : strcmp(key, "shape") == 0        ? SHAPE
                          : strcmp(key, "data_offsets") == 0 ? OFFSETS
                                                             : 0;
        if (seen & field) return fail_tensor(reader, name, "dtype, shape or data_offsets is there twice");
        seen |= field;
        if (field == DTYPE) {
            const char *dtype;
            CLQ_TRY(clq_json_string(&reader->json, &dtype));
            type = clq_element_type_safetensors(dtype);
            if (type == NULL)
                return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: tensor \"%s\": unknown dtype \"%s\"",
                                clq_show(reader->part->path).text, clq_show(name).text, clq_show(dtype).text);
        } else if (field == SHAPE) {
            CLQ_TRY(read_shape(reader, &entry));
        } else if (field == OFFSETS) {
            CLQ_TRY(read_offsets(reader, &entry, &end));
        } else {
            CLQ_TRY(clq_json_skip(&reader->json));
        }
    }
    if (seen != (DTYPE | SHAPE | OFFSETS)) return fail_tensor(reader, name, "dtype, shape or data_offsets is missing");
    CLQ_TRY(measure(reader, &entry, type, end));
    entry.view.dtype_name = type->safetensors_name;
    entry.view.dtype = type->dtype;
    entry.view.element_bits = type->bits;
    return add_entry(reader, &entry);
}

static clq_status add_metadata(struct reader *reader, const char *key, const char *value)
{
    struct clq_file *file = reader->file;
    const int64_t old = clq_name_map_find(&file->keys, key);
    if (old >= 0 && file->metadata[old].part != reader->part_index) return CLQ_OK; /* an earlier shard has it */
    if (old >= 0)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: the key \"%s\" is in " METADATA_KEY " twice",
                        clq_show(reader->part->path).text, clq_show(key).text);
    struct clq_file_metadata *grown =
        clq_grow(&file->allocator, file->metadata, file->metadata_count, &file->metadata_capacity, sizeof *grown);
    if (grown == NULL) return clq_file_no_memory(reader->context, reader->part->path);
    file->metadata = grown;
    if (!clq_name_map_add(&file->keys, &file->allocator, key, file->metadata_count))
        return clq_file_no_memory(reader->context, reader->part->path);
    file->metadata[file->metadata_count++] = (struct clq_file_metadata){key, value, reader->part_index};
    return CLQ_OK;
}

static clq_status read_metadata(struct reader *reader)
{
    if (clq_json_null(&reader->json)) return CLQ_OK; /* as the reference implementation */
    CLQ_TRY(clq_json_enter(&reader->json, '{'));
    for (;;) {
        bool more;
        const char *key, *value;
        CLQ_TRY(clq_json_next(&reader->json, '{', &more));
        if (!more) return CLQ_OK;
        CLQ_TRY(clq_json_key(&reader->json, &key));
        CLQ_TRY(clq_json_string(&reader->json, &value));
        CLQ_TRY(add_metadata(reader, key, value));
    }
}

static clq_status read_json(struct reader *reader)
{
    bool metadata_seen = false;
    CLQ_TRY(clq_json_enter(&reader->json, '{'));
    for (;;) {
        bool more;
        const char *key;
        CLQ_TRY(clq_json_next(&reader->json, '{', &more));
        if (!more) return clq_json_end(&reader->json);
        CLQ_TRY(clq_json_key(&reader->json, &key));
        if (strcmp(key, METADATA_KEY) != 0) {
            CLQ_TRY(read_tensor(reader, key));
        } else {
            if (metadata_seen) return clq_json_fail(&reader->json, METADATA_KEY " is there twice");
            metadata_seen = true;
            CLQ_TRY(read_metadata(reader));
        }
    }
}

/* By place; of those without data at the same place, and those that overlap, by name. */
static int compare_places(const void *left, const void *right)
{
    const struct clq_file_entry *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->view.size_bytes != b->view.size_bytes) return a->view.size_bytes < b->view.size_bytes ? -1 : 1;
    return strcmp(a->view.name, b->view.name);
}

/* Sorts the new entries by place and checks that they cover the data. */
static clq_status check_layout(const struct reader *reader, int64_t first_entry)
{
    const struct clq_file *file = reader->file;
    const int64_t data_bytes = reader->part->size_bytes - reader->part->data_begin;
    int64_t covered = 0;
    if (file->entry_count > first_entry)
        qsort(file->entries + first_entry, (size_t)(file->entry_count - first_entry), sizeof *file->entries, compare_places);
    for (int64_t i = first_entry; i < file->entry_count; i++) {
        struct clq_file_entry *entry = &file->entries[i];
        if (entry->begin != covered)
            return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                            "%s: tensor \"%s\": its data begins at %lld, %s: the data before it ends at %lld",
                            clq_show(reader->part->path).text, clq_show(entry->view.name).text, (long long)entry->begin,
                            entry->begin < covered ? "overlapping another's" : "behind a hole", (long long)covered);
        covered += entry->view.size_bytes;
        entry->view.shape = reader->part->shapes + entry->shape_index;
    }
    if (covered != data_bytes)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: the tensors cover %lld bytes, the file has %lld bytes of data",
                        clq_show(reader->part->path).text, (long long)covered, (long long)data_bytes);
    return CLQ_OK;
}

/* Reads the length and the JSON text. */
static clq_status read_text(struct reader *reader)
{
    struct clq_file_part *part = reader->part;
    unsigned char length[LENGTH_BYTES];
    if (part->size_bytes < LENGTH_BYTES)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                        "%s: %lld bytes are too few for a .safetensors file, and it begins like no .npy or index.json",
                        clq_show(part->path).text, (long long)part->size_bytes);
    CLQ_TRY(clq_os_read(reader->context, part->path, part->fd, 0, LENGTH_BYTES, length));
    uint64_t size = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        size = size << 8 | length[i];
    if (size > CLQ_FILE_HEADER_MAX_BYTES)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                        "%s: a .safetensors header of %llu bytes, at most %d, and it begins like no .npy or index.json",
                        clq_show(part->path).text, (unsigned long long)size, CLQ_FILE_HEADER_MAX_BYTES);
    if ((int64_t)size > part->size_bytes - LENGTH_BYTES)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                        "%s: truncated: the header says %llu bytes, the file has %lld behind it", clq_show(part->path).text,
                        (unsigned long long)size, (long long)(part->size_bytes - LENGTH_BYTES));
    if (reader->file->header_bytes + (int64_t)size > CLQ_FILE_HEADER_MAX_BYTES)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: the shards' headers are more than %d bytes together",
                        clq_show(part->path).text, CLQ_FILE_HEADER_MAX_BYTES);
    part->header = clq_alloc(&reader->file->allocator, (int64_t)size + 1, 1);
    if (part->header == NULL) return clq_file_no_memory(reader->context, part->path);
    CLQ_TRY(clq_os_read(reader->context, part->path, part->fd, LENGTH_BYTES, (int64_t)size, part->header));
    part->header[size] = '\0';
    part->data_begin = LENGTH_BYTES + (int64_t)size;
    reader->file->header_bytes += (int64_t)size;
    reader->json = (struct clq_json){
        .context = reader->context, .path = part->path, .base = LENGTH_BYTES, .text = part->header, .size = (int64_t)size};
    if (part->header[0] != '{') return clq_json_fail(&reader->json, "the header must begin with '{'");
    return CLQ_OK;
}

clq_status clq_safetensors_read_header(clq_context *context, struct clq_file *file, int32_t part_index)
{
    struct reader reader = {.context = context, .file = file, .part = &file->parts[part_index], .part_index = part_index};
    const int64_t first_entry = file->entry_count;
    CLQ_TRY(read_text(&reader));
    /* One extent that nobody uses: even a shape without extents has an address. */
    CLQ_TRY(add_extent(&reader, 0));
    CLQ_TRY(read_json(&reader));
    return check_layout(&reader, first_entry);
}

void clq_safetensors_write_header(struct clq_text *text, const struct clq_file_writer *writer)
{
    const char *separator = "{";
    const int64_t begin = text->size;
    clq_text_append_fill(text, '\0', LENGTH_BYTES);
    if (writer->metadata_count > 0) {
        clq_text_append_string(text, "{\"" METADATA_KEY "\":");
        for (int64_t i = 0; i < writer->metadata_count; i++) {
            clq_text_append_string(text, i == 0 ? "{" : ",");
            clq_text_append_json(text, writer->metadata[i].key);
            clq_text_append_string(text, ":");
            clq_text_append_json(text, writer->metadata[i].value);
        }
        clq_text_append_string(text, "}");
        separator = ",";
    }
    for (int64_t i = 0; i < writer->tensor_count; i++) {
        const struct clq_writer_tensor *tensor = writer->order[i];
        clq_text_append_string(text, separator);
        separator = ",";
        clq_text_append_json(text, tensor->name);
        clq_text_append_string(text, ":{\"dtype\":");
        clq_text_append_json(text, tensor->type->safetensors_name);
        clq_text_append_string(text, ",\"shape\":[");
        for (int32_t d = 0; d < tensor->rank; d++) {
            if (d > 0) clq_text_append_string(text, ",");
            clq_text_append_int(text, tensor->shape[d]);
        }
        clq_text_append_string(text, "],\"data_offsets\":[");
        clq_text_append_int(text, tensor->begin);
        clq_text_append_string(text, ",");
        clq_text_append_int(text, tensor->begin + tensor->size_bytes);
        clq_text_append_string(text, "]}");
    }
    clq_text_append_string(text, writer->tensor_count + writer->metadata_count > 0 ? "}" : "{}");
    const int64_t size = text->size - begin;
    clq_text_append_fill(text, ' ', clq_ceil_div(size, DATA_ALIGNMENT) * DATA_ALIGNMENT - size);
    if (text->failed) return;
    const uint64_t length = (uint64_t)(text->size - begin - LENGTH_BYTES);
    for (int i = 0; i < LENGTH_BYTES; i++)
        text->data[begin + i] = (char)(length >> 8 * i & 0xff);
}
