/* SPDX-License-Identifier: MIT */
/* The element types of the two formats: the names of .safetensors, NumPy's codes, what clquant calls them. */
#include "config.h"

#include "io/element_type.h"

#include "base/util.h"
#include <stdbool.h>
#include <string.h>

static const struct clq_element_type element_types[] = {
    {"F32", "f4", CLQ_F32, 32},
    {"F16", "f2", CLQ_F16, 16},
    {"BF16", NULL, CLQ_BF16, 16},
    {"F64", "f8", CLQ_F64, 64},
    {"I8", "i1", CLQ_S8, 8},
    {"U8", "u1", CLQ_U8, 8},
    {"I16", "i2", CLQ_S16, 16},
    {"U16", "u2", CLQ_U16, 16},
    {"I32", "i4", CLQ_S32, 32},
    {"I64", "i8", CLQ_S64, 64},
    {"U32", "u4", CLQ_DTYPE_NONE, 32},
    {"U64", "u8", CLQ_DTYPE_NONE, 64},
    {"BOOL", "b1", CLQ_DTYPE_NONE, 8},
    {"F8_E5M2", NULL, CLQ_DTYPE_NONE, 8},
    {"F8_E4M3", NULL, CLQ_DTYPE_NONE, 8},
    {"F8_E8M0", NULL, CLQ_DTYPE_NONE, 8},
    {"F8_E4M3FNUZ", NULL, CLQ_DTYPE_NONE, 8},
    {"F8_E5M2FNUZ", NULL, CLQ_DTYPE_NONE, 8},
    {"F6_E2M3", NULL, CLQ_DTYPE_NONE, 6},
    {"F6_E3M2", NULL, CLQ_DTYPE_NONE, 6},
    {"F4", NULL, CLQ_DTYPE_NONE, 4},
    {"C64", NULL, CLQ_DTYPE_NONE, 64},
};
enum { ELEMENT_TYPE_COUNT = sizeof element_types / sizeof element_types[0] };

const struct clq_element_type *clq_element_type_safetensors(const char *name)
{
    for (int i = 0; i < ELEMENT_TYPE_COUNT; i++)
        if (strcmp(element_types[i].safetensors_name, name) == 0) return &element_types[i];
    return NULL;
}

const struct clq_element_type *clq_element_type_npy(const char *code)
{
    for (int i = 0; i < ELEMENT_TYPE_COUNT; i++)
        if (element_types[i].npy_code != NULL && strcmp(element_types[i].npy_code, code) == 0) return &element_types[i];
    return NULL;
}

clq_status clq_element_type_measure(const struct clq_element_type *type, int32_t rank, const int64_t *shape,
                                    int64_t *element_count, int64_t *size_bytes)
{
    /* Extents of 0 are left out of the product, as NumPy does: a huge shape must not hide behind a 0. */
    int64_t count = 1, bytes;
    bool empty = false;
    for (int32_t i = 0; i < rank; i++) {
        if (shape[i] == 0)
            empty = true;
        else if (!clq_mul_i64(count, shape[i], &count))
            return CLQ_ERROR_OVERFLOW;
    }
    if (type->bits % 8 == 0) {
        if (!clq_mul_i64(count, type->bits / 8, &bytes)) return CLQ_ERROR_OVERFLOW;
    } else {
        if (!clq_mul_i64(count, type->bits, &bytes)) return CLQ_ERROR_OVERFLOW;
        if (!empty && bytes % 8 != 0) return CLQ_ERROR_SHAPE;
        bytes /= 8;
    }
    *element_count = empty ? 0 : count;
    *size_bytes = empty ? 0 : bytes;
    return CLQ_OK;
}
