/* SPDX-License-Identifier: MIT */
/*
 * Turns a gzipped IDX file of bytes, the format of the MNIST images, into a .npy of f32: one row an item, the other extents
 * multiplied.
 *
 * IDX (http://yann.lecun.com/exdb/mnist): two zero bytes, the element type (8: unsigned byte), the rank, an extent of four bytes
 * for each dimension, then the elements; all big endian. Nothing of it is believed that the file does not bear out.
 */
#include "config.h"

#include <clquant_io.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <zlib.h>

static const char help[] =
    "usage: idx_to_npy IN.gz OUT.npy [--unit]\n"
    "\n"
    "Turns a gzipped IDX file of unsigned bytes into a .npy of f32, one row an item. Not compressed is fine too.\n"
    "\n"
    "  --unit   divide by 255: values from 0 to 1 instead of 0 to 255\n"
    "  --help   this text\n";

enum { PIECE = 1 << 16 };

static bool fail(const char *file, const char *fault)
{
    fprintf(stderr, "idx_to_npy: %s: %s\n", file, fault);
    return false;
}

static bool fail_library(clq_context *ctx)
{
    fprintf(stderr, "idx_to_npy: %s\n", clq_context_error(ctx));
    return false;
}

/* Exactly `size` bytes. */
static bool read_bytes(gzFile in, const char *path, unsigned size, void *data)
{
    int error;
    const int done = gzread(in, data, size);
    if (done >= 0 && (unsigned)done == size) return true;
    const char *text = gzerror(in, &error);
    return fail(path, error == Z_OK || error == Z_BUF_ERROR ? "ends too early" : text);
}

/* The header: rows and the elements of each. */
static bool read_header(gzFile in, const char *path, int64_t *shape)
{
    unsigned char magic[4], extent[4];
    if (!read_bytes(in, path, sizeof magic, magic)) return false;
    if (magic[0] != 0 || magic[1] != 0) return fail(path, "is no IDX file: it does not begin with two zero bytes");
    if (magic[2] != 8) return fail(path, "holds another type than unsigned bytes");
    if (magic[3] == 0) return fail(path, "has no dimensions");
    shape[0] = shape[1] = 1;
    for (int d = 0; d < magic[3]; d++) {
        if (!read_bytes(in, path, sizeof extent, extent)) return false;
        const int64_t size = (int64_t)extent[0] << 24 | extent[1] << 16 | extent[2] << 8 | extent[3];
        if (d == 0)
            shape[0] = size;
        else if (__builtin_mul_overflow(shape[1], size, &shape[1]))
            return fail(path, "its extents multiplied overflow");
    }
    int64_t bytes;
    if (__builtin_mul_overflow(shape[0], shape[1], &bytes) || __builtin_mul_overflow(bytes, 4, &bytes))
        return fail(path, "its extents multiplied overflow");
    return true;
}

static bool convert(clq_context *ctx, gzFile in, const char *path, clq_file_writer *writer, bool unit)
{
    static unsigned char bytes[PIECE];
    static float floats[PIECE];
    int64_t shape[2], index;
    if (!read_header(in, path, shape)) return false;
    if (clq_file_writer_add_tensor(ctx, writer, "", "F32", 2, shape, &index) != CLQ_OK) return fail_library(ctx);
    const int64_t total = shape[0] * shape[1];
    for (int64_t done = 0; done < total;) {
        const int64_t count = total - done < PIECE ? total - done : PIECE;
        if (!read_bytes(in, path, (unsigned)count, bytes)) return false;
        for (int64_t k = 0; k < count; k++)
            floats[k] = unit ? (float)bytes[k] / 255.0f : (float)bytes[k];
        if (clq_file_writer_write(ctx, writer, index, 4 * done, 4 * count, floats) != CLQ_OK) return fail_library(ctx);
        done += count;
    }
    int error = Z_OK;
    const int rest = gzread(in, bytes, 1); /* at the end this checks gzip's sum and length too */
    if (rest == 0) gzerror(in, &error);
    if (rest != 0 || error != Z_OK) return fail(path, rest > 0 ? "goes on after its last element" : "is damaged at its end");
    if (clq_file_writer_commit(ctx, writer) != CLQ_OK) return fail_library(ctx);
    printf("%lld rows of %lld\n", (long long)shape[0], (long long)shape[1]);
    return true;
}

static bool run(const char *in_path, const char *out_path, bool unit)
{
    clq_context *ctx = NULL;
    clq_file_writer *writer = NULL;
    bool done = false;
    gzFile in = gzopen(in_path, "rb");
    if (in == NULL) {
        fail(in_path, "cannot be opened");
    } else if (clq_context_create(NULL, &ctx) != CLQ_OK) {
        fail("clquant", "no context");
    } else if (clq_file_writer_create(ctx, out_path, CLQ_FILE_NPY, &writer) != CLQ_OK) {
        fail_library(ctx);
    } else {
        done = convert(ctx, in, in_path, writer, unit);
    }
    clq_file_writer_free(writer); /* and its temporary file, unless it was committed */
    clq_context_free(ctx);
    if (in != NULL) gzclose(in);
    return done;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"unit", no_argument, NULL, 'u'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool unit = false;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'u') {
            unit = true;
        } else {
            fputs(help, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (argc - optind != 2) {
        fputs(help, stderr);
        return 2;
    }
    return run(argv[optind], argv[optind + 1], unit) ? 0 : 1;
}
