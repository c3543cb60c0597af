/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the library share: seeded values, memory between guard pages, tensors in every layout with a copy for the
 * reference to write, contexts on every table of kernels, parallel-for hooks, allocators that count and fail.
 *
 * Environment: CLQ_TEST_QUICK=1 for the short form, CLQ_TEST_SEED=N for other random values, CLQ_TEST_DEVICE=N for the OpenCL device opencl:N
 * alone.
 */
#ifndef CLQ_TESTS_TEST_SUPPORT_H
#define CLQ_TESTS_TEST_SUPPORT_H

#include "cpu/cpu_ops.h"
#include "reference.h"
#include <check.h>
#include <clquant.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#ifdef TEST_OPENCL
#include "device_tensors.h"
#endif

/* ---- running */

/* Runs a suite as CK_ environment variables say, after a line that names the tables of this machine; the program's exit status. */
int test_run(Suite *suite);

/* The same, or 77 (skipped) without an OpenCL device. */
int test_run_opencl(Suite *suite);

/* A test case without Check's limit of 4 seconds. */
TCase *test_case(Suite *suite, const char *name);

bool test_quick(void);

/* Whether tests are to try the OpenCL device opencl:N. */
bool test_device_wanted(int32_t n);

/* How often to repeat something. */
int64_t test_amount(int64_t full, int64_t quick);

/* Makes a new folder; `path` of at least 256 bytes is its path. */
void test_make_folder(char *path);

/* Removes a folder, if it is there, and all that is in it. */
void test_remove_folder(const char *path);

