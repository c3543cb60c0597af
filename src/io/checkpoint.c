/* SPDX-License-Identifier: MIT */
/*
 * Sharded checkpoints: an index.json whose "weight_map" says for each tensor which .safetensors file beside it holds it.
 *
 * The index is the list of tensors. A shard may hold others (weights that are tied, or were left out on purpose): they are passed
 * over with a warning in the log. A shard's name may not leave the folder, but may be a symbolic link, which is how download
 * caches are laid out.
 */
#include "config.h"

#include "base/alloc.h"
#include "context.h"
#include "io/file.h"
#include "io/grow.h"
#include "io/json.h"
#include "io/os_file.h"
#include "io/text.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* One line of the weight_map. */
struct weight {
    const char *name;
    const char *shard;
    bool found;
};

struct index {
    clq_context *context;
    const clq_allocator *allocator;
    const char *path;
    char *text; /* names and shards point into it */
    struct clq_json json;
    struct weight *weights;
    int64_t weight_count;
    int64_t weight_capacity;
    struct clq_name_map weight_names;
    const char **shards; /* each once, sorted */
    int64_t shard_count;
    int64_t shard_capacity;
    struct clq_name_map shard_names;
};

static void free_index(struct index *index)
{
    clq_name_map_free(&index->weight_names, index->allocator);
    clq_name_map_free(&index->shard_names, index->allocator);
    clq_dealloc(index->allocator, index->weights);
    clq_dealloc(index->allocator, index->shards);
    clq_dealloc(index->allocator, index->text);
}

/* A shard is a file in the index's own folder. */
static clq_status check_shard_name(const struct index *index, const char *shard)
{
    const size_t size = strlen(shard);
    static const char extension[] = ".safetensors";
    const char *fault = NULL;
    for (const char *c = shard; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) fault = "a control character in its name";
    if (strchr(shard, '/') != NULL || strchr(shard, '\\') != NULL)
        fault = "outside the index's folder";
    else if (size <= strlen(extension) || strcmp(shard + size - strlen(extension), extension) != 0)
        fault = "not a .safetensors file";
    if (fault == NULL) return CLQ_OK;
    return clq_fail(index->context, CLQ_ERROR_FORMAT, "%s: shard \"%s\": %s", clq_show(index->path).text, clq_show(shard).text,
                    fault);
}

static clq_status add_shard(struct index *index, const char *shard)
{
    if (clq_name_map_find(&index->shard_names, shard) >= 0) return CLQ_OK;
    CLQ_TRY(check_shard_name(index, shard));
    if (index->shard_count == CLQ_FILE_MAX_SHARDS)
        return clq_fail(index->context, CLQ_ERROR_FORMAT, "%s: more than %d shards", clq_show(index->path).text,
                        CLQ_FILE_MAX_SHARDS);
    const char **grown = clq_grow(index->allocator, index->shards, index->shard_count, &index->shard_capacity, sizeof *grown);
    if (grown == NULL) return clq_file_no_memory(index->context, index->path);
    index->shards = grown;
    if (!clq_name_map_add(&index->shard_names, index->allocator, shard, index->shard_count))
        return clq_file_no_memory(index->context, index->path);
    index->shards[index->shard_count++] = shard;
    return CLQ_OK;
}

static clq_status add_weight(struct index *index, const char *name, const char *shard)
{
    if (clq_name_map_find(&index->weight_names, name) >= 0)
        return clq_fail(index->context, CLQ_ERROR_FORMAT, "%s: tensor \"%s\" is there twice", clq_show(index->path).text,
                        clq_show(name).text);
    struct weight *grown =
        clq_grow(index->allocator, index->weights, index->weight_count, &index->weight_capacity, sizeof *grown);
    if (grown == NULL) return clq_file_no_memory(index->context, index->path);
    index->weights = grown;
    if (!clq_name_map_add(&index->weight_names, index->allocator, name, index->weight_count))
        return clq_file_no_memory(index->context, index->path);
    index->weights[index->weight_count++] = (struct weight){name, shard, false};
    return add_shard(index, shard);
}

