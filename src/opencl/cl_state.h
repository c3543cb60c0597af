/* SPDX-License-Identifier: MIT */
/* What a context on an OpenCL device is made of, and how its parts work together. */
#ifndef CLQ_OPENCL_CL_STATE_H
#define CLQ_OPENCL_CL_STATE_H

#include "backend.h"
#include "opencl/cl_program.h"
#include "opencl/cl_queue.h"
#include "opencl/cl_unit.h"
#include <sys/types.h>

/* A block of device memory and the host memory from which it is filled: small things for launches, one after the other. */
struct clq_cl_block {
    cl_mem memory;
    char *host;
    int64_t used_bytes;
    cl_event last; /* the last write from it */
    struct clq_cl_block *next;
};

/* Half of the staging memory: host tensors pass through, inputs laid out from its begin, outputs from its end. */
struct clq_cl_slot {
    cl_mem memory;
    cl_mem pinned_memory; /* host memory that the device reaches directly, mapped at `pinned` as long as the context lives */
    char *pinned;
    int64_t size_bytes;
    cl_event busy; /* the last command that uses the slot, if no call waits for it any more; or NULL */
};

/* Device memory for intermediate results, as large as was needed so far. */
struct clq_cl_arena {
    cl_mem memory;
    int64_t size_bytes;
};

/* How integer matrix products are made. */
struct clq_cl_products {
    const struct clq_cl_unit *wanted; /* by the option or the environment; NULL: the best */
    const struct clq_cl_unit *unit;   /* NULL until the first product */
    float rate[CLQ_CL_TILINGS];       /* of its tilings: multiplications and additions of a compute unit in a nanosecond, for comparisons alone; 0: not to be used */
};

struct clq_cl_state {
    cl_context cl;
    int32_t index;                 /* N of "opencl:N"; -1: the caller's device */
    struct clq_cl_queue main;      /* computes */
    struct clq_cl_queue up, down;  /* transfers of host tensors; made when first needed */
    struct clq_cl_programs programs;
    struct clq_cl_block *blocks;   /* the one in use first */
    struct clq_cl_block *held;     /* holds parameters of kernels still to be queued: not to be written over; or NULL */
    struct clq_cl_arena work;      /* intermediate results of an operation */
    struct clq_cl_arena weights;   /* B of a product, from host memory */
    struct clq_cl_products products;
    bool uses_clblast;
    int64_t staging_bytes;
    struct clq_cl_slot slots[2];
    int next_slot;
    cl_int failed;                 /* the first failure of work that was only begun when its call returned */
};

/* Where an argument of an operation is on the device. */
struct clq_cl_place {
    cl_mem memory;
    int64_t offset_bytes;
};

/* An operation and where its arguments are; operands only if they live on the device. */
struct clq_cl_bound {
    struct clq_op *op;
    struct clq_cl_place arg[CLQ_ARGS];
    struct clq_cl_place keys;     /* minmax: two arrays of param_count keys */
    struct clq_cl_place tally;    /* quantize, fake_quantize, minmax: three counts in halves */
    struct clq_cl_place partials; /* error statistics; sums of gradients, if they are kept: see gradient_parts */
    int64_t partials_used;        /* error statistics */
    int64_t gradient_parts;       /* backward_learnable: partial sums of a parameter */
    bool keeps_gradients;         /* they are added up before they become results */
};

/* A range of an operation's elements and where its operands are: at offset_bytes + the strides' or, if dense, the flat index's offset. */
struct clq_cl_segment {
    struct clq_cl_bound *bound;
    int64_t first, count;
    struct {
        cl_mem memory;
        int64_t offset_bytes; /* of the element with the flat index 0; below 0 in a chunk */
        bool packed;          /* elements follow each other in the order of the loops, whatever the strides say */
        void *host;           /* staged: the chunk's place in pinned memory */
    } operand[CLQ_OPERANDS];
};

/* cl_upload.c: `size_bytes` of memory for a command to come. Fill `*host`, then call clq_cl_upload_end(). Aligned to 64 bytes. */
clq_status clq_cl_upload_begin(clq_context *context, int64_t size_bytes, struct clq_cl_place *place, char **host);
clq_status clq_cl_upload_end(clq_context *context, const struct clq_cl_place *place, char *host, int64_t size_bytes);
void clq_cl_blocks_free(clq_context *context);

/* cl_launch.c: queues the kernels for segments, all of whose operands are on the device; the first waits for `also` besides. */
clq_status clq_cl_launch_segments(clq_context *context, const struct clq_cl_segment *segments, int64_t n, cl_event also);

/* Queues what follows when all elements of the operations have been visited: ranges, counts, parameters and their gradients. */
clq_status clq_cl_launch_finish(clq_context *context, const struct clq_cl_bound *bounds, int64_t n);

/* Work-groups, and partial sums, for so many elements of error statistics. */
int64_t clq_cl_count_partials(int64_t elements);

/* Partial sums of a parameter, for operations of up to so many elements at once. */
int64_t clq_cl_count_gradient_parts(const struct clq_cl_state *state, const struct clq_op *op, int64_t elements);

/* cl_staging.c: makes the queues for transfers; fine if they are there. */
clq_status clq_cl_open_transfers(clq_context *context);

