/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/query.h"

#include <stdbool.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @return bytes consumed, 0: malformed */
static size_t decode_one(const char *text, size_t len, char *ret_byte)
{
    int high, low;

    if (*text != '%') {
        *ret_byte = *text == '+' ? ' ' : *text;
        return 1;
    }
    if (len < 3 || (high = hex_digit(text[1])) < 0 || (low = hex_digit(text[2])) < 0)
        return 0;
    *ret_byte = (char)(high * 16 + low);
    return *ret_byte != '\0' ? 3 : 0;
}

static void decode(const char *text, size_t text_len, char *buffer, size_t len)
{
    size_t used = 0;

    for (size_t at = 0; at < text_len;) {
        size_t step = used + 1 < len ? decode_one(text + at, text_len - at, &buffer[used]) : 0;

        if (step == 0) {
            buffer[0] = '\0';
            return;
        }
        at += step;
        used++;
    }
    buffer[used] = '\0';
}

void query_value(const char *query, const char *name, char *buffer, size_t len)
{
    size_t name_len = strlen(name);

    buffer[0] = '\0';
    while (*query != '\0') {
        size_t part = strcspn(query, "&");

        if (part > name_len && strncmp(query, name, name_len) == 0 && query[name_len] == '=') {
            decode(query + name_len + 1, part - name_len - 1, buffer, len);
            return;
        }
        query += part;
        if (*query == '&')
            query++;
    }
}
