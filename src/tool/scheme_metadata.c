/* SPDX-License-Identifier: MIT */
/*
 * What a file says about its quantized tensors: one JSON object a tensor, under the metadata key "clquant.tensor.NAME".
 *
 *     {"dtype": "s4", "shape": [4096, 11008], "source_dtype": "BF16", "scheme": "symmetric", "granularity": "per-group", "axis":
 * 1, "group_size": 32, "quotient": "division", "qmin": -8, "qmax": 7}
 *
 * "axis" is there per channel and per group, "group_size" per group. Reading ignores other members.
 */
#include "config.h"

#include "tool/scheme_metadata.h"

#include "tool/chunks.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

const struct clq_tool_word clq_tool_dtypes[] = {{"s8", CLQ_S8},   {"u8", CLQ_U8},   {"s4", CLQ_S4}, {"u4", CLQ_U4},
                                                {"s16", CLQ_S16}, {"u16", CLQ_U16}, {NULL, 0}};
const struct clq_tool_word clq_tool_symmetries[] = {{"symmetric", CLQ_SYMMETRIC},
                                                    {"symmetric-full", CLQ_SYMMETRIC_FULL},
                                                    {"asymmetric", CLQ_ASYMMETRIC},
                                                    {"pow2", CLQ_POWER_OF_TWO},
                                                    {NULL, 0}};
const struct clq_tool_word clq_tool_granularities[] = {
    {"per-tensor", CLQ_PER_TENSOR}, {"per-channel", CLQ_PER_CHANNEL}, {"per-group", CLQ_PER_GROUP}, {NULL, 0}};
const struct clq_tool_word clq_tool_quotients[] = {{"division", CLQ_DIVISION}, {"reciprocal", CLQ_RECIPROCAL}, {NULL, 0}};
const struct clq_tool_word clq_tool_file_dtypes[] = {{"F32", CLQ_F32}, {"F16", CLQ_F16}, {"BF16", CLQ_BF16}, {"F64", CLQ_F64},
                                                     {"I8", CLQ_S8},   {"U8", CLQ_U8},   {"I16", CLQ_S16},   {"U16", CLQ_U16},
                                                     {"I32", CLQ_S32}, {"I64", CLQ_S64}, {NULL, 0}};

const char *clq_tool_word_of(const struct clq_tool_word *words, int value)
{
    for (; words->word != NULL; words++)
        if (words->value == value) return words->word;
    return NULL;
}

int clq_tool_value_of(const struct clq_tool_word *words, const char *word)
{
    for (; words->word != NULL; words++)
        if (strcmp(words->word, word) == 0) return words->value;
    return -1;
}

void clq_tool_dtype_range(clq_dtype dtype, int32_t *qmin, int32_t *qmax)
{
    const int32_t bits = clq_dtype_bits(dtype);
    const bool is_signed = dtype == CLQ_S4 || dtype == CLQ_S8 || dtype == CLQ_S16;
    *qmin = is_signed ? -(1 << (bits - 1)) : 0;
    *qmax = (1 << (is_signed ? bits - 1 : bits)) - 1;
}

void clq_tool_json_scheme(struct clq_tool_json *json, const clq_scheme *scheme)
{
    clq_tool_json_string(json, "scheme", clq_tool_word_of(clq_tool_symmetries, (int)scheme->symmetry));
    clq_tool_json_string(json, "granularity", clq_tool_word_of(clq_tool_granularities, (int)scheme->granularity));
    if (scheme->granularity != CLQ_PER_TENSOR) clq_tool_json_integer(json, "axis", scheme->axis);
    if (scheme->granularity == CLQ_PER_GROUP) clq_tool_json_integer(json, "group_size", scheme->group_size);
    clq_tool_json_string(json, "quotient", clq_tool_word_of(clq_tool_quotients, (int)scheme->quotient));
}

void clq_tool_json_record(struct clq_tool_json *json, const struct clq_tool_record *record)
{
    const clq_scheme *scheme = &record->scheme;
    int32_t qmin = scheme->qmin, qmax = scheme->qmax;
    if (qmin == 0 && qmax == 0) clq_tool_dtype_range(scheme->dtype, &qmin, &qmax);
    clq_tool_json_string(json, "dtype", clq_tool_word_of(clq_tool_dtypes, (int)scheme->dtype));
    clq_tool_json_shape(json, "shape", record->rank, record->shape);
    clq_tool_json_string(json, "source_dtype", clq_tool_word_of(clq_tool_file_dtypes, (int)record->source_dtype));
    clq_tool_json_scheme(json, scheme);
    clq_tool_json_integer(json, "qmin", qmin);
    clq_tool_json_integer(json, "qmax", qmax);
}

