/* SPDX-License-Identifier: MIT */
/* Asking OpenCL's platforms for devices, judging and ordering them. */
#include "config.h"

#include "opencl/cl_device.h"

#include "base/alloc.h"
#include "base/util.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What lies beyond is left out: nobody has so many. */
#define MAX_PLATFORMS 64
#define MAX_DEVICES   256

/* The longest list of extensions seen has 4 KB. A longer text counts as empty. */
#define MAX_TEXT_BYTES 16384

#define LEAST_LOCAL_MEMORY_BYTES 16384

#define CL_ASK(call)                                                                                                             \
    do {                                                                                                                         \
        const cl_int cl_ask_code = (call);                                                                                       \
        if (cl_ask_code != CL_SUCCESS) return cl_ask_code;                                                                       \
    } while (0)

/* ------------------------------------------------------------------------------------------------ questions */

/* What is asked: a device or, if that is NULL, a platform. */
struct subject {
    cl_device_id device;
    cl_platform_id platform;
};

static cl_int ask(const struct subject *subject, cl_uint question, size_t size_bytes, void *value, size_t *needed_bytes)
{
    return subject->device ? clGetDeviceInfo(subject->device, question, size_bytes, value, needed_bytes)
                           : clGetPlatformInfo(subject->platform, question, size_bytes, value, needed_bytes);
}

/* A text of at most MAX_TEXT_BYTES with its NUL. The size is asked first: with too small a buffer the question fails. */
static cl_int ask_text(const struct subject *subject, cl_uint question, char text[MAX_TEXT_BYTES])
{
    size_t size_bytes = 0;
    text[0] = '\0';
    CL_ASK(ask(subject, question, 0, NULL, &size_bytes));
    if (size_bytes == 0 || size_bytes > MAX_TEXT_BYTES) return CL_SUCCESS;
    CL_ASK(ask(subject, question, size_bytes, text, NULL));
    text[size_bytes - 1] = '\0'; /* whether or not the driver counted it */
    return CL_SUCCESS;
}

/* Appends `text` to what is in `out`, printable, without spaces at its ends, cut to fit. */
static void append_text(char *out, size_t size_bytes, const char *text)
{
    size_t n = strlen(out), length = strlen(text);
    while (length > 0 && *text == ' ') {
        ++text;
        --length;
    }
    while (length > 0 && text[length - 1] == ' ')
        --length;
    for (size_t i = 0; i < length && n + 1 < size_bytes; ++i)
        out[n++] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    out[n] = '\0';
}

static cl_int ask_short_text(const struct subject *subject, cl_uint question, char *out, size_t size_bytes)
{
    char text[MAX_TEXT_BYTES];
    CL_ASK(ask_text(subject, question, text));
    append_text(out, size_bytes, text);
    return CL_SUCCESS;
}

static cl_int ask_bool(const struct subject *subject, cl_uint question, bool *value)
{
    cl_bool answer = CL_FALSE;
    CL_ASK(ask(subject, question, sizeof answer, &answer, NULL));
    *value = answer != CL_FALSE;
    return CL_SUCCESS;
}

static cl_int ask_uint(const struct subject *subject, cl_uint question, int32_t *value)
{
    cl_uint answer = 0;
    CL_ASK(ask(subject, question, sizeof answer, &answer, NULL));
    *value = answer > INT32_MAX ? INT32_MAX : (int32_t)answer;
    return CL_SUCCESS;
}

static cl_int ask_ulong(const struct subject *subject, cl_uint question, int64_t *value)
{
    cl_ulong answer = 0;
    CL_ASK(ask(subject, question, sizeof answer, &answer, NULL));
    *value = answer > INT64_MAX ? INT64_MAX : (int64_t)answer;
    return CL_SUCCESS;
}

static bool has_word(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = strstr(words, word); at; at = strstr(at + length, word))
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')) return true;
    return false;
}

