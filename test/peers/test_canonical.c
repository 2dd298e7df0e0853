/* SPDX-License-Identifier: Apache-2.0
 *
 * Canonical bytes: the vectors, each rule by an example whose answer is known, memory running
 * out, and texts that are large or deep.
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "peers/canonical.h"
#include "test/check.h"
#include "test/peers/vectors.h"
#include "test/runtime/fail_alloc.h"

static struct alloc alloc;
static struct canonical canonical;

static void begin(void)
{
    alloc_init(&alloc, NULL);
    canonical_init(&canonical, &alloc);
}

static void end(void)
{
    canonical_fini(&canonical);
}

/* A sanitizer sees one byte too far. */
static char *exact(const char *text, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);

    memcpy(copy, text, len);
    return copy;
}

static char *written(const char *text, size_t len)
{
    char *copy = exact(text, len), *seen = NULL;
    const char *bytes;
    size_t bytes_len;

    if (canonical_text(&canonical, copy, len, &bytes, &bytes_len) == PARLEY_OK) {
        seen = calloc(1, bytes_len + 1);
        memcpy(seen, bytes, bytes_len);
    }
    free(copy);
    return seen;
}

static void check_written(const char *text, const char *expected)
{
    char *seen = written(text, strlen(text));

    CHECK_TEXT(seen != NULL ? seen : "(refused)", expected);
    free(seen);
}

/* ---- Vectors ---- */

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsString(item) ? item->valuestring : "";
}

/* The envelope's six fields, out of the text that went over the wire. */
static void check_signed(const cJSON *vector)
{
    const char *wire = text_of(vector, "wire_json");
    const struct json_limits limits = {.depth_max = 32, .bytes_max = 1 << 20};
    char msg_type[65], nonce[65], sender[65], version[9];
    struct canonical_message message = {
        .msg_type = msg_type, .nonce = nonce, .sender_id = sender, .version = version};
    struct json_error error;
    const char *bytes;
    struct json_doc doc;
    size_t len;

    json_init(&doc, &alloc);
    CHECK_STATUS(json_scan(&doc, wire, strlen(wire), &limits, 1, &error), OK);
    json_string(&doc, json_member(&doc, doc.items, "msg_type"), msg_type, sizeof(msg_type));
    json_string(&doc, json_member(&doc, doc.items, "nonce"), nonce, sizeof(nonce));
    json_string(&doc, json_member(&doc, doc.items, "sender_id"), sender, sizeof(sender));
    json_string(&doc, json_member(&doc, doc.items, "version"), version, sizeof(version));
    message.payload = wire + json_member(&doc, doc.items, "payload")->value;
    message.payload_len = json_member(&doc, doc.items, "payload")->value_len;
    message.timestamp = wire + json_member(&doc, doc.items, "timestamp")->value;
    message.timestamp_len = json_member(&doc, doc.items, "timestamp")->value_len;
    if (message.timestamp[-1] == '"') {
        message.timestamp--;
        message.timestamp_len += 2;
    }
    if (CHECK_STATUS(canonical_message(&canonical, &message, &bytes, &len), OK)) {
        uint8_t expected[4096];
        size_t expected_len = vector_hex(text_of(vector, "canonical_hex"), expected);

        CHECK_BYTES(bytes, len, expected, expected_len);
    }
    json_fini(&doc);
}

static void messages_of_the_vectors(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector;
    uint64_t count = 0;

    begin();
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(all, "signed_messages"))
    {
        check_signed(vector);
        count++;
    }
    CHECK_U64(count, 12);
    cJSON_Delete(all);
    end();
}

static void floats_of_the_vectors(void)
{
    cJSON *all = vectors_load();
    const cJSON *pair;
    uint64_t count = 0;

    cJSON_ArrayForEach(pair, cJSON_GetObjectItem(all, "python_float_repr"))
    {
        double value = strtod(cJSON_GetArrayItem(pair, 0)->valuestring, NULL);
        char buffer[64] = "";
        struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer) - 1};

        if (!isfinite(value))
            continue; /* no JSON has them */
        canonical_double(&out, value);
        CHECK_TEXT(buffer, cJSON_GetArrayItem(pair, 1)->valuestring);
        count++;
    }
    CHECK_U64(count, 17);
    cJSON_Delete(all);
}

/* ---- Rules ---- */

