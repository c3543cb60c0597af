/* SPDX-License-Identifier: MIT */
/* JSON for --json and for metadata, written as it goes: no document in memory, so nothing that can fail but the file. */
#include "config.h"

#include "tool/json.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Bytes of the UTF-8 character that `text` begins with; 0 if it is none (Unicode 15, table 3-7). */
static int character_bytes(const unsigned char *text)
{
    const unsigned char c = text[0];
    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return 0;
    const int bytes = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    const unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high) return 0;
    for (int k = 2; k < bytes; k++)
        if (text[k] < 0x80 || text[k] > 0xbf) return 0;
    return bytes;
}

static void put_string(FILE *out, const char *value)
{
    const unsigned char *text = (const unsigned char *)value;
    putc('"', out);
    while (*text != 0) {
        const int bytes = character_bytes(text);
        if (bytes == 0) {
            fputs("\\ufffd", out);
            text++;
        } else if (*text < 0x20 || *text == 0x7f) {
            fprintf(out, "\\u%04x", *text++);
        } else {
            if (*text == '"' || *text == '\\') putc('\\', out);
            fwrite(text, 1, (size_t)bytes, out);
            text += bytes;
        }
    }
    putc('"', out);
}

/* What comes before a value: the comma, the place, the key. */
static void put_lead(struct clq_tool_json *json, const char *key)
{
    const bool own_line = json->depth > 0 && json->depth <= json->line_depth;
    if (!json->is_first) fputs(own_line ? "," : ", ", json->out);
    if (own_line) fprintf(json->out, "\n%*s", 2 * json->depth, "");
    if (key != NULL) {
        put_string(json->out, key);
        fputs(": ", json->out);
    }
    json->is_first = false;
}

void clq_tool_json_open(struct clq_tool_json *json, const char *key, char bracket)
{
    if (json->depth == 0) json->is_first = true;
    put_lead(json, key);
    putc(bracket, json->out);
    json->depth++;
    json->is_first = true;
}

void clq_tool_json_close(struct clq_tool_json *json, char bracket)
{
    json->depth--;
    if (json->depth < json->line_depth && !json->is_first) fprintf(json->out, "\n%*s", 2 * json->depth, "");
    putc(bracket == '{' ? '}' : ']', json->out);
    json->is_first = false;
    if (json->depth == 0 && json->line_depth > 0) putc('\n', json->out);
}

void clq_tool_json_string(struct clq_tool_json *json, const char *key, const char *value)
{
    put_lead(json, key);
    if (value != NULL)
        put_string(json->out, value);
    else
        fputs("null", json->out);
}

void clq_tool_json_integer(struct clq_tool_json *json, const char *key, int64_t value)
{
    put_lead(json, key);
    fprintf(json->out, "%" PRId64, value);
}

void clq_tool_json_real(struct clq_tool_json *json, const char *key, double value)
{
    put_lead(json, key);
    if (isnan(value))
        fputs("\"NaN\"", json->out);
    else if (isinf(value))
        fputs(value > 0 ? "\"Infinity\"" : "\"-Infinity\"", json->out);
    else
        fprintf(json->out, "%.17g", value);
}

void clq_tool_json_boolean(struct clq_tool_json *json, const char *key, bool value)
{
    put_lead(json, key);
    fputs(value ? "true" : "false", json->out);
}

void clq_tool_json_shape(struct clq_tool_json *json, const char *key, int32_t rank, const int64_t *shape)
{
    put_lead(json, key);
    putc('[', json->out);
    for (int32_t d = 0; d < rank; d++)
        fprintf(json->out, "%s%" PRId64, d > 0 ? ", " : "", shape[d]);
    putc(']', json->out);
}