/* From the extensions' headers, which are not everywhere. */
#define COMPUTE_CAPABILITY_MAJOR 0x4000 /* cl_nv_device_attribute_query */
#define COMPUTE_CAPABILITY_MINOR 0x4001
#define DOT_PRODUCT_CAPABILITIES 0x1073 /* cl_khr_integer_dot_product */
#define DOT_PRODUCT_PACKED       1
#define SUB_GROUP_SIZES          0x4108 /* cl_intel_required_subgroup_size */

/* What dot-product units the device has. A question that fails leaves its answer at none: units are extras. */
static void read_units(const struct subject *subject, const char *words, struct clq_cl_device *device)
{
    cl_uint major = 0, minor = 0;
    cl_bitfield packed = 0;
    size_t sizes[16] = {0}, size_bytes = 0;
    device->arm_dot = has_word(words, "cl_arm_integer_dot_product_accumulate_int8");
    device->arm_matrix = has_word(words, "cl_arm_matrix_multiply");
    device->intel_matrix = has_word(words, "cl_intel_subgroup_matrix_multiply_accumulate") && has_word(words, "cl_intel_subgroup_local_block_io") &&
                           has_word(words, "cl_intel_required_subgroup_size");
    if (device->dot_product && ask(subject, DOT_PRODUCT_CAPABILITIES, sizeof packed, &packed, NULL) == CL_SUCCESS)
        device->dot_product_packed = (packed & DOT_PRODUCT_PACKED) != 0;
    if (has_word(words, "cl_nv_device_attribute_query") && ask(subject, COMPUTE_CAPABILITY_MAJOR, sizeof major, &major, NULL) == CL_SUCCESS &&
        ask(subject, COMPUTE_CAPABILITY_MINOR, sizeof minor, &minor, NULL) == CL_SUCCESS && major < 100 && minor < 10)
        device->nvidia_capability = (int32_t)(10 * major + minor);
    if (!device->intel_matrix || ask(subject, SUB_GROUP_SIZES, sizeof sizes, sizes, &size_bytes) != CL_SUCCESS) return;
    for (size_t i = 0; i < size_bytes / sizeof sizes[0]; ++i)
        if (sizes[i] <= 64 && (device->intel_sub_group_size == 0 || (int32_t)sizes[i] < device->intel_sub_group_size))
            device->intel_sub_group_size = (int32_t)sizes[i];
}

static cl_int read_extensions(const struct subject *subject, struct clq_cl_device *device, struct clq_cl_answers *answers)
{
    char words[MAX_TEXT_BYTES];
    CL_ASK(ask_text(subject, CL_DEVICE_EXTENSIONS, words));
    device->fp16 = has_word(words, "cl_khr_fp16");
    device->int64_atomics = has_word(words, "cl_khr_int64_base_atomics");
    device->dot_product = has_word(words, "cl_khr_integer_dot_product");
    read_units(subject, words, device);
    answers->embedded_int64 = has_word(words, "cles_khr_int64");
    /* OpenCL 1.1 leaves the question open where there is no fp64, so it is asked only where there is. */
    if (has_word(words, "cl_khr_fp64"))
        CL_ASK(ask(subject, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof answers->double_config, &answers->double_config, NULL));
    return CL_SUCCESS;
}

static cl_int read_group_size(const struct subject *subject, struct clq_cl_answers *answers)
{
    size_t sizes[16] = {0}, size_bytes = 0;
    CL_ASK(ask(subject, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof answers->max_group_size, &answers->max_group_size, NULL));
    CL_ASK(ask(subject, CL_DEVICE_MAX_WORK_ITEM_SIZES, 0, NULL, &size_bytes));
    if (size_bytes > sizeof sizes) return CL_INVALID_VALUE;
    CL_ASK(ask(subject, CL_DEVICE_MAX_WORK_ITEM_SIZES, size_bytes, sizes, NULL));
    answers->max_item_size = sizes[0];
    return CL_SUCCESS;
}

