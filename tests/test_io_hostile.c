/* SPDX-License-Identifier: MIT */
/* Files that lie: each is refused with the right status and a line that names file and fault; nothing crashes, leaks or stays
 * open. */
#include "config.h"

#include "io_support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A tensor's entry with these fields. */
#define ENTRY(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE                          "\"a\":" ENTRY("\"U8\"", "[1]", "[0,1]")

struct text_case {
    const char *text;
    size_t data_bytes;
    const char *fault;
};

static const struct text_case safetensors_cases[] = {
    /* Not the JSON it must be. */
    {"", 0, "byte 8: the header must begin with '{'"},
    {" {}", 0, "must begin with '{'"},
    {"[]", 0, "must begin with '{'"},
    {"{", 0, "byte 9: a string was expected"},
    {"{}x", 0, "byte 10: text behind the end"},
    {"{}{}", 0, "text behind the end"},
    {"{\"a\"", 0, "':' was expected"},
    {"{\"a\":", 0, "an object was expected"},
    {"{\"a\":1}", 0, "an object was expected"},
    {"{\"a\":[]}", 0, "an object was expected"},
    {"{\"a\":null}", 0, "an object was expected"},
    {"{a:1}", 0, "a string was expected"},
    {"{'a':1}", 0, "a string was expected"},
    {"{,}", 0, "a string was expected"},
    {"{" ONE ",}", 1, "a comma with nothing behind it"},
    {"{" ONE " \"b\":{}}", 1, "',' or '}' was expected"},
    {"{" ONE "]", 1, "',' or '}' was expected"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1 1]}}", 0, "',' or ']' was expected"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,]}}", 0, "a comma with nothing behind it"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[,1]}}", 0, "an integer from 0"},
    /* Strings. */
    {"{\"a", 0, "the text ends inside a string"},
    {"{\"a\\", 0, "an unknown escape"},
    {"{\"a\\x\":1}", 0, "an unknown escape"},
    {"{\"a\\u00\":1}", 0, "four hexadecimal digits"},
    {"{\"a\\u00", 0, "four hexadecimal digits"},
    {"{\"a\\u0000b\":1}", 0, "a NUL in a string"},
    {"{\"a\\ud800\":1}", 0, "half a surrogate pair"},
    {"{\"a\\ud800\\u0041\":1}", 0, "half a surrogate pair"},
    {"{\"a\\ud800\\ud800\":1}", 0, "half a surrogate pair"},
    {"{\"a\\udc00\":1}", 0, "half a surrogate pair"},
    {"{\"a\nb\":1}", 0, "a control character"},
    {"{\"a\x1f\":1}", 0, "a control character"},
    {"{\"\x80\":1}", 0, "not UTF-8"},
    {"{\"\xc0\x80\":1}", 0, "not UTF-8"},
    {"{\"\xc1\xbf\":1}", 0, "not UTF-8"},
    {"{\"\xc3\":1}", 0, "not UTF-8"},
    {"{\"\xe0\x9f\xbf\":1}", 0, "not UTF-8"},
    {"{\"\xed\xa0\x80\":1}", 0, "not UTF-8"},
    {"{\"\xf0\x8f\xbf\xbf\":1}", 0, "not UTF-8"},
    {"{\"\xf4\x90\x80\x80\":1}", 0, "not UTF-8"},
    {"{\"\xf5\x80\x80\x80\":1}", 0, "not UTF-8"},
    {"{\"\xff\":1}", 0, "not UTF-8"},
    {"{\"\xe2\x82", 0, "not UTF-8"},
    /* Values that are passed over must be JSON too, and flat. */
    {"{\"a\":{\"x\":tru}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":truefalse}}", 0, "',' or '}' was expected"},
    {"{\"a\":{\"x\":01}}", 0, "',' or '}' was expected"},
    {"{\"a\":{\"x\":-}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":1.}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":.5}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":1e}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":NaN}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":}}", 0, "not a JSON value"},
    {"{\"a\":{\"x\":[[[[[[[[[[", 0, "nested too deep"},
    {"{\"a\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":{\"x\":1}}}}}}}}}}", 0, "nested too deep"},
    /* Fields. */
    {"{\"a\":{}}", 0, "is missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "is missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "is missing"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "is missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "is there twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "is there twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"data_offsets\":[0,1]}}", 1, "is there twice"},
    {"{\"a\":" ENTRY("\"F128\"", "[1]", "[0,16]") "}", 16, "unknown dtype \"F128\""},
    {"{\"a\":" ENTRY("\"f32\"", "[1]", "[0,4]") "}", 4, "unknown dtype \"f32\""},
    {"{\"a\":" ENTRY("\"\\u001b[2J\"", "[1]", "[0,4]") "}", 4, "unknown dtype \"?[2J\""},
    {"{\"a\":" ENTRY("8", "[1]", "[0,1]") "}", 1, "a string was expected"},
    {"{\"a\":" ENTRY("null", "[1]", "[0,1]") "}", 1, "a string was expected"},
    {"{\"a\":" ENTRY("\"U8\"", "1", "[0,1]") "}", 1, "an array was expected"},
    {"{\"a\":" ENTRY("\"U8\"", "[-1]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[1.0]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[1e0]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[01]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[\"1\"]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[[1]]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[9223372036854775808]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[18446744073709551615]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[18446744073709551617]", "[0,1]") "}", 1, "an integer from 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[0]") "}", 1, "needs two numbers"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[]") "}", 1, "needs two numbers"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[0,1,2]") "}", 1, "needs two numbers"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "1") "}", 1, "an array was expected"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[-1,0]") "}", 1, "an integer from 0"},
    /* Sizes. */
    {"{\"a\":" ENTRY("\"U8\"", "[9223372036854775807,9223372036854775807]", "[0,1]") "}", 1, "overflows"},
    {"{\"a\":" ENTRY("\"U8\"", "[4294967296,4294967296]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" ENTRY("\"F64\"", "[2305843009213693952]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" ENTRY("\"F4\"", "[4611686018427387904]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" ENTRY("\"U8\"", "[0,4294967296,4294967296]", "[0,0]") "}", 0, "overflows"},
    {"{\"a\":" ENTRY("\"F4\"", "[3]", "[0,2]") "}", 2, "do not end on a byte"},
    {"{\"a\":" ENTRY("\"F6_E2M3\"", "[3]", "[0,3]") "}", 3, "do not end on a byte"},
    {"{\"a\":" ENTRY("\"U8\"", "[2]", "[0,1]") "}", 1, "[0, 1] are 1 bytes, shape and dtype 2"},
    {"{\"a\":" ENTRY("\"F32\"", "[1]", "[0,3]") "}", 3, "are 3 bytes, shape and dtype 4"},
    {"{\"a\":" ENTRY("\"U8\"", "[0]", "[0,1]") "}", 1, "are 1 bytes, shape and dtype 0"},
    {"{\"a\":" ENTRY("\"U8\"", "[]", "[0,0]") "}", 0, "are 0 bytes, shape and dtype 1"},
    /* Places. */
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[1,0]") "}", 1, "out of bounds"},
    {"{\"a\":" ENTRY("\"U8\"", "[2]", "[0,2]") "}", 1, "[0, 2] are out of bounds: the file has 1 bytes"},
    {"{\"a\":" ENTRY("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]") "}", 1, "out of bounds"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[9223372036854775806,9223372036854775807]") "}", 1, "out of bounds"},
    {"{\"a\":" ENTRY("\"U8\"", "[0]", "[5,5]") "}", 1, "out of bounds"},
    {"{" ONE "}", 2, "the tensors cover 1 bytes, the file has 2"},
    {"{}", 1, "the tensors cover 0 bytes, the file has 1"},
    {"{\"a\":" ENTRY("\"U8\"", "[1]", "[1,2]") "}", 2, "begins at 1, behind a hole"},
    {"{" ONE ",\"b\":" ENTRY("\"U8\"", "[1]", "[2,3]") "}", 3, "tensor \"b\": its data begins at 2, behind a hole"},
    {"{" ONE ",\"b\":" ENTRY("\"U8\"", "[1]", "[0,1]") "}", 1, "overlapping another's"},
    {"{" ONE ",\"b\":" ENTRY("\"U8\"", "[2]", "[0,2]") "}", 2, "overlapping another's"},
    {"{\"a\":" ENTRY("\"U8\"", "[3]", "[0,3]") ",\"b\":" ENTRY("\"U8\"", "[2]", "[2,4]") "}", 4, "overlapping another's"},
    {"{\"a\":" ENTRY("\"U8\"", "[3]", "[0,3]") ",\"b\":" ENTRY("\"U8\"", "[0]", "[1,1]") "}", 3, "overlapping another's"},
    /* Names. */
    {"{" ONE ",\"a\":" ENTRY("\"U8\"", "[1]", "[1,2]") "}", 2, "tensor \"a\" is there twice"},
    {"{" ONE ",\"\\u0061\":" ENTRY("\"U8\"", "[1]", "[1,2]") "}", 2, "tensor \"a\" is there twice"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "the key \"k\" is in __metadata__ twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice"},
    {"{\"__metadata__\":[]}", 0, "an object was expected"},
    {"{\"__metadata__\":\"a\"}", 0, "an object was expected"},
    {"{\"__metadata__\":nul}", 0, "an object was expected"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "a string was expected"},
    {"{\"__metadata__\":{\"k\":null}}", 0, "a string was expected"},
    {"{\"__metadata__\":{\"k\":{\"l\":\"m\"}}}", 0, "a string was expected"},
};

static const struct text_case npy_cases[] = {
    {"", 0, "must be a dictionary"},
    {"[]", 0, "must be a dictionary"},
    {"{}", 0, "is missing"},
    {"{'descr': '<f4', 'fortran_order': False}", 4, "is missing"},
    {"{'descr': '<f4', 'shape': (1,)}", 4, "is missing"},
    {"{'fortran_order': False, 'shape': (1,)}", 4, "is missing"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'descr': '<f4'}", 4, "is there twice"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4, "none of descr"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, "',' or '}' was expected"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, "text behind the dictionary"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}#", 4, "text behind the dictionary"},
    {"{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}", 4, "',' or '}' was expected"},
    {"{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "':' was expected"},
    {"{,'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "a string was expected"},
    {"{'descr': '<f4',, 'fortran_order': False, 'shape': (1,)}", 4, "a string was expected"},
    {"{descr: '<f4', 'fortran_order': False, 'shape': (1,)}", 4, "a string was expected"},
    {"{'descr': '<f4\", 'fortran_order': False, 'shape': (1,)}", 4, "',' or '}' was expected"},
    {"{'descr': '<f4", 4, "the string does not end"},
    {"{'descr': '<f4\n', 'fortran_order': False, 'shape': (1,)}", 4, "the string does not end"},
    {"{'descr': '<\\x664', 'fortran_order': False, 'shape': (1,)}", 4, "an escape in a string"},
    {"{'descr': 4, 'fortran_order': False, 'shape': (1,)}", 4, "a string was expected"},
    {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, "True or False was expected"},
    {"{'descr': '<f4', 'fortran_order': 'False', 'shape': (1,)}", 4, "True or False was expected"},
    {"{'descr': '<f4', 'fortran_order': Falsehood, 'shape': (1,)}", 4, "',' or '}' was expected"},
    {"{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", 4, "refused: Fortran-order data (<f4)"},
    {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", 4, "refused: big-endian data (>f4)"},
    {"{'descr': '>f8', 'fortran_order': True, 'shape': (1,)}", 8, "refused: big-endian data (>f8)"},
    {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, "refused: Python objects (|O)"},
    {"{'descr': '|V4', 'fortran_order': False, 'shape': (1,)}", 4, "refused: raw or structured data"},
    {"{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", 4, "refused: text (<U1)"},
    {"{'descr': '|S4', 'fortran_order': False, 'shape': (1,)}", 4, "refused: text (|S4)"},
    {"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}", 8, "refused: dates"},
    {"{'descr': '<m8[s]', 'fortran_order': False, 'shape': (1,)}", 8, "refused: spans of time"},
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", 8, "refused: complex numbers (<c8)"},
    {"{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}", 16, "refused: unknown data (<f16)"},
    {"{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}", 3, "refused: unknown data (<f3)"},
    {"{'descr': 'float32', 'fortran_order': False, 'shape': (1,)}", 4, "refused: unknown data (float32)"},
    {"{'descr': '<<f4', 'fortran_order': False, 'shape': (1,)}", 4, "refused: unknown data (<<f4)"},
    {"{'descr': '', 'fortran_order': False, 'shape': (1,)}", 4, "refused: unknown data ()"},
    {"{'descr': '<', 'fortran_order': False, 'shape': (1,)}", 4, "refused: unknown data (<)"},
    {"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, "refused: structured data"},
    {"{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (1,)}", 8, "refused: a dtype with a shape"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': 1}", 4, "must be a tuple"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", 4, "must be a tuple"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", 4, "a tuple of one needs a comma"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,,2)}", 8, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}", 8, "',' or ')' was expected"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (+1,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,)}", 4, "',' or ')' was expected"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (0x1,)}", 4, "',' or ')' was expected"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1_0,)}", 40, "',' or ')' was expected"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (01,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': ('1',)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': ((1,),)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551617,)}", 4, "an extent must be"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807,)}", 4, "overflows"},
    {"{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807,)}", 4, "9223372036854775807 bytes, the file has 4"},
    {"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0, "overflows"},
    {"{'descr': '|u1', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296)}", 0, "overflows"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 7, "are 8 bytes, the file has 7"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 9, "are 8 bytes, the file has 9"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 0, "are 4 bytes, the file has 0"},
};

static const struct text_case index_cases[] = {
    {"{}", 0, "no weight_map"},
    {"{\"a\":1}", 0, "no weight_map"},
    {"{\"weight_map\":[]}", 0, "an object was expected"},
    {"{\"weight_map\":{\"a\":1}}", 0, "a string was expected"},
    {"{\"weight_map\":{},\"weight_map\":{}}", 0, "weight_map is there twice"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\",\"a\":\"m.safetensors\"}}", 0, "tensor \"a\" is there twice"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\"}", 0, "',' or '}' was expected"},
    {"{\"weight_map\":{\"a\":\"m.safetensors\"}}}", 0, "text behind the end"},
    {"{\"weight_map\":{\"a\":\"../m.safetensors\"}}", 0, "outside the index's folder"},
    {"{\"weight_map\":{\"a\":\"/m.safetensors\"}}", 0, "outside the index's folder"},
    {"{\"weight_map\":{\"a\":\"./m.safetensors\"}}", 0, "outside the index's folder"},
    {"{\"weight_map\":{\"a\":\"..\\\\m.safetensors\"}}", 0, "outside the index's folder"},
    {"{\"weight_map\":{\"a\":\"..\"}}", 0, "not a .safetensors file"},
    {"{\"weight_map\":{\"a\":\"\"}}", 0, "not a .safetensors file"},
    {"{\"weight_map\":{\"a\":\".safetensors\"}}", 0, "not a .safetensors file"},
    {"{\"weight_map\":{\"a\":\"m.bin\"}}", 0, "shard \"m.bin\": not a .safetensors file"},
    {"{\"weight_map\":{\"a\":\"m\\u001b[2J.safetensors\"}}", 0, "a control character in its name"},
    {"{\"weight_map\":{\"z\":\"m.safetensors\"}}", 0, "tensor \"z\" is not in its shard \"m.safetensors\""},
    {"{\"weight_map\":{\"a\":\"n.safetensors\"}}", 0, "tensor \"a\" is not in its shard \"n.safetensors\""},
    {"{\"weight_map\":{\"a\":\"broken.safetensors\"}}", 0, "the tensors cover"},
    {"{\"weight_map\":{\"a\":\"double.safetensors\"}}", 0, "tensor \"x\" is there twice"},
    {"{\"x\":[[[[[[[[[]]]]]]]]]}", 0, "nested too deep"},
    {"{\"weight_map\":{\"a\":\"m.safe\\u0000tensors\"}}", 0, "a NUL in a string"},
};

START_TEST(safetensors_texts)
{
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(safetensors_cases); i++) {
        const struct text_case *c = &safetensors_cases[i];
        test_note("%s", c->text);
        io_check_refused(context, io_put_safetensors("t.safetensors", c->text, c->data_bytes), CLQ_ERROR_FORMAT, c->fault);
    }
    clq_context_free(context);
}
END_TEST

START_TEST(npy_texts)
{
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(npy_cases); i++) {
        const struct text_case *c = &npy_cases[i];
        test_note("%s", c->text);
        for (int major = 1; major <= 3; major++)
            io_check_refused(context, io_put_npy("t.npy", major, c->text, c->data_bytes), CLQ_ERROR_FORMAT, c->fault);
    }
    io_check_refused(context, io_put_npy("t.npy", 3, "{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}", 4),
                     CLQ_ERROR_FORMAT, "',' or ')' was expected");
    clq_context_free(context);
}
END_TEST

