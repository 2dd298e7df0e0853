/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/older_out.h"

#include <string.h>

#include "peers/older.h"
#include "peers/wire.h"

/* ---- Messages ---- */

/* Opens the object that was just closed, to say more in it. */
static void reopen(struct json_out *out)
{
    if (!out->overflow)
        out->len--;
}

void older_write_to_manager(struct json_out *out, const struct envelope_fields *fields)
{
    envelope_write(out, fields);
    reopen(out);
    json_put_text(out, ",\"seq\":");
    json_put_u64(out, fields->number);
    json_put_text(out, "}");
}

void older_write_to_client(struct json_out *out, const struct envelope_fields *fields)
{
    struct envelope_fields own = *fields;

    own.type = "MESSAGE";
    envelope_write(out, &own);
    reopen(out);
    json_put_text(out, ",\"from_entity\":");
    wire_put(out, fields->sender_id);
    json_put_text(out, ",\"to_entity\":");
    wire_put(out, fields->recipient_id);
    json_put_text(out, "}");
}

/* ---- Answers ---- */

/* An answer says in its payload what it is about. */
static const struct json_item *find_seq(const struct json_doc *doc,
                                        const struct json_item *root)
{
    const struct json_item *seq = wire_member(doc, wire_payload(doc, root), "seq");

    return seq != NULL ? seq : wire_member(doc, root, "seq");
}

static enum older_reference reference(const struct json_doc *doc, const struct json_item *root,
                                      uint64_t *ret_number)
{
    const struct json_item *seq = find_seq(doc, root);

    if (seq == NULL)
        return REFERENCE_NONE;
    return json_u64(doc, seq, true, ret_number) ? REFERENCE_NUMBER : REFERENCE_OTHER;
}

enum older_reference older_read_received(const struct json_doc *doc,
                                         const struct json_item *root, uint64_t *ret_number)
{
    const struct json_item *payload = wire_payload(doc, root);
    const struct json_item *type;

    if (!older_status_received(doc, root))
        return REFERENCE_OTHER;
    /* A manager without a handler for pong says the same of our pongs. */
    type = wire_member(doc, payload, "original_type");
    if (type != NULL && !wire_is(doc, type, "peer_message"))
        return REFERENCE_OTHER;
    return reference(doc, root, ret_number);
}

enum older_reference older_read_error(const struct json_doc *doc, const struct json_item *root,
                                      uint64_t *ret_number)
{
    return reference(doc, root, ret_number);
}

enum older_reference older_read_client_ack(const struct json_doc *doc,
                                           const struct json_item *root,
                                           const uint8_t session_random[16],
                                           uint64_t *ret_number)
{
    const struct json_item *id = wire_member(doc, wire_payload(doc, root), "ack_message_id");
    char text[ENVELOPE_MESSAGE_ID_MAX + 1];

    if (id == NULL || json_string(doc, id, text, sizeof(text)) < 0 ||
        !message_id_number(text, session_random, ret_number))
        return REFERENCE_OTHER;
    return REFERENCE_NUMBER;
}

/* ---- Message ids ---- */

/* The number's bytes, lowest first, go where a UUID has no bits of its own. */
static size_t place_of(unsigned byte)
{
    return byte < 7 ? 15 - byte : 0;
}

void message_id_write(char text[37], const uint8_t session_random[16], uint64_t number)
{
    uint8_t bytes[16];

    memcpy(bytes, session_random, sizeof(bytes));
    for (unsigned i = 0; i < sizeof(number); i++)
        bytes[place_of(i)] ^= (uint8_t)(number >> (8 * i));
    uuid_write(text, bytes);
}

/* @return the byte of two hexadecimal digits, -1: they are not */
static int hex_byte(const char *text)
{
    int value = 0;

    for (int i = 0; i < 2; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static bool read_number(const char *text, const uint8_t session_random[16],
                        uint64_t *ret_number)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < sizeof(number); i++) {
        size_t place = place_of(i);
        int byte = hex_byte(text + 2 * place);

        if (byte < 0)
            return false;
        number |= (uint64_t)((unsigned)byte ^ session_random[place]) << (8 * i);
    }
    *ret_number = number;
    return true;
}

bool message_id_number(const char *text, const uint8_t session_random[16],
                       uint64_t *ret_number)
{
    char digits[33], expected[37];
    uint64_t number;
    size_t len = 0;

    for (; *text != '\0'; text++) {
        if (*text == '-')
            continue;
        if (len == sizeof(digits) - 1)
            return false;
        digits[len++] = *text;
    }
    digits[len] = '\0';
    if (len != sizeof(digits) - 1 || !read_number(digits, session_random, &number))
        return false;
    message_id_write(expected, session_random, number);
    for (size_t i = 0, at = 0; i < len; i++, at++) {
        if (expected[at] == '-')
            at++;
        if (expected[at] != (digits[i] | 0x20) && expected[at] != digits[i])
            return false;
    }
    *ret_number = number;
    return true;
}
