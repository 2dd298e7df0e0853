/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/carrier.h"

#include <string.h>

#include "runtime/clock.h"

#define SEEK_AGAIN_NS NS_PER_S /* after a lack of memory */

static struct carrier_note *note_new(const struct alloc *alloc, enum control_kind kind,
                                     struct connection *connection, size_t text_len)
{
    struct carrier_note *note = alloc_bytes(alloc, sizeof(*note) + text_len);

    if (note == NULL)
        return NULL;
    *note =
        (struct carrier_note){.control.kind = kind, .connection = connection, .len = text_len};
    return note;
}

/* ---- On the connection's worker ---- */

/* With the registry locked, so that the peer is there to be posted to. */
static void offer_to(struct connection *connection, struct peer *peer)
{
    const struct alloc *alloc = &connection->bench->runtime->alloc;
    struct carrier_note *up = note_new(alloc, CONTROL_CARRIER_UP, connection, 0);
    struct carrier_note *down = note_new(alloc, CONTROL_CARRIER_DOWN, connection, 0);

    if (up == NULL || down == NULL) {
        alloc_free(alloc, up);
        alloc_free(alloc, down);
        ws_close(connection->ws, CLOSE_TRY_LATER,
                 "out of memory"); /* its next one is offered again */
        return;
    }
    up->dialect = connection->dialect;
    up->sealed = channel_sealed(connection->channel);
    up->message_bytes = connection->hello.max_message_bytes;
    up->batch_bytes = connection->hello.max_batch_bytes;
    up->in_flight_max = connection->hello.max_in_flight;
    connection->carried = peer->handle;
    connection->down = down; /* so that closing cannot fail */
    connection->asked++;
    actor_post_control(&peer->actor, &up->control.node);
}

void carrier_offer(struct connection *connection)
{
    struct registry *registry = &connection->bench->runtime->registry;
    struct peer *peer;

    if (connection->dialect == CONNECTION_UNKNOWN || connection->carried.value != 0 ||
        connection->closed || connection->ws->closing)
        return; /* one that is closing would displace the one that took its place */
    /* what is for a peer goes to nobody who just bears its name, where names are proven */
    if (connection_unproven(connection) || !connection_permitted(connection))
        return;
    registry_lock(registry);
    peer = registry_find(registry, connection->entity);
    if (peer != NULL && !peer->has_url)
        offer_to(connection, peer);
    registry_unlock(registry);
}

/* @return false: the peer is being removed and has let go, or will */
static bool post_to_peer(struct connection *connection, struct carrier_note *note)
{
    struct registry *registry = &connection->bench->runtime->registry;
    struct peer *peer;

    registry_lock(registry);
    peer = registry_get(registry, connection->carried);
    if (peer != NULL)
        actor_post_control(&peer->actor, &note->control.node);
    registry_unlock(registry);
    return peer != NULL;
}

void carrier_acknowledged(struct connection *connection, const char *text, size_t len)
{
    const struct alloc *alloc = &connection->bench->runtime->alloc;
    struct carrier_note *note;

    if (connection->carried.value == 0)
        return;
    note = note_new(alloc, CONTROL_CARRIER_ACK, connection, len);
    if (note == NULL) { /* nobody may say it again: the next connection's greeting does */
        ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
        return;
    }
    note->dialect = connection->dialect;
    memcpy(note->text, text, len);
    if (!post_to_peer(connection, note))
        alloc_free(alloc, note);
}

void carrier_closed(struct connection *connection, unsigned code)
{
    struct carrier_note *down = connection->down;

    connection->down = NULL;
    if (down != NULL)
        down->code = code;
    if (down != NULL && !post_to_peer(connection, down))
        alloc_free(&connection->bench->runtime->alloc, down);
}

void carrier_noted(struct carrier_note *note)
{
    struct connection *connection = note->connection;
    const struct alloc *alloc = &connection->bench->runtime->alloc;

    if (note->control.kind == CONTROL_CARRIER_FRAME) {
        connection_say(connection, note->text, note->len);
    } else {
        alloc_free(alloc, connection->down);
        connection->down = NULL;
        connection->carried = (parley_peer){0};
        if (note->close && !connection->closed)
            ws_close(connection->ws, 1000, "peer removed");
        connection_answer_came(connection);
    }
    alloc_free(alloc, note);
}

/* ---- On the peer's worker ---- */

static void post_to_connection(struct connection *connection, struct carrier_note *note)
{
    actor_post_control(&connection->bench->actor, &note->control.node);
}

void carrier_release(struct peer *peer, bool close)
{
    struct carrier_note *gone = peer->link.carrier_gone;

    if (peer->link.carrier == NULL)
        return;
    gone->control.kind = CONTROL_CARRIER_GONE;
    gone->close = close;
    peer->link.carrier_gone = NULL;
    post_to_connection(peer->link.carrier, gone);
    peer->link.carrier = NULL;
}

/* Whoever is configured to be a parley is never spoken to in an older dialect. */
static bool unwanted(const struct peer *peer, const struct carrier_note *note)
{
    if (peer->encryption != PARLEY_ENCRYPTION_NONE && note->dialect == CONNECTION_PARLEY)
        return true; /* batches are not encrypted one by one */
    return peer->dialect == PARLEY_DIALECT_PARLEY && note->dialect != CONNECTION_PARLEY;
}

