/* SPDX-License-Identifier: MIT */
/* Which bytes of a file have been written: counting alone would take a byte written twice for two. */
#include "config.h"

#include "io/written.h"

#include "base/util.h"
#include "io/grow.h"
#include <string.h>

bool clq_written_reserve(struct clq_written *written, const clq_allocator *allocator)
{
    struct clq_written_range *grown = clq_grow(allocator, written->ranges, written->count, &written->capacity, sizeof *grown);
    if (grown == NULL) return false;
    written->ranges = grown;
    return true;
}

void clq_written_add(struct clq_written *written, int64_t begin, int64_t end)
{
    if (begin == end) return;
    struct clq_written_range *ranges = written->ranges;
    /* From the back: the newest range mostly follows the last one. [first, last) are those it overlaps or touches. */
    int64_t last = written->count;
    while (last > 0 && ranges[last - 1].begin > end)
        last--;
    int64_t first = last;
    while (first > 0 && ranges[first - 1].end >= begin) {
        first--;
        begin = clq_min_i64(begin, ranges[first].begin);
        end = clq_max_i64(end, ranges[first].end);
    }
    memmove(ranges + first + 1, ranges + last, (size_t)(written->count - last) * sizeof *ranges);
    ranges[first] = (struct clq_written_range){begin, end};
    written->count += 1 - (last - first);
}

int64_t clq_written_gap(const struct clq_written *written)
{
    return written->count > 0 && written->ranges[0].begin == 0 ? written->ranges[0].end : 0;
}