START_TEST(index_texts)
{
    clq_context *context = io_context(NULL);
    io_put_safetensors("m.safetensors", "{" ONE "}", 1);
    io_put_safetensors("n.safetensors", "{}", 0);
    io_put_safetensors("broken.safetensors", "{" ONE "}", 2);
    io_put_safetensors("double.safetensors",
                       "{\"x\":" ENTRY("\"U8\"", "[0]", "[0,0]") ",\"x\":" ENTRY("\"U8\"", "[0]", "[0,0]") "}", 0);
    for (size_t i = 0; i < TEST_COUNT_OF(index_cases); i++) {
        const struct text_case *c = &index_cases[i];
        clq_file *file;
        test_note("%s", c->text);
        /* The line may name the shard instead of the index, so that only the fault is looked for. */
        ck_assert_int_eq(clq_file_open(context, io_put_text("m.index.json", c->text), &file), CLQ_ERROR_FORMAT);
        ck_assert_ptr_null(file);
        TEST_CHECK(strstr(clq_context_error(context), c->fault) != NULL, "\"%s\" does not say \"%s\"", clq_context_error(context),
                   c->fault);
    }
    io_check_refused(context, io_put_text("m.index.json", ""), CLQ_ERROR_FORMAT, "an object was expected");
    io_check_refused(context, io_put_text("m.index.json", "\xef\xbb\xbf{}"), CLQ_ERROR_FORMAT, "an object was expected");
    io_put_text("m.index.json", "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
    clq_file *file;
    ck_assert_int_eq(clq_file_open(context, io_path("m.index.json"), &file), CLQ_ERROR_IO);
    TEST_CHECK(strstr(clq_context_error(context), "gone.safetensors: No such file") != NULL, "%s", clq_context_error(context));
    clq_context_free(context);
}
END_TEST

/* The limit is on shards and on their headers together. */
START_TEST(index_of_too_many)
{
    clq_context *context = io_context(NULL);
    const size_t size = 64 * (CLQ_FILE_MAX_SHARDS + 2);
    char *json = malloc(size), *end = json;
    TEST_CHECK(json != NULL, "no memory");
    end += sprintf(end, "{\"weight_map\":{");
    for (int i = 0; i <= CLQ_FILE_MAX_SHARDS; i++)
        end += sprintf(end, "%s\"t%d\":\"%d.safetensors\"", i == 0 ? "" : ",", i, i);
    end += sprintf(end, "}}");
    io_check_refused(context, io_put("i.index.json", json, (size_t)(end - json)), CLQ_ERROR_FORMAT, "more than 4096 shards");
    free(json);
    clq_context_free(context);
}
END_TEST

/* Valid files, cut at every byte, and one byte too long. */
static void check_truncations(clq_context *context, const char *name)
{
    size_t size;
    unsigned char *const bytes = io_get(io_path(name), &size);
    TEST_OK(context, io_read_all(context, io_path(name)));
    for (size_t cut = 0; cut < size; cut++) {
        test_note("%s cut to %zu bytes", name, cut);
        io_check_refused(context, io_put("cut", bytes, cut), CLQ_ERROR_FORMAT, "");
    }
    bytes[size] = 0;
    io_check_refused(context, io_put("cut", bytes, size + 1), CLQ_ERROR_FORMAT, "");
    free(bytes);
}

/* Valid files with every byte set to every of some values: no crash, and what opens can be read. */
static void check_damage(clq_context *context, const char *name)
{
    static const unsigned char values[] = {0,   1,   0x7f, 0x80, 0xff, '"', '\'', '\\', '{', '}', '[',
                                           ']', '(', ')',  ',',  ':',  '0', '9',  '-',  ' ', 'L'};
    size_t size;
    unsigned char *const bytes = io_get(io_path(name), &size);
    for (size_t at = 0; at < size; at++) {
        const unsigned char old = bytes[at];
        for (size_t i = 0; i < sizeof values; i++) {
            bytes[at] = values[i];
            test_note("%s with byte %zu set to %#x", name, at, values[i]);
            const clq_status status = io_read_all(context, io_put("damaged", bytes, size));
            TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_FORMAT || status == CLQ_ERROR_IO, "%s", clq_status_name(status));
        }
        bytes[at] = old;
    }
    free(bytes);
}

