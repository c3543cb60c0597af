/* SPDX-License-Identifier: MIT */
/* What the tests of tensor files share; see the header. */
#include "config.h"

#include "io_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char io_warning[512];
static char folder[256];

static void make_folder(void)
{
    test_make_folder(folder);
}

static void remove_folder(void)
{
    test_remove_folder(folder);
}

TCase *io_case(Suite *suite, const char *name)
{
    TCase *tcase = test_case(suite, name);
    /* Unchecked: in the parent process, so that the folder goes even if a test crashes. */
    tcase_add_unchecked_fixture(tcase, make_folder, remove_folder);
    return tcase;
}

const char *io_path(const char *name)
{
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int64_t count_entries(const char *path)
{
    int64_t count = -2; /* . and .. */
    DIR *const open_folder = opendir(path);
    if (open_folder == NULL) return -1;
    while (readdir(open_folder) != NULL)
        count++;
    closedir(open_folder);
    return count;
}

int64_t io_file_count(void)
{
    return count_entries(folder);
}

int64_t io_open_count(void)
{
    return count_entries("/proc/self/fd");
}

static void keep_warning(void *opaque, clq_log_level level, const char *text)
{
    (void)opaque;
    if (level == CLQ_LOG_WARNING) snprintf(io_warning, sizeof io_warning, "%s", text);
}

clq_context *io_context(struct test_allocator *allocator)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    clq_context *context;
    options.num_threads = 1;
    options.log = keep_warning;
    if (allocator != NULL) options.allocator = test_allocator_of(allocator);
    io_warning[0] = '\0';
    TEST_CHECK(clq_context_create(&options, &context) == CLQ_OK, "no context");
    return context;
}

static void put(const char *path, const void *first, size_t first_size, const void *second, size_t second_size)
{
    FILE *const file = fopen(path, "wb");
    TEST_CHECK(file != NULL, "%s: %s", path, strerror(errno));
    const size_t written = fwrite(first, 1, first_size, file) + fwrite(second, 1, second_size, file);
    TEST_CHECK(fclose(file) == 0 && written == first_size + second_size, "%s: %s", path, strerror(errno));
}

const char *io_put(const char *name, const void *bytes, size_t size)
{
    const char *const path = io_path(name);
    put(path, bytes, size, "", 0);
    return path;
}

const char *io_put_text(const char *name, const char *text)
{
    return io_put(name, text, strlen(text));
}

/* `head`, `text`, and data. */
static const char *put_headed(const char *name, const unsigned char *head, size_t head_size, const char *text, size_t data_bytes)
{
    const char *const path = io_path(name);
    const size_t text_size = strlen(text), rest_size = text_size + data_bytes;
    unsigned char *const rest = malloc(rest_size + 1);
    TEST_CHECK(rest != NULL, "no memory");
    memcpy(rest, text, text_size);
    for (size_t i = 0; i < data_bytes; i++)
        rest[text_size + i] = (unsigned char)i;
    put(path, head, head_size, rest, rest_size);
    free(rest);
    return path;
}

const char *io_put_safetensors(const char *name, const char *json, size_t data_bytes)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)strlen(json) >> 8 * i);
    return put_headed(name, length, sizeof length, json, data_bytes);
}

const char *io_put_npy(const char *name, int major, const char *dictionary, size_t data_bytes)
{
    unsigned char head[12] = "\x93NUMPY";
    head[6] = (unsigned char)major;
    for (int i = 0; i < 4; i++)
        head[8 + i] = (unsigned char)(strlen(dictionary) >> 8 * i);
    return put_headed(name, head, major == 1 ? 10 : 12, dictionary, data_bytes);
}

unsigned char *io_get(const char *path, size_t *size)
{
    struct stat info;
    FILE *const file = fopen(path, "rb");
    TEST_CHECK(file != NULL && fstat(fileno(file), &info) == 0, "%s: %s", path, strerror(errno));
    unsigned char *const bytes = malloc((size_t)info.st_size + 1);
    TEST_CHECK(bytes != NULL, "no memory");
    *size = fread(bytes, 1, (size_t)info.st_size, file);
    fclose(file);
    return bytes;
}

void io_check_bytes(const char *path, const void *bytes, size_t size)
{
    size_t found_size;
    unsigned char *const found = io_get(path, &found_size);
    for (size_t i = 0; i < size && i < found_size; i++)
        TEST_CHECK(found[i] == ((const unsigned char *)bytes)[i], "%s: byte %zu is %#x, must be %#x", path, i, found[i],
                   ((const unsigned char *)bytes)[i]);
    TEST_CHECK(found_size == size, "%s: %zu bytes, must be %zu", path, found_size, size);
    free(found);
}

void io_check_refused(clq_context *context, const char *path, clq_status status, const char *fault)
{
    clq_file *file = (clq_file *)(uintptr_t)1;
    const int64_t open_before = io_open_count();
    const clq_status found = clq_file_open(context, path, &file);
    const char *const text = clq_context_error(context);
    TEST_CHECK(found == status, "%s: %s (\"%s\"), must be %s with \"%s\"", path, clq_status_name(found), text,
               clq_status_name(status), fault);
    TEST_CHECK(file == NULL, "%s: a handle in spite of an error", path);
    TEST_CHECK(strstr(text, fault) != NULL, "%s: \"%s\" does not say \"%s\"", path, text, fault);
    if (strlen(path) < 100) TEST_CHECK(strstr(text, path) != NULL, "\"%s\" does not name %s", text, path);
    for (const char *c = text; *c != '\0'; c++)
        TEST_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f, "%s: a control character in \"%s\"", path, text);
    TEST_CHECK(io_open_count() == open_before, "%s: a descriptor was left open", path);
}

clq_status io_read_all(clq_context *context, const char *path)
{
    clq_file *file;
    unsigned char piece[61];
    clq_status status = clq_file_open(context, path, &file);
    if (status != CLQ_OK) return status;
    for (int64_t i = 0; i < clq_file_tensor_count(file) && status == CLQ_OK; i++) {
        const int64_t all = clq_file_get_tensor(file, i)->size_bytes;
        for (int64_t at = 0; at < all && status == CLQ_OK; at += (int64_t)sizeof piece) {
            const int64_t size = all - at < (int64_t)sizeof piece ? all - at : (int64_t)sizeof piece;
            status = clq_file_read(context, file, i, at, size, piece);
        }
    }
    clq_file_close(file);
    return status;
}
