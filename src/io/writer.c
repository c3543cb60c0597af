/* SPDX-License-Identifier: MIT */
/*
 * Tensor files being written: declared, laid out, filled in any order, and put in place by a rename, so that there is never half
 * a file under the name that was asked for.
 */
#include "config.h"

#include "io/writer.h"

#include "base/alloc.h"
#include "base/util.h"
#include "context.h"
#include "io/grow.h"
#include "io/npy.h"
#include "io/os_file.h"
#include "io/safetensors.h"
#include "io/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEMPORARY_ATTEMPTS   100
#define TEMPORARY_NAME_BYTES 200 /* of the file's own name; with the rest well below NAME_MAX, 255 */

static clq_status no_memory(clq_context *context, const struct clq_file_writer *writer)
{
    return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: out of memory", clq_show(writer->path).text);
}

/* What stands under the name now must be a file that we could write to, or nothing. Its mode, or that of a new file. */
static clq_status check_target(clq_context *context, const char *path, bool *exists, mode_t *mode)
{
    struct stat info;
    *exists = stat(path, &info) == 0;
    *mode = 0666;
    if (!*exists) return errno == ENOENT ? CLQ_OK : clq_os_fail(context, path, errno); /* a link to nothing is replaced as well */
    if (S_ISDIR(info.st_mode)) return clq_os_fail(context, path, EISDIR);
    if (!S_ISREG(info.st_mode))
        return clq_fail(context, CLQ_ERROR_IO, "%s: not a regular file: the output would replace it", clq_show(path).text);
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0) return clq_os_fail(context, path, errno);
    *mode = info.st_mode & 0777;
    return CLQ_OK;
}

/* Six letters that another writer is unlikely to have: O_EXCL, not chance, keeps the two apart. */
static void choose_letters(char *letters, const void *address)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz012345";
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t hash =
        (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)getpid() << 42 ^ (uint64_t)(uintptr_t)address << 8;
    for (int i = 0; i < 6; i++) {
        hash = hash * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        letters[i] = alphabet[hash >> 59];
    }
}

/* Opens FOLDER/.NAME.XXXXXX.tmp. */
static clq_status open_temporary(clq_context *context, struct clq_file_writer *writer, const char *name)
{
    static const char extension[] = ".XXXXXX.tmp";
    const size_t folder = strlen(writer->folder);
    const size_t kept = (size_t)clq_min_i64((int64_t)strlen(name), TEMPORARY_NAME_BYTES);
    bool exists;
    mode_t mode;
    CLQ_TRY(check_target(context, writer->path, &exists, &mode));
    writer->temporary_path = clq_alloc_zeroed(&writer->allocator, (int64_t)(folder + 1 + kept + sizeof extension), 1);
    if (writer->temporary_path == NULL) return no_memory(context, writer);
    char *end = writer->temporary_path;
    memcpy(end, writer->folder, folder);
    end[folder] = '.';
    memcpy(end + folder + 1, name, kept);
    end += folder + 1 + kept;
    memcpy(end, extension, sizeof extension);
    for (int i = 0; i < TEMPORARY_ATTEMPTS && writer->fd < 0; i++) {
        choose_letters(end + 1, writer);
        writer->fd = open(writer->temporary_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0666);
        if (writer->fd < 0 && errno != EEXIST) break;
    }
    if (writer->fd < 0) return clq_os_fail(context, writer->path, errno);
    /* A file that is replaced hands on its mode. Where that cannot be, the new one has no more than it. */
    if (exists && fchmod(writer->fd, mode) != 0)
        clq_log(context, CLQ_LOG_WARNING, "%s: the mode of the old file could not be kept", clq_show(writer->path).text);
    return CLQ_OK;
}