static void put_valid_files(void)
{
    io_put_safetensors("v.safetensors",
                       "{\"__metadata__\":{\"a\":\"\\u00e9\"},\"x\":" ENTRY("\"F32\"", "[2,1]", "[0,8]") ",\"y\":" ENTRY(
                           "\"I8\"", "[3]", "[8,11]") "}",
                       11);
    io_put_npy("v.npy", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", 24);
    io_put_npy("w.npy", 2, "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }  \n", 12);
    io_put_text("v.index.json", "{\"metadata\":{},\"weight_map\":{\"x\":\"v.safetensors\",\"y\":\"v.safetensors\"}}");
}

START_TEST(truncated)
{
    clq_context *context = io_context(NULL);
    put_valid_files();
    check_truncations(context, "v.safetensors");
    check_truncations(context, "v.npy");
    check_truncations(context, "w.npy");
    clq_context_free(context);
}
END_TEST

/* An index is text, so that white space may follow. */
START_TEST(truncated_index)
{
    clq_context *context = io_context(NULL);
    put_valid_files();
    size_t size;
    unsigned char *const bytes = io_get(io_path("v.index.json"), &size);
    TEST_OK(context, io_read_all(context, io_path("v.index.json")));
    for (size_t cut = 0; cut < size; cut++) {
        test_note("index cut to %zu bytes", cut);
        io_check_refused(context, io_put("cut.index.json", bytes, cut), CLQ_ERROR_FORMAT, "");
        io_check_refused(context, io_put("cut", bytes, cut), CLQ_ERROR_FORMAT, "");
    }
    free(bytes);
    clq_context_free(context);
}
END_TEST

START_TEST(damaged)
{
    clq_context *context = io_context(NULL);
    put_valid_files();
    check_damage(context, "v.safetensors");
    check_damage(context, "v.npy");
    check_damage(context, "w.npy");
    check_damage(context, "v.index.json");
    clq_context_free(context);
}
END_TEST

/* Lengths of headers: with a file of that size, and without. */
START_TEST(header_lengths)
{
    static const struct {
        uint64_t length;
        int64_t file_size; /* the rest is zeros */
        const char *fault;
    } cases[] = {
        {UINT64_MAX, 0, "a .safetensors header of 18446744073709551615 bytes, at most 100000000"},
        {INT64_MAX, 0, "a .safetensors header of 9223372036854775807 bytes, at most 100000000"},
        {(uint64_t)INT64_MAX + 1, 0, "at most 100000000"},
        {100000001, 0, "at most 100000000"},
        {100000001, 100000100, "at most 100000000"},
        {100000000, 0, "truncated: the header says 100000000 bytes, the file has 0 behind it"},
        {100000000, 100000007, "truncated: the header says 100000000 bytes, the file has 99999999 behind it"},
        {100000000, 100000008, "the header must begin with '{'"},
        {0, 0, "the header must begin with '{'"},
        {0, 20, "the header must begin with '{'"},
    };
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        unsigned char length[8];
        for (int b = 0; b < 8; b++)
            length[b] = (unsigned char)(cases[i].length >> 8 * b);
        const char *path = io_put("t.safetensors", length, sizeof length);
        if (cases[i].file_size > 0) ck_assert_int_eq(truncate(path, cases[i].file_size), 0);
        test_note("case %zu", i);
        io_check_refused(context, path, CLQ_ERROR_FORMAT, cases[i].fault);
    }
    const char *path = io_put_text("t.index.json", "{");
    ck_assert_int_eq(truncate(path, 100000001), 0);
    io_check_refused(context, path, CLQ_ERROR_FORMAT, "an index of 100000001 bytes, at most 100000000");
    clq_context_free(context);
}
END_TEST

