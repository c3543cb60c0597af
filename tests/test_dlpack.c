/* SPDX-License-Identifier: MIT */
/* clquant_dlpack.h: every type, layout and refusal both ways, who owns what, and operations on views of others' tensors, on the CPU and on OpenCL. */
#include "config.h"

#include "test_support.h"
#include <dlpack/dlpack.h>
#ifndef DLPACK_MAJOR_VERSION
/* What version 1 adds, for a dlpack.h from before it. */
#define DLPACK_MAJOR_VERSION 1
#define DLPACK_MINOR_VERSION 1
typedef struct {
    uint32_t major, minor;
} DLPackVersion;
typedef struct DLManagedTensorVersioned {
    DLPackVersion version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;
#endif
#include <clquant_dlpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef CLQ_WITH_OPENCL
#include "base/alloc.h"
#include "opencl/cl_device.h"
#include <clquant_opencl.h>
#endif

static const struct {
    DLDataType type;
    clq_dtype dtype;
} types[] = {
    {{kDLFloat, 32, 1}, CLQ_F32}, {{kDLFloat, 16, 1}, CLQ_F16}, {{kDLBfloat, 16, 1}, CLQ_BF16}, {{kDLFloat, 64, 1}, CLQ_F64},
    {{kDLInt, 8, 1}, CLQ_S8},     {{kDLUInt, 8, 1}, CLQ_U8},    {{kDLInt, 4, 1}, CLQ_S4},       {{kDLUInt, 4, 1}, CLQ_U4},
    {{kDLInt, 16, 1}, CLQ_S16},   {{kDLUInt, 16, 1}, CLQ_U16},  {{kDLInt, 32, 1}, CLQ_S32},     {{kDLInt, 64, 1}, CLQ_S64},
};

static DLDataType type_of(clq_dtype dtype)
{
    for (size_t i = 0; i < TEST_COUNT_OF(types); i++)
        if (types[i].dtype == dtype) return types[i].type;
    test_fail(__FILE__, __LINE__, "no DLPack type for %s", clq_dtype_name(dtype));
}

static bool is_same_type(DLDataType a, DLDataType b)
{
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

/* A tensor as others describe it. */
static DLTensor describe(DLDeviceType device, void *data, clq_dtype dtype, int32_t ndim, int64_t *shape, int64_t *strides)
{
    return (DLTensor){.data = data, .device = {device, 0}, .ndim = ndim, .dtype = type_of(dtype), .shape = shape, .strides = strides};
}

static clq_tensor import(const DLTensor *source)
{
    clq_tensor view;
    const clq_status status = clq_tensor_from_dlpack(source, &view);
    TEST_CHECK(status == CLQ_OK, "%s", clq_status_name(status));
    return view;
}

/* Both are the same elements in the same places; offsets may be in the address of one. */
static void check_same_elements(const clq_tensor *got, const clq_tensor *expected)
{
    int64_t index[CLQ_MAX_RANK] = {0};
    TEST_CHECK(got->dtype == expected->dtype && got->memory == expected->memory && got->rank == expected->rank, "%s, not %s", test_describe(got),
               test_describe(expected));
    for (int32_t i = 0; i < got->rank; i++)
        TEST_CHECK(got->shape[i] == expected->shape[i] && got->strides[i] == expected->strides[i], "%s, not %s", test_describe(got),
                   test_describe(expected));
    if (ref_elements(got->rank, got->shape) == 0) return;
    TEST_CHECK((char *)got->data + got->offset * clq_dtype_bits(got->dtype) / 8 ==
                   (char *)expected->data + expected->offset * clq_dtype_bits(got->dtype) / 8,
               "%s lies elsewhere", test_describe(got));
    do
        TEST_CHECK(ref_get(got, index) == ref_get(expected, index), "another element in %s", test_describe(got));
    while (ref_next(got->rank, got->shape, index));
}

/* ---- types */

START_TEST(every_type)
{
    static const uint16_t lanes[] = {0, 1, 2, 4, 257, 65535};
    static int64_t memory;
    int64_t one = 1;
    DLTensor source = describe(kDLCPU, &memory, CLQ_F32, 1, &one, NULL), target;
    int32_t taken = 0;

    for (int code = 0; code < 256; code++)
        for (int bits = 0; bits < 256; bits++)
            for (size_t k = 0; k < TEST_COUNT_OF(lanes); k++) {
                clq_tensor view = {.dtype = CLQ_DTYPE_NONE};
                source.dtype = (DLDataType){(uint8_t)code, (uint8_t)bits, lanes[k]};
                const clq_status status = clq_tensor_from_dlpack(&source, &view);
                TEST_CHECK(status == CLQ_OK || (status == CLQ_ERROR_DTYPE && view.dtype == CLQ_DTYPE_NONE), "code %d, bits %d, lanes %d: %s", code,
                           bits, lanes[k], clq_status_name(status));
                if (status != CLQ_OK) continue;
                taken++;
                TEST_CHECK(is_same_type(source.dtype, type_of(view.dtype)), "code %d, bits %d, lanes %d: %s", code, bits, lanes[k],
                           clq_dtype_name(view.dtype));
                TEST_CHECK(clq_tensor_to_dlpack(&view, &target) == CLQ_OK && is_same_type(source.dtype, target.dtype), "%s goes out as another type",
                           clq_dtype_name(view.dtype));
            }
    TEST_CHECK(taken == (int32_t)TEST_COUNT_OF(types), "%d types were taken", (int)taken);
}
END_TEST

/* ---- layouts */

/* Out and in again. */
static void round_trip(const clq_tensor *view)
{
    DLTensor target;
    memset(&target, 0xa5, sizeof target);
    test_note("%s", test_describe(view));
    TEST_CHECK(clq_tensor_to_dlpack(view, &target) == CLQ_OK, "out");
    TEST_CHECK(target.device.device_type == kDLCPU && target.device.device_id == 0 && target.ndim == view->rank && target.byte_offset == 0 &&
                   target.shape == view->shape && target.strides == view->strides,
               "the description");
    TEST_CHECK((target.data == NULL) == (ref_elements(view->rank, view->shape) == 0), "data is NULL without elements, and only then");
    const clq_tensor back = import(&target);
    check_same_elements(&back, view);
}

START_TEST(every_layout)
{
    struct test_random random = test_random_start(1);
    for (int64_t i = 0; i < test_amount(3000, 500); i++) {
        const clq_dtype dtype = types[test_between(&random, 0, TEST_COUNT_OF(types) - 1)].dtype;
        const int32_t rank = (int32_t)test_between(&random, 0, CLQ_MAX_RANK);
        int64_t shape[CLQ_MAX_RANK];
        struct test_tensor tensor;
        clq_tensor shifted;
        test_random_shape(&random, rank, 300, true, shape);
        test_tensor_make(&tensor, &random, 0, dtype, rank, shape, (enum test_layout)test_between(&random, 0, TEST_LAYOUTS - 1));
        round_trip(&tensor.view);
        /* The same elements, from a base that lies before or after them. */
        shifted = tensor.view;
        shifted.offset += 2 * test_between(&random, -500, 500);
        shifted.data = (void *)((uintptr_t)tensor.view.data - (uintptr_t)((shifted.offset - tensor.view.offset) * clq_dtype_bits(dtype) / 8));
        if (ref_elements(rank, shape) > 0) round_trip(&shifted);
        test_tensor_free(&tensor);
    }
}
END_TEST

START_TEST(strides_and_offsets)
{
    static int16_t numbers[60];
    int64_t shape[] = {3, 4, 5}, compact[] = {20, 5, 1}, others[][3] = {{20, 5, -1}, {0, 0, 0}, {1, 3, 12}, {-20, -5, -1}, {INT64_MAX, INT64_MIN, 7}};
    DLTensor source = describe(kDLCPU, numbers, CLQ_S16, 3, shape, NULL);
    const clq_tensor expected = clq_tensor_host(CLQ_S16, numbers, 3, shape);
    clq_tensor view = import(&source);

    for (int16_t i = 0; i < 60; i++)
        numbers[i] = i;
    check_same_elements(&view, &expected);
    source.strides = compact;
    view = import(&source);
    check_same_elements(&view, &expected);
    for (size_t i = 0; i < TEST_COUNT_OF(others); i++) {
        source.strides = others[i];
        view = import(&source);
        TEST_CHECK(memcmp(view.strides, others[i], sizeof others[i]) == 0, "strides %zu", i);
    }
    /* On the host elements may lie anywhere; later changes of the source do not matter to the view. */
    source.strides = NULL;
    source.byte_offset = 7;
    view = import(&source);
    shape[0] = 99;
    TEST_CHECK((char *)view.data + 2 * view.offset == (char *)numbers + 7 && view.shape[0] == 3, "an odd offset");

    /* Without elements and data, the offset leads nowhere. */
    shape[0] = 0;
    source.data = NULL;
    view = import(&source);
    TEST_CHECK(view.memory == CLQ_MEMORY_HOST && view.data == NULL && view.offset == 0, "nothing");

    /* A scalar needs no shape. */
    source = describe(kDLCPU, numbers, CLQ_S16, 0, NULL, NULL);
    source.byte_offset = 10;
    view = import(&source);
    TEST_CHECK(view.rank == 0 && ref_get(&view, (const int64_t[]){0}) == 5, "a scalar");
}
END_TEST

START_TEST(four_bits)
{
    static uint8_t bytes[] = {0x21, 0x43, 0x65, 0x87, 0xa9};
    int64_t shape[] = {3, 3}, strides[] = {3, 1}, one_row[] = {1, 3}, any_strides[] = {77, 1};
    DLTensor source = describe(kDLCPU, bytes, CLQ_U4, 2, shape, strides), target;
    clq_tensor view = import(&source);
    int64_t index[] = {0, 0};
    uint64_t expected = 1;

    do
        TEST_CHECK(ref_get(&view, index) == expected++, "element %d, %d", (int)index[0], (int)index[1]);
    while (ref_next(2, shape, index));
    source.byte_offset = 1;
    view = import(&source);
    TEST_CHECK(ref_get(&view, (const int64_t[]){0, 0}) == 3, "from the second byte");
    view.offset = 2;
    TEST_CHECK(clq_tensor_to_dlpack(&view, &target) == CLQ_OK && target.data == bytes + 2, "an offset of two elements");
    view.offset = 1;
    TEST_CHECK(clq_tensor_to_dlpack(&view, &target) == CLQ_ERROR_SHAPE, "within a byte");
    view.offset = 0;
    view.strides[0] = 4;
    TEST_CHECK(clq_tensor_to_dlpack(&view, &target) == CLQ_ERROR_SHAPE, "rows with gaps");
    strides[0] = 4;
    TEST_CHECK(clq_tensor_from_dlpack(&source, &view) == CLQ_ERROR_SHAPE, "rows with gaps");
    /* The stride of a dimension of one element says nothing, and those of no elements neither. */
    source.shape = one_row;
    source.strides = any_strides;
    (void)import(&source);
    one_row[0] = 2;
    one_row[1] = 0;
    (void)import(&source);
}
END_TEST

/* ---- refusals */

static void refuse(const DLTensor *source, clq_status expected, const char *what)
{
    clq_tensor view, before;
    memset(&view, 0xa5, sizeof view);
    memcpy(&before, &view, sizeof view);
    const clq_status status = clq_tensor_from_dlpack(source, &view);
    TEST_CHECK(status == expected, "%s: %s, must be %s", what, clq_status_name(status), clq_status_name(expected));
    TEST_CHECK(memcmp(&view, &before, sizeof view) == 0, "%s: the view was written", what);
}

START_TEST(refused_descriptions)
{
    static float numbers[16];
    static const int devices[] = {0, kDLCUDA, kDLCUDAHost, 5, kDLVulkan, kDLMetal, kDLROCM, kDLROCMHost, kDLExtDev, kDLCUDAManaged, 14, 1000};
    int64_t shape[] = {4, 2, 1, 1, 1, 1, 1, 1, 1}, strides[9] = {0};
    const DLTensor good = describe(kDLCPU, numbers, CLQ_F32, 2, shape, NULL);
    DLTensor source = good;

    refuse(NULL, CLQ_ERROR_INVALID_ARGUMENT, "no source");
    TEST_CHECK(clq_tensor_from_dlpack(&good, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no view");
    source.shape = NULL;
    refuse(&source, CLQ_ERROR_INVALID_ARGUMENT, "no shape");
    source = good;
    source.data = NULL;
    refuse(&source, CLQ_ERROR_INVALID_ARGUMENT, "no data");
    source.byte_offset = 64;
    refuse(&source, CLQ_ERROR_INVALID_ARGUMENT, "no data, but an offset");
    source.device.device_type = kDLOpenCL;
    refuse(&source, CLQ_ERROR_INVALID_ARGUMENT, "no cl_mem");
    for (size_t i = 0; i < TEST_COUNT_OF(devices); i++) {
        source = good;
        source.device.device_type = (DLDeviceType)devices[i];
        refuse(&source, CLQ_ERROR_CONTEXT, "a device");
    }
    source = good;
    source.ndim = -1;
    refuse(&source, CLQ_ERROR_SHAPE, "ndim -1");
    source.ndim = INT32_MIN;
    refuse(&source, CLQ_ERROR_SHAPE, "ndim -2^31");
    source.ndim = 8;
    (void)import(&source);
    source.ndim = 9;
    refuse(&source, CLQ_ERROR_SHAPE, "ndim 9");
    source.strides = strides;
    refuse(&source, CLQ_ERROR_SHAPE, "ndim 9 with strides");
    source.ndim = INT32_MAX;
    refuse(&source, CLQ_ERROR_SHAPE, "ndim 2^31 - 1");
}
END_TEST

START_TEST(refused_sizes)
{
    static float numbers[16];
    static const struct {
        int64_t shape[3];
        clq_status expected;
    } cases[] = {
        {{2, -1, 2}, CLQ_ERROR_SHAPE},
        {{INT64_MIN, 1, 1}, CLQ_ERROR_SHAPE},
        {{0, 1, -5}, CLQ_ERROR_SHAPE},
        {{INT64_MAX, 1, 1}, CLQ_OK}, /* the operations find that nothing is as large */
        {{INT64_MAX, 2, 1}, CLQ_ERROR_OVERFLOW},
        {{(int64_t)1 << 31, (int64_t)1 << 31, 2}, CLQ_ERROR_OVERFLOW},
        {{INT64_MAX, 0, INT64_MAX}, CLQ_ERROR_OVERFLOW},
        {{(int64_t)1 << 32, (int64_t)1 << 32, 0}, CLQ_ERROR_OVERFLOW},
        {{INT64_MAX, 0, 1}, CLQ_OK},
    };
    static const struct {
        DLDeviceType device;
        uint64_t byte_offset;
        clq_status expected;
    } offsets[] = {
        {kDLCPU, UINT64_MAX, CLQ_ERROR_OVERFLOW},
        {kDLCPU, UINT64_MAX - 4096, CLQ_ERROR_OVERFLOW},
        {kDLOpenCL, UINT64_MAX, CLQ_ERROR_OVERFLOW},
        {kDLOpenCL, (uint64_t)INT64_MAX / 8 + 1, CLQ_ERROR_OVERFLOW},
        {kDLOpenCL, (uint64_t)1 << 59, CLQ_OK},
        {kDLOpenCL, 1, CLQ_ERROR_SHAPE},
        {kDLOpenCL, 2, CLQ_ERROR_SHAPE},
        {kDLOpenCL, 7, CLQ_ERROR_SHAPE},
        {kDLOpenCL, 12, CLQ_OK},
    };
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    int64_t shape[3];
    DLTensor source = describe(kDLCPU, numbers, CLQ_F32, 3, shape, NULL);
    clq_tensor view;

    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        memcpy(shape, cases[i].shape, sizeof shape);
        if (cases[i].expected != CLQ_OK) {
            refuse(&source, cases[i].expected, "a shape");
        } else {
            view = import(&source);
            const clq_status status = clq_convert(context, &view, &view);
            TEST_CHECK(status == (shape[1] == 0 ? CLQ_OK : CLQ_ERROR_OVERFLOW), "shape %zu: %s", i, clq_status_name(status));
        }
    }
    shape[0] = shape[1] = shape[2] = 1;
    for (size_t i = 0; i < TEST_COUNT_OF(offsets); i++) {
        source.device.device_type = offsets[i].device;
        source.byte_offset = offsets[i].byte_offset;
        if (offsets[i].expected != CLQ_OK) {
            refuse(&source, offsets[i].expected, "an offset");
        } else {
            view = import(&source);
            TEST_CHECK(view.memory == CLQ_MEMORY_OPENCL && view.data == numbers && (uint64_t)view.offset == offsets[i].byte_offset / 4, "offset %zu",
                       i);
        }
    }
    clq_context_free(context);
}
END_TEST

static void refuse_out(const clq_tensor *tensor, clq_status expected, const char *what)
{
    DLTensor target, before;
    DLManagedTensor *managed = (DLManagedTensor *)(void *)&target;
    memset(&target, 0xa5, sizeof target);
    memcpy(&before, &target, sizeof target);
    const clq_status status = clq_tensor_to_dlpack(tensor, &target);
    TEST_CHECK(status == expected, "%s: %s, must be %s", what, clq_status_name(status), clq_status_name(expected));
    TEST_CHECK(memcmp(&target, &before, sizeof target) == 0, "%s: the target was written", what);
    TEST_CHECK(clq_tensor_to_dlpack_managed(tensor, NULL, NULL, &managed) == expected && managed == NULL, "%s: a managed tensor", what);
}

/* Views of a buffer go out as what is behind it. */
static void check_buffer(clq_context *context, clq_memory memory, DLDeviceType device)
{
    const int64_t shape[] = {2, 2};
    clq_buffer *buffer;
    clq_tensor view;
    DLTensor target;
    void *data = NULL;

    TEST_OK(context, clq_buffer_create(context, 64, &buffer));
    TEST_CHECK(clq_buffer_memory(buffer, &data) == memory && data != NULL, "another memory behind a buffer");
    TEST_CHECK(clq_buffer_memory(buffer, NULL) == memory, "another memory without asking where");
    view = clq_tensor_buffer(CLQ_F32, buffer, 3, 2, shape);
    TEST_CHECK(clq_tensor_to_dlpack(&view, &target) == CLQ_OK, "a view of a buffer does not go out");
    TEST_CHECK(target.device.device_type == device, "device type %d", (int)target.device.device_type);
    TEST_CHECK((uintptr_t)target.data + target.byte_offset == (uintptr_t)data + 12, "data or byte_offset is wrong");
    TEST_CHECK(target.shape == view.shape && target.strides == view.strides, "the shape is another's");
    clq_buffer_free(buffer);
}

START_TEST(buffers)
{
    clq_context *const context = test_context(NULL, 1, NULL, NULL);
    void *data = &data;

    check_buffer(context, CLQ_MEMORY_HOST, kDLCPU);
    clq_context_free(context);
    TEST_CHECK(clq_buffer_memory(NULL, &data) == CLQ_MEMORY_HOST && data == NULL, "no buffer has memory");
}
END_TEST

START_TEST(refused_views)
{
    static float numbers[4];
    const int64_t shape[] = {2, 2};
    const clq_tensor good = clq_tensor_host(CLQ_F32, numbers, 2, shape);
    clq_tensor view;

    refuse_out(NULL, CLQ_ERROR_INVALID_ARGUMENT, "no view");
    TEST_CHECK(clq_tensor_to_dlpack(&good, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no target");
    TEST_CHECK(clq_tensor_to_dlpack_managed(&good, NULL, NULL, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no place for the managed tensor");
    TEST_CHECK(clq_tensor_to_dlpack_versioned(&good, NULL, NULL, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no place for the versioned tensor");
    view = clq_tensor_buffer(CLQ_F32, NULL, 0, 2, shape);
    refuse_out(&view, CLQ_ERROR_INVALID_ARGUMENT, "a view of no buffer");
    view = good;
    view.memory = (clq_memory)3;
    refuse_out(&view, CLQ_ERROR_CONTEXT, "an unknown memory");

#define REFUSE(member, value, expected)              \
    do {                                             \
        view = good;                                 \
        view.member = (value);                       \
        refuse_out(&view, expected, #member #value); \
    } while (0)
    REFUSE(memory, (clq_memory)3, CLQ_ERROR_CONTEXT);
    REFUSE(memory, (clq_memory)-1, CLQ_ERROR_CONTEXT);
    REFUSE(dtype, CLQ_DTYPE_NONE, CLQ_ERROR_DTYPE);
    REFUSE(dtype, (clq_dtype)13, CLQ_ERROR_DTYPE);
    REFUSE(dtype, (clq_dtype)-1, CLQ_ERROR_DTYPE);
    REFUSE(rank, -1, CLQ_ERROR_SHAPE);
    REFUSE(rank, 9, CLQ_ERROR_SHAPE);
    REFUSE(shape[1], -1, CLQ_ERROR_SHAPE);
    REFUSE(shape[0], INT64_MAX, CLQ_ERROR_OVERFLOW);
    REFUSE(data, NULL, CLQ_ERROR_INVALID_ARGUMENT);
    REFUSE(offset, INT64_MAX, CLQ_ERROR_OVERFLOW);
    REFUSE(offset, INT64_MIN, CLQ_ERROR_OVERFLOW);
    REFUSE(offset, INT64_MIN / 32, CLQ_ERROR_OVERFLOW); /* below the address 0 */
#undef REFUSE
    view = good;
    view.data = (void *)(UINTPTR_MAX - 100);
    view.offset = 26;
    refuse_out(&view, CLQ_ERROR_OVERFLOW, "above the last address");
    view = good;
    view.memory = CLQ_MEMORY_OPENCL;
    view.offset = -1;
    refuse_out(&view, CLQ_ERROR_SHAPE, "before a cl_mem");
}
END_TEST

/* ---- who owns what */

static int32_t releases;

static void release(void *opaque)
{
    TEST_CHECK(opaque == &releases, "another argument");
    releases++;
}

static void check_handed_over(const DLTensor *handed, const float *numbers)
{
    TEST_CHECK(handed->data == numbers + 3 && handed->ndim == 2 && handed->shape[0] == 2 && handed->shape[1] == 3 && handed->strides[0] == -3 &&
                   handed->strides[1] == 1,
               "the description does not outlast the view");
    TEST_CHECK(releases == 0, "released too early");
}

START_TEST(ownership)
{
    static float numbers[6];
    clq_tensor view = clq_tensor_host(CLQ_F32, numbers, 2, (const int64_t[]){2, 3}), back;
    DLManagedTensor *managed;
    DLManagedTensorVersioned *versioned;

    view.strides[0] = -3;
    view.offset = 3;
    const clq_tensor original = view;
    TEST_CHECK(clq_tensor_to_dlpack_managed(&view, release, &releases, &managed) == CLQ_OK, "managed");
    memset(&view, 0xa5, sizeof view);
    check_handed_over(&managed->dl_tensor, numbers);
    back = import(&managed->dl_tensor);
    check_same_elements(&back, &original);
    managed->deleter(managed);
    TEST_CHECK(releases == 1, "released %d times", (int)releases);

    releases = 0;
    TEST_CHECK(clq_tensor_to_dlpack_versioned(&original, release, &releases, &versioned) == CLQ_OK, "versioned");
    check_handed_over(&versioned->dl_tensor, numbers);
    TEST_CHECK(versioned->version.major == DLPACK_MAJOR_VERSION && versioned->version.minor == DLPACK_MINOR_VERSION && versioned->flags == 0,
               "version and flags");
    TEST_CHECK(clq_tensor_from_dlpack_versioned(versioned, &back) == CLQ_OK, "in again");
    check_same_elements(&back, &original);
    versioned->deleter(versioned);
    TEST_CHECK(releases == 1, "released %d times", (int)releases);

    /* Nobody to be told, and nothing to be told of. */
    TEST_CHECK(clq_tensor_to_dlpack_managed(&original, NULL, NULL, &managed) == CLQ_OK, "managed");
    managed->deleter(managed);
    view = original;
    view.rank = 9;
    TEST_CHECK(clq_tensor_to_dlpack_managed(&view, release, &releases, &managed) == CLQ_ERROR_SHAPE && managed == NULL, "a failure");
    versioned = (DLManagedTensorVersioned *)(void *)numbers;
    TEST_CHECK(clq_tensor_to_dlpack_versioned(&view, release, &releases, &versioned) == CLQ_ERROR_SHAPE && versioned == NULL, "a failure");
    TEST_CHECK(releases == 1, "released what was not handed over");
}
END_TEST

START_TEST(versions_and_flags)
{
    static uint8_t bytes[8];
    int64_t shape[] = {8};
    DLManagedTensorVersioned source = {.version = {DLPACK_MAJOR_VERSION, 99}, .dl_tensor = describe(kDLCPU, bytes, CLQ_U8, 1, shape, NULL)};
    clq_tensor view, before;

    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, &view) == CLQ_OK, "a later minor version");
    source.flags = 7; /* read-only, a copy, padded */
    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, &view) == CLQ_OK, "whole bytes are not padded");
    memset(&view, 0xa5, sizeof view);
    memcpy(&before, &view, sizeof view);
    source.dl_tensor.dtype.bits = 4;
    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, &view) == CLQ_ERROR_DTYPE, "4 bits, a byte each");
    source.flags = 3;
    source.version.major++;
    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, &view) == CLQ_ERROR_INVALID_ARGUMENT, "a later major version");
    source.version.major = 0;
    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, &view) == CLQ_ERROR_INVALID_ARGUMENT, "major version 0");
    TEST_CHECK(clq_tensor_from_dlpack_versioned(NULL, &view) == CLQ_ERROR_INVALID_ARGUMENT, "no source");
    TEST_CHECK(memcmp(&view, &before, sizeof view) == 0, "the view was written");
    source.version.major = DLPACK_MAJOR_VERSION;
    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, NULL) == CLQ_ERROR_INVALID_ARGUMENT, "no view");
    TEST_CHECK(clq_tensor_from_dlpack_versioned(&source, &view) == CLQ_OK && view.dtype == CLQ_U4, "4 bits, packed");
}
END_TEST

