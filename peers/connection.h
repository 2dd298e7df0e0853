/* SPDX-License-Identifier: Apache-2.0
 *
 * An accepted WebSocket: who is at the other end, which session it carries, and what is
 * to be said to it. Lives on the worker that accepted it; the session may live on another.
 */
#ifndef PARLEY_PEERS_CONNECTION_H
#define PARLEY_PEERS_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "peers/session.h"
#include "transport/transport.h"

/** A text on its way out. */
struct outgoing {
    struct outgoing *next;
    size_t len;
    char text[];
};

struct connection {
    struct ws ws; /* first */
    struct bench *bench;
    struct connection *next, *prev;            /* the bench's */
    char entity[ENVELOPE_ID_MAX + 1];          /* "" until it says who it is */
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* of the session it carries; "" none yet */
    struct session *session;                   /* referenced; NULL: none yet */
    struct inbound_request *detach; /* made with the attachment: leaving cannot fail */
    struct outgoing *first, *last;
    uint32_t asked;      /* requests at the session's owner */
    size_t asked_bytes;  /* and their texts */
    uint16_t close_code; /* once what is outgoing has gone; 0: none */
    bool greeted, ack_due, closed;
};

/** A message from a session's owner to a connection on another worker. */
struct connection_note {
    struct control control; /* CONTROL_ACK, CONTROL_REPLACED */
    struct connection *connection;
    size_t len;
    char text[];
};

/* the transport's events */
struct ws *connection_accept(const struct ws_upgrade *upgrade, unsigned *ret_refusal,
                             void *user);
void connection_opened(struct ws *ws);
void connection_received(struct ws *ws, char *data, size_t len, bool binary);
void connection_fill(struct ws *ws, struct ws_batch *batch);
void connection_closed(struct ws *ws, const struct ws_closed *why);

/** The session's owner tells the attached connection: there is more to acknowledge. */
void connection_acknowledge(struct connection *connection, const struct session *session);

/** … that another connection has taken the session over. */
void connection_replaced(struct connection *connection, const struct session *session);

/** A note has arrived at the connection's bench. Frees it. */
void connection_noted(struct connection_note *note);

/** A request of the connection's has been answered. */
void connection_answered(struct inbound_request *request);

#endif
