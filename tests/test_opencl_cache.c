/* SPDX-License-Identifier: MIT */
/* The cache of compiled programs: what it refuses, what it survives, its bounds. What is asked of OpenCL's devices. */
#include "config.h"

#include "base/alloc.h"
#include "context.h"
#include "opencl/cl_cache.h"
#include "test_support.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAYLOAD_BYTES = 100, FILE_BYTES = 56 + PAYLOAD_BYTES + 32 };

static char root[PATH_MAX];        /* of everything that a test writes */
static char folder[PATH_MAX + 16]; /* of the cache, in it */
static struct test_allocator counter;
static clq_allocator allocator;
static uint8_t payload[PAYLOAD_BYTES];

/* ---- help */

static void set_up(void)
{
    struct test_random random = test_random_start(71);

    test_make_folder(root);
    snprintf(folder, sizeof folder, "%s/cache", root);
    setenv("CLQ_CACHE_DIR", folder, 1);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", root, 1);
    memset(&counter, 0, sizeof counter);
    allocator = test_allocator_of(&counter);
    test_fill_random(&random, payload, sizeof payload);
}

static void tear_down(void)
{
    test_remove_folder(root);
    TEST_CHECK(atomic_load(&counter.live) == 0 && !atomic_load(&counter.misused), "%lld pieces of memory are left",
               atomic_load(&counter.live));
}

/* A path below `root`. One static buffer. */
static const char *below(const char *name)
{
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static struct clq_cl_cache open_on(void)
{
    struct clq_cl_cache cache;
    memset(&cache, 0xa5, sizeof cache);
    clq_cl_cache_open(&cache, &allocator);
    TEST_CHECK(cache.folder != NULL, "off: %s", cache.reason);
    return cache;
}

static void open_off(const char *mentions)
{
    struct clq_cl_cache cache;
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES] = {0}, *binary = payload;
    size_t size_bytes = 7;
    char text[300];

    memset(&cache, 0xa5, sizeof cache);
    clq_cl_cache_open(&cache, &allocator);
    TEST_CHECK(cache.folder == NULL, "on: %s", cache.folder);
    TEST_CHECK(strstr(cache.reason, mentions) != NULL, "\"%s\" does not mention \"%s\"", cache.reason, mentions);
    clq_cl_cache_describe(&cache, text, sizeof text);
    TEST_CHECK(strncmp(text, "off: ", 5) == 0 && strcmp(text + 5, cache.reason) == 0, "%s", text);
    TEST_CHECK(!clq_cl_cache_store(&cache, key, payload, sizeof payload), "stored nowhere");
    TEST_CHECK(!clq_cl_cache_load(&cache, &allocator, key, &binary, &size_bytes), "loaded from nowhere");
    TEST_CHECK(binary == payload && size_bytes == 7, "outputs touched");
    clq_cl_cache_close(&cache, &allocator);
}

static void make_key(int n, uint8_t key[CLQ_CL_CACHE_KEY_BYTES])
{
    memset(key, 0x5c, CLQ_CL_CACHE_KEY_BYTES);
    key[0] = (uint8_t)n;
    key[31] = (uint8_t)(n >> 8);
}

