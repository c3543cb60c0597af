/* SPDX-License-Identifier: MIT */
/* Reading tensor files: every spelling that is allowed, checkpoints, and the whole reading API. */
#include "config.h"

#include "io_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a file that must be fine. */
static clq_file *open_file(clq_context *context, const char *path)
{
    clq_file *file;
    test_note("%s", path);
    TEST_OK(context, clq_file_open(context, path, &file));
    return file;
}

static void check_tensor(const clq_file_tensor *tensor, const char *name, const char *dtype_name, clq_dtype dtype, int32_t rank,
                         const int64_t *shape, int64_t size_bytes)
{
    TEST_CHECK(tensor != NULL && tensor->shape != NULL, "no tensor, or one without a shape");
    ck_assert_str_eq(tensor->name, name);
    ck_assert_str_eq(tensor->dtype_name, dtype_name);
    ck_assert_int_eq(tensor->dtype, dtype);
    ck_assert_int_eq(tensor->rank, rank);
    int64_t count = 1;
    for (int32_t d = 0; d < rank; d++) {
        ck_assert_int_eq(tensor->shape[d], shape[d]);
        count *= shape[d];
    }
    ck_assert_int_eq(tensor->element_count, count);
    ck_assert_int_eq(tensor->size_bytes, size_bytes);
    ck_assert_int_eq(tensor->element_bits * count, size_bytes * 8);
}

/* The data of io_put_safetensors() and io_put_npy() counts upwards. */
static void check_data(clq_context *context, clq_file *file, int64_t index, int first)
{
    unsigned char bytes[256];
    const int64_t size = clq_file_get_tensor(file, index)->size_bytes;
    TEST_OK(context, clq_file_read(context, file, index, 0, size, bytes));
    for (int64_t i = 0; i < size; i++)
        ck_assert_int_eq(bytes[i], first + i);
}

START_TEST(npy_spellings)
{
    static const struct {
        int major;
        const char *dictionary, *descr;
        clq_dtype dtype;
        int32_t rank;
        int64_t shape[4];
        size_t data_bytes;
    } cases[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", "<f4", CLQ_F32, 2, {2, 3}, 24},
        {2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", "<f4", CLQ_F32, 2, {2, 3}, 24},
        {3, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", "<f4", CLQ_F32, 2, {2, 3}, 24},
        {1, "{\"shape\":(2,),\"descr\":\"<f2\",\"fortran_order\":False}", "<f2", CLQ_F16, 1, {2}, 4},
        {1, " {\n'fortran_order'\t: False ,\r\n 'shape' : ( 2 , 3 , ) , 'descr' : '<f8' , } ", "<f8", CLQ_F64, 2, {2, 3}, 48},
        {1, "{'descr': '|i1', 'fortran_order': False, 'shape': ()}", "|i1", CLQ_S8, 0, {0}, 1},
        {1, "{'descr': '|u1', 'fortran_order': False, 'shape': (0,)}", "|u1", CLQ_U8, 1, {0}, 0},
        {1, "{'descr': '>u1', 'fortran_order': False, 'shape': (5,)}", ">u1", CLQ_U8, 1, {5}, 5},
        {1,
         "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 0, 4611686018427387903)}",
         "<i2",
         CLQ_S16,
         3,
         {1, 0, INT64_MAX / 2},
         0},
        {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (1,)}", "<u2", CLQ_U16, 1, {1}, 2},
        {1, "{'descr': '=i4', 'fortran_order': False, 'shape': (1,)}", "=i4", CLQ_S32, 1, {1}, 4},
        {1, "{'descr': 'u4', 'fortran_order': False, 'shape': (1,)}", "u4", CLQ_DTYPE_NONE, 1, {1}, 4},
        {1, "{'descr': '<i8', 'fortran_order': False, 'shape': (1,)}", "<i8", CLQ_S64, 1, {1}, 8},
        {1, "{'descr': '<u8', 'fortran_order': False, 'shape': (1,)}", "<u8", CLQ_DTYPE_NONE, 1, {1}, 8},
        {1, "{'descr': '|b1', 'fortran_order': False, 'shape': (7,)}", "|b1", CLQ_DTYPE_NONE, 1, {7}, 7},
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}", "<f4", CLQ_F32, 2, {2, 3}, 24},
        {2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,)}", "<f4", CLQ_F32, 1, {2}, 8},
    };
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        clq_file *file = open_file(context, io_put_npy("a.b.npy", cases[i].major, cases[i].dictionary, cases[i].data_bytes));
        test_note("%s", cases[i].dictionary);
        ck_assert_int_eq(clq_file_get_format(file), CLQ_FILE_NPY);
        ck_assert_int_eq(clq_file_tensor_count(file), 1);
        check_tensor(clq_file_get_tensor(file, 0), "a.b", cases[i].descr, cases[i].dtype, cases[i].rank, cases[i].shape,
                     (int64_t)cases[i].data_bytes);
        check_data(context, file, 0, 0);
        ck_assert_int_eq(clq_file_find_tensor(file, "a.b"), 0);
        ck_assert_ptr_null(clq_file_get_metadata(file, "format"));
        clq_file_close(file);
    }
    clq_context_free(context);
}
END_TEST

