/* SPDX-License-Identifier: MIT */
/* Choice among backends. */
#ifndef CLQ_RUN_H
#define CLQ_RUN_H

#include "backend.h"

/* Sets context->backend to the one called `device`, or the best if it is NULL. `source` names the option or variable in error texts. */
clq_status clq_choose_backend(clq_context *context, const char *device, const char *source);

#endif
