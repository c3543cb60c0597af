/* SPDX-License-Identifier: MIT */
/* Files of the operating system. pread() instead of mmap(): a file that shrinks meanwhile is an error, not a signal. */
#include "config.h"

#include "io/os_file.h"

#include "base/util.h"
#include "context.h"
#include "io/text.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "files are larger than 2 GiB: AC_SYS_LARGEFILE");

/* Linux moves at most 0x7ffff000 bytes a call, and other systems refuse more than INT_MAX. */
#define STEP_BYTES (INT64_C(1) << 30)

clq_status clq_os_fail(clq_context *context, const char *path, int error_number)
{
    return clq_fail(context, CLQ_ERROR_IO, "%s: %s", clq_show(path).text, strerror(error_number));
}

clq_status clq_os_open(clq_context *context, const char *path, int *fd, int64_t *size_bytes)
{
    /* O_NONBLOCK: opening a pipe must not wait for a writer. It changes nothing about regular files. */
    const int opened = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (opened < 0) return clq_os_fail(context, path, errno);
    struct stat info;
    clq_status status = CLQ_OK;
    if (fstat(opened, &info) != 0)
        status = clq_os_fail(context, path, errno);
    else if (S_ISDIR(info.st_mode))
        status = clq_os_fail(context, path, EISDIR);
    else if (!S_ISREG(info.st_mode))
        status = clq_fail(context, CLQ_ERROR_IO, "%s: not a regular file", clq_show(path).text);
    if (status != CLQ_OK) {
        close(opened);
        return status;
    }
    *fd = opened;
    *size_bytes = info.st_size;
    return CLQ_OK;
}

clq_status clq_os_read(clq_context *context, const char *path, int fd, int64_t offset, int64_t size, void *data)
{
    char *out = data;
    while (size > 0) {
        const ssize_t done = pread(fd, out, (size_t)clq_min_i64(size, STEP_BYTES), offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return clq_os_fail(context, path, errno);
        if (done == 0)
            return clq_fail(context, CLQ_ERROR_IO, "%s: the file ends at byte %lld: it has shrunk since it was opened",
                            clq_show(path).text, (long long)offset);
        out += done;
        offset += done;
        size -= done;
    }
    return CLQ_OK;
}

clq_status clq_os_write(clq_context *context, const char *path, int fd, int64_t offset, int64_t size, const void *data)
{
    const char *in = data;
    while (size > 0) {
        const ssize_t done = pwrite(fd, in, (size_t)clq_min_i64(size, STEP_BYTES), offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return clq_os_fail(context, path, done < 0 ? errno : EIO);
        in += done;
        offset += done;
        size -= done;
    }
    return CLQ_OK;
}
