/* SPDX-License-Identifier: MIT */
/* The cache of compiled programs: its folder, its files, its bounds. */
#include "config.h"

#include "opencl/cl_cache.h"

#include "base/alloc.h"
#include "base/util.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * A file: magic, format version (4 bytes, little endian), 4 zeros, key, size of the payload (8 bytes, little endian), payload,
 * SHA-256 of all before.
 */
#define MAGIC          "CLQPROG\n"
#define FORMAT         1
#define KEY_AT         16
#define SIZE_AT        (KEY_AT + CLQ_CL_CACHE_KEY_BYTES)
#define HEADER_BYTES   (SIZE_AT + 8)
#define MAX_FILE_BYTES (INT64_C(256) << 20)

#define SUFFIX           ".clqbin"
#define NAME_BYTES       (2 * CLQ_CL_CACHE_KEY_BYTES + sizeof SUFFIX)
#define TEMPORARY_PREFIX "clqtmp-"

#define MAX_FOLDER_BYTES  3072  /* leaves room for a file's name below PATH_MAX */
#define MAX_ENTRIES       16384 /* of a folder are looked at, whatever somebody put there */
#define MAX_REMOVALS      64    /* at a time */
#define MAX_TEMPORARIES   64    /* of a process at a time */
#define TEMPORARY_SECONDS (24 * 60 * 60)

/* ------------------------------------------------------------------------------------------------ folder */

