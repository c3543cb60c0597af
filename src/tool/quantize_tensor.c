/* SPDX-License-Identifier: MIT */
/*
 * Quantizes one tensor, block by block: a block shares no scale with others. One that is in memory at once is read once; of a
 * larger one the first pass over its chunks finds the ranges, the second quantizes.
 */
#include "config.h"

#include "tool/quantize_tensor.h"

#include "tool/progress.h"
#include <inttypes.h>
#include <string.h>

/* What the functions below work on. */
struct job {
    struct clq_tool_quantizer *z;
    const struct clq_tool_entry *entry;
    const struct clq_tool_grid *grid;
    const int64_t *indexes;
    struct clq_tool_result *result;
    struct clq_tool_box block;
    clq_dtype dtype; /* of the floats in memory */
    const void *x;
};

static bool fail_job(const struct job *job, clq_status status)
{
    return clq_tool_fail_library(job->z->tool, job->z->catalog->path, job->entry->tensor->name, status);
}

static bool load(struct job *job, const struct clq_tool_box *box)
{
    void *x = clq_tool_reserve(&job->z->floats, clq_tool_bytes(job->dtype, box->count));
    job->x = x;
    return x != NULL && clq_tool_read_floats(job->z->tool, job->z->catalog, job->entry, box->first, box->count, job->dtype, x);
}

/* ---------------------------------------------------------------------------------------------- non-finite elements */

/* The first element of a chunk that is not finite: all bits of its exponent are set. -1 if there is none. */
static int64_t find_nonfinite(clq_dtype dtype, const void *x, int64_t count, bool *is_nan)
{
    const uint32_t exponent = dtype == CLQ_F32 ? 0x7f800000u : dtype == CLQ_F16 ? 0x7c00u : 0x7f80u;
    const uint32_t mantissa = dtype == CLQ_F32 ? 0x007fffffu : dtype == CLQ_F16 ? 0x03ffu : 0x007fu;
    for (int64_t k = 0; k < count; k++) {
        uint32_t bits;
        uint16_t half;
        if (dtype == CLQ_F32) {
            memcpy(&bits, (const char *)x + 4 * k, sizeof bits);
        } else {
            memcpy(&half, (const char *)x + 2 * k, sizeof half);
            bits = half;
        }
        *is_nan = (bits & mantissa) != 0;
        if ((bits & exponent) == exponent) return k;
    }
    return -1;
}

static bool fail_nonfinite(const struct job *job, const struct clq_tool_box *box, const int64_t counts[3])
{
    const struct clq_file_tensor *tensor = job->entry->tensor;
    char place[256] = "[";
    size_t used = 1;
    bool is_nan = false;
    const int64_t found = find_nonfinite(job->dtype, job->x, box->count, &is_nan);
    int64_t rest = box->first + found, volume = tensor->element_count;
    for (int32_t d = 0; d < tensor->rank && used + 32 < sizeof place; d++) {
        volume /= tensor->shape[d];
        used += (size_t)snprintf(place + used, sizeof place - used, d > 0 ? ",%" PRId64 : "%" PRId64, rest / volume);
        rest %= volume;
    }
    return clq_tool_fail(job->z->catalog->path, NULL,
                         "tensor \"%.400s\": element %s] is %s; elements %" PRId64 " to %" PRId64 " hold %" PRId64
                         " NaN and %" PRId64 " infinite values%s (--allow-nonfinite quantizes them)",
                         tensor->name, place, is_nan ? "NaN" : "infinite", box->first, box->first + box->count - 1, counts[0],
                         counts[1], tensor->dtype == CLQ_F64 ? " once narrowed to f32" : "");
}

/* ---------------------------------------------------------------------------------------------- ranges */

/* Widens the block's ranges by those of a chunk. Both start at 0, which belongs to every range that scales are made from. */
static void merge_ranges(struct job *job, const struct clq_tool_box *box)
{
    float *lo = (float *)job->z->lo.data + (box->param_first - job->block.param_first);
    float *hi = (float *)job->z->hi.data + (box->param_first - job->block.param_first);
    const float *chunk_lo = job->z->chunk_lo.data, *chunk_hi = job->z->chunk_hi.data;
    for (int64_t k = 0; k < box->param_count; k++) {
        if (chunk_lo[k] < lo[k]) lo[k] = chunk_lo[k];
        if (chunk_hi[k] > hi[k]) hi[k] = chunk_hi[k];
    }
}

