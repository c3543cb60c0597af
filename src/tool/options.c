/* SPDX-License-Identifier: MIT */
/* The options that commands share, and usage errors: one line, a hint, exit status 2. */
#include "config.h"

#include "tool/tool.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int clq_tool_usage_error(struct clq_tool *tool, const char *format, ...)
{
    char text[512];
    const char *name = tool->command != NULL ? tool->command->name : "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    clq_tool_fail(*name != 0 ? name : NULL, NULL, "%s; try 'clquant%s%s --help'", text, *name != 0 ? " " : "", name);
    return CLQ_TOOL_USAGE;
}

bool clq_tool_number(struct clq_tool *tool, const char *option, const char *text, int64_t least, int64_t most, int64_t *value)
{
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end != 0 || errno != 0 || number < least || number > most) {
        tool->exit_status =
            clq_tool_usage_error(tool, "%s '%s': must be a whole number from %" PRId64 " to %" PRId64, option, text, least, most);
        return false;
    }
    *value = number;
    return true;
}

enum { OPTION_JSON = 256, OPTION_DEVICE, OPTION_THREADS };
_Static_assert((int)OPTION_THREADS < (int)CLQ_TOOL_OWN, "shared options and those of a command have different values");

#define MAX_LETTERS 16
#define MAX_OPTIONS 24

/* The command's options and those that all have. */
static void collect(const struct clq_tool_command *command, char *letters, struct option *options)
{
    static const struct option shared[] = {{"help", no_argument, NULL, 'h'},
                                           {"json", no_argument, NULL, OPTION_JSON},
                                           {"quiet", no_argument, NULL, 'q'},
                                           {"verbose", no_argument, NULL, 'v'},
                                           {"device", required_argument, NULL, OPTION_DEVICE},
                                           {"threads", required_argument, NULL, OPTION_THREADS}};
    const int shared_count = command->computes ? 6 : 4;
    int count = 0;
    snprintf(letters, MAX_LETTERS, ":hqv%s", command->letters != NULL ? command->letters : "");
    for (const struct option *own = command->options; own != NULL && own->name != NULL && count + shared_count + 1 < MAX_OPTIONS;
         own++)
        options[count++] = *own;
    memcpy(options + count, shared, (size_t)shared_count * sizeof *options);
    options[count + shared_count] = (struct option){NULL, 0, NULL, 0};
}

/* What getopt_long() meant by '?' and ':'. */
static void explain(struct clq_tool *tool, int result, const char *argument, const struct option *options)
{
    const bool is_long = strncmp(argument, "--", 2) == 0;
    const int length = (int)strcspn(argument, "=");
    if (result == ':') {
        tool->exit_status = clq_tool_usage_error(tool, "option '%.*s' needs a value", length, argument);
        return;
    }
    for (; is_long && optopt != 0 && options->name != NULL; options++) {
        if (options->val != optopt) continue;
        tool->exit_status = clq_tool_usage_error(tool, "option '--%s' takes no value", options->name);
        return;
    }
    if (is_long || optopt == 0)
        tool->exit_status = clq_tool_usage_error(tool, "unknown option '%.*s'", length, argument);
    else
        tool->exit_status = clq_tool_usage_error(tool, "unknown option '-%c'", optopt);
}

int clq_tool_option(struct clq_tool *tool, int argc, char **argv)
{
    char letters[MAX_LETTERS];
    struct option options[MAX_OPTIONS];
    int64_t number;
    collect(tool->command, letters, options);
    opterr = 0;
    for (;;) {
        const int result = getopt_long(argc, argv, letters, options, NULL);
        switch (result) {
        case '?':
        case ':':
            explain(tool, result, argv[optind - 1], options);
            return CLQ_TOOL_STOP;
        case 'h':
            fputs(tool->command->help, stdout);
            tool->exit_status = 0;
            return CLQ_TOOL_STOP;
        case 'q':
            tool->quiet = true;
            break;
        case 'v':
            tool->verbose = true;
            break;
        case OPTION_JSON:
            tool->json = true;
            break;
        case OPTION_DEVICE:
            tool->device = optarg;
            break;
        case OPTION_THREADS:
            if (!clq_tool_number(tool, "--threads", optarg, 1, 1024, &number)) return CLQ_TOOL_STOP;
            tool->num_threads = (int32_t)number;
            break;
        default:
            return result;
        }
    }
}

