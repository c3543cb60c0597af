/* SPDX-License-Identifier: MIT */
/* The README's program: quantizes a small matrix, one scale a row, and shows what became of it. */
#include <clquant.h>
#include <stdio.h>

int main(void)
{
    const float weights[2][4] = {{0.5f, -1.0f, 0.25f, 0.75f}, {20.0f, -5.0f, 10.0f, 2.5f}};
    const int64_t shape[] = {2, 4}, rows[] = {2};
    int8_t quantized[2][4];
    float scales[2];

    clq_context *ctx = NULL;
    clq_status status = clq_context_create(NULL, &ctx);
    const clq_tensor x = clq_tensor_host(CLQ_F32, weights, 2, shape), q = clq_tensor_host(CLQ_S8, quantized, 2, shape);
    const clq_qparams params = {
        .scheme = {.dtype = CLQ_S8, .symmetry = CLQ_SYMMETRIC, .granularity = CLQ_PER_CHANNEL, .axis = 0},
        .scale = clq_tensor_host(CLQ_F32, scales, 1, rows),
    };
    if (status == CLQ_OK) status = clq_choose_qparams(ctx, &x, &params); /* fills the scales from the data */
    if (status == CLQ_OK) status = clq_quantize(ctx, &x, &params, &q, NULL);
    if (status != CLQ_OK) fprintf(stderr, "%s: %s\n", clq_status_name(status), ctx != NULL ? clq_context_error(ctx) : "");
    for (int r = 0; status == CLQ_OK && r < 2; r++)
        printf("scale %.8f: %4d %4d %4d %4d\n", scales[r], quantized[r][0], quantized[r][1], quantized[r][2], quantized[r][3]);
    clq_context_free(ctx);
    return status == CLQ_OK ? 0 : 1;
}
