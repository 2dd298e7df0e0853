/* SPDX-License-Identifier: Apache-2.0
 *
 * Complete envelopes: whatever form is accepted has views inside the text and strings that
 * end, and what is written from it reads back as the same values.
 */
#include "peers/envelope.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/wire_check.h"

#define ROOM 16384 /* six bytes for each of all names' */

/* Only then can it be forwarded as "1.0"; as "0.3" it loses what rests on a session. */
static bool has_session(const struct envelope *envelope)
{
    return envelope->session_id[0] != '\0' && envelope->number != 0;
}

/* What a sender would say to forward this message. */
static struct envelope_fields fields_of(const struct envelope *envelope, const uint8_t *nonce)
{
    return (struct envelope_fields){
        .sender_id = envelope->sender_id,
        .recipient_id = envelope->recipient_id[0] != '\0' ? envelope->recipient_id : NULL,
        .session_id = envelope->session_id[0] != '\0' ? envelope->session_id : NULL,
        .msg_type = envelope->msg_type,
        .msg_type_len = strlen(envelope->msg_type),
        .payload = envelope->payload,
        .payload_len = envelope->payload_len,
        .timestamp_us = microseconds(envelope->timestamp),
        .number = envelope->number,
        .nonce = nonce,
        .message_id = envelope->message_id[0] != '\0' ? envelope->message_id : NULL,
        .version = has_session(envelope) ? "1.0" : "0.3",
        .redelivered = envelope->redelivered,
        .base_seq = envelope->base_seq,
    };
}

static void check_session(const struct envelope *seen, const struct envelope *expected)
{
    bool kept = has_session(expected);

    FUZZ_CHECK(strcmp(seen->session_id, kept ? expected->session_id : "") == 0);
    FUZZ_CHECK(seen->number == (kept ? expected->number : 0));
    FUZZ_CHECK(seen->base_seq == (kept ? expected->base_seq : 0));
    FUZZ_CHECK(seen->redelivered == (kept && expected->redelivered) && !seen->is_void);
}

static void check_same(const struct envelope *seen, const struct envelope *expected)
{
    FUZZ_CHECK(strcmp(seen->sender_id, expected->sender_id) == 0);
    FUZZ_CHECK(strcmp(seen->recipient_id, expected->recipient_id) == 0);
    FUZZ_CHECK(strcmp(seen->message_id, expected->message_id) == 0);
    FUZZ_CHECK(strcmp(seen->msg_type, expected->msg_type) == 0);
    FUZZ_CHECK(seen->payload_len == expected->payload_len);
    FUZZ_CHECK(memcmp(seen->payload, expected->payload, seen->payload_len) == 0);
    FUZZ_CHECK(same_time(seen->timestamp, microseconds(expected->timestamp)));
    check_session(seen, expected);
}

/* Names of printable ASCII need no escapes: what an envelope adds to its payload is bounded.
 */
static bool names_plain(const struct envelope *envelope)
{
    return entity_id_valid(envelope->sender_id) &&
           (envelope->recipient_id[0] == '\0' || entity_id_valid(envelope->recipient_id)) &&
           (envelope->session_id[0] == '\0' || entity_id_valid(envelope->session_id)) &&
           (envelope->message_id[0] == '\0' || entity_id_valid(envelope->message_id)) &&
           entity_id_valid(envelope->msg_type);
}

/* A buffer one byte too small is never passed, and says so. */
static void check_overflow(const struct envelope_fields *fields, size_t needed, size_t less)
{
    struct json_out out = fuzz_out(less);

    envelope_write(&out, fields);
    FUZZ_CHECK(out.overflow == (less < needed) && out.len <= less);
    free(out.buffer);
}

static void check_round_trip(const struct envelope *envelope, const uint8_t *nonce)
{
    struct envelope_fields fields = fields_of(envelope, nonce);
    struct json_out out = fuzz_out(envelope->payload_len + ROOM);
    struct envelope_error error;
    struct envelope again;
    struct fuzz_json json;

    envelope_write(&out, &fields);
    FUZZ_CHECK(!out.overflow);
    if (names_plain(envelope))
        FUZZ_CHECK(out.len <= envelope->payload_len + ENVELOPE_OVERHEAD_MAX);
    fuzz_json_init(&json, out.buffer, out.len, ENVELOPE_RECORD_DEPTH);
    FUZZ_CHECK(json.status == PARLEY_OK);
    FUZZ_CHECK(frame_kind(&json.doc, json.doc.items) == FRAME_ENVELOPE);
    FUZZ_CHECK(envelope_read(&json.doc, json.doc.items, &again, &error) == PARLEY_OK);
    check_same(&again, envelope);
    fuzz_json_fini(&json);
    check_overflow(&fields, out.len, out.len);
    check_overflow(&fields, out.len, out.len - 1);
    check_overflow(&fields, out.len, nonce[0] % out.len);
    free(out.buffer);
}

/* A type valid for applications is a valid name that no handshake uses. */
static void check_names(const struct envelope *envelope)
{
    const char *type = envelope->msg_type;

    if (!message_type_valid(type, strlen(type)))
        return;
    FUZZ_CHECK(entity_id_valid(type) && strlen(type) <= ENVELOPE_TYPE_MAX);
    FUZZ_CHECK(strcmp(type, "chunk") != 0 && strncmp(type, "handshake", 9) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_json json;
    struct envelope_error error;
    struct envelope envelope;
    uint8_t nonce[16] = {0};
    parley_status status;

    if (len > 0)
        memcpy(nonce, data + len - (len < 16 ? len : 16), len < 16 ? len : 16);
    fuzz_json_init(&json, data, len, ENVELOPE_RECORD_DEPTH);
    if (json.status == PARLEY_OK) {
        memset(&envelope, 0xee, sizeof(envelope));
        memset(&error, 0xee, sizeof(error));
        status = envelope_read(&json.doc, json.doc.items, &envelope, &error);
        if (status == PARLEY_OK) {
            FUZZ_CHECK(envelope.sender_id[0] != '\0' && !envelope.is_void);
            check_envelope(&json.doc, &envelope);
            check_names(&envelope);
            check_round_trip(&envelope, nonce);
        } else {
            check_refusal(status, &error);
        }
    }
    fuzz_json_fini(&json);
    return 0;
}
