/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/carrier.h"

#include <string.h>

#include "runtime/clock.h"

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
        return; /* the peer waits; its next connection is offered again */
    }
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

    if (!connection->hello.parley || connection->carried.value != 0 || connection->closed)
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
        ws_close(connection->ws, 1013, "out of memory");
        return;
    }
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

/* The note that came with the offer is kept: letting go cannot fail. */
static void take_up(struct peer *peer, struct carrier_note *note)
{
    if (peer->closing) {
        note->control.kind = CONTROL_CARRIER_GONE;
        post_to_connection(note->connection, note);
        return;
    }
    carrier_release(peer, false);
    peer->link.carrier = note->connection;
    peer->link.carrier_gone = note;
    link_carried(peer, note->batch_bytes, note->in_flight_max);
}

void carrier_told(struct peer *peer, struct carrier_note *note)
{
    if (note->control.kind == CONTROL_CARRIER_UP) {
        take_up(peer, note);
        return;
    }
    if (note->control.kind == CONTROL_CARRIER_ACK) {
        link_read(peer, note->text, note->len);
    } else if (peer->link.carrier == note->connection) {
        carrier_release(peer, false);
        link_carrier_lost(peer, note->code);
    }
    alloc_free(&peer->runtime->alloc, note);
}

void carrier_fill(struct peer *peer)
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
        peer_write_batch(peer, ROUTE_WEBSOCKET, UINT32_MAX, &out, &number);
        note->len = out.len;
        peer->bench->counts.wire_bytes_out += out.len;
        post_to_connection(peer->link.carrier, note);
    }
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
        log_warn(&peer->runtime->log, "peer %s: out of memory; waits for its next connection",
                 peer->id);
        return;
    }
    memcpy(search->id, peer->id, len);
    visit_start(&search->visit, peer->runtime, search_step, search_done);
}
