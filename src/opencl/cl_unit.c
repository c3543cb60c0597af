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

static const char *need_mfma_16(const struct clq_cl_device *device)
{
    static const char *const names[] = {"gfx908", "gfx90a", NULL};
    return is_gfx(device, names) ? NULL : "no AMD GPU with v_mfma_i32_16x16x16i8";
}

static const char *need_mfma_32(const struct clq_cl_device *device)
{
    static const char *const names[] = {"gfx940", "gfx941", "gfx942", "gfx950", NULL};
    return is_gfx(device, names) ? NULL : "no AMD GPU with v_mfma_i32_16x16x32_i8";
}

static const char *need_wmma(const struct clq_cl_device *device)
{
    static const char *const names[] = {"gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153", NULL};
    return is_gfx(device, names) ? NULL : "no AMD GPU with v_wmma_i32_16x16x16_iu8";
}

/* The shape of its blocks goes with the smallest sub-group: 8 lanes or 16. */
static const char *need_dpas(const struct clq_cl_device *device, int32_t lanes)
{
    if (!device->intel_matrix) return "no cl_intel_subgroup_matrix_multiply_accumulate and block reads of local memory";
    return device->intel_sub_group_size == lanes ? NULL : "sub-groups of another size";
}

static const char *need_dpas_8(const struct clq_cl_device *device)
{
    return need_dpas(device, 8);
}

static const char *need_dpas_16(const struct clq_cl_device *device)
{
    return need_dpas(device, 16);
}

static const char *need_arm_matrix(const struct clq_cl_device *device)
{
    return device->arm_matrix ? NULL : "no cl_arm_matrix_multiply";
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

#define MATRIX_TILINGS                                                                                     \
    {                                                                                                      \
        {128, 128, 256, 0.8f, ""}, {64, 128, 256, 0.7f, ""}, {128, 64, 256, 0.7f, ""}, {64, 64, 256, 0.5f, ""} \
    }
#define DPAS_TILINGS                                                                                       \
    {                                                                                                      \
        {128, 128, 512, 0.8f, ""}, {64, 128, 256, 0.7f, ""}, {128, 64, 256, 0.7f, ""}, {64, 64, 256, 0.5f, ""} \
    }

/* 48 KB of local memory hold as many stages. */
#define STAGES_2 " -D CLQ_STAGES=2"
#define STAGES_3 " -D CLQ_STAGES=3"

#define EMULATED "-cl-std=CL1.2 -D CLQ_DOT=0 -D CLQ_EMULATED"

const struct clq_cl_unit clq_cl_units[] = {
    {"nvidia-mma",
     CLQ_CL_GEMM_MMA,
     "-cl-std=CL1.2 -D CLQ_DOT=1",
     true,
     false,
     2048,
     need_mma,
     {{128, 128, 128, 0.8f, STAGES_3}, {128, 256, 256, 0.75f, STAGES_2}, {64, 128, 128, 0.6f, STAGES_3}, {64, 64, 128, 0.4f, STAGES_3}}},
    /* What sub-groups of 8 lanes spill with 128 x 128 results in 256 items, 512 items hold. */
    {"intel-dpas", CLQ_CL_GEMM_MATRIX, "-cl-std=CL1.2 -D CLQ_UNIT=5", false, false, 4096, need_dpas_16, DPAS_TILINGS},
    {"intel-dpas8", CLQ_CL_GEMM_MATRIX, "-cl-std=CL1.2 -D CLQ_UNIT=4", false, false, 4096, need_dpas_8, DPAS_TILINGS},
    {"amd-mfma", CLQ_CL_GEMM_MATRIX, "-cl-std=CL1.2 -D CLQ_DOT=3 -D CLQ_UNIT=2", false, false, 2048, need_mfma_32, MATRIX_TILINGS},
    {"amd-mfma16", CLQ_CL_GEMM_MATRIX, "-cl-std=CL1.2 -D CLQ_DOT=3 -D CLQ_UNIT=1", false, false, 1024, need_mfma_16, MATRIX_TILINGS},
    {"amd-wmma", CLQ_CL_GEMM_MATRIX, "-cl-std=CL1.2 -D CLQ_DOT=4 -D CLQ_UNIT=3", false, false, 512, need_wmma, MATRIX_TILINGS},
    /* Two work-groups of 256 are to be on a multiprocessor: left to itself, the end of the kernel would take a few registers too many. */
    {"nvidia-dp4a",
     CLQ_CL_GEMM_TILES,
     "-cl-std=CL1.2 -D CLQ_DOT=1",
     false,
     false,
     256,
     need_dp4a,
     {{128, 128, 256, 0.8f, ITEM_8 " -cl-nv-maxrregcount=128"}, {64, 64, 64, 0.7f, ITEM_8}, {64, 64, 256, 0.6f, ITEM_4}, {32, 32, 64, 0.4f, ITEM_4}}},
    {"khr-dot", CLQ_CL_GEMM_TILES, "-cl-std=CL3.0 -D CLQ_DOT=2", false, false, 256, need_khr_dot, DOT_TILINGS},
    {"amd-sudot4", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=4", false, false, 256, need_sudot4, DOT_TILINGS},
    {"amd-sdot4", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=3", false, false, 256, need_sdot4, DOT_TILINGS},
    {"arm-dot", CLQ_CL_GEMM_TILES, "-cl-std=CL1.2 -D CLQ_DOT=5", false, false, 64, need_arm_dot, DOT_TILINGS},
    /* Below its dot products: said to be no faster, and not measured here. */
    {"arm-matrix", CLQ_CL_GEMM_MATRIX, "-cl-std=CL1.2 -D CLQ_DOT=5 -D CLQ_UNIT=6", false, false, 64, need_arm_matrix, {{64, 64, 256, 0.5f, ""}}},
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
    {"mma-emulated", CLQ_CL_GEMM_MMA, EMULATED, true, true, 64, need_nothing, {{64, 64, 128, 0.4f, STAGES_3}}},
    {"mfma16-emulated", CLQ_CL_GEMM_MATRIX, EMULATED " -D CLQ_UNIT=1", false, true, 64, need_nothing, {{64, 64, 256, 0.4f, ""}}},
    {"mfma-emulated", CLQ_CL_GEMM_MATRIX, EMULATED " -D CLQ_UNIT=2", false, true, 64, need_nothing, {{64, 64, 256, 0.4f, ""}}},
    {"wmma-emulated", CLQ_CL_GEMM_MATRIX, EMULATED " -D CLQ_UNIT=3", false, true, 64, need_nothing, {{64, 64, 256, 0.4f, ""}}},
    {"dpas8-emulated", CLQ_CL_GEMM_MATRIX, EMULATED " -D CLQ_UNIT=4", false, true, 64, need_nothing, {{64, 64, 256, 0.4f, ""}}},
    {"dpas-emulated", CLQ_CL_GEMM_MATRIX, EMULATED " -D CLQ_UNIT=5", false, true, 64, need_nothing, {{64, 64, 256, 0.4f, ""}}},
    {"arm-matrix-emulated", CLQ_CL_GEMM_MATRIX, EMULATED " -D CLQ_UNIT=6", false, true, 64, need_nothing, {{64, 64, 256, 0.4f, ""}}},
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
    return tiling->m > 0 && (size_t)tiling->local_size <= device->max_group_size && is_small;
}
