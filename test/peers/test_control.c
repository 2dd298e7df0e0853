/* SPDX-License-Identifier: Apache-2.0
 *
 * Control messages: kinds of frames, greetings, acknowledgements, errors and replies.
 */
#include "test/peers/scanned.h"

#define AT UINT64_C(1795380944590514) /* 2026-11-22T20:55:44.590514 */

static const struct wire_rejection rejected[] = {{4, "no"}, {9, "a \"b\"\n"}};

static struct greeting full_greeting(void)
{
    return (struct greeting){
        .entity_id = "node-a",
        .session_id = "s-a",
        .parley = true,
        .max_message_bytes = 1048576,
        .max_batch_bytes = 65536,
        .max_in_flight = 1024,
        .peer_session_id = "s-b",
        .last_seq_known = true,
        .last_seq = 17,
    };
}

static void test_kinds(void)
{
    static const struct {
        const char *text;
        enum frame_kind kind;
    } cases[] = {
        {"{\"type\":\"batch\"}", FRAME_BATCH},
        {"{\"type\":\"peer_message\"}", FRAME_ENVELOPE},
        {"{\"type\":\"MESSAGE\",\"from_entity\":\"x\"}", FRAME_ENVELOPE},
        {"{\"msg_type\":\"x\",\"version\":\"1.0\"}", FRAME_ENVELOPE},
        {"{\"type\":null,\"msg_type\":\"x\"}", FRAME_ENVELOPE},
        {"{\"type\":\"task\",\"msg_type\":\"x\"}", FRAME_ENVELOPE},
        {"{\"from\":\"x\",\"type\":\"task\",\"payload\":{}}", FRAME_ENVELOPE},
        {"{\"type\":\"status\",\"payload\":{\"event\":\"connected\"}}",
         FRAME_STATUS_CONNECTED},
        {"{\"payload\":{\"e\":1,\"event\":\"\\u0063onnected\"},\"type\":\"status\"}",
         FRAME_STATUS_CONNECTED},
        {"{\"type\":\"status\",\"payload\":{\"event\":\"message_received\"}}", FRAME_STATUS},
        {"{\"type\":\"status\",\"payload\":{}}", FRAME_STATUS},
        {"{\"type\":\"status\",\"payload\":[]}", FRAME_STATUS},
        {"{\"type\":\"status\"}", FRAME_STATUS},
        {"{\"type\":\"HELLO\"}", FRAME_HELLO},
        {"{\"type\":\"ACK\",\"payload\":{\"ack_message_id\":\"m\"}}", FRAME_ACK},
        {"{\"type\":\"error\"}", FRAME_ERROR},
        {"{\"type\":\"ping\"}", FRAME_PING},
        {"{\"type\":\"pong\"}", FRAME_PONG},
        {"{\"type\":\"HEARTBEAT\",\"payload\":{\"type\":\"ping\"}}", FRAME_HEARTBEAT_PING},
        {"{\"type\":\"HEARTBEAT\",\"payload\":{\"type\":\"pong\"}}", FRAME_HEARTBEAT_PONG},
        {"{\"type\":\"HEARTBEAT\"}", FRAME_HEARTBEAT_PING},
        {"{\"type\":\"BYE\"}", FRAME_BYE},
        {"{\"type\":\"READY\"}", FRAME_READY},
        {"{\"type\":\"capability_exchange\"}", FRAME_CAPABILITIES},
        {"{\"type\":\"Ping\"}", FRAME_OTHER},
        {"{\"type\":7}", FRAME_OTHER},
        {"{}", FRAME_OTHER},
        {"[]", FRAME_OTHER},
        {"\"ping\"", FRAME_OTHER},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scanned s;

        scanned_good(&s, cases[i].text);
        if (frame_kind(&s.doc, s.doc.items) != cases[i].kind)
            CHECK_TEXT(cases[i].text, "(another kind)");
        scanned_fini(&s);
    }
}