static void numbers_as_python_reads_and_writes_them(void)
{
    begin();
    check_written("1.50", "1.5");
    check_written("1E5", "100000.0");
    check_written("-0", "0");
    check_written("-0.0", "-0.0");
    check_written("0e5", "0.0");
    check_written("-0E-7", "-0.0");
    check_written("1e400", "Infinity");
    check_written("-1e400", "-Infinity");
    check_written("1e-400", "0.0");
    check_written("-1e-400", "-0.0");
    check_written("123456789012345678901234567890", "123456789012345678901234567890");
    check_written("-9223372036854775809", "-9223372036854775809");
    check_written("0.1000000000000000055511151231257827", "0.1");
    check_written("100000000000000000000.0", "1e+20");
    check_written("9007199254740993.0", "9007199254740992.0");
    check_written("5.6843418860808015e-14", "5.684341886080802e-14");
    check_written("4.9406564584124654e-324", "5e-324");
    check_written("2.2250738585072014e-308", "2.2250738585072014e-308");
    check_written("0.00001", "1e-05");
    check_written("0.0001", "0.0001");
    check_written("1234567890123456e0", "1234567890123456.0");
    check_written("12345678901234567e0", "1.2345678901234568e+16");
    check_written("1200e-2", "12.0");
    check_written("1.5e300", "1.5e+300");
    check_written("1e0000000000000000000005", "100000.0");
    end();
}

static void keys_in_the_order_of_code_points(void)
{
    begin();
    check_written(" { \"b\" : 1 , \"a\" : [ 1 , { \"d\" : 2 , \"c\" : 3 } ] } ",
                  "{\"a\":[1,{\"c\":3,\"d\":2}],\"b\":1}");
    /* as code points, not as UTF-16 and not as they are written */
    check_written("{\"\\ud83d\\ude00\":1,\"\xef\xbd\x81\":2,\"\\u0061\":3,\"Z\":4,\"\":5}",
                  "{\"\":5,\"Z\":4,\"a\":3,\"\\uff41\":2,\"\\ud83d\\ude00\":1}");
    check_written("{\"ab\":1,\"\\u0061\":2,\"a\\u0062c\":3,\"aa\":4}",
                  "{\"a\":2,\"aa\":4,\"ab\":1,\"abc\":3}");
    end();
}

static void strings_in_ascii(void)
{
    begin();
    check_written("\"\\/\\b\\f\\n\\r\\t\\\"\\\\\x7f\\u007F\\u001F\\u0000\"",
                  "\"/\\b\\f\\n\\r\\t\\\"\\\\\\u007f\\u007f\\u001f\\u0000\"");
    check_written("\"h\xc3\xa9llo \xe2\x98\x83 \xf0\x9f\x98\x80 \\uD83D\\uDE00 \\u00E9\"",
                  "\"h\\u00e9llo \\u2603 \\ud83d\\ude00 \\ud83d\\ude00 \\u00e9\"");
    check_written("\"\xf4\x8f\xbf\xbf\xc2\x80\xef\xbf\xbf\"",
                  "\"\\udbff\\udfff\\u0080\\uffff\"");
    end();
}

static void what_is_no_json_is_refused(void)
{
    static const char *const bad[] = {"",   "{",   "{\"a\":1,\"a\":2}", "\"\\ud800\"",
                                      "01", "NaN", "Infinity",          "{} {}"};

    begin();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check_written(bad[i], "(refused)");
    end();
}

/* ---- Messages ---- */

static void a_bound_message_covers_who_where_and_which(void)
{
    static const char expected[] =
        "{\"base_seq\":3,\"message_id\":\"m\",\"msg_type\":\"t\",\"nonce\":\"n\","
        "\"payload\":{\"a\":1},\"recipient_id\":\"b\",\"sender_id\":\"a\",\"sequence_num\":7,"
        "\"session_id\":\"s\",\"timestamp\":\"2026\",\"version\":\"1.0\"}";
    struct canonical_message message = {
        .msg_type = "t",
        .nonce = "n",
        .sender_id = "a",
        .version = "1.0",
        .payload = "{ \"a\": 1 }",
        .payload_len = 10,
        .timestamp = "\"2026\"",
        .timestamp_len = 6,
        .recipient_id = "b",
        .session_id = "s",
        .message_id = "m",
        .number = 7,
        .base_seq = 3,
    };
    const char *bytes;
    size_t len;

    begin();
    CHECK_STATUS(canonical_message(&canonical, &message, &bytes, &len), OK);
    CHECK_BYTES(bytes, len, expected, sizeof(expected) - 1);
    message.payload = NULL;
    CHECK_STATUS(canonical_message(&canonical, &message, &bytes, &len), OK);
    CHECK(memmem(bytes, len, "\"payload\":null,", 15) != NULL);
    end();
}

/* ---- Bounds ---- */

#define MANY 20000

