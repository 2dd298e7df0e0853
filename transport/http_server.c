/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP served through lws: a request is checked, its body collected, handed up, and its
 * answer written when the socket takes it. An upgrade that passes the checks is offered to
 * the owner and left to lws and ws.c.
 *
 * While an answer is awaited lws's reading is switched off (it would spin on what the
 * client sends ahead), so a watcher of our own looks for the client's going. A refused
 * request may have more to come: closing at once would reset the connection before the
 * refusal is read, so what follows is read and thrown away for a moment.
 */
#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "transport/line.h"

#define BODY_BYTES_MIN 4096
#define HEAD_BYTES_MAX 1024 /* of an answer */
#define DISCARDS_MAX   16   /* reads in a row while lingering */
#define PARLEY_SESSION "parley-session:"
#define CONTENT_TYPE   "application/json"
#define CONTINUE_TEXT  "HTTP/1.1 100 Continue\r\n\r\n"

struct request {
    struct http_exchange exchange; /* first: what the upper layer holds */
    struct line *connection;
    size_t expected; /* bytes of body */
    size_t capacity;
    bool head;       /* the answer has no body */
    bool keep_alive; /* the client's wish */
    char empty[1];   /* the body of a request without one */
    char strings[];
};

struct answer {
    size_t len;
    bool close;
    uint8_t bytes[]; /* LWS_PRE of room, then head and body */
};

/* ---- Watching a silent connection ---- */

