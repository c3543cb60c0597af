/* SPDX-License-Identifier: MIT */
/*
 * The .npy header (NumPy's "NEP 1" format): the magic "\x93NUMPY", a version of two bytes, the header's length in two bytes (1.0)
 * or four (2.0, 3.0), and a Python dictionary of exactly descr, fortran_order and shape, padded with white space.
 *
 * The dictionary is read by a strict parser of that one form, not as Python: no escapes, comments, signs or other literals.
 */
#include "config.h"

#include "io/npy.h"

#include "base/alloc.h"
#include "base/util.h"
#include "context.h"
#include "io/file.h"
#include "io/os_file.h"
#include <stdbool.h>
#include <string.h>

#define MAGIC            "\x93NUMPY"
#define MAGIC_BYTES      6
#define START_BYTES      12        /* magic, version, the longer form of the length */
#define HEADER_MAX_BYTES (1 << 20) /* NumPy itself stops at 10,000 characters unless told otherwise */
#define DATA_ALIGNMENT   64
#define GROWTH_DIGITS    21 /* NumPy leaves room for the first extent to grow to so many digits */

/* The dictionary being read, and what was found. */
struct reader {
    clq_context *context;
    struct clq_file_part *part;
    int64_t base; /* where in the file the text begins */
    char *text;   /* ends in a NUL */
    int64_t size;
    int64_t position;
    bool long_suffix; /* "3L", as Python 2 wrote: tolerated up to version 2.0, as in NumPy */
    const char *descr;
    bool fortran_order;
    int32_t rank;
    int64_t shape[CLQ_FILE_MAX_RANK];
};

static clq_status fail(const struct reader *reader, const char *fault)
{
    return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: byte %lld: %s", clq_show(reader->part->path).text,
                    (long long)(reader->base + reader->position), fault);
}

/* The next byte that is not white space; the NUL at the end if there is none. */
static char peek(struct reader *reader)
{
    for (;;) {
        const char byte = reader->text[reader->position];
        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r') return byte;
        reader->position++;
    }
}

static bool accept(struct reader *reader, char byte)
{
    if (peek(reader) != byte) return false;
    reader->position++;
    return true;
}

/* A string in either kind of quotes. Its closing quote is overwritten with a NUL. */
static clq_status read_string(struct reader *reader, const char **string)
{
    const char quote = peek(reader);
    if (quote != '\'' && quote != '"') return fail(reader, "a string was expected");
    reader->position++;
    *string = reader->text + reader->position;
    for (;; reader->position++) {
        const char byte = reader->text[reader->position];
        if (byte == quote) break;
        if ((unsigned char)byte < 0x20) return fail(reader, "the string does not end");
        if (byte == '\\') return fail(reader, "an escape in a string");
    }
    reader->text[reader->position++] = '\0';
    return CLQ_OK;
}

static clq_status read_bool(struct reader *reader, bool *value)
{
    peek(reader);
    const char *text = reader->text + reader->position;
    *value = strncmp(text, "True", 4) == 0;
    if (!*value && strncmp(text, "False", 5) != 0) return fail(reader, "True or False was expected");
    reader->position += *value ? 4 : 5;
    return CLQ_OK;
}

static clq_status read_extent(struct reader *reader, int64_t *extent)
{
    static const char fault[] = "an extent must be an integer from 0 to 9223372036854775807";
    int64_t value = 0;
    peek(reader);
    const int64_t begin = reader->position;
    for (; reader->text[reader->position] >= '0' && reader->text[reader->position] <= '9'; reader->position++)
        if (!clq_mul_i64(value, 10, &value) || !clq_add_i64(value, reader->text[reader->position] - '0', &value))
            return fail(reader, fault);
    if (reader->position == begin || (reader->text[begin] == '0' && reader->position - begin > 1)) return fail(reader, fault);
    if (reader->long_suffix && reader->text[reader->position] == 'L') reader->position++;
    *extent = value;
    return CLQ_OK;
}

/* A tuple: () or (3,) or (3, 4) or (3, 4,). As in Python, (3) is none. */
static clq_status read_shape(struct reader *reader)
{
    bool comma = true;
    if (!accept(reader, '(')) return fail(reader, "the shape must be a tuple");
    reader->rank = 0;
    while (!accept(reader, ')')) {
        if (!comma) return fail(reader, "',' or ')' was expected");
        if (reader->rank == CLQ_FILE_MAX_RANK) return fail(reader, "the shape has more than 64 extents");
        CLQ_TRY(read_extent(reader, &reader->shape[reader->rank]));
        reader->rank++;
        comma = accept(reader, ',');
    }
    return reader->rank == 1 && !comma ? fail(reader, "a tuple of one needs a comma") : CLQ_OK;
}