#define OURS(LAST, REJECTED)                                                           \
    ",\"max_message_bytes\":1048576,\"max_batch_bytes\":65536,\"max_in_flight\":1024," \
    "\"peer_session_id\":\"s-b\",\"last_seq\":" LAST ",\"rejected\":[" REJECTED "]"
#define TWO                                                                      \
    "{\"seq\":4,\"error\":\"REJECTED\",\"detail\":\"no\"},{\"seq\":9,\"error\":" \
    "\"REJECTED\",\"detail\":\"a \\\"b\\\"\\n\"}"

static void test_connected_bytes(void)
{
    struct greeting greeting = full_greeting();
    struct written w;

    greeting_write_connected(written_init(&w), &greeting, rejected, 2, AT);
    CHECK_TEXT(written_text(&w),
               "{\"type\":\"status\",\"payload\":{\"event\":\"connected\",\"entity_id\":"
               "\"node-a\",\"session_id\":\"s-a\",\"protocol_version\":\"1.1\","
               "\"capabilities\":[\"parley/1\",\"websocket\",\"heartbeat\"],"
               "\"timestamp\":1795380944.590514" OURS(
                   "17", TWO) "},\"timestamp\":\"2026-11-22T20:55:44.590514+00:00\","
                              "\"message_id\":\"node-a:1795380944590514\"}");
}

static void test_hello_bytes(void)
{
    struct greeting greeting = full_greeting();
    struct written w;

    greeting.last_seq_known = false;
    greeting_write_hello(written_init(&w), &greeting, NULL, 0, AT);
    CHECK_TEXT(written_text(&w),
               "{\"type\":\"HELLO\",\"payload\":{\"version\":\"1.2\",\"capabilities\":["
               "\"parley/1\",\"websocket\",\"heartbeat\"],\"entity_id\":\"node-a\","
               "\"session_id\":\"s-a\"" OURS(
                   "null", "") "},\"timestamp\":1795380944.590514,"
                               "\"message_id\":\"node-a:1795380944590514\"}");
}

static void test_connected_for_old_clients(void)
{
    struct greeting greeting = full_greeting();
    struct written w;

    greeting.parley = false;
    greeting.session_id[0] = '\0';
    greeting_write_connected(written_init(&w), &greeting, rejected, 2, 0);
    CHECK_TEXT(written_text(&w),
               "{\"type\":\"status\",\"payload\":{\"event\":\"connected\",\"entity_id\":"
               "\"node-a\",\"session_id\":null,\"protocol_version\":\"1.1\","
               "\"capabilities\":[\"websocket\",\"heartbeat\"],\"timestamp\":0.0},"
               "\"timestamp\":\"1970-01-01T00:00:00.000000+00:00\","
               "\"message_id\":\"node-a:0\"}");
}

static void check_rejected(const struct scanned *s, const struct json_item *item)
{
    char detail[PARLEY_DETAIL_MAX];
    uint64_t number;

    for (int i = 0; i < 2; i++) {
        CHECK(item != NULL);
        if (item == NULL)
            return;
        CHECK_STATUS(rejection_read(&s->doc, item, &number, detail), OK);
        CHECK_U64(number, rejected[i].number);
        CHECK_TEXT(detail, rejected[i].detail);
        item = json_next(&s->doc, item);
    }
    CHECK(item == NULL);
}

