/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening: addresses, ports, several workers on one port, the cap on connections, and
 * what a start that fails leaves behind.
 */
#include "test/transport/host.h"
#include "transport/process.h"

static struct host host, other;

static int listen_on(uint16_t *ret_port)
{
    return raw_listen(ret_port);
}

static void a_port_in_use_is_told(void)
{
    char error[200] = "";
    uint16_t port;
    int fd = listen_on(&port);

    host_init(&host, 1);
    host.options.listen_port = port;
    CHECK_STATUS(host_open(&host, error, sizeof(error)), EADDRINUSE);
    CHECK_CONTAINS(error, "127.0.0.1 port ");
    CHECK_CONTAINS(error, "in use");
    close(fd);
}

static void another_nodes_port_is_in_use_too(void)
{
    host_start(&other, 2);
    host_init(&host, 1);
    host.options.listen_port = host_port(&other);
    CHECK_STATUS(host_open(&host, NULL, 0), EADDRINUSE);
    host_stop(&other);
    CHECK_STATUS(host_open(&host, NULL, 0), OK); /* and free again */
    CHECK_U64(host_port(&host), host.options.listen_port);
    host_stop(&host);
}

static void addresses_that_cannot_be_listened_on_are_told(void)
{
    static const char *const addresses[] = {"192.0.2.1", "localhost", "", "1.2.3", "::g"};
    char error[200];

    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        error[0] = '\0';
        host_init(&host, 1);
        host.options.listen_host = addresses[i];
        CHECK_STATUS(host_open(&host, error, sizeof(error)), EADDR);
        CHECK_CONTAINS(error, "cannot listen on ");
    }
}

static void a_node_need_not_listen(void)
{
    struct end end = {0};

    host_start(&other, 1);
    host_init(&host, 1);
    host.options.listen_host = NULL;
    CHECK_STATUS(host_open(&host, NULL, 0), OK);
    CHECK_U64(host_port(&host), 0);
    CHECK(end_connect(&host, &end, host_port(&other)));
    host_stop(&host);
    host_stop(&other);
    CHECK_U64(end.closed, 1);
}

static void workers_share_the_port_that_the_first_one_got(void)
{
    int fds[ENDS_MAX / 2];
    size_t len = 0;

    host_start(&host, 2);
    CHECK(host_port(&host) != 0);
    /* The kernel spreads by a hash of the ports: half of the ends all on one worker would
     * be a chance of 1 in 2^31. */
    while (len < ENDS_MAX / 2)
        fds[len++] = raw_websocket(host_port(&host));
    CHECK_U64(host.accepted, len);
    CHECK(host.by_worker[0] > 0);
    CHECK(host.by_worker[1] > 0);
    while (len > 0)
        close(fds[--len]);
    host_stop(&host);
}

static void ipv6_is_listened_on_and_dialled(void)
{
    struct end end = {0};
    struct ws_target target;

    host_init(&host, 1);
    host.options.listen_host = "::1";
    if (host_open(&host, NULL, 0) != PARLEY_OK) {
        printf("no IPv6 here: skipped\n");
        return;
    }
    target = target_of(host_port(&host));
    target.address = target.host = "::1";
    CHECK_STATUS(end_dial(&host, &end, &target), OK);
    CHECK(check_wait(&end.opened, 1));
    CHECK_TEXT(host.remote, "::1");
    host_stop(&host);
}

static void connections_beyond_the_limit_get_503(void)
{
    char answer[1024];
    int fds[3], fd;

    host_init(&host, 1);
    host.options.connections_max = 3;
    CHECK_STATUS(host_open(&host, NULL, 0), OK);
    for (int i = 0; i < 3; i++)
        fds[i] = raw_websocket(host_port(&host));
    fd = raw_connect(host_port(&host));
    CHECK(raw_until_closed(fd, answer, sizeof(answer)));
    CHECK_CONTAINS(answer, "HTTP/1.1 503 ");
    close(fd);
    CHECK(check_wait(&host.ends[0].opened, 1));
    close(fds[0]);
    CHECK(check_wait(&host.ends[0].closed, 1));
    for (int i = 0; i < 1000 && (fd = raw_websocket(host_port(&host))) < 0; i++)
        ; /* the count falls just after closed() */
    CHECK(fd >= 0);
    close(fd);
    close(fds[1]);
    close(fds[2]);
    host_stop(&host);
}