char *clq_tool_join(const char *first, const char *second)
{
    const size_t bytes = strlen(first) + strlen(second) + 1;
    char *text = malloc(bytes);
    if (text != NULL)
        snprintf(text, bytes, "%s%s", first, second);
    else
        clq_tool_fail_memory();
    return text;
}

char *clq_tool_record_write(const struct clq_tool_record *record)
{
    char *text = NULL;
    size_t text_bytes;
    struct clq_tool_json json = {.out = open_memstream(&text, &text_bytes)};
    if (json.out == NULL) {
        clq_tool_fail_memory();
        return NULL;
    }
    clq_tool_json_open(&json, NULL, '{');
    clq_tool_json_record(&json, record);
    clq_tool_json_close(&json, '{');
    const bool failed = ferror(json.out) != 0;
    if (fclose(json.out) != 0 || failed) {
        clq_tool_fail_memory();
        free(text);
        return NULL;
    }
    return text;
}

/* ---------------------------------------------------------------------------------------------- reading */

/* Where a text comes from, for the error line. */
struct reader {
    const char *file;
    char place[512];
    const json_t *object;
};

static bool read_integer(const struct reader *reader, const char *member, int64_t least, int64_t most, int64_t *value)
{
    const json_t *node = json_object_get(reader->object, member);
    if (!json_is_integer(node)) return clq_tool_fail(reader->file, reader->place, "\"%s\" must be a whole number", member);
    *value = json_integer_value(node);
    if (*value >= least && *value <= most) return true;
    return clq_tool_fail(reader->file, reader->place, "\"%s\" is %" PRId64 ", must be from %" PRId64 " to %" PRId64, member,
                         *value, least, most);
}

static bool read_word(const struct reader *reader, const char *member, const struct clq_tool_word *words, int *value)
{
    const char *word = json_string_value(json_object_get(reader->object, member));
    if (word == NULL) return clq_tool_fail(reader->file, reader->place, "\"%s\" must be a string", member);
    *value = clq_tool_value_of(words, word);
    if (*value >= 0) return true;
    return clq_tool_fail(reader->file, reader->place, "\"%s\" is \"%s\", which this version does not know", member, word);
}

static bool read_shape(const struct reader *reader, struct clq_tool_record *record)
{
    const json_t *array = json_object_get(reader->object, "shape");
    if (!json_is_array(array)) return clq_tool_fail(reader->file, reader->place, "\"shape\" must be an array");
    record->rank = (int32_t)json_array_size(array); /* a header of at most 100 MB has fewer than 2^31 */
    record->shape = malloc(((size_t)record->rank + 1) * sizeof *record->shape);
    if (record->shape == NULL) return clq_tool_fail_memory();
    record->element_count = 1;
    for (int32_t d = 0; d < record->rank; d++) {
        const json_t *extent = json_array_get(array, (size_t)d);
        record->shape[d] = json_integer_value(extent);
        if (!json_is_integer(extent) || record->shape[d] < 0)
            return clq_tool_fail(reader->file, reader->place, "shape[%" PRId32 "] must be a whole number of 0 or more", d);
        if (__builtin_mul_overflow(record->element_count, record->shape[d], &record->element_count))
            return clq_tool_fail(reader->file, reader->place, "the shape's product overflows");
    }
    return true;
}