/* ---- operations */

/* Memory of others with two tensors in it: x, [COLS, ROWS] seen transposed and from an offset, and q behind an odd offset. */
enum { ROWS = 37, COLS = 51, X_OFFSET = 12, Q_OFFSET = 5, X_BYTES = X_OFFSET + 4 * ROWS * COLS + 8, Q_BYTES = Q_OFFSET + ROWS * COLS + 8 };

struct borrowed {
    int64_t shape[2], transposed[2];
    DLTensor x, q;
};

static void borrow(struct borrowed *b, DLDeviceType device, void *x, void *q, clq_dtype dtype)
{
    *b = (struct borrowed){.shape = {ROWS, COLS}, .transposed = {1, ROWS}};
    b->x = describe(device, x, CLQ_F32, 2, b->shape, b->transposed);
    b->x.byte_offset = X_OFFSET;
    b->q = describe(device, q, dtype, 2, b->shape, NULL);
    b->q.byte_offset = Q_OFFSET;
}

static clq_status quantize_borrowed(clq_context *context, const struct borrowed *b, const clq_qparams *params)
{
    const clq_tensor x = import(&b->x), q = import(&b->q);
    return clq_quantize(context, &x, params, &q, NULL);
}

static clq_status dequantize_borrowed(clq_context *context, const struct borrowed *b, const clq_qparams *params)
{
    const clq_tensor x = import(&b->x), q = import(&b->q);
    return clq_dequantize(context, &q, params, &x);
}

