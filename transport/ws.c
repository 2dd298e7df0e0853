/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSockets, dialled and accepted, from their first callback to closed().
 *
 * Outwards the owner fills one buffer with whole frames, which goes to lws as raw bytes:
 * lws keeps what the socket does not take and asks again only when all of it is gone.
 * Inwards a message that arrived in one piece is handed up where it lies; others are put
 * together in a buffer borrowed from the worker. Pongs and the closing handshake are lws's.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "transport/line.h"
#include "transport/url.h"

#define PARTIAL_BYTES_MIN 4096
#define SPARE_BYTES_MAX   (256 * 1024)
#define RETRY_NS          (100 * NS_PER_MS)
#define WRITES_MAX        2    /* in one WRITEABLE */
#define AUTHORITY_MAX     100  /* lws cuts the Host line at 128 bytes */
#define PATH_BYTES_MAX    2000 /* and the request line at 2048 */
#define AUTHORIZATION     "Authorization: "

static struct line *connection_of(const struct ws *ws)
{
    return ws->internal[0];
}

void ws_prepare(struct ws *ws, struct transport_worker *owner, enum ws_role role)
{
    memset(ws, 0, sizeof(*ws));
    ws->transport = owner->transport;
    ws->worker = owner->worker;
    ws->role = role;
    ws->received_ns = worker_now_ns(owner->worker);
}

/* ---- Buffers for messages in fragments ---- */

static void give_back(struct transport_worker *owner, char *data, size_t capacity)
{
    if (data == NULL)
        return;
    for (size_t i = 0; i < SPARES_MAX && capacity <= SPARE_BYTES_MAX; i++) {
        if (owner->spares[i].data == NULL) {
            owner->spares[i] = (struct spare){data, capacity};
            return;
        }
    }
    alloc_free(owner->transport->alloc, data);
}

static void drop_partial(struct ws *ws)
{
    give_back(transport_worker_of(ws->worker), ws->partial, ws->partial_capacity);
    ws->partial = NULL;
    ws->partial_len = 0;
    ws->partial_capacity = 0;
}

static void borrow(struct transport_worker *owner, struct ws *ws)
{
    for (size_t i = 0; i < SPARES_MAX; i++) {
        if (owner->spares[i].data != NULL) {
            ws->partial = owner->spares[i].data;
            ws->partial_capacity = owner->spares[i].capacity;
            owner->spares[i] = (struct spare){NULL, 0};
            return;
        }
    }
}

static bool reserve(struct transport_worker *owner, struct ws *ws, size_t len)
{
    size_t capacity;
    char *grown;

    if (ws->partial == NULL)
        borrow(owner, ws);
    if (len <= ws->partial_capacity)
        return true;
    capacity = ws->partial_capacity > 0 ? ws->partial_capacity : PARTIAL_BYTES_MIN;
    while (capacity < len)
        capacity *= 2;
    grown = alloc_resize(owner->transport->alloc, ws->partial, capacity);
    if (grown == NULL)
        return false;
    ws->partial = grown;
    ws->partial_capacity = capacity;
    return true;
}

/* ---- Receiving ---- */

static void deliver_partial(struct line *connection)
{
    struct transport_worker *owner = connection->owner;
    struct ws *ws = connection->ws;
    size_t len = ws->partial_len, capacity = ws->partial_capacity;
    char *data = ws->partial;

    /* The buffer leaves the ws first: received() may close it. */
    ws->partial = NULL;
    ws->partial_len = 0;
    ws->partial_capacity = 0;
    owner->transport->events.received(ws, data, len, ws->partial_binary);
    give_back(owner, data, capacity);
}

static void collect(struct line *connection, const char *data, size_t len, bool last)
{
    struct ws *ws = connection->ws;

    if (!reserve(connection->owner, ws, ws->partial_len + len + 1)) {
        drop_partial(ws);
        ws_close(ws, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "Out of memory");
        return;
    }
    if (len > 0)
        memcpy(ws->partial + ws->partial_len, data, len);
    ws->partial_len += len;
    if (last)
        deliver_partial(connection);
}

