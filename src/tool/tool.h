/* SPDX-License-Identifier: MIT */
/*
 * What the commands of the program clquant share. Only the public headers of the library are used.
 *
 * Functions that can fail print their one line on stderr and return false, or an exit status that is not 0; their callers
 * only pass that on. Nothing is printed on stdout before the work is done.
 */
#ifndef CLQ_TOOL_H
#define CLQ_TOOL_H

#include "tool/workers.h"
#include <clquant.h>
#include <clquant_io.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses other than 0. */
enum { CLQ_TOOL_FAILURE = 1, CLQ_TOOL_USAGE = 2 };

struct clq_tool;

/* A command. All have --help, --json, --quiet and --verbose. */
struct clq_tool_command {
    const char *name, *summary, *help;
    bool computes;                /* has --device and --threads too */
    const char *letters;          /* options of its own that have a letter, as getopt_long() takes them; or NULL */
    const struct option *options; /* options of its own, the last one zeroed; or NULL */
    int (*run)(struct clq_tool *tool, int argc, char **argv);
};

extern const struct clq_tool_command clq_tool_devices, clq_tool_quantize, clq_tool_dequantize, clq_tool_inspect, clq_tool_compare, clq_tool_bench,
    clq_tool_tune;

/* Work of the kernels: bytes that they read and wrote, and seconds that they took. */
struct clq_tool_meter {
    double seconds;
    int64_t bytes;
};

/* The program's state. */
struct clq_tool {
    const struct clq_tool_command *command;
    bool json, quiet, verbose;
    const char *device;  /* NULL: CLQ_DEVICE, or the CPU */
    int32_t num_threads; /* of the CPU; as asked for, 0 if that was not, until the context is open */
    int exit_status; /* when clq_tool_option() returns CLQ_TOOL_STOP */
    clq_context *context;
    struct clq_tool_workers workers; /* of the context */
    clq_device_info info;
    double started;
    struct clq_tool_meter meter;
    int64_t calls, calls_on_cpu; /* of the kernels */
};

/* ---- options: options.c */

/* Creates the context that the options ask for, and fills in tool->info and num_threads. Returns an exit status. */
int clq_tool_open_context(struct clq_tool *tool);
void clq_tool_close_context(struct clq_tool *tool);

/* What clq_tool_option() returns for a command's own options without a letter starts at CLQ_TOOL_OWN. */
enum { CLQ_TOOL_STOP = -2, CLQ_TOOL_OWN = 300 };

/* As getopt_long(): returns an option that is the command's own, with its argument in `optarg`, or -1 after the last. Deals with
   the others itself. CLQ_TOOL_STOP: the command must return tool->exit_status (help was printed, or a usage error). */
int clq_tool_option(struct clq_tool *tool, int argc, char **argv);

/* True if there are exactly `count` operands. `names` describes them: "IN". */
bool clq_tool_operands(struct clq_tool *tool, int argc, char **argv, int count, const char *names);

/* A whole number in [least, most]. */
bool clq_tool_number(struct clq_tool *tool, const char *option, const char *text, int64_t least, int64_t most, int64_t *value);

/* Prints "clquant COMMAND: TEXT; try ..." and returns CLQ_TOOL_USAGE. */
int clq_tool_usage_error(struct clq_tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- lines on stderr, and the clock: report.c */

/* Prints "clquant: FILE: PLACE: FAULT", with characters that could disturb a terminal replaced; `file` and `place` may be NULL.
   Always returns false. */
bool clq_tool_fail(const char *file, const char *place, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same for the library's error text; `subject` may be NULL, or the name of a tensor. A text that is about a file names it
 * itself. */
bool clq_tool_fail_library(struct clq_tool *tool, const char *file, const char *subject, clq_status status);

/* "clquant: out of memory" */
bool clq_tool_fail_memory(void);

/* A line on stderr: `_note` unless --quiet, `_say` only with --verbose. */
void clq_tool_note(struct clq_tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));
void clq_tool_say(struct clq_tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `text` with control characters replaced. */
void clq_tool_put_text(FILE *out, const char *text);

/* True if all of stdout could be written; else says why not. */
bool clq_tool_flush_stdout(void);

/* Seconds on a clock that never jumps. */
double clq_tool_now(void);

/* Between the two, the kernels work; `bytes` is what they read and write. */
double clq_tool_meter_begin(void);
void clq_tool_meter_end(struct clq_tool *tool, double begun, int64_t bytes);

/* "path avx512, 2 threads" or, on a device, "path opencl, opencl:0": where the kernels ran. */
const char *clq_tool_place_text(const struct clq_tool *tool, char *text, size_t text_bytes);

/* Bytes per second in GB/s, 0 if there was no time to measure. */
double clq_tool_rate(const struct clq_tool_meter *meter);

#endif