static cl_int read_texts(const struct subject *subject, struct clq_cl_device *device, struct clq_cl_answers *answers)
{
    const struct subject platform = {NULL, device->platform};
    const size_t driver_bytes = sizeof device->driver;
    CL_ASK(ask_short_text(subject, CL_DEVICE_NAME, device->name, sizeof device->name));
    CL_ASK(ask_short_text(subject, CL_DEVICE_VERSION, device->version, sizeof device->version));
    CL_ASK(ask_short_text(subject, CL_DRIVER_VERSION, device->driver, driver_bytes));
    append_text(device->driver, driver_bytes, ",");
    CL_ASK(ask_short_text(&platform, CL_PLATFORM_NAME, device->driver, driver_bytes));
    append_text(device->driver, driver_bytes, ",");
    CL_ASK(ask_short_text(&platform, CL_PLATFORM_VERSION, device->driver, driver_bytes));
    CL_ASK(ask_short_text(subject, CL_DEVICE_PROFILE, answers->profile, sizeof answers->profile));
    CL_ASK(ask_short_text(subject, CL_DEVICE_OPENCL_C_VERSION, answers->c_version, sizeof answers->c_version));
    memcpy(answers->version, device->version, sizeof answers->version);
    return CL_SUCCESS;
}

static cl_int read_numbers(const struct subject *subject, struct clq_cl_device *device, struct clq_cl_answers *answers)
{
    int32_t align_bits = 0;
    CL_ASK(ask_ulong(subject, CL_DEVICE_GLOBAL_MEM_SIZE, &device->memory_bytes));
    CL_ASK(ask_ulong(subject, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &device->max_alloc_bytes));
    CL_ASK(ask_ulong(subject, CL_DEVICE_LOCAL_MEM_SIZE, &device->local_memory_bytes));
    CL_ASK(ask_uint(subject, CL_DEVICE_MEM_BASE_ADDR_ALIGN, &align_bits));
    device->base_align_bytes = align_bits / 8;
    CL_ASK(ask_uint(subject, CL_DEVICE_MAX_COMPUTE_UNITS, &device->compute_units));
    CL_ASK(ask_uint(subject, CL_DEVICE_ADDRESS_BITS, &device->address_bits));
    CL_ASK(ask_bool(subject, CL_DEVICE_HOST_UNIFIED_MEMORY, &device->unified));
    CL_ASK(ask_bool(subject, CL_DEVICE_AVAILABLE, &answers->available));
    CL_ASK(ask_bool(subject, CL_DEVICE_COMPILER_AVAILABLE, &answers->compiler));
    CL_ASK(ask_bool(subject, CL_DEVICE_ENDIAN_LITTLE, &answers->little_endian));
    CL_ASK(ask(subject, CL_DEVICE_SINGLE_FP_CONFIG, sizeof answers->single_config, &answers->single_config, NULL));
    return CL_SUCCESS;
}

