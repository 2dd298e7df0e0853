/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the transport share: the transport, what it keeps per worker, and what
 * it keeps per connection. Not for other folders.
 *
 * A struct line (of communication) is libwebsockets' opaque user data of one connection,
 * dialled or accepted. It lives exactly as long as lws's own handle, so a late callback never
 * meets freed memory; the owner's struct ws and an unanswered exchange only hang on it.
 */
#ifndef PARLEY_TRANSPORT_LINE_H
#define PARLEY_TRANSPORT_LINE_H

#include <ev.h>
#include <libwebsockets.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "runtime/clock.h"
#include "runtime/timer_wheel.h"
#include "transport/transport.h"

#define HEADER_BYTES_MAX   8192 /* request line and headers of one request, ours and theirs */
#define CLOSE_SECONDS_MAX  5    /* from ws_close() to the end, whatever the peer does */
#define LINGER_SECONDS_MAX 2    /* reading on after a refusal, so that it arrives */
#define SPARES_MAX         4

struct transport {
    const struct alloc *alloc;
    const struct log *log;
    struct transport_options options; /* its strings are copies */
    struct transport_events events;
    struct sockaddr_storage address; /* to listen on */
    socklen_t address_len;
    struct ssl_ctx_st *tls_client; /* shared by the workers: OpenSSL locks it */
    size_t body_bytes_max;         /* of an HTTP request */
    /* any worker's */
    _Atomic(uint32_t) accepted; /* open accepted connections */
    _Atomic(uint32_t) port;     /* written by the worker that is initialised first */
};

/* A buffer for messages in fragments, waiting for the next one. */
struct spare {
    char *data;
    size_t capacity;
};

struct listener {
    ev_io accepting;
    struct timer pause; /* out of descriptors: try again later */
    int fd;             /* -1: not listening */
};

struct transport_worker {
    struct transport *transport;
    struct worker *worker;
    struct lws_context *context;
    struct lws_protocols protocols[2]; /* lws keeps pointing at them */
    struct lws_vhost *vhost_client;
    struct lws_vhost *vhost_server;
    ev_timer kick;
    struct listener listener;
    struct line *connections; /* all of this worker */
    size_t connections_len;
    bool stopping; /* accepts no more; dials no more once `finished` */
    bool finished;
    bool hurried;         /* what is closing waits for nobody */
    uint8_t *send_buffer; /* LWS_PRE bytes, then send_bytes */
    size_t send_bytes;
    size_t batch_bytes; /* where a batch of several frames ends */
    struct ws_masks masks;
    struct spare spares[SPARES_MAX];
    char scratch[4][HEADER_BYTES_MAX + 1]; /* header values, for the time of a callback */
};

enum line_kind { LINE_DIALLED, LINE_ACCEPTED };

struct line {
    enum line_kind kind;
    struct transport_worker *owner;
    struct line *next, *prev;
    struct lws *wsi;
    struct ws *ws; /* NULL: none (any more) */
    bool creating; /* inside the call that makes the wsi */
    bool destroyed;
    bool handshaking;   /* the closing handshake has begun: lws's business */
    uint16_t peer_code; /* of the close frame that came */
    /* dialled */
    struct timer deadline; /* of the dial; goes on pushing until lws gives up */
    const char *failure;   /* why we ended the dial ourselves */
    char *authorization;
    /* accepted */
    struct request *request; /* being received, or not answered yet */
    struct answer *answer;   /* to be written with the next WRITEABLE */
    bool lingering;          /* refused: what still comes is thrown away */
    bool handed_up;          /* the current request */
    ev_io watch;             /* for the client's going while its request is unanswered */
    char remote[INET6_ADDRSTRLEN];
};

static inline struct transport_worker *transport_worker_of(struct worker *worker)
{
    return worker_get_local(worker, 0);
}

/* transport.c */

/** A zeroed connection in its worker's list, or NULL. */
struct line *line_new(struct transport_worker *owner, enum line_kind kind);
void line_free(struct line *connection);
/** Wipes and frees what was said to the other side about who we are. */
void line_forget_authorization(struct line *connection);
/** Has lws close it soon, never inside this call. */
void line_kill(struct line *connection);

/* ws.c: called by the dispatcher of lws's callbacks; each returns what lws expects. */
int ws_on_established(struct line *connection);
int ws_on_received(struct line *connection, char *data, size_t len);
int ws_on_pong(struct line *connection, const uint8_t *payload, size_t len);
int ws_on_writeable(struct line *connection);
int ws_on_peer_close(struct line *connection, const uint8_t *payload, size_t len);
int ws_on_handshake(struct line *connection, unsigned char **at, size_t room);
/** Reports closed(), once; harmless when it has been or when there is no WebSocket. */
void ws_report_closed(struct line *connection, const char *detail);
void ws_prepare(struct ws *ws, struct transport_worker *owner, enum ws_role role);

/* http_rules.c: what is wrong with a request's head. */
struct refusal {
    unsigned code; /* 0: nothing is wrong */
    const char *detail;
};
struct refusal http_rules_request(struct lws *wsi, size_t body_bytes_max,
                                  size_t *ret_content_length, bool *ret_has_length);
struct refusal http_rules_upgrade(struct lws *wsi, bool accept_websocket);
const char *http_method(struct lws *wsi);
const char *http_status_text(unsigned code);
/** Copies a header's value, "" when there is none or it is too long. */
char *http_header(struct lws *wsi, enum lws_token_indexes token, char *buffer, size_t len);
char *http_path(struct lws *wsi, char *buffer, size_t len);
char *http_query(struct lws *wsi, char *buffer, size_t len);

/* http_server.c */
int http_on_upgrade(struct line *connection);
int http_on_request(struct line *connection);
int http_on_body(struct line *connection, const char *data, size_t len);
int http_on_body_end(struct line *connection);
int http_on_writeable(struct line *connection);
/** The connection is going: gone() for an unanswered exchange, memory freed. */
void http_on_closed(struct line *connection);

/* listener.c */
parley_status listener_address(struct transport *transport, char *error, size_t error_len);
parley_status listener_probe(struct transport *transport, char *error, size_t error_len);
parley_status listener_start(struct transport_worker *owner);
void listener_stop(struct transport_worker *owner);

#endif
