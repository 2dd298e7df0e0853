/* SPDX-License-Identifier: Apache-2.0
 *
 * For the transport's tests: a runtime's worker pool with a transport on it, WebSocket ends
 * that can be told what to do, and a plain blocking socket to speak to them by hand.
 *
 * What lws owns may only be touched on its worker: host_on() runs a function there and
 * waits for it.
 */
#ifndef PARLEY_TEST_TRANSPORT_HOST_H
#define PARLEY_TEST_TRANSPORT_HOST_H

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/actor.h"
#include "test/check.h"
#include "transport/transport.h"

#define ENDS_MAX    64
#define BYTES_MAX   (4 * 1024 * 1024)
#define MILLISECOND 1000000

typedef _Atomic(uint64_t) counter;

struct end;

/* A WebSocket of a test, dialled or accepted. Written on its worker, read by the test once
 * a counter says so. */
struct end {
    struct ws ws; /* first */
    struct host *host;
    counter opened, closed, received, received_bytes, filled;
    counter pongs, answered; /* the last one's number */
    struct ws_closed why;
    char detail[128];
    char last[256]; /* the start of the last message */
    size_t last_len;
    bool last_binary;
    void (*on_opened)(struct end *end);
    void (*on_received)(struct end *end, char *data, size_t len, bool binary);
    void (*on_fill)(struct end *end, struct ws_batch *batch);
    void (*on_closed)(struct end *end);
    /* for send_messages() and echo() */
    uint64_t to_send, sent;
    size_t message_len;
    char *queue; /* lengths and bytes still to be echoed */
    size_t queue_from, queue_to;
};

struct host {
    struct alloc alloc;
    struct log log;
    struct transport *transport;
    struct worker_pool *pool;
    struct actor actors[4];
    struct transport_options options;
    uint32_t workers;
    struct end ends[ENDS_MAX]; /* accepted */
    counter accepted, requests, gone;
    /* may change while the node runs */
    _Atomic(unsigned) refuse;                 /* answer accept() with this status */
    void (*_Atomic prepare)(struct end *end); /* an accepted end's behaviour */
    void (*request)(struct host *host, struct http_exchange *exchange);
    char query[256], authorization[256], remote[64];
    struct http_exchange *pending; /* of request_later() */
    bool keep_pending;
    counter by_worker[4];
};

/* ---- Events ---- */

static inline void on_host_opened(struct ws *ws)
{
    struct end *end = (struct end *)ws;

    if (end->on_opened != NULL)
        end->on_opened(end);
    atomic_fetch_add(&end->opened, 1);
}

static inline void on_host_received(struct ws *ws, char *data, size_t len, bool binary)
{
    struct end *end = (struct end *)ws;
    size_t kept = len < sizeof(end->last) - 1 ? len : sizeof(end->last) - 1;

    memcpy(end->last, data, kept);
    end->last[kept] = '\0';
    end->last_len = len;
    end->last_binary = binary;
    if (end->on_received != NULL)
        end->on_received(end, data, len, binary);
    atomic_fetch_add(&end->received_bytes, len);
    atomic_fetch_add(&end->received, 1);
}

static inline void on_host_pong(struct ws *ws, uint64_t number)
{
    struct end *end = (struct end *)ws;

    atomic_store(&end->answered, number);
    atomic_fetch_add(&end->pongs, 1);
}

static inline void on_host_fill(struct ws *ws, struct ws_batch *batch)
{
    struct end *end = (struct end *)ws;

    if (end->on_fill != NULL)
        end->on_fill(end, batch);
    atomic_fetch_add(&end->filled, 1);
}

static inline void on_host_closed(struct ws *ws, const struct ws_closed *why)
{
    struct end *end = (struct end *)ws;

    end->why = *why;
    snprintf(end->detail, sizeof(end->detail), "%s", why->detail);
    free(end->queue);
    end->queue = NULL;
    if (end->on_closed != NULL)
        end->on_closed(end);
    atomic_fetch_add(&end->closed, 1);
}

