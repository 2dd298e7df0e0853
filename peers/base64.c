/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/base64.h"

#include <stdint.h>

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define BAD 0xff

/* By character, in rows of 16. */
static const uint8_t values[256] = {
/* clang-format off */
#define X BAD
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, 62, X, X, X, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, X, X, X, X, X, X,
    X, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, X, X, X, X, X,
    X, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
#undef X
    /* clang-format on */
};

static uint32_t byte_at(const char *bytes, size_t i)
{
    return (uint8_t)bytes[i];
}

void base64_encode(const char *bytes, size_t len, char *text)
{
    uint32_t bits;

    for (; len >= 3; len -= 3, bytes += 3, text += 4) {
        bits = byte_at(bytes, 0) << 16 | byte_at(bytes, 1) << 8 | byte_at(bytes, 2);
        text[0] = alphabet[bits >> 18];
        text[1] = alphabet[bits >> 12 & 63];
        text[2] = alphabet[bits >> 6 & 63];
        text[3] = alphabet[bits & 63];
    }
    if (len == 0)
        return;
    bits = byte_at(bytes, 0) << 16 | (len == 2 ? byte_at(bytes, 1) << 8 : 0);
    text[0] = alphabet[bits >> 18];
    text[1] = alphabet[bits >> 12 & 63];
    text[2] = len == 2 ? alphabet[bits >> 6 & 63] : '=';
    text[3] = '=';
}

/* The last four characters, one or two of which are padding. @return bytes; 0: malformed */
static size_t decode_padded(const char *text, char *bytes)
{
    uint32_t a = values[(uint8_t)text[0]], b = values[(uint8_t)text[1]],
             c = values[(uint8_t)text[2]];

    if (text[3] != '=' || a == BAD || b == BAD)
        return 0;
    bytes[0] = (char)(a << 2 | b >> 4);
    if (text[2] == '=')
        return (b & 15) == 0 ? 1 : 0;
    if (c == BAD || (c & 3) != 0)
        return 0;
    bytes[1] = (char)((b & 15) << 4 | c >> 2);
    return 2;
}

bool base64_decode(const char *text, size_t len, char *bytes, size_t *ret_len)
{
    const char *start = bytes;

    if (len % 4 != 0)
        return false;
    for (; len > 0; len -= 4, text += 4, bytes += 3) {
        uint32_t a = values[(uint8_t)text[0]], b = values[(uint8_t)text[1]],
                 c = values[(uint8_t)text[2]], d = values[(uint8_t)text[3]];

        if (((a | b | c | d) & 0x80) != 0) {
            size_t left = len == 4 ? decode_padded(text, bytes) : 0;

            *ret_len = (size_t)(bytes - start) + left;
            return left > 0;
        }
        a = a << 18 | b << 12 | c << 6 | d;
        bytes[0] = (char)(a >> 16);
        bytes[1] = (char)(a >> 8);
        bytes[2] = (char)a;
    }
    *ret_len = (size_t)(bytes - start);
    return true;
}