START_TEST(safetensors_rank_64)
{
    char json[512];
    clq_context *context = io_context(NULL);
    for (int rank = 64; rank <= 65; rank++) {
        char *end = json + sprintf(json, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1");
        for (int i = 1; i < rank; i++)
            end += sprintf(end, ",1");
        sprintf(end, "],\"data_offsets\":[0,1]}}");
        const char *path = io_put_safetensors("t.safetensors", json, 1);
        if (rank == 64)
            TEST_OK(context, io_read_all(context, path));
        else
            io_check_refused(context, path, CLQ_ERROR_FORMAT, "tensor \"a\": the shape has more than 64 extents");
    }
    clq_context_free(context);
}
END_TEST

/* The tensor of a .npy is called what the file is. */
START_TEST(npy_names)
{
    static const char *const names[][2] = {
        {"x.npy", "x"}, {"x", "x"}, {".npy", ".npy"}, {"v1.2", "v1"}, {"\xc3\xa4 b.npy", "\xc3\xa4 b"}};
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(names); i++) {
        const char *path = io_put_npy(names[i][0], 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", 1);
        clq_file *file = open_file(context, path);
        ck_assert_str_eq(clq_file_get_tensor(file, 0)->name, names[i][1]);
        ck_assert_str_eq(clq_file_get_tensor(file, 0)->file_path, path);
        clq_file_close(file);
    }
    clq_context_free(context);
}
END_TEST

START_TEST(npy_rank_64)
{
    char dictionary[512] = "{'descr': '|u1', 'fortran_order': False, 'shape': (";
    clq_context *context = io_context(NULL);
    for (int i = 0; i < 64; i++)
        strcat(dictionary, "1, ");
    const size_t size = strlen(dictionary);
    strcat(dictionary, ")}");
    clq_file *file = open_file(context, io_put_npy("x.npy", 1, dictionary, 1));
    ck_assert_int_eq(clq_file_get_tensor(file, 0)->rank, CLQ_FILE_MAX_RANK);
    ck_assert_int_eq(clq_file_get_tensor(file, 0)->shape[63], 1);
    clq_file_close(file);
    strcpy(dictionary + size, "1)}");
    io_check_refused(context, io_put_npy("x.npy", 1, dictionary, 1), CLQ_ERROR_FORMAT, "more than 64 extents");
    clq_context_free(context);
}
END_TEST

START_TEST(safetensors_all_types)
{
    static const struct {
        const char *name;
        clq_dtype dtype;
        int bits;
    } types[] = {
        {"BOOL", CLQ_DTYPE_NONE, 8},
        {"F4", CLQ_DTYPE_NONE, 4},
        {"F6_E2M3", CLQ_DTYPE_NONE, 6},
        {"F6_E3M2", CLQ_DTYPE_NONE, 6},
        {"U8", CLQ_U8, 8},
        {"I8", CLQ_S8, 8},
        {"F8_E5M2", CLQ_DTYPE_NONE, 8},
        {"F8_E4M3", CLQ_DTYPE_NONE, 8},
        {"F8_E8M0", CLQ_DTYPE_NONE, 8},
        {"F8_E4M3FNUZ", CLQ_DTYPE_NONE, 8},
        {"F8_E5M2FNUZ", CLQ_DTYPE_NONE, 8},
        {"I16", CLQ_S16, 16},
        {"U16", CLQ_U16, 16},
        {"F16", CLQ_F16, 16},
        {"BF16", CLQ_BF16, 16},
        {"I32", CLQ_S32, 32},
        {"U32", CLQ_DTYPE_NONE, 32},
        {"F32", CLQ_F32, 32},
        {"C64", CLQ_DTYPE_NONE, 64},
        {"F64", CLQ_F64, 64},
        {"I64", CLQ_S64, 64},
        {"U64", CLQ_DTYPE_NONE, 64},
    };
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(types); i++) {
        char json[256];
        const int64_t shape[2] = {2, 4};
        snprintf(json, sizeof json, "{\"t\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%d]}}", types[i].name,
                 types[i].bits);
        clq_file *file = open_file(context, io_put_safetensors("t.safetensors", json, (size_t)types[i].bits));
        ck_assert_int_eq(clq_file_get_format(file), CLQ_FILE_SAFETENSORS);
        check_tensor(clq_file_get_tensor(file, 0), "t", types[i].name, types[i].dtype, 2, shape, types[i].bits);
        check_data(context, file, 0, 0);
        clq_file_close(file);
    }
    clq_context_free(context);
}
END_TEST

