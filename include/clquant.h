/* SPDX-License-Identifier: MIT */
/**
 * @file clquant.h
 * clquant: quantize tensors, with the same bits on every path.
 *
 * **Model.** A context is the place where work runs: an OpenCL device, or the CPU through the best table of vector kernels that the
 * machine has. Tensors, scales and zero points are passed as *views* (clq_tensor): a dtype, a shape, strides and a pointer. A
 * view owns nothing, and the library keeps no pointer to a view, a struct or host memory after a call returns.
 *
 * **Order.** A context is a stream: operations take effect in the order of the calls. On an OpenCL device a call whose outputs are
 * all there returns when its work has been queued (a tensor input in host memory has to be taken over first, through one of two staging
 * blocks, for which a call may wait); a call with an output in host memory returns when that is complete. Host
 * inputs, parameters, views and structs may be reused on return, outside of a batch. Buffers in use by queued work may be freed.
 *
 * **Where it runs.** A call with a tensor or a parameter on a device runs there, or fails; what it has in host memory is brought there and back.
 * A call on host memory alone runs where the context's option host_tensors says, and is done again on the CPU if the device fails it
 * (option no_fallback; logged; clq_context_ran_on() tells). The bits are the same.
 *
 * **Errors.** A function that can fail returns a clq_status, and clq_context_error() gives one line that names the argument, its value
 * and its bound. On failure outputs are untouched, unless a device failed when work had begun: with CLQ_ERROR_DEVICE, and in a context
 * on a device with CLQ_ERROR_OUT_OF_MEMORY, what they hold is unspecified. Work that fails after its call returned is told of by
 * clq_context_synchronize() or an earlier call that waits. Nothing prints or exits. Every function that takes a context fails with
 * CLQ_ERROR_INVALID_ARGUMENT when it is NULL, and in a context on a device may fail with CLQ_ERROR_DEVICE, CLQ_ERROR_OUT_OF_MEMORY and
 * CLQ_ERROR_FORKED, which its own list does not repeat.
 *
 * **Threads.** One thread at a time in a context; any number of contexts, each used by its own thread, at once.
 * Functions that take no context may be called from any thread.
 *
 * **Fork.** A CPU context stays usable in a forked child, where it runs on the calling thread alone. (A *new* context in
 * the child of a process that had already run on several threads may hang in some OpenMP runtimes, GCC's among them:
 * give it num_threads = 1 or a parallel_for of your own.) In a context on an OpenCL device every call that would work there fails with
 * CLQ_ERROR_FORKED; freeing it, and its buffers, is fine. Few OpenCL drivers can be used again in a child of a process that has used
 * them, and looking for devices is such a use: give new contexts of the child device = "cpu".
 *
 * **Overlap.** An output may not overlap an input, a parameter or another output, but where a function says that it works in place: then they may be
 * the identical view (same address, shape and strides, equal element size). No view of an output may visit an element twice. Both are refused
 * with CLQ_ERROR_OVERLAP. In host memory what is done in place is done on the CPU in every context, as a device that failed halfway would have
 * destroyed the input; unless another operand lies on the device: then it may be lost.
 *
 * **Floating point.** The calling thread must be in round-to-nearest mode, else CLQ_ERROR_ROUNDING. Flush-to-zero,
 * denormals-are-zero and unmasked exceptions change no result and are restored before a call returns.
 *
 * **Alignment.** Host pointers need no alignment at all.
 *
 * **Stability.** Enumerators keep their numbers; new ones are appended.
 */
#ifndef CLQUANT_H
#define CLQUANT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CLQ_API __attribute__((visibility("default")))
#else
#define CLQ_API
#endif

/** @name Version of this header
 *  @{ */
#define CLQ_VERSION_MAJOR 0 /**< Changes when programs must change. */
#define CLQ_VERSION_MINOR 1 /**< Changes when something is added. */
#define CLQ_VERSION_PATCH 0 /**< Changes when something is mended. */
/** @} */

/** The library's version as "MAJOR.MINOR.PATCH". Static storage. */
CLQ_API const char *clq_version(void);

/* ------------------------------------------------------------------------------------------------ status */

/** What a call came to; one value for each different thing a caller would do. */
typedef enum clq_status {
    CLQ_OK = 0,                     /**< Done. */
    CLQ_ERROR_INVALID_ARGUMENT = 1, /**< A null pointer, an unknown enumerator, an option or name that does not exist. */
    CLQ_ERROR_DTYPE = 2,            /**< This operation does not take this dtype there. */
    CLQ_ERROR_SHAPE = 3,            /**< Rank, shape, strides, axis, group size or buffer bounds do not fit. */
    CLQ_ERROR_PARAMETER = 4,        /**< A scale, zero point, range, qmin or qmax is out of its bounds. */
    CLQ_ERROR_OVERLAP = 5,          /**< An output overlaps another operand, or itself. */
    CLQ_ERROR_OVERFLOW = 6,         /**< A product of sizes does not fit in 63 bits or in the address space. */
    CLQ_ERROR_CONTEXT = 7,          /**< A view of memory that this context cannot reach. */
    CLQ_ERROR_OUT_OF_MEMORY = 8,    /**< An allocation failed. */
    CLQ_ERROR_NO_DEVICE = 9,        /**< The device or CPU table asked for is not on this machine or in this build. */
    CLQ_ERROR_ROUNDING = 10,        /**< The calling thread is not in round-to-nearest mode. */
    CLQ_ERROR_IO = 11,              /**< The operating system failed a file operation (clquant_io.h). */
    CLQ_ERROR_FORMAT = 12,          /**< A file breaks its format's rules, or uses a part that is refused (clquant_io.h). */
    CLQ_ERROR_DEVICE = 13,          /**< An OpenCL call failed; the text names it and its error code. */
    CLQ_ERROR_FORKED = 14           /**< The context was made before a fork(), and OpenCL does not survive one. */
} clq_status;

/** The status as text, "CLQ_ERROR_SHAPE" for instance; "unknown status" for any other number. Static storage. */
CLQ_API const char *clq_status_name(clq_status status);

/* ------------------------------------------------------------------------------------------------ tensors */

