/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over a corpus, for builds without libFuzzer: over the files and folders that are its arguments, or, as the
 * program fuzz_NAME, over $CLQ_SRCDIR/tests/fuzz/corpus/NAME.
 */
#include "config.h"

#include "fuzz_file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int replayed;

static int replay_file(const char *path, size_t size)
{
    /* Exactly as large as the input, so that a sanitizer sees a byte read beyond it. */
    unsigned char *const data = malloc(size > 0 ? size : 1);
    FILE *const file = fopen(path, "rb");
    const int fine = file != NULL && data != NULL && fread(data, 1, size, file) == size;
    if (fine) {
        LLVMFuzzerTestOneInput(data, size);
        replayed++;
    } else {
        perror(path);
    }
    if (file != NULL) fclose(file);
    free(data);
    return fine;
}

static int replay(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        return 0;
    }
    if (!S_ISDIR(info.st_mode)) return replay_file(path, (size_t)info.st_size);
    DIR *const folder = opendir(path);
    int fine = folder != NULL;
    if (folder == NULL) perror(path);
    for (struct dirent *entry; fine && (entry = readdir(folder)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        fine = replay(name);
    }
    if (folder != NULL) closedir(folder);
    return fine;
}

int main(int argc, char **argv)
{
    const char *const source = getenv("CLQ_SRCDIR"), *const slash = strrchr(argv[0], '/');
    const char *const name = strstr(slash != NULL ? slash : argv[0], "fuzz_");
    char corpus[4096];
    int fine = 1;
    snprintf(corpus, sizeof corpus, "%s/tests/fuzz/corpus/%s", source != NULL ? source : ".", name != NULL ? name + 5 : "");
    for (int i = 1; i < argc; i++)
        fine &= replay(argv[i]);
    if (argc < 2) fine = replay(corpus);
    printf("%d inputs replayed\n", replayed);
    return fine && replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
