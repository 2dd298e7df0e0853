/* SPDX-License-Identifier: Apache-2.0
 *
 * Control messages: greetings, acknowledgements, errors, and the small HTTP replies. What a
 * greeting says beyond the older dialects stands behind what they say, in keys of its own,
 * so that an older peer reads what it knows and ignores the rest.
 */
#include <stdio.h>

#include "peers/envelope.h"
#include "peers/wire.h"

/* ---- kinds ---- */

static enum frame_kind status_kind(const struct json_doc *doc, const struct json_item *root)
{
    const struct json_item *payload = wire_payload(doc, root);

    return wire_is(doc, wire_member(doc, payload, "event"), "connected")
               ? FRAME_STATUS_CONNECTED
               : FRAME_STATUS;
}

static enum frame_kind heartbeat_kind(const struct json_doc *doc, const struct json_item *root)
{
    const struct json_item *payload = wire_payload(doc, root);

    return wire_is(doc, wire_member(doc, payload, "type"), "pong") ? FRAME_HEARTBEAT_PONG
                                                                   : FRAME_HEARTBEAT_PING;
}

static enum frame_kind untyped_kind(const struct json_doc *doc, const struct json_item *root)
{
    bool envelope = wire_member(doc, root, "msg_type") != NULL ||
                    wire_member(doc, root, "from") != NULL ||
                    wire_member(doc, root, "from_entity") != NULL;

    return envelope ? FRAME_ENVELOPE : FRAME_OTHER;
}

enum frame_kind frame_kind(const struct json_doc *doc, const struct json_item *root)
{
    static const struct {
        const char *type;
        enum frame_kind kind;
    } kinds[] = {
        {"batch", FRAME_BATCH},
        {"ACK", FRAME_ACK},
        {"peer_message", FRAME_ENVELOPE},
        {"MESSAGE", FRAME_ENVELOPE},
        {"HELLO", FRAME_HELLO},
        {"error", FRAME_ERROR},
        {"ping", FRAME_PING},
        {"pong", FRAME_PONG},
        {"BYE", FRAME_BYE},
        {"READY", FRAME_READY},
        {"handshake", FRAME_HANDSHAKE},
        {"capability_exchange", FRAME_CAPABILITIES},
    };
    const struct json_item *type;
    char text[ENVELOPE_TYPE_MAX + 1];

    if (root->type != JSON_OBJECT)
        return FRAME_OTHER;
    type = wire_member(doc, root, "type");
    if (type == NULL || json_string(doc, type, text, sizeof(text)) < 0)
        return untyped_kind(doc, root);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(text, kinds[i].type) == 0)
            return kinds[i].kind;
    }
    if (strcmp(text, "status") == 0)
        return status_kind(doc, root);
    if (strcmp(text, "HEARTBEAT") == 0)
        return heartbeat_kind(doc, root);
    return untyped_kind(doc, root);
}

/* ---- rejections ---- */

static void put_rejected(struct json_out *out, const struct wire_rejection *rejected,
                         size_t rejected_len)
{
    json_put_text(out, "\"rejected\":[");
    for (size_t i = 0; i < rejected_len; i++) {
        json_put_text(out, i > 0 ? ",{\"seq\":" : "{\"seq\":");
        json_put_u64(out, rejected[i].number);
        json_put_text(out, ",\"error\":\"REJECTED\",\"detail\":");
        wire_put(out, rejected[i].detail);
        json_put_text(out, "}");
    }
    json_put_text(out, "]");
}

/* The first entry of a list that may be absent. */
static parley_status read_rejected(const struct json_doc *doc, const struct json_item *payload,
                                   const struct json_item **ret_first,
                                   struct envelope_error *ret_error)
{
    const struct json_item *list = wire_member(doc, payload, "rejected");

    if (list != NULL && list->type != JSON_ARRAY)
        return wire_invalid(ret_error, "rejected");
    *ret_first = list != NULL ? json_first(doc, list) : NULL;
    return PARLEY_OK;
}

parley_status rejection_read(const struct json_doc *doc, const struct json_item *item,
                             uint64_t *ret_number, char detail[PARLEY_DETAIL_MAX])
{
    const struct json_item *number = wire_member(doc, item, "seq");
    const struct json_item *text = wire_member(doc, item, "detail");

    if (number == NULL || !json_u64(doc, number, true, ret_number))
        return PARLEY_EPROTO;
    if (text == NULL)
        text = wire_member(doc, item, "error");
    json_string_cut(doc, text, detail, PARLEY_DETAIL_MAX);
    return PARLEY_OK;
}