/* Keys that fall, each a little longer to compare: sorted, and in no time. */
static void many_keys(void)
{
    char *text = malloc(MANY * 18 + 2), *seen;
    size_t len = 0;

    begin();
    text[len++] = '{';
    for (unsigned i = MANY; i-- > 0;)
        len += (size_t)sprintf(text + len, "\"key%05u\":%u%s", i, i, i > 0 ? "," : "}");
    seen = written(text, len);
    if (CHECK(seen != NULL)) {
        const char *at = seen + 1;

        CHECK_U64(strlen(seen), len);
        for (unsigned i = 0; i < MANY; i++) {
            char expected[32];
            int expected_len =
                sprintf(expected, "\"key%05u\":%u%s", i, i, i + 1 < MANY ? "," : "}");

            if (memcmp(at, expected, (size_t)expected_len) != 0) {
                CHECK_TEXT(at, expected);
                break;
            }
            at += expected_len;
        }
    }
    CHECK(canonical.capacity > 65536);
    check_written("{}", "{}");
    CHECK(canonical.capacity <= 65536 && canonical.order_capacity <= 16384);
    free(seen);
    free(text);
    end();
}

static void deep_texts(void)
{
    char text[2 * (JSON_DEPTH_MAX + 1)];

    begin();
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        char *seen;

        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        seen = written(text, 2 * depth);
        CHECK((seen != NULL) == (depth <= JSON_DEPTH_MAX));
        free(seen);
    }
    end();
}

/* What grows most: nothing is written beyond the room that was made. */
static void what_grows_most_fits(void)
{
    static const char *const grows[] = {"9e15", "1e9", "\xc3\xa9", "1e-4"};
    char text[4096];

    begin();
    for (size_t i = 0; i < sizeof(grows) / sizeof(grows[0]); i++) {
        bool string = (grows[i][0] & 0x80) != 0;
        size_t len = 1;
        char *seen;

        text[0] = string ? '"' : '[';
        for (int n = 0; n < 500; n++)
            len += (size_t)sprintf(text + len, "%s%s", n > 0 && !string ? "," : "", grows[i]);
        text[len++] = string ? '"' : ']';
        seen = written(text, len);
        if (CHECK(seen != NULL))
            CHECK(strlen(seen) > len && strlen(seen) < CANONICAL_GROWTH_MAX * len);
        free(seen);
    }
    end();
}

/* Whoever names a sender we trust has this written before the signature turns out wrong. The
 * time for it rose with the square of the length: more than ten minutes for this one. */
static void nothing_but_del_is_written_at_once(void)
{
    const size_t len = 1u << 22;
    char *text = malloc(len + 2), *seen;

    begin();
    if (CHECK(text != NULL)) {
        memset(text, 0x7f, len + 2);
        text[0] = text[len + 1] = '"';
        seen = written(text, len + 2);
        if (CHECK(seen != NULL))
            CHECK_U64(strlen(seen), 6 * len + 2);
        free(seen);
    }
    free(text);
    end();
}

static void memory_that_runs_out_is_a_status(void)
{
    static const char text[] = "{\"a\":[1,2,3],\"b\":{\"c\":\"d\"}}";
    struct fail_alloc state;

    for (int64_t successes = 0; successes < 4; successes++) {
        struct canonical own;
        struct alloc failing = fail_alloc_init(&state, successes);
        const char *bytes;
        size_t len;
        parley_status status;

        canonical_init(&own, &failing);
        status = canonical_text(&own, text, sizeof(text) - 1, &bytes, &len);
        if (successes < 3)
            CHECK_STATUS(status, ENOMEM);
        atomic_store(&state.left, -1);
        CHECK_STATUS(canonical_text(&own, text, sizeof(text) - 1, &bytes, &len), OK);
        CHECK_BYTES(bytes, len, text, sizeof(text) - 1);
        canonical_fini(&own);
        CHECK_U64(atomic_load(&state.out), 0);
    }
}

static const struct check_test tests[] = {
    {"messages of the vectors", messages_of_the_vectors},
    {"floats of the vectors", floats_of_the_vectors},
    {"numbers as Python reads and writes them", numbers_as_python_reads_and_writes_them},
    {"keys in the order of code points", keys_in_the_order_of_code_points},
    {"strings in ASCII", strings_in_ascii},
    {"what is no JSON is refused", what_is_no_json_is_refused},
    {"a bound message covers who, where and which",
     a_bound_message_covers_who_where_and_which},
    {"many keys", many_keys},
    {"deep texts", deep_texts},
    {"what grows most fits", what_grows_most_fits},
    {"nothing but DEL is written at once", nothing_but_del_is_written_at_once},
    {"memory that runs out is a status", memory_that_runs_out_is_a_status},
};

CHECK_MAIN("canonical", tests)
