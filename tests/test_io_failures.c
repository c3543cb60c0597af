/* SPDX-License-Identifier: MIT */
/* The system gives out: every allocation fails once, a limit on file sizes and on open files stands for a full disk and a full
 * table. */
#include "config.h"

#include "io_support.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#define ENTRY(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* ---- the system's calls, which the library finds here before the C library's */

static struct {
    size_t most_bytes;           /* a call moves no more; 0: any number */
    int interrupted;             /* so many calls fail with EINTR first, before each that moves something */
    int interruptions;           /* since the last that did */
    int read_fails, write_fails; /* the call with this number, counted down to 1, fails with `error`; 0: none does */
    int fsync_fails;
    int error;
} faults;

/* True if this call is to fail; sets errno. */
static bool is_faulty(int *countdown)
{
    if (faults.interruptions < faults.interrupted) {
        faults.interruptions++;
        errno = EINTR;
        return true;
    }
    faults.interruptions = 0;
    errno = faults.error;
    return *countdown > 0 && --*countdown == 0;
}

static struct iovec piece_of(const void *data, size_t size)
{
    return (struct iovec){(void *)(uintptr_t)data, faults.most_bytes > 0 && faults.most_bytes < size ? faults.most_bytes : size};
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    const struct iovec piece = piece_of(data, size);
    return is_faulty(&faults.read_fails) ? -1 : preadv(fd, &piece, 1, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    const struct iovec piece = piece_of(data, size);
    return is_faulty(&faults.write_fails) ? -1 : pwritev(fd, &piece, 1, offset);
}

int fsync(int fd)
{
    (void)fd;
    errno = faults.error;
    return faults.fsync_fails > 0 && --faults.fsync_fails == 0 ? -1 : 0;
}

/* ---- tests */

static void put_files(void)
{
    char json[4096], *end = json;
    /* More entries, extents and keys than the tables begin with. */
    end += sprintf(end, "{\"__metadata__\":{");
    for (int i = 0; i < 40; i++)
        end += sprintf(end, "%s\"k%d\":\"v\"", i == 0 ? "" : ",", i);
    end += sprintf(end, "}");
    for (int i = 0; i < 40; i++)
        end += sprintf(end, ",\"t%d\":" ENTRY("U8", "[1,1]", "[%d,%d]"), i, i, i + 1);
    sprintf(end, "}");
    io_put_safetensors("m.safetensors", json, 40);
    io_put_safetensors("n.safetensors", "{\"u\":" ENTRY("F32", "[2]", "[0,8]") "}", 8);
    io_put_npy("a.npy", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", 24);
    end = json + sprintf(json, "{\"weight_map\":{\"u\":\"n.safetensors\"");
    for (int i = 0; i < 40; i++)
        end += sprintf(end, ",\"t%d\":\"m.safetensors\"", i);
    sprintf(end, "}}");
    io_put_text("i.index.json", json);
}

/* Each allocation of opening and reading fails once: a status, nothing leaked, and the next attempt is fine. */
START_TEST(reading_without_memory)
{
    static const char *const names[] = {"a.npy", "m.safetensors", "i.index.json"};
    put_files();
    for (size_t i = 0; i < TEST_COUNT_OF(names); i++) {
        struct test_allocator allocator = {0};
        clq_context *context = io_context(&allocator);
        const long long live = atomic_load(&allocator.live);
        const int64_t open_files = io_open_count();
        clq_status status = CLQ_ERROR_OUT_OF_MEMORY;
        int attempts = 0;
        for (; status != CLQ_OK; attempts++) {
            test_note("%s, allocation %d", names[i], attempts);
            allocator.fail_at = atomic_load(&allocator.calls) + 1 + attempts;
            status = io_read_all(context, io_path(names[i]));
            TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_OUT_OF_MEMORY, "%s", clq_status_name(status));
            if (status != CLQ_OK)
                TEST_CHECK(strstr(clq_context_error(context), ": out of memory") != NULL, "%s", clq_context_error(context));
            ck_assert_int_eq(atomic_load(&allocator.live), live);
            ck_assert_int_eq(io_open_count(), open_files);
            TEST_CHECK(!atomic_load(&allocator.misused), "the allocator was misused");
        }
        TEST_CHECK(attempts > 5, "only %d allocations", attempts);
        clq_context_free(context);
        ck_assert_int_eq(atomic_load(&allocator.live), 0);
    }
}
END_TEST

/* A whole file, or the first failure. */
static clq_status write_file(clq_context *context, const char *path, clq_file_format format)
{
    static const unsigned char data[16] = "0123456789abcdef";
    clq_file_writer *writer;
    int64_t indices[20];
    const int count = format == CLQ_FILE_NPY ? 1 : 20;
    char name[8];
    clq_status status = clq_file_writer_create(context, path, format, &writer);
    for (int i = 0; i < count && status == CLQ_OK; i++) {
        snprintf(name, sizeof name, "%d", i);
        status = clq_file_writer_add_tensor(context, writer, name, "U8", 2, (int64_t[]){4, 4}, &indices[i]);
        if (status == CLQ_OK && format != CLQ_FILE_NPY) status = clq_file_writer_add_metadata(context, writer, name, name);
    }
    for (int offset = 0; offset < 16 && status == CLQ_OK; offset += 2) /* in pieces far apart: many ranges */
        for (int i = 0; i < count && status == CLQ_OK; i++)
            status = clq_file_writer_write(context, writer, indices[i], offset, 2, data + offset);
    if (status == CLQ_OK) status = clq_file_writer_commit(context, writer);
    clq_file_writer_free(writer);
    return status;
}

/* The same for writing: and the old file stands, with nothing beside it. */
START_TEST(writing_without_memory)
{
    for (int format = CLQ_FILE_NPY; format <= CLQ_FILE_SAFETENSORS; format++) {
        struct test_allocator allocator = {0};
        clq_context *context = io_context(&allocator);
        const char *path = io_put_text("old", "old");
        const long long live = atomic_load(&allocator.live);
        const int64_t open_files = io_open_count(), files = io_file_count();
        clq_status status = CLQ_ERROR_OUT_OF_MEMORY;
        int attempts = 0;
        for (; status != CLQ_OK; attempts++) {
            test_note("format %d, allocation %d", format, attempts);
            allocator.fail_at = atomic_load(&allocator.calls) + 1 + attempts;
            io_check_bytes(path, "old", 3);
            status = write_file(context, path, (clq_file_format)format);
            TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_OUT_OF_MEMORY, "%s", clq_status_name(status));
            ck_assert_int_eq(atomic_load(&allocator.live), live);
            ck_assert_int_eq(io_open_count(), open_files);
            ck_assert_int_eq(io_file_count(), files);
            TEST_CHECK(!atomic_load(&allocator.misused), "the allocator was misused");
        }
        TEST_CHECK(attempts > 8, "only %d allocations", attempts);
        allocator.fail_at = 0;
        TEST_OK(context, io_read_all(context, path));
        clq_context_free(context);
        ck_assert_int_eq(atomic_load(&allocator.live), 0);
    }
}
END_TEST

