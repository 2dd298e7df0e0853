/* SPDX-License-Identifier: Apache-2.0
 *
 * Values out of scanned texts and values written: strings, integers, doubles, times.
 */
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/json.h"
#include "test/check.h"

static const struct json_limits limits = {.depth_max = 32, .bytes_max = 1 << 20};
static struct alloc memory;

/* Scans a literal that must be good. */
static void scan_good(struct json_doc *doc, const char *text, uint32_t depth)
{
    struct json_error error = {0, ""};

    json_init(doc, &memory);
    if (json_scan(doc, text, strlen(text), &limits, depth, &error) != PARLEY_OK)
        CHECK_TEXT(error.reason, text);
}

static void test_strings(void)
{
    char buffer[16];
    struct json_doc doc;
    const struct json_item *item;

    scan_good(&doc,
              "[\"plain\",\"\\u0041\\n\\/\\\"\\\\\\t\",\"\\u00e9\\u2603\\ud83d\\ude00\","
              "\"a\\u0000b\",\"fifteen bytes..\",\"sixteen bytes...\",17,"
              "\"sixteen\\u0020bytes...\",\"\"]",
              1);
    item = json_first(&doc, doc.items);
    CHECK_U64(json_string(&doc, item, buffer, sizeof(buffer)), 5);
    CHECK_TEXT(buffer, "plain");
    item = json_next(&doc, item);
    CHECK_U64(json_string(&doc, item, buffer, sizeof(buffer)), 6);
    CHECK_TEXT(buffer, "A\n/\"\\\t");
    item = json_next(&doc, item);
    CHECK_U64(json_string(&doc, item, buffer, sizeof(buffer)), 9);
    CHECK_TEXT(buffer, "\xc3\xa9\xe2\x98\x83\xf0\x9f\x98\x80");
    CHECK(json_string(&doc, item, buffer, 9) == -1);
    json_string_cut(&doc, item, buffer, 9);
    CHECK_TEXT(buffer, "\xc3\xa9\xe2\x98\x83");
    item = json_next(&doc, item);
    CHECK(json_string(&doc, item, buffer, sizeof(buffer)) == -1);
    json_string_cut(&doc, item, buffer, sizeof(buffer));
    CHECK_TEXT(buffer, "a\xef\xbf\xbd"
                       "b");
    item = json_next(&doc, item);
    CHECK_U64(json_string(&doc, item, buffer, sizeof(buffer)), 15);
    item = json_next(&doc, item);
    CHECK(json_string(&doc, item, buffer, sizeof(buffer)) == -1);
    json_string_cut(&doc, item, buffer, sizeof(buffer));
    CHECK_TEXT(buffer, "sixteen bytes..");
    item = json_next(&doc, item);
    CHECK(json_string(&doc, item, buffer, sizeof(buffer)) == -1);
    json_string_cut(&doc, item, buffer, sizeof(buffer));
    CHECK_TEXT(buffer, "");
    item = json_next(&doc, item);
    CHECK(json_string(&doc, item, buffer, sizeof(buffer)) == -1);
    item = json_next(&doc, item);
    CHECK_U64(json_string(&doc, item, buffer, 1), 0);
    CHECK(json_string(&doc, item, buffer, 0) == -1);
    json_string_cut(&doc, NULL, buffer, sizeof(buffer));
    CHECK_TEXT(buffer, "");
    json_fini(&doc);
}