static void test_greetings_round_trip(void)
{
    struct greeting sent = full_greeting();

    for (int i = 0; i < 2; i++) {
        struct envelope_error error;
        struct greeting seen;
        struct written w;
        struct scanned s;

        if (i == 0)
            greeting_write_connected(written_init(&w), &sent, rejected, 2, AT);
        else
            greeting_write_hello(written_init(&w), &sent, rejected, 2, AT);
        scanned_good(&s, written_text(&w));
        CHECK_U64(frame_kind(&s.doc, s.doc.items),
                  i == 0 ? FRAME_STATUS_CONNECTED : FRAME_HELLO);
        memset(&seen, 0x55, sizeof(seen));
        CHECK_STATUS(greeting_read(&s.doc, s.doc.items, &seen, &error), OK);
        CHECK_TEXT(seen.entity_id, "node-a");
        CHECK_TEXT(seen.session_id, "s-a");
        CHECK_TEXT(seen.peer_session_id, "s-b");
        CHECK(seen.parley && seen.last_seq_known);
        CHECK_U64(seen.last_seq, 17);
        CHECK_U64(seen.max_message_bytes, 1048576);
        CHECK_U64(seen.max_batch_bytes, 65536);
        CHECK_U64(seen.max_in_flight, 1024);
        check_rejected(&s, seen.rejected);
        scanned_fini(&s);
    }
}

static void test_old_greetings(void)
{
    static const char *const texts[] = {
        "{\"type\":\"status\",\"payload\":{\"event\":\"connected\",\"entity_id\":\"m\","
        "\"session_id\":\"c-1\",\"protocol_version\":\"1.1\",\"capabilities\":[\"e2e\",1,null,"
        "\"parley/12\"],\"timestamp\":\"2026-11-22T20:55:44\"},\"timestamp\":\"x\"}",
        "{\"type\":\"HELLO\",\"payload\":{\"version\":\"1.2\",\"entity_id\":\"m\","
        "\"session_id\":\"c-1\",\"last_seq\":null,\"rejected\":null}}",
    };

    for (int i = 0; i < 2; i++) {
        struct envelope_error error;
        struct greeting seen;
        struct scanned s;

        scanned_good(&s, texts[i]);
        memset(&seen, 0x55, sizeof(seen));
        CHECK_STATUS(greeting_read(&s.doc, s.doc.items, &seen, &error), OK);
        CHECK(!seen.parley && !seen.last_seq_known && seen.rejected == NULL);
        CHECK_U64(seen.max_message_bytes + seen.max_batch_bytes + seen.max_in_flight, 0);
        CHECK_TEXT(seen.entity_id, "m");
        CHECK_TEXT(seen.session_id, "c-1");
        CHECK_TEXT(seen.peer_session_id, "");
        scanned_fini(&s);
    }
}

static void test_malformed_greetings(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"type\":\"HELLO\"}", "Missing required field: payload"},
        {"{\"payload\":[]}", "Missing required field: payload"},
        {"[]", "Missing required field: payload"},
        {"{\"payload\":{\"entity_id\":1}}", "Invalid field: entity_id"},
        {"{\"payload\":{\"session_id\":[]}}", "Invalid field: session_id"},
        {"{\"payload\":{\"peer_session_id\":{}}}", "Invalid field: peer_session_id"},
        {"{\"payload\":{\"max_batch_bytes\":-1}}", "Invalid field: max_batch_bytes"},
        {"{\"payload\":{\"max_in_flight\":\"9\"}}", "Invalid field: max_in_flight"},
        {"{\"payload\":{\"last_seq\":1.5}}", "Invalid field: last_seq"},
        {"{\"payload\":{\"rejected\":{}}}", "Invalid field: rejected"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct envelope_error error = {""};
        struct greeting seen;
        struct scanned s;

        scanned_good(&s, cases[i].text);
        CHECK_STATUS(greeting_read(&s.doc, s.doc.items, &seen, &error), EPROTO);
        CHECK_TEXT(error.text, cases[i].error);
        scanned_fini(&s);
    }
}