static clq_status set_up(clq_context *context, struct clq_file_writer *writer, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    writer->path = clq_alloc_string(&writer->allocator, path);
    writer->folder = clq_alloc_string(&writer->allocator, path);
    if (writer->path == NULL || writer->folder == NULL)
        return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: out of memory", clq_show(path).text);
    writer->folder[name - path] = '\0';
    if (*name == '\0') return clq_os_fail(context, path, *path == '\0' ? ENOENT : EISDIR);
    return open_temporary(context, writer, name);
}

clq_status clq_file_writer_create(clq_context *context, const char *path, clq_file_format format, clq_file_writer **writer)
{
    if (writer != NULL) *writer = NULL;
    if (context == NULL) return CLQ_ERROR_INVALID_ARGUMENT;
    if (path == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_writer_create: path is NULL");
    if (writer == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_writer_create: writer is NULL");
    if (format != CLQ_FILE_NPY && format != CLQ_FILE_SAFETENSORS)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_writer_create: format = %d, there is none such",
                        (int)format);
    struct clq_file_writer *created = clq_alloc_zeroed(&context->allocator, 1, sizeof *created);
    if (created == NULL) return clq_fail(context, CLQ_ERROR_OUT_OF_MEMORY, "%s: out of memory", clq_show(path).text);
    created->allocator = context->allocator;
    created->format = format;
    created->fd = -1;
    const clq_status status = set_up(context, created, path);
    if (status != CLQ_OK) {
        clq_file_writer_free(created);
        return status;
    }
    *writer = created;
    return CLQ_OK;
}

const char *clq_file_writer_temporary_path(const clq_file_writer *writer)
{
    return writer->temporary_path;
}

/* Declarations end with the first byte of data, and everything with the commit. */
static clq_status check_open(clq_context *context, const struct clq_file_writer *writer, const char *function, bool declaring)
{
    if (context == NULL) return CLQ_ERROR_INVALID_ARGUMENT;
    if (writer == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: writer is NULL", function);
    if (writer->committed) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: the file is committed", function);
    if (declaring && writer->laid_out)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: data has been written, which fixed the header", function);
    return CLQ_OK;
}

static clq_status check_text(clq_context *context, const char *function, const char *argument, const char *text)
{
    if (text == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function, argument);
    if (!clq_utf8_valid(text))
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: %s = \"%s\" is not UTF-8", function, argument,
                        clq_show(text).text);
    return CLQ_OK;
}

clq_status clq_file_writer_add_metadata(clq_context *context, clq_file_writer *writer, const char *key, const char *value)
{
    static const char function[] = "clq_file_writer_add_metadata";
    CLQ_TRY(check_open(context, writer, function, true));
    CLQ_TRY(check_text(context, function, "key", key));
    CLQ_TRY(check_text(context, function, "value", value));
    if (writer->format != CLQ_FILE_SAFETENSORS)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: a .npy has no metadata", function);
    if (clq_name_map_find(&writer->keys, key) >= 0)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: key = \"%s\" is there already", function, clq_show(key).text);
    struct clq_writer_metadata *grown =
        clq_grow(&writer->allocator, writer->metadata, writer->metadata_count, &writer->metadata_capacity, sizeof *grown);
    if (grown == NULL) return no_memory(context, writer);
    writer->metadata = grown;
    struct clq_writer_metadata entry = {clq_alloc_string(&writer->allocator, key), clq_alloc_string(&writer->allocator, value)};
    if (entry.key == NULL || entry.value == NULL ||
        !clq_name_map_add(&writer->keys, &writer->allocator, entry.key, writer->metadata_count)) {
        clq_dealloc(&writer->allocator, entry.key);
        clq_dealloc(&writer->allocator, entry.value);
        return no_memory(context, writer);
    }
    writer->metadata[writer->metadata_count++] = entry;
    return CLQ_OK;
}

