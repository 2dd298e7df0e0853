/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of JSON strings and numbers: runs that need no look, UTF-8, escapes. What the
 * scanner, the readers and the writer share. Sixteen bytes at a time where SSE2 is there
 * (-DJSON_PORTABLE leaves it out), never reading beyond `end`.
 */
#ifndef PARLEY_PEERS_JSON_TEXT_H
#define PARLEY_PEERS_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__) && !defined(JSON_PORTABLE)
#define JSON_SSE2 1
#include <emmintrin.h>
#else
#define JSON_SSE2 0
#endif

/** A byte that stands for itself in a string: ASCII, no control, quote or backslash. */
static inline bool json_byte_plain(char byte)
{
    unsigned char c = (unsigned char)byte;

    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/** The first byte from `p` on that is not plain, or `end`. */
static inline const char *json_plain_end(const char *p, const char *end)
{
#if JSON_SSE2
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');

    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed: bytes from 0x80 on are below the space too */
        __m128i stop = _mm_or_si128(
            _mm_cmplt_epi8(bytes, space),
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop);

        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && json_byte_plain(*p))
        p++;
    return p;
}

static inline bool json_digit(char byte)
{
    return (unsigned char)(byte - '0') < 10;
}

/** The first byte from `p` on that is no digit, or `end`. */
static inline const char *json_digits_end(const char *p, const char *end)
{
#if JSON_SSE2
    const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);

    for (; end - p >= 16; p += 16) {
        __m128i value = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), zero);
        __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(value, nine), value);
        unsigned mask = ~(unsigned)_mm_movemask_epi8(digit) & 0xffff;

        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && json_digit(*p))
        p++;
    return p;
}

static inline bool json_utf8_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/** Bytes of the well-formed character of two bytes or more at `text`, 0: there is none
 *  (Unicode 15, table 3-7). */
static inline size_t json_utf8_len(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = (size_t)(end - text);

    if (p[0] < 0xc2 || p[0] > 0xf4 || left < 2 || !json_utf8_tail(p[1]))
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if (left < 3 || !json_utf8_tail(p[2]))
        return 0;
    if (p[0] < 0xf0) {
        bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
        bool surrogate = p[0] == 0xed && p[1] > 0x9f;

        return overlong || surrogate ? 0 : 3;
    }
    if (left < 4 || !json_utf8_tail(p[3]))
        return 0;
    return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

/** Value of four hexadecimal digits, or -1. */
static inline int json_hex4(const char *p)
{
    int value = 0;

    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit;

        if (json_digit(c))
            digit = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20) - 'a' + 10;
        else
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/** Takes the next piece of a scanned string: one byte as it stands, or one escape as its
 *  UTF-8 bytes. @return bytes put into `piece` */
unsigned json_text_next(const char **at, char piece[4]);

#endif