static clq_status read_descr(struct reader *reader)
{
    const char next = peek(reader);
    if (next == '[') return fail(reader, "refused: structured data");
    if (next == '(') return fail(reader, "refused: a dtype with a shape of its own");
    return read_string(reader, &reader->descr);
}

static clq_status read_dictionary(struct reader *reader)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0;
    bool comma = true;
    if (!accept(reader, '{')) return fail(reader, "the header must be a dictionary");
    while (!accept(reader, '}')) {
        const char *key;
        if (!comma) return fail(reader, "',' or '}' was expected");
        CLQ_TRY(read_string(reader, &key));
        const int field = strcmp(key, "descr") == 0           ? DESCR
                          : strcmp(key, "fortran_order") == 0 ? ORDER
                          : strcmp(key, "shape") == 0         ? SHAPE
                                                              : 0;
        if (field == 0) return fail(reader, "a key that is none of descr, fortran_order, shape");
        if (seen & field) return fail(reader, "descr, fortran_order or shape is there twice");
        seen |= field;
        if (!accept(reader, ':')) return fail(reader, "':' was expected");
        if (field == DESCR) CLQ_TRY(read_descr(reader));
        if (field == ORDER) CLQ_TRY(read_bool(reader, &reader->fortran_order));
        if (field == SHAPE) CLQ_TRY(read_shape(reader));
        comma = accept(reader, ',');
    }
    if (seen != (DESCR | ORDER | SHAPE)) return fail(reader, "descr, fortran_order or shape is missing");
    peek(reader);
    return reader->position == reader->size ? CLQ_OK : fail(reader, "text behind the dictionary");
}

/* The element type of a descr such as "<f4", by NumPy's rules of reading: no byte order, '=' and '|' mean the machine's own. */
static clq_status find_type(const struct reader *reader, const struct clq_element_type **type)
{
    static const struct {
        char kind;
        const char *what;
    } refused[] = {
        {'O', "Python objects"}, {'V', "raw or structured data"}, {'U', "text"},           {'S', "text"}, {'a', "text"},
        {'M', "dates"},          {'m', "spans of time"},          {'c', "complex numbers"}};
    const char *descr = reader->descr;
    const char *code = descr + (descr[0] != '\0' && strchr("<>=|", descr[0]) != NULL);
    const char *what = NULL;
    *type = clq_element_type_npy(code);
    if (*type != NULL) {
        if (descr[0] == '>' && (*type)->bits > 8) what = "big-endian data";
        if (reader->fortran_order && what == NULL) what = "Fortran-order data";
    } else {
        what = "unknown data";
        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
            if (code[0] == refused[i].kind) what = refused[i].what;
    }
    if (what == NULL) return CLQ_OK;
    return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: refused: %s (%s)", clq_show(reader->part->path).text, what,
                    clq_show(descr).text);
}

/* Reads magic, version, length and the header's text. */
static clq_status read_text(struct reader *reader, const clq_allocator *allocator)
{
    struct clq_file_part *part = reader->part;
    unsigned char start[START_BYTES] = {0};
    const int64_t start_bytes = clq_min_i64(part->size_bytes, START_BYTES);
    CLQ_TRY(clq_os_read(reader->context, part->path, part->fd, 0, start_bytes, start));
    const int major = start[MAGIC_BYTES], minor = start[MAGIC_BYTES + 1];
    reader->base = major == 1 ? 10 : 12;
    if (part->size_bytes < reader->base)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: truncated: %lld bytes are too few for a .npy header",
                        clq_show(part->path).text, (long long)part->size_bytes);
    if (major < 1 || major > 3 || minor != 0)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: .npy version %d.%d, must be 1.0, 2.0 or 3.0",
                        clq_show(part->path).text, major, minor);
    reader->long_suffix = major < 3;
    reader->size = start[8] | start[9] << 8;
    if (major > 1) reader->size |= (int64_t)start[10] << 16 | (int64_t)start[11] << 24;
    if (reader->size > HEADER_MAX_BYTES)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: a .npy header of %lld bytes, at most %d",
                        clq_show(part->path).text, (long long)reader->size, HEADER_MAX_BYTES);
    if (reader->size > part->size_bytes - reader->base)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT,
                        "%s: truncated: the header says %lld bytes, the file has %lld behind it", clq_show(part->path).text,
                        (long long)reader->size, (long long)(part->size_bytes - reader->base));
    part->header = reader->text = clq_alloc(allocator, reader->size + 1, 1);
    if (reader->text == NULL) return clq_file_no_memory(reader->context, part->path);
    reader->text[reader->size] = '\0';
    part->data_begin = reader->base + reader->size;
    return clq_os_read(reader->context, part->path, part->fd, reader->base, reader->size, reader->text);
}