/* ---- greetings ---- */

void capabilities_write(struct json_out *out, bool ours)
{
    json_put_text(out, ",\"capabilities\":[");
    if (ours)
        json_put_text(out, "\"" PARLEY_CAPABILITY "\",");
    json_put_text(out, "\"websocket\",\"heartbeat\"]");
}

static void put_limit(struct json_out *out, const char *key, uint64_t value)
{
    if (value == 0)
        return;
    json_put_text(out, key);
    json_put_u64(out, value);
}

/* What only a parley says. */
static void put_ours(struct json_out *out, const struct greeting *greeting,
                     const struct wire_rejection *rejected, size_t rejected_len)
{
    put_limit(out, ",\"max_message_bytes\":", greeting->max_message_bytes);
    put_limit(out, ",\"max_batch_bytes\":", greeting->max_batch_bytes);
    put_limit(out, ",\"max_in_flight\":", greeting->max_in_flight);
    if (greeting->handshakes)
        json_put_text(out, ",\"handshake\":\"1.1\"");
    if (greeting->peer_session_id[0] == '\0')
        return;
    json_put_text(out, ",\"peer_session_id\":");
    wire_put(out, greeting->peer_session_id);
    json_put_text(out, ",\"last_seq\":");
    if (greeting->last_seq_known)
        json_put_u64(out, greeting->last_seq);
    else
        json_put_text(out, "null");
    json_put_text(out, ",");
    put_rejected(out, rejected, rejected_len);
}

static void put_names(struct json_out *out, const struct greeting *greeting)
{
    json_put_text(out, "\"entity_id\":");
    wire_put(out, greeting->entity_id);
    json_put_text(out, ",\"session_id\":");
    if (greeting->session_id[0] != '\0')
        wire_put(out, greeting->session_id);
    else
        json_put_text(out, "null");
}

/* An id no two frames of one node share in practice; nobody answers to it. */
static void put_id(struct json_out *out, const char *node_id, uint64_t timestamp_us)
{
    char text[ENVELOPE_ID_MAX + 32];

    snprintf(text, sizeof(text), "%s:%llu", node_id, (unsigned long long)timestamp_us);
    json_put_text(out, ",\"message_id\":");
    wire_put(out, text);
}

void greeting_write_connected(struct json_out *out, const struct greeting *greeting,
                              const struct wire_rejection *rejected, size_t rejected_len,
                              uint64_t timestamp_us)
{
    json_put_text(out, "{\"type\":\"status\",\"payload\":{\"event\":\"connected\",");
    put_names(out, greeting);
    json_put_text(out, ",\"protocol_version\":\"1.1\"");
    capabilities_write(out, greeting->parley);
    json_put_text(out, ",\"timestamp\":");
    json_put_seconds(out, timestamp_us);
    if (greeting->parley)
        put_ours(out, greeting, rejected, rejected_len);
    json_put_text(out, "},\"timestamp\":");
    wire_put_iso(out, timestamp_us);
    put_id(out, greeting->entity_id, timestamp_us);
    json_put_text(out, "}");
}

void greeting_write_hello(struct json_out *out, const struct greeting *greeting,
                          const struct wire_rejection *rejected, size_t rejected_len,
                          uint64_t timestamp_us)
{
    json_put_text(out, "{\"type\":\"HELLO\",\"payload\":{\"version\":\"1.2\"");
    capabilities_write(out, greeting->parley);
    json_put_text(out, ",");
    put_names(out, greeting);
    if (greeting->parley)
        put_ours(out, greeting, rejected, rejected_len);
    json_put_text(out, "},\"timestamp\":");
    json_put_seconds(out, timestamp_us);
    put_id(out, greeting->entity_id, timestamp_us);
    json_put_text(out, "}");
}

static bool lists_parley(const struct json_doc *doc, const struct json_item *payload)
{
    const struct json_item *list = wire_member(doc, payload, "capabilities");

    if (list == NULL || list->type != JSON_ARRAY)
        return false;
    for (const struct json_item *item = json_first(doc, list); item != NULL;
         item = json_next(doc, item)) {
        if (wire_is(doc, item, PARLEY_CAPABILITY))
            return true;
    }
    return false;
}

static parley_status read_numbers(const struct json_doc *doc, const struct json_item *payload,
                                  struct greeting *ret, struct envelope_error *ret_error)
{
    const struct {
        const char *key;
        uint64_t *value;
    } numbers[] = {{"max_message_bytes", &ret->max_message_bytes},
                   {"max_batch_bytes", &ret->max_batch_bytes},
                   {"max_in_flight", &ret->max_in_flight},
                   {"last_seq", &ret->last_seq}};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const struct json_item *item = wire_member(doc, payload, numbers[i].key);