START_TEST(npy_starts)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *fault;
    } cases[] = {
        {"\x93NUMPY", 6, "truncated: 6 bytes are too few"},
        {"\x93NUMPY\x01\x00\x00", 9, "truncated: 9 bytes are too few"},
        {"\x93NUMPY\x02\x00\x00\x00", 10, "truncated: 10 bytes are too few"},
        {"\x93NUMPY\x01\x01\x02\x00{}", 12, ".npy version 1.1, must be"},
        {"\x93NUMPY\x00\x00\x02\x00\x00\x00{}", 14, ".npy version 0.0, must be"},
        {"\x93NUMPY\x04\x00\x02\x00\x00\x00{}", 14, ".npy version 4.0, must be"},
        {"\x93NUMPY\xff\xff\x02\x00\x00\x00{}", 14, ".npy version 255.255, must be"},
        {"\x93NUMPY\x01\x00\xff\xff{}", 12, "truncated: the header says 65535 bytes, the file has 2"},
        {"\x93NUMPY\x02\x00\x00\x00\x10\x00{}", 14, "truncated: the header says 1048576 bytes"},
        {"\x93NUMPY\x02\x00\x01\x00\x10\x00{}", 14, "a .npy header of 1048577 bytes, at most 1048576"},
        {"\x93NUMPY\x03\x00\xff\xff\xff\xff{}", 14, "a .npy header of 4294967295 bytes, at most 1048576"},
        {"\x93NUMPY\x01\x00\x00\x00", 10, "must be a dictionary"},
        {"\x93NUMPX\x01\x00\x02\x00{}", 12, "at most 100000000"},
        {"PK\x03\x04 0123456789", 15, "begins like no .npy or index.json"},
        {"\x89HDF\r\n\x1a\n        ", 16, "begins like no .npy or index.json"},
        {"", 0, "0 bytes are too few"},
        {"\x00", 1, "1 bytes are too few"},
    };
    clq_context *context = io_context(NULL);
    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        test_note("case %zu", i);
        io_check_refused(context, io_put("t.npy", cases[i].bytes, cases[i].size), CLQ_ERROR_FORMAT, cases[i].fault);
    }
    clq_context_free(context);
}
END_TEST

