/* SPDX-License-Identifier: MIT */
/*
 * Matrix products on the device. Kernels read both operands as lines whose k lie together: matrices that lie so already are used where they are, others
 * are packed on the way; either side may be the kernels' first. What is fastest of a unit's tilings and of the parts that K may be cut into is estimated
 * from the tilings' rates.
 */
#include "config.h"

#include "base/util.h"
#include "launch.h"
#include "opencl/cl_state.h"
#include <stdio.h>
#include <string.h>

#define ALIGNMENT 64 /* of arrays in intermediate memory, bytes */

/* Up to so many rows, or columns, have a kernel of their own. */
#define FEW_ROWS   8
#define ROWS_LOCAL 128 /* items of its work-groups, at most */

/* A kernel and all that says what it does. */
struct launch {
    const struct clq_cl_program *program;
    int form;
    int64_t groups;
    size_t local_size;
};

/* A product on its way to the device. */
struct product {
    clq_context *context;
    struct clq_cl_state *state;
    const struct clq_gemm *gemm;
    const struct clq_cl_unit *unit;
    int tiling;                /* or CLQ_CL_ROWS */
    int first;                 /* the side that is the kernels' first: 0, A */
    int64_t splits, k_split;
    const struct clq_gemm_params *params[2]; /* of A and of B, as all arrays here */
    const struct clq_matrix *matrix[2];
    int64_t count[2];                        /* lines */
    struct clq_cl_lines lines[2];
    bool is_packed_now[2];
    int64_t sums_bytes, work_bytes;          /* of intermediate memory; sums first */
    int64_t partials_offset;
    int64_t upload_bytes;
    struct clq_cl_place upload;
};

/* ------------------------------------------------------------------------------------------------ lines */

static int64_t line_stride(const struct product *product, int side)
{
    return side == 0 ? product->matrix[side]->row_stride : product->matrix[side]->col_stride;
}

static int64_t k_stride(const struct product *product, int side)
{
    return side == 0 ? product->matrix[side]->col_stride : product->matrix[side]->row_stride;
}

/* All zero points are known to be `value`. */
static bool are_zero_points(const struct clq_gemm_params *params, int64_t lines, int32_t value)
{
    if (params->zero_point_device) return false;
    if (!params->zero_point) return params->fixed_zero_point == value;
    for (int64_t i = 0; i < (params->is_single ? 1 : lines); ++i)
        if (params->zero_point[i] != value) return false;
    return true;
}

static bool is_multiple(int64_t value, int64_t of)
{
    return value % of == 0;
}

/* Kernels can read the matrix's lines where they are. */
static bool can_be_direct(const struct product *product, int side)
{
    const struct clq_matrix *matrix = product->matrix[side];
    const int64_t k = product->gemm->k, lines = product->count[side], offset = (int64_t)(uintptr_t)matrix->data;
    const int64_t pitch = lines > 1 ? line_stride(product, side) : 0, batch_stride = product->gemm->batch > 1 ? matrix->batch_stride : 0;
    size_t size = 0;
    if (k > 1 && k_stride(product, side) != 1) return false;
    if (!is_multiple(offset, 16) || !is_multiple(pitch, 16) || !is_multiple(batch_stride, 16) || clq_cl_is_misaligned(matrix->device, 16)) return false;
    if (clGetMemObjectInfo(matrix->device, CL_MEM_SIZE, sizeof size, &size, NULL) != CL_SUCCESS) return false;
    /* The end of the last line is read up to a multiple of 16. */
    return offset + clq_max_i64(0, (lines - 1) * pitch) + clq_max_i64(0, (product->gemm->batch - 1) * batch_stride) + clq_ceil_div(k, 16) * 16 <= (int64_t)size;
}

/* What has been taken off a side's elements when the kernel sees them. */
static int32_t shift_of(const struct product *product, int side)
{
    const bool takes_u8 = product->unit->takes_u8 && product->tiling >= 0 && !product->is_packed_now[side];
    return product->matrix[side]->dtype == CLQ_U8 && !takes_u8 ? 128 : 0;
}

static int32_t final_shift(const struct product *product, int side)
{
    return product->lines[side].memory ? product->lines[side].shift : shift_of(product, side);
}

