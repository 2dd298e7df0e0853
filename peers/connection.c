/* SPDX-License-Identifier: Apache-2.0
 *
 * An accepted WebSocket: what it says and hears. It greets first, with what is known of the
 * session named in the upgrade's query, and everything else waits for that. Acknowledgements
 * are written when the socket takes bytes, so that many batches share one. Batches go to
 * connection_session.c, frames of older dialects to connection_older.c.
 */
#include "peers/connection.h"

#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/carrier.h"
#include "peers/older.h"
#include "peers/query.h"
#include "runtime/clock.h"

#define CONTROL_FRAME_ROOM 2048
#define ERRORS_UNREAD_MAX  32

static struct connection *connection_of(struct ws *ws)
{
    return (struct connection *)ws;
}

static void join(struct connection *connection)
{
    struct bench *bench = connection->bench;

    connection->next = bench->connections;
    if (connection->next != NULL)
        connection->next->prev = connection;
    bench->connections = connection;
    bench->counts.ws_connections_accepted++;
    bench->counts.ws_connections++;
}

static void leave(struct connection *connection)
{
    struct bench *bench = connection->bench;

    if (connection->prev != NULL)
        connection->prev->next = connection->next;
    else
        bench->connections = connection->next;
    if (connection->next != NULL)
        connection->next->prev = connection->prev;
    bench->counts.ws_connections--;
}

/* Who connects must be who its token says; without a name of its own that is its name.
 * @return 0, or the status to refuse it with */
static unsigned judge_caller(struct bench *bench, const struct ws_upgrade *upgrade,
                             struct connection *connection)
{
    char *entity = connection->entity;
    struct auth_caller caller;
    parley_status status;

    if (entity[0] != '\0' && !entity_id_valid(entity))
        return 403;
    status = auth_check(bench, upgrade->authorization, upgrade->query, &caller);
    if (status != PARLEY_OK)
        return status == PARLEY_ENOMEM ? 503 : 403;
    if (caller.sub[0] == '\0')
        return 0;
    if (entity[0] != '\0' && strcmp(entity, caller.sub) != 0)
        return 403;
    memcpy(entity, caller.sub, sizeof(caller.sub));
    connection->proven = caller.proven;
    connection->named = true;
    return 0;
}

static void spread_heartbeat(struct connection *connection)
{
    struct bench *bench = connection->bench;

    connection->interval_ns =
        health_jitter_ns(bench->runtime->options.heartbeat_interval_ms * NS_PER_MS,
                         worker_random(bench->worker));
}

struct ws *connection_accept(const struct ws_upgrade *upgrade, unsigned *ret_refusal,
                             void *user)
{
    struct parley *runtime = user;
    struct connection *connection = alloc_zeroed(&runtime->alloc, sizeof(*connection));
    unsigned refusal;

    if (connection == NULL) {
        *ret_refusal = 503;
        return NULL;
    }
    query_value(upgrade->query, "entity_id", connection->entity, sizeof(connection->entity));
    query_value(upgrade->query, "session_id", connection->session_id,
                sizeof(connection->session_id));
    refusal = judge_caller(bench_of(upgrade->worker), upgrade, connection);
    if (refusal != 0) {
        alloc_free(&runtime->alloc, connection);
        *ret_refusal = refusal;
        return NULL;
    }
    connection->bench = bench_of(upgrade->worker);
    connection->ws = &connection->accepted;
    spread_heartbeat(connection);
    join(connection);
    return connection->ws;
}

struct connection *connection_on_link(struct bench *bench, struct ws *ws,
                                      struct channel *channel, const char *entity)
{
    struct connection *connection = alloc_zeroed(&bench->runtime->alloc, sizeof(*connection));

    if (connection == NULL)
        return NULL;
    connection->bench = bench;
    connection->ws = ws;
    connection->channel = channel;
    connection->proven = channel_sealed(channel);
    connection->greeted = true; /* the peer does that */
    memcpy(connection->entity, entity, sizeof(connection->entity));
    return connection;
}

static void free_when_done(struct connection *connection)
{
    const struct alloc *alloc = &connection->bench->runtime->alloc;
    struct outgoing *outgoing = connection->first;

    if (!connection->closed || connection->asked > 0)
        return;
    while (outgoing != NULL) {
        struct outgoing *next = outgoing->next;

        alloc_free(alloc, outgoing);
        outgoing = next;
    }
    if (connection->ws == &connection->accepted) {
        channel_free(connection->channel);
        leave(connection);
    }
    alloc_free(alloc, connection);
}

void connection_answer_came(struct connection *connection)
{
    connection->asked--;
    free_when_done(connection);
}

/* ---- Saying something ---- */