/* NULs inside the text are no end of it. */
START_TEST(nuls)
{
    static const char json[] = "\x10\0\0\0\0\0\0\0{}\0\0\0\0\0\0\0\0\0\0\0\0\0\0", name[] = "\x08\0\0\0\0\0\0\0{\"a\0b\":1";
    static const char npy[] = "\x93NUMPY\x01\x00\x10\x00{'de\0cr': 0000}\n", after[] = "\x93NUMPY\x01\x00\x0c\x00{'descr': ''\0}";
    clq_context *context = io_context(NULL);
    io_check_refused(context, io_put("t.safetensors", json, 24), CLQ_ERROR_FORMAT, "byte 10: text behind the end");
    io_check_refused(context, io_put("t.safetensors", name, 16), CLQ_ERROR_FORMAT, "a control character in a string");
    io_check_refused(context, io_put("t.npy", npy, 26), CLQ_ERROR_FORMAT, "the string does not end");
    io_check_refused(context, io_put("t.npy", after, 22), CLQ_ERROR_FORMAT, "',' or '}' was expected");
    io_check_refused(context, io_put("t.index.json", "{\"a\":\0}", 7), CLQ_ERROR_FORMAT, "not a JSON value");
    clq_context_free(context);
}
END_TEST

/* Depth that would overrun a stack, in a header of a few megabytes. */
START_TEST(deep)
{
    const size_t size = 4000000;
    char *json = malloc(size + 1);
    TEST_CHECK(json != NULL, "no memory");
    clq_context *context = io_context(NULL);
    for (int kind = 0; kind < 2; kind++) {
        static const char *const patterns[] = {"[", "{\"a\":"};
        const size_t length = strlen(patterns[kind]);
        for (size_t i = 0; i < size; i++)
            json[i] = patterns[kind][i % length];
        json[size] = '\0';
        memcpy(json, "{\"a\":{\"x\": ", 11);
        if (kind == 1) memset(json + 11, ' ', (length - 11 % length) % length);
        io_check_refused(context, io_put_safetensors("t.safetensors", json, 0), CLQ_ERROR_FORMAT, "nested too deep");
        memcpy(json, "{\"x\":      ", 11);
        io_check_refused(context, io_put("t.index.json", json, size), CLQ_ERROR_FORMAT, "nested too deep");
    }
    free(json);
    clq_context_free(context);
}
END_TEST