cl_int clq_cl_device_read(cl_device_id id, struct clq_cl_device *device)
{
    const struct subject subject = {id, NULL};
    struct clq_cl_device read = {.id = id};
    struct clq_cl_answers answers = {0};

    if (!id) return CL_INVALID_DEVICE;
    CL_ASK(ask(&subject, CL_DEVICE_PLATFORM, sizeof read.platform, &read.platform, NULL));
    CL_ASK(ask(&subject, CL_DEVICE_TYPE, sizeof read.type, &read.type, NULL));
    CL_ASK(read_texts(&subject, &read, &answers));
    CL_ASK(read_numbers(&subject, &read, &answers));
    CL_ASK(read_group_size(&subject, &answers));
    CL_ASK(read_extensions(&subject, &read, &answers));
    clq_cl_device_judge(&answers, &read);
    *device = read;
    return CL_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ judgement */

static void refuse(struct clq_cl_device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first reason stays. */
static void refuse(struct clq_cl_device *device, const char *format, ...)
{
    va_list arguments;
    if (device->refusal[0] != '\0') return;
    va_start(arguments, format);
    vsnprintf(device->refusal, sizeof device->refusal, format, arguments);
    va_end(arguments);
}

/* "OpenCL 1.2 ..." after "OpenCL ", "OpenCL C 1.2 ..." after "OpenCL C ": at least 1.2? */
static bool is_1_2(const char *version, const char *lead)
{
    int major, minor;
    const size_t length = strlen(lead);
    if (strncmp(version, lead, length) != 0 || sscanf(version + length, "%d.%d", &major, &minor) != 2) return false;
    return major > 1 || (major == 1 && minor >= 2);
}

/*
 * Kernels count on f32 operations that are rounded to nearest, know infinities and NaN, and on a fma() that is rounded once.
 *
 * The full profile promises all three: CL_FP_ROUND_TO_NEAREST and CL_FP_INF_NAN are its mandated minimum (OpenCL API,
 * clGetDeviceInfo, CL_DEVICE_SINGLE_FP_CONFIG), and fma() is "correctly rounded" in its table of errors whether or not there is
 * an instruction for it (OpenCL C 1.2, 6.12.2 and 7.4); CL_FP_FMA only says that there is one, and Mesa's rusticl, which is
 * right, does not set it. So there the first two bits are tested against drivers that admit to less. The embedded profile may
 * round to zero and lack infinities, and its drivers are seen to doubt their own fma: there all three bits are asked for.
 */
static void judge_arithmetic(const struct clq_cl_answers *answers, bool embedded, struct clq_cl_device *device)
{
    const cl_device_fp_config config = answers->single_config;
    if (!(config & CL_FP_ROUND_TO_NEAREST)) refuse(device, "rounds otherwise than to nearest");
    if (!(config & CL_FP_INF_NAN)) refuse(device, "no infinities and NaN");
    if (embedded && !(config & CL_FP_FMA)) refuse(device, "embedded profile without a correctly rounded fma");
    if (embedded && !answers->embedded_int64) refuse(device, "embedded profile without 64-bit integers");
}

static size_t group_size_of(const struct clq_cl_answers *answers)
{
    return answers->max_group_size < answers->max_item_size ? answers->max_group_size : answers->max_item_size;
}

static size_t local_size_of(const struct clq_cl_answers *answers)
{
    const size_t limit = group_size_of(answers);
    size_t size = CLQ_CL_LOCAL_SIZE_MOST;
    while (size > 1 && size > limit)
        size /= 2;
    return size;
}

void clq_cl_device_judge(const struct clq_cl_answers *answers, struct clq_cl_device *device)
{
    /* What cl_khr_fp64 asks for; a partial fp64, as of some older GPUs, is none. */
    const cl_device_fp_config least_double = CL_FP_FMA | CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN | CL_FP_DENORM;
    const bool embedded = strcmp(answers->profile, "FULL_PROFILE") != 0;

    device->fp64 = (answers->double_config & least_double) == least_double;
    device->denormals = (answers->single_config & CL_FP_DENORM) != 0;
    device->fast_fma = (answers->single_config & CL_FP_FMA) != 0;
    device->max_group_size = group_size_of(answers);
    device->max_local_size = local_size_of(answers);
    snprintf(device->capabilities, sizeof device->capabilities, "%s%s%s%s%d compute units, local size %zu",
             device->fp64 ? "fp64, " : "", device->fp16 ? "fp16, " : "", device->dot_product ? "integer dot product, " : "",
             device->unified ? "unified memory, " : "", (int)device->compute_units, device->max_local_size);

    device->refusal[0] = '\0';
    if (!answers->available) refuse(device, "not available");
    if (!answers->compiler) refuse(device, "no compiler");
    if (!is_1_2(answers->version, "OpenCL ")) refuse(device, "%s, at least OpenCL 1.2 is needed", answers->version);
    if (!is_1_2(answers->c_version, "OpenCL C ")) refuse(device, "%s, at least OpenCL C 1.2 is needed", answers->c_version);
    if (!answers->little_endian) refuse(device, "big endian");
    judge_arithmetic(answers, embedded, device);
    if (device->local_memory_bytes < LEAST_LOCAL_MEMORY_BYTES)
        refuse(device, "%lld bytes of local memory, at least %d are needed", (long long)device->local_memory_bytes,
               LEAST_LOCAL_MEMORY_BYTES);
    if (device->max_local_size < CLQ_CL_LOCAL_SIZE_LEAST)
        refuse(device, "at most %zu work-items in a group, at least %d are needed", device->max_local_size,
               CLQ_CL_LOCAL_SIZE_LEAST);
}

void clq_cl_device_defines(const struct clq_cl_device *device, char *text, size_t size_bytes)
{
    snprintf(text, size_bytes, "%s", device->fp64 ? " -D CLQ_HAS_FP64=1" : "");
}

/* ------------------------------------------------------------------------------------------------ all of them */

enum rank { RANK_GPU, RANK_ACCELERATOR, RANK_OTHER, RANK_REFUSED };

static enum rank rank_of(const struct clq_cl_device *device)
{
    if (device->refusal[0] != '\0') return RANK_REFUSED;
    if (device->type & CL_DEVICE_TYPE_GPU) return RANK_GPU;
    if (device->type & CL_DEVICE_TYPE_ACCELERATOR) return RANK_ACCELERATOR;
    return RANK_OTHER;
}

static bool is_better(const struct clq_cl_device *a, const struct clq_cl_device *b)
{
    const enum rank rank = rank_of(a);
    if (rank != rank_of(b)) return rank < rank_of(b);
    if (rank != RANK_GPU) return false;
    if (a->unified != b->unified) return b->unified;
    if (a->memory_bytes != b->memory_bytes) return a->memory_bytes > b->memory_bytes;
    return a->compute_units > b->compute_units;
}

void clq_cl_devices_sort(struct clq_cl_device *devices, int32_t count)
{
    for (int32_t i = 1; i < count; ++i) {
        const struct clq_cl_device moved = devices[i];
        int32_t k = i;
        for (; k > 0 && is_better(&moved, &devices[k - 1]); --k)
            devices[k] = devices[k - 1];
        devices[k] = moved;
    }
}

/* A platform without devices answers with CL_DEVICE_NOT_FOUND; a loader without platforms with CL_PLATFORM_NOT_FOUND_KHR. */
static int32_t find_ids(cl_device_id ids[MAX_DEVICES], cl_platform_id platforms_of[MAX_DEVICES])
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint platform_count = 0;
    int32_t count = 0;

    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &platform_count) != CL_SUCCESS) return 0;
    for (cl_uint i = 0; i < platform_count && i < MAX_PLATFORMS && count < MAX_DEVICES; ++i) {
        const cl_uint room = (cl_uint)(MAX_DEVICES - count);
        cl_uint found = 0;
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, room, ids + count, &found) != CL_SUCCESS) continue;
        for (cl_uint k = 0; k < found && k < room; ++k)
            platforms_of[count++] = platforms[i];
    }
    return count;
}

