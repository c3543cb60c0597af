/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share. */
#ifndef CLQ_TESTS_FUZZ_FILE_H
#define CLQ_TESTS_FUZZ_FILE_H

#include <clquant_io.h>

/* A target: libFuzzer calls it, or replay_main.c with the files of a folder. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes a file into the target's folder, which is made in memory where there is /dev/shm, and removed at exit. */
void fuzz_put(const char *name, const void *data, size_t size);

/* Opens that file, checks what the header says of the result, and reads its data. If `rewrite` is set, what was read is written
   as a .safetensors and must be read again as the same. Aborts when something is not so. Returns what opening did. */
clq_status fuzz_read(const char *name, int rewrite);

#endif
