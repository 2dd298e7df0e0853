/* SPDX-License-Identifier: Apache-2.0
 *
 * The proxy: see proxy.h. A connection is two descriptors and two flows; a flow holds what
 * was read from one end and is not yet written to the other. Edge-triggered events only say
 * "look again": pump() then moves bytes until neither flow gets further.
 */
#include "test/faults/proxy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLOW_BYTES 16384
#define EVENTS_MAX 64
#define TICK_MS    2 /* how late a delayed or trickling flow may be looked at */

struct flow {
    size_t start, end; /* of what waits in `bytes` */
    uint64_t wake_ms;  /* rests until then; 0: does not rest */
    bool eof;          /* the reading end has no more */
    bool ended;        /* and the writing end was told */
    bool stalled;
    bool discard; /* read on, pass nothing on */
    unsigned char bytes[FLOW_BYTES];
};

/* What an event is about: the first member of a route and of a connection. */
enum source { SOURCE_ROUTE, SOURCE_CONNECTION };

struct connection {
    enum source source;
    bool dead;               /* descriptors closed; freed by the thread between events */
    struct connection *next; /* of the route */
    struct proxy_route *route;
    int fd[2]; /* flow w reads fd[w] and writes fd[1 - w] */
    struct flow flow[2];
};

struct proxy_route {
    enum source source;
    bool closed; /* freed by the thread */
    struct proxy *proxy;
    struct proxy_route *next;
    struct proxy_plan plan;
    struct proxy_seen seen;
    uint64_t refuse;
    struct connection *connections;
    struct sockaddr_in address;
    int listener;
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock; /* guards everything below, but what never changes */
    int epoll, wake;
    bool stop, garbage;
    bool resting, trickling; /* some flow is, and wants another look soon; at once */
    uint16_t target_port;
    uint32_t routes_opened, sources;
    struct proxy_route *routes;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- ends of connections ---- */

/* Out of the epoll first: a child being spawned may still hold the descriptor. */
static void drop(struct connection *connection, void (*close_one)(int fd))
{
    struct proxy *proxy = connection->route->proxy;

    if (connection->dead)
        return;
    connection->dead = proxy->garbage = true;
    for (unsigned i = 0; i < 2; i++) {
        epoll_ctl(proxy->epoll, EPOLL_CTL_DEL, connection->fd[i], NULL);
        close_one(connection->fd[i]);
    }
}

static void close_descriptor(int fd)
{
    close(fd);
}

static void reset_descriptor(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}

static void reset_connection(struct connection *connection)
{
    drop(connection, reset_descriptor);
}

/* Tells the end that this way writes to that nothing more will come. */
static void end_way(struct connection *connection, enum proxy_way way)
{
    if (connection->flow[way].ended)
        return;
    connection->flow[way].ended = true;
    shutdown(connection->fd[1 - way], SHUT_WR);
}

/* ---- faults ---- */

/* Applies the plan to `len` bytes just read, which begin at byte `from` of the way.
   Returns how many of them still pass; the fault itself follows in strike(). */
static size_t passing(struct proxy_route *route, enum proxy_way way, uint64_t from,
                      unsigned char *bytes, size_t len)
{
    const struct proxy_plan *plan = &route->plan;

    if (plan->fault == PROXY_PASS || plan->fault == PROXY_REFUSE || route->seen.fired ||
        way != plan->way || from + len <= plan->at)
        return len;
    assert(plan->at >= from);
    route->seen.fired = true;
    if (plan->fault == PROXY_FLIP) {
        bytes[plan->at - from] ^= (unsigned char)(1u << plan->bit);
        return len;
    }
    return plan->fault == PROXY_TRICKLE ? len : (size_t)(plan->at - from);
}

/* What happens once the bytes before the place have gone out. */
static void strike(struct connection *connection, enum proxy_way way)
{
    const struct proxy_plan *plan = &connection->route->plan;
    struct flow *flow = &connection->flow[way];

    switch (plan->fault) {
    case PROXY_CUT:
        end_way(connection, PROXY_UP);
        end_way(connection, PROXY_DOWN);
        connection->flow[0].discard = connection->flow[1].discard = true;
        break;
    case PROXY_RESET:
        reset_connection(connection);
        break;
    case PROXY_HALF_CLOSE:
        end_way(connection, way);
        flow->discard = true;
        break;
    case PROXY_STALL:
        flow->stalled = true;
        break;
    case PROXY_DELAY:
        flow->wake_ms = now_ms() + plan->delay_ms;
        break;
    default:
        break;
    }
}

/* ---- moving bytes ---- */

static bool trickles(const struct connection *connection, enum proxy_way way)
{
    const struct proxy_route *route = connection->route;

    return route->plan.fault == PROXY_TRICKLE && route->seen.fired && route->plan.way == way;
}

/* @return whether anything happened */
static bool flush(struct connection *connection, enum proxy_way way, bool *spent)
{
    struct flow *flow = &connection->flow[way];
    size_t len = flow->end - flow->start;

    if (trickles(connection, way)) {
        if (*spent) {
            connection->route->proxy->trickling = true;
            return false;
        }
        *spent = true;
        len = 1;
    }
    ssize_t sent = send(connection->fd[1 - way], flow->bytes + flow->start, len,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN)
        return false;
    if (sent < 0) {
        reset_connection(connection);
        return false;
    }
    flow->start += (size_t)sent;
    return true;
}

/* @return whether anything happened */
static bool fill(struct connection *connection, enum proxy_way way)
{
    struct proxy_route *route = connection->route;
    struct flow *flow = &connection->flow[way];
    bool fired = route->seen.fired;
    ssize_t got = recv(connection->fd[way], flow->bytes, FLOW_BYTES, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return false;
    if (got < 0) {
        reset_connection(connection); /* a reset passes to the other end */
        return false;
    }
    if (got == 0) {
        flow->eof = true;
        end_way(connection, way);
        return true;
    }
    if (flow->discard)
        return true;
    flow->start = 0;
    flow->end = passing(route, way, route->seen.bytes[way], flow->bytes, (size_t)got);
    size_t held = (size_t)got - flow->end;
    route->seen.bytes[way] += (size_t)got;
    if (fired == route->seen.fired)
        return true;
    while (flow->start < flow->end && !connection->dead) {
        bool spent = false;
        if (!flush(connection, way, &spent))
            break; /* the end does not read: the rest of the prefix is lost with it */
        if (spent)
            break;
    }
    if (!connection->dead)
        strike(connection, way);
    if (route->plan.fault == PROXY_DELAY)
        flow->end += held; /* the bytes behind the place follow later */
    return true;
}

static bool step(struct connection *connection, enum proxy_way way, bool *spent)
{
    struct flow *flow = &connection->flow[way];

    if (flow->stalled || flow->eof)
        return false;
    if (flow->wake_ms > now_ms()) {
        connection->route->proxy->resting = true;
        return false;
    }
    flow->wake_ms = 0;
    return flow->start < flow->end ? flush(connection, way, spent) : fill(connection, way);
}

static void pump(struct connection *connection)
{
    bool spent[2] = {false, false};
    bool moved = true;

    while (moved && !connection->dead) {
        moved = step(connection, PROXY_UP, &spent[PROXY_UP]);
        if (!connection->dead)
            moved = step(connection, PROXY_DOWN, &spent[PROXY_DOWN]) || moved;
    }
    if (!connection->dead && connection->flow[0].eof && connection->flow[1].eof)
        drop(connection, close_descriptor);
}

/* ---- accepting ---- */

static int dial(struct proxy *proxy)
{
    struct sockaddr_in target = {.sin_family = AF_INET,
                                 .sin_port = htons(proxy->target_port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* Many source addresses: ports in TIME_WAIT do not run out. */
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr =
                                     htonl(UINT32_C(0x7f800001) + proxy->sources++ % 60000)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&source, sizeof(source)) == 0 &&
        (connect(fd, (struct sockaddr *)&target, sizeof(target)) == 0 || errno == EINPROGRESS))
        return fd;
    close(fd);
    return -1;
}

static bool refused(struct proxy_route *route)
{
    uint64_t index = route->seen.connections++;

    if (route->plan.fault == PROXY_REFUSE && route->plan.at == index) {
        route->seen.fired = true;
        return true;
    }
    if (route->refuse == 0)
        return false;
    route->refuse--;
    return true;
}

static bool watch(struct proxy *proxy, int fd, void *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    return epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void join(struct proxy_route *route, int client, int server)
{
    const uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    struct connection *connection = calloc(1, sizeof(*connection));
    const int on = 1;

    if (connection == NULL) {
        reset_descriptor(client);
        reset_descriptor(server);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection->source = SOURCE_CONNECTION;
    connection->route = route;
    connection->fd[PROXY_UP] = client;
    connection->fd[PROXY_DOWN] = server;
    connection->next = route->connections;
    route->connections = connection;
    if (!watch(route->proxy, client, connection, events) ||
        !watch(route->proxy, server, connection, events))
        reset_connection(connection);
}

static void accept_all(struct proxy_route *route)
{
    int client;

    while (!route->closed && (client = accept4(route->listener, NULL, NULL,
                                               SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        int server = refused(route) ? -1 : dial(route->proxy);

        if (server >= 0)
            join(route, client, server);
        else
            reset_descriptor(client);
    }
}

/* ---- the thread ---- */

/* Frees what is closed; looks again at what rests. */
static void sweep(struct proxy *proxy, bool look)
{
    struct proxy_route **route_at = &proxy->routes;

    while (*route_at != NULL) {
        struct proxy_route *route = *route_at;
        struct connection **at = &route->connections;

        while (*at != NULL) {
            struct connection *connection = *at;

            if (look && !connection->dead)
                pump(connection);
            if (connection->dead) {
                *at = connection->next;
                free(connection);
            } else {
                at = &connection->next;
            }
        }
        if (route->closed) {
            *route_at = route->next;
            free(route);
        } else {
            route_at = &route->next;
        }
    }
    proxy->garbage = false;
}

static void handle(struct proxy *proxy, const struct epoll_event *event)
{
    uint64_t count;

    if (event->data.ptr == NULL) {
        (void)!read(proxy->wake, &count, sizeof(count));
    } else if (*(const enum source *)event->data.ptr == SOURCE_ROUTE) {
        accept_all(event->data.ptr);
    } else if (!((struct connection *)event->data.ptr)->dead) {
        pump(event->data.ptr);
    }
}

static void *run(void *user)
{
    struct proxy *proxy = user;
    struct epoll_event events[EVENTS_MAX];

    pthread_mutex_lock(&proxy->lock);
    while (!proxy->stop) {
        bool look = proxy->resting || proxy->trickling;

        proxy->resting = proxy->trickling = false;
        if (look || proxy->garbage)
            sweep(proxy, look);
        int wait_ms = proxy->trickling ? 0 : proxy->resting ? TICK_MS : -1;

        pthread_mutex_unlock(&proxy->lock);
        int ready = epoll_wait(proxy->epoll, events, EVENTS_MAX, wait_ms);
        pthread_mutex_lock(&proxy->lock);
        for (int i = 0; i < ready; i++)
            handle(proxy, &events[i]);
    }
    sweep(proxy, false);
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

static void wake(struct proxy *proxy)
{
    const uint64_t one = 1;

    (void)!write(proxy->wake, &one, sizeof(one));
}

struct proxy *proxy_start(uint16_t target_port)
{
    struct proxy *proxy = calloc(1, sizeof(*proxy));

    if (proxy == NULL)
        return NULL;
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->target_port = target_port;
    proxy->epoll = epoll_create1(EPOLL_CLOEXEC);
    proxy->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (proxy->epoll >= 0 && proxy->wake >= 0 && watch(proxy, proxy->wake, NULL, EPOLLIN) &&
        pthread_create(&proxy->thread, NULL, run, proxy) == 0)
        return proxy;
    perror("proxy");
    free(proxy);
    return NULL;
}

void proxy_stop(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->stop = true;
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
    pthread_join(proxy->thread, NULL);
    assert(proxy->routes == NULL);
    close(proxy->epoll);
    close(proxy->wake);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

void proxy_target(struct proxy *proxy, uint16_t target_port)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->target_port = target_port;
    pthread_mutex_unlock(&proxy->lock);
}

/* ---- routes ---- */

static bool listen_at(struct proxy_route *route, uint32_t index)
{
    socklen_t len = sizeof(route->address);

    route->address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(UINT32_C(0x7f010001) + index % 60000)};
    route->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return route->listener >= 0 &&
           bind(route->listener, (struct sockaddr *)&route->address, len) == 0 &&
           listen(route->listener, 16) == 0 &&
           getsockname(route->listener, (struct sockaddr *)&route->address, &len) == 0;
}

struct proxy_route *proxy_open(struct proxy *proxy, const struct proxy_plan *plan)
{
    struct proxy_route *route = calloc(1, sizeof(*route));

    if (route == NULL)
        return NULL;
    pthread_mutex_lock(&proxy->lock);
    route->source = SOURCE_ROUTE;
    route->proxy = proxy;
    route->plan = *plan;
    bool good = listen_at(route, proxy->routes_opened++) &&
                watch(proxy, route->listener, route, EPOLLIN);
    if (good) {
        route->next = proxy->routes;
        proxy->routes = route;
    }
    pthread_mutex_unlock(&proxy->lock);
    if (good)
        return route;
    perror("proxy: route");
    if (route->listener >= 0)
        close(route->listener);
    free(route);
    return NULL;
}

void proxy_url(const struct proxy_route *route, char *url, size_t len)
{
    char host[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &route->address.sin_addr, host, sizeof(host));
    snprintf(url, len, "http://%s:%u", host, ntohs(route->address.sin_port));
}

void proxy_refuse_next(struct proxy_route *route, uint64_t connections)
{
    pthread_mutex_lock(&route->proxy->lock);
    route->refuse = connections;
    pthread_mutex_unlock(&route->proxy->lock);
}

static size_t reset_all(struct proxy_route *route)
{
    size_t count = 0;

    for (struct connection *at = route->connections; at != NULL; at = at->next) {
        count += !at->dead;
        reset_connection(at);
    }
    return count;
}

size_t proxy_reset_all(struct proxy_route *route)
{
    pthread_mutex_lock(&route->proxy->lock);
    size_t count = reset_all(route);
    pthread_mutex_unlock(&route->proxy->lock);
    return count;
}

struct proxy_seen proxy_seen(const struct proxy_route *route)
{
    pthread_mutex_lock(&route->proxy->lock);
    struct proxy_seen seen = route->seen;
    pthread_mutex_unlock(&route->proxy->lock);
    return seen;
}

void proxy_close(struct proxy_route *route)
{
    struct proxy *proxy = route->proxy;

    pthread_mutex_lock(&proxy->lock);
    reset_all(route);
    epoll_ctl(proxy->epoll, EPOLL_CTL_DEL, route->listener, NULL);
    close(route->listener);
    route->closed = proxy->garbage = true;
    pthread_mutex_unlock(&proxy->lock);
    wake(proxy);
}