/* Checks a declaration and fills in all but the copies. */
static clq_status check_tensor(clq_context *context, const struct clq_file_writer *writer, const char *name,
                               const char *dtype_name, int32_t rank, const int64_t *shape, struct clq_writer_tensor *tensor)
{
    static const char function[] = "clq_file_writer_add_tensor";
    const bool npy = writer->format == CLQ_FILE_NPY;
    if (!npy) CLQ_TRY(check_text(context, function, "name", name));
    if (!npy && strcmp(name, "__metadata__") == 0)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: name = \"__metadata__\" is not a tensor's", function);
    if (npy && writer->tensor_count > 0)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: a .npy holds one tensor", function);
    if (!npy && clq_name_map_find(&writer->names, name) >= 0)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: name = \"%s\" is there already", function, clq_show(name).text);
    if (dtype_name == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: dtype_name is NULL", function);
    tensor->type = clq_element_type_safetensors(dtype_name);
    if (tensor->type == NULL || (npy && tensor->type->npy_code == NULL))
        return clq_fail(context, CLQ_ERROR_DTYPE, "%s: dtype_name = \"%s\", which %s does not have", function,
                        clq_show(dtype_name).text, npy ? ".npy" : ".safetensors");
    if (rank < 0 || rank > CLQ_FILE_MAX_RANK)
        return clq_fail(context, CLQ_ERROR_SHAPE, "%s: rank = %d, must be in [0, %d]", function, (int)rank, CLQ_FILE_MAX_RANK);
    if (shape == NULL && rank > 0) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: shape is NULL", function);
    for (int32_t d = 0; d < rank; d++)
        if (shape[d] < 0)
            return clq_fail(context, CLQ_ERROR_SHAPE, "%s: shape[%d] = %lld, must be at least 0", function, (int)d,
                            (long long)shape[d]);
    int64_t element_count;
    const clq_status status = clq_element_type_measure(tensor->type, rank, shape, &element_count, &tensor->size_bytes);
    if (status == CLQ_ERROR_OVERFLOW) return clq_fail(context, status, "%s: the product of shape overflows", function);
    if (status != CLQ_OK)
        return clq_fail(context, status, "%s: %lld elements of %s do not end on a byte", function, (long long)element_count,
                        dtype_name);
    tensor->rank = rank;
    return CLQ_OK;
}

/* Copies name and shape; frees both without memory. */
static bool copy_tensor(struct clq_file_writer *writer, const char *name, const int64_t *shape, struct clq_writer_tensor *tensor)
{
    tensor->shape = clq_alloc(&writer->allocator, tensor->rank, sizeof *shape);
    if (tensor->shape == NULL) return false;
    if (tensor->rank > 0) memcpy(tensor->shape, shape, (size_t)tensor->rank * sizeof *shape);
    if (writer->format == CLQ_FILE_NPY) return true;
    tensor->name = clq_alloc_string(&writer->allocator, name);
    if (tensor->name != NULL && clq_name_map_add(&writer->names, &writer->allocator, tensor->name, writer->tensor_count))
        return true;
    clq_dealloc(&writer->allocator, tensor->name);
    clq_dealloc(&writer->allocator, tensor->shape);
    return false;
}

clq_status clq_file_writer_add_tensor(clq_context *context, clq_file_writer *writer, const char *name, const char *dtype_name,
                                      int32_t rank, const int64_t *shape, int64_t *index)
{
    struct clq_writer_tensor tensor = {0};
    CLQ_TRY(check_open(context, writer, "clq_file_writer_add_tensor", true));
    if (index == NULL) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "clq_file_writer_add_tensor: index is NULL");
    CLQ_TRY(check_tensor(context, writer, name, dtype_name, rank, shape, &tensor));
    struct clq_writer_tensor *grown =
        clq_grow(&writer->allocator, writer->tensors, writer->tensor_count, &writer->tensor_capacity, sizeof *grown);
    if (grown == NULL) return no_memory(context, writer);
    writer->tensors = grown;
    if (!copy_tensor(writer, name, shape, &tensor)) return no_memory(context, writer);
    *index = writer->tensor_count;
    writer->tensors[writer->tensor_count++] = tensor;
    return CLQ_OK;
}

