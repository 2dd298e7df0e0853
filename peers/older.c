/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read is judged as strictly as an envelope; only what the older programs leave out
 * is given a value. What a lower-case frame of ours says beyond `type` and `payload` is what
 * status/connected says, too: the time as ISO 8601 and an id.
 */
#include "peers/older.h"

#include <string.h>

#include "peers/wire.h"

/* ---- reading ---- */

/* An older client's frame may be an envelope, too; then that says what it is about. */
static parley_status prefer_msg_type(const struct json_doc *doc, const struct json_item *root,
                                     struct envelope *envelope,
                                     struct envelope_error *ret_error)
{
    const struct json_item *type = wire_member(doc, root, "msg_type");

    if (type == NULL)
        return PARLEY_OK;
    return wire_text(doc, type, "msg_type", false, envelope->msg_type,
                     sizeof(envelope->msg_type), ret_error);
}

/* {"type":T,"payload":{…}}, and perhaps message_id and timestamp. */
static parley_status plain_read(const struct json_doc *doc, const struct json_item *root,
                                uint64_t now_us, struct envelope *ret,
                                struct envelope_error *ret_error)
{
    const struct json_item *type = wire_member(doc, root, "type");
    const struct json_item *payload = wire_payload(doc, root);
    const struct json_item *timestamp = wire_member(doc, root, "timestamp");
    parley_status status;

    if (type == NULL || type->type != JSON_STRING || payload == NULL)
        return wire_unknown(ret_error);
    status =
        wire_text(doc, type, "type", false, ret->msg_type, sizeof(ret->msg_type), ret_error);
    if (status == PARLEY_OK)
        status = wire_text(doc, wire_member(doc, root, "message_id"), "message_id", true,
                           ret->message_id, sizeof(ret->message_id), ret_error);
    if (status == PARLEY_OK)
        status = older_sender_read(doc, root, ret->sender_id, ret_error);
    if (status != PARLEY_OK)
        return status;
    ret->timestamp = (double)now_us / 1e6;
    if (timestamp != NULL && !wire_time(doc, timestamp, &ret->timestamp))
        return wire_invalid(ret_error, "timestamp");
    ret->recipient_id[0] = ret->session_id[0] = ret->nonce[0] = '\0';
    ret->number = ret->base_seq = 0;
    ret->is_void = ret->redelivered = false;
    ret->payload = doc->text + payload->value;
    ret->payload_len = payload->value_len;
    return PARLEY_OK;
}

static bool is_envelope(const struct json_doc *doc, const struct json_item *root)
{
    const struct json_item *type = wire_member(doc, root, "type");

    return type == NULL || wire_is(doc, type, "peer_message") ||
           wire_is(doc, type, "MESSAGE") || wire_member(doc, root, "version") != NULL ||
           wire_member(doc, root, "from") != NULL ||
           wire_member(doc, root, "from_entity") != NULL;
}

parley_status older_message_read(const struct json_doc *doc, const struct json_item *root,
                                 enum frame_kind kind, uint64_t now_us,
                                 struct envelope *ret_envelope,
                                 struct envelope_error *ret_error)
{
    parley_status status;

    if (root->type != JSON_OBJECT)
        return wire_unknown(ret_error);
    if (kind != FRAME_ENVELOPE || !is_envelope(doc, root))
        return plain_read(doc, root, now_us, ret_envelope, ret_error);
    status = envelope_read(doc, root, ret_envelope, ret_error);
    return status == PARLEY_OK ? prefer_msg_type(doc, root, ret_envelope, ret_error) : status;
}

parley_status older_sender_read(const struct json_doc *doc, const struct json_item *root,
                                char sender[ENVELOPE_ID_MAX + 1],
                                struct envelope_error *ret_error)
{
    static const char *const keys[] = {"from_entity", "sender_id", "from"};

    sender[0] = '\0';
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct json_item *item = wire_member(doc, root, keys[i]);

        if (item != NULL)
            return wire_text(doc, item, keys[i], false, sender, ENVELOPE_ID_MAX + 1,
                             ret_error);
    }
    return PARLEY_OK;
}

/* @return false: neither number nor string, or too long to be echoed */
static bool echo(const struct json_doc *doc, const struct json_item *item,
                 char seq[OLDER_SEQ_MAX])
{
    struct json_out out = {.buffer = seq, .capacity = OLDER_SEQ_MAX - 1};
    bool text = item->type == JSON_STRING;

    if (!text && item->type != JSON_NUMBER)
        return false;
    if (text)
        json_put(&out, "\"", 1);
    json_put(&out, doc->text + item->value, item->value_len);
    if (text)
        json_put(&out, "\"", 1);
    if (out.overflow)
        return false;
    seq[out.len] = '\0';
    return true;
}

bool older_seq_read(const struct json_doc *doc, const struct json_item *root,
                    char seq[OLDER_SEQ_MAX])
{
    const struct json_item *item = wire_member(doc, root, "seq");

    if (item == NULL)
        item = wire_member(doc, wire_payload(doc, root), "seq");
    if (item != NULL && echo(doc, item, seq))
        return true;
    memcpy(seq, OLDER_VOID_SEQ, sizeof(OLDER_VOID_SEQ));
    return false;
}

