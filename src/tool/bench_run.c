/* SPDX-License-Identifier: MIT */
/* A case of the bench in one place: operands of random content, results compared with the scalar table's, and then the time. */
#include "config.h"

#include "tool/bench.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A sample is of so many calls that it takes this long. */
#define SAMPLE_SECONDS 100e-6
#define LEAST_SAMPLES  5

/* Added to operands of whole pages, so that they do not begin at the same place of a page. */
#define STAGGER_BYTES 320

/* ---------------------------------------------------------------------------------------------- operands */

static int64_t count_elements(const clq_tensor *view)
{
    int64_t count = 1;
    for (int32_t d = 0; d < view->rank; d++)
        count *= view->shape[d];
    return count;
}

static size_t count_bytes(const clq_tensor *view)
{
    return (size_t)((count_elements(view) * clq_dtype_bits(view->dtype) + 7) / 8);
}

static bool has(uint32_t bits, int operand)
{
    return (bits >> operand & 1) != 0;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void clq_bench_random_bytes(void *memory, size_t bytes, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;
    unsigned char *out = memory;
    for (size_t k = 0; k < bytes; k += sizeof state) {
        next_random(&state);
        memcpy(out + k, &state, bytes - k < sizeof state ? bytes - k : sizeof state);
    }
}

static void fill_numbers(const struct clq_bench_content *content, void *memory, uint64_t seed)
{
    const int64_t count = count_elements(&content->view);
    const double width = content->most > content->least ? (content->most - content->least) * 0x1p-32 : 0;
    uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;
    float *floats = memory;
    int32_t *integers = memory;
    for (int64_t k = 0; k < count; k++) {
        const double offset = width * (double)(uint32_t)(next_random(&state) >> 32), value = width > 0 ? content->least + offset : content->least;
        if (content->view.dtype == CLQ_S32)
            integers[k] = (int32_t)floor(value + 0.5);
        else
            floats[k] = (float)value;
    }
}

static bool fill_half(struct clq_bench *bench, const struct clq_bench_content *content, void *memory, uint64_t seed)
{
    struct clq_bench_content wide = *content;
    wide.view.dtype = CLQ_F32;
    wide.view.data = malloc(count_bytes(&wide.view) + 1);
    if (wide.view.data == NULL) return clq_tool_fail_memory();
    fill_numbers(&wide, wide.view.data, seed);
    clq_tensor narrow = content->view;
    narrow.data = memory;
    const clq_status status = clq_convert(bench->scalar, &wide.view, &narrow);
    free(wide.view.data);
    return status == CLQ_OK || clq_tool_fail("bench", NULL, "%s", clq_context_error(bench->scalar));
}

static bool fill(struct clq_bench *bench, const struct clq_bench_content *content, void *memory, uint64_t seed)
{
    switch (content->view.dtype) {
    case CLQ_F16:
    case CLQ_BF16:
        return fill_half(bench, content, memory, seed);
    case CLQ_F32:
    case CLQ_S32:
        fill_numbers(content, memory, seed);
        return true;
    default:
        clq_bench_random_bytes(memory, count_bytes(&content->view), seed);
        return true;
    }
}

void clq_bench_layout(const struct clq_bench_case *c, struct clq_bench_data *data)
{
    *data = (struct clq_bench_data){.c = c};
    for (int k = 0; k < BENCH_OPERANDS; k++) {
        if (!has(c->op->inputs | c->op->outputs, k)) continue;
        (k >= BENCH_A && c->operations > 0 ? clq_bench_describe_gemm : clq_bench_describe)(c, k, &data->contents[k]);
        const size_t bytes = count_bytes(&data->contents[k].view);
        data->offsets[k] = data->set_bytes;
        data->set_bytes += (bytes + 63) / 64 * 64 + STAGGER_BYTES;
        data->bytes_read += has(c->op->inputs, k) ? (int64_t)bytes : 0;
        data->bytes_written += has(c->op->outputs, k) ? (int64_t)bytes : 0;
    }
    const int64_t bytes = data->bytes_read + data->bytes_written;
    data->set_count = bytes > BENCH_CACHED_BYTES ? (int)((BENCH_MEMORY_BYTES + bytes - 1) / bytes) : 1;
}

/* Views of the operands in memory or in a buffer, and what is made of them. */
static void bind(const struct clq_bench_data *data, unsigned char *memory, clq_buffer *buffer, struct clq_bench_arguments *a)
{
    for (int k = 0; k < BENCH_OPERANDS; k++) {
        const clq_tensor *view = &data->contents[k].view;
        if (!has(data->c->op->inputs | data->c->op->outputs, k)) continue;
        if (buffer != NULL)
            a->operands[k] = clq_tensor_buffer(view->dtype, buffer, (int64_t)data->offsets[k] * 8 / clq_dtype_bits(view->dtype), view->rank,
                                               view->shape);
        else
            a->operands[k] = clq_tensor_host(view->dtype, memory + data->offsets[k], view->rank, view->shape);
    }
    (data->c->operations > 0 ? clq_bench_bind_gemm : clq_bench_bind)(data->c, a);
}

/* Brings the first set to the state before the first call. */
static bool reset(struct clq_bench *bench, struct clq_bench_data *data)
{
    for (int k = 0; k < BENCH_OPERANDS; k++) {
        if (!has(data->c->op->outputs, k)) continue;
        memset(data->sets + data->offsets[k], 0xa5, count_bytes(&data->contents[k].view));
        if (has(data->c->op->inputs, k) && !fill(bench, &data->contents[k], data->sets + data->offsets[k], (uint64_t)k + 1)) return false;
    }
    return true;
}

bool clq_bench_prepare(struct clq_bench *bench, struct clq_bench_data *data)
{
    struct clq_bench_arguments arguments = {0};
    const size_t pages = (data->set_bytes * (size_t)data->set_count + 4095) / 4096;
    data->sets = aligned_alloc(4096, pages * 4096);
    data->right = malloc(data->set_bytes);
    if (data->sets == NULL || data->right == NULL) return clq_tool_fail_memory();
    for (int k = 0; k < BENCH_OPERANDS; k++)
        if (has(data->c->op->inputs, k) && !fill(bench, &data->contents[k], data->sets + data->offsets[k], (uint64_t)k + 1)) return false;
    if (!reset(bench, data)) return false;
    for (int set = 1; set < data->set_count; set++)
        memcpy(data->sets + (size_t)set * data->set_bytes, data->sets, data->set_bytes);
    bind(data, data->sets, NULL, &arguments);
    if (data->c->row_step > 1) clq_bench_thin_out(data->c, &arguments);
    if (data->c->op->call(bench->scalar, &arguments) != CLQ_OK)
        return clq_tool_fail(data->c->op->name, NULL, "%s", clq_context_error(bench->scalar));
    data->right_stats = arguments.stats;
    for (int k = 0; k < BENCH_OPERANDS; k++)
        if (has(data->c->op->outputs, k))
            memcpy(data->right + data->offsets[k], data->sets + data->offsets[k], count_bytes(&data->contents[k].view));
    return true;
}

void clq_bench_release(struct clq_bench_data *data)
{
    free(data->sets);
    free(data->right);
}

/* ---------------------------------------------------------------------------------------------- right or wrong */

static bool is_close(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance || (isinf(a) && a == b);
}

/* The bounds that clquant.h states. Each gradient sums n terms; those by the scale alone are of the order of 1. */
static bool sums_agree(const struct clq_bench_data *data, const unsigned char *found, int operand)
{
    const int64_t count = count_elements(&data->contents[operand].view);
    const double terms = (double)count_elements(&data->contents[BENCH_X].view) / (double)count;
    for (int64_t k = 0; k < count; k++) {
        float a, b;
        memcpy(&a, found + data->offsets[operand] + 4 * k, sizeof a);
        memcpy(&b, data->right + data->offsets[operand] + 4 * k, sizeof b);
        if (!is_close(a, b, 1e-6 * terms)) return false;
    }
    return true;
}

static bool stats_agree(const clq_error_stats *a, const clq_error_stats *b)
{
    return a->count == b->count && a->nan_count == b->nan_count && a->inf_count == b->inf_count && a->clipped_count == b->clipped_count &&
           a->max_error == b->max_error && is_close(a->mse, b->mse, 1e-9 * b->mse) && is_close(a->mae, b->mae, 1e-9 * b->mae) &&
           is_close(a->cosine, b->cosine, 1e-9) && is_close(a->sqnr_db, b->sqnr_db, 1e-8);
}

static bool rows_agree(const struct clq_bench_data *data, const unsigned char *found, int operand)
{
    const clq_tensor *view = &data->contents[operand].view;
    const size_t bytes = count_bytes(view), row_bytes = data->c->row_step > 1 ? bytes / (size_t)view->shape[0] : bytes;
    const unsigned char *a = found + data->offsets[operand], *b = data->right + data->offsets[operand];
    for (size_t k = 0; k < bytes; k += row_bytes * (size_t)data->c->row_step)
        if (memcmp(a + k, b + k, row_bytes) != 0) return false;
    return true;
}

/* Whether the outputs in `found`, a set, and the statistics are right. */
static bool is_right(const struct clq_bench_data *data, const unsigned char *found, const clq_error_stats *stats)
{
    for (int k = 0; k < BENCH_OPERANDS; k++) {
        if (!has(data->c->op->outputs, k)) continue;
        if (!(has(data->c->op->sums, k) ? sums_agree : rows_agree)(data, found, k)) return false;
    }
    return data->c->op->outputs != 0 || stats_agree(stats, &data->right_stats);
}

/* ---------------------------------------------------------------------------------------------- one place */

/* What a place needs of a case. */
struct site {
    struct clq_bench *bench;
    struct clq_bench_data *data;
    struct clq_bench_place *place;
    struct clq_bench_arguments *arguments; /* of each set */
    clq_buffer **buffers;                  /* on a device */
    int next;
};

static clq_status copy_set(const struct site *site, int set, unsigned char *memory, bool is_upload)
{
    const int64_t bytes = (int64_t)site->data->set_bytes;
    const clq_tensor host = clq_tensor_host(CLQ_U8, memory, 1, &bytes), there = clq_tensor_buffer(CLQ_U8, site->buffers[set], 0, 1, &bytes);
    return is_upload ? clq_convert(site->place->context, &host, &there) : clq_convert(site->place->context, &there, &host);
}

static clq_status set_up(struct site *site)
{
    clq_status status = CLQ_OK;
    for (int set = 0; set < site->data->set_count && status == CLQ_OK; set++) {
        unsigned char *memory = site->data->sets + (size_t)set * site->data->set_bytes;
        struct clq_bench_arguments *a = &site->arguments[set];
        if (site->place->is_device) {
            status = clq_buffer_create(site->place->context, (int64_t)site->data->set_bytes, &site->buffers[set]);
            if (status == CLQ_OK) status = copy_set(site, set, memory, true);
        }
        bind(site->data, memory, site->buffers[set], a);
        if (status == CLQ_OK && site->data->c->packed) {
            status = clq_packed_create(site->place->context, &a->operands[BENCH_B], &a->packed);
            a->gemm.b = NULL;
            a->gemm.packed_b = a->packed;
        }
    }
    return status;
}

static clq_status check(struct site *site, bool *right)
{
    unsigned char *found = site->place->is_device ? malloc(site->data->set_bytes) : site->data->sets;
    if (found == NULL) return CLQ_ERROR_OUT_OF_MEMORY;
    clq_status status = site->data->c->op->call(site->place->context, &site->arguments[0]);
    if (status == CLQ_OK && site->place->is_device) status = copy_set(site, 0, found, false);
    *right = status == CLQ_OK && is_right(site->data, found, &site->arguments[0].stats);
    if (site->place->is_device) free(found);
    return status;
}

static clq_status take_sample(struct site *site, int64_t calls, double *seconds)
{
    clq_status status = CLQ_OK;
    const double begun = clq_tool_now();
    for (int64_t k = 0; k < calls && status == CLQ_OK; k++) {
        status = site->data->c->op->call(site->place->context, &site->arguments[site->next]);
        site->next = site->next + 1 < site->data->set_count ? site->next + 1 : 0;
    }
    if (status == CLQ_OK) status = clq_context_synchronize(site->place->context);
    *seconds = (clq_tool_now() - begun) / (double)calls;
    return status;
}

static clq_status take_samples(struct site *site, struct clq_bench_samples *samples)
{
    double seconds = 0;
    int64_t calls = site->data->set_count; /* warm-up: each set, and twice as many calls until they take as long as a sample is to */
    clq_status status = take_sample(site, calls, &seconds);
    while (status == CLQ_OK && seconds * (double)calls < SAMPLE_SECONDS) {
        calls *= 2;
        status = take_sample(site, calls, &seconds);
    }
    calls = seconds < SAMPLE_SECONDS ? (int64_t)(SAMPLE_SECONDS / seconds) + 1 : 1;
    const double end = clq_tool_now() + site->bench->seconds;
    samples->count = 0;
    while (status == CLQ_OK && samples->count < (int)(sizeof samples->seconds / sizeof *samples->seconds) &&
           (samples->count < LEAST_SAMPLES || clq_tool_now() < end))
        status = take_sample(site, calls, &samples->seconds[samples->count++]);
    return status;
}

static void release(struct site *site)
{
    for (int set = 0; set < site->data->set_count; set++) {
        clq_packed_free(site->arguments[set].packed);
        clq_buffer_free(site->buffers[set]);
    }
    free(site->arguments);
    free(site->buffers);
}

/* ---------------------------------------------------------------------------------------------- results */

static int compare_seconds(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void clq_bench_sort(struct clq_bench_samples *samples)
{
    qsort(samples->seconds, (size_t)samples->count, sizeof *samples->seconds, compare_seconds);
}

double clq_bench_quantile(const struct clq_bench_samples *samples, double share)
{
    return samples->seconds[(int)(share * (samples->count - 1) + 0.5)];
}

struct clq_bench_row *clq_bench_add_row(struct clq_bench *bench)
{
    if (bench->row_count == bench->row_capacity) {
        const int64_t capacity = 2 * bench->row_capacity + 64;
        struct clq_bench_row *rows = realloc(bench->rows, (size_t)capacity * sizeof *rows);
        if (rows == NULL) {
            clq_tool_fail_memory();
            return NULL;
        }
        bench->rows = rows;
        bench->row_capacity = capacity;
    }
    bench->rows[bench->row_count] = (struct clq_bench_row){.share = NAN};
    return &bench->rows[bench->row_count++];
}

static void put_shape(const struct clq_bench_case *c, char *text, size_t text_bytes)
{
    size_t used = 0;
    for (int32_t d = 0; d < c->rank && used < text_bytes; d++)
        used += (size_t)snprintf(text + used, text_bytes - used, d > 0 ? "x%" PRId64 : "%" PRId64, c->shape[d]);
}

/* Inputs first; the quantized type also where only its range matters. */
static void put_dtypes(const struct clq_bench_case *c, char *text, size_t text_bytes)
{
    const char *x = clq_dtype_name(c->x), *q = clq_dtype_name(c->scheme.dtype);
    if (c->operations > 0)
        snprintf(text, text_bytes, "%s %s %s", x, clq_dtype_name(c->b), clq_dtype_name(c->c));
    else if (!has(c->op->inputs, BENCH_X) && has(c->op->inputs, BENCH_Q))
        snprintf(text, text_bytes, "%s %s", q, x);
    else if (has(c->op->inputs | c->op->outputs, BENCH_Q) || has(c->op->inputs | c->op->outputs, BENCH_SCALE))
        snprintf(text, text_bytes, "%s %s", x, q);
    else
        snprintf(text, text_bytes, "%s", x);
}

static bool report(struct site *site, struct clq_bench_samples *samples)
{
    const struct clq_bench_case *c = site->data->c;
    const struct clq_bench_place *place = site->place;
    const double work = c->operations > 0 ? c->operations : (double)(site->data->bytes_read + site->data->bytes_written);
    const double least = clq_bench_floor(place, site->data);
    struct clq_bench_row *row = clq_bench_add_row(site->bench);
    if (row == NULL) return false;
    clq_bench_sort(samples);
    row->median = clq_bench_quantile(samples, 0.5);
    row->least = samples->seconds[0];
    row->spread = (clq_bench_quantile(samples, 0.75) - clq_bench_quantile(samples, 0.25)) / row->median;
    row->rate = work / row->median * 1e-9;
    row->unit = c->operations > 0 ? "GOPS" : "GB/s";
    if (least > 0) row->share = least / row->median;
    snprintf(row->op, sizeof row->op, "%s", c->op->name);
    snprintf(row->variant, sizeof row->variant, "%s", c->variant);
    put_shape(c, row->shape, sizeof row->shape);
    put_dtypes(c, row->dtype, sizeof row->dtype);
    snprintf(row->cpu, sizeof row->cpu, "%s", place->cpu);
    snprintf(row->device, sizeof row->device, "%s", place->device);
    row->num_threads = place->num_threads;
    return true;
}

bool clq_bench_measure(struct clq_bench *bench, struct clq_bench_data *data, struct clq_bench_place *place)
{
    struct clq_bench_samples samples;
    struct site site = {.bench = bench,
                        .data = data,
                        .place = place,
                        .arguments = calloc((size_t)data->set_count, sizeof *site.arguments),
                        .buffers = calloc((size_t)data->set_count, sizeof *site.buffers)};
    bool right = false, done = site.arguments != NULL && site.buffers != NULL && reset(bench, data);
    if (site.arguments == NULL || site.buffers == NULL) {
        data->set_count = 0;
        clq_tool_fail_memory();
    }
    clq_status status = done ? set_up(&site) : CLQ_OK;
    if (done && status == CLQ_OK) status = check(&site, &right);
    if (done && status == CLQ_OK && right) status = take_samples(&site, &samples);
    if (done && status != CLQ_OK) {
        done = clq_tool_fail(place->device, data->c->op->name, "%s", clq_context_error(place->context));
    } else if (done && !right) {
        done = clq_tool_fail(place->cpu, data->c->op->name, "%s: a result that differs from the scalar table's", data->c->variant);
    } else if (done) {
        done = report(&site, &samples);
    }
    release(&site);
    return done;
}
