/* SPDX-License-Identifier: Apache-2.0
 *
 * The peer's WebSocket in the older dialects: towards a manager over the connection we
 * opened, towards an older client over the one it opened to us.
 *
 * Each message has a frame of its own and is answered by itself, or never. What is answered
 * without a number is meant for the oldest unanswered message, since such peers work in
 * order; an error without a number is not that certain, so it is laid to a message only when
 * there is just one. Silence for ack_timeout_ms on an open connection ends a message as sent.
 * What ended without an answer of its own may get it yet: until that is accounted for
 * (link.owed), an answer without a number is not taken for a later message's.
 * Such peers know no voids: numbers that were given up are passed over.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "peers/connection.h"
#include "peers/envelope.h"
#include "peers/older.h"
#include "peers/older_out.h"
#include "peers/payload.h"
#include "peers/peer.h"
#include "peers/signature.h"
#include "peers/threeway.h"
#include "peers/wire.h"
#include "runtime/clock.h"

#define SMALL_FRAME_MAX    512
#define ANSWERS_UNREAD_MAX 64
#define RATE_WINDOW_NS     (60 * NS_PER_S) /* the manager counts by the minute */
#define PING_SEQ_FIRST     (1ull << 52)    /* no answer to a ping is taken for a message's */
#define RATE_LIMIT_TEXT    "Rate limit exceeded"

static uint64_t now_ns(const struct peer *peer)
{
    return worker_now_ns(peer->bench->worker);
}

/* ---- Messages out ---- */

struct message *older_next(struct peer *peer, uint64_t *ret_number)
{
    struct message *message = peer_next(peer, ROUTE_WEBSOCKET, ret_number);

    while (message != NULL && message->delivery.given_up) {
        delivery_take(&peer->delivery, &message->delivery); /* not sent */
        message = peer_next(peer, ROUTE_WEBSOCKET, ret_number);
    }
    return message;
}

size_t older_room(const struct peer *peer, const struct message *message)
{
    return (size_t)message->type_len + payload_bytes_for(peer, message->payload_len) +
           OLDER_FRAME_OVERHEAD + 4 * (size_t)ENVELOPE_ID_MAX;
}

bool older_too_large(const struct peer *peer, const struct delivery_message *message)
{
    return message->bytes > MANAGER_FRAME_BYTES_MAX && !message->given_up &&
           message->number != 0 && /* others go in chunks */
           link_is_older(peer) && peer->link.carrier == NULL;
}

bool older_turn(struct peer *peer)
{
    struct link *link = &peer->link;
    uint64_t now = now_ns(peer);

    if (now < link->pause_ns) {
        link->turn_ns = link->pause_ns;
        return false;
    }
    return !link->paced || link->dialect == CONNECTION_CLIENT ||
           pace_take(&link->pace, now, &link->turn_ns);
}

bool older_put(struct peer *peer, struct message *message, uint64_t number,
               struct json_out *out)
{
    struct envelope_fields fields;
    struct signed_texts texts;
    char message_id[37], *encrypted;
    uint8_t nonce[16];

    peer_fields(peer, message, number, clock_wall_us(), &fields);
    peer_message_id(peer, number, message_id);
    random_bytes(&peer->bench->random, nonce, sizeof(nonce));
    fields.message_id = message_id;
    fields.nonce = nonce;
    if (!payload_encrypt_for(peer, &fields, &encrypted))
        return false;
    if (!peer_sign(peer, &fields, &texts)) {
        alloc_free(&peer->runtime->alloc, encrypted);
        return false;
    }
    if (peer->link.dialect == CONNECTION_CLIENT)
        older_write_to_client(out, &fields);
    else
        older_write_to_manager(out, &fields);
    alloc_free(&peer->runtime->alloc, encrypted);
    message->delivery.sent_ms = (uint32_t)(now_ns(peer) / NS_PER_MS);
    delivery_take(&peer->delivery, &message->delivery);
    return true;
}

