/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of the older dialects: every reader on every text, and everything that is written,
 * with names, types, ids and seq out of that text. What is written is strict JSON, is told
 * apart as what it is meant to be, and says what it was told to say.
 */
#include "peers/older.h"

#include "peers/older_out.h"
#include "peers/wire.h"
#include "test/fuzz/fuzz.h"
#include "test/fuzz/wire_check.h"

#define ROOM 16384 /* six bytes for each of all names' */

/* What frames are made of. */
struct material {
    struct envelope envelope;
    char seq[OLDER_SEQ_MAX];
    bool has_seq;
    uint8_t random[16];
    uint64_t number; /* 1 to 2^63 - 1 */
    char message_id[37], session_id[37];
    struct older_head head;
};

/* A frame that was written, scanned. */
struct frame {
    struct json_out out;
    struct fuzz_json json;
};

static void frame_scan(struct frame *frame, enum frame_kind expected)
{
    FUZZ_CHECK(!frame->out.overflow);
    fuzz_json_init(&frame->json, frame->out.buffer, frame->out.len, ENVELOPE_RECORD_DEPTH);
    FUZZ_CHECK(frame->json.status == PARLEY_OK);
    FUZZ_CHECK(frame_kind(&frame->json.doc, frame->json.doc.items) == expected);
}

static void frame_fini(struct frame *frame)
{
    fuzz_json_fini(&frame->json);
    free(frame->out.buffer);
}

static void check_keys(const struct frame *frame, const char *const *keys, size_t len)
{
    const struct json_doc *doc = &frame->json.doc;
    const struct json_item *item = json_first(doc, doc->items);

    for (size_t i = 0; i < len; i++, item = json_next(doc, item))
        FUZZ_CHECK(item != NULL && json_key_is(doc, item, keys[i], strlen(keys[i])));
    FUZZ_CHECK(item == NULL);
}

/* `key` in the payload is `text`, or null for an empty one. */
static void check_said(const struct frame *frame, const char *key, const char *text)
{
    const struct json_doc *doc = &frame->json.doc;
    const struct json_item *item = wire_member(doc, wire_payload(doc, doc->items), key);
    char buffer[ENVELOPE_ID_MAX + 1];

    if (text[0] == '\0') {
        FUZZ_CHECK(item == NULL);
        return;
    }
    FUZZ_CHECK(item != NULL && json_string(doc, item, buffer, sizeof(buffer)) >= 0);
    FUZZ_CHECK(strcmp(buffer, text) == 0);
}

/* ---- to an older client ---- */

static void finish_client(struct frame *frame, const struct material *made,
                          enum frame_kind kind)
{
    static const char *const keys[] = {"message_id", "type",    "from_entity", "to_entity",
                                       "timestamp",  "payload", "signature"};
    char sender[ENVELOPE_ID_MAX + 1];
    struct envelope_error error;

    frame_scan(frame, kind);
    check_keys(frame, keys, sizeof(keys) / sizeof(keys[0]));
    FUZZ_CHECK(older_sender_read(&frame->json.doc, frame->json.doc.items, sender, &error) ==
               PARLEY_OK);
    FUZZ_CHECK(strcmp(sender, made->head.from) == 0);
}

/* An ACK of our message's id tells its number; of any other it tells none but that id's. */
static void check_ack(const struct frame *frame, const struct material *made, bool ours)
{
    enum older_reference reference;
    uint64_t number = 0;

    reference =
        older_read_client_ack(&frame->json.doc, frame->json.doc.items, made->random, &number);
    if (ours)
        FUZZ_CHECK(reference == REFERENCE_NUMBER && number == made->number);
    else
        FUZZ_CHECK(reference != REFERENCE_NONE);
}

static void try_client_frames(const struct material *made)
{
    struct frame frame = {.out = fuzz_out(ROOM)};

    older_ready_write(&frame.out, &made->head);
    finish_client(&frame, made, FRAME_READY);
    frame_fini(&frame);

    for (int pong = 0; pong < 2; pong++) {
        frame.out = fuzz_out(ROOM);
        older_heartbeat_write(&frame.out, &made->head, pong);
        finish_client(&frame, made, pong ? FRAME_HEARTBEAT_PONG : FRAME_HEARTBEAT_PING);
        frame_fini(&frame);
    }
    for (int ours = 0; ours < 2; ours++) {
        const char *id = ours ? made->message_id : made->envelope.message_id;

        frame.out = fuzz_out(ROOM);
        older_ack_write(&frame.out, &made->head, id);
        finish_client(&frame, made, FRAME_ACK);
        check_said(&frame, "ack_message_id", id);
        check_ack(&frame, made, ours);
        frame_fini(&frame);
    }
}

/* ---- to lower-case peers ---- */

