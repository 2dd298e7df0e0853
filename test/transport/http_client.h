/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of the HTTP server: one node, and requests sent to it byte for byte.
 */
#ifndef PARLEY_TEST_TRANSPORT_HTTP_CLIENT_H
#define PARLEY_TEST_TRANSPORT_HTTP_CLIENT_H

#include "test/transport/host.h"

#define HOST "Host: localhost\r\n"

static struct host server;

static inline void start(void)
{
    host_start(&server, 1);
}

static inline void stop(void)
{
    host_stop(&server);
}

/* Sends a request, reads one answer. */
static inline const char *ask_on(int fd, const char *request)
{
    static char answer[8192];

    if (!CHECK(raw_send(fd, request, strlen(request))) ||
        !CHECK(raw_answer(fd, answer, sizeof(answer))))
        answer[0] = '\0';
    return answer;
}

/* One request on a connection of its own, which the server is to close. */
static inline const char *ask_and_close(const char *request)
{
    static char answer[8192];
    int fd = raw_connect(host_port(&server));

    CHECK(raw_send(fd, request, strlen(request)));
    if (!CHECK(raw_until_closed(fd, answer, sizeof(answer))))
        answer[0] = '\0';
    close(fd);
    return answer;
}

static inline void check_refused(const char *request, const char *status)
{
    uint64_t before = atomic_load(&server.requests);
    const char *answer = ask_and_close(request);

    if (!CHECK(strncmp(answer, "HTTP/1.1 ", 9) == 0 && strncmp(answer + 9, status, 3) == 0))
        fprintf(stderr, "expected %s, seen %.40s for %.200s\n", status, answer, request);
    CHECK_CONTAINS(answer, "{\"detail\":\"");
    CHECK_CONTAINS(answer, "Connection: close");
    CHECK_U64(atomic_load(&server.requests), before);
}

#endif