/* Seeded values, and parameters for each row. */
struct work {
    unsigned char x[X_BYTES], q[Q_BYTES];
    float scale[ROWS];
    int32_t zero_point[ROWS];
    clq_qparams params;
};

static void make_work(struct work *w, clq_dtype dtype)
{
    struct test_random random = test_random_start(2);
    const int64_t rows[] = {ROWS};
    test_fill_random(&random, w->x, sizeof w->x);
    test_fill_random(&random, w->q, sizeof w->q);
    for (int i = 0; i < ROWS * COLS; i++) {
        const float value = (float)test_between(&random, -20000, 20000) / 512.0f;
        memcpy(w->x + X_OFFSET + 4 * i, &value, sizeof value);
    }
    for (int i = 0; i < ROWS; i++) {
        w->scale[i] = (float)test_between(&random, 1, 64) / 128.0f;
        w->zero_point[i] = (int32_t)test_between(&random, 0, 7);
    }
    w->params = (clq_qparams){.scheme = {.dtype = dtype, .granularity = CLQ_PER_CHANNEL, .axis = 0},
                              .scale = clq_tensor_host(CLQ_F32, w->scale, 1, rows),
                              .zero_point = clq_tensor_host(CLQ_S32, w->zero_point, 1, rows)};
}

static const clq_dtype work_dtypes[] = {CLQ_S8, CLQ_U8, CLQ_U4, CLQ_S4};

