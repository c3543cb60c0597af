/* SPDX-License-Identifier: MIT */
/*
 * A strict JSON reader (RFC 8259) that walks its text once and builds nothing. A tree of a header at the format's limit, 100 MB
 * of "{},", would take gigabytes; this takes the text itself, and cannot run out of memory halfway.
 */
#include "config.h"

#include "io/json.h"

#include "base/util.h"
#include "context.h"
#include "io/text.h"
#include <string.h>

clq_status clq_json_fail(const struct clq_json *json, const char *fault)
{
    return clq_fail(json->context, CLQ_ERROR_FORMAT, "%s: byte %lld: %s", clq_show(json->path).text,
                    (long long)(json->base + json->position), fault);
}

/* The next byte that is not white space; the NUL at the end if there is none. */
static char peek(struct clq_json *json)
{
    for (;;) {
        const char byte = json->text[json->position];
        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r') return byte;
        json->position++;
    }
}

clq_status clq_json_enter(struct clq_json *json, char bracket)
{
    if (peek(json) != bracket) return clq_json_fail(json, bracket == '{' ? "an object was expected" : "an array was expected");
    if (json->depth == CLQ_JSON_MAX_DEPTH) return clq_json_fail(json, "nested too deep: more than 8 levels");
    json->depth++;
    json->position++;
    json->after_value = false;
    return CLQ_OK;
}

clq_status clq_json_next(struct clq_json *json, char bracket, bool *more)
{
    const char close = bracket == '{' ? '}' : ']';
    if (peek(json) == close) {
        json->depth--;
        json->position++;
        json->after_value = true;
        *more = false;
        return CLQ_OK;
    }
    if (json->after_value) {
        if (peek(json) != ',') return clq_json_fail(json, bracket == '{' ? "',' or '}' was expected" : "',' or ']' was expected");
        json->position++;
        if (peek(json) == close) return clq_json_fail(json, "a comma with nothing behind it");
        json->after_value = false;
    }
    *more = true;
    return CLQ_OK;
}

clq_status clq_json_key(struct clq_json *json, const char **key)
{
    CLQ_TRY(clq_json_string(json, key));
    if (peek(json) != ':') return clq_json_fail(json, "':' was expected");
    json->position++;
    json->after_value = false;
    return CLQ_OK;
}

/* Four hexadecimal digits, or -1. The NUL at the end of the text is none, so that no digit beyond it is looked at. */
static int32_t hex4(const char *text)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Writes a code point as UTF-8: at most 3 bytes where its escape took 6, or 4 where it took 12. */
static char *put_utf8(char *out, int32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (code & 0x3f));
    return out;
}

