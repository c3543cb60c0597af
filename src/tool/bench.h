/* SPDX-License-Identifier: MIT */
/*
 * What the files of the command bench share.
 *
 * A *case* is an operation, a variant of it, dtypes and a shape. A *place* is where it runs: a table of CPU kernels with a number of threads, or a device.
 * bench_cases.c and bench_gemm.c know the cases, bench_run.c prepares their operands, checks results and measures, bench_limits.c
 * knows what the machine can do at best, by the loops of bench_stream.h and bench_peak.c.
 */
#ifndef CLQ_TOOL_BENCH_H
#define CLQ_TOOL_BENCH_H

#include "tool/tool.h"

/* For the samples of one measurement. The tests have less time. */
#ifndef CLQ_TOOL_BENCH_SECONDS
#define CLQ_TOOL_BENCH_SECONDS 30e-3
#endif

/* Operands of the operations. The name decides dtype, shape and content; see describe() in bench_cases.c. */
enum {
    BENCH_X,
    BENCH_DY,
    BENCH_Q,
    BENCH_Y,
    BENCH_MASK,
    BENCH_SCALE, /* and zero point: of the case's scheme */
    BENCH_ZERO_POINT,
    BENCH_LO, /* also the gradient by the scale */
    BENCH_HI,
    BENCH_A, /* of matrix products */
    BENCH_B,
    BENCH_C,
    BENCH_BIAS,
    BENCH_A_SCALE,
    BENCH_A_ZERO_POINT,
    BENCH_B_SCALE,
    BENCH_C_SCALE,
    BENCH_C_ZERO_POINT,
    BENCH_OPERANDS
};
#define BENCH_BIT(operand) (1u << BENCH_##operand)

/* The arguments of one call, all there before time is taken. */
struct clq_bench_arguments {
    clq_tensor operands[BENCH_OPERANDS];
    clq_qparams params, x_params, c_params; /* the second: of what is requantized, or of A */
    clq_gemm_args gemm;
    clq_packed *packed;
    clq_error_stats stats;
};

struct clq_bench_case;

struct clq_bench_op {
    const char *name;
    uint32_t inputs, outputs; /* bits; what is in both must be set up anew before its result can be checked */
    uint32_t sums;            /* outputs that need not be the same to the bit */
    clq_status (*call)(clq_context *context, struct clq_bench_arguments *arguments);
};

struct clq_bench_case {
    const struct clq_bench_op *op;
    const char *variant;
    clq_scheme scheme;      /* its dtype is that of Q */
    clq_dtype x;            /* of X, DY and Y; of A */
    clq_dtype b, c;         /* of matrix products */
    bool packed;
    bool is_long, is_forced; /* runs on the best table alone; runs everywhere, as it was asked for by its shape */
    int32_t rank;
    int64_t shape[4];  /* of X; of products M, N, K, or batch, M, N, K */
    double operations; /* of products, else 0 */
    int64_t row_step;  /* every so-manieth row of the results is checked */
};

/* Dtype, shape and content of an operand: f32, f16, bf16 and s32 lie in [least, most], other types hold any bits. */
struct clq_bench_content {
    clq_tensor view;
    double least, most;
};
void clq_bench_describe(const struct clq_bench_case *c, int operand, struct clq_bench_content *content);
void clq_bench_describe_gemm(const struct clq_bench_case *c, int operand, struct clq_bench_content *content);

/* Makes parameters and arguments out of the operands. */
void clq_bench_bind(const struct clq_bench_case *c, struct clq_bench_arguments *arguments);
void clq_bench_bind_gemm(const struct clq_bench_case *c, struct clq_bench_arguments *arguments);

/* Leaves only those rows of a product in its views that are checked. */
void clq_bench_thin_out(const struct clq_bench_case *c, struct clq_bench_arguments *arguments);

#define BENCH_PLACES 64
struct clq_bench;

/* Calls `visit` with each case that the operation (NULL: all) and the shape (rank 0: the sizes of its own) ask for. */
typedef bool (*clq_bench_visit_fn)(struct clq_bench *bench, const struct clq_bench_case *c);
bool clq_bench_for_cases(struct clq_bench *bench, clq_bench_visit_fn visit);
bool clq_bench_for_gemm_cases(struct clq_bench *bench, clq_bench_visit_fn visit);
bool clq_bench_is_op(const char *name);

