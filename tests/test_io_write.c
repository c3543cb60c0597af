/* SPDX-License-Identifier: MIT */
/* Writing tensor files: the bytes that must come out, round trips, what stands at the path before, misuse. */
#include "config.h"

#include "io_support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static clq_file_writer *create(clq_context *context, const char *path, clq_file_format format)
{
    clq_file_writer *writer;
    test_note("%s", path);
    TEST_OK(context, clq_file_writer_create(context, path, format, &writer));
    return writer;
}

/* Writes a .npy of `size` bytes. */
static void write_npy(clq_context *context, const char *path, const char *dtype_name, int32_t rank, const int64_t *shape,
                      const void *data, int64_t size)
{
    int64_t index;
    clq_file_writer *writer = create(context, path, CLQ_FILE_NPY);
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, NULL, dtype_name, rank, shape, &index));
    ck_assert_int_eq(index, 0);
    TEST_OK(context, clq_file_writer_write(context, writer, index, 0, size, data));
    TEST_OK(context, clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
}

/* What NumPy's own save() writes for these arrays, byte by byte. */
START_TEST(npy_bytes)
{
    static const struct {
        const char *dtype_name;
        int32_t rank;
        int64_t shape[3];
        int64_t data_bytes;
        const char *dictionary; /* up to its last brace */
        int spaces;
    } cases[] = {
        {"F32", 2, {2, 3}, 24, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 58},
        {"F64", 1, {3}, 24, "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 60},
        {"F16", 0, {0}, 2, "{'descr': '<f2', 'fortran_order': False, 'shape': (), }", 62},
        {"I8", 3, {10, 0, 5}, 0, "{'descr': '|i1', 'fortran_order': False, 'shape': (10, 0, 5), }", 54},
        {"U8", 1, {1}, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }", 60},
        {"I16", 1, {1}, 2, "{'descr': '<i2', 'fortran_order': False, 'shape': (1,), }", 60},
        {"U16", 1, {1}, 2, "{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }", 60},
        {"I32", 1, {1}, 4, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }", 60},
        {"U32", 1, {1}, 4, "{'descr': '<u4', 'fortran_order': False, 'shape': (1,), }", 60},
        {"I64", 1, {1}, 8, "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", 60},
        {"U64", 1, {1}, 8, "{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }", 60},
        {"BOOL", 1, {4}, 4, "{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }", 60},
    };
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        unsigned char expected[256] = "\x93NUMPY\x01\x00\x76\x00";
        const size_t length = strlen(cases[i].dictionary);
        memcpy(expected + 10, cases[i].dictionary, length);
        memset(expected + 10 + length, ' ', (size_t)cases[i].spaces);
        expected[127] = '\n';
        for (int64_t k = 0; k < cases[i].data_bytes; k++)
            expected[128 + k] = (unsigned char)(200 + k);
        write_npy(context, io_path("o.npy"), cases[i].dtype_name, cases[i].rank, cases[i].shape, expected + 128,
                  cases[i].data_bytes);
        io_check_bytes(io_path("o.npy"), expected, 128 + (size_t)cases[i].data_bytes);
        TEST_OK(context, io_read_all(context, io_path("o.npy")));
    }
    clq_context_free(context);
}
END_TEST

/* A header that fills its 64 bytes is followed by a whole line of padding, as NumPy does; and the largest rank. */
START_TEST(npy_padding)
{
    int64_t shape[64];
    unsigned char byte = 7;
    size_t size;
    clq_context *context = io_context(NULL);
    for (int i = 0; i < 64; i++)
        shape[i] = 1;
    for (int32_t rank = 0; rank <= 64; rank++) {
        write_npy(context, io_path("o.npy"), "U8", rank, shape, &byte, 1);
        unsigned char *bytes = io_get(io_path("o.npy"), &size);
        ck_assert_int_eq(size % 64, 1);
        ck_assert_int_eq(bytes[size - 1], 7);
        ck_assert_int_eq(bytes[size - 2], '\n');
        ck_assert_int_eq(bytes[8] | bytes[9] << 8, size - 11);
        free(bytes);
        TEST_OK(context, io_read_all(context, io_path("o.npy")));
    }
    clq_context_free(context);
}
END_TEST