/* Decides for each side that is not made of lines yet whether it is packed: if it lies otherwise, or if its sums are needed for the other's zero points. */
static void choose_packing(struct product *product)
{
    for (int side = 0; side < 2; ++side)
        product->is_packed_now[side] = !product->lines[side].memory && product->gemm->k > 0 && !can_be_direct(product, side);
    /* What is packed is shifted, and then the other's sums may be needed. */
    for (int round = 0; round < 2; ++round)
        for (int side = 0; side < 2; ++side) {
            const int other = 1 - side;
            if (product->lines[side].memory || product->gemm->k == 0) continue;
            if (!are_zero_points(product->params[other], product->count[other], final_shift(product, other))) product->is_packed_now[side] = true;
        }
}

int64_t clq_cl_lines_bytes(int64_t batch, int64_t k, int64_t lines)
{
    int64_t bytes, sums;
    if (!clq_add_i64(k, CLQL_GEMM_K - 1, &bytes) || !clq_mul_i64(bytes / CLQL_GEMM_K * CLQL_GEMM_K, lines, &bytes) || !clq_mul_i64(bytes, batch, &bytes)) return -1;
    if (!clq_mul_i64(lines, 4, &sums) || !clq_mul_i64(sums, batch, &sums) || !clq_add_i64(bytes, sums, &bytes)) return -1;
    return clq_add_i64(bytes, 4 * ALIGNMENT, &bytes) ? clq_ceil_div(bytes, ALIGNMENT) * ALIGNMENT : -1;
}

static int64_t padded_k(int64_t k)
{
    return clq_ceil_div(k, CLQL_GEMM_K) * CLQL_GEMM_K;
}

/* Lines as a kernel makes them: dense, s8. A broadcast matrix is packed once, and without k all are alike. */
static struct clq_cl_lines new_lines(const struct clq_matrix *matrix, int64_t batch, int64_t k, int64_t lines)
{
    const bool is_single = batch == 1 || matrix->batch_stride == 0 || k == 0;
    return (struct clq_cl_lines){.pitch = padded_k(k), .batch_stride = is_single ? 0 : padded_k(k) * lines, .dtype = CLQ_S8,
                                 .shift = matrix->dtype == CLQ_U8 ? 128 : 0, .sums_stride = is_single ? 0 : lines};
}

/* A matrix to lines: which job, and how many work-groups of which kernel. */
static int64_t set_pack_job(struct clql_pack_job *job, int *form, const struct clq_matrix *matrix, bool is_a, int64_t batch, int64_t k, int64_t lines,
                            const struct clq_cl_lines *target, bool has_sums, int64_t local_size)
{
    const int64_t line_step = is_a ? matrix->row_stride : matrix->col_stride, k_step = is_a ? matrix->col_stride : matrix->row_stride;
    const int64_t matrices = target->batch_stride ? batch : 1, offset = (int64_t)(uintptr_t)matrix->data;
    const bool by_lines = k_step == 1 || (k <= 1 && line_step != 1);
    const int64_t unit = by_lines ? 16 : 4, step = by_lines ? line_step : k_step, end = by_lines ? clq_ceil_div(k, 16) * 16 - k : 0;
    size_t size = 0;
    const bool knows_size = clGetMemObjectInfo(matrix->device, CL_MEM_SIZE, sizeof size, &size, NULL) == CL_SUCCESS;
    const int64_t last = offset + clq_max_i64(0, ((by_lines ? lines : k) - 1) * step) + clq_max_i64(0, (matrices - 1) * matrix->batch_stride) +
                         (by_lines ? k : lines);
    *job = (struct clql_pack_job){
        .source = offset, .batch_stride = matrix->batch_stride, .line_stride = line_step, .k_stride = k_step, .batch = matrices, .lines = lines, .k = k,
        .target = target->offset, .target_batch_stride = target->batch_stride, .pitch = target->pitch,
        .sums = has_sums ? target->sums_offset / 4 : -1, .sums_stride = target->sums_stride,
        .aligned = knows_size && (by_lines ? k_step == 1 : line_step == 1) && last + end <= (int64_t)size && is_multiple(offset, unit) &&
                   is_multiple(step, unit) && is_multiple(matrices > 1 ? matrix->batch_stride : 0, unit) && !clq_cl_is_misaligned(matrix->device, unit),
    };
    *form = by_lines ? CLQ_CL_ANY : CLQ_CL_COLUMNS;
    if (by_lines) return clq_ceil_div(matrices * lines * (target->pitch / 16), local_size);
    return matrices * clq_ceil_div(lines, CLQL_GEMM_K) * (target->pitch / CLQL_GEMM_K);
}

