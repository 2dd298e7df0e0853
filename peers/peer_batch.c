/* SPDX-License-Identifier: Apache-2.0
 *
 * The next messages as one batch, the same for a frame, a carried frame and an HTTP body.
 */
#include "peers/envelope.h"
#include "peers/guard.h"
#include "peers/older_out.h"
#include "peers/peer.h"
#include "peers/signature.h"
#include "runtime/clock.h"

void peer_fields(struct peer *peer, struct message *message, uint64_t number,
                 uint64_t timestamp_us, struct envelope_fields *ret_fields)
{
    *ret_fields = (struct envelope_fields){
        .sender_id = peer->runtime->node_id,
        .recipient_id = peer->id,
        .session_id = peer->session_id,
        .msg_type = message->text,
        .msg_type_len = message->type_len,
        .payload = message->delivery.given_up ? NULL : message->text + message->type_len,
        .payload_len = message->payload_len,
        .timestamp_us = timestamp_us,
        .number = number,
        .version = "1.0",
        .redelivered = message->delivery.attempts > 0 || message->again,
    };
}

void peer_message_id(const struct peer *peer, uint64_t number, char text[37])
{
    message_id_write(text, peer->session_random, number);
}

struct message *peer_next(struct peer *peer, enum route route, uint64_t *ret_number)
{
    struct delivery_message *message;
    enum transfer_begun begun;

    do {
        message = delivery_peek(&peer->delivery);
        if (message == NULL || transfer_holds_back(peer, message) ||
            peer_choose(peer, message).route != route)
            return NULL;
        begun = transfer_begin(peer, message_of(message), route);
    } while (begun == TRANSFER_BEGUN);
    if (begun == TRANSFER_WAIT)
        return NULL;
    *ret_number = message->number != 0 ? message->number : peer->delivery.next_number;
    return message_of(message);
}

/* ---- Signing ---- */

bool peer_sign(struct peer *peer, struct envelope_fields *fields, struct signed_texts *texts)
{
    const struct identity *identity = guard_signs(peer);

    return identity == NULL ||
           signature_envelope(&peer->bench->canonical, identity, fields, texts) == PARLEY_OK;
}

/* @return false: there is no room for it, or no memory */
static bool sign_in_batch(struct peer *peer, const struct identity *identity,
                          const struct json_out *out, struct envelope_fields *fields,
                          struct signed_texts *texts, uint8_t nonce[16])
{
    fields->bound = texts->bound;
    if (!batch_fits(out, fields)) /* before the costly part */
        return false;
    random_bytes(&peer->bench->random, nonce, 16);
    fields->nonce = nonce;
    fields->base_seq = delivery_base(&peer->delivery);
    return signature_in_batch(&peer->bench->canonical, identity, fields, texts) == PARLEY_OK;
}

size_t peer_write_batch(struct peer *peer, enum route route, uint32_t messages_max,
                        struct json_out *out, uint64_t *ret_last)
{
    uint64_t wall_us = clock_wall_us(), number;
    struct message *message = peer_next(peer, route, &number);
    const struct identity *identity = peer_sealed(peer, route) ? NULL : guard_signs(peer);
    struct envelope_fields fields;
    struct signed_texts texts;
    uint8_t nonce[16];
    size_t count = 0;

    if (message == NULL)
        return 0;
    if (identity != NULL && messages_max > PEER_SIGNED_MAX)
        messages_max = PEER_SIGNED_MAX;
    batch_begin(out, peer->session_id, delivery_base(&peer->delivery), number);
    while (message != NULL && count < messages_max) {
        peer_fields(peer, message, number, wall_us, &fields);
        if (identity != NULL && !sign_in_batch(peer, identity, out, &fields, &texts, nonce))
            break;
        /* A connection has an identity; over HTTP the first message says it for all. */
        if (route != ROUTE_HTTP || count > 0)
            fields.sender_id = NULL;
        if (!batch_add(out, &fields, count == 0))
            break;
        delivery_take(&peer->delivery, &message->delivery);
        *ret_last = number;
        count++;
        message = peer_next(peer, route, &number);
    }
    batch_end(out);
    if (count > 0)
        peer->delivery.base_untold = false;
    return count;
}

bool peer_base_due(const struct peer *peer)
{
    return peer->delivery.base_untold && peer->delivery.outstanding > 0 &&
           peer->delivery.route == PARLEY_TRANSPORT_WEBSOCKET &&
           peer->link.state == LINK_OPEN && !link_is_older(peer);
}

bool peer_write_base(struct peer *peer, struct json_out *out)
{
    uint64_t base = delivery_base(&peer->delivery);
    uint64_t next = base + peer->delivery.outstanding;
    const struct identity *identity =
        peer_sealed(peer, ROUTE_WEBSOCKET) ? NULL : guard_signs(peer);
    struct signed_texts texts;
    uint8_t nonce[16];
    struct envelope_fields fields = {
        .sender_id = peer->runtime->node_id,
        .recipient_id = peer->id,
        .session_id = peer->session_id,
        .timestamp_us = clock_wall_us(),
        .version = "1.0", /* a number would make it a void of that one, for who copies it */
    };

    batch_begin(out, peer->session_id, base, next);
    if (identity == NULL) {
        batch_end(out);
    } else {
        if (!sign_in_batch(peer, identity, out, &fields, &texts, nonce))
            return false;
        batch_end_signed(out, &fields);
    }
    peer->delivery.base_untold = false;
    return true;
}