int ws_on_received(struct line *connection, char *data, size_t len)
{
    struct ws *ws = connection->ws;
    size_t max = connection->owner->transport->options.message_bytes_max;
    bool first, last;

    if (ws == NULL)
        return 0;
    ws->received_ns = worker_now_ns(ws->worker);
    if (ws->closing)
        return 0;
    first = lws_is_first_fragment(connection->wsi);
    last = lws_is_final_fragment(connection->wsi);
    if (first) {
        ws->partial_len = 0;
        ws->partial_binary = lws_frame_is_binary(connection->wsi);
    }
    if (ws->partial_len + len > max ||
        lws_remaining_packet_payload(connection->wsi) > max - ws->partial_len - len) {
        drop_partial(ws);
        ws_close(ws, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "Message too large");
        return 0;
    }
    if (first && last)
        connection->owner->transport->events.received(ws, data, len, ws->partial_binary);
    else
        collect(connection, data, len, last);
    return 0;
}

/* A pong that nobody asked for is allowed, and says only that the other side is there. */
int ws_on_pong(struct line *connection, const uint8_t *payload, size_t len)
{
    const struct transport_events *events = &connection->owner->transport->events;
    struct ws *ws = connection->ws;
    uint64_t number = 0;

    if (ws == NULL)
        return 0;
    ws->received_ns = worker_now_ns(ws->worker);
    for (size_t i = 0; len == sizeof(number) && i < len; i++)
        number = number << 8 | payload[i];
    if (number > 0 && number <= ws->pings && events->pong != NULL)
        events->pong(ws, number);
    return 0;
}

int ws_on_peer_close(struct line *connection, const uint8_t *payload, size_t len)
{
    connection->handshaking = true;
    if (len >= 2)
        connection->peer_code = (uint16_t)(payload[0] << 8 | payload[1]);
    return 0; /* lws answers and closes */
}

/* ---- Sending ---- */

/* Its number is the payload, which the pong repeats; of an empty pong lws says nothing. */
static void put_ping(struct ws_batch *batch, uint64_t number)
{
    size_t room;
    char *payload = ws_frame_begin(batch, sizeof(number), &room);

    assert(payload != NULL); /* the buffer is empty */
    for (size_t i = 0; i < sizeof(number); i++)
        payload[i] = (char)(number >> (56 - 8 * i));
    ws_frame_end(batch, WS_PING, sizeof(number));
}

static void fill(struct line *connection, struct ws_batch *batch)
{
    struct transport_worker *owner = connection->owner;
    struct ws *ws = connection->ws;

    *batch = (struct ws_batch){
        .buffer = owner->send_buffer + LWS_PRE,
        .capacity = owner->send_bytes,
        .limit = owner->batch_bytes,
        .masks = ws->role == WS_CLIENT ? &owner->masks : NULL,
    };
    if (ws->want_ping) {
        ws->want_ping = false;
        put_ping(batch, ++ws->pings);
        batch->frames = 0; /* count what fill() appends: the buffer has room for the ping */
    }
    if (!ws->want_write)
        return;
    /* Cleared first, so that what fill() asks for itself counts. */
    ws->want_write = false;
    owner->transport->events.fill(ws, batch);
    assert(batch->payload == 0);
    if (batch->frames > 0)
        ws->want_write = true;
}

/* The close frame goes out by lws's own hand, which then waits for the answer. */
static int start_closing(struct line *connection)
{
    struct ws *ws = connection->ws;

    connection->handshaking = true;
    lws_close_reason(ws->wsi, (enum lws_close_status)ws->close_code,
                     (unsigned char *)ws->close_reason, strlen(ws->close_reason));
    return -1;
}

