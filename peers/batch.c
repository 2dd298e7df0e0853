/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: many messages in one frame or body, each in its shortest form. Reading and adding
 * one message are the hot path of a fast peer, so both go straight to the bytes: adding
 * checks the room once and copies, reading looks at each member once.
 */
#include <assert.h>

#include "peers/base64.h"
#include "peers/envelope.h"
#include "peers/json_digits.h"
#include "peers/wire.h"

#define BATCH_END     "]}"
#define BATCH_END_LEN 2

/* ---- writing ---- */

void batch_begin(struct json_out *out, const char *session_id, uint64_t base_seq,
                 uint64_t first_seq)
{
    json_put_text(out, "{\"type\":\"batch\",\"session_id\":");
    wire_put(out, session_id);
    json_put_text(out, ",\"base_seq\":");
    json_put_u64(out, base_seq);
    json_put_text(out, ",\"first_seq\":");
    json_put_u64(out, first_seq);
    json_put_text(out, ",\"messages\":[");
}

static inline char *copy(char *to, const char *from, size_t len)
{
    memcpy(to, from, len);
    return to + len;
}

#define COPY(to, literal) copy((to), (literal), sizeof(literal) - 1)

/* Everything add_message() writes beyond type and payload. */
static_assert(sizeof(",{\"msg_type\":\"\",\"payload\":,\"timestamp\":,\"redelivered\":true}") -
                      1 + JSON_SECONDS_MAX + BATCH_END_LEN <=
                  BATCH_MESSAGE_OVERHEAD,
              "a message's overhead");
static_assert(sizeof(",\"nonce\":\"\",\"parley_signature\":\"\"") - 1 + 24 + 88 <=
                  BATCH_SIGNED_OVERHEAD,
              "a signature's overhead");

/* What makes a message, a void or an empty batch a signed one. */
static char *add_bound(char *p, const struct envelope_fields *fields)
{
    p = COPY(p, ",\"nonce\":\"");
    base64_encode((const char *)fields->nonce, 16, p);
    p = COPY(p + base64_chars(16), "\",\"parley_signature\":\"");
    p = copy(p, fields->bound, strlen(fields->bound));
    *p++ = '"';
    return p;
}

static char *add_void(char *p, const struct envelope_fields *fields)
{
    p = COPY(p, "{\"void\":true");
    if (fields->bound != NULL) {
        p = COPY(p, ",\"timestamp\":");
        p += json_seconds(p, fields->timestamp_us);
        p = add_bound(p, fields);
    }
    *p++ = '}';
    return p;
}

static char *add_message(char *p, const struct envelope_fields *fields)
{
    p = COPY(p, "{\"msg_type\":\"");
    p = copy(p, fields->msg_type, fields->msg_type_len);
    p = COPY(p, "\",\"payload\":");
    p = copy(p, fields->payload, fields->payload_len);
    p = COPY(p, ",\"timestamp\":");
    p += json_seconds(p, fields->timestamp_us);
    if (fields->redelivered)
        p = COPY(p, ",\"redelivered\":true");
    if (fields->sender_id != NULL) {
        p = COPY(p, ",\"sender_id\":\"");
        p = copy(p, fields->sender_id, strlen(fields->sender_id));
        *p++ = '"';
    }
    if (fields->bound != NULL)
        p = add_bound(p, fields);
    *p++ = '}';
    return p;
}

bool batch_fits(const struct json_out *out, const struct envelope_fields *fields)
{
    size_t left = out->capacity - out->len;
    size_t needed = BATCH_MESSAGE_OVERHEAD;

    assert(out->len <= out->capacity);
    if (fields->bound != NULL)
        needed += BATCH_SIGNED_OVERHEAD;
    if (fields->payload != NULL) {
        needed += fields->msg_type_len;
        if (fields->sender_id != NULL)
            needed += sizeof(",\"sender_id\":\"\"") + strlen(fields->sender_id);
        if (needed > left || fields->payload_len > left - needed)
            return false;
    }
    return needed <= left && !out->overflow;
}

bool batch_add(struct json_out *out, const struct envelope_fields *fields, bool first)
{
    char *p = out->buffer + out->len;

    if (!batch_fits(out, fields))
        return false;
    if (!first)
        *p++ = ',';
    if (fields->payload != NULL)
        p = add_message(p, fields);
    else
        p = add_void(p, fields);
    out->len = (size_t)(p - out->buffer);
    return true;
}

void batch_end(struct json_out *out)
{
    json_put(out, BATCH_END, BATCH_END_LEN);
}

void batch_end_signed(struct json_out *out, const struct envelope_fields *fields)
{
    char more[JSON_SECONDS_MAX + BATCH_SIGNED_OVERHEAD];
    char *p = COPY(more, ",\"timestamp\":");

    p += json_seconds(p, fields->timestamp_us);
    p = add_bound(p, fields);
    json_put_text(out, "]");
    json_put(out, more, (size_t)(p - more));
    json_put_text(out, "}");
}

/* ---- reading ---- */

parley_status batch_read(const struct json_doc *doc, const struct json_item *root,
                         struct batch *ret_batch, struct envelope_error *ret_error)
{
    const struct json_item *messages;
    parley_status status;

