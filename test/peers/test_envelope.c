/* SPDX-License-Identifier: Apache-2.0
 *
 * Envelopes: the exact bytes written, every form that is read, and the exact text of every
 * refusal. What older peers sent was taken from runs of them.
 */
#include <math.h>
#include <stdio.h>

#include "test/peers/scanned.h"

#define SESSION "11111111-2222-4333-8444-555555555555"

static const uint8_t nonce[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static const struct envelope_fields fields = {
    .sender_id = "node-a",
    .recipient_id = "node-b",
    .session_id = SESSION,
    .msg_type = "task_delegate-and-more",
    .msg_type_len = 13,
    .payload = "{\"text\":\"hi\"}",
    .payload_len = 13,
    .timestamp_us = UINT64_C(1795380941668135),
    .number = 7,
    .nonce = nonce,
    .version = "1.0",
};

static parley_status read_text(const char *text, struct envelope *ret,
                               struct envelope_error *ret_error)
{
    struct scanned s;
    parley_status status;

    memset(ret, 0x55, sizeof(*ret));
    ret_error->text[0] = '\0';
    scanned_good(&s, text);
    status = envelope_read(&s.doc, s.doc.items, ret, ret_error);
    scanned_fini(&s);
    return status;
}

static void test_written_bytes(void)
{
    struct written w;

    envelope_write(written_init(&w), &fields);
    CHECK_TEXT(written_text(&w),
               "{\"payload\":{\"text\":\"hi\"},\"timestamp\":1795380941.668135,"
               "\"nonce\":\"AAECAwQFBgcICQoLDA0ODw==\",\"signature\":null,"
               "\"encrypted_payload\":null,\"sender_public_key\":null,\"jwt_token\":null,"
               "\"sender_id\":\"node-a\",\"recipient_id\":\"node-b\",\"session_id\":\"" SESSION
               "\",\"sequence_num\":7,\"version\":\"1.0\",\"msg_type\":\"task_delegate\","
               "\"type\":\"peer_message\"}");
}

static void test_written_bytes_between_parleys(void)
{
    struct envelope_fields more = fields;
    struct written w;

    more.message_id = SESSION ":7";
    more.base_seq = 5;
    more.redelivered = true;
    envelope_write(written_init(&w), &more);
    CHECK_CONTAINS(written_text(&w), "\"msg_type\":\"task_delegate\",\"message_id\":\"" SESSION
                                     ":7\",\"type\":\"peer_message\",\"base_seq\":5,"
                                     "\"redelivered\":true}");
}

static void test_written_for_the_oldest(void)
{
    struct envelope_fields less = fields;
    struct written w;

    less.version = "0.3";
    less.session_id = NULL;
    less.recipient_id = NULL;
    less.number = 0;
    envelope_write(written_init(&w), &less);
    CHECK_CONTAINS(written_text(&w), "\"sender_id\":\"node-a\",\"recipient_id\":null,"
                                     "\"version\":\"0.3\",\"msg_type\"");
    /* whatever the message has: that version knows none of it */
    less = fields;
    less.version = "0.3";
    less.base_seq = 5;
    less.redelivered = true;
    envelope_write(written_init(&w), &less);
    CHECK(strstr(written_text(&w), "session_id") == NULL);
    CHECK(strstr(written_text(&w), "sequence_num") == NULL);
    CHECK(strstr(written_text(&w), "base_seq") == NULL);
    CHECK(strstr(written_text(&w), "redelivered") == NULL);
}

static void test_overhead(void)
{
    struct envelope_fields most = fields;
    char id[ENVELOPE_ID_MAX + 1], session[ENVELOPE_SESSION_MAX + 1];
    char message_id[ENVELOPE_MESSAGE_ID_MAX + 1], type[ENVELOPE_TYPE_MAX];
    struct written w;

    memset(id, 'i', sizeof(id));
    memset(session, 's', sizeof(session));
    memset(message_id, 'm', sizeof(message_id));
    memset(type, 't', sizeof(type));
    id[ENVELOPE_ID_MAX] = session[ENVELOPE_SESSION_MAX] = '\0';
    message_id[ENVELOPE_MESSAGE_ID_MAX] = '\0';
    most.sender_id = most.recipient_id = id;
    most.session_id = session;
    most.message_id = message_id;
    most.msg_type = type;
    most.msg_type_len = sizeof(type);
    most.number = most.base_seq = INT64_MAX;
    most.timestamp_us = UINT64_MAX;
    most.redelivered = true;
    envelope_write(written_init(&w), &most);
    CHECK(w.out.len - most.payload_len <= ENVELOPE_OVERHEAD_MAX);
}

static void test_no_room(void)
{
    struct written w;
    size_t whole;

    envelope_write(written_init(&w), &fields);
    whole = w.out.len;
    for (size_t capacity = 0; capacity < whole; capacity++) {
        struct json_out out = {.buffer = malloc(capacity + 1), .capacity = capacity};

        envelope_write(&out, &fields);
        CHECK(out.overflow && out.len <= capacity);
        free(out.buffer);
    }
}

static void test_round_trip(void)
{
    struct envelope_fields more = fields;
    struct written w;
    struct scanned s;
    struct envelope e;
    struct envelope_error error;

    more.message_id = "id \"quoted\" \xc3\xa9";
    more.sender_id = "tab\there";
    more.base_seq = 3;
    more.redelivered = true;
    envelope_write(written_init(&w), &more);
    scanned_good(&s, written_text(&w));
    CHECK_U64(frame_kind(&s.doc, s.doc.items), FRAME_ENVELOPE);
    CHECK_STATUS(envelope_read(&s.doc, s.doc.items, &e, &error), OK);
    CHECK_TEXT(e.sender_id, "tab\there");
    CHECK_TEXT(e.recipient_id, "node-b");
    CHECK_TEXT(e.session_id, SESSION);
    CHECK_TEXT(e.message_id, "id \"quoted\" \xc3\xa9");
    CHECK_TEXT(e.msg_type, "task_delegate");
    CHECK_BYTES(e.payload, e.payload_len, fields.payload, fields.payload_len);
    CHECK(e.timestamp == 1795380941.668135);
    CHECK_U64(e.number, 7);
    CHECK_U64(e.base_seq, 3);
    CHECK(e.redelivered && !e.is_void);
    scanned_fini(&s);
}

static void test_signed_form(void)
{
    struct envelope e;
    struct envelope_error error;

    CHECK_STATUS(
        read_text("{\"payload\": {\"text\": \"hi\"}, \"timestamp\": 1700000000.5, \"nonce\": "
                  "\"AAECAwQFBgcICQoLDA0ODw==\", \"signature\": \"SnuGR67k\", "
                  "\"encrypted_payload\": null, \"sender_public_key\": null, \"jwt_token\": "
                  "null, \"sender_id\": \"orig-a\", \"recipient_id\": null, \"session_id\": "
                  "\"" SESSION "\", \"sequence_num\": 1, \"version\": \"1.0\", \"msg_type\": "
                  "\"status\"}",
                  &e, &error),
        OK);
    CHECK_TEXT(e.sender_id, "orig-a");
    CHECK_TEXT(e.recipient_id, "");
    CHECK_TEXT(e.message_id, "");
    CHECK_U64(e.number, 1);
    CHECK_U64(e.base_seq, 0);
    CHECK(!e.redelivered && e.timestamp == 1700000000.5);
}

static void test_other_forms(void)
{
    static const struct {
        const char *text, *sender, *type;
        uint64_t number;
    } cases[] = {
        {"{\"version\":\"1.0\",\"msg_type\":\"ping\",\"sender_id\":\"u\",\"payload\":{},"
         "\"timestamp\":\"2023-11-14T22:13:20+00:00\",\"nonce\":\"00ff\","
         "\"session_id\":\"s\",\"sequence_num\":\"12\"}",
         "u", "ping", 12},
        {"{\"from\":\"l\",\"type\":\"task\",\"payload\":{},\"timestamp\":1700000000}", "l",
         "task", 0},
        {"{\"version\":\"0.3\",\"msg_type\":\"status\",\"sender_id\":\"z\",\"payload\":{},"
         "\"timestamp\":1700000000.0}",
         "z", "status", 0},
        {"{\"version\":\"0.3\",\"msg_type\":\"status\",\"sender_id\":\"z\",\"payload\":{},"
         "\"timestamp\":1.7e9,\"session_id\":null,\"sequence_num\":null}",
         "z", "status", 0},
        {"{\"message_id\":\"m\",\"type\":\"MESSAGE\",\"from_entity\":\"c\",\"to_entity\":"
         "\"d\","
         "\"timestamp\":1700000000.0,\"payload\":{},\"signature\":null}",
         "c", "MESSAGE", 0},
        {"{\"version\":\"1.0\",\"msg_type\":\"x\",\"sender_id\":\"u\",\"payload\":{},"
         "\"timestamp\":1700000000,\"session_id\":\"s\",\"sequence_num\":1,\"other\":{\"a\":[]"
         "},"
         "\"base_seq\":null,\"redelivered\":null,\"message_id\":null,\"recipient_id\":null}",
         "u", "x", 1},
        {"{\"\\u0076ersion\":\"\\u0031.0\",\"msg\\u005ftype\":\"\\u0078\",\"sender_id\":\"u\","
         "\"payload\":{},\"timestamp\":1700000000,\"session_id\":\"s\",\"sequence_num\":1}",
         "u", "x", 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct envelope e;
        struct envelope_error error;

        if (!CHECK_STATUS(read_text(cases[i].text, &e, &error), OK))
            CHECK_TEXT(error.text, cases[i].text);
        CHECK_TEXT(e.sender_id, cases[i].sender);
        CHECK_TEXT(e.msg_type, cases[i].type);
        CHECK_U64(e.number, cases[i].number);
        CHECK(e.timestamp == 1700000000.0);
        CHECK(!e.redelivered && !e.is_void && e.base_seq == 0);
    }
}

/* One member of a good envelope at a time is replaced; NULL takes it out. */
static const struct {
    const char *key, *value;
} members[] = {
    {"payload", "{}"},         {"timestamp", "1.5"},    {"sender_id", "\"a\""},
    {"recipient_id", "\"b\""}, {"session_id", "\"s\""}, {"sequence_num", "3"},
    {"nonce", "\"n\""},        {"version", "\"1.0\""},  {"msg_type", "\"t\""},
    {"message_id", "\"m\""},   {"base_seq", "2"},       {"redelivered", "true"},
};

static const char *refusal(const char *key, const char *value)
{
    static struct envelope_error error;
    char text[1024] = "{";
    size_t len = 1;
    struct envelope e;

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        const char *use = strcmp(members[i].key, key) == 0 ? value : members[i].value;

        if (use != NULL)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\"%s\":%s",
                                    len > 1 ? "," : "", members[i].key, use);
    }
    snprintf(text + len, sizeof(text) - len, "}");
    return read_text(text, &e, &error) == PARLEY_OK ? "(accepted)" : error.text;
}