static void shutdown_here(struct worker *worker, void *argument)
{
    transport_worker_shutdown(((struct host *)argument)->transport, worker);
}

static void a_worker_shut_down_leaves_the_port_to_the_others(void)
{
    int fd;

    host_start(&host, 2);
    host_on(&host, 0, shutdown_here, &host);
    host_on(&host, 0, shutdown_here, &host); /* again does no harm */
    for (int i = 0; i < 8; i++) {
        fd = raw_websocket(host_port(&host));
        CHECK(fd >= 0);
        close(fd);
    }
    CHECK_U64(host.by_worker[0], 0);
    host_on(&host, 1, shutdown_here, &host);
    CHECK(raw_connect(host_port(&host)) < 0);
    host_stop(&host);
}

struct failing {
    _Atomic(int64_t) left;
};

static void *fail_allocate(size_t bytes, void *user)
{
    return atomic_fetch_sub(&((struct failing *)user)->left, 1) > 0 ? malloc(bytes) : NULL;
}

static void *fail_resize(void *memory, size_t bytes, void *user)
{
    return atomic_fetch_sub(&((struct failing *)user)->left, 1) > 0 ? realloc(memory, bytes)
                                                                    : NULL;
}

static void fail_release(void *memory, void *user)
{
    (void)user;
    free(memory);
}

static void running_out_of_memory_fails_the_start_cleanly(void)
{
    struct failing failing;
    const parley_allocator allocator = {fail_allocate, fail_resize, fail_release, &failing};
    parley_status status = PARLEY_ENOMEM;

    for (int64_t n = 0; n < 100 && status != PARLEY_OK; n++) {
        atomic_store(&failing.left, n);
        host_init(&host, 1);
        alloc_init(&host.alloc, &allocator);
        status = host_open(&host, NULL, 0);
        if (status != PARLEY_OK && !CHECK_STATUS(status, ENOMEM))
            return;
    }
    CHECK_STATUS(status, OK);
    atomic_store(&failing.left, INT64_MAX);
    host_stop(&host);
}

static void running_out_of_memory_later_costs_one_connection(void)
{
    static const char request[] = "POST /m HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
                                  "Connection: close\r\n\r\nabc";
    struct failing failing;
    const parley_allocator allocator = {fail_allocate, fail_resize, fail_release, &failing};
    char answer[1024];
    bool answered = false;

    atomic_store(&failing.left, INT64_MAX);
    host_init(&host, 1);
    alloc_init(&host.alloc, &allocator);
    CHECK_STATUS(host_open(&host, NULL, 0), OK);
    for (int64_t n = 0; n < 50 && !answered; n++) {
        int fd;

        atomic_store(&failing.left, n);
        fd = raw_connect(host_port(&host));
        raw_send(fd, request, strlen(request));
        raw_until_closed(fd, answer, sizeof(answer));
        answered = strstr(answer, " 200 ") != NULL;
        close(fd);
    }
    CHECK(answered);
    atomic_store(&failing.left, INT64_MAX);
    host_stop(&host);
}

static void libraries_may_be_acquired_many_times(void)
{
    CHECK_STATUS(process_acquire(), OK);
    CHECK_STATUS(process_acquire(), OK);
    process_release();
    process_release();
    CHECK_STATUS(process_acquire(), OK);
    process_release();
    process_context_destroy(NULL);
}

static const struct check_test tests[] = {
    {"a port in use is told", a_port_in_use_is_told},
    {"another node's port is in use too", another_nodes_port_is_in_use_too},
    {"addresses that cannot be listened on are told",
     addresses_that_cannot_be_listened_on_are_told},
    {"a node need not listen", a_node_need_not_listen},
    {"workers share the port that the first one got",
     workers_share_the_port_that_the_first_one_got},
    {"IPv6 is listened on and dialled", ipv6_is_listened_on_and_dialled},
    {"connections beyond the limit get 503", connections_beyond_the_limit_get_503},
    {"a worker shut down leaves the port to the others",
     a_worker_shut_down_leaves_the_port_to_the_others},
    {"running out of memory fails the start cleanly",
     running_out_of_memory_fails_the_start_cleanly},
    {"running out of memory later costs one connection",
     running_out_of_memory_later_costs_one_connection},
    {"libraries may be acquired many times", libraries_may_be_acquired_many_times},
};

CHECK_MAIN("listener", tests)