/* Values that nobody needs cost nothing, however many they are: a tree of them would take eighty times the header's size. */
START_TEST(memory_is_bounded)
{
    enum { COUNT = 300000 };
    char *json = malloc(3 * COUNT + 32), *end = json;
    struct test_allocator allocator = {.fail_size_from = 3 * COUNT + 1024};
    clq_context *context = io_context(&allocator);
    TEST_CHECK(json != NULL, "no memory");
    end += sprintf(end, "{\"a\":{\"x\":[");
    for (int i = 0; i < COUNT; i++)
        end += sprintf(end, "{},");
    sprintf(end, "{}]}}");
    const long long calls = atomic_load(&allocator.calls);
    io_check_refused(context, io_put_safetensors("t.safetensors", json, 0), CLQ_ERROR_FORMAT, "is missing");
    TEST_CHECK(atomic_load(&allocator.calls) - calls < 10, "%lld allocations", atomic_load(&allocator.calls) - calls);
    free(json);
    clq_context_free(context);
}
END_TEST

/* The headers of an index's shards share the limit of one. */
START_TEST(headers_together)
{
    enum { HALF = 60000000 };
    const unsigned char length[8] = {HALF & 0xff, HALF >> 8 & 0xff, HALF >> 16 & 0xff, HALF >> 24};
    clq_context *context = io_context(NULL);
    char *json = malloc(HALF + 1);
    TEST_CHECK(json != NULL, "no memory");
    memset(json, ' ', HALF);
    memcpy(json, "{}", 2);
    json[HALF] = '\0';
    TEST_OK(context, io_read_all(context, io_put_safetensors("a.safetensors", json, 0)));
    free(json);
    ck_assert_int_eq(truncate(io_put("b.safetensors", length, 8), HALF + 8), 0);
    clq_file *file;
    const char *path = io_put_text("i.index.json", "{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}");
    ck_assert_int_eq(clq_file_open(context, path, &file), CLQ_ERROR_FORMAT);
    TEST_CHECK(strstr(clq_context_error(context), "b.safetensors: the shards' headers are more than 100000000 bytes together") !=
                   NULL,
               "%s", clq_context_error(context));
    clq_context_free(context);
}
END_TEST