static bool find_ranges(struct job *job, const struct clq_tool_box *box)
{
    struct clq_tool_quantizer *z = job->z;
    int64_t counts[3] = {0, 0, 0};
    if (clq_tool_reserve(&z->chunk_lo, box->param_count * 4) == NULL ||
        clq_tool_reserve(&z->chunk_hi, box->param_count * 4) == NULL)
        return false;
    const clq_tensor x = clq_tool_box_view(box, job->dtype, job->x),
                     counts_view = clq_tensor_host(CLQ_S64, counts, 1, (int64_t[]){3});
    const clq_tensor lo = clq_tool_param_view(box, CLQ_F32, z->chunk_lo.data),
                     hi = clq_tool_param_view(box, CLQ_F32, z->chunk_hi.data);
    const double begun = clq_tool_meter_begin();
    const clq_status status = clq_minmax(z->tool->context, &x, &job->grid->scheme, &lo, &hi, &counts_view);
    clq_tool_meter_end(z->tool, begun, clq_tool_bytes(job->dtype, box->count) + 8 * box->param_count);
    if (status != CLQ_OK) return fail_job(job, status);
    if (counts[0] + counts[1] > 0 && !z->allow_nonfinite) return fail_nonfinite(job, box, counts);
    merge_ranges(job, box);
    return true;
}

static bool choose_params(struct job *job)
{
    struct clq_tool_quantizer *z = job->z;
    const struct clq_tool_box *block = &job->block;
    const clq_tensor lo = clq_tool_param_view(block, CLQ_F32, z->lo.data), hi = clq_tool_param_view(block, CLQ_F32, z->hi.data);
    const clq_qparams params = clq_tool_box_params(job->grid, block, z->scale.data, z->zero_point.data);
    const double begun = clq_tool_meter_begin();
    const clq_status status = clq_qparams_from_range(z->tool->context, &lo, &hi, &params);
    clq_tool_meter_end(z->tool, begun, 16 * block->param_count);
    if (status != CLQ_OK) return fail_job(job, status);
    const int64_t offset = 4 * block->param_first, bytes = 4 * block->param_count;
    return clq_tool_output_write(z->tool, z->output, job->indexes[1], offset, bytes, z->scale.data) &&
           clq_tool_output_write(z->tool, z->output, job->indexes[2], offset, bytes, z->zero_point.data);
}

/* ---------------------------------------------------------------------------------------------- elements */

/* Writes 4-bit elements. A chunk may begin and end in the middle of a byte: the odd element waits for its other half. */
static bool write_nibbles(struct job *job, const struct clq_tool_box *box, uint8_t *packed)
{
    struct clq_tool_quantizer *z = job->z;
    const bool is_last = box->first + box->count == job->grid->element_count;
    int64_t count = box->count;
    if (box->first % 2 != 0) clq_tool_nibbles_insert(packed, count++, z->carry);
    if (count % 2 != 0 && !is_last) z->carry = packed[--count / 2];
    return clq_tool_output_write(z->tool, z->output, job->indexes[0], box->first / 2, clq_tool_bytes(CLQ_S4, count), packed);
}