/* Wide elements first, so that all are aligned to their size; then by name. A .npy has one tensor, and nothing is compared. */
static int compare_tensors(const void *left, const void *right)
{
    const struct clq_writer_tensor *a = *(const struct clq_writer_tensor *const *)left;
    const struct clq_writer_tensor *b = *(const struct clq_writer_tensor *const *)right;
    if (a->type->bits != b->type->bits) return a->type->bits > b->type->bits ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Gives every tensor its place. */
static clq_status place_tensors(clq_context *context, struct clq_file_writer *writer)
{
    clq_dealloc(&writer->allocator, writer->order); /* of an attempt that failed */
    writer->order = clq_alloc(&writer->allocator, writer->tensor_count, sizeof *writer->order);
    if (writer->order == NULL) return no_memory(context, writer);
    for (int64_t i = 0; i < writer->tensor_count; i++)
        writer->order[i] = &writer->tensors[i];
    if (writer->tensor_count > 1) qsort(writer->order, (size_t)writer->tensor_count, sizeof *writer->order, compare_tensors);
    writer->data_bytes = 0;
    for (int64_t i = 0; i < writer->tensor_count; i++) {
        struct clq_writer_tensor *tensor = &writer->tensors[writer->order[i] - writer->tensors];
        tensor->begin = writer->data_bytes;
        /* The header and its padding stay below 2^28 bytes. */
        if (!clq_add_i64(writer->data_bytes, tensor->size_bytes, &writer->data_bytes) ||
            writer->data_bytes > INT64_MAX - (1 << 28))
            return clq_fail(context, CLQ_ERROR_OVERFLOW, "%s: the tensors' bytes together overflow", clq_show(writer->path).text);
    }
    return CLQ_OK;
}

/* Fixes the layout and writes the header. */
static clq_status lay_out(clq_context *context, struct clq_file_writer *writer)
{
    struct clq_text text = {.allocator = &writer->allocator};
    clq_status status;
    if (writer->laid_out) return CLQ_OK;
    if (writer->format == CLQ_FILE_NPY && writer->tensor_count == 0)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: a .npy needs a tensor", clq_show(writer->path).text);
    CLQ_TRY(place_tensors(context, writer));
    if (writer->format == CLQ_FILE_NPY)
        clq_npy_write_header(&text, &writer->tensors[0]);
    else
        clq_safetensors_write_header(&text, writer);
    if (text.failed)
        status = no_memory(context, writer);
    else if (text.size > CLQ_FILE_HEADER_MAX_BYTES)
        status = clq_fail(context, CLQ_ERROR_OVERFLOW, "%s: a header of %lld bytes, at most %d", clq_show(writer->path).text,
                          (long long)text.size, CLQ_FILE_HEADER_MAX_BYTES);
    else
        status = clq_os_write(context, writer->path, writer->fd, 0, text.size, text.data);
    writer->data_begin = text.size;
    writer->laid_out = status == CLQ_OK;
    clq_text_free(&text);
    return status;
}

clq_status clq_file_writer_write(clq_context *context, clq_file_writer *writer, int64_t index, int64_t offset_bytes,
                                 int64_t size_bytes, const void *data)
{
    static const char function[] = "clq_file_writer_write";
    CLQ_TRY(check_open(context, writer, function, false));
    if (index < 0 || index >= writer->tensor_count)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: index = %lld, must be in [0, %lld)", function, (long long)index,
                        (long long)writer->tensor_count);
    const struct clq_writer_tensor *tensor = &writer->tensors[index];
    if (offset_bytes < 0 || offset_bytes > tensor->size_bytes)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: offset_bytes = %lld, must be in [0, %lld]", function,
                        (long long)offset_bytes, (long long)tensor->size_bytes);
    if (size_bytes < 0 || size_bytes > tensor->size_bytes - offset_bytes)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: size_bytes = %lld, must be in [0, %lld]", function,
                        (long long)size_bytes, (long long)(tensor->size_bytes - offset_bytes));
    if (data == NULL && size_bytes > 0) return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT, "%s: data is NULL", function);
    CLQ_TRY(lay_out(context, writer));
    if (!clq_written_reserve(&writer->written, &writer->allocator)) return no_memory(context, writer);
    const int64_t begin = tensor->begin + offset_bytes;
    CLQ_TRY(clq_os_write(context, writer->path, writer->fd, writer->data_begin + begin, size_bytes, data));
    clq_written_add(&writer->written, begin, begin + size_bytes);
    return CLQ_OK;
}

