/* SPDX-License-Identifier: MIT */
/* Fuzz target: any bytes as a .npy. */
#include "config.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_put("in.npy", data, size);
    fuzz_read("in.npy", 0);
    return 0;
}