int ws_on_writeable(struct line *connection)
{
    struct ws *ws = connection->ws;
    struct ws_batch batch;

    if (ws == NULL || !ws->open || connection->handshaking)
        return 0; /* lws still asks while it waits for the other close frame */
    if (lws_partial_buffered(connection->wsi)) { /* not before the last write is out */
        lws_callback_on_writable(connection->wsi);
        return 0;
    }
    if (ws->closing)
        return start_closing(connection);
    for (int writes = 0; writes < WRITES_MAX && (ws->want_write || ws->want_ping); writes++) {
        fill(connection, &batch);
        if (batch.used == 0)
            break;
        if (lws_write(connection->wsi, batch.buffer, batch.used, LWS_WRITE_RAW) !=
            (int)batch.used)
            return -1;
        ws->bytes_out += batch.used;
        if (ws->closing || lws_partial_buffered(connection->wsi))
            break;
    }
    if (ws->want_write || ws->want_ping || ws->closing)
        lws_callback_on_writable(connection->wsi);
    return 0;
}

void ws_want_write(struct ws *ws)
{
    if (ws->want_write)
        return;
    ws->want_write = true;
    if (ws->open && !ws->closing)
        lws_callback_on_writable(ws->wsi);
}

void ws_read(struct ws *ws, bool on)
{
    if (ws->open)
        lws_rx_flow_control(ws->wsi, on ? 1 : 0);
}

uint64_t ws_ping(struct ws *ws)
{
    ws->want_ping = true;
    if (ws->open && !ws->closing)
        lws_callback_on_writable(ws->wsi);
    return ws->pings + 1;
}

/* ---- Opening ---- */

int ws_on_handshake(struct line *connection, unsigned char **at, size_t room)
{
    const char *value = connection->authorization;

    /* Never refuse here: a non-zero result makes lws free twice. */
    if (value != NULL && strlen(AUTHORIZATION) + strlen(value) + 3 < room)
        *at += sprintf((char *)*at, AUTHORIZATION "%s\r\n", value);
    return 0;
}

int ws_on_established(struct line *connection)
{
    struct ws *ws = connection->ws;

    if (ws == NULL || (ws->closing && connection->kind == LINE_DIALLED))
        return -1;
    if (connection->kind == LINE_DIALLED)
        worker_timer_stop(ws->worker, &connection->deadline);
    line_forget_authorization(connection);
    ws->wsi = connection->wsi;
    ws->open = true;
    ws->received_ns = worker_now_ns(ws->worker);
    ws->transport->events.opened(ws);
    if (ws->want_write || ws->want_ping || ws->closing)
        lws_callback_on_writable(connection->wsi);
    return 0;
}

/* The dial took too long, or was abandoned. lws may set its own timeout over ours while
 * the dial moves on, so this repeats until closed(). */
static void on_deadline(struct timer *timer)
{
    struct line *connection = (struct line *)((char *)timer - offsetof(struct line, deadline));
    struct worker *worker = connection->owner->worker;

    if (connection->failure == NULL)
        connection->failure = "timed out";
    line_kill(connection);
    worker_timer_start(worker, timer, worker_now_ns(worker) + RETRY_NS);
}

static struct lws *dial(struct line *connection, const struct ws_target *target,
                        const char *host)
{
    struct lws_client_connect_info info = {
        .context = connection->owner->context,
        .vhost = connection->owner->vhost_client,
        .address = target->address,
        .port = target->port,
        .path = target->path,
        .host = host,
        .alpn = "http/1.1",
        .local_protocol_name = "parley",
        .ietf_version_or_minus_one = -1,
        .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (target->tls ? LCCSCF_USE_SSL : 0),
        .opaque_user_data = connection,
        .pwsi = &connection->wsi,
    };
    static const lws_retry_bo_t no_pings;

    info.retry_and_idle_policy = &no_pings;
    return lws_client_connect_via_info(&info);
}

/* lws may fail inside the call with or without a callback, and with or without having
 * freed its handle; `creating` makes the callbacks silent, and this sorts out the rest. */