/* Tensors in any order, keys in any order, keys that are not needed, escapes, white space, tensors without elements. */
START_TEST(safetensors_spellings)
{
    static const char json[] =
        "{\"last\":{\"shape\":[2],\"data_offsets\":[4,8],\"dtype\":\"F16\"},"
        "\n\"__metadata__\" : { \"format\":\"pt\", \"\\u00e4\\ud83d\\ude00\" : \"a\\n\\\"\\\\\\/\\b\\f\\r\\t\" } ,\t"
        "\"z\":{\"dtype\":\"F4\",\"shape\":[3,0],\"data_offsets\":[4,4]},"
        "\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],"
        "\"more\":[1,-2.5e+3,true,false,null,{\"a\":[\"b\",{}]},[]]}}  \n\t\r";
    const char *key, *value;
    clq_context *context = io_context(NULL);
    clq_file *file = open_file(context, io_put_safetensors("t.safetensors", json, 8));
    ck_assert_int_eq(clq_file_tensor_count(file), 3);
    check_tensor(clq_file_get_tensor(file, 0), "", "F32", CLQ_F32, 0, NULL, 4);
    check_tensor(clq_file_get_tensor(file, 1), "z", "F4", CLQ_DTYPE_NONE, 2, (int64_t[]){3, 0}, 0);
    check_tensor(clq_file_get_tensor(file, 2), "last", "F16", CLQ_F16, 1, (int64_t[]){2}, 4);
    check_data(context, file, 0, 0);
    check_data(context, file, 2, 4);
    ck_assert_int_eq(clq_file_find_tensor(file, "last"), 2);
    ck_assert_int_eq(clq_file_find_tensor(file, "las"), -1);
    ck_assert_int_eq(clq_file_find_tensor(file, NULL), -1);
    ck_assert_ptr_null(clq_file_get_tensor(file, 3));
    ck_assert_ptr_null(clq_file_get_tensor(file, -1));
    ck_assert_str_eq(clq_file_get_metadata(file, "format"), "pt");
    ck_assert_str_eq(clq_file_get_metadata(file, "\xc3\xa4\xf0\x9f\x98\x80"), "a\n\"\\/\b\f\r\t");
    ck_assert_ptr_null(clq_file_get_metadata(file, "z"));
    ck_assert_ptr_null(clq_file_get_metadata(file, NULL));
    ck_assert_int_eq(clq_file_metadata_at(file, 0, &key, &value), 1);
    ck_assert_str_eq(key, "format");
    ck_assert_str_eq(value, "pt");
    ck_assert_int_eq(clq_file_metadata_at(file, 1, &key, &value), 1);
    ck_assert_int_eq(clq_file_metadata_at(file, 2, &key, &value), 0);
    ck_assert_int_eq(clq_file_metadata_at(file, -1, &key, &value), 0);
    ck_assert_str_eq(value, "a\n\"\\/\b\f\r\t");
    clq_file_close(file);
    clq_context_free(context);
}
END_TEST