/* Everything that is no regular file, without waiting for it. */
START_TEST(not_files)
{
    char name[300];
    clq_context *context = io_context(NULL);
    io_check_refused(context, io_path("none"), CLQ_ERROR_IO, "No such file");
    io_check_refused(context, "", CLQ_ERROR_IO, "No such file");
    io_check_refused(context, io_path("."), CLQ_ERROR_IO, "Is a directory");
    io_check_refused(context, "/dev/null", CLQ_ERROR_IO, "not a regular file");
    io_check_refused(context, "/dev/zero", CLQ_ERROR_IO, "not a regular file");
    ck_assert_int_eq(mkfifo(io_path("pipe"), 0666), 0);
    io_check_refused(context, io_path("pipe"), CLQ_ERROR_IO, "not a regular file");
    ck_assert_int_eq(symlink("loop", io_path("loop")), 0);
    io_check_refused(context, io_path("loop"), CLQ_ERROR_IO, "symbolic links");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    io_check_refused(context, io_path(name), CLQ_ERROR_IO, "File name too long");
    /* A shard too. */
    ck_assert_int_eq(mkfifo(io_path("p.safetensors"), 0666), 0);
    clq_file *file;
    const char *path = io_put_text("p.index.json", "{\"weight_map\":{\"a\":\"p.safetensors\"}}");
    ck_assert_int_eq(clq_file_open(context, path, &file), CLQ_ERROR_IO);
    TEST_CHECK(strstr(clq_context_error(context), "p.safetensors: not a regular file") != NULL, "%s", clq_context_error(context));
    clq_context_free(context);
}
END_TEST

