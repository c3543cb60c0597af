/* SPDX-License-Identifier: MIT */
/* Tensor files opened for reading: which format it is, and what the header's readers found in it. */
#include "config.h"

#include "io/file.h"

#include "base/alloc.h"
#include "base/util.h"
#include "context.h"
#include "io/os_file.h"
#include "io/text.h"
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

clq_status clq_file_no_memory(clq_context *context, const char *path)
{
    return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: out of memory", clq_show(path).text);
}

clq_status clq_file_add_parts(clq_context *context, struct clq_file *file, const char *path, int32_t count)
{
    file->parts = clq_alloc_zeroed(&file->allocator, count, sizeof *file->parts);
    if (file->parts == NULL) return clq_file_no_memory(context, path);
    for (int32_t i = 0; i < count; i++)
        file->parts[i].fd = -1;
    file->part_count = count;
    return CLQ_OK;
}

clq_status clq_file_index_names(clq_context *context, const struct clq_file *file, int64_t first_entry,
                                struct clq_name_map *names)
{
    for (int64_t i = first_entry; i < file->entry_count; i++) {
        const clq_file_tensor *view = &file->entries[i].view;
        if (clq_name_map_find(names, view->name) >= 0)
            return clq_fail(context, CLQ_ERROR_FORMAT, "%s: tensor \"%s\" is there twice", clq_show(view->file_path).text,
                            clq_show(view->name).text);
        if (!clq_name_map_add(names, &file->allocator, view->name, i)) return clq_file_no_memory(context, view->file_path);
    }
    return CLQ_OK;
}

static bool ends_in(const char *text, const char *end)
{
    const size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* JSON holds no NUL, while a .safetensors begins with a length below 2^32 in 8 bytes, and so has four. */
static bool looks_like_json(const char *start, int64_t size)
{
    return size > 0 && strchr("{ \t\r\n", start[0]) != NULL && memchr(start, '\0', (size_t)size) == NULL;
}

/* Tells the format and reads the header. Owns `fd` from here on. */
static clq_status read_any(clq_context *context, struct clq_file *file, const char *path, int fd, int64_t size_bytes)
{
    char start[9] = {0};
    const int64_t start_bytes = clq_min_i64(size_bytes, 8);
    clq_status status = clq_os_read(context, path, fd, 0, start_bytes, start);
    const bool npy = start_bytes >= 6 && memcmp(start, "\x93NUMPY", 6) == 0;
    file->format = npy ? CLQ_FILE_NPY : CLQ_FILE_SAFETENSORS;
    if (status == CLQ_OK && !npy && (ends_in(path, ".index.json") || looks_like_json(start, start_bytes))) {
        status = clq_checkpoint_open(context, file, path, fd, size_bytes);
        close(fd);
        return status;
    }
    if (status == CLQ_OK) status = clq_file_add_parts(context, file, path, 1);
    if (status != CLQ_OK) {
        close(fd);
        return status;
    }
    struct clq_file_part *part = &file->parts[0];
    part->fd = fd;
    part->size_bytes = size_bytes;
    part->path = clq_alloc_string(&file->allocator, path);
    if (part->path == NULL) return clq_file_no_memory(context, path);
    return npy ? clq_npy_read_header(context, file, 0) : clq_safetensors_read_header(context, file, 0);
}

clq_status clq_file_open(clq_context *context, const char *path, clq_file **file)
{
    if (file != NULL) *file = NULL;
    if (context == NULL) return CLQ_ERROR_INVALID_ARGUMENT;
    if (path == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_open: path is NULL");
    if (file == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_open: file is NULL");
    int fd;
    int64_t size_bytes;
    CLQ_TRY(clq_os_open(context, path, &fd, &size_bytes));
    struct clq_file *opened = clq_alloc_zeroed(&context->allocator, 1, sizeof *opened);
    if (opened == NULL) {
        close(fd);
        return clq_file_no_memory(context, path);
    }
    opened->allocator = context->allocator;
    clq_status status = read_any(context, opened, path, fd, size_bytes);
    if (status == CLQ_OK) status = clq_file_index_names(context, opened, 0, &opened->names);
    if (status != CLQ_OK) {
        clq_file_close(opened);
        return status;
    }
    *file = opened;
    return CLQ_OK;
}

void clq_file_close(clq_file *file)
{
    if (file == NULL) return;
    const clq_allocator allocator = file->allocator;
    for (int32_t i = 0; i < file->part_count; i++) {
        struct clq_file_part *part = &file->parts[i];
        if (part->fd >= 0) close(part->fd);
        clq_dealloc(&allocator, part->path);
        clq_dealloc(&allocator, part->header);
        clq_dealloc(&allocator, part->name);
        clq_dealloc(&allocator, part->shapes);
    }
    clq_dealloc(&allocator, file->parts);
    clq_dealloc(&allocator, file->entries);
    clq_dealloc(&allocator, file->metadata);
    clq_name_map_free(&file->names, &allocator);
    clq_name_map_free(&file->keys, &allocator);
    clq_dealloc(&allocator, file);
}

clq_file_format clq_file_get_format(const clq_file *file)
{
    return file->format;
}

int64_t clq_file_tensor_count(const clq_file *file)
{
    return file->entry_count;
}

const clq_file_tensor *clq_file_get_tensor(const clq_file *file, int64_t index)
{
    return index >= 0 && index < file->entry_count ? &file->entries[index].view : NULL;
}

int64_t clq_file_find_tensor(const clq_file *file, const char *name)
{
    return name == NULL ? -1 : clq_name_map_find(&file->names, name);
}

const char *clq_file_get_metadata(const clq_file *file, const char *key)
{
    const int64_t i = key == NULL ? -1 : clq_name_map_find(&file->keys, key);
    return i < 0 ? NULL : file->metadata[i].value;
}

int clq_file_metadata_at(const clq_file *file, int64_t index, const char **key, const char **value)
{
    if (index < 0 || index >= file->metadata_count) return 0;
    *key = file->metadata[index].key;
    *value = file->metadata[index].value;
    return 1;
}

clq_status clq_file_read(clq_context *context, clq_file *file, int64_t index, int64_t offset_bytes, int64_t size_bytes,
                         void *data)
{
    if (context == NULL) return CLQ_ERROR_INVALID_ARGUMENT;
    if (file == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_read: file is NULL");
    if (index < 0 || index >= file->entry_count)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_read: index = %lld, must be in [0, %lld)",
                        (long long)index, (long long)file->entry_count);
    const struct clq_file_entry *entry = &file->entries[index];
    const int64_t all = entry->view.size_bytes;
    if (offset_bytes < 0 || offset_bytes > all)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_read: offset_bytes = %lld, must be in [0, %lld]",
                        (long long)offset_bytes, (long long)all);
    if (size_bytes < 0 || size_bytes > all - offset_bytes)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_read: size_bytes = %lld, must be in [0, %lld]",
                        (long long)size_bytes, (long long)(all - offset_bytes));
    if (data == NULL && size_bytes > 0) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_read: data is NULL");
    const struct clq_file_part *part = &file->parts[entry->part];
    return clq_os_read(context, part->path, part->fd, part->data_begin + entry->begin + offset_bytes, size_bytes, data);
}
