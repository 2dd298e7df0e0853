/* SPDX-License-Identifier: Apache-2.0
 *
 * From recorded items to C values: decoding strings, finding members, reading numbers. The
 * text has been scanned, so nothing here meets malformed input; only values that are of
 * another type, too long or too large are refused.
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "peers/json.h"
#include "peers/json_text.h"

static unsigned put_utf8(uint32_t code, char piece[4])
{
    if (code < 0x80) {
        piece[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        piece[0] = (char)(0xc0 | code >> 6);
        piece[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        piece[0] = (char)(0xe0 | code >> 12);
        piece[1] = (char)(0x80 | (code >> 6 & 0x3f));
        piece[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    piece[0] = (char)(0xf0 | code >> 18);
    piece[1] = (char)(0x80 | (code >> 12 & 0x3f));
    piece[2] = (char)(0x80 | (code >> 6 & 0x3f));
    piece[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static char short_escape(char letter)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *found = strchr(letters, letter);

    return found != NULL ? values[found - letters] : letter;
}

unsigned json_text_next(const char **at, char piece[4])
{
    const char *p = *at;
    uint32_t code;

    if (*p != '\\') {
        piece[0] = *p;
        *at = p + 1;
        return 1;
    }
    if (p[1] != 'u') {
        piece[0] = short_escape(p[1]);
        *at = p + 2;
        return 1;
    }
    code = (uint32_t)json_hex4(p + 2);
    p += 6;
    if (code >= 0xd800 && code <= 0xdbff) {
        code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)json_hex4(p + 2) - 0xdc00);
        p += 6;
    }
    *at = p;
    return put_utf8(code, piece);
}

bool json_key_is_decoded(const struct json_doc *doc, const struct json_item *item,
                         const char *key, size_t key_len)
{
    const char *at = doc->text + item->key, *end = at + item->key_len;
    size_t used = 0;

    while (at < end) {
        char piece[4];
        unsigned len = json_text_next(&at, piece);

        if (key_len - used < len || memcmp(key + used, piece, len) != 0)
            return false;
        used += len;
    }
    return used == key_len;
}

const struct json_item *json_member(const struct json_doc *doc, const struct json_item *object,
                                    const char *key)
{
    size_t key_len = strlen(key);

    if (object->type != JSON_OBJECT)
        return NULL;
    for (const struct json_item *item = json_first(doc, object); item != NULL;
         item = json_next(doc, item)) {
        if (json_key_is(doc, item, key, key_len))
            return item;
    }
    return NULL;
}

/* ---- strings ---- */

int json_string(const struct json_doc *doc, const struct json_item *item, char *buffer,
                size_t len)
{
    const char *at = doc->text + item->value, *end = at + item->value_len;
    size_t used = 0;

    if (item->type != JSON_STRING)
        return -1;
    if (!item->value_escaped) {
        if (item->value_len >= len)
            return -1;
        memcpy(buffer, at, item->value_len);
        buffer[item->value_len] = '\0';
        return (int)item->value_len;
    }
    while (at < end) {
        char piece[4];
        unsigned piece_len = json_text_next(&at, piece);

        if (piece[0] == '\0' || used + piece_len >= len)
            return -1;
        memcpy(buffer + used, piece, piece_len);
        used += piece_len;
    }
    assert(used < len); /* escapes make at least one byte, which fitted */
    buffer[used] = '\0';
    return (int)used;
}

/* Takes one whole character, U+0000 as U+FFFD. */
static unsigned next_character(const char **at, const char *end, char piece[4])
{
    unsigned len;

    if ((unsigned char)**at >= 0x80) {
        len = (unsigned)json_utf8_len(*at, end);
        assert(len != 0);
        memcpy(piece, *at, len);
        *at += len;
        return len;
    }
    len = json_text_next(at, piece);
    return piece[0] != '\0' ? len : put_utf8(0xfffd, piece);
}

