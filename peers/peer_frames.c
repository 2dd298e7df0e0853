/* SPDX-License-Identifier: Apache-2.0
 *
 * What the peer's WebSocket carries: the greeting and acknowledgements in (and batches, for
 * the other side may send, too), HELLO and batches out, written straight into the
 * transport's send buffer. A parley's greeting says how far it has received our session,
 * which acknowledges what a lost connection left open.
 */
#include <stdio.h>
#include <string.h>

#include "peers/carrier.h"
#include "peers/connection.h"
#include "peers/envelope.h"
#include "peers/guard.h"
#include "peers/older_out.h"
#include "peers/peer.h"
#include "runtime/clock.h"

#define CONTROL_FRAME_ROOM 2048
#define BATCH_BYTES_MIN    4096u

static struct peer *peer_of(struct ws *ws)
{
    return (struct peer *)((char *)ws - offsetof(struct peer, link.ws));
}

/* ---- What arrives ---- */

static void reject(struct peer *peer, const struct json_doc *doc,
                   const struct json_item *first)
{
    char detail[PARLEY_DETAIL_MAX];
    uint64_t number;

    for (const struct json_item *item = first; item != NULL; item = json_next(doc, item)) {
        if (rejection_read(doc, item, &number, detail) != PARLEY_OK)
            continue;
        delivery_answer(&peer->delivery, number, PARLEY_REJECTED, 0, detail);
        peer_flush(peer); /* while `detail` is there */
    }
}

void peer_acknowledged(struct peer *peer, const struct json_doc *doc, uint64_t ack_seq,
                       const struct json_item *rejected)
{
    uint64_t base = delivery_base(&peer->delivery);

    reject(peer, doc, rejected);
    if (!delivery_ack(&peer->delivery, ack_seq, NULL, 0))
        link_give_up(peer, 1002, "acknowledgement of numbers never sent");
    else if (delivery_base(&peer->delivery) != base)
        link_clear_suspicion(peer);
}

static void greeted(struct peer *peer, const struct json_doc *doc,
                    const struct greeting *greeting)
{
    struct link *link = &peer->link;

    link_open_with(peer, CONNECTION_PARLEY, greeting->max_batch_bytes,
                   greeting->max_in_flight);
    post_parley(peer, greeting->max_batch_bytes);
    memcpy(link->entity, greeting->entity_id, sizeof(link->entity));
    link->message_bytes = greeting->max_message_bytes;
    link->hello_due = true;
    link_start_heartbeat(peer);
    if (greeting->last_seq_known && strcmp(greeting->peer_session_id, peer->session_id) == 0)
        peer_acknowledged(peer, doc, greeting->last_seq, greeting->rejected);
    ws_want_write(&link->ws);
}

/* It is no parley, or we are not to use that: anew for every connection. */
static void greeted_by_older(struct peer *peer, const struct greeting *greeting)
{
    if (peer->dialect == PARLEY_DIALECT_PARLEY) {
        link_give_up(peer, 1000, "the peer does not speak parley/1");
        return;
    }
    if (!greeting->parley)
        peer->post.parley = false;
    older_open(peer, greeting->entity_id);
}

static void on_greeting(struct peer *peer, const struct json_doc *doc)
{
    struct envelope_error error;
    struct greeting greeting;

    if (greeting_read(doc, doc->items, &greeting, &error) != PARLEY_OK)
        link_give_up(peer, 1002, "malformed greeting");
    else if (greeting.parley && peer->runtime->options.parley_protocol &&
             peer->dialect != PARLEY_DIALECT_MANAGER &&
             peer->encryption == PARLEY_ENCRYPTION_NONE) {
        if (!link_secure(peer, &greeting))
            greeted(peer, doc, &greeting);
    } else
        greeted_by_older(peer, &greeting);
}

static void on_ack(struct peer *peer, const struct json_doc *doc)
{
    struct envelope_error error;
    struct ack ack;

    if (ack_read(doc, doc->items, &ack, &error) != PARLEY_OK)
        link_give_up(peer, 1002, "malformed acknowledgement");
    else if (strcmp(ack.session_id, peer->session_id) == 0)
        peer_acknowledged(peer, doc, ack.ack_seq, ack.rejected);
}