static bool start_dial(struct line *connection, const struct ws_target *target,
                       const char *host)
{
    struct lws *wsi;

    connection->creating = true;
    wsi = dial(connection, target, host);
    connection->creating = false;
    if (wsi != NULL && !connection->destroyed && connection->ws != NULL) {
        connection->wsi = wsi;
        return true;
    }
    connection->ws = NULL;
    if (wsi == NULL || connection->destroyed)
        line_free(connection);
    return false;
}

static bool target_fits(const struct ws_target *target)
{
    return strlen(target->path) <= PATH_BYTES_MAX &&
           (target->authorization == NULL ||
            strlen(target->authorization) <= HEADER_BYTES_MAX);
}

parley_status ws_connect(struct transport *transport, struct worker *worker, struct ws *ws,
                         const struct ws_target *target)
{
    struct transport_worker *owner = transport_worker_of(worker);
    struct line *connection;
    char host[AUTHORITY_MAX];

    assert(ws->wsi == NULL && owner->transport == transport);
    ws_prepare(ws, owner, WS_CLIENT);
    if (owner->finished || !target_fits(target) ||
        url_authority(target->host, target->port, target->tls, host, sizeof(host)) == 0)
        return PARLEY_EUNREACHABLE;
    connection = line_new(owner, LINE_DIALLED);
    if (connection == NULL)
        return PARLEY_ENOMEM;
    timer_init(&connection->deadline, on_deadline);
    if (target->authorization != NULL) {
        connection->authorization = alloc_string(transport->alloc, target->authorization);
        if (connection->authorization == NULL) {
            line_free(connection);
            return PARLEY_ENOMEM;
        }
    }
    connection->ws = ws;
    if (!start_dial(connection, target, host))
        return PARLEY_EUNREACHABLE;
    ws->wsi = connection->wsi;
    ws->internal[0] = connection;
    worker_timer_start(worker, &connection->deadline,
                       worker_now_ns(worker) + target->timeout_ms * NS_PER_MS);
    return PARLEY_OK;
}

/* ---- Closing ---- */

void ws_close(struct ws *ws, uint16_t code, const char *reason)
{
    struct line *connection;

    if (ws->wsi == NULL || ws->closing)
        return;
    connection = connection_of(ws);
    ws->closing = true;
    ws->close_code = code;
    snprintf(ws->close_reason, sizeof(ws->close_reason), "%s", reason != NULL ? reason : "");
    if (ws->open && (code == 0 || connection->owner->hurried)) {
        line_kill(connection);
    } else if (ws->open) {
        lws_set_timeout(ws->wsi, PENDING_TIMEOUT_CLOSE_SEND, CLOSE_SECONDS_MAX);
        lws_rx_flow_control(ws->wsi, 1); /* to read the answer, messages held or not */
        lws_callback_on_writable(ws->wsi);
    } else if (connection->kind == LINE_DIALLED) {
        connection->failure = "abandoned";
        line_kill(connection);
        worker_timer_start(ws->worker, &connection->deadline,
                           worker_now_ns(ws->worker) + RETRY_NS);
    }
}

void ws_report_closed(struct line *connection, const char *detail)
{
    struct ws *ws = connection->ws;
    struct ws_closed why;

    if (ws == NULL)
        return;
    connection->ws = NULL;
    if (connection->creating && connection->kind == LINE_DIALLED)
        return; /* ws_connect() says so itself */
    why = (struct ws_closed){
        .was_open = ws->open,
        .code = connection->peer_code,
        .http_status = ws->open || connection->kind == LINE_ACCEPTED
                           ? 0
                           : lws_http_client_http_response(connection->wsi),
        .detail = connection->failure != NULL ? connection->failure : detail,
    };
    if (connection->kind == LINE_DIALLED)
        worker_timer_stop(ws->worker, &connection->deadline);
    drop_partial(ws);
    ws->wsi = NULL;
    ws->internal[0] = NULL;
    ws->open = false;
    connection->owner->transport->events.closed(ws, &why);
}
