/* SPDX-License-Identifier: MIT */
/* A file being written, as the headers' writers see it. */
#ifndef CLQ_IO_WRITER_H
#define CLQ_IO_WRITER_H

#include "io/element_type.h"
#include "io/name_map.h"
#include "io/written.h"
#include <clquant_io.h>
#include <stdbool.h>

struct clq_writer_tensor {
    char *name; /* NULL in a .npy */
    const struct clq_element_type *type;
    int32_t rank;
    int64_t *shape;
    int64_t size_bytes;
    int64_t begin; /* of the data, from the end of the header */
};

struct clq_writer_metadata {
    char *key;
    char *value;
};

struct clq_file_writer {
    clq_allocator allocator;
    clq_file_format format;
    char *path;
    char *folder; /* with its last slash; "" for the current one */
    char *temporary_path;
    int fd;        /* -1: none */
    bool laid_out; /* the header is written: no more declarations */
    bool failed;   /* flushing failed: what reached the disk is unknown */
    bool committed;
    struct clq_writer_tensor *tensors; /* as declared; they may move until the layout */
    int64_t tensor_count;
    int64_t tensor_capacity;
    const struct clq_writer_tensor **order; /* as in the file, from the layout on */
    struct clq_name_map names;
    struct clq_writer_metadata *metadata;
    int64_t metadata_count;
    int64_t metadata_capacity;
    struct clq_name_map keys;
    int64_t data_begin;
    int64_t data_bytes;
    struct clq_written written; /* of the data */
};

#endif