/* The whole file: metadata as added, tensors by descending element size and then by name, escapes, padding. */
START_TEST(safetensors_bytes)
{
    static const char json[] = "{\"__metadata__\":{\"z\":\"1\",\"a\\\"\\\\\":\"\\u000a\\u001f\x7f\xc3\xa4/\"},"
                               "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                               "\"B\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]},"
                               "\"a\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[16,20]},"
                               "\"e\":{\"dtype\":\"I32\",\"shape\":[0,3],\"data_offsets\":[20,20]},"
                               "\"\xc3\xa9\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[20,22]},"
                               "\"\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[22,25]},"
                               "\"f\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[25,26]}}";
    static const struct {
        const char *name, *dtype_name;
        int32_t rank;
        int64_t shape[2];
        int64_t begin, size;
    } tensors[] = {{"f", "F4", 1, {2}, 25, 1},  {"", "U8", 1, {3}, 22, 3},     {"e", "I32", 2, {0, 3}, 20, 0},
                   {"a", "I32", 0, {0}, 16, 4}, {"B", "F32", 2, {2, 1}, 8, 8}, {"\xc3\xa9", "BF16", 1, {1}, 20, 2},
                   {"d", "F64", 1, {1}, 0, 8}};
    unsigned char expected[1024];
    const size_t header = (8 + sizeof json - 1 + 63) / 64 * 64;
    int64_t indices[TEST_COUNT_OF(tensors)];
    clq_context *context = io_context(NULL);
    memset(expected, ' ', sizeof expected);
    for (int i = 0; i < 8; i++)
        expected[i] = (unsigned char)((header - 8) >> 8 * i);
    memcpy(expected + 8, json, sizeof json - 1);
    for (int i = 0; i < 26; i++)
        expected[header + i] = (unsigned char)(100 + i);

    clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_add_metadata(context, writer, "z", "1"));
    for (size_t i = 0; i < TEST_COUNT_OF(tensors); i++) {
        TEST_OK(context, clq_file_writer_add_tensor(context, writer, tensors[i].name, tensors[i].dtype_name, tensors[i].rank,
                                                    tensors[i].shape, &indices[i]));
        ck_assert_int_eq(indices[i], i);
    }
    TEST_OK(context, clq_file_writer_add_metadata(context, writer, "a\"\\", "\n\x1f\x7f\xc3\xa4/"));
    for (size_t i = 0; i < TEST_COUNT_OF(tensors); i++)
        TEST_OK(context,
                clq_file_writer_write(context, writer, indices[i], 0, tensors[i].size, expected + header + tensors[i].begin));
    TEST_CHECK(access(io_path("o.safetensors"), F_OK) != 0, "there before the commit");
    TEST_OK(context, clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
    io_check_bytes(io_path("o.safetensors"), expected, header + 26);
    ck_assert_int_eq(io_file_count(), 1);

    clq_file *file;
    TEST_OK(context, clq_file_open(context, io_path("o.safetensors"), &file));
    ck_assert_int_eq(clq_file_tensor_count(file), TEST_COUNT_OF(tensors));
    for (size_t i = 0; i < TEST_COUNT_OF(tensors); i++)
        TEST_CHECK(clq_file_find_tensor(file, tensors[i].name) >= 0, "%s", tensors[i].name);
    ck_assert_str_eq(clq_file_get_metadata(file, "a\"\\"), "\n\x1f\x7f\xc3\xa4/");
    clq_file_close(file);
    clq_context_free(context);
}
END_TEST

START_TEST(safetensors_empty)
{
    clq_context *context = io_context(NULL);
    clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
    io_check_bytes(io_path("o.safetensors"), "\x38\0\0\0\0\0\0\0{}                                                      ", 64);
    TEST_OK(context, io_read_all(context, io_path("o.safetensors")));
    writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_add_metadata(context, writer, "", ""));
    TEST_OK(context, clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
    io_check_bytes(io_path("o.safetensors"), "\x38\0\0\0\0\0\0\0{\"__metadata__\":{\"\":\"\"}}                                ",
                   64);
    TEST_OK(context, io_read_all(context, io_path("o.safetensors")));
    clq_context_free(context);
}
END_TEST