/** Largest rank of a tensor. */
#define CLQ_MAX_RANK 8

/** Element types. Zero means "no tensor": a zeroed view stands for an absent operand where one is allowed. */
typedef enum clq_dtype {
    CLQ_DTYPE_NONE = 0, /**< No tensor. */
    CLQ_F32 = 1,        /**< IEEE-754 binary32. */
    CLQ_F16 = 2,        /**< IEEE-754 binary16. Widens exactly; results are narrowed ties to even, |y| >= 65520 gives infinity. */
    CLQ_BF16 = 3,       /**< The upper half of a binary32; results are narrowed ties to even. */
    CLQ_F64 = 4,        /**< IEEE-754 binary64: only the source of clq_convert(). */
    CLQ_S8 = 5,         /**< -128..127. */
    CLQ_U8 = 6,         /**< 0..255. */
    CLQ_S4 = 7,         /**< -8..7, two a byte over the whole row-major tensor, the first in the low nibble; an odd row
                             ends mid-byte and a spare last nibble is written as 0. Contiguous only. */
    CLQ_U4 = 8,         /**< 0..15, packed as CLQ_S4. */
    CLQ_S16 = 9,        /**< -32768..32767. */
    CLQ_U16 = 10,       /**< 0..65535. */
    CLQ_S32 = 11,       /**< Full range: accumulators, biases, zero points. Quantizes with a given scale and zero point 0. */
    CLQ_S64 = 12        /**< Counts. */
} clq_dtype;

/** The dtype as text, "f32" for instance; "unknown dtype" for any other number. Static storage. */
CLQ_API const char *clq_dtype_name(clq_dtype dtype);

/** Bits of one element: 4, 8, 16, 32 or 64; 0 for CLQ_DTYPE_NONE and unknown numbers. */
CLQ_API int32_t clq_dtype_bits(clq_dtype dtype);

/** Where the elements of a view live. */
typedef enum clq_memory {
    CLQ_MEMORY_HOST = 0,   /**< `data` points to the elements. */
    CLQ_MEMORY_BUFFER = 1, /**< `data` is a clq_buffer pointer. */
    CLQ_MEMORY_OPENCL = 2  /**< `data` is a cl_mem, see clquant_opencl.h. */
} clq_memory;

/** Memory where a context runs; see clq_buffer_create(). */
typedef struct clq_buffer clq_buffer;

/**
 * A view of a tensor. Element (i0, i1, ...) lies at `offset + i0*strides[0] + i1*strides[1] + ...` elements from `data`.
 *
 * Strides count elements and may be 0 or negative. A tensor with an extent of 0 has no elements, and its `data` may be
 * NULL. 4-bit tensors must be contiguous and start on a byte (an even offset). The same type serves inputs and outputs,
 * so `data` is not const: the library writes only through arguments documented as outputs.
 */
typedef struct clq_tensor {
    clq_dtype dtype;               /**< Element type. */
    clq_memory memory;             /**< What `data` is. */
    int32_t rank;                  /**< 0 (a scalar) to CLQ_MAX_RANK. */
    int64_t shape[CLQ_MAX_RANK];   /**< Extents, outermost first; entries from `rank` on are ignored. */
    int64_t strides[CLQ_MAX_RANK]; /**< In elements. */
    void *data;                    /**< Pointer to the first element's base, a clq_buffer or a cl_mem. */
    int64_t offset;                /**< In elements. */
} clq_tensor;

/**
 * A contiguous row-major view of host memory.
 *
 * Checks nothing: whoever the view is passed to does. A rank outside 0..CLQ_MAX_RANK is kept, to be refused there.
 * @param dtype element type
 * @param data  the elements; may be NULL if there are none
 * @param rank  0 to CLQ_MAX_RANK
 * @param shape `rank` extents; may be NULL for rank 0
 */
CLQ_API clq_tensor clq_tensor_host(clq_dtype dtype, const void *data, int32_t rank, const int64_t *shape);

/**
 * A contiguous row-major view of a buffer, starting `offset` elements into it. Checks nothing, as clq_tensor_host().
 * The view is valid as long as the buffer is.
 */
CLQ_API clq_tensor clq_tensor_buffer(clq_dtype dtype, clq_buffer *buffer, int64_t offset, int32_t rank, const int64_t *shape);

/* ------------------------------------------------------------------------------------------------ schemes */

/** How a range [lo, hi] becomes a scale and a zero point; formulas at clq_qparams_from_range(). */
typedef enum clq_symmetry {
    CLQ_ASYMMETRIC = 0,     /**< Any zero point in [qmin, qmax]. */
    CLQ_SYMMETRIC = 1,      /**< Fixed zero point, z - P to z + P: s8 uses -127..127. */
    CLQ_SYMMETRIC_FULL = 2, /**< Fixed zero point, all of qmin..qmax: s8 uses -128..127. */
    CLQ_POWER_OF_TWO = 3    /**< As CLQ_SYMMETRIC, the scale raised to a power of two. */
} clq_symmetry;

/** How many elements share a scale. */
typedef enum clq_granularity {
    CLQ_PER_TENSOR = 0,  /**< All. Parameters have rank 0 or shape [1]. */
    CLQ_PER_CHANNEL = 1, /**< Those with the same index along `axis`. Parameters have shape [D], D the extent there. */
    CLQ_PER_GROUP = 2    /**< `group_size` consecutive ones along `axis`, each line on its own, the last group of a line
                              possibly shorter. Parameters have the tensor's shape with D replaced by ceil(D/group_size). */
} clq_granularity;

/** The quotient that is rounded. */
typedef enum clq_quotient {
    CLQ_DIVISION = 0,  /**< d = fl(x / s): ONNX, ONNX Runtime. */
    CLQ_RECIPROCAL = 1 /**< d = fl(x * fl(1 / s)): PyTorch, FBGEMM, XNNPACK. */
} clq_quotient;

/** Smallest and largest scale, 2^-100 and 2^100. Between them no result depends on the flushing of denormals. */
#define CLQ_SCALE_MIN 7.88860905221011805411728565282786e-31f
/** @copydoc CLQ_SCALE_MIN */
#define CLQ_SCALE_MAX 1.267650600228229401496703205376e30f