static void test_refusals(void)
{
    static const struct {
        const char *key, *value, *text;
    } cases[] = {
        {"", "", "(accepted)"},
        {"version", NULL, "Unknown message format"},
        {"version", "null", "Unknown message format"},
        {"version", "\"2.0\"", "Unsupported version: 2.0"},
        {"version", "\"\"", "Unsupported version: "},
        {"version", "\"0123456789012345678901234567890123456789\"",
         "Unsupported version: 01234567890123456789012345678901"},
        {"version", "1.0", "Unsupported version: 1.0"},
        {"version", "[\"1.0\"]", "Unsupported version: [\"1.0\"]"},
        {"nonce", "7", "Invalid field: nonce"},
        {"nonce", "\"\"", "(accepted)"},
        {"version", "\"0.3\"", "(accepted)"},
        {"session_id", NULL, "Missing required field: session_id"},
        {"session_id", "null", "Missing required field: session_id"},
        {"session_id", "\"\"", "Missing required field: session_id"},
        {"session_id", "5", "Invalid field: session_id"},
        {"session_id", "\"a\\u0000\"", "Invalid field: session_id"},
        {"session_id", "\"12345678901234567890123456789012345678901234567890123456789012345\"",
         "Invalid field: session_id"},
        {"session_id", "\"1234567890123456789012345678901234567890123456789012345678901234\"",
         "(accepted)"},
        {"sequence_num", NULL, "Missing required field: sequence_num"},
        {"sequence_num", "null", "Missing required field: sequence_num"},
        {"sequence_num", "0", "Invalid field: sequence_num"},
        {"sequence_num", "-1", "Invalid field: sequence_num"},
        {"sequence_num", "1.5", "Invalid field: sequence_num"},
        {"sequence_num", "\"x\"", "Invalid field: sequence_num"},
        {"sequence_num", "true", "Invalid field: sequence_num"},
        {"sequence_num", "9223372036854775808", "Invalid field: sequence_num"},
        {"sequence_num", "9223372036854775807", "(accepted)"},
        {"sequence_num", "\"3\"", "(accepted)"},
        {"sequence_num", "1", "Invalid field: base_seq"},
        {"base_seq", "0", "Invalid field: base_seq"},
        {"base_seq", "4", "Invalid field: base_seq"},
        {"base_seq", "3", "(accepted)"},
        {"base_seq", NULL, "(accepted)"},
        {"sender_id", NULL, "Missing required field: sender_id"},
        {"sender_id", "[]", "Invalid field: sender_id"},
        {"recipient_id", NULL, "(accepted)"},
        {"recipient_id", "1", "Invalid field: recipient_id"},
        {"msg_type", NULL, "Missing required field: msg_type"},
        {"msg_type", "\"\"", "Missing required field: msg_type"},
        {"msg_type", "{}", "Invalid field: msg_type"},
        {"msg_type", "\"12345678901234567890123456789012345678901234567890123456789012345\"",
         "Invalid field: msg_type"},
        {"message_id", "7", "Invalid field: message_id"},
        {"message_id", NULL, "(accepted)"},
        {"payload", NULL, "Missing required field: payload"},
        {"payload", "null", "Missing required field: payload"},
        {"payload", "[1,\"x\"]", "Invalid field: payload"},
        {"payload", "\"{}\"", "Invalid field: payload"},
        {"timestamp", NULL, "Missing required field: timestamp"},
        {"timestamp", "true", "Invalid field: timestamp"},
        {"timestamp", "1e999", "Invalid field: timestamp"},
        {"timestamp", "\"yesterday\"", "Invalid field: timestamp"},
        {"redelivered", "1", "Invalid field: redelivered"},
        {"redelivered", "false", "(accepted)"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_TEXT(refusal(cases[i].key, cases[i].value), cases[i].text);
}

static void test_unknown_formats(void)
{
    static const char *const texts[] = {
        "[]",
        "{}",
        "1",
        "\"x\"",
        "null",
        "{\"payload\":{}}",
        "{\"type\":\"x\"}",
        "{\"type\":\"x\",\"payload\":{}}",
        "{\"from\":\"x\",\"payload\":{}}",
        "{\"from\":\"x\",\"type\":\"y\"}",
        "[{\"version\":\"1.0\"}]",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct envelope e;
        struct envelope_error error;

        CHECK_STATUS(read_text(texts[i], &e, &error), EPROTO);
        CHECK_TEXT(error.text, "Unknown message format");
    }
}

static void test_times(void)
{
    static const struct {
        const char *text;
        double seconds; /* NAN: refused */
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-22T20:55:44.590514+00:00", 1795380944.590514},
        {"2026-11-22T20:55:44.590514", 1795380944.590514},
        {"2026-11-22 20:55:44Z", 1795380944},
        {"2026-11-22t20:55:44z", 1795380944},
        {"2026-11-22T22:25:44+01:30", 1795380944},
        {"2026-11-22T22:25:44+0130", 1795380944},
        {"2026-11-22T12:55:44-08", 1795380944},
        {"2000-02-29T00:00:00Z", 951782400},
        {"2024-02-29T23:59:60Z", 1709251200},
        {"1969-12-31T23:59:59Z", -1},
        {"2100-03-01T00:00:00Z", 4107542400},
        {"2026-11-22T20:55:44.1234567890123Z", 1795380944.123456789},
        {"2023-02-29T00:00:00Z", NAN},
        {"2100-02-29T00:00:00Z", NAN},
        {"2026-13-01T00:00:00Z", NAN},
        {"2026-00-01T00:00:00Z", NAN},
        {"2026-04-31T00:00:00Z", NAN},
        {"2026-11-22T24:00:00Z", NAN},
        {"2026-11-22T20:60:44Z", NAN},
        {"2026-11-22T20:55:61Z", NAN},
        {"2026-11-22T20:55", NAN},
        {"2026-11-22", NAN},
        {"2026-11-22T20:55:44.Z", NAN},
        {"2026-11-22T20:55:44Zx", NAN},
        {"2026-11-22T20:55:44+25:00", NAN},
        {"2026-11-22T20:55:44+1:00", NAN},
        {"26-11-22T20:55:44Z", NAN},
        {"2026-11-22T20:55:44.12345678901234567890123456789Z", NAN},
        {"", NAN},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        struct envelope e;
        struct envelope_error error;

        snprintf(text, sizeof(text),
                 "{\"from\":\"l\",\"type\":\"t\",\"payload\":{},\"timestamp\":\"%s\"}",
                 cases[i].text);
        if (read_text(text, &e, &error) != PARLEY_OK) {
            if (!isnan(cases[i].seconds))
                CHECK_TEXT(error.text, cases[i].text);
            CHECK_TEXT(error.text, "Invalid field: timestamp");
        } else if (!(fabs(e.timestamp - cases[i].seconds) < 1e-6)) {
            CHECK_TEXT(cases[i].text, "(another time)");
        }
    }
}

static void test_names(void)
{
    char longest[ENVELOPE_ID_MAX + 2];
    static const char *const good[] = {
        "a",   "node-1", "A.b_c:d-9", "task_delegate", "status", "ping",  "error",
        "ACK", "batch",  "Chunk",     "chunks",        "hand",   "Ready", "readying"};
    static const char *const bad[] = {"",
                                      "a b",
                                      "a/b",
                                      "\xc3\xa9",
                                      "a\n",
                                      "a\"b",
                                      "chunk",
                                      "handshake",
                                      "handshake_init",
                                      "handshake_ack",
                                      "handshake_confirm",
                                      "handshake_init_ack",
                                      "challenge_response",
                                      "session_established",
                                      "session_confirm",
                                      "ready"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK(message_type_valid(good[i], strlen(good[i])) && entity_id_valid(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!message_type_valid(bad[i], strlen(bad[i])));
    CHECK(entity_id_valid("chunk") && !entity_id_valid("") && !entity_id_valid("a b"));
    CHECK(!message_type_valid("a\0b", 3));
    CHECK(message_type_valid("chunks are not looked at", 6));
    memset(longest, 'x', sizeof(longest));
    CHECK(message_type_valid(longest, ENVELOPE_TYPE_MAX));
    CHECK(!message_type_valid(longest, ENVELOPE_TYPE_MAX + 1));
    longest[ENVELOPE_ID_MAX + 1] = '\0';
    CHECK(!entity_id_valid(longest));
    longest[ENVELOPE_ID_MAX] = '\0';
    CHECK(entity_id_valid(longest));
}

static void test_uuid(void)
{
    static const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                     255, 255, 255, 255, 255, 255, 255, 255};
    char text[37];

    uuid_write(text, nonce);
    CHECK_TEXT(text, "00010203-0405-4607-8809-0a0b0c0d0e0f");
    uuid_write(text, ones);
    CHECK_TEXT(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

static const struct check_test tests[] = {
    {"the envelope's bytes, in the protocol's order", test_written_bytes},
    {"message_id, base_seq and redelivered follow", test_written_bytes_between_parleys},
    {"0.3 goes without session and number", test_written_for_the_oldest},
    {"the overhead stays below its bound", test_overhead},
    {"an envelope that does not fit overflows and writes nothing beyond", test_no_room},
    {"what is written reads back the same", test_round_trip},
    {"the signed form is read, null being absent", test_signed_form},
    {"unsigned, legacy, 0.3 and old clients' forms are read", test_other_forms},
    {"each refusal names what is at fault", test_refusals},
    {"what is no envelope is an unknown format", test_unknown_formats},
    {"ISO 8601 times are read, impossible ones refused", test_times},
    {"names: what is valid, and the runtime's own types", test_names},
    {"UUIDs carry version and variant", test_uuid},
};

CHECK_MAIN("envelope", tests)
