/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing JSON into a bounded buffer. What does not fit sets `overflow` and leaves `len`
 * where it was, so a caller checks once at the end. Numbers are written with integer
 * arithmetic only: no locale, no rounding.
 */
#include <assert.h>

#include "peers/json.h"
#include "peers/json_digits.h"
#include "peers/json_text.h"

const char json_digit_pairs[200] = "00010203040506070809101112131415161718192021222324"
                                   "25262728293031323334353637383940414243444546474849"
                                   "50515253545556575859606162636465666768697071727374"
                                   "75767778798081828384858687888990919293949596979899";

void json_put(struct json_out *out, const char *bytes, size_t len)
{
    if (out->overflow || len > out->capacity - out->len) {
        out->overflow = true;
        return;
    }
    if (len > 0) /* an empty text may be NULL */
        memcpy(out->buffer + out->len, bytes, len);
    out->len += len;
}

void json_put_text(struct json_out *out, const char *text)
{
    json_put(out, text, strlen(text));
}

static void put_escape(struct json_out *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    static const char values[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = byte != 0 ? strchr(values, byte) : NULL;
    char text[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};

    if (found == NULL) {
        json_put(out, text, 6);
        return;
    }
    text[1] = letters[found - values];
    json_put(out, text, 2);
}

void json_put_string(struct json_out *out, const char *text, size_t len)
{
    const char *p = text, *end = text + len;

    json_put(out, "\"", 1);
    while (p < end) {
        const char *special = json_plain_end(p, end);
        size_t wide;

        json_put(out, p, (size_t)(special - p));
        p = special;
        if (p == end)
            break;
        if ((unsigned char)*p < 0x80) {
            put_escape(out, (unsigned char)*p++);
            continue;
        }
        wide = json_utf8_len(p, end);
        if (wide != 0)
            json_put(out, p, wide);
        else
            json_put(out, "\xef\xbf\xbd", 3);
        p += wide != 0 ? wide : 1;
    }
    json_put(out, "\"", 1);
}

void json_put_u64(struct json_out *out, uint64_t value)
{
    char text[JSON_U64_MAX];
    char *start = json_u64_before(text + sizeof(text), value);

    json_put(out, start, (size_t)(text + sizeof(text) - start));
}

void json_put_seconds(struct json_out *out, uint64_t us)
{
    char text[JSON_SECONDS_MAX];

    json_put(out, text, json_seconds(text, us));
}

/* Python switches to exponents below 0.0001. */
static size_t tiny_seconds(char *text, unsigned us)
{
    size_t len = 0;
    bool two = us >= 10;

    text[len++] = (char)('0' + (two ? us / 10 : us));
    if (two && us % 10 != 0) {
        text[len++] = '.';
        text[len++] = (char)('0' + us % 10);
    }
    text[len++] = 'e';
    text[len++] = '-';
    json_pair(text + len, two ? 5 : 6);
    return len + 2;
}

size_t json_seconds(char text[JSON_SECONDS_MAX], uint64_t us)
{
    uint64_t seconds = us / 1000000;
    uint32_t fraction = (uint32_t)(us % 1000000);
    char whole[JSON_U64_MAX];
    char *start;
    size_t len;

    if (us > 0 && us < 100)
        return tiny_seconds(text, (unsigned)us);
    start = json_u64_before(whole + sizeof(whole), seconds);
    len = (size_t)(whole + sizeof(whole) - start);
    memcpy(text, start, len);
    text[len++] = '.';
    json_pair(text + len, fraction / 10000);
    json_pair(text + len + 2, fraction / 100 % 100);
    json_pair(text + len + 4, fraction % 100);
    len += 6;
    while (text[len - 1] == '0' && text[len - 2] != '.')
        len--;
    return len;
}