/* \uXXXX, or two of them for a code point beyond 16 bits. */
static clq_status decode_unicode(struct clq_json *json, char **out)
{
    const char *escape = json->text + json->position;
    int32_t code = hex4(escape + 2);
    if (code < 0) return clq_json_fail(json, "\\u needs four hexadecimal digits");
    if (code == 0) return clq_json_fail(json, "a NUL in a string");
    if (code >= 0xd800 && code < 0xe000) {
        const int32_t low = code < 0xdc00 && escape[6] == '\\' && escape[7] == 'u' ? hex4(escape + 8) : -1;
        if (low < 0xdc00 || low >= 0xe000) return clq_json_fail(json, "half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        json->position += 6;
    }
    json->position += 6;
    *out = put_utf8(*out, code);
    return CLQ_OK;
}

static clq_status decode_escape(struct clq_json *json, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char letter = json->text[json->position + 1];
    if (letter == 'u') return decode_unicode(json, out);
    const char *found = letter == '\0' ? NULL : strchr(from, letter);
    if (found == NULL) return clq_json_fail(json, "an unknown escape in a string");
    *(*out)++ = to[found - from];
    json->position += 2;
    return CLQ_OK;
}

clq_status clq_json_string(struct clq_json *json, const char **string)
{
    if (peek(json) != '"') return clq_json_fail(json, "a string was expected");
    json->position++;
    char *const begin = json->text + json->position;
    char *out = begin; /* never ahead of the reading position */
    for (;;) {
        const char *in = json->text + json->position;
        if (*in == '"') break;
        if (*in == '\\') {
            CLQ_TRY(decode_escape(json, &out));
            continue;
        }
        if (json->position == json->size) return clq_json_fail(json, "the text ends inside a string");
        if ((unsigned char)*in < 0x20) return clq_json_fail(json, "a control character in a string");
        const int length = clq_utf8_length(in, json->size - json->position);
        if (length == 0) return clq_json_fail(json, "not UTF-8");
        memmove(out, in, (size_t)length);
        out += length;
        json->position += length;
    }
    *out = '\0';
    json->position++;
    json->after_value = true;
    *string = begin;
    return CLQ_OK;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

clq_status clq_json_size(struct clq_json *json, int64_t *value)
{
    static const char fault[] = "an integer from 0 to 9223372036854775807 was expected";
    int64_t result = 0;
    if (!is_digit(peek(json))) return clq_json_fail(json, fault);
    const char *const begin = json->text + json->position, *c = begin;
    for (; is_digit(*c); c++)
        if (!clq_mul_i64(result, 10, &result) || !clq_add_i64(result, *c - '0', &result)) return clq_json_fail(json, fault);
    if (*c == '.' || *c == 'e' || *c == 'E' || (*begin == '0' && c - begin > 1)) return clq_json_fail(json, fault);
    json->position += c - begin;
    json->after_value = true;
    *value = result;
    return CLQ_OK;
}

/* One digit or more. */
static bool skip_digits(struct clq_json *json)
{
    const int64_t begin = json->position;
    while (is_digit(json->text[json->position]))
        json->position++;
    return json->position > begin;
}

static clq_status skip_number(struct clq_json *json)
{
    if (json->text[json->position] == '-') json->position++;
    bool valid = true;
    if (json->text[json->position] == '0')
        json->position++;
    else
        valid = skip_digits(json);
    if (valid && json->text[json->position] == '.') {
        json->position++;
        valid = skip_digits(json);
    }
    if (valid && (json->text[json->position] == 'e' || json->text[json->position] == 'E')) {
        json->position++;
        if (json->text[json->position] == '+' || json->text[json->position] == '-') json->position++;
        valid = skip_digits(json);
    }
    if (!valid) return clq_json_fail(json, "not a JSON value");
    json->after_value = true;
    return CLQ_OK;
}

static bool skip_word(struct clq_json *json, const char *word)
{
    const size_t length = strlen(word);
    if (strncmp(json->text + json->position, word, length) != 0) return false;
    json->position += (int64_t)length;
    json->after_value = true;
    return true;
}

/* Recursion is bounded by CLQ_JSON_MAX_DEPTH. */
clq_status clq_json_skip(struct clq_json *json)
{
    const char first = peek(json);
    const char *string;
    if (first == '"') return clq_json_string(json, &string);
    if (first != '{' && first != '[') {
        if (skip_word(json, "true") || skip_word(json, "false") || skip_word(json, "null")) return CLQ_OK;
        return skip_number(json);
    }
    CLQ_TRY(clq_json_enter(json, first));
    for (;;) {
        bool more;
        CLQ_TRY(clq_json_next(json, first, &more));
        if (!more) return CLQ_OK;
        if (first == '{') CLQ_TRY(clq_json_key(json, &string));
        CLQ_TRY(clq_json_skip(json));
    }
}

bool clq_json_null(struct clq_json *json)
{
    return peek(json) == 'n' && skip_word(json, "null");
}

clq_status clq_json_end(struct clq_json *json)
{
    peek(json);
    return json->position == json->size ? CLQ_OK : clq_json_fail(json, "text behind the end of the JSON value");
}