/* ------------------------------------------------------------------------------------------------ programs and launches */

static clq_status get_program(clq_context *context, enum clq_cl_file file, const char *options, size_t local_size, clq_dtype src, clq_dtype dst,
                              const struct clq_cl_program **program)
{
    char text[CLQ_CL_OPTIONS_BYTES];
    const int n = snprintf(text, sizeof text, "%s -D CLQ_LOCAL_SIZE=%d -D CLQ_SRC=%d -D CLQ_DST=%d", options, (int)local_size, (int)src, (int)dst);
    if (n >= (int)sizeof text) return clq_fail(context, CLQ_ERROR_DEVICE, "%s: compiler options of more than %d bytes", context->call, (int)sizeof text);
    return clq_cl_programs_get_product(context, &clq_cl_state_of(context)->programs, file, text, program);
}

static clq_status check_groups(clq_context *context, int64_t groups)
{
    if (groups <= INT32_MAX) return CLQ_OK;
    return clq_fail(context, CLQ_ERROR_OVERFLOW, "%s: the product takes %lld work-groups, at most %d", context->call, (long long)groups, INT32_MAX);
}

/* Sets the job, the memory objects behind it and queues the kernel. What is not there is replaced: kernels touch only what their jobs ask for. */
static clq_status queue_kernel(clq_context *context, const struct launch *launch, cl_mem args, int64_t job_offset, const cl_mem *memory, int n, cl_event also)
{
    const cl_kernel kernel = launch->program->kernels[launch->form];
    const cl_ulong offset = (cl_ulong)job_offset;
    CLQ_TRY(check_groups(context, launch->groups));
    CL_TRY(context, clSetKernelArg(kernel, 0, sizeof args, &args));
    CL_TRY(context, clSetKernelArg(kernel, 1, sizeof offset, &offset));
    for (int i = 0; i < n; ++i)
        CL_TRY(context, clSetKernelArg(kernel, (cl_uint)(2 + i), sizeof args, memory[i] ? &memory[i] : &args));
    CL_TRY(context, clq_cl_queue_launch(&clq_cl_state_of(context)->main, kernel, launch->groups, launch->local_size, also));
    return CLQ_OK;
}

static size_t pack_local_size(const struct clq_cl_state *state)
{
    return state->programs.device.max_local_size;
}

static clq_status queue_pack(clq_context *context, const struct clq_matrix *matrix, const struct clql_pack_job *job, int form, int64_t groups, cl_mem args,
                             int64_t job_offset, const struct clq_cl_lines *target, cl_event also)
{
    const cl_mem memory[] = {matrix->device, target->memory, job->sums >= 0 ? target->sums_memory : NULL};
    struct launch launch = {.form = form, .groups = groups, .local_size = pack_local_size(clq_cl_state_of(context))};
    CLQ_TRY(get_program(context, CLQ_CL_GEMM_PACK, "-cl-std=CL1.2", launch.local_size, matrix->dtype, CLQ_DTYPE_NONE, &launch.program));
    return queue_kernel(context, &launch, args, job_offset, memory, 3, also);
}