/* Pieces of any size in any order, some twice: complete exactly when every byte has been written. */
START_TEST(any_order)
{
    enum { SIZE = 400 };
    struct test_random random = test_random_start(1);
    clq_context *context = io_context(NULL);
    for (int round = 0; round < test_amount(200, 40); round++) {
        unsigned char data[SIZE], written[SIZE] = {0};
        int64_t indices[2];
        int missing = SIZE;
        clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
        test_fill_random(&random, data, SIZE);
        for (int i = 0; i < 2; i++)
            TEST_OK(context,
                    clq_file_writer_add_tensor(context, writer, i == 0 ? "a" : "b", "U8", 1, (int64_t[]){SIZE / 2}, &indices[i]));
        while (missing > 0) {
            const int tensor = (int)test_between(&random, 0, 1);
            const int64_t begin = test_between(&random, 0, SIZE / 2), size = test_between(&random, 0, (SIZE / 2 - begin) / 3 + 1);
            if (begin + size > SIZE / 2) continue;
            TEST_OK(context,
                    clq_file_writer_write(context, writer, indices[tensor], begin, size, data + tensor * (SIZE / 2) + begin));
            for (int64_t k = 0; k < size; k++) {
                missing -= written[tensor * (SIZE / 2) + begin + k] == 0;
                written[tensor * (SIZE / 2) + begin + k] = 1;
            }
            const clq_status status = test_chance(&random, 10) || missing == 0 ? clq_file_writer_commit(context, writer) : CLQ_OK;
            if (missing > 0 && status != CLQ_OK) {
                ck_assert_int_eq(status, CLQ_ERROR_INVALID_ARGUMENT);
                TEST_CHECK(strstr(clq_context_error(context), "has not been written") != NULL, "%s", clq_context_error(context));
            }
            if (missing == 0) TEST_OK(context, status);
        }
        clq_file_writer_free(writer);
        size_t size;
        unsigned char *bytes = io_get(io_path("o.safetensors"), &size);
        ck_assert_mem_eq(bytes + size - SIZE, data, SIZE);
        free(bytes);
    }
    clq_context_free(context);
}
END_TEST

/* What is missing is named. */
START_TEST(incomplete)
{
    int64_t a, b;
    clq_context *context = io_context(NULL);
    const char *path = io_put_text("o.safetensors", "old");
    clq_file_writer *writer = create(context, path, CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, "a", "U8", 1, (int64_t[]){4}, &a));
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, "b", "U8", 1, (int64_t[]){4}, &b));
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_INVALID_ARGUMENT);
    TEST_CHECK(strstr(clq_context_error(context), "byte 0 of the 4 of tensor \"a\" has not") != NULL, "%s",
               clq_context_error(context));
    TEST_OK(context, clq_file_writer_write(context, writer, a, 0, 4, "aaaa"));
    TEST_OK(context, clq_file_writer_write(context, writer, a, 0, 4, "aaaa"));
    TEST_OK(context, clq_file_writer_write(context, writer, b, 0, 2, "bb"));
    TEST_OK(context, clq_file_writer_write(context, writer, b, 3, 1, "b"));
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_INVALID_ARGUMENT);
    TEST_CHECK(strstr(clq_context_error(context), "byte 2 of the 4 of tensor \"b\" has not") != NULL, "%s",
               clq_context_error(context));
    io_check_bytes(path, "old", 3);
    ck_assert_int_eq(io_file_count(), 2);
    clq_file_writer_free(writer);
    io_check_bytes(path, "old", 3);
    ck_assert_int_eq(io_file_count(), 1);
    clq_context_free(context);
}
END_TEST

static mode_t mode_of(const char *path)
{
    struct stat info;
    TEST_CHECK(lstat(path, &info) == 0, "%s", path);
    return info.st_mode;
}

static void write_one(clq_context *context, const char *path)
{
    write_npy(context, path, "U8", 1, (int64_t[]){3}, "new", 3);
}

/* A new file has the mode that open() gives, a replaced one keeps its own, and the temporary file never has more. */
START_TEST(modes)
{
    clq_context *context = io_context(NULL);
    const char *path = io_path("o.npy");
    umask(027);
    write_one(context, path);
    ck_assert_int_eq(mode_of(path), S_IFREG | 0640);
    ck_assert_int_eq(chmod(path, 0600), 0);
    write_one(context, path);
    ck_assert_int_eq(mode_of(path), S_IFREG | 0600);
    ck_assert_int_eq(chmod(path, 0666), 0);
    clq_file_writer *writer = create(context, path, CLQ_FILE_NPY);
    ck_assert_int_eq(mode_of(clq_file_writer_temporary_path(writer)), S_IFREG | 0666);
    clq_file_writer_free(writer);
    if (geteuid() != 0) { /* who may write to everything */
        ck_assert_int_eq(chmod(path, 0444), 0);
        ck_assert_int_eq(clq_file_writer_create(context, path, CLQ_FILE_NPY, &writer), CLQ_ERROR_IO);
        ck_assert_ptr_null(writer);
        TEST_CHECK(strstr(clq_context_error(context), "Permission denied") != NULL, "%s", clq_context_error(context));
    }
    clq_context_free(context);
}
END_TEST

