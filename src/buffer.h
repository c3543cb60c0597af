/* SPDX-License-Identifier: MIT */
/* A buffer's inside. */
#ifndef CLQ_BUFFER_H
#define CLQ_BUFFER_H

#include "backend.h"

struct clq_buffer {
    clq_allocator allocator; /* a copy: the buffer may outlive its context */
    int64_t size_bytes;
    void *data;                        /* host memory, or */
    void *memory;                      /* the device's, */
    const struct clq_backend *backend; /* of this kind */
    pid_t pid;                         /* of the process that made it: a forked child leaves the device's memory alone */
};

#endif