static const char *file_of(const uint8_t key[CLQ_CL_CACHE_KEY_BYTES])
{
    static char path[2 * PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/", folder);
    for (int i = 0; i < CLQ_CL_CACHE_KEY_BYTES; i++)
        length += snprintf(path + length, sizeof path - (size_t)length, "%02x", key[i]);
    snprintf(path + length, sizeof path - (size_t)length, ".clqbin");
    return path;
}

/* True if it loads, and then it must be what was stored. */
static bool loads(const struct clq_cl_cache *cache, const uint8_t key[CLQ_CL_CACHE_KEY_BYTES])
{
    uint8_t *binary = payload;
    size_t size_bytes = 7;
    if (!clq_cl_cache_load(cache, &allocator, key, &binary, &size_bytes)) {
        TEST_CHECK(binary == payload && size_bytes == 7, "outputs touched");
        return false;
    }
    TEST_CHECK(size_bytes == sizeof payload && memcmp(binary, payload, sizeof payload) == 0, "another program came back");
    clq_dealloc(&allocator, binary);
    return true;
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Names in the cache's folder that begin so. */
static int count_entries(const char *prefix)
{
    DIR *const entries = opendir(folder);
    const struct dirent *entry;
    int count = 0;
    TEST_CHECK(entries != NULL, "no folder %s", folder);
    while ((entry = readdir(entries)) != NULL)
        if (*entry->d_name != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0) count++;
    closedir(entries);
    return count;
}

static void write_file(const char *path, const void *data, size_t size_bytes)
{
    FILE *const file = fopen(path, "wb");
    TEST_CHECK(file != NULL && chmod(path, 0600) == 0, "no file %s", path);
    TEST_CHECK(fwrite(data, 1, size_bytes, file) == size_bytes, "cannot write %s", path);
    TEST_CHECK(fclose(file) == 0, "cannot write %s", path);
}

static void read_file(const char *path, uint8_t data[FILE_BYTES])
{
    FILE *const file = fopen(path, "rb");
    TEST_CHECK(file != NULL && fread(data, 1, FILE_BYTES, file) == FILE_BYTES && fgetc(file) == EOF, "not %d bytes: %s",
               FILE_BYTES, path);
    fclose(file);
}

static void set_age(const char *path, long seconds)
{
    const struct timespec then = {.tv_sec = time(NULL) - seconds}, times[2] = {then, then};
    TEST_CHECK(utimensat(AT_FDCWD, path, times, 0) == 0, "cannot set the time of %s", path);
}

static unsigned mode_of(const char *path)
{
    struct stat info;
    TEST_CHECK(stat(path, &info) == 0, "no %s", path);
    return info.st_mode & 07777;
}

/* ---- programs */

START_TEST(round_trip)
{
    struct clq_cl_cache cache = open_on();
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES], other[CLQ_CL_CACHE_KEY_BYTES], *binary = NULL;
    size_t size_bytes = 0;
    char text[2 * PATH_MAX];

    make_key(1, key);
    make_key(2, other);
    TEST_CHECK(!loads(&cache, key), "found in an empty cache");
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload), "store");
    TEST_CHECK(loads(&cache, key) && !loads(&cache, other), "this one and no other");
    TEST_CHECK(mode_of(file_of(key)) == 0600 && mode_of(folder) == 0700, "modes %o %o", mode_of(file_of(key)), mode_of(folder));
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "again");
    clq_cl_cache_describe(&cache, text, sizeof text);
    TEST_CHECK(strncmp(text, folder, strlen(folder)) == 0 && strcmp(text + strlen(folder), ", 1 program, 1 KB") == 0, "%s", text);
    for (size_t n = 0; n < 40; n++) {
        memset(text, '#', sizeof text);
        clq_cl_cache_describe(&cache, text, n);
        TEST_CHECK(text[n] == '#' && (n == 0 || strlen(text) == n - 1), "%zu bytes", n);
    }
    TEST_CHECK(!clq_cl_cache_store(&cache, other, payload, 0) && !clq_cl_cache_store(&cache, other, payload, (size_t)256 << 20),
               "sizes that are refused");

    /* Every size around those of SHA-256's blocks, and a large one. */
    for (size_t n = 1; n < 300; n++) {
        uint8_t *const data = calloc(n, 1);
        TEST_CHECK(data != NULL && clq_cl_cache_store(&cache, other, data, n), "store %zu bytes", n);
        TEST_CHECK(clq_cl_cache_load(&cache, &allocator, other, &binary, &size_bytes) && size_bytes == n, "load %zu bytes", n);
        TEST_CHECK(memcmp(binary, data, n) == 0, "%zu bytes differ", n);
        clq_dealloc(&allocator, binary);
        free(data);
    }
    TEST_CHECK(count_entries("") == 2 && count_entries("clqtmp") == 0, "something is left over");
    clq_cl_cache_close(&cache, &allocator);
    clq_cl_cache_close(&cache, &allocator);
    TEST_CHECK(!loads(&cache, key), "closed");
}
END_TEST

START_TEST(damage)
{
    struct clq_cl_cache cache = open_on();
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES], other[CLQ_CL_CACHE_KEY_BYTES], good[FILE_BYTES], bad[FILE_BYTES + 1] = {0};

    make_key(1, key);
    make_key(2, other);
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload), "store");
    read_file(file_of(key), good);
    write_file(file_of(key), good, sizeof good);
    TEST_CHECK(loads(&cache, key), "rewritten as it was");
    for (size_t n = 0; n < sizeof good; n++) {
        test_note("cut to %zu bytes", n);
        write_file(file_of(key), good, n);
        TEST_CHECK(!loads(&cache, key), "loaded");
    }
    memcpy(bad, good, sizeof good);
    write_file(file_of(key), bad, sizeof bad);
    TEST_CHECK(!loads(&cache, key), "loaded a file that is a byte too long");
    for (size_t i = 0; i < 8 * sizeof good; i++) {
        test_note("bit %zu of byte %zu", i % 8, i / 8);
        memcpy(bad, good, sizeof good);
        bad[i / 8] ^= (uint8_t)(1 << i % 8);
        write_file(file_of(key), bad, sizeof good);
        TEST_CHECK(!loads(&cache, key), "loaded");
    }
    test_note("another program's file");
    write_file(file_of(other), good, sizeof good);
    TEST_CHECK(!loads(&cache, other), "loaded");
    test_note("larger than the limit");
    TEST_CHECK(truncate(file_of(other), ((off_t)256 << 20) + 1) == 0 && !loads(&cache, other), "loaded");
    test_note("writable by others");
    write_file(file_of(key), good, sizeof good);
    TEST_CHECK(loads(&cache, key) && chmod(file_of(key), 0620) == 0 && !loads(&cache, key), "loaded");
    test_note("a store mends it");
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "not mended");
    clq_cl_cache_close(&cache, &allocator);
}
END_TEST