/* The line says what is wrong even where path and name are long, and holds nothing that a terminal would act on. */
START_TEST(long_and_odd_names)
{
    char json[2048], name[260], odd[] = "x\n\x1b[31m\x7f\xc2\x9b\xc3\xa4.npy";
    clq_context *context = io_context(NULL);
    memset(name, 'n', 250);
    name[250] = '\0';
    for (int i = 0; i < 400; i++)
        memcpy(json + 2 + 3 * i, "\xe2\x82\xac", 3);
    memcpy(json, "{\"", 2);
    strcpy(json + 1202, "\":" ENTRY("\"U8\"", "[2]", "[0,1]") "}");
    io_check_refused(context, io_put_safetensors(name, json, 1), CLQ_ERROR_FORMAT, "are 1 bytes, shape and dtype 2");
    clq_file *file;
    ck_assert_int_eq(clq_file_open(context, io_put(odd, "", 0), &file), CLQ_ERROR_FORMAT);
    TEST_CHECK(strstr(clq_context_error(context), "x??[31m???\xc3\xa4.npy: ") != NULL, "%s", clq_context_error(context));
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_hostile");
    TCase *tcase = io_case(suite, "texts");
    tcase_add_test(tcase, safetensors_texts);
    tcase_add_test(tcase, npy_texts);
    tcase_add_test(tcase, index_texts);
    tcase_add_test(tcase, index_of_too_many);
    tcase = io_case(suite, "bytes");
    tcase_add_test(tcase, truncated);
    tcase_add_test(tcase, truncated_index);
    tcase_add_test(tcase, damaged);
    tcase_add_test(tcase, header_lengths);
    tcase_add_test(tcase, npy_starts);
    tcase_add_test(tcase, nuls);
    tcase_add_test(tcase, deep);
    tcase_add_test(tcase, memory_is_bounded);
    tcase_add_test(tcase, headers_together);
    tcase = io_case(suite, "files");
    tcase_add_test(tcase, not_files);
    tcase_add_test(tcase, long_and_odd_names);
    return test_run(suite);
}
