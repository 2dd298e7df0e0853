/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of the older WebSocket dialects, to the letter.
 */
#include "peers/older.h"

#include "test/peers/scanned.h"

#define AT  UINT64_C(1795380944590514) /* 2026-11-22T20:55:44.590514 */
#define ISO "\"2026-11-22T20:55:44.590514+00:00\""
#define ID  ",\"timestamp\":" ISO ",\"message_id\":\"id-1\"}"

/* ---- Writing ---- */

static const struct older_head head = {"id-1", "node", "old", AT, false};

#define HEAD(TYPE)                                                                           \
    "{\"message_id\":\"id-1\",\"type\":\"" TYPE "\",\"from_entity\":\"node\",\"to_entity\":" \
    "\"old\",\"timestamp\":1795380944.590514,\"payload\":"
#define TAIL ",\"signature\":null}"

static void test_client_bytes(void)
{
    struct written w;

    older_ready_write(written_init(&w), &head);
    CHECK_TEXT(written_text(&w),
               HEAD("READY") "{\"version\":\"1.2\",\"capabilities\":[\"websocket\","
                             "\"heartbeat\"]}" TAIL);
    older_ack_write(written_init(&w), &head, "m \"1\"");
    CHECK_TEXT(written_text(&w), HEAD("ACK") "{\"ack_message_id\":\"m \\\"1\\\"\"}" TAIL);
    older_heartbeat_write(written_init(&w), &head, true);
    CHECK_TEXT(written_text(&w), HEAD("HEARTBEAT") "{\"type\":\"pong\",\"timestamp\":"
                                                   "1795380944.590514}" TAIL);
    older_heartbeat_write(written_init(&w), &head, false);
    CHECK_TEXT(written_text(&w), HEAD("HEARTBEAT") "{\"type\":\"ping\",\"timestamp\":"
                                                   "1795380944.590514}" TAIL);
}

static void test_lower_case_bytes(void)
{
    struct written w;

    older_pong_write(written_init(&w), &head, "7");
    CHECK_TEXT(written_text(&w), "{\"type\":\"pong\",\"payload\":{\"seq\":7,\"timestamp\":"
                                 "1795380944.590514}" ID);
    older_received_write(written_init(&w), &head, "task", "\"x\"");
    CHECK_TEXT(written_text(&w),
               "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\","
               "\"original_type\":\"task\",\"seq\":\"x\"}" ID);
    older_status_write(written_init(&w), &head);
    CHECK_TEXT(written_text(&w),
               "{\"type\":\"status\",\"payload\":{\"event\":\"status\",\"entity_id\":"
               "\"node\",\"timestamp\":1795380944.590514}" ID);
    older_capabilities_write(written_init(&w), &head, "7", false);
    CHECK_TEXT(written_text(&w),
               "{\"type\":\"capability_exchange\",\"payload\":{\"acknowledged\":true,"
               "\"capabilities\":[\"websocket\",\"heartbeat\"],\"protocol_version\":\"1.1\","
               "\"seq\":7,\"timestamp\":1795380944.590514}" ID);
    older_capabilities_write(written_init(&w), &head, "null", true);
    CHECK_CONTAINS(written_text(&w), "[\"parley/1\",\"websocket\",\"heartbeat\"]");
}

/* What we send as its client says seq beside the payload, too. */
static void test_manager_bytes(void)
{
    struct older_head to_manager = head;
    struct written w;

    to_manager.to_manager = true;
    older_ping_write(written_init(&w), &to_manager, "7");
    CHECK_TEXT(written_text(&w), "{\"type\":\"ping\",\"payload\":{\"seq\":7,\"timestamp\":"
                                 "1795380944.590514},\"seq\":7" ID);
    older_pong_write(written_init(&w), &to_manager, "null");
    CHECK_TEXT(written_text(&w), "{\"type\":\"pong\",\"payload\":{\"seq\":null,\"timestamp\":"
                                 "1795380944.590514},\"seq\":null" ID);
    older_capabilities_write(written_init(&w), &to_manager, "\"a\"", false);
    CHECK_CONTAINS(written_text(&w), "\"seq\":\"a\",\"timestamp\":1795380944.590514},"
                                     "\"seq\":\"a\"" ID);
}