clq_status clq_cl_make_lines(clq_context *context, const struct clq_matrix *b, int64_t batch, int64_t k, int64_t n, cl_mem memory, int64_t offset_bytes,
                             cl_event also, struct clq_cl_lines *lines)
{
    struct clq_cl_state *state = clq_cl_state_of(context);
    struct clq_cl_place upload;
    struct clql_pack_job job;
    int64_t end = offset_bytes, groups, sums_bytes;
    int form;
    char *host;
    clq_status status;
    *lines = new_lines(b, batch, k, n);
    lines->memory = lines->sums_memory = memory;
    sums_bytes = 4 * n * (lines->batch_stride ? batch : 1);
    lines->sums_offset = clq_cl_take(&end, sums_bytes);
    lines->offset = end;
    if (sums_bytes > 0) CL_TRY(context, clq_cl_queue_zero(&state->main, memory, (size_t)lines->sums_offset, (size_t)sums_bytes));
    if (n == 0 || k == 0 || batch == 0) return CLQ_OK;
    groups = set_pack_job(&job, &form, b, false, batch, k, n, lines, true, (int64_t)pack_local_size(state));
    CLQ_TRY(clq_cl_upload_begin(context, sizeof job, &upload, &host));
    memcpy(host, &job, sizeof job);
    status = clq_cl_upload_end(context, &upload, host, sizeof job);
    if (status == CLQ_OK) status = queue_pack(context, b, &job, form, groups, upload.memory, upload.offset_bytes, lines, also);
    clReleaseMemObject(upload.memory);
    return status;
}

/* ------------------------------------------------------------------------------------------------ tilings and parts */

/* What a tile costs besides its multiplications, as so many of k: until it is in full swing, and to store its results. */
#define TILE_START  64
/* What cutting K costs: a launch more, and partial sums that are stored and read, so many bytes of a compute unit in a nanosecond. */
#define FINISH_NS   4000.0
#define BYTES_IN_NS 8.0
#define MOST_SPLITS 64

/* Nanoseconds that a product is estimated to take with a tiling, K being cut into `splits`: for comparisons alone. */
static double estimate(const struct product *product, const struct clq_cl_tiling *tiling, double rate, int64_t splits)
{
    const struct clq_gemm *gemm = product->gemm;
    const int64_t units = clq_max_i64(1, product->state->programs.device.compute_units), k = clq_ceil_div(gemm->k, splits);
    const int64_t m = product->count[product->first], n = product->count[1 - product->first];
    const int64_t groups = gemm->batch * splits * clq_ceil_div(m, tiling->m) * clq_ceil_div(n, tiling->n), waves = clq_ceil_div(groups, units);
    const double finish = splits > 1 ? FINISH_NS + 8.0 * (double)gemm->batch * (double)m * (double)n * (double)splits / BYTES_IN_NS / (double)units : 0.0;
    return (double)waves * tiling->m * tiling->n * (double)(k + TILE_START) / rate + finish;
}

static void choose_splits(struct product *product, int64_t splits)
{
    product->k_split = clq_max_i64(CLQL_GEMM_K, padded_k(clq_ceil_div(product->gemm->k, splits)));
    product->splits = clq_max_i64(1, clq_ceil_div(product->gemm->k, product->k_split));
}

/* The fastest tiling and number of parts, by the estimate. */
static void choose_tiling(struct product *product)
{
    const struct clq_cl_products *products = &product->state->products;
    double best = -1.0;
    int64_t best_splits = 1;
    for (int i = 0; i < CLQ_CL_TILINGS; ++i) {
        if (products->rate[i] <= 0.0f) continue;
        for (int64_t splits = 1; splits <= MOST_SPLITS && (splits == 1 || product->gemm->k / splits >= CLQL_GEMM_K); splits *= 2) {
            const double time = estimate(product, &product->unit->tilings[i], (double)products->rate[i], splits);
            if (best >= 0.0 && time >= best) continue;
            best = time;
            best_splits = splits;
            product->tiling = i;
        }
    }
    choose_splits(product, best_splits);
}

/* Columns that a work-group of it makes: sums of 8 x 8 would take more registers than there are. */
static int64_t columns_of_rows(int64_t rows)
{
    return rows > 4 ? 4 : 8;
}

/* A few work-groups for each compute unit. */
static void choose_rows_splits(struct product *product)
{
    const int64_t cols = columns_of_rows(product->count[product->first]);
    const int64_t groups = product->gemm->batch * clq_ceil_div(product->count[1 - product->first], cols);
    const int64_t wanted = 4 * (int64_t)product->state->programs.device.compute_units, step = 16 * ROWS_LOCAL;
    choose_splits(product, clq_max_i64(1, clq_min_i64(wanted / groups, product->gemm->k / step)));
}