void connection_say(struct connection *connection, const char *text, size_t len)
{
    struct outgoing *outgoing =
        alloc_bytes(&connection->bench->runtime->alloc, sizeof(*outgoing) + len);

    if (outgoing == NULL || connection->closed) {
        alloc_free(&connection->bench->runtime->alloc, outgoing);
        if (!connection->closed)
            ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
        return;
    }
    outgoing->next = NULL;
    outgoing->len = len;
    memcpy(outgoing->text, text, len);
    if (connection->first == NULL)
        connection->first = outgoing;
    else
        connection->last->next = outgoing;
    connection->last = outgoing;
    connection->unread_bytes += sizeof(*outgoing) + len;
    connection->said_ns = worker_now_ns(connection->bench->worker);
    ws_want_write(connection->ws);
    connection_unread(connection);
}

void connection_say_greeting(struct connection *connection, const char *text, size_t len)
{
    struct outgoing *waiting = connection->first, *last = connection->last;

    connection->greeted = true;
    connection->first = NULL;
    connection_say(connection, text, len);
    if (waiting == NULL)
        return;
    if (connection->first == NULL) { /* out of memory: it closes */
        connection->first = waiting;
        return;
    }
    connection->first->next = waiting;
    connection->last = last;
}

static void say_error(struct connection *connection, const char *text, uint64_t number)
{
    char buffer[CONTROL_FRAME_ROOM];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (connection->first == NULL)
        connection->errors = 0;
    if (++connection->errors > ERRORS_UNREAD_MAX) {
        ws_close(connection->ws, 1008, "too many errors unread");
        return;
    }
    error_write(&out, text, number);
    connection_say(connection, buffer, out.len);
}

void connection_say_error(struct connection *connection, const char *text)
{
    say_error(connection, text, 0);
}

static void greet(struct connection *connection)
{
    struct bench *bench = connection->bench;
    struct json_out out = {.buffer = bench->scratch, .capacity = bench->scratch_bytes};

    session_write_greeting(bench->runtime, NULL, &out);
    connection_say_greeting(connection, out.buffer, out.len);
}

void connection_refuse_number(struct connection *connection, uint64_t number,
                              const char *error)
{
    connection->bench->counts.protocol_errors++;
    say_error(connection, error, number);
}

void connection_refuse(struct connection *connection, const char *error)
{
    connection_refuse_number(connection, 0, error);
}

/* ---- Opening and closing ---- */

void connection_opened(struct ws *ws)
{
    struct connection *connection = connection_of(ws);

    /* one that still has to prove who it is takes no session over by naming it */
    if (connection->entity[0] != '\0' && connection->session_id[0] != '\0' &&
        !connection_unproven(connection) && !connection_secure_first(connection))
        connection_attach(connection);
    else
        greet(connection);
}

void connection_left(struct connection *connection, unsigned code)
{
    connection->closed = true;
    /* relaxed: a sign to answer what waits; the answer comes as a message, which orders
     * everything after it. Partner: session_answer_late(). */
    atomic_store_explicit(&connection->gone, true, memory_order_relaxed);
    connection->asked++; /* not freed before the end of this function */
    carrier_closed(connection, code);
    connection_flow_end(connection);
    connection_detach(connection);
    connection_answer_came(connection);
}

void connection_closed(struct ws *ws, const struct ws_closed *why)
{
    connection_left(connection_of(ws), why->code);
}

void connection_heartbeat(struct connection *connection, uint64_t now_ns)
{
    const parley_options *options = &connection->bench->runtime->options;
    uint64_t received = connection->ws->received_ns;

    if (connection->closed || !connection->ws->open)
        return;
    connection_secure_check(connection);
    if (connection->pauses != 0) { /* its pongs are not read, either */
        connection->pinged_ns = 0;
        if ((connection->pauses & PAUSE_UNREAD) != 0 &&
            now_ns - connection->moved_ns >
                (options->heartbeat_interval_ms + options->heartbeat_grace_ms) * NS_PER_MS)
            ws_close(connection->ws, 0, "answers unread");
        return;
    }
    if (received > connection->pinged_ns)
        connection->pinged_ns = 0;
    if (connection->pinged_ns != 0) {
        if (now_ns - connection->pinged_ns > options->heartbeat_grace_ms * NS_PER_MS)
            ws_close(connection->ws, 0, "heartbeat unanswered");
    } else if (now_ns > received + connection->interval_ns) {
        connection->pinged_ns = now_ns;
        spread_heartbeat(connection);
        ws_ping(connection->ws);
        if (connection->dialect == CONNECTION_CLIENT)
            connection_older_ping(connection);
    }
}

/* ---- What arrives ---- */

static bool older(const struct connection *connection)
{
    return connection->dialect == CONNECTION_CLIENT ||
           connection->dialect == CONNECTION_MANAGER;
}