/* ---- Reading ---- */

struct reading {
    const char *text;
    const char *type, *sender, *message_id, *payload; /* type NULL: refused */
    const char *error;
};

static void read_one(const struct reading *reading)
{
    struct scanned s;
    struct envelope envelope;
    struct envelope_error error;
    enum frame_kind kind;
    parley_status status;

    scanned_good(&s, reading->text);
    kind = frame_kind(&s.doc, s.doc.items);
    status = older_message_read(&s.doc, s.doc.items, kind, AT, &envelope, &error);
    if (reading->type == NULL) {
        if (CHECK_TEXT(parley_status_name(status), "EPROTO"))
            CHECK_TEXT(error.text, reading->error);
    } else if (CHECK_TEXT(parley_status_name(status), "OK")) {
        CHECK_TEXT(envelope.msg_type, reading->type);
        CHECK_TEXT(envelope.sender_id, reading->sender);
        CHECK_TEXT(envelope.message_id, reading->message_id);
        CHECK_BYTES(envelope.payload, envelope.payload_len, reading->payload,
                    strlen(reading->payload));
    }
    scanned_fini(&s);
}

#define SEVEN(MORE)                                                                     \
    "{\"message_id\":\"m\",\"type\":\"MESSAGE\",\"from_entity\":\"old\",\"to_entity\":" \
    "\"node\",\"timestamp\":1.5,\"payload\":{\"a\":1},\"signature\":null" MORE "}"

static void test_messages(void)
{
    static const struct reading readings[] = {
        {SEVEN(""), "MESSAGE", "old", "m", "{\"a\":1}", ""},
        {SEVEN(",\"msg_type\":\"task\""), "task", "old", "m", "{\"a\":1}", ""},
        {SEVEN(",\"msg_type\":7"), NULL, "", "", "", "Invalid field: msg_type"},
        {"{\"type\":\"task\",\"payload\":{}}", "task", "", "", "{}", ""},
        {"{\"type\":\"task\",\"payload\":{},\"sender_id\":\"x\",\"message_id\":\"i\"}", "task",
         "x", "i", "{}", ""},
        {"{\"type\":\"task\",\"msg_type\":\"other\",\"payload\":{}}", "task", "", "", "{}",
         ""},
        {"{\"type\":\"peer_message\",\"payload\":{},\"timestamp\":1,\"sender_id\":\"x\","
         "\"session_id\":\"s\",\"sequence_num\":3,\"version\":\"1.0\",\"msg_type\":\"t\"}",
         "t", "x", "", "{}", ""},
        {"{\"from\":\"x\",\"type\":\"t\",\"payload\":{},\"timestamp\":1}", "t", "x", "", "{}",
         ""},
        {"{\"type\":\"task\"}", NULL, "", "", "", "Unknown message format"},
        {"{\"type\":\"task\",\"payload\":[]}", NULL, "", "", "", "Unknown message format"},
        {"{\"type\":7,\"payload\":{}}", NULL, "", "", "", "Unknown message format"},
        {"{\"type\":\"\",\"payload\":{}}", NULL, "", "", "", "Missing required field: type"},
        {"{\"type\":\"t\",\"payload\":{},\"timestamp\":\"soon\"}", NULL, "", "", "",
         "Invalid field: timestamp"},
        {"{\"type\":\"t\",\"payload\":{},\"message_id\":[]}", NULL, "", "", "",
         "Invalid field: message_id"},
        {"{\"type\":\"MESSAGE\",\"payload\":{}}", NULL, "", "", "", "Unknown message format"},
        {"{\"type\":\"peer_message\",\"payload\":{}}", NULL, "", "", "",
         "Unknown message format"},
        {"[1]", NULL, "", "", "", "Unknown message format"},
        {"{}", NULL, "", "", "", "Unknown message format"},
    };

    for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++)
        read_one(&readings[i]);
}