/* `tiling`, unless it is to be chosen. */
static void choose_kernel(struct product *product, int tiling)
{
    const struct clq_gemm *gemm = product->gemm;
    product->tiling = tiling;
    if (tiling == CLQ_CL_ROWS || (tiling == CLQ_CL_CHOOSE && clq_min_i64(gemm->m, gemm->n) <= FEW_ROWS)) {
        product->tiling = CLQ_CL_ROWS;
        product->first = gemm->m > gemm->n;
        choose_rows_splits(product);
        return;
    }
    /* Results of neighbouring lines of the second side are stored together. */
    product->first = gemm->c.row_stride == 1 && gemm->c.col_stride != 1;
    if (tiling == CLQ_CL_CHOOSE)
        choose_tiling(product);
    else
        choose_splits(product, 1);
}

/* ------------------------------------------------------------------------------------------------ jobs */

/* An array of 4-byte parameters on its way: where it will be, and what is to be copied there. */
struct array {
    const void *host;   /* NULL: on the device, or absent */
    int64_t size_bytes, upload_offset;
    struct clq_cl_place place; /* memory NULL: absent */
};

static struct array plan_array(struct product *product, const void *data, void *device, int64_t count)
{
    struct array array = {.host = device ? NULL : data, .size_bytes = 4 * count};
    if (device) array.place = (struct clq_cl_place){device, (int64_t)(uintptr_t)data};
    if (array.host) array.upload_offset = clq_cl_take(&product->upload_bytes, array.size_bytes);
    return array;
}

static void place_array(const struct product *product, struct array *array, char *host)
{
    if (!array->host) return;
    memcpy(host + array->upload_offset, array->host, (size_t)array->size_bytes);
    array->place = (struct clq_cl_place){product->upload.memory, product->upload.offset_bytes + array->upload_offset};
}

/* The arrays of a product. */
struct arrays {
    struct array scale[2], zero_point[2], bias, c_scale, c_zero_point;
};

static void plan_arrays(struct product *product, struct arrays *arrays)
{
    const struct clq_gemm *gemm = product->gemm;
    const bool is_s32 = gemm->c.dtype == CLQ_S32, is_8bit = !is_s32 && gemm->c.dtype != CLQ_F32;
    memset(arrays, 0, sizeof *arrays);
    for (int side = 0; side < 2; ++side) {
        const struct clq_gemm_params *params = product->params[side];
        const int64_t count = params->is_single ? 1 : product->count[side];
        if (!is_s32) arrays->scale[side] = plan_array(product, params->scale, params->scale_device, count);
        arrays->zero_point[side] = plan_array(product, params->zero_point, params->zero_point_device, count);
    }
    arrays->bias = plan_array(product, gemm->bias, gemm->bias_device, gemm->n);
    if (!is_8bit) return;
    arrays->c_scale = plan_array(product, gemm->c_params.scale, gemm->c_params.scale_device, 1);
    arrays->c_zero_point = plan_array(product, gemm->c_params.zero_point, gemm->c_params.zero_point_device, 1);
}

static int64_t index_of(const struct clq_cl_place *place)
{
    return place->memory ? place->offset_bytes / 4 : -1;
}

static struct clql_gemm_side make_side(const struct product *product, const struct arrays *arrays, int side)
{
    const struct clq_cl_lines *lines = &product->lines[side];
    return (struct clql_gemm_side){
        .offset = lines->offset, .batch_stride = lines->batch_stride, .pitch = lines->pitch, .lines = product->count[side],
        .sums = lines->sums_memory ? lines->sums_offset / 4 : -1, .sums_stride = lines->sums_stride, .scale = index_of(&arrays->scale[side].place),
        .zero_point = index_of(&arrays->zero_point[side].place), .single = product->params[side]->is_single,
        .fixed_zero_point = product->params[side]->fixed_zero_point, .shift = lines->shift,
    };
}

