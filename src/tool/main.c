/* SPDX-License-Identifier: MIT */
/* The program clquant: finds the command, runs it, and sees to it that what it printed arrived. */
#include "config.h"

#include "tool/tool.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct clq_tool_command *const commands[] = {&clq_tool_devices, &clq_tool_quantize, &clq_tool_dequantize,
                                                          &clq_tool_inspect, &clq_tool_compare,  &clq_tool_bench,
                                                          &clq_tool_tune};

#define COMMANDS (sizeof commands / sizeof *commands)

static void print_help(void)
{
    fputs("usage: clquant COMMAND [ARGUMENT...]\n"
          "\n"
          "Quantizes the tensors of .npy and .safetensors files, with the same bits on\n"
          "every machine.\n"
          "\n",
          stdout);
    for (size_t k = 0; k < COMMANDS; k++)
        printf("  %-11s  %s\n", commands[k]->name, commands[k]->summary);
    fputs("\n"
          "'clquant COMMAND --help' tells more. --version prints the version.\n"
          "\n"
          "Exit status: 0, done; 1, a file or the system is at fault; 2, the command line is.\n",
          stdout);
}

static int run(struct clq_tool *tool, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name == NULL) return clq_tool_usage_error(tool, "no command");
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "--version") == 0) {
        if (argc > 2) return clq_tool_usage_error(tool, "stray argument '%s'", argv[2]);
        if (name[2] == 'v')
            printf("clquant %s\n", clq_version());
        else
            print_help();
        return 0;
    }
    if (*name == '-') return clq_tool_usage_error(tool, "unknown option '%s'", name);
    for (size_t k = 0; k < COMMANDS; k++) {
        if (strcmp(name, commands[k]->name) != 0) continue;
        tool->command = commands[k];
        return commands[k]->run(tool, argc - 1, argv + 1);
    }
    return clq_tool_usage_error(tool, "unknown command '%s'", name);
}

int main(int argc, char **argv)
{
    static char stdout_buffer[BUFSIZ]; /* so that printing needs no memory that could be missing */
    struct clq_tool tool = {.started = clq_tool_now()};
    setvbuf(stdout, stdout_buffer, _IOFBF, sizeof stdout_buffer);
    signal(SIGXFSZ, SIG_IGN); /* a file that grows too large is an error of write() */
    int status = run(&tool, argc, argv);
    clq_tool_close_context(&tool);
    if (status == 0 && !clq_tool_flush_stdout()) status = CLQ_TOOL_FAILURE;
    return status;
}