static clq_status read_weight_map(struct index *index)
{
    CLQ_TRY(clq_json_enter(&index->json, '{'));
    for (;;) {
        bool more;
        const char *name, *shard;
        CLQ_TRY(clq_json_next(&index->json, '{', &more));
        if (!more) return CLQ_OK;
        CLQ_TRY(clq_json_key(&index->json, &name));
        CLQ_TRY(clq_json_string(&index->json, &shard));
        CLQ_TRY(add_weight(index, name, shard));
    }
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static clq_status read_index(struct index *index, int fd, int64_t size_bytes)
{
    bool seen = false;
    if (size_bytes > CLQ_FILE_HEADER_MAX_BYTES)
        return clq_fail(index->context, CLQ_ERROR_FORMAT, "%s: an index of %lld bytes, at most %d", clq_show(index->path).text,
                        (long long)size_bytes, CLQ_FILE_HEADER_MAX_BYTES);
    index->text = clq_alloc(index->allocator, size_bytes + 1, 1);
    if (index->text == NULL) return clq_file_no_memory(index->context, index->path);
    index->text[size_bytes] = '\0';
    CLQ_TRY(clq_os_read(index->context, index->path, fd, 0, size_bytes, index->text));
    index->json = (struct clq_json){.context = index->context, .path = index->path, .text = index->text, .size = size_bytes};
    CLQ_TRY(clq_json_enter(&index->json, '{'));
    for (;;) {
        bool more;
        const char *key;
        CLQ_TRY(clq_json_next(&index->json, '{', &more));
        if (!more) break;
        CLQ_TRY(clq_json_key(&index->json, &key));
        if (strcmp(key, "weight_map") != 0) {
            CLQ_TRY(clq_json_skip(&index->json));
        } else {
            if (seen) return clq_json_fail(&index->json, "weight_map is there twice");
            seen = true;
            CLQ_TRY(read_weight_map(index));
        }
    }
    CLQ_TRY(clq_json_end(&index->json));
    if (!seen)
        return clq_fail(index->context, CLQ_ERROR_FORMAT, "%s: no weight_map: not an index of shards",
                        clq_show(index->path).text);
    if (index->shard_count > 0) qsort(index->shards, (size_t)index->shard_count, sizeof *index->shards, compare_names);
    return CLQ_OK;
}

/* The index's folder, and `shard` in it. */
static char *join_path(const struct index *index, const char *shard)
{
    const char *slash = strrchr(index->path, '/');
    const size_t folder = slash == NULL ? 0 : (size_t)(slash + 1 - index->path), size = strlen(shard) + 1;
    char *path = clq_alloc(index->allocator, (int64_t)(folder + size), 1);
    if (path == NULL) return NULL;
    memcpy(path, index->path, folder);
    memcpy(path + folder, shard, size);
    return path;
}

/* Drops the entries from `first` on that the index does not name for this shard. */
static void keep_named(struct index *index, struct clq_file *file, int64_t first, const char *shard)
{
    int64_t kept = first;
    for (int64_t i = first; i < file->entry_count; i++) {
        const int64_t found = clq_name_map_find(&index->weight_names, file->entries[i].view.name);
        if (found < 0 || strcmp(index->weights[found].shard, shard) != 0) continue;
        index->weights[found].found = true;
        file->entries[kept++] = file->entries[i];
    }
    if (kept < file->entry_count)
        clq_log(index->context, CLQ_LOG_WARNING,
                "%s: passed over %lld tensors of shard \"%s\" that the index does not place there", clq_show(index->path).text,
                (long long)(file->entry_count - kept), clq_show(shard).text);
    file->entry_count = kept;
}

static clq_status open_shard(struct index *index, struct clq_file *file, int32_t part_index)
{
    struct clq_file_part *part = &file->parts[part_index];
    const int64_t first = file->entry_count;
    struct clq_name_map names = {0};
    part->path = join_path(index, index->shards[part_index]);
    if (part->path == NULL) return clq_file_no_memory(index->context, index->path);
    CLQ_TRY(clq_os_open(index->context, part->path, &part->fd, &part->size_bytes));
    CLQ_TRY(clq_safetensors_read_header(index->context, file, part_index));
    const clq_status status = clq_file_index_names(index->context, file, first, &names);
    clq_name_map_free(&names, index->allocator);
    if (status == CLQ_OK) keep_named(index, file, first, index->shards[part_index]);
    return status;
}

static clq_status open_shards(struct index *index, struct clq_file *file)
{
    CLQ_TRY(clq_file_add_parts(index->context, file, index->path, (int32_t)index->shard_count));
    for (int32_t i = 0; i < file->part_count; i++)
        CLQ_TRY(open_shard(index, file, i));
    for (int64_t i = 0; i < index->weight_count; i++)
        if (!index->weights[i].found)
            return clq_fail(index->context, CLQ_ERROR_FORMAT, "%s: tensor \"%s\" is not in its shard \"%s\"",
                            clq_show(index->path).text, clq_show(index->weights[i].name).text,
                            clq_show(index->weights[i].shard).text);
    return CLQ_OK;
}

clq_status clq_checkpoint_open(clq_context *context, struct clq_file *file, const char *path, int fd, int64_t size_bytes)
{
    struct index index = {.context = context, .allocator = &file->allocator, .path = path};
    clq_status status = read_index(&index, fd, size_bytes);
    if (status == CLQ_OK) status = open_shards(&index, file);
    free_index(&index);
    return status;
}
