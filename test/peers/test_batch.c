/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: the exact bytes, round trips, what does not fit, and malformed ones.
 */
#include <stdio.h>

#include "test/peers/scanned.h"

static struct envelope_fields message(const char *type, const char *payload)
{
    return (struct envelope_fields){
        .msg_type = type,
        .msg_type_len = strlen(type),
        .payload = payload,
        .payload_len = payload != NULL ? strlen(payload) : 0,
        .timestamp_us = UINT64_C(1795380941668135),
    };
}

#define HEAD "{\"type\":\"batch\",\"session_id\":\"s-1\",\"base_seq\":3,\"first_seq\":5,"

static void test_written_bytes(void)
{
    struct envelope_fields one = message("status", "{\"n\":1}"), two = message("x", "{}");
    struct envelope_fields none = message("gone", NULL);
    struct written w;

    two.redelivered = true;
    two.timestamp_us = UINT64_C(1700000000000000);
    batch_begin(written_init(&w), "s-1", 3, 5);
    CHECK(batch_add(&w.out, &one, true));
    CHECK(batch_add(&w.out, &none, false));
    CHECK(batch_add(&w.out, &two, false));
    batch_end(&w.out);
    CHECK_TEXT(written_text(&w),
               HEAD "\"messages\":[{\"msg_type\":\"status\",\"payload\":{\"n\":1},"
                    "\"timestamp\":1795380941.668135},{\"void\":true},{\"msg_type\":\"x\","
                    "\"payload\":{},\"timestamp\":1700000000.0,\"redelivered\":true}]}");
}

static void test_void_first(void)
{
    struct envelope_fields none = message("gone", NULL);
    struct written w;

    batch_begin(written_init(&w), "s-1", 3, 5);
    CHECK(batch_add(&w.out, &none, true));
    batch_end(&w.out);
    CHECK_TEXT(written_text(&w), HEAD "\"messages\":[{\"void\":true}]}");
}

static void test_round_trip(void)
{
    struct envelope_fields sent[3] = {message("a.b", "{\"k\":[1,{\"d\":{}}]}"),
                                      message("gone", NULL), message("c", "{}")};
    struct envelope_error error;
    struct envelope e;
    struct batch batch;
    struct written w;
    struct scanned s;
    const struct json_item *item;
    size_t i = 0;

    sent[2].redelivered = true;
    batch_begin(written_init(&w), "session", INT64_MAX - 1, INT64_MAX);
    for (i = 0; i < 3; i++)
        CHECK(batch_add(&w.out, &sent[i], i == 0));
    batch_end(&w.out);
    scanned_good(&s, written_text(&w));
    CHECK_U64(frame_kind(&s.doc, s.doc.items), FRAME_BATCH);
    CHECK_STATUS(batch_read(&s.doc, s.doc.items, &batch, &error), OK);
    CHECK_TEXT(batch.session_id, "session");
    CHECK_U64(batch.base_seq, INT64_MAX - 1);
    CHECK_U64(batch.first_seq, INT64_MAX);
    memset(&e, 0, sizeof(e));
    strcpy(e.sender_id, "the connection's");
    e.number = 41;
    for (i = 0, item = batch.messages; item != NULL; item = json_next(&s.doc, item), i++) {
        CHECK_STATUS(batch_message_read(&s.doc, item, &e, &error), OK);
        CHECK(e.is_void == (sent[i].payload == NULL));
        CHECK(e.redelivered == sent[i].redelivered);
        CHECK_TEXT(e.sender_id, "the connection's");
        CHECK_U64(e.number, 41);
        if (e.is_void) {
            CHECK(e.payload == NULL && e.payload_len == 0);
            continue;
        }
        CHECK_TEXT(e.msg_type, sent[i].msg_type);
        CHECK_BYTES(e.payload, e.payload_len, sent[i].payload, sent[i].payload_len);
        CHECK(e.timestamp == 1795380941.668135);
    }
    CHECK_U64(i, 3);
    scanned_fini(&s);
}