    if (root->type != JSON_OBJECT || !wire_is(doc, wire_member(doc, root, "type"), "batch"))
        return wire_unknown(ret_error);
    status = wire_text(doc, wire_member(doc, root, "session_id"), "session_id", false,
                       ret_batch->session_id, sizeof(ret_batch->session_id), ret_error);
    if (status == PARLEY_OK)
        status = wire_number(doc, wire_member(doc, root, "base_seq"), "base_seq", 1,
                             &ret_batch->base_seq, ret_error);
    if (status == PARLEY_OK)
        status = wire_number(doc, wire_member(doc, root, "first_seq"), "first_seq", 1,
                             &ret_batch->first_seq, ret_error);
    if (status != PARLEY_OK)
        return status;
    messages = wire_member(doc, root, "messages");
    if (messages == NULL)
        return wire_missing(ret_error, "messages");
    if (messages->type != JSON_ARRAY)
        return wire_invalid(ret_error, "messages");
    ret_batch->messages = json_first(doc, messages);
    return PARLEY_OK;
}

/* The members of one message; NULL: absent or null. */
struct members {
    const struct json_item *msg_type, *payload, *timestamp, *redelivered, *is_void;
    const struct json_item *message_id, *sender_id, *recipient_id;
};

static const struct json_item **slot(struct members *members, const struct json_doc *doc,
                                     const struct json_item *item)
{
#define SLOT(name, key)                                 \
    if (json_key_is(doc, item, (key), sizeof(key) - 1)) \
        return &members->name;

    SLOT(msg_type, "msg_type")
    SLOT(payload, "payload")
    SLOT(timestamp, "timestamp")
    SLOT(redelivered, "redelivered")
    SLOT(is_void, "void")
    SLOT(message_id, "message_id")
    SLOT(sender_id, "sender_id")
    SLOT(recipient_id, "recipient_id")
#undef SLOT
    return NULL;
}

static void find_members(const struct json_doc *doc, const struct json_item *message,
                         struct members *ret)
{
    *ret = (struct members){0};
    for (const struct json_item *item = json_first(doc, message); item != NULL;
         item = json_next(doc, item)) {
        const struct json_item **place = slot(ret, doc, item);

        if (place != NULL && item->type != JSON_NULL)
            *place = item;
    }
}

static parley_status flag(const struct json_item *item, const char *key, bool *ret_flag,
                          struct envelope_error *ret_error)
{
    if (item != NULL && item->type != JSON_TRUE && item->type != JSON_FALSE)
        return wire_invalid(ret_error, key);
    *ret_flag = item != NULL && item->type == JSON_TRUE;
    return PARLEY_OK;
}

static parley_status read_ids(const struct json_doc *doc, const struct members *members,
                              struct envelope *ret, struct envelope_error *ret_error)
{
    parley_status status = PARLEY_OK;

    if (members->message_id != NULL)
        status = wire_text(doc, members->message_id, "message_id", true, ret->message_id,
                           sizeof(ret->message_id), ret_error);
    if (status == PARLEY_OK && members->sender_id != NULL)
        status = wire_text(doc, members->sender_id, "sender_id", true, ret->sender_id,
                           sizeof(ret->sender_id), ret_error);
    if (status == PARLEY_OK && members->recipient_id != NULL)
        status = wire_text(doc, members->recipient_id, "recipient_id", true, ret->recipient_id,
                           sizeof(ret->recipient_id), ret_error);
    return status;
}

static parley_status read_message(const struct json_doc *doc, const struct members *members,
                                  struct envelope *ret, struct envelope_error *ret_error)
{
    parley_status status = wire_text(doc, members->msg_type, "msg_type", false, ret->msg_type,
                                     sizeof(ret->msg_type), ret_error);

    if (status != PARLEY_OK)
        return status;
    if (members->payload == NULL)
        return wire_missing(ret_error, "payload");
    if (members->payload->type != JSON_OBJECT)
        return wire_invalid(ret_error, "payload");
    if (members->timestamp == NULL)
        return wire_missing(ret_error, "timestamp");
    if (!wire_time(doc, members->timestamp, &ret->timestamp))
        return wire_invalid(ret_error, "timestamp");
    ret->payload = doc->text + members->payload->value;
    ret->payload_len = members->payload->value_len;
    return PARLEY_OK;
}

static void make_void(struct envelope *ret)
{
    ret->msg_type[0] = '\0';
    ret->payload = NULL;
    ret->payload_len = 0;
    ret->timestamp = 0;
}

parley_status batch_message_read(const struct json_doc *doc, const struct json_item *item,
                                 struct envelope *ret_envelope,
                                 struct envelope_error *ret_error)
{
    struct members members;
    parley_status status;

    if (item->type != JSON_OBJECT)
        return wire_invalid(ret_error, "messages");
    find_members(doc, item, &members);
    status = flag(members.is_void, "void", &ret_envelope->is_void, ret_error);
    if (status == PARLEY_OK)
        status =
            flag(members.redelivered, "redelivered", &ret_envelope->redelivered, ret_error);
    if (status == PARLEY_OK)
        status = read_ids(doc, &members, ret_envelope, ret_error);
    if (status != PARLEY_OK)
        return status;
    if (ret_envelope->is_void) {
        make_void(ret_envelope);
        return PARLEY_OK;
    }
    return read_message(doc, &members, ret_envelope, ret_error);
}
