/* SPDX-License-Identifier: Apache-2.0
 *
 * What an older peer says on a connection, and what it hears. Its messages go to the
 * sessions that envelopes posted over HTTP go to, each asked for by itself; the session says
 * whether it was taken, the words for it are put together here, as the frame's dialect wants
 * them. Everything runs on the connection's worker.
 *
 * An older peer proves nothing: it is who it says first, and stays that. Nothing it says is
 * worse than an error, unless it does not read its answers.
 */
#include "peers/connection.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "peers/carrier.h"
#include "peers/older.h"
#include "peers/signature.h"
#include "peers/wire.h"
#include "runtime/clock.h"

#define ANSWER_ROOM       2048
#define MANAGER_BYTES_MAX (1u << 20) /* "1MB" */
#define REFUSAL_MAX       (PARLEY_DETAIL_MAX + 64)
#define FORGED_MAX        16 /* signatures that do not hold: each takes as long as 50 messages */

/** An older peer's message at its session, and what its acknowledgement will say. */
struct single {
    struct inbound_request request; /* first */
    uint64_t number;                /* of an envelope, 0: none */
    bool by_id;                     /* ACK of message_id; else message_received */
    char message_id[ENVELOPE_MESSAGE_ID_MAX + 1];
    char type[ENVELOPE_TYPE_MAX + 1];
    char seq[OLDER_SEQ_MAX];
};

static const char *node_of(const struct connection *connection)
{
    return connection->bench->runtime->node_id;
}

/* The peer dialled this WebSocket itself: then we are the client of an older server. */
static bool dialled(const struct connection *connection)
{
    return connection->ws != &connection->accepted;
}

/* ---- Answers ---- */

struct answer {
    char buffer[ANSWER_ROOM];
    struct json_out out;
    char message_id[37];
    struct older_head head;
};

static struct json_out *begin(struct answer *answer, struct connection *connection)
{
    uint8_t random[16];

    answer->out = (struct json_out){.buffer = answer->buffer, .capacity = ANSWER_ROOM};
    random_bytes(&connection->bench->random, random, sizeof(random));
    uuid_write(answer->message_id, random);
    answer->head = (struct older_head){
        .message_id = answer->message_id,
        .from = node_of(connection),
        .to = connection->entity,
        .timestamp_us = clock_wall_us(),
    };
    return &answer->out;
}

static void end(struct answer *written, struct connection *connection)
{
    assert(!written->out.overflow);
    connection_say(connection, written->buffer, written->out.len);
}

void connection_older_ping(struct connection *connection)
{
    struct answer ping;

    older_heartbeat_write(begin(&ping, connection), &ping.head, false);
    end(&ping, connection);
}

static void acknowledge(struct connection *connection, const struct single *single)
{
    struct answer ack;
    struct json_out *out = begin(&ack, connection);

    if (single->by_id)
        older_ack_write(out, &ack.head, single->message_id);
    else
        older_received_write(out, &ack.head, single->type, single->seq);
    end(&ack, connection);
}

/* What can be sent again is called what older clients wait for. */
static void refuse(struct connection *connection, const struct single *single)
{
    char text[REFUSAL_MAX];
    struct answer error;

    snprintf(text, sizeof(text), "%s%.*s",
             single->request.code == 503 ? "Rate limit exceeded: " : "",
             (int)single->request.len, single->request.text);
    error_write(begin(&error, connection), text, single->number);
    end(&error, connection);
}

void connection_older_answered(struct inbound_request *request)
{
    struct connection *connection = request->connection;

    if (connection->closed)
        return;
    if (request->text != NULL)
        refuse(connection, (struct single *)request);
    else if (request->code == 200)
        acknowledge(connection, (struct single *)request);
    else
        ws_close(connection->ws, CLOSE_TRY_LATER, "try again later");
}

/* ---- Who it is ---- */

/* The first frame that is understood decides. `number` is that of a message, or 0. @return
 * false: it has been told why not */
