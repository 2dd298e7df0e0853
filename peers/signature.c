/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/signature.h"

#include <assert.h>
#include <stdio.h>

#include "peers/base64.h"
#include "peers/wire.h"

#define NONCE_BYTES      16
#define TIMESTAMP_MAX    64 /* of a number; longer ones are no time */
#define CLIENT_BYTES_MAX (ENVELOPE_MESSAGE_ID_MAX + ENVELOPE_TYPE_MAX + TIMESTAMP_MAX * 2)

/* ---- Ours ---- */

static void put_signature(const uint8_t signature[IDENTITY_SIGNATURE_BYTES],
                          char text[SIGNATURE_CHARS + 1])
{
    base64_encode((const char *)signature, IDENTITY_SIGNATURE_BYTES, text);
    text[SIGNATURE_CHARS] = '\0';
}

static parley_status sign(struct canonical *canonical, const struct identity *identity,
                          const struct canonical_message *message,
                          char text[SIGNATURE_CHARS + 1])
{
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    const char *bytes;
    size_t len;
    parley_status status = canonical_message(canonical, message, &bytes, &len);

    if (status == PARLEY_OK)
        status = identity_sign(identity, bytes, len, signature);
    if (status == PARLEY_OK)
        put_signature(signature, text);
    return status;
}

/* What the fields will say on the wire. `timestamp` and `type` hold texts of it. */
static struct canonical_message message_of(const struct envelope_fields *fields,
                                           struct json_out *timestamp,
                                           char type[ENVELOPE_TYPE_MAX + 1],
                                           struct signed_texts *texts)
{
    size_t type_len = fields->payload != NULL ? fields->msg_type_len : 0;

    assert(fields->nonce != NULL && type_len <= ENVELOPE_TYPE_MAX);
    base64_encode((const char *)fields->nonce, NONCE_BYTES, texts->nonce);
    texts->nonce[SIGNATURE_NONCE_CHARS] = '\0';
    json_put_seconds(timestamp, fields->timestamp_us);
    if (type_len > 0)
        memcpy(type, fields->msg_type, type_len);
    type[type_len] = '\0';
    return (struct canonical_message){
        .msg_type = type,
        .nonce = texts->nonce,
        .sender_id = fields->sender_id,
        .version = fields->version,
        .payload = fields->payload,
        .payload_len = fields->payload_len,
        .timestamp = timestamp->buffer,
        .timestamp_len = timestamp->len,
    };
}

static void default_message_id(char text[SIGNATURE_ID_MAX + 1], const char *session_id,
                               uint64_t number)
{
    snprintf(text, SIGNATURE_ID_MAX + 1, "%s:%llu", session_id, (unsigned long long)number);
}

static void bind(struct canonical_message *message, const struct envelope_fields *fields,
                 struct signed_texts *texts)
{
    message->recipient_id = fields->recipient_id;
    message->session_id = fields->session_id;
    message->number = fields->number;
    message->base_seq = fields->base_seq;
    message->message_id = fields->message_id;
    if (message->message_id != NULL)
        return;
    default_message_id(texts->message_id, fields->session_id, fields->number);
    message->message_id = texts->message_id;
}

parley_status signature_envelope(struct canonical *canonical, const struct identity *identity,
                                 struct envelope_fields *fields, struct signed_texts *texts)
{
    char buffer[TIMESTAMP_MAX], type[ENVELOPE_TYPE_MAX + 1];
    struct json_out timestamp = {.buffer = buffer, .capacity = sizeof(buffer)};
    struct canonical_message message = message_of(fields, &timestamp, type, texts);
    parley_status status = sign(canonical, identity, &message, texts->signature);
    bool placed = fields->recipient_id != NULL && fields->session_id != NULL &&
                  fields->number != 0 && envelope_has_session(fields);

    if (status != PARLEY_OK)
        return status;
    fields->signature = texts->signature;
    if (!placed)
        return PARLEY_OK;
    bind(&message, fields, texts);
    status = sign(canonical, identity, &message, texts->bound);
    if (status == PARLEY_OK)
        fields->bound = texts->bound;
    return status;
}

parley_status signature_in_batch(struct canonical *canonical, const struct identity *identity,
                                 struct envelope_fields *fields, struct signed_texts *texts)
{
    char buffer[TIMESTAMP_MAX], type[ENVELOPE_TYPE_MAX + 1];
    struct json_out timestamp = {.buffer = buffer, .capacity = sizeof(buffer)};
    struct canonical_message message = message_of(fields, &timestamp, type, texts);
    parley_status status;