/* A call that fails for want of memory leaves the writer as it was: made again, all of it, the file comes out. */
START_TEST(writing_again)
{
    struct test_allocator allocator = {0};
    clq_context *context = io_context(&allocator);
    clq_file_writer *writer;
    int64_t indices[20];
    char name[8];
    TEST_OK(context, clq_file_writer_create(context, io_path("o.safetensors"), CLQ_FILE_SAFETENSORS, &writer));
/* Lets each allocation of the call fail in turn until it succeeds. */
#define INSIST(call)                                                                                                             \
    for (long long n = 1;; n++) {                                                                                                \
        allocator.fail_at = atomic_load(&allocator.calls) + n;                                                                   \
        const clq_status status = (call);                                                                                        \
        TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_OUT_OF_MEMORY, "%d", (int)status);                                    \
        if (status == CLQ_OK) break;                                                                                             \
    }
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "%d", i);
        INSIST(clq_file_writer_add_metadata(context, writer, name, name));
        INSIST(clq_file_writer_add_tensor(context, writer, name, "U8", 1, (int64_t[]){2}, &indices[i]));
        ck_assert_int_eq(indices[i], i);
    }
    for (int i = 0; i < 20; i += 2)
        INSIST(clq_file_writer_write(context, writer, indices[i], 0, 2, "ab"));
    for (int i = 1; i < 20; i += 2)
        INSIST(clq_file_writer_write(context, writer, indices[i], 0, 2, "cd"));
    INSIST(clq_file_writer_commit(context, writer));
    clq_file_writer_free(writer);
    clq_file *file;
    allocator.fail_at = 0;
    TEST_OK(context, clq_file_open(context, io_path("o.safetensors"), &file));
    ck_assert_int_eq(clq_file_tensor_count(file), 20);
    for (int i = 0; i < 20; i++) {
        char pair[2];
        snprintf(name, sizeof name, "%d", i);
        ck_assert_str_eq(clq_file_get_metadata(file, name), name);
        TEST_OK(context, clq_file_read(context, file, clq_file_find_tensor(file, name), 0, 2, pair));
        ck_assert_mem_eq(pair, i % 2 == 0 ? "ab" : "cd", 2);
    }
    clq_file_close(file);
    clq_context_free(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

/* Calls that are interrupted, and move a few bytes at a time, change nothing. */
START_TEST(interrupted)
{
    static const char *const names[] = {"a.npy", "m.safetensors", "i.index.json"};
    clq_context *context = io_context(NULL);
    put_files();
    TEST_OK(context, write_file(context, io_path("plain"), CLQ_FILE_SAFETENSORS));
    faults.most_bytes = 3;
    faults.interrupted = 2;
    for (size_t i = 0; i < TEST_COUNT_OF(names); i++)
        TEST_OK(context, io_read_all(context, io_path(names[i])));
    TEST_OK(context, write_file(context, io_path("slow"), CLQ_FILE_SAFETENSORS));
    size_t size;
    unsigned char *plain = io_get(io_path("plain"), &size);
    io_check_bytes(io_path("slow"), plain, size);
    free(plain);
    clq_context_free(context);
}
END_TEST

/* Each read fails once. */
START_TEST(broken_disk)
{
    clq_context *context = io_context(NULL);
    const int64_t open_files = io_open_count();
    clq_status status = CLQ_ERROR_IO;
    int attempts = 0;
    put_files();
    faults.error = EIO;
    for (; status != CLQ_OK; attempts++) {
        faults.read_fails = 1 + attempts;
        status = io_read_all(context, io_path("i.index.json"));
        TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_IO, "%s", clq_status_name(status));
        if (status != CLQ_OK)
            TEST_CHECK(strstr(clq_context_error(context), ": Input/output error") != NULL, "%s", clq_context_error(context));
        ck_assert_int_eq(io_open_count(), open_files);
    }
    TEST_CHECK(attempts > 40, "only %d reads", attempts);
    clq_context_free(context);
}
END_TEST