START_TEST(not_files)
{
    struct clq_cl_cache cache = open_on();
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES], other[CLQ_CL_CACHE_KEY_BYTES];
    char good[2 * PATH_MAX];

    make_key(1, key);
    make_key(2, other);
    TEST_CHECK(clq_cl_cache_store(&cache, other, payload, sizeof payload), "store");
    snprintf(good, sizeof good, "%s", file_of(other));

    test_note("a folder");
    TEST_CHECK(mkdir(file_of(key), 0700) == 0 && !loads(&cache, key), "loaded");
    TEST_CHECK(!clq_cl_cache_store(&cache, key, payload, sizeof payload), "stored in place of a folder");
    TEST_CHECK(count_entries("clqtmp") == 0, "the temporary file is left over");
    TEST_CHECK(rmdir(file_of(key)) == 0, "gone");
    test_note("a pipe");
    TEST_CHECK(mkfifo(file_of(key), 0600) == 0 && !loads(&cache, key), "loaded");
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "not replaced");
    test_note("a link");
    TEST_CHECK(unlink(file_of(key)) == 0 && symlink(good, file_of(key)) == 0 && !loads(&cache, key), "loaded");
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key) && loads(&cache, other),
               "not replaced");
    clq_cl_cache_close(&cache, &allocator);
}
END_TEST

/* ---- the folder */

START_TEST(folders)
{
    struct clq_cl_cache cache;

    test_note("$CLQ_CACHE_DIR with missing parents");
    setenv("CLQ_CACHE_DIR", below("a/b/c/"), 1);
    cache = open_on();
    TEST_CHECK(strcmp(cache.folder, below("a/b/c/")) == 0, "%s", cache.folder);
    TEST_CHECK(mode_of(below("a")) == 0700 && mode_of(below("a/b")) == 0700 && mode_of(below("a/b/c")) == 0700, "modes");
    clq_cl_cache_close(&cache, &allocator);

    test_note("a link to a folder of ours");
    TEST_CHECK(symlink("a", below("link")) == 0, "no link");
    setenv("CLQ_CACHE_DIR", below("link"), 1);
    cache = open_on();
    clq_cl_cache_close(&cache, &allocator);

    test_note("$XDG_CACHE_HOME");
    setenv("CLQ_CACHE_DIR", "", 1);
    setenv("XDG_CACHE_HOME", below("xdg"), 1);
    cache = open_on();
    TEST_CHECK(strcmp(cache.folder, below("xdg/clquant")) == 0 && mode_of(below("xdg")) == 0700, "%s", cache.folder);
    clq_cl_cache_close(&cache, &allocator);

    test_note("a relative $XDG_CACHE_HOME");
    setenv("XDG_CACHE_HOME", "xdg", 1);
    cache = open_on();
    TEST_CHECK(strcmp(cache.folder, below(".cache/clquant")) == 0 && mode_of(below(".cache")) == 0700, "%s", cache.folder);
    clq_cl_cache_close(&cache, &allocator);

    test_note("$HOME that does not exist");
    setenv("HOME", below("nobody"), 1);
    open_off("No such file");
    TEST_CHECK(!exists(below("nobody")), "the home was created");
}
END_TEST

