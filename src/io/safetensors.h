/* SPDX-License-Identifier: MIT */
/* Writing a .safetensors header; reading one is declared in file.h. */
#ifndef CLQ_IO_SAFETENSORS_H
#define CLQ_IO_SAFETENSORS_H

#include "io/text.h"
#include "io/writer.h"

/* Appends the header to `text`: its length, the JSON, and spaces up to a multiple of 64 bytes. The tensors' offsets are set. */
void clq_safetensors_write_header(struct clq_text *text, const struct clq_file_writer *writer);

#endif