/* Each write fails once for want of space, then the flush: the old file stands, with nothing beside it. */
START_TEST(no_space)
{
    clq_context *context = io_context(NULL);
    const char *path = io_put_text("old", "old");
    clq_status status = CLQ_ERROR_IO;
    int attempts = 0;
    faults.error = ENOSPC;
    for (; status != CLQ_OK; attempts++) {
        io_check_bytes(path, "old", 3);
        faults.write_fails = 1 + attempts;
        status = write_file(context, path, CLQ_FILE_SAFETENSORS);
        TEST_CHECK(status == CLQ_OK || status == CLQ_ERROR_IO, "%s", clq_status_name(status));
        if (status != CLQ_OK)
            TEST_CHECK(strstr(clq_context_error(context), "old: No space left on device") != NULL, "%s",
                       clq_context_error(context));
        ck_assert_int_eq(io_file_count(), 1);
    }
    ck_assert_int_eq(attempts, 1 + 1 + 20 * 8); /* the header, the pieces, and the attempt in which nothing fails */
    TEST_OK(context, io_read_all(context, path));
    faults.write_fails = 0;

    io_put_text("old", "old");
    faults.fsync_fails = 1;
    ck_assert_int_eq(write_file(context, path, CLQ_FILE_SAFETENSORS), CLQ_ERROR_IO);
    TEST_CHECK(strstr(clq_context_error(context), "old: No space left on device") != NULL, "%s", clq_context_error(context));
    io_check_bytes(path, "old", 3);
    ck_assert_int_eq(io_file_count(), 1);
    clq_context_free(context);
}
END_TEST

/* After a flush that failed nobody knows what is on disk: a second attempt is refused, even though its flush would succeed. The
   folder's flush comes after the rename, and its failure is only logged. */