/* A link is replaced, not followed. */
START_TEST(links)
{
    clq_context *context = io_context(NULL);
    io_put_text("target", "old");
    ck_assert_int_eq(symlink("target", io_path("link")), 0);
    ck_assert_int_eq(symlink("nothing", io_path("dangling")), 0);
    write_one(context, io_path("link"));
    write_one(context, io_path("dangling"));
    TEST_CHECK(S_ISREG(mode_of(io_path("link"))) && S_ISREG(mode_of(io_path("dangling"))), "still a link");
    io_check_bytes(io_path("target"), "old", 3);
    TEST_CHECK(access(io_path("nothing"), F_OK) != 0, "followed a link");
    ck_assert_int_eq(io_file_count(), 3);
    clq_context_free(context);
}
END_TEST

static void check_create_fails(clq_context *context, const char *path, const char *fault)
{
    clq_file_writer *writer = (clq_file_writer *)(uintptr_t)1;
    test_note("%s", path);
    ck_assert_int_eq(clq_file_writer_create(context, path, CLQ_FILE_NPY, &writer), CLQ_ERROR_IO);
    ck_assert_ptr_null(writer);
    TEST_CHECK(strstr(clq_context_error(context), fault) != NULL, "\"%s\" does not say \"%s\"", clq_context_error(context),
               fault);
}

/* What cannot be replaced by a file. */
START_TEST(targets)
{
    char name[300];
    clq_context *context = io_context(NULL);
    check_create_fails(context, io_path(""), "Is a directory");
    check_create_fails(context, io_path("."), "Is a directory");
    check_create_fails(context, "", "No such file");
    check_create_fails(context, io_path("none/o.npy"), "No such file");
    check_create_fails(context, "/dev/null", "/dev/null: not a regular file");
    ck_assert_int_eq(mkfifo(io_path("pipe"), 0666), 0);
    check_create_fails(context, io_path("pipe"), "not a regular file");
    ck_assert_int_eq(symlink("/dev/null", io_path("null")), 0);
    check_create_fails(context, io_path("null"), "not a regular file");
    io_put_text("file", "");
    check_create_fails(context, io_path("file/o.npy"), "Not a directory");
    memset(name, 'x', sizeof name - 1);
    name[256] = '\0';
    check_create_fails(context, io_path(name), "File name too long");
    ck_assert_int_eq(io_file_count(), 3);
    /* The longest name there is fits, and so does its temporary name. */
    name[255] = '\0';
    write_one(context, io_path(name));
    ck_assert_int_eq(io_file_count(), 4);
    /* Without a folder in the path. */
    snprintf(name, sizeof name, "%s", io_path(""));
    TEST_CHECK(chdir(name) == 0, "chdir");
    write_one(context, "o.npy");
    TEST_OK(context, io_read_all(context, io_path("o.npy")));
    ck_assert_int_eq(io_file_count(), 5);
    clq_context_free(context);
}
END_TEST

/* The target turned into a folder while the file was written. */
START_TEST(rename_fails)
{
    int64_t index;
    clq_context *context = io_context(NULL);
    clq_file_writer *writer = create(context, io_path("o.npy"), CLQ_FILE_NPY);
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, NULL, "U8", 1, (int64_t[]){3}, &index));
    TEST_OK(context, clq_file_writer_write(context, writer, index, 0, 3, "new"));
    ck_assert_int_eq(mkdir(io_path("o.npy"), 0777), 0);
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_IO);
    TEST_CHECK(strstr(clq_context_error(context), "o.npy: Is a directory") != NULL, "%s", clq_context_error(context));
    /* Out of the way, and the commit succeeds. */
    ck_assert_int_eq(rmdir(io_path("o.npy")), 0);
    TEST_OK(context, clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
    TEST_OK(context, io_read_all(context, io_path("o.npy")));
    ck_assert_int_eq(io_file_count(), 1);
    clq_context_free(context);
}
END_TEST