/** A quantization scheme. Zero in every field but `dtype` is a valid choice: asymmetric, per tensor, the type's range. */
typedef struct clq_scheme {
    clq_dtype dtype;             /**< Quantized type: s8, u8, s4, u4, s16, u16; s32 where stated. */
    clq_symmetry symmetry;       /**< Asymmetric unless set. No effect on s32, which always uses its full range. */
    clq_granularity granularity; /**< Per tensor unless set. */
    clq_quotient quotient;       /**< Division unless set. */
    int32_t axis;                /**< Per channel and per group: -rank..rank-1, negative counts from the end. */
    int64_t group_size;          /**< Per group: at least 1. */
    int32_t qmin;                /**< Narrower range inside the type's; qmin and qmax both 0: the type's range. */
    int32_t qmax;                /**< At least qmin + 1. Both must be 0 for s32. */
} clq_scheme;

/**
 * A scheme and the views where its numbers live.
 *
 * `scale` is f32 in [CLQ_SCALE_MIN, CLQ_SCALE_MAX]. `zero_point` is s32 in [qmin, qmax]; a zeroed view means 0, or for a
 * symmetric scheme its fixed value: 0 for signed types, (qmin + qmax + 1) >> 1 for unsigned ones. A symmetric scheme with a
 * zero point of another value is refused, and so is s32 with one that is not 0. Shapes are those of clq_scheme_shape();
 * per tensor, rank 0 and [1] both serve. Values in host memory are checked in every call, before any output is written. Those on a
 * device are looked at by clq_qparams_check() alone: with bad ones results are unspecified, but quantized values lie in [qmin, qmax] and
 * nothing else is touched.
 */
typedef struct clq_qparams {
    clq_scheme scheme;     /**< How. */
    clq_tensor scale;      /**< f32. */
    clq_tensor zero_point; /**< s32, or a zeroed view. */
} clq_qparams;

/* ------------------------------------------------------------------------------------------------ context */

/** Where work runs. Created by clq_context_create(). */
typedef struct clq_context clq_context;

/** Memory for the library's own use. Both functions must be callable from the threads that use the context. */
typedef struct clq_allocator {
    /** Returns `size_bytes` (at least 1) of memory aligned to `alignment_bytes` (a power of two, at most 4096), or NULL. */
    void *(*allocate)(void *opaque, size_t size_bytes, size_t alignment_bytes);
    /** Frees what `allocate` returned; never called with NULL. */
    void (*deallocate)(void *opaque, void *memory);
    void *opaque; /**< Passed to both. */
} clq_allocator;

/** How much a logged line matters. */
typedef enum clq_log_level {
    CLQ_LOG_ERROR = 0,   /**< A call failed; the line is its error text. */
    CLQ_LOG_WARNING = 1, /**< Something works, but not as one would wish. */
    CLQ_LOG_INFO = 2     /**< What was found and chosen. */
} clq_log_level;

/** Receives one line of text, without a newline, on the thread that made the call. It must not call the library. */
typedef void (*clq_log_fn)(void *opaque, clq_log_level level, const char *text);

/** One part of a parallel loop. */
typedef void (*clq_task_fn)(void *argument, int64_t index);

/**
 * Runs `task(argument, index)` once for every index in [0, tasks), on any threads and in any order, and returns when all
 * have returned. It cannot fail; running them one after another is always right.
 */
typedef void (*clq_parallel_for_fn)(void *opaque, int64_t tasks, clq_task_fn task, void *argument);

/** Where a context on an OpenCL device runs calls whose tensors and parameters are all in host memory. */
typedef enum clq_host_tensors {
    CLQ_HOST_TENSORS_AUTO = 0,  /**< On the device if it was asked for by name or made by the caller, else on the CPU: on most machines
                                     the link to the device is slower than the CPU's memory. */
    CLQ_HOST_TENSORS_CPU = 1,   /**< On the CPU. */
    CLQ_HOST_TENSORS_DEVICE = 2 /**< On the device: staged in chunks, transfers overlapping the computation. */
} clq_host_tensors;

/** Options of clq_context_create(). Start from CLQ_CONTEXT_OPTIONS_INIT; zero in a field means its default. */
typedef struct clq_context_options {
    size_t struct_size;              /**< sizeof(clq_context_options); set by CLQ_CONTEXT_OPTIONS_INIT. */
    const char *device;              /**< "cpu", "opencl", "opencl:N". NULL: $CLQ_DEVICE, else the best there is. */
    const char *cpu;                 /**< Highest table of CPU kernels to use: "scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "amx",
                                          "neon", "neondot". NULL: $CLQ_CPU, else the best the machine has. */
    int32_t num_threads;             /**< At most this many threads work at once, 1 to 1024. 0: $CLQ_NUM_THREADS, else the least
                                          of OMP_NUM_THREADS, the CPUs in the affinity mask and the cgroup's CPU quota. */
    clq_allocator allocator;         /**< Zeroed: the C library's. Both functions or neither. */
    clq_log_fn log;                  /**< NULL: nothing is logged. */
    void *log_opaque;                /**< Passed to `log`. */
    clq_parallel_for_fn parallel_for; /**< NULL: OpenMP where built with it, else one thread. */
    void *parallel_for_opaque;       /**< Passed to `parallel_for`. */
    char *error_text;                /**< Receives the line of text if creation fails; may be NULL. */
    size_t error_text_bytes;         /**< Size of `error_text`; the text is cut to fit and ends in a NUL. */
    clq_host_tensors host_tensors;   /**< Only for contexts on an OpenCL device. */
    int32_t no_fallback;             /**< Not 0: a call on host memory that the device fails is not done again on the CPU; it fails. */
    int64_t staging_bytes;           /**< Bytes of one of the two blocks through which host tensors are staged, 4096 or more; the device's
                                          largest allocation bounds it. 0: 16 MiB. */
    const char *gemm_unit;           /**< Only for contexts on an OpenCL device: the dot-product unit by which integer matrix products are made, one of
                                          "nvidia-mma", "intel-dpas", "intel-dpas8", "amd-mfma", "amd-mfma16", "amd-wmma", "nvidia-dp4a",
                                          "khr-dot", "amd-sudot4", "amd-sdot4", "arm-dot", "arm-matrix", "portable"; an error if the
                                          device lacks it. NULL: $CLQ_GEMM_UNIT, else the best that it has. */
} clq_context_options;

