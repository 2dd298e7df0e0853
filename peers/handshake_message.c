/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/handshake_message.h"

#include <string.h>

#include "peers/base64.h"
#include "peers/wire.h"

#define NONCE_BYTES 16
#define NONCE_B64   24

static const char *const names[] = {
    [STEP_INIT] = "handshake_init",
    [STEP_INIT_ACK] = "handshake_init_ack",
    [STEP_CHALLENGE_RESPONSE] = "challenge_response",
    [STEP_ESTABLISHED] = "session_established",
    [STEP_CONFIRM] = "session_confirm",
    [STEP_READY] = "ready",
};

const char *handshake_step_name(enum handshake_step step)
{
    return names[step];
}

/* ---- Reading ---- */

static bool read_step(struct handshake_message *message, const struct json_item *root)
{
    const struct json_doc *doc = message->doc;
    const struct json_item *type = wire_member(doc, root, "msg_type");
    const struct json_item *said = wire_member(doc, message->payload, "step");
    uint64_t number;

    for (enum handshake_step step = STEP_INIT; step <= STEP_READY; step++) {
        if (!wire_is(doc, type, names[step]))
            continue;
        message->step = step;
        return said != NULL && json_u64(doc, said, false, &number) && number == step;
    }
    return false;
}

static bool read_signature(struct handshake_message *message, const struct json_item *root)
{
    const struct json_item *item = wire_member(message->doc, root, "signature");
    char text[HANDSHAKE_SIGNATURE_B64 + 1];
    char bytes[HANDSHAKE_SIGNATURE_B64 / 4 * 3];
    size_t len;

    if (item == NULL || json_string(message->doc, item, text, sizeof(text)) < 0 ||
        !base64_decode(text, strlen(text), bytes, &len) || len != IDENTITY_SIGNATURE_BYTES)
        return false;
    memcpy(message->signature, bytes, IDENTITY_SIGNATURE_BYTES);
    return true;
}

static bool read_timestamp(struct handshake_message *message, const struct json_item *root)
{
    const struct json_item *item = wire_member(message->doc, root, "timestamp");

    if (item == NULL || (item->type != JSON_NUMBER && item->type != JSON_STRING))
        return false;
    message->timestamp = message->doc->text + item->value;
    message->timestamp_len = item->value_len;
    if (item->type == JSON_STRING) { /* with its quotes */
        message->timestamp--;
        message->timestamp_len += 2;
    }
    return true;
}

static bool read_texts(struct handshake_message *message, const struct json_item *root)
{
    const struct json_doc *doc = message->doc;
    const struct {
        const char *key;
        char *text;
        size_t len;
    } texts[] = {
        {"sender_id", message->sender_id, sizeof(message->sender_id)},
        {"recipient_id", message->recipient_id, sizeof(message->recipient_id)},
        {"session_id", message->session_id, sizeof(message->session_id)},
        {"version", message->version, sizeof(message->version)},
        {"nonce", message->nonce, sizeof(message->nonce)},
    };
    struct envelope_error error;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (wire_text(doc, wire_member(doc, root, texts[i].key), texts[i].key, false,
                      texts[i].text, texts[i].len, &error) != PARLEY_OK)
            return false;
    }
    return wire_number(doc, wire_member(doc, root, "sequence_num"), "sequence_num", 0,
                       &message->number, &error) == PARLEY_OK;
}

parley_status handshake_message_read(const struct json_doc *doc, const struct json_item *root,
                                     struct handshake_message *ret_message)
{
    if (root->type != JSON_OBJECT)
        return PARLEY_EPROTO;
    ret_message->doc = doc;
    ret_message->payload = wire_payload(doc, root);
    if (ret_message->payload == NULL ||
        ret_message->payload->value_len > HANDSHAKE_PAYLOAD_MAX ||
        !read_step(ret_message, root) || !read_texts(ret_message, root) ||
        !read_timestamp(ret_message, root) || !read_signature(ret_message, root))
        return PARLEY_EPROTO;
    return PARLEY_OK;
}

parley_status handshake_message_verify(struct canonical *canonical,
                                       const struct handshake_message *message,
                                       const struct identity_key *key)
{
    const struct canonical_message signed_part = {
        .msg_type = names[message->step],
        .nonce = message->nonce,
        .sender_id = message->sender_id,
        .version = message->version,
        .payload = message->doc->text + message->payload->value,
        .payload_len = message->payload->value_len,
        .timestamp = message->timestamp,
        .timestamp_len = message->timestamp_len,
    };
    const char *bytes;
    size_t len;
    parley_status status = canonical_message(canonical, &signed_part, &bytes, &len);

    if (status != PARLEY_OK)
        return status == PARLEY_ENOMEM ? status : PARLEY_EREFUSED;
    return identity_verify(key, bytes, len, message->signature) ? PARLEY_OK : PARLEY_EREFUSED;
}

/* ---- Writing ---- */

static void put_member(struct json_out *out, const char *key, const char *text)
{
    json_put_text(out, key);
    wire_put(out, text);
}

static void put_envelope(struct json_out *out, const struct handshake_fields *fields,
                         const char *timestamp, size_t timestamp_len, const char *nonce,
                         const char *signature)
{
    json_put_text(out, "{\"payload\":");
    json_put(out, fields->payload, fields->payload_len);
    json_put_text(out, ",\"timestamp\":");
    json_put(out, timestamp, timestamp_len);
    put_member(out, ",\"nonce\":", nonce);
    put_member(out, ",\"signature\":", signature);
    json_put_text(out,
                  ",\"encrypted_payload\":null,\"sender_public_key\":null,\"jwt_token\":null");
    put_member(out, ",\"sender_id\":", fields->sender_id);
    put_member(out, ",\"recipient_id\":", fields->recipient_id);
    put_member(out, ",\"session_id\":", fields->session_id);
    json_put_text(out, ",\"sequence_num\":");
    json_put_u64(out, fields->number);
    put_member(out, ",\"version\":", HANDSHAKE_VERSION);
    put_member(out, ",\"msg_type\":", names[fields->step]);
    put_member(out, ",\"type\":", HANDSHAKE_TYPE);
    json_put_text(out, "}");
}

parley_status handshake_message_write(struct json_out *out, struct canonical *canonical,
                                      const struct identity *identity,
                                      const struct handshake_fields *fields)
{
    char nonce[NONCE_B64 + 1] = "", text[HANDSHAKE_SIGNATURE_B64 + 1] = "", time[32];
    struct json_out timestamp = {.buffer = time, .capacity = sizeof(time)};
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    struct canonical_message signed_part = {
        .msg_type = names[fields->step],
        .nonce = nonce,
        .sender_id = fields->sender_id,
        .version = HANDSHAKE_VERSION,
        .payload = fields->payload,
        .payload_len = fields->payload_len,
        .timestamp = time,
    };
    const char *bytes;
    size_t len;
    parley_status status;

    base64_encode((const char *)fields->nonce, NONCE_BYTES, nonce);
    json_put_seconds(&timestamp, fields->timestamp_us);
    signed_part.timestamp_len = timestamp.len;
    status = canonical_message(canonical, &signed_part, &bytes, &len);
    if (status == PARLEY_OK)
        status = identity_sign(identity, bytes, len, signature);
    if (status != PARLEY_OK)
        return status;
    base64_encode((const char *)signature, sizeof(signature), text);
    put_envelope(out, fields, time, timestamp.len, nonce, text);
    return out->overflow ? PARLEY_ETOOBIG : PARLEY_OK;
}