/* Two writers of one path do not meet; the last commit wins. */
START_TEST(two_writers)
{
    int64_t index;
    clq_context *context = io_context(NULL);
    clq_file_writer *writers[2];
    for (int i = 0; i < 2; i++) {
        writers[i] = create(context, io_path("o.npy"), CLQ_FILE_NPY);
        TEST_OK(context, clq_file_writer_add_tensor(context, writers[i], NULL, "U8", 1, (int64_t[]){3}, &index));
        TEST_OK(context, clq_file_writer_write(context, writers[i], index, 0, 3, i == 0 ? "one" : "two"));
    }
    ck_assert_str_ne(clq_file_writer_temporary_path(writers[0]), clq_file_writer_temporary_path(writers[1]));
    for (int i = 0; i < 2; i++)
        TEST_OK(context, clq_file_writer_commit(context, writers[i]));
    for (int i = 0; i < 2; i++)
        clq_file_writer_free(writers[i]);
    size_t size;
    unsigned char *bytes = io_get(io_path("o.npy"), &size);
    ck_assert_mem_eq(bytes + size - 3, "two", 3);
    free(bytes);
    ck_assert_int_eq(io_file_count(), 1);
    clq_context_free(context);
}
END_TEST

/* Each call that is wrong changes nothing: the file that comes out is as if it had not been made. */
START_TEST(misuse)
{
    static const struct {
        const char *name, *dtype_name;
        int32_t rank;
        int64_t shape[3];
        clq_status status;
        const char *fault;
    } wrong[] = {
        {NULL, "U8", 1, {1}, CLQ_ERROR_INVALID_ARGUMENT, "name is NULL"},
        {"x\xff", "U8", 1, {1}, CLQ_ERROR_INVALID_ARGUMENT, "is not UTF-8"},
        {"__metadata__", "U8", 1, {1}, CLQ_ERROR_INVALID_ARGUMENT, "__metadata__"},
        {"there", "U8", 1, {1}, CLQ_ERROR_INVALID_ARGUMENT, "name = \"there\" is there already"},
        {"x", NULL, 1, {1}, CLQ_ERROR_INVALID_ARGUMENT, "dtype_name is NULL"},
        {"x", "f32", 1, {1}, CLQ_ERROR_DTYPE, "dtype_name = \"f32\", which .safetensors does not have"},
        {"x", "", 1, {1}, CLQ_ERROR_DTYPE, "dtype_name = \"\""},
        {"x", "U8", -1, {1}, CLQ_ERROR_SHAPE, "rank = -1, must be in [0, 64]"},
        {"x", "U8", 65, {1}, CLQ_ERROR_SHAPE, "rank = 65, must be in [0, 64]"},
        {"x", "U8", 2, {1, -1}, CLQ_ERROR_SHAPE, "shape[1] = -1, must be at least 0"},
        {"x", "F4", 1, {3}, CLQ_ERROR_SHAPE, "do not end on a byte"},
        {"x", "F64", 1, {INT64_MAX}, CLQ_ERROR_OVERFLOW, "overflows"},
        {"x", "U8", 3, {INT64_MAX, 2, 0}, CLQ_ERROR_OVERFLOW, "overflows"},
    };
    int64_t index = -7, there;
    clq_context *context = io_context(NULL);
    clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, "there", "U8", 1, (int64_t[]){2}, &there));
    TEST_OK(context, clq_file_writer_add_metadata(context, writer, "k", "v"));
    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        const clq_status status = clq_file_writer_add_tensor(context, writer, wrong[i].name, wrong[i].dtype_name, wrong[i].rank,
                                                             wrong[i].shape, &index);
        test_note("%s", wrong[i].fault);
        ck_assert_int_eq(status, wrong[i].status);
        TEST_CHECK(strstr(clq_context_error(context), wrong[i].fault) != NULL, "%s", clq_context_error(context));
        ck_assert_int_eq(index, -7);
    }
