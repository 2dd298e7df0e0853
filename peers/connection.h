/* SPDX-License-Identifier: Apache-2.0
 *
 * An accepted WebSocket: who is at the other end, which session it carries, and what is
 * to be said to it. Lives on the worker that accepted it; the session may live on another.
 */
#ifndef PARLEY_PEERS_CONNECTION_H
#define PARLEY_PEERS_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "peers/channel.h"
#include "peers/secure.h"
#include "peers/session.h"
#include "transport/transport.h"

/** What the other end has shown to speak. Decided once. */
enum connection_dialect {
    CONNECTION_UNKNOWN,
    CONNECTION_PARLEY,
    CONNECTION_CLIENT,  /* the older client's: upper case, seven keys */
    CONNECTION_MANAGER, /* lower case, as to the older server */
};

/** Why nothing is read from a connection. */
enum connection_pause {
    PAUSE_LIMIT = 1,  /* its sender is over its limit: a frame is held until it is not */
    PAUSE_ASKED = 2,  /* too much waits at other workers' sessions */
    PAUSE_UNREAD = 4, /* too many answers wait for it to read */
};

/** A text on its way out. */
struct outgoing {
    struct outgoing *next;
    size_t len;
    char text[];
};

struct connection {
    struct ws accepted; /* first; unused when it shares a peer's own WebSocket */
    struct ws *ws;
    struct bench *bench;
    struct connection *next, *prev;            /* the bench's */
    char entity[ENVELOPE_ID_MAX + 1];          /* "" until it says who it is */
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* of the session it carries; "" none yet */
    struct session *session;                   /* referenced; NULL: none yet */
    struct channel *channel; /* connection_secure.c, or the peer's own; NULL: not sealed */
    struct secure_minimum minimum;  /* asked of `entity` */
    struct inbound_request *detach; /* made with the attachment: leaving cannot fail */
    struct outgoing *first, *last;
    /* older dialects: where a newer connection of the same entity replaces this one */
    struct session *presence;        /* referenced; NULL: not there */
    struct inbound_request *absence; /* as detach */
    struct greeting hello;           /* as it was said; its list of rejections is gone */
    parley_peer carried;             /* carrier.h; 0: none */
    struct carrier_note *down;       /* made with the offer */
    uint64_t interval_ns;            /* of the heartbeat, spread */
    uint64_t pinged_ns;              /* 0: no ping is unanswered */
    uint64_t said_ns;    /* when something was last said, messages apart; 0: never */
    uint32_t asked;      /* requests at the session's owner, and a carried peer */
    size_t asked_bytes;  /* and their texts */
    uint32_t errors;     /* said since everything was last written */
    uint32_t forged;     /* older dialects: messages whose signature did not hold */
    uint16_t close_code; /* once what is outgoing has gone; 0: none */
    enum connection_dialect dialect;
    /* connection_flow.c */
    unsigned pauses;          /* enum connection_pause, all that hold */
    struct limit_trust trust; /* in `entity` */
    struct guard guard;       /* on what comes from `entity` */
    struct proof proof;       /* of the batch being run, or held */
    struct timer again;       /* runs the held frame again */
    char *held;               /* a batch, not begun or not finished */
    size_t held_len;
    uint64_t moved_ns;   /* when something was last written */
    size_t unread_bytes; /* of `first` and those after it */
    bool greeted;        /* before, nothing is written */
    bool proven;         /* by a token of its own identity, to us (auth.h) */
    bool named;          /* by any token that we asked for */
    bool by_news; /* it has not proven its name: only what is new there attaches it to its
                     session. Set before anything is asked of that one */
    bool ack_due, closed;
    size_t acks_bytes;          /* of the next, what stands among the outgoing */
    _Atomic(bool) gone;         /* as `closed`, for the owners of sessions */
    _Atomic(bool) refused;      /* a numbered message found no room: no later one is taken */
    _Atomic(size_t) told_bytes; /* acknowledgements told from afar and not yet written */
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

/** The inbound half of a WebSocket that a peer of ours opened, and its channel. @return NULL:
 *  out of memory */
struct connection *connection_on_link(struct bench *bench, struct ws *ws,
                                      struct channel *channel, const char *entity);

/**
 * Any frame of an older dialect has arrived on it; what it asks for is answered on the same
 * connection, at once or when a handler has answered. On a peer's own WebSocket, set
 * `dialect` before. In connection_older.c.
 */
void connection_frame(struct connection *connection, const struct json_doc *doc,
                      const char *text, size_t len);

/** A batch has arrived on it. */
void connection_batch(struct connection *connection, const struct json_doc *doc,
                      const char *data, size_t len);

/** An inbound message of an older dialect has arrived in a frame of its own. */
void connection_frame(struct connection *connection, const struct json_doc *doc,
                      const char *text, size_t len);

/** Appends what is to be said: errors, greetings, carried frames, acknowledgements. */
void connection_write(struct connection *connection, struct ws_batch *batch);

/** The WebSocket has closed, with the code that came (0: none); the connection frees itself
 * once nobody will post to it. */
void connection_left(struct connection *connection, unsigned code);

/** Says a text, copied. */
void connection_say(struct connection *connection, const char *text, size_t len);

/** One of `asked` has come back. May free the connection. */
void connection_answer_came(struct connection *connection);

/** Pings what is silent and closes what stays so. */
void connection_heartbeat(struct connection *connection, uint64_t now_ns);

/** The session's owner tells the attached connection: there is more to acknowledge.
 *  @return false: out of memory, to be said again */
bool connection_acknowledge(struct connection *connection, const struct session *session);

/** … that another connection has taken the session over. */
void connection_replaced(struct connection *connection, const struct session *session);

/** A note has arrived at the connection's bench. Frees it. */
void connection_noted(struct connection_note *note);

/** A request of the connection's has been answered. */
void connection_answered(struct inbound_request *request);

/* ---- between the files of the connection, on its worker ----
 *
 *   connection.c          life, what it says and hears
 *   connection_session.c  its session
 *   connection_older.c    the older dialects
 *   connection_flow.c     when nothing is read from it
 *   connection_secure.c   its security session
 */

/** Whether what `entity` says may be heard on it as it is; if not, it closes. */
bool connection_permitted(struct connection *connection);

/** Whether it must not attach before a handshake. */
bool connection_secure_first(struct connection *connection);

/** Opens a frame. @return false: it is nothing for the reader, or the connection has ended */
bool connection_unseal(struct connection *connection, char **data, size_t *len, bool binary);

/** A step of a handshake has come. */
void connection_step(struct connection *connection, const struct json_doc *doc);

/** Closes what cannot be sealed any more, or has had its keys for too long. */
void connection_secure_check(struct connection *connection);
/** What has been proven of who is at the other end. */
static inline enum guard_caller connection_caller(const struct connection *connection)
{
    return guard_caller(connection->named, connection->proven);
}

/** It bears a name that it would have to prove. */
static inline bool connection_unproven(struct connection *connection)
{
    return guard_requires(connection->bench->runtime, &connection->guard, connection->entity,
                          connection_caller(connection));
}

/** Stops reading for this reason, too; goes on when it was the last one. */
void connection_pause(struct connection *connection, enum connection_pause reason);
void connection_resume(struct connection *connection, enum connection_pause reason);

/** `asked_bytes` or `unread_bytes` has changed: reading stops, goes on, or it ends. */
void connection_asked(struct connection *connection);
void connection_unread(struct connection *connection);

/** Whether the sender's messages are counted. */
bool connection_limited(struct connection *connection);

/** One message or question of a kind has come in a frame of its own, with this number unless
 * 0.
 *  @return false: it is over
 *  the sender's limit, and has been told so */
bool connection_within_limit(struct connection *connection, enum limit_kind kind,
                             uint64_t number);

/** A limited sender's batch: runs it as far as the limit allows, and the rest later. */
void connection_hold(struct connection *connection, const char *data, size_t len);

/** The held batch has been run at another worker. */
void connection_held_answered(struct connection *connection,
                              const struct inbound_request *request);

/**
 * Runs a batch at its session: here, or at another worker, which gets a copy.
 *
 * @param held `data` is the held frame: connection_held_answered() follows the other worker
 * @return false: out of memory
 */
bool connection_run_batch(struct connection *connection, const struct json_doc *doc,
                          const char *data, size_t len, bool held);

/** Nothing will be run any more. */
void connection_flow_end(struct connection *connection);

/** Says the greeting; whatever waited for it follows. */
void connection_say_greeting(struct connection *connection, const char *text, size_t len);

/** Says an error; ends the connection if too many are unread. */
void connection_say_error(struct connection *connection, const char *text);

/** Says that a frame is refused, and counts it. */
void connection_refuse(struct connection *connection, const char *error);
/** The same for a message that has this number, unless 0. */
void connection_refuse_number(struct connection *connection, uint64_t number,
                              const char *error);

/** Attaches to the session named, whose answer is the greeting; without one it closes. */
void connection_attach(struct connection *connection);

/** Asks the session that it is attached to for the greeting once more. */
void connection_greet_again(struct connection *connection);

/** Everything outgoing has been written: a session elsewhere may tell more. */
void connection_told(struct connection *connection);

/** The connection has closed: leaves whatever it is attached to. */
void connection_detach(struct connection *connection);

/** An older peer has said who it is: takes the place of the connection that its entity has in
 *  this dialect, and keeps it for the next one.
 *  @return PARLEY_OK; PARLEY_ELIMIT (too many sessions); PARLEY_ENOMEM */
parley_status connection_present(struct connection *connection);

/** Pings an older client in its own way. */
void connection_older_ping(struct connection *connection);

/** An older peer's message has been answered; the request stays the caller's. */
void connection_older_answered(struct inbound_request *request);

#endif