static void turn_off(struct clq_cl_cache *cache, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What comes from the environment may hold anything. */
static void make_printable(char *text)
{
    for (; *text; ++text)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

static void turn_off(struct clq_cl_cache *cache, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cache->reason, sizeof cache->reason, format, arguments);
    va_end(arguments);
    make_printable(cache->reason);
}

/* A variable; NULL if it is unset, empty, or not to be believed since the process has rights that its caller may not have. */
static const char *read_variable(const char *name)
{
#ifdef HAVE_SECURE_GETENV
    const char *value = secure_getenv(name);
#else
    const char *value = getuid() == geteuid() && getgid() == getegid() ? getenv(name) : NULL;
#endif
    return value && *value ? value : NULL;
}

/* Writes the folder's path, and how much of its beginning must be there already. False: there is none, the reason is written. */
static bool find_path(struct clq_cl_cache *cache, char path[MAX_FOLDER_BYTES], size_t *given_length)
{
    const char *own = read_variable("CLQ_CACHE_DIR"), *xdg = read_variable("XDG_CACHE_HOME"), *home = read_variable("HOME");
    int length;

    *given_length = 0;
    if (own) {
        if (*own != '/') {
            turn_off(cache, "CLQ_CACHE_DIR = \"%.80s\" is not an absolute path", own);
            return false;
        }
        length = snprintf(path, MAX_FOLDER_BYTES, "%s", own);
    } else if (xdg && *xdg == '/') { /* the XDG base directory specification: a relative path is to be ignored */
        length = snprintf(path, MAX_FOLDER_BYTES, "%s/clquant", xdg);
    } else if (home && *home == '/') {
        length = snprintf(path, MAX_FOLDER_BYTES, "%s/.cache/clquant", home);
        *given_length = strlen(home);
    } else {
        turn_off(cache, home ? "HOME is not an absolute path" : "none of CLQ_CACHE_DIR, XDG_CACHE_HOME and HOME is set");
        return false;
    }
    if (length < 0 || length >= MAX_FOLDER_BYTES) {
        turn_off(cache, "the folder's path is longer than %d bytes", MAX_FOLDER_BYTES - 1);
        return false;
    }
    return true;
}

/* Whether it worked, opening the folder will tell. */
static void create_folders(char *path, size_t given_length)
{
    for (char *slash = path + given_length + 1; *slash; ++slash) {
        if (*slash != '/') continue;
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    (void)mkdir(path, 0700);
}

/*
 * The folder, open, or -1 with errno if it cannot be had or is not ours alone to write to: who writes there chooses the code that
 * we run. What is checked is what was opened, so nobody can exchange it in between; a link to a folder of ours will do. It
 * is opened for each use: a descriptor kept for long would be at the mercy of a program that closes those it does not know.
 */
static int open_folder(const char *path, const char **obstacle)
{
    const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat info;

    *obstacle = NULL;
    if (folder < 0) return -1;
    if (fstat(folder, &info) != 0)
        *obstacle = strerror(errno);
    else if (info.st_uid != geteuid())
        *obstacle = "belongs to another user";
    else if (info.st_mode & (S_IWGRP | S_IWOTH))
        *obstacle = "others may write to it";
    if (!*obstacle) return folder;
    close(folder);
    errno = EPERM;
    return -1;
}

static int open_cache(const struct clq_cl_cache *cache)
{
    const char *obstacle;
    return cache->folder ? open_folder(cache->folder, &obstacle) : -1;
}

/* ------------------------------------------------------------------------------------------------ what is in it */

static bool is_program(const char *name)
{
    return strlen(name) == NAME_BYTES - 1 && strspn(name, "0123456789abcdef") == 2 * CLQ_CL_CACHE_KEY_BYTES &&
           strcmp(name + 2 * CLQ_CL_CACHE_KEY_BYTES, SUFFIX) == 0;
}

static bool is_temporary(const char *name)
{
    return strncmp(name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) == 0;
}

/* What one walk over the folder finds. */
struct census {
    int64_t files, bytes;    /* programs and what they take up */
    char oldest[NAME_BYTES]; /* "" if there is none */
    struct timespec oldest_time;
    int64_t temporaries_removed;
};

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

static void count_program(struct census *census, const char *name, const char *spared, const struct stat *info)
{
    census->files++;
    census->bytes += info->st_size;
    if (spared && strcmp(name, spared) == 0) return;
    if (census->oldest[0] == '\0' || is_before(&info->st_mtim, &census->oldest_time)) {
        memcpy(census->oldest, name, sizeof census->oldest);
        census->oldest_time = info->st_mtim;
    }
}

/* A process that died between creating and renaming leaves a file; a day later nobody can still be writing it. */
static void remove_temporary(struct census *census, int folder, const char *name, const struct stat *info)
{
    if (census->temporaries_removed >= MAX_REMOVALS || info->st_mtim.tv_sec > time(NULL) - TEMPORARY_SECONDS) return;
    if (unlinkat(folder, name, 0) == 0) census->temporaries_removed++;
}

/* Walks over the folder. `spared` is not taken for the oldest. False if it cannot be read. */
static bool take_census(int folder, const char *spared, bool clean, struct census *census)
{
    const int again =
        openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closedir() closes it, and it has its own position */
    DIR *const entries = again < 0 ? NULL : fdopendir(again);
    const struct dirent *entry;
    struct stat info;

    *census = (struct census){0};
    if (!entries) {
        if (again >= 0) close(again);
        return false;
    }
    for (int32_t i = 0; i < MAX_ENTRIES && (entry = readdir(entries)) != NULL; ++i) {
        const bool program = is_program(entry->d_name);
        if (!program && !(clean && is_temporary(entry->d_name))) continue;
        if (fstatat(folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
        if (program)
            count_program(census, entry->d_name, spared, &info);
        else
            remove_temporary(census, folder, entry->d_name, &info);
    }
    closedir(entries);
    return true;
}

/* Removes the oldest until the rest is within bounds. One walk for each: after a store there is rarely more than one to go. */
static void make_room(const struct clq_cl_cache *cache, int folder, const char *spared)
{
    struct census census;
    for (int32_t i = 0; i < MAX_REMOVALS; ++i) {
        if (!take_census(folder, spared, false, &census)) return;
        if ((census.files <= cache->max_files && census.bytes <= cache->max_bytes) || census.oldest[0] == '\0') return;
        if (unlinkat(folder, census.oldest, 0) != 0 && errno != ENOENT) return;
    }
}

/* ------------------------------------------------------------------------------------------------ open and close */

void clq_cl_cache_open(struct clq_cl_cache *cache, const clq_allocator *allocator)
{
    char path[MAX_FOLDER_BYTES];
    size_t given_length;
    const char *obstacle;
    struct census census;
    int folder;

    *cache = (struct clq_cl_cache){.max_files = CLQ_CL_CACHE_FILES, .max_bytes = CLQ_CL_CACHE_BYTES};
    if (!find_path(cache, path, &given_length)) return;
    folder = open_folder(path, &obstacle);
    if (folder < 0 && errno == ENOENT) {
        create_folders(path, given_length);
        folder = open_folder(path, &obstacle);
    }
    if (folder < 0) {
        turn_off(cache, "%.100s: %s", path, obstacle ? obstacle : strerror(errno));
        return;
    }
    (void)take_census(folder, NULL, true, &census);
    close(folder);
    cache->folder = clq_alloc_string(allocator, path);
    if (!cache->folder) turn_off(cache, "no memory");
}

void clq_cl_cache_close(struct clq_cl_cache *cache, const clq_allocator *allocator)
{
    clq_dealloc(allocator, cache->folder);
    cache->folder = NULL;
    snprintf(cache->reason, sizeof cache->reason, "closed");
}

void clq_cl_cache_describe(const struct clq_cl_cache *cache, char *text, size_t size_bytes)
{
    struct census census;
    int folder;

    if (!cache->folder) {
        snprintf(text, size_bytes, "off: %s", cache->reason);
        return;
    }
    folder = open_cache(cache);
    if (folder >= 0 && take_census(folder, NULL, false, &census))
        snprintf(text, size_bytes, "%s, %lld program%s, %lld KB", cache->folder, (long long)census.files,
                 census.files == 1 ? "" : "s", (long long)clq_ceil_div(census.bytes, 1024));
    else
        snprintf(text, size_bytes, "%s, which cannot be read any more", cache->folder);
    if (folder >= 0) close(folder);
    if (size_bytes > 0) make_printable(text);
}

/* ------------------------------------------------------------------------------------------------ key */

static void write_little_endian(uint8_t *bytes, uint64_t value, int count)
{
    for (int i = 0; i < count; ++i)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t read_little_endian(const uint8_t *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; ++i)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static void add_number(struct clq_sha256 *sum, uint64_t number)
{
    uint8_t bytes[8];
    write_little_endian(bytes, number, sizeof bytes);
    clq_sha256_add(sum, bytes, sizeof bytes);
}

/* With its length, so that "ab" "c" and "a" "bc" differ. */
static void add_text(struct clq_sha256 *sum, const char *text, size_t length)
{
    add_number(sum, length);
    clq_sha256_add(sum, text, length);
}

void clq_cl_cache_key(const struct clq_cl_device *device, int32_t count, const char *const *sources, const size_t *lengths,
                      const char *options, uint8_t key[CLQ_CL_CACHE_KEY_BYTES])
{
    struct clq_sha256 sum;

    clq_sha256_start(&sum);
    add_text(&sum, MAGIC, sizeof MAGIC - 1);
    add_number(&sum, FORMAT);
    add_text(&sum, device->name, strlen(device->name));
    add_text(&sum, device->version, strlen(device->version));
    add_text(&sum, device->driver, strlen(device->driver));
    add_number(&sum, (uint64_t)device->address_bits);
    add_text(&sum, options, strlen(options));
    add_number(&sum, (uint64_t)count);
    for (int32_t i = 0; i < count; ++i)
        add_text(&sum, sources[i], lengths && lengths[i] ? lengths[i] : strlen(sources[i]));
    clq_sha256_finish(&sum, key);
}

/* ------------------------------------------------------------------------------------------------ load and store */

static void write_name(const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], char name[NAME_BYTES])
{
    for (size_t i = 0; i < CLQ_CL_CACHE_KEY_BYTES; ++i)
        snprintf(name + 2 * i, NAME_BYTES - 2 * i, "%02x", key[i]);
    memcpy(name + 2 * CLQ_CL_CACHE_KEY_BYTES, SUFFIX, sizeof SUFFIX);
}

static bool read_all(int file, void *data, size_t size_bytes)
{
    char *out = data;
    while (size_bytes > 0) {
        const ssize_t done = read(file, out, size_bytes);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        out += done;
        size_bytes -= (size_t)done;
    }
    return true;
}

static bool write_all(int file, const void *data, size_t size_bytes)
{
    const char *in = data;
    while (size_bytes > 0) {
        const ssize_t done = write(file, in, size_bytes);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        in += done;
        size_bytes -= (size_t)done;
    }
    return true;
}

static void make_header(const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], size_t size_bytes, uint8_t header[HEADER_BYTES])
{
    memset(header, 0, HEADER_BYTES);
    memcpy(header, MAGIC, sizeof MAGIC - 1);
    write_little_endian(header + 8, FORMAT, 4);
    memcpy(header + KEY_AT, key, CLQ_CL_CACHE_KEY_BYTES);
    write_little_endian(header + SIZE_AT, size_bytes, 8);
}

static void make_sum(const uint8_t header[HEADER_BYTES], const void *binary, size_t size_bytes, uint8_t digest[CLQ_SHA256_BYTES])
{
    struct clq_sha256 sum;
    clq_sha256_start(&sum);
    clq_sha256_add(&sum, header, HEADER_BYTES);
    clq_sha256_add(&sum, binary, size_bytes);
    clq_sha256_finish(&sum, digest);
}

/* The payload's size; 0 if this is not a file that store() wrote for this key. */
static size_t read_header(int file, const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], uint8_t header[HEADER_BYTES])
{
    uint8_t expected[HEADER_BYTES];
    struct stat info;
    uint64_t size_bytes;

    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid() || info.st_mode & (S_IWGRP | S_IWOTH))
        return 0;
    if (info.st_size <= HEADER_BYTES + CLQ_SHA256_BYTES || info.st_size > MAX_FILE_BYTES) return 0;
    if (!read_all(file, header, HEADER_BYTES)) return 0;
    size_bytes = read_little_endian(header + SIZE_AT, 8);
    if (size_bytes != (uint64_t)info.st_size - HEADER_BYTES - CLQ_SHA256_BYTES) return 0;
    make_header(key, (size_t)size_bytes, expected);
    return memcmp(header, expected, HEADER_BYTES) == 0 ? (size_t)size_bytes : 0;
}

static uint8_t *read_program(int file, const clq_allocator *allocator, const uint8_t key[CLQ_CL_CACHE_KEY_BYTES],
                             size_t *size_bytes)
{
    uint8_t header[HEADER_BYTES], stored[CLQ_SHA256_BYTES], digest[CLQ_SHA256_BYTES];
    const size_t size = read_header(file, key, header);
    uint8_t *const memory = size > 0 ? clq_alloc(allocator, (int64_t)size, 1) : NULL;

    if (!memory) return NULL;
    if (read_all(file, memory, size) && read_all(file, stored, sizeof stored)) {
        make_sum(header, memory, size, digest);
        if (memcmp(stored, digest, sizeof digest) == 0) {
            *size_bytes = size;
            return memory;
        }
    }
    clq_dealloc(allocator, memory);
    return NULL;
}

bool clq_cl_cache_load(const struct clq_cl_cache *cache, const clq_allocator *allocator,
                       const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], uint8_t **binary, size_t *size_bytes)
{
    const int folder = open_cache(cache);
    char name[NAME_BYTES];
    uint8_t *memory = NULL;
    int file;

    if (folder < 0) return false;
    write_name(key, name);
    /* O_NONBLOCK: opening a pipe must not wait for a writer. */
    file = openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (file >= 0) {
        memory = read_program(file, allocator, key, size_bytes);
        if (memory) (void)futimens(file, NULL); /* used now: the last to be removed */
        close(file);
    }
    close(folder);
    if (memory) *binary = memory;
    return memory != NULL;
}

