/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of the older dialects, written to the byte, and the answers to them, read.
 */
#include "peers/older_out.h"

#include "test/peers/scanned.h"

static const uint8_t nonce[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct envelope_fields fields_of(const char *payload)
{
    return (struct envelope_fields){
        .sender_id = "a",
        .recipient_id = "b",
        .session_id = "s",
        .msg_type = "task",
        .msg_type_len = 4,
        .payload = payload,
        .payload_len = strlen(payload),
        .timestamp_us = 1700000000500000,
        .number = 7,
        .nonce = nonce,
        .message_id = "m",
        .version = "1.0",
    };
}

#define COMMON                                                                               \
    "{\"payload\":{\"x\":1},\"timestamp\":1700000000.5,\"nonce\":\"AAECAwQFBgcICQoLDA0ODw==" \
    "\","                                                                                    \
    "\"signature\":null,\"encrypted_payload\":null,\"sender_public_key\":null,"              \
    "\"jwt_token\":null,\"sender_id\":\"a\",\"recipient_id\":\"b\",\"session_id\":\"s\","    \
    "\"sequence_num\":7,\"version\":\"1.0\",\"msg_type\":\"task\",\"message_id\":\"m\","

static void a_message_to_each(void)
{
    struct envelope_fields fields = fields_of("{\"x\":1}");
    struct written w;

    older_write_to_manager(written_init(&w), &fields);
    CHECK_TEXT(written_text(&w), COMMON "\"type\":\"peer_message\",\"seq\":7}");
    fields.redelivered = true;
    older_write_to_manager(written_init(&w), &fields);
    CHECK_TEXT(written_text(&w),
               COMMON "\"type\":\"peer_message\",\"redelivered\":true,\"seq\":7}");
    fields.redelivered = false;
    older_write_to_client(written_init(&w), &fields);
    CHECK_TEXT(written_text(&w),
               COMMON "\"type\":\"MESSAGE\",\"from_entity\":\"a\",\"to_entity\":\"b\"}");
}

/* The room a caller takes is enough for the longest names. */
static void the_overhead_is_enough(void)
{
    struct envelope_fields fields = fields_of("");
    char id[ENVELOPE_ID_MAX + 1], type[ENVELOPE_TYPE_MAX];
    struct written w;

    memset(id, 'i', sizeof(id));
    id[ENVELOPE_ID_MAX] = '\0';
    memset(type, 't', sizeof(type));
    fields.sender_id = fields.recipient_id = id;
    fields.session_id = fields.message_id = "01234567-0123-4123-8123-0123456789ab";
    fields.msg_type = type;
    fields.msg_type_len = sizeof(type);
    fields.number = INT64_MAX;
    fields.redelivered = true;
    older_write_to_client(written_init(&w), &fields);
    CHECK(!w.out.overflow &&
          w.out.len <= sizeof(type) + OLDER_FRAME_OVERHEAD + 4 * ENVELOPE_ID_MAX);
    older_write_to_manager(written_init(&w), &fields);
    CHECK(!w.out.overflow &&
          w.out.len <= sizeof(type) + OLDER_FRAME_OVERHEAD + 4 * ENVELOPE_ID_MAX);
    w.out.capacity = w.out.len - 1; /* what does not fit says so */
    w.out.len = 0;
    older_write_to_manager(&w.out, &fields);
    CHECK(w.out.overflow);
}

/* ---- Answers ---- */

static void references(void)
{
#define STATUS(rest) "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\"" rest
    static const struct {
        const char *frame;
        enum older_reference reference;
        uint64_t number;
    } cases[] = {
        {STATUS(",\"seq\":5}}"), REFERENCE_NUMBER, 5},
        {STATUS(",\"seq\":\"5\"}}"), REFERENCE_NUMBER, 5},
        {STATUS("},\"seq\":6}"), REFERENCE_NUMBER, 6},
        {STATUS(",\"seq\":5},\"seq\":6}"), REFERENCE_NUMBER, 5},
        {STATUS(",\"original_type\":\"peer_message\",\"seq\":5}}"), REFERENCE_NUMBER, 5},
        {STATUS("}}"), REFERENCE_NONE, 0},
        {STATUS(",\"seq\":null}}"), REFERENCE_NONE, 0},
        {STATUS(",\"original_type\":null}}"), REFERENCE_NONE, 0},
        {STATUS(",\"original_type\":\"pong\",\"seq\":5}}"), REFERENCE_OTHER, 0},
        {STATUS(",\"original_type\":7,\"seq\":5}}"), REFERENCE_OTHER, 0},
        {STATUS(",\"seq\":-5}}"), REFERENCE_OTHER, 0},
        {STATUS(",\"seq\":5.5}}"), REFERENCE_OTHER, 0},
        {STATUS(",\"seq\":\"x\"}}"), REFERENCE_OTHER, 0},
        {STATUS(",\"seq\":{}}}"), REFERENCE_OTHER, 0},
        {"{\"type\":\"status\",\"payload\":{\"event\":\"other\",\"seq\":5}}", REFERENCE_OTHER,
         0},
        {"{\"type\":\"status\",\"seq\":5}", REFERENCE_OTHER, 0},
        {"{\"type\":\"status\",\"payload\":5}", REFERENCE_OTHER, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t number = 0;
        struct scanned s;

        scanned_good(&s, cases[i].frame);
        if (!CHECK_U64(older_read_received(&s.doc, s.doc.items, &number), cases[i].reference))
            fprintf(stderr, "%s\n", cases[i].frame);
        if (cases[i].reference == REFERENCE_NUMBER)
            CHECK_U64(number, cases[i].number);
        scanned_fini(&s);
    }
}

/* ---- Message ids ---- */

static void ids_tell_their_numbers(void)
{
    struct check_random random = {check_seed(1)};
    uint8_t session[16];
    char text[37];
    uint64_t number;

    for (unsigned round = 0; round < 2000; round++) {
        uint64_t expected = round < 1000 ? round : check_random_next(&random);

        for (unsigned i = 0; i < sizeof(session); i++)
            session[i] = (uint8_t)check_random_next(&random);
        message_id_write(text, session, expected);
        CHECK_U64(text[14], '4');
        CHECK(strchr("89ab", text[19]) != NULL);
        CHECK(message_id_number(text, session, &number) && number == expected);
        for (unsigned i = 0; text[i] != '\0'; i++) /* an upper-case client's */
            text[i] = text[i] >= 'a' && text[i] <= 'f' ? (char)(text[i] - 32) : text[i];
        CHECK(message_id_number(text, session, &number) && number == expected);
        session[5] ^= 1; /* another session's */
        CHECK(!message_id_number(text, session, &number));
    }
}

static void strange_ids_are_nobodys(void)
{
    static const char *const ids[] = {"",
                                      "-",
                                      "x",
                                      "0123456789abcdef0123456789abcde",
                                      "0123456789abcdef0123456789abcdef0",
                                      "gggggggg-gggg-4ggg-8ggg-gggggggggggg",
                                      "00000000-0000-0000-0000-000000000000"};
    static const uint8_t session[16];
    uint64_t number;

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        CHECK(!message_id_number(ids[i], session, &number));
    CHECK(message_id_number("00000000000040008000000000000005", session, &number));
    CHECK_U64(number, 5);
}

static const struct check_test tests[] = {
    {"a message to the manager and to the older client", a_message_to_each},
    {"the room taken for a frame is enough", the_overhead_is_enough},
    {"message_received says which message, none, or another's", references},
    {"a message id tells its number, to its session only", ids_tell_their_numbers},
    {"strange message ids are nobody's", strange_ids_are_nobodys},
};

CHECK_MAIN("frames to older peers", tests)
