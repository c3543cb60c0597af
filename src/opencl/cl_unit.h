/* SPDX-License-Identifier: MIT */
/*
 * The ladder of dot-product units: what a device may have for integer matrix products, best first. A unit is used if the device says that it has it, its
 * kernels compile, and they give the right numbers for a small product, which is tried once for each driver and remembered beside the compiled programs.
 */
#ifndef CLQ_OPENCL_CL_UNIT_H
#define CLQ_OPENCL_CL_UNIT_H

#include "opencl/cl_program.h"

#define CLQ_CL_TILINGS 4

/* A form of a unit's kernel: a work-group makes m x n results. */
struct clq_cl_tiling {
    int32_t m, n;         /* 0: there is none */
    int32_t local_size;
    float efficiency;     /* of a device full of such tiles: the share of the unit's rate that is reached, until somebody has measured it */
    const char *defines;  /* that the program is built with besides m, n and local_size */
};

struct clq_cl_unit {
    const char *name;
    enum clq_cl_file file;
    const char *options;  /* the language's version and what dot product or matrix unit the program is for */
    bool takes_u8;        /* the tiles' kernel reads lines of u8 as they are, else less 128 as s8 */
    bool by_name_only;    /* for the tests */
    int32_t macs;         /* multiplications and additions of a compute unit in a clock, for comparisons of tilings alone */
    /* NULL if the device says that it has it, else what is missing. */
    const char *(*find_obstacle)(const struct clq_cl_device *device);
    struct clq_cl_tiling tilings[CLQ_CL_TILINGS];
};

/* All units, best first; the last but those by name only needs nothing. */
extern const struct clq_cl_unit clq_cl_units[];
extern const int32_t clq_cl_unit_count;

/* NULL: there is none of this name. */
const struct clq_cl_unit *clq_cl_unit_find(const char *name);

/* The device has work-groups large enough for the tiling; and one that is a processor does not take long to compile it. */
bool clq_cl_tiling_fits(const struct clq_cl_unit *unit, const struct clq_cl_tiling *tiling, const struct clq_cl_device *device);

#endif
