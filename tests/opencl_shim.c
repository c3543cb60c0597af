/* SPDX-License-Identifier: MIT */
/* OpenCL's functions, counted and made to fail; see the header. */
#include "config.h"

#include "opencl_shim.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shim shim = {.fail_call = SHIM_CALLS, .failed = SHIM_CALLS};

#define NAME(name) #name,
static const char *const names[] = {SHIM_FOR_EACH(NAME) "none"};

const char *shim_name(int call)
{
    return names[call];
}

/* Opens the library itself: where all its functions are defined here, the linker may have left it out. */
static void *find(const char *name)
{
    void *const library = dlopen("libOpenCL.so.1", RTLD_NOW);
    void *const address = library != NULL ? dlsym(library, name) : NULL;
    if (address == NULL) {
        fprintf(stderr, "no %s behind the shim\n", name);
        abort();
    }
    return address;
}

/* The real function. A pointer to an object becomes one to a function by way of its bytes: C has no cast for it. */
#define FIND(name)                             \
    static _Atomic(void *) found;              \
    void *address = atomic_load(&found);       \
    __typeof__(&name) real;                    \
    if (address == NULL) {                     \
        address = find(#name);                 \
        atomic_store(&found, address);         \
    }                                          \
    memcpy(&real, &address, sizeof real)

/* True if this call is to fail. */
static bool begin(enum shim_call call)
{
    const long long total = atomic_fetch_add(&shim.total, 1) + 1;
    atomic_fetch_add(&shim.calls[call], 1);
    if (total != shim.fail_at && (int)call != shim.fail_call) return false;
    atomic_store(&shim.failed, (int)call);
    return true;
}

static cl_int refer(enum shim_object object, int change, cl_int code)
{
    if (code == CL_SUCCESS) atomic_fetch_add(&shim.live[object], change);
    return code;
}

#define FAILURE (shim.fail_code ? shim.fail_code : CL_OUT_OF_RESOURCES)

/* ---- functions without objects or events of their own */

#define PLAIN(name, params, args)                          \
    cl_int name params                                     \
    {                                                      \
        FIND(name);                                        \
        return begin(SHIM_##name) ? FAILURE : real args; \
    }

PLAIN(clBuildProgram,
      (cl_program program, cl_uint n, const cl_device_id *devices, const char *options, void (*notify)(cl_program, void *), void *opaque),
      (program, n, devices, options, notify, opaque))
PLAIN(clFlush, (cl_command_queue queue), (queue))
PLAIN(clGetCommandQueueInfo, (cl_command_queue queue, cl_command_queue_info info, size_t size, void *value, size_t *needed),
      (queue, info, size, value, needed))
PLAIN(clGetDeviceIDs, (cl_platform_id platform, cl_device_type type, cl_uint n, cl_device_id *devices, cl_uint *count),
      (platform, type, n, devices, count))
PLAIN(clGetDeviceInfo, (cl_device_id device, cl_device_info info, size_t size, void *value, size_t *needed), (device, info, size, value, needed))
PLAIN(clGetEventInfo, (cl_event event, cl_event_info info, size_t size, void *value, size_t *needed), (event, info, size, value, needed))
PLAIN(clGetMemObjectInfo, (cl_mem memory, cl_mem_info info, size_t size, void *value, size_t *needed), (memory, info, size, value, needed))
PLAIN(clGetPlatformIDs, (cl_uint n, cl_platform_id *platforms, cl_uint *count), (n, platforms, count))
PLAIN(clGetPlatformInfo, (cl_platform_id platform, cl_platform_info info, size_t size, void *value, size_t *needed),
      (platform, info, size, value, needed))
PLAIN(clGetProgramBuildInfo,
      (cl_program program, cl_device_id device, cl_program_build_info info, size_t size, void *value, size_t *needed),
      (program, device, info, size, value, needed))
PLAIN(clGetProgramInfo, (cl_program program, cl_program_info info, size_t size, void *value, size_t *needed), (program, info, size, value, needed))
PLAIN(clSetKernelArg, (cl_kernel kernel, cl_uint index, size_t size, const void *value), (kernel, index, size, value))
PLAIN(clSetUserEventStatus, (cl_event event, cl_int status), (event, status))

/* What waits has waited when it fails: a driver whose waits do not could not be used at all. */
#define WAITING(name, params, args)                              \
    cl_int name params                                           \
    {                                                            \
        FIND(name);                                              \
        const bool fails = begin(SHIM_##name);                   \
        const cl_int code = real args;                           \
        return fails ? FAILURE : code;               \
    }

WAITING(clFinish, (cl_command_queue queue), (queue))
WAITING(clWaitForEvents, (cl_uint n, const cl_event *events), (n, events))

/* ---- references */

#define RETAIN(object, type)                                                     \
    cl_int clRetain##object(type it)                                             \
    {                                                                            \
        FIND(clRetain##object);                                                  \
        if (begin(SHIM_clRetain##object)) return FAILURE;            \
        return refer(SHIM_LIVE_##object, 1, real(it));                           \
    }

RETAIN(CommandQueue, cl_command_queue)
RETAIN(Context, cl_context)
RETAIN(Event, cl_event)
RETAIN(MemObject, cl_mem)

#define RELEASE(object, type)                                  \
    cl_int clRelease##object(type it)                          \
    {                                                          \
        FIND(clRelease##object);                               \
        return refer(SHIM_LIVE_##object, -1, real(it));        \
    }

RELEASE(CommandQueue, cl_command_queue)
RELEASE(Context, cl_context)
RELEASE(Event, cl_event)
RELEASE(Kernel, cl_kernel)
RELEASE(MemObject, cl_mem)
RELEASE(Program, cl_program)

/* All have a last argument, `code`, which may be NULL. */
#define CREATE(name, object, type, params, args)                 \
    type name params                                             \
    {                                                            \
        type made = NULL;                                        \
        FIND(name);                                              \
        if (begin(SHIM_##name)) {                                \
            if (code != NULL) *code = FAILURE;       \
            return NULL;                                         \
        }                                                        \
        made = real args;                                        \
        if (made != NULL) refer(SHIM_LIVE_##object, 1, CL_SUCCESS); \
        return made;                                             \
    }

CREATE(clCreateBuffer, MemObject, cl_mem, (cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *code),
       (context, flags, size, host, code))
CREATE(clCreateCommandQueue, CommandQueue, cl_command_queue,
       (cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *code), (context, device, properties, code))
CREATE(clCreateContext, Context, cl_context,
       (const cl_context_properties *properties, cl_uint n, const cl_device_id *devices,
        void (*notify)(const char *, const void *, size_t, void *), void *opaque, cl_int *code),
       (properties, n, devices, notify, opaque, code))
CREATE(clCreateKernel, Kernel, cl_kernel, (cl_program program, const char *name, cl_int *code), (program, name, code))
CREATE(clCreateProgramWithBinary, Program, cl_program,
       (cl_context context, cl_uint n, const cl_device_id *devices, const size_t *sizes, const unsigned char **binaries, cl_int *status,
        cl_int *code),
       (context, n, devices, sizes, binaries, status, code))
CREATE(clCreateProgramWithSource, Program, cl_program,
       (cl_context context, cl_uint n, const char **texts, const size_t *sizes, cl_int *code), (context, n, texts, sizes, code))
CREATE(clCreateUserEvent, Event, cl_event, (cl_context context, cl_int *code), (context, code))

/* ---- commands */

static cl_int end(enum shim_call call, const cl_event *event, cl_int code)
{
    if (code != CL_SUCCESS || event == NULL) return code;
    refer(SHIM_LIVE_Event, 1, code);
    if (shim.on_command) shim.on_command(call, *event);
    return code;
}

#define COMMAND(name, bytes, params, args)                         \
    cl_int name params                                             \
    {                                                              \
        FIND(name);                                                \
        if (begin(SHIM_##name)) return FAILURE;        \
        bytes;                                                     \
        return end(SHIM_##name, event, real args);                 \
    }

#define WAITS cl_uint n, const cl_event *waits, cl_event *event

COMMAND(clEnqueueFillBuffer, (void)0,
        (cl_command_queue queue, cl_mem memory, const void *pattern, size_t pattern_size, size_t offset, size_t size, WAITS),
        (queue, memory, pattern, pattern_size, offset, size, n, waits, event))
COMMAND(clEnqueueMarkerWithWaitList, (void)0, (cl_command_queue queue, WAITS), (queue, n, waits, event))
COMMAND(clEnqueueNDRangeKernel, (void)0,
        (cl_command_queue queue, cl_kernel kernel, cl_uint rank, const size_t *offset, const size_t *global, const size_t *local, WAITS),
        (queue, kernel, rank, offset, global, local, n, waits, event))
COMMAND(clEnqueueReadBuffer, atomic_fetch_add(&shim.read_bytes, (long long)size),
        (cl_command_queue queue, cl_mem memory, cl_bool blocking, size_t offset, size_t size, void *host, WAITS),
        (queue, memory, blocking, offset, size, host, n, waits, event))
COMMAND(clEnqueueUnmapMemObject, (void)0, (cl_command_queue queue, cl_mem memory, void *pointer, WAITS), (queue, memory, pointer, n, waits, event))
COMMAND(clEnqueueWriteBuffer, atomic_fetch_add(&shim.written_bytes, (long long)size),
        (cl_command_queue queue, cl_mem memory, cl_bool blocking, size_t offset, size_t size, const void *host, WAITS),
        (queue, memory, blocking, offset, size, host, n, waits, event))

void *clEnqueueMapBuffer(cl_command_queue queue, cl_mem memory, cl_bool blocking, cl_map_flags flags, size_t offset, size_t size, WAITS, cl_int *code)
{
    cl_int own = FAILURE;
    void *pointer = NULL;
    FIND(clEnqueueMapBuffer);
    if (!begin(SHIM_clEnqueueMapBuffer)) pointer = real(queue, memory, blocking, flags, offset, size, n, waits, event, &own);
    if (code != NULL) *code = own;
    end(SHIM_clEnqueueMapBuffer, event, own);
    return pointer;
}