static struct clql_gemm_job make_job(const struct product *product, const struct arrays *arrays)
{
    const struct clq_gemm *gemm = product->gemm;
    const struct clq_matrix *c = &gemm->c;
    const int64_t size_bytes = clq_bits(c->dtype) / 8, offset = (int64_t)(uintptr_t)c->data / size_bytes;
    const int64_t pitch = product->first ? c->col_stride : c->row_stride, step = product->first ? c->row_stride : c->col_stride;
    return (struct clql_gemm_job){
        .side = {make_side(product, arrays, product->first), make_side(product, arrays, 1 - product->first)},
        .batch = gemm->batch, .k = gemm->k, .c = offset, .c_batch_stride = c->batch_stride, .c_pitch = pitch, .c_step = step, .k_split = product->k_split,
        .bias = index_of(&arrays->bias.place), .c_scale = index_of(&arrays->c_scale.place), .c_zero_point = index_of(&arrays->c_zero_point.place),
        .partials = product->partials_offset / 4, .splits = (clql_int)product->splits, .c_dtype = (clql_int)c->dtype,
        .c_aligned = step == 1 && is_multiple(offset, 4) && is_multiple(pitch, 4) && is_multiple(c->batch_stride, 4) &&
                     !clq_cl_is_misaligned(c->device, 4 * size_bytes),
        .bias_side = !product->first, .c_fixed_zero_point = gemm->c_params.fixed_zero_point, .qmin = gemm->qmin, .qmax = gemm->qmax, .relu = gemm->relu,
        .low = gemm->low, .high = gemm->high,
    };
}

/* The same for a part of K alone: sums, dense. */
static struct clql_gemm_job make_partial_job(const struct product *product, const struct clql_gemm_job *job)
{
    struct clql_gemm_job partial = *job;
    const int64_t m = job->side[0].lines, n = job->side[1].lines;
    partial.raw = 1;
    partial.c_dtype = CLQ_S32;
    partial.c = job->partials;
    partial.c_batch_stride = m * n;
    partial.c_pitch = n;
    partial.c_step = 1;
    partial.split_stride = product->gemm->batch * m * n;
    partial.c_aligned = is_multiple(n, 4);
    return partial;
}

/* ------------------------------------------------------------------------------------------------ a product */

/* Where packed lines and partial sums will be; sums that are added to come first. */
static clq_status plan_work(struct product *product)
{
    const struct clq_gemm *gemm = product->gemm;
    int64_t partials, lines_bytes[2] = {0, 0};
    for (int side = 0; side < 2; ++side) {
        if (!product->is_packed_now[side]) continue;
        product->lines[side] = new_lines(product->matrix[side], gemm->batch, gemm->k, product->count[side]);
        lines_bytes[side] = clq_cl_lines_bytes(product->lines[side].batch_stride ? gemm->batch : 1, gemm->k, product->count[side]);
        if (lines_bytes[side] < 0) return clq_fail(product->context, CLQ_ERROR_OVERFLOW, "%s: packed operands do not fit in 63 bits", product->context->call);
        product->lines[side].sums_offset = clq_cl_take(&product->sums_bytes, 4 * product->count[side] * (product->lines[side].batch_stride ? gemm->batch : 1));
    }
    product->work_bytes = product->sums_bytes;
    for (int side = 0; side < 2; ++side)
        if (product->is_packed_now[side]) product->lines[side].offset = clq_cl_take(&product->work_bytes, lines_bytes[side]);
    if (product->splits == 1) return CLQ_OK;
    if (!clq_mul_i64(gemm->m, gemm->n, &partials) || !clq_mul_i64(partials, 4 * gemm->batch, &partials) || !clq_mul_i64(partials, product->splits, &partials))
        return clq_fail(product->context, CLQ_ERROR_OVERFLOW, "%s: partial sums do not fit in 63 bits", product->context->call);
    product->partials_offset = clq_cl_take(&product->work_bytes, partials);
    return CLQ_OK;
}

static clq_status pack_side(struct product *product, int side, int64_t job_offset, const struct clql_pack_job *job, int form, int64_t groups, cl_event also)
{
    return queue_pack(product->context, product->matrix[side], job, form, groups, product->upload.memory, product->upload.offset_bytes + job_offset,
                      &product->lines[side], side == 0 ? also : NULL);
}