START_TEST(flush_fails)
{
    int64_t index;
    clq_file_writer *writer;
    clq_context *context = io_context(NULL);
    const char *path = io_put_text("old", "old");
    faults.error = EIO;
    faults.fsync_fails = 1;
    TEST_OK(context, clq_file_writer_create(context, path, CLQ_FILE_NPY, &writer));
    TEST_OK(context, clq_file_writer_add_tensor(context, writer, NULL, "U8", 0, NULL, &index));
    TEST_OK(context, clq_file_writer_write(context, writer, index, 0, 1, "x"));
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_IO);
    ck_assert_int_eq(clq_file_writer_commit(context, writer), CLQ_ERROR_INVALID_ARGUMENT);
    TEST_CHECK(strstr(clq_context_error(context), "an earlier attempt failed") != NULL, "%s", clq_context_error(context));
    clq_file_writer_free(writer);
    io_check_bytes(path, "old", 3);
    ck_assert_int_eq(io_file_count(), 1);
    faults.fsync_fails = 2;
    TEST_OK(context, write_file(context, path, CLQ_FILE_NPY));
    TEST_CHECK(strstr(io_warning, "its folder could not be flushed") != NULL, "the log says \"%s\"", io_warning);
    TEST_OK(context, io_read_all(context, path));
    clq_context_free(context);
}
END_TEST

/* No more bytes than a limit: writing fails at the header, in the data, or at its last byte. */
START_TEST(full_disk)
{
    static const int64_t limits[] = {0, 1, 64, 127, 128, 129, 1000, 4223};
    static char data[4096];
    clq_context *context = io_context(NULL);
    const char *path = io_put_text("old", "old");
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlim_t before = limit.rlim_cur;
    for (size_t i = 0; i < TEST_COUNT_OF(limits) + 1; i++) {
        const bool enough = i == TEST_COUNT_OF(limits);
        clq_file_writer *writer;
        int64_t index;
        test_note("limit %zu", i);
        limit.rlim_cur = enough ? before : (rlim_t)limits[i];
        TEST_OK(context, clq_file_writer_create(context, path, CLQ_FILE_NPY, &writer));
        TEST_OK(context, clq_file_writer_add_tensor(context, writer, NULL, "U8", 1, (int64_t[]){sizeof data}, &index));
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        clq_status status = clq_file_writer_write(context, writer, index, 0, sizeof data, data);
        ck_assert_int_eq(status, enough ? CLQ_OK : CLQ_ERROR_IO);
        if (!enough)
            TEST_CHECK(strstr(clq_context_error(context), "old: File too large") != NULL, "%s", clq_context_error(context));
        status = clq_file_writer_commit(context, writer);
        TEST_CHECK(enough ? status == CLQ_OK : status != CLQ_OK, "%s", clq_status_name(status));
        clq_file_writer_free(writer);
        limit.rlim_cur = before;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        if (!enough) io_check_bytes(path, "old", 3);
        ck_assert_int_eq(io_file_count(), 1);
    }
    TEST_OK(context, io_read_all(context, path));
    clq_context_free(context);
}
END_TEST

/* More shards than the process may have files open. */
START_TEST(no_descriptors)
{
    char json[4096], *end = json, name[32];
    struct rlimit limit;
    clq_context *context = io_context(NULL);
    end += sprintf(end, "{\"weight_map\":{");
    for (int i = 0; i < 40; i++) {
        char header[128];
        snprintf(name, sizeof name, "%d.safetensors", i);
        snprintf(header, sizeof header, "{\"t%d\":" ENTRY("U8", "[1]", "[0,1]") "}", i);
        io_put_safetensors(name, header, 1);
        end += sprintf(end, "%s\"t%d\":\"%s\"", i == 0 ? "" : ",", i, name);
    }
    sprintf(end, "}}");
    io_put_text("i.index.json", json);
    TEST_OK(context, io_read_all(context, io_path("i.index.json")));
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlim_t before = limit.rlim_cur;
    const int64_t open_files = io_open_count();
    clq_file *file;
    limit.rlim_cur = (rlim_t)open_files + 20;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const clq_status status = clq_file_open(context, io_path("i.index.json"), &file);
    limit.rlim_cur = before;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(status, CLQ_ERROR_IO);
    TEST_CHECK(strstr(clq_context_error(context), "Too many open files") != NULL, "%s", clq_context_error(context));
    ck_assert_int_eq(io_open_count(), open_files);
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_failures");
    TCase *tcase = io_case(suite, "memory");
    tcase_add_test(tcase, reading_without_memory);
    tcase_add_test(tcase, writing_without_memory);
    tcase_add_test(tcase, writing_again);
    tcase_add_test(io_case(suite, "interrupted"), interrupted);
    tcase_add_test(io_case(suite, "broken disk"), broken_disk);
    tcase_add_test(io_case(suite, "no space"), no_space);
    tcase_add_test(io_case(suite, "flush fails"), flush_fails);
    tcase_add_test(io_case(suite, "full disk"), full_disk);
    tcase_add_test(io_case(suite, "descriptors"), no_descriptors);
    return test_run(suite);
}