#define CHECK_INVALID(call, fault)                                                                                               \
    do {                                                                                                                         \
        ck_assert_int_eq(call, CLQ_ERROR_INVALID_ARGUMENT);                                                                      \
        TEST_CHECK(strstr(clq_context_error(context), fault) != NULL, "%s", clq_context_error(context));                         \
    } while (0)
    CHECK_INVALID(clq_file_writer_add_tensor(context, writer, "x", "U8", 1, NULL, &index), "shape is NULL");
    CHECK_INVALID(clq_file_writer_add_tensor(context, writer, "x", "U8", 0, NULL, NULL), "index is NULL");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "k", "w"), "key = \"k\" is there already");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, NULL, "w"), "key is NULL");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "l", NULL), "value is NULL");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "\xc3", "w"), "is not UTF-8");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "l", "\xed\xa0\x80"), "is not UTF-8");
    CHECK_INVALID(clq_file_writer_write(context, writer, -1, 0, 0, ""), "index = -1, must be in [0, 1)");
    CHECK_INVALID(clq_file_writer_write(context, writer, 1, 0, 0, ""), "index = 1, must be in [0, 1)");
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, -1, 1, ""), "offset_bytes = -1, must be in [0, 2]");
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, 3, 0, ""), "offset_bytes = 3");
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, 1, 2, ""), "size_bytes = 2, must be in [0, 1]");
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, 1, -1, ""), "size_bytes = -1");
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, 1, INT64_MAX, ""), "size_bytes = 9223372036854775807");
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, 0, 1, NULL), "data is NULL");
    TEST_OK(context, clq_file_writer_write(context, writer, 0, 0, 0, NULL));
    CHECK_INVALID(clq_file_writer_add_tensor(context, writer, "x", "U8", 0, NULL, &index), "data has been written");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "l", "w"), "data has been written");
    TEST_OK(context, clq_file_writer_write(context, writer, 0, 0, 2, "ab"));
    TEST_OK(context, clq_file_writer_commit(context, writer));
    CHECK_INVALID(clq_file_writer_write(context, writer, 0, 0, 1, "a"), "the file is committed");
    CHECK_INVALID(clq_file_writer_commit(context, writer), "the file is committed");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "l", "w"), "the file is committed");
    clq_file_writer_free(writer);
    static const char json[] =
        "{\"__metadata__\":{\"k\":\"v\"},\"there\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    unsigned char expected[130];
    memset(expected, ' ', sizeof expected);
    memcpy(expected, "\x78\0\0\0\0\0\0\0", 8);
    memcpy(expected + 8, json, sizeof json - 1);
    memcpy(expected + 128, "ab", 2);
    io_check_bytes(io_path("o.safetensors"), expected, 130);

    /* What .npy lacks. */
    writer = create(context, io_path("o.npy"), CLQ_FILE_NPY);
    CHECK_INVALID(clq_file_writer_commit(context, writer), "a .npy needs a tensor");
    CHECK_INVALID(clq_file_writer_add_metadata(context, writer, "k", "v"), "a .npy has no metadata");
    ck_assert_int_eq(clq_file_writer_add_tensor(context, writer, "x", "BF16", 0, NULL, &index), CLQ_ERROR_DTYPE);
    TEST_CHECK(strstr(clq_context_error(context), "which .npy does not have") != NULL, "%s", clq_context_error(context));
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, "\xff", "U8", 0, NULL, &index));
    CHECK_INVALID(clq_file_writer_add_tensor(context, writer, "y", "U8", 0, NULL, &index), "a .npy holds one tensor");
    CHECK_INVALID(clq_file_writer_commit(context, writer), "has not been written");
    clq_file_writer_free(writer);

    /* NULL everywhere. */
    const char *path = io_path("p.npy");
    writer = (clq_file_writer *)(uintptr_t)1;
    ck_assert_int_eq(clq_file_writer_create(NULL, path, CLQ_FILE_NPY, &writer), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(writer);
    CHECK_INVALID(clq_file_writer_create(context, NULL, CLQ_FILE_NPY, &writer), "path is NULL");
    CHECK_INVALID(clq_file_writer_create(context, path, CLQ_FILE_NPY, NULL), "writer is NULL");
    CHECK_INVALID(clq_file_writer_create(context, path, (clq_file_format)3, &writer), "format = 3");
    CHECK_INVALID(clq_file_writer_add_metadata(context, NULL, "k", "v"), "writer is NULL");
    CHECK_INVALID(clq_file_writer_add_tensor(context, NULL, "x", "U8", 0, NULL, &index), "writer is NULL");
    CHECK_INVALID(clq_file_writer_write(context, NULL, 0, 0, 0, ""), "writer is NULL");
    CHECK_INVALID(clq_file_writer_commit(context, NULL), "writer is NULL");
    ck_assert_int_eq(clq_file_writer_add_metadata(NULL, NULL, "k", "v"), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(clq_file_writer_add_tensor(NULL, NULL, "x", "U8", 0, NULL, &index), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(clq_file_writer_write(NULL, NULL, 0, 0, 0, ""), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(clq_file_writer_commit(NULL, NULL), CLQ_ERROR_INVALID_ARGUMENT);
    clq_file_writer_free(NULL);
    ck_assert_int_eq(io_file_count(), 1);
    clq_context_free(context);
}
END_TEST

/* Sizes that are fine one by one. */
START_TEST(sum_overflows)
{
    int64_t index;
    clq_context *context = io_context(NULL);
    clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, "a", "U8", 1, (int64_t[]){INT64_MAX}, &index));
    ck_assert_int_eq(clq_file_writer_write(context, writer, index, INT64_MAX - 1, 1, "x"), CLQ_ERROR_OVERFLOW);
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, "b", "U8", 1, (int64_t[]){INT64_MAX}, &index));
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_OVERFLOW);
    TEST_CHECK(strstr(clq_context_error(context), "the tensors' bytes together overflow") != NULL, "%s",
               clq_context_error(context));
    clq_file_writer_free(writer);
    ck_assert_int_eq(io_file_count(), 0);
    clq_context_free(context);
}
END_TEST