START_TEST(safetensors_without_tensors)
{
    static const char *const texts[] = {"{}", "{ }", "{\"__metadata__\":null}", "{\"__metadata__\":{}}",
                                        "{\"__metadata__\":{\"a\":\"b\"}}"};
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(texts); i++) {
        clq_file *file = open_file(context, io_put_safetensors("t.safetensors", texts[i], 0));
        ck_assert_int_eq(clq_file_tensor_count(file), 0);
        ck_assert_ptr_null(clq_file_get_tensor(file, 0));
        ck_assert_int_eq(clq_file_find_tensor(file, "a"), -1);
        clq_file_close(file);
    }
    clq_context_free(context);
}
END_TEST

/* Even where no tensor of the file has extents, a shape is no NULL. */
START_TEST(safetensors_scalar)
{
    clq_context *context = io_context(NULL);
    clq_file *file = open_file(
        context, io_put_safetensors("t.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1));
    check_tensor(clq_file_get_tensor(file, 0), "a", "U8", CLQ_U8, 0, NULL, 1);
    clq_file_close(file);
    clq_context_free(context);
}
END_TEST

/* Many tensors: the tables grow, and every name is found. */
START_TEST(safetensors_many)
{
    enum { COUNT = 3000 };
    char *json = malloc(COUNT * 80), *end = json, name[16];
    clq_context *context = io_context(NULL);
    TEST_CHECK(json != NULL, "no memory");
    for (int i = 0; i < COUNT; i++)
        end += sprintf(end, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1,1],\"data_offsets\":[%d,%d]}", i == 0 ? "{" : ",", i,
                       COUNT - 1 - i, COUNT - i);
    strcpy(end, "}");
    clq_file *file = open_file(context, io_put_safetensors("t.safetensors", json, COUNT));
    for (int i = 0; i < COUNT; i++) {
        unsigned char byte;
        sprintf(name, "t%d", i);
        ck_assert_int_eq(clq_file_find_tensor(file, name), COUNT - 1 - i);
        TEST_OK(context, clq_file_read(context, file, COUNT - 1 - i, 0, 1, &byte));
        ck_assert_int_eq(byte, (COUNT - 1 - i) & 0xff);
    }
    clq_file_close(file);
    clq_context_free(context);
    free(json);
}
END_TEST

START_TEST(read_bounds)
{
    static const struct {
        int64_t index, offset, size;
    } wrong[] = {{-1, 0, 1},        {1, 0, 1},
                 {0, -1, 1},        {0, 9, 0},
                 {0, 0, 9},         {0, 8, 1},
                 {0, 0, -1},        {0, INT64_MAX, INT64_MAX},
                 {0, 1, INT64_MAX}, {0, INT64_MIN, INT64_MIN},
                 {INT64_MIN, 0, 0}};
    unsigned char bytes[9] = {0};
    clq_context *context = io_context(NULL);
    clq_file *file = open_file(
        context, io_put_safetensors("t.safetensors", "{\"t\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8));
    for (size_t i = 0; i < TEST_COUNT_OF(wrong); i++) {
        ck_assert_int_eq(clq_file_read(context, file, wrong[i].index, wrong[i].offset, wrong[i].size, bytes),
                         CLQ_ERROR_INVALID_ARGUMENT);
        TEST_CHECK(strstr(clq_context_error(context), "clq_file_read: ") != NULL, "%s", clq_context_error(context));
    }
    TEST_OK(context, clq_file_read(context, file, 0, 8, 0, bytes));
    TEST_OK(context, clq_file_read(context, file, 0, 0, 0, NULL));
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_int_eq(bytes[i], 0);
    TEST_OK(context, clq_file_read(context, file, 0, 3, 4, bytes + 1));
    ck_assert_mem_eq(bytes, "\0\3\4\5\6\0\0\0\0", 9);
    /* Another process cuts the file short. */
    ck_assert_int_eq(truncate(io_path("t.safetensors"), 20), 0);
    ck_assert_int_eq(clq_file_read(context, file, 0, 0, 8, bytes), CLQ_ERROR_IO);
    TEST_CHECK(strstr(clq_context_error(context), "shrunk") != NULL, "%s", clq_context_error(context));
    clq_file_close(file);
    clq_context_free(context);
}
END_TEST

START_TEST(null_arguments)
{
    char byte;
    clq_context *context = io_context(NULL);
    clq_file *file = (clq_file *)(uintptr_t)1;
    const char *path = io_put_safetensors("t.safetensors", "{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    ck_assert_int_eq(clq_file_open(NULL, path, &file), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(file);
    file = (clq_file *)(uintptr_t)1;
    ck_assert_int_eq(clq_file_open(context, NULL, &file), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(file);
    ck_assert_str_eq(clq_context_error(context), "clq_file_open: path is NULL");
    ck_assert_int_eq(clq_file_open(context, path, NULL), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_str_eq(clq_context_error(context), "clq_file_open: file is NULL");
    file = open_file(context, path);
    ck_assert_int_eq(clq_file_read(NULL, file, 0, 0, 1, &byte), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(clq_file_read(context, NULL, 0, 0, 1, &byte), CLQ_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(clq_file_read(context, file, 0, 0, 1, NULL), CLQ_ERROR_INVALID_ARGUMENT);
    clq_file_close(file);
    clq_file_close(NULL);
    clq_context_free(context);
}
END_TEST

/* ---- checkpoints */

static void put_shards(void)
{
    io_put_safetensors(
        "m-1.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\",\"one\":\"1\"},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
        4);
    io_put_safetensors("m-2.safetensors",
                       "{\"__metadata__\":{\"format\":\"other\",\"two\":\"2\"},\"c\":{\"dtype\":\"F32\",\"shape\":[1],"
                       "\"data_offsets\":[0,4]},\"tied\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[4,5]},"
                       "\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[5,6]}}",
                       6);
}

static const char index_text[] = "{\"metadata\":{\"total_size\":8.5,\"x\":[[]]},\n\"weight_map\":{\"c\":\"m-2.safetensors\",\n"
                                 "\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\"}}\n";

/* The three tensors, and neither the one that the index leaves out nor the second `a`. */
static void check_checkpoint(clq_context *context, const char *path)
{
    clq_file *file = open_file(context, path);
    ck_assert_int_eq(clq_file_get_format(file), CLQ_FILE_SAFETENSORS);
    ck_assert_int_eq(clq_file_tensor_count(file), 3);
    check_tensor(clq_file_get_tensor(file, 0), "a", "U8", CLQ_U8, 1, (int64_t[]){2}, 2);
    check_tensor(clq_file_get_tensor(file, 1), "b", "U8", CLQ_U8, 1, (int64_t[]){2}, 2);
    check_tensor(clq_file_get_tensor(file, 2), "c", "F32", CLQ_F32, 1, (int64_t[]){1}, 4);
    check_data(context, file, 0, 0);
    check_data(context, file, 1, 2);
    check_data(context, file, 2, 0);
    ck_assert_int_eq(clq_file_find_tensor(file, "c"), 2);
    ck_assert_int_eq(clq_file_find_tensor(file, "tied"), -1);
    TEST_CHECK(strstr(clq_file_get_tensor(file, 2)->file_path, "m-2.safetensors") != NULL, "%s",
               clq_file_get_tensor(file, 2)->file_path);
    ck_assert_str_eq(clq_file_get_metadata(file, "format"), "pt");
    ck_assert_str_eq(clq_file_get_metadata(file, "one"), "1");
    ck_assert_str_eq(clq_file_get_metadata(file, "two"), "2");
    TEST_CHECK(strstr(io_warning, "2 tensors of shard \"m-2.safetensors\"") != NULL, "the log says \"%s\"", io_warning);
    clq_file_close(file);
}

START_TEST(checkpoint)
{
    char folder[1024];
    clq_context *context = io_context(NULL);
    put_shards();
    check_checkpoint(context, io_put_text("m.safetensors.index.json", index_text));
    /* Told by its content alone. */
    check_checkpoint(context, io_put_text("renamed", index_text));
    /* Without a folder in the path. */
    snprintf(folder, sizeof folder, "%s", io_path(""));
    TEST_CHECK(chdir(folder) == 0, "chdir");
    check_checkpoint(context, "renamed");
    clq_context_free(context);
}
END_TEST

/* A download cache keeps the files elsewhere and links to them. */
START_TEST(checkpoint_of_links)
{
    static const char *const names[] = {"m-1.safetensors", "m-2.safetensors", "m.safetensors.index.json"};
    char target[64], link[64];
    clq_context *context = io_context(NULL);
    put_shards();
    io_put_text(names[2], index_text);
    TEST_CHECK(mkdir(io_path("snapshot"), 0777) == 0 && mkdir(io_path("blobs"), 0777) == 0, "mkdir");
    for (int i = 0; i < 3; i++) {
        snprintf(target, sizeof target, "blobs/%d", i);
        TEST_CHECK(rename(io_path(names[i]), io_path(target)) == 0, "rename");
        snprintf(target, sizeof target, "../blobs/%d", i);
        snprintf(link, sizeof link, "snapshot/%s", names[i]);
        TEST_CHECK(symlink(target, io_path(link)) == 0, "symlink");
    }
    check_checkpoint(context, io_path("snapshot/m.safetensors.index.json"));
    clq_context_free(context);
}
END_TEST

/* Shards come in the order of their names, and an index may be empty. */
START_TEST(checkpoint_order)
{
    enum { SHARDS = 40 };
    char json[4096] = "{\"weight_map\":{", name[64], line[128];
    clq_context *context = io_context(NULL);
    for (int i = 0; i < SHARDS; i++) {
        const int shard = i * 7 % SHARDS;
        snprintf(line, sizeof line, "%s\"t%02d\":\"s%02d.safetensors\"", i == 0 ? "" : ",", shard, shard);
        strcat(json, line);
        snprintf(line, sizeof line, "{\"t%02d\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", shard, shard, shard);
        snprintf(name, sizeof name, "s%02d.safetensors", shard);
        io_put_safetensors(name, line, (size_t)shard);
    }
    strcat(json, "}}");
    clq_file *file = open_file(context, io_put_text("i.index.json", json));
    ck_assert_int_eq(clq_file_tensor_count(file), SHARDS);
    for (int i = 0; i < SHARDS; i++)
        ck_assert_int_eq(clq_file_get_tensor(file, i)->shape[0], i);
    clq_file_close(file);
    file = open_file(context, io_put_text("i.index.json", "{\"weight_map\":{}}"));
    ck_assert_int_eq(clq_file_tensor_count(file), 0);
    clq_file_close(file);
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_read");
    TCase *tcase = io_case(suite, "npy");
    tcase_add_test(tcase, npy_spellings);
    tcase_add_test(tcase, npy_names);
    tcase_add_test(tcase, npy_rank_64);
    tcase = io_case(suite, "safetensors");
    tcase_add_test(tcase, safetensors_all_types);
    tcase_add_test(tcase, safetensors_rank_64);
    tcase_add_test(tcase, safetensors_spellings);
    tcase_add_test(tcase, safetensors_without_tensors);
    tcase_add_test(tcase, safetensors_scalar);
    tcase_add_test(tcase, safetensors_many);
    tcase_add_test(tcase, read_bounds);
    tcase_add_test(tcase, null_arguments);
    tcase = io_case(suite, "checkpoint");
    tcase_add_test(tcase, checkpoint);
    tcase_add_test(tcase, checkpoint_order);
    tcase = io_case(suite, "checkpoint of links");
    tcase_add_test(tcase, checkpoint_of_links);
    return test_run(suite);
}