static clq_status get_kernel(const struct product *product, struct launch *launch)
{
    const struct clq_cl_unit *unit = product->unit;
    const clq_dtype src = product->lines[product->first].dtype, dst = product->lines[1 - product->first].dtype;
    const int64_t m = product->count[product->first], n = product->count[1 - product->first];
    char options[CLQ_CL_OPTIONS_BYTES];
    int64_t rows, cols;
    if (product->tiling >= 0) {
        const struct clq_cl_tiling *tiling = &unit->tilings[product->tiling];
        rows = tiling->m;
        cols = tiling->n;
        launch->local_size = (size_t)tiling->local_size;
        snprintf(options, sizeof options, "%s -D CLQ_TILE_M=%d -D CLQ_TILE_N=%d%s", unit->options, (int)tiling->m, (int)tiling->n, tiling->defines);
    } else {
        const size_t most = product->state->programs.device.max_local_size;
        for (rows = 1; rows < m; rows *= 2)
            continue;
        cols = columns_of_rows(rows);
        launch->local_size = most < ROWS_LOCAL ? most : ROWS_LOCAL;
        snprintf(options, sizeof options, "%s -D CLQ_ROWS=%d -D CLQ_COLS=%d", unit->options, (int)rows, (int)cols);
    }
    launch->form = CLQ_CL_ANY;
    launch->groups = product->gemm->batch * product->splits * clq_ceil_div(m, rows) * clq_ceil_div(n, cols);
    return get_program(product->context, product->tiling >= 0 ? unit->file : CLQ_CL_GEMM_ROWS, options, launch->local_size, src, dst, &launch->program);
}

/* What kernels take for the job's arrays, after the operands and C. */
static void list_memory(const struct product *product, const struct arrays *arrays, cl_mem c, cl_mem *memory)
{
    const int x = product->first, y = 1 - x;
    const cl_mem all[] = {product->lines[x].memory,         product->lines[y].memory,              c,
                          product->lines[x].sums_memory,    product->lines[y].sums_memory,         arrays->scale[x].place.memory,
                          arrays->zero_point[x].place.memory, arrays->scale[y].place.memory,       arrays->zero_point[y].place.memory,
                          arrays->bias.place.memory,        arrays->c_scale.place.memory,          arrays->c_zero_point.place.memory};
    memcpy(memory, all, sizeof all);
}

enum { MEMORY = 12 };

static clq_status queue_product(struct product *product, const struct arrays *arrays, int64_t jobs_offset, const struct clql_gemm_job *job, cl_event also)
{
    clq_context *context = product->context;
    struct launch launch;
    cl_mem memory[MEMORY + 1];
    CLQ_TRY(get_kernel(product, &launch));
    list_memory(product, arrays, product->splits > 1 ? product->state->work.memory : product->gemm->c.device, memory);
    CLQ_TRY(queue_kernel(context, &launch, product->upload.memory, product->upload.offset_bytes + jobs_offset, memory, MEMORY, also));
    if (product->splits == 1) return CLQ_OK;
    launch.local_size = pack_local_size(product->state);
    launch.groups = clq_ceil_div(job->batch * job->side[0].lines * job->side[1].lines, (int64_t)launch.local_size);
    CLQ_TRY(get_program(context, CLQ_CL_GEMM_FINISH, "-cl-std=CL1.2", launch.local_size, CLQ_S8, CLQ_S8, &launch.program));
    memory[2] = product->gemm->c.device;
    memory[MEMORY] = product->state->work.memory;
    return queue_kernel(context, &launch, product->upload.memory, product->upload.offset_bytes + jobs_offset + (int64_t)sizeof *job, memory, MEMORY + 1, NULL);
}

