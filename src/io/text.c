/* SPDX-License-Identifier: MIT */
/* Text of strangers in our messages, and text that we write: UTF-8, display, a growing buffer, JSON strings. */
#include "config.h"

#include "io/text.h"

#include "base/alloc.h"
#include "base/util.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int clq_utf8_length(const char *text, int64_t size)
{
    /* RFC 3629, section 4: the first byte tells the length and bounds the second one. */
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) return 1;
    const int length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || size < length) return 0;
    const unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) return 0;
    for (int i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return length;
}

bool clq_utf8_valid(const char *text)
{
    int64_t left = (int64_t)strlen(text);
    while (left > 0) {
        const int length = clq_utf8_length(text, left);
        if (length == 0) return false;
        text += length;
        left -= length;
    }
    return true;
}

/* Copies to `out` without control characters: C0, DEL, and C1, which UTF-8 writes as 0xc2 0x80..0x9f. */
static void copy_printable(char *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)text[i];
        const bool c1 = byte >= 0x80 && byte < 0xa0 && i > 0 && (unsigned char)text[i - 1] == 0xc2;
        out[i] = byte < 0x20 || byte == 0x7f || c1 ? '?' : text[i];
        if (c1) out[i - 1] = '?';
    }
}

struct clq_shown clq_show(const char *text)
{
    struct clq_shown shown;
    const size_t size = strlen(text);
    if (size < sizeof shown.text) {
        copy_printable(shown.text, text, size);
        shown.text[size] = '\0';
        return shown;
    }
    /* Neither cut falls between the bytes of a character. */
    size_t head = (sizeof shown.text - 4) / 2;
    size_t tail = size - (sizeof shown.text - 4 - head);
    while (head > 0 && ((unsigned char)text[head] & 0xc0) == 0x80)
        head--;
    while (tail < size && ((unsigned char)text[tail] & 0xc0) == 0x80)
        tail++;
    copy_printable(shown.text, text, head);
    memcpy(shown.text + head, "...", 3);
    copy_printable(shown.text + head + 3, text + tail, size - tail);
    shown.text[head + 3 + size - tail] = '\0';
    return shown;
}

void clq_text_append(struct clq_text *text, const char *bytes, int64_t size)
{
    if (text->failed || size == 0) return;
    if (size > text->capacity - text->size) {
        const int64_t wanted = clq_max_i64(2 * text->capacity, text->size + clq_max_i64(size, 256));
        char *grown = clq_alloc(text->allocator, wanted, 1);
        if (grown == NULL) {
            text->failed = true;
            return;
        }
        if (text->size > 0) memcpy(grown, text->data, (size_t)text->size);
        clq_dealloc(text->allocator, text->data);
        text->data = grown;
        text->capacity = wanted;
    }
    memcpy(text->data + text->size, bytes, (size_t)size);
    text->size += size;
}

void clq_text_append_string(struct clq_text *text, const char *string)
{
    clq_text_append(text, string, (int64_t)strlen(string));
}

void clq_text_append_int(struct clq_text *text, int64_t value)
{
    char digits[24];
    clq_text_append(text, digits, snprintf(digits, sizeof digits, "%" PRId64, value));
}

void clq_text_append_fill(struct clq_text *text, char byte, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        clq_text_append(text, &byte, 1);
}

void clq_text_append_json(struct clq_text *text, const char *string)
{
    clq_text_append(text, "\"", 1);
    for (const char *c = string; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            const char escape[2] = {'\\', *c};
            clq_text_append(text, escape, 2);
        } else if ((unsigned char)*c < 0x20) {
            char escape[8];
            clq_text_append(text, escape, snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*c));
        } else {
            clq_text_append(text, c, 1);
        }
    }
    clq_text_append(text, "\"", 1);
}

void clq_text_free(struct clq_text *text)
{
    clq_dealloc(text->allocator, text->data);
    text->data = NULL;
    text->size = text->capacity = 0;
}
