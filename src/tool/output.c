/* SPDX-License-Identifier: MIT */
/*
 * The file being written, and its removal when a signal ends the program.
 *
 * The library writes under a temporary name and renames at the end, so an old file is never touched before. What remains is a
 * temporary file if the program is killed: the handler removes it and lets the signal have its usual effect.
 */
#include "config.h"

#include "tool/output.h"

#include "tool/progress.h"
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Lock-free atomics, because the handler may run on any thread. A signal that arrives while a file is being made waits in
   `pending` until its name is known. */
static atomic_int making, pending, has_temporary;
static char temporary_path[PATH_MAX];

static void remove_temporary(void)
{
    if (atomic_load(&has_temporary)) unlink(temporary_path);
}

static void on_signal(int number)
{
    sigset_t own;
    atomic_store(&pending, number);
    if (atomic_load(&making)) return;
    clq_tool_progress_erase();
    remove_temporary();
    signal(number, SIG_DFL);
    sigemptyset(&own);
    sigaddset(&own, number);
    pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    raise(number);
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU};
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigemptyset(&action.sa_mask);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        sigaddset(&action.sa_mask, numbers[k]);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        /* What the caller ignores stays ignored: nohup, background jobs. */
        if (sigaction(numbers[k], NULL, &old) == 0 && old.sa_handler == SIG_DFL) sigaction(numbers[k], &action, NULL);
    }
    atexit(remove_temporary); /* the OpenMP runtime may call exit() when memory is short */
}

bool clq_tool_output_open(struct clq_tool *tool, const char *path, clq_file_format format, struct clq_tool_output *output)
{
    static bool caught;
    *output = (struct clq_tool_output){.path = path};
    if (!caught) catch_signals();
    caught = true;
    atomic_store(&making, 1);
    const clq_status status = clq_file_writer_create(tool->context, path, format, &output->writer);
    if (status == CLQ_OK) {
        const char *temporary = clq_file_writer_temporary_path(output->writer);
        const size_t length = strlen(temporary);
        if (length < sizeof temporary_path) {
            memcpy(temporary_path, temporary, length + 1);
            atomic_store(&has_temporary, 1);
        }
    }
    atomic_store(&making, 0);
    if (atomic_load(&pending)) on_signal(atomic_load(&pending));
    return status == CLQ_OK || clq_tool_fail_library(tool, path, NULL, status);
}

bool clq_tool_output_metadata(struct clq_tool *tool, struct clq_tool_output *output, const char *key, const char *value)
{
    const clq_status status = clq_file_writer_add_metadata(tool->context, output->writer, key, value);
    return status == CLQ_OK || clq_tool_fail_library(tool, output->path, NULL, status);
}

bool clq_tool_output_tensor(struct clq_tool *tool, struct clq_tool_output *output, const char *name, const char *dtype_name,
                            int32_t rank, const int64_t *shape, int64_t *index)
{
    const clq_status status = clq_file_writer_add_tensor(tool->context, output->writer, name, dtype_name, rank, shape, index);
    return status == CLQ_OK || clq_tool_fail_library(tool, output->path, NULL, status);
}

bool clq_tool_output_write(struct clq_tool *tool, struct clq_tool_output *output, int64_t index, int64_t offset_bytes,
                           int64_t size_bytes, const void *data)
{
    const clq_status status = clq_file_writer_write(tool->context, output->writer, index, offset_bytes, size_bytes, data);
    return status == CLQ_OK || clq_tool_fail_library(tool, output->path, NULL, status);
}

bool clq_tool_output_commit(struct clq_tool *tool, struct clq_tool_output *output)
{
    const clq_status status = clq_file_writer_commit(tool->context, output->writer);
    return status == CLQ_OK || clq_tool_fail_library(tool, output->path, NULL, status);
}

void clq_tool_output_close(struct clq_tool_output *output)
{
    clq_file_writer_free(output->writer);
    output->writer = NULL;
    atomic_store(&has_temporary, 0);
}

/* ---------------------------------------------------------------------------------------------- what passes through */

bool clq_tool_output_copy_metadata(struct clq_tool *tool, struct clq_tool_output *output, const struct clq_tool_catalog *catalog,
                                   bool keep_records)
{
    const char *key, *value;
    for (int64_t k = 0; clq_file_metadata_at(catalog->file, k, &key, &value); k++) {
        const bool is_record = strncmp(key, CLQ_TOOL_KEY_TENSOR, strlen(CLQ_TOOL_KEY_TENSOR)) == 0;
        if (strcmp(key, CLQ_TOOL_KEY_VERSION) == 0 || (is_record && !keep_records)) continue;
        if (!clq_tool_output_metadata(tool, output, key, value)) return false;
    }
    return true;
}

bool clq_tool_output_declare_copy(struct clq_tool *tool, struct clq_tool_output *output, const struct clq_tool_entry *entry,
                                  int64_t *index)
{
    const clq_file_tensor *tensor = entry->tensor;
    /* A .npy spells its types in another way; of those, all that clquant knows by number have a name here too. */
    const char *name = clq_tool_word_of(clq_tool_file_dtypes, (int)tensor->dtype);
    return clq_tool_output_tensor(tool, output, tensor->name, name != NULL ? name : tensor->dtype_name, tensor->rank,
                                  tensor->shape, index);
}

bool clq_tool_output_copy(struct clq_tool *tool, struct clq_tool_output *output, struct clq_tool_catalog *catalog,
                          const struct clq_tool_entry *entry, int64_t index)
{
    const int64_t piece = CLQ_TOOL_CHUNK_ELEMENTS, total = entry->tensor->size_bytes;
    void *data = clq_tool_reserve(&catalog->raw, total < piece ? total : piece);
    if (data == NULL) return false;
    for (int64_t done = 0; done < total;) {
        const int64_t bytes = total - done < piece ? total - done : piece;
        if (!clq_tool_read(tool, catalog, entry->index, done, bytes, data) ||
            !clq_tool_output_write(tool, output, index, done, bytes, data))
            return false;
        clq_tool_progress_advance(bytes);
        done += bytes;
    }
    return true;
}
