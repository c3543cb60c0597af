/* SPDX-License-Identifier: MIT */
/* A hash table from names to numbers. It does not own the names. */
#ifndef CLQ_IO_NAME_MAP_H
#define CLQ_IO_NAME_MAP_H

#include <clquant.h>
#include <stdbool.h>

struct clq_name_slot {
    const char *name; /* NULL: empty */
    int64_t value;
};

/* A zeroed map is empty. */
struct clq_name_map {
    struct clq_name_slot *slots; /* open addressing, at most half full */
    int64_t capacity;            /* a power of two, or 0 */
    int64_t count;
    uint64_t seed;
};

/* The number of `name`, or -1. */
int64_t clq_name_map_find(const struct clq_name_map *map, const char *name);

/* Adds a name that is not there yet. False without memory, and then the map is as it was. */
bool clq_name_map_add(struct clq_name_map *map, const clq_allocator *allocator, const char *name, int64_t value);

void clq_name_map_free(struct clq_name_map *map, const clq_allocator *allocator);

#endif