static inline struct ws *on_host_accept(const struct ws_upgrade *upgrade,
                                        unsigned *ret_refusal, void *user)
{
    struct host *host = user;
    uint64_t index = atomic_load(&host->accepted);

    snprintf(host->query, sizeof(host->query), "%s", upgrade->query);
    snprintf(host->authorization, sizeof(host->authorization), "%s", upgrade->authorization);
    snprintf(host->remote, sizeof(host->remote), "%s", upgrade->remote);
    if (host->refuse != 0 || index >= ENDS_MAX) {
        *ret_refusal = host->refuse != 0 ? host->refuse : 503;
        return NULL;
    }
    host->ends[index].host = host;
    void (*prepare)(struct end * end) = host->prepare;

    if (prepare != NULL)
        prepare(&host->ends[index]);
    atomic_fetch_add(&host->by_worker[worker_index(upgrade->worker)], 1);
    atomic_fetch_add(&host->accepted, 1);
    return &host->ends[index].ws;
}

/* Answers with what it got. */
static inline void request_echo(struct host *host, struct http_exchange *exchange)
{
    static const char format[] = "%s %s ?%s auth=%s session=%s from=%s body=%s";
    size_t size = strlen(exchange->body) + strlen(exchange->query) + 1024;
    char *text = malloc(size);
    int len = snprintf(text, size, format, exchange->method, exchange->path, exchange->query,
                       exchange->authorization, exchange->parley_session, exchange->remote,
                       exchange->body);
    struct http_reply reply = {
        .code = 200, .content_type = "text/plain", .body = text, .body_len = (size_t)len};

    (void)host;
    http_respond(exchange, &reply);
    free(text);
}

static inline void on_host_request(struct http_exchange *exchange, void *user)
{
    struct host *host = user;

    if (host->keep_pending)
        host->pending = exchange;
    else if (host->request != NULL)
        host->request(host, exchange);
    else
        request_echo(host, exchange);
    atomic_fetch_add(&host->requests, 1);
}

static inline void on_host_gone(struct http_exchange *exchange, void *user)
{
    struct host *host = user;

    if (host->pending == exchange)
        host->pending = NULL;
    atomic_fetch_add(&host->gone, 1);
}

/* ---- A host ---- */

struct errand {
    struct mailbox_node link; /* first */
    void (*run)(struct worker *worker, void *argument);
    void *argument;
    counter done;
};

static inline void run_errand(struct actor *actor, struct mailbox_node *link)
{
    struct errand *errand = (struct errand *)link;

    errand->run(actor->worker, errand->argument);
    atomic_store(&errand->done, 1);
}

static inline void host_on(struct host *host, uint32_t worker,
                           void (*run)(struct worker *worker, void *argument), void *argument)
{
    struct errand errand = {.run = run, .argument = argument};

    actor_post_control(&host->actors[worker], &errand.link);
    if (!CHECK(check_wait(&errand.done, 1)))
        abort(); /* the errand is on this stack */
}

static inline void on_retired(struct actor *actor)
{
    (void)actor; /* its memory is the host's */
}

static inline void retire_here(struct worker *worker, void *argument)
{
    struct host *host = argument;

    actor_retire(&host->actors[worker_index(worker)]);
}

static inline parley_status host_hook_init(struct worker *worker, void *user)
{
    return transport_worker_init(((struct host *)user)->transport, worker);
}

static inline void host_hook_fini(struct worker *worker, void *user)
{
    transport_worker_fini(((struct host *)user)->transport, worker);
}

/* A listening host's usual options. */
static inline void host_init(struct host *host, uint32_t workers)
{
    memset(host, 0, sizeof(*host));
    alloc_init(&host->alloc, NULL);
    host->workers = workers;
    host->options = (struct transport_options){
        .listen_host = "127.0.0.1",
        .accept_websocket = true,
        .message_bytes_max = 1024 * 1024,
        .batch_bytes_max = 64 * 1024,
        .connections_max = 100,
        .keepalive_s = 75,
    };
}

static inline parley_status host_open(struct host *host, char *error, size_t error_len)
{
    static const struct actor_class class = {.control = run_errand, .retired = on_retired};
    const struct transport_events events = {on_host_opened,  on_host_received, on_host_pong,
                                            on_host_fill,    on_host_closed,   on_host_accept,
                                            on_host_request, on_host_gone,     host};
    struct worker_pool_options options = {
        .workers = host->workers,
        .run_messages_max = 64,
        .run_time_us = 1000,
        .hooks = {.init = host_hook_init, .fini = host_hook_fini, .user = host},
    };
    parley_status status = transport_new(&host->alloc, &host->log, &host->options, &events,
                                         error, error_len, &host->transport);

    if (status != PARLEY_OK)
        return status;
    status = worker_pool_start(&host->alloc, &host->log, &options, &host->pool);
    if (status != PARLEY_OK) {
        transport_free(host->transport);
        return status;
    }
    for (uint32_t i = 0; i < host->workers; i++)
        actor_init(&host->actors[i], &class, worker_pool_get(host->pool, i));
    return PARLEY_OK;
}