/* The note that came with the offer is kept: letting go cannot fail. */
static void take_up(struct peer *peer, struct carrier_note *note)
{
    if (peer->closing || unwanted(peer, note)) {
        note->control.kind = CONTROL_CARRIER_GONE;
        post_to_connection(note->connection, note);
        return;
    }
    carrier_release(peer, false);
    peer->link.carrier = note->connection;
    peer->link.carrier_sealed = note->sealed;
    peer->link.carrier_gone = note;
    peer->link.message_bytes = note->message_bytes;
    link_carried(peer, note->dialect, note->batch_bytes, note->in_flight_max);
}

/* An answer from a connection whose place has been taken may be in another dialect. */
static bool readable(const struct peer *peer, const struct carrier_note *note)
{
    return note->connection == peer->link.carrier || note->dialect == peer->link.dialect;
}

void carrier_told(struct peer *peer, struct carrier_note *note)
{
    if (note->control.kind == CONTROL_CARRIER_UP) {
        take_up(peer, note);
        return;
    }
    if (note->control.kind == CONTROL_CARRIER_ACK) {
        if (readable(peer, note))
            link_read(peer, note->text, note->len);
    } else if (peer->link.carrier == note->connection) {
        carrier_release(peer, false);
        link_carrier_lost(peer, note->code);
    }
    alloc_free(&peer->runtime->alloc, note);
}

/* @return false: out of memory, to be tried again */
static bool send_single(struct peer *peer, struct message *message, uint64_t number)
{
    struct json_out out = {.capacity = older_room(peer, message)};
    struct carrier_note *note = note_new(&peer->runtime->alloc, CONTROL_CARRIER_FRAME,
                                         peer->link.carrier, out.capacity);

    if (note == NULL)
        return false;
    out.buffer = note->text;
    if (!older_put(peer, message, number, &out)) {
        alloc_free(&peer->runtime->alloc, note);
        return false;
    }
    note->len = out.len;
    peer->bench->counts.wire_bytes_out += out.len;
    post_to_connection(peer->link.carrier, note);
    return true;
}

static void fill_singles(struct peer *peer)
{
    struct message *message;
    uint64_t number;

    while ((message = older_next(peer, &number)) != NULL && older_turn(peer)) {
        if (send_single(peer, message, number))
            continue;
        peer->again_ns = worker_now_ns(peer->bench->worker) + NS_PER_MS;
        return;
    }
}

static void fill_batches(struct peer *peer)
{
    const struct alloc *alloc = &peer->runtime->alloc;
    uint64_t number;

    for (struct message *message = peer_next(peer, ROUTE_WEBSOCKET, &number); message != NULL;
         message = peer_next(peer, ROUTE_WEBSOCKET, &number)) {
        struct json_out out = {.capacity = link_frame_room(peer, message, SIZE_MAX)};
        struct carrier_note *note =
            note_new(alloc, CONTROL_CARRIER_FRAME, peer->link.carrier, out.capacity);

        if (note == NULL) {
            peer->again_ns = worker_now_ns(peer->bench->worker) + NS_PER_MS;
            return;
        }
        out.buffer = note->text;
        if (peer_write_batch(peer, ROUTE_WEBSOCKET, UINT32_MAX, &out, &number) == 0) {
            alloc_free(alloc, note);
            peer->again_ns = worker_now_ns(peer->bench->worker) + NS_PER_MS;
            return;
        }
        note->len = out.len;
        peer->bench->counts.wire_bytes_out += out.len;
        post_to_connection(peer->link.carrier, note);
    }
}

/* @return false: out of memory, to be tried again */
static bool fill_base(struct peer *peer)
{
    struct json_out out = {.capacity = PEER_BASE_ROOM};
    struct carrier_note *note = note_new(&peer->runtime->alloc, CONTROL_CARRIER_FRAME,
                                         peer->link.carrier, out.capacity);

    if (note == NULL)
        return false;
    out.buffer = note->text;
    if (!peer_write_base(peer, &out)) {
        alloc_free(&peer->runtime->alloc, note);
        return false;
    }
    note->len = out.len;
    peer->bench->counts.wire_bytes_out += out.len;
    post_to_connection(peer->link.carrier, note);
    return true;
}

void carrier_fill(struct peer *peer)
{
    if (link_is_older(peer)) {
        fill_singles(peer);
        return;
    }
    fill_batches(peer);
    if (peer_base_due(peer) && !fill_base(peer))
        peer->again_ns = worker_now_ns(peer->bench->worker) + NS_PER_MS;
}

/* ---- A peer looks for a connection that is there already ---- */

struct search {
    struct visit visit; /* first */
    char id[];
};

static void search_step(struct visit *visit, struct bench *bench)
{
    const char *id = ((struct search *)visit)->id;

    for (struct connection *connection = bench->connections; connection != NULL;
         connection = connection->next) {
        if (strcmp(connection->entity, id) == 0)
            carrier_offer(connection);
    }
}

static void search_done(struct visit *visit, struct bench *bench)
{
    alloc_free(&bench->runtime->alloc, visit);
}

void carrier_seek(struct peer *peer)
{
    size_t len = strlen(peer->id) + 1;
    struct search *search = alloc_zeroed(&peer->runtime->alloc, sizeof(*search) + len);

    if (search == NULL) {
        peer->link.next_ns = worker_now_ns(peer->bench->worker) + SEEK_AGAIN_NS;
        return;
    }
    memcpy(search->id, peer->id, len);
    visit_start(&search->visit, peer->runtime, search_step, search_done);
}
