/* SPDX-License-Identifier: MIT */
/* An open file's inside, and what fills it. */
#ifndef CLQ_IO_FILE_H
#define CLQ_IO_FILE_H

#include "io/element_type.h"
#include "io/name_map.h"
#include <clquant_io.h>

/* One file of the operating system: the .npy, the .safetensors, or a shard. */
struct clq_file_part {
    char *path;
    int fd; /* -1: none */
    int64_t size_bytes;
    int64_t data_begin; /* where the data begins; a tensor's offsets count from here */
    char *header;       /* the header's text, into which names and metadata point */
    char *name;         /* of the tensor in a .npy */
    int64_t *shapes;    /* of all its tensors */
    int64_t shapes_used;
    int64_t shapes_capacity;
};

struct clq_file_entry {
    clq_file_tensor view;
    int64_t begin;       /* of the data, from the part's data_begin */
    int64_t shape_index; /* into the part's shapes, while they may still move */
    int32_t part;
};

struct clq_file_metadata {
    const char *key;
    const char *value;
    int32_t part;
};

struct clq_file {
    clq_allocator allocator;
    clq_file_format format;
    struct clq_file_part *parts;
    int32_t part_count;
    int64_t header_bytes; /* of all parts */
    struct clq_file_entry *entries;
    int64_t entry_count;
    int64_t entry_capacity;
    struct clq_name_map names; /* of the entries */
    struct clq_file_metadata *metadata;
    int64_t metadata_count;
    int64_t metadata_capacity;
    struct clq_name_map keys; /* of the metadata */
};

/* Gives the file `count` parts without a file. */
clq_status clq_file_add_parts(clq_context *context, struct clq_file *file, const char *path, int32_t count);

/* Fills `names` from the entries; a name that is there twice is CLQ_ERROR_FORMAT. */
clq_status clq_file_index_names(clq_context *context, const struct clq_file *file, int64_t first_entry,
                                struct clq_name_map *names);

/* "PATH: out of memory". */
clq_status clq_file_no_memory(clq_context *context, const char *path);

/* Each reads the header of an open part and appends what it finds: npy.c, safetensors.c. */
clq_status clq_npy_read_header(clq_context *context, struct clq_file *file, int32_t part_index);
clq_status clq_safetensors_read_header(clq_context *context, struct clq_file *file, int32_t part_index);

/* Reads an index.json and opens the shards that it names: checkpoint.c. */
clq_status clq_checkpoint_open(clq_context *context, struct clq_file *file, const char *path, int fd, int64_t size_bytes);

#endif