        *numbers[i].value = 0;
        if (item != NULL && !json_u64(doc, item, false, numbers[i].value))
            return wire_invalid(ret_error, numbers[i].key);
    }
    ret->last_seq_known = wire_member(doc, payload, "last_seq") != NULL;
    return PARLEY_OK;
}

parley_status greeting_read(const struct json_doc *doc, const struct json_item *root,
                            struct greeting *ret_greeting, struct envelope_error *ret_error)
{
    const struct json_item *payload = wire_payload(doc, root);
    const struct {
        const char *key;
        char *buffer;
        size_t len;
    } texts[] = {
        {"entity_id", ret_greeting->entity_id, sizeof(ret_greeting->entity_id)},
        {"session_id", ret_greeting->session_id, sizeof(ret_greeting->session_id)},
        {"peer_session_id", ret_greeting->peer_session_id,
         sizeof(ret_greeting->peer_session_id)},
    };
    parley_status status;

    if (payload == NULL)
        return wire_missing(ret_error, "payload");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        status = wire_text(doc, wire_member(doc, payload, texts[i].key), texts[i].key, true,
                           texts[i].buffer, texts[i].len, ret_error);
        if (status != PARLEY_OK)
            return status;
    }
    status = read_numbers(doc, payload, ret_greeting, ret_error);
    if (status != PARLEY_OK)
        return status;
    ret_greeting->parley = lists_parley(doc, payload);
    ret_greeting->handshakes = wire_is(doc, wire_member(doc, payload, "handshake"), "1.1");
    return read_rejected(doc, payload, &ret_greeting->rejected, ret_error);
}

/* ---- acknowledgements ---- */

void ack_write(struct json_out *out, const char *session_id, uint64_t ack_seq,
               const struct wire_rejection *rejected, size_t rejected_len)
{
    json_put_text(out, "{\"type\":\"ACK\",\"payload\":{\"session_id\":");
    wire_put(out, session_id);
    json_put_text(out, ",\"ack_seq\":");
    json_put_u64(out, ack_seq);
    json_put_text(out, ",");
    put_rejected(out, rejected, rejected_len);
    json_put_text(out, "}}");
}

parley_status ack_read(const struct json_doc *doc, const struct json_item *root,
                       struct ack *ret_ack, struct envelope_error *ret_error)
{
    const struct json_item *payload = wire_payload(doc, root);
    parley_status status;

    if (payload == NULL)
        return wire_missing(ret_error, "payload");
    status = wire_text(doc, wire_member(doc, payload, "session_id"), "session_id", false,
                       ret_ack->session_id, sizeof(ret_ack->session_id), ret_error);
    if (status == PARLEY_OK)
        status = wire_number(doc, wire_member(doc, payload, "ack_seq"), "ack_seq", 0,
                             &ret_ack->ack_seq, ret_error);
    if (status == PARLEY_OK)
        status = read_rejected(doc, payload, &ret_ack->rejected, ret_error);
    return status;
}

/* ---- errors and replies ---- */

void error_write(struct json_out *out, const char *text, uint64_t number)
{
    json_put_text(out, "{\"type\":\"error\",\"payload\":{\"error\":");
    wire_put(out, text);
    if (number != 0) {
        json_put_text(out, ",\"seq\":");
        json_put_u64(out, number);
    }
    json_put_text(out, "}}");
}

void error_read(const struct json_doc *doc, const struct json_item *root, char *buffer,
                size_t len)
{
    const struct json_item *payload = wire_payload(doc, root);

    json_string_cut(doc, wire_member(doc, payload, "error"), buffer, len);
}

void received_write(struct json_out *out, const char *entity_id, bool verified)
{
    json_put_text(out, "{\"status\":\"received\",\"entity_id\":");
    wire_put(out, entity_id);
    json_put_text(out, verified ? ",\"verification\":\"passed\"}"
                                : ",\"verification\":\"disabled\"}");
}

void detail_write(struct json_out *out, const char *text)
{
    json_put_text(out, "{\"detail\":");
    wire_put(out, text);
    json_put_text(out, "}");
}

void detail_read(const struct json_doc *doc, const struct json_item *root, char *buffer,
                 size_t len)
{
    json_string_cut(doc, wire_member(doc, root, "detail"), buffer, len);
}
