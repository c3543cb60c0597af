/* SPDX-License-Identifier: MIT */
/* The progress bar. */
#ifndef CLQ_TOOL_PROGRESS_H
#define CLQ_TOOL_PROGRESS_H

#include "tool/tool.h"

/* A bar on stderr while `total_bytes` are worked through: only on a terminal, without --quiet, and once a second has passed. */
void clq_tool_progress_start(struct clq_tool *tool, int64_t total_bytes);
void clq_tool_progress_advance(int64_t bytes);

/* Removes it from the screen. Async-signal-safe, harmless without a bar. */
void clq_tool_progress_erase(void);

#endif
