/* SPDX-License-Identifier: Apache-2.0
 *
 * A second opinion on what is strict JSON: recursive and slow, compares decoded code points,
 * shares nothing with the scanner. Included by the one test program that asks for it.
 */
#ifndef PARLEY_TEST_JSON_ORACLE_H
#define PARLEY_TEST_JSON_ORACLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ORACLE_KEYS_MAX 64
#define ORACLE_KEY_MAX  128

struct oracle {
    const unsigned char *text;
    size_t at, len;
    unsigned depth_left;
};

struct oracle_key {
    uint32_t codes[ORACLE_KEY_MAX];
    size_t len;
};

static int oracle_byte(const struct oracle *o)
{
    return o->at < o->len ? o->text[o->at] : -1;
}

static void oracle_space(struct oracle *o)
{
    int c = oracle_byte(o);

    while (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        o->at++;
        c = oracle_byte(o);
    }
}

static bool oracle_word(struct oracle *o, const char *word)
{
    size_t len = strlen(word);

    if (o->len - o->at < len || memcmp(o->text + o->at, word, len) != 0)
        return false;
    o->at += len;
    return true;
}

static int64_t oracle_hex(struct oracle *o)
{
    int64_t value = 0;

    for (int i = 0; i < 4; i++) {
        int c = oracle_byte(o);
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *found = c > 0 ? strchr(digits, c) : NULL;

        if (found == NULL)
            return -1;
        value = value * 16 + (found - digits) % 16;
        o->at++;
    }
    return value;
}

/* One code point of raw UTF-8, or -1: decodes first, then asks whether it was the shortest. */
static int64_t oracle_utf8(struct oracle *o)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int c = oracle_byte(o);
    unsigned len = c < 0x80   ? 1
                   : c < 0xc0 ? 0
                   : c < 0xe0 ? 2
                   : c < 0xf0 ? 3
                   : c < 0xf8 ? 4
                              : 0;
    uint32_t code = len == 1 ? (uint32_t)c : (uint32_t)c & (0x7fU >> len);

    if (len == 0 || o->len - o->at < len)
        return -1;
    for (unsigned i = 1; i < len; i++) {
        if (o->text[o->at + i] >> 6 != 2)
            return -1;
        code = code << 6 | (o->text[o->at + i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return -1;
    o->at += len;
    return code;
}

static int64_t oracle_escape(struct oracle *o)
{
    int c = oracle_byte(o);
    int64_t high, low;

    o->at++;
    if (c == '"' || c == '\\' || c == '/')
        return c;
    if (c == 'b' || c == 'f' || c == 'n' || c == 'r' || c == 't')
        return c == 'b' ? 8 : c == 'f' ? 12 : c == 'n' ? 10 : c == 'r' ? 13 : 9;
    if (c != 'u')
        return -1;
    high = oracle_hex(o);
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || !oracle_word(o, "\\u"))
        return -1;
    low = oracle_hex(o);
    return low >= 0xdc00 && low <= 0xdfff ? 0x10000 + (high - 0xd800) * 1024 + low - 0xdc00
                                          : -1;
}

static bool oracle_string(struct oracle *o, struct oracle_key *ret)
{
    ret->len = 0;
    if (!oracle_word(o, "\""))
        return false;
    while (oracle_byte(o) >= 0x20) {
        int64_t code;

        if (oracle_word(o, "\""))
            return true;
        code = oracle_word(o, "\\") ? oracle_escape(o) : oracle_utf8(o);
        if (code < 0)
            return false;
        if (ret->len < ORACLE_KEY_MAX)
            ret->codes[ret->len++] = (uint32_t)code;
    }
    return false;
}

static bool oracle_digits(struct oracle *o)
{
    size_t start = o->at;

    while (oracle_byte(o) >= '0' && oracle_byte(o) <= '9')
        o->at++;
    return o->at > start;
}

static bool oracle_number(struct oracle *o)
{
    (void)oracle_word(o, "-");
    if (!oracle_word(o, "0") && !oracle_digits(o))
        return false;
    if (oracle_word(o, ".") && !oracle_digits(o))
        return false;
    if (!oracle_word(o, "e") && !oracle_word(o, "E"))
        return true;
    if (!oracle_word(o, "+"))
        (void)oracle_word(o, "-");
    return oracle_digits(o);
}

static bool oracle_value(struct oracle *o);

static bool oracle_member(struct oracle *o, struct oracle_key *keys, size_t *keys_len)
{
    struct oracle_key *key = &keys[*keys_len];

    oracle_space(o);
    if (*keys_len == ORACLE_KEYS_MAX || !oracle_string(o, key))
        return false;
    for (size_t i = 0; i < key->len; i++) {
        if (key->codes[i] == 0)
            return false;
    }
    for (size_t i = 0; i < *keys_len; i++) {
        if (keys[i].len == key->len &&
            memcmp(keys[i].codes, key->codes, key->len * sizeof(key->codes[0])) == 0)
            return false;
    }
    ++*keys_len;
    oracle_space(o);
    return oracle_word(o, ":") && oracle_value(o);
}

static bool oracle_container(struct oracle *o, bool object)
{
    struct oracle_key keys[ORACLE_KEYS_MAX];
    size_t keys_len = 0;
    const char *close = object ? "}" : "]";

    if (o->depth_left == 0)
        return false;
    o->depth_left--;
    oracle_space(o);
    if (!oracle_word(o, close)) {
        do {
            if (object ? !oracle_member(o, keys, &keys_len) : !oracle_value(o))
                return false;
        } while (oracle_word(o, ","));
        if (!oracle_word(o, close))
            return false;
    }
    o->depth_left++;
    return true;
}

static bool oracle_value(struct oracle *o)
{
    struct oracle_key ignored;
    bool good;

    oracle_space(o);
    if (oracle_byte(o) == '"')
        good = oracle_string(o, &ignored);
    else if (oracle_word(o, "{"))
        good = oracle_container(o, true);
    else if (oracle_word(o, "["))
        good = oracle_container(o, false);
    else
        good = oracle_word(o, "true") || oracle_word(o, "false") || oracle_word(o, "null") ||
               oracle_number(o);
    oracle_space(o);
    return good;
}

/** Tells whether `text` is one strict JSON text with at most `depth_max` open containers. */
static bool json_oracle(const char *text, size_t len, unsigned depth_max)
{
    struct oracle o = {(const unsigned char *)text, 0, len, depth_max};

    return oracle_value(&o) && o.at == len;
}

#endif