    bind(&message, fields, texts);
    status = sign(canonical, identity, &message, texts->bound);
    if (status == PARLEY_OK)
        fields->bound = texts->bound;
    return status;
}

/* ---- Others' ---- */

/* @return whether the text is base64 of a signature's size, and canonical: one text each */
static bool read_signature(const struct json_doc *doc, const struct json_item *item,
                           uint8_t ret_signature[IDENTITY_SIGNATURE_BYTES])
{
    char text[SIGNATURE_CHARS + 1], bytes[SIGNATURE_CHARS / 4 * 3];
    size_t len;

    if (item->type != JSON_STRING ||
        json_string(doc, item, text, sizeof(text)) != SIGNATURE_CHARS ||
        !base64_decode(text, SIGNATURE_CHARS, bytes, &len) || len != IDENTITY_SIGNATURE_BYTES)
        return false;
    memcpy(ret_signature, bytes, len);
    return true;
}

static enum signature_verdict check(struct canonical *canonical,
                                    const struct identity_key *key,
                                    const struct canonical_message *message,
                                    const struct json_doc *doc, const struct json_item *item)
{
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    const char *bytes;
    size_t len;

    if (message->timestamp == NULL || !read_signature(doc, item, signature))
        return SIGNATURE_INVALID;
    switch (canonical_message(canonical, message, &bytes, &len)) {
    case PARLEY_OK:
        break;
    case PARLEY_ENOMEM:
        return SIGNATURE_NO_MEMORY;
    default:
        return SIGNATURE_INVALID;
    }
    if (!identity_verify(key, bytes, len, signature))
        return SIGNATURE_INVALID;
    return message->recipient_id != NULL ? SIGNATURE_BOUND : SIGNATURE_PLAIN;
}

/* Both where both are there: the first that does not hold, else what holds most. */
static enum signature_verdict check_all(struct canonical *canonical,
                                        const struct identity_key *key,
                                        struct canonical_message *message,
                                        const struct json_doc *doc,
                                        const struct json_item *object, const char *recipient)
{
    const struct json_item *plain = wire_member(doc, object, "signature");
    const struct json_item *bound = wire_member(doc, object, "parley_signature");
    enum signature_verdict verdict = SIGNATURE_MISSING;

    if (plain != NULL)
        verdict = check(canonical, key, message, doc, plain);
    if (bound == NULL || (plain != NULL && verdict != SIGNATURE_PLAIN))
        return verdict;
    message->recipient_id = recipient;
    return check(canonical, key, message, doc, bound);
}

/* A time as it stands, quotes and all. What says none is nobody's: some readers would take it
 * for said now. */
static void set_timestamp(struct canonical_message *message, const struct json_doc *doc,
                          const struct json_item *object)
{
    const struct json_item *item = wire_member(doc, object, "timestamp");
    unsigned quote = item != NULL && item->type == JSON_STRING;

    if (item == NULL || (item->type != JSON_STRING && item->type != JSON_NUMBER)) {
        return;
    }
    message->timestamp = doc->text + item->value - quote;
    message->timestamp_len = item->value_len + 2 * (size_t)quote;
}

/* A text of at most 256 bytes, or `absent`. @return false: it is no such text */
static bool set_text(const struct json_doc *doc, const struct json_item *object,
                     const char *key, const char *absent, char *buffer, size_t len)
{
    const struct json_item *item = wire_member(doc, object, key);

    if (item == NULL) {
        snprintf(buffer, len, "%s", absent);
        return true;
    }
    return json_string(doc, item, buffer, len) >= 0;
}

enum signature_verdict signature_check_envelope(
    struct canonical *canonical, const struct identity_key *key, const struct json_doc *doc,
    const struct json_item *root, const struct envelope *envelope, const char *recipient)
{
    char version[16], nonce[ENVELOPE_NONCE_MAX + 1], by_default[SIGNATURE_ID_MAX + 1];
    struct canonical_message message = {
        .msg_type = envelope->msg_type,
        .nonce = nonce,
        .sender_id = envelope->sender_id,
        .version = version,
        .payload = envelope->payload,
        .payload_len = envelope->payload_len,
        .session_id = envelope->session_id,
        .message_id = envelope->message_id,
        .number = envelope->number,
        .base_seq = envelope->base_seq,
    };

    if (!set_text(doc, root, "version", "", version, sizeof(version)) ||
        !set_text(doc, root, "nonce", "", nonce, sizeof(nonce)))
        return SIGNATURE_INVALID;
    if (envelope->message_id[0] == '\0') {
        default_message_id(by_default, envelope->session_id, envelope->number);
        message.message_id = by_default;
    }
    set_timestamp(&message, doc, root);
    return check_all(canonical, key, &message, doc, root, recipient);
}

