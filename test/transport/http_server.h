/* SPDX-License-Identifier: Apache-2.0
 *
 * A small HTTP server for tests: one thread accepts, one per connection answers. The path
 * says how:
 *
 *   /ok         200 "fine"
 *   /say        the request's body, byte by byte, as the answer
 *   /say-close  the same, then closes the connection
 *   /request    200 with the request's head as the body
 *   /length     200 with the length and a checksum of the request's body
 *   /hold       200 "held" once server_release() let it through
 *   /silent     never answers
 *   /drop       closes without an answer
 *   /drop-used  closes without an answer unless it is the connection's first request
 *
 * Included by one test program; it has no state of its own.
 */
#ifndef PARLEY_TEST_HTTP_SERVER_H
#define PARLEY_TEST_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/check.h"

#define SERVER_CONNECTIONS_MAX 512
#define SERVER_HEAD_MAX        4096

struct server_connection {
    struct server *server;
    int fd;
    pthread_t thread;
};

struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    _Atomic(uint64_t) connections, requests;
    _Atomic(uint64_t) held, held_max; /* in /hold now, and at most */
    pthread_mutex_t lock;
    pthread_cond_t released;
    uint64_t permits; /* under lock, as the next ones */
    bool stopping;
    struct server_connection connection[SERVER_CONNECTIONS_MAX];
    size_t connections_len;
};

struct server_request {
    char head[SERVER_HEAD_MAX + 1];
    size_t head_len;
    char path[128];
    char *body;
    size_t body_len;
    unsigned number; /* on its connection, from 1 */
};

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool reply(int fd, const char *body, size_t len)
{
    char head[128];
    int head_len =
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);

    return send_all(fd, head, (size_t)head_len) && send_all(fd, body, len);
}

/* Reads up to and with the empty line, byte blocks being whatever arrives; what came after
 * it is moved to the body. @return false: the connection ended */
static bool read_request(int fd, struct server_request *request)
{
    char *end = NULL, *length;
    size_t extra;

    request->head_len = 0;
    while (end == NULL) {
        ssize_t got = recv(fd, request->head + request->head_len,
                           SERVER_HEAD_MAX - request->head_len, 0);

        if (got <= 0)
            return false;
        request->head_len += (size_t)got;
        request->head[request->head_len] = '\0';
        end = strstr(request->head, "\r\n\r\n");
    }
    end += 4;
    extra = request->head_len - (size_t)(end - request->head);
    length = strcasestr(request->head, "\r\nContent-Length:");
    request->body_len = length != NULL ? strtoul(length + 17, NULL, 10) : 0;
    request->body = malloc(request->body_len + 1);
    memcpy(request->body, end, extra);
    *end = '\0';
    request->head_len -= extra;
    while (extra < request->body_len) {
        ssize_t got = recv(fd, request->body + extra, request->body_len - extra, 0);

        if (got <= 0)
            return false;
        extra += (size_t)got;
    }
    return sscanf(request->head, "%*s %127s", request->path) == 1;
}

/* Counts itself as held until a permit comes. */
static bool hold(struct server *server, int fd)
{
    uint64_t held, max;
    bool stopping;

    held = atomic_fetch_add(&server->held, 1) + 1;
    max = atomic_load(&server->held_max);
    while (held > max && !atomic_compare_exchange_weak(&server->held_max, &max, held))
        ;
    pthread_mutex_lock(&server->lock);
    while (server->permits == 0 && !server->stopping)
        pthread_cond_wait(&server->released, &server->lock);
    stopping = server->permits == 0;
    if (!stopping)
        server->permits--;
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_sub(&server->held, 1);
    return !stopping && reply(fd, "held", 4);
}

static uint32_t checksum(const char *data, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + (unsigned char)data[i];
    return sum;
}

/* @return whether the connection goes on */
static bool answer(struct server *server, int fd, struct server_request *request)
{
    const char *path = request->path;
    char text[64], byte;

    if (strcmp(path, "/ok") == 0)
        return reply(fd, "fine", 4);
    if (strcmp(path, "/say") == 0)
        return send_all(fd, request->body, request->body_len);
    if (strcmp(path, "/say-close") == 0) {
        send_all(fd, request->body, request->body_len);
        return false;
    }
    if (strcmp(path, "/request") == 0)
        return reply(fd, request->head, request->head_len);
    if (strcmp(path, "/length") == 0) {
        snprintf(text, sizeof(text), "%zu %u", request->body_len,
                 checksum(request->body, request->body_len));
        return reply(fd, text, strlen(text));
    }
    if (strcmp(path, "/hold") == 0)
        return hold(server, fd);
    if (strcmp(path, "/drop-used") == 0)
        return request->number == 1 && reply(fd, "first", 5);
    if (strcmp(path, "/silent") == 0)
        (void)!recv(fd, &byte, 1, 0); /* until the client goes, or server_stop() */
    return false;
}

static void *serve(void *user)
{
    struct server_connection *connection = user;
    struct server *server = connection->server;
    struct server_request *request = calloc(1, sizeof(*request));
    bool on = true;

    while (on && read_request(connection->fd, request)) {
        request->number++;
        atomic_fetch_add(&server->requests, 1);
        on = answer(server, connection->fd, request);
        free(request->body);
        request->body = NULL;
    }
    free(request->body);
    free(request);
    shutdown(connection->fd, SHUT_RDWR); /* closed by server_stop(): the number stays ours */
    return NULL;
}

static void *accept_all(void *user)
{
    struct server *server = user;
    int fd, one = 1;

    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        struct server_connection *connection = &server->connection[server->connections_len];

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        *connection = (struct server_connection){.server = server, .fd = fd};
        atomic_fetch_add(&server->connections, 1);
        if (pthread_create(&connection->thread, NULL, serve, connection) != 0)
            abort();
        if (++server->connections_len == SERVER_CONNECTIONS_MAX)
            abort();
    }
    return NULL;
}

/* A socket listening on a free loopback port; with a negative backlog only bound to it. */
static int listen_anywhere(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        (backlog >= 0 && listen(fd, backlog) != 0) ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        abort();
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static struct server *server_start(void)
{
    struct server *server = calloc(1, sizeof(*server));

    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->released, NULL);
    server->fd = listen_anywhere(128, &server->port);
    if (pthread_create(&server->thread, NULL, accept_all, server) != 0)
        abort();
    return server;
}

/* Lets so many requests to /hold through, waiting or to come. */
static void server_release(struct server *server, uint64_t permits)
{
    pthread_mutex_lock(&server->lock);
    server->permits += permits;
    pthread_cond_broadcast(&server->released);
    pthread_mutex_unlock(&server->lock);
}

static void server_stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    pthread_cond_broadcast(&server->released);
    pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < server->connections_len; i++) {
        shutdown(server->connection[i].fd, SHUT_RDWR);
        pthread_join(server->connection[i].thread, NULL);
        close(server->connection[i].fd);
    }
    close(server->fd);
    pthread_cond_destroy(&server->released);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

#endif