void older_fill(struct peer *peer, struct ws_batch *batch)
{
    struct message *message;
    uint64_t number;

    while ((message = older_next(peer, &number)) != NULL) {
        struct json_out out = {0};

        out.buffer = ws_frame_begin(batch, older_room(peer, message), &out.capacity);
        if (out.buffer == NULL)
            break; /* asked again once this has gone */
        if (!older_turn(peer)) {
            ws_frame_drop(batch);
            break;
        }
        if (!older_put(peer, message, number, &out)) {
            ws_frame_drop(batch);
            break;
        }
        ws_frame_end(batch, WS_TEXT, out.len);
    }
    peer_arm(peer);
}

/* ---- Small frames out ---- */

/* Over the connection's queue, which keeps them in order with what it says itself. */
static void say(struct peer *peer, const struct json_out *out)
{
    struct link *link = &peer->link;

    assert(!out->overflow);
    if (link->inbound->first == NULL)
        link->answers = 0;
    if (++link->answers > ANSWERS_UNREAD_MAX)
        link_give_up(peer, 1008, "too many answers unread");
    else
        connection_say(link->inbound, out->buffer, out->len);
}

struct small_frame {
    char buffer[SMALL_FRAME_MAX], message_id[37];
    struct json_out out;
    struct older_head head;
};

static struct json_out *begin_small(struct small_frame *frame, struct peer *peer)
{
    uint8_t random[16];

    frame->out = (struct json_out){.buffer = frame->buffer, .capacity = SMALL_FRAME_MAX};
    random_bytes(&peer->bench->random, random, sizeof(random));
    uuid_write(frame->message_id, random);
    frame->head = (struct older_head){
        .message_id = frame->message_id, .timestamp_us = clock_wall_us(), .to_manager = true};
    return &frame->out;
}

void older_ping(struct peer *peer)
{
    struct small_frame ping;
    char seq[OLDER_SEQ_MAX];

    snprintf(seq, sizeof(seq), "%llu", PING_SEQ_FIRST + peer->link.ping_seq++);
    older_ping_write(begin_small(&ping, peer), &ping.head, seq);
    say(peer, &ping.out);
}

static void answer_ping(struct peer *peer, const struct json_doc *doc)
{
    struct small_frame pong;
    char seq[OLDER_SEQ_MAX];

    older_seq_read(doc, doc->items, seq);
    older_pong_write(begin_small(&pong, peer), &pong.head, seq);
    say(peer, &pong.out);
}

static void answer_capabilities(struct peer *peer, const struct json_doc *doc)
{
    struct small_frame reply;
    char seq[OLDER_SEQ_MAX];

    if (!older_capabilities_ask(doc, doc->items))
        return;
    older_seq_read(doc, doc->items, seq);
    older_capabilities_write(begin_small(&reply, peer), &reply.head, seq, false);
    say(peer, &reply.out);
}

/* ---- Answers in ---- */

static void end(struct peer *peer, uint64_t number, parley_outcome outcome, const char *detail)
{
    if (!delivery_answer(&peer->delivery, number, outcome, 0, detail))
        return;
    link_clear_suspicion(peer);
    peer_flush(peer); /* while `detail` is there */
}

static bool anything_unanswered(const struct peer *peer)
{
    return peer->delivery.route == PARLEY_TRANSPORT_WEBSOCKET &&
           peer->delivery.outstanding > 0;
}

uint32_t older_unanswered(const struct peer *peer)
{
    return link_is_older(peer) && anything_unanswered(peer)
               ? delivery_unanswered(&peer->delivery, UINT32_MAX)
               : 0;
}

/* An answer to a message that has ended, for all we can tell. */
static void settle_owed(struct peer *peer)
{
    if (peer->link.owed > 0)
        peer->link.owed--;
}

