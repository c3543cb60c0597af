/* SPDX-License-Identifier: MIT */
/**
 * @file clquant_dlpack.h
 * Tensors of other libraries as views of clquant's, and the other way, through DLPack: the same memory, nothing copied.
 *
 * Needs dlpack/dlpack.h, 0.6 or later, which the program brings; the library itself knows nothing of it, and all here is static inline.
 *
 * **Types.** kDLFloat of 16, 32 and 64 bits, kDLBfloat of 16, kDLInt of 4, 8, 16, 32 and 64, kDLUInt of 4, 8 and 16, each with 1 lane.
 * DLPack packs types of 4 bits as clquant does, the first element in the low bits of a byte.
 *
 * **Memory.** kDLCPU is CLQ_MEMORY_HOST, kDLOpenCL is CLQ_MEMORY_OPENCL with the cl_mem in `data`. DLPack does not say how OpenCL devices are
 * numbered: `device_id` is not read, and written as 0. Of a clq_buffer what lies behind it goes out.
 *
 * **Order.** Nothing here waits. Before others read what a context on a device has written: clq_context_synchronize() or clq_opencl_event().
 *
 * **Errors.** A status, outputs untouched. There is no context that could hold a text, so each function says what its statuses mean.
 *
 * **Threads.** Any.
 */
#ifndef CLQUANT_DLPACK_H
#define CLQUANT_DLPACK_H

#include <clquant.h>
#include <dlpack/dlpack.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @cond */

static inline clq_dtype clq_dlpack_to_dtype(DLDataType type)
{
    if (type.lanes != 1) return CLQ_DTYPE_NONE;
    switch (type.code) {
    case kDLFloat: return type.bits == 16 ? CLQ_F16 : type.bits == 32 ? CLQ_F32 : type.bits == 64 ? CLQ_F64 : CLQ_DTYPE_NONE;
    case kDLBfloat: return type.bits == 16 ? CLQ_BF16 : CLQ_DTYPE_NONE;
    case kDLUInt: return type.bits == 4 ? CLQ_U4 : type.bits == 8 ? CLQ_U8 : type.bits == 16 ? CLQ_U16 : CLQ_DTYPE_NONE;
    case kDLInt: break;
    default: return CLQ_DTYPE_NONE;
    }
    switch (type.bits) {
    case 4: return CLQ_S4;
    case 8: return CLQ_S8;
    case 16: return CLQ_S16;
    case 32: return CLQ_S32;
    case 64: return CLQ_S64;
    default: return CLQ_DTYPE_NONE;
    }
}

static inline DLDataType clq_dlpack_from_dtype(clq_dtype dtype)
{
    DLDataType type;
    type.bits = (uint8_t)clq_dtype_bits(dtype);
    type.lanes = 1;
    switch (dtype) {
    case CLQ_F32:
    case CLQ_F16:
    case CLQ_F64: type.code = (uint8_t)kDLFloat; break;
    case CLQ_BF16: type.code = (uint8_t)kDLBfloat; break;
    case CLQ_U8:
    case CLQ_U4:
    case CLQ_U16: type.code = (uint8_t)kDLUInt; break;
    default: type.code = (uint8_t)kDLInt; break;
    }
    return type;
}

/* A view's type, shape and data: what operations would refuse whatever their other arguments are. */
static inline clq_status clq_dlpack_check(const clq_tensor *view, int *is_empty)
{
    const int32_t bits = clq_dtype_bits(view->dtype);
    int64_t count = 1, product = 1; /* elements; the product of all extents but those of 0 */
    int is_contiguous = 1;
    if (bits == 0) return CLQ_ERROR_DTYPE;
    if (view->rank < 0 || view->rank > CLQ_MAX_RANK) return CLQ_ERROR_SHAPE;
    for (int32_t i = view->rank - 1; i >= 0; --i) {
        const int64_t extent = view->shape[i];
        if (extent < 0) return CLQ_ERROR_SHAPE;
        if (extent > 0 && product > INT64_MAX / extent) return CLQ_ERROR_OVERFLOW;
        if (extent != 1 && view->strides[i] != count) is_contiguous = 0;
        if (extent > 0) product *= extent;
        count *= extent;
    }
    *is_empty = count == 0;
    if (count > 0 && !view->data) return CLQ_ERROR_INVALID_ARGUMENT;
    if (count > 0 && bits == 4 && !is_contiguous) return CLQ_ERROR_SHAPE;
    return CLQ_OK;
}

