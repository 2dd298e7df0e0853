/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening, one socket per worker on the same port, so that the kernel spreads the
 * connections. lws 4.1.6 never sets SO_REUSEPORT with one service thread per context, so
 * the sockets are ours and lws adopts what they accept.
 *
 * With SO_REUSEPORT "port in use" is never seen: a probe without it comes first. With port
 * 0 the worker that is initialised first gets one and the others bind to the same.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/line.h"

#define BACKLOG     1024
#define ACCEPTS_MAX 64 /* in a row, before other sockets are served */
#define PAUSE_NS    (100 * NS_PER_MS)
#define OVERLOAD_TEXT                      \
    "HTTP/1.1 503 Service Unavailable\r\n" \
    "Connection: close\r\nContent-Length: 0\r\n\r\n"

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

static uint16_t get_port(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)address)->sin6_port
                     : ((const struct sockaddr_in *)address)->sin_port);
}

static void tell(char *error, size_t error_len, const struct transport *transport,
                 const char *why)
{
    if (error != NULL && error_len > 0) {
        snprintf(error, error_len, "cannot listen on %s port %u: %s",
                 transport->options.listen_host, transport->options.listen_port, why);
    }
}

parley_status listener_address(struct transport *transport, char *error, size_t error_len)
{
    const char *host = transport->options.listen_host;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&transport->address;
    struct sockaddr_in *four = (struct sockaddr_in *)&transport->address;

    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        transport->address_len = sizeof(*four);
    } else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        transport->address_len = sizeof(*six);
    } else {
        tell(error, error_len, transport, "not a numeric address");
        return PARLEY_EADDR;
    }
    set_port(&transport->address, transport->options.listen_port);
    return PARLEY_OK;
}

static parley_status status_of(int code)
{
    switch (code) {
    case EADDRINUSE:
        return PARLEY_EADDRINUSE;
    case EADDRNOTAVAIL:
    case EACCES:
    case EAFNOSUPPORT:
        return PARLEY_EADDR;
    default:
        return PARLEY_ESYSTEM;
    }
}

/* @return the socket, or -1 with errno */
static int bound_socket(const struct sockaddr_storage *address, socklen_t len, bool share)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, code;

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        (!share || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
        bind(fd, (const struct sockaddr *)address, len) == 0)
        return fd;
    code = errno;
    close(fd);
    errno = code;
    return -1;
}

parley_status listener_probe(struct transport *transport, char *error, size_t error_len)
{
    int fd = bound_socket(&transport->address, transport->address_len, false);

    if (fd < 0) {
        parley_status status = status_of(errno);

        tell(error, error_len, transport, strerror(errno));
        return status;
    }
    close(fd);
    return PARLEY_OK;
}

/* ---- Accepting ---- */

static void adopt(struct transport_worker *owner, int fd, const struct sockaddr_storage *from)
{
    struct line *connection = line_new(owner, LINE_ACCEPTED);
    lws_adopt_desc_t info = {
        .vh = owner->vhost_server,
        .type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP,
        .fd = {.sockfd = fd},
        .opaque = connection,
    };
    struct lws *wsi;
    int on = 1;

    if (connection == NULL) {
        close(fd);
        atomic_fetch_sub_explicit(&owner->transport->accepted, 1, memory_order_relaxed);
        return;
    }
    if (from->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)from)->sin6_addr,
                  connection->remote, sizeof(connection->remote));
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, connection->remote,
                  sizeof(connection->remote));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection->creating = true;
    wsi = lws_adopt_descriptor_vhost_via_info(&info); /* closes fd when it fails */
    connection->creating = false;
    connection->wsi = wsi;
    if (wsi == NULL || connection->destroyed)
        line_free(connection);
}

static void take(struct transport_worker *owner, int fd, const struct sockaddr_storage *from)
{
    struct transport *transport = owner->transport;

    /* relaxed: a count only; a few connections too many or too few do no harm */
    if (atomic_fetch_add_explicit(&transport->accepted, 1, memory_order_relaxed) <
        transport->options.connections_max) {
        adopt(owner, fd, from);
        return;
    }
    atomic_fetch_sub_explicit(&transport->accepted, 1, memory_order_relaxed);
    if (send(fd, OVERLOAD_TEXT, strlen(OVERLOAD_TEXT), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug(transport->log, "a refused connection was gone already");
    close(fd);
}

static void on_connections(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct transport_worker *owner = watcher->data;
    struct worker *worker = owner->worker;
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};

    (void)events;
    for (int n = 0; n < ACCEPTS_MAX; n++) {
        socklen_t len = sizeof(from);
        int fd = accept4(owner->listener.fd, (struct sockaddr *)&from, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take(owner, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn(owner->transport->log, "cannot accept: %s", strerror(errno));
            ev_io_stop(loop, watcher);
            worker_timer_start(worker, &owner->listener.pause,
                               worker_now_ns(worker) + PAUSE_NS);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* else that connection failed before we took it: on to the next */
    }
}

static void on_pause_over(struct timer *timer)
{
    struct listener *listener =
        (struct listener *)((char *)timer - offsetof(struct listener, pause));
    struct transport_worker *owner = listener->accepting.data;

    ev_io_start(worker_loop(owner->worker), &listener->accepting);
}

/* ---- Starting and stopping ---- */

static int open_listener(struct transport *transport)
{
    struct sockaddr_storage address = transport->address;
    socklen_t len = transport->address_len;
    uint16_t port = transport_port(transport);
    int fd;

    if (port != 0)
        set_port(&address, port);
    fd = bound_socket(&address, len, true);
    if (fd < 0)
        return -1;
    if (listen(fd, BACKLOG) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0) {
        /* release: pairs with the acquire load in transport_port() */
        atomic_store_explicit(&transport->port, get_port(&address), memory_order_release);
        return fd;
    }
    close(fd);
    return -1;
}

parley_status listener_start(struct transport_worker *owner)
{
    struct listener *listener = &owner->listener;

    listener->fd = open_listener(owner->transport);
    if (listener->fd < 0) {
        log_error(owner->transport->log, "cannot listen: %s", strerror(errno));
        return status_of(errno);
    }
    timer_init(&listener->pause, on_pause_over);
    ev_io_init(&listener->accepting, on_connections, listener->fd, EV_READ);
    listener->accepting.data = owner;
    ev_io_start(worker_loop(owner->worker), &listener->accepting);
    return PARLEY_OK;
}

void listener_stop(struct transport_worker *owner)
{
    struct listener *listener = &owner->listener;

    if (listener->fd < 0)
        return;
    worker_timer_stop(owner->worker, &listener->pause);
    ev_io_stop(worker_loop(owner->worker), &listener->accepting);
    close(listener->fd);
    listener->fd = -1;
}
