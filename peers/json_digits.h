/* SPDX-License-Identifier: Apache-2.0
 *
 * Decimal digits, two at a time, for the writers.
 */
#ifndef PARLEY_PEERS_JSON_DIGITS_H
#define PARLEY_PEERS_JSON_DIGITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JSON_U64_MAX     20 /* digits */
#define JSON_SECONDS_MAX 24 /* bytes of a time: 14 digits, the point, 6 digits; rounded up */

extern const char json_digit_pairs[200];

/** Writes two digits. */
static inline void json_pair(char *text, uint32_t value)
{
    memcpy(text, json_digit_pairs + 2 * (size_t)value, 2);
}

/** Writes a number so that it ends before `end`. @return its first digit */
static inline char *json_u64_before(char *end, uint64_t value)
{
    while (value >= 100) {
        end -= 2;
        json_pair(end, (uint32_t)(value % 100));
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        json_pair(end, (uint32_t)value);
        return end;
    }
    *--end = (char)('0' + value);
    return end;
}

/** Writes microseconds as a float of seconds. @return bytes written */
size_t json_seconds(char text[JSON_SECONDS_MAX], uint64_t us);

#endif
