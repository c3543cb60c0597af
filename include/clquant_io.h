/* SPDX-License-Identifier: MIT */
/**
 * @file clquant_io.h
 * Tensor files: NumPy's .npy, .safetensors, and sharded checkpoints (an index.json and its .safetensors files).
 *
 * Files are treated as hostile: every length is checked before it is used, nothing is believed that the file's real size
 * does not bear out. Elements are read and written in pieces, so that a file may be larger than memory. Errors, threads and
 * memory follow clquant.h; a call that fails with CLQ_ERROR_IO or CLQ_ERROR_FORMAT names file, place and fault. Objects keep
 * their context's allocator and must be freed before the context is.
 *
 * Data is little endian in both formats and is handed over as it is stored.
 */
#ifndef CLQUANT_IO_H
#define CLQUANT_IO_H

#include <clquant.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Largest header of a .safetensors file, and largest index.json, in bytes. */
#define CLQ_FILE_HEADER_MAX_BYTES 100000000

/** Largest rank of a tensor in a file. */
#define CLQ_FILE_MAX_RANK 64

/** Most shards of a checkpoint. All are kept open while it is: the process's limit on open files counts too. */
#define CLQ_FILE_MAX_SHARDS 4096

/** A file, or a sharded checkpoint, opened for reading. */
typedef struct clq_file clq_file;

/** A file being written. */
typedef struct clq_file_writer clq_file_writer;

/** The formats. */
typedef enum clq_file_format {
    CLQ_FILE_NPY = 1,        /**< NumPy format versions 1.0, 2.0 and 3.0; little endian, C order. */
    CLQ_FILE_SAFETENSORS = 2 /**< One .safetensors file, or the shards that an index.json names. */
} clq_file_format;

/** One tensor of an open file. Pointers live as long as the clq_file. */
typedef struct clq_file_tensor {
    const char *name;       /**< UTF-8. For a .npy: the file's name without folder and extension, in whatever bytes that has. */
    const char *file_path;  /**< The file (the shard) that holds it. */
    const char *dtype_name; /**< As the file spells it: "BF16", "<f4". */
    clq_dtype dtype;        /**< CLQ_DTYPE_NONE if it is a type that clquant only carries (BOOL, U32, F8_E4M3, ...). */
    int32_t element_bits;   /**< Bits of an element as stored. */
    int32_t rank;           /**< 0 to CLQ_FILE_MAX_RANK; may exceed CLQ_MAX_RANK. */
    const int64_t *shape;   /**< `rank` extents; the product of those that are not 0 does not overflow. */
    int64_t element_count;  /**< Product of the extents. */
    int64_t size_bytes;     /**< Bytes of data. */
} clq_file_tensor;

/**
 * Opens a file and reads and checks its header. An index of shards is told by a name that ends in ".index.json" or by its
 * content, the other two by their content alone.
 *
 * Refused with CLQ_ERROR_IO: what is no regular file. Refused with CLQ_ERROR_FORMAT: a wrong magic, a header that is truncated,
 * too large, too deep or not what it says, big-endian and Fortran-order .npy (named as such), dtypes that are no numbers,
 * duplicate names, negative or overflowing sizes, data offsets that are out of bounds, overlap or leave holes, data that ends
 * before the file does or behind its end, and in an index a shard outside its own folder or a tensor that its shard lacks.
 *
 * An index is the list of a checkpoint's tensors: what a shard holds besides is passed over, with a line in the log. A shard may
 * be a symbolic link to anywhere, as in download caches; its name in the index may not lead out of the folder.
 * @param[out] file the open file, NULL on failure; close it with clq_file_close()
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_IO, CLQ_ERROR_FORMAT, CLQ_ERROR_OUT_OF_MEMORY
 */
CLQ_API clq_status clq_file_open(clq_context *context, const char *path, clq_file **file);

/** Closes a file; NULL is fine. */
CLQ_API void clq_file_close(clq_file *file);

/** The file's format. */
CLQ_API clq_file_format clq_file_get_format(const clq_file *file);

/** How many tensors it has. */
CLQ_API int64_t clq_file_tensor_count(const clq_file *file);

/** The tensor at `index`, in the order of the data (shard after shard); NULL if there is none. */
CLQ_API const clq_file_tensor *clq_file_get_tensor(const clq_file *file, int64_t index);

/** The index of the tensor called `name`, or -1. */
CLQ_API int64_t clq_file_find_tensor(const clq_file *file, const char *name);

