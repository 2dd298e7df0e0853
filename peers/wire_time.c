/* SPDX-License-Identifier: Apache-2.0
 *
 * ISO 8601 times, as older peers write them ("2026-11-22T20:55:44.590514+00:00", "…Z", or
 * without an offset, which means UTC), to and from time since the epoch. The calendar is
 * counted in eras of 400 years that begin in March, so that the leap day comes last.
 */
#include <stdio.h>

#include "peers/json_text.h"
#include "peers/wire.h"

#define DAYS_PER_ERA        146097
#define EPOCH_DAY           719468 /* 1970-01-01 counted from 0000-03-01 */
#define ISO_TEXT_MAX        40
#define SECONDS_PER_DAY     86400
#define FRACTION_DIGITS_MAX 9

static int64_t days_from_date(unsigned year, unsigned month, unsigned day)
{
    unsigned y = month <= 2 ? year - 1 : year; /* the year is 1 or later */
    unsigned of_era = y % 400;
    unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return (int64_t)(y / 400) * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 +
           of_year - EPOCH_DAY;
}

static void date_from_days(uint64_t days, unsigned *ret_year, unsigned *ret_month,
                           unsigned *ret_day)
{
    uint64_t shifted = days + EPOCH_DAY;
    unsigned of_era = (unsigned)(shifted % DAYS_PER_ERA);
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * of_year + 2) / 153;

    *ret_day = of_year - (153 * month + 2) / 5 + 1;
    *ret_month = month < 10 ? month + 3 : month - 9;
    *ret_year = (unsigned)(shifted / DAYS_PER_ERA) * 400 + year + (*ret_month <= 2);
}

/* Takes `count` digits; false: they are not there, or not within [least, most]. */
static bool digits(const char **p, unsigned count, unsigned least, unsigned most,
                   unsigned *ret_value)
{
    unsigned value = 0;

    for (unsigned i = 0; i < count; i++) {
        if (!json_digit((*p)[i]))
            return false;
        value = value * 10 + (unsigned)((*p)[i] - '0');
    }
    *p += count;
    *ret_value = value;
    return value >= least && value <= most;
}

static bool mark(const char **p, char expected)
{
    if (**p != expected)
        return false;
    ++*p;
    return true;
}

static bool leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool date(const char **p, int64_t *ret_days)
{
    static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year, month, day;

    if (!digits(p, 4, 1, 9999, &year) || !mark(p, '-') || !digits(p, 2, 1, 12, &month) ||
        !mark(p, '-') || !digits(p, 2, 1, 31, &day))
        return false;
    if (day > lengths[month - 1] + (unsigned)(month == 2 && leap(year)))
        return false;
    *ret_days = days_from_date(year, month, day);
    return true;
}

static bool fraction(const char **p, double *ret_fraction)
{
    unsigned count = 0, value = 0;
    double unit = 1;

    *ret_fraction = 0;
    if (**p != '.' && **p != ',')
        return true;
    for (++*p; json_digit(**p); ++*p) {
        if (count++ >= FRACTION_DIGITS_MAX)
            continue;
        value = value * 10 + (unsigned)(**p - '0');
        unit *= 10;
    }
    *ret_fraction = value / unit;
    return count > 0;
}

static bool offset(const char **p, int64_t *ret_seconds)
{
    unsigned hours, minutes = 0;
    bool west = **p == '-';

    *ret_seconds = 0;
    if (**p == '\0' || mark(p, 'Z') || mark(p, 'z'))
        return true;
    if (!west && **p != '+')
        return false;
    ++*p;
    if (!digits(p, 2, 0, 23, &hours))
        return false;
    (void)mark(p, ':');
    if (**p != '\0' && !digits(p, 2, 0, 59, &minutes))
        return false;
    *ret_seconds = (int64_t)(hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
}

static bool iso(const char *p, double *ret_seconds)
{
    int64_t days, zone;
    unsigned hour, minute, second;
    double part;

    if (!date(&p, &days) || (!mark(&p, 'T') && !mark(&p, 't') && !mark(&p, ' ')) ||
        !digits(&p, 2, 0, 23, &hour) || !mark(&p, ':') || !digits(&p, 2, 0, 59, &minute) ||
        !mark(&p, ':') || !digits(&p, 2, 0, 60, &second) || !fraction(&p, &part) ||
        !offset(&p, &zone) || *p != '\0')
        return false;
    *ret_seconds =
        (double)(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - zone) + part;
    return true;
}

bool wire_time(const struct json_doc *doc, const struct json_item *item, double *ret_seconds)
{
    char text[ISO_TEXT_MAX];

    if (json_double(doc, item, ret_seconds))
        return true;
    return json_string(doc, item, text, sizeof(text)) > 0 && iso(text, ret_seconds);
}

void wire_put_iso(struct json_out *out, uint64_t timestamp_us)
{
    uint64_t seconds = timestamp_us / 1000000;
    unsigned of_day = (unsigned)(seconds % SECONDS_PER_DAY);
    unsigned year, month, day;
    char text[64];

    date_from_days(seconds / SECONDS_PER_DAY, &year, &month, &day);
    snprintf(text, sizeof(text), "\"%04u-%02u-%02uT%02u:%02u:%02u.%06u+00:00\"", year, month,
             day, of_day / 3600, of_day / 60 % 60, of_day % 60,
             (unsigned)(timestamp_us % 1000000));
    json_put_text(out, text);
}