/** Initializer of clq_context_options: the defaults. */
#define CLQ_CONTEXT_OPTIONS_INIT                                                                                                      \
    {sizeof(clq_context_options), NULL, NULL, 0, {NULL, NULL, NULL}, NULL, NULL, NULL, NULL, NULL, 0, CLQ_HOST_TENSORS_AUTO, 0, 0, NULL}

/**
 * Creates a context.
 *
 * "opencl" is the best GPU or accelerator, an error where there is none; "opencl:N" is any device that clq_devices_list() shows, also one that
 * is the CPU again. By default the best GPU or accelerator is taken, else the CPU. The environment variables CLQ_DEVICE, CLQ_CPU and
 * CLQ_NUM_THREADS stand in for options left at their default; an unknown name or number is an error in either place, never a guess.
 *
 * Compiled kernels are kept on disk: in the folder CLQ_CACHE_DIR, else in clquant in XDG_CACHE_HOME, else in .cache/clquant in HOME. It is
 * created with mode 0700, and not used if others may write to it. Without it, or with anything odd in it, kernels are compiled again.
 * @param options NULL for the defaults
 * @param[out] context the new context, NULL on failure; free it with clq_context_free()
 * @return CLQ_ERROR_INVALID_ARGUMENT for a bad option or variable, CLQ_ERROR_NO_DEVICE when the device or table asked for
 *         is not there, CLQ_ERROR_DEVICE when one that was named does not open (one that was not is passed over), CLQ_ERROR_ROUNDING, CLQ_ERROR_OUT_OF_MEMORY
 */
CLQ_API clq_status clq_context_create(const clq_context_options *options, clq_context **context);

/** Frees a context when its work is complete; NULL is fine. Buffers outlive it. Forgets an open batch. */
CLQ_API void clq_context_free(clq_context *context);

/** The line of text of the last call on this context that failed; "" if none has. Valid until the next call on it. */
CLQ_API const char *clq_context_error(const clq_context *context);

/**
 * Waits for all work so far. On the CPU every call returns when it is done, so this returns CLQ_OK at once.
 *
 * @return the first error of work that had only been begun when its call returned, or CLQ_OK; CLQ_ERROR_DEVICE, CLQ_ERROR_FORKED
 */
CLQ_API clq_status clq_context_synchronize(clq_context *context);

/**
 * Makes ready what operations between a float type and a quantized type need, which otherwise happens in the first calls: on an OpenCL
 * device, compiles kernels or loads them from the cache on disk. On the CPU there is nothing to do. Kernels of matrix products are made ready by
 * the first product of their kind alone.
 *
 * @param x CLQ_F32, CLQ_F16 or CLQ_BF16; CLQ_DTYPE_NONE: each of them
 * @param q s8, u8, s4, u4, s16, u16 or s32; CLQ_DTYPE_NONE: each of them
 * @return CLQ_ERROR_DTYPE, CLQ_ERROR_DEVICE, CLQ_ERROR_OUT_OF_MEMORY, CLQ_ERROR_FORKED
 */
CLQ_API clq_status clq_context_warm_up(clq_context *context, clq_dtype x, clq_dtype q);

/**
 * Measures the kernels for integer matrix products on an OpenCL device, so that each product takes the one that is fastest there. The result is kept beside
 * the compiled kernels, for every later context on this device and driver. Waits for all work so far and takes some seconds; what else the device does
 * meanwhile disturbs it. On the CPU there is nothing to do.
 *
 * @return CLQ_ERROR_DEVICE, CLQ_ERROR_NO_DEVICE if no kernel works, CLQ_ERROR_OUT_OF_MEMORY, CLQ_ERROR_FORKED
 */
CLQ_API clq_status clq_context_tune(clq_context *context);

/** Where the last operation on this context ran, "cpu" or "opencl"; "" if there was none. Static storage. */
CLQ_API const char *clq_context_ran_on(const clq_context *context);

/** A device, or the place where a context runs. All text is NUL-terminated, cut to fit. */
typedef struct clq_device_info {
    char id[32];          /**< What CLQ_DEVICE takes: "cpu", "opencl:0". */
    char name[128];       /**< The processor's or device's own name. */
    char path[32];        /**< Kernels that run there: "avx512" for instance, or "opencl". */
    char tables[256];     /**< CPU tables of this build, best first, each with what keeps it from use: "avx512 (not on this CPU)". */
    int32_t num_threads;  /**< CPU: threads that would work, or do. OpenCL devices: compute units. */
    int32_t chosen;       /**< 1: clq_context_create(NULL, ...) takes this one. */
    int64_t memory_bytes; /**< Memory of the machine or device; 0: unknown. */
    char reason[256];     /**< Why it is chosen or not. */
    char version[128];    /**< OpenCL devices: OpenCL version and driver. */
    char capabilities[160]; /**< OpenCL devices: what matters here of what they can do. */
    char cache[320];      /**< OpenCL devices: where compiled kernels are kept, and how many. */
    char matrix_products[256]; /**< OpenCL devices: by which dot-product unit integer matrix products are made, and why. */
} clq_device_info;

/** What this context runs on, in the terms of clq_devices_list(). @param[out] info filled in; `chosen` is 1 */
CLQ_API clq_status clq_context_info(const clq_context *context, clq_device_info *info);

/**
 * Lists the devices of this machine, best first.
 *
 * @param[out] infos    receives the first `capacity` of them; may be NULL if capacity is 0
 * @param      capacity entries of `infos`
 * @param[out] count    how many there are, which may exceed `capacity`
 * @return CLQ_ERROR_INVALID_ARGUMENT
 */
CLQ_API clq_status clq_devices_list(clq_device_info *infos, int32_t capacity, int32_t *count);

/* ------------------------------------------------------------------------------------------------ buffers */