/* Against the same calls on tensors that are nobody else's. */
START_TEST(works_on_the_cpu)
{
    static struct work work, copy;
    static float x[ROWS][COLS], y[ROWS][COLS];
    static uint8_t q[ROWS * COLS];
    const int64_t shape[] = {ROWS, COLS};
    clq_context *const context = test_context(NULL, 2, NULL, NULL);
    struct borrowed b;

    for (size_t d = 0; d < TEST_COUNT_OF(work_dtypes); d++) {
        const clq_dtype dtype = work_dtypes[d];
        const clq_tensor tx = clq_tensor_host(CLQ_F32, x, 2, shape), ty = clq_tensor_host(CLQ_F32, y, 2, shape), tq = clq_tensor_host(dtype, q, 2, shape);
        test_note("%s", clq_dtype_name(dtype));
        make_work(&work, dtype);
        copy = work;
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLS; c++)
                memcpy(&x[r][c], work.x + X_OFFSET + 4 * (c * ROWS + r), 4);
        TEST_OK(context, clq_quantize(context, &tx, &work.params, &tq, NULL));
        TEST_OK(context, clq_dequantize(context, &tq, &work.params, &ty));

        borrow(&b, kDLCPU, work.x, work.q, dtype);
        TEST_OK(context, quantize_borrowed(context, &b, &work.params));
        memcpy(copy.q + Q_OFFSET, q, (size_t)(ROWS * COLS * clq_dtype_bits(dtype) + 7) / 8);
        TEST_CHECK(memcmp(work.q, copy.q, sizeof work.q) == 0, "other integers, or bytes around them");
        TEST_CHECK(memcmp(work.x, copy.x, sizeof work.x) == 0, "the input was written");
        TEST_OK(context, dequantize_borrowed(context, &b, &work.params));
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLS; c++)
                memcpy(copy.x + X_OFFSET + 4 * (c * ROWS + r), &y[r][c], 4);
        TEST_CHECK(memcmp(work.x, copy.x, sizeof work.x) == 0, "other floats, or bytes around them");
        TEST_CHECK(memcmp(work.q, copy.q, sizeof work.q) == 0, "the integers were written");
    }
    clq_context_free(context);
}
END_TEST