/* Makes a slot, or makes it larger; it is not in use. Then the transfers' queues are there. */
clq_status clq_cl_open_slot(clq_context *context, struct clq_cl_slot *slot, int64_t size_bytes);

/* Waits until nothing of an earlier call uses a slot. */
clq_status clq_cl_wait_for_slot(clq_context *context, struct clq_cl_slot *slot);

/* Elements of an operation with operands in host memory that pass through a slot at once. */
int64_t clq_cl_chunk_elements(const struct clq_cl_state *state, const struct clq_op *op);

/* Runs the elements of operations that have operands in host memory, from the first to the last; on return their outputs
   among the operands are complete. */
clq_status clq_cl_run_staged(clq_context *context, struct clq_cl_bound *bounds, int64_t n);
void clq_cl_slots_free(struct clq_cl_state *state);

/* Counts are made in halves, which finish_minmax brings together. */
static inline bool clq_cl_has_tally(const struct clq_op *op)
{
    return op->counted && (op->kind == CLQ_OP_QUANTIZE || op->kind == CLQ_OP_FAKE_QUANTIZE);
}

/* cl_backend.c: makes an arena at least so large. Commands under way keep the memory it had, whose contents are lost. */
clq_status clq_cl_arena_fit(clq_context *context, struct clq_cl_arena *arena, int64_t size_bytes);

/* A share of intermediate memory: its offset. */
int64_t clq_cl_take(int64_t *bytes, int64_t size_bytes);

/* Memory that the host shares may begin anywhere. */
bool clq_cl_is_misaligned(cl_mem memory, int64_t alignment_bytes);

/* One side of a product as kernels read it, see struct clql_gemm_side. */
struct clq_cl_lines {
    cl_mem memory;
    int64_t offset, batch_stride, pitch; /* bytes */
    clq_dtype dtype;                     /* of elements as they lie there */
    int32_t shift;                       /* what has been taken off them */
    cl_mem sums_memory;                  /* NULL: there are none */
    int64_t sums_offset, sums_stride;    /* bytes, sums */
};

/* Packed weights on a device: clq_packed.data. */
struct clq_cl_packed {
    cl_context cl; /* retained, as the memory */
    cl_device_id device;
    cl_mem memory;
    pid_t pid;     /* of the process that made them: a forked child leaves both alone */
    struct clq_cl_lines lines;
};

/* cl_gemm.c: queues a product of matrices on the device; `b` are its B's lines, or NULL. The first command that needs A waits for `also` besides. */
clq_status clq_cl_multiply(clq_context *context, const struct clq_gemm *gemm, const struct clq_cl_lines *b, cl_event also);

/* Queues what makes lines of B's columns, with sums, in the `size_bytes` of `memory` from `offset_bytes` on, see clq_cl_lines_bytes(). */
clq_status clq_cl_make_lines(clq_context *context, const struct clq_matrix *b, int64_t batch, int64_t k, int64_t n, cl_mem memory, int64_t offset_bytes,
                             cl_event also, struct clq_cl_lines *lines);
/* -1: too many. */
int64_t clq_cl_lines_bytes(int64_t batch, int64_t k, int64_t lines);

/* The kernels of a unit: the numbers of its tilings, and */
enum { CLQ_CL_ROWS = -1, CLQ_CL_CHOOSE = -2 };

/* A product by a kernel of a unit, K in one part: for trials and measurements. */
clq_status clq_cl_multiply_with(clq_context *context, const struct clq_gemm *gemm, const struct clq_cl_unit *unit, int tiling);

/* cl_tuning.c: finds the unit of this context, if that has not been done. */
clq_status clq_cl_find_unit(clq_context *context);
/* Measures its tilings and keeps the result. */
clq_status clq_cl_tune(clq_context *context);
/* "nvidia-mma: ..."; as far as notes in the cache tell, if none has been found; of `programs` only device and cache matter. */
void clq_cl_describe_unit(const struct clq_cl_programs *programs, const clq_allocator *allocator, const struct clq_cl_products *products, char *text,
                          size_t size_bytes);

/* cl_gemm_f32.c: queues a product of f32 matrices on the device. */
clq_status clq_cl_multiply_f32(clq_context *context, const struct clq_gemm *gemm, cl_event also);
/* The context makes no more of them: the last one that did lets go what CLBlast keeps for all. */
void clq_cl_end_f32(const struct clq_cl_state *state);

/* cl_gemm_staging.c: a product with operands in host memory; on return an output there is complete. */
clq_status clq_cl_multiply_staged(clq_context *context, const struct clq_gemm *gemm);

/* Makes the lines of packed weights, in their memory, which is large enough; they are complete on return. */
clq_status clq_cl_pack(clq_context *context, const struct clq_matrix *b, struct clq_packed *packed, struct clq_cl_packed *made);

/* cl_backend.c: waits for all work, on every queue; the first error of work that this call began is given, of older work kept in `failed`. */
cl_int clq_cl_drain(struct clq_cl_state *state);

/* True if the operand's elements follow each other in the order of the loops. */
bool clq_cl_is_dense(const struct clq_op *op, int k);

static inline struct clq_cl_state *clq_cl_state_of(const clq_context *context)
{
    return context->opencl_state;
}

#endif