enum signature_verdict signature_check_in_batch(struct canonical *canonical,
                                                const struct identity_key *key,
                                                const struct json_doc *doc,
                                                const struct json_item *item,
                                                const struct batch *batch, uint64_t number,
                                                const char *sender, const char *recipient)
{
    char version[16], nonce[ENVELOPE_NONCE_MAX + 1], type[ENVELOPE_TYPE_MAX + 1];
    char message_id[ENVELOPE_MESSAGE_ID_MAX + 1], by_default[SIGNATURE_ID_MAX + 1];
    const struct json_item *is_void, *payload;
    struct canonical_message message = {
        .msg_type = type,
        .nonce = nonce,
        .sender_id = sender,
        .version = version,
        .session_id = batch->session_id,
        .message_id = message_id,
        .number = number,
        .base_seq = batch->base_seq,
    };
    enum signature_verdict verdict;

    if (item->type != JSON_OBJECT || wire_member(doc, item, "parley_signature") == NULL)
        return SIGNATURE_MISSING;
    if (item == doc->items) /* what is signed so can be no message's */
        message.number = number = 0;
    default_message_id(by_default, batch->session_id, number);
    if (!set_text(doc, item, "version", "1.0", version, sizeof(version)) ||
        !set_text(doc, item, "nonce", "", nonce, sizeof(nonce)) ||
        !set_text(doc, item, "msg_type", "", type, sizeof(type)) ||
        !set_text(doc, item, "message_id", by_default, message_id, sizeof(message_id)))
        return SIGNATURE_INVALID;
    is_void = wire_member(doc, item, "void");
    payload = wire_payload(doc, item);
    if (is_void != NULL && is_void->type == JSON_TRUE) {
        type[0] =
            '\0'; /* whatever stands beside it: a message made void is not the sender's */
    } else if (payload != NULL) {
        message.payload = doc->text + payload->value;
        message.payload_len = payload->value_len;
    }
    set_timestamp(&message, doc, item);
    verdict = check_all(canonical, key, &message, doc, item, recipient);
    return verdict == SIGNATURE_PLAIN ? SIGNATURE_MISSING : verdict;
}

bool signature_present(const struct json_doc *doc, const struct json_item *item)
{
    return item->type == JSON_OBJECT && (wire_member(doc, item, "signature") != NULL ||
                                         wire_member(doc, item, "parley_signature") != NULL);
}

/* ---- An older client's ---- */

static bool read_hex(const struct json_doc *doc, const struct json_item *item,
                     uint8_t ret_signature[IDENTITY_SIGNATURE_BYTES])
{
    char text[2 * IDENTITY_SIGNATURE_BYTES + 1];

    return item->type == JSON_STRING &&
           json_string(doc, item, text, sizeof(text)) == 2 * IDENTITY_SIGNATURE_BYTES &&
           identity_from_hex(text, IDENTITY_KEY_HEX, ret_signature) &&
           identity_from_hex(text + IDENTITY_KEY_HEX, IDENTITY_KEY_HEX,
                             ret_signature + IDENTITY_KEY_BYTES);
}

static void put_member(struct json_out *out, const struct json_doc *doc,
                       const struct json_item *root, const char *key)
{
    char text[ENVELOPE_MESSAGE_ID_MAX + 1];

    if (set_text(doc, root, key, "", text, sizeof(text)))
        json_put_text(out, text);
    else
        out->overflow = true;
}

enum signature_verdict signature_check_client(const struct identity_key *key,
                                              const struct json_doc *doc,
                                              const struct json_item *root)
{
    const struct json_item *item = wire_member(doc, root, "signature");
    const struct json_item *timestamp = wire_member(doc, root, "timestamp");
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    char buffer[CLIENT_BYTES_MAX];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (item == NULL)
        return SIGNATURE_MISSING;
    if (!read_hex(doc, item, signature) || timestamp == NULL ||
        timestamp->type != JSON_NUMBER || timestamp->value_len > TIMESTAMP_MAX)
        return SIGNATURE_INVALID;
    put_member(&out, doc, root, "message_id");
    json_put_text(&out, ":");
    put_member(&out, doc, root, "type");
    json_put_text(&out, ":");
    canonical_number(&out, doc->text + timestamp->value, timestamp->value_len);
    if (out.overflow || !identity_verify(key, out.buffer, out.len, signature))
        return SIGNATURE_INVALID;
    return SIGNATURE_PLAIN;
}
