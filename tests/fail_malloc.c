/* SPDX-License-Identifier: MIT */
/*
 * Linked into a program, makes one of its allocations fail, wherever it comes from: CLQ_FAIL_ALLOCATION=5 fails the fifth, 5+ the
 * fifth and all later ones. The file CLQ_FAIL_MARK is created when that happens. Counting begins where main() does.
 *
 * Needs the GNU C library. Where a sanitizer has the allocations in its own hands this file is empty; the mark tells.
 */
#include "config.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#include <stdlib.h>

#if defined(__GLIBC__) && !defined(SANITIZED)

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static long left = -1; /* allocations until the one that fails; below 0: none does */
static bool all_later;

__attribute__((constructor)) static void arm(void)
{
    const char *text = getenv("CLQ_FAIL_ALLOCATION");
    char *end;
    if (text == NULL) return;
    left = strtol(text, &end, 10);
    all_later = *end == '+';
}

static bool fails(void)
{
    if (left < 0) return false;
    if (left > 0 && --left > 0) return false;
    if (!all_later) left = -1;
    const char *mark = getenv("CLQ_FAIL_MARK");
    const int file = mark != NULL ? open(mark, O_WRONLY | O_CREAT, 0600) : -1;
    if (file >= 0) close(file);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails() ? NULL : __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (fails()) return ENOMEM;
    *memory = __libc_memalign(alignment, size);
    return *memory != NULL ? 0 : ENOMEM;
}

#endif
