/* SPDX-License-Identifier: MIT */
/*
 * Compiled programs on disk. A file is named after a SHA-256 of everything its contents depend on and carries a SHA-256 of
 * itself, since PoCL abort()s on a damaged binary. Nothing here is ever an error: what is odd means that the program is built
 * again. Any number of processes and threads may use one folder at a time.
 */
#ifndef CLQ_OPENCL_CL_CACHE_H
#define CLQ_OPENCL_CL_CACHE_H

#include "base/sha256.h"
#include "opencl/cl_device.h"

#define CLQ_CL_CACHE_KEY_BYTES CLQ_SHA256_BYTES
#define CLQ_CL_CACHE_FILES     1024
#define CLQ_CL_CACHE_BYTES     (INT64_C(1) << 30)

struct clq_cl_cache {
    char *folder;      /* NULL: no cache, `reason` says why */
    int32_t max_files; /* CLQ_CL_CACHE_FILES, CLQ_CL_CACHE_BYTES; the tests lower them */
    int64_t max_bytes;
    char reason[160];
};

/*
 * Finds the folder: $CLQ_CACHE_DIR; else clquant in $XDG_CACHE_HOME, if that is an absolute path; else $HOME/.cache/clquant. An
 * empty variable counts as unset. Creates what is missing of it, but not $HOME, with mode 0700. Leaves the cache off if the
 * folder is not ours alone to write to. The variables of a process that runs with another user's rights are not believed.
 */
void clq_cl_cache_open(struct clq_cl_cache *cache, const clq_allocator *allocator);

/* The same allocator. A zeroed or closed cache is fine. */
void clq_cl_cache_close(struct clq_cl_cache *cache, const clq_allocator *allocator);

/* The key of a program: its sources as clCreateProgramWithSource() takes them (`lengths`, or an entry, may be missing: up to the
   NUL), its options, the device and its driver. */
void clq_cl_cache_key(const struct clq_cl_device *device, int32_t count, const char *const *sources, const size_t *lengths,
                      const char *options, uint8_t key[CLQ_CL_CACHE_KEY_BYTES]);

/* True: *binary is to be freed with clq_dealloc(). False: there is none that can be used, and nothing is touched. */
bool clq_cl_cache_load(const struct clq_cl_cache *cache, const clq_allocator *allocator,
                       const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], uint8_t **binary, size_t *size_bytes);

/* True if it is stored now. The programs that were not used for longest make room for it. */
bool clq_cl_cache_store(const struct clq_cl_cache *cache, const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], const void *binary,
                        size_t size_bytes);

/* "/home/u/.cache/clquant, 12 programs, 340 KB" or "off: HOME is not set". */
void clq_cl_cache_describe(const struct clq_cl_cache *cache, char *text, size_t size_bytes);

#endif
