/* SPDX-License-Identifier: MIT */
/* Part of vector_kernels.h: integers to integers of 8 bits, by the kernels of vector_quantize.h. */

#define REQUANTIZE_PART(from) \
    static __attribute__((noinline)) void requantize_end_##from(const struct strip *strip, int64_t i, int64_t n, const struct quantizer *p, const struct task *task, struct tally *tally) { quantize_columns_end(FROM_INT + CLQ_INT_##from, 1, strip, i, n, p, task, tally); } \
    static void requantize_part_##from(const struct task *task, const struct table *table) { quantize_part(FROM_INT + CLQ_INT_##from, 1, task, table, requantize_end_##from); }
#define REQUANTIZE(from, to) \
    static void requantize_##from##_##to(const struct clq_span *span) { run_span(span, bias_of(CLQ_INT_##to), requantize_part_##from, int_bytes(CLQ_INT_##from), 1); }
#define REQUANTIZE_BOTH(from) REQUANTIZE_PART(from) REQUANTIZE(from, S8) REQUANTIZE(from, U8)

/* clang-format off */
REQUANTIZE_BOTH(S8) REQUANTIZE_BOTH(U8) REQUANTIZE_BOTH(S32)

#define REQUANTIZE_ROW(from) {requantize_##from##_S8, requantize_##from##_U8}
#define REQUANTIZE_SLOTS     {[CLQ_INT_S8] = REQUANTIZE_ROW(S8), [CLQ_INT_U8] = REQUANTIZE_ROW(U8), [CLQ_INT_S32] = REQUANTIZE_ROW(S32)}
/* clang-format on */
