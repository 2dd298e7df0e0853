/* SPDX-License-Identifier: Apache-2.0
 *
 * One libwebsockets context per worker, on the worker's libev loop, and the one function
 * through which lws reports everything: it sorts what happened to ws.c and http_server.c.
 *
 * libev never moves lws's armed timer earlier, so a 50 ms timer of our own makes lws look
 * at its timeouts. lws is never touched from another thread than the worker's.
 */
#include "transport/transport.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/line.h"
#include "transport/process.h"

#define PROTOCOL_NAME      "parley"
#define KICK_SECONDS       0.05
#define SERVICE_BYTES_MIN  (64 * 1024)
#define SLOW_SECONDS_MAX   30 /* lws's patience with headers and bodies under way */
#define KEEPALIVE_SECONDS  75
#define ENVELOPE_BYTES_MAX 4096 /* what may surround the largest message */

/* ---- Connections ---- */

struct line *line_new(struct transport_worker *owner, enum line_kind kind)
{
    struct line *connection = alloc_zeroed(owner->transport->alloc, sizeof(*connection));

    if (connection == NULL)
        return NULL;
    connection->kind = kind;
    connection->owner = owner;
    connection->next = owner->connections;
    if (connection->next != NULL)
        connection->next->prev = connection;
    owner->connections = connection;
    owner->connections_len++;
    return connection;
}

void line_forget_authorization(struct line *connection)
{
    if (connection->authorization == NULL)
        return;
    OPENSSL_cleanse(connection->authorization, strlen(connection->authorization));
    alloc_free(connection->owner->transport->alloc, connection->authorization);
    connection->authorization = NULL;
}

void line_free(struct line *connection)
{
    struct transport_worker *owner = connection->owner;

    assert(connection->ws == NULL && connection->request == NULL);
    if (connection->next != NULL)
        connection->next->prev = connection->prev;
    if (connection->prev != NULL)
        connection->prev->next = connection->next;
    else
        owner->connections = connection->next;
    owner->connections_len--;
    if (connection->kind == LINE_ACCEPTED) {
        /* relaxed: a count only, it publishes nothing */
        atomic_fetch_sub_explicit(&owner->transport->accepted, 1, memory_order_relaxed);
    }
    line_forget_authorization(connection);
    alloc_free(owner->transport->alloc, connection);
}

void line_kill(struct line *connection)
{
    lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    lws_cancel_service(connection->owner->context); /* or it waits for the next kick */
}

/* ---- lws's callbacks ---- */

static void on_destroy(struct line *connection)
{
    http_on_closed(connection);
    ws_report_closed(connection, "connection lost");
    if (connection->creating)
        connection->destroyed = true; /* the creator frees it */
    else
        line_free(connection);
}

static int on_websocket(struct line *connection, enum lws_callback_reasons reason, void *in,
                        size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return ws_on_handshake(connection, in, len);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return connection->ws != NULL ? 0 : -1;
    case LWS_CALLBACK_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        return ws_on_established(connection);
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return ws_on_received(connection, in, len);
    case LWS_CALLBACK_RECEIVE_PONG:
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
        return ws_on_pong(connection, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return ws_on_writeable(connection);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return ws_on_peer_close(connection, in, len);
    default:
        return 0;
    }
}

static int on_http(struct line *connection, enum lws_callback_reasons reason, void *in,
                   size_t len)
{
    switch (reason) {
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return http_on_upgrade(connection);
    case LWS_CALLBACK_HTTP:
        return http_on_request(connection);
    case LWS_CALLBACK_HTTP_BODY:
        return http_on_body(connection, in, len);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return http_on_body_end(connection);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return http_on_writeable(connection);
    default:
        return 0;
    }
}

static int on_end(struct line *connection, enum lws_callback_reasons reason,
                  const char *detail)
{
    switch (reason) {
    case LWS_CALLBACK_CLOSED_HTTP:
        http_on_closed(connection);
        break;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        ws_report_closed(connection, detail != NULL ? detail : "connection failed");
        break;
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLIENT_CLOSED:
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
        ws_report_closed(connection, "connection lost");
        break;
    default: /* WSI_DESTROY: always the last one */
        on_destroy(connection);
        break;
    }
    return 0;
}

static int on_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                       size_t len)
{
    struct line *connection;

    (void)user;
    switch (reason) {
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_BODY:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    case LWS_CALLBACK_HTTP_WRITEABLE:
        connection = lws_get_opaque_user_data(wsi);
        return connection != NULL ? on_http(connection, reason, in, len) : -1;
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    case LWS_CALLBACK_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
    case LWS_CALLBACK_RECEIVE_PONG:
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        connection = lws_get_opaque_user_data(wsi);
        return connection != NULL ? on_websocket(connection, reason, in, len) : 0;
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLIENT_CLOSED:
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    case LWS_CALLBACK_WSI_DESTROY:
        connection = lws_get_opaque_user_data(wsi);
        return connection != NULL ? on_end(connection, reason, in) : 0;
    case LWS_CALLBACK_RAW_ADOPT: /* what lws makes of the method CONNECT */
    case LWS_CALLBACK_RAW_RX:
        return -1;
    default: /* about the context or a vhost, not about a connection */
        return 0;
    }
}