/** @endcond */

/**
 * A view of the tensor that others describe. Valid as long as that tensor's memory is: a DLManagedTensor is viewed by its `dl_tensor`, and its
 * deleter called when the view is no longer used and all work with it is complete.
 *
 * Strides may be anything, NULL too: compact row-major. Where they and the offset lead to is checked by the operations. A tensor without
 * elements and with `data` NULL, as DLPack wants it, becomes a view of host memory, whichever of the two devices it names.
 * @param      source shape and strides are copied; the elements are others' to write or not, as DLPack has agreed with them
 * @param[out] tensor the view
 * @return CLQ_ERROR_INVALID_ARGUMENT if an argument is NULL, or `shape` (with `ndim` over 0), or `data` (with elements);
 *         CLQ_ERROR_DTYPE for another type; CLQ_ERROR_CONTEXT for another device;
 *         CLQ_ERROR_SHAPE for `ndim` outside 0..CLQ_MAX_RANK, a negative extent, a `byte_offset` on a device that is no multiple of the element's
 *         size, or 4 bits that are not contiguous; CLQ_ERROR_OVERFLOW for a product of extents over 2^63 - 1 or an offset past the address space
 */
static inline clq_status clq_tensor_from_dlpack(const DLTensor *source, clq_tensor *tensor)
{
    clq_tensor view;
    clq_status status;
    int is_empty;
    if (!source || !tensor || (source->ndim > 0 && !source->shape)) return CLQ_ERROR_INVALID_ARGUMENT;
    if (source->device.device_type != kDLCPU && source->device.device_type != kDLOpenCL) return CLQ_ERROR_CONTEXT;
    view = clq_tensor_host(clq_dlpack_to_dtype(source->dtype), source->data, source->ndim, source->shape);
    for (int32_t i = 0; source->strides && i < view.rank && i < CLQ_MAX_RANK; ++i)
        view.strides[i] = source->strides[i];
    status = clq_dlpack_check(&view, &is_empty);
    if (status != CLQ_OK) return status;
    if (view.data && source->device.device_type == kDLOpenCL) {
        const uint64_t bits = (uint64_t)clq_dtype_bits(view.dtype);
        if (source->byte_offset > (uint64_t)INT64_MAX / 8) return CLQ_ERROR_OVERFLOW;
        if (source->byte_offset * 8 % bits != 0) return CLQ_ERROR_SHAPE;
        view.memory = CLQ_MEMORY_OPENCL;
        view.offset = (int64_t)(source->byte_offset * 8 / bits);
    } else if (view.data) {
        if (source->byte_offset > UINTPTR_MAX - (uintptr_t)view.data) return CLQ_ERROR_OVERFLOW;
        view.data = (void *)((uintptr_t)view.data + (uintptr_t)source->byte_offset);
    }
    *tensor = view;
    return CLQ_OK;
}

/**
 * Describes a view to others, who borrow it.
 *
 * On the host `data` is the address of the element with all indices 0, and `byte_offset` 0, as not everybody reads it; DLPack's wish that `data` be
 * aligned to 256 bytes is met if that address is. Without elements `data` is NULL. Strides are always there.
 * @param      tensor a view of any memory, that of a buffer being what clq_buffer_memory() says; `shape` and `strides` of the target point into it, so it
 *                    must stay where it is.
 *                    DLPack knows no const, but nobody writes there
 * @param[out] target the description
 * @return CLQ_ERROR_INVALID_ARGUMENT if an argument is NULL, or `data` (with elements); CLQ_ERROR_DTYPE for CLQ_DTYPE_NONE and unknown numbers;
 *         CLQ_ERROR_CONTEXT for an unknown memory; CLQ_ERROR_SHAPE for a rank outside 0..CLQ_MAX_RANK, a negative extent, a negative offset in a
 *         cl_mem, or 4 bits that are not contiguous or start within a byte; CLQ_ERROR_OVERFLOW for a product of extents over 2^63 - 1 or an offset
 *         past the address space
 */
