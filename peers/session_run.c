/* SPDX-License-Identifier: Apache-2.0
 *
 * What a session runs: the receiver's rule around the host's handlers, asked for on the
 * owner's worker or from another one.
 */
#include <stdio.h>
#include <string.h>

#include "peers/chunk.h"
#include "peers/connection.h"
#include "peers/session.h"
#include "peers/transfer_in.h"
#include "runtime/clock.h"

#define CLOSE_PROTOCOL 1002
#define CLOSE_GAP      4009

/* ---- Messages ---- */

void session_refuse(struct session *session, uint64_t number, const char *detail)
{
    receive_finish(&session->receive, number, detail);
    session->bench->counts.handled++;
    session->bench->counts.handler_rejected++;
}

void session_run_handler(struct session *session, const struct envelope *envelope,
                         uint64_t number, parley_transport transport)
{
    const struct handler *handler =
        handlers_find(handlers_get(&session->runtime->handlers), envelope->msg_type);
    struct bench_counts *counts = &session->bench->counts;
    char detail[PARLEY_DETAIL_MAX] = "";
    parley_incoming incoming = {
        .size = sizeof(incoming),
        .sender = session->sender,
        .type = envelope->msg_type,
        .payload = envelope->payload,
        .payload_len = envelope->payload_len,
        .session_id = session->session_id,
        .message_id = envelope->message_id,
        .number = envelope->number,
        .timestamp = envelope->timestamp,
        .transport = transport,
        .redelivered = envelope->redelivered,
        .token = {session->id, number},
    };

    if (strcmp(envelope->msg_type, CHUNK_TYPE) == 0) {
        transfer_in_chunk(session, envelope, number, transport);
        return;
    }
    if (handler == NULL) {
        counts->unhandled++;
        receive_finish(&session->receive, number, NULL);
        return;
    }
    switch (handler->run(&incoming, detail, handler->user)) {
    case PARLEY_ACCEPT:
        counts->handled++;
        receive_finish(&session->receive, number, NULL);
        break;
    case PARLEY_REJECT:
        detail[PARLEY_DETAIL_MAX - 1] = '\0';
        session_refuse(session, number,
                       detail[0] != '\0' ? detail : "rejected by the handler");
        break;
    case PARLEY_LATER:
        break;
    }
}

/* A sender that is over its limit has to wait before its next message is begun: the number
 * stays free, and the acknowledgement stops before it. */
static bool within_limit(struct session *session, const struct json_doc *doc,
                         const struct json_item *item, uint64_t number)
{
    struct parley *runtime = session->runtime;
    struct envelope_error error;
    struct envelope envelope;
    uint64_t at_ns;

    if (number != session->receive.watermark + 1 ||
        !limit_applies(runtime, &session->trust, session->sender) ||
        batch_message_read(doc, item, &envelope, &error) != PARLEY_OK || envelope.is_void ||
        limit_take(&runtime->limits, session->sender, limit_kind_of(envelope.msg_type),
                   worker_now_ns(session->bench->worker), &at_ns))
        return true;
    session->held_until_ns = at_ns;
    session->bench->counts.rate_limited++;
    return false;
}

/* One message of a batch. @return RECEIVE_RUN or _REPEAT: go on; else stop reading */
static enum receive_decision take(struct session *session, const struct json_doc *doc,
                                  const struct json_item *item, uint64_t number,
                                  parley_transport transport)
{
    enum receive_decision decision;
    struct envelope_error error;
    struct envelope envelope;

    if (!within_limit(session, doc, item, number))
        return RECEIVE_FULL;
    decision = receive_begin(&session->receive, number);
    if (decision == RECEIVE_REPEAT)
        session->bench->counts.repeats++;
    if (decision != RECEIVE_RUN)
        return decision;
    envelope.sender_id[0] = envelope.recipient_id[0] = envelope.message_id[0] = '\0';
    if (batch_message_read(doc, item, &envelope, &error) != PARLEY_OK) {
        session->bench->counts.protocol_errors++;
        session_refuse(session, number, error.text);
    } else if (envelope.is_void) {
        receive_finish(&session->receive, number, NULL);
    } else if (envelope.payload_len > session->runtime->options.message_bytes_max) {
        session_refuse(session, number, CHUNK_TOO_LARGE);
    } else {
        envelope.number = number;
        session_run_handler(session, &envelope, number, transport);
    }
    return RECEIVE_RUN;
}

