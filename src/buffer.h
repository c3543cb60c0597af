/* SPDX-License-Identifier: MIT */
/* A buffer's inside. */
#ifndef CLQ_BUFFER_H
#define CLQ_BUFFER_H

#include <clquant.h>

struct clq_buffer {
    clq_allocator allocator; /* a copy: the buffer may outlive its context */
    int64_t size_bytes;
    void *data;
};

#endif