/* The other side sends over the WebSocket that we opened. */
static void on_batch(struct peer *peer, const struct json_doc *doc, const char *text,
                     size_t len)
{
    struct link *link = &peer->link;
    struct envelope_error error;
    struct batch batch;

    /* The other side may have made a new peer of us, and with it a new session. */
    if (link->inbound != NULL && link->inbound->session_id[0] != '\0' &&
        batch_read(doc, doc->items, &batch, &error) == PARLEY_OK &&
        strcmp(batch.session_id, link->inbound->session_id) != 0) {
        connection_left(link->inbound, 0);
        link->inbound = NULL;
    }
    if (link->inbound == NULL)
        link->inbound =
            connection_on_link(peer->bench, &link->ws, link->channel, link->entity);
    if (link->inbound == NULL)
        link_give_up(peer, CLOSE_TRY_LATER, "out of memory");
    else
        connection_batch(link->inbound, doc, text, len);
}

/* Before the greeting. A parley greets first: who says anything else is an older server. */
static void on_first_frame(struct peer *peer, const struct json_doc *doc, const char *data,
                           size_t len)
{
    enum frame_kind kind = frame_kind(doc, doc->items);

    if (kind == FRAME_HANDSHAKE) {
        link_step(peer, doc);
    } else if (peer->link.channel != NULL && !channel_sealed(peer->link.channel)) {
        link_give_up(peer, 1002, "the peer does not go on with the handshake");
    } else if (kind == FRAME_STATUS_CONNECTED) {
        on_greeting(peer, doc);
    } else if (peer->dialect != PARLEY_DIALECT_PARLEY) {
        older_open(peer, "");
        older_frame(peer, doc, data, len);
    }
}

/* It does not believe us, and will not when we say it again. Everything else that can be wrong
 * with a frame is not any message's fault. */
static bool is_refusal(const char *text)
{
    return strcmp(text, "Missing signature") == 0 || strcmp(text, "Invalid signature") == 0 ||
           strcmp(text, "Stale timestamp") == 0 || strncmp(text, "Unknown sender: ", 16) == 0;
}

static void on_error(struct peer *peer, const struct json_doc *doc)
{
    char text[PARLEY_DETAIL_MAX];
    uint64_t number;

    error_read(doc, doc->items, text, sizeof(text));
    log_warn(&peer->runtime->log, "peer %s reports: %s", peer->id, text);
    if (is_refusal(text) && older_read_error(doc, doc->items, &number) == REFERENCE_NUMBER &&
        peer->delivery.route == PARLEY_TRANSPORT_WEBSOCKET &&
        delivery_answer(&peer->delivery, number, PARLEY_REJECTED, 0, text))
        peer_flush(peer); /* while `text` is there */
}

static void on_frame(struct peer *peer, const struct json_doc *doc, const char *data,
                     size_t len)
{
    switch (frame_kind(doc, doc->items)) {
    case FRAME_ACK:
        on_ack(peer, doc);
        break;
    case FRAME_BATCH:
        if (peer->link.state == LINK_OPEN && peer->link.carrier == NULL)
            on_batch(peer, doc, data, len);
        break;
    case FRAME_HANDSHAKE:
        link_step(peer, doc);
        break;
    case FRAME_ERROR:
        on_error(peer, doc);
        break;
    default:
        break; /* PROTOCOL.md: what a client does not know it ignores */
    }
}

void link_read(struct peer *peer, const char *text, size_t len)
{
    struct json_doc *doc = &peer->bench->doc;
    parley_status status = bench_scan_frame(peer->bench, text, len);

    if (status == PARLEY_ENOMEM) {
        link_give_up(peer, CLOSE_TRY_LATER, "out of memory");
    } else if (status != PARLEY_OK) {
        peer->bench->counts.protocol_errors++;
        link_give_up(peer, 1007, "malformed JSON");
    } else if (peer->link.state == LINK_GREETING) {
        on_first_frame(peer, doc, text, len);
    } else if (link_is_older(peer)) {
        older_frame(peer, doc, text, len);
    } else {
        on_frame(peer, doc, text, len);
    }
}

