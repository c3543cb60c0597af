/* SPDX-License-Identifier: MIT */
/* Choice among backends. */
#ifndef CLQ_RUN_H
#define CLQ_RUN_H

#include "backend.h"

/*
 * Sets context->backend up as options->device says, the best if that is NULL, and the CPU besides. With `foreign`, a struct that only the
 * OpenCL backend knows, the caller has chosen already.
 */
clq_status clq_choose_backend(clq_context *context, const clq_context_options *options, const struct clq_option_sources *sources,
                              const void *foreign);

/* Undoes clq_choose_backend(), which may have failed halfway. */
void clq_free_backends(clq_context *context);

#endif
