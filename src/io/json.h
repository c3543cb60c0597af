/* SPDX-License-Identifier: MIT */
/* A strict JSON reader that walks its text once and builds nothing. */
#ifndef CLQ_IO_JSON_H
#define CLQ_IO_JSON_H

#include <clquant_io.h>
#include <stdbool.h>

#define CLQ_JSON_MAX_DEPTH 8 /* the formats need 3 */

/* Text being read. Strings are decoded in place: they point into `text` and live as long. */
struct clq_json {
    clq_context *context;
    const char *path; /* for messages */
    int64_t base;     /* where in the file the text begins, for messages */
    char *text;       /* `size` bytes and a NUL */
    int64_t size;
    int64_t position;
    int32_t depth;
    bool after_value; /* a comma or the end must come next */
};

/* "PATH: byte N: fault" as CLQ_ERROR_FORMAT. */
clq_status clq_json_fail(const struct clq_json *json, const char *fault);

/* Enters an object or array: '{' or '['. */
clq_status clq_json_enter(struct clq_json *json, char bracket);

/* Goes to the next member or item of what was entered with `bracket`, or, past the last, leaves it and sets `more` to false. */
clq_status clq_json_next(struct clq_json *json, char bracket, bool *more);

/* A member's key and its colon. */
clq_status clq_json_key(struct clq_json *json, const char **key);

/* A string. One with a NUL in it is refused. */
clq_status clq_json_string(struct clq_json *json, const char **string);

/* An integer from 0 to 2^63 - 1. */
clq_status clq_json_size(struct clq_json *json, int64_t *value);

/* Any value, checked and thrown away. */
clq_status clq_json_skip(struct clq_json *json);

/* True if null comes next; it is passed over. */
bool clq_json_null(struct clq_json *json);

/* Only white space may be left. */
clq_status clq_json_end(struct clq_json *json);

#endif
