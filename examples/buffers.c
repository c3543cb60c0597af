/* SPDX-License-Identifier: MIT */
/* Tensors in memory of the place where the context runs: of the best GPU, or of the CPU where there is none. The same program
 * serves both. */
#include <clquant.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 3, COLS = 64, ELEMENTS = ROWS * COLS };

/* Weights go there, are quantized there, a scale for each row, and only the integers come back. Offsets count elements, of each
 * view's type. */
static clq_status quantize_there(clq_context *ctx, const clq_tensor *weights, const clq_tensor *integers)
{
    const int64_t rows[] = {ROWS};
    clq_buffer *memory = NULL;
    clq_status status = clq_buffer_create(ctx, 4 * ELEMENTS + 4 * ROWS + ELEMENTS, &memory);
    const clq_tensor x = clq_tensor_buffer(CLQ_F32, memory, 0, 2, weights->shape);
    const clq_tensor q = clq_tensor_buffer(CLQ_S8, memory, 4 * (ELEMENTS + ROWS), 2, weights->shape);
    const clq_qparams params = {
        .scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 0},
        .scale = clq_tensor_buffer(CLQ_F32, memory, ELEMENTS, 1, rows),
    };
    if (status == CLQ_OK) status = clq_convert(ctx, weights, &x);
    if (status == CLQ_OK) status = clq_choose_qparams(ctx, &x, &params);
    if (status == CLQ_OK) status = clq_quantize(ctx, &x, &params, &q, NULL);
    if (status == CLQ_OK) status = clq_convert(ctx, &q, integers); /* returns when they are here */
    clq_buffer_free(memory);
    return status;
}

int main(void)
{
    static float weights[ROWS][COLS];
    static int8_t integers[ROWS][COLS];
    const int64_t shape[] = {ROWS, COLS};
    const clq_tensor x = clq_tensor_host(CLQ_F32, weights, 2, shape), q = clq_tensor_host(CLQ_S8, integers, 2, shape);
    clq_context *ctx = NULL;
    int mistakes = 0;

    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++)
            weights[r][c] = (float)((r + 1) * (2 * c - COLS + 1)); /* up to 63 times the row's factor */
    clq_status status = clq_context_create(NULL, &ctx);
    if (status == CLQ_OK) status = quantize_there(ctx, &x, &q);
    if (status != CLQ_OK) {
        fprintf(stderr, "buffers: %s: %s\n", clq_status_name(status), ctx != NULL ? clq_context_error(ctx) : "no context");
    } else {
        for (int r = 0; r < ROWS; r++)
            mistakes += integers[r][0] != -127 || integers[r][COLS / 2] != 2 || integers[r][COLS - 1] != 127;
        printf("%d weights quantized by %s: rows from %d to %d\n", ELEMENTS, clq_context_ran_on(ctx), integers[0][0],
               integers[0][COLS - 1]);
    }
    clq_context_free(ctx);
    return status == CLQ_OK && mistakes == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