START_TEST(refused_folders)
{
    char deep[5000];

    test_note("writable by others");
    TEST_CHECK(mkdir(below("open"), 0700) == 0 && chmod(below("open"), 01777) == 0, "no folder");
    setenv("CLQ_CACHE_DIR", below("open"), 1);
    open_off("others may write");
    TEST_CHECK(chmod(below("open"), 0770) == 0, "no folder");
    open_off("others may write");
    TEST_CHECK(chmod(below("open"), 0755) == 0, "no folder");
    struct clq_cl_cache cache = open_on();
    clq_cl_cache_close(&cache, &allocator);
    if (geteuid() == 0) {
        TEST_CHECK(chown(below("open"), 12345, 12345) == 0, "no folder");
        open_off("another user");
    }

    test_note("a relative path");
    setenv("CLQ_CACHE_DIR", "cache", 1);
    open_off("CLQ_CACHE_DIR = \"cache\" is not an absolute path");
    test_note("a file in its place");
    write_file(below("file"), "", 0);
    setenv("CLQ_CACHE_DIR", below("file"), 1);
    open_off("Not a directory");
    setenv("CLQ_CACHE_DIR", below("file/folder"), 1);
    open_off("Not a directory");
    test_note("a link that leads nowhere");
    TEST_CHECK(symlink("nowhere", below("link")) == 0, "no link");
    setenv("CLQ_CACHE_DIR", below("link"), 1);
    open_off("No such file");
    test_note("control characters");
    setenv("CLQ_CACHE_DIR", "new\nline", 1);
    open_off("new?line");
    test_note("a long path");
    memset(deep, 'x', sizeof deep);
    deep[0] = '/';
    deep[sizeof deep - 1] = '\0';
    setenv("CLQ_CACHE_DIR", deep, 1);
    open_off("longer than");
    deep[1000] = '\0';
    setenv("CLQ_CACHE_DIR", deep, 1);
    open_off("too long");
    test_note("no variable");
    unsetenv("CLQ_CACHE_DIR");
    setenv("HOME", "", 1);
    open_off("none of CLQ_CACHE_DIR, XDG_CACHE_HOME and HOME is set");
    unsetenv("HOME");
    open_off("HOME");
    setenv("HOME", "home", 1);
    open_off("HOME is not an absolute path");
}
END_TEST

START_TEST(folder_changes)
{
    struct clq_cl_cache cache = open_on();
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES];
    char text[2 * PATH_MAX];

    make_key(1, key);
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "store");
    test_note("writable by others after it was opened");
    TEST_CHECK(chmod(folder, 0777) == 0, "chmod");
    TEST_CHECK(!loads(&cache, key) && !clq_cl_cache_store(&cache, key, payload, sizeof payload), "used");
    test_note("not writable to us");
    TEST_CHECK(chmod(folder, 0500) == 0 && loads(&cache, key), "read only");
    if (geteuid() != 0) TEST_CHECK(!clq_cl_cache_store(&cache, key, payload, sizeof payload), "stored");
    test_note("removed after it was opened");
    TEST_CHECK(chmod(folder, 0700) == 0 && unlink(file_of(key)) == 0 && rmdir(folder) == 0, "removed");
    TEST_CHECK(!loads(&cache, key) && !clq_cl_cache_store(&cache, key, payload, sizeof payload), "used");
    clq_cl_cache_describe(&cache, text, sizeof text);
    TEST_CHECK(strstr(text, "cannot be read") != NULL, "%s", text);
    clq_cl_cache_close(&cache, &allocator);
}
END_TEST

START_TEST(left_behind)
{
    static const char *const old[] = {"clqtmp-1-0", "clqtmp-99-63"}, *const kept[] = {"clqtmp-2-0", "notes", "x.clqbin"};
    struct clq_cl_cache cache = open_on();

    clq_cl_cache_close(&cache, &allocator);
    for (size_t i = 0; i < TEST_COUNT_OF(old); i++) {
        char path[2 * PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, old[i]);
        write_file(path, "x", 1);
        set_age(path, 25 * 3600);
    }
    for (size_t i = 0; i < TEST_COUNT_OF(kept); i++) {
        char path[2 * PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, kept[i]);
        write_file(path, "x", 1);
        set_age(path, i == 0 ? 23 * 3600 : 1000 * 3600);
    }
    cache = open_on();
    TEST_CHECK(count_entries("") == TEST_COUNT_OF(kept), "%d files are left", count_entries(""));
    clq_cl_cache_close(&cache, &allocator);
}
END_TEST

START_TEST(bounds)
{
    struct clq_cl_cache cache = open_on();
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES];

    TEST_CHECK(cache.max_files == 1024 && cache.max_bytes == INT64_C(1) << 30, "the bounds");
    cache.max_files = 5;
    for (int i = 0; i < 12; i++) {
        make_key(i, key);
        TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "store %d", i);
        TEST_CHECK(count_entries("") == (i < 5 ? i + 1 : 5), "%d files after %d", count_entries(""), i + 1);
        set_age(file_of(key), 1000 - i);
    }
    for (int i = 0; i < 12; i++) {
        make_key(i, key);
        TEST_CHECK(exists(file_of(key)) == (i >= 7), "the oldest go first, not %d", i);
    }
    test_note("what is used stays");
    make_key(7, key);
    TEST_CHECK(loads(&cache, key), "load");
    make_key(20, key);
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload), "store");
    TEST_CHECK(count_entries("") == 5 && loads(&cache, key), "5 files");
    make_key(7, key);
    TEST_CHECK(loads(&cache, key), "used a moment ago");
    make_key(8, key);
    TEST_CHECK(!loads(&cache, key), "not used for longest");

    test_note("many too many");
    cache.max_files = 1000;
    for (int i = 100; i < 200; i++) {
        make_key(i, key);
        TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload), "store");
    }
    cache.max_files = 2;
    for (int i = 0; i < 2; i++)
        TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "store");
    TEST_CHECK(count_entries("") == 2, "%d files", count_entries(""));

    test_note("bytes");
    cache.max_files = 1000;
    cache.max_bytes = 3 * FILE_BYTES + 1;
    for (int i = 0; i < 6; i++) {
        make_key(i, key);
        TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "store");
        TEST_CHECK(count_entries("") <= 3, "%d files", count_entries(""));
    }
    cache.max_bytes = 1;
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload) && loads(&cache, key), "the one just stored stays");
    TEST_CHECK(count_entries("") == 1, "%d files", count_entries(""));
    clq_cl_cache_close(&cache, &allocator);
}
END_TEST