/**
 * Allocates memory where the context runs, uninitialized, aligned to at least 64 bytes.
 *
 * A buffer of a CPU context can be used in every CPU context. It comes from the context's allocator, which must outlive it.
 * A buffer of a context on an OpenCL device is memory of that device, for this context and others in the same cl_context (see
 * clq_context_create_opencl()); in any other it is refused with CLQ_ERROR_CONTEXT. Work that uses it keeps the memory alive, so it may be
 * freed at once.
 * @param size_bytes 1 or more
 * @param[out] buffer the new buffer, NULL on failure; free it with clq_buffer_free()
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_OUT_OF_MEMORY, CLQ_ERROR_DEVICE, CLQ_ERROR_ROUNDING, CLQ_ERROR_FORKED
 */
CLQ_API clq_status clq_buffer_create(clq_context *context, int64_t size_bytes, clq_buffer **buffer);

/** Frees a buffer; NULL is fine. The context that made it may be gone already. */
CLQ_API void clq_buffer_free(clq_buffer *buffer);

/**
 * What lies behind a buffer, for others to use while it lives: CLQ_MEMORY_HOST and its address, or CLQ_MEMORY_OPENCL and its cl_mem. Work of the context may
 * still be under way there: see clq_context_synchronize() and clq_opencl_event().
 *
 * @param[out] data what clq_tensor.data is with that memory; NULL without a buffer
 */
CLQ_API clq_memory clq_buffer_memory(const clq_buffer *buffer, void **data);

/* ------------------------------------------------------------------------------------------------ batches */

/**
 * Begins a batch: the operations called until clq_batch_end() are checked at once, as always, but only recorded.
 *
 * Operations are the functions of this header that take tensors, from clq_convert() on, except clq_qparams_check() and
 * clq_packed_create(), which look at values at once. Those of a batch must be independent: none may write what another reads or writes. Until the end,
 * host memory of inputs, parameters and outputs stays in use, and buffers must not be freed; the views and structs themselves may go. An
 * operation that fails its checks is not recorded and says so; the others stay. clq_context_synchronize(), clq_opencl_event() and
 * clq_opencl_wait() do not count what is only recorded.
 * @return CLQ_ERROR_INVALID_ARGUMENT if a batch is open already; CLQ_ERROR_ROUNDING, CLQ_ERROR_FORKED
 */
CLQ_API clq_status clq_batch_begin(clq_context *context);

/**
 * Runs the recorded operations together: on the CPU, small ones are spread over the threads; on an OpenCL device those of one kind
 * between the same dtypes are one launch if their tensors lie in the same buffer or in host memory. Outputs in host memory are complete on return.
 *
 * Host tensors are done again on the CPU if the device fails and no operation of the batch has an operand on it. The batch is closed in any case.
 * @return CLQ_ERROR_INVALID_ARGUMENT if no batch is open, else the first error; which outputs have been written is then unspecified
 */
CLQ_API clq_status clq_batch_end(clq_context *context);

/* ------------------------------------------------------------------------------------------------ tensors: operations */

/**
 * The shape that scales and zero points have for `x` under `scheme`.
 *
 * @param      x     only its rank and shape are read; its dtype and memory do not matter
 * @param[out] rank  0 per tensor, 1 per channel, x->rank per group
 * @param[out] shape CLQ_MAX_RANK entries, the first `rank` of which are set
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_DTYPE, CLQ_ERROR_PARAMETER, CLQ_ERROR_SHAPE, CLQ_ERROR_OVERFLOW
 */
CLQ_API clq_status clq_scheme_shape(clq_context *context, const clq_scheme *scheme, const clq_tensor *x, int32_t *rank, int64_t *shape);

/**
 * Copies `src` to `dst`, elements in index order, between any memories and strides; casts between float types.
 *
 * With equal dtypes (any of them) the bits are copied. Among f32, f16 and bf16, and from f64 to these three, each value is
 * rounded once, ties to even; a NaN stays a NaN.
 * @param      src input
 * @param[out] dst same shape; in place if it is the identical view
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_DTYPE, CLQ_ERROR_SHAPE, CLQ_ERROR_OVERLAP, CLQ_ERROR_OVERFLOW,
 *         CLQ_ERROR_CONTEXT, CLQ_ERROR_ROUNDING
 */
CLQ_API clq_status clq_convert(clq_context *context, const clq_tensor *src, const clq_tensor *dst);

/* ------------------------------------------------------------------------------------------------ parameters */

/**
 * Least and greatest finite value for each scale of `scheme`.
 *
 * NaN and infinities are skipped and counted. -0 and magnitudes below 2^-126 count as +0. Where there is no finite element
 * both results are 0.
 * @param      x      f32, f16 or bf16
 * @param      scheme only granularity, axis and group_size matter, the rest must be valid
 * @param[out] lo,hi  f32, shape of clq_scheme_shape()
 * @param[out] counts s64 [3], contiguous: NaN, infinite, 0; or NULL
 * @return as clq_quantize(), but CLQ_ERROR_PARAMETER for the scheme alone
 */
CLQ_API clq_status clq_minmax(clq_context *context, const clq_tensor *x, const clq_scheme *scheme, const clq_tensor *lo,
                              const clq_tensor *hi, const clq_tensor *counts);

/**
 * Scales and zero points from ranges.
 *
 * With magnitudes below 2^-126 taken as +0, lo = min(lo, 0), hi = max(hi, 0), A = max(-lo, hi), n = qmax - qmin, and z the
 * fixed zero point of a symmetric scheme, P = min(qmax - z, z - qmin):
 *
 *     asymmetric      s = fl(fl(hi/2 - lo/2) / (n/2))     z = clamp(qmin - rne(fl(lo / s)), qmin, qmax)
 *     symmetric       s = fl(A / P)
 *     symmetric full  s = fl(A / (n/2))
 *     power of two    s = fl(A / P), or the next power of two above it
 *
 * s is clamped to [CLQ_SCALE_MIN, CLQ_SCALE_MAX] before z is derived. lo == hi == 0 gives s = 1 and z = 0 clamped into
 * [qmin, qmax], or the fixed z. fl() is one f32 operation rounded to nearest, ties to even.
 * (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, sec. 2.)
 * @param      lo,hi f32, equal shapes: that of params->scale; on a device their values are not checked
 * @param[out] params scale is filled; zero_point too unless it is a zeroed view, which an asymmetric scheme refuses
 * @return CLQ_ERROR_PARAMETER if a lo > hi or one is not finite, or for the scheme (P < 1; symmetric full when
 *         (z - qmin) - (qmax - z) is neither 0 nor 1); CLQ_ERROR_DTYPE for s32; else as clq_quantize()
 */
