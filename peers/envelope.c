/* SPDX-License-Identifier: Apache-2.0
 *
 * Complete envelopes, one message each: as POST /message and as a frame of its own.
 *
 * Four forms are read. The standard one ("1.0") and the unsigned one share their keys;
 * "0.3" lacks session and number; the legacy form says `from` and `type`; an old client's
 * frame says `from_entity`, `to_entity` and `type`. null is the same as absent everywhere,
 * and keys that are not ours are ignored.
 */
#include "peers/envelope.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "peers/wire.h"

#define NONCE_BYTES 16

/* ---- reading ---- */

/* What the forms have in common, with the keys under which they have it. */
struct form {
    const char *sender, *recipient, *type;
    bool session; /* session_id and sequence_num are required */
};

static const struct form standard = {"sender_id", "recipient_id", "msg_type", true};
static const struct form without_session = {"sender_id", "recipient_id", "msg_type", false};
static const struct form legacy = {"from", "to", "type", false};
static const struct form client = {"from_entity", "to_entity", "type", false};

/* The form of an envelope that says no version. */
static const struct form *unversioned(const struct json_doc *doc, const struct json_item *root,
                                      struct envelope_error *ret_error)
{
    if (wire_member(doc, root, "type") != NULL && wire_member(doc, root, "payload") != NULL) {
        if (wire_member(doc, root, "from") != NULL)
            return &legacy;
        if (wire_member(doc, root, "from_entity") != NULL)
            return &client;
    }
    wire_unknown(ret_error);
    return NULL;
}

static const struct form *form_of(const struct json_doc *doc, const struct json_item *root,
                                  struct envelope_error *ret_error)
{
    const struct json_item *version = wire_member(doc, root, "version");
    char text[33];

    if (version == NULL)
        return unversioned(doc, root, ret_error);
    if (version->type == JSON_STRING)
        json_string_cut(doc, version, text, sizeof(text));
    else /* as it stands: only its start is of interest */
        snprintf(text, sizeof(text), "%.*s", (int)version->value_len,
                 doc->text + version->value);
    if (version->type == JSON_STRING && strcmp(text, "1.0") == 0)
        return &standard;
    if (version->type == JSON_STRING && strcmp(text, "0.3") == 0)
        return &without_session;
    snprintf(ret_error->text, sizeof(ret_error->text), "Unsupported version: %s", text);
    return NULL;
}

static parley_status read_names(const struct json_doc *doc, const struct json_item *root,
                                const struct form *form, struct envelope *ret,
                                struct envelope_error *ret_error)
{
    const struct {
        const char *key;
        bool optional;
        char *buffer;
        size_t len;
    } texts[] = {
        {form->type, false, ret->msg_type, sizeof(ret->msg_type)},
        {form->sender, false, ret->sender_id, sizeof(ret->sender_id)},
        {form->recipient, true, ret->recipient_id, sizeof(ret->recipient_id)},
        {"session_id", !form->session, ret->session_id, sizeof(ret->session_id)},
        {"message_id", true, ret->message_id, sizeof(ret->message_id)},
        {"nonce", true, ret->nonce, sizeof(ret->nonce)},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const struct json_item *item = wire_member(doc, root, texts[i].key);
        parley_status status = wire_text(doc, item, texts[i].key, texts[i].optional,
                                         texts[i].buffer, texts[i].len, ret_error);

        if (status != PARLEY_OK)
            return status;
    }
    return PARLEY_OK;
}

static parley_status read_numbers(const struct json_doc *doc, const struct json_item *root,
                                  const struct form *form, struct envelope *ret,
                                  struct envelope_error *ret_error)
{
    const struct json_item *number = wire_member(doc, root, "sequence_num");
    const struct json_item *base = wire_member(doc, root, "base_seq");
    const struct json_item *again = wire_member(doc, root, "redelivered");
    parley_status status = PARLEY_OK;

    ret->number = 0;
    ret->base_seq = 0;
    if (form->session || number != NULL)
        status = wire_number(doc, number, "sequence_num", 1, &ret->number, ret_error);
    if (status == PARLEY_OK && base != NULL)
        status = wire_number(doc, base, "base_seq", 1, &ret->base_seq, ret_error);
    if (status != PARLEY_OK)
        return status;
    if (ret->base_seq != 0 && ret->base_seq > ret->number)
        return wire_invalid(ret_error, "base_seq");
    if (again != NULL && again->type != JSON_TRUE && again->type != JSON_FALSE)
        return wire_invalid(ret_error, "redelivered");
    ret->redelivered = again != NULL && again->type == JSON_TRUE;
    return PARLEY_OK;
}