static bool introduce(struct connection *connection, const char *sender, uint64_t number,
                      enum connection_dialect dialect)
{
    if (sender[0] == '\0')
        sender = connection->entity;
    if (!entity_id_valid(sender)) {
        connection_refuse_number(connection, number,
                                 sender[0] == '\0' ? "Missing required field: from_entity"
                                                   : "Invalid field: from_entity");
        return false;
    }
    if (connection->entity[0] != '\0' && strcmp(connection->entity, sender) != 0) {
        char text[ENVELOPE_ID_MAX + 32];

        snprintf(text, sizeof(text), "Unknown sender: %s", sender);
        connection_refuse_number(connection, number, text);
        return false;
    }
    if (sender != connection->entity)
        memcpy(connection->entity, sender, strlen(sender) + 1);
    if (!connection_permitted(connection))
        return false;
    if (connection->dialect != CONNECTION_UNKNOWN)
        return true;
    connection->dialect = dialect;
    if (dialled(connection))
        return true;
    /* one that still has to prove who it is takes nobody's place by saying a name */
    if (!connection_unproven(connection) && connection_present(connection) != PARLEY_OK) {
        ws_close(connection->ws, CLOSE_TRY_LATER, "too many sessions");
        return false;
    }
    carrier_offer(connection);
    return true;
}

/* For frames that carry no message. */
static bool introduced(struct connection *connection, const struct json_doc *doc,
                       enum connection_dialect dialect)
{
    char sender[ENVELOPE_ID_MAX + 1];
    struct envelope_error error;

    if (older_sender_read(doc, doc->items, sender, &error) != PARLEY_OK) {
        connection_refuse(connection, error.text);
        return false;
    }
    return introduce(connection, sender, 0, dialect);
}

/* ---- Messages ---- */

static parley_status session_for(struct connection *connection, const char *session_id,
                                 struct session **ret_session)
{
    struct session_table *table = &connection->bench->runtime->sessions;
    struct session *known = NULL;

    if (session_id[0] == '\0')
        known = connection->presence;
    else if (connection->session != NULL && strcmp(connection->session_id, session_id) == 0)
        known = connection->session;
    if (known == NULL)
        return session_acquire(connection->bench, connection->entity, session_id, ret_session);
    session_table_hold(table, known);
    *ret_session = known;
    return PARLEY_OK;
}

/* @return NULL: out of memory, or too much is unanswered */
static struct single *single_new(struct connection *connection, const char *session_id,
                                 size_t len)
{
    struct parley *runtime = connection->bench->runtime;
    struct inbound_request *request;
    struct session *session;

    if (connection->asked > runtime->options.in_flight_max ||
        session_for(connection, session_id, &session) != PARLEY_OK)
        return NULL;
    request =
        inbound_new_sized(connection->bench, INBOUND_SINGLE, session, sizeof(struct single));
    if (request == NULL) {
        session_table_release(&runtime->sessions, session);
        return NULL;
    }
    request->connection = connection;
    connection->asked++;
    if (session->bench != connection->bench) {
        request->asked_bytes = len;
        connection->asked_bytes += len;
        connection_asked(connection);
    }
    return (struct single *)request;
}

/* What acknowledges an envelope names its `type`, not its msg_type, and its number if there
 * is no `seq`. */
static void note_answer(struct single *single, const struct json_doc *doc,
                        const struct envelope *envelope, bool by_id)
{
    const struct json_item *type = json_member(doc, doc->items, "type");
    struct json_out out = {.buffer = single->seq, .capacity = sizeof(single->seq) - 1};

    single->by_id = by_id;
    single->number = envelope->number;
    memcpy(single->message_id, envelope->message_id, sizeof(single->message_id));
    if (type == NULL || json_string(doc, type, single->type, sizeof(single->type)) <= 0)
        memcpy(single->type, envelope->msg_type, sizeof(single->type));
    if (older_seq_read(doc, doc->items, single->seq) || envelope->number == 0)
        return;
    json_put_u64(&out, envelope->number);
    single->seq[out.len] = '\0';
}