static void test_ack(void)
{
    struct envelope_error error;
    struct written w;
    struct scanned s;
    struct ack ack;

    ack_write(written_init(&w), "s-a", 0, NULL, 0);
    CHECK_TEXT(written_text(&w), "{\"type\":\"ACK\",\"payload\":{\"session_id\":\"s-a\","
                                 "\"ack_seq\":0,\"rejected\":[]}}");
    ack_write(written_init(&w), "s-a", INT64_MAX, rejected, 2);
    CHECK_TEXT(written_text(&w), "{\"type\":\"ACK\",\"payload\":{\"session_id\":\"s-a\","
                                 "\"ack_seq\":9223372036854775807,\"rejected\":[" TWO "]}}");
    scanned_good(&s, written_text(&w));
    CHECK_U64(frame_kind(&s.doc, s.doc.items), FRAME_ACK);
    CHECK_STATUS(ack_read(&s.doc, s.doc.items, &ack, &error), OK);
    CHECK_TEXT(ack.session_id, "s-a");
    CHECK_U64(ack.ack_seq, INT64_MAX);
    check_rejected(&s, ack.rejected);
    scanned_fini(&s);
}

static void test_malformed_acks(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"type\":\"ACK\"}", "Missing required field: payload"},
        {"{\"payload\":{\"ack_message_id\":\"m\"}}", "Missing required field: session_id"},
        {"{\"payload\":{\"session_id\":\"s\"}}", "Missing required field: ack_seq"},
        {"{\"payload\":{\"session_id\":\"s\",\"ack_seq\":-1}}", "Invalid field: ack_seq"},
        {"{\"payload\":{\"session_id\":\"s\",\"ack_seq\":1,\"rejected\":1}}",
         "Invalid field: rejected"},
        {"{\"payload\":{\"session_id\":\"s\",\"ack_seq\":1}}", ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct envelope_error error = {""};
        struct scanned s;
        struct ack ack;

        scanned_good(&s, cases[i].text);
        (void)ack_read(&s.doc, s.doc.items, &ack, &error);
        CHECK_TEXT(error.text, cases[i].error);
        scanned_fini(&s);
    }
}