/* For every capacity: what was added is whole, and the end always fits. */
static void test_full(void)
{
    struct envelope_fields fields[2] = {message("type", "{\"n\":12345}"), message("v", NULL)};
    struct written head;
    unsigned most = 0;

    batch_begin(written_init(&head), "s", 1, 1);
    for (size_t capacity = head.out.len + 2; capacity < 1200; capacity++) {
        struct json_out out = {.buffer = malloc(capacity), .capacity = capacity};
        struct scanned s;
        unsigned added = 0, seen = 0;
        struct batch batch;
        struct envelope_error error;

        batch_begin(&out, "s", 1, 1);
        fields[0].redelivered = capacity % 2;
        while (batch_add(&out, &fields[added % 3 == 2], added == 0))
            added++;
        batch_end(&out);
        CHECK(!out.overflow);
        scanned_init(&s, out.buffer, out.len);
        CHECK_STATUS(s.status, OK);
        CHECK_STATUS(batch_read(&s.doc, s.doc.items, &batch, &error), OK);
        for (const struct json_item *i = batch.messages; i != NULL; i = json_next(&s.doc, i))
            seen++;
        CHECK_U64(seen, added);
        most = added > most ? added : most;
        /* it refuses only when its documented margin is gone */
        CHECK(capacity - out.len < BATCH_MESSAGE_OVERHEAD + 4 + 11);
        scanned_fini(&s);
        free(out.buffer);
    }
    CHECK(most > 10);
}

static void test_does_not_fit_at_all(void)
{
    struct envelope_fields huge = message("t", "{}");
    struct written w;
    size_t before;

    huge.payload_len = SIZE_MAX - 10; /* never read: it cannot fit */
    batch_begin(written_init(&w), "s", 1, 1);
    before = w.out.len;
    CHECK(!batch_add(&w.out, &huge, true));
    CHECK_U64(w.out.len, before);
    CHECK(!w.out.overflow);
    batch_end(&w.out);
    CHECK_CONTAINS(written_text(&w), "\"messages\":[]}");
}

static void test_overflowed_batch_takes_nothing(void)
{
    struct envelope_fields one = message("t", "{}");
    char buffer[300];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};

    out.overflow = true;
    CHECK(!batch_add(&out, &one, true));
    CHECK_U64(out.len, 0);
}

static void test_heads(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {HEAD "\"messages\":[]}", ""},
        {HEAD "\"messages\":[{}],\"more\":{\"a\":1}}", ""},
        {"[]", "Unknown message format"},
        {"{}", "Unknown message format"},
        {"{\"type\":\"Batch\"}", "Unknown message format"},
        {"{\"type\":7}", "Unknown message format"},
        {"{\"type\":\"batch\"}", "Missing required field: session_id"},
        {"{\"type\":\"batch\",\"session_id\":1}", "Invalid field: session_id"},
        {"{\"type\":\"batch\",\"session_id\":\"s\"}", "Missing required field: base_seq"},
        {"{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":0}",
         "Invalid field: base_seq"},
        {"{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1}",
         "Missing required field: first_seq"},
        {"{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,\"first_seq\":-1}",
         "Invalid field: first_seq"},
        {"{\"type\":\"batch\",\"session_id\":\"s\",\"base_seq\":1,\"first_seq\":"
         "9223372036854775808}",
         "Invalid field: first_seq"},
        {HEAD "\"m\":1}", "Missing required field: messages"},
        {HEAD "\"messages\":null}", "Missing required field: messages"},
        {HEAD "\"messages\":{}}", "Invalid field: messages"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct envelope_error error = {""};
        struct batch batch;
        struct scanned s;

        scanned_good(&s, cases[i].text);
        (void)batch_read(&s.doc, s.doc.items, &batch, &error);
        CHECK_TEXT(error.text, cases[i].error);
        scanned_fini(&s);
    }
}

static void test_messages(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1}", ""},
        {"{\"timestamp\":1,\"payload\":{},\"msg_type\":\"t\",\"void\":false}", ""},
        {"{\"timestamp\":\"2026-11-22T20:55:44Z\",\"payload\":{},\"msg_type\":\"t\",\"x\":1}",
         ""},
        {"{\"m\\u0073g_type\":\"t\",\"payload\":{},\"timestamp\":1,\"nonce\":null}", ""},
        {"{\"void\":true}", ""},
        {"{\"void\":true,\"msg_type\":7}", ""},
        {"{\"void\":1}", "Invalid field: void"},
        {"{}", "Missing required field: msg_type"},
        {"{\"msg_type\":null,\"payload\":{},\"timestamp\":1}",
         "Missing required field: msg_type"},
        {"{\"msg_type\":1,\"payload\":{},\"timestamp\":1}", "Invalid field: msg_type"},
        {"{\"msg_type\":\"t\",\"timestamp\":1}", "Missing required field: payload"},
        {"{\"msg_type\":\"t\",\"payload\":[],\"timestamp\":1}", "Invalid field: payload"},
        {"{\"msg_type\":\"t\",\"payload\":{}}", "Missing required field: timestamp"},
        {"{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":\"now\"}",
         "Invalid field: timestamp"},
        {"{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1,\"redelivered\":1}",
         "Invalid field: redelivered"},
        {"{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1,\"message_id\":1}",
         "Invalid field: message_id"},
        {"{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1,\"sender_id\":1}",
         "Invalid field: sender_id"},
        {"[]", "Invalid field: messages"},
        {"null", "Invalid field: messages"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct envelope_error error = {""};
        struct envelope e = {.sender_id = "kept"};
        struct batch batch;
        struct scanned s;
        char text[300];

        snprintf(text, sizeof(text), HEAD "\"messages\":[%s]}", cases[i].text);
        scanned_good(&s, text);
        CHECK_STATUS(batch_read(&s.doc, s.doc.items, &batch, &error), OK);
        if (batch_message_read(&s.doc, batch.messages, &e, &error) == PARLEY_OK)
            CHECK_TEXT(e.sender_id, "kept");
        CHECK_TEXT(error.text, cases[i].error);
        scanned_fini(&s);
    }
}