/* A header beyond what readers accept. */
START_TEST(header_too_large)
{
    const size_t size = 50000000;
    char *text = malloc(size + 1);
    clq_context *context = io_context(NULL);
    TEST_CHECK(text != NULL, "no memory");
    memset(text, 'x', size);
    text[size] = '\0';
    clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    TEST_OK(context, clq_file_writer_add_metadata(context, writer, "a", text));
    TEST_OK(context, clq_file_writer_add_metadata(context, writer, "b", text));
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_OVERFLOW);
    TEST_CHECK(strstr(clq_context_error(context), "bytes, at most 100000000") != NULL, "%s", clq_context_error(context));
    clq_file_writer_free(writer);
    free(text);
    clq_context_free(context);
}
END_TEST

/* Many tensors: the tables grow, and names that differ little are kept apart. */
START_TEST(many)
{
    enum { COUNT = 2000 };
    int64_t indices[COUNT];
    char name[16];
    clq_context *context = io_context(NULL);
    clq_file_writer *writer = create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "t%d", i);
        TEST_OK(context, clq_file_writer_add_tensor(context, writer, name, "U16", 0, NULL, &indices[i]));
        ck_assert_int_eq(clq_file_writer_add_tensor(context, writer, name, "U16", 0, NULL, &indices[i]),
                         CLQ_ERROR_INVALID_ARGUMENT);
    }
    for (int i = 0; i < COUNT; i++) {
        const unsigned char value[2] = {(unsigned char)i, (unsigned char)(i >> 8)};
        TEST_OK(context, clq_file_writer_write(context, writer, indices[i], 0, 2, value));
    }
    TEST_OK(context, clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
    clq_file *file;
    TEST_OK(context, clq_file_open(context, io_path("o.safetensors"), &file));
    ck_assert_int_eq(clq_file_tensor_count(file), COUNT);
    for (int i = 0; i < COUNT; i++) {
        unsigned char value[2];
        snprintf(name, sizeof name, "t%d", i);
        TEST_OK(context, clq_file_read(context, file, clq_file_find_tensor(file, name), 0, 2, value));
        ck_assert_int_eq(value[0] | value[1] << 8, i);
    }
    clq_file_close(file);
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_write");
    TCase *tcase = io_case(suite, "bytes");
    tcase_add_test(tcase, npy_bytes);
    tcase_add_test(tcase, npy_padding);
    tcase = io_case(suite, "safetensors");
    tcase_add_test(tcase, safetensors_bytes);
    tcase_add_test(tcase, safetensors_empty);
    tcase_add_test(tcase, any_order);
    tcase_add_test(tcase, header_too_large);
    tcase_add_test(tcase, many);
    tcase_add_test(io_case(suite, "incomplete"), incomplete);
    tcase_add_test(io_case(suite, "modes"), modes);
    tcase_add_test(io_case(suite, "links"), links);
    tcase_add_test(io_case(suite, "targets"), targets);
    tcase_add_test(io_case(suite, "rename fails"), rename_fails);
    tcase_add_test(io_case(suite, "two writers"), two_writers);
    tcase_add_test(io_case(suite, "misuse"), misuse);
    tcase_add_test(io_case(suite, "sum overflows"), sum_overflows);
    return test_run(suite);
}
