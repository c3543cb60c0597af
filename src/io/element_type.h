/* SPDX-License-Identifier: MIT */
/* The element types of the two formats. */
#ifndef CLQ_IO_ELEMENT_TYPE_H
#define CLQ_IO_ELEMENT_TYPE_H

#include <clquant_io.h>

struct clq_element_type {
    const char *safetensors_name;
    const char *npy_code; /* kind and size of NumPy's type string, "f4"; NULL: NumPy has none */
    clq_dtype dtype;      /* CLQ_DTYPE_NONE: only carried */
    int32_t bits;
};

/* NULL if there is no such type. */
const struct clq_element_type *clq_element_type_safetensors(const char *name);
const struct clq_element_type *clq_element_type_npy(const char *code);

/* Elements and bytes of a tensor whose extents are 0 or more. CLQ_ERROR_OVERFLOW if 63 bits do not hold the product of the
   extents that are not 0, or its bytes; CLQ_ERROR_SHAPE if the data does not end on a byte. */
clq_status clq_element_type_measure(const struct clq_element_type *type, int32_t rank, const int64_t *shape,
                                    int64_t *element_count, int64_t *size_bytes);

#endif