START_TEST(no_memory)
{
    struct clq_cl_cache cache;
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES];

    make_key(1, key);
    counter.fail_at = 1;
    open_off("no memory");
    cache = open_on();
    TEST_CHECK(clq_cl_cache_store(&cache, key, payload, sizeof payload), "store");
    counter.fail_at = atomic_load(&counter.calls) + 1;
    TEST_CHECK(!loads(&cache, key) && loads(&cache, key), "the first load has no memory, the second has");
    clq_cl_cache_close(&cache, &allocator);
}
END_TEST

/* ---- several at once */

enum { SHARED_BYTES = 20000 };

/* Stores its own contents and loads what anybody stored: whole, never mixed. Now and then there is a file too many. */
static const char *work(int letter)
{
    struct clq_cl_cache cache;
    uint8_t key[CLQ_CL_CACHE_KEY_BYTES], *const data = malloc(SHARED_BYTES), *binary;
    size_t size_bytes;
    const char *failure = data != NULL ? NULL : "no memory";

    clq_cl_cache_open(&cache, &clq_allocator_libc);
    if (cache.folder == NULL) failure = "the cache is off";
    cache.max_files = 2;
    for (int i = 0; i < 200 && failure == NULL; i++) {
        make_key(i % 10 == 0 ? 2 + letter : 1, key);
        memset(data, 'a' + letter, SHARED_BYTES);
        if (!clq_cl_cache_store(&cache, key, data, SHARED_BYTES)) failure = "a store failed";
        make_key(1, key);
        if (!clq_cl_cache_load(&cache, &clq_allocator_libc, key, &binary, &size_bytes)) continue;
        memset(data, *binary, SHARED_BYTES);
        if (size_bytes != SHARED_BYTES || memcmp(binary, data, SHARED_BYTES) != 0) failure = "a mixed program";
        clq_dealloc(&clq_allocator_libc, binary);
    }
    clq_cl_cache_close(&cache, &clq_allocator_libc);
    free(data);
    return failure;
}

START_TEST(two_processes)
{
    const pid_t child = fork();
    const char *failure;
    int status = -1;

    TEST_CHECK(child >= 0, "no process");
    failure = work(child == 0);
    if (child == 0) _exit(failure != NULL);
    TEST_CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed");
    TEST_CHECK(failure == NULL, "%s", failure);
    TEST_CHECK(count_entries("clqtmp") == 0, "temporary files are left");
}
END_TEST

static void *run_thread(void *letter)
{
    return (void *)(uintptr_t)work(*(int *)letter);
}

START_TEST(four_threads)
{
    int letters[4] = {0, 1, 2, 3};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        TEST_CHECK(pthread_create(&threads[i], NULL, run_thread, &letters[i]) == 0, "no thread");
    for (int i = 0; i < 4; i++) {
        void *failure = NULL;
        TEST_CHECK(pthread_join(threads[i], &failure) == 0 && failure == NULL, "%s", (const char *)failure);
    }
    TEST_CHECK(count_entries("clqtmp") == 0, "temporary files are left");
}
END_TEST

/* ---- keys */

