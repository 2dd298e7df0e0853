/* SPDX-License-Identifier: Apache-2.0
 *
 * What an accepted WebSocket says and hears. It greets first, with what is known of the
 * session named in the upgrade's query; batches go to that session; acknowledgements are
 * written when the socket takes bytes, so that many batches share one.
 */
#include "peers/connection.h"

#include <stdio.h>
#include <string.h>

#include "peers/auth.h"
#include "peers/carrier.h"
#include "peers/query.h"
#include "peers/wire.h"
#include "runtime/clock.h"

#define CONTROL_FRAME_ROOM 2048
#define ERRORS_UNREAD_MAX  32
#define ASKED_BYTES_MAX    (16u << 20) /* at another worker's session: beyond, it must wait */

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
                             char entity[ENVELOPE_ID_MAX + 1])
{
    char sub[ENVELOPE_ID_MAX + 1];
    parley_status status;

    if (entity[0] != '\0' && !entity_id_valid(entity))
        return 403;
    if (!auth_required(bench->runtime))
        return 0;
    status = auth_check(bench, upgrade->authorization, upgrade->query, sub);
    if (status != PARLEY_OK)
        return status == PARLEY_ENOMEM ? 503 : 403;
    if (entity[0] != '\0' && strcmp(entity, sub) != 0)
        return 403;
    memcpy(entity, sub, sizeof(sub));
    return 0;
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
    refusal = judge_caller(bench_of(upgrade->worker), upgrade, connection->entity);
    if (refusal != 0) {
        alloc_free(&runtime->alloc, connection);
        *ret_refusal = refusal;
        return NULL;
    }
    connection->bench = bench_of(upgrade->worker);
    connection->ws = &connection->accepted;
    join(connection);
    return connection->ws;
}

struct connection *connection_on_link(struct bench *bench, struct ws *ws, const char *entity)
{
    struct connection *connection = alloc_zeroed(&bench->runtime->alloc, sizeof(*connection));

    if (connection == NULL)
        return NULL;
    connection->bench = bench;
    connection->ws = ws;
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
    if (connection->ws == &connection->accepted)
        leave(connection);
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
            ws_close(connection->ws, 1013, "out of memory");
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
    ws_want_write(connection->ws);
}

static void say_error(struct connection *connection, const char *text)
{
    char buffer[CONTROL_FRAME_ROOM];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};

    if (connection->first == NULL)
        connection->errors = 0;
    if (++connection->errors > ERRORS_UNREAD_MAX) {
        ws_close(connection->ws, 1008, "too many errors unread");
        return;
    }
    error_write(&out, text);
    connection_say(connection, buffer, out.len);
}

static void greet(struct connection *connection)
{
    struct bench *bench = connection->bench;
    struct json_out out = {.buffer = bench->scratch, .capacity = bench->scratch_bytes};

    session_write_greeting(bench->runtime, NULL, &out);
    connection->greeted = true;
    connection_say(connection, out.buffer, out.len);
}

/* ---- The session ---- */

static bool ask(struct connection *connection, enum inbound_kind kind,
                const struct json_doc *doc, const char *text, size_t len)
{
    struct parley *runtime = connection->bench->runtime;
    struct inbound_request *request =
        inbound_new(connection->bench, kind, connection->session);

    if (request == NULL)
        return false;
    session_table_hold(&runtime->sessions, connection->session);
    request->connection = connection;
    connection->asked++;
    connection->asked_bytes += len;
    request->asked_bytes = len;
    session_ask(request, doc, text, len);
    return true;
}

/* Finds the session named and attaches to it; the greeting is the answer. */
static parley_status attach(struct connection *connection)
{
    struct bench *bench = connection->bench;
    struct parley *runtime = bench->runtime;
    parley_status status = session_acquire(bench, connection->entity, connection->session_id,
                                           &connection->session);

    if (status != PARLEY_OK)
        return status;
    connection->detach = inbound_new(bench, INBOUND_DETACH, connection->session);
    if (connection->detach == NULL) {
        session_table_release(&runtime->sessions, connection->session);
        connection->session = NULL;
        return PARLEY_ENOMEM;
    }
    connection->detach->connection = connection;
    return ask(connection, INBOUND_ATTACH, NULL, NULL, 0) ? PARLEY_OK : PARLEY_ENOMEM;
}

static void attach_or_close(struct connection *connection)
{
    if (attach(connection) != PARLEY_OK)
        ws_close(connection->ws, 1013, "too many sessions");
}

void connection_opened(struct ws *ws)
{
    struct connection *connection = connection_of(ws);

    if (connection->entity[0] != '\0' && connection->session_id[0] != '\0')
        attach_or_close(connection);
    else
        greet(connection);
}