CLQ_API clq_status clq_qparams_from_range(clq_context *context, const clq_tensor *lo, const clq_tensor *hi, const clq_qparams *params);

/**
 * Scales and zero points from data: clq_minmax() and clq_qparams_from_range() in one call.
 *
 * @param      x      f32, f16 or bf16; NaN and infinities are skipped
 * @param[out] params as in clq_qparams_from_range(), shapes of clq_scheme_shape()
 */
CLQ_API clq_status clq_choose_qparams(clq_context *context, const clq_tensor *x, const clq_qparams *params);

/**
 * Checks parameters against each other and against the tensor they are for: scheme, shapes, and every value. Waits for those on a device.
 *
 * @param x only its rank and shape are read
 * @return CLQ_OK, or what clq_quantize() would return for them
 */
CLQ_API clq_status clq_qparams_check(clq_context *context, const clq_tensor *x, const clq_qparams *params);

/* ------------------------------------------------------------------------------------------------ quantize, dequantize */

/**
 * Quantizes `x`: q = rne(clamp(d, qmin - z, qmax - z)) + z, d being the scheme's quotient and rne rounding ties to even.
 *
 * NaN gives qmin, +infinity qmax, -infinity qmin. Under CLQ_SYMMETRIC and CLQ_POWER_OF_TWO, [z - P, z + P] stands for
 * [qmin, qmax]. For s32 the range is the full one and z is 0.
 * @param      x      f32, f16 or bf16
 * @param      params scheme, scales and zero points
 * @param[out] q      the scheme's dtype, x's shape
 * @param[out] counts s64 [3], contiguous: elements that are NaN, infinite, and finite but clipped (rne(d) outside
 *                    [qmin - z, qmax - z]); or NULL
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_DTYPE, CLQ_ERROR_SHAPE, CLQ_ERROR_PARAMETER (naming the element of scale or
 *         zero_point), CLQ_ERROR_OVERLAP, CLQ_ERROR_OVERFLOW, CLQ_ERROR_CONTEXT, CLQ_ERROR_OUT_OF_MEMORY, CLQ_ERROR_ROUNDING
 */
CLQ_API clq_status clq_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q,
                                const clq_tensor *counts);

/**
 * Dequantizes `q`: y = fl(float(q - z) * s), rounded once more if y is f16 or bf16; +0 where q = z.
 *
 * @param      q      the scheme's dtype; values outside [qmin, qmax] are taken as they are
 * @param      params scheme, scales and zero points
 * @param[out] y      f32, f16 or bf16, q's shape
 * @return as clq_quantize()
 */
CLQ_API clq_status clq_dequantize(clq_context *context, const clq_tensor *q, const clq_qparams *params, const clq_tensor *y);

/**
 * Quantizes `x` with a range of its own: clq_choose_qparams() and clq_quantize() in one call.
 *
 * Per tensor with u8 asymmetric this is ONNX's DynamicQuantizeLinear. On the CPU a tensor is read from memory once if it fits in the cache, or if the
 * indices of its outermost axis, or groups of them, have parameters of their own; on a device nothing waits if parameters and results are there.
 * @param      x      f32, f16 or bf16; NaN and infinities do not count for the range
 * @param[out] params scale is filled; zero_point too unless it is a zeroed view, which an asymmetric scheme refuses. Not s32
 * @param[out] q      the scheme's dtype, x's shape
 * @param[out] counts as in clq_quantize(), or NULL
 * @return as clq_quantize(); CLQ_ERROR_PARAMETER for the scheme alone
 */
CLQ_API clq_status clq_dynamic_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *q,
                                        const clq_tensor *counts);

/**
 * Brings quantized values from one scheme to another: y = rne(clamp(fl(float(x - zx) * m), qmin - zy, qmax - zy)) + zy.
 *
 * m = fl(sx / sy), clamped to [2^-64, 2^64]; float() rounds ties to even. An accumulator of products of scales sa and sb is an s32 tensor
 * with sx = fl(sa * sb). For ordinary scales these are the bits of ONNX Runtime's, FBGEMM's and XNNPACK's requantization in f32.
 * @param      x        s8, u8, s4, u4 or s32
 * @param      x_params the scheme, scales and zero points of x
 * @param      y_params those of y: the same granularity, axis and group_size as x_params, unless one of the two is per tensor
 * @param[out] y        s8 or u8, x's shape; in place if it is the identical view
 * @return as clq_quantize()
 */
CLQ_API clq_status clq_requantize(clq_context *context, const clq_tensor *x, const clq_qparams *x_params, const clq_qparams *y_params,
                                  const clq_tensor *y);

/* ------------------------------------------------------------------------------------------------ training */

/**
 * Rounds `x` to what its quantized values stand for, with the bits of clq_quantize() followed by clq_dequantize().
 *
 * An element is *inside* if qmin - z <= rne(d) <= qmax - z, d being the scheme's quotient; NaN is outside. (Jacob et al. 2018, sec. 3; PyTorch's
 * rule.) Under CLQ_SYMMETRIC and CLQ_POWER_OF_TWO, [z - P, z + P] stands for [qmin, qmax].
 * @param      x      f32, f16 or bf16
 * @param      params scheme, scales and zero points; the dtype, which is not s32, matters for the range alone
 * @param[out] y      x's dtype and shape; in place if it is the identical view
 * @param[out] mask   u8 [ceil(n / 8)], n the elements of x, contiguous: for the element number i in row-major order, bit i % 8 of byte i / 8 is 1 if it is
 *                    inside; spare bits are 0. NULL if not wanted
 * @param[out] counts as in clq_quantize(), or NULL
 * @return as clq_quantize()
 */
CLQ_API clq_status clq_fake_quantize(clq_context *context, const clq_tensor *x, const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask,
                                     const clq_tensor *counts);