void json_string_cut(const struct json_doc *doc, const struct json_item *item, char *buffer,
                     size_t len)
{
    size_t used = 0;

    assert(len > 0);
    if (item != NULL && item->type == JSON_STRING) {
        const char *at = doc->text + item->value, *end = at + item->value_len;

        while (at < end) {
            char piece[4];
            unsigned piece_len = next_character(&at, end, piece);

            if (used + piece_len >= len)
                break;
            memcpy(buffer + used, piece, piece_len);
            used += piece_len;
        }
    }
    buffer[used] = '\0';
}

/* ---- numbers ---- */

bool json_u64(const struct json_doc *doc, const struct json_item *item, bool strings,
              uint64_t *ret_value)
{
    const char *digits = doc->text + item->value;
    uint64_t value = 0;

    if (item->type != JSON_NUMBER && !(strings && item->type == JSON_STRING))
        return false;
    if (item->value_len == 0 || item->value_len > 19) /* 2^63 has 19 digits */
        return false;
    for (uint32_t i = 0; i < item->value_len; i++) {
        if (!json_digit(digits[i]))
            return false;
        value = value * 10 + (uint64_t)(digits[i] - '0');
    }
    if (value > INT64_MAX)
        return false;
    *ret_value = value;
    return true;
}

/* A decimal number taken apart: digits × 10^exponent. */
struct decimal {
    bool negative;
    uint64_t mantissa;  /* of the first 19 significant digits */
    unsigned digits;    /* significant digits seen, leading zeros not counted */
    int64_t exponent;   /* of the last digit seen */
    const char *number; /* the text, behind the sign */
    size_t number_len;  /* up to its exponent */
};

#define EXPONENT_MAX 100000000 /* far beyond any double; sums of it stay exact */

static void take_apart(const char *p, const char *end, struct decimal *ret)
{
    bool fraction = false;

    *ret = (struct decimal){.negative = *p == '-'};
    p += ret->negative;
    ret->number = p;
    for (; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        ret->exponent -= fraction;
        if (ret->digits == 0 && *p == '0')
            continue;
        if (ret->digits++ < 19)
            ret->mantissa = ret->mantissa * 10 + (uint64_t)(*p - '0');
    }
    ret->number_len = (size_t)(p - ret->number);
    if (p < end) {
        bool down = *++p == '-';
        int64_t exponent = 0;

        for (p += down || *p == '+'; p < end; p++) {
            if (exponent < EXPONENT_MAX)
                exponent = exponent * 10 + (*p - '0');
        }
        ret->exponent += down ? -exponent : exponent;
    }
}

#define DIGITS_DECISIVE 770 /* no double's decimal boundary has more significant digits */

/* Lets strtod() round, without a decimal point: which one it expects depends on the locale. */
static double round_with_strtod(const struct decimal *number)
{
    char text[DIGITS_DECISIVE + 40];
    size_t used = 0;
    int64_t exponent = number->exponent;
    bool more = false; /* a digit other than 0 was left out */

    for (size_t i = 0; i < number->number_len; i++) {
        char c = number->number[i];

        if (c == '.' || (c == '0' && used == 0))
            continue;
        if (used < DIGITS_DECISIVE)
            text[used++] = c;
        else
            more |= c != '0';
    }
    exponent += (int64_t)number->digits - (int64_t)used;
    if (more) {
        text[used++] = '1';
        exponent--;
    }
    snprintf(text + used, sizeof(text) - used, "e%lld", (long long)exponent);
    return strtod(text, NULL);
}

bool json_double(const struct json_doc *doc, const struct json_item *item, double *ret_value)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *text = doc->text + item->value;
    struct decimal number;
    double value;

    if (item->type != JSON_NUMBER)
        return false;
    take_apart(text, text + item->value_len, &number);
    if (number.digits == 0)
        value = 0;
    else if (number.digits <= 19 && number.mantissa <= UINT64_C(1) << 53 &&
             number.exponent >= -22 && number.exponent <= 22)
        /* both operands are exact, so the one rounding is the right one */
        value = number.exponent < 0 ? (double)number.mantissa / powers[-number.exponent]
                                    : (double)number.mantissa * powers[number.exponent];
    else
        value = round_with_strtod(&number);
    if (!isfinite(value))
        return false;
    *ret_value = number.negative ? -value : value;
    return true;
}