/* @param echoes whether it says seq to our peers, too, who are no managers */
static void finish_plain(struct frame *frame, const struct material *made,
                         enum frame_kind kind, bool echoes)
{
    static const char *const four[] = {"type", "payload", "timestamp", "message_id"};
    static const char *const five[] = {"type", "payload", "seq", "timestamp", "message_id"};
    const struct json_doc *doc = &frame->json.doc;
    char seq[OLDER_SEQ_MAX];
    double seconds;

    frame_scan(frame, kind);
    check_keys(frame, made->head.to_manager ? five : four, made->head.to_manager ? 5 : 4);
    FUZZ_CHECK(wire_time(doc, wire_member(doc, doc->items, "timestamp"), &seconds));
    FUZZ_CHECK(fabs(seconds - (double)made->head.timestamp_us / 1e6) < 1e-6);
    if (!echoes)
        return;
    FUZZ_CHECK(older_seq_read(doc, doc->items, seq) == made->has_seq);
    FUZZ_CHECK(strcmp(seq, made->seq) == 0); /* as it stood */
}

/* Acknowledges message N exactly if seq is N, digits in a string included. */
static void check_received(const struct frame *frame, const struct material *made,
                           const char *original_type)
{
    const struct json_doc *doc = &frame->json.doc;
    bool about_messages = original_type[0] == '\0' || !strcmp(original_type, "peer_message");
    enum older_reference reference, expected = REFERENCE_OTHER;
    const struct json_item *seq = wire_member(doc, wire_payload(doc, doc->items), "seq");
    uint64_t number = 0, said = 0;

    if (about_messages && !made->has_seq)
        expected = REFERENCE_NONE;
    else if (about_messages && json_u64(doc, seq, true, &said))
        expected = REFERENCE_NUMBER;
    reference = older_read_received(doc, doc->items, &number);
    FUZZ_CHECK(reference == expected && (expected != REFERENCE_NUMBER || number == said));
    FUZZ_CHECK(older_status_received(doc, doc->items) && !older_status_asks(doc, doc->items));
}

static void try_received(const struct material *made, const char *original_type)
{
    struct frame frame = {.out = fuzz_out(ROOM)};

    older_received_write(&frame.out, &made->head, original_type, made->seq);
    finish_plain(&frame, made, FRAME_STATUS, true);
    check_said(&frame, "original_type", original_type);
    check_received(&frame, made, original_type);
    frame_fini(&frame);
}

static void try_capabilities(const struct material *made, bool ours)
{
    struct frame frame = {.out = fuzz_out(ROOM)};

    older_capabilities_write(&frame.out, &made->head, made->seq, ours);
    finish_plain(&frame, made, FRAME_CAPABILITIES, true);
    FUZZ_CHECK(!older_capabilities_ask(&frame.json.doc, frame.json.doc.items));
    frame_fini(&frame);
}

static void try_error(const struct material *made, const char *text, bool numbered)
{
    struct frame frame = {.out = fuzz_out(ROOM)};
    uint64_t number = 0;
    char *again = fuzz_memory(PARLEY_DETAIL_MAX);
    enum older_reference reference;

    error_write(&frame.out, text, numbered ? made->number : 0);
    frame_scan(&frame, FRAME_ERROR);
    reference = older_read_error(&frame.json.doc, frame.json.doc.items, &number);
    FUZZ_CHECK(reference == (numbered ? REFERENCE_NUMBER : REFERENCE_NONE));
    FUZZ_CHECK(!numbered || number == made->number);
    error_read(&frame.json.doc, frame.json.doc.items, again, PARLEY_DETAIL_MAX);
    FUZZ_CHECK(strcmp(again, text) == 0);
    free(again);
    frame_fini(&frame);
}

static void try_plain_frames(const struct material *made)
{
    struct frame frame = {.out = fuzz_out(ROOM)};

    older_ping_write(&frame.out, &made->head, made->seq);
    finish_plain(&frame, made, FRAME_PING, true);
    frame_fini(&frame);
    frame.out = fuzz_out(ROOM);
    older_pong_write(&frame.out, &made->head, made->seq);
    finish_plain(&frame, made, FRAME_PONG, true);
    frame_fini(&frame);
    frame.out = fuzz_out(ROOM);
    older_status_write(&frame.out, &made->head);
    finish_plain(&frame, made, FRAME_STATUS, false);
    check_said(&frame, "entity_id", made->head.from);
    FUZZ_CHECK(!older_status_asks(&frame.json.doc, frame.json.doc.items));
    frame_fini(&frame);
    try_received(made, made->envelope.msg_type);
    try_received(made, "peer_message");
    try_capabilities(made, false);
    try_capabilities(made, true);
    try_error(made, made->envelope.sender_id, false);
    try_error(made, made->envelope.msg_type, true);
}

/* ---- messages ---- */

static struct envelope_fields fields_of(const struct material *made)
{
    const struct envelope *envelope = &made->envelope;

