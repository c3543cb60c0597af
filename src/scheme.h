/* SPDX-License-Identifier: MIT */
/* Schemes and parameters, checked and brought to plain numbers and contiguous arrays. */
#ifndef CLQ_SCHEME_H
#define CLQ_SCHEME_H

#include "backend.h"
#include "validate.h"

/* A checked scheme. */
struct clq_scheme_info {
    clq_scheme scheme;        /* axis made non-negative */
    int32_t qmin, qmax;       /* the range that quantized values take: [z - P, z + P] for symmetric schemes */
    int32_t zero_point;       /* the fixed one, and that of an absent view */
    bool fixed_zero_point;    /* no other is allowed */
    struct clq_range_rule rule;
    int32_t param_rank;       /* shape of the parameters for the tensor at hand */
    int64_t param_shape[CLQ_MAX_RANK];
    int64_t param_count;
};

/* Checks everything but the tensor. */
clq_status clq_check_scheme(const struct clq_call *call, const clq_scheme *scheme, struct clq_scheme_info *info);

/* Checks axis and group size against a tensor that has passed clq_check_shape(), and sets the parameters' shape. */
clq_status clq_fit_scheme(const struct clq_call *call, const clq_tensor *x, const char *name, struct clq_scheme_info *info);

/* A parameter array: f32 or s32, of the shape that the scheme asks for. */
struct clq_param {
    struct clq_operand operand; /* tensor is NULL if absent */
    void *data;                 /* contiguous and aligned: the view's own memory, or `copy`; on a device an offset, of */
    void *device;               /* its memory: the view's, or `device_copy` */
    void *copy, *device_copy;
    int32_t inline_value;       /* serves as the copy of a single value */
};

/* `data` is the view's own memory: there is nothing to copy or to free. Both are NULL if it is absent. */
static inline bool clq_param_is_view(const struct clq_param *param)
{
    return param->data == param->operand.data && param->device == param->operand.device;
}

/* Checks a view of parameters; `data` is left NULL. */
clq_status clq_check_param(const struct clq_call *call, const char *name, const clq_tensor *tensor, clq_dtype dtype,
                           const struct clq_scheme_info *info, struct clq_param *param);

/* Makes `data` hold the values (load) or room for them; clq_param_store() brings results to the view; clq_param_free() ends both. All are
   fine with an absent parameter. */
clq_status clq_param_load(const struct clq_call *call, struct clq_param *param);
clq_status clq_param_room(const struct clq_call *call, struct clq_param *param);
clq_status clq_param_store(clq_context *context, struct clq_param *param);
void clq_param_free(clq_context *context, struct clq_param *param);

/* Scale and zero point as inputs: views, then values, of which those on a device are not looked at. Both are empty parameters before. */
clq_status clq_load_qparams(const struct clq_call *call, const clq_qparams *params, const struct clq_scheme_info *info, struct clq_param *scale,
                            struct clq_param *zero_point);

/* Replaces a loaded parameter on a device by a copy of its values in host memory, waiting for them. */
clq_status clq_param_fetch(const struct clq_call *call, struct clq_param *param);

/* The values of loaded parameters in host memory. */
clq_status clq_check_qparams(const struct clq_call *call, const struct clq_scheme_info *info, const struct clq_param *scale,
                             const struct clq_param *zero_point);

#endif
