/* SPDX-License-Identifier: MIT */
/* Files of the operating system, with failures as one line of text that names the path. */
#ifndef CLQ_IO_OS_FILE_H
#define CLQ_IO_OS_FILE_H

#include <clquant_io.h>

/* "PATH: fault" as CLQ_ERROR_IO, the fault being the text of `error_number`. */
clq_status clq_os_fail(clq_context *context, const char *path, int error_number);

/* Opens a regular file for reading; a pipe, device or folder is refused without waiting for it. */
clq_status clq_os_open(clq_context *context, const char *path, int *fd, int64_t *size_bytes);

/* All of [offset, offset + size), or CLQ_ERROR_IO: also where the file ends before that. */
clq_status clq_os_read(clq_context *context, const char *path, int fd, int64_t offset, int64_t size, void *data);
clq_status clq_os_write(clq_context *context, const char *path, int fd, int64_t offset, int64_t size, const void *data);

#endif