static void test_rejections(void)
{
    static const struct {
        const char *text, *detail; /* NULL: refused */
    } cases[] = {
        {"{\"seq\":7,\"error\":\"REJECTED\",\"detail\":\"why\"}", "why"},
        {"{\"seq\":7,\"error\":\"REJECTED\"}", "REJECTED"},
        {"{\"seq\":\"7\",\"error\":\"E\",\"detail\":null}", "E"},
        {"{\"seq\":7}", ""},
        {"{\"seq\":7,\"detail\":5}", ""},
        {"{\"detail\":\"why\"}", NULL},
        {"{\"seq\":-7}", NULL},
        {"[7]", NULL},
        {"7", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char detail[PARLEY_DETAIL_MAX] = "untouched";
        uint64_t number = 0;
        struct scanned s;
        parley_status status;

        scanned_good(&s, cases[i].text);
        status = rejection_read(&s.doc, s.doc.items, &number, detail);
        CHECK((status == PARLEY_OK) == (cases[i].detail != NULL));
        CHECK_U64(number, status == PARLEY_OK ? 7 : 0);
        CHECK_TEXT(detail, status == PARLEY_OK ? cases[i].detail : "untouched");
        scanned_fini(&s);
    }
}

static void test_long_detail_is_cut(void)
{
    char text[PARLEY_DETAIL_MAX * 2 + 32], detail[PARLEY_DETAIL_MAX];
    size_t len = (size_t)(stpcpy(text, "{\"seq\":1,\"detail\":\"") - text);
    struct scanned s;
    uint64_t number;

    for (size_t i = 0; i < PARLEY_DETAIL_MAX / 2; i++)
        len = (size_t)(stpcpy(text + len, "\xe2\x98\x83") - text);
    memcpy(text + len, "\"}", 3);
    scanned_good(&s, text);
    CHECK_STATUS(rejection_read(&s.doc, s.doc.items, &number, detail), OK);
    CHECK_U64(strlen(detail), 255); /* 85 characters of three bytes */
    scanned_fini(&s);
}

/* A handler may leave any bytes in its detail: the acknowledgement still scans. */
static void test_detail_of_any_bytes(void)
{
    struct check_random random = {check_seed(0x64657461)};

    for (int round = 0; round < 2000; round++) {
        char detail[64];
        struct wire_rejection one = {1, detail};
        size_t len = check_random_below(&random, sizeof(detail));
        struct written w;
        struct scanned s;

        for (size_t i = 0; i < len; i++)
            detail[i] = (char)(1 + check_random_below(&random, 255));
        detail[len] = '\0';
        ack_write(written_init(&w), "s", 1, &one, 1);
        scanned_good(&s, written_text(&w));
        scanned_fini(&s);
    }
}

static void test_errors_and_replies(void)
{
    char text[64];
    struct written w;
    struct scanned s;

    error_write(written_init(&w), "Message too large (max 1MB)", 0);
    CHECK_TEXT(written_text(&w), "{\"type\":\"error\",\"payload\":{\"error\":"
                                 "\"Message too large (max 1MB)\"}}");
    scanned_good(&s, w.buffer);
    CHECK_U64(frame_kind(&s.doc, s.doc.items), FRAME_ERROR);
    error_read(&s.doc, s.doc.items, text, sizeof(text));
    CHECK_TEXT(text, "Message too large (max 1MB)");
    error_read(&s.doc, s.doc.items, text, 8);
    CHECK_TEXT(text, "Message");
    scanned_fini(&s);
    error_write(written_init(&w), "Handler error: \"no\"", 5);
    CHECK_TEXT(written_text(&w), "{\"type\":\"error\",\"payload\":{\"error\":"
                                 "\"Handler error: \\\"no\\\"\",\"seq\":5}}");

    received_write(written_init(&w), "node-a", false);
    CHECK_TEXT(written_text(&w), "{\"status\":\"received\",\"entity_id\":\"node-a\","
                                 "\"verification\":\"disabled\"}");
    detail_write(written_init(&w), "Invalid JSON");
    CHECK_TEXT(written_text(&w), "{\"detail\":\"Invalid JSON\"}");
    scanned_good(&s, w.buffer);
    detail_read(&s.doc, s.doc.items, text, sizeof(text));
    CHECK_TEXT(text, "Invalid JSON");
    error_read(&s.doc, s.doc.items, text, sizeof(text));
    CHECK_TEXT(text, "");
    scanned_fini(&s);
}

static void test_replies_of_others(void)
{
    static const char *const texts[] = {
        "{}",        "[]", "{\"detail\":[{\"msg\":\"x\"}]}", "null", "{\"detail\":null}",
        "\"detail\""};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[8] = "before";
        struct scanned s;

        scanned_good(&s, texts[i]);
        detail_read(&s.doc, s.doc.items, text, sizeof(text));
        CHECK_TEXT(text, "");
        error_read(&s.doc, s.doc.items, text, sizeof(text));
        CHECK_TEXT(text, "");
        scanned_fini(&s);
    }
}

static const struct check_test tests[] = {
    {"frames are told apart by type and payload", test_kinds},
    {"status/connected's bytes", test_connected_bytes},
    {"HELLO's bytes", test_hello_bytes},
    {"without parley/1 only the older keys are said", test_connected_for_old_clients},
    {"both greetings read back the same", test_greetings_round_trip},
    {"older greetings are read", test_old_greetings},
    {"malformed greetings name the key", test_malformed_greetings},
    {"acknowledgements: bytes and back", test_ack},
    {"malformed acknowledgements name the key", test_malformed_acks},
    {"rejections are read, odd ones too", test_rejections},
    {"a long detail is cut between characters", test_long_detail_is_cut},
    {"a detail of any bytes makes a valid frame", test_detail_of_any_bytes},
    {"errors and HTTP replies: bytes and back", test_errors_and_replies},
    {"replies of other servers do no harm", test_replies_of_others},
};

CHECK_MAIN("control", tests)
