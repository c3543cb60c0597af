/* SPDX-License-Identifier: MIT */
/* Fuzz target: any bytes as a .safetensors, or as the index.json of two shards that are there. What can be read is written and
 * read again. */
#include "config.h"

#include "fuzz_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char one[] =
        "\x4e\0\0\0\0\0\0\0{\"__metadata__\":{\"k\":\"1\"},\"x\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    static const char two[] = "\x6b\0\0\0\0\0\0\0{\"y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                              "\"x\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[1,1]}}  d";
    static int shards_are_there;
    if (!shards_are_there) {
        fuzz_put("a.safetensors", one, sizeof one - 1);
        fuzz_put("b.safetensors", two, sizeof two - 1);
        if (fuzz_read("a.safetensors", 1) != CLQ_OK || fuzz_read("b.safetensors", 1) != CLQ_OK) abort();
        shards_are_there = 1;
    }
    fuzz_put("in", data, size);
    fuzz_read("in", 1);
    return 0;
}
