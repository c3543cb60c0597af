/* SPDX-License-Identifier: MIT */
/*
 * Two libraries that know nothing of each other: one has weights, the other quantizes them where they lie and hands over the integers. What
 * passes between them is DLPack's, as between PyTorch, NumPy or TVM and a module in C.
 */
#include <clquant_dlpack.h>
#include <stdio.h>

enum { ROWS = 4, COLS = 6 };

/* ------------------------------------------------------------------------------------------------ the one that quantizes */

/* To 8 bits, symmetric, with one scale: reads others' elements where they lie, and hands over a tensor of its own. */
static clq_status quantize_theirs(clq_context *ctx, const DLManagedTensor *theirs, float *scale, DLManagedTensor **quantized)
{
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC}, .scale = clq_tensor_host(CLQ_F32, scale, 0, NULL)};
    int64_t count = 1;
    clq_tensor x, q;
    clq_status status = clq_tensor_from_dlpack(&theirs->dl_tensor, &x);
    if (status != CLQ_OK) return status;
    for (int32_t i = 0; i < x.rank; i++)
        count *= x.shape[i];
    q = clq_tensor_host(CLQ_S8, malloc((size_t)count), x.rank, x.shape);
    status = q.data != NULL ? clq_dynamic_quantize(ctx, &x, &params, &q, NULL) : CLQ_ERROR_OUT_OF_MEMORY;
    if (status == CLQ_OK) status = clq_tensor_to_dlpack_managed(&q, free, q.data, quantized); /* whoever has it now frees it */
    if (status != CLQ_OK) free(q.data);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the one with weights */

/* A matrix of which others borrow the first COLS columns, transposed. */
struct weights {
    float values[COLS + 2][ROWS + 1];
    int64_t shape[2], strides[2];
    int borrowers;
};

static void give_back(DLManagedTensor *self)
{
    ((struct weights *)self->manager_ctx)->borrowers--;
}

static DLManagedTensor lend(struct weights *w)
{
    DLManagedTensor lent = {.manager_ctx = w, .deleter = give_back};
    for (int c = 0; c < COLS; c++)
        for (int r = 0; r < ROWS; r++)
            w->values[c][r + 1] = 0.5f * (float)((c - 3) * (r + 1)); /* -6 to 4 */
    w->shape[0] = ROWS;
    w->shape[1] = COLS;
    w->strides[0] = 1;
    w->strides[1] = ROWS + 1;
    w->borrowers++;
    lent.dl_tensor = (DLTensor){.data = w->values, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = w->shape,
                                .strides = w->strides, .byte_offset = sizeof(float)};
    return lent;
}

/* How many of the integers are not what the weights and the scale make them: all of these are far from halves. */
static int count_mistakes(const DLTensor *quantized, float scale)
{
    const int8_t *values = quantized->data;
    int mistakes = quantized->ndim != 2 || quantized->shape[0] != ROWS || quantized->shape[1] != COLS || quantized->dtype.code != kDLInt;
    if (mistakes != 0) return mistakes;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            const float exact = 0.5f * (float)((c - 3) * (r + 1)) / scale;
            mistakes += values[r * quantized->strides[0] + c * quantized->strides[1]] != (int)(exact < 0 ? exact - 0.5f : exact + 0.5f);
        }
    return mistakes;
}

int main(void)
{
    static struct weights weights;
    DLManagedTensor lent = lend(&weights), *quantized = NULL;
    clq_context *ctx = NULL;
    float scale = 0;
    int mistakes = 1;
    clq_status status = clq_context_create(NULL, &ctx);
    if (status == CLQ_OK) status = quantize_theirs(ctx, &lent, &scale, &quantized);
    if (status != CLQ_OK) fprintf(stderr, "dlpack: %s: %s\n", clq_status_name(status), ctx != NULL ? clq_context_error(ctx) : "no context");
    lent.deleter(&lent);
    clq_context_free(ctx);
    if (quantized != NULL) { /* which needs neither the context nor the weights */
        const int8_t *row = (const int8_t *)quantized->dl_tensor.data + 3 * quantized->dl_tensor.strides[0];
        mistakes = count_mistakes(&quantized->dl_tensor, scale) + weights.borrowers;
        printf("%d borrowed weights to 8 bits, scale %.6f; the last row: %d %d %d %d %d %d\n", ROWS * COLS, (double)scale, row[0], row[1], row[2],
               row[3], row[4], row[5]);
        quantized->deleter(quantized);
    }
    return mistakes == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