/* Says what is being tried, and where. A failed TEST_CHECK() prints both, and so does a crash. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_note_place(const char *format, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define TEST_CHECK(condition, ...)                                                                                               \
    do {                                                                                                                         \
        if (!(condition)) test_fail(__FILE__, __LINE__, __VA_ARGS__);                                                            \
    } while (0)

/* The call returns CLQ_OK; prints the context's error text if not. */
#define TEST_OK(context, call)                                                                                                   \
    do {                                                                                                                         \
        const clq_status test_status = (call);                                                                                   \
        if (test_status != CLQ_OK)                                                                                               \
            test_fail(__FILE__, __LINE__, "%s: %s: %s", #call, clq_status_name(test_status), clq_context_error(context));        \
    } while (0)

#define TEST_COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- random values */

struct test_random {
    uint64_t state, seed;
};

/* A stream for one test, made of CLQ_TEST_SEED and `salt`; its seed goes into the note. */
struct test_random test_random_start(uint64_t salt);

uint64_t test_next(struct test_random *random);
int64_t test_between(struct test_random *random, int64_t least, int64_t most);
bool test_chance(struct test_random *random, int32_t one_in);

uint32_t test_bits(float x);
float test_float(uint32_t bits);

/* Zeros, denormals, least and largest normals, infinities, NaN of both kinds, powers of two around those that matter. */
extern const uint32_t test_special_floats[];
extern const int32_t test_special_float_count;

/* A scale in [2^-100, 2^100]: bounds, powers of two, awkward mantissas, ordinary ones. */
uint32_t test_random_scale(struct test_random *random);

/* An f32 for quantization with scale `s`, zero point `z` and range [qmin, qmax]: any bits, specials, ordinary values, ties and
   bounds and their neighbours. */
uint32_t test_random_value(struct test_random *random, uint32_t s, int64_t z, int64_t qmin, int64_t qmax);

/* ---- memory */

enum { TEST_SLOTS = 16 };

/*
 * Memory that begins or ends exactly at a page that cannot be touched. Each slot holds one piece at a time; what it held before
 * is gone. The contents are arbitrary.
 */
unsigned char *test_guarded(int32_t slot, size_t size_bytes, bool at_end);

void test_fill_random(struct test_random *random, void *memory, size_t size_bytes);

/* ---- tensors */

enum test_layout {
    TEST_CONTIGUOUS,
    TEST_PADDED,     /* row-major with gaps between rows */
    TEST_TRANSPOSED, /* dimensions in any order, gaps here and there */
    TEST_STEPPED,    /* every second or third element */
    TEST_REVERSED,   /* negative strides */
    TEST_MIXED,      /* all of these together */
    TEST_BROADCAST,  /* as mixed, some strides 0: only inputs */
    TEST_LAYOUTS
};

/* A tensor between guard pages and a copy of its memory, gaps included, where the reference writes what must come out. */
struct test_tensor {
    clq_tensor view, expected;
    unsigned char *memory, *copy, *initial;
    size_t size_bytes;
};

/* Random contents. Free it with test_tensor_free() before its slot is used again. */
void test_tensor_make(struct test_tensor *tensor, struct test_random *random, int32_t slot, clq_dtype dtype, int32_t rank,
                      const int64_t *shape, enum test_layout layout);
void test_tensor_make_strided(struct test_tensor *tensor, struct test_random *random, int32_t slot, clq_dtype dtype, int32_t rank,
                              const int64_t *shape, const int64_t *strides);
void test_tensor_free(struct test_tensor *tensor);

/* After writing to the view: what it holds becomes the initial contents, and those expected. */
void test_tensor_sync(struct test_tensor *tensor);

/* Back to the initial contents. */
void test_tensor_reset(struct test_tensor *tensor);

/* Fails unless the memory equals the copy, every byte of the gaps too; any NaN equals any other. Prints the first difference. */
void test_tensor_compare(const struct test_tensor *tensor, const char *name);

/* "f32 [3, 4] strides [4, 1] offset 0". One of several static buffers. */
const char *test_describe(const clq_tensor *tensor);
const char *test_describe_scheme(const clq_scheme *scheme);

/* A random shape of the rank with at most `most` elements; one extent in eight is 1 and, if `may_be_empty`, a few are 0. */
void test_random_shape(struct test_random *random, int32_t rank, int64_t most, bool may_be_empty, int64_t *shape);

/* ---- schemes */

extern const clq_dtype test_float_dtypes[3]; /* f32, f16, bf16 */

/* A layout for an input or an output, contiguous in a third of all cases. */
enum test_layout test_random_layout(struct test_random *random, bool is_input);

/* A range inside the type's that the symmetry accepts. */
void test_random_range(struct test_random *random, clq_scheme *scheme);

/* An axis and a group size for the shape; none for rank 0. */
void test_random_axis(struct test_random *random, clq_scheme *scheme, int32_t rank, const int64_t *shape);

/* A shape and how its elements share scales. */
struct test_shape {
    int32_t rank;
    int64_t shape[CLQ_MAX_RANK];
    clq_granularity granularity;
    int32_t axis;
    int64_t group_size;
};

/* Shapes that meet the sizes of tiles, of parts for threads and of groups in all ways; and ones large enough for several threads to get parts. */
extern const struct test_shape test_long_shapes[], test_large_shapes[];
extern const int32_t test_long_shape_count, test_large_shape_count;

/* The scheme of that shape, its symmetry and quotient drawn. */
clq_scheme test_shape_scheme(struct test_random *random, const struct test_shape *shape, clq_dtype dtype);

/* Parameters for a tensor, in any layout; the views are in `params`. */
struct test_params {
    struct test_tensor scale, zero_point;
    clq_qparams params;
    struct ref_scheme resolved;
    bool has_zero_point;
};

/* Random scales and zero points, or none of the latter, in `slot` and the one after it. */
void test_params_make(struct test_params *params, struct test_random *random, int32_t slot, const clq_scheme *scheme, int32_t rank,
                      const int64_t *shape);
void test_params_free(struct test_params *params);

/* Fails unless the views hold what they did. */
void test_params_compare(const struct test_params *params);

/* Values that are hard for the very scale and zero point of their element. */
void test_params_fill(const struct test_params *params, struct test_random *random, struct test_tensor *x);

/* ---- tables and contexts */

/* Tables of kernels that this machine runs, best first, scalar last. */
int32_t test_table_count(void);
const struct clq_cpu_table *test_table(int32_t i);

/* Whether the table has kernels for elements of its own, not for the matrix product alone. */
bool test_has_elements(const struct clq_cpu_table *table);

/* The context must come to be. A hook may be NULL: OpenMP, or one thread without it. */
clq_context *test_context(const char *table, int32_t threads, clq_parallel_for_fn hook, void *opaque);

/* Quantizes `n` values made from `salt` and checks them. Returns false instead of failing, so that any thread may call it. */
bool test_works(clq_context *context, int64_t n, uint64_t salt);

/* ---- threads */

/* A hook's state: how many threads it starts, what floating-point environment they set, what it saw. */
struct test_hook {
    int32_t threads;
    bool hostile_mode; /* worker threads flush denormals and round up */
    atomic_llong calls, tasks;
    atomic_bool mode_lost; /* a task returned with another mode than it was entered with */
};

/* Starts that many pthreads, which take the tasks from the last to the first. */
void test_parallel_for(void *hook, int64_t tasks, clq_task_fn task, void *argument);

/* ---- floating-point environment */

enum test_mode {
    TEST_MODE_PLAIN,
    TEST_MODE_FLUSH, /* denormals flushed, in both directions where there are two */
    TEST_MODE_TRAPS, /* every exception traps */
    TEST_MODES
};

/* Sets the calling thread's mode; plain if the machine lacks the other. */
void test_mode_set(enum test_mode mode);

/* The mode bits: rounding, flushing, masks. */
uint64_t test_mode_get(void);

/* Fails unless the mode is still the one set, then makes it plain. */
void test_mode_end(enum test_mode mode);

/* ---- every way to run an operation */

/* A context on a table, with so many threads of a kind. */
struct test_place {
    clq_context *context;
    struct test_hook hook;
    char name[64];
};

enum { TEST_PLACES = 32 };

/* Each table that has kernels for elements, on one thread; if `threaded`, also on 2 and 5, through the hook and through OpenMP. Built with TEST_OPENCL:
   each OpenCL device, with staging in large and in small chunks. Returns how many. */
int32_t test_places_open(struct test_place *places, bool threaded);

/* On the CPU: the same for the matrix product, which more tables have. */
int32_t test_gemm_places_open(struct test_place *places, bool threaded);

void test_places_close(struct test_place *places, int32_t count);

/* ---- allocation */

/* Counts, checks and fails. */
struct test_allocator {
    atomic_llong live, live_bytes, calls;
    long long fail_at;        /* this call returns NULL, counted from 1; 0: none does */
    long long fail_size_from; /* so does every call for at least so many bytes; 0: none */
    atomic_bool misused;      /* a size, alignment or pointer was wrong */
};

clq_allocator test_allocator_of(struct test_allocator *allocator);

#endif