/* What a number of threads, or a device, can do at best; filled in by bench_limits.c. Levels are powers of two of bytes. */
#define BENCH_LEVELS 32
struct clq_bench_limits {
    int32_t num_threads;
    double read[BENCH_LEVELS], write[BENCH_LEVELS], copy[BENCH_LEVELS]; /* bytes a second, 0: not measured */
    double peak;                                                         /* operations a second */
};

struct clq_bench_place {
    char cpu[32], device[32];
    int32_t num_threads; /* 0 on a device */
    bool is_device;
    bool is_best;       /* the table that is chosen by default, or was asked for */
    bool only_products; /* a table that brings nothing else */
    clq_context *context;
    struct clq_bench_limits *limits;
};

/* One line of the result. */
struct clq_bench_row {
    char op[32], variant[32], shape[40], dtype[24], cpu[32], device[32];
    int32_t num_threads;
    double median, least, spread; /* seconds; the spread is that of the middle half of the samples, by the median */
    double rate;
    const char *unit;
    double share; /* NaN: no limit is known */
};

struct clq_bench {
    struct clq_tool *tool;
    const char *op, *cpu;
    int32_t rank; /* of the shape asked for, 0: none */
    int64_t shape[4];
    double seconds; /* for the samples of one measurement */
    struct clq_bench_place places[BENCH_PLACES];
    struct clq_bench_limits limits[BENCH_PLACES];
    int place_count, limits_count;
    clq_context *scalar; /* whose results are right */
    struct clq_bench_row *rows;
    int64_t row_count, row_capacity;
};

/* ---- bench_run.c */

/* Operands of a case: sets of them, so that memory is measured where the case is meant for it; and right results. */
struct clq_bench_data {
    const struct clq_bench_case *c;
    size_t offsets[BENCH_OPERANDS], set_bytes;
    struct clq_bench_content contents[BENCH_OPERANDS];
    int set_count;
    int64_t bytes_read, bytes_written;
    unsigned char *sets, *right;
    clq_error_stats right_stats;
};
void clq_bench_layout(const struct clq_bench_case *c, struct clq_bench_data *data);
bool clq_bench_prepare(struct clq_bench *bench, struct clq_bench_data *data);
void clq_bench_release(struct clq_bench_data *data);

/* Checks and measures the case in a place, and adds a row. */
bool clq_bench_measure(struct clq_bench *bench, struct clq_bench_data *data, struct clq_bench_place *place);

/* Seconds of samples, brought to order. */
struct clq_bench_samples {
    double seconds[400];
    int count;
};
void clq_bench_sort(struct clq_bench_samples *samples);
double clq_bench_quantile(const struct clq_bench_samples *samples, double share);

/* A new row, or NULL with the error told. */
struct clq_bench_row *clq_bench_add_row(struct clq_bench *bench);

/* Pseudo-random bytes, never all zero. */
void clq_bench_random_bytes(void *memory, size_t bytes, uint64_t seed);

/* ---- bench_limits.c */

/* Operands of more bytes than this are measured in memory, rotating among as many sets as make BENCH_MEMORY_BYTES. */
#define BENCH_CACHED_BYTES ((int64_t)32 << 20)
#define BENCH_MEMORY_BYTES ((int64_t)256 << 20)

/* Measures what clq_bench_floor() needs for operands of so many bytes, and adds rows that say it. */
bool clq_bench_measure_limits(struct clq_bench *bench, struct clq_bench_place *place, int64_t bytes);
bool clq_bench_measure_peak(struct clq_bench *bench, struct clq_bench_place *place);

/* The least seconds in which this machine can do it: the time to move the bytes or that for the operations, whichever is longer; 0 if unknown. */
double clq_bench_floor(const struct clq_bench_place *place, const struct clq_bench_data *data);

/* ---- bench_peak.c */

/* A loop of dot products of bytes in registers. */
struct clq_bench_peak {
    const char *name; /* as the table of kernels */
    bool (*is_there)(void);
    double operations; /* of a round */
    void (*run)(int64_t rounds, const void *random_bytes, void *sink);
};
extern const struct clq_bench_peak clq_bench_peaks[];
extern const int clq_bench_peak_count;

#endif
