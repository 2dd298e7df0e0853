/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as Python writes what it read: integers keep their digits, floats take the fewest
 * digits that read back as the same double.
 *
 * A decimal of 15 digits or fewer survives the way to a double and back, so its own digits
 * are the answer and nothing is computed: most numbers end here. For the rest the C library
 * rounds, exactly, and the first rounding that reads back wins. It is never shown a decimal
 * point, which depends on the locale.
 */
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "peers/canonical.h"
#include "peers/json_text.h"

#define DIGITS_SAFE  15  /* DBL_DIG: decimals that any normal double keeps */
#define DIGITS_MAX   17  /* tell any two doubles apart */
#define POINT_SAFE   290 /* decimals this far from 1 are normal doubles */
#define POINT_LEAST  (-4)
#define POINT_MOST   16 /* beyond these two: with an exponent */
#define EXPONENT_MAX 100000000

static_assert(DBL_DIG == DIGITS_SAFE && DBL_DECIMAL_DIG == DIGITS_MAX, "IEEE 754 doubles");

/* 0.DIGITS × 10^point, without leading or trailing zeros; no digits: zero */
struct shortest {
    char digits[DIGITS_MAX + 1];
    unsigned len;
    int64_t point;
};

static void put_exponent(struct json_out *out, int64_t exponent)
{
    uint64_t size = (uint64_t)(exponent < 0 ? -exponent : exponent);

    json_put_text(out, exponent < 0 ? "e-" : "e+");
    if (size < 10)
        json_put_text(out, "0");
    json_put_u64(out, size);
}

static void put_zeros(struct json_out *out, int64_t count)
{
    while (count-- > 0)
        json_put(out, "0", 1);
}

static void put_shortest(struct json_out *out, const struct shortest *number)
{
    int64_t point = number->point, len = number->len;

    if (len == 0) {
        json_put_text(out, "0.0");
    } else if (point <= POINT_LEAST || point > POINT_MOST) {
        json_put(out, number->digits, 1);
        if (len > 1) {
            json_put(out, ".", 1);
            json_put(out, number->digits + 1, (size_t)len - 1);
        }
        put_exponent(out, point - 1);
    } else if (point <= 0) {
        json_put_text(out, "0.");
        put_zeros(out, -point);
        json_put(out, number->digits, (size_t)len);
    } else if (point >= len) {
        json_put(out, number->digits, (size_t)len);
        put_zeros(out, point - len);
        json_put_text(out, ".0");
    } else {
        json_put(out, number->digits, (size_t)point);
        json_put(out, ".", 1);
        json_put(out, number->digits + point, (size_t)(len - point));
    }
}

/* ---- Doubles ---- */

static double read_back(const struct shortest *number)
{
    char text[DIGITS_MAX + 24];

    snprintf(text, sizeof(text), "%.*se%lld", (int)number->len, number->digits,
             (long long)(number->point - number->len));
    return strtod(text, NULL);
}

/* Rounds to so many digits. What stands between them is the locale's point. */
static void round_to(double value, int digits, struct shortest *ret)
{
    char text[64];
    const char *p = text;

    snprintf(text, sizeof(text), "%.*e", digits - 1, value);
    for (ret->len = 0; *p != 'e'; p++) {
        if (json_digit(*p) && ret->len < DIGITS_MAX)
            ret->digits[ret->len++] = *p;
    }
    ret->point = strtol(p + 1, NULL, 10) + 1;
}

/* The next larger number of as many digits. */
static void step_up(struct shortest *number)
{
    unsigned at = number->len;

    while (at > 0 && number->digits[at - 1] == '9')
        number->digits[--at] = '0';
    if (at > 0) {
        number->digits[at - 1]++;
        return;
    }
    number->digits[0] = '1';
    number->point++;
}

/* Below a power of two doubles lie twice as close as above it: the nearest decimal may miss
 * where the one above it does not. */
static bool found(double value, int digits, struct shortest *ret)
{
    int exponent;

    round_to(value, digits, ret);
    if (read_back(ret) == value)
        return true;
    if (frexp(value, &exponent) != 0.5)
        return false;
    step_up(ret);
    return read_back(ret) == value;
}

/* The smallest doubles have fewer digits, and anybody may send many of them. They lie equally
 * far apart, so that every further digit does where one fewer did. */
static void find_smallest(double value, struct shortest *ret)
{
    int least = 1, most = 1;

    while (most < DIGITS_MAX && !found(value, most, ret)) {
        least = most + 1;
        most = 2 * most < DIGITS_MAX ? 2 * most : DIGITS_MAX;
    }
    while (least < most) {
        int middle = (least + most) / 2;

        if (found(value, middle, ret))
            most = middle;
        else
            least = middle + 1;
    }
    if (ret->len != (unsigned)least)
        round_to(value, least, ret);
}

static void find(double value, struct shortest *ret)
{
    for (int digits = DIGITS_SAFE; digits < DIGITS_MAX; digits++) {
        if (found(value, digits, ret))
            return;
    }
    round_to(value, DIGITS_MAX, ret);
}

void canonical_double(struct json_out *out, double value)
{
    struct shortest number = {.len = 0};

    assert(isfinite(value));
    if (signbit(value))
        json_put(out, "-", 1);
    value = fabs(value);
    if (value >= DBL_MIN)
        find(value, &number);
    else if (value != 0)
        find_smallest(value, &number);
    while (number.len > 0 && number.digits[number.len - 1] == '0')
        number.len--;
    put_shortest(out, &number);
}

/* ---- Texts ---- */

/* Takes a float apart. @return false: it has more digits than are safe, or lies too far out */
static bool take_apart(const char *p, const char *end, struct shortest *ret)
{
    int64_t zeros = 0, exponent = 0; /* zeros: that count only if a digit follows */
    bool fraction = false;

    *ret = (struct shortest){.len = 0};
    for (; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (*p == '0') {
            if (ret->len > 0)
                zeros++;
            ret->point -= fraction && ret->len == 0;
            ret->point += !fraction && ret->len > 0;
            continue;
        }
        ret->point += !fraction;
        if (ret->len + zeros >= DIGITS_SAFE)
            return false;
        for (; zeros > 0; zeros--)
            ret->digits[ret->len++] = '0';
        ret->digits[ret->len++] = *p;
    }
    if (ret->len == 0)
        return true;
    if (p < end) {
        bool down = *++p == '-';

        for (p += down || *p == '+'; p < end; p++) {
            if (exponent < EXPONENT_MAX)
                exponent = exponent * 10 + (*p - '0');
        }
        ret->point += down ? -exponent : exponent;
    }
    return ret->point > -POINT_SAFE && ret->point < POINT_SAFE;
}

static bool is_integer(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' || (text[i] | 0x20) == 'e')
            return false;
    }
    return true;
}

void canonical_number(struct json_out *out, const char *text, size_t len)
{
    const bool negative = *text == '-';
    const struct json_doc doc = {.text = text, .len = len};
    const struct json_item item = {.type = JSON_NUMBER, .value_len = (uint32_t)len};
    struct shortest number;
    double value;

    if (is_integer(text, len)) {
        if (len == 2 && memcmp(text, "-0", 2) == 0)
            json_put_text(out, "0");
        else
            json_put(out, text, len);
    } else if (take_apart(text + negative, text + len, &number)) {
        if (negative)
            json_put(out, "-", 1);
        put_shortest(out, &number);
    } else if (json_double(&doc, &item, &value)) {
        canonical_double(out, value);
    } else {
        json_put_text(out, negative ? "-Infinity" : "Infinity");
    }
}