bool clq_tool_operands(struct clq_tool *tool, int argc, char **argv, int count, const char *names)
{
    if (argc - optind < count)
        tool->exit_status = clq_tool_usage_error(tool, "missing operand: %s expected", names);
    else if (argc - optind > count)
        tool->exit_status = clq_tool_usage_error(tool, "stray argument '%s'", argv[optind + count]);
    else
        return true;
    return false;
}

static void log_line(void *opaque, clq_log_level level, const char *text)
{
    /* Errors are reported where they are handled. */
    if (level != CLQ_LOG_ERROR) clq_tool_say(opaque, "%s", text);
}

/* Files pass through the CPU's memory, so the CPU works on them unless somebody names a device. */
static const char *default_device(const struct clq_tool *tool)
{
    const char *variable = getenv("CLQ_DEVICE");
    const bool is_about_devices = tool->command == &clq_tool_devices || tool->command == &clq_tool_tune;
    const bool left_to_library = is_about_devices || (variable != NULL && *variable != 0);
    return left_to_library ? NULL : "cpu";
}

/* Threads of the CPU. A context on a device has them too, to copy to memory that the device reaches and to do what it fails, but
   tells only of the device. */
static clq_status count_threads(clq_context_options options, int32_t *count)
{
    clq_context *context;
    clq_device_info info;
    options.device = "cpu";
    options.log = NULL;
    clq_status status = clq_context_create(&options, &context);
    if (status == CLQ_OK) status = clq_context_info(context, &info);
    if (status == CLQ_OK) *count = info.num_threads;
    clq_context_free(context);
    return status;
}

int clq_tool_open_context(struct clq_tool *tool)
{
    char text[512] = "";
    clq_context_options options = CLQ_CONTEXT_OPTIONS_INIT;
    options.device = tool->device != NULL ? tool->device : default_device(tool);
    options.num_threads = tool->num_threads;
    options.parallel_for = clq_tool_workers_run;
    options.parallel_for_opaque = &tool->workers;
    options.log = log_line;
    options.log_opaque = tool;
    options.error_text = text;
    options.error_text_bytes = sizeof text;
    clq_status status = clq_context_create(&options, &tool->context);
    if (status == CLQ_OK) status = clq_context_info(tool->context, &tool->info);
    if (status == CLQ_OK) status = count_threads(options, &tool->num_threads);
    if (status != CLQ_OK) {
        const char *start = strncmp(text, "clq_", 4) == 0 ? strstr(text, ": ") : NULL;
        const char *fault = start != NULL ? start + 2 : *text != 0 ? text : clq_status_name(status);
        if (status == CLQ_ERROR_INVALID_ARGUMENT) return clq_tool_usage_error(tool, "%s", fault);
        clq_tool_fail(NULL, NULL, "%s", fault);
        return CLQ_TOOL_FAILURE;
    }
    clq_tool_workers_start(&tool->workers, tool->num_threads - 1);
    return 0;
}

void clq_tool_close_context(struct clq_tool *tool)
{
    if (tool->calls > 0 && strcmp(tool->info.id, "cpu") != 0)
        clq_tool_say(tool, "%s, %s: %" PRId64 " of %" PRId64 " calls ran there, the others on the CPU", tool->info.id,
                     tool->info.name, tool->calls - tool->calls_on_cpu, tool->calls);
    clq_context_free(tool->context);
    clq_tool_workers_stop(&tool->workers);
}