/** The value of `key` in the file's `__metadata__` (the first shard that has it), or NULL. UTF-8. */
CLQ_API const char *clq_file_get_metadata(const clq_file *file, const char *key);

/** The key and value number `index` of the metadata; returns 0, both untouched, past the last. */
CLQ_API int clq_file_metadata_at(const clq_file *file, int64_t index, const char **key, const char **value);

/**
 * Reads `size_bytes` of a tensor's data, starting `offset_bytes` into it.
 * @return CLQ_ERROR_INVALID_ARGUMENT past its end; CLQ_ERROR_IO, also if the file has shrunk meanwhile
 */
CLQ_API clq_status clq_file_read(clq_context *context, clq_file *file, int64_t index, int64_t offset_bytes, int64_t size_bytes,
                                 void *data);

/**
 * Begins a file. It is written under a temporary name in the same folder; `path` is untouched until clq_file_writer_commit().
 *
 * What stands at `path` must be a regular file that may be written to, whose mode the new one takes over, or nothing; a folder,
 * device or pipe is CLQ_ERROR_IO. A symbolic link is replaced itself, and what it points to left alone. A program should ignore
 * SIGXFSZ, so that a limit on the size of files is an error and not its end.
 *
 * Next: any number of _add_metadata and _add_tensor, then any number of _write, then _commit.
 * @param[out] writer the writer, NULL on failure; free it with clq_file_writer_free() in every case
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_IO, CLQ_ERROR_OUT_OF_MEMORY
 */
CLQ_API clq_status clq_file_writer_create(clq_context *context, const char *path, clq_file_format format,
                                          clq_file_writer **writer);

/** The temporary name, so that a program killed by a signal can remove it, until the commit. Lives as long as the writer. */
CLQ_API const char *clq_file_writer_temporary_path(const clq_file_writer *writer);

/** Adds a `__metadata__` entry (.safetensors only); the file has them in this order. CLQ_ERROR_INVALID_ARGUMENT for a key that is
 * there already, for text that is not UTF-8, and once data has been written; CLQ_ERROR_OUT_OF_MEMORY. Copies both. */
CLQ_API clq_status clq_file_writer_add_metadata(clq_context *context, clq_file_writer *writer, const char *key,
                                                const char *value);

/**
 * Declares a tensor; its data may then be written in any order. A .npy holds one. A .safetensors is laid out by descending
 * element size, then by name.
 *
 * @param      name       UTF-8, not there yet, not "__metadata__"; ignored for .npy
 * @param      dtype_name as .safetensors spells it: "F32", "BF16", "I8", ... for either format
 * @param[out] index      what clq_file_writer_write() takes
 * @return CLQ_ERROR_INVALID_ARGUMENT (a name twice or not UTF-8, a second tensor in a .npy, or data has been written),
 *         CLQ_ERROR_DTYPE (an unknown dtype, or one .npy lacks), CLQ_ERROR_SHAPE (rank, a negative extent, or elements of less
 *         than a byte that do not fill the last one), CLQ_ERROR_OVERFLOW, CLQ_ERROR_OUT_OF_MEMORY
 */
CLQ_API clq_status clq_file_writer_add_tensor(clq_context *context, clq_file_writer *writer, const char *name,
                                              const char *dtype_name, int32_t rank, const int64_t *shape, int64_t *index);

/**
 * Writes part of a tensor's data; parts may come in any order and more than once. The first call fixes the header.
 * @return CLQ_ERROR_INVALID_ARGUMENT past its end, CLQ_ERROR_IO, CLQ_ERROR_OUT_OF_MEMORY; CLQ_ERROR_OVERFLOW if the header has
 * more than CLQ_FILE_HEADER_MAX_BYTES or the data more than 63 bits hold
 */
CLQ_API clq_status clq_file_writer_write(clq_context *context, clq_file_writer *writer, int64_t index, int64_t offset_bytes,
                                         int64_t size_bytes, const void *data);

/**
 * Flushes the file to disk and renames it to `path`, replacing what was there. On failure that is untouched.
 * @return CLQ_ERROR_INVALID_ARGUMENT if a declared byte was not written, CLQ_ERROR_IO; without any clq_file_writer_write()
 * before, what that returns
 */
CLQ_API clq_status clq_file_writer_commit(clq_context *context, clq_file_writer *writer);

/** Frees a writer, and removes the temporary file unless it was committed; NULL is fine. */
CLQ_API void clq_file_writer_free(clq_file_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