/* A frame that is larger by far has closed the connection already. */
static void refuse_size(struct connection *connection, uint64_t number)
{
    uint32_t max = connection->bench->runtime->options.message_bytes_max;
    char text[64];

    if (max == MANAGER_BYTES_MAX)
        snprintf(text, sizeof(text), "Message too large (max 1MB)");
    else
        snprintf(text, sizeof(text), "Message too large (max %u bytes)", max);
    connection_refuse_number(connection, number, text);
}

/* What it says is believed as far as it is signed, where that is asked for. @return whether
 * it is taken; if not, it has been told why */
static bool guarded(struct connection *connection, const struct json_doc *doc,
                    struct envelope *envelope, enum evidence *ret_evidence, bool *ret_unplaced)
{
    struct envelope_error error;
    bool required;

    memcpy(envelope->sender_id, connection->entity, sizeof(connection->entity));
    switch (guard_message(connection->bench, &connection->guard, doc, envelope,
                          connection_caller(connection), ret_evidence, &required, &error)) {
    case PARLEY_OK:
        *ret_unplaced = required && *ret_evidence != EVIDENCE_BOUND;
        return true;
    case PARLEY_ENOMEM:
        ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
        return false;
    default:
        connection_refuse_number(connection, envelope->number, error.text);
        if (connection->guard.key != NULL && signature_present(doc, doc->items) &&
            ++connection->forged == FORGED_MAX)
            connection->close_code = CLOSE_REFUSED;
        return false;
    }
}

static bool is_numbered(const struct envelope *envelope)
{
    return envelope->number != 0 && envelope->session_id[0] != '\0';
}

static void on_message(struct connection *connection, const struct json_doc *doc,
                       enum frame_kind kind, const char *text, size_t len)
{
    const struct json_item *type = json_member(doc, doc->items, "type");
    bool by_id = type != NULL && wire_is(doc, type, "MESSAGE");
    enum evidence evidence;
    struct envelope_error error;
    struct envelope envelope;
    struct single *single;
    bool unplaced, numbered;

    if (older_message_read(doc, doc->items, kind, clock_wall_us(), &envelope, &error) !=
        PARLEY_OK) {
        connection_refuse(connection, error.text);
        return;
    }
    if (by_id && envelope.message_id[0] == '\0') {
        connection_refuse_number(connection, envelope.number,
                                 "Missing required field: message_id");
        return;
    }
    if (!introduce(connection, envelope.sender_id, envelope.number,
                   by_id ? CONNECTION_CLIENT : CONNECTION_MANAGER))
        return;
    if (envelope.payload_len > connection->bench->runtime->options.message_bytes_max) {
        refuse_size(connection, envelope.number);
        return;
    }
    /* the limit comes last: what is not the sender's uses up nothing of the sender's */
    if (!guarded(connection, doc, &envelope, &evidence, &unplaced) ||
        !connection_within_limit(connection, limit_kind_of(envelope.msg_type),
                                 envelope.number))
        return;
    /* what has no number must not take one of a session's */
    numbered = is_numbered(&envelope) && !unplaced;
    single = single_new(connection, numbered ? envelope.session_id : "", len);
    if (single == NULL && numbered) {
        ws_close(connection->ws, CLOSE_TRY_LATER,
                 "try again later"); /* see session_refuse_frame() */
        return;
    }
    if (single == NULL) {
        connection_refuse(connection, "Rate limit exceeded: too much unanswered");
        return;
    }
    note_answer(single, doc, &envelope, by_id);
    single->request.evidence = evidence;
    single->request.unplaced = unplaced;
    session_ask(&single->request, doc, text, len);
}

/* ---- Everything else ---- */

static void on_hello(struct connection *connection, const struct json_doc *doc)
{
    struct answer ready;

    if (!introduced(connection, doc, CONNECTION_CLIENT) ||
        !connection_within_limit(connection, LIMIT_HANDSHAKE, 0))
        return;
    older_ready_write(begin(&ready, connection), &ready.head);
    end(&ready, connection);
}