    return (struct envelope_fields){
        .sender_id = envelope->sender_id[0] != '\0' ? envelope->sender_id : "a",
        .recipient_id = envelope->recipient_id[0] != '\0' ? envelope->recipient_id : "b",
        .session_id = made->session_id,
        .msg_type = envelope->msg_type,
        .msg_type_len = strlen(envelope->msg_type),
        .payload = envelope->payload,
        .payload_len = envelope->payload_len,
        .timestamp_us = microseconds(envelope->timestamp),
        .number = made->number,
        .nonce = made->random,
        .message_id = made->message_id,
        .version = "1.0",
        .redelivered = made->random[0] & 1,
    };
}

/* Whoever reads it, as an envelope or as an older peer's message, reads the same. */
static void check_message(struct frame *frame, const struct envelope_fields *fields)
{
    const struct json_doc *doc = &frame->json.doc;
    struct envelope_error error;
    struct envelope seen;

    frame_scan(frame, FRAME_ENVELOPE);
    FUZZ_CHECK(older_message_read(doc, doc->items, FRAME_ENVELOPE, 0, &seen, &error) ==
               PARLEY_OK);
    FUZZ_CHECK(strcmp(seen.sender_id, fields->sender_id) == 0);
    FUZZ_CHECK(strcmp(seen.recipient_id, fields->recipient_id) == 0);
    FUZZ_CHECK(strcmp(seen.session_id, fields->session_id) == 0);
    FUZZ_CHECK(strcmp(seen.message_id, fields->message_id) == 0);
    FUZZ_CHECK(strcmp(seen.msg_type, fields->msg_type) == 0);
    FUZZ_CHECK(seen.number == fields->number && seen.redelivered == fields->redelivered);
    FUZZ_CHECK(same_time(seen.timestamp, fields->timestamp_us));
    FUZZ_CHECK(seen.payload_len == fields->payload_len);
    FUZZ_CHECK(memcmp(seen.payload, fields->payload, seen.payload_len) == 0);
}

/* The room a peer takes for it is enough, if names are as they must be. */
static void check_room(const struct frame *frame, const struct envelope_fields *fields)
{
    if (entity_id_valid(fields->sender_id) && entity_id_valid(fields->recipient_id) &&
        entity_id_valid(fields->msg_type))
        FUZZ_CHECK(frame->out.len <= fields->msg_type_len + fields->payload_len +
                                         OLDER_FRAME_OVERHEAD + 4 * ENVELOPE_ID_MAX);
}

static void try_message(const struct material *made, bool client)
{
    struct envelope_fields fields = fields_of(made);
    struct frame frame = {.out = fuzz_out(fields.payload_len + ROOM)};
    struct json_out less;
    char seq[OLDER_SEQ_MAX], expected[24];

    if (client)
        older_write_to_client(&frame.out, &fields);
    else
        older_write_to_manager(&frame.out, &fields);
    check_message(&frame, &fields);
    check_room(&frame, &fields);
    if (!client) { /* the payload's own seq is not taken for it */
        snprintf(expected, sizeof(expected), "%llu", (unsigned long long)made->number);
        FUZZ_CHECK(older_seq_read(&frame.json.doc, frame.json.doc.items, seq));
        FUZZ_CHECK(strcmp(seq, expected) == 0);
    }
    less = fuzz_out(frame.out.len - 1 - made->random[1] % (frame.out.len - 1));
    if (client)
        older_write_to_client(&less, &fields);
    else
        older_write_to_manager(&less, &fields);
    FUZZ_CHECK(less.overflow && less.len <= less.capacity);
    free(less.buffer);
    frame_fini(&frame);
}

/* ---- reading ---- */

/* Of any text: what is found is in it, what is not found is said in full. */
static void read_seq(const struct json_doc *doc, struct material *made)
{
    char *seq = fuzz_memory(OLDER_SEQ_MAX);
    struct fuzz_json inner;

    memset(seq, 0xee, OLDER_SEQ_MAX);
    made->has_seq = older_seq_read(doc, doc->items, seq);
    memcpy(made->seq, seq, OLDER_SEQ_MAX);
    free(seq);
    FUZZ_CHECK(ENDS(made->seq));
    if (!made->has_seq) {
        FUZZ_CHECK(strcmp(made->seq, OLDER_VOID_SEQ) == 0);
        return;
    }
    FUZZ_CHECK(memmem(doc->text, doc->len, made->seq, strlen(made->seq)) != NULL);
    fuzz_json_init(&inner, made->seq, strlen(made->seq), 0);
    FUZZ_CHECK(inner.status == PARLEY_OK && (inner.doc.items[0].type == JSON_NUMBER ||
                                             inner.doc.items[0].type == JSON_STRING));
    fuzz_json_fini(&inner);
}

