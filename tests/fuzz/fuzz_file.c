/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: bytes as a file, opened and read through the public API, with its promises checked. */
#include "config.h"

#include "fuzz_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_MAX_BYTES (1 << 20) /* of one file: input is small, and a hostile header must not make it large */
#define MAX_FILES      8

static clq_context *context;
static char folder[64];
static char files[MAX_FILES][96];
static int file_count;

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                              \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

static void clean_up(void)
{
    for (int i = 0; i < file_count; i++)
        unlink(files[i]);
    rmdir(folder);
    clq_context_free(context);
}

static void set_up(void)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.device = "cpu";
    options.num_threads = 1;
    if (context != NULL) return;
    CHECK(clq_context_create(&options, &context) == CLQ_OK);
    snprintf(folder, sizeof folder, "%s/clquant-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    CHECK(mkdtemp(folder) != NULL);
    atexit(clean_up);
}

/* The path of a name, remembered for the end. */
static const char *path_of(const char *name)
{
    const size_t skip = strlen(folder) + 1;
    for (int i = 0; i < file_count; i++)
        if (strcmp(files[i] + skip, name) == 0) return files[i];
    CHECK(file_count < MAX_FILES);
    snprintf(files[file_count], sizeof files[0], "%s/%s", folder, name);
    return files[file_count++];
}

void fuzz_put(const char *name, const void *data, size_t size)
{
    set_up();
    const int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static void check_tensor(const clq_file *file, int64_t index)
{
    const clq_file_tensor *tensor = clq_file_get_tensor(file, index);
    int64_t count = 1;
    CHECK(tensor != NULL && tensor->rank >= 0 && tensor->rank <= CLQ_FILE_MAX_RANK && tensor->shape != NULL);
    for (int32_t d = 0; d < tensor->rank; d++) {
        CHECK(tensor->shape[d] >= 0);
        if (tensor->shape[d] > 0) CHECK(!__builtin_mul_overflow(count, tensor->shape[d], &count));
    }
    for (int32_t d = 0; d < tensor->rank; d++)
        if (tensor->shape[d] == 0) count = 0;
    CHECK(count == tensor->element_count);
    CHECK(count * tensor->element_bits == tensor->size_bytes * 8);
    CHECK(tensor->dtype == CLQ_DTYPE_NONE || clq_dtype_bits(tensor->dtype) == tensor->element_bits);
    CHECK(strlen(tensor->file_path) > 0 && clq_file_find_tensor(file, tensor->name) == index);
}

/* In small pieces, up to READ_MAX_BYTES together. */
static void read_data(clq_file *file)
{
    unsigned char piece[113];
    int64_t left = READ_MAX_BYTES;
    for (int64_t i = 0; i < clq_file_tensor_count(file); i++) {
        const int64_t all = clq_file_get_tensor(file, i)->size_bytes;
        for (int64_t at = 0; at < all && left > 0; at += (int64_t)sizeof piece, left -= (int64_t)sizeof piece) {
            const int64_t size = all - at < (int64_t)sizeof piece ? all - at : (int64_t)sizeof piece;
            CHECK(clq_file_read(context, file, i, at, size, piece) == CLQ_OK);
        }
        CHECK(clq_file_read(context, file, i, all, 1, piece) == CLQ_ERROR_INVALID_ARGUMENT);
    }
}

/* The same tensors, metadata and data. */
static void compare(clq_file *file, clq_file *other)
{
    const char *key, *value;
    CHECK(clq_file_tensor_count(file) == clq_file_tensor_count(other));
    for (int64_t i = 0; i < clq_file_tensor_count(file); i++) {
        const clq_file_tensor *tensor = clq_file_get_tensor(file, i);
        const int64_t k = clq_file_find_tensor(other, tensor->name);
        CHECK(k >= 0);
        const clq_file_tensor *same = clq_file_get_tensor(other, k);
        unsigned char bytes[2][64];
        const int64_t size = tensor->size_bytes < 64 ? tensor->size_bytes : 64;
        CHECK(strcmp(tensor->dtype_name, same->dtype_name) == 0 && tensor->rank == same->rank);
        CHECK(memcmp(tensor->shape, same->shape, (size_t)tensor->rank * sizeof *tensor->shape) == 0);
        CHECK(clq_file_read(context, file, i, tensor->size_bytes - size, size, bytes[0]) == CLQ_OK);
        CHECK(clq_file_read(context, other, k, tensor->size_bytes - size, size, bytes[1]) == CLQ_OK);
        CHECK(memcmp(bytes[0], bytes[1], (size_t)size) == 0);
    }
    for (int64_t i = 0; clq_file_metadata_at(file, i, &key, &value); i++) {
        const char *same = clq_file_get_metadata(other, key);
        CHECK(same != NULL && strcmp(value, same) == 0);
    }
}

static void rewrite_file(clq_file *file)
{
    const int64_t count = clq_file_tensor_count(file);
    const char *const path = path_of("out"), *key, *value;
    clq_file_writer *writer;
    clq_file *other;
    CHECK(clq_file_writer_create(context, path, CLQ_FILE_SAFETENSORS, &writer) == CLQ_OK);
    for (int64_t i = 0; clq_file_metadata_at(file, i, &key, &value); i++)
        CHECK(clq_file_writer_add_metadata(context, writer, key, value) == CLQ_OK);
    for (int64_t i = 0; i < count; i++) {
        const clq_file_tensor *tensor = clq_file_get_tensor(file, i);
        int64_t index;
        CHECK(clq_file_writer_add_tensor(context, writer, tensor->name, tensor->dtype_name, tensor->rank, tensor->shape,
                                         &index) == CLQ_OK);
        CHECK(index == i);
    }
    for (int64_t i = 0; i < count; i++) {
        unsigned char piece[113];
        const int64_t all = clq_file_get_tensor(file, i)->size_bytes;
        for (int64_t at = 0; at < all; at += (int64_t)sizeof piece) {
            const int64_t size = all - at < (int64_t)sizeof piece ? all - at : (int64_t)sizeof piece;
            CHECK(clq_file_read(context, file, i, at, size, piece) == CLQ_OK);
            CHECK(clq_file_writer_write(context, writer, i, at, size, piece) == CLQ_OK);
        }
    }
    CHECK(clq_file_writer_commit(context, writer) == CLQ_OK);
    clq_file_writer_free(writer);
    CHECK(clq_file_open(context, path, &other) == CLQ_OK);
    compare(file, other);
    compare(other, file);
    clq_file_close(other);
}

clq_status fuzz_read(const char *name, int rewrite)
{
    clq_file *file = NULL;
    const clq_status status = clq_file_open(context, path_of(name), &file);
    if (status != CLQ_OK) {
        CHECK(status == CLQ_ERROR_FORMAT || status == CLQ_ERROR_IO);
        CHECK(file == NULL && clq_context_error(context)[0] != '\0');
        return status;
    }
    for (int64_t i = 0; i < clq_file_tensor_count(file); i++)
        check_tensor(file, i);
    read_data(file);
    if (rewrite) rewrite_file(file);
    clq_file_close(file);
    return CLQ_OK;
}
