/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection and its session, which may live on another worker: attaching and leaving,
 * batches on their way there, answers and acknowledgements on their way back. An older peer's
 * connection is attached in one more place, where the next of its entity replaces it.
 */
#include <stdio.h>
#include <string.h>

#include "peers/connection.h"

#define TOLD_BYTES_MAX (256u << 10) /* acknowledgements from there that are not written */

/* ---- Attaching and leaving ---- */

static bool ask(struct connection *connection, enum inbound_kind kind,
                const struct json_doc *doc, const char *text, size_t len, bool held)
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
    request->held = held;
    request->proof = connection->proof;
    connection_asked(connection);
    session_ask(request, doc, text, len);
    return true;
}

/* Finds the session named and attaches to it; the greeting is the answer. One that has not
 * proven its name is attached by its frames. */
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
    connection->by_news = connection->greeted && connection_unproven(connection);
    if (connection->by_news)
        return PARLEY_OK;
    return ask(connection, INBOUND_ATTACH, NULL, NULL, 0, false) ? PARLEY_OK : PARLEY_ENOMEM;
}

parley_status connection_present(struct connection *connection)
{
    struct bench *bench = connection->bench;
    struct inbound_request *presence;
    parley_status status =
        session_acquire(bench, connection->entity, "", &connection->presence);

    if (status != PARLEY_OK)
        return status;
    presence = inbound_new(bench, INBOUND_ATTACH, connection->presence);
    connection->absence = inbound_new(bench, INBOUND_DETACH, connection->presence);
    if (presence == NULL || connection->absence == NULL) {
        session_table_release(&bench->runtime->sessions, connection->presence);
        inbound_drop(presence);
        inbound_drop(connection->absence);
        connection->presence = NULL;
        connection->absence = NULL;
        return PARLEY_ENOMEM;
    }
    session_table_hold(&bench->runtime->sessions, connection->presence);
    presence->connection = connection->absence->connection = connection;
    presence->dialect = connection->absence->dialect = connection->dialect;
    connection->asked++;
    session_ask(presence, NULL, NULL, 0);
    return PARLEY_OK;
}

void connection_attach(struct connection *connection)
{
    if (attach(connection) != PARLEY_OK)
        ws_close(connection->ws, CLOSE_TRY_LATER, "too many sessions");
}

void connection_greet_again(struct connection *connection)
{
    if (!ask(connection, INBOUND_ATTACH, NULL, NULL, 0, false))
        ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
}

/* Gives back the connection's reference to a session, too. */
static void detach(struct connection *connection, struct inbound_request **detachment)
{
    struct inbound_request *request = *detachment;

    if (request == NULL)
        return;
    *detachment = NULL;
    connection->asked++;
    session_ask(request, NULL, NULL, 0);
}

void connection_detach(struct connection *connection)
{
    detach(connection, &connection->detach);
    detach(connection, &connection->absence);
}

/* ---- Batches ---- */

/* The first batch of a connection whose upgrade named no session. */
static parley_status bind_session(struct connection *connection, const struct batch *batch)
{
    bool named = connection->session_id[0] != '\0';

    if (named && strcmp(connection->session_id, batch->session_id) != 0)
        return PARLEY_EPROTO;
    if (connection->session != NULL)
        return PARLEY_OK;
    if (connection->entity[0] == '\0')
        return PARLEY_EPROTO;
    memcpy(connection->session_id, batch->session_id, sizeof(connection->session_id));
    return attach(connection);
}

/* Ends what sends something that is not to be believed, or cannot be. */
static void refuse_batch(struct connection *connection, uint64_t number, const char *text)
{
    connection_refuse_number(connection, number, text);
    connection->close_code = CLOSE_REFUSED;
}

static void run_here(struct connection *connection, const struct json_doc *doc)
{
    struct session *session = connection->session;
    struct envelope_error error;
    unsigned code = session_run_frame(session, connection, doc, &connection->proof, &error);

    if (code == 0) {
        connection->ack_due = true;
        ws_want_write(connection->ws);
        return;
    }
    if (code == CLOSE_REFUSED) {
        connection->ack_due = true; /* of what came before it */
        refuse_batch(connection, session->refused, error.text);
        return;
    }
    connection_say_error(connection, error.text);
    connection->close_code = (uint16_t)code;
}

/* What can be told from the bytes alone. @return whether the batch may go to its session */
static bool guarded(struct connection *connection, const struct json_doc *doc,
                    const struct batch *batch)
{
    struct envelope_error error;

    switch (guard_batch(connection->bench, &connection->guard, doc, batch, connection->entity,
                        connection_caller(connection), &connection->proof, &error)) {
    case PARLEY_OK:
        /* a copy of what somebody else once sent takes no session over */
        if (connection->session != NULL || !connection->proof.bound ||
            guard_fresh(connection->bench->runtime, connection->proof.oldest,
                        connection->proof.newest))
            return true;
        refuse_batch(connection, batch->first_seq, GUARD_STALE);
        return false;
    case PARLEY_ENOMEM:
        ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
        return false;
    default:
        refuse_batch(connection, batch->first_seq, error.text);
        return false;
    }
}