/**
 * The gradient of clq_fake_quantize() by x, taken straight through the rounding: dx = dy inside, +0 outside.
 *
 * (Bengio, Leonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013.) By selection: a NaN or infinity in dy goes
 * nowhere but to its own element. Either by the mask, with `x` and `params` NULL, or by `x` and `params`, with `mask` NULL.
 * @param      dy     f32, f16 or bf16
 * @param      x      dy's dtype and shape, or NULL
 * @param      params as in clq_fake_quantize(), or NULL
 * @param      mask   what clq_fake_quantize() made, or NULL
 * @param[out] dx     dy's dtype and shape; in place if it is the identical view as dy
 * @return as clq_quantize()
 */
CLQ_API clq_status clq_fake_quantize_backward(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params,
                                              const clq_tensor *mask, const clq_tensor *dx);

/**
 * The gradients of clq_fake_quantize() by x, by the scale and by the zero point, in one pass.
 *
 *     dx          = dy inside, +0 outside
 *     dscale      = g * sum of dy * (rne(d) - d inside, qmin - z below, qmax - z above)
 *     dzero_point = g * sum of dy * (0 inside, -s outside)
 *
 * over the elements that share a parameter. (Esser et al., "Learned Step Size Quantization", 2020; Bhalgat et al., "LSQ+", 2020; both take g =
 * 1 / sqrt(n * P) for n elements and the P of clq_qparams_from_range().) A NaN in x adds nothing. Sums are made in f64, or in compensated f32 on
 * devices without it, in an order fixed by shape and strides (on a device for host tensors also by the option staging_bytes), g applied after the sum: the
 * same bits for any number of threads. Between CPU tables and devices dscale and dzero_point may differ by 1e-6 times g times the sum of the terms'
 * magnitudes, on devices without f64 only while terms and sums are in the range of f32's normal numbers; dx may not.
 * @param      dy          f32, f16 or bf16
 * @param      x           dy's dtype and shape
 * @param      params      as in clq_fake_quantize()
 * @param      gradient_scale g, finite
 * @param[out] dx          dy's dtype and shape; in place if it is the identical view as dy
 * @param[out] dscale      f32, the parameters' shape of clq_scheme_shape()
 * @param[out] dzero_point the same; NULL if not wanted and for symmetric schemes, whose zero point is fixed
 * @return as clq_quantize(); CLQ_ERROR_INVALID_ARGUMENT for a dzero_point of a symmetric scheme
 */
CLQ_API clq_status clq_fake_quantize_backward_learnable(clq_context *context, const clq_tensor *dy, const clq_tensor *x, const clq_qparams *params,
                                                        float gradient_scale, const clq_tensor *dx, const clq_tensor *dscale,
                                                        const clq_tensor *dzero_point);

/**
 * A step of quantization-aware training: observes x, derives parameters from the moving average of its ranges, and fake-quantizes it with them.
 *
 * Has the bits of clq_minmax(), for each end m of the average
 *
 *     m = the new end if the average is empty, else fl(m + fl(c * fl(new - m)))        with c = averaging
 *
 * clq_qparams_from_range() of the average, and clq_fake_quantize(); magnitudes below 2^-126 count as 0 on the way, a difference beyond the largest
 * float as that, and an average whose ends rounding has crossed has both at lo. An average is empty where lo > hi, magnitudes below 2^-126 again counting
 * as 0: begin with lo = INFINITY, hi = -INFINITY.
 * On a device nothing waits if all operands are there.
 * @param         x         f32, f16 or bf16
 * @param         averaging c, 2^-64 to 1. 1 forgets what was before; PyTorch's observers have 0.01
 * @param[in,out] lo,hi     f32, the average, in the parameters' shape: lo <= hi and both finite, or empty
 * @param[out]    params    as in clq_dynamic_quantize()
 * @param[out]    y,mask,counts as in clq_fake_quantize();
 * @return as clq_fake_quantize(); CLQ_ERROR_PARAMETER for averaging, lo and hi (not checked on a device) and the scheme
 */
CLQ_API clq_status clq_observe_fake_quantize(clq_context *context, const clq_tensor *x, float averaging, const clq_tensor *lo, const clq_tensor *hi,
                                             const clq_qparams *params, const clq_tensor *y, const clq_tensor *mask, const clq_tensor *counts);

/* ------------------------------------------------------------------------------------------------ matrix products */

/** What becomes of the f32 results of clq_gemm(). */
typedef enum clq_activation {
    CLQ_ACTIVATION_NONE = 0, /**< They stay as they are. */
    CLQ_ACTIVATION_RELU = 1, /**< y > 0 ? y : +0; NaN and -0 give +0. */
    CLQ_ACTIVATION_CLAMP = 2 /**< y < clamp_min ? clamp_min : y > clamp_max ? clamp_max : y; NaN stays. */
} clq_activation;

/** Weights brought to the order in which matrix products read them. Created by clq_packed_create(). */
typedef struct clq_packed clq_packed;

/**
 * Packs B, the right operand of clq_gemm(), once for any number of products.
 *
 * Holds a copy of B and its column sums, but no scales and zero points. Immutable: any number of contexts on any threads may use it at once, if they are
 * on the path that packed it: the CPU with kernels of the same instruction set, or the cl_context and device where a context on an OpenCL device packed it,
 * wherever `b` was. Host memory comes from the context's allocator, which must outlive it; the context need not. On a device it is complete on return.
 * @param      b      s8 or u8 [K, N] or [batch, K, N]; the stride of one of the last two dimensions is 1
 * @param[out] packed the packed weights, NULL on failure; free them with clq_packed_free()
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_DTYPE, CLQ_ERROR_SHAPE, CLQ_ERROR_OVERFLOW, CLQ_ERROR_CONTEXT, CLQ_ERROR_OUT_OF_MEMORY, CLQ_ERROR_DEVICE,
 *         CLQ_ERROR_ROUNDING
 */
CLQ_API clq_status clq_packed_create(clq_context *context, const clq_tensor *b, clq_packed **packed);

/** Frees packed weights; NULL is fine. No recorded batch may still need them. */
CLQ_API void clq_packed_free(clq_packed *packed);

