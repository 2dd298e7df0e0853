/* SPDX-License-Identifier: Apache-2.0
 *
 * The security session of an accepted WebSocket. Who dialled begins; once both have proven who
 * they are, everything is said anew under the seal, beginning with the greeting. From then on
 * a frame that is not sealed ends the connection. A peer from which only sealed messages are
 * taken is attached to nothing before.
 */
#include "peers/connection.h"

#include <stdio.h>
#include <string.h>

#define CLOSE_POLICY 1008

bool connection_permitted(struct connection *connection)
{
    struct bench *bench = connection->bench;

    if (channel_sealed(connection->channel) || connection->entity[0] == '\0' ||
        secure_minimum(bench->runtime, &connection->minimum, connection->entity) !=
            PARLEY_SECURITY_SEALED)
        return true;
    bench->counts.protocol_errors++;
    ws_close(connection->ws, CLOSE_POLICY, "ENCRYPTION_NOT_READY");
    return false;
}

bool connection_secure_first(struct connection *connection)
{
    return secure_minimum(connection->bench->runtime, &connection->minimum,
                          connection->entity) == PARLEY_SECURITY_SEALED;
}

/* ---- The handshake ---- */

static void fail(struct connection *connection, const char *why)
{
    struct bench *bench = connection->bench;

    bench->counts.protocol_errors++;
    log_warn(&bench->runtime->log, "%s: handshake: %s",
             connection->entity[0] != '\0' ? connection->entity : "a stranger", why);
    ws_close(connection->ws, CLOSE_POLICY, why);
}

/* What is said from now on waits for the sealed greeting. */
static void greet_sealed(struct connection *connection)
{
    connection->greeted = false;
    if (connection->session != NULL)
        connection_greet_again(connection);
    else
        connection_opened(connection->ws);
}

/* Nothing but the plain greeting may have gone before. */
static bool begin(struct connection *connection, const struct json_doc *doc)
{
    struct handshake_message message;

    if (connection->ws != &connection->accepted || connection->dialect != CONNECTION_UNKNOWN ||
        handshake_message_read(doc, doc->items, &message) != PARLEY_OK ||
        !entity_id_valid(message.sender_id) ||
        (connection->entity[0] != '\0' &&
         strcmp(connection->entity, message.sender_id) != 0)) {
        fail(connection, "INVALID_STATE");
        return false;
    }
    if (!secure_wanted(connection->bench->runtime, message.sender_id)) {
        fail(connection, "AUTHENTICATION_FAILED");
        return false;
    }
    connection->channel = channel_new(connection->bench, message.sender_id, false);
    if (connection->channel == NULL)
        ws_close(connection->ws, CLOSE_TRY_LATER, "out of memory");
    return connection->channel != NULL;
}

static void proven(struct connection *connection)
{
    bool first = connection->entity[0] == '\0';

    if (first)
        snprintf(connection->entity, sizeof(connection->entity), "%s",
                 connection->channel->peer_id);
    connection->proven = true;
    greet_sealed(connection);
}

void connection_step(struct connection *connection, const struct json_doc *doc)
{
    bool sealed = channel_sealed(connection->channel);

    if (connection->channel == NULL && !begin(connection, doc))
        return;
    switch (channel_hear(connection->channel, doc)) {
    case CHANNEL_QUIET:
        break;
    case CHANNEL_KEYED:
        if (!sealed)
            proven(connection);
        ws_want_write(connection->ws);
        break;
    case CHANNEL_SAYS:
        ws_want_write(connection->ws);
        break;
    case CHANNEL_FAILED:
        fail(connection, channel_why(connection->channel));
        break;
    }
}

/* ---- Frames ---- */

/* While the handshake is under way nothing else is heard. */
static bool is_step(struct connection *connection, const char *data, size_t len)
{
    struct bench *bench = connection->bench;

    return bench_scan_frame(bench, data, len) == PARLEY_OK &&
           frame_kind(&bench->doc, bench->doc.items) == FRAME_HANDSHAKE;
}

static bool refuse(struct connection *connection, uint16_t code, const char *why)
{
    connection->bench->counts.protocol_errors++;
    ws_close(connection->ws, code, why);
    return false;
}

bool connection_unseal(struct connection *connection, char **data, size_t *len, bool binary)
{
    struct channel *channel = connection->channel;

    if (channel == NULL)
        return !binary || refuse(connection, 1003, "binary frame");
    if (!binary && (channel_sealed(channel) || channel->in.context != NULL))
        return refuse(connection, CLOSE_POLICY, "a frame that is not sealed");
    if (binary && channel_open(channel, *data, *len, data, len) != PARLEY_OK)
        return refuse(connection, CLOSE_POLICY, "DECRYPTION_FAILED");
    return channel_sealed(channel) || is_step(connection, *data, *len) ||
           refuse(connection, CLOSE_POLICY, "INVALID_STATE");
}

void connection_secure_check(struct connection *connection)
{
    struct channel *channel = connection->channel;

    if (channel == NULL || connection->closed)
        return;
    if (!channel_trusted(channel))
        fail(connection, "AUTHENTICATION_FAILED");
    else if (channel_expired(channel, worker_now_ns(connection->bench->worker)))
        ws_close(connection->ws, CLOSE_POLICY, "SESSION_EXPIRED");
}