static inline clq_status clq_tensor_to_dlpack(const clq_tensor *tensor, DLTensor *target)
{
    clq_status status;
    int64_t bits, offset_bytes;
    clq_memory memory;
    void *data;
    uintptr_t address;
    int is_empty;
    if (!tensor || !target) return CLQ_ERROR_INVALID_ARGUMENT;
    memory = tensor->memory;
    data = tensor->data;
    if (memory == CLQ_MEMORY_BUFFER) memory = clq_buffer_memory((const clq_buffer *)data, &data);
    if (memory != CLQ_MEMORY_HOST && memory != CLQ_MEMORY_OPENCL) return CLQ_ERROR_CONTEXT;
    status = clq_dlpack_check(tensor, &is_empty);
    if (status != CLQ_OK) return status;
    bits = clq_dtype_bits(tensor->dtype);
    if (memory == CLQ_MEMORY_OPENCL && tensor->offset < 0) return CLQ_ERROR_SHAPE;
    if (bits == 4 && tensor->offset % 2 != 0) return CLQ_ERROR_SHAPE;
    if (tensor->offset > INT64_MAX / bits || tensor->offset < INT64_MIN / bits) return CLQ_ERROR_OVERFLOW;
    offset_bytes = tensor->offset * bits / 8;
    address = (uintptr_t)data;
    if (is_empty) {
        address = 0;
        offset_bytes = 0;
    } else if (memory == CLQ_MEMORY_HOST) {
        if (offset_bytes < 0 ? address < 0 - (uint64_t)offset_bytes : (uint64_t)offset_bytes > UINTPTR_MAX - address) return CLQ_ERROR_OVERFLOW;
        address += (uintptr_t)offset_bytes;
        offset_bytes = 0;
    }
    target->data = (void *)address;
    target->device.device_type = memory == CLQ_MEMORY_HOST ? kDLCPU : kDLOpenCL;
    target->device.device_id = 0;
    target->ndim = tensor->rank;
    target->dtype = clq_dlpack_from_dtype(tensor->dtype);
    target->shape = (int64_t *)(uintptr_t)tensor->shape;
    target->strides = (int64_t *)(uintptr_t)tensor->strides;
    target->byte_offset = (uint64_t)offset_bytes;
    return CLQ_OK;
}

/** Called once, on whatever thread, when others have done with memory that was handed to them: frees it, or lets go of whom it belongs to. */
typedef void (*clq_dlpack_release_fn)(void *opaque);

/** @cond */

/* What a managed tensor owns, and itself: one block of memory. */
struct clq_dlpack_owner {
    clq_tensor tensor;
    clq_dlpack_release_fn release;
    void *opaque;
    DLManagedTensor managed;
#ifdef DLPACK_MAJOR_VERSION
    DLManagedTensorVersioned versioned;
#endif
};

/* Its `managed.dl_tensor` is filled in. */
static inline clq_status clq_dlpack_own(const clq_tensor *tensor, clq_dlpack_release_fn release, void *opaque, struct clq_dlpack_owner **owner)
{
    struct clq_dlpack_owner *made;
    clq_status status;
    if (!tensor) return CLQ_ERROR_INVALID_ARGUMENT;
    made = (struct clq_dlpack_owner *)malloc(sizeof *made);
    if (!made) return CLQ_ERROR_OUT_OF_MEMORY;
    made->tensor = *tensor;
    made->release = release;
    made->opaque = opaque;
    status = clq_tensor_to_dlpack(&made->tensor, &made->managed.dl_tensor);
    if (status != CLQ_OK) {
        free(made);
        return status;
    }
    *owner = made;
    return CLQ_OK;
}

static inline void clq_dlpack_disown(struct clq_dlpack_owner *owner)
{
    if (owner->release) owner->release(owner->opaque);
    free(owner);
}