/* @return the decision that stopped it, or RECEIVE_RUN */
static enum receive_decision run_batch(struct session *session, const struct json_doc *doc,
                                       const struct batch *batch, const struct proof *proof,
                                       parley_transport transport, uint64_t *ret_last)
{
    enum receive_decision decision = RECEIVE_RUN;
    uint64_t number = batch->first_seq;

    *ret_last = number - 1;
    session->held_until_ns = 0;
    session->refused = 0;
    session->refusal = session_admit_batch(session, batch, proof);
    if (session->refusal != NULL) {
        session->refused = number;
        return RECEIVE_FULL;
    }
    if (proof->bound && proof->newest > session->newest)
        session->newest = proof->newest;
    receive_base(&session->receive, batch->base_seq);
    for (const struct json_item *item = batch->messages; item != NULL;
         item = json_next(doc, item)) {
        if (number - batch->first_seq == proof->messages) {
            session->refusal = proof->refusal;
            session->refused = number;
            decision = RECEIVE_FULL;
            break;
        }
        decision = take(session, doc, item, number, transport);
        if (decision != RECEIVE_RUN && decision != RECEIVE_REPEAT)
            break;
        number++;
        decision = RECEIVE_RUN;
    }
    *ret_last = number - 1;
    return decision;
}

/* ---- Requests ---- */

/* What stopped short of the batch's end. @return how to end the connection */
static unsigned stopped(const struct session *session, struct envelope_error *ret_error)
{
    const char *text = session->refused != 0 ? session->refusal : session_later;

    snprintf(ret_error->text, sizeof(ret_error->text), "%s", text);
    return text == session_later ? CLOSE_TRY_LATER : CLOSE_REFUSED;
}

/* A connection whose name is not proven is known to be the sender's by what nobody has said
 * before: a copy, however fresh, takes nobody's place. What a sender sends again has a new
 * timestamp. */
static void take_seat(struct session *session, struct connection *connection,
                      const struct proof *proof, bool news)
{
    if (!connection->by_news || session->connection == connection)
        return;
    if (session->connection != NULL && proof->bound && !news)
        return;
    if (session->connection != NULL)
        connection_replaced(session->connection, session);
    session->connection = connection;
}

unsigned session_run_frame(struct session *session, struct connection *connection,
                           const struct json_doc *doc, const struct proof *proof,
                           struct envelope_error *ret_error)
{
    uint64_t last, watermark = session->receive.watermark;
    double newest = session->newest;
    struct batch batch;

    session_use(session);
    if (batch_read(doc, doc->items, &batch, ret_error) != PARLEY_OK) {
        session->bench->counts.protocol_errors++;
        return CLOSE_PROTOCOL;
    }
    switch (run_batch(session, doc, &batch, proof, PARLEY_TRANSPORT_WEBSOCKET, &last)) {
    case RECEIVE_GAP:
        snprintf(ret_error->text, sizeof(ret_error->text), "SEQUENCE_GAP");
        return CLOSE_GAP;
    case RECEIVE_FULL:
    case RECEIVE_NO_MEMORY:
        if (session->held_until_ns != 0)
            return 0; /* the connection waits, then comes again with the same frame */
        return stopped(session, ret_error);
    default:
        take_seat(session, connection, proof,
                  session->newest > newest || session->receive.watermark > watermark);
        return 0;
    }
}

static void handle_frame(struct session *session, struct inbound_request *request,
                         const struct json_doc *doc)
{
    struct envelope_error error;
    unsigned code =
        session_run_frame(session, request->connection, doc, &request->proof, &error);
    struct json_out out = session_scratch(session);

    if (code == 0) {
        request->held_until_ns = session->held_until_ns;
        session->ack_owed = !connection_acknowledge(request->connection, session);
        alloc_free(&session->runtime->alloc, request->text);
        request->text = NULL;
        return;
    }
    error_write(&out, error.text, code == CLOSE_REFUSED ? session->refused : 0);
    session_set_answer(request, code, &out);
}

/* Nothing of it was read: what is refused is refused for good. */
static void answer_unread(struct inbound_request *request)
{
    const struct session *session = request->session;

    if (session->refused == 0 || session->refusal == session_later)
        session_answer_detail(request, 503, session_later);
    else
        session_answer_detail(request, 400, session->refusal);
}