static bool quantize_chunk(struct job *job, const struct clq_tool_box *box)
{
    struct clq_tool_quantizer *z = job->z;
    const clq_dtype dtype = job->grid->scheme.dtype;
    const int64_t bytes = clq_tool_bytes(dtype, box->count), param = box->param_first - job->block.param_first;
    int64_t counts[3] = {0, 0, 0};
    uint8_t *packed = clq_tool_reserve(&z->packed, bytes + 1);
    if (packed == NULL) return false;
    const clq_tensor x = clq_tool_box_view(box, job->dtype, job->x), q = clq_tool_box_view(box, dtype, packed);
    const clq_tensor counts_view = clq_tensor_host(CLQ_S64, counts, 1, (int64_t[]){3});
    const clq_qparams params =
        clq_tool_box_params(job->grid, box, (const float *)z->scale.data + param, (const int32_t *)z->zero_point.data + param);
    const double begun = clq_tool_meter_begin();
    const clq_status status = clq_quantize(z->tool->context, &x, &params, &q, &counts_view);
    clq_tool_meter_end(z->tool, begun, clq_tool_bytes(job->dtype, box->count) + bytes + 8 * box->param_count);
    if (status != CLQ_OK) return fail_job(job, status);
    for (int k = 0; k < 3; k++)
        job->result->counts[k] += counts[k];
    if (clq_dtype_bits(dtype) == 4) return write_nibbles(job, box, packed);
    return clq_tool_output_write(z->tool, z->output, job->indexes[0], clq_tool_bytes(dtype, box->first), bytes, packed);
}

/* ---------------------------------------------------------------------------------------------- chunks and blocks */

static bool over_chunks(struct job *job, bool reload, bool (*work)(struct job *job, const struct clq_tool_box *box))
{
    const int32_t element_bits = job->entry->tensor->element_bits;
    int64_t first = job->block.first, rest = job->block.count;
    do {
        const int64_t limit = rest < CLQ_TOOL_CHUNK_ELEMENTS ? rest : CLQ_TOOL_CHUNK_ELEMENTS;
        const struct clq_tool_box box = clq_tool_box_at(job->grid, first, limit);
        if (reload && !load(job, &box)) return false;
        if (!work(job, &box)) return false;
        if (reload) clq_tool_progress_advance(box.count * (element_bits / 8));
        first += box.count;
        rest -= box.count;
    } while (rest > 0);
    return true;
}

static bool quantize_block(struct job *job)
{
    struct clq_tool_quantizer *z = job->z;
    const int64_t param_bytes = 4 * job->block.param_count;
    if (clq_tool_reserve(&z->lo, param_bytes) == NULL || clq_tool_reserve(&z->hi, param_bytes) == NULL ||
        clq_tool_reserve(&z->scale, param_bytes) == NULL || clq_tool_reserve(&z->zero_point, param_bytes) == NULL)
        return false;
    memset(z->lo.data, 0, (size_t)param_bytes);
    memset(z->hi.data, 0, (size_t)param_bytes);
    return over_chunks(job, true, find_ranges) && choose_params(job) &&
           over_chunks(job, job->block.count > CLQ_TOOL_CHUNK_ELEMENTS, quantize_chunk);
}

int clq_tool_quantize_passes(const struct clq_tool_grid *grid)
{
    return clq_tool_block_at(grid, 0).count > CLQ_TOOL_CHUNK_ELEMENTS ? 2 : 1;
}

bool clq_tool_quantize_tensor(struct clq_tool_quantizer *quantizer, const struct clq_tool_entry *entry,
                              const struct clq_tool_grid *grid, const int64_t indexes[3], struct clq_tool_result *result)
{
    struct job job = {.z = quantizer, .entry = entry, .grid = grid, .indexes = indexes, .result = result};
    const struct clq_tool_meter before = quantizer->tool->meter;
    int64_t first = 0;
    job.dtype = clq_tool_entry_float(entry);
    do {
        job.block = clq_tool_block_at(grid, first);
        if (!quantize_block(&job)) return false;
        first += job.block.count;
    } while (first < grid->element_count);
    result->meter.seconds = quantizer->tool->meter.seconds - before.seconds;
    result->meter.bytes = quantizer->tool->meter.bytes - before.bytes;
    return true;
}

void clq_tool_quantizer_free(struct clq_tool_quantizer *quantizer)
{
    struct clq_tool_memory *const memory[] = {&quantizer->floats, &quantizer->packed,    &quantizer->lo,
                                              &quantizer->hi,     &quantizer->chunk_lo,  &quantizer->chunk_hi,
                                              &quantizer->scale,  &quantizer->zero_point};
    for (size_t k = 0; k < sizeof memory / sizeof *memory; k++)
        clq_tool_release(memory[k]);
}
