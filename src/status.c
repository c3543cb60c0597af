/* SPDX-License-Identifier: MIT */
/* Names of statuses and dtypes, and the version. */
#include "config.h"

#include "backend.h"

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *clq_version(void)
{
    return VERSION_TEXT(CLQ_VERSION_MAJOR, CLQ_VERSION_MINOR, CLQ_VERSION_PATCH);
}

const char *clq_status_name(clq_status status)
{
    switch (status) {
    case CLQ_OK: return "CLQ_OK";
    case CLQ_ERROR_INVALID_ARGUMENT: return "CLQ_ERROR_INVALID_ARGUMENT";
    case CLQ_ERROR_DTYPE: return "CLQ_ERROR_DTYPE";
    case CLQ_ERROR_SHAPE: return "CLQ_ERROR_SHAPE";
    case CLQ_ERROR_PARAMETER: return "CLQ_ERROR_PARAMETER";
    case CLQ_ERROR_OVERLAP: return "CLQ_ERROR_OVERLAP";
    case CLQ_ERROR_OVERFLOW: return "CLQ_ERROR_OVERFLOW";
    case CLQ_ERROR_CONTEXT: return "CLQ_ERROR_CONTEXT";
    case CLQ_ERROR_OUT_OF_MEMORY: return "CLQ_ERROR_OUT_OF_MEMORY";
    case CLQ_ERROR_NO_DEVICE: return "CLQ_ERROR_NO_DEVICE";
    case CLQ_ERROR_ROUNDING: return "CLQ_ERROR_ROUNDING";
    case CLQ_ERROR_IO: return "CLQ_ERROR_IO";
    case CLQ_ERROR_FORMAT: return "CLQ_ERROR_FORMAT";
    case CLQ_ERROR_DEVICE: return "CLQ_ERROR_DEVICE";
    case CLQ_ERROR_FORKED: return "CLQ_ERROR_FORKED";
    }
    return "unknown status";
}

const char *clq_dtype_name(clq_dtype dtype)
{
    switch (dtype) {
    case CLQ_DTYPE_NONE: return "none";
    case CLQ_F32: return "f32";
    case CLQ_F16: return "f16";
    case CLQ_BF16: return "bf16";
    case CLQ_F64: return "f64";
    case CLQ_S8: return "s8";
    case CLQ_U8: return "u8";
    case CLQ_S4: return "s4";
    case CLQ_U4: return "u4";
    case CLQ_S16: return "s16";
    case CLQ_U16: return "u16";
    case CLQ_S32: return "s32";
    case CLQ_S64: return "s64";
    }
    return "unknown dtype";
}

int32_t clq_dtype_bits(clq_dtype dtype)
{
    return (uint32_t)dtype <= CLQ_S64 ? (int32_t)clq_bits(dtype) : 0;
}