/** Operands of clq_gemm(). Zero in a field means its default. */
typedef struct clq_gemm_args {
    const clq_tensor *a;         /**< [M, K] or [batch, M, K]: s8, u8 or f32. */
    const clq_tensor *b;         /**< [K, N] or [batch, K, N]: s8, u8, or f32 if a is; NULL with packed_b. */
    const clq_packed *packed_b;  /**< B, packed by clq_packed_create(); NULL with b. Not for f32. */
    const clq_tensor *c;         /**< Output [M, N] or [batch, M, N]: s32, f32, s8 or u8; f32 if a is. */
    const clq_tensor *bias;      /**< [N]: s32, or f32 for an f32 c; NULL: none. */
    const clq_qparams *a_params; /**< Of a: per tensor, or per channel of the axis of M. NULL: zero point 0, scale 1. Not for f32. */
    const clq_qparams *b_params; /**< Of B: per tensor, or per channel of the axis of N. NULL: zero point 0, scale 1. Not for f32. */
    const clq_qparams *c_params; /**< Of c if it is s8 or u8: per tensor; qmin and qmax bound the results, so that qmin = zero_point is ReLU. Else NULL. */
    clq_activation activation;   /**< For f32 results. */
    float clamp_min;             /**< With CLQ_ACTIVATION_CLAMP: no result is less; no NaN. */
    float clamp_max;             /**< No result is more; clamp_min or more. */
    int32_t allow_wrap;          /**< Not 0: K may exceed the bound below which no sum can overflow. */
} clq_gemm_args;

/**
 * The matrix product C = A * B of quantized matrices, with zero points, scales, bias and requantization in one pass.
 *
 *     acc[m][n] = sum over k of (A[m][k] - za) * (B[k][n] - zb)         exactly, modulo 2^32
 *     s32       C = acc + bias                                          modulo 2^32
 *     f32       C = activation(fl(fl(float(acc) * s_ab) + bias))        s_ab = clamp(fl(sa * sb), 2^-126, 2^127)
 *     s8, u8    C = rne(clamp(fl(float(acc + bias) * m), qmin - zc, qmax - zc)) + zc         m = clamp(fl(s_ab / sc), 2^-64, 2^64)
 *
 * (Jacob et al. 2018, sec. 2.) No acc overflows while K <= floor((2^31 - 1) / (a * b)), a = 255 if A is u8 or za is not 0, else 128, b likewise: at least 33025.
 * Any larger K is refused unless allow_wrap is set. The bits are the same on every path, but that a bias or an f32 result below 2^-126 in magnitude may be a zero on
 * a device that flushes. With f32 operands the product is that of the BLAS library, or of a simple loop in builds without one: sums are
 * rounded, in whatever order; bias and activation are as above. That library takes as many threads as it is set to, whatever the context's num_threads.
 *
 * M, N and K may be anything from 0 on; for K = 0, acc is 0. Transposition is a matter of strides: one of the last two dimensions of a and b and of c has stride 1
 * (or an extent of at most 1). Operands of rank 2, or with a batch stride of 0, serve every matrix of a batch; c's batch counts. For s32 results no scales are needed: they may be zeroed views.
 * On an OpenCL device the dot-product unit is found by trying it on a small product when the first one is made; see clq_device_info.matrix_products. Operands in
 * host memory are brought there whole or, A and c, piece by piece, transfers overlapping the computation. f32 operands there are multiplied by CLBlast where
 * the library is built with it.
 * @return CLQ_ERROR_INVALID_ARGUMENT, CLQ_ERROR_DTYPE, CLQ_ERROR_SHAPE (also for K past its bound), CLQ_ERROR_PARAMETER, CLQ_ERROR_OVERLAP, CLQ_ERROR_OVERFLOW,
 *         CLQ_ERROR_CONTEXT (also for weights packed on another path), CLQ_ERROR_OUT_OF_MEMORY, CLQ_ERROR_ROUNDING
 */
CLQ_API clq_status clq_gemm(clq_context *context, const clq_gemm_args *args);

/* ------------------------------------------------------------------------------------------------ error analysis */

/** How far y is from x: with e = fl(x - y) over the elements where x and y are finite. */
typedef struct clq_error_stats {
    int64_t count;        /**< Elements that entered the sums. */
    int64_t nan_count;    /**< Elements left out because x or y is NaN. */
    int64_t inf_count;    /**< Elements left out because x or y is infinite and neither is NaN. */
    int64_t clipped_count; /**< Finite x outside the quantized range, as clq_quantize() counts them; 0 without parameters. */
    double mse;           /**< sum e^2 / count; 0 if count is 0. */
    double mae;           /**< sum |e| / count; 0 if count is 0. */
    double max_error;     /**< Largest |e|. */
    double sqnr_db;       /**< 10 log10(sum x^2 / sum e^2); +inf if all e are 0, -inf if all x are and some e is not. */
    double cosine;        /**< sum xy / sqrt(sum x^2 sum y^2); with a zero vector 1 if both are zero, else 0. */
    double clipped_share; /**< clipped_count / (count + inf_count + nan_count); 0 for an empty tensor. */
    double sum_squared_error;  /**< sum e^2. The sums allow the figures of a tensor compared in parts to be added up. */
    double sum_absolute_error; /**< sum |e|. */
    double sum_squared_x;      /**< sum x^2. */
    double sum_squared_y;      /**< sum y^2. */
    double sum_product;        /**< sum xy. */
} clq_error_stats;

/**
 * Compares `x` with the dequantized `q`, in one pass and without a dequantized copy.
 *
 * Counts and max_error are exact. The sums are f64, in an order fixed by the shape, so that the number of threads changes
 * nothing; between tables of kernels they may differ by 1e-9 relative (mse, mae, cosine) and 1e-8 dB (sqnr_db).
 * @param      x      f32, f16 or bf16
 * @param      q      same shape: the scheme's dtype, or f32, f16, bf16 with `params` NULL
 * @param      params scheme, scales and zero points of q, or NULL
 * @param[out] stats  in host memory
 * @return as clq_quantize()
 */
CLQ_API clq_status clq_compute_error_stats(clq_context *context, const clq_tensor *x, const clq_tensor *q, const clq_qparams *params,
                                           clq_error_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