START_TEST(keys)
{
    static const char *const one[] = {"ab", "c"}, *const two[] = {"a", "bc"}, *const joined[] = {"abc"},
                             *const longer[] = {"abX", "c"};
    static const size_t lengths[] = {2, 0};
    const struct clq_cl_device device = {.name = "name", .version = "version", .driver = "driver", .address_bits = 64};
    struct clq_cl_device changed[4] = {device, device, device, device};
    uint8_t key[16][CLQ_CL_CACHE_KEY_BYTES];
    int n = 0;

    changed[0].name[0] = 'N';
    changed[1].version[0] = 'V';
    changed[2].driver[0] = 'D';
    changed[3].address_bits = 32;
    clq_cl_cache_key(&device, 2, one, NULL, "-cl-std=CL1.2", key[n++]);
    clq_cl_cache_key(&device, 2, two, NULL, "-cl-std=CL1.2", key[n++]);
    clq_cl_cache_key(&device, 1, joined, NULL, "-cl-std=CL1.2", key[n++]);
    clq_cl_cache_key(&device, 1, one, NULL, "-cl-std=CL1.2", key[n++]);
    clq_cl_cache_key(&device, 2, longer, NULL, "-cl-std=CL1.2", key[n++]);
    clq_cl_cache_key(&device, 2, one, NULL, "-cl-std=CL1.1", key[n++]);
    clq_cl_cache_key(&device, 2, one, NULL, "", key[n++]);
    clq_cl_cache_key(&device, 0, NULL, NULL, "-cl-std=CL1.2", key[n++]);
    for (int i = 0; i < 4; i++)
        clq_cl_cache_key(&changed[i], 2, one, NULL, "-cl-std=CL1.2", key[n++]);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            TEST_CHECK(memcmp(key[i], key[k], sizeof key[i]) != 0, "keys %d and %d are equal", i, k);
    clq_cl_cache_key(&device, 2, longer, lengths, "-cl-std=CL1.2", key[n]);
    TEST_CHECK(memcmp(key[n], key[0], sizeof key[0]) == 0, "lengths are heeded");
}
END_TEST

/* ---- devices */

static bool is_line(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < 0x20 || *text > 0x7e) return false;
    return true;
}

START_TEST(found_devices)
{
    struct clq_cl_device *list = (struct clq_cl_device *)payload, untouched = {.compute_units = 77};
    int32_t count = -1;
    char text[64];

    counter.fail_at = 1;
    const clq_status status = clq_cl_devices_find(&allocator, &list, &count);
    if (status == CLQ_ERROR_OUT_OF_MEMORY) {
        TEST_CHECK(count == -1 && list == (struct clq_cl_device *)payload, "outputs touched");
        TEST_CHECK(clq_cl_devices_find(&allocator, &list, &count) == CLQ_OK, "find");
    }
    TEST_CHECK(count >= 0 && (list == NULL) == (count == 0), "%d devices", (int)count);
    for (int32_t i = 0; i < count; i++) {
        const struct clq_cl_device *const d = &list[i];
        printf("opencl:%d %s, %s, %s: %s%s%s\n", (int)i, d->name, d->version, d->driver, d->capabilities,
               *d->refusal != '\0' ? "; refused: " : "", d->refusal);
        TEST_CHECK(d->id != NULL && d->platform != NULL && *d->name != '\0', "device %d", (int)i);
        TEST_CHECK(is_line(d->name) && is_line(d->version) && is_line(d->driver) && is_line(d->capabilities) &&
                       is_line(d->refusal),
                   "device %d: texts", (int)i);
        clq_cl_device_defines(d, text, sizeof text);
        TEST_CHECK(strcmp(text, d->fp64 ? " -D CLQ_HAS_FP64=1" : "") == 0, "\"%s\"", text);
        if (*d->refusal != '\0') continue;
        TEST_CHECK(d->memory_bytes > 0 && d->max_alloc_bytes > 0 && d->compute_units > 0 && d->base_align_bytes > 0, "device %d",
                   (int)i);
        TEST_CHECK(d->max_local_size >= 16 && d->max_local_size <= 256 && (d->max_local_size & (d->max_local_size - 1)) == 0,
                   "local size %zu", d->max_local_size);
    }
    clq_dealloc(&allocator, list);
    TEST_CHECK(clq_cl_device_read(NULL, &untouched) == CL_INVALID_DEVICE && untouched.compute_units == 77, "no device");
}
END_TEST

