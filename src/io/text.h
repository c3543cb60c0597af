/* SPDX-License-Identifier: MIT */
/* Text of strangers in our messages, and text that we write. */
#ifndef CLQ_IO_TEXT_H
#define CLQ_IO_TEXT_H

#include <clquant.h>
#include <stdbool.h>

/* Length of the UTF-8 sequence at `text`, 1 to 4, or 0 if there is none among its `size` bytes (1 or more): overlong forms and
   surrogates are none. */
int clq_utf8_length(const char *text, int64_t size);

bool clq_utf8_valid(const char *text);

#define CLQ_SHOWN_BYTES 180 /* a path, a name and the fault fit a context's line together */

struct clq_shown {
    char text[CLQ_SHOWN_BYTES];
};

/* `text` fit for a line on a terminal: '?' for control characters, "..." for the middle of what is too long. */
struct clq_shown clq_show(const char *text);

/* Text that grows. After a failed allocation nothing more is appended. */
struct clq_text {
    const clq_allocator *allocator;
    char *data; /* not NUL-terminated */
    int64_t size;
    int64_t capacity;
    bool failed;
};

void clq_text_append(struct clq_text *text, const char *bytes, int64_t size);
void clq_text_append_string(struct clq_text *text, const char *string);
void clq_text_append_int(struct clq_text *text, int64_t value);
void clq_text_append_fill(struct clq_text *text, char byte, int64_t count);

/* Appends a JSON string with its quotes; `string` is UTF-8. */
void clq_text_append_json(struct clq_text *text, const char *string);

void clq_text_free(struct clq_text *text);

#endif