/* Whatever was sent before this one has been dealt with by a peer that works in order. */
static void end_numbered(struct peer *peer, uint64_t number, parley_outcome outcome,
                         const char *detail)
{
    uint64_t pending = peer->delivery.counts.pending;

    end(peer, number, outcome, detail);
    if (peer->delivery.counts.pending != pending)
        peer->link.owed = 0;
    else
        settle_owed(peer);
}

/* `number` as the answer said it; the front is never a void. */
static void on_answer(struct peer *peer, enum older_reference reference, uint64_t number,
                      parley_outcome outcome, const char *detail)
{
    if (reference == REFERENCE_NUMBER)
        end_numbered(peer, number, outcome, detail);
    else if (reference == REFERENCE_NONE && peer->link.owed > 0)
        settle_owed(peer);
    else if (reference == REFERENCE_NONE && anything_unanswered(peer))
        end(peer, peer->delivery.front->number, outcome, detail);
}

/* What else we said lately may be what was too much, and a message have been taken without a
 * word. What a carrier's connection says is not known here. */
static bool may_be_about_another(const struct peer *peer)
{
    const struct connection *inbound = peer->link.inbound;
    uint64_t window_ns = peer->runtime->options.ack_timeout_ms * NS_PER_MS;

    return peer->link.owed > 0 || delivery_unanswered(&peer->delivery, 2) > 1 ||
           inbound == NULL ||
           (inbound->said_ns != 0 && now_ns(peer) < inbound->said_ns + window_ns);
}

/* Should it be too late when it comes again, that is no sign that it came before. */
static void note_unread(struct peer *peer, uint64_t number)
{
    for (struct delivery_message *message = peer->delivery.front;
         message != peer->delivery.cursor; message = message->next) {
        if (message->number == number) {
            message->unread++;
            return;
        }
    }
}

/* @param number of the message it is about; 0: it does not say */
static void on_rate_limit(struct peer *peer, uint64_t number)
{
    if (!anything_unanswered(peer))
        return;
    if (number != 0)
        note_unread(peer, number);
    if (may_be_about_another(peer)) /* some of them may have been taken */
        delivery_doubt(&peer->delivery, false);
    delivery_lost(&peer->delivery);
    peer->link.pause_ns = now_ns(peer) + RATE_WINDOW_NS;
}

/* An error that fits any of several messages: none of them is called refused. */
static void end_all(struct peer *peer, const char *text)
{
    char detail[PARLEY_DETAIL_MAX];

    snprintf(detail, sizeof(detail), "it or another one was refused: %.200s", text);
    for (; peer->delivery.outstanding > 0; peer->link.owed++)
        delivery_answer(&peer->delivery, peer->delivery.front->number, PARLEY_SENT, 0, detail);
    settle_owed(peer); /* this was one */
    link_clear_suspicion(peer);
    peer_flush(peer); /* while `detail` is there */
}

static void on_error_without_number(struct peer *peer, const char *text)
{
    if (!anything_unanswered(peer))
        settle_owed(peer);
    else if (peer->link.owed > 0 || delivery_unanswered(&peer->delivery, 2) > 1)
        end_all(peer, text);
    else
        end(peer, peer->delivery.front->number, PARLEY_REJECTED, text);
}

static void on_error(struct peer *peer, const struct json_doc *doc)
{
    char text[PARLEY_DETAIL_MAX];
    uint64_t number = 0;
    enum older_reference reference = older_read_error(doc, doc->items, &number);

    error_read(doc, doc->items, text, sizeof(text));
    log_warn(&peer->runtime->log, "peer %s reports: %s", peer->id, text);
    if (strcmp(text, PAYLOAD_REFUSED) == 0)
        threeway_forget(peer); /* the next message has a new session */
    if (strncmp(text, RATE_LIMIT_TEXT, sizeof(RATE_LIMIT_TEXT) - 1) == 0)
        on_rate_limit(peer, reference == REFERENCE_NUMBER ? number : 0);
    else if (reference == REFERENCE_NUMBER)
        end_numbered(peer, number, PARLEY_REJECTED, text);
    else if (reference == REFERENCE_NONE)
        on_error_without_number(peer, text);
}