/* A text for people ends after a whole character, however it was written. */
static void test_cut_between_characters(void)
{
    static const char *const texts[] = {"\"ab\xc3\xa9\xe2\x98\x83\xf0\x9f\x98\x80z\"",
                                        "\"ab\\u00e9\\u2603\\ud83d\\ude00z\"",
                                        "\"\\u0061b\xc3\xa9\\u2603\xf0\x9f\x98\x80z\""};
    static const char whole[] = "ab\xc3\xa9\xe2\x98\x83\xf0\x9f\x98\x80z";
    static const size_t fits[] = {0, 0, 1, 2, 2, 4, 4, 4, 7, 7, 7, 7, 11, 12, 12};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_doc doc;

        scan_good(&doc, texts[i], 0);
        for (size_t len = 1; len < sizeof(fits) / sizeof(fits[0]); len++) {
            char buffer[16];

            memset(buffer, '#', sizeof(buffer));
            json_string_cut(&doc, doc.items, buffer, len);
            CHECK_BYTES(buffer, strlen(buffer), whole, fits[len]);
            CHECK(buffer[len] == '#');
        }
        json_fini(&doc);
    }
}

static void test_scalars_have_no_members(void)
{
    static const char *const texts[] = {"\"a\"", "1", "null", "[\"a\"]", "[]", "{}"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_doc doc;

        scan_good(&doc, texts[i], 2);
        CHECK(json_member(&doc, doc.items, "a") == NULL);
        CHECK(json_member(&doc, doc.items, "") == NULL);
        json_fini(&doc);
    }
}

static void test_integers(void)
{
    static const struct {
        const char *text;
        bool plain, strings; /* taken as a number; with strings allowed */
        uint64_t value;
    } cases[] = {
        {"0", true, true, 0},
        {"9007199254740993", true, true, UINT64_C(9007199254740993)},
        {"9223372036854775807", true, true, INT64_MAX},
        {"9223372036854775808", false, false, 0},
        {"18446744073709551616", false, false, 0},
        {"100000000000000000000000", false, false, 0},
        {"-1", false, false, 0},
        {"-0", false, false, 0},
        {"1.0", false, false, 0},
        {"1e3", false, false, 0},
        {"\"12\"", false, true, 12},
        {"\"9223372036854775807\"", false, true, INT64_MAX},
        {"\"9223372036854775808\"", false, false, 0},
        {"\"\"", false, false, 0},
        {"\"+1\"", false, false, 0},
        {"\" 1\"", false, false, 0},
        {"\"1x\"", false, false, 0},
        {"\"\\u0031\"", false, false, 0},
        {"true", false, false, 0},
        {"null", false, false, 0},
        {"[]", false, false, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct json_doc doc;
        uint64_t value = 77;

        scan_good(&doc, cases[i].text, 0);
        CHECK(json_u64(&doc, doc.items, false, &value) == cases[i].plain);
        CHECK_U64(value, cases[i].plain ? cases[i].value : 77);
        value = 77;
        CHECK(json_u64(&doc, doc.items, true, &value) == cases[i].strings);
        CHECK_U64(value, cases[i].strings ? cases[i].value : 77);
        json_fini(&doc);
    }
}

static bool same_double(double a, double b)
{
    uint64_t bits[2];

    memcpy(&bits[0], &a, sizeof(a));
    memcpy(&bits[1], &b, sizeof(b));
    return bits[0] == bits[1];
}

static void check_double(const char *text, double expected)
{
    struct json_doc doc;
    double value = 77;

    scan_good(&doc, text, 0);
    if (!json_double(&doc, doc.items, &value) || !same_double(value, expected))
        CHECK_TEXT(text, "(another value)");
    json_fini(&doc);
}

static void test_doubles(void)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1",
        "0.1",
        "1.50",
        "1E5",
        "1795380941.668135",
        "1795380941.6681347",
        "9007199254740992",
        "9007199254740993",
        "9007199254740993.5",
        "1e22",
        "1e23",
        "123456789e-20",
        "1.7976931348623157e308",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "5e-324",
        "2.4703282292062327e-324",
        "1e-400",
        "0e999999999",
        "0.000000000000000000000000000000000000000000000001234567890123456789012345",
        "123456789012345678901234567890",
        "12345678901234567890e-5",
        "1e-22",
        "1e-23",
        "8.41e21",
        "4.35",
        "0.3",
        "2.5e-5",
    };
    static const char *const beyond[] = {"1e309", "-1e309", "1e999999999999999999999",
                                         "true",  "\"1\"",  "1.7976931348623159e308"};
    char digits[1200];
    struct json_doc doc;
    double value = 77;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check_double(texts[i], strtod(texts[i], NULL));
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        scan_good(&doc, beyond[i], 0);
        CHECK(!json_double(&doc, doc.items, &value));
        json_fini(&doc);
    }
    CHECK(same_double(value, 77));
    /* half way between two doubles, and one digit more, far behind what is kept */
    memset(digits, '0', sizeof(digits));
    memcpy(digits, "9007199254740993.", 17);
    digits[1198] = '1';
    digits[1199] = '\0';
    check_double(digits, 9007199254740994.0);
    digits[1198] = '0';
    check_double(digits, 9007199254740992.0);
}