static inline void clq_dlpack_delete(DLManagedTensor *self)
{
    clq_dlpack_disown((struct clq_dlpack_owner *)self->manager_ctx);
}

/** @endcond */

/**
 * Hands a view's memory to others: a tensor with shape and strides of its own, whose deleter calls `release`.
 *
 * This is what a Python capsule "dltensor" holds. `tensor` itself may go. The block comes from malloc(), as it may outlive every context.
 * @param      tensor  as in clq_tensor_to_dlpack()
 * @param      release may be NULL. It is not called on failure: the memory is still the caller's
 * @param      opaque  passed to `release`
 * @param[out] managed to be freed by its deleter; NULL on failure
 * @return as clq_tensor_to_dlpack(); CLQ_ERROR_OUT_OF_MEMORY
 */
static inline clq_status clq_tensor_to_dlpack_managed(const clq_tensor *tensor, clq_dlpack_release_fn release, void *opaque, DLManagedTensor **managed)
{
    struct clq_dlpack_owner *owner;
    clq_status status;
    if (!managed) return CLQ_ERROR_INVALID_ARGUMENT;
    *managed = NULL;
    status = clq_dlpack_own(tensor, release, opaque, &owner);
    if (status != CLQ_OK) return status;
    owner->managed.manager_ctx = owner;
    owner->managed.deleter = clq_dlpack_delete;
    *managed = &owner->managed;
    return CLQ_OK;
}

#ifdef DLPACK_MAJOR_VERSION

/** @cond */

static inline void clq_dlpack_delete_versioned(DLManagedTensorVersioned *self)
{
    clq_dlpack_disown((struct clq_dlpack_owner *)self->manager_ctx);
}

/** @endcond */

/**
 * A view of the tensor that others have handed over, as clq_tensor_from_dlpack(). With dlpack.h of version 1 and later.
 *
 * A view has no place for DLPACK_FLAG_BITMASK_READ_ONLY: the caller does not make such a tensor an output.
 * @return as clq_tensor_from_dlpack(); CLQ_ERROR_INVALID_ARGUMENT also for another major version than dlpack.h has, when only the deleter may be called;
 *         CLQ_ERROR_DTYPE also for 4 bits that are not packed but have a byte each
 */
static inline clq_status clq_tensor_from_dlpack_versioned(const DLManagedTensorVersioned *source, clq_tensor *tensor)
{
    const uint64_t subbyte_padded = 4; /* DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED, which 1.0 lacks */
    if (!source || source->version.major != DLPACK_MAJOR_VERSION) return CLQ_ERROR_INVALID_ARGUMENT;
    if (source->dl_tensor.dtype.bits < 8 && (source->flags & subbyte_padded)) return CLQ_ERROR_DTYPE;
    return clq_tensor_from_dlpack(&source->dl_tensor, tensor);
}

/**
 * Hands a view's memory to others, as clq_tensor_to_dlpack_managed(). With dlpack.h of version 1 and later.
 *
 * This is what a Python capsule "dltensor_versioned" holds. Its `flags` are 0: the caller adds DLPACK_FLAG_BITMASK_READ_ONLY and others to them.
 */
static inline clq_status clq_tensor_to_dlpack_versioned(const clq_tensor *tensor, clq_dlpack_release_fn release, void *opaque,
                                                        DLManagedTensorVersioned **managed)
{
    struct clq_dlpack_owner *owner;
    clq_status status;
    if (!managed) return CLQ_ERROR_INVALID_ARGUMENT;
    *managed = NULL;
    status = clq_dlpack_own(tensor, release, opaque, &owner);
    if (status != CLQ_OK) return status;
    owner->versioned.version.major = DLPACK_MAJOR_VERSION;
    owner->versioned.version.minor = DLPACK_MINOR_VERSION;
    owner->versioned.manager_ctx = owner;
    owner->versioned.deleter = clq_dlpack_delete_versioned;
    owner->versioned.flags = 0;
    owner->versioned.dl_tensor = owner->managed.dl_tensor;
    *managed = &owner->versioned;
    return CLQ_OK;
}

#endif

#ifdef __cplusplus
}
#endif

#endif
