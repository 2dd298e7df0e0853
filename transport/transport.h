/* SPDX-License-Identifier: Apache-2.0
 *
 * Transport: one libwebsockets context per worker, on the worker's event loop, for the
 * WebSockets we dial, those we accept, and the HTTP we serve. It moves frames and bodies,
 * parses no JSON, and reports upward through one table of callbacks.
 *
 * A struct ws and a struct http_exchange live on one worker; every function here but
 * transport_new(), transport_free() and transport_port() is called on that worker, and
 * every callback runs there.
 */
#ifndef PARLEY_TRANSPORT_H
#define PARLEY_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"
#include "runtime/log.h"
#include "runtime/worker.h"
#include "transport/ws_frame.h"

#define WS_REASON_MAX 123 /* RFC 6455, 5.5.1: what a close frame can carry */
#define WS_PATH       "/ws/v1/peers"

struct transport;
struct lws;

/* ---- WebSocket, both roles ---- */

enum ws_role { WS_CLIENT, WS_SERVER };

/** One WebSocket, embedded in its owner (the peer, or the inbound connection). */
struct ws {
    struct lws *wsi; /* NULL: not connected nor connecting */
    struct transport *transport;
    struct worker *worker;
    enum ws_role role;
    bool open;    /* between opened() and closed() */
    bool closing; /* ws_close() was called */
    uint16_t close_code;
    char close_reason[WS_REASON_MAX + 1];
    bool want_ping, want_write;
    uint64_t pings; /* number of the last one written */
    /* a message being put together from fragments */
    char *partial;
    size_t partial_len, partial_capacity;
    bool partial_binary;
    uint64_t received_ns; /* when a message or pong last arrived (lws hides pings) */
    uint64_t bytes_out;
    void *internal[2]; /* the transport's */
};

/** Where and how to dial. Copied. */
struct ws_target {
    const char *address; /* numeric */
    uint16_t port;
    const char *host; /* for Host, SNI and verification; with the port at most 99 bytes */
    const char *path; /* with query, at most 2000 bytes: lws cuts longer lines */
    bool tls;
    const char *authorization; /* value of the Authorization header, or NULL */
    uint32_t timeout_ms;       /* until the upgrade is done */
};

struct ws_closed {
    bool was_open;
    uint16_t code;        /* the peer's close code, 0: none came */
    unsigned http_status; /* of a refused upgrade, 0: no answer */
    const char *detail;   /* in words; valid during the callback */
};

/** An upgrade being asked for. Valid during the callback. */
struct ws_upgrade {
    struct worker *worker;
    const char *query;         /* "" when there is none; percent signs undone */
    const char *authorization; /* "" when there is none */
    const char *remote;        /* numeric address of the other end */
};

/* ---- HTTP, served ---- */

/** A request whose body has arrived whole. The transport's memory: valid until the reply,
 *  or until gone() was called for it. */
struct http_exchange {
    struct worker *worker;
    const char *method; /* "GET", "POST", … */
    const char *path;   /* without the query */
    const char *query;  /* percent signs undone */
    const char *authorization;
    const char *parley_session; /* the Parley-Session header, "" when there is none */
    const char *remote;
    char *body; /* NUL-terminated, writable */
    size_t body_len;
    void *user; /* the upper layer's */
    void *internal[2];
};

struct http_reply {
    unsigned code;
    const char *content_type; /* NULL: application/json */
    const char *body;         /* copied */
    size_t body_len;
    const char *allow;        /* with 405: the Allow header, else NULL */
    const char *authenticate; /* with 401: the WWW-Authenticate header, else NULL */
    uint32_t retry_after_s;   /* 0: no header */
    bool close;               /* close the connection afterwards */
};