static void read_references(const struct json_doc *doc, const uint8_t random[16])
{
    uint64_t number = 0;
    char id[37];

    if (older_read_received(doc, doc->items, &number) == REFERENCE_NUMBER)
        FUZZ_CHECK(older_status_received(doc, doc->items) && number <= INT64_MAX);
    if (older_read_error(doc, doc->items, &number) == REFERENCE_NUMBER)
        FUZZ_CHECK(number <= INT64_MAX);
    if (older_read_client_ack(doc, doc->items, random, &number) == REFERENCE_NUMBER) {
        message_id_write(id, random, number);
        FUZZ_CHECK(message_id_number(id, random, &number));
    }
}

static bool read_message(const struct json_doc *doc, enum frame_kind kind, uint64_t us,
                         struct envelope *envelope)
{
    struct envelope_error error;
    parley_status status;

    memset(envelope, 0xee, sizeof(*envelope));
    memset(&error, 0xee, sizeof(error));
    status = older_message_read(doc, doc->items, kind, us, envelope, &error);
    if (status != PARLEY_OK) {
        check_refusal(status, &error);
        return false;
    }
    FUZZ_CHECK(ENDS(envelope->nonce));
    check_envelope(doc, envelope);
    return true;
}

/* Of a text that is no message, what it says may still be written. */
static void without_message(const struct json_doc *doc, struct material *made)
{
    struct envelope *envelope = &made->envelope;
    struct envelope_error error;

    memset(envelope, 0, sizeof(*envelope));
    if (older_sender_read(doc, doc->items, envelope->sender_id, &error) != PARLEY_OK) {
        check_refusal(PARLEY_EPROTO, &error);
        envelope->sender_id[0] = '\0';
    }
    json_string_cut(doc, wire_member(doc, doc->items, "type"), envelope->msg_type,
                    sizeof(envelope->msg_type));
    json_string_cut(doc, wire_member(doc, doc->items, "message_id"), envelope->message_id,
                    sizeof(envelope->message_id));
}

/* ---- message ids ---- */

/* Digits of either case, with dashes anywhere, are the id they spell; nothing else is. */
static void try_id(const struct material *made, const uint8_t *data, size_t len)
{
    char *text = fuzz_text(data, len), expected[37], plain[33] = "";
    uint64_t number = 0;
    size_t used = 0;

    FUZZ_CHECK(message_id_number(made->message_id, made->random, &number));
    FUZZ_CHECK(number == made->number);
    if (message_id_number(text, made->random, &number)) {
        message_id_write(expected, made->random, number);
        for (const char *from = text; *from != '\0'; from++) {
            if (*from == '-')
                continue;
            FUZZ_CHECK(used < sizeof(plain) - 1);
            plain[used++] = *from;
        }
        used = 0;
        for (const char *from = expected; *from != '\0'; from++) {
            if (*from != '-')
                FUZZ_CHECK((plain[used++] | 0x20) == (*from | 0x20));
        }
        FUZZ_CHECK(plain[used] == '\0');
    }
    free(text);
}

/* The last bytes are numbers, too; what is not among them is zero. */
static void begin(struct material *made, const uint8_t *data, size_t len, uint64_t *ret_us)
{
    size_t used = len < 16 ? len : 16;

    memset(made, 0, sizeof(*made));
    memcpy(made->random, data + len - used, used);
    memcpy(ret_us, made->random, sizeof(*ret_us));
    *ret_us %= UINT64_C(4000000000000000);
    memcpy(&made->number, made->random + 8, sizeof(made->number));
    made->number = made->number >> (made->random[0] % 63 + 1) | 1;
    message_id_write(made->message_id, made->random, made->number);
    uuid_write(made->session_id, made->random);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct material made;
    struct fuzz_json json;
    uint64_t us;
    bool is_message;

    if (len == 0)
        return 0;
    begin(&made, data, len, &us);
    try_id(&made, data, len);
    fuzz_json_init(&json, data, len, ENVELOPE_RECORD_DEPTH);
    if (json.status == PARLEY_OK) {
        (void)read_message(&json.doc, FRAME_OTHER, us, &made.envelope);
        is_message =
            read_message(&json.doc, frame_kind(&json.doc, json.doc.items), us, &made.envelope);
        if (!is_message)
            without_message(&json.doc, &made);
        read_seq(&json.doc, &made);
        read_references(&json.doc, made.random);
        made.head = (struct older_head){.message_id = made.message_id,
                                        .from = made.envelope.sender_id,
                                        .to = made.envelope.recipient_id,
                                        .timestamp_us = us,
                                        .to_manager = made.random[2] & 1};
        try_client_frames(&made);
        try_plain_frames(&made);
        if (is_message) {
            try_message(&made, false);
            try_message(&made, true);
        }
    }
    fuzz_json_fini(&json);
    return 0;
}
