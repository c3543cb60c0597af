/* SPDX-License-Identifier: MIT */
/* clquant tune: measures a device's kernels for matrix products. */
#include "config.h"

#include "tool/json.h"
#include "tool/tool.h"
#include <string.h>

static const char help[] = "usage: clquant tune [--device D] [--json]\n"
                           "\n"
                           "Finds out by which unit an OpenCL device multiplies integer matrices, measures\n"
                           "its kernels, and keeps the result beside the compiled ones: programs that use\n"
                           "the device with the same driver are then faster from the start. It takes some\n"
                           "seconds, in which nothing else should use the device. On the CPU there is\n"
                           "nothing to do.\n"
                           "\n"
                           "      --device D  opencl, or opencl:N as clquant devices counts; else the best\n"
                           "      --threads N CPU threads that help with copies\n"
                           "      --json      the result as a JSON document\n"
                           "  -q, --quiet     no report: only the exit status\n"
                           "  -v, --verbose   what the library logs, on stderr\n"
                           "  -h, --help      this text\n";

static void print_json(const clq_device_info *info)
{
    struct clq_tool_json json = {.out = stdout, .line_depth = 1};
    clq_tool_json_open(&json, NULL, '{');
    clq_tool_json_string(&json, "command", "tune");
    clq_tool_json_string(&json, "version", clq_version());
    clq_tool_json_string(&json, "id", info->id);
    clq_tool_json_string(&json, "name", info->name);
    clq_tool_json_string(&json, "matrix_products", info->matrix_products);
    clq_tool_json_close(&json, '{');
}

static void print_text(const clq_device_info *info)
{
    printf("%s ", info->id);
    clq_tool_put_text(stdout, info->name);
    printf("\n  products ");
    clq_tool_put_text(stdout, *info->matrix_products ? info->matrix_products : "nothing to do on the CPU");
    putchar('\n');
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    clq_device_info info;
    if (clq_tool_option(tool, argc, argv) == CLQ_TOOL_STOP) return tool->exit_status;
    if (!clq_tool_operands(tool, argc, argv, 0, "none")) return tool->exit_status;
    const int status = clq_tool_open_context(tool);
    if (status != 0) return status;
    clq_status tuned = clq_context_tune(tool->context);
    if (tuned == CLQ_OK) tuned = clq_context_info(tool->context, &info);
    if (tuned != CLQ_OK) {
        clq_tool_fail_library(tool, NULL, NULL, tuned);
        return CLQ_TOOL_FAILURE;
    }
    if (tool->json)
        print_json(&info);
    else if (!tool->quiet)
        print_text(&info);
    return 0;
}

const struct clq_tool_command clq_tool_tune = {
    .name = "tune",
    .summary = "measure a device's kernels for matrix products",
    .help = help,
    .computes = true,
    .run = run,
};
