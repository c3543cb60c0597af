/* SPDX-License-Identifier: MIT */
/* What the program says on stderr, and the clock behind its figures. */
#include "config.h"

#include "tool/progress.h"
#include "tool/tool.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

/* Names in a file are anyone's bytes: a newline would make two lines of one, an escape would drive the terminal. */
void clq_tool_put_text(FILE *out, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            putc('?', out);
        } else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) { /* U+0080 to U+009F */
            putc('?', out);
            c++;
        } else {
            putc(*c, out);
        }
    }
}

static void print_line(const char *file, const char *place, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static void print_line(const char *file, const char *place, const char *format, va_list arguments)
{
    char text[1024];
    const char *parts[] = {file, place, text};
    vsnprintf(text, sizeof text, format, arguments);
    clq_tool_progress_erase();
    fputs("clquant", stderr);
    for (int k = 0; k < 3; k++) {
        if (parts[k] == NULL) continue;
        fputs(": ", stderr);
        clq_tool_put_text(stderr, parts[k]);
    }
    putc('\n', stderr);
}

bool clq_tool_fail(const char *file, const char *place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(file, place, format, arguments);
    va_end(arguments);
    return false;
}

bool clq_tool_fail_library(struct clq_tool *tool, const char *file, const char *subject, clq_status status)
{
    const char *text = clq_context_error(tool->context);
    if (*text == 0) text = clq_status_name(status);
    if (strncmp(text, "clq_", 4) != 0) return clq_tool_fail(NULL, NULL, "%s", text); /* of a file, which the text names */
    const char *end = strstr(text, ": ");
    if (end != NULL) text = end + 2; /* the function's name says nothing to a user */
    return subject == NULL ? clq_tool_fail(file, NULL, "%s", text)
                           : clq_tool_fail(file, NULL, "tensor \"%s\": %s", subject, text);
}

bool clq_tool_fail_memory(void)
{
    return clq_tool_fail(NULL, NULL, "out of memory");
}

void clq_tool_note(struct clq_tool *tool, const char *format, ...)
{
    va_list arguments;
    if (tool->quiet) return;
    va_start(arguments, format);
    print_line("note", NULL, format, arguments);
    va_end(arguments);
}

void clq_tool_say(struct clq_tool *tool, const char *format, ...)
{
    va_list arguments;
    if (!tool->verbose) return;
    va_start(arguments, format);
    print_line(NULL, NULL, format, arguments);
    va_end(arguments);
}

bool clq_tool_flush_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    return clq_tool_fail("standard output", NULL, "%s", strerror(errno));
}

/* ---------------------------------------------------------------------------------------------- time */

double clq_tool_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double clq_tool_meter_begin(void)
{
    return clq_tool_now();
}

void clq_tool_meter_end(struct clq_tool *tool, double begun, int64_t bytes)
{
    tool->meter.seconds += clq_tool_now() - begun;
    tool->meter.bytes += bytes;
    tool->calls++;
    tool->calls_on_cpu += strcmp(clq_context_ran_on(tool->context), "cpu") == 0;
}

const char *clq_tool_place_text(const struct clq_tool *tool, char *text, size_t text_bytes)
{
    const char *path = tool->info.path, *id = tool->info.id;
    if (strcmp(id, "cpu") == 0)
        snprintf(text, text_bytes, "path %s, %" PRId32 " thread%s", path, tool->num_threads, tool->num_threads == 1 ? "" : "s");
    else if (tool->calls_on_cpu == 0)
        snprintf(text, text_bytes, "path %s, %s", path, id);
    else
        snprintf(text, text_bytes, "path %s, %s, which left %" PRId64 " of %" PRId64 " calls to the CPU", path, id,
                 tool->calls_on_cpu, tool->calls);
    return text;
}

double clq_tool_rate(const struct clq_tool_meter *meter)
{
    return meter->seconds > 0 ? (double)meter->bytes / meter->seconds * 1e-9 : 0;
}