static bool event_is(const struct json_doc *doc, const struct json_item *root,
                     const char *event)
{
    return wire_is(doc, wire_member(doc, wire_payload(doc, root), "event"), event);
}

bool older_status_asks(const struct json_doc *doc, const struct json_item *root)
{
    return !event_is(doc, root, "status") && !event_is(doc, root, "connected") &&
           !older_status_received(doc, root);
}

bool older_status_received(const struct json_doc *doc, const struct json_item *root)
{
    return event_is(doc, root, "message_received");
}

bool older_capabilities_ask(const struct json_doc *doc, const struct json_item *root)
{
    const struct json_item *item = wire_member(doc, wire_payload(doc, root), "acknowledged");

    if (item == NULL)
        item = wire_member(doc, root, "acknowledged");
    return item == NULL || item->type == JSON_FALSE;
}

/* ---- writing to an older client ---- */

static void put_member(struct json_out *out, const char *key, const char *text)
{
    json_put_text(out, key);
    if (text != NULL && text[0] != '\0')
        wire_put(out, text);
    else
        json_put_text(out, "null");
}

static void begin(struct json_out *out, const struct older_head *head, const char *type)
{
    put_member(out, "{\"message_id\":", head->message_id);
    put_member(out, ",\"type\":", type);
    put_member(out, ",\"from_entity\":", head->from);
    put_member(out, ",\"to_entity\":", head->to);
    json_put_text(out, ",\"timestamp\":");
    json_put_seconds(out, head->timestamp_us);
    json_put_text(out, ",\"payload\":{");
}

static void end(struct json_out *out)
{
    json_put_text(out, "},\"signature\":null}");
}

void older_ready_write(struct json_out *out, const struct older_head *head)
{
    begin(out, head, "READY");
    json_put_text(out, "\"version\":\"" OLDER_CLIENT "\"");
    capabilities_write(out, false);
    end(out);
}

void older_ack_write(struct json_out *out, const struct older_head *head,
                     const char *message_id)
{
    begin(out, head, "ACK");
    put_member(out, "\"ack_message_id\":", message_id);
    end(out);
}

void older_heartbeat_write(struct json_out *out, const struct older_head *head, bool pong)
{
    begin(out, head, "HEARTBEAT");
    json_put_text(out, pong ? "\"type\":\"pong\",\"timestamp\":"
                            : "\"type\":\"ping\",\"timestamp\":");
    json_put_seconds(out, head->timestamp_us);
    end(out);
}

/* ---- writing to lower-case peers ---- */

static void put_seq(struct json_out *out, const char *seq)
{
    json_put_text(out, ",\"seq\":");
    json_put_text(out, seq);
}

static void put_now(struct json_out *out, const struct older_head *head)
{
    json_put_text(out, ",\"timestamp\":");
    json_put_seconds(out, head->timestamp_us);
}

/* Ends the payload and the frame. */
static void close_plain(struct json_out *out, const struct older_head *head, const char *seq)
{
    json_put_text(out, "}");
    if (head->to_manager)
        put_seq(out, seq);
    json_put_text(out, ",\"timestamp\":");
    wire_put_iso(out, head->timestamp_us);
    put_member(out, ",\"message_id\":", head->message_id);
    json_put_text(out, "}");
}

static void put_heartbeat(struct json_out *out, const struct older_head *head,
                          const char *type, const char *seq)
{
    put_member(out, "{\"type\":", type);
    json_put_text(out, ",\"payload\":{\"seq\":");
    json_put_text(out, seq);
    put_now(out, head);
    close_plain(out, head, seq);
}

void older_ping_write(struct json_out *out, const struct older_head *head, const char *seq)
{
    put_heartbeat(out, head, "ping", seq);
}

void older_pong_write(struct json_out *out, const struct older_head *head, const char *seq)
{
    put_heartbeat(out, head, "pong", seq);
}

void older_capabilities_write(struct json_out *out, const struct older_head *head,
                              const char *seq, bool ours)
{
    json_put_text(out, "{\"type\":\"capability_exchange\",\"payload\":{\"acknowledged\":true");
    capabilities_write(out, ours);
    json_put_text(out, ",\"protocol_version\":\"1.1\"");
    put_seq(out, seq);
    put_now(out, head);
    close_plain(out, head, seq);
}

void older_status_write(struct json_out *out, const struct older_head *head)
{
    json_put_text(out, "{\"type\":\"status\",\"payload\":{\"event\":\"status\"");
    put_member(out, ",\"entity_id\":", head->from);
    put_now(out, head);
    close_plain(out, head, OLDER_VOID_SEQ);
}

void older_received_write(struct json_out *out, const struct older_head *head,
                          const char *original_type, const char *seq)
{
    json_put_text(out, "{\"type\":\"status\",\"payload\":{\"event\":\"message_received\"");
    put_member(out, ",\"original_type\":", original_type);
    put_seq(out, seq);
    close_plain(out, head, seq);
}
