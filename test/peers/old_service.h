/* SPDX-License-Identifier: Apache-2.0
 *
 * The older HTTP service as a raw server for tests: it notes every request byte for byte,
 * counts connections and requests that overlap, and answers by a script, whose last line
 * repeats. Before an answer it may call back.
 */
#ifndef PARLEY_TEST_OLD_SERVICE_H
#define PARLEY_TEST_OLD_SERVICE_H

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
#include <time.h>
#include <unistd.h>

#include "test/check.h"

#define OLD_CONNECTIONS_MAX 64
#define OLD_REQUESTS_MAX    512
#define OLD_HEAD_MAX        2048

#define RECEIVED \
    "{\"status\":\"received\",\"entity_id\":\"old\",\"verification\":\"disabled\"}"

/** One answer. */
struct old_answer {
    unsigned code;       /* 0: closes the connection instead */
    const char *body;    /* NULL: RECEIVED */
    const char *headers; /* more of them, each with its line end; may be NULL */
};

struct old_request {
    char head[OLD_HEAD_MAX + 1];
    char *body;
    size_t body_len;
    uint64_t came_ns;
};

struct old_service;

struct old_connection {
    struct old_service *service;
    int fd;
    pthread_t thread;
};

struct old_service {
    int fd;
    uint16_t port;
    pthread_t thread;
    const struct old_answer *answers;
    size_t answers_len;
    void (*before)(struct old_service *service,
                   const struct old_request *request); /* or NULL */
    void *user;
    _Atomic(uint64_t) connections, requests, overlaps;
    _Atomic(uint64_t) under_way;
    struct old_request *noted[OLD_REQUESTS_MAX]; /* [i] is there once requests > i */
    struct old_connection connection[OLD_CONNECTIONS_MAX];
    size_t connections_len;
};

static inline uint64_t old_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline bool old_send(int fd, const char *data, size_t len)
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

/* Reads to the end of the body that Content-Length announces. @return false: closed */
static inline bool old_read(int fd, struct old_request *request)
{
    size_t len = 0, extra;
    char *end = NULL, *length;

    while (end == NULL) {
        ssize_t got = recv(fd, request->head + len, OLD_HEAD_MAX - len, 0);

        if (got <= 0)
            return false;
        len += (size_t)got;
        request->head[len] = '\0';
        end = strstr(request->head, "\r\n\r\n");
    }
    end += 4;
    extra = len - (size_t)(end - request->head);
    length = strcasestr(request->head, "\r\nContent-Length:");
    request->body_len = length != NULL ? strtoul(length + 17, NULL, 10) : 0;
    request->body = calloc(1, request->body_len + extra + 1);
    memcpy(request->body, end, extra);
    *end = '\0';
    while (extra < request->body_len) {
        ssize_t got = recv(fd, request->body + extra, request->body_len - extra, 0);

        if (got <= 0)
            return false;
        extra += (size_t)got;
    }
    return true;
}

static inline bool old_reply(int fd, const struct old_answer *answer)
{
    const char *body = answer->body != NULL ? answer->body : RECEIVED;
    char head[512];
    int len =
        snprintf(head, sizeof(head),
                 "HTTP/1.1 %u Said\r\nContent-Type: application/json\r\n%s"
                 "Content-Length: %zu\r\n\r\n",
                 answer->code, answer->headers != NULL ? answer->headers : "", strlen(body));

    return answer->code != 0 && old_send(fd, head, (size_t)len) &&
           old_send(fd, body, strlen(body));
}

static inline void old_free(struct old_request *request)
{
    if (request != NULL)
        free(request->body);
    free(request);
}

static inline void *old_serve(void *user)
{
    struct old_connection *connection = user;
    struct old_service *service = connection->service;
    bool on = true;

    while (on) {
        struct old_request *request = calloc(1, sizeof(*request));
        uint64_t number;

        if (!old_read(connection->fd, request)) {
            old_free(request);
            break;
        }
        request->came_ns = old_now_ns();
        if (atomic_fetch_add(&service->under_way, 1) != 0)
            atomic_fetch_add(&service->overlaps, 1);
        number = atomic_load(&service->requests);
        if (number < OLD_REQUESTS_MAX)
            service->noted[number] = request;
        atomic_store(&service->requests, number + 1);
        if (service->before != NULL)
            service->before(service, request);
        if (number >= OLD_REQUESTS_MAX)
            old_free(request);
        atomic_fetch_sub(&service->under_way, 1); /* the answer lets the next one come */
        on = old_reply(
            connection->fd,
            &service
                 ->answers[number < service->answers_len ? number : service->answers_len - 1]);
    }
    shutdown(connection->fd, SHUT_RDWR);
    return NULL;
}

static inline void *old_accept(void *user)
{
    struct old_service *service = user;
    int fd, one = 1;

    while ((fd = accept(service->fd, NULL, NULL)) >= 0) {
        struct old_connection *connection = &service->connection[service->connections_len];

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        *connection = (struct old_connection){.service = service, .fd = fd};
        atomic_fetch_add(&service->connections, 1);
        if (pthread_create(&connection->thread, NULL, old_serve, connection) != 0)
            abort();
        if (++service->connections_len == OLD_CONNECTIONS_MAX)
            abort();
    }
    return NULL;
}

/** Starts listening; `port` 0: any. The answers live as long as it does. */
static inline void old_start(struct old_service *service, uint16_t port,
                             const struct old_answer *answers, size_t answers_len)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int one = 1;

    service->answers = answers;
    service->answers_len = answers_len;
    service->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(service->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(service->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(service->fd, 64) != 0 ||
        getsockname(service->fd, (struct sockaddr *)&address, &len) != 0)
        abort();
    service->port = ntohs(address.sin_port);
    if (pthread_create(&service->thread, NULL, old_accept, service) != 0)
        abort();
}

static inline void old_stop(struct old_service *service)
{
    shutdown(service->fd, SHUT_RDWR);
    pthread_join(service->thread, NULL);
    for (size_t i = 0; i < service->connections_len; i++) {
        shutdown(service->connection[i].fd, SHUT_RDWR);
        pthread_join(service->connection[i].thread, NULL);
        close(service->connection[i].fd);
    }
    close(service->fd);
    for (size_t i = 0; i < OLD_REQUESTS_MAX; i++) {
        old_free(service->noted[i]);
        service->noted[i] = NULL;
    }
}

/** The body of the i-th request, counted from 0; "" when it has not come. */
static inline const char *old_body(const struct old_service *service, size_t i)
{
    return i < atomic_load(&service->requests) && i < OLD_REQUESTS_MAX
               ? service->noted[i]->body
               : "";
}

#endif