START_TEST(refusals)
{
    const struct clq_cl_answers full = {.profile = "FULL_PROFILE",
                                        .c_version = "OpenCL C 1.2",
                                        .version = "OpenCL 3.0 x",
                                        .single_config = CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN,
                                        .available = true,
                                        .compiler = true,
                                        .little_endian = true,
                                        .max_group_size = 1000,
                                        .max_item_size = 300};
    const struct clq_cl_device plain = {.local_memory_bytes = 16384, .compute_units = 3};
    struct {
        struct clq_cl_answers answers;
        int64_t local_memory_bytes;
        const char *refusal; /* NULL: none */
        size_t local_size;
    } cases[17];
    int n = 0;

    for (size_t i = 0; i < TEST_COUNT_OF(cases); i++) {
        cases[i].answers = full;
        cases[i].local_memory_bytes = 16384;
        cases[i].refusal = NULL;
        cases[i].local_size = 256;
    }
    n++;
    cases[n].answers.available = false, cases[n++].refusal = "not available";
    cases[n].answers.compiler = false, cases[n++].refusal = "no compiler";
    cases[n].answers.little_endian = false, cases[n++].refusal = "big endian";
    cases[n].answers.version[7] = '1', cases[n].answers.version[9] = '1', cases[n++].refusal = "OpenCL 1.1 x, at least";
    cases[n].answers.c_version[11] = '1', cases[n++].refusal = "OpenCL C 1.1, at least";
    cases[n].answers.c_version[9] = '2', cases[n].answers.c_version[11] = '0', n++;
    cases[n].answers.c_version[0] = '\0', cases[n++].refusal = "OpenCL C";
    cases[n].answers.single_config = CL_FP_ROUND_TO_ZERO | CL_FP_INF_NAN, cases[n++].refusal = "to nearest";
    cases[n].answers.single_config = CL_FP_ROUND_TO_NEAREST | CL_FP_FMA, cases[n++].refusal = "infinities";
    memcpy(cases[n].answers.profile, "EMBEDDED_PROFILE", 17), cases[n++].refusal = "embedded";
    memcpy(cases[n].answers.profile, "EMBEDDED_PROFILE", 17), cases[n].answers.single_config |= CL_FP_FMA;
    cases[n++].refusal = "64-bit integers";
    memcpy(cases[n].answers.profile, "EMBEDDED_PROFILE", 17), cases[n].answers.single_config |= CL_FP_FMA;
    cases[n++].answers.embedded_int64 = true;
    cases[n].local_memory_bytes = 16383, cases[n++].refusal = "local memory";
    cases[n].answers.max_item_size = 255, cases[n++].local_size = 128;
    cases[n].answers.max_group_size = 16, cases[n++].local_size = 16;
    cases[n].answers.max_group_size = 15, cases[n].local_size = 8, cases[n++].refusal = "work-items";
    TEST_CHECK(n == TEST_COUNT_OF(cases), "%d cases", n);
    for (int i = 0; i < n; i++) {
        struct clq_cl_device device = plain;
        device.local_memory_bytes = cases[i].local_memory_bytes;
        clq_cl_device_judge(&cases[i].answers, &device);
        if (cases[i].refusal == NULL)
            TEST_CHECK(device.refusal[0] == '\0', "case %d: %s", i, device.refusal);
        else
            TEST_CHECK(strstr(device.refusal, cases[i].refusal) != NULL, "case %d: \"%s\", must mention \"%s\"", i,
                       device.refusal, cases[i].refusal);
        TEST_CHECK(device.max_local_size == cases[i].local_size, "case %d: local size %zu", i, device.max_local_size);
    }

    struct clq_cl_answers rich = full;
    struct clq_cl_device device = plain;
    device.unified = true;
    rich.double_config = CL_FP_FMA | CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN;
    clq_cl_device_judge(&rich, &device);
    TEST_CHECK(!device.fp64, "fp64 without denormals is none");
    rich.double_config |= CL_FP_DENORM;
    clq_cl_device_judge(&rich, &device);
    TEST_CHECK(strcmp(device.capabilities, "fp64, unified memory, 3 compute units, local size 256") == 0, "%s",
               device.capabilities);
}
END_TEST

START_TEST(order)
{
    /* In the order that must come out; `local_memory_bytes` numbers them. */
    const struct clq_cl_device sorted[] = {
        {.type = CL_DEVICE_TYPE_GPU, .memory_bytes = 9, .compute_units = 1},
        {.type = CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_DEFAULT, .memory_bytes = 8, .compute_units = 4},
        {.type = CL_DEVICE_TYPE_GPU, .memory_bytes = 8, .compute_units = 3},
        {.type = CL_DEVICE_TYPE_GPU, .memory_bytes = 99, .compute_units = 9, .unified = true},
        {.type = CL_DEVICE_TYPE_ACCELERATOR},
        {.type = CL_DEVICE_TYPE_CPU, .memory_bytes = 999},
        {.type = 0},
        {.type = CL_DEVICE_TYPE_GPU, .memory_bytes = 999, .refusal = "x"},
    };
    enum { N = TEST_COUNT_OF(sorted) };
    struct test_random random = test_random_start(72);
    struct clq_cl_device devices[N];

    for (int round = 0; round < 500; round++) {
        int32_t order_of[N];
        for (int32_t i = 0; i < N; i++) {
            const int32_t other = (int32_t)test_between(&random, 0, i);
            order_of[i] = order_of[other];
            order_of[other] = i;
        }
        for (int32_t i = 0; i < N; i++) {
            devices[i] = sorted[order_of[i]];
            devices[i].local_memory_bytes = order_of[i];
        }
        clq_cl_devices_sort(devices, N);
        for (int32_t i = 0; i < 5; i++)
            TEST_CHECK(devices[i].local_memory_bytes == i, "%d at %d", (int)devices[i].local_memory_bytes, (int)i);
        /* Among CPUs and others, the order that the platforms gave. */
        const bool cpu_first = devices[5].local_memory_bytes == 5;
        int32_t at_cpu = -1, at_other = -1;
        for (int32_t i = 0; i < N; i++) {
            if (order_of[i] == 5) at_cpu = i;
            if (order_of[i] == 6) at_other = i;
        }
        TEST_CHECK(cpu_first == (at_cpu < at_other) && devices[7].local_memory_bytes == 7, "not stable");
    }
    TEST_CHECK(clq_cl_devices_best(sorted, N) == 0 && clq_cl_devices_best(sorted + 4, 4) == 0, "the first");
    TEST_CHECK(clq_cl_devices_best(sorted + 5, 3) == -1 && clq_cl_devices_best(NULL, 0) == -1, "none");
}
END_TEST