/* ---- The transport of a runtime ---- */

static void free_strings(struct transport *transport)
{
    alloc_free(transport->alloc, (char *)transport->options.listen_host);
    alloc_free(transport->alloc, (char *)transport->options.parley_header);
}

static parley_status copy_options(struct transport *transport,
                                  const struct transport_options *options)
{
    size_t message = options->message_bytes_max, batch = options->batch_bytes_max;

    transport->options = *options;
    transport->options.listen_host = NULL;
    transport->options.parley_header = NULL;
    if (transport->options.keepalive_s == 0)
        transport->options.keepalive_s = KEEPALIVE_SECONDS;
    transport->body_bytes_max = (message > batch ? message : batch) + ENVELOPE_BYTES_MAX;
    if (options->listen_host != NULL) {
        transport->options.listen_host = alloc_string(transport->alloc, options->listen_host);
        if (transport->options.listen_host == NULL)
            return PARLEY_ENOMEM;
    }
    if (options->parley_header != NULL) {
        transport->options.parley_header =
            alloc_string(transport->alloc, options->parley_header);
        if (transport->options.parley_header == NULL)
            return PARLEY_ENOMEM;
    }
    return PARLEY_OK;
}

/* The directory of hashed certificates is read as a handshake needs them; the bundle of
 * all would cost 37 ms and 700 KB at every start, so it is taken only when asked for. */
static bool trust_system_certificates(SSL_CTX *tls)
{
    return SSL_CTX_set_default_verify_dir(tls) == 1 &&
           (secure_getenv(X509_get_default_cert_file_env()) == NULL ||
            SSL_CTX_set_default_verify_file(tls) == 1);
}

/* Ours, because lws makes one per context, with the bundle, and leaks it. */
static parley_status create_tls(struct transport *transport)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

    if (tls == NULL)
        return PARLEY_ENOMEM;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
        !trust_system_certificates(tls)) {
        SSL_CTX_free(tls);
        return PARLEY_ESYSTEM;
    }
    transport->tls_client = tls;
    return PARLEY_OK;
}

static parley_status acquire_libraries(struct transport *transport)
{
    parley_status status = process_acquire();

    if (status != PARLEY_OK)
        return status;
    status = create_tls(transport);
    if (status != PARLEY_OK)
        process_release();
    return status;
}

parley_status transport_new(const struct alloc *alloc, const struct log *log,
                            const struct transport_options *options,
                            const struct transport_events *events, char *error,
                            size_t error_len, struct transport **ret_transport)
{
    struct transport *transport = alloc_zeroed(alloc, sizeof(*transport));
    parley_status status;

    if (transport == NULL)
        return PARLEY_ENOMEM;
    transport->alloc = alloc;
    transport->log = log;
    transport->events = *events;
    status = copy_options(transport, options);
    if (status == PARLEY_OK && options->listen_host != NULL)
        status = listener_address(transport, error, error_len);
    if (status == PARLEY_OK && options->listen_host != NULL)
        status = listener_probe(transport, error, error_len);
    if (status == PARLEY_OK)
        status = acquire_libraries(transport);
    if (status != PARLEY_OK) {
        free_strings(transport);
        alloc_free(alloc, transport);
        return status;
    }
    *ret_transport = transport;
    return PARLEY_OK;
}

void transport_free(struct transport *transport)
{
    if (transport == NULL)
        return;
    assert(atomic_load(&transport->accepted) == 0);
    SSL_CTX_free(transport->tls_client);
    process_release();
    free_strings(transport);
    alloc_free(transport->alloc, transport);
}

uint16_t transport_port(const struct transport *transport)
{
    /* acquire: pairs with the release store in listener_start() */
    return (uint16_t)atomic_load_explicit(&transport->port, memory_order_acquire);
}

/* ---- A worker's part ---- */

static const lws_retry_bo_t no_pings; /* lws's own keep-alive pings: heartbeats are ours */

static void kick(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct transport_worker *owner = timer->data;

    (void)loop;
    (void)events;
    lws_cancel_service(owner->context);
}

static size_t service_bytes(const struct transport *transport)
{
    size_t batch = transport->options.batch_bytes_max + LWS_PRE;

    return batch > SERVICE_BYTES_MIN ? batch : SERVICE_BYTES_MIN;
}

static parley_status create_context(struct transport_worker *owner)
{
    void *loops[] = {worker_loop(owner->worker)};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .foreign_loops = loops,
        .pt_serv_buf_size = (unsigned)service_bytes(owner->transport),
        .max_http_header_data2 = HEADER_BYTES_MAX,
        .timeout_secs = SLOW_SECONDS_MAX,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_LIBEV |
                   LWS_SERVER_OPTION_VALIDATE_UTF8 | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
                   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
    };

    owner->context = process_context_create(&info);
    return owner->context != NULL ? PARLEY_OK : PARLEY_ESYSTEM;
}