static void on_hello(struct connection *connection, const struct json_doc *doc)
{
    struct envelope_error error;
    struct greeting hello;

    if (greeting_read(doc, doc->items, &hello, &error) != PARLEY_OK) {
        connection->bench->counts.protocol_errors++;
        connection_say_error(connection, error.text);
        return;
    }
    if (!hello.parley || !connection->bench->runtime->options.parley_protocol ||
        older(connection)) {
        connection_frame(connection, doc, NULL, 0);
        return;
    }
    if (!entity_id_valid(hello.entity_id) ||
        (connection->entity[0] != '\0' && strcmp(connection->entity, hello.entity_id) != 0)) {
        ws_close(connection->ws, 1008, "entity_id differs from the upgrade's");
        return;
    }
    memcpy(connection->entity, hello.entity_id, sizeof(connection->entity));
    if (!connection_permitted(connection))
        return;
    connection->dialect = CONNECTION_PARLEY;
    connection->hello = hello;
    connection->hello.rejected = NULL;
    carrier_offer(connection);
}

static void on_frame(struct connection *connection, const struct json_doc *doc,
                     const char *data, size_t len)
{
    switch (frame_kind(doc, doc->items)) {
    case FRAME_HANDSHAKE:
        connection_step(connection, doc);
        break;
    case FRAME_BATCH:
        if (older(connection))
            connection_refuse(connection, "Unknown message format");
        else
            connection_batch(connection, doc, data, len);
        break;
    case FRAME_HELLO:
        on_hello(connection, doc);
        break;
    case FRAME_ACK:
        carrier_acknowledged(connection, data, len);
        break;
    case FRAME_ERROR:
        if (connection->carried.value == 0)
            log_warn(&connection->bench->runtime->log, "%s reports an error",
                     connection->entity);
        carrier_acknowledged(connection, data, len);
        break;
    case FRAME_STATUS:
        if (older_status_received(doc, doc->items))
            carrier_acknowledged(connection, data, len);
        else
            connection_frame(connection, doc, data, len);
        break;
    default:
        connection_frame(connection, doc, data, len);
        break;
    }
}

void connection_received(struct ws *ws, char *data, size_t len, bool binary)
{
    struct connection *connection = connection_of(ws);
    struct bench *bench = connection->bench;

    if (connection->ws->closing || connection->close_code != 0)
        return;
    if (!connection_unseal(connection, &data, &len, binary))
        return;
    switch (bench_scan_frame(bench, data, len)) {
    case PARLEY_OK:
        on_frame(connection, &bench->doc, data, len);
        break;
    case PARLEY_ENOMEM: /* there is nothing wrong with it */
        ws_close(ws, CLOSE_TRY_LATER, "out of memory");
        break;
    default:
        connection_refuse(connection, "Invalid JSON format");
        if (connection->hello.parley) /* it waits for an acknowledgement, not for a text */
            connection->close_code = 1007;
    }
}

/* ---- What goes out ---- */

static bool write_outgoing(struct connection *connection, struct ws_batch *batch)
{
    struct outgoing *outgoing = connection->first;
    size_t room;
    char *payload = channel_frame_begin(connection->channel, batch, outgoing->len, &room);

    if (payload == NULL)
        return false;
    memcpy(payload, outgoing->text, outgoing->len);
    channel_frame_end(connection->channel, batch, outgoing->len);
    connection->first = outgoing->next;
    connection->unread_bytes -= sizeof(*outgoing) + outgoing->len;
    connection->moved_ns = worker_now_ns(connection->bench->worker);
    connection_unread(connection);
    alloc_free(&connection->bench->runtime->alloc, outgoing);
    return true;
}

static void write_ack(struct connection *connection, struct ws_batch *batch)
{
    size_t from = 0;

    do {
        struct json_out out = {0};

        out.buffer =
            channel_frame_begin(connection->channel, batch, CONTROL_FRAME_ROOM, &out.capacity);
        if (out.buffer == NULL)
            return; /* the next fill begins anew: telling twice does no harm */
        from = session_write_ack(connection->session, from, &out);
        channel_frame_end(connection->channel, batch, out.len);
    } while (from != 0);
    connection->ack_due = false;
}

void connection_write(struct connection *connection, struct ws_batch *batch)
{
    if (connection->ws == &connection->accepted && !channel_write(connection->channel, batch))
        return;
    if (!connection->greeted)
        return;
    while (connection->first != NULL && write_outgoing(connection, batch))
        ;
    if (connection->acks_bytes > 0 && connection->first == NULL)
        connection_told(connection);
    if (connection->ack_due && connection->first == NULL)
        write_ack(connection, batch);
    if (connection->close_code != 0 && connection->first == NULL)
        ws_close(connection->ws, connection->close_code,
                 connection->close_code == 1000 ? OLDER_CLOSE_BYE : "see the error before");
}

void connection_fill(struct ws *ws, struct ws_batch *batch)
{
    struct connection *connection = connection_of(ws);

    connection_write(connection, batch);
    connection->bench->counts.wire_bytes_out += batch->used;
    if (connection->channel != NULL && connection->channel->state == CHANNEL_BROKEN)
        ws_close(ws, 1011, "cannot seal");
}