#ifdef CLQ_WITH_OPENCL

#define CL_OK(call)                                                              \
    do {                                                                         \
        const cl_int cl_ok_code = (call);                                        \
        TEST_CHECK(cl_ok_code == CL_SUCCESS, "%s: %d", #call, (int)cl_ok_code);  \
    } while (0)

/* A program's own OpenCL, and clquant on its queue. */
struct own {
    cl_context cl;
    cl_command_queue queue;
    clq_context *context;
};

static void open_own(struct own *own, const struct clq_cl_device *device)
{
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    char text[300] = "";
    cl_int code;
    test_note_place("on %s", device->name);
    own->cl = clCreateContext(NULL, 1, &device->id, NULL, NULL, &code);
    CL_OK(code);
    own->queue = clCreateCommandQueue(own->cl, device->id, 0, &code);
    CL_OK(code);
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    options.no_fallback = 1;
    TEST_CHECK(clq_context_create_opencl(&options, own->cl, device->id, own->queue, &own->context) == CLQ_OK, "%s", text);
}

static void close_own(struct own *own)
{
    clq_context_free(own->context);
    CL_OK(clReleaseCommandQueue(own->queue));
    CL_OK(clReleaseContext(own->cl));
}

static cl_mem upload(const struct own *own, const void *bytes, size_t size_bytes)
{
    cl_int code;
    const cl_mem memory = clCreateBuffer(own->cl, CL_MEM_READ_WRITE, size_bytes, NULL, &code);
    CL_OK(code);
    CL_OK(clEnqueueWriteBuffer(own->queue, memory, CL_TRUE, 0, size_bytes, bytes, 0, NULL, NULL));
    return memory;
}

static void compare(const struct own *own, cl_mem memory, const unsigned char *expected, size_t size_bytes, const char *name)
{
    static unsigned char got[X_BYTES];
    CL_OK(clEnqueueReadBuffer(own->queue, memory, CL_TRUE, 0, size_bytes, got, 0, NULL, NULL));
    for (size_t i = 0; i < size_bytes; i++)
        TEST_CHECK(got[i] == expected[i], "%s: byte %zu is %d, not %d", name, i, got[i], expected[i]);
}

static void release_memory(void *memory)
{
    CL_OK(clReleaseMemObject((cl_mem)memory));
}

/* Out as a managed tensor that holds the last reference to the cl_mem, and in again. */
static void hand_over(const struct own *own, const DLTensor *source, cl_mem memory)
{
    const clq_tensor view = import(source);
    DLManagedTensor *managed;
    clq_tensor back;
    TEST_CHECK(clq_tensor_to_dlpack_managed(&view, release_memory, memory, &managed) == CLQ_OK, "out");
    TEST_CHECK(managed->dl_tensor.device.device_type == kDLOpenCL && managed->dl_tensor.data == memory &&
                   managed->dl_tensor.byte_offset == source->byte_offset,
               "the description of a cl_mem");
    back = import(&managed->dl_tensor);
    TEST_CHECK(back.memory == CLQ_MEMORY_OPENCL && back.dtype == view.dtype && back.data == view.data && back.offset == view.offset &&
                   back.rank == view.rank && memcmp(back.shape, view.shape, sizeof view.shape) == 0 &&
                   memcmp(back.strides, view.strides, sizeof view.strides) == 0,
               "another view");
    TEST_OK(own->context, clq_context_synchronize(own->context));
    managed->deleter(managed);
}

static void work_on_device(const struct own *own, clq_dtype dtype)
{
    static struct work work;
    clq_context *const cpu = test_context(NULL, 1, NULL, NULL);
    struct borrowed here, there;
    make_work(&work, dtype);
    const cl_mem x = upload(own, work.x, sizeof work.x), q = upload(own, work.q, sizeof work.q);
    borrow(&here, kDLCPU, work.x, work.q, dtype);
    borrow(&there, kDLOpenCL, x, q, dtype);
    TEST_OK(own->context, quantize_borrowed(own->context, &there, &work.params));
    TEST_OK(cpu, quantize_borrowed(cpu, &here, &work.params));
    compare(own, q, work.q, sizeof work.q, "quantized");
    TEST_OK(own->context, dequantize_borrowed(own->context, &there, &work.params));
    TEST_OK(cpu, dequantize_borrowed(cpu, &here, &work.params));
    compare(own, x, work.x, sizeof work.x, "dequantized");
    check_buffer(own->context, CLQ_MEMORY_OPENCL, kDLOpenCL);
    TEST_CHECK(strcmp(clq_context_ran_on(own->context), "opencl") == 0, "ran on %s", clq_context_ran_on(own->context));

    /* What leads past the buffer's end goes in, and no further. */
    there.x.byte_offset = 24;
    const clq_status status = quantize_borrowed(own->context, &there, &work.params);
    TEST_CHECK(status == CLQ_ERROR_SHAPE, "past the end: %s", clq_status_name(status));
    there.x.byte_offset = 6;
    refuse(&there.x, CLQ_ERROR_SHAPE, "between elements");
    there.x.byte_offset = 12;
    hand_over(own, &there.x, x);
    hand_over(own, &there.q, q);
    clq_context_free(cpu);
}

/* A device's tensor without elements, as DLPack has it. */
static void quantize_nothing(const struct own *own)
{
    int64_t shape[] = {3, 0};
    const float scale = 1.0f;
    const clq_qparams params = {.scheme = {.dtype = CLQ_S8}, .scale = clq_tensor_host(CLQ_F32, &scale, 0, NULL)};
    const DLTensor x = describe(kDLOpenCL, NULL, CLQ_F32, 2, shape, NULL), q = describe(kDLOpenCL, NULL, CLQ_S8, 2, shape, NULL);
    const clq_tensor tx = import(&x), tq = import(&q);
    TEST_OK(own->context, clq_quantize(own->context, &tx, &params, &tq, NULL));
}

START_TEST(works_on_devices)
{
    struct clq_cl_device *devices;
    int32_t count, tried = 0;
    TEST_CHECK(clq_cl_devices_find(&clq_allocator_libc, &devices, &count) == CLQ_OK, "the list of devices");
    for (int32_t i = 0; i < count; i++) {
        struct own own;
        if (devices[i].refusal[0] != '\0' || !test_device_wanted(i)) continue;
        open_own(&own, &devices[i]);
        for (size_t d = 0; d < TEST_COUNT_OF(work_dtypes); d++)
            work_on_device(&own, work_dtypes[d]);
        quantize_nothing(&own);
        close_own(&own);
        tried++;
    }
    if (tried == 0) printf("not tried: there is no OpenCL device\n");
    clq_dealloc(&clq_allocator_libc, devices);
}
END_TEST

#endif

int main(void)
{
    Suite *const suite = suite_create("DLPack");
    TCase *const tcase = test_case(suite, "DLPack");

    tcase_add_test(tcase, every_type);
    tcase_add_test(tcase, every_layout);
    tcase_add_test(tcase, strides_and_offsets);
    tcase_add_test(tcase, four_bits);
    tcase_add_test(tcase, refused_descriptions);
    tcase_add_test(tcase, refused_sizes);
    tcase_add_test(tcase, buffers);
    tcase_add_test(tcase, refused_views);
    tcase_add_test(tcase, ownership);
    tcase_add_test(tcase, versions_and_flags);
    tcase_add_test(tcase, works_on_the_cpu);
#ifdef CLQ_WITH_OPENCL
    tcase_add_test(test_case(suite, "OpenCL"), works_on_devices);
#endif
    return test_run(suite);
}