static void on_heartbeat(struct connection *connection, const struct json_doc *doc)
{
    struct answer pong;

    if (!introduced(connection, doc, CONNECTION_CLIENT) ||
        !connection_within_limit(connection, LIMIT_HEARTBEAT, 0))
        return;
    older_heartbeat_write(begin(&pong, connection), &pong.head, true);
    end(&pong, connection);
}

static void on_ping(struct connection *connection, const struct json_doc *doc)
{
    char seq[OLDER_SEQ_MAX];
    struct answer pong;

    older_seq_read(doc, doc->items, seq);
    older_pong_write(begin(&pong, connection), &pong.head, seq);
    end(&pong, connection);
}

static void on_capabilities(struct connection *connection, const struct json_doc *doc)
{
    char seq[OLDER_SEQ_MAX];
    struct answer reply;

    if (!older_capabilities_ask(doc, doc->items))
        return;
    older_seq_read(doc, doc->items, seq);
    older_capabilities_write(begin(&reply, connection), &reply.head, seq,
                             connection->bench->runtime->options.parley_protocol);
    end(&reply, connection);
}

/* An older server answers a status itself: as its client we would never end. */
static void on_status(struct connection *connection, const struct json_doc *doc)
{
    struct answer reply;

    if (dialled(connection) || !older_status_asks(doc, doc->items))
        return;
    older_status_write(begin(&reply, connection), &reply.head);
    end(&reply, connection);
}

static void on_bye(struct connection *connection)
{
    if (connection->dialect == CONNECTION_PARLEY)
        return;
    connection->close_code = 1000;
    ws_want_write(connection->ws);
}

/* These ask for an answer that does not depend on who asks. */
static void on_question(struct connection *connection, const struct json_doc *doc,
                        enum frame_kind kind)
{
    bool named = connection->entity[0] != '\0';
    char sender[ENVELOPE_ID_MAX + 1];
    struct envelope_error error;

    if (older_sender_read(doc, doc->items, sender, &error) == PARLEY_OK && sender[0] != '\0')
        named = true;
    if (named && (!introduced(connection, doc, CONNECTION_MANAGER) ||
                  !connection_within_limit(
                      connection, kind == FRAME_PING ? LIMIT_HEARTBEAT : LIMIT_DISCOVERY, 0)))
        return;
    if (kind == FRAME_PING)
        on_ping(connection, doc);
    else if (kind == FRAME_CAPABILITIES)
        on_capabilities(connection, doc);
    else
        on_status(connection, doc);
}

void connection_frame(struct connection *connection, const struct json_doc *doc,
                      const char *text, size_t len)
{
    enum frame_kind kind = frame_kind(doc, doc->items);
    bool spoken = connection->dialect != CONNECTION_PARLEY;

    switch (kind) {
    case FRAME_PONG: /* answering one would never end */
    case FRAME_HEARTBEAT_PONG:
    case FRAME_STATUS_CONNECTED:
    case FRAME_READY:
    case FRAME_HANDSHAKE:
    case FRAME_ACK:
    case FRAME_ERROR:
        break;
    case FRAME_BYE:
        on_bye(connection);
        break;
    case FRAME_PING:
    case FRAME_CAPABILITIES:
    case FRAME_STATUS:
        on_question(connection, doc, kind);
        break;
    case FRAME_HELLO:
    case FRAME_HEARTBEAT_PING:
    case FRAME_ENVELOPE:
    case FRAME_OTHER:
        if (!spoken)
            connection_refuse(connection, "Unknown message format");
        else if (kind == FRAME_HELLO)
            on_hello(connection, doc);
        else if (kind == FRAME_HEARTBEAT_PING)
            on_heartbeat(connection, doc);
        else
            on_message(connection, doc, kind, text, len);
        break;
    case FRAME_BATCH:
        connection_refuse(connection, "Unknown message format");
        break;
    }
}