static void on_status(struct peer *peer, const struct json_doc *doc)
{
    uint64_t number = 0;
    enum older_reference reference = older_read_received(doc, doc->items, &number);

    on_answer(peer, reference, number, PARLEY_DELIVERED, "");
}

static void on_client_ack(struct peer *peer, const struct json_doc *doc)
{
    uint64_t number = 0;
    enum older_reference reference =
        older_read_client_ack(doc, doc->items, peer->session_random, &number);

    on_answer(peer, reference, number, PARLEY_DELIVERED, "");
}

/* Over the WebSocket that we opened. A carrier's connection answers for itself. */
static void on_request(struct peer *peer, const struct json_doc *doc, const char *text,
                       size_t len)
{
    switch (frame_kind(doc, doc->items)) {
    case FRAME_PING:
        answer_ping(peer, doc);
        break;
    case FRAME_CAPABILITIES:
        answer_capabilities(peer, doc);
        break;
    case FRAME_ENVELOPE:
    case FRAME_OTHER:
        connection_frame(peer->link.inbound, doc, text, len);
        break;
    default:
        break; /* a pong above all: answering it would never end */
    }
}

void older_frame(struct peer *peer, const struct json_doc *doc, const char *text, size_t len)
{
    switch (frame_kind(doc, doc->items)) {
    case FRAME_ACK:
        if (peer->link.dialect == CONNECTION_CLIENT)
            on_client_ack(peer, doc);
        break;
    case FRAME_STATUS:
        on_status(peer, doc);
        break;
    case FRAME_ERROR:
        on_error(peer, doc);
        break;
    default:
        if (peer->link.carrier == NULL && peer->link.inbound != NULL)
            on_request(peer, doc, text, len);
        break;
    }
}

/* ---- Open, and time passing ---- */

void older_open(struct peer *peer, const char *entity)
{
    struct link *link = &peer->link;

    if (peer->security_min == PARLEY_SECURITY_SEALED) {
        link_give_up(peer, 1008, "no parley, and security_min is sealed");
        return;
    }
    snprintf(link->entity, sizeof(link->entity), "%s", entity[0] != '\0' ? entity : peer->id);
    link->inbound = connection_on_link(peer->bench, &link->ws, NULL, link->entity);
    if (link->inbound == NULL) {
        link_give_up(peer, CLOSE_TRY_LATER, "out of memory");
        return;
    }
    link->inbound->dialect = CONNECTION_MANAGER;
    link->hello_due = false;
    link->answers = 0;
    link_open_with(peer, CONNECTION_MANAGER, 0, OLDER_IN_FLIGHT_MAX);
    link_start_heartbeat(peer);
}

/* When the oldest unanswered message has been silent for too long. */
static uint64_t silent_at_ns(const struct peer *peer)
{
    uint64_t now_ms = now_ns(peer) / NS_PER_MS;
    uint32_t age_ms;

    if (!anything_unanswered(peer))
        return CLOCK_NEVER;
    age_ms = (uint32_t)now_ms - peer->delivery.front->sent_ms;
    return (now_ms - age_ms + peer->runtime->options.ack_timeout_ms) * NS_PER_MS;
}

uint64_t older_next_ns(const struct peer *peer)
{
    uint64_t silent_ns = silent_at_ns(peer);

    return silent_ns < peer->link.turn_ns ? silent_ns : peer->link.turn_ns;
}

void older_timer(struct peer *peer, uint64_t now)
{
    if (peer->link.turn_ns <= now)
        peer->link.turn_ns = CLOCK_NEVER; /* peer_pump() tries again */
    for (; silent_at_ns(peer) <= now; peer->link.owed++)
        end(peer, peer->delivery.front->number, PARLEY_SENT,
            "the peer acknowledged nothing within ack_timeout_ms");
}