/* Uploads jobs and parameters, then queues everything. */
static clq_status run_product(struct product *product, cl_event also)
{
    clq_context *context = product->context;
    struct clql_pack_job packs[2];
    struct clql_gemm_job job;
    struct arrays arrays;
    int forms[2] = {0, 0};
    int64_t groups[2] = {0, 0}, pack_offset[2], jobs_offset;
    struct array *const all[] = {&arrays.scale[0], &arrays.scale[1], &arrays.zero_point[0], &arrays.zero_point[1], &arrays.bias, &arrays.c_scale, &arrays.c_zero_point};
    char *host;
    clq_status status;
    for (int side = 0; side < 2; ++side)
        pack_offset[side] = clq_cl_take(&product->upload_bytes, sizeof packs[side]);
    jobs_offset = clq_cl_take(&product->upload_bytes, 2 * sizeof job);
    plan_arrays(product, &arrays);
    CLQ_TRY(clq_cl_arena_fit(context, &product->state->work, product->work_bytes));
    if (product->sums_bytes > 0) CL_TRY(context, clq_cl_queue_zero(&product->state->main, product->state->work.memory, 0, (size_t)product->sums_bytes));
    CLQ_TRY(clq_cl_upload_begin(context, product->upload_bytes, &product->upload, &host));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i)
        place_array(product, all[i], host);
    for (int side = 0; side < 2; ++side) {
        if (!product->is_packed_now[side]) continue;
        product->lines[side].memory = product->lines[side].sums_memory = product->state->work.memory;
        groups[side] = set_pack_job(&packs[side], &forms[side], product->matrix[side], side == 0, product->gemm->batch, product->gemm->k, product->count[side],
                                    &product->lines[side], true, (int64_t)pack_local_size(product->state));
        memcpy(host + pack_offset[side], &packs[side], sizeof packs[side]);
    }
    job = make_job(product, &arrays);
    memcpy(host + jobs_offset + (int64_t)sizeof job, &job, sizeof job);
    if (product->splits > 1) job = make_partial_job(product, &job);
    memcpy(host + jobs_offset, &job, sizeof job);
    status = clq_cl_upload_end(context, &product->upload, host, product->upload_bytes);
    for (int side = 0; side < 2 && status == CLQ_OK; ++side)
        if (product->is_packed_now[side]) status = pack_side(product, side, pack_offset[side], &packs[side], forms[side], groups[side], also);
    if (status == CLQ_OK) status = queue_product(product, &arrays, jobs_offset, &job, also);
    clReleaseMemObject(product->upload.memory);
    return status;
}

static clq_status multiply(clq_context *context, const struct clq_gemm *gemm, const struct clq_cl_lines *b, const struct clq_cl_unit *unit, int tiling,
                           cl_event also)
{
    struct product product = {.context = context, .state = clq_cl_state_of(context), .gemm = gemm, .params = {&gemm->a_params, &gemm->b_params},
                              .unit = unit, .matrix = {&gemm->a, &gemm->b}, .count = {gemm->m, gemm->n}};
    if (!b && gemm->packed) b = &((const struct clq_cl_packed *)gemm->packed->data)->lines;
    if (b) product.lines[1] = *b;
    choose_kernel(&product, tiling);
    choose_packing(&product);
    for (int side = 0; side < 2; ++side) {
        const struct clq_matrix *matrix = product.matrix[side];
        if (product.lines[side].memory || product.is_packed_now[side]) continue;
        /* Without k nothing is read. */
        product.lines[side] = (struct clq_cl_lines){
            .memory = gemm->k > 0 ? matrix->device : gemm->c.device, .offset = gemm->k > 0 ? (int64_t)(uintptr_t)matrix->data : 0,
            .batch_stride = gemm->k > 0 && gemm->batch > 1 ? matrix->batch_stride : 0,
            .pitch = gemm->k > 0 && product.count[side] > 1 ? line_stride(&product, side) : 0, .dtype = matrix->dtype, .shift = shift_of(&product, side)};
    }
    CLQ_TRY(plan_work(&product));
    return run_product(&product, also);
}

clq_status clq_cl_multiply_with(clq_context *context, const struct clq_gemm *gemm, const struct clq_cl_unit *unit, int tiling)
{
    return multiply(context, gemm, NULL, unit, tiling, NULL);
}

clq_status clq_cl_multiply(clq_context *context, const struct clq_gemm *gemm, const struct clq_cl_lines *b, cl_event also)
{
    CLQ_TRY(clq_cl_find_unit(context));
    return multiply(context, gemm, b, clq_cl_state_of(context)->products.unit, CLQ_CL_CHOOSE, also);
}