/* Every byte that was declared must have been written. */
static clq_status check_complete(clq_context *context, const struct clq_file_writer *writer)
{
    const int64_t gap = clq_written_gap(&writer->written);
    if (gap == writer->data_bytes) return CLQ_OK;
    int64_t i = 0;
    while (writer->order[i]->begin + writer->order[i]->size_bytes <= gap)
        i++;
    return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT,
                    "clq_file_writer_commit: %s: byte %lld of the %lld of tensor \"%s\" has not been written",
                    clq_show(writer->path).text, (long long)(gap - writer->order[i]->begin),
                    (long long)writer->order[i]->size_bytes,
                    clq_show(writer->order[i]->name == NULL ? "" : writer->order[i]->name).text);
}

/* The rename is on disk when the folder is. It cannot be taken back, so that a failure here is no failure of the commit. */
static void flush_folder(clq_context *context, const struct clq_file_writer *writer)
{
    const int fd = open(*writer->folder == '\0' ? "." : writer->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        clq_log(context, CLQ_LOG_WARNING, "%s: its folder could not be flushed to disk", clq_show(writer->path).text);
    if (fd >= 0) close(fd);
}

clq_status clq_file_writer_commit(clq_context *context, clq_file_writer *writer)
{
    CLQ_TRY(check_open(context, writer, "clq_file_writer_commit", false));
    if (writer->failed)
        return clq_fail(context, CLQ_ERROR_INVALID_ARGUMENT,
                        "clq_file_writer_commit: an earlier attempt failed to flush the file");
    CLQ_TRY(lay_out(context, writer));
    CLQ_TRY(check_complete(context, writer));
    if (fsync(writer->fd) != 0) {
        writer->failed = true; /* a second fsync() may succeed although pages were dropped */
        return clq_os_fail(context, writer->path, errno);
    }
    if (rename(writer->temporary_path, writer->path) != 0) return clq_os_fail(context, writer->path, errno);
    writer->committed = true;
    flush_folder(context, writer);
    return CLQ_OK;
}

void clq_file_writer_free(clq_file_writer *writer)
{
    if (writer == NULL) return;
    const clq_allocator allocator = writer->allocator;
    if (writer->fd >= 0) {
        close(writer->fd);
        if (!writer->committed) unlink(writer->temporary_path);
    }
    for (int64_t i = 0; i < writer->tensor_count; i++) {
        clq_dealloc(&allocator, writer->tensors[i].name);
        clq_dealloc(&allocator, writer->tensors[i].shape);
    }
    for (int64_t i = 0; i < writer->metadata_count; i++) {
        clq_dealloc(&allocator, writer->metadata[i].key);
        clq_dealloc(&allocator, writer->metadata[i].value);
    }
    clq_dealloc(&allocator, writer->tensors);
    clq_dealloc(&allocator, writer->order);
    clq_dealloc(&allocator, writer->metadata);
    clq_dealloc(&allocator, writer->written.ranges);
    clq_name_map_free(&writer->names, &allocator);
    clq_name_map_free(&writer->keys, &allocator);
    clq_dealloc(&allocator, writer->path);
    clq_dealloc(&allocator, writer->folder);
    clq_dealloc(&allocator, writer->temporary_path);
    clq_dealloc(&allocator, writer);
}
