/* SPDX-License-Identifier: MIT */
/* A hash table from names to numbers: a checkpoint has a hundred thousand tensors, a hostile header millions. */
#include "config.h"

#include "io/name_map.h"

#include "base/alloc.h"
#include <string.h>
#include <time.h>

/* FNV-1a from a seed that a file's author does not know, so that names cannot be chosen to collide; then the finalizer of
   splitmix64, since the low bits pick the slot. */
static uint64_t hash_name(uint64_t seed, const char *name)
{
    uint64_t hash = seed;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    hash = (hash ^ (hash >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    hash = (hash ^ (hash >> 27)) * UINT64_C(0x94d049bb133111eb);
    return hash ^ (hash >> 31);
}

static uint64_t make_seed(const void *address)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_nsec * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(uintptr_t)address ^ (uint64_t)now.tv_sec << 32;
}

/* The slot that holds `name`, or the empty one where it belongs; there is one, since half of them are empty. */
static struct clq_name_slot *find_slot(const struct clq_name_map *map, const char *name)
{
    const uint64_t mask = (uint64_t)map->capacity - 1;
    uint64_t i = hash_name(map->seed, name) & mask;
    while (map->slots[i].name != NULL && strcmp(map->slots[i].name, name) != 0)
        i = (i + 1) & mask;
    return &map->slots[i];
}

int64_t clq_name_map_find(const struct clq_name_map *map, const char *name)
{
    if (map->count == 0) return -1;
    const struct clq_name_slot *slot = find_slot(map, name);
    return slot->name == NULL ? -1 : slot->value;
}

bool clq_name_map_add(struct clq_name_map *map, const clq_allocator *allocator, const char *name, int64_t value)
{
    if (2 * (map->count + 1) > map->capacity) {
        struct clq_name_map grown = {.capacity = map->capacity == 0 ? 16 : 2 * map->capacity};
        grown.slots = clq_alloc_zeroed(allocator, grown.capacity, sizeof *grown.slots);
        if (grown.slots == NULL) return false;
        grown.seed = make_seed(grown.slots);
        for (int64_t i = 0; i < map->capacity; i++)
            if (map->slots[i].name != NULL) *find_slot(&grown, map->slots[i].name) = map->slots[i];
        grown.count = map->count;
        clq_dealloc(allocator, map->slots);
        *map = grown;
    }
    *find_slot(map, name) = (struct clq_name_slot){name, value};
    map->count++;
    return true;
}

void clq_name_map_free(struct clq_name_map *map, const clq_allocator *allocator)
{
    clq_dealloc(allocator, map->slots);
    *map = (struct clq_name_map){0};
}