static void test_message_names_itself(void)
{
    struct envelope e = {.sender_id = "connection", .message_id = "", .recipient_id = "us"};
    struct envelope_error error;
    struct batch batch;
    struct scanned s;

    scanned_good(&s, HEAD "\"messages\":[{\"msg_type\":\"t\",\"payload\":{},\"timestamp\":1,"
                          "\"message_id\":\"m\",\"sender_id\":\"other\"}]}");
    CHECK_STATUS(batch_read(&s.doc, s.doc.items, &batch, &error), OK);
    CHECK_STATUS(batch_message_read(&s.doc, batch.messages, &e, &error), OK);
    CHECK_TEXT(e.sender_id, "other");
    CHECK_TEXT(e.message_id, "m");
    CHECK_TEXT(e.recipient_id, "us");
    scanned_fini(&s);
}

static void test_truncations(void)
{
    struct envelope_fields one = message("status", "{\"n\":[1,\"\\u00e9\xc3\xa9\"]}");
    struct envelope_fields none = message("v", NULL);
    struct written w;

    batch_begin(written_init(&w), "s-1", 3, 5);
    CHECK(batch_add(&w.out, &one, true));
    CHECK(batch_add(&w.out, &none, false));
    CHECK(batch_add(&w.out, &one, false));
    batch_end(&w.out);
    for (size_t len = 0; len < w.out.len; len++) {
        struct scanned s;

        scanned_init(&s, w.buffer, len);
        CHECK_STATUS(s.status, EPROTO);
        scanned_fini(&s);
    }
}

/* Whatever still scans after a few bytes were changed is read without harm. */
static void test_mutations(void)
{
    struct check_random random = {check_seed(0x62617463)};
    static const char from[] =
        HEAD "\"messages\":[{\"msg_type\":\"t\",\"payload\":{\"a\":1},\"timestamp\":1.5,"
             "\"redelivered\":true},{\"void\":true},{\"msg_type\":\"u\",\"payload\":{},"
             "\"timestamp\":\"2026-11-22T20:55:44Z\",\"message_id\":\"m\"}]}";
    static const char alphabet[] = "\"{}[]:,01ntypeu\\";
    unsigned read = 0;

    for (unsigned round = 0; round < 30000; round++) {
        char text[sizeof(from)];
        struct envelope_error error;
        struct batch batch;
        struct scanned s;

        memcpy(text, from, sizeof(from));
        for (unsigned i = 0; i < 1 + round % 3; i++)
            text[check_random_below(&random, sizeof(from) - 1)] =
                alphabet[check_random_below(&random, sizeof(alphabet) - 1)];
        scanned_init(&s, text, sizeof(from) - 1);
        (void)frame_kind(&s.doc, s.status == PARLEY_OK ? s.doc.items : &(struct json_item){0});
        if (s.status == PARLEY_OK &&
            batch_read(&s.doc, s.doc.items, &batch, &error) == PARLEY_OK) {
            struct envelope e = {.sender_id = ""};

            for (const struct json_item *i = batch.messages; i; i = json_next(&s.doc, i))
                read += batch_message_read(&s.doc, i, &e, &error) == PARLEY_OK;
        }
        scanned_fini(&s);
    }
    CHECK(read > 1000);
}

static const struct check_test tests[] = {
    {"the batch's bytes", test_written_bytes},
    {"a void may come first", test_void_first},
    {"what is written reads back the same", test_round_trip},
    {"a full batch can always be ended", test_full},
    {"a message larger than the batch leaves it as it was", test_does_not_fit_at_all},
    {"a batch that overflowed takes nothing", test_overflowed_batch_takes_nothing},
    {"malformed heads name the key", test_heads},
    {"malformed messages name the key", test_messages},
    {"a message may name itself and its sender", test_message_names_itself},
    {"every truncation is refused", test_truncations},
    {"mutated batches are read without harm", test_mutations},
};

CHECK_MAIN("batch", tests)