void connection_left(struct connection *connection, unsigned code)
{
    struct inbound_request *detach = connection->detach;

    connection->closed = true;
    connection->detach = NULL;
    connection->asked++; /* not freed before the end of this function */
    carrier_closed(connection, code);
    if (detach != NULL) { /* it gives back the connection's reference */
        connection->asked++;
        session_ask(detach, NULL, NULL, 0);
    }
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
    if (received > connection->pinged_ns)
        connection->pinged_ns = 0;
    if (connection->pinged_ns != 0) {
        if (now_ns - connection->pinged_ns > options->heartbeat_grace_ms * NS_PER_MS)
            ws_close(connection->ws, 0, "heartbeat unanswered");
    } else if (now_ns > received + options->heartbeat_interval_ms * NS_PER_MS) {
        connection->pinged_ns = now_ns;
        ws_ping(connection->ws);
    }
}

void connection_answered(struct inbound_request *request)
{
    struct connection *connection = request->connection;

    connection->asked_bytes -= request->asked_bytes;
    if (request->kind == INBOUND_ATTACH && !connection->greeted && request->text != NULL) {
        connection->greeted = true;
        connection_say(connection, request->text, request->len);
    } else if (request->kind == INBOUND_FRAME && request->text != NULL) {
        connection_say(connection, request->text, request->len);
    }
    if (request->kind == INBOUND_FRAME && request->code != 0 && !connection->closed) {
        connection->close_code = (uint16_t)request->code;
        ws_want_write(connection->ws);
    }
    inbound_free(request);
    connection_answer_came(connection);
}

/* ---- What the session's owner tells ---- */

static struct connection_note *note_new(struct connection *connection, enum control_kind kind,
                                        const char *text, size_t len)
{
    struct connection_note *note =
        alloc_bytes(&connection->bench->runtime->alloc, sizeof(*note) + len);

    if (note == NULL)
        return NULL;
    note->control.kind = kind;
    note->connection = connection;
    note->len = len;
    if (len > 0)
        memcpy(note->text, text, len);
    return note;
}

static bool post_note(struct connection *connection, struct connection_note *note)
{
    if (note == NULL)
        return false;
    actor_post_control(&connection->bench->actor, &note->control.node);
    return true;
}

/* In order, and none without those before it. @return false: out of memory, say it again */
static bool acknowledge_from_afar(struct connection *connection, const struct session *session)
{
    size_t from = 0;

    do {
        struct json_out out = {.buffer = session->bench->scratch,
                               .capacity = session->bench->scratch_bytes};

        from = session_write_ack(session, from, &out);
        if (!post_note(connection, note_new(connection, CONTROL_ACK, out.buffer, out.len)))
            return false;
    } while (from != 0);
    return true;
}

bool connection_acknowledge(struct connection *connection, const struct session *session)
{
    if (connection->bench != session->bench)
        return acknowledge_from_afar(connection, session);
    connection->ack_due = true;
    ws_want_write(connection->ws);
    return true;
}

static void replaced(struct connection *connection)
{
    if (!connection->closed)
        ws_close(connection->ws, 1008, "New connection established");
}

void connection_replaced(struct connection *connection, const struct session *session)
{
    if (connection->bench == session->bench)
        replaced(connection);
    else
        post_note(connection, note_new(connection, CONTROL_REPLACED, NULL, 0));
}

void connection_noted(struct connection_note *note)
{
    struct connection *connection = note->connection;

    if (note->control.kind == CONTROL_REPLACED)
        replaced(connection);
    else if (!connection->closed)
        connection_say(connection, note->text, note->len);
    alloc_free(&connection->bench->runtime->alloc, note);
}

/* ---- What arrives ---- */

static void on_hello(struct connection *connection, const struct json_doc *doc)
{
    struct envelope_error error;
    struct greeting hello;

    if (greeting_read(doc, doc->items, &hello, &error) != PARLEY_OK) {
        connection->bench->counts.protocol_errors++;
        say_error(connection, error.text);
        return;
    }
    if (hello.entity_id[0] == '\0') /* the older client says it where it says all else */
        wire_text(doc, wire_member(doc, doc->items, "from_entity"), "from_entity", true,
                  hello.entity_id, sizeof(hello.entity_id), &error);
    if (!entity_id_valid(hello.entity_id) ||
        (connection->entity[0] != '\0' && strcmp(connection->entity, hello.entity_id) != 0)) {
        ws_close(connection->ws, 1008, "entity_id differs from the upgrade's");
        return;
    }
    memcpy(connection->entity, hello.entity_id, sizeof(connection->entity));
    connection->hello = hello;
    connection->hello.rejected = NULL;
    connection->dialect = hello.parley ? CONNECTION_PARLEY : CONNECTION_CLIENT;
    carrier_offer(connection);
}

/* The first batch of a connection whose upgrade named no session. */
static bool bind_session(struct connection *connection, const struct batch *batch)
{
    if (connection->session != NULL)
        return strcmp(connection->session_id, batch->session_id) == 0;
    if (connection->entity[0] == '\0' ||
        (connection->session_id[0] != '\0' &&
         strcmp(connection->session_id, batch->session_id) != 0))
        return false;
    memcpy(connection->session_id, batch->session_id, sizeof(connection->session_id));
    return attach(connection) == PARLEY_OK;
}