/* ---- errors */

static clq_status try_call(clq_context *context, cl_int code)
{
    CL_TRY(context, (clq_cl_error_name(0), code));
    return CLQ_OK;
}

START_TEST(errors)
{
    static const struct {
        cl_int code;
        const char *name;
    } known[] = {{CL_SUCCESS, "CL_SUCCESS"},
                 {CL_OUT_OF_RESOURCES, "CL_OUT_OF_RESOURCES"},
                 {CL_BUILD_PROGRAM_FAILURE, "CL_BUILD_PROGRAM_FAILURE"},
                 {CL_KERNEL_ARG_INFO_NOT_AVAILABLE, "CL_KERNEL_ARG_INFO_NOT_AVAILABLE"},
                 {CL_INVALID_VALUE, "CL_INVALID_VALUE"},
                 {CL_INVALID_BINARY, "CL_INVALID_BINARY"},
                 {CL_INVALID_KERNEL_ARGS, "CL_INVALID_KERNEL_ARGS"},
                 {CL_INVALID_WORK_GROUP_SIZE, "CL_INVALID_WORK_GROUP_SIZE"},
                 {CL_INVALID_DEVICE_PARTITION_COUNT, "CL_INVALID_DEVICE_PARTITION_COUNT"},
                 {-72, "CL_MAX_SIZE_RESTRICTION_EXCEEDED"},
                 {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
                 {-20, "unknown OpenCL error"},
                 {1, "unknown OpenCL error"},
                 {INT32_MIN, "unknown OpenCL error"}};
    clq_context *const context = test_context("scalar", 1, NULL, NULL);

    for (size_t i = 0; i < TEST_COUNT_OF(known); i++)
        TEST_CHECK(strcmp(clq_cl_error_name(known[i].code), known[i].name) == 0, "%d is %s", (int)known[i].code,
                   clq_cl_error_name(known[i].code));
    TEST_CHECK(clq_cl_fail(context, "clCreateBuffer", CL_OUT_OF_RESOURCES) == CLQ_ERROR_DEVICE, "status");
    TEST_CHECK(strcmp(clq_context_error(context), "clCreateBuffer: CL_OUT_OF_RESOURCES (-5)") == 0, "%s",
               clq_context_error(context));
    TEST_CHECK(clq_cl_fail(context, "clFinish(queue)", CL_OUT_OF_HOST_MEMORY) == CLQ_ERROR_OUT_OF_MEMORY, "status");
    TEST_CHECK(strcmp(clq_context_error(context), "clFinish: CL_OUT_OF_HOST_MEMORY (-6)") == 0, "%s", clq_context_error(context));
    TEST_CHECK(clq_cl_fail(context, "x", CL_MEM_OBJECT_ALLOCATION_FAILURE) == CLQ_ERROR_OUT_OF_MEMORY, "status");
    TEST_CHECK(try_call(context, CL_SUCCESS) == CLQ_OK && try_call(context, CL_INVALID_VALUE) == CLQ_ERROR_DEVICE, "CL_TRY");
    clq_context_free(context);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("opencl_cache");
    TCase *tcase = test_case(suite, "cache");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, damage);
    tcase_add_test(tcase, not_files);
    tcase_add_test(tcase, folders);
    tcase_add_test(tcase, refused_folders);
    tcase_add_test(tcase, folder_changes);
    tcase_add_test(tcase, left_behind);
    tcase_add_test(tcase, bounds);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, two_processes);
    tcase_add_test(tcase, four_threads);
    tcase_add_test(tcase, keys);
    tcase = test_case(suite, "device");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, found_devices);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, order);
    tcase_add_test(tcase, errors);
    return test_run(suite);
}