static inline void host_start(struct host *host, uint32_t workers)
{
    host_init(host, workers);
    if (!CHECK_STATUS(host_open(host, NULL, 0), OK))
        abort();
}

static inline void host_stop(struct host *host)
{
    for (uint32_t i = 0; i < host->workers; i++)
        host_on(host, i, retire_here, host);
    worker_pool_stop(host->pool);
    transport_free(host->transport);
    for (size_t i = 0; i < ENDS_MAX; i++)
        free(host->ends[i].queue);
}

static inline uint16_t host_port(const struct host *host)
{
    return transport_port(host->transport);
}

/* ---- What ends can be told to do ---- */

struct dial {
    struct end *end;
    struct ws_target target;
    parley_status status;
    bool closed_inside;
};

static inline void dial_here(struct worker *worker, void *argument)
{
    struct dial *dial = argument;

    dial->status =
        ws_connect(dial->end->host->transport, worker, &dial->end->ws, &dial->target);
    dial->closed_inside = atomic_load(&dial->end->closed) > 0;
}

static inline struct ws_target target_of(uint16_t port)
{
    return (struct ws_target){.address = "127.0.0.1",
                              .port = port,
                              .host = "127.0.0.1",
                              .path = WS_PATH "?session_id=abc",
                              .timeout_ms = 20000};
}

static inline parley_status end_dial(struct host *host, struct end *end,
                                     const struct ws_target *target)
{
    struct dial dial = {.end = end, .target = *target};

    end->host = host;
    host_on(host, 0, dial_here, &dial);
    CHECK(!dial.closed_inside);
    return dial.status;
}

/* Dials and waits until it is open. */
static inline bool end_connect(struct host *host, struct end *end, uint16_t port)
{
    struct ws_target target = target_of(port);

    return CHECK_STATUS(end_dial(host, end, &target), OK) &&
           CHECK(check_wait(&end->opened, 1));
}

struct closing {
    struct end *end;
    uint16_t code;
    const char *reason;
};

static inline void close_here(struct worker *worker, void *argument)
{
    struct closing *closing = argument;
    uint64_t before = atomic_load(&closing->end->closed);

    (void)worker;
    ws_close(&closing->end->ws, closing->code, closing->reason);
    CHECK_U64(atomic_load(&closing->end->closed), before); /* never inside ws_close() */
}

static inline void end_close(struct end *end, uint16_t code, const char *reason)
{
    struct closing closing = {end, code, reason};

    host_on(end->host, worker_index(end->ws.worker), close_here, &closing);
}

static inline void want_write_here(struct worker *worker, void *argument)
{
    (void)worker;
    ws_want_write(&((struct end *)argument)->ws);
}

static inline void end_write(struct end *end)
{
    host_on(end->host, worker_index(end->ws.worker), want_write_here, end);
}

/* Appends one frame if there is room. */
static inline bool put_frame(struct ws_batch *batch, enum ws_opcode opcode, const char *data,
                             size_t len)
{
    size_t room;
    char *at = ws_frame_begin(batch, len, &room);

    if (at == NULL)
        return false;
    memcpy(at, data, len);
    ws_frame_end(batch, opcode, len);
    return true;
}

/* on_fill: numbered messages of message_len bytes until to_send have gone. */
static inline void send_numbered(struct end *end, struct ws_batch *batch)
{
    while (end->sent < end->to_send) {
        size_t room;
        char *at = ws_frame_begin(batch, end->message_len, &room);

        if (at == NULL)
            return;
        memset(at, 'a' + (int)(end->sent % 26), end->message_len);
        memcpy(at, &end->sent, end->message_len < 8 ? end->message_len : 8);
        ws_frame_end(batch, WS_BINARY, end->message_len);
        end->sent++;
    }
}