void link_received(struct ws *ws, char *data, size_t len, bool binary)
{
    struct peer *peer = peer_of(ws);

    peer_alive(peer);
    if (link_unseal(peer, &data, &len, binary))
        link_read(peer, data, len);
    peer_settle(peer);
}

/* ---- What goes out ---- */

static void write_hello(struct peer *peer, struct ws_batch *batch)
{
    const parley_options *options = &peer->runtime->options;
    struct greeting hello = {
        .parley = true,
        .max_message_bytes = options->message_bytes_max,
        .max_batch_bytes = options->batch_bytes_max,
        .max_in_flight = options->in_flight_max,
    };
    struct json_out out = {0};

    snprintf(hello.entity_id, sizeof(hello.entity_id), "%s", peer->runtime->node_id);
    memcpy(hello.session_id, peer->session_id, sizeof(peer->session_id));
    out.buffer =
        channel_frame_begin(peer->link.channel, batch, CONTROL_FRAME_ROOM, &out.capacity);
    if (out.buffer == NULL)
        return;
    greeting_write_hello(&out, &hello, NULL, 0, clock_wall_us());
    channel_frame_end(peer->link.channel, batch, out.len);
    peer->link.hello_due = false;
}

size_t link_frame_room(const struct peer *peer, const struct message *message, size_t room)
{
    size_t alone = message->delivery.bytes + BATCH_BYTES_MIN;
    size_t most = peer->link.batch_bytes > alone ? peer->link.batch_bytes : alone;

    return room < most ? room : most;
}

/* @return whether a frame was written */
static bool write_frame(struct peer *peer, struct ws_batch *batch)
{
    struct json_out out = {0};
    uint64_t number;
    struct message *message = peer_next(peer, ROUTE_WEBSOCKET, &number);

    if (message == NULL)
        return false;
    out.buffer =
        channel_frame_begin(peer->link.channel, batch,
                            message->delivery.bytes + CONTROL_FRAME_ROOM, &out.capacity);
    if (out.buffer == NULL)
        return false;
    out.capacity = link_frame_room(peer, message, out.capacity);
    if (peer_write_batch(peer, ROUTE_WEBSOCKET, UINT32_MAX, &out, &number) == 0) {
        ws_frame_drop(batch);
        return false;
    }
    channel_frame_end(peer->link.channel, batch, out.len);
    return true;
}

static void write_base(struct peer *peer, struct ws_batch *batch)
{
    struct json_out out = {0};

    out.buffer = channel_frame_begin(peer->link.channel, batch, PEER_BASE_ROOM, &out.capacity);
    if (out.buffer == NULL)
        return; /* the buffer is full, so there will be another */
    if (peer_write_base(peer, &out))
        channel_frame_end(peer->link.channel, batch, out.len);
    else
        ws_frame_drop(batch);
}

void link_fill(struct ws *ws, struct ws_batch *batch)
{
    struct peer *peer = peer_of(ws);

    if (!channel_write(peer->link.channel, batch) || peer->link.state != LINK_OPEN)
        return;
    if (peer->link.hello_due)
        write_hello(peer, batch);
    if (peer->link.inbound != NULL)
        connection_write(peer->link.inbound, batch);
    if (peer->delivery.route == PARLEY_TRANSPORT_WEBSOCKET && link_is_older(peer)) {
        older_fill(peer, batch);
    } else if (peer->delivery.route == PARLEY_TRANSPORT_WEBSOCKET) {
        while (write_frame(peer, batch)) {
            if (guard_signs(peer) != NULL) { /* others have their turn in between */
                ws_want_write(ws);
                break;
            }
        }
        if (peer_base_due(peer))
            write_base(peer, batch);
    }
    peer->bench->counts.wire_bytes_out += batch->used;
    link_written(peer);
}