static bool handle_batch(struct session *session, struct inbound_request *request,
                         const struct json_doc *doc)
{
    struct envelope_error error;
    struct batch batch;

    if (batch_read(doc, doc->items, &batch, &error) != PARLEY_OK) {
        session->bench->counts.protocol_errors++;
        session_answer_detail(request, 400, error.text);
        return true;
    }
    switch (run_batch(session, doc, &batch, &request->proof, PARLEY_TRANSPORT_HTTP,
                      &request->until)) {
    case RECEIVE_GAP:
        session_answer_ack(request, 409);
        return true;
    case RECEIVE_FULL:
    case RECEIVE_NO_MEMORY:
        if (session->held_until_ns != 0 && request->until < batch.first_seq)
            session_answer_limited(request, session->held_until_ns);
        else if (session->refused == batch.first_seq)
            answer_unread(request);
        else
            session_answer_ack(request, 200);
        return true;
    default:
        return session_answer_or_wait(request);
    }
}

/* Its origin has scanned it, so this is a lack of memory. */
static void refuse_text(struct inbound_request *request)
{
    struct json_out out = session_scratch(request->session);

    if (request->kind == INBOUND_SINGLE) {
        session_refuse_frame(request); /* whether it has a number is not known */
        return;
    }
    if (request->kind != INBOUND_FRAME) {
        session_answer_detail(request, 503, "try again later");
        return;
    }
    error_write(&out, "try again later", 0);
    session_set_answer(request, CLOSE_TRY_LATER, &out);
}

/* Where the connection that is attached in this way stands. */
static struct connection **seat_of(struct session *session,
                                   const struct inbound_request *request)
{
    if (request->dialect == CONNECTION_CLIENT)
        return &session->older[0];
    if (request->dialect == CONNECTION_MANAGER)
        return &session->older[1];
    return &session->connection;
}

static void attach(struct session *session, struct inbound_request *request)
{
    struct connection **seat = seat_of(session, request);
    struct json_out out = session_scratch(session);

    if (*seat != NULL && *seat != request->connection)
        connection_replaced(*seat, session);
    *seat = request->connection;
    if (request->dialect != CONNECTION_UNKNOWN)
        return;
    session_write_greeting(session->runtime, session, &out);
    session_set_answer(request, 0, &out);
}

bool session_handle(struct session *session, struct inbound_request *request,
                    const struct json_doc *doc)
{
    session_use(session);
    request->control.kind = CONTROL_ANSWER;
    if (request->kind == INBOUND_ATTACH) {
        attach(session, request);
        return true;
    }
    if (request->kind == INBOUND_DETACH) {
        if (*seat_of(session, request) == request->connection)
            *seat_of(session, request) = NULL;
        return true;
    }
    if (session_frame_refused(request)) {
        session_refuse_frame(request);
        return true;
    }
    if (doc == NULL && bench_scan(session->bench, request->text, request->len,
                                  BATCH_RECORD_DEPTH, BATCH_LEVELS) != PARLEY_OK) {
        refuse_text(request);
        return true;
    }
    if (doc == NULL)
        doc = &session->bench->doc;
    if (request->kind == INBOUND_MESSAGE || request->kind == INBOUND_SINGLE)
        return session_message(session, request, doc);
    if (request->kind == INBOUND_BATCH)
        return handle_batch(session, request, doc);
    handle_frame(session, request, doc);
    return true;
}

void session_ask(struct inbound_request *request, const struct json_doc *doc, const char *text,
                 size_t len)
{
    struct session *session = request->session;
    const struct alloc *alloc = &session->runtime->alloc;

    if (session->bench == request->origin) {
        if (session_handle(session, request, doc))
            inbound_answer(request);
        return;
    }
    if (text != NULL) {
        request->text = alloc_bytes(alloc, len);
        if (request->text == NULL) {
            request->control.kind = CONTROL_ANSWER;
            request->code = request->kind == INBOUND_FRAME ? CLOSE_TRY_LATER : 503;
            inbound_answer(request); /* a frame without its text ends the connection */
            return;
        }
        memcpy(request->text, text, len);
        request->len = len;
    }
    actor_post_control(&session->actor, &request->control.node);
}