static bool gone_or_drained(struct line *connection, int fd)
{
    char discarded[4096];
    ssize_t got = 1;

    if (!connection->lingering)
        return recv(fd, discarded, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
    for (int n = 0; n < DISCARDS_MAX && got > 0; n++)
        got = recv(fd, discarded, sizeof(discarded), MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static void on_watch(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct line *connection = watcher->data;

    (void)events;
    if (gone_or_drained(connection, watcher->fd)) {
        ev_io_stop(loop, watcher);
        line_kill(connection);
    } else if (!connection->lingering) {
        ev_io_stop(loop, watcher); /* the next request: its turn comes after the answer */
    }
}

static void start_watch(struct line *connection)
{
    lws_rx_flow_control(connection->wsi, 0);
    ev_io_init(&connection->watch, on_watch, lws_get_socket_fd(connection->wsi), EV_READ);
    connection->watch.data = connection;
    ev_io_start(worker_loop(connection->owner->worker), &connection->watch);
}

static void stop_watch(struct line *connection)
{
    if (ev_is_active(&connection->watch))
        ev_io_stop(worker_loop(connection->owner->worker), &connection->watch);
}

/* ---- Answers ---- */

static int put_head(const struct transport *transport, const struct http_reply *reply,
                    bool keep_alive, char *head, size_t len)
{
    const char *type = reply->content_type != NULL ? reply->content_type : CONTENT_TYPE;
    const char *header = transport->options.parley_header;
    char retry[40] = "";

    if (reply->retry_after_s > 0)
        snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", reply->retry_after_s);
    return snprintf(
        head, len,
        "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
        "Connection: %s\r\n%s%s%s%s%s%s%s%s%s%s%s\r\n",
        reply->code, http_status_text(reply->code), type, reply->body_len,
        keep_alive ? "keep-alive" : "close", header != NULL ? "Parley: " : "",
        header != NULL ? header : "", header != NULL ? "\r\n" : "",
        reply->allow != NULL ? "Allow: " : "", reply->allow != NULL ? reply->allow : "",
        reply->allow != NULL ? "\r\n" : "",
        reply->authenticate != NULL ? "WWW-Authenticate: " : "",
        reply->authenticate != NULL ? reply->authenticate : "",
        reply->authenticate != NULL ? "\r\n" : "", retry,
        reply->code == 426 ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" : "");
}

static struct answer *answer_new(const struct transport *transport,
                                 const struct http_reply *reply, bool head_only,
                                 bool keep_alive)
{
    size_t body_len = head_only ? 0 : reply->body_len;
    char head[HEAD_BYTES_MAX];
    int head_len = put_head(transport, reply, keep_alive, head, sizeof(head));
    struct answer *answer;

    assert(head_len > 0 && (size_t)head_len < sizeof(head));
    answer =
        alloc_bytes(transport->alloc, sizeof(*answer) + LWS_PRE + (size_t)head_len + body_len);
    if (answer == NULL)
        return NULL;
    answer->len = (size_t)head_len + body_len;
    answer->close = !keep_alive;
    memcpy(answer->bytes + LWS_PRE, head, (size_t)head_len);
    if (body_len > 0)
        memcpy(answer->bytes + LWS_PRE + head_len, reply->body, body_len);
    return answer;
}

static int write_answer(struct line *connection, struct answer *answer)
{
    int written =
        lws_write(connection->wsi, answer->bytes + LWS_PRE, answer->len, LWS_WRITE_HTTP);

    alloc_free(connection->owner->transport->alloc, answer);
    return written;
}

/* Writes a refusal at once. @return whether it could */
static bool write_refusal(struct line *connection, struct refusal refusal)
{
    char body[128];
    struct http_reply reply = {.code = refusal.code, .body = body, .close = true};
    struct answer *answer;

    reply.body_len =
        (size_t)snprintf(body, sizeof(body), "{\"detail\":\"%s\"}", refusal.detail);
    answer = answer_new(connection->owner->transport, &reply, false, false);
    return answer != NULL && write_answer(connection, answer) >= 0;
}

static int linger(struct line *connection)
{
    if (lws_partial_buffered(connection->wsi))
        return -1; /* lws writes what it has kept, then closes */
    connection->lingering = true;
    shutdown(lws_get_socket_fd(connection->wsi), SHUT_WR);
    start_watch(connection);
    lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LINGER_SECONDS_MAX);
    return 0;
}

/* What the client sent ahead waits in lws's buffer, and lws 4.1.6 takes that buffer's start
 * for the body of a request found further on in it: wrong bytes, then an endless loop. So
 * sending ahead ends the connection after the answer, and the client asks again. The only
 * way to see that buffer is to ask whether any of this worker's connections has one. */
static bool sent_ahead(const struct line *connection)
{
    return lws_service_adjust_timeout(connection->owner->context, 1, 0) == 0;
}

int http_on_writeable(struct line *connection)
{
    struct answer *answer = connection->answer;
    bool last;

    if (answer == NULL)
        return 0;
    connection->answer = NULL;
    last = answer->close || connection->owner->stopping;
    if (write_answer(connection, answer) < 0 || last)
        return -1;
    if (sent_ahead(connection))
        return linger(connection);
    return lws_http_transaction_completed(connection->wsi) ? -1 : 0;
}

static int refuse(struct line *connection, struct refusal refusal)
{
    return write_refusal(connection, refusal) ? linger(connection) : -1;
}

/* ---- Requests ---- */

static void wipe(const char *text)
{
    OPENSSL_cleanse((char *)(uintptr_t)text, strlen(text));
}

/* The buffers of query and Authorization. */
static void forget_tokens(const struct transport_worker *owner)
{
    wipe(owner->scratch[0]);
    wipe(owner->scratch[1]);
}

static char *store(char **at, const char *text)
{
    char *start = *at;
    size_t size = strlen(text) + 1;

    memcpy(start, text, size);
    *at += size;
    return start;
}

static bool wants_keep_alive(struct lws *wsi)
{
    char version[16], connection[32];

    http_header(wsi, WSI_TOKEN_HTTP, version, sizeof(version));
    http_header(wsi, WSI_TOKEN_CONNECTION, connection, sizeof(connection));
    if (strcasecmp(connection, "close") == 0)
        return false;
    return strcmp(version, "HTTP/1.1") == 0 || strcasecmp(connection, "keep-alive") == 0;
}

/* Copies what of the head is handed up: lws forgets it when its callback returns. */
static struct request *request_new(struct line *connection)
{
    struct transport_worker *owner = connection->owner;
    struct lws *wsi = connection->wsi;
    char *path = http_path(wsi, owner->scratch[3], HEADER_BYTES_MAX);
    char *query = http_query(wsi, owner->scratch[0], HEADER_BYTES_MAX);
    char *authorization =
        http_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, owner->scratch[1], HEADER_BYTES_MAX);
    char *session = owner->scratch[2];
    struct request *request;
    char *at;

    if (lws_hdr_custom_copy(wsi, session, HEADER_BYTES_MAX, PARLEY_SESSION,
                            (int)strlen(PARLEY_SESSION)) < 0)
        session[0] = '\0';
    request =
        alloc_zeroed(owner->transport->alloc, sizeof(*request) + strlen(path) + strlen(query) +
                                                  strlen(authorization) + strlen(session) + 4);
    if (request == NULL)
        return NULL;
    at = request->strings;
    request->connection = connection;
    request->keep_alive = wants_keep_alive(wsi);
    request->exchange = (struct http_exchange){
        .worker = owner->worker,
        .method = http_method(wsi),
        .path = store(&at, path),
        .query = store(&at, query),
        .authorization = store(&at, authorization),
        .parley_session = store(&at, session),
        .remote = connection->remote,
        .body = request->empty,
    };
    request->head = strcmp(request->exchange.method, "HEAD") == 0;
    forget_tokens(owner);
    return request;
}

static void request_free(struct request *request)
{
    const struct alloc *alloc = request->connection->owner->transport->alloc;

    if (request->exchange.body != request->empty)
        alloc_free(alloc, request->exchange.body);
    wipe(request->exchange.query); /* a token stands in one of these */
    wipe(request->exchange.authorization);
    alloc_free(alloc, request);
}

static void hand_up(struct line *connection)
{
    struct transport *transport = connection->owner->transport;

    connection->handed_up = true;
    lws_set_timeout(connection->wsi, NO_PENDING_TIMEOUT, 0); /* the answer is ours to give */
    transport->events.request(&connection->request->exchange, transport->events.user);
    if (connection->request != NULL)
        start_watch(connection);
}

/* lws ignores the expectation, and a client that has one may wait a second for it. */
static void answer_expectation(struct line *connection)
{
    uint8_t bytes[LWS_PRE + sizeof(CONTINUE_TEXT)];

    if (lws_hdr_total_length(connection->wsi, WSI_TOKEN_HTTP_EXPECT) == 0)
        return;
    memcpy(bytes + LWS_PRE, CONTINUE_TEXT, strlen(CONTINUE_TEXT));
    if (lws_write(connection->wsi, bytes + LWS_PRE, strlen(CONTINUE_TEXT), LWS_WRITE_HTTP) < 0)
        log_debug(connection->owner->transport->log, "client gone before its body");
}

int http_on_request(struct line *connection)
{
    struct transport_worker *owner = connection->owner;
    struct lws *wsi = lws_get_network_wsi(connection->wsi);
    struct request *request;
    struct refusal refusal;
    size_t length;
    bool has_length;

    refusal = http_rules_request(wsi, owner->transport->body_bytes_max, &length, &has_length);
    if (refusal.code != 0)
        return refuse(connection, refusal);
    assert(connection->request == NULL);
    request = owner->stopping ? NULL : request_new(connection);
    if (request == NULL)
        return refuse(connection, (struct refusal){503, "Out of memory or closing"});
    connection->request = request;
    connection->handed_up = false;
    request->expected = length;
    if (length > 0)
        answer_expectation(connection);
    else if (lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) == 0) {
        /* Without a length lws would wait for a body where the method may have one. */
        if (!has_length && (lws_hdr_total_length(wsi, WSI_TOKEN_PUT_URI) > 0 ||
                            lws_hdr_total_length(wsi, WSI_TOKEN_PATCH_URI) > 0))
            request->keep_alive = false;
        hand_up(connection);
    }
    return 0;
}

/* Memory is taken as the body arrives, never by what the client announced. */
static bool reserve(struct request *request, size_t len)
{
    const struct alloc *alloc = request->connection->owner->transport->alloc;
    size_t capacity = request->capacity > 0 ? request->capacity : BODY_BYTES_MIN;
    char *body = request->exchange.body != request->empty ? request->exchange.body : NULL;

    if (len <= request->capacity)
        return true;
    while (capacity < len)
        capacity *= 2;
    body = alloc_resize(alloc, body, capacity);
    if (body == NULL)
        return false;
    request->exchange.body = body;
    request->capacity = capacity;
    return true;
}

int http_on_body(struct line *connection, const char *data, size_t len)
{
    struct request *request = connection->request;
    size_t have;

    if (connection->lingering || request == NULL || connection->handed_up || len == 0)
        return 0;
    have = request->exchange.body_len;
    assert(len <= request->expected - have);
    if (!reserve(request, have + len + 1))
        return -1;
    memcpy(request->exchange.body + have, data, len);
    request->exchange.body_len = have + len;
    request->exchange.body[have + len] = '\0';
    return 0;
}

/* lws says so again for every byte the client sends ahead. */
int http_on_body_end(struct line *connection)
{
    if (!connection->lingering && connection->request != NULL && !connection->handed_up)
        hand_up(connection);
    return 0;
}

void http_respond(struct http_exchange *exchange, const struct http_reply *reply)
{
    struct request *request = (struct request *)exchange;
    struct line *connection = request->connection;
    struct answer *answer = answer_new(connection->owner->transport, reply, request->head,
                                       request->keep_alive && !reply->close);

    assert(connection->request == request && connection->handed_up);
    stop_watch(connection);
    connection->request = NULL;
    request_free(request);
    if (answer == NULL) {
        line_kill(connection);
        return;
    }
    connection->answer = answer;
    lws_rx_flow_control(connection->wsi, 1); /* lws serves no WRITEABLE while it is off */
    lws_callback_on_writable(connection->wsi);
}

void http_on_closed(struct line *connection)
{
    struct transport *transport = connection->owner->transport;
    struct request *request = connection->request;

    stop_watch(connection);
    connection->request = NULL;
    if (request != NULL) {
        if (connection->handed_up)
            transport->events.gone(&request->exchange, transport->events.user);
        request_free(request);
    }
    alloc_free(transport->alloc, connection->answer);
    connection->answer = NULL;
}

/* ---- Upgrades ---- */

static struct refusal offer(struct line *connection)
{
    struct transport_worker *owner = connection->owner;
    struct lws *wsi = connection->wsi;
    struct ws_upgrade upgrade = {
        .worker = owner->worker,
        .query = http_query(wsi, owner->scratch[0], HEADER_BYTES_MAX),
        .authorization = http_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, owner->scratch[1],
                                     HEADER_BYTES_MAX),
        .remote = connection->remote,
    };
    unsigned code = 503;
    struct ws *ws =
        owner->transport->events.accept(&upgrade, &code, owner->transport->events.user);

    forget_tokens(owner);
    if (ws == NULL)
        return (struct refusal){code, http_status_text(code)};
    ws_prepare(ws, owner, WS_SERVER);
    ws->wsi = wsi;
    ws->internal[0] = connection;
    connection->ws = ws;
    return (struct refusal){0, NULL};
}

/* lws 4.1.6 gets here for a foreign upgrade too, after it has answered and thrown the
 * headers away (CVE-2025-11677): without an Upgrade header there is nothing to look at. */
int http_on_upgrade(struct line *connection)
{
    struct transport_worker *owner = connection->owner;
    struct refusal refusal;

    if (lws_hdr_total_length(connection->wsi, WSI_TOKEN_UPGRADE) <= 0)
        return -1;
    refusal = http_rules_upgrade(connection->wsi, owner->transport->options.accept_websocket);
    if (refusal.code == 0 && owner->stopping)
        refusal = (struct refusal){503, "Closing"};
    if (refusal.code == 0)
        refusal = offer(connection);
    if (refusal.code == 0)
        return 0;
    write_refusal(connection, refusal);
    return -1;
}