static bool read_scheme(const struct reader *reader, struct clq_tool_record *record)
{
    clq_scheme *scheme = &record->scheme;
    int dtype, source, symmetry, granularity, quotient;
    int32_t least, most;
    int64_t qmin = 0, qmax = 0, axis = 0, group_size = 0;
    if (!read_word(reader, "dtype", clq_tool_dtypes, &dtype) ||
        !read_word(reader, "source_dtype", clq_tool_file_dtypes, &source) ||
        !read_word(reader, "scheme", clq_tool_symmetries, &symmetry) ||
        !read_word(reader, "granularity", clq_tool_granularities, &granularity) ||
        !read_word(reader, "quotient", clq_tool_quotients, &quotient))
        return false;
    if (source != CLQ_F32 && source != CLQ_F16 && source != CLQ_BF16 && source != CLQ_F64)
        return clq_tool_fail(reader->file, reader->place, "\"source_dtype\" must be a float type");
    if (granularity != CLQ_PER_TENSOR && !read_integer(reader, "axis", 0, (int64_t)record->rank - 1, &axis)) return false;
    if (granularity == CLQ_PER_GROUP && !read_integer(reader, "group_size", 1, INT64_MAX, &group_size)) return false;
    clq_tool_dtype_range((clq_dtype)dtype, &least, &most);
    if (!read_integer(reader, "qmin", least, most - 1, &qmin) || !read_integer(reader, "qmax", qmin + 1, most, &qmax))
        return false;
    *scheme = (clq_scheme){.dtype = (clq_dtype)dtype,
                           .symmetry = (clq_symmetry)symmetry,
                           .granularity = (clq_granularity)granularity,
                           .quotient = (clq_quotient)quotient,
                           .axis = (int32_t)axis,
                           .group_size = group_size,
                           .qmin = (int32_t)qmin,
                           .qmax = (int32_t)qmax};
    record->source_dtype = (clq_dtype)source;
    return true;
}

bool clq_tool_record_read(const char *file, const char *key, const char *text, struct clq_tool_record *record)
{
    struct reader reader = {.file = file};
    json_error_t error;
    *record = (struct clq_tool_record){.shape = NULL};
    snprintf(reader.place, sizeof reader.place, "metadata \"%.400s\"", key);
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL && json_error_code(&error) == json_error_out_of_memory) return clq_tool_fail_memory();
    reader.object = object;
    bool done = json_is_object(object);
    if (!done)
        clq_tool_fail(file, reader.place, "not a JSON object%s%s", object == NULL ? ": " : "", object == NULL ? error.text : "");
    done = done && read_shape(&reader, record) && read_scheme(&reader, record);
    json_decref(object);
    if (!done) {
        free(record->shape);
        record->shape = NULL;
    }
    return done;
}

/* ---------------------------------------------------------------------------------------------- shapes and words */

const char *clq_tool_scheme_text(const clq_scheme *scheme, char *text, size_t text_bytes)
{
    const char *symmetry = clq_tool_word_of(clq_tool_symmetries, (int)scheme->symmetry);
    if (scheme->granularity == CLQ_PER_TENSOR)
        snprintf(text, text_bytes, "%s, per tensor", symmetry);
    else if (scheme->granularity == CLQ_PER_CHANNEL)
        snprintf(text, text_bytes, "%s, per channel, axis %" PRId32, symmetry, scheme->axis);
    else
        snprintf(text, text_bytes, "%s, per group of %" PRId64 ", axis %" PRId32, symmetry, scheme->group_size, scheme->axis);
    return text;
}

void clq_tool_stored_shape(const struct clq_tool_record *record, int32_t *stored_rank, int64_t *stored)
{
    const int32_t rank = record->rank;
    *stored_rank = rank;
    memcpy(stored, record->shape, (size_t)rank * sizeof *stored);
    if (clq_dtype_bits(record->scheme.dtype) != 4) return;
    if (rank > 0 && record->shape[rank - 1] % 2 == 0) {
        stored[rank - 1] /= 2;
    } else {
        *stored_rank = 1;
        stored[0] = clq_tool_bytes(record->scheme.dtype, record->element_count);
    }
}

void clq_tool_scale_shape(const struct clq_tool_record *record, int32_t *scale_rank, int64_t *scale)
{
    const clq_scheme *scheme = &record->scheme;
    if (scheme->granularity == CLQ_PER_TENSOR) {
        *scale_rank = 0;
    } else if (scheme->granularity == CLQ_PER_CHANNEL) {
        *scale_rank = 1;
        scale[0] = record->shape[scheme->axis];
    } else {
        *scale_rank = record->rank;
        memcpy(scale, record->shape, (size_t)record->rank * sizeof *scale);
        scale[scheme->axis] = scale[scheme->axis] / scheme->group_size + (scale[scheme->axis] % scheme->group_size != 0);
    }
}
