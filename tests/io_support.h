/* SPDX-License-Identifier: MIT */
/* What the tests of tensor files share: a folder of their own, files made by hand, contexts that log and count. */
#ifndef CLQ_TESTS_IO_SUPPORT_H
#define CLQ_TESTS_IO_SUPPORT_H

#include "test_support.h"
#include <clquant_io.h>

/* A test case in a folder of its own, which is removed with all that is in it when the case ends. */
TCase *io_case(Suite *suite, const char *name);

/* "FOLDER/NAME". One of several static buffers. */
const char *io_path(const char *name);

/* How many files are in the folder. */
int64_t io_file_count(void);

/* How many descriptors the process has open. */
int64_t io_open_count(void);

/* A context on one thread; the allocator may be NULL. Its last warning is in io_warning. */
clq_context *io_context(struct test_allocator *allocator);
extern char io_warning[512];

/* Writes `size` bytes to the file NAME of the folder. */
const char *io_put(const char *name, const void *bytes, size_t size);

const char *io_put_text(const char *name, const char *text);

/* A .safetensors of this JSON text and so many bytes of data: 0, 1, 2, ... */
const char *io_put_safetensors(const char *name, const char *json, size_t data_bytes);

/* A .npy of this version, dictionary text and so many bytes of data: 0, 1, 2, ... */
const char *io_put_npy(const char *name, int major, const char *dictionary, size_t data_bytes);

/* A whole file; free() it. */
unsigned char *io_get(const char *path, size_t *size);

/* The file at `path` has exactly these bytes. */
void io_check_bytes(const char *path, const void *bytes, size_t size);

/* Opening fails with this status, a NULL handle, and a line that holds `path` and `fault`, printable and no descriptor left open.
 */
void io_check_refused(clq_context *context, const char *path, clq_status status, const char *fault);

/* Opens, reads every byte in uneven pieces, closes; the first failure. */
clq_status io_read_all(clq_context *context, const char *path);

#endif
