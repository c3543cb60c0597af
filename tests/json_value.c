/* SPDX-License-Identifier: MIT */
/* For scripts: checks that a file is JSON, and prints the value at a path such as "tensors.0.mse". usage: json_value FILE [PATH]
 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const json_t *step(const json_t *node, const char *name)
{
    return json_is_array(node) ? json_array_get(node, strtoul(name, NULL, 10)) : json_object_get(node, name);
}

int main(int argc, char **argv)
{
    json_error_t error;
    if (argc != 2 && argc != 3) return 2;
    json_t *root = json_load_file(argv[1], JSON_REJECT_DUPLICATES, &error);
    const json_t *node = root;
    if (root == NULL) {
        fprintf(stderr, "json_value: %s: line %d: %s\n", argv[1], error.line, error.text);
        return 1;
    }
    for (char *name = argc == 3 ? strtok(argv[2], ".") : NULL; name != NULL && node != NULL; name = strtok(NULL, "."))
        node = step(node, name);
    if (node == NULL) {
        fprintf(stderr, "json_value: %s: no such value\n", argv[1]);
    } else if (json_is_string(node)) {
        puts(json_string_value(node));
    } else if (argc == 3) {
        json_dumpf(node, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
        putchar('\n');
    }
    const int status = node == NULL;
    json_decref(root);
    return status;
}