clq_status clq_cl_devices_find(const clq_allocator *allocator, struct clq_cl_device **devices, int32_t *count)
{
    /* The loader and some drivers (PoCL 3.1) set themselves up in the first call, and not safely when two threads make it. */
    static pthread_mutex_t first_call = PTHREAD_MUTEX_INITIALIZER;
    cl_device_id ids[MAX_DEVICES];
    cl_platform_id platforms[MAX_DEVICES];
    struct clq_cl_device *list = NULL;
    int32_t found;

    pthread_mutex_lock(&first_call);
    found = find_ids(ids, platforms);
    pthread_mutex_unlock(&first_call);
    if (found > 0) {
        list = clq_alloc_zeroed(allocator, found, sizeof *list);
        if (!list) return CLQ_ERROR_OUT_OF_MEMORY;
    }
    for (int32_t i = 0; i < found; ++i) {
        const cl_int code = clq_cl_device_read(ids[i], &list[i]);
        if (code == CL_SUCCESS) continue;
        list[i] = (struct clq_cl_device){.platform = platforms[i], .id = ids[i], .name = "unknown device"};
        refuse(&list[i], "clGetDeviceInfo: %s (%d)", clq_cl_error_name(code), (int)code);
    }
    clq_cl_devices_sort(list, found);
    *devices = list;
    *count = found;
    return CLQ_OK;
}

int32_t clq_cl_devices_best(const struct clq_cl_device *devices, int32_t count)
{
    for (int32_t i = 0; i < count; ++i)
        if (rank_of(&devices[i]) <= RANK_ACCELERATOR) return i;
    return -1;
}