parley_status envelope_read(const struct json_doc *doc, const struct json_item *root,
                            struct envelope *ret_envelope, struct envelope_error *ret_error)
{
    const struct form *form;
    const struct json_item *payload, *timestamp;
    parley_status status;

    if (root->type != JSON_OBJECT)
        return wire_unknown(ret_error);
    form = form_of(doc, root, ret_error);
    if (form == NULL)
        return PARLEY_EPROTO;
    status = read_names(doc, root, form, ret_envelope, ret_error);
    if (status == PARLEY_OK)
        status = read_numbers(doc, root, form, ret_envelope, ret_error);
    if (status != PARLEY_OK)
        return status;
    payload = wire_member(doc, root, "payload");
    if (payload == NULL)
        return wire_missing(ret_error, "payload");
    if (payload->type != JSON_OBJECT)
        return wire_invalid(ret_error, "payload");
    timestamp = wire_member(doc, root, "timestamp");
    if (timestamp == NULL)
        return wire_missing(ret_error, "timestamp");
    if (!wire_time(doc, timestamp, &ret_envelope->timestamp))
        return wire_invalid(ret_error, "timestamp");
    ret_envelope->payload = doc->text + payload->value;
    ret_envelope->payload_len = payload->value_len;
    ret_envelope->is_void = false;
    return PARLEY_OK;
}

/* ---- writing ---- */

static void put_nonce(struct json_out *out, const uint8_t nonce[NONCE_BYTES])
{
    unsigned char text[(NONCE_BYTES + 2) / 3 * 4 + 1];
    int len = EVP_EncodeBlock(text, nonce, NONCE_BYTES);

    json_put(out, "\"", 1);
    json_put(out, (const char *)text, (size_t)len);
    json_put(out, "\"", 1);
}

static void put_text_or_null(struct json_out *out, const char *text)
{
    if (text != NULL)
        wire_put(out, text);
    else
        json_put_text(out, "null");
}

/* "0.3" has neither session nor number, nor what rests on them. */
bool envelope_has_session(const struct envelope_fields *fields)
{
    return strcmp(fields->version, "0.3") != 0;
}

static void put_session(struct json_out *out, const struct envelope_fields *fields)
{
    if (!envelope_has_session(fields))
        return;
    if (fields->session_id != NULL) {
        json_put_text(out, ",\"session_id\":");
        wire_put(out, fields->session_id);
    }
    if (fields->number != 0) {
        json_put_text(out, ",\"sequence_num\":");
        json_put_u64(out, fields->number);
    }
}

static void put_ours(struct json_out *out, const struct envelope_fields *fields)
{
    if (fields->message_id != NULL) {
        json_put_text(out, ",\"message_id\":");
        wire_put(out, fields->message_id);
    }
    json_put_text(out, ",\"type\":");
    wire_put(out, fields->type != NULL ? fields->type : "peer_message");
    if (!envelope_has_session(fields))
        return;
    if (fields->base_seq != 0) {
        json_put_text(out, ",\"base_seq\":");
        json_put_u64(out, fields->base_seq);
    }
    if (fields->redelivered)
        json_put_text(out, ",\"redelivered\":true");
    if (fields->bound != NULL) {
        json_put_text(out, ",\"parley_signature\":");
        wire_put(out, fields->bound);
    }
}

void envelope_write(struct json_out *out, const struct envelope_fields *fields)
{
    assert(fields->payload != NULL && fields->nonce != NULL && fields->sender_id != NULL);
    json_put_text(out, "{\"payload\":");
    json_put(out, fields->payload, fields->payload_len);
    json_put_text(out, ",\"timestamp\":");
    json_put_seconds(out, fields->timestamp_us);
    json_put_text(out, ",\"nonce\":");
    put_nonce(out, fields->nonce);
    json_put_text(out, ",\"signature\":");
    put_text_or_null(out, fields->signature);
    json_put_text(out, ",\"encrypted_payload\":null,\"sender_public_key\":null,"
                       "\"jwt_token\":null,\"sender_id\":");
    wire_put(out, fields->sender_id);
    json_put_text(out, ",\"recipient_id\":");
    put_text_or_null(out, fields->recipient_id);
    put_session(out, fields);
    json_put_text(out, ",\"version\":");
    wire_put(out, fields->version);
    json_put_text(out, ",\"msg_type\":");
    json_put_string(out, fields->msg_type, fields->msg_type_len);
    put_ours(out, fields);
    json_put_text(out, "}");
}
