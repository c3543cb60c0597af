/* SPDX-License-Identifier: MIT */
/*
 * Makes tensor files for scripts.
 *
 *     make_files OUT.npy|OUT.safetensors [KEY=VALUE...] [NAME:DTYPE:EXTENTS:FILL...]
 *
 * DTYPE is that of .safetensors, EXTENTS "3x4" or nothing for a scalar, FILL "uniform" (reproducible, in [-1, 1), one end of
 * every row exactly 1), "zero", "nan" (one NaN, in the middle) or "inf". Types other than F32, F16, BF16 and F64 are filled with
 * bytes.
 */
#include "config.h"

#include <clquant_io.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spec {
    char name[256], dtype[16], extents[128], fill[16];
    int32_t rank;
    int64_t shape[8], count, index;
};

static clq_context *ctx;

static void check(clq_status status)
{
    if (status == CLQ_OK) return;
    fprintf(stderr, "make_files: %s\n", clq_context_error(ctx));
    exit(1);
}

static void refuse(const char *text)
{
    fprintf(stderr, "make_files: cannot read '%s'\n", text);
    exit(2);
}

static struct spec parse(const char *text)
{
    struct spec spec = {.count = 1};
    char *fields[] = {spec.name, spec.dtype, spec.extents, spec.fill};
    const size_t sizes[] = {sizeof spec.name, sizeof spec.dtype, sizeof spec.extents, sizeof spec.fill};
    const char *at = text;
    for (int k = 0; k < 4; k++) {
        const size_t length = strcspn(at, ":");
        if (length >= sizes[k] || (k < 3) != (at[length] == ':')) refuse(text);
        memcpy(fields[k], at, length);
        at += length + 1;
    }
    for (char *extent = strtok(spec.extents, "x"); extent != NULL && spec.rank < 8; extent = strtok(NULL, "x")) {
        spec.shape[spec.rank] = strtoll(extent, NULL, 10);
        spec.count *= spec.shape[spec.rank++];
    }
    return spec;
}

/* A linear congruential generator's upper bits: the same file on every machine. */
static double next_uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / (1 << 23) - 1;
}

static double *make_values(const struct spec *spec)
{
    const int64_t row = spec->rank > 0 ? spec->shape[spec->rank - 1] : 1;
    uint64_t state = 1;
    double *values = calloc((size_t)spec->count + 1, sizeof *values);
    if (values == NULL) exit(1);
    for (int64_t k = 0; k < spec->count; k++) {
        const double value = next_uniform(&state);
        if (strcmp(spec->fill, "zero") != 0) values[k] = k % row == 0 ? 1 - 2 * (double)(k / row % 2) : value;
    }
    if (strcmp(spec->fill, "nan") == 0) values[spec->count / 2] = NAN;
    if (strcmp(spec->fill, "inf") == 0) values[spec->count / 2] = INFINITY;
    return values;
}

static void write_tensor(clq_file_writer *writer, const struct spec *spec)
{
    static const struct {
        const char *name;
        clq_dtype dtype;
        int64_t bytes;
    } types[] = {{"F64", CLQ_F64, 8},   {"F32", CLQ_F32, 4}, {"F16", CLQ_F16, 2},
                 {"BF16", CLQ_BF16, 2}, {"I64", CLQ_S64, 8}, {"I8", CLQ_S8, 1}};
    double *values = make_values(spec);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        if (strcmp(types[k].name, spec->dtype) != 0) continue;
        void *data = calloc((size_t)(spec->count * types[k].bytes) + 1, 1);
        if (data == NULL) exit(1);
        const clq_tensor wide = clq_tensor_host(CLQ_F64, values, 1, &spec->count);
        const clq_tensor narrow = clq_tensor_host(types[k].dtype, data, 1, &spec->count);
        if (clq_dtype_bits(types[k].dtype) >= 16 && types[k].dtype != CLQ_S64)
            check(clq_convert(ctx, &wide, &narrow));
        else
            for (int64_t b = 0; b < spec->count * types[k].bytes; b++)
                ((unsigned char *)data)[b] = (unsigned char)(37 * b);
        check(clq_file_writer_write(ctx, writer, spec->index, 0, spec->count * types[k].bytes, data));
        free(data);
        free(values);
        return;
    }
    refuse(spec->dtype);
}

int main(int argc, char **argv)
{
    clq_file_writer *writer = NULL;
    if (argc < 2) return 2;
    struct spec *specs = calloc((size_t)argc, sizeof *specs);
    const size_t length = strlen(argv[1]);
    const bool npy = length > 4 && strcmp(argv[1] + length - 4, ".npy") == 0;
    int count = 0;
    if (specs == NULL || clq_context_create(NULL, &ctx) != CLQ_OK) return 1;
    check(clq_file_writer_create(ctx, argv[1], npy ? CLQ_FILE_NPY : CLQ_FILE_SAFETENSORS, &writer));
    for (int k = 2; k < argc; k++) {
        char *equals = strchr(argv[k], '=');
        if (equals != NULL) {
            *equals = 0;
            check(clq_file_writer_add_metadata(ctx, writer, argv[k], equals + 1));
        } else {
            struct spec *spec = &specs[count++];
            *spec = parse(argv[k]);
            check(clq_file_writer_add_tensor(ctx, writer, spec->name, spec->dtype, spec->rank, spec->shape, &spec->index));
        }
    }
    for (int k = 0; k < count; k++)
        write_tensor(writer, &specs[k]);
    check(clq_file_writer_commit(ctx, writer));
    clq_file_writer_free(writer);
    clq_context_free(ctx);
    free(specs);
    return 0;
}
