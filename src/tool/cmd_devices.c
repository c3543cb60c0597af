/* SPDX-License-Identifier: MIT */
/* clquant devices: what was found, what would be used, and why. */
#include "config.h"

#include "tool/json.h"
#include "tool/table.h"
#include "tool/tool.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "usage: clquant devices [--json]\n"
                           "\n"
                           "Lists the devices of this machine, best first: what they are and have, where\n"
                           "compiled kernels are kept, which of them a program would use that leaves the\n"
                           "choice to the library, and why. CLQ_DEVICE, CLQ_CPU and CLQ_NUM_THREADS in\n"
                           "the environment change the choice. Files are worked on by the CPU unless\n"
                           "CLQ_DEVICE or --device names a device: their tensors come from the CPU's memory.\n"
                           "\n"
                           "      --json      the list as a JSON document\n"
                           "  -q, --quiet     no list: only the exit status\n"
                           "  -v, --verbose   what the library logs, on stderr\n"
                           "  -h, --help      this text\n";

/* What a device has none of takes no line. */
static void put_text(const char *title, const char *text)
{
    if (*text == 0) return;
    printf("  %-8s ", title);
    clq_tool_put_text(stdout, text);
    putchar('\n');
}

static bool is_cpu(const clq_device_info *info)
{
    return strcmp(info->id, "cpu") == 0;
}

static void print_list(const clq_device_info *infos, int32_t count)
{
    char memory[16];
    for (int32_t k = 0; k < count; k++) {
        const clq_device_info *info = &infos[k];
        printf("%s%s\n", info->id, info->chosen ? " (would be used)" : "");
        put_text("name", info->name);
        put_text("path", info->path);
        put_text("tables", info->tables);
        put_text("version", info->version);
        put_text("has", info->capabilities);
        printf("  %-8s %" PRId32 "\n", is_cpu(info) ? "threads" : "units", info->num_threads);
        put_text("memory",
                 info->memory_bytes > 0 ? clq_tool_bytes_text((double)info->memory_bytes, memory, sizeof memory) : "unknown");
        put_text("kernels", info->cache);
        put_text("products", info->matrix_products);
        put_text("why", info->reason);
    }
}

static void print_json(const clq_device_info *infos, int32_t count)
{
    struct clq_tool_json json = {.out = stdout, .line_depth = 2};
    clq_tool_json_open(&json, NULL, '{');
    clq_tool_json_string(&json, "command", "devices");
    clq_tool_json_string(&json, "version", clq_version());
    clq_tool_json_open(&json, "devices", '[');
    for (int32_t k = 0; k < count; k++) {
        const clq_device_info *info = &infos[k];
        clq_tool_json_open(&json, NULL, '{');
        clq_tool_json_string(&json, "id", info->id);
        clq_tool_json_string(&json, "name", info->name);
        clq_tool_json_string(&json, "path", info->path);
        if (is_cpu(info)) {
            clq_tool_json_string(&json, "tables", info->tables);
        } else {
            clq_tool_json_string(&json, "version", info->version);
            clq_tool_json_string(&json, "capabilities", info->capabilities);
            clq_tool_json_string(&json, "cache", info->cache);
            clq_tool_json_string(&json, "matrix_products", info->matrix_products);
        }
        clq_tool_json_integer(&json, is_cpu(info) ? "threads" : "compute_units", info->num_threads);
        clq_tool_json_integer(&json, "memory_bytes", info->memory_bytes);
        clq_tool_json_boolean(&json, "would_be_used", info->chosen != 0);
        clq_tool_json_string(&json, "reason", info->reason);
        clq_tool_json_close(&json, '{');
    }
    clq_tool_json_close(&json, '[');
    clq_tool_json_close(&json, '{');
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    int32_t count = 0;
    if (clq_tool_option(tool, argc, argv) == CLQ_TOOL_STOP) return tool->exit_status;
    if (!clq_tool_operands(tool, argc, argv, 0, "none")) return tool->exit_status;
    /* Whether the choice works, and that the variables behind it make sense, shows only in making it. */
    const int status = clq_tool_open_context(tool);
    if (status != 0) return status;
    clq_devices_list(NULL, 0, &count);
    clq_device_info *infos = calloc((size_t)count + 1, sizeof *infos);
    if (infos == NULL || clq_devices_list(infos, count, &count) != CLQ_OK) {
        free(infos);
        clq_tool_fail_memory();
        return CLQ_TOOL_FAILURE;
    }
    if (tool->json)
        print_json(infos, count);
    else if (!tool->quiet)
        print_list(infos, count);
    free(infos);
    return 0;
}

const struct clq_tool_command clq_tool_devices = {
    .name = "devices",
    .summary = "what this machine has, what would be used, and why",
    .help = help,
    .run = run,
};