static void test_doubles_random(void)
{
    struct check_random random = {check_seed(0x646f7562)};

    for (int i = 0; i < 20000; i++) {
        uint64_t bits = check_random_next(&random);
        char text[64];
        double expected;

        memcpy(&expected, &bits, sizeof(expected));
        if (!isfinite(expected))
            continue;
        snprintf(text, sizeof(text), i % 2 ? "%.17g" : "%.6e", expected);
        check_double(text, strtod(text, NULL));
    }
}

static void test_locale_does_not_matter(void)
{
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL &&
        setlocale(LC_NUMERIC, "fr_FR.UTF-8") == NULL)
        (void)setlocale(LC_NUMERIC, ""); /* then at least the way without a point is taken */
    check_double("12345678901234567890.5", 12345678901234567168.0);
    check_double("1.5e100", 1.5e100);
    (void)setlocale(LC_NUMERIC, "C");
}

/* ---- writing ---- */

static const char *put_string(const char *text, size_t len)
{
    static char buffer[256];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer) - 1};

    json_put_string(&out, text, len);
    CHECK(!out.overflow);
    buffer[out.len] = '\0';
    return buffer;
}

static void test_put_string(void)
{
    CHECK_TEXT(put_string("", 0), "\"\"");
    CHECK_TEXT(put_string("plain /'<>\x7f", 11), "\"plain /'<>\x7f\"");
    CHECK_TEXT(put_string("\"\\\b\f\n\r\t", 7), "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
    CHECK_TEXT(put_string("\0\x01\x1f", 3), "\"\\u0000\\u0001\\u001f\"");
    CHECK_TEXT(put_string("\xc3\xa9\xf0\x9f\x98\x80", 6), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    CHECK_TEXT(put_string("a\xff"
                          "b\xe2\x98",
                          5),
               "\"a\xef\xbf\xbd"
               "b\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void test_put_string_round_trip(void)
{
    struct check_random random = {check_seed(0x73747267)};

    for (int i = 0; i < 5000; i++) {
        char text[40], wire[300], back[200];
        size_t len = check_random_below(&random, sizeof(text));
        struct json_out out = {.buffer = wire, .capacity = sizeof(wire)};
        struct json_doc doc;
        struct json_error error;

        for (size_t k = 0; k < len; k++)
            text[k] = (char)(1 + check_random_below(&random, i % 2 ? 255 : 127));
        json_put_string(&out, text, len);
        json_init(&doc, &memory);
        CHECK_STATUS(json_scan(&doc, wire, out.len, &limits, 0, &error), OK);
        CHECK(json_string(&doc, doc.items, back, sizeof(back)) >= 0);
        if (i % 2 == 0)
            CHECK_BYTES(back, strlen(back), text, len);
        json_fini(&doc);
    }
}

static void test_put_does_not_overflow(void)
{
    char buffer[8] = "????????";
    struct json_out out = {.buffer = buffer, .capacity = 4};

    json_put(&out, "abc", 3);
    json_put(&out, "de", 2);
    CHECK(out.overflow && out.len == 3);
    json_put(&out, "f", 1); /* nothing more, or the text would have a hole */
    CHECK(out.overflow && out.len == 3);
    CHECK_BYTES(buffer, 8, "abc?????", 8);
}

static void check_seconds(uint64_t us, const char *expected)
{
    char buffer[32];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer) - 1};

    json_put_seconds(&out, us);
    buffer[out.len] = '\0';
    CHECK_TEXT(buffer, expected);
}

static void test_put_seconds(void)
{
    check_seconds(UINT64_C(1795380941668135), "1795380941.668135");
    check_seconds(UINT64_C(1700000000500000), "1700000000.5");
    check_seconds(UINT64_C(1700000000000000), "1700000000.0");
    check_seconds(UINT64_C(1700000000000001), "1700000000.000001");
    check_seconds(UINT64_C(1700000000120000), "1700000000.12");
    check_seconds(UINT64_C(1000000000000000), "1000000000.0");
    check_seconds(UINT64_C(999999999999999), "999999999.999999");
    check_seconds(UINT64_C(9999999999999999), "9999999999.999999");
    check_seconds(UINT64_C(10000000000000001), "10000000000.000001");
    check_seconds(UINT64_C(1002030405060708), "1002030405.060708");
    check_seconds(0, "0.0");
    check_seconds(1, "1e-06");
    check_seconds(10, "1e-05");
    check_seconds(12, "1.2e-05");
    check_seconds(99, "9.9e-05");
    check_seconds(100, "0.0001");
    check_seconds(123456, "0.123456");
    check_seconds(UINT64_MAX, "18446744073709.551615");
}

/* Shortest: as Python's repr, it is what %.17g rounds to, and no shorter text is. */
static void test_put_seconds_is_shortest(void)
{
    struct check_random random = {check_seed(0x74696d65)};

    for (int i = 0; i < 20000; i++) {
        uint64_t us = check_random_below(&random, UINT64_C(4000000000000000));
        char buffer[32], shorter[320];
        struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer) - 1};
        double value = (double)us / 1e6;
        int precision = 1;

        json_put_seconds(&out, us);
        buffer[out.len] = '\0';
        do {
            snprintf(shorter, sizeof(shorter), "%.*g", precision++, value);
        } while (!same_double(strtod(shorter, NULL), value));
        if (strchr(shorter, 'e') != NULL)
            continue;
        if (strchr(shorter, '.') == NULL)
            snprintf(shorter, sizeof(shorter), "%.1f", value);
        CHECK_TEXT(buffer, shorter);
    }
}