/* A new file with a name that nobody else has. It is made of the process's number for whoever looks at what was left behind. */
static int create_temporary(int folder, char name[NAME_BYTES])
{
    for (int i = 0; i < MAX_TEMPORARIES; ++i) {
        int file;
        snprintf(name, NAME_BYTES, TEMPORARY_PREFIX "%ld-%d", (long)getpid(), i);
        file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file >= 0 || errno != EEXIST) return file;
    }
    return -1;
}

/* Without fsync(): a file that a crash of the machine tears or empties has a wrong sum, and costs one build. */
static bool write_program(int file, const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], const void *binary, size_t size_bytes)
{
    uint8_t header[HEADER_BYTES], digest[CLQ_SHA256_BYTES];
    make_header(key, size_bytes, header);
    make_sum(header, binary, size_bytes, digest);
    return write_all(file, header, sizeof header) && write_all(file, binary, size_bytes) &&
           write_all(file, digest, sizeof digest);
}

bool clq_cl_cache_store(const struct clq_cl_cache *cache, const uint8_t key[CLQ_CL_CACHE_KEY_BYTES], const void *binary,
                        size_t size_bytes)
{
    char name[NAME_BYTES], temporary[NAME_BYTES];
    bool stored = false;
    int folder, file;

    if (size_bytes == 0 || size_bytes > (size_t)(MAX_FILE_BYTES - HEADER_BYTES - CLQ_SHA256_BYTES)) return false;
    folder = open_cache(cache);
    if (folder < 0) return false;
    write_name(key, name);
    file = create_temporary(folder, temporary);
    if (file >= 0) {
        stored = write_program(file, key, binary, size_bytes);
        stored = close(file) == 0 && stored;
        stored = stored && renameat(folder, temporary, folder, name) == 0;
        if (!stored) (void)unlinkat(folder, temporary, 0);
    }
    if (stored) make_room(cache, folder, name);
    close(folder);
    return stored;
}