/* on_received: keeps a copy to be sent back by echo_fill(). */
static inline void echo_received(struct end *end, char *data, size_t len, bool binary)
{
    size_t need = sizeof(len) + 1 + len;

    if (end->queue == NULL)
        end->queue = malloc(BYTES_MAX);
    if (end->queue_from > 0 && end->queue_to + need > BYTES_MAX) {
        memmove(end->queue, end->queue + end->queue_from, end->queue_to - end->queue_from);
        end->queue_to -= end->queue_from;
        end->queue_from = 0;
    }
    if (!CHECK(end->queue_to + need <= BYTES_MAX))
        return;
    memcpy(end->queue + end->queue_to, &len, sizeof(len));
    end->queue[end->queue_to + sizeof(len)] = binary;
    memcpy(end->queue + end->queue_to + sizeof(len) + 1, data, len);
    end->queue_to += need;
    ws_want_write(&end->ws);
}

static inline void echo_fill(struct end *end, struct ws_batch *batch)
{
    while (end->queue_from < end->queue_to) {
        const char *at = end->queue + end->queue_from;
        size_t len;

        memcpy(&len, at, sizeof(len));
        if (!put_frame(batch, at[sizeof(len)] ? WS_BINARY : WS_TEXT, at + sizeof(len) + 1,
                       len))
            return;
        end->queue_from += sizeof(len) + 1 + len;
    }
}

static inline void prepare_echo(struct end *end)
{
    end->on_received = echo_received;
    end->on_fill = echo_fill;
}

/* ---- A socket of our own ---- */

#define WAIT_MS 20000

static inline int raw_connect(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A listening socket that nobody accepts from. */
static inline int raw_listen(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 16) == 0 &&
          getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static inline bool raw_send(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* Reads what comes next, at most `len`. @return bytes, 0 at the end, -1 on error or when
 * nothing comes */
static inline ssize_t raw_some(int fd, void *data, size_t len)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    if (poll(&ready, 1, WAIT_MS) != 1)
        return -1;
    return recv(fd, data, len, 0);
}

static inline bool raw_exact(int fd, void *data, size_t len)
{
    char *at = data;

    while (len > 0) {
        ssize_t got = raw_some(fd, at, len);

        if (got <= 0)
            return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

/* Reads until the other side closes. @return bytes; the text is NUL-terminated. A reset
 * counts as a failure: it would have lost the answer for a real client. */
static inline bool raw_until_closed(int fd, char *text, size_t size)
{
    size_t used = 0;
    ssize_t got = 1;

    while (used + 1 < size && (got = raw_some(fd, text + used, size - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    return got == 0;
}

/* Reads one HTTP answer with its Content-Length, leaving what follows it in the socket. */
static inline bool raw_answer(int fd, char *text, size_t size)
{
    size_t used = 0, body = 0;
    const char *length;

    text[0] = '\0';
    while (strstr(text, "\r\n\r\n") == NULL) {
        if (used + 1 >= size || !raw_exact(fd, text + used, 1))
            return false;
        text[++used] = '\0';
    }
    length = strstr(text, "Content-Length: ");
    if (length != NULL)
        body = strtoul(length + strlen("Content-Length: "), NULL, 10);
    if (used + body + 1 > size || !raw_exact(fd, text + used, body))
        return false;
    text[used + body] = '\0';
    return true;
}

#define UPGRADE_HEADERS                                    \
    "Host: localhost\r\nUpgrade: websocket\r\n"            \
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* An upgraded socket to a host, or -1. */
static inline int raw_websocket(uint16_t port)
{
    static const char request[] = "GET " WS_PATH " HTTP/1.1\r\n" UPGRADE_HEADERS "\r\n";
    char answer[2048];
    int fd = raw_connect(port);

    if (fd >= 0 && raw_send(fd, request, strlen(request)) &&
        raw_answer(fd, answer, sizeof(answer)) && strstr(answer, " 101 ") != NULL)
        return fd;
    close(fd);
    return -1;
}

/* A masked client frame (the mask is fixed: this side needs no secrets). */
static inline size_t raw_frame(uint8_t *frame, uint8_t first, const void *data, size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;

    frame[at++] = first;
    if (len < 126) {
        frame[at++] = (uint8_t)(0x80 | len);
    } else if (len < 65536) {
        frame[at++] = 0x80 | 126;
        frame[at++] = (uint8_t)(len >> 8);
        frame[at++] = (uint8_t)len;
    } else {
        frame[at++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            frame[at++] = (uint8_t)((uint64_t)len >> shift);
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < len; i++)
        frame[at + i] = ((const uint8_t *)data)[i] ^ mask[i % 4];
    return at + len;
}

#endif
