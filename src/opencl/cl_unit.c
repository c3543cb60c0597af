/* SPDX-License-Identifier: MIT */
/* The units, and how a device says that it has them. */
#include "config.h"

#include "opencl/cl_unit.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------ gates */

static const char *need_nothing(const struct clq_cl_device *device)
{
    (void)device;
    return NULL;
}

static const char *need_mma(const struct clq_cl_device *device)
{
    return device->nvidia_capability >= 80 ? NULL : "no NVIDIA GPU of compute capability 8.0";
}

static const char *need_dp4a(const struct clq_cl_device *device)
{
    return device->nvidia_capability >= 61 ? NULL : "no NVIDIA GPU of compute capability 6.1";
}

static const char *need_khr_dot(const struct clq_cl_device *device)
{
    return device->dot_product_packed ? NULL : "no cl_khr_integer_dot_product of packed bytes";
}

/* ROCm calls devices by their instruction sets, "gfx90a:sramecc+:xnack-". */
static bool is_gfx(const struct clq_cl_device *device, const char *const *names)
{
    for (; *names; ++names) {
        const size_t length = strlen(*names);
        if (strncmp(device->name, *names, length) == 0 && (device->name[length] == '\0' || device->name[length] == ':')) return true;
    }
    return false;
}

static const char *need_sdot4(const struct clq_cl_device *device)
{
    static const char *const names[] = {"gfx906",  "gfx908",  "gfx90a",  "gfx940",  "gfx941",  "gfx942",  "gfx1011", "gfx1012", "gfx1030", "gfx1031",
                                        "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036", NULL};
    return is_gfx(device, names) ? NULL : "no AMD GPU with v_dot4_i32_i8";
}

static const char *need_sudot4(const struct clq_cl_device *device)
{
    static const char *const names[] = {"gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1200", "gfx1201", NULL};
    return is_gfx(device, names) ? NULL : "no AMD GPU with v_dot4_i32_iu8";
}

static const char *need_arm_dot(const struct clq_cl_device *device)
{
    return device->arm_dot ? NULL : "no cl_arm_integer_dot_product_accumulate_int8";
}

/* ------------------------------------------------------------------------------------------------ table */

/* An item of the kernel in gemm_tiles.cl makes 8 x 8 or 4 x 4 results, and 32 or 64 of k are staged at a time. */
#define ITEM_8 " -D CLQ_ITEM=8 -D CLQ_STEP=32"
#define ITEM_4 " -D CLQ_ITEM=4 -D CLQ_STEP=64"
#define DOT_TILINGS                                                                                                   \
    {                                                                                                                 \
        {128, 128, 256, 0.8f, ITEM_8}, {64, 64, 64, 0.7f, ITEM_8}, {64, 64, 256, 0.6f, ITEM_4}, {32, 32, 64, 0.4f, ITEM_4} \
    }

/* 48 KB of local memory hold as many stages. */
#define STAGES_2 " -D CLQ_STAGES=2"
#define STAGES_3 " -D CLQ_STAGES=3"

const struct clq_cl_unit clq_cl_units[] = {
    {"nvidia-mma",
     CLQ_CL_GEMM_MMA,
     "-cl-std=CL1.2 -D CLQ_DOT=1",
     true,
     false,
     2048,
     need_mma,
     {{128, 128, 128, 0.8f, STAGES_3}, {128, 256, 256, 0.75f, STAGES_2}, {64, 128, 128, 0.6f, STAGES_3}, {64, 64, 128, 0.4f, STAGES_3}}},
    /* Two work-groups of 256 are to be on a multiprocessor: the end of the kernel, left to itself, would take more registers. */
    {"nvidia-dp4a", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -cl-nv-maxrregcount=128 -D CLQ_DOT=1", false, false, 256, need_dp4a, DOT_TILINGS},
    {"khr-dot", CLQ_CL_GEMM_TILES, "-cl-std=CL3.0 -D CLQ_DOT=2", false, false, 256, need_khr_dot, DOT_TILINGS},
    {"amd-sudot4", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=4", false, false, 256, need_sudot4, DOT_TILINGS},
    {"amd-sdot4", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=3", false, false, 256, need_sdot4, DOT_TILINGS},
    {"arm-dot", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=5", false, false, 64, need_arm_dot, DOT_TILINGS},
    /* The last one for devices with work-groups of 16. */
    {"portable",
     CLQ_CL_GEMM_TILES,
     "-cl-std=CL1.2 -D CLQ_DOT=0",
     false,
     false,
     64,
     need_nothing,
     {{128, 128, 256, 0.8f, ITEM_8}, {64, 64, 256, 0.6f, ITEM_4}, {32, 32, 64, 0.4f, ITEM_4}, {16, 16, 16, 0.2f, ITEM_4}}},
    {"portable-wide", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=0", false, true, 64, need_nothing, {{64, 64, 64, 0.7f, ITEM_8}}},
    {"mma-emulated", CLQ_CL_GEMM_MMA, "-cl-std=CL1.2 -D CLQ_DOT=0 -D CLQ_EMULATED", true, true, 64, need_nothing, {{64, 64, 128, 0.4f, STAGES_3}}},
};

const int32_t clq_cl_unit_count = (int32_t)(sizeof clq_cl_units / sizeof clq_cl_units[0]);

const struct clq_cl_unit *clq_cl_unit_find(const char *name)
{
    for (int32_t i = 0; i < clq_cl_unit_count; ++i)
        if (strcmp(name, clq_cl_units[i].name) == 0) return &clq_cl_units[i];
    return NULL;
}

bool clq_cl_tiling_fits(const struct clq_cl_unit *unit, const struct clq_cl_tiling *tiling, const struct clq_cl_device *device)
{
    /* Where a processor stands in for a device, items with many results take long to compile and win nothing. */
    const bool is_small = !(device->type & CL_DEVICE_TYPE_CPU) || unit->by_name_only || tiling->m * tiling->n <= 16 * tiling->local_size;
    return tiling->m > 0 && (size_t)tiling->local_size <= device->max_local_size && is_small;
}
