/* SPDX-License-Identifier: MIT */
/* Writing a .npy header; reading one is declared in file.h. */
#ifndef CLQ_IO_NPY_H
#define CLQ_IO_NPY_H

#include "io/text.h"
#include "io/writer.h"

/* Appends the header, magic to newline, to `text`: a multiple of 64 bytes, the same as NumPy's. */
void clq_npy_write_header(struct clq_text *text, const struct clq_writer_tensor *tensor);

#endif