static void run_here(struct connection *connection, const struct json_doc *doc)
{
    struct envelope_error error;
    unsigned code = session_run_frame(connection->session, doc, &error);

    if (code == 0) {
        connection->ack_due = true;
        ws_want_write(connection->ws);
        return;
    }
    say_error(connection, error.text);
    connection->close_code = (uint16_t)code;
}

void connection_batch(struct connection *connection, const struct json_doc *doc,
                      const char *data, size_t len)
{
    struct envelope_error error;
    struct batch batch;

    if (batch_read(doc, doc->items, &batch, &error) != PARLEY_OK) {
        connection->bench->counts.protocol_errors++;
        say_error(connection, error.text);
        connection->close_code = 1002;
    } else if (!bind_session(connection, &batch)) {
        connection->bench->counts.protocol_errors++;
        say_error(connection, "session_id: not this connection's");
        connection->close_code = 1002;
    } else if (connection->session->bench == connection->bench) {
        run_here(connection, doc);
    } else if (connection->asked_bytes > ASKED_BYTES_MAX ||
               !ask(connection, INBOUND_FRAME, NULL, data, len)) {
        ws_close(connection->ws, 1013, "try again later");
    }
}

/* Lower case from the start: it speaks as the older server does. */
static void learn_dialect(struct connection *connection, enum frame_kind kind)
{
    if (connection->dialect != CONNECTION_UNKNOWN || connection->entity[0] == '\0' ||
        (kind != FRAME_PING && kind != FRAME_CAPABILITIES))
        return;
    connection->dialect = CONNECTION_MANAGER;
    carrier_offer(connection);
}

static void on_frame(struct connection *connection, const struct json_doc *doc,
                     const char *data, size_t len)
{
    learn_dialect(connection, frame_kind(doc, doc->items));
    switch (frame_kind(doc, doc->items)) {
    case FRAME_BATCH:
        connection_batch(connection, doc, data, len);
        break;
    case FRAME_HELLO:
        on_hello(connection, doc);
        break;
    case FRAME_ACK:
        carrier_acknowledged(connection, data, len);
        break;
    case FRAME_ERROR:
        log_warn(&connection->bench->runtime->log, "%s reports an error", connection->entity);
        carrier_acknowledged(connection, data, len);
        break;
    case FRAME_STATUS:
        carrier_acknowledged(connection, data, len);
        break;
    case FRAME_PING:
    case FRAME_CAPABILITIES:
    case FRAME_PONG:
    case FRAME_HEARTBEAT_PONG:
    case FRAME_BYE:
        break;
    default:
        connection->bench->counts.protocol_errors++;
        say_error(connection, "Unknown message format");
        break;
    }
}

void connection_received(struct ws *ws, char *data, size_t len, bool binary)
{
    struct connection *connection = connection_of(ws);
    struct bench *bench = connection->bench;

    if (connection->ws->closing || connection->close_code != 0)
        return;
    if (binary) {
        bench->counts.protocol_errors++;
        ws_close(ws, 1003, "binary frame");
    } else if (!bench_scan(bench, data, len, ACK_RECORD_DEPTH)) {
        bench->counts.protocol_errors++;
        say_error(connection, "Invalid JSON format");
        if (connection->hello.parley) /* it waits for an acknowledgement, not for a text */
            connection->close_code = 1007;
    } else {
        on_frame(connection, &bench->doc, data, len);
    }
}

/* ---- What goes out ---- */

static bool write_outgoing(struct connection *connection, struct ws_batch *batch)
{
    struct outgoing *outgoing = connection->first;
    size_t room;
    char *payload = ws_frame_begin(batch, outgoing->len, &room);

    if (payload == NULL)
        return false;
    memcpy(payload, outgoing->text, outgoing->len);
    ws_frame_end(batch, WS_TEXT, outgoing->len);
    connection->first = outgoing->next;
    alloc_free(&connection->bench->runtime->alloc, outgoing);
    return true;
}

static void write_ack(struct connection *connection, struct ws_batch *batch)
{
    size_t from = 0;

    do {
        struct json_out out = {0};

        out.buffer = ws_frame_begin(batch, CONTROL_FRAME_ROOM, &out.capacity);
        if (out.buffer == NULL)
            return; /* the next fill begins anew: telling twice does no harm */
        from = session_write_ack(connection->session, from, &out);
        ws_frame_end(batch, WS_TEXT, out.len);
    } while (from != 0);
    connection->ack_due = false;
}

void connection_write(struct connection *connection, struct ws_batch *batch)
{
    while (connection->first != NULL && write_outgoing(connection, batch))
        ;
    if (connection->ack_due && connection->first == NULL)
        write_ack(connection, batch);
    if (connection->close_code != 0 && connection->first == NULL)
        ws_close(connection->ws, connection->close_code, "see the error before");
}

void connection_fill(struct ws *ws, struct ws_batch *batch)
{
    struct connection *connection = connection_of(ws);

    connection_write(connection, batch);
    connection->bench->counts.wire_bytes_out += batch->used;
}