/** What the transport reports. All of them run on the connection's worker. */
struct transport_events {
    /** A dialled WebSocket is open; an accepted one is, too. */
    void (*opened)(struct ws *ws);
    /** A whole text or binary message. `data` may be changed and is valid during the call.
     *  To refuse it, ws_close() and return. */
    void (*received)(struct ws *ws, char *data, size_t len, bool binary);
    /** Every ping up to `number` is answered: pings that arrive together may draw one pong,
     * for the last of them or, by other peers (lws among them), for the first. May be NULL. */
    void (*pong)(struct ws *ws, uint64_t number);
    /** The WebSocket takes bytes: append whole frames. Append none to stop being asked until
     *  ws_want_write(). A batch ends at batch_bytes_max; a larger frame must be its first. */
    void (*fill)(struct ws *ws, struct ws_batch *batch);
    /** It is gone (or never came to be): the struct is the owner's alone again. Never inside
     *  ws_connect(). */
    void (*closed)(struct ws *ws, const struct ws_closed *why);
    /** An upgrade passed the transport's own checks. Returns the owner's struct ws, which
     *  the transport initialises, or NULL with an HTTP status in *ret_refusal (403, 503). */
    struct ws *(*accept)(const struct ws_upgrade *upgrade, unsigned *ret_refusal, void *user);
    /** A request passed the transport's own checks: http_respond() now or later. */
    void (*request)(struct http_exchange *exchange, void *user);
    /** The client of an unanswered exchange has gone: forget it. */
    void (*gone)(struct http_exchange *exchange, void *user);
    void *user;
};

struct transport_options {
    const char *listen_host;    /* numeric; NULL: does not listen */
    uint16_t listen_port;       /* 0: any; the first worker chooses */
    bool accept_websocket;      /* false: upgrades are answered with 404 */
    uint32_t message_bytes_max; /* frames put together and HTTP bodies; close 1009, 413 */
    uint32_t batch_bytes_max;   /* the send buffer holds at least this */
    uint32_t connections_max;   /* accepted, in all; beyond: 503 or closed */
    uint32_t keepalive_s;       /* idle HTTP connections, default 75 */
    const char *parley_header;  /* value of the `Parley` header of every HTTP reply, or NULL */
};

/**
 * Makes the transport of one runtime and checks the listen address with a probe bind.
 *
 * @return PARLEY_OK; PARLEY_EADDRINUSE; PARLEY_EADDR; PARLEY_ENOMEM; PARLEY_ESYSTEM
 */
parley_status transport_new(const struct alloc *alloc, const struct log *log,
                            const struct transport_options *options,
                            const struct transport_events *events, char *error,
                            size_t error_len, struct transport **ret_transport);

/** Frees it, after every worker's transport_worker_fini(). NULL is allowed. */
void transport_free(struct transport *transport);

/** The port listened on, 0: none. Any thread, once the workers have started. */
uint16_t transport_port(const struct transport *transport);

/** To be called from the runtime's worker hooks. */
parley_status transport_worker_init(struct transport *transport, struct worker *worker);
void transport_worker_fini(struct transport *transport, struct worker *worker);

/**
 * Stops listening and closes what was accepted, on this worker: WebSockets with 1001,
 * HTTP connections at once. closed() and gone() follow.
 * Harmless when repeated, which ends what was between two states the first time.
 */
void transport_worker_shutdown(struct transport *transport, struct worker *worker);

/**
 * From now on no WebSocket of this worker waits for the other side to take a close frame or to
 * answer it: those that are closing end at once, and so do those that are closed later.
 * closed() follows.
 */
void transport_worker_hurry(struct transport *transport, struct worker *worker);

/** Open connections this worker holds, accepted ones included. */
size_t transport_worker_connections(struct transport *transport, struct worker *worker);

/**
 * Dials. `ws` must not be connected or connecting.
 *
 * @return PARLEY_OK (opened() or closed() follows, never inside this call); PARLEY_ENOMEM;
 *         PARLEY_EUNREACHABLE (refused before it began, or a target too long for lws;
 *         closed() does not follow)
 */
parley_status ws_connect(struct transport *transport, struct worker *worker, struct ws *ws,
                         const struct ws_target *target);

/** Sends a close frame after what is buffered, then closes; closed() follows, never inside
 *  this call. A dial is abandoned. Does nothing when closing already. Code 0: at once and
 *  without a close frame, for an other side that does not answer any more. */
void ws_close(struct ws *ws, uint16_t code, const char *reason);

/** Asks for fill(). Costs nothing when asked for already. */
void ws_want_write(struct ws *ws);

/** Stops reading what the other side sends, and goes on: what comes meanwhile fills the
 * socket's buffers, then the sender's. Pings are not answered meanwhile, and a lost connection
 * may go unnoticed. */
void ws_read(struct ws *ws, bool on);

/** Sends a ping with the next write. @return its number, for pong(); calls before that write
 *  share one ping */
uint64_t ws_ping(struct ws *ws);

/** Answers an exchange, once. The exchange is gone afterwards. */
void http_respond(struct http_exchange *exchange, const struct http_reply *reply);

#endif