/* The file's name without folder and extension. */
static char *make_stem(const clq_allocator *allocator, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *stem = clq_alloc_string(allocator, slash == NULL ? path : slash + 1);
    char *dot = stem == NULL ? NULL : strrchr(stem, '.');
    if (dot != NULL && dot > stem) *dot = '\0';
    return stem;
}

/* Makes the one entry. */
static clq_status add_entry(const struct reader *reader, struct clq_file *file, int32_t part_index,
                            const struct clq_element_type *type)
{
    struct clq_file_part *part = reader->part;
    clq_file_tensor view = {.file_path = part->path,
                            .dtype_name = reader->descr,
                            .dtype = type->dtype,
                            .element_bits = type->bits,
                            .rank = reader->rank};
    if (clq_element_type_measure(type, reader->rank, reader->shape, &view.element_count, &view.size_bytes) != CLQ_OK)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: the product of the shape overflows", clq_show(part->path).text);
    if (view.size_bytes != part->size_bytes - part->data_begin)
        return clq_fail(reader->context, CLQ_ERROR_FORMAT, "%s: shape and dtype are %lld bytes, the file has %lld bytes of data",
                        clq_show(part->path).text, (long long)view.size_bytes, (long long)(part->size_bytes - part->data_begin));
    part->name = make_stem(&file->allocator, part->path);
    part->shapes = clq_alloc(&file->allocator, reader->rank, sizeof *part->shapes);
    file->entries = clq_alloc_zeroed(&file->allocator, 1, sizeof *file->entries);
    if (part->name == NULL || part->shapes == NULL || file->entries == NULL)
        return clq_file_no_memory(reader->context, part->path);
    memcpy(part->shapes, reader->shape, (size_t)reader->rank * sizeof *part->shapes);
    view.name = part->name;
    view.shape = part->shapes;
    file->entries[0] = (struct clq_file_entry){.view = view, .part = part_index};
    file->entry_count = file->entry_capacity = 1;
    return CLQ_OK;
}

clq_status clq_npy_read_header(clq_context *context, struct clq_file *file, int32_t part_index)
{
    struct reader reader = {.context = context, .part = &file->parts[part_index]};
    const struct clq_element_type *type;
    CLQ_TRY(read_text(&reader, &file->allocator));
    CLQ_TRY(read_dictionary(&reader));
    CLQ_TRY(find_type(&reader, &type));
    return add_entry(&reader, file, part_index, type);
}

void clq_npy_write_header(struct clq_text *text, const struct clq_writer_tensor *tensor)
{
    static const char start[] = MAGIC "\x01"; /* and the literal's own NUL: version 1.0 */
    const int64_t begin = text->size;
    clq_text_append(text, start, sizeof start);
    clq_text_append_fill(text, '\0', 2);
    clq_text_append_string(text, "{'descr': '");
    clq_text_append_string(text, tensor->type->bits > 8 ? "<" : "|");
    clq_text_append_string(text, tensor->type->npy_code);
    clq_text_append_string(text, "', 'fortran_order': False, 'shape': (");
    int64_t first_digits = GROWTH_DIGITS;
    for (int32_t d = 0; d < tensor->rank; d++) {
        const int64_t before = text->size;
        if (d > 0) clq_text_append_string(text, ", ");
        clq_text_append_int(text, tensor->shape[d]);
        if (d == 0) first_digits = text->size - before;
    }
    clq_text_append_string(text, tensor->rank == 1 ? ",), }" : "), }");
    clq_text_append_fill(text, ' ', GROWTH_DIGITS - first_digits);
    /* NumPy pads by 1 to 64 bytes, and the last one is a newline. */
    clq_text_append_fill(text, ' ', DATA_ALIGNMENT - 1 - (text->size - begin) % DATA_ALIGNMENT);
    clq_text_append_string(text, "\n");
    if (text->failed) return;
    const int64_t length = text->size - begin - 10; /* at most 64 extents of 21 digits and commas: fits 16 bits */
    text->data[begin + 8] = (char)(length & 0xff);
    text->data[begin + 9] = (char)(length >> 8);
}
