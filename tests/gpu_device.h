/* SPDX-License-Identifier: MIT */
/* What the measuring programs share: an OpenCL device, errors that end the program, and the time of many queued calls. */
#ifndef CLQ_TESTS_GPU_DEVICE_H
#define CLQ_TESTS_GPU_DEVICE_H

#include <clquant_opencl.h>

#define REPEATS 7

extern const char *program_name; /* of messages; the program sets it first */
extern cl_context cl;
extern cl_device_id device;
extern cl_command_queue queue;

typedef void (*work_fn)(void *argument);

/* Seconds on a clock. */
double now(void);

/* Say what went wrong, and end the program, if something did. */
void fail(const char *what, const char *text);
void cl_ok(cl_int code, const char *what);
void ok(clq_context *context, clq_status status, const char *what);

/* Zeroed memory, or the program's end. */
void *allocate(int64_t size_bytes);

/* Opens the OpenCL device that the library lists as `number`, with a context and a queue of the program's own. */
void open_device(int number);
void close_device(void);

/* Seconds that so many calls take, from the first one to where all work is complete; `context` may be NULL. */
double run_many(work_fn work, void *argument, clq_context *context, int64_t calls);

/* Seconds of a call, REPEATS times, ascending. */
void time_repeats(work_fn work, void *argument, clq_context *context, int64_t calls, double times[REPEATS]);

#endif