static struct lws_vhost *create_vhost(struct transport_worker *owner, const char *name,
                                      int port, uint64_t options)
{
    struct lws_context_creation_info info = {
        .port = port,
        .vhost_name = name,
        .protocols = owner->protocols,
        .options = options,
        .keepalive_timeout = (int)owner->transport->options.keepalive_s,
        .connect_timeout_secs = UINT16_MAX, /* each dial has a deadline of its own */
        .retry_and_idle_policy = &no_pings,
        .provided_client_ssl_ctx = owner->transport->tls_client,
        .http_proxy_address = "", /* or lws takes $http_proxy */
    };

    return process_vhost_create(owner->context, &info);
}

static parley_status create_vhosts(struct transport_worker *owner)
{
    owner->vhost_client = create_vhost(owner, "parley-client", CONTEXT_PORT_NO_LISTEN,
                                       LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT);
    if (owner->vhost_client == NULL)
        return PARLEY_ESYSTEM;
    if (owner->transport->options.listen_host == NULL)
        return PARLEY_OK;
    owner->vhost_server =
        create_vhost(owner, "parley-server", CONTEXT_PORT_NO_LISTEN_SERVER, 0);
    return owner->vhost_server != NULL ? PARLEY_OK : PARLEY_ESYSTEM;
}

static parley_status prepare(struct transport_worker *owner)
{
    struct transport *transport = owner->transport;
    size_t message = transport->options.message_bytes_max + (size_t)ENVELOPE_BYTES_MAX;
    size_t batch = transport->options.batch_bytes_max;
    parley_status status;

    owner->send_bytes =
        (message > batch ? message : batch) + (size_t)2 * WS_HEADER_MAX; /* a ping before it */
    owner->batch_bytes = batch + WS_HEADER_MAX;
    owner->send_buffer = alloc_bytes(transport->alloc, LWS_PRE + owner->send_bytes);
    if (owner->send_buffer == NULL)
        return PARLEY_ENOMEM;
    ws_masks_init(&owner->masks);
    status = create_context(owner);
    if (status != PARLEY_OK)
        return status;
    ev_timer_init(&owner->kick, kick, KICK_SECONDS, KICK_SECONDS);
    owner->kick.data = owner;
    ev_timer_start(worker_loop(owner->worker), &owner->kick);
    owner->protocols[0] = (struct lws_protocols){
        .name = PROTOCOL_NAME,
        .callback = on_callback,
        .tx_packet_size = owner->send_bytes + LWS_PRE,
    };
    status = create_vhosts(owner);
    if (status == PARLEY_OK && transport->options.listen_host != NULL)
        status = listener_start(owner);
    return status;
}

parley_status transport_worker_init(struct transport *transport, struct worker *worker)
{
    struct transport_worker *owner = alloc_zeroed(transport->alloc, sizeof(*owner));
    parley_status status;

    if (owner == NULL)
        return PARLEY_ENOMEM;
    owner->transport = transport;
    owner->worker = worker;
    owner->listener.fd = -1;
    worker_set_local(worker, 0, owner);
    status = prepare(owner);
    if (status != PARLEY_OK)
        transport_worker_fini(transport, worker);
    return status;
}

void transport_worker_shutdown(struct transport *transport, struct worker *worker)
{
    struct transport_worker *owner = transport_worker_of(worker);

    assert(owner->transport == transport);
    owner->stopping = true;
    listener_stop(owner);
    for (struct line *c = owner->connections; c != NULL; c = c->next) {
        if (c->kind != LINE_ACCEPTED)
            continue;
        if (c->ws != NULL)
            ws_close(c->ws, LWS_CLOSE_STATUS_GOINGAWAY, "Server shutting down");
        else
            line_kill(c);
    }
}

void transport_worker_hurry(struct transport *transport, struct worker *worker)
{
    struct transport_worker *owner = transport_worker_of(worker);

    assert(owner->transport == transport);
    if (owner->hurried)
        return;
    owner->hurried = true;
    for (struct line *c = owner->connections; c != NULL; c = c->next) {
        if (c->ws != NULL && c->ws->open && c->ws->closing)
            line_kill(c);
    }
}

void transport_worker_fini(struct transport *transport, struct worker *worker)
{
    struct transport_worker *owner = transport_worker_of(worker);

    if (owner == NULL)
        return;
    owner->stopping = true;
    owner->finished = true;
    listener_stop(owner);
    if (owner->context != NULL) {
        ev_timer_stop(worker_loop(worker), &owner->kick);
        process_context_destroy(owner->context);
    }
    assert(owner->connections == NULL);
    for (size_t i = 0; i < SPARES_MAX; i++)
        alloc_free(transport->alloc, owner->spares[i].data);
    alloc_free(transport->alloc, owner->send_buffer);
    worker_set_local(worker, 0, NULL);
    alloc_free(transport->alloc, owner);
}

size_t transport_worker_connections(struct transport *transport, struct worker *worker)
{
    struct transport_worker *owner = transport_worker_of(worker);

    assert(owner->transport == transport);
    return owner->connections_len;
}