static void test_put_u64(void)
{
    static const uint64_t values[] = {0, 9, 10, 99, 100, 101, 12345, INT64_MAX, UINT64_MAX};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char buffer[32], expected[32];
        struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer) - 1};

        json_put_u64(&out, values[i]);
        buffer[out.len] = '\0';
        snprintf(expected, sizeof(expected), "%" PRIu64, values[i]);
        CHECK_TEXT(buffer, expected);
    }
}

static const struct check_test tests[] = {
    {"strings are decoded or cut", test_strings},
    {"texts are cut between characters", test_cut_between_characters},
    {"what is no object has no members", test_scalars_have_no_members},
    {"integers at their limits", test_integers},
    {"doubles are rounded correctly at their limits", test_doubles},
    {"random doubles are rounded as strtod rounds them", test_doubles_random},
    {"the host's locale does not change numbers", test_locale_does_not_matter},
    {"strings are escaped, invalid bytes replaced", test_put_string},
    {"what is written as a string reads back the same", test_put_string_round_trip},
    {"a full buffer stays as it is", test_put_does_not_overflow},
    {"times are written as Python writes them", test_put_seconds},
    {"times are the shortest that round-trip", test_put_seconds_is_shortest},
    {"integers are written whole", test_put_u64},
};

int main(int argc, char **argv)
{
    alloc_init(&memory, NULL);
    return check_main("json values", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