bool connection_run_batch(struct connection *connection, const struct json_doc *doc,
                          const char *data, size_t len, bool held)
{
    if (connection->session->bench != connection->bench)
        return ask(connection, INBOUND_FRAME, NULL, data, len, held);
    run_here(connection, doc);
    return held || connection->session->held_until_ns == 0;
}

void connection_batch(struct connection *connection, const struct json_doc *doc,
                      const char *data, size_t len)
{
    struct envelope_error error;
    struct batch batch;

    if (batch_read(doc, doc->items, &batch, &error) != PARLEY_OK) {
        connection_refuse(connection, error.text);
        connection->close_code = 1002;
        return;
    }
    if (connection->entity[0] != '\0' && !guarded(connection, doc, &batch))
        return;
    switch (bind_session(connection, &batch)) {
    case PARLEY_OK:
        break;
    case PARLEY_EPROTO:
        connection_refuse(connection, "session_id: not this connection's");
        connection->close_code = 1002;
        return;
    default:
        ws_close(connection->ws, CLOSE_TRY_LATER, "too many sessions");
        return;
    }
    if (!connection_permitted(connection))
        return;
    connection->dialect = CONNECTION_PARLEY;
    if (connection_limited(connection))
        connection_hold(connection, data, len);
    else if (!connection_run_batch(connection, doc, data, len, false))
        ws_close(connection->ws, CLOSE_TRY_LATER, "try again later");
}

/* ---- Answers ---- */

static void attached(struct connection *connection, const struct inbound_request *request)
{
    if (connection->greeted)
        return;
    if (request->text != NULL)
        connection_say_greeting(connection, request->text, request->len);
    else
        ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
}

void connection_answered(struct inbound_request *request)
{
    struct connection *connection = request->connection;

    connection->asked_bytes -= request->asked_bytes;
    connection_asked(connection);
    if (request->kind == INBOUND_ATTACH && request->dialect == CONNECTION_UNKNOWN) {
        attached(connection, request);
    } else if (request->kind == INBOUND_SINGLE) {
        connection_older_answered(request);
    } else if (request->kind == INBOUND_FRAME && request->text != NULL) {
        connection_say(connection, request->text, request->len);
    }
    if (request->kind == INBOUND_FRAME && request->code != 0 && !connection->closed) {
        connection->close_code = (uint16_t)request->code;
        ws_want_write(connection->ws);
    }
    if (request->held)
        connection_held_answered(connection, request);
    else if (request->held_until_ns != 0 && !connection->closed)
        ws_close(connection->ws, CLOSE_TRY_LATER,
                 "try again later"); /* it is no peer any more */
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

static void told(struct connection *connection, size_t len)
{
    atomic_fetch_sub_explicit(&connection->told_bytes, len, memory_order_relaxed);
}

/* In order, and none without those before it. One that does not read is told no more until
 * it has. @return false: say it again, out of memory or too much is unread */
static bool acknowledge_from_afar(struct connection *connection, const struct session *session)
{
    size_t from = 0;

    /* relaxed, here and below: a bound, nothing is published through it */
    if (atomic_load_explicit(&connection->told_bytes, memory_order_relaxed) > TOLD_BYTES_MAX)
        return false;
    do {
        struct json_out out = {.buffer = session->bench->scratch,
                               .capacity = session->bench->scratch_bytes};

        from = session_write_ack(session, from, &out);
        atomic_fetch_add_explicit(&connection->told_bytes, out.len, memory_order_relaxed);
        if (!post_note(connection, note_new(connection, CONTROL_ACK, out.buffer, out.len))) {
            told(connection, out.len);
            return false;
        }
    } while (from != 0);
    return true;
}

/* Only a parley reads acknowledgements of its session. One that has not spoken yet will send
 * again what its greeting did not acknowledge, and hears then. */
bool connection_acknowledge(struct connection *connection, const struct session *session)
{
    if (connection->bench != session->bench)
        return acknowledge_from_afar(connection, session);
    if (connection->dialect == CONNECTION_PARLEY) {
        connection->ack_due = true;
        ws_want_write(connection->ws);
    }
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

static void say_ack(struct connection *connection, const struct connection_note *note)
{
    if (connection->closed || connection->dialect != CONNECTION_PARLEY) {
        told(connection, note->len);
        return;
    }
    connection->acks_bytes += note->len;
    connection_say(connection, note->text, note->len);
}

void connection_told(struct connection *connection)
{
    told(connection, connection->acks_bytes);
    connection->acks_bytes = 0;
}

void connection_noted(struct connection_note *note)
{
    struct connection *connection = note->connection;

    if (note->control.kind == CONTROL_REPLACED)
        replaced(connection);
    else
        say_ack(connection, note);
    alloc_free(&connection->bench->runtime->alloc, note);
}
