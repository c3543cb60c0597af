/* SPDX-License-Identifier: MIT */
/* Which bytes of a file have been written. */
#ifndef CLQ_IO_WRITTEN_H
#define CLQ_IO_WRITTEN_H

#include <clquant.h>
#include <stdbool.h>

struct clq_written_range {
    int64_t begin;
    int64_t end;
};

/* Ascending ranges that neither overlap nor touch: one, when a file is written from front to back. */
struct clq_written {
    struct clq_written_range *ranges;
    int64_t count;
    int64_t capacity;
};

/* Makes room, so that the next clq_written_add() cannot fail. False without memory. */
bool clq_written_reserve(struct clq_written *written, const clq_allocator *allocator);

void clq_written_add(struct clq_written *written, int64_t begin, int64_t end);

/* The first byte that is missing; all before it are there. */
int64_t clq_written_gap(const struct clq_written *written);

#endif