static void test_time_of_plain_frames(void)
{
    struct scanned s;
    struct envelope envelope;
    struct envelope_error error;

    scanned_good(&s, "{\"type\":\"t\",\"payload\":{}}");
    CHECK_STATUS(
        older_message_read(&s.doc, s.doc.items, FRAME_OTHER, 2500000, &envelope, &error), OK);
    CHECK(envelope.timestamp == 2.5 && envelope.number == 0);
    scanned_fini(&s);
    scanned_good(&s, "{\"type\":\"t\",\"payload\":{},\"timestamp\":\"1970-01-01T00:00:07Z\"}");
    CHECK_STATUS(
        older_message_read(&s.doc, s.doc.items, FRAME_OTHER, 2500000, &envelope, &error), OK);
    CHECK(envelope.timestamp == 7.0);
    scanned_fini(&s);
}

static void test_seq(void)
{
    static const char *const cases[][2] = {
        {"{\"seq\":7}", "7"},
        {"{\"seq\":\"7\"}", "\"7\""},
        {"{\"seq\":7,\"payload\":{\"seq\":8}}", "7"},
        {"{\"seq\":7,\"payload\":{\"seq\":null}}", "7"},
        {"{\"seq\":1.50,\"payload\":{}}", "1.50"},
        {"{\"payload\":{\"seq\":8.50}}", "8.50"},
        {"{\"seq\":null,\"payload\":{\"seq\":\"a\\\"b\"}}", "\"a\\\"b\""},
        {"{\"seq\":[1]}", "null"},
        {"{\"seq\":true}", "null"},
        {"{\"seq\":\"0123456789012345678901234567890123456789012345678\"}", "null"},
        {"{\"seq\":1234567890123456789012345678901234567890123456789}", "null"},
        {"{}", "null"},
        {"[]", "null"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char seq[OLDER_SEQ_MAX];
        struct scanned s;

        scanned_good(&s, cases[i][0]);
        older_seq_read(&s.doc, s.doc.items, seq);
        CHECK_TEXT(seq, cases[i][1]);
        scanned_fini(&s);
    }
}

static void test_who_asks(void)
{
    static const struct {
        const char *text;
        bool status, received, capabilities;
    } cases[] = {
        {"{\"payload\":{}}", true, false, true},
        {"{}", true, false, true},
        {"{\"payload\":{\"event\":\"busy\",\"acknowledged\":false}}", true, false, true},
        {"{\"payload\":{\"event\":\"status\",\"acknowledged\":true}}", false, false, false},
        {"{\"payload\":{\"event\":\"connected\",\"acknowledged\":1}}", false, false, false},
        {"{\"payload\":{\"event\":\"message_received\"},\"acknowledged\":true}", false, true,
         false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scanned s;

        scanned_good(&s, cases[i].text);
        CHECK_U64(older_status_asks(&s.doc, s.doc.items), cases[i].status);
        CHECK_U64(older_status_received(&s.doc, s.doc.items), cases[i].received);
        CHECK_U64(older_capabilities_ask(&s.doc, s.doc.items), cases[i].capabilities);
        scanned_fini(&s);
    }
}

static const struct check_test tests[] = {
    {"frames to an older client have seven keys in order", test_client_bytes},
    {"frames to a lower-case client, to the letter", test_lower_case_bytes},
    {"frames to a manager, to the letter", test_manager_bytes},
    {"messages of every older form are read, and others refused", test_messages},
    {"a plain frame's time is its own or now", test_time_of_plain_frames},
    {"seq is echoed as it stood", test_seq},
    {"an answer is not taken for a question", test_who_asks},
};

CHECK_MAIN("older frames", tests)
